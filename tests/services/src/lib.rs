//! The database servers that tests and benchmarks run against.
//!
//! How one is found, in this order:
//!
//! 1. `DATABASE_URL`, `REDIS_URL` or `REDIS_CLUSTER_URLS`, where it is set and not empty: a server that somebody else
//!    runs, or several.
//! 2. A private instance from installed programs: on a free port of 127.0.0.1, under an account without privileges,
//!    its data in `target/services/`. It ends with its [`Service`], and also when this process dies.
//! 3. On Debian, as root: the programs are installed by apt first, which is announced.
//! 4. Otherwise there is none: [`NotRun`] says why, tables show it, and `--require-all` makes it a failure.
//!
//! ```no_run
//! use gatekey_services::Services;
//!
//! let services = Services::find(|store| store == "postgres");
//! services.announce();                                       // which there are, or why not
//! let mut command = std::process::Command::new("cargo");
//! command.arg("test").envs(services.environment());          // DATABASE_URL, if there is one
//! // dropping `services` ends the servers
//! ```

#![allow(clippy::print_stdout, reason = "for programs for people at a terminal")]

use std::{
    fmt,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

mod disk;
pub mod postgres;
pub mod redis;
pub mod server;

pub use disk::SmallDisk;
pub use server::{install, program};

/// Where tests look for PostgreSQL.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// Where tests look for Redis or Valkey.
pub const REDIS_URL: &str = "REDIS_URL";
/// Where tests look for a Redis Cluster: the URLs of some nodes, with commas between them.
pub const REDIS_CLUSTER_URLS: &str = "REDIS_CLUSTER_URLS";

/// Whether what a private server says it wrote would survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// No: as fast as it goes, for tests.
    Fast,
    /// Yes: as an operator runs it, for benchmarks.
    Durable,
}

/// Why there is no server: one line for a table.
#[derive(Debug)]
pub struct NotRun(pub String);

impl NotRun {
    /// What was to be done, and what was in the way.
    pub fn because(what: &str, problem: impl fmt::Display) -> Self {
        Self(format!("{what}: {problem}"))
    }
}

/// A server to run against.
#[derive(Debug)]
pub struct Service {
    url: String,
    about: String,
    /// Our own, which end with the service. A cluster has several.
    servers: Vec<server::Server>,
}

impl Service {
    /// The server that an environment variable names.
    fn given(variable: &str) -> Option<Self> {
        let url = std::env::var(variable).ok().filter(|url| !url.is_empty())?;
        Some(Self { url, about: format!("given by {variable}"), servers: Vec::new() })
    }

    /// How tests reach it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The servers of ours that it is made of, in the order of the URL.
    pub fn servers(&mut self) -> &mut [server::Server] {
        &mut self.servers
    }

    /// Where it comes from: one phrase.
    pub fn about(&self) -> &str {
        &self.about
    }
}

/// A kind of server: which store needs it, where tests look for it, how it is found.
type Kind = (&'static str, &'static str, fn(Durability) -> Result<Service, NotRun>);

const KINDS: &[Kind] = &[
    ("postgres", DATABASE_URL, postgres::postgres),
    ("redis", REDIS_URL, redis::redis),
    ("redis-cluster", REDIS_CLUSTER_URLS, redis::redis_cluster),
];

/// The servers of one run. They end with this value.
#[derive(Debug)]
pub struct Services(Vec<(&'static str, &'static str, Result<Service, NotRun>)>);

impl Services {
    /// Finds or starts a server for each store that is wanted, for tests.
    pub fn find(wanted: impl Fn(&str) -> bool) -> Self {
        Self::find_for(Durability::Fast, wanted)
    }

    /// The same as fast or as durable as asked.
    pub fn find_for(durability: Durability, wanted: impl Fn(&str) -> bool) -> Self {
        let wanted = KINDS.iter().filter(|(store, ..)| wanted(store));
        Self(wanted.map(|(store, variable, find)| (*store, *variable, find(durability))).collect())
    }

    /// What tests are told: a variable and a URL for each server that there is.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, String)> {
        let there = self.0.iter().filter_map(|(_, variable, found)| Some((*variable, found.as_ref().ok()?)));
        there.map(|(variable, service)| (variable, service.url().to_owned()))
    }

    /// Every kind that was wanted: its variable, and its server or why there is none.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, Result<&Service, &NotRun>)> {
        self.0.iter().map(|(_, variable, found)| (*variable, found.as_ref()))
    }

    /// The stores whose server there is not, and why.
    pub fn missing(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let missing = self.0.iter().filter_map(|(store, _, found)| Some((*store, found.as_ref().err()?)));
        missing.map(|(store, NotRun(why))| (store, why.as_str()))
    }

    /// Says which servers there are, and why others are not.
    pub fn announce(&self) {
        for (store, _, found) in &self.0 {
            match found {
                Ok(service) => println!("{store}: {}", service.about()),
                Err(NotRun(why)) => println!("{store}: not run: {why}"),
            }
        }
    }
}

/// A port that nobody has at the moment. It may be gone a moment later: whoever uses it tries again.
pub fn free_port() -> Result<u16, NotRun> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| NotRun::because("no free port", error))
}

/// The last lines of a log, on one.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut lines: Vec<_> = text.lines().rev().take(3).collect();
    lines.reverse();
    lines.join(" | ")
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
