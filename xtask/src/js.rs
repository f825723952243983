//! `cargo xtask js`: gatekey.js, from its one source to what is served and what is published.
//!
//! 1. The types that its comments tell are checked, strictly; they make `gatekey.d.ts`, which a program uses.
//! 2. It is minified into `crates/gatekey-http/src/js`, with its hash. It has to stay within 4 KB.
//! 3. The npm package carries the version of the crates and their licences, and these files alone: `npm pack` is asked.
//!
//! What these steps make is committed, so that nobody needs Node to build Gatekey. The command compares; with `--write`
//! it renews.

use std::{fs, path::Path, process::Command};

use crate::{
    node::Node,
    run::{Failed, root},
    services::NotRun,
};

const SOURCE: &str = "packages/gatekey-js/gatekey.js";
const TYPES: &str = "packages/gatekey-js/gatekey.d.ts";
const USER: &str = "tests/browser/types.ts";
const MINIFIED: &str = "crates/gatekey-http/src/js/gatekey.min.js";
const INTEGRITY: &str = "crates/gatekey-http/src/js/integrity.txt";
const PACKAGE: &str = "packages/gatekey-js";
/// What npm publishes.
const FILES: &[&str] =
    &["LICENSE-APACHE", "LICENSE-MIT", "README.md", "gatekey.d.ts", "gatekey.js", "package.json"];
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The most that the minified module may have, in bytes.
const LIMIT: usize = 4096;

/// `cargo xtask js`.
pub(crate) fn js(arguments: Vec<String>) -> Result<(), Failed> {
    let write = arguments == ["--write"];
    if !write {
        crate::run::no_arguments(&arguments)?;
    }
    let node = Node::find().map_err(|NotRun(why)| Failed(format!("not run: {why}")))?;
    make(&node, write)
}

/// Makes everything and compares it with what is committed, or writes it.
pub(crate) fn make(node: &Node, write: bool) -> Result<(), Failed> {
    let minified = minify(node)?;
    let integrity = output(node.command().args([
        "--eval",
        "const hash = require('crypto').createHash('sha384').update(process.argv[1]).digest('base64');
         process.stdout.write('sha384-' + hash)",
        &minified,
    ]))?;
    let types = types(node)?;

    for (path, text) in [(MINIFIED, &minified), (INTEGRITY, &integrity), (TYPES, &types)] {
        let path_here = root().join(path);
        if write {
            let written = fs::create_dir_all(path_here.parent().unwrap_or(&path_here))
                .and_then(|()| fs::write(&path_here, text));
            written.map_err(|error| Failed(format!("{path}: {error}")))?;
        } else if fs::read_to_string(&path_here).ok().as_ref() != Some(text) {
            return Err(Failed(format!("{path} is not what {SOURCE} gives: cargo xtask js --write")));
        }
    }
    output(
        node.tool("tsc")
            .args(["--ignoreConfig", "--strict", "--noEmit", "--target", "es2022", "--module", "es2022"])
            .args(["--lib", "es2022,dom", "--types", "", USER]),
    )?;
    package(node)?;
    println!("gatekey.js: {} bytes minified, {integrity}", minified.len());
    if minified.len() > LIMIT {
        return Err(Failed(format!("gatekey.js has more than {LIMIT} bytes")));
    }
    Ok(())
}

fn minify(node: &Node) -> Result<String, Failed> {
    let mut esbuild = node.tool("esbuild");
    esbuild.args([SOURCE, "--minify", "--format=esm", "--target=es2022", "--log-level=warning"]);
    output(esbuild.arg(format!("--banner:js=/*! gatekey.js {VERSION}, MIT OR Apache-2.0 */")))
}

fn types(node: &Node) -> Result<String, Failed> {
    let made = node.home().join("types");
    let mut tsc = node.tool("tsc");
    tsc.args([
        "--ignoreConfig",
        "--allowJs",
        "--checkJs",
        "--strict",
        "--noImplicitReturns",
        "--noUnusedLocals",
    ]);
    tsc.args(["--declaration", "--emitDeclarationOnly", "--target", "es2022", "--module", "es2022"]);
    tsc.args(["--lib", "es2022,dom,dom.iterable", "--types", "", "--outDir"]).arg(&made).arg(SOURCE);
    output(&mut tsc)?;
    let types = fs::read_to_string(made.join("gatekey.d.ts")).map_err(|error| Failed(error.to_string()))?;
    Ok(format!("// Made from the comments of gatekey.js by `cargo xtask js --write`.\n{types}"))
}

/// The published package agrees with the crates, and has what it should.
fn package(node: &Node) -> Result<(), Failed> {
    let folder = Path::new(PACKAGE);
    let packed = output(
        node.npm().args(["pack", "--dry-run", "--json", "--offline"]).current_dir(root().join(folder)),
    )?;
    let packed: serde_json::Value =
        serde_json::from_str(&packed).map_err(|error| Failed(format!("npm pack: {error}")))?;
    let mut files: Vec<_> = packed[0]["files"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|file| file["path"].as_str())
        .collect();
    files.sort_unstable();
    if files != FILES {
        return Err(Failed(format!("the package would be published with {files:?}, not {FILES:?}")));
    }
    let read = |path: &Path| {
        fs::read_to_string(root().join(path)).map_err(|error| Failed(format!("{}: {error}", path.display())))
    };
    let text = read(&folder.join("package.json"))?;
    let package: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Failed(format!("package.json: {error}")))?;
    if package["version"] != VERSION {
        return Err(Failed(format!("packages/gatekey-js/package.json is not of version {VERSION}")));
    }
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        if read(&folder.join(licence))? != read(Path::new(licence))? {
            return Err(Failed(format!("packages/gatekey-js/{licence} is not the repository's")));
        }
    }
    Ok(())
}

/// What a command prints; what it complains about, if it fails.
fn output(command: &mut Command) -> Result<String, Failed> {
    let output = command.output().map_err(|error| Failed(format!("{command:?}: {error}")))?;
    let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if !output.status.success() {
        return Err(Failed(format!("{}{}", text(&output.stdout), text(&output.stderr))));
    }
    String::from_utf8(output.stdout).map_err(|error| Failed(error.to_string()))
}
