//! What every key is called, and how keys are spread.
//!
//! A cluster spreads keys over its nodes by a number of 14 bits, the slot, and a script may only touch keys of one. So
//! all that belongs to a subject has to be in one slot, and what every subject shares (the list of revocations, what may
//! be purged) has to be in few, or nobody could read it. Both come of the same trick: keys live in 64 shards. A shard is
//! one slot, and the slots of the 64 stand evenly over all there are, so a cluster whose nodes hold equal ranges holds
//! equal shares. What is in braces in a key is all of it that counts for its slot.
//!
//! | key | holds |
//! |---|---|
//! | `gatekey:{8}s:<field>` | a session: `row.rs` |
//! | `gatekey:{8}i:<subject>` | the fields of a subject's open sessions |
//! | `gatekey:{8}m:<subject>` | when all sessions of a subject were last revoked; without a TTL |
//! | `gatekey:{8}e` | the sessions of the shard that were ended, by when |
//! | `gatekey:{8}p` | the sessions of the shard, by a time before which none of them may be purged |
//! | `gatekey:{8}a:<field>` | the shard of a session whose id does not tell it |
//! | `gatekey:{8}u:<subject>` | an account |
//! | `gatekey:{8}n:<name>` | the id of the account of that name |
//! | `gatekey:{8}t:<counter>` | a counter of attempts |
//!
//! Subjects and names stand there as digests, and so do ids of sessions that are not of the form that core gives them:
//! nothing that a client sent becomes a key.

use aws_lc_rs::digest;
use gatekey_core::{
    session::{SessionId, SubjectId},
    user::Username,
};

/// How many shards there are. More would spread finer and make every look at the revocations dearer: a cluster is asked
/// once for each.
pub(crate) const SHARDS: u8 = 64;

/// One of [`SHARDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shard(u8);

impl Shard {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// That of a subject and all that belongs to it: the upper half of its tag.
    pub(crate) fn of(subject: &SubjectId) -> Self {
        Self::of_tag(subject.tag())
    }

    fn of_tag(tag: u16) -> Self {
        let [upper, lower] = (tag >> 6).to_be_bytes();
        debug_assert_eq!(upper, 0);
        Self(lower % SHARDS)
    }

    /// That of random bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self(bytes.first().map_or(0, |byte| byte % SHARDS))
    }

    /// Its number, as it is stored.
    pub(crate) fn number(self) -> u8 {
        self.0
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        (number < SHARDS).then_some(Self(number))
    }

    /// What stands in the braces.
    fn tag(self) -> u16 {
        TAGS[usize::from(self.0)]
    }
}

/// The smallest number for each shard whose decimal digits hash into the shard's 64th of the slots.
const TAGS: [u16; SHARDS as usize] = {
    let mut tags = [0; SHARDS as usize];
    let mut found = [false; SHARDS as usize];
    let mut missing = SHARDS;
    let mut number: u16 = 0;
    while missing > 0 {
        let shard = (slot_of_number(number) / (16_384 / SHARDS as u16)) as usize;
        if !found[shard] {
            tags[shard] = number;
            found[shard] = true;
            missing -= 1;
        }
        number += 1;
    }
    tags
};

/// The slot of a number's decimal digits: CRC-16/XMODEM, 14 bits of it.
const fn slot_of_number(number: u16) -> u16 {
    let mut power: u16 = 1;
    while number / power >= 10 {
        power *= 10;
    }
    let mut crc: u16 = 0;
    while power > 0 {
        let digit = b'0' + (number / power % 10) as u8;
        crc ^= (digit as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        power /= 10;
    }
    crc % 16_384
}

/// A digest of a text as 32 characters: 192 bits, so that nobody finds two texts of one digest.
pub(crate) fn digest(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(&digest.as_ref()[..24])
}

/// Where a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) shard: Shard,
    /// What names it there: its id, or the id's digest.
    pub(crate) field: String,
}

/// What an id tells of where its session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// All.
    Here(Place),
    /// Its field; the shard has to be looked up.
    Somewhere(String),
}

impl Found {
    pub(crate) fn by(id: &SessionId) -> Self {
        match id.tag() {
            Some(tag) => Self::Here(Place { shard: Shard::of_tag(tag), field: id.as_str().to_owned() }),
            None => Self::Somewhere(digest(id.as_str())),
        }
    }
}

/// Names keys under a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
    channel: String,
}

impl Keys {
    /// The most bytes of a prefix.
    const MAX: usize = 64;

