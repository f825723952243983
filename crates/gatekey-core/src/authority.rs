//! [`Authority`]: log in, authenticate, refresh, log out, revoke. Read this first.
//!
//! Each call is a short story told top-down: limits, then proof, then one atomic step in the store, then the tokens.
//! What is decided here:
//!
//! 1. **A fault denies.** A store, a clock or a generator that fails ends the call in an error that grants nothing.
//! 2. **Same work for every login.** An unknown name costs one hash, a disabled account too.
//! 3. **Attempts are counted before the password is looked at**, so that guesses sent side by side are all counted; a
//!    success gives back what it took.
//! 4. **The session is written last.** Everything that can fail was done before, so no login leaves half a session.
//! 5. **Whoever revokes applies it here first**: the list of revoked sessions is extended before the call returns.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use crate::{
    access::{self, AccessRules, Principal},
    cache::{TokenCache, Validity},
    config::{Config, ConfigError},
    error::{AuthError, ClientRefusal, GrantRefusal, LoginRefusal, TokenError},
    event::{self, Event, EventKind, EventSink, Pseudonyms},
    introspection,
    keys::{Algorithm, KeyError, KeyOverlap, KeyPurpose, KeyRing, Keys, SigningKey},
    limit::{Charge, LimitRule, MemoryThrottle, ThrottleStore, Verdict},
    password::{HashError, PasswordHash, PasswordHasher},
    random::{Random, SystemRandom},
    refresh::{self, RefreshRules, RefreshToken, SealFailed},
    revocation::{FeedConfig, RevocationList, WhenLost},
    rotation::{self, Attempt, Outcome, Presented, Successor},
    secret::Secret,
    session::{Chain, Client, EndReason, Session, SessionId, SubjectId},
    store::{Account, Inserted, Revocation, Rotation, SessionStore, StoreError, Subscription, UserStore},
    time::{Clock, SystemClock, Timestamp},
    user::{ClaimsSource, NewUser, NoClaims, Rule, SharedClaims, User, UserChange, Username},
};

/// The tokens a login or a refresh grants.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The access token.
    pub access: Secret<String>,
    /// How long it lives, in whole seconds.
    pub access_expires_in: u64,
    /// The refresh token to use from now on.
    pub refresh: Secret<String>,
    /// How long it lives unused, in whole seconds; never past the session's absolute end.
    pub refresh_expires_in: u64,
    /// Whether the refresh token is the one that was presented, left in place because several requests are in flight.
    /// A cookie must not be set then: a slow answer would rewind the jar.
    pub held: bool,
    /// The session.
    pub session: SessionId,
}

/// An access token that nobody was given yet.
struct Access {
    token: Secret<String>,
    expires_at: Timestamp,
}

impl Tokens {
    fn new(access: Access, refresh: RefreshToken, session: &Session, held: bool, now: Timestamp) -> Self {
        Self {
            access: access.token,
            access_expires_in: seconds_until(access.expires_at, now),
            refresh,
            refresh_expires_in: seconds_until(session.end(), now),
            held,
            session: session.id.clone(),
        }
    }
}

/// What a limit by network is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// A login, or a change of a password.
    Login,
    /// A registration.
    Register,
    /// A refresh.
    Refresh,
    /// A client's secret. Only wrong ones count, and asking counts nothing: [`Authority::authenticate_client`] does.
    Client,
}

/// The part that issues and judges tokens. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    config: Config,
    access: AccessRules,
    verified: TokenCache,
    refresh: RefreshRules,
    keys: KeyRing,
    sessions: Arc<dyn SessionStore>,
    users: Arc<dyn UserStore>,
    /// Whether the two are one.
    together: bool,
    throttle: Arc<dyn ThrottleStore>,
    /// Wrong client secrets.
    client_failures: MemoryThrottle,
    claims: SharedClaims,
    hasher: PasswordHasher,
    revoked: RevocationList,
    pseudonyms: Pseudonyms,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    sink: Option<Arc<dyn EventSink>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("issuer", &self.0.config.issuer).finish_non_exhaustive()
    }
}

/// Puts an [`Authority`] together.
#[derive(Debug, Default)]
pub struct AuthorityBuilder {
    config: Config,
    keys: Option<Keys>,
    store: Option<(Arc<dyn SessionStore>, Arc<dyn UserStore>)>,
    sessions: Option<Arc<dyn SessionStore>>,
    users: Option<Arc<dyn UserStore>>,
    throttle: Option<Arc<dyn ThrottleStore>>,
    claims: Option<SharedClaims>,
    clock: Option<Arc<dyn Clock>>,
    random: Option<Arc<dyn Random>>,
    sink: Option<Arc<dyn EventSink>>,
}

impl AuthorityBuilder {
    /// The settings, to be changed in place.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The keys. Required.
    pub fn keys(&mut self, keys: Keys) {
        self.keys = Some(keys);
    }

    /// Where sessions are kept and users found, both in one place: a refresh may then read both at once. What
    /// [`AuthorityBuilder::sessions`] or [`AuthorityBuilder::users`] is given goes before it, whichever is called first.
    pub fn store<S: SessionStore + UserStore>(&mut self, store: Arc<S>) {
        self.store = Some((Arc::clone(&store) as Arc<dyn SessionStore>, store));
    }

    /// Where sessions are kept. Required, unless [`AuthorityBuilder::store`] is given.
    pub fn sessions(&mut self, store: Arc<dyn SessionStore>) {
        self.sessions = Some(store);
    }

    /// Where users are found. Required, unless [`AuthorityBuilder::store`] is given.
    pub fn users(&mut self, store: Arc<dyn UserStore>) {
        self.users = Some(store);
    }

    /// Where attempts are counted. In this process's memory, unless set.
    pub fn throttle(&mut self, store: Arc<dyn ThrottleStore>) {
        self.throttle = Some(store);
    }

    /// The host's own claims. None, unless set.
    pub fn claims(&mut self, source: Arc<dyn ClaimsSource>) {
        self.claims = Some(source);
    }

    /// What tells the time. The system's clock, unless set.
    pub fn clock(&mut self, clock: Arc<dyn Clock>) {
        self.clock = Some(clock);
    }

    /// Where random bytes come from. The cryptographic library, unless set.
    pub fn random(&mut self, random: Arc<dyn Random>) {
        self.random = Some(random);
    }

    /// Who is told what happens, beside `tracing`.
    pub fn events(&mut self, sink: Arc<dyn EventSink>) {
        self.sink = Some(sink);
    }

