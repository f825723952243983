//! Wrong on purpose: the axum host with one fault, chosen by `--fault`, which the suite must notice.
//!
//! `tests/hosts/broken.json` says which cases have to fail for each fault. A suite that passes a host like this one
//! proves nothing about the others.

use std::process::ExitCode;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, ORIGIN, RETRY_AFTER,
            SET_COOKIE, WWW_AUTHENTICATE,
        },
        request::Parts,
        response,
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use base64_simd::URL_SAFE_NO_PAD;
use bytes::Bytes;
use gatekey::{Gatekey, GatekeyBuilder, Limits, Policy};
use gatekey_hosts::{Host, Refused, axum_app, exit};
use serde_json::Value;

#[tokio::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Refused> {
    let host = Host::from_args_with(misconfigure).await?;
    let name = host.fault.as_deref().unwrap_or_default();
    let (_, fault) = FAULTS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| Refused::because("fault", format!("{name:?} is not known")))?;
    let broken = Broken { gatekey: host.gatekey.clone(), fault: *fault };
    let app: Router = axum_app::app(&host).layer(middleware::from_fn_with_state(broken, tamper));
    axum_app::serve(&host, app).await
}

/// What a fault does to a request or its answer.
#[derive(Clone, Copy)]
enum Fault {
    /// Done by the configuration already.
    Configured,
    /// Changes the head of a request.
    Request(fn(&mut Parts)),
    /// Changes the body of a request.
    Body(fn(&[u8]) -> Vec<u8>),
    /// Answers instead of the application.
    Instead(fn(&Parts) -> Option<Response>),
    /// Changes an answer, knowing what was asked and whether the name it held has an account.
    Answer(fn(&Asked, &mut response::Parts, Bytes) -> Bytes),
}

/// What was asked.
struct Asked {
    origin: Option<HeaderValue>,
    known_name: bool,
}

const FAULTS: &[(&str, Fault)] = &[
    ("no-store-missing", Fault::Answer(without_no_store)),
    ("challenge-missing", Fault::Answer(without_challenge)),
    ("retry-after-missing", Fault::Answer(without_retry_after)),
    ("cors-reflected", Fault::Answer(reflecting_the_origin)),
    ("invalid-grant-as-401", Fault::Answer(invalid_grant_as_401)),
    ("expired-as-invalid", Fault::Answer(expired_as_invalid)),
    ("unknown-user-told", Fault::Answer(telling_unknown_names)),
    ("foreign-session-403", Fault::Answer(not_found_as_403)),
    ("cookie-without-httponly", Fault::Answer(without_http_only)),
    ("samesite-none", Fault::Answer(same_site_none)),
    ("token-in-cookie-body", Fault::Answer(with_token_in_body)),
    ("superseded-clears-cookies", Fault::Answer(clearing_when_superseded)),
    ("csrf-ignored", Fault::Request(from_the_same_origin)),
    ("second-authorization-ignored", Fault::Request(with_one_authorization)),
    ("duplicate-json-member-accepted", Fault::Body(without_duplicates)),
    ("accepts-alg-none", Fault::Instead(trusting_alg_none)),
    ("logout-keeps-access-token", Fault::Instead(pretending_to_log_out)),
    ("frames-refreshed", Fault::Request(as_a_document)),
    ("refresh-lost", Fault::Answer(without_cookies_on_pages)),
    ("reuse-forgiven", Fault::Configured),
    ("limits-off", Fault::Configured),
];

fn misconfigure(fault: Option<&str>, builder: GatekeyBuilder) -> GatekeyBuilder {
    match fault {
        Some("reuse-forgiven") => {
            builder.rotation(Policy { grace: std::time::Duration::from_secs(60), ..Policy::BALANCED })
        }
        Some("limits-off") => builder.limits(Limits::OFF),
        _ => builder,
    }
}

#[derive(Clone)]
struct Broken {
    gatekey: Gatekey,
    fault: Fault,
}

/// A test body is short; what is longer is for the application to refuse.
const LONGEST: usize = 1 << 20;

