//! A session as bytes: one value of Redis, about 500 bytes, where a hash of fields would take four times as much.
//!
//! Everything that scripts look at stands at a fixed place (`lua/row.lua` has the list, counted from 1). Numbers are 8
//! bytes, big-endian. What never changes of a session and has no fixed length is kept together, so that a refresh moves
//! it without knowing what it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gatekey_core::{
    session::{Chain, Client, Digest, End, EndReason, Parent, Session, SessionId, SubjectId, Window},
    time::Timestamp,
};

use crate::fault::Fault;

/// The first byte. What begins with another was written by another version of this crate, and is left alone.
const VERSION: u8 = 1;

const REPLAYED: u8 = 1;
const LIVE_USED: u8 = 2;
const PARENT: u8 = 4;

/// A session and what the store knows of it beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) session: Session,
    /// Never after the time from which the session may be purged: its score there.
    pub(crate) purge_after: Timestamp,
}

/// From when on a session may be removed. Reuse is evidence: kept until the session would have ended anyway.
pub(crate) fn removable_at(session: &Session) -> Timestamp {
    match session.ended {
        Some(End { reason: EndReason::Reuse, .. }) => session.expires_at,
        Some(_) | None => session.end(),
    }
}

/// Why a session was ended, as a byte. 0 is a session that is open.
pub(crate) fn reason_byte(reason: EndReason) -> u8 {
    match reason {
        EndReason::Logout => 1,
        EndReason::Revoked => 2,
        EndReason::PasswordChange => 3,
        EndReason::Reuse => 4,
        EndReason::Disabled => 5,
        EndReason::Replaced => 6,
        EndReason::Evicted => 7,
    }
}

fn reason_of(byte: u8) -> Option<EndReason> {
    EndReason::ALL.into_iter().find(|reason| reason_byte(*reason) == byte)
}

/// An instant as scripts compare it.
pub(crate) fn instant(at: Timestamp) -> [u8; 8] {
    at.as_millis().to_be_bytes()
}

impl Row {
    pub(crate) fn encode(&self) -> Vec<u8> {
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
        } = &self.session;
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
        let mut row = Vec::with_capacity(512);
        row.push(VERSION);
        row.push(ended.map_or(0, |end| reason_byte(end.reason)));
        for at in [
            ended.map_or(Timestamp::EPOCH, |end| end.at),
            *expires_at,
            self.purge_after,
            *idle_expires_at,
            *last_used_at,
            *rotated_at,
        ] {
            row.extend(instant(at));
        }
        let flag = |condition, flag| if condition { flag } else { 0 };
        row.push(
            flag(replayed_at.is_some(), REPLAYED)
                | flag(*live_used, LIVE_USED)
                | flag(parent.is_some(), PARENT),
        );
        row.extend(instant(replayed_at.unwrap_or(Timestamp::EPOCH)));
        row.extend(generation.to_be_bytes());
        row.extend(live.0);
        row.extend(parent.map_or(0, |parent| parent.generation).to_be_bytes());
        row.extend(parent.map_or([0; 32], |parent| parent.digest.0));
        for window in [this_window, last_window] {
            row.extend(window.oldest.to_be_bytes());
            row.extend(instant(window.opened_at));
        }
        row.extend(instant(*auth_time));
        row.extend(instant(*created_at));

        let mut birth = Vec::with_capacity(96);
        put(&mut birth, id.as_str().as_bytes());
        put(&mut birth, subject.as_str().as_bytes());
        put_if_any(&mut birth, scope.as_deref());
        put(&mut row, &birth);
        row.extend(tail(client, sealed));
        row
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut bytes = Bytes(bytes);
        let row = bytes.row();
        match row {
            Some(row) if bytes.0.is_empty() => Ok(row),
            Some(_) | None => Err(Fault::corrupt("a session cannot be read")),
        }
    }
}

