//! The host as a case sees it: requests, users, browsers, the clock, the keys, the process.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    case::{Failure, Outcome, Setup, harness, not_applicable},
    client::{Request, Response, Target},
    cookies::{self, Jar},
    process::{Exit, Launch, Log, Process},
    token::{Keys, random_bytes},
    verdict::Tokens,
};

/// The password of every user that a case registers and does not care about.
pub(crate) const PASSWORD: &str = "seven green lanterns by the quay";

/// [`PASSWORD`] as the contract has it hashed (7.1).
const PASSWORD_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$hTCJv5zHg56W/l03r9idwQ$Annl6xJVXFKfIMcIafXAEDlGk0gvZ6+kB1TitYaiwjg";

/// What begins or is a secret of any host: the password of most users, a hash, the header of a token, cookies.
pub(crate) const SECRETS: [&str; 5] =
    [PASSWORD, "$argon2", "eyJhbGciOi", "gatekey_access=", "gatekey_refresh="];

/// What the command line laid over [`default_config`].
static ASKED: OnceLock<Value> = OnceLock::new();

/// Lays members over the configuration of every host of this run. Once, and before the first of them starts.
pub(crate) fn set_config(members: Value) {
    let _ = ASKED.set(members);
}

/// The configuration under every case's own. Throttles are off: a case that wants them says so. Stores may take their
/// time: what a busy machine makes of two hundred requests at once is no verdict.
pub(crate) fn default_config() -> Value {
    let config = json!({
        "issuer": "https://auth.test",
        "audience": "https://api.test",
        "client_id": "gatekey-tests",
        "limits": "off",
        "store_timeout": 15,
    });
    overlay(config, ASKED.get().cloned().unwrap_or_default())
}

/// Lays the members of one object over another's.
pub(crate) fn overlay(mut config: Value, members: Value) -> Value {
    if let (Some(config), Value::Object(members)) = (config.as_object_mut(), members) {
        config.extend(members);
    }
    config
}

/// One process and its store, or a foreign server.
pub(crate) struct Instance {
    target: Mutex<Target>,
    /// Absent for a foreign server.
    own: Option<Own>,
}

struct Own {
    launch: Mutex<Launch>,
    keys: Arc<Keys>,
    process: AsyncMutex<Option<Process>>,
    log: Mutex<Log>,
    /// How many lines of its standard error were searched for secrets.
    searched: AtomicUsize,
}

impl Instance {
    /// Starts a host.
    pub(crate) async fn start(launch: Launch, keys: Arc<Keys>) -> Result<Arc<Self>, Failure> {
        let process = launch.start().await?;
        Ok(Arc::new(Self {
            target: Mutex::new(target(&launch, &process)),
            own: Some(Own {
                log: Mutex::new(process.log.clone()),
                launch: Mutex::new(launch),
                keys,
                process: AsyncMutex::new(Some(process)),
                searched: AtomicUsize::new(0),
            }),
        }))
    }

    /// A server that someone else runs.
    pub(crate) fn foreign(target: Target) -> Arc<Self> {
        Arc::new(Self { target: Mutex::new(target), own: None })
    }
}

