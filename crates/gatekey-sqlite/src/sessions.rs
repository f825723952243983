//! The statements behind `SessionStore`. Each function runs inside one transaction.

use std::net::IpAddr;

use gatekey_core::{
    rotation::{self, Attempt, Outcome},
    session::{Chain, Client, Digest, End, EndReason, Parent, Session, SessionId, SubjectId, Window},
    store::{Inserted, Revocation, Rotation},
    time::Timestamp,
};
use rusqlite::{
    Connection, OptionalExtension, Row, params,
    types::{FromSql, Type},
};

use crate::{fault::Fault, threads::savepoint};

/// The columns of a session, in the order in which [`session`] reads them.
macro_rules! columns {
    () => {
        "id, subject, scope, auth_time, created_at, expires_at, idle_expires_at, last_used_at, \
         ip, user_agent, generation, live, parent, parent_generation, rotated_at, replayed_at, \
         live_used, this_window_oldest, this_window_opened_at, last_window_oldest, \
         last_window_opened_at, sealed, ended_at, end_reason"
    };
}

/// What a rotation changes of a row that it does not end.
macro_rules! rotated_columns {
    () => {
        "idle_expires_at = ?2, last_used_at = ?3, ip = ?4, user_agent = ?5, generation = ?6, \
         live = ?7, parent = ?8, parent_generation = ?9, rotated_at = ?10, replayed_at = ?11, \
         live_used = ?12, this_window_oldest = ?13, this_window_opened_at = ?14, \
         last_window_oldest = ?15, last_window_opened_at = ?16, sealed = ?17"
    };
}

/// From when a row may be removed. Reuse is evidence: kept until the session would have ended anyway.
macro_rules! removable_at {
    () => {
        "CASE end_reason WHEN 'reuse' THEN expires_at ELSE min(idle_expires_at, expires_at) END"
    };
}

/// How many rows one step of a purge looks at, so that refreshes get their turn in between.
const STEP: i64 = 1000;

pub(crate) fn insert(db: &Connection, session: &Session, max_sessions: usize) -> Result<Inserted, Fault> {
    savepoint(db, || {
        let stale = db
            .prepare_cached("SELECT 1 FROM gatekey_revoked_all WHERE subject = ?1 AND at >= ?2")?
            .exists(params![session.subject.as_str(), session.auth_time.as_millis()])?;
        if stale {
            return Ok(Inserted::Stale);
        }

        let chain = &session.chain;
        db.prepare_cached(concat!(
            "INSERT INTO gatekey_session (",
            columns!(),
            ", purge_after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, \
             ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)"
        ))?
        .execute(params![
            session.id.as_str(),
            session.subject.as_str(),
            session.scope,
            session.auth_time.as_millis(),
            session.created_at.as_millis(),
            session.expires_at.as_millis(),
            session.idle_expires_at.as_millis(),
            session.last_used_at.as_millis(),
            session.client.ip.map(|ip| ip.to_string()),
            session.client.user_agent,
            chain.generation.cast_signed(),
            chain.live.0,
            chain.parent.map(|parent| parent.digest.0),
            chain.parent.map(|parent| parent.generation.cast_signed()),
            chain.rotated_at.as_millis(),
            chain.replayed_at.map(Timestamp::as_millis),
            chain.live_used,
            chain.this_window.oldest.cast_signed(),
            chain.this_window.opened_at.as_millis(),
            chain.last_window.oldest.cast_signed(),
            chain.last_window.opened_at.as_millis(),
            chain.sealed,
            session.ended.map(|end| end.at.as_millis()),
            session.ended.map(|end| end.reason.name()),
            session.end().as_millis(),
        ])?;

        // The new session counts, and is never the one that has to go.
        let others = i64::try_from(max_sessions.max(1) - 1).unwrap_or(i64::MAX);
        let evicted = db
            .prepare_cached(
                "UPDATE gatekey_session SET ended_at = ?3, end_reason = 'evicted' WHERE rowid IN (
                     SELECT rowid FROM gatekey_session
                     WHERE subject = ?1 AND id <> ?2 AND ended_at IS NULL
                         AND ?3 < idle_expires_at AND ?3 < expires_at
                     ORDER BY last_used_at DESC, created_at DESC, id DESC
                     LIMIT -1 OFFSET ?4
                 ) RETURNING id",
            )?
            .query_map(
                params![
                    session.subject.as_str(),
                    session.id.as_str(),
                    session.created_at.as_millis(),
                    others,
                ],
                session_id,
            )?
            .collect::<Result<_, _>>()?;
        Ok(Inserted::Opened { evicted })
    })
}

