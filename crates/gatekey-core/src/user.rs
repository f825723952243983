//! Who can log in: names, accounts, and what an application adds to their tokens.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use crate::{
    password::PasswordHash,
    session::{Session, SubjectId},
    store::StoreError,
    time::Timestamp,
};

/// Which rule a field broke; the closed list of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Fewer code points than allowed.
    TooShort,
    /// More code points than allowed.
    TooLong,
    /// A password that everybody tries.
    Common,
    /// A password that is made of the user name.
    ContainsUsername,
    /// A character that may not stand there.
    Characters,
    /// Not one of the values the field takes.
    UnknownValue,
    /// Not of the field's JSON type.
    WrongType,
    /// A member the request does not have.
    UnknownMember,
}

impl Rule {
    /// The rule's name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::Common => "common",
            Self::ContainsUsername => "contains_username",
            Self::Characters => "characters",
            Self::UnknownValue => "unknown_value",
            Self::WrongType => "wrong_type",
            Self::UnknownMember => "unknown_member",
        }
    }
}

/// A user name: 1 to 128 code points, no control characters; compared after NFKC and lower-casing.
///
/// ```
/// use gatekey_core::user::{Rule, Username};
///
/// let name = Username::new("Ａlice").unwrap(); // a full-width A
/// assert_eq!(name.canonical(), "alice");
/// assert_eq!(name.as_str(), "Ａlice");
/// assert_eq!(Username::new("al\u{0}ice").unwrap_err(), Rule::Characters);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Username {
    shown: String,
    canonical: String,
}

impl Username {
    /// The most code points a name may have.
    pub const MAX: usize = 128;

    /// Takes in a name as typed.
    ///
    /// # Errors
    ///
    /// [`Rule::TooShort`] for none, [`Rule::TooLong`] for more than 128 code points, [`Rule::Characters`] for a control
    /// character, white space at an end, or a name of which nothing is left after normalisation.
    pub fn new(name: &str) -> Result<Self, Rule> {
        // Canonical text may be up to 18 times as long as what was typed, so what was typed is measured first.
        if name.is_empty() {
            return Err(Rule::TooShort);
        }
        if name.chars().count() > Self::MAX {
            return Err(Rule::TooLong);
        }
        let canonical: String = name.nfkc().flat_map(char::to_lowercase).nfkc().collect();
        let unfit = |text: &str| text.chars().any(char::is_control) || text.trim() != text || text.is_empty();
        if unfit(name) || unfit(&canonical) {
            return Err(Rule::Characters);
        }
        Ok(Self { shown: name.to_owned(), canonical })
    }

    /// The name as typed, for display.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The form in which names are compared; what a store keeps unique.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

/// An account, as a [`UserStore`](crate::store::UserStore) finds it.
#[derive(Clone, Debug)]
pub struct User {
    /// The `sub` of its tokens. Opaque, and never given to another account again.
    pub id: SubjectId,
    /// The name as registered.
    pub username: String,
    /// The stored password hash; none for an account that cannot log in by password.
    pub password_hash: Option<PasswordHash>,
    /// Its roles: the `roles` claim.
    pub roles: Vec<String>,
    /// The scope it is granted at login, space-separated; none for no `scope` claim.
    pub scope: Option<String>,
    /// A disabled account cannot log in or refresh.
    pub disabled: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

/// An account to be created.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// A fresh random id. A store with ids of its own may use those instead.
    pub id: SubjectId,
    /// The name.
    pub username: Username,
    /// The hashed password.
    pub password_hash: PasswordHash,
    /// When.
    pub created_at: Timestamp,
}

/// What an administrator changes of an account; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// Whether it may log in.
    pub disabled: Option<bool>,
    /// Its roles.
    pub roles: Option<Vec<String>>,
    /// Its scope; `Some(None)` takes it away.
    pub scope: Option<Option<String>>,
}

/// The host's own claims, asked for at each issue of an access token.
///
/// Names of the contract's own claims (`iss`, `sub`, `roles`, …) are refused when a token is issued: they cannot be
/// overwritten. Anyone who holds a token can read them, so nothing secret belongs there.
#[async_trait]
pub trait ClaimsSource: Send + Sync + fmt::Debug + 'static {
    /// The claims to add for this user and session.
    ///
    /// # Errors
    ///
    /// An error makes the login or refresh fail as retryable.
    async fn claims(&self, user: &User, session: &Session) -> Result<Map<String, Value>, StoreError>;
}

/// No claims of the host's own: the default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoClaims;

#[async_trait]
impl ClaimsSource for NoClaims {
    async fn claims(&self, _: &User, _: &Session) -> Result<Map<String, Value>, StoreError> {
        Ok(Map::new())
    }
}

/// Asks whether a password is known from a breach. The host's own: core does no I/O.
#[async_trait]
pub trait BreachCheck: Send + Sync + fmt::Debug + 'static {
    /// Whether the password is known to attackers.
    ///
    /// # Errors
    ///
    /// An error makes registration or password change fail as retryable; a check that should fail open returns
    /// `Ok(false)` itself, and says so in its log.
    async fn is_breached(&self, password: &str) -> Result<bool, StoreError>;
}

pub(crate) type SharedClaims = Arc<dyn ClaimsSource>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_after_normalising_and_folding_case() {
        for (a, b) in [("ALICE", "alice"), ("ﬁona", "FIONA"), ("e\u{301}va", "Éva"), ("Ⅷ", "viii")] {
            assert_eq!(
                Username::new(a).unwrap().canonical(),
                Username::new(b).unwrap().canonical(),
                "{a} {b}"
            );
        }
    }

    #[test]
    fn a_name_has_1_to_128_code_points_and_no_control_characters() {
        assert_eq!(Username::new("").unwrap_err(), Rule::TooShort);
        assert!(Username::new(&"é".repeat(128)).is_ok());
        assert_eq!(Username::new(&"é".repeat(129)).unwrap_err(), Rule::TooLong);
        for name in ["a\u{0}", "a\nb", "\u{85}a", " alice", "alice\u{3000}", "\u{7f}"] {
            assert_eq!(Username::new(name).unwrap_err(), Rule::Characters, "{name:?}");
        }
    }
}
