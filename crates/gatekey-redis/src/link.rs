//! The connections, and how a call travels over them: once, and never again where it may have been done.
//!
//! What is sent once may have been done although no answer came, and swapping a refresh token twice would look like
//! theft. So a lost answer is [`Fault::Unavailable`], which a client may repeat; a call is sent again only where the
//! server has said that it did nothing: it does not know the script, does not have the keys any more, or not yet.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind, Value,
    aio::ConnectionManager,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use tokio::time::{sleep, timeout};

use crate::fault::Fault;

/// How often a call is sent again at most: redirections, and what a cluster says while it moves slots or fails over.
const AGAIN: u32 = 6;
/// The pause before the first of them; each later one is longer by as much.
const PAUSE: Duration = Duration::from_millis(20);

/// How many calls of one question are under way at once in a cluster. See [`Cluster`] for why not all of them.
const AT_ONCE: usize = 16;

/// One or more servers. A clone is another handle on the same connections.
#[derive(Clone)]
pub(crate) struct Link {
    wire: Wire,
    /// For writes that are answered only when replicas have them. `WAIT` holds up everything behind it on a connection,
    /// so those have one of their own.
    waiting: Option<(Wire, Wait)>,
    /// How long a call may take, whatever it waits for.
    patience: Duration,
}

/// How many replicas have to have a write before it is answered, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) replicas: u32,
    pub(crate) at_most: Duration,
}

#[derive(Clone)]
pub(crate) enum Wire {
    One(ConnectionManager),
    Cluster(Arc<Cluster>),
}

/// The driver's connection to a cluster, and the means to make another.
///
/// The driver mends connections itself. But redis 1.8 can lock itself out. While it looks for the slots it looks at no
/// call under way; and one that had just been given the lock on its connections when its turn was over (a task of tokio
/// may do so much in one turn) keeps that lock, for which the search waits. Then it answers nobody any more, for ever:
/// after a fail-over, say, with more than some thirty calls at once (guarded by `a_cluster_hears_counts_and_waits` and
/// `cargo xtask faults --case 'redis-cluster/*'`). So a call that gets no answer, while no other gets one either, has the
/// whole connection made anew.
pub(crate) struct Cluster {
    client: ClusterClient,
    connection: Mutex<ClusterConnection>,
    /// How long connecting may take.
    patience: Duration,
    /// How many calls the driver has answered, well or badly.
    answers: AtomicU64,
    renewing: AtomicBool,
}

impl Cluster {
    pub(crate) fn new(client: ClusterClient, connection: ClusterConnection, patience: Duration) -> Arc<Self> {
        let (answers, renewing) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { client, connection: Mutex::new(connection), patience, answers, renewing })
    }

    fn connection(&self) -> ClusterConnection {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(test)]
    pub(crate) fn replace(&self, connection: ClusterConnection) {
        *self.connection.lock().unwrap() = connection;
    }

    /// Has another connection made, unless that is under way.
    fn renew(self: &Arc<Self>) {
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            // Where that fails the next call without an answer tries again.
            if let Ok(Ok(made)) = timeout(cluster.patience, cluster.client.get_async_connection()).await {
                *cluster.connection.lock().unwrap_or_else(PoisonError::into_inner) = made;
            }
            cluster.renewing.store(false, Ordering::Release);
        });
    }
}

/// Something to send: a command, or a script that is sent whole where the server does not know it.
enum Message<'a> {
    Command(Cmd),
    Script { script: &'a Lua, keys: &'a [String], arguments: &'a [&'a [u8]] },
}

/// A script, and the digest by which a server that has run it knows it.
pub(crate) struct Lua {
    code: &'static str,
    digest: String,
}

impl Lua {
    pub(crate) fn new(code: &'static str) -> Self {
        Self { code, digest: Script::new(code).get_hash().to_owned() }
    }
}

impl Message<'_> {
    fn command(&self, whole: bool) -> Cmd {
        match self {
            Self::Command(command) => command.clone(),
            Self::Script { script, keys, arguments } => {
                let mut command = redis::cmd(if whole { "EVAL" } else { "EVALSHA" });
                command.arg(if whole { script.code } else { &script.digest });
                command.arg(keys.len()).arg(*keys);
                for argument in *arguments {
                    command.arg(*argument);
                }
                command
            }
        }
    }
}

impl Link {
    pub(crate) fn new(wire: Wire, waiting: Option<(Wire, Wait)>, patience: Duration) -> Self {
        Self { wire, waiting, patience }
    }

