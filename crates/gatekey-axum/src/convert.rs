//! Where axum keeps what the `http` crate's types do not have a place for.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::ConnectInfo,
    http::{Extensions, request::Parts},
};
use gatekey_http::Head;

pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

pub(crate) fn head(parts: &Parts) -> Head<'_> {
    gatekey_tower::head(parts, peer(&parts.extensions))
}
