//! The security map: what `docs/security.md` says is shown is shown.
//!
//! Its requirements are those of `requirements.txt`, each in one row. A row names its evidence in the last cell, in
//! backticks: a case of the suite, a test, or a file, and all of them exist. A row without any begins its third cell with
//! `Deviation:` or `Not ours:`, and gives the reason.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::run::root;

const PAGE: &str = "docs/security.md";
const REQUIREMENTS: &str = include_str!("requirements.txt");

struct Row<'a> {
    ids: Vec<&'a str>,
    here: &'a str,
    evidence: Vec<&'a str>,
}

fn rows(page: &str) -> Result<Vec<Row<'_>>, String> {
    let (_, map) = page.split_once("\n## Requirements\n").ok_or("there is no section `Requirements`")?;
    let mut rows = Vec::new();
    for line in map.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| id ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [ids, _, here, evidence] = cells[..] else {
            return Err(format!("{line}: a row has four cells"));
        };
        rows.push(Row {
            ids: ids.split(',').map(str::trim).collect(),
            here,
            evidence: evidence.split('`').skip(1).step_by(2).collect(),
        });
    }
    Ok(rows)
}

/// Every `.rs` file below a folder, with its path.
fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            found.push((path, text));
        }
    }
    Ok(())
}

fn all_sources() -> Result<Vec<(PathBuf, String)>, String> {
    let mut found = Vec::new();
    for folder in ["crates", "tests", "xtask/src"] {
        sources(&root().join(folder), &mut found)?;
    }
    Ok(found)
}

/// The names of the tests in a source: the functions under an attribute that says so.
fn tests(source: &str) -> impl Iterator<Item = &str> {
    let mut under_test = false;
    source.lines().map(str::trim_start).filter_map(move |line| {
        if line.starts_with("#[") {
            under_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            return None;
        }
        let (_, name) = line.split_once("fn ").filter(|_| std::mem::take(&mut under_test))?;
        name.split(['(', '<']).next()
    })
}

/// The checks of `cargo xtask tidy`.
fn checks(sources: &[(PathBuf, String)]) -> impl Iterator<Item = &str> {
    let tidy = root().join("xtask/src/tidy");
    let text = sources
        .iter()
        .filter(move |(path, _)| path.with_extension("").starts_with(&tidy))
        .map(|(_, text)| text);
    text.flat_map(|text| text.lines()).filter_map(|line| {
        let (before, name) =
            line.split_once("fn ").filter(|(_, name)| name.ends_with("() -> Result<(), String> {"))?;
        matches!(before, "" | "pub(super) ").then(|| name.split('(').next().unwrap_or_default())
    })
}

/// The ids of the suite's cases: what a `case(…)` begins with.
fn cases(sources: &[(PathBuf, String)]) -> BTreeSet<&str> {
    let suite = root().join("tests/conformance/src/http");
    sources
        .iter()
        .filter(|(path, _)| path.starts_with(&suite))
        .flat_map(|(_, text)| text.split("case(").skip(1))
        .filter_map(|after| after.trim_start().strip_prefix('"')?.split('"').next())
        .filter(|id| id.contains('/'))
        .collect()
}

pub(super) fn map_is_whole() -> Result<(), String> {
    let page = fs::read_to_string(root().join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))?;
    let sources = all_sources()?;
    let cases = cases(&sources);
    let tests: BTreeSet<&str> =
        sources.iter().flat_map(|(_, text)| tests(text)).chain(checks(&sources)).collect();
    let required: BTreeSet<&str> =
        REQUIREMENTS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let mut told = BTreeSet::new();
    let mut problems = Vec::new();
    for row in rows(&page)? {
        let name = row.ids.join(", ");
        for id in &row.ids {
            if !required.contains(id) {
                problems.push(format!("{id} is no requirement of the list"));
            }
            if !told.insert(*id) {
                problems.push(format!("{id} has two rows"));
            }
        }
        let reason = ["Deviation: ", "Not ours: "].iter().find_map(|word| row.here.split_once(word));
        if row.evidence.is_empty() && reason.is_none_or(|(_, reason)| reason.len() <= 40) {
            problems.push(format!("{name} has neither evidence nor a stated reason for having none"));
        }
        for evidence in row.evidence {
            let exists = cases.contains(evidence)
                || tests.contains(evidence)
                || (evidence.contains('.') && root().join(evidence).is_file());
            if !exists {
                problems.push(format!("{name}: there is no case, test or file {evidence}"));
            }
        }
    }
    problems.extend(required.difference(&told).map(|id| format!("{id} has no row")));
    if problems.is_empty() { Ok(()) } else { Err(format!("{PAGE}:\n      {}", problems.join("\n      "))) }
}

/// MD5 and SHA-1 are spoken of only where hashes of other software are read (and MD5 is refused).
pub(super) fn weak_hashes_are_for_imports_alone() -> Result<(), String> {
    let mut sources = Vec::new();
    self::sources(&root().join("crates"), &mut sources)?;
    for (path, text) in sources {
        if path.ends_with("src/password/import.rs") {
            continue;
        }
        for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
            let line = line.to_ascii_lowercase();
            if line.contains("md5") || line.contains("sha1") {
                return Err(format!("{}: {line}", path.display()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_ids_a_place_and_evidence() {
        let page = "# Security\n\n## Requirements\n\n| id | asks | here | shown by |\n|---|---|---|---|\n\
                    | 1.2.3, RFC 9 1 | x | 3.9 | `a/case` `a_test` |\n";
        let rows = rows(page).unwrap_or_default();
        let [row] = &rows[..] else { panic!("{} rows", rows.len()) };
        assert_eq!(row.ids, ["1.2.3", "RFC 9 1"]);
        assert_eq!((row.here, &row.evidence[..]), ("3.9", &["a/case", "a_test"][..]));
    }

    #[test]
    fn tests_are_told_from_other_functions_and_from_talk_of_them() {
        let source = "    #[tokio::test]\n    async fn one() {}\nfn helper() {}\n/// see fn two()\n\
                      #[test]\n#[cfg(unix)]\nfn three() {}\n#[cfg(test)]\nmod tests {\nfn four() {}";
        assert_eq!(tests(source).collect::<Vec<_>>(), ["one", "three"]);
    }

    #[test]
    fn a_check_of_tidy_is_evidence_and_what_it_is_made_of_is_not() {
        let source = |file: &str, text: &str| (root().join("xtask/src").join(file), text.to_owned());
        let sources = [
            source("tidy.rs", "fn one() -> Result<(), String> {\nfn helper(text: &str) -> bool {\n"),
            source("tidy/security.rs", "pub(super) fn two() -> Result<(), String> {\n"),
            source("fuzz.rs", "fn three() -> Result<(), String> {\n"),
        ];
        assert_eq!(checks(&sources).collect::<Vec<_>>(), ["one", "two"]);
    }
}
