use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;
use crate::{
    fixtures::{ManualClock, NOW, access_key, pem, secs},
    jws,
    keys::SigningKey,
};

const ISSUER: &str = "https://issuer.example.com";
const AUDIENCE: &str = "notes-api";

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice-id", "aud": AUDIENCE, "exp": NOW.as_secs() + 3600, "iat": NOW.as_secs(), "jti": "j",
        "client_id": "gatekey", "sid": "s", "auth_time": NOW.as_secs(), "preferred_username": "alice", "roles": [],
    })
}

fn signed(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let header = base64_simd::URL_SAFE_NO_PAD.encode_to_string(header.to_string());
    jws::sign(key, &header, claims.to_string().as_bytes()).unwrap()
}

/// A token as a Gatekey with that key issues it.
fn token(key: &SigningKey) -> String {
    let header = json!({"alg": key.algorithm().name(), "typ": "at+jwt", "kid": key.kid()});
    signed(key, &header, &claims())
}

fn key_set(keys: &[&SigningKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.verifying().jwk().unwrap()).collect::<Vec<_>>() }).to_string()
}

fn new_key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDSA).unwrap()
}

/// What an issuer says of its keys, how often it was asked, and whether it answers at once.
#[derive(Debug)]
struct Desk {
    answer: Mutex<Option<String>>,
    asked: AtomicUsize,
    answers: Semaphore,
}

impl Desk {
    fn new(keys: &[&SigningKey]) -> Arc<Self> {
        let answers = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self { answer: Mutex::new(Some(key_set(keys))), asked: AtomicUsize::new(0), answers })
    }

    fn publish(&self, keys: &[&SigningKey]) {
        *self.answer.lock().unwrap() = Some(key_set(keys));
    }

    fn say(&self, text: &str) {
        *self.answer.lock().unwrap() = Some(text.to_owned());
    }

    fn go_down(&self) {
        *self.answer.lock().unwrap() = None;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// From now on each answer waits for [`Desk::answer`].
    fn hang(&self) {
        self.answers.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn answer(&self, times: usize) {
        self.answers.add_permits(times);
    }
}

#[async_trait]
impl KeySource for Desk {
    async fn fetch(&self) -> Result<Vec<u8>, KeySourceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.acquire().await.unwrap().forget();
        let answer =
            self.answer.lock().unwrap().clone().ok_or_else(|| KeySourceError("it is down".into()))?;
        assert_ne!(answer, "panic", "a source with a fault");
        Ok(answer.into_bytes())
    }
}

#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl EventSink for Told {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Told {
    fn kinds(&self) -> Vec<EventKind> {
        self.0.lock().unwrap().iter().map(|event| event.kind).collect()
    }
}

struct World {
    desk: Arc<Desk>,
    clock: Arc<ManualClock>,
    told: Told,
}

impl World {
    fn new(keys: &[&SigningKey]) -> Self {
        Self { desk: Desk::new(keys), clock: Arc::new(ManualClock::new()), told: Told::default() }
    }

    fn builder(&self) -> TokenVerifierBuilder {
        let mut builder = TokenVerifier::builder();
        builder.issuer(ISSUER);
        builder.audience(AUDIENCE);
        builder.source(Arc::clone(&self.desk) as Arc<dyn KeySource>);
        builder.clock(Arc::clone(&self.clock) as Arc<dyn Clock>);
        builder.events(Arc::new(self.told.clone()));
        builder
    }
}

/// Waits for something that another task does.
async fn until(what: &str, happened: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what} did not happen within 30 s");
}

/// What operators are told where nobody can be judged.
fn unavailable(verifier: &TokenVerifier, token: &str) -> String {
    match verifier.authenticate(token) {
        Err(AuthError::Unavailable(fault)) => fault.to_string(),
        other => panic!("{other:?}"),
    }
}

