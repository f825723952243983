//! Access tokens that were verified a moment ago: a client sends the same one with every request of a quarter of an hour,
//! and a signature that was good stays good.
//!
//! 1. Only what passed every check gets in, so nobody without a token of ours can fill it.
//! 2. It is found by a keyed hash of the end of its signature and compared whole: an entry answers for its own bytes and
//!    for no others.
//! 3. An entry speaks only while the keys are the ones that verified it, and between the instants that its claims name.
//!    Outside of that it is as if absent, and the token is verified like any other: whatever is refused is refused by the
//!    one place that refuses.
//! 4. The revocation list is not its business. It is asked at each request, whether the token was found here or not.
//! 5. Its size is fixed when it is made. Where a place is taken, the newcomer has it.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{PoisonError, RwLock},
};

use crate::{access::Principal, time::Timestamp};

/// Places that one hash may be at. Each set has a lock of its own, so requests meet only over the same few tokens.
const WAYS: usize = 4;
/// How much of a token's end is hashed. A signature is as good as random, and 24 characters of it are 144 bits.
const HASHED: usize = 24;

/// The most tokens that one may be made for.
pub(crate) const MAX_TOKEN_CACHE: usize = 1 << 22;

/// When a verified token may be taken without being verified again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// Of the keys that verified it.
    pub(crate) generation: u64,
    /// Not before this, leeway included.
    pub(crate) from: Timestamp,
    /// Before this, leeway included.
    pub(crate) until: Timestamp,
}

impl Validity {
    fn holds(&self, generation: u64, now: Timestamp) -> bool {
        self.generation == generation && self.from <= now && now < self.until
    }
}

struct Entry {
    hash: u64,
    token: Box<str>,
    validity: Validity,
    principal: Principal,
}

#[derive(Default)]
struct Set {
    entries: [Option<Entry>; WAYS],
    /// Whose place the next newcomer takes.
    oldest: usize,
}

/// The cache. An empty one, of size 0, never finds anything.
pub(crate) struct TokenCache {
    sets: Box<[RwLock<Set>]>,
    hash: RandomState,
}

impl TokenCache {
    /// Room for about so many tokens: the next multiple of four.
    pub(crate) fn new(size: usize) -> Self {
        let sets = (0..size.div_ceil(WAYS)).map(|_| RwLock::default()).collect();
        Self { sets, hash: RandomState::new() }
    }

    /// Where the token is, if it is here; none where there is no room for any.
    pub(crate) fn place<'a>(&'a self, token: &'a str) -> Option<Place<'a>> {
        if self.sets.is_empty() {
            return None;
        }
        let bytes = token.as_bytes();
        let mut hasher = self.hash.build_hasher();
        hasher.write(&bytes[bytes.len().saturating_sub(HASHED)..]);
        let hash = hasher.finish();
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is an index")]
        let set = &self.sets[(hash % self.sets.len() as u64) as usize];
        Some(Place { set, hash, token })
    }
}

/// The set that a token belongs to.
pub(crate) struct Place<'a> {
    set: &'a RwLock<Set>,
    hash: u64,
    token: &'a str,
}

impl Place<'_> {
    fn is_of(&self, entry: &Entry) -> bool {
        entry.hash == self.hash && *entry.token == *self.token
    }

    /// Whom the token speaks for, if it was verified by the same keys and the time is right.
    pub(crate) fn find(&self, generation: u64, now: Timestamp) -> Option<Principal> {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        let entry = set.entries.iter().flatten().find(|entry| self.is_of(entry))?;
        entry.validity.holds(generation, now).then(|| entry.principal.clone())
    }

    /// Keeps the token, which was just verified.
    pub(crate) fn keep(&self, validity: Validity, principal: &Principal) {
        let entry =
            Entry { hash: self.hash, token: self.token.into(), validity, principal: principal.clone() };
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        let same = set.entries.iter().position(|old| old.as_ref().is_none_or(|old| self.is_of(old)));
        let at = same.unwrap_or_else(|| {
            set.oldest = (set.oldest + 1) % WAYS;
            set.oldest
        });
        let gone = set.entries[at].replace(entry);
        // Nobody waits while it is wiped away.
        drop(set);
        drop(gone);
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("size", &(self.sets.len() * WAYS)).finish_non_exhaustive()
    }
}
