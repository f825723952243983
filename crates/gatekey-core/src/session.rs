//! What a session is: one login on one device, one row for life.
//!
//! A row is written at login, changed in place at every refresh, and removed only after its end: nothing grows with
//! refreshes. [`Chain`] is the part of it that rotation reads and writes; [`crate::rotation`] alone decides how.

use std::{borrow::Borrow, fmt, net::IpAddr, sync::Arc};

use aws_lc_rs::digest;

use crate::{
    random::{Random, RandomFailed},
    time::Timestamp,
};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes an identifier as it is.
            #[must_use]
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The identifier's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// Which session: the `sid` claim. Opaque; those of this crate are made by [`SessionId::generate`].
    SessionId
}

text_id! {
    /// Who: the `sub` claim. Opaque, never empty, never given to another account again.
    SubjectId
}

impl SessionId {
    /// A fresh id for a session of that subject: the subject's [tag](SubjectId::tag) and 128 random bits, 24 characters
    /// of base64url in all.
    ///
    /// # Errors
    ///
    /// [`RandomFailed`] if the generator could not deliver.
    pub fn generate(subject: &SubjectId, random: &dyn Random) -> Result<Self, RandomFailed> {
        let tag = subject.tag();
        let mut id = String::with_capacity(GENERATED);
        for digit in [tag >> 6, tag & 63] {
            id.push(char::from(DIGITS[usize::from(digit)]));
        }
        id.push_str(&random.token::<16>()?);
        Ok(Self::new(id))
    }

    /// The [tag](SubjectId::tag) of its subject, as [`SessionId::generate`] wrote it into the first two characters.
    ///
    /// A store that is spread over several places finds the session's by it, from the id alone, beside all others of
    /// the same subject. `None` for an id of another form: not each of them is ours. Two texts are one session only if
    /// they are the same; the tag says where to look and proves nothing.
    ///
    /// ```
    /// use gatekey_core::{random::SystemRandom, session::{SessionId, SubjectId}};
    ///
    /// let alice = SubjectId::new("alice");
    /// let id = SessionId::generate(&alice, &SystemRandom).unwrap();
    /// assert_eq!(id.tag(), Some(alice.tag()));
    /// assert_eq!(SessionId::new("anything else").tag(), None);
    /// ```
    #[must_use]
    pub fn tag(&self) -> Option<u16> {
        let text = self.0.as_bytes();
        let ours = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let [first, second, ..] = text else { return None };
        if text.len() != GENERATED || !text.iter().all(ours) {
            return None;
        }
        let value = |byte| DIGITS.iter().position(|digit| digit == byte);
        u16::try_from(value(first)? << 6 | value(second)?).ok()
    }
}

/// The length of an id from [`SessionId::generate`].
const GENERATED: usize = 24;

/// The digits of base64url, in the order of their values.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl SubjectId {
    /// A fresh id: 128 random bits in 22 characters of base64url.
    ///
    /// # Errors
    ///
    /// [`RandomFailed`] if the generator could not deliver.
    pub fn random(random: &dyn Random) -> Result<Self, RandomFailed> {
        random.token::<16>().map(Self::new)
    }

    /// In which of 4,096 parts of a store its rows lie, where a store has parts: the first 12 bits of the SHA-256 of the
    /// identifier. So few that they say nothing of who it is.
    #[must_use]
    pub fn tag(&self) -> u16 {
        let digest = digest::digest(&digest::SHA256, self.0.as_bytes());
        match digest.as_ref() {
            [first, second, ..] => u16::from(*first) << 4 | u16::from(*second) >> 4,
            _ => 0,
        }
    }
}

/// Where a request came from, as far as it is known. Shown to the subject, never used to identify it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The client's address: the socket peer, or what a trusted proxy says.
    pub ip: Option<IpAddr>,
    /// The `User-Agent` header, cut to 256 characters, without control characters.
    pub user_agent: Option<String>,
}

impl Client {
    /// Takes in an address and a `User-Agent` as received: cut to 256 characters, control characters dropped.
    #[must_use]
    pub fn new(ip: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        let user_agent = user_agent
            .map(|text| text.chars().filter(|c| !c.is_control()).take(256).collect::<String>())
            .filter(|text| !text.is_empty());
        Self { ip: ip.map(|ip| ip.to_canonical()), user_agent }
    }

    /// The client's network: an IPv4 address, or the /64 of an IPv6 one, since a customer is given at least that much.
    #[must_use]
    pub fn network(&self) -> Option<IpAddr> {
        self.ip.map(network)
    }
}

pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

/// SHA-256 of a refresh token: all of it that a store ever sees in the clear.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[digest]")
    }
}

/// The oldest generation that was live in a span of time, and when the span began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// The generation that was live when the window opened.
    pub oldest: u64,
    /// When it opened.
    pub opened_at: Timestamp,
}

/// The token that was swapped for the live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its digest.
    pub digest: Digest,
    /// Its generation. Usually one below the live token's; a displaced successor leaves a gap.
    pub generation: u64,
}

