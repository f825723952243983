//! Counters in this process: a table of fixed size.
//!
//! The table is cut into buckets of 16 places, each with a lock of its own, and a key belongs to one bucket: memory is
//! bounded, requests seldom meet, and making room is a look at 16 places. Keys are keyed hashes, so nobody outside can
//! aim at a bucket.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Charge, Counter, Key, Numbers, ThrottleStore, Verdict};
use crate::{store::StoreError, time::Timestamp};

const PLACES: usize = 16;

/// Counters in the memory of this process.
///
/// It holds a fixed number of them: 65,536 by default, 48 bytes each, 3 MiB in all when full. Where a new one finds no
/// place, one goes that says nothing any more, else one that refuses nobody and has counted the least, and only where
/// all of its bucket refuse someone, the least of those. So one who sprays names or addresses drives out his own traces
/// and those of others who tried once or twice, but none that is worth driving out.
pub struct MemoryThrottle {
    buckets: Box<[Mutex<Vec<Entry>>]>,
}

/// 48 bytes; a test says so.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    rule: Numbers,
    counter: Counter,
}

type Bucket<'a> = MutexGuard<'a, Vec<Entry>>;

impl MemoryThrottle {
    /// How many counters it holds by default.
    pub const DEFAULT_CAPACITY: usize = 65_536;

    /// Holds at most `capacity` counters, rounded up to a multiple of 16, at least 16.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(PLACES).max(1);
        Self { buckets: (0..buckets).map(|_| Mutex::default()).collect() }
    }

    /// How many counters it holds now, those that say nothing any more included.
    #[must_use]
    pub fn len(&self) -> usize {
        (0..self.buckets.len()).map(|n| self.lock(n).len()).sum()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn index(&self, key: &Key) -> usize {
        let [a, b, c, d, ..] = *key.as_bytes();
        u32::from_le_bytes([a, b, c, d]) as usize % self.buckets.len()
    }

    fn lock(&self, index: usize) -> Bucket<'_> {
        // Nothing panics while it is held; and if it did, every entry is whole.
        self.buckets[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The buckets of all the charges, each once, in the order of their index: two takes never wait for each other.
    fn lock_all(&self, charges: &[Charge]) -> Vec<(usize, Bucket<'_>)> {
        let mut indexes: Vec<usize> = charges.iter().map(|charge| self.index(&charge.key)).collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes.into_iter().map(|index| (index, self.lock(index))).collect()
    }

    fn take_now(&self, charges: &[Charge], now: Timestamp) -> Verdict {
        let mut held = self.lock_all(charges);
        let mut counted: Vec<Entry> = Vec::with_capacity(charges.len());
        let mut wait = None;
        for charge in charges {
            let rule = Numbers::from(charge.rule);
            if rule == Numbers::Off {
                continue;
            }
            // One key charged twice counts twice.
            let before = counted.iter().rev().find(|entry| entry.key == charge.key);
            let counter = match before {
                Some(entry) => Some(entry.counter),
                None => find(self.bucket(&mut held, &charge.key), &charge.key).map(|entry| {
                    entry.counter = entry.counter.seen(now);
                    entry.counter
                }),
            };
            match rule.take(counter, now) {
                Ok(counter) => counted.push(Entry { key: charge.key, rule, counter }),
                Err(refused) => wait = wait.max(Some(refused)),
            }
        }
        if let Some(retry_after) = wait {
            return Verdict::Throttled { retry_after };
        }
        for entry in counted {
            put(self.bucket(&mut held, &entry.key), entry, now);
        }
        Verdict::Passed
    }

    /// Judges an attempt without counting it.
    pub(crate) fn look(&self, charge: &Charge, now: Timestamp) -> Verdict {
        let mut bucket = self.lock(self.index(&charge.key));
        let counter = find(&mut bucket, &charge.key).map(|entry| entry.counter.seen(now));
        match Numbers::from(charge.rule).take(counter, now) {
            Ok(_) => Verdict::Passed,
            Err(retry_after) => Verdict::Throttled { retry_after },
        }
    }

    /// Counts an attempt that was looked at before; one too many is not counted.
    pub(crate) fn count(&self, charge: &Charge, now: Timestamp) {
        self.take_now(std::slice::from_ref(charge), now);
    }

    fn give_back_now(&self, charges: &[Charge], taken_at: Timestamp) {
        let mut held = self.lock_all(charges);
        for charge in charges {
            let bucket = self.bucket(&mut held, &charge.key);
            if let Some(entry) = find(bucket, &charge.key) {
                match Numbers::from(charge.rule).give_back(entry.counter, taken_at) {
                    Some(counter) => entry.counter = counter,
                    None => remove(bucket, &charge.key),
                }
            }
        }
    }

    /// The bucket of the key, which [`Self::lock_all`] has locked.
    fn bucket<'a>(&self, held: &'a mut [(usize, Bucket<'_>)], key: &Key) -> &'a mut Vec<Entry> {
        let index = self.index(key);
        let at = held.partition_point(|(held, _)| *held < index);
        &mut held[at].1
    }
}

fn find<'a>(bucket: &'a mut [Entry], key: &Key) -> Option<&'a mut Entry> {
    bucket.iter_mut().find(|entry| entry.key == *key)
}

fn remove(bucket: &mut Vec<Entry>, key: &Key) {
    bucket.retain(|entry| entry.key != *key);
}

fn put(bucket: &mut Vec<Entry>, entry: Entry, now: Timestamp) {
    if let Some(place) = find(bucket, &entry.key) {
        *place = entry;
        return;
    }
    if bucket.len() < PLACES {
        bucket.push(entry);
        return;
    }
    let least =
        bucket.iter_mut().min_by_key(|entry| (entry.rule.weight(entry.counter, now), entry.counter.at));
    if let Some(place) = least {
        *place = entry;
    }
}

impl Default for MemoryThrottle {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY)
    }
}

