//! The guards: extractors for a handler's arguments, and a layer for routes.

use std::{marker::PhantomData, ops::Deref, time::Duration};

use axum::{
    body::Body,
    extract::{FromRef, FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use gatekey_http::{
    Caller, FRESH_SECS, FreshLogin, HasRole, HasScope, Reply, Require, Requirement, ValidToken, Verifier,
};

use crate::convert;

/// A refusal: a whole answer, ready to be sent.
#[derive(Debug)]
pub struct Rejection(Box<Reply>);

impl From<Box<Reply>> for Rejection {
    fn from(reply: Box<Reply>) -> Self {
        Self(reply)
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.0.map(Body::from)
    }
}

/// Who calls: a valid access token is required, and whatever else `R` asks for.
#[derive(Clone, Debug)]
pub struct Authenticated<R: Require = ValidToken>(Caller, PhantomData<fn() -> R>);

/// Who calls, with a role.
pub type WithRole<R> = Authenticated<HasRole<R>>;

/// Who calls, with a scope.
pub type WithScope<S> = Authenticated<HasScope<S>>;

/// Who calls, having proved its password at most `SECS` seconds ago (RFC 9470).
pub type FreshlyAuthenticated<const SECS: u64 = FRESH_SECS> = Authenticated<FreshLogin<SECS>>;

impl<R: Require, S: Send + Sync> FromRequestParts<S> for Authenticated<R>
where
    Verifier: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let caller = Verifier::from_ref(state).guard(&convert::head(parts), &R::requirement())?;
        Ok(Self(caller, PhantomData))
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

impl<S: Send + Sync> FromRequestParts<S> for MaybeAuthenticated
where
    Verifier: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        Ok(Self(Verifier::from_ref(state).guard_optional(&convert::head(parts))?))
    }
}

/// `Option<Authenticated>` means what [`MaybeAuthenticated`] means: a bad token is refused, never taken for none.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Authenticated
where
    Verifier: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        let caller = Verifier::from_ref(state).guard_optional(&convert::head(parts))?;
        Ok(caller.map(|caller| Self(caller, PhantomData)))
    }
}

/// Guards routes: `.route_layer(require_role(&gatekey, "admin"))`. Handlers find the [`Caller`] in the request's extensions.
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