    /// Whether keys of different slots have to be asked for apart.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.wire, Wire::Cluster(_))
    }

    /// Whether writes are answered only when replicas have them.
    pub(crate) fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Runs a script that nobody has to wait for. All keys are in one slot, and there is at least one.
    pub(crate) async fn run(
        &self,
        script: &Lua,
        keys: &[String],
        arguments: &[&[u8]],
    ) -> Result<Value, Fault> {
        self.send(&self.wire, None, first(keys), Message::Script { script, keys, arguments }).await
    }

    /// Runs a script whose writes are answered when as many replicas have them as were asked for.
    pub(crate) async fn write(
        &self,
        script: &Lua,
        keys: &[String],
        arguments: &[&[u8]],
    ) -> Result<Value, Fault> {
        let (wire, wait) = self.writing();
        self.send(wire, wait, first(keys), Message::Script { script, keys, arguments }).await
    }

    /// Sends a command about a key.
    pub(crate) async fn ask(&self, key: &str, command: Cmd) -> Result<Value, Fault> {
        self.send(&self.wire, None, key, Message::Command(command)).await
    }

    /// Sends a command that writes to a key, as [`Self::write`].
    pub(crate) async fn tell(&self, key: &str, command: Cmd) -> Result<Value, Fault> {
        let (wire, wait) = self.writing();
        self.send(wire, wait, key, Message::Command(command)).await
    }

    #[cfg(test)]
    pub(crate) fn wires(&self) -> impl Iterator<Item = &Wire> {
        [&self.wire].into_iter().chain(self.waiting.as_ref().map(|(wire, _)| wire))
    }

    fn writing(&self) -> (&Wire, Option<Wait>) {
        match &self.waiting {
            Some((wire, wait)) => (wire, Some(*wait)),
            None => (&self.wire, None),
        }
    }

    /// Sends a command about each of some keys, which may be in different slots; the answers come in their order.
    pub(crate) async fn ask_each(&self, commands: Vec<(String, Cmd)>) -> Result<Vec<Value>, Fault> {
        // The driver refuses to send nothing.
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        match &self.wire {
            Wire::One(connection) => {
                let mut pipeline = Pipeline::with_capacity(commands.len());
                let count = commands.len();
                for (_, command) in commands {
                    pipeline.add_command(command);
                }
                let mut connection = connection.clone();
                let answers = timeout(self.patience, connection.send_packed_commands(&pipeline, 0, count));
                let answers = answers.await.map_err(|_| too_late())??;
                answers.into_iter().map(|answer| Ok(answer.extract_error()?)).collect()
            }
            Wire::Cluster(_) => {
                let asked =
                    commands.into_iter().map(|(key, command)| async move { self.ask(&key, command).await });
                stream::iter(asked).buffered(AT_ONCE).try_collect().await
            }
        }
    }

    async fn send(
        &self,
        wire: &Wire,
        wait: Option<Wait>,
        key: &str,
        message: Message<'_>,
    ) -> Result<Value, Fault> {
        let before = wire.answers();
        let sent = self.send_until_done(wire, wait, key, message);
        timeout(self.patience, sent).await.unwrap_or_else(|_| {
            wire.has_not_answered(before);
            Err(too_late())
        })
    }

    async fn send_until_done(
        &self,
        wire: &Wire,
        wait: Option<Wait>,
        key: &str,
        message: Message<'_>,
    ) -> Result<Value, Fault> {
        let mut whole = false;
        let mut asking = None;
        let mut again = 0;
        loop {
            let error = match wire.send(key, message.command(whole), wait, asking.take()).await {
                Ok(answer) => return answer,
                Err(error) => error,
            };
            let not_done = not_done(&error);
            if not_done.is_none() || again == AGAIN {
                wire.left_by_a_master(&error).await;
                return Err(error.into());
            }
            again += 1;
            match not_done {
                Some(NotDone::UnknownScript) if !whole => whole = true,
                Some(NotDone::Elsewhere(node)) => asking = Some(node),
                // The driver looks up where the slots are before it sends anything else.
                Some(NotDone::Moved) if again == 1 => {}
                Some(_) | None => sleep(PAUSE * again).await,
            }
        }
    }
}

fn first(keys: &[String]) -> &str {
    keys.first().map_or("", String::as_str)
}

fn too_late() -> Fault {
    Fault::unavailable("Redis did not answer in time")
}

