//! Swapping refresh tokens: the store keeps what core decides, and only one of many wins.

use gatekey_core::{
    rotation::{Attempt, Outcome, Policy, advance},
    session::{Client, End, EndReason, Parent, Session, Window},
    time::Timestamp,
};

use super::{
    Case, Failure, Sessions, Verdict,
    fixture::{
        Dice, IDLE, MILLISECOND, NOW, SECOND, at_once, attempt, digest, ended, found, id, open, opened,
        rotate_as_decided, rotated, same_row, session, stored, subject,
    },
    holds, same,
};

pub(super) const CASES: &[Case<Sessions>] = &[
    Case::new(
        "store/rotate-unknown-session-is-none",
        "A token of a session that is not there is no rotation, and makes no row.",
        |store| Box::pin(unknown_session_is_none(store)),
    ),
    Case::new(
        "store/rotate-does-what-core-decides",
        "For every outcome of core's decision, the returned and the stored row are exactly the one that it makes.",
        |store| Box::pin(does_what_core_decides(store)),
    ),
    Case::new(
        "store/rotate-follows-core-for-long",
        "Through hundreds of attempts of all kinds, the row stays the one that core makes.",
        |store| Box::pin(follows_core_for_long(store)),
    ),
    Case::new(
        "store/rotate-changes-one-session",
        "An attempt on one session leaves every other as it is, also those of the same subject.",
        |store| Box::pin(changes_one_session(store)),
    ),
    Case::new(
        "store/concurrent-rotates-have-one-winner",
        "Of 200 presentations of one token at once, one is Rotated, the others are Replayed with its successor.",
        |store| Box::pin(concurrent_rotates_have_one_winner(store)),
    ),
    Case::new(
        "store/concurrent-rotates-without-grace-end-the-session",
        "With no grace, of 200 presentations of one token at once, one is Rotated, one is Reused, and the session ends.",
        |store| Box::pin(concurrent_rotates_without_grace(store)),
    ),
    Case::new(
        "store/concurrent-chains-stay-apart",
        "Sessions that are refreshed at once, each many times over, each keep a chain of their own without a gap.",
        |store| Box::pin(concurrent_chains_stay_apart(store)),
    ),
    Case::new(
        "store/reuse-ends-the-session",
        "When Reused is returned the session is ended, in the feed of revocations, and its live token is worth nothing.",
        |store| Box::pin(reuse_ends_the_session(store)),
    ),
    Case::new(
        "store/rotate-racing-revoke",
        "Once revoke returned, no rotation that was under way changes the session any more.",
        |store| Box::pin(racing_revoke(store)),
    ),
    Case::new(
        "store/rotate-racing-purge",
        "Of a refresh and a purge at the old end, either the session is refreshed and stays, or it is gone.",
        |store| Box::pin(racing_purge(store)),
    ),
];

/// A session in the middle of its life: generation 5 is live since [`NOW`], and 4 is its parent.
fn midway(name: &str) -> Session {
    let mut row = session(name, "alice");
    let chain = &mut row.chain;
    chain.generation = 5;
    chain.live = digest(&row.id, 5);
    chain.parent = Some(Parent { digest: digest(&row.id, 4), generation: 4 });
    chain.rotated_at = NOW;
    chain.this_window = Window { oldest: 3, opened_at: NOW - SECOND * 5 };
    chain.last_window = Window { oldest: 2, opened_at: NOW - SECOND * 15 };
    chain.sealed = b"sealed 5".to_vec();
    row
}

async fn unknown_session_is_none(store: Sessions) -> Verdict {
    opened(&store, "known", "alice").await?;
    for unknown in ["", "unknown", "KNOWN", "known\u{0}"] {
        let attempt = attempt(&session(unknown, "alice"), 0, NOW + SECOND);
        same(unknown, &store.rotate(&attempt).await?, &None)?;
        same(unknown, &store.find(&id(unknown)).await?, &None)?;
    }
    Ok(())
}

/// What is presented, to which row, and what core must make of it.
struct Situation {
    what: &'static str,
    outcome: Outcome,
    row: fn(&mut Session),
    /// Which generation is presented.
    presents: u64,
    at: Timestamp,
    attempt: fn(&mut Attempt),
}

