//! Revocations: the list that is asked, and the channel that is heard.

use std::time::Duration;

use gatekey_core::{
    session::SessionId,
    store::{Announcer, Revocation, Subscription},
    time::Timestamp,
};
use redis::{Client, PushInfo, PushKind, Value, aio::MultiplexedConnection, from_redis_value};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{sleep, timeout},
};

use crate::{Shared, fault::Fault, keys::Shard};

/// How many revocations may wait for whoever subscribed.
const CAPACITY: usize = 1024;

/// How often the connection is tried: one that died without a word must not look like a quiet one.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Asks all shards. What is on their lists was ended in the same script that put it there.
pub(crate) async fn revoked_since(shared: &Shared, since: Timestamp) -> Result<Vec<Revocation>, Fault> {
    // Beyond 53 bits scores are a little early.
    let from = match since.as_millis() {
        exact @ -0x20_0000_0000_0000..=0x20_0000_0000_0000 => exact,
        large => large.saturating_sub(2048),
    };
    let ask = |shard| {
        let key = shared.keys.ended(shard);
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(&key).arg(from).arg("+inf").arg("WITHSCORES");
        (key, command)
    };
    let answers = shared.link.ask_each(Shard::all().map(ask).collect()).await?;
    let mut revocations = Vec::new();
    for answer in answers {
        let ended: Vec<(String, f64)> = from_redis_value(answer)?;
        revocations.extend(ended.into_iter().map(|(session, at)| {
            #[allow(
                clippy::cast_possible_truncation,
                reason = "a whole number of up to 53 bits, or the nearest"
            )]
            let at = Timestamp::from_millis(at as i64);
            Revocation { session: SessionId::new(session), at }
        }));
    }
    Ok(revocations)
}

/// Listens until the connection is lost or nobody wants to hear any more.
pub(crate) async fn subscribe(shared: &Shared) -> Result<Subscription, Fault> {
    let listeners = &shared.listeners;
    let mut last = Fault::unavailable("no server to listen at");
    for client in &listeners.clients {
        match timeout(listeners.patience, listen(shared, client)).await {
            Ok(Ok(subscription)) => return Ok(subscription),
            Ok(Err(fault)) => last = fault,
            Err(_) => last = Fault::unavailable("Redis did not answer in time"),
        }
    }
    Err(last)
}

async fn listen(shared: &Shared, client: &Client) -> Result<Subscription, Fault> {
    let (sender, pushed) = unbounded_channel();
    let config = shared.listeners.config.clone().set_push_sender(sender);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let cluster = shared.link.is_cluster();
    look(&mut connection, cluster).await?;
    connection.subscribe(shared.keys.channel()).await?;
    let (announcer, subscription) = Subscription::channel(CAPACITY);
    let patience = shared.listeners.patience;
    tokio::spawn(announce(connection, pushed, announcer, cluster, patience));
    Ok(subscription)
}

/// Whether the server answers, and hears of what others are told: a node that lost its cluster hears nothing.
async fn look(connection: &mut MultiplexedConnection, cluster: bool) -> Result<(), Fault> {
    if !cluster {
        connection.send_packed_command(&redis::cmd("PING")).await?.extract_error()?;
        return Ok(());
    }
    let mut command = redis::cmd("CLUSTER");
    command.arg("INFO");
    let state: String = from_redis_value(connection.send_packed_command(&command).await?)?;
    if state.contains("cluster_state:ok") {
        Ok(())
    } else {
        Err(Fault::unavailable("the node has no cluster"))
    }
}

/// Passes on what is heard. The subscription ends with this task.
async fn announce(
    mut connection: MultiplexedConnection,
    mut pushed: UnboundedReceiver<PushInfo>,
    announcer: Announcer,
    cluster: bool,
    patience: Duration,
) {
    loop {
        tokio::select! {
            push = pushed.recv() => {
                let Some(push) = push else { return };
                if push.kind == PushKind::Disconnection {
                    return;
                }
                let Some(revocation) = revocation(&push) else { continue };
                // Whoever does not listen for so long is told to catch up instead: what is heard is kept meanwhile.
                if !matches!(timeout(patience, announcer.announce(revocation)).await, Ok(true)) {
                    return;
                }
            }
            () = announcer.closed() => return,
            () = sleep(HEARTBEAT) => {
                if !matches!(timeout(patience, look(&mut connection, cluster)).await, Ok(Ok(()))) {
                    return;
                }
            }
        }
    }
}

/// What a script told: 8 bytes of time, then the session.
fn revocation(push: &PushInfo) -> Option<Revocation> {
    if push.kind != PushKind::Message {
        return None;
    }
    let Some(Value::BulkString(message)) = push.data.get(1) else { return None };
    let (at, session) = message.split_first_chunk()?;
    let session = std::str::from_utf8(session).ok()?;
    Some(Revocation { session: SessionId::new(session), at: Timestamp::from_millis(i64::from_be_bytes(*at)) })
}