/// The state of a session's chain of refresh tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The live token's number, counted from 0 at login.
    pub generation: u64,
    /// The live token's digest.
    pub live: Digest,
    /// The token before it; none until the first rotation.
    pub parent: Option<Parent>,
    /// When the live token came to be.
    pub rotated_at: Timestamp,
    /// When the parent was last replayed; none since the last rotation.
    pub replayed_at: Option<Timestamp>,
    /// Whether the live token was ever presented (and held). Decides whether it may be displaced.
    pub live_used: bool,
    /// The present window of recently live tokens.
    pub this_window: Window,
    /// The window before it.
    pub last_window: Window,
    /// The live token, sealed so that only who holds the parent can read it. Empty until the first rotation.
    pub sealed: Vec<u8>,
}

impl Chain {
    /// The chain as a login starts it.
    #[must_use]
    pub fn start(live: Digest, now: Timestamp) -> Self {
        let never = Window { oldest: 0, opened_at: Timestamp::EPOCH };
        Self {
            generation: 0,
            live,
            parent: None,
            rotated_at: now,
            replayed_at: None,
            live_used: false,
            this_window: never,
            last_window: never,
            sealed: Vec::new(),
        }
    }
}

/// Why a session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Its owner logged out.
    Logout,
    /// Its owner or an administrator revoked it.
    Revoked,
    /// The password was changed.
    PasswordChange,
    /// A used refresh token came back.
    Reuse,
    /// The subject was disabled or removed.
    Disabled,
    /// A new cookie login took its place.
    Replaced,
    /// The subject opened more sessions than it may have.
    Evicted,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Logout,
        Self::Revoked,
        Self::PasswordChange,
        Self::Reuse,
        Self::Disabled,
        Self::Replaced,
        Self::Evicted,
    ];

    /// The name under which it is stored and logged. Never changes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Revoked => "revoked",
            Self::PasswordChange => "password_change",
            Self::Reuse => "reuse",
            Self::Disabled => "disabled",
            Self::Replaced => "replaced",
            Self::Evicted => "evicted",
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// That a session was ended, when and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: EndReason,
}

/// One login on one device: the row a store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which session.
    pub id: SessionId,
    /// Whose.
    pub subject: SubjectId,
    /// The scope granted at login, space-separated; a refresh may narrow it and never widen it.
    pub scope: Option<String>,
    /// When the subject proved its password. Copied into every access token.
    pub auth_time: Timestamp,
    /// When the session was opened.
    pub created_at: Timestamp,
    /// The absolute end, fixed at login.
    pub expires_at: Timestamp,
    /// When the live refresh token expires; never after `expires_at`.
    pub idle_expires_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Timestamp,
    /// Who used it last.
    pub client: Client,
    /// The refresh tokens.
    pub chain: Chain,
    /// Whether it was ended before its time.
    pub ended: Option<End>,
}

impl Session {
    /// When the session ends if nobody uses it again: the earlier of its idle and its absolute end.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.expires_at.min(self.idle_expires_at)
    }

    /// From when a store may remove the row: its end; for a session ended by reuse its absolute end, since the row is
    /// evidence.
    #[must_use]
    pub fn removable_at(&self) -> Timestamp {
        match self.ended {
            Some(End { reason: EndReason::Reuse, .. }) => self.expires_at,
            _ => self.end(),
        }
    }

    /// Whether a refresh may still succeed.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn a_network_is_an_ipv4_address_or_an_ipv6_64() {
        for (ip, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let client = Client::new(Some(ip.parse().unwrap()), None);
            assert_eq!(client.network(), Some(expected.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn a_user_agent_is_cut_and_loses_control_characters() {
        let long = format!("a\r\n\u{1b}[31m{}", "é".repeat(300));
        let client = Client::new(None, Some(&long));
        let kept = client.user_agent.unwrap();
        assert!(kept.starts_with("a[31mé") && kept.chars().count() == 256);
        assert_eq!(Client::new(None, Some("\r\n")).user_agent, None);
    }

    #[test]
    fn a_generated_id_carries_its_subjects_tag_and_128_random_bits() {
        // SHA-256 of "alice" begins with 2bd806c9.
        let alice = SubjectId::new("alice");
        assert_eq!(alice.tag(), 0x2bd);
        let generate = || SessionId::generate(&alice, &SystemRandom).unwrap();
        let (one, two) = (generate(), generate());
        assert_ne!(one, two);
        for id in [&one, &two] {
            assert_eq!(id.tag(), Some(0x2bd));
            assert_eq!(&id.as_str()[..2], "K9");
            let random = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(&id.as_str()[2..]).unwrap();
            assert_eq!(random.len(), 16);
        }
    }

    #[test]
    fn what_was_not_generated_has_no_tag() {
        let text = "K9AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(SessionId::new(text).tag(), Some(0x2bd));
        let longer = format!("{text}A");
        for other in [
            "",
            "K",
            "K9",
            &text[1..],
            longer.as_str(),
            "K9AAAAAAAAAAAAAAAAAAAAA=",
            "é9AAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(SessionId::new(other).tag(), None, "{other}");
        }
    }

    #[test]
    fn every_reason_is_found_by_its_name() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::from_name(reason.name()), Some(reason));
        }
        assert_eq!(EndReason::from_name("Logout"), None);
    }
}
