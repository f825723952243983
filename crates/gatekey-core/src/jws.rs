//! The JWS layer: compact serialisation, header, signature. Strict where `jsonwebtoken::decode` is lenient, and the one
//! file that knows how that crate is called.
//!
//! 1. At most 8 KiB, three parts, each canonical base64url without padding ([RFC 7515 section 7.1]).
//! 2. A header segment that equals one of our own byte for byte selects its key: nothing is parsed, so nothing can be
//!    confused. Any other header is parsed strictly, its `kid` is an exact look-up, its `alg` has to be the key's one
//!    algorithm, its `typ` the expected one, and any of `crit b64 jwk jku x5c x5u zip` refuses.
//! 3. The signature is checked by the verifier of jsonwebtoken's aws-lc provider. Its factories are called directly:
//!    `encode` and `decode` would pin a process-wide provider and take that choice from the host. A thread keeps the
//!    verifiers of a few keys, and none of a key that is gone beyond the next new one.
//!
//! [RFC 7515 section 7.1]: https://www.rfc-editor.org/rfc/rfc7515#section-7.1

use std::cell::RefCell;

use base64_simd::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{JwtVerifier, aws_lc::DEFAULT_PROVIDER};

use crate::{
    error::TokenError,
    json,
    keys::{KeyError, KeyUse, SigningKey, VerifyingKey},
};

/// The `typ` of access tokens (RFC 9068 section 2.1).
pub(crate) const ACCESS_TYPE: &str = "at+jwt";
/// The `typ` of our refresh tokens.
pub(crate) const REFRESH_TYPE: &str = "rt+jwt";
/// The longest token that is looked at, in bytes.
pub(crate) const MAX_LENGTH: usize = 8 * 1024;

/// A compact JWS, cut at its dots. Nothing is verified yet.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(crate) fn split(token: &'a (impl AsRef<[u8]> + ?Sized)) -> Result<Self, TokenError> {
        let token = token.as_ref();
        if token.len() > MAX_LENGTH {
            return Err(TokenError::TooLong);
        }
        let (header, rest) = cut(token).ok_or(TokenError::Malformed)?;
        let (payload, signature) = cut(rest).ok_or(TokenError::Malformed)?;
        if signature.iter().fold(false, is_dot) {
            return Err(TokenError::Malformed);
        }
        Ok(Self { header, payload, signature, signed: &token[..header.len() + 1 + payload.len()] })
    }

    /// Checks the signature, and only then decodes what was signed.
    pub(crate) fn verify(&self, key: &VerifyingKey) -> Result<Vec<u8>, TokenError> {
        KEPT.with_borrow_mut(|kept| kept.verify(key, self.signed, self.signature))?;
        decode(self.payload)
    }

    /// As [`Self::verify`], where what was signed has to be text, as claims have.
    pub(crate) fn verify_claims(&self, key: &VerifyingKey) -> Result<String, TokenError> {
        String::from_utf8(self.verify(key)?).map_err(|_| TokenError::Claims)
    }
}

/// Whether one was found or this byte is one: looked for to the end, which is done for many bytes at once.
fn is_dot(found: bool, byte: &u8) -> bool {
    found | (*byte == b'.')
}

/// What stands before and after the first dot.
fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    // Many bytes at once: in most there is none.
    let (chunks, _) = text.as_chunks::<32>();
    let from = chunks.iter().position(|chunk| chunk.iter().fold(false, is_dot)).unwrap_or(chunks.len()) * 32;
    let at = from + text[from..].iter().position(|byte| *byte == b'.')?;
    Some((&text[..at], &text[at + 1..]))
}

fn decode(segment: &(impl AsRef<[u8]> + ?Sized)) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode_to_vec(segment).map_err(|_| TokenError::Malformed)
}

/// How many verifiers a thread keeps: those of the keys that a ring has while it changes, and of another issuer's.
const VERIFIERS: usize = 8;

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { verifiers: Vec::new(), signature: Vec::new() }) };
}

/// What a thread keeps from one signature to the next. jsonwebtoken's verifiers are neither `Send` nor `Sync`, so they
/// cannot be kept beside their keys.
struct Kept {
    /// In the order they were made.
    verifiers: Vec<(KeyUse, Box<dyn JwtVerifier>)>,
    /// Where signatures are decoded.
    signature: Vec<u8>,
}