/// The end of a row: what a refresh replaces and has no fixed length.
pub(crate) fn tail(client: &Client, sealed: &[u8]) -> Vec<u8> {
    let mut tail = Vec::with_capacity(sealed.len() + 64);
    match client.ip {
        None => tail.push(0),
        Some(IpAddr::V4(ip)) => {
            tail.push(4);
            tail.extend(ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            tail.push(6);
            tail.extend(ip.octets());
        }
    }
    put_if_any(&mut tail, client.user_agent.as_deref());
    put(&mut tail, sealed);
    tail
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    // No member of a session comes near 4 GiB: Redis refuses values of more than half a GiB.
    let size = u32::try_from(part.len()).unwrap_or(u32::MAX);
    bytes.extend(size.to_be_bytes());
    bytes.extend(part);
}

fn put_if_any(bytes: &mut Vec<u8>, part: Option<&str>) {
    bytes.push(u8::from(part.is_some()));
    if let Some(part) = part {
        put(bytes, part.as_bytes());
    }
}

/// Bytes that are read from the front. `None` where they are not what was written.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.array().map(i64::from_be_bytes).map(Timestamp::from_millis)
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let size = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(size).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.part()?).ok()
    }

    fn text_if_any(&mut self) -> Option<Option<String>> {
        match self.byte()? {
            0 => Some(None),
            1 => self.text().map(|text| Some(text.to_owned())),
            _ => None,
        }
    }

    fn window(&mut self) -> Option<Window> {
        Some(Window { oldest: self.number()?, opened_at: self.time()? })
    }

    fn ip(&mut self) -> Option<Option<IpAddr>> {
        match self.byte()? {
            0 => Some(None),
            4 => self.array().map(|octets: [u8; 4]| Some(Ipv4Addr::from(octets).into())),
            6 => self.array().map(|octets: [u8; 16]| Some(Ipv6Addr::from(octets).into())),
            _ => None,
        }
    }

    fn row(&mut self) -> Option<Row> {
        if self.byte()? != VERSION {
            return None;
        }
        let reason = self.byte()?;
        let ended_at = self.time()?;
        let ended = match reason {
            0 => None,
            byte => Some(End { at: ended_at, reason: reason_of(byte)? }),
        };
        let expires_at = self.time()?;
        let purge_after = self.time()?;
        let idle_expires_at = self.time()?;
        let last_used_at = self.time()?;
        let rotated_at = self.time()?;
        let flags = self.byte()?;
        let has = |flag| flags & flag != 0;
        let replayed_at = self.time()?;
        let generation = self.number()?;
        let live = Digest(self.array()?);
        let parent = Parent { generation: self.number()?, digest: Digest(self.array()?) };
        let this_window = self.window()?;
        let last_window = self.window()?;
        let auth_time = self.time()?;
        let created_at = self.time()?;
        let mut birth = Bytes(self.part()?);
        let id = SessionId::new(birth.text()?);
        let subject = SubjectId::new(birth.text()?);
        let scope = birth.text_if_any()?;
        let client = Client { ip: self.ip()?, user_agent: self.text_if_any()? };
        let sealed = self.part()?.to_vec();
        let session = Session {
            id,
            subject,
            scope,
            auth_time,
            created_at,
            expires_at,
            idle_expires_at,
            last_used_at,
            client,
            chain: Chain {
                generation,
                live,
                parent: has(PARENT).then_some(parent),
                rotated_at,
                replayed_at: has(REPLAYED).then_some(replayed_at),
                live_used: has(LIVE_USED),
                this_window,
                last_window,
                sealed,
            },
            ended,
        };
        birth.0.is_empty().then_some(Row { session, purge_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{NOW, session};

    fn row() -> Row {
        let mut session = session("the id", "the subject");
        session.scope = Some("read write".to_owned());
        session.chain.parent = Some(Parent { digest: Digest([9; 32]), generation: 7 });
        session.chain.replayed_at = Some(NOW);
        session.chain.sealed = b"sealed".to_vec();
        Row { session, purge_after: NOW }
    }

    #[test]
    fn what_scripts_look_at_stands_where_they_look() {
        let mut row = row();
        row.session.ended = Some(End { at: NOW, reason: EndReason::Evicted });
        let bytes = row.encode();
        // Counted from 1, both ends included, as in Lua.
        let at = |first: usize, last: usize| &bytes[first - 1..last];
        let session = &row.session;
        assert_eq!(at(1, 2), [1, 7]);
        assert_eq!(at(3, 10), instant(NOW));
        assert_eq!(at(11, 18), instant(session.expires_at));
        assert_eq!(at(19, 26), instant(row.purge_after));
        assert_eq!(at(27, 34), instant(session.idle_expires_at));
        assert_eq!(at(35, 42), instant(session.last_used_at));
        assert_eq!(at(43, 50), instant(session.chain.rotated_at));
        assert_eq!(at(51, 51), [5]);
        assert_eq!(at(52, 59), instant(NOW));
        assert_eq!(at(60, 67), session.chain.generation.to_be_bytes());
        assert_eq!(at(68, 99), session.chain.live.0);
        assert_eq!(at(100, 107), 7_u64.to_be_bytes());
        assert_eq!(at(108, 139), [9; 32]);
        assert_eq!(at(148, 155), instant(session.chain.this_window.opened_at));
        assert_eq!(at(164, 171), instant(session.chain.last_window.opened_at));
        assert_eq!(at(172, 179), instant(session.auth_time));
        assert_eq!(at(180, 187), instant(session.created_at));
        let birth = usize::from(bytes[190]);
        assert_eq!(at(192, 195), 6_u32.to_be_bytes());
        assert_eq!(at(196, 201), b"the id");
        assert_eq!(at(202, 205), 11_u32.to_be_bytes());
        assert_eq!(at(206, 216), b"the subject");
        assert_eq!(at(192 + birth, bytes.len()), tail(&session.client, &session.chain.sealed));
        assert_eq!(reason_byte(EndReason::Reuse), 4);
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        for reason in EndReason::ALL.map(Some).into_iter().chain([None]) {
            let mut row = row();
            row.session.ended = reason.map(|reason| End { at: NOW, reason });
            assert_eq!(Row::decode(&row.encode()).unwrap(), row);
        }
    }

    #[test]
    fn bytes_that_nobody_wrote_are_told_and_never_panic() {
        let bytes = row().encode();
        for size in 0..bytes.len() {
            assert!(Row::decode(&bytes[..size]).is_err(), "{size} bytes");
        }
        assert!(Row::decode(&[&bytes[..], b"x"].concat()).is_err());
        for place in 0..bytes.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut other = bytes.clone();
                other[place] = byte;
                // Whatever it says, it says it.
                let _ = Row::decode(&other);
            }
        }
        for version in [0, 2, 0xff] {
            let mut other = bytes.clone();
            other[0] = version;
            assert!(Row::decode(&other).is_err());
        }
    }
}
