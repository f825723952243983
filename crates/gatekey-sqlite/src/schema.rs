//! Which tables there are. Every change of them is a numbered file in `migrations/`, applied once and in order.

use rusqlite::{Connection, Error, OptionalExtension, TransactionBehavior};

const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_sessions_and_users.sql")];

/// The version that this program's tables have.
pub(crate) const KNOWN: usize = MIGRATIONS.len();

/// Why the file cannot be used.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A newer version of this program made them.
    Newer(usize),
    /// Where it lies, SQLite knows only this kind of journal.
    OtherJournal(String),
    Sqlite(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Brings the tables to the version that this program knows, or leaves the file as it is.
///
/// The version stands in a table of ours and not in `user_version`: the file belongs to the host, and so does that
/// number.
pub(crate) fn migrate(db: &mut Connection) -> Result<(), Refused> {
    // Looked at without a lock first, so that opening a store never waits for a writer.
    if version(db)? == KNOWN {
        return Ok(());
    }
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let Some(missing) = MIGRATIONS.get(found..) else {
        return Err(Refused::Newer(found));
    };
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    if found == 0 {
        transaction.execute_batch(
            "CREATE TABLE gatekey_schema (version INTEGER NOT NULL) STRICT;
             INSERT INTO gatekey_schema (version) VALUES (0);",
        )?;
    }
    transaction.execute("UPDATE gatekey_schema SET version = ?1", [stored(KNOWN)])?;
    transaction.commit()?;
    Ok(())
}

fn version(db: &Connection) -> Result<usize, Error> {
    let exists = db
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'gatekey_schema'", [], |_| {
            Ok(())
        })
        .optional()?;
    if exists.is_none() {
        return Ok(0);
    }
    let version: i64 = db.query_row("SELECT max(version) FROM gatekey_schema", [], |row| row.get(0))?;
    usize::try_from(version).map_err(|_| Error::IntegralValueOutOfRange(0, version))
}

fn stored(version: usize) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
