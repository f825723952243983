//! Honest clients: tabs of one browser that share its cookie jar, or one client that keeps its token itself.

use super::{
    explore::{Key, Next, Step, World},
    row::{Age, Row, Rules, TOKENS, Token, Without},
};
use crate::rotation::Outcome;

/// How many tabs a state has room for.
const TABS: usize = 3;

/// Who keeps the token, and how answers change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// A cookie jar: the Set-Cookie delivered last wins. HOLD and SUPERSEDED answer without a refresh cookie.
    Jar,
    /// A jar, and HOLD sets the cookie again: a mistake, to see that it is one.
    JarSetByHold,
    /// The client's own memory: HOLD answers the same token in the body, and the client stores it.
    Memory,
}

/// Which of two arrivals of one request the client hears the answer of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    /// No request arrives twice.
    None,
    /// The later one's: whoever sent it again (browser, proxy, the client itself) had given the first up.
    HeardLast,
    /// Either one's.
    Heard,
}

/// What clients and the network between do at most. Times are in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many requests may be under way at once. One, for a client that waits for its answer.
    pub(super) tabs: usize,
    /// How long a request may travel.
    pub(super) request: Age,
    /// How long an answer may travel.
    pub(super) answer: Age,
    /// How many flights of one refresh may be lost in a row; the client repeats at once, with the token kept then.
    pub(super) losses: u8,
    /// Whether a request may arrive twice.
    pub(super) copies: Copies,
}

impl Bounds {
    /// The least grace into which flights and repeats fit: from a rotation, its answer and all repeats may be lost but
    /// the last, and another tab may have asked with the old token just before that one was delivered.
    pub(super) fn grace(&self) -> Age {
        let refreshes = (self.losses + 1) * (self.request + self.answer);
        // The first arrival of a request that arrives twice rotates, and nobody hears of it.
        refreshes + if self.copies == Copies::None { 0 } else { self.request }
    }
}

