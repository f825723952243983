//! A node: the application of the quickstart, on stores that others share.

use std::{future::ready, sync::Arc};

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header::CONNECTION},
    middleware::map_response,
    response::Response,
    routing::get,
};
use example_page::SecurityLog;
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
    example_page::axum::routes(log)
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
