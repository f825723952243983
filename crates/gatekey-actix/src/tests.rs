use std::{
    cell::RefCell,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, Mutex},
};

use actix_web::{
    App, HttpMessage, HttpResponse,
    dev::{Service, ServiceResponse},
    http::{StatusCode, header::HeaderValue},
    test::{TestRequest, call_service, init_service, read_body},
};
use gatekey_core::{
    event::{Event, EventSink},
    keys::{Algorithm, Keys},
    secret::Secret,
    session::Client,
    store::memory::MemoryStore,
};
use gatekey_http::{Caller, GatekeyBuilder, Pages, Verifier};

use super::*;

#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<Option<std::net::IpAddr>>>>);

impl EventSink for Seen {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.client.ip);
    }
}

fn builder() -> GatekeyBuilder {
    let keys = Keys::generate(Algorithm::EdDSA).unwrap();
    Gatekey::builder().issuer("https://app.example.com").keys(keys).store(MemoryStore::new())
}

async fn gatekey() -> Gatekey {
    builder().build().await.unwrap()
}

async fn bearer(gatekey: &Gatekey) -> String {
    let password = || Secret::new("a long enough pass phrase".to_owned());
    let nobody = Client::default();
    gatekey.register("alice", password(), &nobody).await.unwrap();
    let tokens = gatekey.login("alice", password(), &nobody, None).await.unwrap();
    format!("Bearer {}", tokens.access.expose())
}

fn get(path: &str, bearer: Option<&str>) -> TestRequest {
    let request = TestRequest::get().uri(path);
    match bearer {
        Some(bearer) => request.insert_header(("authorization", bearer)),
        None => request,
    }
}

async fn text(response: ServiceResponse<impl actix_web::body::MessageBody>) -> String {
    String::from_utf8(read_body(response).await.to_vec()).unwrap()
}

#[actix_web::test]
async fn outer_middleware_sees_a_refusal_as_a_response() {
    let gatekey = gatekey().await;
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&seen);
    let app = App::new()
        .configure(routes(&gatekey))
        .service(web::resource("/extractor").to(async |_: Authenticated| "never"))
        .service(
            web::scope("/scope")
                .wrap(RequireAuth::login(&gatekey))
                .default_service(web::to(async || "never")),
        )
        .wrap_fn(move |request, next| {
            let log = Rc::clone(&log);
            let answered = next.call(request);
            async move {
                let mut response = answered.await?;
                log.borrow_mut().push(response.status());
                let name = actix_web::http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
                response.headers_mut().insert(name, HeaderValue::from_static("https://other.example"));
                Ok(response)
            }
        });
    let app = init_service(app).await;
    for path in ["/extractor", "/scope/x", "/auth/me"] {
        // An error would not be an `Ok` here, and would pass by the middleware's code.
        let response = app.call(get(path, None).to_request()).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(response.headers().contains_key("access-control-allow-origin"), "{path}");
        assert!(response.headers().contains_key("www-authenticate"), "{path}");
    }
    assert_eq!(*seen.borrow(), [StatusCode::UNAUTHORIZED; 3]);
}

#[actix_web::test]
async fn middleware_guards_an_application_a_scope_and_a_resource() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let name = async |request: HttpRequest| {
        let caller = request.extensions().get::<Caller>().map(|caller| caller.username().to_owned());
        caller.unwrap_or_default()
    };
    // No `routes` here: the middleware carries its own handle.
    let guarded = App::new().wrap(RequireAuth::login(&gatekey)).route("/", web::get().to(name));
    let guarded = init_service(guarded).await;
    assert_eq!(call_service(&guarded, get("/", None).to_request()).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(call_service(&guarded, get("/", Some(&bearer)).to_request()).await).await, "alice");

    let fresh = RequireAuth::fresh(&gatekey, std::time::Duration::from_secs(60));
    let parts = App::new()
        .service(
            web::scope("/scope").wrap(RequireAuth::scope(&gatekey, "read")).route("", web::get().to(name)),
        )
        .service(web::resource("/resource").wrap(fresh).to(name))
        .route("/open", web::get().to(name));
    let parts = init_service(parts).await;
    for (path, anonymous, alice) in [
        ("/scope", StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN),
        ("/resource", StatusCode::UNAUTHORIZED, StatusCode::OK),
        ("/open", StatusCode::OK, StatusCode::OK),
    ] {
        assert_eq!(call_service(&parts, get(path, None).to_request()).await.status(), anonymous, "{path}");
        assert_eq!(
            call_service(&parts, get(path, Some(&bearer)).to_request()).await.status(),
            alice,
            "{path}"
        );
    }
}

#[actix_web::test]
async fn an_optional_caller_is_nobody_without_a_token_and_refused_with_a_bad_one() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let name = async |user: MaybeAuthenticated| {
        user.caller().map_or("nobody", |caller| caller.username()).to_owned()
    };
    let app = init_service(App::new().configure(routes(&gatekey)).route("/", web::get().to(name))).await;
    assert_eq!(text(call_service(&app, get("/", None).to_request()).await).await, "nobody");
    assert_eq!(text(call_service(&app, get("/", Some(&bearer)).to_request()).await).await, "alice");
    let bad = call_service(&app, get("/", Some("Bearer x")).to_request()).await;
    assert_eq!(bad.status(), StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn an_extractor_finds_its_gatekey_where_routes_or_the_host_put_it() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let me = async |user: Authenticated| user.username().to_owned();
    let by_host = App::new().app_data(Data::new(gatekey.clone())).route("/me", web::get().to(me));
    let by_host = init_service(by_host).await;
    let request = get("/me", Some(&bearer)).to_request();
    assert_eq!(call_service(&by_host, request).await.status(), StatusCode::OK);
}

