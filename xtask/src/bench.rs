//! `cargo xtask bench`: every figure of `docs/performance.md` beside its floor, on this machine.
//!
//! It builds `tests/bench` in release, starts PostgreSQL and Redis as an operator runs them (durable), and lets `bench`
//! measure. What it finds is printed, and goes to `target/bench/bench.json` and, a chart for each family of rows, to
//! `target/bench/*.svg`. `--write` also puts the table, the charts, and the sizes worked out from it, between marks into
//! `docs/performance.md`, and charts and `bench.json` into `docs/performance`. Where only some rows were asked for, those
//! take the places of their former figures, and the others keep theirs, if they are of the same machine.
//!
//! It is no test: a goal that was missed is told and fails nothing, since it may be the machine's doing. A row that
//! could not be measured fails the command.

mod chart;
mod flame;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    node::Node,
    python,
    run::{Failed, cargo, root, run},
    services::{Durability, Services},
};

/// Between these two marks of its kind stands what is written.
fn marks(kind: &str) -> (String, String) {
    (format!("<!-- {kind}: written by cargo xtask bench --write -->"), format!("<!-- end of {kind} -->"))
}

/// `cargo xtask bench [--quick] [--peers] [--write] [--list] [ROW…]`, or `--flame ROW…`.
pub(crate) fn bench(mut arguments: Vec<String>) -> Result<(), Failed> {
    let mut has = |flag: &str| {
        let before = arguments.len();
        arguments.retain(|argument| argument != flag);
        arguments.len() < before
    };
    let (write, peers, flame) = (has("--write"), has("--peers"), has("--flame"));
    if flame {
        return flame::flame(&arguments);
    }
    let build = ["build", "--quiet", "--release", "--locked", "--package", "gatekey-bench"];
    run(&mut cargo(&build))?;
    let program_of_bench = root().join("target/release/bench");
    if arguments.iter().any(|argument| argument == "--list") {
        return run(std::process::Command::new(program_of_bench).args(&arguments));
    }
    let rows: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let services = Services::find_for(Durability::Durable, |store| wanted(store, &rows));
    services.announce();
    let home = root().join("target/bench");
    let failed = |error: std::io::Error| Failed(format!("target/bench: {error}"));
    fs::create_dir_all(&home).map_err(failed)?;
    let json = home.join("bench.json");
    let mut command = std::process::Command::new(program_of_bench);
    command.args(&arguments).arg("--json").arg(&json).envs(services.environment());
    if peers {
        match Node::with_packages_of("bench/peers") {
            Ok(node) => {
                command.env("GATEKEY_BENCH_PEERS", node.home());
            }
            Err(not_run) => println!("peers: not run: {}", not_run.0),
        }
        match python::with_packages_of("bench/peers") {
            Ok(python) => {
                command.env("GATEKEY_BENCH_PYTHON", python);
            }
            Err(not_run) => println!("peers: not run: {}", not_run.0),
        }
        match peers_in_rust() {
            Ok(program) => {
                command.env("GATEKEY_BENCH_RUST", program);
            }
            Err(failed) => println!("peers: not run: {}", failed.0),
        }
    }
    let measured = run(&mut command);
    let text = fs::read_to_string(&json).map_err(failed)?;
    let found: Value = serde_json::from_str(&text).map_err(|error| Failed(error.to_string()))?;
    draw(&found, &home).map_err(failed)?;
    println!("\ntarget/bench: bench.json and a chart for each family");
    if write {
        measured?;
        return publish(if rows.is_empty() { found } else { merged(found) });
    }
    measured
}

/// The program of the peers in Rust: a workspace of its own, so that what they depend on is not in ours.
fn peers_in_rust() -> Result<PathBuf, Failed> {
    let target = root().join("target/bench/peers/rust");
    println!("building tests/bench/peers/rust: cargo build --release");
    let build =
        ["build", "--quiet", "--release", "--locked", "--manifest-path", "tests/bench/peers/rust/Cargo.toml"];
    run(cargo(&build).arg("--target-dir").arg(&target))?;
    Ok(target.join("release/gatekey-bench-peers"))
}

/// Whether a server is wanted for these rows, or for all of them where none is named. Nobody wants a cluster.
fn wanted(store: &str, rows: &[impl AsRef<str>]) -> bool {
    ["postgres", "redis"].contains(&store)
        && (rows.is_empty() || rows.iter().any(|row| needs_servers(row.as_ref())))
}

