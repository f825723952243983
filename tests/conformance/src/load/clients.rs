//! A client that does what the contract asks of it, and holds the nodes to what it promises.
//!
//! It remembers its newest refresh token, in a body or a cookie jar, and presents it at one node after the other. Told
//! `503 temporarily_unavailable` or `409 superseded` it repeats the same request. Nothing else but tokens is taken:
//! no 401, no `invalid_grant`, no 500, no cookie that is cleared, no connection without an answer. In between it uses its
//! access token at every node, and that always works: a guarded route asks no store.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use super::{Nodes, PATIENCE};
use crate::{
    case::{Failure, Outcome, Row, Setup, failed},
    client::{Request, Response},
    cookies::{self, Jar},
    host::{Host, PASSWORD},
    token::Jws,
    verdict::Tokens,
};

/// Sooner than `Retry-After` asks, so that more happens while the store is away.
const AGAIN: Duration = Duration::from_millis(100);
/// Between two refreshes: a load, and not as much as fits.
const PAUSE: Duration = Duration::from_millis(10);
/// How long an answer may take. A store that does not answer is a 503 well before.
const ANSWER: Duration = Duration::from_secs(90);

/// How a client keeps its tokens.
enum Transport {
    Body,
    Cookie(Arc<Mutex<Jar>>),
}

/// One account with one session.
pub(super) struct Client {
    name: String,
    transport: Transport,
    held: Mutex<Held>,
    may_lose: bool,
    granted: AtomicUsize,
    rotated: AtomicUsize,
    refused: AtomicUsize,
    lost: AtomicUsize,
}

#[derive(Default)]
struct Held {
    session: String,
    access: String,
    refresh: String,
    /// The two refresh tokens before it, the latter one first.
    before: [String; 2],
}

/// What an endpoint said that wants to be asked again.
pub(super) async fn not_now(answer: &Response) -> Result<bool, Failure> {
    if answer.status == 503 {
        answer.refused(503, "temporarily_unavailable")?;
        answer.sets_no_cookie()?;
        sleep(AGAIN).await;
    }
    Ok(answer.status == 503)
}

/// A request that waits for longer than usual.
pub(super) async fn send(request: Request) -> Result<Response, Failure> {
    request.patience(ANSWER).send().await
}

/// Sends a request to one node after the other until one answers it for good.
pub(super) async fn insist(
    nodes: &Nodes,
    request: impl Fn(&Host) -> Request,
) -> Result<(Response, usize), Failure> {
    let begun = Instant::now();
    let mut refused = 0;
    loop {
        let answer = send(request(nodes.next())).await?;
        if !not_now(&answer).await? {
            return Ok((answer, refused));
        }
        refused += 1;
        if begun.elapsed() > PATIENCE {
            return Err(answer.not(format!("an answer within {} s", PATIENCE.as_secs())));
        }
    }
}

impl Client {
    /// Registers an account and logs in: by cookie if the number is odd.
    pub(super) async fn enter(nodes: &Nodes, number: usize, may_lose: bool) -> Result<Self, Failure> {
        let name = nodes.next().user().await?.name;
        let transport =
            if number.is_multiple_of(2) { Transport::Body } else { Transport::Cookie(Arc::default()) };
        let client = Self {
            name,
            transport,
            held: Mutex::default(),
            may_lose,
            granted: AtomicUsize::new(0),
            rotated: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        };
        client.log_in(nodes).await.setup()?;
        Ok(client)
    }

    pub(super) fn granted(&self) -> usize {
        self.granted.load(Ordering::Relaxed)
    }

