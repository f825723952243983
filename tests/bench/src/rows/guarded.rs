//! What a guard costs a request: a guarded route against one that nobody guards, in each framework.
//!
//! Both are asked with the same bytes but for the path. The figure is requests for each second of processor time that
//! the server had, which on a saturated core is its throughput, and which other work on the machine disturbs least.

use gatekey::Algorithm;

use crate::{
    Bench,
    issue::{DISTINCT, FEW_PLACES, authority, key_file, tokens},
    measure::{Fault, alternate},
    process::{SERVER, Server, flood},
    row::{Goal, Outcome, Row},
};

/// A framework, and what DESIGN asks of it: with distinct tokens, with hot ones.
const FRAMEWORKS: [(&str, f64, f64); 3] =
    [("axum", 0.70, 0.88), ("actix", 0.78, 0.90), ("rocket", 0.80, 0.92)];

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (framework, distinct, hot) in FRAMEWORKS {
        for algorithm in [Algorithm::HS256, Algorithm::EdDSA] {
            let small = FEW_PLACES.to_string();
            for (case, count, goal) in [("distinct", DISTINCT, distinct), ("hot", 1, hot)] {
                let more =
                    if case == "hot" { vec![] } else { vec!["--token-cache".to_owned(), small.clone()] };
                let name = format!("guarded/{framework}/{}/{case}", algorithm.name().to_lowercase());
                let what = format!("{framework}, {}, {case} tokens: guarded route", algorithm.name());
                // One signature of EdDSA takes longer than a whole request, so its distinct tokens have no goal.
                let goal = if case == "distinct" && algorithm != Algorithm::HS256 {
                    Goal::None
                } else {
                    Goal::AtLeast(goal)
                };
                let run = move |bench: &Bench| guarded(bench, framework, algorithm, count, &more);
                let row =
                    Row::new(name, "/cpu s", what, run).floor("the same route without a guard").goal(goal);
                // What EdDSA changes is the same in every framework, so a quick bench asks one.
                let spared = framework != "axum" && algorithm == Algorithm::EdDSA;
                rows.push(if spared { row.slow() } else { row });
            }
        }
    }
    let uncached = "axum, HS256, distinct tokens, the cache of verified tokens off: guarded route";
    rows.push(
        Row::new("guarded/axum/hs256/uncached", "/cpu s", uncached, |bench| {
            guarded(bench, "axum", Algorithm::HS256, DISTINCT, &["--token-cache".to_owned(), "0".to_owned()])
        })
        .floor("the same route without a guard"),
    );
    rows
}

fn guarded(
    bench: &Bench,
    framework: &str,
    algorithm: Algorithm,
    count: usize,
    more: &[String],
) -> Result<Outcome, Fault> {
    let keys = bench.path(&format!("{}.keys", algorithm.name()));
    let ring = key_file(&keys, algorithm)?;
    let file = bench.path(&format!("{}-{count}.tokens", algorithm.name()));
    if !file.exists() {
        let tokens =
            bench.runtime.block_on(async { tokens(&authority(ring, |_| ()).await?, count).await })?;
        std::fs::write(&file, tokens.join("\n"))?;
    }
    let arguments = ["--framework", framework, "--threads", "1", "--hash-threads", "1", "--keys"];
    let arguments = arguments
        .iter()
        .map(std::ffi::OsStr::new)
        .chain([keys.as_os_str()])
        .chain(more.iter().map(std::ffi::OsStr::new));
    let server = Server::start(SERVER, arguments)?;
    let least_busy = std::cell::Cell::new(f64::MAX);
    let ask = |path: &str| {
        let (before, begun) = (server.cpu_seconds()?, std::time::Instant::now());
        let answered = flood(bench, &server, &file, path)?;
        // A machine that is busy with others may have given it less than can be told.
        let cpu = (server.cpu_seconds()? - before).max(0.01);
        least_busy.set(least_busy.get().min(cpu / begun.elapsed().as_secs_f64()));
        if answered.refused > 0.0 {
            return Err(format!("{} requests to {path} failed", answered.refused).into());
        }
        Ok(answered.answers / cpu)
    };
    ask("/bare")?;
    let measured = alternate(bench.rounds_of_load(), || ask("/mine"), || ask("/bare"))?;
    let busy = (least_busy.get() * 100.0).round();
    let measured = if busy < 90.0 {
        measured.note(format!("the server's core was only {busy} % busy at times"))
    } else {
        measured
    };
    Ok(measured.into())
}
