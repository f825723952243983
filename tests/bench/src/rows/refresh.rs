//! Refreshes a second, end to end over HTTP, against what the driver alone makes of it.
//!
//! The floor asks the store as often as a refresh has to: it reads a row of the same size, and changes it if it still holds
//! the digest that the client knows. It does nothing else: no HTTP, no token read, judged, sealed or signed. Both have the
//! same number of clients, each with its own session, and each as durable as the store is by default. With 64 clients
//! the floor that only changes the row has a row of its own.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use gatekey::Algorithm;
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    Bench,
    issue::key_file,
    load::{Client, refreshes},
    measure::{Fault, alternate, repeat},
    needs,
    process::{Cores, Server},
    row::{Goal, Outcome, Row},
};

const CLIENTS: [usize; 3] = [1, 16, 64];

/// Bytes of a row beside its digest: about what a session has.
const WEIGHT: usize = 400;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (store, goal) in [("memory", 0.0), ("sqlite", 0.6), ("postgres", 0.75), ("redis", 0.65)] {
        for clients in CLIENTS {
            let what = format!("{store}: refreshes end to end, {clients} clients");
            let row = |name: String, floor: Floor| {
                Row::new(name, "/s", what.clone(), move |bench| refresh(bench, store, clients, floor))
            };
            let driver = match store {
                "memory" => {
                    rows.push(row(format!("refresh/{store}/{clients}"), Floor::Best));
                    continue;
                }
                "sqlite" => "rusqlite, commits in groups, the same clients",
                "postgres" => "tokio-postgres, 16 connections, the same clients",
                _ => "redis, EVALSHA on one connection, the same clients",
            };
            let goal = if clients == 64 { Goal::AtLeast(goal) } else { Goal::None };
            let best = row(format!("refresh/{store}/{clients}"), Floor::Best);
            rows.push(best.floor(format!("{driver}: a read and a swap")).goal(goal));
            if clients == 64 {
                let swap = row(format!("refresh/{store}/64/swap-alone"), Floor::SwapAlone);
                rows.push(swap.floor(format!("{driver}: a swap without the read")).goal(goal));
            }
        }
    }
    rows.push(
        Row::new(
            "refresh/sqlite/one-commit-each",
            "/s",
            "sqlite: refreshes end to end, 64 clients",
            |bench| refresh(bench, "sqlite", 64, Floor::OneCommitEach),
        )
        .floor("rusqlite, one durable commit a swap")
        .goal(Goal::AtLeast(5.0)),
    );
    rows
}

#[derive(Clone, Copy, PartialEq)]
enum Floor {
    Best,
    /// The store is asked once and not twice.
    SwapAlone,
    OneCommitEach,
}

/// Where the server keeps sessions, or that there is no such place.
pub(super) fn store_argument(bench: &Bench, store: &str, name: &str) -> Result<String, Outcome> {
    match store {
        "memory" => Ok("memory".to_owned()),
        "sqlite" => Ok(format!("sqlite:{}", bench.path(&format!("{name}.db")).display())),
        "postgres" => needs("DATABASE_URL"),
        _ => needs("REDIS_URL"),
    }
}

fn refresh(bench: &Bench, store: &str, clients: usize, floor: Floor) -> Result<Outcome, Fault> {
    let place = match store_argument(bench, store, "refresh") {
        Ok(place) => place,
        Err(not_run) => return Ok(not_run),
    };
    let keys = bench.path("EdDSA.keys");
    key_file(&keys, Algorithm::EdDSA)?;
    let keys = keys.to_string_lossy().into_owned();
    let server = Server::start(Cores::Any, ["--store", &place, "--keys", &keys])?;
    let mut sessions = bench.runtime.block_on(Client::several(server.address, clients))?;
    let during = bench.while_();
    let rounds = bench.rounds_of_load();
    let subject = || bench.runtime.block_on(refreshes(&mut sessions, during));
    let reads = floor == Floor::Best;
    let measured = match (store, floor) {
        ("memory", _) => repeat(rounds.count, subject),
        ("sqlite", Floor::OneCommitEach) => {
            let mut lone = LoneSqlite::open(bench)?;
            alternate(rounds, subject, || lone.swaps(during))
        }
        ("sqlite", _) => {
            let grouped = GroupedSqlite::open(bench, clients)?;
            alternate(rounds, subject, || bench.runtime.block_on(grouped.swaps(during, reads)))
        }
        ("postgres", _) => {
            let bare = bench.runtime.block_on(BarePostgres::open(&place, clients))?;
            let measured = alternate(rounds, subject, || bench.runtime.block_on(bare.swaps(during, reads)));
            bench.runtime.block_on(bare.close())?;
            measured
        }
        _ => {
            let bare = bench.runtime.block_on(BareRedis::open(&place, clients))?;
            let measured = alternate(rounds, subject, || bench.runtime.block_on(bare.swaps(during, reads)));
            bench.runtime.block_on(bare.close(clients))?;
            measured
        }
    };
    Ok(measured?.into())
}

