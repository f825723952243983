//! The quickstart on Rocket: `cargo run -p rocket-quickstart`, then open the address it prints.
//!
//! On its first run it makes its keys (`gatekey.keys`) and its database (`gatekey.db`) in the current folder. What can be
//! set by the environment, `example_start` says, and beyond that Rocket.

use std::{borrow::Cow, process::ExitCode};

use example_page::{FILES, File, HEADERS, PRIVATE, SecurityLog};
use example_start::{Outcome, Start};
use gatekey::{
    Role, SqliteStore,
    rocket::{Authenticated, Fairing, WithRole},
};
use rocket::{
    Config, Request, State,
    fairing::AdHoc,
    get,
    response::{self, Responder},
    routes,
};

#[rocket::main]
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

    let Start { listener, address, issuer, .. } = start;
    // Rocket listens itself.
    drop(listener);
    let config = Config::figment().merge(("address", address.ip())).merge(("port", address.port()));
    let config = config.merge(("log_level", "critical"));
    rocket::custom(config)
        .mount("/", routes![index, style, script, security, hello, admin])
        .attach(Fairing::new(gatekey))
        .manage(log)
        .attach(AdHoc::on_liftoff("ready", |_| Box::pin(async move { example_start::ready(&issuer) })))
        .launch()
        .await?;
    Ok(())
}

#[get("/hello")]
fn hello(user: Authenticated) -> String {
    format!("hello {}\n", user.username())
}

struct Admin;

impl Role for Admin {
    const NAME: &'static str = "admin";
}

#[get("/admin")]
fn admin(_user: WithRole<Admin>) -> &'static str {
    "only for admins\n"
}

#[get("/security")]
fn security(user: Authenticated, log: &State<SecurityLog>) -> Text {
    Text { headers: PRIVATE.to_vec(), text: log.of(user.subject()).into() }
}

// The page.

#[get("/")]
fn index() -> Text {
    file(&FILES[0])
}

#[get("/app.css")]
fn style() -> Text {
    file(&FILES[1])
}

#[get("/app.js")]
fn script() -> Text {
    file(&FILES[2])
}

fn file(file: &File) -> Text {
    let headers = HEADERS.into_iter().chain([("content-type", file.content_type)]).collect();
    Text { headers, text: file.text.into() }
}

/// A text with headers.
struct Text {
    headers: Vec<(&'static str, &'static str)>,
    text: Cow<'static, str>,
}

impl<'r> Responder<'r, 'static> for Text {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let mut response = self.text.respond_to(request)?;
        for (name, value) in self.headers {
            response.set_raw_header(name, value);
        }
        Ok(response)
    }
}
