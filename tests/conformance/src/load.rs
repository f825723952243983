//! Honest clients under load, while somebody does things to their store.
//!
//! `conformance load` starts some nodes on one store and lets clients use them. A program on its standard input says
//! what to wait for and what to check, and does to the store what it likes in between: `cargo xtask faults` restarts,
//! kills, delays and fills it. What clients do, and what they never take, is in [`clients`].
//!
//! | command | answered when |
//! |---|---|
//! | `flow` | every client was given tokens twice more |
//! | `rotate` | every client was given a refresh token that it did not hold before, twice more |
//! | `refused` | every client was told once more that the store is not available |
//! | `some-refused` | clients were told so twice more |
//! | `sessions` | at once: `session ID` for each client |
//! | `settle` | the load has ended, each client has rotated once more: `holds SESSION GENERATION SHA256` for each |
//! | `prove` | what was answered still holds, and each session has one live token alone |
//!
//! Each answer ends with `done COMMAND`, `settle`'s and `prove`'s with counts behind it. After the first thing that
//! must not happen it is written to standard error, and the exit code is 1.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command answers on standard output and complains on standard error"
)]

mod clients;
mod visitors;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use crate::{
    case::{Failure, Outcome, failed, harness},
    host::{Host, Instance, default_config, overlay},
    process::{Launch, Scratch},
    token::{KeyKind, Keys},
};
use clients::Client;
use visitors::Visitors;

pub(crate) const HELP: &str = "\
conformance load: honest clients on some nodes of one store; commands on standard input

  --program FILE   a host program, by its whole path
  --store URL      what each node's --store gets
  --nodes N        how many (default 2)
  --clients N      how many (default 6)
  --config JSON    laid over their configuration
  --may-lose       the store may forget its last moments: then clients log in again,
                   and nobody is accused
  --refused        the store is not there: a node must say so and not start";

/// How long a command waits for what it is about. Whatever takes longer does not happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longer than anything that a grace of 60 s remembers (docs/contract.md 4.15), so that nothing is left in flight.
const AFTERWARDS: u64 = 200;

/// What is run.
#[derive(Debug)]
struct Options {
    program: PathBuf,
    store: String,
    nodes: usize,
    clients: usize,
    config: Value,
    may_lose: bool,
    refused: bool,
}

/// Runs the load as the arguments after `load` say. `Ok(false)` if something happened that must not.
pub(crate) fn run(parser: lexopt::Parser) -> Result<bool, String> {
    let Some(options) = options(parser).map_err(|error| error.to_string())? else {
        println!("{HELP}");
        return Ok(true);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(async {
        if options.refused { refuses_to_start(&options).await } else { operate(&options).await }
    });
    match outcome {
        Ok(()) => Ok(true),
        Err(Failure::Failed { expected, actual } | Failure::Setup { expected, actual }) => {
            eprintln!("  Expected: {expected}\n  Actual:   {actual}");
            Ok(false)
        }
        Err(Failure::Harness(problem) | Failure::NotApplicable(problem)) => {
            eprintln!("  Harness:  {problem}");
            Ok(false)
        }
    }
}

fn options(mut parser: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    use lexopt::{
        Arg::{Long, Short, Value as Positional},
        ValueExt,
    };
    let (mut program, mut store) = (None, None);
    let (mut nodes, mut clients, mut config) = (2_usize, 6_usize, json!({}));
    let (mut may_lose, mut refused) = (false, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("program") => program = Some(parser.value()?.into()),
            Long("store") => store = Some(parser.value()?.string()?),
            Long("nodes") => nodes = parser.value()?.parse()?,
            Long("clients") => clients = parser.value()?.parse()?,
            Long("config") => {
                let text = parser.value()?.string()?;
                config = serde_json::from_str(&text).map_err(|error| format!("--config: {error}"))?;
            }
            Long("may-lose") => may_lose = true,
            Long("refused") => refused = true,
            Long("help") | Short('h') => return Ok(None),
            other @ (Long(_) | Short(_) | Positional(_)) => return Err(other.unexpected()),
        }
    }
    let program = program.ok_or("--program is missing")?;
    let store = store.ok_or("--store is missing")?;
    let (nodes, clients) = (nodes.max(1), clients.max(1));
    Ok(Some(Options { program, store, nodes, clients, config, may_lose, refused }))
}

/// The configuration of the nodes, under `--config`.
///
/// - What a client lost it asks for again until it gets it, which on a busy machine may be later than any grace: hence
///   the resilient policy. Within the grace it is the balanced one.
/// - Throttles are on, so that they take part in every fault, and refuse nobody.
/// - Stores wait as long as they do unless told otherwise: how they give up is what is tried.
fn config() -> Value {
    let many = 1_000_000;
    json!({
        "rotation": "resilient",
        "reuse_grace": 60,
        "store_timeout": null,
        "limits": {
            "login_network_per_minute": many,
            "register_network_per_hour": many,
            "account_failures_per_hour": many,
            "refresh_session_per_minute": many,
            "refresh_network_per_minute": many,
        },
    })
}

