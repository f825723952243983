//! The guards as extractors for a handler's arguments.

use std::{
    fmt,
    future::{Ready, ready},
    marker::PhantomData,
    ops::Deref,
};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, ResponseError, dev::Payload, http::StatusCode, web::Data,
};
use gatekey_http::{
    Caller, FRESH_SECS, FreshLogin, Gatekey, HasRole, HasScope, Reply, Require, Requirement, ValidToken,
    Verifier, not_installed,
};

use crate::convert::{self, Fields};

/// A refusal: a whole answer, ready to be sent.
#[derive(Debug)]
pub struct Rejection(Box<Reply>);

impl From<Box<Reply>> for Rejection {
    fn from(reply: Box<Reply>) -> Self {
        Self(reply)
    }
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

fn installed(request: &HttpRequest) -> Result<&Verifier, Rejection> {
    let alone = request.app_data::<Data<Verifier>>().map(|verifier| &***verifier);
    let of_gatekey = || request.app_data::<Data<Gatekey>>().map(|gatekey| gatekey.verifier());
    Ok(alone
        .or_else(of_gatekey)
        .ok_or_else(|| not_installed("App::configure(gatekey_actix::routes(&gatekey))"))?)
}

fn guard(request: &HttpRequest, requirement: &Requirement) -> Result<Caller, Rejection> {
    let fields = Fields(request.headers());
    Ok(installed(request)?.guard(&convert::head(request, &fields), requirement)?)
}

/// Who calls: a valid access token is required, and whatever else `R` asks for.
///
/// In actix-web `Option<Authenticated>` takes a bad token for none, and a store that cannot answer too: ask for
/// [`MaybeAuthenticated`] instead.
#[derive(Clone, Debug)]
pub struct Authenticated<R: Require = ValidToken>(Caller, PhantomData<fn() -> R>);

/// Who calls, with a role.
pub type WithRole<R> = Authenticated<HasRole<R>>;

/// Who calls, with a scope.
pub type WithScope<S> = Authenticated<HasScope<S>>;

/// Who calls, having proved its password at most `SECS` seconds ago (RFC 9470).
pub type FreshlyAuthenticated<const SECS: u64 = FRESH_SECS> = Authenticated<FreshLogin<SECS>>;

impl<R: Require> FromRequest for Authenticated<R> {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(guard(request, &R::requirement()).map(|caller| Self(caller, PhantomData)))
    }
}

impl<R: Require> Deref for Authenticated<R> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

/// Who calls, if anyone says: no credential is anonymous, a bad one is refused.
#[derive(Clone, Debug)]
pub struct MaybeAuthenticated(Option<Caller>);

impl MaybeAuthenticated {
    /// The caller; `None` if anonymous.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.0.as_ref()
    }
}

impl FromRequest for MaybeAuthenticated {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let fields = Fields(request.headers());
        let optional = |verifier: &Verifier| Ok(verifier.guard_optional(&convert::head(request, &fields))?);
        ready(installed(request).and_then(optional).map(Self))
    }
}
