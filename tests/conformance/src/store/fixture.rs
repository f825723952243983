//! The sessions and attempts that cases begin with, and the questions that they all ask.

use std::{future::Future, sync::Arc, time::Duration};

use gatekey_core::{
    rotation::{Attempt, Policy, Presented, Successor, advance},
    session::{Chain, Client, Digest, EndReason, Session, SessionId, SubjectId},
    store::{Inserted, Rotation},
    time::Timestamp,
};
use tokio::sync::Barrier;

use super::{Failure, Sessions, Verdict, failed, same};

/// All times are derived from this one.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
/// The idle lifetime of a session from [`session`].
pub(super) const IDLE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The absolute lifetime of a session from [`session`].
pub(super) const ABSOLUTE: Duration = Duration::from_secs(30 * 24 * 3600);
/// More sessions than any case opens.
pub(super) const MANY: usize = 1000;

pub(super) fn id(text: &str) -> SessionId {
    SessionId::new(text)
}

pub(super) fn subject(text: &str) -> SubjectId {
    SubjectId::new(text)
}

/// A digest that stands for the token of that session and generation.
pub(super) fn digest(session: &SessionId, generation: u64) -> Digest {
    let mut bytes = [0xA5; 32];
    for (byte, character) in bytes.iter_mut().zip(session.as_str().bytes()) {
        *byte = character;
    }
    let (_, end) = bytes.split_at_mut(24);
    end.copy_from_slice(&generation.to_be_bytes());
    Digest(bytes)
}

/// A session of that name, opened at [`NOW`].
pub(super) fn session(name: &str, owner: &str) -> Session {
    session_at(name, owner, NOW)
}

/// A session of that name, opened at `now`.
pub(super) fn session_at(name: &str, owner: &str, now: Timestamp) -> Session {
    let id = id(name);
    let live = digest(&id, 0);
    Session {
        id,
        subject: subject(owner),
        scope: Some("read write".to_owned()),
        auth_time: now,
        created_at: now,
        expires_at: now + ABSOLUTE,
        idle_expires_at: now + IDLE,
        last_used_at: now,
        client: Client::new("192.0.2.1".parse().ok(), Some("login/1.0")),
        chain: Chain::start(live, now),
        ended: None,
    }
}

/// Presents the row's token of that generation, with a successor of the next.
pub(super) fn attempt(row: &Session, generation: u64, now: Timestamp) -> Attempt {
    let next = generation.wrapping_add(1);
    Attempt {
        presented: Presented { session: row.id.clone(), generation, digest: digest(&row.id, generation) },
        successor: Successor {
            generation: next,
            digest: digest(&row.id, next),
            sealed: format!("sealed {next} at {}", now.as_millis()).into_bytes(),
            expires_at: now + IDLE,
        },
        client: Client::new("198.51.100.7".parse().ok(), Some("refresh/1.0")),
        now,
        policy: Policy::BALANCED,
        seen: None,
    }
}

/// Opens the session; the case goes on only if the store did.
pub(super) async fn open(store: &Sessions, session: &Session) -> Verdict {
    let opened = Inserted::Opened { evicted: Vec::new() };
    same("insert of a session", &store.insert(session, MANY).await?, &opened)
}

/// Opens a session of [`NOW`].
pub(super) async fn opened(store: &Sessions, name: &str, owner: &str) -> Result<Session, Failure> {
    let session = session(name, owner);
    open(store, &session).await?;
    Ok(session)
}

/// The row of that id, which must be there.
pub(super) async fn found(store: &Sessions, id: &SessionId) -> Result<Session, Failure> {
    let row = store.find(id).await?;
    row.ok_or_else(|| failed(format_args!("session {id:?}"), "no such session"))
}

/// That the store's row is this one, naming the members that differ.
pub(super) async fn stored(store: &Sessions, expected: &Session) -> Verdict {
    same_row("the stored row", &found(store, &expected.id).await?, expected)
}

