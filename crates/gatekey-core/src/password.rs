//! Passwords: which are taken, how they are kept, how they are checked.
//!
//! What is decided here:
//!
//! 1. **Which passwords are taken**: [`PasswordPolicy`]. Long enough, not one that everybody tries, not the user name.
//! 2. **How they are kept**: argon2id, version 1.3, a random salt of 16 bytes, a tag of 32, written as a
//!    [PHC string]. [`Argon2Params`] refuses costs below the floor of OWASP ASVS 5.0, appendix C.
//! 3. **Where they are hashed**: [`PasswordHasher`], a fixed number of threads with a bounded queue. A full queue
//!    answers [`HashError::Busy`] at once; neither the async threads nor the memory give way to a flood of logins.
//! 4. **What an unknown name costs**: as much as a known one, [`PasswordHasher::verify`] with no stored hash. Otherwise
//!    the time of the answer tells which accounts exist.
//! 5. **What is read**: argon2id, argon2i and argon2d of any cost up to a cap; with the feature `import` also bcrypt,
//!    scrypt and PBKDF2, as other software has left them (the table below). Whatever is not what would be written
//!    today is to be written anew at the next login ([`Verdict::rehash`]).
//! 6. **What is never computed**: a stored hash that names a cost above the cap, or that is malformed. It ends in
//!    [`HashError::Failed`] and a line in the log, not in an hour of work.
//!
//! ```
//! use std::sync::Arc;
//! use gatekey_core::password::{Argon2Params, PasswordHasher, PoolSize};
//! use gatekey_core::random::SystemRandom;
//! use gatekey_core::secret::Secret;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hasher = PasswordHasher::start(
//!     Argon2Params::default(),
//!     PoolSize { threads: 1, queue: 8 },
//!     Arc::new(SystemRandom),
//! )?;
//! let password = || Secret::new("correct horse battery staple".to_owned());
//! let stored = hasher.hash(password()).await?;
//! assert!(stored.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
//!
//! assert!(hasher.verify(password(), Some(&stored)).await?.matches);
//! let wrong = Secret::new("Correct horse battery staple".to_owned());
//! assert!(!hasher.verify(wrong, Some(&stored)).await?.matches);
//! // Nobody of that name: the same work, and never a match.
//! assert!(!hasher.verify(password(), None).await?.matches);
//! # Ok(())
//! # }
//! ```
//!
//! # What the feature `import` reads
//!
//! | from | looks like | cap |
//! |---|---|---|
//! | bcrypt | `$2a$12$…`, `$2b$…`, `$2y$…` | cost 16 |
//! | scrypt, PHC | `$scrypt$ln=16,r=8,p=1$salt$hash` | N = 2^17, 256 MiB, N × r × p = 2^22 |
//! | PBKDF2, PHC | `$pbkdf2-sha256$i=600000,l=32$salt$hash`, `-sha512` | 2,000,000 iterations |
//! | PBKDF2, passlib | `$pbkdf2-sha256$29000$salt$hash`, `-sha512`, `$pbkdf2$…` (SHA-1) | the same |
//! | Django | `pbkdf2_sha256$…`, `pbkdf2_sha1$…`, `bcrypt_sha256$…`, `bcrypt$…`, `argon2$…`, `scrypt$…` | as above |
//! | Spring Security | `{bcrypt}…`, `{argon2}…`, `{pbkdf2}…`, `{scrypt}…` (also `@SpringSecurity_v5_8`) | as above |
//!
//! The cap of argon2 is a memory of 256 MiB, memory × iterations of 2 GiB, and 64 lanes. bcrypt looks at the first 72
//! bytes of a password, so an imported one is checked by those until its first login here; from then on every byte
//! counts. A password that holds a NUL never matches bcrypt, which cannot tell `a` from `a\0a`.
//!
//! # Deployment
//!
//! - Until their first login here, **imported accounts answer in the time of their old algorithm**, not in that of
//!   argon2id, and one who measures can tell them from unknown names. A cheaper argon2 hash (from before the cost was
//!   raised) is filled up to the present cost and does not show; for bcrypt, scrypt and PBKDF2 nothing but the new hash
//!   helps. Throttling is the same for both, and the answer's bytes are.
//! - A thread keeps its argon2 memory (19 MiB by default) while there is work and gives it back after ten idle
//!   seconds. A stored hash that asks for more than the configured memory has it for one computation: up to 256 MiB a
//!   thread while such accounts are imported.
//! - A panic in a thread is caught and ends that one request, unless the program is built with `panic = "abort"`.
//!
//! [PHC string]: https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md

