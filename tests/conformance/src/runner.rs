//! Runs cases on one host and store: which share a process, how many at once, how long they may take.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{sync::OnceCell, task::JoinSet, time::timeout};

use crate::{
    case::{Case, Failure, Need, Outcome, Reach, harness, not_applicable},
    client::Target,
    host::{Host, Instance, default_config, overlay},
    process::{Launch, Scratch},
    report::{Fault, Record, Report},
    token::{KeyKind, Keys},
    vectors,
};

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    /// A new file for each process that is not a sibling.
    Sqlite,
    /// A server that outlives the hosts: its name in reports, and what `--store` gets.
    Url {
        name: &'static str,
        url: String,
    },
}

impl Store {
    /// Reads a store's name; servers are found by their environment variable.
    pub(crate) fn parse(name: &str) -> Result<Self, StoreProblem> {
        let server = |name, variable| match std::env::var(variable) {
            Ok(url) if !url.is_empty() => Ok(Self::Url { name, url }),
            _ => Err(StoreProblem::Absent(format!("{variable} is not set"))),
        };
        match name {
            "memory" => Ok(Self::Memory),
            "sqlite" => Ok(Self::Sqlite),
            "postgres" => server("postgres", "DATABASE_URL"),
            "redis" => server("redis", "REDIS_URL"),
            "redis-cluster" => server("redis-cluster", "REDIS_CLUSTER_URLS"),
            _ => Err(StoreProblem::Unknown),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Url { name, .. } => name,
        }
    }

    fn argument(&self, scratch: &Path) -> String {
        match self {
            Self::Memory => "memory".to_owned(),
            Self::Sqlite => format!("sqlite:{}", scratch.join("store.db").display()),
            // The server is shared and its contents outlive us: a namespace of its own makes each store a fresh one.
            Self::Url { url, .. } => format!("{url}#{}", namespace(scratch)),
        }
    }
}

/// A name that no other start has, of letters, digits and underscores.
fn namespace(scratch: &Path) -> String {
    let name = scratch.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    format!("suite_{}", name.rsplit('-').next().unwrap_or_default())
}

/// Why a store cannot be used.
pub(crate) enum StoreProblem {
    /// No such store: a mistake on the command line.
    Unknown,
    /// Known, but no server: reported as not run.
    Absent(String),
}

/// What the cases run on.
#[derive(Clone)]
pub(crate) enum Subject {
    /// A program that speaks the host protocol.
    Program { host: String, program: PathBuf, arguments: Vec<String>, store: Store },
    /// A server that someone else runs.
    Foreign(Target),
}

impl Subject {
    fn names(&self) -> (&str, &str) {
        match self {
            Self::Program { host, store, .. } => (host, store.name()),
            Self::Foreign(_) => ("url", "unknown"),
        }
    }

    async fn start(&self, case: &Case) -> Result<Arc<Instance>, Failure> {
        match self {
            Self::Foreign(target) => Ok(Instance::foreign(target.clone())),
            Self::Program { program, arguments, store, .. } => {
                let scratch = Scratch::new()?;
                let keys = Arc::new(Keys::known(case.key)?);
                let launch = Launch {
                    program: program.clone(),
                    store: store.argument(scratch.path()),
                    config: configuration(case),
                    listen: "127.0.0.1:0".to_owned(),
                    arguments: arguments.clone(),
                    access_key: None,
                    refresh_secret: None,
                    previous: [None, None],
                    scratch,
                };
                Instance::start(launch.keys(&keys), keys).await
            }
        }
    }

    /// Why a case says nothing about this subject.
    fn inapplicable(&self, case: &Case) -> Option<&'static str> {
        match self {
            Self::Foreign(_) if !case.runs_anywhere() => Some("it needs a host that the suite starts"),
            Self::Program { store: Store::Memory, .. } if case.needs.contains(&Need::PersistentStore) => {
                Some("the memory store ends with its process")
            }
            Self::Program { .. } if case.needs.contains(&Need::Addresses) => {
                (!cfg!(target_os = "linux")).then_some("this machine answers on 127.0.0.1 alone")
            }
            Self::Program { .. } | Self::Foreign(_) => None,
        }
    }
}

fn configuration(case: &Case) -> serde_json::Value {
    let members = case.config.map_or_else(|| json!({}), |config| config());
    let clock = if case.needs.contains(&Need::StillClock) { json!({"still_clock": true}) } else { json!({}) };
    overlay(overlay(default_config(), clock), members)
}

/// Processes that cases of one configuration share on one subject, each started by the first that asks.
type Shared = HashMap<(usize, String, KeyKind), Arc<OnceCell<Arc<Instance>>>>;

/// Whether a case reaches a subject, given whether its host and its store are the first of the run.
fn reaches(case: &Case, (first_host, first_store): (bool, bool)) -> bool {
    match case.reach {
        Reach::All => true,
        Reach::Axes => first_host || first_store,
        Reach::One => first_host && first_store,
    }
}

