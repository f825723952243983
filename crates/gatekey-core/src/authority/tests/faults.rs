//! Every call to something outside fails once: before its effect, after it, and as corrupt; then every random number.
//! Nobody is let in by it, nothing stays half-done, and trying again works.

use super::*;

type Flow = for<'a> fn(&'a Host, &'a Tokens) -> Pin<Box<dyn Future<Output = Result<(), AuthError>> + 'a>>;

/// A call of the authority by somebody who is logged in.
struct Story {
    name: &'static str,
    flow: Flow,
    /// What is called outside, in this order.
    calls: &'static [&'static str],
    /// Of these, what may fail without refusing: counters that stay too high refuse somebody too early, no more.
    tolerated: &'static [&'static str],
}

const STORIES: &[Story] = &[
    Story {
        name: "login",
        flow: |host, _| Box::pin(async move { host.try_login(ALICE, PASSWORD).await.map(drop) }),
        calls: &["take", "find_by_name", "clear", "give_back", "claims", "insert"],
        tolerated: &["clear", "give_back"],
    },
    Story {
        name: "login over a session",
        flow: |host, tokens| {
            Box::pin(async move {
                host.authority
                    .login(ALICE, secret(PASSWORD), &client(), Some(&tokens.session))
                    .await
                    .map(drop)
            })
        },
        calls: &["take", "find_by_name", "clear", "give_back", "revoke", "claims", "insert"],
        tolerated: &["clear", "give_back"],
    },
    Story {
        name: "refresh",
        flow: |host, tokens| Box::pin(async move { host.refresh(&tokens.refresh).await.map(drop) }),
        calls: &["take", "find", "find_by_id", "claims", "rotate"],
        tolerated: &[],
    },
    Story {
        name: "refresh with a narrower scope",
        flow: |host, tokens| {
            Box::pin(async move {
                host.authority.refresh(tokens.refresh.expose(), Some("read"), &client()).await.map(drop)
            })
        },
        calls: &["take", "find", "find_by_id", "claims", "rotate"],
        tolerated: &[],
    },
    Story {
        name: "register",
        flow: |host, _| {
            Box::pin(async move {
                host.authority.register("Bob", secret(NEW_PASSWORD), &client()).await.map(drop)
            })
        },
        calls: &["create"],
        tolerated: &[],
    },
    Story {
        name: "change the password",
        flow: |host, tokens| {
            Box::pin(async move {
                let principal = host.authority.identify(tokens.access.expose())?;
                host.change_password(&principal, PASSWORD, NEW_PASSWORD).await
            })
        },
        calls: &["find_by_id", "take", "clear", "give_back", "revoke_all", "set_password_hash", "revoke_all"],
        tolerated: &["clear", "give_back"],
    },
    Story {
        name: "list sessions",
        flow: |host, _| Box::pin(async move { host.authority.sessions(&alice()).await.map(drop) }),
        calls: &["list"],
        tolerated: &[],
    },
    Story {
        name: "end a session",
        flow: |host, tokens| {
            Box::pin(async move {
                host.authority
                    .end_session(&tokens.session, None, EndReason::Logout, &client())
                    .await
                    .map(drop)
            })
        },
        calls: &["revoke"],
        tolerated: &[],
    },
    Story {
        name: "end all sessions",
        flow: |host, _| {
            Box::pin(async move {
                host.authority.end_sessions(&alice(), None, EndReason::Revoked, &client()).await.map(drop)
            })
        },
        calls: &["revoke_all"],
        tolerated: &[],
    },
    Story {
        name: "disable an account",
        flow: |host, _| {
            Box::pin(async move {
                let disable = UserChange { disabled: Some(true), ..UserChange::default() };
                host.authority.update_user(&alice(), &disable).await
            })
        },
        calls: &["update", "revoke_all"],
        tolerated: &[],
    },
    Story {
        name: "find an account",
        flow: |host, _| Box::pin(async move { host.authority.user(ALICE).await.map(drop) }),
        calls: &["find_by_name"],
        tolerated: &[],
    },
    Story {
        name: "pass a gate",
        flow: |host, _| Box::pin(async move { host.authority.admit(Gate::Login, &client()).await }),
        calls: &["take"],
        tolerated: &[],
    },
];

async fn logged_in() -> (Host, Tokens) {
    let host = host().await;
    let scope = UserChange { scope: Some(Some("read write".to_owned())), ..UserChange::default() };
    host.backend.change(&alice(), scope).await;
    let tokens = host.login().await;
    host.clock.advance(secs(1));
    host.backend.forget();
    host.sink.take();
    (host, tokens)
}

#[tokio::test]
async fn each_story_calls_what_it_says() {
    for story in STORIES {
        let (host, tokens) = logged_in().await;
        assert_eq!(told(&(story.flow)(&host, &tokens).await), "ok", "{}", story.name);
        assert_eq!(host.backend.calls(), story.calls, "{}", story.name);
    }
}

