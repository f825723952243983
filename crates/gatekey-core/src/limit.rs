//! Throttling: how often something may be tried, by whom.
//!
//! What is decided here:
//!
//! 1. **An attempt is charged before it is looked at.** The caller names what it counts against (a network, an account)
//!    as [`Charge`]s, and [`ThrottleStore::take`] counts it on all of them or on none. So a thousand guesses sent at
//!    once are a thousand takes: none is looked at before it is counted.
//! 2. **A refused attempt is not counted**, and nothing else happens for it: no password is read. So one who waits as
//!    long as told is let in, and one who hammers gains nothing and loses nothing.
//! 3. **Two rules**: [`LimitRule::Rate`], so many in so long a time, and [`LimitRule::Backoff`], a few at once and then
//!    ever longer waits, up to a maximum. Nobody is locked out for good, since that would be a way to lock others out
//!    ([OWASP ASVS 5.0], 6.1.1 and 6.3.1).
//! 4. **What succeeded is forgotten**: the caller [clears](ThrottleStore::clear) the account's failures from that
//!    network, and [gives back](ThrottleStore::give_back) what counts failures alone. It also gives back what was taken
//!    for an attempt that did not happen (the hashing queue was full).
//! 5. **Unknown accounts are counted like others**: a [`Key`] is made of the name that was sent, not of what was found.
//! 6. **No names in memory**: a [`Key`] is a keyed hash. One who reads the table, or a store that nodes share, learns
//!    no user names and no addresses without the secret.
//! 7. **Time is an argument**, in milliseconds. A clock set back never makes anybody wait longer than the rule's
//!    longest wait: a counter from the future counts as of now.
//!
//! [`Limits`] holds the numbers, each of which 0 turns off.
//!
//! ```
//! use std::time::Duration;
//! use gatekey_core::limit::{Charge, Key, LimitRule, MemoryThrottle, ThrottleStore, Verdict};
//! use gatekey_core::time::Timestamp;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), gatekey_core::store::StoreError> {
//! let throttle = MemoryThrottle::default();
//! let secret = [7; 32]; // random, from the key ring
//! let charge = [Charge {
//!     key: Key::derive(&secret, "login network", &["192.0.2.1"]),
//!     rule: LimitRule::Rate { count: 2, per: Duration::from_secs(60) },
//! }];
//! let now = Timestamp::from_secs(1_700_000_000);
//! assert_eq!(throttle.take(&charge, now).await?, Verdict::Passed);
//! assert_eq!(throttle.take(&charge, now).await?, Verdict::Passed);
//! let wait = Duration::from_secs(30);
//! assert_eq!(throttle.take(&charge, now).await?, Verdict::Throttled { retry_after: wait });
//! assert_eq!(throttle.take(&charge, now + wait).await?, Verdict::Passed);
//! # Ok(())
//! # }
//! ```
//!
//! # Deployment
//!
//! - [`MemoryThrottle`] counts on one node: behind N nodes an attacker has N times the attempts, and a restart forgets
//!   all. Where that is too much, use a [`ThrottleStore`] that the nodes share.
//! - A network is what the client address says. Behind a proxy that is not configured as trusted, every client is one
//!   network: the proxy.
//!
//! [OWASP ASVS 5.0]: https://github.com/OWASP/ASVS/tree/master/5.0/en

use std::{fmt, time::Duration};

use async_trait::async_trait;
use aws_lc_rs::hmac;

use crate::{store::StoreError, time::Timestamp};

mod memory;

pub use memory::MemoryThrottle;

