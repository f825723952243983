//! The two documents that describe the service: RFC 8414 metadata and OpenAPI.

use gatekey_core::error::AuthError;
use serde_json::{Value, json};

use crate::{Gatekey, endpoints::Endpoint, reply::Refusal};

const OPENAPI: &str = include_str!("openapi.json");

/// The metadata (RFC 8414 section 2). There is no authorization endpoint, so no response type either.
pub(crate) fn metadata(gatekey: &Gatekey) -> Value {
    let issuer = &gatekey.config().issuer;
    // The endpoints stand at the root of the issuer's host, wherever the issuer itself points.
    let end = issuer.match_indices('/').nth(2).map_or(issuer.len(), |(at, _)| at);
    let base = format!("{}{}", &issuer[..end], gatekey.prefix());
    let mut metadata = json!({
        "issuer": issuer,
        "token_endpoint": format!("{base}/token"),
        "revocation_endpoint": format!("{base}/revoke"),
        "jwks_uri": format!("{base}/jwks.json"),
        "response_types_supported": [],
        "grant_types_supported": ["refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
    });
    if gatekey.offers(Endpoint::Introspect) {
        metadata["introspection_endpoint"] = format!("{base}/introspect").into();
        metadata["introspection_endpoint_auth_methods_supported"] = json!(["client_secret_basic"]);
    }
    metadata
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
    let mut remove = |place: &str, name: &str| {
        document.pointer_mut(place).and_then(Value::as_object_mut).map(|object| object.remove(name));
    };
    if !gatekey.offers(Endpoint::Register) {
        remove("/paths", "/register");
    }
    if !gatekey.offers(Endpoint::Introspect) {
        remove("/paths", "/introspect");
        remove("/components/securitySchemes", "client");
        remove("/components/headers", "ClientChallenge");
        for schema in ["Introspection", "Introspected"] {
            remove("/components/schemas", schema);
        }
        for member in ["introspection_endpoint", "introspection_endpoint_auth_methods_supported"] {
            remove("/components/schemas/Metadata/properties", member);
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests;
