//! The black-box conformance suite of Gatekey.
//!
//! It starts a host program for each adapter and store, or takes any server by `--url`, speaks HTTP/1.1 to it
//! over a socket and compares the answers with the contract. Statuses, codes and headers are literals here: no
//! Gatekey crate is imported, so that a wrong mapping cannot agree with itself.
//!
//! The feature `store` adds the store suite, for stores of gatekey's and of your own; it imports the store contract of
//! `gatekey-core` alone.
//!
//! `tests/README.md` says how a case is written, run and read.

#![allow(dead_code, reason = "the words that cases are written in are offered whole, used or not")]

mod case;
mod client;
mod command;
mod cookies;
mod differential;
mod host;
mod http;
mod load;
mod process;
mod report;
mod runner;
#[cfg(feature = "store")]
pub mod store;
mod strict;
mod token;
mod vectors;
mod verdict;

pub use command::command_line;
