//! `cargo xtask COMMAND`: everything this repository does, by name. A command is one row here and one function.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

mod advisories;
mod api;
mod bench;
mod browser;
mod counts;
mod faults;
mod features;
mod fuzz;
mod interop;
mod js;
mod minimal;
mod mutants;
mod node;
mod python;
mod run;
mod sbom;
mod services;
mod sessions;
mod suite;
mod tidy;
mod vectors;

use std::process::ExitCode;

use run::{Failed, Steps};
use services::{NotRun, Services};

struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(Vec<String>) -> Result<(), Failed>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        about: "what CI runs: check, unit and doc tests, store suite, HTTP suite, browser, interop: --require-all; with \
                --long also faults, the suite without a cache, features, counts",
        run: test,
    },
    Command { name: "check", about: "format, lints, documentation, tidiness, counts", run: check },
    Command {
        name: "counts",
        about: "instructions of a request, against the figures in the repository: --case NAME; --write renews them",
        run: counts::counts,
    },
    Command {
        name: "conformance",
        about: "the black-box suite: --host H --store S --case GLOB --url URL --list",
        run: suite::conformance,
    },
    Command {
        name: "browser",
        about: "gatekey.js and the page in Chromium and Node: --host H --test GLOB --list",
        run: browser::browser,
    },
    Command {
        name: "interop",
        about: "foreign libraries with our tokens and endpoints, our Verifier with theirs: NAME… --require-all",
        run: interop::interop,
    },
    Command {
        name: "js",
        about: "gatekey.js: types, size, what is committed; --write renews what is committed",
        run: js::js,
    },
    Command {
        name: "faults",
        about: "servers that are killed, delayed and filled under load: --case GLOB --host H --rounds N",
        run: faults::faults,
    },
    Command {
        name: "bench",
        about: "every figure of docs/performance.md beside its floor: ROW… --quick --peers --list --write",
        run: bench::bench,
    },
    Command {
        name: "services",
        about: "starts PostgreSQL and Redis for tests, prints their URLs, waits: --durable",
        run: services::services,
    },
    Command {
        name: "sessions",
        about: "what a refresh costs PostgreSQL among many sessions, and what each takes: --rows N",
        run: sessions::sessions,
    },
    Command {
        name: "fuzz",
        about: "looks for inputs that break a property, for so long each: --target T --seconds N",
        run: fuzz::fuzz,
    },
    Command {
        name: "mutants",
        about: "changes that no test notices, in the files that decide who gets in: --file F --list",
        run: mutants::mutants,
    },
    Command {
        name: "vectors",
        about: "writes the tokens in tests/vectors anew; a test compares them with what writes them",
        run: vectors::vectors,
    },
    Command {
        name: "advisories",
        about: "locked packages with an open advisory, by a copy of the RustSec database: --db DIR",
        run: advisories::advisories,
    },
    Command {
        name: "sbom",
        about: "what a program with gatekey is made of, as CycloneDX: --package P --output FILE",
        run: sbom::sbom,
    },
    Command {
        name: "api",
        about: "every public name of the published crates, to compare before a release: PACKAGE…",
        run: api::api,
    },
    Command {
        name: "minimal",
        about: "the published crates with the oldest dependencies that they allow",
        run: minimal::minimal,
    },
    Command {
        name: "features",
        about: "every published crate by itself, with each of its features: PACKAGE…",
        run: features::features,
    },
    Command {
        name: "tidy",
        about: "what no compiler checks: who depends on whom, claims in documents",
        run: tidy,
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("usage: cargo xtask COMMAND\n");
        for Command { name, about, .. } in COMMANDS {
            eprintln!("  {name:<12} {about}");
        }
        return ExitCode::from(2);
    };
    match (command.run)(arguments.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(what)) => {
            eprintln!("xtask {name}: {what}");
            ExitCode::FAILURE
        }
    }
}

/// The steps of `check`, shared with `test`.
fn check_steps(steps: &mut Steps) {
    steps.cargo("format", &["fmt", "--all", "--check"]);
    steps.call("tidy", "cargo xtask tidy", tidy::all);
    steps.cargo(
        "lints",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    );
    steps.cargo_with(
        "documentation",
        &["doc", "--workspace", "--no-deps", "--all-features", "--locked", "--quiet"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    );
}

fn check(arguments: Vec<String>) -> Result<(), Failed> {
    run::no_arguments(&arguments)?;
    let mut steps = Steps::default();
    check_steps(&mut steps);
    counts::counts_step(&mut steps, false);
    steps.end()
}

fn test(mut arguments: Vec<String>) -> Result<(), Failed> {
    let mut has = |flag: &str| {
        let before = arguments.len();
        arguments.retain(|argument| argument != flag);
        arguments.len() < before
    };
    let (require_all, long) = (has("--require-all"), has("--long"));
    run::no_arguments(&arguments)?;
    let arguments = if require_all { vec!["--require-all".to_owned()] } else { Vec::new() };
    let mut steps = Steps::default();
    check_steps(&mut steps);

    let services = Services::find(|_| true);
    services.announce();
    for (store, why) in services.missing() {
        if require_all {
            steps.call(store, "cargo xtask services", || Err(Failed(format!("not run: {why}"))));
        } else {
            steps.not_run(store, why);
        }
    }
    steps.environment(services.environment());
    if require_all {
        // A test of a store without its server fails then, and does not just say so.
        steps.environment([("GATEKEY_REQUIRE_ALL", "1".to_owned())]);
    }
    steps.cargo(
        "unit and doc tests",
        &["test", "--workspace", "--all-features", "--locked", "--quiet", "--no-fail-fast"],
    );
    steps.call("HTTP suite", "cargo xtask conformance", || {
        suite::conformance_with(&services, arguments.clone())
    });
    steps.call("HTTP suite notices faults", "cargo xtask conformance --host broken", || {
        suite::conformance_with(&services, vec!["--host".to_owned(), "broken".to_owned()])
    });
    steps.call("hosts answer alike", "cargo xtask conformance --differential 5000", || {
        suite::conformance_with(&services, vec!["--differential".to_owned(), "5000".to_owned()])
    });
    let tools = browser::Tools::find();
    match if require_all { tools.and_then(browser::Tools::all) } else { tools } {
        Ok(tools) => {
            steps.call("browser", "cargo xtask browser", || browser::browser_with(&tools, Vec::new()));
        }
        Err(NotRun(why)) if require_all => {
            steps.call("browser", "cargo xtask browser", || Err(Failed(format!("not run: {why}"))));
        }
        Err(NotRun(why)) => steps.not_run("browser", &why),
    }
    interop::interop_steps(&mut steps, require_all, |_| true);
    if long {
        // Of one store: what is remembered is remembered in front of them.
        let uncached = ["--config", r#"{"token_cache": 0}"#, "--store", "memory"];
        let repeat = format!("cargo xtask conformance --config '{}' --store memory", uncached[1]);
        steps.call("HTTP suite, no cache", &repeat, || {
            let arguments = arguments.iter().cloned();
            suite::conformance_with(&services, arguments.chain(uncached.map(str::to_owned)).collect())
        });
        steps.call("servers that fail", "cargo xtask faults", || faults::faults(arguments));
        steps.call("features one by one", "cargo xtask features", || features::features(Vec::new()));
        counts::counts_step(&mut steps, require_all);
    }
    steps.end()
}

fn tidy(arguments: Vec<String>) -> Result<(), Failed> {
    run::no_arguments(&arguments)?;
    tidy::all()
}
