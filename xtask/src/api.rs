//! `cargo xtask api`: every public name of the crates that are published, to be compared before a release.
//!
//! A name that is in the last release's listing and not in this one's is a breaking change; `cargo semver-checks` then tells
//! of changed signatures. The listing is made from rustdoc's JSON, which stable compilers give only when told that they may
//! (`RUSTC_BOOTSTRAP`), and whose form changes between them: so it is made by hand, and no check depends on it.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::run::{Failed, cargo, root, run};

/// What applications name: the facade, and what it re-exports.
const CRATES: &[&str] = &[
    "gatekey",
    "gatekey-core",
    "gatekey-http",
    "gatekey-axum",
    "gatekey-actix",
    "gatekey-rocket",
    "gatekey-tower",
    "gatekey-sqlite",
    "gatekey-postgres",
    "gatekey-redis",
    "gatekey-jwks",
];

pub(crate) fn api(arguments: Vec<String>) -> Result<(), Failed> {
    let wanted: Vec<&str> = match arguments.as_slice() {
        [] => CRATES.to_vec(),
        names => names.iter().map(String::as_str).collect(),
    };
    for package in wanted {
        let mut rustdoc =
            cargo(&["rustdoc", "--quiet", "--locked", "--lib", "--all-features", "--package", package]);
        rustdoc.args(["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"]);
        run(rustdoc.env("RUSTC_BOOTSTRAP", "1"))?;
        let file = root().join("target/doc").join(package.replace('-', "_")).with_extension("json");
        let text =
            fs::read_to_string(&file).map_err(|error| Failed(format!("{}: {error}", file.display())))?;
        let document: Value = serde_json::from_str(&text).map_err(|error| Failed(error.to_string()))?;
        for name in names(&document) {
            println!("{name}");
        }
    }
    Ok(())
}

/// The public names, each with its kind.
fn names(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let top = document["root"].to_string();
    let name = item(document, &top)["name"].as_str().unwrap_or_default().to_owned();
    visit(document, &top, &name, &mut found, 0);
    found
}

fn item<'a>(document: &'a Value, id: &str) -> &'a Value {
    &document["index"][id.trim_matches('"')]
}

fn visit(document: &Value, id: &str, path: &str, found: &mut BTreeSet<String>, depth: usize) {
    let Some((kind, inner)) = item(document, id)["inner"].as_object().and_then(|inner| inner.iter().next())
    else {
        return;
    };
    // A module that re-exports one above it would go round for ever.
    if depth > 12 {
        return;
    }
    let each = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(Value::to_string).collect()
    };
    let open = |child: &Value| child["visibility"] == "public" || child["visibility"] == "default";
    let mut members = Vec::new();
    match kind.as_str() {
        "module" => members = each(&inner["items"]),
        "struct" => members.extend(each(&inner["kind"]["plain"]["fields"])),
        "enum" => members.extend(each(&inner["variants"])),
        "trait" => members.extend(each(&inner["items"])),
        _ => {}
    }
    // Methods of the type itself; those of traits are the traits'.
    for block in each(&inner["impls"]) {
        let block = &item(document, &block)["inner"]["impl"];
        if block["trait"].is_null() && block["is_synthetic"] != true {
            members.extend(each(&block["items"]));
        }
    }
    for id in members {
        let child = item(document, &id);
        if !open(child) {
            continue;
        }
        let Some((kind, inner)) = child["inner"].as_object().and_then(|inner| inner.iter().next()) else {
            continue;
        };
        if kind == "use" {
            let name = inner["name"].as_str().unwrap_or_default();
            let target = inner["id"].to_string();
            if inner["is_glob"] == true {
                visit(document, &target, path, found, depth + 1);
            } else {
                found.insert(format!("{path}::{name} = {}", inner["source"].as_str().unwrap_or_default()));
                visit(document, &target, &format!("{path}::{name}"), found, depth + 1);
            }
            continue;
        }
        let name = format!("{path}::{}", child["name"].as_str().unwrap_or_default());
        found.insert(format!("{name}: {kind}"));
        visit(document, &id, &name, found, depth + 1);
    }
}
