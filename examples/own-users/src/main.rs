//! Login for members who are in a table of the application's own: `cargo run -p own-users`.
//!
//! Gatekey finds members and sets their password hash; everything else of the table is the application's. Bob is in it
//! from the start, with a bcrypt hash of an older program, which his first login replaces:
//!
//! ```sh
//! curl -i 127.0.0.1:3000/auth/login -H 'Content-Type: application/json' \
//!   -d '{"username":"bob@example.com","password":"four kites over the harbour"}'
//! ```

mod members;

use std::{process::ExitCode, sync::Arc};

use axum::{
    Router,
    extract::{FromRef, Path, State},
    http::StatusCode,
    routing::{get, post},
};
use example_start::{Outcome, Start};
use gatekey::{
    Client, EndReason, Gatekey, SqliteStore, SubjectId, UserStore,
    axum::{Authenticated, require_role, routes},
};
use members::Members;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    example_start::exit(run().await)
}

async fn run() -> Outcome {
    serve(Start::from_env()?).await
}

/// Serves until it is stopped.
///
/// # Errors
///
/// What kept it from serving.
pub async fn serve(start: Start) -> Outcome {
    let members = Members::open(&start.file("members.db"))?;
    let gatekey = start
        .builder()?
        .sessions(Arc::new(SqliteStore::open(start.file("sessions.db")).await?))
        .users(Arc::new(members.clone()) as Arc<dyn UserStore>)
        // Members are admitted elsewhere; so `UserStore::create` is left out.
        .registration(false)
        .build()
        .await?;

    let listener = TcpListener::from_std(start.listener)?;
    example_start::ready(&start.issuer);
    gatekey::axum::serve(listener, app(gatekey, members)).await?;
    Ok(())
}

#[derive(Clone)]
struct App {
    gatekey: Gatekey,
    members: Members,
}

impl FromRef<App> for Gatekey {
    fn from_ref(app: &App) -> Self {
        app.gatekey.clone()
    }
}

fn app(gatekey: Gatekey, members: Members) -> Router {
    let lock = post(lock).route_layer(require_role(&gatekey, "staff"));
    Router::new()
        .route("/hello", get(async |user: Authenticated| format!("hello {}\n", user.username())))
        .route("/members/{id}/lock", lock)
        .merge(routes(&gatekey))
        .with_state(App { gatekey, members })
}

/// Locks a member out. The table keeps them from coming back in, and their sessions end here.
async fn lock(State(app): State<App>, Path(id): Path<i64>) -> Result<StatusCode, StatusCode> {
    let failed = |_| StatusCode::SERVICE_UNAVAILABLE;
    if !app.members.lock(id).await.map_err(failed)? {
        return Err(StatusCode::NOT_FOUND);
    }
    let member = SubjectId::new(id.to_string());
    let ended = app.gatekey.end_sessions(&member, None, EndReason::Disabled, &Client::default()).await;
    ended.map(|_| StatusCode::NO_CONTENT).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}
