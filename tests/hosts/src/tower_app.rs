//! The routes of a host without a framework: hyper, and the tower adapter's public API.

use std::{convert::Infallible, net::SocketAddr, pin::pin};

use bytes::Bytes;
use gatekey::{
    Caller, Form, Page, Requirement,
    tower::{GuardLayer, handle, head},
};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    http::Extensions,
    server::conn::http1,
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown, service::TowerToHyperService};
use serde_json::Value;
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt, service_fn};

use crate::{FRESH, Host, LogIn, Refused, Way, form_page, left, maybe, open, panicking, terminated};

type Answer = Response<Full<Bytes>>;

fn peer(extensions: &Extensions) -> Option<std::net::IpAddr> {
    extensions.get::<SocketAddr>().map(SocketAddr::ip)
}

/// What stands before the host's own routes.
fn guard(host: &Host, path: &str) -> Option<GuardLayer<Full<Bytes>>> {
    let requirement = Requirement::authenticated();
    let requirement = match path {
        "/maybe" => return Some(GuardLayer::optional(&host.gatekey, peer)),
        "/whoami" | "/note" | "/panic" => requirement,
        "/admin" => requirement.role("admin"),
        "/scoped" => requirement.scope("read"),
        "/fresh" => requirement.max_age(FRESH),
        _ => return None,
    };
    Some(GuardLayer::new(&host.gatekey, requirement, peer))
}

/// A navigation is refreshed on the way.
async fn page(host: &Host, request: Request<Incoming>) -> Answer {
    let (mut parts, body) = request.into_parts();
    let page = host.gatekey.page(&head(&parts, peer(&parts.extensions))).await;
    Page::write(page.request(), &mut parts.headers);
    let mut answer = answer(host, Request::from_parts(parts, body)).await;
    Page::write(page.response(), answer.headers_mut());
    answer
}

async fn answer(host: &Host, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    if host.gatekey.serves(&path) {
        let peer = peer(request.extensions());
        return handle(&host.gatekey, request, peer).await;
    }
    let allowed: &[Method] = match path.as_str() {
        "/note" | "/form/login" | "/form/logout" => &[Method::POST],
        control if control.starts_with("/__test/") => &[Method::POST],
        _ => &[Method::GET, Method::HEAD],
    };
    match guard(host, &path) {
        _ if !allowed.contains(request.method()) => status(StatusCode::METHOD_NOT_ALLOWED),
        Some(layer) => {
            let Ok(answer) = layer.layer(service_fn(own)).oneshot(request).await;
            answer
        }
        None if path == "/open" => document(&open()),
        None if path.starts_with("/form") => form(host, request).await,
        None => {
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let code = host.control(&path, &body).await;
            status(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        }
    }
}

/// The page to log in and out with, and what it sends.
async fn form(host: &Host, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let submit = async |form| host.gatekey.submit(&head(&parts, peer(&parts.extensions)), form).await;
    match parts.uri.path() {
        "/form" => {
            let query = parts.uri.query().unwrap_or_default();
            let way = serde_urlencoded::from_str(query).unwrap_or(Way { return_to: None });
            let mut page = Answer::new(form_page(way.return_to.as_deref()).into());
            page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            page
        }
        "/form/login" => {
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            match serde_urlencoded::from_bytes::<LogIn>(&body) {
                Ok(typed) => typed.answer(submit(typed.form()).await).map(Full::new),
                Err(_) => status(StatusCode::UNPROCESSABLE_ENTITY),
            }
        }
        "/form/logout" => left(submit(Form::logout()).await).map(Full::new),
        _ => status(StatusCode::NOT_FOUND),
    }
}

/// The host's own routes, once they may be reached.
async fn own(request: Request<Incoming>) -> Result<Answer, Infallible> {
    if request.uri().path() == "/note" {
        return Ok(status(StatusCode::NO_CONTENT));
    }
    let caller = request.extensions().get::<Caller>();
    if let ("/panic", Some(caller)) = (request.uri().path(), caller) {
        return Ok(document(&panicking(caller).into()));
    }
    Ok(document(&maybe(caller)))
}

fn status(status: StatusCode) -> Answer {
    let mut answer = Response::default();
    *answer.status_mut() = status;
    answer
}

fn document(value: &Value) -> Answer {
    let mut answer = Response::new(value.to_string().into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Serves until SIGTERM, and finishes what is under way.
///
/// # Errors
///
/// [`Refused`] if the address cannot be had.
pub async fn serve(host: &Host) -> Result<(), Refused> {
    let listener = TcpListener::bind(host.listen).await.map_err(|error| Refused::because("listen", error))?;
    let address = listener.local_addr().map_err(|error| Refused::because("listen", error))?;
    let mut terminated = pin!(terminated());
    host.ready(address);
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut terminated => break,
        };
        // A connection that was gone before it was taken is its client's affair.
        let Ok((stream, peer)) = accepted else { continue };
        let host = host.clone();
        let app = service_fn(move |mut request: Request<Incoming>| {
            let host = host.clone();
            request.extensions_mut().insert(peer);
            async move { Ok::<_, Infallible>(page(&host, request).await) }
        });
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
        tokio::spawn(connections.watch(connection));
    }
    drop(listener);
    connections.shutdown().await;
    Ok(())
}
