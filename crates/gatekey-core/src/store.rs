//! What a store promises. Core decides, a store keeps: each method is one atomic step.
//!
//! A store of your own implements [`SessionStore`] (and [`UserStore`], if it keeps users too) and proves it with the
//! store suite of `gatekey-conformance`. The rules that hold for every method:
//!
//! 1. **Atomic**: a method happens whole or not at all, also across processes and a crash, and what it returned is
//!    durable as far as the store is.
//! 2. **Time is an argument**: a store never asks for the time.
//! 3. **No answer is not an answer**: a store that cannot tell says [`StoreError::Unavailable`]. Core then refuses the
//!    request as retryable; it never guesses.
//! 4. **A dropped future** of a method leaves either its whole effect or none.

use std::fmt;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::{
    rotation::{Attempt, Outcome},
    session::{Client, EndReason, Session, SessionId, SubjectId},
    time::Timestamp,
    user::{NewUser, User, UserChange, Username},
};

pub mod memory;

/// Why a store gave no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// Not reachable, busy, full or too slow. The same call may succeed later.
    Unavailable(Source),
    /// What is stored cannot be what was written.
    Corrupt(Source),
    /// The store does not offer this call (a host's users table without registration).
    Unsupported,
}

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

impl StoreError {
    /// The store cannot answer now.
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable(source.into())
    }

    /// What is stored cannot be right.
    pub fn corrupt(source: impl Into<Source>) -> Self {
        Self::Corrupt(source.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(source) => write!(f, "the store is unavailable: {source}"),
            Self::Corrupt(source) => write!(f, "the store holds something unreadable: {source}"),
            Self::Unsupported => f.write_str("the store does not support this call"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(source) | Self::Corrupt(source) => Some(&**source),
            Self::Unsupported => None,
        }
    }
}

/// What [`SessionStore::insert`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The session is open. These of the same subject, the least recently used, were ended to make room.
    Opened {
        /// The sessions ended, with reason [`EndReason::Evicted`].
        evicted: Vec<SessionId>,
    },
    /// All sessions of the subject were revoked at or after the session's `auth_time`: the login is out of date.
    Stale,
}

/// What [`SessionStore::rotate`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// What became of the attempt.
    pub outcome: Outcome,
    /// The row after it.
    pub session: Session,
    /// Who used the session last before this attempt.
    pub before: Client,
}

/// The account of a session's subject, for [`SessionStore::find_with_account`].
#[derive(Clone, Debug)]
pub enum Account {
    /// As [`UserStore::find_by_id`] of the same store tells it: `None` if there is none.
    Here(Option<User>),
    /// To be asked for.
    Elsewhere,
}

/// That a session was ended, for the nodes that did not end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub session: SessionId,
    /// When.
    pub at: Timestamp,
}

/// Revocations as a store tells of them, for [`SessionStore::subscribe`].
#[derive(Debug)]
pub struct Subscription(mpsc::Receiver<Revocation>);

/// Where a store puts what it hears.
#[derive(Clone, Debug)]
pub struct Announcer(mpsc::Sender<Revocation>);

impl Subscription {
    /// A subscription and where its store puts what it hears; at most `capacity` are waiting.
    #[must_use]
    pub fn channel(capacity: usize) -> (Announcer, Self) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Announcer(sender), Self(receiver))
    }

    /// The next revocation; `None` once the store stopped listening (a lost connection). Whoever subscribed then reads
    /// [`SessionStore::revoked_since`] and subscribes again.
    pub async fn next(&mut self) -> Option<Revocation> {
        self.0.recv().await
    }
}

impl Announcer {
    /// Passes on a revocation. `false` if nobody listens any more.
    pub async fn announce(&self, revocation: Revocation) -> bool {
        self.0.send(revocation).await.is_ok()
    }

