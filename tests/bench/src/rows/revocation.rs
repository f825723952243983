//! How long until a session that one node ended is refused by another.

use std::time::{Duration, Instant};

use gatekey::Algorithm;

use super::refresh::store_argument;
use crate::{
    Bench,
    issue::key_file,
    load::{Client, Connection, get},
    measure::{Fault, repeat},
    process::{Cores, Server},
    row::{Goal, Outcome, Row},
};

pub(crate) fn rows() -> Vec<Row> {
    ["sqlite", "postgres", "redis"]
        .into_iter()
        .map(|store| {
            let what =
                format!("{store}: from the answer to a logout on one node to the first refusal on another");
            Row::new(format!("revocation/{store}"), "ms", what, move |bench| latency(bench, store))
                .goal(Goal::AtMost(1000.0))
        })
        .collect()
}

fn latency(bench: &Bench, store: &str) -> Result<Outcome, Fault> {
    let place = match store_argument(bench, store, "revocation") {
        Ok(place) => place,
        Err(not_run) => return Ok(not_run),
    };
    let keys = bench.path("EdDSA.keys");
    key_file(&keys, Algorithm::EdDSA)?;
    let keys = keys.to_string_lossy().into_owned();
    let node = || Server::start(Cores::Any, ["--store", &place, "--keys", &keys]);
    let (one, other) = (node()?, node()?);
    let rounds = if bench.quick { 10 } else { 50 };
    let measured = repeat(rounds, || {
        bench.runtime.block_on(async {
            let mut client = Client::log_in(one.address).await?;
            let request = get("/mine", &client.access);
            let mut there = Connection::open(other.address).await?;
            if there.ask(&request).await?.status != 200 {
                return Err("the other node refused a session before its end".into());
            }
            client.log_out().await?;
            let ended = Instant::now();
            while there.ask(&request).await?.status == 200 {
                if ended.elapsed() > Duration::from_secs(10) {
                    return Err("the other node did not hear of it within ten seconds".into());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(ended.elapsed().as_secs_f64() * 1e3)
        })
    })?;
    Ok(measured.note("asked each millisecond").into())
}
