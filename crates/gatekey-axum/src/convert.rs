//! axum's request in, axum's response out. No branch here depends on what a request says.

use std::{error::Error, net::SocketAddr};

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::ConnectInfo,
    http::request::Parts,
    response::Response,
};
use gatekey_http::{Head, MAX_BODY, Reply};
use http_body_util::LengthLimitError;

pub(crate) fn head(parts: &Parts) -> Head<'_> {
    Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
        peer: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()),
    }
}

pub(crate) async fn body(body: Body) -> gatekey_http::Body {
    // A length that is announced is enough to refuse by; waiting for the bytes would be to the sender's liking.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return gatekey_http::Body::TooLarge;
    }
    match to_bytes(body, MAX_BODY).await {
        Ok(bytes) => gatekey_http::Body::Complete(bytes),
        Err(error) if error.source().is_some_and(|error| error.is::<LengthLimitError>()) => {
            gatekey_http::Body::TooLarge
        }
        Err(_) => gatekey_http::Body::Broken,
    }
}

pub(crate) fn reply(reply: Reply) -> Response {
    reply.map(Body::from)
}
