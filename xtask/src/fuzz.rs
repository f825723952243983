//! Fuzzing, for a time that is known beforehand: `cargo xtask fuzz [--target T] [--seconds N]`.
//!
//! The targets are the properties of `tests/properties`. `cargo-fuzz` is installed below `target/` if it is missing. It
//! runs on a stable compiler without a sanitizer: the workspace has no `unsafe` code for one to look at.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use lexopt::{
    Arg::{Long, Short, Value},
    ValueExt,
};

use crate::run::{Failed, cargo, root, run};

/// The version that this was written for.
const CARGO_FUZZ: &str = "^0.13";
/// An input that takes longer is a finding.
const TIMEOUT: &str = "-timeout=10";
/// Memory beyond this is a finding, in MB.
const MEMORY: &str = "-rss_limit_mb=1024";

struct Options {
    targets: Vec<String>,
    seconds: u32,
}

/// The targets: the binaries of the fuzzing workspace.
pub(crate) fn targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        targets.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}

fn options(arguments: Vec<String>) -> Result<Options, lexopt::Error> {
    let mut options = Options { targets: Vec::new(), seconds: 30 };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("target") => options.targets.push(parser.value()?.string()?),
            Long("seconds") => options.seconds = parser.value()?.parse()?,
            other @ (Long(_) | Short(_) | Value(_)) => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

/// What a target's run came to.
#[derive(Default)]
struct Found {
    executions: u64,
    coverage: u64,
    corpus: u64,
    memory: u64,
    crash: Option<String>,
}

/// `cargo xtask fuzz`.
pub(crate) fn fuzz(arguments: Vec<String>) -> Result<(), Failed> {
    let mut options = options(arguments).map_err(|error| Failed(error.to_string()))?;
    let known = targets().map_err(Failed)?;
    if let Some(unknown) = options.targets.iter().find(|target| !known.contains(target)) {
        return Err(Failed(format!("there is no target {unknown}; there are {}", known.join(", "))));
    }
    if options.targets.is_empty() {
        options.targets = known;
    }
    let tool = tool()?;
    let corpus = root().join("fuzz/corpus");
    let seeds = ["run", "--quiet", "--locked", "--package", "gatekey-properties", "--bin", "seeds", "--"];
    run(cargo(&seeds).arg(&corpus))?;
    println!("== build");
    run(&mut cargo_fuzz(&tool, "build", &[]))?;
    let mut rows = Vec::new();
    for target in &options.targets {
        println!("\n== {target}, {} s", options.seconds);
        rows.push((target, one(&tool, target, &corpus.join(target), options.seconds)?));
    }
    println!(
        "\n{:<22} {:>12} {:>10} {:>9} {:>8} {:>7}  result",
        "target", "executions", "a second", "coverage", "corpus", "MB"
    );
    for (target, found) in &rows {
        let rate = found.executions / u64::from(options.seconds.max(1));
        let result = found.crash.as_deref().unwrap_or("nothing found");
        println!(
            "{target:<22} {:>12} {rate:>10} {:>9} {:>8} {:>7}  {result}",
            found.executions, found.coverage, found.corpus, found.memory
        );
    }
    let broken = rows.iter().filter(|(_, found)| found.crash.is_some()).count();
    if broken == 0 {
        Ok(())
    } else {
        Err(Failed(format!(
            "{broken} targets found something. Repeat one: cargo test, with the file copied to fuzz/seeds/TARGET/"
        )))
    }
}

fn cargo_fuzz(tool: &Path, verb: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command.arg("fuzz").arg(verb).args(["--fuzz-dir", "fuzz", "--sanitizer", "none"]).args(arguments);
    command.env("CARGO_TARGET_DIR", root().join("target/fuzz")).current_dir(root());
    command
}

/// Runs one target and reads what libFuzzer tells.
fn one(tool: &Path, target: &str, corpus: &Path, seconds: u32) -> Result<Found, Failed> {
    let corpus = corpus.display().to_string();
    let time = format!("-max_total_time={seconds}");
    let arguments = [target, &corpus, "--", &time, TIMEOUT, MEMORY, "-max_len=20000", "-print_final_stats=1"];
    let mut command = cargo_fuzz(tool, "run", &arguments);
    let failed = |error: std::io::Error| Failed(format!("cargo fuzz: {error}"));
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(failed)?;
    let mut found = Found::default();
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = String::from_utf8_lossy(&line.map_err(failed)?).into_owned();
            found.read(&line);
            said.push(line);
        }
    }
    if !child.wait().map_err(failed)?.success() {
        let tail = said.len().saturating_sub(40);
        println!("{}", said.split_off(tail).join("\n"));
        found.crash.get_or_insert_with(|| "failed, see above".to_owned());
    }
    Ok(found)
}

impl Found {
    fn read(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| text.parse::<u64>().ok();
        for pair in words.windows(2) {
            let value = number(pair[1].split('/').next().unwrap_or_default());
            match (pair[0], value) {
                ("cov:", Some(value)) => self.coverage = value,
                ("corp:", Some(value)) => self.corpus = value,
                ("stat::number_of_executed_units:", Some(value)) => self.executions = value,
                ("stat::peak_rss_mb:", Some(value)) => self.memory = value,
                _ => {}
            }
        }
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.crash = Some(path.trim().to_owned());
        }
    }
}

/// Where `cargo-fuzz` is; installs it below `target/` if it is nowhere.
fn tool() -> Result<PathBuf, Failed> {
    let own = root().join("target/tools");
    let binary = own.join("bin/cargo-fuzz");
    let works = |path: &Path| {
        Command::new(path).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    for candidate in [binary.clone(), PathBuf::from("cargo-fuzz")] {
        if works(&candidate) {
            return Ok(candidate);
        }
    }
    println!("== installing cargo-fuzz {CARGO_FUZZ} into target/tools: some two minutes, and a C++ compiler");
    run(cargo(&["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked", "--root"]).arg(&own))?;
    Ok(binary)
}
