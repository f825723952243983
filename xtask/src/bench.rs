//! `cargo xtask bench`: every figure of `docs/performance.md` beside its floor, on this machine.
//!
//! It builds `tests/bench` in release, starts PostgreSQL and Redis as an operator runs them (durable), and lets `bench`
//! measure. What it finds is printed, and goes to `target/bench/bench.json` and, a chart for each family of rows, to
//! `target/bench/*.svg`. `--write` also puts the table between two marks into `docs/performance.md`, and the charts into
//! `docs/performance`.
//!
//! It is no test: a goal that was missed is told and fails nothing, since it may be the machine's doing. A row that
//! could not be measured fails the command.

mod chart;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use serde_json::Value;

use crate::{
    run::{Failed, cargo, root, run},
    services::{Durability, Services, install, program},
};

const BEGIN: &str = "<!-- written by cargo xtask bench --write -->";
const END: &str = "<!-- end of what is written -->";

/// `cargo xtask bench [--quick] [--write] [--list] [ROW…]`.
pub(crate) fn bench(mut arguments: Vec<String>) -> Result<(), Failed> {
    let given = arguments.len();
    arguments.retain(|argument| argument != "--write");
    let write = arguments.len() < given;
    let build = ["build", "--quiet", "--release", "--locked", "--package", "gatekey-bench"];
    run(&mut cargo(&build))?;
    let program_of_bench = root().join("target/release/bench");
    if arguments.iter().any(|argument| argument == "--list") {
        return run(std::process::Command::new(program_of_bench).args(&arguments));
    }
    if program(&["wrk"], &[]).is_none()
        && let Err(not_run) = install("wrk")
    {
        println!("wrk: not run: {}", not_run.0);
    }
    let rows: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |store: &str| match store {
        "postgres" | "redis" => rows.is_empty() || rows.iter().any(|row| needs_servers(row)),
        _ => false,
    };
    let services = Services::find_for(Durability::Durable, wanted);
    services.announce();
    let home = root().join("target/bench");
    let failed = |error: std::io::Error| Failed(format!("target/bench: {error}"));
    fs::create_dir_all(&home).map_err(failed)?;
    let json = home.join("bench.json");
    let mut command = std::process::Command::new(program_of_bench);
    command.args(&arguments).arg("--json").arg(&json).envs(services.environment());
    let measured = run(&mut command);
    let text = fs::read_to_string(&json).map_err(failed)?;
    let found: Value = serde_json::from_str(&text).map_err(|error| Failed(error.to_string()))?;
    draw(&found, &home).map_err(failed)?;
    println!("\ntarget/bench: bench.json and a chart for each family");
    if write {
        measured?;
        return publish(&found);
    }
    measured
}

/// Whether a row that is asked for may want a server: better one too many than a row that is not run.
fn needs_servers(row: &str) -> bool {
    ["refresh", "revocation", "size"].contains(&row.split('/').next().unwrap_or_default())
        && !row.ends_with("/sqlite")
}

/// A chart for each family that has ratios.
fn draw(found: &Value, to: &Path) -> std::io::Result<()> {
    let mut families: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for row in found["rows"].as_array().into_iter().flatten().filter(|row| row["ratio"].is_object()) {
        let name = row["name"].as_str().unwrap_or_default();
        families.entry(name.split('/').next().unwrap_or_default()).or_default().push(row);
    }
    for (family, rows) in families {
        fs::write(to.join(format!("{family}.svg")), chart::of_ratios(family, &rows))?;
    }
    Ok(())
}

/// Puts the table and the charts where readers find them.
fn publish(found: &Value) -> Result<(), Failed> {
    let page = root().join("docs/performance.md");
    let failed = |error: std::io::Error| Failed(format!("docs/performance.md: {error}"));
    let text = fs::read_to_string(&page).map_err(failed)?;
    let replaced = replace(&text, &table(found))
        .ok_or_else(|| Failed("docs/performance.md has not the two marks".to_owned()))?;
    fs::write(&page, replaced).map_err(failed)?;
    let charts = root().join("docs/performance");
    fs::create_dir_all(&charts).map_err(failed)?;
    draw(found, &charts).map_err(failed)?;
    println!("written: docs/performance.md, docs/performance/*.svg");
    Ok(())
}

/// The text with what stands between the marks replaced.
fn replace(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

/// The table in Markdown, and the machine it is from.
fn table(found: &Value) -> String {
    let machine = &found["machine"];
    let said = |name: &str| machine[name].as_str().unwrap_or("unknown").to_owned();
    let cores = machine["cores"].as_u64().unwrap_or(0);
    let mut table = format!("{}, {cores} cores, Linux {}.", said("cpu"), said("kernel"));
    if found["quick"] == true {
        table.push_str(" A quick run: few rounds, short ones.");
    }
    table.push_str(
        "\n\n| row | what is measured | figure | floor | ratio | p10 – p90 | goal |\n|---|---|---|---|---|---|---|\n",
    );
    for line in found["markdown"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let _ = writeln!(table, "{line}");
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let text = format!("above\n{BEGIN}\nold\n{END}\nbelow");
        assert_eq!(replace(&text, "new\n").unwrap(), format!("above\n{BEGIN}\n\nnew\n\n{END}\nbelow"));
        assert_eq!(replace("above\nbelow", "new"), None);
    }

    #[test]
    fn the_table_names_the_machine_and_says_when_it_was_quick() {
        let found = json!({
            "quick": true,
            "machine": {"cpu": "A Processor", "cores": 2, "kernel": "6.1"},
            "markdown": ["| `a/b` | |"],
        });
        let table = table(&found);
        assert!(table.starts_with("A Processor, 2 cores, Linux 6.1. A quick run"));
        assert!(table.ends_with("|---|---|---|---|---|---|---|\n| `a/b` | |\n"));
    }

    #[test]
    fn servers_are_started_for_rows_that_want_them() {
        assert!(
            needs_servers("refresh") && needs_servers("refresh/redis/64") && needs_servers("size/postgres")
        );
        assert!(!needs_servers("verify/hs256") && !needs_servers("size/sqlite"));
    }
}
