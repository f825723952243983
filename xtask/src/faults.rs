//! `cargo xtask faults`: real servers that fail under load, and what their clients notice of it.
//!
//! Each case starts two nodes on a store of a private server, lets honest clients use them, and does something to the
//! server. The clients (`tests/conformance/src/load.rs`) know the contract alone; what is done to the server and how
//! its rows look is here. A case passes if
//!
//! - meanwhile nothing but tokens and `503` with `Retry-After` was answered, no cookie was cleared, and guarded routes
//!   let everyone in whom they should, and nobody else;
//! - afterwards every client goes on in its session by repeating its request;
//! - whatever was answered holds: accounts, logouts;
//! - the store has one row for each session, with the token that the client holds as the only live one;
//! - nobody was accused of theft, and a real thief still is.

mod cases;
mod crowd;
mod proxy;

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    run::{Failed, cargo, root, run},
    services::NotRun,
};
use cases::{CASES, Case, Servers};

const HELP: &str = "\
cargo xtask faults: servers that fail under load

  --host NAME      the host program (default axum)
  --case GLOB      the cases to run, with * as wildcard; repeatable
  --clients N      how many clients (default 6)
  --rounds N       how often each fault happens in its case (default 1)
  --require-all    a server that cannot be had is a failure; a disk that cannot be mounted is not
  --list           print the cases and stop";

/// What is run, and how much.
pub(crate) struct Options {
    conformance: PathBuf,
    host: PathBuf,
    globs: Vec<String>,
    clients: u32,
    rounds: u32,
    require_all: bool,
}

/// Why a case did not pass.
enum Trouble {
    Failed(String),
    /// There is no server to do it to.
    NotRun(String),
}

fn failed(what: impl fmt::Display) -> Trouble {
    Trouble::Failed(what.to_string())
}

/// What goes wrong with a server that runs is no reason to skip the case.
impl From<NotRun> for Trouble {
    fn from(NotRun(why): NotRun) -> Self {
        Self::Failed(why)
    }
}

/// What a case found out: how often what was answered.
type Counts = HashMap<String, usize>;

/// `cargo xtask faults`.
pub(crate) fn faults(arguments: Vec<String>) -> Result<(), Failed> {
    let Some((options, host)) = options(arguments).map_err(|error| Failed(error.to_string()))? else {
        return Ok(());
    };
    for (package, binary) in [("gatekey-hosts", host.as_str()), ("gatekey-conformance", "conformance")] {
        run(&mut cargo(&["build", "--quiet", "--locked", "--package", package, "--bin", binary]))?;
    }
    all(&options)
}

fn options(arguments: Vec<String>) -> Result<Option<(Options, String)>, lexopt::Error> {
    use lexopt::{
        Arg::{Long, Short, Value as Positional},
        ValueExt,
    };
    let mut host = "axum".to_owned();
    let (mut globs, mut clients, mut rounds, mut require_all) = (Vec::new(), 6, 1, false);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("host") => host = parser.value()?.string()?,
            Long("case") => globs.push(parser.value()?.string()?),
            Long("clients") => clients = parser.value()?.parse::<u32>()?.max(1),
            Long("rounds") => rounds = parser.value()?.parse::<u32>()?.max(1),
            Long("require-all") => require_all = true,
            Long("list") => {
                for Case { name, about, .. } in CASES {
                    println!("{name:<32} {about}");
                }
                return Ok(None);
            }
            Long("help") | Short('h') => {
                println!("{HELP}");
                return Ok(None);
            }
            other @ (Long(_) | Short(_) | Positional(_)) => return Err(other.unexpected()),
        }
    }
    for glob in &globs {
        if !CASES.iter().any(|case| matches(glob, case.name)) {
            return Err(format!("no case matches {glob}; --list prints them").into());
        }
    }
    let programs = root().join("target/debug");
    // The child runs elsewhere.
    let programs = programs.canonicalize().unwrap_or(programs);
    let host = format!("host-{host}");
    let options = Options {
        conformance: programs.join("conformance"),
        host: programs.join(&host),
        globs,
        clients,
        rounds,
        require_all,
    };
    Ok(Some((options, host)))
}

/// Whether a text matches a glob whose only special character is `*`.
fn matches(glob: &str, text: &str) -> bool {
    match glob.split_once('*') {
        None => glob == text,
        Some((before, rest)) => text.strip_prefix(before).is_some_and(|tail| {
            let ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            ends.into_iter().any(|at| matches(rest, &tail[at..]))
        }),
    }
}

