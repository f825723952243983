//! The ring at run time: what signs now, what still verifies, and the steps between.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use super::{Algorithm, KeyError, Keys, SigningKey, VerifyingKey};
use crate::{jws, time::Timestamp};

/// What a key of the ring does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// In the JWK Set, so that verifiers learn of it; signs nothing yet.
    Published,
    /// Signs. Exactly one key does.
    Active,
    /// Signs no more and verifies until then; without an end, until it is retired by hand.
    Retiring {
        /// When the last token it signed has expired.
        until: Option<Timestamp>,
    },
}

impl KeyState {
    fn verifies(self, now: Timestamp) -> bool {
        match self {
            Self::Published | Self::Active | Self::Retiring { until: None } => true,
            Self::Retiring { until: Some(until) } => now < until,
        }
    }
}

/// A key of the ring, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its identifier.
    pub kid: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// What it does.
    pub state: KeyState,
}

/// A key for access tokens, with the header segments that name it, byte for byte.
#[derive(Clone)]
pub(crate) struct AccessKey {
    pub(crate) key: Arc<SigningKey>,
    pub(crate) state: KeyState,
    /// The segment we write.
    pub(crate) header: String,
}

impl AccessKey {
    fn new(key: Arc<SigningKey>, state: KeyState) -> Self {
        let header = jws::header_segment(key.verifying(), jws::ACCESS_TYPE);
        Self { key, state, header }
    }

    pub(crate) fn verifies(&self, now: Timestamp) -> bool {
        self.state.verifies(now)
    }

    pub(crate) fn verifying(&self) -> &VerifyingKey {
        self.key.verifying()
    }
}

/// A secret for refresh tokens, with the header segment that names it.
#[derive(Clone)]
pub(crate) struct RefreshKey {
    pub(crate) key: Arc<SigningKey>,
    pub(crate) header: String,
}

/// The ring at one moment.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) access: Vec<AccessKey>,
    /// The first signs.
    pub(crate) refresh: Vec<RefreshKey>,
}

impl Snapshot {
    pub(crate) fn active(&self) -> Result<&AccessKey, KeyError> {
        self.access.iter().find(|key| key.state == KeyState::Active).ok_or(KeyError::NoSuchKey)
    }

    fn position(&self, kid: &str) -> Result<usize, KeyError> {
        self.access.iter().position(|key| key.key.kid() == kid).ok_or(KeyError::NoSuchKey)
    }
}

/// The keys in use. Changing it takes effect at the next token; with [`Keys::load_or_create`] it is also written to
/// the file.
pub struct KeyRing {
    now: RwLock<Arc<Snapshot>>,
    file: Option<PathBuf>,
}

impl KeyRing {
    pub(crate) fn new(keys: Keys) -> Self {
        let access = keys.access.into_iter().map(|(key, state)| AccessKey::new(key, state)).collect();
        let refresh = keys
            .refresh
            .into_iter()
            .map(|key| RefreshKey { header: jws::header_segment(key.verifying(), jws::REFRESH_TYPE), key })
            .collect();
        Self { now: RwLock::new(Arc::new(Snapshot { access, refresh })), file: keys.file }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        // A snapshot is replaced whole, so a panic elsewhere cannot leave half of one behind.
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, edit: impl FnOnce(&mut Snapshot) -> Result<(), KeyError>) -> Result<(), KeyError> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&now);
        edit(&mut next)?;
        if let Some(path) = &self.file {
            let keys = Keys {
                access: next.access.iter().map(|key| (Arc::clone(&key.key), key.state)).collect(),
                refresh: next.refresh.iter().map(|key| Arc::clone(&key.key)).collect(),
                file: None,
            };
            keys.replace_file(path)?;
        }
        *now = Arc::new(next);
        Ok(())
    }

    /// Adds a key that verifies and is in the JWK Set, and signs nothing yet. Verifiers elsewhere may keep a JWK Set for
    /// 300 s: wait that long before [`Authority::activate_key`](crate::Authority::activate_key).
    ///
    /// # Errors
    ///
    /// [`KeyError::Mixed`] if it is a shared secret among key pairs or the other way round, [`KeyError::Equal`] if it is
    /// there already or is the refresh secret, [`KeyError::File`].
    pub fn publish(&self, key: SigningKey) -> Result<(), KeyError> {
        let key = Arc::new(key);
        self.change(|ring| {
            let symmetric = |key: &SigningKey| key.algorithm() == Algorithm::HS256;
            if ring.access.iter().any(|other| symmetric(&other.key) != symmetric(&key)) {
                return Err(KeyError::Mixed);
            }
            let known = ring.access.iter().any(|other| other.key.kid() == key.kid());
            if known || ring.refresh.iter().any(|other| other.key.same_as(&key)) {
                return Err(KeyError::Equal);
            }
            ring.access.push(AccessKey::new(key, KeyState::Published));
            Ok(())
        })
    }

    /// Signs with a published key from now on; the former one verifies for `overlap` more, which has to cover the life
    /// of an access token and the leeway.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoSuchKey`] if no published key has that `kid`, [`KeyError::File`].
    pub(crate) fn activate(&self, kid: &str, now: Timestamp, overlap: Duration) -> Result<(), KeyError> {
        self.change(|ring| {
            let position = ring.position(kid)?;
            if ring.access[position].state != KeyState::Published {
                return Err(KeyError::NoSuchKey);
            }
            ring.access.retain(|key| key.verifies(now));
            for key in &mut ring.access {
                if key.state == KeyState::Active {
                    key.state = KeyState::Retiring { until: Some(now + overlap) };
                }
                if key.key.kid() == kid {
                    key.state = KeyState::Active;
                }
            }
            Ok(())
        })
    }

    /// Removes a key that does not sign: tokens it signed are refused from now on.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoSuchKey`] if there is none or it is the active one, [`KeyError::File`].
    pub fn retire(&self, kid: &str) -> Result<(), KeyError> {
        self.change(|ring| {
            let position = ring.position(kid)?;
            if ring.access[position].state == KeyState::Active {
                return Err(KeyError::NoSuchKey);
            }
            ring.access.remove(position);
            Ok(())
        })
    }

    /// The keys for access tokens, and what each does.
    #[must_use]
    pub fn list(&self) -> Vec<KeyInfo> {
        let info = |key: &AccessKey| KeyInfo {
            kid: key.key.kid().to_owned(),
            algorithm: key.key.algorithm(),
            state: key.state,
        };
        self.snapshot().access.iter().map(info).collect()
    }

    /// The JWK Set (RFC 7517): the public keys that verify at `now`; none for a shared secret.
    #[must_use]
    pub fn jwk_set(&self, now: Timestamp) -> serde_json::Value {
        let snapshot = self.snapshot();
        let keys: Vec<_> = snapshot
            .access
            .iter()
            .filter(|key| key.verifies(now))
            .filter_map(|key| key.verifying().jwk())
            .collect();
        serde_json::json!({ "keys": keys })
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}
