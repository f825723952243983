//! Breadth-first search: every state a world can reach, each visited once, or the shortest way to one that must not be.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasherDefault, Hasher},
};

use super::row::{Row, Rules};
use crate::rotation::Outcome;

/// What happened between two states, for the trace of a counter-example and for counting.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) who: &'static str,
    pub(super) what: &'static str,
    /// The token concerned, numbered as in the state before.
    pub(super) token: u8,
    pub(super) outcome: Option<Outcome>,
}

impl Step {
    pub(super) fn new(who: &'static str, what: &'static str, token: u8) -> Self {
        Self { who, what, token, outcome: None }
    }

    pub(super) fn judged(who: &'static str, token: u8, outcome: Outcome) -> Self {
        Self { who, what: "presents", token, outcome: Some(outcome) }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.who, self.what, self.token)?;
        match self.outcome {
            Some(outcome) => write!(f, ": {outcome:?}"),
            None => Ok(()),
        }
    }
}

/// What follows from a step: another state, or something that must never happen.
pub(super) type Next<S> = (Step, Result<S, &'static str>);

/// A small world with a clock, clients and one session row.
pub(super) trait World {
    type State: Copy + fmt::Debug;

    fn rules(&self) -> &Rules;

    fn start(&self) -> Self::State;

    /// The row in it.
    fn row(state: &Self::State) -> Row;

    /// Everything that can happen next. All of it: what is left out here is not explored.
    fn next(&self, state: &Self::State, next: &mut Vec<Next<Self::State>>);

    /// The state as one number; two states share it only if they are equal.
    fn key(&self, state: &Self::State) -> u128;
}

/// What a search found.
pub(super) struct Explored {
    /// How many different states were reached.
    pub(super) states: usize,
    /// Every row that occurred.
    pub(super) rows: HashSet<Row>,
    /// Who was answered what, anywhere. A rule that never spoke was not tested.
    pub(super) spoken: HashSet<(&'static str, Outcome)>,
    /// What must not happen, and the shortest way there.
    pub(super) counter_example: Option<String>,
}

pub(super) fn explore<W: World>(world: &W) -> Explored {
    let start = world.start();
    let mut seen: HashSet<u128, BuildHasherDefault<Mix>> = HashSet::default();
    seen.insert(world.key(&start));
    // In order of discovery, each with where it came from: the queue and the memory of the search at once.
    let mut reached = vec![(start, 0_usize, Step::new("", "start", 0))];
    let mut spoken = Vec::new();
    let mut next = Vec::new();
    let mut counter_example = None;
    let mut at = 0;
    'search: while let Some((state, ..)) = reached.get(at).copied() {
        world.next(&state, &mut next);
        for (step, result) in next.drain(..) {
            if let Some(outcome) = step.outcome
                && !spoken.contains(&(step.who, outcome))
            {
                spoken.push((step.who, outcome));
            }
            match result {
                Ok(state) => {
                    if seen.insert(world.key(&state)) {
                        reached.push((state, at, step));
                    }
                }
                Err(wrong) => {
                    counter_example = Some(trace(&reached, at, step, wrong));
                    break 'search;
                }
            }
        }
        at += 1;
    }
    Explored {
        states: reached.len(),
        rows: reached.iter().map(|(state, ..)| W::row(state)).collect(),
        spoken: spoken.into_iter().collect(),
        counter_example,
    }
}

fn trace<S: fmt::Debug>(reached: &[(S, usize, Step)], mut at: usize, last: Step, wrong: &str) -> String {
    let mut lines = vec![format!("{last:?}\n{wrong}")];
    while at > 0 {
        let (state, from, step) = &reached[at];
        lines.push(format!("{step:?}\n        {state:?}"));
        at = *from;
    }
    lines.reverse();
    lines.join("\n")
}

/// Hashes one number. The keys are ours, so nobody can choose colliding ones, and the default hasher takes most of an
/// unoptimised search.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u128(&mut self, key: u128) {
        let odd = 0x9e37_79b9_7f4a_7c15;
        let mixed = (key as u64).wrapping_mul(odd) ^ ((key >> 64) as u64).wrapping_mul(odd).rotate_left(29);
        self.0 = (mixed ^ (mixed >> 32)).wrapping_mul(odd);
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are hashed as one number");
    }
}

/// Puts small numbers side by side into one.
#[derive(Default)]
pub(super) struct Key(pub(super) u128);

impl Key {
    /// Appends `value`, which must be below 16.
    pub(super) fn push(&mut self, value: u8) {
        assert!(value < 16 && self.0 >> 124 == 0, "{value} does not fit in");
        self.0 = self.0 << 4 | u128::from(value);
    }
}
