//! The program as a newcomer starts it: in an empty folder, twice, and where it cannot work.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Two settings of keys, each good by itself.
const ACCESS: &str = "hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const REFRESH: &str = "IAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// An empty folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gatekey-quickstart-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running program; killed when dropped, as by a power cut.
struct Running {
    child: Child,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["LISTEN", "ISSUER", "GATEKEY_ACCESS_KEY", "GATEKEY_REFRESH_SECRET"] {
        command.env_remove(name);
    }
    command
}

fn start(folder: &Path) -> Running {
    let mut child = program(folder).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("http://").and_then(|rest| rest.split_once(" is ready"));
    let address = address.unwrap_or_else(|| panic!("{line:?}")).0.to_owned();
    Running { child, address }
}

/// The one line that it says where it cannot start.
fn refused(command: &mut Command) -> String {
    let ended = command.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said.trim_end().to_owned()
}

/// Posts to an endpoint and returns the status line.
fn post(running: &Running, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(&running.address).unwrap();
    let head = "Connection: close\r\nContent-Type: application/json";
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn it_makes_what_it_needs_and_finds_it_again() {
    let parent = Folder::new("again");
    // Another program's settings, some folders up.
    fs::write(parent.0.join(".env"), "GATEKEY_ACCESS_KEY=theirs\n").unwrap();
    let folder = parent.0.join("ours");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(".env"), "LISTEN=127.0.0.1:0\n").unwrap();
    let alice = r#"{"username":"alice","password":"a long enough pass phrase"}"#;
    let first = start(&folder);
    assert_eq!(post(&first, "/auth/register", alice), "HTTP/1.1 201 Created");
    drop(first);
    #[cfg(unix)]
    for name in ["gatekey.keys", "gatekey.db"] {
        let mode = fs::metadata(folder.join(name)).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600, "{name}");
    }
    let second = start(&folder);
    assert_eq!(post(&second, "/auth/register", alice), "HTTP/1.1 409 Conflict");
    assert_eq!(post(&second, "/auth/login", alice), "HTTP/1.1 200 OK");
}

#[test]
fn it_says_in_one_line_why_it_cannot_start() {
    let folder = Folder::new("refused");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(program(&folder.0).env("LISTEN", &address));
    let expected = format!("quickstart: {address} is in use by another program; choose another with LISTEN=");
    assert!(said.starts_with(&expected), "{said}");
    for (setting, value, expected) in [
        ("LISTEN", "nonsense", "quickstart: LISTEN=nonsense is no address and port"),
        ("ISSUER", "app.example.com", "quickstart: issuer: \"app.example.com\" is no absolute URL"),
        ("ISSUER", "http://app.example.com", "quickstart: issuer: is not https, and not on a loopback host"),
        (
            "GATEKEY_ACCESS_KEY",
            "hs256:c2hvcnQ=",
            "quickstart: GATEKEY_ACCESS_KEY: a secret of 5 bytes is too short",
        ),
    ] {
        let said = refused(program(&folder.0).env("LISTEN", "127.0.0.1:0").env(setting, value));
        assert!(said.starts_with(expected), "{said}");
    }
    for (name, expected) in [
        ("gatekey.keys", "quickstart: key file gatekey.keys: "),
        ("gatekey.db", "quickstart: cannot open the store \"gatekey.db\": "),
        (".env", "quickstart: .env: "),
    ] {
        let path = folder.0.join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, "this is no such file\n").unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let said = refused(program(&folder.0).env("LISTEN", "127.0.0.1:0"));
        assert!(said.starts_with(expected), "{said}");
        fs::remove_file(&path).unwrap();
    }
    // A folder that not even an administrator can write to.
    if cfg!(target_os = "linux") {
        let said = refused(program(Path::new("/proc")).env("LISTEN", "127.0.0.1:0"));
        assert!(said.starts_with("quickstart: key file gatekey.keys: "), "{said}");
    }
}

#[test]
fn keys_that_are_given_by_half_are_not_made_up_for() {
    let folder = Folder::new("half");
    let program = || {
        let mut command = program(&folder.0);
        command.env("LISTEN", "127.0.0.1:0");
        command
    };
    let said = refused(program().env("GATEKEY_ACCESS_KEY", ACCESS));
    assert_eq!(said, "quickstart: GATEKEY_REFRESH_SECRET is not set");
    let said = refused(program().env("GATEKEY_REFRESH_SECRET", REFRESH));
    assert_eq!(said, "quickstart: GATEKEY_ACCESS_KEY is not set");
    // What is no text is not taken for absent.
    #[cfg(unix)]
    for name in ["GATEKEY_ACCESS_KEY", "GATEKEY_REFRESH_SECRET", "GATEKEY_ACCESS_KEY_PREVIOUS"] {
        let mut command = program();
        command.env("GATEKEY_ACCESS_KEY", ACCESS).env("GATEKEY_REFRESH_SECRET", REFRESH);
        let said = refused(command.env(name, std::ffi::OsStr::from_bytes(b"\xff")));
        assert!(said.starts_with(&format!("quickstart: {name}: not a readable key")), "{said}");
    }
    assert!(!folder.0.join("gatekey.keys").exists(), "keys that nobody asked for");
}
