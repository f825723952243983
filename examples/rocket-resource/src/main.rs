//! A guarded API on Rocket: `cargo run -p rocket-resource`.
//!
//! ```sh
//! login='{"username":"alice@kites","password":"a long enough pass phrase"}'
//! access=$(curl -s 127.0.0.1:3000/auth/login -H 'Content-Type: application/json' -d "$login" | jq -r .access_token)
//! curl 127.0.0.1:3000/notes -H "Authorization: Bearer $access" -d 'Buy string'
//! curl 127.0.0.1:3000/notes -H "Authorization: Bearer $access"
//! ```

use std::process::ExitCode;

use example_notes::{Notes, Owner, Read, Tenant, Write};
use example_start::{Outcome, Start};
use gatekey::{
    Gatekey,
    rocket::{Authenticated, Fairing, MaybeAuthenticated, Rejection, WithScope},
};
use rocket::{Config, State, delete, fairing::AdHoc, get, http::Status, post, routes, serde::json::Json};

#[rocket::main]
async fn main() -> ExitCode {
    example_start::exit(run().await)
}

async fn run() -> Outcome {
    let start = Start::from_env()?;
    let gatekey = example_notes::settings(start.builder()?).build().await?;
    serve(start, gatekey).await
}

/// Serves until Ctrl-C.
///
/// # Errors
///
/// What kept it from serving.
pub async fn serve(start: Start, gatekey: Gatekey) -> Outcome {
    example_notes::open_accounts(&gatekey).await?;
    let Start { listener, address, issuer, .. } = start;
    // Rocket listens itself.
    drop(listener);
    let config = Config::figment().merge(("address", address.ip())).merge(("port", address.port()));
    let config = config.merge(("log_level", "critical"));
    rocket::custom(config)
        .mount("/", routes![greet, list, add, clear])
        .attach(Fairing::new(gatekey))
        .manage(Notes::default())
        .attach(AdHoc::on_liftoff("ready", |_| Box::pin(async move { example_start::ready(&issuer) })))
        .launch()
        .await?;
    Ok(())
}

/// Anyone may call; who says who they are, and wrongly, may not.
#[get("/")]
fn greet(user: MaybeAuthenticated) -> String {
    format!("hello {}\n", user.caller().map_or("stranger", |caller| caller.username()))
}

#[get("/notes")]
fn list(user: WithScope<Read>, notes: &State<Notes>) -> Result<Json<Vec<String>>, Rejection> {
    let tenant: Tenant = user.claims()?;
    Ok(Json(notes.list(&tenant)))
}

#[post("/notes", data = "<note>")]
fn add(user: WithScope<Write>, notes: &State<Notes>, note: String) -> Result<Status, Rejection> {
    notes.add(user.claims()?, note);
    Ok(Status::Created)
}

#[delete("/notes")]
fn clear(user: Authenticated<Owner>, notes: &State<Notes>) -> Result<Status, Rejection> {
    notes.clear(&user.claims()?);
    Ok(Status::NoContent)
}
