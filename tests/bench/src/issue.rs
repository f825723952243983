//! Keys and tokens for the rows: made here, taken by the servers that share the keys.

use std::{path::Path, sync::Arc, time::Duration};

use gatekey::{
    Algorithm, Authority, Client, Clock, Config, Keys, Limits, MemoryStore, Secret, SigningKey, SystemClock,
    Timestamp,
};

use crate::measure::Fault;

/// Of all tokens here.
pub(crate) const ISSUER: &str = "https://auth.test";
/// The one account.
pub(crate) const NAME: &str = "alice";
/// Its password.
pub(crate) const PASSWORD: &str = "a long enough pass phrase";
/// Tokens to go round, so that each comes as if for the first time.
pub(crate) const DISTINCT: usize = 32_768;
/// What the cache of verified tokens holds in the rows of such tokens. One that is full keeps what it has, so of as many
/// as its default size a quarter would be found.
pub(crate) const FEW_PLACES: usize = 256;

/// A clock that is ahead, so that tokens have expired.
#[derive(Debug)]
pub(crate) struct Ahead(pub(crate) i64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().as_millis() + self.0 * 1000)
    }
}

/// The settings of every server and authority here: the defaults, but without limits by number of attempts, and with
/// tokens that outlive the run.
pub(crate) fn settle(config: &mut Config) {
    config.issuer = ISSUER.to_owned();
    config.limits = Limits::OFF;
    config.access_ttl = Duration::from_secs(24 * 3600);
}

/// An authority in this process, on the memory store, with the account.
pub(crate) async fn authority(keys: Keys, edit: impl FnOnce(&mut Config)) -> Result<Authority, Fault> {
    clocked(keys, Arc::new(SystemClock), edit).await
}

/// The same by another clock.
pub(crate) async fn clocked(
    keys: Keys,
    clock: Arc<dyn Clock>,
    edit: impl FnOnce(&mut Config),
) -> Result<Authority, Fault> {
    let mut builder = Authority::builder();
    settle(builder.config_mut());
    edit(builder.config_mut());
    builder.keys(keys);
    builder.store(Arc::new(MemoryStore::new()));
    builder.clock(clock);
    let authority = builder.build().await?;
    authority.register(NAME, password(), &Client::default()).await?;
    Ok(authority)
}

pub(crate) fn password() -> Secret<String> {
    Secret::new(PASSWORD.to_owned())
}

/// Access tokens of one session, each different.
pub(crate) async fn tokens(authority: &Authority, count: usize) -> Result<Vec<String>, Fault> {
    let client = Client::default();
    let mut granted = authority.login(NAME, password(), &client, None).await?;
    let mut tokens = Vec::with_capacity(count);
    while tokens.len() < count {
        tokens.push(granted.access.expose().clone());
        granted = authority.refresh(granted.refresh.expose(), None, &client).await?;
    }
    Ok(tokens)
}

/// A key file that a server and this process share.
pub(crate) fn key_file(path: &Path, algorithm: Algorithm) -> Result<Keys, Fault> {
    if path.exists() {
        return Ok(Keys::load(path)?);
    }
    Ok(Keys::create(path, SigningKey::generate(algorithm)?)?)
}
