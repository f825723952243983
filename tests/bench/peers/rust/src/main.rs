//! The servers that the guides of two crates for axum tell how to write, each at its fastest documented setting.
//!
//! ```sh
//! gatekey-bench-peers jwt-authorizer
//! gatekey-bench-peers axum-login
//! ```
//!
//! Paths are those of Gatekey, so that the same clients can ask: `POST /auth/login` answers what `GET /mine` asks for, an
//! access token or a cookie. No password is asked for, since logins are not measured here. One thread answers, as one does
//! of the server that they are measured beside.

mod axum_login;
mod jwt_authorizer;

use std::{error::Error, fmt::Write as _, io::Read as _, net::SocketAddr};

/// What went wrong.
type Fault = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    match std::env::args().nth(1).as_deref() {
        Some("jwt-authorizer") => runtime.block_on(jwt_authorizer::serve()),
        Some("axum-login") => runtime.block_on(axum_login::serve()),
        _ => Err("jwt-authorizer or axum-login".into()),
    }
}

/// What the bench waits for.
fn ready(address: SocketAddr) {
    println!("ready http://{address}");
}

/// What the guarded route answers.
fn answer(name: &str) -> String {
    format!("hello {name}")
}

/// The body of a login's answer.
fn logged_in(access: &str) -> String {
    serde_json::json!({ "access_token": access, "refresh_token": "" }).to_string()
}

/// As many random bytes from the system, in hexadecimal digits.
fn random(bytes: usize) -> Result<String, Fault> {
    let mut random = vec![0; bytes];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
