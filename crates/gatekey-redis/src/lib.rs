//! Keeps gatekey's users, sessions, throttles and revocations in Redis or Valkey, one server or a Cluster.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use gatekey_core::{limit::ThrottleStore, store::{SessionStore, UserStore}};
//! use gatekey_redis::RedisStore;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::connect("redis://127.0.0.1/").await?;
//! // Or, with any nodes of a cluster:
//! let store = RedisStore::connect_cluster(["redis://10.0.0.1", "redis://10.0.0.2"]).await?;
//!
//! let sessions: Arc<dyn SessionStore> = Arc::new(store.clone());
//! let users: Arc<dyn UserStore> = Arc::new(store.clone());
//! let throttles: Arc<dyn ThrottleStore> = Arc::new(store);
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! 1. **Each call about sessions is one script in one slot**, so it happens whole or not at all, also on a cluster. A
//!    subject's sessions, their index, the mark of "all sessions revoked" and the list of revocations they belong to
//!    share a slot; where it is, the id of a session tells ([`SessionId::tag`]). Ids of another form work too, with one
//!    look-up more. A refresh is one script; what it does not find as plain as it expects, core decides, and a second
//!    script writes if nothing came between.
//! 2. **Time is the caller's.** No script asks Redis for the time: every instant is an argument.
//! 3. **What expires goes.** Core's purge removes sessions at their end, by the caller's clock. Beside it, Redis is told
//!    for how long to keep a session at most: twice its absolute lifetime and a day, counted from its start by Redis'
//!    clock, and for ever where that is more than a century. So a session that nobody purges goes too, and none that
//!    the caller's clock still takes for live does, unless that clock was set back by more than the session's lifetime
//!    and a day, or Redis' clock was set forward by as much. Then its client has to log in again. One thing stays: the
//!    mark of "all sessions revoked", some 100 bytes for each subject that ever had that done (a changed password does
//!    it). It says which logins are out of date, by the caller's clock, so no clock of Redis' may end it.
//! 4. **A lost answer is [`StoreError::Unavailable`]**: nothing is sent again that may have been done.
//!
//! # What a fail-over may lose
//!
//! Replicas follow their master at a distance. When a master is lost, the replica that takes its place has not seen the
//! last moments, and a server that is restarted without `appendfsync always` has forgotten up to the last second. Then
//!
//! - a refresh that was answered is unknown: the client holds a token newer than the row. Core sees that, tells it as
//!   an event ([`Outcome::Future`]) and asks for a new login. It never takes it for theft, and nobody else is logged out;
//! - a revocation that was answered may be forgotten: the session is live again until somebody ends it. Nodes that heard
//!   of it refuse its access tokens to their end;
//! - a password change, a registration, a counter of attempts may be forgotten, and so may that an account was disabled,
//!   a change of its roles, or the mark that all its sessions were revoked. A name whose account was lost is free again.
//!
//! [`RedisOptions::wait_replicas`] holds back every answer to a write of a session or an account until so many replicas
//! have it, which makes such losses rare and not impossible: what fails that test is [`StoreError::Unavailable`], and
//! may still have been done.
//!
//! # Deployment
//!
//! - Redis 6.0 or later, or any Valkey. A proxy in between has to pass scripts on.
//! - **No eviction**: `maxmemory-policy noeviction`. A server that may evict what it likes would log people out, forget
//!   revocations and reset throttles; [`RedisStore::connect`] refuses it, unless told otherwise.
//! - **Persistence**: `appendonly yes`; by default a server forgets all on a restart, or the last minutes.
//! - An account of its own needs `~gatekey:* &gatekey:*` and `+get +mget +set +del +exists +pttl +persist +pexpire
//!   +hset +hdel +hlen +hkeys +zadd +zrem +zrangebyscore +eval +evalsha +publish +subscribe +ping +info +wait +hello
//!   +quit`, and on a cluster `+cluster|slots +cluster|info +asking`.
//! - A cluster that moves a slot answers calls about sessions of it as [`StoreError::Unavailable`] meanwhile, some of
//!   them, since keys of one script are on two nodes. There are 64 such slots.
//! - `redis://` is not encrypted, and passwords, digests and sealed tokens cross the network as they are: where that is
//!   not trusted, use `rediss://` (feature `tls`). The driver takes the process's default cryptography of rustls; where
//!   none is chosen when the store connects, aws-lc is from then on.
//! - [`SessionStore::subscribe`] hears of revocations by `PUBLISH`, on one connection more. On a cluster it listens at
//!   the first of the given nodes that answers, so give several.
//! - The throttles' counters live in Redis too where the host uses the store for them. All counters of an attempt are
//!   charged in one script; on a cluster, in one for each of the 64 slots they are in, and what was charged is given
//!   back where another refuses.
//!
//! [`Outcome::Future`]: gatekey_core::rotation::Outcome::Future

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use gatekey_core::{
    limit::{Charge, Key, ThrottleStore, Verdict},
    rotation::Attempt,
    session::{EndReason, Session, SessionId, SubjectId},
    store::{Inserted, Revocation, Rotation, SessionStore, StoreError, Subscription, UserStore},
    time::Timestamp,
    user::{NewUser, User, UserChange, Username},
};

