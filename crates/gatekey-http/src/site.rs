//! [`Gatekey`]: an authority, and how it is reached over HTTP. What an application builds and every adapter is given.

use std::{
    fmt,
    net::IpAddr,
    ops::Deref,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use gatekey_core::{
    Authority, AuthorityBuilder,
    config::{Config, ConfigError, is_loopback},
    event::EventSink,
    introspection::IntrospectionClient,
    keys::Keys,
    limit::{Limits, ThrottleStore},
    password::PasswordPolicy,
    random::Random,
    rotation::Policy,
    session::Client,
    store::{SessionStore, UserStore},
    time::Clock,
    user::ClaimsSource,
};

use crate::{
    address::{ForwardedField, Proxies},
    cookie::CookieNames,
    csrf::{Origin, Origins},
    head::Head,
    pages::Pages,
    verifier::{self, GuardedCookies, Judge, Verifier},
};

/// Secure login for one application: its tokens, sessions and endpoints. Cheap to clone; all clones are one.
///
/// It dereferences to [`Authority`], which has the calls an application makes itself: to end a subject's sessions,
/// rotate keys, list sessions.
#[derive(Clone)]
pub struct Gatekey(Arc<Inner>);

struct Inner {
    authority: Authority,
    site: Site,
    /// What guards the application's own routes, and our endpoints in front of what they do themselves.
    verifier: Verifier,
}

/// The settings that only our endpoints know.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) prefix: String,
    pub(crate) cookies: CookieNames,
    pub(crate) registration: bool,
    /// Whether a request without a known address was told of already.
    pub(crate) address_missed: AtomicBool,
    /// Whether the adapter has [`Gatekey::page`] in front of the application.
    pub(crate) pages_mounted: AtomicBool,
}

impl Gatekey {
    /// Starts to put one together. `issuer`, `keys` and `store` are required.
    #[must_use]
    pub fn builder() -> GatekeyBuilder {
        GatekeyBuilder::default()
    }

    /// Where the endpoints are mounted: `/auth`, unless set.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0.site.prefix
    }

    /// Who sent a request: the socket peer or what a trusted proxy says, and the user agent.
    #[must_use]
    pub fn client(&self, head: &Head<'_>) -> Client {
        self.0.verifier.client(head)
    }

    /// This application's own [`Verifier`]: its keys as they change, its cookies, its revocations.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.0.authority
    }

    pub(crate) fn site(&self) -> &Site {
        &self.0.site
    }
}

impl Deref for Gatekey {
    type Target = Authority;

    fn deref(&self) -> &Authority {
        &self.0.authority
    }
}

impl fmt::Debug for Gatekey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gatekey").field("issuer", &self.config().issuer).finish_non_exhaustive()
    }
}

/// Puts a [`Gatekey`] together. Every setting is checked in [`GatekeyBuilder::build`].
#[derive(Debug)]
pub struct GatekeyBuilder {
    authority: AuthorityBuilder,
    prefix: String,
    realm: String,
    origin: Option<String>,
    trusted_origins: Vec<String>,
    trusted_proxies: Vec<String>,
    forwarded: ForwardedField,
    insecure_on: Option<IpAddr>,
    registration: bool,
    pages: Option<Pages>,
    /// Whether the application chose how repeated refresh tokens are judged.
    rotation_chosen: bool,
}

impl Default for GatekeyBuilder {
    fn default() -> Self {
        Self {
            authority: Authority::builder(),
            prefix: "/auth".to_owned(),
            realm: "gatekey".to_owned(),
            origin: None,
            trusted_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded: ForwardedField::default(),
            insecure_on: None,
            registration: true,
            pages: None,
            rotation_chosen: false,
        }
    }
}

impl GatekeyBuilder {
    fn set(mut self, edit: impl FnOnce(&mut Config)) -> Self {
        let config = self.authority.config_mut();
        let before = config.rotation;
        edit(config);
        self.rotation_chosen |= config.rotation != before;
        self
    }

