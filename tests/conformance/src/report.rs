//! What a run prints and writes: each failure with what repeats it, a table of hosts by stores, `report.json`.
#![allow(clippy::print_stdout, reason = "standard output is where a command reports")]

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};

use crate::case::{Case, Failure, Kind, Outcome};

/// Prints something that a case measured and does not judge.
pub(crate) fn note(case: &str, what: &str) {
    println!("\nNOTE {case}: {what}");
}

/// How a case ended on one host and store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Passed,
    Failed,
    SetupFailed,
    HarnessError,
    NotApplicable,
    /// Failed, as `known.json` says it would.
    KnownFailure,
    /// Passed, although `known.json` says it would not.
    UnexpectedPass,
    /// Failed, and only recorded ([`Kind::Observed`]).
    Observed,
}

impl Class {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::SetupFailed => "setup failed",
            Self::HarnessError => "harness error",
            Self::NotApplicable => "not applicable",
            Self::KnownFailure => "known failure",
            Self::UnexpectedPass => "unexpected pass",
            Self::Observed => "observed",
        }
    }

    fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::SetupFailed | Self::HarnessError | Self::UnexpectedPass)
    }
}

/// One case on one host and store.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) host: String,
    pub(crate) store: String,
    pub(crate) case: &'static str,
    pub(crate) class: Class,
    pub(crate) expected: String,
    pub(crate) actual: String,
    /// What the case said for the report, whatever the verdict.
    pub(crate) notes: Vec<String>,
    pub(crate) milliseconds: u128,
}

impl Record {
    /// Judges an outcome; `known` is the reason why a failure is expected.
    pub(crate) fn new(
        (host, store): (&str, &str),
        case: &Case,
        outcome: Outcome,
        known: Option<&str>,
        milliseconds: u128,
    ) -> Self {
        let (class, expected, actual) = match outcome {
            Ok(()) => match known {
                Some(reason) => (
                    Class::UnexpectedPass,
                    format!("a failure, known because: {reason}"),
                    "it passes; take it out of known.json".to_owned(),
                ),
                None => (Class::Passed, String::new(), String::new()),
            },
            Err(Failure::Failed { expected, actual }) => {
                let class = match (known, case.kind) {
                    (Some(_), _) => Class::KnownFailure,
                    (None, Kind::Observed) => Class::Observed,
                    (None, Kind::Required | Kind::Recommended) => Class::Failed,
                };
                (class, expected, actual)
            }
            Err(Failure::Setup { expected, actual }) => (Class::SetupFailed, expected, actual),
            Err(Failure::Harness(problem)) => (Class::HarnessError, String::new(), problem),
            Err(Failure::NotApplicable(why)) => (Class::NotApplicable, String::new(), why),
        };
        Self {
            host: host.to_owned(),
            store: store.to_owned(),
            case: case.id,
            class,
            expected,
            actual,
            notes: Vec::new(),
            milliseconds,
        }
    }
}

/// A fault that the broken host was started with.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) name: String,
    /// The listed cases that did not fail, each with what they did; empty when the fault was noticed.
    pub(crate) missed: Vec<String>,
}

/// Everything a run found out.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) records: Vec<Record>,
    pub(crate) faults: Vec<Fault>,
    /// Hosts by stores that could not be run at all, with the reason.
    pub(crate) not_run: Vec<(String, String)>,
    /// What is wrong with the suite's own files, such as a known failure of a case that does not exist.
    pub(crate) errors: Vec<String>,
}

impl Report {
    /// Prints a record at once if someone must look at it.
    pub(crate) fn announce(&self, record: &Record, case: &Case) {
        for note in &record.notes {
            println!("{}/{} {}: {note}", record.host, record.store, record.case);
        }
        if !record.class.is_bad() {
            return;
        }
        let head = match record.class {
            Class::Failed => "FAIL",
            Class::SetupFailed => "SETUP FAILED",
            Class::HarnessError => "HARNESS ERROR",
            Class::UnexpectedPass => "UNEXPECTED PASS",
            Class::Passed | Class::NotApplicable | Class::KnownFailure | Class::Observed => return,
        };
        println!("\n{head} {}/{} {}", record.host, record.store, record.case);
        println!("  Requires: {} [{}]", case.requires, case.spec.join(", "));
        if !record.expected.is_empty() {
            println!("  Expected: {}", record.expected);
        }
        println!("  Actual:   {}", record.actual);
        println!(
            "  Repeat:   cargo xtask conformance --host {} --store {} --case {}",
            record.host, record.store, record.case
        );
    }

    /// Prints where the run is.
    pub(crate) fn progress(done: usize, of: usize, host: &str, store: &str) {
        println!("{done} of {of} cases, {host}/{store}");
    }

