//! The guard as middleware.

use std::{
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    Error, HttpMessage,
    body::EitherBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
};
use futures_util::future::{Either, MapOk, TryFutureExt};
use gatekey_http::{Requirement, Verifier};

use crate::convert::{self, Fields};

/// Guards an application, a scope or a resource: `.wrap(RequireAuth::role(&gatekey, "editor"))`.
///
/// What passes has its [`Caller`](gatekey_http::Caller) in the request's extensions. A refusal is an answer and not an
/// error, so middleware further out (CORS, a log) sees a response like any other.
#[derive(Clone, Debug)]
pub struct RequireAuth {
    verifier: Verifier,
    requirement: Arc<Requirement>,
}

impl RequireAuth {
    /// Asks for everything a [`Requirement`] says.
    #[must_use]
    pub fn new(verifier: impl Into<Verifier>, requirement: Requirement) -> Self {
        Self { verifier: verifier.into(), requirement: Arc::new(requirement) }
    }

    /// Asks for a valid access token.
    #[must_use]
    pub fn login(verifier: impl Into<Verifier>) -> Self {
        Self::new(verifier, Requirement::authenticated())
    }

    /// Asks for a role.
    #[must_use]
    pub fn role(verifier: impl Into<Verifier>, role: &str) -> Self {
        Self::new(verifier, Requirement::authenticated().role(role))
    }

    /// Asks for a scope, or several separated by spaces.
    #[must_use]
    pub fn scope(verifier: impl Into<Verifier>, scope: &str) -> Self {
        Self::new(verifier, Requirement::authenticated().scope(scope))
    }

    /// Asks for a login at most `max_age` ago (RFC 9470).
    #[must_use]
    pub fn fresh(verifier: impl Into<Verifier>, max_age: Duration) -> Self {
        Self::new(verifier, Requirement::authenticated().max_age(max_age))
    }
}

impl<S, B> Transform<S, ServiceRequest> for RequireAuth
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = Guard<S>;
    type InitError = ();
    type Future = Ready<Result<Guard<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(Guard { inner, rule: self.clone() }))
    }
}

/// The service of a [`RequireAuth`].
#[derive(Debug)]
pub struct Guard<S> {
    inner: S,
    rule: RequireAuth,
}

type Answer<B> = ServiceResponse<EitherBody<B>>;

impl<S, B> Service<ServiceRequest> for Guard<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    type Response = Answer<B>;
    type Error = Error;
    type Future =
        Either<MapOk<S::Future, fn(ServiceResponse<B>) -> Answer<B>>, Ready<Result<Answer<B>, Error>>>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let RequireAuth { verifier, requirement } = &self.rule;
        match verifier.guard(&convert::head(request.request(), &Fields(request.headers())), requirement) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request).map_ok(ServiceResponse::map_into_left_body))
            }
            Err(refusal) => {
                let response = convert::reply(&refusal).map_into_right_body();
                Either::Right(ready(Ok(request.into_response(response))))
            }
        }
    }
}
