use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use gatekey_core::{
    error::{ClientRefusal, Fault, GrantRefusal, LoginRefusal, TokenError},
    introspection::IntrospectionClient,
    keys::{Algorithm, Keys},
    random::RandomFailed,
    store::memory::MemoryStore,
    user::Rule,
};
use http::{HeaderMap, HeaderValue, header};

use super::*;
use crate::{Body, Head, METADATA_PATH, Reply, endpoints::Endpoint, reply};

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// An endpoint's path as the document writes it. A new endpoint does not compile before it has one here; then it belongs
/// into [`ENDPOINTS`] too.
fn described_as(endpoint: Endpoint<'_>) -> &'static str {
    match endpoint {
        Endpoint::Register => "/register",
        Endpoint::Login => "/login",
        Endpoint::Token => "/token",
        Endpoint::Logout => "/logout",
        Endpoint::Revoke => "/revoke",
        Endpoint::Introspect => "/introspect",
        Endpoint::Me => "/me",
        Endpoint::Sessions => "/sessions",
        Endpoint::Session(_) => "/sessions/{id}",
        Endpoint::Password => "/password",
        Endpoint::Jwks => "/jwks.json",
        Endpoint::Metadata => METADATA_PATH,
        Endpoint::OpenApi => "/openapi.json",
        Endpoint::Script => "/gatekey.js",
    }
}

const ENDPOINTS: [Endpoint<'_>; 14] = [
    Endpoint::Register,
    Endpoint::Login,
    Endpoint::Token,
    Endpoint::Logout,
    Endpoint::Revoke,
    Endpoint::Introspect,
    Endpoint::Me,
    Endpoint::Sessions,
    Endpoint::Session("{id}"),
    Endpoint::Password,
    Endpoint::Jwks,
    Endpoint::Metadata,
    Endpoint::OpenApi,
    Endpoint::Script,
];

/// One refusal of each kind. A new one does not compile before it is placed in the `match` below.
fn refusals() -> Vec<Refusal> {
    let fault = || -> Fault { Arc::new(RandomFailed) };
    let scope = || Some("read".to_owned());
    let all = vec![
        Refusal::InvalidRequest,
        Refusal::UnsupportedGrantType,
        Refusal::Unauthenticated,
        Refusal::CsrfFailed,
        Refusal::NotFound,
        Refusal::MethodNotAllowed("POST"),
        Refusal::PayloadTooLarge,
        Refusal::UnsupportedMediaType,
        Refusal::Validation { field: "body", rule: Rule::UnknownMember },
        Refusal::Auth(AuthError::InvalidToken(TokenError::Expired)),
        Refusal::Auth(AuthError::InvalidToken(TokenError::BadSignature)),
        Refusal::Auth(AuthError::InvalidToken(TokenError::KeyPending)),
        Refusal::Auth(AuthError::InvalidCredentials(LoginRefusal::UnknownName)),
        Refusal::Auth(AuthError::InvalidGrant(GrantRefusal::UnknownSession)),
        Refusal::Auth(AuthError::InvalidClient(ClientRefusal::Unknown)),
        Refusal::Auth(AuthError::InvalidScope),
        Refusal::Auth(AuthError::Superseded),
        Refusal::Auth(AuthError::InsufficientScope(scope())),
        Refusal::Auth(AuthError::InsufficientAuthentication { max_age: Duration::from_secs(300) }),
        Refusal::Auth(AuthError::NotFound),
        Refusal::Auth(AuthError::UsernameTaken),
        Refusal::Auth(AuthError::Validation { field: "password", rule: Rule::Common }),
        Refusal::Auth(AuthError::RateLimited { retry_after: Duration::from_millis(1500) }),
        Refusal::Auth(AuthError::Unavailable(fault())),
        Refusal::Auth(AuthError::Internal(fault())),
    ];
    for refusal in &all {
        match refusal {
            Refusal::InvalidRequest
            | Refusal::UnsupportedGrantType
            | Refusal::Unauthenticated
            | Refusal::CsrfFailed
            | Refusal::NotFound
            | Refusal::MethodNotAllowed(_)
            | Refusal::PayloadTooLarge
            | Refusal::UnsupportedMediaType
            | Refusal::Validation { .. } => {}
            Refusal::Auth(error) => match error {
                AuthError::InvalidToken(_)
                | AuthError::InvalidCredentials(_)
                | AuthError::InvalidGrant(_)
                | AuthError::InvalidClient(_)
                | AuthError::InvalidScope
                | AuthError::Superseded
                | AuthError::InsufficientScope(_)
                | AuthError::InsufficientAuthentication { .. }
                | AuthError::NotFound
                | AuthError::UsernameTaken
                | AuthError::Validation { .. }
                | AuthError::RateLimited { .. }
                | AuthError::Unavailable(_)
                | AuthError::Internal(_) => {}
            },
        }
    }
    all
}

fn json_body(reply: &Reply) -> Value {
    serde_json::from_slice(reply.body()).unwrap()
}

/// Every code that is answered, with its status.
fn codes() -> BTreeMap<String, String> {
    let pair = |refusal: &Refusal| {
        let reply = reply::refuse(refusal, "gatekey");
        let code = json_body(&reply)["error"].as_str().unwrap().to_owned();
        (code, reply.status().as_str().to_owned())
    };
    refusals().iter().map(pair).collect()
}

/// Follows a reference within the document.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

fn texts(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// The members of a JSON object.
fn members(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_document_describes_the_routes_and_no_others() {
    let document = document();
    let mut described = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
        let methods = methods.into_iter().filter(|method| item.get(method).is_some());
        described.insert(path.clone(), methods.map(str::to_uppercase).collect::<BTreeSet<_>>());
    }
    let routed: BTreeMap<_, _> = ENDPOINTS
        .into_iter()
        .map(|endpoint| {
            // HEAD is answered wherever GET is, and described nowhere.
            let methods = endpoint.allow().split(", ").filter(|method| *method != "HEAD");
            (described_as(endpoint).to_owned(), methods.map(str::to_owned).collect::<BTreeSet<_>>())
        })
        .collect();
    assert_eq!(described, routed);

    for path in described.keys() {
        let prefix = if path == METADATA_PATH { "" } else { "/auth" };
        let full = format!("{prefix}{path}");
        let endpoint = Endpoint::at(&full, "/auth").unwrap();
        assert_eq!(described_as(endpoint), path);
    }
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_document_has_every_code_and_no_other() {
    let document = document();
    let listed = texts(&document["components"]["schemas"]["ErrorCode"]["enum"]);
    assert_eq!(listed, codes().into_keys().collect());
    let rules = texts(&document["components"]["schemas"]["ValidationError"]["properties"]["rule"]["enum"]);
    let all = [
        Rule::TooShort,
        Rule::TooLong,
        Rule::Common,
        Rule::ContainsUsername,
        Rule::Characters,
        Rule::UnknownValue,
        Rule::WrongType,
        Rule::UnknownMember,
    ];
    assert_eq!(rules, all.map(|rule| rule.name().to_owned()).into());
}

#[test]
fn the_document_gives_every_code_its_status_and_headers() {
    let document = document();
    let codes = codes();
    let mut answered = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values().filter_map(|item| item["responses"].as_object()) {
            for (status, response) in operation.iter().filter(|(status, _)| !status.starts_with(['2', '3'])) {
                let response = resolve(&document, response);
                let schema = &response["content"]["application/json"]["schema"];
                let mut here = texts(&schema["properties"]["error"]["enum"]);
                if schema["$ref"] == "#/components/schemas/ValidationError" {
                    here.insert("validation_failed".to_owned());
                }
                assert!(!here.is_empty(), "{path} {status} names no code");
                for code in &here {
                    assert_eq!(codes.get(code), Some(status), "{path} {code}");
                    assert!(
                        response["description"].as_str().unwrap().contains(&format!("`{code}`")),
                        "{code}"
                    );
                }
                for (field, expected) in [
                    ("WWW-Authenticate", "401"),
                    ("Allow", "405"),
                    ("Retry-After", "429"),
                    ("Retry-After", "503"),
                ] {
                    if status == expected {
                        assert!(response["headers"][field].is_object(), "{path} {status} lacks {field}");
                    }
                }
                answered.append(&mut here);
            }
        }
    }
    // Guards of the host's own routes answer these two; no endpoint does.
    answered.extend(["insufficient_scope", "insufficient_user_authentication"].map(str::to_owned));
    assert_eq!(answered, codes.into_keys().collect());
}

/// A request to one of the endpoints, from nowhere in particular.
async fn send(gatekey: &Gatekey, method: &str, path: &str, bearer: Option<&str>, body: Value) -> Reply {
    let mut headers = HeaderMap::new();
    if let Some(token) = bearer {
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    }
    headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let head = Head { method, path, query: None, headers: &headers, peer: None };
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    gatekey.handle(head, Body::Complete(body)).await
}

const CLIENT_SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn introspect(gatekey: &Gatekey, token: &str) -> Reply {
    let mut headers = HeaderMap::new();
    let pair = base64_simd::STANDARD.encode_to_string(format!("orders-api:{CLIENT_SECRET}"));
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Basic {pair}")).unwrap());
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, form);
    let head = Head { method: "POST", path: "/auth/introspect", query: None, headers: &headers, peer: None };
    gatekey.handle(head, Body::Complete(Bytes::from(format!("token={token}")))).await
}

#[tokio::test]
async fn the_document_names_the_members_of_answers() {
    let gatekey = Gatekey::builder()
        .issuer("https://app.example.com")
        .keys(Keys::generate(Algorithm::EdDSA).unwrap())
        .store(MemoryStore::new())
        .introspection_client(IntrospectionClient::new("orders-api", CLIENT_SECRET).unwrap())
        .build()
        .await
        .unwrap();
    let account = || json!({ "username": "alice", "password": "a long enough pass phrase" });
    let mut by_cookie = account();
    by_cookie["transport"] = "cookie".into();

    let post = |path, body| send(&gatekey, "POST", path, None, body);
    let user = json_body(&post("/auth/register", account()).await)["user"].take();
    let tokens = json_body(&post("/auth/login", account()).await);
    let cookie_tokens = json_body(&post("/auth/login", by_cookie).await);
    let invalid = json_body(&post("/auth/login", json!({ "username": 1 })).await);
    let error = json_body(&post("/auth/nothing", Value::Null).await);
    let get = |path| send(&gatekey, "GET", path, tokens["access_token"].as_str(), Value::Null);
    let me = json_body(&get("/auth/me").await);
    let session = json_body(&get("/auth/sessions").await)["sessions"][0].take();
    let keys = json_body(&get("/auth/jwks.json").await);
    let metadata = json_body(&get(METADATA_PATH).await);
    let served = json_body(&get("/auth/openapi.json").await);

    let live = json_body(&introspect(&gatekey, tokens["access_token"].as_str().unwrap()).await);

    let document = document();
    for (schema, answer) in [
        ("User", &user),
        ("BodyTokens", &tokens),
        ("CookieTokens", &cookie_tokens),
        ("ValidationError", &invalid),
        ("Error", &error),
        ("Me", &me),
        ("Session", &session),
        ("JwkSet", &keys),
        ("Metadata", &metadata),
    ] {
        let described = &document["components"]["schemas"][schema];
        assert_eq!(members(&described["properties"]), members(answer), "{schema}");
        let mut required = texts(&described["required"]);
        if schema == "Metadata" {
            // Only where somebody may introspect.
            required.insert("introspection_endpoint".to_owned());
            required.insert("introspection_endpoint_auth_methods_supported".to_owned());
        }
        assert_eq!(required, members(answer), "{schema}");
    }
    let introspected = members(&document["components"]["schemas"]["Introspected"]["properties"]);
    let optional = ["nbf", "scope"].map(str::to_owned).into();
    assert_eq!(&introspected - &members(&live), optional);
    let key = members(&keys["keys"][0]);
    assert!(key.is_subset(&members(&document["components"]["schemas"]["Jwk"]["properties"])), "{key:?}");
    assert!(key.is_superset(&texts(&document["components"]["schemas"]["Jwk"]["required"])), "{key:?}");
    assert_eq!(served["servers"], json!([{ "url": "/auth" }]));
    assert_eq!(served["paths"], document["paths"]);
}

#[tokio::test]
async fn what_is_served_names_this_applications_prefix_and_cookies() {
    let gatekey = Gatekey::builder()
        .issuer("http://127.0.0.1:3000")
        .keys(Keys::generate(Algorithm::EdDSA).unwrap())
        .store(MemoryStore::new())
        .prefix("/account/auth")
        .registration(false)
        .insecure_cookies_on_loopback([127, 0, 0, 1].into())
        .build()
        .await
        .unwrap();
    let served = openapi(&gatekey).unwrap();
    assert_eq!(served["servers"][0]["url"], "/account/auth");
    assert_eq!(served["paths"][METADATA_PATH]["servers"][0]["url"], "/");
    assert_eq!(served["paths"].get("/register"), None);
    assert_eq!(served["components"]["securitySchemes"]["refreshCookie"]["name"], "gatekey_refresh");
    // Nobody may introspect, so nothing is said of it but the code, whose set is closed.
    let text = served.to_string().replace("invalid_client", "");
    for word in ["introspect", "Introspect", "Basic", "ClientChallenge"] {
        assert!(!text.contains(word), "{word}");
    }
    assert_eq!(served["components"]["securitySchemes"].get("client"), None);
    assert!(!metadata(&gatekey).to_string().contains("introspect"));
}

// ---- The pages in docs/ ----------------------------------------------------------------------------------------

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_page_of_errors_has_every_code_with_its_status_and_no_other() {
    let page = page("errors.md");
    // Rows begin `| 400 | `invalid_request` |`.
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (status, code) = (cells.next()?, cells.next()?);
        let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        is_status.then(|| (code.trim_matches('`').to_owned(), status.to_owned()))
    });
    let written: Vec<_> = rows.collect();
    assert_eq!(written.iter().cloned().collect::<BTreeMap<_, _>>(), codes());
    assert_eq!(written.len(), codes().len(), "a code stands there twice");
}

#[test]
fn the_page_of_settings_has_every_setting_of_the_builder_and_no_other() {
    let written = page("configuration.md");
    let source = include_str!("../site.rs");
    let builder = source.split("impl GatekeyBuilder {").nth(1).unwrap();
    let settings: BTreeSet<_> = builder
        .split("\n    pub fn ")
        .skip(1)
        .map(|function| function.split('(').next().unwrap().to_owned())
        .filter(|name| name != "build")
        .collect();
    let rows =
        written.lines().filter_map(|line| line.strip_prefix("| `.")?.split('(').next().map(str::to_owned));
    assert_eq!(rows.collect::<BTreeSet<_>>(), settings);
}
