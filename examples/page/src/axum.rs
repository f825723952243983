//! The page in axum: a router to merge with an application's own.

use axum::{
    Router,
    extract::FromRef,
    http::{HeaderMap, HeaderName, HeaderValue},
    routing::get,
};
use gatekey::{Gatekey, axum::Authenticated};

use crate::{FILES, HEADERS, PRIVATE, SECURITY, SecurityLog};

/// The three files, and [`SECURITY`] for whoever is logged in.
pub fn routes<S: Clone + Send + Sync + 'static>(log: SecurityLog) -> Router<S>
where
    Gatekey: FromRef<S>,
{
    let page = FILES.iter().fold(Router::new(), |page, file| {
        let fields = headers(HEADERS.into_iter().chain([("content-type", file.content_type)]));
        page.route(file.path, get(async move || (fields, file.text)))
    });
    page.route(SECURITY, get(async move |user: Authenticated| (headers(PRIVATE), log.of(user.subject()))))
}

fn headers(fields: impl IntoIterator<Item = (&'static str, &'static str)>) -> HeaderMap {
    fields
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}