/// How many swaps each client has made: what its next digest follows from.
type Swaps = Vec<u64>;

/// Lets each client make its next swap as soon as the one before is answered. Swaps a second, by all of them.
async fn drive<F>(
    clients: &Mutex<Swaps>,
    during: Duration,
    swap: impl Fn(usize, u64) -> F + Clone + Send + 'static,
) -> Result<f64, Fault>
where
    F: Future<Output = Result<bool, Fault>> + Send,
{
    let before = clients.lock().map_err(|_| "poisoned")?.clone();
    let (started, mut tasks) = (Instant::now(), JoinSet::new());
    for (id, mut swaps) in before.into_iter().enumerate() {
        let swap = swap.clone();
        tasks.spawn(async move {
            let first = swaps;
            while started.elapsed() < during {
                if !swap(id, swaps).await? {
                    return Err(Fault::from("a swap missed"));
                }
                swaps += 1;
            }
            Ok((id, swaps, swaps - first))
        });
    }
    let mut all = 0;
    while let Some(done) = tasks.join_next().await {
        let (id, swaps, count) = done??;
        clients.lock().map_err(|_| "poisoned")?[id] = swaps;
        all += count;
    }
    #[allow(clippy::cast_precision_loss, reason = "a count of a few seconds")]
    Ok(all as f64 / started.elapsed().as_secs_f64())
}

/// The digest that a client knows after so many swaps.
fn digest(swaps: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&swaps.to_be_bytes());
    digest
}

// ---- SQLite ------------------------------------------------------------------------------------------------------

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS floor (id INTEGER PRIMARY KEY, live BLOB NOT NULL, rest BLOB NOT NULL)";
const READ: &str = "SELECT live, rest FROM floor WHERE id = ?1";
const SWAP: &str = "UPDATE floor SET live = ?1, rest = ?2 WHERE id = ?3 AND live = ?4";

fn open_sqlite(bench: &Bench, name: &str, rows: usize) -> Result<rusqlite::Connection, Fault> {
    let path = bench.path(name);
    for file in [path.clone(), path.with_extension("db-wal"), path.with_extension("db-shm")] {
        if file.exists() {
            std::fs::remove_file(file)?;
        }
    }
    let db = rusqlite::Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute(TABLE, [])?;
    for id in 0..rows {
        let row = (i64::try_from(id)?, digest(0), [0_u8; WEIGHT]);
        db.execute("INSERT INTO floor VALUES (?1, ?2, ?3)", row)?;
    }
    Ok(db)
}

/// One durable commit a swap, by a caller who waits for nothing else.
struct LoneSqlite {
    db: rusqlite::Connection,
    swaps: u64,
}

impl LoneSqlite {
    fn open(bench: &Bench) -> Result<Self, Fault> {
        Ok(Self { db: open_sqlite(bench, "lone.db", 1)?, swaps: 0 })
    }

    fn swaps(&mut self, during: Duration) -> Result<f64, Fault> {
        let (started, mut count) = (Instant::now(), 0.0);
        let mut statement = self.db.prepare(SWAP)?;
        while started.elapsed() < during {
            let swap = (digest(self.swaps + 1), [1_u8; WEIGHT], 0_i64, digest(self.swaps));
            if statement.execute(swap)? != 1 {
                return Err("a swap missed".into());
            }
            self.swaps += 1;
            count += 1.0;
        }
        Ok(count / started.elapsed().as_secs_f64())
    }
}

