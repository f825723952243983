//! The store that forgets: sessions and users in this process's memory.
//!
//! It is the reference of the contract in [`crate::store`], for documentation, tests and examples. Every method takes
//! one lock, does its work and lets go; nothing waits inside. What it holds ends with the process, so everybody is
//! logged out by a restart, and a second process knows nothing of it: deploy one of the stores that write to disk.
//!
//! ```
//! use gatekey_core::{
//!     password::PasswordHash,
//!     session::SubjectId,
//!     store::{UserStore, memory::MemoryStore},
//!     time::Timestamp,
//!     user::{NewUser, Username},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let new_user = |id: &str, name: &str| NewUser {
//!     id: SubjectId::new(id),
//!     username: Username::new(name).expect("a fit name"),
//!     password_hash: PasswordHash::new("$argon2id$…"),
//!     created_at: Timestamp::from_secs(1_700_000_000),
//! };
//!
//! let alice = store.create(new_user("1", "Alice")).await?;
//! assert_eq!(alice.map(|user| user.username).as_deref(), Some("Alice"));
//! // Names are compared in their canonical form: this one is taken.
//! assert!(store.create(new_user("2", "ALICE")).await?.is_none());
//! # Ok(())
//! # }
//! ```

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{Account, Inserted, Revocation, Rotation, SessionStore, StoreError, UserStore};
use crate::{
    password::PasswordHash,
    rotation::{self, Attempt},
    session::{End, EndReason, Session, SessionId, SubjectId},
    time::Timestamp,
    user::{NewUser, User, UserChange, Username},
};

/// Sessions and users in memory. A clone is another handle on the same ones.
///
/// Never answers [`StoreError::Unavailable`]. Its `Debug` form tells how much it holds and nothing of what.
#[derive(Clone, Default)]
pub struct MemoryStore {
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    sessions: HashMap<SessionId, Session>,
    by_subject: HashMap<SubjectId, Vec<SessionId>>,
    /// Ended sessions by when they ended, so that the feed of revocations reads the recent ones alone.
    ended: BTreeSet<(Timestamp, SessionId)>,
    /// When all sessions of a subject were last revoked. Never forgotten: one entry for each subject it happened to.
    revoked_all: HashMap<SubjectId, Timestamp>,
    users: HashMap<SubjectId, User>,
    /// Canonical names.
    names: HashMap<String, SubjectId>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing below panics between two writes that belong together, so a poisoned lock still guards whole rows.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The subject's sessions, ended or not.
    fn of(&self, subject: &SubjectId) -> impl Iterator<Item = &Session> {
        let ids = self.by_subject.get(subject).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.sessions.get(id))
    }

    fn end(&mut self, id: &SessionId, reason: EndReason, now: Timestamp) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.ended = Some(End { at: now, reason });
            self.ended.insert((now, id.clone()));
        }
    }

    fn remove(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        if let Some(end) = session.ended {
            self.ended.remove(&(end.at, id.clone()));
        }
        if let Some(ids) = self.by_subject.get_mut(&session.subject) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.by_subject.remove(&session.subject);
            }
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held();
        f.debug_struct("MemoryStore")
            .field("sessions", &held.sessions.len())
            .field("users", &held.users.len())
            .finish()
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn insert(&self, session: &Session, max_sessions: usize) -> Result<Inserted, StoreError> {
        let mut held = self.held();
        let revoked_all = held.revoked_all.get(&session.subject);
        if revoked_all.is_some_and(|at| *at >= session.auth_time) {
            return Ok(Inserted::Stale);
        }
        if held.sessions.contains_key(&session.id) {
            return Err(StoreError::corrupt("a session of this id exists"));
        }

        let now = session.created_at;
        let mut others: Vec<_> = held
            .of(&session.subject)
            .filter(|other| other.is_live(now))
            .map(|other| (other.last_used_at, other.created_at, other.id.clone()))
            .collect();
        // The new session counts, and is never the one that has to go.
        let surplus = (others.len() + 1).saturating_sub(max_sessions.max(1));
        others.sort();
        let evicted: Vec<_> = others.into_iter().take(surplus).map(|(_, _, id)| id).collect();
        for id in &evicted {
            held.end(id, EndReason::Evicted, now);
        }

        held.by_subject.entry(session.subject.clone()).or_default().push(session.id.clone());
        if let Some(end) = session.ended {
            held.ended.insert((end.at, session.id.clone()));
        }
        held.sessions.insert(session.id.clone(), session.clone());
        Ok(Inserted::Opened { evicted })
    }

    async fn rotate(&self, attempt: &Attempt) -> Result<Option<Rotation>, StoreError> {
        let mut held = self.held();
        let Some(session) = held.sessions.get_mut(&attempt.presented.session) else {
            return Ok(None);
        };
        let before = session.client.clone();
        let was_ended = session.ended.is_some();
        let outcome = rotation::advance(session, attempt);
        let session = session.clone();
        if let Some(end) = session.ended
            && !was_ended
        {
            held.ended.insert((end.at, session.id.clone()));
        }
        Ok(Some(Rotation { outcome, session, before }))
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.held().sessions.get(id).cloned())
    }

    async fn find_with_account(&self, id: &SessionId) -> Result<Option<(Session, Account)>, StoreError> {
        let held = self.held();
        let account = |session: &Session| Account::Here(held.users.get(&session.subject).cloned());
        Ok(held.sessions.get(id).map(|session| (session.clone(), account(session))))
    }

    async fn list(&self, subject: &SubjectId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let mut live: Vec<_> =
            self.held().of(subject).filter(|session| session.is_live(now)).cloned().collect();
        live.sort_by_key(|session| Reverse((session.created_at, session.id.clone())));
        Ok(live)
    }

    async fn revoke(
        &self,
        id: &SessionId,
        owner: Option<&SubjectId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut held = self.held();
        let to_end = held.sessions.get(id).is_some_and(|session| {
            session.ended.is_none() && owner.is_none_or(|owner| *owner == session.subject)
        });
        if to_end {
            held.end(id, reason, now);
        }
        Ok(to_end)
    }

    async fn revoke_all(
        &self,
        subject: &SubjectId,
        keep: Option<&SessionId>,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut held = self.held();
        let mark = held.revoked_all.entry(subject.clone()).or_insert(now);
        // A clock that stepped back must not let a login in that was refused before.
        *mark = now.max(*mark);
        let to_end: Vec<_> = held
            .of(subject)
            .filter(|session| session.ended.is_none() && keep != Some(&session.id))
            .map(|session| session.id.clone())
            .collect();
        for id in &to_end {
            held.end(id, reason, now);
        }
        Ok(to_end)
    }

    async fn revoked_since(&self, since: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        // No identifier sorts before the empty one.
        let first = (since, SessionId::new(""));
        Ok(self
            .held()
            .ended
            .range(first..)
            .map(|(at, session)| Revocation { session: session.clone(), at: *at })
            .collect())
    }

    async fn purge_expired(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut held = self.held();
        let over: Vec<_> = held
            .sessions
            .values()
            .filter(|session| session.removable_at() < before)
            .take(limit)
            .map(|session| session.id.clone())
            .collect();
        for id in &over {
            held.remove(id);
        }
        Ok(over.len())
    }
}

