//! The two documents that describe the service: RFC 8414 metadata and OpenAPI.

use gatekey_core::error::AuthError;
use serde_json::{Value, json};

use crate::{Gatekey, reply::Refusal};

const OPENAPI: &str = include_str!("openapi.json");

/// The metadata (RFC 8414 section 2). There is no authorization endpoint, so no response type either.
pub(crate) fn metadata(gatekey: &Gatekey) -> Value {
    let issuer = &gatekey.config().issuer;
    // The endpoints stand at the root of the issuer's host, wherever the issuer itself points.
    let end = issuer.match_indices('/').nth(2).map_or(issuer.len(), |(at, _)| at);
    let base = format!("{}{}", &issuer[..end], gatekey.prefix());
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{base}/token"),
        "revocation_endpoint": format!("{base}/revoke"),
        "jwks_uri": format!("{base}/jwks.json"),
        "response_types_supported": [],
        "grant_types_supported": ["refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
    })
}

/// The OpenAPI document, with the prefix and the cookies this application uses. `document/tests.rs` compares it with the
/// code: paths and methods, codes and statuses, the members of answers.
pub(crate) fn openapi(gatekey: &Gatekey) -> Result<Value, Refusal> {
    let mut document: Value =
        serde_json::from_str(OPENAPI).map_err(|error| AuthError::Internal(std::sync::Arc::new(error)))?;
    document["servers"] = json!([{ "url": gatekey.prefix() }]);
    let cookies = &gatekey.site().cookies;
    let schemes = &mut document["components"]["securitySchemes"];
    schemes["accessCookie"]["name"] = cookies.access.into();
    schemes["refreshCookie"]["name"] = cookies.refresh.into();
    if let Some(paths) = document["paths"].as_object_mut().filter(|_| !gatekey.site().registration) {
        paths.remove("/register");
    }
    Ok(document)
}

#[cfg(test)]
mod tests;
