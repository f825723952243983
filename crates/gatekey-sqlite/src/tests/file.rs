//! Opening files: new, old, newer, shared, damaged, forbidden.

use std::path::Path;

use gatekey_core::{
    Authority,
    keys::{Algorithm, Keys},
    rotation::Outcome,
    secret::Secret,
    session::EndReason,
};

use super::*;

#[tokio::test]
async fn what_was_written_is_there_when_the_file_is_opened_again() {
    let folder = Folder::new();
    for name in ["a", "b", "c"] {
        let store = SqliteStore::open(folder.db()).await.unwrap();
        insert(&store, &session(name, "alice")).await;
    }
    let store = SqliteStore::open(folder.db()).await.unwrap();
    assert_eq!(store.list(&SubjectId::new("alice"), NOW).await.unwrap().len(), 3);
}

#[tokio::test]
async fn the_hosts_own_tables_and_numbers_stay_as_they_are() {
    let folder = Folder::new();
    folder
        .other()
        .execute_batch(
            "PRAGMA user_version = 42; PRAGMA application_id = 7;
             CREATE TABLE users (id INTEGER); INSERT INTO users VALUES (1);",
        )
        .unwrap();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    insert(&store, &session("a", "alice")).await;
    drop(store);
    let db = folder.other();
    let number = |sql| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("PRAGMA user_version"), 42);
    assert_eq!(number("PRAGMA application_id"), 7);
    assert_eq!(number("SELECT count(*) FROM users"), 1);
    assert_eq!(number("SELECT version FROM gatekey_schema"), 1);
    let foreign = "SELECT count(*) FROM sqlite_schema
                   WHERE tbl_name NOT LIKE 'gatekey\\_%' ESCAPE '\\' AND tbl_name <> 'users'";
    assert_eq!(number(foreign), 0);
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused_and_left_alone() {
    let folder = Folder::new();
    drop(SqliteStore::open(folder.db()).await.unwrap());
    folder.other().execute_batch("UPDATE gatekey_schema SET version = 9, suits = 2").unwrap();
    let before = std::fs::read(folder.db()).unwrap();
    let refused = SqliteStore::open(folder.db()).await.unwrap_err();
    assert!(matches!(refused, OpenError::NewerSchema { found: 9, known: 1, .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.ends_with("its tables have version 9, this program knows up to 1"), "{text}");
    assert_eq!(std::fs::read(folder.db()).unwrap(), before);
}

/// What an upgrade does that only adds: processes of this version go on beside those of the next, and may start again.
#[tokio::test]
async fn processes_go_on_where_a_newer_version_only_added_to_the_tables() {
    let folder = Folder::new();
    let running = SqliteStore::open(folder.db()).await.unwrap();
    insert(&running, &session("a", "alice")).await;
    running.rotate(&attempt("a", 0)).await.unwrap();
    folder
        .other()
        .execute_batch(
            "ALTER TABLE gatekey_session ADD COLUMN device TEXT;
             ALTER TABLE gatekey_session ADD COLUMN trusted INTEGER NOT NULL DEFAULT 0;
             ALTER TABLE gatekey_user ADD COLUMN email TEXT;
             CREATE INDEX gatekey_session_device ON gatekey_session (device);
             CREATE TABLE gatekey_device (id TEXT PRIMARY KEY) STRICT;
             UPDATE gatekey_schema SET version = 2;
             UPDATE gatekey_session SET device = 'phone', trusted = 1;",
        )
        .unwrap();
    let started = SqliteStore::open(folder.db()).await.unwrap();
    for (store, generation) in [(&started, 1), (&running, 2)] {
        let rotation = store.rotate(&attempt("a", generation)).await.unwrap().unwrap();
        assert_eq!(rotation.outcome, Outcome::Rotated);
        insert(store, &session(&format!("since-{generation}"), "alice")).await;
    }
    assert_eq!(running.list(&SubjectId::new("alice"), NOW).await.unwrap().len(), 3);
    // What the other version wrote is kept, and its version too.
    let number = |sql| folder.other().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM gatekey_session WHERE trusted AND device = 'phone'"), 1);
    assert_eq!(number("SELECT version * 10 + suits FROM gatekey_schema"), 21);
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_behind() {
    let folder = Folder::new();
    folder.other().execute_batch("CREATE TABLE gatekey_user (id INTEGER)").unwrap();
    SqliteStore::open(folder.db()).await.unwrap_err();
    let tables: i64 = folder
        .other()
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'gatekey%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_may_be_opened_by_many_at_once() {
    // Often enough that two meet at the change of the journal, where SQLite does not wait.
    for _ in 0..40 {
        let folder = Folder::new();
        let opening: Vec<_> = (0..8).map(|_| tokio::spawn(SqliteStore::open(folder.db()))).collect();
        let mut stores = Vec::new();
        for store in opening {
            stores.push(store.await.unwrap().unwrap());
        }
        for (number, store) in stores.iter().enumerate() {
            insert(store, &session(&number.to_string(), "alice")).await;
        }
        let [first, ..] = stores.as_slice() else { panic!("none was opened") };
        assert_eq!(first.list(&SubjectId::new("alice"), NOW).await.unwrap().len(), 8);
    }
}

#[tokio::test]
async fn a_file_with_another_journal_is_changed_once_nobody_reads_it() {
    let folder = Folder::new();
    let other = folder.other();
    other
        .execute_batch("CREATE TABLE host (i); INSERT INTO host VALUES (1); BEGIN; SELECT * FROM host")
        .unwrap();
    let open = || SqliteOptions::default().busy_timeout(Duration::from_millis(30)).open(folder.db());
    let refused = open().await.unwrap_err().to_string();
    assert!(refused.contains("database is locked"), "{refused}");
    other.execute_batch("COMMIT").unwrap();
    let store = open().await.unwrap();
    insert(&store, &session("a", "alice")).await;
    let journal: String = folder.other().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(journal, "wal");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_stores_on_one_file_one_rotates() {
    let folder = Folder::new();
    let (one, two) =
        (SqliteStore::open(folder.db()).await.unwrap(), SqliteStore::open(folder.db()).await.unwrap());
    for round in 0..50 {
        let id = round.to_string();
        insert(&one, &session(&id, "alice")).await;
        let rotating: Vec<_> = (0..8)
            .map(|number| {
                let store = if number % 2 == 0 { one.clone() } else { two.clone() };
                let attempt = attempt(&id, 0);
                tokio::spawn(async move { store.rotate(&attempt).await.unwrap().unwrap().outcome })
            })
            .collect();
        let mut outcomes = Vec::new();
        for outcome in rotating {
            outcomes.push(outcome.await.unwrap());
        }
        let rotated = outcomes.iter().filter(|outcome| **outcome == Outcome::Rotated).count();
        assert_eq!(rotated, 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Rotated | Outcome::Replayed)), "{outcomes:?}");
        // What the one has answered, the other sees.
        let (id, reason) = (SessionId::new(id), EndReason::Logout);
        assert!(one.revoke(&id, None, reason, NOW).await.unwrap());
        let seen = two.rotate(&attempt(id.as_str(), 1)).await.unwrap().unwrap();
        assert_eq!(seen.outcome, Outcome::Ended);
        assert!(two.find(&id).await.unwrap().unwrap().ended.is_some());
    }
}

#[tokio::test]
async fn what_cannot_be_a_store_is_refused_in_one_line_that_names_it() {
    let folder = Folder::new();
    std::fs::write(folder.0.join("text.db"), "This is no database, only a long enough text. ".repeat(99))
        .unwrap();
    std::fs::create_dir(folder.0.join("folder.db")).unwrap();
    // Nobody may create files there, not even root.
    let forbidden = if cfg!(target_os = "linux") { Path::new("/proc/forbidden.db") } else { Path::new("/") };
    for (path, cause) in [
        (folder.0.join("nowhere").join("app.db"), "No such file or directory"),
        (folder.0.join("folder.db"), "unable to open database file"),
        (folder.0.join("text.db"), "file is not a database"),
        (folder.0.join("text.db").join("app.db"), "Not a directory"),
        (forbidden.to_owned(), ""),
        (PathBuf::from(":memory:"), "MemoryStore"),
        (PathBuf::new(), "MemoryStore"),
    ] {
        let refused = SqliteStore::open(&path).await.unwrap_err();
        assert!(matches!(refused, OpenError::Unusable { .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(text.starts_with(&format!("cannot open the store {path:?}: ")), "{text}");
        assert!(text.contains(cause) && text.lines().count() == 1, "{text}");
        assert!(Error::source(&refused).is_some());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_may_not_be_written_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write everywhere; the case above has a folder where even root may not.
    let may_write = std::fs::write(folder.0.join("probe"), "").is_ok();
    let opened = SqliteStore::open(folder.db()).await;
    assert_eq!(opened.is_ok(), may_write, "{opened:?}");
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = Folder::new();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    insert(&store, &session("a", "alice")).await;
    for file in ["app.db", "app.db-wal", "app.db-shm"] {
        assert_eq!(mode(&folder.0.join(file)), 0o600, "{file}");
    }
    drop(store);
    std::fs::set_permissions(folder.db(), std::fs::Permissions::from_mode(0o640)).unwrap();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    insert(&store, &session("b", "alice")).await;
    assert_eq!(mode(&folder.db()), 0o640);
}

#[tokio::test]
async fn a_value_that_nobody_writes_is_corrupt_and_not_guessed_at() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    insert(&store, &session("a", "alice")).await;
    for change in ["ip = 'somewhere'", "ended_at = 1, end_reason = 'boredom'", "scope = CAST(x'ff' AS TEXT)"]
    {
        let db = folder.other();
        db.execute_batch("CREATE TABLE saved AS SELECT * FROM gatekey_session").unwrap();
        db.execute_batch(&format!("UPDATE gatekey_session SET {change}")).unwrap();
        let id = SessionId::new("a");
        for answer in [store.find(&id).await.map(|_| ()), store.rotate(&attempt("a", 0)).await.map(|_| ())] {
            assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{change}: {answer:?}");
        }
        db.execute_batch(
            "DELETE FROM gatekey_session; INSERT INTO gatekey_session SELECT * FROM saved; DROP TABLE saved;",
        )
        .unwrap();
    }
    assert_eq!(store.find(&SessionId::new("a")).await.unwrap(), Some(session("a", "alice")));
}

#[tokio::test]
async fn a_table_that_somebody_dropped_is_corrupt() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    folder.other().execute_batch("DROP TABLE gatekey_session").unwrap();
    let answer = store.insert(&session("a", "alice"), 9).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
    let answer = store.find(&SessionId::new("a")).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
}

/// Everything a client could use to log in, in a file that a thief copied.
#[tokio::test]
async fn no_token_and_no_password_is_in_the_files() {
    let folder = Folder::new();
    let store = Arc::new(SqliteStore::open(folder.db()).await.unwrap());
    let mut builder = Authority::builder();
    builder.config_mut().issuer = "https://app.example.com".to_owned();
    builder.keys(Keys::generate(Algorithm::EdDSA).unwrap());
    builder.sessions(store.clone());
    builder.users(store.clone());
    let authority = builder.build().await.unwrap();

    let client = Client::new("192.0.2.77".parse().ok(), Some("agent-in-the-file"));
    let password = "seven brass lanterns in the orchard";
    let secret = || Secret::new(password.to_owned());
    authority.register("name-in-the-file", secret(), &client).await.unwrap();
    let mut secrets = vec![password.to_owned()];
    let mut tokens = authority.login("name-in-the-file", secret(), &client, None).await.unwrap();
    for _ in 0..3 {
        let presented = tokens.refresh.clone();
        tokens = authority.refresh(presented.expose(), None, &client).await.unwrap();
        for token in [presented.expose(), tokens.refresh.expose(), tokens.access.expose()] {
            // The parts as well: a signature is as good as the token to who can rebuild the rest.
            secrets.extend(token.split('.').skip(1).map(str::to_owned));
        }
    }

    let mut dump = Vec::new();
    for file in ["app.db", "app.db-wal", "app.db-shm"] {
        dump.extend(std::fs::read(folder.0.join(file)).unwrap());
    }
    let holds = |text: &str| dump.windows(text.len()).any(|window| window == text.as_bytes());
    // The dump is the right one: what is meant to be there is.
    assert!(holds("name-in-the-file") && holds("agent-in-the-file") && holds("$argon2id$"));
    for secret in secrets {
        assert!(!holds(&secret), "the file holds {secret:?}");
    }
}

#[tokio::test]
async fn told_not_to_migrate_it_takes_only_what_is_there() {
    let folder = Folder::new();
    let open = || SqliteOptions::default().migrate(false).open(folder.db());
    let error = open().await.unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert!(!folder.db().exists());
    // A file of somebody else's stays as it is.
    folder.other().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(folder.db()).unwrap();
    let error = open().await.unwrap_err();
    assert!(matches!(error, OpenError::OlderSchema { found: 0, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("have version 0 and not 1"), "{error}");
    assert_eq!(std::fs::read(folder.db()).unwrap(), before);

    drop(SqliteStore::open(folder.db()).await.unwrap());
    let store = open().await.unwrap();
    store.insert(&session("a", "alice"), 9).await.unwrap();
    drop(store);
    folder.other().execute_batch("UPDATE gatekey_schema SET version = 9, suits = 9").unwrap();
    let error = open().await.unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { found: 9, known: 1, .. }), "{error}");
}