use crate::{
    connect::Listeners,
    keys::Keys,
    link::{Link, Wait},
};

mod connect;
mod fault;
mod feed;
mod keys;
mod link;
mod row;
mod sessions;
mod throttles;
mod users;

#[cfg(test)]
mod tests;

pub use connect::ConnectError;

/// Sessions, accounts, throttles and revocations in Redis. A clone is another handle on the same connections.
///
/// A connection that is lost is made anew by itself; calls meanwhile are [`StoreError::Unavailable`].
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    keys: Keys,
    link: Link,
    listeners: Listeners,
}

impl RedisStore {
    /// Connects to one server, `redis://[user:password@]host[:port][/database]`, with [`RedisOptions::default`]. With the
    /// feature `tls` also `rediss://…`: the certificate is verified, always, by the machine's roots or those of
    /// `RedisOptions::root_certificates`.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        RedisOptions::default().connect(url).await
    }

    /// Connects to a cluster by some of its nodes, with [`RedisOptions::default`].
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect_cluster<U: AsRef<str>>(
        urls: impl IntoIterator<Item = U>,
    ) -> Result<Self, ConnectError> {
        RedisOptions::default().connect_cluster(urls).await
    }
}

/// Shows where its keys are, and nothing that is in them.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.shared.keys.prefix())
            .field("cluster", &self.shared.link.is_cluster())
            .finish()
    }
}

/// How to connect to Redis.
///
/// ```
/// use std::time::Duration;
///
/// use gatekey_redis::RedisOptions;
///
/// let options = RedisOptions::default()
///     .prefix("shop:")
///     .response_timeout(Duration::from_secs(1))
///     .wait_replicas(1, Duration::from_millis(200));
/// # drop(options);
/// ```
#[derive(Clone, Debug)]
pub struct RedisOptions {
    prefix: String,
    connect_timeout: Duration,
    response_timeout: Duration,
    wait: Option<Wait>,
    eviction_allowed: bool,
    #[cfg(feature = "tls")]
    root_certificates: Option<std::path::PathBuf>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "gatekey:".to_owned(),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            wait: None,
            eviction_allowed: false,
            #[cfg(feature = "tls")]
            root_certificates: None,
        }
    }
}

impl RedisOptions {
    /// What every key begins with; `gatekey:` by default. Stores of one prefix on one server are one store, those of
    /// different prefixes know nothing of each other. At most 64 visible ASCII characters, no braces.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a connection may take to be made; 2 seconds by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take before it is [`StoreError::Unavailable`]; 2 seconds by default.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Answers writes of sessions and accounts only when so many replicas have them, by `WAIT`; 0, which is the default,
    /// does not wait. Where they do not within `at_most`, the call is [`StoreError::Unavailable`] although it was done.
    ///
    /// Such writes get a connection of their own and go one after the other on it, each a round trip to the replicas: a
    /// node then refreshes some thousand times a second at most, and hardly at all while a replica is away.
    #[must_use]
    pub fn wait_replicas(mut self, replicas: u32, at_most: Duration) -> Self {
        self.wait = (replicas > 0).then_some(Wait { replicas, at_most });
        self
    }

