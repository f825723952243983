//! The session: when it is refreshed, what becomes of the answer, and when it is over.
//!
//! All that changes it goes through one gate, one after the other: a login, a logout, a refresh. A refresh under the gate
//!
//! 1. looks into the store first: another process may have refreshed, or logged out;
//! 2. presents the refresh token, and repeats that while the server repeats its answer;
//! 3. looks into the store again, and keeps what came unless somebody else has put something newer there;
//! 4. only then lets the new tokens be used.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{
    StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::sync::watch;
use zeroize::Zeroize;

use crate::{Code, Error, Refusal, Status, TIMEOUT, TokenStore, Tokens, error::body, locked};

/// One try of a refresh. The server repeats its answer for ten seconds: it is given up in time for another try.
const TRY: Duration = Duration::from_secs(8);
/// No further try after that, counted from the first.
const GRACE: Duration = Duration::from_secs(10);
/// A wait that is longer is the caller's.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// After a refresh that failed, where the server said nothing about when.
const REST: Duration = Duration::from_secs(1);
/// Refreshes ahead of time that fail one after the other keep at most this distance: nobody needs them yet.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What the server grants ([RFC 6749 section 5.1](https://www.rfc-editor.org/rfc/rfc6749#section-5.1)).
#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    tokens: Tokens,
    expires_in: u64,
}

/// The tokens at hand.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) tokens: Arc<Tokens>,
    /// Which tokens these are: each that come have another number.
    pub(crate) turn: u64,
    /// Not known of tokens from the store.
    life: Option<Life>,
    /// Whether the store has failed to keep them.
    unsaved: bool,
}

#[derive(Clone, Copy)]
struct Life {
    due: Instant,
    end: Instant,
}

impl Life {
    /// Early enough for a second try, and not in all processes at once.
    fn of(seconds: u64, now: Instant) -> Self {
        // A year is enough for anyone, and no sum of times overflows.
        let whole = Duration::from_secs(seconds.min(31_536_000));
        let ahead = (whole / 5).min(Duration::from_secs(60)).mul_f64(1.0 + chance());
        Self { due: now + whole.saturating_sub(ahead), end: now + whole }
    }
}

impl Held {
    /// Whether it is time for new ones.
    pub(crate) fn is_due(&self) -> bool {
        self.unsaved || self.life.is_some_and(|life| Instant::now() >= life.due)
    }

    /// Whether they do for a while all the same.
    pub(crate) fn is_good(&self) -> bool {
        !self.unsaved && self.life.is_some_and(|life| Instant::now() < life.end)
    }

    pub(crate) fn is_from_the_server(&self) -> bool {
        self.life.is_some()
    }
}

type Renewed = Result<Option<Held>, Error>;

#[derive(Default)]
struct State {
    held: Option<Held>,
    turns: u64,
    /// The refresh token before the one at hand.
    replaced: String,
    /// The refresh under way.
    running: Option<watch::Receiver<Option<Renewed>>>,
    /// No refresh before that, and why.
    held_off: Option<(Instant, Error)>,
    /// Refreshes that failed in a row.
    failures: u32,
    /// No refresh ahead of time before that.
    ahead: Option<Instant>,
}

/// What clones of a client share.
pub(crate) struct Inner {
    pub(crate) http: reqwest::Client,
    /// For origins of plain http: it takes no proxy.
    pub(crate) plain: reqwest::Client,
    pub(crate) root: String,
    origins: Vec<Url>,
    store: Arc<dyn TokenStore>,
    pub(crate) status: watch::Sender<Status>,
    state: Mutex<State>,
    gate: tokio::sync::Mutex<()>,
    /// How often somebody wanted to log in or out: a refresh then makes no further try.
    era: AtomicU64,
}

