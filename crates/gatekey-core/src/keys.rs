//! Keys: which exist, what each may do, and how they change without downtime.
//!
//! 1. Access and refresh tokens never share a key. Equal keys, short secrets and small RSA keys fail at start-up.
//! 2. A key has one algorithm for life, told by its kind, never by a token ([RFC 8725 section 3.1]).
//! 3. A ring signs with a shared secret or with key pairs, never with both: a public key can then not be mistaken for
//!    an HMAC secret.
//! 4. `kid` is the key's [RFC 7638] thumbprint, so two keys cannot share one.
//! 5. Rotation is publish, activate, retire: a new key is in the JWK Set before anything is signed with it, and the old
//!    one verifies until the last token it signed has expired. A key carries the time from which it signs, so all nodes
//!    that know it change at the same moment, and no second step is needed.
//!
//! [RFC 8725 section 3.1]: https://www.rfc-editor.org/rfc/rfc8725#section-3.1
//! [RFC 7638]: https://www.rfc-editor.org/rfc/rfc7638
//!
//! ```
//! use gatekey_core::keys::{Algorithm, Keys, SigningKey};
//!
//! let access = SigningKey::generate(Algorithm::EdDSA).unwrap();
//! assert!(Keys::new(access.clone(), SigningKey::generate(Algorithm::HS256).unwrap()).is_ok());
//! // A refresh secret of fewer than 32 bytes is no key at all.
//! assert!(SigningKey::hs256(b"hunter2").is_err());
//! ```

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Weak},
};

use aws_lc_rs::{
    encoding::AsDer,
    hkdf, rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    random::{Random, SystemRandom},
    secret::{self, Secret},
    time::Timestamp,
};

mod file;
mod pem;
mod public;
mod ring;
mod roca;
mod schedule;

pub use public::MAX_KEY_SET;
pub(crate) use public::{KeySet, UnusableKeySet};
pub(crate) use ring::Snapshot;
pub use ring::{KeyRing, PUBLISH_FOR};
use schedule::Dated;
pub use schedule::{KeyInfo, KeyOverlap, KeyPurpose, KeyState};

/// How a token is signed. `none` is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::upper_case_acronyms, reason = "the names of RFC 7518 and RFC 8037")]
pub enum Algorithm {
    /// Ed25519: the default.
    EdDSA,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// RSASSA-PSS with SHA-256; 3072 bits or more.
    PS256,
    /// RSASSA-PKCS1-v1_5 with SHA-256; 3072 bits or more. For interoperability only.
    RS256,
    /// HMAC with SHA-256; 32 bytes or more. Only where issuer and audience are one application.
    HS256,
}

impl Algorithm {
    /// The `alg` value, compared case-sensitively.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::PS256 => "PS256",
            Self::RS256 => "RS256",
            Self::HS256 => "HS256",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::EdDSA, Self::ES256, Self::PS256, Self::RS256, Self::HS256]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// As others may write it: RFC 9864 names the curve of what RFC 8037 calls EdDSA.
    pub(crate) fn from_foreign_name(name: &str) -> Option<Self> {
        if name == "Ed25519" { Some(Self::EdDSA) } else { Self::from_name(name) }
    }

    pub(crate) fn for_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::HS256 => jsonwebtoken::Algorithm::HS256,
        }
    }
}

