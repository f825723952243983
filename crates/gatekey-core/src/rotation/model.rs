//! The decision explored exhaustively: breadth first over all states of a small world, nothing sampled.
//!
//! **State.** A row, as the real [`decide`] and [`apply`] leave it (`row.rs` turns it into a [`Session`] and back for
//! every presentation), and the clients: which token each keeps, which requests and answers are on their way and for
//! how long. Times are ages, and ages beyond what any rule looks back to are one; tokens are numbered by the order of
//! their issue among those that anybody still holds. So there are finitely many states, and the searches below visit
//! all of them: they have no bound on time, nor on the number of rotations. That no decision depends on what this leaves
//! out is tested (`only_the_order_of_generations_counts`, `what_is_long_ago_is_forgotten`).
//!
//! **Moves of honest clients** (`tabs.rs`). Up to three tabs share one cookie jar, in which the Set-Cookie delivered last
//! wins; or one client keeps its token itself and is answered in bodies. (Not both with one session: two that hold its
//! token without sharing it are an owner and a thief.) Any of them may refresh at any moment. Requests and answers
//! travel between no time and a bound, overtake one another, and are lost up to a number of times in a row, whereupon the
//! client repeats at once. A crash between commit and answer is an answer lost on the spot, one before it a request. A
//! request may arrive twice. HOLD and SUPERSEDED carry no cookie: that their answers are late or lost changes nothing.
//!
//! **Moves of a thief** (`thief.rs`). He copies the owner's token whenever he likes, as often as he likes, refreshes
//! whenever he likes, and keeps every token he is given; the owner does the same, and may lose an answer.
//!
//! **Bounds.** `G` is at most 6 ticks of a millisecond. Flights fit into the grace when the longest time from a rotation
//! to the arrival of the last request with the old token does; [`Bounds::grace`] says how long that is. Honest clients
//! are run with exactly that `G`, and once more with one tick less, where one of them must be found accused: a search
//! that sees nothing wrong there is blind. With a rule turned off ([`Without`]) it must find a counter-example too.
//!
//! **Size.** A good million states (1 060 407 when this was written). Each search asserts its own number, so that a
//! model that shrinks unnoticed fails.
//!
//! [`decide`]: super::decide
//! [`apply`]: super::apply
//! [`Session`]: crate::session::Session

mod explore;
mod row;
mod tabs;
mod thief;

use std::time::Duration;

use super::{Outcome, Policy};
use explore::{Explored, World, explore};
use row::{Age, Rules, Token, Without};
use tabs::{Bounds, Copies, Keeper, Tabs};
use thief::Theft;

#[test]
fn tabs_that_share_a_jar_are_never_refused_while_flights_fit_into_the_grace() {
    for (name, bounds, states) in [
        ("slow answers", SLOW_ANSWERS, 8_372),
        ("slow requests", SLOW_REQUESTS, 12_726),
        ("a loss", ONE_LOSS, 111_318),
        ("two losses", TWO_LOSSES, 110_168),
        ("copies", COPIES, 80_474),
        ("copies and a loss", COPIES_AND_LOSS, 87_889),
    ] {
        let explored = safe(&jar(bounds, bounds.grace(), Without::Nothing), name, states);
        for outcome in [Outcome::Rotated, Outcome::Replayed, Outcome::Held, Outcome::Superseded] {
            assert!(explored.spoken.contains(&("tab", outcome)), "{name}: {outcome:?} never spoke");
        }
        // The bound is sharp, and the search sees it.
        let trace = broken(&jar(bounds, bounds.grace() - 1, Without::Nothing), name);
        assert!(trace.contains("an honest client is refused"), "{name}: {trace}");
    }
}

#[test]
fn a_client_that_keeps_its_token_itself_and_waits_for_answers_is_never_refused() {
    for (name, losses, copies, states) in
        [("three losses", 3, Copies::None, 18_493), ("two losses and copies", 2, Copies::HeardLast, 13_531)]
    {
        let bounds = Bounds { tabs: 1, request: 1, answer: 1, losses, copies };
        // Less than for tabs by the last answer and the request of another tab that it overtakes.
        let grace = bounds.grace() - bounds.answer - bounds.request;
        let explored = safe(&memory(bounds, grace), name, states);
        for outcome in [Outcome::Rotated, Outcome::Replayed, Outcome::Held] {
            assert!(explored.spoken.contains(&("tab", outcome)), "{name}: {outcome:?} never spoke");
        }
        let trace = broken(&memory(bounds, grace - 1), name);
        assert!(trace.contains("an honest client is refused"), "{name}: {trace}");
    }
}