/// Names a counter: a keyed hash, so that no name or address stands in memory or in a shared store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// The key of the counter `what` of `parts`: the first 16 bytes of HMAC-SHA-256 over all of them, each with its
    /// length before it, so that `["ab", "c"]` and `["a", "bc"]` are two counters.
    ///
    /// `what` separates counters of different rules: one key, one rule. The same secret on every node that shares a
    /// store.
    #[must_use]
    pub fn derive(secret: &[u8; 32], what: &str, parts: &[&str]) -> Self {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
        for part in [what].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let mut key = [0; 16];
        key.copy_from_slice(&mac.sign().as_ref()[..16]);
        Self(key)
    }

    /// Its bytes, as a shared store keeps them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:032x})", u128::from_be_bytes(self.0))
    }
}

/// How often something may be tried.
///
/// Times count in milliseconds and up to 49 days (`u32::MAX` ms); what is longer counts as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitRule {
    /// `count` at once, and one more each `per / count`: a leaky bucket (GCRA). In any span of time at most
    /// `count + span × count / per` pass, rounded down. A `count` of 0 is no limit.
    Rate {
        /// How many.
        count: u32,
        /// In how long; at least 1 ms.
        per: Duration,
    },
    /// `free` at once; after that each waits longer after the one before it: `first`, then twice that, and so on up to
    /// `max`. A `first` or `max` of 0 is no limit.
    ///
    /// The attempts are forgotten after a quiet time: 24 hours, or if that is longer, `max` times the number of
    /// attempts that a fresh counter grants before each waits for `max`. So one who keeps quiet to be forgotten has no
    /// more attempts than one who tries each `max`: with 5 free and waits of 1 s to 15 min, a fresh counter is worth
    /// four hours of trying, and costs a day.
    Backoff {
        /// How many pass without a wait.
        free: u32,
        /// The first wait.
        first: Duration,
        /// The longest wait.
        max: Duration,
    },
}

/// The state of one counter. What it means is the rule's business: a store keeps both numbers as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// How full it is, at [`Self::at`].
    pub level: u64,
    /// When it was last counted up.
    pub at: Timestamp,
}

impl Counter {
    /// The counter as a clock at `now` may see it: what was counted in the future was counted now.
    ///
    /// A store writes this back also where it refuses a take, else everyone would wait until the clock is back where
    /// it was.
    #[must_use]
    pub fn seen(self, now: Timestamp) -> Self {
        Self { level: self.level, at: self.at.min(now) }
    }
}

/// The arithmetic, for stores of your own: [`MemoryThrottle`] is no more than a table around it.
impl LimitRule {
    /// Judges one attempt at `now`, and counts it if it passes. No counter means nothing was tried before.
    ///
    /// # Errors
    ///
    /// How long to wait, exactly: an attempt that much later passes, if none comes between.
    pub fn take(self, counter: Option<Counter>, now: Timestamp) -> Result<Counter, Duration> {
        Numbers::from(self).take(counter, now)
    }

    /// The counter without an attempt that was counted at `taken_at`; `None` if it says nothing any more.
    #[must_use]
    pub fn give_back(self, counter: Counter, taken_at: Timestamp) -> Option<Counter> {
        Numbers::from(self).give_back(counter, taken_at)
    }

    /// From when on the counter says no more than none would: a store may delete it then.
    #[must_use]
    pub fn forgotten_at(self, counter: Counter) -> Timestamp {
        Numbers::from(self).forgotten_at(counter)
    }

    /// Whether it limits nothing.
    #[must_use]
    pub fn is_off(self) -> bool {
        Numbers::from(self) == Numbers::Off
    }
}

/// A [`LimitRule`] in milliseconds, in 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    Off,
    /// A full bucket holds `count × per`. An attempt pours in `per`, a millisecond drains `count`: whole numbers, so
    /// that the bound holds exactly, whatever `per / count` is.
    Rate {
        count: u32,
        per: u32,
    },
    /// The level is the number of attempts.
    Backoff {
        free: u32,
        first: u32,
        max: u32,
    },
}

/// How much would be lost by forgetting a counter; the more, the later it is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Weight {
    /// It refuses attempts now.
    blocked: bool,
    /// Attempts used up, in thousandths of those that lead to the longest wait; 0 if there is nothing to forget.
    load: u64,
}

