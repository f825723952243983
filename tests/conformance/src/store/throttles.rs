//! [`ThrottleStore`]: counters that nodes share. The store in memory is the reference for the arithmetic.

use std::{sync::Arc, time::Duration};

use gatekey_core::limit::{Charge, Key, LimitRule, MemoryThrottle, ThrottleStore, Verdict as Judged};

use super::{
    Case, Throttles, Verdict,
    fixture::{Dice, NOW, SECOND, at_once},
    same,
};

pub(super) const CASES: &[Case<Throttles>] = &[
    Case::new(
        "store/throttle-follows-core-for-long",
        "Through hundreds of attempts on several counters, given back and forgotten, each verdict is core's.",
        |store| Box::pin(follows_core_for_long(store, false)),
    ),
    // One counter at a time: a store that counts in several steps gives back what it took from the others where one
    // refuses, and what had drained from them until then stays drained when the clock steps back.
    Case::new(
        "store/throttle-follows-a-clock-that-steps-back",
        "Through hundreds of attempts on one counter each, by a clock that steps back, each verdict is core's.",
        |store| Box::pin(follows_core_for_long(store, true)),
    ),
    Case::new(
        "store/throttle-counts-on-all-or-on-none",
        "An attempt that one counter refuses is counted on none of the others.",
        |store| Box::pin(counts_on_all_or_on_none(store)),
    ),
    Case::new(
        "store/concurrent-takes-add-up",
        "Of attempts at once no more pass than one after the other would.",
        |store| Box::pin(concurrent_takes_add_up(store)),
    ),
    Case::new(
        "store/throttle-gives-back-what-it-took",
        "What is given back may be taken again, once; a counter that is gone stays gone.",
        |store| Box::pin(gives_back_what_it_took(store)),
    ),
    Case::new(
        "store/throttle-clears-one-counter",
        "A counter that is cleared is as new, and no other is touched.",
        |store| Box::pin(clears_one_counter(store)),
    ),
];

fn charge(what: &str, rule: LimitRule) -> Charge {
    Charge { key: Key::derive(&[7; 32], what, &[]), rule }
}

fn rate(count: u32, per: Duration) -> LimitRule {
    LimitRule::Rate { count, per }
}

async fn follows_core_for_long(store: Throttles, steps_back: bool) -> Verdict {
    let memory = MemoryThrottle::default();
    let charges = [
        charge("network", rate(3, SECOND * 60)),
        charge("account", rate(20, SECOND * 3600)),
        charge("off", rate(0, SECOND)),
        charge("waits", LimitRule::Backoff { free: 2, first: SECOND, max: SECOND * 900 }),
        charge("none free", LimitRule::Backoff { free: 0, first: SECOND, max: SECOND * 8 }),
    ];
    let (mut dice, mut now, mut last) = (Dice::new(7), NOW, None::<(Vec<Charge>, _)>);
    for step in 0..400 {
        now = match dice.below(12) {
            0 => now + SECOND * 3600,
            1 => now + SECOND * 20,
            2 if steps_back => now - SECOND * 30,
            _ => now + Duration::from_millis(700),
        };
        match dice.below(10) {
            0 => {
                // Once.
                if let Some((some, at)) = last.take() {
                    memory.give_back(&some, at).await?;
                    store.give_back(&some, at).await?;
                }
            }
            1 => {
                let Charge { key, .. } = charges[3];
                memory.clear(&key).await?;
                store.clear(&key).await?;
            }
            _ => {
                let some: Vec<_> = if steps_back {
                    let one = dice.below(charges.len() as u64);
                    charges
                        .iter()
                        .copied()
                        .zip(0..)
                        .filter(|(_, at)| *at == one)
                        .map(|(one, _)| one)
                        .collect()
                } else {
                    charges.iter().copied().filter(|_| dice.below(3) > 0).collect()
                };
                let expected = memory.take(&some, now).await?;
                same(&format!("verdict {step}"), &store.take(&some, now).await?, &expected)?;
                // What was refused took nothing.
                if expected == Judged::Passed {
                    last = Some((some, now));
                }
            }
        }
    }
    Ok(())
}

async fn counts_on_all_or_on_none(store: Throttles) -> Verdict {
    let (full, other) = (charge("full", rate(1, SECOND * 60)), charge("other", rate(2, SECOND * 60)));
    same("the first", &store.take(&[full], NOW).await?, &Judged::Passed)?;
    let refused = Judged::Throttled { retry_after: SECOND * 60 };
    for both in [[full, other], [other, full], [full, other]] {
        same("an attempt", &store.take(&both, NOW).await?, &refused)?;
    }
    for _ in 0..2 {
        same("the other", &store.take(&[other], NOW).await?, &Judged::Passed)?;
    }
    let refused = Judged::Throttled { retry_after: SECOND * 30 };
    same("one too many", &store.take(&[other], NOW).await?, &refused)
}

async fn concurrent_takes_add_up(store: Throttles) -> Verdict {
    let charges = [charge("a", rate(10, SECOND * 60)), charge("b", rate(100, SECOND * 60))];
    let taken = at_once(50, |_| {
        let store = Arc::clone(&store);
        async move { store.take(&charges, NOW).await }
    })
    .await?;
    let mut passed = 0;
    for verdict in taken {
        passed += u32::from(verdict? == Judged::Passed);
    }
    same("attempts that passed", &passed, &10)
}

async fn gives_back_what_it_took(store: Throttles) -> Verdict {
    let counter = [charge("counter", rate(2, SECOND * 60))];
    store.give_back(&counter, NOW).await?;
    for _ in 0..2 {
        same("an attempt", &store.take(&counter, NOW).await?, &Judged::Passed)?;
    }
    store.give_back(&counter, NOW).await?;
    same("what was given back", &store.take(&counter, NOW).await?, &Judged::Passed)?;
    let refused = Judged::Throttled { retry_after: SECOND * 30 };
    same("more than that", &store.take(&counter, NOW).await?, &refused)
}

async fn clears_one_counter(store: Throttles) -> Verdict {
    let (one, other) = (charge("one", rate(1, SECOND * 60)), charge("other", rate(1, SECOND * 60)));
    same("both", &store.take(&[one, other], NOW).await?, &Judged::Passed)?;
    store.clear(&one.key).await?;
    same("the cleared", &store.take(&[one], NOW).await?, &Judged::Passed)?;
    let refused = Judged::Throttled { retry_after: SECOND * 60 };
    same("the other", &store.take(&[other], NOW).await?, &refused)
}
