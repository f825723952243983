//! Listing sessions, and removing those that are over.

use std::time::Duration;

use gatekey_core::{
    rotation::Outcome,
    session::{EndReason, Session},
};

use super::{
    Case, Failure, Sessions, Verdict,
    fixture::{
        ABSOLUTE, IDLE, MILLISECOND, NOW, SECOND, attempt, found, id, open, opened, rotated, same_row,
        session, session_at, stored, subject,
    },
    holds, same,
};

pub(super) const CASES: &[Case<Sessions>] = &[
    Case::new(
        "store/list-is-newest-first",
        "The subject's sessions are listed whole, by when they were opened, the newest first.",
        |store| Box::pin(list_is_newest_first(store)),
    ),
    Case::new(
        "store/list-holds-live-sessions-alone",
        "A session is listed until it is ended, and until the moment before its idle and its absolute end.",
        |store| Box::pin(list_holds_live_sessions_alone(store)),
    ),
    Case::new(
        "store/purge-removes-what-is-over",
        "A session goes when its idle or its absolute end lies before the time, and not a moment earlier.",
        |store| Box::pin(purge_removes_what_is_over(store)),
    ),
    Case::new(
        "store/purge-keeps-evidence-of-reuse",
        "A session that reuse ended stays until its absolute end lies before the time.",
        |store| Box::pin(purge_keeps_evidence_of_reuse(store)),
    ),
    Case::new(
        "store/purge-keeps-ended-sessions-until-their-end",
        "A session that was ended stays until it would have ended anyway: other nodes still have to hear of it.",
        |store| Box::pin(purge_keeps_ended_sessions(store)),
    ),
    Case::new(
        "store/purge-follows-refreshes",
        "A refresh that moves the end, to later or to earlier, moves the time from which the session may be removed.",
        |store| Box::pin(purge_follows_refreshes(store)),
    ),
    Case::new(
        "store/purge-respects-its-limit",
        "A purge removes at most as many as it may, says how many, and less than that only when there are no more.",
        |store| Box::pin(purge_respects_its_limit(store)),
    ),
    Case::new(
        "store/purge-forgets-no-revoke-all",
        "A login that a revoke_all made stale is stale after a purge as well.",
        |store| Box::pin(purge_forgets_no_revoke_all(store)),
    ),
    Case::new(
        "store/debug-shows-nothing-it-holds",
        "The debug form of a store shows no subject, client or sealed token.",
        |store| Box::pin(debug_shows_nothing_it_holds(store)),
    ),
];

async fn list_is_newest_first(store: Sessions) -> Verdict {
    let mut rows = Vec::new();
    for (name, age) in [("second", 20), ("fourth", 40), ("first", 10), ("third", 30)] {
        let row = session_at(name, "alice", NOW - SECOND * age);
        open(&store, &row).await?;
        rows.push(row);
    }
    opened(&store, "other", "bob").await?;
    // Use does not change the order.
    for row in rows.iter_mut().filter(|row| row.id == id("fourth")) {
        *row = rotated(&store, &attempt(row, 0, NOW)).await?.session;
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.created_at));
    let listed = store.list(&subject("alice"), NOW).await?;
    let names: Vec<_> = listed.iter().map(|row| row.id.as_str()).collect();
    same("the list", &names, &vec!["first", "second", "third", "fourth"])?;
    for (listed, row) in listed.iter().zip(&rows) {
        same_row("a listed row", listed, row)?;
    }
    let nobody = store.list(&subject("nobody"), NOW).await?;
    same("the list of nobody", &nobody, &Vec::new())
}

async fn list_holds_live_sessions_alone(store: Sessions) -> Verdict {
    let at = NOW + SECOND;
    let mut idle = session("idle", "alice");
    idle.idle_expires_at = at;
    let mut absolute = session("absolute", "alice");
    absolute.expires_at = at;
    for row in [&idle, &absolute] {
        open(&store, row).await?;
    }
    opened(&store, "ended", "alice").await?;
    opened(&store, "live", "alice").await?;
    let (ended, reason) = (id("ended"), EndReason::Logout);
    for (now, expected) in [
        (at - MILLISECOND, vec!["absolute", "idle", "live"]),
        (at, vec!["live"]),
        (NOW + IDLE - MILLISECOND, vec!["live"]),
        (NOW + IDLE, vec![]),
    ] {
        store.revoke(&ended, None, reason, NOW).await?;
        let listed = store.list(&subject("alice"), now).await?;
        let mut names: Vec<_> = listed.iter().map(|row| row.id.as_str()).collect();
        names.sort_unstable();
        same("the list", &names, &expected)?;
    }
    Ok(())
}

/// Opens a session that ends `idle` and `absolute` after [`NOW`].
async fn ending(
    store: &Sessions,
    name: &str,
    idle: Duration,
    absolute: Duration,
) -> Result<Session, Failure> {
    let mut row = session(name, "alice");
    row.idle_expires_at = NOW + idle;
    row.expires_at = NOW + absolute;
    open(store, &row).await?;
    Ok(row)
}

