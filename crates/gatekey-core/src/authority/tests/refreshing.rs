use super::*;
use crate::{fixtures::refresh_key, jws, limit::Limits, rotation::Policy};

/// A refresh token that we signed and never issued.
fn forged(session: &str, generation: u64, exp: Timestamp) -> Secret<String> {
    let header = jws::header_segment(refresh_key().verifying(), jws::REFRESH_TYPE);
    let claims = json!({
        "iss": ISSUER, "sid": session, "gen": generation, "jti": "forged", "iat": NOW.as_secs(), "exp": exp.as_secs(),
    });
    Secret::new(jws::sign(&refresh_key(), &header, claims.to_string().as_bytes()).unwrap())
}

// ---- Rotation ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_refresh_swaps_the_token_and_keeps_the_session() {
    let host = host().await;
    let first = host.login().await;
    host.clock.advance(secs(100));
    let second = host.refresh(&first.refresh).await.unwrap();
    assert_eq!(second.session, first.session);
    assert_ne!(second.refresh.expose(), first.refresh.expose());
    assert_eq!((second.access_expires_in, second.refresh_expires_in, second.held), (900, 604_800, false));
    let claims = claims_of(&second.refresh);
    assert_eq!((&claims["gen"], &claims["iat"]), (&json!(1), &json!(1_800_000_100)));
    // The password was proved at login and not since.
    assert_eq!(host.principal(&second).auth_time(), NOW);
    assert_eq!(host.principal(&second).issued_at(), NOW + secs(100));
    // The access token from before lives on until it expires.
    assert!(host.authenticate(&first).is_ok());
    assert_eq!(host.row(&first.session).await.chain.live, refresh::digest(second.refresh.expose()));
}

#[tokio::test]
async fn a_repeated_refresh_within_the_grace_is_answered_identically() {
    let host = host().await;
    let first = host.login().await;
    let second = host.refresh(&first.refresh).await.unwrap();
    host.sink.take();
    let row = host.row(&first.session).await;

    host.clock.advance(secs(10));
    let again = host.authority.refresh(first.refresh.expose(), None, &elsewhere()).await.unwrap();
    assert_eq!(again.refresh.expose(), second.refresh.expose());
    assert_ne!(again.access.expose(), second.access.expose());
    assert_eq!((again.held, again.refresh_expires_in), (false, 604_790));
    assert!(host.authenticate(&again).is_ok() && host.authenticate(&second).is_ok());
    // Noted, and nothing is extended.
    let noted = host.row(&first.session).await;
    assert_eq!(noted.chain.replayed_at, Some(NOW + secs(10)));
    assert_eq!((noted.idle_expires_at, noted.chain.rotated_at), (row.idle_expires_at, NOW));
    let [event] = &host.sink.take()[..] else { panic!("one event") };
    assert_eq!(event.kind, EventKind::RefreshReplayed);
    assert_eq!((&event.client, event.previous.as_ref()), (&elsewhere(), Some(&client())));
}

#[tokio::test]
async fn a_used_token_after_the_grace_ends_the_session() {
    let host = host().await;
    let first = host.login().await;
    let second = host.refresh(&first.refresh).await.unwrap();
    host.clock.advance(secs(10) + MILLISECOND);
    host.sink.take();

    let stolen = host.authority.refresh(first.refresh.expose(), None, &elsewhere()).await;
    assert_eq!(told(&stolen), "invalid_grant: reuse");
    for tokens in [&first, &second] {
        assert_eq!(told(&host.authenticate(tokens)), "invalid_token: token_revoked");
    }
    assert_eq!(told(&host.refresh(&second.refresh).await), "invalid_grant: session_ended");
    let events = host.sink.take();
    assert_eq!(events[0].kind, EventKind::RefreshReuse);
    assert_eq!((&events[0].client, events[0].previous.as_ref()), (&elsewhere(), Some(&client())));
    assert_eq!(events[0].subject, Some(alice()));
    assert_eq!(events[1].kind, EventKind::RefreshRefused);
}

