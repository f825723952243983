//! What `deny.toml` says of licences, banned crates, double versions and sources, asked of the lock file. `cargo deny check
//! licenses bans sources` asks the same and takes long to be built, so it is not asked at each change; this is.
//!
//! A few lines of the file are read, in the form in which it is written, so a parser of TOML is not needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use semver::{Version, VersionReq};
use serde_json::Value;

use super::output;
use crate::run::root;

/// The public registry, as lock files name it.
const PUBLIC: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn rules_are_kept() -> Result<(), String> {
    let text = fs::read_to_string(root().join("deny.toml")).map_err(|error| error.to_string())?;
    let rules = Rules::read(&text)?;
    // What is built on any platform. The metadata also have what features that are off would bring.
    let tree = output(&[
        "tree",
        "--locked",
        "--workspace",
        "--all-features",
        "--target",
        "all",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    let built = built(&tree);
    let metadata = output(&["metadata", "--format-version", "1", "--locked", "--all-features"])?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let mut problems = rules.of_versions(&built);
    for package in metadata["packages"].as_array().ok_or("no packages")? {
        let text = |member: &str| package[member].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        if !built.get(name).is_some_and(|versions| versions.iter().any(|built| built.to_string() == version))
        {
            continue;
        }
        if !package["source"].is_null() && text("source") != PUBLIC {
            problems.push(format!("{name} comes from {}", text("source")));
        }
        if !rules.allow(name, text("license")) {
            problems.push(format!("{name} is licensed under {:?}", text("license")));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// The versions of each package in what `cargo tree` prints.
fn built(tree: &str) -> BTreeMap<&str, BTreeSet<Version>> {
    let mut built: BTreeMap<&str, BTreeSet<Version>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next())
            && let Ok(version) = Version::parse(version.trim_start_matches('v'))
        {
            built.entry(name).or_default().insert(version);
        }
    }
    built
}

/// A crate, and which versions of it.
type Which = (String, VersionReq);

/// What is read of `deny.toml`.
struct Rules {
    licences: Vec<String>,
    /// Licences of one crate each.
    exceptions: Vec<(String, String)>,
    skip: Vec<Which>,
    deny: Vec<Which>,
}

impl Rules {
    fn read(text: &str) -> Result<Self, String> {
        // The entries of a list that ends with a bracket on a line of its own.
        let list = |name: &str| -> Result<Vec<&str>, String> {
            let (_, rest) =
                text.split_once(&format!("\n{name} = [\n")).ok_or(format!("deny.toml has no {name}"))?;
            let entries = rest.split("\n]").next().unwrap_or_default().lines().map(str::trim);
            Ok(entries.filter(|line| !line.is_empty() && !line.starts_with('#')).collect())
        };
        let quoted = |text: &str| text.split('"').nth(1).map(str::to_owned);
        let which = |line: &str| -> Result<Which, String> {
            let unreadable = || format!("deny.toml: {line}");
            let named = line.strip_prefix("{ crate = ").and_then(quoted).ok_or_else(unreadable)?;
            let (name, versions) = named.split_once(':').unwrap_or((&named, "*"));
            Ok((name.to_owned(), VersionReq::parse(versions).map_err(|_| unreadable())?))
        };
        let exception = |line: &str| -> Result<(String, String), String> {
            let (name, licence) = line.split_once("allow = ").ok_or(format!("deny.toml: {line}"))?;
            Ok((which(name)?.0, quoted(licence).unwrap_or_default()))
        };
        Ok(Self {
            licences: list("allow")?.into_iter().filter_map(quoted).collect(),
            exceptions: list("exceptions")?.into_iter().map(exception).collect::<Result<_, _>>()?,
            skip: list("skip")?.into_iter().map(which).collect::<Result<_, _>>()?,
            deny: list("deny")?.into_iter().map(which).collect::<Result<_, _>>()?,
        })
    }

    /// What is banned and there, what is there twice without a reason, and reasons that nothing needs.
    fn of_versions(&self, built: &BTreeMap<&str, BTreeSet<Version>>) -> Vec<String> {
        let of = |(name, versions): &Which| -> Vec<Version> {
            let all = built.get(name.as_str()).into_iter().flatten();
            all.filter(|version| versions.matches(version)).cloned().collect()
        };
        let banned =
            self.deny.iter().flat_map(|which| of(which).into_iter().map(|version| (&which.0, version)));
        let mut problems: Vec<_> =
            banned.map(|(name, version)| format!("{name} {version} is banned")).collect();
        for (name, versions) in built.iter().filter(|(_, versions)| versions.len() > 1) {
            let skipped: BTreeSet<_> =
                self.skip.iter().filter(|(skipped, _)| skipped == name).flat_map(of).collect();
            if versions.difference(&skipped).count() > 1 {
                problems.push(format!("{name} is there in {} versions", versions.len()));
            }
        }
        let needed = |(name, _): &Which| built.get(name.as_str()).is_some_and(|versions| versions.len() > 1);
        let idle = self.skip.iter().filter(|which| !needed(which) || of(which).is_empty());
        problems.extend(idle.map(|(name, _)| format!("deny.toml skips {name}, and nothing needs it")));
        problems
    }

    fn allow(&self, package: &str, licence: &str) -> bool {
        let allowed = |licence: &str| {
            self.licences.iter().any(|allowed| allowed == licence)
                || self.exceptions.iter().any(|(name, allowed)| name == package && allowed == licence)
        };
        let spaced = licence.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let mut words = spaced.split_whitespace().peekable();
        any_of(&mut words, &allowed) && words.next().is_none()
    }
}

type Words<'a, 'w> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'w>>;

/// `A OR B`, of an expression of SPDX. All of it is read, whatever it comes to.
fn any_of(words: Words<'_, '_>, allowed: &impl Fn(&str) -> bool) -> bool {
    let mut one = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        one |= all_of(words, allowed);
    }
    one
}

/// `A AND B`, which binds tighter.
fn all_of(words: Words<'_, '_>, allowed: &impl Fn(&str) -> bool) -> bool {
    let mut every = one_of(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        every &= one_of(words, allowed);
    }
    every
}

/// A licence, or an expression in brackets. A licence with an exception is another one.
fn one_of(words: Words<'_, '_>, allowed: &impl Fn(&str) -> bool) -> bool {
    match words.next() {
        Some("(") => any_of(words, allowed) & (words.next() == Some(")")),
        Some(licence) => {
            let plain = words.next_if_eq(&"WITH").is_none_or(|_| {
                words.next();
                false
            });
            plain && allowed(licence)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[licenses]
# All of them.
allow = [
    "MIT",
    "Apache-2.0",
    "ISC",
]
exceptions = [
    { crate = "codec", allow = ["MPL-2.0"] },
]
[bans]
skip = [
    { crate = "http:<1", reason = "frameworks" },
    # Whichever.
    { crate = "wasi", reason = "of two" },
]
deny = [
    { crate = "ring", reason = "one is enough" },
    { crate = "h2:<0.4", reason = "an advisory" },
]
"#;

    #[test]
    fn an_expression_allows_what_can_be_kept_to() {
        let rules = Rules::read(FILE).unwrap_or_else(|problem| panic!("{problem}"));
        for (package, licence, allowed) in [
            ("any", "MIT", true),
            ("any", "GPL-3.0", false),
            ("any", "", false),
            ("any", "MIT OR GPL-3.0", true),
            ("any", "GPL-3.0/MIT", true),
            ("any", "MIT AND GPL-3.0", false),
            ("any", "GPL-3.0 AND MIT OR ISC", true),
            ("any", "GPL-3.0 AND (MIT OR ISC)", false),
            ("any", "ISC AND (GPL-3.0 OR MIT) AND Apache-2.0", true),
            ("any", "Apache-2.0 WITH LLVM-exception", false),
            ("any", "Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("any", "(MIT", false),
            ("any", "MIT ISC", false),
            ("any", "MPL-2.0", false),
            ("codec", "MPL-2.0", true),
        ] {
            assert_eq!(rules.allow(package, licence), allowed, "{package}: {licence}");
        }
    }

    #[test]
    fn bans_and_double_versions_are_seen() {
        let rules = Rules::read(FILE).unwrap_or_else(|problem| panic!("{problem}"));
        let fine =
            "http v0.2.1\nhttp v1.5.0\nwasi v0.11.1+a\nwasi v0.14.7+b\nh2 v0.4.20\nours v0.1.0 (/here)\n";
        let problems = |tree: &str| rules.of_versions(&built(tree));
        assert_eq!(problems(fine), [""; 0]);
        for (more, problem) in [
            ("ring v0.17.14", "ring 0.17.14 is banned"),
            ("h2 v0.3.9", "h2 0.3.9 is banned"),
            ("http v1.6.0", "http is there in 3 versions"),
            ("ours v0.2.0", "ours is there in 2 versions"),
        ] {
            assert!(problems(&format!("{fine}{more}\n")).contains(&problem.to_owned()), "{more}");
        }
        let fewer = fine.replace("http v0.2.1\n", "");
        assert_eq!(problems(&fewer), ["deny.toml skips http, and nothing needs it"]);
    }
}
