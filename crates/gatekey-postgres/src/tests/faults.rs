//! Lost races, lost connections, time limits, and rows that nobody can read.

use tokio::task::JoinHandle;

use super::*;

/// A connection that holds the row of a session, so that whoever wants to change it waits.
pub(super) async fn holding(place: &Place, id: &str) -> tokio_postgres::Client {
    let holder = client(&place.url).await;
    let lock = format!("BEGIN; SELECT 1 FROM @session WHERE id = '{id}' FOR UPDATE");
    holder.batch_execute(&place.fill(&lock)).await.unwrap();
    holder
}

/// Waits until so many of the schema's statements wait for a lock.
pub(super) async fn until_waiting(place: &Place, count: i64) {
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{}%'",
        place.schema
    );
    place.until(&waiting, |waiting| waiting >= count).await;
}

/// The first refresh of session `one`, under way.
pub(super) fn rotation(store: &PostgresStore) -> JoinHandle<Result<Option<Rotation>, StoreError>> {
    let store = store.clone();
    tokio::spawn(async move { store.rotate(&attempt("one", 0)).await })
}

/// Makes the first `failures` changes of a session fail as if another transaction had come first. The sequence counts
/// also what is undone.
async fn losing_races(place: &Place, failures: i64, state: &str) {
    place
        .run(&format!(
            "CREATE SEQUENCE IF NOT EXISTS \"@schema\".changes;
             ALTER SEQUENCE \"@schema\".changes RESTART;
             CREATE OR REPLACE FUNCTION \"@schema\".lose() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF nextval('\"@schema\".changes') <= {failures} THEN
                     RAISE EXCEPTION 'lost a race' USING ERRCODE = '{state}';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE OR REPLACE TRIGGER lose BEFORE INSERT OR UPDATE ON @session
                 FOR EACH ROW EXECUTE FUNCTION \"@schema\".lose();"
        ))
        .await;
}

#[tokio::test]
async fn lost_races_are_tried_again_and_not_for_ever() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    insert(&store, &session("one", "alice")).await;
    let made = "SELECT last_value FROM \"@schema\".changes";
    for (generation, state) in [(0, "40001"), (1, "40P01")] {
        losing_races(&place, 3, state).await;
        assert_eq!(outcome(&store, &attempt("one", generation)).await, Outcome::Rotated);
        assert_eq!(place.number(made).await, 4);
    }
    // Every verb that changes a row: whole transactions are made again.
    losing_races(&place, 2, "40001").await;
    insert(&store, &session("two", "alice")).await;
    losing_races(&place, 2, "40001").await;
    let ended = store.revoke_all(&SubjectId::new("alice"), None, EndReason::Revoked, NOW).await.unwrap();
    assert_eq!(ended.len(), 2);

    losing_races(&place, i64::MAX, "40001").await;
    assert_unavailable(store.insert(&session("three", "bob"), 9).await);
    assert_eq!(place.number(made).await, 6);
    losing_races(&place, 0, "40001").await;
    assert_eq!(store.find(&SessionId::new("three")).await.unwrap(), None);
    insert(&store, &session("three", "bob")).await;
    drop(store);
    place.leave().await;
}

#[tokio::test]
async fn concurrent_refreshes_succeed_where_the_database_is_serializable() {
    let Some(place) = Place::find().await else { return };
    // The words of the URL win over ours.
    let url = place.url_with("options=-c%20default_transaction_isolation%3Dserializable");
    let store = place.options().connect(&url).await.unwrap();
    insert(&store, &session("one", "alice")).await;
    let refreshes: Vec<_> = (0..8).map(|_| rotation(&store)).collect();
    let mut rotated = 0;
    for refresh in refreshes {
        match refresh.await.unwrap() {
            Ok(Some(rotation)) if rotation.outcome == Outcome::Rotated => rotated += 1,
            Ok(Some(rotation)) => assert_eq!(rotation.outcome, Outcome::Replayed),
            // Six attempts may not be enough for eight at once: the client tries again.
            other => assert_unavailable(other),
        }
    }
    assert_eq!(rotated, 1);
    drop(store);
    place.leave().await;
}

#[tokio::test]
async fn a_killed_connection_is_unavailable_once_and_then_replaced() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    insert(&store, &session("one", "alice")).await;
    let holder = holding(&place, "one").await;
    let refresh = rotation(&store);
    until_waiting(&place, 1).await;
    let kill = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE pid <> pg_backend_pid() AND wait_event_type = 'Lock' AND query LIKE '%{}%'",
        place.schema
    );
    assert_eq!(place.number(&kill).await, 1);
    assert_unavailable(refresh.await.unwrap());
    holder.batch_execute("ROLLBACK").await.unwrap();
    // The update that waited was undone with its connection.
    assert_eq!(outcome(&store, &attempt("one", 0)).await, Outcome::Rotated);

    // All of the pool at once, while nobody uses them: as when the server restarts.
    let kill = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE pid <> pg_backend_pid() AND query LIKE '%{}%'",
        place.schema
    );
    assert!(place.number(&kill).await >= 1);
    let mut answered = store.find(&SessionId::new("one")).await;
    for _ in 0..20 {
        if answered.is_ok() {
            break;
        }
        assert_unavailable(answered);
        answered = store.find(&SessionId::new("one")).await;
    }
    assert_eq!(answered.unwrap().unwrap().chain.generation, 1);
    drop((store, holder));
    place.leave().await;
}

