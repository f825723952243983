//! `cargo xtask features`: every published crate as somebody else builds it: by itself, with no features, its defaults, each
//! feature alone, and all of them.
//!
//! A build of the workspace turns on what any member asks for, so a crate that uses a feature of a dependency without asking
//! for it is noticed by its users alone. Here each set is checked for itself, with the lints that the workspace has.
//!
//! Only libraries and programs are looked at: tests are built with the dependencies of tests, which bring features along.

use std::{
    collections::BTreeSet,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::run::{Failed, cargo};

/// One row of the table.
struct Row {
    package: String,
    set: String,
    took: Duration,
    passed: bool,
}

/// `cargo xtask features`.
pub(crate) fn features(arguments: Vec<String>) -> Result<(), Failed> {
    let published = published()?;
    if let Some(unknown) =
        arguments.iter().find(|name| !published.iter().any(|(package, _)| package == *name))
    {
        return Err(Failed(format!("{unknown:?} is no published crate")));
    }
    let (mut rows, mut compiled) = (Vec::new(), 0);
    for (package, features) in published {
        if !arguments.is_empty() && !arguments.contains(&package) {
            continue;
        }
        for set in sets(&features) {
            let mut command = cargo(&["clippy", "--locked", "--no-deps", "--package", &package]);
            command.args(&set).args(["--", "-D", "warnings"]).stdin(Stdio::null());
            let started = Instant::now();
            let output = command.output().map_err(|error| Failed(error.to_string()))?;
            let said = String::from_utf8_lossy(&output.stderr);
            compiled +=
                said.lines().filter(|line| line.trim_start().starts_with("Compiling aws-lc-sys")).count();
            let row = Row {
                package: package.clone(),
                set: set.join(" "),
                took: started.elapsed(),
                passed: output.status.success(),
            };
            println!("{} {:<18} {}", if row.passed { "ok  " } else { "FAIL" }, row.package, row.set);
            if !row.passed {
                print!("{said}");
                println!("  repeat: cargo clippy --package {} {} -- -D warnings", row.package, row.set);
            }
            rows.push(row);
        }
    }
    println!("\n{:<20} {:>4} {:>6} {:>8}", "crate", "sets", "failed", "seconds");
    for package in rows.iter().map(|row| &row.package).collect::<BTreeSet<_>>() {
        let rows: Vec<_> = rows.iter().filter(|row| row.package == *package).collect();
        let failed = rows.iter().filter(|row| !row.passed).count();
        let took: Duration = rows.iter().map(|row| row.took).sum();
        println!("{package:<20} {:>4} {failed:>6} {:>8.1}", rows.len(), took.as_secs_f64());
    }
    let failed = rows.iter().filter(|row| !row.passed).count();
    println!("features: {} sets, {failed} failed; aws-lc was built {compiled} times", rows.len());
    if failed == 0 { Ok(()) } else { Err(Failed(format!("{failed} sets of features do not build"))) }
}

/// The crates that are published, each with its features.
fn published() -> Result<Vec<(String, BTreeSet<String>)>, Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed(format!("cargo metadata: {error}"));
    let output = cargo(&["metadata", "--no-deps", "--locked", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(&error))?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut found: Vec<_> = packages
        // `publish = false` is an empty list of registries.
        .filter(|package| package["publish"].is_null())
        .filter_map(|package| {
            let features = package["features"].as_object()?.keys().cloned().collect();
            Some((package["name"].as_str()?.to_owned(), features))
        })
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// What cargo is told for each set of features that differs from the others.
fn sets(features: &BTreeSet<String>) -> Vec<Vec<String>> {
    let none = "--no-default-features".to_owned();
    let mut sets = vec![vec![none.clone()]];
    if features.contains("default") {
        sets.push(Vec::new());
    }
    let named: Vec<_> = features.iter().filter(|feature| *feature != "default").collect();
    sets.extend(named.iter().map(|feature| vec![none.clone(), "--features".to_owned(), (*feature).clone()]));
    if named.len() > 1 {
        sets.push(vec!["--all-features".to_owned()]);
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_is_tried_alone() {
        let told = |features: &[&str]| {
            let features = features.iter().map(|&feature| feature.to_owned()).collect();
            sets(&features).iter().map(|set| set.join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(told(&[]), ["--no-default-features"]);
        assert_eq!(told(&["tls"]), ["--no-default-features", "--no-default-features --features tls"]);
        assert_eq!(
            told(&["a", "b", "default"]),
            [
                "--no-default-features",
                "",
                "--no-default-features --features a",
                "--no-default-features --features b",
                "--all-features"
            ]
        );
    }

    #[test]
    fn what_is_published_is_found() {
        let Ok(published) = published() else { panic!("cargo metadata failed") };
        let named: Vec<_> = published.iter().map(|(name, _)| name.as_str()).collect();
        assert!(named.contains(&"gatekey") && named.contains(&"gatekey-client"), "{named:?}");
        assert!(!named.contains(&"xtask") && !named.contains(&"gatekey-hosts"), "{named:?}");
        let facade = published.iter().find(|(name, _)| name == "gatekey");
        assert!(facade.is_some_and(|(_, features)| features.contains("postgres-tls")));
    }
}
