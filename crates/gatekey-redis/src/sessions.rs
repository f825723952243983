//! The scripts behind `SessionStore`, and what is done where one of them does not suffice.

use std::{cmp::Reverse, sync::LazyLock, time::Duration};

use gatekey_core::{
    rotation::{self, Attempt, Outcome},
    session::{EndReason, Session, SessionId, SubjectId},
    store::{Inserted, Rotation},
    time::Timestamp,
};
use redis::{Value, from_redis_value};

use crate::{
    Shared,
    fault::Fault,
    keys::{Found, Keys, Place, Shard, digest},
    link::Lua,
    row::{Row, instant, reason_byte, removable_at, tail},
};

static INSERT: LazyLock<Lua> = LazyLock::new(|| {
    Lua::new(concat!(
        include_str!("lua/row.lua"),
        include_str!("lua/sessions.lua"),
        include_str!("lua/insert.lua")
    ))
});
static ROTATE: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(concat!(include_str!("lua/row.lua"), include_str!("lua/rotate.lua"))));
static SETTLE: LazyLock<Lua> = LazyLock::new(|| {
    Lua::new(concat!(
        include_str!("lua/row.lua"),
        include_str!("lua/sessions.lua"),
        include_str!("lua/settle.lua")
    ))
});
static LIST: LazyLock<Lua> = LazyLock::new(|| {
    Lua::new(concat!(
        include_str!("lua/row.lua"),
        include_str!("lua/sessions.lua"),
        include_str!("lua/list.lua")
    ))
});
static REVOKE: LazyLock<Lua> = LazyLock::new(|| {
    Lua::new(concat!(
        include_str!("lua/row.lua"),
        include_str!("lua/sessions.lua"),
        include_str!("lua/revoke.lua")
    ))
});
static REVOKE_ALL: LazyLock<Lua> = LazyLock::new(|| {
    Lua::new(concat!(
        include_str!("lua/row.lua"),
        include_str!("lua/sessions.lua"),
        include_str!("lua/revoke_all.lua")
    ))
});
static PURGE: LazyLock<Lua> = LazyLock::new(|| {
    Lua::new(concat!(
        include_str!("lua/row.lua"),
        include_str!("lua/sessions.lua"),
        include_str!("lua/purge.lua")
    ))
});

/// How often a call is made anew because another changed what it had read. Each time another has succeeded.
const ROUNDS: usize = 256;

/// How many sessions one script of a purge looks at, so that refreshes get their turn in between.
const STEP: usize = 100;

fn raced() -> Fault {
    Fault::unavailable("other calls about the same subject or session came between, again and again")
}

/// Where a session is. One look-up for an id that does not tell it; `None` if there is no such session.
async fn place(shared: &Shared, id: &SessionId) -> Result<Option<Place>, Fault> {
    match Found::by(id) {
        Found::Here(place) => Ok(Some(place)),
        Found::Somewhere(field) => {
            let key = shared.keys.address(&field);
            let mut get = redis::cmd("GET");
            get.arg(&key);
            let Some(number): Option<u8> = from_redis_value(shared.link.ask(&key, get).await?)? else {
                return Ok(None);
            };
            let shard = Shard::from_number(number).ok_or_else(|| Fault::corrupt("no such shard"))?;
            Ok(Some(Place { shard, field }))
        }
    }
}

/// Decides where a session is to be, and notes it where its id does not tell.
///
/// The note is written first. Without a session it says nothing, and no id is given to two sessions, so nothing comes of
/// it if what follows does not happen.
async fn settle_down(shared: &Shared, session: &Session, kept: Option<i64>) -> Result<Place, Fault> {
    let shard = Shard::of(&session.subject);
    match Found::by(&session.id) {
        Found::Here(place) if place.shard == shard => Ok(place),
        // Nobody would find it by its id.
        Found::Here(_) => Err(Fault::corrupt("the session's id carries the tag of another subject")),
        Found::Somewhere(field) => {
            let key = shared.keys.address(&field);
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(shard.number()).arg("NX");
            if let Some(kept) = kept {
                set.arg("PX").arg(kept);
            }
            shared.link.tell(&key, set).await?;
            match place(shared, &session.id).await? {
                Some(place) if place.shard == shard => Ok(place),
                Some(_) | None => Err(Fault::corrupt("a session of this id exists")),
            }
        }
    }
}

/// How long Redis keeps a session, in milliseconds; `None` is for ever. See the notes of this crate.
fn kept(session: &Session) -> Option<i64> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let lifetime = session.expires_at.since(session.created_at);
    let kept = lifetime.saturating_mul(2).saturating_add(DAY);
    let kept = i64::try_from(kept.as_millis()).ok()?;
    (kept < 100 * 366 * 24 * 3_600_000).then_some(kept)
}

