//! Which changes of the code no test notices: `cargo xtask mutants [--file F] [--list]`.
//!
//! `cargo-mutants` lists the changes: one comparison, one return value, one arm of a `match` at a time, in the files that
//! decide who gets in. Building the crate once for each would take hours, so all changes of a file go into one test
//! program ([`switch`]), which is built in a copy of the repository and then run once for each change. It asks the tests
//! that are near the file first, and the others of the crate where those notice nothing. A change that does not compile beside
//! the others is built by itself.
//!
//! A change that survives fails the command, unless `tests/mutants.md` says why no test can notice it. It is run by hand,
//! before a release and after a change of these files.

mod switch;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use lexopt::{
    Arg::{Long, Short, Value},
    ValueExt,
};
use serde_json::Value as Json;
use switch::{CompileError, Mutant};

use crate::run::{Failed, cargo, root, run};

const CARGO_MUTANTS: &str = "^27";
/// Where each change is told that survives for a reason.
const PAGE: &str = "tests/mutants.md";

/// With a change the tests may take so many times as long as without one: what takes longer has stopped making progress.
const PATIENCE: u32 = 5;
/// And so long at least, since a short time says little on a busy machine.
const LEAST_PATIENCE: Duration = Duration::from_secs(60);
/// How long the tests may take without a change.
const BASELINE: Duration = Duration::from_secs(1800);

/// A file that its crate's unit tests judge (the guards are the HTTP suite's), its crate, the tests that are asked first, and those that know nothing of it and take long.
struct Target {
    file: &'static str,
    package: &'static str,
    near: &'static [&'static str],
    skip: &'static [&'static str],
}

const fn core(file: &'static str, near: &'static [&'static str]) -> Target {
    Target { file, package: "gatekey-core", near, skip: &["rotation::", "password::", "limit::"] }
}

const TARGETS: &[Target] = &[
    core("jws.rs", &["jws::", "access::"]),
    core("json.rs", &["json::", "access::shape::", "access::tests::a_principal"]),
    core("access.rs", &["access::"]),
    core("access/shape.rs", &["access::", "verifier::"]),
    core("cache.rs", &["cache"]),
    core("refresh.rs", &["refresh::"]),
    Target { file: "rotation.rs", package: "gatekey-core", near: &["rotation::tests"], skip: &[] },
    core("verifier.rs", &["verifier::"]),
    core("keys/schedule.rs", &["keys::"]),
    core("revocation.rs", &["revocation::"]),
    Target { file: "limit.rs", package: "gatekey-core", near: &["limit::"], skip: &["rotation::"] },
    Target { file: "csrf.rs", package: "gatekey-http", near: &["csrf::"], skip: &[] },
    Target { file: "head.rs", package: "gatekey-http", near: &["head::"], skip: &[] },
    Target { file: "cookie.rs", package: "gatekey-http", near: &["cookie::"], skip: &[] },
];

/// `cargo xtask mutants`.
pub(crate) fn mutants(arguments: Vec<String>) -> Result<(), Failed> {
    let (asked, list) = asked_for(arguments).map_err(|error| Failed(error.to_string()))?;
    let known: Vec<&str> = TARGETS.iter().map(|target| target.file).collect();
    if let Some(unknown) = asked.iter().find(|file| !known.contains(&file.as_str())) {
        return Err(Failed(format!("{unknown} is none of {}", known.join(", "))));
    }
    let tool = tool()?;
    let explained = explained()?;
    let mut table = Vec::new();
    let mut problems = Vec::new();
    for target in
        TARGETS.iter().filter(|target| asked.is_empty() || asked.iter().any(|file| file == target.file))
    {
        println!("\n== {}", target.file);
        let mutants = listed(&tool, target)?;
        if list {
            mutants.iter().for_each(|mutant| println!("{}", mutant.name));
            continue;
        }
        let reasons: Vec<&str> =
            explained.iter().filter(|(file, _)| file == target.file).map(|(_, change)| &**change).collect();
        let has_reason = |mutant: &Mutant| reasons.contains(&&*mutant.change);
        let judged = judge(target, &mutants, has_reason)?;
        let survivors: Vec<&Mutant> = mutants
            .iter()
            .zip(&judged)
            .filter(|(_, verdict)| **verdict == Verdict::Survived)
            .map(|(mutant, _)| mutant)
            .collect();
        let unexplained = survivors.iter().filter(|mutant| !has_reason(mutant));
        problems.extend(
            unexplained
                .map(|mutant| format!("no test notices, and {PAGE} does not say why: {}", mutant.name)),
        );
        let unneeded =
            reasons.iter().filter(|reason| !survivors.iter().any(|mutant| mutant.change == **reason));
        problems.extend(
            unneeded.map(|change| format!("{PAGE} explains what a test notices: {}: {change}", target.file)),
        );
        let count = |which: Verdict| judged.iter().filter(|verdict| **verdict == which).count();
        table.push(format!(
            "{:<18} {:>7} {:>7} {:>8} {:>13} {:>9}",
            target.file,
            mutants.len(),
            count(Verdict::Caught),
            count(Verdict::Endless),
            count(Verdict::NoProgram),
            survivors.len(),
        ));
    }
    if !list {
        println!("\nfile               changes  caught  endless  not compiled  survived");
        table.iter().for_each(|row| println!("{row}"));
    }
    if problems.is_empty() { Ok(()) } else { Err(Failed(problems.join("\n"))) }
}

fn asked_for(arguments: Vec<String>) -> Result<(Vec<String>, bool), lexopt::Error> {
    let (mut files, mut list) = (Vec::new(), false);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("file") => files.push(parser.value()?.string()?),
            Long("list") => list = true,
            other @ (Long(_) | Short(_) | Value(_)) => return Err(other.unexpected()),
        }
    }
    Ok((files, list))
}