/// Reads the row, has core decide, writes the row. No other decision is made here, and the transaction's lock keeps
/// the row as it was read.
pub(crate) fn rotate(db: &Connection, attempt: &Attempt) -> Result<Option<Rotation>, Fault> {
    let read = db
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            ", rowid, purge_after FROM gatekey_session WHERE id = ?1"
        ))?
        .query_row([attempt.presented.session.as_str()], |row| {
            let mut columns = Columns { row, next: 0 };
            Ok((session(&mut columns)?, columns.next()?, columns.time()?))
        })
        .optional()?;
    let Some((mut session, rowid, purge_after)) = read else {
        return Ok(None);
    };
    let before = session.client.clone();
    let outcome = rotation::advance(&mut session, attempt);
    if outcome.writes() {
        write_rotated(db, &session, outcome, rowid, purge_after)?;
    }
    Ok(Some(Rotation { outcome, session, before }))
}

/// Two statements, so that a plain refresh touches no index.
pub(crate) const ROTATE: &str =
    concat!("UPDATE gatekey_session SET ", rotated_columns!(), " WHERE rowid = ?1");
const ROTATE_AND_INDEX: &str = concat!(
    "UPDATE gatekey_session SET ",
    rotated_columns!(),
    ", ended_at = ?18, end_reason = ?19, purge_after = ?20 WHERE rowid = ?1"
);

fn write_rotated(
    db: &Connection,
    session: &Session,
    outcome: Outcome,
    rowid: i64,
    purge_after: Timestamp,
) -> Result<(), Fault> {
    let chain = &session.chain;
    let row = params![
        rowid,
        session.idle_expires_at.as_millis(),
        session.last_used_at.as_millis(),
        session.client.ip.map(|ip| ip.to_string()),
        session.client.user_agent,
        chain.generation.cast_signed(),
        chain.live.0,
        chain.parent.map(|parent| parent.digest.0),
        chain.parent.map(|parent| parent.generation.cast_signed()),
        chain.rotated_at.as_millis(),
        chain.replayed_at.map(Timestamp::as_millis),
        chain.live_used,
        chain.this_window.oldest.cast_signed(),
        chain.this_window.opened_at.as_millis(),
        chain.last_window.oldest.cast_signed(),
        chain.last_window.opened_at.as_millis(),
        chain.sealed,
    ];
    // A host that shortened the idle lifetime moves the end to before the bound that the index holds.
    let changed = if session.ended.is_none() && purge_after <= session.end() {
        db.prepare_cached(ROTATE)?.execute(row)?
    } else {
        let end = session.ended.map(|end| (end.at.as_millis(), end.reason.name()));
        let indexed =
            params![end.map(|(at, _)| at), end.map(|(_, reason)| reason), session.end().as_millis(),];
        db.prepare_cached(ROTATE_AND_INDEX)?.execute([row, indexed].concat().as_slice())?
    };
    if changed == 1 {
        Ok(())
    } else {
        Err(Fault::corrupt(format!("{outcome:?} changed {changed} rows instead of one")))
    }
}

pub(crate) fn find(db: &Connection, id: &SessionId) -> Result<Option<Session>, Fault> {
    db.prepare_cached(concat!("SELECT ", columns!(), " FROM gatekey_session WHERE id = ?1"))?
        .query_row([id.as_str()], whole_row)
        .optional()
        .map_err(Fault::from)
}

pub(crate) const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM gatekey_session
     WHERE subject = ?1 AND ended_at IS NULL AND ?2 < idle_expires_at AND ?2 < expires_at
     ORDER BY created_at DESC, id DESC"
);

pub(crate) fn list(db: &Connection, subject: &SubjectId, now: Timestamp) -> Result<Vec<Session>, Fault> {
    let live = db
        .prepare_cached(LIST)?
        .query_map(params![subject.as_str(), now.as_millis()], whole_row)?
        .collect::<Result<_, _>>()?;
    Ok(live)
}

pub(crate) fn revoke(
    db: &Connection,
    id: &SessionId,
    owner: Option<&SubjectId>,
    reason: EndReason,
    now: Timestamp,
) -> Result<bool, Fault> {
    let ended = db
        .prepare_cached(
            "UPDATE gatekey_session SET ended_at = ?3, end_reason = ?4
             WHERE id = ?1 AND ended_at IS NULL AND (?2 IS NULL OR subject = ?2)",
        )?
        .execute(params![id.as_str(), owner.map(SubjectId::as_str), now.as_millis(), reason.name(),])?;
    Ok(ended > 0)
}

pub(crate) fn revoke_all(
    db: &Connection,
    subject: &SubjectId,
    keep: Option<&SessionId>,
    reason: EndReason,
    now: Timestamp,
) -> Result<Vec<SessionId>, Fault> {
    savepoint(db, || {
        // The later of two marks stays: a clock that stepped back must not let a login in that was refused before.
        db.prepare_cached(
            "INSERT INTO gatekey_revoked_all (subject, at) VALUES (?1, ?2)
             ON CONFLICT (subject) DO UPDATE SET at = max(at, excluded.at)",
        )?
        .execute(params![subject.as_str(), now.as_millis()])?;
        let ended = db
            .prepare_cached(
                "UPDATE gatekey_session SET ended_at = ?3, end_reason = ?4
                 WHERE subject = ?1 AND ended_at IS NULL AND id IS NOT ?2 RETURNING id",
            )?
            .query_map(
                params![subject.as_str(), keep.map(SessionId::as_str), now.as_millis(), reason.name(),],
                session_id,
            )?
            .collect::<Result<_, _>>()?;
        Ok(ended)
    })
}

