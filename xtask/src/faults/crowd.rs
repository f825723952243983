//! The honest clients: `conformance load` as a child, and what it is told.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use super::{Options, Trouble, failed};

/// Some nodes on one store, and the clients that use them. All end with this value.
pub(super) struct Crowd {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// A session as a client knows it, to be found in the store.
pub(super) struct Holding {
    pub(super) session: String,
    pub(super) generation: String,
    /// The SHA-256 of its live token, in hexadecimal.
    pub(super) digest: String,
}

impl Crowd {
    /// Starts them, with further arguments, and waits until every client is logged in.
    pub(super) fn start(options: &Options, store: &str, arguments: &[&str]) -> Result<Self, Trouble> {
        let mut load = load(options, store);
        load.args(["--clients", &options.clients.to_string()]).args(arguments);
        let mut child = load
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format_args!("conformance load: {error}")))?;
        let commands = child.stdin.take();
        let answers = child.stdout.take().map(BufReader::new).ok_or_else(|| failed("no output"))?;
        let mut crowd = Self { child, commands, answers };
        crowd.answer("start")?;
        Ok(crowd)
    }

    /// Gives a command and waits until it is answered. The answer's lines, the last without `done COMMAND`.
    pub(super) fn ask(&mut self, command: &str) -> Result<Vec<String>, Trouble> {
        // Whoever does not listen any more has said why.
        if let Some(commands) = &mut self.commands {
            let _ = writeln!(commands, "{command}");
        }
        self.answer(command)
    }

    fn answer(&mut self, command: &str) -> Result<Vec<String>, Trouble> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if !matches!(self.answers.read_line(&mut line), Ok(1..)) {
                return Err(self.last_words(command));
            }
            match line.trim_end().strip_prefix(&format!("done {command}")) {
                Some(counts) => {
                    lines.push(counts.trim().to_owned());
                    return Ok(lines);
                }
                None => lines.push(line.trim_end().to_owned()),
            }
        }
    }

    /// The sessions of the clients.
    pub(super) fn sessions(&mut self) -> Result<Vec<String>, Trouble> {
        let lines = self.ask("sessions")?;
        Ok(lines.iter().filter_map(|line| line.strip_prefix("session ").map(str::to_owned)).collect())
    }

    /// Ends the load: what each client holds, and what happened meanwhile.
    pub(super) fn settle(&mut self) -> Result<(Vec<Holding>, HashMap<String, usize>), Trouble> {
        let mut lines = self.ask("settle")?;
        let counts = lines.pop().unwrap_or_default();
        let counts = counts.split(' ').filter_map(|count| {
            let (name, number) = count.split_once('=')?;
            Some((name.to_owned(), number.parse().ok()?))
        });
        let holding = |line: &String| {
            let mut words = line.strip_prefix("holds ")?.split(' ').map(str::to_owned);
            Some(Holding { session: words.next()?, generation: words.next()?, digest: words.next()? })
        };
        Ok((lines.iter().filter_map(holding).collect(), counts.collect()))
    }

    fn last_words(&mut self, command: &str) -> Trouble {
        let _ = self.child.wait();
        let mut said = String::new();
        if let Some(errors) = &mut self.child.stderr {
            let _ = errors.read_to_string(&mut said);
        }
        failed(format_args!("at `{command}`\n{}", said.trim_end()))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // Its nodes end with it, once it hears that nobody gives commands any more.
        self.commands = None;
        let _ = self.child.wait();
    }
}

/// Whether a node on this store refuses to start, with one line that says why.
pub(super) fn refuses_to_start(options: &Options, store: &str) -> Result<(), Trouble> {
    let output = load(options, store).arg("--refused").stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(format_args!("conformance load: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim_end()))
}

fn load(options: &Options, store: &str) -> Command {
    let mut command = Command::new(&options.conformance);
    command.args(["load", "--store", store]).arg("--program").arg(&options.host);
    command
}
