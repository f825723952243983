//! The command line: what runs, on what, and where the report goes.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command answers on standard output and complains on standard error"
)]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::Value;

use crate::{
    case::Case,
    client::Target,
    differential::{self, Contestant},
    host::set_config,
    http, load,
    report::Report,
    runner::{self, Store, StoreProblem, Subject},
    vectors,
};

/// The hosts of adapters that are examples. Where nobody names them they run on the memory store alone: what differs
/// between stores is seen on the others.
const EXAMPLES: &[&str] = &["poem"];

const HELP: &str = "\
conformance: the black-box HTTP suite of gatekey

  --host NAME      a host program, found as host-NAME; repeatable
                   (default: every host-* found, without `broken`)
  --store NAME     memory, sqlite, postgres (DATABASE_URL), redis (REDIS_URL) or
                   redis-cluster (REDIS_CLUSTER_URLS); repeatable
                   (default: memory and sqlite)
  --case GLOB      the cases to run, with * as wildcard; repeatable
  --fault NAME     with --host broken: this fault alone; repeatable
  --config JSON    laid over the configuration of every host, under each case's own:
                   '{\"token_cache\": 0}' verifies every signature
  --url URL        a server that runs already, instead of hosts (http:// only)
  --prefix PATH    the prefix of its endpoints (default /auth)
  --bin-dir DIR    where host programs are (default: beside this program)
  --broken FILE    the faults of the broken host and the cases that notice them
  --known FILE     the expected failures
  --report FILE    where report.json goes (default: target/conformance/report.json)
  --jobs N         cases at once (default: three for each core)
  --require-all    what could not run is a failure
  --differential N send N drawn requests to every host and compare the answers
  --seed N         draw them from this number (default 1)
  --list           print the cases and stop
  --vectors        write tests/vectors anew and stop
  --help           this text

conformance load …  honest clients for a store that things happen to: `load --help`

Exit codes: 0 all as expected, 1 something failed, 2 the command line is wrong.";

#[derive(Default)]
struct Options {
    hosts: Vec<String>,
    stores: Vec<String>,
    cases: Vec<String>,
    faults: Vec<String>,
    config: Option<String>,
    url: Option<String>,
    prefix: Option<String>,
    bin_dir: Option<PathBuf>,
    broken: Option<PathBuf>,
    known: Option<PathBuf>,
    report: Option<PathBuf>,
    jobs: Option<usize>,
    require_all: bool,
    differential: Option<usize>,
    seed: Option<u64>,
    list: bool,
    vectors: bool,
    help: bool,
}

/// Runs the suite as the command line says.
pub fn command_line() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "load") {
        return exit(load::run(lexopt::Parser::from_args(arguments)));
    }
    exit(options().and_then(|options| {
        if options.help {
            println!("{HELP}");
            return Ok(true);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(run(options))
    }))
}

