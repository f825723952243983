use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gatekey_core::{TokenVerifier, keys::Algorithm, keys::SigningKey};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

const CERTIFICATE: &[u8] = include_bytes!("../tests/tls/certificate.pem");
const KEY: &[u8] = include_bytes!("../tests/tls/key.pem");

/// What a server sends: pieces, one after the other, and whether it then closes the connection.
struct Script {
    pieces: Vec<String>,
    closes: bool,
}

fn answer(status: &str, fields: &str, body: &str) -> Script {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n", body.len());
    Script { pieces: vec![head, body.to_owned()], closes: true }
}

fn key_set() -> String {
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap().verifying().jwk().unwrap();
    serde_json::json!({ "keys": [key] }).to_string()
}

/// A server that says the same to everyone, and how many it has heard.
async fn serve(script: Script, tls: Option<TlsAcceptor>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    tokio::spawn(async move {
        let script = Arc::new(script);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (script, tls, count) = (Arc::clone(&script), tls.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                match tls {
                    None => speak(stream, &script, &count).await,
                    // A client that does not trust us hangs up.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            speak(stream, &script, &count).await
                        }
                    }
                }
            });
        }
    });
    (address, heard)
}

async fn speak(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: &Script, heard: &AtomicUsize) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    heard.fetch_add(1, Ordering::SeqCst);
    for piece in &script.pieces {
        // Who has heard enough hangs up.
        if stream.write_all(piece.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    if script.closes {
        let _closed = stream.shutdown().await;
    } else {
        std::future::pending().await
    }
}

async fn fetched_within(limit: Duration, script: Script) -> Result<String, String> {
    let (address, _) = serve(script, None).await;
    let source = JwksUrl::new(&format!("http://{address}/keys?apikey=abc")).unwrap();
    let text = source.timeout(limit).fetch().await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(text).unwrap())
}

async fn fetched(script: Script) -> Result<String, String> {
    fetched_within(Duration::from_secs(30), script).await
}

#[tokio::test]
async fn a_key_set_of_64_kib_is_read_and_not_one_byte_more() {
    let set = key_set();
    let exactly = format!("{set}{}", " ".repeat(MAX_KEY_SET - set.len()));
    assert_eq!(fetched(answer("200 OK", "", &exactly)).await, Ok(exactly.clone()));
    let longer = format!("{exactly} ");
    let error = fetched(answer("200 OK", "", &longer)).await.unwrap_err();
    assert!(error.ends_with("/keys: more than 65536 bytes"), "{error}");
    assert!(error.starts_with("http://127.0.0.1:") && !error.contains("abc"), "{error}");

    // Without a length, the same counts what comes.
    let chunked = |body: &str| Script {
        pieces: vec![
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        ],
        closes: true,
    };
    assert_eq!(fetched(chunked(&exactly)).await, Ok(exactly));
    assert!(fetched(chunked(&longer)).await.unwrap_err().contains("more than"));
    let endless = Script {
        pieces: std::iter::once("HTTP/1.1 200 OK\r\n\r\n".to_owned())
            .chain(std::iter::repeat_n(" ".repeat(8192), 1000))
            .collect(),
        closes: false,
    };
    assert!(fetched(endless).await.unwrap_err().contains("more than"));
}

#[tokio::test]
async fn what_does_not_come_in_time_does_not_come() {
    let never = Script { pieces: Vec::new(), closes: false };
    let half = Script {
        pieces: vec!["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\":".to_owned()],
        closes: false,
    };
    for script in [never, half] {
        let error = fetched_within(Duration::from_millis(300), script).await.unwrap_err();
        assert!(error.ends_with("no answer within 300ms"), "{error}");
    }
}

