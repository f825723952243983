//! Stories told by an [`Authority`] on a store that can be watched, and made to fail, at every call.

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    fixtures::{DAY, FaultyRandom, Folder, MINUTE, ManualClock, NOW, client, keys, secs},
    introspection::IntrospectionClient,
    store::{Announcer, memory::MemoryStore},
    user::BreachCheck,
};

mod accounts;
mod cached;
mod dump;
mod events;
mod faults;
mod login;
mod nodes;
mod refreshing;
mod sessions;

const ISSUER: &str = "https://app.example.com";
const ALICE: &str = "Alice";
const PASSWORD: &str = "correct horse battery staple";
const WRONG: &str = "incorrect horse battery staple";
const NEW_PASSWORD: &str = "an entirely different password";
/// argon2id of [`PASSWORD`] at the default cost.
const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$SVMx63sZVd9QxYYm21ne2g$kE5i5lDkRMqeeJdAmtdtW35wDQ6ssCkNuCadnGXJFiU";

const MILLISECOND: Duration = Duration::from_millis(1);

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn alice() -> SubjectId {
    SubjectId::new("subject-of-alice")
}

/// Another client, in another network.
fn elsewhere() -> Client {
    Client::new(Some("2001:db8::7".parse().unwrap()), Some("curl"))
}

/// What a caller is told and why, in one line.
fn told<T>(outcome: &Result<T, AuthError>) -> String {
    let Err(error) = outcome else { return "ok".to_owned() };
    let reason = error.reason();
    match error {
        AuthError::InvalidToken(_) => format!("invalid_token: {reason}"),
        AuthError::InvalidCredentials(_) => format!("invalid_credentials: {reason}"),
        AuthError::InvalidGrant(_) => format!("invalid_grant: {reason}"),
        AuthError::Validation { field, .. } => format!("{field}: {reason}"),
        AuthError::InvalidClient(_)
        | AuthError::InvalidScope
        | AuthError::Superseded
        | AuthError::InsufficientScope(_)
        | AuthError::InsufficientAuthentication { .. }
        | AuthError::NotFound
        | AuthError::UsernameTaken
        | AuthError::RateLimited { .. }
        | AuthError::Unavailable(_)
        | AuthError::Internal(_) => reason.to_owned(),
    }
}

// ---- The application --------------------------------------------------------------------------------------------

/// An application: an authority and everything it was given.
struct Host {
    authority: Authority,
    clock: Arc<ManualClock>,
    backend: Arc<Backend>,
    random: Arc<FaultyRandom>,
    sink: Arc<Sink>,
}

/// Alice has an account, and nobody has a session.
async fn host() -> Host {
    host_with(|_| {}).await
}

async fn host_with(edit: impl FnOnce(&mut Config)) -> Host {
    host_on(Backend::default(), edit).await
}

/// Sessions and users were given as one store, which reads both at once.
async fn host_of_one_store() -> Host {
    host_on(Backend { one_store: true, ..Backend::default() }, |_| {}).await
}

async fn host_on(backend: Backend, edit: impl FnOnce(&mut Config)) -> Host {
    backend.add("subject-of-alice", ALICE, HASH).await;
    node(&Arc::new(backend), &Arc::new(ManualClock::new()), edit).await.unwrap()
}

/// One more process of the same application.
async fn node(
    backend: &Arc<Backend>,
    clock: &Arc<ManualClock>,
    edit: impl FnOnce(&mut Config),
) -> Result<Host, ConfigError> {
    let (random, sink) = (Arc::new(FaultyRandom::never()), Arc::new(Sink::default()));
    let mut builder = Authority::builder();
    builder.keys(keys(Algorithm::EdDSA));
    if backend.one_store {
        builder.store(backend.clone());
    } else {
        builder.sessions(backend.clone());
        builder.users(backend.clone());
    }
    builder.throttle(backend.clone());
    builder.claims(backend.clone());
    builder.clock(clock.clone());
    builder.random(random.clone());
    builder.events(sink.clone());
    let config = builder.config_mut();
    config.issuer = ISSUER.to_owned();
    config.hashing.threads = 1;
    // No test but those of the feed is to see it at work.
    config.feed.poll = secs(1);
    edit(config);
    let authority = builder.build().await?;
    Ok(Host { authority, clock: clock.clone(), backend: backend.clone(), random, sink })
}

