//! The calls of `SessionStore`.

use std::net::IpAddr;

use deadpool_postgres::{ClientWrapper, Transaction};
use gatekey_core::{
    rotation::{self, Attempt, Outcome},
    session::{Chain, Client, Digest, End, EndReason, Parent, Session, SessionId, SubjectId, Window},
    store::{Account, Inserted, Revocation, Rotation},
    time::Timestamp,
};
use tokio_postgres::{Row, types::FromSql};

use crate::{database::row, fault::Fault, hidden::Hidden, statements::Statements, users};

/// How many rows one step of a purge looks at, so that no refresh waits long for it.
pub(crate) const STEP: i64 = 1000;

/// Whether PostgreSQL can hold the text: it has no NUL. No row has such an identifier, so it need not be asked for.
pub(crate) fn fits(text: &str) -> bool {
    !text.contains('\0')
}

/// The same for what is to be written.
pub(crate) fn fitting<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<(), Fault> {
    if texts.into_iter().all(fits) {
        Ok(())
    } else {
        Err(Fault::corrupt("PostgreSQL keeps no text with NUL"))
    }
}

pub(crate) async fn insert(
    client: &mut ClientWrapper,
    sql: &Statements,
    session: &Session,
    max_sessions: usize,
) -> Result<Inserted, Fault> {
    let (id, subject) = (session.id.as_str(), session.subject.as_str());
    let texts = [Some(id), Some(subject), session.scope.as_deref(), session.client.user_agent.as_deref()];
    fitting(texts.into_iter().flatten())?;

    let transaction = client.transaction().await?;
    lock_subject(&transaction, sql, &session.subject).await?;
    let chain = &session.chain;
    // The statement sees what was there before it: the new session is never the one that has to go.
    let others = i64::try_from(max_sessions.max(1) - 1).unwrap_or(i64::MAX);
    let insert = transaction.prepare_cached(&sql.insert).await?;
    let rows = transaction
        .query(
            &insert,
            &[
                &id,
                &subject,
                &session.scope,
                &session.auth_time.as_millis(),
                &session.created_at.as_millis(),
                &session.expires_at.as_millis(),
                &session.idle_expires_at.as_millis(),
                &session.last_used_at.as_millis(),
                &Hidden(session.client.ip),
                &Hidden(session.client.user_agent.as_deref()),
                &chain.generation.cast_signed(),
                &Hidden(chain.live.0.as_slice()),
                &Hidden(chain.parent.as_ref().map(|parent| parent.digest.0.as_slice())),
                &chain.parent.map(|parent| parent.generation.cast_signed()),
                &chain.rotated_at.as_millis(),
                &chain.replayed_at.map(Timestamp::as_millis),
                &chain.live_used,
                &chain.this_window.oldest.cast_signed(),
                &chain.this_window.opened_at.as_millis(),
                &chain.last_window.oldest.cast_signed(),
                &chain.last_window.opened_at.as_millis(),
                &Hidden(chain.sealed.as_slice()),
                &session.ended.map(|end| end.at.as_millis()),
                &session.ended.map(|end| end.reason.name()),
                &session.end().as_millis(),
                &others,
            ],
        )
        .await?;
    transaction.commit().await?;
    let mut evicted = Vec::new();
    for row in rows {
        let mut columns = Columns { row: &row, next: 0 };
        if !columns.next::<bool>()? {
            return Ok(Inserted::Stale);
        }
        evicted.extend(columns.next::<Option<&str>>()?.map(SessionId::new));
    }
    Ok(Inserted::Opened { evicted })
}

async fn lock_subject(
    transaction: &Transaction<'_>,
    sql: &Statements,
    subject: &SubjectId,
) -> Result<(), Fault> {
    let lock = transaction.prepare_cached(&sql.lock_subject).await?;
    transaction.query_one(&lock, &[&subject.as_str()]).await?;
    Ok(())
}

