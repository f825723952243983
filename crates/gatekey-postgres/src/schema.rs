//! Which tables there are. Every change of them is a numbered file in `migrations/`, applied once and in order.
//!
//! Nodes of two versions serve side by side while an upgrade goes round. So the tables say beside their own version
//! which programs they still suit: one that knows an older version goes on where what came since only adds to it.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::{Error, GenericClient};

use crate::names::Names;

struct Migration {
    sql: &'static str,
    /// The oldest version whose programs can go on with the tables after it. One that adds a column with a default, or a
    /// table, leaves it as it was before; one that takes away or changes the meaning of anything sets it to its own.
    suits: usize,
}

const MIGRATIONS: &[Migration] =
    &[Migration { sql: include_str!("../migrations/0001_sessions_users_and_throttles.sql"), suits: 1 }];

/// The version that this program's tables have.
pub(crate) const KNOWN: usize = MIGRATIONS.len();

/// Why the tables cannot be used.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A newer version of this program made them, or an older one did and they are not ours to change.
    Version(usize),
    Database(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// Looks whether the tables suit this program.
pub(crate) async fn check(client: &ClientWrapper, names: &Names) -> Result<(), Refused> {
    let found = version(&**client, names).await?;
    if found.suits_us() { Ok(()) } else { Err(Refused::Version(found.version)) }
}

/// Brings the tables to the version that this program knows, in one transaction, or leaves everything as it is.
///
/// Nodes that start at once come one after the other. The lock ends with the transaction, so it is safe behind a
/// connection pooler too.
pub(crate) async fn migrate(client: &mut ClientWrapper, names: &Names) -> Result<(), Refused> {
    // Looked at without a lock first: a node that starts changes nothing, waits for nobody, and needs no more
    // privileges than it has while serving.
    match check(client, names).await {
        Err(Refused::Version(found)) if found < KNOWN => {}
        known_or_refused => return known_or_refused,
    }
    let transaction = client.transaction().await?;
    // Others that migrate may be waited for longer than any call.
    transaction.batch_execute("SET LOCAL statement_timeout = 0").await?;
    let lock = names.fill("SELECT pg_advisory_xact_lock(hashtextextended('@channel', 1))");
    transaction.batch_execute(&lock).await?;
    let found = version(&*transaction, names).await?;
    // Another may have been quicker, and newer.
    if found.suits_us() {
        return Ok(());
    }
    let Some(missing) = MIGRATIONS.get(found.version..) else {
        return Err(Refused::Version(found.version));
    };
    // `IF NOT EXISTS` asks for the privilege to create one even where it exists.
    let exists =
        transaction.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&names.schema()]).await?;
    if exists.is_none() {
        transaction.batch_execute(&format!("CREATE SCHEMA \"{}\"", names.schema())).await?;
    }
    let mut suits = 0;
    for migration in missing {
        transaction.batch_execute(&names.fill_definition(migration.sql)).await?;
        suits = suits.max(migration.suits);
    }
    if found.version == 0 {
        let table = "CREATE TABLE @version (version integer NOT NULL, suits integer NOT NULL);
             INSERT INTO @version VALUES (0, 0)";
        transaction.batch_execute(&names.fill(table)).await?;
    }
    let number = |version| i32::try_from(version).unwrap_or(i32::MAX);
    let update = names.fill("UPDATE @version SET version = $1, suits = greatest(suits, $2)");
    transaction.execute(&update, &[&number(KNOWN), &number(suits)]).await?;
    transaction.commit().await?;
    Ok(())
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

async fn version(client: &impl GenericClient, names: &Names) -> Result<Found, Error> {
    // Not `to_regclass`: after a wait for the lock it may still answer from this connection's cache of names, which knows
    // nothing of what was just made (guarded by `ten_nodes_start_at_once`).
    let sql = "SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE nspname = $1 AND relname = $2";
    let table = format!("{}version", names.prefix());
    if client.query_opt(sql, &[&names.schema(), &table]).await?.is_none() {
        return Ok(Found { version: 0, suits: 0 });
    }
    let row = client.query_one(&names.fill("SELECT max(version), max(suits) FROM @version"), &[]).await?;
    // A number that no version has is one that we do not know.
    let number = |column| {
        let number = row.try_get::<_, Option<i32>>(column)?;
        Ok::<_, Error>(number.and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX))
    };
    Ok(Found { version: number(0)?, suits: number(1)? })
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