const DAY: u64 = 24 * 60 * 60 * 1000;

impl From<LimitRule> for Numbers {
    fn from(rule: LimitRule) -> Self {
        let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        // Less than a millisecond is not nothing.
        let at_least_one = |duration: Duration| match millis(duration) {
            0 if !duration.is_zero() => 1,
            millis => millis,
        };
        match rule {
            LimitRule::Rate { count: 0, .. } => Self::Off,
            LimitRule::Rate { count, per } => Self::Rate { count, per: millis(per).max(1) },
            LimitRule::Backoff { free, first, max } => match (at_least_one(first), at_least_one(max)) {
                (0, _) | (_, 0) => Self::Off,
                (first, max) => Self::Backoff { free, first, max },
            },
        }
    }
}

impl Numbers {
    fn take(self, counter: Option<Counter>, now: Timestamp) -> Result<Counter, Duration> {
        let wait = self.wait(counter, now);
        if wait > 0 {
            return Err(Duration::from_millis(wait));
        }
        let level = self.level(counter, now);
        Ok(Counter {
            level: match self {
                Self::Off => 0,
                Self::Rate { per, .. } => level.saturating_add(per.into()),
                Self::Backoff { .. } => level.saturating_add(1),
            },
            at: now,
        })
    }

    /// What the counter holds now.
    fn level(self, counter: Option<Counter>, now: Timestamp) -> u64 {
        let Some(counter) = counter else { return 0 };
        let elapsed = millis(counter.at, now);
        match self {
            Self::Off => 0,
            Self::Rate { count, per } => {
                let full = u64::from(count) * u64::from(per);
                let drained = elapsed.saturating_mul(count.into());
                // Above full only if the limit was lowered: then as if it had always been so.
                counter.level.min(full).saturating_sub(drained)
            }
            Self::Backoff { .. } if elapsed >= self.quiet() => 0,
            Self::Backoff { .. } => counter.level,
        }
    }

    /// Milliseconds until the next attempt passes; 0 if it does now.
    fn wait(self, counter: Option<Counter>, now: Timestamp) -> u64 {
        let Some(counter) = counter else { return 0 };
        let level = self.level(Some(counter), now);
        match self {
            Self::Off => 0,
            Self::Rate { count, per } => {
                let room_for_one = u64::from(count - 1) * u64::from(per);
                level.saturating_sub(room_for_one).div_ceil(count.into())
            }
            Self::Backoff { .. } => self.wait_after(level).saturating_sub(millis(counter.at, now)),
        }
    }

    /// How long the next attempt waits after so many, in milliseconds since the last of them.
    fn wait_after(self, attempts: u64) -> u64 {
        match self {
            Self::Off | Self::Rate { .. } => 0,
            Self::Backoff { free, first, max } => match attempts.checked_sub(free.into()) {
                Some(doublings) if attempts > 0 => {
                    let wait = u64::from(first) << doublings.min(u32::BITS.into());
                    wait.min(max.into())
                }
                // One of the free ones, or the first of all where none is free: there is nothing to wait after.
                Some(_) | None => 0,
            },
        }
    }

    /// How many attempts a fresh counter grants before each waits for `max`.
    fn granted(self) -> u64 {
        match self {
            Self::Off => 1,
            Self::Rate { count, .. } => count.into(),
            Self::Backoff { free, first, max } => {
                // The first power of two that is not below max / first.
                let doublings = u64::from(max.div_ceil(first)).next_power_of_two().ilog2();
                u64::from(free) + u64::from(doublings) + 1
            }
        }
    }

    /// After how long without an attempt a backoff is forgotten. As long as the attempts that it then grants anew would
    /// have taken at one each `max` (guarded by `keeping_quiet_gains_nothing_over_trying_all_the_time`).
    fn quiet(self) -> u64 {
        match self {
            Self::Off | Self::Rate { .. } => 0,
            Self::Backoff { max, .. } => u64::from(max).saturating_mul(self.granted()).max(DAY),
        }
    }