/// How a node is started.
fn launch(options: &Options, keys: &Keys) -> Result<Launch, Failure> {
    let launch = Launch {
        program: options.program.clone(),
        store: options.store.clone(),
        config: overlay(overlay(default_config(), config()), options.config.clone()),
        listen: "127.0.0.1:0".to_owned(),
        arguments: Vec::new(),
        access_key: None,
        refresh_secret: None,
        previous: [None, None],
        scratch: Scratch::new()?,
    };
    Ok(launch.keys(keys))
}

/// The nodes, in turn.
#[derive(Clone)]
struct Nodes(Arc<(Vec<Host>, AtomicUsize)>);

impl Nodes {
    async fn start(options: &Options) -> Result<Self, Failure> {
        let keys = Arc::new(Keys::generate(KeyKind::Ed25519)?);
        let mut nodes = Vec::new();
        for _ in 0..options.nodes {
            nodes.push(Host::new(Instance::start(launch(options, &keys)?, Arc::clone(&keys)).await?));
        }
        Ok(Self(Arc::new((nodes, AtomicUsize::new(0)))))
    }

    fn all(&self) -> &[Host] {
        &self.0.0
    }

    /// The next one: nothing sticks to a node.
    fn next(&self) -> &Host {
        let (nodes, turn) = &*self.0;
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        #[allow(clippy::indexing_slicing, reason = "there is at least one node")]
        &nodes[turn % nodes.len()]
    }

    /// Moves every node's clock.
    async fn advance(&self, seconds: u64) -> Outcome {
        for node in self.all() {
            node.advance(seconds).await?;
        }
        Ok(())
    }

    /// What the nodes said last, for whoever has to find out why.
    fn last_words(&self) -> Outcome {
        for (number, node) in self.all().iter().enumerate() {
            let log = node.log()?.stderr();
            for line in log.iter().skip(log.len().saturating_sub(6)) {
                eprintln!("  node {number}:   {line}");
            }
        }
        Ok(())
    }

    /// How often an event stands in the nodes' logs.
    fn told(&self, event: &str) -> Result<usize, Failure> {
        let words = format!("event=\"{event}\"");
        let mut told = 0;
        for node in self.all() {
            told += node.log()?.stderr().iter().filter(|line| line.contains(&words)).count();
        }
        Ok(told)
    }

    /// An event that nothing in the load may cause.
    fn never_told(&self, event: &str) -> Outcome {
        let words = format!("event=\"{event}\"");
        for node in self.all() {
            if let Some(line) = node.log()?.stderr().iter().find(|line| line.contains(&words)) {
                return Err(failed(format!("no event {event}"), line));
            }
        }
        Ok(())
    }
}

/// A node without its store does not serve, and its one line says why and no password.
async fn refuses_to_start(options: &Options) -> Outcome {
    let keys = Keys::generate(KeyKind::Ed25519)?;
    let exit = launch(options, &keys)?.exit().await?;
    exit.refused_configuration("store: ")?;
    match password(options) {
        Some(password) if exit.to_string().contains(password) => Err(failed("no password", exit)),
        Some(_) | None => Ok(()),
    }
}

async fn operate(options: &Options) -> Outcome {
    let nodes = Nodes::start(options).await?;
    let obeyed = obey(options, &nodes).await;
    if obeyed.is_err() {
        nodes.last_words()?;
    }
    obeyed
}

/// Starts the load, then does what it is told.
async fn obey(options: &Options, nodes: &Nodes) -> Outcome {
    let stop = tokio::sync::watch::Sender::new(false);
    let mut clients = Vec::new();
    for number in 0..options.clients {
        clients.push(Arc::new(Client::enter(nodes, number, options.may_lose).await?));
    }
    let visitors = Arc::new(Visitors::enter(nodes, options.may_lose).await?);
    let mut load = JoinSet::new();
    for client in &clients {
        load.spawn(Arc::clone(client).use_until(nodes.clone(), stop.subscribe()));
    }
    load.spawn(Arc::clone(&visitors).come_and_go_until(nodes.clone(), stop.subscribe()));
    load.spawn(Arc::clone(&visitors).stay_out_until(nodes.clone(), stop.subscribe()));

    let mut commands = commands();
    println!("done start");
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            failure = first_failure(&mut load) => return Err(failure),
        };
        let command = command.ok_or_else(|| harness("standard input ended"))?;
        let answer = match command.as_str() {
            "settle" => {
                stop.send_replace(true);
                // Whoever waits for an answer repeats the request until there is one.
                while let Some(ended) = load.join_next().await {
                    ended.map_err(harness)??;
                }
                settle(options, nodes, &clients, &visitors).await?
            }
            "prove" => {
                prove(options, nodes, &clients, &visitors).await?;
                println!("done prove");
                return Ok(());
            }
            command => tokio::select! {
                reached = wait_for(command, &clients, &visitors) => {
                    reached?;
                    String::new()
                }
                failure = first_failure(&mut load) => return Err(failure),
            },
        };
        println!("done {command}{answer}");
    }
}

