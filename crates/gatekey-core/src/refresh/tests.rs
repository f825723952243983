use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::{Value, json};

use super::*;
use crate::{
    fixtures::{self, ALGORITHMS, DAY, FaultyRandom, NOW, access_key, keys, refresh_key, secs},
    keys::{Algorithm, KeyRing, Keys, SigningKey},
    random::{RandomFailed, SystemRandom},
};

const ISSUER: &str = "https://app.example.com";
const MILLISECOND: Duration = Duration::from_millis(1);

fn rules() -> RefreshRules {
    RefreshRules { issuer: ISSUER.to_owned(), lifetime: 7 * DAY }
}

fn ring() -> KeyRing {
    fixtures::ring(keys(Algorithm::EdDSA))
}

fn sid() -> SessionId {
    SessionId::new("session-of-alice")
}

fn issued(generation: u64) -> RefreshToken {
    rules().issue(&ring().snapshot(), &sid(), generation, NOW + 7 * DAY, &SystemRandom, NOW).unwrap()
}

fn verify(token: &str, now: Timestamp) -> Result<Presented, TokenError> {
    rules().verify(&ring().snapshot(), token, now)
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part).unwrap()).unwrap()
}

fn header() -> Value {
    json!({"alg": "HS256", "typ": "rt+jwt", "kid": refresh_key().kid()})
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sid": "session-of-alice", "gen": 4, "jti": "any text",
        "iat": 1_800_000_000, "exp": 1_800_604_800,
    })
}

/// Signs any header and claims with the refresh secret.
fn signed(header: &Value, claims: &str) -> String {
    jws::sign(&refresh_key(), &base64url(header.to_string()), claims.as_bytes()).unwrap()
}

// ---- The token --------------------------------------------------------------------------------------------------

#[test]
fn a_token_says_what_the_contract_says_and_holds_256_random_bits() {
    let token = issued(4);
    let [head, payload, _] = token.expose().split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    assert_eq!(decoded(head), header());
    let mut payload = decoded(payload);
    let id = payload["jti"].take();
    assert_eq!(
        payload,
        json!({
            "iss": ISSUER, "sid": "session-of-alice", "gen": 4, "jti": null,
            "iat": 1_800_000_000, "exp": 1_800_604_800,
        })
    );
    let id = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(id.as_str().unwrap()).unwrap();
    assert_eq!(id.len(), 32);
    assert_ne!(issued(4).expose(), token.expose());
    assert_eq!(format!("{token:?}"), "[redacted]");
}

#[test]
fn a_token_names_its_session_its_generation_and_its_digest() {
    let token = issued(4);
    let expected = Presented { session: sid(), generation: 4, digest: digest(token.expose()) };
    assert_eq!(verify(token.expose(), NOW), Ok(expected));
}

#[test]
fn a_digest_is_the_sha_256_of_the_text() {
    // FIPS 180-4: "abc".
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let hex: String = digest("abc").0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, abc);
    assert_eq!(format!("{:?}", digest("abc")), "[digest]");
}

#[test]
fn a_token_lives_for_its_lifetime_and_never_past_the_session() {
    let rules = rules();
    let half_past = NOW + Duration::from_millis(500);
    for (name, absolute, now, expected) in [
        ("the lifetime", NOW + 30 * DAY, NOW, NOW + 7 * DAY),
        ("the session's end", NOW + 5 * DAY, NOW, NOW + 5 * DAY),
        ("in whole seconds", NOW + 30 * DAY, half_past, NOW + 7 * DAY),
        ("the session's end in whole seconds", half_past, NOW, NOW),
    ] {
        assert_eq!(rules.expiry(absolute, now), expected, "{name}");
    }
}

#[test]
fn there_is_no_leeway() {
    let token = issued(0);
    let exp = NOW + 7 * DAY;
    assert!(verify(token.expose(), exp - MILLISECOND).is_ok());
    assert_eq!(verify(token.expose(), exp), Err(TokenError::Expired));
    // A clock that stepped back refuses nobody.
    assert!(verify(token.expose(), NOW - DAY).is_ok());
}

