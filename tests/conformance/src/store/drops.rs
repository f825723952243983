//! Calls whose future is dropped half-way, as a server does when its client hangs up.

use std::{future::poll_fn, pin::pin, task::Poll};

use gatekey_core::{
    rotation::{Outcome, advance},
    session::{End, EndReason, Session},
};

use super::{
    Case, Sessions, Verdict, failed,
    fixture::{
        ABSOLUTE, IDLE, MANY, NOW, SECOND, attempt, found, id, opened, rotated, session, stored, subject,
    },
    same,
};

pub(super) const CASES: &[Case<Sessions>] = &[
    Case::new(
        "store/dropped-insert-is-whole-or-not",
        "An insert whose future is dropped has opened the session and evicted for it, or done neither.",
        |store| Box::pin(insert_is_whole_or_not(store)),
    ),
    Case::new(
        "store/dropped-rotate-is-whole-or-not",
        "A rotate whose future is dropped has swapped the token, or changed nothing; the next is judged accordingly.",
        |store| Box::pin(rotate_is_whole_or_not(store)),
    ),
    Case::new(
        "store/dropped-revoke-all-is-whole-or-not",
        "A revoke_all whose future is dropped has ended every session and marked the time, or done nothing.",
        |store| Box::pin(revoke_all_is_whole_or_not(store)),
    ),
    Case::new(
        "store/dropped-calls-leave-the-store-usable",
        "After hundreds of dropped calls of every kind, the store still answers, and its rows are whole.",
        |store| Box::pin(calls_leave_the_store_usable(store)),
    ),
];

/// Polls a future up to `polls` times and drops it.
async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await {
            return;
        }
        // Lets whatever works for the store go on in between.
        tokio::task::yield_now().await;
    }
}

/// How many times a future is polled before it is dropped.
const POLLS: [usize; 4] = [0, 1, 2, 5];

async fn insert_is_whole_or_not(store: Sessions) -> Verdict {
    for polls in POLLS {
        let owner = format!("alice-{polls}");
        let old = opened(&store, &format!("old-{polls}"), &owner).await?;
        let mut new = session(&format!("new-{polls}"), &owner);
        new.last_used_at = NOW + SECOND;
        dropped_after(polls, store.insert(&new, 1)).await;
        let evicted = Session { ended: Some(End { at: NOW, reason: EndReason::Evicted }), ..old.clone() };
        // Written after it: a store that works in order has done it by now, or never will.
        opened(&store, &format!("after-{polls}"), "bob").await?;
        // One call that sees both, since the dropped one may still take place between two.
        match store.list(&subject(&owner), NOW).await?.as_slice() {
            [row] if *row == old => {}
            [row] if *row == new => stored(&store, &evicted).await?,
            rows => return Err(failed("the old session or the new one", format_args!("{rows:?}"))),
        }
    }
    Ok(())
}

async fn rotate_is_whole_or_not(store: Sessions) -> Verdict {
    for polls in POLLS {
        let row = opened(&store, &format!("row-{polls}"), "alice").await?;
        let dropped = attempt(&row, 0, NOW);
        let mut swapped = row.clone();
        advance(&mut swapped, &dropped);
        dropped_after(polls, store.rotate(&dropped)).await;
        let now = found(&store, &row.id).await?;
        if now != row {
            super::fixture::same_row("the row", &now, &swapped)?;
        }
        // The client that hung up comes again, with the same token and another successor.
        let mut again = attempt(&row, 0, NOW + SECOND);
        again.successor.sealed = b"again".to_vec();
        let answered = rotated(&store, &again).await?;
        let expected = if answered.outcome == Outcome::Rotated { &mut row.clone() } else { &mut swapped };
        same("the outcome", &answered.outcome, &advance(expected, &again))?;
        super::fixture::same_row("the row", &answered.session, expected)?;
    }
    Ok(())
}

async fn revoke_all_is_whole_or_not(store: Sessions) -> Verdict {
    for polls in POLLS {
        let owner = format!("alice-{polls}");
        for number in 0..3 {
            opened(&store, &format!("row-{polls}-{number}"), &owner).await?;
        }
        let (alice, reason) = (subject(&owner), EndReason::PasswordChange);
        dropped_after(polls, store.revoke_all(&alice, None, reason, NOW)).await;
        opened(&store, &format!("after-{polls}"), "bob").await?;
        let live = store.list(&alice, NOW).await?.len();
        if live != 0 {
            same("the live sessions of a revoke_all that was not", &live, &3)?;
            continue;
        }
        let late = session(&format!("late-{polls}"), &owner);
        let inserted = store.insert(&late, MANY).await?;
        let stale = gatekey_core::store::Inserted::Stale;
        same("a login under way", &inserted, &stale)?;
    }
    Ok(())
}

async fn calls_leave_the_store_usable(store: Sessions) -> Verdict {
    let row = opened(&store, "row", "alice").await?;
    let bob = subject("bob");
    for number in 0..200 {
        let polls = number % 3;
        let other = session(&format!("other-{number}"), "bob");
        dropped_after(polls, store.insert(&other, 3)).await;
        dropped_after(polls, store.rotate(&attempt(&other, 0, NOW))).await;
        dropped_after(polls, store.find(&other.id)).await;
        dropped_after(polls, store.list(&bob, NOW)).await;
        dropped_after(polls, store.revoked_since(NOW)).await;
        let reason = EndReason::Revoked;
        dropped_after(polls, store.revoke(&other.id, None, reason, NOW)).await;
        dropped_after(polls, store.revoke_all(&bob, None, reason, NOW - IDLE)).await;
        dropped_after(polls, store.purge_expired(NOW - ABSOLUTE, 10)).await;
        // What a caller who stays asks is answered.
        stored(&store, &row).await?;
    }
    let outcome = rotated(&store, &attempt(&row, 0, NOW)).await?.outcome;
    same("the outcome", &outcome, &Outcome::Rotated)?;
    let live = store.list(&bob, NOW).await?;
    super::holds("no more live sessions than allowed", live.len() <= 3)?;
    same("a session that never was", &store.find(&id("none")).await?, &None)
}
