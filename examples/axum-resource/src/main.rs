//! A guarded API on axum: `cargo run -p axum-resource`.
//!
//! ```sh
//! login='{"username":"alice@kites","password":"a long enough pass phrase"}'
//! access=$(curl -s 127.0.0.1:3000/auth/login -H 'Content-Type: application/json' -d "$login" | jq -r .access_token)
//! curl 127.0.0.1:3000/notes -H "Authorization: Bearer $access" -d 'Buy string'
//! curl 127.0.0.1:3000/notes -H "Authorization: Bearer $access"
//! ```

use std::process::ExitCode;

use axum::{
    Json, Router,
    extract::{FromRef, State},
    http::StatusCode,
    routing::get,
};
use example_notes::{Notes, Owner, Read, Tenant, Write};
use example_start::{Outcome, Start};
use gatekey::{
    Gatekey,
    axum::{Authenticated, MaybeAuthenticated, Rejection, WithScope, routes},
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    example_start::exit(run().await)
}

async fn run() -> Outcome {
    let start = Start::from_env()?;
    let gatekey = example_notes::settings(start.builder()?).build().await?;
    serve(start, gatekey).await
}

/// Serves until it is stopped.
///
/// # Errors
///
/// What kept it from serving.
pub async fn serve(start: Start, gatekey: Gatekey) -> Outcome {
    example_notes::open_accounts(&gatekey).await?;
    let listener = TcpListener::from_std(start.listener)?;
    example_start::ready(&start.issuer);
    gatekey::axum::serve(listener, app(gatekey)).await?;
    Ok(())
}

/// The application's own state.
#[derive(Clone)]
struct App {
    gatekey: Gatekey,
    notes: Notes,
}

// The extractors find gatekey in it.
impl FromRef<App> for Gatekey {
    fn from_ref(app: &App) -> Self {
        app.gatekey.clone()
    }
}

impl FromRef<App> for Notes {
    fn from_ref(app: &App) -> Self {
        app.notes.clone()
    }
}

fn app(gatekey: Gatekey) -> Router {
    Router::new()
        .route("/", get(greet))
        .route("/notes", get(list).post(add).delete(clear))
        .merge(routes(&gatekey))
        .with_state(App { gatekey, notes: Notes::default() })
}

/// Anyone may call; who says who they are, and wrongly, may not.
async fn greet(user: MaybeAuthenticated) -> String {
    format!("hello {}\n", user.caller().map_or("stranger", |caller| caller.username()))
}

async fn list(user: WithScope<Read>, notes: State<Notes>) -> Result<Json<Vec<String>>, Rejection> {
    let tenant: Tenant = user.claims()?;
    Ok(Json(notes.list(&tenant)))
}

async fn add(user: WithScope<Write>, notes: State<Notes>, note: String) -> Result<StatusCode, Rejection> {
    notes.add(user.claims()?, note);
    Ok(StatusCode::CREATED)
}

async fn clear(user: Authenticated<Owner>, notes: State<Notes>) -> Result<StatusCode, Rejection> {
    notes.clear(&user.claims()?);
    Ok(StatusCode::NO_CONTENT)
}
