//! `cargo xtask browser`: gatekey.js and the page of the examples, in Chromium and in Node, against real hosts.
//!
//! What it needs it takes as installed, or installs: the packages of `tests/browser` with npm, and on Debian as root
//! Chromium, faketime and nginx with apt, which is announced. Where something cannot be had, the tests are 'not run'. The tests
//! are in `tests/browser`; pictures of what they saw are left in `target/browser/screenshots`.

use std::path::{Path, PathBuf};

use crate::{
    js,
    node::{Node, installed},
    run::{Failed, cargo, root, run},
    services::NotRun,
};

/// The programs that serve the page, as a newcomer starts them.
const EXAMPLES: &[&str] = &["quickstart", "actix-quickstart", "rocket-quickstart"];

/// Those that serve it over HTTPS.
const OVER_TLS: &[&str] = &["https", "behind-nginx"];

/// The one with pages of its own.
const WITHOUT_SCRIPT: &str = "axum-pages";

/// `cargo xtask browser`.
pub(crate) fn browser(arguments: Vec<String>) -> Result<(), Failed> {
    let tools = Tools::find().map_err(|NotRun(why)| Failed(format!("not run: {why}")))?;
    browser_with(&tools, arguments)
}

/// What the tests need.
#[derive(Debug)]
pub(crate) struct Tools {
    node: Node,
    chromium: PathBuf,
    faketime: PathBuf,
    /// The examples over TLS that can be started here.
    over_tls: Vec<&'static str>,
    /// Why one of them cannot.
    missing: Option<String>,
}

impl Tools {
    pub(crate) fn find() -> Result<Self, NotRun> {
        let mut over_tls = OVER_TLS.to_vec();
        // The example finds it by itself.
        let missing = installed(&["nginx"], "nginx-light").err().map(|NotRun(why)| why);
        if let Some(why) = &missing {
            println!("not run: behind-nginx: {why}");
            over_tls.retain(|name| *name != "behind-nginx");
        }
        Ok(Self {
            node: Node::find()?,
            chromium: installed(&["chromium", "chromium-browser", "google-chrome-stable"], "chromium")?,
            faketime: installed(&["faketime"], "faketime")?,
            over_tls,
            missing,
        })
    }

    /// The same, and without nginx it is as if there were none of them.
    pub(crate) fn all(self) -> Result<Self, NotRun> {
        self.missing.clone().map_or(Ok(self), |why| Err(NotRun(why)))
    }
}

/// The same with tools that were found already.
pub(crate) fn browser_with(tools: &Tools, arguments: Vec<String>) -> Result<(), Failed> {
    js::make(&tools.node, false)?;
    let mut build = cargo(&["build", "--quiet", "--locked", "--package", "gatekey-hosts"]);
    let examples: Vec<_> =
        EXAMPLES.iter().filter(|name| root().join("examples").join(name).is_dir()).collect();
    let programs = examples.iter().copied().chain(&tools.over_tls).chain(&[WITHOUT_SCRIPT]);
    run(build.args(programs.flat_map(|name| ["--package", name])))?;
    // This program is built into the same folder.
    let hosts = std::env::current_exe().map_err(|error| Failed(error.to_string()))?;
    let hosts = hosts.parent().map(Path::to_owned).unwrap_or_default();
    let out = tools.node.home();
    let mut tests = tools.node.command();
    tests.arg("tests/browser/run.mjs");
    for (flag, path) in [
        ("--modules", out.join("node_modules")),
        ("--chromium", tools.chromium.clone()),
        ("--faketime", tools.faketime.clone()),
        ("--hosts", hosts),
        ("--out", out.to_owned()),
    ] {
        tests.arg(flag).arg(path);
    }
    tests.args(examples.iter().flat_map(|name| ["--example", name]));
    tests.args(tools.over_tls.iter().flat_map(|name| ["--over-tls", name]));
    run(tests.args(arguments))
}
