//! What is written: a table for people, or JSON for programs.

use serde_json::{Map, Value};

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
    pub(crate) fn write(&self, json: bool) {
        if json {
            let object = |row: &Vec<Value>| -> Value {
                let members = self.names.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned());
                members.collect::<Map<_, _>>().into()
            };
            println!("{}", Value::Array(self.rows.iter().map(object).collect()));
            return;
        }
        let header: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(plain).collect()).collect();
        let lines: Vec<_> = std::iter::once(&header).chain(&rows).collect();
        let widths: Vec<usize> = (0..self.names.len())
            .map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0))
            .collect();
        for line in lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
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
