use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

/// A server that answers one connection with these bytes, and returns what it was sent.
fn server(answer: &'static str) -> (Target, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    });
    let target = Target {
        address,
        authority: address.to_string(),
        prefix: "/auth".to_owned(),
        source: None,
        insecure_cookies: false,
    };
    (target, thread)
}

const STANDARD: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
    Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n";

async fn answered(head: &str, body: &str) -> Response {
    let text = format!("HTTP/1.1 {head}\r\n{STANDARD}Content-Length: {}\r\n\r\n{body}", body.len());
    let (target, _) = server(Box::leak(text.into_boxed_str()));
    Request::new(target, "GET", "/auth/me").send().await.unwrap()
}

#[tokio::test]
async fn what_a_case_writes_is_what_is_sent() {
    let (target, thread) = server("HTTP/1.1 204 No Content\r\n\r\n");
    let response = Request::new(target, "POST", "/auth/token")
        .header("X", "1")
        .header("X", "2")
        .form(&[("a", "b c"), ("a", "ü")])
        .send()
        .await
        .unwrap();
    assert_eq!(response.status, 204);
    let sent = thread.join().unwrap();
    assert!(sent.starts_with("POST /auth/token HTTP/1.1\r\nHost: 127.0.0.1:"), "{sent}");
    assert!(sent.contains("\r\nX: 1\r\nX: 2\r\n"), "{sent}");
    assert!(sent.ends_with("Content-Length: 16\r\n\r\na=b%20c&a=%C3%BC"), "{sent}");
}

#[tokio::test]
async fn a_chunked_answer_is_put_together() {
    let (target, thread) =
        server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    let response = Request::new(target, "POST", "/").chunked(&[b"xy", b"z"]).send().await.unwrap();
    assert_eq!(response.body, b"abcde");
    assert!(thread.join().unwrap().ends_with("2\r\nxy\r\n1\r\nz\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn a_broken_answer_is_a_failure_and_not_a_harness_error() {
    for answer in [
        "",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    ] {
        let (target, _) = server(answer);
        let outcome = Request::new(target, "GET", "/").send().await;
        assert!(matches!(outcome, Err(Failure::Failed { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn a_refusal_needs_its_body_its_fields_and_its_challenge() {
    let body = r#"{"error":"invalid_token","error_description":"The access token expired"}"#;
    let json = "Content-Type: application/json";
    let challenge = r#"WWW-Authenticate: Bearer realm="x", error="invalid_token", error_description="The access token expired""#;
    let good = answered(&format!("401 U\r\n{json}\r\n{challenge}"), body).await;
    good.expired_token().unwrap();
    assert!(good.invalid_token().is_err());
    assert!(good.refused(400, "invalid_token").is_err());
    assert!(good.refused(401, "unauthenticated").is_err());
    for (why, head) in [
        ("no challenge", format!("401 U\r\n{json}")),
        ("CORS", format!("401 U\r\n{json}\r\n{challenge}\r\nAccess-Control-Allow-Origin: *")),
        ("type", format!("401 U\r\nContent-Type: text/html\r\n{challenge}")),
        ("caching twice", format!("401 U\r\n{json}\r\n{challenge}\r\nCache-Control: no-store")),
    ] {
        let bad = answered(&head, body).await;
        assert!(bad.refused(401, "invalid_token").is_err(), "{why}");
    }
}

#[tokio::test]
async fn futures_run_side_by_side_and_answer_in_order() {
    let barrier = tokio::sync::Barrier::new(3);
    let outputs = all((0..3).map(|number| {
        let barrier = &barrier;
        async move {
            barrier.wait().await;
            number
        }
    }))
    .await;
    assert_eq!(outputs, [0, 1, 2]);
}