const fn situation(what: &'static str, outcome: Outcome, presents: u64, at: Timestamp) -> Situation {
    Situation { what, outcome, row: |_| {}, presents, at, attempt: |_| {} }
}

/// The default grace.
const GRACE: std::time::Duration = Policy::BALANCED.grace;

fn situations() -> Vec<Situation> {
    use Outcome::{
        Displaced, Ended, Expired, Foreign, Future, Held, Renumber, Replayed, Reused, Rotated, Superseded,
    };
    let soon = NOW + SECOND;
    let end_of_grace = NOW + GRACE;
    let late = end_of_grace + MILLISECOND;
    let hour = NOW + SECOND * 3600;
    vec![
        situation("the live token", Rotated, 5, soon),
        situation("the live token, long after", Rotated, 5, NOW + IDLE - MILLISECOND),
        Situation {
            row: |row| {
                let start = session(row.id.as_str(), "alice");
                row.chain = start.chain;
            },
            ..situation("the first token", Rotated, 0, soon)
        },
        situation("the live token within the present window", Rotated, 5, NOW + SECOND * 5),
        Situation {
            row: |row| row.chain.this_window.opened_at = NOW - GRACE,
            ..situation("the live token when the window is just over", Rotated, 5, NOW + MILLISECOND)
        },
        situation("the live token though the clock stepped back", Rotated, 5, NOW - SECOND * 60),
        Situation {
            row: |row| row.chain.replayed_at = Some(NOW),
            ..situation("the live token after the burst", Rotated, 5, late)
        },
        Situation {
            row: |row| {
                row.chain.replayed_at = Some(NOW);
                row.chain.live_used = true;
            },
            attempt: |attempt| attempt.policy = Policy::STRICT,
            ..situation("the live token without grace", Rotated, 5, soon)
        },
        Situation {
            row: |row| row.expires_at = NOW + SECOND * 3600,
            ..situation("a successor that would outlive the session", Rotated, 5, soon)
        },
        Situation {
            attempt: |attempt| attempt.successor.expires_at = NOW + SECOND * 60,
            ..situation("a successor that ends before its parent would have", Rotated, 5, soon)
        },
        Situation {
            attempt: |attempt| {
                attempt.successor.expires_at = Timestamp::from_millis(i64::MAX);
                attempt.client = Client::default();
            },
            ..situation("a client of which nothing is known", Rotated, 5, soon)
        },
        Situation {
            row: |row| row.client = Client::default(),
            attempt: |attempt| {
                attempt.client.ip = "2001:db8::7".parse().ok();
                attempt.client.user_agent = Some("'; DELETE FROM x; -- \u{202e}é".repeat(9));
                attempt.successor.sealed = (0..=255).rev().collect();
                attempt.successor.digest.0 = [0; 32];
            },
            ..situation("a client with odd words", Rotated, 5, soon)
        },
        Situation {
            attempt: |attempt| attempt.successor.sealed = Vec::new(),
            ..situation("a successor sealed as nothing", Rotated, 5, soon)
        },
        Situation {
            row: |row| row.chain.replayed_at = Some(NOW),
            ..situation("the live token during a burst", Held, 5, end_of_grace)
        },
        Situation {
            row: |row| {
                row.chain.replayed_at = Some(NOW);
                row.chain.live_used = true;
            },
            ..situation("the live token during a burst, again", Held, 5, soon)
        },
        situation("the parent at the end of the grace", Replayed, 4, end_of_grace),
        Situation {
            row: |row| row.chain.replayed_at = Some(NOW),
            ..situation("the parent again", Replayed, 4, soon)
        },
        Situation {
            attempt: |attempt| {
                attempt.policy.same_network = true;
                attempt.client = Client::default();
            },
            ..situation("the parent from a network that is not known", Replayed, 4, soon)
        },
        Situation {
            attempt: |attempt| attempt.policy.same_network = true,
            ..situation("the parent from another network", Reused, 4, soon)
        },
        situation("the parent after the grace", Reused, 4, late),
        Situation {
            attempt: |attempt| attempt.policy = Policy::STRICT,
            ..situation("the parent without grace", Reused, 4, soon)
        },
        Situation {
            attempt: |attempt| {
                attempt.policy = Policy::RESILIENT;
                attempt.successor.generation = 6;
                attempt.successor.digest = digest(&attempt.presented.session, 6);
            },
            ..situation("the parent of a lost successor", Displaced, 4, hour)
        },
        Situation {
            attempt: |attempt| attempt.policy = Policy::RESILIENT,
            ..situation("the parent of a lost successor, wrongly numbered", Renumber, 4, hour)
        },
        Situation {
            row: |row| row.chain.live_used = true,
            attempt: |attempt| attempt.policy = Policy::RESILIENT,
            ..situation("the parent of a successor that was used", Reused, 4, hour)
        },
        Situation {
            row: |row| {
                row.chain.parent = Some(Parent { digest: digest(&row.id, 3), generation: 3 });
            },
            ..situation("a successor that was displaced", Reused, 4, soon)
        },
        situation("a token of the present window", Superseded, 3, soon),
        situation("a token of the last window", Superseded, 2, NOW + SECOND * 5),
        situation("a token older than the windows", Reused, 1, soon),
        situation("a token of windows long past", Reused, 3, hour),
        situation("a token of a generation to come", Future, 6, soon),
        Situation {
            attempt: |attempt| attempt.presented.digest.0 = [7; 32],
            ..situation("another token of the live generation", Foreign, 5, soon)
        },
        Situation {
            attempt: |attempt| attempt.presented.digest.0 = [7; 32],
            ..situation("another token of the parent's generation", Foreign, 4, soon)
        },
        situation("the live token at its end", Expired, 5, NOW + IDLE),
        Situation {
            row: |row| row.expires_at = NOW + SECOND,
            ..situation("the live token at the absolute end", Expired, 5, soon)
        },
        situation("an older token after the end", Expired, 1, NOW + IDLE),
        Situation {
            row: |row| {
                row.ended = Some(End { at: NOW, reason: EndReason::Logout });
            },
            ..situation("the live token of a session that was ended", Ended, 5, soon)
        },
        Situation {
            row: |row| {
                row.ended = Some(End { at: NOW, reason: EndReason::Reuse });
            },
            ..situation("an old token of a session that was ended", Ended, 1, soon)
        },
    ]
}

