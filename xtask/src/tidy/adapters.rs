//! Adapters translate and decide nothing; and who takes one feature does not build what others need.

use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::run::root;

const ADAPTERS: &[&str] = &["gatekey-actix", "gatekey-axum", "gatekey-rocket", "gatekey-tower"];

/// What stands in an adapter although it looks like a decision: crate, code, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "gatekey-rocket",
        "Status::BadRequest",
        "names the catcher of Rocket's own answer to methods it does not know",
    ),
    (
        "gatekey-rocket",
        "Status::NotFound",
        "goes with a forward: Rocket's word for a request that is not ours",
    ),
    ("gatekey-rocket", "\"_method", "Rocket's own override, to be undone as Rocket does it"),
];

/// Fields of requests and answers, in lower case.
const FIELDS: &[&str] = &[
    "accept",
    "allow",
    "authorization",
    "cache-control",
    "content-length",
    "content-security-policy",
    "content-type",
    "cookie",
    "cross-origin-resource-policy",
    "forwarded",
    "grpc-message",
    "grpc-status",
    "host",
    "origin",
    "referrer-policy",
    "retry-after",
    "sec-fetch-site",
    "set-cookie",
    "user-agent",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-forwarded-for",
    "x-real-ip",
];

/// Parts of fields and bodies that only gatekey-http may write.
const WORDS: &[&str] =
    &["__Host-", "Bearer", "HttpOnly", "Max-Age", "SameSite", "Secure", "application/", "bearer", "_method"];

/// Calls that judge.
const CALLS: &[&str] =
    &["Duration::from_", ".has_role(", ".require_role(", ".require_scope(", ".roles()", ".scope()"];

pub(super) fn decide_nothing() -> Result<(), String> {
    let mut used = BTreeSet::new();
    for adapter in ADAPTERS {
        for (path, text) in sources(&format!("crates/{adapter}"))? {
            for (number, line) in text.lines().enumerate().take_while(|(_, line)| *line != "mod tests {") {
                for found in decisions(line) {
                    let exception =
                        EXCEPTIONS.iter().position(|(of, what, _)| of == adapter && found.contains(what));
                    let Some(exception) = exception else {
                        let place = format!("{}:{}", path.display(), number + 1);
                        return Err(format!("{place}: {found} belongs in gatekey-http"));
                    };
                    used.insert(exception);
                }
            }
        }
    }
    match (0..EXCEPTIONS.len()).find(|exception| !used.contains(exception)) {
        Some(unused) => Err(format!("no {} in {} any more", EXCEPTIONS[unused].1, EXCEPTIONS[unused].0)),
        None => Ok(()),
    }
}

/// What a line of code says that is not an adapter's to say: statuses, fields, attributes, judgements.
fn decisions(line: &str) -> Vec<String> {
    let line = line.trim();
    if line.starts_with("//") {
        return Vec::new();
    }
    let code = line.split(" // ").next().unwrap_or(line);
    let mut found = Vec::new();
    // Every second part of a line is within quotes: adapters have no escaped ones.
    for (i, part) in code.split('"').enumerate() {
        if i % 2 == 1 {
            if FIELDS.contains(&part.to_ascii_lowercase().as_str())
                || WORDS.iter().any(|word| part.contains(word))
            {
                found.push(format!("\"{part}\""));
            }
            continue;
        }
        found.extend(CALLS.iter().filter(|call| part.contains(*call)).map(|call| (*call).to_owned()));
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        for word in part.split(|c| !is_word(c)).filter(|word| !word.is_empty()) {
            let last = word.rsplit(':').next().unwrap_or(word);
            let constant = last.len() > 1 && last.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let field = constant && FIELDS.contains(&last.to_ascii_lowercase().replace('_', "-").as_str());
            let of = word.rsplit("::").nth(1).unwrap_or_default();
            let named =
                matches!(of, "Status" | "StatusCode") && last.starts_with(|c: char| c.is_ascii_uppercase());
            let status = word.parse::<u16>().is_ok_and(|number| (100..600).contains(&number));
            if field || named || status {
                found.push(word.to_owned());
            }
        }
    }
    found
}

