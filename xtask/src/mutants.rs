//! Which changes of the code no test notices: `cargo xtask mutants [--file F]`.
//!
//! `cargo-mutants` changes one thing at a time in the files that decide who gets in, in a copy of the repository, and runs
//! the tests of their crate. It takes hours; it is run by hand, before a release and after a change of these
//! files. What survives is in `target/mutants/mutants.out/missed.txt`; `tests/README.md` says which of those have a reason.

use std::{path::PathBuf, process::Command};

use lexopt::{
    Arg::{Long, Short, Value},
    ValueExt,
};

use crate::run::{Failed, cargo, root, run};

const CARGO_MUTANTS: &str = "^27";

/// The files, their crate, and what of its unit tests is asked: more would only take longer.
const FILES: &[(&str, &str, &[&str])] = &[
    ("jws.rs", "gatekey-core", &["jws::", "access::", "refresh::", "keys::", "verifier::"]),
    ("access.rs", "gatekey-core", &["jws::", "access::", "verifier::", "authority::"]),
    ("refresh.rs", "gatekey-core", &["refresh::", "authority::"]),
    ("rotation.rs", "gatekey-core", &["rotation::", "authority::"]),
    ("csrf.rs", "gatekey-http", &["csrf::"]),
];

fn asked_for(arguments: Vec<String>) -> Result<Vec<String>, lexopt::Error> {
    let mut files = Vec::new();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("file") => files.push(parser.value()?.string()?),
            other @ (Long(_) | Short(_) | Value(_)) => return Err(other.unexpected()),
        }
    }
    Ok(files)
}

/// `cargo xtask mutants`.
pub(crate) fn mutants(arguments: Vec<String>) -> Result<(), Failed> {
    let asked = asked_for(arguments).map_err(|error| Failed(error.to_string()))?;
    let known: Vec<&str> = FILES.iter().map(|(file, ..)| *file).collect();
    if let Some(unknown) = asked.iter().find(|file| !known.contains(&file.as_str())) {
        return Err(Failed(format!("{unknown} is none of {}", known.join(", "))));
    }
    let tool = tool()?;
    let mut survived = Vec::new();
    for (file, package, tests) in FILES {
        if !(asked.is_empty() || asked.iter().any(|asked| asked == file)) {
            continue;
        }
        println!("\n== {file}");
        let path = format!("crates/{package}/src/{file}");
        let output = root().join("target/mutants").join(file);
        std::fs::create_dir_all(&output).map_err(|error| Failed(format!("{}: {error}", output.display())))?;
        let mut command = Command::new(&tool);
        command
            .args(["mutants", "--package", package, "--file", &path, "--jobs", "1", "--baseline", "skip"])
            .args(["--timeout", "300", "--all-features", "--colors", "never", "--output"])
            .arg(&output)
            .args(["--", "--lib", "--"])
            .args(*tests)
            .current_dir(root());
        // It ends with an error where something survived; the next file is still asked.
        if let Err(Failed(what)) = run(&mut command) {
            survived.push(format!("{file}: {what}, see {}", output.join("mutants.out/missed.txt").display()));
        }
    }
    if survived.is_empty() { Ok(()) } else { Err(Failed(survived.join("\n"))) }
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