async fn does_what_core_decides(store: Sessions) -> Verdict {
    for (number, situation) in situations().into_iter().enumerate() {
        let mut row = midway(&format!("situation-{number}"));
        (situation.row)(&mut row);
        // A session is ended by the store, as it would be, and not opened ended.
        let end = row.ended.take();
        open(&store, &row).await?;
        if let Some(end) = end {
            store.revoke(&row.id, None, end.reason, end.at).await?;
            row.ended = Some(end);
        }
        let mut attempt = attempt(&row, situation.presents, situation.at);
        (situation.attempt)(&mut attempt);
        let decided = advance(&mut row.clone(), &attempt);
        same(situation.what, &decided, &situation.outcome)?;
        rotate_as_decided(&store, &row, &attempt).await.map_err(|failure| about(situation.what, failure))?;
    }
    Ok(())
}

/// Says in which situation the failure came.
fn about(what: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Failed { expected, actual } => {
            Failure::Failed { expected: format!("{what}: {expected}"), actual }
        }
        Failure::Unsupported => Failure::Unsupported,
    }
}

async fn follows_core_for_long(store: Sessions) -> Verdict {
    let mut dice = Dice::new(7);
    let mut row = opened(&store, "walk-0", "alice").await?;
    let mut earlier = row.clone();
    let mut now = NOW;
    for step in 0..600 {
        let age = match dice.below(10) {
            0..5 => 0,
            5..8 => 1,
            8 => 2,
            _ => 3,
        };
        let presents = row.chain.generation.saturating_sub(age);
        now = match dice.below(8) {
            0 => now,
            1 => now + MILLISECOND,
            2 => now + GRACE,
            3 => now + GRACE + MILLISECOND,
            4 => now + GRACE * 2,
            5 => now - SECOND,
            6 => now + SECOND,
            _ => now + SECOND * 3600,
        };
        let mut attempt = attempt(&row, presents, now);
        // A number of its own for each attempt: two attempts never make the same token.
        attempt.successor.digest = digest(&row.id, step + 1_000_000);
        if presents == row.chain.generation {
            attempt.presented.digest = row.chain.live;
        } else if let Some(parent) = row.chain.parent
            && parent.generation == presents
        {
            attempt.presented.digest = parent.digest;
        }
        attempt.policy = match dice.below(6) {
            0 => Policy::STRICT,
            1 => Policy::RESILIENT,
            2 => Policy { same_network: true, ..Policy::BALANCED },
            _ => Policy::BALANCED,
        };
        if dice.below(2) == 0 {
            attempt.successor.generation = row.chain.generation + 1;
        }
        attempt.client.user_agent = Some(format!("step {step}"));
        // What the caller has seen is the row, or nothing, or is out of date.
        attempt.seen = match dice.below(4) {
            0 => None,
            1 => Some(earlier.clone()),
            _ => Some(row.clone()),
        };
        if dice.below(3) == 0 {
            earlier = row.clone();
        }
        let step_done = rotate_as_decided(&store, &row, &attempt).await;
        let (outcome, advanced) = step_done.map_err(|failure| about(&format!("step {step}"), failure))?;
        row = if matches!(outcome, Outcome::Reused | Outcome::Expired) {
            opened(&store, &format!("walk-{}", step + 1), "alice").await?
        } else {
            advanced
        };
    }
    Ok(())
}