/// The rows of `tests/mutants.md`: file and change of each survivor that has a reason.
fn explained() -> Result<Vec<(String, String)>, Failed> {
    let page = read(&root().join(PAGE))?;
    let cell = |text: &str| text.trim().trim_matches('`').to_owned();
    Ok(page
        .lines()
        .filter(|line| line.starts_with("| `"))
        // In a table of Markdown a bar of the text has a backslash before it.
        .map(|line| line.replace("\\|", "\u{1}"))
        .filter_map(|line| {
            let mut cells = line.split('|').skip(1).map(|text| cell(&text.replace('\u{1}', "|")));
            Some((cells.next()?, cells.next()?))
        })
        .collect())
}

/// The changes of a file, as `cargo-mutants` finds them.
fn listed(tool: &Path, target: &Target) -> Result<Vec<Mutant>, Failed> {
    let path = format!("crates/{}/src/{}", target.package, target.file);
    let output = Command::new(tool)
        .args(["mutants", "--list", "--json", "--package", target.package, "--file", &path])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failed(format!("cargo-mutants: {error}")))?;
    let list: Json =
        serde_json::from_slice(&output.stdout).map_err(|error| Failed(format!("cargo-mutants: {error}")))?;
    let mutants: Option<Vec<Mutant>> = list.as_array().into_iter().flatten().map(Mutant::read).collect();
    mutants
        .filter(|mutants| !mutants.is_empty())
        .ok_or_else(|| Failed(format!("cargo-mutants lists nothing of {path}")))
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    /// A test fails.
    Caught,
    /// The tests do not end.
    Endless,
    /// It is no program.
    NoProgram,
    /// No test notices.
    Survived,
}

