//! What every host program shares: the protocol of `tests/README.md`. A host adds its framework and nothing else.
//!
//! Hosts are test programs: they let the suite move the clock, change users and rotate keys over HTTP.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the protocol of host programs is lines of text"
)]

pub mod actix_app;
pub mod axum_app;
pub mod poem_app;
pub mod rocket_app;
pub mod tower_app;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use example_page::SecurityLog;
use gatekey::{
    Caller, Clock, Form, Gatekey, GatekeyBuilder, IntrospectionClient, Keys, Limits, MemoryStore, NewUser,
    Pages, PasswordHash, PasswordPolicy, Policy, PoolSize, PostgresOptions, Principal, RedisOptions, Reply,
    ReturnTo, SqliteOptions, SubjectId, SystemClock, Timestamp, UserChange, UserStore, Username,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing_subscriber::{
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// How old a login `/fresh` takes.
pub const FRESH: Duration = Duration::from_secs(gatekey::FRESH_SECS);

/// What `/admin` asks for, where an adapter takes it as a type.
#[derive(Debug)]
pub struct Admin;

impl gatekey::Role for Admin {
    const NAME: &'static str = "admin";
}

/// What `/scoped` asks for, likewise.
#[derive(Debug)]
pub struct Read;

impl gatekey::Scope for Read {
    const NAME: &'static str = "read";
}

/// Durations of the configuration file, in seconds.
type Seconds = u64;

/// The configuration file. Every key is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileConfig {
    issuer: Option<String>,
    audience: Option<String>,
    client_id: Option<String>,
    access_ttl: Option<Seconds>,
    refresh_ttl: Option<Seconds>,
    session_ttl: Option<Seconds>,
    reuse_grace: Option<Seconds>,
    leeway: Option<Seconds>,
    password_min: Option<usize>,
    rotation: Option<String>,
    realm: Option<String>,
    prefix: Option<String>,
    origin: Option<String>,
    trusted_origins: Vec<String>,
    trusted_proxies: Vec<String>,
    insecure_loopback_cookies: bool,
    limits: Option<Value>,
    introspection_clients: BTreeMap<String, String>,
    pages: Option<FilePages>,
    hashing: Option<FileHashing>,
    still_clock: bool,
    token_cache: Option<usize>,
    /// How many replicas of Redis must have a write before it is answered.
    wait_replicas: u32,
    /// How long anything may take in a store.
    store_timeout: Option<Seconds>,
    /// Whether the log has what is told at level debug, too, drivers' own among it.
    debug_log: bool,
}

/// Pages without script.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePages {
    login: Option<String>,
}

/// How many passwords are hashed at once, and how many may wait.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHashing {
    threads: usize,
    queue: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileLimits {
    login_network_per_minute: u32,
    register_network_per_hour: u32,
    account_failures_per_hour: u32,
    free_failures: u32,
    max_wait: Seconds,
    refresh_session_per_minute: u32,
    refresh_network_per_minute: u32,
    client_failures_per_minute: u32,
}

impl Default for FileLimits {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            login_network_per_minute: limits.login_network_per_minute,
            register_network_per_hour: limits.register_network_per_hour,
            account_failures_per_hour: limits.account_failures_per_hour,
            free_failures: limits.free_failures,
            max_wait: limits.max_wait.as_secs(),
            refresh_session_per_minute: limits.refresh_session_per_minute,
            refresh_network_per_minute: limits.refresh_network_per_minute,
            client_failures_per_minute: limits.client_failures_per_minute,
        }
    }
}

/// Why a host does not start: one line.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line whatever the cause says.
        f.write_str(&self.0.replace(['\r', '\n'], " "))
    }
}

impl Refused {
    /// What is wrong, and how.
    pub fn because(what: &str, problem: impl fmt::Display) -> Self {
        Self(format!("{what}: {problem}"))
    }
}

/// The system's clock and what the suite added to it.
#[derive(Debug, Default)]
struct TestClock {
    ahead: AtomicI64,
    /// Where it stands still, the time. Each look at it is a millisecond later than the one before, since much is told
    /// apart by which came first.
    still: Option<AtomicI64>,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let base = match &self.still {
            Some(millis) => millis.fetch_add(1, Ordering::Relaxed),
            None => SystemClock.now().as_millis(),
        };
        Timestamp::from_millis(base.saturating_add(ahead))
    }
}

/// A host that is ready to be served.
#[derive(Clone, Debug)]
pub struct Host {
    /// What it guards with.
    pub gatekey: Gatekey,
    /// Where it is to listen.
    pub listen: SocketAddr,
    /// Which fault it is to show, for the host that is wrong on purpose.
    pub fault: Option<String>,
    /// What the page of the examples shows of an account.
    pub security: SecurityLog,
    clock: Arc<TestClock>,
    users: Arc<dyn UserStore>,
}

