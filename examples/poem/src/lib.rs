//! gatekey for poem 3: what `docs/adapters.md` tells, as a whole adapter.
//!
//! ```
//! # use example_poem::{Authenticated, Guard, install};
//! # use gatekey_core::{keys::{Algorithm, Keys}, store::memory::MemoryStore};
//! # use gatekey_http::{Gatekey, Requirement};
//! # use poem::{EndpointExt, Route, get, handler, http::StatusCode, test::TestClient};
//! #[handler]
//! async fn hello(user: Authenticated) -> String {
//!     format!("hello {}", user.username())
//! }
//!
//! # #[handler]
//! # async fn admin() {}
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gatekey = Gatekey::builder()
//!     .issuer("https://app.example.com")
//!     .keys(Keys::generate(Algorithm::EdDSA)?)
//!     .store(MemoryStore::new())
//!     .build()
//!     .await?;
//! let app = Route::new()
//!     .at("/hello", get(hello))
//!     .at("/admin", get(admin).with(Guard::new(&gatekey, Requirement::authenticated().role("admin"))));
//! let app = TestClient::new(install(app, &gatekey));
//! app.get("/hello").send().await.assert_status(StatusCode::UNAUTHORIZED);
//! app.get("/admin").send().await.assert_status(StatusCode::UNAUTHORIZED);
//! app.get("/auth/jwks.json").send().await.assert_status_is_ok();
//! # Ok(())
//! # }
//! ```
//!
//! **What poem does before us.** It answers HEAD by a route's GET. `Option<Authenticated>` takes a bad token for none, and
//! `Result<Authenticated>` hides the refusal: ask for [`MaybeAuthenticated`]. Where [`install`] was forgotten nothing can see it at the
//! start: an extractor then answers 500 and says in the log what to do.

use std::sync::Arc;

use gatekey_http::{
    Form, Gatekey, Head, METADATA_PATH, Page, Reply, Require, Requirement, Verifier, not_installed,
};
use poem::{
    Body, Endpoint, EndpointExt, Error, FromRequest, IntoResponse, Middleware, Request, RequestBody,
    Response, Result, Route,
};

/// An application with the endpoints beside its own routes, and its extractors told of the [`Gatekey`]. Paths under the
/// prefix are gatekey's alone.
pub fn install(app: Route, gatekey: &Gatekey) -> impl Endpoint + use<> {
    let prefix = gatekey.prefix();
    let endpoints = Arc::new(Endpoints(gatekey.clone()));
    app.at(prefix, Arc::clone(&endpoints))
        .at(format!("{prefix}/*rest"), Arc::clone(&endpoints))
        .at(METADATA_PATH, endpoints)
        .data(gatekey.verifier().clone())
        .with(Pages(gatekey.clone()))
}

/// Refreshes a navigation on the way, where pages without script are set.
struct Pages(Gatekey);

impl<E: Endpoint> Middleware<E> for Pages {
    type Output = Paged<E>;

    fn transform(&self, inner: E) -> Paged<E> {
        Paged { inner, gatekey: self.0.clone() }
    }
}

struct Paged<E> {
    inner: E,
    gatekey: Gatekey,
}

impl<E: Endpoint> Endpoint for Paged<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let page = self.gatekey.page(&head(&request)).await;
        Page::write(page.request(), request.headers_mut());
        // An error is answered here: its response has to have the fields too.
        let answer = self.inner.call(request).await;
        let mut response = answer.map_or_else(Error::into_response, IntoResponse::into_response);
        Page::write(page.response(), response.headers_mut());
        Ok(response)
    }
}

/// What an endpoint answers to a form that a route of the application took ([`Gatekey::submit`]).
pub async fn submit(gatekey: &Gatekey, request: &Request, form: Form) -> Reply {
    gatekey.submit(&head(request), form).await
}

struct Endpoints(Gatekey);

impl Endpoint for Endpoints {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let body = request.take_body();
        let head = head(&request);
        let body = gatekey_http::Body::read(&head, body.into_bytes_stream()).await;
        Ok(response(self.0.handle(head, body).await))
    }
}

// Translation: a request in, a reply out.

fn head(request: &Request) -> Head<'_> {
    // Not `original_uri`: a request of poem's `TestClient` has none.
    let uri = request.uri();
    Head {
        method: request.method().as_str(),
        path: uri.path(),
        query: uri.query(),
        headers: request.headers(),
        // Not `RealIp`: it believes what anyone writes into a header.
        peer: request.remote_addr().as_socket_addr().map(|peer| peer.ip()),
    }
}

fn response(reply: Reply) -> Response {
    let (head, body) = reply.into_parts();
    let mut response = Response::builder().status(head.status).body(Body::from_bytes(body));
    *response.headers_mut() = head.headers;
    response
}

// `Authenticated`, `WithRole`, `WithScope`, `FreshlyAuthenticated`, `MaybeAuthenticated`, and their `Rejection`.
gatekey_http::guard_types! {
    /// In poem `Option<Authenticated>` takes a bad token for none: ask for [`MaybeAuthenticated`] instead.
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::from_response(response(*rejection.0))
    }
}

fn installed(request: &Request) -> Result<&Verifier, Rejection> {
    let verifier = request.data::<Verifier>();
    Ok(verifier.ok_or_else(|| not_installed("serve what example_poem::install(app, &gatekey) returns"))?)
}

impl<'a, R: Require> FromRequest<'a> for Authenticated<R> {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        Ok(Self::judge(installed(request)?, &head(request))?)
    }
}

impl<'a> FromRequest<'a> for MaybeAuthenticated {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        Ok(Self::judge(installed(request)?, &head(request))?)
    }
}

// A guard around routes.

/// Guards a route or many: `.with(Guard::new(&gatekey, requirement))`. Handlers find the [`Caller`](gatekey_http::Caller) by `Data<&Caller>`.
#[derive(Clone, Debug)]
pub struct Guard {
    verifier: Verifier,
    requirement: Arc<Requirement>,
}

impl Guard {
    /// Lets pass what meets a requirement.
    #[must_use]
    pub fn new(verifier: impl Into<Verifier>, requirement: Requirement) -> Self {
        Self { verifier: verifier.into(), requirement: Arc::new(requirement) }
    }
}

impl<E: Endpoint> Middleware<E> for Guard {
    type Output = Guarded<E>;

    fn transform(&self, inner: E) -> Guarded<E> {
        Guarded { inner, guard: self.clone() }
    }
}

/// The endpoint of a [`Guard`].
#[derive(Debug)]
pub struct Guarded<E> {
    inner: E,
    guard: Guard,
}

impl<E: Endpoint> Endpoint for Guarded<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let Guard { verifier, requirement } = &self.guard;
        match verifier.guard(&head(&request), requirement) {
            Ok(caller) => request.set_data(caller),
            // An answer and not an error, so that middleware further out sees one like any other.
            Err(refusal) => return Ok(response(*refusal)),
        }
        self.inner.call(request).await.map(IntoResponse::into_response)
    }
}
