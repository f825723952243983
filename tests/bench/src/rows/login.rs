//! Logins against the hash alone, and what a guarded route feels of them.

use std::time::{Duration, Instant};

use argon2::{Argon2, Block, Params};
use gatekey::Algorithm;
use tokio::task::JoinSet;

use crate::{
    Bench,
    issue::{NAME, PASSWORD, key_file},
    load::{Client, Connection, keep_asking, latencies, login, p99, post},
    measure::{Fault, alternate},
    process::{Cores, SERVER, Server},
    row::{Goal, Outcome, Row},
};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            "login/argon2",
            "/s",
            "Logins end to end, memory store, all cores, twice as many clients",
            logins,
        )
        .floor("the argon2 crate with kept memory, one thread a core")
        .goal(Goal::AtLeast(0.97)),
        Row::new(
            "mixed/guarded-p99",
            "ms",
            "p99 of a guarded route at 200 requests a second while logins saturate the server's one core",
            mixed,
        )
        .floor("the same without logins")
        .goal(Goal::AtMost(2.0)),
    ]
}

/// A server with EdDSA on the memory store.
pub(super) fn server(bench: &Bench, cores: Cores, more: &[&str]) -> Result<Server, Fault> {
    let keys = bench.path("EdDSA.keys");
    key_file(&keys, Algorithm::EdDSA)?;
    let keys = keys.to_string_lossy().into_owned();
    Server::start(cores, ["--keys", keys.as_str()].iter().chain(more))
}

fn logins(bench: &Bench) -> Result<Outcome, Fault> {
    let server = server(bench, Cores::Any, &[])?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let rounds = bench.rounds_of_load();
    let during = bench.while_() * 2;
    let measured = alternate(
        rounds,
        || bench.runtime.block_on(log_in(&server, threads * 2, during)),
        || hashes(threads, during),
    )?;
    Ok(measured.into())
}

/// Logins a second.
async fn log_in(server: &Server, clients: usize, during: Duration) -> Result<f64, Fault> {
    let (started, mut tasks) = (Instant::now(), JoinSet::new());
    for _ in 0..clients {
        let address = server.address;
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let (request, mut count) = (login(NAME, PASSWORD), 0.0);
            while started.elapsed() < during {
                let status = connection.ask(&request).await?.status;
                if status != 200 {
                    return Err(Fault::from(format!("a login was answered {status}")));
                }
                count += 1.0;
            }
            Ok(count)
        });
    }
    let mut all = 0.0;
    while let Some(done) = tasks.join_next().await {
        all += done??;
    }
    Ok(all / started.elapsed().as_secs_f64())
}

/// Hashes a second, of the same costs.
fn hashes(threads: usize, during: Duration) -> Result<f64, Fault> {
    let params = Params::new(19_456, 2, 1, Some(32))?;
    let started = Instant::now();
    let counts = std::thread::scope(|scope| {
        let one = || {
            let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params.clone());
            let mut memory = vec![Block::default(); params.block_count()];
            let (mut hash, mut count) = ([0; 32], 0.0);
            while started.elapsed() < during {
                let salt = b"sixteen bytes of";
                argon2.hash_password_into_with_memory(PASSWORD.as_bytes(), salt, &mut hash, &mut memory)?;
                count += 1.0;
            }
            Ok::<f64, argon2::Error>(count)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut all = 0.0;
    for count in counts {
        all += count.map_err(|_| "a hash panicked")??;
    }
    Ok(all / started.elapsed().as_secs_f64())
}

/// A server on one core, with one thread that hashes and one that serves: each core of a larger machine is such a pair.
pub(super) const ONE_CORE: [&str; 4] = ["--threads", "1", "--hash-threads", "1"];

/// The p99 of a guarded route beside other work, and without it, by turns.
pub(super) fn beside(
    bench: &Bench,
    server: &Server,
    mut work: impl FnMut() -> JoinSet<()>,
) -> Result<crate::measure::Measured, Fault> {
    let token = bench.runtime.block_on(Client::log_in(server.address))?.access;
    let probe = || {
        let took = latencies(server.address, &token, 200, bench.while_() * 2);
        p99(&bench.runtime.block_on(took)?)
    };
    let rounds = bench.rounds_of_load();
    alternate(
        rounds,
        || {
            let mut running = bench.runtime.block_on(async { work() });
            let found = probe();
            bench.runtime.block_on(running.shutdown());
            // What the server has begun for them is over before it is asked alone.
            std::thread::sleep(Duration::from_millis(200));
            found
        },
        probe,
    )
}

/// Who logs in without end.
const OTHER: &str = "bob";

fn mixed(bench: &Bench) -> Result<Outcome, Fault> {
    let server = server(bench, SERVER, &ONE_CORE)?;
    let address = server.address;
    // An account has a hundred sessions at most, so those that log in are not who is asked for.
    let account = format!("{{\"username\":\"{OTHER}\",\"password\":\"{PASSWORD}\"}}");
    let status = bench.runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        Ok::<_, Fault>(connection.ask(&post("/auth/register", "", &account)).await?.status)
    })?;
    if status != 201 {
        return Err(format!("a registration was answered {status}").into());
    }
    let measured =
        beside(bench, &server, || keep_asking(address, 4, Duration::ZERO, |_| login(OTHER, PASSWORD)))?;
    Ok(measured.note("one core, one thread that hashes: what each core of a larger machine has").into())
}