impl Kept {
    fn verify(&mut self, key: &VerifyingKey, signed: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        self.signature.clear();
        URL_SAFE_NO_PAD.decode_append(signature, &mut self.signature).map_err(|_| TokenError::Malformed)?;
        let found = self.verifiers.iter().position(|(of, _)| of.is_of(key));
        let at = match found {
            Some(at) => at,
            None => self.make(key)?,
        };
        self.verifiers[at].1.verify(signed, &self.signature).map_err(|_| TokenError::BadSignature)
    }

    /// Makes the verifier of a key. Those of keys that are gone leave: a retired secret is not kept by who verified with it.
    fn make(&mut self, key: &VerifyingKey) -> Result<usize, TokenError> {
        let verifier =
            (DEFAULT_PROVIDER.verifier_factory)(&key.algorithm().for_jsonwebtoken(), key.decoding())
                .map_err(|_| TokenError::BadSignature)?;
        self.verifiers.retain(|(of, _)| of.is_alive());
        if self.verifiers.len() >= VERIFIERS {
            self.verifiers.remove(0);
        }
        self.verifiers.push((key.in_use(), verifier));
        Ok(self.verifiers.len() - 1)
    }
}

/// What the header of a token of ours says, when it is not one of our own byte for byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) typ: String,
    pub(crate) kid: String,
}

impl Header {
    pub(crate) fn parse(segment: &(impl AsRef<[u8]> + ?Sized)) -> Result<Self, TokenError> {
        match ForeignHeader::parse(segment)? {
            ForeignHeader { alg, typ: Some(typ), kid: Some(kid) } => Ok(Self { alg, typ, kid }),
            ForeignHeader { .. } => Err(TokenError::Header),
        }
    }

    /// Whether `typ` is the expected one.
    pub(crate) fn is_of_type(&self, expected: &str) -> bool {
        is_of_type(&self.typ, expected)
    }
}

/// What a header says, whoever wrote it. Others leave out `typ` or `kid`.
#[derive(Debug)]
pub(crate) struct ForeignHeader {
    pub(crate) alg: String,
    pub(crate) typ: Option<String>,
    pub(crate) kid: Option<String>,
}

impl ForeignHeader {
    pub(crate) fn parse(segment: &(impl AsRef<[u8]> + ?Sized)) -> Result<Self, TokenError> {
        let bytes = decode(segment)?;
        let [mut alg, mut typ, mut kid] = [None, None, None];
        let mut refused = false;
        json::members(&bytes, |name, value| {
            match name {
                "alg" => alg = Some(value.string()?.into_owned()),
                "typ" => typ = Some(value.string()?.into_owned()),
                "kid" => kid = Some(value.string()?.into_owned()),
                // Each would change what is verified, or with what: keys come from our ring alone, and we understand
                // no extension (RFC 7515 s4.1.11, RFC 8725 s3.10).
                "crit" | "b64" | "jwk" | "jku" | "x5c" | "x5u" | "zip" => {
                    refused = true;
                    value.skip()?;
                }
                _ => value.skip()?,
            }
            Ok(())
        })
        .map_err(|_| TokenError::Header)?;
        match (refused, alg) {
            (false, Some(alg)) => Ok(Self { alg, typ, kid }),
            _ => Err(TokenError::Header),
        }
    }
}

/// Whether `typ` is the expected one. Without a slash it is short for `application/…` (RFC 7515 section 4.1.9).
pub(crate) fn is_of_type(typ: &str, expected: &str) -> bool {
    typ.strip_prefix("application/").unwrap_or(typ) == expected
}

/// The header segment we write for a key: exactly `alg`, `typ`, `kid`.
pub(crate) fn header_segment(key: &VerifyingKey, typ: &str) -> String {
    let header = format!(r#"{{"alg":"{}","typ":"{typ}","kid":"{}"}}"#, key.algorithm().name(), key.kid());
    URL_SAFE_NO_PAD.encode_to_string(header)
}

/// Signs claims under a header segment made by [`header_segment`].
pub(crate) fn sign(key: &SigningKey, header: &str, claims: &[u8]) -> Result<String, KeyError> {
    let mut token = String::with_capacity(header.len() + claims.len() * 4 / 3 + 96);
    token.push_str(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_append(claims, &mut token);
    let signer = (DEFAULT_PROVIDER.signer_factory)(&key.algorithm().for_jsonwebtoken(), key.encoding())
        .map_err(|_| KeyError::Failed)?;
    let signature = signer.try_sign(token.as_bytes()).map_err(|_| KeyError::Failed)?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_append(signature, &mut token);
    Ok(token)
}

#[cfg(test)]
mod tests;
