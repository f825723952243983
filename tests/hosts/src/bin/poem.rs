//! The host of the adapter for poem in `examples/poem`.

use std::process::ExitCode;

use gatekey_hosts::{Host, Refused, exit, poem_app};

#[tokio::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Refused> {
    let host = Host::from_args().await?;
    poem_app::serve(&host).await
}
