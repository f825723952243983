use proptest::{prelude::*, test_runner::RngSeed};

use super::*;
use crate::fixtures::{ALGORITHMS, access_key, keys};

fn encoded(text: &str) -> String {
    URL_SAFE_NO_PAD.encode_to_string(text)
}

#[test]
fn a_token_is_three_parts() {
    let parts = Parts::split("header.payload.signature").unwrap();
    assert_eq!(
        (parts.header, parts.payload, parts.signature, parts.signed),
        (&b"header"[..], &b"payload"[..], &b"signature"[..], &b"header.payload"[..])
    );
    for text in ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e", "....", "a.b.c."] {
        assert_eq!(Parts::split(text).err(), Some(TokenError::Malformed), "{text}");
    }
    // Empty parts are parts; what they lack shows when they are read.
    assert!(Parts::split("..").is_ok());
}

#[test]
fn eight_kib_are_looked_at_and_no_more() {
    let longest = format!("a.{}.c", "b".repeat(MAX_LENGTH - 4));
    assert_eq!(longest.len(), 8192);
    assert!(Parts::split(&longest).is_ok());
    assert_eq!(Parts::split(&format!("{longest}c")).err(), Some(TokenError::TooLong));
    // Length is asked first: nothing is searched in a text that is too long.
    assert_eq!(Parts::split(&"a".repeat(MAX_LENGTH + 1)).err(), Some(TokenError::TooLong));
}

#[test]
fn segments_are_canonical_base64url_without_padding() {
    for (text, bytes) in
        [("", &b""[..]), ("Zg", b"f"), ("Zm8", b"fo"), ("Zm9v", b"foo"), ("-_-_", b"\xfb\xff\xbf")]
    {
        assert_eq!(decode(text).as_deref(), Ok(bytes), "{text}");
    }
    for (name, text) in [
        ("padding", "Zg=="),
        ("padding", "Zm8="),
        ("part of a padding", "Zg="),
        ("the standard alphabet", "+/+/"),
        ("unused bits", "Zh"),
        ("unused bits", "Zm9"),
        ("a single character", "Z"),
        ("a single character more", "Zm9vZ"),
        ("a space", "Zm 8"),
        ("a line end", "Zm9v\n"),
        ("a line end", "Zm\r\n9v"),
        ("NUL", "Zm9v\0"),
        ("a percent sign", "Zm9v%3D"),
        ("not ASCII", "Zm9é"),
        ("full-width letters", "Ｚｍ９ｖ"),
    ] {
        assert_eq!(decode(text), Err(TokenError::Malformed), "{name}: {text:?}");
    }
}

/// RFC 4648 section 5 as its text says it, slowly.
fn decoded_slowly(text: &str) -> Option<Vec<u8>> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = Vec::new();
    for byte in text.bytes() {
        let value = alphabet.iter().position(|known| *known == byte)?;
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    let unused = bits.split_off(bits.len() / 8 * 8);
    let fits = unused.len() < 6 && unused.iter().all(|bit| *bit == 0);
    fits.then(|| bits.chunks(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | *bit as u8)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(7515), failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn segments_are_read_as_rfc_4648_says(text in "[A-Za-z0-9_+/= .-]{0,40}") {
        prop_assert_eq!(decode(&text).ok(), decoded_slowly(&text));
    }

    #[test]
    fn segments_of_the_right_alphabet_are_read_as_rfc_4648_says(text in "[A-Za-z0-9_-]{0,80}") {
        prop_assert_eq!(decode(&text).ok(), decoded_slowly(&text));
    }

    #[test]
    fn what_was_written_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(decode(&URL_SAFE_NO_PAD.encode_to_string(&bytes)), Ok(bytes));
    }
}