    /// Checks the settings, reads the recent revocations and starts to listen for more, on the tokio runtime this is
    /// called on.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the name of the setting, or the store's error.
    pub async fn build(self) -> Result<Authority, ConfigError> {
        let config = self.config.checked()?;
        let missing = |name| move || ConfigError::setting(name, "is not set");
        let keys = self.keys.ok_or_else(missing("keys"))?;
        let together = self.sessions.is_none() && self.users.is_none();
        let (of_sessions, of_users) = self.store.unzip();
        let sessions = self.sessions.or(of_sessions).ok_or_else(missing("store"))?;
        let users = self.users.or(of_users).ok_or_else(missing("users"))?;
        let random = self.random.unwrap_or_else(|| Arc::new(SystemRandom));
        let hasher = PasswordHasher::start(config.argon2, config.hashing, Arc::clone(&random))
            .map_err(|error| ConfigError::setting("hashing", error.to_string()))?;
        let pseudonyms = Pseudonyms::new(keys.derive(b"gatekey pseudonyms v1")?);
        let overlap = KeyOverlap { access: config.access_ttl + config.leeway, refresh: config.refresh_ttl };
        let authority = Authority(Arc::new(Inner {
            access: AccessRules {
                issuer: config.issuer.clone(),
                audience: config.audience.clone(),
                client_id: config.client_id.clone(),
                lifetime: config.access_ttl,
                leeway: config.leeway,
            },
            verified: TokenCache::new(config.token_cache),
            refresh: RefreshRules { issuer: config.issuer.clone(), lifetime: config.refresh_ttl },
            keys: KeyRing::new(keys, overlap),
            sessions,
            users,
            together,
            throttle: self.throttle.unwrap_or_else(|| Arc::new(MemoryThrottle::default())),
            client_failures: MemoryThrottle::new(CLIENT_NETWORKS),
            claims: self.claims.unwrap_or_else(|| Arc::new(NoClaims)),
            hasher,
            revoked: RevocationList::new(),
            pseudonyms,
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            random,
            sink: self.sink,
            config,
        }));
        authority.start().await.map_err(ConfigError::Store)?;
        Ok(authority)
    }
}

impl Authority {
    /// Starts to put one together.
    #[must_use]
    pub fn builder() -> AuthorityBuilder {
        AuthorityBuilder::default()
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The present instant, by this authority's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &KeyRing {
        &self.0.keys
    }

    /// How many passwords were hashed since the start.
    #[must_use]
    pub fn hashes(&self) -> u64 {
        self.0.hasher.hashes()
    }

    // ---- Limits by network -------------------------------------------------------------------------------------

    /// Counts an attempt against the client's network. An unknown address is not limited: one bucket for all unknown
    /// clients would let anyone lock everyone out.
    ///
    /// # Errors
    ///
    /// [`AuthError::RateLimited`], [`AuthError::Unavailable`].
    pub async fn admit(&self, gate: Gate, client: &Client) -> Result<(), AuthError> {
        let Some(network) = client.network() else {
            return Ok(());
        };
        let limits = &self.0.config.limits;
        let (what, rule) = match gate {
            Gate::Login => ("login_network", limits.login_network()),
            Gate::Register => ("register_network", limits.register_network()),
            Gate::Refresh => ("refresh_network", limits.refresh_network()),
            Gate::Client => return self.admit_client(client),
        };
        let charge = self.charge(rule, what, &[&network.to_string()]);
        self.take(charge.as_slice(), what, client, None, self.now()).await
    }

    fn charge(&self, rule: Option<LimitRule>, what: &str, parts: &[&str]) -> Option<Charge> {
        rule.map(|rule| Charge { key: self.0.pseudonyms.counter(what, parts), rule })
    }

    async fn take(
        &self,
        charges: &[Charge],
        what: &'static str,
        client: &Client,
        subject: Option<&SubjectId>,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        if charges.is_empty() {
            return Ok(());
        }
        match self.0.throttle.take(charges, now).await? {
            Verdict::Passed => Ok(()),
            Verdict::Throttled { retry_after } => {
                Err(self.throttled(what, client, subject.cloned(), retry_after))
            }
        }
    }

    fn throttled(
        &self,
        what: &'static str,
        client: &Client,
        subject: Option<SubjectId>,
        retry_after: Duration,
    ) -> AuthError {
        let mut event = self.event(EventKind::Throttled, client);
        event.subject = subject;
        event.reason = Some(what);
        self.tell(&event);
        AuthError::RateLimited { retry_after }
    }

    /// What a guess at an account's password costs: an attempt of the account from this network, and one of the
    /// account from anywhere.
    fn guess_charges(&self, name: &str, client: &Client) -> Vec<Charge> {
        let limits = &self.0.config.limits;
        let from_here = client.network().and_then(|network| {
            self.charge(limits.account_network(), "failures", &[name, &network.to_string()])
        });
        from_here.into_iter().chain(self.charge(limits.account(), "account", &[name])).collect()
    }

    /// An attempt that was no failure. Where the counters cannot be reached it stays counted: that refuses somebody too
    /// early and lets nobody in.
    async fn give_back(&self, charges: &[Charge], taken_at: Timestamp, client: &Client) {
        if let Err(error) = self.0.throttle.give_back(charges, taken_at).await {
            self.tell(&self.failure(&error.into(), client));
        }
    }

    /// A guess that was right: it is not counted, and the failures from this network are forgotten.
    async fn forgive(&self, charges: &[Charge], taken_at: Timestamp, client: &Client) {
        for charge in charges {
            match charge.rule {
                LimitRule::Rate { .. } => {
                    self.give_back(std::slice::from_ref(charge), taken_at, client).await
                }
                LimitRule::Backoff { .. } => {
                    if let Err(error) = self.0.throttle.clear(&charge.key).await {
                        self.tell(&self.failure(&error.into(), client));
                    }
                }
            }
        }
    }

    // ---- Accounts ----------------------------------------------------------------------------------------------

    /// Creates an account. Opens no session.
    ///
    /// # Errors
    ///
    /// [`AuthError::Validation`] for the field `username` or `password`, [`AuthError::UsernameTaken`],
    /// [`AuthError::Unavailable`].
    pub async fn register(
        &self,
        name: &str,
        password: Secret<String>,
        client: &Client,
    ) -> Result<User, AuthError> {
        let username =
            Username::new(name).map_err(|rule| AuthError::Validation { field: "username", rule })?;
        self.accept_password(password.expose(), &username, "password").await?;
        let hash = self.hash(password).await?;
        let user = NewUser {
            id: SubjectId::random(&*self.0.random)?,
            username,
            password_hash: hash,
            created_at: self.now(),
        };
        let user = self.0.users.create(user).await?.ok_or(AuthError::UsernameTaken)?;
        let mut event = self.event(EventKind::Registered, client);
        event.subject = Some(user.id.clone());
        self.tell(&event);
        Ok(user)
    }

