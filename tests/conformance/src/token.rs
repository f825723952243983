//! Compact JWS by hand: reading, and signing what a conforming issuer never would.

use std::sync::OnceLock;

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    hmac,
    rand::{self, SystemRandom},
    rsa,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::case::{Failure, failed, harness};

/// The kinds of access key that a host can sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum KeyKind {
    /// `EdDSA`, the default.
    Ed25519,
    /// `ES256`.
    P256,
    /// `PS256`, 3072 bits.
    Rsa,
    /// `HS256`, a secret of 32 bytes.
    Hs256,
}

enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(rsa::KeyPair),
    Hs256(Vec<u8>),
}

/// A host's access key, which the suite made and kept.
pub(crate) struct AccessKey {
    signer: Signer,
    /// The form that `GATEKEY_ACCESS_KEY` has.
    environment: String,
}

impl AccessKey {
    /// Makes a key.
    pub(crate) fn generate(kind: KeyKind) -> Result<Self, Failure> {
        let made = |_| harness("cannot make a key");
        let random = SystemRandom::new();
        let (signer, environment) = match kind {
            KeyKind::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(made)?;
                let der = pair.to_pkcs8v1().map_err(made)?;
                (Signer::Ed25519(pair), pem("PRIVATE KEY", der.as_ref()))
            }
            KeyKind::P256 => {
                let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(made)?;
                let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref()).map_err(harness)?;
                (Signer::P256(pair), pem("PRIVATE KEY", der.as_ref()))
            }
            KeyKind::Rsa => {
                let der = rsa_3072()?;
                let pair = rsa::KeyPair::from_pkcs8(der).map_err(harness)?;
                (Signer::Rsa(pair), pem("PRIVATE KEY", der))
            }
            KeyKind::Hs256 => {
                let secret = random_bytes::<32>()?.to_vec();
                let text = format!("hs256:{}", STANDARD.encode_to_string(&secret));
                (Signer::Hs256(secret), text)
            }
        };
        Ok(Self { signer, environment })
    }

    /// The key of that kind that hosts are started with, and that the vectors are signed with: known to everyone.
    pub(crate) fn known(kind: KeyKind) -> Result<Self, Failure> {
        let environment = match kind {
            KeyKind::Ed25519 => include_str!("vectors/keys/eddsa.pem"),
            KeyKind::P256 => include_str!("vectors/keys/es256.pem"),
            KeyKind::Rsa => include_str!("vectors/keys/ps256.pem"),
            KeyKind::Hs256 => "hs256:YW4gYWNjZXNzIHNlY3JldCB0aGF0IGV2ZXJ5b25lIGtub3dz",
        }
        .to_owned();
        let text: String = environment.lines().filter(|line| !line.starts_with('-')).collect();
        let text = text.trim_start_matches("hs256:");
        let der = STANDARD.decode_to_vec(text).map_err(|_| harness("a key that is no base64"))?;
        let signer = match kind {
            KeyKind::Ed25519 => Signer::Ed25519(Ed25519KeyPair::from_pkcs8(&der).map_err(harness)?),
            KeyKind::P256 => {
                let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                Signer::P256(EcdsaKeyPair::from_pkcs8(algorithm, &der).map_err(harness)?)
            }
            KeyKind::Rsa => Signer::Rsa(rsa::KeyPair::from_pkcs8(&der).map_err(harness)?),
            KeyKind::Hs256 => Signer::Hs256(der),
        };
        Ok(Self { signer, environment })
    }

    /// The form that `GATEKEY_ACCESS_KEY` has.
    pub(crate) fn environment(&self) -> &str {
        &self.environment
    }

    /// The `alg` of tokens that this key signs.
    pub(crate) fn alg(&self) -> &'static str {
        match self.signer {
            Signer::Ed25519(_) => "EdDSA",
            Signer::P256(_) => "ES256",
            Signer::Rsa(_) => "PS256",
            Signer::Hs256(_) => "HS256",
        }
    }

    /// Signs as [`AccessKey::alg`] says.
    pub(crate) fn sign(&self, input: &[u8]) -> Result<Vec<u8>, Failure> {
        let signed = |_| harness("cannot sign");
        let random = SystemRandom::new();
        Ok(match &self.signer {
            Signer::Ed25519(pair) => pair.sign(input).as_ref().to_vec(),
            Signer::P256(pair) => pair.sign(&random, input).map_err(signed)?.as_ref().to_vec(),
            Signer::Rsa(pair) => sign_rsa(pair, &signature::RSA_PSS_SHA256, input)?,
            Signer::Hs256(secret) => hs256(secret, input),
        })
    }

    /// Whether this key signed it.
    pub(crate) fn verifies(&self, input: &[u8], signature: &[u8]) -> bool {
        let (algorithm, public): (&dyn signature::VerificationAlgorithm, _) = match &self.signer {
            Signer::Ed25519(pair) => (&signature::ED25519, pair.public_key().as_ref()),
            Signer::P256(pair) => (&signature::ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()),
            Signer::Rsa(pair) => (&signature::RSA_PSS_2048_8192_SHA256, pair.public_key().as_ref()),
            Signer::Hs256(secret) => {
                return hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), input, signature).is_ok();
            }
        };
        signature::UnparsedPublicKey::new(algorithm, public).verify(input, signature).is_ok()
    }

    /// Signs `RS256` with an RSA key, whose own algorithm is `PS256`.
    pub(crate) fn sign_rs256(&self, input: &[u8]) -> Result<Vec<u8>, Failure> {
        match &self.signer {
            Signer::Rsa(pair) => sign_rsa(pair, &signature::RSA_PKCS1_SHA256, input),
            Signer::Ed25519(_) | Signer::P256(_) | Signer::Hs256(_) => {
                Err(harness("RS256 needs .key(KeyKind::Rsa)"))
            }
        }
    }

    /// The public key as DER (SubjectPublicKeyInfo), the secret's own bytes for HS256: what key confusion signs with.
    pub(crate) fn public_der(&self) -> Result<Vec<u8>, Failure> {
        let written = |_| harness("cannot write a public key");
        let der = match &self.signer {
            Signer::Ed25519(pair) => pair.public_key().as_der(),
            Signer::P256(pair) => pair.public_key().as_der(),
            Signer::Rsa(pair) => pair.public_key().as_der(),
            Signer::Hs256(secret) => return Ok(secret.clone()),
        };
        let der: PublicKeyX509Der<'_> = der.map_err(written)?;
        Ok(der.as_ref().to_vec())
    }

    /// The public key as PEM.
    pub(crate) fn public_pem(&self) -> Result<String, Failure> {
        Ok(pem("PUBLIC KEY", &self.public_der()?))
    }

    /// The required members of the public JWK (RFC 7638 s3.2), nothing else; for HS256 the secret one.
    pub(crate) fn jwk(&self) -> Value {
        match &self.signer {
            Signer::Ed25519(pair) => {
                json!({"crv": "Ed25519", "kty": "OKP", "x": b64(pair.public_key().as_ref())})
            }
            Signer::P256(pair) => {
                // An uncompressed point: 04, x, y.
                let point = pair.public_key().as_ref();
                let (x, y) = point.get(1..).unwrap_or(&[]).split_at(32);
                json!({"crv": "P-256", "kty": "EC", "x": b64(x), "y": b64(y)})
            }
            Signer::Rsa(pair) => {
                // RSAPublicKey of RFC 8017: it ends with the modulus of 384 bytes, two bytes that announce the
                // exponent, and the exponent 65537 in three.
                let public = pair.public_key().as_ref();
                let (rest, exponent) = public.split_at(public.len().saturating_sub(3));
                let modulus = rest.get(rest.len().saturating_sub(386)..rest.len().saturating_sub(2));
                json!({"e": b64(exponent), "kty": "RSA", "n": b64(modulus.unwrap_or(&[]))})
            }
            Signer::Hs256(secret) => json!({"k": b64(secret), "kty": "oct"}),
        }
    }

    /// The RFC 7638 thumbprint, which is the `kid` of a key pair.
    pub(crate) fn thumbprint(&self) -> String {
        // serde_json sorts members by name and writes no spaces: exactly the form that RFC 7638 s3 hashes.
        b64(digest::digest(&digest::SHA256, self.jwk().to_string().as_bytes()).as_ref())
    }
}

