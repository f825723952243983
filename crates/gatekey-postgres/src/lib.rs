//! Keeps gatekey's sessions, users and throttles in PostgreSQL, for any number of nodes.
//!
//! ```no_run
//! use gatekey_postgres::PostgresStore;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let store = PostgresStore::connect("postgres://app:secret@localhost/app").await?;
//!
//! // The same with other numbers, and beside another gatekey in one database:
//! use std::time::Duration;
//! use gatekey_postgres::PostgresOptions;
//!
//! let store = PostgresOptions::default()
//!     .schema("auth")
//!     .pool_size(32)
//!     .timeout(Duration::from_secs(2))
//!     .connect("postgres://app:secret@db.example.com/app?sslmode=require")
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does with the database
//!
//! 1. Its tables are `public.gatekey_session`, `_user`, `_revoked_all`, `_throttle` and `_version`, unless another
//!    [schema](PostgresOptions::schema) or [prefix](PostgresOptions::prefix) is chosen. It touches nothing else.
//! 2. They are made and brought up to date when a store connects, in one transaction under an advisory lock: any number
//!    of nodes may start at once. Tables of a newer version are refused and left as they are.
//! 3. Refresh tokens are stored as SHA-256 digests, and the latest one sealed so that only who holds its predecessor
//!    can read it. Passwords are stored as the hashes they are given as.
//! 4. A swap of tokens is one prepared statement, one round trip: a write of the row that was read before, if it still is
//!    that row. It changes the session's one row in place and no index (a heap-only update), so tables do not grow with
//!    refreshes.
//! 5. The end of a session is notified in the transaction that ends it, and other nodes hear of it at once
//!    ([`SessionStore::subscribe`]).
//!
//! # When something goes wrong
//!
//! A call ends as [`StoreError::Unavailable`] where the server cannot be reached, does not answer within
//! [`PostgresOptions::timeout`], shuts down, takes no more connections or only reads, and where no connection for a
//! transaction is free within [`PostgresOptions::pool_timeout`]. Serialisation failures and deadlocks are tried again, six times in all.
//! A rotation whose connection is lost may or may not have happened: the client asks again with the token it has,
//! which is then the live one or its parent within the grace.
//!
//! # Least privilege
//!
//! While serving, a store needs to read and write rows. Let one role own the tables and run migrations, and give the
//! nodes another one, with [`PostgresOptions::migrate`] turned off:
//!
//! ```sql
#![doc = include_str!("../sql/least_privilege.sql")]
//! ```
//!
//! # Deployment
//!
//! - **TLS** is the feature `tls` and `sslmode=require` in the URL: the certificate is always verified, by the roots of
//!   the machine or of [`PostgresOptions::root_certificates`]. Otherwise the connection is plain. A server that is not on
//!   this machine is refused until the URL says `sslmode=require` or `sslmode=disable`.
//! - **Connections**: each node has up to [`PostgresOptions::pool_size`] and one that listens.
//! - **A pooler** in transaction mode (`PgBouncer` 1.21 or later) needs `max_prepared_statements` above 0 and
//!   `ignore_startup_parameters = options`. Notifications do not pass it: choose [`PostgresOptions::notify`]`(false)`,
//!   and revocations are asked for instead.
//! - **Failover**: name all servers, `postgres://app@one,two/app?target_session_attrs=read-write`. Where a standby is
//!   not synchronous, a failover forgets the last moments: clients then hold refresh tokens that the server does not
//!   know and log in again, and a session that was revoked in those moments is live again.
//! - **Throttles** are in an unlogged table: a crash of the server forgets them.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use gatekey_core::{
    limit::{Charge, Key, ThrottleStore, Verdict},
    rotation::Attempt,
    session::{EndReason, Session, SessionId, SubjectId},
    store::{Account, Inserted, Revocation, Rotation, SessionStore, StoreError, Subscription, UserStore},
    time::Timestamp,
    user::{NewUser, User, UserChange, Username},
};

use crate::{
    database::{Database, statement, transaction},
    sessions::{fits, fitting},
};

mod connector;
mod database;
mod fault;
mod feed;
mod hidden;
mod lanes;
mod names;
mod schema;
mod sessions;
mod statements;
mod throttles;
#[cfg(feature = "tls")]
mod tls;
mod users;

#[cfg(test)]
mod tests;

/// Sessions, users and throttles in PostgreSQL. A clone is another handle on the same connections.
///
/// What a call returned is as durable as the server's `synchronous_commit` says.
#[derive(Clone)]
pub struct PostgresStore {
    database: Arc<Database>,
}

