use std::sync::{Arc, Mutex};

use gatekey_core::{
    event::{Event, EventSink},
    keys::{Algorithm, Keys},
    secret::Secret,
    session::Client as From,
    store::memory::MemoryStore,
};
use gatekey_http::{Scope, Verifier};
use rocket::{
    catch, catchers,
    error::ErrorKind,
    fairing::AdHoc,
    get,
    http::{ContentType, Header},
    local::asynchronous::{Client, LocalResponse},
    post,
    response::Redirect,
    routes,
};

use super::*;

#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<Option<std::net::IpAddr>>>>);

impl EventSink for Seen {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.client.ip);
    }
}

async fn gatekey_with(seen: Seen) -> Gatekey {
    let keys = Keys::generate(Algorithm::EdDSA).unwrap();
    let builder = Gatekey::builder().issuer("https://app.example.com").keys(keys).store(MemoryStore::new());
    builder.events(seen).build().await.unwrap()
}

async fn gatekey() -> Gatekey {
    gatekey_with(Seen::default()).await
}

async fn bearer(gatekey: &Gatekey) -> Header<'static> {
    let password = || Secret::new("a long enough pass phrase".to_owned());
    gatekey.register("alice", password(), &From::default()).await.unwrap();
    let tokens = gatekey.login("alice", password(), &From::default(), None).await.unwrap();
    Header::new("authorization", format!("Bearer {}", tokens.access.expose()))
}

struct Write;

impl Scope for Write {
    const NAME: &'static str = "write";
}

#[get("/me")]
fn me(user: Authenticated) -> String {
    user.username().to_owned()
}

#[get("/maybe")]
fn maybe(user: MaybeAuthenticated) -> String {
    user.caller().map_or("nobody", |caller| caller.username()).to_owned()
}

#[get("/option")]
fn option(user: Option<Authenticated>) -> String {
    user.map_or("nobody".to_owned(), |user| user.username().to_owned())
}

#[get("/write")]
fn write(user: WithScope<Write>) -> String {
    user.username().to_owned()
}

#[get("/fresh")]
fn fresh(user: FreshlyAuthenticated<60>) -> String {
    user.username().to_owned()
}

#[get("/by-hand")]
fn by_hand(user: Authenticated) -> Result<(), Rejection> {
    Ok(user.require_scope("write")?)
}

#[post("/note")]
fn note(_user: Authenticated) {}

async fn client(gatekey: &Gatekey) -> Client {
    let routes = routes![me, maybe, option, write, fresh, by_hand, note];
    let rocket = rocket::build().mount("/", routes).attach(Fairing::new(gatekey.clone()));
    Client::untracked(rocket).await.unwrap()
}

async fn text(response: LocalResponse<'_>) -> String {
    response.into_string().await.unwrap_or_default()
}

#[rocket::async_test]
async fn a_guarded_route_without_the_fairing_does_not_launch() {
    let gatekey = gatekey().await;
    for routes in [routes![me], routes![maybe], routes![option], routes![write], routes![fresh]] {
        let attached = rocket::build().mount("/", routes.clone()).attach(Fairing::new(gatekey.clone()));
        assert!(attached.ignite().await.is_ok());
        let error = rocket::build().mount("/", routes).ignite().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::SentinelAborts(_)), "{error}");
    }
}

#[rocket::async_test]
async fn a_refusal_is_written_whole_whatever_catchers_there_are() {
    #[catch(401)]
    fn page() -> (ContentType, &'static str) {
        (ContentType::HTML, "<h1>Who are you?</h1>")
    }
    #[get("/own")]
    fn own() -> Status {
        Status::Unauthorized
    }
    let gatekey = gatekey().await;
    for base in [None, Some("/"), Some("/me")] {
        let mut rocket = rocket::build().mount("/", routes![me, own]).attach(Fairing::new(gatekey.clone()));
        if let Some(base) = base {
            rocket = rocket.register(base, catchers![page]);
        }
        let client = Client::untracked(rocket).await.unwrap();
        let refused = client.get("/me").dispatch().await;
        assert_eq!(refused.status(), Status::Unauthorized, "{base:?}");
        assert_eq!(refused.content_type(), Some(ContentType::JSON), "{base:?}");
        assert_eq!(refused.headers().get_one("cache-control"), Some("no-store"), "{base:?}");
        assert_eq!(refused.headers().get("x-content-type-options").count(), 1, "{base:?}");
        assert!(text(refused).await.starts_with(r#"{"error":"unauthenticated""#), "{base:?}");

        // A 401 of the host's own is not ours to write over.
        let own = client.get("/own").dispatch().await;
        assert_eq!(text(own).await.contains("<h1>Who are you?</h1>"), base == Some("/"), "{base:?}");
    }
}

#[rocket::async_test]
async fn a_catcher_that_answers_otherwise_is_left_alone() {
    #[catch(401)]
    fn to_login() -> Redirect {
        Redirect::to("/login-page")
    }
    let rocket = rocket::build().mount("/", routes![me]).register("/", catchers![to_login]);
    let client = Client::untracked(rocket.attach(Fairing::new(gatekey().await))).await.unwrap();
    let response = client.get("/me").dispatch().await;
    assert_eq!(response.status(), Status::SeeOther);
    assert_eq!(response.headers().get_one("location"), Some("/login-page"));
}

#[rocket::async_test]
async fn a_fairing_of_the_host_sees_a_refusal_and_its_fields_stay() {
    for first in [true, false] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let cors = AdHoc::on_response("cors", move |_, response| {
            let log = Arc::clone(&log);
            Box::pin(async move {
                log.lock().unwrap().push(response.status());
                response.set_raw_header("access-control-allow-origin", "https://other.example");
            })
        });
        let (rocket, ours) = (rocket::build().mount("/", routes![me]), Fairing::new(gatekey().await));
        let rocket = if first { rocket.attach(cors).attach(ours) } else { rocket.attach(ours).attach(cors) };
        let client = Client::untracked(rocket).await.unwrap();
        for path in ["/me", "/auth/me"] {
            let refused = client.get(path).dispatch().await;
            assert_eq!(refused.status(), Status::Unauthorized, "{path}");
            for name in ["access-control-allow-origin", "www-authenticate"] {
                assert_eq!(refused.headers().get(name).count(), 1, "{path}: {name}, {first}");
            }
        }
        assert_eq!(*seen.lock().unwrap(), [Status::Unauthorized; 2], "{first}");
    }
}

#[rocket::async_test]
async fn guards_ask_for_what_their_types_say() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let client = client(&gatekey).await;
    for (path, anonymous, alice) in [
        ("/me", Status::Unauthorized, Status::Ok),
        ("/maybe", Status::Ok, Status::Ok),
        ("/write", Status::Unauthorized, Status::Forbidden),
        ("/fresh", Status::Unauthorized, Status::Ok),
        ("/by-hand", Status::Unauthorized, Status::Forbidden),
    ] {
        assert_eq!(client.get(path).dispatch().await.status(), anonymous, "{path}");
        let response = client.get(path).header(bearer.clone()).dispatch().await;
        assert_eq!(response.status(), alice, "{path}");
        if alice == Status::Forbidden {
            assert!(text(response).await.contains("\"insufficient_scope\""), "{path}");
        }
    }
    let bad = client.get("/maybe").header(Header::new("authorization", "Bearer x")).dispatch().await;
    assert_eq!(bad.status(), Status::Unauthorized);
    assert!(text(bad).await.contains("\"invalid_token\""));
}

