//! Opening the file: one connection that writes, a few that read.

use std::{path::Path, thread, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{
    Durability, OpenError, SqliteOptions,
    schema::{self, Refused},
};

/// How long to wait between two attempts to put the file into write-ahead logging.
const PAUSE: Duration = Duration::from_millis(5);

/// Statements to keep prepared; more than there are.
const STATEMENTS: usize = 32;

pub(crate) fn all(path: &Path, options: &SqliteOptions) -> Result<(Connection, Vec<Connection>), OpenError> {
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Unusable {
        path: path.to_owned(),
        source,
    };
    // SQLite takes these for databases in memory, of which each connection would have its own.
    if path.as_os_str().is_empty() || path.as_os_str() == ":memory:" {
        return Err(unusable("this store keeps files; for memory there is `MemoryStore`".into()));
    }
    if options.migrate {
        create(path).map_err(|error| unusable(error.into()))?;
    }
    // No URI flag: a path is a path, also one that begins with `file:`.
    let writer = writer(path, options).map_err(|refused| match refused {
        Refused::Newer(found) => {
            OpenError::NewerSchema { path: path.to_owned(), found, known: schema::KNOWN }
        }
        Refused::Older(found) => {
            OpenError::OlderSchema { path: path.to_owned(), found, known: schema::KNOWN }
        }
        Refused::OtherJournal(mode) => {
            unusable(format!("it cannot use write-ahead logging, only {mode:?}").into())
        }
        Refused::Sqlite(error) => unusable(said(&error).into()),
    })?;
    let readers = (0..options.readers)
        .map(|_| reader(path, options))
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(said(&error).into()))?;
    Ok((writer, readers))
}

/// Creates the file for its owner alone, if it does not exist. SQLite gives the two files beside it the same mode.
fn create(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn writer(path: &Path, options: &SqliteOptions) -> Result<Connection, Refused> {
    let mut db = connect(path, options)?;
    // Looked at first: a file of somebody else's is not put into write-ahead logging.
    if !options.migrate {
        schema::check(&db)?;
    }
    use_write_ahead_log(&db, options.busy_timeout)?;
    match options.durability {
        Durability::Full => {
            db.pragma_update(None, "synchronous", "FULL")?;
            // On macOS a sync does not reach the disk without these; elsewhere they change nothing.
            db.pragma_update(None, "fullfsync", true)?;
            db.pragma_update(None, "checkpoint_fullfsync", true)?;
        }
        Durability::Normal => db.pragma_update(None, "synchronous", "NORMAL")?,
    }
    if options.migrate {
        schema::migrate(&mut db)?;
    }
    Ok(db)
}

fn reader(path: &Path, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    let db = connect(path, options)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

fn connect(path: &Path, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    // Each connection belongs to one thread, so SQLite need not lock it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(options.busy_timeout)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

/// Where several open a new file at once, SQLite gives this up at once and does not wait, so this does.
fn use_write_ahead_log(db: &Connection, timeout: Duration) -> Result<(), Refused> {
    let mut waited = Duration::ZERO;
    loop {
        let asked: rusqlite::Result<String> =
            db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
        match asked {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(Refused::OtherJournal(mode)),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                if waited >= timeout {
                    return Err(error.into());
                }
                thread::sleep(PAUSE);
                waited += PAUSE;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The error's text in one line; that of a failed statement has the statement in it.
fn said(error: &rusqlite::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
