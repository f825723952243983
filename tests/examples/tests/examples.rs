//! Every example, served as its `main` serves it and used over sockets. The programs are compiled into this one, so that
//! nothing else has to be built first.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use example_page::FILES;
use example_start::Start;
use gatekey::{Clock, Gatekey, SystemClock, Timestamp};
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

macro_rules! programs {
    ($($name:ident = $path:literal;)*) => {
        $(
            #[allow(dead_code, unreachable_pub, reason = "a whole program, of which `serve` is called")]
            #[path = $path]
            mod $name;
        )*
    };
}

programs! {
    quickstart = "../../../examples/quickstart/src/main.rs";
    actix_quickstart = "../../../examples/actix-quickstart/src/main.rs";
    rocket_quickstart = "../../../examples/rocket-quickstart/src/main.rs";
    axum_pages = "../../../examples/axum-pages/src/main.rs";
    axum_resource = "../../../examples/axum-resource/src/main.rs";
    actix_resource = "../../../examples/actix-resource/src/main.rs";
    rocket_resource = "../../../examples/rocket-resource/src/main.rs";
    grpc_resource = "../../../examples/grpc-resource/src/main.rs";
    own_users = "../../../examples/own-users/src/main.rs";
    resource_server = "../../../examples/resource-server/src/main.rs";
    client = "../../../examples/client/src/main.rs";
    https = "../../../examples/https/src/main.rs";
    behind_nginx = "../../../examples/behind-nginx/src/main.rs";
}

/// Serves in the background until the test ends.
macro_rules! serve {
    (actix: $serving:expr) => {
        std::thread::spawn(move || actix_web::rt::System::new().block_on($serving).unwrap())
    };
    ($serving:expr) => {
        tokio::spawn(async move { $serving.await.map_err(|error| error.to_string()).unwrap() })
    };
}

// ---- The quickstarts ---------------------------------------------------------------------------------------------