impl PostgresStore {
    /// Connects with [`PostgresOptions::default`], and makes the tables where they are missing.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        PostgresOptions::default().connect(url).await
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Database { pool, names, server, .. } = &*self.database;
        f.debug_struct("PostgresStore")
            .field("server", server)
            .field("schema", &names.schema())
            .field("prefix", &names.prefix())
            .field("pool", &pool.status())
            .finish_non_exhaustive()
    }
}

/// How a server is used.
///
/// ```
/// use std::time::Duration;
///
/// use gatekey_postgres::PostgresOptions;
///
/// let options = PostgresOptions::default().schema("auth").pool_size(8).timeout(Duration::from_secs(1));
/// # drop(options);
/// ```
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    pool_size: usize,
    timeout: Duration,
    pool_timeout: Duration,
    schema: String,
    prefix: String,
    migrate: bool,
    notify: bool,
    #[cfg(feature = "tls")]
    root_certificates: Option<std::path::PathBuf>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            pool_size: 16,
            timeout: Duration::from_secs(5),
            pool_timeout: Duration::from_secs(3),
            schema: "public".to_owned(),
            prefix: "gatekey_".to_owned(),
            migrate: true,
            notify: true,
            #[cfg(feature = "tls")]
            root_certificates: None,
        }
    }
}

impl PostgresOptions {
    /// How many connections to keep at most; 16 by default, at least 2 (1 is taken for 2). They are made when they are
    /// needed. A quarter of them, one at least, is for transactions (logins, ends of all sessions, what is not the common
    /// case of a refresh, throttles); the others are shared by all calls of one statement, any number at a time.
    #[must_use]
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections.max(2);
        self
    }

    /// How long a call may take once it has a connection; 5 seconds by default, to the millisecond, 1 ms to 24 days.
    /// The server is told the same (`statement_timeout`), so that nothing that was given up holds a lock.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = bounded(timeout);
        self
    }

    /// How long to wait for a connection, and for a new one to be made; 3 seconds by default, 1 ms to 24 days.
    #[must_use]
    pub fn pool_timeout(mut self, timeout: Duration) -> Self {
        self.pool_timeout = bounded(timeout);
        self
    }

    /// The schema of the tables; `public` by default, 31 letters, digits and underscores at most, made if it is
    /// missing. Case counts.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// What the names of the tables begin with; `gatekey_` by default, 31 letters, digits and underscores at most.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Whether to make the tables and bring them up to date; yes by default. If not, tables of another version than
    /// this crate's are refused, older ones too.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Whether ends of sessions are notified and listened for; yes by default. The same on all nodes: one that does not
    /// notify is heard by those that listen only when they ask.
    #[must_use]
    pub fn notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// A PEM file with the certificates to trust, instead of this machine's. Many providers of databases have their
    /// own.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn root_certificates(mut self, file: impl Into<std::path::PathBuf>) -> Self {
        self.root_certificates = Some(file.into());
        self
    }

    /// Connects, and makes the tables where they are missing. The URL is `postgres://USER:PASSWORD@HOST:PORT/DATABASE`,
    /// or the words that PostgreSQL's own programs take.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(self, url: &str) -> Result<PostgresStore, ConnectError> {
        Ok(PostgresStore { database: Arc::new(Database::connect(url, self).await?) })
    }
}

/// PostgreSQL counts milliseconds in a C int.
fn bounded(timeout: Duration) -> Duration {
    timeout.clamp(Duration::from_millis(1), Duration::from_secs(24 * 24 * 3600))
}

/// Why a server could not be used as a store. Its text is one line without user, password or anything stored.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be read, or a setting is wrong. Nothing was connected to.
    Settings(String),
    /// Not reachable, a wrong password, no such database, no privilege to make tables, …
    Unusable {
        /// Which server: host, port and database.
        server: String,
        /// What it said.
        cause: String,
    },
    /// The tables have another version than this crate's: a newer one, or an older one while
    /// [`PostgresOptions::migrate`] is off. Nothing was changed.
    Schema {
        /// Which server.
        server: String,
        /// The version of its tables; 0 if there are none.
        found: usize,
        /// The version that this crate knows.
        known: usize,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(problem) => write!(f, "cannot use PostgreSQL: {problem}"),
            Self::Unusable { server, cause } => {
                write!(f, "cannot use the PostgreSQL server {server}: {cause}")
            }
            Self::Schema { server, found, known } if found > known => write!(
                f,
                "cannot use the PostgreSQL server {server}: its tables have version {found}, this program knows up to \
                 {known}"
            ),
            Self::Schema { server, found, known } => write!(
                f,
                "cannot use the PostgreSQL server {server}: its tables have version {found} and not {known}, and this \
                 program was told not to change them"
            ),
        }
    }
}

impl std::error::Error for ConnectError {}

#[async_trait]
impl SessionStore for PostgresStore {
    async fn insert(&self, session: &Session, max_sessions: usize) -> Result<Inserted, StoreError> {
        Ok(transaction!(self, |client, sql| sessions::insert(client, sql, session, max_sessions)))
    }

