use super::*;

#[tokio::test]
async fn a_guarded_request_does_no_io() {
    let host = host().await;
    let tokens = host.login().await;
    host.backend.forget();
    for _ in 0..1000 {
        assert!(host.authenticate(&tokens).is_ok());
        assert!(host.authority.identify(tokens.access.expose()).is_ok());
        assert!(host.authority.identify_refresh(tokens.refresh.expose()).is_ok());
    }
    let session = tokens.session.clone();
    assert!(host.authority.end_session(&session, None, EndReason::Logout, &client()).await.unwrap());
    assert_eq!(told(&host.authenticate(&tokens)), "invalid_token: token_revoked");
    assert_eq!(host.backend.calls(), ["revoke"]);
}

#[tokio::test]
async fn an_ended_session_is_refused_at_the_next_call_until_its_tokens_have_expired() {
    let host = host().await;
    let (tokens, other) = (host.login().await, host.login().await);
    assert!(
        host.authority
            .end_session(&tokens.session, Some(&alice()), EndReason::Revoked, &client())
            .await
            .unwrap()
    );
    assert!(host.authenticate(&other).is_ok());
    for at in [NOW, NOW + secs(899), NOW + secs(930) - MILLISECOND] {
        host.clock.set(at);
        let another = host.login().await;
        assert!(
            host.authority.end_session(&another.session, None, EndReason::Logout, &client()).await.unwrap()
        );
        assert_eq!(told(&host.authenticate(&tokens)), "invalid_token: token_revoked");
    }
    // Expiry is told before: a session that is over in any case gives nothing away.
    host.clock.set(NOW + secs(930));
    assert_eq!(told(&host.authenticate(&tokens)), "invalid_token: token_expired");

    // The list holds what could still verify and no more.
    host.clock.set(NOW + DAY);
    let late = host.login().await;
    assert!(host.authority.end_session(&late.session, None, EndReason::Logout, &client()).await.unwrap());
    nodes::eventually("forgotten", || host.authority.revoked_sessions() == 1).await;
}

#[tokio::test]
async fn a_session_is_ended_by_its_owner_alone_and_once() {
    let host = host().await;
    let tokens = host.login().await;
    let bob = SubjectId::new("subject-of-bob");
    let end = async |id: &SessionId, owner: Option<&SubjectId>| {
        host.authority.end_session(id, owner, EndReason::Revoked, &client()).await.unwrap()
    };
    assert!(!end(&tokens.session, Some(&bob)).await);
    assert!(host.authenticate(&tokens).is_ok());
    assert!(!end(&SessionId::new("unknown"), Some(&alice())).await);
    host.sink.take();
    assert!(end(&tokens.session, Some(&alice())).await);
    assert!(!end(&tokens.session, Some(&alice())).await);
    assert_eq!(host.sink.names(), ["session_ended: revoked"]);
}

#[tokio::test]
async fn all_sessions_but_one_are_ended() {
    let host = host().await;
    let (kept, other, third) = (host.login().await, host.login().await, host.login().await);
    host.sink.take();
    let end = async |keep| {
        host.authority.end_sessions(&alice(), keep, EndReason::Revoked, &client()).await.unwrap().len()
    };
    assert_eq!(end(Some(&kept.session)).await, 2);
    assert!(host.authenticate(&kept).is_ok());
    for tokens in [&other, &third] {
        assert_eq!(told(&host.authenticate(tokens)), "invalid_token: token_revoked");
    }
    assert_eq!(host.sink.names(), ["sessions_ended: revoked"]);
    // Where nothing was left to end, nothing happened.
    assert_eq!(end(Some(&kept.session)).await, 0);
    assert_eq!(host.sink.names(), [""; 0]);
    assert_eq!(end(None).await, 1);
    assert_eq!(told(&host.authenticate(&kept)), "invalid_token: token_revoked");
}

