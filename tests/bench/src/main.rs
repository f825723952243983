//! Measures every figure of `docs/performance.md`, each beside its floor. `cargo xtask bench` builds it, gives it the
//! servers that it needs, and shows what it found.
//!
//! ```text
//! bench [--quick] [--json FILE] [ROW…]   measures; a ROW is a name or its beginning
//! bench --list                           names the rows
//! bench serve --framework axum …         the server that HTTP rows start
//! bench fill N                           sessions in memory, for the row that weighs them
//! bench flood …                          requests without a pause, for the rows that saturate a core
//! ```
//!
//! A family of rows is a file in `rows`. To add one: write `rows/name.rs` with `pub(crate) fn rows() -> Vec<Row>`, and
//! name it in `rows.rs`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

mod issue;
mod load;
mod measure;
mod process;
mod row;
mod rows;
mod serve;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use lexopt::prelude::{Long, Short, Value, ValueExt};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use measure::{Fault, Rounds};
use row::{Goal, Judged, Outcome};

/// What every row is given.
pub(crate) struct Bench {
    quick: bool,
    /// Not while somebody takes a profile: it is to show the subject.
    floors: bool,
    home: PathBuf,
    runtime: Runtime,
}

impl Bench {
    fn new(quick: bool, floors: bool) -> Result<Self, Fault> {
        let home = std::env::temp_dir().join(format!("gatekey-bench-{}", std::process::id()));
        fs::create_dir_all(&home)?;
        Ok(Self { quick, floors, home, runtime: Builder::new_multi_thread().enable_all().build()? })
    }

    /// A path for files of this run.
    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// How often subject and floor take turns.
    fn rounds(&self) -> Rounds {
        Rounds { count: if self.quick { 5 } else { 15 }, floors: self.floors }
    }

    /// The same where each turn is some seconds of load.
    fn rounds_of_load(&self) -> Rounds {
        Rounds { count: if self.quick { 3 } else { 7 }, floors: self.floors }
    }

    /// How long one measurement of a function takes.
    fn moment(&self) -> Duration {
        Duration::from_millis(if self.quick { 5 } else { 40 })
    }

    /// How long one measurement over a network takes.
    fn while_(&self) -> Duration {
        Duration::from_millis(if self.quick { 250 } else { 1200 })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What could not be removed lies in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("serve") => serve::run(),
        Some("flood") => load::flood(arguments),
        Some("fill") => rows::memory::fill(arguments.next().as_deref()),
        _ => measure_rows(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_rows() -> Result<(), Fault> {
    let (mut quick, mut list, mut floors) = (false, false, true);
    let (mut to, mut wanted) = (None::<PathBuf>, Vec::new());
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("quick") => quick = true,
            Long("list") => list = true,
            Long("without-floors") => floors = false,
            Long("json") => to = Some(arguments.value()?.into()),
            Value(name) => wanted.push(name.string()?),
            Long(_) | Short(_) => return Err(argument.unexpected().into()),
        }
    }
    let mut rows = rows::all();
    if let Some(unknown) = wanted.iter().find(|wanted| !rows.iter().any(|row| is_named(&row.name, wanted))) {
        return Err(format!("no row is named {unknown:?}; --list names them").into());
    }
    let asked = |name: &str| wanted.iter().any(|wanted| is_named(name, wanted));
    // A slow one runs in a quick bench too where it is asked for by name.
    rows.retain(|row| asked(&row.name) || wanted.is_empty() && !(quick && row.slow));
    if !floors {
        // Beside nothing there is nothing to meet.
        rows.iter_mut().for_each(|row| row.goal = Goal::None);
    }
    if list {
        for row in &rows {
            println!("{:<34} {}{}", row.name, row.what, if row.slow { " (not with --quick)" } else { "" });
        }
        return Ok(());
    }
    let bench = Bench::new(quick, floors)?;
    println!("{}", row::head());
    let mut judged = Vec::new();
    for row in &rows {
        let outcome = (row.run)(&bench);
        let row = Judged::new(row, outcome);
        println!("{}", row.line());
        judged.push(row);
        // After each, so that a run that is stopped has told what it knew.
        if let Some(to) = &to {
            save(to, quick, &judged)?;
        }
    }
    let failed = judged.iter().filter(|row| row.failed()).count();
    if failed == 0 { Ok(()) } else { Err(format!("{failed} rows failed").into()) }
}

/// Whether a row is asked for: by its name, or by whole parts from its beginning.
fn is_named(name: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_end_matches('/');
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn save(to: &Path, quick: bool, rows: &[Judged]) -> Result<(), Fault> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let all = json!({
        "quick": quick,
        "machine": {
            "cpu": cpu.map(|(_, name)| name.trim()),
            "cores": cores,
            "kernel": read("/proc/sys/kernel/osrelease").trim(),
            "load": read("/proc/loadavg").trim(),
        },
        "rows": rows.iter().map(Judged::json).collect::<Vec<_>>(),
        "markdown": rows.iter().map(Judged::markdown).collect::<Vec<_>>(),
    });
    fs::write(to, serde_json::to_vec_pretty(&all)?)?;
    Ok(())
}

/// What a row needs from the surroundings: a variable, or why it is not run.
pub(crate) fn needs(variable: &str) -> Result<String, Outcome> {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(Outcome::NotRun(format!("{variable} is not set"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_asked_for_by_whole_parts_of_its_name() {
        assert!(is_named("verify/hs256/cold", "verify"));
        assert!(is_named("verify/hs256/cold", "verify/hs256/"));
        assert!(is_named("verify/hs256/cold", "verify/hs256/cold"));
        assert!(!is_named("verify/hs256/cold", "ver"));
        assert!(!is_named("verify/hs256/cold", "hs256"));
    }

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let mut names: Vec<_> = rows::all().into_iter().map(|row| row.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.iter().all(|name| name.contains('/')));
    }

    #[test]
    fn a_goal_over_a_floor_names_the_floor() {
        for row in rows::all() {
            if let row::Goal::AtLeast(_) = row.goal {
                assert!(!row.floor.is_empty(), "{}", row.name);
            }
        }
    }
}