    async fn rotate(&self, attempt: &Attempt) -> Result<Option<Rotation>, StoreError> {
        if !fits(attempt.presented.session.as_str()) {
            return Ok(None);
        }
        fitting(attempt.client.user_agent.as_deref())?;
        let id = &attempt.presented.session;
        let found;
        let seen = match &attempt.seen {
            Some(seen) if seen.id == *id => seen,
            _ => {
                found = self.find(id).await?;
                let Some(found) = &found else { return Ok(None) };
                found
            }
        };
        if let Some(swapped) = statement!(self, |client, sql| sessions::swap(client, sql, seen, attempt)) {
            return Ok(Some(swapped));
        }
        Ok(transaction!(self, |client, sql| sessions::rotate(client, sql, attempt)))
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        if !fits(id.as_str()) {
            return Ok(None);
        }
        Ok(statement!(self, |client, sql| sessions::find(client, sql, id)))
    }

    async fn find_with_account(&self, id: &SessionId) -> Result<Option<(Session, Account)>, StoreError> {
        if !fits(id.as_str()) {
            return Ok(None);
        }
        Ok(statement!(self, |client, sql| sessions::find_with_account(client, sql, id)))
    }

    async fn list(&self, subject: &SubjectId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        if !fits(subject.as_str()) {
            return Ok(Vec::new());
        }
        Ok(statement!(self, |client, sql| sessions::list(client, sql, subject, now)))
    }

    async fn revoke(
        &self,
        id: &SessionId,
        owner: Option<&SubjectId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if !fits(id.as_str()) || owner.is_some_and(|owner| !fits(owner.as_str())) {
            return Ok(false);
        }
        Ok(statement!(self, |client, sql| sessions::revoke(client, sql, id, owner, reason, now)))
    }

    async fn revoke_all(
        &self,
        subject: &SubjectId,
        keep: Option<&SessionId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        Ok(transaction!(self, |client, sql| sessions::revoke_all(client, sql, subject, keep, reason, now)))
    }

    async fn revoked_since(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        Ok(statement!(self, |client, sql| sessions::revoked_since(client, sql, since)))
    }

    async fn subscribe(&self) -> Result<Option<Subscription>, StoreError> {
        if !self.database.options.notify {
            return Ok(None);
        }
        feed::subscribe(&self.database).await.map(Some)
    }

    /// In steps of a thousand rows, each a transaction, so that nobody waits for a long one: where a step fails, those
    /// before it stay done. Removes throttles that mean nothing any more, too.
    async fn purge_expired(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut removed = 0;
        while removed < limit {
            let rest = limit - removed;
            let step = transaction!(self, |client, sql| sessions::purge(client, sql, before, rest));
            removed += step.removed;
            if !step.more {
                break;
            }
        }
        while transaction!(self, |client, sql| throttles::purge(client, sql, before)) {}
        Ok(removed)
    }
}

#[async_trait]
impl UserStore for PostgresStore {
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError> {
        Ok(statement!(self, |client, sql| users::find_by_name(client, sql, name)))
    }

    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError> {
        if !fits(id.as_str()) {
            return Ok(None);
        }
        Ok(statement!(self, |client, sql| users::find_by_id(client, sql, id)))
    }

    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError> {
        Ok(statement!(self, |client, sql| users::set_password_hash(client, sql, id, old, new)))
    }

    async fn create(&self, user: NewUser) -> Result<Option<User>, StoreError> {
        let user = &user;
        Ok(statement!(self, |client, sql| users::create(client, sql, user)))
    }

    async fn update(&self, id: &SubjectId, change: &UserChange) -> Result<bool, StoreError> {
        if !fits(id.as_str()) {
            return Ok(false);
        }
        Ok(statement!(self, |client, sql| users::update(client, sql, id, change)))
    }
}

/// Counters that all nodes share. Two round trips an attempt more than in memory, and more than that where the counter
/// is a busy one: choose it where an attacker's attempts must not multiply by the number of nodes.
#[async_trait]
impl ThrottleStore for PostgresStore {
    async fn take(&self, charges: &[Charge], now: Timestamp) -> Result<Verdict, StoreError> {
        Ok(transaction!(self, |client, sql| throttles::take(client, sql, charges, now)))
    }

    async fn give_back(&self, charges: &[Charge], taken_at: Timestamp) -> Result<(), StoreError> {
        transaction!(self, |client, sql| throttles::give_back(client, sql, charges, taken_at));
        Ok(())
    }

    async fn clear(&self, key: &Key) -> Result<(), StoreError> {
        statement!(self, |client, sql| throttles::clear(client, sql, key));
        Ok(())
    }
}
