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
    result: StepResult,
    took: Duration,
}

enum StepResult {
    Passed,
    Failed(String),
    NotRun(String),
}

/// Steps run one after the other. A failed one does not stop the others: one run tells everything.
#[derive(Default)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    environment: Vec<(&'static str, String)>,
}

impl Steps {
    /// Sets variables for the cargo commands that follow. They are not printed: a URL holds a password.
    pub(crate) fn environment(&mut self, variables: impl IntoIterator<Item = (&'static str, String)>) {
        self.environment.extend(variables);
    }

    /// Notes what could not be run, and why.
    pub(crate) fn not_run(&mut self, name: &'static str, why: &str) {
        let result = StepResult::NotRun(why.to_owned());
        self.steps.push(Step { name, repeat: String::new(), result, took: Duration::ZERO });
    }

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
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
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
        let result = match step() {
            Ok(()) => StepResult::Passed,
            Err(Failed(what)) => StepResult::Failed(what),
        };
        self.steps.push(Step { name, repeat: repeat.to_owned(), result, took: started.elapsed() });
    }

    pub(crate) fn end(self) -> Result<(), Failed> {
        let (mut passed, mut failed, mut not_run) = (0, Vec::new(), 0);
        println!("\n{:<28} {:>8}  result", "step", "seconds");
        for step in &self.steps {
            let (name, took) = (step.name, step.took.as_secs_f64());
            match &step.result {
                StepResult::Passed => {
                    passed += 1;
                    println!("{name:<28} {took:>8.1}  passed");
                }
                StepResult::Failed(what) => {
                    failed.push(step);
                    println!("{name:<28} {took:>8.1}  {what}");
                }
                StepResult::NotRun(why) => {
                    not_run += 1;
                    println!("{name:<28} {:>8}  not run: {why}", "-");
                }
            }
        }
        for Step { name, repeat, .. } in &failed {
            println!("\n{name} failed. Repeat: {repeat}");
        }
        println!("\nsteps: {passed} passed, {} failed, {not_run} not run", failed.len());
        if failed.is_empty() { Ok(()) } else { Err(Failed(format!("{} steps failed", failed.len()))) }
    }
}