#[tokio::test]
async fn live_sessions_are_listed_newest_first() {
    let host = host().await;
    let first = host.login().await;
    host.clock.advance(secs(1));
    let second = host.login().await;
    host.clock.advance(secs(1));
    let ended = host.login().await;
    host.authority.end_session(&ended.session, None, EndReason::Logout, &client()).await.unwrap();
    let listed = async || -> Vec<SessionId> {
        host.authority.sessions(&alice()).await.unwrap().into_iter().map(|session| session.id).collect()
    };
    assert_eq!(listed().await, [second.session.clone(), first.session.clone()]);
    host.clock.set(NOW + 7 * DAY);
    assert_eq!(listed().await, [second.session]);
    assert!(host.authority.sessions(&SubjectId::new("nobody")).await.unwrap().is_empty());
}

#[tokio::test]
async fn any_of_its_tokens_names_a_session_for_logging_out() {
    let host = host().await;
    let first = host.login().await;
    let second = host.refresh(&first.refresh).await.unwrap();
    host.authority.end_session(&first.session, None, EndReason::Logout, &client()).await.unwrap();
    for tokens in [&first, &second] {
        let principal = host.authority.identify(tokens.access.expose()).unwrap();
        assert_eq!(principal.session(), &first.session);
        assert_eq!(host.authority.identify_refresh(tokens.refresh.expose()).as_ref(), Ok(&first.session));
    }
    assert_eq!(host.authority.identify_refresh(first.access.expose()), Err(TokenError::UnknownKey));
    assert!(host.authority.identify(first.refresh.expose()).is_err());
    host.clock.set(NOW + 7 * DAY);
    assert_eq!(host.authority.identify_refresh(first.refresh.expose()), Err(TokenError::Expired));
}

// ---- Passwords --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_and_keeps_this_one() {
    let host = host().await;
    let (kept, other) = (host.login().await, host.login().await);
    let principal = host.principal(&kept);
    host.backend.forget();
    host.sink.take();
    let (hashes, outcome) = host.hashes_of(host.change_password(&principal, PASSWORD, NEW_PASSWORD)).await;
    assert_eq!((told(&outcome).as_str(), hashes), ("ok", 2));
    assert_eq!(
        host.backend.calls(),
        ["find_by_id", "take", "clear", "give_back", "revoke_all", "set_password_hash", "revoke_all"]
    );
    assert_eq!(host.sink.names(), ["sessions_ended: password_change", "password_changed"]);

    assert!(host.authenticate(&kept).is_ok());
    assert!(host.refresh(&kept.refresh).await.is_ok());
    assert_eq!(told(&host.authenticate(&other)), "invalid_token: token_revoked");
    assert_eq!(told(&host.refresh(&other.refresh).await), "invalid_grant: session_ended");
    host.clock.advance(MILLISECOND);
    assert_eq!(told(&host.try_login(ALICE, PASSWORD).await), "invalid_credentials: wrong_password");
    assert_eq!(told(&host.try_login(ALICE, NEW_PASSWORD).await), "ok");
}

#[tokio::test]
async fn a_password_change_that_is_refused_changes_nothing() {
    let host = host().await;
    let (tokens, other) = (host.login().await, host.login().await);
    let principal = host.principal(&tokens);
    host.sink.take();
    for (current, new, expected, event) in [
        (
            WRONG,
            NEW_PASSWORD,
            "invalid_credentials: wrong_password",
            Some("password_change_failed: wrong_password"),
        ),
        (
            "",
            NEW_PASSWORD,
            "invalid_credentials: wrong_password",
            Some("password_change_failed: wrong_password"),
        ),
        (PASSWORD, "too short", "new_password: too_short", None),
        (PASSWORD, "passwordpassword", "new_password: common", None),
        (PASSWORD, "alice alice alice", "new_password: contains_username", None),
        // The current password is looked at first.
        (
            WRONG,
            "too short",
            "invalid_credentials: wrong_password",
            Some("password_change_failed: wrong_password"),
        ),
    ] {
        let outcome = host.change_password(&principal, current, new).await;
        assert_eq!(told(&outcome), expected);
        assert_eq!(host.sink.names(), event.into_iter().collect::<Vec<_>>());
        assert!(host.authenticate(&tokens).is_ok() && host.authenticate(&other).is_ok());
        assert_eq!(host.backend.hash_of(&alice()).await, HASH);
    }
}

