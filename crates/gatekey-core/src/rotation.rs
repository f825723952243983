//! What happens when a refresh token is presented: one pure function over (row, token, now, policy).
//!
//! The happy path is a compare-and-swap in the store: the presented token is the live one, its successor takes its
//! place. Everything else is told apart here, in this order. `G` is [`Policy::grace`].
//!
//! 1. The session is over (revoked, or past its idle or absolute end): [`Outcome::Ended`], [`Outcome::Expired`].
//! 2. The live token, while its parent was replayed at most `G` ago: [`Outcome::Held`]. Several requests of one client
//!    are in flight; rotating now would make a token of each late answer that nobody accepts.
//! 3. The live token otherwise: [`Outcome::Rotated`].
//! 4. A generation the row does not know yet: [`Outcome::Future`]. The store lost writes; nobody stole anything.
//! 5. The live generation, or the parent's, with another digest: [`Outcome::Foreign`]. Lost writes again: one chain has
//!    one token of a generation, and that one is known.
//! 6. The parent, rotated at most `G` ago: [`Outcome::Replayed`], answered with the identical successor.
//! 7. The parent, later, its successor never used, and the policy allows it: [`Outcome::Displaced`]; but while the
//!    parent was replayed at most `G` ago, [`Outcome::Superseded`]: the successor may be on its way again.
//! 8. Older than the parent, but live within the last `G` as far as two remembered windows tell (never later than
//!    `2G`): [`Outcome::Superseded`]. Nothing changes; the client holds a newer token.
//! 9. Anything else is a token that was swapped before: [`Outcome::Reused`]. Two parties hold it, we cannot tell which
//!    one is honest, and the session ends ([RFC 9700 section 4.14.2]).
//!
//! Why the middle rows exist: with REPLAY alone, honest clients are still accused (a late request of an older
//! generation; a slow answer that rewinds a browser's cookie jar after a second rotation). `rotation/model.rs` explores
//! every interleaving and shows that with HOLD and SUPERSEDED none is, and that leaving any of the three out accuses
//! somebody.
//!
//! What no rule can help with, since the row cannot tell it from theft: a request that arrives twice, is heard as held
//! and then rotates unheard, after the HOLD. And a client that keeps its token itself (no cookie jar) must refresh once at
//! a time: a slow held answer carries the token it was asked with.
//!
//! [RFC 9700 section 4.14.2]: https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2

use std::time::Duration;

use crate::{
    session::{Client, Digest, End, EndReason, Parent, Session, SessionId, Window},
    time::Timestamp,
};

/// How a repeated refresh token is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `G`: for how long after its rotation a token may be repeated. 0 to 60 s, 10 s by default; 0 makes every repeat
    /// a reuse.
    pub grace: Duration,
    /// For how long after its rotation a parent may displace a successor that nobody ever used; none (the default) or
    /// up to 400 days. A session that is past its end is over all the same.
    pub displace_within: Option<Duration>,
    /// Whether a repeat from another network than the last use's is a reuse. Off by default: phones change networks.
    pub same_network: bool,
}

impl Policy {
    /// Every repeat is a reuse. A client that loses one answer has to log in again.
    pub const STRICT: Self = Self { grace: Duration::ZERO, displace_within: None, same_network: false };

    /// The default: repeats within ten seconds are answered identically, later ones are reuse.
    pub const BALANCED: Self =
        Self { grace: Duration::from_secs(10), displace_within: None, same_network: false };

    /// [`Policy::BALANCED`], and a client that lost an answer may come back within a day, as long as nobody used it.
    pub const RESILIENT: Self = Self {
        grace: Duration::from_secs(10),
        displace_within: Some(Duration::from_secs(24 * 3600)),
        same_network: false,
    };

    /// [`Policy::RESILIENT`] for as long as the session lives: for browsers whose navigations are refreshed on the way.
    /// Any site can begin one and have its answer lost, and the browser's owner comes back when they like.
    pub const PAGES: Self = Self {
        grace: Duration::from_secs(10),
        displace_within: Some(Duration::from_secs(400 * 24 * 3600)),
        same_network: false,
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::BALANCED
    }
}

