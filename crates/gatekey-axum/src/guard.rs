//! The guards: extractors for a handler's arguments, and a layer for routes.

use std::{
    convert::Infallible,
    marker::PhantomData,
    ops::Deref,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{FromRef, FromRequestParts, OptionalFromRequestParts, Request},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use gatekey_http::{Caller, Gatekey, Reply, Requirement, Role, Scope};
use tower_layer::Layer;
use tower_service::Service;

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
        convert::reply(*self.0)
    }
}

fn guard<S>(parts: &Parts, state: &S, requirement: &Requirement) -> Result<Caller, Rejection>
where
    Gatekey: FromRef<S>,
{
    Ok(Gatekey::from_ref(state).guard(&convert::head(parts), requirement)?)
}

macro_rules! extractor {
    ($(#[$doc:meta])* $name:ident $(<$param:ident: $bound:ident>)?, $requirement:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name $(<$param: $bound>)? (Caller, PhantomData<fn() -> ($($param,)?)>);

        impl<$($param: $bound,)? S: Send + Sync> FromRequestParts<S> for $name $(<$param>)?
        where
            Gatekey: FromRef<S>,
        {
            type Rejection = Rejection;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
                guard(parts, state, &$requirement).map(|caller| Self(caller, PhantomData))
            }
        }

        impl $(<$param: $bound>)? Deref for $name $(<$param>)? {
            type Target = Caller;

            fn deref(&self) -> &Caller {
                &self.0
            }
        }
    };
}

extractor! {
    /// Who calls: a valid access token is required.
    Authenticated, Requirement::authenticated()
}

extractor! {
    /// Who calls, with a role.
    WithRole<R: Role>, Requirement::authenticated().role(R::NAME)
}

extractor! {
    /// Who calls, with a scope.
    WithScope<T: Scope>, Requirement::authenticated().scope(T::NAME)
}

/// Who calls, having proved its password at most `SECS` seconds ago (RFC 9470).
#[derive(Clone, Debug)]
pub struct FreshlyAuthenticated<const SECS: u64 = 300>(Caller);

impl<const SECS: u64, S: Send + Sync> FromRequestParts<S> for FreshlyAuthenticated<SECS>
where
    Gatekey: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let requirement = Requirement::authenticated().max_age(Duration::from_secs(SECS));
        guard(parts, state, &requirement).map(Self)
    }
}

impl<const SECS: u64> Deref for FreshlyAuthenticated<SECS> {
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
    Gatekey: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        Ok(Self(Gatekey::from_ref(state).guard_optional(&convert::head(parts))?))
    }
}

/// `Option<Authenticated>` means what [`MaybeAuthenticated`] means: a bad token is refused, never taken for none.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Authenticated
where
    Gatekey: FromRef<S>,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        let caller = Gatekey::from_ref(state).guard_optional(&convert::head(parts))?;
        Ok(caller.map(|caller| Self(caller, PhantomData)))
    }
}

/// Guards routes: `.route_layer(require_role(&gatekey, "admin"))`.
#[derive(Clone, Debug)]
pub struct GuardLayer {
    gatekey: Gatekey,
    requirement: Arc<Requirement>,
}

/// A layer that asks for everything a [`Requirement`] says.
#[must_use]
pub fn require(gatekey: &Gatekey, requirement: Requirement) -> GuardLayer {
    GuardLayer { gatekey: gatekey.clone(), requirement: Arc::new(requirement) }
}

/// A layer that asks for a valid access token.
#[must_use]
pub fn require_login(gatekey: &Gatekey) -> GuardLayer {
    require(gatekey, Requirement::authenticated())
}

/// A layer that asks for a role.
#[must_use]
pub fn require_role(gatekey: &Gatekey, role: &str) -> GuardLayer {
    require(gatekey, Requirement::authenticated().role(role))
}

/// A layer that asks for a scope, or several separated by spaces.
#[must_use]
pub fn require_scope(gatekey: &Gatekey, scope: &str) -> GuardLayer {
    require(gatekey, Requirement::authenticated().scope(scope))
}

/// A layer that asks for a login at most `max_age` ago (RFC 9470).
#[must_use]
pub fn require_fresh(gatekey: &Gatekey, max_age: Duration) -> GuardLayer {
    require(gatekey, Requirement::authenticated().max_age(max_age))
}

impl<I> Layer<I> for GuardLayer {
    type Service = Guard<I>;

    fn layer(&self, inner: I) -> Guard<I> {
        Guard { inner, layer: self.clone() }
    }
}

/// The service of a [`GuardLayer`].
#[derive(Clone, Debug)]
pub struct Guard<I> {
    inner: I,
    layer: GuardLayer,
}

impl<I> Service<Request> for Guard<I>
where
    I: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    I::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (parts, body) = request.into_parts();
        match self.layer.gatekey.guard(&convert::head(&parts), &self.layer.requirement) {
            Ok(_) => Box::pin(self.inner.call(Request::from_parts(parts, body))),
            Err(reply) => {
                let response = convert::reply(*reply);
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}
