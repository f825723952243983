//! [`TokenVerifier`]: verifies the access tokens of an issuer that runs elsewhere. No store, no login, no secret.
//!
//! 1. A token is judged by the rules of [`crate::access`], against the public keys of the one issuer, in the
//!    [shape](TokenShape) that its tokens have. Revocations at the issuer are not heard: a token lives until it expires.
//! 2. The keys are one that is given, a JWK Set that is given, or what a [`KeySource`] delivers. Those of a source are read at
//!    the start and again every [`TokenVerifierBuilder::refresh_every`], in the background: no request waits for them.
//! 3. A source that fails changes nothing: the keys known before stay in use, for as long as
//!    [`TokenVerifierBuilder::keep_stale_for`] says. A set in which no key is usable is such a failure too.
//! 4. A token whose `kid` is not known has the source asked, at most once in [`ASK_EVERY`]. Until the issuer's answer is there
//!    the token is [pending](TokenError::KeyPending): it is refused, but as something to be tried again. Once the issuer has
//!    said which keys it has, within [`ASK_EVERY`], it is [unknown](TokenError::UnknownKey). Tokens of known keys pass all the
//!    while.
//!
//! So a token is never refused for good while it is not known what it is worth, and nobody who sends tokens with made-up
//! names of keys makes the issuer be asked more often, or anyone else wait.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::{
    access::{Expected, Principal, TokenShape},
    cache::{MAX_TOKEN_CACHE, TokenCache, Validity},
    config::ConfigError,
    error::{AuthError, TokenError},
    event::{self, Event, EventKind, EventSink},
    jws::{ForeignHeader, Parts},
    keys::{Algorithm, KeySet, UnusableKeySet, VerifyingKey},
    session::Client,
    time::{Clock, SystemClock, Timestamp},
};

/// How long a source is left alone after it was asked.
pub const ASK_EVERY: Duration = Duration::from_secs(10);

/// How long a source may take. One that sets itself a shorter limit can say more of what went wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where an issuer's keys come from.
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug + 'static {
    /// Fetches the issuer's JWK Set (RFC 7517): its text, of at most [`MAX_KEY_SET`](crate::keys::MAX_KEY_SET) bytes.
    ///
    /// It is called from one task, never twice at once, and given up after 30 seconds.
    ///
    /// # Errors
    ///
    /// Why it could not be had, for operators.
    async fn fetch(&self) -> Result<Vec<u8>, KeySourceError>;
}

/// Why a JWK Set could not be had: one line, without anything secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySourceError(pub String);

impl fmt::Display for KeySourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeySourceError {}

impl From<UnusableKeySet> for KeySourceError {
    fn from(unusable: UnusableKeySet) -> Self {
        Self(unusable.to_string())
    }
}

/// Verifies the access tokens of an issuer that runs elsewhere. Cheap to clone; all clones are one.
///
/// ```
/// use gatekey_core::{TokenVerifier, access::TokenShape, keys::{Algorithm, VerifyingKey}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // The key and the token of RFC 7515 appendix A.3, which expired in 2011.
/// let key = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
///               "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
/// let mut builder = TokenVerifier::builder();
/// builder.issuer("joe");
/// builder.audience("api");
/// builder.key(VerifyingKey::from_jwk(key)?);
/// builder.tokens(TokenShape::jwt().untyped());
/// let verifier = builder.build().await?;
///
/// let token = "eyJhbGciOiJFUzI1NiJ9.\
///     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
///     DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
/// // Its signature is good, and still it is no token for this API: it names no audience.
/// assert_eq!(verifier.authenticate(token).unwrap_err().reason(), "token_wrong_audience");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TokenVerifier(Arc<Inner>);

struct Inner {
    issuer: String,
    audience: String,
    leeway: Duration,
    shape: TokenShape,
    keys: RwLock<Known>,
    verified: TokenCache,
    source: Option<Source>,
    clock: Arc<dyn Clock>,
    sink: Option<Arc<dyn EventSink>>,
}

/// The keys in use.
#[derive(Clone)]
struct Known {
    keys: Option<Arc<KeySet>>,
    /// When the issuer was asked for them.
    at: Timestamp,
    /// How often there were others before.
    generation: u64,
}

/// Where more keys come from, and what was asked of it.
struct Source {
    from: Arc<dyn KeySource>,
    rsa: Algorithm,
    refresh_every: Duration,
    keep_stale_for: Option<Duration>,
    asked: Mutex<Asked>,
    /// Wakes the task that asks.
    wake: Arc<Notify>,
}

#[derive(Default)]
struct Asked {
    under_way: bool,
    /// When it was asked last, and when so that it answered.
    began: Option<Timestamp>,
    answered: Option<Timestamp>,
}

/// Where the keys of a verifier come from.
enum Keys {
    One(VerifyingKey),
    Set(String),
    Source(Arc<dyn KeySource>),
}

