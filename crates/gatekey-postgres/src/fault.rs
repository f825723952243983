//! What goes wrong, sorted by who can help: try again at once, try again later, or look at what is stored.

use std::{error::Error as _, fmt};

use deadpool_postgres::{PoolError, TimeoutType};
use gatekey_core::store::StoreError;
use tokio_postgres::{Error, error::SqlState};

/// Why a call failed, in one line without values: a server's own text may quote a row, password hash included.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It lost a race that the server settled (serialisation, deadlock) and was undone: the same call may be made again.
    Raced(String),
    Unavailable(String),
    Corrupt(String),
}

impl Fault {
    pub(crate) fn corrupt(what: impl fmt::Display) -> Self {
        Self::Corrupt(what.to_string())
    }

    pub(crate) fn unavailable(what: impl fmt::Display) -> Self {
        Self::Unavailable(what.to_string())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let cause = said(&error);
        // Without the server's word it is the connection's end, however the driver calls it.
        let Some(state) = error.code() else { return Self::Unavailable(cause) };
        if *state == SqlState::T_R_SERIALIZATION_FAILURE || *state == SqlState::T_R_DEADLOCK_DETECTED {
            return Self::Raced(cause);
        }
        let class = state.code().get(..2).unwrap_or_default();
        let passes = matches!(
            class,
            // Connections; roles and passwords; databases; transactions that were rolled back.
            "08" | "28" | "3D" | "40"
            // No memory, disk or connection left; an object in use, a lock not had in time.
            | "53" | "55"
            // Cancelled by a time limit, by an administrator, or while starting up or shutting down.
            | "57"
            // Input and output.
            | "58"
        ) || [
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            SqlState::INSUFFICIENT_PRIVILEGE,
        ]
        .contains(state);
        // What is left is a table that somebody changed or dropped, a value that we never write, or an identifier that
        // exists: no call will succeed by being made again.
        if passes { Self::Unavailable(cause) } else { Self::Corrupt(cause) }
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Unavailable(said(&error)),
            PoolError::Timeout(TimeoutType::Wait) => Self::unavailable("no connection was free in time"),
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                Self::unavailable("the server took no connection in time")
            }
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Self::unavailable(error)
            }
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Raced(cause) | Fault::Unavailable(cause) => Self::unavailable(cause),
            Fault::Corrupt(cause) => Self::corrupt(cause),
        }
    }
}

/// The error's text in one line. Of what a server says, the message and the code: its details quote values.
pub(crate) fn said(error: &Error) -> String {
    let text = match (error.as_db_error(), error.source()) {
        (Some(server), _) => format!("{} (SQLSTATE {})", server.message(), server.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