impl Inner {
    pub(crate) async fn new(
        http: reqwest::Client,
        plain: reqwest::Client,
        root: String,
        origins: Vec<Url>,
        store: Arc<dyn TokenStore>,
    ) -> Result<Self, Error> {
        let stored = store.load().await.map_err(Error::store)?;
        let inner = Self {
            http,
            plain,
            root,
            origins,
            store,
            status: watch::Sender::new(Status::LoggedOut),
            state: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
            era: AtomicU64::default(),
        };
        if let Some(tokens) = stored {
            inner.take(tokens, None);
        }
        Ok(inner)
    }

    pub(crate) fn held(&self) -> Option<Held> {
        locked(&self.state).held.clone()
    }

    /// Whether tokens that do for a while are left at that, after refreshes that failed.
    pub(crate) fn rests(&self) -> bool {
        locked(&self.state).ahead.is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn is_ours(&self, url: &Url) -> bool {
        self.origins.iter().any(|origin| origin.origin() == url.origin())
    }

    pub(crate) fn new_era(&self) {
        self.era.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps what a login gave, then uses it.
    pub(crate) async fn granted(&self, answer: Answer) -> Result<(), Error> {
        let life = Life::of(answer.expires_in, Instant::now());
        let _gate = self.gate.lock().await;
        self.store.save(Some(&answer.tokens)).await.map_err(Error::store)?;
        self.take(answer.tokens, Some(life));
        Ok(())
    }

    pub(crate) async fn logout(&self) -> Result<(), Error> {
        let _gate = self.gate.lock().await;
        let Some(held) = self.held() else { return Ok(()) };
        // Another process may have newer ones, of another login even: those are whom the store means.
        let tokens = self.newer(&held).await?.unwrap_or_else(|| (*held.tokens).clone());
        let body = json!({ "refresh_token": tokens.refresh_token });
        match self.post_raw("/logout", &body, TIMEOUT, StatusCode::NO_CONTENT).await {
            Ok(_) => {}
            // There was nothing to end. A 401 without one of these is of a proxy, say.
            Err(Error::Refused(Refusal {
                status: 401,
                code: Code::Unauthenticated | Code::InvalidToken,
                ..
            })) => {}
            Err(error) => return Err(error),
        }
        let saved = match self.store.load().await {
            // Another process has logged in meanwhile.
            Ok(Some(stored)) if stored.session_id != tokens.session_id => Ok(()),
            Ok(_) => self.store.save(None).await,
            Err(error) => Err(error),
        };
        self.drop_tokens(Status::LoggedOut);
        saved.map_err(Error::store)
    }

    /// Refreshes, unless these tokens are replaced already. Gives those to go on with, or nothing where nobody is logged in.
    pub(crate) async fn renew(self: &Arc<Self>, turn: u64) -> Renewed {
        let mut running = {
            let mut state = locked(&self.state);
            if state.held.as_ref().is_none_or(|held| held.turn != turn && !held.unsaved) {
                return Ok(state.held.clone());
            }
            match &state.running {
                // A closed one was on a runtime that has ended.
                Some(running) if running.has_changed().is_ok() => running.clone(),
                _ => {
                    let (sender, receiver) = watch::channel(None);
                    let inner = Arc::clone(self);
                    tokio::spawn(async move {
                        let renewed = inner.renew_once(turn).await;
                        locked(&inner.state).running = None;
                        sender.send_replace(Some(renewed));
                    });
                    state.running.insert(receiver).clone()
                }
            }
        };
        match running.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(renewed)) => renewed.clone(),
            Ok(None) | Err(_) => Err(Error::Interrupted),
        }
    }

