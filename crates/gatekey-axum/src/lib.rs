//! gatekey for axum 0.8: translates, and decides nothing.
//!
//! - [`routes`] mounts the endpoints; [`serve`] serves an application so that the client's address is known.
//! - [`Authenticated`] in a handler's arguments asks for an access token, [`MaybeAuthenticated`] takes one if there is
//!   one, [`WithRole`], [`WithScope`] and [`FreshlyAuthenticated`] ask for more. They need no middleware: the state is a
//!   [`Gatekey`] or a [`Verifier`](gatekey_http::Verifier), or any `S` where one of them is `FromRef<S>`; where it is not,
//!   the program does not compile.
//! - [`pages`] mounts the endpoints and refreshes navigations to pages without script; [`submit`] takes their forms.
//! - [`require_role`], [`require_scope`], [`require_fresh`] and [`require_login`] guard routes as a layer.
//!
//! A refusal is a whole answer, the same from every adapter:
//!
//! ```
//! # use axum::{Router, body::Body, http::{Request, StatusCode}, routing::get};
//! # use gatekey_axum::{Authenticated, routes};
//! # use gatekey_core::{keys::{Algorithm, Keys}, store::memory::MemoryStore, secret::Secret, session::Client};
//! # use gatekey_http::Gatekey;
//! # use tower::ServiceExt;
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gatekey = Gatekey::builder()
//!     .issuer("https://app.example.com")
//!     .keys(Keys::generate(Algorithm::EdDSA)?)
//!     .store(MemoryStore::new())
//!     .build()
//!     .await?;
//! let app = Router::new()
//!     .route("/me", get(async |user: Authenticated| format!("hello {}", user.username())))
//!     .merge(routes(&gatekey))
//!     .with_state(gatekey.clone());
//!
//! let refused = app.clone().oneshot(Request::get("/me").body(Body::empty())?).await?;
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"gatekey\"");
//!
//! let nobody = Client::default();
//! gatekey.register("alice", Secret::new("a long enough pass phrase".into()), &nobody).await?;
//! let tokens = gatekey.login("alice", Secret::new("a long enough pass phrase".into()), &nobody, None).await?;
//! let bearer = format!("Bearer {}", tokens.access.expose());
//! let accepted = app.oneshot(Request::get("/me").header("authorization", bearer).body(Body::empty())?).await?;
//! assert_eq!(accepted.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! A state without a gatekey in it is an error of the compiler:
//!
//! ```compile_fail,E0277
//! # use axum::{Router, routing::get};
//! # use gatekey_axum::Authenticated;
//! #[derive(Clone)]
//! struct App;
//!
//! let app: Router = Router::new()
//!     .route("/me", get(async |user: Authenticated| format!("hello {}", user.username())))
//!     .with_state(App);
//! ```
//!
//! **Deployment.** axum does not know a client's address unless the application is served with connect info, as [`serve`]
//! does. Without it sessions show no address and limits by network are off; an `address_unknown` event says so.

mod convert;
mod guard;

use std::net::SocketAddr;

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State, connect_info::IntoMakeServiceWithConnectInfo},
    http::request::Parts,
    middleware::{AddExtension, Next, from_fn_with_state},
    response::Response,
    routing::any,
    serve::Serve,
};
use gatekey_http::{Form, Gatekey, METADATA_PATH, Page, Reply};
pub use guard::{
    Authenticated, FreshlyAuthenticated, GuardLayer, MaybeAuthenticated, Rejection, WithRole, WithScope,
    require, require_fresh, require_login, require_role, require_scope,
};
use tokio::net::TcpListener;

/// The endpoints: everything under the prefix, and the metadata at the root. Merge them into the application's router;
/// paths under the prefix are gatekey's alone.
///
/// # Panics
///
/// If pages without script are set: [`pages`] mounts both.
pub fn routes<S: Clone + Send + Sync + 'static>(gatekey: &Gatekey) -> Router<S> {
    gatekey.expect_pages("gatekey_axum::pages(&gatekey, router) mounts the endpoints too");
    let prefix = gatekey.prefix();
    let gatekey = gatekey.clone();
    let endpoint = any(move |request: Request| async move {
        let peer = convert::peer(request.extensions());
        gatekey_tower::handle::<_, Body>(&gatekey, request, peer).await
    });
    Router::new()
        .route(prefix, endpoint.clone())
        .route(&format!("{prefix}/"), endpoint.clone())
        .route(&format!("{prefix}/{{*rest}}"), endpoint.clone())
        .route(METADATA_PATH, endpoint)
}

/// An application of pages without script ([`gatekey_http::Pages`]): the endpoints are merged in, and a navigation to any
/// route that is there already is refreshed on the way. Routes that are added later are not.
pub fn pages<S: Clone + Send + Sync + 'static>(gatekey: &Gatekey, router: Router<S>) -> Router<S> {
    gatekey.mount_pages();
    router.merge(routes(gatekey)).layer(from_fn_with_state(gatekey.clone(), page))
}

async fn page(State(gatekey): State<Gatekey>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let page = gatekey.page(&convert::head(&parts)).await;
    Page::write(page.request(), &mut parts.headers);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    Page::write(page.response(), response.headers_mut());
    response
}

/// What an endpoint answers to a form that a route of the application took ([`Gatekey::submit`]).
pub async fn submit(gatekey: &Gatekey, parts: &Parts, form: Form) -> Reply {
    gatekey.submit(&convert::head(parts), form).await
}

/// Serves an application so that the client's address is known: [`axum::serve`](fn@axum::serve) with connect info.
pub fn serve(
    listener: TcpListener,
    app: Router,
) -> Serve<
    TcpListener,
    IntoMakeServiceWithConnectInfo<Router, SocketAddr>,
    AddExtension<Router, ConnectInfo<SocketAddr>>,
> {
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
}

#[cfg(test)]
mod tests;
