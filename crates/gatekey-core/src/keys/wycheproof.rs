//! The vectors of Project Wycheproof (`tests/vectors/wycheproof`) through our own layer: each is accepted or refused as
//! its file says. Where we differ on purpose, [`DIFFERENCES`] says so and why; a difference that is not listed fails, and
//! so does a listing that is not needed.

use std::{collections::BTreeMap, fs, ops::RangeInclusive, path::Path};

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde_json::Value;

use super::*;
use crate::{
    fixtures::{ALGORITHMS, access_key},
    jws::{Header, Parts},
};

/// Vectors that we judge in another way than their file.
struct Difference {
    file: &'static str,
    tests: &'static [RangeInclusive<u64>],
    ours: Ours,
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// Valid there, refused here.
    Stricter,
    /// Said to be invalid there, and the very text of this valid one.
    SameAs(u64),
}
use Ours::{SameAs, Stricter};

const DIFFERENCES: &[Difference] = &[
    Difference {
        file: "json_web_signature_test",
        tests: &[264..=267, 268..=271, 320..=323, 325..=328],
        ours: Stricter,
        reason: "RS384, RS512, PS384 and PS512 are not among our algorithms: one hash is enough",
    },
    Difference {
        file: "json_web_signature_test",
        tests: &[347..=347, 351..=351],
        ours: Stricter,
        reason: "P-521 is not among our curves, and `ES521` is no algorithm: the header says ES512",
    },
    Difference {
        file: "json_web_signature_test",
        tests: &[346..=346, 350..=350],
        ours: Stricter,
        reason: "the key says PS256 and the header PS384: a key has one algorithm (RFC 8725 section 3.1)",
    },
    Difference {
        file: "json_web_signature_test",
        tests: &[372..=373],
        ours: Stricter,
        reason: "a `?` stands in a segment: the alphabet is base64url and nothing else (RFC 7515 section 2)",
    },
    Difference {
        file: "json_web_signature_test",
        tests: &[367..=367, 370..=370],
        ours: SameAs(357),
        reason: "the padding that these are about got lost before publication",
    },
    Difference {
        file: "hmac_sha256_test",
        tests: &[82..=108, 172..=174],
        ours: Stricter,
        reason: "a tag of 128 bits: HS256 has all 256 (RFC 7518 section 3.2)",
    },
    Difference {
        file: "hmac_sha256_test",
        tests: &[163..=168],
        ours: Stricter,
        reason: "a key of 128 bits: HS256 needs 256 or more (RFC 7518 section 3.2)",
    },
];

