//! What a case is: an id, a sentence one can dispute, where it is written, and an async function.
//!
//! Cases hold no comparison code: they call the verdicts of [`crate::verdict`], which return Expected and Actual.

use std::{fmt::Display, pin::Pin};

use serde_json::Value;

use crate::{host::Host, token::KeyKind};

/// What a case returns.
pub(crate) type Outcome = Result<(), Failure>;

/// A case that runs.
pub(crate) type Running<'h> = Pin<Box<dyn Future<Output = Outcome> + Send + 'h>>;

/// One thing a conforming host does, and how to see it.
pub(crate) struct Case {
    /// `area/what-happens`. Never renumbered, never reused: reports and known failures are keyed by it.
    pub(crate) id: &'static str,
    /// One sentence that a reader can dispute.
    pub(crate) requires: &'static str,
    /// Where it is written; a rule of our own contract as `docs/contract.md 4.12`.
    pub(crate) spec: &'static [&'static str],
    pub(crate) kind: Kind,
    pub(crate) needs: &'static [Need],
    pub(crate) reach: Reach,
    /// The host's configuration, laid over [`crate::host::default_config`].
    pub(crate) config: Option<fn() -> Value>,
    /// The kind of the access key that the host signs with.
    pub(crate) key: KeyKind,
    /// Whether [its vectors](crate::vectors) are all it asks.
    pub(crate) vectors: bool,
    pub(crate) run: for<'h> fn(&'h Host) -> Running<'h>,
}

/// Begins a case; `.run(run!(async |host| …))` ends it.
pub(crate) const fn case(id: &'static str, requires: &'static str) -> Case {
    Case {
        id,
        requires,
        spec: &[],
        kind: Kind::Required,
        needs: &[],
        reach: Reach::All,
        config: None,
        key: KeyKind::Ed25519,
        vectors: false,
        run: |_| Box::pin(async { Err(harness("the case has no body")) }),
    }
}

impl Case {
    pub(crate) const fn spec(mut self, spec: &'static [&'static str]) -> Self {
        self.spec = spec;
        self
    }

    pub(crate) const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    pub(crate) const fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    pub(crate) const fn config(mut self, config: fn() -> Value) -> Self {
        self.config = Some(config);
        self
    }

    pub(crate) const fn key(mut self, key: KeyKind) -> Self {
        self.key = key;
        self
    }

    /// Asks `/me` with each of [its vectors](crate::vectors), which are signed with the host's key.
    pub(crate) const fn vectors(mut self) -> Self {
        self.needs = &[Need::Keys];
        self.vectors = true;
        self
    }

    pub(crate) const fn run(mut self, run: for<'h> fn(&'h Host) -> Running<'h>) -> Self {
        self.run = run;
        self
    }

    /// Whether the case must have a process of its own.
    pub(crate) fn alone(&self) -> bool {
        self.needs.iter().any(|need| match need {
            Need::Clock | Need::StillClock | Need::OwnHost | Need::Processes | Need::RotatedKeys => true,
            Need::Control | Need::Keys | Need::Routes | Need::PersistentStore | Need::Addresses => false,
        })
    }

    /// Whether the case says anything about a server that we did not start and cannot configure.
    pub(crate) fn runs_anywhere(&self) -> bool {
        self.needs.is_empty() && self.config.is_none() && self.key == KeyKind::Ed25519
    }
}

/// Writes the body of a case: an async block that borrows the host, boxed.
///
/// A macro, since an async closure is not a function pointer and a boxed one reads worse two hundred times.
macro_rules! run {
    (async |$host:ident| $body:block) => {
        |$host| Box::pin(async move { $body })
    };
}
pub(crate) use run;

/// How much a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A MUST.
    Required,
    /// A SHOULD: a failure is reported and fails the run, and may be entered as known with a reason.
    Recommended,
    /// Recorded, never failing the run.
    Observed,
}

/// What a case asks of its host beyond the contract.
///
/// A case that has any, or a configuration, is not applicable to a server given by `--url`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Moves the host's clock ([`Host::advance`]); its own process, since time is shared by all on one.
    Clock,
    /// The same, and that time passes in no other way. For what counts in seconds that a busy machine may need to answer.
    StillClock,
    /// A process and a store of its own for another reason: it counts, exhausts or breaks something.
    OwnHost,
    /// Sets users' roles or disables them ([`Host::set_user`]).
    Control,
    /// Signs tokens with the host's keys ([`Host::sign_access`]).
    Keys,
    /// Rotates the host's keys ([`Host::rotate_keys`]); its own process.
    RotatedKeys,
    /// Uses the host's own routes (`/whoami`, `/note`, …).
    Routes,
    /// Starts, kills and restarts processes; its own.
    Processes,
    /// Data that outlives the process: any store but memory.
    PersistentStore,
    /// Connects from an address that it chooses (Linux answers on all of 127.0.0.0/8).
    Addresses,
}

/// On how many of a run's hosts and stores a case runs: hashing passwords by the hundred, it need not be on all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// On every host with every store.
    All,
    /// On every host with the first store, and on every store with the first host.
    Axes,
    /// On the first host with the first store.
    One,
}

/// Why a case did not pass. The classes are kept apart because different people look at them.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The host does not do what the case requires.
    Failed { expected: String, actual: String },
    /// The host refused what the case needs before it can begin (a registration, a login); the case says nothing.
    Setup { expected: String, actual: String },
    /// The suite's own fault, or the machine's.
    Harness(String),
    /// The case says nothing about this host.
    NotApplicable(String),
}

/// The host does not do what the case requires.
pub(crate) fn failed(expected: impl Display, actual: impl Display) -> Failure {
    Failure::Failed { expected: expected.to_string(), actual: actual.to_string() }
}

/// The suite's own fault.
pub(crate) fn harness(what: impl Display) -> Failure {
    Failure::Harness(what.to_string())
}

/// The case says nothing about this host.
pub(crate) fn not_applicable(why: impl Display) -> Failure {
    Failure::NotApplicable(why.to_string())
}

/// Marks a step as preparation.
pub(crate) trait Setup {
    /// Turns `failed` into `setup failed`: what a case did not mean to test must not look like its verdict.
    fn setup(self) -> Self;
}

impl<T> Setup for Result<T, Failure> {
    fn setup(self) -> Self {
        self.map_err(|failure| match failure {
            Failure::Failed { expected, actual } => Failure::Setup { expected, actual },
            other @ (Failure::Setup { .. } | Failure::Harness(_) | Failure::NotApplicable(_)) => other,
        })
    }
}

/// Names the row of a table that a case goes through.
pub(crate) trait Row {
    /// Says in the report which row it was: one failure ends the case, and the answer alone does not tell.
    fn row(self, what: impl Display) -> Self;
}

impl<T> Row for Result<T, Failure> {
    fn row(self, what: impl Display) -> Self {
        self.map_err(|failure| match failure {
            Failure::Failed { expected, actual } => {
                Failure::Failed { expected: format!("with {what}: {expected}"), actual }
            }
            other @ (Failure::Setup { .. } | Failure::Harness(_) | Failure::NotApplicable(_)) => other,
        })
    }
}