/// How a server says that it did nothing.
enum NotDone {
    UnknownScript,
    /// The slot belongs to another node now.
    Moved,
    /// The slot is being moved, and this key is there already.
    Elsewhere((String, u16)),
    /// Not now: keys of the slot are on their way, or the cluster is choosing a master.
    NotNow,
}

fn not_done(error: &RedisError) -> Option<NotDone> {
    let kind = error.kind();
    let is = |server| kind == ErrorKind::Server(server);
    if is(ServerErrorKind::NoScript) {
        Some(NotDone::UnknownScript)
    } else if is(ServerErrorKind::Moved) {
        Some(NotDone::Moved)
    } else if is(ServerErrorKind::Ask) {
        let (node, _) = error.redirect_node()?;
        let (host, port) = node.rsplit_once(':')?;
        Some(NotDone::Elsewhere((host.to_owned(), port.parse().ok()?)))
    } else if is(ServerErrorKind::TryAgain)
        || is(ServerErrorKind::ClusterDown)
        || kind == ErrorKind::ClusterConnectionNotFound
    {
        Some(NotDone::NotNow)
    } else {
        None
    }
}

impl Wire {
    /// Sends a command once, with `WAIT` behind it where that is asked for. The inner error is one of the replicas: the
    /// command itself was done.
    async fn send(
        &self,
        key: &str,
        command: Cmd,
        wait: Option<Wait>,
        asking: Option<(String, u16)>,
    ) -> RedisResult<Result<Value, Fault>> {
        if wait.is_none() && asking.is_none() {
            let answer = match self {
                Self::One(connection) => connection.clone().send_packed_command(&command).await?,
                Self::Cluster(cluster) => {
                    let route = RoutingInfo::SingleNode(route(key));
                    let answer = cluster.connection().route_command(command, route).await;
                    cluster.answers.fetch_add(1, Ordering::Relaxed);
                    answer?
                }
            };
            return answer.extract_error().map(Ok);
        }

        // One message: nothing comes between, and a connection that is lost takes all of it along.
        let mut pipeline = Pipeline::with_capacity(3);
        if asking.is_some() {
            pipeline.add_command(redis::cmd("ASKING"));
        }
        let position = pipeline.len();
        pipeline.add_command(command);
        if let Some(Wait { replicas, at_most }) = wait {
            let mut command = redis::cmd("WAIT");
            // 0 would wait for ever.
            command.arg(replicas).arg(at_most.as_millis().max(1).to_string());
            pipeline.add_command(command);
        }
        let count = pipeline.len();
        let answers = match self {
            Self::One(connection) => connection.clone().send_packed_commands(&pipeline, 0, count).await?,
            Self::Cluster(cluster) => {
                let node = match asking {
                    Some((host, port)) => SingleNodeRoutingInfo::ByAddress { host, port },
                    None => route(key),
                };
                let answers = cluster.connection().route_pipeline(pipeline, 0, count, node).await;
                cluster.answers.fetch_add(1, Ordering::Relaxed);
                answers?
            }
        };
        let mut answers = answers.into_iter().skip(position);
        let answer = answers.next().unwrap_or(Value::Nil).extract_error()?;
        let Some(Wait { replicas, .. }) = wait else { return Ok(Ok(answer)) };
        let reached = match answers.next().map(Value::extract_error) {
            Some(Ok(Value::Int(reached))) => reached,
            Some(Err(error)) => return Ok(Err(error.into())),
            Some(Ok(_)) | None => 0,
        };
        if reached >= i64::from(replicas) {
            return Ok(Ok(answer));
        }
        Ok(Err(Fault::unavailable(format_args!("{reached} of {replicas} replicas have what was written"))))
    }

    /// How many calls were answered so far.
    fn answers(&self) -> u64 {
        match self {
            Self::One(_) => 0,
            Self::Cluster(cluster) => cluster.answers.load(Ordering::Relaxed),
        }
    }

    /// Nobody answered a call that began after so many answers.
    fn has_not_answered(&self, before: u64) {
        if let Self::Cluster(cluster) = self
            && cluster.answers.load(Ordering::Relaxed) == before
        {
            cluster.renew();
        }
    }

    /// A master that became a replica keeps its connections and refuses every write: an address that now names another
    /// server is looked up only by a new one.
    async fn left_by_a_master(&self, error: &RedisError) {
        if let Self::One(connection) = self
            && error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        {
            // The driver connects again when the server hangs up.
            let _ = connection.clone().send_packed_command(&redis::cmd("QUIT")).await;
        }
    }
}

fn route(key: &str) -> SingleNodeRoutingInfo {
    SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master))
}
