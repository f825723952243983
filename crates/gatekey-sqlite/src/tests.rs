//! What no store suite can see: the file, other processes, full disks, and how the writer shares its transactions.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use gatekey_core::{
    rotation::{Attempt, Policy, Presented, Successor},
    session::{Chain, Client, Digest, Session, SessionId, SubjectId},
    store::{Inserted, SessionStore},
    time::Timestamp,
};

use super::*;

mod file;
mod plan;
mod writer;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const IDLE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A folder of its own for each test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gatekey-sqlite-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn db(&self) -> PathBuf {
        self.0.join("app.db")
    }

    /// A connection like that of another program.
    fn other(&self) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(self.db()).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
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
        client: Client::new("192.0.2.1".parse().ok(), Some("test/1.0")),
        chain: Chain::start(digest(0), NOW),
        ended: None,
    }
}

/// Presents the token of that generation, of a session from [`session`].
fn attempt(id: &str, generation: u8) -> Attempt {
    let generation = u64::from(generation);
    let of = |generation: u64| digest(u8::try_from(generation).unwrap());
    Attempt {
        presented: Presented { session: SessionId::new(id), generation, digest: of(generation) },
        successor: Successor {
            generation: generation + 1,
            digest: of(generation + 1),
            sealed: vec![7; 100],
            expires_at: NOW + IDLE,
        },
        client: Client::default(),
        now: NOW,
        policy: Policy::BALANCED,
        seen: None,
    }
}

async fn insert(store: &SqliteStore, session: &Session) {
    let opened = store.insert(session, 100).await.unwrap();
    assert_eq!(opened, Inserted::Opened { evicted: vec![] });
}

#[track_caller]
fn assert_unavailable<T: fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}
