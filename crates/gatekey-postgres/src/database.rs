//! The server: how it is reached, how long anything may take, and what is tried again.

use std::{net::IpAddr, str::FromStr, time::Duration};

use deadpool_postgres::{ClientWrapper, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use gatekey_core::store::StoreError;
use tokio::time::{error::Elapsed, sleep};
use tokio_postgres::{
    Config, Row,
    config::{Host, SslMode},
    types::ToSql,
};

use crate::{
    ConnectError, PostgresOptions,
    connector::{AtHome, Connector},
    fault::{Fault, said},
    names::Names,
    schema::{self, Refused},
    statements::Statements,
};

/// How often a call that lost a race is made, in all. Each pause before it is twice the last.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(4);

/// A server and our tables in it.
pub(crate) struct Database {
    pub(crate) pool: Pool,
    /// For connections beside the pool.
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
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(config.clone(), AtHome::new(connector.clone()), manager_config);
        let unusable = |cause: String| ConnectError::Unusable { server: server.clone(), cause };
        let pool = Pool::builder(manager)
            .max_size(options.pool_size)
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
        Ok(Self { pool, config, connector, names, statements, options, server })
    }

    /// What became of one attempt of a call: its answer, an error, or `None` if it is to be made again.
    pub(crate) async fn settle<T>(
        &self,
        worked: Result<Result<T, Fault>, Elapsed>,
        client: Object,
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
                drop(client);
                sleep(FIRST_PAUSE * 2_u32.saturating_pow(attempt - 1)).await;
                Ok(None)
            }
            Fault::Unavailable(_) => {
                // Whatever it was may hang on this connection: the next call gets another one.
                drop(Object::take(client));
                Err(fault.into())
            }
            Fault::Raced(_) | Fault::Corrupt(_) => Err(fault.into()),
        }
    }
}

/// Makes a call: with a connection, within its time, and again where the server says that it lost a race. Its value is
/// the answer; an error leaves the calling function.
///
/// A macro and no function that takes a closure: the compiler cannot show that the future of one that borrows is
/// `Send` (rust-lang/rust#110338).
macro_rules! call {
    ($store:expr, |$client:ident, $sql:ident| $work:expr) => {{
        let database = &*$store.database;
        let $sql = &database.statements;
        let mut attempt = 1;
        loop {
            let mut lease = database.pool.get().await.map_err(crate::fault::Fault::from)?;
            let $client = &mut *lease;
            let worked = tokio::time::timeout(database.options.timeout, $work).await;
            if let Some(answer) = database.settle(worked, lease, attempt).await? {
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
