//! Connecting: tables, nodes that start at once, names, privileges, and what is said when it fails.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn ten_nodes_start_at_once() {
    let Some(place) = Place::find().await else { return };
    let nodes: Vec<_> = (0..10)
        .map(|node| {
            let (options, url) = (place.options().pool_size(2), place.url.clone());
            tokio::spawn(async move {
                let store = options.connect(&url).await.unwrap();
                insert(&store, &session(&format!("node-{node}"), "alice")).await;
            })
        })
        .collect();
    for node in nodes {
        node.await.unwrap();
    }
    assert_eq!(place.number("SELECT count(*) FROM @version").await, 1);
    assert_eq!(place.number("SELECT count(*) FROM @session").await, 10);
    place.leave().await;
}

#[tokio::test]
async fn tables_of_another_version_are_left_as_they_are() {
    let Some(place) = Place::find().await else { return };
    let refused = |options: PostgresOptions| {
        let url = place.url.clone();
        async move { options.connect(&url).await.unwrap_err() }
    };
    let schema = format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{}'", place.schema);

    let error = refused(place.options().migrate(false)).await;
    assert!(matches!(error, ConnectError::Schema { found: 0, known: 1, .. }), "{error}");
    assert_eq!(place.number(&schema).await, 0);

    let store = place.store().await;
    insert(&store, &session("kept", "alice")).await;
    drop(store);
    place.options().migrate(false).connect(&place.url).await.unwrap();

    place.run("UPDATE @version SET version = 9, suits = 2").await;
    for migrate in [false, true] {
        let error = refused(place.options().migrate(migrate)).await;
        assert!(matches!(error, ConnectError::Schema { found: 9, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("version 9"), "{error}");
    }
    assert_eq!(place.number("SELECT count(*) FROM @session").await, 1);
    place.leave().await;
}

/// What an upgrade does that only adds: nodes of this version go on beside those of the next, and may start again.
#[tokio::test]
async fn nodes_go_on_where_a_newer_version_only_added_to_the_tables() {
    let Some(place) = Place::find().await else { return };
    let running = place.store().await;
    insert(&running, &session("before", "alice")).await;
    assert_eq!(outcome(&running, &attempt("before", 0)).await, Outcome::Rotated);
    place
        .run(
            "ALTER TABLE @session ADD COLUMN device text, ADD COLUMN trusted boolean NOT NULL DEFAULT false;
             ALTER TABLE @user ADD COLUMN email text;
             CREATE INDEX ON @session (device) WHERE device IS NOT NULL;
             CREATE TABLE \"@schema\".gatekey_device (id text PRIMARY KEY);
             UPDATE @version SET version = 2;
             UPDATE @session SET device = 'phone', trusted = true",
        )
        .await;
    let started = [place.store().await, place.options().migrate(false).connect(&place.url).await.unwrap()];
    for (store, generation) in started.iter().chain([&running]).zip([1, 2, 3]) {
        assert_eq!(outcome(store, &attempt("before", generation)).await, Outcome::Rotated);
        insert(store, &session(&format!("since-{generation}"), "alice")).await;
        assert_eq!(
            store.list(&SubjectId::new("alice"), NOW).await.unwrap().len(),
            usize::from(generation) + 1
        );
    }
    // What the other version wrote is kept, and its version too.
    assert_eq!(place.number("SELECT count(*) FROM @session WHERE trusted AND device = 'phone'").await, 1);
    assert_eq!(place.number("SELECT count(*) FROM @version WHERE version = 2 AND suits = 1").await, 1);
    assert!(running.revoke(&SessionId::new("before"), None, EndReason::Logout, NOW).await.unwrap());
    drop((running, started));
    place.leave().await;
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let Some(place) = Place::find().await else { return };
    place.run("CREATE SCHEMA \"@schema\"; CREATE TABLE @throttle (theirs integer)").await;
    let error = place.options().connect(&place.url).await.unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    let tables = format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{}'", place.schema);
    assert_eq!(place.number(&tables).await, 1);
    place.leave().await;
}

#[tokio::test]
async fn stores_with_other_names_live_side_by_side() {
    let Some(place) = Place::find().await else { return };
    // A keyword, capital letters, no prefix: quoted, so they are names like others.
    place.run("DROP SCHEMA IF EXISTS \"Select\" CASCADE").await;
    let all = [place.options(), place.options().prefix(""), place.options().prefix("other_")];
    let all = all.into_iter().chain([PostgresOptions::default().schema("Select").prefix("Table")]);
    let mut stores = Vec::new();
    for options in all {
        let store = options.connect(&place.url).await.unwrap();
        insert(&store, &session("one", "alice")).await;
        stores.push(store);
    }
    let [first, others @ ..] = stores.as_slice() else { panic!("no stores") };
    let mut theirs = Vec::new();
    for other in others {
        theirs.push(other.subscribe().await.unwrap().unwrap());
    }
    let ended = first.revoke_all(&SubjectId::new("alice"), None, EndReason::Revoked, NOW).await.unwrap();
    assert_eq!(ended.len(), 1);
    for (other, heard) in others.iter().zip(&mut theirs) {
        assert_eq!(other.find(&SessionId::new("one")).await.unwrap().unwrap().ended, None);
        let nothing = tokio::time::timeout(Duration::from_millis(50), heard.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }
    drop((stores, theirs));
    place.run("DROP SCHEMA \"Select\" CASCADE").await;
    place.leave().await;
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_without_telling_secrets() {
    let secret = "s3cr3t";
    for (url, options, what) in [
        ("postgres://app:s3cr3t@localhost:port/app", PostgresOptions::default(), "connection string"),
        ("nonsense s3cr3t", PostgresOptions::default(), "connection string"),
        ("postgres://app:s3cr3t@db.example.com/app", PostgresOptions::default(), "sslmode"),
        ("postgres://app:s3cr3t@db.example.com/app?sslmode=prefer", PostgresOptions::default(), "sslmode"),
        ("host=localhost hostaddr=192.0.2.1 user=app", PostgresOptions::default(), "sslmode"),
        ("postgres://app:s3cr3t@localhost/app", PostgresOptions::default().schema("a\"b"), "schema"),
        ("postgres://app:s3cr3t@localhost/app", PostgresOptions::default().prefix("a b"), "prefix"),
    ] {
        let error = options.connect(url).await.unwrap_err();
        assert!(matches!(error, ConnectError::Settings(_)), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(what) && !shown.contains(secret), "{shown}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Somebody listens here and never says a word.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [closed, mute.local_addr().unwrap()] {
        let options = PostgresOptions::default().pool_timeout(Duration::from_millis(300));
        let url = format!("postgres://app:{secret}@{address}/app");
        let error = options.connect(&url).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(&format!("{address}/app")) && !shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn neither_a_wrong_password_nor_a_store_is_shown() {
    let Some(place) = Place::find().await else { return };
    let url = place.url_as("nobody_of_this_name", "s3cr3t");
    let error = PostgresOptions::default().connect(&url).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("SQLSTATE 28") && !shown.contains("s3cr3t"), "{shown}");

    let store = place.store().await;
    let password = place.url.split(['/', ':', '@']).nth(4).unwrap();
    let shown = format!("{store:?} {store:#?}");
    assert!(shown.contains(&place.schema) && !shown.contains(password), "{shown}");
    drop(store);
    place.leave().await;
}

#[tokio::test]
async fn a_session_comes_with_its_account_if_there_is_one() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    let alice = NewUser {
        id: SubjectId::new("alice"),
        username: Username::new("Alice").unwrap(),
        password_hash: PasswordHash::new("a hash"),
        created_at: NOW,
    };
    store.create(alice).await.unwrap().unwrap();
    let change = UserChange { roles: Some(vec!["admin".to_owned()]), disabled: Some(true), scope: None };
    assert!(store.update(&SubjectId::new("alice"), &change).await.unwrap());
    for id in ["alice", "nobody"] {
        insert(&store, &session(id, id)).await;
        assert_eq!(outcome(&store, &attempt(id, 0)).await, Outcome::Rotated);
        let row = store.find(&SessionId::new(id)).await.unwrap();
        let user = store.find_by_id(&SubjectId::new(id)).await.unwrap();
        let (found, account) = store.find_with_account(&SessionId::new(id)).await.unwrap().unwrap();
        assert_eq!(Some(found), row);
        assert_eq!(user.is_some(), id == "alice");
        assert_eq!(format!("{account:?}"), format!("{:?}", Account::Here(user)));
    }
    assert!(store.find_with_account(&SessionId::new("none")).await.unwrap().is_none());
    drop(store);
    place.leave().await;
}

#[tokio::test]
async fn a_role_with_the_documented_privileges_can_do_no_more_than_serve() {
    let Some(place) = Place::find().await else { return };
    drop(place.store().await);
    let role = format!("app_{}", place.schema);
    let grants = include_str!("../../sql/least_privilege.sql")
        .replace("gatekey_app", &role)
        .replace("public", &place.schema);
    place.run(&grants).await;
    // The whole store suite runs under such a role in tests/conformance.rs.
    let url = place.url_as(&role, "a long random one");
    let store = place.options().migrate(false).connect(&url).await.unwrap();
    insert(&store, &session("one", "alice")).await;
    drop(store);
    // With migrations on, as long as there is nothing to migrate.
    drop(place.options().connect(&url).await.unwrap());

    let role_client = client(&url).await;
    for forbidden in [
        "DROP TABLE @session",
        "TRUNCATE @session",
        "ALTER TABLE @session ADD COLUMN x integer",
        "CREATE TABLE \"@schema\".mine (x integer)",
        "CREATE SCHEMA mine",
        "DELETE FROM @user",
        "UPDATE @user SET id = 'other'",
        "UPDATE @user SET name = 'other'",
        "DELETE FROM @revoked_all",
        "UPDATE @version SET version = 0",
    ] {
        let error = role_client.batch_execute(&place.fill(forbidden)).await.unwrap_err();
        let state = error.code().map(tokio_postgres::error::SqlState::code);
        assert_eq!(state, Some("42501"), "{forbidden}");
    }
    let other = place.options().prefix("other_").connect(&url).await.unwrap_err();
    assert!(other.to_string().contains("42501"), "{other}");
    drop(role_client);
    place.run(&format!("DROP SCHEMA \"@schema\" CASCADE; DROP ROLE {role}")).await;
    place.leave().await;
}