fn refused(verifier: &TokenVerifier, token: &str) -> TokenError {
    match verifier.authenticate(token) {
        Err(AuthError::InvalidToken(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn given(settle: impl FnOnce(&mut TokenVerifierBuilder)) -> Result<TokenVerifier, ConfigError> {
    let mut builder = TokenVerifier::builder();
    builder.issuer(ISSUER);
    builder.audience(AUDIENCE);
    builder.clock(Arc::new(ManualClock::new()));
    settle(&mut builder);
    builder.build().await
}

// ---- Tokens -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn tokens_of_the_issuer_are_taken_and_their_nearest_neighbours_refused() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::PS256, Algorithm::RS256] {
        let key = access_key(algorithm);
        let set = key_set(&[&key]);
        let verifier = given(|builder| builder.key_set(set)).await.unwrap();
        let principal = verifier.authenticate(&token(&key)).unwrap();
        assert_eq!((principal.subject().as_str(), principal.username()), ("alice-id", "alice"));

        let header = json!({"alg": algorithm.name(), "typ": "at+jwt", "kid": key.kid()});
        for (change, expected) in [
            (json!({"typ": "JWT"}), TokenError::WrongType),
            (json!({"typ": null}), TokenError::Header),
            (json!({"alg": "none"}), TokenError::WrongAlgorithm),
            (json!({"alg": "HS256"}), TokenError::WrongAlgorithm),
            (
                json!({"alg": if algorithm == Algorithm::ES256 { "EdDSA" } else { "ES256" }}),
                TokenError::WrongAlgorithm,
            ),
            (json!({"kid": "x"}), TokenError::UnknownKey),
            (json!({"jwk": {}}), TokenError::Header),
            (json!({"crit": ["exp"]}), TokenError::Header),
        ] {
            let mut header = header.clone();
            header.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert_eq!(refused(&verifier, &signed(&key, &header, &claims())), expected, "{change}");
        }
        for (change, expected) in [
            (json!({"iss": "https://other.example.com"}), TokenError::WrongIssuer),
            (json!({"aud": ["other-api"]}), TokenError::WrongAudience),
            (json!({"exp": NOW.as_secs() - 30}), TokenError::Expired),
            (json!({"nbf": NOW.as_secs() + 31}), TokenError::NotYetValid),
            (json!({"roles": "admin"}), TokenError::Claims),
        ] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert_eq!(refused(&verifier, &signed(&key, &header, &claims)), expected, "{change}");
        }
        // Signed by another, or with the public key as a secret.
        if algorithm == Algorithm::EdDSA {
            // RFC 9864 names the curve; another is another algorithm.
            for (alg, taken) in [("Ed25519", true), ("Ed448", false), ("ed25519", false)] {
                let header = json!({"alg": alg, "typ": "at+jwt", "kid": key.kid()});
                let answer = verifier.authenticate(&signed(&key, &header, &claims()));
                assert_eq!(answer.is_ok(), taken, "{alg}");
            }
            assert_eq!(refused(&verifier, &signed(&new_key(), &header, &claims())), TokenError::BadSignature);
            let public = SigningKey::hs256(pem::public::ED25519.as_bytes()).unwrap();
            let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": key.kid()});
            assert_eq!(refused(&verifier, &signed(&public, &header, &claims())), TokenError::WrongAlgorithm);
        }
    }
}

#[tokio::test]
async fn one_key_serves_whatever_its_tokens_call_it() {
    let key = access_key(Algorithm::EdDSA);
    let public = VerifyingKey::from_pem(Algorithm::EdDSA, pem::public::ED25519).unwrap();
    let verifier = given(|builder| {
        builder.key(public);
        builder.tokens(TokenShape::jwt().untyped());
    });
    let verifier = verifier.await.unwrap();
    for header in [
        json!({"alg": "EdDSA"}),
        json!({"alg": "EdDSA", "typ": "JWT"}),
        json!({"alg": "EdDSA", "typ": "JWT", "kid": "2024-01"}),
    ] {
        assert!(verifier.authenticate(&signed(&key, &header, &claims())).is_ok(), "{header}");
    }
    let es256 = json!({"alg": "ES256", "typ": "JWT"});
    assert_eq!(refused(&verifier, &signed(&key, &es256, &claims())), TokenError::WrongAlgorithm);
}

#[tokio::test]
async fn a_setting_that_cannot_be_used_is_told_by_its_name() {
    type Settle = fn(&mut TokenVerifierBuilder);
    let good: Settle = |builder| builder.key(access_key(Algorithm::EdDSA).verifying().clone());
    assert!(given(good).await.is_ok());
    // The least and the most that may be set.
    for seconds in [10, 24 * 3600] {
        assert!(
            given(|builder| {
                good(builder);
                builder.refresh_every(secs(seconds));
            })
            .await
            .is_ok(),
            "{seconds}"
        );
    }
    let wrong: [(&str, Settle); 12] = [
        ("issuer", |builder| builder.issuer("")),
        ("audience", |builder| builder.audience("")),
        ("audience", |builder| builder.audience("notes api")),
        ("leeway", |builder| builder.leeway(secs(301))),
        ("token_cache", |builder| builder.token_cache(MAX_TOKEN_CACHE + 1)),
        ("rsa_keys_are_for", |builder| builder.rsa_keys_are_for(Algorithm::HS256)),
        ("refresh_every", |builder| builder.refresh_every(secs(9))),
        ("refresh_every", |builder| builder.refresh_every(secs(24 * 3600 + 1))),
        ("keep_stale_for", |builder| builder.keep_stale_for(secs(239))),
        ("keys", |builder| builder.key(access_key(Algorithm::HS256).verifying().clone())),
        ("keys", |builder| builder.key_set("{\"keys\":[]}")),
        ("keys", |builder| builder.keys = None),
    ];
    for (name, settle) in wrong {
        let error = given(|builder| {
            good(builder);
            settle(builder);
        });
        let error = error.await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("{name}: ")), "{name}: {error}");
    }
}

