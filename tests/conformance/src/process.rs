//! Starting a host program as the protocol of `tests/README.md` says, and ending it gently or not.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::{
    case::{Failure, failed, harness},
    token::{Keys, random_bytes},
};

/// How long a host may take to say that it serves, or to end when told to.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that goes away with the last one that uses it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty folder.
    pub(crate) fn new() -> Result<Arc<Self>, Failure> {
        let name = random_bytes::<8>()?.map(|byte| format!("{byte:02x}")).concat();
        let path = std::env::temp_dir().join(format!("gatekey-conformance-{name}"));
        std::fs::create_dir(&path)
            .map_err(|error| harness(format!("cannot make {}: {error}", path.display())))?;
        Ok(Arc::new(Self(path)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a host is started; cases that test the start itself change it.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    /// What `--store` gets.
    pub(crate) store: String,
    pub(crate) config: Value,
    pub(crate) listen: String,
    /// Further arguments, such as `--fault NAME`.
    pub(crate) arguments: Vec<String>,
    /// `GATEKEY_ACCESS_KEY`, unset when `None`.
    pub(crate) access_key: Option<String>,
    /// `GATEKEY_REFRESH_SECRET`, unset when `None`.
    pub(crate) refresh_secret: Option<String>,
    /// The same two for keys that verify and do not sign: `GATEKEY_ACCESS_KEY_PREVIOUS`,
    /// `GATEKEY_REFRESH_SECRET_PREVIOUS`.
    pub(crate) previous: [Option<String>; 2],
    pub(crate) scratch: Arc<Scratch>,
}

impl Launch {
    /// A start with these keys.
    pub(crate) fn keys(mut self, keys: &Keys) -> Self {
        self.access_key = Some(keys.access.environment().to_owned());
        self.refresh_secret = Some(keys.refresh_environment());
        self
    }

    /// Sets keys that verify and do not sign, or leaves them out.
    pub(crate) fn previous_keys(mut self, keys: Option<&Keys>) -> Self {
        let access = keys.map(|keys| keys.access.environment().to_owned());
        self.previous = [access, keys.map(Keys::refresh_environment)];
        self
    }

    /// Sets `GATEKEY_ACCESS_KEY`, or leaves it out.
    pub(crate) fn access_key(mut self, text: Option<&str>) -> Self {
        self.access_key = text.map(str::to_owned);
        self
    }

    /// Sets `GATEKEY_REFRESH_SECRET`, or leaves it out.
    pub(crate) fn refresh_secret(mut self, text: Option<&str>) -> Self {
        self.refresh_secret = text.map(str::to_owned);
        self
    }

    /// Lays members over the configuration.
    pub(crate) fn config(mut self, members: Value) -> Self {
        self.config = crate::host::overlay(self.config, members);
        self
    }

    /// Sets `--listen`.
    pub(crate) fn listen(mut self, address: &str) -> Self {
        self.listen = address.to_owned();
        self
    }

    /// Starts the host and waits until it serves.
    pub(crate) async fn start(&self) -> Result<Process, Failure> {
        let mut process = self.spawn()?;
        let mut ready = process.ready.clone();
        let outcome = tokio::select! {
            // A host may say that it serves and end at once; the first word counts.
            biased;
            changed = timeout(PATIENCE, ready.wait_for(Option::is_some)) => match changed {
                Ok(Ok(address)) => Ok(*address),
                Ok(Err(_)) => Err("ended its output without a ready line".to_owned()),
                Err(_) => Err(format!("did not print a ready line within {} s", PATIENCE.as_secs())),
            },
            status = process.child.wait() => Err(match status {
                Ok(status) => format!("ended before it served ({status})"),
                Err(error) => format!("could not be waited for: {error}"),
            }),
        };
        match outcome {
            Ok(Some(address)) => {
                process.address = address;
                Ok(process)
            }
            Ok(None) => Err(harness("the ready line was lost")),
            Err(problem) => {
                process.kill().await;
                process.drain().await;
                Err(harness(format!("{} {problem}\n{}", self.program.display(), process.log.tail())))
            }
        }
    }

    /// Starts the host, expecting it to end by itself.
    pub(crate) async fn exit(&self) -> Result<Exit, Failure> {
        let mut process = self.spawn()?;
        match timeout(PATIENCE, process.child.wait()).await {
            Ok(Ok(status)) => Ok(process.ended(status).await),
            Ok(Err(error)) => Err(harness(error)),
            Err(_) => {
                process.kill().await;
                Err(failed("the host ends by itself", format!("it still runs\n{}", process.log.tail())))
            }
        }
    }

    fn spawn(&self) -> Result<Process, Failure> {
        static STARTS: AtomicUsize = AtomicUsize::new(0);
        let start = STARTS.fetch_add(1, Ordering::Relaxed);
        let config = self.scratch.path().join(format!("config-{start}.json"));
        std::fs::write(&config, self.config.to_string()).map_err(harness)?;
        let mut command = Command::new(&self.program);
        command
            .args(["--listen", &self.listen, "--store", &self.store, "--config"])
            .arg(&config)
            .args(&self.arguments)
            // A host reads `.env` where it stands; none is here.
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let [previous_access, previous_refresh] = &self.previous;
        for (name, value) in [
            ("GATEKEY_ACCESS_KEY", &self.access_key),
            ("GATEKEY_REFRESH_SECRET", &self.refresh_secret),
            ("GATEKEY_ACCESS_KEY_PREVIOUS", previous_access),
            ("GATEKEY_REFRESH_SECRET_PREVIOUS", previous_refresh),
        ] {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command
            .spawn()
            .map_err(|error| harness(format!("cannot start {}: {error}", self.program.display())))?;
        let log = Log::default();
        let (announce, ready) = watch::channel(None);
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(tokio::spawn(follow(stdout, log.clone(), Some(announce))));
        }
        if let Some(stderr) = child.stderr.take() {
            let log = Log { lines: log.errors.clone(), errors: log.errors.clone() };
            readers.push(tokio::spawn(follow(stderr, log, None)));
        }
        Ok(Process { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), ready, readers, log })
    }
}

async fn follow(
    stream: impl AsyncRead + Unpin,
    log: Log,
    announce: Option<watch::Sender<Option<SocketAddr>>>,
) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line).await, Ok(read) if read > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        let address = text.strip_prefix("ready http://").map(str::parse);
        if let (Some(announce), Some(Ok(address))) = (&announce, address) {
            let _ = announce.send(Some(address));
        }
        log.push(text);
    }
}

