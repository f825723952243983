//! Ending sessions.

use std::time::Duration;

use gatekey_core::{
    rotation::Outcome,
    session::{EndReason, Session},
    store::{Revocation, Subscription},
    time::Timestamp,
};

use super::{
    Case, Failure, Sessions, Verdict, failed,
    fixture::{
        IDLE, MANY, MILLISECOND, NOW, SECOND, at_once, attempt, ended, found, id, opened, rotated,
        session_at, sorted, stored, subject,
    },
    holds, same,
};

pub(super) const CASES: &[Case<Sessions>] = &[
    Case::new(
        "store/revoke-ends-for-every-reason",
        "A revoked session is ended at that time for that reason, and changed in nothing else.",
        |store| Box::pin(ends_for_every_reason(store)),
    ),
    Case::new(
        "store/revoke-ends-once",
        "A session that is ended is not ended again: the first time and reason stay.",
        |store| Box::pin(ends_once(store)),
    ),
    Case::new(
        "store/revoke-asks-the-owner",
        "Where an owner is given, the session of another subject stays as it is, as if it were not there.",
        |store| Box::pin(asks_the_owner(store)),
    ),
    Case::new(
        "store/revoke-unknown-is-false",
        "There is nothing to end in a session that is not there.",
        |store| Box::pin(unknown_is_false(store)),
    ),
    Case::new(
        "store/revoke-an-expired-session",
        "A session that expired and was never ended can still be ended, which kills its last access token.",
        |store| Box::pin(an_expired_session(store)),
    ),
    Case::new(
        "store/concurrent-revokes-end-once",
        "Of revokes of one session at once, exactly one says that it ended it.",
        |store| Box::pin(concurrent_revokes_end_once(store)),
    ),
    Case::new(
        "store/revoke-all-ends-the-subjects-sessions",
        "All sessions of the subject but the kept one are ended and named, those of others and ended ones are not.",
        |store| Box::pin(all_ends_the_subjects_sessions(store)),
    ),
    Case::new(
        "store/revoke-all-keeps-what-it-was-told-to",
        "The kept session goes on; a session of another subject or an unknown one keeps nothing.",
        |store| Box::pin(all_keeps_what_it_was_told_to(store)),
    ),
    Case::new(
        "store/revoked-since-names-every-end",
        "The feed names each session that was ended at or after the time, however it was, and no other.",
        |store| Box::pin(since_names_every_end(store)),
    ),
    Case::new(
        "store/revoked-since-repeats",
        "Asked again with the same time, the feed names the same sessions again.",
        |store| Box::pin(since_repeats(store)),
    ),
    Case::new(
        "store/subscribe-tells-of-every-end",
        "Whoever subscribed hears of each session that is ended, with its time, and of nothing else.",
        |store| Box::pin(subscribe_tells_of_every_end(store)),
    ),
    Case::new(
        "store/subscribe-again",
        "A subscription that was dropped takes nothing from one that follows, nor from another beside it.",
        |store| Box::pin(subscribe_again(store)),
    ),
];

async fn ends_for_every_reason(store: Sessions) -> Verdict {
    for reason in EndReason::ALL {
        let row = opened(&store, reason.name(), "alice").await?;
        let at = NOW + SECOND;
        holds("it was ended", store.revoke(&row.id, None, reason, at).await?)?;
        ended(&store, &row.id, reason, at).await?;
        let mut expected = row;
        expected.ended = found(&store, &expected.id).await?.ended;
        stored(&store, &expected).await?;
        let refused = rotated(&store, &attempt(&expected, 0, at)).await?;
        same("its live token", &refused.outcome, &Outcome::Ended)?;
    }
    Ok(())
}

async fn ends_once(store: Sessions) -> Verdict {
    let row = opened(&store, "one", "alice").await?;
    let (logout, all) = (EndReason::Logout, EndReason::PasswordChange);
    holds("the first", store.revoke(&row.id, None, logout, NOW).await?)?;
    let again = store.revoke(&row.id, None, all, NOW + SECOND).await?;
    holds("the second ends nothing", !again)?;
    let at = NOW + SECOND * 2;
    let ids = store.revoke_all(&row.subject, None, all, at).await?;
    same("all that are not ended", &ids, &Vec::new())?;
    ended(&store, &row.id, logout, NOW).await
}

async fn asks_the_owner(store: Sessions) -> Verdict {
    let row = opened(&store, "one", "alice").await?;
    let reason = EndReason::Revoked;
    for other in ["bob", "", "Alice", "alice ", "%"] {
        let other = subject(other);
        let done = store.revoke(&row.id, Some(&other), reason, NOW).await?;
        holds("another subject ends nothing", !done)?;
    }
    stored(&store, &row).await?;
    let done = store.revoke(&row.id, Some(&row.subject), reason, NOW).await?;
    holds("the owner ends it", done)
}

