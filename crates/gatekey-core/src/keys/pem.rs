//! The one PEM block we read, and the one step of DER we take ourselves.

use base64_simd::STANDARD;

use crate::secret::Secret;

/// The DER of a text that is one `PRIVATE KEY` block and nothing else.
pub(super) fn decode(text: &str) -> Option<Secret<Vec<u8>>> {
    let body = text.trim().strip_prefix("-----BEGIN PRIVATE KEY-----")?;
    let body = body.strip_suffix("-----END PRIVATE KEY-----")?;
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
