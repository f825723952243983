//! Keys are rotated by the command while applications that share the file serve: no request is refused.
//!
//! Two nodes, each a process of its own, serve one SQLite file with one file of keys. Clients refresh at one and call the
//! other, all the time, while the command rotates both kinds of key several times.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use gatekey::{Gatekey, Keys, Limits, SqliteStore};
use serde_json::Value;

const NODE: &str = "GATEKEY_TEST_NODE";
const CLIENTS: usize = 4;
const ROTATIONS: usize = 2;

/// One node, where this program is started as such by the other test.
#[tokio::test(flavor = "multi_thread")]
async fn node() {
    let Some(folder) = std::env::var_os(NODE).map(PathBuf::from) else { return };
    let gatekey = Gatekey::builder()
        .issuer("https://app.example.com")
        .keys(Keys::load_or_create(folder.join("gatekey.keys")).unwrap())
        .store(SqliteStore::open(folder.join("app.db")).await.unwrap())
        .limits(Limits::OFF)
        .configure(|config| config.keys_poll = Duration::from_millis(100))
        .build()
        .await
        .unwrap();
    let app = axum::Router::new().merge(gatekey::axum::routes(&gatekey)).with_state(gatekey);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Past the test harness, whose own line has no end yet.
    let ready = format!("\nready {}\n", listener.local_addr().unwrap());
    std::io::stdout().write_all(ready.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
    // Until the other test closes it, or is gone.
    tokio::task::spawn_blocking(|| std::process::exit(i32::from(std::io::stdin().read(&mut [0]).is_err())));
    gatekey::axum::serve(listener, app).await.unwrap();
}

struct Node {
    process: Child,
    address: SocketAddr,
}

impl Node {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "node", "--nocapture"])
            .env(NODE, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("ready ").map(str::to_owned)).unwrap();
        // The rest is read so that the node never waits for us.
        thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.parse().unwrap() }
    }

    fn send(&self, head: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let length = body.len();
        write!(stream, "{head}\r\nHost: app\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn post(&self, path: &str, kind: &str, body: &str) -> (u16, Value) {
        self.send(&format!("POST /auth/{path} HTTP/1.1\r\nContent-Type: {kind}"), body)
    }

    fn get(&self, path: &str, token: &str) -> (u16, Value) {
        self.send(&format!("GET /auth/{path} HTTP/1.1\r\nAuthorization: Bearer {token}"), "")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Refreshes at one node and calls the other with what it got, by turns.
fn client(
    nodes: &[Node; 2],
    number: usize,
    rounds: &AtomicUsize,
    over: &AtomicBool,
    tokens_seen: &Mutex<BTreeSet<String>>,
) {
    let account = format!(r#"{{"username":"user-{number}","password":"a long enough pass phrase"}}"#);
    let (status, body) = nodes[0].post("register", "application/json", &account);
    assert_eq!(status, 201, "{body}");
    let (status, mut tokens) = nodes[0].post("login", "application/json", &account);
    assert_eq!(status, 200, "{tokens}");
    while !over.load(Ordering::SeqCst) {
        let turn = rounds.load(Ordering::SeqCst) % 2;
        let form =
            format!("grant_type=refresh_token&refresh_token={}", tokens["refresh_token"].as_str().unwrap());
        let (status, body) = nodes[turn].post("token", "application/x-www-form-urlencoded", &form);
        assert_eq!(status, 200, "refused a refresh: {body}");
        tokens = body;
        let access = tokens["access_token"].as_str().unwrap();
        for node in nodes {
            let (status, body) = node.get("me", access);
            assert_eq!(status, 200, "refused a call: {body}");
        }
        for name in ["access_token", "refresh_token"] {
            let header = tokens[name].as_str().unwrap().split('.').next().unwrap().to_owned();
            tokens_seen.lock().unwrap().insert(header);
        }
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_command_rotates_the_keys_of_running_applications_and_nobody_is_refused() {
    let folder = std::env::temp_dir().join(format!("gatekey-cli-rotation-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("gatekey.keys");
    let nodes = [Node::start(&folder), Node::start(&folder)];
    let command = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_gatekey")).args(arguments).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let rounds: [AtomicUsize; CLIENTS] = Default::default();
    let over = AtomicBool::new(false);
    let seen = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        let clients: Vec<_> = rounds
            .iter()
            .enumerate()
            .map(|(number, rounds)| {
                let (nodes, over, seen) = (&nodes, &over, &seen);
                scope.spawn(move || client(nodes, number, rounds, over, seen))
            })
            .collect();
        let failed = || clients.iter().any(thread::ScopedJoinHandle::is_finished);
        let wait = |done: &dyn Fn() -> bool| {
            while !done() && !failed() {
                thread::sleep(Duration::from_millis(5));
            }
        };
        for rotation in 0..ROTATIONS {
            // Far enough ahead for two nodes that look every 100 ms, on a machine with much else to do.
            command(&["keys", "rotate", "--in", "6"]);
            command(&["keys", "rotate", "--in", "6", "--refresh"]);
            // Each key has signed for somebody before the next one comes.
            wait(&|| seen.lock().unwrap().len() >= 2 * (rotation + 2));
        }
        let before: Vec<_> = rounds.iter().map(|rounds| rounds.load(Ordering::SeqCst)).collect();
        wait(&|| rounds.iter().zip(&before).all(|(now, before)| now.load(Ordering::SeqCst) >= before + 2));
        over.store(true, Ordering::SeqCst);
    });
    assert!(seen.lock().unwrap().len() >= 2 * (ROTATIONS + 1));
    let listed: Value = serde_json::from_str(&command(&["keys", "list", "--json"])).unwrap();
    let states: Vec<_> =
        listed.as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states.iter().filter(|state| **state == "active").count(), 2, "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == "retiring").count(), 2 * ROTATIONS, "{states:?}");

    // A key that is taken away by hand is refused by both nodes as soon as they have looked.
    let account = r#"{"username":"user-0","password":"a long enough pass phrase"}"#;
    let token =
        nodes[0].post("login", "application/json", account).1["access_token"].as_str().unwrap().to_owned();
    command(&["keys", "rotate", "--in", "0"]);
    let kid = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["state"] == "active" && key["purpose"] == "access")
        .unwrap()["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_gatekey"))
        .args(["keys", "retire"])
        .arg(&file)
        .arg(&kid)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for node in &nodes {
        let refused = (0..3000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            node.get("me", &token).0 == 401
        });
        assert!(refused);
    }
    drop(nodes);
    fs::remove_dir_all(&folder).unwrap();
}
