//! Servers of a test's own.

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, FromRedisValue, Value, aio::MultiplexedConnection};

use super::PATIENCE;
use crate::{RedisOptions, RedisStore};

/// A server program, or a line that says that nothing was tested. It is written past the test harness, which shows
/// nothing of a test that passes.
fn program(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["redis-server", "valkey-server"];
    let mut places = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    let found = places.find(|place| place.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("GATEKEY_REQUIRE_ALL").is_none(),
            "neither redis-server nor valkey-server is installed"
        );
        let _ = writeln!(
            std::io::stderr(),
            "not run: {test}: neither redis-server nor valkey-server is installed"
        );
    }
    found
}

/// A server that ends with its test.
pub(super) struct Server {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// Starts one with further arguments; `None` where none is installed.
    pub(super) async fn start(test: &str, arguments: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let program = program(test)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("gatekey-redis-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut server = Self {
            program,
            folder,
            port: 0,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            child: None,
        };
        // A free port may be somebody else's a moment later.
        for _ in 0..10 {
            server.port = free_port();
            if server.run().await {
                return Some(server);
            }
        }
        panic!("no server starts: {}", fs::read_to_string(server.folder.join("log")).unwrap_or_default());
    }

    /// Starts the program; whether it answers.
    async fn run(&mut self) -> bool {
        let log = fs::File::create(self.folder.join("log")).unwrap();
        let child = Command::new(&self.program)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .arg("--dir")
            .arg(&self.folder)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let id = child.id();
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(Some(_)))) {
                return false;
            }
            if let Ok(mut connection) = self.try_connect().await {
                // Another server may have been quicker.
                let info: String = ask(&mut connection, &["INFO", "server"]).await;
                return info.contains(&format!("process_id:{id}\r"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A store that waits as long as a loaded machine may need.
    pub(super) async fn store(&self) -> RedisStore {
        patient().connect(&self.url()).await.unwrap()
    }

    /// A store that does not wait for long.
    pub(super) async fn hasty(&self) -> RedisStore {
        let options = RedisOptions::default().response_timeout(Duration::from_millis(300));
        options.connect(&self.url()).await.unwrap()
    }

    /// The clients that are connected, the one who asks and those before it aside.
    pub(super) async fn clients(&self) -> HashSet<String> {
        let list: String = self.ask(&["CLIENT", "LIST", "TYPE", "normal"]).await;
        let others = list.lines().filter(|line| !line.contains("cmd=client"));
        others.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    }

    async fn try_connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        let patient = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        redis::Client::open(self.url())?.get_multiplexed_async_connection_with_config(&patient).await
    }

    /// Sends a command of the test's own.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        ask(&mut self.try_connect().await.unwrap(), command).await
    }

    /// How often the server has done each command since it was last asked.
    pub(super) async fn counted(&self, names: &[&str]) -> Vec<usize> {
        let text: String = self.ask(&["INFO", "commandstats"]).await;
        let _: Value = self.ask(&["CONFIG", "RESETSTAT"]).await;
        let count = |name: &&str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")))?;
            line.split(',').next()?.parse().ok()
        };
        names.iter().map(|name| count(name).unwrap_or(0)).collect()
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(super) async fn restart(&mut self) {
        self.kill();
        assert!(self.run().await, "the server does not start again");
    }

    /// Stops it without ending it, or lets it go on.
    pub(super) fn signal(&self, signal: &str) {
        let child = self.child.as_ref().unwrap();
        let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Every key under a prefix, sorted.
    pub(super) async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(&["KEYS", &format!("{prefix}*")]).await;
        keys.sort();
        keys
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, command: &[&str]) -> T {
    let mut sent = redis::cmd(command[0]);
    sent.arg(&command[1..]);
    sent.query_async(connection).await.unwrap()
}

/// Options of a store that waits as long as a loaded machine may need.
pub(super) fn patient() -> RedisOptions {
    RedisOptions::default().connect_timeout(PATIENCE).response_timeout(PATIENCE)
}

/// A port that is free, and so is the one 10,000 above it: nodes of a cluster talk there.
pub(super) fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// Three masters and a replica of each.
pub(super) struct Cluster {
    pub(super) servers: Vec<Server>,
}

impl Cluster {
    /// Starts one. Its nodes take one of them for lost that does not answer for so long: on a loaded machine that may
    /// be one that is well, so a test which needs them all says something long.
    pub(super) async fn start(test: &str, node_timeout: Duration) -> Option<Self> {
        let mut servers = Vec::new();
        let node_timeout = node_timeout.as_millis().to_string();
        for _ in 0..6 {
            let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", &node_timeout];
            servers.push(Server::start(test, &arguments).await?);
        }
        let cli = servers[0].program.with_file_name(if servers[0].program.ends_with("valkey-server") {
            "valkey-cli"
        } else {
            "redis-cli"
        });
        let created = Command::new(cli)
            .args(["--cluster", "create"])
            .args(servers.iter().map(|server| format!("127.0.0.1:{}", server.port)))
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { servers };
        cluster.settled().await;
        Some(cluster)
    }

    /// Waits until every node that runs sees a whole cluster, and every replica has its master's data.
    pub(super) async fn settled(&self) {
        let started = Instant::now();
        for server in self.servers.iter().filter(|server| server.child.is_some()) {
            loop {
                let state: String = server.ask(&["CLUSTER", "INFO"]).await;
                let replication: String = server.ask(&["INFO", "replication"]).await;
                let follows =
                    !replication.contains("role:slave") || replication.contains("master_link_status:up");
                if state.contains("cluster_state:ok") && follows {
                    break;
                }
                assert!(started.elapsed() < PATIENCE, "the cluster does not settle: {state}{replication}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    pub(super) async fn store(&self) -> RedisStore {
        RedisStore::connect_cluster(self.urls()).await.unwrap()
    }

    /// A store that waits as long as a loaded machine may need.
    pub(super) async fn patient(&self) -> RedisStore {
        patient().connect_cluster(self.urls()).await.unwrap()
    }

    /// The servers of a role.
    pub(super) async fn with_role(&self, role: &str) -> Vec<usize> {
        let mut found = Vec::new();
        for (number, server) in self.servers.iter().enumerate().filter(|(_, server)| server.child.is_some()) {
            let replication: String = server.ask(&["INFO", "replication"]).await;
            if replication.contains(&format!("role:{role}")) {
                found.push(number);
            }
        }
        found
    }
}