#[tokio::test]
async fn guesses_at_the_current_password_count_as_failed_logins() {
    let host = host().await;
    let tokens = host.login().await;
    let principal = host.principal(&tokens);
    let guess = || host.change_password(&principal, WRONG, NEW_PASSWORD);
    for attempt in 0..5 {
        let outcome =
            if attempt % 2 == 0 { told(&guess().await) } else { told(&host.try_login(ALICE, WRONG).await) };
        assert_eq!(outcome, "invalid_credentials: wrong_password", "{attempt}");
    }
    let (hashes, outcome) = host.hashes_of(guess()).await;
    assert_eq!((told(&outcome).as_str(), hashes), ("rate_limited", 0));
    assert_eq!(told(&host.try_login(ALICE, PASSWORD).await), "rate_limited");
    // A throttle never touches sessions.
    assert!(host.authenticate(&tokens).is_ok());
}

#[tokio::test]
async fn who_has_ended_all_sessions_may_log_in_at_once() {
    let backend = Arc::new(Backend::default());
    backend.add("subject-of-alice", ALICE, HASH).await;
    let mut builder = Authority::builder();
    builder.keys(keys(Algorithm::EdDSA));
    builder.sessions(backend.clone());
    builder.users(backend);
    builder.config_mut().issuer = ISSUER.to_owned();
    let authority = builder.build().await.unwrap();
    for _ in 0..5 {
        authority.end_sessions(&alice(), None, EndReason::Revoked, &client()).await.unwrap();
        let outcome = authority.login(ALICE, secret(PASSWORD), &client(), None).await;
        assert_eq!(told(&outcome), "ok");
    }
}

#[tokio::test]
async fn a_password_that_somebody_else_changed_meanwhile_stays_theirs() {
    let host = host().await;
    let principal = host.principal(&host.login().await);
    let memory = host.backend.memory.clone();
    host.backend.meanwhile("set_password_hash", async move {
        assert!(memory.set_password_hash(&alice(), HASH, "theirs").await.unwrap());
    });
    let outcome = host.change_password(&principal, PASSWORD, NEW_PASSWORD).await;
    assert_eq!(told(&outcome), "invalid_credentials: stale");
    assert_eq!(host.backend.hash_of(&alice()).await, "theirs");
}

#[tokio::test]
async fn an_account_that_is_gone_or_has_no_password_changes_none() {
    let cases: [(Seen, &str); 4] = [
        (|_| None, "invalid_token: token_revoked"),
        (|user| Some(User { disabled: true, ..user }), "invalid_token: token_revoked"),
        (|user| Some(User { password_hash: None, ..user }), "invalid_credentials: wrong_password"),
        // A host's own table may hold names that we would not take.
        (|user| Some(User { username: "a\0b".to_owned(), ..user }), "ok"),
    ];
    for (seen, expected) in cases {
        let host = host().await;
        let principal = host.principal(&host.login().await);
        host.backend.sees(seen);
        let outcome = host.change_password(&principal, PASSWORD, NEW_PASSWORD).await;
        assert_eq!(told(&outcome), expected);
        let unchanged = host.backend.hash_of(&alice()).await == HASH;
        assert_eq!(unchanged, expected != "ok");
    }
}

// ---- Keys -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn keys_rotate_without_refusing_anybody() {
    let host = host().await;
    let before = host.login().await;
    host.sink.take();
    host.authority.rotate_keys().unwrap();
    assert_eq!(host.sink.names(), ["keys_changed: published"]);
    let after = host.login().await;
    let kid = |tokens: &Tokens| {
        let header = tokens.access.expose().split('.').next().unwrap();
        let header = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(header).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    assert_ne!(kid(&before), kid(&after));
    let set = host.authority.keys().jwk_set(host.authority.now());
    let set: Vec<_> =
        set["keys"].as_array().unwrap().iter().map(|jwk| jwk["kid"].as_str().unwrap()).collect();
    assert_eq!(set, [kid(&before), kid(&after)]);

    // Until the last token that the old key signed has expired, leeway and all.
    host.clock.set(NOW + secs(930) - MILLISECOND);
    assert!(host.authenticate(&before).is_ok());
    host.clock.set(NOW + secs(930));
    assert!(host.authenticate(&before).is_err());
    let set = host.authority.keys().jwk_set(host.authority.now());
    assert_eq!(set["keys"].as_array().unwrap().len(), 1);
    // Refresh tokens are signed with a secret of their own.
    assert!(host.refresh(&before.refresh).await.is_ok());
    assert_eq!(host.authority.algorithm(), Some(Algorithm::EdDSA));
}

