//! A web application with secure login: `cargo run -p quickstart`, then open the address it prints.
//!
//! On its first run it makes its keys (`gatekey.keys`) and its database (`gatekey.db`) in the current folder. Settings
//! are read from the environment and from `.env`:
//!
//! - `LISTEN`: the address to listen on, `127.0.0.1:3000` unless set;
//! - `ISSUER`: the URL under which people reach it, `http://` and the address unless set; behind TLS, the `https` one;
//! - `GATEKEY_ACCESS_KEY` and `GATEKEY_REFRESH_SECRET`: the keys, instead of the file.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

use std::{
    error::Error,
    io::{self, IsTerminal},
    net::SocketAddr,
    process::ExitCode,
};

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue},
    routing::get,
};
use example_page::{FILES, HEADERS, PRIVATE, SECURITY, SecurityLog};
use gatekey::{
    Gatekey, Keys, SqliteStore,
    axum::{Authenticated, require_role},
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    // Without a file there is nothing to read; a file that cannot be read is worth knowing about.
    if let Err(error) = dotenvy::dotenv()
        && !error.not_found()
    {
        return Err(format!(".env: {error}").into());
    }
    tracing_subscriber::fmt().with_target(false).with_ansi(io::stdout().is_terminal()).init();

    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| busy(&address, &error))?;
    let address = listener.local_addr()?;
    let issuer = std::env::var("ISSUER").unwrap_or_else(|_| format!("http://{address}"));
    let keys = match std::env::var_os("GATEKEY_ACCESS_KEY") {
        Some(_) => Keys::from_env()?,
        None => Keys::load_or_create("gatekey.keys")?,
    };

    let log = SecurityLog::default();
    let mut gatekey = Gatekey::builder()
        .issuer(&issuer)
        .keys(keys)
        .store(SqliteStore::open("gatekey.db").await?)
        .events(log.clone());
    if address.ip().is_loopback() {
        // The same page under the machine's name.
        gatekey = gatekey.trusted_origin(format!("http://localhost:{}", address.port()));
    }
    let gatekey = gatekey.build().await?;

    println!("{issuer} is ready: register, log in, look around. Ctrl-C stops it.");
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

fn busy(address: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::AddrInUse {
        format!("{address} is in use by another program; choose another with LISTEN=127.0.0.1:3001")
    } else if address.parse::<SocketAddr>().is_err() {
        format!("LISTEN={address} is no address and port, such as 127.0.0.1:3000")
    } else {
        format!("cannot listen on {address}: {error}")
    }
}

async fn stopped() {
    if tokio::signal::ctrl_c().await.is_err() {
        // No signal can be caught here; the program then ends as the system ends it.
        std::future::pending::<()>().await;
    }
}