/// Runs cases on subjects, at most `jobs` at once, and adds what they found to the report.
///
/// There is one queue for all subjects, so that the machine does not wait for the last case of each.
pub(crate) async fn run(
    subjects: &[Subject],
    cases: &[&'static Case],
    jobs: usize,
    known: &dyn Fn(&str, &str) -> Option<String>,
    report: &mut Report,
) {
    let Some(first) = subjects.first().map(Subject::names) else { return };
    let mut shared = Shared::new();
    let mut waiting = VecDeque::new();
    for (at, subject) in subjects.iter().enumerate() {
        let (host, store) = subject.names();
        let here = (host == first.0, store == first.1);
        for case in cases {
            let cell = (!case.alone()).then(|| {
                let key = (at, configuration(case).to_string(), case.key);
                shared.entry(key).or_default().clone()
            });
            waiting.push_back((subject, *case, cell, reaches(case, here)));
        }
    }
    // From here only the cases hold their process, so it ends with the last of them.
    drop(shared);
    let total = waiting.len();
    let mut done = 0;
    let mut running = JoinSet::new();
    let mut asked = HashMap::new();
    let mut tick = Instant::now();
    loop {
        while running.len() < jobs.max(1) {
            let Some((subject, case, cell, reached)) = waiting.pop_front() else {
                break;
            };
            let running_on = subject.clone();
            let task = running.spawn(async move {
                let begun = Instant::now();
                let outcome = match timeout(PATIENCE, one(&running_on, case, cell, reached)).await {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        let problem = format!("the case did not end within {} s", PATIENCE.as_secs());
                        (Err(harness(problem)), Vec::new())
                    }
                };
                (outcome, begun.elapsed().as_millis())
            });
            asked.insert(task.id(), (subject, case));
        }
        let Some(ended) = running.join_next_with_id().await else {
            break;
        };
        let (task, (outcome, notes), milliseconds) = match ended {
            Ok((task, (ended, milliseconds))) => (task, ended, milliseconds),
            Err(error) => {
                let problem = harness(format!("the case panicked: {error}"));
                (error.id(), (Err(problem), Vec::new()), 0)
            }
        };
        let Some((subject, case)) = asked.remove(&task) else {
            continue;
        };
        let (host, store) = subject.names();
        let known = known(case.id, host);
        let mut record = Record::new((host, store), case, outcome, known.as_deref(), milliseconds);
        record.notes = notes;
        report.announce(&record, case);
        report.records.push(record);
        done += 1;
        if done == total || tick.elapsed() > Duration::from_secs(10) {
            tick = Instant::now();
            Report::progress(done, total, host, store);
        }
    }
}

async fn one(
    subject: &Subject,
    case: &'static Case,
    cell: Option<Arc<OnceCell<Arc<Instance>>>>,
    reached: bool,
) -> (Outcome, Vec<String>) {
    if !reached {
        return (Err(not_applicable("it runs on other hosts and stores of this run")), Vec::new());
    }
    if let Some(why) = subject.inapplicable(case) {
        return (Err(not_applicable(why)), Vec::new());
    }
    let instance = match &cell {
        Some(cell) => cell.get_or_try_init(|| subject.start(case)).await.cloned(),
        None => subject.start(case).await,
    };
    match instance {
        Ok(instance) => {
            let host = Host::new(instance);
            let outcome =
                if case.vectors { vectors::judge(&host, case.id).await } else { (case.run)(&host).await };
            (outcome, host.into_notes())
        }
        Err(failure) => (Err(failure), Vec::new()),
    }
}

/// Starts the broken host with one fault and demands that every listed case fails.
pub(crate) async fn run_fault(
    program: &Path,
    store: &Store,
    fault: &str,
    cases: &[&'static Case],
    jobs: usize,
    report: &mut Report,
) {
    let subject = Subject::Program {
        host: "broken".to_owned(),
        program: program.to_owned(),
        arguments: vec!["--fault".to_owned(), fault.to_owned()],
        store: store.clone(),
    };
    let mut missed = Vec::new();
    let mut running = JoinSet::new();
    let mut waiting = cases.iter();
    loop {
        while running.len() < jobs.max(1) {
            let Some(&case) = waiting.next() else { break };
            let subject = subject.clone();
            running.spawn(async move { (case, timeout(PATIENCE, one(&subject, case, None, true)).await) });
        }
        match running.join_next().await {
            None => break,
            // Only the verdict counts: a fault that keeps cases from running is noticed by nothing.
            Some(Ok((_, Ok((Err(Failure::Failed { .. }), _))))) => {}
            Some(Ok((case, Ok((Ok(()), _))))) => missed.push(format!("{} passes", case.id)),
            Some(Ok((case, Ok((Err(failure), _))))) => {
                missed.push(format!("{} gives no verdict: {failure:?}", case.id));
            }
            Some(Ok((case, Err(_)))) => missed.push(format!("{} does not end", case.id)),
            Some(Err(error)) => missed.push(format!("a case panicked: {error}")),
        }
    }
    if cases.is_empty() {
        missed.push("no case is listed".to_owned());
    }
    report.fault(Fault { name: fault.to_owned(), missed });
}