#[test]
fn a_token_that_is_not_exactly_ours_is_refused() {
    let set = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims.to_string()
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        claims.to_string()
    };
    let good = claims().to_string();
    let mut cases = vec![
        ("good".to_owned(), json!({}), good.clone(), None),
        ("good, its type in full".to_owned(), json!({"typ": "application/rt+jwt"}), good.clone(), None),
        ("a claim we do not know".to_owned(), json!({}), set("x", json!([{"exp": 0}])), None),
        ("an access token".to_owned(), json!({"typ": "at+jwt"}), good.clone(), Some(TokenError::WrongType)),
        ("any JWT".to_owned(), json!({"typ": "JWT"}), good.clone(), Some(TokenError::WrongType)),
        ("an unknown key".to_owned(), json!({"kid": "x"}), good.clone(), Some(TokenError::UnknownKey)),
        (
            "the access key".to_owned(),
            json!({"kid": access_key(Algorithm::EdDSA).kid()}),
            good.clone(),
            Some(TokenError::UnknownKey),
        ),
        ("no algorithm".to_owned(), json!({"alg": "none"}), good.clone(), Some(TokenError::WrongAlgorithm)),
        (
            "another algorithm".to_owned(),
            json!({"alg": "HS512"}),
            good.clone(),
            Some(TokenError::WrongAlgorithm),
        ),
        ("crit".to_owned(), json!({"crit": []}), good.clone(), Some(TokenError::Header)),
        (
            "another issuer".to_owned(),
            json!({}),
            set("iss", json!("https://app.example.com/")),
            Some(TokenError::WrongIssuer),
        ),
        ("exp of zero".to_owned(), json!({}), set("exp", json!(0)), Some(TokenError::Expired)),
        ("the earliest exp".to_owned(), json!({}), set("exp", json!(i64::MIN)), Some(TokenError::Expired)),
        ("the latest exp".to_owned(), json!({}), set("exp", json!(i64::MAX)), None),
        ("an empty session".to_owned(), json!({}), set("sid", json!("")), Some(TokenError::Claims)),
        ("the longest session".to_owned(), json!({}), set("sid", json!("x".repeat(64))), None),
        (
            "a longer session".to_owned(),
            json!({}),
            set("sid", json!("x".repeat(65))),
            Some(TokenError::Claims),
        ),
        ("an empty jti".to_owned(), json!({}), set("jti", json!("")), Some(TokenError::Claims)),
        ("a negative generation".to_owned(), json!({}), set("gen", json!(-1)), Some(TokenError::Claims)),
        ("the greatest generation".to_owned(), json!({}), set("gen", json!(i64::MAX)), None),
        ("a greater generation".to_owned(), json!({}), set("gen", json!(u64::MAX)), Some(TokenError::Claims)),
        (
            "exp twice".to_owned(),
            json!({}),
            good.replacen('{', "{\"exp\":9999999999,", 1),
            Some(TokenError::Claims),
        ),
        ("a list".to_owned(), json!({}), format!("[{good}]"), Some(TokenError::Claims)),
    ];
    for name in ["iss", "sid", "jti", "gen", "iat", "exp"] {
        cases.push((format!("without {name}"), json!({}), without(name), Some(TokenError::Claims)));
        let wrong = if claims()[name].is_string() { json!(1) } else { json!("1800604800") };
        for wrong in [wrong, json!(null), json!([1]), json!(1.5)] {
            let text = set(name, wrong);
            cases.push((
                format!("{name} of another type: {text}"),
                json!({}),
                text,
                Some(TokenError::Claims),
            ));
        }
    }
    for (name, changes, claims, expected) in cases {
        let mut header = header();
        header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        assert_eq!(verify(&signed(&header, &claims), NOW).err(), expected, "{name}");
    }
}

#[test]
fn a_token_with_any_byte_changed_is_refused() {
    let token = issued(0);
    let token = token.expose();
    for position in 0..token.len() {
        for bit in 0..7 {
            let mut changed = token.to_owned().into_bytes();
            changed[position] ^= 1 << bit;
            let changed = String::from_utf8(changed).unwrap();
            assert!(verify(&changed, NOW).is_err(), "{changed}");
        }
    }
    for text in ["", "a.b.c", &token[1..], &format!("{token}."), &format!("{token}="), &"a".repeat(9000)] {
        assert!(verify(text, NOW).is_err(), "{text}");
    }
}

