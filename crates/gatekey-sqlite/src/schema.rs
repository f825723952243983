//! Which tables there are. Every change of them is a numbered file in `migrations/`, applied once and in order.
//!
//! Processes of two versions serve side by side while an upgrade goes round. So the tables say beside their own version
//! which programs they still suit: one that knows an older version goes on where what came since only adds to it.

use rusqlite::{Connection, Error, OptionalExtension, TransactionBehavior};

struct Migration {
    sql: &'static str,
    /// The oldest version whose programs can go on with the tables after it. One that adds a column with a default, or a
    /// table, leaves it as it was before; one that takes away or changes the meaning of anything sets it to its own.
    suits: usize,
}

const MIGRATIONS: &[Migration] =
    &[Migration { sql: include_str!("../migrations/0001_sessions_and_users.sql"), suits: 1 }];

/// The version that this program's tables have.
pub(crate) const KNOWN: usize = MIGRATIONS.len();

/// Why the file cannot be used.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A newer version of this program made them.
    Newer(usize),
    /// An older one did, or nobody, and they are not ours to change.
    Older(usize),
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
    if version(db)?.suits_us() {
        return Ok(());
    }
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    // Another may have been quicker, and newer.
    if found.suits_us() {
        return Ok(());
    }
    let Some(missing) = MIGRATIONS.get(found.version..) else {
        return Err(Refused::Newer(found.version));
    };
    let mut suits = 0;
    for migration in missing {
        transaction.execute_batch(migration.sql)?;
        suits = suits.max(migration.suits);
    }
    if found.version == 0 {
        transaction.execute_batch(
            "CREATE TABLE gatekey_schema (version INTEGER NOT NULL, suits INTEGER NOT NULL) STRICT;
             INSERT INTO gatekey_schema (version, suits) VALUES (0, 0);",
        )?;
    }
    let update = "UPDATE gatekey_schema SET version = ?1, suits = max(suits, ?2)";
    transaction.execute(update, [stored(KNOWN), stored(suits)])?;
    transaction.commit()?;
    Ok(())
}

/// Looks whether the tables suit this program.
pub(crate) fn check(db: &Connection) -> Result<(), Refused> {
    match version(db)? {
        found if found.suits_us() => Ok(()),
        Found { version, .. } if version < KNOWN => Err(Refused::Older(version)),
        Found { version, .. } => Err(Refused::Newer(version)),
    }
}

/// What the tables that are there say of themselves; 0 where there are none.
struct Found {
    version: usize,
    suits: usize,
}

impl Found {
    fn suits_us(&self) -> bool {
        self.version == KNOWN || self.version > KNOWN && self.suits <= KNOWN
    }
}

fn version(db: &Connection) -> Result<Found, Error> {
    let exists = db
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'gatekey_schema'", [], |_| {
            Ok(())
        })
        .optional()?;
    if exists.is_none() {
        return Ok(Found { version: 0, suits: 0 });
    }
    db.query_row("SELECT max(version), max(suits) FROM gatekey_schema", [], |row| {
        let number = |column| {
            let number: i64 = row.get(column)?;
            usize::try_from(number).map_err(|_| Error::IntegralValueOutOfRange(column, number))
        };
        Ok(Found { version: number(0)?, suits: number(1)? })
    })
}

fn stored(version: usize) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_suits_its_own_version_and_no_older_one_than_the_one_before() {
        let mut before = 1;
        for (version, migration) in (1..).zip(MIGRATIONS) {
            assert!((before..=version).contains(&migration.suits), "{version}");
            before = migration.suits;
        }
    }
}
