use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use gatekey_core::{
    event::{Event, EventSink},
    keys::{Algorithm, Keys},
    secret::Secret,
    session::Client,
    store::memory::MemoryStore,
};
use gatekey_http::{Caller, MAX_BODY, Requirement, Verifier};
use http::{Extensions, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{Empty, Full};
use tonic::Code;
use tower::{Layer, ServiceExt, service_fn};

use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

async fn gatekey() -> Gatekey {
    let keys = Keys::generate(Algorithm::EdDSA).unwrap();
    let builder = Gatekey::builder().issuer("https://app.example.com").keys(keys).store(MemoryStore::new());
    builder.build().await.unwrap()
}

fn unknown(_: &Extensions) -> Option<IpAddr> {
    None
}

async fn hello(request: Request<()>) -> Result<Response<Bytes>, Infallible> {
    let caller = request.extensions().get::<Caller>();
    Ok(Response::new(
        caller.map_or_else(|| "nobody".to_owned(), |caller| caller.username().to_owned()).into(),
    ))
}

fn json(body: Bytes) -> Request<Full<Bytes>> {
    let request = Request::post("/auth/login").header("content-type", "application/json");
    request.body(Full::new(body)).unwrap()
}

/// A body of pieces whose length is not announced.
struct Pieces(usize);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or_default();
        Poll::Ready(left.map(|_| Ok(Frame::data(Bytes::from_static(&[b' '; 1024])))))
    }
}

/// A body that says how long it is and never comes.
struct Promised(u64);

impl http_body::Body for Promised {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// A body that breaks off.
struct Broken;

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
    }
}

