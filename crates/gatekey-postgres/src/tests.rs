//! What no store suite can see: the server, other nodes, lost connections, and what a refresh costs.

use std::{
    io::Write,
    sync::atomic::{AtomicU32, Ordering},
};

use gatekey_core::{
    password::PasswordHash,
    rotation::{Outcome, Policy, Presented, Successor},
    session::{Chain, Client, Digest},
};
use tokio_postgres::NoTls;

use super::*;

mod connect;
mod costs;
mod fast_path;
mod faults;
mod feed;
mod lanes;
mod throttles;
#[cfg(feature = "tls")]
mod tls;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SECOND: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long something may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server to test with, and a schema of this test's own in it.
struct Place {
    url: String,
    schema: String,
    /// A superuser's connection, beside the store's.
    admin: tokio_postgres::Client,
}

impl Place {
    /// `None`, and a line that says so, without a server. The line is written past the test harness, which shows
    /// nothing of a test that passes.
    async fn find() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let Some(url) = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()) else {
            assert!(std::env::var_os("GATEKEY_REQUIRE_ALL").is_none(), "DATABASE_URL is not set");
            let thread = std::thread::current();
            let test = thread.name().unwrap_or_default();
            not_run(test, "DATABASE_URL is not set");
            return None;
        };
        let admin = client(&url).await;
        Some(Self { schema: format!("test_{}_{number}", std::process::id()), url, admin })
    }

    /// A place in a database of this test's own: there statements are counted apart, and transactions of other tests
    /// keep no old versions of rows alive. And how to leave it.
    async fn apart(&self) -> (Self, String) {
        self.run(&format!("DROP DATABASE IF EXISTS {}", self.schema)).await;
        self.run(&format!("CREATE DATABASE {}", self.schema)).await;
        let (server, words) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (server, _) = server.rsplit_once('/').unwrap();
        let url = format!("{server}/{}?{words}", self.schema);
        let admin = client(&url).await;
        let leave = format!("DROP DATABASE {} WITH (FORCE)", self.schema);
        (Self { schema: "public".to_owned(), url, admin }, leave)
    }

    fn options(&self) -> PostgresOptions {
        PostgresOptions::default().schema(&self.schema).timeout(PATIENCE).pool_timeout(PATIENCE)
    }

    async fn store(&self) -> PostgresStore {
        self.options().connect(&self.url).await.unwrap()
    }

    /// The URL with another user, or with more words after the `?`.
    fn url_as(&self, user: &str, password: &str) -> String {
        let (_, place) = self.url.split_once('@').unwrap();
        format!("postgres://{user}:{password}@{place}")
    }

    fn url_with(&self, words: &str) -> String {
        let glue = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{glue}{words}", self.url)
    }

    /// Runs SQL as a superuser, with `@session` and the like for this test's tables.
    async fn run(&self, sql: &str) {
        self.admin.batch_execute(&self.fill(sql)).await.unwrap();
    }

    /// One number.
    async fn number(&self, sql: &str) -> i64 {
        self.admin.query_one(&self.fill(sql), &[]).await.unwrap().get(0)
    }

    /// Waits until a number is so.
    async fn until(&self, sql: &str, so: impl Fn(i64) -> bool) {
        let waiting = async {
            while !so(self.number(sql).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not yet: {sql}"));
    }

    fn fill(&self, sql: &str) -> String {
        names::Names::new(&self.schema, "gatekey_").unwrap().fill(sql)
    }

    /// Removes the schema. A test that fails leaves it to be looked at.
    async fn leave(self) {
        self.run("DROP SCHEMA IF EXISTS \"@schema\" CASCADE").await;
    }
}

/// In one piece, so that lines of several tests stay whole.
fn not_run(test: &str, why: &str) {
    let _ = std::io::stderr().write_all(format!("not run: {test}: {why}\n").as_bytes());
}

async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

fn session(id: &str, subject: &str) -> Session {
    Session {
        id: SessionId::new(id),
        subject: SubjectId::new(subject),
        scope: None,
        auth_time: NOW,
        created_at: NOW,
        expires_at: NOW + IDLE * 4,
        idle_expires_at: NOW + IDLE,
        last_used_at: NOW,
        client: Client::new("192.0.2.1".parse().ok(), Some("login/1.0")),
        chain: Chain::start(digest(0), NOW),
        ended: None,
    }
}

/// Presents the token of that generation, of a session from [`session`].
fn attempt(id: &str, generation: u8) -> Attempt {
    Attempt {
        presented: Presented {
            session: SessionId::new(id),
            generation: generation.into(),
            digest: digest(generation),
        },
        successor: Successor {
            generation: u64::from(generation) + 1,
            digest: digest(generation + 1),
            sealed: vec![7; 100],
            expires_at: NOW + IDLE,
        },
        client: Client::new("198.51.100.7".parse().ok(), Some("refresh/1.0")),
        now: NOW,
        policy: Policy::BALANCED,
        seen: None,
    }
}

async fn insert(store: &PostgresStore, session: &Session) {
    let opened = store.insert(session, 1000).await.unwrap();
    assert_eq!(opened, Inserted::Opened { evicted: vec![] });
}

async fn outcome(store: &PostgresStore, attempt: &Attempt) -> Outcome {
    store.rotate(attempt).await.unwrap().unwrap().outcome
}

#[track_caller]
fn assert_unavailable<T: fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}

#[track_caller]
fn assert_corrupt<T: fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
}
