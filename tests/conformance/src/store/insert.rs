//! Opening sessions.

use gatekey_core::{
    session::{Client, EndReason, Parent, Session, Window},
    store::Inserted,
    time::Timestamp,
};

use super::{
    Case, Sessions, Verdict,
    fixture::{
        ABSOLUTE, IDLE, MANY, MILLISECOND, NOW, SECOND, at_once, attempt, digest, ended, found, id, open,
        opened, rotated, session, session_at, sorted, stored, subject,
    },
    holds, same,
};

pub(super) const CASES: &[Case<Sessions>] = &[
    Case::new(
        "store/row-is-kept-exactly",
        "Every member of a session is read back as it was written, whatever characters and times it holds.",
        |store| Box::pin(row_is_kept_exactly(store)),
    ),
    Case::new("store/unknown-session-is-none", "A session that was never opened is not found.", |store| {
        Box::pin(unknown_session_is_none(store))
    }),
    Case::new(
        "store/session-id-is-exact",
        "Identifiers of sessions and subjects are compared byte for byte, and mean nothing to the store.",
        |store| Box::pin(session_id_is_exact(store)),
    ),
    Case::new(
        "store/insert-never-overwrites",
        "A session whose id exists is refused, and the row that is there stays as it is.",
        |store| Box::pin(insert_never_overwrites(store)),
    ),
    Case::new(
        "store/insert-after-revoke-all-is-stale",
        "A session whose auth_time is not after the subject's last revoke_all is not written and evicts nothing.",
        |store| Box::pin(insert_after_revoke_all_is_stale(store)),
    ),
    Case::new(
        "store/revoke-all-mark-never-goes-back",
        "A revoke_all with an earlier time does not let in a login that a later one refused.",
        |store| Box::pin(revoke_all_mark_never_goes_back(store)),
    ),
    Case::new(
        "store/revoke-all-mark-is-the-subjects-own",
        "A revoke_all of one subject refuses no login of another.",
        |store| Box::pin(revoke_all_mark_is_the_subjects_own(store)),
    ),
    Case::new(
        "store/insert-racing-revoke-all",
        "Of a login and a revoke_all at its time, in any order, no live session is left.",
        |store| Box::pin(insert_racing_revoke_all(store)),
    ),
    Case::new(
        "store/insert-evicts-least-recently-used",
        "Where a subject has more live sessions than it may, the least recently used are ended, and no others.",
        |store| Box::pin(insert_evicts_least_recently_used(store)),
    ),
    Case::new(
        "store/insert-counts-live-sessions-alone",
        "Sessions that ended or expired take no place of the subject's.",
        |store| Box::pin(insert_counts_live_sessions_alone(store)),
    ),
    Case::new(
        "store/insert-never-evicts-itself",
        "The session that is opened is never the one that is ended to make room, even where the clock stepped back.",
        |store| Box::pin(insert_never_evicts_itself(store)),
    ),
    Case::new(
        "store/concurrent-inserts-keep-the-limit",
        "Of sessions of one subject opened at once, as many as it may have are live afterwards.",
        |store| Box::pin(concurrent_inserts_keep_the_limit(store)),
    ),
];

/// Rows that are hard to keep: each differs from a plain one in members that stores get wrong.
fn hard_rows() -> Vec<Session> {
    let mut rows = Vec::new();
    let mut add = |change: &dyn Fn(&mut Session)| {
        let mut row = session(&format!("hard-{}", rows.len()), "hard");
        change(&mut row);
        rows.push(row);
    };
    add(&|_| {});
    add(&|row| row.scope = None);
    add(&|row| row.scope = Some(String::new()));
    for text in [
        "'; DROP TABLE gatekey_session; --",
        "\"quoted\" `back` \\slash\\ %s %n {0} ${x} :name ?1 $1 @a",
        "tab\tnew\nline\r\n",
        "NULL",
        "0123",
        "1e9",
        " spaces at both ends ",
        "é e\u{301} ß İ ı ﬁ 日本語 👩\u{200d}🚀 \u{202e}reversed \u{feff}",
        "\u{10ffff}\u{fffd}",
    ] {
        add(&|row| {
            row.scope = Some(text.to_owned());
            row.client.user_agent = Some(text.to_owned());
        });
    }
    add(&|row| row.client.user_agent = Some("𝕌".repeat(256)));
    add(&|row| row.scope = Some("s".repeat(4096)));
    for ip in
        ["0.0.0.0", "255.255.255.255", "::", "::1", "2001:db8:1:2:3:4:5:6", "::ffff:192.0.2.9", "fe80::1"]
    {
        add(&|row| row.client.ip = ip.parse().ok());
    }
    add(&|row| row.client = Client::default());
    // The ends of the range, and numbers that a float does not hold.
    for millis in [i64::MIN, i64::MIN + 1, -1, 0, 1, (1 << 53) + 1, i64::MAX - 1] {
        let at = Timestamp::from_millis(millis);
        add(&|row| {
            row.auth_time = at;
            row.created_at = at;
            row.last_used_at = at;
            row.chain.rotated_at = at;
            row.chain.replayed_at = Some(at);
            row.chain.this_window.opened_at = at;
            row.chain.last_window.opened_at = at;
            row.idle_expires_at = at + MILLISECOND;
            row.expires_at = Timestamp::from_millis(i64::MAX);
        });
    }
    for number in [1, (1 << 53) + 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        add(&|row| {
            row.chain.generation = number;
            row.chain.parent = Some(Parent { digest: digest(&row.id, number), generation: number - 1 });
            row.chain.this_window.oldest = number;
            row.chain.last_window = Window { oldest: number - 1, opened_at: NOW };
        });
    }
    add(&|row| row.chain.live_used = true);
    add(&|row| row.chain.sealed = (0..=255).collect());
    add(&|row| row.chain.sealed = vec![0; 4096]);
    for byte in [0, 0x27, 0x80, 0xff] {
        add(&|row| row.chain.live.0 = [byte; 32]);
    }
    rows
}

