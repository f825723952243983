//! A client of Gatekey's endpoints: for services, command lines and the cores of mobile applications.
//!
//! It logs in, adds the access token to requests, and keeps the session alive. In a browser `gatekey.js` does the same by
//! the same rules:
//!
//! 1. A session is over when a refresh answers `invalid_grant`, and at no other sign. A server that is busy, down or out
//!    of reach has logged nobody out, and neither has what a proxy says in its place.
//! 2. One refresh at a time: whoever needs one waits for the one under way. It goes on when the one that wanted it has
//!    gone, since a dropped answer would be a lost token.
//! 3. A refresh whose answer is lost is repeated at once, while the server still repeats its answer (ten seconds). That it
//!    may be repeated is the server's doing; no lock is held, also not between processes.
//! 4. New tokens are kept ([`TokenStore`]) before they are used: a crash costs at most the refresh it interrupted.
//! 5. Time is what the server says is left, counted by a clock that nobody sets. The time of day is never asked.
//! 6. Credentials go to the origins that were named, over https or within this machine, and to no other; in the clear never
//!    through a proxy.
//!
//! ```no_run
//! use gatekey_client::{Client, Code, Error};
//!
//! # async fn run() -> Result<(), Error> {
//! let client = Client::builder("https://api.example.com/auth").build().await?;
//! match client.login("alice", "a long enough pass phrase").await {
//!     Ok(()) => {}
//!     Err(error) if error.code() == Some(&Code::InvalidCredentials) => {
//!         println!("the name or the password is wrong");
//!         return Ok(());
//!     }
//!     Err(error) => return Err(error),
//! }
//! let notes = client.get("https://api.example.com/notes").await?; // refreshes when it has to
//! println!("{}", notes.status());
//! client.logout().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A URL that would carry tokens in the clear is refused:
//!
//! ```
//! # use gatekey_client::Client;
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! assert!(Client::builder("http://127.0.0.1:3000/auth").build().await.is_ok());
//! assert!(Client::builder("http://api.example.com/auth").build().await.is_err());
//! # });
//! ```
//!
//! **Several processes on one store** each look into it before they refresh, and take over what another one has saved. Two
//! that refresh at the same moment get the same answer. What they must not do is to keep two copies: the older one is a
//! used token, and the server takes whoever presents it late for a thief.
//!
//! **A process that stops between a refresh and its answer** and comes back after the grace presents a used token, too. It
//! has to log in again, unless the server has the resilient policy, which is for such clients.

mod builder;
mod error;
mod renew;
mod tokens;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{
    IntoUrl, Method, Request, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE},
};
use serde_json::json;
use tokio::sync::watch;

use self::renew::{Answer, Held, Inner};
pub use self::{
    builder::Builder,
    error::{Code, Error, Refusal},
    tokens::{MemoryStore, StoreError, TokenStore, Tokens},
};

/// How long a login or a logout may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Requests for one call: with the tokens at hand, with those that another process had saved, with refreshed ones.
const ATTEMPTS: usize = 3;

/// A client, and the session it holds. Clones share both; a program needs one for each account it acts for.
///
/// It needs a tokio runtime with time and I/O.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

/// Who is logged in, as far as this client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Nobody.
    LoggedOut,
    /// Somebody, in this session.
    LoggedIn {
        /// As in `GET /auth/sessions`.
        session_id: String,
    },
    /// Nobody any more: the server has ended the session. It expired, was revoked, or its tokens were used twice.
    Ended,
}

impl Client {
    /// A client for the endpoints at this URL, such as `https://api.example.com/auth`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    /// Logs in with a name and a password. A session that this client had before goes on at the server; log out first to
    /// end it.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: `invalid_credentials`, or `rate_limited`. [`Error::Store`]: the tokens could not be kept. Nothing
    /// has changed here then.
    pub async fn login(&self, username: &str, password: &str) -> Result<(), Error> {
        self.inner.new_era();
        let body = json!({ "username": username, "password": password });
        let answer: Answer = self.inner.post("/login", &body, TIMEOUT).await?;
        let inner = Arc::clone(&self.inner);
        detached(async move { inner.granted(answer).await }).await
    }

    /// Ends the session on the server, and forgets its tokens. Does nothing where nobody is logged in.
    ///
    /// # Errors
    ///
    /// Where the server could not be asked, or another one has answered; then the session goes on. [`Error::Store`]: where
    /// [`status`](Self::status) says that it goes on, the store could not be read; else it is over, and the store may still
    /// have its tokens.
    pub async fn logout(&self) -> Result<(), Error> {
        self.inner.new_era();
        let inner = Arc::clone(&self.inner);
        detached(async move { inner.logout().await }).await
    }

