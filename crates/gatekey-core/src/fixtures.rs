//! What the unit tests share: one instant, a clock that is moved by hand, keys, folders.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    keys::{Algorithm, KeyOverlap, KeyRing, Keys, SigningKey},
    random::{Random, RandomFailed, SystemRandom},
    session::{Chain, Client, Digest, Session, SessionId, SubjectId},
    time::{Clock, Timestamp},
    user::User,
};

/// When all tests happen; every other time is derived from it.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(NOW.as_millis()))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::EdDSA, Algorithm::ES256, Algorithm::PS256, Algorithm::RS256, Algorithm::HS256];

/// Keys as `openssl genpkey` writes them.
pub(crate) mod pem {
    pub(crate) const ED25519: &str = include_str!("../tests/keys/ed25519.pem");
    pub(crate) const P256: &str = include_str!("../tests/keys/p256.pem");
    pub(crate) const P384: &str = include_str!("../tests/keys/p384.pem");
    pub(crate) const RSA_3072: &str = include_str!("../tests/keys/rsa3072.pem");
    pub(crate) const RSA_2048: &str = include_str!("../tests/keys/rsa2048.pem");

    /// The public keys of the same.
    pub(crate) mod public {
        pub(crate) const ED25519: &str = include_str!("../tests/keys/ed25519.pub.pem");
        pub(crate) const P256: &str = include_str!("../tests/keys/p256.pub.pem");
        pub(crate) const P384: &str = include_str!("../tests/keys/p384.pub.pem");
        pub(crate) const RSA_3072: &str = include_str!("../tests/keys/rsa3072.pub.pem");
        pub(crate) const RSA_2048: &str = include_str!("../tests/keys/rsa2048.pub.pem");
    }

    /// The DER of a PEM.
    pub(crate) fn der(pem: &str) -> Vec<u8> {
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        base64_simd::STANDARD.decode_to_vec(base64).unwrap()
    }
}

/// The access key of each algorithm: always the same one. That of RSA serves both of its algorithms.
pub(crate) fn access_key(algorithm: Algorithm) -> SigningKey {
    match algorithm {
        Algorithm::EdDSA => SigningKey::from_pem(pem::ED25519),
        Algorithm::ES256 => SigningKey::from_pem(pem::P256),
        Algorithm::PS256 | Algorithm::RS256 => SigningKey::from_pkcs8(algorithm, &pem::der(pem::RSA_3072)),
        Algorithm::HS256 => SigningKey::hs256(b"an access secret of the tests, long enough"),
    }
    .unwrap()
}

pub(crate) fn refresh_key() -> SigningKey {
    SigningKey::hs256(b"a refresh secret of the tests, long enough").unwrap()
}

pub(crate) fn keys(algorithm: Algorithm) -> Keys {
    Keys::new(access_key(algorithm), refresh_key()).unwrap()
}

/// A ring of these keys, whose overlap is that of the default settings.
pub(crate) fn ring(keys: Keys) -> KeyRing {
    KeyRing::new(keys, KeyOverlap { access: secs(930), refresh: 7 * DAY })
}

pub(crate) fn client() -> Client {
    Client::new(Some("192.0.2.1".parse().unwrap()), Some("Firefox"))
}

pub(crate) fn user() -> User {
    User {
        id: SubjectId::new("subject-of-alice"),
        username: "Alice".to_owned(),
        password_hash: None,
        roles: vec!["editor".to_owned(), "admin".to_owned()],
        scope: Some("read write".to_owned()),
        disabled: false,
        created_at: NOW - DAY,
    }
}

/// A session of [`user`], opened [`NOW`] by a password proved two seconds earlier.
pub(crate) fn session() -> Session {
    Session {
        id: SessionId::new("session-of-alice"),
        subject: user().id,
        scope: user().scope,
        auth_time: NOW - secs(2),
        created_at: NOW,
        expires_at: NOW + 30 * DAY,
        idle_expires_at: NOW + 7 * DAY,
        last_used_at: NOW,
        client: client(),
        chain: Chain::start(Digest([7; 32]), NOW),
        ended: None,
    }
}

/// The system's generator, until a call that fails; calls are counted from 0.
#[derive(Debug)]
pub(crate) struct FaultyRandom {
    calls: AtomicU64,
    fail_at: AtomicU64,
}

impl FaultyRandom {
    pub(crate) fn never() -> Self {
        Self { calls: AtomicU64::new(0), fail_at: AtomicU64::new(u64::MAX) }
    }

    /// Counts from 0 again and fails at that call.
    pub(crate) fn fail_at(&self, call: u64) {
        self.calls.store(0, Ordering::SeqCst);
        self.fail_at.store(call, Ordering::SeqCst);
    }

    /// The calls since then.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Random for FaultyRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomFailed> {
        if self.calls.fetch_add(1, Ordering::SeqCst) == self.fail_at.load(Ordering::SeqCst) {
            return Err(RandomFailed);
        }
        SystemRandom.fill(bytes)
    }
}

/// A folder of its own, removed with what it holds.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("gatekey-core-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of what is in it.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
