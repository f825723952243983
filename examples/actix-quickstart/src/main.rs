//! The quickstart on actix-web: `cargo run -p actix-quickstart`, then open the address it prints.
//!
//! On its first run it makes its keys (`gatekey.keys`) and its database (`gatekey.db`) in the current folder. What can be
//! set by the environment, `example_start` says.

use std::process::ExitCode;

use actix_web::{
    App, HttpResponse, HttpResponseBuilder, HttpServer, Responder,
    web::{self, Data, ServiceConfig},
};
use example_page::{FILES, HEADERS, PRIVATE, SECURITY, SecurityLog};
use example_start::{Outcome, Start};
use gatekey::{
    Gatekey, SqliteStore,
    actix::{Authenticated, RequireAuth, routes},
};

#[actix_web::main]
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

    let server = HttpServer::new(move || App::new().configure(|config| app(&gatekey, &log, config)))
        .listen(start.listener)?;
    example_start::ready(&start.issuer);
    server.run().await?;
    Ok(())
}

/// The application: a page, three routes of its own, and login.
fn app(gatekey: &Gatekey, log: &SecurityLog, config: &mut ServiceConfig) {
    for file in &FILES {
        let serve = async || with(&HEADERS).content_type(file.content_type).body(file.text);
        config.route(file.path, web::get().to(serve));
    }
    let admin = web::resource("/admin").wrap(RequireAuth::role(gatekey, "admin"));
    config
        .configure(routes(gatekey))
        .app_data(Data::new(log.clone()))
        .route(SECURITY, web::get().to(security))
        .route("/hello", web::get().to(hello))
        .service(admin.get(async || "only for admins\n"));
}

async fn hello(user: Authenticated) -> impl Responder {
    format!("hello {}\n", user.username())
}

async fn security(user: Authenticated, log: Data<SecurityLog>) -> impl Responder {
    with(&PRIVATE).body(log.of(user.subject()))
}

fn with(headers: &[(&'static str, &'static str)]) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    for header in headers {
        response.insert_header(*header);
    }
    response
}
