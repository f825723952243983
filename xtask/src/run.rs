//! Running things: steps that are announced, timed, and told in a table at the end with how to repeat what failed.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

/// Why a command failed: one line.
pub(crate) struct Failed(pub(crate) String);

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Cargo, in the root of the repository.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<(), Failed> {
    let status = command.status().map_err(|error| Failed(format!("{command:?}: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failed(format!("{status}"))) }
}

pub(crate) fn no_arguments(arguments: &[String]) -> Result<(), Failed> {
    match arguments {
        [] => Ok(()),
        [first, ..] => Err(Failed(format!("{first:?} is not taken here"))),
    }
}

struct Step {
    name: &'static str,
    repeat: String,
    failed: Option<String>,
    took: Duration,
}

/// Steps run one after the other. A failed one does not stop the others: one run tells everything.
#[derive(Default)]
pub(crate) struct Steps(Vec<Step>);

impl Steps {
    pub(crate) fn cargo(&mut self, name: &'static str, arguments: &[&str]) {
        self.cargo_with(name, arguments, &[]);
    }

    pub(crate) fn cargo_with(
        &mut self,
        name: &'static str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) {
        let set: String = environment.iter().map(|(name, value)| format!("{name}=\"{value}\" ")).collect();
        let repeat = format!("{set}cargo {}", arguments.join(" "));
        let mut command = cargo(arguments);
        command.envs(environment.iter().copied());
        self.call(name, &repeat, || run(&mut command));
    }

    pub(crate) fn call(
        &mut self,
        name: &'static str,
        repeat: &str,
        step: impl FnOnce() -> Result<(), Failed>,
    ) {
        println!("\n== {name}: {repeat}");
        let started = Instant::now();
        let failed = step().err().map(|Failed(what)| what);
        self.0.push(Step { name, repeat: repeat.to_owned(), failed, took: started.elapsed() });
    }

    pub(crate) fn end(self) -> Result<(), Failed> {
        println!("\n{:<28} {:>8}  result", "step", "seconds");
        for Step { name, failed, took, .. } in &self.0 {
            let result = failed.as_deref().unwrap_or("passed");
            println!("{name:<28} {:>8.1}  {result}", took.as_secs_f64());
        }
        let failed: Vec<_> = self.0.iter().filter(|step| step.failed.is_some()).collect();
        for Step { name, repeat, .. } in &failed {
            println!("\n{name} failed. Repeat: {repeat}");
        }
        println!("\nsteps: {} passed, {} failed", self.0.len() - failed.len(), failed.len());
        if failed.is_empty() { Ok(()) } else { Err(Failed(format!("{} steps failed", failed.len()))) }
    }
}
