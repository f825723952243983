//! `gatekey users …`: disabling, and bringing accounts along with the password hashes they have.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use gatekey::{
    Clock, EndReason, NewUser, PasswordHash, StoreError, SubjectId, SystemClock, SystemRandom, Timestamp,
    UserChange, Username,
};
use serde::Deserialize;

use crate::{
    Failure, Outcome,
    commands::Invocation,
    output::{say, tell},
    store::Store,
};

pub(crate) async fn set_disabled(invocation: Invocation, disabled: bool) -> Outcome {
    let store = Store::open(&invocation).await?;
    let user = store.user(invocation.argument(0)?).await?;
    let change = UserChange { disabled: Some(disabled), ..UserChange::default() };
    if !store.users.update(&user.id, &change).await? {
        return Err(Failure::Refused("the account is gone".to_owned()));
    }
    if !disabled {
        say!("{} is enabled", user.username)?;
        return Ok(true);
    }
    // After the change, so that no refresh that was under way leaves one open.
    let ended = store.sessions.revoke_all(&user.id, None, EndReason::Disabled, SystemClock.now()).await?;
    say!("{} is disabled; {} sessions are ended", user.username, ended.len())?;
    Ok(true)
}

/// In bytes, of a `sub`: what OpenID Connect allows, and stores have an index of.
const MOST_ID: usize = 255;

/// In bytes: a token is to fit into a cookie, with what the application adds.
const MOST_GRANTED: usize = 2048;

/// 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

/// In bytes: some million accounts. A file is read whole.
const MOST: u64 = 1 << 30;

/// An account as a line says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    username: String,
    password_hash: String,
    id: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    scope: Option<String>,
    #[serde(default)]
    disabled: bool,
    created_at: Option<i64>,
}

/// An account that can be created.
struct Account {
    line: usize,
    name: Username,
    hash: PasswordHash,
    id: Option<SubjectId>,
    created_at: Option<Timestamp>,
    change: UserChange,
}

impl Account {
    fn check(line: usize, said: Line) -> Result<Self, String> {
        let name = Username::new(&said.username).map_err(|rule| format!("username: {}", rule.name()))?;
        let hash = PasswordHash::new(said.password_hash);
        if let Some(problem) = hash.problem() {
            return Err(format!("password_hash: {problem}"));
        }
        let odd = |text: &String| text.is_empty() || text.chars().any(char::is_control);
        if said.id.as_ref().is_some_and(|id| odd(id) || id.len() > MOST_ID) {
            return Err(format!("id: empty, with control characters, or more than {MOST_ID} bytes"));
        }
        if said.roles.iter().any(odd) {
            return Err("roles: one that is empty or has control characters".to_owned());
        }
        // RFC 6749 section 3.3.
        let scope = said.scope.as_deref().unwrap_or_default();
        let named = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
        };
        if !scope.is_empty() && !scope.split(' ').all(named) {
            return Err("scope: not names with one blank between them (RFC 6749 section 3.3)".to_owned());
        }
        if said.roles.iter().map(String::len).sum::<usize>() + scope.len() > MOST_GRANTED {
            return Err(format!("roles and scope: more than {MOST_GRANTED} bytes, which no token can carry"));
        }
        if said.created_at.is_some_and(|at| !(0..=LAST_SECOND).contains(&at)) {
            return Err("created_at: not from 1970 to 9999, in seconds".to_owned());
        }
        let change = UserChange {
            disabled: Some(said.disabled),
            roles: Some(said.roles),
            scope: Some(said.scope.filter(|scope| !scope.is_empty())),
        };
        let created_at = said.created_at.map(Timestamp::from_secs);
        Ok(Self { line, name, hash, id: said.id.map(SubjectId::new), created_at, change })
    }
}

