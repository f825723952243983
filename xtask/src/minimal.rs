//! `cargo xtask minimal`: builds the published crates with the oldest versions of everything that their manifests allow, so
//! that a lower bound is a promise that was tried. rusqlite is at the low end of its range then, at which it shares SQLite
//! with sqlx, so the store's tests run as well.
//!
//! It resolves anew in a copy of what git has, and the resolver's option asks for `RUSTC_BOOTSTRAP`: by hand, before a release.

use std::{fs, process::Command};

use crate::run::{Failed, cargo, no_arguments, root, run};

pub(crate) fn minimal(arguments: Vec<String>) -> Result<(), Failed> {
    no_arguments(&arguments)?;
    let failed = |error: std::io::Error| Failed(error.to_string());
    let copy = root().join("target/minimal");
    // What was built there before stays, and saves time.
    fs::create_dir_all(&copy).map_err(failed)?;
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().map_err(failed)?;
    for path in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|path| !path.is_empty()) {
        let to = copy.join(path);
        fs::create_dir_all(to.parent().unwrap_or(&copy)).map_err(failed)?;
        // A file that was removed and is not committed yet, or a link that leads nowhere.
        if root().join(path).exists() {
            fs::copy(root().join(path), to).map_err(failed)?;
        }
    }
    let there = |arguments: &[&str]| {
        let mut command = cargo(arguments);
        command.current_dir(&copy).env("CARGO_TARGET_DIR", copy.join("target"));
        command
    };
    run(there(&["update", "-Z", "direct-minimal-versions"]).env("RUSTC_BOOTSTRAP", "1"))?;
    let published = ["--package", "gatekey", "--package", "gatekey-cli", "--package", "gatekey-conformance"];
    run(there(&["check", "--locked", "--all-features"]).args(published))?;
    run(&mut there(&["test", "--quiet", "--locked", "--package", "gatekey-sqlite"]))
}