#[test]
fn a_header_of_ours_has_three_members() {
    for algorithm in ALGORITHMS {
        let key = access_key(algorithm);
        let segment = header_segment(key.verifying(), ACCESS_TYPE);
        let text = String::from_utf8(decode(&segment).unwrap()).unwrap();
        assert_eq!(text, format!(r#"{{"alg":"{}","typ":"at+jwt","kid":"{}"}}"#, algorithm.name(), key.kid()));
        let header = Header::parse(&segment).unwrap();
        assert_eq!((&*header.alg, &*header.kid), (algorithm.name(), key.kid()));
        assert!(header.is_of_type(ACCESS_TYPE) && !header.is_of_type(REFRESH_TYPE));
    }
}

#[test]
fn other_headers_are_read_strictly() {
    let expected = || Header { alg: "ES256".into(), typ: "at+jwt".into(), kid: "k".into() };
    for (name, text) in [
        ("as others write it", r#"{"typ":"at+jwt","alg":"ES256","kid":"k"}"#),
        ("white space", " {\r\n\t\"kid\" : \"k\" , \"alg\" : \"ES256\" , \"typ\" : \"at+jwt\" }\n"),
        ("escapes", r#"{"\u0061lg":"ES\u003256","typ":"at\u002bjwt","kid":"\u006b"}"#),
        (
            "members we do not know",
            r#"{"alg":"ES256","typ":"at+jwt","kid":"k","cty":"JSON","x":[{"alg":"none"}],"x5t":"y"}"#,
        ),
    ] {
        assert_eq!(Header::parse(&encoded(text)), Ok(expected()), "{name}");
    }
    for (name, text) in [
        ("no alg", r#"{"typ":"at+jwt","kid":"k"}"#),
        ("no typ", r#"{"alg":"ES256","kid":"k"}"#),
        ("no kid", r#"{"alg":"ES256","typ":"at+jwt"}"#),
        ("alg is null", r#"{"alg":null,"typ":"at+jwt","kid":"k"}"#),
        ("alg is a list", r#"{"alg":["ES256"],"typ":"at+jwt","kid":"k"}"#),
        ("kid is a number", r#"{"alg":"ES256","typ":"at+jwt","kid":1}"#),
        ("typ is a boolean", r#"{"alg":"ES256","typ":true,"kid":"k"}"#),
        ("alg twice", r#"{"alg":"ES256","alg":"ES256","typ":"at+jwt","kid":"k"}"#),
        ("alg twice, once escaped", r#"{"alg":"ES256","\u0061lg":"none","typ":"at+jwt","kid":"k"}"#),
        ("an unknown member twice", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","x":1,"x":1}"#),
        ("a member twice inside", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","x":{"a":1,"a":1}}"#),
        ("names in capitals", r#"{"ALG":"ES256","Typ":"at+jwt","kid":"k"}"#),
        ("crit", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","crit":["exp"]}"#),
        ("an empty crit", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","crit":[]}"#),
        ("crit of null", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","crit":null}"#),
        ("b64", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","b64":true}"#),
        ("jwk", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","jwk":{"kty":"oct","k":"AA"}}"#),
        ("jku", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","jku":"https://evil.example/jwks"}"#),
        ("x5c", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","x5c":[]}"#),
        ("x5u", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","x5u":"https://evil.example"}"#),
        ("zip", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","zip":"DEF"}"#),
        ("zip, escaped", r#"{"alg":"ES256","typ":"at+jwt","kid":"k","\u007aip":"DEF"}"#),
        ("a list", r#"["ES256","at+jwt","k"]"#),
        ("a text", r#""ES256""#),
        ("nothing", ""),
        ("two values", r#"{"alg":"ES256","typ":"at+jwt","kid":"k"}{}"#),
        ("a comma at the end", r#"{"alg":"ES256","typ":"at+jwt","kid":"k",}"#),
        ("single quotes", "{'alg':'ES256','typ':'at+jwt','kid':'k'}"),
        ("a byte order mark", "\u{feff}{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k\"}"),
        ("NUL at the end", "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k\"}\0"),
    ] {
        assert_eq!(Header::parse(&encoded(text)), Err(TokenError::Header), "{name}");
    }
    let not_utf8 =
        URL_SAFE_NO_PAD.encode_to_string(b"{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"\xff\"}");
    assert_eq!(Header::parse(&not_utf8), Err(TokenError::Header));
    assert_eq!(Header::parse("e30="), Err(TokenError::Malformed));
}

#[test]
fn a_type_may_be_written_in_full_and_in_no_other_way() {
    let header = |typ: &str| Header { alg: String::new(), typ: typ.into(), kid: String::new() };
    for (typ, expected) in [
        ("at+jwt", true),
        ("application/at+jwt", true),
        ("AT+JWT", false),
        ("Application/at+jwt", false),
        ("application/application/at+jwt", false),
        ("text/at+jwt", false),
        ("at+jwt;charset=utf-8", false),
        (" at+jwt", false),
        ("JWT", false),
        ("rt+jwt", false),
        ("", false),
    ] {
        assert_eq!(header(typ).is_of_type(ACCESS_TYPE), expected, "{typ}");
    }
}

#[test]
fn the_payload_is_read_after_the_signature_was_checked() {
    for algorithm in ALGORITHMS {
        let key = access_key(algorithm);
        let token = sign(&key, "e30", b"payload").unwrap();
        assert_eq!(Parts::split(&token).unwrap().verify(key.verifying()).unwrap(), b"payload");

        let (signed, signature) = token.rsplit_once('.').unwrap();
        let bytes = decode(signature).unwrap();
        let with = |bytes: &[u8]| format!("{signed}.{}", URL_SAFE_NO_PAD.encode_to_string(bytes));
        for (name, token, expected) in [
            ("another payload", format!("e30.bm90IGl0.{signature}"), TokenError::BadSignature),
            ("a payload that is not base64url", format!("e30.***.{signature}"), TokenError::BadSignature),
            ("another header", format!("e31.{}.{signature}", &signed[4..]), TokenError::BadSignature),
            ("no signature", with(&[]), TokenError::BadSignature),
            ("a signature that is cut", with(&bytes[..bytes.len() - 1]), TokenError::BadSignature),
            ("a signature with more after it", with(&[&bytes[..], &[0]].concat()), TokenError::BadSignature),
            ("a signature of zeros", with(&vec![0; bytes.len()]), TokenError::BadSignature),
            ("a signature with padding", format!("{token}="), TokenError::Malformed),
        ] {
            let found = Parts::split(&token).unwrap().verify(key.verifying());
            assert_eq!(found, Err(expected), "{algorithm:?}, {name}");
        }
    }
}

#[test]
fn a_thread_keeps_a_few_verifiers_and_none_of_a_key_that_is_gone() {
    let kept = || KEPT.with_borrow(|kept| kept.verifiers.len());
    let secret = |n: usize| SigningKey::hs256(format!("{n:032}").as_bytes()).unwrap();
    let mut keys: Vec<_> = (0..VERIFIERS + 3).map(secret).collect();
    let tokens: Vec<_> = keys.iter().map(|key| sign(key, "e30", b"payload").unwrap()).collect();
    let verify =
        |key: &SigningKey, token: &str| Parts::split(token).unwrap().verify(key.verifying()).map(|_| ());
    for round in 0..3 {
        for (at, (key, token)) in keys.iter().zip(&tokens).enumerate() {
            assert_eq!(verify(key, token), Ok(()), "{round}, {at}");
            // Whatever stands in its place, it is the verifier of this key.
            assert_eq!(verify(key, &tokens[(at + 1) % keys.len()]), Err(TokenError::BadSignature));
        }
        assert_eq!(kept(), VERIFIERS);
    }
    // Copies of a key are that key, as in every new snapshot of a ring.
    let copy = keys[0].clone();
    keys.clear();
    assert_eq!(verify(&copy, &tokens[0]), Ok(()));
    assert_eq!(kept(), 1);
    assert_eq!(verify(&copy.clone(), &tokens[0]), Ok(()));
    assert_eq!(kept(), 1);
    drop(copy);
    // The same secret, read anew, is another key; the former one's verifier leaves.
    assert_eq!(verify(&secret(0), &tokens[0]), Ok(()));
    assert_eq!(kept(), 1);
}

#[test]
fn an_ecdsa_signature_is_two_numbers_of_32_bytes() {
    // RFC 7518 s3.4. Zeros were once accepted by others (CVE-2022-21449), and DER is another format.
    let key = access_key(crate::keys::Algorithm::ES256);
    let token = sign(&key, "e30", b"payload").unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = decode(signature).unwrap();
    assert_eq!(signature.len(), 64);
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&order[2 * i..2 * i + 2], 16).unwrap()).collect();
    let der = [&[0x30, 68, 2, 32][..], &signature[..32], &[2, 32], &signature[32..]].concat();
    for (name, signature) in [
        ("zeros", vec![0; 64]),
        ("r is zero", [&[0; 32][..], &signature[32..]].concat()),
        ("s is zero", [&signature[..32], &[0; 32]].concat()),
        ("the order of the curve", [&order[..], &order].concat()),
        ("swapped", [&signature[32..], &signature[..32]].concat()),
        ("DER", der),
    ] {
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode_to_string(signature));
        assert_eq!(
            Parts::split(&token).unwrap().verify(key.verifying()),
            Err(TokenError::BadSignature),
            "{name}"
        );
    }
}

#[test]
fn no_key_verifies_what_another_signed() {
    for signer in ALGORITHMS {
        let token = sign(&access_key(signer), "e30", b"payload").unwrap();
        for other in ALGORITHMS.into_iter().filter(|other| *other != signer) {
            let found = Parts::split(&token).unwrap().verify(access_key(other).verifying());
            assert_eq!(found, Err(TokenError::BadSignature), "{signer:?} for {other:?}");
        }
    }
    let ring = crate::fixtures::ring(keys(crate::keys::Algorithm::EdDSA));
    assert_ne!(ring.snapshot().access[0].header, ring.snapshot().refresh[0].header);
}
