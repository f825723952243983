//! Reads a stored hash. Strict: one way to write each, every field in its place, no cost above the cap.

use argon2::{Algorithm, Version};

use super::{Argon2Params, Fault};

/// A stored hash, ready to be computed.
#[derive(Debug)]
pub(super) enum Stored {
    Argon2(Argon2Hash),
    #[cfg(feature = "import")]
    Imported(super::import::Imported),
}

/// An argon2 hash of any kind and any cost up to the cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argon2Hash {
    pub(super) algorithm: Algorithm,
    pub(super) version: Version,
    pub(super) params: Argon2Params,
    pub(super) salt: Vec<u8>,
    pub(super) tag: Vec<u8>,
}

impl Argon2Hash {
    /// Bytes of the salt of a new hash.
    pub(super) const SALT: usize = 16;
    /// Bytes of the tag of a new hash.
    pub(super) const TAG: usize = 32;

    /// Whether a new hash of these costs would look like it.
    pub(super) fn is_as_new(&self, params: Argon2Params) -> bool {
        self.algorithm == Algorithm::Argon2id
            && self.version == Version::V0x13
            && self.params == params
            && self.salt.len() == Self::SALT
            && self.tag.len() == Self::TAG
    }
}

pub(super) fn parse(text: &str) -> Result<Stored, Fault> {
    if text.starts_with("$argon2") {
        return argon2(text).map(Stored::Argon2);
    }
    #[cfg(feature = "import")]
    return super::import::parse(text);
    #[cfg(not(feature = "import"))]
    Err(
        if ["$2", "$scrypt$", "$pbkdf2", "pbkdf2_", "bcrypt", "argon2$", "scrypt$", "{"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            Fault::NeedsImport
        } else {
            Fault::UnknownFormat
        },
    )
}

/// `$argon2id$v=19$m=19456,t=2,p=1$salt$tag`; without `v=` it is version 1.0, as the first implementations wrote it.
pub(super) fn argon2(text: &str) -> Result<Argon2Hash, Fault> {
    let fields: Vec<&str> = text.split('$').collect();
    let (name, version, costs, salt, tag) = match fields[..] {
        ["", name, "v=19", costs, salt, tag] => (name, Version::V0x13, costs, salt, tag),
        ["", name, "v=16", costs, salt, tag] | ["", name, costs, salt, tag] => {
            (name, Version::V0x10, costs, salt, tag)
        }
        _ => return Err(Fault::Malformed),
    };
    let algorithm = match name {
        "argon2id" => Algorithm::Argon2id,
        "argon2i" => Algorithm::Argon2i,
        "argon2d" => Algorithm::Argon2d,
        _ => return Err(Fault::UnknownFormat),
    };
    let [memory_kib, iterations, parallelism] = numbers(costs, ["m", "t", "p"]).ok_or(Fault::Malformed)?;
    let params = Argon2Params { memory_kib, iterations, parallelism };
    if !params.is_affordable() {
        return Err(Fault::TooCostly);
    }
    // RFC 9106 3.1: at least one lane and one pass, and two blocks for each quarter of a lane.
    if parallelism == 0 || iterations == 0 || memory_kib < 8 * parallelism {
        return Err(Fault::Malformed);
    }
    Ok(Argon2Hash {
        algorithm,
        version,
        params,
        salt: bytes(salt, 8..=64)?,
        // A tag of a few bytes would match by luck.
        tag: bytes(tag, 16..=64)?,
    })
}

/// Standard base64 without padding, of so many bytes.
pub(super) fn bytes(text: &str, len: std::ops::RangeInclusive<usize>) -> Result<Vec<u8>, Fault> {
    base64_simd::STANDARD_NO_PAD
        .decode_to_vec(text)
        .ok()
        .filter(|bytes| len.contains(&bytes.len()))
        .ok_or(Fault::Malformed)
}

/// `name=number` for exactly these names, in this order, separated by commas.
pub(super) fn numbers<const N: usize>(text: &str, names: [&str; N]) -> Option<[u32; N]> {
    let mut parts = text.split(',');
    let mut values = [0; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = number(parts.next()?.strip_prefix(name)?.strip_prefix('=')?)?;
    }
    parts.next().is_none().then_some(values)
}

