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
    hash::{BuildHasher, RandomState},
    sync::{PoisonError, RwLock},
};

use crate::{access::Principal, time::Timestamp};

/// Places that one hash may be at. Each set has a lock of its own, so requests meet only over the same few tokens.
const WAYS: usize = 4;
/// How much of a token's end is hashed. A signature is as good as random, and 24 characters of it are 144 bits.
const HASHED: usize = 24;

/// When a verified token may be taken without being verified again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// Of the key ring that verified it.
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

    fn place(&self, token: &str) -> Option<(u64, &RwLock<Set>)> {
        let bytes = token.as_bytes();
        let hash = self.hash.hash_one(&bytes[bytes.len().saturating_sub(HASHED)..]);
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is an index")]
        let set = hash.checked_rem(self.sets.len() as u64)? as usize;
        Some((hash, &self.sets[set]))
    }

    /// Whom the token speaks for, if it was verified by the same keys and the time is right.
    pub(crate) fn find(&self, token: &str, generation: u64, now: Timestamp) -> Option<Principal> {
        let (hash, set) = self.place(token)?;
        let set = set.read().unwrap_or_else(PoisonError::into_inner);
        let entry =
            set.entries.iter().flatten().find(|entry| entry.hash == hash && *entry.token == *token)?;
        entry.validity.holds(generation, now).then(|| entry.principal.clone())
    }

    /// Keeps a token that was just verified.
    pub(crate) fn keep(&self, token: &str, validity: Validity, principal: &Principal) {
        let Some((hash, set)) = self.place(token) else { return };
        let entry = Entry { hash, token: token.into(), validity, principal: principal.clone() };
        let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
        let same = set
            .entries
            .iter()
            .position(|old| old.as_ref().is_none_or(|old| old.hash == hash && old.token == entry.token));
        let place = same.unwrap_or_else(|| {
            set.oldest = (set.oldest + 1) % WAYS;
            set.oldest
        });
        set.entries[place] = Some(entry);
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("size", &(self.sets.len() * WAYS)).finish_non_exhaustive()
    }
}
