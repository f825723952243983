//! What time it is, decided in one place.
//!
//! Nothing in this crate asks the operating system for the time but [`SystemClock`]; every rule takes `now` as an
//! argument, so a test moves time by saying so. Instants are counted in milliseconds since the Unix epoch: enough to
//! order two logins, small enough for a column. On the wire they become whole seconds ([RFC 7519 section 2]
//! `NumericDate`, or RFC 3339 text), always rounded down.
//!
//! [RFC 7519 section 2]: https://www.rfc-editor.org/rfc/rfc7519#section-2
//!
//! ```
//! use gatekey_core::time::Timestamp;
//! use std::time::Duration;
//!
//! let at = Timestamp::from_secs(1_700_000_000);
//! assert_eq!(at.to_string(), "2023-11-14T22:13:20Z");
//! // Arithmetic saturates: a huge lifetime is "never", not a wrap-around into the past.
//! assert!(at + Duration::MAX > at);
//! ```

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

/// An instant, in UTC milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch; also "longer ago than anything we remember".
    pub const EPOCH: Self = Self(0);

    /// An instant `secs` seconds after the epoch; saturates at the ends of the range.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// An instant `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Whole seconds since the epoch, rounded down: a `NumericDate`.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant without its fraction of a second, as a token can carry it.
    #[must_use]
    pub const fn whole_secs(self) -> Self {
        Self::from_secs(self.as_secs())
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(millis(rhs)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(millis(rhs)))
    }
}

/// RFC 3339, UTC, whole seconds: `2026-11-23T20:53:01Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Year 9999 is the last that RFC 3339 can write.
        let secs = self.as_secs().clamp(-62_167_219_200, 253_402_300_799);
        let (days, second_of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
        // Days to a civil date: Howard Hinnant's algorithm, with years that begin in March.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second_of_day / 3600,
            second_of_day / 60 % 60,
            second_of_day % 60,
        )
    }
}

/// Tells the time. The system's is [`SystemClock`]; tests bring one that stands still.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The present instant. May step backwards, as system clocks do; nothing here relies on it not doing so.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that asks the system")]
    fn now(&self) -> Timestamp {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Timestamp::EPOCH + since,
            // A clock set before 1970 is refused at start-up by whoever looks; here it reads as the epoch.
            Err(_) => Timestamp::EPOCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_rfc_3339_with_whole_seconds() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::from_secs(secs).to_string(), text);
        }
        assert_eq!(Timestamp::from_millis(1999).to_string(), "1970-01-01T00:00:01Z");
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let far = Timestamp::from_millis(i64::MAX - 1);
        assert_eq!(far + Duration::MAX, Timestamp::from_millis(i64::MAX));
        assert_eq!(Timestamp::EPOCH.since(far), Duration::ZERO);
        assert!(Timestamp::EPOCH - Duration::MAX < Timestamp::EPOCH);
    }
}
