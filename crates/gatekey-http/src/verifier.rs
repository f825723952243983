//! [`Verifier`]: what stands in front of an application's own routes, and whose word it takes.

use std::{fmt, sync::Arc, time::Duration};

use gatekey_core::{
    Authority, TokenVerifier, TokenVerifierBuilder,
    access::{Principal, TokenShape},
    config::ConfigError,
    error::AuthError,
    event::{Event, EventKind, EventSink},
    keys::{Algorithm, VerifyingKey},
    session::Client,
    time::{Clock, Timestamp},
    verifier::KeySource,
};

use crate::{
    Gatekey,
    address::{ForwardedField, Proxies},
    cookie::CookieNames,
    csrf::Origins,
    head::Head,
    pages::Pages,
    reply::is_challenge_text,
};

/// Says whom a request to one of the application's own routes speaks for. Every guard of every adapter asks one. Cheap to
/// clone; all clones are one.
///
/// A [`Gatekey`] has one: wherever a guard takes a verifier it takes `&gatekey`, and sees its keys, its cookies and its
/// revocations. A service that only checks tokens that are issued elsewhere builds one, which has no store, no login, no
/// cookies and no secret:
///
/// ```
/// use gatekey_core::keys::{Algorithm, SigningKey};
/// use gatekey_http::{Head, Requirement, Verifier};
/// use http::{HeaderMap, StatusCode};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let key = SigningKey::generate(Algorithm::EdDSA)?;
/// let verifier = Verifier::builder()
///     .issuer("https://app.example.com")
///     .audience("https://api.example.com")
///     .key(key.verifying().clone())       // or .source(…): fetched, and kept fresh in the background
///     .build()
///     .await?;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("authorization", "Bearer x.y.z".parse()?);
/// let head = Head { method: "GET", path: "/notes", query: None, headers: &headers, peer: None };
/// let refused = verifier.guard(&head, &Requirement::authenticated()).unwrap_err();
/// assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) judge: Judge,
    /// The realm of challenges.
    pub(crate) realm: String,
    pub(crate) proxies: Proxies,
    /// The cookies that are a credential, with the rule that guards them. None where only the header is read.
    pub(crate) cookies: Option<GuardedCookies>,
    /// Where navigations are refreshed and sent to a login page.
    pub(crate) pages: Option<Pages>,
}

/// What judges access tokens.
pub(crate) enum Judge {
    /// The one that issued them.
    Authority(Authority),
    /// One that knows the public keys of who did.
    Elsewhere(TokenVerifier),
}

/// Our cookies, and whose pages may use them.
pub(crate) struct GuardedCookies {
    pub(crate) names: CookieNames,
    pub(crate) origins: Origins,
}

pub(crate) fn check_realm(realm: &str) -> Result<(), ConfigError> {
    if realm.is_empty() || !realm.chars().all(is_challenge_text) {
        return Err(ConfigError::setting("realm", "must be printable ASCII without quote and backslash"));
    }
    Ok(())
}

impl Verifier {
    /// Starts to put one together for another issuer's tokens. `issuer`, `audience` and one of `key`, `key_set`, `source` are
    /// required.
    #[must_use]
    pub fn builder() -> VerifierBuilder {
        VerifierBuilder::default()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn authenticate(&self, token: &[u8]) -> Result<Principal, AuthError> {
        match &self.0.judge {
            Judge::Authority(authority) => authority.authenticate(token),
            Judge::Elsewhere(verifier) => verifier.authenticate(token),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        match &self.0.judge {
            Judge::Authority(authority) => authority.now(),
            Judge::Elsewhere(verifier) => verifier.now(),
        }
    }

    pub(crate) fn tell(&self, event: &Event) {
        match &self.0.judge {
            Judge::Authority(authority) => authority.tell(event),
            Judge::Elsewhere(verifier) => verifier.tell(event),
        }
    }

    pub(crate) fn event(&self, kind: EventKind, client: &Client) -> Event {
        Event::new(kind, self.now(), client)
    }

    pub(crate) fn failure(&self, error: &AuthError, client: &Client) -> Event {
        Event::failure(error, self.now(), client)
    }

    /// Who sent a request: the socket peer or what a trusted proxy says, and the user agent.
    #[must_use]
    pub fn client(&self, head: &Head<'_>) -> Client {
        let mut user_agent = None;
        head.headers.each("user-agent", &mut |value| {
            user_agent.get_or_insert_with(|| String::from_utf8_lossy(value).into_owned());
        });
        Client::new(self.0.proxies.client(head), user_agent.as_deref())
    }
}

impl From<&Gatekey> for Verifier {
    fn from(gatekey: &Gatekey) -> Self {
        gatekey.verifier().clone()
    }
}

impl From<&Self> for Verifier {
    fn from(verifier: &Self) -> Self {
        verifier.clone()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer: &str = match &self.0.judge {
            Judge::Authority(authority) => &authority.config().issuer,
            Judge::Elsewhere(verifier) => verifier.issuer(),
        };
        f.debug_struct("Verifier").field("issuer", &issuer).finish_non_exhaustive()
    }
}

/// Puts a [`Verifier`] for another issuer's tokens together. Every setting is checked in [`VerifierBuilder::build`].
#[derive(Debug)]
pub struct VerifierBuilder {
    tokens: TokenVerifierBuilder,
    realm: String,
    trusted_proxies: Vec<String>,
    forwarded: ForwardedField,
}

impl Default for VerifierBuilder {
    fn default() -> Self {
        Self {
            tokens: TokenVerifier::builder(),
            realm: "gatekey".to_owned(),
            trusted_proxies: Vec::new(),
            forwarded: ForwardedField::default(),
        }
    }
}

impl VerifierBuilder {
    fn set(mut self, edit: impl FnOnce(&mut TokenVerifierBuilder)) -> Self {
        edit(&mut self.tokens);
        self
    }

    /// `iss`: whose tokens, compared exactly. Required.
    #[must_use]
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        self.set(|tokens| tokens.issuer(issuer))
    }

    /// `aud`: what tokens for this application name. Required. A Gatekey's is its issuer, unless it set another.
    #[must_use]
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.set(|tokens| tokens.audience(audience))
    }

