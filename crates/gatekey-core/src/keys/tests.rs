use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::*;
use crate::{
    fixtures::{self, ALGORITHMS, DAY, Folder, MINUTE, NOW, access_key, keys, pem, refresh_key, ring, secs},
    jws::{self, Parts},
};

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

fn from_base64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode_to_vec(text.trim_end()).unwrap()
}

// ---- What a key is ----------------------------------------------------------------------------------------------

/// The key of RFC 7638 section 3.1.
const RFC_7638_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWK\
     RXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9\
     c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF\
     Cur-kEgU8awapJzKnqDKgw";

#[test]
fn kids_are_the_thumbprints_of_the_standards() {
    let point = |x: &str, y: &str| [&[4][..], &from_base64url(x), &from_base64url(y)].concat();
    let cases = [
        (
            "RFC 7638 section 3.1",
            Algorithm::RS256,
            Public::Rsa { n: from_base64url(RFC_7638_N), e: from_base64url("AQAB") },
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        ),
        (
            "RFC 8037 appendix A.3",
            Algorithm::EdDSA,
            Public::Okp { x: from_base64url("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo") },
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        ),
        (
            "RFC 9449 sections 4.1 and 6.1",
            Algorithm::ES256,
            Public::Ec {
                point: point(
                    "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
                    "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
                ),
            },
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
        ),
    ];
    for (name, algorithm, public, expected) in cases {
        assert_eq!(VerifyingKey::new(algorithm, public, &[]).kid(), expected, "{name}");
    }
    // Members in order, by another implementation of SHA-256: no standard prints one for a secret.
    let secret: Vec<u8> = (0..32).collect();
    assert_eq!(SigningKey::hs256(&secret).unwrap().kid(), "WqjPPRvAP8oYbAqCwMErhzTg-Quaz-vLx_cef07yhOs");
}

