//! What goes wrong in SQLite, sorted by who can help: wait and try again, or look at the file.

use std::fmt::Display;

use gatekey_core::store::StoreError;
use rusqlite::{Error, ErrorCode};

/// Why a call failed. Cloned for every call of a transaction that failed as a whole, so it is text and keeps no
/// `rusqlite` type: that crate's version is a range, and none of its types may reach a user of this one.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Unavailable(String),
    Corrupt(String),
}

impl Fault {
    pub(crate) fn corrupt(what: impl Display) -> Self {
        Self::Corrupt(what.to_string())
    }

    /// The same cause, for a call that only shared a transaction with it.
    pub(crate) fn passing(self) -> Self {
        match self {
            Self::Unavailable(cause) | Self::Corrupt(cause) => Self::Unavailable(cause),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let passes = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::ReadOnly
                    | ErrorCode::CannotOpen
                    | ErrorCode::PermissionDenied
                    | ErrorCode::OutOfMemory
                    | ErrorCode::OperationInterrupted
                    | ErrorCode::OperationAborted
                    | ErrorCode::FileLockingProtocolFailed
                    | ErrorCode::SchemaChanged
                    | ErrorCode::NoLargeFileSupport
            )
        );
        // What is left is a file that is damaged or no database, a table that somebody changed or dropped, a value
        // that we never write, or an identifier that exists: no call will succeed by being made again.
        if passes { Self::Unavailable(error.to_string()) } else { Self::Corrupt(error.to_string()) }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(cause) => Self::unavailable(cause),
            Fault::Corrupt(cause) => Self::corrupt(cause),
        }
    }
}
