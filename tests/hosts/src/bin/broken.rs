//! Wrong on purpose: the axum host with one fault, chosen by `--fault`, which the suite must notice.

use std::process::ExitCode;

use gatekey_hosts::{Host, Refused, axum_app, exit};

#[tokio::main]
async fn main() -> ExitCode {
    exit(run().await)
}

async fn run() -> Result<(), Refused> {
    let host = Host::from_args().await?;
    let app = axum_app::app(&host);
    axum_app::serve(&host, app).await
}