impl Host {
    async fn try_login(&self, name: &str, password: &str) -> Result<Tokens, AuthError> {
        self.authority.login(name, secret(password), &client(), None).await
    }

    /// A session of Alice's, without the work that a password takes: where the login is not the story.
    async fn login(&self) -> Tokens {
        let user = self.backend.memory.find_by_id(&alice()).await.unwrap().unwrap();
        self.authority.open(&user, self.authority.now(), &client()).await.unwrap()
    }

    async fn refresh(&self, token: &Secret<String>) -> Result<Tokens, AuthError> {
        self.authority.refresh(token.expose(), None, &client()).await
    }

    async fn change_password(
        &self,
        principal: &Principal,
        current: &str,
        new: &str,
    ) -> Result<(), AuthError> {
        self.authority.change_password(principal, secret(current), secret(new), &client()).await.map(drop)
    }

    fn authenticate(&self, tokens: &Tokens) -> Result<Principal, AuthError> {
        self.authority.authenticate(tokens.access.expose())
    }

    fn principal(&self, tokens: &Tokens) -> Principal {
        self.authenticate(tokens).unwrap()
    }

    /// The session's row, ended or not.
    async fn row(&self, session: &SessionId) -> Session {
        self.backend.memory.find(session).await.unwrap().unwrap()
    }

    async fn live_sessions(&self) -> usize {
        self.backend.memory.list(&alice(), self.authority.now()).await.unwrap().len()
    }

    /// How many passwords are hashed by a call, with what it came to.
    async fn hashes_of<T>(&self, call: impl Future<Output = T>) -> (u64, T) {
        let before = self.authority.hashes();
        let outcome = call.await;
        (self.authority.hashes() - before, outcome)
    }
}

/// The claims of a token, unverified.
fn claims_of(token: &Secret<String>) -> Value {
    let payload = token.expose().split('.').nth(1).unwrap();
    serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).unwrap()).unwrap()
}

// ---- What it stands on ------------------------------------------------------------------------------------------

/// Sessions, users, counters and the host's claims in memory; every call is noted and may be made to go wrong.
#[derive(Debug, Default)]
struct Backend {
    memory: MemoryStore,
    throttle: MemoryThrottle,
    /// Whether the authority is told that sessions and users are in one place.
    one_store: bool,
    calls: Mutex<Vec<&'static str>>,
    /// How many rows each purge removed.
    purged: Mutex<Vec<usize>>,
    troubles: Mutex<Vec<(At, Trouble)>>,
    meanwhile: Mutex<Vec<Meanwhile>>,
    /// What the claims source says.
    own: Mutex<Map<String, Value>>,
    /// Accounts as they are found, if not as they are kept.
    seen: Mutex<Option<Seen>>,
    breached: Mutex<Vec<String>>,
    /// Who is told of revocations, where the store can tell; the oldest first.
    told: Mutex<Option<Vec<Announcer>>>,
}

/// An account as it is found.
type Seen = fn(User) -> Option<User>;