async fn tamper(State(broken): State<Broken>, request: Request, next: Next) -> Response {
    // The suite's own levers are never broken.
    if request.uri().path().starts_with("/__test/") {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    match broken.fault {
        Fault::Configured => next.run(Request::from_parts(parts, body)).await,
        Fault::Request(change) => {
            change(&mut parts);
            next.run(Request::from_parts(parts, body)).await
        }
        Fault::Instead(answer) => match answer(&parts) {
            Some(response) => response,
            None => next.run(Request::from_parts(parts, body)).await,
        },
        Fault::Body(change) => {
            let bytes = to_bytes(body, LONGEST).await.unwrap_or_default();
            parts.headers.remove(CONTENT_LENGTH);
            next.run(Request::from_parts(parts, Body::from(change(&bytes)))).await
        }
        Fault::Answer(change) => {
            let bytes = to_bytes(body, LONGEST).await.unwrap_or_default();
            let asked = Asked {
                origin: parts.headers.get(ORIGIN).cloned(),
                known_name: names_an_account(&broken.gatekey, &bytes).await,
            };
            let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
            let (mut head, body) = response.into_parts();
            let bytes = to_bytes(body, LONGEST).await.unwrap_or_default();
            head.headers.remove(CONTENT_LENGTH);
            let bytes = change(&asked, &mut head, bytes);
            Response::from_parts(head, Body::from(bytes))
        }
    }
}

async fn names_an_account(gatekey: &Gatekey, body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    match body["username"].as_str() {
        Some(name) => gatekey.user(name).await.is_ok(),
        None => true,
    }
}

fn without_no_store(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    head.headers.remove(CACHE_CONTROL);
    body
}

fn without_challenge(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    head.headers.remove(WWW_AUTHENTICATE);
    body
}

fn without_retry_after(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    head.headers.remove(RETRY_AFTER);
    body
}

fn reflecting_the_origin(asked: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    if let Some(origin) = &asked.origin {
        head.headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    body
}

fn says(body: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(body).contains(text)
}

fn replaced(body: &[u8], from: &str, to: &str) -> Bytes {
    String::from_utf8_lossy(body).replace(from, to).into()
}

fn invalid_grant_as_401(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    if says(&body, "invalid_grant") {
        head.status = StatusCode::UNAUTHORIZED;
    }
    body
}

fn expired_as_invalid(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    const SENTENCES: (&str, &str) = ("The access token expired", "The access token is invalid");
    let challenge =
        head.headers.get(WWW_AUTHENTICATE).map(|field| replaced(field.as_bytes(), SENTENCES.0, SENTENCES.1));
    if let Some(field) = challenge.and_then(|field| HeaderValue::from_bytes(&field).ok()) {
        head.headers.insert(WWW_AUTHENTICATE, field);
    }
    replaced(&body, SENTENCES.0, SENTENCES.1)
}

fn telling_unknown_names(asked: &Asked, _: &mut response::Parts, body: Bytes) -> Bytes {
    if asked.known_name {
        body
    } else {
        replaced(&body, "The name or the password is wrong.", "There is no such account.")
    }
}

fn not_found_as_403(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    if head.status == StatusCode::NOT_FOUND {
        head.status = StatusCode::FORBIDDEN;
    }
    body
}

fn change_cookies(head: &mut response::Parts, from: &[&str], to: &str) {
    let cookies: Vec<_> = head.headers.get_all(SET_COOKIE).iter().cloned().collect();
    head.headers.remove(SET_COOKIE);
    for cookie in cookies {
        let text = String::from_utf8_lossy(cookie.as_bytes()).into_owned();
        let text = from.iter().fold(text, |text, from| text.replace(from, to));
        head.headers.append(SET_COOKIE, HeaderValue::try_from(text).unwrap_or(cookie));
    }
}

fn without_http_only(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    change_cookies(head, &["; HttpOnly"], "");
    body
}

fn same_site_none(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    change_cookies(head, &["SameSite=Lax", "SameSite=Strict"], "SameSite=None");
    body
}

fn with_token_in_body(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    let token = head.headers.get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok()).and_then(|cookie| {
        let (_, value) = cookie.split(';').next()?.split_once('=')?;
        Some(value.to_owned())
    });
    match (token, serde_json::from_slice::<Value>(&body)) {
        (Some(token), Ok(mut members @ Value::Object(_))) => {
            members["access_token"] = token.into();
            members.to_string().into()
        }
        _ => body,
    }
}

fn clearing_when_superseded(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    if head.status == StatusCode::CONFLICT {
        let cleared = "__Host-gatekey_refresh=; Secure; HttpOnly; SameSite=Strict; Path=/; Max-Age=0";
        head.headers.append(SET_COOKIE, HeaderValue::from_static(cleared));
    }
    body
}

fn from_the_same_origin(parts: &mut Parts) {
    parts.headers.insert(HeaderName::from_static("sec-fetch-site"), HeaderValue::from_static("same-origin"));
}

fn as_a_document(parts: &mut Parts) {
    if let Some(shown) = parts.headers.get_mut("sec-fetch-dest") {
        *shown = HeaderValue::from_static("document");
    }
}

/// The token endpoint says `Cookie` in its body; what sets cookies and does not is a page.
fn without_cookies_on_pages(_: &Asked, head: &mut response::Parts, body: Bytes) -> Bytes {
    if !says(&body, "token_type") {
        head.headers.remove(SET_COOKIE);
    }
    body
}

fn with_one_authorization(parts: &mut Parts) {
    if let Some(first) = parts.headers.get(AUTHORIZATION).cloned() {
        parts.headers.insert(AUTHORIZATION, first);
    }
}

fn without_duplicates(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => value.to_string().into_bytes(),
        Err(_) => body.to_vec(),
    }
}

fn trusting_alg_none(parts: &Parts) -> Option<Response> {
    let field = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let header = field.split(' ').nth(1)?.split('.').next()?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode_to_vec(header).ok()?).ok()?;
    let none = header["alg"].as_str()?.eq_ignore_ascii_case("none");
    none.then(|| (StatusCode::OK, "{}").into_response())
}

fn pretending_to_log_out(parts: &Parts) -> Option<Response> {
    parts.uri.path().ends_with("/logout").then(|| StatusCode::NO_CONTENT.into_response())
}
