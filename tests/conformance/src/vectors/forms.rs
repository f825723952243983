//! Forms: signatures, parts, base64url, sizes.

use serde_json::{Value, json};

use super::{
    Group, group,
    maker::{Maker, changed},
};
use crate::{
    case::{Failure, Outcome, harness},
    token::{Jws, KeyKind, b64},
};

pub(super) const GROUPS: &[Group] = &[
    group("access/a-signature-is-over-these-bytes", KeyKind::Ed25519, over_these_bytes),
    group("access/an-eddsa-signature-has-one-form", KeyKind::Ed25519, eddsa_form),
    group("keys/es256-takes-the-fixed-form-alone", KeyKind::P256, es256_form),
    group("access/a-mac-is-whole-and-of-its-own-hash", KeyKind::Hs256, whole_mac),
    group("access/a-token-has-one-spelling", KeyKind::Ed25519, one_spelling),
    group("access/other-serialisations-are-refused", KeyKind::Ed25519, other_serialisations),
    group("access/eight-kib-is-the-limit", KeyKind::Ed25519, eight_kib),
];

/// The good token with another signature.
fn signed_with(token: &Jws, signature: &[u8]) -> String {
    let [header, claims, _] = &token.segments;
    format!("{header}.{claims}.{}", b64(signature))
}

fn over_these_bytes(make: &mut Maker) -> Outcome {
    make.flag = "Signature";
    let token = make.token.clone();
    let [header, claims, signature] = &token.segments;
    let raw = &token.signature;
    let other = Jws::parse(&make.with_claims(json!({"jti": "another"}))?)?;
    let shortened = raw.split_last().map_or(&raw[..], |(_, rest)| rest);
    let half = raw.get(..raw.len() / 2).unwrap_or(raw);
    let longer = [&raw[..], &[0]].concat();
    for (what, bytes) in [
        ("empty", &[][..]),
        ("one byte short", shortened),
        ("half", half),
        ("one byte long", &longer),
        ("twice", &[&raw[..], raw].concat()),
        ("all zero", &vec![0; raw.len()]),
        ("another token's", &other.signature),
    ] {
        make.refuse(format!("a signature that is {what}"), signed_with(&token, bytes));
    }
    for at in [0, raw.len() / 2, raw.len() - 1] {
        let mut flipped = raw.clone();
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 1;
        }
        make.refuse(format!("a bit of byte {at} changed"), signed_with(&token, &flipped));
    }
    let promoted = b64(changed(&token.claims, json!({"roles": ["admin"]})).to_string().as_bytes());
    make.refuse("other claims", format!("{header}.{promoted}.{signature}"));
    make.refuse("another token's claims", format!("{header}.{}.{signature}", other.segments[1]));
    let renamed = b64(changed(&token.header, json!({"cty": "x"})).to_string().as_bytes());
    make.refuse("another header", format!("{renamed}.{claims}.{signature}"));
    Ok(())
}

/// RFC 8032 s5.1.7: S is below the order of the group. Who takes S + L as well takes two signatures for one.
fn eddsa_form(make: &mut Maker) -> Outcome {
    make.flag = "SignatureForm";
    // L = 2^252 + 27742317777372353535851937790883648493, little end first.
    let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")?;
    let token = make.token.clone();
    let (r, s) = token.signature.split_at(32);
    let mut once = sum(s, &order);
    make.refuse("S + L", signed_with(&token, &[r, &once].concat()));
    for times in 2..=8 {
        once = sum(&once, &order);
        make.refuse(format!("S + {times} L"), signed_with(&token, &[r, &once].concat()));
    }
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let high = {
        let mut high = s.to_vec();
        if let Some(last) = high.last_mut() {
            *last |= 0x80;
        }
        high
    };
    let non_canonical = hex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")?;
    for (what, signature) in [
        ("a neutral R and S of zero", [&neutral[..], &[0; 32]].concat()),
        ("a neutral R and our S", [&neutral[..], s].concat()),
        ("an R of zero", [&[0; 32], s].concat()),
        ("an R that is not canonical", [&non_canonical[..], s].concat()),
        ("S of zero", [r, &[0; 32]].concat()),
        ("S of L", [r, &order].concat()),
        ("the highest bit of S set", [r, &high].concat()),
        ("S before R", [s, r].concat()),
    ] {
        make.refuse(what, signed_with(&token, &signature));
    }
    Ok(())
}

