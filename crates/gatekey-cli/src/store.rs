//! Opening the application's store, by the same URLs everywhere: `sqlite:PATH`, `postgres://…`, `redis://…`. After a `#`
//! stands the schema or the prefix where the application has its own.
//!
//! A store is opened as it is: where it is missing or of an older version, only `gatekey migrate` changes that.

use std::{path::Path, sync::Arc};

use gatekey::{
    PostgresConnectError, PostgresOptions, RedisOptions, SessionStore, SqliteOpenError, SqliteOptions,
    SubjectId, User, UserStore, Username,
};

use crate::{Failure, commands::Invocation};

/// A store, seen as its two parts.
pub(crate) struct Store {
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) users: Arc<dyn UserStore>,
}

/// Why a store was not opened.
pub(crate) enum Unopened {
    /// It is not there, or of an older version: what a migration mends.
    Missing(String),
    /// Anything else.
    Otherwise(Failure),
}

impl Store {
    fn of(store: impl SessionStore + UserStore) -> Self {
        let store = Arc::new(store);
        Self { sessions: store.clone(), users: store }
    }

    /// Opens what `--store` or `GATEKEY_STORE` names.
    pub(crate) async fn open(invocation: &Invocation) -> Result<Self, Failure> {
        Self::open_url(&url(invocation)?, false).await.map_err(|unopened| match unopened {
            Unopened::Missing(why) => Failure::Unavailable(format!("{why}; gatekey migrate makes it")),
            Unopened::Otherwise(failure) => failure,
        })
    }

    /// Opens a URL; makes the tables and brings them up to date where that is wanted.
    pub(crate) async fn open_url(url: &str, migrate: bool) -> Result<Self, Unopened> {
        let unavailable = |error: String| Unopened::Otherwise(Failure::Unavailable(error));
        match url.split_once(':') {
            Some(("sqlite", path)) => {
                if !migrate && !Path::new(path).exists() {
                    return Err(Unopened::Missing(format!("the store {path:?} does not exist")));
                }
                let store = SqliteOptions::default().migrate(migrate).open(path).await;
                store.map(Self::of).map_err(|error| {
                    let older = matches!(error, SqliteOpenError::OlderSchema { .. });
                    if older { Unopened::Missing(error.to_string()) } else { unavailable(error.to_string()) }
                })
            }
            Some(("postgres" | "postgresql", _)) => {
                let (url, schema) = url.split_once('#').unwrap_or((url, "public"));
                // One command makes one call at a time.
                let options = PostgresOptions::default().pool_size(1).schema(schema).migrate(migrate);
                options.connect(url).await.map(Self::of).map_err(|error| {
                    if matches!(error, PostgresConnectError::Settings(_)) {
                        return Unopened::Otherwise(Failure::Usage(error.to_string()));
                    }
                    let older =
                        matches!(error, PostgresConnectError::Schema { found, known, .. } if found < known);
                    if older { Unopened::Missing(error.to_string()) } else { unavailable(error.to_string()) }
                })
            }
            Some(("redis" | "rediss", _)) => {
                let (urls, prefix) = url.split_once('#').unwrap_or((url, "gatekey"));
                let options = RedisOptions::default().prefix(format!("{prefix}:"));
                let store = match urls.split_once(',') {
                    Some(_) => options.connect_cluster(urls.split(',')).await,
                    None => options.connect(urls).await,
                };
                store.map(Self::of).map_err(|error| unavailable(error.to_string()))
            }
            // Nothing of it is repeated: a URL may hold a password.
            _ => {
                let problem = "the store is none of sqlite:PATH, postgres://…, redis://…";
                Err(Unopened::Otherwise(Failure::Usage(problem.to_owned())))
            }
        }
    }

    /// The account of a name.
    pub(crate) async fn user(&self, name: &str) -> Result<User, Failure> {
        let unknown = || Failure::Refused(format!("no account is named {name:?}"));
        let username = Username::new(name).map_err(|_| unknown())?;
        self.users.find_by_name(&username).await?.ok_or_else(unknown)
    }

    /// The subject that `--user` or `--subject` names.
    pub(crate) async fn subject(&self, invocation: &Invocation) -> Result<Option<SubjectId>, Failure> {
        match (invocation.text("user")?, invocation.text("subject")?) {
            (None, None) => Ok(None),
            (Some(name), None) => Ok(Some(self.user(name).await?.id)),
            (None, Some(id)) => Ok(Some(SubjectId::new(id))),
            (Some(_), Some(_)) => Err(Failure::Usage("--user and --subject at once".to_owned())),
        }
    }
}

/// What `--store` or `GATEKEY_STORE` says.
pub(crate) fn url(invocation: &Invocation) -> Result<String, Failure> {
    if let Some(url) = invocation.text("store")? {
        return Ok(url.to_owned());
    }
    let set = std::env::var("GATEKEY_STORE").ok().filter(|url| !url.is_empty());
    set.ok_or_else(|| Failure::Usage("which store? Give --store URL or set GATEKEY_STORE".to_owned()))
}
