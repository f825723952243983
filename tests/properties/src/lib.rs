//! What holds for any input, one function each: it takes bytes that anybody may have sent and panics where the property
//! does not hold. `cargo xtask fuzz` looks for such bytes; `cargo test` asks the seeds, the vectors and some thousand
//! inputs drawn from them.
//!
//! A property of a token is stated by the model, which is written after the contract with other libraries than the
//! crate's own: `jsonwebtoken::decode`, `serde_json`, and base64 by the book. Both have to agree, so that nothing is
//! wrongly accepted and nothing wrongly refused.
//!
//! Everything goes through the public interface of gatekey-core and gatekey-http, on one site.

#![allow(clippy::unwrap_used, reason = "a property that does not hold panics, and so may its preparation")]

mod http;
mod model;
pub mod seeds;
mod site;
mod tokens;

/// One property.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, also of the binary in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Panics if the property does not hold of these bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "access_token", run: tokens::access_token },
    Target { name: "signed_access_token", run: tokens::signed_access_token },
    Target { name: "refresh_token", run: tokens::refresh_token },
    Target { name: "json", run: tokens::json },
    Target { name: "credentials", run: http::credentials },
    Target { name: "address", run: http::address },
    Target { name: "body", run: http::body },
    Target { name: "stored_hash", run: tokens::stored_hash },
    Target { name: "key_setting", run: tokens::key_setting },
    Target { name: "key_set", run: tokens::key_set },
];

/// The property of that name.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap()
}

#[cfg(test)]
mod tests;
