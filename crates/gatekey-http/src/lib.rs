//! The HTTP meaning of gatekey, on the types of the `http` crate and for any framework.
//!
//! An adapter shows a request as a [`Head`] and a [`Body`], calls [`Gatekey::handle`] for the endpoints or
//! [`Gatekey::guard`] for a route of the host's own, and sends the [`Reply`]. It decides nothing itself: every status,
//! header, cookie and byte of a body is decided here, so that every adapter answers the same.
//!
//! ```
//! use bytes::Bytes;
//! use gatekey_core::{keys::{Algorithm, Keys}, store::memory::MemoryStore};
//! use gatekey_http::{Body, Gatekey, Head, Requirement};
//! use http::{HeaderMap, StatusCode};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gatekey = Gatekey::builder()
//!     .issuer("https://app.example.com")
//!     .keys(Keys::generate(Algorithm::EdDSA)?)
//!     .store(MemoryStore::new())
//!     .build()
//!     .await?;
//!
//! // Endpoints: everything under the prefix goes to `handle`, and what comes back is a whole answer.
//! let mut json = HeaderMap::new();
//! json.insert("content-type", "application/json".parse()?);
//! let post = |path| Head { method: "POST", path, query: None, headers: &json, peer: Some([192, 0, 2, 7].into()) };
//! let account = || Body::Complete(Bytes::from(r#"{"username":"alice","password":"a long enough pass phrase"}"#));
//! assert_eq!(gatekey.handle(post("/auth/register"), account()).await.status(), StatusCode::CREATED);
//! let tokens: serde_json::Value =
//!     serde_json::from_slice(gatekey.handle(post("/auth/login"), account()).await.body())?;
//!
//! // A route of the host's own: without a credential `guard` has the refusal ready.
//! fn get(headers: &HeaderMap) -> Head<'_> {
//!     Head { method: "GET", path: "/notes", query: None, headers, peer: None }
//! }
//! let mut headers = HeaderMap::new();
//! let refused = gatekey.guard(&get(&headers), &Requirement::authenticated()).unwrap_err();
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"gatekey\"");
//!
//! // With one it says who calls.
//! let token = tokens["access_token"].as_str().unwrap_or_default();
//! headers.insert("authorization", format!("Bearer {token}").parse()?);
//! let caller = gatekey.guard(&get(&headers), &Requirement::authenticated()).expect("a good token");
//! assert_eq!(caller.username(), "alice");
//! # Ok(())
//! # }
//! ```
//!
//! # What an adapter does
//!
//! 1. It shows the method, the path and the query as they came, nothing decoded, and every header field, also those
//!    that stand twice ([`Headers`]).
//! 2. It names the socket's peer, and no address that a header claims: [`GatekeyBuilder::trusted_proxy`] settles that
//!    here.
//! 3. It reads at most [`MAX_BODY`] bytes of a body and says if there are more ([`Body::read`]).
//! 4. It passes on a [`Reply`] whole: two Set-Cookie fields stay two.
//! 5. Its guards for a handler's signature are [`guard_types!`]: it only tells its framework of them.
//!
//! # Deployment
//!
//! - [`GatekeyBuilder::issuer`] is what the address bar shows, not what the server listens on; behind a proxy the rule
//!   of origins depends on it.
//! - Without a peer ([`Head::peer`]) sessions show no address and limits by network are off; an `address_unknown` event
//!   says so.

mod address;
#[cfg(feature = "axum")]
mod axum;
mod body;
mod cookie;
mod csrf;
mod document;
mod endpoints;
mod form;
mod grpc;
mod guard;
mod guard_types;
mod head;
pub mod js;
mod pages;
mod reply;
mod require;
mod return_to;
mod site;
mod verifier;

pub use address::ForwardedField;
pub use body::{Body, MAX_BODY};
pub use endpoints::METADATA_PATH;
pub use form::Form;
pub use grpc::grpc;
pub use guard::{Caller, Requirement, not_installed};
pub use head::{Head, Headers};
pub use pages::{Page, PageFields, Pages};
pub use reply::{Reply, is_added};
pub use require::{FRESH_SECS, FreshLogin, HasRole, HasScope, Require, Role, Scope, ValidToken};
pub use return_to::{LeavesTheSite, ReturnTo};
pub use site::{Gatekey, GatekeyBuilder};
pub use verifier::{Verifier, VerifierBuilder};