fn target(launch: &Launch, process: &Process) -> Target {
    let prefix = launch.config.get("prefix").and_then(Value::as_str);
    let insecure = launch.config.get("insecure_loopback_cookies");
    Target {
        address: process.address,
        authority: process.address.to_string(),
        prefix: prefix.unwrap_or("/auth").to_owned(),
        source: None,
        insecure_cookies: insecure == Some(&Value::Bool(true)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A host, seen by one case from an address of its own: throttles by network never join two cases.
pub(crate) struct Host {
    instance: Arc<Instance>,
    source: Ipv4Addr,
    notes: Mutex<Vec<String>>,
}

impl Host {
    /// The view of one case.
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        Self { instance, source: fresh_address(), notes: Mutex::default() }
    }

    fn own(&self) -> Result<&Own, Failure> {
        self.instance.own.as_ref().ok_or_else(|| not_applicable("the server was not started by the suite"))
    }

    /// Where requests of this case go.
    pub(crate) fn target(&self) -> Target {
        Target { source: Some(self.source), ..lock(&self.instance.target).clone() }
    }

    /// The address that this case connects from.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.source
    }

    /// Says something for the report, whatever the verdict.
    pub(crate) fn note(&self, what: String) {
        lock(&self.notes).push(what);
    }

    /// What the case has said.
    pub(crate) fn into_notes(self) -> Vec<String> {
        self.notes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// An address that nobody has used yet, for `.from(…)`.
    pub(crate) fn fresh_address(&self) -> Ipv4Addr {
        fresh_address()
    }

    // Requests.

    /// A request to an endpoint, below the prefix: `host.request("PUT", "/me")`.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        let target = self.target();
        let path = format!("{}{path}", target.prefix);
        Request::new(target, method, &path)
    }

    /// `GET` an endpoint.
    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// `POST` to an endpoint.
    pub(crate) fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    /// `DELETE` at an endpoint.
    pub(crate) fn delete(&self, path: &str) -> Request {
        self.request("DELETE", path)
    }

    /// A request to a path from the root: the host's own routes ([`crate::case::Need::Routes`]), `/.well-known/…`.
    pub(crate) fn route(&self, method: &str, path: &str) -> Request {
        Request::new(self.target(), method, path)
    }

    /// A request whose bytes are the case's own.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Request {
        Request::raw(self.target(), bytes)
    }

    /// `POST /login`, body transport.
    pub(crate) async fn login(&self, username: &str, password: &str) -> Result<Response, Failure> {
        self.post("/login").json(json!({"username": username, "password": password})).send().await
    }

    /// `POST /token` with the refresh token in a form.
    pub(crate) async fn refresh(&self, refresh_token: &str) -> Result<Response, Failure> {
        self.post("/token")
            .form(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)])
            .send()
            .await
    }

    /// `GET /me` with the access token in the header.
    pub(crate) async fn me(&self, access_token: &str) -> Result<Response, Failure> {
        self.get("/me").bearer(access_token).send().await
    }

    // Subjects.

    /// A user name that nobody has yet.
    pub(crate) fn fresh_name(&self) -> String {
        static RUN: OnceLock<String> = OnceLock::new();
        static USERS: AtomicU32 = AtomicU32::new(1);
        // Stores given by a URL outlive a run, so names differ between runs too.
        let run = RUN.get_or_init(|| match random_bytes::<4>() {
            Ok(bytes) => bytes.map(|byte| format!("{byte:02x}")).concat(),
            Err(_) => std::process::id().to_string(),
        });
        format!("user-{run}-{}", USERS.fetch_add(1, Ordering::Relaxed))
    }

    /// A user under a new name, with [`PASSWORD`].
    ///
    /// Hosts of the suite's own are given it by their control, hash and all: of every other case's time the most went
    /// into hashing the same password anew. Any other server is asked to register it.
    pub(crate) async fn user(&self) -> Result<User<'_>, Failure> {
        let name = self.fresh_name();
        if self.instance.own.is_some() {
            let id = random_bytes::<16>()?.map(|byte| format!("{byte:02x}")).concat();
            self.set_user(&name, json!({"id": id, "password_hash": PASSWORD_HASH})).await?;
            return Ok(User { host: self, id, name, password: PASSWORD });
        }
        let response =
            self.post("/register").json(json!({"username": name, "password": PASSWORD})).send().await?;
        let answer = response.answered(201).setup()?;
        let id = answer
            .pointer("/user/id")
            .and_then(Value::as_str)
            .ok_or_else(|| crate::case::failed("a string user.id", response.describe()))
            .setup()?;
        Ok(User { host: self, id: id.to_owned(), name, password: PASSWORD })
    }

    /// A browser with an empty jar.
    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser { host: self, jar: Arc::default() }
    }

    // The controls of test hosts.

    /// Moves the host's clock forward ([`crate::case::Need::Clock`]).
    pub(crate) async fn advance(&self, seconds: u64) -> Outcome {
        self.control("/__test/clock", json!({"advance": seconds})).await
    }

    /// Sets `disabled`, `roles` or `scope` of a user ([`crate::case::Need::Control`]).
    pub(crate) async fn set_user(&self, username: &str, members: Value) -> Outcome {
        let body = overlay(json!({"username": username}), members);
        self.control("/__test/user", body).await
    }

    /// Makes the host sign with a new key and keep the old one for verifying ([`crate::case::Need::RotatedKeys`]).
    pub(crate) async fn rotate_keys(&self) -> Outcome {
        self.control("/__test/keys/rotate", json!({})).await
    }

    async fn control(&self, path: &str, body: Value) -> Outcome {
        let response = self.route("POST", path).json(body).send().await?;
        if response.status == 204 {
            return Ok(());
        }
        Err(harness(format!("the host's control refused: {}", response.describe())))
    }

    // Keys ([`crate::case::Need::Keys`]).

    /// The host's keys.
    pub(crate) fn keys(&self) -> Result<&Keys, Failure> {
        Ok(&self.own()?.keys)
    }

    /// An access token of this header and these claims, rightly signed.
    pub(crate) fn sign_access(&self, header: &Value, claims: &Value) -> Result<String, Failure> {
        let (header, claims) = (header.to_string(), claims.to_string());
        self.keys()?.sign_access(header.as_bytes(), claims.as_bytes())
    }

    /// The same from text as the case wrote it: members twice, spaces, broken JSON.
    pub(crate) fn sign_access_text(&self, header: &str, claims: &str) -> Result<String, Failure> {
        self.keys()?.sign_access(header.as_bytes(), claims.as_bytes())
    }

    /// A refresh token of this header and these claims, rightly signed.
    pub(crate) fn sign_refresh(&self, header: &Value, claims: &Value) -> Result<String, Failure> {
        let (header, claims) = (header.to_string(), claims.to_string());
        Ok(self.keys()?.sign_refresh(header.as_bytes(), claims.as_bytes()))
    }

    // The process ([`crate::case::Need::Processes`]).

    /// How this host is started: the same store, keys and configuration, to change and `.start()` or `.exit()`.
    pub(crate) fn launch(&self) -> Result<Launch, Failure> {
        Ok(lock(&self.own()?.launch).clone())
    }

    /// A second process on the same store with the same keys.
    pub(crate) async fn sibling(&self) -> Result<Host, Failure> {
        let keys = self.own()?.keys.clone();
        let instance = Instance::start(self.launch()?, keys).await?;
        Ok(Host { source: self.source, ..Host::new(instance) })
    }

    /// Ends the process as a power cut would (SIGKILL).
    pub(crate) async fn kill(&self) -> Outcome {
        if let Some(mut process) = self.own()?.process.lock().await.take() {
            process.kill().await;
        }
        Ok(())
    }

    /// Ends the process as an operator would (SIGTERM).
    pub(crate) async fn stop(&self) -> Result<Exit, Failure> {
        let process = self.own()?.process.lock().await.take();
        match process {
            Some(process) => process.terminate().await,
            None => Err(harness("the host does not run")),
        }
    }

    /// Starts the process again on the same store; kills it first if it runs.
    pub(crate) async fn restart(&self) -> Outcome {
        self.restart_with(json!({})).await
    }

    /// The same with members laid over its configuration.
    pub(crate) async fn restart_with(&self, members: Value) -> Outcome {
        self.kill().await?;
        self.start_as(self.launch()?.config(members)).await
    }

    /// Starts the process again in another way, once it was killed or stopped.
    pub(crate) async fn start_as(&self, launch: Launch) -> Outcome {
        let own = self.own()?;
        let process = launch.start().await?;
        *lock(&self.instance.target) = target(&launch, &process);
        // What the one before printed goes with it.
        self.printed_no_secret()?;
        *lock(&own.log) = process.log.clone();
        own.searched.store(0, Ordering::Relaxed);
        *lock(&own.launch) = launch;
        *own.process.lock().await = Some(process);
        Ok(())
    }

    /// Nothing that the process has printed since this was last asked is secret. Asked after every case, whatever it is
    /// about: a secret that is logged on a way nobody thought of is logged all the same.
    pub(crate) fn printed_no_secret(&self) -> Outcome {
        let Some(own) = &self.instance.own else { return Ok(()) };
        let log = lock(&own.log).clone();
        let from = own.searched.load(Ordering::Relaxed);
        let new = log.stderr_from(from);
        own.searched.fetch_max(from + new.len(), Ordering::Relaxed);
        let keys = [own.keys.refresh_environment(), own.keys.access.environment().to_owned()];
        let keys = keys.iter().flat_map(|key| key.lines()).filter(|line| !line.starts_with('-'));
        let secrets: Vec<&str> = SECRETS.into_iter().chain(keys).collect();
        let holds_one = |line: &&String| secrets.iter().any(|secret| line.contains(secret));
        match log.stdout().iter().chain(&new).find(holds_one) {
            None => Ok(()),
            Some(line) => Err(crate::case::failed("no secret in what the host prints", line)),
        }
    }

    /// What the present process has printed.
    pub(crate) fn log(&self) -> Result<Log, Failure> {
        Ok(lock(&self.own()?.log).clone())
    }
}

