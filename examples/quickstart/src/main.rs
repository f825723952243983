//! A web application with secure login: `cargo run -p quickstart`, then open the address it prints.
//!
//! On its first run it makes its keys (`gatekey.keys`) and its database (`gatekey.db`) in the current folder. What can be
//! set by the environment, `example_start` says.

use std::process::ExitCode;

use axum::{Router, routing::get};
use example_page::SecurityLog;
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
    gatekey::axum::serve(listener, app(gatekey, log))
        .with_graceful_shutdown(example_start::stopped())
        .await?;
    Ok(())
}

/// The application: a page, three routes of its own, and login.
fn app(gatekey: Gatekey, log: SecurityLog) -> Router {
    example_page::axum::routes(log)
        .route("/hello", get(async |user: Authenticated| format!("hello {}\n", user.username())))
        .route("/admin", get(async || "only for admins\n").route_layer(require_role(&gatekey, "admin")))
        .merge(gatekey::axum::routes(&gatekey))
        .with_state(gatekey)
}