/// The common case: swaps the live token of a session that goes on, if the row is still what was seen. `None` if it is
/// not, or if core decides anything else: nothing was changed then.
pub(crate) async fn swap(
    client: &ClientWrapper,
    sql: &Statements,
    seen: &Session,
    attempt: &Attempt,
) -> Result<Option<Rotation>, Fault> {
    let mut session = seen.clone();
    if rotation::advance(&mut session, attempt) != Outcome::Rotated {
        return Ok(None);
    }
    let chain = &session.chain;
    let swap = client.prepare_cached(&sql.swap).await?;
    let swapped = client
        .execute(
            &swap,
            &[
                &session.id.as_str(),
                &session.idle_expires_at.as_millis(),
                &session.last_used_at.as_millis(),
                &Hidden(session.client.ip),
                &Hidden(session.client.user_agent.as_deref()),
                &chain.generation.cast_signed(),
                &Hidden(chain.live.0.as_slice()),
                &Hidden(attempt.presented.digest.0.as_slice()),
                &chain.parent.map(|parent| parent.generation.cast_signed()),
                &chain.this_window.oldest.cast_signed(),
                &chain.this_window.opened_at.as_millis(),
                &chain.last_window.oldest.cast_signed(),
                &chain.last_window.opened_at.as_millis(),
                &Hidden(chain.sealed.as_slice()),
                &seen.chain.replayed_at.map(Timestamp::as_millis),
                &seen.last_used_at.as_millis(),
                &session.end().as_millis(),
            ],
        )
        .await?;
    Ok((swapped == 1).then(|| Rotation { outcome: Outcome::Rotated, session, before: seen.client.clone() }))
}

/// Reads the row and keeps it, has core decide, writes the row. No other decision is made here.
pub(crate) async fn rotate(
    client: &mut ClientWrapper,
    sql: &Statements,
    attempt: &Attempt,
) -> Result<Option<Rotation>, Fault> {
    let transaction = client.transaction().await?;
    let find = transaction.prepare_cached(&sql.find_for_update).await?;
    let Some(row) = transaction.query_opt(&find, &[&attempt.presented.session.as_str()]).await? else {
        return Ok(None);
    };
    let mut columns = Columns { row: &row, next: 0 };
    let mut session = session(&mut columns)?;
    let purge_after = columns.time()?;
    let before = session.client.clone();
    let outcome = rotation::advance(&mut session, attempt);
    if outcome.writes() {
        write_rotated(&transaction, sql, &session, purge_after).await?;
        if let (Outcome::Reused, Some(end)) = (outcome, session.ended) {
            let notify = transaction.prepare_cached(&sql.notify).await?;
            transaction.execute(&notify, &[&end.at.as_millis(), &session.id.as_str()]).await?;
        }
        transaction.commit().await?;
    }
    Ok(Some(Rotation { outcome, session, before }))
}

async fn write_rotated(
    transaction: &Transaction<'_>,
    sql: &Statements,
    session: &Session,
    purge_after: Timestamp,
) -> Result<(), Fault> {
    let chain = &session.chain;
    // Left as it is wherever it still is a lower bound: a column that keeps its value costs its index nothing. A host
    // that shortened the idle lifetime moves the end to before it.
    let purge_after = purge_after.min(session.end());
    let write = transaction.prepare_cached(&sql.write_rotated).await?;
    let changed = transaction
        .execute(
            &write,
            &[
                &session.id.as_str(),
                &session.idle_expires_at.as_millis(),
                &session.last_used_at.as_millis(),
                &Hidden(session.client.ip),
                &Hidden(session.client.user_agent.as_deref()),
                &chain.generation.cast_signed(),
                &Hidden(chain.live.0.as_slice()),
                &Hidden(chain.parent.as_ref().map(|parent| parent.digest.0.as_slice())),
                &chain.parent.map(|parent| parent.generation.cast_signed()),
                &chain.rotated_at.as_millis(),
                &chain.replayed_at.map(Timestamp::as_millis),
                &chain.live_used,
                &chain.this_window.oldest.cast_signed(),
                &chain.this_window.opened_at.as_millis(),
                &chain.last_window.oldest.cast_signed(),
                &chain.last_window.opened_at.as_millis(),
                &Hidden(chain.sealed.as_slice()),
                &session.ended.map(|end| end.at.as_millis()),
                &session.ended.map(|end| end.reason.name()),
                &purge_after.as_millis(),
            ],
        )
        .await?;
    if changed == 1 { Ok(()) } else { Err(Fault::corrupt("a row that was locked is gone")) }
}