pub(crate) async fn import(invocation: Invocation) -> Outcome {
    let path = invocation.arguments.first().map_or(Path::new(""), Path::new);
    let text = text(path).map_err(|problem| Failure::Usage(format!("{}: {problem}", path.display())))?;
    let csv = match invocation.text("format")? {
        Some("csv") => true,
        Some("json") => false,
        Some(other) => return Err(Failure::Usage(format!("--format: {other:?} is neither json nor csv"))),
        None => path.extension().is_some_and(|extension| extension == "csv"),
    };
    let lines = if csv { csv_lines(&text).map_err(Failure::Usage)? } else { json_lines(&text) };

    let (mut accounts, mut wrong) = (Vec::new(), 0);
    let mut names = BTreeMap::new();
    for (line, said) in lines {
        let account = said.and_then(|said| Account::check(line, said)).and_then(|account| {
            match names.insert(account.name.canonical().to_owned(), line) {
                None => Ok(account),
                Some(other) => Err(format!("username: the same as in line {other}")),
            }
        });
        match account {
            Ok(account) => accounts.push(account),
            Err(problem) => {
                wrong += 1;
                tell!("line {line}: {problem}");
            }
        }
    }
    if wrong > 0 {
        let lines = accounts.len() + wrong;
        return Err(Failure::Refused(format!("{wrong} of {lines} lines are wrong; nothing was imported")));
    }
    if invocation.has("check") {
        say!("{} accounts can be imported", accounts.len())?;
        return Ok(true);
    }

    let store = Store::open(&invocation).await?;
    let (mut created, mut renewed, mut taken) = (0, 0, 0);
    for account in &accounts {
        match create(&store, account).await {
            Ok(Created::New) => created += 1,
            Ok(Created::Again) => renewed += 1,
            Ok(Created::Taken) => {
                taken += 1;
                tell!("line {}: there is another account of that name or id", account.line);
            }
            Err(error) => {
                return Err(Failure::Unavailable(format!(
                    "stopped at line {}: {error}. {created} accounts were created and {renewed} brought up to date before; \
                     the same import may be run again",
                    account.line
                )));
            }
        }
    }
    say!("{created} accounts were created, {renewed} were there already, {taken} could not be created")?;
    Ok(taken == 0)
}

fn text(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut text = String::new();
    fs::File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text)).map_err(told)?;
    if text.len() as u64 > MOST {
        return Err("more than 1 GiB; import it in parts".to_owned());
    }
    // As some programs begin a file.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

enum Created {
    New,
    /// Imported before, from the same line.
    Again,
    /// Another account has the name or the id.
    Taken,
}

async fn create(store: &Store, account: &Account) -> Result<Created, StoreError> {
    let id = match &account.id {
        Some(id) => id.clone(),
        None => SubjectId::random(&SystemRandom).map_err(StoreError::unavailable)?,
    };
    // An id of another account is taken, too: some stores would only say that they failed.
    let of_id = store.users.find_by_id(&id).await?;
    let of_name = store.users.find_by_name(&account.name).await?;
    let (id, outcome) = match (of_name, of_id) {
        (None, None) => {
            let user = NewUser {
                id: id.clone(),
                username: account.name.clone(),
                password_hash: account.hash.clone(),
                created_at: account.created_at.unwrap_or_else(|| SystemClock.now()),
            };
            if store.users.create(user).await?.is_none() {
                return Ok(Created::Taken);
            }
            (id, Created::New)
        }
        (Some(there), _) if is_same(&there, account) => (there.id, Created::Again),
        _ => return Ok(Created::Taken),
    };
    store.users.update(&id, &account.change).await?;
    Ok(outcome)
}

fn is_same(there: &gatekey::User, account: &Account) -> bool {
    let same_hash = there.password_hash.as_ref().is_some_and(|hash| hash.expose() == account.hash.expose());
    same_hash && account.id.as_ref().is_none_or(|id| *id == there.id)
}

type Said = (usize, Result<Line, String>);

fn json_lines(text: &str) -> Vec<Said> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    // What serde says may repeat a value, and a value may be a hash.
    lines.map(|(number, line)| (number, serde_json::from_str(line).map_err(|error| blame(&error)))).collect()
}