/// A case that has ended.
struct Done {
    case: &'static Case,
    outcome: Result<Counts, Trouble>,
    took: Duration,
}

fn all(options: &Options) -> Result<(), Failed> {
    let wanted =
        |case: &&Case| options.globs.is_empty() || options.globs.iter().any(|glob| matches(glob, case.name));
    let chosen: Vec<&'static Case> = CASES.iter().filter(wanted).collect();
    // Most of a fault is waiting for it to be noticed: the kinds of servers wait side by side.
    let mut kinds: Vec<&str> = chosen.iter().map(|case| case.kind()).collect();
    kinds.dedup();
    let mut done: Vec<Done> = thread::scope(|scope| {
        let running: Vec<_> = kinds
            .iter()
            .map(|kind| {
                let cases = chosen.iter().filter(move |case| case.kind() == *kind);
                scope.spawn(move || one_after_the_other(options, cases.copied()))
            })
            .collect();
        running.into_iter().flat_map(|kind| kind.join().unwrap_or_default()).collect()
    });
    done.sort_by_key(|done| CASES.iter().position(|case| case.name == done.case.name));
    report(options, &done, chosen.len())
}

/// The cases of one kind of server, on one server as long as it survives them.
fn one_after_the_other(options: &Options, cases: impl Iterator<Item = &'static Case>) -> Vec<Done> {
    let mut servers = Servers::default();
    let mut all = Vec::new();
    for case in cases {
        let begun = Instant::now();
        let outcome = (case.run)(options, &mut servers);
        if outcome.is_err() {
            // Whatever state it is in now, the next case needs a good one.
            servers = Servers::default();
        }
        let word = match &outcome {
            Ok(_) => "passed",
            Err(Trouble::Failed(_)) => "FAILED",
            Err(Trouble::NotRun(_)) => "not run",
        };
        println!("{word:<8} {}", case.name);
        all.push(Done { case, outcome, took: begun.elapsed() });
    }
    all
}

fn report(options: &Options, done: &[Done], chosen: usize) -> Result<(), Failed> {
    println!(
        "\n{:<32} {:>8} {:>8} {:>8} {:>9} {:>6}",
        "fault", "seconds", "granted", "503", "replayed", "lost"
    );
    let (mut bad, mut skipped) = (chosen - done.len(), 0);
    for Done { case, outcome, took } in done {
        let (name, seconds) = (case.name, took.as_secs_f64());
        match outcome {
            Ok(counts) => {
                let count = |name: &str| counts.get(name).copied().unwrap_or_default();
                println!(
                    "{name:<32} {seconds:>8.1} {:>8} {:>8} {:>9} {:>6}",
                    count("granted"),
                    count("refused"),
                    count("replayed"),
                    count("lost"),
                );
            }
            Err(Trouble::NotRun(why)) => {
                skipped += 1;
                println!("{name:<32} {:>8}  not run: {why}", "-");
                // Not every machine lets us mount one.
                if options.require_all && !case.needs_a_disk {
                    bad += 1;
                }
            }
            Err(Trouble::Failed(_)) => {
                bad += 1;
                println!("{name:<32} {seconds:>8.1}  failed");
            }
        }
    }
    for Done { case, outcome, .. } in done {
        if let Err(Trouble::Failed(what)) = outcome {
            println!("\nFAIL {}: {}\n  {what}", case.name, case.about);
            println!("  Repeat:   cargo xtask faults --case {}", case.name);
        }
    }
    println!("\nfaults: {} passed, {bad} failed, {skipped} not run", done.len() - skipped - done_badly(done));
    if bad == 0 { Ok(()) } else { Err(Failed(format!("{bad} faults are not survived"))) }
}

fn done_badly(done: &[Done]) -> usize {
    done.iter().filter(|done| matches!(done.outcome, Err(Trouble::Failed(_)))).count()
}

/// A name for a store that no other case has.
fn fresh_name() -> String {
    static NAMES: AtomicU32 = AtomicU32::new(1);
    format!("faults_{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// Asks again until the answer is yes. There is no time after which it is certainly no: this is one that is generous.
fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool, Trouble>) -> Result<(), Trouble> {
    let begun = Instant::now();
    while !is_so()? {
        if begun.elapsed() > Duration::from_secs(90) {
            return Err(failed(format_args!("{what}: not within 90 s")));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (glob, text, expected) in [
            ("postgres/*", "postgres/killed", true),
            ("*/slow", "redis/slow", true),
            ("redis/*", "redis-cluster/fail-over", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }
}
