//! Python and the packages that some commands use. Building Gatekey needs none of them.
//!
//! Python is taken as installed, or installed by apt on Debian as root, which is announced. The packages are those of a
//! `requirements.txt` in `tests`, each with its version, and go into a `venv` in the folder of the same name in `target`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{
    node::installed,
    run::root,
    services::{NotRun, install},
};

/// A Python with the packages of a folder of `tests`.
pub(crate) fn with_packages_of(folder: &str) -> Result<PathBuf, NotRun> {
    let program = installed(&["python3"], "python3")?;
    let target = format!("target/{folder}");
    let home = root().join(&target);
    let failed = |error| NotRun::because(&target, error);
    fs::create_dir_all(&home).map_err(failed)?;
    let home = home.canonicalize().map_err(failed)?;
    let (venv, wanted) = (home.join("venv"), root().join("tests").join(folder).join("requirements.txt"));
    let python = venv.join("bin/python");
    // Written last, so that half an installation is none.
    let complete = home.join("requirements.txt");
    if fs::read(&complete).is_ok_and(|have| fs::read(&wanted).is_ok_and(|want| have == want)) {
        return Ok(python);
    }
    println!("installing Python packages into {target}/venv: pip install -r tests/{folder}/requirements.txt");
    let quiet = |command: &mut Command| {
        let status = command.current_dir(&home).stdin(Stdio::null()).stdout(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let make = || quiet(Command::new(&program).args(["-m", "venv", "--clear"]).arg(&venv));
    // Debian has the module in a package of its own.
    if !make() {
        install("python3-venv")?;
        if !make() {
            return Err(NotRun("python3 -m venv failed".to_owned()));
        }
    }
    let flags = ["-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", "-r"];
    if !quiet(Command::new(&python).args(flags).arg(&wanted)) {
        return Err(NotRun(format!("pip install failed in {target}/venv")));
    }
    fs::copy(&wanted, &complete).map_err(failed)?;
    Ok(python)
}
