//! Which tables there are. Every change of them is a numbered file in `migrations/`, applied once and in order.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::{Error, GenericClient};

use crate::names::Names;

const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_sessions_users_and_throttles.sql")];

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

/// Looks whether the tables have the version that this program knows.
pub(crate) async fn check(client: &ClientWrapper, names: &Names) -> Result<(), Refused> {
    match version(&**client, names).await? {
        KNOWN => Ok(()),
        found => Err(Refused::Version(found)),
    }
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
    let Some(missing) = MIGRATIONS.get(found..) else {
        return Err(Refused::Version(found));
    };
    // `IF NOT EXISTS` asks for the privilege to create one even where it exists.
    let exists =
        transaction.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&names.schema()]).await?;
    if exists.is_none() {
        transaction.batch_execute(&format!("CREATE SCHEMA \"{}\"", names.schema())).await?;
    }
    for migration in missing {
        transaction.batch_execute(&names.fill_definition(migration)).await?;
    }
    if found == 0 {
        let table =
            names.fill("CREATE TABLE @version (version integer NOT NULL); INSERT INTO @version VALUES (0)");
        transaction.batch_execute(&table).await?;
    }
    let version = i32::try_from(KNOWN).unwrap_or(i32::MAX);
    transaction.execute(&names.fill("UPDATE @version SET version = $1"), &[&version]).await?;
    transaction.commit().await?;
    Ok(())
}

/// The version of the tables that are there; 0 where there are none.
async fn version(client: &impl GenericClient, names: &Names) -> Result<usize, Error> {
    // Not `to_regclass`: after a wait for the lock it may still answer from this connection's cache of names, which knows
    // nothing of what was just made (guarded by `ten_nodes_start_at_once`).
    let sql = "SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE nspname = $1 AND relname = $2";
    let table = format!("{}version", names.prefix());
    if client.query_opt(sql, &[&names.schema(), &table]).await?.is_none() {
        return Ok(0);
    }
    let row = client.query_one(&names.fill("SELECT max(version) FROM @version"), &[]).await?;
    // A number that no version has is one that we do not know.
    Ok(row
        .try_get::<_, Option<i32>>(0)?
        .and_then(|version| usize::try_from(version).ok())
        .unwrap_or(usize::MAX))
}
