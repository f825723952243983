//! Keeps gatekey's sessions and users in an SQLite file: your application's own, or one beside it.
//!
//! ```
//! use gatekey_core::{
//!     password::PasswordHash,
//!     session::SubjectId,
//!     store::UserStore,
//!     time::Timestamp,
//!     user::{NewUser, Username},
//! };
//! use gatekey_sqlite::SqliteStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("gatekey-sqlite-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let store = SqliteStore::open(folder.join("app.db")).await?;
//! let new_user = |id: &str, name: &str| NewUser {
//!     id: SubjectId::new(id),
//!     username: Username::new(name).expect("a fit name"),
//!     password_hash: PasswordHash::new("$argon2id$…"),
//!     created_at: Timestamp::from_secs(1_700_000_000),
//! };
//! assert!(store.create(new_user("1", "Alice")).await?.is_some());
//! // Names are compared in their canonical form: this one is taken.
//! assert!(store.create(new_user("2", "ALICE")).await?.is_none());
//!
//! // A folder that does not exist is refused, in one line that says which file and why.
//! let refused = SqliteStore::open(folder.join("nowhere").join("app.db")).await.unwrap_err();
//! assert!(refused.to_string().contains("app.db"));
//! # drop(store);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does with the file
//!
//! 1. A file that does not exist is created, readable by its owner alone; the permissions of one that exists stay.
//! 2. Its tables are those whose names begin with `gatekey_`. They are created and brought up to date at
//!    [`SqliteStore::open`], in one transaction. A file with tables of a newer version is refused and left as it is.
//! 3. The file is put into [write-ahead logging] and stays in it: two more files, `-wal` and `-shm`, stand beside it
//!    while it is open. A backup copies it with `sqlite3 app.db ".backup copy.db"` or `VACUUM INTO`, not with `cp`.
//! 4. Refresh tokens are stored as SHA-256 digests, and the latest one sealed so that only who holds its predecessor
//!    can read it. Passwords are stored as the hashes they are given as.
//!
//! # How it works
//!
//! One thread writes. The calls that wait for it become one transaction, and each is answered when that is
//! committed, so the disk is synced once for many refreshes. A few threads read beside it. No async thread ever
//! blocks. Where the queue is full, the file is locked for too long or the disk is full, a call ends as
//! [`StoreError::Unavailable`], with nothing half written.
//!
//! Any number of stores, in one process or several, may have one file open. It must lie on a local disk: the locks of
//! most network file systems cannot be relied on.
//!
//! [write-ahead logging]: https://www.sqlite.org/wal.html

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use gatekey_core::{
    password::PasswordHash,
    rotation::Attempt,
    session::{EndReason, Session, SessionId, SubjectId},
    store::{Account, Inserted, Revocation, Rotation, SessionStore, StoreError, UserStore},
    time::Timestamp,
    user::{NewUser, User, UserChange, Username},
};
use rusqlite::Connection;

use crate::threads::Threads;

mod connect;
mod fault;
mod schema;
mod sessions;
mod threads;
mod users;

#[cfg(test)]
mod tests;

/// Sessions and users in an SQLite file. A clone is another handle on the same connections.
///
/// What a call returned is on the disk, unless [`Durability::Normal`] was chosen. Dropping the last handle blocks
/// until the calls that are queued are done, the threads have ended and the file is closed.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    threads: Arc<Threads>,
}

impl SqliteStore {
    /// Opens the file with [`SqliteOptions::default`], creating it and its tables where they are missing.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        SqliteOptions::default().open(path).await
    }
}

/// What an answer is worth when the power fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// What was answered is on the disk: `synchronous = FULL`.
    #[default]
    Full,
    /// What was answered survives the end of the process, but the last moments before a power failure may be lost:
    /// `synchronous = NORMAL`. The file stays whole. Clients then hold refresh tokens that the file does not know
    /// and have to log in again, and a session that was revoked in those moments is live again.
    Normal,
}

/// How an SQLite file is opened.
///
/// ```
/// use std::time::Duration;
///
/// use gatekey_sqlite::SqliteOptions;
///
/// let options = SqliteOptions::default().readers(4).busy_timeout(Duration::from_secs(1));
/// # drop(options);
/// ```
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    durability: Durability,
    queue: usize,
    readers: usize,
    busy_timeout: Duration,
    migrate: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            queue: 1024,
            readers: 2,
            busy_timeout: Duration::from_secs(5),
            migrate: true,
        }
    }
}

