//! The whole of gatekey on real servers: what a request costs there, stores of different kinds together, nodes of two
//! versions beside each other, the feed of revocations when its connection is lost, and what a copy of a store tells.
//!
//! PostgreSQL is the one of `DATABASE_URL`. Redis is a server of each test's own, so that its commands can be counted.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "servers/costs.rs"]
mod costs;
#[path = "servers/dump.rs"]
mod dump;
#[path = "servers/feed.rs"]
mod feed;
#[path = "servers/many.rs"]
mod many;
#[path = "servers/mixed.rs"]
mod mixed;
#[path = "servers/support.rs"]
mod support;
#[path = "servers/versions.rs"]
mod versions;
