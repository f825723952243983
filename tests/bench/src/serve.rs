//! The server that HTTP rows start: Gatekey as an application mounts it, in each framework, and beside it a route that
//! nobody guards.
//!
//! `GET /bare` and `GET /mine` answer the same bytes; the second asks who it is. With `--bare` Gatekey is not even built.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use actix_web::{App, HttpServer, web};
use gatekey::{
    Argon2Params, Clock as _, Gatekey, GatekeyBuilder, Keys, Limits, MemoryStore, NewUser, PoolSize,
    PostgresStore, RedisStore, SessionStore, SqliteStore, SubjectId, SystemClock, UserStore, Username,
    actix::Authenticated as ActixUser,
    axum::Authenticated as AxumUser,
    rocket::{Authenticated as RocketUser, Fairing},
};
use gatekey_core::{password::PasswordHasher, random::SystemRandom};
use lexopt::prelude::{Long, ValueExt};
use rocket::{config::LogLevel, fairing::AdHoc, get, routes};
use tokio::net::TcpListener;

use crate::{
    issue::{NAME, password, settle},
    measure::Fault,
};

/// What both routes answer: the guarded one by the name that its guard tells, the bare one by what it knows anyway.
fn answer(name: &str) -> String {
    format!("hello {name}")
}

struct Options {
    framework: String,
    store: String,
    keys: PathBuf,
    threads: usize,
    hash_threads: Option<usize>,
    limits: bool,
    token_cache: Option<usize>,
    bare: bool,
}

impl Options {
    fn read() -> Result<Self, Fault> {
        let mut options = Self {
            framework: "axum".to_owned(),
            store: "memory".to_owned(),
            keys: PathBuf::new(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            hash_threads: None,
            limits: false,
            token_cache: None,
            bare: false,
        };
        let mut arguments = lexopt::Parser::from_args(std::env::args_os().skip(2));
        while let Some(argument) = arguments.next()? {
            let Long(name) = argument else { return Err(argument.unexpected().into()) };
            match name {
                "framework" => options.framework = arguments.value()?.string()?,
                "store" => options.store = arguments.value()?.string()?,
                "keys" => options.keys = arguments.value()?.into(),
                "threads" => options.threads = arguments.value()?.parse()?,
                "hash-threads" => options.hash_threads = Some(arguments.value()?.parse()?),
                "limits" => options.limits = true,
                "token-cache" => options.token_cache = Some(arguments.value()?.parse()?),
                "bare" => options.bare = true,
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }

    async fn gatekey(&self) -> Result<Gatekey, Fault> {
        let mut builder = Gatekey::builder().keys(Keys::load(&self.keys)?).trusted_proxy("127.0.0.1");
        builder = builder.configure(|config| {
            settle(config);
            if self.limits {
                config.limits = Limits::default();
            }
            if let Some(tokens) = self.token_cache {
                config.token_cache = tokens;
            }
            if let Some(threads) = self.hash_threads {
                config.hashing = PoolSize { threads, queue: threads * 64 };
            }
        });
        let builder = match self.store.split_once(':') {
            None if self.store == "memory" => with_user(builder, MemoryStore::new()).await?,
            Some(("sqlite", path)) => with_user(builder, SqliteStore::open(path).await?).await?,
            Some(("postgres" | "postgresql", _)) => {
                with_user(builder, PostgresStore::connect(&self.store).await?).await?
            }
            Some(("redis" | "rediss", _)) => {
                with_user(builder, RedisStore::connect(&self.store).await?).await?
            }
            _ => return Err("no such store".into()),
        };
        Ok(builder.build().await?)
    }
}

/// Mounts the store, with the account in it.
async fn with_user<S>(builder: GatekeyBuilder, store: S) -> Result<GatekeyBuilder, Fault>
where
    S: SessionStore + UserStore,
{
    let name = Username::new(NAME).map_err(|rule| rule.name())?;
    if store.find_by_name(&name).await?.is_none() {
        let one = PoolSize { threads: 1, queue: 1 };
        let hasher = PasswordHasher::start(Argon2Params::default(), one, Arc::new(SystemRandom))?;
        let hash = hasher.hash(password()).await.map_err(|_| "the password was not hashed")?;
        let user = NewUser {
            id: SubjectId::new("the-account-of-alice"),
            username: name,
            password_hash: hash,
            created_at: SystemClock.now(),
        };
        store.create(user).await?;
    }
    Ok(builder.store(store))
}

fn ready(address: SocketAddr) {
    println!("ready http://{address}");
}

pub(crate) fn run() -> Result<(), Fault> {
    let options = Options::read()?;
    match options.framework.as_str() {
        "axum" => in_axum(&options),
        "actix" => in_actix(&options),
        "rocket" => in_rocket(&options),
        other => Err(format!("{other:?} is not a framework here").into()),
    }
}

fn runtime(options: &Options) -> Result<tokio::runtime::Runtime, Fault> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(options.threads).thread_name("gatekey-server").enable_all().build()?)
}

fn in_axum(options: &Options) -> Result<(), Fault> {
    use axum::{Router, routing::get};

    runtime(options)?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let bare = Router::new().route("/bare", get(async || answer(NAME)));
        let app = if options.bare {
            bare
        } else {
            let gatekey = options.gatekey().await?;
            let mine = get(async |user: AxumUser| answer(user.username()));
            let own: Router<Gatekey> =
                Router::new().route("/mine", mine).merge(gatekey::axum::routes(&gatekey));
            own.with_state(gatekey).merge(bare)
        };
        ready(listener.local_addr()?);
        gatekey::axum::serve(listener, app).await?;
        Ok(())
    })
}

fn in_actix(options: &Options) -> Result<(), Fault> {
    actix_web::rt::System::with_tokio_rt(|| {
        // actix-web's own; the authority's tasks run there too.
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => panic!("no runtime: {error}"),
        }
    })
    .block_on(async {
        let gatekey = options.gatekey().await?;
        let server = HttpServer::new(move || {
            App::new()
                .configure(gatekey::actix::routes(&gatekey))
                .route("/bare", web::get().to(async || answer(NAME)))
                .route("/mine", web::get().to(async |user: ActixUser| answer(user.username())))
        })
        .workers(options.threads)
        .bind("127.0.0.1:0")?;
        for address in server.addrs() {
            ready(address);
        }
        server.run().await?;
        Ok(())
    })
}

#[get("/bare")]
fn bare() -> String {
    answer(NAME)
}

#[get("/mine")]
fn mine(user: RocketUser) -> String {
    answer(user.username())
}

fn in_rocket(options: &Options) -> Result<(), Fault> {
    runtime(options)?.block_on(async {
        let gatekey = options.gatekey().await?;
        // Rocket does not tell a port that the system chose.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = rocket::Config {
            port,
            log_level: LogLevel::Off,
            workers: options.threads,
            ..rocket::Config::release_default()
        };
        rocket::custom(config)
            .mount("/", routes![bare, mine])
            .attach(Fairing::new(gatekey))
            .attach(AdHoc::on_liftoff("ready", |rocket| {
                Box::pin(async move { ready(SocketAddr::new(rocket.config().address, rocket.config().port)) })
            }))
            .launch()
            .await
            .map_err(|error| error.kind().to_string())?;
        Ok(())
    })
}