pub(crate) async fn find(
    client: &ClientWrapper,
    sql: &Statements,
    id: &SessionId,
) -> Result<Option<Session>, Fault> {
    row(client, &sql.find, &[&id.as_str()]).await?.as_ref().map(whole_row).transpose()
}

pub(crate) async fn find_with_account(
    client: &ClientWrapper,
    sql: &Statements,
    id: &SessionId,
) -> Result<Option<(Session, Account)>, Fault> {
    let Some(found) = row(client, &sql.find_with_account, &[&id.as_str()]).await? else { return Ok(None) };
    let mut columns = Columns { row: &found, next: 0 };
    let session = session(&mut columns)?;
    let account = users::user_if_any(&found, columns.next)?;
    Ok(Some((session, Account::Here(account))))
}

pub(crate) async fn list(
    client: &ClientWrapper,
    sql: &Statements,
    subject: &SubjectId,
    now: Timestamp,
) -> Result<Vec<Session>, Fault> {
    let list = client.prepare_cached(&sql.list).await?;
    let rows = client.query(&list, &[&subject.as_str(), &now.as_millis()]).await?;
    rows.iter().map(whole_row).collect()
}

pub(crate) async fn revoke(
    client: &ClientWrapper,
    sql: &Statements,
    id: &SessionId,
    owner: Option<&SubjectId>,
    reason: EndReason,
    now: Timestamp,
) -> Result<bool, Fault> {
    let owner = owner.map(SubjectId::as_str);
    let ended = row(client, &sql.revoke, &[&id.as_str(), &owner, &now.as_millis(), &reason.name()]).await?;
    Ok(ended.is_some())
}

pub(crate) async fn revoke_all(
    client: &mut ClientWrapper,
    sql: &Statements,
    subject: &SubjectId,
    keep: Option<&SessionId>,
    reason: EndReason,
    now: Timestamp,
) -> Result<Vec<SessionId>, Fault> {
    fitting([subject.as_str()])?;
    // A session that cannot be stored keeps nothing.
    let keep = keep.map(SessionId::as_str).filter(|keep| fits(keep));
    let transaction = client.transaction().await?;
    lock_subject(&transaction, sql, subject).await?;
    let mark = transaction.prepare_cached(&sql.mark_revoked_all).await?;
    transaction.execute(&mark, &[&subject.as_str(), &now.as_millis()]).await?;
    let end = transaction.prepare_cached(&sql.revoke_all).await?;
    let ended =
        transaction.query(&end, &[&subject.as_str(), &keep, &now.as_millis(), &reason.name()]).await?;
    transaction.commit().await?;
    ended.iter().map(session_id).collect()
}

pub(crate) async fn revoked_since(
    client: &ClientWrapper,
    sql: &Statements,
    since: Timestamp,
) -> Result<Vec<Revocation>, Fault> {
    let revoked_since = client.prepare_cached(&sql.revoked_since).await?;
    let rows = client.query(&revoked_since, &[&since.as_millis()]).await?;
    rows.iter()
        .map(|row| {
            let at = row.try_get(1).map_err(Fault::corrupt)?;
            Ok(Revocation { session: session_id(row)?, at: Timestamp::from_millis(at) })
        })
        .collect()
}

/// What one step of a purge did.
pub(crate) struct Purged {
    pub(crate) removed: usize,
    /// Whether there may be more.
    pub(crate) more: bool,
}

