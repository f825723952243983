//! The quickstart behind nginx, which speaks HTTPS for it: `cargo run -p behind-nginx`, then open the address it prints.
//!
//! It needs nginx (Debian: `apt-get install nginx-light`), and starts one of its own, with the configuration in
//! `src/nginx.conf` and a folder of its own, `nginx`, in the current one. No root is needed, and an nginx that serves this
//! machine otherwise is left alone. What there is to copy are `nginx.conf` and two lines below: the issuer is the URL that
//! people see, and the proxy is named.
//!
//! It runs on Linux, where 127.0.0.2 is this machine, too.

#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::{
    fs,
    net::{Ipv4Addr, TcpListener as StdListener},
    path::Path,
    process::ExitCode,
};

use axum::{Router, routing::get};
use example_page::SecurityLog;
use example_start::{Outcome, Start};
use gatekey::{Gatekey, SqliteStore, axum::Authenticated};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

#[tokio::main]
async fn main() -> ExitCode {
    example_start::exit(run().await)
}

async fn run() -> Outcome {
    let mut start = Start::from_env()?;
    // The address that people open is nginx's; the application takes one that nobody needs to know.
    start.listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    start.listener.set_nonblocking(true)?;
    let mut nginx = nginx(&start)?;
    tokio::select! {
        served = serve(start) => served,
        ended = nginx.wait() => Err(format!("nginx ended: {}", ended?).into()),
    }
}

/// Serves the application until Ctrl-C.
///
/// # Errors
///
/// What kept it from serving.
pub async fn serve(start: Start) -> Outcome {
    let start = start.over_tls();
    let log = SecurityLog::default();
    let gatekey = start
        .builder()? // its issuer is the URL that people see, `https://…`
        // Nginx, as `proxy_bind` says: what it appends to X-Forwarded-For counts, and nobody else's.
        .trusted_proxy("127.0.0.2")
        .store(SqliteStore::open(start.file("gatekey.db")).await?)
        .events(log.clone())
        .build()
        .await?;

    let listener = TcpListener::from_std(start.listener)?;
    println!("The application itself is at http://{}, for nginx alone.", listener.local_addr()?);
    example_start::ready(&start.issuer);
    gatekey::axum::serve(listener, app(gatekey, log))
        .with_graceful_shutdown(example_start::stopped())
        .await?;
    Ok(())
}

/// Starts an nginx that listens where `start` does, and ends with this program.
fn nginx(start: &Start) -> Outcome<Child> {
    let (certificate, key) = start.certificate()?;
    let application = start.listener.local_addr()?;
    let absolute = |path: &Path| path.canonicalize().map(|path| path.display().to_string());
    let folder = start.file("nginx");
    fs::create_dir_all(&folder)?;
    let config = include_str!("nginx.conf")
        .replace("LISTEN ssl", &format!("{} ssl", start.address))
        .replace("http://APPLICATION", &format!("http://{application}"))
        .replace("CERTIFICATE;", &format!("\"{}\";", absolute(&certificate)?))
        .replace("KEY;", &format!("\"{}\";", absolute(&key)?));
    fs::write(folder.join("nginx.conf"), config)?;
    let folder = absolute(&folder)?;
    let mut command = Command::new("nginx");
    // One process in the foreground: when it is told to end, all of it ends.
    command.args([
        "-e",
        "stderr",
        "-p",
        &folder,
        "-c",
        "nginx.conf",
        "-g",
        "daemon off; master_process off;",
    ]);
    command.kill_on_drop(true);
    command.spawn().map_err(|error| format!("nginx: {error}; Debian has it in nginx-light").into())
}

/// The application: a page, a route of its own, and login. Nothing in it knows of nginx.
fn app(gatekey: Gatekey, log: SecurityLog) -> Router {
    example_page::axum::routes(log)
        .route("/hello", get(async |user: Authenticated| format!("hello {}\n", user.username())))
        .merge(gatekey::axum::routes(&gatekey))
        .with_state(gatekey)
}
