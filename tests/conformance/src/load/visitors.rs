//! People who come and go: registrations, logins and logouts that must hold once they were answered.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use tokio::{
    sync::watch,
    time::{Duration, sleep},
};

use super::{
    Nodes,
    clients::{insist, is_shut_out, send},
};
use crate::{
    case::{Failure, Outcome, Row},
    host::PASSWORD,
    verdict::Tokens,
};

/// A login costs a hash, and the load is to be one of refreshes.
const PAUSE: Duration = Duration::from_millis(150);
/// How many of each are asked about in the end: the first and the latest.
const ASKED: usize = 8;

/// What visitors were answered.
pub(super) struct Visitors {
    /// Logged out before anything happened.
    departed: Tokens,
    may_lose: bool,
    visits: AtomicUsize,
    /// Names that were registered.
    registered: Mutex<Vec<String>>,
    /// Sessions that were logged out.
    ended: Mutex<Vec<Tokens>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn first_and_latest<T: Clone>(all: &Mutex<Vec<T>>) -> Vec<T> {
    let all = lock(all);
    let latest = all.iter().skip(ASKED / 2).rev().take(ASKED / 2);
    all.iter().take(ASKED / 2).chain(latest).cloned().collect()
}

impl Visitors {
    /// One of them has logged out, and every node knows.
    pub(super) async fn enter(nodes: &Nodes, may_lose: bool) -> Result<Self, Failure> {
        let departed = nodes.next().user().await?.login().await?;
        let visitors = Self {
            departed,
            may_lose,
            visits: AtomicUsize::new(0),
            registered: Mutex::default(),
            ended: Mutex::default(),
        };
        visitors.log_out(nodes, &visitors.departed).await?;
        for node in nodes.all() {
            is_shut_out(node, &visitors.departed.access).await?;
        }
        Ok(visitors)
    }

    pub(super) fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }

    /// Registers, logs in and mostly logs out, one after the other.
    pub(super) async fn come_and_go_until(
        self: Arc<Self>,
        nodes: Nodes,
        stop: watch::Receiver<bool>,
    ) -> Outcome {
        while !*stop.borrow() {
            let name = nodes.next().fresh_name();
            let account = json!({"username": name, "password": PASSWORD});
            let (answer, refused) =
                insist(&nodes, |node| node.post("/register").json(account.clone())).await?;
            // A registration that was not answered may have been done.
            let answered = refused == 0 || answer.status != 409;
            if answered {
                answer.answered(201)?;
            } else {
                answer.refused(409, "username_taken")?;
            }
            let (answer, _) = insist(&nodes, |node| node.post("/login").json(account.clone())).await?;
            // An account that nobody was told of may be lost with the server that has it.
            if answer.status == 401 && (self.may_lose || !answered) {
                answer.refused(401, "invalid_credentials")?;
            } else {
                let tokens = answer.granted()?;
                lock(&self.registered).push(name);
                if self.visits() % 3 < 2 {
                    self.log_out(&nodes, &tokens).await?;
                    lock(&self.ended).push(tokens);
                }
            }
            self.visits.fetch_add(1, Ordering::Relaxed);
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn log_out(&self, nodes: &Nodes, tokens: &Tokens) -> Outcome {
        let (answer, _) = insist(nodes, |node| node.post("/logout").bearer(&tokens.access)).await?;
        answer.status(204)
    }

    /// Whoever has logged out is refused all the time: a fault opens nothing.
    pub(super) async fn stay_out_until(
        self: Arc<Self>,
        nodes: Nodes,
        stop: watch::Receiver<bool>,
    ) -> Outcome {
        while !*stop.borrow() {
            for node in nodes.all() {
                send(node.get("/me").bearer(&self.departed.access)).await?.invalid_token()?;
                send(node.route("GET", "/whoami").bearer(&self.departed.access)).await?.invalid_token()?;
                send(node.route("GET", "/whoami")).await?.refused(401, "unauthenticated")?;
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Every account is there, and every logout is one.
    pub(super) async fn prove(&self, nodes: &Nodes) -> Outcome {
        for name in first_and_latest(&self.registered) {
            let account = json!({"username": name, "password": PASSWORD});
            let (answer, _) = insist(nodes, |node| node.post("/login").json(account.clone())).await?;
            answer.granted().row("an account that was registered")?;
        }
        let mut ended = first_and_latest(&self.ended);
        ended.push(self.departed.clone());
        for tokens in ended {
            let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
            let (answer, _) = insist(nodes, |node| node.post("/token").form(&form)).await?;
            answer.refused(400, "invalid_grant").row("a session that was logged out")?;
            for node in nodes.all() {
                is_shut_out(node, &tokens.access).await.row("a session that was logged out")?;
            }
        }
        Ok(())
    }
}
