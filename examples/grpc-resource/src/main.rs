//! A guarded gRPC service on tonic, and the endpoints beside it on one port: `cargo run -p grpc-resource`.
//!
//! ```sh
//! login='{"username":"alice@kites","password":"a long enough pass phrase"}'
//! access=$(curl -s 127.0.0.1:3000/auth/login -H 'Content-Type: application/json' -d "$login" | jq -r .access_token)
//! notes="grpcurl -plaintext -import-path examples/grpc-resource -proto notes.proto"
//! $notes -H "Authorization: Bearer $access" -d '{"text":"Buy string"}' 127.0.0.1:3000 notes.Notes/Add
//! $notes -H "Authorization: Bearer $access" 127.0.0.1:3000 notes.Notes/List
//! $notes 127.0.0.1:3000 notes.Notes/List # UNAUTHENTICATED, with a challenge in its metadata
//! ```

mod service;

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use axum::{Router, extract::ConnectInfo};
use example_notes::{Notes, Owner, Read, Write};
use example_start::{Outcome, Start};
use gatekey::{
    Caller, Gatekey, Reply, Require, Requirement, Scope,
    axum::routes,
    tower::{GuardLayer, grpc},
};
use http::Extensions;
use service::{Empty, Note, NoteList, NotesServer};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    service::{LayerExt, Routes},
};

#[tokio::main]
async fn main() -> ExitCode {
    example_start::exit(run().await)
}

async fn run() -> Outcome {
    let start = Start::from_env()?;
    let gatekey = example_notes::settings(start.builder()?).build().await?;
    serve(start, gatekey).await
}

/// Serves until it is stopped.
///
/// # Errors
///
/// What kept it from serving.
pub async fn serve(start: Start, gatekey: Gatekey) -> Outcome {
    example_notes::open_accounts(&gatekey).await?;
    let listener = TcpListener::from_std(start.listener)?;
    example_start::ready(&start.issuer);
    gatekey::axum::serve(listener, app(&gatekey)).await?;
    Ok(())
}

/// HTTP/2 for gRPC and HTTP/1.1 for the endpoints, told apart by their paths.
fn app(gatekey: &Gatekey) -> Router {
    // Every method asks for a login; some ask for more themselves.
    let guard = GuardLayer::grpc(gatekey, Requirement::authenticated(), peer);
    let notes = guard.named_layer(NotesServer::new(Notes::default()));
    Routes::new(notes).into_axum_router().merge(routes(gatekey))
}

/// Where axum keeps the client's address. tonic's own server keeps it in `TcpConnectInfo`.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

/// The methods.
impl service::Methods for Notes {
    fn list(&self, request: &Request<Empty>) -> Result<Response<NoteList>, Status> {
        let caller = caller(request)?;
        or_status(caller.require_scope(Read::NAME))?;
        Ok(Response::new(NoteList { text: Self::list(self, &or_status(caller.claims())?) }))
    }

    fn add(&self, request: &Request<Note>) -> Result<Response<Empty>, Status> {
        let caller = caller(request)?;
        or_status(caller.require_scope(Write::NAME))?;
        Self::add(self, or_status(caller.claims())?, request.get_ref().text.clone());
        Ok(Response::new(Empty {}))
    }

    fn clear(&self, request: &Request<Empty>) -> Result<Response<Empty>, Status> {
        let caller = caller(request)?;
        or_status(caller.require(&Owner::requirement()))?;
        Self::clear(self, &or_status(caller.claims())?);
        Ok(Response::new(Empty {}))
    }
}

/// Whom the guard has let pass.
fn caller<T>(request: &Request<T>) -> Result<&Caller, Status> {
    request.extensions().get().ok_or_else(|| Status::internal("the service is not guarded"))
}

/// A refusal of a caller, as the guard would have said it.
fn or_status<T>(checked: Result<T, Box<Reply>>) -> Result<T, Status> {
    checked.map_err(|refusal| {
        let refusal = grpc(*refusal);
        Status::from_header_map(refusal.headers()).unwrap_or_else(|| Status::internal("no status"))
    })
}
