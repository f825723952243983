//! The cluster as somebody starts it, used through either node and through the front.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How long something may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

const PASSWORD: &str = "a long enough pass phrase";

/// A running cluster in a folder of its own. Whatever happens, its nodes end with it, and its servers.
struct Cluster {
    child: Child,
    folder: PathBuf,
    front: String,
    nodes: Vec<String>,
    processes: Vec<String>,
}

impl Cluster {
    /// `None`, and a line that says so, without servers.
    fn start() -> Option<Self> {
        if ["DATABASE_URL", "REDIS_URL"].iter().any(|name| std::env::var(name).unwrap_or_default().is_empty())
        {
            let why = "DATABASE_URL and REDIS_URL are not set";
            assert!(std::env::var_os("GATEKEY_REQUIRE_ALL").is_none(), "{why}");
            let _ = writeln!(std::io::stderr(), "not run: cluster: {why}");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("gatekey-cluster-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_cluster"))
            .current_dir(&folder)
            .env("LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut front, mut nodes, mut processes) = (String::new(), Vec::new(), Vec::new());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while front.is_empty() {
            let line = lines.next().expect("it serves").unwrap();
            if let Some((_, node)) = line.split_once(": http://") {
                let (address, process) = node.split_once(" (process ").unwrap();
                nodes.push(address.to_owned());
                processes.push(process.trim_end_matches(')').to_owned());
            } else if let Some((address, _)) = line.split_once(" is ready") {
                front = address.strip_prefix("http://").unwrap().to_owned();
            }
        }
        // What it and its nodes go on to print is read, so that they never wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { child, folder, front, nodes, processes })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An answer: status, head and body.
struct Answer(u16, String, String);

impl Answer {
    #[track_caller]
    fn is(self, status: u16) -> Value {
        assert_eq!(self.0, status, "{}{}", self.1, self.2);
        serde_json::from_str(&self.2).unwrap_or_default()
    }

    /// Who answered.
    fn node(&self) -> String {
        let field = self.1.lines().find_map(|line| line.strip_prefix("node: "));
        field.unwrap_or_else(|| panic!("{}", self.1)).to_owned()
    }
}

/// Asks with a token, where there is one, and a body, where it is not null.
fn ask(address: &str, method: &str, path: &str, token: &Value, body: &Value) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let token = token.as_str().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{token}Content-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer(status.unwrap(), head.to_owned(), body.to_owned())
}

fn get(address: &str, path: &str, token: &Value) -> Answer {
    ask(address, "GET", path, token, &Value::Null)
}

fn refresh(address: &str, held: &Value) -> Answer {
    let body = json!({"grant_type": "refresh_token", "refresh_token": held["refresh_token"]});
    ask(address, "POST", "/auth/token", &Value::Null, &body)
}

#[test]
fn two_nodes_are_one_application() {
    let Some(mut cluster) = Cluster::start() else { return };
    let [one, two] = [cluster.nodes[0].as_str(), cluster.nodes[1].as_str()];
    let front = cluster.front.as_str();

    // The page is the same from everywhere, and the front takes turns.
    let page = get(one, "/", &Value::Null);
    assert!(page.2.contains("/app.js"), "{}", page.2);
    for address in [two, front, front] {
        assert_eq!(get(address, "/", &Value::Null).2, page.2);
    }
    let answered: BTreeSet<_> = (0..2).map(|_| get(front, "/", &Value::Null).node()).collect();
    assert_eq!(answered, BTreeSet::from([one.to_owned(), two.to_owned()]));

    // Registered on one, logged in on the other, refreshed on either.
    let name = format!("alice-{}", std::process::id());
    let account = json!({"username": name, "password": PASSWORD});
    ask(one, "POST", "/auth/register", &Value::Null, &account).is(201);
    let login = |address: &str| ask(address, "POST", "/auth/login", &Value::Null, &account).is(200);
    let held = refresh(one, &login(two)).is(200);
    let held = refresh(two, &held).is(200);
    let other = login(one);
    assert_eq!(get(two, "/hello", &other["access_token"]).2, format!("hello {name}\n"));
    let listed = get(front, "/auth/sessions", &held["access_token"]).is(200);
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(2));

    // Ended on one: the other refuses its access token. Within a second, as `nodes/…` of the suite times it.
    let path = format!("/auth/sessions/{}", other["session_id"].as_str().unwrap());
    ask(one, "DELETE", &path, &held["access_token"], &Value::Null).is(204);
    get(one, "/hello", &other["access_token"]).is(401);
    let ended = Instant::now();
    while get(two, "/hello", &other["access_token"]).0 == 200 {
        assert!(ended.elapsed() < PATIENCE, "the other node hears nothing");
        sleep(Duration::from_millis(5));
    }
    for address in [one, two, front, front] {
        get(address, "/hello", &other["access_token"]).is(401);
        refresh(address, &other).is(400);
        get(address, "/hello", &held["access_token"]).is(200);
    }

    // A node that is gone is passed over, and nobody has to log in again.
    let signal =
        |name: &str, process: &str| Command::new("kill").args([name, process]).status().unwrap().success();
    assert!(signal("-KILL", &cluster.processes[0]));
    let killed = Instant::now();
    // Until the kernel has ended it, it may take a connection that nobody answers.
    while TcpStream::connect(one).is_ok() {
        assert!(killed.elapsed() < PATIENCE, "a killed node goes on");
        sleep(Duration::from_millis(5));
    }
    for _ in 0..2 {
        assert_eq!(get(front, "/", &Value::Null).node(), two);
    }
    refresh(front, &held).is(200);

    // Ctrl-C ends it, and what it started.
    assert!(signal("-INT", &cluster.child.id().to_string()));
    assert!(cluster.child.wait().unwrap().success());
    let gone =
        Command::new("kill").args(["-0", &cluster.processes[1]]).stderr(Stdio::null()).status().unwrap();
    assert!(!gone.success(), "a node is left behind");
}