#[tokio::test]
async fn a_live_token_is_held_while_its_parent_is_being_repeated() {
    let host = host().await;
    let first = host.login().await;
    let second = host.refresh(&first.refresh).await.unwrap();
    host.refresh(&first.refresh).await.unwrap();
    host.sink.take();
    let held = host.refresh(&second.refresh).await.unwrap();
    assert!(held.held && held.refresh.expose() == second.refresh.expose());
    assert!(host.authenticate(&held).is_ok());
    assert_eq!(host.sink.names(), ["refresh_held"]);
    // Once the burst is over it is swapped.
    host.clock.advance(secs(10) + MILLISECOND);
    let third = host.refresh(&second.refresh).await.unwrap();
    assert!(!third.held && third.refresh.expose() != second.refresh.expose());
}

#[tokio::test]
async fn a_late_request_is_superseded_and_changes_nothing() {
    let host = host().await;
    let first = host.login().await;
    let second = host.refresh(&first.refresh).await.unwrap();
    let third = host.refresh(&second.refresh).await.unwrap();
    let row = host.row(&first.session).await;
    host.sink.take();
    assert_eq!(told(&host.refresh(&first.refresh).await), "superseded");
    assert_eq!(host.row(&first.session).await, row);
    assert_eq!(host.sink.names(), ["refresh_superseded"]);
    assert!(host.refresh(&third.refresh).await.is_ok());
}

#[tokio::test]
async fn identical_refreshes_at_once_are_answered_identically() {
    let host = host().await;
    let first = host.login().await;
    let refreshes: Vec<_> = (0..16)
        .map(|_| {
            let (authority, token) = (host.authority.clone(), first.refresh.clone());
            tokio::spawn(async move { authority.refresh(token.expose(), None, &client()).await })
        })
        .collect();
    let mut answers = Vec::new();
    for refresh in refreshes {
        answers.push(refresh.await.unwrap().unwrap());
    }
    assert!(answers.iter().all(|tokens| tokens.refresh.expose() == answers[0].refresh.expose()));
    let kinds: Vec<_> = host.sink.take().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::RefreshRotated).count(), 1);
    assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::RefreshReplayed).count(), 15);
}

#[tokio::test]
async fn without_grace_one_of_identical_refreshes_succeeds_and_the_session_ends() {
    let host = host_with(|config| config.rotation = Policy::STRICT).await;
    let first = host.login().await;
    let mut succeeded = Vec::new();
    for _ in 0..4 {
        succeeded.extend(host.refresh(&first.refresh).await);
    }
    assert_eq!(succeeded.len(), 1);
    assert_eq!(told(&host.authenticate(&succeeded[0])), "invalid_token: token_revoked");
    assert_eq!(told(&host.refresh(&succeeded[0].refresh).await), "invalid_grant: session_ended");
}

#[tokio::test]
async fn a_successor_that_never_arrived_is_displaced_where_the_host_chose_so() {
    let host = host_with(|config| config.rotation = Policy::RESILIENT).await;
    let first = host.login().await;
    let lost = host.refresh(&first.refresh).await.unwrap();
    host.clock.advance(secs(3600));
    host.backend.forget();
    host.sink.take();

    let second = host.refresh(&first.refresh).await.unwrap();
    // A displaced successor leaves a gap, so the store asks for another number once.
    assert_eq!(host.backend.calls(), ["take", "find", "find_by_id", "claims", "rotate", "rotate"]);
    assert_eq!(host.sink.names(), ["refresh_displaced"]);
    assert_eq!(claims_of(&second.refresh)["gen"], json!(2));
    // What is sealed in the row now opens for the same parent.
    let again = host.refresh(&first.refresh).await.unwrap();
    assert_eq!(again.refresh.expose(), second.refresh.expose());
    host.clock.advance(secs(11));
    let third = host.refresh(&second.refresh).await.unwrap();
    assert!(host.authenticate(&third).is_ok());

    // Whoever held the lost one after all collides with the owner, once it is no late request any more.
    host.clock.advance(secs(21));
    assert_eq!(told(&host.refresh(&lost.refresh).await), "invalid_grant: reuse");
    assert_eq!(told(&host.authenticate(&third)), "invalid_token: token_revoked");
}

