//! What can go wrong in a call, as the caller sees it, with the fine reason beside it.
//!
//! Two levels, for two readers. The variant of [`AuthError`] is what the client may learn; gatekey-http gives each a
//! status and a code. The reason inside says which of many causes it was and goes to events and logs only: telling a
//! client why a token or a login was refused helps whoever is guessing.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use crate::{json::JsonError, random::RandomFailed, rotation::Outcome, store::StoreError, user::Rule};

/// Why an access token was refused. The client is told "expired" or "invalid" and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenError {
    /// Longer than 8 KiB.
    TooLong,
    /// Not three base64url parts, or parts that are not canonical.
    Malformed,
    /// The header is no strict JSON object of the members we know, or has one that we must refuse.
    Header,
    /// No key of that `kid`.
    UnknownKey,
    /// No key of that `kid` is known yet, and the issuer is being asked: the one reason that may pass by itself.
    KeyPending,
    /// Not the algorithm bound to the key.
    WrongAlgorithm,
    /// A JWT of another kind.
    WrongType,
    /// The signature does not verify.
    BadSignature,
    /// The claims are no strict JSON object, lack one that is required, or have one of a wrong type.
    Claims,
    /// Another issuer's.
    WrongIssuer,
    /// For another audience.
    WrongAudience,
    /// Issued in the future, or not valid yet.
    NotYetValid,
    /// Past its `exp` and the leeway.
    Expired,
    /// Of a session that was revoked.
    Revoked,
}

impl TokenError {
    /// The reason's name in events. Never changes.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::Header => "token_header",
            Self::UnknownKey => "token_unknown_key",
            Self::KeyPending => "token_key_pending",
            Self::WrongAlgorithm => "token_wrong_algorithm",
            Self::WrongType => "token_wrong_type",
            Self::BadSignature => "token_bad_signature",
            Self::Claims => "token_claims",
            Self::WrongIssuer => "token_wrong_issuer",
            Self::WrongAudience => "token_wrong_audience",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Expired => "token_expired",
            Self::Revoked => "token_revoked",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl Error for TokenError {}

impl From<JsonError> for TokenError {
    fn from(_: JsonError) -> Self {
        Self::Claims
    }
}

/// Why a login was refused. The client is told "invalid credentials" in every case, after the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoginRefusal {
    /// No account of that name.
    UnknownName,
    /// The wrong password, or an account without one.
    WrongPassword,
    /// The account is disabled.
    Disabled,
    /// All sessions of the account were revoked while the login was under way.
    Stale,
}

impl LoginRefusal {
    /// The reason's name in events. Never changes.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::UnknownName => "unknown_name",
            Self::WrongPassword => "wrong_password",
            Self::Disabled => "disabled",
            Self::Stale => "stale",
        }
    }
}

/// Why a client that asked about a token was refused. It is told "invalid client" in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientRefusal {
    /// No credentials of the one kind that is taken.
    Missing,
    /// No client of that id.
    Unknown,
    /// Not that client's secret.
    WrongSecret,
}

impl ClientRefusal {
    /// The reason's name in events. Never changes.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "client_missing",
            Self::Unknown => "client_unknown",
            Self::WrongSecret => "client_secret",
        }
    }
}

/// Why a refresh token was refused for good. The client is told `invalid_grant` in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrantRefusal {
    /// Not a refresh token of ours.
    Token(TokenError),
    /// No such session.
    UnknownSession,
    /// The subject is disabled or gone; the session was revoked.
    Subject,
    /// What the rotation decided.
    Rotation(Outcome),
}

impl GrantRefusal {
    /// The reason's name in events. Never changes.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            Self::UnknownSession => "session_unknown",
            Self::Subject => "subject_gone",
            Self::Rotation(outcome) => outcome.name(),
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug)]
pub enum AuthError {
    /// An access token was refused.
    InvalidToken(TokenError),
    /// A name and password were refused.
    InvalidCredentials(LoginRefusal),
    /// A refresh token was refused; the client has to log in again.
    InvalidGrant(GrantRefusal),
    /// A client that asked about a token was refused.
    InvalidClient(ClientRefusal),
    /// A refresh asked for more scope than was granted. Nothing changed.
    InvalidScope,
    /// A refresh token that was live a moment ago. Nothing changed; the client holds a newer one.
    Superseded,
    /// The principal lacks a role or scope; the scope that would do, if it was one.
    InsufficientScope(Option<String>),
    /// The login is older than a guard asks for (RFC 9470).
    InsufficientAuthentication {
        /// How old it may be.
        max_age: Duration,
    },
    /// No such session of this subject.
    NotFound,
    /// The name is taken.
    UsernameTaken,
    /// A field breaks a rule.
    Validation {
        /// Which.
        field: &'static str,
        /// What rule.
        rule: Rule,
    },
    /// Too many attempts.
    RateLimited {
        /// When the next may pass.
        retry_after: Duration,
    },
    /// The store or the hashing pool cannot answer now. Nothing is known to have changed; the client may try again.
    Unavailable(Fault),
    /// A fault of ours, or of the set-up.
    Internal(Fault),
}

/// What failed underneath, for the log.
pub type Fault = Arc<dyn Error + Send + Sync + 'static>;

impl AuthError {
    /// The fine reason, for events and logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidToken(error) => error.reason(),
            Self::InvalidCredentials(refusal) => refusal.reason(),
            Self::InvalidGrant(refusal) => refusal.reason(),
            Self::InvalidClient(refusal) => refusal.reason(),
            Self::InvalidScope => "scope_widened",
            Self::Superseded => "superseded",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::InsufficientAuthentication { .. } => "authentication_too_old",
            Self::NotFound => "not_found",
            Self::UsernameTaken => "username_taken",
            Self::Validation { rule, .. } => rule.name(),
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable(_) => "unavailable",
            Self::Internal(_) => "fault",
        }
    }

    pub(crate) fn internal(fault: impl Error + Send + Sync + 'static) -> Self {
        Self::Internal(Arc::new(fault))
    }

    pub(crate) fn unavailable(fault: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Arc::new(fault))
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())?;
        if let Self::Unavailable(fault) | Self::Internal(fault) = self {
            write!(f, ": {fault}")?;
        }
        Ok(())
    }
}

impl Error for AuthError {}

impl From<TokenError> for AuthError {
    fn from(error: TokenError) -> Self {
        Self::InvalidToken(error)
    }
}

impl From<StoreError> for AuthError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable(error),
            StoreError::Corrupt(_) | StoreError::Unsupported => Self::internal(error),
        }
    }
}

impl From<RandomFailed> for AuthError {
    fn from(error: RandomFailed) -> Self {
        Self::internal(error)
    }
}