/// What this thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[actix_web::test]
async fn an_extractor_without_a_gatekey_refuses_and_the_log_says_what_to_do() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _listening = tracing::subscriber::set_default(lines);
    let app = App::new()
        .route("/me", web::get().to(async |_: Authenticated| "never"))
        .route("/maybe", web::get().to(async |_: MaybeAuthenticated| "never"));
    let app = init_service(app).await;
    for (path, bearer) in [("/me", Some(&*bearer)), ("/maybe", Some(&*bearer)), ("/maybe", None)] {
        log.0.lock().unwrap().clear();
        let failed = call_service(&app, get(path, bearer).to_request()).await;
        assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert!(text(failed).await.contains("\"server_error\""), "{path}");
        let told = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(
            told.contains("ERROR gatekey: a route is guarded by a verifier that is not installed"),
            "{told}"
        );
        assert!(told.contains("App::configure(gatekey_actix::routes(&gatekey))"), "{told}");
    }
}

#[actix_web::test]
async fn pages_that_nothing_refreshes_do_not_start() {
    let gatekey = builder().pages(Pages::new()).build().await.unwrap();
    let forgotten = || drop(App::new().configure(routes(&gatekey)));
    let panic = catch_unwind(AssertUnwindSafe(forgotten)).unwrap_err();
    let told = panic.downcast_ref::<String>().unwrap();
    assert!(told.ends_with("App::wrap(gatekey_actix::pages(&gatekey)) before App::configure"), "{told}");

    let app = init_service(App::new().wrap(pages(&gatekey)).configure(routes(&gatekey))).await;
    let answered = call_service(&app, get("/auth/jwks.json", None).to_request()).await;
    assert_eq!(answered.status(), StatusCode::OK);
}

#[actix_web::test]
async fn a_handler_refuses_by_the_callers_own_words() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let handler = async |user: Authenticated| {
        user.require_scope("write")?;
        Ok::<_, Rejection>(HttpResponse::Ok())
    };
    let app = init_service(App::new().configure(routes(&gatekey)).route("/", web::get().to(handler))).await;
    let refused = call_service(&app, get("/", Some(&bearer)).to_request()).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(text(refused).await.contains("\"insufficient_scope\""));
}

#[actix_web::test]
async fn the_address_is_the_peers_whatever_headers_say() {
    let seen = Seen::default();
    let gatekey = builder().events(seen.clone()).build().await.unwrap();
    let guarded = web::resource("/middleware").wrap(RequireAuth::login(&gatekey)).to(async || "never");
    let app = App::new()
        .configure(routes(&gatekey))
        .route("/extractor", web::get().to(async |_: Authenticated| "never"))
        .service(guarded);
    let app = init_service(app).await;
    for path in ["/extractor", "/middleware", "/auth/me"] {
        seen.0.lock().unwrap().clear();
        let request = get(path, Some("Bearer x"))
            .peer_addr("192.0.2.7:4711".parse().unwrap())
            .insert_header(("forwarded", "for=203.0.113.9"))
            .insert_header(("x-forwarded-for", "203.0.113.9"));
        call_service(&app, request.to_request()).await;
        assert_eq!(*seen.0.lock().unwrap(), [Some([192, 0, 2, 7].into())], "{path}");
    }
}

/// A service that knows the issuer's public keys and nothing else.
async fn elsewhere(gatekey: &Gatekey) -> Verifier {
    let (issuer, keys) = (&gatekey.config().issuer, gatekey.keys().jwk_set(gatekey.now()).to_string());
    Verifier::builder().issuer(issuer).audience(issuer).key_set(keys).build().await.unwrap()
}

#[actix_web::test]
async fn an_application_that_only_verifies_has_a_verifier_among_its_data() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let verifier = elsewhere(&gatekey).await;
    let me = async |user: Authenticated| user.username().to_owned();
    let guarded = web::resource("/guarded").wrap(RequireAuth::login(&verifier)).to(me);
    let app = App::new().app_data(Data::new(verifier)).route("/me", web::get().to(me)).service(guarded);
    let app = init_service(app).await;
    for path in ["/me", "/guarded"] {
        assert_eq!(text(call_service(&app, get(path, Some(&bearer)).to_request()).await).await, "alice");
        let refused = call_service(&app, get(path, None).to_request()).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
}

#[actix_web::test]
async fn the_innermost_data_is_what_an_extractor_asks() {
    let (outer, inner) = (gatekey().await, gatekey().await);
    let bearer = bearer(&inner).await;
    let me = async |user: Authenticated| user.username().to_owned();
    let scope = web::scope("/inner").configure(routes(&inner)).route("/me", web::get().to(me));
    let app = App::new().app_data(Data::new(elsewhere(&outer).await)).service(scope);
    let app = init_service(app.route("/me", web::get().to(me))).await;
    for (path, expected) in [("/inner/me", StatusCode::OK), ("/me", StatusCode::UNAUTHORIZED)] {
        let response = call_service(&app, get(path, Some(&bearer)).to_request()).await;
        assert_eq!(response.status(), expected, "{path}");
    }
}