#[tokio::test]
async fn a_store_that_asks_for_other_numbers_for_ever_is_unavailable() {
    let host = host().await;
    let first = host.login().await;
    host.backend.forget();
    host.backend.trouble(At::Every("rotate"), Trouble::Renumbers);
    assert_eq!(told(&host.refresh(&first.refresh).await), "unavailable");
    assert_eq!(host.backend.calls(), ["take", "find", "find_by_id", "claims", "rotate", "rotate", "rotate"]);
    host.backend.recover();
    assert!(host.refresh(&first.refresh).await.is_ok());
}

// ---- Refusals ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_we_did_not_sign_never_reaches_the_store() {
    let host = host().await;
    let tokens = host.login().await;
    host.backend.forget();
    let text = tokens.refresh.expose();
    let mut flipped = text.clone().into_bytes();
    flipped[text.len() / 2] ^= 1;
    for (name, token, expected) in [
        ("garbage", "garbage".to_owned(), "invalid_grant: token_malformed"),
        ("nothing", String::new(), "invalid_grant: token_malformed"),
        ("an access token", tokens.access.expose().clone(), "invalid_grant: token_unknown_key"),
        ("a changed token", String::from_utf8(flipped).unwrap(), "invalid_grant: token_bad_signature"),
        ("too much", "x".repeat(9000), "invalid_grant: token_too_long"),
    ] {
        assert_eq!(told(&host.refresh(&secret(&token)).await), expected, "{name}");
    }
    assert!(host.backend.calls().is_empty());
    // And ends nothing.
    assert!(host.refresh(&tokens.refresh).await.is_ok());
}

#[tokio::test]
async fn a_token_that_is_signed_and_not_the_live_one_gets_nothing() {
    let host = host().await;
    let tokens = host.login().await;
    let later = NOW + DAY;
    host.sink.take();
    for (name, token, expected, event) in [
        (
            "of a session that is unknown",
            forged("unknown", 0, later),
            "invalid_grant: session_unknown",
            "refresh_refused: session_unknown",
        ),
        (
            "of a generation to come",
            forged(tokens.session.as_str(), 5, later),
            "invalid_grant: generation_unknown",
            "store_rolled_back: generation_unknown",
        ),
        (
            "of the greatest generation",
            forged(tokens.session.as_str(), i64::MAX as u64, later),
            "invalid_grant: generation_unknown",
            "store_rolled_back: generation_unknown",
        ),
        (
            "of the live generation",
            forged(tokens.session.as_str(), 0, later),
            "invalid_grant: generation_foreign",
            "store_rolled_back: generation_foreign",
        ),
        (
            "expired",
            forged(tokens.session.as_str(), 0, NOW),
            "invalid_grant: token_expired",
            "refresh_refused: token_expired",
        ),
    ] {
        assert_eq!(told(&host.refresh(&token).await), expected, "{name}");
        assert_eq!(host.sink.names(), [event], "{name}");
        // A rolled-back store is nobody's theft.
        assert!(host.authenticate(&tokens).is_ok(), "{name}");
    }
    assert!(host.refresh(&tokens.refresh).await.is_ok());
}

#[tokio::test]
async fn an_expired_token_is_never_taken_for_a_used_one() {
    let host = host().await;
    let first = host.login().await;
    let second = host.refresh(&first.refresh).await.unwrap();
    host.clock.advance(DAY);
    let third = host.refresh(&second.refresh).await.unwrap();
    host.clock.set(NOW + 7 * DAY);
    assert_eq!(told(&host.refresh(&first.refresh).await), "invalid_grant: token_expired");
    assert!(host.refresh(&third.refresh).await.is_ok());
}