pub(crate) const REVOKED_SINCE: &str = "SELECT id, ended_at FROM gatekey_session WHERE ended_at >= ?1";

pub(crate) fn revoked_since(db: &Connection, since: Timestamp) -> Result<Vec<Revocation>, Fault> {
    let revocations = db
        .prepare_cached(REVOKED_SINCE)?
        .query_map([since.as_millis()], |row| {
            Ok(Revocation { session: session_id(row)?, at: Timestamp::from_millis(row.get(1)?) })
        })?
        .collect::<Result<_, _>>()?;
    Ok(revocations)
}

pub(crate) const CORRECT_BOUNDS: &str = concat!(
    "UPDATE gatekey_session SET purge_after = ",
    removable_at!(),
    " WHERE rowid IN (
         SELECT rowid FROM gatekey_session WHERE purge_after < ?1 ORDER BY purge_after LIMIT ?2
     ) AND ?1 <= ",
    removable_at!(),
);

/// Corrects the bounds of rows that look removable and are not, among the first [`STEP`]. `false` once there are none:
/// then a purge meets what it may remove, first of all.
pub(crate) fn correct_bounds(db: &Connection, before: Timestamp) -> Result<bool, Fault> {
    let corrected = db.prepare_cached(CORRECT_BOUNDS)?.execute(params![before.as_millis(), STEP])?;
    Ok(corrected > 0)
}

pub(crate) const PURGE: &str = concat!(
    "DELETE FROM gatekey_session WHERE rowid IN (
         SELECT rowid FROM gatekey_session WHERE purge_after < ?1 AND ",
    removable_at!(),
    " < ?1 ORDER BY purge_after LIMIT ?2
     )",
);

pub(crate) fn purge(db: &Connection, before: Timestamp, limit: usize) -> Result<usize, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(db.prepare_cached(PURGE)?.execute(params![before.as_millis(), limit])?)
}

/// Reads a row's columns one after the other.
struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl Columns<'_> {
    fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let index = self.next;
        self.next += 1;
        self.row.get(index)
    }

    fn time(&mut self) -> rusqlite::Result<Timestamp> {
        self.next().map(Timestamp::from_millis)
    }

    fn time_if_any(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    fn generation(&mut self) -> rusqlite::Result<u64> {
        self.next::<i64>().map(i64::cast_unsigned)
    }

    fn window(&mut self) -> rusqlite::Result<Window> {
        Ok(Window { oldest: self.generation()?, opened_at: self.time()? })
    }

    fn parent(&mut self) -> rusqlite::Result<Option<Parent>> {
        let digest: Option<[u8; 32]> = self.next()?;
        let generation: Option<i64> = self.next()?;
        Ok(digest.zip(generation).map(|(digest, generation)| Parent {
            digest: Digest(digest),
            generation: generation.cast_unsigned(),
        }))
    }

    fn ip(&mut self) -> rusqlite::Result<Option<IpAddr>> {
        self.next::<Option<String>>()?
            .map(|text| text.parse().map_err(|_| self.unreadable("an IP address")))
            .transpose()
    }

    fn ended(&mut self) -> rusqlite::Result<Option<End>> {
        let at = self.time_if_any()?;
        let reason = self
            .next::<Option<String>>()?
            .map(|name| EndReason::from_name(&name).ok_or_else(|| self.unreadable("a reason")))
            .transpose()?;
        Ok(at.zip(reason).map(|(at, reason)| End { at, reason }))
    }

    /// That the column read last does not hold what it should.
    fn unreadable(&self, what: &str) -> rusqlite::Error {
        let index = self.next.saturating_sub(1);
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, format!("not {what}").into())
    }
}

fn session_id(row: &Row<'_>) -> rusqlite::Result<SessionId> {
    row.get::<_, String>(0).map(SessionId::new)
}

fn whole_row(row: &Row<'_>) -> rusqlite::Result<Session> {
    session(&mut Columns { row, next: 0 })
}

fn session(columns: &mut Columns<'_>) -> rusqlite::Result<Session> {
    // Fields are read in the order in which they are written here: that of `columns!`.
    Ok(Session {
        id: SessionId::new(columns.next::<String>()?),
        subject: SubjectId::new(columns.next::<String>()?),
        scope: columns.next()?,
        auth_time: columns.time()?,
        created_at: columns.time()?,
        expires_at: columns.time()?,
        idle_expires_at: columns.time()?,
        last_used_at: columns.time()?,
        client: Client { ip: columns.ip()?, user_agent: columns.next()? },
        chain: Chain {
            generation: columns.generation()?,
            live: Digest(columns.next()?),
            parent: columns.parent()?,
            rotated_at: columns.time()?,
            replayed_at: columns.time_if_any()?,
            live_used: columns.next()?,
            this_window: columns.window()?,
            last_window: columns.window()?,
            sealed: columns.next()?,
        },
        ended: columns.ended()?,
    })
}