#[tokio::test]
async fn a_published_key_signs_when_it_is_activated() {
    let host = host().await;
    let key = SigningKey::generate(Algorithm::ES256).unwrap();
    let kid = key.kid().to_owned();
    assert!(host.authority.activate_key(&kid).is_err());
    host.authority.publish_key(key).unwrap();
    assert_eq!(host.authority.algorithm(), Some(Algorithm::EdDSA));
    host.authority.activate_key(&kid).unwrap();
    assert_eq!(host.authority.algorithm(), Some(Algorithm::ES256));
    let tokens = host.login().await;
    assert!(host.authenticate(&tokens).is_ok());
    assert!(host.authority.activate_key(&kid).is_err());
}

#[tokio::test]
async fn a_running_application_follows_its_file_of_keys() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    let (clock, sink) = (Arc::new(ManualClock::new()), Arc::new(Sink::default()));
    let backend = Arc::new(Backend::default());
    backend.add("subject-of-alice", ALICE, HASH).await;
    let mut builder = Authority::builder();
    builder.keys(Keys::load_or_create(&path).unwrap());
    builder.sessions(backend.clone());
    builder.users(backend.clone());
    builder.clock(clock.clone());
    builder.events(sink.clone());
    let config = builder.config_mut();
    config.issuer = ISSUER.to_owned();
    config.hashing.threads = 1;
    config.keys_poll = Duration::from_millis(100);
    let authority = builder.build().await.unwrap();
    let told = async |kind: EventKind| {
        for _ in 0..3000 {
            if let Some(event) = sink.take().into_iter().find(|event| event.kind == kind) {
                return event;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{kind:?} was not told");
    };
    let tokens = async || {
        let user = backend.memory.find_by_id(&alice()).await.unwrap().unwrap();
        authority.open(&user, authority.now(), &client()).await.unwrap()
    };

    // Another process rotates: the key is known here before it signs, and signs when its time has come.
    let before = tokens().await;
    let next = SigningKey::generate(Algorithm::ES256).unwrap();
    let from = Some(NOW + MINUTE);
    Keys::edit(&path, |keys| keys.publish(KeyPurpose::Access, next.clone(), from)).unwrap();
    assert_eq!(told(EventKind::KeysChanged).await.reason, Some("reloaded"));
    assert_eq!(authority.algorithm(), Some(Algorithm::EdDSA));
    clock.advance(MINUTE);
    assert_eq!(authority.algorithm(), Some(Algorithm::ES256));
    let after = tokens().await;
    for tokens in [&before, &after] {
        assert!(authority.authenticate(tokens.access.expose()).is_ok());
    }
    assert!(!authority.reload_keys().unwrap());

    // A file that cannot be read is told of once, and changes nothing.
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, "half a file").unwrap();
    let event = told(EventKind::KeysUnreadable).await;
    assert!(event.cause.as_ref().unwrap().contains("not a key file"), "{event:?}");
    assert!(authority.reload_keys().is_err());
    assert!(authority.authenticate(after.access.expose()).is_ok());
    std::fs::write(&path, good).unwrap();
    let kid = authority.rotate_keys_in(MINUTE).unwrap();
    assert_eq!(sink.names(), ["keys_changed: published"]);
    assert!(Keys::load(&path).unwrap().list(NOW, KeyOverlap::LONGEST).iter().any(|info| info.kid == kid));
    authority.retire_key(&kid).unwrap();
    assert_eq!(sink.names(), ["keys_changed: retired"]);
}
