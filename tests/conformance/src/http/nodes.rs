//! Three processes on one store behind a client that takes the next of them for each request: nothing sticks to a node.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    case::{Case, Failure, Need, Outcome, case, failed, not_applicable, run},
    client::{Request, Response, all},
    host::{Host, PASSWORD},
    report,
    token::{KeyKind, Keys},
    verdict::{Tokens, equal},
};

/// How soon a revocation is heard of elsewhere, by the contract.
const WITHIN: Duration = Duration::from_secs(1);

/// How long a node may take to hear of it on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a revocation is timed.
const TRIALS: usize = 12;

/// How many of them a machine that is busy with something else may delay.
const LATE: usize = 2;

const NODES: &[Need] = &[Need::Processes, Need::PersistentStore];

pub(crate) const CASES: &[Case] = &[
    case(
        "nodes/any-node-serves-any-request",
        "Through three nodes in turn, a session is opened, refreshed, listed and ended as on one.",
    )
    .spec(&["docs/contract.md 4.8", "docs/contract.md 6.6"])
    .needs(NODES)
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let nodes = Nodes::three(host).await?;
        let user = host.user().await?;
        let (mut held, mut seen) = (nodes.next().login(&user.name, PASSWORD).await?.granted()?, 1);
        for _ in 0..7 {
            let parent = held.refresh.clone();
            held = nodes.next().refresh(&parent).await?.granted()?;
            // The parent again, to another node: one row, so the same successor.
            let repeated = nodes.next().refresh(&parent).await?.granted()?;
            equal("the successor that another node repeats", &repeated.refresh, &held.refresh)?;
            // Until the burst is over it stays where it is; a session of its own shows the next rotation.
            held = nodes.next().login(&user.name, PASSWORD).await?.granted()?;
            seen += 1;
            for node in nodes.each() {
                node.me(&held.access).await?.answered(200)?;
                let listed = node.get("/sessions").bearer(&held.access).send().await?.answered(200)?;
                let listed = listed.get("sessions").and_then(|all| all.as_array()).map(Vec::len);
                equal("sessions that a node lists", &listed, &Some(seen))?;
            }
        }
        nodes.next().post("/logout").bearer(&held.access).send().await?.status(204)?;
        for node in nodes.each() {
            node.refresh(&held.refresh).await?.refused(400, "invalid_grant")?;
            heard(node, &held.access, Instant::now()).await?;
        }
        Ok(())
    })),
    case(
        "nodes/a-revocation-is-heard-within-a-second",
        "A session that was opened on one node, refreshed on another and ended on a third is refused by the first \
         within a second.",
    )
    .spec(&["docs/contract.md 6.6", "ASVS 7.4.1"])
    .needs(NODES)
    .run(run!(async |host| {
        let Nodes { others: [second, third], .. } = &Nodes::three(host).await?;
        let user = host.user().await?;
        let mut took = Vec::new();
        for _ in 0..TRIALS {
            let first = user.login().await?;
            let held = second.refresh(&first.refresh).await?.granted()?;
            host.me(&held.access).await?.answered(200)?;
            third.post("/logout").bearer(&held.access).send().await?.status(204)?;
            took.push(heard(host, &held.access, Instant::now()).await?);
        }
        took.sort();
        let millis: Vec<_> = took.iter().map(|took| took.as_millis().to_string()).collect();
        let millis = millis.join(" ");
        report::note("nodes/a-revocation-is-heard-within-a-second", &format!("refused after {millis} ms"));
        let late = took.iter().filter(|took| **took > WITHIN).count();
        if late <= LATE {
            return Ok(());
        }
        Err(failed(format!("all but {LATE} within {} ms", WITHIN.as_millis()), millis))
    })),
    case(
        "nodes/throttles-add-up",
        "What is tried at three nodes in turn counts as if it were tried at one.",
    )
    .spec(&["docs/contract.md 7.17", "docs/contract.md 7.18"])
    .needs(NODES)
    .config(|| {
        // Each is so slow to forget that no machine takes long enough.
        json!({"limits": {
            "login_network_per_minute": 0, "free_failures": 0, "account_failures_per_hour": 3,
            "register_network_per_hour": 3, "refresh_session_per_minute": 3, "refresh_network_per_minute": 0,
        }})
    })
    .run(run!(async |host| {
        if host.launch()?.store.starts_with("sqlite:") {
            return Err(not_applicable("the processes of one file count each for itself"));
        }
        let nodes = Nodes::three(host).await?;
        let user = host.user().await?;
        let held = user.login().await?;

        let mut refresh = held.refresh.clone();
        for node in nodes.each() {
            refresh = node.refresh(&refresh).await?.granted()?.refresh;
        }
        for node in nodes.each() {
            node.refresh(&refresh).await?.refused(429, "rate_limited")?;
        }

        let failing = async |node: &Host| node.login(&user.name, "a wrong pass phrase").await;
        for node in nodes.each() {
            failing(node).await?.refused(401, "invalid_credentials")?;
        }
        for node in nodes.each() {
            failing(node).await?.refused(429, "rate_limited")?;
        }

        let network = host.fresh_address();
        let register = |node: &Host| {
            let body = json!({"username": node.fresh_name(), "password": PASSWORD});
            node.post("/register").json(body).from(network)
        };
        for node in nodes.each() {
            register(node).send().await?.answered(201)?;
        }
        for node in nodes.each() {
            register(node).send().await?.refused(429, "rate_limited")?;
            // A block never touches what is open.
            node.me(&held.access).await?.answered(200)?;
        }
        Ok(())
    })),
    // The order of docs/deployment.md: every node accepts the new keys before any signs with them, and the former ones
    // until nobody holds what they signed.
    case(
        "nodes/keys-are-changed-node-by-node",
        "While the access key and the refresh secret are changed by restarting node after node, no request is refused.",
    )
    .spec(&["docs/contract.md 3.7", "docs/contract.md 4.8"])
    .needs(NODES)
    .config(|| json!({"reuse_grace": GRACE.as_secs()}))
    .run(run!(async |host| {
        let nodes = Nodes::three(host).await?;
        let user = host.user().await?;
        let oldest = user.login().await?;
        let traffic = Traffic::default();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(traffic.client(&nodes, user.login().await?));
        }
        let new = Keys::generate(KeyKind::Ed25519)?;
        let changing = async {
            let changed = change_keys(&nodes, &traffic, host.keys()?, &new).await;
            traffic.over.store(true, Ordering::Relaxed);
            changed
        };
        let (changed, clients) = tokio::join!(changing, all(clients));
        clients.into_iter().collect::<Outcome>()?;
        changed?;
        let answered = traffic.answered.load(Ordering::Relaxed);
        report::note("nodes/keys-are-changed-node-by-node", &format!("{answered} requests were answered"));
        // What only the former keys signed is worth nothing any more.
        for node in nodes.each() {
            node.me(&oldest.access).await?.invalid_token()?;
            node.refresh(&oldest.refresh).await?.refused(400, "invalid_grant")?;
        }
        Ok(())
    })),
];

