//! What the driver writes into the log of an application that looks at all of it. In a program of its own, since a program has
//! one log.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::sync::Mutex;

use gatekey_core::{
    password::PasswordHash,
    session::SubjectId,
    store::UserStore,
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
async fn neither_a_password_hash_nor_a_name_is_logged_at_any_level() {
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

    let lines = LINES.0.lock().unwrap().join("\n");
    // The log is the right one: the driver tells the other values there.
    assert!(lines.contains("id-in-the-log"), "{lines}");
    for hidden in ["argon2", "alice", "Alice"] {
        assert!(!lines.contains(hidden), "{hidden}: {lines}");
    }

    let (admin, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    admin.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
}