/// Builds a file's changes into one program, and asks the tests about each.
fn judge(
    target: &Target,
    mutants: &[Mutant],
    explained: impl Fn(&Mutant) -> bool,
) -> Result<Vec<Verdict>, Failed> {
    let copy = copy(target.package)?;
    let path = copy.join("crates").join(target.package).join("src").join(target.file);
    let original = read(&path)?;
    let mut alone: Vec<bool> = mutants.iter().map(|mutant| !mutant.can_be_switched(&original)).collect();
    let mut no_program = vec![false; mutants.len()];
    let program = loop {
        let together: Vec<(usize, &Mutant)> =
            mutants.iter().enumerate().filter(|(at, _)| !alone[*at]).collect();
        let text = switch::all(&original, &together);
        write(&path, &text)?;
        match build(&copy, target)? {
            Ok(program) => break program,
            Err(errors) => {
                let mut blamed = switch::blamed(&text, &path, &errors);
                if blamed.is_empty() {
                    // A function as it is, which does not compile after its changes: each of them is built by itself.
                    let nearest = switch::before(&text, &path, &errors).map(|at| &mutants[at]);
                    let of_it = |mutant: &Mutant| nearest.is_some_and(|nearest| nearest.is_beside(mutant));
                    blamed.extend((0..mutants.len()).filter(|at| of_it(&mutants[*at])).map(|at| (at, false)));
                }
                if blamed.keys().all(|at| alone[*at]) {
                    return Err(Failed(format!("{} does not compile: {errors:?}", path.display())));
                }
                for (at, anywhere) in blamed {
                    alone[at] = true;
                    no_program[at] |= anywhere;
                }
            }
        }
    };
    // Kept apart, since what is built for one change alone takes its place.
    let whole = root().join("target/mutants/whole");
    fs::copy(&program, &whole).map_err(|error| Failed(format!("{}: {error}", whole.display())))?;
    let near_takes = passes(&whole, target, target.near)?;
    let mut judged = vec![Verdict::NoProgram; mutants.len()];
    let together = || mutants.iter().enumerate().filter(|(at, _)| !alone[*at]);
    for (at, mutant) in together() {
        judged[at] = tests(&whole, target, Some(at), target.near, near_takes)?;
        tell(judged[at], mutant);
    }
    println!("-- all tests");
    let mut all_take = None;
    let mut all = |program: &Path, at: Option<usize>| {
        let patience = match all_take {
            Some(patience) => patience,
            None => *all_take.insert(passes(&whole, target, &[])?),
        };
        tests(program, target, at, &[], patience)
    };
    for (at, mutant) in together() {
        if judged[at] == Verdict::Survived && !explained(mutant) {
            judged[at] = all(&whole, Some(at))?;
            tell(judged[at], mutant);
        }
    }
    for (at, mutant) in mutants.iter().enumerate().filter(|(at, _)| alone[*at]) {
        if !no_program[at] {
            write(&path, &mutant.alone(&original))?;
            if let Ok(program) = build(&copy, target)? {
                judged[at] = tests(&program, target, None, target.near, near_takes)?;
                if judged[at] == Verdict::Survived && !explained(mutant) {
                    judged[at] = all(&program, None)?;
                }
            }
        }
        tell(judged[at], mutant);
    }
    write(&path, &original)?;
    Ok(judged)
}

/// A test that fails without a change would notice every change. Tells how long the tests may take with one.
fn passes(program: &Path, target: &Target, only: &[&str]) -> Result<Duration, Failed> {
    let started = Instant::now();
    match tests(program, target, None, only, BASELINE)? {
        Verdict::Survived => Ok(LEAST_PATIENCE.max(started.elapsed() * PATIENCE)),
        Verdict::Caught | Verdict::Endless | Verdict::NoProgram => {
            Err(Failed(format!("the tests of {} fail without a change", target.package)))
        }
    }
}

fn tell(verdict: Verdict, mutant: &Mutant) {
    let word = match verdict {
        Verdict::Caught => "caught",
        Verdict::Endless => "endless",
        Verdict::NoProgram => "no program",
        Verdict::Survived => "survived",
    };
    println!("{word:<10} {}", mutant.name);
}

