//! What is published carries both licences: their texts ask for it, and a package holds only what lies in its own folder.

use serde_json::Value;

use super::output;

pub(super) fn crates_carry_their_licences() -> Result<(), String> {
    let text = output(&["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    for package in
        metadata["packages"].as_array().into_iter().flatten().filter(|package| package["publish"].is_null())
    {
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
