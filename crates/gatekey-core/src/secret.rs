//! Values that must not be printed, kept or compared carelessly.
//!
//! [`Secret`] prints as `[redacted]`, is wiped when dropped, and offers no `==`: where secrets are compared, they are
//! compared in constant time by [`equal`].

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A value that is wiped when dropped and never printed.
///
/// ```
/// use gatekey_core::secret::Secret;
///
/// let password = Secret::new("correct horse battery staple".to_owned());
/// assert_eq!(format!("{password:?}"), "[redacted]");
/// assert_eq!(password.expose().len(), 28);
/// ```
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Shows the value to the code that needs it. Every call is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Whether two secrets are the same bytes, in time that depends on their lengths alone.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}
