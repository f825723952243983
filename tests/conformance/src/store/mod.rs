//! The store suite: every promise of [`gatekey_core::store`] as a case that a store keeps or breaks.
//!
//! A store of your own proves itself in three lines. The factory opens a new, empty store each time it is called:
//!
//! ```
//! # use gatekey_core::store::memory::MemoryStore as MyStore;
//! # #[tokio::main]
//! # async fn main() {
//! gatekey_conformance::store::run(|| async { MyStore::new() }).await;
//! # }
//! ```
//!
//! [`run`] panics with a list of every case that failed, by its name, with what was expected and what happened.
//! [`sessions`] and [`users`] run one half each, for a store that has only that, and return the list; [`together`] is what
//! a store of both promises beside. [`throttles`] is for a store that counts attempts for all nodes: `assert!(throttles(fresh).await.is_clean())`.
//!
//! Nothing sleeps, and no case asks for the time: it is an argument. The suite runs in a Tokio runtime; one with several
//! threads races harder.

use std::{any::Any, fmt, pin::Pin, sync::Arc, time::Duration};

use gatekey_core::{
    limit::ThrottleStore,
    store::{SessionStore, StoreError, UserStore},
};

mod drops;
mod fixture;
mod insert;
mod read;
mod revoke;
mod rotate;
mod throttles;
mod together;
mod users;

/// How long a case may take. A store that answers never is worse than one that answers wrong.
const PATIENCE: Duration = Duration::from_secs(120);

type Verdict = Result<(), Failure>;
type Running = Pin<Box<dyn Future<Output = Verdict> + Send>>;
type Sessions = Arc<dyn SessionStore>;
type Users = Arc<dyn UserStore>;
type Throttles = Arc<dyn ThrottleStore>;

/// One promise, and how to see whether a store of kind `S` keeps it.
struct Case<S> {
    /// `store/what-happens`. Never renumbered, never reused.
    id: &'static str,
    /// One sentence that a reader can dispute.
    requires: &'static str,
    run: fn(S) -> Running,
}

impl<S> Case<S> {
    const fn new(id: &'static str, requires: &'static str, run: fn(S) -> Running) -> Self {
        Self { id, requires, run }
    }
}

/// Why a case did not pass.
#[derive(Debug)]
enum Failure {
    Failed {
        expected: String,
        actual: String,
    },
    /// The store says that it does not offer the call.
    Unsupported,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Unsupported) { Self::Unsupported } else { failed("an answer", error) }
    }
}

fn failed(expected: impl fmt::Display, actual: impl fmt::Display) -> Failure {
    Failure::Failed { expected: expected.to_string(), actual: actual.to_string() }
}

/// That two values are the same; `what` names them.
fn same<T: PartialEq + fmt::Debug>(what: &str, actual: &T, expected: &T) -> Verdict {
    if actual == expected {
        Ok(())
    } else {
        Err(failed(format_args!("{what}: {expected:?}"), format_args!("{actual:?}")))
    }
}

/// That something holds.
fn holds(what: &str, condition: bool) -> Verdict {
    if condition { Ok(()) } else { Err(failed(what, "that is not so")) }
}

/// Runs every case against a store that keeps sessions and users. `fresh` gives a new, empty one each time.
///
/// # Panics
///
/// If a case failed, or none passed; the message lists all that did not.
pub async fn run<S, F>(fresh: F)
where
    S: SessionStore + UserStore,
    F: AsyncFn() -> S,
{
    let mut report = sessions(&fresh).await;
    report.results.extend(users(&fresh).await.results);
    report.results.extend(together(&fresh).await.results);
    assert!(report.is_clean(), "{report}");
}

/// Runs the cases of [`SessionStore`]. `fresh` gives a new, empty store each time.
pub async fn sessions<S: SessionStore, F: AsyncFn() -> S>(fresh: F) -> Report {
    let mut report = Report::default();
    for case in session_cases() {
        report.run(case, Arc::new(fresh().await)).await;
    }
    report
}