#[tokio::test]
async fn a_fault_anywhere_denies_and_trying_again_works() {
    for story in STORIES {
        for (number, call) in story.calls.iter().enumerate() {
            for (kind, trouble, expected) in [
                ("down, before", Trouble::FailsBefore(down), "unavailable"),
                ("down, after", Trouble::FailsAfter(down), "unavailable"),
                ("corrupt, before", Trouble::FailsBefore(corrupt), "fault"),
            ] {
                let case = format!("{}: {call} (call {number}) is {kind}", story.name);
                let (host, tokens) = logged_in().await;
                host.backend.trouble(At::Call(number), trouble);
                let outcome = told(&(story.flow)(&host, &tokens).await);
                let tolerated = story.tolerated.contains(call);
                assert_eq!(outcome, if tolerated { "ok" } else { expected }, "{case}");
                if tolerated {
                    let events = host.sink.names();
                    assert!(events.contains(&format!("{expected}: {expected}")), "{case}: {events:?}");
                    continue;
                }
                assert!(host.backend.calls().len() <= story.calls.len() + 2, "{case}: it went on");
                host.backend.recover();
                // The clock moves, as it does: a login of the same instant as a "revoke all" counts as under way.
                host.clock.advance(secs(1));
                let again = told(&(story.flow)(&host, &tokens).await);
                match (story.name, *call, trouble) {
                    // It had happened, so it cannot happen again.
                    ("register", "create", Trouble::FailsAfter(_)) => {
                        assert_eq!(again, "username_taken", "{case}")
                    }
                    ("change the password", "set_password_hash", Trouble::FailsAfter(_)) => {
                        assert_eq!(again, "invalid_credentials: wrong_password", "{case}");
                    }
                    ("change the password", "revoke_all", _) if number == 6 => {
                        assert_eq!(again, "invalid_credentials: wrong_password", "{case}");
                    }
                    _ => assert_eq!(again, "ok", "{case}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_fault_opens_no_session_that_was_not_answered() {
    let login = &STORIES[0];
    for number in 0..login.calls.len() {
        if login.tolerated.contains(&login.calls[number]) {
            continue;
        }
        let (host, tokens) = logged_in().await;
        host.backend.trouble(At::Call(number), Trouble::FailsBefore(down));
        assert!((login.flow)(&host, &tokens).await.is_err());
        assert_eq!(host.live_sessions().await, 1, "only the one from before");
        assert!(!host.sink.names().contains(&"login_succeeded".to_owned()));
    }
}

#[tokio::test]
async fn a_swap_whose_answer_was_lost_is_answered_within_the_grace() {
    for (call, trouble) in [
        ("rotate", Trouble::FailsAfter(down)),
        ("find_by_id", Trouble::FailsBefore(down)),
        ("claims", Trouble::FailsBefore(down)),
    ] {
        let (host, tokens) = logged_in().await;
        host.backend.trouble(At::Every(call), trouble);
        for _ in 0..3 {
            assert_eq!(told(&host.refresh(&tokens.refresh).await), "unavailable", "{call}");
        }
        host.backend.recover();
        host.clock.advance(secs(10));
        let second = host.refresh(&tokens.refresh).await.unwrap();
        assert_eq!(claims_of(&second.refresh)["gen"], json!(1), "{call}");
        // The identical successor, which rotates as ever.
        assert_eq!(host.refresh(&tokens.refresh).await.unwrap().refresh.expose(), second.refresh.expose());
        host.clock.advance(secs(11));
        assert!(host.refresh(&second.refresh).await.is_ok(), "{call}");
    }
}

/// A 503 never means logged out: what fails before the swap leaves the token unused, however long it fails.
#[tokio::test]
async fn an_outage_longer_than_the_grace_accuses_nobody() {
    for call in ["find", "find_by_id", "claims"] {
        let (host, tokens) = logged_in().await;
        host.backend.trouble(At::Every(call), Trouble::FailsBefore(down));
        assert_eq!(told(&host.refresh(&tokens.refresh).await), "unavailable", "{call}");
        host.clock.advance(secs(3600));
        host.backend.recover();
        assert!(host.refresh(&tokens.refresh).await.is_ok(), "{call}");
    }
}

#[tokio::test]
async fn a_new_password_never_stands_beside_other_sessions() {
    let change = STORIES.iter().find(|story| story.name == "change the password").unwrap();
    for number in 0..change.calls.len() {
        for trouble in [Trouble::FailsBefore(down), Trouble::FailsAfter(down)] {
            let (host, tokens) = logged_in().await;
            let other = host.login().await;
            host.clock.advance(secs(1));
            host.backend.forget();
            host.backend.trouble(At::Call(number), trouble);
            let outcome = (change.flow)(&host, &tokens).await;
            host.backend.recover();
            host.clock.advance(secs(1));

            let changed = host.backend.hash_of(&alice()).await != HASH;
            assert!(changed || outcome.is_err());
            // What the store says is what counts: the list follows it.
            let other_lives = host.row(&other.session).await.ended.is_none();
            assert!(!(changed && other_lives), "call {number}, {trouble:?}");
            // Whoever looks at the events learns of it, also where the answer was an error.
            if changed && !matches!(trouble, Trouble::FailsAfter(_)) {
                assert!(host.sink.names().contains(&"password_changed".to_owned()), "call {number}");
            }
            assert!(host.authenticate(&tokens).is_ok());
        }
    }
}

#[tokio::test]
async fn a_session_whose_end_was_not_answered_is_still_ended() {
    let host = host_with(|config| config.feed.poll = Duration::from_millis(10)).await;
    let tokens = host.login().await;
    host.backend.trouble(At::Every("revoke"), Trouble::FailsAfter(down));
    let outcome = host.authority.end_session(&tokens.session, None, EndReason::Logout, &client()).await;
    assert_eq!(told(&outcome), "unavailable");
    // The feed tells this node too what it could not hear.
    super::nodes::eventually("the session is refused", || host.authenticate(&tokens).is_err()).await;
}

/// The client repeats what was not answered, and finds its tokens dead when it is, whatever the feed has told.
#[tokio::test]
async fn an_end_that_is_repeated_is_known_here_before_it_is_answered() {
    for owner in [None, Some(alice())] {
        let host = host().await;
        let (tokens, other) = (host.login().await, host.login().await);
        host.backend.trouble(At::Every("revoked_since"), Trouble::FailsBefore(down));
        host.backend.trouble(At::Every("revoke"), Trouble::FailsAfter(down));
        let end = async |owner: Option<&SubjectId>| {
            let id = &tokens.session;
            host.authority.end_session(id, owner, EndReason::Logout, &client()).await
        };
        assert_eq!(told(&end(owner.as_ref()).await), "unavailable");
        assert!(host.row(&tokens.session).await.ended.is_some());
        assert!(host.authenticate(&tokens).is_ok());

        host.backend.recover();
        host.backend.trouble(At::Every("revoked_since"), Trouble::FailsBefore(down));
        // Not for who names a session that is another's.
        assert!(!end(Some(&SubjectId::new("subject-of-bob"))).await.unwrap());
        assert!(host.authenticate(&tokens).is_ok());
        assert!(!end(owner.as_ref()).await.unwrap());
        assert_eq!(told(&host.authenticate(&tokens)), "invalid_token: token_revoked");
        assert!(host.authenticate(&other).is_ok());
    }
}

#[tokio::test]
async fn without_randomness_nothing_is_granted() {
    for story in STORIES {
        let (host, tokens) = logged_in().await;
        host.random.fail_at(u64::MAX);
        assert_eq!(told(&(story.flow)(&host, &tokens).await), "ok");
        let numbers = host.random.calls();
        let expected = match story.name {
            // Session, refresh token, access token.
            "login" | "login over a session" => 3,
            // Refresh token, nonce, access token.
            "refresh" | "refresh with a narrower scope" => 3,
            // Salt and subject; salt.
            "register" => 2,
            "change the password" => 1,
            _ => 0,
        };
        assert_eq!(numbers, expected, "{}", story.name);
        for number in 0..numbers {
            let (host, tokens) = logged_in().await;
            host.random.fail_at(number);
            let outcome = (story.flow)(&host, &tokens).await;
            assert_eq!(told(&outcome), "fault", "{}, number {number}", story.name);
            host.random.fail_at(u64::MAX);
            host.clock.advance(secs(1));
            assert_eq!(told(&(story.flow)(&host, &tokens).await), "ok", "{}, number {number}", story.name);
        }
    }
}

#[tokio::test]
async fn a_row_that_does_not_open_is_a_fault() {
    let host = host().await;
    let first = host.login().await;
    let second = host.refresh(&first.refresh).await.unwrap();
    // The same swap by a node with other words in the row: what is sealed is not the live token.
    let mut attempt = Attempt {
        presented: Presented {
            session: first.session.clone(),
            generation: 1,
            digest: refresh::digest(second.refresh.expose()),
        },
        successor: crate::rotation::Successor {
            generation: 2,
            digest: refresh::digest("live"),
            sealed: b"not sealed at all".to_vec(),
            expires_at: NOW + DAY,
        },
        client: client(),
        now: NOW,
        policy: crate::rotation::Policy::BALANCED,
        seen: None,
    };
    attempt.successor.sealed.extend([0; 40]);
    host.backend.memory.rotate(&attempt).await.unwrap().unwrap();
    assert_eq!(told(&host.refresh(&second.refresh).await), "fault");
}
