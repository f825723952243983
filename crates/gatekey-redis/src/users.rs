//! Accounts: the account itself under its id, which every refresh asks for, and its id under its name.
//!
//! A cluster keeps the two on different nodes, so no script writes both. The account is written first, where nobody finds
//! it: its id is new and known to nobody. Then the name is taken, in one command, and that is when the account comes to
//! be. Whoever finds the name taken removes the account that nobody saw, and only then: where it is not known whether the
//! name was taken, the account stays. A process that dies between the two leaves an account without a name, which takes
//! up some room and nothing else.
//!
//! So a name that leads to no account is no registration under way. Its account was lost, in a fail-over of the node that
//! had it; the next registration takes the name over, in one command again, if it still leads there. A server that a
//! cluster has given up, and that does not know it yet (for `cluster-node-timeout` at most), could still say that there is
//! no account where its successor has a new one: only then is a name taken from an account that is there, which keeps its
//! id and its sessions.

use std::sync::LazyLock;

use gatekey_core::{
    password::PasswordHash,
    session::SubjectId,
    time::Timestamp,
    user::{NewUser, User, UserChange, Username},
};
use redis::{Value, from_redis_value};
use serde::{Deserialize, Serialize};

use crate::{Shared, fault::Fault, link::Lua};

static SWAP: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("lua/swap.lua")));

/// How often a change is made anew because another came between. Each time another has succeeded.
const ROUNDS: usize = 256;

/// An account as it is stored: JSON. Members may be added; who does not know them drops them at the next change.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    username: String,
    password_hash: Option<String>,
    roles: Vec<String>,
    scope: Option<String>,
    disabled: bool,
    /// Milliseconds since the epoch.
    created_at: i64,
}

impl From<Stored> for User {
    fn from(stored: Stored) -> Self {
        Self {
            id: SubjectId::new(stored.id),
            username: stored.username,
            password_hash: stored.password_hash.map(PasswordHash::new),
            roles: stored.roles,
            scope: stored.scope,
            disabled: stored.disabled,
            created_at: Timestamp::from_millis(stored.created_at),
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Stored, Fault> {
    // The parser's own text may quote what it read.
    serde_json::from_slice(bytes).map_err(|_| Fault::corrupt("an account cannot be read"))
}

fn encode(stored: &Stored) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(stored).map_err(|_| Fault::corrupt("an account cannot be written"))
}

async fn get(shared: &Shared, key: &str) -> Result<Option<Vec<u8>>, Fault> {
    let mut get = redis::cmd("GET");
    get.arg(key);
    Ok(from_redis_value(shared.link.ask(key, get).await?)?)
}

pub(crate) async fn find_by_id(shared: &Shared, id: &SubjectId) -> Result<Option<User>, Fault> {
    let Some(stored) = get(shared, &shared.keys.user(id)).await? else { return Ok(None) };
    Ok(Some(decode(&stored)?.into()))
}

pub(crate) async fn find_by_name(shared: &Shared, name: &Username) -> Result<Option<User>, Fault> {
    let Some(id) = get(shared, &shared.keys.name(name)).await? else { return Ok(None) };
    find_by_id(shared, &subject(id)?).await
}

fn subject(id: Vec<u8>) -> Result<SubjectId, Fault> {
    String::from_utf8(id).map(SubjectId::new).map_err(|_| Fault::corrupt("an id is not text"))
}

pub(crate) async fn create(shared: &Shared, user: &NewUser) -> Result<Option<User>, Fault> {
    let (account, name) = (shared.keys.user(&user.id), shared.keys.name(&user.username));
    // Most of the time this says so already, and nothing has to be undone.
    let held = get(shared, &name).await?;
    if let Some(id) = &held
        && get(shared, &shared.keys.user(&subject(id.clone())?)).await?.is_some()
    {
        return Ok(None);
    }
    let stored = Stored {
        id: user.id.as_str().to_owned(),
        username: user.username.as_str().to_owned(),
        password_hash: Some(user.password_hash.expose().to_owned()),
        roles: Vec::new(),
        scope: None,
        disabled: false,
        created_at: user.created_at.as_millis(),
    };
    if !set_new(shared, &account, &encode(&stored)?).await? {
        return Err(Fault::corrupt("an account of this id exists"));
    }
    let id = user.id.as_str().as_bytes();
    let taken = match held {
        None => set_new(shared, &name, id).await?,
        Some(lost) => {
            let swapped = shared.link.write(&SWAP, std::slice::from_ref(&name), &[&lost, id]).await?;
            swapped == Value::Int(1)
        }
    };
    if taken {
        return Ok(Some(stored.into()));
    }
    let mut delete = redis::cmd("DEL");
    delete.arg(&account);
    shared.link.tell(&account, delete).await?;
    Ok(None)
}

/// Writes a value where there is none; whether it did.
async fn set_new(shared: &Shared, key: &str, value: &[u8]) -> Result<bool, Fault> {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(value).arg("NX");
    Ok(shared.link.tell(key, set).await? != Value::Nil)
}

pub(crate) async fn set_password_hash(
    shared: &Shared,
    id: &SubjectId,
    old: &str,
    new: &str,
) -> Result<bool, Fault> {
    change(shared, id, |stored| {
        let same = stored.password_hash.as_deref() == Some(old);
        if same {
            stored.password_hash = Some(new.to_owned());
        }
        same
    })
    .await
}

pub(crate) async fn update(shared: &Shared, id: &SubjectId, changed: &UserChange) -> Result<bool, Fault> {
    change(shared, id, |stored| {
        if let Some(disabled) = changed.disabled {
            stored.disabled = disabled;
        }
        if let Some(roles) = &changed.roles {
            stored.roles.clone_from(roles);
        }
        if let Some(scope) = &changed.scope {
            stored.scope.clone_from(scope);
        }
        true
    })
    .await
}

/// Changes an account as it is at that moment. `false` if there is none, or `change` refuses it.
async fn change(
    shared: &Shared,
    id: &SubjectId,
    change: impl Fn(&mut Stored) -> bool,
) -> Result<bool, Fault> {
    let key = shared.keys.user(id);
    let Some(mut old) = get(shared, &key).await? else { return Ok(false) };
    for _ in 0..ROUNDS {
        let mut stored = decode(&old)?;
        if !change(&mut stored) {
            return Ok(false);
        }
        let new = encode(&stored)?;
        let answer = shared.link.write(&SWAP, std::slice::from_ref(&key), &[&old, &new]).await?;
        if answer == Value::Int(1) {
            return Ok(true);
        }
        match from_redis_value(answer)? {
            Some(present) => old = present,
            None => return Ok(false),
        }
    }
    Err(Fault::unavailable("other changes of the same account came between, again and again"))
}