/// Runs the cases of [`UserStore`]. `fresh` gives a new, empty store each time.
///
/// Accounts are made by [`UserStore::create`]: for a store without it, no case is applicable.
pub async fn users<S: UserStore, F: AsyncFn() -> S>(fresh: F) -> Report {
    let mut report = Report::default();
    for case in users::CASES {
        report.run(case, Arc::new(fresh().await)).await;
    }
    report
}

/// Runs the cases of a store that keeps sessions and users. `fresh` gives a new, empty store each time.
///
/// Accounts are made by [`UserStore::create`] and disabled by [`UserStore::update`]: for a store without them, no case is
/// applicable.
pub async fn together<S, F>(fresh: F) -> Report
where
    S: SessionStore + UserStore,
    F: AsyncFn() -> S,
{
    let mut report = Report::default();
    for case in together::CASES {
        let store = Arc::new(fresh().await);
        report.run(case, (Arc::clone(&store) as Sessions, store as Users)).await;
    }
    report
}

/// Runs the cases of [`ThrottleStore`]. `fresh` gives a new, empty store each time.
pub async fn throttles<S: ThrottleStore, F: AsyncFn() -> S>(fresh: F) -> Report {
    let mut report = Report::default();
    for case in throttles::CASES {
        report.run(case, Arc::new(fresh().await)).await;
    }
    report
}

fn session_cases() -> impl Iterator<Item = &'static Case<Sessions>> {
    [insert::CASES, rotate::CASES, revoke::CASES, read::CASES, drops::CASES].into_iter().flatten()
}

/// How the cases ended. Its text lists those that did not pass.
#[derive(Debug, Default)]
#[must_use]
pub struct Report {
    results: Vec<Ended>,
}

#[derive(Debug)]
struct Ended {
    id: &'static str,
    requires: &'static str,
    verdict: Verdict,
}

impl Report {
    /// The names of the cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> {
        self.results
            .iter()
            .filter(|ended| matches!(ended.verdict, Err(Failure::Failed { .. })))
            .map(|ended| ended.id)
    }

    /// The names of the cases that could not be run, because the store does not offer a call.
    pub fn not_applicable(&self) -> impl Iterator<Item = &'static str> {
        self.results
            .iter()
            .filter(|ended| matches!(ended.verdict, Err(Failure::Unsupported)))
            .map(|ended| ended.id)
    }

    /// Whether no case failed, and at least one passed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed().next().is_none() && self.results.iter().any(|ended| ended.verdict.is_ok())
    }

    async fn run<S>(&mut self, case: &Case<S>, store: S) {
        // A task of its own, so that a store that panics or never answers fails this case and not the run.
        let mut task = tokio::spawn((case.run)(store));
        let verdict = match tokio::time::timeout(PATIENCE, &mut task).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => Err(failed("no panic", panic_text(error))),
            Err(_) => {
                task.abort();
                Err(failed(format_args!("an end within {} s", PATIENCE.as_secs()), "none"))
            }
        };
        self.results.push(Ended { id: case.id, requires: case.requires, verdict });
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let text = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned())
    };
    let name = error.to_string();
    error.try_into_panic().ok().and_then(text).unwrap_or(name)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.results.iter().filter(|ended| ended.verdict.is_ok());
        writeln!(
            f,
            "store suite: {} passed, {} failed, {} not applicable",
            passed.count(),
            self.failed().count(),
            self.not_applicable().count()
        )?;
        for ended in &self.results {
            match &ended.verdict {
                Ok(()) => {}
                Err(Failure::Unsupported) => writeln!(f, "N/A  {}", ended.id)?,
                Err(Failure::Failed { expected, actual }) => writeln!(
                    f,
                    "FAIL {}\n     {}\n     expected {expected}\n     actual   {actual}",
                    ended.id, ended.requires
                )?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let others = users::CASES.iter().map(|case| case.id);
        let others = others.chain(together::CASES.iter().map(|case| case.id));
        let others = others.chain(throttles::CASES.iter().map(|case| case.id));
        let ids: Vec<_> = session_cases().map(|case| case.id).chain(others).collect();
        assert!(ids.iter().all(|id| id.starts_with("store/")));
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}
