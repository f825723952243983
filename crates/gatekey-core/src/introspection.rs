//! Who may ask whether a token is live: confidential clients ([RFC 7662 section 2.1]), each with a secret.
//!
//! 1. Without a client nobody may ask, and the endpoint does not exist.
//! 2. Only the SHA-256 of a secret is kept. It is random and long, so a plain hash is enough; and it is compared in
//!    constant time.
//! 3. An id and a secret are of characters that mean the same before and after form encoding: clients disagree on
//!    whether RFC 6749 section 2.3.1 is to be followed to the letter, and so need not care.
//! 4. Wrong secrets are counted by network, in this process: a caller who knows its secret is never slowed down by a
//!    store. Once there are too many, no secret from that network is looked at for a while.
//!
//! [RFC 7662 section 2.1]: https://www.rfc-editor.org/rfc/rfc7662#section-2.1
//!
//! ```
//! use gatekey_core::introspection::IntrospectionClient;
//!
//! assert!(IntrospectionClient::new("orders-api", "Jm2hCz1XhJq0iVYpU3m7mS9v8bQ4tTqk").is_ok());
//! assert!(IntrospectionClient::new("orders-api", "hunter2").is_err());
//! ```

use std::fmt;

use aws_lc_rs::digest;

use crate::{
    config::ConfigError,
    error::ClientRefusal,
    secret::{self, Secret},
};

/// A client that may introspect tokens.
#[derive(Clone)]
pub struct IntrospectionClient {
    id: String,
    digest: [u8; 32],
}

/// The fewest characters of a secret; 32 of base64 are 192 random bits.
const MIN_SECRET: usize = 32;

impl IntrospectionClient {
    /// Takes an id and a secret, each of `A-Z a-z 0-9 - . _ ~`. The secret has at least 32 of them, and they have to be
    /// random: `openssl rand -hex 32`. It is hashed at once and not kept.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Setting`], without any of the secret.
    pub fn new(id: impl Into<String>, secret: &str) -> Result<Self, ConfigError> {
        let id = id.into();
        let unreserved = |text: &str| {
            text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~'))
        };
        let wrong = |problem: &str| Err(ConfigError::setting(NAME, format!("{id:?}: {problem}")));
        if id.is_empty() || !unreserved(&id) {
            return wrong("an id is of letters, digits, - . _ ~");
        }
        if secret.len() < MIN_SECRET || !unreserved(secret) {
            return wrong("a secret has at least 32 random characters of letters, digits, - . _ ~");
        }
        let digest = sha256(secret);
        Ok(Self { id, digest })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for IntrospectionClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntrospectionClient({:?})", self.id)
    }
}

/// The setting's name in errors.
const NAME: &str = "introspection_clients";

fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    bytes
}

/// Refuses two clients of one id: which of them a request means could not be told.
pub(crate) fn check(clients: &[IntrospectionClient]) -> Result<(), ConfigError> {
    for (i, client) in clients.iter().enumerate() {
        if clients[..i].iter().any(|other| other.id == client.id) {
            return Err(ConfigError::setting(NAME, format!("{:?} stands twice", client.id)));
        }
    }
    Ok(())
}

/// Whether the secret is that client's.
pub(crate) fn authenticate(
    clients: &[IntrospectionClient],
    id: &str,
    secret: &Secret<String>,
) -> Result<(), ClientRefusal> {
    let presented = sha256(secret.expose());
    let known = clients.iter().find(|client| client.id == id).ok_or(ClientRefusal::Unknown)?;
    if secret::equal(&known.digest, &presented) { Ok(()) } else { Err(ClientRefusal::WrongSecret) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789ABCDEF";

    #[test]
    fn an_id_and_a_secret_need_no_encoding_and_a_secret_is_long() {
        for (id, secret) in [("a", SECRET), ("orders-api_2.x~", &SECRET.repeat(4))] {
            assert_eq!(IntrospectionClient::new(id, secret).unwrap().id(), id);
        }
        for (id, secret) in [
            ("", SECRET),
            ("a:b", SECRET),
            ("a b", SECRET),
            ("é", SECRET),
            ("a", &SECRET[1..]),
            ("a", "0123456789abcdef0123456789ABCDE+"),
            ("a", "0123456789abcdef0123456789ABCDE%"),
            ("a", "0123456789abcdef0123456789ABCDEé"),
        ] {
            let error = IntrospectionClient::new(id, secret).unwrap_err().to_string();
            assert!(error.starts_with("introspection_clients: ") && !error.contains(secret), "{error}");
        }
    }

    #[test]
    fn a_secret_is_its_own_clients_alone() {
        let client = |id: &str, secret: &str| IntrospectionClient::new(id, secret).unwrap();
        let other = SECRET.to_ascii_uppercase();
        let clients = [client("a", SECRET), client("b", &other)];
        let ask = |id, secret: &str| authenticate(&clients, id, &Secret::new(secret.to_owned()));
        assert_eq!(ask("a", SECRET), Ok(()));
        assert_eq!(ask("b", &other), Ok(()));
        assert_eq!(ask("a", &other), Err(ClientRefusal::WrongSecret));
        assert_eq!(ask("a", &SECRET[1..]), Err(ClientRefusal::WrongSecret));
        assert_eq!(ask("a", ""), Err(ClientRefusal::WrongSecret));
        assert_eq!(ask("A", SECRET), Err(ClientRefusal::Unknown));
        assert_eq!(authenticate(&[], "a", &Secret::new(SECRET.to_owned())), Err(ClientRefusal::Unknown));
        assert!(check(&clients).is_ok());
        assert!(check(&[client("a", SECRET), client("a", &other)]).is_err());
        assert!(!format!("{clients:?}").contains(SECRET));
    }
}
