use serde_json::{Value as Json, json};

use super::*;
use crate::{
    fixtures::{access_key, pem},
    keys::SigningKey,
};

const PAIRS: [Algorithm; 4] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::PS256, Algorithm::RS256];

fn jwk(algorithm: Algorithm) -> Json {
    access_key(algorithm).verifying().jwk().unwrap()
}

/// A JWK with one member set, or taken away by `null`.
fn with(algorithm: Algorithm, name: &str, value: impl Into<Json>) -> Json {
    let (mut jwk, value) = (jwk(algorithm), value.into());
    if value.is_null() {
        jwk.as_object_mut().unwrap().remove(name);
    } else {
        jwk[name] = value;
    }
    jwk
}

fn set(keys: &[Json]) -> Result<KeySet, UnusableKeySet> {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), Algorithm::RS256)
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

#[test]
fn public_keys_made_by_openssl_are_the_ones_of_their_private_keys() {
    for (text, algorithm) in [
        (pem::public::ED25519, Algorithm::EdDSA),
        (pem::public::P256, Algorithm::ES256),
        (pem::public::RSA_3072, Algorithm::PS256),
        (pem::public::RSA_3072, Algorithm::RS256),
    ] {
        let from_windows = text.replace('\n', "\r\n");
        for text in [text, &from_windows, &format!("\n {text}\n")] {
            let key = VerifyingKey::from_pem(algorithm, text).unwrap();
            assert_eq!(&key, access_key(algorithm).verifying(), "{algorithm:?}");
        }
    }
    // Others may sign with fewer bits than we do.
    assert!(VerifyingKey::from_pem(Algorithm::RS256, pem::public::RSA_2048).is_ok());
}

#[test]
fn what_is_no_public_key_for_the_algorithm_is_refused() {
    let pem = pem::public::ED25519;
    for (name, algorithm, text) in [
        ("nothing", Algorithm::EdDSA, String::new()),
        ("P-384", Algorithm::ES256, pem::public::P384.to_owned()),
        ("another curve", Algorithm::ES256, pem.to_owned()),
        ("another type", Algorithm::RS256, pem::public::P256.to_owned()),
        ("for a shared secret", Algorithm::HS256, pem::public::RSA_3072.to_owned()),
        ("a private key", Algorithm::EdDSA, pem::ED25519.to_owned()),
        ("a private key under another label", Algorithm::EdDSA, pem::ED25519.replace("PRIVATE", "PUBLIC")),
        ("two keys", Algorithm::EdDSA, format!("{pem}{pem}")),
        ("a certificate", Algorithm::EdDSA, pem.replace("PUBLIC KEY", "CERTIFICATE")),
    ] {
        let error = VerifyingKey::from_pem(algorithm, &text).unwrap_err();
        assert!(matches!(error, KeyError::Unreadable(_)), "{name}: {error}");
    }
    // Every prefix and every byte changed: refused, or the key of another, and no panic.
    let der = pem::der(pem::public::RSA_3072);
    for length in 0..der.len() {
        assert!(pem_of(&der[..length]).is_none(), "{length}");
    }
    for at in 0..24 {
        let mut der = der.clone();
        der[at] ^= 1;
        assert!(pem_of(&der).is_none(), "{at}");
    }
    assert!(pem_of(&der).is_some() && pem_of(&[&der[..], &[0]].concat()).is_none());
}

fn pem_of(der: &[u8]) -> Option<VerifyingKey> {
    let base64 = base64_simd::STANDARD.encode_to_string(der);
    let text = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
    VerifyingKey::from_pem(Algorithm::RS256, &text).ok()
}

#[test]
fn a_jwk_is_for_what_it_says_or_else_for_the_one_algorithm_of_its_type() {
    for algorithm in PAIRS {
        let read = |jwk: &Json| VerifyingKey::from_jwk(&jwk.to_string()).unwrap();
        assert_eq!(&read(&jwk(algorithm)), access_key(algorithm).verifying());
        let by_type = if algorithm == Algorithm::PS256 { Algorithm::RS256 } else { algorithm };
        assert_eq!(read(&with(algorithm, "alg", Json::Null)).algorithm(), by_type);

        let keys = json!({ "keys": [with(algorithm, "alg", Json::Null)] }).to_string();
        let keys = KeySet::read(keys.as_bytes(), Algorithm::PS256).unwrap();
        let configured = if algorithm == Algorithm::RS256 { Algorithm::PS256 } else { algorithm };
        assert_eq!(keys.keys[0].key.algorithm(), configured);
    }
}