impl SqliteOptions {
    /// What an answer is worth when the power fails; [`Durability::Full`] by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many writing calls may wait, and as many reading ones; 1024 by default, at least 1. One more is answered
    /// [`StoreError::Unavailable`] at once.
    #[must_use]
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls.max(1);
        self
    }

    /// How many threads read; 2 by default, at least 1. Refreshes are done by the writer alone.
    #[must_use]
    pub fn readers(mut self, threads: usize) -> Self {
        self.readers = threads.max(1);
        self
    }

    /// How long to wait for another process that is writing to the file; 5 seconds by default, to the millisecond.
    /// After that, the calls that waited are [`StoreError::Unavailable`].
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        // SQLite counts milliseconds in a C int.
        self.busy_timeout = timeout.min(Duration::from_secs(24 * 3600));
        self
    }

    /// Whether the file and its tables are made where they are missing, and brought up to date; yes by default. If not, the
    /// file has to be there, with tables that suit this crate.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Opens the file, creating it and its tables where they are missing.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, OpenError> {
        let path = path.as_ref().to_owned();
        let no_thread =
            |source: std::io::Error| OpenError::Unusable { path: path.clone(), source: source.into() };
        let opening = path.clone();
        let queue = self.queue;
        let threads = Threads::start(queue, move || connect::all(&opening, &self), no_thread).await?;
        Ok(SqliteStore { threads: Arc::new(threads) })
    }
}

/// Why a file could not be opened as a store. Its text is one line that names the file and the cause.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Not an SQLite file, not readable or writable, in a folder that does not exist, locked for too long, …
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A newer version of this crate made the tables in it. Nothing was changed.
    NewerSchema {
        /// Which file.
        path: PathBuf,
        /// The version of its tables.
        found: usize,
        /// The newest version that this crate knows.
        known: usize,
    },
    /// The tables in it are of an older version, or there are none, while [`SqliteOptions::migrate`] is off. Nothing was
    /// changed.
    OlderSchema {
        /// Which file.
        path: PathBuf,
        /// The version of its tables; 0 if there are none.
        found: usize,
        /// The version that this crate needs.
        known: usize,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable { path, source } => {
                write!(f, "cannot open the store {path:?}: {source}")
            }
            Self::OlderSchema { path, found, known } => write!(
                f,
                "cannot open the store {path:?}: its tables have version {found} and not {known}, and this program was told \
                 not to change them"
            ),
            Self::NewerSchema { path, found, known } => write!(
                f,
                "cannot open the store {path:?}: its tables have version {found}, this program knows up to {known}"
            ),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unusable { source, .. } => Some(&**source),
            Self::NewerSchema { .. } | Self::OlderSchema { .. } => None,
        }
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn insert(&self, session: &Session, max_sessions: usize) -> Result<Inserted, StoreError> {
        let session = session.clone();
        self.threads.write(move |db| sessions::insert(db, &session, max_sessions)).await
    }

    async fn rotate(&self, attempt: &Attempt) -> Result<Option<Rotation>, StoreError> {
        let attempt = attempt.clone();
        self.threads.write(move |db| sessions::rotate(db, &attempt)).await
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let id = id.clone();
        self.threads.read(move |db| sessions::find(db, &id)).await
    }

    async fn find_with_account(&self, id: &SessionId) -> Result<Option<(Session, Account)>, StoreError> {
        let id = id.clone();
        // Two statements, and one way to a reader and back.
        let find = move |db: &Connection| {
            let Some(session) = sessions::find(db, &id)? else { return Ok(None) };
            let user = users::find_by_id(db, &session.subject)?;
            Ok(Some((session, Account::Here(user))))
        };
        self.threads.read(find).await
    }

    async fn list(&self, subject: &SubjectId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let subject = subject.clone();
        self.threads.read(move |db| sessions::list(db, &subject, now)).await
    }

    async fn revoke(
        &self,
        id: &SessionId,
        owner: Option<&SubjectId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (id, owner) = (id.clone(), owner.cloned());
        self.threads.write(move |db| sessions::revoke(db, &id, owner.as_ref(), reason, now)).await
    }

    async fn revoke_all(
        &self,
        subject: &SubjectId,
        keep: Option<&SessionId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let (subject, keep) = (subject.clone(), keep.cloned());
        self.threads.write(move |db| sessions::revoke_all(db, &subject, keep.as_ref(), reason, now)).await
    }

    async fn revoked_since(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        self.threads.read(move |db| sessions::revoked_since(db, since)).await
    }

    async fn purge_expired(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        // Correcting a bound changes nothing that anybody sees, so it may be done in steps; removing is one.
        while self.threads.write(move |db| sessions::correct_bounds(db, before)).await? {}
        self.threads.write(move |db| sessions::purge(db, before, limit)).await
    }
}

#[async_trait]
impl UserStore for SqliteStore {
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError> {
        let name = name.clone();
        self.threads.read(move |db| users::find_by_name(db, &name)).await
    }

    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError> {
        let id = id.clone();
        self.threads.read(move |db| users::find_by_id(db, &id)).await
    }

    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError> {
        // Hashes wait in the queue as what they are, so that they are wiped.
        let (id, old, new) = (id.clone(), PasswordHash::new(old), PasswordHash::new(new));
        self.threads.write(move |db| users::set_password_hash(db, &id, &old, &new)).await
    }

    async fn create(&self, user: NewUser) -> Result<Option<User>, StoreError> {
        self.threads.write(move |db| users::create(db, &user)).await
    }

    async fn update(&self, id: &SubjectId, change: &UserChange) -> Result<bool, StoreError> {
        let (id, change) = (id.clone(), change.clone());
        self.threads.write(move |db| users::update(db, &id, &change)).await
    }
}