    /// Refuses a new password that breaks the policy, or that the host's breach check knows.
    async fn accept_password(
        &self,
        password: &str,
        name: &Username,
        field: &'static str,
    ) -> Result<(), AuthError> {
        let policy = &self.0.config.passwords;
        policy.check(password, name).map_err(|rule| AuthError::Validation { field, rule })?;
        if policy.is_breached(password).await? {
            return Err(AuthError::Validation { field, rule: Rule::Common });
        }
        Ok(())
    }

    async fn hash(&self, password: Secret<String>) -> Result<PasswordHash, AuthError> {
        self.0.hasher.hash(password).await.map_err(hashing_failed)
    }

    /// Changes what an administrator may change of an account in the user store. Disabling ends its sessions.
    ///
    /// # Errors
    ///
    /// [`AuthError::NotFound`], [`AuthError::Unavailable`], [`AuthError::Internal`] if the store does not offer it.
    pub async fn update_user(&self, subject: &SubjectId, change: &UserChange) -> Result<(), AuthError> {
        if !self.0.users.update(subject, change).await? {
            return Err(AuthError::NotFound);
        }
        let mut event = self.event(EventKind::UserChanged, &Client::default());
        event.subject = Some(subject.clone());
        self.tell(&event);
        if change.disabled == Some(true) {
            self.end_sessions(subject, None, EndReason::Disabled, &Client::default()).await?;
        }
        Ok(())
    }

    /// The account of that name.
    ///
    /// # Errors
    ///
    /// [`AuthError::NotFound`], [`AuthError::Unavailable`].
    pub async fn user(&self, name: &str) -> Result<User, AuthError> {
        let name = Username::new(name).map_err(|_| AuthError::NotFound)?;
        self.0.users.find_by_name(&name).await?.ok_or(AuthError::NotFound)
    }

    // ---- Log in ------------------------------------------------------------------------------------------------

    /// Checks a name and a password and opens a session. `replaces` is the session that the same browser had before; it
    /// ends first.
    ///
    /// # Errors
    ///
    /// [`AuthError::InvalidCredentials`] for an unknown name, a wrong password and a disabled account alike, after the
    /// same work; [`AuthError::RateLimited`] without looking at the password; [`AuthError::Unavailable`].
    pub async fn login(
        &self,
        name: &str,
        password: Secret<String>,
        client: &Client,
        replaces: Option<&SessionId>,
    ) -> Result<Tokens, AuthError> {
        // Judged against a later "revoke all": what was read before it must not outlive it.
        let began = self.now();
        let username = Username::new(name).ok();
        let charges = self.guess_charges(username.as_ref().map_or(name, Username::canonical), client);
        self.take(&charges, "failures", client, None, began).await?;

        let found = match &username {
            Some(username) => self.0.users.find_by_name(username).await,
            None => Ok(None),
        };
        let known = found.as_ref().ok().and_then(Option::as_ref).map(|user| user.id.clone());
        let proved = match found {
            Ok(user) => self.prove(user, password, client).await,
            Err(error) => Err(error.into()),
        };
        let user = match proved {
            Ok(user) => user,
            Err(error) => {
                // Only a wrong guess is a failure; an attempt that could not be judged is given back.
                if !matches!(error, AuthError::InvalidCredentials(_)) {
                    self.give_back(&charges, began, client).await;
                }
                return Err(self.login_refused(name, known, error, client));
            }
        };
        self.forgive(&charges, began, client).await;

        if let Some(old) = replaces {
            self.end_session(old, None, EndReason::Replaced, client).await?;
        }
        self.open(&user, began, client).await.map_err(|error| self.login_refused(name, known, error, client))
    }

    fn login_refused(
        &self,
        name: &str,
        known: Option<SubjectId>,
        error: AuthError,
        client: &Client,
    ) -> AuthError {
        if let AuthError::InvalidCredentials(refusal) = error {
            let mut event = self.event(EventKind::LoginFailed, client);
            event.name = known.is_none().then(|| self.0.pseudonyms.name(name));
            event.subject = known;
            event.reason = Some(refusal.reason());
            self.tell(&event);
        }
        error
    }

    /// One hash, whoever is asked for; then, for the right password, perhaps another to renew it.
    async fn prove(
        &self,
        user: Option<User>,
        password: Secret<String>,
        client: &Client,
    ) -> Result<User, AuthError> {
        let stored = user.as_ref().and_then(|user| user.password_hash.as_ref());
        let verdict = self.0.hasher.verify(password.clone(), stored).await.map_err(hashing_failed)?;
        let Some(user) = user else {
            return Err(AuthError::InvalidCredentials(LoginRefusal::UnknownName));
        };
        if !verdict.matches {
            return Err(AuthError::InvalidCredentials(LoginRefusal::WrongPassword));
        }
        if user.disabled {
            return Err(AuthError::InvalidCredentials(LoginRefusal::Disabled));
        }
        if verdict.rehash {
            self.renew_hash(&user, password, client).await;
        }
        Ok(user)
    }

    /// Replaces a weaker or imported hash. The password was right, so whatever fails here does not fail the login.
    async fn renew_hash(&self, user: &User, password: Secret<String>, client: &Client) {
        let Some(old) = &user.password_hash else {
            return;
        };
        let renewed = async {
            let new = self.hash(password).await?;
            Ok::<_, AuthError>(self.0.users.set_password_hash(&user.id, old.expose(), new.expose()).await?)
        };
        let mut event = match renewed.await {
            Ok(true) => self.event(EventKind::PasswordRehashed, client),
            // Somebody else replaced it meanwhile.
            Ok(false) => return,
            Err(error) => self.failure(&error, client),
        };
        event.subject = Some(user.id.clone());
        self.tell(&event);
    }

    async fn open(&self, user: &User, auth_time: Timestamp, client: &Client) -> Result<Tokens, AuthError> {
        let now = self.now();
        let keys = self.0.keys.snapshot();
        let id = SessionId::generate(&user.id, &*self.0.random)?;
        let expires_at = (now + self.0.config.session_ttl).whole_secs();
        let idle_expires_at = self.0.refresh.expiry(expires_at, now);
        let refresh = self.0.refresh.issue(&keys, &id, 0, idle_expires_at, &*self.0.random, now)?;
        let session = Session {
            id,
            subject: user.id.clone(),
            scope: user.scope.clone(),
            auth_time,
            created_at: now,
            expires_at,
            idle_expires_at,
            last_used_at: now,
            client: client.clone(),
            chain: Chain::start(refresh::digest(refresh.expose()), now),
            ended: None,
        };
        let access = self.access_token(user, &session, session.scope.as_deref(), session.end(), now).await?;
        match self.0.sessions.insert(&session, self.0.config.max_sessions).await? {
            Inserted::Stale => Err(AuthError::InvalidCredentials(LoginRefusal::Stale)),
            Inserted::Opened { evicted } => {
                for id in &evicted {
                    self.note_ended(id, Some(&user.id), EndReason::Evicted, client);
                }
                self.tell(&self.session_event(EventKind::LoginSucceeded, &session, client));
                Ok(Tokens::new(access, refresh, &session, false, now))
            }
        }
    }

