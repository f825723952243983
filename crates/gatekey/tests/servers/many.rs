//! One table with many sessions: a refresh finds its row by one index key, changes no index, and reads no more of the
//! table than among few. `cargo xtask sessions --rows 10000000` asks the same of as many, and tells the figures.

use std::time::{Duration, Instant};

use gatekey_core::{
    rotation::{Attempt, Outcome, Policy, Presented, Successor},
    session::{Client, Digest, SessionId},
    store::SessionStore,
    time::Timestamp,
};
use serde_json::Value;

use super::support::*;

/// How many sessions there are where nothing else is said.
const FEW: i64 = 20_000;

/// How many of them are refreshed, and how often each.
const REFRESHED: i64 = 2000;
const TIMES: u8 = 2;

/// What a browser calls itself: a row is as wide as one in use.
const BROWSER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";

/// The name of a session, spread over the index as random ones are.
const NAME: &str = "left(encode(sha256(number::text::bytea), 'hex'), 22)";

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_finds_its_row_by_one_key_among_many() {
    let test = "a_refresh_finds_its_row_by_one_key_among_many";
    let Some(database) = Counted::make(test).await else { return };
    let sql = &database.sql;
    let asked = std::env::var("GATEKEY_SESSIONS").ok();
    let rows = asked.map_or(FEW, |asked| asked.parse().unwrap());

    let store = postgres_store(&database.url, "public").await;
    let gatekey = builder(&keys()).store(store.clone()).build().await.unwrap();
    register(&gatekey, "alice").await;
    // Refreshed once, so that it has all that a session in use has.
    let held = login(&gatekey, "alice").await;
    let held = refresh(&gatekey, &held).await;
    sql.execute("UPDATE gatekey_session SET user_agent = $1", &[&BROWSER]).await.unwrap();
    let took = load(sql, rows).await;
    println!("{rows} sessions were loaded in {} s", took.as_secs());

    let updated = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'gatekey_session'";
    let hot = "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'gatekey_session'";
    let before = (number(sql, updated).await, number(sql, hot).await);
    sql.batch_execute("SELECT pg_stat_statements_reset()").await.unwrap();
    let mut rotations = Vec::new();
    for session in some(sql, rows).await {
        for time in 0..TIMES {
            let seen = store.find(&SessionId::new(&*session.id)).await.unwrap();
            let attempt = Attempt { seen, ..session.attempt(time) };
            let started = Instant::now();
            let rotated = store.rotate(&attempt).await.unwrap().unwrap();
            rotations.push(started.elapsed());
            assert_eq!(rotated.outcome, Outcome::Rotated);
        }
    }
    rotations.sort();
    let (middle, slow) = (rotations[rotations.len() / 2], rotations[rotations.len() * 99 / 100]);
    println!("a rotation took {middle:?} of time at the median, {slow:?} at the 99th percentile");

    // The statement as the server was given it, but that what it says literally has become a parameter too.
    let prepared = "SELECT query FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
         WHERE datname = current_database() AND query LIKE 'UPDATE%' AND calls = $1";
    let prepared = sql.query(prepared, &[&i64::try_from(rotations.len()).unwrap()]).await.unwrap();
    let [prepared] = &*prepared else { panic!("{} statements were called as often", prepared.len()) };
    let plan = explained(sql, prepared.get(0), &some(sql, rows).await[0]).await;
    println!("{}", serde_json::to_string_pretty(&plan).unwrap());
    let mut scans = Vec::new();
    nodes(&plan["Plan"], &mut scans);
    // One key, looked up once.
    let [scan] = &*scans else { panic!("{plan}") };
    assert_eq!(scan["Node Type"], "Index Scan", "{plan}");
    assert_eq!(scan["Index Name"], "gatekey_session_key", "{plan}");
    assert_eq!(scan["Actual Rows"].as_f64(), Some(1.0), "{plan}");
    let buffers =
        ["Shared Hit Blocks", "Shared Read Blocks"].map(|blocks| plan["Plan"][blocks].as_i64().unwrap());
    println!("it touched {} buffers, {} of them not in memory", buffers[0] + buffers[1], buffers[1]);
    // A tree of the index for ten million has four levels; and the page of the row as often as it is looked at.
    assert!(buffers.iter().sum::<i64>() <= 10, "{plan}");

    // One refresh as a client makes it, amid all of them.
    refresh(&gatekey, &held).await;

    drop((gatekey, store));
    let updates = i64::from(TIMES) * REFRESHED + 1;
    until("the updates are counted", async || number(sql, updated).await - before.0 >= updates).await;
    let (updated, hot) = (number(sql, updated).await - before.0, number(sql, hot).await - before.1);
    println!("{hot} of {updated} updates were heap-only");
    assert!(hot * 100 >= updated * 99, "{hot} of {updated} updates were heap-only");

    let size = async |sized: &str| {
        let bytes = number(sql, &format!("SELECT {sized}('gatekey_session')::bigint")).await;
        println!("{sized}: {bytes} bytes, {} a session", bytes / rows);
        bytes / rows
    };
    let (table, indexes) = (size("pg_table_size").await, size("pg_indexes_size").await);
    assert!(table + indexes < 1500, "{table} and {indexes} bytes a session");

    database.leave().await;
}

