//! `gatekey keys …`: the file of keys. Never prints a key.

use std::{path::Path, time::Duration};

use gatekey::{
    Algorithm, Clock, KeyError, KeyInfo, KeyOverlap, KeyPurpose, KeyState, Keys, PUBLISH_FOR, SigningKey,
    SystemClock,
};
use serde_json::{Value, json};

use crate::{
    Failure, Outcome,
    commands::Invocation,
    output::{Table, say},
};

pub(crate) fn algorithm(name: &str) -> Result<Algorithm, Failure> {
    let all = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::PS256, Algorithm::RS256, Algorithm::HS256];
    let known = all.into_iter().find(|algorithm| algorithm.name() == name);
    known.ok_or_else(|| {
        Failure::Usage(format!("--alg: {name:?} is none of EdDSA, ES256, PS256, RS256, HS256"))
    })
}

/// What is wrong with a file is the caller's to mend; a step that is out of order is refused.
fn refused(error: KeyError) -> Failure {
    let is_file = matches!(error, KeyError::File { .. });
    if is_file { Failure::Usage(error.to_string()) } else { Failure::Refused(error.to_string()) }
}

fn file(invocation: &Invocation) -> &Path {
    invocation.arguments.first().map_or(Path::new(""), Path::new)
}

pub(crate) fn generate(invocation: &Invocation) -> Outcome {
    let algorithm = invocation.text("alg")?.map_or(Ok(Algorithm::EdDSA), algorithm)?;
    let keys = Keys::create(file(invocation), SigningKey::generate(algorithm).map_err(refused)?);
    for KeyInfo { kid, purpose, algorithm, .. } in
        keys.map_err(refused)?.list(SystemClock.now(), KeyOverlap::LONGEST)
    {
        say!("{} {} {kid}", name(purpose), algorithm.name())?;
    }
    Ok(true)
}

fn name(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Access => "access",
        KeyPurpose::Refresh => "refresh",
    }
}

pub(crate) fn list(invocation: &Invocation) -> Outcome {
    let keys = Keys::load(file(invocation)).map_err(refused)?;
    let mut table = Table::new(&["kid", "purpose", "algorithm", "state", "signs_from", "verifies_until"]);
    for KeyInfo { kid, purpose, algorithm, state } in keys.list(SystemClock.now(), KeyOverlap::LONGEST) {
        let (state, from, until) = match state {
            KeyState::Published { signs_from } => ("published", signs_from, None),
            KeyState::Active => ("active", None, None),
            KeyState::Retiring { until } => ("retiring", None, Some(until)),
        };
        let time =
            |time: Option<gatekey::Timestamp>| time.map_or(Value::Null, |time| json!(time.to_string()));
        table.row([
            json!(kid),
            json!(name(purpose)),
            json!(algorithm.name()),
            json!(state),
            time(from),
            time(until),
        ]);
    }
    table.write(invocation.has("json"))?;
    Ok(true)
}

pub(crate) fn rotate(invocation: &Invocation) -> Outcome {
    let wait = invocation.seconds("in")?.map_or(PUBLISH_FOR, Duration::from_secs);
    let wanted = invocation.text("alg")?.map(algorithm).transpose()?;
    let purpose = if invocation.has("refresh") { KeyPurpose::Refresh } else { KeyPurpose::Access };
    if purpose == KeyPurpose::Refresh && wanted.is_some_and(|algorithm| algorithm != Algorithm::HS256) {
        return Err(Failure::Usage("--alg: refresh tokens are signed with HS256 alone".to_owned()));
    }
    let now = SystemClock.now();
    let from = now + wait;
    let kid = Keys::edit(file(invocation), |keys| {
        let present = keys.list(now, KeyOverlap::LONGEST);
        let active = present.iter().find(|key| key.purpose == purpose && key.state == KeyState::Active);
        let algorithm = wanted.or(active.map(|key| key.algorithm)).ok_or(KeyError::NoSuchKey)?;
        let key = SigningKey::generate(algorithm)?;
        let kid = key.kid().to_owned();
        keys.publish(purpose, key, Some(from))?;
        keys.prune(now, KeyOverlap::LONGEST);
        Ok(kid)
    })
    .map_err(refused)?;
    say!("{kid} signs {} tokens from {from} on", name(purpose))?;
    Ok(true)
}

pub(crate) fn retire(invocation: &Invocation) -> Outcome {
    let now = SystemClock.now();
    let kids =
        (1..invocation.arguments.len()).map(|at| invocation.argument(at)).collect::<Result<Vec<_>, _>>()?;
    Keys::edit(file(invocation), |keys| kids.iter().try_for_each(|kid| keys.retire(kid, now)))
        .map_err(refused)?;
    for kid in kids {
        say!("{kid} is removed")?;
    }
    Ok(true)
}