async fn unknown_is_false(store: Sessions) -> Verdict {
    let row = opened(&store, "one", "alice").await?;
    for unknown in ["", "two", "ONE", "one\u{0}", "*", "%"] {
        let reason = EndReason::Revoked;
        let done = store.revoke(&id(unknown), None, reason, NOW).await?;
        holds("an unknown session is not ended", !done)?;
        let done = store.revoke(&id(unknown), Some(&row.subject), reason, NOW).await?;
        holds("an unknown session of the owner's is not ended", !done)?;
    }
    stored(&store, &row).await
}

async fn an_expired_session(store: Sessions) -> Verdict {
    let one = opened(&store, "one", "alice").await?;
    let two = opened(&store, "two", "alice").await?;
    let (reason, late) = (EndReason::Revoked, NOW + IDLE * 2);
    holds("it was ended", store.revoke(&one.id, None, reason, late).await?)?;
    ended(&store, &one.id, reason, late).await?;
    let ids = store.revoke_all(&two.subject, None, reason, late).await?;
    same("all that are not ended", &ids, &vec![two.id])
}

async fn concurrent_revokes_end_once(store: Sessions) -> Verdict {
    let row = opened(&store, "one", "alice").await?;
    let done = at_once(50, |number| {
        let (store, row) = (store.clone(), row.clone());
        async move {
            let (reason, owner) = (EndReason::Logout, Some(&row.subject));
            if number % 5 == 0 {
                let ids = store.revoke_all(&row.subject, None, reason, NOW).await?;
                return Ok(ids.contains(&row.id));
            }
            Ok::<_, Failure>(store.revoke(&row.id, owner, reason, NOW).await?)
        }
    })
    .await?;
    let done: Vec<bool> = done.into_iter().collect::<Result<_, _>>()?;
    let times = done.iter().filter(|done| **done).count();
    same("calls that ended it", &times, &1)
}

async fn all_ends_the_subjects_sessions(store: Sessions) -> Verdict {
    for name in ["a", "b", "c", "gone"] {
        opened(&store, name, "alice").await?;
    }
    let other = opened(&store, "other", "bob").await?;
    store.revoke(&id("gone"), None, EndReason::Logout, NOW).await?;
    let (alice, at, reason) = (subject("alice"), NOW + SECOND, EndReason::PasswordChange);
    let ids = store.revoke_all(&alice, Some(&id("b")), reason, at).await?;
    same("the ended", &sorted(ids), &vec![id("a"), id("c")])?;
    for name in ["a", "c"] {
        ended(&store, &id(name), reason, at).await?;
    }
    ended(&store, &id("gone"), EndReason::Logout, NOW).await?;
    same("the kept one", &found(&store, &id("b")).await?.ended, &None)?;
    stored(&store, &other).await?;
    let ids = store.revoke_all(&subject("nobody"), None, reason, at).await?;
    same("the ended of nobody", &ids, &Vec::new())
}

async fn all_keeps_what_it_was_told_to(store: Sessions) -> Verdict {
    let kept = opened(&store, "kept", "alice").await?;
    let bobs = opened(&store, "bobs", "bob").await?;
    let (reason, at) = (EndReason::Revoked, NOW + SECOND);
    let ids = store.revoke_all(&kept.subject, Some(&kept.id), reason, at).await?;
    same("the ended", &ids, &Vec::new())?;
    let outcome = rotated(&store, &attempt(&kept, 0, at)).await?.outcome;
    same("a refresh of the kept one", &outcome, &Outcome::Rotated)?;
    for keep in [&bobs.id, &id("unknown")] {
        let carol = opened(&store, keep.as_str().repeat(2).as_str(), "carol").await?;
        let ids = store.revoke_all(&carol.subject, Some(keep), reason, NOW - SECOND).await?;
        same("the ended", &ids, &vec![carol.id])?;
    }
    stored(&store, &bobs).await
}

fn feed(revocations: Vec<Revocation>) -> Vec<(String, Timestamp)> {
    let mut feed: Vec<_> =
        revocations.into_iter().map(|one| (one.session.as_str().to_owned(), one.at)).collect();
    feed.sort();
    feed.dedup();
    feed
}

