//! What a login gives, and who keeps it.
//!
//! A store holds the tokens of one login, and the client tells it each change before it acts on it: a refresh token is
//! used once, so the one that is kept has to be the newest. [`MemoryStore`] forgets them with the process. A program
//! that is to survive a restart implements [`TokenStore`] on a file that only its user may read, or on the platform's
//! keychain; `examples/client` has one of a file.

use std::{error::Error, fmt, sync::Mutex};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::locked;

/// The tokens of one login. They are secrets: `Debug` shows none, and what is dropped is wiped.
///
/// `Serialize` and `Deserialize` are for a [`TokenStore`]; what they write has to be kept like a password.
#[derive(Clone, Deserialize, Serialize)]
pub struct Tokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    /// Names the session, and is no secret.
    pub(crate) session_id: String,
}

impl Tokens {
    /// Which session they are of, as in `GET /auth/sessions`.
    #[must_use]
    pub fn session_id(&self) -> &str {
        &self.session_id
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.access_token.zeroize();
        self.refresh_token.zeroize();
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

/// What went wrong in a store.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// Keeps the tokens of one login.
///
/// - [`save`](Self::save) returns once the tokens would be found again after a crash, and replaces what was there whole:
///   write a new file, rename it and sync the folder. The client uses no refresh token before this has returned.
/// - [`load`](Self::load) gives what was saved last. It is asked before each refresh, so that of several processes on one
///   store each finds what another one has refreshed, or that it has logged out.
/// - An error of either fails the call that needed it; the session goes on, and the next call tries again. What cannot be
///   loaded is not overwritten: another process may have saved something newer there.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// The tokens that were saved last; none if that was `None`, or nothing.
    ///
    /// # Errors
    ///
    /// Where it is not known what was saved. Not for a file that is not there: then nobody is logged in.
    async fn load(&self) -> Result<Option<Tokens>, StoreError>;

    /// Keeps these tokens, and forgets those before. `None`: the session is over.
    ///
    /// # Errors
    ///
    /// Where a crash could bring the former ones back.
    async fn save(&self, tokens: Option<&Tokens>) -> Result<(), StoreError>;
}

/// Keeps tokens as long as the process lives.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Option<Tokens>>);

#[async_trait]
impl TokenStore for MemoryStore {
    async fn load(&self) -> Result<Option<Tokens>, StoreError> {
        Ok(locked(&self.0).clone())
    }

    async fn save(&self, tokens: Option<&Tokens>) -> Result<(), StoreError> {
        *locked(&self.0) = tokens.cloned();
        Ok(())
    }
}