    /// Accepts a server with a limit of memory that evicts keys when it is reached. Not by default: see the
    /// [notes on deployment](crate#deployment).
    #[must_use]
    pub fn eviction_allowed(mut self, allowed: bool) -> Self {
        self.eviction_allowed = allowed;
        self
    }

    /// Trusts the certificates in this PEM file, and no others, instead of those of the machine. For `rediss://` alone.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn root_certificates(mut self, file: impl Into<std::path::PathBuf>) -> Self {
        self.root_certificates = Some(file.into());
        self
    }

    /// Connects to one server.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(self, url: &str) -> Result<RedisStore, ConnectError> {
        connect::one(&self, url).await
    }

    /// Connects to a cluster by some of its nodes.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect_cluster<U: AsRef<str>>(
        self,
        urls: impl IntoIterator<Item = U>,
    ) -> Result<RedisStore, ConnectError> {
        let urls: Vec<String> = urls.into_iter().map(|url| url.as_ref().to_owned()).collect();
        connect::cluster(&self, &urls).await
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn insert(&self, session: &Session, max_sessions: usize) -> Result<Inserted, StoreError> {
        Ok(sessions::insert(&self.shared, session, max_sessions).await?)
    }

    async fn rotate(&self, attempt: &Attempt) -> Result<Option<Rotation>, StoreError> {
        Ok(sessions::rotate(&self.shared, attempt).await?)
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        Ok(sessions::find(&self.shared, id).await?)
    }

    async fn list(&self, subject: &SubjectId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        Ok(sessions::list(&self.shared, subject, now).await?)
    }

    async fn revoke(
        &self,
        id: &SessionId,
        owner: Option<&SubjectId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(sessions::revoke(&self.shared, id, owner, reason, now).await?)
    }

    async fn revoke_all(
        &self,
        subject: &SubjectId,
        keep: Option<&SessionId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        Ok(sessions::revoke_all(&self.shared, subject, keep, reason, now).await?)
    }

    async fn revoked_since(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        Ok(feed::revoked_since(&self.shared, since).await?)
    }

    async fn subscribe(&self) -> Result<Option<Subscription>, StoreError> {
        Ok(Some(feed::subscribe(&self.shared).await?))
    }

    async fn purge_expired(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        Ok(sessions::purge(&self.shared, before, limit).await?)
    }
}

#[async_trait]
impl UserStore for RedisStore {
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError> {
        Ok(users::find_by_name(&self.shared, name).await?)
    }

    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError> {
        Ok(users::find_by_id(&self.shared, id).await?)
    }

    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError> {
        Ok(users::set_password_hash(&self.shared, id, old, new).await?)
    }

    async fn create(&self, user: NewUser) -> Result<Option<User>, StoreError> {
        Ok(users::create(&self.shared, &user).await?)
    }

    async fn update(&self, id: &SubjectId, change: &UserChange) -> Result<bool, StoreError> {
        Ok(users::update(&self.shared, id, change).await?)
    }
}

#[async_trait]
impl ThrottleStore for RedisStore {
    async fn take(&self, charges: &[Charge], now: Timestamp) -> Result<Verdict, StoreError> {
        Ok(throttles::take(&self.shared, charges, now).await?)
    }

    async fn give_back(&self, charges: &[Charge], taken_at: Timestamp) -> Result<(), StoreError> {
        Ok(throttles::give_back(&self.shared, charges, taken_at).await?)
    }

    async fn clear(&self, key: &Key) -> Result<(), StoreError> {
        Ok(throttles::clear(&self.shared, key).await?)
    }
}