#[tokio::test]
async fn it_says_whose_tokens_it_takes_and_passes_on_what_a_guard_has_to_tell() {
    let key = new_key();
    let world = World::new(&[&key]);
    let mut builder = world.builder();
    builder.audience("the-audience");
    let shown = [format!("{builder:?}")];
    let verifier = builder.build().await.unwrap();
    assert_eq!(verifier.issuer(), ISSUER);
    for text in shown.into_iter().chain([format!("{verifier:?}")]) {
        assert!(text.contains(ISSUER) && !text.contains("the-audience"), "{text}");
    }
    let event = Event::new(EventKind::TokenRefused, verifier.now(), &crate::session::Client::new(None, None));
    verifier.tell(&event);
    assert_eq!(world.told.kinds(), [EventKind::KeysChanged, EventKind::TokenRefused]);
}

// ---- Keys that change -------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_key_published_before_it_signs_is_known_when_it_does() {
    let (old, new) = (new_key(), new_key());
    let world = World::new(&[&old]);
    let verifier = world.builder().build().await.unwrap();
    assert_eq!(world.told.kinds(), [EventKind::KeysChanged]);

    world.desk.publish(&[&old, &new]);
    world.clock.advance(secs(239));
    assert!(verifier.authenticate(&token(&old)).is_ok());
    assert_eq!(world.desk.asked(), 1);
    world.clock.advance(secs(1));
    // Whoever finds that it is time does not wait for it.
    assert!(verifier.authenticate(&token(&old)).is_ok());
    until("the refresh", || world.told.kinds().len() == 2).await;
    assert!(verifier.authenticate(&token(&new)).is_ok() && verifier.authenticate(&token(&old)).is_ok());
    assert_eq!(world.desk.asked(), 2);

    // What the issuer withdraws is out at the next refresh.
    world.desk.publish(&[&new]);
    world.clock.advance(secs(240));
    assert!(verifier.authenticate(&token(&new)).is_ok());
    until("the withdrawal", || verifier.authenticate(&token(&old)).is_err()).await;
    assert_eq!(refused(&verifier, &token(&old)), TokenError::UnknownKey);
    assert_eq!(world.desk.asked(), 3);
}

