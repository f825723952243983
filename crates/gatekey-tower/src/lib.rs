//! gatekey for any tower stack, hyper and tonic among them: translates, and decides nothing.
//!
//! - [`GuardLayer`] guards a service and puts the [`Caller`](gatekey_http::Caller) into the request's extensions.
//! - [`handle`] answers the endpoints: what [`Gatekey::serves`] goes there.
//! - [`head`] shows a request to what is asked outside of both: [`Gatekey::page`] and [`Gatekey::submit`], where pages
//!   without script are set ([`gatekey_http::Pages`]).
//! - [`GuardLayer::grpc`] and [`grpc`] say a refusal to a gRPC client.
//!
//! A refusal is a whole answer, the same from every adapter:
//!
//! ```
//! # use bytes::Bytes;
//! # use gatekey_core::{keys::{Algorithm, Keys}, secret::Secret, session::Client, store::memory::MemoryStore};
//! # use http::{Request, Response, StatusCode};
//! # use std::{convert::Infallible, net::SocketAddr};
//! # use tower::{Layer, ServiceExt, service_fn};
//! use gatekey_http::{Caller, Gatekey, Requirement};
//! use gatekey_tower::GuardLayer;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gatekey = Gatekey::builder()
//!     .issuer("https://app.example.com")
//!     .keys(Keys::generate(Algorithm::EdDSA)?)
//!     .store(MemoryStore::new())
//!     .build()
//!     .await?;
//! let hello = service_fn(async |request: Request<()>| {
//!     let name = request.extensions().get::<Caller>().map_or("nobody", |caller| caller.username());
//!     Ok::<_, Infallible>(Response::new(Bytes::from(format!("hello {name}"))))
//! });
//! let peer = |extensions: &http::Extensions| extensions.get::<SocketAddr>().map(SocketAddr::ip);
//! let guarded = GuardLayer::new(&gatekey, Requirement::authenticated(), peer).layer(hello);
//!
//! let refused = guarded.clone().oneshot(Request::get("/hello").body(())?).await?;
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"gatekey\"");
//!
//! let nobody = Client::default();
//! gatekey.register("alice", Secret::new("a long enough pass phrase".into()), &nobody).await?;
//! let tokens = gatekey.login("alice", Secret::new("a long enough pass phrase".into()), &nobody, None).await?;
//! let bearer = format!("Bearer {}", tokens.access.expose());
//! let accepted = guarded.oneshot(Request::get("/hello").header("authorization", bearer).body(())?).await?;
//! assert_eq!(accepted.body(), "hello alice");
//! # Ok(())
//! # }
//! ```
//!
//! **Deployment.** Each server puts the peer's address elsewhere (axum in `ConnectInfo`, tonic in `TcpConnectInfo`, a hyper
//! server where its author likes), so the layer asks for a function that finds it. Where it finds none, events do not say who
//! was refused.

mod convert;
mod guard;

use std::{error::Error, net::IpAddr};

use bytes::Bytes;
pub use convert::head;
use gatekey_http::Gatekey;
pub use gatekey_http::grpc;
pub use guard::{Guard, GuardFuture, GuardLayer, Peer};
use http::{Request, Response};

/// Answers a request to one of the endpoints, or to anything else under the prefix. `peer` is the address of the socket, not
/// what a header says.
///
/// At most [`gatekey_http::MAX_BODY`] bytes of the body are read.
pub async fn handle<A, B>(gatekey: &Gatekey, request: Request<A>, peer: Option<IpAddr>) -> Response<B>
where
    A: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>>,
    B: From<Bytes>,
{
    let (parts, body) = request.into_parts();
    let body = convert::body(body).await;
    gatekey.handle(head(&parts, peer), body).await.map(B::from)
}

#[cfg(test)]
mod tests;
