//! No dependency of a published crate asks for a newer Rust than ours. One toolchain builds everything here, so an older
//! one would not be missed otherwise; that our own code keeps to it is what clippy's `incompatible_msrv` sees.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::output;

pub(super) fn dependencies_keep_to_it() -> Result<(), String> {
    let text = output(&["metadata", "--format-version", "1", "--locked", "--all-features"])?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let uses: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let built =
                |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
            let on = list(&node["deps"]).into_iter().filter(built).map(|dependency| text(&dependency["pkg"]));
            (text(&node["id"]), on.collect())
        })
        .collect();
    let members: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
    // `publish = false` is an empty list of registries.
    let published = |id: &&String| packages.get(*id).is_some_and(|package| package["publish"].is_null());
    let mut next: Vec<&String> = members.iter().filter(published).collect();
    let ours = next
        .iter()
        .filter_map(|id| version(&packages[*id]["rust_version"]))
        .max()
        .ok_or("no rust-version")?;
    let mut seen = BTreeSet::new();
    let mut newer = Vec::new();
    while let Some(id) = next.pop() {
        if !seen.insert(id) {
            continue;
        }
        let package = &packages[id];
        if let Some(asked) = version(&package["rust_version"]).filter(|asked| *asked > ours) {
            newer.push(format!(
                "{} {} asks for Rust {}.{}",
                text(&package["name"]),
                text(&package["version"]),
                asked.0,
                asked.1
            ));
        }
        next.extend(uses.get(id).into_iter().flatten());
    }
    if newer.is_empty() { Ok(()) } else { Err(newer.join("; ")) }
}

/// Major and minor; a patch release of Rust adds nothing.
fn version(text: &Value) -> Option<(u32, u32)> {
    let mut numbers = text.as_str()?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