/// What the page does, in every framework.
async fn use_the_quickstart(address: SocketAddr, folder: &Path) {
    served(address).await;
    for file in FILES {
        let answer = get(address, file.path, &[]).await;
        assert_eq!((answer.status, answer.field("content-type")), (200, Some(file.content_type)));
        assert_eq!(answer.text, file.text);
        assert!(answer.field("content-security-policy").is_some_and(|policy| policy.contains("'none'")));
    }
    assert_eq!(get(address, "/auth/gatekey.js", &[]).await.status, 200);

    let own = ("Sec-Fetch-Site", "same-origin");
    let account = json!({"username": "alice", "password": "a long enough pass phrase"});
    assert_eq!(post(address, "/auth/register", &[own], &account).await.status, 201);
    let account =
        json!({"username": "alice", "password": "a long enough pass phrase", "transport": "cookie"});
    let answer = post(address, "/auth/login", &[own], &account).await;
    assert_eq!(answer.status, 200);
    let cookies: Vec<_> = answer.fields("set-cookie").filter_map(|cookie| cookie.split(';').next()).collect();
    assert_eq!(cookies.len(), 2);
    let cookie = ("Cookie", cookies.join("; "));
    let cookie = (cookie.0, cookie.1.as_str());

    for (path, anonymous, alice, text) in [
        ("/hello", 401, 200, "hello alice\n"),
        ("/security", 401, 200, r#"{"events":[]}"#),
        ("/admin", 401, 403, ""),
    ] {
        assert_eq!(get(address, path, &[]).await.status, anonymous, "{path}");
        let answer = get(address, path, &[cookie]).await;
        assert_eq!(answer.status, alice, "{path}");
        assert!(alice != 200 || answer.text == text, "{path}: {}", answer.text);
    }
    // The page is also reached by the machine's name, and from nowhere else.
    for (origin, status) in
        [(format!("http://localhost:{}", address.port()), 200), ("https://evil.example".to_owned(), 403)]
    {
        let answer = send(address, "POST", "/auth/token", &[cookie, ("Origin", &origin)], "").await;
        assert_eq!(answer.status, status, "{origin}");
    }
    for name in ["gatekey.keys", "gatekey.db"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_serves_its_page_and_logs_in() {
    let folder = Folder::new("axum");
    let start = folder.start();
    let address = start.address;
    serve!(quickstart::serve(start));
    use_the_quickstart(address, &folder.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_of_actix_web_does_the_same() {
    let folder = Folder::new("actix");
    let start = folder.start();
    let address = start.address;
    serve!(actix: actix_quickstart::serve(start));
    use_the_quickstart(address, &folder.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_of_rocket_does_the_same() {
    let folder = Folder::new("rocket");
    let start = folder.start();
    let address = start.address;
    serve!(rocket_quickstart::serve(start));
    use_the_quickstart(address, &folder.0).await;
}

#[test]
fn an_address_in_use_is_told_in_one_line() {
    let folder = Folder::new("busy");
    let start = folder.start();
    let told = |listen: &str| Start::at(listen, &folder.0).unwrap_err().to_string();
    assert!(told(&start.address.to_string()).contains("is in use by another program"));
    assert_eq!(told("nonsense"), "LISTEN=nonsense is no address and port, such as 127.0.0.1:3000");
}

// ---- Pages without script ------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_login_on_pages_without_script_outlives_its_access_token() {
    let folder = Folder::new("pages");
    let start = folder.start();
    let address = start.address;
    let clock = Arc::new(TestClock::default());
    let gatekey = axum_pages::settings(&start).await.unwrap().clock(clock.clone()).build().await.unwrap();
    serve!(axum_pages::serve(start, gatekey));
    served(address).await;
    const NAVIGATION: [(&str, &str); 2] = [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
    let visit = async |path: &str, cookies: &str| {
        get(address, path, &[&NAVIGATION[..], &[("Cookie", cookies)]].concat()).await
    };
    let form = async |path: &str, site: &str, cookies: &str, body: &str| {
        let fields = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Sec-Fetch-Site", site),
            ("Cookie", cookies),
        ];
        send(address, "POST", path, &[&NAVIGATION[..], &fields].concat(), body).await
    };
    let jar = |answer: &Answer| {
        let pairs: Vec<_> =
            answer.fields("set-cookie").filter_map(|cookie| cookie.split(';').next()).collect();
        pairs.join("; ")
    };

    let refused = visit("/account", "").await;
    assert_eq!((refused.status, refused.field("location")), (303, Some("/login?return_to=/account")));
    let login = visit("/login?return_to=/account", "").await;
    assert!(login.text.contains("name=return_to value=\"/account\""), "{}", login.text);
    let elsewhere = visit("/login?return_to=//evil.example", "").await;
    assert!(elsewhere.text.contains("name=return_to value=\"/\""), "{}", elsewhere.text);

    let alice = "username=alice&password=a+long+enough+pass+phrase&return_to=/account";
    assert_eq!(form("/register", "cross-site", "", alice).await.status, 403);
    let entered = form("/register", "same-origin", "", alice).await;
    assert_eq!((entered.status, entered.field("location")), (303, Some("/account")));
    assert_eq!(form("/login", "cross-site", "", alice).await.status, 403);
    let wrong = form("/login", "same-origin", "", "username=alice&password=x").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text.contains("The name or the password is wrong."), "{}", wrong.text);

    let cookies = jar(&entered);
    assert!(visit("/account", &cookies).await.text.contains("You are alice."));
    clock.advance(16 * 60);
    let later = visit("/account", &cookies).await;
    assert_eq!(later.status, 200, "{}", later.text);
    assert!(later.text.contains("You are alice."));
    let cookies = jar(&later);
    assert_eq!(cookies.matches("__Host-gatekey_").count(), 2);

    // A form that comes when the access token is over: back to it, with a new one.
    let passwords = "current=a+long+enough+pass+phrase&new=another+phrase+of+mine";
    clock.advance(16 * 60);
    assert_eq!(form("/password", "cross-site", &cookies, passwords).await.status, 403);
    let refresh = cookies.split("; ").find(|pair| pair.starts_with("__Host-gatekey_refresh=")).unwrap();
    for late in [refresh, cookies.as_str()] {
        let sent = form("/password", "same-origin", late, passwords).await;
        assert_eq!((sent.status, sent.field("location")), (303, Some("/account?late")));
    }
    let again = visit("/account?late", refresh).await;
    assert_eq!(again.status, 200, "{}", again.text);
    assert!(again.text.contains("nothing was changed"), "{}", again.text);
    let cookies = jar(&again);
    let changed = form("/password", "same-origin", &cookies, passwords).await;
    assert!(changed.text.contains("The password is changed."), "{}", changed.text);
    let wrong = form("/password", "same-origin", &cookies, passwords).await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text.contains("The name or the password is wrong."), "{}", wrong.text);
    let nobody = form("/password", "same-origin", "", passwords).await;
    assert_eq!((nobody.status, nobody.field("location")), (303, Some("/account?late")));
    let nobody = visit("/account?late", "").await;
    assert_eq!((nobody.status, nobody.field("location")), (303, Some("/login?return_to=/account%3Flate")));

    assert_eq!(form("/logout", "cross-site", &cookies, "").await.status, 403);
    let out = form("/logout", "same-origin", &cookies, "").await;
    assert_eq!((out.status, out.field("location")), (303, Some("/")));
    assert_eq!(jar(&out), "__Host-gatekey_access=; __Host-gatekey_refresh=");
    assert_eq!(visit("/account", &cookies).await.status, 303);
    assert!(visit("/", "").await.text.contains("Hello, stranger."));
}

// ---- The guarded APIs ---------------------------------------------------------------------------------------------

/// Time that a test moves.
#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().as_millis() + self.0.load(Ordering::Relaxed))
    }
}

impl TestClock {
    fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::Relaxed);
    }
}

