//! Many changes of a file in one program: which one is in force is said by a variable of the environment.
//!
//! Each function begins with what it would be under each of its changes:
//!
//! ```text
//! fn later(a: u64, b: u64) -> bool {
//!     if crate::mutant() == 7 { return { a >= b } }
//!     a > b
//! }
//! ```

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;

/// The variable that says the number of the change in force.
pub(super) const VARIABLE: &str = "GATEKEY_MUTANT";

/// Goes to the end of the crate's `lib.rs`.
pub(super) const SWITCH: &str = r#"
pub(crate) fn mutant() -> usize {
    static IN_FORCE: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {
        std::env::var("GATEKEY_MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
    });
    *IN_FORCE
}
"#;

/// A place in a file: line and column from 1, columns in characters.
#[derive(Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    fn read(json: &Json) -> Option<Self> {
        let number = |name: &str| usize::try_from(json[name].as_u64()?).ok();
        Some(Self { line: number("line")?, column: number("column")? })
    }

    /// Its offset in bytes.
    fn in_text(self, text: &str) -> usize {
        let before: usize = text.split_inclusive('\n').take(self.line - 1).map(str::len).sum();
        let line = &text[before..];
        before + line.char_indices().nth(self.column - 1).map_or(line.len(), |(at, _)| at)
    }
}

/// A change that `cargo-mutants` lists.
pub(super) struct Mutant {
    /// File, line and change.
    pub(super) name: String,
    /// The change, and in which function.
    pub(super) change: String,
    start: Place,
    end: Place,
    replacement: String,
    function: Option<(Place, Place)>,
}

impl Mutant {
    pub(super) fn read(json: &Json) -> Option<Self> {
        let span = |json: &Json| Some((Place::read(&json["start"])?, Place::read(&json["end"])?));
        let (start, end) = span(&json["span"])?;
        let name = json["name"].as_str()?.to_owned();
        Some(Self {
            change: name.split_once(": ")?.1.to_owned(),
            name,
            start,
            end,
            replacement: json["replacement"].as_str()?.to_owned(),
            function: span(&json["function"]["span"]),
        })
    }

    /// Whether both are of one function.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        let start = |mutant: &Self| mutant.function.map(|(start, _)| (start.line, start.column));
        start(self).is_some() && start(self) == start(other)
    }

    /// The file with this change alone.
    pub(super) fn alone(&self, text: &str) -> String {
        let (start, end) = (self.start.in_text(text), self.end.in_text(text));
        format!("{}{}{}", &text[..start], self.replacement, &text[end..])
    }

    /// Whether the change is in a function that may ask for a variable at run time.
    pub(super) fn can_be_switched(&self, text: &str) -> bool {
        self.body(text).is_some_and(|(start, body, _)| !text[start..body].contains("const fn"))
    }

    /// Where its function starts, and where that function's body starts and ends, without the braces.
    fn body(&self, text: &str) -> Option<(usize, usize, usize)> {
        let (start, end) = self.function?;
        let (start, end) = (start.in_text(text), end.in_text(text));
        let mut at = start;
        for line in text[start..end].split_inclusive('\n') {
            let code = line.trim_start();
            if !(code.starts_with("//") || code.starts_with("#["))
                && let Some(brace) = line.find('{')
            {
                return Some((start, at + brace + 1, end - 1));
            }
            at += line.len();
        }
        None
    }
}

/// The file with all these changes, each under its number.
pub(super) fn all(text: &str, mutants: &[(usize, &Mutant)]) -> String {
    let mut insertions: Vec<(usize, String)> = Vec::new();
    for (number, mutant) in mutants {
        let Some((_, body, body_end)) = mutant.body(text) else { continue };
        let (start, end) = (mutant.start.in_text(text), mutant.end.in_text(text));
        let (before, after) = (&text[body..start], &text[end..body_end]);
        let replacement = &mutant.replacement;
        insertions.push((
            body,
            format!("\n//~{number}\nif crate::mutant() == {number} {{ return {{\n{before}{replacement}{after}\n}} }}\n//~\n"),
        ));
    }
    insertions.sort_by_key(|(at, _)| *at);
    let mut out = String::new();
    let mut written = 0;
    for (at, insertion) in insertions {
        out.push_str(&text[written..at]);
        out.push_str(&insertion);
        written = at;
    }
    out + &text[written..]
}

/// A place that the compiler complains of.
#[derive(Debug)]
pub(super) struct CompileError {
    file: PathBuf,
    line: usize,
    /// Whether it would complain of the change alone, too. Not so of what depends on the other changes: a function that
    /// returns an `impl Trait` has one type, and a borrow that one change returns lives on in the next.
    anywhere: bool,
}

