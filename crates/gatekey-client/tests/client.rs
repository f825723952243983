//! The client against real servers, and what goes wrong between them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod server;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use gatekey_client::{Client, Code, Error, MemoryStore, Status, StoreError, TokenStore, Tokens};
use reqwest::Method;
use server::{Fault, PASSWORD, Server, eventually};
use tokio::sync::Notify;

/// Past the end of an access token, and the leeway of its server.
const EXPIRED: i64 = 900 + 31;
/// Past the time in which an answer is repeated.
const LATE: i64 = 11;

/// A store that several clients, or the test, look into.
#[derive(Clone, Default)]
struct Shared(Arc<SharedStore>);

#[derive(Default)]
struct SharedStore {
    tokens: MemoryStore,
    /// How many saves fail from now on.
    failing: AtomicUsize,
    /// Whether loads fail.
    unreadable: AtomicBool,
    /// Every refresh token that was ever saved, as JSON has them.
    saved: Mutex<Vec<String>>,
}

#[async_trait]
impl TokenStore for Shared {
    async fn load(&self) -> Result<Option<Tokens>, StoreError> {
        if self.0.unreadable.load(Ordering::Relaxed) {
            return Err("the disk is away".into());
        }
        self.0.tokens.load().await
    }

    async fn save(&self, tokens: Option<&Tokens>) -> Result<(), StoreError> {
        if self.0.failing.load(Ordering::Relaxed) > 0 {
            self.0.failing.fetch_sub(1, Ordering::Relaxed);
            return Err("the disk is full".into());
        }
        self.0.saved.lock().unwrap().push(serde_json::to_string(&tokens)?);
        self.0.tokens.save(tokens).await
    }
}

impl Shared {
    async fn now(&self) -> String {
        serde_json::to_string(&self.0.tokens.load().await.unwrap()).unwrap()
    }

    async fn put(&self, tokens: &str) {
        self.0.tokens.save(serde_json::from_str::<Option<Tokens>>(tokens).unwrap().as_ref()).await.unwrap();
    }
}

async fn client(server: &Server, store: &Shared) -> Client {
    Client::builder(server.at("/auth")).store(store.clone()).build().await.unwrap()
}

/// A server, and alice logged in there.
async fn alice() -> (Server, Client, Shared) {
    let (server, store) = (Server::start().await, Shared::default());
    let client = client(&server, &store).await;
    client.login("alice", PASSWORD).await.unwrap();
    server.forget();
    (server, client, store)
}

async fn hello(server: &Server, client: &Client) -> Result<u16, Error> {
    Ok(client.get(server.at("/hello")).await?.status().as_u16())
}

fn is_logged_in(client: &Client) -> bool {
    matches!(client.status(), Status::LoggedIn { .. })
}