/// What names a session in the list of what may be purged: where its row is, and whose it is.
fn member(place: &Place, subject: &str) -> String {
    format!("{} {subject}", place.field)
}

/// The keys of the sessions of a subject's index.
fn rows(keys: &Keys, shard: Shard, fields: &[String]) -> Vec<String> {
    let place = |field: &String| Place { shard, field: field.clone() };
    fields.iter().map(|field| keys.session(&place(field))).collect()
}

/// An answer that begins with a number which says what it is.
fn numbered(answer: Value) -> Result<(i64, Vec<Vec<u8>>), Fault> {
    let values: Vec<Value> = from_redis_value(answer)?;
    let mut values = values.into_iter();
    let number = from_redis_value(values.next().unwrap_or(Value::Nil))?;
    let rest = values.map(from_redis_value).collect::<Result<_, _>>()?;
    Ok((number, rest))
}

fn text(bytes: Vec<u8>) -> Result<String, Fault> {
    String::from_utf8(bytes).map_err(|_| Fault::corrupt("a name is not text"))
}

fn texts(all: Vec<Vec<u8>>) -> Result<Vec<String>, Fault> {
    all.into_iter().map(text).collect()
}

pub(crate) async fn insert(
    shared: &Shared,
    session: &Session,
    max_sessions: usize,
) -> Result<Inserted, Fault> {
    let kept = kept(session);
    let place = settle_down(shared, session, kept).await?;
    let (keys, subject) = (&shared.keys, digest(session.subject.as_str()));
    let shard = place.shard;
    let row = Row { session: session.clone(), purge_after: removable_at(session) };
    let (row, member) = (row.encode(), member(&place, &subject));
    let (auth_time, created_at) = (instant(session.auth_time), instant(session.created_at));
    // More than any index holds is without a limit.
    let most = max_sessions.clamp(1, 1 << 31).to_string();
    let kept = kept.unwrap_or(0).to_string();
    let evicted = [reason_byte(EndReason::Evicted)];

    let mut others = Vec::new();
    for _ in 0..ROUNDS {
        let mut touched = vec![
            keys.session(&place),
            keys.index(shard, &subject),
            keys.mark(shard, &subject),
            keys.ended(shard),
            keys.purge(shard),
        ];
        touched.extend(rows(keys, shard, &others));
        let mut arguments: Vec<&[u8]> = vec![
            &row,
            place.field.as_bytes(),
            member.as_bytes(),
            &auth_time,
            &created_at,
            most.as_bytes(),
            kept.as_bytes(),
            &evicted,
            keys.channel().as_bytes(),
        ];
        arguments.extend(others.iter().map(String::as_bytes));
        match numbered(shared.link.write(&INSERT, &touched, &arguments).await?)? {
            (0, _) => return Ok(Inserted::Stale),
            (1, evicted) => {
                let evicted = texts(evicted)?.into_iter().map(SessionId::new).collect();
                return Ok(Inserted::Opened { evicted });
            }
            (3, index) => others = texts(index)?,
            _ => return Err(Fault::corrupt("a session of this id exists")),
        }
    }
    Err(raced())
}

pub(crate) async fn rotate(shared: &Shared, attempt: &Attempt) -> Result<Option<Rotation>, Fault> {
    let Some(place) = place(shared, &attempt.presented.session).await? else { return Ok(None) };
    let key = shared.keys.session(&place);
    let Attempt { presented, successor, client, now, policy, .. } = attempt;
    let answer = shared
        .link
        .write(
            &ROTATE,
            &[key],
            &[
                &presented.digest.0,
                &instant(*now),
                &instant(*now - whole_millis(policy.grace)),
                &successor.generation.to_be_bytes(),
                &successor.digest.0,
                &instant(successor.expires_at),
                &tail(client, &successor.sealed),
            ],
        )
        .await?;
    let Some((swapped, row)): Option<(bool, Vec<u8>)> = from_redis_value(answer)? else { return Ok(None) };
    if !swapped {
        return decide(shared, &place, attempt, row).await;
    }
    let Row { mut session, .. } = Row::decode(&row)?;
    let before = session.client.clone();
    // What the script has written; guarded by the store suite, and by `the_script_swaps_what_core_swaps`.
    let outcome = rotation::advance(&mut session, attempt);
    if outcome == Outcome::Rotated {
        Ok(Some(Rotation { outcome, session, before }))
    } else {
        Err(Fault::corrupt(format_args!("a token was swapped where core says {}", outcome.name())))
    }
}