    /// An access token for the session.
    async fn access_token(
        &self,
        user: &User,
        session: &Session,
        scope: Option<&str>,
        end: Timestamp,
        now: Timestamp,
    ) -> Result<Access, AuthError> {
        let own = self.0.claims.claims(user, session).await?;
        let id = self.0.random.token::<16>()?;
        // No token outlives its session's end: expiry ends all use at once.
        let expires_at = (now + self.0.access.lifetime).min(end).whole_secs();
        let grant = access::Grant { user, session, scope, own, id: &id, now, expires_at };
        let token = Secret::new(self.0.access.issue(&self.0.keys.snapshot(), grant)?);
        Ok(Access { token, expires_at })
    }

    // ---- Authenticate ------------------------------------------------------------------------------------------

    /// Verifies an access token and says whom it speaks for. Does no I/O.
    ///
    /// # Errors
    ///
    /// [`AuthError::InvalidToken`]; [`AuthError::Unavailable`] if revocations have not been heard for too long and the
    /// set-up says to close then.
    pub fn authenticate(&self, token: &(impl AsRef<[u8]> + ?Sized)) -> Result<Principal, AuthError> {
        self.judge(token.as_ref())
    }

    fn judge(&self, token: &[u8]) -> Result<Principal, AuthError> {
        let principal = self.whose(token)?;
        let feed = &self.0.config.feed;
        if feed.when_lost == WhenLost::Close && self.0.revoked.silence() > feed.lost_after {
            return Err(AuthError::unavailable(FeedLost));
        }
        if self.0.revoked.contains(principal.session_text()) {
            return Err(AuthError::InvalidToken(TokenError::Revoked));
        }
        Ok(principal)
    }