#[tokio::test]
async fn a_session_from_login_to_logout() {
    let (server, store) = (Server::start().await, Shared::default());
    let client = client(&server, &store).await;
    let mut told = client.subscribe();
    assert_eq!(hello(&server, &client).await.unwrap(), 401);
    assert_eq!(client.access_token().await.unwrap(), None);

    let error = client.login("alice", "not the pass phrase").await.unwrap_err();
    assert_eq!(error.code(), Some(&Code::InvalidCredentials));
    assert!(!error.session_ended() && !told.has_changed().unwrap());
    client.login("alice", PASSWORD).await.unwrap();
    assert!(matches!(&*told.borrow_and_update(), Status::LoggedIn { session_id } if !session_id.is_empty()));
    assert_eq!(client.get(server.at("/hello")).await.unwrap().text().await.unwrap(), "hello alice");
    assert_eq!(server.refreshes(), 0);

    // A body is repeated with its request.
    server.advance(EXPIRED);
    let echo = client.send(client.request(Method::POST, server.at("/echo")).body("kites")).await.unwrap();
    assert_eq!(echo.text().await.unwrap(), "kites");
    assert_eq!((server.refreshes(), server.asked("POST /echo")), (1, 2));
    // The same session, so nobody is told anything.
    assert!(!told.has_changed().unwrap());

    let token = client.access_token().await.unwrap().unwrap();
    client.logout().await.unwrap();
    assert_eq!(*told.borrow_and_update(), Status::LoggedOut);
    assert_eq!(store.now().await, "null");
    let by_hand = reqwest::Client::new().get(server.at("/hello")).bearer_auth(token).send().await.unwrap();
    assert_eq!(by_hand.status(), 401);
    client.logout().await.unwrap();
    client.refresh().await.unwrap();
    assert_eq!(server.asked("POST /auth/logout"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tasks_share_one_refresh() {
    let (server, client, store) = alice().await;
    for round in 1..=2 {
        server.advance(EXPIRED);
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (client, url) = (client.clone(), server.at("/hello"));
                tokio::spawn(async move { client.get(url).await.unwrap().status().as_u16() })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), 200);
        }
        assert_eq!(server.refreshes(), round);
    }
    assert_eq!(store.0.saved.lock().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refreshed_ahead_by_expires_in_and_no_clock() {
    // Whatever time the two sides think it is.
    for apart in [-86_400, 86_400] {
        let (server, store) = (Server::start().await, Shared::default());
        server.advance(apart);
        let client = client(&server, &store).await;
        client.login("alice", PASSWORD).await.unwrap();
        assert_eq!((hello(&server, &client).await.unwrap(), server.refreshes()), (200, 0));
        server.advance(EXPIRED);
        assert_eq!((hello(&server, &client).await.unwrap(), server.refreshes()), (200, 1));
    }
    // And a token that has nothing left is not sent.
    let server = Server::start().await;
    let client = client(&server, &Shared::default()).await;
    server.fault(|what| match what {
        "POST /auth/login" => Fault::Edit(r#""expires_in":900"#, r#""expires_in":  0"#),
        _ => Fault::None,
    });
    client.login("alice", PASSWORD).await.unwrap();
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let (client, url) = (client.clone(), server.at("/hello"));
            tokio::spawn(async move { client.get(url).await.unwrap().status().as_u16() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!((server.refreshes(), server.asked("GET /hello")), (1, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_lost_is_recovered() {
    let steps = ["POST /auth/login", "GET /hello", "POST /auth/token", "POST /echo", "POST /auth/logout"];
    for step in steps {
        for lost in [|| Fault::Refuse, || Fault::Lose] {
            let (server, store) = (Server::start().await, Shared::default());
            let client = client(&server, &store).await;
            let mut first = true;
            server.fault(
                move |what| if what == step && std::mem::take(&mut first) { lost() } else { Fault::None },
            );
            // What is the application's own to repeat: all but the refresh, of which it learns nothing.
            let once_more = |what: &str, lost: bool| assert_eq!(lost, what == step, "{what}");
            let failed = |error: Error| {
                assert!(matches!(error, Error::Transport(_)) && !error.session_ended(), "{error:?}");
            };
            let login = client.login("alice", PASSWORD).await.map_err(failed).is_err();
            once_more("POST /auth/login", login);
            if login {
                client.login("alice", PASSWORD).await.unwrap();
            }
            let get = hello(&server, &client).await.map_err(failed).is_err();
            once_more("GET /hello", get);
            server.advance(EXPIRED);
            assert_eq!(hello(&server, &client).await.unwrap(), 200);
            assert_eq!(server.refreshes(), if step == "POST /auth/token" { 2 } else { 1 });
            let echo = || client.send(client.request(Method::POST, server.at("/echo")).body("kites"));
            let post = echo().await.map_err(failed).is_err();
            once_more("POST /echo", post);
            assert_eq!(echo().await.unwrap().status(), 200);
            let logout = client.logout().await.map_err(failed).is_err();
            once_more("POST /auth/logout", logout);
            assert_eq!(is_logged_in(&client), logout);
            client.logout().await.unwrap();
            assert_eq!(client.status(), Status::LoggedOut);
        }
    }
    // Three in a row, and the session lives on by the same family of tokens.
    let (server, client, _) = alice().await;
    server.advance(EXPIRED);
    server.fault_refreshes([Fault::Lose, Fault::Refuse, Fault::Lose]);
    assert_eq!(hello(&server, &client).await.unwrap(), 200);
    server.advance(EXPIRED);
    assert_eq!(hello(&server, &client).await.unwrap(), 200);
    assert_eq!(server.refreshes(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_or_busy_logs_nobody_out() {
    let (mut server, client, store) = alice().await;
    let kept = store.now().await;
    server.advance(EXPIRED);
    server.down();
    let error = hello(&server, &client).await.unwrap_err();
    assert!(matches!(error, Error::Transport(_)), "{error:?}");
    assert!(is_logged_in(&client) && store.now().await == kept);
    server.up().await;
    eventually("the restarted server is used", async || hello(&server, &client).await.is_ok()).await;
    assert_eq!(hello(&server, &client).await.unwrap(), 200);

    // A moment is waited for, as long as it says.
    for busy in [
        "503 Service Unavailable\nretry-after: 1\n\n{\"error\":\"temporarily_unavailable\"}",
        "429 Too Many Requests\nretry-after: 1\n\n{\"error\":\"rate_limited\"}",
    ] {
        let started = Instant::now();
        server.advance(EXPIRED);
        server.forget();
        server.fault_refreshes([Fault::Answer(busy)]);
        assert_eq!((hello(&server, &client).await.unwrap(), server.refreshes()), (200, 2));
        assert!(started.elapsed() >= Duration::from_secs(1));
    }

    // More than that is the caller's to wait for. Meanwhile the server is left alone.
    for (answer, code, status) in [
        (
            "503 x\nretry-after: 60\n\n{\"error\":\"temporarily_unavailable\"}",
            Code::TemporarilyUnavailable,
            503,
        ),
        ("429 x\nretry-after: 60\n\n{\"error\":\"rate_limited\"}", Code::RateLimited, 429),
        ("503 x\nretry-after: 60\n\n<html>", Code::Other(String::new()), 503),
    ] {
        let (server, client, store) = alice().await;
        let kept = store.now().await;
        server.advance(EXPIRED);
        server
            .fault(move |what| if what == "POST /auth/token" { Fault::Answer(answer) } else { Fault::None });
        for _ in 0..3 {
            let Error::Refused(refusal) = hello(&server, &client).await.unwrap_err() else { panic!() };
            assert_eq!((refusal.status, refusal.code), (status, code.clone()));
            assert_eq!(refusal.retry_after.unwrap().as_secs(), 60);
        }
        assert_eq!(server.refreshes(), 1);
        assert!(is_logged_in(&client) && store.now().await == kept);
        // A login is not held off.
        server.fault(|_| Fault::None);
        client.login("alice", PASSWORD).await.unwrap();
        assert_eq!(hello(&server, &client).await.unwrap(), 200);
    }

    // Trouble that passes, and answers that are nobody's.
    for answer in [
        "500 x\n\n{\"error\":\"server_error\"}",
        "502 Bad Gateway\n\n<html>",
        "200 OK\ncontent-type: text/html\n\nPlease accept our terms",
        "200 OK\n\n{\"access_token\":\"a\"}",
    ] {
        server.advance(EXPIRED);
        server.fault_refreshes([Fault::Answer(answer)]);
        assert_eq!(hello(&server, &client).await.unwrap(), 200, "{answer}");
    }
    // Nobody sends a refresh token where a redirect points.
    server.advance(EXPIRED);
    server.fault_refreshes([Fault::Answer("307 x\nlocation: /elsewhere")]);
    hello(&server, &client).await.unwrap();
    assert_eq!(server.asked("POST /elsewhere"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ahead_of_time_a_busy_server_is_no_reason_to_fail() {
    // With nothing left the refusal stands for the answer; while the token is good, the request goes out with it.
    for (left, fails) in [(r#""expires_in":  0"#, true), (r#""expires_in":  5"#, false)] {
        let server = Server::start().await;
        let client = client(&server, &Shared::default()).await;
        server.fault(move |what| match what {
            "POST /auth/login" => Fault::Edit(r#""expires_in":900"#, left),
            "POST /auth/token" => Fault::Answer("429 x\n\n{\"error\":\"rate_limited\"}"),
            _ => Fault::None,
        });
        client.login("alice", PASSWORD).await.unwrap();
        let mut last = Ok(0);
        eventually("a refresh ahead of time", async || {
            last = hello(&server, &client).await;
            server.refreshes() > 0
        })
        .await;
        match last {
            Ok(status) => assert_eq!((status, fails), (200, false)),
            Err(error) => assert_eq!((error.code(), fails), (Some(&Code::RateLimited), true)),
        }
        assert!(is_logged_in(&client));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_often_is_served_soon_after() {
    let (server, client, _) = alice().await;
    server.advance(EXPIRED);
    server.fault_refreshes((0..5).map(|_| Fault::Answer("429 x\n\n{\"error\":\"rate_limited\"}")));
    eventually("five refusals", async || hello(&server, &client).await.is_err() && server.refreshes() == 5)
        .await;
    let started = Instant::now();
    eventually("the next refresh", async || hello(&server, &client).await.is_ok()).await;
    // A second, as after the first. Doubled each time it would be 16.
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_used_twice_ends_the_session_and_it_is_told() {
    for late in [false, true] {
        let (server, client, store) = alice().await;
        let mut told = client.subscribe();
        let copy = Shared::default();
        copy.put(&store.now().await).await;
        let other = self::client(&server, &copy).await;
        other.refresh().await.unwrap();
        server.advance(if late { LATE } else { 1 });
        let refreshed = client.refresh().await;
        assert_eq!(refreshed.is_err(), late);
        if let Err(error) = refreshed {
            assert!(error.session_ended());
            assert_eq!(*told.borrow_and_update(), Status::Ended);
            assert_eq!(store.now().await, "null");
            // Both are out.
            assert!(hello(&server, &other).await.unwrap_err().session_ended());
            // And nothing more is asked, until somebody logs in.
            server.forget();
            assert_eq!(hello(&server, &client).await.unwrap(), 401);
            assert_eq!(server.refreshes(), 0);
            client.login("alice", PASSWORD).await.unwrap();
            assert_eq!(hello(&server, &client).await.unwrap(), 200);
        } else {
            assert!(is_logged_in(&client) && !told.has_changed().unwrap());
            assert_eq!(hello(&server, &other).await.unwrap(), 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_kept_before_they_are_used() {
    let (server, client, store) = alice().await;
    let saved = Arc::clone(&store.0);
    server.advance(EXPIRED);
    assert_eq!(hello(&server, &client).await.unwrap(), 200);
    for head in server.seen() {
        if let Some(token) = head.split("authorization: Bearer ").nth(1).and_then(|rest| rest.lines().next())
        {
            assert!(saved.saved.lock().unwrap().iter().any(|tokens| tokens.contains(token)));
        }
    }

    // A store that fails: the call fails, the tokens wait, and the server is not asked again.
    server.advance(EXPIRED);
    server.forget();
    store.0.failing.store(2, Ordering::Relaxed);
    for _ in 0..2 {
        let error = hello(&server, &client).await.unwrap_err();
        assert!(matches!(error, Error::Store(_)) && is_logged_in(&client), "{error:?}");
    }
    server.advance(LATE);
    assert_eq!((hello(&server, &client).await.unwrap(), server.refreshes()), (200, 1));

    // A process that ends between a refresh and its save goes on if it is back in time.
    let before = store.now().await;
    server.advance(EXPIRED);
    assert_eq!(hello(&server, &client).await.unwrap(), 200);
    store.put(&before).await;
    server.advance(1);
    let next = self::client(&server, &store).await;
    assert!(is_logged_in(&next));
    assert_eq!(hello(&server, &next).await.unwrap(), 200);
    // One that ends after it, whenever.
    server.advance(EXPIRED);
    assert_eq!(hello(&server, &next).await.unwrap(), 200);
    server.advance(86_400);
    let next = self::client(&server, &store).await;
    assert_eq!(hello(&server, &next).await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_store() {
    let (server, one, store) = alice().await;
    let other = client(&server, &store).await;
    server.advance(EXPIRED);
    assert_eq!(hello(&server, &one).await.unwrap(), 200);
    // Late, and with a token that was used: it takes what the first one has saved.
    server.advance(LATE);
    assert_eq!((hello(&server, &other).await.unwrap(), server.refreshes()), (200, 1));
    // What was saved may have ended by now, too.
    let before = store.now().await;
    server.advance(EXPIRED);
    one.refresh().await.unwrap();
    server.advance(EXPIRED);
    assert_eq!((hello(&server, &other).await.unwrap(), server.refreshes()), (200, 3));
    // All at once.
    server.advance(EXPIRED);
    let (first, second) = tokio::join!(hello(&server, &one), hello(&server, &other));
    assert_eq!((first.unwrap(), second.unwrap()), (200, 200));

    // A process that was slow has saved an older one last. It is not taken for news by who has replaced it.
    let third = client(&server, &store).await;
    server.advance(60);
    let older = store.now().await;
    assert_ne!(older, before);
    third.refresh().await.unwrap();
    store.put(&older).await;
    server.advance(60);
    third.refresh().await.unwrap();
    assert_eq!(hello(&server, &third).await.unwrap(), 200);
    assert_ne!(store.now().await, older);

    third.logout().await.unwrap();
    assert_eq!(hello(&server, &one).await.unwrap(), 401);
    assert_eq!(one.status(), Status::LoggedOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_does_meanwhile_is_kept() {
    // It logs out, refreshes once more, or logs in anew while the answer of a refresh is on its way.
    for (what, revoked, status) in
        [("logs out", false, 401), ("logs in", false, 200), ("logs in", true, 200), ("does nothing", true, 0)]
    {
        let (server, client, store) = alice().await;
        let other = Shared::default();
        let login = self::client(&server, &other).await;
        login.login("alice", PASSWORD).await.unwrap();
        if revoked {
            let copy = Shared::default();
            copy.put(&store.now().await).await;
            self::client(&server, &copy).await.logout().await.unwrap();
        }
        server.advance(EXPIRED);
        login.refresh().await.unwrap();
        server.forget();
        let answer = Arc::new(Notify::new());
        server.fault_refreshes([Fault::Hold(Arc::clone(&answer))]);
        let (asking, url) = (client.clone(), server.at("/hello"));
        let asking = tokio::spawn(async move { asking.get(url).await });
        eventually("a refresh is under way", async || server.refreshes() == 1).await;
        let put = match what {
            "logs out" => "null".to_owned(),
            "logs in" => other.now().await,
            _ => store.now().await,
        };
        store.put(&put).await;
        answer.notify_one();
        match asking.await.unwrap() {
            Ok(answer) => assert_eq!(answer.status(), status, "{what}"),
            Err(error) => assert!(error.session_ended() && status == 0, "{what}: {error}"),
        }
        assert_eq!(store.now().await, if status == 0 { "null".to_owned() } else { put }, "{what}");
        assert_eq!(is_logged_in(&client), status == 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_takes_no_token_along() {
    let (server, client, _) = alice().await;
    server.advance(EXPIRED);
    let answer = Arc::new(Notify::new());
    server.fault_refreshes([Fault::Hold(Arc::clone(&answer))]);
    let (gone, url) = (client.clone(), server.at("/hello"));
    let caller = tokio::spawn(async move { gone.get(url).await });
    eventually("a refresh is under way", async || server.refreshes() == 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    answer.notify_one();
    assert_eq!((hello(&server, &client).await.unwrap(), server.refreshes()), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_go_to_origins_that_were_named() {
    let (server, client, _) = alice().await;
    let elsewhere = Server::start().await;
    let sent = |server: &Server| server.seen().last().unwrap().contains("authorization: ");
    let named = Client::builder(server.at("/auth")).origin(&elsewhere.url).build().await.unwrap();
    named.login("alice", PASSWORD).await.unwrap();
    for (client, given) in [(&client, false), (&named, true)] {
        server.forget();
        assert_eq!(hello(&server, client).await.unwrap(), 200);
        assert!(sent(&server));
        // Refused there, as a token of another issuer.
        elsewhere.forget();
        assert_eq!(hello(&elsewhere, client).await.unwrap(), 401);
        assert_eq!(sent(&elsewhere), given);
        assert_eq!(server.refreshes(), usize::from(given));
        assert!(is_logged_in(client));
    }
    // A request that brings credentials keeps them.
    let own = client.request(Method::GET, server.at("/hello")).bearer_auth("of-my-own");
    assert_eq!(client.send(own).await.unwrap().status(), 401);
    assert!(server.seen().last().unwrap().contains("authorization: Bearer of-my-own"));
    assert_eq!(
        Client::builder("http://api.example.com/auth").build().await.unwrap_err().to_string(),
        "http://api.example.com/auth is not https; whoever is on the way could read the tokens"
    );
}

#[tokio::test]
async fn a_body_that_is_a_stream_is_sent_once() {
    let (server, client, _) = alice().await;
    server.advance(EXPIRED);
    let stream = || reqwest::Body::wrap(http_body_util::Full::new(bytes::Bytes::from("kites")));
    let post = || {
        client
            .send(client.request(Method::POST, server.at("/echo")).header("content-length", 5).body(stream()))
    };
    assert_eq!(post().await.unwrap().status(), 401);
    assert_eq!((post().await.unwrap().status().as_u16(), server.refreshes()), (200, 1));
}

#[tokio::test]
async fn nothing_prints_a_secret() {
    let (_server, client, store) = alice().await;
    let tokens = store.load().await.unwrap().unwrap();
    let printed = format!("{client:?} {tokens:?} {:?} {:?}", Client::builder("x"), store.0.tokens);
    assert!(printed.contains(tokens.session_id()));
    assert!(!printed.contains("eyJ") && store.now().await.contains("eyJ"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_server_logs_nobody_out() {
    let (server, client, store) = alice().await;
    let kept = store.now().await;
    for answer in [
        "401 Unauthorized\nwww-authenticate: Basic\n\n<h1>Who are you?</h1>",
        "401 Unauthorized\n\n{\"error\":\"login_required\"}",
        "400 Bad Request\n\n{\"error\":\"invalid_request\"}",
        "200 OK\ncontent-type: text/html\n\nPlease accept our terms",
        "302 Found\nlocation: /elsewhere",
    ] {
        server.fault(move |what| match what {
            "POST /auth/logout" => Fault::Answer(answer),
            _ => Fault::None,
        });
        let error = client.logout().await.unwrap_err();
        assert!(matches!(error, Error::Refused(_) | Error::Unreadable(_)), "{answer}: {error:?}");
        assert!(is_logged_in(&client) && store.now().await == kept, "{answer}");
        assert_eq!(hello(&server, &client).await.unwrap(), 200);
    }
    // Nor does a refresh end by what only looks like its refusal.
    for answer in [
        "403 Forbidden\n\n{\"error\":\"invalid_grant\"}",
        "401 Unauthorized\n\n{\"error\":\"invalid_token\"}",
        "400 Bad Request\n\n{\"error\":\"invalid_request\"}",
    ] {
        let (server, client, store) = alice().await;
        let kept = store.now().await;
        server.fault_refreshes([Fault::Answer(answer)]);
        let error = client.refresh().await.unwrap_err();
        assert!(!error.session_ended() && is_logged_in(&client) && store.now().await == kept, "{answer}");
        eventually("a refresh", async || client.refresh().await.is_ok()).await;
    }
    // The server's own words count.
    for answer in ["401 x\n\n{\"error\":\"invalid_token\"}", "401 x\n\n{\"error\":\"unauthenticated\"}"] {
        let (server, client, store) = alice().await;
        server.fault(move |_| Fault::Answer(answer));
        client.logout().await.unwrap();
        assert_eq!((client.status(), store.now().await), (Status::LoggedOut, "null".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_read_is_not_overwritten() {
    // A refresh is refused as final, and what another process has saved meanwhile cannot be read just then.
    let (server, client, store) = alice().await;
    let other = Shared::default();
    let login = self::client(&server, &other).await;
    login.login("alice", PASSWORD).await.unwrap();
    let copy = Shared::default();
    copy.put(&store.now().await).await;
    self::client(&server, &copy).await.logout().await.unwrap();
    server.forget();
    let answer = Arc::new(Notify::new());
    server.fault_refreshes([Fault::Hold(Arc::clone(&answer))]);
    let refreshing = client.clone();
    let refreshing = tokio::spawn(async move { refreshing.refresh().await });
    eventually("a refresh is under way", async || server.refreshes() == 1).await;
    let newer = other.now().await;
    store.put(&newer).await;
    store.0.unreadable.store(true, Ordering::Relaxed);
    answer.notify_one();
    let error = refreshing.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Store(_)) && is_logged_in(&client), "{error:?}");
    assert_eq!(store.now().await, newer);

    // A logout would not know whom it ends.
    server.forget();
    let error = client.logout().await.unwrap_err();
    assert!(matches!(error, Error::Store(_)) && is_logged_in(&client), "{error:?}");
    assert_eq!((store.now().await, server.asked("POST /auth/logout")), (newer, 0));

    store.0.unreadable.store(false, Ordering::Relaxed);
    assert_eq!(hello(&server, &client).await.unwrap(), 200);
    client.logout().await.unwrap();
    assert_eq!((client.status(), store.now().await), (Status::LoggedOut, "null".to_owned()));
    assert!(hello(&server, &login).await.unwrap_err().session_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_another_process_outlives_a_logout() {
    let (server, client, store) = alice().await;
    let other = Shared::default();
    let login = self::client(&server, &other).await;
    login.login("alice", PASSWORD).await.unwrap();
    let answer = Arc::new(Notify::new());
    let held = Arc::clone(&answer);
    server.fault(move |what| match what {
        "POST /auth/logout" => Fault::Hold(Arc::clone(&held)),
        _ => Fault::None,
    });
    let leaving = client.clone();
    let leaving = tokio::spawn(async move { leaving.logout().await });
    eventually("a logout is under way", async || server.asked("POST /auth/logout") == 1).await;
    let newer = other.now().await;
    store.put(&newer).await;
    answer.notify_one();
    leaving.await.unwrap().unwrap();
    assert_eq!((client.status(), store.now().await), (Status::LoggedOut, newer));
    assert_eq!(hello(&server, &self::client(&server, &store).await).await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_ends_the_tries_of_a_refresh() {
    let (server, client, _) = alice().await;
    server.advance(EXPIRED);
    server.fault_refreshes(
        (0..9).map(|_| Fault::Answer("503 x\nretry-after: 3\n\n{\"error\":\"temporarily_unavailable\"}")),
    );
    let (asking, url) = (client.clone(), server.at("/hello"));
    let asking = tokio::spawn(async move { asking.get(url).await });
    eventually("a refresh is under way", async || server.refreshes() == 1).await;
    client.login("alice", PASSWORD).await.unwrap();
    assert_eq!(asking.await.unwrap().unwrap_err().code(), Some(&Code::TemporarilyUnavailable));
    assert_eq!((hello(&server, &client).await.unwrap(), server.refreshes()), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_sees_a_token_in_the_clear() {
    let (server, client, store) = alice().await;
    // It would forward what it gets: to a server of its own.
    let proxy = Server::start().await;
    let proxied = || reqwest::Client::builder().proxy(reqwest::Proxy::all(&proxy.url).unwrap());

    // Beside endpoints of https.
    let beside = Client::builder("https://127.0.0.1:1/auth").origin(&server.url).store(store.clone());
    let beside = beside.http(proxied()).build().await.unwrap();
    // A client of the caller's own, for the request alone.
    let own = proxied().build().unwrap();
    for request in [beside.request(Method::GET, server.at("/hello")), own.get(server.at("/hello"))] {
        assert_eq!(beside.send(request).await.unwrap().text().await.unwrap(), "hello alice");
    }
    assert_eq!(client.send(own.get(server.at("/hello"))).await.unwrap().status(), 200);
    // Where the endpoints themselves are on this machine.
    let plain = Client::builder(server.at("/auth")).http(proxied()).build().await.unwrap();
    plain.login("alice", PASSWORD).await.unwrap();
    assert_eq!(hello(&server, &plain).await.unwrap(), 200);
    assert_eq!(proxy.seen(), [""; 0]);

    // What has no token goes as the caller wants it.
    for (client, request) in [
        (&beside, beside.request(Method::GET, "http://elsewhere.example/hello")),
        (&client, own.get("http://elsewhere.example/hello")),
    ] {
        client.send(request).await.unwrap();
    }
    let seen = proxy.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|head| head.contains("elsewhere.example") && !head.contains("authorization")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_this_machine_is_asked_of_no_name_server() {
    let server = Server::start().await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let url = format!("http://nobody-has-this-name.localhost:{port}");
    let client = Client::builder(format!("{url}/auth")).build().await.unwrap();
    client.login("alice", PASSWORD).await.unwrap();
    assert_eq!(client.get(format!("{url}/hello")).await.unwrap().status(), 200);
}
