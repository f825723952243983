//! Other stacks at the same work, on the same machine, in the same rounds: only with `cargo xtask bench --peers`.
//!
//! What is not like for like is said beside each row. The sources of the peers are in `tests/bench/peers`.

use std::{cell::RefCell, path::Path};

use gatekey::Algorithm;

use crate::{
    Bench,
    issue::{DISTINCT, authority, key_file, tokens},
    load::{Client, refreshes},
    measure::{Fault, alternate},
    needs,
    process::{Cores, SERVER, Server, command, flood},
    row::{Goal, Outcome, Row},
};

/// Where the packages from npm are: set by `cargo xtask bench --peers`.
const HOME: &str = "GATEKEY_BENCH_PEERS";
/// The Python that has the packages from PyPI, set likewise.
const PYTHON: &str = "GATEKEY_BENCH_PYTHON";

/// Another stack.
#[derive(Clone, Copy)]
struct Peer {
    name: &'static str,
    /// Its program in `peers`, and the first argument of it. The second is a file for its database.
    program: (&'static str, &'static str),
    what: &'static str,
    /// How many times as many guarded requests and refreshes DESIGN asks for; 0 for no goal.
    goals: (f64, f64),
    /// What is not like for like: of both, of guarded requests, of refreshes.
    unlike: (&'static str, &'static str, &'static str),
}

const NODE: (&str, &str, &str) = (
    "per second of processor time, so that Node has no disadvantage by having one thread",
    "not alike: Express looks at no revocation, and its tokens are shorter",
    "not alike: Express detects no reuse, repeats no lost answer, lists no sessions, and signs by HS256; Node has one \
     thread, and before 22.5 no SQLite: then it keeps hashes in memory here, which flatters it",
);
const DJANGO: (&str, &str, &str) = (
    "per second of processor time, so that Python has no disadvantage by its lock; served by waitress in one process",
    "not alike: simplejwt looks at no revocation, and its tokens are shorter",
    "not alike: simplejwt keeps two rows a refresh and ends no session at reuse, and signs by HS256; it has one process",
);

const PEERS: [Peer; 4] = [
    Peer {
        name: "express-string",
        program: ("express.cjs", "string"),
        what: "Express and jsonwebtoken, its secret a string, as guides write it",
        goals: (0.0, 0.0),
        unlike: NODE,
    },
    Peer {
        name: "express-keyobject",
        program: ("express.cjs", "keyobject"),
        what: "Express and jsonwebtoken, its secret a KeyObject; node:sqlite, synchronous=FULL",
        goals: (12.0, 8.0),
        unlike: NODE,
    },
    Peer {
        name: "simplejwt-stateless",
        program: ("simplejwt.py", "stateless"),
        what: "Django REST framework and simplejwt, the user from the token",
        goals: (40.0, 0.0),
        unlike: DJANGO,
    },
    Peer {
        name: "simplejwt-database",
        program: ("simplejwt.py", "database"),
        what: "Django REST framework and simplejwt, the user and a blacklist in SQLite, synchronous=FULL",
        goals: (40.0, 100.0),
        unlike: DJANGO,
    },
];

pub(crate) fn rows() -> Vec<Row> {
    let goal = |times: f64| if times > 0.0 { Goal::AtLeast(times) } else { Goal::None };
    let mut rows = Vec::new();
    for peer in PEERS {
        let name = peer.name;
        let what = "axum, HS256, distinct tokens: guarded route";
        let row =
            Row::new(format!("peers/{name}/guarded"), "/cpu s", what, move |bench| guarded(bench, peer));
        rows.push(row.floor(peer.what).goal(goal(peer.goals.0)));
        if peer.goals.1 > 0.0 {
            let what = "axum, HS256, SQLite: refreshes, 64 clients";
            let row =
                Row::new(format!("peers/{name}/refresh"), "/s", what, move |bench| refresh(bench, peer));
            rows.push(row.floor(peer.what).goal(goal(peer.goals.1)));
        }
    }
    rows
}

fn start(bench: &Bench, cores: Cores, peer: Peer) -> Result<Server, Outcome> {
    let (program, kind) = peer.program;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(program);
    let from = |variable: &str| {
        needs(variable)
            .map_err(|_| Outcome::NotRun("only with cargo xtask bench --peers, from npm and PyPI".to_owned()))
    };
    let mut command = if program.ends_with("py") {
        command(Path::new(&from(PYTHON)?), cores)
    } else {
        let mut node = command(Path::new("/usr/bin/env"), cores);
        node.args(["node", "--no-warnings"]).env("NODE_ENV", "production");
        node.env("NODE_PATH", Path::new(&from(HOME)?).join("node_modules"));
        node
    };
    let database = bench.path(&format!(
        "{}-{}.db",
        peer.name,
        if matches!(cores, Cores::Any) { "refresh" } else { "guarded" }
    ));
    command.arg(script).arg(kind).arg(database);
    Server::spawn(command).map_err(|error| Outcome::NotRun(error.to_string()))
}

/// Ours, on SQLite.
fn gatekey(bench: &Bench, cores: Cores, more: &[&str]) -> Result<Server, Fault> {
    let keys = bench.path("HS256.keys");
    key_file(&keys, Algorithm::HS256)?;
    let store = format!("sqlite:{}", bench.path("peers.db").display());
    let keys = keys.to_string_lossy().into_owned();
    Server::start(cores, ["--keys", &keys, "--store", &store].iter().chain(more))
}

fn guarded(bench: &Bench, peer: Peer) -> Result<Outcome, Fault> {
    let theirs = match start(bench, SERVER, peer) {
        Ok(server) => server,
        Err(not_run) => return Ok(not_run),
    };
    let ours = gatekey(bench, SERVER, &["--threads", "1", "--hash-threads", "1", "--token-cache", "256"])?;
    let (our_tokens, their_tokens) = (bench.path("peers-ours.tokens"), bench.path("peers-theirs.tokens"));
    let keys = key_file(&bench.path("HS256.keys"), Algorithm::HS256)?;
    let made = bench.runtime.block_on(async {
        let mine = tokens(&authority(keys, |_| ()).await?, DISTINCT).await?;
        // It keeps no cache, so a few are as good as many.
        let yours = Client::several(theirs.address, 200).await?;
        Ok::<_, Fault>((mine, yours.into_iter().map(|client| client.access).collect::<Vec<_>>()))
    })?;
    std::fs::write(&our_tokens, made.0.join("\n"))?;
    std::fs::write(&their_tokens, made.1.join("\n"))?;
    let ask = |server: &Server, tokens: &Path| {
        let before = server.cpu_seconds()?;
        let answered = flood(bench, server, tokens, "/mine")?;
        if answered.refused > 0.0 {
            return Err(format!("{} requests failed", answered.refused).into());
        }
        Ok(answered.answers / (server.cpu_seconds()? - before).max(0.01))
    };
    let rounds = bench.rounds_of_load();
    let measured = alternate(rounds, || ask(&ours, &our_tokens), || ask(&theirs, &their_tokens))?;
    Ok(measured.note(peer.unlike.1).note(peer.unlike.0).into())
}

fn refresh(bench: &Bench, peer: Peer) -> Result<Outcome, Fault> {
    let theirs = match start(bench, Cores::Any, peer) {
        Ok(server) => server,
        Err(not_run) => return Ok(not_run),
    };
    let ours = gatekey(bench, Cores::Any, &[])?;
    let our_clients = RefCell::new(bench.runtime.block_on(Client::several(ours.address, 64))?);
    let their_clients = RefCell::new(bench.runtime.block_on(Client::several(theirs.address, 64))?);
    let ask = |clients: &RefCell<Vec<Client>>| {
        bench.runtime.block_on(refreshes(&mut clients.borrow_mut(), bench.while_()))
    };
    let rounds = bench.rounds_of_load();
    let measured = alternate(rounds, || ask(&our_clients), || ask(&their_clients))?;
    Ok(measured.note(peer.unlike.2).into())
}