#[test]
fn the_examples_of_rfc_7515_and_rfc_8037_verify() {
    let joe =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let claims = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
    let secret = from_base64url(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    );
    let modulus = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL\
         -yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQO\
         S-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2eth\
         FkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let point = [
        &[4][..],
        &from_base64url("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
        &from_base64url("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    ]
    .concat();
    let ed25519 = from_base64url("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let cases = [
        (
            "RFC 7515 A.1",
            SigningKey::hs256(&secret).unwrap().verifying().clone(),
            format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{joe}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            claims,
        ),
        (
            "RFC 7515 A.2",
            VerifyingKey::new(
                Algorithm::RS256,
                Public::Rsa { n: from_base64url(modulus), e: from_base64url("AQAB") },
                &[],
            ),
            format!(
                "eyJhbGciOiJSUzI1NiJ9.{joe}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc\
                 _lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQB\
                 MHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUT\
                 I8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
            ),
            claims,
        ),
        (
            "RFC 7515 A.3",
            VerifyingKey::new(Algorithm::ES256, Public::Ec { point }, &[]),
            format!(
                "eyJhbGciOiJFUzI1NiJ9.{joe}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP\
                 3-Kg6NU1Q"
            ),
            claims,
        ),
        (
            "RFC 8037 A.4",
            VerifyingKey::new(Algorithm::EdDSA, Public::Okp { x: ed25519 }, &[]),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR\
             4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
                .to_owned(),
            "Example of Ed25519 signing",
        ),
    ];
    for (name, key, token, expected) in &cases {
        let payload = Parts::split(token).unwrap().verify(key).unwrap();
        assert_eq!(std::str::from_utf8(&payload), Ok(*expected), "{name}");
        for (other_name, other_key, ..) in &cases {
            if other_name != name {
                assert!(Parts::split(token).unwrap().verify(other_key).is_err(), "{name} with {other_name}");
            }
        }
    }
}

#[test]
fn deterministic_signatures_are_those_of_the_standards() {
    // RFC 7515 A.1.
    let secret = from_base64url(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    );
    let claims = b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
    let key = SigningKey::hs256(&secret).unwrap();
    let token = jws::sign(&key, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", claims).unwrap();
    assert!(token.ends_with(".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "{token}");

    // RFC 8037 A.1 and A.4: `d` as PKCS#8 v1.
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let d = from_base64url("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let key = SigningKey::from_pkcs8(Algorithm::EdDSA, &[&prefix[..], &d].concat()).unwrap();
    assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let token = jws::sign(&key, "eyJhbGciOiJFZERTQSJ9", b"Example of Ed25519 signing").unwrap();
    assert!(token.ends_with(
        ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    ));
}

#[test]
fn rsa_keys_are_unwrapped_from_pkcs8_and_agree_with_openssl() {
    use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

    let signed_by_openssl = [
        (Algorithm::RS256, include_str!("../../tests/keys/rsa3072.rs256")),
        (Algorithm::PS256, include_str!("../../tests/keys/rsa3072.ps256")),
    ];
    for (algorithm, theirs) in signed_by_openssl {
        let key = access_key(algorithm);
        let theirs = from_base64url(theirs);
        let name = algorithm.for_jsonwebtoken();
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&name, key.verifying().decoding()).unwrap();
        assert!(verifier.verify(b"gatekey", &theirs).is_ok(), "{algorithm:?}");
        assert!(verifier.verify(b"gatekeY", &theirs).is_err(), "{algorithm:?}");

        let ours = (DEFAULT_PROVIDER.signer_factory)(&name, key.encoding()).unwrap().sign(b"gatekey");
        assert!(verifier.verify(b"gatekey", &ours).is_ok(), "{algorithm:?}");
        // PKCS#1 v1.5 is deterministic; PSS has a random salt.
        assert_eq!(ours == theirs, algorithm == Algorithm::RS256);
    }
}

#[test]
fn unwrapping_reads_nothing_but_a_pkcs8_key() {
    let whole = pem::der(pem::RSA_3072);
    let inner = super::pem::pkcs1_in_pkcs8(&whole).unwrap();
    assert_eq!(inner.len(), whole.len() - 26);
    assert_eq!(inner[..4], [0x30, 0x82, 6, 0xe4]);
    for cut in [0, 1, 2, 3, 4, 7, 20, 25, 26, whole.len() - 1] {
        assert!(super::pem::pkcs1_in_pkcs8(&whole[..cut]).is_none(), "the first {cut} bytes");
    }
    for (name, der) in [
        ("PKCS#1", inner),
        ("a length of five bytes", &[0x30, 0x85, 0, 0, 0, 0, 1, 2][..]),
        ("a length that is cut off", &[0x30, 0x82, 1]),
    ] {
        assert!(super::pem::pkcs1_in_pkcs8(der).is_none(), "{name}");
    }
}

#[test]
fn keys_made_by_openssl_are_read_and_bound_to_one_algorithm() {
    for (pem, algorithm) in
        [(pem::ED25519, Algorithm::EdDSA), (pem::P256, Algorithm::ES256), (pem::RSA_3072, Algorithm::PS256)]
    {
        let in_an_environment_file = pem.trim_end().replace('\n', "\\n");
        let from_windows = pem.replace('\n', "\r\n");
        for text in [pem, &in_an_environment_file, &from_windows, &format!("\n  {pem}\n")] {
            let key = SigningKey::from_setting(text).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            let token = jws::sign(&key, "e30", b"{}").unwrap();
            assert!(Parts::split(&token).unwrap().verify(key.verifying()).is_ok(), "{algorithm:?}");
        }
    }
}

#[test]
fn what_is_not_one_private_key_of_a_known_kind_is_refused() {
    let pem = pem::ED25519;
    let pkcs1 = "-----BEGIN RSA PRIVATE KEY-----\nMIIG\n-----END RSA PRIVATE KEY-----";
    let cases = [
        ("nothing", String::new()),
        ("a password", "hunter2".to_owned()),
        ("P-384", pem::P384.to_owned()),
        ("two keys", format!("{pem}{}", pem::P256)),
        ("text before it", format!("ed25519 key:\n{pem}")),
        ("text after it", format!("{pem}\nthat was all")),
        ("no end", pem.replace("-----END PRIVATE KEY-----", "")),
        ("a public key", pem.replace("PRIVATE", "PUBLIC")),
        ("PKCS#1", pkcs1.to_owned()),
        ("an encrypted key", pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
        ("no base64", pem.replace("MC4C", "MC*C")),
        ("a byte missing", pem.replace("VV2\n", "V\n")),
        ("base64url", format!("{}-_", &pem[..40])),
        ("trailing bytes in the DER", pem.replace("MC4CAQAw", "MC8CAQAw")),
    ];
    for (name, text) in cases {
        let error = SigningKey::from_pem(&text).unwrap_err();
        assert!(matches!(error, KeyError::Unreadable(_)), "{name}: {error}");
    }
    assert!(matches!(
        SigningKey::from_pem(pem::RSA_2048),
        Err(KeyError::SmallRsa { bits: 2048, needed: 3072 })
    ));
    for (name, algorithm, pem) in [
        ("Ed25519 for ES256", Algorithm::ES256, pem::ED25519),
        ("P-256 for EdDSA", Algorithm::EdDSA, pem::P256),
        ("P-256 for PS256", Algorithm::PS256, pem::P256),
        ("a key pair for HS256", Algorithm::HS256, pem::ED25519),
    ] {
        let error = SigningKey::from_pkcs8(algorithm, &pem::der(pem)).unwrap_err();
        assert!(matches!(error, KeyError::Unreadable(_)), "{name}: {error}");
    }
}

#[test]
fn a_secret_has_32_bytes_or_more() {
    assert!(matches!(SigningKey::hs256(&[7; 31]), Err(KeyError::ShortSecret(31))));
    assert!(SigningKey::hs256(&[7; 32]).is_ok());
}

#[test]
fn generated_keys_are_of_full_strength_and_never_the_same() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::HS256] {
        let (a, b) = (SigningKey::generate(algorithm).unwrap(), SigningKey::generate(algorithm).unwrap());
        assert_eq!(a.algorithm(), algorithm);
        assert!(!a.same_as(&b) && a.kid() != b.kid(), "{algorithm:?}");
        let token = jws::sign(&a, "e30", b"{}").unwrap();
        assert!(Parts::split(&token).unwrap().verify(a.verifying()).is_ok());
        assert!(Parts::split(&token).unwrap().verify(b.verifying()).is_err());
    }
    assert_eq!(SigningKey::generate(Algorithm::HS256).unwrap().material.expose().len(), 32);
}

#[test]
fn algorithms_have_the_names_of_the_standards_and_none_is_not_one() {
    let names = ["EdDSA", "ES256", "PS256", "RS256", "HS256"];
    for (algorithm, name) in ALGORITHMS.into_iter().zip(names) {
        assert_eq!((algorithm.name(), Algorithm::from_name(name)), (name, Some(algorithm)));
        assert_eq!(format!("{:?}", algorithm.for_jsonwebtoken()), name);
    }
    for name in ["none", "None", "NONE", "nOnE", "", "hs256", "HS384", "HS512", "RS384", "ES256K", "Ed25519"]
    {
        assert_eq!(Algorithm::from_name(name), None, "{name}");
    }
}

// ---- What others see of it --------------------------------------------------------------------------------------

#[test]
fn a_jwk_has_the_public_members_and_no_other() {
    let n = {
        let modulus = pem::der(pem::RSA_3072);
        // SEQUENCE, version, algorithm, OCTET STRING, SEQUENCE, version; then the modulus with its leading zero.
        base64url(&modulus[26 + 4 + 3 + 5..][..384])
    };
    let expected = [
        json!({"kty": "OKP", "crv": "Ed25519", "x": "-Wh3UGOInez0kv11jK4UOqbd9eEDGSWGiAxohbRQtBk",
            "use": "sig", "alg": "EdDSA", "kid": access_key(Algorithm::EdDSA).kid()}),
        json!({"kty": "EC", "crv": "P-256", "x": "aTMAkHK4LTb1m9yIIqqXKzTlO6Wz1kPJ7wrdvKyjGRU",
            "y": "-BAeZijRmsL9I7MwxW5PI676Pfo2eqgwmz49nn3ckZ4",
            "use": "sig", "alg": "ES256", "kid": access_key(Algorithm::ES256).kid()}),
        json!({"kty": "RSA", "n": n, "e": "AQAB",
            "use": "sig", "alg": "PS256", "kid": "nlhm4oy5kZNWcmlZNpXKDR8Xj3g77jq6_xT_vgm4v_g"}),
        json!({"kty": "RSA", "n": n, "e": "AQAB",
            "use": "sig", "alg": "RS256", "kid": "nlhm4oy5kZNWcmlZNpXKDR8Xj3g77jq6_xT_vgm4v_g"}),
    ];
    for (algorithm, expected) in ALGORITHMS.into_iter().zip(expected) {
        let jwk = access_key(algorithm).verifying().jwk().unwrap();
        assert_eq!(jwk, expected, "{algorithm:?}");
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert_eq!(jwk.get(private), None, "{algorithm:?}");
        }
    }
    assert_eq!(access_key(Algorithm::HS256).verifying().jwk(), None);
    assert_eq!(ring(keys(Algorithm::HS256)).jwk_set(NOW), json!({"keys": []}));
}

#[test]
fn a_jwk_is_understood_by_others() {
    for algorithm in ALGORITHMS.into_iter().filter(|algorithm| *algorithm != Algorithm::HS256) {
        let key = access_key(algorithm);
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.verifying().jwk().unwrap()).unwrap();
        let claims = format!(r#"{{"exp":{}}}"#, i64::MAX);
        let header = jws::header_segment(key.verifying(), jws::ACCESS_TYPE);
        let token = jws::sign(&key, &header, claims.as_bytes()).unwrap();
        let validation = jsonwebtoken::Validation::new(algorithm.for_jsonwebtoken());
        let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
        assert!(jsonwebtoken::decode::<Value>(&token, &key, &validation).is_ok(), "{algorithm:?}");
    }
}

/// Each way in which bytes could be printed.
fn printed(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}");
    vec![
        STANDARD.encode_to_string(bytes).trim_end_matches('=').to_owned(),
        base64url(bytes),
        hex,
        list[1..list.len() - 1].to_owned(),
        String::from_utf8_lossy(bytes).into_owned(),
    ]
}

#[test]
fn nothing_prints_key_material() {
    for algorithm in ALGORITHMS {
        let keys = keys(algorithm).accept_refresh(SigningKey::hs256(&[9; 40]).unwrap()).unwrap();
        let materials: Vec<_> = keys
            .access
            .iter()
            .chain(&keys.refresh)
            .map(|dated| dated.key.material.expose().clone())
            .collect();
        let signing = access_key(algorithm);
        let mut shown = vec![
            format!("{signing:?} {signing:#?} {:?}", signing.verifying()),
            format!("{keys:?} {keys:#?}"),
        ];
        let mut builder = crate::Authority::builder();
        builder.keys(keys.clone());
        shown.push(format!("{builder:?}"));
        shown.push(format!("{:?}", ring(keys)));
        assert!(shown[0].contains(signing.kid()));
        for text in shown {
            for material in &materials {
                // Also a part would be too much. Key pairs begin alike, so look at the second half.
                let half = &material[material.len() / 2..];
                for form in printed(material).iter().chain(&printed(half)) {
                    assert!(!text.contains(form), "{algorithm:?}: {text}");
                }
            }
        }
    }
}

#[test]
fn errors_say_what_would_be_right_and_nothing_of_the_key() {
    let secret = "c2VjcmV0LXNlY3JldA==";
    let setting = |name: &str| match name {
        "GATEKEY_ACCESS_KEY" => Some(pem::P256.replace("MIGH", "AIGH")),
        _ => Some(secret.to_owned()),
    };
    let error = Keys::from_settings(setting).unwrap_err();
    assert_eq!(
        error.to_string(),
        "GATEKEY_ACCESS_KEY: not a readable key; expected one PEM block `PRIVATE KEY` (PKCS#8) of an Ed25519, P-256 or \
         RSA key"
    );
    let error = Keys::from_settings(|name| match name {
        "GATEKEY_ACCESS_KEY" => Some(pem::P256.to_owned()),
        _ => Some(secret.to_owned()),
    })
    .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("c2Vj"));
}

// ---- Settings ---------------------------------------------------------------------------------------------------

const SECRET: &str = "hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const REFRESH: &str = "IAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "QAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What the four settings hold: access key, refresh secret, and the previous two.
fn settings(values: [Option<&str>; 4]) -> Result<Keys, KeyError> {
    let names = [
        "GATEKEY_ACCESS_KEY",
        "GATEKEY_REFRESH_SECRET",
        "GATEKEY_ACCESS_KEY_PREVIOUS",
        "GATEKEY_REFRESH_SECRET_PREVIOUS",
    ];
    Keys::from_settings(|name| {
        let position = names.iter().position(|known| *known == name).unwrap();
        values[position].map(str::to_owned)
    })
}

#[test]
fn keys_are_read_from_settings() {
    let keys = settings([Some(pem::ED25519), Some(REFRESH), Some(pem::P256), Some(OTHER)]).unwrap();
    let listed: Vec<_> =
        keys.list(NOW, KeyOverlap::LONGEST).into_iter().map(|info| (info.algorithm, info.state)).collect();
    let verifies = KeyState::Published { signs_from: None };
    assert_eq!(
        listed,
        [
            (Algorithm::EdDSA, KeyState::Active),
            (Algorithm::ES256, verifies),
            (Algorithm::HS256, KeyState::Active),
            (Algorithm::HS256, verifies),
        ]
    );
    let refresh: Vec<_> = keys.refresh.iter().map(|dated| dated.key.material.expose()[0]).collect();
    assert_eq!(refresh, [0x20, 0x40]);

    let padded = format!("  {REFRESH}\n");
    let keys = settings([Some(SECRET), Some(&padded), Some("  "), Some("")]).unwrap();
    assert_eq!(keys.access[0].key.algorithm(), Algorithm::HS256);
    assert_eq!((keys.access.len(), keys.refresh.len()), (1, 1));
}

#[test]
fn a_setting_that_cannot_be_used_is_told_by_its_name() {
    let ed = Some(pem::ED25519);
    let good = Some(REFRESH);
    let cases = [
        ([None, good, None, None], "GATEKEY_ACCESS_KEY is not set"),
        ([Some(" \n"), good, None, None], "GATEKEY_ACCESS_KEY is not set"),
        ([ed, None, None, None], "GATEKEY_REFRESH_SECRET is not set"),
        ([ed, Some(""), None, None], "GATEKEY_REFRESH_SECRET is not set"),
        (
            [Some("hs256:c2hvcnQ="), good, None, None],
            "GATEKEY_ACCESS_KEY: a secret of 5 bytes is too short; 32 or more are needed",
        ),
        (
            [Some("hs256:"), good, None, None],
            "GATEKEY_ACCESS_KEY: a secret of 0 bytes is too short; 32 or more are needed",
        ),
        (
            [Some(pem::RSA_2048), good, None, None],
            "GATEKEY_ACCESS_KEY: an RSA key of 2048 bits is too small; 3072 or more are needed",
        ),
        (
            [ed, Some("c2hvcnQ="), None, None],
            "GATEKEY_REFRESH_SECRET: a secret of 5 bytes is too short; 32 or more are needed",
        ),
        (
            [ed, Some("not base64 at all, but long enough to be a secret"), None, None],
            "GATEKEY_REFRESH_SECRET: not a readable key; expected standard base64 of at least 32 random bytes",
        ),
        (
            [Some(SECRET), Some(&SECRET["hs256:".len()..]), None, None],
            "GATEKEY_REFRESH_SECRET: two keys are equal; access keys and refresh secrets must all differ",
        ),
        (
            [ed, good, Some(SECRET), None],
            "GATEKEY_ACCESS_KEY_PREVIOUS: shared secrets (HS256) and key pairs cannot be mixed for access tokens",
        ),
        (
            [Some(SECRET), good, ed, None],
            "GATEKEY_ACCESS_KEY_PREVIOUS: shared secrets (HS256) and key pairs cannot be mixed for access tokens",
        ),
        (
            [ed, good, ed, None],
            "GATEKEY_ACCESS_KEY_PREVIOUS: two keys are equal; access keys and refresh secrets must all differ",
        ),
        (
            [ed, good, None, good],
            "GATEKEY_REFRESH_SECRET_PREVIOUS: two keys are equal; access keys and refresh secrets must all differ",
        ),
        (
            [Some(SECRET), good, None, Some(&SECRET["hs256:".len()..])],
            "GATEKEY_REFRESH_SECRET_PREVIOUS: two keys are equal; access keys and refresh secrets must all differ",
        ),
        (
            [ed, good, Some("x"), None],
            "GATEKEY_ACCESS_KEY_PREVIOUS: not a readable key; expected one PEM block `PRIVATE KEY` (PKCS#8) of an Ed25519, \
             P-256 or RSA key",
        ),
    ];
    for (values, expected) in cases {
        assert_eq!(settings(values).unwrap_err().to_string(), expected);
    }
}

#[test]
fn keys_that_must_not_meet_do_not() {
    let pair = || access_key(Algorithm::EdDSA);
    assert!(
        matches!(Keys::new(pair(), pair()), Err(KeyError::Unreadable(_))),
        "a key pair for refresh tokens"
    );
    assert!(matches!(Keys::new(refresh_key(), refresh_key()), Err(KeyError::Equal)));
    // One key, one algorithm: the same RSA key for two of them has one `kid`.
    let rsa = keys(Algorithm::PS256).accept(access_key(Algorithm::RS256));
    assert!(matches!(rsa, Err(KeyError::Equal)));
    assert!(matches!(keys(Algorithm::EdDSA).accept_refresh(pair()), Err(KeyError::Unreadable(_))));
    // The bytes of a key pair are known to whoever knows the key, so they are no other secret.
    let bytes = SigningKey::hs256(&pem::der(pem::ED25519)).unwrap();
    assert!(matches!(Keys::new(pair(), bytes), Err(KeyError::Equal)));
}

#[test]
fn derived_keys_depend_on_the_refresh_secret_and_the_label_alone() {
    let keys = keys(Algorithm::EdDSA);
    let same = Keys::new(access_key(Algorithm::ES256), refresh_key()).unwrap();
    let other = Keys::new(access_key(Algorithm::EdDSA), SigningKey::hs256(&[9; 32]).unwrap()).unwrap();
    assert_eq!(keys.derive(b"a").unwrap(), same.derive(b"a").unwrap());
    assert_ne!(keys.derive(b"a").unwrap(), keys.derive(b"b").unwrap());
    assert_ne!(keys.derive(b"a").unwrap(), other.derive(b"a").unwrap());
}

// ---- The file ---------------------------------------------------------------------------------------------------

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_of_keys_is_made_once_for_its_owner_alone() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    let first = Keys::load_or_create(&path).unwrap();
    assert_eq!(first.access[0].key.algorithm(), Algorithm::EdDSA);
    assert_eq!(mode(&path), 0o600);
    let written = fs::read(&path).unwrap();
    let second = Keys::load_or_create(&path).unwrap();
    assert!(first.same_as(&second));
    assert_eq!(fs::read(&path).unwrap(), written);
    assert_eq!(folder.names(), ["gatekey.keys"]);
}

#[test]
fn threads_that_create_at_once_get_the_same_keys() {
    for _ in 0..10 {
        let folder = Folder::new();
        let path = folder.file("gatekey.keys");
        let together = Barrier::new(8);
        let made: Vec<_> = thread::scope(|scope| {
            let create = || {
                together.wait();
                Keys::load_or_create(&path).unwrap()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|keys| keys.same_as(&made[0])));
        assert_eq!(folder.names(), ["gatekey.keys"]);
        assert_eq!(mode(&path), 0o600);
    }
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    Keys::load_or_create(&path).unwrap();
    for bits in [0o644, 0o640, 0o604, 0o610, 0o602, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        let error = Keys::load_or_create(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("key file {}: may be read by others (mode {bits:04o}); `chmod 600` it", path.display())
        );
    }
    for bits in [0o600, 0o400, 0o700] {
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        assert!(Keys::load_or_create(&path).is_ok(), "{bits:o}");
    }
}

#[test]
fn a_file_that_holds_something_else_is_refused_and_left_alone() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    let base64 = |bytes: &[u8]| STANDARD.encode_to_string(bytes);
    let ed = base64(&pem::der(pem::ED25519));
    let entry =
        |alg: &str, key: &str, from: i64| format!(r#"{{"alg":"{alg}","key":"{key}","signs_from":{from}}}"#);
    let file =
        |access: &str, refresh: &str| format!(r#"{{"version":1,"access":[{access}],"refresh":[{refresh}]}}"#);
    let active = entry("EdDSA", &ed, 0);
    let refresh = entry("HS256", REFRESH, 0);

    let unknown = "not a key file of gatekey (JSON, version 1)";
    let incomplete = "needs an access key and a refresh secret that sign";
    let undated = |entry: &str| entry.replace(",\"signs_from\":0", "");
    let small_rsa = base64(&pem::der(pem::RSA_2048));
    let cases = [
        (String::new(), unknown),
        ("garbage".to_owned(), unknown),
        ("\u{0}\u{1}".to_owned(), unknown),
        (pem::ED25519.to_owned(), unknown),
        ("[]".to_owned(), unknown),
        (file(&active, &refresh)[..40].to_owned(), unknown),
        (file(&active, &refresh).replace("version", "Version"), unknown),
        (file(&active, &refresh).replace("\"version\":1", "\"version\":1,\"version\":1"), unknown),
        (file(&active, &refresh).replace(":1,", ":2,"), "version 2 is not known; 1 is"),
        (file(&active, ""), incomplete),
        (file("", &refresh), incomplete),
        (file(&undated(&active), &refresh), incomplete),
        (file(&active, &undated(&refresh)), incomplete),
        (file(&active, &active), "not a readable key; expected a shared secret for refresh tokens"),
        (
            file(&entry("none", &ed, 0), &refresh),
            "an algorithm is not known; EdDSA, ES256, PS256, RS256 and HS256 are",
        ),
        // Members that were taken for each other: the key is not printed.
        (
            file(&entry(&ed, "none", 0), &refresh),
            "an algorithm is not known; EdDSA, ES256, PS256, RS256 and HS256 are",
        ),
        (file(&active.replace("signs_from\":0", "signs_from\":\"0\""), &refresh), unknown),
        (file(&active.replace("signs_from", "until"), &refresh), unknown),
        (file(&entry("EdDSA", "*", 0), &refresh), "a key is not base64"),
        (file(&entry("ES256", &ed, 0), &refresh), "not a readable key; expected a P-256 key in PKCS#8"),
        (
            file(&entry("RS256", &small_rsa, 0), &refresh),
            "an RSA key of 2048 bits is too small; 3072 or more are needed",
        ),
        (
            file(&active, &entry("HS256", "c2hvcnQ=", 0)),
            "a secret of 5 bytes is too short; 32 or more are needed",
        ),
        (
            file(&entry("HS256", REFRESH, 0), &refresh),
            "two keys are equal; access keys and refresh secrets must all differ",
        ),
        (
            file(&format!("{active},{}", entry("HS256", OTHER, 0)), &refresh),
            "shared secrets (HS256) and key pairs cannot be mixed for access tokens",
        ),
    ];
    for (text, problem) in cases {
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Keys::load_or_create(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("key file {}: {problem}", path.display()), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(!format!("{error:?}").contains(REFRESH));
    }
    fs::write(&path, file(&active, &refresh)).unwrap();
    assert!(Keys::load_or_create(&path).is_ok());
    assert_eq!(folder.names(), ["gatekey.keys"]);
}

#[test]
fn what_is_no_file_or_has_no_end_is_not_waited_for() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    let problem = |path: &Path| Keys::load(path).unwrap_err().to_string();
    let pipe = folder.file("pipe");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
        assert_eq!(problem(path), format!("key file {}: not a file", path.display()));
        assert!(Keys::edit(path, |_| Ok(())).is_err());
    }
    Keys::load_or_create(&path).unwrap();
    let mut text = fs::read_to_string(&path).unwrap();
    text += &" ".repeat(1024 * 1024 - text.len());
    fs::write(&path, &text).unwrap();
    assert!(Keys::load(&path).is_ok());
    fs::write(&path, text + " ").unwrap();
    assert!(problem(&path).ends_with("not a key file of gatekey (JSON, version 1)"));
}

#[test]
fn an_edit_writes_nothing_that_could_not_be_read_again() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    Keys::load_or_create(&path).unwrap();
    let publish = |bytes: usize| {
        let key = SigningKey::hs256(&vec![7; bytes]).unwrap();
        Keys::edit(&path, |keys| keys.publish(KeyPurpose::Refresh, key, None))
    };
    let before = fs::read(&path).unwrap();
    let error = publish(1024 * 1024 * 3 / 4).unwrap_err().to_string();
    assert!(error.ends_with("too many keys; retire some"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    publish(1024 * 1024 * 3 / 4 - 1024).unwrap();
    assert_eq!(Keys::load(&path).unwrap().refresh.len(), 2);
}

#[test]
fn a_folder_that_another_program_keeps_locked_is_not_waited_for_without_an_end() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    let theirs = file::lock_folder(&path, Duration::ZERO).unwrap();
    for wait in [Duration::ZERO, Duration::from_millis(20)] {
        let error = file::lock_folder(&path, wait).unwrap_err();
        assert_eq!(error.to_string(), "another program keeps its folder locked");
    }
    drop(theirs);
    assert!(file::lock_folder(&path, Duration::ZERO).is_ok());
}

#[test]
fn a_file_that_cannot_be_made_is_told_by_its_path() {
    let folder = Folder::new();
    let nowhere = folder.file("no such folder").join("gatekey.keys");
    let error = Keys::load_or_create(&nowhere).unwrap_err();
    assert!(error.to_string().starts_with(&format!("key file {}: ", nowhere.display())), "{error}");
    let error = Keys::load_or_create(folder.path()).unwrap_err();
    assert!(matches!(error, KeyError::File { .. }), "{error}");
    assert!(folder.names().is_empty());
}

#[test]
fn changes_of_the_ring_outlive_the_process() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    let ring = ring(Keys::load_or_create(&path).unwrap());
    let reloaded = || fixtures::ring(Keys::load_or_create(&path).unwrap()).list(NOW);
    let first = ring.list(NOW)[0].kid.clone();

    publish(&ring, access_key(Algorithm::ES256), None).unwrap();
    assert_eq!(reloaded(), ring.list(NOW));
    let second = access_key(Algorithm::ES256).kid().to_owned();
    // What is written has whole seconds, and so has what is in use.
    ring.change(NOW, |keys| keys.activate(&second, NOW + Duration::from_millis(900))).unwrap();
    assert_eq!(reloaded(), ring.list(NOW));
    assert_eq!(ring.list(NOW)[0].state, KeyState::Retiring { until: NOW + OVERLAP });
    assert!(!ring.reload().unwrap());
    ring.change(NOW, |keys| keys.retire(&first, NOW)).unwrap();
    assert_eq!(reloaded(), ring.list(NOW));
    assert_eq!(ring.list(NOW).len(), 2);

    assert_eq!(mode(&path), 0o600);
    assert_eq!(folder.names(), ["gatekey.keys"]);
}

#[test]
fn a_ring_follows_its_file_and_keeps_what_others_wrote_there() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    let ring = ring(Keys::load_or_create(&path).unwrap());
    assert!(!ring.reload().unwrap());
    let elsewhere = access_key(Algorithm::ES256);
    let from = Some(NOW + 5 * MINUTE);
    Keys::edit(&path, |keys| keys.publish(KeyPurpose::Access, elsewhere.clone(), from)).unwrap();
    assert_eq!(ring.list(NOW).len(), 2);
    // A change here is one to what is in the file now.
    publish(&ring, access_key(Algorithm::PS256), None).unwrap();
    let states: Vec<_> = ring.list(NOW).into_iter().map(|info| (info.algorithm, info.state)).collect();
    assert_eq!(
        states,
        [
            (Algorithm::EdDSA, KeyState::Active),
            (Algorithm::ES256, KeyState::Published { signs_from: from }),
            (Algorithm::PS256, KeyState::Published { signs_from: None }),
            (Algorithm::HS256, KeyState::Active),
        ]
    );
    Keys::edit(&path, |keys| keys.retire(access_key(Algorithm::PS256).kid(), NOW)).unwrap();
    assert!(ring.reload().unwrap());
    assert!(!ring.reload().unwrap());
    assert_eq!(ring.list(NOW).len(), 3);
    // What cannot be read changes nothing.
    let good = fs::read(&path).unwrap();
    for bad in [&good[..good.len() - 2], b""] {
        fs::write(&path, bad).unwrap();
        assert!(ring.reload().is_err());
        assert!(publish(&ring, access_key(Algorithm::PS256), None).is_err());
    }
    fs::remove_file(&path).unwrap();
    assert!(ring.reload().is_err());
    assert_eq!(ring.list(NOW).len(), 3);
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn edits_at_the_same_time_are_made_one_after_the_other() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    Keys::load_or_create(&path).unwrap();
    let together = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
                Keys::edit(&path, |keys| keys.publish(KeyPurpose::Access, key, None)).unwrap();
            });
        }
    });
    assert_eq!(Keys::load(&path).unwrap().access.len(), 9);
    assert_eq!(folder.names(), ["gatekey.keys"]);
}

