//! A web application with secure login: `cargo run -p quickstart`, then open the address it prints.
//!
//! On its first run it makes its keys (`gatekey.keys`) and its database (`gatekey.db`) in the current folder. What can be
//! set by the environment, `example_start` says.

use std::process::ExitCode;

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue},
    routing::get,
};
use example_page::{FILES, HEADERS, PRIVATE, SECURITY, SecurityLog};
use example_start::{Outcome, Start};
use gatekey::{
    Gatekey, SqliteStore,
    axum::{Authenticated, require_role},
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    example_start::exit(run().await)
}

async fn run() -> Outcome {
    serve(Start::from_env()?).await
}

/// Serves until Ctrl-C.
///
/// # Errors
///
/// What kept it from serving.
pub async fn serve(start: Start) -> Outcome {
    let log = SecurityLog::default();
    let gatekey = start
        .builder()?
        .store(SqliteStore::open(start.file("gatekey.db")).await?)
        .events(log.clone())
        .build()
        .await?;

    let listener = TcpListener::from_std(start.listener)?;
    example_start::ready(&start.issuer);
    gatekey::axum::serve(listener, app(gatekey, log)).with_graceful_shutdown(stopped()).await?;
    Ok(())
}

/// The application: a page, three routes of its own, and login.
fn app(gatekey: Gatekey, log: SecurityLog) -> Router {
    let page = FILES.iter().fold(Router::new(), |app, file| {
        let fields = headers(HEADERS.into_iter().chain([("content-type", file.content_type)]));
        app.route(file.path, get(async move || (fields, file.text)))
    });
    let security = async move |user: Authenticated| (headers(PRIVATE), log.of(user.subject()));
    page.route(SECURITY, get(security))
        .route("/hello", get(async |user: Authenticated| format!("hello {}\n", user.username())))
        .route("/admin", get(async || "only for admins\n").route_layer(require_role(&gatekey, "admin")))
        .merge(gatekey::axum::routes(&gatekey))
        .with_state(gatekey)
}

fn headers(fields: impl IntoIterator<Item = (&'static str, &'static str)>) -> HeaderMap {
    fields
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

async fn stopped() {
    if tokio::signal::ctrl_c().await.is_err() {
        // No signal can be caught here; the program then ends as the system ends it.
        std::future::pending::<()>().await;
    }
}