fn exit(outcome: Result<bool, String>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("conformance: {problem}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options, String> {
    use lexopt::{
        Arg::{Long, Short, Value as Positional},
        ValueExt,
    };
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_env();
    let mut read = || -> Result<(), lexopt::Error> {
        while let Some(argument) = parser.next()? {
            match argument {
                Long("host") => options.hosts.push(parser.value()?.string()?),
                Long("store") => options.stores.push(parser.value()?.string()?),
                Long("case") => options.cases.push(parser.value()?.string()?),
                Long("fault") => options.faults.push(parser.value()?.string()?),
                Long("config") => options.config = Some(parser.value()?.string()?),
                Long("url") => options.url = Some(parser.value()?.string()?),
                Long("prefix") => options.prefix = Some(parser.value()?.string()?),
                Long("bin-dir") => options.bin_dir = Some(parser.value()?.into()),
                Long("broken") => options.broken = Some(parser.value()?.into()),
                Long("known") => options.known = Some(parser.value()?.into()),
                Long("report") => options.report = Some(parser.value()?.into()),
                Long("jobs") => options.jobs = Some(parser.value()?.parse()?),
                Long("differential") => options.differential = Some(parser.value()?.parse()?),
                Long("seed") => options.seed = Some(parser.value()?.parse()?),
                Long("require-all") => options.require_all = true,
                Long("list") => options.list = true,
                Long("vectors") => options.vectors = true,
                Long("help") | Short('h') => options.help = true,
                other @ (Long(_) | Short(_) | Positional(_)) => return Err(other.unexpected()),
            }
        }
        Ok(())
    };
    read().map_err(|error| error.to_string())?;
    Ok(options)
}

async fn run(options: Options) -> Result<bool, String> {
    if options.vectors {
        let changed = vectors::write().map_err(|failure| format!("{failure:?}"))?;
        for path in &changed {
            println!("wrote {}", path.display());
        }
        println!("{} files changed", changed.len());
        return Ok(true);
    }
    let cases = selected(&options.cases)?;
    if options.list {
        for case in &cases {
            println!("{}\n    {} [{}]", case.id, case.requires, case.spec.join(", "));
        }
        println!("{} cases", cases.len());
        return Ok(true);
    }
    if let Some(text) = &options.config {
        set_config(serde_json::from_str(text).map_err(|error| format!("--config: {error}"))?);
    }
    // Many a case waits: for a disk, for a process to start, for another's hashing.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.unwrap_or(3 * cores);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known_file = options.known.clone().unwrap_or_else(|| here.join("known.json"));
    let known = known_failures(&known_file)?;
    let mut report = Report::default();
    for entry in &known {
        if !http::cases().any(|case| case.id == entry.case) {
            report.errors.push(format!("known.json: no case {}", entry.case));
        }
    }
    let reason = |case: &str, host: &str| {
        let entry = known.iter().find(|entry| entry.case == case && entry.host == host)?;
        Some(entry.reason.clone())
    };

    let mut subjects = Vec::new();
    if let Some(url) = &options.url {
        let target = foreign(url, options.prefix.as_deref()).await?;
        subjects.push(Subject::Foreign(target));
    } else {
        let bin_dir = match &options.bin_dir {
            // Hosts are started in folders of their own.
            Some(directory) => std::path::absolute(directory).map_err(|error| error.to_string())?,
            None => beside_this_program()?,
        };
        let hosts = if options.hosts.is_empty() { hosts_in(&bin_dir) } else { options.hosts.clone() };
        if let Some(count) = options.differential {
            return differential(&hosts, &bin_dir, count, options.seed.unwrap_or(1)).await;
        }
        if hosts.is_empty() {
            return Err(format!(
                "no host-* in {}; `cargo build -p gatekey-hosts` makes them",
                bin_dir.display()
            ));
        }
        let stores = if options.stores.is_empty() {
            vec!["memory".to_owned(), "sqlite".to_owned()]
        } else {
            options.stores.clone()
        };
        for host in &hosts {
            let program = bin_dir.join(format!("host-{host}{}", std::env::consts::EXE_SUFFIX));
            if !program.is_file() {
                report.not_run.push((host.clone(), format!("no {}", program.display())));
                continue;
            }
            if host == "broken" {
                let file = options.broken.clone().unwrap_or_else(|| here.join("../hosts/broken.json"));
                let store = match stores.as_slice() {
                    [one] => store(one)?.map_err(|why| format!("{one}: {why}"))?,
                    _ => Store::Memory,
                };
                broken(&program, &store, &file, &options, jobs, &mut report).await?;
                continue;
            }
            let example = options.hosts.is_empty() && EXAMPLES.contains(&host.as_str());
            let memory = stores.iter().any(|store| store == "memory");
            for name in stores.iter().filter(|store| !(example && memory) || *store == "memory") {
                match store(name)? {
                    Err(why) => report.not_run.push((format!("{host}/{name}"), why)),
                    Ok(store) => subjects.push(Subject::Program {
                        host: host.clone(),
                        program: program.clone(),
                        arguments: Vec::new(),
                        store,
                    }),
                }
            }
        }
    }
    runner::run(&subjects, &cases, jobs, &reason, &mut report).await;

    let path = match options.report {
        Some(path) => path,
        None => {
            let directory = beside_this_program()?.join("../conformance");
            std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
            directory.join("report.json")
        }
    };
    report.write(&path, &cases)?;
    Ok(report.finish(&cases, options.require_all))
}

/// Compares every host on the memory store, and the first on SQLite too.
async fn differential(hosts: &[String], bin_dir: &Path, count: usize, seed: u64) -> Result<bool, String> {
    let contestant = |host: &String, sqlite: bool| Contestant {
        name: format!("{host}/{}", if sqlite { "sqlite" } else { "memory" }),
        program: bin_dir.join(format!("host-{host}{}", std::env::consts::EXE_SUFFIX)),
        sqlite,
    };
    let first = hosts.first().map(|host| contestant(host, true));
    let contestants: Vec<_> = hosts.iter().map(|host| contestant(host, false)).chain(first).collect();
    differential::run(&contestants, count, seed).await
}

/// Runs each fault that the broken host can have.
async fn broken(
    program: &Path,
    store: &Store,
    file: &Path,
    options: &Options,
    jobs: usize,
    report: &mut Report,
) -> Result<(), String> {
    let faults = read_array(file)?;
    for fault in &faults {
        let name = member(fault, "fault", file)?;
        if !options.faults.is_empty() && !options.faults.contains(&name) {
            continue;
        }
        let listed = fault.get("cases").and_then(Value::as_array);
        let mut cases = Vec::new();
        for id in listed.into_iter().flatten() {
            match http::cases().find(|case| Some(case.id) == id.as_str()) {
                Some(case) => cases.push(case),
                None => report.errors.push(format!("{}: no case {id}", file.display())),
            }
        }
        runner::run_fault(program, store, &name, &cases, jobs, report).await;
    }
    Ok(())
}

/// The cases that match any of the globs; all without one.
fn selected(globs: &[String]) -> Result<Vec<&'static Case>, String> {
    for glob in globs {
        if !http::cases().any(|case| matches(glob, case.id)) {
            return Err(format!("no case matches {glob}"));
        }
    }
    Ok(http::cases()
        .filter(|case| globs.is_empty() || globs.iter().any(|glob| matches(glob, case.id)))
        .collect())
}

