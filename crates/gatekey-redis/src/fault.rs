//! What goes wrong, sorted by who can help: wait and try again, or look at what is stored.

use std::fmt;

use gatekey_core::store::StoreError;
use redis::{ErrorKind, ParsingError, RedisError, ServerErrorKind};

/// Why a call failed, in one line.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
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

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let kind = error.kind();
        // A value of another kind stands under a key of ours, or an answer is not what our command is answered with. All
        // the rest passes, or somebody has to make it pass: the connection, the server's state (LOADING, READONLY,
        // CLUSTERDOWN, MASTERDOWN, OOM, MISCONF, NOREPLICAS, BUSY, …), its set-up (passwords, rules).
        let corrupt = kind == ErrorKind::UnexpectedReturnType
            || error.code() == Some("WRONGTYPE")
            || kind == ErrorKind::Server(ServerErrorKind::ResponseError)
                && ran_into_an_error(error.detail().unwrap_or_default());
        if corrupt { Self::Corrupt(said(&error)) } else { Self::Unavailable(said(&error)) }
    }
}

/// Whether a script of ours stumbled over a value that we never write. Redis before 7 says the same where a command in it
/// was refused, and names the reason.
fn ran_into_an_error(detail: &str) -> bool {
    let refused =
        ["-OOM", "-MISCONF", "-NOREPLICAS", "-READONLY", "-LOADING", "-BUSY", "-MASTERDOWN", "-CLUSTERDOWN"];
    detail.contains("user_script") && !refused.iter().any(|refused| detail.contains(refused))
}

impl From<ParsingError> for Fault {
    fn from(error: ParsingError) -> Self {
        Self::corrupt(error)
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

/// The error's text in one line.
pub(crate) fn said(error: &RedisError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server's answer becomes.
    fn fault(answer: &str) -> Fault {
        redis::parse_redis_value(answer.as_bytes()).unwrap().extract_error().unwrap_err().into()
    }

    #[test]
    fn what_passes_is_unavailable_and_what_does_not_is_corrupt() {
        for answer in [
            "-LOADING Redis is loading the dataset in memory\r\n",
            "-READONLY You can't write against a read only replica.\r\n",
            "-CLUSTERDOWN The cluster is down\r\n",
            "-MASTERDOWN Link with MASTER is down\r\n",
            "-MISCONF Errors writing to the AOF file: No space left on device\r\n",
            "-NOREPLICAS Not enough good replicas to write.\r\n",
            "-OOM command not allowed when used memory > 'maxmemory'. script: 7b, on @user_script:26.\r\n",
            "-ERR Error running script (call to f_7b): @user_script:26: @user_script: 26: -OOM command not allowed\r\n",
            "-BUSY Redis is busy running a script.\r\n",
            "-NOAUTH Authentication required.\r\n",
            "-NOPERM this user has no permissions\r\n",
            "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
            "-ERR unknown command\r\n",
        ] {
            assert!(matches!(fault(answer), Fault::Unavailable(_)), "{answer}");
        }
        for answer in [
            "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
            "-WRONGTYPE Operation against a key holding the wrong kind of value script: 7b, on @user_script:9.\r\n",
            "-ERR user_script:9: a row of another version script: 7b, on @user_script:9.\r\n",
            "-ERR Error running script (call to f_7b): @user_script:9: user_script:9: a row of another version\r\n",
        ] {
            assert!(matches!(fault(answer), Fault::Corrupt(_)), "{answer}");
        }
    }
}