    pub(super) fn rotated(&self) -> usize {
        self.rotated.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// How often it had to log in again.
    pub(super) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn session(&self) -> String {
        self.held().session.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be found in the store: the session, its generation, the digest of its live token.
    pub(super) fn holds(&self) -> Result<String, Failure> {
        let held = self.held();
        let generation = Jws::parse(&held.refresh)?.number("gen")?;
        let digest = digest::digest(&digest::SHA256, held.refresh.as_bytes());
        let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("holds {} {generation} {digest}", held.session))
    }

    /// Refreshes again and again.
    pub(super) async fn use_until(self: Arc<Self>, nodes: Nodes, stop: watch::Receiver<bool>) -> Outcome {
        while !*stop.borrow() {
            self.refresh(&nodes).await?;
            self.is_let_in(&nodes).await?;
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Presents the newest token until it is answered.
    async fn refresh(&self, nodes: &Nodes) -> Outcome {
        let begun = Instant::now();
        loop {
            let answer = send(self.refreshing(nodes.next())).await?;
            if answer.status == 200 {
                return self.take(&answer);
            }
            if not_now(&answer).await? {
                self.refused.fetch_add(1, Ordering::Relaxed);
                // The store is away, and the guard does not ask it.
                self.is_let_in(nodes).await.row("503 at the endpoints")?;
            } else if answer.status == 409 {
                answer.refused(409, "superseded")?;
                answer.sets_no_cookie()?;
                sleep(AGAIN).await;
            } else if self.may_lose {
                return self.begin_again(nodes, &answer).await;
            } else {
                return Err(answer.not("tokens, or to be asked again"));
            }
            if begun.elapsed() > PATIENCE {
                return Err(answer.not(format!("tokens within {} s", PATIENCE.as_secs())));
            }
        }
    }

    fn refreshing(&self, node: &Host) -> Request {
        match &self.transport {
            Transport::Body => {
                let refresh = self.held().refresh.clone();
                node.post("/token").form(&[("grant_type", "refresh_token"), ("refresh_token", &refresh)])
            }
            Transport::Cookie(jar) => node.post("/token").jar(Arc::clone(jar)).same_origin(),
        }
    }

    /// Takes the tokens of a grant.
    fn take(&self, answer: &Response) -> Outcome {
        let tokens = match &self.transport {
            Transport::Body => answer.granted()?,
            Transport::Cookie(jar) => {
                let session_id = answer.string(&answer.json()?, "session_id")?;
                // HOLD sets no refresh cookie.
                if answer.set_cookies()?.len() == 1 {
                    answer.cookies_held()?;
                } else {
                    answer.cookies_granted()?;
                }
                let jar = jar.lock().unwrap_or_else(PoisonError::into_inner);
                let cookie = |name| {
                    jar.get(name).map(str::to_owned).ok_or_else(|| answer.not(format!("a cookie {name}")))
                };
                Tokens {
                    access: cookie(cookies::ACCESS)?,
                    refresh: cookie(cookies::REFRESH)?,
                    session_id,
                    expires_in: 0,
                    refresh_expires_in: 0,
                }
            }
        };
        let mut held = self.held();
        if !held.session.is_empty() && held.session != tokens.session_id {
            return Err(answer.not(format!("session_id: {}", held.session)));
        }
        held.session = tokens.session_id;
        held.access = tokens.access;
        if held.refresh != tokens.refresh {
            let parent = std::mem::replace(&mut held.refresh, tokens.refresh);
            held.before.swap(0, 1);
            held.before[0] = parent;
            self.rotated.fetch_add(1, Ordering::Relaxed);
        }
        self.granted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What a store lost that may lose something: the client is told so, and logs in again.
    async fn begin_again(&self, nodes: &Nodes, answer: &Response) -> Outcome {
        answer.refused(400, "invalid_grant")?;
        if matches!(self.transport, Transport::Cookie(_)) {
            answer.clears_cookies()?;
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.held().session.clear();
        self.log_in(nodes).await
    }

    async fn log_in(&self, nodes: &Nodes) -> Outcome {
        let (answer, _) = insist(nodes, |node| match &self.transport {
            Transport::Body => node.post("/login").json(json!({"username": self.name, "password": PASSWORD})),
            Transport::Cookie(jar) => node
                .post("/login")
                .json(json!({"username": self.name, "password": PASSWORD, "transport": "cookie"}))
                .jar(Arc::clone(jar))
                .same_origin(),
        })
        .await?;
        self.take(&answer)
    }

    /// The access token opens a guarded route of the application at every node.
    async fn is_let_in(&self, nodes: &Nodes) -> Outcome {
        for node in nodes.all() {
            let route = node.route("GET", "/whoami");
            let answer = match &self.transport {
                Transport::Body => {
                    let access = self.held().access.clone();
                    send(route.bearer(&access)).await?
                }
                Transport::Cookie(jar) => send(route.jar(Arc::clone(jar)).same_origin()).await?,
            };
            answer.is(200)?;
        }
        Ok(())
    }

    /// Once nothing is in flight, a refresh gives a token that was not there before.
    pub(super) async fn rotate_once_more(&self, nodes: &Nodes) -> Outcome {
        let rotated = self.rotated();
        self.refresh(nodes).await?;
        if self.rotated() == rotated {
            return Err(failed("a new refresh token", "the one that was presented"));
        }
        self.is_let_in(nodes).await
    }

    /// No fault made one login two sessions.
    pub(super) async fn has_one_session(&self, nodes: &Nodes) -> Outcome {
        let (session, access) = {
            let held = self.held();
            (held.session.clone(), held.access.clone())
        };
        let (answer, _) = insist(nodes, |node| node.get("/sessions").bearer(&access)).await?;
        let listed = answer.answered(200)?;
        let ids: Vec<_> = listed
            .pointer("/sessions")
            .and_then(Value::as_array)
            .map(|all| all.iter().filter_map(|one| one.get("id").and_then(Value::as_str)).collect())
            .unwrap_or_default();
        if ids == [session.as_str()] { Ok(()) } else { Err(answer.not(format!("the one session {session}"))) }
    }

    /// A thief comes with a token that was swapped long ago: it is dead, and the session ends with it on every node.
    pub(super) async fn is_robbed(&self, nodes: &Nodes) -> Outcome {
        let (access, refresh, before) = {
            let held = self.held();
            (held.access.clone(), held.refresh.clone(), held.before.clone())
        };
        // The parent alone could be what is left to a client that lost the last answer (docs/contract.md 4.16).
        let [_, stolen] = before;
        for token in [stolen, refresh] {
            let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
            let (answer, _) = insist(nodes, |node| node.post("/token").form(&form)).await?;
            answer.refused(400, "invalid_grant").row("a refresh token of a session that was robbed")?;
        }
        for node in nodes.all() {
            is_shut_out(node, &access).await?;
        }
        Ok(())
    }
}

/// An access token is refused by a node, now or as soon as it has heard.
pub(super) async fn is_shut_out(node: &Host, access: &str) -> Outcome {
    let begun = Instant::now();
    loop {
        let answer = send(node.get("/me").bearer(access)).await?;
        if answer.status != 200 || begun.elapsed() > PATIENCE {
            return answer.invalid_token();
        }
        sleep(Duration::from_millis(20)).await;
    }
}
