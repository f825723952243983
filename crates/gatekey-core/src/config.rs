//! The settings, their defaults and what makes them valid. Everything is checked once, at start-up.

use std::{fmt, time::Duration};

use crate::{
    cache::MAX_TOKEN_CACHE,
    introspection::{self, IntrospectionClient},
    keys::KeyError,
    limit::Limits,
    password::{Argon2Params, PasswordPolicy, PoolSize},
    revocation::FeedConfig,
    rotation::Policy,
    store::StoreError,
};

/// A setting that cannot be used: which one, and what would be valid.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting is missing or out of range.
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong, and what would be valid.
        problem: String,
    },
    /// The keys.
    Keys(KeyError),
    /// The store did not answer when the recent revocations were read.
    Store(StoreError),
}

impl ConfigError {
    /// A setting that cannot be used.
    pub fn setting(name: &'static str, problem: impl Into<String>) -> Self {
        Self::Setting { name, problem: problem.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { name, problem } => write!(f, "{name}: {problem}"),
            Self::Keys(error) => write!(f, "keys: {error}"),
            Self::Store(error) => write!(f, "store: {error}"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Setting { .. } => None,
            Self::Keys(error) => Some(error),
            Self::Store(error) => Some(error),
        }
    }
}

impl From<KeyError> for ConfigError {
    fn from(error: KeyError) -> Self {
        Self::Keys(error)
    }
}

/// The settings of an [`Authority`](crate::Authority).
#[derive(Clone, Debug)]
pub struct Config {
    /// `iss`: an absolute `https` URL without query or fragment (`http` on a loopback host). No default.
    pub issuer: String,
    /// `aud`: whom access tokens are for. The issuer, unless set.
    pub audience: String,
    /// `client_id` of tokens (RFC 9068): the application itself. `gatekey`.
    pub client_id: String,
    /// How long an access token lives. 15 minutes; 1 second to 24 hours.
    pub access_ttl: Duration,
    /// How long a refresh token lives unused: the idle end of a session. 7 days.
    pub refresh_ttl: Duration,
    /// How long a session lives at most, however it is used. 30 days.
    pub session_ttl: Duration,
    /// How far clocks may be apart when an access token is verified. 30 s; at most 5 minutes.
    pub leeway: Duration,
    /// How repeated refresh tokens are judged. [`Policy::BALANCED`].
    pub rotation: Policy,
    /// How many sessions a subject may have; the least recently used ends when there are more. 100.
    pub max_sessions: usize,
    /// How passwords are hashed. 19 MiB, 2 passes, 1 lane.
    pub argon2: Argon2Params,
    /// How many hashes are computed at once, and how many may wait.
    pub hashing: PoolSize,
    /// Which passwords are taken.
    pub passwords: PasswordPolicy,
    /// How many attempts are allowed.
    pub limits: Limits,
    /// How revocations by other nodes are heard of.
    pub feed: FeedConfig,
    /// How often the file of the keys is looked at, where there is one. 10 s; 100 milliseconds to 30 seconds.
    pub keys_poll: Duration,
    /// How many access tokens are remembered as verified, so that the next request with one need not verify it again. 8192; 0
    /// for none, at most 4194304. Each takes about 2 KiB.
    pub token_cache: usize,
    /// Who may introspect tokens. Nobody: then there is no such endpoint.
    pub introspection_clients: Vec<IntrospectionClient>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            client_id: "gatekey".to_owned(),
            access_ttl: Duration::from_secs(15 * 60),
            refresh_ttl: Duration::from_secs(7 * 24 * 3600),
            session_ttl: Duration::from_secs(30 * 24 * 3600),
            leeway: Duration::from_secs(30),
            rotation: Policy::default(),
            max_sessions: 100,
            argon2: Argon2Params::default(),
            hashing: PoolSize::default(),
            passwords: PasswordPolicy::default(),
            limits: Limits::default(),
            feed: FeedConfig::default(),
            keys_poll: SECOND * 10,
            token_cache: 8192,
            introspection_clients: Vec::new(),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Config {
    /// Fills in what follows from other settings, and refuses what cannot be used.
    pub(crate) fn checked(mut self) -> Result<Self, ConfigError> {
        check_issuer(&self.issuer)?;
        if self.audience.is_empty() {
            self.audience.clone_from(&self.issuer);
        }
        let need = |ok: bool, name: &'static str, problem: &str| {
            if ok { Ok(()) } else { Err(ConfigError::setting(name, problem)) }
        };
        let printable = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        need(printable(&self.audience), "audience", "must be printable ASCII without blanks")?;
        need(printable(&self.client_id), "client_id", "must be printable ASCII without blanks")?;
        need((SECOND..=DAY).contains(&self.access_ttl), "access_ttl", "must be 1 second to 24 hours")?;
        need(
            self.refresh_ttl >= self.access_ttl,
            "refresh_ttl",
            "must not be shorter than access_ttl: absolute end >= idle end >= access lifetime",
        )?;
        need(
            self.session_ttl >= self.refresh_ttl,
            "session_ttl",
            "must not be shorter than refresh_ttl: absolute end >= idle end >= access lifetime",
        )?;
        // Cookies may not be asked to live longer (RFC 6265bis), and longer sessions help nobody but thieves.
        need(self.session_ttl <= DAY * 400, "session_ttl", "must be at most 400 days")?;
        need(self.leeway <= SECOND * 300, "leeway", "must be at most 300 seconds")?;
        need(self.rotation.grace <= SECOND * 60, "reuse_grace", "must be 0 to 60 seconds")?;
        let displace = self.rotation.displace_within.unwrap_or(DAY);
        need(displace <= DAY * 400, "rotation", "a successor may be displaced for at most 400 days")?;
        need(
            self.rotation.displace_within.is_none() || !self.rotation.grace.is_zero(),
            "rotation",
            "displacing needs a grace of at least 1 second",
        )?;
        need(self.max_sessions >= 1, "max_sessions", "must be at least 1")?;
        need(
            (Duration::from_millis(10)..=SECOND).contains(&self.feed.poll),
            "feed.poll",
            "must be 10 milliseconds to 1 second",
        )?;
        // Else the feed would count as lost between one look and the next.
        need(self.feed.lost_after > self.feed.poll, "feed.lost_after", "must be longer than feed.poll")?;
        need(
            (Duration::from_millis(100)..=SECOND * 30).contains(&self.keys_poll),
            "keys_poll",
            "must be 100 milliseconds to 30 seconds",
        )?;
        need(self.token_cache <= MAX_TOKEN_CACHE, "token_cache", "must be at most 4194304")?;
        introspection::check(&self.introspection_clients)?;
        Ok(self)
    }
}

/// An issuer names itself by an absolute URL ([RFC 8414 section 2](https://www.rfc-editor.org/rfc/rfc8414#section-2)).
fn check_issuer(issuer: &str) -> Result<(), ConfigError> {
    let wrong = |problem: &str| {
        Err(ConfigError::setting(
            "issuer",
            format!("{problem}; an absolute URL such as https://app.example.com is needed"),
        ))
    };
    if issuer.is_empty() {
        return wrong("is not set");
    }
    let (secure, rest) = match (issuer.strip_prefix("https://"), issuer.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return wrong("is not an absolute https URL"),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return wrong("has no host of its own");
    }
    // It stands in JSON and in header values as it is.
    if !issuer.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '?' | '#' | '<' | '>')) {
        return wrong("has a query, a fragment or a character that may not stand there");
    }
    if !secure && !is_loopback(authority) {
        return wrong("is not https, and not on a loopback host");
    }
    Ok(())
}

