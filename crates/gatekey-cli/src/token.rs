//! `gatekey token inspect`: why an access token would be refused.

use std::{ffi::OsStr, fs, io::Read, time::Duration};

use gatekey::{
    Algorithm, Clock, Expectation, Finding, KeyOverlap, Keys, Secret, SystemClock, Timestamp, VerifyingKey,
    inspect as judge,
};
use serde_json::{Value, json};

use crate::{
    Failure, Outcome,
    commands::Invocation,
    keys::algorithm,
    output::{Table, say},
    store::Store,
};

/// In bytes: more than any token has, so that one too long is told as such, and all that a key set may have.
const MOST: u64 = 64 * 1024;

pub(crate) async fn inspect(invocation: Invocation) -> Outcome {
    let now = match invocation.seconds("now")? {
        Some(seconds) => Timestamp::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)),
        None => SystemClock.now(),
    };
    let keys = keys(&invocation, now)?;
    let issuer = invocation.text("issuer")?.map(str::to_owned);
    let audience = invocation.text("audience")?.map(str::to_owned).or_else(|| issuer.clone());
    let leeway = Duration::from_secs(invocation.seconds("leeway")?.unwrap_or(30));
    let token = token(&invocation)?;
    let found = judge(token.expose().trim(), &keys, &Expectation { issuer, audience, leeway }, now);

    let mut table = Table::new(&["rule", "about", "result", "found"]);
    let mut refused = found.refused().map(gatekey::TokenError::reason);
    let mut row = |rule: &str, about: &str, result: &str, found: &str| {
        table.row([json!(rule), json!(about), json!(result), json!(found)]);
    };
    for check in &found.checks {
        match &check.finding {
            Finding::Passed(detail) => row(check.rule, check.about, "pass", detail),
            Finding::Failed(_, detail) => row(check.rule, check.about, "FAIL", detail),
            Finding::Skipped(why) => row(check.rule, check.about, "-", why),
        }
    }
    let asked = invocation.has("store") || std::env::var_os("GATEKEY_STORE").is_some();
    match &found.signed {
        Some((_, id)) if asked => {
            let session = Store::open(&invocation).await?.sessions.find(id).await?;
            let live = match session {
                None => Err("the store has no such session".to_owned()),
                Some(session) => match session.ended {
                    Some(end) => Err(format!("ended {}: {}", end.at, end.reason.name())),
                    None => Ok(()),
                },
            };
            match live {
                Ok(()) => row("3.23", "session", "pass", "not ended"),
                Err(why) => {
                    row("3.23", "session", "FAIL", &why);
                    refused = refused.or(Some(gatekey::TokenError::Revoked.reason()));
                }
            }
        }
        _ => row("3.23", "session", "-", "no store is given, or a rule before it failed"),
    }
    table.write(invocation.has("json"))?;
    if !invocation.has("json") {
        match refused {
            Some(reason) => say!("\nrefused: {reason}")?,
            None => say!("\naccepted, as far as was looked")?,
        }
    }
    Ok(refused.is_none())
}

fn token(invocation: &Invocation) -> Result<Secret<String>, Failure> {
    let wrong = |what: String| Failure::Usage(what);
    let mut text = String::new();
    let path = invocation.arguments.first().filter(|path| path.as_os_str() != OsStr::new("-"));
    let read = match path {
        Some(path) => fs::File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text)),
        None => std::io::stdin().take(MOST).read_to_string(&mut text),
    };
    let text = Secret::new(text);
    match (read, path) {
        (Ok(_), _) if !text.expose().trim().is_empty() => Ok(text),
        (Ok(_), _) => Err(wrong("there is no token to read".to_owned())),
        // A token on the command line is taken for a file: it is not repeated.
        (Err(error), Some(_)) => Err(wrong(format!(
            "the file of the token: {error} (a token is read from a file or standard input, not from the command line)"
        ))),
        (Err(error), None) => Err(wrong(format!("standard input: {error}"))),
    }
}

fn keys(invocation: &Invocation, now: Timestamp) -> Result<Vec<VerifyingKey>, Failure> {
    let text = |name: &str, path: &OsStr| {
        let mut text = String::new();
        let file = fs::File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text));
        match file {
            Ok(_) if text.len() as u64 > MOST => Err(format!("more than {MOST} bytes")),
            Ok(_) => Ok(text),
            Err(error) => Err(error.to_string()),
        }
        .map_err(|problem| Failure::Usage(format!("--{name}: {problem}")))
    };
    let given = ["keys", "jwks", "public-key"].map(|name| invocation.value(name));
    match given {
        [Some(path), None, None] => {
            let keys = Keys::load(path).map_err(|error| Failure::Usage(error.to_string()))?;
            Ok(keys.verifying(now, KeyOverlap::LONGEST))
        }
        [None, Some(path), None] => {
            let set: Value = serde_json::from_str(&text("jwks", path)?)
                .map_err(|error| Failure::Usage(format!("--jwks: {error}")))?;
            let members =
                set["keys"].as_array().ok_or_else(|| Failure::Usage("--jwks: no JWK Set".to_owned()))?;
            // As verifiers do: what is no such key is left out, and the others stay.
            Ok(members.iter().filter_map(|jwk| VerifyingKey::from_jwk(&jwk.to_string()).ok()).collect())
        }
        [None, None, Some(path)] => {
            let pem = text("public-key", path)?;
            let candidates = match invocation.text("alg")? {
                Some(name) => vec![algorithm(name)?],
                None => vec![Algorithm::EdDSA, Algorithm::ES256, Algorithm::PS256],
            };
            let key = candidates.iter().find_map(|algorithm| VerifyingKey::from_pem(*algorithm, &pem).ok());
            key.map(|key| vec![key]).ok_or_else(|| {
                Failure::Usage("--public-key: no public key in PEM for that algorithm".to_owned())
            })
        }
        _ => Err(Failure::Usage("give one of --keys, --jwks, --public-key".to_owned())),
    }
}
