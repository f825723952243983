//! The host of the actix-web adapter.

use std::process::ExitCode;

use gatekey_hosts::{Host, Refused, actix_app, exit};

#[actix_web::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Refused> {
    let host = Host::from_args().await?;
    actix_app::serve(&host).await
}
