//! Servers and load generators as processes: pinned to a core, weighed, and ended with their value.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Bench, measure::Fault};

/// Where a process may run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cores {
    Any,
    /// One alone, by its number.
    Only(usize),
}

/// What servers are pinned to.
pub(crate) const SERVER: Cores = Cores::Only(0);
/// What load generators are pinned to.
pub(crate) const CLIENT: Cores = Cores::Only(1);

/// A command on those cores. Where there is only one, or no `taskset`, it runs anywhere.
pub(crate) fn command(program: &Path, cores: Cores) -> Command {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    match cores {
        Cores::Only(core) if there > 1 && Path::new("/usr/bin/taskset").exists() => {
            let mut command = Command::new("/usr/bin/taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        Cores::Any | Cores::Only(_) => Command::new(program),
    }
}

/// A server of ours.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process to its readiness.
    pub(crate) started_in: Duration,
}

impl Server {
    /// This program as a server; waits until it serves.
    pub(crate) fn start(
        cores: Cores,
        arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
    ) -> Result<Self, Fault> {
        let mut command = command(&std::env::current_exe()?, cores);
        command.arg("serve").args(arguments);
        Self::spawn(command)
    }

    /// Any program that prints `ready http://ADDRESS`.
    pub(crate) fn spawn(mut command: Command) -> Result<Self, Fault> {
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let started_in = begun.elapsed();
        let address = line.trim().strip_prefix("ready http://").and_then(|address| address.parse().ok());
        match address {
            Some(address) => Ok(Self { child, address, started_in }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("the server said {line:?} and not that it is ready").into())
            }
        }
    }

    /// Seconds of processor time that it has had, of threads that have ended too; to a hundredth.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, Fault> {
        cpu_seconds(&format!("/proc/{}/stat", self.child.id()), 11)
    }

    /// Mebibytes of memory that it has now.
    pub(crate) fn resident(&self) -> Result<f64, Fault> {
        resident(self.child.id())
    }

    /// The most that it had.
    pub(crate) fn most_resident(&self) -> Result<f64, Fault> {
        status(self.child.id(), "VmHWM:")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two neighbouring fields of a `stat` file, which Linux counts in hundredths of a second on every architecture: 11 for
/// the process itself, 13 for its children that have ended.
pub(crate) fn cpu_seconds(file: &str, first: usize) -> Result<f64, Fault> {
    let text = fs::read_to_string(file)?;
    // A program's name may hold blanks; the fields begin behind it.
    let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(first);
    let mut next = || fields.next().ok_or("no such field in /proc")?.parse::<f64>().map_err(Fault::from);
    Ok((next()? + next()?) / 100.0)
}

/// Mebibytes of memory that a process has now.
pub(crate) fn resident(process: u32) -> Result<f64, Fault> {
    status(process, "VmRSS:")
}

fn status(process: u32, field: &str) -> Result<f64, Fault> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next());
    Ok(kib.ok_or("no such field in /proc")?.parse::<f64>()? / 1024.0)
}

/// What came of a flood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    pub(crate) answers: f64,
    pub(crate) refused: f64,
}

/// Asks for a path over and over from the load generators' core, with the tokens of a file by turns: `load::flood` in a
/// process of its own.
pub(crate) fn flood(bench: &Bench, server: &Server, tokens: &Path, path: &str) -> Result<Flood, Fault> {
    let output = command(&std::env::current_exe()?, CLIENT)
        .args(["flood", &server.address.to_string(), path])
        .arg(tokens)
        .arg(bench.while_().as_millis().to_string())
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.trim().split(' ').map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(answers)), Some(Ok(refused))) if answers > 0.0 => Ok(Flood { answers, refused }),
        _ => Err(format!("the flood said {text:?} {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}