    fn give_back(self, counter: Counter, taken_at: Timestamp) -> Option<Counter> {
        let counter = match self {
            Self::Off => return None,
            Self::Rate { count, per } => {
                // Part of it has drained away since; giving it all back would grant that part twice.
                let drained = millis(taken_at, counter.at).saturating_mul(count.into());
                let left = u64::from(per).saturating_sub(drained);
                Counter { level: counter.level.saturating_sub(left), at: counter.at }
            }
            Self::Backoff { .. } => {
                let level = counter.level.saturating_sub(1);
                // If nothing was counted after it, the wait before it was over: it must not begin anew.
                let at = if counter.at == taken_at {
                    counter.at - Duration::from_millis(self.wait_after(level))
                } else {
                    counter.at
                };
                Counter { level, at }
            }
        };
        (counter.level > 0).then_some(counter)
    }

    fn forgotten_at(self, counter: Counter) -> Timestamp {
        let after = match self {
            Self::Off => 0,
            Self::Rate { count, per } => {
                let full = u64::from(count) * u64::from(per);
                counter.level.min(full).div_ceil(count.into())
            }
            Self::Backoff { .. } => self.quiet(),
        };
        counter.at + Duration::from_millis(after)
    }

    fn weight(self, counter: Counter, now: Timestamp) -> Weight {
        let level = self.level(Some(counter), now);
        let attempts = match self {
            Self::Off | Self::Backoff { .. } => level.min(self.granted()),
            Self::Rate { per, .. } => level.div_ceil(per.into()),
        };
        Weight {
            blocked: self.wait(Some(counter), now) > 0,
            load: (attempts * 1000).div_ceil(self.granted()),
        }
    }
}

/// Milliseconds from one instant to a later one; 0 if it is not later.
fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millis().saturating_sub(from.as_millis())).unwrap_or(0)
}

/// A counter that an attempt is counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Which.
    pub key: Key,
    /// How often.
    pub rule: LimitRule,
}

/// Whether an attempt may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was counted on every charge.
    Passed,
    /// It was counted on none.
    Throttled {
        /// How long until each of the charges lets one pass, if nothing else is counted on them; never zero. To
        /// milliseconds: `Retry-After` rounds it up to seconds.
        retry_after: Duration,
    },
}

/// Keeps counters. [`MemoryThrottle`] is one in this process; stores that nodes share implement it with
/// [`LimitRule::take`] in a transaction, or with the same arithmetic in a script.
#[async_trait]
pub trait ThrottleStore: Send + Sync + fmt::Debug + 'static {
    /// Counts an attempt on every charge, or on none if one of them refuses.
    ///
    /// Each counter is read and written in one step: of any number of concurrent takes no more pass than one after the
    /// other would. All charges in one step where the store can; where it cannot (counters in several slots of a
    /// cluster), a take that is refused by one of them gives back what it took from the others.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot tell: the caller then refuses the attempt as retryable.
    async fn take(&self, charges: &[Charge], now: Timestamp) -> Result<Verdict, StoreError>;

    /// Gives back what one [`take`](Self::take) took: the attempt did not happen, or it did not fail where failures
    /// alone count. `taken_at` is the `now` of that take. May be given a part of its charges; a counter that is gone
    /// stays gone.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be reached. What was taken then stays taken, which refuses someone too early
    /// and lets nobody in: the caller goes on.
    async fn give_back(&self, charges: &[Charge], taken_at: Timestamp) -> Result<(), StoreError>;

    /// Forgets a counter.
    ///
    /// # Errors
    ///
    /// As [`give_back`](Self::give_back).
    async fn clear(&self, key: &Key) -> Result<(), StoreError>;
}

