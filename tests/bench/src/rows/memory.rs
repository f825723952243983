//! Memory of a server, bytes of a session in each store, and the time that starting takes.

use std::{sync::Arc, time::Duration};

use gatekey::{
    Algorithm, Client as Who, Clock as _, MemoryStore, Random as _, Session, SessionId, SessionStore,
    SqliteStore, SubjectId, SystemClock,
};
use gatekey_core::{
    random::SystemRandom,
    session::{Chain, Digest},
};

use super::login::server;
use crate::{
    Bench,
    issue::{NAME, PASSWORD, key_file},
    load::{Client, keep_asking, login, refreshes},
    measure::{Fault, repeat},
    needs,
    process::{Cores, Server, resident},
    row::{Goal, Outcome, Row},
};

const THREADS: usize = 4;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            "memory/idle",
            "MiB",
            "The server of this bench on axum and SQLite, started and asked once",
            idle,
        ),
        Row::new("memory/hash", "MiB", "Each password that is hashed at the same time", per_hash)
            .goal(Goal::AtMost(20.0)),
        Row::new("memory/refreshes", "MiB", "What the second half of many refreshes on SQLite adds", flat)
            .goal(Goal::AtMost(1.0)),
        Row::new("memory/session", "bytes", "A session in the memory store", in_memory),
        Row::new("size/sqlite", "bytes", "A session in an SQLite file, its indexes too", in_sqlite),
        Row::new("size/postgres", "bytes", "A session in PostgreSQL, its indexes too", in_postgres),
        Row::new("size/redis", "bytes", "A session in Redis", in_redis),
        Row::new(
            "start/sqlite",
            "ms",
            "From the start of the process to its readiness, axum and SQLite",
            start,
        )
        .floor("the same program with a bare route alone"),
    ]
}

fn on_sqlite(bench: &Bench, name: &str) -> Result<Server, Fault> {
    let place = format!("sqlite:{}", bench.path(name).display());
    server(bench, Cores::Any, &["--store", &place])
}

fn idle(bench: &Bench) -> Result<Outcome, Fault> {
    // The first start hashes the password of the account; it is the second that is idle.
    drop(on_sqlite(bench, "idle.db")?);
    let measured = repeat(if bench.quick { 2 } else { 5 }, || {
        let server = on_sqlite(bench, "idle.db")?;
        bench.runtime.block_on(async {
            let request = crate::load::get("/bare", "none");
            crate::load::Connection::open(server.address).await?.ask(&request).await?;
            Ok::<_, Fault>(())
        })?;
        server.resident()
    })?;
    Ok(measured
        .note(
            "with all frameworks and drivers in the program; `added/memory` is a program with its own alone",
        )
        .into())
}

fn per_hash(bench: &Bench) -> Result<Outcome, Fault> {
    let threads = THREADS.to_string();
    let measured = repeat(if bench.quick { 2 } else { 5 }, || {
        let server = server(bench, Cores::Any, &["--hash-threads", &threads])?;
        let before = server.resident()?;
        bench.runtime.block_on(async {
            let clients = THREADS as u64 * 2;
            let mut running = keep_asking(server.address, clients, Duration::ZERO, |_| login(NAME, PASSWORD));
            tokio::time::sleep(Duration::from_millis(700)).await;
            running.shutdown().await;
        });
        #[allow(clippy::cast_precision_loss, reason = "four threads")]
        Ok((server.most_resident()? - before) / THREADS as f64)
    })?;
    Ok(measured.into())
}

fn flat(bench: &Bench) -> Result<Outcome, Fault> {
    let server = on_sqlite(bench, "flat.db")?;
    let mut clients = bench.runtime.block_on(Client::several(server.address, 32))?;
    let half = Duration::from_secs(if bench.quick { 2 } else { 60 });
    let first = bench.runtime.block_on(refreshes(&mut clients, half))?;
    let before = server.resident()?;
    let second = bench.runtime.block_on(refreshes(&mut clients, half))?;
    let after = server.resident()?;
    let all = (first + second) * half.as_secs_f64();
    let measured = repeat(1, || Ok(after - before))?;
    Ok(measured.note(format!("{} refreshes in all", crate::row::short(all))).into())
}

/// A session as a login leaves it, after one refresh.
fn session(n: u64) -> Result<Session, Fault> {
    let now = SystemClock.now();
    // A few sessions a subject.
    let subject = SubjectId::new(format!("subject-{:012}", n / 4));
    let mut live = [0; 32];
    SystemRandom.fill(&mut live).map_err(|_| "no random bytes")?;
    let mut chain = Chain::start(Digest(live), now);
    chain.sealed = vec![7; 180];
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    Ok(Session {
        id: SessionId::generate(&subject, &SystemRandom).map_err(|_| "no random bytes")?,
        subject,
        scope: None,
        auth_time: now,
        created_at: now,
        expires_at: now + Duration::from_secs(30 * 86_400),
        idle_expires_at: now + Duration::from_secs(7 * 86_400),
        last_used_at: now,
        client: Who::new(Some([192, 0, 2, 7].into()), Some(agent)),
        chain,
        ended: None,
    })
}