/// Lines from standard input. A thread of its own reads them: it ends with the process.
fn commands() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line.trim().to_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The failure that ends the load; never, while there is none.
async fn first_failure(load: &mut JoinSet<Outcome>) -> Failure {
    while let Some(ended) = load.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return failure,
            Err(error) => return harness(error),
        }
    }
    std::future::pending().await
}

async fn wait_for(command: &str, clients: &[Arc<Client>], visitors: &Visitors) -> Outcome {
    let total = || clients.iter().map(|client| client.refused()).sum::<usize>();
    let (count, more): (fn(&Client) -> usize, usize) = match command {
        "flow" => (Client::granted, 2),
        "rotate" => (Client::rotated, 2),
        "refused" => (Client::refused, 1),
        "some-refused" => (Client::refused, 0),
        "sessions" => {
            for client in clients {
                println!("session {}", client.session());
            }
            return Ok(());
        }
        _ => return Err(harness(format!("no command {command:?}"))),
    };
    let goals: Vec<_> = clients.iter().map(|client| count(client) + more).collect();
    let visits = if command == "flow" { visitors.visits() + 1 } else { 0 };
    let refusals = if command == "some-refused" { total() + 2 } else { 0 };
    let begun = Instant::now();
    loop {
        let behind = clients.iter().zip(&goals).filter(|(client, goal)| count(client) < **goal).count();
        if behind == 0 && visitors.visits() >= visits && total() >= refusals {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(failed(
                format!("{command}: every client within {} s", PATIENCE.as_secs()),
                format!("{behind} of {} are behind", clients.len()),
            ));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Once all is quiet each client rotates once more. What the nodes told must fit what happened.
async fn settle(
    options: &Options,
    nodes: &Nodes,
    clients: &[Arc<Client>],
    visitors: &Visitors,
) -> Result<String, Failure> {
    // What was in flight is over: a refresh rotates now, and holds and replays nothing.
    nodes.advance(AFTERWARDS).await?;
    for client in clients {
        client.rotate_once_more(nodes).await?;
        println!("{}", client.holds()?);
    }

    let sum = |count: fn(&Client) -> usize| clients.iter().map(|client| count(client)).sum::<usize>();
    let (granted, refused, lost) = (sum(Client::granted), sum(Client::refused), sum(Client::lost));
    // A fault of the store is neither theft nor a fault of ours, and an operator hears of it.
    nodes.never_told("refresh_reuse")?;
    nodes.never_told("fault")?;
    if refused > 0 && nodes.told("unavailable")? == 0 {
        return Err(failed("an event `unavailable`", "503s, and none"));
    }
    let rolled_back = nodes.told("store_rolled_back")?;
    if !options.may_lose && rolled_back > 0 {
        nodes.never_told("store_rolled_back")?;
    }
    no_secret_is_logged(options, nodes)?;
    Ok(format!(
        " granted={granted} refused={refused} visits={} replayed={} lost={lost} rolled_back={rolled_back}",
        visitors.visits(),
        nodes.told("refresh_replayed")?,
    ))
}

/// The password in the store's URL.
fn password(options: &Options) -> Option<&str> {
    let (account, _) = options.store.split_once("://")?.1.split_once('@')?;
    Some(account.split_once(':')?.1)
}

/// What a store says when it fails goes into the log, and it knows passwords.
fn no_secret_is_logged(options: &Options, nodes: &Nodes) -> Outcome {
    let password = password(options);
    for node in nodes.all() {
        for line in node.log()?.stderr() {
            if password.is_some_and(|password| line.contains(password)) || line.contains("eyJ") {
                return Err(failed("no password of the store and no token in the log", line));
            }
        }
    }
    Ok(())
}

/// What was answered before, during and after the fault still holds.
async fn prove(options: &Options, nodes: &Nodes, clients: &[Arc<Client>], visitors: &Visitors) -> Outcome {
    if !options.may_lose {
        visitors.prove(nodes).await?;
        for client in clients {
            client.has_one_session(nodes).await?;
        }
    }
    // The newest token is live and an older one is not: after its time it is theft, as ever.
    nodes.advance(AFTERWARDS).await?;
    for client in clients {
        client.rotate_once_more(nodes).await?;
    }
    nodes.advance(AFTERWARDS).await?;
    for client in clients {
        client.is_robbed(nodes).await?;
    }
    Ok(())
}