/// One step of a purge: one statement, which removes at most `limit` rows.
pub(crate) async fn purge(
    client: &ClientWrapper,
    sql: &Statements,
    before: Timestamp,
    limit: usize,
) -> Result<Purged, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let counted = row(client, &sql.purge, &[&before.as_millis(), &STEP, &limit]).await?;
    let Some(counted) = counted else { return Err(Fault::corrupt("a count without a row")) };
    let mut columns = Columns { row: &counted, next: 0 };
    let (removed, corrected): (i64, i64) = (columns.next()?, columns.next()?);
    Ok(Purged { removed: usize::try_from(removed).unwrap_or(0), more: removed + corrected > 0 })
}

/// Reads a row's columns one after the other.
struct Columns<'r> {
    row: &'r Row,
    next: usize,
}

impl<'r> Columns<'r> {
    fn next<T: FromSql<'r>>(&mut self) -> Result<T, Fault> {
        let index = self.next;
        self.next += 1;
        self.row.try_get(index).map_err(|error| self.unreadable(error))
    }

    fn time(&mut self) -> Result<Timestamp, Fault> {
        self.next().map(Timestamp::from_millis)
    }

    fn time_if_any(&mut self) -> Result<Option<Timestamp>, Fault> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    fn generation(&mut self) -> Result<u64, Fault> {
        self.next::<i64>().map(i64::cast_unsigned)
    }

    fn window(&mut self) -> Result<Window, Fault> {
        Ok(Window { oldest: self.generation()?, opened_at: self.time()? })
    }

    fn digest(&mut self) -> Result<Digest, Fault> {
        let bytes = self.next::<&[u8]>()?;
        bytes.try_into().map(Digest).map_err(|error| self.unreadable(error))
    }

    fn parent(&mut self) -> Result<Option<Parent>, Fault> {
        let digest = self.next::<Option<&[u8]>>()?;
        match (digest, self.next::<Option<i64>>()?) {
            (None, None) => Ok(None),
            (Some(digest), Some(generation)) => {
                let digest = digest.try_into().map(Digest).map_err(|error| self.unreadable(error))?;
                Ok(Some(Parent { digest, generation: generation.cast_unsigned() }))
            }
            _ => Err(self.unreadable("half a parent")),
        }
    }

    fn ended(&mut self) -> Result<Option<End>, Fault> {
        let at = self.time_if_any()?;
        match (at, self.next::<Option<&str>>()?) {
            (None, None) => Ok(None),
            (Some(at), Some(name)) => {
                let reason = EndReason::from_name(name).ok_or_else(|| self.unreadable("not a reason"))?;
                Ok(Some(End { at, reason }))
            }
            _ => Err(self.unreadable("half an end")),
        }
    }

    /// That the column read last does not hold what it should.
    fn unreadable(&self, problem: impl std::fmt::Display) -> Fault {
        let index = self.next.saturating_sub(1);
        let name = self.row.columns().get(index).map(tokio_postgres::Column::name).unwrap_or_default();
        Fault::corrupt(format!("column {name}: {problem}"))
    }
}

fn session_id(row: &Row) -> Result<SessionId, Fault> {
    row.try_get::<_, &str>(0).map(SessionId::new).map_err(Fault::corrupt)
}

fn whole_row(row: &Row) -> Result<Session, Fault> {
    session(&mut Columns { row, next: 0 })
}

fn session(columns: &mut Columns<'_>) -> Result<Session, Fault> {
    // Fields are read in the order in which they are written here: that of `columns!`.
    Ok(Session {
        id: SessionId::new(columns.next::<&str>()?),
        subject: SubjectId::new(columns.next::<&str>()?),
        scope: columns.next()?,
        auth_time: columns.time()?,
        created_at: columns.time()?,
        expires_at: columns.time()?,
        idle_expires_at: columns.time()?,
        last_used_at: columns.time()?,
        client: Client { ip: columns.next::<Option<IpAddr>>()?, user_agent: columns.next()? },
        chain: Chain {
            generation: columns.generation()?,
            live: columns.digest()?,
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
