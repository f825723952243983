//! The row as the model sees it, and the way through the real one.

use std::time::Duration;

use super::explore::Key;
use crate::{
    rotation::{Attempt, Outcome, Policy, Presented, Successor, apply, decide},
    session::{Chain, Client, Digest, End, EndReason, Parent, Session, SessionId, SubjectId, Window},
    time::Timestamp,
};

/// A token's number: its generation. Later ones are higher, the live one is the highest.
pub(super) type Token = u8;

/// How many ticks ago. A tick is a millisecond, the finest time a row can tell.
pub(super) type Age = u8;

/// More tokens than any state of ours knows of at once.
pub(super) const TOKENS: usize = 10;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The part of a [`Session`] that changes what is decided later, with ages in place of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) ended: bool,
    pub(super) live: Token,
    pub(super) parent: Option<Token>,
    pub(super) rotated: Age,
    pub(super) replayed: Option<Age>,
    pub(super) live_used: bool,
    pub(super) this_window: (Token, Age),
    pub(super) last_window: (Token, Age),
}

/// A rule of the decision turned off, or bent, to see that the model needs it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Without {
    /// Nothing is turned off.
    Nothing,
    /// The live token is rotated even while its parent is being replayed.
    Hold,
    /// HOLD ends `G` after the rotation instead of `G` after the last replay.
    HoldFromReplay,
    /// The parent is a reuse at once.
    Replay,
    /// Tokens older than the parent are a reuse at once.
    Superseded,
    /// Only one window is remembered.
    SecondWindow,
    /// A token older than the parent is SUPERSEDED as long as the latest rotation is recent.
    Bound,
    /// A parent displaces a successor although it was replayed a moment ago.
    Patience,
    /// A displaced successor goes on being accepted in the parent's stead.
    Collision,
}

/// The real rules over abstract rows.
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) without: Without,
    /// Ages from here on are all "long ago": no rule looks back as far.
    pub(super) memory: Age,
    template: Session,
}

impl Rules {
    pub(super) fn new(policy: Policy, without: Without) -> Self {
        let longest = policy.displace_within.unwrap_or_default().max(policy.grace * 2);
        let memory = u8::try_from(longest.as_millis() + 1).expect("bounds are a few ticks");
        Self {
            policy,
            without,
            memory,
            template: Session {
                id: SessionId::new("session"),
                subject: SubjectId::new("subject"),
                scope: None,
                auth_time: NOW,
                created_at: NOW,
                // Out of sight: what ends by time is a table test.
                expires_at: NOW + Duration::from_secs(3600),
                idle_expires_at: NOW + Duration::from_secs(3600),
                last_used_at: NOW,
                client: Client::default(),
                chain: Chain::start(digest(0), NOW),
                ended: None,
            },
        }
    }

    /// The row a login writes.
    pub(super) fn start(&self) -> Row {
        self.abstracted(&self.template)
    }

    /// Presents a token to the row as a store does, [`Outcome::Renumber`] repeated at once as core does.
    pub(super) fn present(&self, row: &Row, token: Token) -> (Outcome, Row) {
        let mut session = self.session(row);
        let mut successor = token + 1;
        loop {
            let attempt = Attempt {
                presented: Presented {
                    session: session.id.clone(),
                    generation: token.into(),
                    digest: digest(token),
                },
                successor: Successor {
                    generation: successor.into(),
                    digest: digest(successor),
                    sealed: Vec::new(),
                    expires_at: session.expires_at,
                },
                client: Client::default(),
                now: NOW,
                policy: self.policy,
                seen: None,
            };
            let outcome = self.judge(&session, &attempt);
            if outcome == Outcome::Renumber && successor != row.live + 1 {
                successor = row.live + 1;
                continue;
            }
            apply(&mut session, &attempt, outcome);
            return (outcome, self.abstracted(&session));
        }
    }

