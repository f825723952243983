//! Servers, and an application that is asked as a client asks it.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use gatekey::{
    Algorithm, Gatekey, GatekeyBuilder, Keys, PostgresOptions, PostgresStore, RedisOptions, RedisStore,
    SqliteStore,
};
use gatekey_http::{Body, Head};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// How long something may take on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const PASSWORD: &str = "seven green lanterns by the quay";

/// That nothing was tested, and why: past the test harness, which shows nothing of a test that passes.
pub(crate) fn not_run<T>(test: &str, why: &str) -> Option<T> {
    assert!(std::env::var_os("GATEKEY_REQUIRE_ALL").is_none(), "{why}");
    let _ = std::io::stderr().write_all(format!("not run: {test}: {why}\n").as_bytes());
    None
}

/// A name that no other test has.
pub(crate) fn fresh() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("facade_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not yet: {what}"));
}

/// Where PostgreSQL is.
pub(crate) fn postgres(test: &str) -> Option<String> {
    let url = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    url.or_else(|| not_run(test, "DATABASE_URL is not set"))
}

/// A store in a schema.
pub(crate) async fn postgres_store(url: &str, schema: &str) -> PostgresStore {
    let options = PostgresOptions::default().schema(schema).pool_size(4);
    options.timeout(PATIENCE).pool_timeout(PATIENCE).connect(url).await.unwrap()
}

/// A connection of the test's own.
pub(crate) async fn sql(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A database of a test's own, whose statements the server counts: apart from others, and with nobody beside who keeps old
/// versions of rows alive.
pub(crate) struct Counted {
    pub(crate) url: String,
    pub(crate) sql: tokio_postgres::Client,
    admin: tokio_postgres::Client,
    name: String,
}

impl Counted {
    pub(crate) async fn make(test: &str) -> Option<Self> {
        let url = postgres(test)?;
        let admin = sql(&url).await;
        let preloaded = admin.query_one("SHOW shared_preload_libraries", &[]).await.unwrap();
        if !preloaded.get::<_, String>(0).contains("pg_stat_statements") {
            return not_run(test, "the server has no pg_stat_statements");
        }
        let name = fresh();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let (server, words) = url.split_once('?').unwrap_or((&url, ""));
        let (server, _) = server.rsplit_once('/').unwrap();
        let url = format!("{server}/{name}?{words}");
        let sql = sql(&url).await;
        sql.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
        Some(Self { url, sql, admin, name })
    }

    /// Removes the database. A test that fails leaves it to be looked at.
    pub(crate) async fn leave(self) {
        drop(self.sql);
        self.admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.unwrap();
    }
}

/// A server that ends with its test.
pub(crate) struct Redis {
    folder: PathBuf,
    pub(crate) port: u16,
    child: Child,
}

impl Redis {
    /// `None`, and a line that says so, where none is installed.
    pub(crate) async fn start(test: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let names = ["redis-server", "valkey-server"];
        let mut places = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
        let Some(program) = places.find(|place| place.is_file()) else {
            return not_run(test, "neither redis-server nor valkey-server is installed");
        };
        let folder = std::env::temp_dir().join(fresh());
        fs::create_dir_all(&folder).unwrap();
        // A free port may be somebody else's a moment later.
        for _ in 0..10 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let child = Command::new(&program)
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
                .arg(&folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let mut redis = Self { folder: folder.clone(), port, child };
            let started = Instant::now();
            while started.elapsed() < PATIENCE && redis.child.try_wait().unwrap().is_none() {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                    return Some(redis);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        panic!("no server starts");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) async fn store(&self) -> RedisStore {
        redis_store(&self.url()).await
    }

    /// How often the server has done each command since it was last asked.
    pub(crate) async fn counted(&self) -> Vec<(String, u64)> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let text: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.unwrap();
        let () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut connection).await.unwrap();
        let line = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        text.lines().filter_map(line).collect()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) async fn redis_store(url: &str) -> RedisStore {
    let options = RedisOptions::default().connect_timeout(PATIENCE).response_timeout(PATIENCE);
    options.connect(url).await.unwrap()
}

/// An SQLite file that goes with its test.
pub(crate) struct File(pub(crate) PathBuf);

impl File {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("{}.db", fresh())))
    }

    pub(crate) async fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.0).await.unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", self.0.display()));
        }
    }
}

