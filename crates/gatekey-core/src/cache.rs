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
//! 5. Its size is fixed when it is made. Where all places that a token may have are taken, it is noted at first and
//!    nothing is copied; if it comes again before four others did, it has the place of the one that is there longest. So
//!    tokens that come once drive out none that come often, and cost no more than without a cache.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{PoisonError, RwLock},
};

use crate::{access::Principal, time::Timestamp};

/// Places that one hash may be at. Each set has a lock of its own, so requests meet only over the same few tokens.
const WAYS: usize = 4;
/// How much of a token's end is hashed. A signature is as good as random, and 16 characters of it are 96 bits.
const HASHED: usize = 16;

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
    token: Box<[u8]>,
    validity: Validity,
    principal: Principal,
}

/// What one hash may be at. A token that is not here is missed in one line of the processor's cache: the entries are
/// elsewhere, and looked at only where a mark fits.
#[derive(Default)]
struct Set {
    /// Of each entry: a part of its token's hash.
    marks: [u32; WAYS],
    /// Those of tokens that found no place, the latest first.
    noted: [u32; WAYS],
    entries: Box<[Option<Entry>; WAYS]>,
    /// How many there are. None leaves but for another.
    taken: u8,
    /// Whose place the next newcomer takes.
    oldest: u8,
}

impl Set {
    /// Where a newcomer goes; nowhere, if all places are taken and it has not been here lately.
    fn place_for(&mut self, mark: u32) -> Option<usize> {
        let taken = usize::from(self.taken);
        if taken < WAYS {
            self.taken += 1;
            return Some(taken);
        }
        if !self.noted.contains(&mark) {
            let [a, b, c, _] = self.noted;
            self.noted = [mark, a, b, c];
            return None;
        }
        let at = usize::from(self.oldest) % WAYS;
        self.oldest = self.oldest.wrapping_add(1);
        Some(at)
    }
}

/// The cache. An empty one, of size 0, never finds anything.
pub(crate) struct TokenCache {
    sets: Box<[RwLock<Set>]>,
    /// So that nobody can choose tokens for a set.
    keys: [u64; 2],
}

impl TokenCache {
    /// Room for about so many tokens: the next multiple of four.
    pub(crate) fn new(size: usize) -> Self {
        let sets = (0..size.div_ceil(WAYS)).map(|_| RwLock::default()).collect();
        let random = RandomState::new();
        Self { sets, keys: [random.hash_one(0), random.hash_one(1)] }
    }

    /// Where the token is, if it is here; none where there is no room for any.
    pub(crate) fn place<'a>(&'a self, token: &'a (impl AsRef<[u8]> + ?Sized)) -> Option<Place<'a>> {
        let token = token.as_ref();
        let end = token.last_chunk::<HASHED>()?;
        let [a, b] = end.as_chunks::<8>().0 else { return None };
        // What is as good as random has to be mixed with the keys, and no more.
        let mixed = |at: usize, half: &[u8; 8]| u128::from(u64::from_le_bytes(*half) ^ self.keys[at]);
        let product = mixed(0, a) * mixed(1, b);
        #[allow(clippy::cast_possible_truncation, reason = "an index, and half of a hash")]
        let (at, mark) = {
            let hash = (product >> 64) as u64 ^ product as u64;
            (((u128::from(hash) * self.sets.len() as u128) >> 64) as usize, hash as u32)
        };
        let set = self.sets.get(at)?;
        Some(Place { set, mark, token })
    }
}

/// The set that a token belongs to.
pub(crate) struct Place<'a> {
    set: &'a RwLock<Set>,
    mark: u32,
    token: &'a [u8],
}

impl Place<'_> {
    /// Where the token is in its set.
    fn of(&self, set: &Set) -> Option<usize> {
        let is_here = |at: &usize| {
            set.marks[*at] == self.mark
                && set.entries[*at].as_ref().is_some_and(|entry| *entry.token == *self.token)
        };
        (0..WAYS).find(is_here)
    }

    /// Whom the token speaks for, if it was verified by the same keys and the time is right.
    pub(crate) fn find(&self, generation: u64, now: Timestamp) -> Option<Principal> {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner);
        let entry = set.entries[self.of(&set)?].as_ref()?;
        entry.validity.holds(generation, now).then(|| entry.principal.clone())
    }

    /// Keeps the token, which was just verified, if there is a place for it.
    pub(crate) fn keep(&self, validity: Validity, principal: &Principal) {
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = self.of(&set).or_else(|| set.place_for(self.mark)) else { return };
        let entry = Entry { token: self.token.into(), validity, principal: principal.clone() };
        set.marks[at] = self.mark;
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
