//! Placeholder.

#![allow(dead_code, reason = "under construction")]

pub mod json;
pub mod limit;
pub mod password;
pub mod random;
pub mod rotation;
pub mod secret;
pub mod session;
pub mod store;
pub mod time;
pub mod user;