/// A refresh token whose signature is ours: what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The session it names.
    pub session: SessionId,
    /// Its generation.
    pub generation: u64,
    /// Its digest.
    pub digest: Digest,
}

/// The token that is to take the presented one's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Its generation: one above the presented token's, unless [`Outcome::Renumber`] asked for another.
    pub generation: u64,
    /// Its digest.
    pub digest: Digest,
    /// The token itself, readable only with the presented one.
    pub sealed: Vec<u8>,
    /// When it expires; never after the session's absolute end, to which a store cuts it.
    pub expires_at: Timestamp,
}

/// One presentation of a refresh token, with everything needed to judge it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What was presented.
    pub presented: Presented,
    /// What is to replace it.
    pub successor: Successor,
    /// Who presents it.
    pub client: Client,
    /// When.
    pub now: Timestamp,
    /// By which rules.
    pub policy: Policy,
    /// The session's row as it was read a moment ago, where it was. A store may judge this one and swap if what decides has
    /// not changed since, in one step; [`decide`] does not look at it, and a store that does not use it does the same.
    pub seen: Option<Session>,
}

/// What became of an [`Attempt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The presented token was live; the successor is now.
    Rotated,
    /// The presented token is the parent; the client gets the live token it missed.
    Replayed,
    /// The presented token is live and stays so.
    Held,
    /// The presented token is old, but was live a moment ago. Nothing changed.
    Superseded,
    /// The live token was never used and is replaced by the successor; the presented token stays the parent.
    Displaced,
    /// The live token may be displaced, but by a successor of the row's next generation. Nothing changed: try again.
    Renumber,
    /// A used token came back. The session is revoked.
    Reused,
    /// The session was revoked before.
    Ended,
    /// The session is past its idle or absolute end.
    Expired,
    /// The presented token is newer than the row: the store lost writes. Nothing changed.
    Future,
    /// The presented token is of the live or the parent's generation and neither of them: the store lost writes. Nothing
    /// changed.
    Foreign,
}

impl Outcome {
    /// The outcome's name in events. Never changes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Replayed => "replayed",
            Self::Held => "held",
            Self::Superseded => "superseded",
            Self::Displaced => "displaced",
            Self::Renumber => "renumber",
            Self::Reused => "reuse",
            Self::Ended => "session_ended",
            Self::Expired => "session_expired",
            Self::Future => "generation_unknown",
            Self::Foreign => "generation_foreign",
        }
    }

    /// Whether the client is answered with tokens ([`Outcome::Renumber`]: once the successor has its number).
    #[must_use]
    pub fn grants(self) -> bool {
        match self {
            Self::Rotated | Self::Replayed | Self::Held | Self::Displaced | Self::Renumber => true,
            Self::Superseded | Self::Reused | Self::Ended | Self::Expired | Self::Future | Self::Foreign => {
                false
            }
        }
    }

    /// Whether the row changed and has to be written.
    #[must_use]
    pub fn writes(self) -> bool {
        match self {
            Self::Rotated | Self::Replayed | Self::Held | Self::Displaced | Self::Reused => true,
            Self::Superseded
            | Self::Renumber
            | Self::Ended
            | Self::Expired
            | Self::Future
            | Self::Foreign => false,
        }
    }
}