/// Every case, and every client that wants to be another network, has an address of its own in 127.0.0.0/8.
fn fresh_address() -> Ipv4Addr {
    static ADDRESSES: AtomicU32 = AtomicU32::new(1);
    let next = ADDRESSES.fetch_add(1, Ordering::Relaxed);
    let [_, high, middle, low] = next.to_be_bytes();
    // Never 127.0.x.x, which cases write literally, nor the broadcast address.
    Ipv4Addr::new(127, 1 + high % 250, middle, low)
}

/// A registered user.
pub(crate) struct User<'h> {
    pub(crate) host: &'h Host,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) password: &'static str,
}

impl<'h> User<'h> {
    /// Logs in, body transport, as preparation.
    pub(crate) async fn login(&self) -> Result<Tokens, Failure> {
        let response = self.host.login(&self.name, self.password).await?;
        response.granted().setup()
    }

    /// A browser that is logged in by cookie, as preparation.
    pub(crate) async fn browser(&self) -> Result<Browser<'h>, Failure> {
        let browser = self.host.browser();
        let response = browser.login(&self.name, self.password).await?;
        response.cookies_granted().setup()?;
        Ok(browser)
    }

    /// Sets roles, `disabled` or `scope` ([`crate::case::Need::Control`]).
    pub(crate) async fn set(&self, members: Value) -> Outcome {
        self.host.set_user(&self.name, members).await
    }
}