use std::fmt;

use crate::secret::Secret;

#[cfg(feature = "import")]
mod import;
mod policy;
mod pool;
mod stored;

pub use policy::{PasswordPolicy, PolicyError};
pub use pool::{PasswordHasher, PoolSize};

/// A stored password hash: a PHC string, or an imported one. Taken in as it is; what cannot be read shows when it is
/// verified. Never printed.
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

    /// Why no password could ever be verified against it: a stable name, as events have it. For whoever imports
    /// accounts, since it would else show only when their owners log in.
    ///
    /// ```
    /// use gatekey_core::password::PasswordHash;
    ///
    /// let problem = |stored: &str| PasswordHash::new(stored).problem();
    /// assert_eq!(problem("$argon2id$v=19$m=19456,t=2,p=1$MTIzNDU2Nzg$YWFhYWFhYWFhYWFhYWFhYQ"), None);
    /// assert_eq!(problem("hunter2"), Some("stored_hash_of_unknown_format"));
    /// ```
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        stored::parse(self.expose()).err().map(Fault::reason)
    }
}

/// The cost of a new argon2id hash. The default is memory 19,456 KiB, 2 iterations, 1 lane: some 20 ms.
///
/// ```
/// use gatekey_core::password::Argon2Params;
///
/// assert!(Argon2Params::new(47_104, 1, 1).is_ok());
/// let weak = Argon2Params::new(19_456, 1, 1).unwrap_err();
/// assert_eq!(
///     weak.to_string(),
///     "argon2 memory_kib = 19456 is too little for iterations = 1: at least 47104 with 1 iteration, \
///      19456 with 2, 12288 with 3 or more",
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Params {
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
}

impl Argon2Params {
    /// The most memory, in KiB, that a hash may ask for: 256 MiB.
    pub const MAX_MEMORY_KIB: u32 = 256 * 1024;
    /// The most lanes.
    pub const MAX_PARALLELISM: u32 = 64;
    /// The most KiB × iterations: about a second.
    pub const MAX_WORK: u64 = 2 * 1024 * 1024;

    /// Takes in a cost, if it is neither too weak nor too high.
    ///
    /// - `memory_kib`: KiB of memory for one hash; at least 47,104 with 1 iteration, 19,456 with 2, 12,288 with 3 or
    ///   more (OWASP ASVS 5.0, 11.4.2 and appendix C); at most 262,144.
    /// - `iterations`: passes over that memory, at least 1.
    /// - `parallelism`: lanes, 1 to 64. They are computed one after the other, so more than 1 only serves to write
    ///   hashes like those of other software.
    ///
    /// # Errors
    ///
    /// [`ParamsError`], which names the setting and what would be allowed.
    pub fn new(memory_kib: u32, iterations: u32, parallelism: u32) -> Result<Self, ParamsError> {
        let params = Self { memory_kib, iterations, parallelism };
        let floor = match iterations {
            0 => return Err(ParamsError::NoIterations),
            1 => 47_104,
            2 => 19_456,
            _ => 12_288,
        };
        if memory_kib < floor {
            Err(ParamsError::TooWeak(params))
        } else if !(1..=Self::MAX_PARALLELISM).contains(&parallelism) {
            Err(ParamsError::Parallelism(parallelism))
        } else if !params.is_affordable() {
            Err(ParamsError::TooCostly(params))
        } else {
            Ok(params)
        }
    }

    /// KiB of memory for one hash.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn iterations(self) -> u32 {
        self.iterations
    }

    /// Lanes.
    #[must_use]
    pub const fn parallelism(self) -> u32 {
        self.parallelism
    }

    /// KiB × iterations: what its time is proportional to.
    const fn work(self) -> u64 {
        self.memory_kib as u64 * self.iterations as u64
    }

    /// Whether we are ready to compute it, whoever wrote it.
    const fn is_affordable(self) -> bool {
        self.memory_kib <= Self::MAX_MEMORY_KIB
            && self.parallelism <= Self::MAX_PARALLELISM
            && self.work() <= Self::MAX_WORK
    }
}

impl Default for Argon2Params {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

/// Why a cost is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParamsError {
    /// `iterations` is 0.
    NoIterations,
    /// `memory_kib` is below the floor for these `iterations`.
    TooWeak(Argon2Params),
    /// `memory_kib`, or its product with `iterations`, is more than a login may cost.
    TooCostly(Argon2Params),
    /// `parallelism` is 0 or above 64.
    Parallelism(u32),
}