async fn purge_removes_what_is_over(store: Sessions) -> Verdict {
    let idle = ending(&store, "idle", SECOND, SECOND * 9).await?;
    let absolute = ending(&store, "absolute", SECOND * 9, SECOND).await?;
    let live = ending(&store, "live", SECOND * 9, SECOND * 9).await?;
    let at = NOW + SECOND;
    same("removed at the end", &store.purge_expired(at, 10).await?, &0)?;
    for row in [&idle, &absolute, &live] {
        stored(&store, row).await?;
    }
    let removed = store.purge_expired(at + MILLISECOND, 10).await?;
    same("removed after the end", &removed, &2)?;
    for row in [&idle, &absolute] {
        same("a removed session", &store.find(&row.id).await?, &None)?;
        let attempt = attempt(row, 0, NOW);
        same("its rotation", &store.rotate(&attempt).await?, &None)?;
        let done = store.revoke(&row.id, None, EndReason::Logout, NOW).await?;
        holds("there is nothing to end", !done)?;
    }
    stored(&store, &live).await?;
    let listed = store.list(&live.subject, NOW).await?;
    same("the list", &listed, &vec![live])
}

async fn purge_keeps_evidence_of_reuse(store: Sessions) -> Verdict {
    let row = ending(&store, "reused", SECOND * 60, SECOND * 200).await?;
    // The successor idles out before the session would have ended: the evidence outlives that.
    let mut second = attempt(&row, 0, NOW);
    second.successor.expires_at = NOW + SECOND * 60;
    rotated(&store, &second).await?;
    let reused = rotated(&store, &attempt(&row, 0, NOW + SECOND * 30)).await?;
    same("the outcome", &reused.outcome, &Outcome::Reused)?;
    for at in [NOW + SECOND * 61, NOW + SECOND * 200] {
        same("removed", &store.purge_expired(at, 10).await?, &0)?;
        stored(&store, &reused.session).await?;
    }
    let at = NOW + SECOND * 200 + MILLISECOND;
    same("removed", &store.purge_expired(at, 10).await?, &1)
}

async fn purge_keeps_ended_sessions(store: Sessions) -> Verdict {
    let row = ending(&store, "ended", SECOND * 60, SECOND * 90).await?;
    let at = NOW + SECOND;
    store.revoke(&row.id, None, EndReason::Logout, at).await?;
    let removed = store.purge_expired(NOW + SECOND * 60, 10).await?;
    same("removed before its end", &removed, &0)?;
    let named = store.revoked_since(at).await?;
    same("the feed", &named.len(), &1)?;
    let removed = store.purge_expired(NOW + SECOND * 60 + MILLISECOND, 10).await?;
    same("removed after its end", &removed, &1)
}

async fn purge_follows_refreshes(store: Sessions) -> Verdict {
    let longer = ending(&store, "longer", SECOND * 60, ABSOLUTE).await?;
    let shorter = ending(&store, "shorter", SECOND * 60, ABSOLUTE).await?;
    let at = NOW + SECOND;
    for (row, end) in [(&longer, SECOND * 90), (&shorter, SECOND * 30)] {
        let mut attempt = attempt(row, 0, at);
        attempt.successor.expires_at = NOW + end;
        rotated(&store, &attempt).await?;
    }
    for (before, removed) in [(30, 0), (31, 1), (61, 0), (90, 0), (91, 1)] {
        let before = NOW + SECOND * before;
        same(&format!("removed before {before}"), &store.purge_expired(before, 10).await?, &removed)?;
    }
    Ok(())
}

async fn purge_respects_its_limit(store: Sessions) -> Verdict {
    for number in 0..25 {
        ending(&store, &format!("over-{number}"), SECOND, SECOND).await?;
        // Sessions that look over by when they were opened, and were refreshed since.
        let live = ending(&store, &format!("live-{number}"), SECOND, ABSOLUTE).await?;
        rotated(&store, &attempt(&live, 0, NOW)).await?;
    }
    let before = NOW + SECOND * 2;
    for expected in [0, 10, 10, 5, 0] {
        let limit = if expected == 0 { 0 } else { 10 };
        let removed = store.purge_expired(before, limit).await?;
        same("removed", &removed, &expected)?;
    }
    same("removed at last", &store.purge_expired(before, usize::MAX).await?, &0)?;
    let listed = store.list(&subject("alice"), before).await?;
    same("live sessions", &listed.len(), &25)
}

async fn purge_forgets_no_revoke_all(store: Sessions) -> Verdict {
    let alice = subject("alice");
    let over = opened(&store, "over", "alice").await?;
    let reason = EndReason::PasswordChange;
    store.revoke_all(&alice, None, reason, NOW).await?;
    let removed = store.purge_expired(NOW + ABSOLUTE * 2, 10).await?;
    same("removed", &removed, &1)?;
    same("the removed", &store.find(&over.id).await?, &None)?;
    let inserted = store.insert(&session("late", "alice"), 10).await?;
    same("a login", &inserted, &gatekey_core::store::Inserted::Stale)
}

async fn debug_shows_nothing_it_holds(store: Sessions) -> Verdict {
    let row = opened(&store, "session-in-debug", "subject-in-debug").await?;
    let mut attempt = attempt(&row, 0, NOW);
    attempt.successor.sealed = b"sealed-in-debug".to_vec();
    rotated(&store, &attempt).await?;
    found(&store, &row.id).await?;
    let shown = format!("{store:?} {store:#?}");
    let sealed = format!("{:?}", attempt.successor.sealed);
    for secret in ["in-debug", "login/1.0", "192.0.2.1", sealed.as_str()] {
        holds("nothing of it is shown", !shown.contains(secret))?;
    }
    Ok(())
}