/// The RFC 7638 thumbprint of a shared secret.
pub(crate) fn secret_thumbprint(secret: &[u8]) -> String {
    let jwk = json!({"k": b64(secret), "kty": "oct"});
    b64(digest::digest(&digest::SHA256, jwk.to_string().as_bytes()).as_ref())
}

fn sign_rsa(
    pair: &rsa::KeyPair,
    encoding: &'static dyn signature::RsaEncoding,
    input: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), input, &mut signature).map_err(|_| harness("cannot sign"))?;
    Ok(signature)
}

/// One RSA key for the whole run: making one takes up to a second.
fn rsa_3072() -> Result<&'static [u8], Failure> {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(der) = KEY.get() {
        return Ok(der);
    }
    let made = |_| harness("cannot make an RSA key");
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa3072).map_err(made)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(made)?;
    Ok(KEY.get_or_init(|| der.as_ref().to_vec()))
}

/// Both keys of a host.
pub(crate) struct Keys {
    pub(crate) access: AccessKey,
    pub(crate) refresh: Vec<u8>,
}

impl Keys {
    /// Makes both.
    pub(crate) fn generate(kind: KeyKind) -> Result<Self, Failure> {
        Ok(Self { access: AccessKey::generate(kind)?, refresh: random_bytes::<32>()?.to_vec() })
    }

