//! The server: how it is reached, how long anything may take, and what is tried again.

use std::{net::IpAddr, str::FromStr, time::Duration};

use deadpool_postgres::{ClientWrapper, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use gatekey_core::store::StoreError;
use tokio::time::{error::Elapsed, sleep, timeout};
use tokio_postgres::{
    Config, Row,
    config::{Host, SslMode},
    types::ToSql,
};

use crate::{
    ConnectError, PostgresOptions,
    connector::{AtHome, Connector},
    fault::{Fault, said},
    lanes::{Lanes, Place},
    names::Names,
    schema::{self, Refused},
    statements::Statements,
};

/// How often a call that lost a race is made, in all. Each pause before it is twice the last.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(4);

/// A server and our tables in it.
pub(crate) struct Database {
    /// For calls of one statement.
    pub(crate) lanes: Lanes,
    /// For calls that need a connection to themselves.
    pub(crate) pool: Pool,
    /// For connections beside these.
    pub(crate) config: Config,
    pub(crate) connector: Connector,
    pub(crate) names: Names,
    pub(crate) statements: Statements,
    pub(crate) options: PostgresOptions,
    /// Host, port and database, without user and password.
    pub(crate) server: String,
}

impl Database {
    pub(crate) async fn connect(url: &str, options: PostgresOptions) -> Result<Self, ConnectError> {
        let names = Names::new(&options.schema, &options.prefix).map_err(ConnectError::Settings)?;
        let config = configuration(url, &options)?;
        let server = server(&config);
        let connector = connector(&config, &options)?;
        let alone = (options.pool_size / 4).max(1);
        let lanes = Lanes::new(options.pool_size - alone, config.clone(), AtHome::new(connector.clone()));
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(config.clone(), AtHome::new(connector.clone()), manager_config);
        let unusable = |cause: String| ConnectError::Unusable { server: server.clone(), cause };
        let pool = Pool::builder(manager)
            .max_size(alone)
            .wait_timeout(Some(options.pool_timeout))
            .create_timeout(Some(options.pool_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let mut client = pool.get().await.map_err(|error| match Fault::from(error) {
            Fault::Raced(cause) | Fault::Unavailable(cause) | Fault::Corrupt(cause) => unusable(cause),
        })?;
        let ready = if options.migrate {
            schema::migrate(&mut client, &names).await
        } else {
            schema::check(&client, &names).await
        };
        ready.map_err(|refused| match refused {
            Refused::Version(found) => {
                ConnectError::Schema { server: server.clone(), found, known: schema::KNOWN }
            }
            Refused::Database(error) => unusable(said(&error)),
        })?;
        drop(client);
        let statements = Statements::new(&names, options.notify);
        Ok(Self { lanes, pool, config, connector, names, statements, options, server })
    }

    /// A place in a lane, within the time for a connection.
    pub(crate) async fn place(&self) -> Result<Place<'_>, Fault> {
        let late = |_| Fault::unavailable("the server took no connection in time");
        timeout(self.options.pool_timeout, self.lanes.place()).await.map_err(late)?
    }

    /// A connection to oneself.
    pub(crate) async fn alone(&self) -> Result<Object, Fault> {
        Ok(self.pool.get().await?)
    }

    /// What became of one attempt of a call: its answer, an error, or `None` if it is to be made again.
    pub(crate) async fn settle<T>(
        &self,
        worked: Result<Result<T, Fault>, Elapsed>,
        lease: impl Lease,
        attempt: u32,
    ) -> Result<Option<T>, StoreError> {
        let fault = match worked {
            Ok(Ok(done)) => return Ok(Some(done)),
            Ok(Err(fault)) => fault,
            Err(_) => Fault::unavailable("the server did not answer in time"),
        };
        match fault {
            Fault::Raced(_) if attempt < ATTEMPTS => {
                // Others need the connection meanwhile.
                drop(lease);
                sleep(FIRST_PAUSE * 2_u32.saturating_pow(attempt - 1)).await;
                Ok(None)
            }
            Fault::Unavailable(_) => {
                // Whatever it was may hang on this connection: the next call gets another one.
                lease.abandon().await;
                Err(fault.into())
            }
            Fault::Raced(_) | Fault::Corrupt(_) => Err(fault.into()),
        }
    }
}

/// A connection while a call has it.
pub(crate) trait Lease {
    /// Nobody else is to get it.
    async fn abandon(self);
}

impl Lease for Object {
    async fn abandon(self) {
        drop(Self::take(self));
    }
}

impl Lease for Place<'_> {
    async fn abandon(self) {
        self.abandon().await;
    }
}

/// Makes a call of one statement, beside others on a connection: within its time, and again where the server says that it
/// lost a race. Its value is the answer; an error leaves the calling function.
///
/// A macro and no function that takes a closure: the compiler cannot show that the future of one that borrows is
/// `Send` (rust-lang/rust#110338).
macro_rules! statement {
    ($store:expr, |$client:ident, $sql:ident| $work:expr) => {
        crate::database::call!($store, place, |lease| &*lease.client, |$client, $sql| $work)
    };
}
pub(crate) use statement;

/// [`statement!`] for a call of several statements, or one that takes long: with a connection to itself.
macro_rules! transaction {
    ($store:expr, |$client:ident, $sql:ident| $work:expr) => {
        crate::database::call!($store, alone, |lease| &mut *lease, |$client, $sql| $work)
    };
}
pub(crate) use transaction;

/// How either is made.
macro_rules! call {
    ($store:expr, $take:ident, |$lease:ident| $of:expr, |$client:ident, $sql:ident| $work:expr) => {{
        let database = &*$store.database;
        let $sql = &database.statements;
        let mut attempt = 1;
        loop {
            #[allow(unused_mut, reason = "a shared connection is not changed")]
            let mut $lease = database.$take().await?;
            let $client = $of;
            let worked = tokio::time::timeout(database.options.timeout, $work).await;
            if let Some(answer) = database.settle(worked, $lease, attempt).await? {
                break answer;
            }
            attempt += 1;
        }
    }};
}
pub(crate) use call;

/// One prepared statement that gives at most one row.
pub(crate) async fn row(
    client: &ClientWrapper,
    statement: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Option<Row>, Fault> {
    let statement = client.prepare_cached(statement).await?;
    Ok(client.query_opt(&statement, values).await?)
}

/// What the URL says, and what we add where it says nothing.
fn configuration(url: &str, options: &PostgresOptions) -> Result<Config, ConnectError> {
    // The driver's error names the part that is wrong, and never a value.
    let mut config = Config::from_str(url).map_err(|error| ConnectError::Settings(said(&error)))?;
    if config.get_application_name().is_none() {
        config.application_name("gatekey");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(options.pool_timeout);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(options.timeout);
    }
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        // The system's two hours are too long to learn that a server is gone.
        config.keepalives_idle(Duration::from_secs(30));
    }
    // A statement that nobody waits for any more must not hold a lock. The words of the URL come later and so win.
    let ours = format!(
        "-c statement_timeout={millis} -c idle_in_transaction_session_timeout={millis} \
         -c default_transaction_isolation=read\\ committed",
        millis = options.timeout.as_millis(),
    );
    let theirs = config.get_options().unwrap_or_default();
    let both = format!("{ours} {theirs}");
    config.options(both.trim_end());
    Ok(config)
}

fn connector(config: &Config, options: &PostgresOptions) -> Result<Connector, ConnectError> {
    let mode = config.get_ssl_mode();
    if mode == SslMode::Require {
        return encrypted(options);
    }
    // `prefer`, or nothing said: a connection that is encrypted only if nobody objects protects from nobody.
    if mode == SslMode::Disable || is_local(config) {
        return Ok(Connector::Plain);
    }
    let problem = "the server is not on this machine: say sslmode=require, or sslmode=disable where the network is trusted";
    Err(ConnectError::Settings(problem.to_owned()))
}

#[cfg(feature = "tls")]
fn encrypted(options: &PostgresOptions) -> Result<Connector, ConnectError> {
    crate::tls::connector(options.root_certificates.as_deref()).map(Connector::Tls)
}

#[cfg(not(feature = "tls"))]
fn encrypted(_: &PostgresOptions) -> Result<Connector, ConnectError> {
    let problem = "sslmode=require needs the feature `tls` of gatekey-postgres (`postgres-tls` of gatekey)";
    Err(ConnectError::Settings(problem.to_owned()))
}

/// Whether the connection cannot leave this machine.
fn is_local(config: &Config) -> bool {
    let hosts = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    });
    let addresses = config.get_hostaddrs();
    if addresses.is_empty() { hosts } else { addresses.iter().all(IpAddr::is_loopback) }
}

/// Host, port and database: what an operator has to know, and nothing secret.
fn server(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
    };
    let port = config.get_ports().first().unwrap_or(&5432);
    let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or_default();
    format!("{host}:{port}/{database}")
}
