use std::sync::{Mutex, atomic::AtomicI64, atomic::Ordering};

use gatekey_core::{
    keys::{Keys, SigningKey},
    secret::Secret,
    store::memory::MemoryStore,
    verifier::KeySourceError,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::*;
use crate::{Reply, Requirement};

const ISSUER: &str = "https://app.example.com";

/// The seconds since the epoch, until they are told otherwise.
#[derive(Debug)]
struct Standing(AtomicI64);

impl Standing {
    fn clock() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_800_000_000)))
    }
}

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl EventSink for Told {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// An issuer, and an access token of it.
async fn issuer(clock: &Arc<Standing>) -> (Gatekey, String) {
    let builder = Gatekey::builder().issuer(ISSUER).keys(Keys::generate(Algorithm::EdDSA).unwrap());
    let gatekey = builder.store(MemoryStore::new()).clock(Arc::clone(clock) as _).build().await.unwrap();
    let password = || Secret::new("a long enough pass phrase".to_owned());
    gatekey.register("alice", password(), &Client::default()).await.unwrap();
    let token = gatekey.login("alice", password(), &Client::default(), None).await.unwrap().access;
    (gatekey, token.expose().clone())
}

fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    fields.iter().map(field).collect()
}

fn guard(
    verifier: &Verifier,
    method: &str,
    headers: &HeaderMap,
    requirement: &Requirement,
) -> Result<String, Box<Reply>> {
    let peer = Some([192, 0, 2, 7].into());
    let head = Head { method, path: "/notes", query: None, headers, peer };
    Ok(verifier.guard(&head, requirement)?.username().to_owned())
}

