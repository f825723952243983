//! actix-web's request in, actix-web's response out. Its header types are those of `http` 0.2, so bytes are passed on.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::HeaderMap},
};
use gatekey_http::{Head, Headers, Reply};

/// The header fields where actix-web keeps them: a guard looks at few, so none are copied.
pub(crate) struct Fields<'a>(pub(crate) &'a HeaderMap);

impl Headers for Fields<'_> {
    fn each<'a>(&'a self, name: &str, value: &mut dyn FnMut(&'a [u8])) {
        for found in self.0.get_all(name) {
            value(found.as_bytes());
        }
    }
}

pub(crate) fn head<'a>(request: &'a HttpRequest, fields: &'a Fields<'a>) -> Head<'a> {
    let uri = request.uri();
    Head {
        method: request.method().as_str(),
        path: uri.path(),
        query: uri.query(),
        headers: fields,
        // Not `realip_remote_addr`: it believes what anyone writes into a header.
        peer: request.peer_addr().map(|peer| peer.ip()),
    }
}

pub(crate) fn status(reply: &Reply) -> StatusCode {
    StatusCode::from_u16(reply.status().as_u16()).unwrap_or_default()
}

pub(crate) fn reply(reply: &Reply) -> HttpResponse {
    let mut response = HttpResponse::build(status(reply));
    for (name, value) in reply.headers() {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    response.body(reply.body().clone())
}
