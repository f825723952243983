//! What is done to servers, and how their rows look afterwards.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use super::{
    Counts, Options, Trouble,
    crowd::{Crowd, Holding, refuses_to_start},
    failed, fresh_name,
    proxy::Proxy,
    wait_until,
};
use crate::services::{
    Durability, NotRun, Service, free_port, postgres, redis,
    server::{Home, Server, program, send},
};

pub(super) struct Case {
    /// `server/what-happens-to-it`.
    pub(super) name: &'static str,
    /// One phrase: what happens.
    pub(super) about: &'static str,
    pub(super) needs_a_disk: bool,
    pub(super) run: fn(&Options, &mut Servers) -> Result<Counts, Trouble>,
}

impl Case {
    /// The kind of server: cases of one share it.
    pub(super) fn kind(&self) -> &'static str {
        self.name.split('/').next().unwrap_or_default()
    }
}

const fn case(
    name: &'static str,
    about: &'static str,
    run: fn(&Options, &mut Servers) -> Result<Counts, Trouble>,
) -> Case {
    Case { name, about, needs_a_disk: false, run }
}

const fn disk_case(
    name: &'static str,
    about: &'static str,
    run: fn(&Options, &mut Servers) -> Result<Counts, Trouble>,
) -> Case {
    Case { name, about, needs_a_disk: true, run }
}

/// In the order in which they run, those of one kind one after the other.
pub(super) const CASES: &[Case] = &[
    case("postgres/restarted", "stopped and started again, as for an update", postgres_restarted),
    case("postgres/killed", "the server is killed, then one of its processes", postgres_killed),
    case("postgres/connections-cut", "pg_terminate_backend for every connection", postgres_connections_cut),
    case("postgres/pool-used-up", "a lock on the table holds every pooled connection", postgres_pool_used_up),
    case("postgres/no-connections", "the server takes no more connections", postgres_no_connections),
    case("postgres/slow", "every packet comes late, then none comes", postgres_slow),
    disk_case("postgres/disk-full", "no room for the log: the server dies of it", postgres_disk_full),
    case("postgres/absent", "not there when the host starts", postgres_absent),
    case("redis/restarted", "stopped and started again, with its append-only file", redis_restarted),
    case("redis/killed", "killed and started again, with its append-only file", redis_killed),
    case("redis/connections-cut", "CLIENT KILL for every connection", redis_connections_cut),
    case("redis/slow", "every packet comes late, then none comes", redis_slow),
    disk_case("redis/disk-full", "no room for the append-only file: it takes no writes", redis_disk_full),
    case("redis/absent", "not there when the host starts; a cluster neither", redis_absent),
    case(
        "redis-cluster/fail-over",
        "a master dies that its replica could not follow: the last moments are lost",
        fail_over,
    ),
    case(
        "redis-cluster/fail-over-with-wait",
        "the same where writes wait for a replica: nothing is lost",
        fail_over_with_wait,
    ),
    disk_case("sqlite/disk-full", "no room for the file", sqlite_disk_full),
    case("sqlite/absent", "no folder for the file when the host starts", sqlite_absent),
];

/// The servers of one kind's cases. They end with this value.
#[derive(Default)]
pub(super) struct Servers {
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    cluster: Option<Redis>,
}

fn absent(NotRun(why): NotRun) -> Trouble {
    Trouble::NotRun(why)
}

/// After the fault: every client ends, the rows are what the clients hold, and all that was answered holds.
fn afterwards(
    mut crowd: Crowd,
    rows: impl FnOnce(&[Holding]) -> Result<(), Trouble>,
) -> Result<Counts, Trouble> {
    let (holdings, counts) = crowd.settle()?;
    rows(&holdings)?;
    crowd.ask("prove")?;
    Ok(counts)
}

fn rows_are(expected: impl Iterator<Item = String>, rows: &[String]) -> Result<(), Trouble> {
    let mut expected: Vec<_> = expected.collect();
    let mut rows = rows.to_vec();
    expected.sort();
    rows.sort();
    if rows == expected {
        return Ok(());
    }
    Err(failed(format_args!("  Expected: these rows: {expected:#?}\n  Actual:   {rows:#?}")))
}

// PostgreSQL.

