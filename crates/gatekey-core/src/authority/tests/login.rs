use super::*;
use crate::{limit::Limits, password::PoolSize};

/// Alice, Bob whose account is disabled, and Carol; all with the same password.
async fn three_accounts(host: &Host) {
    host.backend.add("subject-of-bob", "Bob", HASH).await;
    let disabled = UserChange { disabled: Some(true), ..UserChange::default() };
    host.backend.change(&SubjectId::new("subject-of-bob"), disabled).await;
    host.backend.add("subject-of-carol", "Carol", HASH).await;
    host.backend.sees(|mut user| {
        if user.username == "Carol" {
            user.password_hash = None;
        }
        Some(user)
    });
}

#[tokio::test]
async fn every_login_costs_one_hash_whoever_is_asked_for() {
    let host = host().await;
    three_accounts(&host).await;
    let long_name = "x".repeat(129);
    for (name, password, expected) in [
        (ALICE, PASSWORD, "ok"),
        ("aLiCe", PASSWORD, "ok"),
        (ALICE, WRONG, "invalid_credentials: wrong_password"),
        (ALICE, "", "invalid_credentials: wrong_password"),
        ("Nobody", PASSWORD, "invalid_credentials: unknown_name"),
        ("Bob", PASSWORD, "invalid_credentials: disabled"),
        ("Bob", WRONG, "invalid_credentials: wrong_password"),
        ("Carol", PASSWORD, "invalid_credentials: wrong_password"),
        ("", PASSWORD, "invalid_credentials: unknown_name"),
        ("a\0b", PASSWORD, "invalid_credentials: unknown_name"),
        (&long_name, PASSWORD, "invalid_credentials: unknown_name"),
    ] {
        let (hashes, outcome) = host.hashes_of(host.try_login(name, password)).await;
        assert_eq!((told(&outcome).as_str(), hashes), (expected, 1), "{name:?}");
        assert_eq!(outcome.is_ok(), host.live_sessions().await > 0);
        host.authority.end_sessions(&alice(), None, EndReason::Revoked, &client()).await.unwrap();
        host.clock.advance(MILLISECOND);
    }
}

#[tokio::test]
async fn a_login_opens_a_session_as_configured() {
    let host = host_with(|config| {
        config.access_ttl = secs(600);
        config.refresh_ttl = 2 * DAY;
        config.session_ttl = 9 * DAY;
        config.audience = "https://api.example.com".to_owned();
        config.client_id = "shop".to_owned();
    })
    .await;
    let scope = UserChange { scope: Some(Some("read write".to_owned())), ..UserChange::default() };
    host.backend.change(&alice(), scope).await;
    lock(&host.backend.own).insert("tenant".to_owned(), json!("acme"));
    host.clock.advance(Duration::from_millis(700));
    let tokens = host.try_login(ALICE, PASSWORD).await.unwrap();

    assert_eq!((tokens.access_expires_in, tokens.refresh_expires_in, tokens.held), (600, 2 * 86_400, false));
    let row = host.row(&tokens.session).await;
    let now = NOW + Duration::from_millis(700);
    let expected = Session {
        id: tokens.session.clone(),
        subject: alice(),
        scope: Some("read write".to_owned()),
        auth_time: now,
        created_at: now,
        // What tokens carry is cut to whole seconds, so the row is too.
        expires_at: NOW + 9 * DAY,
        idle_expires_at: NOW + 2 * DAY,
        last_used_at: now,
        client: client(),
        chain: Chain::start(refresh::digest(tokens.refresh.expose()), now),
        ended: None,
    };
    assert_eq!(row, expected);
    assert_eq!(tokens.session.as_str().len(), 24);

    let mut claims = claims_of(&tokens.access);
    assert_eq!(claims["jti"].take().as_str().unwrap().len(), 22);
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": "subject-of-alice", "aud": "https://api.example.com", "client_id": "shop",
            "iat": 1_800_000_000, "exp": 1_800_000_600, "auth_time": 1_800_000_000, "jti": null,
            "sid": tokens.session.as_str(), "preferred_username": "Alice", "roles": [], "scope": "read write",
            "tenant": "acme",
        })
    );
    assert_eq!(claims_of(&tokens.refresh)["exp"], json!(1_800_000_000 + 2 * 86_400));
    let principal = host.principal(&tokens);
    assert_eq!(principal.claims::<Value>().unwrap()["tenant"], "acme");
}