/// The gatekey of an API, on a clock of the test's own.
async fn api(start: &Start) -> (Gatekey, Arc<TestClock>) {
    let clock = Arc::new(TestClock::default());
    let settings = example_notes::settings(start.builder().unwrap()).clock(clock.clone());
    (settings.build().await.unwrap(), clock)
}

async fn login(address: SocketAddr, name: &str) -> String {
    let account = json!({"username": name, "password": "a long enough pass phrase"});
    let answer = post(address, "/auth/login", &[], &account).await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.text);
    format!("Bearer {}", answer.json()["access_token"].as_str().unwrap())
}

/// Optional login, scopes, claims, a role and step-up, in every framework.
async fn use_the_api(address: SocketAddr, clock: &TestClock) {
    served(address).await;
    let [alice, bob, carol] = ["alice@kites", "bob@kites", "carol@boats"];
    let [alice, bob, carol] =
        [login(address, alice).await, login(address, bob).await, login(address, carol).await];
    let ask = async |method: &str, path: &str, bearer: &str, body: &str| {
        send(address, method, path, &[("Authorization", bearer), ("Content-Type", "text/plain")], body).await
    };

    assert_eq!(get(address, "/", &[]).await.text, "hello stranger\n");
    assert_eq!(ask("GET", "/", &bob, "").await.text, "hello bob@kites\n");
    assert_eq!(ask("GET", "/", "Bearer x", "").await.status, 401);

    assert_eq!(get(address, "/notes", &[]).await.status, 401);
    assert_eq!(ask("POST", "/notes", &alice, "Buy string").await.status, 201);
    let refused = ask("POST", "/notes", &bob, "Sell string").await;
    assert_eq!((refused.status, refused.json()["error"].as_str()), (403, Some("insufficient_scope")));
    assert!(refused.field("www-authenticate").is_some_and(|field| field.contains("scope=\"notes:write\"")));
    // One tenant's notes, and not another's.
    assert_eq!(ask("GET", "/notes", &bob, "").await.json(), json!(["Buy string"]));
    assert_eq!(ask("GET", "/notes", &carol, "").await.json(), json!([]));

    assert_eq!(ask("DELETE", "/notes", &carol, "").await.status, 403);
    clock.advance(301);
    let stale = ask("DELETE", "/notes", &alice, "").await;
    let error = stale.json()["error"].as_str().map(str::to_owned);
    assert_eq!((stale.status, error.as_deref()), (401, Some("insufficient_user_authentication")));
    assert!(stale.field("www-authenticate").is_some_and(|field| field.contains("max_age=\"300\"")));
    assert_eq!(ask("GET", "/notes", &alice, "").await.json(), json!(["Buy string"]));
    let alice = login(address, "alice@kites").await;
    assert_eq!(ask("DELETE", "/notes", &alice, "").await.status, 204);
    assert_eq!(ask("GET", "/notes", &alice, "").await.json(), json!([]));

    // Nobody chooses a tenant by choosing a name.
    let mallory = json!({"username": "mallory@kites", "password": "a long enough pass phrase"});
    assert_eq!(post(address, "/auth/register", &[], &mallory).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_on_axum_is_guarded() {
    let folder = Folder::new("axum-resource");
    let start = folder.start();
    let (address, (gatekey, clock)) = (start.address, api(&start).await);
    serve!(axum_resource::serve(start, gatekey));
    use_the_api(address, &clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_on_actix_web_is_guarded() {
    let folder = Folder::new("actix-resource");
    let start = folder.start();
    let (address, (gatekey, clock)) = (start.address, api(&start).await);
    serve!(actix: actix_resource::serve(start, gatekey));
    use_the_api(address, &clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_on_rocket_is_guarded() {
    let folder = Folder::new("rocket-resource");
    let start = folder.start();
    let (address, (gatekey, clock)) = (start.address, api(&start).await);
    serve!(rocket_resource::serve(start, gatekey));
    use_the_api(address, &clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_in_grpc_is_guarded() {
    const OK: &str = "0";
    const PERMISSION_DENIED: &str = "7";
    const UNAUTHENTICATED: &str = "16";

    let folder = Folder::new("grpc-resource");
    let start = folder.start();
    let (address, (gatekey, clock)) = (start.address, api(&start).await);
    serve!(grpc_resource::serve(start, gatekey));
    let [alice, bob, carol] = ["alice@kites", "bob@kites", "carol@boats"];
    let [alice, bob, carol] =
        [login(address, alice).await, login(address, bob).await, login(address, carol).await];

    // A string is field 1 of both messages.
    let note = [&[0x0a, 10][..], b"Buy string"].concat();
    for (method, bearer, message, status, answer) in [
        ("List", None, &[][..], UNAUTHENTICATED, &[][..]),
        ("List", Some("Bearer x"), &[], UNAUTHENTICATED, &[]),
        ("Add", Some(&*alice), &note, OK, &[]),
        ("Add", Some(&bob), &note, PERMISSION_DENIED, &[]),
        ("List", Some(&bob), &[], OK, &note),
        ("List", Some(&carol), &[], OK, &[]),
        ("Clear", Some(&carol), &[], PERMISSION_DENIED, &[]),
    ] {
        let told = call(address, method, bearer, message).await;
        let what = format!("{method} by {bearer:?}");
        assert_eq!(told.metadata["grpc-status"], status, "{what}");
        assert_eq!(
            told.metadata.contains_key("www-authenticate"),
            status == UNAUTHENTICATED || status == PERMISSION_DENIED,
            "{what}"
        );
        assert_eq!(told.metadata.contains_key("grpc-message"), status != OK, "{what}");
        assert_eq!(told.message, answer, "{what}");
    }

    clock.advance(301);
    let stale = call(address, "Clear", Some(&alice), &[]).await;
    assert_eq!(stale.metadata["grpc-status"], UNAUTHENTICATED);
    assert!(stale.metadata["www-authenticate"].to_str().unwrap().contains("max_age=\"300\""));
    let alice = login(address, "alice@kites").await;
    assert_eq!(call(address, "Clear", Some(&alice), &[]).await.metadata["grpc-status"], OK);
    assert!(call(address, "List", Some(&alice), &[]).await.message.is_empty());
}

// ---- A service that verifies tokens and issues none ---------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_service_takes_the_tokens_of_the_quickstart() {
    let folder = Folder::new("resource-server");
    let start = folder.start();
    let (issuer, address) = (start.issuer.clone(), start.address);
    serve!(quickstart::serve(start));
    served(address).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = listener.local_addr().unwrap();
    let keys = format!("{issuer}/auth/jwks.json");
    serve!(async move { resource_server::serve(listener, &issuer, &issuer, &keys).await });

    let account = json!({"username": "alice", "password": "a long enough pass phrase"});
    assert_eq!(post(address, "/auth/register", &[], &account).await.status, 201);
    let alice = post(address, "/auth/login", &[], &account).await.json();
    let alice = format!("Bearer {}", alice["access_token"].as_str().unwrap());
    let other = format!("{alice}x");
    for (path, bearer, status, text) in [
        ("/notes", Some(&alice), 200, "the notes of alice\n"),
        ("/notes", Some(&other), 401, ""),
        ("/notes", None, 401, ""),
        ("/greeting", Some(&alice), 200, "hello alice\n"),
        ("/greeting", Some(&other), 401, ""),
        ("/greeting", None, 200, "hello whoever you are\n"),
        ("/admin", Some(&alice), 403, ""),
    ] {
        let fields: Vec<_> = bearer.map(|bearer| ("Authorization", bearer.as_str())).into_iter().collect();
        let answer = get(service, path, &fields).await;
        assert_eq!(answer.status, status, "{path} by {bearer:?}: {}", answer.text);
        assert!(status != 200 || answer.text == text, "{path} by {bearer:?}: {}", answer.text);
    }
}

// ---- Users of one's own -------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn members_of_the_applications_own_table_log_in() {
    let folder = Folder::new("own-users");
    let start = folder.start();
    let address = start.address;
    serve!(own_users::serve(start));
    let login = async |name: &str, password: &str| {
        post(address, "/auth/login", &[], &json!({"username": name, "password": password})).await
    };
    const PASSWORD: &str = "four kites over the harbour";
    let hash = |id: i64| -> String {
        let table = rusqlite::Connection::open(folder.0.join("members.db")).unwrap();
        table.query_row("SELECT password_hash FROM members WHERE id = ?", [id], |row| row.get(0)).unwrap()
    };

    assert_eq!(login("bob@example.com", "five kites over the harbour").await.status, 401);
    assert_eq!(login("nobody@example.com", PASSWORD).await.status, 401);
    assert!(hash(1).starts_with("$2b$"));
    let bob = login("Bob@Example.com", PASSWORD).await.json();
    // The hash of the older program is gone with the first login, and the new one does as well.
    assert!(hash(1).starts_with("$argon2id$"));
    assert_eq!(login("bob@example.com", PASSWORD).await.status, 200);
    let eve = login("eve@example.com", PASSWORD).await.json();
    let bearer = |tokens: &Value| format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let (bob, refresh, eve) = (bearer(&bob), eve["refresh_token"].clone(), bearer(&eve));

    assert_eq!(get(address, "/hello", &[("Authorization", &eve)]).await.text, "hello eve@example.com\n");
    let lock = async |bearer: &str, id: i64| {
        send(address, "POST", &format!("/members/{id}/lock"), &[("Authorization", bearer)], "").await.status
    };
    assert_eq!([lock(&eve, 1).await, lock(&bob, 99).await, lock(&bob, 2).await], [403, 404, 204]);
    assert_eq!(get(address, "/hello", &[("Authorization", &eve)]).await.status, 401);
    let refresh = json!({"grant_type": "refresh_token", "refresh_token": refresh});
    assert_eq!(post(address, "/auth/token", &[], &refresh).await.status, 400);
    assert_eq!(login("eve@example.com", PASSWORD).await.status, 401);
    assert_eq!(get(address, "/hello", &[("Authorization", &bob)]).await.status, 200);
}

// ---- A client -----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_stays_logged_in() {
    let folder = Folder::new("client");
    let start = folder.start();
    let (server, address) = (start.issuer.clone(), start.address);
    serve!(quickstart::serve(start));
    served(address).await;
    let account = json!({"username": "alice", "password": "a long enough pass phrase"});
    assert_eq!(post(address, "/auth/register", &[], &account).await.status, 201);

    let tokens = folder.0.join("client.tokens");
    // Each is a run of the program: what they know of each other is in the file.
    let run = async |arguments: &[&str], password: &str| {
        let said = client::run(&server, &tokens, arguments, || Ok(password.to_owned())).await;
        said.map_err(|error| error.to_string())
    };
    let nobody = Err("nobody is logged in: client login NAME".to_owned());
    assert_eq!(run(&["get", "/hello"], "").await, nobody);
    let wrong = run(&["login", "alice"], "a wrong pass phrase").await;
    assert_eq!(wrong, Err("the name or the password is wrong".to_owned()));
    assert!(!tokens.exists());
    // Somebody who would like to read them has made the file already.
    std::fs::write(folder.0.join(format!("client.{}.new", std::process::id())), "").unwrap();
    assert_eq!(
        run(&["login", "alice"], "a long enough pass phrase").await,
        Ok("logged in as alice".to_owned())
    );
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&tokens.metadata().unwrap().permissions()) & 0o777,
        0o600
    );
    assert_eq!(run(&["get", "/hello"], "").await, Ok("hello alice".to_owned()));
    assert_eq!(run(&["get", "/admin"], "").await, Err("the server answered 403 Forbidden".to_owned()));
    assert_eq!(run(&["logout"], "").await, Ok("logged out".to_owned()));
    assert!(!tokens.exists());
    assert_eq!(run(&["get", "/hello"], "").await, nobody);
}

// ---- Over HTTPS ---------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn over_https_a_client_is_served_that_trusts_the_certificate() {
    let folder = Folder::new("https");
    let start = folder.start();
    let (address, files) = (start.address, [folder.0.join("localhost.pem"), folder.0.join("localhost.key")]);
    serve!(https::serve(start));
    // Nobody who speaks plain HTTP is answered; by then the certificate has been made.
    let mut said = Err(io::ErrorKind::NotConnected.into());
    while !files.iter().all(|file| file.is_file()) || said.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        said = TcpStream::connect(address).await.map(|_| ());
    }
    assert!(try_send(address, "GET", "/auth/jwks.json", &[], "").await.is_err());
    // And one that says nothing keeps nobody waiting.
    let _silent = TcpStream::connect(address).await.unwrap();
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&files[1].metadata().unwrap().permissions()) & 0o777,
        0o600
    );

    let account = r#"{"username":"alice","password":"a long enough pass phrase"}"#;
    let certificate = reqwest::Certificate::from_pem(&std::fs::read(&files[0]).unwrap()).unwrap();
    for (host, trusts) in [("127.0.0.1", true), ("localhost", true), ("localhost", false)] {
        let url = format!("https://{host}:{}", address.port());
        let http = reqwest::Client::builder().no_proxy();
        let http = if trusts { http.tls_certs_merge([certificate.clone()]) } else { http };
        let client = gatekey_client::Client::builder(format!("{url}/auth")).http(http).build().await.unwrap();
        let register = client.request(http::Method::POST, format!("{url}/auth/register")).body(account);
        let register = client.send(register.header("content-type", "application/json")).await;
        let login = client.login("alice", "a long enough pass phrase").await;
        if trusts {
            assert!([201, 409].contains(&register.unwrap().status().as_u16()));
            login.unwrap();
            client.refresh().await.unwrap();
            let hello = client.get(format!("{url}/hello")).await.unwrap();
            assert_eq!(hello.text().await.unwrap(), "hello alice\n");
        } else {
            assert!(matches!(login, Err(gatekey_client::Error::Transport(_))), "{login:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_the_address_is_what_nginx_says() {
    let folder = Folder::new("behind-nginx");
    let start = folder.start();
    let address = start.address;
    serve!(behind_nginx::serve(start));
    served(address).await;
    let account = json!({"username": "alice", "password": "a long enough pass phrase"});
    assert_eq!(post(address, "/auth/register", &[], &account).await.status, 201);
    // Nginx is 127.0.0.2. It appends who asked it; what stands left of that was written by whoever asked.
    let field = ("X-Forwarded-For", "203.0.113.9, 198.51.100.7");
    for (from, ip) in [([127, 0, 0, 2], "198.51.100.7"), ([127, 0, 0, 3], "127.0.0.3")] {
        let body = account.to_string();
        let request = format!(
            "POST /auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            field.0,
            field.1,
            body.len()
        );
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let tokens: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let sessions = get(address, "/auth/sessions", &[("Authorization", &bearer)]).await.json();
        assert_eq!(sessions["sessions"][0]["ip"], ip);
    }
}

// ---- An API on a host of its own ----------------------------------------------------------------------------------

/// What docs/deployment.md has for axum.
fn cors() -> tower_http::cors::CorsLayer {
    use http::{HeaderValue, Method, header};
    tower_http::cors::CorsLayer::new()
        .allow_origin(tower_http::cors::AllowOrigin::list([HeaderValue::from_static(
            "https://app.example.com",
        )]))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER, header::DATE])
        .max_age(Duration::from_secs(3600))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_answers_the_pages_of_the_origin_that_is_named() {
    let folder = Folder::new("cors");
    let mut start = folder.start();
    start.issuer = "https://api.example.com".to_owned();
    let address = start.address;
    let builder = start.builder().unwrap().trusted_origin("https://app.example.com");
    let gatekey = builder.store(gatekey::MemoryStore::new()).build().await.unwrap();
    let listener = tokio::net::TcpListener::from_std(start.listener).unwrap();
    let app = axum::Router::new().merge(gatekey::axum::routes(&gatekey)).layer(cors()).with_state(gatekey);
    serve!(async move { gatekey::axum::serve(listener, app).await });

    let account =
        json!({"username": "alice", "password": "a long enough pass phrase", "transport": "cookie"});
    let register = json!({"username": "alice", "password": "a long enough pass phrase"});
    assert_eq!(post(address, "/auth/register", &[], &register).await.status, 201);
    for (origin, named) in [
        ("https://app.example.com", true),
        ("https://evil.example.com", false),
        ("https://app.example.com.evil.example", false),
        ("http://app.example.com", false),
        ("null", false),
    ] {
        let origin = ("Origin", origin);
        let asked = ("Access-Control-Request-Method", "POST");
        let preflight = send(address, "OPTIONS", "/auth/login", &[origin, asked], "").await;
        let answer = post(address, "/auth/login", &[origin, ("Sec-Fetch-Site", "same-site")], &account).await;
        assert_eq!((preflight.status, answer.status), (200, if named { 200 } else { 403 }), "{origin:?}");
        for answer in [&preflight, &answer] {
            assert_eq!(answer.field("access-control-allow-origin"), named.then_some(origin.1));
            assert_eq!(answer.field("access-control-allow-credentials"), Some("true"));
            assert!(answer.fields("vary").any(|field| field.contains("origin")));
        }
        assert_eq!(answer.fields("set-cookie").count(), if named { 2 } else { 0 });
    }
}

// ---- Clients ------------------------------------------------------------------------------------------------------

/// A folder of a program's own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("gatekey-examples-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn start(&self) -> Start {
        Start::at("127.0.0.1:0", &self.0).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until a program answers: Rocket takes its address a moment after it was given it.
async fn served(address: SocketAddr) {
    for _ in 0..600 {
        if try_send(address, "GET", "/auth/jwks.json", &[], "").await.is_ok_and(|answer| answer.status == 200)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody answers at {address}");
}

/// An answer over HTTP/1.1.
struct Answer {
    status: u16,
    head: String,
    text: String,
}

impl Answer {
    fn fields(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).next()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

async fn get(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Answer {
    send(address, "GET", path, fields, "").await
}

async fn post(address: SocketAddr, path: &str, fields: &[(&str, &str)], body: &Value) -> Answer {
    let fields = [fields, &[("Content-Type", "application/json")]].concat();
    send(address, "POST", path, &fields, &body.to_string()).await
}

async fn send(address: SocketAddr, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    try_send(address, method, path, fields, body).await.unwrap()
}

async fn try_send(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, text) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Ok(Answer { status, head: head.to_owned(), text: text.to_owned() })
}

/// An answer over gRPC: one message at most, and its metadata, wherever it came.
struct Told {
    metadata: HeaderMap,
    message: Vec<u8>,
}

async fn call(address: SocketAddr, method: &str, bearer: Option<&str>, message: &[u8]) -> Told {
    let (mut client, connection) =
        h2::client::handshake(TcpStream::connect(address).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(format!("http://{address}/notes.Notes/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(bearer) = bearer {
        request = request.header("authorization", bearer);
    }
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    let length = u8::try_from(message.len()).unwrap();
    body.send_data(Bytes::from([&[0, 0, 0, 0, length], message].concat()), true).unwrap();

    let (head, mut body) = answer.await.unwrap().into_parts();
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        message.extend(piece.unwrap());
    }
    let mut metadata = head.headers;
    metadata.extend(body.trailers().await.unwrap().unwrap_or_default());
    Told { metadata, message: message.get(5..).unwrap_or_default().to_vec() }
}