/// Whether a URL's `host[:port]` is this machine: `localhost`, a name below it, or a loopback address.
#[must_use]
pub fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let host = host.to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { issuer: "https://app.example.com".to_owned(), ..Config::default() }
    }

    fn refused(edit: impl FnOnce(&mut Config)) -> String {
        let mut config = config();
        edit(&mut config);
        config.checked().map(|_| "accepted".to_owned()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn the_defaults_need_only_an_issuer() {
        let config = config().checked().unwrap();
        assert_eq!(config.audience, "https://app.example.com");
        assert!(refused(|c| c.issuer.clear()).starts_with("issuer: is not set"));
    }

    #[test]
    fn an_issuer_is_an_absolute_https_url() {
        for issuer in
            ["https://a.example", "https://a.example:8443/tenant", "http://127.0.0.1:3000", "http://[::1]:1"]
        {
            assert_eq!(refused(|c| c.issuer = issuer.to_owned()), "accepted", "{issuer}");
        }
        for issuer in [
            "app.example.com",
            "/relative",
            "//a.example",
            "http://a.example",
            "https://",
            "https://user@a.example",
            "https://a.example?x",
            "https://a.example#x",
            "https://a\".example",
            "https://a. example",
            "ftp://a.example",
            "http://127.0.0.1.a.example",
        ] {
            assert!(refused(|c| c.issuer = issuer.to_owned()).starts_with("issuer: "), "{issuer}");
        }
    }

    #[test]
    fn lifetimes_are_ordered() {
        assert_eq!(refused(|c| c.refresh_ttl = c.access_ttl), "accepted");
        assert!(refused(|c| c.refresh_ttl = c.access_ttl - SECOND).starts_with("refresh_ttl: "));
        assert_eq!(refused(|c| c.session_ttl = c.refresh_ttl), "accepted");
        assert!(refused(|c| c.session_ttl = c.refresh_ttl - SECOND).starts_with("session_ttl: "));
        assert!(refused(|c| c.session_ttl = DAY * 401).starts_with("session_ttl: "));
        assert!(refused(|c| c.access_ttl = Duration::ZERO).starts_with("access_ttl: "));
    }

    #[test]
    fn a_long_replay_window_is_not_offered() {
        assert_eq!(refused(|c| c.rotation.grace = SECOND * 60), "accepted");
        assert!(refused(|c| c.rotation.grace = SECOND * 61).starts_with("reuse_grace: "));
        assert_eq!(refused(|c| c.rotation = Policy::PAGES), "accepted");
        assert!(refused(|c| c.rotation.displace_within = Some(DAY * 400 + SECOND)).starts_with("rotation: "));
    }

    #[test]
    fn a_feed_cannot_be_lost_between_two_looks() {
        assert_eq!(refused(|c| c.feed.lost_after = c.feed.poll + Duration::from_millis(1)), "accepted");
        assert!(refused(|c| c.feed.lost_after = c.feed.poll).starts_with("feed.lost_after: "));
        assert!(refused(|c| c.feed.poll = Duration::from_millis(9)).starts_with("feed.poll: "));
        assert!(refused(|c| c.feed.poll = SECOND + Duration::from_millis(1)).starts_with("feed.poll: "));
    }
}