/// Three nodes, and which of them is next.
struct Nodes<'h> {
    first: &'h Host,
    others: [Host; 2],
    next: AtomicUsize,
}

impl<'h> Nodes<'h> {
    async fn three(host: &'h Host) -> Result<Self, Failure> {
        let others = [host.sibling().await?, host.sibling().await?];
        Ok(Self { first: host, others, next: AtomicUsize::new(0) })
    }

    fn each(&self) -> [&Host; 3] {
        let [second, third] = &self.others;
        [self.first, second, third]
    }

    fn next(&self) -> &Host {
        self.each()[self.next.fetch_add(1, Ordering::Relaxed) % 3]
    }

    /// Sends a request to the next node, and where nobody answers to the one after it, as a load balancer does.
    async fn ask(&self, request: impl Fn(&Host) -> Request) -> Result<Response, Failure> {
        let begun = Instant::now();
        loop {
            let answer = request(self.next()).send().await;
            // Nobody is there, or somebody who just closed, or who cannot now: no refusal.
            let again = answer.as_ref().map_or(true, |answer| answer.status == 503);
            if !again || begun.elapsed() > PATIENCE {
                return answer;
            }
        }
    }
}

/// Waits until a node refuses the token of a session that has ended; for how long it did not.
async fn heard(node: &Host, access: &str, since: Instant) -> Result<Duration, Failure> {
    loop {
        let answer = node.me(access).await?;
        let elapsed = since.elapsed();
        if answer.status != 200 {
            return answer.invalid_token().map(|()| elapsed);
        }
        if elapsed > PATIENCE {
            return Err(failed("401 invalid_token", format!("200 after {elapsed:?}")));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// How many clients go on while the keys are changed.
const CLIENTS: usize = 3;

/// For how long a token may be repeated while the keys are changed: the default.
///
/// A node that is stopped may have swapped a token without saying so, where its framework waits for requests in flight
/// only so long. The client asks the next node, is given the same successor, and is then held at it for as long again.
const GRACE: Duration = Duration::from_secs(10);

/// Clients that use and refresh their session all the time.
#[derive(Default)]
struct Traffic {
    over: AtomicBool,
    answered: AtomicUsize,
    /// The step at which the operator is.
    step: AtomicUsize,
    /// For each step, how many times a client was given another refresh token since it began.
    renewed: [AtomicUsize; 4],
}

impl Traffic {
    /// A client that is refused nothing until it is over.
    async fn client(&self, nodes: &Nodes<'_>, mut held: Tokens) -> Outcome {
        let mut renewed = 0;
        while !self.over.load(Ordering::Relaxed) {
            let step = self.step.load(Ordering::Relaxed);
            nodes.ask(|node| node.get("/me").bearer(&held.access)).await?.answered(200)?;
            let form = [("grant_type", "refresh_token"), ("refresh_token", &held.refresh)];
            let next = nodes.ask(|node| node.post("/token").form(&form)).await?.granted()?;
            self.answered.fetch_add(2, Ordering::Relaxed);
            if next.refresh != held.refresh && step >= renewed {
                renewed = step + 1;
                self.renewed[step].fetch_add(1, Ordering::Relaxed);
            }
            held = next;
        }
        Ok(())
    }

    /// Waits until every client holds a refresh token of this step.
    async fn renewed(&self) -> Outcome {
        let step = self.step.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = Instant::now();
        while self.renewed[step].load(Ordering::Relaxed) < CLIENTS {
            if begun.elapsed() > GRACE + PATIENCE {
                let renewed = self.renewed[step].load(Ordering::Relaxed);
                return Err(failed(
                    format!("another refresh token for {CLIENTS} clients"),
                    format!("for {renewed}"),
                ));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

/// Restarts each node in turn, three times: it accepts the new keys, then signs with them, then forgets the former.
async fn change_keys(nodes: &Nodes<'_>, traffic: &Traffic, former: &Keys, new: &Keys) -> Outcome {
    for (keys, previous) in [(former, Some(new)), (new, Some(former)), (new, None)] {
        for node in nodes.each() {
            // However it ends: what it owes to requests in flight is asked by `hosts/…`.
            node.stop().await?;
            node.start_as(node.launch()?.keys(keys).previous_keys(previous)).await?;
        }
        for node in nodes.each().into_iter().filter(|_| previous.is_some()) {
            let published = node.get("/jwks.json").send().await?.answered(200)?.to_string();
            for keys in [former, new] {
                equal("a key that is published", &published.contains(&keys.access.thumbprint()), &true)?;
            }
        }
        traffic.renewed().await?;
    }
    Ok(())
}