async fn insert(store: &dyn SessionStore, count: u64) -> Result<(), Fault> {
    for n in 0..count {
        store.insert(&session(n)?, 100).await?;
    }
    Ok(())
}

/// The command `bench fill N`: bytes of a session, over so many in the memory of this process.
pub(crate) fn fill(count: Option<&str>) -> Result<(), Fault> {
    let count: u32 = count.ok_or("how many?")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let store = MemoryStore::new();
    let before = resident(std::process::id())?;
    runtime.block_on(insert(&store, count.into()))?;
    let gained = (resident(std::process::id())? - before) * 1024.0 * 1024.0;
    println!("{}", gained / f64::from(count));
    Ok(())
}

fn in_memory(bench: &Bench) -> Result<Outcome, Fault> {
    let count = if bench.quick { "20000" } else { "1000000" };
    let measured = repeat(if bench.quick { 2 } else { 3 }, || {
        let output = std::process::Command::new(std::env::current_exe()?).args(["fill", count]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
    })?;
    Ok(measured.note(format!("over {count} sessions")).into())
}

/// How many sessions the size of a store is measured over.
fn sessions(bench: &Bench) -> u32 {
    if bench.quick { 2_000 } else { 50_000 }
}

/// Inserts sessions by many at once, since each waits for the disk.
async fn fill_store(store: Arc<dyn SessionStore>, count: u32) -> Result<(), Fault> {
    let mut tasks = tokio::task::JoinSet::new();
    for part in 0..32_u64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for n in 0..u64::from(count / 32) {
                store.insert(&session(part * 1_000_000 + n)?, 100).await?;
            }
            Ok::<_, Fault>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

fn in_sqlite(bench: &Bench) -> Result<Outcome, Fault> {
    let (path, count) = (bench.path("size.db"), sessions(bench));
    bench.runtime.block_on(async { fill_store(Arc::new(SqliteStore::open(&path).await?), count).await })?;
    let db = rusqlite::Connection::open(&path)?;
    let number = |pragma: &str| db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, f64>(0));
    let bytes = number("page_count")? * number("page_size")?;
    let measured = repeat(1, || Ok(bytes / f64::from(count / 32 * 32)))?;
    Ok(measured.note(format!("over {count} sessions")).into())
}

fn in_postgres(bench: &Bench) -> Result<Outcome, Fault> {
    let url = match needs("DATABASE_URL") {
        Ok(url) => url,
        Err(not_run) => return Ok(not_run),
    };
    let count = sessions(bench);
    let schema = "gatekey_bench_size";
    let bytes = bench.runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        client
            .batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}"))
            .await?;
        let store = gatekey::PostgresOptions::default().schema(schema).connect(&url).await?;
        fill_store(Arc::new(store), count).await?;
        let size = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8 FROM pg_class c
                    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'";
        let bytes: f64 = client.query_one(size, &[&schema]).await?.get(0);
        client.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await?;
        Ok::<f64, Fault>(bytes)
    })?;
    let measured = repeat(1, || Ok(bytes / f64::from(count / 32 * 32)))?;
    Ok(measured.note(format!("over {count} sessions")).into())
}

fn in_redis(bench: &Bench) -> Result<Outcome, Fault> {
    let url = match needs("REDIS_URL") {
        Ok(url) => url,
        Err(not_run) => return Ok(not_run),
    };
    let count = sessions(bench);
    let bytes = bench.runtime.block_on(async {
        let mut link = redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?;
        let before = used(&mut link).await?;
        let prefix = format!("gatekey-bench-{}:", std::process::id());
        let store = gatekey::RedisOptions::default().prefix(&prefix).connect(&url).await?;
        fill_store(Arc::new(store), count).await?;
        let gained = used(&mut link).await? - before;
        forget(&mut link, &prefix).await?;
        Ok::<f64, Fault>(gained)
    })?;
    let measured = repeat(1, || Ok(bytes / f64::from(count / 32 * 32)))?;
    Ok(measured.note(format!("over {count} sessions")).into())
}

/// Removes what stands below a prefix.
async fn forget(link: &mut redis::aio::MultiplexedConnection, prefix: &str) -> Result<(), Fault> {
    let mut cursor = 0_u64;
    loop {
        let scan = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{prefix}*"))
            .arg("COUNT")
            .arg(1000)
            .to_owned();
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(link).await?;
        if !keys.is_empty() {
            redis::cmd("UNLINK").arg(keys).query_async::<()>(link).await?;
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

async fn used(link: &mut redis::aio::MultiplexedConnection) -> Result<f64, Fault> {
    let info: String = redis::cmd("INFO").arg("memory").query_async(link).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(used.ok_or("Redis does not say what it uses")?.trim().parse()?)
}

fn start(bench: &Bench) -> Result<Outcome, Fault> {
    let keys = bench.path("EdDSA.keys");
    key_file(&keys, Algorithm::EdDSA)?;
    drop(on_sqlite(bench, "start.db")?);
    let millis = |server: &Server| server.started_in.as_secs_f64() * 1e3;
    let measured = crate::measure::alternate(
        bench.rounds(),
        || Ok(millis(&on_sqlite(bench, "start.db")?)),
        || Ok(millis(&Server::start(Cores::Any, ["--bare"])?)),
    )?;
    Ok(measured.into())
}
