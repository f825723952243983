//! `gatekey-counts CASE TIMES`: does a case so often, in a function by whose name Valgrind knows what to count.

#![allow(clippy::print_stderr, reason = "a program for xtask")]

use std::process::ExitCode;

use gatekey_counts::CASES;

/// Nothing else is counted: `--toggle-collect='*counted_here*'`.
#[inline(never)]
fn counted_here(times: usize, case: &mut dyn FnMut()) {
    for _ in 0..times {
        case();
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let asked = |name: &str, times: &str| {
        Some((CASES.iter().find(|case| case.name == name)?, times.parse::<usize>().ok()?))
    };
    let Some((case, times)) =
        arguments.first().zip(arguments.get(1)).and_then(|(name, times)| asked(name, times))
    else {
        eprintln!("usage: gatekey-counts CASE TIMES");
        for case in CASES {
            eprintln!("  {}", case.name);
        }
        return ExitCode::from(2);
    };
    let mut prepared = case.prepare(times);
    counted_here(times, &mut prepared);
    ExitCode::SUCCESS
}