/// Whether a text matches a glob whose only special character is `*`.
fn matches(glob: &str, text: &str) -> bool {
    match glob.split_once('*') {
        None => glob == text,
        Some((before, rest)) => text.strip_prefix(before).is_some_and(|tail| {
            tail.char_indices()
                .map(|(at, _)| at)
                .chain([tail.len()])
                .any(|at| tail.get(at..).is_some_and(|tail| matches(rest, tail)))
        }),
    }
}

fn store(name: &str) -> Result<Result<Store, String>, String> {
    match Store::parse(name) {
        Ok(store) => Ok(Ok(store)),
        Err(StoreProblem::Absent(why)) => Ok(Err(why)),
        Err(StoreProblem::Unknown) => {
            Err(format!("no store {name:?}: there are memory, sqlite, postgres, redis and redis-cluster"))
        }
    }
}

fn beside_this_program() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let directory = program.parent().ok_or("this program has no folder")?;
    Ok(directory.to_owned())
}

fn hosts_in(directory: &Path) -> Vec<String> {
    let mut hosts: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let name = name.strip_suffix(std::env::consts::EXE_SUFFIX)?;
            name.strip_prefix("host-").map(str::to_owned)
        })
        // Build folders also hold `host-axum.d`.
        .filter(|name| name != "broken" && !name.contains('.'))
        .collect();
    hosts.sort();
    hosts
}

async fn foreign(url: &str, prefix: Option<&str>) -> Result<Target, String> {
    let authority = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .filter(|rest| !rest.is_empty() && !rest.contains('/'))
        .ok_or("--url takes http://HOST[:PORT]; the endpoints' path goes to --prefix")?;
    let bare_v6 = authority.ends_with(']');
    let has_port = authority.contains(':') && !bare_v6;
    let lookup = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let address = tokio::net::lookup_host(&lookup)
        .await
        .map_err(|error| format!("{authority}: {error}"))?
        .next()
        .ok_or_else(|| format!("{authority} has no address"))?;
    Ok(Target {
        address,
        authority: authority.to_owned(),
        prefix: prefix.unwrap_or("/auth").to_owned(),
        source: None,
        insecure_cookies: false,
    })
}

/// A failure that is expected, and why.
struct Known {
    case: String,
    host: String,
    reason: String,
}

fn known_failures(file: &Path) -> Result<Vec<Known>, String> {
    read_array(file)?
        .iter()
        .map(|entry| {
            Ok(Known {
                case: member(entry, "case", file)?,
                host: member(entry, "host", file)?,
                reason: member(entry, "reason", file)?,
            })
        })
        .collect()
}

fn read_array(file: &Path) -> Result<Vec<Value>, String> {
    let wrong = |problem: String| format!("{}: {problem}", file.display());
    let bytes = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    match crate::strict::json(&bytes).map_err(wrong)? {
        Value::Array(entries) => Ok(entries),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Err(wrong("not an array".to_owned()))
        }
    }
}

fn member(entry: &Value, name: &str, file: &Path) -> Result<String, String> {
    entry
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| format!("{}: an entry without {name:?}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (glob, text, expected) in [
            ("rotation/*", "rotation/reuse", true),
            ("rotation/*", "login/rotation/", false),
            ("*reuse*session", "rotation/reuse-revokes-session", true),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn the_known_failures_can_be_read() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("known.json");
        assert!(known_failures(&file).is_ok());
    }
}
