//! The application's table, and what gatekey asks of it.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use gatekey::{PasswordHash, StoreError, SubjectId, Timestamp, User, UserStore, Username, async_trait};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS members (
        id            INTEGER PRIMARY KEY,
        email         TEXT NOT NULL UNIQUE, -- in lower case
        password_hash TEXT,
        is_staff      INTEGER NOT NULL DEFAULT 0,
        is_locked     INTEGER NOT NULL DEFAULT 0,
        joined_at     INTEGER NOT NULL DEFAULT (unixepoch())
    );
    INSERT OR IGNORE INTO members (email, is_staff, password_hash) VALUES
        ('bob@example.com', 1, '$2b$10$N9qo8uLOickgx2ZMRZoMyeo/kFUdQ.x0LLn67WkQVJvKDXrSdv3Su'),
        ('eve@example.com', 0, '$2b$10$N9qo8uLOickgx2ZMRZoMyeo/kFUdQ.x0LLn67WkQVJvKDXrSdv3Su');
";

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct Members(Arc<Mutex<Connection>>);

impl Members {
    /// Opens the file, and makes the table if it is not there.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(TABLE)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Keeps a member out. `false` if there is none of that id.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub(crate) async fn lock(&self, id: i64) -> Result<bool, StoreError> {
        self.call(move |table| Ok(table.execute("UPDATE members SET is_locked = 1 WHERE id = ?", [id])? == 1))
            .await
    }

    /// Calls SQLite where it keeps nobody waiting.
    async fn call<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let table = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || act(&table.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
            .map_err(StoreError::unavailable)?
            .map_err(StoreError::unavailable)
    }
}

#[async_trait]
impl UserStore for Members {
    async fn find_by_name(&self, name: &Username) -> Result<Option<User>, StoreError> {
        let email = name.canonical().to_owned();
        self.call(|table| table.query_row("SELECT * FROM members WHERE email = ?", [email], user).optional())
            .await
    }

    async fn find_by_id(&self, id: &SubjectId) -> Result<Option<User>, StoreError> {
        // What is no number is no member's.
        let Ok(id) = id.as_str().parse::<i64>() else { return Ok(None) };
        self.call(move |table| table.query_row("SELECT * FROM members WHERE id = ?", [id], user).optional())
            .await
    }

    async fn set_password_hash(&self, id: &SubjectId, old: &str, new: &str) -> Result<bool, StoreError> {
        let Ok(id) = id.as_str().parse::<i64>() else { return Ok(false) };
        let (old, new) = (old.to_owned(), new.to_owned());
        self.call(move |table| {
            // In one statement: a password that was changed meanwhile stays.
            let set = "UPDATE members SET password_hash = :new WHERE id = :id AND password_hash = :old";
            Ok(table.execute(set, named_params! { ":id": id, ":old": old, ":new": new })? == 1)
        })
        .await
    }
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let staff: bool = row.get("is_staff")?;
    Ok(User {
        id: SubjectId::new(row.get::<_, i64>("id")?.to_string()),
        username: row.get("email")?,
        password_hash: row.get::<_, Option<String>>("password_hash")?.map(PasswordHash::new),
        roles: if staff { vec!["staff".to_owned()] } else { Vec::new() },
        scope: None,
        disabled: row.get("is_locked")?,
        created_at: Timestamp::from_millis(row.get::<_, i64>("joined_at")? * 1000),
    })
}
