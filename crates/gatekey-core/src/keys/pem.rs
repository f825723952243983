//! The two PEM blocks we read, and the steps of DER we take ourselves.

use base64_simd::STANDARD;

use super::Public;
use crate::secret::Secret;

/// The DER of a text that is one block of that label and nothing else.
pub(super) fn decode(label: &str, text: &str) -> Option<Secret<Vec<u8>>> {
    let body = text.trim().strip_prefix(&*format!("-----BEGIN {label}-----"))?;
    let body = body.strip_suffix(&*format!("-----END {label}-----"))?;
    let base64 = Secret::new(body.split_ascii_whitespace().collect::<String>());
    STANDARD.decode_to_vec(base64.expose()).ok().map(Secret::new)
}

/// The `RSAPrivateKey` (PKCS#1) inside a PKCS#8 `PrivateKeyInfo` of an RSA key.
///
/// jsonwebtoken signs with PKCS#1 and aws-lc-rs reads PKCS#8, so one of the two has to be unwrapped. The key was read
/// by aws-lc-rs before, so this only finds the octet string: SEQUENCE { INTEGER 0, AlgorithmIdentifier, OCTET STRING }.
pub(super) fn pkcs1_in_pkcs8(der: &[u8]) -> Option<&[u8]> {
    let (0x30, info, _) = element(der)? else {
        return None;
    };
    let (0x02, _version, rest) = element(info)? else {
        return None;
    };
    let (0x30, _algorithm, rest) = element(rest)? else {
        return None;
    };
    let (0x04, key, _) = element(rest)? else {
        return None;
    };
    Some(key)
}

/// The key inside a `SubjectPublicKeyInfo`: SEQUENCE { AlgorithmIdentifier, BIT STRING }. The cryptographic library takes or
/// refuses what is found.
pub(super) fn public_key(der: &[u8]) -> Option<Public> {
    let (0x30, info, []) = element(der)? else {
        return None;
    };
    let (0x30, algorithm, rest) = element(info)? else {
        return None;
    };
    // No bit of the last byte is unused.
    let (0x03, [0, key @ ..], []) = element(rest)? else {
        return None;
    };
    match algorithm {
        // 1.3.101.112 (RFC 8410)
        b"\x06\x03\x2b\x65\x70" => Some(Public::Okp { x: key.to_vec() }),
        // 1.2.840.10045.2.1 and the curve 1.2.840.10045.3.1.7 (RFC 5480)
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07" => {
            key.starts_with(&[4]).then(|| Public::Ec { point: key.to_vec() })
        }
        // 1.2.840.113549.1.1.1 and NULL: RSAPublicKey, SEQUENCE { INTEGER n, INTEGER e } (RFC 8017 A.1.1)
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00" => {
            let (0x30, numbers, []) = element(key)? else {
                return None;
            };
            let (0x02, n, rest) = element(numbers)? else {
                return None;
            };
            let (0x02, e, []) = element(rest)? else {
                return None;
            };
            // A leading zero says that the number is positive.
            let positive = |number: &[u8]| number.strip_prefix(&[0]).unwrap_or(number).to_vec();
            Some(Public::Rsa { n: positive(n), e: positive(e) })
        }
        _ => None,
    }
}

/// One DER element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}