struct Swap {
    id: i64,
    from: [u8; 32],
    to: [u8; 32],
    done: oneshot::Sender<bool>,
}

/// A thread that writes, and takes what has queued up as one transaction. Each client reads by a connection of its own.
struct GroupedSqlite {
    queue: mpsc::SyncSender<Swap>,
    readers: Arc<Vec<Mutex<rusqlite::Connection>>>,
    clients: Mutex<Swaps>,
}

impl GroupedSqlite {
    fn open(bench: &Bench, clients: usize) -> Result<Self, Fault> {
        let db = open_sqlite(bench, "grouped.db", clients)?;
        let (queue, jobs) = mpsc::sync_channel::<Swap>(1024);
        std::thread::spawn(move || {
            while let Ok(first) = jobs.recv() {
                let group: Vec<Swap> = std::iter::once(first).chain(jobs.try_iter().take(255)).collect();
                let Ok(results) = commit(&db, &group) else { return };
                for (swap, done) in group.into_iter().zip(results) {
                    let _ = swap.done.send(done);
                }
            }
        });
        let path = bench.path("grouped.db");
        let reader = |_| Ok(Mutex::new(rusqlite::Connection::open(&path)?));
        let readers = (0..clients).map(reader).collect::<Result<Vec<_>, Fault>>()?;
        Ok(Self { queue, readers: Arc::new(readers), clients: Mutex::new(vec![0; clients]) })
    }

    async fn swaps(&self, during: Duration, reads: bool) -> Result<f64, Fault> {
        let (queue, readers) = (self.queue.clone(), Arc::clone(&self.readers));
        drive(&self.clients, during, move |id, swaps| {
            let (queue, readers) = (queue.clone(), Arc::clone(&readers));
            async move {
                // From the page cache, in microseconds: not worth another thread.
                if reads && read(&readers[id], id)? != digest(swaps) {
                    return Ok(false);
                }
                let (done, answer) = oneshot::channel();
                let id = i64::try_from(id)?;
                queue.send(Swap { id, from: digest(swaps), to: digest(swaps + 1), done })?;
                Ok(answer.await?)
            }
        })
        .await
    }
}

/// The digest of a row that is read whole.
fn read(db: &Mutex<rusqlite::Connection>, id: usize) -> Result<[u8; 32], Fault> {
    let db = db.lock().map_err(|_| "poisoned")?;
    let (live, rest): ([u8; 32], [u8; WEIGHT]) =
        db.prepare_cached(READ)?.query_row([i64::try_from(id)?], |row| Ok((row.get(0)?, row.get(1)?)))?;
    std::hint::black_box(rest);
    Ok(live)
}

fn commit(db: &rusqlite::Connection, group: &[Swap]) -> rusqlite::Result<Vec<bool>> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let mut statement = db.prepare_cached(SWAP)?;
    let results = group
        .iter()
        .map(|swap| Ok(statement.execute((swap.to, [1_u8; WEIGHT], swap.id, swap.from))? == 1))
        .collect();
    db.execute_batch("COMMIT")?;
    results
}

// ---- PostgreSQL --------------------------------------------------------------------------------------------------

/// As many connections as the store's pool has by default.
const CONNECTIONS: usize = 16;

/// A connection, what reads a row on it, and what changes one.
type Prepared = (tokio_postgres::Client, tokio_postgres::Statement, tokio_postgres::Statement);

struct BarePostgres {
    connections: Arc<Vec<Prepared>>,
    clients: Mutex<Swaps>,
}

