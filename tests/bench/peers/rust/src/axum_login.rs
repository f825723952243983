//! Sessions in the memory of the server, found by a cookie, and the account of each read at each request: no tokens.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use axum_login::{AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend};
use tokio::net::TcpListener;
use tower_sessions::{MemoryStore, SessionManagerLayer};

use crate::{Fault, answer, logged_in, random, ready};

#[derive(Clone, Debug)]
struct User {
    name: String,
    password_hash: String,
}

impl AuthUser for User {
    type Id = String;

    fn id(&self) -> String {
        self.name.clone()
    }

    fn session_auth_hash(&self) -> &[u8] {
        self.password_hash.as_bytes()
    }
}

/// The accounts, in memory too.
#[derive(Clone, Debug)]
struct Users(Arc<HashMap<String, User>>);

impl AuthnBackend for Users {
    type User = User;
    type Credentials = String;
    type Error = Infallible;

    async fn authenticate(&self, name: String) -> Result<Option<User>, Infallible> {
        self.get_user(&name).await
    }

    async fn get_user(&self, name: &String) -> Result<Option<User>, Infallible> {
        Ok(self.0.get(name).cloned())
    }
}

pub(crate) async fn serve() -> Result<(), Fault> {
    let alice = User { name: "alice".to_owned(), password_hash: random(32)? };
    let users = Users(Arc::new(HashMap::from([(alice.name.clone(), alice)])));
    let sessions = SessionManagerLayer::new(MemoryStore::default());
    let layer = AuthManagerLayerBuilder::new(users, sessions).build();
    let app = Router::new().route("/mine", get(mine)).route("/auth/login", post(log_in)).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    ready(listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn mine(session: AuthSession<Users>) -> Result<String, StatusCode> {
    session.user.map(|user| answer(&user.name)).ok_or(StatusCode::UNAUTHORIZED)
}

async fn log_in(mut session: AuthSession<Users>) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let user = session.authenticate("alice".to_owned()).await.map_err(|error| failed(&error))?;
    session.login(&user.ok_or("no such account")?).await.map_err(|error| failed(&error))?;
    // The layer sets the cookie on the way out; its value is known once the session has been saved.
    session.session.save().await.map_err(|error| failed(&error))?;
    let id = session.session.id().ok_or("the session has no name")?;
    Ok(logged_in(&format!("id={id}")))
}
