//! Access tokens by HS256, which a layer verifies: no revocation, no refresh. On axum 0.7, which its newest release takes.

use std::time::{SystemTime, UNIX_EPOCH};

use axum_of_jwt_authorizer::{
    Router,
    routing::{get, post},
};
use jsonwebtoken::{EncodingKey, Header};
use jwt_authorizer::{Authorizer, IntoLayer, JwtAuthorizer, JwtClaims, Validation};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::{Fault, answer, logged_in, random, ready};

const ISSUER: &str = "https://auth.test";

/// What its guide reads of the claims.
#[derive(Clone, Debug, Deserialize)]
struct User {
    sub: String,
}

pub(crate) async fn serve() -> Result<(), Fault> {
    let secret = random(32)?;
    let authorizer: Authorizer<User> = JwtAuthorizer::from_secret(&secret)
        .validation(Validation::new().iss(&[ISSUER]).aud(&[ISSUER]))
        .build()
        .await?;
    let key = EncodingKey::from_secret(secret.as_bytes());
    let app = Router::new()
        .route("/mine", get(|JwtClaims(user): JwtClaims<User>| async move { answer(&user.sub) }))
        .layer(authorizer.into_layer())
        .route("/auth/login", post(|| async move { log_in(&key).map_err(|error| error.to_string()) }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    ready(listener.local_addr()?);
    axum_of_jwt_authorizer::serve(listener, app).await?;
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "this server has no clock of ours to ask")]
fn log_in(key: &EncodingKey) -> Result<String, Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = serde_json::json!({
        "sub": "alice", "iss": ISSUER, "aud": ISSUER, "iat": now, "exp": now + 24 * 3600, "jti": random(16)?,
        "username": "alice", "roles": [],
    });
    Ok(logged_in(&jsonwebtoken::encode(&Header::default(), &claims, key)?))
}