impl Host {
    /// Reads the command line, the environment and the configuration.
    ///
    /// # Errors
    ///
    /// [`Refused`]: one line that names what is wrong.
    pub async fn from_args() -> Result<Self, Refused> {
        Self::from_args_with(|_, builder| builder).await
    }

    /// As [`Host::from_args`], with a last word on the settings, given the value of `--fault`.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub async fn from_args_with(
        settle: impl FnOnce(Option<&str>, GatekeyBuilder) -> GatekeyBuilder,
    ) -> Result<Self, Refused> {
        use lexopt::prelude::{Long, ValueExt};

        let usage = |error: lexopt::Error| Refused::because("arguments", error);
        let (mut listen, mut store, mut config, mut fault) =
            ("127.0.0.1:0".to_owned(), "memory".to_owned(), None::<PathBuf>, None);
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next().map_err(usage)? {
            let Long(name) = argument else { return Err(usage(argument.unexpected())) };
            match name {
                "listen" => listen = arguments.value().and_then(|value| value.string()).map_err(usage)?,
                "store" => store = arguments.value().and_then(|value| value.string()).map_err(usage)?,
                "config" => config = Some(arguments.value().map_err(usage)?.into()),
                "fault" => fault = Some(arguments.value().and_then(|value| value.string()).map_err(usage)?),
                _ => return Err(usage(argument.unexpected())),
            }
        }
        let listen: SocketAddr = listen.parse().map_err(|error| Refused::because("listen", error))?;
        let config: FileConfig = match config {
            None => FileConfig::default(),
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|error| Refused::because("config", error))?;
                serde_json::from_str(&text).map_err(|error| Refused::because("config", error))?
            }
        };
        write_log(config.debug_log);
        let still = config.still_clock.then(|| AtomicI64::new(SystemClock.now().as_millis()));
        let clock = Arc::new(TestClock { ahead: AtomicI64::new(0), still });
        let security = SecurityLog::default();
        let builder =
            configure(&config, listen)?.clock(Arc::clone(&clock) as Arc<dyn Clock>).events(security.clone());
        let (builder, users) = open_store(builder, &store, &config).await?;
        let gatekey =
            settle(fault.as_deref(), builder).build().await.map_err(|error| Refused(error.to_string()))?;
        Ok(Self { gatekey, listen, fault, security, clock, users })
    }

    /// Says that requests are taken now.
    pub fn ready(&self, listening: SocketAddr) {
        ready(listening);
    }

    /// Answers a request of the suite to `/__test/…`: a status.
    pub async fn control(&self, path: &str, body: &[u8]) -> u16 {
        let body = serde_json::from_slice(body).unwrap_or(Value::Null);
        let done = match path {
            "/__test/clock" => self.advance(&body),
            "/__test/user" => self.change_user(&body).await,
            "/__test/keys/rotate" => self.gatekey.rotate_keys().ok(),
            _ => return 404,
        };
        if done.is_some() { 204 } else { 400 }
    }

    fn advance(&self, body: &Value) -> Option<()> {
        let millis = body["advance"].as_f64()? * 1000.0;
        #[allow(clippy::cast_possible_truncation, reason = "a float beyond i64 saturates")]
        self.clock.ahead.fetch_add(millis as i64, Ordering::Relaxed);
        Some(())
    }

    async fn change_user(&self, body: &Value) -> Option<()> {
        if let Some(hash) = body["password_hash"].as_str() {
            let user = NewUser {
                id: SubjectId::new(body["id"].as_str()?),
                username: Username::new(body["username"].as_str()?).ok()?,
                password_hash: PasswordHash::new(hash),
                created_at: self.clock.now(),
            };
            return self.users.create(user).await.ok()?.map(drop);
        }
        let user = self.gatekey.user(body["username"].as_str()?).await.ok()?;
        let roles = body["roles"].as_array().map(|roles| {
            roles.iter().filter_map(|role| role.as_str().map(str::to_owned)).collect::<Vec<_>>()
        });
        let scope = body.get("scope").map(|scope| scope.as_str().map(str::to_owned));
        let change = UserChange { disabled: body["disabled"].as_bool(), roles, scope };
        self.gatekey.update_user(&user.id, &change).await.ok()
    }
}

/// Opens what `--store` names, and the users in it. After a `#` stands a namespace of its own on a server.
/// Writes the log to standard error.
fn write_log(debug: bool) {
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr);
    if debug {
        // Drivers tell the `log` crate, which this takes in. Rocket tells it whole requests: `docs/deployment.md`.
        let others = filter_fn(|told| !told.target().starts_with("rocket"));
        lines.with_max_level(LevelFilter::DEBUG).finish().with(others).init();
    } else {
        // The first and only one of the program.
        let _ = tracing::subscriber::set_global_default(lines.finish());
    }
}

