//! An owner and a thief who copied a token. Their requests are answered at once, or the owner's answer is lost: what
//! reaches the row is a sequence of tokens, and all sequences are here.

use super::{
    explore::{Key, Next, Step, World},
    row::{Age, Row, Rules, TOKENS, Token},
};
use crate::rotation::Outcome;

/// The world of the two.
pub(super) struct Theft {
    pub(super) rules: Rules,
}

/// Who asks, by who exchanged the token last: `NAMES[first][who]`. "Second" means the other one was first.
const NAMES: [[&str; 2]; 2] = [["owner", "thief second"], ["owner second", "thief"]];
const OWNER: usize = 0;
const THIEF: usize = 1;

#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) row: Row,
    /// The owner's token: the last he was given.
    owner: Token,
    /// The thief's: he copies the owner's at any moment, keeps what he is given, and forgets what he likes. Two are
    /// enough to use the newest and hold any older one against the owner.
    thief: [Option<Token>; 2],
    /// How long ago each token was exchanged, last by the thief or not, and whether it was displaced; for the checks.
    replaced: [Age; TOKENS],
    by_thief: u16,
    displaced: u16,
    /// Whether anybody was answered for presenting the live token.
    used: bool,
}

impl World for Theft {
    type State = State;

    fn rules(&self) -> &Rules {
        &self.rules
    }

    fn start(&self) -> State {
        State {
            row: self.rules.start(),
            owner: 0,
            thief: [None; 2],
            replaced: [0; TOKENS],
            by_thief: 0,
            displaced: 0,
            used: false,
        }
    }

    fn row(state: &State) -> Row {
        state.row
    }

    fn next(&self, state: &State, next: &mut Vec<Next<State>>) {
        if state.row.ended {
            // Nothing can happen any more, which is all there is to check.
            for (who, token) in state.tokens() {
                let (step, result) = self.present(who, state, token);
                if let Err(wrong) = result {
                    next.push((step, Err(wrong)));
                }
            }
            return;
        }
        let mut later = State { row: self.rules.tick(&state.row), ..*state };
        for age in &mut later.replaced[..usize::from(state.row.live)] {
            *age = self.rules.older(*age);
        }
        next.push((Step::new("time", "passes; owner has", state.owner), Ok(self.renumber(later))));

        for slot in 0..2 {
            let mut stolen = *state;
            stolen.thief[slot] = Some(state.owner);
            next.push((Step::new("thief", "copies", state.owner), Ok(self.renumber(stolen))));
        }

        let (step, result) = self.present(OWNER, state, state.owner);
        match result {
            Err(wrong) => next.push((step, Err(wrong))),
            Ok((after, given)) => {
                // Lost on the way, or refused.
                next.push((step, Ok(self.renumber(after))));
                if let Some(owner) = given {
                    next.push((step, Ok(self.renumber(State { owner, ..after }))));
                }
            }
        }

        for token in state.thief.into_iter().flatten() {
            let (step, result) = self.present(THIEF, state, token);
            match result {
                Err(wrong) => next.push((step, Err(wrong))),
                Ok((after, given)) => {
                    next.push((step, Ok(self.renumber(after))));
                    for slot in 0..2 {
                        let mut after = after;
                        if let Some(given) = given {
                            after.thief[slot] = Some(given);
                            next.push((step, Ok(self.renumber(after))));
                        }
                    }
                }
            }
        }
    }

    fn key(&self, state: &State) -> u128 {
        let mut key = Key::default();
        state.row.key(&mut key);
        key.push(state.owner);
        key.push(u8::from(state.used));
        for token in state.thief {
            key.push(token.unwrap_or(15));
        }
        for token in 0..6 {
            key.push(state.replaced[token]);
            key.push((state.by_thief >> token & 1) as u8 | ((state.displaced >> token & 1) as u8) << 1);
        }
        key.0
    }
}

impl State {
    fn tokens(&self) -> impl Iterator<Item = (usize, Token)> {
        let thief = self.thief.into_iter().flatten().map(|token| (THIEF, token));
        std::iter::once((OWNER, self.owner)).chain(thief)
    }
}

