//! The sessions revoked within the last access lifetime, in memory.
//!
//! An access token outlives the end of its session by up to its lifetime, and a guarded request does no I/O: so every
//! node keeps this list and looks there. An entry leaves once the last token of its session has expired, so the list
//! holds what was revoked in about a quarter of an hour and no more.
//!
//! 1. The node that revokes adds the session before it answers.
//! 2. Other nodes hear of it from the store: by subscription where the store has one, and then the store is asked each
//!    second all the same; elsewhere it is asked every [`FeedConfig::poll`] (250 ms by default).
//! 3. A node reads the recent revocations before it serves.
//! 4. How late each was heard of is measured (`gatekey_revocation_lag_seconds`), and for how long the store has been
//!    silent (`gatekey_revocation_feed_silence_seconds`).
//! 5. A feed that has been silent for longer than [`FeedConfig::lost_after`] is an event; then guarded requests go on
//!    ([`WhenLost::StayOpen`], the default) or are answered as temporarily unavailable ([`WhenLost::Close`]).

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{session::SessionId, time::Timestamp};

/// What guarded requests do while the store's revocations cannot be heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenLost {
    /// Go on: a token revoked on another node may be accepted here until the feed is back or the token expires.
    #[default]
    StayOpen,
    /// Refuse as temporarily unavailable until the feed is back.
    Close,
}

/// How revocations by other nodes are heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedConfig {
    /// How often the store is asked. 250 ms by default; at most 1 s.
    pub poll: Duration,
    /// For how long the store may be silent before that is an event. 30 s by default.
    pub lost_after: Duration,
    /// What then.
    pub when_lost: WhenLost,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(250),
            lost_after: Duration::from_secs(30),
            when_lost: WhenLost::StayOpen,
        }
    }
}

/// The list. Reading takes no lock while it is empty, and a shared one otherwise.
#[derive(Debug)]
pub(crate) struct RevocationList {
    /// Each session with the time its last access token expires.
    sessions: RwLock<HashMap<SessionId, Timestamp>>,
    length: AtomicUsize,
    started: Instant,
    /// When the store was last heard, in milliseconds after `started`. Monotonic time: a stepped clock must not make a
    /// live feed look lost.
    heard: AtomicU64,
}

impl RevocationList {
    pub(crate) fn new() -> Self {
        Self {
            sessions: RwLock::default(),
            length: AtomicUsize::new(0),
            started: Instant::now(),
            heard: AtomicU64::new(0),
        }
    }

    pub(crate) fn contains(&self, session: &SessionId) -> bool {
        self.length.load(Ordering::Acquire) > 0
            && self.sessions.read().unwrap_or_else(PoisonError::into_inner).contains_key(session)
    }

    /// Adds sessions, each until its last access token has expired. Returns the times of those that were not there yet.
    pub(crate) fn add(
        &self,
        sessions: impl IntoIterator<Item = (SessionId, Timestamp)>,
        now: Timestamp,
    ) -> Vec<Timestamp> {
        let mut list = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = Vec::new();
        for (session, until) in sessions.into_iter().filter(|(_, until)| *until > now) {
            match list.entry(session) {
                Entry::Occupied(mut entry) => *entry.get_mut() = until.max(*entry.get()),
                Entry::Vacant(entry) => {
                    entry.insert(until);
                    new.push(until);
                }
            }
        }
        self.length.store(list.len(), Ordering::Release);
        new
    }

    /// Forgets the sessions whose last access token has expired. Apart from [`Self::add`], which would else look at all
    /// that were revoked in a quarter of an hour at each logout, while guarded requests wait.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let mut list = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        list.retain(|_, until| *until > now);
        self.length.store(list.len(), Ordering::Release);
    }

    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Notes that the store was heard just now.
    pub(crate) fn hear(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis, Ordering::Release);
    }

    /// For how long the store has been silent.
    pub(crate) fn silence(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_session_is_listed_until_its_last_token_has_expired_and_then_forgotten() {
        let list = RevocationList::new();
        let (a, b) = (SessionId::new("a"), SessionId::new("b"));
        assert!(!list.contains(&a));
        let (first, second) = (NOW + Duration::from_secs(930), NOW + Duration::from_secs(2000));
        assert_eq!(list.add([(a.clone(), first)], NOW), [first]);
        assert!(list.contains(&a) && !list.contains(&b));
        let both = [(a.clone(), first), (b.clone(), second)];
        let before = first - Duration::from_millis(1);
        assert_eq!(list.add(both, before), [second]);
        list.sweep(before);
        assert!(list.contains(&a) && list.contains(&b));
        list.sweep(first);
        // Nor is it new where it is heard of once more.
        assert_eq!(list.add([(a.clone(), first)], first), []);
        assert!(!list.contains(&a) && list.contains(&b));
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn hearing_of_a_session_twice_never_shortens_its_entry() {
        let list = RevocationList::new();
        let a = SessionId::new("a");
        list.add([(a.clone(), NOW + Duration::from_secs(900))], NOW);
        list.add([(a.clone(), NOW + Duration::from_secs(100))], NOW);
        list.sweep(NOW + Duration::from_secs(500));
        assert!(list.contains(&a));
    }
}