/// Copies the one session that there is. The indexes are made afterwards, as a restored backup makes them: quicker, and
/// fuller than those that grew with logins.
async fn load(sql: &tokio_postgres::Client, rows: i64) -> Duration {
    let started = Instant::now();
    let others = "SELECT coalesce(string_agg(quote_ident(attname), ', '), '') FROM pg_attribute
         WHERE attrelid = 'gatekey_session'::regclass AND attnum > 0 AND NOT attisdropped
             AND attname NOT IN ('id', 'subject', 'live')";
    let others: String = sql.query_one(others, &[]).await.unwrap().get(0);
    let indexes = "SELECT indexname::text, indexdef FROM pg_indexes
         WHERE tablename = 'gatekey_session' AND indexname <> 'gatekey_session_key'";
    let indexes = sql.query(indexes, &[]).await.unwrap();
    let mut script = "ALTER TABLE gatekey_session DROP CONSTRAINT gatekey_session_key;".to_owned();
    for index in &indexes {
        script += &format!("DROP INDEX {};", index.get::<_, &str>(0));
    }
    script += &format!(
        "INSERT INTO gatekey_session (id, subject, live, {others})
         SELECT {NAME}, left(encode(sha256((number / 3)::text::bytea), 'hex'), 22), sha256({NAME}::bytea), {others}
         FROM gatekey_session, generate_series(1, {rows}) AS number;
         SET maintenance_work_mem = '512MB';
         ALTER TABLE gatekey_session ADD CONSTRAINT gatekey_session_key PRIMARY KEY (id);"
    );
    for index in &indexes {
        script += &format!("{};", index.get::<_, &str>(1));
    }
    sql.batch_execute(&script).await.unwrap();
    // Alone: it cannot be a part of a transaction.
    sql.batch_execute("VACUUM ANALYZE gatekey_session").await.unwrap();
    sql.batch_execute("CHECKPOINT").await.unwrap();
    started.elapsed()
}

/// A session as far as its refreshes need it.
struct Known {
    id: String,
    generation: u64,
    live: [u8; 32],
    now: Timestamp,
}

/// Sessions from all over the table.
async fn some(sql: &tokio_postgres::Client, rows: i64) -> Vec<Known> {
    let sessions = format!(
        "SELECT id, generation, live, rotated_at FROM gatekey_session WHERE id IN (
             SELECT {NAME} FROM generate_series(1, {rows}, {}) AS number
         ) ORDER BY id LIMIT {REFRESHED}",
        (rows / REFRESHED).max(1)
    );
    let sessions = sql.query(&sessions, &[]).await.unwrap();
    assert_eq!(sessions.len(), usize::try_from(REFRESHED).unwrap());
    let known = |row: &tokio_postgres::Row| Known {
        id: row.get(0),
        generation: row.get::<_, i64>(1).cast_unsigned(),
        live: row.get::<_, &[u8]>(2).try_into().unwrap(),
        now: Timestamp::from_millis(row.get::<_, i64>(3) + 1000),
    };
    sessions.iter().map(known).collect()
}

impl Known {
    /// Presents the live token after so many refreshes.
    fn attempt(&self, time: u8) -> Attempt {
        let digest = |time: u8| if time == 0 { Digest(self.live) } else { Digest([time; 32]) };
        let generation = self.generation + u64::from(time);
        Attempt {
            presented: Presented { session: SessionId::new(&*self.id), generation, digest: digest(time) },
            successor: Successor {
                generation: generation + 1,
                digest: digest(time + 1),
                sealed: vec![7; 300],
                expires_at: self.now + Duration::from_secs(7 * 24 * 3600),
            },
            client: Client::new("198.51.100.7".parse().ok(), Some(BROWSER)),
            now: self.now + Duration::from_secs(60) * u32::from(time),
            policy: Policy::BALANCED,
            seen: None,
        }
    }
}

/// What the server does for a statement, done and then undone.
async fn explained(sql: &tokio_postgres::Client, statement: &str, session: &Known) -> Value {
    let Attempt { presented, successor, now, .. } = session.attempt(0);
    let (now, end) = (now.as_millis(), successor.expires_at.as_millis());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let values = format!(
        "'{}', {end}, {now}, '198.51.100.7', '{BROWSER}', {}, '\\x{}', '\\x{}', {}, 1, {now}, 0, {now}, '\\x{}', \
         NULL, {now} - 1000, {end}, NULL, false",
        session.id,
        successor.generation,
        hex(&successor.digest.0),
        hex(&presented.digest.0),
        presented.generation,
        hex(&successor.sealed),
    );
    let explain = format!(
        "SET plan_cache_mode = force_generic_plan; PREPARE explained AS {statement}; BEGIN;
         EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained({values}); ROLLBACK; DEALLOCATE explained"
    );
    let rows = sql.simple_query(&explain).await.unwrap();
    let line = |message: &tokio_postgres::SimpleQueryMessage| {
        let tokio_postgres::SimpleQueryMessage::Row(row) = message else { return None };
        row.get(0).map(str::to_owned)
    };
    let text: Vec<String> = rows.iter().filter_map(line).collect();
    let plans: Value = serde_json::from_str(&text.join("\n")).unwrap();
    plans[0].clone()
}

/// The nodes of a plan that read a table.
fn nodes<'p>(node: &'p Value, scans: &mut Vec<&'p Value>) {
    if node["Node Type"].as_str().unwrap().contains("Scan") {
        scans.push(node);
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        nodes(child, scans);
    }
}

async fn number(sql: &tokio_postgres::Client, query: &str) -> i64 {
    sql.query_one(query, &[]).await.unwrap().get(0)
}