#[tokio::test]
async fn refreshing_never_extends_the_absolute_end() {
    let host = host_with(|config| {
        config.access_ttl = secs(900);
        config.refresh_ttl = secs(3600);
        config.session_ttl = secs(4000);
    })
    .await;
    let first = host.login().await;
    assert_eq!((first.access_expires_in, first.refresh_expires_in), (900, 3600));
    host.clock.set(NOW + secs(3500));
    let second = host.refresh(&first.refresh).await.unwrap();
    // No token outlives the session.
    assert_eq!((second.access_expires_in, second.refresh_expires_in), (500, 500));
    assert_eq!(host.principal(&second).expires_at(), NOW + secs(4000));
    host.clock.set(NOW + secs(4000) - MILLISECOND);
    let third = host.refresh(&second.refresh).await.unwrap();
    assert_eq!((third.access_expires_in, third.refresh_expires_in), (1, 1));
    host.clock.set(NOW + secs(4000));
    // The token itself may say more; the row decides.
    assert_eq!(told(&host.refresh(&third.refresh).await), "invalid_grant: session_expired");
    host.clock.set(NOW + secs(4030));
    assert_eq!(told(&host.authenticate(&third)), "invalid_token: token_expired");
}

#[tokio::test]
async fn a_subject_that_is_disabled_or_gone_loses_its_session() {
    let cases: [(&str, Seen); 2] =
        [("disabled", |user| Some(User { disabled: true, ..user })), ("gone", |_| None)];
    for (name, seen) in cases {
        // Whatever the rotation decided: the live token, a repeated one, a late one.
        for (generation, one_store) in (0..3).flat_map(|generation| [(generation, false), (generation, true)])
        {
            let host = if one_store { host_of_one_store().await } else { host().await };
            let first = host.login().await;
            let second = host.refresh(&first.refresh).await.unwrap();
            let third = host.refresh(&second.refresh).await.unwrap();
            host.backend.sees(seen);
            host.backend.forget();
            host.sink.take();
            let token = [&first, &second, &third][generation];
            assert_eq!(told(&host.refresh(&token.refresh).await), "invalid_grant: subject_gone", "{name}");
            let read = if one_store { &["find_with_account"][..] } else { &["find", "find_by_id"] };
            assert_eq!(host.backend.calls()[1..=read.len()], *read, "{name}");
            assert_eq!(host.sink.names(), ["session_ended: disabled", "refresh_refused: subject_gone"]);
            assert_eq!(told(&host.authenticate(&third)), "invalid_token: token_revoked", "{name}");
            assert_eq!(host.live_sessions().await, 0, "{name}");
        }
    }
}

/// Two places may know one id. The account is where the application said, in whichever order it said so.
#[tokio::test]
async fn an_account_is_asked_for_where_users_were_said_to_be() {
    for store_first in [true, false] {
        let (store, own) = (Arc::new(Backend::default()), Arc::new(Backend::default()));
        for place in [&store, &own] {
            place.add("subject-of-alice", ALICE, HASH).await;
        }
        let mut builder = Authority::builder();
        builder.keys(keys(Algorithm::EdDSA));
        builder.config_mut().issuer = ISSUER.to_owned();
        if store_first {
            builder.store(store.clone());
            builder.users(own.clone());
        } else {
            builder.users(own.clone());
            builder.store(store.clone());
        }
        let authority = builder.build().await.unwrap();
        let first = authority.login(ALICE, secret(PASSWORD), &client(), None).await.unwrap();
        // One that may not log in there is another's.
        store.sees(|_| None);
        let second = authority.refresh(first.refresh.expose(), None, &client()).await.unwrap();
        own.sees(|user| Some(User { disabled: true, ..user }));
        store.sees(Some);
        let refused = authority.refresh(second.refresh.expose(), None, &client()).await;
        assert_eq!(told(&refused), "invalid_grant: subject_gone", "{store_first}");
        assert!(
            !store
                .calls()
                .iter()
                .any(|call| ["find_by_name", "find_by_id", "find_with_account"].contains(call))
        );
    }
}

#[tokio::test]
async fn refreshes_of_one_session_are_limited() {
    let limits = Limits { refresh_session_per_minute: 3, ..Limits::default() };
    let host = host_with(|config| config.limits = limits).await;
    let mut tokens = host.login().await;
    for _ in 0..3 {
        tokens = host.refresh(&tokens.refresh).await.unwrap();
    }
    host.backend.forget();
    host.sink.take();
    assert_eq!(told(&host.refresh(&tokens.refresh).await), "rate_limited");
    assert_eq!(host.backend.calls(), ["take"]);
    assert_eq!(host.sink.names(), ["throttled: refresh_session"]);
    // Another session is not touched, and this one neither.
    let other = host.login().await;
    assert!(host.refresh(&other.refresh).await.is_ok());
    host.clock.advance(secs(20));
    assert!(host.refresh(&tokens.refresh).await.is_ok());
}