async fn changes_one_session(store: Sessions) -> Verdict {
    let mut others = Vec::new();
    for (name, owner) in [("a", "alice"), ("b", "alice"), ("c", "bob")] {
        others.push(opened(&store, name, owner).await?);
    }
    let row = opened(&store, "one", "alice").await?;
    for generation in 0..3 {
        let attempt = attempt(&row, generation, NOW + SECOND * 60);
        let outcome = rotated(&store, &attempt).await?.outcome;
        same("the outcome", &outcome, &Outcome::Rotated)?;
    }
    rotated(&store, &attempt(&row, 0, NOW + SECOND * 3600)).await?;
    for other in &others {
        stored(&store, other).await?;
    }
    Ok(())
}

/// How many presentations of one token there are at once.
const CROWD: usize = 200;

/// Presents the first token many times at once, each time with a successor of its own.
async fn crowd(
    store: &Sessions,
    row: &Session,
    policy: Policy,
) -> Result<Vec<(Attempt, gatekey_core::store::Rotation)>, Failure> {
    let results = at_once(CROWD, |number| {
        let store = store.clone();
        let mut attempt = attempt(row, 0, NOW + SECOND);
        attempt.policy = policy;
        attempt.successor.digest = digest(&row.id, 1_000_000 + number as u64);
        attempt.successor.sealed = format!("sealed by {number}").into_bytes();
        attempt.seen = (number % 2 == 0).then(|| row.clone());
        async move { (rotated(&store, &attempt).await, attempt) }
    })
    .await?;
    results.into_iter().map(|(rotation, attempt)| Ok((attempt, rotation?))).collect()
}

fn count(results: &[(Attempt, gatekey_core::store::Rotation)], outcome: Outcome) -> usize {
    results.iter().filter(|(_, rotation)| rotation.outcome == outcome).count()
}

async fn concurrent_rotates_have_one_winner(store: Sessions) -> Verdict {
    let row = opened(&store, "crowd", "alice").await?;
    let results = crowd(&store, &row, Policy::BALANCED).await?;
    same("rotated", &count(&results, Outcome::Rotated), &1)?;
    same("replayed", &count(&results, Outcome::Replayed), &(CROWD - 1))?;

    let mut expected = row.clone();
    for (attempt, _) in results.iter().filter(|(_, rotation)| rotation.outcome == Outcome::Rotated) {
        advance(&mut expected, attempt);
    }
    for (_, rotation) in &results {
        // Every one is answered with the winner's token, however late it looked.
        same("live", &rotation.session.chain.live.0, &expected.chain.live.0)?;
        same("sealed", &rotation.session.chain.sealed, &expected.chain.sealed)?;
    }
    expected.chain.replayed_at = Some(NOW + SECOND);
    stored(&store, &expected).await
}

