//! A server program of ours: its folder, its account, its end, and its next beginning.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::{NotRun, disk::SmallDisk, root, tail};

/// How long a server may take to answer its first question.
const PATIENCE: Duration = Duration::from_secs(30);

/// The account that servers run under: PostgreSQL refuses root, and no server needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Account {
    /// `nobody` where we are root, else ourselves.
    fn unprivileged() -> Result<Option<Self>, NotRun> {
        if id(&["-u"])? != 0 {
            return Ok(None);
        }
        Ok(Some(Self { user: id(&["-u", "nobody"])?, group: id(&["-g", "nobody"])? }))
    }
}

fn id(arguments: &[&str]) -> Result<u32, NotRun> {
    let output = Command::new("id").args(arguments).output().map_err(|error| NotRun::because("id", error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| NotRun::because("id", format!("{arguments:?} gave {text:?}")))
}

/// A folder of our own for one server's data, removed with it.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    account: Option<Account>,
    disk: Option<SmallDisk>,
}

impl Home {
    /// An empty folder that the server's account owns.
    pub fn new(name: &str) -> Result<Self, NotRun> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let account = Account::unprivileged()?;
        let target = root().join("target/services");
        // A checkout below a folder that is its owner's alone is closed to `nobody`.
        let base = [target, std::env::temp_dir().join("gatekey-services")]
            .into_iter()
            .find(|base| fs::create_dir_all(base).is_ok() && may_enter(account, base))
            .ok_or_else(|| NotRun("no folder that an account without privileges can enter".to_owned()))?;
        remove_left_behind(&base);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{name}-{}-{number}", std::process::id()));
        let made = fs::create_dir(&path).and_then(|()| match account {
            Some(Account { user, group }) => std::os::unix::fs::chown(&path, Some(user), Some(group)),
            None => Ok(()),
        });
        made.map_err(|error| NotRun::because("the data folder", error))?;
        let path = path.canonicalize().map_err(|error| NotRun::because("the data folder", error))?;
        Ok(Self { path, account, disk: None })
    }

    /// The same on a disk of its own, which can be filled.
    pub fn on_small_disk(name: &str, megabytes: u32) -> Result<Self, NotRun> {
        let mut home = Self::new(name)?;
        home.disk = Some(SmallDisk::mount(&home.path, megabytes, home.account)?);
        Ok(home)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk, if it has one of its own.
    pub fn disk(&self) -> Result<&SmallDisk, NotRun> {
        self.disk.as_ref().ok_or_else(|| NotRun("no disk of its own".to_owned()))
    }

    /// A program that runs as the server's account, in this folder.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = as_account(self.account, program);
        command.current_dir(&self.path).stdin(Stdio::null());
        command
    }

    /// Runs a program to its end. On failure its last words are the reason.
    pub fn run(&self, command: &mut Command) -> Result<(), NotRun> {
        let output = command.output().map_err(|error| NotRun::because("start", error))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
        Err(NotRun::because("preparation failed", last))
    }

    /// Starts a server and waits until it answers: the folder and the process are shown to the question.
    pub(super) fn serve(
        self,
        command: Command,
        answers: impl Fn(&Self, u32) -> bool + Send + 'static,
    ) -> Result<Server, NotRun> {
        let mut server = Server { child: None, command, answers: Box::new(answers), home: self };
        server.begin()?;
        Ok(server)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.disk = None;
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A server. It ends with this value, and by the kernel's hand should this process die without.
pub struct Server {
    child: Option<Child>,
    command: Command,
    answers: Question,
    home: Home,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { child, command, home, .. } = self;
        f.debug_struct("Server").field("child", child).field("command", command).field("home", home).finish()
    }
}

/// Whether the server of a folder answers, as this process.
type Question = Box<dyn Fn(&Home, u32) -> bool + Send>;

