//! Vectors: tokens made once, each with what becomes of it, for anybody's verifier. They lie in `tests/vectors`.
//!
//! A group is what one case of this suite asks, and its tokens are signed with the [known key](AccessKey::known) that
//! hosts are started with. The first of a group is good, and every other differs from it in one thing. `cargo xtask
//! vectors` writes the files from the functions in `vectors/`, and a test compares them: a vector that nobody can
//! explain cannot get in. Signatures of ES256 and PS256 are different each time; those in the files are kept as long as
//! they verify.
//!
//! The same files are read by the unit tests of gatekey-core, and are the seeds of fuzzing.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    case::{Failure, Outcome, Row, harness},
    host::Host,
    token::{AccessKey, KeyKind, Keys, secret_thumbprint},
};

mod claims;
mod forms;
mod headers;
mod maker;

use maker::Maker;
pub(crate) use maker::written;

/// What a verifier says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    Refused,
    /// Refused, and the client is told that it has expired.
    Expired,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Accepted, Self::Refused, Self::Expired].into_iter().find(|verdict| verdict.name() == name)
    }
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vector {
    /// What it differs in. No two of a group have the same.
    pub(crate) comment: String,
    /// What kind of attack or mistake it is: one of [`FLAGS`].
    pub(crate) flag: &'static str,
    pub(crate) result: Verdict,
    pub(crate) token: String,
}

/// The tokens of one case.
struct Group {
    /// The case that runs them.
    case: &'static str,
    key: KeyKind,
    make: fn(&mut Maker) -> Outcome,
}

const fn group(case: &'static str, key: KeyKind, make: fn(&mut Maker) -> Outcome) -> Group {
    Group { case, key, make }
}

/// The kinds of attacks and mistakes, as the files explain them.
const FLAGS: &[(&str, &str)] = &[
    (
        "Good",
        "A token that a conforming issuer may make. A verifier that refuses it is broken in another way.",
    ),
    ("AlgNone", "The header says that there is no signature."),
    ("AlgConfusion", "The header names an algorithm that is not the key's."),
    ("KeyConfusion", "Signed with HMAC, with what everybody knows of a key pair as the secret."),
    ("WeakSecret", "Signed with HMAC under a secret that can be guessed."),
    ("ForeignKey", "Signed with a key that the verifier was not given."),
    ("KeyInHeader", "The header brings a key, or says where one is."),
    ("Extension", "The header asks for an extension, or for something else to be verified."),
    ("KeyId", "`kid` names no key of the verifier."),
    ("TokenType", "`typ` is that of another kind of token, or is missing."),
    ("Duplicate", "A member stands twice, so that two readers may see two tokens."),
    ("NotStrictJson", "Header or claims are not one strict JSON object in UTF-8."),
    ("ClaimType", "A claim is of another JSON type, or no number that a time can be."),
    ("ClaimMissing", "A claim that every access token has is missing or empty."),
    ("Issuer", "Another issuer's token."),
    ("Audience", "A token for another audience."),
    ("NotYetValid", "`nbf` or `iat` is far in the future."),
    ("Expired", "`exp` is long past."),
    ("Encoding", "Not three parts of canonical base64url."),
    ("Size", "Longer than 8 KiB."),
    ("Signature", "The signature is not that of this key over these bytes."),
    ("SignatureForm", "The numbers of the signature are written in another form, or are out of range."),
];

/// The files and their groups.
const FILES: &[(&str, &[Group])] =
    &[("headers", headers::GROUPS), ("claims", claims::GROUPS), ("forms", forms::GROUPS)];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

/// The name of a kind of key in the files: its `alg`.
fn algorithm(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Ed25519 => "EdDSA",
        KeyKind::P256 => "ES256",
        KeyKind::Rsa => "PS256",
        KeyKind::Hs256 => "HS256",
    }
}

/// Asks the host what it says of the vectors of a case.
pub(crate) async fn judge(host: &Host, case: &str) -> Outcome {
    let (file, _) = FILES
        .iter()
        .find(|(_, groups)| groups.iter().any(|group| group.case == case))
        .ok_or_else(|| harness(format!("{case} has no vectors")))?;
    let vectors = read(file)?.remove(case).ok_or_else(|| harness(format!("{case} is not in {file}.json")))?;
    for vector in vectors {
        let answer = host.me(&vector.token).await?;
        match vector.result {
            Verdict::Accepted => answer.answered(200).map(|_| ()),
            Verdict::Refused => answer.invalid_token(),
            Verdict::Expired => answer.expired_token(),
        }
        .row(vector.comment)?;
    }
    Ok(())
}

/// The groups of a file as it is now, by their case.
fn read(file: &str) -> Result<BTreeMap<String, Vec<Vector>>, Failure> {
    let path = folder().join(file).with_extension("json");
    let text = fs::read_to_string(&path).map_err(|error| harness(format!("{}: {error}", path.display())))?;
    parse(&text).ok_or_else(|| harness(format!("{} is no file of vectors", path.display())))
}