    async fn renew_once(&self, turn: u64) -> Renewed {
        let _gate = self.gate.lock().await;
        let held = {
            let state = locked(&self.state);
            let Some(held) = state.held.clone() else { return Ok(None) };
            if held.turn != turn && !held.unsaved {
                return Ok(Some(held));
            }
            if let Some((until, error)) = &state.held_off
                && Instant::now() < *until
            {
                return Err(error.clone());
            }
            held
        };
        if held.unsaved {
            return self.keep(held).await;
        }
        match self.store.load().await.map_err(Error::store)? {
            None => {
                self.drop_tokens(Status::LoggedOut);
                return Ok(None);
            }
            Some(stored) if self.is_news(&stored, &held) => return Ok(Some(self.take(stored, None))),
            Some(_) => {}
        }
        match self.exchange(&held.tokens).await {
            Ok(answer) => {
                let life = Life::of(answer.expires_in, Instant::now());
                // While the answer was on its way, somebody else may have logged out or refreshed once more.
                match self.store.load().await {
                    Ok(None) => {
                        self.drop_tokens(Status::LoggedOut);
                        return Ok(None);
                    }
                    Ok(Some(stored))
                        if self.is_news(&stored, &held)
                            && stored.refresh_token != answer.tokens.refresh_token =>
                    {
                        return Ok(Some(self.take(stored, None)));
                    }
                    Ok(Some(_)) | Err(_) => {}
                }
                let tokens = answer.tokens;
                match self.store.save(Some(&tokens)).await {
                    Ok(()) => Ok(Some(self.take(tokens, Some(life)))),
                    Err(error) => {
                        self.take(tokens, Some(life));
                        if let Some(held) = &mut locked(&self.state).held {
                            held.unsaved = true;
                        }
                        Err(Error::store(error))
                    }
                }
            }
            // Somebody else was faster, and this token is no longer the session's.
            Err(error) if matches!(error.code(), Some(Code::InvalidGrant | Code::Superseded)) => {
                // Where the store cannot say so, what it has stays: it may be newer.
                if let Some(newer) = self.newer(&held).await? {
                    return Ok(Some(self.take(newer, None)));
                }
                if error.session_ended() {
                    // Should that fail, what is kept is dead: the next start finds that out.
                    let _kept = self.store.save(None).await;
                    self.drop_tokens(Status::Ended);
                } else {
                    self.hold_off(&error);
                }
                Err(error)
            }
            Err(error) => {
                self.hold_off(&error);
                Err(error)
            }
        }
    }

    /// Presents the refresh token, again and again while the server repeats its answer.
    async fn exchange(&self, tokens: &Tokens) -> Result<Answer, Error> {
        let started = Instant::now();
        let era = self.era.load(Ordering::Relaxed);
        let body = json!({ "grant_type": "refresh_token", "refresh_token": tokens.refresh_token });
        let mut pause = Duration::from_millis(250);
        loop {
            let error = match self.post("/token", &body, TRY).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let asked = error.retry_after();
            let passes = match &error {
                Error::Transport(_) | Error::Unreadable(_) => true,
                Error::Refused(refusal) => {
                    refusal.status >= 500 || (refusal.status == 429 && asked.is_some())
                }
                Error::Store(_) | Error::Interrupted | Error::Config(_) => false,
            };
            let wait = asked.unwrap_or(pause).mul_f64(1.0 + chance() / 4.0);
            let is_over = || era != self.era.load(Ordering::Relaxed);
            if !passes || is_late(started.elapsed(), wait) || is_over() {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            if is_over() {
                return Err(error);
            }
            pause *= 2;
        }
    }

    /// Saves what could not be saved before.
    async fn keep(&self, held: Held) -> Renewed {
        self.store.save(Some(&held.tokens)).await.map_err(Error::store)?;
        let held = Held { unsaved: false, ..held };
        locked(&self.state).held = Some(held.clone());
        Ok(Some(held))
    }

    /// What the store has, if that is newer than what is at hand.
    async fn newer(&self, held: &Held) -> Result<Option<Tokens>, Error> {
        let stored = self.store.load().await.map_err(Error::store)?;
        Ok(stored.filter(|stored| self.is_news(stored, held)))
    }

    /// Whether these are neither the tokens at hand nor those before: another process can be late in saving them.
    fn is_news(&self, stored: &Tokens, held: &Held) -> bool {
        stored.refresh_token != held.tokens.refresh_token
            && stored.refresh_token != locked(&self.state).replaced
    }

    fn take(&self, tokens: Tokens, life: Option<Life>) -> Held {
        let session_id = tokens.session_id.clone();
        let held = {
            let mut state = locked(&self.state);
            state.turns += 1;
            state.failures = 0;
            state.held_off = None;
            state.ahead = None;
            let held = Held { tokens: Arc::new(tokens), turn: state.turns, life, unsaved: false };
            state.replaced.zeroize();
            state.replaced =
                state.held.as_ref().map_or_else(String::new, |held| held.tokens.refresh_token.clone());
            state.held = Some(held.clone());
            held
        };
        self.tell(Status::LoggedIn { session_id });
        held
    }

    fn drop_tokens(&self, status: Status) {
        let mut state = locked(&self.state);
        state.turns += 1;
        state.held = None;
        state.held_off = None;
        state.replaced.zeroize();
        drop(state);
        self.tell(status);
    }

    fn tell(&self, status: Status) {
        self.status.send_if_modified(|told| {
            let changes = *told != status;
            *told = status;
            changes
        });
    }

    fn hold_off(&self, error: &Error) {
        let mut state = locked(&self.state);
        let now = Instant::now();
        state.ahead = Some(now + (REST * (1 << state.failures.min(6))).min(LONGEST_REST));
        state.failures += 1;
        state.held_off = Some((now + error.retry_after().unwrap_or(REST), error.clone()));
    }

    /// Posts JSON, and reads an answer of the server's own.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        message: &impl Serialize,
        limit: Duration,
    ) -> Result<T, Error> {
        let mut text = self.post_raw(path, message, limit, StatusCode::OK).await?;
        let read = serde_json::from_slice(&text).map_err(|_| Error::Unreadable(StatusCode::OK.as_u16()));
        text.zeroize();
        read
    }