impl CompileError {
    /// The places that a message of rustc names.
    pub(super) fn read(message: &Json, folder: &Path) -> Vec<Self> {
        // A trait that is not implemented (`Default`, mostly), and an arm that is missing.
        let intrinsic = ["E0277", "E0004"].iter().any(|code| message["code"]["code"] == *code);
        let spans = message["spans"].as_array().into_iter().flatten();
        spans
            .filter_map(|span| {
                Some(Self {
                    file: folder.join(span["file_name"].as_str()?),
                    line: usize::try_from(span["line_start"].as_u64()?).ok()?,
                    anywhere: intrinsic && span["is_primary"] == true,
                })
            })
            .collect()
    }
}

/// The number of the last change before the first of these errors.
pub(super) fn before(text: &str, path: &Path, errors: &[CompileError]) -> Option<usize> {
    let first = errors.iter().filter(|error| error.file == path).map(|error| error.line).min()?;
    let lines = text.lines().take(first - 1);
    lines.filter_map(|line| line.strip_prefix("//~")?.parse().ok()).last()
}

/// The numbers of the changes that have these errors, and whether each would have them anywhere.
pub(super) fn blamed(text: &str, path: &Path, errors: &[CompileError]) -> BTreeMap<usize, bool> {
    let mut current = None;
    let mut found = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(number) = line.strip_prefix("//~") {
            current = number.parse().ok();
        }
        let Some(number) = current else { continue };
        for error in errors.iter().filter(|error| error.line == at + 1 && error.file == path) {
            *found.entry(number).or_default() |= error.anywhere;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "/// Says { which.\n#[must_use]\nfn later(a: u64, b: u64) -> bool {\n    a > b\n}\n";

    fn mutant(line: u64, columns: (u64, u64), replacement: &str) -> Mutant {
        let place = |line: u64, column: u64| json!({"line": line, "column": column});
        Mutant::read(&json!({
            "name": "a.rs:4:7: replace > with >= in later",
            "span": {"start": place(line, columns.0), "end": place(line, columns.1)},
            "replacement": replacement,
            "function": {"span": {"start": place(1, 1), "end": place(5, 2)}},
        }))
        .expect("a mutant")
    }

    #[test]
    fn a_function_begins_with_what_it_would_be_under_each_change() {
        let (comparison, value) = (mutant(4, (7, 8), ">="), mutant(4, (5, 10), "true"));
        assert_eq!(comparison.change, "replace > with >= in later");
        assert_eq!(
            all(TEXT, &[(0, &comparison), (1, &value)]),
            "/// Says { which.\n#[must_use]\nfn later(a: u64, b: u64) -> bool {\n\
             //~0\nif crate::mutant() == 0 { return {\n\n    a >= b\n\n} }\n//~\n\n\
             //~1\nif crate::mutant() == 1 { return {\n\n    true\n\n} }\n//~\n\n    a > b\n}\n"
        );
        assert_eq!(comparison.alone(TEXT), TEXT.replace("a > b", "a >= b"));
    }

    #[test]
    fn an_error_is_of_the_change_on_whose_lines_it_is_and_of_no_other() {
        let (comparison, value) = (mutant(4, (7, 8), ">="), mutant(4, (5, 10), "true"));
        let text = all(TEXT, &[(0, &comparison), (1, &value)]);
        let at = |needle: &str| text.lines().position(|line| line.contains(needle)).expect("the line") + 1;
        let blamed = |file: &str, line: usize, code: &str| {
            let span = json!({"file_name": file, "line_start": line, "is_primary": true});
            let message = json!({"code": {"code": code}, "spans": [span]});
            Vec::from_iter(blamed(&text, Path::new("a.rs"), &CompileError::read(&message, Path::new(""))))
        };
        assert_eq!(blamed("a.rs", at("true"), "E0277"), [(1, true)]);
        assert_eq!(blamed("a.rs", at("a >= b"), "E0502"), [(0, false)], "it may compile alone");
        assert_eq!(blamed("a.rs", at("a > b"), "E0277"), [], "the function itself");
        let error = CompileError { file: "a.rs".into(), line: at("a > b"), anywhere: false };
        assert_eq!(before(&text, Path::new("a.rs"), &[error]), Some(1));
        assert!(comparison.is_beside(&value));
        assert_eq!(blamed("b.rs", at("true"), "E0277"), [], "another file");
    }

    #[test]
    fn a_constant_function_cannot_ask_what_is_in_force() {
        let change = mutant(4, (7, 8), ">=");
        assert!(change.can_be_switched(TEXT));
        assert!(!change.can_be_switched(&TEXT.replace("fn later", "const fn later")));
    }
}