#[test]
fn a_set_keeps_what_it_can_use_and_says_what_it_left_out() {
    let good = with(Algorithm::ES256, "kid", "good");
    let x_of_31 = base64url(&[1; 31]);
    let small = {
        let key = VerifyingKey::from_pem(Algorithm::RS256, pem::public::RSA_2048).unwrap().jwk().unwrap();
        let n = URL_SAFE_NO_PAD.decode_to_vec(key["n"].as_str().unwrap()).unwrap();
        with(Algorithm::RS256, "n", base64url(&[&[0x7f], &n[1..]].concat()))
    };
    let off_the_curve = {
        let y = jwk(Algorithm::ES256)["y"].as_str().unwrap().to_owned();
        let mut y = URL_SAFE_NO_PAD.decode_to_vec(y).unwrap();
        y[31] ^= 1;
        with(Algorithm::ES256, "y", base64url(&y))
    };
    for (name, left_out, why) in [
        ("encryption", with(Algorithm::ES256, "use", "enc"), "not for signatures"),
        ("to sign with", with(Algorithm::ES256, "key_ops", json!(["sign"])), "not for signatures"),
        ("a private key", with(Algorithm::EdDSA, "d", "AAAA"), "a private key"),
        ("a shared secret", json!({"kty": "oct", "k": base64url(&[7; 32]), "alg": "HS256"}), "another type"),
        ("an RSA key for HMAC", with(Algorithm::RS256, "alg", "HS256"), "another algorithm than"),
        ("a curve for RSA", with(Algorithm::ES256, "alg", "RS256"), "another algorithm than"),
        ("none", with(Algorithm::ES256, "alg", "none"), "another algorithm"),
        ("encryption by alg", with(Algorithm::RS256, "alg", "RSA-OAEP"), "another algorithm"),
        ("another curve of EdDSA", with(Algorithm::EdDSA, "alg", "Ed448"), "another algorithm"),
        ("a new type", with(Algorithm::ES256, "kty", "AKP"), "another type"),
        ("another curve", with(Algorithm::ES256, "crv", "P-384"), "another type"),
        ("X25519", with(Algorithm::EdDSA, "crv", "X25519"), "another type"),
        ("no type", with(Algorithm::ES256, "kty", Json::Null), "another type"),
        ("no x", with(Algorithm::EdDSA, "x", Json::Null), "missing"),
        ("x of 31 bytes", with(Algorithm::EdDSA, "x", x_of_31.clone()), "another algorithm than"),
        ("x of 31 bytes", with(Algorithm::ES256, "x", x_of_31), "its point"),
        ("a number for x", with(Algorithm::EdDSA, "x", 7), "another type"),
        ("padding", with(Algorithm::EdDSA, "x", "AAAA="), "base64url"),
        ("off the curve", off_the_curve, "its point"),
        ("2047 bits", small, "RSA of 2047 bits"),
        ("16384 bits", with(Algorithm::RS256, "n", base64url(&[255; 2048])), "its numbers"),
        ("an even exponent", with(Algorithm::RS256, "e", base64url(&[1, 0, 0])), "its numbers"),
        ("an exponent of 1", with(Algorithm::RS256, "e", base64url(&[1])), "its numbers"),
        ("a huge exponent", with(Algorithm::RS256, "e", base64url(&[1, 0, 0, 0, 1])), "its numbers"),
        ("a kid that is no text", with(Algorithm::ES256, "kid", 7), "another type"),
        ("no object", json!("key"), "another type"),
    ] {
        let keys = set(&[left_out.clone(), good.clone()]).unwrap();
        assert_eq!(keys.keys.len(), 1, "{name}");
        assert!(keys.find(Some("good"), Algorithm::ES256).is_ok(), "{name}");
        assert!(keys.left_out[0].contains(why), "{name}: {:?}", keys.left_out);
        assert!(keys.summary().contains("left out"), "{name}");
        assert!(
            set(std::slice::from_ref(&left_out)).unwrap_err().to_string().contains("no usable key"),
            "{name}"
        );
        assert!(VerifyingKey::from_jwk(&left_out.to_string()).is_err() || name.contains("kid"), "{name}");
    }
    // RFC 9864 names the curve.
    let by_curve = with(Algorithm::EdDSA, "alg", "Ed25519").to_string();
    assert_eq!(&VerifyingKey::from_jwk(&by_curve).unwrap(), access_key(Algorithm::EdDSA).verifying());
    let verifying = with(Algorithm::ES256, "key_ops", json!(["verify"]));
    assert_eq!(set(&[verifying, good]).unwrap().left_out, Vec::<String>::new());
}