/// `Timestamp` subtracts whole milliseconds; what is left over of a grace counts for nothing.
fn whole_millis(grace: Duration) -> Duration {
    Duration::from_millis(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX))
}

/// Has core decide of the row that was read, and writes the outcome if the row is still the same.
async fn decide(
    shared: &Shared,
    place: &Place,
    attempt: &Attempt,
    mut old: Vec<u8>,
) -> Result<Option<Rotation>, Fault> {
    for _ in 0..ROUNDS {
        let Row { mut session, mut purge_after } = Row::decode(&old)?;
        let before = session.client.clone();
        let outcome = rotation::advance(&mut session, attempt);
        // A host that shortened the idle lifetime moves the end to before the bound that the purge knows.
        purge_after = purge_after.min(removable_at(&session));
        let row = Row { session, purge_after };
        let new = row.encode();
        // Many repeats of one token at once write the same: one of them suffices. Not where replicas are waited for: WAIT
        // is about what this connection wrote, and what is answered now may be another's.
        if !outcome.writes() || new == old && !shared.link.waits() {
            return Ok(Some(Rotation { outcome, session: row.session, before }));
        }
        let (keys, subject) = (&shared.keys, digest(row.session.subject.as_str()));
        let shard = place.shard;
        let touched =
            [keys.session(place), keys.index(shard, &subject), keys.ended(shard), keys.purge(shard)];
        let member = member(place, &subject);
        let arguments: [&[u8]; 5] =
            [&old, &new, place.field.as_bytes(), member.as_bytes(), keys.channel().as_bytes()];
        let answer = shared.link.write(&SETTLE, &touched, &arguments).await?;
        if answer == Value::Int(1) {
            return Ok(Some(Rotation { outcome, session: row.session, before }));
        }
        match from_redis_value(answer)? {
            Some(present) => old = present,
            None => return Ok(None),
        }
    }
    Err(raced())
}

pub(crate) async fn find(shared: &Shared, id: &SessionId) -> Result<Option<Session>, Fault> {
    let Some(place) = place(shared, id).await? else { return Ok(None) };
    let key = shared.keys.session(&place);
    let mut get = redis::cmd("GET");
    get.arg(&key);
    let row: Option<Vec<u8>> = from_redis_value(shared.link.ask(&key, get).await?)?;
    row.map(|row| Row::decode(&row)).transpose().map(|row| row.map(|row| row.session))
}

pub(crate) async fn list(
    shared: &Shared,
    subject: &SubjectId,
    now: Timestamp,
) -> Result<Vec<Session>, Fault> {
    let (keys, shard) = (&shared.keys, Shard::of(subject));
    let index = keys.index(shard, &digest(subject.as_str()));
    let mut fields = Vec::new();
    for _ in 0..ROUNDS {
        let mut touched = vec![index.clone()];
        touched.extend(rows(keys, shard, &fields));
        let arguments: Vec<&[u8]> = fields.iter().map(String::as_bytes).collect();
        match numbered(shared.link.run(&LIST, &touched, &arguments).await?)? {
            (1, rows) => {
                let mut live = Vec::with_capacity(rows.len());
                for row in rows {
                    live.push(Row::decode(&row)?.session);
                }
                live.retain(|session| session.is_live(now) && session.subject == *subject);
                live.sort_by_key(|session| Reverse((session.created_at, session.id.clone())));
                return Ok(live);
            }
            (_, index) => fields = texts(index)?,
        }
    }
    Err(raced())
}

pub(crate) async fn revoke(
    shared: &Shared,
    id: &SessionId,
    owner: Option<&SubjectId>,
    reason: EndReason,
    now: Timestamp,
) -> Result<bool, Fault> {
    let Some(place) = place(shared, id).await? else { return Ok(false) };
    let keys = &shared.keys;
    let touched = [keys.session(&place), keys.ended(place.shard)];
    let (now, reason) = (instant(now), [reason_byte(reason)]);
    let mut arguments: Vec<&[u8]> = vec![&now, &reason, keys.channel().as_bytes()];
    arguments.extend(owner.map(|owner| owner.as_str().as_bytes()));
    Ok(from_redis_value(shared.link.write(&REVOKE, &touched, &arguments).await?)?)
}