/// Why a key was not taken. Never holds any of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// A setting is missing; its name.
    Missing(&'static str),
    /// A setting holds no usable key.
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong with its value.
        problem: Box<KeyError>,
    },
    /// Not a key of a kind we know; what would be.
    Unreadable(&'static str),
    /// An HMAC secret of fewer than 32 bytes; how many.
    ShortSecret(usize),
    /// An RSA key of too few bits.
    SmallRsa {
        /// How many it has.
        bits: usize,
        /// How many it needs: 3072 to sign, 2048 to verify what others signed.
        needed: usize,
    },
    /// Two keys are the same: an access key and a refresh secret, or one key given twice.
    Equal,
    /// A shared secret and key pairs in one ring.
    Mixed,
    /// No key of that `kid`, or not in a state that allows it.
    NoSuchKey,
    /// The file of the keys.
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The cryptographic library refused to work.
    Failed,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "{name} is not set"),
            Self::Setting { name, problem } => write!(f, "{name}: {problem}"),
            Self::Unreadable(expected) => write!(f, "not a readable key; expected {expected}"),
            Self::ShortSecret(length) => {
                write!(f, "a secret of {length} bytes is too short; 32 or more are needed")
            }
            Self::SmallRsa { bits, needed } => {
                write!(f, "an RSA key of {bits} bits is too small; {needed} or more are needed")
            }
            Self::Equal => f.write_str("two keys are equal; access keys and refresh secrets must all differ"),
            Self::Mixed => {
                f.write_str("shared secrets (HS256) and key pairs cannot be mixed for access tokens")
            }
            Self::NoSuchKey => f.write_str("no key of that kid in a state that allows it"),
            Self::File { path, problem } => write!(f, "key file {}: {problem}", path.display()),
            Self::Failed => f.write_str("the cryptographic library failed"),
        }
    }
}

impl std::error::Error for KeyError {}

/// The parts of a key that a verifier may know.
#[derive(Clone)]
enum Public {
    Okp {
        x: Vec<u8>,
    },
    Ec {
        point: Vec<u8>,
    },
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A shared secret has no public part.
    None,
}

/// A key that checks tokens.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    kid: String,
    decoding: DecodingKey,
    public: Public,
    /// The same in every copy, and gone with the last of them.
    identity: Arc<()>,
}

/// What is left with who keeps something that was made of a key.
pub(crate) struct KeyUse(Weak<()>);

impl KeyUse {
    pub(crate) fn is_of(&self, key: &VerifyingKey) -> bool {
        // The address is not given to another while this is kept.
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&key.identity))
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl VerifyingKey {
    fn new(algorithm: Algorithm, public: Public, secret: &[u8]) -> Self {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode_to_string(bytes);
        // RFC 7638 s3: the required members, in lexicographic order, without white space.
        let (canonical, decoding) = match &public {
            Public::Okp { x } => (
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
                DecodingKey::from_ed_der(x),
            ),
            Public::Ec { point } => (
                format!(
                    r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                    encode(&point[1..33]),
                    encode(&point[33..])
                ),
                DecodingKey::from_ec_der(point),
            ),
            Public::Rsa { n, e } => (
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
                DecodingKey::from_rsa_raw_components(n, e),
            ),
            // The thumbprint of a secret of full strength tells nothing that a signed token does not (RFC 7638 s7).
            Public::None => {
                (format!(r#"{{"k":"{}","kty":"oct"}}"#, encode(secret)), DecodingKey::from_secret(secret))
            }
        };
        let kid =
            encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes()).as_ref());
        Self { algorithm, kid, decoding, public, identity: Arc::default() }
    }

    /// The key's identifier: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The one algorithm it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn in_use(&self) -> KeyUse {
        KeyUse(Arc::downgrade(&self.identity))
    }

    pub(crate) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// The public JWK (RFC 7517); none for a shared secret.
    #[must_use]
    pub fn jwk(&self) -> Option<serde_json::Value> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode_to_string(bytes);
        let mut jwk = match &self.public {
            Public::Okp { x } => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(x)}),
            Public::Ec { point } => json!({
                "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]),
            }),
            Public::Rsa { n, e } => json!({"kty": "RSA", "n": encode(n), "e": encode(e)}),
            Public::None => return None,
        };
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm.name().into();
        jwk["kid"] = self.kid.as_str().into();
        Some(jwk)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({} {})", self.algorithm.name(), self.kid)
    }
}

/// A key that signs tokens, and what checks them.
#[derive(Clone)]
pub struct SigningKey {
    verifying: VerifyingKey,
    encoding: EncodingKey,
    /// PKCS#8 of a key pair, or the bytes of a secret.
    material: Secret<Vec<u8>>,
}

