//! `cargo xtask sessions`: one table of PostgreSQL with many sessions. It runs the test that `cargo xtask test` runs with
//! few, and shows what it tells: the plan of a refresh, heap-only updates, bytes a session.

use lexopt::prelude::{Long, ValueExt};

use crate::{
    run::{Failed, cargo, run},
    services::Services,
};

/// How many where nothing is said: a minute's work. Ten million take six, and 14 GB of disk.
const ROWS: u64 = 1_000_000;

pub(crate) fn sessions(arguments: Vec<String>) -> Result<(), Failed> {
    let wrong = |error: lexopt::Error| Failed(error.to_string());
    let mut rows = ROWS;
    let mut arguments = lexopt::Parser::from_args(arguments);
    while let Some(argument) = arguments.next().map_err(wrong)? {
        let Long("rows") = argument else { return Err(wrong(argument.unexpected())) };
        rows = arguments.value().and_then(|value| value.parse()).map_err(wrong)?;
    }
    let services = Services::find(|store| store == "postgres");
    services.announce();
    let test = "many::a_refresh_finds_its_row_by_one_key_among_many";
    let mut command =
        cargo(&["test", "--workspace", "--all-features", "--locked", "--quiet", "--test", "servers"]);
    command.args(["--", "--exact", test, "--nocapture"]).envs(services.environment());
    run(command.env("GATEKEY_SESSIONS", rows.to_string()).env("GATEKEY_REQUIRE_ALL", "1"))
}
