//! `cargo xtask interop`: foreign software verifies our tokens, drives our endpoints, and signs tokens for our `Verifier`.
//!
//! The scripts are in `tests/interop`, one for each library; `docs/interop.md` says what each shows. npm packages go
//! into `target/interop` and Python ones into `target/interop/venv`, each of a version that is written down. Node, npm and
//! Python are taken as installed, or installed by apt on Debian as root, which is announced; where one cannot be had, its
//! scripts are 'not run', and `--require-all` fails.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    node::Node,
    python,
    run::{Failed, Steps, cargo, root, run},
    services::NotRun,
};

/// A library, and the script that it runs.
const SCRIPTS: &[(&str, &str)] = &[
    ("jose", "jose.mjs"),
    ("jsonwebtoken", "jsonwebtoken.mjs"),
    ("oauth4webapi", "oauth4webapi.mjs"),
    ("PyJWT", "py_jwt.py"),
    ("Authlib", "py_authlib.py"),
    ("OpenAPI", "openapi.py"),
];

/// `cargo xtask interop [NAME…] [--require-all]`.
pub(crate) fn interop(mut arguments: Vec<String>) -> Result<(), Failed> {
    let given = arguments.len();
    arguments.retain(|argument| argument != "--require-all");
    let require_all = arguments.len() < given;
    if let Some(unknown) = arguments.iter().find(|name| !SCRIPTS.iter().any(|(known, _)| known == name)) {
        let known: Vec<_> = SCRIPTS.iter().map(|(name, _)| *name).collect();
        return Err(Failed(format!("{unknown:?} is none of {}", known.join(", "))));
    }
    let mut steps = Steps::default();
    interop_steps(&mut steps, require_all, |name| {
        arguments.is_empty() || arguments.iter().any(|wanted| wanted == name)
    });
    steps.end()
}

/// A step for each script that is wanted.
pub(crate) fn interop_steps(steps: &mut Steps, require_all: bool, wanted: impl Fn(&str) -> bool) {
    let scripts: Vec<_> = SCRIPTS.iter().filter(|(name, _)| wanted(name)).collect();
    let in_python = |script: &str| Path::new(script).extension().is_some_and(|extension| extension == "py");
    let find = |python: bool, find: fn() -> Result<Runner, NotRun>| {
        scripts.iter().any(|(_, script)| in_python(script) == python).then(find)
    };
    let (node, python) = (find(false, node), find(true, python));
    let mut built = None;
    for (name, script) in scripts {
        let repeat = format!("cargo xtask interop {name}");
        match if in_python(script) { &python } else { &node } {
            Some(Ok(runner)) => steps.call(name, &repeat, || match built.get_or_insert_with(build) {
                Ok(hosts) => run(runner.script(script, hosts).stdin(Stdio::null())),
                Err(Failed(why)) => Err(Failed(why.clone())),
            }),
            Some(Err(NotRun(why))) if require_all => {
                steps.call(name, &repeat, || Err(Failed(format!("not run: {why}"))));
            }
            Some(Err(NotRun(why))) => steps.not_run(name, why),
            None => {}
        }
    }
}

/// The hosts; the folder they are in.
fn build() -> Result<PathBuf, Failed> {
    let hosts = ["--bin", "host-axum", "--bin", "verifier"];
    run(cargo(&["build", "--quiet", "--locked", "--package", "gatekey-hosts"]).args(hosts))?;
    // This program is built into the same folder.
    let own = std::env::current_exe().map_err(|error| Failed(error.to_string()))?;
    Ok(own.parent().map(Path::to_owned).unwrap_or_default())
}

/// What runs a script, and where its packages are.
enum Runner {
    Node(Node),
    Python(PathBuf),
}

impl Runner {
    fn script(&self, script: &str, hosts: &Path) -> Command {
        let mut command = match self {
            Self::Node(node) => {
                let mut command = node.command();
                command.env("INTEROP_HOME", node.home());
                command
            }
            Self::Python(python) => {
                let mut command = Command::new(python);
                // Nothing is written beside the scripts.
                command.current_dir(root()).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
                command
            }
        };
        command.arg(root().join("tests/interop").join(script)).env("INTEROP_HOSTS", hosts);
        command
    }
}

fn node() -> Result<Runner, NotRun> {
    Node::with_packages_of("interop").map(Runner::Node)
}

fn python() -> Result<Runner, NotRun> {
    python::with_packages_of("interop").map(Runner::Python)
}
