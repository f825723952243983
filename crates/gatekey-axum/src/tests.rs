use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use axum::extract::FromRef;
use axum::{
    Extension,
    body::{Body, to_bytes},
    http::{HeaderValue, Request, StatusCode, header::AUTHORIZATION},
    middleware::map_response,
    response::Response,
    routing::get,
};
use gatekey_core::{
    keys::{Algorithm, Keys},
    secret::Secret,
    session::Client,
    store::memory::MemoryStore,
};
use gatekey_http::{Caller, GatekeyBuilder, Pages, Verifier};
use tower::ServiceExt;

use super::*;

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

async fn ask(app: &Router, path: &str, bearer: Option<&str>) -> Response {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    if let Some(bearer) = bearer {
        request.headers_mut().insert(AUTHORIZATION, bearer.parse().unwrap());
    }
    app.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1024).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_layer_refuses_or_leaves_the_caller_in_the_extensions() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let name = get(async |Extension(caller): Extension<Caller>| caller.username().to_owned());
    let app = Router::new()
        .route("/login", name.clone().route_layer(require_login(&gatekey)))
        .route("/fresh", name.clone().route_layer(require_fresh(&gatekey, Duration::from_secs(60))))
        .route("/role", name.clone().route_layer(require_role(&gatekey, "admin")))
        .route("/scope", name.route_layer(require_scope(&gatekey, "read")));
    for (path, expected) in [
        ("/login", StatusCode::OK),
        ("/fresh", StatusCode::OK),
        ("/role", StatusCode::FORBIDDEN),
        ("/scope", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(ask(&app, path, None).await.status(), StatusCode::UNAUTHORIZED, "{path}");
        let response = ask(&app, path, Some(&bearer)).await;
        assert_eq!(response.status(), expected, "{path}");
        if expected == StatusCode::OK {
            assert_eq!(text(response).await, "alice", "{path}");
        }
    }
}

#[tokio::test]
async fn an_optional_caller_is_nobody_without_a_token_and_refused_with_a_bad_one() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let name = |caller: Option<&Caller>| caller.map_or("nobody", |caller| caller.username()).to_owned();
    let app = Router::new()
        .route("/maybe", get(async move |user: MaybeAuthenticated| name(user.caller())))
        .route("/option", get(async move |user: Option<Authenticated>| name(user.as_deref())))
        .with_state(gatekey);
    for path in ["/maybe", "/option"] {
        assert_eq!(text(ask(&app, path, None).await).await, "nobody");
        assert_eq!(text(ask(&app, path, Some(&bearer)).await).await, "alice");
        assert_eq!(ask(&app, path, Some("Bearer x")).await.status(), StatusCode::UNAUTHORIZED);
    }
}

/// A service that knows the issuer's public keys and nothing else.
async fn elsewhere(gatekey: &Gatekey) -> Verifier {
    let (issuer, keys) = (&gatekey.config().issuer, gatekey.keys().jwk_set(gatekey.now()).to_string());
    Verifier::builder().issuer(issuer).audience(issuer).key_set(keys).build().await.unwrap()
}

/// An application whose state has a verifier as one part of many.
#[derive(Clone, FromRef)]
struct State {
    verifier: Verifier,
}

#[tokio::test]
async fn an_application_that_only_verifies_has_a_verifier_in_its_state() {
    let gatekey = gatekey().await;
    let bearer = bearer(&gatekey).await;
    let verifier = elsewhere(&gatekey).await;
    let me = async |user: Authenticated| user.username().to_owned();
    let whole = Router::new().route("/me", get(me)).with_state(verifier.clone());
    let part = Router::new().route("/me", get(me)).with_state(State { verifier: verifier.clone() });
    let layer = Router::new().route("/me", get(async || "alice").route_layer(require_login(&verifier)));
    for app in [whole, part, layer] {
        assert_eq!(text(ask(&app, "/me", Some(&bearer)).await).await, "alice");
        assert_eq!(ask(&app, "/me", None).await.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_layer_further_out_sees_a_refusal_as_a_response() {
    let gatekey = gatekey().await;
    let cors = async |mut response: Response| {
        let anyone = HeaderValue::from_static("https://other.example");
        response.headers_mut().insert("access-control-allow-origin", anyone);
        response
    };
    let app = Router::new()
        .route("/extractor", get(async |_: Authenticated| "never"))
        .route("/layer", get(async || "never").route_layer(require_login(&gatekey)))
        .merge(routes(&gatekey))
        .with_state(gatekey)
        .layer(map_response(cors));
    for path in ["/extractor", "/layer", "/auth/me"] {
        let response = ask(&app, path, None).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        for name in ["access-control-allow-origin", "www-authenticate"] {
            assert!(response.headers().contains_key(name), "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn pages_that_nothing_refreshes_do_not_start() {
    let gatekey = builder().pages(Pages::new()).build().await.unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| drop(routes::<()>(&gatekey)))).unwrap_err();
    let told = panic.downcast_ref::<String>().unwrap();
    assert!(told.ends_with("gatekey_axum::pages(&gatekey, router) mounts the endpoints too"), "{told}");

    let app = pages(&gatekey, Router::new());
    assert_eq!(ask(&app, "/auth/jwks.json", None).await.status(), StatusCode::OK);
}
