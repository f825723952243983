//! gatekey for Rocket 0.5: translates, and decides nothing.
//!
//! - [`Fairing`] mounts the endpoints and writes the refusals of the guards. Without it a guarded route does not launch.
//! - [`Authenticated`] in a handler's arguments asks for an access token, [`MaybeAuthenticated`] takes one if there is
//!   one, [`WithRole`], [`WithScope`] and [`FreshlyAuthenticated`] ask for more.
//! - Where pages without script are set ([`gatekey_http::Pages`]) the fairing refreshes navigations; [`submit`] takes their
//!   forms.
//!
//! A refusal is a whole answer, the same from every adapter:
//!
//! ```
//! # use gatekey_core::{keys::{Algorithm, Keys}, store::memory::MemoryStore, secret::Secret, session::Client as From};
//! # use gatekey_http::{Gatekey, Role};
//! # use gatekey_rocket::{Authenticated, Fairing, WithRole};
//! # use rocket::{get, http::{Header, Status}, local::asynchronous::Client, routes};
//! struct Admin;
//!
//! impl Role for Admin {
//!     const NAME: &'static str = "admin";
//! }
//!
//! #[get("/me")]
//! fn me(user: Authenticated) -> String {
//!     format!("hello {}", user.username())
//! }
//!
//! #[get("/admin")]
//! fn admin(user: WithRole<Admin>) -> String {
//!     format!("hello {}", user.username())
//! }
//!
//! # #[rocket::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gatekey = Gatekey::builder()
//!     .issuer("https://app.example.com")
//!     .keys(Keys::generate(Algorithm::EdDSA)?)
//!     .store(MemoryStore::new())
//!     .build()
//!     .await?;
//! let app = rocket::build().mount("/", routes![me, admin]).attach(Fairing::new(gatekey.clone()));
//!
//! let client = Client::untracked(app).await?;
//! let refused = client.get("/me").dispatch().await;
//! assert_eq!(refused.status(), Status::Unauthorized);
//! assert_eq!(refused.headers().get_one("www-authenticate"), Some("Bearer realm=\"gatekey\""));
//!
//! let nobody = From::default();
//! gatekey.register("alice", Secret::new("a long enough pass phrase".into()), &nobody).await?;
//! let tokens = gatekey.login("alice", Secret::new("a long enough pass phrase".into()), &nobody, None).await?;
//! let bearer = Header::new("authorization", format!("Bearer {}", tokens.access.expose()));
//! assert_eq!(client.get("/me").header(bearer.clone()).dispatch().await.status(), Status::Ok);
//! assert_eq!(client.get("/admin").header(bearer).dispatch().await.status(), Status::Forbidden);
//! # Ok(())
//! # }
//! ```
//!
//! **Catchers.** A refusal is written over what a catcher of the host answers with the same status, so clients see one form of
//! error on guarded routes; a catcher that answers another status (a redirect to a page for logging in, say) is left alone, and
//! so are all answers to requests that gatekey did not refuse.
//!
//! **Deployment.** The client's address is the socket's peer; `client_ip()` and its header are not asked.
//!
//! **What Rocket does before and after us.**
//!
//! - It drops header values that are not UTF-8: a credential in such a field is none.
//! - It waits for the first bytes of every body, so a body that is announced and never comes is answered by nobody.
//! - It takes a POST whose form begins with `_method=…` for that method. Endpoints, guards and pages go by the
//!   POST that it was (and a DELETE of an endpoint that carries the form `_method=delete` is therefore refused, 405); a
//!   POST route of the host does not see such a form.
//! - A method it does not know is answered 400 without routes and fairings; at the endpoints a catcher answers as for any
//!   other wrong method.
//! - Its Shield adds header fields of its own.
//! - When it is told to shut down in the moment in which somebody connects, Rocket 0.5.2 may return from `launch` at once with
//!   `ErrorKind::Shutdown`, and requests under way end with the program: wait for those, or let clients repeat them.

mod convert;
mod guard;

use gatekey_http::{Form, Gatekey, Head, METADATA_PATH, Page, Reply, Verifier};
pub use guard::{Authenticated, FreshlyAuthenticated, MaybeAuthenticated, Rejection, WithRole, WithScope};
use guard::{Installed, leave, write_left};
use rocket::{
    Build, Catcher, Data, Request, Response, Rocket, Route, catcher,
    fairing::{self, Info, Kind},
    http::{Method, Status},
    outcome::Outcome,
    route,
};