async fn open_store(
    builder: GatekeyBuilder,
    store: &str,
    config: &FileConfig,
) -> Result<(GatekeyBuilder, Arc<dyn UserStore>), Refused> {
    let patience = config.store_timeout.map(Duration::from_secs);
    match store.split_once(':') {
        None if store == "memory" => {
            let store = MemoryStore::new();
            Ok((builder.store(store.clone()), Arc::new(store)))
        }
        Some(("sqlite", path)) => {
            let options = SqliteOptions::default();
            let options = match patience {
                Some(patience) => options.busy_timeout(patience),
                None => options,
            };
            let store = options.open(path).await.map_err(|error| Refused::because("store", error))?;
            Ok((builder.store(store.clone()), Arc::new(store)))
        }
        Some(("postgres", _)) => {
            let (url, schema) = store.split_once('#').unwrap_or((store, "public"));
            // The suite runs many hosts at once, and a server takes a hundred connections by default.
            let options = PostgresOptions::default().pool_size(8).schema(schema);
            let options = match patience {
                Some(patience) => options.timeout(patience).pool_timeout(patience),
                None => options,
            };
            let store = options.connect(url).await.map_err(|error| Refused::because("store", error))?;
            Ok((builder.throttle(Arc::new(store.clone())).store(store.clone()), Arc::new(store)))
        }
        Some(("redis" | "rediss", _)) => {
            let (urls, prefix) = store.split_once('#').unwrap_or((store, "gatekey"));
            let options = RedisOptions::default()
                .prefix(format!("{prefix}:"))
                .wait_replicas(config.wait_replicas, Duration::from_millis(500));
            let options = match patience {
                Some(patience) => options.connect_timeout(patience).response_timeout(patience),
                None => options,
            };
            // Several URLs are nodes of a cluster.
            let store = match urls.split_once(',') {
                Some(_) => options.connect_cluster(urls.split(',')).await,
                None => options.connect(urls).await,
            };
            let store = store.map_err(|error| Refused::because("store", error))?;
            Ok((builder.throttle(Arc::new(store.clone())).store(store.clone()), Arc::new(store)))
        }
        _ => {
            // A URL may hold a password.
            let kind = store.split(':').next().unwrap_or_default();
            Err(Refused::because("store", format!("{kind:?} is not built into this host")))
        }
    }
}

/// Says that requests are taken now.
pub fn ready(listening: SocketAddr) {
    println!("ready http://{listening}");
}

/// What `/whoami` says of a principal.
#[must_use]
pub fn whoami(principal: &Principal) -> Value {
    json!({
        "sub": principal.subject().as_str(),
        "username": principal.username(),
        "roles": principal.roles(),
        "session_id": principal.session().as_str(),
    })
}

/// What `/open` says.
#[must_use]
pub fn open() -> Value {
    json!({ "open": true })
}

/// What `/maybe` says of a caller, if there is one.
#[must_use]
pub fn maybe(caller: Option<&Caller>) -> Value {
    caller.map_or_else(|| json!({ "sub": null }), |caller| whoami(caller.principal()))
}

/// What `/panic` does, once somebody was let in.
///
/// # Panics
///
/// Always: what a handler of the host does is not to harm us.
#[must_use]
pub fn panicking(caller: &Caller) -> String {
    panic!("{} asked for it", caller.subject().as_str())
}

/// The query of `/form`.
#[derive(Debug, Deserialize)]
pub struct Way {
    /// Where somebody came from.
    pub return_to: Option<String>,
}

/// What `/form` is: a page of plain HTML to log in and out with.
#[must_use]
pub fn form_page(return_to: Option<&str>) -> String {
    let back = ReturnTo::or_root(return_to).as_str().replace('&', "&amp;");
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Log in</title>
        <form method=post action=/form/login><input type=hidden name=return_to value=\"{back}\">
        <label>Name <input name=username></label> <label>Password <input name=password type=password></label>
        <button>Log in</button></form>
        <form method=post action=/form/logout><button>Log out</button></form></html>\n"
    )
}

/// What was typed into `/form`, as `/form/login` gets it.
#[derive(Debug, Deserialize, rocket::FromForm)]
pub struct LogIn {
    username: String,
    password: String,
    return_to: Option<String>,
}

impl LogIn {
    /// For the endpoint.
    #[must_use]
    pub fn form(&self) -> Form {
        Form::login(&self.username, &self.password)
    }

    /// What a person gets for the endpoint's answer: the way back, or the refusal as it is.
    #[must_use]
    pub fn answer(&self, reply: Reply) -> Reply {
        back_to(self.return_to.as_deref(), reply)
    }
}

