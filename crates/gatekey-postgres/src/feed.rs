//! Revocations as they happen: a connection of its own that listens.

use std::{future::poll_fn, time::Duration};

use gatekey_core::{
    session::SessionId,
    store::{Announcer, Revocation, StoreError, Subscription},
    time::Timestamp,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket};

use crate::{connector::Connector, database::Database, fault::Fault};

/// How many revocations may wait for whoever subscribed.
const CAPACITY: usize = 1024;

/// How often the connection is tried: one that died without a word must not look like a quiet one.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Listens until the connection is lost or nobody wants to hear any more.
pub(crate) async fn subscribe(database: &Database) -> Result<Subscription, StoreError> {
    let patience = database.options.timeout;
    let listening = async {
        match &database.connector {
            Connector::Plain => {
                let (client, connection) = database.config.connect(NoTls).await?;
                listen(client, connection, database).await
            }
            #[cfg(feature = "tls")]
            Connector::Tls(tls) => {
                let (client, connection) = database.config.connect(tls.clone()).await?;
                listen(client, connection, database).await
            }
        }
    };
    match timeout(patience, listening).await {
        Ok(listening) => Ok(listening?),
        Err(_) => Err(StoreError::unavailable("the server did not answer in time")),
    }
}

async fn listen<T>(
    client: Client,
    connection: Connection<Socket, T>,
    database: &Database,
) -> Result<Subscription, Fault>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (announcer, subscription) = Subscription::channel(CAPACITY);
    let patience = database.options.timeout;
    // Ends with the connection, and ends the subscription with it: this task holds what feeds it.
    let feed = Feed(tokio::spawn(announce(connection, announcer.clone(), patience)));
    let listen = database.names.fill("LISTEN \"@channel\"");
    client.batch_execute(&listen).await?;
    tokio::spawn(watch(client, feed, announcer, patience));
    Ok(subscription)
}

/// The task that drives a connection; it ends with this value.
struct Feed(tokio::task::JoinHandle<()>);

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Drives the connection and passes on what it hears.
async fn announce<T>(mut connection: Connection<Socket, T>, announcer: Announcer, patience: Duration)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        let AsyncMessage::Notification(notification) = message else { continue };
        let Some(revocation) = revocation(notification.payload()) else { continue };
        // Whoever does not listen for so long is told to catch up instead: the server keeps what is not fetched.
        match timeout(patience, announcer.announce(revocation)).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}

/// What a statement sent: the time, a space, the session.
fn revocation(payload: &str) -> Option<Revocation> {
    let (at, session) = payload.split_once(' ')?;
    Some(Revocation { session: SessionId::new(session), at: Timestamp::from_millis(at.parse().ok()?) })
}

/// Ends the feed when nobody wants to hear any more, or when the connection does not answer.
async fn watch(client: Client, mut feed: Feed, announcer: Announcer, patience: Duration) {
    loop {
        tokio::select! {
            () = announcer.closed() => break,
            _ = &mut feed.0 => break,
            () = sleep(HEARTBEAT) => {}
        }
        let answered = timeout(patience, client.batch_execute("")).await;
        if !matches!(answered, Ok(Ok(()))) {
            break;
        }
    }
}
