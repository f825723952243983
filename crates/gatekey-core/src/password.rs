//! Placeholder for passwords.

use crate::secret::Secret;

/// A stored password hash: a PHC string, or an imported one.
#[derive(Clone, Debug)]
pub struct PasswordHash(Secret<String>);

impl PasswordHash {
    /// Takes in a stored string as it is.
    #[must_use]
    pub fn new(stored: impl Into<String>) -> Self {
        Self(Secret::new(stored.into()))
    }

    /// The string to store.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}
