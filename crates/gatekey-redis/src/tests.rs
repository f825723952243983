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

use crate::RedisStore;

mod cluster;
mod failures;
mod server;
mod stored;
mod throttles;

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
    }
}

async fn open(store: &RedisStore, session: &Session) {
    let opened = store.insert(session, 100).await.unwrap();
    assert_eq!(opened, Inserted::Opened { evicted: vec![] });
}

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}

#[track_caller]
fn assert_corrupt<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
}