impl BarePostgres {
    async fn open(url: &str, clients: usize) -> Result<Self, Fault> {
        let mut connections = Vec::new();
        for n in 0..CONNECTIONS.min(clients) {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            if n == 0 {
                client
                    .batch_execute(
                        "DROP TABLE IF EXISTS gatekey_bench_floor;
                         CREATE TABLE gatekey_bench_floor
                             (id bigint PRIMARY KEY, live bytea NOT NULL, rest bytea NOT NULL)
                             WITH (fillfactor = 50)",
                    )
                    .await?;
                for id in 0..i64::try_from(clients)? {
                    client
                        .execute(
                            "INSERT INTO gatekey_bench_floor VALUES ($1, $2, $3)",
                            &[&id, &digest(0).as_slice(), &[0_u8; WEIGHT].as_slice()],
                        )
                        .await?;
                }
            }
            let swap = "UPDATE gatekey_bench_floor SET live = $1, rest = $2 WHERE id = $3 AND live = $4";
            let swap = client.prepare(swap).await?;
            let read = client.prepare("SELECT live, rest FROM gatekey_bench_floor WHERE id = $1").await?;
            connections.push((client, read, swap));
        }
        Ok(Self { connections: Arc::new(connections), clients: Mutex::new(vec![0; clients]) })
    }

    async fn swaps(&self, during: Duration, reads: bool) -> Result<f64, Fault> {
        let connections = Arc::clone(&self.connections);
        drive(&self.clients, during, move |id, swaps| {
            let connections = Arc::clone(&connections);
            async move {
                let (client, read, swap) = &connections[id % connections.len()];
                let row = i64::try_from(id)?;
                if reads && client.query_one(read, &[&row]).await?.get::<_, &[u8]>(0) != digest(swaps) {
                    return Ok(false);
                }
                let (from, to, rest) = (digest(swaps), digest(swaps + 1), [1_u8; WEIGHT]);
                let (from, to, rest) = (from.as_slice(), to.as_slice(), rest.as_slice());
                Ok(client.execute(swap, &[&to, &rest, &row, &from]).await? == 1)
            }
        })
        .await
    }

    async fn close(&self) -> Result<(), Fault> {
        Ok(self.connections[0].0.batch_execute("DROP TABLE gatekey_bench_floor").await?)
    }
}

// ---- Redis -------------------------------------------------------------------------------------------------------

const SCRIPT: &str = "local row = redis.call('GET', KEYS[1])
if row:sub(1, 32) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2] .. ARGV[3], 'KEEPTTL')
return 1";

struct BareRedis {
    link: redis::aio::MultiplexedConnection,
    clients: Mutex<Swaps>,
}

fn redis_key(id: usize) -> String {
    format!("gatekey-bench-floor:{id}")
}

impl BareRedis {
    async fn open(url: &str, clients: usize) -> Result<Self, Fault> {
        let mut link = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        for id in 0..clients {
            let row = [digest(0).as_slice(), &[0_u8; WEIGHT]].concat();
            let set = redis::cmd("SET").arg(redis_key(id)).arg(row).arg("EX").arg(3600).to_owned();
            set.query_async::<()>(&mut link).await?;
        }
        Ok(Self { link, clients: Mutex::new(vec![0; clients]) })
    }

    async fn swaps(&self, during: Duration, reads: bool) -> Result<f64, Fault> {
        let (link, script) = (self.link.clone(), Arc::new(redis::Script::new(SCRIPT)));
        drive(&self.clients, during, move |id, swaps| {
            let (mut link, script) = (link.clone(), Arc::clone(&script));
            async move {
                if reads {
                    let row: Vec<u8> = redis::cmd("GET").arg(redis_key(id)).query_async(&mut link).await?;
                    if !row.starts_with(&digest(swaps)) {
                        return Ok(false);
                    }
                }
                let (from, to, rest) = (digest(swaps), digest(swaps + 1), [1_u8; WEIGHT]);
                let mut call = script.key(redis_key(id));
                call.arg(from.as_slice()).arg(to.as_slice()).arg(rest.as_slice());
                Ok(call.invoke_async::<u8>(&mut link).await? == 1)
            }
        })
        .await
    }

    async fn close(&self, clients: usize) -> Result<(), Fault> {
        let keys: Vec<_> = (0..clients).map(redis_key).collect();
        let mut link = self.link.clone();
        Ok(redis::cmd("DEL").arg(keys).query_async(&mut link).await?)
    }
}