/// A copy of the repository below `target/`, in which the crate's lints are off: a change may leave a variable unused.
fn copy(package: &str) -> Result<PathBuf, Failed> {
    let copy = root().join("target/mutants/tree");
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .map_err(|error| Failed(format!("git: {error}")))?;
    for name in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
        let (from, to) = (root().join(name), copy.join(name));
        let Ok(mut bytes) = fs::read(&from) else { continue };
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        if name == format!("crates/{package}/Cargo.toml") {
            bytes = text().replace("[lints]\nworkspace = true\n", "").into_bytes();
        } else if name == format!("crates/{package}/src/lib.rs") {
            bytes = (text() + switch::SWITCH).into_bytes();
        }
        // What is the same is left alone, and cargo does not build it again.
        if fs::read(&to).ok().as_ref() != Some(&bytes) {
            let folder = to.parent().unwrap_or(&copy);
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&to, &bytes))
                .map_err(|error| Failed(format!("{}: {error}", to.display())))?;
        }
    }
    Ok(copy)
}

/// Builds the unit tests, or tells every error.
fn build(copy: &Path, target: &Target) -> Result<Result<PathBuf, Vec<CompileError>>, Failed> {
    let output =
        cargo(&["test", "--no-run", "--lib", "--all-features", "--locked", "--message-format", "json"])
            .args(["--package", target.package])
            .current_dir(copy)
            .env("CARGO_TARGET_DIR", root().join("target/mutants/build"))
            .stderr(Stdio::null())
            .output()
            .map_err(|error| Failed(format!("cargo: {error}")))?;
    let messages: Vec<Json> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    if output.status.success() {
        let program = messages.iter().rev().find_map(|message| message["executable"].as_str());
        return program
            .map(|path| Ok(path.into()))
            .ok_or_else(|| Failed("cargo built no test program".to_owned()));
    }
    let errors =
        messages.iter().map(|message| &message["message"]).filter(|message| message["level"] == "error");
    Ok(Err(errors.flat_map(|message| CompileError::read(message, copy)).collect()))
}

/// Runs tests of a program with a change, or without one, until the first that fails.
fn tests(
    program: &Path,
    target: &Target,
    change: Option<usize>,
    only: &[&str],
    patience: Duration,
) -> Result<Verdict, Failed> {
    let mut command = Command::new(program);
    command.args(only).args(target.skip.iter().flat_map(|name| ["--skip", name]));
    command
        .current_dir(root().join("crates").join(target.package))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.env(switch::VARIABLE, change.map_or_else(String::new, |at| at.to_string()));
    let failed = |error| Failed(format!("{}: {error}", program.display()));
    let mut child = command.spawn().map_err(failed)?;
    let output = child.stdout.take().map(BufReader::new).ok_or_else(|| Failed("no output".to_owned()))?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let deadline = Instant::now() + patience;
    let early = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.starts_with("test ") && line.ends_with("... FAILED") => {
                break Some(Verdict::Caught);
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => break Some(Verdict::Endless),
            Err(RecvTimeoutError::Disconnected) => break None,
        }
    };
    if let Some(verdict) = early {
        child.kill().and_then(|()| child.wait()).map_err(failed)?;
        return Ok(verdict);
    }
    let status = child.wait().map_err(failed)?;
    Ok(if status.success() { Verdict::Survived } else { Verdict::Caught })
}

fn read(path: &Path) -> Result<String, Failed> {
    fs::read_to_string(path).map_err(|error| Failed(format!("{}: {error}", path.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Failed> {
    fs::write(path, text).map_err(|error| Failed(format!("{}: {error}", path.display())))
}

/// Where `cargo-mutants` is; installs it below `target/` if it is nowhere.
fn tool() -> Result<PathBuf, Failed> {
    let own = root().join("target/tools");
    let binary = own.join("bin/cargo-mutants");
    let works = |path: &PathBuf| {
        Command::new(path).args(["mutants", "--version"]).output().is_ok_and(|output| output.status.success())
    };
    for candidate in [binary.clone(), PathBuf::from("cargo-mutants")] {
        if works(&candidate) {
            return Ok(candidate);
        }
    }
    println!("== installing cargo-mutants {CARGO_MUTANTS} into target/tools: some minutes");
    run(cargo(&["install", "cargo-mutants", "--version", CARGO_MUTANTS, "--locked", "--root"]).arg(&own))?;
    Ok(binary)
}
