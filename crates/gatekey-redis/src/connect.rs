//! Connecting, and looking whether what is there will do.

use std::{error::Error, fmt, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisError, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClientBuilder,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::time::timeout;

use crate::{
    RedisOptions, RedisStore, Shared,
    fault::said,
    keys::Keys,
    link::{Cluster, Link, Wire},
};

/// Why there is no store. Its text is one line that names the server and the cause, and no password.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// A URL or a setting cannot be used.
    Invalid(String),
    /// No server answers, or it does not let us in.
    Unreachable {
        /// Which server, as `host:port`.
        server: String,
        /// What it or the driver said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It answers, and is not fit to keep sessions: a replica, a node of a cluster where one server was expected, …
    Unfit {
        /// Which server, as `host:port`.
        server: String,
        /// What is wrong, and how to set it right.
        reason: String,
    },
    /// It evicts keys when its memory is full: `maxmemory-policy` must be `noeviction`, or
    /// [`RedisOptions::eviction_allowed`] say that it need not.
    Evicts {
        /// Which server, as `host:port`.
        server: String,
        /// Its `maxmemory-policy`.
        policy: String,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(what) => f.write_str(what),
            Self::Unreachable { server, source } => {
                write!(f, "cannot connect to Redis at {server}: {source}")
            }
            Self::Unfit { server, reason } => write!(f, "Redis at {server} cannot be the store: {reason}"),
            Self::Evicts { server, policy } => write!(
                f,
                "Redis at {server} evicts keys when its memory is full (maxmemory-policy {policy}), sessions and \
                 revocations among them: set noeviction"
            ),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreachable { source, .. } => Some(&**source),
            Self::Invalid(_) | Self::Unfit { .. } | Self::Evicts { .. } => None,
        }
    }
}

/// Where to listen for revocations: one of these.
pub(crate) struct Listeners {
    pub(crate) clients: Vec<Client>,
    pub(crate) config: AsyncConnectionConfig,
    pub(crate) patience: Duration,
}

pub(crate) async fn one(options: &RedisOptions, url: &str) -> Result<RedisStore, ConnectError> {
    prepare_tls(url);
    let info = info(options, url)?;
    let server = info.addr().to_string();
    let keys = Keys::new(&options.prefix, info.redis_settings().db()).map_err(ConnectError::Invalid)?;
    let client = client(options, info)?;
    let config = ConnectionManagerConfig::new()
        // Who waits for a connection waits for one attempt, and the next call makes the next.
        .set_number_of_retries(0)
        .set_connection_timeout(Some(options.connect_timeout))
        // Every call has a limit of its own, whatever it waits for.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    let connect = async || {
        let connecting = ConnectionManager::new_with_config(client.clone(), config.clone());
        // The driver waits for the server to accept a connection, and not for what it then says.
        match timeout(options.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(|error| unreachable(&server, &error)),
            Err(_) => Err(too_late(&server)),
        }
    };
    let connection = connect().await?;
    let waiting = match options.wait {
        Some(wait) => Some((Wire::One(connect().await?), wait)),
        None => None,
    };
    let asking = {
        let mut connection = connection.clone();
        async move { connection.send_packed_command(&redis::cmd("INFO")).await }
    };
    match timeout(options.response_timeout, asking).await {
        Ok(Ok(answer)) => check(options, &server, &answer, false)?,
        // An account that may not ask is not asked.
        Ok(Err(error)) if error.code() == Some("NOPERM") => {}
        Ok(Err(error)) => return Err(unreachable(&server, &error)),
        Err(_) => return Err(too_late(&server)),
    }
    Ok(store(options, keys, Wire::One(connection), waiting, vec![client]))
}

pub(crate) async fn cluster(options: &RedisOptions, urls: &[String]) -> Result<RedisStore, ConnectError> {
    let mut infos = Vec::with_capacity(urls.len());
    for url in urls {
        prepare_tls(url);
        infos.push(info(options, url)?);
    }
    let Some(first) = infos.first() else {
        return Err(ConnectError::Invalid("no node of the cluster is given".to_owned()));
    };
    let keys = Keys::new(&options.prefix, first.redis_settings().db()).map_err(ConnectError::Invalid)?;
    let server = infos.iter().map(|info| info.addr().to_string()).collect::<Vec<_>>().join(", ");
    let builder = ClusterClientBuilder::new(infos.clone())
        // The driver would also send again what may have been done; `link.rs` knows what was not.
        .retries(0)
        .connection_timeout(options.connect_timeout)
        .response_timeout(patience(options))
        .overall_response_timeout(None)
        .use_protocol(ProtocolVersion::RESP3)
        .tcp_settings(tcp_settings(options));
    #[cfg(feature = "tls")]
    let builder = match certificates(options)? {
        Some(certificates) => builder.certs(certificates),
        None => builder,
    };
    let client = builder.build().map_err(invalid)?;
    let connect = async || {
        // Its nodes are tried side by side, and then each that they name.
        match timeout(options.connect_timeout * 3, client.get_async_connection()).await {
            Ok(connected) => connected.map_err(|error| unreachable(&server, &error)),
            Err(_) => Err(too_late(&server)),
        }
    };
    let wire =
        |connection| Wire::Cluster(Cluster::new(client.clone(), connection, options.connect_timeout * 3));
    let connection = connect().await?;
    let waiting = match options.wait {
        Some(wait) => Some((wire(connect().await?), wait)),
        None => None,
    };
    let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    let asking = {
        let mut connection = connection.clone();
        async move { connection.route_command(redis::cmd("INFO"), masters).await }
    };
    match timeout(options.response_timeout, asking).await {
        Ok(Ok(answer)) => check(options, &server, &answer, true)?,
        Ok(Err(error)) if error.code() == Some("NOPERM") => {}
        Ok(Err(error)) => return Err(unreachable(&server, &error)),
        Err(_) => return Err(too_late(&server)),
    }
    let clients = infos.into_iter().map(|info| self::client(options, info)).collect::<Result<_, _>>()?;
    Ok(store(options, keys, wire(connection), waiting, clients))
}