    /// The issuer's one public key, whatever `kid` its tokens name.
    #[must_use]
    pub fn key(self, key: VerifyingKey) -> Self {
        self.set(|tokens| tokens.key(key))
    }

    /// The issuer's keys as a JWK Set that does not change.
    #[must_use]
    pub fn key_set(self, text: impl Into<String>) -> Self {
        self.set(|tokens| tokens.key_set(text))
    }

    /// Where the issuer's keys are fetched: at the start, every few minutes, and when a token names an unknown one. No request
    /// waits for it, and keys that are known stay in use while it fails.
    #[must_use]
    pub fn source(self, source: impl KeySource) -> Self {
        self.set(|tokens| tokens.source(Arc::new(source)))
    }

    /// What the issuer's tokens look like. A Gatekey's, unless set.
    #[must_use]
    pub fn tokens(self, shape: TokenShape) -> Self {
        self.set(|tokens| tokens.tokens(shape))
    }

    /// How far the clocks may be apart: 30 s, unless set; at most 5 minutes.
    #[must_use]
    pub fn leeway(self, leeway: Duration) -> Self {
        self.set(|tokens| tokens.leeway(leeway))
    }

    /// What an RSA key without an `alg` is for: RS256, unless set to PS256.
    #[must_use]
    pub fn rsa_keys_are_for(self, algorithm: Algorithm) -> Self {
        self.set(|tokens| tokens.rsa_keys_are_for(algorithm))
    }

    /// How often the keys are fetched: 4 minutes, unless set; 10 seconds to 24 hours. A Gatekey publishes a key 5 minutes
    /// before it signs with it. A key that the issuer withdraws is in use for as long.
    #[must_use]
    pub fn refresh_every(self, every: Duration) -> Self {
        self.set(|tokens| tokens.refresh_every(every))
    }

    /// For how long keys stay in use while the source fails; then tokens are answered 503. Without end, unless set; not less
    /// than [`VerifierBuilder::refresh_every`].
    #[must_use]
    pub fn keep_stale_for(self, limit: Duration) -> Self {
        self.set(|tokens| tokens.keep_stale_for(limit))
    }

    /// Starts also where the source fails at the start. Tokens are answered 503 until it delivers.
    #[must_use]
    pub fn start_without_keys(self) -> Self {
        self.set(TokenVerifierBuilder::start_without_keys)
    }

    /// How many tokens are remembered as verified, so that the next request with one need not verify it again: 8192, unless set;
    /// 0 for none, at most 4194304. Each takes about 2 KiB.
    #[must_use]
    pub fn token_cache(self, size: usize) -> Self {
        self.set(|tokens| tokens.token_cache(size))
    }

    /// The realm of challenges: `gatekey`, unless set. Printable ASCII without quote and backslash.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// A proxy whose word on the client's address is taken, for events: an address or a network (`10.0.0.0/8`).
    #[must_use]
    pub fn trusted_proxy(mut self, proxy: impl Into<String>) -> Self {
        self.trusted_proxies.push(proxy.into());
        self
    }

    /// Which field the trusted proxies write. `X-Forwarded-For`, unless set.
    #[must_use]
    pub fn forwarded_field(mut self, field: ForwardedField) -> Self {
        self.forwarded = field;
        self
    }

    /// Who is told what happens, beside `tracing`.
    #[must_use]
    pub fn events(self, sink: impl EventSink) -> Self {
        self.set(|tokens| tokens.events(Arc::new(sink)))
    }

    /// What tells the time. The system's clock, unless set: for tests.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.set(|tokens| tokens.clock(clock))
    }

    /// Checks every setting, fetches the keys and starts to keep them fresh, on the tokio runtime this is called on.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: the setting's name and what would be valid; `keys` where they cannot be had.
    pub async fn build(self) -> Result<Verifier, ConfigError> {
        check_realm(&self.realm)?;
        let proxies = Proxies::parse(&self.trusted_proxies, self.forwarded)?;
        let judge = Judge::Elsewhere(self.tokens.build().await?);
        Ok(Verifier::new(Inner { judge, realm: self.realm, proxies, cookies: None, pages: None }))
    }
}

#[cfg(test)]
mod tests;