/// A limit, for the documentation: HOLD answers a body with the token it was asked with, and a slow answer of that kind
/// may overwrite a newer token. So a client that keeps its token itself refreshes once at a time, or keeps a newer one.
#[test]
fn a_client_that_keeps_its_token_itself_must_not_ask_twice_at_once() {
    let bounds = Bounds { tabs: 2, request: 1, answer: 1, losses: 0, copies: Copies::None };
    let trace = broken(&memory(bounds, 6), "two at once");
    assert!(trace.contains("Held"), "{trace}");
}

/// A limit: a request arrives twice, the client hears that it was held, and the second arrival, after the end of the HOLD,
/// rotates unheard. The row cannot tell this from a thief who rotates and an owner who comes back later, so no rule can
/// help unless the policy displaces (`a_client_that_sleeps_is_never_refused_where_the_policy_displaces`).
#[test]
fn an_arrival_that_nobody_hears_after_the_hold_is_a_lost_answer_that_nobody_repeats() {
    let bounds = Bounds { tabs: 1, request: 1, answer: 1, losses: 0, copies: Copies::Heard };
    let trace = broken(&jar(bounds, 6, Without::Nothing), "a late copy");
    assert!(trace.contains("Held") && trace.contains("copy presents 1: Rotated"), "{trace}");
}

#[test]
fn each_rule_is_needed() {
    for (name, without) in [
        ("without HOLD", Without::Hold),
        ("without REPLAY", Without::Replay),
        ("without SUPERSEDED", Without::Superseded),
        ("with one window", Without::SecondWindow),
        ("with HOLD since the rotation", Without::HoldFromReplay),
    ] {
        for bounds in [SLOW_ANSWERS, SLOW_REQUESTS, ONE_LOSS, COPIES] {
            let trace = broken(&jar(bounds, bounds.grace(), without), name);
            assert!(trace.contains("an honest client is refused"), "{name}: {trace}");
        }
    }
    let set_by_hold =
        Tabs { keeper: Keeper::JarSetByHold, ..jar(SLOW_ANSWERS, SLOW_ANSWERS.grace(), Without::Nothing) };
    broken(&set_by_hold, "with a cookie set by HOLD");
}

/// Where the policy displaces, a client may also stop at any moment (the lid is closed) and lose all that is under way,
/// once or many times; what it sent may still arrive, and so may copies that nobody hears.
#[test]
fn a_client_that_sleeps_is_never_refused_where_the_policy_displaces() {
    let displacing = |bounds: Bounds, without| {
        // Long enough for a client that comes back late, is SUPERSEDED until 2G after the rotation, and asks again.
        let displace_within = 2 * bounds.grace() + 1 + (bounds.losses + 1) * (bounds.request + bounds.answer);
        let rules = rules(bounds.grace(), Some(displace_within), without);
        Tabs { rules, ..jar(bounds, bounds.grace(), without) }
    };
    for (name, bounds, states) in [
        ("sleep and copies", Bounds { tabs: 2, answer: 1, copies: Copies::Heard, ..SLOW_ANSWERS }, 92_037),
        ("sleep and a loss", Bounds { tabs: 2, ..ONE_LOSS }, 280_469),
    ] {
        let sleeper = |without| Tabs { sleeps: true, ..displacing(bounds, without) };
        let explored = safe(&sleeper(Without::Nothing), name, states);
        assert!(explored.spoken.contains(&("tab", Outcome::Displaced)), "{name}: DISPLACE never spoke");
        let trace = broken(&sleeper(Without::Patience), name);
        assert!(trace.contains("an honest client is refused"), "{name}: {trace}");
    }
    // While flights fit into the grace it never comes to that.
    let explored = safe(&displacing(SLOW_ANSWERS, Without::Nothing), "no sleep", 26_133);
    assert!(!explored.spoken.contains(&("tab", Outcome::Displaced)));
}