/// Whether a row that is asked for may want a server: better one too many than a row that is not run.
fn needs_servers(row: &str) -> bool {
    ["refresh", "revocation", "size"].contains(&row.split('/').next().unwrap_or_default())
        && !row.ends_with("/sqlite")
}

/// What `--write` keeps beside the charts.
fn kept() -> PathBuf {
    root().join("docs/performance/bench.json")
}

/// The figures that are kept, with the new ones among them.
fn merged(found: Value) -> Value {
    let known = fs::read_to_string(kept()).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    match known {
        Some(known) => merge(known, &found).unwrap_or(found),
        None => found,
    }
}

/// `None` where the two are of different machines, or one of them was a quick run: they say nothing beside each other.
fn merge(mut known: Value, found: &Value) -> Option<Value> {
    let machine = |of: &Value| ["cpu", "cores", "kernel"].map(|name| of["machine"][name].clone());
    if machine(&known) != machine(found) || known["quick"] != found["quick"] {
        return None;
    }
    for (row, line) in found["rows"].as_array()?.iter().zip(found["markdown"].as_array()?) {
        let at = known["rows"].as_array()?.iter().position(|old| old["name"] == row["name"]);
        for (list, new) in [("rows", row), ("markdown", line)] {
            let list = known[list].as_array_mut()?;
            match at {
                Some(at) => *list.get_mut(at)? = new.clone(),
                None => list.push(new.clone()),
            }
        }
    }
    Some(known)
}

/// A chart for each family that has ratios.
fn draw(found: &Value, to: &Path) -> std::io::Result<()> {
    for (family, rows) in families(found) {
        fs::write(to.join(format!("{family}.svg")), chart::of_ratios(family, &rows))?;
    }
    Ok(())
}

/// The rows with ratios, by the first part of their names.
fn families(found: &Value) -> BTreeMap<&str, Vec<&Value>> {
    let mut families: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for row in found["rows"].as_array().into_iter().flatten().filter(|row| row["ratio"].is_object()) {
        let name = row["name"].as_str().unwrap_or_default();
        families.entry(name.split('/').next().unwrap_or_default()).or_default().push(row);
    }
    families
}

/// Puts the table and the charts where readers find them.
fn publish(found: Value) -> Result<(), Failed> {
    let found = &found;
    let page = root().join("docs/performance.md");
    let failed = |error: std::io::Error| Failed(format!("docs/performance.md: {error}"));
    let text = fs::read_to_string(&page).map_err(failed)?;
    let replaced = replace(&text, "table", &table(found))
        .and_then(|text| match sizing(found) {
            Some(sizing) => replace(&text, "sizing", &sizing),
            // The rows that it is worked out from were not asked for.
            None => Some(text),
        })
        .ok_or_else(|| Failed("docs/performance.md has not all of its marks".to_owned()))?;
    fs::write(&page, replaced).map_err(failed)?;
    let charts = root().join("docs/performance");
    fs::create_dir_all(&charts).map_err(failed)?;
    draw(found, &charts).map_err(failed)?;
    let text = serde_json::to_string_pretty(found).map_err(|error| Failed(error.to_string()))?;
    fs::write(kept(), text + "\n").map_err(failed)?;
    println!("written: docs/performance.md, docs/performance: bench.json and a chart for each family");
    Ok(())
}

/// The text with what stands between the marks replaced.
fn replace(text: &str, kind: &str, by: &str) -> Option<String> {
    let (begin, end) = marks(kind);
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{by}\n{end}{after}"))
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
    table.push('\n');
    for family in families(found).into_keys() {
        let _ = writeln!(table, "![{family}: figure ÷ floor](performance/{family}.svg)");
    }
    table
}