// ---- Scope ------------------------------------------------------------------------------------------------------

async fn with_scope(scope: &str) -> Host {
    let host = host().await;
    let change = UserChange { scope: Some(Some(scope.to_owned())), ..UserChange::default() };
    host.backend.change(&alice(), change).await;
    host
}

#[tokio::test]
async fn a_refresh_may_narrow_the_scope_of_one_access_token() {
    let host = with_scope("read write admin").await;
    let mut tokens = host.login().await;
    for (wanted, expected) in [
        (Some("read"), "read"),
        (Some("write read"), "write read"),
        (Some(" read  write "), "read write"),
        (Some(""), ""),
        (None, "read write admin"),
    ] {
        tokens = host.authority.refresh(tokens.refresh.expose(), wanted, &client()).await.unwrap();
        assert_eq!(host.principal(&tokens).scope(), Some(expected), "{wanted:?}");
    }
}

#[tokio::test]
async fn a_refresh_that_asks_for_more_scope_changes_nothing() {
    let host = with_scope("read write").await;
    let tokens = host.login().await;
    // Not what the account has now: what was granted at login.
    let more = UserChange { scope: Some(Some("read write admin".to_owned())), ..UserChange::default() };
    host.backend.change(&alice(), more).await;
    let row = host.row(&tokens.session).await;
    for wanted in ["admin", "read admin", "READ", "read\twrite", "reads"] {
        host.backend.forget();
        let outcome = host.authority.refresh(tokens.refresh.expose(), Some(wanted), &client()).await;
        assert!(matches!(outcome, Err(AuthError::InvalidScope)), "{wanted}: {}", told(&outcome));
        assert_eq!(host.backend.calls(), ["take", "find", "find_by_id"], "{wanted}");
    }
    assert_eq!(host.row(&tokens.session).await, row);
    assert!(host.refresh(&tokens.refresh).await.is_ok());
}

#[tokio::test]
async fn scope_that_the_account_lost_is_gone_at_the_next_refresh_and_does_not_come_back() {
    let host = with_scope("read write").await;
    let tokens = host.login().await;
    for (now, wanted, expected) in [
        (Some("write other"), None, Some("write")),
        (Some("write other"), Some("read write"), Some("write")),
        (Some("write other"), Some("read"), Some("")),
        (None, None, Some("")),
        (Some("other"), None, Some("")),
        (Some("write read more"), None, Some("read write")),
    ] {
        let change = UserChange { scope: Some(now.map(str::to_owned)), ..UserChange::default() };
        host.backend.change(&alice(), change).await;
        // Each within the grace of the same token: the scope is asked for anew also then.
        let refreshed = host.authority.refresh(tokens.refresh.expose(), wanted, &client()).await.unwrap();
        assert_eq!(host.principal(&refreshed).scope(), expected, "{now:?} {wanted:?}");
    }
    // A session without a scope gets none later.
    let host = self::host().await;
    let tokens = host.login().await;
    let change = UserChange { scope: Some(Some("read".to_owned())), ..UserChange::default() };
    host.backend.change(&alice(), change).await;
    let tokens = host.refresh(&tokens.refresh).await.unwrap();
    assert_eq!(host.principal(&tokens).scope(), None);
    let outcome = host.authority.refresh(tokens.refresh.expose(), Some("read"), &client()).await;
    assert_eq!(told(&outcome), "scope_widened");
}

#[tokio::test]
async fn the_hosts_claims_are_asked_for_at_each_issue() {
    let host = host().await;
    let tokens = host.login().await;
    assert_eq!(host.principal(&tokens).claims::<Value>().unwrap().get("plan"), None);
    lock(&host.backend.own).insert("plan".to_owned(), json!("gold"));
    let tokens = host.refresh(&tokens.refresh).await.unwrap();
    assert_eq!(host.principal(&tokens).claims::<Value>().unwrap()["plan"], "gold");
}