    /// Takes a prefix in, or says what is wrong with it.
    pub(crate) fn new(prefix: &str, database: i64) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
        if prefix.len() > Self::MAX || !prefix.bytes().all(fits) {
            let max = Self::MAX;
            return Err(format!(
                "the prefix {prefix:?} is not {max} or fewer of the visible ASCII characters without braces"
            ));
        }
        // Channels know no databases, so their names have to.
        Ok(Self { prefix: prefix.to_owned(), channel: format!("{prefix}revoked:{database}") })
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where revocations are told.
    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    fn key(&self, shard: Shard, kind: char, name: &str) -> String {
        format!("{}{{{}}}{kind}:{name}", self.prefix, shard.tag())
    }

    pub(crate) fn session(&self, place: &Place) -> String {
        self.key(place.shard, 's', &place.field)
    }

    pub(crate) fn index(&self, shard: Shard, subject: &str) -> String {
        self.key(shard, 'i', subject)
    }

    pub(crate) fn mark(&self, shard: Shard, subject: &str) -> String {
        self.key(shard, 'm', subject)
    }

    pub(crate) fn ended(&self, shard: Shard) -> String {
        format!("{}{{{}}}e", self.prefix, shard.tag())
    }

    pub(crate) fn purge(&self, shard: Shard) -> String {
        format!("{}{{{}}}p", self.prefix, shard.tag())
    }

    /// The address of a session whose id does not tell it. A digest is as good as random.
    pub(crate) fn address(&self, field: &str) -> String {
        self.key(Shard::of_bytes(field.as_bytes()), 'a', field)
    }

    pub(crate) fn user(&self, id: &SubjectId) -> String {
        self.key(Shard::of(id), 'u', &digest(id.as_str()))
    }

    pub(crate) fn name(&self, name: &Username) -> String {
        let name = digest(name.canonical());
        self.key(Shard::of_bytes(name.as_bytes()), 'n', &name)
    }

    pub(crate) fn counter(&self, shard: Shard, key: &[u8; 16]) -> String {
        self.key(shard, 't', &base64_simd::URL_SAFE_NO_PAD.encode_to_string(key))
    }
}

#[cfg(test)]
mod tests {
    use redis::cluster_routing::{Route, SlotAddr};

    use super::*;

    #[test]
    fn shards_stand_evenly_over_the_slots() {
        let keys = Keys::new("gatekey:", 0).unwrap();
        for shard in Shard::all() {
            let place = Place { shard, field: "x".to_owned() };
            let route = |key: String| Route::with_key(key, SlotAddr::Master);
            let expected = route(keys.ended(shard));
            assert_eq!(slot_of_number(shard.tag()) / 256, u16::from(shard.number()));
            assert_eq!(expected, Route::new(slot_of_number(shard.tag()), SlotAddr::Master));
            for key in
                [keys.session(&place), keys.index(shard, "x"), keys.mark(shard, "x"), keys.purge(shard)]
            {
                assert_eq!(route(key.clone()), expected, "{key}");
            }
        }
    }

    #[test]
    fn what_belongs_to_a_subject_is_in_its_shard() {
        let random = gatekey_core::random::SystemRandom;
        for number in 0..1000 {
            let subject = SubjectId::new(format!("subject-{number}"));
            let id = SessionId::generate(&subject, &random).unwrap();
            let place = Place { shard: Shard::of(&subject), field: id.as_str().to_owned() };
            assert_eq!(Found::by(&id), Found::Here(place));
        }
    }

    #[test]
    fn nothing_that_a_client_sent_becomes_a_key() {
        let keys = Keys::new("gatekey:", 0).unwrap();
        for hostile in ["{0}", "}{", "a\r\nSET x y", "*", "é", &"x".repeat(10_000)] {
            let Found::Somewhere(field) = Found::by(&SessionId::new(hostile)) else { panic!("{hostile}") };
            let mut keys = vec![
                keys.address(&field),
                keys.session(&Place { shard: Shard(0), field }),
                keys.user(&SubjectId::new(hostile)),
            ];
            keys.extend(
                Username::new(hostile).map(|name| self::Keys::new("gatekey:", 0).unwrap().name(&name)),
            );
            for key in keys {
                let (_, name) = key.rsplit_once(':').unwrap();
                assert_eq!(name.len(), 32);
                assert!(
                    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
                    "{key}"
                );
            }
        }
    }

    #[test]
    fn a_prefix_that_could_move_keys_to_another_slot_is_refused() {
        for prefix in ["a{b}", "{", "}", "a b", "a\n", "é", &"x".repeat(65)] {
            assert!(Keys::new(prefix, 0).is_err(), "{prefix:?}");
        }
        for prefix in ["", "gatekey:", "app/1.", &"x".repeat(64)] {
            assert!(Keys::new(prefix, 0).is_ok(), "{prefix:?}");
        }
    }
}