/// Which calls go wrong.
#[derive(Clone, Copy, Debug)]
enum At {
    /// The one of that number, counted from 0 since the calls were last forgotten.
    Call(usize),
    /// All of that name.
    Every(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Nothing happens, and that is told.
    FailsBefore(fn() -> StoreError),
    /// It happens, and then the answer is lost.
    FailsAfter(fn() -> StoreError),
    /// There is no answer.
    Hangs,
    /// `rotate` asks for another number.
    Renumbers,
}

/// What happens as the next call of a name arrives.
struct Meanwhile(&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn down() -> StoreError {
    StoreError::unavailable("down")
}

fn corrupt() -> StoreError {
    StoreError::corrupt("corrupt")
}

/// Calls of the authority's own tasks. Nobody knows when they come, so they are not counted.
const BACKGROUND: [&str; 3] = ["revoked_since", "subscribe", "purge_expired"];

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend {
    async fn add(&self, id: &str, name: &str, hash: &str) {
        let user = NewUser {
            id: SubjectId::new(id),
            username: Username::new(name).unwrap(),
            password_hash: PasswordHash::new(hash),
            created_at: NOW - DAY,
        };
        self.memory.create(user).await.unwrap().unwrap();
    }

    async fn change(&self, id: &SubjectId, change: UserChange) {
        assert!(self.memory.update(id, &change).await.unwrap());
    }

    async fn hash_of(&self, id: &SubjectId) -> String {
        let user = self.memory.find_by_id(id).await.unwrap().unwrap();
        user.password_hash.unwrap().expose().to_owned()
    }

    /// The calls since they were last forgotten.
    fn calls(&self) -> Vec<&'static str> {
        lock(&self.calls).clone()
    }

    fn forget(&self) {
        lock(&self.calls).clear();
    }

    fn trouble(&self, at: At, trouble: Trouble) {
        lock(&self.troubles).push((at, trouble));
    }

    fn recover(&self) {
        lock(&self.troubles).clear();
    }

    fn meanwhile(&self, method: &'static str, then: impl Future<Output = ()> + Send + 'static) {
        lock(&self.meanwhile).push(Meanwhile(method, Box::pin(then)));
    }

    fn sees(&self, user: Seen) {
        *lock(&self.seen) = Some(user);
    }

    fn seen(&self, user: Option<User>) -> Option<User> {
        let seen = *lock(&self.seen);
        match seen {
            Some(seen) => user.and_then(seen),
            None => user,
        }
    }

    async fn arrive(&self, method: &'static str) -> Option<Trouble> {
        let due = {
            let mut meanwhile = lock(&self.meanwhile);
            let position = meanwhile.iter().position(|then| then.0 == method);
            position.map(|position| meanwhile.remove(position))
        };
        if let Some(Meanwhile(_, then)) = due {
            then.await;
        }
        let mut calls = lock(&self.calls);
        let number = calls.len();
        let counted = !BACKGROUND.contains(&method);
        if counted {
            calls.push(method);
        }
        let troubles = lock(&self.troubles);
        let due = troubles.iter().find(|(at, _)| match at {
            At::Call(at) => counted && *at == number,
            At::Every(at) => *at == method,
        });
        due.map(|(_, trouble)| *trouble)
    }

    async fn around<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match self.arrive(method).await {
            None | Some(Trouble::Renumbers) => call.await,
            Some(Trouble::FailsBefore(error)) => Err(error()),
            Some(Trouble::FailsAfter(error)) => {
                call.await?;
                Err(error())
            }
            Some(Trouble::Hangs) => std::future::pending().await,
        }
    }
}

#[async_trait]
impl SessionStore for Backend {
    async fn insert(&self, session: &Session, max_sessions: usize) -> Result<Inserted, StoreError> {
        self.around("insert", self.memory.insert(session, max_sessions)).await
    }

    async fn rotate(&self, attempt: &Attempt) -> Result<Option<Rotation>, StoreError> {
        let renumbers = lock(&self.troubles).iter().any(|(_, trouble)| matches!(trouble, Trouble::Renumbers));
        if renumbers {
            self.arrive("rotate").await;
            let session = self.memory.find(&attempt.presented.session).await?.unwrap();
            let before = session.client.clone();
            return Ok(Some(Rotation { outcome: Outcome::Renumber, session, before }));
        }
        self.around("rotate", self.memory.rotate(attempt)).await
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.around("find", self.memory.find(id)).await
    }

