//! What is written: a table for people, or JSON for programs.

use std::{
    fmt,
    io::{ErrorKind, Write},
};

use serde_json::{Map, Value};

use crate::Failure;

/// A line on standard output.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::write_out(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// A line on standard error; if nobody can be told, the exit code still tells.
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::output::write_beside(format_args!($($text)*))
    };
}

pub(crate) use {say, tell};

/// Writes to standard output. Whoever closed it, as `head` does, has seen enough: that is no failure.
pub(crate) fn write_out(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Unwritten(error.to_string())),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a line to standard error.
pub(crate) fn write_beside(text: fmt::Arguments<'_>) {
    let _nobody_listens = writeln!(std::io::stderr(), "{text}");
}

/// Rows under names, all of them texts or other plain values.
pub(crate) struct Table {
    names: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Table {
    pub(crate) fn new(names: &'static [&'static str]) -> Self {
        Self { names, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Value>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes it; in JSON as an array of objects.
    pub(crate) fn write(&self, json: bool) -> Result<(), Failure> {
        if json {
            let object = |row: &Vec<Value>| -> Value {
                let members = self.names.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned());
                members.collect::<Map<_, _>>().into()
            };
            return say!("{}", Value::Array(self.rows.iter().map(object).collect()));
        }
        let header: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(plain).collect()).collect();
        let lines: Vec<_> = std::iter::once(&header).chain(&rows).collect();
        let widths: Vec<usize> = (0..self.names.len())
            .map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0))
            .collect();
        for line in lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            say!("{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A value in a table. What came from outside cannot move the cursor.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