/// A decimal number without sign or leading zero.
pub(super) fn number(text: &str) -> Option<u32> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !(text.len() > 1 && text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &str = "MTIzNDU2Nzg5MDEyMzQ1Ng";
    const TAG: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn what_we_write_is_read_back() {
        let hash = argon2(&format!("$argon2id$v=19$m=19456,t=2,p=1${SALT}${TAG}")).unwrap();
        assert_eq!(hash.salt, b"1234567890123456");
        assert_eq!(hash.tag, [0; 32]);
        assert!(hash.is_as_new(Argon2Params::default()));
        assert!(!hash.is_as_new(Argon2Params::new(19_456, 3, 1).unwrap()));
    }

    #[test]
    fn other_kinds_and_costs_are_read_but_not_as_new() {
        for text in [
            format!("$argon2i$v=19$m=19456,t=2,p=1${SALT}${TAG}"),
            format!("$argon2d$v=19$m=19456,t=2,p=1${SALT}${TAG}"),
            format!("$argon2id$v=16$m=19456,t=2,p=1${SALT}${TAG}"),
            format!("$argon2id$m=19456,t=2,p=1${SALT}${TAG}"),
            format!("$argon2id$v=19$m=19457,t=2,p=1${SALT}${TAG}"),
            format!("$argon2id$v=19$m=19456,t=3,p=1${SALT}${TAG}"),
            format!("$argon2id$v=19$m=19456,t=2,p=2${SALT}${TAG}"),
            format!("$argon2id$v=19$m=8,t=1,p=1${SALT}${TAG}"),
            format!("$argon2id$v=19$m=19456,t=2,p=1$MTIzNDU2Nzg${TAG}"),
            format!("$argon2id$v=19$m=19456,t=2,p=1${SALT}$AAAAAAAAAAAAAAAAAAAAAA"),
        ] {
            let hash = argon2(&text).unwrap();
            assert!(!hash.is_as_new(Argon2Params::default()), "{text}");
        }
    }

    #[test]
    fn anything_not_written_exactly_so_is_refused() {
        let good = format!("$argon2id$v=19$m=19456,t=2,p=1${SALT}${TAG}");
        for (name, text, fault) in [
            ("empty", String::new(), Fault::UnknownFormat),
            ("text", "hunter2".to_owned(), Fault::UnknownFormat),
            ("another kind", good.replace("argon2id", "argon2x"), Fault::UnknownFormat),
            ("another version", good.replace("v=19", "v=20"), Fault::Malformed),
            ("a leading zero", good.replace("t=2", "t=02"), Fault::Malformed),
            ("a sign", good.replace("t=2", "t=+2"), Fault::Malformed),
            ("no number", good.replace("t=2", "t="), Fault::Malformed),
            ("past 32 bits", good.replace("t=2", "t=4294967298"), Fault::Malformed),
            ("another order", good.replace("m=19456,t=2", "t=2,m=19456"), Fault::Malformed),
            ("a parameter twice", good.replace("t=2", "t=2,t=2"), Fault::Malformed),
            ("a parameter missing", good.replace(",p=1", ""), Fault::Malformed),
            ("a parameter more", good.replace("p=1", "p=1,data=AA"), Fault::Malformed),
            ("no passes", good.replace("t=2", "t=0"), Fault::Malformed),
            ("no lanes", good.replace("p=1", "p=0"), Fault::Malformed),
            (
                "too little memory for its lanes",
                good.replace("m=19456,t=2,p=1", "m=31,t=2,p=4"),
                Fault::Malformed,
            ),
            ("padding", format!("{good}="), Fault::Malformed),
            ("white space", format!("{good}\n"), Fault::Malformed),
            ("unused bits", good.replace(SALT, "MTIzNDU2Nzg5MDEyMzQ1Nh"), Fault::Malformed),
            ("the other alphabet", good.replace(SALT, "____NDU2Nzg5MDEyMzQ1Ng"), Fault::Malformed),
            ("a field more", format!("{good}$"), Fault::Malformed),
            ("a short salt", good.replace(SALT, "MTIzNDU2Nw"), Fault::Malformed),
            ("a short tag", good.replace(TAG, "AAAAAAAA"), Fault::Malformed),
            ("no tag", good.replace(TAG, ""), Fault::Malformed),
            ("too much memory", good.replace("m=19456", "m=262145"), Fault::TooCostly),
            ("too many passes", good.replace("t=2", "t=108"), Fault::TooCostly),
            ("too many lanes", good.replace("p=1", "p=65"), Fault::TooCostly),
        ] {
            assert_eq!(parse(&text).unwrap_err(), fault, "{name}");
        }
    }

    #[cfg(not(feature = "import"))]
    #[test]
    fn an_imported_hash_names_the_missing_feature() {
        for text in ["$2b$04$x", "$scrypt$x", "$pbkdf2-sha256$x", "pbkdf2_sha256$x", "{bcrypt}$2b$x"] {
            assert_eq!(parse(text).unwrap_err(), Fault::NeedsImport, "{text}");
        }
    }
}
