//! What requests cost a server, counted there: a guarded request nothing; a refresh one write and, in PostgreSQL where
//! sessions and users were given as one store, one read (two in Redis, and where they were given apart); a login the
//! account it reads and one write. Counters of attempts come on top where a server keeps those too.

use std::collections::BTreeMap;

use gatekey::{MemoryStore, NewUser, User, UserChange, UserStore, Username};

use super::support::*;

/// How often each kind of request is made.
const TIMES: u64 = 10;

type Counts = BTreeMap<&'static str, u64>;

fn times<const N: usize>(counts: [(&'static str, u64); N]) -> Counts {
    counts.into_iter().map(|(kind, each)| (kind, each * TIMES)).collect()
}

/// What a statement is; `None` is what a node does by itself, and what the test asks.
fn kind(query: &str) -> Option<&'static str> {
    let own = ["ended_at >= $", "purge_after < $", "kept_until < $", "pg_stat_statements", "LISTEN"];
    if own.iter().any(|own| query.contains(own)) || query.is_empty() {
        return None;
    }
    Some(match query {
        query if query.contains("gatekey_throttle") => "throttle",
        query if query.contains("pg_advisory_xact_lock") => "lock",
        "BEGIN" | "START TRANSACTION" => "begin",
        "COMMIT" => "commit",
        query if query.starts_with("SELECT") => "read",
        _ => "write",
    })
}

async fn statements(counting: &tokio_postgres::Client) -> Counts {
    let sql = "SELECT query, calls FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
         WHERE datname = current_database()";
    let mut counts = Counts::new();
    for row in counting.query(sql, &[]).await.unwrap() {
        let (query, calls): (String, i64) = (row.get(0), row.get(1));
        if let Some(kind) = kind(query.trim_start()) {
            *counts.entry(kind).or_default() += u64::try_from(calls).unwrap();
        }
    }
    counting.batch_execute("SELECT pg_stat_statements_reset()").await.unwrap();
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_requests_cost_in_postgresql() {
    let Some(database) = Counted::make("what_requests_cost_in_postgresql").await else { return };
    let Counted { url, sql: counting, .. } = &database;
    let store = postgres_store(url, "public").await;
    let keys = keys();
    let gatekey = builder(&keys).store(store.clone()).build().await.unwrap();
    register(&gatekey, "alice").await;
    let mut held = login(&gatekey, "alice").await;
    held = refresh(&gatekey, &held).await;
    statements(counting).await;

    for _ in 0..TIMES {
        assert_eq!(me(&gatekey, &held).await, 200);
    }
    assert_eq!(statements(counting).await, times([]));
    for _ in 0..TIMES {
        held = refresh(&gatekey, &held).await;
    }
    assert_eq!(statements(counting).await, times([("read", 1), ("write", 1)]));
    // The lock is a statement that touches no table: what comes after it sees what was committed meanwhile.
    let one_login = [("read", 1), ("begin", 1), ("lock", 1), ("write", 1), ("commit", 1)];
    for _ in 0..TIMES {
        held = login(&gatekey, "alice").await;
    }
    assert_eq!(statements(counting).await, times(one_login));
    logout(&gatekey, &held).await;
    assert_eq!(statements(counting).await, Counts::from([("write", 1)]));
    drop(gatekey);

    // With counters of attempts on the server the rest stays what it was.
    let throttle = std::sync::Arc::new(store.clone());
    let gatekey = builder(&keys).store(store.clone()).throttle(throttle).build().await.unwrap();
    held = login(&gatekey, "alice").await;
    statements(counting).await;
    for _ in 0..TIMES {
        assert_eq!(me(&gatekey, &held).await, 200);
    }
    assert_eq!(statements(counting).await, times([]));
    for _ in 0..TIMES {
        held = refresh(&gatekey, &held).await;
    }
    let counted = statements(counting).await;
    println!("refreshes with counters in PostgreSQL: {counted:?} for {TIMES}");
    assert_eq!((counted["read"], counted["write"]), (TIMES, TIMES));
    for _ in 0..TIMES {
        login(&gatekey, "alice").await;
    }
    let counted = statements(counting).await;
    println!("logins with counters in PostgreSQL: {counted:?} for {TIMES}");
    assert_eq!((counted["read"], counted["write"], counted["lock"]), (TIMES, TIMES, TIMES));
    // An account of another place is asked for there, whatever this one holds: here an account of the same id, which may
    // log in while that one may not, and the other way round.
    let here: &dyn UserStore = &store;
    let elsewhere = std::sync::Arc::new(MemoryStore::new());
    let User { id, password_hash, created_at, .. } = gatekey.user("alice").await.unwrap();
    let username = Username::new("alice").unwrap();
    let other = NewUser { id: id.clone(), username, password_hash: password_hash.unwrap(), created_at };
    elsewhere.create(other).await.unwrap().unwrap();
    let apart = builder(&keys).users(elsewhere.clone()).store(store.clone()).build().await.unwrap();
    held = login(&apart, "alice").await;
    let disabled = |disabled| UserChange { disabled: Some(disabled), ..Default::default() };
    assert!(here.update(&id, &disabled(true)).await.unwrap());
    statements(counting).await;
    for _ in 0..TIMES {
        held = refresh(&apart, &held).await;
    }
    assert_eq!(statements(counting).await, times([("read", 1), ("write", 1)]));
    assert!(here.update(&id, &disabled(false)).await.unwrap());
    assert!(elsewhere.update(&id, &disabled(true)).await.unwrap());
    try_refresh(&apart, &held.refresh).await.is(400);
    assert_eq!(me(&apart, &held).await, 401);
    drop((gatekey, apart));
    database.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_requests_cost_in_redis() {
    let Some(redis) = Redis::start("what_requests_cost_in_redis").await else { return };
    let gatekey = builder(&keys()).store(redis.store().await).build().await.unwrap();
    register(&gatekey, "alice").await;
    let mut held = login(&gatekey, "alice").await;
    held = refresh(&gatekey, &held).await;
    // Each script was sent whole once, and is known now. What it does within is counted too: of a refresh one GET.
    let counted = async || {
        let all: BTreeMap<_, _> = redis.counted().await.into_iter().collect();
        ["get", "evalsha", "eval"].map(|name| all.get(name).copied().unwrap_or(0))
    };
    counted().await;
    for _ in 0..TIMES {
        assert_eq!(me(&gatekey, &held).await, 200);
    }
    assert_eq!(counted().await, [0, 0, 0]);
    for _ in 0..TIMES {
        held = refresh(&gatekey, &held).await;
    }
    assert_eq!(counted().await, [(2 + 1) * TIMES, TIMES, 0]);
    // The id under the name, the account under its id; within the script, when all sessions were last revoked.
    for _ in 0..TIMES {
        login(&gatekey, "alice").await;
    }
    assert_eq!(counted().await, [(2 + 1) * TIMES, TIMES, 0]);
}
