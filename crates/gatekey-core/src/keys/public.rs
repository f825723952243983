//! Public keys that others made: from PEM, from a JWK, from a JWK Set.
//!
//! 1. A key is bound to one algorithm when it is read: to what its `alg` says, if that goes with its type, or else to the
//!    one algorithm of its type. A token never chooses.
//! 2. A member of a set that cannot be such a key is left out and told of, never a reason to lose the others (RFC 7517
//!    section 5): another type or algorithm, not for signatures, a shared secret, a private key that was published, an RSA
//!    key of fewer than 2048 bits or of guessable factors (ROCA), a point off its curve.
//! 3. Where two different keys have the same `kid` and algorithm, a token could mean either, so neither is taken.

use std::{borrow::Cow, fmt};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64_simd::URL_SAFE_NO_PAD;

use super::{Algorithm, KeyError, Public, VerifyingKey, pem, roca};
use crate::{
    error::TokenError,
    json::{self, Value},
};

/// The longest JWK Set that is read, in bytes.
pub const MAX_KEY_SET: usize = 64 * 1024;

/// What an RSA key needs to check a signature. Ours have more to make one.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

impl VerifyingKey {
    /// Reads a public key for one algorithm: one PEM block `PUBLIC KEY` (SubjectPublicKeyInfo) of an Ed25519, P-256 or RSA
    /// key. RSA keys have 2048 to 8192 bits.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unreadable`] if it is no such key or none for that algorithm, [`KeyError::SmallRsa`].
    pub fn from_pem(algorithm: Algorithm, text: &str) -> Result<Self, KeyError> {
        let der = pem::decode("PUBLIC KEY", text).ok_or(KeyError::Unreadable(EXPECTED_PEM))?;
        let public = pem::public_key(der.expose()).ok_or(KeyError::Unreadable(EXPECTED_PEM))?;
        Self::fit(algorithm, public).map_err(|problem| problem.told(EXPECTED_PEM))
    }

    /// Reads a public JWK (RFC 7517). Without an `alg` it is for the one algorithm of its type; for an RSA key that is
    /// RS256.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unreadable`] if it is no public key for one of our algorithms, [`KeyError::SmallRsa`].
    pub fn from_jwk(text: &str) -> Result<Self, KeyError> {
        let jwk = json::parse(text.as_bytes()).map_err(|_| KeyError::Unreadable(EXPECTED_JWK))?;
        read(&jwk, Algorithm::RS256).map(|(_, key)| key).map_err(|problem| problem.told(EXPECTED_JWK))
    }

    /// Binds a key to an algorithm of its type, if the cryptographic library takes it for a key.
    fn fit(algorithm: Algorithm, public: Public) -> Result<Self, Unfit> {
        match (&public, algorithm) {
            (Public::Okp { x }, Algorithm::EdDSA) if x.len() == 32 => {}
            (Public::Ec { point }, Algorithm::ES256) if point.len() == 65 => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| Unfit::Not("its point"))?;
            }
            (Public::Rsa { n, e }, Algorithm::RS256 | Algorithm::PS256) => {
                let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
                if bits < *RSA_BITS.start() {
                    return Err(Unfit::SmallRsa(bits));
                }
                // With an exponent of 1 a signature is what it signs.
                let exponent = e.len() <= 4 && e.last().is_some_and(|last| last % 2 == 1) && e[..] != [1];
                let read = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
                if !RSA_BITS.contains(&bits) || !exponent || read.is_err() || roca::is_weak(n) {
                    return Err(Unfit::Not("its numbers"));
                }
            }
            _ => return Err(Unfit::Not("another algorithm than its type")),
        }
        Ok(Self::new(algorithm, public, &[]))
    }
}

const EXPECTED_PEM: &str =
    "one PEM block `PUBLIC KEY` of an Ed25519, P-256 or RSA key, and an algorithm that goes with it";
const EXPECTED_JWK: &str = "a public JWK of an Ed25519, P-256 or RSA key that is for signatures";

/// Why a JWK is not taken.
enum Unfit {
    SmallRsa(usize),
    Not(&'static str),
}

impl Unfit {
    fn told(self, expected: &'static str) -> KeyError {
        match self {
            Self::SmallRsa(bits) => KeyError::SmallRsa { bits, needed: *RSA_BITS.start() },
            Self::Not(_) => KeyError::Unreadable(expected),
        }
    }
}

/// A JWK and the `kid` it has.
fn read(jwk: &Value<'_>, rsa: Algorithm) -> Result<(Option<String>, VerifyingKey), Unfit> {
    let text = |name: &'static str| match jwk.member(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_ref())),
        Some(_) => Err(Unfit::Not("a member of another type")),
    };
    let bytes = |name: &'static str| {
        let value = text(name)?.ok_or(Unfit::Not("a member is missing"))?;
        URL_SAFE_NO_PAD.decode_to_vec(value).map_err(|_| Unfit::Not("not base64url"))
    };
    if text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(Unfit::Not("not for signatures"));
    }
    match jwk.member("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.contains(&Value::String(Cow::Borrowed("verify"))) => {}
        Some(_) => return Err(Unfit::Not("not for signatures")),
    }
    // Whoever reads the set could sign with it.
    if jwk.member("d").is_some() {
        return Err(Unfit::Not("a private key"));
    }
    let (public, by_type) = match (text("kty")?, text("crv")?) {
        (Some("OKP"), Some("Ed25519")) => (Public::Okp { x: bytes("x")? }, Algorithm::EdDSA),
        (Some("EC"), Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            // Each at its full length (RFC 7518 section 6.2.1.2): 31 bytes and 33 would make 64 as well.
            if x.len() != 32 || y.len() != 32 {
                return Err(Unfit::Not("its point"));
            }
            (Public::Ec { point: [&[4][..], &x, &y].concat() }, Algorithm::ES256)
        }
        (Some("RSA"), _) => (Public::Rsa { n: bytes("n")?, e: bytes("e")? }, rsa),
        _ => return Err(Unfit::Not("another type of key")),
    };
    let algorithm = match text("alg")? {
        None => by_type,
        Some(name) => Algorithm::from_foreign_name(name).ok_or(Unfit::Not("another algorithm"))?,
    };
    let kid = text("kid")?.map(str::to_owned);
    Ok((kid, VerifyingKey::fit(algorithm, public)?))
}

