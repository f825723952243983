//! Tokens, and the texts around them: JSON, stored password hashes, settings of keys.

use aws_lc_rs::hmac;
use base64_simd::URL_SAFE_NO_PAD;
use gatekey_core::{
    json::{self, JsonError, Value},
    keys::{Algorithm, SigningKey, VerifyingKey},
    password::PasswordHash,
};

use crate::{
    model::{self, Json},
    site::{self, SITES, VERIFIERS, known},
};

/// A token of any bytes is accepted by each site exactly if the model accepts it for the site's key, and so it is by a
/// service that only verifies.
pub(crate) fn access_token(data: &[u8]) {
    let Ok(token) = std::str::from_utf8(data) else { return };
    for key in model::ACCESS.iter() {
        let ours = SITES[key.alg].authenticate(token);
        assert_eq!(ours.is_ok(), model::accepts_access(key, token), "{}: {ours:?} {token}", key.alg);
        if let Some(verifier) = VERIFIERS.get(key.alg) {
            let theirs = verifier.authenticate(token);
            assert_eq!(theirs.is_ok(), model::accepts_access_of_others(key, token), "{theirs:?} {token}");
        }
    }
}

/// What is taken as a public key, or as a set of them, holds no private one, and is read again from what is published.
pub(crate) fn key_set(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = VerifyingKey::from_jwk(text) {
        let published = key.jwk().unwrap();
        assert!(["d", "p", "q", "k"].iter().all(|name| published.get(name).is_none()), "{published}");
        let again = VerifyingKey::from_jwk(&published.to_string()).unwrap();
        assert_eq!((again.kid(), again.algorithm()), (key.kid(), key.algorithm()));
        assert_ne!(key.algorithm(), Algorithm::HS256);
        assert!(Json::parse(data).is_some_and(|jwk| !jwk.repeats()), "{text}");
    }
    // A set is good or not, and a token of ours is good only with our key.
    if let Ok(verifier) = site::verifier(text)
        && verifier.authenticate(crate::seeds::good_token()).is_ok()
    {
        assert!(text.contains("Ed25519") || text.contains("\\u"), "{text}");
    }
}

/// The same of header and claims (with a NUL between them) that are signed as they are: what nobody but us can send,
/// and all that a fuzzer would need a key for.
pub(crate) fn signed_access_token(data: &[u8]) {
    let secret = model::base64url(known("/access_keys/HS256/jwk/k")).unwrap();
    let token = signed(&secret, data);
    let key = model::ACCESS.iter().find(|key| key.alg == "HS256").unwrap();
    let ours = SITES["HS256"].authenticate(&token);
    assert_eq!(ours.is_ok(), model::accepts_access(key, &token), "{ours:?} {token}");
    if let Ok(principal) = ours {
        // What a handler is given is what was signed.
        let claims = token.split('.').nth(1).and_then(model::base64url).unwrap();
        let told: serde_json::Value = serde_json::from_slice(&claims).unwrap_or_default();
        if let Some(subject) = told["sub"].as_str() {
            assert_eq!(principal.subject().as_str(), subject);
            assert_eq!(Some(principal.session().as_str()), told["sid"].as_str());
        }
    }
}

/// A refresh token, raw or with header and claims signed, is ours exactly if the model says so.
pub(crate) fn refresh_token(data: &[u8]) {
    let secret = base64_simd::STANDARD.decode_to_vec(known("/refresh_secret")).unwrap();
    let raw = std::str::from_utf8(data).unwrap_or_default().to_owned();
    for token in [raw, signed(&secret, data)] {
        let ours = SITES["EdDSA"].identify_refresh(&token);
        assert_eq!(ours.is_ok(), model::accepts_refresh(&token), "{ours:?} {token}");
        // Kinds do not mix.
        assert!(ours.is_err() || SITES["EdDSA"].authenticate(&token).is_err(), "{token}");
    }
}