#[test]
fn access_and_refresh_tokens_never_pass_for_each_other() {
    for algorithm in ALGORITHMS {
        let ring = fixtures::ring(keys(algorithm));
        let keys = ring.snapshot();
        let access = access_key(algorithm);
        // With everything the other kind asks for, signed by its own key and by the other's.
        let claims = json!({
            "iss": ISSUER, "aud": ISSUER, "sub": "alice", "sid": "session-of-alice", "gen": 0, "jti": "x",
            "client_id": "gatekey", "auth_time": 1, "preferred_username": "Alice", "roles": [],
            "iat": 1_800_000_000, "exp": 1_800_000_900,
        })
        .to_string();
        let access_rules = crate::access::AccessRules {
            issuer: ISSUER.to_owned(),
            audience: ISSUER.to_owned(),
            client_id: "gatekey".to_owned(),
            lifetime: secs(900),
            leeway: secs(30),
        };
        let sign = |key: &SigningKey, typ: &str| {
            let header = jws::header_segment(key.verifying(), typ);
            jws::sign(key, &header, claims.as_bytes()).unwrap()
        };
        let refresh = refresh_key();
        for (name, token, as_access, as_refresh) in [
            ("access", sign(&access, "at+jwt"), true, false),
            ("refresh", sign(&refresh, "rt+jwt"), false, true),
            ("access key, refresh type", sign(&access, "rt+jwt"), false, false),
            ("refresh key, access type", sign(&refresh, "at+jwt"), false, false),
        ] {
            assert_eq!(access_rules.verify(&keys, &token, NOW).is_ok(), as_access, "{algorithm:?}, {name}");
            assert_eq!(rules().verify(&keys, &token, NOW).is_ok(), as_refresh, "{algorithm:?}, {name}");
        }
    }
}

#[test]
fn a_previous_secret_still_verifies_and_signs_nothing() {
    let token = issued(0);
    let new = || SigningKey::hs256(&[9; 32]).unwrap();
    let replaced = fixtures::ring(Keys::new(access_key(Algorithm::EdDSA), new()).unwrap());
    assert_eq!(rules().verify(&replaced.snapshot(), token.expose(), NOW), Err(TokenError::UnknownKey));

    let both = Keys::new(access_key(Algorithm::EdDSA), new()).unwrap().accept_refresh(refresh_key()).unwrap();
    let both = fixtures::ring(both).snapshot();
    assert!(rules().verify(&both, token.expose(), NOW).is_ok());
    let fresh = rules().issue(&both, &sid(), 1, NOW + DAY, &SystemRandom, NOW).unwrap();
    assert!(rules().verify(&replaced.snapshot(), fresh.expose(), NOW).is_ok());
    assert_eq!(verify(fresh.expose(), NOW), Err(TokenError::UnknownKey));
}

// ---- Sealing ----------------------------------------------------------------------------------------------------

fn sealed(presented: &str, generation: u64, token: &RefreshToken) -> Successor {
    seal(presented, &sid(), generation, token, NOW + DAY, &SystemRandom).unwrap()
}

fn opened(
    presented: &str,
    session: &SessionId,
    generation: u64,
    live: Digest,
    sealed: &[u8],
) -> Option<String> {
    unseal(presented, session, generation, live, sealed).map(|token| token.expose().clone())
}

#[test]
fn who_presents_the_parent_reads_its_successor() {
    let (parent, child) = (issued(4), issued(5));
    let successor = sealed(parent.expose(), 5, &child);
    assert_eq!(successor.generation, 5);
    assert_eq!(successor.digest, digest(child.expose()));
    assert_eq!(successor.expires_at, NOW + DAY);
    let found = opened(parent.expose(), &sid(), 5, successor.digest, &successor.sealed);
    assert_eq!(found.as_ref(), Some(child.expose()));
}

#[test]
fn a_seal_opens_for_its_parent_session_generation_and_token_alone() {
    let (parent, child, other) = (issued(4), issued(5), issued(4));
    let Successor { digest: live, sealed, .. } = sealed(parent.expose(), 5, &child);
    let parent = parent.expose().as_str();
    for (name, presented, session, generation, live) in [
        ("another token of that generation", other.expose().as_str(), sid(), 5, live),
        ("the successor itself", child.expose(), sid(), 5, live),
        ("the parent with a character more", &format!("{parent}x"), sid(), 5, live),
        ("the parent without its last character", &parent[..parent.len() - 1], sid(), 5, live),
        ("nothing", "", sid(), 5, live),
        ("another session", parent, SessionId::new("session-of-bob"), 5, live),
        ("the generation before", parent, sid(), 4, live),
        ("the generation after", parent, sid(), 6, live),
        ("another live token", parent, sid(), 5, digest(other.expose())),
        ("the parent as the live token", parent, sid(), 5, digest(parent)),
    ] {
        assert_eq!(opened(presented, &session, generation, live, &sealed), None, "{name}");
    }
}

