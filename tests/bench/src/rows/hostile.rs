//! Load that tries to fill what is bounded: the cache of tokens, the table of attempts, the queue of hashes.
//!
//! The server has one core, and the limits of the defaults. Asked is what another client feels of an attack, and whether
//! memory grows.

use std::{sync::Arc, time::Duration};

use gatekey::Algorithm;
use tokio::task::JoinSet;

use super::login::{ONE_CORE, beside, server};
use crate::{
    Bench,
    issue::{DISTINCT, PASSWORD, authority, key_file, tokens},
    load::{get, keep_asking, post},
    measure::{Fault, repeat},
    process::{SERVER, Server},
    row::{Goal, Outcome, Row},
};

/// What is different in each request.
#[derive(Clone, Copy)]
enum Attack {
    Tokens,
    Valid,
    Addresses,
    Names,
}

const ATTACKS: [(&str, Attack, &str); 4] = [
    ("tokens", Attack::Tokens, "forged tokens, each different"),
    ("valid-tokens", Attack::Valid, "valid tokens, more of them than the cache holds"),
    ("addresses", Attack::Addresses, "logins on one name, each from another address"),
    ("names", Attack::Names, "logins, each with another name, from another address"),
];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, attack, what) in ATTACKS {
        rows.push(
            Row::new(
                format!("hostile/{name}/p99"),
                "ms",
                format!("p99 of a guarded route at 200 requests a second beside {what}"),
                move |bench| felt(bench, attack),
            )
            .floor("the same without them")
            .goal(Goal::AtMost(2.0)),
        );
        rows.push(
            Row::new(
                format!("hostile/{name}/memory"),
                "MiB",
                format!("memory that the server gained in a second half of {what}"),
                move |bench| gained(bench, attack),
            )
            .goal(Goal::AtMost(1.0)),
        );
    }
    rows
}

/// At most 2,000 requests a second: an attack that saturates the machine delays everyone whatever the server does.
fn start(attack: Attack, server: &Server, tokens: &Arc<Vec<String>>) -> JoinSet<()> {
    let pause = Duration::from_millis(4);
    let tokens = Arc::clone(tokens);
    match attack {
        Attack::Valid => keep_asking(server.address, 8, pause, move |n| {
            // Each connection begins elsewhere.
            let at = (n >> 32).wrapping_mul(997).wrapping_add(n & 0xffff_ffff);
            get("/mine", &tokens[usize::try_from(at).unwrap_or(0) % tokens.len()])
        }),
        Attack::Tokens => keep_asking(server.address, 8, pause, |n| get("/mine", &forged(n))),
        Attack::Addresses => keep_asking(server.address, 8, pause, |n| from_anywhere(n, "mallory")),
        Attack::Names => keep_asking(server.address, 8, pause, |n| from_anywhere(n, &format!("mallory{n}"))),
    }
}

/// A login that no limit by network stops: each is from another one.
fn from_anywhere(n: u64, name: &str) -> Vec<u8> {
    let address = format!("x-forwarded-for: 10.{}.{}.{}\r\n", (n >> 32) & 255, (n >> 8) & 255, n & 255);
    post("/auth/login", &address, &format!("{{\"username\":\"{name}\",\"password\":\"{PASSWORD}\"}}"))
}

/// A token with a good form, a header that is not ours, and no good signature.
fn forged(n: u64) -> String {
    let encode = |bytes: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
    let header = encode(br#"{"typ":"at+jwt","alg":"EdDSA"}"#);
    let payload = encode(format!("{{\"iss\":\"https://auth.test\",\"jti\":\"{n}\"}}").as_bytes());
    format!("{header}.{payload}.{}", encode(&[n.to_le_bytes(); 8].concat()))
}

/// The tokens of an attack by valid ones.
fn tokens_for(bench: &Bench, attack: Attack) -> Result<Arc<Vec<String>>, Fault> {
    let count = match attack {
        Attack::Valid => DISTINCT,
        Attack::Tokens | Attack::Addresses | Attack::Names => 0,
    };
    let keys = key_file(&bench.path("EdDSA.keys"), Algorithm::EdDSA)?;
    let made = bench.runtime.block_on(async { tokens(&authority(keys, |_| ()).await?, count).await })?;
    Ok(Arc::new(made))
}

fn on_one_core(bench: &Bench) -> Result<Server, Fault> {
    let mut arguments = ONE_CORE.to_vec();
    arguments.push("--limits");
    server(bench, SERVER, &arguments)
}

fn felt(bench: &Bench, attack: Attack) -> Result<Outcome, Fault> {
    let (server, tokens) = (on_one_core(bench)?, tokens_for(bench, attack)?);
    Ok(beside(bench, &server, || start(attack, &server, &tokens))?.into())
}

fn gained(bench: &Bench, attack: Attack) -> Result<Outcome, Fault> {
    let (server, tokens) = (on_one_core(bench)?, tokens_for(bench, attack)?);
    let during = Duration::from_secs(if bench.quick { 1 } else { 10 });
    let mut running = bench.runtime.block_on(async { start(attack, &server, &tokens) });
    std::thread::sleep(during);
    let measured = repeat(3, || {
        let before = server.resident()?;
        std::thread::sleep(during / 3);
        Ok(server.resident()? - before)
    });
    bench.runtime.block_on(running.shutdown());
    Ok(measured?.into())
}