/// A feature and the crates that only it needs.
const OWN: &[(&str, &[&str])] = &[
    ("actix", &["actix-web", "actix-http", "actix-server"]),
    ("axum", &["axum", "axum-core"]),
    ("rocket", &["rocket", "rocket_http"]),
    // Its crates are in the others' trees as well.
    ("tower", &[]),
    ("sqlite", &["rusqlite", "libsqlite3-sys"]),
    ("postgres", &["tokio-postgres", "deadpool-postgres"]),
    ("redis", &["redis"]),
    ("import", &["bcrypt", "scrypt"]),
];

pub(super) fn build_alone() -> Result<(), String> {
    for (feature, own) in OWN {
        let tree = super::output(&[
            "tree",
            "--package",
            "gatekey",
            "--no-default-features",
            "--features",
            feature,
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--target",
            "x86_64-unknown-linux-gnu",
            "--locked",
        ])?;
        let crates: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        if let Some(missing) = own.iter().find(|name| !crates.contains(*name)) {
            return Err(format!("the feature {feature} should build {missing}"));
        }
        let others = OWN.iter().filter(|(other, _)| other != feature).flat_map(|(_, crates)| *crates);
        // HTTP/2 is the host's to ask for, and h2 0.3 has an advisory without a fix; tonic and poem are for examples.
        let never = ["h2", "tonic", "poem"];
        if let Some(foreign) = others.chain(&never).find(|name| crates.contains(*name)) {
            return Err(format!("the feature {feature} builds {foreign}"));
        }
    }
    Ok(())
}

/// An adapter that grows to this has taken in a decision. Comments, blank lines and tests are not counted.
const LONGEST: usize = 250;

/// The adapter that `docs/adapters.md` shows, and how short it is said to be there.
const STRANGER: (&str, usize) = ("examples/poem", 150);

pub(super) fn are_short() -> Result<(), String> {
    let own = ADAPTERS.iter().map(|adapter| (format!("crates/{adapter}"), LONGEST));
    let (stranger, few) = STRANGER;
    for (adapter, longest) in own.chain([(stranger.to_owned(), few)]) {
        let length = length(&adapter)?;
        if length >= longest {
            return Err(format!("{adapter} has {length} lines of code; fewer than {longest} are enough"));
        }
    }
    let guide = fs::read_to_string(root().join("docs/adapters.md")).map_err(|error| error.to_string())?;
    if guide.contains(&format!("{stranger}/src/lib.rs) has fewer than {few} lines of code")) {
        Ok(())
    } else {
        Err(format!("docs/adapters.md should say that {stranger} has fewer than {few} lines of code"))
    }
}

fn length(adapter: &str) -> Result<usize, String> {
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    let lines = |(_, text): &(PathBuf, String)| text.lines().map(str::trim).filter(is_code).count();
    Ok(sources(adapter)?.iter().map(lines).sum())
}

/// The files of an adapter, tests aside, and what stands in them.
fn sources(adapter: &str) -> Result<Vec<(PathBuf, String)>, String> {
    let folder = root().join(adapter).join("src");
    let mut sources = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if !path.ends_with("tests.rs") && path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            sources.push((path, text));
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::decisions;

    #[test]
    fn decisions_are_found_and_translations_are_not() {
        for (line, expected) in [
            ("let status = StatusCode::UNAUTHORIZED;", &["StatusCode::UNAUTHORIZED"][..]),
            ("Outcome::Error((Status::Unauthorized, ()))", &["Status::Unauthorized"]),
            ("StatusCode::from_u16(401)", &["401"]),
            ("headers.insert(WWW_AUTHENTICATE, value)", &["WWW_AUTHENTICATE"]),
            ("headers.get(header::SET_COOKIE)", &["header::SET_COOKIE"]),
            ("headers.get(\"Authorization\")", &["\"Authorization\""]),
            ("format!(\"{name}={value}; HttpOnly\")", &["\"{name}={value}; HttpOnly\""]),
            ("max_age(Duration::from_secs(60))", &["Duration::from_"]),
            ("if caller.roles().contains(role) {", &[".roles()"]),
            ("use actix_web::http::StatusCode;", &[]),
            ("// 401, StatusCode::UNAUTHORIZED", &[]),
            ("StatusCode::from_u16(reply.status().as_u16()).unwrap_or_default()", &[]),
            ("Status::new(reply.status().as_u16())", &[]),
            ("Self::new(gatekey, Requirement::authenticated().role(role))", &[]),
            ("const RANK: isize = -30;", &[]),
            ("response.append_header((name.as_str(), value.as_bytes()));", &[]),
        ] {
            assert_eq!(decisions(line), expected, "{line}");
        }
    }
}