#[tokio::test]
async fn a_service_elsewhere_takes_the_tokens_that_the_issuer_takes_and_no_cookies() {
    let clock = Standing::clock();
    let (gatekey, token) = issuer(&clock).await;
    let set = gatekey.keys().jwk_set(gatekey.now()).to_string();
    let elsewhere = Verifier::builder().issuer(ISSUER).audience(ISSUER).key_set(set).clock(clock);
    let elsewhere = elsewhere.build().await.unwrap();
    let any = Requirement::authenticated();
    let bearer = format!("Bearer {token}");
    let cookie = format!("__Host-gatekey_access={token}");
    for verifier in [gatekey.verifier(), &elsewhere] {
        let ours = verifier.inner().cookies.is_some();
        let ask = |method: &str, pairs: &[(&'static str, &str)], requirement: &Requirement| {
            guard(verifier, method, &fields(pairs), requirement).map_err(|reply| reply.status().as_u16())
        };
        assert_eq!(ask("POST", &[("authorization", &bearer)], &any).as_deref(), Ok("alice"));
        assert_eq!(ask("GET", &[("authorization", "Bearer x")], &any), Err(401));
        assert_eq!(ask("GET", &[], &any), Err(401));
        assert_eq!(ask("GET", &[("authorization", &bearer), ("authorization", &bearer)], &any), Err(400));
        let admin = Requirement::authenticated().role("admin");
        assert_eq!(ask("GET", &[("authorization", &bearer)], &admin), Err(403));
        let fresh = Requirement::authenticated().max_age(Duration::from_secs(60));
        assert_eq!(ask("GET", &[("authorization", &bearer)], &fresh).as_deref(), Ok("alice"));
        // A cookie of the issuer's pages says nothing elsewhere, and needs no rule there.
        assert_eq!(ask("GET", &[("cookie", &cookie)], &any).is_ok(), ours);
        assert_eq!(ask("POST", &[("cookie", &cookie)], &any), Err(if ours { 403 } else { 401 }));
        let both = [("authorization", bearer.as_str()), ("cookie", cookie.as_str())];
        assert_eq!(ask("POST", &both, &any).err(), if ours { Some(400) } else { None });
    }
    // What was revoked at the issuer is not heard elsewhere.
    let session = gatekey.authenticate(&token).unwrap().session().clone();
    gatekey
        .end_session(&session, None, gatekey_core::session::EndReason::Logout, &Client::default())
        .await
        .unwrap();
    let headers = fields(&[("authorization", &bearer)]);
    assert!(guard(gatekey.verifier(), "GET", &headers, &any).is_err());
    assert!(guard(&elsewhere, "GET", &headers, &any).is_ok());
}

/// Answers once, and then has its callers wait.
#[derive(Debug)]
struct Once(Mutex<Option<String>>);

#[async_trait::async_trait]
impl KeySource for Once {
    async fn fetch(&self) -> Result<Vec<u8>, KeySourceError> {
        let answer = self.0.lock().unwrap().take();
        match answer {
            Some(text) => Ok(text.into_bytes()),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn a_token_of_a_key_that_is_asked_for_is_to_be_tried_again() {
    let (clock, told) = (Standing::clock(), Told::default());
    let (gatekey, known) = issuer(&clock).await;
    let source = Once(Mutex::new(Some(gatekey.keys().jwk_set(gatekey.now()).to_string())));
    let verifier = Verifier::builder()
        .issuer(ISSUER)
        .audience(ISSUER)
        .realm("notes")
        .source(source)
        .clock(Arc::clone(&clock) as _)
        .events(told.clone())
        .trusted_proxy("192.0.2.0/24")
        .build()
        .await
        .unwrap();
    gatekey.rotate_keys().unwrap();
    let password = Secret::new("a long enough pass phrase".to_owned());
    let pending = gatekey.login("alice", password, &Client::default(), None).await.unwrap().access;
    let any = Requirement::authenticated();
    let ask = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = fields(&[("authorization", &bearer), ("x-forwarded-for", "203.0.113.9")]);
        guard(&verifier, "GET", &headers, &any)
    };
    let refused = ask(pending.expose()).unwrap_err();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        refused.headers()[header::WWW_AUTHENTICATE],
        "Bearer realm=\"notes\", error=\"invalid_token\", error_description=\"The access token is invalid\""
    );
    clock.0.fetch_add(10, Ordering::SeqCst);
    let refused = ask(pending.expose()).unwrap_err();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert!(!refused.headers().contains_key(header::WWW_AUTHENTICATE));
    assert!(std::str::from_utf8(refused.body()).unwrap().contains("\"temporarily_unavailable\""));
    assert_eq!(ask(&known).as_deref().ok(), Some("alice"));

    let told = told.0.lock().unwrap();
    let told: Vec<_> = told.iter().map(|event| (event.kind, event.reason, event.client.ip)).collect();
    let client = Some([203, 0, 113, 9].into());
    assert_eq!(
        told,
        [
            (EventKind::KeysChanged, None, None),
            (EventKind::TokenRefused, Some("token_unknown_key"), client),
            (EventKind::TokenRefused, Some("token_key_pending"), client),
        ]
    );
}

#[tokio::test]
async fn settings_are_checked_at_the_start() {
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let good = || Verifier::builder().issuer(ISSUER).audience("api").key(key.verifying().clone());
    assert!(good().realm("notes").trusted_proxy("10.0.0.0/8").build().await.is_ok());
    for (builder, name) in [
        (good().realm("a\"b"), "realm"),
        (good().realm(""), "realm"),
        (good().trusted_proxy("proxy.example.com"), "trusted_proxies"),
        (good().audience(""), "audience"),
        (Verifier::builder().issuer(ISSUER).audience("api"), "keys"),
    ] {
        let error = builder.build().await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("{name}: ")), "{name}: {error}");
    }
}

#[test]
fn the_page_of_verifiers_has_every_setting_and_no_other() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verifier.md");
    let page = std::fs::read_to_string(page).unwrap();
    let builder = include_str!("../verifier.rs").split("impl VerifierBuilder {").nth(1).unwrap();
    let mut settings: Vec<_> = builder
        .split("\n    pub fn ")
        .skip(1)
        .map(|function| function.split('(').next().unwrap())
        .filter(|name| *name != "build")
        .collect();
    let table = page.split("\n## Settings\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let first_cells = table.lines().filter_map(|line| line.strip_prefix("| `.")?.split(" | ").next());
    let mut written: Vec<_> = first_cells
        .flat_map(|cell| cell.split("`, `.").map(|setting| setting.split('(').next().unwrap()))
        .collect();
    settings.sort_unstable();
    written.sort_unstable();
    assert_eq!(written, settings);
}