    /// Waits until nobody listens any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// Keeps sessions.
#[async_trait]
pub trait SessionStore: Send + Sync + fmt::Debug + 'static {
    /// Opens a session.
    ///
    /// In one step: if [`SessionStore::revoke_all`] was called for the subject with `now` at or after the session's
    /// `auth_time`, nothing is written ([`Inserted::Stale`]; else a login that was under way during a password change
    /// would survive it). Otherwise the row is written as it is given, and if the subject then has more than
    /// `max_sessions` sessions that are live at its `created_at`, the least recently used of the others are ended, at
    /// that time. An id that exists is an error, and changes nothing.
    async fn insert(&self, session: &Session, max_sessions: usize) -> Result<Inserted, StoreError>;

    /// Judges a presented refresh token and swaps it for its successor, as [`crate::rotation`] decides.
    ///
    /// The swap happens only while the row still holds the presented token's digest: of any number of concurrent
    /// calls with one token exactly one is [`Outcome::Rotated`]. [`Outcome::Reused`] has ended the session when this
    /// returns. `None` if there is no such row. What the caller has seen of the row ([`Attempt::seen`]) may be out of date,
    /// and saves at most a read.
    async fn rotate(&self, attempt: &Attempt) -> Result<Option<Rotation>, StoreError>;

    /// The session of that id, ended or not. May be read beside writers.
    async fn find(&self, id: &SessionId) -> Result<Option<Session>, StoreError>;

    /// [`SessionStore::find`], and in the same read the account of the session's subject, where the store keeps users too
    /// and can; by default it does not. It is asked of stores that were given as the place of both. A store around
    /// another that has users of its own must not pass this on: the other would answer with its users.
    async fn find_with_account(&self, id: &SessionId) -> Result<Option<(Session, Account)>, StoreError> {
        Ok(self.find(id).await?.map(|session| (session, Account::Elsewhere)))
    }

    /// The subject's live sessions at `now`, newest first: by `created_at`.
    async fn list(&self, subject: &SubjectId, now: Timestamp) -> Result<Vec<Session>, StoreError>;

    /// Ends a session that is not ended yet, expired or not; `owner`, where given, must be its subject. `false` if there
    /// was none to end. After it returns no [`SessionStore::rotate`] of the session succeeds, whatever was under way.
    async fn revoke(
        &self,
        id: &SessionId,
        owner: Option<&SubjectId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Ends all of a subject's sessions but `keep`, and remembers `now` so that logins under way end too (see
    /// [`SessionStore::insert`]). Returns which it ended.
    async fn revoke_all(
        &self,
        subject: &SubjectId,
        keep: Option<&SessionId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// Sessions ended at or after `since`, in any order. Each is reported at least once to a caller that asks again
    /// with a `since` no later than its last call's time less a minute.
    async fn revoked_since(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError>;

    /// Tells of revocations by any node as they happen, at most once each, where the store can; `None` (the default)
    /// where it has to be asked. What it tells is a help to be fast: [`SessionStore::revoked_since`] stays the truth.
    async fn subscribe(&self) -> Result<Option<Subscription>, StoreError> {
        Ok(None)
    }

    /// Removes at most `limit` sessions whose end (idle or absolute; absolute alone for one ended by reuse, since it
    /// is evidence) lies before `before`. Returns how many; fewer than `limit` means there are no more.
    async fn purge_expired(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError>;
}

/// Finds users: implement it on your own users table, or use the one of the store you chose.
#[async_trait]
pub trait UserStore: Send + Sync + fmt::Debug + 'static {
    /// The user of that name, compared in its [`Username::canonical`] form.
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError>;

    /// The user of that id.
    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError>;

    /// Replaces the password hash if it is still `old`, in one step. `false` if it is not, or there is no such user.
    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError>;

    /// Creates a user, `None` if the name is taken. Needed only where `/register` is mounted.
    async fn create(&self, user: NewUser) -> Result<Option<User>, StoreError> {
        let _ = user;
        Err(StoreError::Unsupported)
    }

    /// Changes what an administrator may change. `false` if there is no such user. A host that keeps its own users
    /// need not offer it.
    async fn update(&self, id: &SubjectId, change: &UserChange) -> Result<bool, StoreError> {
        let _ = (id, change);
        Err(StoreError::Unsupported)
    }
}