async fn row_is_kept_exactly(store: Sessions) -> Verdict {
    let rows = hard_rows();
    for row in &rows {
        open(&store, row).await?;
        stored(&store, row).await?;
    }
    for row in &rows {
        stored(&store, row).await?;
    }
    Ok(())
}

async fn unknown_session_is_none(store: Sessions) -> Verdict {
    opened(&store, "known", "alice").await?;
    for unknown in ["", "unknown", "KNOWN", "known ", "known\u{0}", "knowń", "%", "know_"] {
        same(unknown, &store.find(&id(unknown)).await?, &None)?;
    }
    Ok(())
}

async fn session_id_is_exact(store: Sessions) -> Verdict {
    let names = ["a", "A", "a ", " a", "a:b", "{a}", "a*", "'a'", "é", "e\u{301}", "01", "1"];
    for name in names {
        open(&store, &session(name, name)).await?;
    }
    for name in names {
        stored(&store, &session(name, name)).await?;
        let listed = store.list(&subject(name), NOW).await?;
        let listed: Vec<_> = listed.into_iter().map(|row| row.id).collect();
        same("the sessions of a subject", &listed, &vec![id(name)])?;
    }
    Ok(())
}

async fn insert_never_overwrites(store: Sessions) -> Verdict {
    let first = opened(&store, "one", "alice").await?;
    let mut second = session_at("one", "mallory", NOW + SECOND);
    second.chain.live = digest(&id("other"), 9);
    let refused = store.insert(&second, MANY).await;
    holds("an error for an id that exists", refused.is_err())?;
    stored(&store, &first).await?;
    let listed = store.list(&subject("mallory"), NOW).await?;
    same("mallory's sessions", &listed, &Vec::new())
}

async fn insert_after_revoke_all_is_stale(store: Sessions) -> Verdict {
    let old = opened(&store, "old", "alice").await?;
    let at = NOW + SECOND;
    let alice = subject("alice");
    store.revoke_all(&alice, Some(&old.id), EndReason::PasswordChange, at).await?;
    for (name, auth_time) in [("before", at - MILLISECOND), ("at", at)] {
        let mut late = session_at(name, "alice", at + SECOND);
        late.auth_time = auth_time;
        // There is room for one, which "old" has: a login that is refused must not take it.
        same(name, &store.insert(&late, 1).await?, &Inserted::Stale)?;
        same(name, &store.find(&late.id).await?, &None)?;
    }
    stored(&store, &old).await?;
    let mut after = session_at("after", "alice", at + SECOND);
    after.auth_time = at + MILLISECOND;
    open(&store, &after).await
}

async fn revoke_all_mark_never_goes_back(store: Sessions) -> Verdict {
    let alice = subject("alice");
    for at in [NOW + SECOND, NOW] {
        store.revoke_all(&alice, None, EndReason::Revoked, at).await?;
    }
    let between = session_at("between", "alice", NOW + MILLISECOND);
    same("a login between the two", &store.insert(&between, MANY).await?, &Inserted::Stale)
}

async fn revoke_all_mark_is_the_subjects_own(store: Sessions) -> Verdict {
    let (alice, late) = (subject("alice"), NOW + IDLE);
    store.revoke_all(&alice, None, EndReason::Revoked, late).await?;
    for other in ["bob", "Alice", "alice ", "alic"] {
        opened(&store, other, other).await?;
    }
    Ok(())
}

