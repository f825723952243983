//! Secure login for Rust web applications: passwords, short-lived access tokens, rotating refresh tokens with reuse
//! detection, sessions to list and revoke, throttling, cookies with CSRF protection.
//!
//! Choose an adapter and a store by feature; everything else has a safe default.
//!
//! ```no_run
//! # #[cfg(all(feature = "axum", feature = "sqlite"))]
//! # mod example {
//! use axum::{Router, routing::get};
//! use gatekey::{Gatekey, Keys, SqliteStore, axum::Authenticated};
//!
//! # async fn admin() {}
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let gatekey = Gatekey::builder()
//!     .issuer("https://app.example.com")
//!     .keys(Keys::from_env()?)                        // or Keys::load_or_create("gatekey.keys")?
//!     .store(SqliteStore::open("app.db").await?)
//!     .build().await?;
//!
//! let app = Router::new()
//!     .route("/me", get(async |user: Authenticated| format!("hello {}", user.username())))
//!     .route("/admin", get(admin).route_layer(gatekey::axum::require_role(&gatekey, "admin")))
//!     .merge(gatekey::axum::routes(&gatekey))         // /auth/*, /.well-known/*
//!     .with_state(gatekey);                           // or any state S where Gatekey: FromRef<S>
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! gatekey::axum::serve(listener, app).await?;
//! # Ok(())
//! # }
//! # }
//! ```
//!
//! The same in actix-web:
//!
//! ```no_run
//! # #[cfg(feature = "actix")]
//! # mod example {
//! use actix_web::{App, HttpServer, Responder, get, web};
//! use gatekey::{Gatekey, actix::{Authenticated, RequireAuth}};
//!
//! #[get("/me")]
//! async fn me(user: Authenticated) -> impl Responder {
//!     format!("hello {}", user.username())
//! }
//!
//! # #[get("")]
//! # async fn posts() -> &'static str { "" }
//! # async fn run(gatekey: Gatekey) -> std::io::Result<()> {
//! HttpServer::new(move || {
//!     App::new()
//!         .configure(gatekey::actix::routes(&gatekey))
//!         .service(me)
//!         .service(web::scope("/api").wrap(RequireAuth::role(&gatekey, "editor")).service(posts))
//! })
//! # .bind("127.0.0.1:3000")?.run().await
//! # }
//! # }
//! ```
//!
//! And in Rocket:
//!
//! ```no_run
//! # #[cfg(feature = "rocket")]
//! # mod example {
//! use gatekey::{Gatekey, Role, rocket::{Authenticated, Fairing, WithRole}};
//! use rocket::{get, routes};
//!
//! struct Admin;
//!
//! impl Role for Admin {
//!     const NAME: &'static str = "admin";
//! }
//!
//! #[get("/me")]
//! fn me(user: Authenticated) -> String {
//!     format!("hello {}", user.username())
//! }
//!
//! #[get("/admin")]
//! fn admin(user: WithRole<Admin>) -> String {
//!     format!("hello {}", user.username())
//! }
//!
//! # async fn run(gatekey: Gatekey) -> Result<(), rocket::Error> {
//! rocket::build()
//!     .mount("/", routes![me, admin])
//!     .attach(Fairing::new(gatekey))                  // mounts /auth, writes refusals
//! #   .launch().await.map(drop)
//! # }
//! # }
//! ```
//!
//! A service of tower (hyper, tonic) is guarded by a layer:
//!
//! ```no_run
//! # #[cfg(feature = "tower")]
//! # mod example {
//! use gatekey::{Gatekey, Requirement, tower::GuardLayer};
//!
//! # fn layer<B: From<bytes::Bytes>>(gatekey: &Gatekey) -> GuardLayer<B> {
//! let peer = |extensions: &http::Extensions| extensions.get::<std::net::SocketAddr>().map(|peer| peer.ip());
//! GuardLayer::new(gatekey, Requirement::authenticated().role("admin"), peer)
//! # }
//! # }
//! ```
//!
//! A service that only takes tokens which are issued elsewhere has a [`Verifier`] instead, and the same guards:
//!
//! ```no_run
//! # #[cfg(all(feature = "axum", feature = "jwks-http"))]
//! # mod example {
//! use axum::{Router, routing::get};
//! use gatekey::{JwksUrl, Verifier, axum::Authenticated};
//!
//! # async fn run() -> Result<Router, Box<dyn std::error::Error>> {
//! let verifier = Verifier::builder()
//!     .issuer("https://app.example.com")
//!     .audience("https://api.example.com")
//!     .source(JwksUrl::new("https://app.example.com/auth/jwks.json")?)
//!     .build().await?;
//!
//! let app = Router::new()
//!     .route("/notes", get(async |user: Authenticated| format!("the notes of {}", user.username())))
//!     .with_state(verifier);
//! # Ok(app)
//! # }
//! # }
//! ```

#[cfg(feature = "actix")]
pub use gatekey_actix as actix;
#[cfg(feature = "axum")]
pub use gatekey_axum as axum;
pub use gatekey_core::{
    Authority, Gate, Tokens,
    access::{Check, Expectation, Finding, Inspection, Principal, TokenShape, inspect},
    async_trait,
    config::{Config, ConfigError},
    error::{AuthError, ClientRefusal, GrantRefusal, LoginRefusal, TokenError},
    event::{Event, EventKind, EventSink},
    introspection::IntrospectionClient,
    keys::{
        Algorithm, KeyError, KeyInfo, KeyOverlap, KeyPurpose, KeyRing, KeyState, Keys, PUBLISH_FOR,
        SigningKey, VerifyingKey,
    },
    limit::{Limits, ThrottleStore},
    password::{Argon2Params, PasswordHash, PasswordPolicy, PoolSize},
    random::{Random, RandomFailed, SystemRandom},
    revocation::{FeedConfig, WhenLost},
    rotation::Policy,
    secret::Secret,
    session::{Client, EndReason, Session, SessionId, SubjectId},
    store::{Account, SessionStore, StoreError, UserStore, memory::MemoryStore},
    time::{Clock, SystemClock, Timestamp},
    user::{BreachCheck, ClaimsSource, NewUser, Rule, User, UserChange, Username},
    verifier::{KeySource, KeySourceError},
};
pub use gatekey_http::{
    Caller, FRESH_SECS, Form, ForwardedField, FreshLogin, Gatekey, GatekeyBuilder, HasRole, HasScope,
    LeavesTheSite, Page, PageFields, Pages, Reply, Require, Requirement, ReturnTo, Role, Scope, ValidToken,
    Verifier, VerifierBuilder, js,
};
#[cfg(feature = "jwks-http")]
pub use gatekey_jwks::JwksUrl;
#[cfg(feature = "postgres")]
pub use gatekey_postgres::{ConnectError as PostgresConnectError, PostgresOptions, PostgresStore};
#[cfg(feature = "redis")]
pub use gatekey_redis::{ConnectError as RedisConnectError, RedisOptions, RedisStore};
#[cfg(feature = "rocket")]
pub use gatekey_rocket as rocket;
#[cfg(feature = "sqlite")]
pub use gatekey_sqlite::{Durability, OpenError as SqliteOpenError, SqliteOptions, SqliteStore};
#[cfg(feature = "tower")]
pub use gatekey_tower as tower;

/// The README's program, compiled with the tests.
#[cfg(all(doctest, feature = "axum", feature = "sqlite"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