impl std::fmt::Debug for MemoryThrottle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryThrottle")
            .field("capacity", &(self.buckets.len() * PLACES))
            .finish_non_exhaustive()
    }
}

/// Each method is one step: all buckets it touches are locked from its beginning to its end. It never fails.
#[async_trait]
impl ThrottleStore for MemoryThrottle {
    async fn take(&self, charges: &[Charge], now: Timestamp) -> Result<Verdict, StoreError> {
        Ok(self.take_now(charges, now))
    }

    async fn give_back(&self, charges: &[Charge], taken_at: Timestamp) -> Result<(), StoreError> {
        self.give_back_now(charges, taken_at);
        Ok(())
    }

    async fn clear(&self, key: &Key) -> Result<(), StoreError> {
        remove(&mut self.lock(self.index(key)), key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc, time::Duration};

    use super::*;
    use crate::limit::LimitRule;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const BACKOFF: LimitRule =
        LimitRule::Backoff { free: 5, first: Duration::from_secs(1), max: Duration::from_secs(900) };
    const THREE_A_MINUTE: LimitRule = LimitRule::Rate { count: 3, per: MINUTE };

    fn key(name: impl ToString) -> Key {
        Key::derive(&[1; 32], "test", &[&name.to_string()])
    }

    fn charge(name: impl ToString, rule: LimitRule) -> Charge {
        Charge { key: key(name), rule }
    }

    fn passes(throttle: &MemoryThrottle, charges: &[Charge], now: Timestamp) -> bool {
        throttle.take_now(charges, now) == Verdict::Passed
    }

    #[test]
    fn an_attempt_counts_on_all_its_charges_or_on_none() {
        let throttle = MemoryThrottle::default();
        let (network, account) = (charge("network", THREE_A_MINUTE), charge("account", BACKOFF));
        for _ in 0..3 {
            assert!(passes(&throttle, &[network, account], NOW));
        }
        let wait = Duration::from_secs(20);
        for _ in 0..100 {
            assert_eq!(throttle.take_now(&[network, account], NOW), Verdict::Throttled { retry_after: wait });
        }
        // Two of the five free ones are left: the hundred refused ones were not counted.
        for _ in 0..2 {
            assert!(passes(&throttle, &[account], NOW));
        }
        assert!(!passes(&throttle, &[account], NOW));
    }

    #[test]
    fn looking_counts_nothing() {
        let throttle = MemoryThrottle::default();
        let charge = charge("network", THREE_A_MINUTE);
        for _ in 0..10 {
            assert_eq!(throttle.look(&charge, NOW), Verdict::Passed);
        }
        assert!(throttle.is_empty());
        for _ in 0..5 {
            throttle.count(&charge, NOW);
        }
        let wait = Duration::from_secs(20);
        assert_eq!(throttle.look(&charge, NOW), Verdict::Throttled { retry_after: wait });
        // A clock set back makes nobody wait longer.
        assert_eq!(throttle.look(&charge, NOW - MINUTE), Verdict::Throttled { retry_after: wait });
        assert_eq!(throttle.look(&charge, NOW + wait), Verdict::Passed);
    }

    #[test]
    fn the_longest_of_several_waits_is_told() {
        let throttle = MemoryThrottle::default();
        let (short, long) = (
            charge("short", LimitRule::Rate { count: 1, per: Duration::from_secs(1) }),
            charge("long", LimitRule::Rate { count: 1, per: MINUTE }),
        );
        for order in [[short, long], [long, short]] {
            throttle.take_now(&order, NOW);
            assert_eq!(throttle.take_now(&order, NOW), Verdict::Throttled { retry_after: MINUTE });
        }
    }

    #[test]
    fn a_key_charged_twice_counts_twice() {
        let throttle = MemoryThrottle::default();
        let one = charge("one", THREE_A_MINUTE);
        assert!(passes(&throttle, &[one, one], NOW));
        assert!(!passes(&throttle, &[one, one], NOW));
        assert!(passes(&throttle, &[one], NOW));
        assert!(!passes(&throttle, &[one], NOW));
    }

    #[test]
    fn no_charges_and_rules_that_are_off_pass_and_leave_no_trace() {
        let throttle = MemoryThrottle::default();
        let off = charge("off", LimitRule::Rate { count: 0, per: MINUTE });
        for _ in 0..100 {
            assert!(passes(&throttle, &[], NOW));
            assert!(passes(&throttle, &[off], NOW));
        }
        throttle.give_back_now(&[off], NOW);
        assert!(throttle.is_empty());
    }

    #[tokio::test]
    async fn a_success_clears_and_a_pool_that_was_full_gives_back() {
        let throttle = MemoryThrottle::default();
        let account = charge("account", BACKOFF);
        for _ in 0..5 {
            assert!(passes(&throttle, &[account], NOW));
        }
        throttle.clear(&account.key).await.unwrap();
        assert!(throttle.is_empty());
        for _ in 0..5 {
            assert!(passes(&throttle, &[account], NOW));
        }
        assert!(!passes(&throttle, &[account], NOW));
        throttle.give_back(&[account], NOW).await.unwrap();
        assert!(passes(&throttle, &[account], NOW));
        assert!(!passes(&throttle, &[account], NOW));
    }

    #[test]
    fn giving_back_the_only_attempt_leaves_no_trace() {
        let throttle = MemoryThrottle::default();
        for rule in [BACKOFF, THREE_A_MINUTE] {
            let charges = [charge("a", rule)];
            assert!(passes(&throttle, &charges, NOW));
            throttle.give_back_now(&charges, NOW);
            assert!(throttle.is_empty(), "{rule:?}");
            throttle.give_back_now(&charges, NOW);
            assert!(throttle.is_empty(), "{rule:?}");
        }
    }

    #[test]
    fn a_clock_set_back_makes_nobody_wait_longer_than_the_rule_does() {
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        for (rule, longest) in [(THREE_A_MINUTE, Duration::from_secs(20)), (BACKOFF, Duration::from_secs(1))]
        {
            let throttle = MemoryThrottle::default();
            let charges = [charge("a", rule)];
            while passes(&throttle, &charges, NOW) {}
            let back = NOW - year;
            // Refused, and yet the counter must not stay in the future.
            assert_eq!(
                throttle.take_now(&charges, back),
                Verdict::Throttled { retry_after: longest },
                "{rule:?}"
            );
            assert!(passes(&throttle, &charges, back + longest), "{rule:?}");
        }
    }

    #[test]
    fn an_entry_takes_48_bytes() {
        assert_eq!(size_of::<Entry>(), 48);
    }

    #[test]
    fn spraying_distinct_keys_neither_grows_the_table_nor_resets_what_matters() {
        let throttle = MemoryThrottle::new(256);
        let blocked = charge("blocked", BACKOFF);
        while passes(&throttle, &[blocked], NOW) {}
        let half_used = charge("half used", LimitRule::Rate { count: 100, per: 60 * MINUTE });
        for _ in 0..50 {
            assert!(passes(&throttle, &[half_used], NOW));
        }
        // Its wait is over, but its next one is to be twice as long.
        let waited = charge("waited", BACKOFF);
        let before = NOW - Duration::from_secs(10);
        while passes(&throttle, &[waited], before) {}
        for n in 0..20_000 {
            let spray = [
                charge(format!("account {n}"), BACKOFF),
                charge(format!("network {n}"), LimitRule::Rate { count: 20, per: MINUTE }),
            ];
            assert!(passes(&throttle, &spray, NOW), "an eviction never refuses the newcomer");
            assert!(throttle.len() <= 256);
        }
        assert_eq!(throttle.len(), 256);
        assert!(!passes(&throttle, &[blocked], NOW));
        for _ in 0..50 {
            assert!(passes(&throttle, &[half_used], NOW));
        }
        assert!(!passes(&throttle, &[half_used], NOW));
        assert!(passes(&throttle, &[waited], NOW));
        assert!(!passes(&throttle, &[waited], NOW + Duration::from_millis(1999)));
    }

    #[test]
    fn what_says_nothing_goes_first_and_the_least_blocked_where_all_are() {
        let throttle = MemoryThrottle::new(PLACES);
        let later = NOW + Duration::from_secs(100);
        // Full long ago, and drained since: says nothing, though it was the most loaded.
        let drained = charge("drained", THREE_A_MINUTE);
        while passes(&throttle, &[drained], NOW) {}
        let charges: Vec<_> = (1..PLACES).map(|n| charge(n, BACKOFF)).collect();
        for charge in &charges {
            assert!(passes(&throttle, &[*charge], later));
        }
        assert!(passes(&throttle, &[charge("new", BACKOFF)], later));
        assert_eq!(throttle.len(), PLACES);
        let held = |name: &Key| find(&mut throttle.lock(0), name).is_some();
        assert!(!held(&drained.key));
        assert!(charges.iter().all(|charge| held(&charge.key)));

        let throttle = MemoryThrottle::new(PLACES);
        for n in 0..PLACES {
            let charges = [charge(n, LimitRule::Rate { count: 1, per: MINUTE })];
            let second = u64::try_from(n).unwrap();
            assert!(passes(&throttle, &charges, NOW + Duration::from_secs(second)));
        }
        let now = NOW + Duration::from_secs(16);
        assert!(passes(&throttle, &[charge("new", BACKOFF)], now));
        let held = |name: &Key| find(&mut throttle.lock(0), name).is_some();
        assert!(!held(&key(0)), "the oldest of them");
        assert!((1..PLACES).all(|n| held(&key(n))));
    }

    #[test]
    fn concurrent_takes_pass_no_more_than_one_after_the_other_would() {
        let throttle = Arc::new(MemoryThrottle::new(64));
        let charges = [
            charge("account", LimitRule::Rate { count: 50, per: MINUTE }),
            charge("network", LimitRule::Rate { count: 1000, per: MINUTE }),
        ];
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let throttle = Arc::clone(&throttle);
                std::thread::spawn(move || {
                    let mut charges = charges;
                    if n % 2 == 0 {
                        charges.reverse();
                    }
                    (0..100).filter(|_| passes(&throttle, &charges, NOW)).count()
                })
            })
            .collect();
        let passed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(passed, 50);
        assert!((0..950).all(|_| passes(&throttle, &charges[1..], NOW)));
        assert!(!passes(&throttle, &charges[1..], NOW), "refused takes cost the other charge nothing");
    }

    proptest::proptest! {
        // The same cases every time: a test that fails now and then is not believed.
        #![proptest_config(proptest::test_runner::Config {
            rng_seed: proptest::test_runner::RngSeed::Fixed(6585),
            failure_persistence: None,
            ..proptest::test_runner::Config::default()
        })]

        #[test]
        fn a_small_table_is_bounded_and_a_large_one_agrees_with_the_rule(
            steps in proptest::collection::vec((0_u8..40, 0_u64..5000, 0_u8..10), 1..300),
        ) {
            let (small, large) = (MemoryThrottle::new(16), MemoryThrottle::new(4096));
            let mut model: HashMap<u8, Counter> = HashMap::new();
            let mut now = NOW;
            for (name, step, what) in steps {
                let rule = if name % 2 == 0 { BACKOFF } else { THREE_A_MINUTE };
                let charges = [charge(name, rule)];
                let ago = now;
                now = now + Duration::from_millis(step);
                match what {
                    0 => {
                        model.remove(&name);
                        remove(&mut large.lock(large.index(&key(name))), &key(name));
                    }
                    1 => {
                        if let Some(counter) = model.remove(&name) {
                            model.extend(rule.give_back(counter, ago).map(|counter| (name, counter)));
                        }
                        large.give_back_now(&charges, ago);
                        small.give_back_now(&charges, ago);
                    }
                    _ => {
                        let expected = match rule.take(model.get(&name).copied(), now) {
                            Ok(counter) => {
                                model.insert(name, counter);
                                Verdict::Passed
                            }
                            Err(retry_after) => Verdict::Throttled { retry_after },
                        };
                        proptest::prop_assert_eq!(large.take_now(&charges, now), expected);
                        small.take_now(&charges, now);
                    }
                }
                proptest::prop_assert!(small.len() <= 16);
            }
        }
    }
}
