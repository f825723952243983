//! What no compiler checks.
//!
//! 1. Crates depend one way: hosts and examples on the facade, the facade on adapters and stores, adapters on
//!    gatekey-http, stores on gatekey-core, and nothing back or sideways.
//! 2. No adapter names a status, a header field, an attribute of a cookie, a lifetime or a role, and none has 250
//!    lines of code. No feature builds what another needs.
//! 3. The HTTP suite imports no gatekey crate: a wrong status could otherwise agree with itself.
//! 4. The number of dependencies that the README tells is the number that cargo counts.
//! 5. Each property of `tests/properties` is a target of fuzzing.
//! 6. Every requirement of the security map is shown, by cases, tests and files that exist, or departed from with a reason.
//! 7. MD5 and SHA-1 are in hashes of other software alone.
//! 8. No dependency of a published crate asks for a newer Rust than ours.
//! 9. Each published crate has the texts of both licences in its folder, and is documented with all its features.
//! 10. Dependencies keep to `deny.toml`: licences, sources, bans, and one version of each unless a reason is given.
//! 11. ARCHITECTURE.md has a row for each member of the workspace.

mod adapters;
mod deny;
mod msrv;
mod published;
mod security;

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::run::{Failed, cargo, root};

/// A check and its name.
type Check = (&'static str, fn() -> Result<(), String>);

const CHECKS: &[Check] = &[
    ("crates depend one way", dependencies_point_one_way),
    ("adapters decide nothing", adapters::decide_nothing),
    ("adapters are short", adapters::are_short),
    ("a feature builds what it needs alone", adapters::build_alone),
    ("the HTTP suite imports no gatekey crate", suite_is_black_box),
    ("the README counts dependencies as cargo does", readme_counts_dependencies),
    ("every property is fuzzed", every_property_is_fuzzed),
    ("the security map is whole", security::map_is_whole),
    ("weak hashes are for imports alone", security::weak_hashes_are_for_imports_alone),
    ("dependencies keep to our rust-version", msrv::dependencies_keep_to_it),
    ("published crates carry their licences", published::crates_carry_their_licences),
    ("published crates are documented whole", published::crates_are_documented_whole),
    ("dependencies keep to deny.toml", deny::rules_are_kept),
    ("ARCHITECTURE.md has every member", architecture_has_every_member),
];

pub(crate) fn all() -> Result<(), Failed> {
    let mut failed = 0;
    for (name, check) in CHECKS {
        match check() {
            Ok(()) => println!("ok    {name}"),
            Err(problem) => {
                failed += 1;
                println!("FAIL  {name}: {problem}");
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(Failed(format!("{failed} of {} checks failed", CHECKS.len()))) }
}

/// What each crate may depend on, tests aside.
const ALLOWED: &[(&str, &[&str])] = &[
    ("gatekey-core", &[]),
    ("gatekey-http", &["gatekey-core"]),
    ("gatekey-tower", &["gatekey-http"]),
    ("gatekey-axum", &["gatekey-http", "gatekey-tower"]),
    ("gatekey-actix", &["gatekey-http"]),
    ("gatekey-rocket", &["gatekey-http"]),
    ("gatekey-sqlite", &["gatekey-core"]),
    ("gatekey-postgres", &["gatekey-core"]),
    ("gatekey-redis", &["gatekey-core"]),
    ("gatekey-jwks", &["gatekey-core"]),
    ("gatekey-client", &[]),
    (
        "gatekey",
        &[
            "gatekey-core",
            "gatekey-http",
            "gatekey-actix",
            "gatekey-axum",
            "gatekey-rocket",
            "gatekey-tower",
            "gatekey-sqlite",
            "gatekey-postgres",
            "gatekey-redis",
            "gatekey-jwks",
        ],
    ),
    ("gatekey-cli", &["gatekey"]),
    ("gatekey-conformance", &["gatekey-core"]),
    ("gatekey-bench", &["gatekey", "gatekey-core"]),
    ("gatekey-hosts", &["example-page", "example-poem", "gatekey"]),
    ("gatekey-properties", &["gatekey-core", "gatekey-http"]),
    ("gatekey-counts", &["gatekey-core", "gatekey-http"]),
    ("example-notes", &["gatekey"]),
    ("example-page", &["gatekey"]),
    ("example-poem", &["gatekey-http"]),
    ("example-start", &["gatekey"]),
    ("quickstart", &["example-page", "example-start", "gatekey"]),
    ("actix-quickstart", &["example-page", "example-start", "gatekey"]),
    ("rocket-quickstart", &["example-page", "example-start", "gatekey"]),
    ("axum-pages", &["example-start", "gatekey"]),
    ("axum-resource", &["example-notes", "example-start", "gatekey"]),
    ("actix-resource", &["example-notes", "example-start", "gatekey"]),
    ("rocket-resource", &["example-notes", "example-start", "gatekey"]),
    ("grpc-resource", &["example-notes", "example-start", "gatekey"]),
    ("resource-server", &["gatekey"]),
    ("client", &["gatekey-client"]),
    ("https", &["example-page", "example-start", "gatekey"]),
    ("behind-nginx", &["example-page", "example-start", "gatekey"]),
    ("own-users", &["example-start", "gatekey"]),
    ("cluster", &["example-page", "example-start", "gatekey", "gatekey-services"]),
    ("gatekey-examples", &[]),
    ("gatekey-services", &[]),
    ("xtask", &["gatekey-services"]),
];

fn output(arguments: &[&str]) -> Result<String, String> {
    let output = cargo(arguments).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

fn dependencies_point_one_way() -> Result<(), String> {
    let text = output(&["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("no packages")?;
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    for package in packages {
        let package_name = name(package);
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(known, _)| *known == package_name)
            .ok_or(format!("{package_name} has no row in xtask/src/tidy.rs"))?;
        for dependency in package["dependencies"].as_array().ok_or("no dependencies")? {
            let to = name(dependency);
            let in_tests = dependency["kind"] == "dev";
            if ours.contains(&to) && !in_tests && !allowed.contains(&to.as_str()) {
                return Err(format!("{package_name} must not depend on {to}"));
            }
        }
    }
    Ok(())
}

/// Newcomers look there for what a folder is.
fn architecture_has_every_member() -> Result<(), String> {
    let text = output(&["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).map_err(|error| error.to_string())?;
    let rows: Vec<_> = page.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next()).collect();
    let root = Path::new(metadata["workspace_root"].as_str().unwrap_or_default());
    let mut missing = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root).ok());
        let folder = folder.ok_or(format!("{} is elsewhere", manifest.display()))?.display();
        if !rows.iter().any(|row| row.contains(&format!("`{folder}`"))) {
            missing.push(folder.to_string());
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("no row for {}", missing.join(", "))) }
}

fn suite_is_black_box() -> Result<(), String> {
    fn search(folder: &Path) -> Result<(), String> {
        for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.is_dir() {
                // The store suite is written against core's traits, and says so.
                if path.ends_with("src/store") {
                    continue;
                }
                search(&path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
                if let Some(line) = text.lines().find(|line| line.trim_start().starts_with("use gatekey")) {
                    return Err(format!("{}: {line}", path.display()));
                }
            }
        }
        Ok(())
    }
    search(&root().join("tests/conformance/src"))
}

/// `tests/properties` names its targets, and each has a binary of its own in the fuzzing workspace.
fn every_property_is_fuzzed() -> Result<(), String> {
    let read = |path: &str| fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"));
    let (targets, manifest) = (read("tests/properties/src/lib.rs")?, read("fuzz/Cargo.toml")?);
    let named = |text: &str, before: &str| -> BTreeSet<String> {
        text.split(before).skip(1).filter_map(|rest| Some(rest.split('"').next()?.to_owned())).collect()
    };
    let properties = named(&targets, "Target { name: \"");
    let binaries = named(&manifest, "[[bin]]\nname = \"");
    let files: BTreeSet<String> = crate::fuzz::targets()?.into_iter().collect();
    if properties == binaries && properties == files {
        Ok(())
    } else {
        Err(format!("properties {properties:?}, binaries {binaries:?}, files {files:?}"))
    }
}

fn readme_counts_dependencies() -> Result<(), String> {
    let tree = output(&[
        "tree",
        "--package",
        "gatekey",
        "--features",
        "axum,sqlite",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--target",
        "x86_64-unknown-linux-gnu",
        "--locked",
    ])?;
    let crates: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| Some(line.split(" (").next()?.trim()).filter(|line| !line.is_empty()))
        .filter(|line| !line.starts_with("gatekey"))
        .collect();
    let expected = format!("{} crates", crates.len());
    let readme = fs::read_to_string(root().join("README.md")).map_err(|error| error.to_string())?;
    if readme.contains(&expected) {
        Ok(())
    } else {
        Err(format!("README.md should say that `axum,sqlite` builds {expected}"))
    }
}