/// A server of our own. The nodes have an account without privileges.
struct Postgres {
    service: Service,
    binaries: PathBuf,
    port: u16,
    password: String,
}

/// The nodes' account.
const NODE: &str = "node";

impl Servers {
    fn postgres(&mut self) -> Result<&mut Postgres, Trouble> {
        let server = match self.postgres.take() {
            Some(server) => server,
            None => Postgres::start(None)?,
        };
        Ok(self.postgres.insert(server))
    }
}

impl Postgres {
    fn start(disk: Option<u32>) -> Result<Self, Trouble> {
        let service = postgres::private(Durability::Durable, disk).map_err(absent)?;
        let binaries = postgres::binaries().ok_or_else(|| failed("PostgreSQL is gone"))?;
        let parts = service.url().strip_prefix("postgres://gatekey:").and_then(|rest| {
            let (password, place) = rest.split_once("@127.0.0.1:")?;
            Some((place.split('/').next()?.parse().ok()?, password.to_owned()))
        });
        let (port, password) = parts.ok_or_else(|| failed("another form of URL"))?;
        let mut server = Self { service, binaries, port, password };
        server.sql(&format!(
            "CREATE ROLE {NODE} LOGIN PASSWORD '{}'; GRANT CREATE ON DATABASE postgres TO {NODE};",
            server.password
        ))?;
        Ok(server)
    }

    fn server(&mut self) -> Result<&mut Server, Trouble> {
        self.service.servers().first_mut().ok_or_else(|| failed("no server"))
    }

    /// What nodes are given; the schema is their own.
    fn url(&self, port: u16, schema: &str) -> String {
        format!("postgres://{NODE}:{}@127.0.0.1:{port}/postgres#{schema}", self.password)
    }

    fn psql(&mut self) -> Result<std::process::Command, Trouble> {
        let program = self.binaries.join("psql");
        let (port, password) = (self.port.to_string(), self.password.clone());
        let mut psql = self.server()?.home().command(&program);
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--host=127.0.0.1"]);
        psql.args(["--username=gatekey", "--dbname=postgres", "--set=ON_ERROR_STOP=1", "--port", &port]);
        psql.env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", "30");
        Ok(psql)
    }