/// A key and what tokens call it.
#[derive(Clone, Debug, PartialEq)]
struct Named {
    /// None where the key has no name: then it has to be alone.
    kid: Option<String>,
    key: VerifyingKey,
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        // Its `kid` is the key's thumbprint.
        self.algorithm == other.algorithm && self.kid == other.kid
    }
}

/// The public keys of an issuer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeySet {
    keys: Vec<Named>,
    /// What was left out, for the log.
    left_out: Vec<String>,
}

impl KeySet {
    /// One key, whatever tokens call it.
    pub(crate) fn of(key: VerifyingKey) -> Self {
        Self { keys: vec![Named { kid: None, key }], left_out: Vec::new() }
    }

    /// Reads a JWK Set. `rsa` is what RSA keys without an `alg` are for.
    pub(crate) fn read(text: &[u8], rsa: Algorithm) -> Result<Self, UnusableKeySet> {
        if text.len() > MAX_KEY_SET {
            return Err(UnusableKeySet("longer than 64 KiB".to_owned()));
        }
        let set = json::parse(text).map_err(|error| UnusableKeySet(error.to_string()))?;
        let Some(Value::Array(members)) = set.member("keys") else {
            return Err(UnusableKeySet("no array `keys`".to_owned()));
        };
        let (mut keys, mut left_out): (Vec<Named>, Vec<String>) = Default::default();
        for jwk in members {
            let kid = match jwk.member("kid") {
                Some(Value::String(kid)) => format!("{kid:?}"),
                _ => "without kid".to_owned(),
            };
            match read(jwk, rsa) {
                Ok((kid, key)) => keys.push(Named { kid, key }),
                Err(Unfit::SmallRsa(bits)) => left_out.push(format!("{kid}: RSA of {bits} bits")),
                Err(Unfit::Not(why)) => left_out.push(format!("{kid}: {why}")),
            }
        }
        let same_name = |a: &Named, b: &Named| a.kid == b.kid && a.key.algorithm == b.key.algorithm;
        let ambiguous: Vec<Named> = keys
            .iter()
            .filter(|key| keys.iter().any(|other| same_name(key, other) && key.key != other.key))
            .cloned()
            .collect();
        keys.retain(|key| !ambiguous.contains(key));
        left_out.extend(ambiguous.iter().map(|key| format!("{:?}: the kid of two keys", key.kid)));
        keys.dedup();
        if keys.is_empty() {
            let why = if left_out.is_empty() { String::new() } else { format!(": {}", left_out.join(", ")) };
            return Err(UnusableKeySet(format!("no usable key{why}")));
        }
        Ok(Self { keys, left_out })
    }

    /// The key that a token's header means.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&VerifyingKey, TokenError> {
        // A key without a name, alone: whatever name a token gives, there is no other.
        let nameless = matches!(&self.keys[..], [Named { kid: None, .. }]);
        if kid.is_none() && !nameless {
            return Err(TokenError::Header);
        }
        let mut meant = self.keys.iter().filter(|key| nameless || key.kid.as_deref() == kid).peekable();
        meant.peek().ok_or(TokenError::UnknownKey)?;
        meant
            .find(|named| named.key.algorithm == algorithm)
            .map(|named| &named.key)
            .ok_or(TokenError::WrongAlgorithm)
    }

    /// The keys it has and what was left out, for operators.
    pub(crate) fn summary(&self) -> String {
        let key = |Named { kid, key }: &Named| {
            let name = kid.as_ref().map_or_else(|| "without kid".to_owned(), |kid| format!("{kid:?}"));
            format!("{name} {}", key.algorithm.name())
        };
        let mut text: String = self.keys.iter().map(key).collect::<Vec<_>>().join(", ");
        if !self.left_out.is_empty() {
            text.push_str("; left out: ");
            text.push_str(&self.left_out.join(", "));
        }
        text
    }
}

/// Why a JWK Set is of no use.
#[derive(Debug, PartialEq)]
pub(crate) struct UnusableKeySet(String);

impl fmt::Display for UnusableKeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a usable JWK Set: {}", self.0)
    }
}

impl std::error::Error for UnusableKeySet {}

#[cfg(test)]
mod tests;
