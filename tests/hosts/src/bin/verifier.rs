//! A service that only verifies: for tokens that other software signs (`cargo xtask interop`).
//!
//! `verifier --issuer URL --audience TEXT --jwks URL [--tokens gatekey|rfc9068|jwt|keycloak|auth0|supabase]`. It prints
//! `ready http://127.0.0.1:PORT` and serves `/whoami`, `/admin` (role `admin`), `/scoped` (scope `read`) and `/fresh`.

use std::process::ExitCode;

use axum::{Json, Router, routing::get};
use gatekey::{
    JwksUrl, TokenShape, Verifier,
    axum::{Authenticated, FreshlyAuthenticated, WithRole, WithScope},
};
use gatekey_hosts::{Admin, Read, Refused, exit, terminated, whoami};
use lexopt::prelude::{Long, ValueExt};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Refused> {
    let usage = |error: lexopt::Error| Refused::because("arguments", error);
    let (mut issuer, mut audience, mut jwks, mut tokens) = Default::default();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next().map_err(usage)? {
        let Long(name) = argument else { return Err(usage(argument.unexpected())) };
        let setting: &mut String = match name {
            "issuer" => &mut issuer,
            "audience" => &mut audience,
            "jwks" => &mut jwks,
            "tokens" => &mut tokens,
            _ => return Err(usage(argument.unexpected())),
        };
        *setting = arguments.value().and_then(|value| value.string()).map_err(usage)?;
    }
    let shape = match tokens.as_str() {
        "" | "gatekey" => TokenShape::gatekey(),
        "rfc9068" => TokenShape::rfc9068(),
        "jwt" => TokenShape::jwt(),
        "keycloak" => TokenShape::keycloak(),
        "auth0" => TokenShape::auth0(),
        "supabase" => TokenShape::supabase(),
        other => return Err(Refused::because("tokens", format!("{other:?} is not known"))),
    };
    let keys = JwksUrl::new(&jwks).map_err(|error| Refused::because("jwks", error))?;
    let verifier = Verifier::builder().issuer(issuer).audience(audience).tokens(shape).source(keys);
    let verifier = verifier.build().await.map_err(|error| Refused::because("verifier", error))?;

    let app = Router::new()
        .route("/whoami", get(async |user: Authenticated| Json(whoami(user.principal()))))
        .route("/admin", get(async |user: WithRole<Admin>| Json(whoami(user.principal()))))
        .route("/scoped", get(async |user: WithScope<Read>| Json(whoami(user.principal()))))
        .route("/fresh", get(async |user: FreshlyAuthenticated| Json(whoami(user.principal()))))
        .with_state(verifier);
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(|error| Refused::because("listen", error))?;
    let address = listener.local_addr().map_err(|error| Refused::because("listen", error))?;
    gatekey_hosts::ready(address);
    let served = gatekey::axum::serve(listener, app).with_graceful_shutdown(terminated()).await;
    served.map_err(|error| Refused::because("serve", error))
}
