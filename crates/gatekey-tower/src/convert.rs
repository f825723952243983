//! A request in the `http` crate's types in; the reply goes out as it is.

use std::{error::Error, net::IpAddr};

use gatekey_http::{Body, Head, MAX_BODY};
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// A request as the core of gatekey takes it, for guards of one's own. `peer` is the address of the socket.
#[must_use]
pub fn head(parts: &Parts, peer: Option<IpAddr>) -> Head<'_> {
    Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
        peer,
    }
}

pub(crate) async fn body<B>(body: B) -> Body
where
    B: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    // A length that is announced is enough to refuse by; waiting for the bytes would be to the sender's liking.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Body::TooLarge;
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Body::Complete(collected.to_bytes()),
        // A host may have set a limit of its own further out; its error arrives wrapped.
        Err(error) if causes(&*error).any(|error| error.is::<LengthLimitError>()) => Body::TooLarge,
        Err(_) => Body::Broken,
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