/// What sessions take in each store, and how many refreshes a second they ask for: worked out from what a session was
/// measured to take. `None` where that is not among the rows.
fn sizing(found: &Value) -> Option<String> {
    let bytes = |name: &str| {
        let row = found["rows"].as_array()?.iter().find(|row| row["name"] == name)?;
        row["figure"]["median"].as_f64()
    };
    let stores = ["memory/session", "size/sqlite", "size/postgres", "size/redis"].map(bytes);
    let [Some(memory), Some(sqlite), Some(postgres), Some(redis)] = stores else { return None };
    let mut table = format!(
        "Bytes a session: {memory:.0} in memory, {sqlite:.0} in SQLite, {postgres:.0} in PostgreSQL, {redis:.0} in \
         Redis.\n\n| sessions | in memory | SQLite | PostgreSQL | Redis | refreshes a second |\n|---|---|---|---|---|---|\n"
    );
    for (name, sessions) in
        [("10,000", 1e4), ("100,000", 1e5), ("1 million", 1e6), ("10 million", 1e7), ("100 million", 1e8)]
    {
        let size = |bytes: f64| match bytes * sessions / f64::from(1 << 20) {
            small if small < 1024.0 => format!("{small:.0} MiB"),
            large => format!("{:.1} GiB", large / 1024.0),
        };
        // One in ten in use at a time, and an access token lives for 15 minutes.
        let refreshes = (sessions / 10.0 / 900.0).ceil();
        let [memory, sqlite, postgres, redis] = [memory, sqlite, postgres, redis].map(size);
        let _ = writeln!(table, "| {name} | {memory} | {sqlite} | {postgres} | {redis} | {refreshes:.0} |");
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_between_the_marks_of_its_kind_is_replaced_and_nothing_else() {
        let part = |kind: &str, text: &str| {
            let (begin, end) = marks(kind);
            format!("{begin}{text}{end}")
        };
        let page =
            |new: &str| format!("above\n{}\n{}\nbelow", part("table", new), part("sizing", "\nkept\n"));
        assert_eq!(replace(&page("\nold\n"), "table", "new\n").unwrap(), page("\n\nnew\n\n"));
        assert_eq!(replace("above\nbelow", "table", "new"), None);
    }

    #[test]
    fn sizes_follow_from_the_bytes_of_a_session() {
        let row = |name: &str| json!({"name": name, "figure": {"median": 1024.0}});
        let rows = ["memory/session", "size/sqlite", "size/postgres", "size/redis"].map(row);
        let table = sizing(&json!({ "rows": rows })).unwrap();
        assert!(table.contains("| 1 million | 977 MiB | 977 MiB | 977 MiB | 977 MiB | 112 |\n"), "{table}");
        assert!(table.contains("| 100 million | 95.4 GiB |"), "{table}");
        assert_eq!(sizing(&json!({ "rows": rows[1..] })), None);
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
        assert!(table.ends_with("|---|---|---|---|---|---|---|\n| `a/b` | |\n\n"));
        let rows = json!([{"name": "a/b", "ratio": {"median": 1.0}}, {"name": "a/c"}, {"name": "d/e"}]);
        let table = super::table(&json!({ "rows": rows }));
        assert!(table.ends_with("\n\n![a: figure ÷ floor](performance/a.svg)\n"));
    }

    #[test]
    fn rows_measured_again_take_their_places_and_those_of_another_machine_do_not() {
        let run = |cpu: &str, rows: &[(&str, u8)]| {
            let row = |(name, median): &(&str, u8)| json!({"name": name, "figure": {"median": median}});
            let line = |(name, median): &(&str, u8)| json!(format!("{name} {median}"));
            json!({
                "quick": false,
                "machine": {"cpu": cpu, "cores": 2, "kernel": "6.1", "load": "0.1"},
                "rows": rows.iter().map(row).collect::<Vec<_>>(),
                "markdown": rows.iter().map(line).collect::<Vec<_>>(),
            })
        };
        let known = run("A", &[("a/b", 1), ("a/c", 2), ("d/e", 3)]);
        let merged = merge(known.clone(), &run("A", &[("a/c", 7), ("f/g", 8)]));
        assert_eq!(merged, Some(run("A", &[("a/b", 1), ("a/c", 7), ("d/e", 3), ("f/g", 8)])));
        assert_eq!(merge(known, &run("B", &[("a/c", 7)])), None);
    }

    #[test]
    fn servers_are_started_for_rows_that_want_them() {
        assert!(
            needs_servers("refresh") && needs_servers("refresh/redis/64") && needs_servers("size/postgres")
        );
        assert!(!needs_servers("verify/hs256") && !needs_servers("size/sqlite"));
    }
}
