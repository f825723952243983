//! Inputs to begin with: those that are kept in `fuzz/seeds`, and what the vectors have to say.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde_json::Value;

use crate::model;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The tokens of the vectors, with what is said of each.
pub(crate) static VECTORS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut tests = Vec::new();
    for file in ["headers.json", "claims.json", "forms.json"] {
        let text = fs::read_to_string(repository().join("tests/vectors").join(file)).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        for group in file["groups"].as_array().unwrap() {
            for test in group["tests"].as_array().unwrap() {
                let mut test = test.clone();
                test["key"] = group["key"].clone();
                tests.push(test);
            }
        }
    }
    tests
});

/// A token that the site with the Ed25519 key accepts.
pub(crate) fn good_token() -> &'static str {
    let good = VECTORS.iter().find(|test| test["key"] == "EdDSA" && test["result"] == "accepted");
    good.unwrap()["token"].as_str().unwrap()
}

/// Inputs for the target of that name, each with a name of its own.
///
/// # Panics
///
/// If the repository's files cannot be read.
#[must_use]
pub fn inputs(target: &str) -> BTreeMap<String, Vec<u8>> {
    let mut inputs = BTreeMap::new();
    let folder = repository().join("fuzz/seeds").join(target);
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        inputs.insert(name, fs::read(&path).unwrap());
    }
    for (at, test) in VECTORS.iter().enumerate() {
        let token = test["token"].as_str().unwrap();
        let parts: Vec<_> = token.split('.').map(model::base64url).collect();
        let input = match (target, &parts[..]) {
            ("access_token", _) => token.as_bytes().to_vec(),
            ("signed_access_token" | "refresh_token", [Some(header), Some(claims), ..]) => {
                // The header of the key that signs it here.
                let kid = if target == "refresh_token" { "/refresh_kid" } else { "/access_keys/HS256/kid" };
                let header = String::from_utf8_lossy(header)
                    .replace("EdDSA", "HS256")
                    .replace(crate::site::known("/access_keys/EdDSA/kid"), crate::site::known(kid))
                    .replace("at+jwt", if target == "refresh_token" { "rt+jwt" } else { "at+jwt" });
                [header.as_bytes(), &[0], claims].concat()
            }
            ("json", [_, Some(claims), ..]) => claims.clone(),
            ("credentials", _) => [b"\0aBearer ", token.as_bytes()].concat(),
            _ => continue,
        };
        inputs.insert(format!("vector-{at:04}"), input);
    }
    inputs
}