    /// The pair that hosts are started with ([`AccessKey::known`]).
    pub(crate) fn known(kind: KeyKind) -> Result<Self, Failure> {
        let refresh = b"a refresh secret that everyone knows".to_vec();
        Ok(Self { access: AccessKey::known(kind)?, refresh })
    }

    /// A pair whose Ed25519 key is that of a seed in hexadecimal (RFC 8032 section 5.1.5).
    pub(crate) fn of_ed25519_seed(seed: &str) -> Result<Self, Failure> {
        let seed = unhex(seed).ok_or_else(|| harness("a seed that is not hexadecimal"))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(harness)?;
        let access = AccessKey { signer: Signer::Ed25519(pair), environment: String::new() };
        Ok(Self { access, refresh: Vec::new() })
    }

    /// The form that `GATEKEY_REFRESH_SECRET` has.
    pub(crate) fn refresh_environment(&self) -> String {
        STANDARD.encode_to_string(&self.refresh)
    }

    /// An access token of any header and claims, rightly signed.
    pub(crate) fn sign_access(&self, header: &[u8], claims: &[u8]) -> Result<String, Failure> {
        let input = format!("{}.{}", b64(header), b64(claims));
        let signature = self.access.sign(input.as_bytes())?;
        Ok(format!("{input}.{}", b64(&signature)))
    }

    /// A refresh token of any header and claims, rightly signed.
    pub(crate) fn sign_refresh(&self, header: &[u8], claims: &[u8]) -> String {
        sign_hs256(&self.refresh, header, claims)
    }
}

/// A token signed HS256 under any secret.
pub(crate) fn sign_hs256(secret: &[u8], header: &[u8], claims: &[u8]) -> String {
    let input = format!("{}.{}", b64(header), b64(claims));
    let signature = hs256(secret, input.as_bytes());
    format!("{input}.{}", b64(&signature))
}

/// The MAC of an `alg` under any secret.
pub(crate) fn hmac_of(alg: &str, secret: &[u8], input: &[u8]) -> Result<Vec<u8>, Failure> {
    let algorithm = match alg {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        other => return Err(harness(format!("no MAC of {other}"))),
    };
    Ok(hmac::sign(&hmac::Key::new(algorithm, secret), input).as_ref().to_vec())
}

/// HMAC-SHA256.
pub(crate) fn hs256(secret: &[u8], input: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::sign(&key, input).as_ref().to_vec()
}

/// Three segments, put together as they are.
pub(crate) fn join(header: &[u8], claims: &[u8], signature: &[u8]) -> String {
    format!("{}.{}.{}", b64(header), b64(claims), b64(signature))
}

/// base64url without padding.
pub(crate) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Reads base64url without padding.
pub(crate) fn unb64(text: &str) -> Result<Vec<u8>, Failure> {
    URL_SAFE_NO_PAD.decode_to_vec(text).map_err(|_| failed("base64url without padding", text))
}

/// Reads hexadecimal digits.
pub(crate) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Random bytes.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| harness("no random bytes"))?;
    Ok(bytes)
}