    async fn post_raw(
        &self,
        path: &str,
        message: &impl Serialize,
        limit: Duration,
        success: StatusCode,
    ) -> Result<Vec<u8>, Error> {
        let message = serde_json::to_vec(message).map_err(|error| Error::Config(error.to_string()))?;
        let request = self.http.post(format!("{}{path}", self.root)).timeout(limit).body(message);
        let request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json");
        let response = request.send().await.map_err(Error::transport)?;
        if response.status() == success { body(response).await } else { Err(self.refused(response).await) }
    }

    async fn refused(&self, response: reqwest::Response) -> Error {
        let refusal = Refusal::read(response).await;
        if refusal.code == Code::Other(String::new()) && refusal.retry_after.is_none() {
            return Error::Unreadable(refusal.status);
        }
        Error::Refused(refusal)
    }
}

/// Whether another try after this wait is none of ours: it would come after the grace, or the caller can wait as well.
fn is_late(elapsed: Duration, wait: Duration) -> bool {
    wait > LONGEST_PAUSE || elapsed + wait > GRACE
}

/// A number from 0 up to 1, for spreading things: nobody must not guess it.
fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    // 53 bits are what the type can hold.
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_due_a_minute_or_two_before_its_end() {
        let now = Instant::now();
        for _ in 0..1000 {
            for (seconds, from, to) in [(900, 780, 840), (60, 36, 48), (0, 0, 0)] {
                let life = Life::of(seconds, now);
                assert_eq!(life.end - now, Duration::from_secs(seconds));
                assert!(life.due >= now + Duration::from_secs(from), "{seconds}");
                assert!(life.due <= now + Duration::from_secs(to), "{seconds}");
            }
        }
        // A server that means well is no reason to panic.
        Life::of(u64::MAX, now);
    }

    #[test]
    fn no_try_begins_after_the_grace() {
        for (elapsed, wait, late) in [
            (0, 250, false),
            (8_000, 312, false),
            (8_700, 1_250, false),
            (9_200, 1_000, true),
            (9_999, 250, true),
        ] {
            let (elapsed, wait) = (Duration::from_millis(elapsed), Duration::from_millis(wait));
            assert_eq!(is_late(elapsed, wait), late, "{wait:?} after {elapsed:?}");
        }
        assert!(!is_late(Duration::ZERO, LONGEST_PAUSE));
        assert!(is_late(Duration::ZERO, LONGEST_PAUSE + Duration::from_millis(1)));
    }
}
