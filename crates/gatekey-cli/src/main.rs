//! `gatekey`: what operators do beside the running application. [`commands`] is the one table of what there is; the help,
//! the parser and the completions all come from it.
//!
//! Exit codes: 0 done, or yes; 1 refused, or no; 2 the command line or a file is wrong; 3 a store gave no answer; 4 the
//! output could not be written.

mod commands;
mod complete;
mod keys;
mod migrate;
mod output;
mod sessions;
mod store;
mod token;
mod users;

use std::{fmt, process::ExitCode};

use commands::Invocation;

/// Why a command did not do what it was asked: one line, and the exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Refused, or the answer is no.
    Refused(String),
    /// The command line or a file is wrong.
    Usage(String),
    /// A store gave no answer.
    Unavailable(String),
    /// What was done cannot be told: standard output takes nothing.
    Unwritten(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unavailable(_) => 3,
            Self::Unwritten(_) => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(text) | Self::Usage(text) | Self::Unavailable(text) | Self::Unwritten(text)) =
            self;
        if matches!(self, Self::Unwritten(_)) {
            f.write_str("standard output: ")?;
        }
        // One line whatever the cause says.
        f.write_str(&text.replace(['\r', '\n'], " "))
    }
}

impl From<gatekey::StoreError> for Failure {
    fn from(error: gatekey::StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What a command came to: whether the answer is yes.
pub(crate) type Outcome = Result<bool, Failure>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            output::tell!("gatekey: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run() -> Outcome {
    let Some(invocation) = Invocation::parse(std::env::args_os().skip(1))? else {
        return Ok(true);
    };
    let run = invocation.command.run;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Unavailable(format!("no runtime: {error}")))?;
    runtime.block_on(run(invocation))
}