/// What is wrong with a line of JSON, without anything of it.
fn blame(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let named = |known: &str| {
        text.starts_with(known).then(|| text.split(", expected").next().unwrap_or(known).to_owned())
    };
    let told = ["missing field", "unknown field", "duplicate field"].into_iter().find_map(named);
    told.map_or_else(
        || "no JSON object of username, password_hash, id, roles, scope, disabled, created_at".to_owned(),
        |told| told.split(" at line").next().unwrap_or_default().to_owned(),
    )
}

fn csv_lines(text: &str) -> Result<Vec<Said>, String> {
    let mut records = records(text)?.into_iter();
    let (_, names) = records.next().ok_or("the file is empty")?;
    let known = ["username", "password_hash", "id", "roles", "scope", "disabled", "created_at"];
    if let Some(other) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("line 1: {other:?} is no column; {} are", known.join(", ")));
    }
    for needed in ["username", "password_hash"] {
        if names.iter().filter(|name| *name == needed).count() != 1 {
            return Err(format!("line 1: the column {needed} has to be there once"));
        }
    }
    let read = |fields: Vec<String>| -> Result<Line, String> {
        if fields.len() != names.len() {
            return Err(format!("{} fields and not {}", fields.len(), names.len()));
        }
        let mut cells: BTreeMap<&str, String> = names.iter().map(String::as_str).zip(fields).collect();
        let mut cell = |name: &str| cells.remove(name).filter(|cell| !cell.is_empty());
        let disabled = match cell("disabled").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err("disabled: neither true nor false".to_owned()),
        };
        let created_at = cell("created_at").map(|text| text.parse::<i64>()).transpose();
        Ok(Line {
            username: cell("username").unwrap_or_default(),
            password_hash: cell("password_hash").unwrap_or_default(),
            id: cell("id"),
            roles: cell("roles").map_or_else(Vec::new, |text| text.split(' ').map(str::to_owned).collect()),
            scope: cell("scope"),
            disabled,
            created_at: created_at.map_err(|_| "created_at: not a number of seconds".to_owned())?,
        })
    };
    Ok(records.map(|(line, fields)| (line, read(fields))).collect())
}

/// The records of a CSV text (RFC 4180), each with the number of its first line.
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut found = Vec::new();
    let (mut line, mut began) = (1, 1);
    let (mut fields, mut field) = (Vec::new(), String::new());
    let (mut quoted, mut closed) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => (quoted, closed) = (false, true),
            '"' if field.is_empty() && !closed => quoted = true,
            ',' if !quoted => {
                fields.push(std::mem::take(&mut field));
                closed = false;
            }
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                fields.push(std::mem::take(&mut field));
                let record = std::mem::take(&mut fields);
                if record != [""] {
                    found.push((began, record));
                }
                (line, closed) = (line + 1, false);
                began = line;
            }
            '"' => return Err(format!("line {line}: a quote within a field")),
            _ if closed => return Err(format!("line {line}: something after a quoted field")),
            c => {
                line += usize::from(c == '\n');
                field.push(c);
            }
        }
    }
    if quoted {
        return Err(format!("line {began}: a quote that is not closed"));
    }
    fields.push(field);
    if fields != [""] {
        found.push((began, fields));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_read_as_rfc_4180_writes_it() {
        let fields = |text: &str| records(text).map(|found| found.into_iter().collect::<Vec<_>>());
        let record = |line, fields: &[&str]| {
            (line, fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            fields("a,b\r\n\"x,\n\"\"y\"\"\",\n\n,z").unwrap(),
            [record(1, &["a", "b"]), record(2, &["x,\n\"y\"", ""]), record(5, &["", "z"])]
        );
        for text in ["a\"b", "\"a\"b", "\"a", "\"a\" ,b"] {
            assert!(fields(text).is_err(), "{text}");
        }
    }
}