/// Honest clients.
pub(super) struct Tabs {
    pub(super) rules: Rules,
    pub(super) keeper: Keeper,
    pub(super) bounds: Bounds,
    /// Whether the client may stop at any moment, lose all that is under way, and come back while the policy still lets
    /// it displace.
    pub(super) sleeps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tab {
    Idle,
    /// It lost something, for the `lost`th time in a row, and asks again before time passes.
    Repeats {
        lost: u8,
    },
    /// A request is on its way, or two copies of it are.
    Asked {
        flight: Flight,
        twice: bool,
    },
    /// An answer is on its way. Those without a token change nothing when they arrive, or do not, and are left out.
    Answered(Flight),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flight {
    token: Token,
    age: Age,
    lost: u8,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    row: Row,
    /// The token that the next request takes.
    kept: Token,
    tabs: [Tab; TABS],
    /// A request on its way a second time. Nobody waits for its answer.
    copy: Option<Flight>,
    /// How long ago each token was last exchanged for another; only for the checks. Zero for the live one.
    replaced: [Age; TOKENS],
}

impl World for Tabs {
    type State = State;

    fn rules(&self) -> &Rules {
        &self.rules
    }

    fn start(&self) -> State {
        assert!(self.bounds.tabs <= TABS && self.bounds.losses < 4, "no room in State, or in its key");
        State { row: self.rules.start(), kept: 0, tabs: [Tab::Idle; TABS], copy: None, replaced: [0; TOKENS] }
    }

    fn row(state: &State) -> Row {
        state.row
    }

    fn next(&self, state: &State, next: &mut Vec<Next<State>>) {
        if let Some(later) = self.tick(state) {
            let step = Step::new("time", "passes; kept is", state.kept);
            next.push((step, Ok(self.renumber(later))));
        }
        for i in 0..self.bounds.tabs {
            // Tabs are kept in order, so equal ones stand side by side, and what one does the other can do.
            if i > 0 && state.tabs[i] == state.tabs[i - 1] {
                continue;
            }
            let with = |tab| {
                let mut state = *state;
                state.tabs[i] = tab;
                state
            };
            let mut to = |what, token, state| {
                let step = Step::new("tab", what, token);
                next.push((step, Ok(self.renumber(state))));
            };
            match state.tabs[i] {
                Tab::Idle => self.send(state, i, 0, next),
                Tab::Repeats { lost } => self.send(state, i, lost, next),
                Tab::Asked { flight, twice } => {
                    if flight.lost < self.bounds.losses {
                        let lost = flight.lost + 1;
                        to("loses the request with", flight.token, with(Tab::Repeats { lost }));
                    }
                    let (step, arrived) = self.arrive("tab", state, flight);
                    match arrived {
                        Err(wrong) => next.push((step, Err(wrong))),
                        Ok((mut after, answer)) => {
                            if twice {
                                // The first arrival, and nobody hears what it is answered.
                                let waits = Tab::Asked { flight, twice: false };
                                after.tabs[i] = waits;
                                next.push((step, Ok(self.renumber(after))));
                            }
                            after.tabs[i] = answer.map_or(Tab::Idle, Tab::Answered);
                            if !twice {
                                next.push((step, Ok(self.renumber(after))));
                            } else if self.bounds.copies == Copies::Heard && state.copy.is_none() {
                                after.copy = Some(flight);
                                next.push((step, Ok(self.renumber(after))));
                            }
                        }
                    }
                }
                Tab::Answered(flight) => {
                    let mut received = with(Tab::Idle);
                    received.kept = flight.token;
                    to("receives", flight.token, received);
                    if flight.lost < self.bounds.losses {
                        let lost = flight.lost + 1;
                        to("loses the answer with", flight.token, with(Tab::Repeats { lost }));
                    }
                }
            }
        }
        if let Some(flight) = state.copy {
            let (step, arrived) = self.arrive("copy", state, flight);
            let unheard = |(after, _)| self.renumber(State { copy: None, ..after });
            next.push((step, arrived.map(unheard)));
        }
        if self.sleeps && !self.must_hurry(state) {
            self.sleep(state, next);
        }
    }

    fn key(&self, state: &State) -> u128 {
        let mut key = Key::default();
        state.row.key(&mut key);
        key.push(state.kept);
        for tab in &state.tabs[..self.bounds.tabs] {
            let (kind, flight) = match *tab {
                Tab::Idle => (0, None),
                // Something was lost, so `lost` is not 0.
                Tab::Repeats { lost } => (lost, None),
                Tab::Asked { flight, twice: false } => (4 + flight.lost, Some(flight)),
                Tab::Asked { flight, twice: true } => (8 + flight.lost, Some(flight)),
                Tab::Answered(flight) => (12 + flight.lost, Some(flight)),
            };
            key.push(kind);
            key.push(flight.map_or(0, |flight| flight.token));
            key.push(flight.map_or(0, |flight| flight.age));
        }
        key.push(state.copy.map_or(15, |copy| copy.token));
        key.push(state.copy.map_or(15, |copy| copy.age));
        for age in &state.replaced[..8] {
            key.push(*age);
        }
        key.0
    }
}

impl Tabs {
    /// Tab `i` sends a request.
    fn send(&self, state: &State, i: usize, lost: u8, next: &mut Vec<Next<State>>) {
        for (what, twice) in [("sends", false), ("sends twice", true)] {
            if twice && self.bounds.copies == Copies::None {
                continue;
            }
            let mut after = *state;
            let flight = Flight { token: state.kept, age: 0, lost };
            after.tabs[i] = Tab::Asked { flight, twice };
            let step = Step::new("tab", what, state.kept);
            next.push((step, Ok(self.renumber(after))));
        }
    }

    /// Whether a client with an old token has just time enough left to refresh. One that comes back later than the
    /// policy lets it displace has to log in again: no rule saves it.
    fn must_hurry(&self, state: &State) -> bool {
        let refresh = (self.bounds.losses + 1) * (self.bounds.request + self.bounds.answer);
        let limit = self.rules.policy.displace_within.unwrap_or_default();
        state.kept != state.row.live && u128::from(state.row.rotated + refresh) >= limit.as_millis()
    }

    /// The lid is closed: nobody waits for anything any more. A request under way may still arrive.
    fn sleep(&self, state: &State, next: &mut Vec<Next<State>>) {
        let asleep = State { tabs: [Tab::Idle; TABS], ..*state };
        let step = Step::new("client", "sleeps; kept is", state.kept);
        next.push((step, Ok(self.renumber(asleep))));
        for tab in &state.tabs {
            if let Tab::Asked { flight, .. } = *tab {
                let copy = Some(flight);
                next.push((step, Ok(self.renumber(State { copy, ..asleep }))));
            }
        }
    }

    /// A tick later, if nothing is due before it.
    fn tick(&self, state: &State) -> Option<State> {
        let mut later = *state;
        for tab in &mut later.tabs[..self.bounds.tabs] {
            match tab {
                Tab::Idle => {}
                Tab::Repeats { .. } => return None,
                Tab::Asked { flight, .. } if flight.age == self.bounds.request => return None,
                Tab::Answered(flight) if flight.age == self.bounds.answer => return None,
                Tab::Asked { flight, .. } | Tab::Answered(flight) => flight.age += 1,
            }
        }
        let asleep = state.tabs.iter().all(|tab| *tab == Tab::Idle);
        if self.sleeps && asleep && self.must_hurry(&later) {
            return None;
        }
        later.copy = state
            .copy
            .filter(|copy| copy.age < self.bounds.request)
            .map(|copy| Flight { age: copy.age + 1, ..copy });
        later.row = self.rules.tick(&state.row);
        for age in &mut later.replaced[..usize::from(state.row.live)] {
            *age = self.rules.older(*age);
        }
        Some(later)
    }

    /// A request reaches the server.
    fn arrive(
        &self,
        who: &'static str,
        state: &State,
        flight: Flight,
    ) -> (Step, Result<(State, Option<Flight>), &'static str>) {
        let (outcome, row) = self.rules.present(&state.row, flight.token);
        let mut after = State { row, ..*state };
        let age = u128::from(state.replaced[usize::from(flight.token)]);
        let grace = self.rules.policy.grace.as_millis();
        // Neither kept, nor on its way to some tab: this one is the only one that waits.
        let nothing_newer =
            state.kept == flight.token && state.tabs.iter().filter(|tab| **tab != Tab::Idle).count() == 1;
        let answer = |token| Some(Flight { token, age: 0, lost: flight.lost });
        let result = match outcome {
            Outcome::Rotated | Outcome::Displaced => {
                after.replaced[usize::from(state.row.live)] = 0;
                after.replaced[usize::from(flight.token)] = 0;
                after.replaced[usize::from(row.live)] = 0;
                Ok((after, answer(row.live)))
            }
            Outcome::Replayed if age > grace => Err("REPLAY later than G"),
            Outcome::Replayed => Ok((after, answer(row.live))),
            Outcome::Held => match self.keeper {
                Keeper::Jar => Ok((after, None)),
                Keeper::JarSetByHold | Keeper::Memory => Ok((after, answer(row.live))),
            },
            Outcome::Superseded if age > 2 * grace => Err("SUPERSEDED later than 2 G"),
            // It would ask again and hear the same. Only who slept through an answer may have to wait like that.
            Outcome::Superseded
                if nothing_newer && !self.sleeps && self.rules.without == Without::Nothing =>
            {
                Err("SUPERSEDED, though the client has nothing newer")
            }
            Outcome::Superseded => Ok((after, None)),
            Outcome::Reused
            | Outcome::Renumber
            | Outcome::Ended
            | Outcome::Expired
            | Outcome::Future
            | Outcome::Foreign => Err("an honest client is refused"),
        };
        (Step::judged(who, flight.token, outcome), result)
    }

    fn renumber(&self, mut state: State) -> State {
        let flights = state.tabs.iter().filter_map(|tab| match tab {
            Tab::Idle | Tab::Repeats { .. } => None,
            Tab::Asked { flight, .. } | Tab::Answered(flight) => Some(flight),
        });
        let mut held = 1_u16 << state.kept;
        for flight in flights.chain(&state.copy) {
            held |= 1 << flight.token;
        }
        let (row, new) = self.rules.renumber(&state.row, held);
        let mut replaced = [0; TOKENS];
        for token in 0..state.row.live {
            if held & 1 << token != 0 {
                replaced[usize::from(new.number(token))] = state.replaced[usize::from(token)];
            }
        }
        state.row = row;
        state.replaced = replaced;
        state.kept = new.number(state.kept);
        for tab in &mut state.tabs {
            match tab {
                Tab::Idle | Tab::Repeats { .. } => {}
                Tab::Asked { flight, .. } | Tab::Answered(flight) => {
                    flight.token = new.number(flight.token);
                }
            }
        }
        if let Some(copy) = &mut state.copy {
            copy.token = new.number(copy.token);
        }
        state.tabs[..self.bounds.tabs].sort_unstable();
        state
    }
}
