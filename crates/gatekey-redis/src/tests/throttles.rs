//! The script calculates as core does.

use std::sync::Arc;

use gatekey_core::limit::{Charge, Counter, Key, LimitRule, MemoryThrottle, ThrottleStore, Verdict};
use proptest::prelude::*;
use tokio::sync::Barrier;

use super::{server::Server, *};

fn key(number: u8) -> Key {
    Key::derive(&[number; 32], "test", &[])
}

/// What is stored of a counter.
async fn stored(server: &Server, key: &Key) -> Option<Counter> {
    let name = base64_simd::URL_SAFE_NO_PAD.encode_to_string(key.as_bytes());
    let keys: Vec<String> = server.keys("").await;
    let key = keys.iter().find(|key| key.ends_with(&name))?;
    let value: String = server.ask(&["GET", key]).await;
    let (level, at) = value.split_once(' ').unwrap();
    Some(Counter { level: level.parse().unwrap(), at: Timestamp::from_millis(at.parse().unwrap()) })
}

/// Rules as hosts choose them, and all others.
fn rules() -> impl Strategy<Value = LimitRule> {
    let number = || prop_oneof![0..=3_u32, 1..=1000_u32, any::<u32>(), Just(u32::MAX)];
    let duration = || {
        prop_oneof![
            (0..5_u64).prop_map(Duration::from_micros),
            (0..100_000_u64).prop_map(Duration::from_millis),
            any::<u32>().prop_map(|millis| Duration::from_millis(millis.into())),
            any::<u64>().prop_map(Duration::from_millis),
        ]
    };
    prop_oneof![
        (number(), duration()).prop_map(|(count, per)| LimitRule::Rate { count, per }),
        (number(), duration(), duration()).prop_map(|(free, first, max)| LimitRule::Backoff {
            free,
            first,
            max
        }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Take,
    /// What one of the last takes took.
    GiveBack(usize),
    /// A clock that goes on, or back.
    Move(i64),
    /// To when the last refusal said, or a millisecond before.
    Wait {
        early: bool,
    },
    /// To when the counter means nothing any more, or a millisecond before.
    Forget {
        early: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Take),
        2 => (0..3_usize).prop_map(Step::GiveBack),
        1 => (-2000..20_000_i64).prop_map(Step::Move),
        1 => any::<i32>().prop_map(|millis| Step::Move(i64::from(millis) * 4)),
        2 => any::<bool>().prop_map(|early| Step::Wait { early }),
        1 => any::<bool>().prop_map(|early| Step::Forget { early }),
    ];
    prop::collection::vec(step, 1..30)
}

/// Goes through the steps with one counter, beside core's own arithmetic.
async fn compare(store: &RedisStore, server: &Server, rule: LimitRule, start: Timestamp, steps: &[Step]) {
    let key = key(1);
    let charge = [Charge { key, rule }];
    let (mut now, mut taken, mut wait) = (start, vec![start], Duration::ZERO);
    let millisecond = |early: bool| Duration::from_millis(u64::from(early));
    let mut model: Option<Counter> = None;
    // A case that failed left its counter behind.
    store.clear(&key).await.unwrap();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Move(millis) => now = Timestamp::from_millis(now.as_millis().saturating_add(*millis)),
            Step::Wait { early } => now = now + wait.saturating_sub(millisecond(*early)),
            Step::Forget { early } => {
                now = model.map_or(now, |counter| rule.forgotten_at(counter) - millisecond(*early));
            }
            Step::Take => {
                let expected = match (rule.is_off(), rule.take(model, now)) {
                    (true, _) => Verdict::Passed,
                    (false, Ok(counter)) => {
                        model = Some(counter);
                        taken.push(now);
                        Verdict::Passed
                    }
                    (false, Err(retry_after)) => {
                        wait = retry_after;
                        model = model.map(|counter| counter.seen(now));
                        Verdict::Throttled { retry_after }
                    }
                };
                let verdict = store.take(&charge, now).await.unwrap();
                assert_eq!(verdict, expected, "step {number} of {rule:?}");
            }
            Step::GiveBack(age) => {
                let taken_at = taken[taken.len().saturating_sub(1 + age)];
                store.give_back(&charge, taken_at).await.unwrap();
                model = model.and_then(|counter| rule.give_back(counter, taken_at));
            }
        }
        assert_eq!(stored(server, &key).await, model, "after step {number} of {rule:?}");
    }
    store.clear(&key).await.unwrap();
    assert_eq!(stored(server, &key).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_counts_as_core_does() {
    let Some(server) = Server::start("a_script_counts_as_core_does", &[]).await else { return };
    let store = server.store().await;
    let starts = prop_oneof![
        6 => Just(NOW),
        1 => Just(Timestamp::EPOCH),
        1 => any::<i64>().prop_map(Timestamp::from_millis),
        1 => Just(Timestamp::from_millis(1 << 52)),
        1 => Just(Timestamp::from_millis(i64::MAX)),
    ];
    super::property(300, (rules(), starts, steps()), async |(rule, start, steps)| {
        compare(&store, &server, rule, start, &steps).await;
    });
}

/// The limits that core has by default: none of them is calculated outside of the script.
#[tokio::test(flavor = "multi_thread")]
async fn usual_rules_are_one_script() {
    let Some(server) = Server::start("usual_rules_are_one_script", &[]).await else { return };
    let store = server.store().await;
    let limits = gatekey_core::limit::Limits::default();
    let rules = [
        limits.login_network(),
        limits.register_network(),
        limits.account(),
        limits.account_network(),
        limits.refresh_session(),
        limits.refresh_network(),
    ];
    let charges: Vec<Charge> =
        (0..).zip(rules).map(|(number, rule)| Charge { key: key(number), rule: rule.unwrap() }).collect();
    store.take(&charges, NOW).await.unwrap();
    store.give_back(&charges, NOW).await.unwrap();
    server.counted(&[]).await;
    for _ in 0..5 {
        assert_eq!(store.take(&charges, NOW).await.unwrap(), Verdict::Passed);
    }
    store.give_back(&charges, NOW).await.unwrap();
    assert_eq!(server.counted(&["evalsha", "eval", "mget"]).await, [6, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn charges_of_one_attempt_are_counted_together_as_the_store_in_memory_does() {
    let test = "charges_of_one_attempt_are_counted_together_as_the_store_in_memory_does";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    let usual = || {
        prop_oneof![
            (0..5_u32, 1..5000_u64)
                .prop_map(|(count, per)| LimitRule::Rate { count, per: Duration::from_millis(per) }),
            (0..4_u32, 0..2000_u64, 0..9000_u64).prop_map(|(free, first, max)| LimitRule::Backoff {
                free,
                first: Duration::from_millis(first),
                max: Duration::from_millis(max),
            }),
        ]
    };
    // One key, one rule; an attempt may charge a key more than once.
    let attempts = prop::collection::vec(
        (prop::collection::vec(0..4_usize, 0..6), -500..3000_i64, any::<bool>()),
        1..30,
    );
    super::property(100, (prop::array::uniform4(usual()), attempts), async |(rules, attempts)| {
        let memory = MemoryThrottle::default();
        let mut now = NOW;
        for (charged, moved, given_back) in attempts {
            now = Timestamp::from_millis(now.as_millis() + moved);
            let charges: Vec<Charge> = charged
                .iter()
                .map(|number| Charge { key: key(u8::try_from(*number).unwrap()), rule: rules[*number] })
                .collect();
            let expected = memory.take(&charges, now).await.unwrap();
            assert_eq!(store.take(&charges, now).await.unwrap(), expected, "{charges:?}");
            if given_back && expected == Verdict::Passed {
                memory.give_back(&charges, now).await.unwrap();
                store.give_back(&charges, now).await.unwrap();
            }
        }
        for number in 0..4 {
            store.clear(&key(number)).await.unwrap();
        }
    });
    assert_eq!(server.keys("").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_attempts_at_once_no_more_pass_than_one_after_the_other() {
    let test = "of_attempts_at_once_no_more_pass_than_one_after_the_other";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    for (number, rule) in [
        LimitRule::Rate { count: 20, per: SECOND },
        LimitRule::Backoff { free: 20, first: SECOND, max: SECOND },
        // Too large for a script.
        LimitRule::Rate { count: u32::MAX, per: Duration::from_secs(u32::MAX.into()) },
    ]
    .into_iter()
    .enumerate()
    {
        let start = Arc::new(Barrier::new(60));
        let tasks: Vec<_> = (0..60)
            .map(|_| {
                let (store, start) = (store.clone(), Arc::clone(&start));
                let charge = [Charge { key: key(u8::try_from(number).unwrap()), rule }];
                tokio::spawn(async move {
                    start.wait().await;
                    store.take(&charge, NOW).await.unwrap()
                })
            })
            .collect();
        let mut passed = 0;
        for task in tasks {
            passed += usize::from(task.await.unwrap() == Verdict::Passed);
        }
        let allowed = if number == 2 { 60 } else { 20 };
        assert_eq!(passed, allowed, "{rule:?}");
    }
}

#[tokio::test]
async fn counters_go_when_they_mean_nothing_any_more_and_not_before() {
    let test = "counters_go_when_they_mean_nothing_any_more_and_not_before";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    for (number, rule, meaning) in [
        (1, LimitRule::Rate { count: 4, per: SECOND * 400 }, 100),
        (2, LimitRule::Backoff { free: 5, first: SECOND, max: SECOND * 900 }, 24 * 3600),
    ] {
        store.take(&[Charge { key: key(number), rule }], NOW).await.unwrap();
        let keys = server.keys("").await;
        let left: i64 = server.ask(&["TTL", &keys[0]]).await;
        assert!((left - (meaning * 2 + 60)).abs() < 5, "{left}");
        store.clear(&key(number)).await.unwrap();
    }
    // A clock that was set back writes it anew, and does not shorten it.
    let rule = LimitRule::Rate { count: 1, per: SECOND * 100 };
    let charge = [Charge { key: key(1), rule }];
    store.take(&charge, NOW).await.unwrap();
    let throttled = Verdict::Throttled { retry_after: SECOND * 100 };
    assert_eq!(store.take(&charge, NOW - SECOND * 50).await.unwrap(), throttled);
    let left: i64 = server.ask(&["TTL", &server.keys("").await[0]]).await;
    assert!(left > 250, "{left}");
}