#[tokio::test]
async fn two_logins_share_nothing_random() {
    let host = host().await;
    let login = || host.try_login(ALICE, PASSWORD);
    let (a, b) = (login().await.unwrap(), login().await.unwrap());
    assert_ne!(a.session, b.session);
    assert_ne!(claims_of(&a.access)["jti"], claims_of(&b.access)["jti"]);
    assert_ne!(claims_of(&a.refresh)["jti"], claims_of(&b.refresh)["jti"]);
}

// ---- Throttling -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_throttled_login_is_not_looked_at() {
    let host = host().await;
    for name in [ALICE, "Nobody"] {
        for _ in 0..5 {
            let outcome = host.try_login(name, WRONG).await;
            assert!(matches!(outcome, Err(AuthError::InvalidCredentials(_))), "{name}: {}", told(&outcome));
        }
        host.backend.forget();
        host.sink.take();
        // Not even the right password helps, and nothing says whether there is an account.
        let (hashes, outcome) = host.hashes_of(host.try_login(name, PASSWORD)).await;
        let Err(AuthError::RateLimited { retry_after }) = outcome else { panic!("{}", told(&outcome)) };
        assert_eq!((hashes, retry_after), (0, secs(1)), "{name}");
        assert_eq!(host.backend.calls(), ["take"], "{name}");
        assert_eq!(host.sink.names(), ["throttled: failures"], "{name}");
    }
    host.clock.advance(secs(1));
    assert_eq!(told(&host.try_login(ALICE, PASSWORD).await), "ok");
}