/// How many commands may wait for a connection; those that come then wait to get there.
const QUEUE: usize = 512;

fn store(
    options: &RedisOptions,
    keys: Keys,
    wire: Wire,
    waiting: Option<(Wire, crate::link::Wait)>,
    clients: Vec<Client>,
) -> RedisStore {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(Some(options.response_timeout));
    let listeners =
        Listeners { clients, config, patience: options.connect_timeout + options.response_timeout };
    let link = Link::new(wire, waiting, patience(options));
    RedisStore { shared: std::sync::Arc::new(Shared { keys, link, listeners }) }
}

/// How long a call may take.
fn patience(options: &RedisOptions) -> Duration {
    options.response_timeout + options.wait.map_or(Duration::ZERO, |wait| wait.at_most)
}

/// What a URL says, and what we add to it.
fn info(options: &RedisOptions, url: &str) -> Result<ConnectionInfo, ConnectError> {
    // A fragment would turn verification of certificates off, and for that there is no way.
    if url.contains('#') {
        return Err(ConnectError::Invalid("the URL of Redis has a fragment (#…)".to_owned()));
    }
    let info = url.into_connection_info().map_err(invalid)?;
    // With the newer protocol the driver notices a connection that ends while nobody uses it.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp_settings(options)))
}

fn client(options: &RedisOptions, info: ConnectionInfo) -> Result<Client, ConnectError> {
    #[cfg(feature = "tls")]
    if let Some(certificates) = certificates(options)? {
        return Client::build_with_tls(info, certificates).map_err(invalid);
    }
    #[cfg(not(feature = "tls"))]
    let _ = options;
    Client::open(info).map_err(invalid)
}

/// The roots that are trusted instead of the machine's.
#[cfg(feature = "tls")]
fn certificates(options: &RedisOptions) -> Result<Option<redis::TlsCertificates>, ConnectError> {
    let Some(file) = &options.root_certificates else { return Ok(None) };
    let cannot = |why: String| {
        ConnectError::Invalid(format!("the root certificates in {file:?} cannot be used: {why}"))
    };
    let pem = std::fs::read(file).map_err(|error| cannot(error.to_string()))?;
    if !pem.windows(27).any(|part| part == b"-----BEGIN CERTIFICATE-----") {
        return Err(cannot("there is none".to_owned()));
    }
    Ok(Some(redis::TlsCertificates { client_tls: None, root_cert: Some(pem) }))
}

/// A server that vanished without a word is noticed while the connection rests, and while something is under way on it.
fn tcp_settings(options: &RedisOptions) -> TcpSettings {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(options.response_timeout + Duration::from_secs(5));
    #[cfg(not(target_os = "linux"))]
    let _ = options;
    settings
}

/// The driver takes the process's default of cryptography for TLS, and panics where there are several and none is it.
fn prepare_tls(url: &str) {
    #[cfg(feature = "tls")]
    if url.starts_with("rediss:") || url.starts_with("valkeys:") {
        // One that the host has chosen stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    #[cfg(not(feature = "tls"))]
    let _ = url;
}

fn invalid(error: RedisError) -> ConnectError {
    ConnectError::Invalid(format!("the URL or settings of Redis cannot be used: {}", said(&error)))
}

fn unreachable(server: &str, error: &RedisError) -> ConnectError {
    if error.kind() == ErrorKind::RESP3NotSupported {
        return unfit(server, "it is older than Redis 6");
    }
    ConnectError::Unreachable { server: server.to_owned(), source: said(error).into() }
}

fn too_late(server: &str) -> ConnectError {
    ConnectError::Unreachable { server: server.to_owned(), source: "it did not answer in time".into() }
}

fn unfit(server: &str, reason: &str) -> ConnectError {
    ConnectError::Unfit { server: server.to_owned(), reason: reason.to_owned() }
}

/// Looks through what `INFO` says, of one server or of each master.
fn check(options: &RedisOptions, server: &str, answer: &Value, cluster: bool) -> Result<(), ConnectError> {
    let mut texts = Vec::new();
    collect(answer, &mut texts);
    for text in texts {
        let member = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        if !cluster && member("cluster_enabled") == Some("1") {
            return Err(unfit(server, "it is a node of a cluster; connect with `connect_cluster`"));
        }
        if member("role") == Some("slave") {
            return Err(unfit(server, "it is a replica; connect to its master"));
        }
        let limited = member("maxmemory").is_some_and(|limit| limit != "0");
        if let Some(policy) = member("maxmemory_policy")
            && limited
            && policy != "noeviction"
            && !options.eviction_allowed
        {
            return Err(ConnectError::Evicts { server: server.to_owned(), policy: policy.to_owned() });
        }
    }
    Ok(())
}

/// The texts in an answer: one, or one for each node.
fn collect<'a>(answer: &'a Value, texts: &mut Vec<std::borrow::Cow<'a, str>>) {
    if let Value::BulkString(bytes) = answer {
        texts.push(String::from_utf8_lossy(bytes));
    } else if let Value::VerbatimString { text, .. } = answer {
        texts.push(text.as_str().into());
    } else if let Value::Map(members) = answer {
        for (_, value) in members {
            collect(value, texts);
        }
    }
}