/// Runs every vector of a file.
fn run(file: &'static str, accepts: impl Fn(&Value, &Value) -> bool) {
    let vectors = read(file);
    let tests: Vec<(&Value, &Value)> = vectors["testGroups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["tests"].as_array().unwrap().iter().map(move |test| (group, test)))
        .collect();
    assert_eq!(vectors["numberOfTests"].as_u64(), u64::try_from(tests.len()).ok(), "{file}");
    let id = |test: &Value| test["tcId"].as_u64().unwrap();
    let mut listed: BTreeMap<u64, Ours> = DIFFERENCES
        .iter()
        .filter(|difference| difference.file == file)
        .inspect(|difference| assert!(!difference.reason.is_empty()))
        .flat_map(|difference| difference.tests.iter().cloned().flatten().map(|id| (id, difference.ours)))
        .collect();
    for (group, test) in &tests {
        let valid = match test["result"].as_str().unwrap() {
            "valid" => true,
            "invalid" => false,
            other => panic!("{file} {}: what is {other:?}?", id(test)),
        };
        let accepted = accepts(group, test);
        match (valid, accepted, listed.remove(&id(test))) {
            (true, true, None) | (false, false, None) | (true, false, Some(Stricter)) => {}
            (false, true, Some(SameAs(other))) => {
                let (twins, twin) = tests.iter().find(|(_, test)| id(test) == other).unwrap();
                assert_eq!((twins, &twin["jws"]), (group, &test["jws"]), "{file} {}", id(test));
                assert_eq!(twin["result"], "valid", "{file} {other}");
            }
            (_, _, listed) => panic!("{file}: accepted: {accepted}, listed: {listed:?}: {test}"),
        }
    }
    assert!(listed.is_empty(), "{file}: listed, and not there: {listed:?}");
}

fn read(file: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/wycheproof");
    let text = fs::read_to_string(folder.join(file).with_extension("json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The primitive alone, for messages that are no JWS.
fn verifies(key: &VerifyingKey, message: &[u8], signature: &Vec<u8>) -> bool {
    (DEFAULT_PROVIDER.verifier_factory)(&key.algorithm().for_jsonwebtoken(), key.decoding())
        .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
}

#[test]
fn ed25519_signatures_are_judged_as_wycheproof_says() {
    run("ed25519_test", |group, test| {
        let public = Public::Okp { x: hex(&group["publicKey"]["pk"]) };
        let key = VerifyingKey::new(Algorithm::EdDSA, public, &[]);
        verifies(&key, &hex(&test["msg"]), &hex(&test["sig"]))
    });
}

#[test]
fn es256_signatures_are_judged_as_wycheproof_says() {
    run("ecdsa_secp256r1_sha256_p1363_test", |group, test| {
        let public = Public::Ec { point: hex(&group["publicKey"]["uncompressed"]) };
        let key = VerifyingKey::new(Algorithm::ES256, public, &[]);
        verifies(&key, &hex(&test["msg"]), &hex(&test["sig"]))
    });
}

#[test]
fn hs256_tags_are_judged_as_wycheproof_says() {
    run("hmac_sha256_test", |_, test| {
        SigningKey::hs256(&hex(&test["key"]))
            .is_ok_and(|key| verifies(key.verifying(), &hex(&test["msg"]), &hex(&test["tag"])))
    });
}

/// The key of a group, if it is one of a kind that we take, and its `kid`.
fn key_of(group: &Value) -> Option<(VerifyingKey, String)> {
    let jwk = group.get("public").unwrap_or(&group["private"]);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode_to_vec(jwk[name].as_str()?).ok();
    let algorithm = Algorithm::from_name(jwk["alg"].as_str()?)?;
    let key = match algorithm {
        Algorithm::HS256 => SigningKey::hs256(&bytes("k")?).ok()?.verifying().clone(),
        Algorithm::ES256 => {
            let point = [vec![4], bytes("x")?, bytes("y")?].concat();
            VerifyingKey::new(algorithm, Public::Ec { point }, &[])
        }
        Algorithm::PS256 | Algorithm::RS256 => {
            VerifyingKey::new(algorithm, Public::Rsa { n: bytes("n")?, e: bytes("e")? }, &[])
        }
        Algorithm::EdDSA => VerifyingKey::new(algorithm, Public::Okp { x: bytes("x")? }, &[]),
    };
    Some((key, jwk["kid"].as_str()?.to_owned()))
}

/// What is done to a token up to its claims, which these vectors have none of. They have no `typ` either, so one is
/// written into the header before it is read; the signature is checked over the header as it stands.
fn accepts(key: &VerifyingKey, kid: &str, jws: &str) -> bool {
    let Ok(parts) = Parts::split(jws) else { return false };
    let Ok(header) = URL_SAFE_NO_PAD.decode_to_vec(parts.header) else { return false };
    let typed = match header.iter().position(|byte| *byte == b'{') {
        Some(at) => [&header[..=at], br#""typ":"at+jwt","#, &header[at + 1..]].concat(),
        None => header,
    };
    Header::parse(&URL_SAFE_NO_PAD.encode_to_string(typed)).is_ok_and(|header| {
        header.kid == kid && header.alg == key.algorithm().name() && parts.verify(key).is_ok()
    })
}

#[test]
fn compact_signatures_are_judged_as_wycheproof_says() {
    run("json_web_signature_test", |group, test| {
        let jws = test["jws"].as_str().unwrap();
        key_of(group).is_some_and(|(key, kid)| accepts(&key, &kid, jws))
    });
}

/// We have no encryption: what is encrypted is refused whichever key it meets, valid or not.
#[test]
fn no_encrypted_token_is_taken() {
    let mut ran = 0;
    for file in ["json_web_encryption_test", "json_web_crypto_test"] {
        let vectors = read(file);
        for group in vectors["testGroups"].as_array().unwrap() {
            for test in group["tests"].as_array().unwrap() {
                let Some(jwe) = test.get("jwe") else { continue };
                ran += 1;
                // Some are of the JSON serialisation.
                let jwe = jwe.as_str().map_or_else(|| jwe.to_string(), str::to_owned);
                for key in ALGORITHMS.map(access_key) {
                    assert!(!accepts(key.verifying(), key.kid(), &jwe), "{file}: {test}");
                }
            }
        }
    }
    assert!(ran >= 139, "{ran}");
}
