//! Where secrets and identifiers come from.
//!
//! Randomness is an argument, like time: the default is the cryptographic library's generator, seeded by the operating
//! system. A generator that fails denies: there is no fallback, and the call that needed it ends in an error.

use std::fmt;

/// A source of cryptographically secure random bytes.
pub trait Random: Send + Sync + fmt::Debug + 'static {
    /// Fills `bytes`.
    ///
    /// # Errors
    ///
    /// [`RandomFailed`] if the source could not deliver; `bytes` must not be used then.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomFailed>;
}

/// The random generator failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomFailed;

impl fmt::Display for RandomFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the random generator failed")
    }
}

impl std::error::Error for RandomFailed {}

/// The generator of aws-lc, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomFailed> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| RandomFailed)
    }
}

impl dyn Random {
    /// `N` fresh random bytes.
    pub(crate) fn bytes<const N: usize>(&self) -> Result<[u8; N], RandomFailed> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// `N` fresh random bytes as base64url text.
    pub(crate) fn token<const N: usize>(&self) -> Result<String, RandomFailed> {
        Ok(base64_simd::URL_SAFE_NO_PAD.encode_to_string(self.bytes::<N>()?))
    }
}
