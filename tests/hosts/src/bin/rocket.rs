//! The host of the Rocket adapter.

use std::process::ExitCode;

use gatekey_hosts::{Host, Refused, exit, rocket_app};

#[rocket::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Refused> {
    let host = Host::from_args().await?;
    rocket_app::serve(&host).await
}
