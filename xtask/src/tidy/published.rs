//! What is published carries both licences: their texts ask for it, and a package holds only what lies in its own folder. And
//! its documentation is made with all features: what a feature brings would be missing from the hosted pages otherwise.

use serde_json::Value;

use super::output;

/// The packages that are published.
fn packages() -> Result<Vec<Value>, String> {
    let text = output(&["metadata", "--no-deps", "--format-version", "1"])?;
    let mut metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let Value::Array(packages) = metadata["packages"].take() else { return Err("no packages".to_owned()) };
    Ok(packages.into_iter().filter(|package| package["publish"].is_null()).collect())
}

pub(super) fn crates_are_documented_whole() -> Result<(), String> {
    for package in packages()? {
        let is_library =
            |target: &Value| target["kind"].as_array().is_some_and(|kinds| kinds.contains(&"lib".into()));
        let library = package["targets"].as_array().is_some_and(|targets| targets.iter().any(is_library));
        if library && package["metadata"]["docs"]["rs"]["all-features"] != true {
            return Err(format!(
                "{} has no [package.metadata.docs.rs] with all-features = true",
                package["name"]
            ));
        }
    }
    Ok(())
}

pub(super) fn crates_carry_their_licences() -> Result<(), String> {
    for package in packages()? {
        let manifest = std::path::Path::new(package["manifest_path"].as_str().unwrap_or_default());
        for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
            // A link that leads nowhere does not exist either.
            if !manifest.with_file_name(licence).exists() {
                return Err(format!("{} has no {licence}; link it to the one at the root", package["name"]));
            }
        }
    }
    Ok(())
}
