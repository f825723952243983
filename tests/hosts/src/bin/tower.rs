//! The host of the tower adapter, on a plain hyper server.

use std::process::ExitCode;

use gatekey_hosts::{Host, Refused, exit, tower_app};

#[tokio::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Refused> {
    let host = Host::from_args().await?;
    tower_app::serve(&host).await
}