/// Puts a [`TokenVerifier`] together.
pub struct TokenVerifierBuilder {
    issuer: String,
    audience: String,
    keys: Option<Keys>,
    shape: TokenShape,
    leeway: Duration,
    rsa: Algorithm,
    refresh_every: Duration,
    keep_stale_for: Option<Duration>,
    start_without_keys: bool,
    token_cache: usize,
    clock: Option<Arc<dyn Clock>>,
    sink: Option<Arc<dyn EventSink>>,
}

impl Default for TokenVerifierBuilder {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            keys: None,
            shape: TokenShape::gatekey(),
            leeway: Duration::from_secs(30),
            rsa: Algorithm::RS256,
            refresh_every: Duration::from_secs(240),
            keep_stale_for: None,
            start_without_keys: false,
            token_cache: 8192,
            clock: None,
            sink: None,
        }
    }
}

impl TokenVerifierBuilder {
    /// `iss`: whose tokens, compared exactly. Required.
    pub fn issuer(&mut self, issuer: impl Into<String>) {
        self.issuer = issuer.into();
    }

    /// `aud`: what tokens for this application name. Required. A Gatekey's is its issuer, unless it set another.
    pub fn audience(&mut self, audience: impl Into<String>) {
        self.audience = audience.into();
    }

    /// The issuer's one public key, whatever `kid` its tokens name.
    pub fn key(&mut self, key: VerifyingKey) {
        self.keys = Some(Keys::One(key));
    }

    /// The issuer's keys as a JWK Set that does not change.
    pub fn key_set(&mut self, text: impl Into<String>) {
        self.keys = Some(Keys::Set(text.into()));
    }

    /// Where the issuer's keys are fetched.
    pub fn source(&mut self, source: Arc<dyn KeySource>) {
        self.keys = Some(Keys::Source(source));
    }

    /// What the issuer's tokens look like. A Gatekey's, unless set.
    pub fn tokens(&mut self, shape: TokenShape) {
        self.shape = shape;
    }

    /// How far the clocks may be apart: 30 s, unless set; at most 5 minutes.
    pub fn leeway(&mut self, leeway: Duration) {
        self.leeway = leeway;
    }

    /// What an RSA key without an `alg` is for: RS256, unless set to PS256.
    pub fn rsa_keys_are_for(&mut self, algorithm: Algorithm) {
        self.rsa = algorithm;
    }

    /// How often the keys are fetched: 4 minutes, unless set; 10 seconds to 24 hours. A Gatekey publishes a key 5 minutes
    /// before it signs with it. A key that the issuer withdraws is in use for as long.
    pub fn refresh_every(&mut self, every: Duration) {
        self.refresh_every = every;
    }

    /// For how long keys stay in use while the source fails; then tokens are answered as temporarily unavailable. Without end,
    /// unless set; not less than [`TokenVerifierBuilder::refresh_every`].
    pub fn keep_stale_for(&mut self, limit: Duration) {
        self.keep_stale_for = Some(limit);
    }

    /// Starts also where the source fails at the start; until it delivers, tokens are answered as temporarily unavailable.
    pub fn start_without_keys(&mut self) {
        self.start_without_keys = true;
    }

    /// How many tokens are remembered as verified, so that the next request with one need not verify it again: 8192, unless set;
    /// 0 for none, at most 4194304. Each takes about 2 KiB.
    pub fn token_cache(&mut self, size: usize) {
        self.token_cache = size;
    }

    /// What tells the time. The system's clock, unless set.
    pub fn clock(&mut self, clock: Arc<dyn Clock>) {
        self.clock = Some(clock);
    }

    /// Who is told what happens, beside `tracing`.
    pub fn events(&mut self, sink: Arc<dyn EventSink>) {
        self.sink = Some(sink);
    }

