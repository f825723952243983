use proptest::{collection::vec, prelude::*, test_runner::RngSeed};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const BACKOFF: LimitRule = LimitRule::Backoff { free: 5, first: SECOND, max: Duration::from_secs(900) };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Attempts at each of these times, with what became of them.
fn attempts(rule: LimitRule, times: impl IntoIterator<Item = Timestamp>) -> Vec<(Timestamp, bool)> {
    let mut counter = None;
    times
        .into_iter()
        .map(|now| match rule.take(counter, now) {
            Ok(next) => {
                counter = Some(next);
                (now, true)
            }
            Err(_) => (now, false),
        })
        .collect()
}

#[test]
fn keys_tell_their_parts_apart_and_show_none() {
    let secret = [1; 32];
    let key = Key::derive(&secret, "login", &["ab", "c"]);
    assert_eq!(key, Key::derive(&secret, "login", &["ab", "c"]));
    for other in [
        Key::derive(&secret, "login", &["a", "bc"]),
        Key::derive(&secret, "login", &["ab", "c", ""]),
        Key::derive(&secret, "logi", &["nab", "c"]),
        Key::derive(&secret, "login", &["abc"]),
        Key::derive(&[2; 32], "login", &["ab", "c"]),
    ] {
        assert_ne!(key, other);
    }
    // HMAC-SHA-256 by Python's `hmac`, so that another implementation can share a store.
    assert_eq!(format!("{key:?}"), "Key(f5d15ae4b343d3311c1016447bbfc9af)");
}

#[test]
fn a_rate_passes_its_count_at_once_and_then_one_each_part() {
    let rule = LimitRule::Rate { count: 20, per: Duration::from_secs(60) };
    let mut counter = None;
    for _ in 0..20 {
        counter = Some(rule.take(counter, NOW).unwrap());
    }
    assert_eq!(rule.take(counter, NOW), Err(ms(3000)));
    assert_eq!(rule.take(counter, NOW + ms(2999)), Err(ms(1)));
    assert!(rule.take(counter, NOW + ms(3000)).is_ok());
    assert_eq!(rule.forgotten_at(counter.unwrap()), NOW + ms(60_000));
}

#[test]
fn waits_double_from_the_first_to_the_longest() {
    let mut counter = None;
    let mut now = NOW;
    let mut waits = Vec::new();
    for _ in 0..18 {
        counter = Some(match BACKOFF.take(counter, now) {
            Ok(counter) => {
                waits.push(0);
                counter
            }
            Err(wait) => {
                assert_eq!(BACKOFF.take(counter, now + wait - ms(1)), Err(ms(1)));
                waits.push(wait.as_secs());
                now = now + wait;
                BACKOFF.take(counter, now).unwrap()
            }
        });
    }
    assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
}

#[test]
fn a_backoff_is_forgotten_after_a_day_and_not_before() {
    let counter = Counter { level: 20, at: NOW };
    let day = ms(DAY);
    assert_eq!(BACKOFF.forgotten_at(counter), NOW + day);
    assert_eq!(BACKOFF.take(Some(counter), NOW + day - ms(1)).unwrap().level, 21);
    assert_eq!(BACKOFF.take(Some(counter), NOW + day).unwrap().level, 1);
    // Where the longest wait is a day, a day is nothing.
    let slow = LimitRule::Backoff { free: 5, first: SECOND, max: day };
    assert_eq!(slow.forgotten_at(counter), NOW + day * (5 + 17 + 1));
}

#[test]
fn keeping_quiet_gains_nothing_over_trying_all_the_time() {
    for (free, first, max) in [(5, 1, 900), (5, 1, 86_400), (0, 1, 1), (100, 1, 900), (1000, 3, 7)] {
        let (first, max) = (Duration::from_secs(first), Duration::from_secs(max));
        let rule = LimitRule::Backoff { free, first, max };
        let patient = {
            // As fast as it lets him until waits are longest, then quiet until he is forgotten: one round.
            let (mut counter, mut now, mut count) = (None, NOW, 0_u32);
            loop {
                match rule.take(counter, now) {
                    Ok(next) => (counter, count) = (Some(next), count + 1),
                    Err(wait) if wait == max => break,
                    Err(wait) => now = now + wait,
                }
            }
            let round = rule.forgotten_at(counter.unwrap()).since(NOW);
            f64::from(count) / round.as_secs_f64()
        };
        assert!(patient <= 1.0 / max.as_secs_f64(), "{free} {first:?} {max:?}: {patient}");
    }
}