fn signed(secret: &[u8], data: &[u8]) -> String {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (header, claims) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode_to_string(bytes);
    let input = format!("{}.{}", encode(header), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("{input}.{}", encode(hmac::sign(&key, input.as_bytes()).as_ref()))
}

/// The strict reader takes what RFC 8259 takes, unless it is nested too deep or has a name twice; it reads the same
/// value; and `serde_json` takes all of it.
pub(crate) fn json(data: &[u8]) {
    let ours = json::parse(data);
    let book = Json::parse(data);
    match (&ours, &book) {
        (Ok(ours), Some(book)) => {
            assert!(book.depth() <= 16 && !book.repeats(), "{book:?}");
            assert!(same(ours, book), "{ours:?} {book:?}");
            // It keeps numbers as floats, and refuses what is beyond them.
            let theirs = serde_json::from_slice::<serde_json::Value>(data);
            assert!(theirs.is_ok_and(|theirs| alike(ours, &theirs)) || beyond_floats(book), "{book:?}");
        }
        (Err(JsonError::TooDeep), Some(book)) => assert!(book.depth() > 16, "{book:?}"),
        (Err(JsonError::Duplicate), Some(book)) => assert!(book.repeats(), "{book:?}"),
        (Err(_), None) => {}
        (ours, book) => panic!("{ours:?}, by the book {book:?}"),
    }
}

fn same(ours: &Value<'_>, book: &Json) -> bool {
    match (ours, book) {
        (Value::Null, Json::Null) => true,
        (Value::Bool(a), Json::Bool(b)) => a == b,
        (Value::Number(a), Json::Number(b)) => a == b,
        (Value::String(a), Json::Text(b)) => a == b,
        (Value::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
        }
        _ => false,
    }
}

fn alike(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(a), serde_json::Value::Bool(b)) => a == b,
        // It rounds long numbers a little off, unless asked not to.
        (Value::Number(a), serde_json::Value::Number(b)) => {
            let (a, b) = (a.parse::<f64>().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= a.abs() * 1e-14 || (a - b).abs() < 1e-300
        }
        (Value::String(a), serde_json::Value::String(b)) => a == b,
        (Value::Array(a), serde_json::Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
        }
        (Value::Object(a), serde_json::Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(&**name).is_some_and(|b| alike(a, b)))
        }
        _ => false,
    }
}

fn beyond_floats(value: &Json) -> bool {
    match value {
        Json::Number(number) => !number.parse::<f64>().is_ok_and(f64::is_finite),
        Json::Array(elements) => elements.iter().any(beyond_floats),
        Json::Object(members) => members.iter().any(|(_, value)| beyond_floats(value)),
        Json::Null | Json::Bool(_) | Json::Text(_) => false,
    }
}

/// A stored hash that is said to be verifiable names a known format, and no cost above the cap: nothing that a
/// database holds makes a login take minutes.
pub(crate) fn stored_hash(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let hash = PasswordHash::new(text);
    match hash.problem() {
        Some(problem) => assert!(problem.starts_with("stored_hash_"), "{problem}"),
        None => {
            let formats =
                ["$argon2", "$2", "$scrypt$", "$pbkdf2", "argon2$", "bcrypt", "scrypt$", "pbkdf2_", "{"];
            assert!(formats.iter().any(|format| text.starts_with(format)), "{text}");
            if let Some(costs) = text.split('$').find_map(|part| part.strip_prefix("m=")) {
                let memory: u32 = costs.split(',').next().unwrap().parse().unwrap();
                assert!(memory <= 256 * 1024, "{text}");
            }
        }
    }
    assert_eq!(format!("{hash:?}"), format!("{:?}", PasswordHash::new("")), "a hash is printed");
}

/// A setting that is taken as a key is of full strength, and its key signs.
pub(crate) fn key_setting(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match SigningKey::from_setting(text) {
        Ok(key) => {
            assert_eq!(key.kid().len(), 43, "{text}");
            assert!(text.len() >= 44, "a key of so little: {text}");
        }
        // Whatever is wrong with a key, it is not printed; only what would have been right, and how long it was.
        Err(error) => {
            let said = format!("{error} {error:?}");
            let always = ["", "hs256:", "hs256:AAAA"].map(|text| {
                SigningKey::from_setting(text).err().map(|error| format!("{error} {error:?}")).unwrap()
            });
            let part = |said: &String| text.len() >= 24 && said.contains(text);
            assert!(!part(&said) || always.iter().any(part), "{said}");
        }
    }
}
