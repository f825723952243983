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
    hash::{BuildHasher, RandomState},
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

/// The list. Who asks for a session that is not on it, and nearly every request does, takes no lock.
#[derive(Debug)]
pub(crate) struct RevocationList {
    /// Each session with the time its last access token expires.
    sessions: RwLock<HashMap<SessionId, Timestamp>>,
    filter: Filter,
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
            filter: Filter::new(),
            length: AtomicUsize::new(0),
            started: Instant::now(),
            heard: AtomicU64::new(0),
        }
    }

    pub(crate) fn contains(&self, session: &str) -> bool {
        self.length.load(Ordering::Acquire) > 0
            && self.filter.may_hold(session)
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
            self.filter.add(session.as_str());
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
        self.filter.replace(list.keys());
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

/// A bit for each listed session, at a place that a keyed hash tells. A session whose bit is not set is not listed; one
/// whose bit is set is looked up.
#[derive(Debug)]
struct Filter {
    words: Box<[AtomicU64]>,
    hash: RandomState,
}

/// 128 KiB of bits: with ten thousand listed sessions one look-up in a hundred takes the lock, with a hundred thousand
/// one in ten.
const FILTER_WORDS: usize = 1 << 14;

impl Filter {
    fn new() -> Self {
        Self { words: (0..FILTER_WORDS).map(|_| AtomicU64::new(0)).collect(), hash: RandomState::new() }
    }

    /// The word and the bit of a session.
    fn place(&self, session: &str) -> (usize, u64) {
        let hash = self.hash.hash_one(session);
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is an index")]
        let word = (hash / 64 % FILTER_WORDS as u64) as usize;
        (word, 1 << (hash % 64))
    }

    fn may_hold(&self, session: &str) -> bool {
        let (word, bit) = self.place(session);
        self.words[word].load(Ordering::Acquire) & bit != 0
    }

    fn add(&self, session: &str) {
        let (word, bit) = self.place(session);
        self.words[word].fetch_or(bit, Ordering::Release);
    }

    /// Sets the bits of these sessions and no others. A bit that stays is never cleared on the way: each word is worked
    /// out first and stored once.
    fn replace<'a>(&self, sessions: impl Iterator<Item = &'a SessionId>) {
        let mut words = vec![0; FILTER_WORDS];
        for session in sessions {
            let (word, bit) = self.place(session.as_str());
            words[word] |= bit;
        }
        for (word, bits) in self.words.iter().zip(words) {
            word.store(bits, Ordering::Release);
        }
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
        assert!(!list.contains(a.as_str()));
        let (first, second) = (NOW + Duration::from_secs(930), NOW + Duration::from_secs(2000));
        assert_eq!(list.add([(a.clone(), first)], NOW), [first]);
        assert!(list.contains(a.as_str()) && !list.contains(b.as_str()));
        let both = [(a.clone(), first), (b.clone(), second)];
        let before = first - Duration::from_millis(1);
        assert_eq!(list.add(both, before), [second]);
        list.sweep(before);
        assert!(list.contains(a.as_str()) && list.contains(b.as_str()));
        list.sweep(first);
        // Nor is it new where it is heard of once more.
        assert_eq!(list.add([(a.clone(), first)], first), []);
        assert!(!list.contains(a.as_str()) && list.contains(b.as_str()));
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn hearing_of_a_session_twice_never_shortens_its_entry() {
        let list = RevocationList::new();
        let a = SessionId::new("a");
        list.add([(a.clone(), NOW + Duration::from_secs(900))], NOW);
        list.add([(a.clone(), NOW + Duration::from_secs(100))], NOW);
        list.sweep(NOW + Duration::from_secs(500));
        assert!(list.contains(a.as_str()));
    }

    #[test]
    fn each_of_many_sessions_is_found_and_no_other_while_others_come_and_go() {
        let list = RevocationList::new();
        let session = |n: u64| SessionId::new(format!("session {n}"));
        for n in 0..20_000 {
            let now = NOW + Duration::from_millis(n * 10);
            list.add([(session(n), now + Duration::from_secs(60))], now);
            if n % 1000 == 0 {
                list.sweep(now);
            }
            assert!(
                list.contains(session(n).as_str())
                    && list.contains(session(n.saturating_sub(5_999)).as_str())
            );
            assert!(!list.contains(session(n + 1).as_str()));
        }
        // A minute's worth, and what has expired since the last sweep.
        assert!((6_000..=7_000).contains(&list.len()), "{}", list.len());
        list.sweep(NOW + Duration::from_secs(1 << 20));
        assert!(list.len() == 0 && list.filter.words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn a_sweep_never_lets_a_listed_session_through() {
        let list = RevocationList::new();
        let listed = SessionId::new("listed");
        list.add([(listed.clone(), NOW + Duration::from_secs(1 << 30))], NOW);
        std::thread::scope(|scope| {
            let sweeps = scope.spawn(|| (1..200).for_each(|n| list.sweep(NOW + Duration::from_secs(n))));
            while !sweeps.is_finished() {
                assert!(list.contains(listed.as_str()));
            }
        });
    }
}