fn parse(text: &str) -> Option<BTreeMap<String, Vec<Vector>>> {
    let file: Value = serde_json::from_str(text).ok()?;
    let mut groups = BTreeMap::new();
    for group in file.get("groups")?.as_array()? {
        let mut vectors = Vec::new();
        for test in group.get("tests")?.as_array()? {
            let text = |name: &str| test.get(name).and_then(Value::as_str);
            let flag = test.pointer("/flags/0").and_then(Value::as_str);
            let (flag, _) = FLAGS.iter().find(|(known, _)| flag == Some(known))?;
            vectors.push(Vector {
                comment: text("comment")?.to_owned(),
                flag,
                result: Verdict::from_name(text("result")?)?,
                token: text("token")?.to_owned(),
            });
        }
        groups.insert(group.get("case")?.as_str()?.to_owned(), vectors);
    }
    Some(groups)
}

/// Signatures that a file holds, by what they sign.
type Signatures = HashMap<String, Vec<Vec<u8>>>;

/// The text that a file should have. What it holds now is asked for signatures that cannot be made again.
fn made(file: &str, groups: &[Group]) -> Result<String, Failure> {
    let before = read(file).unwrap_or_default();
    let mut flags: BTreeMap<&str, &str> = BTreeMap::new();
    let mut text = String::new();
    for group in groups {
        let vectors = before.get(group.case).map(Vec::as_slice).unwrap_or_default();
        let mut maker = Maker::new(group.key, vectors)?;
        (group.make)(&mut maker)?;
        let tests: Vec<String> = maker
            .vectors
            .iter()
            .map(|vector| {
                flags.extend(FLAGS.iter().copied().find(|(flag, _)| *flag == vector.flag));
                // Written by hand to have the members in this order, one vector a line.
                format!(
                    "      {{\"comment\": {}, \"flags\": [\"{}\"], \"result\": \"{}\",\n       \"token\": {}}}",
                    json!(vector.comment),
                    vector.flag,
                    vector.result.name(),
                    json!(vector.token),
                )
            })
            .collect();
        let separator = if text.is_empty() { "" } else { ",\n" };
        text.push_str(&format!(
            "{separator}    {{\"case\": \"{}\", \"key\": \"{}\", \"tests\": [\n{}\n    ]}}",
            group.case,
            algorithm(group.key),
            tests.join(",\n"),
        ));
    }
    let flags = serde_json::to_string_pretty(&flags).map_err(harness)?.replace('\n', "\n  ");
    Ok(format!("{{\n  \"flags\": {flags},\n  \"groups\": [\n{text}\n  ]\n}}\n"))
}

/// The keys and names that a verifier of the vectors is given.
fn keys() -> Result<String, Failure> {
    let mut keys = serde_json::Map::new();
    for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::Rsa, KeyKind::Hs256] {
        let key = AccessKey::known(kind)?;
        let entry = json!({"environment": key.environment(), "kid": key.thumbprint(), "jwk": key.jwk()});
        keys.insert(algorithm(kind).to_owned(), entry);
    }
    let refresh = Keys::known(KeyKind::Hs256)?;
    let file = json!({
        "issuer": maker::ISSUER,
        "audience": maker::AUDIENCE,
        "access_keys": keys,
        "refresh_secret": refresh.refresh_environment(),
        "refresh_kid": secret_thumbprint(&refresh.refresh),
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&file).map_err(harness)?))
}

/// Every file with the text that it should have.
fn files() -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut files = vec![(folder().join("keys.json"), keys()?)];
    for (name, groups) in FILES {
        files.push((folder().join(name).with_extension("json"), made(name, groups)?));
    }
    Ok(files)
}

/// Writes the files anew; says which changed.
pub(crate) fn write() -> Result<Vec<PathBuf>, Failure> {
    let mut changed = Vec::new();
    for (path, text) in files()? {
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            fs::write(&path, text).map_err(harness)?;
            changed.push(path);
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http;

    #[test]
    fn the_files_are_what_the_generator_makes() {
        for (path, text) in files().unwrap() {
            let name = path.file_name().unwrap();
            assert!(fs::read_to_string(&path).ok() == Some(text), "{name:?} differs: cargo xtask vectors");
        }
    }

    #[test]
    fn a_group_begins_with_a_good_token_and_says_everything_once() {
        let mut used = BTreeSet::new();
        for (file, groups) in FILES {
            let mut vectors = read(file).unwrap();
            for group in *groups {
                let vectors = vectors.remove(group.case).unwrap();
                let (mut comments, mut tokens) = (BTreeSet::new(), BTreeSet::new());
                assert_eq!(vectors[0].result, Verdict::Accepted, "{}", group.case);
                assert!(vectors.len() > 1, "{}", group.case);
                for vector in &vectors {
                    assert!(comments.insert(&vector.comment), "{}: {} twice", group.case, vector.comment);
                    assert!(tokens.insert(&vector.token), "{}: {} is no news", group.case, vector.comment);
                    assert_eq!(vector.flag == "Good", vector.result == Verdict::Accepted, "{vector:?}");
                    used.insert(vector.flag);
                }
            }
            assert!(vectors.is_empty(), "{file}");
        }
        assert_eq!(used, FLAGS.iter().map(|(flag, _)| *flag).collect(), "flags that are used");
    }

    #[test]
    fn a_case_runs_each_group_on_a_host_of_its_key() {
        let groups: BTreeMap<_, _> =
            FILES.iter().flat_map(|(_, groups)| *groups).map(|group| (group.case, group.key)).collect();
        let cases: BTreeMap<_, _> =
            http::cases().filter(|case| case.vectors).map(|case| (case.id, case.key)).collect();
        assert_eq!(groups, cases);
    }
}
