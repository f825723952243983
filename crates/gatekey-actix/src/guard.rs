//! The guards as extractors for a handler's arguments.

use std::{
    fmt,
    future::{Ready, ready},
};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, ResponseError, dev::Payload, http::StatusCode, web::Data,
};
use gatekey_http::{Gatekey, Head, Require, Verifier, not_installed};

use crate::convert::{self, Fields};

// `Authenticated`, `WithRole`, `WithScope`, `FreshlyAuthenticated`, `MaybeAuthenticated`, and their `Rejection`.
gatekey_http::guard_types! {
    /// In actix-web `Option<Authenticated>` takes a bad token for none, and a store that cannot answer too: ask for
    /// [`MaybeAuthenticated`] instead.
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {}", self.0.status())
    }
}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        convert::status(&self.0)
    }

    fn error_response(&self) -> HttpResponse {
        convert::reply(&self.0)
    }
}

/// Asks the verifier that is installed.
fn ask<T>(
    request: &HttpRequest,
    judge: impl FnOnce(&Verifier, &Head<'_>) -> Result<T, Rejection>,
) -> Ready<Result<T, Rejection>> {
    let alone = request.app_data::<Data<Verifier>>().map(|verifier| &***verifier);
    let of_gatekey = || request.app_data::<Data<Gatekey>>().map(|gatekey| gatekey.verifier());
    ready(match alone.or_else(of_gatekey) {
        Some(verifier) => judge(verifier, &convert::head(request, &Fields(request.headers()))),
        None => Err(not_installed("App::configure(gatekey_actix::routes(&gatekey))").into()),
    })
}

impl<R: Require> FromRequest for Authenticated<R> {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ask(request, Self::judge)
    }
}

impl FromRequest for MaybeAuthenticated {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ask(request, Self::judge)
    }
}