#[tokio::test]
async fn nothing_but_a_whole_200_is_an_answer() {
    let (elsewhere, heard) = serve(answer("200 OK", "", &key_set()), None).await;
    let location = format!("location: http://{elsewhere}/keys\r\n");
    for (status, said) in [
        ("301 Moved Permanently", "answered 301 Moved Permanently"),
        ("302 Found", "answered 302 Found"),
        ("307 Temporary Redirect", "answered 307"),
        ("404 Not Found", "answered 404"),
        ("500 Internal Server Error", "answered 500"),
        ("206 Partial Content", "answered 206"),
    ] {
        let error = fetched(answer(status, &location, &key_set())).await.unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(heard.load(Ordering::SeqCst), 0, "a redirect was followed");

    let broken = ["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}", "garbage\r\n\r\n", ""];
    for pieces in broken.map(|text| vec![text.to_owned()]) {
        assert!(fetched(Script { pieces, closes: true }).await.is_err());
    }
    let error = JwksUrl::new("http://127.0.0.1:1/keys").unwrap().fetch().await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_verifier_does_not_start_on_what_is_no_key_set() {
    for body in ["", "<html>", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"] {
        let (address, _) = serve(answer("200 OK", "", body), None).await;
        let mut builder = TokenVerifier::builder();
        builder.issuer("https://issuer.example.com");
        builder.audience("api");
        builder.source(Arc::new(JwksUrl::new(&format!("http://{address}/keys")).unwrap()));
        let error = builder.build().await.unwrap_err();
        assert!(error.to_string().contains("not a usable JWK Set"), "{error}");
    }
}

#[test]
fn keys_come_over_https_or_from_this_machine() {
    for (url, taken) in [
        ("https://login.example.com/jwks.json", true),
        ("https://login.example.com:8443/jwks.json?v=2", true),
        ("http://localhost:3000/auth/jwks.json", true),
        ("http://127.0.0.1/jwks.json", true),
        ("http://[::1]:3000/jwks.json", true),
        ("http://login.example.com/jwks.json", false),
        ("http://127.0.0.1.example.com/jwks.json", false),
        ("http://localhost.example.com/jwks.json", false),
        ("http://2130706434.example/jwks.json", false),
        ("https://user:secret@login.example.com/jwks.json", false),
        ("https://user@login.example.com/jwks.json", false),
        ("ftp://login.example.com/jwks.json", false),
        ("file:///etc/jwks.json", false),
        ("login.example.com/jwks.json", false),
        ("https://", false),
        ("", false),
    ] {
        assert_eq!(checked(url).is_ok(), taken, "{url}");
    }
    let error = JwksUrl::new("https://user:hunter2@login.example.com/").unwrap_err().to_string();
    assert!(error.starts_with("jwks_url: ") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_list_of_hosts_is_compared_whole() {
    let allowed =
        |url: &str| JwksUrl::new(url).unwrap().allow_hosts(["Login.example.com", "localhost"]).is_ok();
    assert!(allowed("https://LOGIN.example.com:8443/keys"));
    assert!(allowed("http://localhost:3000/keys"));
    for url in
        ["https://example.com/", "https://evil-login.example.com/", "https://login.example.com.evil.example/"]
    {
        assert!(!allowed(url), "{url}");
    }
}

#[tokio::test]
async fn a_certificate_is_verified_always() {
    let certificates = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<_, _>>().unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKeyDer::from_pem_slice(KEY).unwrap())
            .unwrap();
    let set = key_set();
    let (address, heard) = serve(answer("200 OK", "", &set), Some(TlsAcceptor::from(Arc::new(config)))).await;
    let source = |host: &str| JwksUrl::new(&format!("https://{host}:{}/keys", address.port())).unwrap();

    let error = source("localhost").fetch().await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    // Trusted for the names it has, and for no other that leads to the same server.
    for (host, good) in [("localhost", true), ("127.0.0.1", true), ("127.0.0.2", false)] {
        let source = source(host).trust(CERTIFICATE).unwrap().timeout(Duration::from_secs(30));
        let fetched = source.fetch().await.map_err(|error| error.to_string());
        assert_eq!(fetched.is_ok(), good, "{host}: {fetched:?}");
        assert!(good || fetched.unwrap_err().contains("certificate"), "{host}");
    }
    assert_eq!(heard.load(Ordering::SeqCst), 2);
    for nothing in [&b""[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(source("localhost").trust(nothing).is_err());
    }
}
