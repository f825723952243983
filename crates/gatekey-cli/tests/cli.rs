//! The real program, on files of its own and on the servers that are there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use gatekey::{
    Authority, Client, Keys, PostgresOptions, RedisOptions, Secret, SessionStore, SqliteStore, UserStore,
};
use serde_json::{Value, json};

/// argon2id of [`PASSWORD`].
const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$SVMx63sZVd9QxYYm21ne2g$kE5i5lDkRMqeeJdAmtdtW35wDQ6ssCkNuCadnGXJFiU";
const PASSWORD: &str = "correct horse battery staple";
const ISSUER: &str = "https://app.example.com";

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gatekey-cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}

/// What a run came to.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// It failed with one line.
    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is not in {:?}", self.err);
        assert_eq!(
            self.err.lines().filter(|line| line.starts_with("gatekey: ")).count(),
            1,
            "{:?}",
            self.err
        );
        self
    }
}

fn gatekey_in(folder: &Folder, arguments: &[&str], stdin: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatekey"))
        .args(arguments)
        .current_dir(&folder.0)
        .env_remove("GATEKEY_STORE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that reads nothing may be gone already.
    let _unread = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

fn gatekey(folder: &Folder, arguments: &[&str]) -> Ran {
    gatekey_in(folder, arguments, "")
}

fn states(folder: &Folder) -> Vec<(String, String)> {
    let listed = gatekey(folder, &["keys", "list", "k", "--json"]).exits(0).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|key| (text(&key["kid"]), text(&key["state"]))).collect()
}

// ---- Keys -------------------------------------------------------------------------------------------------------

#[test]
fn keys_are_made_listed_rotated_and_retired_and_never_printed() {
    let folder = Folder::new();
    let path = folder.0.join("k");
    let mut printed = gatekey(&folder, &["keys", "generate", "--alg", "ES256", "k"]).exits(0).out;
    assert_eq!(
        fs::metadata(&path).map(|file| std::os::unix::fs::PermissionsExt::mode(&file.permissions())).unwrap()
            & 0o777,
        0o600
    );
    let made = fs::read(&path).unwrap();
    gatekey(&folder, &["keys", "generate", "k"]).exits(2).says("exists already");
    assert_eq!(fs::read(&path).unwrap(), made);

    let first = states(&folder)[0].0.clone();
    printed += &gatekey(&folder, &["keys", "rotate", "k"]).exits(0).out;
    let [(_, one), (second, two), (_, refresh)] = &states(&folder)[..] else { panic!("three keys") };
    assert_eq!([one.as_str(), two, refresh], ["active", "published", "active"]);
    gatekey(&folder, &["keys", "retire", "k", &first]).exits(1).says("no key of that kid");
    // One that waits may be called back.
    gatekey(&folder, &["keys", "retire", "k", second]).exits(0);
    printed += &gatekey(&folder, &["keys", "rotate", "--in", "0", "k"]).exits(0).out;
    printed += &gatekey(&folder, &["keys", "rotate", "--in=0", "--refresh", "k"]).exits(0).out;
    let now: Vec<_> = states(&folder).into_iter().map(|(_, state)| state).collect();
    assert_eq!(now, ["retiring", "active", "retiring", "active"]);
    gatekey(&folder, &["keys", "retire", "k", &first]).exits(0);
    printed += &gatekey(&folder, &["keys", "list", "k"]).exits(0).out;

    let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for key in file["access"].as_array().unwrap().iter().chain(file["refresh"].as_array().unwrap()) {
        assert!(!printed.contains(key["key"].as_str().unwrap()));
    }
    for (arguments, code, text) in [
        (&["keys", "list", "nothing"][..], 2, "does not exist"),
        (&["keys", "rotate", "--in", "soon", "k"], 2, "not a number of seconds"),
        (&["keys", "rotate", "--in", "-1", "k"], 2, "not a number of seconds"),
        (&["keys", "rotate", "--alg", "none", "k"], 2, "is none of"),
        (&["keys", "rotate", "--alg", "HS256", "k"], 1, "cannot be mixed"),
        (&["keys", "rotate", "--alg", "ES256", "--refresh", "k"], 2, "HS256 alone"),
        (&["keys", "rotate"], 2, "usage: gatekey keys rotate"),
        (&["keys", "rotate", "k", "k"], 2, "usage: "),
        (&["keys", "retire", "k"], 2, "usage: "),
        (&["keys", "list", "--alg", "k", "k"], 2, "does not take --alg"),
        (&["keys", "list", "--json", "--json", "k"], 2, "stands twice"),
        (&["keys"], 2, "keys what?"),
        (&["rotate"], 2, "there is no command"),
        (&[], 2, "a command is needed"),
    ] {
        gatekey(&folder, arguments).exits(code).says(text);
    }
    folder.file("open", "{}");
    gatekey(&folder, &["keys", "list", "open"]).exits(2).says("may be read by others");
}

// ---- Stores -----------------------------------------------------------------------------------------------------

/// A store by its URL, with what an application would have of it.
struct Place {
    url: String,
    sessions: std::sync::Arc<dyn SessionStore>,
    users: std::sync::Arc<dyn UserStore>,
}

impl Place {
    fn of(url: String, store: impl SessionStore + UserStore) -> Self {
        let store = std::sync::Arc::new(store);
        Self { url, sessions: store.clone(), users: store }
    }

    async fn application(&self, keys: &Path) -> Authority {
        let mut builder = Authority::builder();
        builder.config_mut().issuer = ISSUER.to_owned();
        builder.config_mut().hashing.threads = 1;
        builder.keys(Keys::load_or_create(keys).unwrap());
        builder.sessions(self.sessions.clone());
        builder.users(self.users.clone());
        builder.build().await.unwrap()
    }
}

/// SQLite, and the servers that are there; those that are not are told, or fail where all are required.
async fn places(folder: &Folder, test: &str) -> Vec<Place> {
    let given = |variable: &str| {
        let given = std::env::var(variable).ok().filter(|given| !given.is_empty());
        if given.is_none() {
            assert!(std::env::var_os("GATEKEY_REQUIRE_ALL").is_none(), "{variable} is not set");
            let _ = writeln!(std::io::stderr(), "not run: {test} on a server: {variable} is not set");
        }
        given
    };
    let path = folder.0.join("app.db");
    let url = format!("sqlite:{}", path.display());
    let mut places = vec![Place::of(url, SqliteStore::open(&path).await.unwrap())];
    let name = format!("cli_{}_{test}", std::process::id());
    if let Some(url) = given("DATABASE_URL") {
        let store = PostgresOptions::default().pool_size(2).schema(&name).connect(&url).await.unwrap();
        places.push(Place::of(format!("{url}#{name}"), store));
    }
    if let Some(url) = given("REDIS_URL") {
        let store = RedisOptions::default().prefix(format!("{name}:")).connect(&url).await.unwrap();
        places.push(Place::of(format!("{url}#{name}"), store));
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_imported_and_sessions_are_seen_and_ended() {
    let folder = Folder::new();
    for place in places(&folder, "accounts").await {
        let store = ["--store", &place.url];
        let run = |arguments: &[&str]| gatekey(&folder, &[arguments, &store].concat());
        let lines = [
            json!({"username": "Alice", "password_hash": HASH, "roles": ["admin"], "scope": "read"}),
            json!({"username": "bob", "password_hash": "$2b$12$EXRkfkdmXn2gzds2SSitu.MW9.gAVqa9eLS1//RYtYCmB1eLHg.9q", "disabled": true}),
        ];
        folder.file("users.jsonl", &lines.map(|line| line.to_string()).join("\n"));
        let ran = run(&["users", "import", "users.jsonl"]).exits(0);
        assert!(ran.out.starts_with("2 accounts were created"), "{}", ran.out);
        // The same again changes nothing; another account of a name is refused.
        let ran = run(&["users", "import", "users.jsonl"]).exits(0);
        assert!(ran.out.contains("0 accounts were created, 2 were there already"), "{}", ran.out);
        let other = json!({"username": "ALICE", "password_hash": HASH.replace("kE5", "kE6")});
        folder.file("other.jsonl", &other.to_string());
        assert!(
            run(&["users", "import", "other.jsonl"])
                .exits(1)
                .err
                .contains("line 1: there is another account")
        );

        let application = place.application(&folder.0.join("k")).await;
        let client = Client::new(Some([192, 0, 2, 7].into()), Some("Firefox\u{1b}[2J"));
        let password = || Secret::new(PASSWORD.to_owned());
        let login = async || application.login("alice", password(), &client, None).await.unwrap();
        let (one, two, three) = (login().await, login().await, login().await);
        let bob = application.login("bob", password(), &client, None).await;
        assert!(bob.is_err(), "he is disabled");

        let listed = run(&["sessions", "list", "--user", "ALICE", "--json"]).exits(0).json();
        assert_eq!(listed.as_array().unwrap().len(), 3);
        assert_eq!(listed[0]["ip"], "192.0.2.7");
        let table = run(&["sessions", "list", "--user", "alice"]).exits(0).out;
        assert!(table.contains(one.session.as_str()) && !table.contains('\u{1b}'), "{table}");
        run(&["sessions", "list", "--user", "nobody"]).exits(1).says("no account is named");
        run(&["sessions", "list"]).exits(2).says("whose?");

        // A token of a session that is ended is refused for that, and by the running application.
        let inspect = |token: &Secret<String>| {
            let arguments = ["token", "inspect", "--keys", "k", "--issuer", ISSUER, "--json"];
            gatekey_in(&folder, &[&arguments[..], &store].concat(), token.expose())
        };
        assert_eq!(inspect(&one.access).exits(0).json()[13]["result"], "pass");
        run(&["sessions", "revoke", one.session.as_str()]).exits(0);
        let ended = inspect(&one.access).exits(1).json();
        assert_eq!(ended[13]["result"], "FAIL");
        assert!(ended[13]["found"].as_str().unwrap().ends_with(": revoked"), "{ended}");
        for _ in 0..3000 {
            if application.authenticate(one.access.expose()).is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(application.authenticate(one.access.expose()).is_err());
        assert!(application.authenticate(two.access.expose()).is_ok());
        run(&["sessions", "revoke", one.session.as_str()]).exits(1).says("1 of them are no live session");
        run(&["sessions", "revoke"]).exits(2).says("give ids of sessions");
        run(&["sessions", "revoke", "--all"]).exits(2).says("whose?");
        // Not another account's, if one is named.
        run(&["sessions", "revoke", "--user", "bob", two.session.as_str()]).exits(1);
        run(&["sessions", "revoke", "--all", "--user", "alice"]).exits(0);
        run(&["sessions", "revoke", "--all", "--user", "alice"]).exits(1).says("no session to end");
        assert!(application.refresh(three.refresh.expose(), None, &client).await.is_err());

        let last = login().await;
        let ran = run(&["users", "disable", "Alice"]).exits(0);
        assert_eq!(ran.out, "Alice is disabled; 1 sessions are ended\n");
        assert!(application.refresh(last.refresh.expose(), None, &client).await.is_err());
        assert!(application.login("alice", password(), &client, None).await.is_err());
        run(&["users", "enable", "alice"]).exits(0);
        login().await;
        run(&["users", "disable", "nobody"]).exits(1).says("no account is named \"nobody\"");
        run(&["migrate", "--check"]).exits(0);
    }
}

#[test]
fn an_import_is_checked_line_by_line_before_anything_is_created() {
    let folder = Folder::new();
    let account = |name: &str, hash: &str| json!({"username": name, "password_hash": hash}).to_string();
    let secret = "$argon2id$v=19$m=19456,t=2,p=1$c2VjcmV0c2FsdA$AA";
    let lines = [
        account("alice", HASH),
        account("bob", "plain text"),
        account("carol", secret),
        account("", HASH),
        account(" dave", HASH),
        account("ALICE", HASH),
        account("eve", "$2b$31$EXRkfkdmXn2gzds2SSitu.MW9.gAVqa9eLS1//RYtYCmB1eLHg.9q"),
        r#"{"username":"frank"}"#.to_owned(),
        format!(r#"{{"username":"grace","password_hash":"{secret}","admin":true}}"#),
        format!(r#"{{"username":1,"password_hash":"{secret}"}}"#),
        "garbage".to_owned(),
        String::new(),
        json!({"username": "heidi", "password_hash": HASH, "id": ""}).to_string(),
        json!({"username": "ivan", "password_hash": HASH, "id": "i".repeat(256)}).to_string(),
        json!({"username": "judy", "password_hash": HASH, "roles": ["a", "\u{1b}[2J"]}).to_string(),
        json!({"username": "ken", "password_hash": HASH, "scope": "read  write"}).to_string(),
        json!({"username": "leo", "password_hash": HASH, "roles": ["r".repeat(2048)], "scope": "x"})
            .to_string(),
        json!({"username": "mia", "password_hash": HASH, "created_at": 253_402_300_800_i64}).to_string(),
        json!({"username": "nat", "password_hash": HASH, "id": "i".repeat(255), "roles": ["r".repeat(2044)],
               "scope": "x: y", "created_at": 253_402_300_799_i64})
        .to_string(),
    ];
    folder.file("users", &lines.join("\n"));
    // Nothing is created, so no store is asked.
    let ran = gatekey(&folder, &["users", "import", "users", "--store", "sqlite:app.db"]).exits(1);
    let ran = ran.says("16 of 18 lines are wrong; nothing was imported");
    let told: Vec<_> = ran.err.lines().collect();
    let expected = [
        "line 2: password_hash: stored_hash_of_unknown_format",
        "line 3: password_hash: stored_hash_malformed",
        "line 4: username: too_short",
        "line 5: username: characters",
        "line 6: username: the same as in line 1",
        "line 7: password_hash: stored_hash_too_costly",
        "line 8: missing field `password_hash`",
        "line 9: unknown field `admin`",
        "line 10: no JSON object of username, password_hash, id, roles, scope, disabled, created_at",
        "line 11: no JSON object of username, password_hash, id, roles, scope, disabled, created_at",
        "line 13: id: empty, with control characters, or more than 255 bytes",
        "line 14: id: empty, with control characters, or more than 255 bytes",
        "line 15: roles: one that is empty or has control characters",
        "line 16: scope: not names with one blank between them (RFC 6749 section 3.3)",
        "line 17: roles and scope: more than 2048 bytes, which no token can carry",
        "line 18: created_at: not from 1970 to 9999, in seconds",
    ];
    assert_eq!(told[..told.len() - 1], expected);
    assert!(!ran.err.contains("c2VjcmV0"));
    assert!(!folder.0.join("app.db").exists());

    let pbkdf2 = "pbkdf2_sha256$260000$cGFzc3dvcmRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let csv = |hash: &str| {
        format!(
            "username,password_hash,roles,disabled\r\nalice,{hash},admin editor,\r\nbob,{pbkdf2},,true\r\n"
        )
    };
    let check = ["users", "import", "users.csv", "--check"];
    for begin in ["", "\u{feff}"] {
        folder.file("users.csv", &format!("{begin}{}", csv(&format!("\"{HASH}\""))));
        assert_eq!(gatekey(&folder, &check).exits(0).out, "2 accounts can be imported\n");
    }
    // Without quotes its commas are the table's.
    folder.file("users.csv", &csv(HASH));
    assert!(gatekey(&folder, &check).exits(1).err.starts_with("line 2: 6 fields and not 4\n"));
    for (text, problem) in [
        ("", "the file is empty"),
        ("name,password_hash\n", "is no column"),
        ("username\nx\n", "password_hash has to be there once"),
        ("username,password_hash\n\"a", "not closed"),
    ] {
        folder.file("bad.csv", text);
        gatekey(&folder, &["users", "import", "bad.csv", "--check"]).exits(2).says(problem);
    }
    gatekey(&folder, &["users", "import", "nothing"]).exits(2).says("nothing: ");
    gatekey(&folder, &["users", "import", "users", "--format", "xml"]).exits(2).says("neither json nor csv");
}

#[test]
fn a_store_is_made_by_a_migration_alone_and_a_password_in_its_url_is_not_repeated() {
    let folder = Folder::new();
    let list = ["sessions", "list", "--subject", "x", "--store", "sqlite:app.db"];
    gatekey(&folder, &list).exits(3).says("gatekey migrate makes it");
    assert!(!folder.0.join("app.db").exists());
    let migrate = ["migrate", "--store", "sqlite:app.db"];
    gatekey(&folder, &[&migrate[..], &["--check"]].concat()).exits(1);
    assert!(!folder.0.join("app.db").exists());
    gatekey(&folder, &migrate).exits(0);
    gatekey(&folder, &[&migrate[..], &["--check"]].concat()).exits(0);
    assert_eq!(gatekey(&folder, &[&list[..], &["--json"]].concat()).exits(0).out, "[]\n");
    folder.file("theirs.db", "not a database, but a text that is long enough to look like one");
    gatekey(&folder, &["migrate", "--store", "sqlite:theirs.db"]).exits(3).says("theirs.db");

    for (url, code) in [
        ("postgres://app:hunter2@127.0.0.1:1/db", 3),
        ("postgres://app:hunter2@127.0.0.1:x/db", 2),
        ("redis://:hunter2@127.0.0.1:1", 3),
        ("mysql://app:hunter2@127.0.0.1/db", 2),
        ("hunter2", 2),
    ] {
        let ran = gatekey(&folder, &["sessions", "list", "--subject", "x", "--store", url]).exits(code);
        assert!(!ran.err.contains("hunter2") && ran.err.lines().count() == 1, "{}", ran.err);
    }
}

// ---- Tokens -----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_judged_with_a_file_of_keys_a_key_set_or_a_public_key() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.0.join("app.db")).await.unwrap();
    let place = Place::of(String::new(), store);
    let application = place.application(&folder.0.join("k")).await;
    let client = Client::default();
    let password = || Secret::new("seven green lanterns by the quay".to_owned());
    application.register("alice", password(), &client).await.unwrap();
    let tokens = application.login("alice", password(), &client, None).await.unwrap();
    folder.file("jwks", &application.keys().jwk_set(application.now()).to_string());
    let token = tokens.access.expose();
    folder.file("token", &format!("{token}\n"));
    let inspect = |more: &[&str], token: &str| {
        gatekey_in(&folder, &[&["token", "inspect", "--json"], more].concat(), token)
    };
    for source in [["--keys", "k"], ["--jwks", "jwks"]] {
        for issuer in [&["--issuer", ISSUER][..], &[]] {
            let ran = inspect(&[&source[..], issuer].concat(), token).exits(0);
            // Neither the token nor any part of it that is worth something.
            let signature = token.rsplit('.').next().unwrap();
            assert!(!ran.out.contains(signature) && !ran.err.contains(signature));
        }
    }
    inspect(&["--keys", "k", "token"], "").exits(0);
    inspect(&["--keys", "k", "-"], token).exits(0);

    let failed = |ran: Ran| -> String {
        let checks = ran.exits(1).json();
        let mut failed = checks.as_array().unwrap().iter().filter(|check| check["result"] == "FAIL");
        failed.next().unwrap()["about"].as_str().unwrap().to_owned()
    };
    let late = (application.now().as_secs() + 931).to_string();
    let early = (application.now().as_secs() - 60).to_string();
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let forged = format!("{header}.{claims}.{}", signature.chars().rev().collect::<String>());
    for (arguments, token, about) in [
        (&["--now", &late][..], token.as_str(), "expiry"),
        (&["--now", &early], token, "not before"),
        (&["--issuer", "https://other.example"], token, "issuer"),
        (&["--issuer", ISSUER, "--audience", "other"], token, "audience"),
        (&[], &forged, "signature"),
        (&[], tokens.refresh.expose(), "key"),
        (&[], "a.b", "form"),
        (&[], &"x".repeat(9000), "length"),
    ] {
        let found = failed(inspect(&[&["--keys", "k"], arguments].concat(), token));
        assert!(found == about || (about == "signature" && found == "form"), "{about}: {found}");
    }
    // Before its time as well as within the leeway it is good.
    inspect(&["--keys", "k", "--now", &early, "--leeway", "60"], token).exits(0);
    gatekey(&folder, &["keys", "generate", "other"]).exits(0);
    assert_eq!(failed(inspect(&["--keys", "other"], token)), "key");

    inspect(&["--keys", "k"], " \n").exits(2).says("there is no token to read");
    inspect(&["--keys", "k", token], "").exits(2).says("not from the command line");
    inspect(&[], token).exits(2).says("give one of");
    inspect(&["--keys", "k", "--jwks", "jwks"], token).exits(2).says("give one of");
    inspect(&["--jwks", "k"], token).exits(2).says("no JWK Set");
    inspect(&["--public-key", "jwks"], token).exits(2).says("no public key");
    let ran = gatekey_in(&folder, &["token", "inspect", "--keys", "k"], token).exits(0);
    assert!(ran.out.ends_with("\naccepted, as far as was looked\n"), "{}", ran.out);
}

#[test]
fn files_that_are_no_files_or_have_no_end_are_refused() {
    let folder = Folder::new();
    let mkfifo = Command::new("mkfifo").args(["-m", "600", "pipe"]).current_dir(&folder.0).status();
    assert!(mkfifo.unwrap().success());
    for path in ["pipe", "/dev/zero", "."] {
        for command in
            [&["keys", "list", path][..], &["keys", "rotate", path], &["keys", "retire", path, "x"]]
        {
            gatekey(&folder, command).exits(2).says("not a file");
        }
        gatekey_in(&folder, &["token", "inspect", "--keys", path], "a.b.c").exits(2).says("not a file");
    }
    gatekey_in(&folder, &["token", "inspect", "--jwks", "/dev/zero"], "a.b.c")
        .exits(2)
        .says("more than 65536");
    gatekey(&folder, &["keys", "generate", "k"]).exits(0);
    let endless = gatekey(&folder, &["token", "inspect", "--keys", "k", "/dev/zero"]).exits(1);
    assert!(endless.out.contains("refused: token_too_long"), "{}", endless.out);
}

// ---- The command itself -----------------------------------------------------------------------------------------

#[test]
fn help_tells_every_command_and_every_option() {
    let folder = Folder::new();
    let overview = gatekey(&folder, &["--help"]).exits(0).out;
    assert!(overview.contains("Exit codes"));
    for command in ["keys generate", "token inspect", "users import", "migrate", "completions"] {
        assert!(overview.contains(command), "{command}");
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = gatekey(&folder, &words).exits(0).out;
        assert!(help.contains(&format!("Usage: gatekey {command}")), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 90), "{help}");
    }
    assert!(gatekey(&folder, &["--version"]).exits(0).out.starts_with("gatekey "));
}

#[test]
fn ids_that_begin_with_a_dash_are_ids() {
    let folder = Folder::new();
    gatekey(&folder, &["migrate", "--store", "sqlite:app.db"]).exits(0);
    gatekey(&folder, &["keys", "generate", "k"]).exits(0);
    let revoke = ["sessions", "revoke", "--store", "sqlite:app.db"];
    let miss = "1 of them are no live session";
    gatekey(&folder, &[&revoke[..], &["-3FzB_x9"]].concat()).exits(1).says(miss);
    gatekey(&folder, &["sessions", "revoke", "-3FzB_x9", "--store", "sqlite:app.db"]).exits(1).says(miss);
    gatekey(&folder, &[&revoke[..], &["--", "--FzB_x9"]].concat()).exits(1).says(miss);
    gatekey(&folder, &[&revoke[..], &["--FzB_x9"]].concat()).exits(2).says("stands after --");
    gatekey(&folder, &["keys", "retire", "k", "-3FzB_x9"]).exits(1).says("no key of that kid");
    // What is no id stays what it is.
    gatekey(&folder, &["sessions", "revoke", "-h"]).exits(0);
    gatekey(&folder, &["sessions", "revoke", "-x"]).exits(2).says("invalid option");
    gatekey(&folder, &["-3FzB_x9"]).exits(2).says("invalid option");
}

#[test]
fn an_output_that_takes_nothing_is_told_and_one_that_is_closed_is_not() {
    let folder = Folder::new();
    let keys = folder.0.join("k");
    let run = |arguments: &[&str], out: fs::File| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatekey"));
        let output = command.args(arguments).current_dir(&folder.0).stdout(out).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in
        [&["--help"][..], &["completions", "zsh"], &["keys", "generate", "k"], &["keys", "list", "k"]]
    {
        let (code, err) = run(arguments, full());
        assert_eq!(code, 4, "{err}");
        assert!(err.starts_with("gatekey: standard output: ") && err.lines().count() == 1, "{err}");
    }
    // Made all the same.
    assert!(Keys::load(&keys).is_ok());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = fs::File::from(std::os::fd::OwnedFd::from(writer));
    assert_eq!(run(&["keys", "list", "k"], closed), (0, String::new()));
    // Where nobody can be told what is wrong, the code tells.
    let deaf = Command::new(env!("CARGO_BIN_EXE_gatekey")).arg("nonsense").stderr(full()).status();
    assert_eq!(deaf.unwrap().code(), Some(2));
}

#[test]
fn bash_completes_commands_options_values_and_files() {
    let folder = Folder::new();
    folder.file("app.keys", "");
    let complete = |words: &[&str]| -> Vec<String> {
        let script = "source <(\"$0\" completions bash); COMP_WORDS=(gatekey \"$@\"); COMP_CWORD=$#; _gatekey; \
                      printf '%s\\n' \"${COMPREPLY[@]}\"";
        let output = Command::new("bash")
            .args(["--norc", "-c", script, env!("CARGO_BIN_EXE_gatekey")])
            .args(words)
            .current_dir(&folder.0)
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let out = String::from_utf8(output.stdout).unwrap();
        out.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(complete(&["ke"]), ["keys"]);
    assert_eq!(complete(&["keys", ""]), ["generate", "list", "rotate", "retire", "--help"]);
    assert_eq!(complete(&["keys", "ro"]), ["rotate"]);
    assert_eq!(complete(&["keys", "rotate", "--"]), ["--in", "--alg", "--refresh", "--help"]);
    assert_eq!(complete(&["keys", "rotate", "--alg", "E"]), ["EdDSA", "ES256"]);
    assert_eq!(complete(&["keys", "rotate", "--in", "5", "app"]), ["app.keys"]);
    assert_eq!(complete(&["token", "inspect", "--keys", "a"]), ["app.keys"]);
    assert_eq!(complete(&["users", "import", "--format", ""]), ["json", "csv"]);
    assert_eq!(complete(&["migrate", "--c"]), ["--check"]);
    assert_eq!(complete(&["completions", "z"]), ["zsh"]);
    for shell in ["zsh", "fish"] {
        let script = gatekey(&folder, &["completions", shell]).exits(0).out;
        for word in ["generate", "inspect", "public-key", "EdDSA"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    gatekey(&folder, &["completions", "tcsh"]).exits(2).says("is none of bash, zsh, fish");
}
