//! The ring at run time: what signs now, what still verifies, and how it changes while it is read.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Dated, KeyError, KeyInfo, KeyOverlap, Keys, SigningKey, VerifyingKey,
    schedule::{signing, verifies_until},
};
use crate::{jws, time::Timestamp};

/// For how long a key is published before it signs, where nobody says otherwise: other services keep a JWK Set for
/// 300 s, and nodes look at their file every [`Config::keys_poll`](crate::config::Config::keys_poll), 30 s at most.
pub const PUBLISH_FOR: Duration = Duration::from_secs(330);

/// A key for access tokens, with the header segment that names it, byte for byte.
#[derive(Clone)]
pub(crate) struct AccessKey {
    pub(crate) key: Arc<SigningKey>,
    /// The segment we write.
    pub(crate) header: String,
    until: Option<Timestamp>,
}

impl AccessKey {
    pub(crate) fn verifies(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
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

/// The ring between two changes.
pub(crate) struct Snapshot {
    /// How often the ring was changed before.
    pub(crate) generation: u64,
    pub(crate) access: Vec<AccessKey>,
    pub(crate) refresh: Vec<RefreshKey>,
    /// In the same order.
    keys: Keys,
}

impl Snapshot {
    fn new(generation: u64, keys: Keys, overlap: KeyOverlap) -> Self {
        let access = |(at, dated): (usize, &Dated)| AccessKey {
            header: jws::header_segment(dated.key.verifying(), jws::ACCESS_TYPE),
            key: Arc::clone(&dated.key),
            until: verifies_until(&keys.access, at, overlap.access),
        };
        let refresh = |dated: &Dated| RefreshKey {
            header: jws::header_segment(dated.key.verifying(), jws::REFRESH_TYPE),
            key: Arc::clone(&dated.key),
        };
        Self {
            generation,
            access: keys.access.iter().enumerate().map(access).collect(),
            refresh: keys.refresh.iter().map(refresh).collect(),
            keys,
        }
    }

    /// Until when the same keys verify access tokens, as long as nobody changes the ring.
    pub(crate) fn stands_until(&self, now: Timestamp) -> Timestamp {
        let ends = self.access.iter().filter_map(|key| key.until);
        ends.filter(|until| *until > now).min().unwrap_or(Timestamp::from_millis(i64::MAX))
    }

    /// The key that signs access tokens.
    pub(crate) fn active(&self, now: Timestamp) -> Result<&AccessKey, KeyError> {
        signing(&self.keys.access, now).map(|at| &self.access[at]).ok_or(KeyError::NoSuchKey)
    }

    /// The secret that signs refresh tokens.
    pub(crate) fn active_refresh(&self, now: Timestamp) -> Result<&RefreshKey, KeyError> {
        signing(&self.keys.refresh, now).map(|at| &self.refresh[at]).ok_or(KeyError::NoSuchKey)
    }
}

/// The keys in use. It is changed through the [`Authority`](crate::Authority); with [`Keys::load_or_create`] each change
/// is made to the file, and those that others make there are followed.
pub struct KeyRing {
    now: RwLock<Arc<Snapshot>>,
    /// That of the snapshot, for who needs no more.
    generation: AtomicU64,
    /// One change at a time; the file is read and written outside of the lock that requests take.
    changing: Mutex<()>,
    file: Option<PathBuf>,
    overlap: KeyOverlap,
}

impl KeyRing {
    pub(crate) fn new(keys: Keys, overlap: KeyOverlap) -> Self {
        let file = keys.file.clone();
        let now = RwLock::new(Arc::new(Snapshot::new(0, keys, overlap)));
        Self { now, generation: AtomicU64::new(0), changing: Mutex::default(), file, overlap }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.present())
    }

    /// As [`Self::snapshot`], for who is done with it at once: a change waits as long.
    pub(crate) fn present(&self) -> RwLockReadGuard<'_, Arc<Snapshot>> {
        // A snapshot is replaced whole, so a panic elsewhere cannot leave half of one behind.
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// That of [`Self::snapshot`], without a lock.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The file that it follows.
    pub(crate) fn file(&self) -> Option<&std::path::Path> {
        self.file.as_deref()
    }

    /// Changes the keys, those of the file where there is one: what others wrote there meanwhile is kept.
    pub(crate) fn change(
        &self,
        now: Timestamp,
        edit: impl FnOnce(&mut Keys) -> Result<(), KeyError>,
    ) -> Result<(), KeyError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let edit = |keys: &mut Keys| {
            edit(keys)?;
            keys.prune(now, self.overlap);
            Ok(())
        };
        let keys = match &self.file {
            Some(path) => Keys::edit(path, |keys| {
                edit(keys)?;
                Ok(keys.clone())
            })?,
            None => {
                let mut keys = self.snapshot().keys.clone();
                edit(&mut keys)?;
                keys
            }
        };
        self.replace(keys);
        Ok(())
    }

    /// Reads the file again. Whether anything in it is new; `false` where there is no file.
    pub(crate) fn reload(&self) -> Result<bool, KeyError> {
        let Some(path) = &self.file else { return Ok(false) };
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = Keys::load(path)?;
        if keys.same_as(&self.snapshot().keys) {
            return Ok(false);
        }
        self.replace(keys);
        Ok(true)
    }

    /// Called by one at a time.
    fn replace(&self, keys: Keys) {
        let generation = self.generation() + 1;
        let next = Arc::new(Snapshot::new(generation, keys, self.overlap));
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = next;
        self.generation.store(generation, Ordering::Release);
    }

    /// The keys, and what each does at `now`.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<KeyInfo> {
        self.snapshot().keys.list(now, self.overlap)
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
        f.debug_tuple("KeyRing").field(&self.snapshot().keys).finish()
    }
}
