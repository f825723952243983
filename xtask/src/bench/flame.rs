//! `cargo xtask bench --flame ROW…`: where the time of a row goes, as a flame graph in `docs/performance/flame-ROW.svg`.
//!
//! The row is measured without its floor, by a program with frame pointers, while `perf` looks a thousand times a second
//! at what all processors do. So server, database and client stand side by side, each as wide as the time it had.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{
    run::{Failed, cargo, root, run},
    services::{Durability, Services},
};

/// Programs of the crate `inferno`, put into `target/tools`.
const TOOLS: [&str; 2] = ["inferno-collapse-perf", "inferno-flamegraph"];
const VERSION: &str = "0.12";

pub(super) fn flame(rows: &[String]) -> Result<(), Failed> {
    let failed = |error: std::io::Error| Failed(format!("flame graph: {error}"));
    if rows.is_empty() {
        return Err(Failed("--flame wants the name of a row".to_owned()));
    }
    if !Command::new("perf").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Err(Failed("perf is not installed (linux-perf)".to_owned()));
    }
    let [collapse, draw] = tools()?;
    let target = root().join("target/flame");
    let mut build = cargo(&["build", "--quiet", "--release", "--locked", "--package", "gatekey-bench"]);
    run(build.arg("--target-dir").arg(&target).env("RUSTFLAGS", "-C force-frame-pointers=yes"))?;
    let services = Services::find_for(Durability::Durable, |store| super::wanted(store, rows));
    services.announce();
    for row in rows {
        let data = target.join("perf.data");
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "-a", "-g", "-F", "997", "-o"]).arg(&data).arg("--");
        perf.arg(target.join("release/bench")).args(["--without-floors", row]).envs(services.environment());
        run(&mut perf)?;
        let graph = root().join(format!("docs/performance/flame-{}.svg", row.replace('/', "-")));
        let mut script =
            Command::new("perf").args(["script", "-i"]).arg(&data).stdout(Stdio::piped()).spawn();
        let script = script.as_mut().map_err(|error| Failed(format!("perf script: {error}")))?;
        let stacks = target.join("stacks");
        let from_perf = script.stdout.take().ok_or_else(|| Failed("perf script says nothing".to_owned()))?;
        run(Command::new(&collapse).stdin(from_perf).stdout(File::create(&stacks).map_err(failed)?))?;
        script.wait().map_err(failed)?;
        // Nobody asks how long a processor had nothing to do.
        let busy: String = fs::read_to_string(&stacks)
            .map_err(failed)?
            .split_inclusive('\n')
            .filter(|stack| !stack.starts_with("swapper"))
            .collect();
        fs::write(&stacks, busy).map_err(failed)?;
        let mut drawing = Command::new(&draw);
        drawing.args(["--title", row, "--minwidth", "0.3", "--hash"]).arg(&stacks);
        run(drawing.stdout(File::create(&graph).map_err(failed)?))?;
        println!("written: docs/performance/{}", graph.file_name().unwrap_or_default().display());
    }
    Ok(())
}

fn tools() -> Result<[PathBuf; 2], Failed> {
    let home = root().join("target/tools");
    let tools = TOOLS.map(|tool| home.join("bin").join(tool));
    if !tools.iter().all(|tool| tool.exists()) {
        println!("inferno: built once, into target/tools");
        let mut install =
            cargo(&["install", "--quiet", "--locked", "inferno", "--version", VERSION, "--root"]);
        run(install.arg(&home))?;
    }
    Ok(tools)
}
