//! A service that verifies access tokens and issues none: no store, no login, no secret.
//!
//! Start an issuer, `cargo run -p quickstart`, and then `cargo run -p resource-server`:
//!
//! ```sh
//! login='{"username":"alice","password":"a long enough pass phrase"}'
//! curl -s 127.0.0.1:3000/auth/register -H 'Content-Type: application/json' -d "$login"
//! token=$(curl -s 127.0.0.1:3000/auth/login -H 'Content-Type: application/json' -d "$login" | jq -r .access_token)
//! curl -s 127.0.0.1:3001/notes -H "Authorization: Bearer $token"
//! ```
//!
//! Settings are read from the environment:
//!
//! - `ISSUER`: whose tokens, `http://127.0.0.1:3000` unless set;
//! - `AUDIENCE`: what they call this service, the issuer unless set, as a Gatekey does unless told otherwise;
//! - `JWKS_URL`: where the issuer's keys are, `/auth/jwks.json` of the issuer unless set;
//! - `LISTEN`: the address to listen on, `127.0.0.1:3001` unless set.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

use std::{env, error::Error, process::ExitCode};

use axum::{Router, routing::get};
use gatekey::{
    JwksUrl, Verifier,
    axum::{Authenticated, MaybeAuthenticated, require_role},
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("resource-server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What ended the program.
type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

async fn run() -> Outcome {
    tracing_subscriber::fmt().with_target(false).init();
    let setting = |name: &str, otherwise: &str| env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let issuer = setting("ISSUER", "http://127.0.0.1:3000");
    let audience = setting("AUDIENCE", &issuer);
    let keys = setting("JWKS_URL", &format!("{issuer}/auth/jwks.json"));
    let listener = TcpListener::bind(setting("LISTEN", "127.0.0.1:3001")).await?;
    serve(listener, &issuer, &audience, &keys).await
}

/// Serves until Ctrl-C.
///
/// # Errors
///
/// What kept it from serving.
pub async fn serve(listener: TcpListener, issuer: &str, audience: &str, keys: &str) -> Outcome {
    let verifier =
        Verifier::builder().issuer(issuer).audience(audience).source(JwksUrl::new(keys)?).build().await?;

    println!("http://{} takes the tokens of {issuer}. Ctrl-C stops it.", listener.local_addr()?);
    gatekey::axum::serve(listener, app(verifier)).with_graceful_shutdown(stopped()).await?;
    Ok(())
}

fn app(verifier: Verifier) -> Router {
    Router::new()
        .route("/notes", get(async |user: Authenticated| format!("the notes of {}\n", user.username())))
        .route("/greeting", get(greeting))
        .route("/admin", get(async || "only for admins\n").route_layer(require_role(&verifier, "admin")))
        .with_state(verifier)
}

async fn greeting(user: MaybeAuthenticated) -> String {
    format!("hello {}\n", user.caller().map_or("whoever you are", |caller| caller.username()))
}

async fn stopped() {
    if tokio::signal::ctrl_c().await.is_err() {
        // No signal can be caught here; the program then ends as the system ends it.
        std::future::pending::<()>().await;
    }
}
