//! The black-box suite: builds the hosts, then hands everything to the `conformance` program.

use crate::run::{Failed, cargo, run};

pub(crate) fn conformance(arguments: Vec<String>) -> Result<(), Failed> {
    let foreign = arguments.iter().any(|argument| argument.starts_with("--url") || argument == "--list");
    if !foreign {
        run(&mut cargo(&["build", "--quiet", "--locked", "--package", "gatekey-hosts"]))?;
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
    run(suite.args(arguments))
}
