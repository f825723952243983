//! A node: the application of the quickstart, on stores that others share.

use std::{future::ready, sync::Arc};

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, header::CONNECTION},
    middleware::map_response,
    response::Response,
    routing::get,
};
use example_page::{FILES, HEADERS, PRIVATE, SECURITY, SecurityLog};
use example_start::{Outcome, Start};
use gatekey::{Gatekey, PostgresStore, RedisStore, axum::Authenticated};
use tokio::{io::AsyncReadExt, net::TcpListener};

/// Serves until Ctrl-C, or until whoever started it has ended.
///
/// # Errors
///
/// What kept it from serving.
pub(crate) async fn run() -> Outcome {
    let start = Start::from_env()?;
    let log = SecurityLog::default();
    let gatekey = start
        .builder()?
        .store(PostgresStore::connect(&setting("DATABASE_URL")?).await?)
        .throttle(Arc::new(RedisStore::connect(&setting("REDIS_URL")?).await?))
        .events(log.clone())
        .build()
        .await?;
    let node = HeaderValue::try_from(start.address.to_string())?;
    let listener = TcpListener::from_std(start.listener)?;
    gatekey::axum::serve(listener, app(gatekey, log, node)).with_graceful_shutdown(stopped()).await?;
    Ok(())
}

fn app(gatekey: Gatekey, log: SecurityLog, node: HeaderValue) -> Router {
    let page = FILES.iter().fold(Router::new(), |app, file| {
        let fields = headers(HEADERS.into_iter().chain([("content-type", file.content_type)]));
        app.route(file.path, get(async move || (fields, file.text)))
    });
    let security = async move |user: Authenticated| (headers(PRIVATE), log.of(user.subject()));
    page.route(SECURITY, get(security))
        .route("/hello", get(async |user: Authenticated| format!("hello {}\n", user.username())))
        .merge(gatekey::axum::routes(&gatekey))
        .with_state(gatekey)
        .layer(map_response(move |mut response: Response| {
            // For those who watch: who answered. And one request a connection, so that the front, which forwards
            // connections, takes turns at each request, as a balancer that reads HTTP does.
            response.headers_mut().insert(HeaderName::from_static("node"), node.clone());
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            ready(response)
        }))
}

fn headers(fields: impl IntoIterator<Item = (&'static str, &'static str)>) -> HeaderMap {
    fields
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn setting(name: &str) -> Outcome<String> {
    std::env::var(name)
        .map_err(|_| format!("{name} is not set; `cluster` alone starts servers and nodes").into())
}

async fn stopped() {
    let mut stdin = tokio::io::stdin();
    let mut byte = [0];
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        // At its end, or unreadable.
        Ok(0) | Err(_) = stdin.read(&mut byte) => {}
        // Neither a signal nor a pipe: the program ends as the system ends it.
        else => std::future::pending().await,
    }
}
