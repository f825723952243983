use super::*;
use crate::password::PasswordPolicy;

async fn register(host: &Host, name: &str, password: &str) -> Result<User, AuthError> {
    host.authority.register(name, secret(password), &client()).await
}

#[tokio::test]
async fn registering_creates_an_account_and_opens_no_session() {
    let host = host().await;
    let user = register(&host, "Bob", NEW_PASSWORD).await.unwrap();
    assert_eq!(host.backend.calls(), ["create"]);
    assert_eq!((&*user.username, user.created_at, user.disabled), ("Bob", NOW, false));
    assert!(user.roles.is_empty() && user.scope.is_none());
    // 128 random bits.
    assert_eq!(user.id.as_str().len(), 22);
    assert!(host.backend.hash_of(&user.id).await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    let sessions = host.backend.memory.list(&user.id, NOW).await.unwrap();
    assert!(sessions.is_empty());
    assert!(host.try_login("bob", NEW_PASSWORD).await.is_ok());
}

#[tokio::test]
async fn a_field_that_breaks_a_rule_costs_neither_a_hash_nor_a_look_at_the_store() {
    let host = host().await;
    let long_name = "x".repeat(129);
    let long_password = "x y".repeat(100);
    for (name, password, expected) in [
        ("", NEW_PASSWORD, "username: too_short"),
        (long_name.as_str(), NEW_PASSWORD, "username: too_long"),
        ("bob\n", NEW_PASSWORD, "username: characters"),
        ("bob", "14 code points", "password: too_short"),
        ("bob", &long_password, "password: too_long"),
        ("bob", "PasswordPassword", "password: common"),
        ("bobby@example.com", "bobby@example.com", "password: contains_username"),
    ] {
        let (hashes, outcome) = host.hashes_of(register(&host, name, password)).await;
        assert_eq!((told(&outcome).as_str(), hashes), (expected, 0), "{name}");
    }
    assert!(host.backend.calls().is_empty());
}

#[tokio::test]
async fn a_name_that_is_taken_is_told_after_the_same_work() {
    let host = host().await;
    for name in ["Alice", "alice", "ＡＬＩＣＥ"] {
        let (hashes, outcome) = host.hashes_of(register(&host, name, NEW_PASSWORD)).await;
        assert_eq!((told(&outcome).as_str(), hashes), ("username_taken", 1), "{name}");
    }
    assert_eq!(host.backend.hash_of(&alice()).await, HASH);
}

#[tokio::test]
async fn a_password_from_a_breach_is_refused_and_a_check_that_fails_refuses_too() {
    let backend = Arc::new(Backend::default());
    backend.add("subject-of-alice", ALICE, HASH).await;
    lock(&backend.breached).push(NEW_PASSWORD.to_owned());
    let policy = PasswordPolicy::default().breach_check(backend.clone());
    let host =
        node(&backend, &Arc::new(ManualClock::new()), |config| config.passwords = policy).await.unwrap();
    let principal = host.principal(&host.login().await);
    let change = || host.change_password(&principal, PASSWORD, NEW_PASSWORD);

    assert_eq!(told(&register(&host, "bob", NEW_PASSWORD).await), "password: common");
    assert_eq!(told(&change().await), "new_password: common");
    backend.trouble(At::Every("is_breached"), Trouble::FailsBefore(down));
    assert_eq!(told(&register(&host, "bob", NEW_PASSWORD).await), "unavailable");
    assert_eq!(told(&change().await), "unavailable");
    assert_eq!(backend.hash_of(&alice()).await, HASH);
    assert!(!backend.calls().contains(&"create"));
}

#[tokio::test]
async fn an_administrators_change_shows_at_the_next_refresh() {
    let host = host().await;
    let tokens = host.login().await;
    let change = UserChange { roles: Some(vec!["admin".to_owned()]), ..UserChange::default() };
    host.authority.update_user(&alice(), &change).await.unwrap();
    assert!(host.principal(&tokens).roles().is_empty());
    let tokens = host.refresh(&tokens.refresh).await.unwrap();
    assert_eq!(host.principal(&tokens).roles(), ["admin"]);

    let nobody = SubjectId::new("nobody");
    assert_eq!(told(&host.authority.update_user(&nobody, &change).await), "not_found");
}

#[tokio::test]
async fn disabling_an_account_ends_its_sessions_at_once() {
    let host = host().await;
    let (first, second) = (host.login().await, host.login().await);
    let disable = UserChange { disabled: Some(true), ..UserChange::default() };
    host.authority.update_user(&alice(), &disable).await.unwrap();
    for tokens in [&first, &second] {
        assert_eq!(told(&host.authenticate(tokens)), "invalid_token: token_revoked");
        assert_eq!(told(&host.refresh(&tokens.refresh).await), "invalid_grant: subject_gone");
    }
    assert_eq!(told(&host.try_login(ALICE, PASSWORD).await), "invalid_credentials: disabled");

    // Enabled again, nothing comes back to life.
    let enable = UserChange { disabled: Some(false), ..UserChange::default() };
    host.authority.update_user(&alice(), &enable).await.unwrap();
    assert_eq!(told(&host.authenticate(&first)), "invalid_token: token_revoked");
    host.clock.advance(MILLISECOND);
    assert!(host.try_login(ALICE, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn an_account_is_found_by_its_name() {
    let host = host().await;
    assert_eq!(host.authority.user("aLICE").await.unwrap().id, alice());
    for name in ["bob", "", "a\0b"] {
        assert_eq!(told(&host.authority.user(name).await), "not_found", "{name:?}");
    }
}

/// The users table of a host that neither registers nor administers here.
#[derive(Debug)]
struct HostsUsers(Arc<Backend>);

#[async_trait]
impl UserStore for HostsUsers {
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError> {
        self.0.find_by_name(name).await
    }

    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError> {
        self.0.find_by_id(id).await
    }

    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError> {
        self.0.set_password_hash(id, old, new).await
    }
}

#[tokio::test]
async fn a_host_without_registration_can_do_everything_else() {
    let backend = Arc::new(Backend::default());
    backend.add("subject-of-alice", ALICE, HASH).await;
    let mut builder = Authority::builder();
    builder.config_mut().issuer = ISSUER.to_owned();
    builder.keys(keys(Algorithm::EdDSA));
    builder.sessions(backend.clone());
    builder.users(Arc::new(HostsUsers(backend.clone())));
    let authority = builder.build().await.unwrap();

    // A fault of the set-up, and no answer that a client could act on.
    let registered = authority.register("bob", secret(NEW_PASSWORD), &client()).await;
    assert_eq!(told(&registered), "fault");
    assert_eq!(registered.unwrap_err().to_string(), "fault: the store does not support this call");
    let disable = UserChange { disabled: Some(true), ..UserChange::default() };
    assert_eq!(told(&authority.update_user(&alice(), &disable).await), "fault");

    let tokens = authority.login(ALICE, secret(PASSWORD), &client(), None).await.unwrap();
    let tokens = authority.refresh(tokens.refresh.expose(), None, &client()).await.unwrap();
    let principal = authority.authenticate(tokens.access.expose()).unwrap();
    let changed =
        authority.change_password(&principal, secret(PASSWORD), secret(NEW_PASSWORD), &client()).await;
    assert_eq!(told(&changed), "ok");
}
