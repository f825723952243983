//! The HTTP meaning of gatekey, on the types of the `http` crate and for any framework.
//!
//! An adapter shows a request as a [`Head`] and a [`Body`], calls [`Gatekey::handle`] for the endpoints or
//! [`Gatekey::guard`] for a route of the host's own, and sends the [`Reply`]. It decides nothing itself: every status,
//! header, cookie and byte of a body is decided here, so that every adapter answers the same.

mod address;
mod body;
mod cookie;
mod csrf;
mod document;
mod endpoints;
mod guard;
mod head;
mod reply;
mod site;

pub use address::ForwardedField;
pub use body::{Body, MAX_BODY};
pub use endpoints::METADATA_PATH;
pub use guard::{Caller, Requirement, Role, Scope};
pub use head::{Head, Headers};
pub use reply::Reply;
pub use site::{Gatekey, GatekeyBuilder};
