//! The guards: extractors for a handler's arguments, and a layer for routes.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRef, FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use gatekey_http::{Require, Requirement, Verifier};

use crate::convert;

// `Authenticated`, `WithRole`, `WithScope`, `FreshlyAuthenticated`, `MaybeAuthenticated`, and their `Rejection`.
gatekey_http::guard_types! {}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.0.map(Body::from)
    }
}

impl<R: Require, S: Send + Sync> FromRequestParts<S> for Authenticated<R>
where
    Verifier: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        Self::judge(&Verifier::from_ref(state), &convert::head(parts))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for MaybeAuthenticated
where
    Verifier: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        Self::judge(&Verifier::from_ref(state), &convert::head(parts))
    }
}

/// `Option<Authenticated>` means what [`MaybeAuthenticated`] means: a bad token is refused, never taken for none.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Authenticated
where
    Verifier: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        Ok(MaybeAuthenticated::judge(&Verifier::from_ref(state), &convert::head(parts))?.0)
    }
}

/// Guards routes: `.route_layer(require_role(&gatekey, "admin"))`. Handlers find the [`Caller`](gatekey_http::Caller) in
/// the request's extensions.
pub type GuardLayer = gatekey_tower::GuardLayer<Body>;

/// A layer that asks for everything a [`Requirement`] says.
#[must_use]
pub fn require(verifier: impl Into<Verifier>, requirement: Requirement) -> GuardLayer {
    GuardLayer::new(verifier, requirement, convert::peer)
}

/// A layer that asks for a valid access token.
#[must_use]
pub fn require_login(verifier: impl Into<Verifier>) -> GuardLayer {
    require(verifier, Requirement::authenticated())
}

/// A layer that asks for a role.
#[must_use]
pub fn require_role(verifier: impl Into<Verifier>, role: &str) -> GuardLayer {
    require(verifier, Requirement::authenticated().role(role))
}

/// A layer that asks for a scope, or several separated by spaces.
#[must_use]
pub fn require_scope(verifier: impl Into<Verifier>, scope: &str) -> GuardLayer {
    require(verifier, Requirement::authenticated().scope(scope))
}

/// A layer that asks for a login at most `max_age` ago (RFC 9470).
#[must_use]
pub fn require_fresh(verifier: impl Into<Verifier>, max_age: Duration) -> GuardLayer {
    require(verifier, Requirement::authenticated().max_age(max_age))
}