/// A token taken apart; nothing about it is verified.
#[derive(Clone, Debug)]
pub(crate) struct Jws {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    pub(crate) signature: Vec<u8>,
    /// The three segments as they stood.
    pub(crate) segments: [String; 3],
}

impl Jws {
    /// Takes a compact token apart.
    pub(crate) fn parse(token: &str) -> Result<Self, Failure> {
        let parts: Vec<&str> = token.split('.').collect();
        let &[header, claims, signature] = parts.as_slice() else {
            return Err(failed("a token of three parts", token));
        };
        let json = |segment| {
            crate::strict::json(&unb64(segment)?)
                .map_err(|problem| failed("JSON in the token's segment", format!("{problem}: {token}")))
        };
        Ok(Self {
            header: json(header)?,
            claims: json(claims)?,
            signature: unb64(signature)?,
            segments: [header, claims, signature].map(str::to_owned),
        })
    }

    /// A claim that is an integer, as times are.
    pub(crate) fn number(&self, claim: &str) -> Result<i64, Failure> {
        self.claims
            .get(claim)
            .and_then(Value::as_i64)
            .ok_or_else(|| failed(format!("an integer claim {claim}"), &self.claims))
    }

    /// A claim that is a string.
    pub(crate) fn string(&self, claim: &str) -> Result<&str, Failure> {
        self.claims
            .get(claim)
            .and_then(Value::as_str)
            .ok_or_else(|| failed(format!("a string claim {claim}"), &self.claims))
    }

    /// The claims with one changed; `Value::Null` takes it away.
    pub(crate) fn claims_with(&self, claim: &str, value: Value) -> Value {
        with(&self.claims, claim, value)
    }

    /// The header with one member changed; `Value::Null` takes it away.
    pub(crate) fn header_with(&self, member: &str, value: Value) -> Value {
        with(&self.header, member, value)
    }
}

fn with(object: &Value, member: &str, value: Value) -> Value {
    let mut changed = object.clone();
    if let Some(members) = changed.as_object_mut() {
        if value.is_null() {
            members.remove(member);
        } else {
            members.insert(member.to_owned(), value);
        }
    }
    changed
}

/// PEM with lines of 64.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode_to_string(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_signs_what_its_public_half_verifies() {
        for (kind, algorithm) in [
            (KeyKind::Ed25519, &signature::ED25519 as &dyn signature::VerificationAlgorithm),
            (KeyKind::P256, &signature::ECDSA_P256_SHA256_FIXED),
            (KeyKind::Rsa, &signature::RSA_PSS_2048_8192_SHA256),
        ] {
            for key in [AccessKey::generate(kind).unwrap(), AccessKey::known(kind).unwrap()] {
                let public = signature::UnparsedPublicKey::new(algorithm, key.public_der().unwrap());
                let signed = key.sign(b"input").unwrap();
                public.verify(b"input", &signed).unwrap();
                assert!(key.verifies(b"input", &signed) && !key.verifies(b"another", &signed));
                assert!(key.environment().starts_with("-----BEGIN PRIVATE KEY-----\n"));
            }
        }
    }

    #[test]
    fn an_rsa_jwk_is_what_the_key_signs_with() {
        let key = AccessKey::generate(KeyKind::Rsa).unwrap();
        let member = |name: &str| unb64(key.jwk()[name].as_str().unwrap()).unwrap();
        let (n, e) = (member("n"), member("e"));
        assert_eq!((n.len(), e.as_slice()), (384, &[1, 0, 1][..]));
        signature::RsaPublicKeyComponents { n: &n, e: &e }
            .verify(&signature::RSA_PSS_2048_8192_SHA256, b"input", &key.sign(b"input").unwrap())
            .unwrap();
    }

    #[test]
    fn a_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037 appendix A.3.
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let thumbprint = digest::digest(&digest::SHA256, jwk.to_string().as_bytes());
        assert_eq!(b64(thumbprint.as_ref()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_token_survives_being_signed_and_taken_apart() {
        let keys = Keys::generate(KeyKind::Hs256).unwrap();
        let token = keys.sign_refresh(br#"{"alg":"HS256"}"#, br#"{"exp":5,"sid":"s"}"#);
        let jws = Jws::parse(&token).unwrap();
        assert_eq!(jws.number("exp").unwrap(), 5);
        assert_eq!(jws.claims_with("exp", Value::Null), json!({"sid": "s"}));
    }
}
