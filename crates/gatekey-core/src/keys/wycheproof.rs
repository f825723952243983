//! The vectors of Project Wycheproof (`tests/vectors/wycheproof`) through our own layer: each is accepted or refused as
//! its file says. Where we differ on purpose, [`DIFFERENCES`] says so and why; a difference that is not listed fails, and
//! so does a listing that is not needed.

use std::{collections::BTreeMap, fs, ops::RangeInclusive, path::Path};

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde_json::Value;

use super::{public::KeySet, *};
use crate::{
    fixtures::{ALGORITHMS, access_key},
    jws::{ForeignHeader, Header, Parts},
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
        file: "json_web_key_test",
        tests: &[2..=2, 13..=13],
        ours: Stricter,
        reason: "shared secrets in a key set: a set is public, and a secret that is read from it is none",
    },
    Difference {
        file: "json_web_key_test",
        tests: &[14..=15],
        ours: Stricter,
        reason: "HS384 and HS512 are not among our algorithms",
    },
    Difference {
        file: "json_web_crypto_test",
        tests: &[48..=48],
        ours: Stricter,
        reason: "shared secrets in a key set, as above",
    },
    Difference {
        file: "json_web_crypto_test",
        tests: &[50..=50, 67..=67],
        ours: Stricter,
        reason: "encrypted: we have no JWE",
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

/// Whether a token is taken up to its claims, by the code that reads other issuers' key sets and headers. A single key
/// stands alone in a set; a shared secret, which no set gives us, is a key by itself.
fn accepts(group: &Value, test: &Value) -> bool {
    let keys = group.get("public").unwrap_or(&group["private"]);
    let Some(jws) = test["jws"].as_str() else { return false };
    let Ok(parts) = Parts::split(jws) else { return false };
    let Ok(header) = ForeignHeader::parse(parts.header) else { return false };
    let Some(algorithm) = Algorithm::from_name(&header.alg) else { return false };
    if keys["kty"] == "oct" {
        let secret = keys["k"].as_str().and_then(|k| URL_SAFE_NO_PAD.decode_to_vec(k).ok());
        let key = secret.and_then(|secret| SigningKey::hs256(&secret).ok());
        return keys["alg"] == header.alg
            && algorithm == Algorithm::HS256
            && keys["kid"].as_str() == header.kid.as_deref()
            && key.is_some_and(|key| parts.verify(key.verifying()).is_ok());
    }
    let set = if keys.get("keys").is_some() { keys.clone() } else { json!({"keys": [keys]}) };
    let Ok(set) = KeySet::read(set.to_string().as_bytes(), Algorithm::RS256) else { return false };
    set.find(header.kid.as_deref(), algorithm).is_ok_and(|key| parts.verify(key).is_ok())
}

#[test]
fn compact_signatures_are_judged_as_wycheproof_says() {
    run("json_web_signature_test", accepts);
}

#[test]
fn keys_and_key_sets_are_judged_as_wycheproof_says() {
    run("json_web_key_test", accepts);
    run("json_web_crypto_test", accepts);
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
                // Whichever key it were to meet.
                let read = Parts::split(&jwe).and_then(|parts| Header::parse(parts.header).map(|_| parts));
                for key in ALGORITHMS.map(access_key) {
                    let taken = read.and_then(|parts| parts.verify(key.verifying()));
                    assert!(taken.is_err(), "{file}: {test}");
                }
            }
        }
    }
    assert!(ran >= 139, "{ran}");
}