#[tokio::test]
async fn a_call_ends_when_its_time_is_over_and_holds_no_lock_after() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    insert(&store, &session("one", "alice")).await;
    let hasty = place.options().timeout(SECOND * 2).connect(&place.url).await.unwrap();
    let holder = holding(&place, "one").await;
    // The store's own limit is a minute.
    let refused = tokio::time::timeout(PATIENCE / 2, rotation(&hasty)).await;
    assert_unavailable(refused.expect("an end").unwrap());
    let alice = SubjectId::new("alice");
    let ending = hasty.revoke_all(&alice, None, EndReason::Revoked, NOW);
    assert_unavailable(tokio::time::timeout(PATIENCE / 2, ending).await.expect("an end"));
    holder.batch_execute("ROLLBACK").await.unwrap();
    // Neither took place later, and neither holds anything.
    insert(&store, &session("two", "alice")).await;
    assert_eq!(outcome(&store, &attempt("one", 0)).await, Outcome::Rotated);
    drop((store, hasty, holder));
    place.leave().await;
}

#[tokio::test]
async fn a_pool_that_is_used_up_is_unavailable_in_time() {
    let Some(place) = Place::find().await else { return };
    // One for transactions, one for all else.
    let options = place.options().pool_size(2).pool_timeout(SECOND);
    let store = options.connect(&place.url).await.unwrap();
    insert(&store, &session("one", "alice")).await;
    let holder = holding(&place, "one").await;
    let ending = tokio::spawn({
        let store = store.clone();
        async move { store.revoke_all(&SubjectId::new("alice"), None, EndReason::Revoked, NOW).await }
    });
    until_waiting(&place, 1).await;
    let two = session("two", "bob");
    let refused = tokio::time::timeout(PATIENCE / 2, store.insert(&two, 9)).await;
    assert_unavailable(refused.expect("an end"));
    assert!(store.find(&SessionId::new("one")).await.unwrap().is_some());
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(ending.await.unwrap().unwrap(), [SessionId::new("one")]);
    insert(&store, &two).await;
    drop((store, holder));
    place.leave().await;
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections_is_unavailable() {
    let Some(place) = Place::find().await else { return };
    drop(place.store().await);
    let role = format!("few_{}", place.schema);
    place
        .run(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'few' CONNECTION LIMIT 2;
             GRANT ALL ON SCHEMA \"@schema\" TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA \"@schema\" TO {role};"
        ))
        .await;
    let store = place.options().connect(&place.url_as(&role, "few")).await.unwrap();
    insert(&store, &session("one", "alice")).await;
    let holder = holding(&place, "one").await;
    let refresh = rotation(&store);
    until_waiting(&place, 1).await;
    assert_unavailable(store.subscribe().await);
    assert_unavailable(store.find(&SessionId::new("one")).await);
    holder.batch_execute("ROLLBACK").await.unwrap();
    refresh.await.unwrap().unwrap();
    drop((store, holder));
    place.run(&format!("DROP SCHEMA \"@schema\" CASCADE; DROP OWNED BY {role}")).await;
    drop_role(&place, &role).await;
    place.leave().await;
}

/// A role goes once its last connection is gone.
async fn drop_role(place: &Place, role: &str) {
    let dropping = async {
        while place.admin.batch_execute(&format!("DROP ROLE {role}")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dropping).await.expect("its connections end");
}

#[tokio::test]
async fn a_server_that_only_reads_is_unavailable_for_writing() {
    let Some(place) = Place::find().await else { return };
    let writing = place.store().await;
    insert(&writing, &session("one", "alice")).await;
    let url = place.url_with("options=-c%20default_transaction_read_only%3Don");
    let store = place.options().connect(&url).await.unwrap();
    assert!(store.find(&SessionId::new("one")).await.unwrap().is_some());
    assert_unavailable(store.rotate(&attempt("one", 0)).await);
    assert_unavailable(store.insert(&session("two", "alice"), 9).await);
    drop((store, writing));
    place.leave().await;
}

#[tokio::test]
async fn what_cannot_have_been_written_is_corrupt() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    insert(&store, &session("one", "alice")).await;
    let duplicate = store.insert(&session("one", "alice"), 9).await.unwrap_err();
    assert!(matches!(duplicate, StoreError::Corrupt(_)), "{duplicate}");
    // The server's own text would quote the row.
    assert!(!duplicate.to_string().contains("(one)"), "{duplicate}");

    place.run("UPDATE @session SET ended_at = 1, end_reason = 'nonsense'").await;
    assert_corrupt(store.find(&SessionId::new("one")).await);
    assert_corrupt(store.rotate(&attempt("one", 0)).await);
    assert_corrupt(
        store.list(&SubjectId::new("alice"), NOW).await.and(store.find(&SessionId::new("one")).await),
    );
    for half in [
        "ended_at = NULL",
        "ended_at = 1, end_reason = NULL",
        "ended_at = NULL, parent = live",
        "parent = NULL, parent_generation = 1",
        "parent_generation = NULL, live = '\\x00'",
    ] {
        place.run(&format!("UPDATE @session SET {half}")).await;
        assert_corrupt(store.find(&SessionId::new("one")).await);
        assert_corrupt(store.rotate(&attempt("one", 0)).await);
    }
    place.run(&format!("UPDATE @session SET live = '\\x{}'", "07".repeat(32))).await;
    assert!(store.find(&SessionId::new("one")).await.unwrap().is_some());
    place.run("ALTER TABLE @session ALTER COLUMN scope TYPE integer USING 1").await;
    // A connection that prepared the statement before would be told that its plan is old.
    let fresh = place.store().await;
    assert_corrupt(fresh.find(&SessionId::new("one")).await);
    place.run("DROP TABLE @session").await;
    assert_corrupt(fresh.find(&SessionId::new("one")).await);
    drop((store, fresh));
    place.leave().await;
}

