//! Group commit: who shares a transaction shares its failure and nothing else.

use std::{future::poll_fn, pin::pin, sync::mpsc, task::Poll, time::Instant};

use gatekey_core::{rotation::Outcome, session::EndReason};

use super::*;
use crate::fault::Fault;

type Holding = Box<dyn FnOnce(&rusqlite::Connection) -> Result<(), Fault> + Send>;

/// Holds a thread until it is let go, so that what is asked meanwhile waits, and becomes one transaction.
struct Held {
    let_go: mpsc::Sender<()>,
}

impl Held {
    async fn hold(store: &SqliteStore) -> Self {
        let threads = Arc::clone(&store.threads);
        Self::with(|work| tokio::spawn(async move { threads.write(work).await })).await
    }

    async fn hold_reader(store: &SqliteStore) -> Self {
        let threads = Arc::clone(&store.threads);
        Self::with(|work| tokio::spawn(async move { threads.read(work).await })).await
    }

    async fn with<T>(start: impl FnOnce(Holding) -> T) -> Self {
        let (let_go, gone) = mpsc::channel::<()>();
        let (holding, held) = tokio::sync::oneshot::channel();
        start(Box::new(move |_| {
            let _ = holding.send(());
            let _ = gone.recv();
            Ok(())
        }));
        held.await.unwrap();
        Self { let_go }
    }

    fn let_go(self) {
        drop(self.let_go);
    }
}

/// Queues a call without waiting for its answer.
async fn queued<'f, T: 'f>(
    call: impl Future<Output = T> + Send + 'f,
) -> std::pin::Pin<Box<dyn Future<Output = T> + Send + 'f>> {
    let mut call = Box::pin(call);
    let ready = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await;
    assert!(!ready, "the writer is held");
    call
}

#[tokio::test]
async fn a_call_that_fails_fails_alone() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    insert(&store, &session("old", "alice")).await;
    let (a, again, b) = (session("a", "alice"), session("old", "bob"), session("b", "alice"));
    let alice = SubjectId::new("alice");
    let held = Held::hold(&store).await;
    let first = queued(store.insert(&a, 9)).await;
    let failing = queued(store.insert(&again, 9)).await;
    // Several statements, the last of which cannot be: the mark goes with it.
    let half = queued(store.threads.write(|db| {
        threads::savepoint(db, || {
            sessions::revoke_all(db, &SubjectId::new("alice"), None, EndReason::Revoked, NOW)?;
            db.execute_batch("INSERT INTO gatekey_session (id) VALUES ('half')")?;
            Ok(())
        })
    }))
    .await;
    let last = queued(store.insert(&b, 9)).await;
    held.let_go();
    assert_eq!(first.await.unwrap(), Inserted::Opened { evicted: vec![] });
    assert!(matches!(failing.await, Err(StoreError::Corrupt(_))));
    assert!(matches!(half.await, Err(StoreError::Corrupt(_))));
    assert_eq!(last.await.unwrap(), Inserted::Opened { evicted: vec![] });
    assert_eq!(store.list(&alice, NOW).await.unwrap().len(), 3);
    insert(&store, &session("c", "alice")).await;
}

#[tokio::test]
async fn when_the_transaction_is_lost_every_call_in_it_hears_so() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    insert(&store, &session("a", "alice")).await;
    let (b, c, first) = (session("b", "alice"), session("c", "alice"), attempt("a", 0));
    for fails_with in [
        // What a full disk and its like do by themselves.
        "ROLLBACK; INSERT INTO nowhere VALUES (1)",
        // A commit that cannot be: of a constraint that is looked at then.
        "CREATE TABLE p (i INTEGER PRIMARY KEY);
         CREATE TABLE q (i REFERENCES p (i) DEFERRABLE INITIALLY DEFERRED); INSERT INTO q VALUES (1)",
    ] {
        let held = Held::hold(&store).await;
        let before = queued(store.rotate(&first)).await;
        let losing = queued(store.threads.write(move |db| Ok(db.execute_batch(fails_with)?))).await;
        let after = queued(store.insert(&c, 9)).await;
        held.let_go();
        assert_unavailable(before.await);
        assert_unavailable(losing.await);
        assert_unavailable(after.await);
        assert_eq!(store.find(&b.id).await.unwrap(), None);
        assert_eq!(store.find(&c.id).await.unwrap(), None);
        assert_eq!(store.find(&first.presented.session).await.unwrap(), Some(session("a", "alice")));
    }
    let rotated = store.rotate(&first).await.unwrap().unwrap();
    assert_eq!(rotated.outcome, Outcome::Rotated);
}

#[tokio::test]
async fn a_full_queue_is_unavailable_at_once() {
    let folder = Folder::new();
    let store = SqliteOptions::default().queue(2).open(folder.db()).await.unwrap();
    let (a, b, c) = (session("a", "alice"), session("b", "alice"), session("c", "alice"));
    let held = Held::hold(&store).await;
    let waiting = [queued(store.insert(&a, 9)).await, queued(store.insert(&b, 9)).await];
    assert_unavailable(store.insert(&c, 9).await);
    // Reading goes on beside it.
    assert_eq!(store.find(&a.id).await.unwrap(), None);
    held.let_go();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    assert_eq!(store.find(&c.id).await.unwrap(), None);
    insert(&store, &c).await;
}