/// Makes a [`Verifier`] known to the guards and writes their refusals; with a [`Gatekey`] also mounts the endpoints.
#[derive(Clone, Debug)]
pub struct Fairing {
    verifier: Verifier,
    /// Whose endpoints are mounted.
    endpoints: Option<Gatekey>,
}

impl Fairing {
    /// For [`Rocket::attach`]. Paths under the prefix are gatekey's alone.
    #[must_use]
    pub fn new(gatekey: Gatekey) -> Self {
        Self { verifier: gatekey.verifier().clone(), endpoints: Some(gatekey) }
    }

    /// For an application that only verifies: guards, and no endpoints.
    #[must_use]
    pub fn verifying(verifier: Verifier) -> Self {
        Self { verifier, endpoints: None }
    }
}

#[rocket::async_trait]
impl fairing::Fairing for Fairing {
    fn info(&self) -> Info {
        Info { name: "gatekey", kind: Kind::Ignite | Kind::Request | Kind::Response | Kind::Singleton }
    }

    async fn on_ignite(&self, rocket: Rocket<Build>) -> fairing::Result {
        let rocket = rocket.manage(Installed(self.verifier.clone()));
        let Some(gatekey) = &self.endpoints else { return Ok(rocket) };
        let routes =
            |path| METHODS.map(|method| Route::ranked(RANK, method, path, Endpoint(gatekey.clone())));
        // The router knows nine methods. Rocket answers the others itself, without routes and fairings, by this catcher.
        let catcher = || vec![Catcher::new(Status::BadRequest.code, Endpoint(gatekey.clone()))];
        let prefix = gatekey.prefix().to_owned();
        Ok(rocket
            .mount(prefix.clone(), routes("/<_..>"))
            .mount(METADATA_PATH, routes("/"))
            .register(prefix, catcher())
            .register(METADATA_PATH, catcher()))
    }

    async fn on_request(&self, request: &mut Request<'_>, data: &mut Data<'_>) {
        let method = convert::sent_method(request, data).await;
        request.local_cache(|| convert::Sent(method));
        let Some(gatekey) = &self.endpoints else { return };
        let page = {
            let fields = convert::Fields(request.headers());
            gatekey.page(&convert::head(request, &fields)).await
        };
        for field in convert::headers(page.request()) {
            request.replace_header(field);
        }
        request.local_cache(|| Seen(page));
    }

    async fn on_response<'r>(&self, request: &'r Request<'_>, response: &mut Response<'r>) {
        write_left(request, response);
        let seen = request.local_cache(|| Seen(Page::default()));
        convert::write_fields(seen.0.response(), response);
    }
}

/// What a navigation that was looked at means for its response.
struct Seen(Page);

/// What an endpoint answers to a form that a route of the application took ([`Gatekey::submit`]). A handler
/// of Rocket does not see the request, so a guard of the application calls this. A [`Rejection`] that is made from the
/// answer is a response.
pub async fn submit(gatekey: &Gatekey, request: &Request<'_>, form: Form) -> Reply {
    let fields = convert::Fields(request.headers());
    gatekey.submit(&convert::head(request, &fields), form).await
}

/// Before the host's own routes: no catch-all of theirs stands in front of ours.
const RANK: isize = -30;

const METHODS: [Method; 9] = {
    use Method::{Connect, Delete, Get, Head, Options, Patch, Post, Put, Trace};
    [Get, Put, Post, Delete, Options, Head, Trace, Connect, Patch]
};

#[derive(Clone)]
struct Endpoint(Gatekey);

#[rocket::async_trait]
impl route::Handler for Endpoint {
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> route::Outcome<'r> {
        // Rocket's router takes a path with a slash at its end for the one without.
        if !self.0.serves(request.uri().path().as_str()) {
            return Outcome::Forward((data, Status::NotFound));
        }
        let fields = convert::Fields(request.headers());
        let head = convert::head(request, &fields);
        let body = convert::body(&head, data).await;
        // Left to the fairing as a refusal is: Rocket's Shield complains of a response that is protected already.
        let status = leave(request, self.0.handle(head, body).await);
        Outcome::Success(Response::build().status(status).finalize())
    }
}

#[rocket::async_trait]
impl catcher::Handler for Endpoint {
    async fn handle<'r>(&self, _: Status, request: &'r Request<'_>) -> catcher::Result<'r> {
        let fields = convert::Fields(request.headers());
        // The method is not told; that it is none of those we take is.
        let head = Head { method: "", ..convert::head(request, &fields) };
        let mut response = Response::new();
        convert::write(self.0.handle(head, gatekey_http::Body::Broken).await, &mut response);
        Ok(response)
    }
}

#[cfg(test)]
mod tests;
