//! What Gatekey adds to a hello-world application of axum: bytes of its program, seconds of processor time of its build.
//!
//! Both applications are written to a folder of this run and built there from nothing, in release, stripped, with the
//! versions of this repository's lock file. That takes minutes, so a quick bench leaves it out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Bench,
    measure::{Fault, Measured, alternate},
    process::{Cores, Server, command, cpu_seconds},
    row::{Goal, Outcome, Row},
};

pub(crate) fn rows() -> Vec<Row> {
    let of = "the same application without Gatekey";
    vec![
        Row::new("added/program", "MiB", "A stripped program of axum, Gatekey and SQLite", |bench| {
            built(bench, |built| built.mebibytes)
        })
        .floor(of)
        .slow(),
        Row::new("added/build", "cpu s", "Its release build from nothing, all dependencies", |bench| {
            built(bench, |built| built.cpu_seconds)
        })
        .floor(of)
        .slow(),
        Row::new("added/memory", "MiB", "That program, started and idle", |bench| {
            build_guarded(bench)?;
            let rounds = bench.rounds().count;
            let measured = crate::measure::repeat(rounds, || start(bench, "guarded")?.resident())?;
            Ok(measured.into())
        })
        .goal(Goal::AtMost(12.0))
        .slow(),
        Row::new("added/start", "ms", "From the start of that program to its readiness", |bench| {
            build_guarded(bench)?;
            build_plain(bench)?;
            let millis = |name| Ok(start(bench, name)?.started_in.as_secs_f64() * 1e3);
            Ok(alternate(bench.rounds(), || millis("guarded"), || millis("plain"))?.into())
        })
        .floor(of)
        .slow(),
    ]
}

/// Starts an application that was built, in its folder.
fn start(bench: &Bench, name: &str) -> Result<Server, Fault> {
    let folder = bench.path(&format!("hello-{name}"));
    let mut command = command(&folder.join("target/release/hello"), Cores::Any);
    command.current_dir(folder);
    Server::spawn(command)
}

#[derive(Clone, Copy)]
struct Built {
    mebibytes: f64,
    cpu_seconds: f64,
}

const PLAIN: &str = r#"use axum::{Router, routing::get};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(async || "hello"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("ready http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
"#;

const GUARDED: &str = r#"use axum::{Router, routing::get};
use gatekey::{Gatekey, Keys, SqliteStore, axum::Authenticated};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gatekey = Gatekey::builder()
        .issuer("https://app.example.com")
        .keys(Keys::load_or_create("gatekey.keys")?)
        .store(SqliteStore::open("app.db").await?)
        .build().await?;
    let app = Router::new()
        .route("/", get(async |user: Authenticated| format!("hello {}", user.username())))
        .merge(gatekey::axum::routes(&gatekey))
        .with_state(gatekey);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("ready http://{}", listener.local_addr()?);
    gatekey::axum::serve(listener, app).await?;
    Ok(())
}
"#;

fn built(bench: &Bench, figure: fn(Built) -> f64) -> Result<Outcome, Fault> {
    let (guarded, plain) = (build_guarded(bench)?, build_plain(bench)?);
    let measured = Measured { subject: vec![figure(guarded)], floor: vec![figure(plain)], notes: Vec::new() };
    let added = measured.subject[0] - measured.floor[0];
    Ok(measured.note(format!("{} added", crate::row::short(added))).into())
}

fn build_plain(bench: &Bench) -> Result<Built, Fault> {
    build(bench, "plain", "", PLAIN)
}

fn build_guarded(bench: &Bench) -> Result<Built, Fault> {
    let gatekey = format!(
        "gatekey = {{ path = {:?}, features = [\"axum\", \"sqlite\"] }}\n",
        root().join("crates/gatekey").display().to_string()
    );
    build(bench, "guarded", &gatekey, GUARDED)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds an application, or says what an earlier row of this run built.
fn build(bench: &Bench, name: &str, gatekey: &str, source: &str) -> Result<Built, Fault> {
    let folder = bench.path(&format!("hello-{name}"));
    let told = folder.join("built");
    if let Ok(text) = fs::read_to_string(&told) {
        let (mebibytes, cpu_seconds) = text.split_once(' ').ok_or("what was built is not told")?;
        return Ok(Built { mebibytes: mebibytes.parse()?, cpu_seconds: cpu_seconds.parse()? });
    }
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/main.rs"), source)?;
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let manifest = format!(
        "[package]\nname = \"hello\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{gatekey}\
         axum = {{ version = \"0.8.9\", default-features = false, features = [\"http1\", \"tokio\"] }}\n\
         tokio = {{ version = \"1.54\", features = [\"macros\", \"net\", \"rt-multi-thread\"] }}\n\n\
         [profile.release]\nlto = \"thin\"\nstrip = true\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest)?;
    let before = cpu_seconds("/proc/self/stat", 13)?;
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "--offline"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .stdin(Stdio::null())
        .status()?;
    if !status.success() {
        return Err("the build failed".into());
    }
    let cpu_seconds = cpu_seconds("/proc/self/stat", 13)? - before;
    let program = fs::metadata(folder.join("target/release/hello"))?.len();
    #[allow(clippy::cast_precision_loss, reason = "some megabytes")]
    let mebibytes = program as f64 / (1024.0 * 1024.0);
    fs::write(told, format!("{mebibytes} {cpu_seconds}"))?;
    Ok(Built { mebibytes, cpu_seconds })
}