    /// Takes a fault's outcome and prints it when it was not noticed.
    pub(crate) fn fault(&mut self, fault: Fault) {
        if !fault.missed.is_empty() {
            println!("\nFAIL broken: the fault {} is not noticed", fault.name);
            for missed in &fault.missed {
                println!("  {missed}");
            }
            println!("  Repeat:   cargo xtask conformance --host broken --fault {}", fault.name);
        }
        self.faults.push(fault);
    }

    /// The cases that passed or failed nowhere.
    fn never_run(&self, cases: &[&'static Case]) -> Vec<&'static str> {
        let ran: BTreeSet<&str> = self
            .records
            .iter()
            .filter(|record| record.class != Class::NotApplicable)
            .map(|record| record.case)
            .collect();
        let ids = cases.iter().map(|case| case.id);
        ids.filter(|id| !ran.contains(id)).collect()
    }

    /// Prints the table and the summary; returns whether all is well.
    ///
    /// With `require_all`, a store or a case that did not run is a failure.
    pub(crate) fn finish(&self, cases: &[&'static Case], require_all: bool) -> bool {
        println!();
        self.table();
        for (what, why) in &self.not_run {
            println!("{what}: not run ({why})");
        }
        let never = if self.records.is_empty() { Vec::new() } else { self.never_run(cases) };
        for id in &never {
            println!("case not run by any host: {id}");
        }
        for error in &self.errors {
            println!("error: {error}");
        }
        let (missed, noticed): (Vec<&Fault>, Vec<&Fault>) =
            self.faults.iter().partition(|fault| !fault.missed.is_empty());
        if !self.faults.is_empty() {
            println!("faults noticed: {} of {}", noticed.len(), self.faults.len());
        }
        let count =
            |wanted: fn(Class) -> bool| self.records.iter().filter(|record| wanted(record.class)).count();
        let passed = count(|class| class == Class::Passed) + noticed.len();
        let mut failed = count(Class::is_bad) + missed.len() + self.errors.len();
        let mut skipped = count(|class| !class.is_bad() && class != Class::Passed);
        let absent = self.not_run.len() + never.len();
        if require_all {
            failed += absent;
        } else {
            skipped += self.not_run.len();
        }
        // A run that proves nothing must not look like success.
        let nothing = passed + failed == 0;
        if nothing {
            println!("error: nothing was run");
        }
        println!("conformance: {passed} passed, {failed} failed, {skipped} skipped");
        failed == 0 && !nothing
    }

    fn table(&self) {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for record in &self.records {
            let pair = (record.host.as_str(), record.store.as_str());
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        if pairs.is_empty() {
            return;
        }
        let row = |cells: [String; 7]| {
            let [host, store, passed, failed, known, inapplicable, seconds] = cells;
            println!(
                "{host:<12} {store:<10} {passed:>7} {failed:>7} {known:>7} {inapplicable:>5} {seconds:>9}"
            );
        };
        let heads = ["host", "store", "passed", "failed", "known", "n/a", "case time"];
        row(heads.map(str::to_owned));
        for (host, store) in pairs {
            let here: Vec<&Record> =
                self.records.iter().filter(|record| record.host == host && record.store == store).collect();
            let count = |wanted: &dyn Fn(Class) -> bool| {
                let found = here.iter().filter(|record| wanted(record.class));
                found.count().to_string()
            };
            let milliseconds: u128 = here.iter().map(|record| record.milliseconds).sum();
            row([
                host.to_owned(),
                store.to_owned(),
                count(&|class| class == Class::Passed),
                count(&Class::is_bad),
                count(&|class| class == Class::KnownFailure || class == Class::Observed),
                count(&|class| class == Class::NotApplicable),
                format!("{} s", milliseconds / 1000),
            ]);
        }
    }

    /// Writes `report.json`.
    pub(crate) fn write(&self, path: &Path, cases: &[&'static Case]) -> Result<(), String> {
        let records: Vec<Value> = self
            .records
            .iter()
            .map(|record| {
                json!({
                    "host": record.host,
                    "store": record.store,
                    "case": record.case,
                    "class": record.class.word(),
                    "expected": record.expected,
                    "actual": record.actual,
                    "notes": record.notes,
                    "milliseconds": u64::try_from(record.milliseconds).unwrap_or(u64::MAX),
                })
            })
            .collect();
        let faults: Vec<Value> = self
            .faults
            .iter()
            .map(|fault| json!({"fault": fault.name, "noticed": fault.missed.is_empty(), "missed": fault.missed}))
            .collect();
        let not_run: Vec<Value> =
            self.not_run.iter().map(|(what, why)| json!({"what": what, "why": why})).collect();
        let cases: Vec<Value> = cases
            .iter()
            .map(|case| {
                json!({
                    "id": case.id,
                    "requires": case.requires,
                    "spec": case.spec,
                    "kind": format!("{:?}", case.kind).to_lowercase(),
                })
            })
            .collect();
        let report = json!({
            "cases": cases,
            "results": records,
            "faults": faults,
            "not_run": not_run,
            "errors": self.errors,
        });
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        std::fs::write(path, text + "\n").map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}