/// PostgreSQL's text has no NUL. What is looked for with one is not there; what would be written with one is refused.
#[tokio::test]
async fn text_with_nul_never_reaches_the_server() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    insert(&store, &session("one", "alice")).await;
    let (odd_id, odd_subject) = (SessionId::new("one\0"), SubjectId::new("alice\0"));
    let (id, subject, reason) = (SessionId::new("one"), SubjectId::new("alice"), EndReason::Revoked);
    assert_eq!(store.find(&odd_id).await.unwrap(), None);
    assert_eq!(store.rotate(&attempt("one\0", 0)).await.unwrap(), None);
    assert_eq!(store.list(&odd_subject, NOW).await.unwrap(), []);
    assert!(!store.revoke(&odd_id, None, reason, NOW).await.unwrap());
    assert!(!store.revoke(&id, Some(&odd_subject), reason, NOW).await.unwrap());
    assert!(store.find_by_id(&odd_subject).await.unwrap().is_none());
    assert!(!store.set_password_hash(&odd_subject, "old", "new").await.unwrap());
    assert!(!store.set_password_hash(&subject, "old\0", "new").await.unwrap());
    assert!(!store.update(&odd_subject, &UserChange::default()).await.unwrap());
    assert_corrupt(store.insert(&session("two\0", "alice"), 9).await);
    assert_corrupt(store.insert(&session("two", "alice\0"), 9).await);
    assert_corrupt(store.revoke_all(&odd_subject, None, reason, NOW).await);
    assert_corrupt(store.set_password_hash(&subject, "old", "new\0").await);
    let roles = UserChange { roles: Some(vec!["admin\0".to_owned()]), ..UserChange::default() };
    assert_corrupt(store.update(&subject, &roles).await);
    let mut odd_client = attempt("one", 0);
    odd_client.client.user_agent = Some("a\0".to_owned());
    assert_corrupt(store.rotate(&odd_client).await);

    let kept = store.revoke_all(&subject, Some(&odd_id), reason, NOW).await.unwrap();
    assert_eq!(kept, [id]);
    drop(store);
    place.leave().await;
}

/// actix-web runs each thread as a runtime of its own, and ends them one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_the_runtime_that_asked_for_it() {
    let Some(place) = Place::find().await else { return };
    let url = place.url_with(&format!("application_name={}", place.schema));
    let store = place.options().pool_size(4).connect(&url).await.unwrap();
    insert(&store, &session("one", "alice")).await;
    let connections = format!(
        "SELECT coalesce(sum(pid), 0)::bigint FROM pg_stat_activity WHERE application_name = '{}'",
        place.schema
    );

    // The first lane waits, so the thread connects the second.
    let holder = holding(&place, "one").await;
    let waiting = rotation(&store);
    until_waiting(&place, 1).await;
    let thread = std::thread::spawn({
        let store = store.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(store.find(&SessionId::new("one"))).unwrap();
        }
    });
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    let before = place.number(&connections).await;
    assert!(store.find(&SessionId::new("one")).await.unwrap().is_some());
    assert_eq!(place.number(&connections).await, before);

    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().unwrap().outcome, Outcome::Rotated);
    place.leave().await;
}

/// A store that is kept for longer than what made it.
#[test]
fn a_store_outlives_the_runtime_that_made_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let Some(place) = first.block_on(Place::find()) else { return };
    let store = first.block_on(place.store());
    drop(first);
    let url = place.url.clone();
    runtime().block_on(async move {
        insert(&store, &session("one", "alice")).await;
        assert_eq!(outcome(&store, &attempt("one", 0)).await, Outcome::Rotated);
        let leave = format!("DROP SCHEMA \"{}\" CASCADE", place.schema);
        client(&url).await.batch_execute(&leave).await.unwrap();
    });
}
