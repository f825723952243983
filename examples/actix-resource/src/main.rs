//! A guarded API on actix-web: `cargo run -p actix-resource`.
//!
//! ```sh
//! login='{"username":"alice@kites","password":"a long enough pass phrase"}'
//! access=$(curl -s 127.0.0.1:3000/auth/login -H 'Content-Type: application/json' -d "$login" | jq -r .access_token)
//! curl 127.0.0.1:3000/notes -H "Authorization: Bearer $access" -d 'Buy string'
//! curl 127.0.0.1:3000/notes -H "Authorization: Bearer $access"
//! ```

use std::process::ExitCode;

use actix_web::{
    App, HttpResponse, HttpServer,
    web::{self, Data, Json, ServiceConfig},
};
use example_notes::{Notes, Owner, Read, Tenant, Write};
use example_start::{Outcome, Start};
use gatekey::{
    Gatekey,
    actix::{Authenticated, MaybeAuthenticated, Rejection, WithScope, routes},
};

#[actix_web::main]
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
    let notes = Notes::default();
    let server = HttpServer::new(move || App::new().configure(|config| app(&gatekey, &notes, config)))
        .listen(start.listener)?;
    example_start::ready(&start.issuer);
    server.run().await?;
    Ok(())
}

fn app(gatekey: &Gatekey, notes: &Notes, config: &mut ServiceConfig) {
    let own = web::resource("/notes").get(list).post(add).delete(clear);
    config
        .configure(routes(gatekey))
        .app_data(Data::new(notes.clone()))
        .route("/", web::get().to(greet))
        .service(own);
}

/// Anyone may call; who says who they are, and wrongly, may not.
async fn greet(user: MaybeAuthenticated) -> String {
    format!("hello {}\n", user.caller().map_or("stranger", |caller| caller.username()))
}

async fn list(user: WithScope<Read>, notes: Data<Notes>) -> Result<Json<Vec<String>>, Rejection> {
    let tenant: Tenant = user.claims()?;
    Ok(Json(notes.list(&tenant)))
}

async fn add(user: WithScope<Write>, notes: Data<Notes>, note: String) -> Result<HttpResponse, Rejection> {
    notes.add(user.claims()?, note);
    Ok(HttpResponse::Created().finish())
}

async fn clear(user: Authenticated<Owner>, notes: Data<Notes>) -> Result<HttpResponse, Rejection> {
    notes.clear(&user.claims()?);
    Ok(HttpResponse::NoContent().finish())
}