/// RFC 7518 s3.4: two numbers of 32 bytes. Zeros were accepted by others once (CVE-2022-21449), and DER, which most
/// libraries make, has many spellings.
fn es256_form(make: &mut Maker) -> Outcome {
    make.flag = "SignatureForm";
    let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")?;
    let prime = hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff")?;
    let token = make.token.clone();
    let (r, s) = token.signature.split_at(32);
    let zero = [0; 32];
    let mut one = [0; 32];
    one[31] = 1;
    for (what, signature) in [
        ("DER", der(r, s)),
        ("a zero before each number", [&[0], r, &[0], s].concat()),
        ("a zero at the end", [&token.signature[..], &[0]].concat()),
        ("r alone", r.to_vec()),
        ("s before r", [s, r].concat()),
        ("zeros", vec![0; 64]),
        ("r of zero", [&zero[..], s].concat()),
        ("s of zero", [r, &zero].concat()),
        ("both one", [one, one].concat()),
        ("r and s the order of the curve", [&order[..], &order].concat()),
        ("r the order of the curve", [&order[..], s].concat()),
        ("s the order of the curve", [r, &order].concat()),
        ("r the prime of the field", [&prime[..], s].concat()),
        ("ones", vec![0xff; 64]),
        ("empty", Vec::new()),
        ("DER of zeros", der(&zero, &zero)),
    ] {
        make.refuse(what, signed_with(&token, &signature));
    }
    // (r, n - s) is as good a signature as (r, s): the text of a token can be changed by anybody, what it says cannot.
    // Sessions are revoked by `sid`, so that nothing is gained.
    make.accept(
        "the other signature, with n - s",
        signed_with(&token, &[r, &difference(&order, s)].concat()),
    );
    Ok(())
}

fn whole_mac(make: &mut Maker) -> Outcome {
    make.flag = "Signature";
    let token = make.token.clone();
    for length in [0, 1, 16, 31] {
        let part = token.signature.get(..length).unwrap_or_default();
        make.refuse(format!("{length} bytes of it"), signed_with(&token, part));
    }
    make.refuse("one byte more", signed_with(&token, &[&token.signature[..], &[0]].concat()));
    make.flag = "AlgConfusion";
    let (secret, claims) = (make.keys.access.public_der()?, token.claims.to_string());
    for (alg, other) in [("HS256", "HS512"), ("HS512", "HS512"), ("HS384", "HS384")] {
        let header = changed(&token.header, json!({"alg": alg})).to_string();
        let input = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
        let signature = crate::token::hmac_of(other, &secret, input.as_bytes())?;
        make.refuse(format!("{other} under {alg}"), format!("{input}.{}", b64(&signature)));
    }
    for alg in ["hs256", "HS384", "HS512", "EdDSA", "none"] {
        make.refuse(format!("HS256 under {alg}"), make.with_header(json!({"alg": alg}))?);
    }
    Ok(())
}