#[tokio::test]
async fn a_body_is_read_to_the_limit_and_no_further() {
    let gatekey = gatekey().await;
    let answer = async |request| handle::<Full<Bytes>, Bytes>(&gatekey, request, Some(PEER)).await.status();
    assert_eq!(answer(json(vec![b' '; MAX_BODY].into())).await, StatusCode::BAD_REQUEST);
    assert_eq!(answer(json(vec![b' '; MAX_BODY + 1].into())).await, StatusCode::PAYLOAD_TOO_LARGE);

    let (head, _) = json(Bytes::new()).into_parts();
    for (pieces, expected) in [(16, StatusCode::BAD_REQUEST), (17, StatusCode::PAYLOAD_TOO_LARGE)] {
        let request = Request::from_parts(head.clone(), Pieces(pieces));
        assert_eq!(handle::<_, Bytes>(&gatekey, request, Some(PEER)).await.status(), expected);
    }
    let promised = Request::from_parts(head.clone(), Promised(MAX_BODY as u64 + 1));
    assert_eq!(handle::<_, Bytes>(&gatekey, promised, None).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let broken = Request::from_parts(head, Broken);
    assert_eq!(handle::<_, Bytes>(&gatekey, broken, None).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_a_gatekey_serves_is_what_it_answers() {
    let gatekey = gatekey().await;
    for (path, served) in [
        ("/auth", true),
        ("/auth/", true),
        ("/auth/me", true),
        ("/.well-known/oauth-authorization-server", true),
        ("/authors", false),
        ("/", false),
        ("/me", false),
    ] {
        assert_eq!(gatekey.serves(path), served, "{path}");
    }
    let request = Request::get("/auth/jwks.json").body(Empty::<Bytes>::new()).unwrap();
    let response: Response<Full<Bytes>> = handle(&gatekey, request, None).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_optional_guard_passes_nobody_and_refuses_a_bad_token() {
    let guarded = GuardLayer::optional(&gatekey().await, unknown).layer(service_fn(hello));
    let anonymous = guarded.clone().oneshot(Request::get("/").body(()).unwrap()).await.unwrap();
    assert_eq!(anonymous.body(), "nobody");
    let bad = Request::get("/").header("authorization", "Bearer x").body(()).unwrap();
    assert_eq!(guarded.oneshot(bad).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_grpc_client_reads_a_refusal_as_its_status() {
    let gatekey = gatekey().await;
    let guarded = GuardLayer::grpc(&gatekey, Requirement::authenticated(), unknown).layer(service_fn(hello));
    let cookie = "__Host-gatekey_access=x";
    for (name, value, code) in [
        ("x-nothing", "", Code::Unauthenticated),
        ("authorization", "Bearer x", Code::Unauthenticated),
        ("cookie", cookie, Code::PermissionDenied),
    ] {
        let request = Request::post("/notes.Notes/List").header(name, value).body(()).unwrap();
        let refused = guarded.clone().oneshot(request).await.unwrap();
        assert_eq!(refused.status(), StatusCode::OK);
        assert_eq!(refused.headers()["content-type"], "application/grpc");
        assert!(refused.body().is_empty());
        let status = tonic::Status::from_header_map(refused.headers()).unwrap();
        assert_eq!(status.code(), code, "{name}");
        assert!(!status.message().is_empty());
        assert_eq!(status.metadata().contains_key("www-authenticate"), code == Code::Unauthenticated);
    }

    let twice =
        Request::post("/").header("authorization", "Bearer x").header("cookie", cookie).body(()).unwrap();
    let refused = guarded.oneshot(twice).await.unwrap();
    assert_eq!(tonic::Status::from_header_map(refused.headers()).unwrap().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn another_protocol_says_a_refusal_in_its_own_way() {
    let layer = GuardLayer::<Bytes>::new(&gatekey().await, Requirement::authenticated(), unknown);
    let layer = layer.respond_with(|reply| Response::new(reply.status().as_u16()));
    let never = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(0)));
    let refused = layer.layer(never).oneshot(Request::get("/").body(()).unwrap()).await.unwrap();
    assert_eq!(*refused.body(), 401);
}

#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<Option<IpAddr>>>>);

impl EventSink for Seen {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.client.ip);
    }
}

#[tokio::test]
async fn the_peer_is_found_where_the_server_put_it() {
    let seen = Seen::default();
    let keys = Keys::generate(Algorithm::EdDSA).unwrap();
    let builder = Gatekey::builder().issuer("https://app.example.com").keys(keys).store(MemoryStore::new());
    let gatekey = builder.events(seen.clone()).build().await.unwrap();
    let peer = |extensions: &Extensions| extensions.get::<IpAddr>().copied();
    let guarded = GuardLayer::new(&gatekey, Requirement::authenticated(), peer).layer(service_fn(hello));
    seen.0.lock().unwrap().clear();
    let bad = Request::get("/").header("authorization", "Bearer x").extension(PEER).body(()).unwrap();
    guarded.oneshot(bad).await.unwrap();
    assert_eq!(*seen.0.lock().unwrap(), [Some(PEER)]);
}

#[tokio::test]
async fn a_service_that_only_verifies_is_guarded_by_a_verifier() {
    let gatekey = gatekey().await;
    let password = || Secret::new("a long enough pass phrase".to_owned());
    gatekey.register("alice", password(), &Client::default()).await.unwrap();
    let token = gatekey.login("alice", password(), &Client::default(), None).await.unwrap().access;
    let (issuer, keys) = (&gatekey.config().issuer, gatekey.keys().jwk_set(gatekey.now()).to_string());
    let verifier = Verifier::builder().issuer(issuer).audience(issuer).key_set(keys).build().await.unwrap();
    let guarded = GuardLayer::new(&verifier, Requirement::authenticated(), unknown).layer(service_fn(hello));
    let bearer = format!("Bearer {}", token.expose());
    let accepted = Request::get("/").header("authorization", bearer).body(()).unwrap();
    assert_eq!(guarded.clone().oneshot(accepted).await.unwrap().body(), "alice");
    let refused = guarded.oneshot(Request::get("/").body(()).unwrap()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
}