    fn sql(&mut self, sql: &str) -> Result<Vec<String>, Trouble> {
        let output = self.psql()?.args(["--command", sql]).output().map_err(failed)?;
        if !output.status.success() {
            return Err(failed(format_args!("{sql}: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// Holds a lock on a table until the value is dropped.
    fn lock(&mut self, table: &str) -> Result<Held, Trouble> {
        let mut psql = self.psql()?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut said = psql.stdout.take().map(BufReader::new).ok_or_else(|| failed("no output"))?;
        let script = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;\n\\echo locked\n");
        let mut line = String::new();
        if let Some(input) = &mut psql.stdin {
            input.write_all(script.as_bytes()).map_err(failed)?;
        }
        let held = Held(psql);
        said.read_line(&mut line).map_err(failed)?;
        if line.trim() == "locked" { Ok(held) } else { Err(failed(format_args!("LOCK TABLE: {line}"))) }
    }

    fn cut(&mut self) -> Result<(), Trouble> {
        let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{NODE}'");
        self.sql(&cut).map(|_| ())
    }

    /// Waits until it lets somebody in: after a crash it starts by itself.
    fn answers(&mut self) -> Result<(), Trouble> {
        wait_until("PostgreSQL takes connections", || Ok(self.sql("SELECT 1").is_ok()))
    }

    /// One row each, not ended, of that generation, with that token as the live one.
    fn rows(&mut self, schema: &str, holdings: &[Holding]) -> Result<(), Trouble> {
        let ids: Vec<_> = holdings.iter().map(|holding| format!("'{}'", holding.session)).collect();
        let rows = self.sql(&format!(
            "SELECT id || ' ' || generation || ' ' || encode(live, 'hex') || ' ' || coalesce(end_reason, 'open')
             FROM {schema}.gatekey_session WHERE id IN ({})",
            ids.join(", ")
        ))?;
        let row = |Holding { session, generation, digest }: &Holding| {
            format!("{session} {generation} {digest} open")
        };
        rows_are(holdings.iter().map(row), &rows)
    }
}

/// A process that holds something. It lets go when it ends.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        // The end of its input is the end of its transaction.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Something happens to PostgreSQL while it is used.
fn on_postgres(
    options: &Options,
    server: &mut Postgres,
    fault: impl Fn(&mut Postgres, &mut Crowd, &str) -> Result<(), Trouble>,
) -> Result<Counts, Trouble> {
    let schema = fresh_name();
    let mut crowd = Crowd::start(options, &server.url(server.port, &schema), &[])?;
    for _ in 0..options.rounds {
        crowd.ask("flow")?;
        fault(server, &mut crowd, &schema)?;
        crowd.ask("flow")?;
    }
    afterwards(crowd, |holdings| server.rows(&schema, holdings))
}

fn postgres_restarted(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    on_postgres(options, servers.postgres()?, |server, crowd, _| {
        server.server()?.end("INT")?;
        crowd.ask("refused")?;
        Ok(server.server()?.begin_again()?)
    })
}

fn postgres_killed(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    on_postgres(options, servers.postgres()?, |server, crowd, _| {
        server.server()?.end("KILL")?;
        crowd.ask("refused")?;
        server.server()?.begin_again()?;
        crowd.ask("flow")?;
        // Of a process that serves a node: the others end with it, and what they wrote is recovered.
        let processes = format!("SELECT pid FROM pg_stat_activity WHERE usename = '{NODE}' LIMIT 1");
        for process in server.sql(&processes)? {
            send("KILL", process.parse().map_err(failed)?)?;
        }
        server.answers()
    })
}

fn postgres_connections_cut(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    on_postgres(options, servers.postgres()?, |server, crowd, _| {
        for _ in 0..2 {
            server.cut()?;
            crowd.ask("flow")?;
        }
        Ok(())
    })
}

fn postgres_pool_used_up(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    on_postgres(options, servers.postgres()?, |server, crowd, schema| {
        let held = server.lock(&format!("{schema}.gatekey_session"))?;
        crowd.ask("refused")?;
        drop(held);
        Ok(())
    })
}

fn postgres_no_connections(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    on_postgres(options, servers.postgres()?, |server, crowd, _| {
        server.sql(&format!("ALTER ROLE {NODE} CONNECTION LIMIT 0"))?;
        server.cut()?;
        crowd.ask("refused")?;
        server.sql(&format!("ALTER ROLE {NODE} CONNECTION LIMIT -1")).map(|_| ())
    })
}

fn postgres_slow(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    let (schema, server) = (fresh_name(), servers.postgres()?);
    let proxy = Proxy::before(server.port).map_err(failed)?;
    let crowd = Crowd::start(options, &server.url(proxy.port, &schema), &[])?;
    let crowd = slow(options, &proxy, crowd)?;
    afterwards(crowd, |holdings| server.rows(&schema, holdings))
}

/// Late first, and then so late that nobody waits: what was sent meanwhile still arrives, when nobody expects it.
fn slow(options: &Options, proxy: &Proxy, mut crowd: Crowd) -> Result<Crowd, Trouble> {
    for _ in 0..options.rounds {
        crowd.ask("flow")?;
        proxy.delay(Duration::from_millis(50));
        crowd.ask("flow")?;
        proxy.silence(true);
        crowd.ask("refused")?;
        proxy.silence(false);
        proxy.delay(Duration::ZERO);
        crowd.ask("flow")?;
    }
    Ok(crowd)
}

fn postgres_disk_full(options: &Options, _: &mut Servers) -> Result<Counts, Trouble> {
    let mut server = Postgres::start(Some(160))?;
    on_postgres(options, &mut server, |server, crowd, _| {
        server.server()?.home().disk()?.fill()?;
        // The log has files to go on with. What fills them is more log, until the next file cannot be made.
        let _ = server.sql(
            "SELECT pg_logical_emit_message(false, 'filler', repeat('x', 900000)) FROM generate_series(1, 200)",
        );
        crowd.ask("refused")?;
        server.server()?.home().disk()?.free()?;
        if !server.server()?.runs() {
            server.server()?.begin_again()?;
        }
        server.answers()
    })
}

fn postgres_absent(options: &Options, _: &mut Servers) -> Result<Counts, Trouble> {
    let port = free_port()?;
    refuses_to_start(options, &format!("postgres://{NODE}:not-to-be-told@127.0.0.1:{port}/postgres"))?;
    Ok(Counts::default())
}

// Redis.

/// A server of our own, or a cluster.
struct Redis {
    service: Service,
    client: PathBuf,
    ports: Vec<u16>,
}

impl Servers {
    fn redis(&mut self) -> Result<&mut Redis, Trouble> {
        let server = match self.redis.take() {
            Some(server) => server,
            None => Redis::new(redis::private(Durability::Durable, None).map_err(absent)?)?,
        };
        Ok(self.redis.insert(server))
    }

    fn cluster(&mut self) -> Result<&mut Redis, Trouble> {
        let cluster = match self.cluster.take() {
            Some(cluster) => cluster,
            None => Redis::new(redis::private_cluster(Durability::Fast).map_err(absent)?)?,
        };
        Ok(self.cluster.insert(cluster))
    }
}

impl Redis {
    fn new(service: Service) -> Result<Self, Trouble> {
        let port = |url: &str| url.trim_end_matches('/').rsplit(':').next()?.parse().ok();
        let ports = service.url().split(',').filter_map(port).collect();
        Ok(Self { client: redis::client().map_err(absent)?, service, ports })
    }

    fn port(&self) -> Result<u16, Trouble> {
        self.ports.first().copied().ok_or_else(|| failed("no port"))
    }

    fn server(&mut self, number: usize) -> Result<&mut Server, Trouble> {
        self.service.servers().get_mut(number).ok_or_else(|| failed("no server"))
    }

    fn ask(&mut self, port: u16, command: &[&str]) -> Result<Vec<String>, Trouble> {
        let client = self.client.clone();
        let mut ask = self.server(0)?.home().command(&client);
        ask.args(["--raw", "-p", &port.to_string()]).args(command);
        let output = ask.output().map_err(failed)?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        // A refusal is an answer to this client, and it ends well.
        if !output.status.success() || text.starts_with("ERR") || text.starts_with("NOAUTH") {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(failed(format_args!("redis-cli {command:?}: {text} {}", errors.trim())));
        }
        Ok(text.lines().map(|line| line.trim_end().to_owned()).collect())
    }

    /// A member of `INFO replication`.
    fn replication(&mut self, port: u16, member: &str) -> Result<Option<String>, Trouble> {
        let prefix = format!("{member}:");
        let lines = self.ask(port, &["INFO", "replication"])?;
        Ok(lines.iter().find_map(|line| line.strip_prefix(&prefix).map(str::to_owned)))
    }

    /// The ports that have a role, of servers that run.
    fn with_role(&mut self, role: &str) -> Result<Vec<u16>, Trouble> {
        let mut found = Vec::new();
        for (number, port) in self.ports.clone().into_iter().enumerate() {
            if self.server(number)?.runs() && self.replication(port, "role")?.as_deref() == Some(role) {
                found.push(port);
            }
        }
        Ok(found)
    }

    /// One key each, in one master, of that generation, with that token as the live one (`lua/row.lua` has the places).
    fn rows(&mut self, prefix: &str, holdings: &[Holding]) -> Result<(), Trouble> {
        let hexadecimal = "return (redis.call('GET', KEYS[1]):gsub('.', function(c) \
                           return string.format('%02x', c:byte()) end))";
        let mut rows = Vec::new();
        for port in self.with_role("master")? {
            for Holding { session, .. } in holdings {
                for key in self.ask(port, &["KEYS", &format!("{prefix}:*{session}")])? {
                    if key.is_empty() {
                        continue;
                    }
                    let row = self.ask(port, &["EVAL", hexadecimal, "1", &key])?.join("");
                    let part = |from: usize, to: usize| row.get(from * 2..to * 2).unwrap_or("?").to_owned();
                    rows.push(format!("{session} {} {} {}", part(59, 67), part(67, 99), part(1, 2)));
                }
            }
        }
        let row = |Holding { session, generation, digest }: &Holding| {
            let generation = generation.parse::<u64>().unwrap_or_default();
            format!("{session} {generation:016x} {digest} 00")
        };
        rows_are(holdings.iter().map(row), &rows)
    }
}

/// Something happens to Redis while it is used.
fn on_redis(
    options: &Options,
    server: &mut Redis,
    fault: impl Fn(&mut Redis, &mut Crowd) -> Result<(), Trouble>,
) -> Result<Counts, Trouble> {
    let prefix = fresh_name();
    let mut crowd = Crowd::start(options, &format!("redis://127.0.0.1:{}/#{prefix}", server.port()?), &[])?;
    for _ in 0..options.rounds {
        crowd.ask("flow")?;
        fault(server, &mut crowd)?;
        crowd.ask("flow")?;
    }
    afterwards(crowd, |holdings| server.rows(&prefix, holdings))
}

fn redis_restarted(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    redis_ended_by("TERM", options, servers)
}

fn redis_killed(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    redis_ended_by("KILL", options, servers)
}

fn redis_ended_by(signal: &str, options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    on_redis(options, servers.redis()?, |redis, crowd| {
        redis.server(0)?.end(signal)?;
        crowd.ask("refused")?;
        Ok(redis.server(0)?.begin_again()?)
    })
}

fn redis_connections_cut(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    on_redis(options, servers.redis()?, |redis, crowd| {
        for _ in 0..2 {
            for kind in ["normal", "pubsub"] {
                redis.ask(redis.port()?, &["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"])?;
            }
            crowd.ask("flow")?;
        }
        Ok(())
    })
}

fn redis_slow(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    let (prefix, redis) = (fresh_name(), servers.redis()?);
    let proxy = Proxy::before(redis.port()?).map_err(failed)?;
    let crowd = Crowd::start(options, &format!("redis://127.0.0.1:{}/#{prefix}", proxy.port), &[])?;
    let crowd = slow(options, &proxy, crowd)?;
    afterwards(crowd, |holdings| redis.rows(&prefix, holdings))
}

fn redis_disk_full(options: &Options, _: &mut Servers) -> Result<Counts, Trouble> {
    let mut redis = Redis::new(redis::private(Durability::Durable, Some(8)).map_err(absent)?)?;
    // With `always` a server that cannot write ends itself, which is a case of its own; with `everysec`, as most have
    // it, it refuses to write.
    redis.ask(redis.port()?, &["CONFIG", "SET", "appendfsync", "everysec"])?;
    on_redis(options, &mut redis, |redis, crowd| {
        redis.server(0)?.home().disk()?.fill()?;
        crowd.ask("refused")?;
        Ok(redis.server(0)?.home().disk()?.free()?)
    })
}

fn redis_absent(options: &Options, _: &mut Servers) -> Result<Counts, Trouble> {
    let url = format!("redis://:not-to-be-told@127.0.0.1:{}/", free_port()?);
    refuses_to_start(options, &url)?;
    refuses_to_start(options, &format!("{url},{url}"))?;
    Ok(Counts::default())
}

/// A master dies while its replica cannot follow it, and what it took along is gone.
fn fail_over(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    let counts = master_dies(options, servers.cluster()?, &["--may-lose"], |crowd| {
        // What is answered now is on the master alone.
        crowd.ask("rotate").map(|_| ())
    })?;
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    if count("lost") == 0 || count("rolled_back") == 0 {
        return Err(failed(
            "  Expected: clients that lost their last refresh, and events `store_rolled_back`\n  Actual:   none",
        ));
    }
    Ok(counts)
}

/// What its replica does not have was not answered.
fn fail_over_with_wait(options: &Options, servers: &mut Servers) -> Result<Counts, Trouble> {
    master_dies(options, servers.cluster()?, &["--config", r#"{"wait_replicas": 1}"#], |crowd| {
        crowd.ask("some-refused").map(|_| ())
    })
}

fn master_dies(
    options: &Options,
    cluster: &mut Redis,
    arguments: &[&str],
    meanwhile: impl FnOnce(&mut Crowd) -> Result<(), Trouble>,
) -> Result<Counts, Trouble> {
    let prefix = fresh_name();
    for port in cluster.with_role("slave")? {
        wait_until("every replica follows its master", || {
            Ok(cluster.replication(port, "master_link_status")?.as_deref() == Some("up"))
        })?;
    }
    let mut crowd = Crowd::start(options, &format!("{}#{prefix}", cluster.service.url()), arguments)?;
    crowd.ask("rotate")?;

    // The master of most of the clients.
    let sessions = crowd.sessions()?;
    let mut masters = Vec::new();
    for port in cluster.with_role("master")? {
        let keys = cluster.ask(port, &["KEYS", &format!("{prefix}:*")])?;
        let count = sessions.iter().filter(|id| keys.iter().any(|key| key.ends_with(*id))).count();
        masters.push((count, port));
    }
    let (_, master) = masters.into_iter().max().ok_or_else(|| failed("no master"))?;
    let number = cluster.ports.iter().position(|port| *port == master).unwrap_or_default();
    let mut replica = None;
    for port in cluster.with_role("slave")? {
        if cluster.replication(port, "master_port")? == Some(master.to_string()) {
            replica = Some(port);
        }
    }
    let replica = replica.ok_or_else(|| failed("the master has no replica"))?;

    // A replica with a wrong password does not come back once it was cut off. However long that was, it may take over.
    cluster.ask(replica, &["CONFIG", "SET", "masterauth", "wrong"])?;
    cluster.ask(replica, &["CONFIG", "SET", "cluster-replica-validity-factor", "0"])?;
    wait_until("the replica is cut off", || {
        cluster.ask(master, &["CLIENT", "KILL", "TYPE", "replica"])?;
        Ok(cluster.replication(replica, "master_link_status")?.as_deref() == Some("down"))
    })?;
    meanwhile(&mut crowd)?;
    cluster.server(number)?.end("KILL")?;
    wait_until("the replica takes over", || {
        Ok(cluster.replication(replica, "role")?.as_deref() == Some("master"))
    })?;
    cluster.ask(replica, &["CONFIG", "SET", "masterauth", ""])?;

    // What was the master follows now.
    cluster.server(number)?.begin_again()?;
    wait_until("the cluster is whole", || {
        let state = cluster.ask(replica, &["CLUSTER", "INFO"])?;
        let linked = cluster.replication(master, "master_link_status")?;
        Ok(state.iter().any(|line| line == "cluster_state:ok") && linked.as_deref() == Some("up"))
    })?;
    crowd.ask("flow")?;
    afterwards(crowd, |holdings| cluster.rows(&prefix, holdings))
}

// SQLite.

fn sqlite_disk_full(options: &Options, _: &mut Servers) -> Result<Counts, Trouble> {
    let home = Home::on_small_disk("sqlite", 16).map_err(absent)?;
    let file = home.path().join("store.db");
    let mut crowd = Crowd::start(options, &format!("sqlite:{}", file.display()), &[])?;
    for _ in 0..options.rounds {
        crowd.ask("flow")?;
        home.disk()?.fill()?;
        crowd.ask("refused")?;
        home.disk()?.free()?;
        crowd.ask("flow")?;
    }
    afterwards(crowd, |holdings| sqlite_rows(&file, holdings))
}

/// Where the program is installed that reads such files.
fn sqlite_rows(file: &std::path::Path, holdings: &[Holding]) -> Result<(), Trouble> {
    let Some(sqlite) = program(&["sqlite3"], &[]) else { return Ok(()) };
    let ids: Vec<_> = holdings.iter().map(|holding| format!("'{}'", holding.session)).collect();
    let sql = format!(
        "SELECT id || ' ' || generation || ' ' || lower(hex(live)) || ' ' || coalesce(end_reason, 'open')
         FROM gatekey_session WHERE id IN ({})",
        ids.join(", ")
    );
    let output = std::process::Command::new(sqlite).arg("-readonly").arg(file).arg(sql).output();
    let output = output.map_err(failed)?;
    let rows: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    let row =
        |Holding { session, generation, digest }: &Holding| format!("{session} {generation} {digest} open");
    rows_are(holdings.iter().map(row), &rows)
}

fn sqlite_absent(options: &Options, _: &mut Servers) -> Result<Counts, Trouble> {
    let home = Home::new("sqlite")?;
    let file = home.path().join("nowhere/store.db");
    refuses_to_start(options, &format!("sqlite:{}", file.display()))?;
    // Nothing was made in its place.
    if fs::read_dir(home.path()).is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(Counts::default());
    }
    Err(failed("  Expected: no file\n  Actual:   something was made"))
}
