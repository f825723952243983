//! The contract's rules and the cases that show them, compared both ways.
//!
//! A rule without a case is a promise that nobody checks; a citation of a rule that is gone is a case that nobody can
//! dispute. Rules are read from `docs/contract/*.md`: a line that begins with `**3.7**`, as a list item or not, up to the
//! next one or a heading.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::cases;

/// How a case cites our own contract.
const CITATION: &str = "docs/contract.md ";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The rules by number, each with its text.
fn rules() -> BTreeMap<String, String> {
    let mut rules = BTreeMap::new();
    for entry in fs::read_dir(docs().join("contract")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let section = name.split('-').next().unwrap();
        let mut current: Option<String> = None;
        for line in fs::read_to_string(&path).unwrap().lines() {
            let bare = line.trim_start().trim_start_matches("- ");
            let begun = bare
                .strip_prefix("**")
                .and_then(|rest| rest.split_once("**"))
                .filter(|(number, _)| number.chars().all(|c| c.is_ascii_digit() || c == '.'));
            if let Some((number, text)) = begun {
                assert_eq!(number.split('.').next(), Some(section), "{name}: {number} is another section's");
                let before = rules.insert(number.to_owned(), text.to_owned());
                assert!(before.is_none(), "{number} stands twice");
                current = Some(number.to_owned());
            } else if line.is_empty() || line.starts_with(['#', '|']) {
                current = None;
            } else if let Some(text) = current.as_ref().and_then(|number| rules.get_mut(number)) {
                text.push(' ');
                text.push_str(line.trim());
            }
        }
    }
    rules
}

/// What a rule ends with where no request can show it: `(unit: …)` or `(doc)`.
fn excused(text: &str) -> bool {
    let note = text.rsplit_once('(').and_then(|(_, note)| note.strip_suffix(')'));
    note.is_some_and(|note| note == "doc" || note.starts_with("unit: "))
}

#[test]
fn every_rule_is_cited_by_a_case_or_says_what_else_shows_it() {
    let cited: BTreeSet<&str> =
        cases().flat_map(|case| case.spec).filter_map(|spec| spec.strip_prefix(CITATION)).collect();
    let rules = rules();
    assert!(rules.len() > 100, "only {} rules were read", rules.len());
    let missing: Vec<&String> = rules
        .iter()
        .filter(|(number, text)| !cited.contains(number.as_str()) && !excused(text))
        .map(|(number, _)| number)
        .collect();
    assert!(missing.is_empty(), "no case cites {missing:?}");
}

#[test]
fn every_rule_that_a_case_cites_exists() {
    let rules = rules();
    let lost: Vec<(&str, &str)> = cases()
        .flat_map(|case| case.spec.iter().map(move |spec| (case.id, *spec)))
        .filter(|(_, spec)| spec.starts_with("docs/"))
        .filter(|(_, spec)| !spec.strip_prefix(CITATION).is_some_and(|number| rules.contains_key(number)))
        .collect();
    assert!(lost.is_empty(), "there are no such rules: {lost:?}");
}

#[test]
fn the_tests_that_rules_point_at_exist() {
    for (number, text) in rules() {
        if let Some((_, note)) = text.rsplit_once("(unit: ") {
            let path = docs().join("..").join(note.trim_end_matches(')'));
            assert!(path.is_file(), "{number} points at {}, which is no file", path.display());
        }
    }
}

#[test]
fn the_contents_name_every_section() {
    let contents = fs::read_to_string(docs().join("contract.md")).unwrap();
    for entry in fs::read_dir(docs().join("contract")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(contents.contains(&format!("](contract/{name})")), "contract.md does not link {name}");
    }
}