/// A way to a server that can be cut.
pub(crate) struct Way {
    pub(crate) port: u16,
    open: Arc<AtomicBool>,
    under_way: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Way {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicBool::new(true));
        let under_way = Arc::<Mutex<Vec<_>>>::default();
        let accepting = tokio::spawn({
            let (open, under_way) = (Arc::clone(&open), Arc::clone(&under_way));
            async move {
                while let Ok((mut client, _)) = listener.accept().await {
                    // What comes while it is cut is closed at once.
                    if open.load(Ordering::SeqCst) {
                        let passing = tokio::spawn(async move {
                            let Ok(mut server) = TcpStream::connect(server).await else { return };
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                        });
                        under_way.lock().unwrap().push(passing.abort_handle());
                    }
                }
            }
        });
        Self { port, open, under_way, accepting }
    }

    pub(crate) fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        for passing in self.under_way.lock().unwrap().drain(..) {
            passing.abort();
        }
    }

    pub(crate) fn mend(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// Keys that all nodes of a test share.
pub(crate) fn keys() -> Keys {
    Keys::generate(Algorithm::EdDSA).unwrap()
}

pub(crate) fn builder(keys: &Keys) -> GatekeyBuilder {
    Gatekey::builder().issuer("https://auth.test").keys(keys.clone())
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.json);
        self.json
    }
}

/// Sends a request to an endpoint.
pub(crate) async fn ask(
    gatekey: &Gatekey,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: Option<Value>,
) -> Answer {
    let mut headers = http::HeaderMap::new();
    if let Some(token) = bearer {
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    if !body.is_empty() {
        headers.insert("content-type", "application/json".parse().unwrap());
    }
    let path = format!("/auth{path}");
    let peer = Some(IpAddr::from([192, 0, 2, 1]));
    let head = Head { method, path: &path, query: None, headers: &headers, peer };
    let reply = gatekey.handle(head, Body::Complete(body.into())).await;
    let json = serde_json::from_slice(reply.body()).unwrap_or(Value::Null);
    Answer { status: reply.status().as_u16(), json }
}

/// What a client holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) session: String,
}

impl Held {
    fn of(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token"), session: text("session_id") }
    }
}

pub(crate) async fn try_login(gatekey: &Gatekey, name: &str, password: &str) -> Answer {
    ask(gatekey, "POST", "/login", None, Some(json!({"username": name, "password": password}))).await
}

pub(crate) async fn login(gatekey: &Gatekey, name: &str) -> Held {
    Held::of(&try_login(gatekey, name, PASSWORD).await.is(200))
}

pub(crate) async fn register(gatekey: &Gatekey, name: &str) {
    let body = json!({"username": name, "password": PASSWORD});
    ask(gatekey, "POST", "/register", None, Some(body)).await.is(201);
}

pub(crate) async fn try_refresh(gatekey: &Gatekey, token: &str) -> Answer {
    let body = json!({"grant_type": "refresh_token", "refresh_token": token});
    ask(gatekey, "POST", "/token", None, Some(body)).await
}

pub(crate) async fn refresh(gatekey: &Gatekey, held: &Held) -> Held {
    Held::of(&try_refresh(gatekey, &held.refresh).await.is(200))
}

/// The status of a guarded request.
pub(crate) async fn me(gatekey: &Gatekey, held: &Held) -> u16 {
    ask(gatekey, "GET", "/me", Some(&held.access), None).await.status
}

pub(crate) async fn logout(gatekey: &Gatekey, held: &Held) {
    ask(gatekey, "POST", "/logout", Some(&held.access), None).await.is(204);
}