/// A client with a cookie jar that says `Sec-Fetch-Site: same-origin`, as a page of the application does.
pub(crate) struct Browser<'h> {
    pub(crate) host: &'h Host,
    jar: Arc<Mutex<Jar>>,
}

impl Browser<'_> {
    /// A request to an endpoint with the jar's cookies; the answer's are kept.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        self.silent(method, path).same_origin()
    }

    /// The same without `Sec-Fetch-Site`, for cases that choose it.
    pub(crate) fn silent(&self, method: &str, path: &str) -> Request {
        self.host.request(method, path).jar(self.jar.clone())
    }

    /// `GET` an endpoint.
    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// `POST` to an endpoint.
    pub(crate) fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    /// `DELETE` at an endpoint.
    pub(crate) fn delete(&self, path: &str) -> Request {
        self.request("DELETE", path)
    }

    /// A request to one of the host's own routes.
    pub(crate) fn route(&self, method: &str, path: &str) -> Request {
        let request = self.host.route(method, path).jar(self.jar.clone());
        request.same_origin()
    }

    /// `POST /login`, cookie transport.
    pub(crate) async fn login(&self, username: &str, password: &str) -> Result<Response, Failure> {
        self.post("/login")
            .json(json!({"username": username, "password": password, "transport": "cookie"}))
            .send()
            .await
    }

    /// `POST /token` with an empty body and the refresh cookie.
    pub(crate) async fn refresh(&self) -> Result<Response, Failure> {
        self.post("/token").send().await
    }

    /// The jar, to look into, to rewind or to forge. Do not hold it across an `await`.
    pub(crate) fn jar(&self) -> MutexGuard<'_, Jar> {
        lock(&self.jar)
    }

    /// A copy of the browser as it is now: another tab that has not heard of later answers, or a thief.
    pub(crate) fn copy(&self) -> Self {
        let jar = self.jar().clone();
        Self { host: self.host, jar: Arc::new(Mutex::new(jar)) }
    }

    /// The access cookie's value.
    pub(crate) fn access(&self) -> Result<String, Failure> {
        self.cookie(cookies::ACCESS)
    }

    /// The refresh cookie's value.
    pub(crate) fn refresh_token(&self) -> Result<String, Failure> {
        self.cookie(cookies::REFRESH)
    }

    fn cookie(&self, name: &str) -> Result<String, Failure> {
        let jar = self.jar();
        let value = jar.get(name).map(str::to_owned);
        value.ok_or_else(|| crate::case::failed(format!("a cookie {name}"), format!("{:?}", jar.field())))
    }
}