    /// `iss`: the absolute `https` URL under which people reach the application (`http` on a loopback host). Required.
    #[must_use]
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        self.set(|config| config.issuer = issuer)
    }

    /// `aud`: whom access tokens are for. The issuer, unless set.
    #[must_use]
    pub fn audience(self, audience: impl Into<String>) -> Self {
        let audience = audience.into();
        self.set(|config| config.audience = audience)
    }

    /// `client_id`: what tokens call the application. `gatekey`, unless set.
    #[must_use]
    pub fn client_id(self, client_id: impl Into<String>) -> Self {
        let client_id = client_id.into();
        self.set(|config| config.client_id = client_id)
    }

    /// The keys. Required.
    #[must_use]
    pub fn keys(mut self, keys: Keys) -> Self {
        self.authority.keys(keys);
        self
    }

    /// A store that keeps sessions and users. Required, unless [`GatekeyBuilder::sessions`] and
    /// [`GatekeyBuilder::users`] are given; what either is given goes before it, whichever is called first.
    #[must_use]
    pub fn store(mut self, store: impl SessionStore + UserStore) -> Self {
        self.authority.store(Arc::new(store));
        self
    }

    /// Where sessions are kept.
    #[must_use]
    pub fn sessions(mut self, store: Arc<dyn SessionStore>) -> Self {
        self.authority.sessions(store);
        self
    }

    /// Where users are found: an application's own users table, for instance.
    #[must_use]
    pub fn users(mut self, store: Arc<dyn UserStore>) -> Self {
        self.authority.users(store);
        self
    }

    /// Where attempts are counted. In this process's memory, unless set.
    #[must_use]
    pub fn throttle(mut self, store: Arc<dyn ThrottleStore>) -> Self {
        self.authority.throttle(store);
        self
    }

    /// The application's own claims, asked for at each issue of an access token.
    #[must_use]
    pub fn claims(mut self, source: impl ClaimsSource) -> Self {
        self.authority.claims(Arc::new(source));
        self
    }

    /// Who is told what happens, beside `tracing`.
    #[must_use]
    pub fn events(mut self, sink: impl EventSink) -> Self {
        self.authority.events(Arc::new(sink));
        self
    }

    /// What tells the time. The system's clock, unless set: for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.authority.clock(clock);
        self
    }

    /// Where random bytes come from. The cryptographic library, unless set: for tests.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.authority.random(random);
        self
    }

    /// How long an access token lives: 15 minutes, unless set; 1 second to 24 hours.
    #[must_use]
    pub fn access_ttl(self, lifetime: Duration) -> Self {
        self.set(|config| config.access_ttl = lifetime)
    }

    /// How long a refresh token lives unused: 7 days, unless set; not less than an access token.
    #[must_use]
    pub fn refresh_ttl(self, lifetime: Duration) -> Self {
        self.set(|config| config.refresh_ttl = lifetime)
    }

    /// How long a session lives, however it is used: 30 days, unless set; not less than a refresh token.
    #[must_use]
    pub fn session_ttl(self, lifetime: Duration) -> Self {
        self.set(|config| config.session_ttl = lifetime)
    }

    /// How repeated refresh tokens are judged: [`Policy::BALANCED`], unless set, and [`Policy::PAGES`] where
    /// [`GatekeyBuilder::pages`] is.
    #[must_use]
    pub fn rotation(mut self, policy: Policy) -> Self {
        self.rotation_chosen = true;
        self.set(|config| config.rotation = policy)
    }

    /// Which passwords are taken: 15 to 256 code points that are neither common nor made of the name, unless set.
    #[must_use]
    pub fn passwords(self, policy: PasswordPolicy) -> Self {
        self.set(|config| config.passwords = policy)
    }

    /// How many attempts are allowed.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        self.set(|config| config.limits = limits)
    }

    /// Every other setting of the core, to be changed in place.
    #[must_use]
    pub fn configure(self, edit: impl FnOnce(&mut Config)) -> Self {
        self.set(edit)
    }

    /// Where the endpoints are mounted: `/auth`, unless set. One or more segments of letters, digits, `-`, `_`, `.`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The realm of challenges: `gatekey`, unless set. Printable ASCII without quote and backslash.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// The origin people see in the address bar. The issuer's, unless set.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Another origin whose pages may use the cookies: `scheme://host[:port]`, compared exactly.
    #[must_use]
    pub fn trusted_origin(mut self, origin: impl Into<String>) -> Self {
        self.trusted_origins.push(origin.into());
        self
    }

    /// A proxy whose word on the client's address is taken: an address or a network (`10.0.0.0/8`).
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

    /// Drops `Secure` and the `__Host-` prefix from the cookies, for development without TLS in a browser that insists.
    /// `listen` is the address the application listens on; any but a loopback address is refused.
    #[must_use]
    pub fn insecure_cookies_on_loopback(mut self, listen: IpAddr) -> Self {
        self.insecure_on = Some(listen);
        self
    }

    /// Whether anyone may create an account at `POST /register`: yes, unless set.
    #[must_use]
    pub fn registration(mut self, open: bool) -> Self {
        self.registration = open;
        self
    }

    /// Pages without script: navigations are refreshed on the way, and refused ones may be sent to a login page. Off,
    /// unless set; the refresh cookie is `SameSite=Lax` with it, and `Strict` without.
    ///
    /// [`GatekeyBuilder::rotation`] is [`Policy::PAGES`] then, unless set. With a policy that does not displace any site
    /// can log a visitor out, and it looks like theft: it begins a navigation and leaves before the answer.
    #[must_use]
    pub fn pages(mut self, pages: Pages) -> Self {
        self.pages = Some(pages);
        self
    }

    /// A client that may ask at `POST /introspect` whether a token is live ([RFC 7662]); once for each. Without one there
    /// is no such endpoint.
    ///
    /// [RFC 7662]: https://www.rfc-editor.org/rfc/rfc7662
    #[must_use]
    pub fn introspection_client(self, client: IntrospectionClient) -> Self {
        self.set(|config| config.introspection_clients.push(client))
    }

    /// Checks every setting, reads the recent revocations and starts to listen for more, on the tokio runtime this is
    /// called on.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: the setting's name and what would be valid, or the store's error.
    pub async fn build(mut self) -> Result<Gatekey, ConfigError> {
        let (origins, proxies, cookies) = self.checked()?;
        if self.pages.is_some() && !self.rotation_chosen {
            self.authority.config_mut().rotation = Policy::PAGES;
        }
        let authority = self.authority.build().await?;
        let verifier = Verifier::new(verifier::Inner {
            judge: Judge::Authority(authority.clone()),
            realm: self.realm,
            proxies,
            cookies: Some(GuardedCookies { names: cookies.clone(), origins }),
            pages: self.pages,
        });
        let site = Site {
            prefix: self.prefix,
            cookies,
            registration: self.registration,
            address_missed: AtomicBool::new(false),
            pages_mounted: AtomicBool::new(false),
        };
        Ok(Gatekey(Arc::new(Inner { authority, site, verifier })))
    }

    fn checked(&mut self) -> Result<(Origins, Proxies, CookieNames), ConfigError> {
        let segment = |segment: &str| {
            !segment.is_empty()
                && !segment.starts_with('.')
                && segment.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        if !self.prefix.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment)) {
            let problem =
                "must be a path such as /auth: a slash before each segment of letters, digits, - _ .";
            return Err(ConfigError::setting("prefix", problem));
        }
        verifier::check_realm(&self.realm)?;
        self.pages.as_ref().map_or(Ok(()), Pages::check)?;
        let origin = |name: &'static str, text: &str| {
            let problem = || format!("{text:?} is not an origin; scheme://host[:port] without a path is one");
            Origin::parse(text).ok_or_else(|| ConfigError::setting(name, problem()))
        };
        let issuer = self.authority.config_mut().issuer.clone();
        let own = match &self.origin {
            Some(text) => origin("origin", text)?,
            None => {
                let end = issuer.match_indices('/').nth(2).map_or(issuer.len(), |(at, _)| at);
                let problem = || format!("{issuer:?} is no absolute URL such as https://app.example.com");
                Origin::parse(&issuer[..end]).ok_or_else(|| ConfigError::setting("issuer", problem()))?
            }
        };
        let insecure_origin = |origin: &Origin| {
            origin.as_str().strip_prefix("http://").is_some_and(|authority| !is_loopback(authority))
        };
        let trusted = self
            .trusted_origins
            .iter()
            .map(|text| origin("trusted_origins", text))
            .collect::<Result<Vec<_>, _>>()?;
        // An origin that follows from the issuer is judged with it, under its name.
        let set = self.origin.as_ref().map(|_| &own);
        if trusted.iter().chain(set).any(insecure_origin) {
            let problem =
                "an http origin off loopback cannot be trusted: anyone on the way speaks for it; use https";
            return Err(ConfigError::setting("trusted_origins", problem));
        }
        let proxies = Proxies::parse(&self.trusted_proxies, self.forwarded)?;
        let cookies = match self.insecure_on {
            None => CookieNames::secure(),
            Some(listen) if listen.to_canonical().is_loopback() => CookieNames::insecure(),
            Some(listen) => {
                let problem =
                    format!("cookies without Secure are for loopback addresses only, not for {listen}");
                return Err(ConfigError::setting("insecure_loopback_cookies", problem));
            }
        };
        let cookies = if self.pages.is_some() { cookies.lax() } else { cookies };
        Ok((Origins { own, trusted }, proxies, cookies))
    }
}