    /// Checks the settings, fetches the keys and starts to keep them fresh, on the tokio runtime this is called on.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the name of the setting; `keys` where they cannot be had.
    pub async fn build(self) -> Result<TokenVerifier, ConfigError> {
        let need = |ok: bool, name: &'static str, problem: &str| {
            if ok { Ok(()) } else { Err(ConfigError::setting(name, problem)) }
        };
        let printable = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        let text = "is not set, or not printable ASCII without blanks";
        need(printable(&self.issuer), "issuer", text)?;
        need(printable(&self.audience), "audience", text)?;
        need(self.token_cache <= MAX_TOKEN_CACHE, "token_cache", "must be at most 4194304")?;
        need(self.leeway <= Duration::from_secs(300), "leeway", "must be at most 300 seconds")?;
        need(
            matches!(self.rsa, Algorithm::RS256 | Algorithm::PS256),
            "rsa_keys_are_for",
            "must be RS256 or PS256",
        )?;
        let day = Duration::from_secs(24 * 3600);
        need(
            (ASK_EVERY..=day).contains(&self.refresh_every),
            "refresh_every",
            "must be 10 seconds to 24 hours",
        )?;
        need(
            self.keep_stale_for.is_none_or(|limit| limit >= self.refresh_every),
            "keep_stale_for",
            "must not be shorter than refresh_every",
        )?;
        let unusable = |problem: &dyn fmt::Display| ConfigError::setting("keys", problem.to_string());
        let given = self.keys.ok_or_else(|| ConfigError::setting("keys", "are not set"))?;
        let (keys, source) = match given {
            Keys::One(key) if key.algorithm() == Algorithm::HS256 => {
                return Err(unusable(
                    &"whoever verifies with a shared secret can sign with it; give a public key",
                ));
            }
            Keys::One(key) => (Some(KeySet::of(key)), None),
            Keys::Set(text) => {
                (Some(KeySet::read(text.as_bytes(), self.rsa).map_err(|error| unusable(&error))?), None)
            }
            Keys::Source(from) => {
                let source = Source {
                    from,
                    rsa: self.rsa,
                    refresh_every: self.refresh_every,
                    keep_stale_for: self.keep_stale_for,
                    asked: Mutex::default(),
                    wake: Arc::default(),
                };
                (None, Some(source))
            }
        };
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let verifier = TokenVerifier(Arc::new(Inner {
            issuer: self.issuer,
            audience: self.audience,
            leeway: self.leeway,
            shape: self.shape,
            keys: RwLock::new(Known { keys: keys.map(Arc::new), at: clock.now(), generation: 0 }),
            verified: TokenCache::new(self.token_cache),
            source,
            clock,
            sink: self.sink,
        }));
        if let Some(source) = &verifier.0.source {
            let first = verifier.0.ask(source).await;
            if let (Err(error), false) = (&first, self.start_without_keys) {
                return Err(unusable(error));
            }
            verifier.0.note(false, &first);
            let wake = Arc::clone(&source.wake);
            tokio::spawn(keep_fresh(Arc::downgrade(&verifier.0), wake, source.refresh_every, first.is_err()));
        }
        Ok(verifier)
    }
}

impl fmt::Debug for TokenVerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifierBuilder").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl TokenVerifier {
    /// Starts to put one together. `issuer`, `audience` and keys are required.
    #[must_use]
    pub fn builder() -> TokenVerifierBuilder {
        TokenVerifierBuilder::default()
    }

    /// Verifies an access token and says whom it speaks for. Does no I/O and waits for none.
    ///
    /// # Errors
    ///
    /// [`AuthError::InvalidToken`]; [`AuthError::Unavailable`] where there are no keys, or they have been stale for too long.
    pub fn authenticate(&self, token: &(impl AsRef<[u8]> + ?Sized)) -> Result<Principal, AuthError> {
        self.judge(token.as_ref())
    }

    fn judge(&self, token: &[u8]) -> Result<Principal, AuthError> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let (keys, generation) = inner.usable_keys(now)?;
        let place = inner.verified.place(token);
        if let Some(principal) = place.as_ref().and_then(|place| place.find(generation, now)) {
            return Ok(principal);
        }
        let parts = Parts::split(token)?;
        let header = ForeignHeader::parse(parts.header)?;
        // Shared secrets are nobody's here, whatever a key set says.
        let algorithm = Algorithm::from_foreign_name(&header.alg)
            .filter(|algorithm| *algorithm != Algorithm::HS256)
            .ok_or(TokenError::WrongAlgorithm)?;
        if !inner.shape.takes_type(header.typ.as_deref()) {
            return Err(TokenError::WrongType.into());
        }
        let key =
            keys.find(header.kid.as_deref(), algorithm).map_err(|error| match (error, &inner.source) {
                (TokenError::UnknownKey, Some(source)) if source.want(now) => TokenError::KeyPending,
                (error, _) => error,
            })?;
        let mut payload = parts.verify_claims(key)?;
        let claims = inner.shape.read(&mut payload)?;
        let expected = Expected { issuer: &inner.issuer, audience: &inner.audience, leeway: inner.leeway };
        let principal = expected.accept(&claims, inner.shape.needs(), payload, now)?;
        if let Some(place) = place {
            let until = principal.expires_at() + inner.leeway;
            place.keep(Validity { generation, from: now, until }, &principal);
        }
        Ok(principal)
    }

    /// Whose tokens it verifies.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The present instant, by this verifier's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Logs, counts and passes on an event.
    pub fn tell(&self, event: &Event) {
        self.0.tell(event);
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}

