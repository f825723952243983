//! What no store suite can see: what is in Redis, what happens when it fails, and whether the scripts calculate as core.
//!
//! These tests stop, kill and misuse their servers, so each starts its own, of the programs that are installed.

use std::time::Duration;

use gatekey_core::{
    random::SystemRandom,
    rotation::{Attempt, Policy, Presented, Successor},
    session::{Chain, Client, Digest, Session, SessionId, SubjectId},
    store::{Inserted, SessionStore, StoreError},
    time::Timestamp,
};

use proptest::{prelude::*, test_runner::TestRunner};

use crate::RedisStore;

mod cluster;
mod failures;
mod server;
mod stored;
mod throttles;
#[cfg(feature = "tls")]
mod tls;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const IDLE: Duration = Duration::from_secs(7 * 24 * 3600);
const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn session(id: &str, subject: &str) -> Session {
    Session {
        id: SessionId::new(id),
        subject: SubjectId::new(subject),
        scope: None,
        auth_time: NOW,
        created_at: NOW,
        expires_at: NOW + IDLE * 4,
        idle_expires_at: NOW + IDLE,
        last_used_at: NOW,
        client: Client::new("192.0.2.1".parse().ok(), Some("test/1.0")),
        chain: Chain::start(digest(0), NOW),
        ended: None,
    }
}

/// A session with an id as core makes them.
fn tagged(subject: &str) -> Session {
    let mut session = session("", subject);
    session.id = SessionId::generate(&session.subject, &SystemRandom).unwrap();
    session
}

fn digest(generation: u64) -> Digest {
    let mut digest = [7; 32];
    digest[24..].copy_from_slice(&generation.to_be_bytes());
    Digest(digest)
}

/// Presents the token of that generation.
fn attempt(session: &Session, generation: u64) -> Attempt {
    Attempt {
        presented: Presented { session: session.id.clone(), generation, digest: digest(generation) },
        successor: Successor {
            generation: generation + 1,
            digest: digest(generation + 1),
            sealed: vec![7; 100],
            expires_at: NOW + IDLE,
        },
        client: Client::default(),
        now: NOW,
        policy: Policy::BALANCED,
        seen: None,
    }
}

async fn open(store: &RedisStore, session: &Session) {
    let opened = store.insert(session, 100).await.unwrap();
    assert_eq!(opened, Inserted::Opened { evicted: vec![] });
}

/// How long something may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not yet: {what}"));
}

/// Runs a property whose cases are futures.
fn property<S: Strategy>(cases: u32, strategy: S, check: impl AsyncFn(S::Value)) {
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        let outcome = TestRunner::new(config).run(&strategy, |value| {
            handle.block_on(check(value));
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    });
}

/// The rights that this crate's documentation asks for.
fn rules() -> Vec<&'static str> {
    let rules: Vec<_> = include_str!("lib.rs")
        .lines()
        .skip_while(|line| !line.contains("An account of its own needs"))
        .take_while(|line| !line.contains("A cluster that moves"))
        .flat_map(|line| line.split([' ', '`', ',']))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| ['~', '&', '+'].iter().any(|sign| word.starts_with(*sign)))
        .collect();
    assert!(rules.len() > 20, "{rules:?}");
    rules
}

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}

#[track_caller]
fn assert_corrupt<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
}