/// Judges an attempt against a row. Changes nothing; [`advance`] does.
#[must_use]
pub fn decide(row: &Session, attempt: &Attempt) -> Outcome {
    let Attempt { presented, now, policy, .. } = attempt;
    let chain = &row.chain;
    let within = |since: Timestamp, span: Duration| !span.is_zero() && now.since(since) <= span;

    if row.ended.is_some() {
        return Outcome::Ended;
    }
    if *now >= row.end() {
        return Outcome::Expired;
    }
    if presented.digest == chain.live {
        return match chain.replayed_at {
            Some(replayed_at) if within(replayed_at, policy.grace) => Outcome::Held,
            _ => Outcome::Rotated,
        };
    }
    if presented.generation > chain.generation {
        return Outcome::Future;
    }
    if presented.generation == chain.generation {
        return Outcome::Foreign;
    }
    match chain.parent {
        Some(parent) if presented.digest == parent.digest => {
            if within(chain.rotated_at, policy.grace) {
                let elsewhere = match (row.client.network(), attempt.client.network()) {
                    (Some(then), Some(now)) => then != now,
                    _ => false,
                };
                return if policy.same_network && elsewhere { Outcome::Reused } else { Outcome::Replayed };
            }
            match (policy.displace_within, chain.replayed_at) {
                // The successor went out again a moment ago. The client may hold it by now, and would be accused of
                // theft if it were displaced. This too ends 2G after the rotation.
                (Some(_), Some(replayed_at)) if within(replayed_at, policy.grace) => Outcome::Superseded,
                (Some(span), _) if !chain.live_used && within(chain.rotated_at, span) => {
                    if attempt.successor.generation == chain.generation.saturating_add(1) {
                        Outcome::Displaced
                    } else {
                        Outcome::Renumber
                    }
                }
                _ => Outcome::Reused,
            }
        }
        // The row lost a chain and went on by two rotations. Of older generations it remembers no digest.
        Some(parent) if presented.generation == parent.generation => Outcome::Foreign,
        // Above the parent and below the live token: a displaced successor. No honest client ever used it.
        Some(parent) if presented.generation > parent.generation => Outcome::Reused,
        _ => {
            let recent = [chain.this_window, chain.last_window].iter().any(|window| {
                presented.generation >= window.oldest && within(window.opened_at, policy.grace * 2)
            });
            if recent { Outcome::Superseded } else { Outcome::Reused }
        }
    }
}

/// Judges an attempt and changes the row accordingly. A store calls this inside its transaction, then writes the row
/// if [`Outcome::writes`].
pub fn advance(row: &mut Session, attempt: &Attempt) -> Outcome {
    let outcome = decide(row, attempt);
    apply(row, attempt, outcome);
    outcome
}

/// Changes the row as `outcome` says. Apart from [`advance`] so that the model can turn a rule of [`decide`] off and
/// still change rows as stores do.
fn apply(row: &mut Session, attempt: &Attempt, outcome: Outcome) {
    let now = attempt.now;
    match outcome {
        Outcome::Rotated | Outcome::Displaced => {
            let chain = &mut row.chain;
            let parent_generation = match (outcome, chain.parent) {
                (Outcome::Displaced, Some(parent)) => parent.generation,
                _ => chain.generation,
            };
            if now.since(chain.this_window.opened_at) > attempt.policy.grace {
                chain.last_window = chain.this_window;
                chain.this_window = Window { oldest: parent_generation, opened_at: now };
            }
            chain.parent = Some(Parent { digest: attempt.presented.digest, generation: parent_generation });
            chain.generation = attempt.successor.generation;
            chain.live = attempt.successor.digest;
            chain.sealed.clone_from(&attempt.successor.sealed);
            chain.rotated_at = now;
            chain.replayed_at = None;
            chain.live_used = false;
            row.idle_expires_at = attempt.successor.expires_at.min(row.expires_at);
        }
        Outcome::Replayed => row.chain.replayed_at = Some(now),
        Outcome::Held => row.chain.live_used = true,
        Outcome::Reused => row.ended = Some(End { at: now, reason: EndReason::Reuse }),
        Outcome::Superseded
        | Outcome::Renumber
        | Outcome::Ended
        | Outcome::Expired
        | Outcome::Future
        | Outcome::Foreign => {}
    }
    if matches!(outcome, Outcome::Rotated | Outcome::Displaced | Outcome::Replayed | Outcome::Held) {
        row.last_used_at = now;
        row.client.clone_from(&attempt.client);
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
