//! Other stacks at the same work, on the same machine, in the same rounds: only with `cargo xtask bench --peers`.
//!
//! What is not like for like is said beside each row. The sources of the peers are in `tests/bench/peers`.

use std::{cell::RefCell, path::Path, process::Command};

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

/// Where the peers' packages are: set by `cargo xtask bench --peers`.
const HOME: &str = "GATEKEY_BENCH_PEERS";

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, says) in
        [("string", "its secret a string, as guides write it"), ("keyobject", "its secret a KeyObject")]
    {
        let goal = if kind == "keyobject" { Goal::AtLeast(12.0) } else { Goal::None };
        rows.push(
            Row::new(
                format!("peers/express-{kind}/guarded"),
                "/cpu s",
                "axum, HS256, distinct tokens: guarded route",
                move |bench| guarded(bench, kind),
            )
            .floor(format!("Express and jsonwebtoken, {says}"))
            .goal(goal),
        );
    }
    rows.push(
        Row::new(
            "peers/express-keyobject/refresh",
            "/s",
            "axum, HS256, SQLite: refreshes, 64 clients",
            refresh,
        )
        .floor("Express and jsonwebtoken, node:sqlite, synchronous=FULL")
        .goal(Goal::AtLeast(8.0)),
    );
    rows
}

fn express(bench: &Bench, cores: Cores, kind: &str) -> Result<Server, Outcome> {
    let home = needs(HOME)
        .map_err(|_| Outcome::NotRun("only with cargo xtask bench --peers, from npm".to_owned()))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/express.cjs");
    let mut node: Command = command(Path::new("/usr/bin/env"), cores);
    node.args(["node", "--no-warnings"]).arg(script).arg(kind).arg(bench.path(&format!("express-{kind}.db")));
    node.env("NODE_PATH", Path::new(&home).join("node_modules")).env("NODE_ENV", "production");
    Server::spawn(node).map_err(|error| Outcome::NotRun(error.to_string()))
}

/// Ours, on SQLite.
fn gatekey(bench: &Bench, cores: Cores, more: &[&str]) -> Result<Server, Fault> {
    let keys = bench.path("HS256.keys");
    key_file(&keys, Algorithm::HS256)?;
    let store = format!("sqlite:{}", bench.path("peers.db").display());
    let keys = keys.to_string_lossy().into_owned();
    Server::start(cores, ["--keys", &keys, "--store", &store].iter().chain(more))
}

fn guarded(bench: &Bench, kind: &str) -> Result<Outcome, Fault> {
    let theirs = match express(bench, SERVER, kind) {
        Ok(server) => server,
        Err(not_run) => return Ok(not_run),
    };
    let ours = gatekey(bench, SERVER, &["--threads", "1", "--hash-threads", "1"])?;
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
        Ok(answered.answers / (server.cpu_seconds()? - before))
    };
    let rounds = bench.rounds_of_load();
    let measured = alternate(rounds, || ask(&ours, &our_tokens), || ask(&theirs, &their_tokens))?;
    Ok(measured
        .note("not alike: Express looks at no revocation, and its tokens are shorter")
        .note("per second of processor time, so that Node has no disadvantage by having one thread")
        .into())
}

fn refresh(bench: &Bench) -> Result<Outcome, Fault> {
    let theirs = match express(bench, Cores::Any, "keyobject") {
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
    Ok(measured
        .note("not alike: Express detects no reuse, repeats no lost answer, lists no sessions; Node has one thread")
        .note("Node before 22.5 has no SQLite, and keeps hashes in memory here, which flatters it")
        .into())
}