impl SigningKey {
    /// Makes a new key from the system's randomness. RSA keys have 3072 bits.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`] if the cryptographic library could not.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let rng = aws_lc_rs::rand::SystemRandom::new();
        match algorithm {
            Algorithm::EdDSA => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8(&rng).map_err(|_| KeyError::Failed)?;
                Self::from_pkcs8(algorithm, pkcs8.as_ref())
            }
            Algorithm::ES256 => {
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng)
                    .map_err(|_| KeyError::Failed)?;
                Self::from_pkcs8(algorithm, pkcs8.as_ref())
            }
            Algorithm::PS256 | Algorithm::RS256 => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa3072).map_err(|_| KeyError::Failed)?;
                let pkcs8 = pair.as_der().map_err(|_| KeyError::Failed)?;
                Self::from_pkcs8(algorithm, pkcs8.as_ref())
            }
            Algorithm::HS256 => {
                let mut secret = Zeroizing::new([0; 32]);
                SystemRandom.fill(&mut *secret).map_err(|_| KeyError::Failed)?;
                Self::hs256(&*secret)
            }
        }
    }

    /// Reads a private key: one PEM block `PRIVATE KEY` (PKCS#8). Ed25519 is for EdDSA, P-256 for ES256, RSA for PS256;
    /// for RS256 use [`SigningKey::from_pkcs8`].
    ///
    /// # Errors
    ///
    /// [`KeyError::Unreadable`] if it is none of these, [`KeyError::SmallRsa`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let expected = "one PEM block `PRIVATE KEY` (PKCS#8) of an Ed25519, P-256 or RSA key";
        let der = pem::decode("PRIVATE KEY", text).ok_or(KeyError::Unreadable(expected))?;
        for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::PS256] {
            match Self::from_pkcs8(algorithm, der.expose()) {
                Err(KeyError::Unreadable(_)) => {}
                settled => return settled,
            }
        }
        Err(KeyError::Unreadable(expected))
    }

    /// Reads a private key in PKCS#8 DER for the given algorithm.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unreadable`] if it is not such a key, [`KeyError::SmallRsa`].
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let unreadable = |expected| move |_| KeyError::Unreadable(expected);
        let (public, encoding) = match algorithm {
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(der).map_err(unreadable("an Ed25519 key in PKCS#8"))?;
                (Public::Okp { x: pair.public_key().as_ref().to_vec() }, EncodingKey::from_ed_der(der))
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
                    .map_err(unreadable("a P-256 key in PKCS#8"))?;
                let point = pair.public_key().as_ref().to_vec();
                if point.len() != 65 || point[0] != 4 {
                    return Err(KeyError::Failed);
                }
                (Public::Ec { point }, EncodingKey::from_ec_der(der))
            }
            Algorithm::PS256 | Algorithm::RS256 => {
                let pair = rsa::KeyPair::from_pkcs8(der).map_err(unreadable("an RSA key in PKCS#8"))?;
                let bits = pair.public_modulus_len() * 8;
                if bits < 3072 {
                    return Err(KeyError::SmallRsa { bits, needed: 3072 });
                }
                let public = pair.public_key();
                if roca::is_weak(public.modulus().big_endian_without_leading_zero()) {
                    return Err(KeyError::Unreadable(
                        "an RSA key whose factors cannot be guessed (CVE-2017-15361)",
                    ));
                }
                let public = Public::Rsa {
                    n: public.modulus().big_endian_without_leading_zero().to_vec(),
                    e: public.exponent().big_endian_without_leading_zero().to_vec(),
                };
                let pkcs1 = pem::pkcs1_in_pkcs8(der).ok_or(KeyError::Unreadable("an RSA key in PKCS#8"))?;
                (public, EncodingKey::from_rsa_der(pkcs1))
            }
            Algorithm::HS256 => return Err(KeyError::Unreadable("a key pair")),
        };
        let verifying = VerifyingKey::new(algorithm, public, &[]);
        Ok(Self { verifying, encoding, material: Secret::new(der.to_vec()) })
    }

    /// Takes a shared secret of at least 32 bytes. They have to be random: a passphrase is guessed offline from one
    /// token ([RFC 8725 section 3.5](https://www.rfc-editor.org/rfc/rfc8725#section-3.5)).
    ///
    /// # Errors
    ///
    /// [`KeyError::ShortSecret`].
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < 32 {
            return Err(KeyError::ShortSecret(secret.len()));
        }
        Ok(Self {
            verifying: VerifyingKey::new(Algorithm::HS256, Public::None, secret),
            encoding: EncodingKey::from_secret(secret),
            material: Secret::new(secret.to_vec()),
        })
    }

    /// Reads what a setting may hold: a PEM private key, or `hs256:` and a secret in standard base64. Literal `\n` in a
    /// PEM are read as line ends, as environment files often write them.
    ///
    /// # Errors
    ///
    /// As [`SigningKey::from_pem`] and [`SigningKey::hs256`].
    pub fn from_setting(text: &str) -> Result<Self, KeyError> {
        match text.trim().strip_prefix("hs256:") {
            Some(secret) => Self::hs256(decode_secret(secret)?.expose()),
            None => Self::from_pem(&text.replace("\\n", "\n")),
        }
    }

    /// What checks the tokens it signs.
    #[must_use]
    pub fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// The key's identifier: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.verifying.kid()
    }

    /// The one algorithm it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.verifying.algorithm
    }

    pub(crate) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }

    fn same_as(&self, other: &Self) -> bool {
        secret::equal(self.material.expose(), other.material.expose())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm().name(), self.kid())
    }
}