/// Two spellings would defeat whoever compares or lists tokens, and each is a parser's difference.
fn one_spelling(make: &mut Maker) -> Outcome {
    make.flag = "Encoding";
    let (header, bent_header) = with_unused_bits(&make.token.header)?;
    let (claims, bent_claims) = with_unused_bits(&make.token.claims)?;
    let good = make.sign_segments(&header, &claims)?;
    make.accept("segments whose last characters have unused bits", good.clone());

    // Signed as they stand, so that only a lenient decoder would take them.
    let pad = |segment: &str| format!("{segment}{}", "=".repeat((4 - segment.len() % 4) % 4));
    make.refuse("an unused bit of the header", make.sign_segments(&bent_header, &claims)?);
    make.refuse("an unused bit of the claims", make.sign_segments(&header, &bent_claims)?);
    make.refuse("a padded header", make.sign_segments(&pad(&header), &claims)?);
    make.refuse("padded claims", make.sign_segments(&header, &pad(&claims))?);
    make.refuse("a padded signature", format!("{good}=="));
    make.refuse("a wrongly padded signature", format!("{good}="));
    make.refuse("a signature padded with %3D", format!("{good}%3D%3D"));
    // 64 bytes leave four bits of their last character unused.
    let (rest, last) = good.split_at(good.len() - 1);
    let bent = char::from(last.bytes().next().unwrap_or(b'A') + 1);
    make.refuse("an unused bit of the signature", format!("{rest}{bent}"));

    let both = with_both_alphabets(&make.token.claims)?;
    make.accept("characters - and _", make.sign_segments(&header, &both)?);
    let other = both.replace('-', "+").replace('_', "/");
    make.refuse("characters + and /", make.sign_segments(&header, &other)?);

    let signature = good.rsplit('.').next().unwrap_or_default().to_owned();
    for (what, wrong) in [
        ("a point at the end", format!("{header}.{claims}.{signature}.")),
        ("a point at the beginning", format!(".{header}.{claims}.{signature}")),
        ("an empty part after the header", format!("{header}..{claims}.{signature}")),
        ("an empty part after the claims", format!("{header}.{claims}..{signature}")),
        ("four parts", format!("{header}.{claims}.{signature}.{signature}")),
        ("five parts", format!("{header}.{claims}.{signature}.{claims}.{signature}")),
        ("two parts", format!("{header}.{claims}")),
        ("an empty signature", format!("{header}.{claims}.")),
        ("empty claims", format!("{header}..{signature}")),
        ("an empty header", format!(".{claims}.{signature}")),
        ("one part", format!("{header}{claims}{signature}")),
        ("a point", ".".to_owned()),
        ("two points", "..".to_owned()),
        ("four points", "....".to_owned()),
        ("null", "null".to_owned()),
        ("undefined", "undefined".to_owned()),
        ("a digit", "0".to_owned()),
        ("a space after the header", format!("{header} .{claims}.{signature}")),
        ("a space before the claims", format!("{header}. {claims}.{signature}")),
        ("a word after it", format!("{good} x")),
        ("two tokens", format!("{good}, {good}")),
        ("quotes", format!("\"{good}\"")),
        ("points as %2E", format!("{header}%2E{claims}%2E{signature}")),
        ("points of full width", format!("{header}\u{ff0e}{claims}\u{ff0e}{signature}")),
        ("a letter that is not ASCII", format!("{good}\u{e9}")),
    ] {
        make.refuse(what, wrong);
    }
    Ok(())
}

/// RFC 7515 s7.2 and RFC 7516: we take neither JSON nor what is encrypted (RFC 8725 s3.3).
fn other_serialisations(make: &mut Maker) -> Outcome {
    make.flag = "Encoding";
    let [header, claims, signature] = &make.token.segments.clone();
    for (what, json) in [
        ("flattened JSON", json!({"payload": claims, "protected": header, "signature": signature})),
        (
            "general JSON",
            json!({"payload": claims, "signatures": [{"protected": header, "signature": signature}]}),
        ),
    ] {
        make.refuse(what, json.to_string());
    }
    // RFC 7516 appendix A.3: five parts.
    let encrypted = "eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.6KB707dM9YTIgHtLvtgWQ8mKwboJW3of9locizkDTHzBC2IlrT1oOQ.\
                     AxY8DCtDaGlsbGljb3RoZQ.KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY.U0m_YmjN04DJvceFICbCVQ";
    make.refuse("the JWE of RFC 7516 A.3", encrypted.to_owned());
    let direct = json!({"alg": "dir", "enc": "A128GCM", "typ": "at+jwt", "kid": make.kid()}).to_string();
    let direct = b64(direct.as_bytes());
    make.refuse("a JWE of an empty key", format!("{direct}..{claims}.{claims}.{signature}"));
    make.refuse("a detached payload (RFC 7515 F)", format!("{header}..{signature}"));
    Ok(())
}

