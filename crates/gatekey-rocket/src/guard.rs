//! The guards of a handler's arguments, and how their refusals reach the client.
//!
//! A guard of Rocket can name a status but not a response. So the refusal is left in the request's cache, and the
//! fairing, which sees every response, writes it there.

use std::{
    marker::PhantomData,
    ops::Deref,
    sync::{Mutex, PoisonError},
};

use gatekey_http::{
    Caller, FRESH_SECS, FreshLogin, HasRole, HasScope, Head, Reply, Require, ValidToken, Verifier,
    not_installed,
};
use rocket::{
    Ignite, Request, Response, Rocket, Sentinel,
    http::Status,
    outcome::Outcome,
    request::{self, FromRequest},
    response::{self, Responder},
};

use crate::convert::{self, Fields};

/// The fairing's word that it is attached.
pub(crate) struct Installed(pub(crate) Verifier);

/// What the fairing is to write.
#[derive(Default)]
struct Pending(Mutex<Option<Reply>>);

fn replace(request: &Request<'_>, reply: Option<Reply>) -> Option<Reply> {
    let pending = request.local_cache(Pending::default);
    std::mem::replace(&mut *pending.0.lock().unwrap_or_else(PoisonError::into_inner), reply)
}

/// Has the fairing write a reply into the response to a request, if that has its status.
pub(crate) fn leave(request: &Request<'_>, reply: Reply) -> Status {
    let status = convert::status(&reply);
    replace(request, Some(reply));
    status
}

/// Writes what was left.
pub(crate) fn write_left(request: &Request<'_>, response: &mut Response<'_>) {
    // Another status: a handler or a catcher of the host has dealt with the refusal in its own way.
    if let Some(reply) = replace(request, None).filter(|reply| convert::status(reply) == response.status()) {
        convert::write(reply, response);
    }
}

/// A refusal: a whole answer, ready to be sent. A handler may return it.
#[derive(Debug)]
pub struct Rejection(Box<Reply>);

impl From<Box<Reply>> for Rejection {
    fn from(reply: Box<Reply>) -> Self {
        Self(reply)
    }
}

impl<'r> Responder<'r, 'static> for Rejection {
    fn respond_to(self, _: &'r Request<'_>) -> response::Result<'static> {
        let mut response = Response::new();
        convert::write(*self.0, &mut response);
        Ok(response)
    }
}

/// Asks the fairing's verifier, and leaves a refusal to the fairing.
fn ask<T>(
    request: &Request<'_>,
    question: impl FnOnce(&Verifier, &Head<'_>) -> Result<T, Box<Reply>>,
) -> request::Outcome<T, Rejection> {
    let fields = Fields(request.headers());
    let head = convert::head(request, request.method().as_str(), &fields);
    let installed = request.rocket().state::<Installed>();
    let answer = installed
        .ok_or_else(|| not_installed("rocket.attach(gatekey_rocket::Fairing::new(gatekey))"))
        .and_then(|installed| question(&installed.0, &head));
    let refuse = |reply: Box<Reply>| Outcome::Error((leave(request, Reply::clone(&reply)), Rejection(reply)));
    answer.map_or_else(refuse, Outcome::Success)
}

/// Who calls: a valid access token is required, and whatever else `R` asks for.
///
/// In Rocket `Option<Authenticated>` takes a bad token for none, and a store that cannot answer too: ask for
/// [`MaybeAuthenticated`] instead.
#[derive(Clone, Debug)]
pub struct Authenticated<R: Require = ValidToken>(Caller, PhantomData<fn() -> R>);

/// Who calls, with a role.
pub type WithRole<R> = Authenticated<HasRole<R>>;

/// Who calls, with a scope.
pub type WithScope<S> = Authenticated<HasScope<S>>;

/// Who calls, having proved its password at most `SECS` seconds ago (RFC 9470).
pub type FreshlyAuthenticated<const SECS: u64 = FRESH_SECS> = Authenticated<FreshLogin<SECS>>;

#[rocket::async_trait]
impl<'r, R: Require> FromRequest<'r> for Authenticated<R> {
    type Error = Rejection;

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, Rejection> {
        ask(request, |verifier, head| verifier.guard(head, &R::requirement()))
            .map(|caller| Self(caller, PhantomData))
    }
}

impl<R: Require> Sentinel for Authenticated<R> {
    fn abort(rocket: &Rocket<Ignite>) -> bool {
        rocket.state::<Installed>().is_none()
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

#[rocket::async_trait]
impl<'r> FromRequest<'r> for MaybeAuthenticated {
    type Error = Rejection;

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, Rejection> {
        ask(request, Verifier::guard_optional).map(Self)
    }
}

impl Sentinel for MaybeAuthenticated {
    fn abort(rocket: &Rocket<Ignite>) -> bool {
        Authenticated::<ValidToken>::abort(rocket)
    }
}
