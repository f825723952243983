//! How a connection is made, and where it lives: in the runtime that made the store.
//!
//! actix-web runs each of its threads as a runtime of its own. A connection made on such a thread would end with that
//! thread, when the application stops or a handler brings the thread down, under the calls that others have on it:
//! they would get an error for a server that is well. Where the store's runtime is gone, the caller's has to do.

use std::{future::Future, pin::Pin};

use deadpool_postgres::{ConfigConnectImpl, Connect};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_postgres::{Client, Config, Error, NoTls};

/// Plain or encrypted.
#[derive(Clone)]
pub(crate) enum Connector {
    Plain,
    #[cfg(feature = "tls")]
    Tls(tokio_postgres_rustls::MakeRustlsConnect),
}

/// Makes the pool's connections in one runtime, whoever asks.
pub(crate) struct AtHome {
    home: Handle,
    connector: Connector,
}

impl AtHome {
    pub(crate) fn new(connector: Connector) -> Self {
        Self { home: Handle::current(), connector }
    }
}

type Connected = Result<(Client, JoinHandle<()>), Error>;

impl Connect for AtHome {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Connected> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            match self.home.spawn(connect(self.connector.clone(), config.clone())).await {
                Ok(connected) => connected,
                Err(_) => connect(self.connector.clone(), config).await,
            }
        })
    }
}

async fn connect(connector: Connector, config: Config) -> Connected {
    match connector {
        Connector::Plain => ConfigConnectImpl { tls: NoTls }.connect(&config).await,
        #[cfg(feature = "tls")]
        Connector::Tls(tls) => ConfigConnectImpl { tls }.connect(&config).await,
    }
}
