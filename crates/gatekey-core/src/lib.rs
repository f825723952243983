//! The core of gatekey: tokens, keys, passwords, sessions, rotation, limits. No HTTP, no SQL, no clock of its own.
//!
//! Applications depend on the `gatekey` crate; this one is for those who write a store, an adapter, or want the
//! decisions without the HTTP. Read [`Authority`] first, then [`rotation`], then [`store`].

pub mod access;
mod authority;
pub mod config;
pub mod error;
pub mod event;
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

pub use authority::{Authority, AuthorityBuilder, Gate, Tokens};
