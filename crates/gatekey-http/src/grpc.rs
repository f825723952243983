//! What a refusal means to a gRPC client.
//!
//! 1. The answer is trailers only: HTTP 200, the status in `grpc-status`, the sentence in `grpc-message`, no body.
//! 2. The other fields stay, as metadata: the challenge, `retry-after`, `cache-control`.
//! 3. A client retries UNAVAILABLE, logs in again on UNAUTHENTICATED and gives up on PERMISSION_DENIED, as one of HTTP does
//!    on 503, 401 and 403.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde_json::Value;

use crate::Reply;

/// A refusal of [`crate::Gatekey::guard`] as a gRPC client expects it.
#[must_use]
pub fn grpc(mut refusal: Reply) -> Reply {
    // https://grpc.github.io/grpc/core/md_doc_statuscodes.html
    let status = match refusal.status() {
        StatusCode::BAD_REQUEST => 3,
        StatusCode::FORBIDDEN => 7,
        StatusCode::TOO_MANY_REQUESTS => 8,
        StatusCode::SERVICE_UNAVAILABLE => 14,
        StatusCode::UNAUTHORIZED => 16,
        // Everything else is a fault of ours: INTERNAL.
        _ => 13,
    };
    let sentence = serde_json::from_slice::<Value>(refusal.body())
        .ok()
        .and_then(|body| HeaderValue::from_str(body["error_description"].as_str()?).ok());
    let headers = refusal.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(HeaderName::from_static("grpc-status"), status.into());
    if let Some(sentence) = sentence {
        headers.insert(HeaderName::from_static("grpc-message"), sentence);
    }
    *refusal.status_mut() = StatusCode::OK;
    *refusal.body_mut() = Bytes::new();
    refusal
}
