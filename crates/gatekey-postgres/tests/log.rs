//! What the driver writes into the log of an application that looks at all of it. In a program of its own, since a program has
//! one log.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::sync::Mutex;

use gatekey_core::{
    password::PasswordHash,
    rotation::{Attempt, Outcome, Policy, Presented, Successor},
    session::{Chain, Client, Digest, Session, SessionId, SubjectId},
    store::{SessionStore, UserStore},
    time::Timestamp,
    user::{NewUser, Username},
};
use gatekey_postgres::PostgresOptions;
use log::{LevelFilter, Log, Metadata, Record};
use tokio_postgres::NoTls;

struct Lines(Mutex<Vec<String>>);

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

#[tokio::test]
async fn of_what_is_stored_ids_and_times_alone_are_logged_at_any_level() {
    let Some(url) = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()) else {
        assert!(std::env::var_os("GATEKEY_REQUIRE_ALL").is_none(), "DATABASE_URL is not set");
        return;
    };
    log::set_logger(&LINES).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let schema = format!("log_{}", std::process::id());
    let store = PostgresOptions::default().schema(&schema).connect(&url).await.unwrap();
    let (id, username) = (SubjectId::new("id-in-the-log"), Username::new("Alice").unwrap());
    let password_hash = PasswordHash::new("$argon2id$first");
    let user =
        NewUser { id: id.clone(), username: username.clone(), password_hash, created_at: Timestamp::EPOCH };
    store.create(user).await.unwrap().unwrap();
    assert!(store.set_password_hash(&id, "$argon2id$first", "$argon2id$second").await.unwrap());
    // They went to the server as what they are.
    let found = store.find_by_name(&username).await.unwrap().unwrap();
    assert_eq!(found.password_hash.unwrap().expose(), "$argon2id$second");

    let (now, later) = (Timestamp::from_secs(1), Timestamp::from_secs(1000));
    let session = Session {
        id: SessionId::new("session-in-the-log"),
        subject: id,
        scope: None,
        auth_time: now,
        created_at: now,
        expires_at: later,
        idle_expires_at: later,
        last_used_at: now,
        client: Client::new("192.0.2.77".parse().ok(), Some("somebody's browser")),
        chain: Chain::start(Digest([7; 32]), now),
        ended: None,
    };
    store.insert(&session, 9).await.unwrap();
    let attempt = Attempt {
        presented: Presented { session: session.id.clone(), generation: 0, digest: Digest([7; 32]) },
        successor: Successor {
            generation: 1,
            digest: Digest([8; 32]),
            sealed: vec![9; 32],
            expires_at: later,
        },
        client: Client::new("192.0.2.78".parse().ok(), Some("somebody's browser")),
        now,
        policy: Policy::BALANCED,
        seen: None,
    };
    // By the one statement, and by the other way.
    for outcome in [Outcome::Rotated, Outcome::Replayed] {
        assert_eq!(store.rotate(&attempt).await.unwrap().unwrap().outcome, outcome);
    }

    let lines = LINES.0.lock().unwrap().join("\n");
    // The log is the right one: the driver tells the other values there.
    for told in ["id-in-the-log", "session-in-the-log"] {
        assert!(lines.contains(told), "{told}: {lines}");
    }
    for hidden in ["argon2", "alice", "Alice", "192.0.2.", "somebody", "7, 7", "8, 8", "9, 9"] {
        assert!(!lines.contains(hidden), "{hidden}: {lines}");
    }

    let (admin, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    admin.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
}