/// What a host printed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Log {
    fn push(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Standard error, from a line on.
    pub(crate) fn stderr_from(&self, line: usize) -> Vec<String> {
        let lines = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(line..).unwrap_or_default().to_vec()
    }

    /// Standard output, line by line.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Standard error, line by line.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last lines of both, for reports.
    pub(crate) fn tail(&self) -> String {
        let (stdout, stderr) = (self.stdout(), self.stderr());
        let last = |lines: &[String]| {
            let skip = lines.len().saturating_sub(15);
            lines.iter().skip(skip).cloned().collect::<Vec<_>>().join("\n    ")
        };
        format!("    stdout: {}\n    stderr: {}", last(&stdout), last(&stderr))
    }
}

/// A running host; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    ready: watch::Receiver<Option<SocketAddr>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
    pub(crate) log: Log,
}

impl Process {
    /// SIGKILL: nothing is finished, nothing flushed.
    pub(crate) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// SIGTERM, by the `kill` command since this workspace forbids unsafe code.
    pub(crate) async fn terminate(mut self) -> Result<Exit, Failure> {
        let id = self.child.id().ok_or_else(|| harness("the host ended by itself"))?;
        let sent = Command::new("kill").args(["-TERM", &id.to_string()]).status().await.map_err(harness)?;
        if !sent.success() {
            return Err(harness("kill -TERM failed"));
        }
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) => Ok(self.ended(status).await),
            Ok(Err(error)) => Err(harness(error)),
            Err(_) => {
                self.kill().await;
                Err(failed(
                    format!("an end within {} s of SIGTERM", PATIENCE.as_secs()),
                    format!("none\n{}", self.log.tail()),
                ))
            }
        }
    }

    /// Reads what the pipes of a dead process still hold.
    async fn drain(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = timeout(Duration::from_secs(2), reader).await;
        }
    }

    async fn ended(&mut self, status: ExitStatus) -> Exit {
        self.drain().await;
        Exit { code: status.code(), stdout: self.log.stdout(), stderr: self.log.stderr() }
    }
}

/// How a host ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Exit {
    /// It finished its requests and left with 0.
    pub(crate) fn gracefully(&self) -> Result<(), Failure> {
        if self.code == Some(0) {
            return Ok(());
        }
        Err(failed("exit code 0", self))
    }

    /// It refused its configuration: code 2, never served, and one line that names what is wrong.
    pub(crate) fn refused_configuration(&self, named: &str) -> Result<(), Failure> {
        let served = self.stdout.iter().any(|line| line.starts_with("ready "));
        let lines: Vec<&String> = self.stderr.iter().filter(|line| !line.is_empty()).collect();
        let says = matches!(lines.as_slice(), [line] if line.contains(named));
        if self.code == Some(2) && says && !served {
            return Ok(());
        }
        Err(failed(
            format!("exit code 2, no ready line, and one line on standard error that names {named:?}"),
            self,
        ))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(formatter, "exit code {code}")?,
            None => write!(formatter, "ended by a signal")?,
        }
        write!(
            formatter,
            "\n    stdout: {}\n    stderr: {}",
            self.stdout.join("\n    "),
            self.stderr.join("\n    ")
        )
    }
}
