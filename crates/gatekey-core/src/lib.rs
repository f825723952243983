//! The core of gatekey: tokens, keys, passwords, sessions, rotation, limits. No HTTP, no SQL, no clock of its own.
//!
//! Applications depend on the `gatekey` crate; this one is for those who write a store, an adapter, or want the
//! decisions without the HTTP. Read [`Authority`] first, then [`rotation`], then [`store`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use gatekey_core::{
//!     Authority,
//!     error::{AuthError, TokenError},
//!     keys::{Algorithm, Keys},
//!     rotation::Policy,
//!     secret::Secret,
//!     session::Client,
//!     store::memory::MemoryStore,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(MemoryStore::new());
//! let mut builder = Authority::builder();
//! builder.config_mut().issuer = "https://app.example.com".to_owned();
//! builder.config_mut().rotation = Policy::STRICT; // every repeat is reuse; by default, one after ten seconds
//! builder.keys(Keys::generate(Algorithm::EdDSA)?);
//! builder.sessions(store.clone());
//! builder.users(store);
//! let authority = builder.build().await?;
//!
//! let client = Client::new(Some([192, 0, 2, 7].into()), Some("curl/8.5"));
//! let password = || Secret::new("a long enough pass phrase".to_owned());
//! let alice = authority.register("alice", password(), &client).await?;
//!
//! // Logging in opens a session, and its access token says who is asking.
//! let first = authority.login("alice", password(), &client, None).await?;
//! assert_eq!(authority.authenticate(first.access.expose())?.subject(), &alice.id);
//!
//! // A refresh swaps the refresh token. The one that was swapped is used up.
//! let second = authority.refresh(first.refresh.expose(), None, &client).await?;
//! let reuse = authority.refresh(first.refresh.expose(), None, &client).await;
//! assert!(matches!(reuse, Err(AuthError::InvalidGrant(_))));
//!
//! // Two parties hold it, and we cannot tell which is honest: the session is over for both, access tokens included.
//! assert!(authority.refresh(second.refresh.expose(), None, &client).await.is_err());
//! let dead = authority.authenticate(second.access.expose());
//! assert!(matches!(dead, Err(AuthError::InvalidToken(TokenError::Revoked))));
//! # Ok(())
//! # }
//! ```
//!
//! # What it decides
//!
//! 1. **A fault denies.** Where a store, the clock or the random generator fails, a call ends in an error that grants
//!    nothing; [`error::AuthError::Unavailable`] says that the same call may succeed later.
//! 2. **Inputs are arguments.** Time ([`time::Clock`]), randomness ([`random::Random`]) and storage ([`store`]) are
//!    handed in, so that every outcome is a function of what a test can set.
//! 3. **The race is settled where the data is**: a store's methods are atomic, and [`rotation::advance`] is a pure
//!    function that a store calls inside its transaction.
//! 4. **A guarded request does no I/O**: [`Authority::authenticate`] verifies a signature and looks into the list of
//!    [revoked sessions](revocation) in memory.
//! 5. **Refusals say little outside and much inside**: [`error`] keeps the two apart, [`event`] tells operators.
//!
//! # Deployment
//!
//! - [`AuthorityBuilder::build`] starts two tasks on the tokio runtime it is called on: one hears what other nodes
//!   revoked, one removes what has expired. Both end with the last clone of the authority.
//! - Nodes that share a store need clocks that agree within [`config::Config::leeway`] (30 s), and the same [`keys`].
//! - Signatures go through `jsonwebtoken` without reading or installing its process-wide provider, so an application's
//!   own use of that crate is untouched.
//!
//! The feature `import` verifies bcrypt, scrypt and PBKDF2 hashes of imported accounts ([`password`]).

pub mod access;
mod authority;
mod cache;
pub mod config;
pub mod error;
pub mod event;
#[cfg(test)]
mod fixtures;
pub mod introspection;
pub mod json;
mod jws;
pub mod keys;
pub mod limit;
pub mod password;
pub mod random;
mod refresh;
pub mod revocation;
pub mod rotation;
pub mod secret;
pub mod session;
pub mod store;
pub mod time;
pub mod user;
pub mod verifier;

/// For implementations of the traits here: they are dyn, so their methods are boxed.
pub use async_trait::async_trait;
pub use authority::{Authority, AuthorityBuilder, Gate, Tokens};
pub use verifier::{TokenVerifier, TokenVerifierBuilder};
