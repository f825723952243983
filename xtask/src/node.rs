//! Node and the npm packages that some commands use. Building Gatekey needs none of them.
//!
//! Node and npm are taken as installed, or installed by apt on Debian as root, which is announced. The packages are
//! those of a `package-lock.json` in `tests`, each with its hash, and go into the folder of the same name in `target`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    run::root,
    services::{NotRun, install, program},
};

/// Node, with the packages in place.
#[derive(Debug)]
pub(crate) struct Node {
    program: PathBuf,
    npm: PathBuf,
    home: PathBuf,
}

/// A program, installed if need be.
pub(crate) fn installed(names: &[&str], package: &str) -> Result<PathBuf, NotRun> {
    if let Some(program) = program(names, &[]) {
        return Ok(program);
    }
    install(package)?;
    program(names, &[]).ok_or_else(|| NotRun(format!("{package} brought no {}", names.join(" or "))))
}

impl Node {
    /// Node with the packages of the browser tests.
    pub(crate) fn find() -> Result<Self, NotRun> {
        Self::with_packages_of("browser")
    }

    /// Node with the packages of a folder of `tests`.
    pub(crate) fn with_packages_of(folder: &str) -> Result<Self, NotRun> {
        let program = installed(&["node", "nodejs"], "nodejs")?;
        let npm = installed(&["npm"], "npm")?;
        let target = format!("target/{folder}");
        let home = root().join(&target);
        let failed = |error| NotRun::because(&target, error);
        fs::create_dir_all(&home).map_err(failed)?;
        let home = home.canonicalize().map_err(failed)?;
        let wanted = root().join("tests").join(folder);
        let lock = "package-lock.json";
        let same = |a: &Path, b: &Path| fs::read(a).is_ok_and(|a| fs::read(b).is_ok_and(|b| a == b));
        // npm writes this file last.
        let complete = home.join("node_modules/.package-lock.json").is_file();
        if !(complete && same(&wanted.join(lock), &home.join(lock))) {
            println!("installing npm packages into {target}: npm ci");
            let _ = fs::remove_file(home.join(lock));
            for name in ["package.json", lock] {
                fs::copy(wanted.join(name), home.join(format!("{name}.new"))).map_err(failed)?;
                fs::rename(home.join(format!("{name}.new")), home.join(name)).map_err(failed)?;
            }
            // No package may run a program of its own here.
            let flags = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
            let status = Command::new(&npm)
                .args(flags)
                .current_dir(&home)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status();
            if !status.is_ok_and(|status| status.success()) {
                let _ = fs::remove_file(home.join(lock));
                return Err(NotRun(format!("npm ci failed in {target}")));
            }
        }
        Ok(Self { program, npm, home })
    }

    /// Where the packages are, and what the tests leave behind.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// A program of a package: it is called without npm, which would look for updates.
    pub(crate) fn tool(&self, name: &str) -> Command {
        let mut command = self.command();
        command.arg(self.home.join("node_modules/.bin").join(name));
        command
    }

    /// npm, for what needs no network.
    pub(crate) fn npm(&self) -> Command {
        let mut command = Command::new(&self.npm);
        command.stdin(Stdio::null()).env("NPM_CONFIG_UPDATE_NOTIFIER", "false");
        command
    }

    /// Node itself, in the root of the repository.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(root()).stdin(Stdio::null());
        command
    }
}