async fn since_names_every_end(store: Sessions) -> Verdict {
    let at = NOW + SECOND;
    same("the empty feed", &store.revoked_since(NOW).await?, &Vec::new())?;
    for name in ["live", "early", "at", "late", "reused"] {
        opened(&store, name, name).await?;
    }
    let mut over = session_at("over", "over", NOW - IDLE * 2);
    over.idle_expires_at = NOW - IDLE;
    store.insert(&over, MANY).await?;

    let reason = EndReason::Revoked;
    for (name, at) in [("early", at - MILLISECOND), ("at", at), ("late", at + MILLISECOND)] {
        store.revoke(&id(name), None, reason, at).await?;
    }
    let reused = found(&store, &id("reused")).await?;
    for generation in [0, 1] {
        rotated(&store, &attempt(&reused, generation, NOW)).await?;
    }
    rotated(&store, &attempt(&reused, 0, at + SECOND * 60)).await?;
    for name in ["all-1", "all-2"] {
        opened(&store, name, "all").await?;
    }
    store.revoke_all(&subject("all"), None, reason, at).await?;
    opened(&store, "evicted", "evict").await?;
    store.insert(&session_at("new", "evict", at), 1).await?;

    let mut expected = vec![
        ("at".to_owned(), at),
        ("late".to_owned(), at + MILLISECOND),
        ("reused".to_owned(), at + SECOND * 60),
        ("all-1".to_owned(), at),
        ("all-2".to_owned(), at),
        ("evicted".to_owned(), at),
    ];
    expected.sort();
    same("the feed", &feed(store.revoked_since(at).await?), &expected)?;
    expected.push(("early".to_owned(), at - MILLISECOND));
    expected.sort();
    let whole = store.revoked_since(Timestamp::from_millis(i64::MIN)).await?;
    same("the whole feed", &feed(whole), &expected)?;
    let end = store.revoked_since(Timestamp::from_millis(i64::MAX)).await?;
    same("the feed at its end", &end, &Vec::new())
}

async fn since_repeats(store: Sessions) -> Verdict {
    let mut expected = Vec::new();
    for number in 0..20 {
        let row: Session = opened(&store, &format!("s{number}"), "alice").await?;
        let at = NOW + SECOND * number;
        store.revoke(&row.id, None, EndReason::Logout, at).await?;
        expected.push((row.id.as_str().to_owned(), at));
        expected.sort();
        for _ in 0..2 {
            let named = store.revoked_since(NOW).await?;
            same("the feed", &feed(named), &expected)?;
        }
    }
    Ok(())
}

/// The contract wants a node to hear within a second; what is slower on a busy machine is not wrong for that.
const PATIENCE: Duration = Duration::from_secs(20);

async fn subscribed(store: &Sessions) -> Result<Subscription, Failure> {
    // A store that has to be asked breaks no promise.
    store.subscribe().await?.ok_or(Failure::Unsupported)
}

/// What is heard until that many sessions were named, in their order.
async fn heard(subscription: &mut Subscription, count: usize) -> Result<Vec<(String, Timestamp)>, Failure> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let next = tokio::time::timeout(PATIENCE, subscription.next()).await;
        let next =
            next.map_err(|_| failed(format_args!("{count} revocations"), format_args!("{heard:?}")))?;
        heard.push(next.ok_or_else(|| failed("a subscription that goes on", "its end"))?);
    }
    Ok(feed(heard))
}

async fn subscribe_tells_of_every_end(store: Sessions) -> Verdict {
    let before = opened(&store, "before", "before").await?;
    store.revoke(&before.id, None, EndReason::Logout, NOW).await?;
    let mut subscription = subscribed(&store).await?;
    for (name, owner) in [("live", "live"), ("one", "one"), ("reused", "reused"), ("old", "evict")] {
        opened(&store, name, owner).await?;
    }
    for name in ["all-1", "all-2", "kept"] {
        opened(&store, name, "all").await?;
    }
    let (at, reason) = (NOW + SECOND, EndReason::Revoked);
    // What ends nothing is not told.
    store.revoke(&id("one"), Some(&subject("live")), reason, NOW).await?;
    store.revoke(&before.id, None, reason, at).await?;
    rotated(&store, &attempt(&found(&store, &id("live")).await?, 0, at)).await?;
    store.revoke(&id("one"), None, reason, at).await?;
    store.revoke_all(&subject("all"), Some(&id("kept")), reason, at).await?;
    store.insert(&session_at("new", "evict", at), 1).await?;
    let reused = found(&store, &id("reused")).await?;
    rotated(&store, &attempt(&reused, 0, NOW)).await?;
    rotated(&store, &attempt(&reused, 0, at + SECOND * 60)).await?;
    let mut expected: Vec<_> = ["one", "all-1", "all-2", "old"].map(|name| (name.to_owned(), at)).into();
    expected.push(("reused".to_owned(), at + SECOND * 60));
    expected.sort();
    same("what was heard", &heard(&mut subscription, expected.len()).await?, &expected)?;
    // Had anything been told twice or too much, it would stand before this.
    let last = opened(&store, "last", "last").await?;
    store.revoke(&last.id, None, reason, at).await?;
    same("what was heard last", &heard(&mut subscription, 1).await?, &vec![("last".to_owned(), at)])
}

async fn subscribe_again(store: Sessions) -> Verdict {
    drop(subscribed(&store).await?);
    let mut one = subscribed(&store).await?;
    let mut two = subscribed(&store).await?;
    drop(subscribed(&store).await?);
    for number in 0..3 {
        let name = format!("s{number}");
        let row = opened(&store, &name, "alice").await?;
        store.revoke(&row.id, None, EndReason::Logout, NOW).await?;
        for subscription in [&mut one, &mut two] {
            same("what each hears", &heard(subscription, 1).await?, &vec![(name.clone(), NOW)])?;
        }
    }
    Ok(())
}