/// Of thief and owner, the second to refresh outside the grace is REUSE: at once, or after a SUPERSEDED that hands out
/// nothing and ends `2G` after the first one's refresh, however the first goes on. See `Theft::present` for the exact
/// table.
#[test]
fn of_thief_and_owner_the_second_outside_the_grace_is_reuse() {
    let theft = |grace, without| Theft { rules: rules(grace, None, without) };
    let explored = safe(&theft(3, Without::Nothing), "theft", 96_409);
    for second in ["owner second", "thief second"] {
        for outcome in [Outcome::Replayed, Outcome::Superseded, Outcome::Reused] {
            assert!(explored.spoken.contains(&(second, outcome)), "{second}: {outcome:?} never spoke");
        }
    }
    safe(&theft(0, Without::Nothing), "theft, without grace", 178);

    // Judged by the latest rotation alone, a thief who rotates all the time keeps the owner waiting for ever.
    let trace = broken(&theft(3, Without::Bound), "SUPERSEDED without a bound");
    assert!(trace.ends_with("SUPERSEDED later than 2 G"), "{trace}");
}

#[test]
fn a_displaced_token_is_never_honoured_again() {
    let theft = |grace, without| Theft { rules: rules(grace, Some(5), without) };
    let explored = safe(&theft(2, Without::Nothing), "theft, resilient", 122_210);
    for second in ["owner second", "thief second"] {
        for outcome in [Outcome::Displaced, Outcome::Reused] {
            assert!(explored.spoken.contains(&(second, outcome)), "{second}: {outcome:?} never spoke");
        }
    }
    let trace = broken(&theft(2, Without::Collision), "displaced and honoured");
    assert!(trace.contains("Displaced"), "{trace}");
}

/// Explores a world in which nothing may go wrong, nor any row have two live tokens.
fn safe<W: World>(world: &W, name: &str, states: usize) -> Explored {
    let explored = explore(world);
    if let Some(trace) = &explored.counter_example {
        panic!("{name}: after {} states\n{trace}", explored.states);
    }
    assert!(explored.states >= states, "{name}: the model shrank to {} states", explored.states);
    for row in &explored.rows {
        let honoured =
            |token: &Token| matches!(world.rules().present(row, *token).0, Outcome::Rotated | Outcome::Held);
        let live: Vec<Token> = (0..=row.live).filter(honoured).collect();
        assert_eq!(live, if row.ended { vec![] } else { vec![row.live] }, "{name}: {row:?}");
    }
    // Seen with `--nocapture`, to keep the numbers asserted up to date.
    println!("{name}: {} states, {} rows", explored.states, explored.rows.len());
    explored
}

/// Explores a world in which something must go wrong, and returns the way there.
fn broken<W: World>(world: &W, name: &str) -> String {
    let explored = explore(world);
    let nothing = || panic!("{name}: {} states, and nothing goes wrong", explored.states);
    explored.counter_example.unwrap_or_else(nothing)
}

fn rules(grace: Age, displace_within: Option<Age>, without: Without) -> Rules {
    let ticks = |age: Age| Duration::from_millis(age.into());
    let displace_within = displace_within.map(ticks);
    Rules::new(Policy { grace: ticks(grace), displace_within, same_network: false }, without)
}

fn jar(bounds: Bounds, grace: Age, without: Without) -> Tabs {
    Tabs { rules: rules(grace, None, without), keeper: Keeper::Jar, bounds, sleeps: false }
}

fn memory(bounds: Bounds, grace: Age) -> Tabs {
    Tabs { keeper: Keeper::Memory, ..jar(bounds, grace, Without::Nothing) }
}

const SLOW_ANSWERS: Bounds = Bounds { tabs: 3, request: 1, answer: 2, losses: 0, copies: Copies::None };
const SLOW_REQUESTS: Bounds = Bounds { request: 2, answer: 1, ..SLOW_ANSWERS };
const ONE_LOSS: Bounds = Bounds { answer: 1, losses: 1, ..SLOW_ANSWERS };
const TWO_LOSSES: Bounds = Bounds { tabs: 2, losses: 2, ..ONE_LOSS };
const COPIES: Bounds = Bounds { copies: Copies::HeardLast, ..SLOW_ANSWERS };
const COPIES_AND_LOSS: Bounds = Bounds { tabs: 2, answer: 1, losses: 1, ..COPIES };