impl fmt::Display for ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIterations => f.write_str("argon2 iterations = 0: at least 1"),
            Self::TooWeak(params) => write!(
                f,
                "argon2 memory_kib = {} is too little for iterations = {}: at least 47104 with 1 iteration, 19456 \
                 with 2, 12288 with 3 or more",
                params.memory_kib, params.iterations
            ),
            Self::TooCostly(params) => write!(
                f,
                "argon2 memory_kib = {} with iterations = {} costs too much: memory_kib at most {}, and memory_kib x \
                 iterations at most {}",
                params.memory_kib,
                params.iterations,
                Argon2Params::MAX_MEMORY_KIB,
                Argon2Params::MAX_WORK
            ),
            Self::Parallelism(lanes) => {
                write!(f, "argon2 parallelism = {lanes}: 1 to {}", Argon2Params::MAX_PARALLELISM)
            }
        }
    }
}

impl std::error::Error for ParamsError {}

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is the password.
    pub matches: bool,
    /// Whether to hash the password anew and store that: it matches, but the stored hash is not what would be written
    /// today (other costs, argon2i or argon2d, an imported algorithm).
    pub rehash: bool,
}

/// Why there is no answer. Neither says anything about the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashError {
    /// The queue is full. The same call may succeed in a second.
    Busy,
    /// The stored hash cannot be read or asks for too much, or random bytes, memory or the computation failed. The log
    /// says which, under the event `password_hash_failed`.
    Failed,
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the password hashing queue is full",
            Self::Failed => "the password could not be hashed",
        })
    }
}

impl std::error::Error for HashError {}

/// Why a computation failed: for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Not of a format that we read.
    UnknownFormat,
    /// Of such a format, which the feature `import` would read.
    #[cfg(not(feature = "import"))]
    NeedsImport,
    /// Of a known format, but not well-formed.
    Malformed,
    /// It asks for more than the cap.
    TooCostly,
    /// The memory could not be had.
    NoMemory,
    /// The random generator failed.
    NoRandom,
    /// A panic.
    Panicked,
}

impl Fault {
    fn reason(self) -> &'static str {
        match self {
            Self::UnknownFormat => "stored_hash_of_unknown_format",
            #[cfg(not(feature = "import"))]
            Self::NeedsImport => "stored_hash_needs_the_feature_import",
            Self::Malformed => "stored_hash_malformed",
            Self::TooCostly => "stored_hash_too_costly",
            Self::NoMemory => "no_memory",
            Self::NoRandom => "random_failed",
            Self::Panicked => "panicked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_below_the_floor_or_above_the_cap_are_refused() {
        let default = Argon2Params::default();
        assert_eq!(Argon2Params::new(19_456, 2, 1), Ok(default));
        for (memory, iterations, lanes, allowed) in [
            (47_104, 1, 1, true),
            (47_103, 1, 1, false),
            (19_456, 2, 1, true),
            (19_455, 2, 1, false),
            (12_288, 3, 1, true),
            (12_288, 4, 4, true),
            (12_287, 3, 1, false),
            (12_287, 100, 1, false),
            (19_456, 0, 1, false),
            (19_456, 2, 0, false),
            (19_456, 2, 64, true),
            (19_456, 2, 65, false),
            (262_144, 8, 1, true),
            (262_145, 1, 1, false),
            (262_144, 9, 1, false),
            (u32::MAX, u32::MAX, u32::MAX, false),
        ] {
            assert_eq!(
                Argon2Params::new(memory, iterations, lanes).is_ok(),
                allowed,
                "m={memory} t={iterations} p={lanes}"
            );
        }
    }

    #[test]
    fn a_refused_cost_names_the_setting_and_what_is_allowed() {
        for (memory, iterations, lanes, said) in [
            (19_456, 0, 1, "argon2 iterations = 0: at least 1"),
            (19_456, 2, 0, "argon2 parallelism = 0: 1 to 64"),
            (
                300_000,
                2,
                1,
                "argon2 memory_kib = 300000 with iterations = 2 costs too much: memory_kib at most 262144, and \
                 memory_kib x iterations at most 2097152",
            ),
        ] {
            let error = Argon2Params::new(memory, iterations, lanes).unwrap_err();
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn a_hash_is_not_printed() {
        let hash = PasswordHash::new("$argon2id$secret");
        assert_eq!(format!("{hash:?}"), "PasswordHash([redacted])");
    }
}