#[tokio::test]
async fn a_file_that_is_locked_for_too_long_is_unavailable_and_then_works() {
    let folder = Folder::new();
    let patience = Duration::from_millis(20);
    let store = SqliteOptions::default().busy_timeout(patience).open(folder.db()).await.unwrap();
    insert(&store, &session("a", "alice")).await;
    let other = folder.other();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    assert_unavailable(store.rotate(&attempt("a", 0)).await);
    assert_unavailable(store.insert(&session("b", "alice"), 9).await);
    // Twice as long as was chosen, at least, and not twice as long as a store waits unless told otherwise.
    let waited = began.elapsed();
    assert!(waited >= patience * 2 && waited < Duration::from_secs(10), "{waited:?}");
    assert_eq!(store.list(&SubjectId::new("alice"), NOW).await.unwrap(), [session("a", "alice")]);
    other.execute_batch("ROLLBACK").unwrap();
    let rotated = store.rotate(&attempt("a", 0)).await.unwrap().unwrap();
    assert_eq!(rotated.outcome, Outcome::Rotated);
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_leaves_nothing_half_written() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    let limit = |pages: i64| {
        let threads = Arc::clone(&store.threads);
        async move { threads.write(move |db| Ok(db.pragma_update(None, "max_page_count", pages)?)).await.unwrap() }
    };
    // No page more than there are now.
    limit(1).await;
    let mut written = 0;
    let refused = loop {
        let mut row = session(&format!("s{written}"), "alice");
        row.scope = Some("scope ".repeat(100));
        match store.insert(&row, 1000).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "the disk never fills");
    };
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    let listed = store.list(&SubjectId::new("alice"), NOW).await.unwrap();
    assert_eq!(listed.len(), written);
    let index: i64 = store
        .threads
        .read(|db| {
            Ok(db.query_row(
                "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
                [],
                |r| r.get(0),
            )?)
        })
        .await
        .unwrap();
    assert_eq!(index, 0);

    // Where there is room again, it goes on; meanwhile what needs no room does.
    assert!(store.revoke(&SessionId::new("s0"), None, EndReason::Logout, NOW).await.unwrap());
    limit(1_000_000).await;
    insert(&store, &session("after", "alice")).await;
}

#[tokio::test]
async fn a_file_that_became_read_only_is_unavailable() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    insert(&store, &session("a", "alice")).await;
    let forbid = |db: &rusqlite::Connection| Ok(db.pragma_update(None, "query_only", true)?);
    store.threads.write(forbid).await.unwrap();
    assert_unavailable(store.insert(&session("b", "alice"), 9).await);
    assert_unavailable(store.rotate(&attempt("a", 0)).await);
    assert_eq!(store.find(&SessionId::new("a")).await.unwrap(), Some(session("a", "alice")));
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_any_more_is_not_made() {
    let folder = Folder::new();
    let store = SqliteOptions::default().readers(1).open(folder.db()).await.unwrap();
    let held = Held::hold_reader(&store).await;
    let (made, was_made) = mpsc::channel();
    let work = move |_: &rusqlite::Connection| {
        let _ = made.send(());
        Ok(())
    };
    drop(queued(store.threads.read(work)).await);
    held.let_go();
    store.find(&SessionId::new("a")).await.unwrap();
    assert!(was_made.try_recv().is_err());
}

#[tokio::test]
async fn dropping_the_last_handle_finishes_what_is_queued_and_closes_the_file() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.db()).await.unwrap();
    let clone = store.clone();
    let held = Held::hold(&store).await;
    for number in 0..100 {
        let row = session(&number.to_string(), "alice");
        let mut insert = pin!(store.insert(&row, 1000));
        poll_fn(|context| Poll::Ready(insert.as_mut().poll(context).is_pending())).await;
    }
    drop(store);
    held.let_go();
    // The holding call has the handle until it is answered.
    while Arc::strong_count(&clone.threads) > 1 {
        tokio::task::yield_now().await;
    }
    drop(clone);
    // The last connection that closes empties the log and removes it.
    assert!(!folder.0.join("app.db-wal").exists());
    let store = SqliteStore::open(folder.db()).await.unwrap();
    assert_eq!(store.list(&SubjectId::new("alice"), NOW).await.unwrap().len(), 100);
}

#[test]
fn faults_are_sorted_by_who_can_help() {
    use rusqlite::ffi;

    for (code, passes) in [
        (ffi::SQLITE_BUSY, true),
        (ffi::SQLITE_BUSY_SNAPSHOT, true),
        (ffi::SQLITE_LOCKED, true),
        (ffi::SQLITE_FULL, true),
        (ffi::SQLITE_IOERR_FSYNC, true),
        (ffi::SQLITE_READONLY_DBMOVED, true),
        (ffi::SQLITE_CANTOPEN, true),
        (ffi::SQLITE_NOMEM, true),
        (ffi::SQLITE_CORRUPT, false),
        (ffi::SQLITE_NOTADB, false),
        (ffi::SQLITE_CONSTRAINT_PRIMARYKEY, false),
        (ffi::SQLITE_MISMATCH, false),
        (ffi::SQLITE_ERROR, false),
    ] {
        let fault = Fault::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert_eq!(matches!(fault, Fault::Unavailable(_)), passes, "{code}: {fault:?}");
    }
}
