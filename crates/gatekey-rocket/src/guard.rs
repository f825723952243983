//! The guards of a handler's arguments, and how their refusals reach the client.
//!
//! A guard of Rocket can name a status but not a response. So the refusal is left in the request's cache, and the
//! fairing, which sees every response, writes it there.

use std::sync::{Mutex, PoisonError};

use gatekey_http::{Head, Reply, Require, ValidToken, Verifier, not_installed};
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

// `Authenticated`, `WithRole`, `WithScope`, `FreshlyAuthenticated`, `MaybeAuthenticated`, and their `Rejection`.
gatekey_http::guard_types! {
    /// In Rocket `Option<Authenticated>` takes a bad token for none, and a store that cannot answer too: ask for
    /// [`MaybeAuthenticated`] instead.
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
    judge: impl FnOnce(&Verifier, &Head<'_>) -> Result<T, Rejection>,
) -> request::Outcome<T, Rejection> {
    let fields = Fields(request.headers());
    let head = convert::head(request, &fields);
    let judged = match request.rocket().state::<Installed>() {
        Some(installed) => judge(&installed.0, &head),
        None => Err(not_installed("rocket.attach(gatekey_rocket::Fairing::new(gatekey))").into()),
    };
    let refuse = |refused: Rejection| Outcome::Error((leave(request, Reply::clone(&refused.0)), refused));
    judged.map_or_else(refuse, Outcome::Success)
}

#[rocket::async_trait]
impl<'r, R: Require> FromRequest<'r> for Authenticated<R> {
    type Error = Rejection;

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, Rejection> {
        ask(request, Self::judge)
    }
}

impl<R: Require> Sentinel for Authenticated<R> {
    fn abort(rocket: &Rocket<Ignite>) -> bool {
        rocket.state::<Installed>().is_none()
    }
}

#[rocket::async_trait]
impl<'r> FromRequest<'r> for MaybeAuthenticated {
    type Error = Rejection;

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, Rejection> {
        ask(request, Self::judge)
    }
}

impl Sentinel for MaybeAuthenticated {
    fn abort(rocket: &Rocket<Ignite>) -> bool {
        Authenticated::<ValidToken>::abort(rocket)
    }
}
