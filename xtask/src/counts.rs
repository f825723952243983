//! `cargo xtask counts [--write] [--case NAME]`: how many instructions a request takes, against what the repository says.
//!
//! Counted by Valgrind in the program of `tests/counts`, built as users build it (`--release`): a count is the same on a
//! busy machine, where a time says little. `tests/counts/figures.json` keeps what was counted, and with which compiler;
//! a case that needs more than [`TOLERANCE`] beyond its figure fails. Fewer pass, and `--write` keeps them.
//!
//! Cryptography is counted as Valgrind's processor does it, without the SHA instructions of a real one. So what is
//! compared is the same everywhere, and says nothing of how long it takes.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use lexopt::{
    Arg::{Long, Short, Value as Positional},
    ValueExt,
};
use serde_json::{Value, json};

use crate::{
    run::{Failed, Steps, cargo, root, run},
    services::NotRun,
};

/// How much more than its figure a case may need, in hundredths: what another compiler or C library may change.
const TOLERANCE: u64 = 5;

/// How often each case is done. What is rare (a map that grows) is spread over all of them.
const TIMES: u64 = 500;

/// Whether it can be done here: figures are of one architecture.
fn possible() -> Result<(), NotRun> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(NotRun("the figures are of x86_64".to_owned()));
    }
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(NotRun("valgrind is not installed".to_owned())),
    }
}

/// As one of many steps.
pub(crate) fn counts_step(steps: &mut Steps, require_all: bool) {
    let (name, repeat) = ("instruction counts", "cargo xtask counts");
    match possible() {
        Ok(()) => steps.call(name, repeat, || counts(Vec::new())),
        Err(NotRun(why)) if require_all => {
            steps.call(name, repeat, || Err(Failed(format!("not run: {why}"))))
        }
        Err(NotRun(why)) => steps.not_run(name, &why),
    }
}

fn asked_for(arguments: Vec<String>) -> Result<(bool, Vec<String>), lexopt::Error> {
    let (mut write, mut cases) = (false, Vec::new());
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("write") => write = true,
            Long("case") => cases.push(parser.value()?.string()?),
            other @ (Long(_) | Short(_) | Positional(_)) => return Err(other.unexpected()),
        }
    }
    Ok((write, cases))
}

/// `cargo xtask counts`.
pub(crate) fn counts(arguments: Vec<String>) -> Result<(), Failed> {
    let (write, asked) = asked_for(arguments).map_err(|error| Failed(error.to_string()))?;
    possible().map_err(|NotRun(why)| Failed(format!("not run: {why}")))?;
    run(&mut cargo(&["build", "--release", "--quiet", "--locked", "--package", "gatekey-counts"]))?;

    let file = root().join("tests/counts/figures.json");
    let text = fs::read_to_string(&file).unwrap_or_else(|_| "{}".to_owned());
    let known: Value =
        serde_json::from_str(&text).map_err(|error| Failed(format!("figures.json: {error}")))?;
    let figure = |name: &str| known["instructions"][name].as_u64();
    let mut found = BTreeMap::new();
    let mut more = Vec::new();
    println!("{:<24} {:>10} {:>10} {:>8}", "case", "counted", "figure", "change");
    for name in cases()?.into_iter().filter(|name| asked.is_empty() || asked.contains(name)) {
        let counted = count(&name)?;
        let change = figure(&name).map(|figure| 100.0 * (counted as f64 / figure as f64 - 1.0));
        println!(
            "{name:<24} {counted:>10} {:>10} {:>8}",
            figure(&name).map_or_else(|| "-".to_owned(), |figure| figure.to_string()),
            change.map_or_else(|| "-".to_owned(), |change| format!("{change:+.1} %")),
        );
        if figure(&name).is_none_or(|figure| counted * 100 > figure * (100 + TOLERANCE)) {
            more.push(name.clone());
        }
        found.insert(name, counted);
    }
    if !write {
        return match &more[..] {
            [] => Ok(()),
            _ => Err(Failed(format!(
                "more than {TOLERANCE} % beyond the figure, which was counted with {}: {}. Where that is meant: \
                 cargo xtask counts --write",
                known["compiler"].as_str().unwrap_or("no compiler yet"),
                more.join(", ")
            ))),
        };
    }
    let kept = known["instructions"].as_object().into_iter().flatten();
    for (name, figure) in kept.filter(|_| !asked.is_empty()) {
        found.entry(name.clone()).or_insert(figure.as_u64().unwrap_or_default());
    }
    let compiler =
        Command::new("rustc").arg("--version").output().map_err(|error| Failed(error.to_string()))?;
    let compiler = String::from_utf8_lossy(&compiler.stdout).trim().to_owned();
    let text = serde_json::to_string_pretty(&json!({"compiler": compiler, "instructions": found}))
        .map_err(|error| Failed(error.to_string()))?;
    fs::write(&file, text + "\n").map_err(|error| Failed(format!("{}: {error}", file.display())))
}

fn program() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release/gatekey-counts")
}

fn cases() -> Result<Vec<String>, Failed> {
    let told = Command::new(program()).output().map_err(|error| Failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    Ok(text.lines().filter_map(|line| Some(line.strip_prefix("  ")?.to_owned())).collect())
}

/// How many instructions a case takes, once.
fn count(name: &str) -> Result<u64, Failed> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted_here*"])
        .arg(program())
        .args([name, &TIMES.to_string()])
        .output()
        .map_err(|error| Failed(error.to_string()))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected =
        told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
    match collected {
        Some(collected) if output.status.success() && collected > TIMES => Ok(collected / TIMES),
        _ => Err(Failed(format!("{name} could not be counted:\n{told}"))),
    }
}