impl Inner {
    fn known(&self) -> Known {
        // It is replaced whole, so a panic elsewhere cannot leave half of one behind.
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The keys, and how often there were others before.
    fn usable_keys(&self, now: Timestamp) -> Result<(Arc<KeySet>, u64), AuthError> {
        let Known { keys, at, generation } = self.known();
        let keys = keys.map(|keys| (keys, generation));
        let Some(source) = &self.source else { return keys.ok_or_else(|| no_keys("are not there")) };
        let age = now.since(at);
        if keys.is_none() || age >= source.refresh_every {
            // The task that asks does so by itself; it may have slept while the machine did.
            source.want(now);
        }
        if source.keep_stale_for.is_some_and(|limit| age > limit) {
            return Err(no_keys("could not be had for too long"));
        }
        keys.ok_or_else(|| no_keys("could not be had yet"))
    }

    /// Asks the source once and takes what it says.
    async fn ask(&self, source: &Source) -> Result<bool, KeySourceError> {
        let began = self.clock.now();
        source.change(|asked| {
            asked.under_way = true;
            asked.began = Some(began);
        });
        let answer = source.fetch().await.and_then(|text| Ok(KeySet::read(&text, source.rsa)?));
        let changed = answer.map(|keys| {
            let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            let changed = known.keys.as_deref() != Some(&keys);
            let generation = known.generation + u64::from(changed);
            *known = Known { keys: Some(Arc::new(keys)), at: began, generation };
            changed
        });
        source.change(|asked| {
            asked.under_way = false;
            if changed.is_ok() {
                asked.answered = Some(began);
            }
        });
        changed
    }

    /// Tells operators what came of asking, once for each change.
    fn note(&self, failing: bool, outcome: &Result<bool, KeySourceError>) {
        let told = |kind, cause: Option<String>| {
            let mut event = Event::new(kind, self.clock.now(), &Client::default());
            event.cause = cause;
            self.tell(&event);
        };
        match outcome {
            Err(error) if !failing => told(EventKind::IssuerKeysLost, Some(error.to_string())),
            Err(_) => {}
            Ok(changed) => {
                if failing {
                    told(EventKind::IssuerKeysRestored, None);
                }
                if *changed {
                    let keys = self.known().keys;
                    told(EventKind::KeysChanged, keys.map(|keys| keys.summary()));
                }
            }
        }
    }

    fn tell(&self, event: &Event) {
        event::log(event);
        if let Some(sink) = &self.sink {
            sink.event(event);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(source) = &self.source {
            // The task that asks finds that nobody is left.
            source.wake.notify_one();
        }
    }
}

impl Source {
    fn change<T>(&self, edit: impl FnOnce(&mut Asked) -> T) -> T {
        edit(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the issuer asked, unless that is under way or was just done. Whether the answer is still to come, or did not come.
    fn want(&self, now: Timestamp) -> bool {
        // A clock that was set back makes nothing recent.
        let recent = |at: Option<Timestamp>| at.is_some_and(|at| at <= now && now.since(at) < ASK_EVERY);
        self.change(|asked| {
            if asked.under_way {
                return true;
            }
            if !recent(asked.began) {
                asked.under_way = true;
                asked.began = Some(now);
                self.wake.notify_one();
            }
            !recent(asked.answered)
        })
    }

    /// Fetches with patience. In a task of its own: whatever becomes of it, the one that asks goes on.
    async fn fetch(&self) -> Result<Vec<u8>, KeySourceError> {
        let from = Arc::clone(&self.from);
        let mut fetching = tokio::spawn(async move { from.fetch().await });
        match tokio::time::timeout(PATIENCE, &mut fetching).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(KeySourceError("the key source panicked".to_owned())),
            Err(_) => {
                fetching.abort();
                Err(KeySourceError("the key source did not answer within 30 s".to_owned()))
            }
        }
    }
}

/// Asks at regular times, and when a request wants it, until the verifier is gone.
async fn keep_fresh(verifier: Weak<Inner>, wake: Arc<Notify>, every: Duration, mut failing: bool) {
    let pause = |failing| tokio::time::Instant::now() + if failing { ASK_EVERY } else { every };
    let mut ask_at = pause(failing);
    loop {
        let woken = tokio::time::timeout_at(ask_at, wake.notified()).await.is_ok();
        let Some(inner) = verifier.upgrade() else { return };
        let Some(source) = &inner.source else { return };
        // What was wanted while it was about to be asked anyway has been answered.
        if woken && !source.change(|asked| asked.under_way) {
            continue;
        }
        let outcome = inner.ask(source).await;
        inner.note(failing, &outcome);
        failing = outcome.is_err();
        ask_at = pause(failing);
    }
}

fn no_keys(why: &'static str) -> AuthError {
    AuthError::unavailable(NoKeys(why))
}

/// There is no key to verify with.
#[derive(Debug)]
struct NoKeys(&'static str);

impl fmt::Display for NoKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the issuer's keys {}", self.0)
    }
}

impl std::error::Error for NoKeys {}

#[cfg(test)]
mod tests;