    /// Verifies an access token, also one of a session already revoked: for ending sessions, never for letting in.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn identify(&self, token: &(impl AsRef<[u8]> + ?Sized)) -> Result<Principal, TokenError> {
        self.whose(token.as_ref())
    }

    fn whose(&self, token: &[u8]) -> Result<Principal, TokenError> {
        let now = self.now();
        let place = self.0.verified.place(token);
        let found = place.as_ref().and_then(|place| place.find(self.0.keys.generation(), now));
        if let Some(principal) = found {
            return Ok(principal);
        }
        let keys = self.0.keys.present();
        let principal = self.0.access.verify(&keys, token, now)?;
        if let Some(place) = place {
            let until = (principal.expires_at() + self.0.access.leeway).min(keys.stands_until(now));
            place.keep(Validity { generation: keys.generation, from: now, until }, &principal);
        }
        Ok(principal)
    }

    /// The session of a refresh token that is ours and has not expired, whether or not it is the live one.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn identify_refresh(&self, token: &str) -> Result<SessionId, TokenError> {
        self.0.refresh.verify(&self.0.keys.snapshot(), token, self.now()).map(|presented| presented.session)
    }

    // ---- Clients that ask about tokens --------------------------------------------------------------------------

    /// Whether a client's secret is looked at. Counts nothing.
    fn admit_client(&self, client: &Client) -> Result<(), AuthError> {
        let Some(charge) = self.client_charge(client) else { return Ok(()) };
        match self.0.client_failures.look(&charge, self.now()) {
            Verdict::Passed => Ok(()),
            Verdict::Throttled { retry_after } => {
                Err(self.throttled(CLIENT_FAILURES, client, None, retry_after))
            }
        }
    }

    fn client_charge(&self, client: &Client) -> Option<Charge> {
        let network = client.network()?.to_string();
        self.charge(self.0.config.limits.client_failures(), CLIENT_FAILURES, &[&network])
    }

    /// Checks the credentials of a client that asks about a token, where it sent any. A wrong secret is counted against
    /// its network; [`Authority::admit`] with [`Gate::Client`] asks whether there were too many.
    ///
    /// # Errors
    ///
    /// [`AuthError::InvalidClient`].
    pub fn authenticate_client(
        &self,
        credentials: Option<(&str, &Secret<String>)>,
        client: &Client,
    ) -> Result<(), AuthError> {
        let judged = match credentials {
            None => Err(ClientRefusal::Missing),
            Some((id, secret)) => {
                introspection::authenticate(&self.0.config.introspection_clients, id, secret)
            }
        };
        judged.map_err(|refusal| {
            // Who sent none has guessed nothing.
            if let (true, Some(charge)) = (credentials.is_some(), self.client_charge(client)) {
                self.0.client_failures.count(&charge, self.now());
            }
            let mut event = self.event(EventKind::ClientRefused, client);
            event.reason = Some(refusal.reason());
            self.tell(&event);
            AuthError::InvalidClient(refusal)
        })
    }

    // ---- Refresh -----------------------------------------------------------------------------------------------

    /// Swaps a refresh token, as [`crate::rotation`] decides. `scope` may narrow the access token's scope.
    ///
    /// # Errors
    ///
    /// [`AuthError::InvalidGrant`] (the client has to log in again), [`AuthError::Superseded`],
    /// [`AuthError::InvalidScope`], [`AuthError::RateLimited`], [`AuthError::Unavailable`]; after the last four the
    /// same token may be presented again.
    pub async fn refresh(
        &self,
        token: &str,
        scope: Option<&str>,
        client: &Client,
    ) -> Result<Tokens, AuthError> {
        let now = self.now();
        let keys = self.0.keys.snapshot();
        let presented = match self.0.refresh.verify(&keys, token, now) {
            Ok(presented) => presented,
            Err(error) => {
                return Err(self.refresh_refused(GrantRefusal::Token(error), None, client));
            }
        };
        let limit = self.0.config.limits.refresh_session();
        let charge = self.charge(limit, "refresh_session", &[presented.session.as_str()]);
        self.take(charge.as_slice(), "refresh_session", client, None, now).await?;
        let Some((row, user)) = self.row_and_subject(&presented.session).await? else {
            return Err(self.refresh_refused(GrantRefusal::UnknownSession, None, client));
        };
        let Some(user) = user else {
            self.end_session(&row.id, None, EndReason::Disabled, client).await?;
            return Err(self.refresh_refused(GrantRefusal::Subject, Some(&row), client));
        };
        // Everything that can fail is done before the swap. What fails after it leaves the client with a token that was
        // used: were the fault to last longer than the grace, coming back with it would be taken for reuse.
        let expected = self.expect(&row, &presented, client, now);
        let access = if expected.grants() {
            Some(self.access_for(&user, &row, expected, scope, now).await?)
        } else {
            None
        };

        let (rotation, successor) = self.swap(token, &presented, row, client, now).await?;
        let Some(Rotation { outcome, session, before }) = rotation else {
            return Err(self.refresh_refused(GrantRefusal::UnknownSession, None, client));
        };
        let kind = match outcome {
            Outcome::Rotated => EventKind::RefreshRotated,
            Outcome::Replayed => EventKind::RefreshReplayed,
            Outcome::Held => EventKind::RefreshHeld,
            Outcome::Displaced => EventKind::RefreshDisplaced,
            Outcome::Superseded | Outcome::Renumber => EventKind::RefreshSuperseded,
            Outcome::Reused | Outcome::Ended | Outcome::Expired | Outcome::Future | Outcome::Foreign => {
                return Err(self.dead_grant(outcome, &session, before, client));
            }
        };
        let mut event = self.session_event(kind, &session, client);
        event.previous = Some(before);
        if kind == EventKind::RefreshSuperseded {
            self.tell(&event);
            return Err(AuthError::Superseded);
        }
        let refresh = if outcome == Outcome::Replayed {
            let Chain { generation, live, sealed, .. } = &session.chain;
            refresh::unseal(token, &session.id, *generation, *live, sealed)
                .ok_or_else(|| AuthError::internal(SealFailed))?
        } else if outcome == Outcome::Held {
            Secret::new(token.to_owned())
        } else {
            successor
        };
        let access = match access {
            Some(access) => access,
            // Other refreshes came between, and this one is answered after all.
            None => self.access_for(&user, &session, outcome, scope, now).await?,
        };
        self.tell(&event);
        Ok(Tokens::new(access, refresh, &session, outcome == Outcome::Held, now))
    }

    /// What the swap will say, as far as the row tells.
    fn expect(&self, row: &Session, presented: &Presented, client: &Client, now: Timestamp) -> Outcome {
        let successor = Successor {
            generation: presented.generation,
            digest: presented.digest,
            sealed: Vec::new(),
            expires_at: now,
        };
        let (presented, client) = (presented.clone(), client.clone());
        let policy = self.0.config.rotation;
        rotation::decide(row, &Attempt { presented, successor, client, now, policy, seen: None })
    }

    /// The access token of a refresh: of the scope that was asked for, as far as it was granted at login and the account
    /// still has it.
    async fn access_for(
        &self,
        user: &User,
        session: &Session,
        outcome: Outcome,
        wanted: Option<&str>,
        now: Timestamp,
    ) -> Result<Access, AuthError> {
        if wanted.is_some_and(|wanted| !access::scope_covers(session.scope.as_deref(), wanted)) {
            return Err(AuthError::InvalidScope);
        }
        let granted = granted_scope(session, user);
        let scope = match wanted {
            Some(wanted) => Some(intersection(wanted, granted.as_deref())),
            None => granted,
        };
        // A rotation moves the idle end, to no earlier than this token's.
        let stays = matches!(outcome, Outcome::Replayed | Outcome::Held);
        let end = if stays { session.end() } else { session.expires_at };
        self.access_token(user, session, scope.as_deref(), end, now).await
    }

    /// Makes a successor and asks the store to swap. A displaced successor leaves a gap in the generations, so the store
    /// may ask for another number once.
    async fn swap(
        &self,
        token: &str,
        presented: &Presented,
        seen: Session,
        client: &Client,
        now: Timestamp,
    ) -> Result<(Option<Rotation>, RefreshToken), AuthError> {
        let keys = self.0.keys.snapshot();
        let random = &*self.0.random;
        // The absolute end is the row's to know; it cuts the row's expiry and what the client is told.
        let expires_at = self.0.refresh.expiry(Timestamp::from_millis(i64::MAX), now);
        let mut generation = presented.generation.saturating_add(1);
        let mut seen = Some(seen);
        for _ in 0..3 {
            let fresh =
                self.0.refresh.issue(&keys, &presented.session, generation, expires_at, random, now)?;
            let successor = refresh::seal(token, &presented.session, generation, &fresh, expires_at, random)?;
            let attempt = Attempt {
                presented: presented.clone(),
                successor,
                client: client.clone(),
                now,
                policy: self.0.config.rotation,
                seen: seen.take(),
            };
            match self.0.sessions.rotate(&attempt).await? {
                Some(Rotation { outcome: Outcome::Renumber, session, .. }) => {
                    generation = session.chain.generation.saturating_add(1);
                }
                settled => return Ok((settled, fresh)),
            }
        }
        Err(AuthError::unavailable(StoreError::unavailable("other refreshes of the session came between")))
    }

    /// A session and its subject, where that may still log in: one read where both are in one store that can.
    async fn row_and_subject(&self, id: &SessionId) -> Result<Option<(Session, Option<User>)>, AuthError> {
        let found = if self.0.together {
            self.0.sessions.find_with_account(id).await?
        } else {
            self.0.sessions.find(id).await?.map(|row| (row, Account::Elsewhere))
        };
        Ok(match found {
            None => None,
            Some((row, Account::Here(user))) => Some((row, user.filter(|user| !user.disabled))),
            Some((row, Account::Elsewhere)) => {
                let user = self.live_subject(&row.subject).await?;
                Some((row, user))
            }
        })
    }

    async fn live_subject(&self, subject: &SubjectId) -> Result<Option<User>, AuthError> {
        Ok(self.0.users.find_by_id(subject).await?.filter(|user| !user.disabled))
    }

    fn dead_grant(&self, outcome: Outcome, session: &Session, before: Client, client: &Client) -> AuthError {
        let refusal = GrantRefusal::Rotation(outcome);
        let kind = match outcome {
            Outcome::Reused => {
                self.list_ended([session.id.clone()]);
                EventKind::RefreshReuse
            }
            Outcome::Future | Outcome::Foreign => EventKind::StoreRolledBack,
            Outcome::Rotated
            | Outcome::Replayed
            | Outcome::Held
            | Outcome::Superseded
            | Outcome::Displaced
            | Outcome::Renumber
            | Outcome::Ended
            | Outcome::Expired => EventKind::RefreshRefused,
        };
        let mut event = self.session_event(kind, session, client);
        event.previous = Some(before);
        event.reason = Some(refusal.reason());
        self.tell(&event);
        AuthError::InvalidGrant(refusal)
    }

    fn refresh_refused(
        &self,
        refusal: GrantRefusal,
        session: Option<&Session>,
        client: &Client,
    ) -> AuthError {
        let mut event = match session {
            Some(session) => self.session_event(EventKind::RefreshRefused, session, client),
            None => self.event(EventKind::RefreshRefused, client),
        };
        event.reason = Some(refusal.reason());
        self.tell(&event);
        AuthError::InvalidGrant(refusal)
    }

    // ---- Sessions ----------------------------------------------------------------------------------------------

    /// The subject's live sessions, newest first.
    ///
    /// # Errors
    ///
    /// [`AuthError::Unavailable`].
    pub async fn sessions(&self, subject: &SubjectId) -> Result<Vec<Session>, AuthError> {
        Ok(self.0.sessions.list(subject, self.now()).await?)
    }

    /// Ends one session, of `owner` where given; its access tokens are refused from now on. `false` if there was none to
    /// end: this node then refuses its tokens all the same, since the call that ended it may have had no answer. (Where
    /// an owner is given, only if the session is that owner's; where none is, the caller vouches for the id.)
    ///
    /// # Errors
    ///
    /// [`AuthError::Unavailable`].
    pub async fn end_session(
        &self,
        id: &SessionId,
        owner: Option<&SubjectId>,
        reason: EndReason,
        client: &Client,
    ) -> Result<bool, AuthError> {
        let ended = self.0.sessions.revoke(id, owner, reason, self.now()).await?;
        if ended {
            self.note_ended(id, owner, reason, client);
            return Ok(true);
        }
        // It may have been ended by this very request, sent before and not answered, and the feed may not have told yet:
        // whoever is answered now is not to find its tokens still good.
        match owner {
            None => self.list_ended([id.clone()]),
            // Anybody can name an id. What it is, the store knows.
            Some(owner) => {
                let row = self.0.sessions.find(id).await?;
                let end = row.filter(|row| row.subject == *owner).and_then(|row| row.ended);
                self.learn(end.map(|end| Revocation { session: id.clone(), at: end.at }));
            }
        }
        Ok(false)
    }

    /// Ends all sessions of a subject but `keep`; logins under way end too. Returns which it ended.
    ///
    /// # Errors
    ///
    /// [`AuthError::Unavailable`].
    pub async fn end_sessions(
        &self,
        subject: &SubjectId,
        keep: Option<&SessionId>,
        reason: EndReason,
        client: &Client,
    ) -> Result<Vec<SessionId>, AuthError> {
        let ended = self.0.sessions.revoke_all(subject, keep, reason, self.now()).await?;
        if !ended.is_empty() {
            self.list_ended(ended.iter().cloned());
            let mut event = self.event(EventKind::SessionsEnded, client);
            event.subject = Some(subject.clone());
            event.reason = Some(reason.name());
            self.tell(&event);
        }
        // A login of the same millisecond counts as one that was under way. Whoever is answered may log in at once.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(ended)
    }

    /// Changes a password, given the current one, and ends the subject's other sessions. Returns which it ended.
    ///
    /// # Errors
    ///
    /// [`AuthError::InvalidCredentials`] for a wrong current password, which counts as a failed login;
    /// [`AuthError::Validation`] for the field `new_password`; [`AuthError::RateLimited`], [`AuthError::Unavailable`].
    pub async fn change_password(
        &self,
        principal: &Principal,
        current: Secret<String>,
        new: Secret<String>,
        client: &Client,
    ) -> Result<Vec<SessionId>, AuthError> {
        let outcome = self.try_change_password(principal, current, new, client).await;
        if let Err(AuthError::InvalidCredentials(refusal)) = &outcome {
            let mut event = self.event(EventKind::PasswordChangeFailed, client);
            event.subject = Some(principal.subject().clone());
            event.reason = Some(refusal.reason());
            self.tell(&event);
        }
        outcome
    }

    async fn try_change_password(
        &self,
        principal: &Principal,
        current: Secret<String>,
        new: Secret<String>,
        client: &Client,
    ) -> Result<Vec<SessionId>, AuthError> {
        let began = self.now();
        let gone = || AuthError::InvalidToken(TokenError::Revoked);
        let user = self.live_subject(principal.subject()).await?.ok_or_else(gone)?;
        // A host's own table may hold names that we would not take; its id is as good to count by.
        let name = Username::new(&user.username)
            .or_else(|_| Username::new(user.id.as_str()))
            .map_err(|_| AuthError::internal(UnusableName))?;
        let charges = self.guess_charges(name.canonical(), client);
        self.take(&charges, "failures", client, Some(&user.id), began).await?;
        let verdict = match self.0.hasher.verify(current, user.password_hash.as_ref()).await {
            Ok(verdict) => verdict,
            Err(error) => {
                self.give_back(&charges, began, client).await;
                return Err(hashing_failed(error));
            }
        };
        let (true, Some(old)) = (verdict.matches, &user.password_hash) else {
            return Err(AuthError::InvalidCredentials(LoginRefusal::WrongPassword));
        };
        self.forgive(&charges, began, client).await;
        self.accept_password(new.expose(), &name, "new_password").await?;
        let hash = self.hash(new).await?;
        // Ended before and after: before, so that a fault between leaves no other session beside a new password; after,
        // so that a login with the old one that was under way ends too.
        let keep = Some(principal.session());
        let mut ended = self.end_sessions(&user.id, keep, EndReason::PasswordChange, client).await?;
        if !self.0.users.set_password_hash(&user.id, old.expose(), hash.expose()).await? {
            return Err(AuthError::InvalidCredentials(LoginRefusal::Stale));
        }
        // Told now: the password is another, also if what follows fails.
        let mut event = self.event(EventKind::PasswordChanged, client);
        event.subject = Some(user.id.clone());
        self.tell(&event);
        ended.extend(self.end_sessions(&user.id, keep, EndReason::PasswordChange, client).await?);
        Ok(ended)
    }

    // ---- Keys --------------------------------------------------------------------------------------------------

    /// Makes a new key of the active one's algorithm and signs with it at once. With several nodes, or where other
    /// services keep the JWK Set, use [`Authority::rotate_keys_in`]: who has not heard of the key refuses its tokens.
    ///
    /// # Errors
    ///
    /// [`KeyError`]; nothing has changed then.
    pub fn rotate_keys(&self) -> Result<(), KeyError> {
        self.rotate_keys_in(Duration::ZERO).map(drop)
    }

    /// Publishes a new key of the active one's algorithm, which signs after `wait`; the former one then verifies until
    /// the last token it signed has expired. [`keys::PUBLISH_FOR`](crate::keys::PUBLISH_FOR) is long enough for everybody
    /// to hear of it. Returns its `kid`.
    ///
    /// # Errors
    ///
    /// [`KeyError`]; nothing has changed then.
    pub fn rotate_keys_in(&self, wait: Duration) -> Result<String, KeyError> {
        let now = self.now();
        let algorithm = self.0.keys.snapshot().active(now)?.key.algorithm();
        let key = SigningKey::generate(algorithm)?;
        let kid = key.kid().to_owned();
        self.change_keys("published", |keys| keys.publish(KeyPurpose::Access, key, Some(now + wait)))?;
        Ok(kid)
    }

    /// Adds a key for access tokens that verifies and is in the JWK Set, and signs nothing until it is activated.
    ///
    /// # Errors
    ///
    /// As [`Keys::publish`], and [`KeyError::File`].
    pub fn publish_key(&self, key: SigningKey) -> Result<(), KeyError> {
        self.change_keys("published", |keys| keys.publish(KeyPurpose::Access, key, None))
    }

    /// Signs with a published key from now on. The former key verifies until the last token it signed has expired.
    ///
    /// # Errors
    ///
    /// As [`Keys::activate`], and [`KeyError::File`].
    pub fn activate_key(&self, kid: &str) -> Result<(), KeyError> {
        self.change_keys("activated", |keys| keys.activate(kid, self.now()))
    }

    /// Removes a key that does not sign: tokens it signed are refused from now on.
    ///
    /// # Errors
    ///
    /// As [`Keys::retire`], and [`KeyError::File`].
    pub fn retire_key(&self, kid: &str) -> Result<(), KeyError> {
        self.change_keys("retired", |keys| keys.retire(kid, self.now()))
    }

    /// Reads the file of the keys again, for who cannot wait until that happens by itself
    /// ([`Config::keys_poll`]): at a signal, for instance. Whether anything in it is new.
    ///
    /// # Errors
    ///
    /// [`KeyError::File`]; the keys stay as they are then.
    pub fn reload_keys(&self) -> Result<bool, KeyError> {
        let new = self.0.keys.reload()?;
        if new {
            self.keys_changed("reloaded");
        }
        Ok(new)
    }

    fn change_keys(
        &self,
        how: &'static str,
        edit: impl FnOnce(&mut Keys) -> Result<(), KeyError>,
    ) -> Result<(), KeyError> {
        self.0.keys.change(self.now(), edit)?;
        self.keys_changed(how);
        Ok(())
    }

    fn keys_changed(&self, how: &'static str) {
        let mut event = self.event(EventKind::KeysChanged, &Client::default());
        event.reason = Some(how);
        self.tell(&event);
    }

    /// The algorithm that signs now.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.0.keys.snapshot().active(self.now()).ok().map(|active| active.key.algorithm())
    }

    // ---- Revocations -------------------------------------------------------------------------------------------

    fn note_ended(&self, id: &SessionId, subject: Option<&SubjectId>, reason: EndReason, client: &Client) {
        self.list_ended([id.clone()]);
        let mut event = self.event(EventKind::SessionEnded, client);
        event.subject = subject.cloned();
        event.session = Some(self.0.pseudonyms.session(id));
        event.reason = Some(reason.name());
        self.tell(&event);
    }

    fn list_ended(&self, ended: impl IntoIterator<Item = SessionId>) {
        let now = self.now();
        let until = now + self.listed_for();
        self.0.revoked.add(ended.into_iter().map(|id| (id, until)), now);
    }

    /// For how long after it was revoked a session's access tokens could still verify. Twice the leeway, since the node
    /// that revoked may have been behind by one (guarded by `a_node_whose_clock_is_behind_revokes_for_long_enough`).
    fn listed_for(&self) -> Duration {
        self.0.config.access_ttl + self.0.config.leeway * 2
    }

    /// Reads what other nodes revoked. Returns how long ago each happened that this node did not know of.
    async fn hear(&self, since: Timestamp) -> Result<Vec<Duration>, StoreError> {
        let revocations = self.0.sessions.revoked_since(since).await?;
        self.0.revoked.hear();
        let late = self.learn(revocations);
        self.0.revoked.sweep(self.now());
        Ok(late)
    }

    fn learn(&self, revocations: impl IntoIterator<Item = Revocation>) -> Vec<Duration> {
        let (now, listed_for) = (self.now(), self.listed_for());
        let listed = revocations.into_iter().map(|told| (told.session, told.at + listed_for));
        let new = self.0.revoked.add(listed, now);
        new.into_iter().map(|until| now.since(until - listed_for)).collect()
    }

    /// Catches up, then listens and purges until the last clone of this authority is gone.
    async fn start(&self) -> Result<(), StoreError> {
        let began = self.now();
        self.hear(began - self.listed_for() - OVERLAP).await?;
        // Two tasks: however long a purge takes, revocations are heard meanwhile (guarded by
        // `revocations_are_heard_while_a_purge_takes_its_time`).
        tokio::spawn(listen(Arc::downgrade(&self.0), self.0.config.feed, began));
        tokio::spawn(purge_regularly(Arc::downgrade(&self.0), self.0.config.feed.poll, began));
        if self.0.keys.file().is_some() {
            tokio::spawn(follow_keys(Arc::downgrade(&self.0), self.0.config.keys_poll));
        }
        Ok(())
    }

    /// Removes sessions past their end from the store, in batches. Runs by itself every ten minutes.
    ///
    /// # Errors
    ///
    /// [`AuthError::Unavailable`].
    pub async fn purge(&self) -> Result<usize, AuthError> {
        // As long as a token of it could verify, a revoked session has to stay readable for nodes that start.
        let before = self.now() - self.listed_for() - OVERLAP;
        let mut purged = 0;
        loop {
            let batch = self.0.sessions.purge_expired(before, PURGE_BATCH).await?;
            purged += batch;
            if batch < PURGE_BATCH {
                return Ok(purged);
            }
        }
    }

    /// How many sessions are on the list of revoked ones.
    #[must_use]
    pub fn revoked_sessions(&self) -> usize {
        self.0.revoked.len()
    }

    // ---- Events ------------------------------------------------------------------------------------------------

    /// An event of now, to be filled in and [told](Authority::tell).
    #[must_use]
    pub fn event(&self, kind: EventKind, client: &Client) -> Event {
        Event::new(kind, self.now(), client)
    }

    fn session_event(&self, kind: EventKind, session: &Session, client: &Client) -> Event {
        let mut event = self.event(kind, client);
        event.subject = Some(session.subject.clone());
        event.session = Some(self.0.pseudonyms.session(&session.id));
        event
    }

    /// The event for an error that is no answer to the client: something underneath failed.
    #[must_use]
    pub fn failure(&self, error: &AuthError, client: &Client) -> Event {
        Event::failure(error, self.now(), client)
    }

    /// Logs, counts and passes on an event.
    pub fn tell(&self, event: &Event) {
        event::log(event);
        if let Some(sink) = &self.0.sink {
            sink.event(event);
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// The counter of wrong client secrets, and the limit's name in events.
const CLIENT_FAILURES: &str = "client_failures";
/// How many networks that sent wrong client secrets are remembered.
const CLIENT_NETWORKS: usize = 4096;
/// How far back each look at the store's revocations reaches: nodes' clocks differ, and commits come late.
const OVERLAP: Duration = Duration::from_secs(60);
const PURGE_EVERY: Duration = Duration::from_secs(600);
const PURGE_BATCH: usize = 1000;

/// Hears the store's revocations until the authority is gone, and tells when they cannot be heard.
async fn listen(authority: Weak<Inner>, feed: FeedConfig, began: Timestamp) {
    let mut heard = began;
    let mut failing = false;
    let mut lost = false;
    let mut told = Told::NotYet;
    loop {
        let revocation = told.next(feed.poll).await;
        let Some(inner) = authority.upgrade() else { return };
        let authority = Authority(inner);
        if let Some(revocation) = revocation {
            measure_lag(&authority.learn([revocation]));
            continue;
        }
        told.subscribe(&*authority.0.sessions).await;
        let now = authority.now();
        // A store that never answers is as lost as one that says so.
        let hearing = tokio::time::timeout(feed.lost_after, authority.hear(heard.min(now) - OVERLAP));
        let failed = match hearing.await {
            Ok(Ok(lags)) => {
                measure_lag(&lags);
                None
            }
            Ok(Err(error)) => Some(error),
            Err(elapsed) => Some(StoreError::unavailable(elapsed)),
        };
        match failed {
            None => (heard, failing) = (now, false),
            // Told once, not at every poll.
            Some(_) if failing => {}
            Some(error) => {
                failing = true;
                authority.tell(&authority.failure(&error.into(), &Client::default()));
            }
        }
        let silence = authority.0.revoked.silence();
        metrics::gauge!("gatekey_revocation_feed_silence_seconds").set(silence.as_secs_f64());
        let silent = silence > feed.lost_after;
        if silent != lost {
            lost = silent;
            let kind = if lost { EventKind::FeedLost } else { EventKind::FeedRestored };
            authority.tell(&authority.event(kind, &Client::default()));
        }
    }
}

/// How late a node hears of what others revoked. By two nodes' clocks: they differ by what keeps them together.
fn measure_lag(lags: &[Duration]) {
    let histogram = metrics::histogram!("gatekey_revocation_lag_seconds");
    lags.iter().for_each(|lag| histogram.record(lag.as_secs_f64()));
}

/// What a store that tells of revocations as they happen has to say. It is a help to be fast: the store is asked all the
/// same, only less often, so that what is lost on the way is heard within a second.
enum Told {
    /// Not subscribed, or no longer.
    NotYet,
    /// The store has to be asked.
    Never,
    /// Subscribed; asked again at that time.
    Open(Subscription, tokio::time::Instant),
}

impl Told {
    /// The next revocation told; `None` when it is time to ask.
    async fn next(&mut self, poll: Duration) -> Option<Revocation> {
        let Self::Open(subscription, ask_at) = self else {
            tokio::time::sleep(poll).await;
            return None;
        };
        match tokio::time::timeout_at(*ask_at, subscription.next()).await {
            Ok(Some(revocation)) => Some(revocation),
            // The connection is lost. Not asked at once: a store that hangs up on each subscriber would be asked
            // without end.
            Ok(None) => {
                *self = Self::NotYet;
                tokio::time::sleep(poll).await;
                None
            }
            Err(_) => {
                *ask_at = tokio::time::Instant::now() + SECOND;
                None
            }
        }
    }

    /// Subscribes where the store can tell; before it is asked, so that nothing falls between.
    async fn subscribe(&mut self, store: &dyn SessionStore) {
        if let Self::NotYet = self {
            match tokio::time::timeout(SECOND, store.subscribe()).await {
                Ok(Ok(Some(subscription))) => {
                    *self = Self::Open(subscription, tokio::time::Instant::now() + SECOND);
                }
                Ok(Ok(None)) => *self = Self::Never,
                // Tried again at the next poll.
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

/// Purges every ten minutes, by the authority's clock, until it is gone.
async fn purge_regularly(authority: Weak<Inner>, look_every: Duration, began: Timestamp) {
    let mut purge_at = began;
    loop {
        tokio::time::sleep(look_every).await;
        let Some(inner) = authority.upgrade() else { return };
        let authority = Authority(inner);
        let now = authority.now();
        if now >= purge_at {
            purge_at = now + PURGE_EVERY;
            // What cannot be purged now is purged the next time; requests do not depend on it.
            let _left_for_later = authority.purge().await;
        }
    }
}

/// Looks regularly whether somebody changed the file of the keys. What cannot be read is told once, and changes nothing.
async fn follow_keys(authority: Weak<Inner>, look_every: Duration) {
    let mut told = None;
    loop {
        tokio::time::sleep(look_every).await;
        let Some(inner) = authority.upgrade() else { return };
        let look = move || {
            let authority = Authority(inner);
            let problem = authority.reload_keys().err().map(|error| error.to_string());
            if let Some(problem) = problem.as_ref().filter(|problem| told.as_ref() != Some(*problem)) {
                let mut event = authority.event(EventKind::KeysUnreadable, &Client::default());
                event.cause = Some(problem.clone());
                authority.tell(&event);
            }
            problem
        };
        // A disk may take its time.
        let Ok(problem) = tokio::task::spawn_blocking(look).await else { return };
        told = problem;
    }
}

fn seconds_until(then: Timestamp, now: Timestamp) -> u64 {
    // Counted between whole seconds, as tokens carry them: 900 for a token of fifteen minutes.
    then.whole_secs().since(now.whole_secs()).as_secs()
}

/// What of the scope granted at login the account still has.
fn granted_scope(session: &Session, user: &User) -> Option<String> {
    let granted = session.scope.as_deref()?;
    Some(intersection(granted, user.scope.as_deref()))
}

fn intersection(wanted: &str, granted: Option<&str>) -> String {
    let kept: Vec<_> =
        wanted.split(' ').filter(|scope| !scope.is_empty() && access::scope_covers(granted, scope)).collect();
    kept.join(" ")
}

fn hashing_failed(error: HashError) -> AuthError {
    match error {
        HashError::Busy => AuthError::unavailable(error),
        HashError::Failed => AuthError::internal(error),
    }
}

/// An account has neither a usable name nor a usable id.
#[derive(Debug)]
struct UnusableName;

impl fmt::Display for UnusableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the account has neither a usable name nor a usable id")
    }
}

impl std::error::Error for UnusableName {}

/// Revocations have not been heard for too long.
#[derive(Debug)]
struct FeedLost;

impl fmt::Display for FeedLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the revocations of other nodes have not been heard for too long")
    }
}

impl std::error::Error for FeedLost {}

#[cfg(test)]
mod tests;
