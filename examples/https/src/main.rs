//! The quickstart over HTTPS, without a proxy: `cargo run -p https`, then open the address it prints.
//!
//! On its first run it makes a certificate for this machine, which browsers warn of (`localhost.pem`, `localhost.key`).
//! Curl is told to trust it: `curl --cacert localhost.pem https://localhost:3000/auth/jwks.json`. With a certificate of a
//! real name in these two files, and `ISSUER` set to its URL, it serves that.

use std::{io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use axum::{
    Router,
    routing::get,
    serve::{Listener, ListenerExt},
};
use example_page::SecurityLog;
use example_start::{Outcome, Start};
use gatekey::{Gatekey, SqliteStore, axum::Authenticated};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How many handshakes go on at once, and how long one may take: whoever says nothing holds nobody up.
const HANDSHAKES: usize = 256;
const HANDSHAKE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    example_start::exit(run().await)
}

async fn run() -> Outcome {
    serve(Start::from_env()?).await
}

/// Serves until Ctrl-C.
///
/// # Errors
///
/// What kept it from serving.
pub async fn serve(start: Start) -> Outcome {
    let start = start.over_tls();
    let log = SecurityLog::default();
    let gatekey = start
        .builder()?
        .store(SqliteStore::open(start.file("gatekey.db")).await?)
        .events(log.clone())
        .build()
        .await?;

    let (certificate, key) = start.certificate()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?,
            PrivateKeyDer::from_pem_file(key)?,
        )?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];

    let listener = Tls::new(TcpListener::from_std(start.listener)?, TlsAcceptor::from(Arc::new(config)))?;
    example_start::ready(&start.issuer);
    // `tap_io` is how axum passes on the client's address from a listener of one's own.
    let app = app(gatekey, log).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener.tap_io(|_| {}), app).with_graceful_shutdown(example_start::stopped()).await?;
    Ok(())
}

/// The application: a page, a route of its own, and login. Nothing in it knows of TLS.
fn app(gatekey: Gatekey, log: SecurityLog) -> Router {
    example_page::axum::routes(log)
        .route("/hello", get(async |user: Authenticated| format!("hello {}\n", user.username())))
        .merge(gatekey::axum::routes(&gatekey))
        .with_state(gatekey)
}

/// Connections whose handshake is done. Handshakes go on beside each other: one that is slow keeps nobody waiting.
struct Tls {
    done: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl Tls {
    fn new(mut listener: TcpListener, acceptor: TlsAcceptor) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, done) = mpsc::channel(HANDSHAKES);
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        tokio::spawn(async move {
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                // The one of axum goes on after errors that pass, such as too many open files.
                let (stream, peer) = Listener::accept(&mut listener).await;
                if sender.is_closed() {
                    return;
                }
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    // Whoever breaks a handshake off, or speaks plain HTTP, gets no answer.
                    if let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        let _served = sender.send((stream, peer)).await;
                    }
                    drop(place);
                });
            }
        });
        Ok(Self { done, address })
    }
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.done.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
