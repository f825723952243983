//! When a key signs, and for how long it verifies: pure functions of a list of keys and the time.
//!
//! 1. A key has a date from which it signs, or none: then it only verifies.
//! 2. Of the dates that have come, the latest signs. So a key is published with a date that lies ahead, every node hears
//!    of it meanwhile, and all of them change to it at that moment, without a word.
//! 3. A key that another has followed verifies for as long as what it signed may live: the overlap.
//! 4. Where no date has come yet (the clock was set back), the earliest signs: there is always one.

use std::{sync::Arc, time::Duration};

use super::{Algorithm, SigningKey};
use crate::time::Timestamp;

/// A key and from when on it signs.
#[derive(Clone, Debug)]
pub(super) struct Dated {
    pub(super) key: Arc<SigningKey>,
    pub(super) signs_from: Option<Timestamp>,
}

impl Dated {
    pub(super) fn new(key: SigningKey, signs_from: Option<Timestamp>) -> Self {
        Self { key: Arc::new(key), signs_from }
    }
}

/// Which tokens a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Access tokens. The public part, if it has one, is in the JWK Set.
    Access,
    /// Refresh tokens. A shared secret; nobody but the application knows it.
    Refresh,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Verifies, and stands in the JWK Set, so that everybody learns of it; signs nothing yet.
    Published {
        /// From when on it signs. Without a date it never does by itself.
        signs_from: Option<Timestamp>,
    },
    /// Signs. Of each purpose, exactly one key does.
    Active,
    /// Signs no more, and verifies until then.
    Retiring {
        /// When the last token it signed has expired.
        until: Timestamp,
    },
}

/// A key, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its identifier.
    pub kid: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// What it does.
    pub state: KeyState,
}

/// For how long a key verifies after another one has followed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOverlap {
    /// The life of an access token, and the leeway.
    pub access: Duration,
    /// The life of a refresh token.
    pub refresh: Duration,
}

impl KeyOverlap {
    /// What the longest settings of any application need: a day and five minutes, and 400 days. For who does not know
    /// the application's.
    pub const LONGEST: Self =
        Self { access: Duration::from_secs(24 * 3600 + 300), refresh: Duration::from_secs(400 * 24 * 3600) };

    pub(super) fn of(self, purpose: KeyPurpose) -> Duration {
        match purpose {
            KeyPurpose::Access => self.access,
            KeyPurpose::Refresh => self.refresh,
        }
    }
}

/// Where two dates are the same, the key that stands later follows the other.
fn order(keys: &[Dated], at: usize) -> Option<(Timestamp, usize)> {
    Some((keys[at].signs_from?, at))
}

/// Which key signs.
pub(super) fn signing(keys: &[Dated], now: Timestamp) -> Option<usize> {
    let dated = || (0..keys.len()).filter_map(|at| order(keys, at));
    let latest = dated().filter(|(from, _)| *from <= now).max();
    latest.or_else(|| dated().min()).map(|(_, at)| at)
}

/// Until when a key verifies: without an end if no other is to follow it.
pub(super) fn verifies_until(keys: &[Dated], at: usize, overlap: Duration) -> Option<Timestamp> {
    let own = order(keys, at)?;
    let follower = (0..keys.len()).filter_map(|other| order(keys, other)).filter(|other| *other > own).min();
    follower.map(|(from, _)| from + overlap)
}

pub(super) fn state(keys: &[Dated], at: usize, overlap: Duration, now: Timestamp) -> KeyState {
    if signing(keys, now) == Some(at) {
        return KeyState::Active;
    }
    match keys[at].signs_from {
        Some(from) if from <= now => match verifies_until(keys, at, overlap) {
            Some(until) => KeyState::Retiring { until },
            // The latest of those whose date has come is the active one.
            None => KeyState::Active,
        },
        signs_from => KeyState::Published { signs_from },
    }
}