async fn concurrent_rotates_without_grace(store: Sessions) -> Verdict {
    let row = opened(&store, "crowd", "alice").await?;
    let results = crowd(&store, &row, Policy::STRICT).await?;
    same("rotated", &count(&results, Outcome::Rotated), &1)?;
    same("reused", &count(&results, Outcome::Reused), &1)?;
    same("ended", &count(&results, Outcome::Ended), &(CROWD - 2))?;
    ended(&store, &row.id, EndReason::Reuse, NOW + SECOND).await
}

async fn concurrent_chains_stay_apart(store: Sessions) -> Verdict {
    let mut rows = Vec::new();
    for number in 0..16 {
        rows.push(opened(&store, &format!("chain-{number}"), "alice").await?);
    }
    let walks = at_once(rows.len(), |number| {
        let (store, row) = (store.clone(), rows.get(number).cloned());
        async move {
            let Some(mut row) = row else { return Ok(()) };
            for generation in 0..20 {
                let attempt = attempt(&row, generation, NOW + SECOND * 60);
                (_, row) = rotate_as_decided(&store, &row, &attempt).await?;
            }
            same("the last generation", &row.chain.generation, &20)
        }
    })
    .await?;
    walks.into_iter().collect()
}

async fn reuse_ends_the_session(store: Sessions) -> Verdict {
    let mut row = midway("reused");
    open(&store, &row).await?;
    let at = NOW + SECOND * 60;
    let (outcome, reused) = rotate_as_decided(&store, &row, &attempt(&row, 1, at)).await?;
    same("the outcome", &outcome, &Outcome::Reused)?;
    row = reused;
    ended(&store, &row.id, EndReason::Reuse, at).await?;
    let revoked = store.revoked_since(at).await?;
    let revoked: Vec<_> = revoked.into_iter().map(|one| (one.session, one.at)).collect();
    same("the feed", &revoked, &vec![(row.id.clone(), at)])?;
    let listed = store.list(&subject("alice"), at).await?;
    same("live sessions", &listed.len(), &0)?;
    let (outcome, _) = rotate_as_decided(&store, &row, &attempt(&row, 5, at)).await?;
    same("the live token", &outcome, &Outcome::Ended)
}

async fn racing_revoke(store: Sessions) -> Verdict {
    for round in 0..50 {
        let row = opened(&store, &format!("race-{round}"), "alice").await?;
        let at = NOW + SECOND;
        // One task revokes, in the middle of others that refresh for as long as they can.
        let rows = at_once(9, |number| {
            let (store, row) = (store.clone(), row.clone());
            async move {
                if number == 4 {
                    tokio::task::yield_now().await;
                    let ended = store.revoke(&row.id, None, EndReason::Logout, at).await?;
                    holds("revoke ends a live session", ended)?;
                    return found(&store, &row.id).await.map(Some);
                }
                for generation in 0..8 {
                    rotated(&store, &attempt(&row, generation, at)).await?;
                }
                Ok::<_, Failure>(None)
            }
        })
        .await?;
        let after_all = found(&store, &row.id).await?;
        for at_return in rows {
            if let Some(at_return) = at_return? {
                same_row("the row when all had ended", &after_all, &at_return)?;
            }
        }
        ended(&store, &row.id, EndReason::Logout, at).await?;
        let generation = after_all.chain.generation;
        let again = rotated(&store, &attempt(&row, generation, at)).await?;
        same("a refresh after it", &again.outcome, &Outcome::Ended)?;
    }
    Ok(())
}

async fn racing_purge(store: Sessions) -> Verdict {
    for round in 0..50 {
        let row = opened(&store, &format!("race-{round}"), "alice").await?;
        let end = row.end();
        let results = at_once(2, |number| {
            let (store, row) = (store.clone(), row.clone());
            async move {
                if number == round % 2 {
                    store.purge_expired(end + MILLISECOND, 10).await?;
                    return Ok(None);
                }
                Ok::<_, Failure>(store.rotate(&attempt(&row, 0, end - MILLISECOND)).await?)
            }
        })
        .await?;
        let refreshed = results.into_iter().find_map(Result::transpose).transpose()?;
        match refreshed {
            Some(rotation) => {
                same("the outcome", &rotation.outcome, &Outcome::Rotated)?;
                stored(&store, &rotation.session).await?;
            }
            None => same("the session", &store.find(&row.id).await?, &None)?,
        }
    }
    Ok(())
}