/// The numbers of throttling. 0 turns one off.
///
/// A network is an IPv4 address or an IPv6 /64. Where the client's address is not known, those by network do not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Logins and changes of a password a minute and network, failed or not. Default 20: an office behind one address logs in within reason, one
    /// machine tries 28,800 passwords a day on as many accounts at most.
    pub login_network_per_minute: u32,
    /// Registrations an hour and network. Default 5.
    pub register_network_per_hour: u32,
    /// Failed logins an hour and account, from wherever. Default 100, the bound of
    /// [NIST SP 800-63B-4, 3.2.2][nist]. That section counts consecutive failures and asks for a recovery after them;
    /// here they begin anew with time, since a block for good is a way to lock others out.
    ///
    /// [nist]: https://pages.nist.gov/800-63-4/sp800-63b.html
    pub account_failures_per_hour: u32,
    /// Failed logins on one account from one network before waits begin. Default 5. The waits are 1 s, 2 s, 4 s and
    /// so on up to [`Self::max_wait`].
    pub free_failures: u32,
    /// The longest wait between logins on one account from one network. Default 15 minutes (900 s).
    pub max_wait: Duration,
    /// Refreshes a minute and session. Default 30.
    pub refresh_session_per_minute: u32,
    /// Refreshes a minute and network. Default 120.
    pub refresh_network_per_minute: u32,
    /// Wrong client secrets a minute and network, counted in this process alone. Default 20: a secret of a client is
    /// random, so this is for the log's sake.
    pub client_failures_per_minute: u32,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

impl Limits {
    /// No throttling at all: for tests, and for hosts that throttle elsewhere.
    pub const OFF: Self = Self {
        login_network_per_minute: 0,
        register_network_per_hour: 0,
        account_failures_per_hour: 0,
        free_failures: 0,
        max_wait: Duration::ZERO,
        refresh_session_per_minute: 0,
        refresh_network_per_minute: 0,
        client_failures_per_minute: 0,
    };

    /// The rule of logins from one network; `None` if it is off, as for all of these.
    #[must_use]
    pub fn login_network(&self) -> Option<LimitRule> {
        rate(self.login_network_per_minute, MINUTE)
    }

    /// The rule of registrations from one network.
    #[must_use]
    pub fn register_network(&self) -> Option<LimitRule> {
        rate(self.register_network_per_hour, HOUR)
    }

    /// The rule of failures on one account. A login that succeeds gives its charge back.
    #[must_use]
    pub fn account(&self) -> Option<LimitRule> {
        rate(self.account_failures_per_hour, HOUR)
    }

    /// The rule of failures on one account from one network. A login that succeeds clears it.
    #[must_use]
    pub fn account_network(&self) -> Option<LimitRule> {
        let rule = LimitRule::Backoff { free: self.free_failures, first: SECOND, max: self.max_wait };
        (self.free_failures > 0 && !rule.is_off()).then_some(rule)
    }

    /// The rule of refreshes of one session.
    #[must_use]
    pub fn refresh_session(&self) -> Option<LimitRule> {
        rate(self.refresh_session_per_minute, MINUTE)
    }

    /// The rule of refreshes from one network.
    #[must_use]
    pub fn refresh_network(&self) -> Option<LimitRule> {
        rate(self.refresh_network_per_minute, MINUTE)
    }

    /// The rule of wrong client secrets from one network.
    #[must_use]
    pub fn client_failures(&self) -> Option<LimitRule> {
        rate(self.client_failures_per_minute, MINUTE)
    }
}

fn rate(count: u32, per: Duration) -> Option<LimitRule> {
    (count > 0).then_some(LimitRule::Rate { count, per })
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            login_network_per_minute: 20,
            register_network_per_hour: 5,
            account_failures_per_hour: 100,
            free_failures: 5,
            max_wait: 15 * MINUTE,
            refresh_session_per_minute: 30,
            refresh_network_per_minute: 120,
            client_failures_per_minute: 20,
        }
    }
}

#[cfg(test)]
mod tests;
