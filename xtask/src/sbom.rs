//! `cargo xtask sbom`: what is in a program that depends on gatekey, as CycloneDX 1.6.
//!
//! Of the facade with all its features (or `--package P`), as resolved in the lock file: what is compiled into it, and what
//! builds it; no tests. The same lock file gives the same bytes: there is no time and no random number in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::{Value, json};

use crate::run::{Failed, cargo, root};

pub(crate) fn sbom(arguments: Vec<String>) -> Result<(), Failed> {
    let (mut package, mut output) = ("gatekey".to_owned(), None);
    let mut arguments = arguments.into_iter();
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(Failed(format!("{flag} needs a value")))?;
        match flag.as_str() {
            "--package" => package = value,
            "--output" => output = Some(value),
            _ => return Err(Failed("takes --package P, --output FILE".to_owned())),
        }
    }
    let text = bill(&package)?;
    match output {
        Some(path) => fs::write(&path, text).map_err(|error| Failed(format!("{path}: {error}"))),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

fn bill(package: &str) -> Result<String, Failed> {
    let told = |what: &str| Failed(what.to_owned());
    let output = cargo(&["metadata", "--format-version", "1", "--locked", "--all-features"])
        .output()
        .map_err(|error| Failed(error.to_string()))?;
    if !output.status.success() {
        return Err(Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| Failed(error.to_string()))?;
    let lock = fs::read_to_string(root().join("Cargo.lock")).map_err(|error| Failed(error.to_string()))?;
    let packages: BTreeMap<&str, &Value> =
        array(&metadata["packages"]).filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let uses: BTreeMap<&str, BTreeSet<&str>> = array(&metadata["resolve"]["nodes"])
        .filter_map(|node| Some((node["id"].as_str()?, array(&node["deps"]).filter_map(used).collect())))
        .collect();
    let top = packages.iter().find(|(_, found)| found["name"] == package);
    let (&top, _) = top.ok_or(Failed(format!("there is no package {package:?}")))?;

    let mut inside = BTreeSet::new();
    let mut next = vec![top];
    while let Some(id) = next.pop() {
        if inside.insert(id) {
            next.extend(uses.get(id).into_iter().flatten());
        }
    }
    let of = |id: &str| {
        packages.get(id).copied().ok_or(told("the metadata names a package that it does not have"))
    };
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for id in inside {
        let found = of(id)?;
        if id != top {
            components.push(component(found, &lock));
        }
        let mut on =
            uses.get(id).into_iter().flatten().map(|id| of(id).map(purl)).collect::<Result<Vec<_>, _>>()?;
        on.sort();
        dependencies.push(json!({"ref": purl(found), "dependsOn": on}));
    }
    let by = |name: &'static str| move |value: &Value| value[name].as_str().unwrap_or_default().to_owned();
    components.sort_by_key(by("bom-ref"));
    dependencies.sort_by_key(by("ref"));
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(of(top)?, &lock)},
        "components": components,
        "dependencies": dependencies,
    });
    let text = serde_json::to_string_pretty(&bill).map_err(|error| Failed(error.to_string()))?;
    Ok(text + "\n")
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What is compiled in or builds; a test's dependency is neither.
fn used(dependency: &Value) -> Option<&str> {
    let kinds = array(&dependency["dep_kinds"]).any(|kind| kind["kind"] != "dev");
    kinds.then(|| dependency["pkg"].as_str()).flatten()
}

fn purl(package: &Value) -> String {
    let text = |name: &str| package[name].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn component(package: &Value, lock: &str) -> Value {
    let text = |name: &str| package[name].as_str().unwrap_or_default();
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": text("name"),
        "version": text("version"),
        "purl": purl(package),
    });
    if !text("license").is_empty() {
        // Older manifests write a slash where SPDX has OR.
        let expression = text("license").split('/').map(str::trim).collect::<Vec<_>>().join(" OR ");
        component["licenses"] = json!([{ "expression": expression }]);
    }
    if let Some(checksum) = checksum(lock, text("name"), text("version")) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

fn checksum<'a>(lock: &'a str, name: &str, version: &str) -> Option<&'a str> {
    let head = format!("\nname = \"{name}\"\nversion = \"{version}\"\n");
    let block = lock.split("[[package]]").find(|block| block.starts_with(&head))?;
    block.lines().find_map(|line| line.strip_prefix("checksum = \"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_is_whole_and_always_the_same() {
        let bill = |package: &str| bill(package).unwrap_or_else(|Failed(problem)| panic!("{problem}"));
        let text = bill("gatekey");
        assert_eq!(text, bill("gatekey"));
        let parsed: Value = serde_json::from_str(&text).unwrap();
        let components: Vec<_> = array(&parsed["components"]).collect();
        let names: BTreeSet<_> =
            components.iter().filter_map(|component| component["name"].as_str()).collect();
        for inside in ["gatekey-core", "jsonwebtoken", "aws-lc-sys", "rusqlite", "axum"] {
            assert!(names.contains(inside), "{inside}");
        }
        // Tests are not in it, and nothing stands twice.
        assert!(!names.contains("proptest") && !names.contains("gatekey-conformance"));
        let refs: BTreeSet<_> =
            components.iter().filter_map(|component| component["bom-ref"].as_str()).collect();
        assert_eq!(refs.len(), components.len());
        for component in components {
            let ours = component["name"].as_str().is_some_and(|name| name.starts_with("gatekey"));
            assert!(ours || component["hashes"].is_array(), "{component}");
            assert!(component["licenses"].is_array(), "{component}");
        }
        for dependency in array(&parsed["dependencies"]) {
            for on in array(&dependency["dependsOn"]) {
                assert!(refs.contains(on.as_str().unwrap()), "{on}");
            }
        }
    }
}
