//! The vectors in `tests/vectors`, written by the suite that runs them.

use crate::run::{Failed, cargo, no_arguments, run};

/// `cargo xtask vectors`.
pub(crate) fn vectors(arguments: Vec<String>) -> Result<(), Failed> {
    no_arguments(&arguments)?;
    run(&mut cargo(&[
        "run",
        "--quiet",
        "--locked",
        "--package",
        "gatekey-conformance",
        "--bin",
        "conformance",
        "--",
        "--vectors",
    ]))
}