#[rocket::async_test]
async fn a_form_cannot_change_the_method_of_a_request_to_an_endpoint() {
    let client = client(&gatekey().await).await;
    for form in [
        "_method=get",
        "_method=delete",
        // Rocket looks at fourteen bytes and sees the one above.
        "_method=deleted&x=y",
        "_method=PATCH&x=y",
        "&_method=put",
        "_method.x=get",
        "[_method]=get",
    ] {
        let request = client.post("/auth/token").header(ContentType::Form).body(form);
        let response = request.dispatch().await;
        assert_eq!(response.status(), Status::BadRequest, "{form}");
        assert!(text(response).await.contains("\"invalid_request\""), "{form}");
    }
    let response = client.post("/auth/me").header(ContentType::Form).body("_method=get").dispatch().await;
    assert_eq!(response.status(), Status::MethodNotAllowed);
    // What Rocket does not take for a method leaves the method alone.
    for form in ["_method", "_method=x", "x=y&_method=post"] {
        let response =
            client.delete("/auth/sessions/x").header(ContentType::Form).body(form).dispatch().await;
        assert_eq!(response.status(), Status::Unauthorized, "{form}");
    }
}

#[rocket::async_test]
async fn a_body_is_read_to_the_limit_and_no_further() {
    let client = client(&gatekey().await).await;
    for (length, expected) in
        [(gatekey_http::MAX_BODY, Status::BadRequest), (gatekey_http::MAX_BODY + 1, Status::PayloadTooLarge)]
    {
        let request = client.post("/auth/login").header(ContentType::JSON).body(vec![b' '; length]);
        assert_eq!(request.dispatch().await.status(), expected, "{length}");
    }
}

#[rocket::async_test]
async fn the_address_is_the_peers_whatever_headers_say() {
    let seen = Seen::default();
    let client = client(&gatekey_with(seen.clone()).await).await;
    for path in ["/me", "/maybe", "/auth/me"] {
        seen.0.lock().unwrap().clear();
        let request = client
            .get(path)
            .remote("192.0.2.7:4711".parse().unwrap())
            .header(Header::new("x-real-ip", "203.0.113.9"))
            .header(Header::new("authorization", "Bearer x"));
        assert_eq!(request.dispatch().await.status(), Status::Unauthorized);
        assert_eq!(*seen.0.lock().unwrap(), [Some([192, 0, 2, 7].into())], "{path}");
    }
}

/// A service that knows the issuer's public keys and nothing else.
async fn elsewhere(gatekey: &Gatekey) -> Verifier {
    let (issuer, keys) = (&gatekey.config().issuer, gatekey.keys().jwk_set(gatekey.now()).to_string());
    Verifier::builder().issuer(issuer).audience(issuer).key_set(keys).build().await.unwrap()
}

#[rocket::async_test]
async fn an_application_that_only_verifies_has_guards_and_no_endpoints() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let fairing = Fairing::verifying(elsewhere(&gatekey).await);
    let rocket = rocket::build().mount("/", routes![me, by_hand]).attach(fairing);
    let client = Client::untracked(rocket).await.unwrap();
    let accepted = client.get("/me").header(bearer.clone()).dispatch().await;
    assert_eq!(text(accepted).await, "alice");
    let refused = client.get("/me").dispatch().await;
    assert_eq!(refused.status(), Status::Unauthorized);
    assert!(text(refused).await.contains("\"unauthenticated\""));
    assert_eq!(client.get("/by-hand").header(bearer).dispatch().await.status(), Status::Forbidden);
    assert_eq!(client.post("/auth/login").dispatch().await.status(), Status::NotFound);
}
