use std::{cell::Cell, sync::LazyLock};

use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};
use serde_json::json;

use super::*;
use crate::{
    fixtures::{self, ALGORITHMS, DAY, MINUTE, NOW, access_key, keys, refresh_key, secs, session, user},
    keys::{Algorithm, KeyPurpose, KeyRing, Keys, SigningKey},
};

const ISSUER: &str = "https://app.example.com";
const AUDIENCE: &str = "https://api.example.com";
const MILLISECOND: Duration = Duration::from_millis(1);

fn rules() -> AccessRules {
    AccessRules {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        client_id: "gatekey".to_owned(),
        lifetime: 15 * MINUTE,
        leeway: secs(30),
    }
}

fn ring(algorithm: Algorithm) -> KeyRing {
    fixtures::ring(keys(algorithm))
}

/// The same, made once: RSA keys take their time.
fn snapshot(algorithm: Algorithm) -> Arc<Snapshot> {
    static SNAPSHOTS: LazyLock<[Arc<Snapshot>; 5]> =
        LazyLock::new(|| ALGORITHMS.map(|algorithm| ring(algorithm).snapshot()));
    let position = ALGORITHMS.iter().position(|other| *other == algorithm).unwrap();
    Arc::clone(&SNAPSHOTS[position])
}

/// A token of [`user`] in [`session`], with these claims of the host's own, or why it is not issued.
fn issue(ring: &KeyRing, own: Value) -> Result<String, AuthError> {
    let Value::Object(own) = own else { panic!("claims are an object") };
    let (user, session) = (user(), session());
    let grant = Grant {
        user: &user,
        session: &session,
        scope: session.scope.as_deref(),
        own,
        id: "token-id",
        now: NOW,
        expires_at: NOW + 15 * MINUTE,
    };
    rules().issue(&ring.snapshot(), grant)
}

fn issued(algorithm: Algorithm) -> String {
    issue(&ring(algorithm), json!({})).unwrap()
}

/// The claims of such a token.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "subject-of-alice", "aud": AUDIENCE, "exp": 1_800_000_900, "iat": 1_800_000_000,
        "jti": "token-id", "client_id": "gatekey", "sid": "session-of-alice", "auth_time": 1_799_999_998,
        "preferred_username": "Alice", "roles": ["editor", "admin"], "scope": "read write",
    })
}

/// [`claims`] with one of them set, or taken away by `null`.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Signs any header and any claims.
fn signed(key: &SigningKey, header: &str, claims: &str) -> String {
    jws::sign(key, &base64url(header), claims.as_bytes()).unwrap()
}

/// The header of our tokens.
fn header(key: &SigningKey) -> Value {
    json!({"alg": key.algorithm().name(), "typ": "at+jwt", "kid": key.kid()})
}

fn with_claims(claims: &str) -> String {
    let key = access_key(Algorithm::HS256);
    signed(&key, &header(&key).to_string(), claims)
}

fn verify(algorithm: Algorithm, token: &str, now: Timestamp) -> Result<Principal, TokenError> {
    rules().verify(&snapshot(algorithm), token, now)
}

/// What becomes of claims in a token that is good otherwise.
fn judged(claims: &Value, now: Timestamp) -> Result<Principal, TokenError> {
    verify(Algorithm::HS256, &with_claims(&claims.to_string()), now)
}

/// Whether `jsonwebtoken::decode` takes the token. It asks its own clock, so times are not its to judge here.
fn oracle(algorithm: Algorithm, token: &str) -> bool {
    let mut validation = jsonwebtoken::Validation::new(algorithm.for_jsonwebtoken());
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_exp = false;
    let key = snapshot(algorithm).access[0].verifying().decoding().clone();
    jsonwebtoken::decode::<serde::de::IgnoredAny>(token, &key, &validation).is_ok()
}

// ---- What is issued ---------------------------------------------------------------------------------------------

#[test]
fn a_token_says_exactly_what_the_contract_says() {
    for algorithm in ALGORITHMS {
        let token = issued(algorithm);
        let [head, payload, _] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        let read = |part: &str| -> Value {
            serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part).unwrap()).unwrap()
        };
        assert_eq!(read(head), header(&access_key(algorithm)), "{algorithm:?}");
        assert_eq!(read(payload), claims(), "{algorithm:?}");
    }
}

#[test]
fn a_principal_is_what_the_token_says() {
    for algorithm in ALGORITHMS {
        let token = issued(algorithm);
        assert!(oracle(algorithm, &token), "{algorithm:?}");
        let principal = verify(algorithm, &token, NOW).unwrap();
        assert_eq!(principal.subject(), &SubjectId::new("subject-of-alice"));
        assert_eq!(principal.session(), &SessionId::new("session-of-alice"));
        assert_eq!(principal.username(), "Alice");
        assert_eq!(principal.roles(), ["editor", "admin"]);
        assert_eq!(principal.scope(), Some("read write"));
        assert_eq!(principal.client_id(), "gatekey");
        assert_eq!(principal.token_id(), "token-id");
        assert_eq!(principal.auth_time(), NOW - secs(2));
        assert_eq!(principal.issued_at(), NOW);
        assert_eq!(principal.expires_at(), NOW + 15 * MINUTE);
    }
}

#[test]
fn a_scope_that_was_not_granted_is_not_claimed() {
    let (user, session) = (user(), session());
    let grant = |scope| Grant {
        user: &user,
        session: &session,
        scope,
        own: Map::new(),
        id: "token-id",
        now: NOW,
        expires_at: NOW + MINUTE,
    };
    let keys = ring(Algorithm::EdDSA).snapshot();
    for scope in [None, Some("read"), Some("")] {
        let token = rules().issue(&keys, grant(scope)).unwrap();
        let principal = rules().verify(&keys, &token, NOW).unwrap();
        assert_eq!(principal.scope(), scope);
        assert_eq!(principal.claims::<Value>().unwrap().get("scope").is_some(), scope.is_some());
    }
}