#[tokio::test]
async fn a_token_is_remembered_while_its_time_and_its_keys_are_as_they_were() {
    let (old, new) = (new_key(), new_key());
    let world = World::new(&[&old]);
    let verifier = world.builder().build().await.unwrap();
    let token = token(&old);
    let remembered = |verifier: &TokenVerifier| {
        let (generation, now) = (verifier.0.known().generation, verifier.now());
        verifier.0.verified.place(&token).is_some_and(|place| place.find(generation, now).is_some())
    };
    assert!(!remembered(&verifier));
    for _ in 0..2 {
        assert!(verifier.authenticate(&token).is_ok() && remembered(&verifier));
        // One character other is another token.
        let mut forged = token.clone();
        forged.replace_range(..1, "f");
        assert_eq!(refused(&verifier, &forged), TokenError::Header);
    }
    // Not before it was issued, wherever the clock goes; and again when that has passed.
    world.clock.set(NOW - secs(31));
    assert_eq!(refused(&verifier, &token), TokenError::NotYetValid);
    world.clock.set(NOW);
    assert!(verifier.authenticate(&token).is_ok());

    // Other keys: it is verified anew, and refused where its own is not among them.
    world.desk.publish(&[&old, &new]);
    world.clock.advance(secs(240));
    assert!(verifier.authenticate(&token).is_ok());
    until("the refresh", || world.told.kinds().len() == 2).await;
    assert!(!remembered(&verifier) && verifier.authenticate(&token).is_ok() && remembered(&verifier));
    world.desk.publish(&[&new]);
    world.clock.advance(secs(240));
    assert!(verifier.authenticate(&token).is_ok());
    until("the withdrawal", || world.told.kinds().len() == 3).await;
    assert_eq!(refused(&verifier, &token), TokenError::UnknownKey);

    // As late as the last millisecond, and no later.
    let one = given(|builder| {
        builder.key(old.verifying().clone());
        builder.clock(Arc::clone(&world.clock) as Arc<dyn Clock>);
    });
    let one = one.await.unwrap();
    world.clock.set(NOW + secs(3630) - Duration::from_millis(1));
    assert!(one.authenticate(&token).is_ok() && remembered(&one));
    world.clock.set(NOW + secs(3630));
    assert_eq!(refused(&one, &token), TokenError::Expired);
    let none = given(|builder| {
        builder.key(old.verifying().clone());
        builder.token_cache(0);
    });
    let none = none.await.unwrap();
    assert!(none.authenticate(&token).is_ok() && !remembered(&none));
}

#[tokio::test]
async fn a_remembered_token_does_not_outlive_stale_keys() {
    let key = new_key();
    let world = World::new(&[&key]);
    let mut builder = world.builder();
    builder.keep_stale_for(secs(300));
    let verifier = builder.build().await.unwrap();
    let token = token(&key);
    world.desk.hang();
    world.clock.advance(secs(300));
    assert!(verifier.authenticate(&token).is_ok());
    world.clock.advance(secs(1));
    assert!(matches!(verifier.authenticate(&token), Err(AuthError::Unavailable(_))));
}

#[tokio::test]
async fn a_key_that_signs_at_once_is_pending_until_the_issuer_was_asked() {
    let (old, new) = (new_key(), new_key());
    let world = World::new(&[&old]);
    let verifier = world.builder().build().await.unwrap();
    world.desk.publish(&[&old, &new]);
    // The issuer said a moment ago which keys it has.
    assert_eq!(refused(&verifier, &token(&new)), TokenError::UnknownKey);
    world.clock.advance(secs(10));
    world.desk.hang();
    assert_eq!(refused(&verifier, &token(&new)), TokenError::KeyPending);
    until("the question", || world.desk.asked() == 2).await;
    // It is being asked: still nobody knows, and nobody waits.
    assert_eq!(refused(&verifier, &token(&new)), TokenError::KeyPending);
    assert!(verifier.authenticate(&token(&old)).is_ok());
    world.desk.answer(1);
    until("the answer", || verifier.authenticate(&token(&new)).is_ok()).await;
    assert_eq!(refused(&verifier, &token(&new_key())), TokenError::UnknownKey);
    assert_eq!(world.desk.asked(), 2);
}

#[tokio::test]
async fn made_up_names_of_keys_have_the_issuer_asked_once_in_ten_seconds() {
    let key = new_key();
    let world = World::new(&[&key]);
    let verifier = world.builder().build().await.unwrap();
    let storm = |count: u32| {
        for i in 0..count {
            let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("{i}")});
            assert!(verifier.authenticate(&signed(&key, &header, &claims())).is_err());
            assert!(verifier.authenticate(&token(&key)).is_ok());
        }
    };
    storm(100);
    assert_eq!(world.desk.asked(), 1);
    for asked in 2..5 {
        world.clock.advance(secs(10));
        storm(50);
        until("the question", || world.desk.asked() == asked).await;
        until("the answer", || !verifier.0.source.as_ref().unwrap().change(|asked| asked.under_way)).await;
        storm(50);
        world.clock.advance(secs(9));
        storm(50);
        assert_eq!(world.desk.asked(), asked);
        world.clock.set(world.clock.now() - secs(9));
    }
    // A header that no key of ours could have is not worth a question.
    world.clock.advance(secs(10));
    for change in [json!({"alg": "HS256"}), json!({"typ": "JWT"}), json!({"kid": null})] {
        let mut header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "x"});
        header.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert!(verifier.authenticate(&signed(&key, &header, &claims())).is_err());
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.desk.asked(), 4);
    // A clock that was set back does not keep it from being asked.
    world.clock.set(NOW);
    storm(1);
    until("the question", || world.desk.asked() == 5).await;
}

