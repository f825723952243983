//! The threads that do the blocking work, and the queues in front of them.
//!
//! One thread writes. It takes whatever has queued up meanwhile as one transaction and answers when that is committed:
//! the disk is synced once for many calls (group commit). A few threads read beside it, each seeing the last commit.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use gatekey_core::store::StoreError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::fault::Fault;

/// The most calls in one transaction: bounds how long the first of them waits for the last.
const BATCH: usize = 256;

/// A queued call.
trait Call: Send {
    /// Does the work and keeps the result. `Err` repeats why it failed.
    fn run(&mut self, db: &Connection) -> Result<(), Fault>;

    /// Answers: with the kept result, or with why the transaction around it failed.
    fn answer(self: Box<Self>, committed: Result<(), Fault>);

    /// Whether nobody waits for the answer any more.
    fn abandoned(&self) -> bool;
}

struct Waiting<W, T> {
    work: Option<W>,
    result: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<W, T> Call for Waiting<W, T>
where
    W: FnOnce(&Connection) -> Result<T, Fault> + Send,
    T: Send,
{
    fn run(&mut self, db: &Connection) -> Result<(), Fault> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        let result = work(db);
        let outcome = result.as_ref().map(|_| ()).map_err(Fault::clone);
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, committed: Result<(), Fault>) {
        let Self { result, reply, .. } = *self;
        let never_ran = || Err(Fault::Unavailable("the call was not made".to_owned()));
        let answer = committed.and_then(|()| result.unwrap_or_else(never_ran));
        // Whoever asked may be gone; what was done stays done.
        let _ = reply.send(answer.map_err(StoreError::from));
    }

    fn abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

type Queue = SyncSender<Box<dyn Call>>;
type Calls = Receiver<Box<dyn Call>>;

/// A writer and its readers. Dropping it finishes what is queued and ends the threads.
#[derive(Debug)]
pub(crate) struct Threads {
    // `None` once dropping began: a thread ends when its queue has no sender left and is empty.
    writes: Option<Queue>,
    reads: Option<Queue>,
    writer: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts the writer, has it open the connections, and starts the readers.
    pub(crate) async fn start<E>(
        queue: usize,
        open: impl FnOnce() -> Result<(Connection, Vec<Connection>), E> + Send + 'static,
        failed: impl Fn(std::io::Error) -> E,
    ) -> Result<Self, E>
    where
        E: Send + 'static,
    {
        let (writes, calls) = sync_channel(queue);
        let (ready, opened) = oneshot::channel();
        let writer = thread::Builder::new()
            .name("gatekey-sqlite-writer".to_owned())
            .spawn(move || match open() {
                Ok((db, readers)) => {
                    // Nobody is there if the future that opens the store was dropped.
                    if ready.send(Ok(readers)).is_ok() {
                        write(&db, &calls);
                    }
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })
            .map_err(&failed)?;
        let connections = opened
            .await
            .map_err(|_| failed(std::io::Error::other("the thread that opens it ended early")))??;

        let (reads, calls) = sync_channel(queue);
        let calls = Arc::new(Mutex::new(calls));
        let mut threads =
            Self { writes: Some(writes), reads: Some(reads), writer: Some(writer), readers: Vec::new() };
        for db in connections {
            let calls = Arc::clone(&calls);
            let reader = thread::Builder::new()
                .name("gatekey-sqlite-reader".to_owned())
                .spawn(move || read(&db, &calls))
                .map_err(&failed)?;
            threads.readers.push(reader);
        }
        Ok(threads)
    }

    /// Has the writer do `work` inside a transaction; the answer comes when that is committed.
    ///
    /// `work` may be one statement. Several that belong together stand in a [`savepoint`], since the transaction
    /// belongs to other calls as well.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        call(self.writes.as_ref(), work).await
    }

    /// Has a reader do `work`. Each statement of it sees one moment of the database, and two may see different ones.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        call(self.reads.as_ref(), work).await
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Readers first: the connection that closes last empties the write-ahead log, and only the writer's may write.
        self.reads = None;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.writes = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

async fn call<T: Send + 'static>(
    queue: Option<&Queue>,
    work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = || StoreError::unavailable("the store's thread has ended");
    let (reply, answer) = oneshot::channel();
    let waiting = Box::new(Waiting { work: Some(work), result: None, reply });
    // Never waits for room: a caller that has to wait anyway is better told so, and the queue bounds the memory.
    match queue.ok_or_else(ended)?.try_send(waiting) {
        Ok(()) => answer.await.unwrap_or_else(|_| Err(ended())),
        Err(TrySendError::Full(_)) => Err(StoreError::unavailable("the store's queue is full")),
        Err(TrySendError::Disconnected(_)) => Err(ended()),
    }
}

fn write(db: &Connection, calls: &Calls) {
    while let Ok(first) = calls.recv() {
        let mut batch = vec![first];
        batch.extend(calls.try_iter().take(BATCH - 1));
        let committed = commit(db, &mut batch);
        for call in batch {
            call.answer(committed.clone());
        }
    }
}

/// Runs the calls in one transaction. `Err` says that none of them happened.
fn commit(db: &Connection, batch: &mut [Box<dyn Call>]) -> Result<(), Fault> {
    let run = |sql| db.prepare_cached(sql).and_then(|mut s| s.execute([]));
    // IMMEDIATE: the write lock comes first, so what the calls read cannot change before they write, whatever other
    // process has the file open.
    run("BEGIN IMMEDIATE")?;
    let all_ran = batch.iter_mut().try_for_each(|call| match call.run(db) {
        // A full disk and its like undo the whole transaction, and with it the calls before.
        Err(fault) if db.is_autocommit() => Err(fault),
        // Any other failure undoes its own statement and is that call's alone.
        Err(_) | Ok(()) => Ok(()),
    });
    let committed = all_ran.and_then(|()| run("COMMIT").map_err(Fault::from));
    if committed.is_err() && !db.is_autocommit() {
        // What a rollback cannot undo, SQLite undoes when the file is opened next.
        let _ = run("ROLLBACK");
    }
    // Whatever one of them met, the others may be made again.
    committed.map(|_| ()).map_err(Fault::passing)
}

/// Runs statements that belong together inside the transaction of other calls: all of them happen or none.
pub(crate) fn savepoint<T>(db: &Connection, steps: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let run = |sql| db.prepare_cached(sql).and_then(|mut s| s.execute([]));
    run("SAVEPOINT gatekey")?;
    let done = steps();
    if db.is_autocommit() {
        // SQLite has undone the transaction already, savepoint and all.
        return done;
    }
    let undone = match &done {
        Ok(_) => Ok(0),
        Err(_) => run("ROLLBACK TO gatekey"),
    };
    if let Err(error) = undone.and_then(|_| run("RELEASE gatekey")) {
        // Half of the steps may stand. Better none of anybody's.
        let _ = run("ROLLBACK");
        return Err(error.into());
    }
    done
}

fn read(db: &Connection, calls: &Mutex<Calls>) {
    loop {
        // One idle reader waits at the queue, the others for their turn to.
        let next = calls.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut call) = next else { return };
        if call.abandoned() {
            continue;
        }
        // The fault is kept with the call.
        let _ = call.run(db);
        call.answer(Ok(()));
    }
}
