//! What a refresh costs: statements, indexes, dead rows.

use super::*;

#[tokio::test]
async fn a_refresh_is_one_statement() {
    let Some(place) = Place::find().await else { return };
    let preloaded = place.admin.query_one("SHOW shared_preload_libraries", &[]).await.unwrap();
    if !preloaded.get::<_, String>(0).contains("pg_stat_statements") {
        not_run("a_refresh_is_one_statement", "the server has no pg_stat_statements");
        return;
    }
    let (apart, leave) = place.apart().await;
    let counting = &apart.admin;
    counting.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();

    let store = apart.options().pool_size(1).connect(&apart.url).await.unwrap();
    insert(&store, &session("one", "alice")).await;
    // The first of a connection also prepares the statement.
    assert_eq!(outcome(&store, &attempt("one", 0)).await, Outcome::Rotated);
    // As core asks: with the row that it has read.
    let mut seen = store.find(&SessionId::new("one")).await.unwrap();
    counting.batch_execute("SELECT pg_stat_statements_reset()").await.unwrap();
    for generation in 1..=100 {
        let rotation = store.rotate(&Attempt { seen, ..attempt("one", generation) }).await.unwrap().unwrap();
        assert_eq!(rotation.outcome, Outcome::Rotated);
        seen = Some(rotation.session);
    }
    let statements = "SELECT query, calls FROM pg_stat_statements AS statement
         JOIN pg_database ON pg_database.oid = dbid AND datname = current_database()
         WHERE query NOT LIKE '%pg_stat_statements%'";
    let statements = counting.query(statements, &[]).await.unwrap();
    let statements: Vec<(String, i64)> = statements.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(matches!(&*statements, [(query, 100)] if query.starts_with("UPDATE")), "{statements:?}");

    drop((store, apart));
    place.run(&leave).await;
    place.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_are_heap_only_updates() {
    let Some(place) = Place::find().await else { return };
    let (apart, leave) = place.apart().await;
    let store = apart.store().await;
    let sessions: Vec<_> = (0..100).map(|number| format!("session-{number:018}")).collect();
    for id in &sessions {
        insert(&store, &session(id, id)).await;
    }
    drop(store);
    let counted = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = '@session'::regclass";
    let hot = "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = '@session'::regclass";
    let size = "SELECT pg_relation_size('@session')";
    // As long as any transaction of the server is open, and others test beside us, old versions of rows stay and fill
    // the pages. So we wait for a round in which none was; the first fills empty pages.
    for round in 0..30_u8 {
        let (hot_before, size_before) = (apart.number(hot).await, apart.number(size).await);
        let store = apart.options().pool_size(1).connect(&apart.url).await.unwrap();
        for generation in round * 5..round * 5 + 5 {
            for id in &sessions {
                assert_eq!(outcome(&store, &attempt(id, generation)).await, Outcome::Rotated);
            }
        }
        // A backend tells what it did when it ends.
        drop(store);
        apart.until(counted, |counted| counted == (i64::from(round) + 1) * 500).await;
        let grown = apart.number(size).await - size_before;
        let hot = apart.number(hot).await - hot_before;
        println!("heap-only updates in round {round}: {hot} of 500; {grown} bytes more");
        if hot >= 475 && grown == 0 {
            drop(apart);
            place.run(&leave).await;
            place.leave().await;
            return;
        }
    }
    panic!("refreshes write indexes");
}

#[tokio::test]
async fn statements_over_many_rows_read_the_index_made_for_them() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    let sql = &store.database.statements;
    let admin = &place.admin;
    // Tables of a test are so small that reading them whole is cheaper.
    admin.batch_execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan").await.unwrap();
    for (statement, values, index) in [
        (&sql.swap, 17, "gatekey_session_key"),
        (&sql.find_with_account, 1, "gatekey_user_key"),
        (&sql.list, 2, "gatekey_session_subject"),
        (&sql.revoke_all, 4, "gatekey_session_subject"),
        (&sql.insert, 26, "gatekey_session_subject"),
        (&sql.revoked_since, 1, "gatekey_session_ended"),
        (&sql.purge, 3, "gatekey_session_purge"),
        (&sql.find_user_by_name, 1, "gatekey_user_name"),
        (&sql.lock_present_counters, 1, "gatekey_throttle_key"),
        (&sql.purge_counters, 2, "gatekey_throttle_purge"),
    ] {
        admin.batch_execute(&format!("PREPARE explained AS {statement}")).await.unwrap();
        let values = vec!["NULL"; values].join(", ");
        let explain = format!("EXPLAIN EXECUTE explained({values})");
        let plan: Vec<_> = admin.simple_query(&explain).await.unwrap();
        let plan = format!("{plan:?}");
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{plan}");
        admin.batch_execute("DEALLOCATE explained").await.unwrap();
    }
    drop(store);
    place.leave().await;
}

#[tokio::test]
async fn a_purge_goes_by_thousands_and_corrects_every_bound_that_it_meets() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    insert(&store, &session("over", "alice")).await;
    // More than one step looks at, all of them refreshed since their bounds were written.
    let columns = "SELECT string_agg(
             CASE attname WHEN 'id' THEN '''live-'' || number'
                 WHEN 'idle_expires_at' THEN 'idle_expires_at + 2000' ELSE attname END, ', ' ORDER BY attnum)
         FROM pg_attribute WHERE attrelid = '@session'::regclass AND attnum > 0 AND NOT attisdropped";
    let columns: String = place.admin.query_one(&place.fill(columns), &[]).await.unwrap().get(0);
    place
        .run(&format!(
            "INSERT INTO @session SELECT {columns} FROM @session, generate_series(1, 2500) AS number"
        ))
        .await;

    // The server notes how many rows each statement removes.
    place
        .run(
            "CREATE TABLE \"@schema\".step (removed bigint);
             CREATE FUNCTION \"@schema\".note() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO \"@schema\".step SELECT count(*) FROM gone; RETURN NULL; END $$;
             CREATE TRIGGER note AFTER DELETE ON @session REFERENCING OLD TABLE AS gone
                 FOR EACH STATEMENT EXECUTE FUNCTION \"@schema\".note()",
        )
        .await;

    let before = NOW + IDLE + SECOND;
    assert_eq!(store.purge_expired(before, 10).await.unwrap(), 1);
    let count =
        |test: &str| format!("SELECT count(*) FROM @session WHERE purge_after {test} {}", before.as_millis());
    assert_eq!(place.number(&count("<")).await, 0);
    assert_eq!(place.number(&count(">")).await, 2500);
    // What a node that is refreshing holds is left to the next time, and nobody waits.
    let other = client(&place.url).await;
    let locked = place.fill("BEGIN; SELECT 1 FROM @session WHERE id = 'live-1' FOR UPDATE");
    other.batch_execute(&locked).await.unwrap();
    let end = before + SECOND * 2;
    assert_eq!(store.purge_expired(end, 5000).await.unwrap(), 2499);
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(store.purge_expired(end, 5000).await.unwrap(), 1);
    // In statements of a thousand rows at most, however many are over.
    assert_eq!(place.number("SELECT max(removed) FROM \"@schema\".step").await, 1000);
    assert_eq!(place.number("SELECT sum(removed)::bigint FROM \"@schema\".step").await, 2501);
    drop(store);
    place.leave().await;
}
