//! What the pages in `docs/` say of this crate is what the code says.

#![allow(clippy::unwrap_used, reason = "a page that is not there fails the test")]

use std::{collections::BTreeSet, fs, path::Path};

use gatekey_core::{event::EventKind, session::EndReason};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn source(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name)).unwrap()
}

/// The first cells, in backticks, of the rows below a heading, each with the second cell.
fn rows(page: &str, heading: &str) -> BTreeSet<(String, String)> {
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let (name, next) = (cells.next()?.trim().strip_suffix('`')?, cells.next()?.trim());
            Some((name.to_owned(), next.to_owned()))
        })
        .collect()
}

#[test]
fn the_page_of_events_has_every_event_and_no_other() {
    let told = EventKind::ALL.iter().map(|kind| {
        let grave = if kind.is_grave() { "yes" } else { "no" };
        (kind.name().to_owned(), grave.to_owned())
    });
    assert_eq!(rows(&page("events.md"), "Names"), told.collect());
}

#[test]
fn the_page_of_events_has_every_metric_and_no_other() {
    let (events, authority) = (source("event.rs"), source("authority.rs"));
    let used = [&events, &authority].into_iter().flat_map(|file| file.split("metrics::").skip(1));
    let used: BTreeSet<_> = used.filter_map(|call| call.split('"').nth(1)).collect();
    let page = page("events.md");
    let (head, names) = page.split_once("\n## Names\n").unwrap();
    let written = |text: &str| -> BTreeSet<String> {
        let words = text.split('`').skip(1).step_by(2).filter_map(|word| word.split('{').next());
        words.filter(|word| word.starts_with("gatekey_")).map(str::to_owned).collect()
    };
    let all: BTreeSet<_> = written(head).into_iter().chain(written(names)).collect();
    assert_eq!(all.iter().map(String::as_str).collect::<BTreeSet<_>>(), used);
}

/// The names that a file gives to the variants of its enums: `Self::TooLong => "token_too_long"`.
fn names(source: &str) -> BTreeSet<String> {
    let name = |arm: &str| Some(arm.strip_prefix('"')?.split('"').next()?.to_owned());
    source.split("=> ").filter_map(name).collect()
}

#[test]
fn the_page_of_events_has_every_reason() {
    let (_, reasons) =
        page("events.md").split_once("\n## Reasons\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let mut all = names(&source("error.rs"));
    // These are answers to the client, and no events.
    for told_otherwise in ["scope_widened", "superseded", "not_found", "username_taken", "rate_limited"] {
        assert!(all.remove(told_otherwise), "{told_otherwise}");
    }
    all.extend(EndReason::ALL.map(|reason| reason.name().to_owned()));
    let missing: Vec<_> = all.iter().filter(|reason| !reasons.contains(&format!("`{reason}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The public fields of a struct.
fn fields(source: &str, name: &str) -> BTreeSet<String> {
    let (_, body) = source.split_once(&format!("pub struct {name} {{\n")).unwrap();
    let body = body.split("\n}").next().unwrap();
    body.lines()
        .filter_map(|line| Some(line.strip_prefix("    pub ")?.split(':').next()?.to_owned()))
        .collect()
}

#[test]
fn the_page_of_settings_has_every_setting_and_no_other() {
    let page = page("configuration.md");
    for (heading, file, name) in [
        ("`Config`", "config.rs", "Config"),
        ("`Policy`", "rotation.rs", "Policy"),
        ("`Limits`", "limit.rs", "Limits"),
        ("`FeedConfig`", "revocation.rs", "FeedConfig"),
        ("`PoolSize`", "password/pool.rs", "PoolSize"),
    ] {
        let written: BTreeSet<_> = rows(&page, heading).into_iter().map(|(name, _)| name).collect();
        assert_eq!(written, fields(&source(file), name), "{heading}");
    }
}

/// Every file below a folder, with its text.
fn files(folder: &Path, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

/// A case's id is an area, which is a file of the suite, and what happens: `rotation/reuse-revokes-session`.
#[test]
fn every_case_that_a_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let suite = files(&root.join("tests/conformance/src/http"), "rs");
    let areas: BTreeSet<_> = suite
        .iter()
        .map(|(path, _)| path.rsplit('/').next().unwrap().trim_end_matches(".rs").to_owned())
        .collect();
    let mut pages = files(&root.join("docs"), "md");
    // What stands there in this form is a row of the bench.
    pages.retain(|(path, _)| !path.ends_with("performance.md"));
    for page in ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md"] {
        pages.push((page.to_owned(), fs::read_to_string(root.join(page)).unwrap()));
    }
    let mut named = 0;
    for (path, text) in &pages {
        for id in text.split('`').skip(1).step_by(2) {
            let is_id = id.split_once('/').is_some_and(|(area, what)| {
                areas.contains(area)
                    && !what.is_empty()
                    && what
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'0'..=b'9'))
            });
            if is_id {
                named += 1;
                assert!(suite.iter().any(|(_, text)| text.contains(&format!("\"{id}\""))), "{path}: {id}");
            }
        }
    }
    assert!(named > 50, "only {named} cases were found in the pages");
}