#[test]
fn what_is_no_set_is_refused_whole() {
    let key = jwk(Algorithm::EdDSA).to_string();
    let long = format!("{{\"keys\":[{key}]}}{}", " ".repeat(MAX_KEY_SET));
    for (name, text) in [
        ("nothing", ""),
        ("a page", "<html>"),
        ("no member keys", "{}"),
        ("no array", &format!("{{\"keys\":{key}}}")),
        ("an array", &format!("[{key}]")),
        ("empty", "{\"keys\":[]}"),
        ("keys twice", &format!("{{\"keys\":[{key}],\"keys\":[{key}]}}")),
        ("a member of a key twice", &format!("{{\"keys\":[{}]}}", key.replace('{', "{\"kty\":\"OKP\","))),
        ("something after it", &format!("{{\"keys\":[{key}]}};")),
        ("too long", &long),
        ("nested", &format!("{{\"keys\":[{key}],\"x\":{}{}}}", "[".repeat(20), "]".repeat(20))),
    ] {
        assert!(KeySet::read(text.as_bytes(), Algorithm::RS256).is_err(), "{name}");
    }
    assert!(KeySet::read(&long.as_bytes()[..MAX_KEY_SET], Algorithm::RS256).is_ok());
}

#[test]
fn a_kid_and_an_algorithm_name_one_key_or_none() {
    let another = SigningKey::generate(Algorithm::EdDSA).unwrap().verifying().jwk().unwrap();
    let named = |mut jwk: Json, kid: &str| {
        jwk["kid"] = kid.into();
        jwk
    };
    let nameless = |mut jwk: Json| {
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let (ed, ec) = (jwk(Algorithm::EdDSA), jwk(Algorithm::ES256));
    let find = |keys: &[Json], kid, algorithm| set(keys).unwrap().find(kid, algorithm).cloned();

    // One key twice is one; one name for two types is told apart by the algorithm (RFC 7517 section 4.5).
    let twice = [named(ed.clone(), "a"), named(ed.clone(), "a"), named(ec.clone(), "a")];
    assert_eq!(&find(&twice, Some("a"), Algorithm::EdDSA).unwrap(), access_key(Algorithm::EdDSA).verifying());
    assert_eq!(&find(&twice, Some("a"), Algorithm::ES256).unwrap(), access_key(Algorithm::ES256).verifying());
    assert_eq!(find(&twice, Some("a"), Algorithm::RS256), Err(TokenError::WrongAlgorithm));
    assert_eq!(find(&twice, Some("b"), Algorithm::EdDSA), Err(TokenError::UnknownKey));
    assert_eq!(find(&twice, Some("A"), Algorithm::EdDSA), Err(TokenError::UnknownKey));
    assert_eq!(find(&twice, None, Algorithm::EdDSA), Err(TokenError::Header));

    // One name for two keys of one algorithm: neither.
    let ambiguous = [named(ed.clone(), "a"), named(another.clone(), "a"), named(ec.clone(), "b")];
    assert_eq!(find(&ambiguous, Some("a"), Algorithm::EdDSA), Err(TokenError::UnknownKey));
    assert!(find(&ambiguous, Some("b"), Algorithm::ES256).is_ok());
    assert_eq!(set(&ambiguous).unwrap().left_out.len(), 2);

    // A key without a name serves alone, whatever the token calls it, and never beside others.
    let alone = [nameless(ed.clone())];
    assert!(
        find(&alone, None, Algorithm::EdDSA).is_ok() && find(&alone, Some("x"), Algorithm::EdDSA).is_ok()
    );
    assert_eq!(find(&alone, None, Algorithm::ES256), Err(TokenError::WrongAlgorithm));
    let beside = [nameless(ed), named(ec, "b")];
    assert_eq!(find(&beside, Some("x"), Algorithm::EdDSA), Err(TokenError::UnknownKey));
    assert_eq!(find(&beside, None, Algorithm::EdDSA), Err(TokenError::Header));
}
