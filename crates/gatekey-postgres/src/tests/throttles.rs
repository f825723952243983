//! Shared counters against the ones in memory, which are the reference.

use gatekey_core::limit::{LimitRule, MemoryThrottle};

use super::*;

const SECRET: [u8; 32] = [7; 32];

fn charge(what: &str, rule: LimitRule) -> Charge {
    Charge { key: Key::derive(&SECRET, what, &[]), rule }
}

fn rate(count: u32, per: Duration) -> LimitRule {
    LimitRule::Rate { count, per }
}

/// Small numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

#[tokio::test]
async fn every_verdict_is_that_of_the_counters_in_memory() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    let memory = MemoryThrottle::default();
    let charges = [
        charge("network", rate(3, SECOND * 60)),
        charge("account", rate(100, SECOND * 3600)),
        charge("tiny", rate(1, Duration::ZERO)),
        charge("off", rate(0, SECOND)),
        charge("waits", LimitRule::Backoff { free: 2, first: SECOND, max: SECOND * 900 }),
        charge("no free", LimitRule::Backoff { free: 0, first: SECOND, max: SECOND * 8 }),
        charge("huge", LimitRule::Backoff { free: u32::MAX, first: Duration::MAX, max: Duration::MAX }),
    ];
    let mut dice = Dice(42);
    let mut now = NOW;
    let mut throttled = 0;
    let mut last = (Vec::new(), now);
    for step in 0..600 {
        now = match dice.below(8) {
            0 => now + SECOND * 3600,
            1 => now + SECOND * 20,
            // Clocks step back.
            2 => now - SECOND * 30,
            _ => now + Duration::from_millis(700),
        };
        if dice.below(100) == 0 {
            now = now + SECOND * 3600 * 48;
        }
        // None, some, or the same twice.
        let some: Vec<_> = (0..dice.below(4)).map(|_| charges[dice.below(charges.len())]).collect();
        match dice.below(10) {
            0 => {
                let (given, taken_at) = &last;
                store.give_back(given, *taken_at).await.unwrap();
                memory.give_back(given, *taken_at).await.unwrap();
            }
            1 => {
                let key = &charges[dice.below(charges.len())].key;
                store.clear(key).await.unwrap();
                memory.clear(key).await.unwrap();
            }
            2 => {
                // Far enough back: a counter that is removed does not come back when the clock does.
                assert_eq!(store.purge_expired(now - SECOND * 7200, 10).await.unwrap(), 0);
            }
            _ => {
                let verdict = store.take(&some, now).await.unwrap();
                assert_eq!(verdict, memory.take(&some, now).await.unwrap(), "step {step}");
                if verdict == Verdict::Passed {
                    last = (some, now);
                } else {
                    throttled += 1;
                }
            }
        }
    }
    assert!(throttled > 50, "{throttled}");
    drop(store);
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_at_once_are_counted_one_after_the_other_on_all_nodes() {
    let Some(place) = Place::find().await else { return };
    let nodes = [place.store().await, place.store().await];
    // Two counters that nobody has yet, charged in both orders: neither is lost, and nobody waits for ever.
    let (a, b) = (charge("a", rate(10, SECOND * 60)), charge("b", rate(100, SECOND * 60)));
    let takes: Vec<_> = (0..50)
        .map(|number| {
            let node = nodes[number % 2].clone();
            let charges = if number % 3 == 0 { [a, b] } else { [b, a] };
            tokio::spawn(async move { node.take(&charges, NOW).await.unwrap() })
        })
        .collect();
    let mut passed = 0;
    for take in takes {
        passed += usize::from(take.await.unwrap() == Verdict::Passed);
    }
    assert_eq!(passed, 10);
    // What was refused was counted on neither.
    for (count, verdict) in [(90, true), (1, false)] {
        for _ in 0..count {
            assert_eq!(nodes[0].take(&[b], NOW).await.unwrap() == Verdict::Passed, verdict);
        }
    }
    drop(nodes);
    place.leave().await;
}

#[tokio::test]
async fn counters_that_mean_nothing_any_more_are_removed() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    for number in 0..50 {
        let charges = [charge(&format!("network {number}"), rate(20, SECOND * 60))];
        assert_eq!(store.take(&charges, NOW).await.unwrap(), Verdict::Passed);
    }
    let waits = charge("waits", LimitRule::Backoff { free: 1, first: SECOND, max: SECOND * 900 });
    assert_eq!(store.take(&[waits], NOW).await.unwrap(), Verdict::Passed);
    let refused = [charge("fresh", rate(1, SECOND)), waits];
    assert!(matches!(store.take(&refused, NOW).await.unwrap(), Verdict::Throttled { .. }));
    // A take that is refused leaves nothing behind.
    let count = "SELECT count(*) FROM @throttle";
    assert_eq!(place.number(count).await, 51);
    store.purge_expired(NOW, 10).await.unwrap();
    assert_eq!(place.number(count).await, 51);
    store.purge_expired(NOW + SECOND * 2 * 3600, 10).await.unwrap();
    assert_eq!(place.number(count).await, 1);
    assert!(matches!(store.take(&[waits], NOW).await.unwrap(), Verdict::Throttled { .. }));
    store.purge_expired(NOW + SECOND * 26 * 3600, 10).await.unwrap();
    assert_eq!(place.number(count).await, 0);
    drop(store);
    place.leave().await;
}
