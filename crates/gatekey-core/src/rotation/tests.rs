use std::net::IpAddr;

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;
use crate::session::{Chain, SubjectId};

/// When the present live token came to be. All times below are milliseconds after it.
const ROTATED: Timestamp = Timestamp::from_millis(1_800_000_000_123);

/// The default grace in milliseconds.
const G: i64 = 10_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

const BALANCED: Policy = Policy::BALANCED;
const RESILIENT: Policy = Policy::RESILIENT;
const STRICT: Policy = Policy::STRICT;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(ROTATED.as_millis() + millis)
}

fn digest(generation: u64) -> Digest {
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&generation.to_be_bytes());
    Digest(digest)
}

fn client(ip: &str) -> Client {
    let ip: IpAddr = ip.parse().unwrap();
    Client::new(Some(ip), Some("Firefox"))
}

/// A session a day old. Token 5 is live, 4 its parent; 4 and 3 were live lately, but 3 longer ago than anything asks.
fn row() -> Session {
    Session {
        id: SessionId::new("session"),
        subject: SubjectId::new("subject"),
        scope: Some("read".into()),
        auth_time: at(-DAY),
        created_at: at(-DAY),
        expires_at: at(29 * DAY),
        idle_expires_at: at(7 * DAY),
        last_used_at: at(0),
        client: client("192.0.2.1"),
        chain: Chain {
            generation: 5,
            live: digest(5),
            parent: Some(Parent { digest: digest(4), generation: 4 }),
            rotated_at: at(0),
            replayed_at: None,
            live_used: false,
            this_window: Window { oldest: 4, opened_at: at(0) },
            last_window: Window { oldest: 3, opened_at: at(-HOUR) },
            sealed: b"token 5".to_vec(),
        },
        ended: None,
    }
}

/// Token `generation` is presented, from another network and another program than those of [`row`].
fn attempt(generation: u64, millis: i64, policy: Policy) -> Attempt {
    Attempt {
        presented: Presented { session: SessionId::new("session"), generation, digest: digest(generation) },
        successor: successor(generation + 1, millis),
        client: Client::new(Some("2001:db8::9".parse().unwrap()), Some("curl")),
        now: at(millis),
        policy,
        seen: None,
    }
}

fn successor(generation: u64, millis: i64) -> Successor {
    Successor {
        generation,
        digest: digest(generation),
        sealed: format!("token {generation}").into_bytes(),
        expires_at: at(millis + 7 * DAY),
    }
}

/// Presents token `generation` as a store and core do together: a RENUMBER is tried again.
fn present(row: &mut Session, generation: u64, millis: i64, policy: Policy) -> Outcome {
    let mut attempt = attempt(generation, millis, policy);
    let outcome = advance(row, &attempt);
    if outcome != Outcome::Renumber {
        return outcome;
    }
    attempt.successor = successor(row.chain.generation + 1, millis);
    advance(row, &attempt)
}

/// Presents the live token.
fn refresh(row: &mut Session, millis: i64, policy: Policy) -> Outcome {
    present(row, row.chain.generation, millis, policy)
}

