//! A service that only verifies, and an issuer elsewhere: two applications with a socket each, and HTTP between them.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use gatekey::{
    Algorithm, Client, Clock, Event, EventKind, EventSink, Gatekey, JwksUrl, Keys, MemoryStore, Secret,
    SigningKey, Timestamp, Verifier, axum::Authenticated,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Stands still until it is moved.
#[derive(Debug)]
struct Standing(AtomicI64);

impl Standing {
    fn advance(&self, secs: i64) {
        self.0.fetch_add(secs, Ordering::SeqCst);
    }
}

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// How the issuer's key set was asked for, and whether it is answered.
#[derive(Debug, Default)]
struct Desk {
    asked: AtomicUsize,
    down: AtomicUsize,
}

async fn count(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    desk.asked.fetch_add(1, Ordering::SeqCst);
    match desk.down.load(Ordering::SeqCst) {
        0 => next.run(request).await,
        _ => StatusCode::BAD_GATEWAY.into_response(),
    }
}

#[derive(Clone, Debug, Default)]
struct Changes(Arc<AtomicUsize>);

impl EventSink for Changes {
    fn event(&self, event: &Event) {
        self.0.fetch_add(usize::from(event.kind == EventKind::KeysChanged), Ordering::SeqCst);
    }
}

struct World {
    clock: Arc<Standing>,
    issuer: Gatekey,
    desk: Arc<Desk>,
    /// How often the service that verifies had other keys.
    changes: Changes,
    /// The service that verifies.
    service: SocketAddr,
}