/// That two rows are the same, naming the members that differ.
pub(super) fn same_row(what: &str, actual: &Session, expected: &Session) -> Verdict {
    if actual == expected {
        return Ok(());
    }
    // Taken apart whole, so that a new member has to be added here. Digests print as nothing, so they are named apart.
    let members = |row: &Session| {
        let Session {
            id,
            subject,
            scope,
            auth_time,
            created_at,
            expires_at,
            idle_expires_at,
            last_used_at,
            client,
            chain,
            ended,
        } = row;
        let Chain {
            generation,
            live,
            parent,
            rotated_at,
            replayed_at,
            live_used,
            this_window,
            last_window,
            sealed,
        } = chain;
        vec![
            format!("id {id:?}"),
            format!("subject {subject:?}"),
            format!("scope {scope:?}"),
            format!("auth_time {auth_time:?}"),
            format!("created_at {created_at:?}"),
            format!("expires_at {expires_at:?}"),
            format!("idle_expires_at {idle_expires_at:?}"),
            format!("last_used_at {last_used_at:?}"),
            format!("client {client:?}"),
            format!("generation {generation}"),
            format!("live {:02x?}", live.0),
            format!("parent {:02x?}", parent.map(|parent| (parent.digest.0, parent.generation))),
            format!("rotated_at {rotated_at:?}"),
            format!("replayed_at {replayed_at:?}"),
            format!("live_used {live_used}"),
            format!("this_window {this_window:?}"),
            format!("last_window {last_window:?}"),
            format!("sealed {sealed:02x?}"),
            format!("ended {ended:?}"),
        ]
    };
    let differing = |one: &Session, other: &Session| {
        let pairs = members(one).into_iter().zip(members(other));
        let differing: Vec<_> = pairs.filter(|(a, b)| a != b).map(|(a, _)| a).collect();
        differing.join(", ")
    };
    Err(failed(format_args!("{what} with {}", differing(expected, actual)), differing(actual, expected)))
}

/// Makes the attempt, and compares outcome, row and stored row with what core decides. Returns the row.
pub(super) async fn rotate_as_decided(
    store: &Sessions,
    row: &Session,
    attempt: &Attempt,
) -> Result<(gatekey_core::rotation::Outcome, Session), Failure> {
    let mut expected = row.clone();
    let outcome = advance(&mut expected, attempt);
    let rotation = rotated(store, attempt).await?;
    same("outcome", &rotation.outcome, &outcome)?;
    same_row("the returned row", &rotation.session, &expected)?;
    same("the client before", &rotation.before, &row.client)?;
    stored(store, &expected).await?;
    Ok((outcome, expected))
}

/// Makes an attempt on a session that exists.
pub(super) async fn rotated(store: &Sessions, attempt: &Attempt) -> Result<Rotation, Failure> {
    let rotation = store.rotate(attempt).await?;
    rotation.ok_or_else(|| failed("a rotation", "no such session"))
}

/// That the session is ended for this reason at this time.
pub(super) async fn ended(store: &Sessions, id: &SessionId, reason: EndReason, at: Timestamp) -> Verdict {
    let end = found(store, id).await?.ended;
    let what = format!("the end of {id:?}");
    same(&what, &end.map(|end| (end.reason, end.at)), &Some((reason, at)))
}

/// Starts `count` calls at one moment, and collects what they return in the order of their numbers.
pub(super) async fn at_once<T, F>(count: usize, call: impl Fn(usize) -> F) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let (start, call) = (Arc::clone(&start), call(number));
            tokio::spawn(async move {
                start.wait().await;
                call.await
            })
        })
        .collect();
    let mut results = Vec::with_capacity(count);
    for task in tasks {
        let result = task.await;
        results.push(result.map_err(|error| failed("no panic", super::panic_text(error)))?);
    }
    Ok(results)
}

/// Identifiers in an order that does not depend on the store.
pub(super) fn sorted(mut ids: Vec<SessionId>) -> Vec<SessionId> {
    ids.sort();
    ids
}

/// Small numbers that look random and are the same in every run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // Vigna's xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}
