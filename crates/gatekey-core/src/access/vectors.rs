//! The vectors of `tests/vectors`, which every host is asked over HTTP, here against the token layer alone: what becomes
//! of each, and for which reason. A vector that is refused for another reason than its own shows nothing.

use std::{fs, path::Path};

use super::*;
use crate::{
    fixtures::{refresh_key, ring},
    keys::{KeyRing, Keys, SigningKey, VerifyingKey},
};

fn read(file: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    serde_json::from_str(&fs::read_to_string(folder.join(file)).unwrap()).unwrap()
}

/// The reasons for which a token of that flag may be refused.
fn reasons(flag: &str) -> &'static [TokenError] {
    use TokenError::{
        BadSignature, Claims, Expired, Header, Malformed, NotYetValid, TooLong, UnknownKey, WrongAlgorithm,
        WrongAudience, WrongIssuer, WrongType,
    };
    match flag {
        // Without a `kid` that is the key's, the header is refused before `alg` is looked at.
        "AlgNone" | "KeyConfusion" | "AlgConfusion" => &[WrongAlgorithm, Header, BadSignature],
        "WeakSecret" => &[WrongAlgorithm, BadSignature],
        "ForeignKey" => &[BadSignature, UnknownKey, Header],
        "KeyInHeader" | "Extension" | "Duplicate" | "NotStrictJson" => &[Header, Claims],
        "KeyId" => &[UnknownKey, Header],
        "TokenType" => &[WrongType, Header, UnknownKey, WrongAlgorithm],
        "ClaimType" => &[Claims],
        // Who names no audience does not name us.
        "ClaimMissing" => &[Claims, WrongAudience],
        "Issuer" => &[WrongIssuer],
        "Audience" => &[WrongAudience],
        "NotYetValid" => &[NotYetValid],
        "Expired" => &[Expired],
        "Encoding" => &[Malformed, Header, BadSignature, UnknownKey],
        "Size" => &[TooLong],
        "Signature" | "SignatureForm" => &[BadSignature, Malformed],
        other => panic!("{other} says nothing of why"),
    }
}

fn key_of(ring: &KeyRing) -> VerifyingKey {
    ring.snapshot().access[0].verifying().clone()
}

#[test]
fn every_vector_is_judged_as_its_file_says_and_for_its_reason() {
    let told = read("keys.json");
    let rules = AccessRules {
        issuer: told["issuer"].as_str().unwrap().to_owned(),
        audience: told["audience"].as_str().unwrap().to_owned(),
        client_id: "gatekey".to_owned(),
        lifetime: Duration::from_secs(900),
        leeway: Duration::from_secs(30),
    };
    let now = Timestamp::from_secs(1_800_000_000);
    let expected = Expectation {
        issuer: Some(rules.issuer.clone()),
        audience: Some(rules.audience.clone()),
        leeway: rules.leeway,
    };
    let mut ran = 0;
    for file in ["headers.json", "claims.json", "forms.json"] {
        let groups = read(file);
        for group in groups["groups"].as_array().unwrap() {
            let key = &told["access_keys"][group["key"].as_str().unwrap()];
            let access = SigningKey::from_setting(key["environment"].as_str().unwrap()).unwrap();
            assert_eq!(access.kid(), key["kid"]);
            let ring = ring(Keys::new(access, refresh_key()).unwrap());
            for test in group["tests"].as_array().unwrap() {
                ran += 1;
                let what = format!("{}: {}", group["case"], test["comment"]);
                let token = test["token"].as_str().unwrap();
                let found = rules.verify(&ring.snapshot(), token, now).err();
                let inspected = inspect(token, &[key_of(&ring)], &expected, now);
                assert_eq!(inspected.refused(), found, "{what}: {inspected:#?}");
                // Only of what is signed is anything told.
                let unsigned =
                    inspected.checks[..7].iter().any(|check| matches!(check.finding, Finding::Failed(..)));
                assert!(!unsigned || inspected.signed.is_none(), "{what}");
                match (test["result"].as_str().unwrap(), found) {
                    ("accepted", None) | ("expired", Some(TokenError::Expired)) => {}
                    ("refused", Some(error)) => {
                        let flag = test["flags"][0].as_str().unwrap();
                        assert!(reasons(flag).contains(&error), "{what}: {flag}, refused for {error}");
                    }
                    (expected, found) => panic!("{what}: {expected}, found {found:?}"),
                }
            }
        }
    }
    assert!(ran > 500, "{ran}");
}