#[test]
fn session_and_generation_cannot_flow_into_each_other() {
    // Both are bound as bytes, the generation with a fixed length.
    let (parent, child) = (issued(4), issued(5));
    let generation = u64::from_be_bytes(*b"abcdefgh");
    let session = SessionId::new("s");
    let successor = seal(parent.expose(), &session, generation, &child, NOW + DAY, &SystemRandom).unwrap();
    let shifted = SessionId::new("sa");
    for other in [u64::from_be_bytes(*b"bcdefgh\0"), u64::from_be_bytes(*b"\0bcdefgh"), generation] {
        assert_eq!(opened(parent.expose(), &shifted, other, successor.digest, &successor.sealed), None);
    }
}

#[test]
fn a_seal_with_any_bit_changed_or_any_byte_missing_stays_shut() {
    let (parent, child) = (issued(4), issued(5));
    let Successor { digest: live, sealed, .. } = sealed(parent.expose(), 5, &child);
    assert_eq!(sealed.len(), NONCE_LEN + child.expose().len() + 16);
    for position in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[position] ^= 1 << bit;
            assert_eq!(opened(parent.expose(), &sid(), 5, live, &changed), None, "bit {bit} of {position}");
        }
        assert_eq!(opened(parent.expose(), &sid(), 5, live, &sealed[..position]), None, "{position} bytes");
    }
    let longer = [&sealed[..], &[0]].concat();
    assert_eq!(opened(parent.expose(), &sid(), 5, live, &longer), None);
}

#[test]
fn two_seals_of_the_same_differ() {
    let (parent, child) = (issued(4), issued(5));
    let (a, b) = (sealed(parent.expose(), 5, &child), sealed(parent.expose(), 5, &child));
    assert_ne!(a.sealed[..NONCE_LEN], b.sealed[..NONCE_LEN]);
    // Not the nonce alone: nothing of the two ciphertexts agrees for long.
    let longest_agreement = a.sealed[NONCE_LEN..]
        .iter()
        .zip(&b.sealed[NONCE_LEN..])
        .map(|(a, b)| a == b)
        .collect::<Vec<_>>()
        .split(|equal| !equal)
        .map(<[bool]>::len)
        .max();
    assert!(longest_agreement < Some(6), "{longest_agreement:?}");
    for successor in [a, b] {
        let found = opened(parent.expose(), &sid(), 5, successor.digest, &successor.sealed);
        assert_eq!(found.as_ref(), Some(child.expose()));
    }
}

#[derive(Debug)]
struct Counting;

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomFailed> {
        bytes.iter_mut().zip(0..).for_each(|(byte, count)| *byte = count);
        Ok(())
    }
}

#[test]
fn rows_sealed_by_this_version_are_opened_by_every_later_one() {
    // HKDF-SHA-256 and AES-256-GCM of another library: stores keep these bytes.
    let expected = "000102030405060708090a0b2012aee2310385c9dde7ddc647de69d08e3e223b80f6f05ae372";
    let token = Secret::new("live-token".to_owned());
    let successor = seal("presented-token", &sid(), 8, &token, NOW + DAY, &Counting).unwrap();
    let hex: String = successor.sealed.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected);
}

#[test]
fn without_randomness_nothing_is_issued_or_sealed() {
    let random = FaultyRandom::never();
    random.fail_at(0);
    let token = rules().issue(&ring().snapshot(), &sid(), 0, NOW + DAY, &random, NOW);
    assert!(matches!(token, Err(AuthError::Internal(_))));
    random.fail_at(0);
    let successor = seal("parent", &sid(), 1, &issued(1), NOW + DAY, &random);
    assert!(matches!(successor, Err(AuthError::Internal(_))));
}

#[test]
fn a_fault_of_the_seal_names_it_for_operators() {
    let AuthError::Internal(fault) = AuthError::internal(SealFailed) else { panic!("a fault of ours") };
    assert_eq!(fault.to_string(), "the successor of a refresh token could not be sealed or opened");
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5116), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_opens_nothing(sealed in prop::collection::vec(any::<u8>(), 0..100), generation: u64) {
        let live = digest(&String::from_utf8_lossy(&sealed));
        prop_assert!(unseal("parent", &sid(), generation, live, &sealed).is_none());
    }
}
