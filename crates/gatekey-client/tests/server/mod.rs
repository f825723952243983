//! A server whose clock the tests move, and a forwarder in front of it that loses what they tell it to.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    routing::{get, post},
};
use gatekey::{Algorithm, Clock, Gatekey, Keys, MemoryStore, SystemClock, Timestamp, axum::Authenticated};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot},
};

pub(crate) const PASSWORD: &str = "a long enough pass phrase";

#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().as_millis() + self.0.load(Ordering::Relaxed))
    }
}

/// What becomes of a request.
pub(crate) enum Fault {
    /// It is answered.
    None,
    /// It never arrives.
    Refuse,
    /// It is answered, and the answer is lost.
    Lose,
    /// It is answered, and the answer is held until told.
    Hold(Arc<Notify>),
    /// The forwarder answers this itself.
    Answer(&'static str),
    /// It is answered, and in the answer this is replaced by something of the same length.
    Edit(&'static str, &'static str),
}

type Rule = Box<dyn FnMut(&str) -> Fault + Send>;

struct Forwarder {
    onward: Mutex<Option<SocketAddr>>,
    rule: Mutex<Rule>,
    /// Each request: its first line and its header.
    seen: Mutex<Vec<String>>,
}

pub(crate) struct Server {
    pub(crate) url: String,
    forwarder: Arc<Forwarder>,
    clock: Arc<TestClock>,
    store: MemoryStore,
    keys: Keys,
    stop: Option<oneshot::Sender<()>>,
}

impl Server {
    /// With an account of alice.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let forwarder = Arc::new(Forwarder {
            onward: Mutex::default(),
            rule: Mutex::new(Box::new(|_| Fault::None)),
            seen: Mutex::default(),
        });
        let shared = Arc::clone(&forwarder);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let forwarder = Arc::clone(&shared);
                // A connection that breaks has done what it should.
                tokio::spawn(async move { forwarder.serve(stream).await });
            }
        });
        let keys = Keys::generate(Algorithm::EdDSA).unwrap();
        let clock = Arc::new(TestClock::default());
        let store = MemoryStore::new();
        let mut server = Self { url, forwarder, clock, store, keys, stop: None };
        server.up().await;
        let account = format!(r#"{{"username":"alice","password":"{PASSWORD}"}}"#);
        let register = reqwest::Client::new().post(server.at("/auth/register")).body(account);
        let answer = register.header("content-type", "application/json").send().await.unwrap();
        assert_eq!(answer.status(), 201);
        server.forget();
        server
    }

    /// Starts it anew, with the keys and the store it had.
    pub(crate) async fn up(&mut self) {
        let gatekey = Gatekey::builder()
            .issuer(&self.url)
            .keys(self.keys.clone())
            .store(self.store.clone())
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .build()
            .await
            .unwrap();
        let app = Router::new()
            .route("/hello", get(async |user: Authenticated| format!("hello {}", user.username())))
            .route("/echo", post(async |_: Authenticated, body: String| body))
            .merge(gatekey::axum::routes(&gatekey))
            .with_state(gatekey);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *self.forwarder.onward.lock().unwrap() = Some(listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        let until = async move {
            let _told = stopped.await;
        };
        tokio::spawn(gatekey::axum::serve(listener, app).with_graceful_shutdown(until).into_future());
    }

    /// Stops it: nobody listens any more.
    pub(crate) fn down(&mut self) {
        self.stop = None;
        *self.forwarder.onward.lock().unwrap() = None;
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Moves its clock, by seconds.
    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    /// What becomes of requests, by `METHOD path`.
    pub(crate) fn fault(&self, rule: impl FnMut(&str) -> Fault + Send + 'static) {
        *self.forwarder.rule.lock().unwrap() = Box::new(rule);
    }

    /// What becomes of the next refreshes; those after them are answered.
    pub(crate) fn fault_refreshes(&self, faults: impl IntoIterator<Item = Fault>) {
        let mut faults: Vec<_> = faults.into_iter().collect();
        faults.reverse();
        self.fault(move |what| match what {
            "POST /auth/token" => faults.pop().unwrap_or(Fault::None),
            _ => Fault::None,
        });
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.forwarder.seen.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.forwarder.seen.lock().unwrap().clear();
    }

    /// How many requests went there.
    pub(crate) fn asked(&self, what: &str) -> usize {
        self.seen().iter().filter(|head| head.starts_with(&format!("{what} "))).count()
    }

    pub(crate) fn refreshes(&self) -> usize {
        self.asked("POST /auth/token")
    }
}

impl Forwarder {
    async fn serve(&self, mut client: TcpStream) -> Option<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(client.read_u8().await.ok()?);
        }
        let head = String::from_utf8(request.clone()).ok()?;
        let length = head.to_ascii_lowercase();
        let length =
            length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        client.read_exact(&mut body).await.ok()?;
        let what = head.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let fault = (self.rule.lock().unwrap())(&what);
        self.seen.lock().unwrap().push(head.clone());
        if let Fault::Refuse = fault {
            return None;
        }
        if let Fault::Answer(text) = fault {
            let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
            let head = head.replace('\n', "\r\n");
            let answer = format!(
                "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            return client.write_all(answer.as_bytes()).await.ok();
        }
        let onward = (*self.onward.lock().unwrap())?;
        let mut server = TcpStream::connect(onward).await.ok()?;
        // One request a connection, so that the answer ends with it.
        let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        server.write_all(head.as_bytes()).await.ok()?;
        server.write_all(&body).await.ok()?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await.ok()?;
        match fault {
            Fault::Lose => return None,
            Fault::Hold(told) => told.notified().await,
            Fault::Edit(from, to) => {
                assert_eq!(from.len(), to.len());
                answer = String::from_utf8(answer).ok()?.replace(from, to).into_bytes();
            }
            Fault::None | Fault::Refuse | Fault::Answer(_) => {}
        }
        client.write_all(&answer).await.ok()
    }
}

/// Waits for something that comes by itself.
pub(crate) async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if look().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 30 s: {what}");
}