async fn listen(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { gatekey::axum::serve(listener, app).await });
    address
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(Standing(AtomicI64::new(1_800_000_000)));
        let issuer = Gatekey::builder()
            .issuer("https://login.example.com")
            .audience("https://notes.example.com")
            .keys(Keys::generate(Algorithm::EdDSA).unwrap())
            .store(MemoryStore::new())
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .build()
            .await
            .unwrap();
        let password = Secret::new("a long enough pass phrase".to_owned());
        issuer.register("alice", password, &Client::default()).await.unwrap();
        let desk = Arc::new(Desk::default());
        let counted = middleware::from_fn_with_state(Arc::clone(&desk), count);
        let login = listen(Router::new().merge(gatekey::axum::routes(&issuer)).layer(counted)).await;

        let changes = Changes::default();
        let keys = JwksUrl::new(&format!("http://{login}/auth/jwks.json")).unwrap();
        let verifier = Verifier::builder()
            .issuer("https://login.example.com")
            .audience("https://notes.example.com")
            .source(keys.timeout(Duration::from_secs(30)))
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .events(changes.clone())
            .build()
            .await
            .unwrap();
        let notes = get(async |user: Authenticated| user.username().to_owned());
        let service = listen(Router::new().route("/notes", notes).with_state(verifier)).await;
        Self { clock, issuer, desk, changes, service }
    }

    async fn login(&self) -> String {
        let password = Secret::new("a long enough pass phrase".to_owned());
        let tokens = self.issuer.login("alice", password, &Client::default(), None).await.unwrap();
        tokens.access.expose().clone()
    }

    /// The status that a token is answered with.
    async fn notes(&self, token: &str) -> u16 {
        ask(self.service, token).await
    }

    fn asked(&self) -> usize {
        self.desk.asked.load(Ordering::SeqCst)
    }

    /// Waits for something that the verifier does in the background.
    async fn until(&self, what: &str, happened: impl Fn(&Self) -> bool) {
        for _ in 0..30_000 {
            if happened(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{what} did not happen within 30 s");
    }

    /// Asks again while the answer is 503, as `Retry-After` says.
    async fn settled(&self, token: &str) -> u16 {
        for _ in 0..3_000 {
            match self.notes(token).await {
                503 => tokio::time::sleep(Duration::from_millis(10)).await,
                status => return status,
            }
        }
        panic!("still 503 after 30 s");
    }
}

async fn ask(service: SocketAddr, token: &str) -> u16 {
    let mut stream = TcpStream::connect(service).await.unwrap();
    let request = format!(
        "GET /notes HTTP/1.1\r\nhost: {service}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_keys_are_rotated_without_a_refused_request() {
    let world = World::new().await;
    let tokens = Arc::new(std::sync::Mutex::new(vec![world.login().await]));
    let stop = Arc::new(AtomicUsize::new(0));
    // Clients that ask all the while, with the newest token and with the oldest that has not expired.
    let clients: Vec<_> = (0..4)
        .map(|i| {
            let (tokens, stop, service) = (Arc::clone(&tokens), Arc::clone(&stop), world.service);
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while stop.load(Ordering::SeqCst) == 0 {
                    let token = {
                        let tokens = tokens.lock().unwrap();
                        if i % 2 == 0 { tokens[tokens.len() - 1].clone() } else { tokens[0].clone() }
                    };
                    answers.push(ask(service, &token).await);
                }
                answers
            })
        })
        .collect();

    let first = world.issuer.keys().list(world.issuer.now())[0].kid.clone();
    for _ in 0..3 {
        let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
        let kid = key.kid().to_owned();
        world.issuer.publish_key(key).unwrap();
        let changes = world.changes.0.load(Ordering::SeqCst);
        // Five minutes, as the key set may be kept: verifiers have asked again by then.
        world.clock.advance(300);
        let oldest = tokens.lock().unwrap()[0].clone();
        assert_eq!(world.notes(&oldest).await, 200);
        world.until("the refresh", |world| world.changes.0.load(Ordering::SeqCst) > changes).await;
        world.issuer.activate_key(&kid).unwrap();
        let token = world.login().await;
        // The key is known already: its first token is taken, and nobody has to ask.
        let asked = world.asked();
        assert_eq!(world.notes(&token).await, 200);
        assert_eq!(world.asked(), asked);
        let mut tokens = tokens.lock().unwrap();
        tokens.push(token);
        if tokens.len() > 2 {
            tokens.remove(0);
        }
    }
    stop.store(1, Ordering::SeqCst);
    let mut answers = 0;
    for client in clients {
        let statuses = client.await.unwrap();
        answers += statuses.len();
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    assert!(answers > 0);

    // The key that was retired is gone from the set, and so are its tokens.
    world.clock.advance(931);
    let token = world.login().await;
    assert_eq!(world.settled(&token).await, 200);
    assert!(!world.issuer.keys().jwk_set(world.issuer.now()).to_string().contains(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_stops_nobody_whose_key_is_known() {
    let world = World::new().await;
    let known = world.login().await;
    world.desk.down.store(1, Ordering::SeqCst);
    world.issuer.rotate_keys().unwrap();
    let unknown = world.login().await;
    for asked in 2..5 {
        world.clock.advance(240);
        assert_eq!(world.notes(&known).await, 200);
        world.until("a question", |world| world.asked() >= asked).await;
        assert_eq!(world.notes(&known).await, 200);
        // What this is worth is not known: try again.
        assert_eq!(world.notes(&unknown).await, 503);
    }
    world.desk.down.store(0, Ordering::SeqCst);
    world.clock.advance(10);
    assert_eq!(world.settled(&unknown).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_unknown_keys_has_the_issuer_asked_once_in_ten_seconds() {
    let world = World::new().await;
    let known = world.login().await;
    let (_, rest) = known.split_once('.').unwrap();
    let forged = |i: usize| {
        let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"key-{i}"}}"#);
        format!("{}.{rest}", base64_simd::URL_SAFE_NO_PAD.encode_to_string(header))
    };
    let storm = async || {
        let mut statuses = std::collections::BTreeSet::new();
        for i in 0..40 {
            let forged = forged(i);
            let (forged, known) = tokio::join!(world.notes(&forged), world.notes(&known));
            assert_eq!(known, 200);
            statuses.insert(forged);
        }
        statuses
    };
    // The issuer was asked a moment ago.
    assert_eq!(storm().await, [401].into());
    assert_eq!(world.asked(), 1);
    for asked in 2..4 {
        world.clock.advance(10);
        assert!(storm().await.is_subset(&[401, 503].into()));
        assert_eq!(world.settled(&forged(0)).await, 401);
        world.clock.advance(9);
        assert_eq!(storm().await, [401].into());
        assert_eq!(world.asked(), asked);
        world.clock.advance(-9);
    }
}