#[tokio::test]
async fn guesses_sent_at_once_are_all_counted() {
    let host = host().await;
    let guesses: Vec<_> = (0..20)
        .map(|_| {
            let authority = host.authority.clone();
            tokio::spawn(async move { authority.login(ALICE, secret(WRONG), &client(), None).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for guess in guesses {
        outcomes.push(told(&guess.await.unwrap()));
    }
    let looked_at = outcomes.iter().filter(|told| *told == "invalid_credentials: wrong_password").count();
    let throttled = outcomes.iter().filter(|told| *told == "rate_limited").count();
    assert_eq!((looked_at, throttled, host.authority.hashes()), (5, 15, 5));
}

#[tokio::test]
async fn a_success_clears_the_failures_from_its_network() {
    let host = host().await;
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(told(&host.try_login(ALICE, WRONG).await), "invalid_credentials: wrong_password");
        }
        assert_eq!(told(&host.try_login(ALICE, PASSWORD).await), "ok");
    }
    // Those from another network stay.
    for _ in 0..5 {
        let outcome = host.authority.login(ALICE, secret(WRONG), &elsewhere(), None).await;
        assert_eq!(told(&outcome), "invalid_credentials: wrong_password");
    }
    assert_eq!(told(&host.try_login(ALICE, PASSWORD).await), "ok");
    let outcome = host.authority.login(ALICE, secret(PASSWORD), &elsewhere(), None).await;
    assert_eq!(told(&outcome), "rate_limited");
}

#[tokio::test]
async fn successes_are_not_counted_against_the_account() {
    let limits = Limits { account_failures_per_hour: 3, ..Limits::OFF };
    let host = host_with(|config| config.limits = limits).await;
    for _ in 0..5 {
        assert_eq!(told(&host.try_login(ALICE, PASSWORD).await), "ok");
    }
    // Nor do more networks help whoever guesses.
    for (client, expected) in [
        (client(), "invalid_credentials: wrong_password"),
        (elsewhere(), "invalid_credentials: wrong_password"),
        (Client::default(), "invalid_credentials: wrong_password"),
        (client(), "rate_limited"),
        (Client::default(), "rate_limited"),
    ] {
        assert_eq!(told(&host.authority.login(ALICE, secret(WRONG), &client, None).await), expected);
    }
}

#[tokio::test]
async fn an_attempt_that_could_not_be_judged_is_not_counted() {
    let host = host().await;
    host.backend.trouble(At::Every("find_by_name"), Trouble::FailsBefore(down));
    for _ in 0..10 {
        assert_eq!(told(&host.try_login(ALICE, PASSWORD).await), "unavailable");
    }
    host.backend.recover();
    for _ in 0..5 {
        assert_eq!(told(&host.try_login(ALICE, WRONG).await), "invalid_credentials: wrong_password");
    }
    assert_eq!(told(&host.try_login(ALICE, WRONG).await), "rate_limited");
}

#[tokio::test]
async fn a_full_queue_is_retryable_and_counts_no_attempt() {
    let host = host_with(|config| config.hashing = PoolSize { threads: 1, queue: 1 }).await;
    let logins: Vec<_> = (0..10)
        .map(|_| {
            let authority = host.authority.clone();
            tokio::spawn(async move { authority.login(ALICE, secret(WRONG), &client(), None).await })
        })
        .collect();
    let mut full = 0;
    for login in logins {
        match told(&login.await.unwrap()).as_str() {
            "unavailable" => full += 1,
            told => {
                assert!(["invalid_credentials: wrong_password", "rate_limited"].contains(&told), "{told}")
            }
        }
    }
    assert!(full > 0);
    let judged = host.authority.hashes();
    assert!(judged <= 5);
    for _ in judged..5 {
        assert_eq!(told(&host.try_login(ALICE, WRONG).await), "invalid_credentials: wrong_password");
    }
    assert_eq!(told(&host.try_login(ALICE, WRONG).await), "rate_limited");
}

#[tokio::test]
async fn an_unreadable_hash_is_a_fault_and_counts_no_attempt() {
    let host = host().await;
    host.backend.add("subject-of-bob", "Bob", "not a hash").await;
    for _ in 0..10 {
        assert_eq!(told(&host.try_login("Bob", PASSWORD).await), "fault");
    }
}

#[tokio::test]
async fn networks_are_limited_and_unknown_ones_are_not() {
    let host = host().await;
    for (gate, allowed, name) in [
        (Gate::Login, 20, "login_network"),
        (Gate::Register, 5, "register_network"),
        (Gate::Refresh, 120, "refresh_network"),
    ] {
        for _ in 0..allowed {
            assert_eq!(told(&host.authority.admit(gate, &client()).await), "ok", "{gate:?}");
        }
        host.sink.take();
        assert_eq!(told(&host.authority.admit(gate, &client()).await), "rate_limited", "{gate:?}");
        assert_eq!(host.sink.names(), [format!("throttled: {name}")]);
        // Another address of the same IPv6 /64 is the same network; another browser too.
        let neighbour = Client::new(Some("2001:db8::8".parse().unwrap()), None);
        for _ in 0..allowed {
            assert_eq!(told(&host.authority.admit(gate, &elsewhere()).await), "ok", "{gate:?}");
        }
        assert_eq!(told(&host.authority.admit(gate, &neighbour).await), "rate_limited", "{gate:?}");
        host.backend.forget();
        for _ in 0..allowed + 1 {
            assert_eq!(told(&host.authority.admit(gate, &Client::default()).await), "ok", "{gate:?}");
        }
        assert!(host.backend.calls().is_empty());
    }
    let off = host_with(|config| config.limits = Limits::OFF).await;
    for _ in 0..200 {
        assert_eq!(told(&off.authority.admit(Gate::Login, &client()).await), "ok");
    }
    assert!(off.backend.calls().is_empty());
}

// ---- Renewing hashes --------------------------------------------------------------------------------------------

/// argon2id of [`PASSWORD`] at another cost than the default.
const OTHER_COST: &str =
    "$argon2id$v=19$m=12288,t=3,p=1$HpriqxZRguugs74OMDlHEQ$jhg3a6FZYFb5eCJjHm/mmoGbNWOpYrG4NGgKVJY60VA";

#[tokio::test]
async fn a_hash_of_another_cost_is_renewed_at_the_next_login() {
    let host = host().await;
    host.backend.add("subject-of-bob", "Bob", OTHER_COST).await;
    let bob = SubjectId::new("subject-of-bob");

    let (hashes, outcome) = host.hashes_of(host.try_login("Bob", WRONG)).await;
    assert_eq!((told(&outcome).as_str(), hashes), ("invalid_credentials: wrong_password", 1));
    assert_eq!(host.backend.hash_of(&bob).await, OTHER_COST);

    host.sink.take();
    let (hashes, outcome) = host.hashes_of(host.try_login("Bob", PASSWORD)).await;
    assert_eq!((told(&outcome).as_str(), hashes), ("ok", 2));
    assert!(host.backend.hash_of(&bob).await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert_eq!(host.sink.names(), ["password_rehashed", "login_succeeded"]);

    let (hashes, outcome) = host.hashes_of(host.try_login("Bob", PASSWORD)).await;
    assert_eq!((told(&outcome).as_str(), hashes), ("ok", 1));
}

#[cfg(feature = "import")]
#[tokio::test]
async fn an_imported_hash_is_renewed_at_the_next_login() {
    // OpenWall's crypt_blowfish, wrapper.c.
    let bcrypt = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let host = host().await;
    host.backend.add("subject-of-bob", "Bob", bcrypt).await;
    let bob = SubjectId::new("subject-of-bob");
    assert_eq!(told(&host.try_login("Bob", "U*V").await), "invalid_credentials: wrong_password");
    assert_eq!(host.backend.hash_of(&bob).await, bcrypt);
    assert_eq!(told(&host.try_login("Bob", "U*U").await), "ok");
    assert!(host.backend.hash_of(&bob).await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert_eq!(told(&host.try_login("Bob", "U*U").await), "ok");
    assert_eq!(told(&host.try_login("Bob", "U*V").await), "invalid_credentials: wrong_password");
}

#[tokio::test]
async fn a_login_succeeds_where_its_hash_cannot_be_renewed() {
    for (trouble, expected) in [
        (Trouble::FailsBefore(down), "unavailable: unavailable"),
        (Trouble::FailsAfter(corrupt), "fault: fault"),
    ] {
        let host = host().await;
        host.backend.add("subject-of-bob", "Bob", OTHER_COST).await;
        host.backend.trouble(At::Every("set_password_hash"), trouble);
        assert_eq!(told(&host.try_login("Bob", PASSWORD).await), "ok");
        assert_eq!(host.sink.names(), [expected, "login_succeeded"]);
    }
    // Somebody else changed it meanwhile: theirs stays.
    let host = host().await;
    host.backend.add("subject-of-bob", "Bob", OTHER_COST).await;
    let memory = host.backend.memory.clone();
    let bob = SubjectId::new("subject-of-bob");
    host.backend.meanwhile("set_password_hash", {
        let bob = bob.clone();
        async move { assert!(memory.set_password_hash(&bob, OTHER_COST, "theirs").await.unwrap()) }
    });
    assert_eq!(told(&host.try_login("Bob", PASSWORD).await), "ok");
    assert_eq!(host.backend.hash_of(&bob).await, "theirs");
    assert_eq!(host.sink.names(), ["login_succeeded"]);
}

// ---- Races and other sessions -----------------------------------------------------------------------------------

#[tokio::test]
async fn a_login_under_way_while_all_sessions_are_ended_ends_too() {
    // At each of the calls after the login began.
    for moment in ["find_by_name", "clear", "claims", "insert"] {
        let host = host().await;
        let (authority, clock) = (host.authority.clone(), host.clock.clone());
        host.backend.meanwhile(moment, async move {
            authority.end_sessions(&alice(), None, EndReason::Revoked, &Client::default()).await.unwrap();
            // The login goes on later, with what it read before.
            clock.advance(secs(1));
        });
        let outcome = host.try_login(ALICE, PASSWORD).await;
        assert_eq!(told(&outcome), "invalid_credentials: stale", "{moment}");
        assert_eq!(host.live_sessions().await, 0, "{moment}");
        // It was the right password: nothing is held against the account.
        host.clock.advance(MILLISECOND);
        assert_eq!(told(&host.try_login(ALICE, PASSWORD).await), "ok", "{moment}");
    }
}

#[tokio::test]
async fn a_login_with_the_old_password_does_not_outlive_its_change() {
    for moment in ["clear", "claims", "insert"] {
        let host = host().await;
        let kept = host.login().await;
        let principal = host.principal(&kept);
        let authority = host.authority.clone();
        host.clock.advance(secs(1));
        host.backend.meanwhile(moment, async move {
            let (old, new) = (secret(PASSWORD), secret(NEW_PASSWORD));
            authority.change_password(&principal, old, new, &elsewhere()).await.unwrap();
        });
        let outcome = host.try_login(ALICE, PASSWORD).await;
        assert_eq!(told(&outcome), "invalid_credentials: stale", "{moment}");
        assert_eq!(host.live_sessions().await, 1, "{moment}");
        assert!(host.authenticate(&kept).is_ok(), "{moment}");
    }
}

#[tokio::test]
async fn the_least_recently_used_session_makes_room() {
    let host = host_with(|config| config.max_sessions = 2).await;
    let first = host.login().await;
    host.clock.advance(secs(1));
    let second = host.login().await;
    host.clock.advance(secs(1));
    let first = host.refresh(&first.refresh).await.unwrap();
    host.sink.take();

    host.clock.advance(secs(1));
    let third = host.try_login(ALICE, PASSWORD).await.unwrap();
    assert_eq!(host.sink.names(), ["session_ended: evicted", "login_succeeded"]);
    assert_eq!(told(&host.authenticate(&second)), "invalid_token: token_revoked");
    assert_eq!(told(&host.refresh(&second.refresh).await), "invalid_grant: session_ended");
    assert!(host.authenticate(&first).is_ok() && host.authenticate(&third).is_ok());
    assert_eq!(host.live_sessions().await, 2);
    assert_eq!(host.row(&second.session).await.ended.unwrap().reason, EndReason::Evicted);
}

#[tokio::test]
async fn a_login_over_another_session_ends_that_one_first() {
    let host = host().await;
    let old = host.login().await;
    host.backend.forget();
    host.sink.take();
    let new = host.authority.login(ALICE, secret(PASSWORD), &client(), Some(&old.session)).await.unwrap();
    let calls = host.backend.calls();
    let position = |method| calls.iter().position(|call| *call == method).unwrap();
    assert!(position("revoke") < position("insert"), "{calls:?}");
    assert_eq!(host.sink.names(), ["session_ended: replaced", "login_succeeded"]);
    assert_ne!(new.session, old.session);
    assert_eq!(told(&host.authenticate(&old)), "invalid_token: token_revoked");
    assert!(host.authenticate(&new).is_ok());

    // Only whoever proves a password ends a session so.
    let failed = host.authority.login(ALICE, secret(WRONG), &client(), Some(&new.session)).await;
    assert_eq!(told(&failed), "invalid_credentials: wrong_password");
    assert!(host.authenticate(&new).is_ok());
    // One that is gone is no obstacle.
    let again = host.authority.login(ALICE, secret(PASSWORD), &client(), Some(&SessionId::new("gone"))).await;
    assert_eq!(told(&again), "ok");
}

#[tokio::test]
async fn claims_of_the_host_that_are_ours_open_no_session() {
    let host = host().await;
    lock(&host.backend.own).insert("sub".to_owned(), json!("somebody else"));
    assert_eq!(told(&host.try_login(ALICE, PASSWORD).await), "fault");
    assert_eq!(host.live_sessions().await, 0);
}