/// One line of a table: what is done to [`row`], what is presented when and by which policy, and the outcome.
type Case = (&'static str, fn(&mut Session), u64, i64, Policy, Outcome);

fn check(cases: &[Case]) {
    for (name, prepare, generation, millis, policy, expected) in cases {
        let mut row = row();
        prepare(&mut row);
        let outcome = decide(&row, &attempt(*generation, *millis, *policy));
        assert_eq!(outcome, *expected, "{name}, token {generation} at {millis} ms");
    }
}

fn unchanged(_: &mut Session) {}

#[test]
fn the_live_token_is_rotated_unless_its_parent_was_just_replayed() {
    let replayed: fn(&mut Session) = |row| row.chain.replayed_at = Some(at(500));
    check(&[
        ("at once", unchanged, 5, 0, BALANCED, Outcome::Rotated),
        ("much later", unchanged, 5, 6 * DAY, BALANCED, Outcome::Rotated),
        ("as its parent is replayed", replayed, 5, 500, BALANCED, Outcome::Held),
        ("G after the replay", replayed, 5, 500 + G, BALANCED, Outcome::Held),
        ("a moment later", replayed, 5, 500 + G + 1, BALANCED, Outcome::Rotated),
        ("without grace", replayed, 5, 500, STRICT, Outcome::Rotated),
    ]);
}

#[test]
fn the_parent_is_replayed_within_the_grace() {
    let long_grace = Policy { grace: Duration::from_secs(60), ..BALANCED };
    let used: fn(&mut Session) = |row| row.chain.live_used = true;
    let replayed: fn(&mut Session) = |row| row.chain.replayed_at = Some(at(G));
    check(&[
        ("at once", unchanged, 4, 0, BALANCED, Outcome::Replayed),
        ("G later", unchanged, 4, G, BALANCED, Outcome::Replayed),
        ("a moment later", unchanged, 4, G + 1, BALANCED, Outcome::Reused),
        ("a day later", unchanged, 4, DAY, BALANCED, Outcome::Reused),
        ("its successor was used", used, 4, G, BALANCED, Outcome::Replayed),
        ("a replay does not make it younger", replayed, 4, G + 1, BALANCED, Outcome::Reused),
        ("within another grace", unchanged, 4, 60_000, long_grace, Outcome::Replayed),
        ("after another grace", unchanged, 4, 60_001, long_grace, Outcome::Reused),
    ]);
}

#[test]
fn without_grace_every_repeat_is_reuse() {
    let all_recent: fn(&mut Session) = |row| row.chain.last_window.opened_at = at(0);
    check(&[
        ("the live token", unchanged, 5, 0, STRICT, Outcome::Rotated),
        ("the parent at once", unchanged, 4, 0, STRICT, Outcome::Reused),
        ("an older one at once", all_recent, 3, 0, STRICT, Outcome::Reused),
        ("the parent before its rotation", unchanged, 4, -1, STRICT, Outcome::Reused),
    ]);
}

#[test]
fn a_token_older_than_the_parent_is_superseded_while_a_window_remembers_it() {
    // The window in which 3 was live opened at 0, or G earlier and is the last one now.
    let this: fn(&mut Session) = |row| row.chain.this_window.oldest = 3;
    let last: fn(&mut Session) = |row| row.chain.last_window.opened_at = at(-G);
    check(&[
        ("at once", this, 3, 0, BALANCED, Outcome::Superseded),
        ("2G after it opened", this, 3, 2 * G, BALANCED, Outcome::Superseded),
        ("a moment later", this, 3, 2 * G + 1, BALANCED, Outcome::Reused),
        ("before the window's oldest", this, 2, 0, BALANCED, Outcome::Reused),
        ("in the last window", last, 3, G, BALANCED, Outcome::Superseded),
        ("a moment after it", last, 3, G + 1, BALANCED, Outcome::Reused),
        ("before the last window's oldest", last, 2, 0, BALANCED, Outcome::Reused),
        ("in no window", unchanged, 3, 0, BALANCED, Outcome::Reused),
        ("the first of all", unchanged, 0, 0, BALANCED, Outcome::Reused),
        ("the parent is not superseded", this, 4, 2 * G, BALANCED, Outcome::Reused),
    ]);
}

#[test]
fn a_token_the_row_cannot_know_accuses_nobody() {
    let foreign: fn(&mut Session) = |row| row.chain.live = digest(99);
    let fresh: fn(&mut Session) = |row| row.chain = Chain::start(digest(0), at(0));
    check(&[
        ("the next generation", unchanged, 6, 0, BALANCED, Outcome::Future),
        ("without grace", unchanged, 6, DAY, STRICT, Outcome::Future),
        ("any later generation", unchanged, u64::MAX - 1, 0, BALANCED, Outcome::Future),
        ("another token of the live generation", foreign, 5, 0, BALANCED, Outcome::Foreign),
        ("without grace", foreign, 5, DAY, STRICT, Outcome::Foreign),
        ("before the first rotation", fresh, 1, 0, BALANCED, Outcome::Future),
        ("the first token", fresh, 0, 0, BALANCED, Outcome::Rotated),
    ]);
}

/// Of the live and the parent's generation the row knows the one token that its chain had: any other is of a chain that
/// the store lost. Of older ones it knows none: there lost writes are not told apart from theft, which costs more.
#[test]
fn another_token_of_the_parents_generation_accuses_nobody() {
    let foreign: fn(&mut Session) = |row| row.chain.parent.as_mut().unwrap().digest = digest(99);
    check(&[
        ("at once", foreign, 4, 0, BALANCED, Outcome::Foreign),
        ("when the parent would be reuse", foreign, 4, DAY, BALANCED, Outcome::Foreign),
        ("without grace", foreign, 4, 0, STRICT, Outcome::Foreign),
        ("and never displaces", foreign, 4, G + 1, RESILIENT, Outcome::Foreign),
        ("the parent itself", unchanged, 4, DAY, BALANCED, Outcome::Reused),
        ("the generation before", foreign, 3, DAY, BALANCED, Outcome::Reused),
    ]);
}

/// The store forgets token 6, whose holder comes back after each of the rotations that went on without it.
#[test]
fn a_lost_token_is_foreign_for_two_rotations_and_reuse_from_the_third() {
    let mut row = row();
    let mut lost = attempt(6, HOUR, BALANCED);
    lost.presented.digest = digest(99);
    assert_eq!(decide(&row, &lost), Outcome::Future);
    for (rotation, expected) in [(1, Outcome::Foreign), (2, Outcome::Foreign), (3, Outcome::Superseded)] {
        assert_eq!(refresh(&mut row, HOUR + rotation, BALANCED), Outcome::Rotated);
        assert_eq!(decide(&row, &lost), expected, "{rotation}");
    }
    lost.now = at(HOUR + 3 + 2 * G);
    assert_eq!(decide(&row, &lost), Outcome::Reused);
}

#[test]
fn a_session_that_is_over_is_over_for_every_token() {
    let idle: fn(&mut Session) = |row| row.idle_expires_at = at(1000);
    let absolute: fn(&mut Session) = |row| row.expires_at = at(1000);
    let ended: fn(&mut Session) = |row| row.ended = Some(End { at: at(-1), reason: EndReason::Logout });
    let both: fn(&mut Session) = |row| {
        row.ended = Some(End { at: at(-1), reason: EndReason::Reuse });
        row.expires_at = at(1000);
    };
    for end in [idle, absolute] {
        check(&[
            ("just before the end", end, 5, 999, BALANCED, Outcome::Rotated),
            ("the parent just before the end", end, 4, 999, BALANCED, Outcome::Replayed),
            ("at the end", end, 5, 1000, BALANCED, Outcome::Expired),
            ("after the end", end, 5, DAY, BALANCED, Outcome::Expired),
            // An expired token is never reuse: its owner has to log in again anyway.
            ("the parent at the end", end, 4, 1000, STRICT, Outcome::Expired),
            ("an old token at the end", end, 0, 1000, BALANCED, Outcome::Expired),
            ("an unknown token at the end", end, 6, 1000, BALANCED, Outcome::Expired),
        ]);
    }
    for generation in [0, 3, 4, 5, 6] {
        check(&[
            ("ended", ended, generation, 0, BALANCED, Outcome::Ended),
            ("ended, without grace", ended, generation, 0, STRICT, Outcome::Ended),
            ("ended and expired", both, generation, 1000, BALANCED, Outcome::Ended),
        ]);
    }
}

#[test]
fn a_repeat_from_another_network_is_reuse_where_the_policy_says_so() {
    let same_network = Policy { same_network: true, ..BALANCED };
    let displacing = Policy { same_network: true, ..RESILIENT };
    let (home, neighbour) = (Some("2001:db8::1"), Some("2001:db8::ffff"));
    let (away, unknown) = (Some("192.0.2.1"), None);
    for (name, policy, then, now, millis, expected) in [
        ("the same address", same_network, home, home, 0, Outcome::Replayed),
        ("the same /64", same_network, home, neighbour, 0, Outcome::Replayed),
        ("elsewhere", same_network, home, away, 0, Outcome::Reused),
        ("elsewhere, and nobody minds", BALANCED, home, away, 0, Outcome::Replayed),
        // What is not known cannot accuse.
        ("unknown before", same_network, unknown, away, 0, Outcome::Replayed),
        ("unknown now", same_network, home, unknown, 0, Outcome::Replayed),
        ("elsewhere, where the policy displaces", displacing, home, away, 0, Outcome::Reused),
        ("displacing is no repeat", displacing, home, away, G + 1, Outcome::Displaced),
    ] {
        let mut row = row();
        let client = |ip: Option<&str>| Client::new(ip.map(|ip| ip.parse().unwrap()), None);
        row.client = client(then);
        let mut attempt = attempt(4, millis, policy);
        attempt.successor = successor(6, millis);
        attempt.client = client(now);
        assert_eq!(decide(&row, &attempt), expected, "{name}");
        // The live token may travel: only repeats are suspicious.
        attempt.presented = Presented { generation: 5, digest: digest(5), ..attempt.presented };
        assert_eq!(decide(&row, &attempt), Outcome::Rotated, "{name}");
    }
}

#[test]
fn an_unused_successor_may_be_displaced_for_a_day() {
    let used: fn(&mut Session) = |row| row.chain.live_used = true;
    let replayed: fn(&mut Session) = |row| row.chain.replayed_at = Some(at(G));
    let used_and_replayed: fn(&mut Session) = |row| {
        row.chain.live_used = true;
        row.chain.replayed_at = Some(at(G));
    };
    let graceless = Policy { grace: Duration::ZERO, ..RESILIENT };
    check(&[
        ("within the grace it is a repeat", unchanged, 4, G, RESILIENT, Outcome::Replayed),
        ("after it", unchanged, 4, G + 1, RESILIENT, Outcome::Renumber),
        ("a day later", unchanged, 4, DAY, RESILIENT, Outcome::Renumber),
        ("a moment after that", unchanged, 4, DAY + 1, RESILIENT, Outcome::Reused),
        ("the successor was used", used, 4, G + 1, RESILIENT, Outcome::Reused),
        // The successor just went out again, and may be about to be used.
        ("replayed G ago", replayed, 4, 2 * G, RESILIENT, Outcome::Superseded),
        ("replayed longer ago", replayed, 4, 2 * G + 1, RESILIENT, Outcome::Renumber),
        ("replayed and used", used_and_replayed, 4, 2 * G, RESILIENT, Outcome::Superseded),
        ("replayed longer ago and used", used_and_replayed, 4, 2 * G + 1, RESILIENT, Outcome::Reused),
        ("without grace", unchanged, 4, 0, graceless, Outcome::Renumber),
        ("older than the parent", unchanged, 3, G + 1, RESILIENT, Outcome::Reused),
        ("the live token", unchanged, 5, G + 1, RESILIENT, Outcome::Rotated),
    ]);

    // A store asks with a successor of the generation after the presented token's; the row's next one is another.
    for (generation, expected) in [(5, Outcome::Renumber), (6, Outcome::Displaced), (7, Outcome::Renumber)] {
        let mut attempt = attempt(4, HOUR, RESILIENT);
        attempt.successor = successor(generation, HOUR);
        assert_eq!(decide(&row(), &attempt), expected, "{generation}");
    }
}

#[test]
fn for_pages_an_unused_successor_may_be_displaced_as_long_as_any_session_lives() {
    // As old as a session may be set to become.
    let old: fn(&mut Session) = |row| {
        row.expires_at = at(401 * DAY);
        row.idle_expires_at = at(401 * DAY);
    };
    check(&[
        ("400 days later", old, 4, 400 * DAY, Policy::PAGES, Outcome::Renumber),
        ("a moment after that", old, 4, 400 * DAY + 1, Policy::PAGES, Outcome::Reused),
        ("400 days later, by another policy", old, 4, 400 * DAY, RESILIENT, Outcome::Reused),
    ]);
}

#[test]
fn a_clock_that_steps_back_accuses_nobody() {
    let window: fn(&mut Session) = |row| row.chain.this_window.oldest = 3;
    let replayed: fn(&mut Session) = |row| row.chain.replayed_at = Some(at(500));
    for back in [-1, -HOUR] {
        check(&[
            ("the live token", unchanged, 5, back, BALANCED, Outcome::Rotated),
            ("the live token, held", replayed, 5, back, BALANCED, Outcome::Held),
            ("the parent", unchanged, 4, back, BALANCED, Outcome::Replayed),
            ("the parent, where the policy displaces", unchanged, 4, back, RESILIENT, Outcome::Replayed),
            ("an older token", window, 3, back, BALANCED, Outcome::Superseded),
        ]);
    }

    // Rotations go on, and repeats of them are told from reuse by the clock as it is now.
    let mut row = row();
    assert_eq!(present(&mut row, 5, -HOUR, BALANCED), Outcome::Rotated);
    assert_eq!(row.chain.rotated_at, at(-HOUR));
    assert_eq!(present(&mut row, 5, -HOUR + G, BALANCED), Outcome::Replayed);
    assert_eq!(present(&mut row, 5, -HOUR + G + 1, BALANCED), Outcome::Reused);
}

#[test]
fn a_rotation_changes_the_chain_and_says_who_used_it() {
    let mut row = row();
    row.chain.replayed_at = Some(at(1));
    row.chain.live_used = true;
    let before = row.clone();
    let attempt = attempt(5, HOUR, BALANCED);
    assert_eq!(advance(&mut row, &attempt), Outcome::Rotated);
    let expected = Session {
        idle_expires_at: at(HOUR + 7 * DAY),
        last_used_at: at(HOUR),
        client: attempt.client,
        chain: Chain {
            generation: 6,
            live: digest(6),
            parent: Some(Parent { digest: digest(5), generation: 5 }),
            rotated_at: at(HOUR),
            replayed_at: None,
            live_used: false,
            this_window: Window { oldest: 5, opened_at: at(HOUR) },
            last_window: before.chain.this_window,
            sealed: b"token 6".to_vec(),
        },
        ..before
    };
    assert_eq!(row, expected);
}

#[test]
fn a_rotation_opens_a_window_when_the_present_one_is_older_than_the_grace() {
    for (millis, opens) in [(0, false), (G, false), (G + 1, true)] {
        let mut row = row();
        let chain = row.chain.clone();
        assert_eq!(present(&mut row, 5, millis, BALANCED), Outcome::Rotated);
        let (this, last) = if opens {
            (Window { oldest: 5, opened_at: at(millis) }, chain.this_window)
        } else {
            (chain.this_window, chain.last_window)
        };
        assert_eq!((row.chain.this_window, row.chain.last_window), (this, last), "{millis}");
    }
}

#[test]
fn a_refresh_never_outlives_the_absolute_end() {
    // Seven days before the end is the last refresh that does not have to be cut.
    for (millis, idle) in [(22 * DAY - 1, 29 * DAY - 1), (22 * DAY, 29 * DAY), (22 * DAY + 1, 29 * DAY)] {
        let mut row = row();
        row.idle_expires_at = row.expires_at;
        assert_eq!(present(&mut row, 5, millis, BALANCED), Outcome::Rotated);
        assert_eq!((row.idle_expires_at, row.expires_at), (at(idle), at(29 * DAY)), "{millis}");
        assert_eq!(row.end(), at(idle));
    }
}

#[test]
fn a_replay_is_noted_and_extends_nothing() {
    let mut row = row();
    let attempt = attempt(4, G, BALANCED);
    assert_eq!(advance(&mut row, &attempt), Outcome::Replayed);
    let before = self::row();
    let expected = Session {
        last_used_at: at(G),
        client: attempt.client,
        chain: Chain { replayed_at: Some(at(G)), ..before.chain },
        ..before
    };
    assert_eq!(row, expected);
}

#[test]
fn a_hold_is_a_use_of_the_live_token_and_extends_nothing() {
    let mut row = row();
    row.chain.replayed_at = Some(at(1));
    let before = row.clone();
    let attempt = attempt(5, G, BALANCED);
    assert_eq!(advance(&mut row, &attempt), Outcome::Held);
    let expected = Session {
        last_used_at: at(G),
        client: attempt.client,
        chain: Chain { live_used: true, ..before.chain },
        ..before
    };
    assert_eq!(row, expected);
}

#[test]
fn displacing_keeps_the_parent_and_counts_on() {
    let mut row = row();
    let mut attempt = attempt(4, HOUR, RESILIENT);
    attempt.successor = successor(6, HOUR);
    assert_eq!(advance(&mut row, &attempt), Outcome::Displaced);
    let before = self::row();
    let expected = Session {
        idle_expires_at: at(HOUR + 7 * DAY),
        last_used_at: at(HOUR),
        client: attempt.client,
        chain: Chain {
            generation: 6,
            live: digest(6),
            parent: before.chain.parent,
            rotated_at: at(HOUR),
            replayed_at: None,
            live_used: false,
            this_window: Window { oldest: 4, opened_at: at(HOUR) },
            last_window: before.chain.this_window,
            sealed: b"token 6".to_vec(),
        },
        ..before
    };
    assert_eq!(row, expected);
}

#[test]
fn reuse_ends_the_session_and_keeps_the_rest_as_evidence() {
    let mut row = row();
    assert_eq!(present(&mut row, 4, HOUR, BALANCED), Outcome::Reused);
    let expected = Session { ended: Some(End { at: at(HOUR), reason: EndReason::Reuse }), ..self::row() };
    assert_eq!(row, expected);

    // Neither party goes on, nor is the end overwritten.
    for generation in [0, 4, 5, 6] {
        assert_eq!(present(&mut row, generation, HOUR + 1, RESILIENT), Outcome::Ended);
    }
    assert_eq!(row, expected);
}

#[test]
fn the_other_outcomes_change_nothing() {
    let window: fn(&mut Session) = |row| row.chain.this_window.oldest = 3;
    let foreign: fn(&mut Session) = |row| row.chain.live = digest(99);
    let ended: fn(&mut Session) = |row| row.ended = Some(End { at: at(-1), reason: EndReason::Revoked });
    let of_parent: fn(&mut Session) = |row| row.chain.parent.as_mut().unwrap().digest = digest(99);
    let cases: [Case; 7] = [
        ("superseded", window, 3, 0, BALANCED, Outcome::Superseded),
        ("renumber", unchanged, 4, HOUR, RESILIENT, Outcome::Renumber),
        ("ended", ended, 5, 0, BALANCED, Outcome::Ended),
        ("expired", unchanged, 5, 7 * DAY, BALANCED, Outcome::Expired),
        ("future", unchanged, 6, 0, BALANCED, Outcome::Future),
        ("foreign", foreign, 5, 0, BALANCED, Outcome::Foreign),
        ("foreign to the parent", of_parent, 4, 0, BALANCED, Outcome::Foreign),
    ];
    for (name, prepare, generation, millis, policy, expected) in cases {
        let mut row = row();
        prepare(&mut row);
        let before = row.clone();
        assert_eq!(advance(&mut row, &attempt(generation, millis, policy)), expected, "{name}");
        assert_eq!(row, before, "{name}");
        assert!(!expected.writes(), "{name}");
    }
}

#[test]
fn two_windows_remember_what_was_live_over_several_rotations() {
    // Rotated at 0, 1, 8, 16 and 18 s: windows open at 0 (oldest 0) and, since the first is older than G by then, at
    // 16 s (oldest 3).
    let rotated = || {
        let mut row = row();
        row.chain = Chain::start(digest(0), at(-DAY));
        for (generation, millis) in [(0, 0), (1, 1_000), (2, 8_000), (3, 16_000), (4, 18_000)] {
            assert_eq!(present(&mut row, generation, millis, BALANCED), Outcome::Rotated);
        }
        row
    };
    for (generation, millis, expected) in [
        (4, 18_000, Outcome::Replayed),
        (4, 28_000, Outcome::Replayed),
        (4, 28_001, Outcome::Reused),
        (3, 36_000, Outcome::Superseded),
        (3, 36_001, Outcome::Reused),
        (2, 20_000, Outcome::Superseded),
        (2, 20_001, Outcome::Reused),
        (0, 20_000, Outcome::Superseded),
        (0, 20_001, Outcome::Reused),
    ] {
        let outcome = present(&mut rotated(), generation, millis, BALANCED);
        assert_eq!(outcome, expected, "token {generation} at {millis} ms");
    }

    // A third window takes the first one's place.
    let mut row = rotated();
    assert_eq!(present(&mut row, 5, 26_001, BALANCED), Outcome::Rotated);
    assert_eq!(row.chain.last_window, Window { oldest: 3, opened_at: at(16_000) });
    assert_eq!(row.chain.this_window, Window { oldest: 5, opened_at: at(26_001) });
    assert_eq!(present(&mut row, 2, 26_001, BALANCED), Outcome::Reused);
}

/// Each refresh of his makes the owner's token older than the parent, but the windows do not move on with him.
#[test]
fn a_thief_who_rotates_all_the_time_is_found_out_after_two_graces() {
    let mut row = row();
    assert_eq!(present(&mut row, 5, HOUR, BALANCED), Outcome::Rotated);
    for second in 1..=20 {
        let millis = HOUR + second * 1000;
        assert_eq!(refresh(&mut row, millis, BALANCED), Outcome::Rotated);
        assert_eq!(present(&mut row, 5, millis, BALANCED), Outcome::Superseded, "{second} s");
    }
    assert_eq!(present(&mut row, 5, HOUR + 2 * G + 1, BALANCED), Outcome::Reused);
    assert_eq!(refresh(&mut row, HOUR + 2 * G + 1, BALANCED), Outcome::Ended);
}

#[test]
fn any_number_of_identical_refreshes_get_the_same_token() {
    let mut row = row();
    assert_eq!(present(&mut row, 5, HOUR, BALANCED), Outcome::Rotated);
    let chain = row.chain.clone();
    for millis in [0, 0, 1, G / 2, G] {
        assert_eq!(present(&mut row, 5, HOUR + millis, BALANCED), Outcome::Replayed);
        assert_eq!((row.chain.live, &row.chain.sealed), (chain.live, &chain.sealed));
    }
    // The burst is over G after the last repeat, and no sooner.
    assert_eq!(present(&mut row, 6, HOUR + 2 * G, BALANCED), Outcome::Held);
    assert_eq!(present(&mut row, 6, HOUR + 2 * G + 1, BALANCED), Outcome::Rotated);
}

#[test]
fn the_holder_of_a_displaced_token_collides_with_who_displaced_it() {
    let displaced = || {
        let mut row = row();
        assert_eq!(present(&mut row, 4, HOUR, RESILIENT), Outcome::Displaced);
        row
    };
    // At once, or whenever it comes.
    for millis in [0, G, G + 1, 2 * DAY] {
        let mut row = displaced();
        assert_eq!(present(&mut row, 5, HOUR + millis, RESILIENT), Outcome::Reused);
        assert_eq!(present(&mut row, 6, HOUR + millis, RESILIENT), Outcome::Ended);
    }

    // After a later rotation it is an old token like others: nothing to be had for it, and reuse 2G after its end.
    for (millis, expected) in [
        (2_000, Outcome::Superseded),
        (2 * G, Outcome::Superseded),
        (2 * G + 1, Outcome::Reused),
        (2 * DAY, Outcome::Reused),
    ] {
        let mut row = displaced();
        assert_eq!(present(&mut row, 6, HOUR + 1_000, RESILIENT), Outcome::Rotated);
        assert_eq!(present(&mut row, 5, HOUR + millis, RESILIENT), expected, "{millis}");
    }
}

#[test]
fn a_client_that_loses_answer_after_answer_displaces_again() {
    let mut row = row();
    for (millis, generation) in [(HOUR, 6), (HOUR + DAY, 7), (HOUR + 2 * DAY, 8)] {
        assert_eq!(present(&mut row, 4, millis, RESILIENT), Outcome::Displaced);
        assert_eq!((row.chain.generation, row.chain.live), (generation, digest(generation)));
        assert_eq!(row.chain.parent, Some(Parent { digest: digest(4), generation: 4 }));
        // Repeats at once get the same token.
        assert_eq!(present(&mut row, 4, millis, RESILIENT), Outcome::Replayed);
        assert_eq!(row.chain.generation, generation);
    }
    // Every token lost on the way is dead.
    for generation in [5, 6, 7] {
        assert_eq!(present(&mut row.clone(), generation, HOUR + 2 * DAY, RESILIENT), Outcome::Reused);
    }
    assert_eq!(present(&mut row, 8, HOUR + 2 * DAY + G + 1, RESILIENT), Outcome::Rotated);
    // Once it had an answer, the old parent is an old token.
    assert_eq!(present(&mut row, 4, HOUR + 3 * DAY, RESILIENT), Outcome::Reused);
}

#[test]
fn tokens_are_granted_by_these_outcomes_and_no_others() {
    // What is not granted is not prepared for: a fault of the host's claims must not hide a reuse.
    for (outcome, granted) in [
        (Outcome::Rotated, true),
        (Outcome::Replayed, true),
        (Outcome::Held, true),
        (Outcome::Displaced, true),
        (Outcome::Renumber, true),
        (Outcome::Superseded, false),
        (Outcome::Reused, false),
        (Outcome::Ended, false),
        (Outcome::Expired, false),
        (Outcome::Future, false),
        (Outcome::Foreign, false),
    ] {
        assert_eq!(outcome.grants(), granted, "{outcome:?}");
    }
}

/// Rows and attempts of all kinds, also such as cannot come to be: small numbers, so that equal ones meet.
fn any_row() -> impl Strategy<Value = Session> {
    let age = -2_i64..40;
    let window = (0_u64..8, age.clone()).prop_map(|(oldest, age)| Window { oldest, opened_at: at(-age) });
    let chain = (
        (1_u64..8, prop::option::of(0_u64..8), age.clone(), prop::option::of(age.clone())),
        (any::<bool>(), window.clone(), window),
    )
        .prop_map(|((generation, parent, rotated, replayed), (live_used, this_window, last_window))| Chain {
            generation,
            live: digest(generation),
            parent: parent
                .filter(|parent| *parent < generation)
                .map(|generation| Parent { digest: digest(generation), generation }),
            rotated_at: at(-rotated),
            replayed_at: replayed.map(|replayed| at(-replayed)),
            live_used,
            this_window,
            last_window,
            sealed: b"live".to_vec(),
        });
    let ends =
        (-1_i64..200, -1_i64..200, prop::option::weighted(0.1, prop::sample::select(&EndReason::ALL[..])));
    (chain, ends).prop_map(|(chain, (idle, absolute, reason))| Session {
        // The last use lies before every attempt, so that each use shows.
        last_used_at: at(-100),
        idle_expires_at: at(idle),
        expires_at: at(absolute),
        ended: reason.map(|reason| End { at: at(-50), reason }),
        chain,
        ..row()
    })
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    let policy = (0_u64..16, prop::option::of(0_u64..40), any::<bool>()).prop_map(
        |(grace, displace_within, same_network)| Policy {
            grace: Duration::from_millis(grace),
            displace_within: displace_within.map(Duration::from_millis),
            same_network,
        },
    );
    let client = prop::sample::select(vec!["192.0.2.1", "192.0.2.2"]).prop_map(client);
    (0_u64..9, any::<bool>(), 1_u64..10, policy, client).prop_map(
        |(generation, foreign, next, policy, client)| {
            let mut attempt = attempt(generation, 0, policy);
            if foreign {
                attempt.presented.digest = digest(100 + generation);
            }
            attempt.successor = Successor { digest: digest(200), ..successor(next, 0) };
            attempt.client = client;
            attempt
        },
    )
}

/// The digests that a row would still take as live, now.
fn honoured(row: &Session, attempt: &Attempt) -> Vec<Digest> {
    let mut candidates: Vec<_> = (0..10).map(|generation| (generation, digest(generation))).collect();
    candidates.push((row.chain.generation, digest(200)));
    candidates.push((attempt.presented.generation, attempt.presented.digest));
    candidates.retain(|(generation, digest)| {
        let presented = Presented { generation: *generation, digest: *digest, ..attempt.presented.clone() };
        let outcome = decide(row, &Attempt { presented, ..attempt.clone() });
        matches!(outcome, Outcome::Rotated | Outcome::Held)
    });
    candidates.into_iter().map(|(_, digest)| digest).collect()
}

proptest! {
    // The same cases every time: a test that fails now and then is not believed.
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        rng_seed: RngSeed::Fixed(6749),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn advance_does_what_decide_says_and_nothing_else(before in any_row(), attempt in any_attempt()) {
        let outcome = decide(&before, &attempt);
        prop_assert_eq!(decide(&before, &attempt), outcome);
        let mut row = before.clone();
        prop_assert_eq!(advance(&mut row, &attempt), outcome);

        prop_assert_eq!(outcome.writes(), row != before);
        prop_assert_eq!(row.ended != before.ended, outcome == Outcome::Reused);
        if before.ended.is_some() {
            prop_assert_eq!(&row, &before);
        }
        // A refresh moves neither the absolute end nor what was proved at login.
        let fixed = Session {
            idle_expires_at: row.idle_expires_at,
            last_used_at: row.last_used_at,
            client: row.client.clone(),
            chain: row.chain.clone(),
            ended: row.ended,
            ..before.clone()
        };
        prop_assert_eq!(&row, &fixed);
        prop_assert!(row.idle_expires_at == before.idle_expires_at || row.idle_expires_at <= row.expires_at);
    }

    #[test]
    fn at_most_one_token_is_live(before in any_row(), attempt in any_attempt()) {
        let mut row = before.clone();
        let outcome = advance(&mut row, &attempt);
        let live = honoured(&row, &attempt);
        prop_assert!(live.iter().all(|digest| *digest == row.chain.live), "{:?}", live);
        if matches!(outcome, Outcome::Rotated | Outcome::Displaced) {
            prop_assert_eq!(row.chain.live, attempt.successor.digest);
        } else {
            prop_assert_eq!(row.chain.live, before.chain.live);
        }
    }

    /// What `model.rs` relies on to number tokens anew in each state.
    #[test]
    fn only_the_order_of_generations_counts(
        before in any_row(),
        attempt in any_attempt(),
        gaps in prop::collection::vec(1_u64..1000, 12),
    ) {
        let moved = |generation: u64| gaps[..=generation as usize].iter().sum::<u64>();
        let (mut row, mut sparse) = (before.clone(), attempt.clone());
        let chain = &mut row.chain;
        // A successor is compared with the generation after the live one, and with that alone.
        sparse.successor.generation = if attempt.successor.generation == chain.generation + 1 {
            moved(chain.generation) + 1
        } else {
            moved(10)
        };
        chain.generation = moved(chain.generation);
        if let Some(parent) = &mut chain.parent {
            parent.generation = moved(parent.generation);
        }
        for window in [&mut chain.this_window, &mut chain.last_window] {
            window.oldest = moved(window.oldest);
        }
        sparse.presented.generation = moved(attempt.presented.generation);
        prop_assert_eq!(decide(&row, &sparse), decide(&before, &attempt));
    }

    /// What `model.rs` relies on to take all ages from `2G`, or what the policy displaces within, for one.
    #[test]
    fn what_is_long_ago_is_forgotten(
        before in any_row(),
        attempt in any_attempt(),
        more in prop::array::uniform4(0_i64..100_000),
    ) {
        let policy = &attempt.policy;
        let memory = (policy.grace * 2).max(policy.displace_within.unwrap_or_default());
        let older = |time: Timestamp, more: i64| {
            if attempt.now.since(time) > memory { Timestamp::from_millis(time.as_millis() - more) } else { time }
        };
        let (mut old, mut older_still) = (before.clone(), before.clone());
        let chain = &mut older_still.chain;
        chain.rotated_at = older(chain.rotated_at, more[0]);
        chain.replayed_at = chain.replayed_at.map(|replayed| older(replayed, more[1]));
        chain.this_window.opened_at = older(chain.this_window.opened_at, more[2]);
        chain.last_window.opened_at = older(chain.last_window.opened_at, more[3]);
        prop_assert_eq!(advance(&mut older_still, &attempt), advance(&mut old, &attempt));
        // Nor do they differ in anything else afterwards, so the next decision is the same again.
        for row in [&mut old, &mut older_still] {
            let chain = &mut row.chain;
            let times = [&mut chain.rotated_at, &mut chain.this_window.opened_at, &mut chain.last_window.opened_at];
            for time in times.into_iter().chain(&mut chain.replayed_at) {
                *time = older(*time, time.as_millis());
            }
        }
        prop_assert_eq!(older_still, old);
    }
}
