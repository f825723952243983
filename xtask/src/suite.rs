//! The black-box suite: builds the hosts, finds the servers, then hands everything to the `conformance` program.

use crate::{
    run::{Failed, cargo, run},
    services::Services,
};

/// The stores that the suite runs on where nothing else is said.
const STORES: &[&str] = &["memory", "sqlite", "postgres", "redis"];

/// `cargo xtask conformance`, with servers of its own.
pub(crate) fn conformance(arguments: Vec<String>) -> Result<(), Failed> {
    // A foreign server, a list, the wrong host and the comparison of hosts bring or choose their stores themselves.
    let own = ["--url", "--list", "--differential", "--help", "broken"];
    let bare = arguments.iter().any(|argument| own.iter().any(|own| argument.starts_with(own)));
    let stores: Vec<_> = match asked(&arguments) {
        asked if !asked.is_empty() => asked,
        _ if bare => Vec::new(),
        _ => STORES.iter().map(|store| (*store).to_owned()).collect(),
    };
    let services = Services::find(|store| stores.iter().any(|asked| asked == store));
    services.announce();
    conformance_with(&services, arguments)
}

/// The same with servers that run already.
pub(crate) fn conformance_with(services: &Services, mut arguments: Vec<String>) -> Result<(), Failed> {
    let has = |flag: &str| arguments.iter().any(|argument| argument.starts_with(flag));
    if !(has("--url") || has("--list") || has("--help")) {
        run(&mut cargo(&["build", "--quiet", "--locked", "--package", "gatekey-hosts"]))?;
        if !(has("--store") || has("--differential") || has("broken")) {
            arguments.extend(STORES.iter().map(|store| format!("--store={store}")));
        }
    }
    let mut suite = cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--package",
        "gatekey-conformance",
        "--bin",
        "conformance",
        "--",
    ]);
    run(suite.args(arguments).envs(services.environment()))
}

/// The values of `--store`.
fn asked(arguments: &[String]) -> Vec<String> {
    let mut asked = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--store") {
            Some("") => asked.extend(arguments.next().cloned()),
            Some(value) => asked.extend(value.strip_prefix('=').map(str::to_owned)),
            None => {}
        }
    }
    asked
}