    /// Sends a GET with the access token; see [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn get(&self, url: impl IntoUrl) -> Result<Response, Error> {
        self.send(self.request(Method::GET, url)).await
    }

    /// A request of this client's HTTP client, which follows no redirects; for [`send`](Self::send). One of another
    /// `reqwest::Client` does as well; but what takes a token to plain `http` is sent by this client's own.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        self.inner.http.request(method, url)
    }

    /// Sends a request with the access token, which is refreshed when it is about to end.
    ///
    /// A `401` that says `invalid_token` ([RFC 6750 section 3.1](https://www.rfc-editor.org/rfc/rfc6750#section-3.1)) is
    /// answered by a refresh, and the request is repeated once with the new token. It was refused before anything was done,
    /// so that is safe for every method. A body that is a stream cannot be repeated: then the `401` is returned, and the
    /// next request has the new token. Every other answer is returned as it is, `403` and `503` too.
    ///
    /// No token is added where nobody is logged in, where the request has an `Authorization` of its own, or where it goes to
    /// an origin that was not named.
    ///
    /// # Errors
    ///
    /// Where the request has no answer ([`Error::Transport`]); and what the refresh says that it needed: while that is
    /// refused as `rate_limited` or `temporarily_unavailable` the session goes on, and after
    /// [`invalid_grant`](Error::session_ended) it is over.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let (http, request) = request.build_split();
        let mut request = request.map_err(Error::transport)?;
        let own = request.headers().contains_key(AUTHORIZATION);
        let mut held = if own || !self.inner.is_ours(request.url()) { None } else { self.usable().await? };
        // In the clear a token stays on this machine, whatever proxy the other client would take.
        let in_the_clear = held.is_some() && request.url().scheme() == "http";
        let http = if in_the_clear { self.inner.plain.clone() } else { http };
        let mut last = false;
        for attempt in 1.. {
            let Some(current) = held else { break };
            let again = request.try_clone();
            authorize(&mut request, &current.tokens.access_token)?;
            let response = http.execute(request).await.map_err(Error::transport)?;
            if last || attempt == ATTEMPTS || !is_invalid_token(&response) {
                return Ok(response);
            }
            held = self.inner.renew(current.turn).await?;
            last = held.as_ref().is_some_and(Held::is_from_the_server);
            match again {
                Some(again) if held.is_some() => request = again,
                _ => return Ok(response),
            }
        }
        http.execute(request).await.map_err(Error::transport)
    }

    /// The access token, refreshed when it is about to end: for what is not sent by reqwest. None where nobody is logged
    /// in. Ask anew for each request, and [`refresh`](Self::refresh) where it is refused as `invalid_token`.
    ///
    /// # Errors
    ///
    /// As [`refresh`](Self::refresh).
    pub async fn access_token(&self) -> Result<Option<String>, Error> {
        Ok(self.usable().await?.map(|held| held.tokens.access_token.clone()))
    }

    /// Refreshes now; [`send`](Self::send) does it by itself. Does nothing where nobody is logged in.
    ///
    /// # Errors
    ///
    /// What the server says; the session is over if that is [`invalid_grant`](Error::session_ended), and else goes on.
    pub async fn refresh(&self) -> Result<(), Error> {
        match self.inner.held() {
            Some(held) => self.inner.renew(held.turn).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Who is logged in.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.status.borrow().clone()
    }

    /// The same, as something to wait for: `changed().await` returns when somebody logs in or out, or the session ends.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.inner.status.subscribe()
    }

    /// Tokens to send a request with.
    async fn usable(&self) -> Result<Option<Held>, Error> {
        let Some(held) = self.inner.held() else { return Ok(None) };
        if !held.is_due() || (held.is_good() && self.inner.rests()) {
            return Ok(Some(held));
        }
        match self.inner.renew(held.turn).await {
            // Ahead of time: the present one does for a while.
            Err(error) if !error.session_ended() && held.is_good() => Ok(Some(held)),
            renewed => renewed,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        f.debug_struct("Client")
            .field("url", &self.inner.root)
            .field("status", &status)
            .finish_non_exhaustive()
    }
}

/// Runs to its end, also where nobody waits for it any more.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.unwrap_or(Err(Error::Interrupted))
}

fn authorize(request: &mut Request, token: &str) -> Result<(), Error> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(Error::store)?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(())
}

/// Wrong passwords and logins that are too old are 401 as well; a refresh would not mend them.
fn is_invalid_token(response: &Response) -> bool {
    let said = |value: &HeaderValue| {
        let value = String::from_utf8_lossy(value.as_bytes()).replace('"', "");
        value.split([',', ' ']).any(|part| part == "error=invalid_token")
    };
    response.status() == StatusCode::UNAUTHORIZED
        && response.headers().get_all(WWW_AUTHENTICATE).iter().any(said)
}

/// Nothing is left half done under these locks, so that a panic elsewhere has spoiled nothing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