#[test]
fn an_edit_that_fails_or_changes_nothing_leaves_the_file_alone() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    assert!(Keys::edit(&path, |_| Ok(())).unwrap_err().to_string().ends_with("does not exist"));
    Keys::load_or_create(&path).unwrap();
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
    let before = (inode(), fs::read(&path).unwrap());
    assert_eq!(Keys::edit(&path, |keys| Ok(keys.access.len())).unwrap(), 1);
    let failed = Keys::edit(&path, |keys| {
        keys.publish(KeyPurpose::Access, access_key(Algorithm::ES256), None)?;
        keys.retire("unknown", NOW)
    });
    assert!(matches!(failed, Err(KeyError::NoSuchKey)));
    assert_eq!((inode(), fs::read(&path).unwrap()), before);
    let error = Keys::create(&path, access_key(Algorithm::EdDSA)).unwrap_err();
    assert!(error.to_string().ends_with("exists already"), "{error}");
    assert_eq!((inode(), fs::read(&path).unwrap()), before);
    assert_eq!(folder.names(), ["gatekey.keys"]);
}

#[test]
fn the_file_keeps_its_owner() {
    use std::os::unix::fs::{MetadataExt, chown};

    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    Keys::load_or_create(&path).unwrap();
    let owner = || fs::metadata(&path).map(|metadata| (metadata.uid(), metadata.gid())).unwrap();
    // Only an administrator can give a file away, and only for one does it matter.
    let given = chown(&path, Some(4242), Some(4243)).is_ok();
    let before = owner();
    assert_eq!(before == (4242, 4243), given);
    let key = access_key(Algorithm::ES256);
    Keys::edit(&path, |keys| keys.publish(KeyPurpose::Access, key, None)).unwrap();
    assert_eq!(owner(), before);
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_link_to_the_file_stays_a_link() {
    let folder = Folder::new();
    let (path, link) = (folder.file("gatekey.keys"), folder.file("link"));
    Keys::load_or_create(&path).unwrap();
    std::os::unix::fs::symlink("gatekey.keys", &link).unwrap();
    let key = access_key(Algorithm::ES256);
    Keys::edit(&link, |keys| keys.publish(KeyPurpose::Access, key, None)).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(Keys::load(&path).unwrap().access.len(), 2);
}

#[test]
fn a_change_that_cannot_be_written_does_not_happen() {
    let folder = Folder::new();
    let path = folder.file("gatekey.keys");
    let ring = ring(Keys::load_or_create(&path).unwrap());
    let before = ring.list(NOW);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = publish(&ring, access_key(Algorithm::ES256), None).unwrap_err();
    assert!(matches!(error, KeyError::File { .. }), "{error}");
    assert_eq!(ring.list(NOW), before);
    assert_eq!(folder.names(), ["gatekey.keys"], "and no other file holds keys");
}

// ---- The ring ---------------------------------------------------------------------------------------------------

const OVERLAP: Duration = secs(930);

fn publish(ring: &KeyRing, key: SigningKey, signs_from: Option<Timestamp>) -> Result<(), KeyError> {
    ring.change(NOW, |keys| keys.publish(KeyPurpose::Access, key, signs_from))
}

fn kids(set: &Value) -> Vec<&str> {
    set["keys"].as_array().unwrap().iter().map(|jwk| jwk["kid"].as_str().unwrap()).collect()
}

fn active(ring: &KeyRing, now: Timestamp) -> String {
    ring.snapshot().active(now).unwrap().key.kid().to_owned()
}

/// The access keys, and what each does.
fn states(ring: &KeyRing, now: Timestamp) -> Vec<(String, KeyState)> {
    let access = |info: &KeyInfo| info.purpose == KeyPurpose::Access;
    ring.list(now).into_iter().filter(access).map(|info| (info.kid, info.state)).collect()
}

#[test]
fn a_key_is_published_then_signs_then_verifies_and_then_is_gone() {
    let (old, new) = (access_key(Algorithm::EdDSA), access_key(Algorithm::ES256));
    let (old, new) = (old.kid().to_owned(), (new.kid().to_owned(), new));
    let ring = ring(keys(Algorithm::EdDSA));
    assert_eq!(kids(&ring.jwk_set(NOW)), [&old]);

    publish(&ring, new.1, None).unwrap();
    let new = new.0;
    assert_eq!(kids(&ring.jwk_set(NOW)), [&old, &new]);
    assert_eq!(active(&ring, NOW + 1000 * OVERLAP), old);

    ring.change(NOW, |keys| keys.activate(&new, NOW)).unwrap();
    assert_eq!(active(&ring, NOW), new);
    let until = NOW + OVERLAP;
    assert_eq!(
        states(&ring, NOW),
        [(old.clone(), KeyState::Retiring { until }), (new.clone(), KeyState::Active)]
    );
    assert_eq!(kids(&ring.jwk_set(until - Duration::from_millis(1))), [&old, &new]);
    assert_eq!(kids(&ring.jwk_set(until)), [&new]);

    // A key that is over is forgotten at the next change.
    let third = SigningKey::generate(Algorithm::EdDSA).unwrap();
    ring.change(until, |keys| keys.publish(KeyPurpose::Access, third.clone(), Some(until))).unwrap();
    let left: Vec<_> = states(&ring, until).into_iter().map(|(kid, _)| kid).collect();
    assert_eq!(left, [new, third.kid().to_owned()]);
}

#[test]
fn a_key_with_a_date_signs_from_then_on_by_itself() {
    let ring = ring(keys(Algorithm::EdDSA));
    let old = active(&ring, NOW);
    let (next, last) = (access_key(Algorithm::ES256), access_key(Algorithm::PS256));
    let (at, later) = (NOW + 5 * MINUTE, NOW + 6 * MINUTE);
    // The order in which they are published does not matter.
    publish(&ring, last.clone(), Some(later)).unwrap();
    publish(&ring, next.clone(), Some(at)).unwrap();
    let moment = Duration::from_millis(1);
    for (now, expected) in [
        (NOW, &*old),
        (at - moment, &old),
        (at, next.kid()),
        (later - moment, next.kid()),
        (later, last.kid()),
        (later + DAY, last.kid()),
        // A clock set back before all of them: the earliest.
        (Timestamp::EPOCH - DAY, &old),
    ] {
        assert_eq!(active(&ring, now), expected, "{now}");
        let signing = states(&ring, now).into_iter().filter(|(_, state)| *state == KeyState::Active);
        assert_eq!(signing.map(|(kid, _)| kid).collect::<Vec<_>>(), [expected], "{now}");
    }
    assert_eq!(
        states(&ring, at),
        [
            (old.clone(), KeyState::Retiring { until: at + OVERLAP }),
            (last.kid().to_owned(), KeyState::Published { signs_from: Some(later) }),
            (next.kid().to_owned(), KeyState::Active),
        ]
    );
    assert_eq!(kids(&ring.jwk_set(at + OVERLAP)), [last.kid(), next.kid()]);

    // Called back before its date, it never signs.
    ring.change(NOW, |keys| keys.retire(next.kid(), NOW)).unwrap();
    assert_eq!(active(&ring, at), old);
    // And one that waits may be called early.
    ring.change(NOW, |keys| keys.activate(last.kid(), NOW)).unwrap();
    assert_eq!(active(&ring, NOW), last.kid());
}

#[test]
fn of_two_keys_of_one_second_the_later_signs() {
    let ring = ring(keys(Algorithm::EdDSA));
    for algorithm in [Algorithm::ES256, Algorithm::PS256] {
        publish(&ring, access_key(algorithm), Some(NOW)).unwrap();
        assert_eq!(active(&ring, NOW), access_key(algorithm).kid());
    }
    let until = NOW + OVERLAP;
    let expected = [KeyState::Retiring { until }, KeyState::Retiring { until }, KeyState::Active];
    assert_eq!(states(&ring, NOW).into_iter().map(|(_, state)| state).collect::<Vec<_>>(), expected);
}

#[test]
fn a_refresh_secret_follows_another_likewise() {
    let ring = ring(keys(Algorithm::EdDSA));
    let old = refresh_key();
    let new = SigningKey::hs256(&[9; 32]).unwrap();
    let at = NOW + MINUTE;
    ring.change(NOW, |keys| keys.publish(KeyPurpose::Refresh, new.clone(), Some(at))).unwrap();
    let signing = |now| ring.snapshot().active_refresh(now).unwrap().key.kid().to_owned();
    assert_eq!((signing(NOW).as_str(), signing(at).as_str()), (old.kid(), new.kid()));
    let refresh = |now| -> Vec<_> { ring.list(now).into_iter().skip(1).map(|info| info.state).collect() };
    assert_eq!(refresh(NOW), [KeyState::Active, KeyState::Published { signs_from: Some(at) }]);
    assert_eq!(refresh(at), [KeyState::Retiring { until: at + 7 * DAY }, KeyState::Active]);
    // It is kept as long as a token of it may live.
    let prune = |now| {
        ring.change(now, |_| Ok(())).unwrap();
        refresh(now).len()
    };
    assert_eq!(prune(at + 7 * DAY - Duration::from_millis(1)), 2);
    assert_eq!(prune(at + 7 * DAY), 1);
    let pair = access_key(Algorithm::ES256);
    let published = ring.change(NOW, |keys| keys.publish(KeyPurpose::Refresh, pair, None));
    assert!(matches!(published, Err(KeyError::Unreadable(_))));
}

#[test]
fn a_retired_key_leaves_the_set_at_once() {
    let ring = ring(keys(Algorithm::EdDSA).accept(access_key(Algorithm::ES256)).unwrap());
    let previous = access_key(Algorithm::ES256).kid().to_owned();
    // Accepted by the settings: until somebody takes it away.
    assert_eq!(kids(&ring.jwk_set(NOW + 1000 * OVERLAP)).len(), 2);
    ring.change(NOW + 1000 * OVERLAP, |keys| keys.retire(&previous, NOW)).unwrap();
    assert_eq!(kids(&ring.jwk_set(NOW)).len(), 1);
}

#[test]
fn steps_out_of_order_are_refused_and_change_nothing() {
    let ring = ring(keys(Algorithm::EdDSA));
    publish(&ring, access_key(Algorithm::PS256), Some(NOW)).unwrap();
    let (retiring, active) = (ring.list(NOW)[0].kid.clone(), ring.list(NOW)[1].kid.clone());
    let refresh = refresh_key().kid().to_owned();
    let before = ring.list(NOW);
    type Edit<'a> = Box<dyn FnOnce(&mut Keys) -> Result<(), KeyError> + 'a>;
    let cases: [(&str, Edit<'_>); 7] = [
        ("an unknown key signs", Box::new(|keys| keys.activate("unknown", NOW))),
        ("the active key is activated", Box::new(|keys| keys.activate(&active, NOW))),
        ("a key comes back", Box::new(|keys| keys.activate(&retiring, NOW))),
        ("the active key goes", Box::new(|keys| keys.retire(&active, NOW))),
        ("the active secret goes", Box::new(|keys| keys.retire(&refresh, NOW))),
        ("the active secret is activated", Box::new(|keys| keys.activate(&refresh, NOW))),
        ("an unknown key goes", Box::new(|keys| keys.retire("unknown", NOW))),
    ];
    for (name, edit) in cases {
        assert!(matches!(ring.change(NOW, edit), Err(KeyError::NoSuchKey)), "{name}");
    }
    for (name, key) in [
        ("a retiring key", access_key(Algorithm::EdDSA)),
        ("the active key", access_key(Algorithm::PS256)),
        ("the active key for another algorithm", access_key(Algorithm::RS256)),
    ] {
        assert!(matches!(publish(&ring, key, None), Err(KeyError::Equal)), "{name}");
    }
    assert!(matches!(publish(&ring, access_key(Algorithm::HS256), None), Err(KeyError::Mixed)));
    assert_eq!(ring.list(NOW), before);

    let shared = fixtures::ring(keys(Algorithm::HS256));
    assert!(matches!(publish(&shared, access_key(Algorithm::EdDSA), None), Err(KeyError::Mixed)));
    assert!(matches!(publish(&shared, refresh_key(), None), Err(KeyError::Equal)));
}

#[test]
fn readers_see_the_ring_before_or_after_a_change_and_never_between() {
    let ring = ring(keys(Algorithm::EdDSA));
    let keys: Vec<_> = (0..5).map(|_| SigningKey::generate(Algorithm::EdDSA).unwrap()).collect();
    // Not until so many keys are seen: a ring that takes none would be waited for without an end.
    let (begun, over) = (Barrier::new(2), AtomicBool::new(false));
    let published = thread::scope(|scope| {
        scope.spawn(|| {
            begun.wait();
            while !over.load(Ordering::SeqCst) {
                let snapshot = ring.snapshot();
                let active = snapshot.active(NOW).unwrap();
                assert!(active.verifies(NOW + 1000 * OVERLAP));
            }
        });
        begun.wait();
        let published: Vec<_> = keys.into_iter().map(|key| publish(&ring, key, Some(NOW))).collect();
        over.store(true, Ordering::SeqCst);
        published
    });
    assert!(published.iter().all(Result::is_ok), "{published:?}");
    assert_eq!(ring.list(NOW).len(), 7);
}