impl Server {
    /// Starts it, for the first time or with what it had when it ended, and waits until it answers.
    pub fn begin(&mut self) -> Result<(), NotRun> {
        let log = self.home.path.join("log");
        let file = fs::File::create(&log).map_err(|error| NotRun::because("the log", error))?;
        let errors = file.try_clone().map_err(|error| NotRun::because("the log", error))?;
        let child = self
            .command
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(|error| NotRun::because("the server does not start", error))?;
        let process = child.id();
        let child = self.child.insert(child);
        let started = Instant::now();
        loop {
            if (self.answers)(&self.home, process) {
                return Ok(());
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(NotRun::because(&format!("the server ended ({status})"), tail(&log)));
            }
            if started.elapsed() > PATIENCE {
                return Err(NotRun::because("the server does not answer", tail(&log)));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again. Its port may be somebody else's for a moment, and a PostgreSQL that was killed leaves processes
    /// behind that need one to notice.
    pub fn begin_again(&mut self) -> Result<(), NotRun> {
        let started = Instant::now();
        loop {
            match self.begin() {
                Ok(()) => return Ok(()),
                Err(failed) if started.elapsed() > PATIENCE => return Err(failed),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Sends it a signal by its name, `KILL`.
    pub fn signal(&self, name: &str) -> Result<(), NotRun> {
        let child = self.child.as_ref().ok_or_else(|| NotRun("the server does not run".to_owned()))?;
        send(name, child.id())
    }

    /// Ends it by a signal, and waits until it has.
    pub fn end(&mut self, signal: &str) -> Result<(), NotRun> {
        self.signal(signal)?;
        let started = Instant::now();
        while self.runs() {
            if started.elapsed() > PATIENCE {
                return Err(NotRun(format!("the server does not end by SIG{signal}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Whether its process is there.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its folder.
    pub fn home(&self) -> &Home {
        &self.home
    }
}

/// Sends a signal to a process.
pub fn send(signal: &str, process: u32) -> Result<(), NotRun> {
    let sent = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status();
    if sent.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(NotRun(format!("kill -{signal} {process} failed")))
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // Both servers take SIGINT as 'disconnect everybody and end'. Killed, PostgreSQL would leave shared memory behind.
        let asked = matches!(child.try_wait(), Ok(None)) && send("INT", child.id()).is_ok();
        let started = Instant::now();
        while asked && started.elapsed() < Duration::from_secs(5) {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A program under an account, ended by the kernel with this process.
fn as_account(account: Option<Account>, program: &Path) -> Command {
    // setpriv is part of every Linux, and of no other system.
    if !cfg!(target_os = "linux") {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=INT");
    if let Some(Account { user, group }) = account {
        command.args([&format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups"]);
    }
    command.arg("--").arg(program);
    command
}

fn may_enter(account: Option<Account>, folder: &Path) -> bool {
    let mut command = as_account(account, Path::new("test"));
    command.arg("-x").arg(folder).current_dir("/");
    command.status().is_ok_and(|status| status.success())
}

/// Removes the folders of processes that ended without removing them (Ctrl-C does not wait).
fn remove_left_behind(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let owner = name.rsplit('-').nth(1).and_then(|owner| owner.parse::<u32>().ok());
        if let Some(owner) = owner
            && !is_running(owner)
        {
            SmallDisk::unmount(&path);
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn is_running(process: u32) -> bool {
    // `ps` is everywhere; /proc is not.
    let mut ps = Command::new("ps");
    ps.args(["-p", &process.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    // Where we cannot tell, we leave it alone.
    ps.status().map_or(true, |status| status.success())
}

/// The first of these names that is a program in `PATH` or in one of the folders.
pub fn program(names: &[&str], folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = folders.iter().cloned().chain(std::env::split_paths(&path)).collect();
    let places = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// Installs a package where that is ours to do: on Debian, as root.
pub fn install(package: &str) -> Result<(), NotRun> {
    let debian = Path::new("/etc/debian_version").exists();
    if !debian || id(&["-u"])? != 0 {
        return Err(NotRun(format!("{package} is not installed")));
    }
    println!("installing {package}: apt-get install --yes {package}");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let install = ["install", "--quiet", "--yes", "--no-install-recommends", package];
    // The package list of a container is often empty or old.
    if apt(&install) || (apt(&["update", "--quiet"]) && apt(&install)) {
        return Ok(());
    }
    Err(NotRun(format!("apt-get install {package} failed")))
}