impl Theft {
    /// Presents a token, and compares the answer with what the token's history allows, whoever it is that asks. Returns
    /// the token given in answer too.
    fn present(
        &self,
        who: usize,
        state: &State,
        token: Token,
    ) -> (Step, Result<(State, Option<Token>), &'static str>) {
        let (outcome, row) = self.rules.present(&state.row, token);
        let bit = 1 << token;
        let age = state.replaced[usize::from(token)];
        let [grace, long] = [self.rules.policy.grace, self.rules.policy.displace_within.unwrap_or_default()]
            .map(|span| span.as_millis());
        let within = |span: u128| span > 0 && u128::from(age) <= span;
        let live = token == state.row.live;
        let displaced = state.displaced & bit != 0;

        let allowed: &[Outcome] = if state.row.ended {
            &[Outcome::Ended]
        } else if live {
            // Whoever presents the live token all the time cannot keep it from being rotated.
            if u128::from(state.row.rotated) > 2 * grace {
                &[Outcome::Rotated]
            } else {
                &[Outcome::Rotated, Outcome::Held]
            }
        } else if displaced && state.row.parent.is_some_and(|parent| token > parent) {
            // Thief and owner collide here.
            &[Outcome::Reused]
        } else if displaced {
            if within(2 * grace) { &[Outcome::Superseded, Outcome::Reused] } else { &[Outcome::Reused] }
        } else if within(grace) {
            &[Outcome::Replayed, Outcome::Superseded]
        } else if long > 0 && within(long) {
            &[Outcome::Displaced, Outcome::Superseded, Outcome::Reused]
        } else if within(2 * grace) {
            &[Outcome::Superseded, Outcome::Reused]
        } else {
            &[Outcome::Reused]
        };
        let first = if state.by_thief & bit == 0 { OWNER } else { THIEF };
        let first = if live { who } else { first };
        let step = Step::judged(NAMES[first][who], token, outcome);
        if outcome == Outcome::Superseded && !within(2 * grace) {
            return (step, Err("SUPERSEDED later than 2 G"));
        }
        if !allowed.contains(&outcome) {
            return (step, Err("the token's history does not allow this answer"));
        }
        if (outcome == Outcome::Reused) != (row.ended && !state.row.ended) {
            return (step, Err("REUSE and the end of the session are not the same"));
        }
        if outcome == Outcome::Displaced && state.used {
            return (step, Err("DISPLACE of a token in use"));
        }

        let mut after = State { row, used: state.used && row.live == state.row.live, ..*state };
        let mut exchanged = |token: Token| {
            after.replaced[usize::from(token)] = 0;
            after.by_thief &= !(1 << token);
            if who == THIEF {
                after.by_thief |= 1 << token;
            }
        };
        let given = match outcome {
            Outcome::Rotated => {
                exchanged(token);
                Some(row.live)
            }
            Outcome::Displaced => {
                // What was displaced before it is presented as late as the parent, and dies again with it.
                for token in token..=state.row.live {
                    exchanged(token);
                }
                after.displaced |= 1 << state.row.live;
                Some(row.live)
            }
            Outcome::Replayed => Some(row.live),
            Outcome::Held => {
                after.used = true;
                Some(row.live)
            }
            Outcome::Superseded
            | Outcome::Renumber
            | Outcome::Reused
            | Outcome::Ended
            | Outcome::Expired
            | Outcome::Future
            | Outcome::Foreign => None,
        };
        (step, Ok((after, given)))
    }

    fn renumber(&self, mut state: State) -> State {
        state.thief.sort_unstable();
        if state.thief[0] == state.thief[1] {
            state.thief[0] = None;
        }
        let held = state.thief.iter().flatten().fold(1_u16 << state.owner, |held, token| held | 1 << token);
        let (row, new) = self.rules.renumber(&state.row, held);
        let mut replaced = [0; TOKENS];
        let (mut by_thief, mut displaced) = (0, 0);
        for token in 0..state.row.live {
            if held & 1 << token != 0 {
                let number = new.number(token);
                replaced[usize::from(number)] = state.replaced[usize::from(token)];
                by_thief |= (state.by_thief >> token & 1) << number;
                displaced |= (state.displaced >> token & 1) << number;
            }
        }
        State {
            row,
            owner: new.number(state.owner),
            thief: state.thief.map(|token| token.map(|token| new.number(token))),
            replaced,
            by_thief,
            displaced,
            used: state.used,
        }
    }
}