async fn insert_racing_revoke_all(store: Sessions) -> Verdict {
    for round in 0..100 {
        let name = format!("racing-{round}");
        let login = session(&name, &name);
        let outcomes = at_once(2, |number| {
            let (store, login) = (store.clone(), login.clone());
            async move {
                if number == round % 2 {
                    store.insert(&login, MANY).await.map(Some)
                } else {
                    store.revoke_all(&login.subject, None, EndReason::PasswordChange, NOW).await.map(|_| None)
                }
            }
        })
        .await?;
        for outcome in outcomes {
            match outcome? {
                Some(Inserted::Opened { .. }) => {
                    ended(&store, &login.id, EndReason::PasswordChange, NOW).await?;
                }
                Some(Inserted::Stale) => {
                    same("the stale login", &store.find(&login.id).await?, &None)?;
                }
                None => {}
            }
        }
    }
    Ok(())
}

async fn insert_evicts_least_recently_used(store: Sessions) -> Verdict {
    let mut rows = Vec::new();
    for number in 0..5 {
        let name = format!("s{number}");
        let row = session_at(&name, "alice", NOW + SECOND * number);
        open(&store, &row).await?;
        rows.push(row);
    }
    let other = opened(&store, "other", "bob").await?;
    // The oldest is used last, so it stays.
    let (Some(oldest), at) = (rows.first(), NOW + SECOND * 10) else {
        return Ok(());
    };
    rotated(&store, &attempt(oldest, 0, at)).await?;

    let at = NOW + SECOND * 20;
    let inserted = store.insert(&session_at("new", "alice", at), 3).await?;
    let Inserted::Opened { evicted } = inserted else {
        return same("the insert", &inserted, &Inserted::Opened { evicted: vec![] });
    };
    let expected = vec![id("s1"), id("s2"), id("s3")];
    same("the evicted", &sorted(evicted), &expected)?;
    for id in &expected {
        ended(&store, id, EndReason::Evicted, at).await?;
    }
    for kept in ["s0", "s4", "new", "other"] {
        same(kept, &found(&store, &id(kept)).await?.ended, &None)?;
    }
    stored(&store, &other).await
}

async fn insert_counts_live_sessions_alone(store: Sessions) -> Verdict {
    let at = NOW + SECOND;
    // At its last moment a session is over: both ends are exclusive.
    let mut idle = session("idle", "alice");
    idle.idle_expires_at = at;
    let mut absolute = session("absolute", "alice");
    absolute.expires_at = at;
    absolute.idle_expires_at = at + SECOND;
    for row in [&idle, &absolute] {
        open(&store, row).await?;
    }
    let revoked = opened(&store, "revoked", "alice").await?;
    store.revoke(&revoked.id, None, EndReason::Logout, NOW).await?;
    let live = opened(&store, "live", "alice").await?;
    let nobody = Inserted::Opened { evicted: Vec::new() };
    let inserted = store.insert(&session_at("new", "alice", at), 2).await?;
    same("the insert", &inserted, &nobody)?;
    for row in [&idle, &absolute, &live] {
        stored(&store, row).await?;
    }
    ended(&store, &revoked.id, EndReason::Logout, NOW).await
}

async fn insert_never_evicts_itself(store: Sessions) -> Verdict {
    let ahead = session_at("ahead", "alice", NOW + ABSOLUTE);
    open(&store, &ahead).await?;
    let evicted = vec![ahead.id];
    let inserted = store.insert(&session("new", "alice"), 1).await?;
    same("the insert", &inserted, &Inserted::Opened { evicted })?;
    same("the new one", &found(&store, &id("new")).await?.ended, &None)
}

async fn concurrent_inserts_keep_the_limit(store: Sessions) -> Verdict {
    let inserted = at_once(40, |number| {
        let store = store.clone();
        let at = NOW + MILLISECOND * u32::try_from(number).unwrap_or(0);
        async move {
            let row = session_at(&format!("s{number}"), "alice", at);
            store.insert(&row, 5).await
        }
    })
    .await?;
    let mut evicted = Vec::new();
    for inserted in inserted {
        match inserted? {
            Inserted::Opened { evicted: ids } => evicted.extend(ids),
            Inserted::Stale => same("an insert", &Inserted::Stale, &Inserted::Opened { evicted: vec![] })?,
        }
    }
    let live = store.list(&subject("alice"), NOW + SECOND).await?;
    same("live sessions", &live.len(), &5)?;
    let all = evicted.len() + live.len();
    let mut once: Vec<_> = live.into_iter().map(|row| row.id).chain(evicted).collect();
    once.sort();
    once.dedup();
    same("sessions that are live or reported as evicted", &once.len(), &40)?;
    same("each of them once", &all, &40)
}
