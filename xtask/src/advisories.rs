//! `cargo xtask advisories --db DIR`: which locked packages have an open advisory, by a copy of the RustSec database.
//!
//! The database is a folder of Markdown files, `crates/PACKAGE/RUSTSEC-….md`, each with a few lines of TOML in front. Only
//! a few of those lines are read, so a parser of TOML is not needed. Without a copy nothing is looked at, and that is said:
//! a check that passes because it had nothing to look at would be worse than none.

use std::{fs, path::Path};

use semver::{Version, VersionReq};

use crate::run::{Failed, root};

/// A locked package.
type Package = (String, Version);

pub(crate) fn advisories(arguments: Vec<String>) -> Result<(), Failed> {
    let db = match arguments.as_slice() {
        [] => {
            println!("advisories: not run: no copy of the RustSec database is given (--db DIR)");
            return Ok(());
        }
        [flag, db] if flag == "--db" => Path::new(db),
        _ => return Err(Failed("takes --db DIR".to_owned())),
    };
    let crates = db.join("crates");
    if !crates.is_dir() {
        return Err(Failed(format!(
            "{} is no copy of the RustSec database: it has no folder crates",
            db.display()
        )));
    }
    let lock = fs::read_to_string(root().join("Cargo.lock")).map_err(|error| Failed(error.to_string()))?;
    let packages = locked(&lock);
    let (mut read, mut open) = (0, 0);
    for (name, version) in &packages {
        let Ok(folder) = fs::read_dir(crates.join(name)) else { continue };
        for file in folder.flatten() {
            let text = fs::read_to_string(file.path()).map_err(|error| Failed(error.to_string()))?;
            let place = file.path().display().to_string();
            read += 1;
            match judge(&text, version).map_err(|problem| Failed(format!("{place}: {problem}")))? {
                Judgement::Closed => {}
                Judgement::Told(kind) => println!("note  {name} {version}: {kind}: {place}"),
                Judgement::Open => {
                    open += 1;
                    println!("OPEN  {name} {version}: {place}");
                }
            }
        }
    }
    println!("advisories: {} packages, {read} advisories about them, {open} open", packages.len());
    if open == 0 { Ok(()) } else { Err(Failed(format!("{open} advisories are open"))) }
}

/// The packages of a lock file that come from a registry.
fn locked(lock: &str) -> Vec<Package> {
    let value = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let foreign = |block: &&str| value(block, "source").is_some();
    let package = |block: &str| Some((value(block, "name")?, value(block, "version")?.parse().ok()?));
    lock.split("[[package]]").filter(foreign).filter_map(package).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// It does not concern this version, or was taken back.
    Closed,
    /// It is about the package as such: unmaintained, unsound under conditions, a notice.
    Told(String),
    Open,
}

/// What an advisory says of a version.
fn judge(text: &str, version: &Version) -> Result<Judgement, String> {
    let front = text.split("```toml").nth(1).and_then(|rest| rest.split("```").next());
    let front = front.ok_or("no TOML in front")?;
    if word(front, "withdrawn").is_some() {
        return Ok(Judgement::Closed);
    }
    let matches = |name: &str| -> Result<bool, String> {
        for requirement in list(front, name) {
            let wanted =
                VersionReq::parse(&requirement).map_err(|error| format!("{requirement:?}: {error}"))?;
            if wanted.matches(version) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    if matches("patched")? || matches("unaffected")? {
        return Ok(Judgement::Closed);
    }
    Ok(word(front, "informational").map_or(Judgement::Open, Judgement::Told))
}

/// The text of `name = "text"`.
fn word(front: &str, name: &str) -> Option<String> {
    let value =
        front.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='))?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// The texts of `name = ["one", "two"]`, over several lines perhaps.
fn list(front: &str, name: &str) -> Vec<String> {
    let starts =
        |line: &&str| line.trim().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='));
    let Some(line) = front.lines().find(starts) else { return Vec::new() };
    let from = line.as_ptr() as usize - front.as_ptr() as usize;
    let inside =
        front[from..].split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    inside.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADVISORY: &str = "```toml\n[advisory]\nid = \"RUSTSEC-2026-0001\"\npackage = \"h2\"\n\n[versions]\n\
        patched = [\n  \">= 0.4.9\",\n  \">= 0.3.30, < 0.4.0\",\n]\nunaffected = [\"< 0.2.0\"]\n```\n\n# A title\n";

    #[test]
    fn a_version_is_open_unless_it_is_patched_unaffected_or_told_of_only() {
        let judge = |text: &str, version: &str| judge(text, &version.parse().unwrap()).unwrap();
        for (version, expected) in [
            ("0.4.8", Judgement::Open),
            ("0.4.9", Judgement::Closed),
            ("0.3.27", Judgement::Open),
            ("0.3.30", Judgement::Closed),
            ("0.1.9", Judgement::Closed),
            ("1.0.0", Judgement::Closed),
        ] {
            assert_eq!(judge(ADVISORY, version), expected, "{version}");
        }
        let withdrawn = ADVISORY.replace("package =", "withdrawn = \"2026-02-03\"\npackage =");
        assert_eq!(judge(&withdrawn, "0.4.8"), Judgement::Closed);
        let told = ADVISORY.replace("package =", "informational = \"unmaintained\"\npackage =");
        assert_eq!(judge(&told, "0.4.8"), Judgement::Told("unmaintained".to_owned()));
        // Nothing was ever patched: every version is open.
        assert_eq!(judge("```toml\n[versions]\npatched = []\n```", "9.9.9"), Judgement::Open);
        assert!(super::judge("# nothing in front", &"1.0.0".parse().unwrap()).is_err());
    }

    #[test]
    fn the_lock_file_is_read_whole() {
        let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
        let packages = locked(&lock);
        assert!(packages.len() > 200, "{}", packages.len());
        assert!(packages.iter().any(|(name, version)| name == "jsonwebtoken" && version.major == 11));
        assert!(packages.iter().all(|(name, _)| !name.starts_with("gatekey")));
    }
}