#[test]
fn a_host_cannot_set_a_claim_that_is_ours() {
    let ours: Vec<_> = claims().as_object().unwrap().keys().cloned().collect();
    assert!(ours.iter().all(|name| RESERVED_CLAIMS.contains(&name.as_str())));
    for name in RESERVED_CLAIMS {
        let error = issue(&ring(Algorithm::EdDSA), json!({"tenant": 7, name: "x"})).unwrap_err();
        assert!(matches!(error, AuthError::Internal(_)), "{name}");
        assert_eq!(error.to_string(), format!("fault: the claims source set the reserved claim {name:?}"));
    }
    // Compared as they are: these are other claims.
    assert!(issue(&ring(Algorithm::EdDSA), json!({"ISS": "x", "role": "admin", "amr": ["pwd"]})).is_ok());
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Tenant {
    tenant: String,
    plan: u8,
}

#[test]
fn the_hosts_own_claims_are_read_back_typed() {
    let keys = ring(Algorithm::EdDSA);
    let own = json!({"tenant": "a\"b\\c\u{1F511}", "plan": 3, "nested": {"a": [1, null, true, 1.5]}});
    let token = issue(&keys, own.clone()).unwrap();
    let principal = rules().verify(&keys.snapshot(), &token, NOW).unwrap();
    let expected = Tenant { tenant: "a\"b\\c\u{1F511}".to_owned(), plan: 3 };
    assert_eq!(principal.claims::<Tenant>().unwrap(), expected);
    assert_eq!(principal.claims::<Value>().unwrap()["nested"], own["nested"]);

    for lacking in [
        json!({}),
        json!({"tenant": "x"}),
        json!({"tenant": "x", "plan": "3"}),
        json!({"tenant": 1, "plan": 3}),
    ] {
        let token = issue(&keys, lacking).unwrap();
        let principal = rules().verify(&keys.snapshot(), &token, NOW).unwrap();
        assert!(matches!(principal.claims::<Tenant>(), Err(AuthError::Internal(_))));
    }
}

#[test]
fn a_token_that_would_be_refused_is_not_issued() {
    let keys = ring(Algorithm::EdDSA);
    let nested = |depth: usize| (0..depth).fold(json!(1), |value, _| json!([value]));
    // The claims themselves are one level.
    let deepest = usize::from(json::MAX_DEPTH) - 1;
    let token = issue(&keys, json!({"deep": nested(deepest)})).unwrap();
    assert!(rules().verify(&keys.snapshot(), &token, NOW).is_ok());
    assert!(matches!(issue(&keys, json!({"deep": nested(deepest + 1)})), Err(AuthError::Internal(_))));

    let long = |length: &usize| issue(&keys, json!({"long": "x".repeat(*length)}));
    let lengths: Vec<_> = (0..8192).collect();
    let longest = lengths.partition_point(|length| long(length).is_ok()) - 1;
    let token = long(&longest).unwrap();
    assert_eq!(token.len(), 8192, "the longest that is read");
    assert!(rules().verify(&keys.snapshot(), &token, NOW).is_ok());

    for (name, edit) in [
        ("an empty subject", (|session| session.subject = SubjectId::new("")) as fn(&mut Session)),
        ("an empty session", |session| session.id = SessionId::new("")),
    ] {
        let (user, mut session) = (user(), session());
        edit(&mut session);
        let grant = Grant {
            user: &user,
            session: &session,
            scope: None,
            own: Map::new(),
            id: "token-id",
            now: NOW,
            expires_at: NOW + MINUTE,
        };
        assert!(matches!(rules().issue(&keys.snapshot(), grant), Err(AuthError::Internal(_))), "{name}");
    }
}

// ---- Form, header, signature ------------------------------------------------------------------------------------

#[test]
fn a_token_with_any_byte_changed_is_refused() {
    for algorithm in ALGORITHMS {
        let token = issued(algorithm);
        let keys = ring(algorithm).snapshot();
        assert!(rules().verify(&keys, &token, NOW).is_ok());
        for position in 0..token.len() {
            for bit in [1, 2, 0x20] {
                let mut changed = token.clone().into_bytes();
                changed[position] ^= bit;
                let changed = String::from_utf8(changed).unwrap();
                assert!(rules().verify(&keys, &changed, NOW).is_err(), "{algorithm:?}: {changed}");
            }
            let cut = [&token[..position], &token[position + 1..]].concat();
            assert!(rules().verify(&keys, &cut, NOW).is_err(), "{algorithm:?}: {cut}");
        }
    }
}

#[test]
fn another_header_with_the_same_meaning_is_accepted() {
    for algorithm in ALGORITHMS {
        let key = access_key(algorithm);
        let (alg, kid) = (algorithm.name(), key.kid());
        for header in [
            format!(r#"{{"kid":"{kid}","typ":"at+jwt","alg":"{alg}"}}"#),
            format!(r#"{{ "alg": "{alg}", "typ": "application/at+jwt", "kid": "{kid}" }}"#),
            format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{kid}","cty":"json","unknown":{{"a":1}}}}"#),
            format!(r#"{{"\u0061lg":"{alg}","typ":"at\u002bjwt","kid":"{kid}"}}"#),
        ] {
            let token = signed(&key, &header, &claims().to_string());
            assert!(oracle(algorithm, &token), "{header}");
            let principal = verify(algorithm, &token, NOW).unwrap();
            assert_eq!(principal.subject().as_str(), "subject-of-alice", "{header}");
        }
    }
}

#[test]
fn a_header_selects_a_key_and_what_that_key_is_for() {
    for algorithm in ALGORITHMS {
        let key = access_key(algorithm);
        let refresh = refresh_key();
        let cases = [
            ("no algorithm", json!({"alg": "none"}), TokenError::WrongAlgorithm),
            ("no algorithm, in capitals", json!({"alg": "NONE"}), TokenError::WrongAlgorithm),
            ("another hash", json!({"alg": "HS512"}), TokenError::WrongAlgorithm),
            ("small letters", json!({"alg": algorithm.name().to_lowercase()}), TokenError::WrongAlgorithm),
            ("an empty algorithm", json!({"alg": ""}), TokenError::WrongAlgorithm),
            ("an unknown key", json!({"kid": "unknown"}), TokenError::UnknownKey),
            ("an empty kid", json!({"kid": ""}), TokenError::UnknownKey),
            ("a longer kid", json!({"kid": format!("{} ", key.kid())}), TokenError::UnknownKey),
            ("a prefix of the kid", json!({"kid": key.kid()[..42]}), TokenError::UnknownKey),
            ("a path", json!({"kid": "../../dev/null"}), TokenError::UnknownKey),
            ("the refresh secret", json!({"kid": refresh.kid()}), TokenError::UnknownKey),
            ("a refresh token", json!({"typ": "rt+jwt"}), TokenError::WrongType),
            ("any JWT", json!({"typ": "JWT"}), TokenError::WrongType),
            ("an ID token", json!({"typ": "application/jwt"}), TokenError::WrongType),
            ("crit", json!({"crit": ["exp"]}), TokenError::Header),
            ("b64", json!({"b64": false}), TokenError::Header),
            ("a key of its own", json!({"jwk": {"kty": "oct", "k": "AAAA"}}), TokenError::Header),
            ("an address of keys", json!({"jku": "https://evil.example"}), TokenError::Header),
            ("a certificate", json!({"x5c": ["AAAA"]}), TokenError::Header),
            ("an address of a certificate", json!({"x5u": "https://evil.example"}), TokenError::Header),
            ("compressed", json!({"zip": "DEF"}), TokenError::Header),
        ];
        for (name, changes, expected) in cases {
            let mut header = header(&key);
            header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let token = signed(&key, &header.to_string(), &claims().to_string());
            assert_eq!(verify(algorithm, &token, NOW).err(), Some(expected), "{algorithm:?}, {name}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // CVE-2015-9235 and its many successors: HS256 with what everybody knows as the secret.
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::PS256, Algorithm::RS256] {
        let key = access_key(algorithm);
        let jwk = key.verifying().jwk().unwrap();
        let part = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
        let raw = |name: &str| base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part(name)).unwrap();
        let public = [
            jwk.to_string().into_bytes(),
            [raw("x"), raw("y"), raw("n")].concat(),
            [&[4][..], &raw("x"), &raw("y"), &raw("n")].concat(),
            [part("x"), part("y"), part("n")].concat().into_bytes(),
        ];
        for secret in public {
            let forger = SigningKey::hs256(&secret).unwrap();
            for (kid, expected) in
                [(key.kid(), TokenError::WrongAlgorithm), (forger.kid(), TokenError::UnknownKey)]
            {
                let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}).to_string();
                let token = signed(&forger, &header, &claims().to_string());
                assert_eq!(verify(algorithm, &token, NOW).err(), Some(expected), "{algorithm:?}");
            }
            // Under our own header the signature has to be the key's.
            let token = signed(&forger, &header(&key).to_string(), &claims().to_string());
            assert_eq!(verify(algorithm, &token, NOW).err(), Some(TokenError::BadSignature), "{algorithm:?}");
        }
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let token = issued(Algorithm::EdDSA);
    let (_, payload) = token.rsplit_once('.').unwrap().0.split_once('.').unwrap();
    let kid = access_key(Algorithm::EdDSA).kid().to_owned();
    for alg in ["none", "None", "nOnE", "NONE", "EdDSA"] {
        let header = base64url(json!({"alg": alg, "typ": "at+jwt", "kid": kid}).to_string());
        assert!(verify(Algorithm::EdDSA, &format!("{header}.{payload}."), NOW).is_err(), "{alg}");
    }
    for text in
        ["", ".", "..", "...", "a.b.c", &token[..token.len() / 2], &format!("{token}."), &format!(".{token}")]
    {
        assert!(verify(Algorithm::EdDSA, text, NOW).is_err(), "{text}");
    }
}

#[test]
fn keys_verify_from_publication_to_the_end_of_their_retirement() {
    let ring = ring(Algorithm::EdDSA);
    let verify = |token: &str, now| rules().verify(&ring.snapshot(), token, now).map(|_| ());
    let old = issue(&ring, json!({})).unwrap();
    let next = access_key(Algorithm::ES256);
    let early = signed(&next, &header(&next).to_string(), &with("exp", json!(i64::MAX)).to_string());
    assert_eq!(verify(&early, NOW), Err(TokenError::UnknownKey));

    // Another node may have activated it already.
    ring.change(NOW, |keys| keys.publish(KeyPurpose::Access, next.clone(), None)).unwrap();
    assert_eq!((verify(&old, NOW), verify(&early, NOW)), (Ok(()), Ok(())));

    let overlap = rules().lifetime + rules().leeway;
    ring.change(NOW, |keys| keys.activate(next.kid(), NOW)).unwrap();
    let last_moment = NOW + overlap - MILLISECOND;
    assert_eq!((verify(&old, last_moment), verify(&early, last_moment)), (Ok(()), Ok(())));
    // As the last token it signed expires, the key goes too.
    assert_eq!(verify(&old, NOW + overlap), Err(TokenError::UnknownKey));
    assert_eq!(verify(&early, NOW + overlap), Ok(()));

    let of_previous = fixtures::ring(keys(Algorithm::ES256).accept(access_key(Algorithm::EdDSA)).unwrap());
    let long = with("exp", json!((NOW + DAY).as_secs())).to_string();
    let previous = access_key(Algorithm::EdDSA);
    let token = signed(&previous, &header(&previous).to_string(), &long);
    assert!(rules().verify(&of_previous.snapshot(), &token, NOW + DAY).is_ok());
    of_previous.change(NOW, |keys| keys.retire(previous.kid(), NOW)).unwrap();
    assert_eq!(
        rules().verify(&of_previous.snapshot(), &token, NOW + DAY).err(),
        Some(TokenError::UnknownKey)
    );
}

#[test]
fn tokens_of_another_ring_are_refused() {
    for algorithm in [Algorithm::EdDSA, Algorithm::HS256] {
        let theirs = Keys::new(SigningKey::generate(algorithm).unwrap(), refresh_key()).unwrap();
        let token = issue(&fixtures::ring(theirs), json!({})).unwrap();
        assert_eq!(verify(algorithm, &token, NOW).err(), Some(TokenError::UnknownKey));
        // And with our header on it.
        let (_, rest) = token.split_once('.').unwrap();
        let token = format!("{}.{rest}", ring(algorithm).snapshot().access[0].header);
        assert_eq!(verify(algorithm, &token, NOW).err(), Some(TokenError::BadSignature));
    }
}

// ---- Claims -----------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
enum Time {
    Accepted,
    NotYet,
    Expired,
}
use Time::{Accepted, Expired, NotYet};

#[test]
fn times_are_judged_to_the_millisecond() {
    let leeway = rules().leeway;
    let exp = NOW + 15 * MINUTE;
    let cases = [
        ("at once", json!({}), NOW, Accepted),
        ("before it was issued, within the leeway", json!({}), NOW - leeway, Accepted),
        ("before it was issued", json!({}), NOW - leeway - MILLISECOND, NotYet),
        ("at exp", json!({}), exp, Accepted),
        ("in the last millisecond of the leeway", json!({}), exp + leeway - MILLISECOND, Accepted),
        ("at exp and the leeway", json!({}), exp + leeway, Expired),
        ("a day later", json!({}), exp + DAY, Expired),
        ("nbf within the leeway", json!({"nbf": 1_800_000_030}), NOW, Accepted),
        ("nbf a second later", json!({"nbf": 1_800_000_031}), NOW, NotYet),
        ("nbf a second later, almost", json!({"nbf": 1_800_000_031}), NOW + secs(1) - MILLISECOND, NotYet),
        ("nbf a second later, then", json!({"nbf": 1_800_000_031}), NOW + secs(1), Accepted),
        ("iat within the leeway", json!({"iat": 1_800_000_030}), NOW, Accepted),
        ("iat a second later", json!({"iat": 1_800_000_031}), NOW, NotYet),
        ("nbf and iat of long ago", json!({"nbf": 0, "iat": 1}), NOW, Accepted),
        ("negative nbf and iat", json!({"nbf": -5, "iat": -5}), NOW, Accepted),
        ("exp of zero", json!({"exp": 0}), NOW, Expired),
        ("a negative exp", json!({"exp": -1}), NOW, Expired),
        ("the earliest exp", json!({"exp": i64::MIN}), NOW, Expired),
        (
            "the earliest exp, early",
            json!({"exp": i64::MIN, "iat": i64::MIN}),
            Timestamp::from_secs(i64::MIN),
            Accepted,
        ),
        ("the latest exp", json!({"exp": i64::MAX}), NOW, Accepted),
        ("an exp in milliseconds", json!({"exp": 1_800_000_900_000_i64}), NOW, Accepted),
        ("exp before iat", json!({"exp": 1_799_999_000}), NOW, Expired),
        ("the latest nbf", json!({"nbf": i64::MAX}), NOW, NotYet),
        ("the latest iat", json!({"iat": i64::MAX}), NOW, NotYet),
        ("the end of time", json!({"exp": i64::MAX}), Timestamp::from_millis(i64::MAX), Expired),
    ];
    for (name, changes, now, expected) in cases {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let found = match judged(&claims, now) {
            Ok(_) => Accepted,
            Err(TokenError::Expired) => Expired,
            Err(TokenError::NotYetValid) => NotYet,
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn without_leeway_the_second_of_exp_is_the_first_too_late() {
    let rules = AccessRules { leeway: Duration::ZERO, ..rules() };
    let ring = ring(Algorithm::HS256);
    let token = issue(&ring, json!({})).unwrap();
    let verify = |now| rules.verify(&ring.snapshot(), &token, now).err();
    assert_eq!(verify(NOW - MILLISECOND), Some(TokenError::NotYetValid));
    assert_eq!(verify(NOW), None);
    assert_eq!(verify(NOW + 15 * MINUTE - MILLISECOND), None);
    assert_eq!(verify(NOW + 15 * MINUTE), Some(TokenError::Expired));
}

#[test]
fn every_claim_has_its_json_type_and_is_there() {
    let texts = ["iss", "sub", "jti", "client_id", "sid", "preferred_username", "scope"];
    let wrong_texts = [json!(1), json!(true), json!(["x"]), json!({"x": 1})];
    let numbers = ["exp", "nbf", "iat", "auth_time"];
    let wrong_numbers = [
        json!("1800000900"),
        json!(1_800_000_900.5),
        json!(1.8e9),
        json!(9_223_372_036_854_775_808_u64),
        json!(true),
        json!([1_800_000_900]),
        json!({}),
    ];
    let lists = ["roles"];
    let wrong_lists = [
        json!("admin"),
        json!([1]),
        json!(["admin", null]),
        json!([["admin"]]),
        json!({"0": "admin"}),
        json!(1),
    ];
    let audiences = ["aud"];
    let wrong_audiences =
        [json!(1), json!([AUDIENCE, 1]), json!([[AUDIENCE]]), json!({"aud": AUDIENCE}), json!(true)];
    for (names, values) in [
        (&texts[..], &wrong_texts[..]),
        (&numbers, &wrong_numbers),
        (&lists, &wrong_lists),
        (&audiences, &wrong_audiences),
    ] {
        for name in names {
            for value in values {
                let found = judged(&with(name, value.clone()), NOW).err();
                assert_eq!(found, Some(TokenError::Claims), "{name}: {value}");
            }
            // `null` is a value of another type, not an absent claim.
            let null = claims().to_string().replacen('{', &format!("{{\"{name}\":null,"), 1);
            let null = verify(Algorithm::HS256, &with_claims(&null), NOW).err();
            assert_eq!(null, Some(TokenError::Claims), "{name}: null");
        }
    }
    for name in claims().as_object().unwrap().keys() {
        let expected = match name.as_str() {
            "scope" => None,
            "aud" => Some(TokenError::WrongAudience),
            _ => Some(TokenError::Claims),
        };
        assert_eq!(judged(&with(name, Value::Null), NOW).err(), expected, "without {name}");
    }
    for name in ["sub", "sid", "jti", "client_id"] {
        assert_eq!(judged(&with(name, json!("")), NOW).err(), Some(TokenError::Claims), "empty {name}");
    }
    assert!(judged(&with("preferred_username", json!("")), NOW).is_ok());
    assert!(judged(&with("roles", json!([])), NOW).unwrap().roles().is_empty());
}

#[test]
fn issuer_and_audience_are_compared_whole() {
    let wrong = |ours: &str| {
        vec![
            String::new(),
            format!("{ours}/"),
            format!("{ours} "),
            format!(" {ours}"),
            format!("{ours}.evil.example"),
            format!("{ours}\0"),
            ours[..ours.len() - 1].to_owned(),
            ours.to_uppercase(),
            ours.replace("https", "http"),
            ours.replace("https://", ""),
            format!("{ours},{ours}"),
        ]
    };
    for iss in wrong(ISSUER).into_iter().chain([AUDIENCE.to_owned()]) {
        assert_eq!(judged(&with("iss", json!(iss)), NOW).err(), Some(TokenError::WrongIssuer), "{iss:?}");
    }
    for aud in wrong(AUDIENCE).into_iter().chain([ISSUER.to_owned()]) {
        assert_eq!(judged(&with("aud", json!(aud)), NOW).err(), Some(TokenError::WrongAudience), "{aud:?}");
        assert_eq!(
            judged(&with("aud", json!([aud])), NOW).err(),
            Some(TokenError::WrongAudience),
            "[{aud:?}]"
        );
    }
    for (aud, expected) in [
        (json!([AUDIENCE]), true),
        (json!(["https://other.example", AUDIENCE]), true),
        (json!([AUDIENCE, AUDIENCE]), true),
        (json!([]), false),
        (json!(["https://other.example"]), false),
        (json!([""]), false),
    ] {
        assert_eq!(judged(&with("aud", aud.clone()), NOW).is_ok(), expected, "{aud}");
    }
}

#[test]
fn claims_are_one_strict_object() {
    let good = claims().to_string();
    let first = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    for (name, text) in [
        ("exp twice, equal", first(r#""exp":1800000900"#)),
        ("exp twice", first(r#""exp":9999999999"#)),
        ("exp twice, once escaped", first(r#""\u0065xp":9999999999"#)),
        ("sub twice", first(r#""sub":"somebody else""#)),
        ("a claim of the host's twice", first(r#""x":1,"x":1"#)),
        ("a member twice inside", first(r#""x":{"a":1,"a":2}"#)),
        ("a list", format!("[{good}]")),
        ("a text", "\"claims\"".to_owned()),
        ("nothing", String::new()),
        ("something after it", format!("{good}x")),
        ("a second object", format!("{good}{good}")),
        ("a comma at the end", good.replace("]}", "],}").replace("\"}", "\",}")),
        ("a byte order mark", format!("\u{feff}{good}")),
        ("a lone surrogate", first(r#""x":"\ud800""#)),
        ("a leading zero", first(r#""x":01"#)),
        ("a comment", first("/**/\"x\":1")),
        ("too deep", first(&format!("\"x\":{}{}", "[".repeat(16), "]".repeat(16)))),
    ] {
        let found = verify(Algorithm::HS256, &with_claims(&text), NOW).err();
        assert_eq!(found, Some(TokenError::Claims), "{name}");
    }
    let key = access_key(Algorithm::HS256);
    let not_utf8 = [&good.as_bytes()[..good.len() - 1], b",\"x\":\"\xff\"}"].concat();
    let token = jws::sign(&key, &base64url(header(&key).to_string()), &not_utf8).unwrap();
    assert_eq!(verify(Algorithm::HS256, &token, NOW).err(), Some(TokenError::Claims));
    // What others may add does no harm.
    for text in
        [first(r#""x":{"exp":0,"sub":""}"#), format!(" {good}\n"), first(r#""":null,"act":{"sub":"x"}"#)]
    {
        assert!(verify(Algorithm::HS256, &with_claims(&text), NOW).is_ok(), "{text}");
    }
}

/// A token before it is signed, and what is done to it then.
struct Draft {
    header: Value,
    claims: Value,
    forged: bool,
    fourth_part: bool,
}

type Edit = fn(&mut Draft);

#[test]
fn the_first_rule_that_fails_is_the_one_that_is_told() {
    // In the order of the contract's section 3. Expiry comes last: a client is told of it only where all else was good.
    let rules: [(&str, Edit, TokenError); 11] = [
        ("four parts", |draft| draft.fourth_part = true, TokenError::Malformed),
        ("a critical extension", |draft| draft.header["crit"] = json!(["exp"]), TokenError::Header),
        ("an unknown key", |draft| draft.header["kid"] = json!("unknown"), TokenError::UnknownKey),
        ("another algorithm", |draft| draft.header["alg"] = json!("none"), TokenError::WrongAlgorithm),
        ("another type", |draft| draft.header["typ"] = json!("JWT"), TokenError::WrongType),
        ("a forged signature", |draft| draft.forged = true, TokenError::BadSignature),
        ("roles that are no list", |draft| draft.claims["roles"] = json!("admin"), TokenError::Claims),
        ("another issuer", |draft| draft.claims["iss"] = json!("x"), TokenError::WrongIssuer),
        ("another audience", |draft| draft.claims["aud"] = json!("x"), TokenError::WrongAudience),
        ("not valid yet", |draft| draft.claims["nbf"] = json!(i64::MAX), TokenError::NotYetValid),
        ("an empty subject", |draft| draft.claims["sub"] = json!(""), TokenError::Claims),
    ];
    let expired: Edit = |draft| draft.claims["exp"] = json!(1);
    let key = access_key(Algorithm::HS256);
    let found = |edits: &[Edit]| {
        let mut draft = Draft { header: header(&key), claims: claims(), forged: false, fourth_part: false };
        for edit in edits {
            edit(&mut draft);
        }
        let signer = if draft.forged { SigningKey::hs256(&[1; 32]).unwrap() } else { key.clone() };
        let mut token = signed(&signer, &draft.header.to_string(), &draft.claims.to_string());
        if draft.fourth_part {
            token.push_str(".part");
        }
        verify(Algorithm::HS256, &token, NOW).err()
    };
    for (i, (name, edit, expected)) in rules.iter().enumerate() {
        assert_eq!(found(&[*edit]), Some(*expected), "{name}");
        assert_eq!(found(&[*edit, expired]), Some(*expected), "{name}, and expired");
        for (later, other, _) in &rules[i + 1..] {
            assert_eq!(found(&[*edit, *other]), Some(*expected), "{name} before {later}");
        }
    }
    assert_eq!(found(&[expired]), Some(TokenError::Expired));
    assert_eq!(found(&[]), None);
}

// ---- Against jsonwebtoken ---------------------------------------------------------------------------------------

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(9068),
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

#[derive(Clone, Debug)]
enum Damage {
    Replace(prop::sample::Index, char),
    Insert(prop::sample::Index, char),
    Delete(prop::sample::Index),
    Cut(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    PartOf(Algorithm, usize),
    Repeat(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>;
    let character =
        || prop_oneof!["[A-Za-z0-9_-]", "[ .=+/\n\u{e9}\u{0}]"].prop_map(|text| text.chars().next().unwrap());
    prop_oneof![
        (place(), character()).prop_map(|(at, c)| Damage::Replace(at, c)),
        (place(), character()).prop_map(|(at, c)| Damage::Insert(at, c)),
        place().prop_map(Damage::Delete),
        place().prop_map(Damage::Cut),
        (place(), place()).prop_map(|(a, b)| Damage::Swap(a, b)),
        (prop::sample::select(&ALGORITHMS[..]), 0..3_usize)
            .prop_map(|(algorithm, part)| Damage::PartOf(algorithm, part)),
        (0..3_usize).prop_map(Damage::Repeat),
    ]
}

/// The token after the damage; `tokens` has one of each algorithm.
fn damaged(tokens: &[String], token: &str, damage: &Damage) -> String {
    let mut characters: Vec<_> = token.chars().collect();
    match damage {
        Damage::Replace(at, c) => {
            let at = at.index(characters.len());
            characters[at] = *c;
        }
        Damage::Insert(at, c) => characters.insert(at.index(characters.len() + 1), *c),
        Damage::Delete(at) => {
            characters.remove(at.index(characters.len()));
        }
        Damage::Cut(at) => characters.truncate(at.index(characters.len()).max(1)),
        Damage::Swap(a, b) => {
            let (a, b) = (a.index(characters.len()), b.index(characters.len()));
            characters.swap(a, b);
        }
        Damage::PartOf(algorithm, part) => {
            let other = &tokens[ALGORITHMS.iter().position(|other| other == algorithm).unwrap()];
            let mut parts: Vec<_> = token.split('.').collect();
            let part = *part % parts.len();
            parts[part] = other.split('.').nth(part).unwrap_or_default();
            return parts.join(".");
        }
        Damage::Repeat(part) => {
            let mut parts: Vec<_> = token.split('.').collect();
            let part = *part % parts.len();
            parts.insert(part, parts[part]);
            return parts.join(".");
        }
    }
    characters.into_iter().collect()
}

#[test]
fn no_damaged_token_is_accepted() {
    let tokens = ALGORITHMS.map(issued);
    let damages = (0..tokens.len(), prop::collection::vec(damage(), 1..4));
    let unharmed = Cell::new(0);
    runner(3000)
        .run(&damages, |(which, damages)| {
            let (algorithm, token) = (ALGORITHMS[which], &tokens[which]);
            let changed =
                damages.iter().fold(token.clone(), |token, damage| damaged(&tokens, &token, damage));
            let ours = verify(algorithm, &changed, NOW).is_ok();
            prop_assert_eq!(ours, changed == *token, "{}", changed);
            prop_assert!(!ours || oracle(algorithm, &changed), "jsonwebtoken refuses {}", changed);
            unharmed.set(unharmed.get() + u32::from(ours));
            Ok(())
        })
        .unwrap();
    assert!(unharmed.get() < 300, "{} of 3000 tokens were not damaged", unharmed.get());
}

/// Values for a member: good, nearly good, and of every other type.
fn value(good: Value) -> impl Strategy<Value = Value> {
    let others = [
        json!(null),
        json!(""),
        json!("x"),
        json!(0),
        json!(-1),
        json!(1_800_000_000.5),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(true),
        json!([]),
        json!([1]),
        json!({}),
        json!([good]),
        json!([good, "x"]),
        json!(["x", good]),
        json!(good.to_string()),
    ];
    prop_oneof![3 => Just(good), 1 => prop::sample::select(others.to_vec())]
}

#[test]
fn nothing_that_jsonwebtoken_refuses_is_accepted() {
    let good = claims();
    let names: Vec<_> = good.as_object().unwrap().keys().cloned().collect();
    let member = prop::sample::select(names).prop_flat_map(move |name| {
        let good = good[&name].clone();
        (Just(name), value(good), any::<bool>())
    });
    let headers = prop::sample::select(vec![
        json!({}),
        json!({"typ": "application/at+jwt"}),
        json!({"typ": "JWT"}),
        json!({"typ": null}),
        json!({"alg": "none"}),
        json!({"alg": "HS384"}),
        json!({"alg": null}),
        json!({"kid": "x"}),
        json!({"kid": null}),
        json!({"kid": 1}),
        json!({"unknown": [1]}),
        json!({"crit": ["exp"]}),
        json!({"b64": false}),
    ]);
    let drafts = (
        prop::sample::select(vec![Algorithm::HS256, Algorithm::EdDSA, Algorithm::ES256]),
        prop_oneof![3 => Just(json!({})), 1 => headers],
        prop::collection::vec(member, 0..3),
    );
    let accepted = Cell::new(0);
    runner(4000)
        .run(&drafts, |(algorithm, header_edit, edits)| {
            let key = access_key(algorithm);
            let mut header = header(&key);
            header.as_object_mut().unwrap().extend(header_edit.as_object().unwrap().clone());
            let mut claims = claims();
            let mut twice = Vec::new();
            for (name, value, again) in edits {
                if again {
                    twice.push(format!("\"{name}\":{value},"));
                } else {
                    claims[name] = value;
                }
            }
            let claims = claims.to_string().replacen('{', &format!("{{{}", twice.concat()), 1);
            let token = signed(&key, &header.to_string(), &claims);
            let ours = verify(algorithm, &token, NOW);
            prop_assert!(ours.is_err() || oracle(algorithm, &token), "{} {}", header, claims);
            prop_assert!(ours.is_err() || twice.is_empty(), "a member stands twice: {}", claims);
            accepted.set(accepted.get() + u32::from(ours.is_ok()));
            Ok(())
        })
        .unwrap();
    // Both outcomes are seen, or nothing was compared.
    assert!((400..3000).contains(&accepted.get()), "{} of 4000", accepted.get());
}

// ---- Guards -----------------------------------------------------------------------------------------------------

#[test]
fn roles_are_compared_byte_for_byte() {
    let principal = judged(&claims(), NOW).unwrap();
    for (role, expected) in [
        ("admin", true),
        ("editor", true),
        ("Admin", false),
        ("admi", false),
        ("admin ", false),
        ("", false),
        ("editor admin", false),
    ] {
        assert_eq!(principal.has_role(role), expected, "{role:?}");
        assert_eq!(principal.require_role(role).is_ok(), expected, "{role:?}");
    }
    assert!(matches!(principal.require_role("owner"), Err(AuthError::InsufficientScope(None))));
}

#[test]
fn every_scope_asked_for_has_to_be_granted() {
    for (granted, wanted, expected) in [
        (Some("read write"), "read", true),
        (Some("read write"), "write read", true),
        (Some("read write"), "read  write ", true),
        (Some("read write"), "", true),
        (Some("read write"), "read admin", false),
        (Some("read write"), "rea", false),
        (Some("read write"), "reads", false),
        (Some("read write"), "READ", false),
        (Some("read write"), "read\twrite", false),
        (Some(""), "read", false),
        (None, "read", false),
        (None, "", true),
    ] {
        assert_eq!(scope_covers(granted, wanted), expected, "{wanted:?} of {granted:?}");
        let scope = granted.map_or(Value::Null, |granted| json!(granted));
        let principal = judged(&with("scope", scope), NOW).unwrap();
        match principal.require_scope(wanted) {
            Ok(()) => assert!(expected),
            Err(AuthError::InsufficientScope(Some(told))) => assert!(!expected && told == wanted),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_fresh_login_is_measured_in_whole_seconds() {
    let principal = judged(&claims(), NOW).unwrap();
    let proved = NOW - secs(2);
    let fresh = |now| principal.require_fresh(secs(300), now);
    assert!(fresh(proved).is_ok());
    assert!(fresh(proved + secs(301) - MILLISECOND).is_ok());
    assert!(matches!(
        fresh(proved + secs(301)),
        Err(AuthError::InsufficientAuthentication { max_age }) if max_age == secs(300)
    ));
    // A clock that steps back makes nobody's login old.
    assert!(fresh(proved - DAY).is_ok());
}

#[test]
fn what_we_issue_is_what_is_read_where_it_stands() {
    let ring = ring(Algorithm::HS256);
    for own in [json!({}), json!({"tenant": {"id": 7}, "a": null})] {
        let token = issue(&ring, own.clone()).unwrap();
        let payload = token.split('.').nth(1).unwrap();
        let text = String::from_utf8(base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).unwrap()).unwrap();
        assert!(Claims::as_written(&text).is_some(), "{text}");
        let mut all = claims();
        all.as_object_mut().unwrap().append(own.as_object().cloned().as_mut().unwrap());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), all);
    }
}

#[test]
fn claims_as_we_write_them_are_read_as_in_any_form_and_no_others_so() {
    let written = concat!(
        r#"{"iss":"i","sub":"s","aud":"a","exp":3,"iat":2,"jti":"j","client_id":"c","sid":"d","auth_time":1,"#,
        r#""preferred_username":"é b","roles":["x","y"],"scope":"p q","own":{"a":[1]},"other":null}"#
    );
    let both = |text: &str| (Claims::as_written(text), Claims::in_any_form(&mut text.to_owned()));
    let same = |text: &str| match both(text) {
        (Some(quick), general) => {
            assert_eq!(Ok(quick), general, "{text}");
            true
        }
        (None, _) => false,
    };
    assert!(same(written));
    let deepest = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (part, other) in [
        (r#","scope":"p q""#, ""),
        (r#","own":{"a":[1]},"other":null"#, ""),
        (r#"["x","y"]"#, "[]"),
        (r#"["x","y"]"#, r#"[ "\u0078" ]"#),
        ("null}", "null} "),
        (r#""exp":3"#, r#""exp":999999999999999999"#),
        ("null", &deepest(15)),
    ] {
        assert!(same(&written.replace(part, other)), "{other}");
    }
    // In another form, which is worth no less.
    for (part, other) in [
        (r#""i""#, r#""\u0069""#),
        (r#""iss":"i","sub":"s""#, r#""sub":"s","iss":"i""#),
        (r#""a","#, r#"["a"],"#),
        (",", ", "),
        (r#"{"iss"#, r#" {"iss"#),
        (r#""exp":3"#, r#""exp":0"#),
        (r#""exp":3"#, r#""exp":-3"#),
        (r#""exp":3"#, r#""exp":1000000000000000000"#),
        (r#""other":null"#, r#""nbf":1"#),
    ] {
        let (quick, general) = both(&written.replace(part, other));
        assert!(quick.is_none() && general.is_ok(), "{other}");
    }
    for (part, other, reason) in [
        ("other", "own", JsonError::Duplicate),
        ("other", r"\u006fwn", JsonError::Duplicate),
        (r#""other":null"#, r#""iss":"i""#, JsonError::Duplicate),
        (r#""other":null"#, r#""\u0069ss":"i""#, JsonError::Duplicate),
        ("null", &deepest(16), JsonError::TooDeep),
        ("null", "nul", JsonError::Malformed),
        ("null", "null,", JsonError::Malformed),
        ("null}", "null}x", JsonError::Malformed),
        (r#""i""#, "\"i\n\"", JsonError::Malformed),
        (r#""exp":3"#, r#""exp":03"#, JsonError::Malformed),
        (r#""exp":3"#, r#""exp":"#, JsonError::Malformed),
        (r#""exp":3"#, r#""exp":"3""#, JsonError::Type),
        (r#""exp":3"#, r#""exp":3.0"#, JsonError::Type),
        (r#""exp":3"#, r#""exp":9999999999999999999"#, JsonError::Type),
        (r#"["x","y"]"#, r#"["x",1]"#, JsonError::Type),
        (r#""j""#, "null", JsonError::Type),
    ] {
        assert_eq!(both(&written.replace(part, other)), (None, Err(reason)), "{other}");
    }
    // And whatever else the lack of one byte makes of it, or another one in its place or before it.
    let others = ["", "\"", "\\", ",", ":", "{", "}", "[", "]", "0", "1", "-", ".", "e", " ", "\n", "a", "é"];
    for (at, byte) in written.char_indices() {
        let (before, after) = (&written[..at], &written[at + byte.len_utf8()..]);
        assert!(!same(before), "{before}");
        for other in others {
            same(&format!("{before}{other}{after}"));
            same(&format!("{before}{other}{byte}{after}"));
        }
    }
}

#[test]
fn what_is_written_with_escapes_is_told_as_it_is_meant() {
    let mut own = claims();
    own["own"] = json!({"a": 1});
    let plain = judged(&own, NOW).unwrap();
    let text = own.to_string().replace("alice", r"al\u0069ce").replace("editor", r"\u0065ditor");
    assert!(text.contains('\\'));
    let escaped = verify(Algorithm::HS256, &with_claims(&text), NOW).unwrap();
    assert_eq!(escaped.username(), plain.username());
    assert_eq!(escaped.subject(), plain.subject());
    assert_eq!(escaped.roles(), plain.roles());
    // Nothing of it is among the claims that were signed.
    let told: serde_json::Value = escaped.claims().unwrap();
    assert_eq!(told, own);
}

#[test]
fn a_principal_prints_its_id_and_roles_and_neither_name_nor_claims() {
    let keys = ring(Algorithm::EdDSA);
    let token = issue(&keys, json!({"tenant": "secret tenant"})).unwrap();
    let principal = rules().verify(&keys.snapshot(), &token, NOW).unwrap();
    let text = format!("{principal:?} {principal:#?}");
    for shown in [principal.subject().as_str(), &principal.roles()[0]] {
        assert!(text.contains(shown), "{text}");
    }
    for hidden in ["secret tenant", "Alice", "token-id", "session-of-alice", &token] {
        assert!(!text.contains(hidden), "{text}");
    }
}

#[test]
fn an_operator_is_told_what_the_token_says_beside_what_was_expected() {
    let key = access_key(Algorithm::HS256);
    let expected = Expectation {
        issuer: Some(ISSUER.to_owned()),
        audience: Some(AUDIENCE.to_owned()),
        leeway: secs(30),
    };
    let told = |claims: &Value, about: &str| {
        let found = inspect(&with_claims(&claims.to_string()), &[key.verifying().clone()], &expected, NOW);
        let check = found.checks.iter().find(|check| check.about == about).unwrap();
        match &check.finding {
            Finding::Passed(what) => format!("passed: {what}"),
            Finding::Failed(reason, what) => format!("{reason:?}: {what}"),
            Finding::Skipped(why) => format!("skipped: {why}"),
        }
    };
    assert_eq!(told(&claims(), "issuer"), format!("passed: {ISSUER:?}"));
    assert_eq!(told(&claims(), "audience"), format!("passed: {AUDIENCE:?}"));
    assert_eq!(told(&claims(), "needed claims"), "passed: all there");
    assert!(told(&claims(), "expiry").ends_with(", 900 s left"));
    for (name, value, about, expected) in [
        ("iss", json!("other"), "issuer", format!("WrongIssuer: \"other\", expected {ISSUER:?}")),
        ("aud", json!("other"), "audience", format!("WrongAudience: [\"other\"], expected {AUDIENCE:?}")),
        (
            "aud",
            json!(["a", "b"]),
            "audience",
            format!("WrongAudience: [\"a\", \"b\"], expected {AUDIENCE:?}"),
        ),
        ("aud", Value::Null, "audience", format!("WrongAudience: [], expected {AUDIENCE:?}")),
        ("sid", Value::Null, "needed claims", "Claims: missing: sid".to_owned()),
        ("sub", json!(""), "needed claims", "Claims: sub, sid, jti or client_id is empty".to_owned()),
    ] {
        assert_eq!(told(&with(name, value), about), expected);
    }
    for (name, seconds, about, end) in [
        ("nbf", 31, "not before", format!(", 31 s from now ({NOW})")),
        ("exp", -30, "expiry", format!(", 30 s before {NOW}")),
        ("exp", -29, "expiry", ", within the leeway".to_owned()),
        ("exp", 1, "expiry", ", 1 s left".to_owned()),
    ] {
        let at = NOW.as_secs() + seconds;
        let found = told(&with(name, json!(at)), about);
        assert!(found.ends_with(&end), "{found}");
    }
}