#[test]
fn giving_back_restores_what_was_before() {
    let counter = Counter { level: 7, at: NOW };
    let later = NOW + ms(5000);
    let taken = BACKOFF.take(Some(counter), later).unwrap();
    let given_back = BACKOFF.give_back(taken, later).unwrap();
    assert_eq!(given_back.level, 7);
    assert!(BACKOFF.take(Some(given_back), later).is_ok(), "its wait was over and still is");
    // With another attempt counted in between, that one's wait stays.
    let other = BACKOFF.take(Some(taken), later + ms(8000)).unwrap();
    let given_back = BACKOFF.give_back(other, later).unwrap();
    assert_eq!(given_back, Counter { level: 8, at: later + ms(8000) });
    assert_eq!(BACKOFF.take(Some(given_back), later + ms(8000)), Err(ms(8000)));
}

#[test]
fn a_rate_gives_back_no_more_than_has_not_drained_yet() {
    let rule = LimitRule::Rate { count: 2, per: ms(1000) };
    let first = rule.take(None, NOW).unwrap();
    let second = rule.take(Some(first), NOW + ms(400)).unwrap();
    // Of the first, 800 of 1000 have drained.
    let given_back = rule.give_back(second, NOW).unwrap();
    assert_eq!(given_back, Counter { level: 1000, at: NOW + ms(400) });
}

#[test]
fn rules_that_limit_nothing_are_off() {
    for rule in [
        LimitRule::Rate { count: 0, per: SECOND },
        LimitRule::Backoff { free: 5, first: Duration::ZERO, max: SECOND },
        LimitRule::Backoff { free: 5, first: SECOND, max: Duration::ZERO },
    ] {
        assert!(rule.is_off());
        assert!(attempts(rule, [NOW; 100]).iter().all(|(_, passed)| *passed));
    }
    assert!(!LimitRule::Rate { count: 1, per: Duration::ZERO }.is_off());
    assert!(!LimitRule::Backoff { free: 0, first: Duration::from_nanos(1), max: SECOND }.is_off());
}

#[test]
fn a_lowered_limit_holds_at_once_and_blocks_no_longer_than_its_own_wait() {
    let old = LimitRule::Rate { count: 100, per: HOUR };
    let mut counter = None;
    while let Ok(next) = old.take(counter, NOW) {
        counter = Some(next);
    }
    let new = LimitRule::Rate { count: 2, per: MINUTE };
    assert_eq!(new.take(counter, NOW), Err(ms(30_000)));
}

#[test]
fn the_ends_of_all_ranges_do_not_overflow() {
    let (begin, end) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    for rule in [
        LimitRule::Rate { count: u32::MAX, per: Duration::MAX },
        LimitRule::Rate { count: 1, per: Duration::MAX },
        LimitRule::Rate { count: u32::MAX, per: Duration::ZERO },
        LimitRule::Backoff { free: u32::MAX, first: Duration::MAX, max: Duration::MAX },
        LimitRule::Backoff { free: 0, first: Duration::from_nanos(1), max: Duration::MAX },
        LimitRule::Backoff { free: 0, first: Duration::MAX, max: Duration::from_nanos(1) },
    ] {
        for level in [0, 1, u64::MAX] {
            for at in [begin, NOW, end] {
                for now in [begin, NOW, end] {
                    let counter = Counter { level, at };
                    let _ = rule.take(Some(counter), now);
                    let _ = rule.give_back(counter, now);
                    let _ = rule.forgotten_at(counter);
                    let _ = Numbers::from(rule).weight(counter, now);
                }
            }
        }
    }
}

#[test]
fn each_limit_of_zero_is_off_and_the_defaults_are_the_documented_ones() {
    let off = Limits::OFF;
    for rule in [
        off.login_network(),
        off.register_network(),
        off.account(),
        off.account_network(),
        off.refresh_session(),
        off.refresh_network(),
        Limits { free_failures: 0, ..Limits::default() }.account_network(),
        Limits { max_wait: Duration::ZERO, ..Limits::default() }.account_network(),
    ] {
        assert_eq!(rule, None);
    }
    let default = Limits::default();
    let rate = |count, per| Some(LimitRule::Rate { count, per });
    assert_eq!(default.login_network(), rate(20, MINUTE));
    assert_eq!(default.register_network(), rate(5, HOUR));
    assert_eq!(default.account(), rate(100, HOUR));
    assert_eq!(default.account_network(), Some(BACKOFF));
    assert_eq!(default.refresh_session(), rate(30, MINUTE));
    assert_eq!(default.refresh_network(), rate(120, MINUTE));
}