/// The same of `/form/logout`.
#[must_use]
pub fn left(reply: Reply) -> Reply {
    back_to(Some("/form"), reply)
}

fn back_to(place: Option<&str>, reply: Reply) -> Reply {
    if reply.status().is_success() { ReturnTo::or_root(place).redirect(&reply) } else { reply }
}

/// Ends a host's `main`: 0 after a graceful stop, 2 and one line for a configuration that must be refused.
#[must_use]
pub fn exit(served: Result<(), Refused>) -> ExitCode {
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            eprintln!("{refused}");
            ExitCode::from(2)
        }
    }
}

/// Waits for SIGTERM, from now on: called before [`Host::ready`], it hears of one that comes right after.
pub fn terminated() -> impl Future<Output = ()> + Send + 'static {
    let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    async move {
        match signal {
            Ok(mut signal) => {
                signal.recv().await;
            }
            // Without the signal the suite kills the process in the end.
            Err(_) => std::future::pending().await,
        }
    }
}

fn configure(config: &FileConfig, listen: SocketAddr) -> Result<GatekeyBuilder, Refused> {
    let keys = Keys::from_env().map_err(|error| Refused::because("keys", error))?;
    let seconds = Duration::from_secs;
    let mut builder =
        Gatekey::builder().keys(keys).issuer(config.issuer.as_deref().unwrap_or("https://auth.test"));
    macro_rules! pass_on {
        ($($setting:ident $(. $wrap:ident)?),* $(,)?) => {
            $(if let Some(value) = config.$setting.clone() {
                builder = builder.$setting(pass_on!(@ value $($wrap)?));
            })*
        };
        (@ $value:ident) => { $value };
        (@ $value:ident secs) => { seconds($value) };
    }
    pass_on!(audience, client_id, realm, prefix, origin, access_ttl.secs, refresh_ttl.secs, session_ttl.secs,);
    if let Some(leeway) = config.leeway {
        builder = builder.configure(|config| config.leeway = seconds(leeway));
    }
    if let Some(size) = config.token_cache {
        builder = builder.configure(|config| config.token_cache = size);
    }
    if let Some(FileHashing { threads, queue }) = config.hashing {
        builder = builder.configure(|config| config.hashing = PoolSize { threads, queue });
    }
    if let Some(min) = config.password_min {
        let policy =
            PasswordPolicy::new(min, 256).map_err(|error| Refused::because("password_min", error))?;
        builder = builder.passwords(policy);
    }
    let mut policy = match config.rotation.as_deref() {
        // What a site of pages has, unless it chooses.
        None if config.pages.is_some() => Policy::PAGES,
        None | Some("balanced") => Policy::BALANCED,
        Some("strict") => Policy::STRICT,
        Some("resilient") => Policy::RESILIENT,
        Some(other) => return Err(Refused::because("rotation", format!("{other:?} is not known"))),
    };
    if let Some(grace) = config.reuse_grace {
        policy.grace = seconds(grace);
    }
    if config.rotation.is_some() || config.reuse_grace.is_some() {
        builder = builder.rotation(policy);
    }
    for origin in &config.trusted_origins {
        builder = builder.trusted_origin(origin);
    }
    for proxy in &config.trusted_proxies {
        builder = builder.trusted_proxy(proxy);
    }
    for (id, secret) in &config.introspection_clients {
        let client =
            IntrospectionClient::new(id, secret).map_err(|error| Refused::because("config", error))?;
        builder = builder.introspection_client(client);
    }
    if let Some(FilePages { login }) = &config.pages {
        let pages = Pages::new();
        builder = builder.pages(login.iter().fold(pages, |pages, login| pages.login(login)));
    }
    if config.insecure_loopback_cookies {
        builder = builder.insecure_cookies_on_loopback(listen.ip());
    }
    Ok(builder.limits(limits(config.limits.as_ref())?))
}

fn limits(value: Option<&Value>) -> Result<Limits, Refused> {
    match value {
        None => Ok(Limits::default()),
        Some(Value::String(name)) if name == "default" => Ok(Limits::default()),
        Some(Value::String(name)) if name == "off" => Ok(Limits::OFF),
        Some(numbers) => {
            let limits: FileLimits =
                serde_json::from_value(numbers.clone()).map_err(|error| Refused::because("limits", error))?;
            Ok(Limits {
                login_network_per_minute: limits.login_network_per_minute,
                register_network_per_hour: limits.register_network_per_hour,
                account_failures_per_hour: limits.account_failures_per_hour,
                free_failures: limits.free_failures,
                max_wait: Duration::from_secs(limits.max_wait),
                refresh_session_per_minute: limits.refresh_session_per_minute,
                refresh_network_per_minute: limits.refresh_network_per_minute,
                client_failures_per_minute: limits.client_failures_per_minute,
            })
        }
    }
}