#[async_trait]
impl UserStore for MemoryStore {
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError> {
        let held = self.held();
        let id = held.names.get(name.canonical());
        Ok(id.and_then(|id| held.users.get(id)).cloned())
    }

    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError> {
        Ok(self.held().users.get(id).cloned())
    }

    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError> {
        let mut held = self.held();
        let Some(user) = held.users.get_mut(id) else {
            return Ok(false);
        };
        let unchanged = user.password_hash.as_ref().is_some_and(|hash| hash.expose() == old);
        if unchanged {
            user.password_hash = Some(PasswordHash::new(new));
        }
        Ok(unchanged)
    }

    async fn create(&self, user: NewUser) -> Result<Option<User>, StoreError> {
        let mut held = self.held();
        if held.names.contains_key(user.username.canonical()) {
            return Ok(None);
        }
        if held.users.contains_key(&user.id) {
            return Err(StoreError::corrupt("a user of this id exists"));
        }
        let name = user.username.canonical().to_owned();
        let user = User {
            id: user.id,
            username: user.username.as_str().to_owned(),
            password_hash: Some(user.password_hash),
            roles: Vec::new(),
            scope: None,
            disabled: false,
            created_at: user.created_at,
        };
        held.names.insert(name, user.id.clone());
        held.users.insert(user.id.clone(), user.clone());
        Ok(Some(user))
    }

    async fn update(&self, id: &SubjectId, change: &UserChange) -> Result<bool, StoreError> {
        let mut held = self.held();
        let Some(user) = held.users.get_mut(id) else {
            return Ok(false);
        };
        if let Some(disabled) = change.disabled {
            user.disabled = disabled;
        }
        if let Some(roles) = &change.roles {
            user.roles.clone_from(roles);
        }
        if let Some(scope) = &change.scope {
            user.scope.clone_from(scope);
        }
        Ok(true)
    }
}