pub(crate) async fn revoke_all(
    shared: &Shared,
    subject: &SubjectId,
    keep: Option<&SessionId>,
    reason: EndReason,
    now: Timestamp,
) -> Result<Vec<SessionId>, Fault> {
    let (keys, shard, subject) = (&shared.keys, Shard::of(subject), digest(subject.as_str()));
    let keep = match keep.map(Found::by) {
        // That of another subject keeps nothing, and is not in the index.
        Some(Found::Here(Place { field, .. }) | Found::Somewhere(field)) => field,
        None => String::new(),
    };
    let (now, reason) = (instant(now), [reason_byte(reason)]);
    let mut fields = Vec::new();
    for _ in 0..ROUNDS {
        let mut touched = vec![keys.mark(shard, &subject), keys.index(shard, &subject), keys.ended(shard)];
        touched.extend(rows(keys, shard, &fields));
        let mut arguments: Vec<&[u8]> = vec![&now, &reason, keys.channel().as_bytes(), keep.as_bytes()];
        arguments.extend(fields.iter().map(String::as_bytes));
        match numbered(shared.link.write(&REVOKE_ALL, &touched, &arguments).await?)? {
            (1, ended) => return Ok(texts(ended)?.into_iter().map(SessionId::new).collect()),
            (_, index) => fields = texts(index)?,
        }
    }
    Err(raced())
}

pub(crate) async fn purge(shared: &Shared, before: Timestamp, limit: usize) -> Result<usize, Fault> {
    let mut removed = 0;
    loop {
        let wanted = STEP.min(limit - removed);
        if wanted == 0 {
            return Ok(removed);
        }
        let candidates = candidates(shared, before, wanted).await?;
        let mut done = 0;
        for (shard, members) in candidates {
            let some = &members[..members.len().min(limit - removed)];
            if some.is_empty() {
                continue;
            }
            let (gone, corrected) = purge_some(shared, shard, before, some).await?;
            removed += gone;
            done += gone + corrected;
        }
        // Every candidate is removed or gets another bound, so none that is left was one.
        if done == 0 {
            return Ok(removed);
        }
    }
}

/// Of each shard, the first members whose bound lies before the time.
async fn candidates(
    shared: &Shared,
    before: Timestamp,
    wanted: usize,
) -> Result<Vec<(Shard, Vec<String>)>, Fault> {
    // Scores are a little early beyond 53 bits, and this is a little late.
    let bound = match before.as_millis() {
        exact @ -0x20_0000_0000_0000..=0x20_0000_0000_0000 => exact,
        large => large.saturating_add(2048),
    };
    let ask = |shard| {
        let key = shared.keys.purge(shard);
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(&key).arg("-inf").arg(format!("({bound}")).arg("LIMIT").arg(0).arg(wanted);
        (key, command)
    };
    let answers = shared.link.ask_each(Shard::all().map(ask).collect()).await?;
    let mut candidates = Vec::new();
    for (shard, answer) in Shard::all().zip(answers) {
        candidates.push((shard, from_redis_value(answer)?));
    }
    Ok(candidates)
}

async fn purge_some(
    shared: &Shared,
    shard: Shard,
    before: Timestamp,
    members: &[String],
) -> Result<(usize, usize), Fault> {
    let keys = &shared.keys;
    let before = instant(before);
    let mut touched = vec![keys.purge(shard), keys.ended(shard)];
    let mut arguments: Vec<&[u8]> = vec![&before];
    let mut addresses = Vec::new();
    for member in members {
        let (field, subject) =
            member.split_once(' ').ok_or_else(|| Fault::corrupt("what is to be purged has no subject"))?;
        touched.push(keys.session(&Place { shard, field: field.to_owned() }));
        touched.push(keys.index(shard, subject));
        arguments.extend([member.as_bytes(), field.as_bytes()]);
        if SessionId::new(field).tag().is_none() {
            addresses.push((keys.session(&Place { shard, field: field.to_owned() }), keys.address(field)));
        }
    }
    let done = from_redis_value(shared.link.run(&PURGE, &touched, &arguments).await?)?;
    forget(shared, addresses).await?;
    Ok(done)
}

/// Removes the addresses of sessions that are gone.
async fn forget(shared: &Shared, addresses: Vec<(String, String)>) -> Result<(), Fault> {
    if addresses.is_empty() {
        return Ok(());
    }
    let command = |name, key: &String| {
        let mut command = redis::cmd(name);
        command.arg(key);
        (key.clone(), command)
    };
    let there = addresses.iter().map(|(row, _)| command("EXISTS", row)).collect();
    let there = shared.link.ask_each(there).await?;
    let gone = addresses.iter().zip(there).filter(|(_, there)| *there == Value::Int(0));
    let forget = gone.map(|((_, address), _)| command("DEL", address)).collect();
    shared.link.ask_each(forget).await?;
    Ok(())
}