fn eight_kib(make: &mut Maker) -> Outcome {
    make.flag = "Size";
    for length in [8191, 8192] {
        make.accept(format!("{length} bytes"), of_length(make, length)?);
    }
    for length in [8193, 9000] {
        make.refuse(format!("{length} bytes"), of_length(make, length)?);
    }
    Ok(())
}

/// A good token of exactly this many bytes.
fn of_length(make: &Maker, length: usize) -> Result<String, Failure> {
    let encoded = |bytes: usize| (bytes * 4).div_ceil(3);
    let filled = |object: &Value, fill: usize| changed(object, json!({"fill": "f".repeat(fill)}));
    let plain = |object: &Value| filled(object, 0).to_string().len();
    let (header, claims) = (plain(&make.token.header), plain(&make.token.claims));
    let signature = make.token.segments[2].len();
    // Base64url has no text of one character more than a multiple of four, so both segments have to give.
    for more in 0..3 {
        for fill in 0..length {
            if encoded(header + more) + encoded(claims + fill) + signature + 2 == length {
                return make.sign(&filled(&make.token.header, more), &filled(&make.token.claims, fill));
            }
        }
    }
    Err(harness(format!("no token of {length} bytes can be made")))
}

/// A segment whose last character has unused bits, and the same with one of them set.
fn with_unused_bits(object: &Value) -> Result<(String, String), Failure> {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for fill in ["", "f", "ff"] {
        let segment = b64(changed(object, json!({"fill": fill})).to_string().as_bytes());
        let last = segment.chars().last().and_then(|last| alphabet.find(last));
        if let (2 | 3, Some(last)) = (segment.len() % 4, last) {
            let next =
                alphabet.chars().nth(last + 1).ok_or_else(|| harness("the last letter has no next"))?;
            let bent = format!("{}{next}", &segment[..segment.len() - 1]);
            return Ok((segment, bent));
        }
    }
    Err(harness("no filling leaves unused bits"))
}

/// Claims whose segment has both characters in which the two base64 alphabets differ.
fn with_both_alphabets(object: &Value) -> Result<String, Failure> {
    for fill in ["", "f", "ff"] {
        let own = format!("{fill}???>>>~~~");
        let segment = b64(changed(object, json!({"fill": own})).to_string().as_bytes());
        if segment.contains('-') && segment.contains('_') {
            return Ok(segment);
        }
    }
    Err(harness("no filling gives both characters"))
}

/// An ECDSA signature as ASN.1 DER writes it.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count().min(number.len() - 1);
        let bare = number.get(zeros..).unwrap_or(&[]);
        let sign: &[u8] = if bare.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
        let length = u8::try_from(sign.len() + bare.len()).unwrap_or(u8::MAX);
        [&[0x02, length], sign, bare].concat()
    };
    let inside = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(inside.len()).unwrap_or(u8::MAX)], inside.as_slice()].concat()
}

/// The sum of two numbers of 32 bytes, little end first, without what does not fit.
fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    a.iter()
        .zip(b)
        .map(|(a, b)| {
            let sum = u16::from(*a) + u16::from(*b) + carry;
            carry = sum >> 8;
            (sum & 0xff) as u8
        })
        .collect()
}

/// The difference of two numbers of 32 bytes, big end first; the first is the greater one.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut bytes: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let difference = 256 + u16::from(*a) - u16::from(*b) - borrow;
            borrow = u16::from(difference < 256);
            (difference & 0xff) as u8
        })
        .collect();
    bytes.reverse();
    bytes
}

fn hex(digits: &str) -> Result<Vec<u8>, Failure> {
    crate::token::unhex(digits).ok_or_else(|| harness("hexadecimal digits"))
}