/// Of the size of a step and far above it, so that waits of a part of a millisecond come up as well.
fn spans() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..60, 1_u64..100_000]
}

fn rules() -> impl Strategy<Value = LimitRule> {
    let rate = (1_u32..50, spans()).prop_map(|(count, per)| LimitRule::Rate { count, per: ms(per) });
    let backoff = (0_u32..10, 1_u64..5000, 1_u64..100_000)
        .prop_map(|(free, first, max)| LimitRule::Backoff { free, first: ms(first), max: ms(max) });
    prop_oneof![rate, backoff]
}

/// Times that go forward, mostly by little.
fn times() -> impl Strategy<Value = Vec<Timestamp>> {
    let steps = prop_oneof![
        vec(0_u64..3, 1..200),
        vec(prop_oneof![Just(0_u64), 0_u64..100, 0_u64..5000, 0_u64..200_000], 1..200),
    ];
    steps.prop_map(|steps| {
        steps
            .into_iter()
            .scan(NOW, |now, step| {
                *now = *now + ms(step);
                Some(*now)
            })
            .collect()
    })
}

proptest! {
    // The same cases every time: a test that fails now and then is not believed.
    #![proptest_config(ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(6585),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn in_any_span_no_more_pass_than_the_rate_says(count in 1_u64..50, per in spans(), times in times()) {
        let rule = LimitRule::Rate { count: u32::try_from(count).unwrap(), per: ms(per) };
        let passed: Vec<_> =
            attempts(rule, times).into_iter().filter(|(_, passed)| *passed).map(|(at, _)| at).collect();
        for (i, begin) in passed.iter().enumerate() {
            for (j, end) in passed.iter().enumerate().skip(i) {
                let span = millis(*begin, *end);
                prop_assert!((j - i + 1) as u64 <= count + span * count / per, "{} in {span} ms", j - i + 1);
            }
        }
    }

    #[test]
    fn what_is_told_to_wait_passes_then_and_not_a_millisecond_sooner(rule in rules(), times in times()) {
        let mut counter = None;
        for now in times {
            match rule.take(counter, now) {
                Ok(next) => counter = Some(next),
                Err(wait) => {
                    prop_assert!(wait >= ms(1));
                    prop_assert!(rule.take(counter, now + wait).is_ok());
                    prop_assert_eq!(rule.take(counter, now + wait - ms(1)), Err(ms(1)));
                }
            }
        }
    }

    #[test]
    fn a_counter_says_nothing_from_when_it_is_forgotten_and_something_before(rule in rules(), times in times()) {
        let mut counter = None;
        for now in times {
            if let Ok(next) = rule.take(counter, now) {
                let end = rule.forgotten_at(next);
                prop_assert_eq!(Numbers::from(rule).level(Some(next), end), 0);
                prop_assert!(Numbers::from(rule).level(Some(next), end - ms(1)) > 0);
                prop_assert_eq!(rule.take(Some(next), end), rule.take(None, end));
                counter = Some(next);
            }
        }
    }

    #[test]
    fn giving_back_at_once_is_as_if_nothing_had_been_taken(rule in rules(), times in times()) {
        let mut counter = None;
        for now in times {
            if let Ok(next) = rule.take(counter, now) {
                let given_back = rule.give_back(next, now);
                prop_assert!(rule.take(given_back, now).is_ok());
                if let LimitRule::Rate { .. } = rule {
                    prop_assert_eq!(rule.take(given_back, now), Ok(next));
                } else {
                    prop_assert_eq!(rule.take(given_back, now).unwrap().level, next.level);
                }
                counter = Some(next);
            }
        }
    }

    #[test]
    fn a_backoff_passes_its_free_ones_and_then_about_one_each_longest_wait(
        free in 0_u64..10, first in 1_u64..5000, max in 1_u64..100_000, times in times(),
    ) {
        let rule = LimitRule::Backoff { free: u32::try_from(free).unwrap(), first: ms(first), max: ms(max) };
        let passed = attempts(rule, times).into_iter().filter(|(_, passed)| *passed).collect::<Vec<_>>();
        let granted = Numbers::from(rule).granted();
        for (n, (at, _)) in passed.iter().enumerate() {
            let span = millis(passed[0].0, *at);
            prop_assert!(n as u64 <= granted + span / max, "{n} in {span} ms");
        }
    }
}