    async fn find_with_account(&self, id: &SessionId) -> Result<Option<(Session, Account)>, StoreError> {
        let found = self.around("find_with_account", self.memory.find_with_account(id)).await?;
        Ok(found.map(|(session, account)| match account {
            Account::Here(user) => (session, Account::Here(self.seen(user))),
            Account::Elsewhere => (session, Account::Elsewhere),
        }))
    }

    async fn list(&self, subject: &SubjectId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        self.around("list", self.memory.list(subject, now)).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        owner: Option<&SubjectId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.around("revoke", self.memory.revoke(id, owner, reason, now)).await
    }

    async fn revoke_all(
        &self,
        subject: &SubjectId,
        keep: Option<&SessionId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.around("revoke_all", self.memory.revoke_all(subject, keep, reason, now)).await
    }

    async fn revoked_since(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        self.around("revoked_since", self.memory.revoked_since(since)).await
    }

    async fn subscribe(&self) -> Result<Option<Subscription>, StoreError> {
        let subscribe = async {
            Ok(lock(&self.told).as_mut().map(|told| {
                let (announcer, subscription) = Subscription::channel(8);
                told.push(announcer);
                subscription
            }))
        };
        self.around("subscribe", subscribe).await
    }

    async fn purge_expired(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let removed = self.around("purge_expired", self.memory.purge_expired(before, limit)).await?;
        lock(&self.purged).push(removed);
        Ok(removed)
    }
}

#[async_trait]
impl UserStore for Backend {
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError> {
        let found = self.around("find_by_name", self.memory.find_by_name(name)).await?;
        Ok(self.seen(found))
    }

    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError> {
        let found = self.around("find_by_id", self.memory.find_by_id(id)).await?;
        Ok(self.seen(found))
    }

    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError> {
        self.around("set_password_hash", self.memory.set_password_hash(id, old, new)).await
    }

    async fn create(&self, user: NewUser) -> Result<Option<User>, StoreError> {
        self.around("create", self.memory.create(user)).await
    }

    async fn update(&self, id: &SubjectId, change: &UserChange) -> Result<bool, StoreError> {
        self.around("update", self.memory.update(id, change)).await
    }
}

#[async_trait]
impl ThrottleStore for Backend {
    async fn take(&self, charges: &[Charge], now: Timestamp) -> Result<Verdict, StoreError> {
        self.around("take", self.throttle.take(charges, now)).await
    }

    async fn give_back(&self, charges: &[Charge], taken_at: Timestamp) -> Result<(), StoreError> {
        self.around("give_back", self.throttle.give_back(charges, taken_at)).await
    }

    async fn clear(&self, key: &crate::limit::Key) -> Result<(), StoreError> {
        self.around("clear", self.throttle.clear(key)).await
    }
}

#[async_trait]
impl ClaimsSource for Backend {
    async fn claims(&self, _: &User, _: &Session) -> Result<Map<String, Value>, StoreError> {
        self.around("claims", async { Ok(lock(&self.own).clone()) }).await
    }
}

#[async_trait]
impl BreachCheck for Backend {
    async fn is_breached(&self, password: &str) -> Result<bool, StoreError> {
        self.around("is_breached", async { Ok(lock(&self.breached).iter().any(|known| known == password)) })
            .await
    }
}

/// Keeps every event.
#[derive(Debug, Default)]
struct Sink(Mutex<Vec<Event>>);

impl EventSink for Sink {
    fn event(&self, event: &Event) {
        lock(&self.0).push(event.clone());
    }
}

impl Sink {
    /// The events since they were last taken.
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.0))
    }

    /// The same, as names with the reason where there is one.
    fn names(&self) -> Vec<String> {
        let name = |event: Event| match event.reason {
            Some(reason) => format!("{}: {reason}", event.kind.name()),
            None => event.kind.name().to_owned(),
        };
        self.take().into_iter().map(name).collect()
    }
}
