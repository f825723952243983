//! `conformance`: runs the black-box suite. `--help` lists the flags.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatekey_conformance::command_line()
}