// ---- Issuers that fail ------------------------------------------------------------------------------------------

#[tokio::test]
async fn keys_stay_in_use_while_the_issuer_is_down_or_says_what_is_no_key_set() {
    let (old, new) = (new_key(), new_key());
    let world = World::new(&[&old]);
    let verifier = world.builder().build().await.unwrap();
    for (round, answer) in
        [None, Some("<html>"), Some("{\"keys\":[]}"), Some("panic")].into_iter().enumerate()
    {
        match answer {
            None => world.desk.go_down(),
            Some(text) => world.desk.say(text),
        }
        world.clock.advance(secs(240));
        assert!(verifier.authenticate(&token(&old)).is_ok());
        until("the question", || world.desk.asked() == 2 + round).await;
        until("the failure", || !verifier.0.source.as_ref().unwrap().change(|asked| asked.under_way)).await;
        assert!(verifier.authenticate(&token(&old)).is_ok(), "{answer:?}");
        // What the issuer would say is not known, so neither is what this is worth.
        assert_eq!(refused(&verifier, &token(&new)), TokenError::KeyPending, "{answer:?}");
    }
    // Told once, with the reason.
    assert_eq!(world.told.kinds(), [EventKind::KeysChanged, EventKind::IssuerKeysLost]);
    assert_eq!(world.told.0.lock().unwrap()[1].cause.as_deref(), Some("it is down"));

    world.desk.publish(&[&new]);
    world.clock.advance(secs(10));
    assert_eq!(refused(&verifier, &token(&new)), TokenError::KeyPending);
    until("the return", || verifier.authenticate(&token(&new)).is_ok()).await;
    until("the event", || world.told.kinds().len() == 4).await;
    assert_eq!(world.told.kinds()[2..], [EventKind::IssuerKeysRestored, EventKind::KeysChanged]);
}

#[tokio::test]
async fn stale_keys_are_kept_no_longer_than_they_may() {
    let key = new_key();
    let world = World::new(&[&key]);
    let mut builder = world.builder();
    builder.keep_stale_for(secs(3000));
    let verifier = builder.build().await.unwrap();
    world.desk.go_down();
    world.clock.advance(secs(3000));
    assert!(verifier.authenticate(&token(&key)).is_ok());
    world.clock.advance(secs(1));
    assert_eq!(unavailable(&verifier, &token(&key)), "the issuer's keys could not be had for too long");
    world.desk.publish(&[&key]);
    world.clock.advance(secs(10));
    until("the return", || verifier.authenticate(&token(&key)).is_ok()).await;
}

#[tokio::test]
async fn without_keys_it_starts_only_where_it_may() {
    let key = new_key();
    let world = World::new(&[&key]);
    world.desk.go_down();
    let error = world.builder().build().await.unwrap_err();
    assert_eq!(error.to_string(), "keys: it is down");

    let mut builder = world.builder();
    builder.start_without_keys();
    let verifier = builder.build().await.unwrap();
    assert_eq!(unavailable(&verifier, &token(&key)), "the issuer's keys could not be had yet");
    assert_eq!(world.told.kinds(), [EventKind::IssuerKeysLost]);
    world.desk.publish(&[&key]);
    world.clock.advance(secs(10));
    until("the first keys", || verifier.authenticate(&token(&key)).is_ok()).await;
    assert_eq!(world.desk.asked(), 3);
}

#[tokio::test]
async fn the_task_that_asks_ends_with_the_last_clone() {
    let world = World::new(&[&new_key()]);
    let verifier = world.builder().build().await.unwrap();
    let clone = verifier.clone();
    drop(verifier);
    assert!(clone.authenticate("x").is_err());
    assert_eq!(Arc::strong_count(&world.desk), 2);
    let wake = Arc::downgrade(&clone.0.source.as_ref().unwrap().wake);
    drop(clone);
    until("its end", || wake.upgrade().is_none()).await;
    assert_eq!(Arc::strong_count(&world.desk), 1);
}