    /// The real decision, less what is turned off.
    fn judge(&self, row: &Session, attempt: &Attempt) -> Outcome {
        let outcome = decide(row, attempt);
        let (chain, grace) = (&row.chain, self.policy.grace);
        match (self.without, outcome) {
            (Without::Hold, Outcome::Held) => Outcome::Rotated,
            (Without::HoldFromReplay, Outcome::Held) if NOW.since(chain.rotated_at) > grace => {
                Outcome::Rotated
            }
            (Without::Replay, Outcome::Replayed) | (Without::Superseded, Outcome::Superseded) => {
                Outcome::Reused
            }
            (Without::SecondWindow, Outcome::Superseded) => {
                let mut forgetful = row.clone();
                forgetful.chain.last_window = forgetful.chain.this_window;
                decide(&forgetful, attempt)
            }
            (Without::Bound, Outcome::Reused)
                if NOW.since(chain.rotated_at) <= grace
                    && chain
                        .parent
                        .is_some_and(|parent| attempt.presented.generation < parent.generation) =>
            {
                Outcome::Superseded
            }
            (Without::Patience, Outcome::Superseded)
                if chain.parent.is_some_and(|parent| attempt.presented.digest == parent.digest) =>
            {
                let mut impatient = row.clone();
                impatient.chain.replayed_at = None;
                decide(&impatient, attempt)
            }
            (Without::Collision, Outcome::Reused)
                if chain.parent.is_some_and(|parent| attempt.presented.generation > parent.generation) =>
            {
                Outcome::Replayed
            }
            _ => outcome,
        }
    }

    fn session(&self, row: &Row) -> Session {
        let at = |age: Age| NOW - Duration::from_millis(age.into());
        let window = |(oldest, age): (Token, Age)| Window { oldest: oldest.into(), opened_at: at(age) };
        let mut session = self.template.clone();
        session.chain = Chain {
            generation: row.live.into(),
            live: digest(row.live),
            parent: row.parent.map(|parent| Parent { digest: digest(parent), generation: parent.into() }),
            rotated_at: at(row.rotated),
            replayed_at: row.replayed.map(at),
            live_used: row.live_used,
            this_window: window(row.this_window),
            last_window: window(row.last_window),
            sealed: Vec::new(),
        };
        session.ended = row.ended.then_some(End { at: NOW, reason: EndReason::Reuse });
        session
    }

    fn abstracted(&self, session: &Session) -> Row {
        let chain = &session.chain;
        let age = |at: Timestamp| {
            let ticks = NOW.since(at).as_millis();
            u8::try_from(ticks).map_or(self.memory, |ticks| ticks.min(self.memory))
        };
        let token = |generation: u64| Token::try_from(generation).expect("tokens are renumbered");
        let window = |window: Window| (token(window.oldest), age(window.opened_at));
        Row {
            ended: session.ended.is_some(),
            live: token(chain.generation),
            parent: chain.parent.map(|parent| token(parent.generation)),
            rotated: age(chain.rotated_at),
            replayed: chain.replayed_at.map(age),
            live_used: chain.live_used,
            this_window: window(chain.this_window),
            last_window: window(chain.last_window),
        }
    }

    /// The row a tick later.
    pub(super) fn tick(&self, row: &Row) -> Row {
        let older = |age: Age| self.older(age);
        Row {
            rotated: older(row.rotated),
            replayed: row.replayed.map(older),
            this_window: (row.this_window.0, older(row.this_window.1)),
            last_window: (row.last_window.0, older(row.last_window.1)),
            ..*row
        }
    }

    pub(super) fn older(&self, age: Age) -> Age {
        self.memory.min(age + 1)
    }

    /// Renumbers the tokens that anybody holds, in the order of their issue and without gaps, and forgets what is too
    /// old to matter. `held` is a set of bits.
    pub(super) fn renumber(&self, row: &Row, held: u16) -> (Row, Renumbering) {
        let known = held | 1 << row.live | row.parent.map_or(0, |parent| 1 << parent);
        let new = Renumbering { known };
        let window = |(oldest, age): (Token, Age)| {
            if age == self.memory { (0, age) } else { (new.number(oldest), age) }
        };
        let row = Row {
            live: new.number(row.live),
            parent: row.parent.map(|parent| new.number(parent)),
            replayed: row.replayed.filter(|age| *age < self.memory),
            this_window: window(row.this_window),
            last_window: window(row.last_window),
            ..*row
        };
        (row, new)
    }
}

/// New numbers for old ones.
#[derive(Clone, Copy)]
pub(super) struct Renumbering {
    known: u16,
}

impl Renumbering {
    /// How many known tokens are older: for a window's first token, which may be known to nobody any more, the number
    /// of the next that is.
    pub(super) fn number(&self, token: Token) -> Token {
        (self.known & ((1 << token) - 1)).count_ones() as Token
    }
}

impl Row {
    pub(super) fn key(&self, key: &mut Key) {
        key.push(u8::from(self.ended) << 1 | u8::from(self.live_used));
        key.push(self.live);
        key.push(self.parent.unwrap_or(15));
        key.push(self.rotated);
        key.push(self.replayed.unwrap_or(15));
        for (oldest, age) in [self.this_window, self.last_window] {
            key.push(oldest);
            key.push(age);
        }
    }
}

fn digest(token: Token) -> Digest {
    Digest([token; 32])
}