fn decode_secret(text: &str) -> Result<Secret<Vec<u8>>, KeyError> {
    STANDARD
        .decode_to_vec(text.trim())
        .map(Secret::new)
        .map_err(|_| KeyError::Unreadable("standard base64 of at least 32 random bytes"))
}

/// The keys of an application, each with the time from which it signs.
///
/// Built in code they sign at once; to change them while they are in use, see [`Keys::edit`] and
/// [`Authority::rotate_keys_in`](crate::Authority::rotate_keys_in).
#[derive(Clone, Debug)]
pub struct Keys {
    access: Vec<Dated>,
    refresh: Vec<Dated>,
    file: Option<PathBuf>,
}

impl Keys {
    /// One key to sign access tokens, one secret ([`SigningKey::hs256`]) for refresh tokens.
    ///
    /// # Errors
    ///
    /// [`KeyError::Equal`] if they are the same, [`KeyError::Unreadable`] if the refresh key is no shared secret.
    pub fn new(access: SigningKey, refresh: SigningKey) -> Result<Self, KeyError> {
        let ever = Some(Timestamp::EPOCH);
        Self { access: vec![Dated::new(access, ever)], refresh: vec![Dated::new(refresh, ever)], file: None }
            .checked()
    }

    /// Fresh keys that live as long as the process: for tests and examples.
    ///
    /// # Errors
    ///
    /// [`KeyError::Failed`].
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        Self::new(SigningKey::generate(algorithm)?, SigningKey::generate(Algorithm::HS256)?)
    }

    /// Also accepts tokens that this key signed, and never signs with it: the key before a change of settings.
    ///
    /// # Errors
    ///
    /// [`KeyError::Mixed`], [`KeyError::Equal`].
    pub fn accept(mut self, previous: SigningKey) -> Result<Self, KeyError> {
        self.publish(KeyPurpose::Access, previous, None)?;
        Ok(self)
    }

    /// Also accepts refresh tokens signed with this secret; new ones are signed with the first.
    ///
    /// # Errors
    ///
    /// [`KeyError::Equal`], [`KeyError::Unreadable`].
    pub fn accept_refresh(mut self, previous: SigningKey) -> Result<Self, KeyError> {
        self.publish(KeyPurpose::Refresh, previous, None)?;
        Ok(self)
    }

    // ---- Changing them -----------------------------------------------------------------------------------------

    /// Adds a key that verifies at once and signs from a time on; without one, it only verifies.
    ///
    /// # Errors
    ///
    /// [`KeyError::Mixed`] if it is a shared secret among key pairs or the other way round, [`KeyError::Equal`] if it is
    /// there already or is one of the other purpose, [`KeyError::Unreadable`] if it cannot be of that purpose. Nothing
    /// has changed then.
    pub fn publish(
        &mut self,
        purpose: KeyPurpose,
        key: SigningKey,
        signs_from: Option<Timestamp>,
    ) -> Result<(), KeyError> {
        let mut next = self.clone();
        // Whole seconds, as the file has them: what is written and read again is the same.
        next.of(purpose).push(Dated::new(key, signs_from.map(Timestamp::whole_secs)));
        *self = next.checked()?;
        Ok(())
    }

    /// Lets a published key sign from now on.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoSuchKey`] if no published key has that `kid`.
    pub fn activate(&mut self, kid: &str, now: Timestamp) -> Result<(), KeyError> {
        let (purpose, at) = self.find(kid)?;
        let key = &mut self.of(purpose)[at];
        if key.signs_from.is_some_and(|from| from <= now) {
            return Err(KeyError::NoSuchKey);
        }
        key.signs_from = Some(now.whole_secs());
        Ok(())
    }

    /// Removes a key that does not sign: what it signed is refused from now on.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoSuchKey`] if there is none or it is an active one.
    pub fn retire(&mut self, kid: &str, now: Timestamp) -> Result<(), KeyError> {
        let (purpose, at) = self.find(kid)?;
        if schedule::signing(self.of(purpose), now) == Some(at) {
            return Err(KeyError::NoSuchKey);
        }
        self.of(purpose).remove(at);
        Ok(())
    }

    /// Removes the keys that verify nothing any more.
    pub fn prune(&mut self, now: Timestamp, overlap: KeyOverlap) {
        for purpose in [KeyPurpose::Access, KeyPurpose::Refresh] {
            let keys = self.of(purpose);
            // A key that goes has a follower that stays, so the ends of the others do not move.
            let until: Vec<_> =
                (0..keys.len()).map(|at| schedule::verifies_until(keys, at, overlap.of(purpose))).collect();
            let mut until = until.into_iter();
            keys.retain(|_| until.next().flatten().is_none_or(|until| now < until));
        }
    }

    /// What checks access tokens at `now`.
    #[must_use]
    pub fn verifying(&self, now: Timestamp, overlap: KeyOverlap) -> Vec<VerifyingKey> {
        let ends = |at| schedule::verifies_until(&self.access, at, overlap.access);
        let verifies = |at| ends(at).is_none_or(|until| now < until);
        let live = self.access.iter().enumerate().filter(|(at, _)| verifies(*at));
        live.map(|(_, dated)| dated.key.verifying().clone()).collect()
    }

    /// All of them, those for access tokens first, and what each does at `now`.
    #[must_use]
    pub fn list(&self, now: Timestamp, overlap: KeyOverlap) -> Vec<KeyInfo> {
        let list = |purpose: KeyPurpose, keys: &[Dated]| -> Vec<KeyInfo> {
            let info = |(at, dated): (usize, &Dated)| KeyInfo {
                kid: dated.key.kid().to_owned(),
                purpose,
                algorithm: dated.key.algorithm(),
                state: schedule::state(keys, at, overlap.of(purpose), now),
            };
            keys.iter().enumerate().map(info).collect()
        };
        [list(KeyPurpose::Access, &self.access), list(KeyPurpose::Refresh, &self.refresh)].concat()
    }

    fn of(&mut self, purpose: KeyPurpose) -> &mut Vec<Dated> {
        match purpose {
            KeyPurpose::Access => &mut self.access,
            KeyPurpose::Refresh => &mut self.refresh,
        }
    }

    fn find(&self, kid: &str) -> Result<(KeyPurpose, usize), KeyError> {
        let position = |keys: &[Dated]| keys.iter().position(|dated| dated.key.kid() == kid);
        let access = position(&self.access).map(|at| (KeyPurpose::Access, at));
        access
            .or_else(|| position(&self.refresh).map(|at| (KeyPurpose::Refresh, at)))
            .ok_or(KeyError::NoSuchKey)
    }

    /// Whether the other are the same keys with the same times.
    fn same_as(&self, other: &Self) -> bool {
        let same = |a: &[Dated], b: &[Dated]| {
            let pair = |(a, b): (&Dated, &Dated)| a.signs_from == b.signs_from && a.key.same_as(&b.key);
            a.len() == b.len() && a.iter().zip(b).all(pair)
        };
        same(&self.access, &other.access) && same(&self.refresh, &other.refresh)
    }

    // ---- Where they come from ----------------------------------------------------------------------------------

    /// Reads `GATEKEY_ACCESS_KEY` (PKCS#8 PEM, or `hs256:` and standard base64) and `GATEKEY_REFRESH_SECRET` (standard
    /// base64 of at least 32 random bytes); to change them without downtime, the former values as
    /// `GATEKEY_ACCESS_KEY_PREVIOUS` and `GATEKEY_REFRESH_SECRET_PREVIOUS`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Missing`] or [`KeyError::Setting`], each with the setting's name.
    pub fn from_env() -> Result<Self, KeyError> {
        // What is no text is no key either, and not as if it were absent: a former key that nobody noticed is missing.
        Self::from_settings(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// As [`Keys::from_env`], from any source of settings.
    ///
    /// # Errors
    ///
    /// As [`Keys::from_env`].
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Result<Self, KeyError> {
        let told_of = |name| move |problem| KeyError::Setting { name, problem: Box::new(problem) };
        let read = |name: &'static str| -> Result<Option<SigningKey>, KeyError> {
            let Some(value) =
                setting(name).map(Secret::new).filter(|value| !value.expose().trim().is_empty())
            else {
                return Ok(None);
            };
            let key = if name.starts_with("GATEKEY_REFRESH_SECRET") {
                decode_secret(value.expose()).and_then(|secret| SigningKey::hs256(secret.expose()))
            } else {
                SigningKey::from_setting(value.expose())
            };
            key.map(Some).map_err(told_of(name))
        };
        let required = |name| read(name)?.ok_or(KeyError::Missing(name));
        // What is wrong between two keys is told of the second.
        let (access, name) = (required("GATEKEY_ACCESS_KEY")?, "GATEKEY_REFRESH_SECRET");
        let mut keys = Self::new(access, required(name)?).map_err(told_of(name))?;
        let name = "GATEKEY_ACCESS_KEY_PREVIOUS";
        if let Some(previous) = read(name)? {
            keys = keys.accept(previous).map_err(told_of(name))?;
        }
        let name = "GATEKEY_REFRESH_SECRET_PREVIOUS";
        if let Some(previous) = read(name)? {
            keys = keys.accept_refresh(previous).map_err(told_of(name))?;
        }
        Ok(keys)
    }

    /// A key for another purpose, from the refresh secret: all nodes that share it derive the same.
    pub(crate) fn derive(&self, label: &[u8]) -> Result<[u8; 32], KeyError> {
        let secret = self.refresh.first().ok_or(KeyError::Missing("the refresh secret"))?;
        let mut key = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"gatekey")
            .extract(secret.key.material.expose())
            .expand(&[label], hkdf::HKDF_SHA256)
            .and_then(|expanded| expanded.fill(&mut key))
            .map_err(|_| KeyError::Failed)?;
        Ok(key)
    }

    fn checked(self) -> Result<Self, KeyError> {
        let symmetric = |dated: &Dated| dated.key.algorithm() == Algorithm::HS256;
        if !self.refresh.iter().all(symmetric) {
            return Err(KeyError::Unreadable("a shared secret for refresh tokens"));
        }
        let mixed = self.access.iter().any(|dated| symmetric(dated) != symmetric(&self.access[0]));
        if mixed {
            return Err(KeyError::Mixed);
        }
        // By material: an access key and a refresh secret of the same bytes. By `kid`: keys that no header could tell
        // apart, such as one RSA key for two algorithms.
        let all: Vec<_> = self.access.iter().chain(&self.refresh).map(|dated| &dated.key).collect();
        let equal = all
            .iter()
            .enumerate()
            .any(|(i, key)| all[..i].iter().any(|other| other.same_as(key) || other.kid() == key.kid()));
        if equal { Err(KeyError::Equal) } else { Ok(self) }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof;
