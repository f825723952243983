//! A private PostgreSQL.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    DATABASE_URL, Durability, NotRun, Service, free_port,
    server::{Home, install, program},
};

/// A PostgreSQL server, and a superuser's URL.
pub fn postgres(durability: Durability) -> Result<Service, NotRun> {
    match Service::given(DATABASE_URL) {
        Some(given) => Ok(given),
        None => private(durability, None),
    }
}

/// A server of our own in any case, on a disk of its own of so many megabytes if asked for.
pub fn private(durability: Durability, disk: Option<u32>) -> Result<Service, NotRun> {
    if binaries().is_none() {
        install("postgresql")?;
    }
    let binaries = binaries().ok_or_else(|| NotRun("PostgreSQL's initdb is nowhere".to_owned()))?;
    let mut last = NotRun(String::new());
    // The free port may be taken by somebody else before the server has it.
    for _ in 0..3 {
        match start(&binaries, durability, disk) {
            Ok(service) => return Ok(service),
            Err(failed) => last = failed,
        }
    }
    Err(last)
}

/// The folder of initdb and postgres. Debian keeps them out of `PATH`, by version.
pub fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        std::cmp::Reverse(version.and_then(|version| version.parse::<u32>().ok()))
    });
    // What postgres needs lies beside the program itself, not beside a link to it.
    let initdb = program(&["initdb"], &folders)?.canonicalize().ok()?;
    let folder = initdb.parent()?.to_owned();
    folder.join("postgres").is_file().then_some(folder)
}

fn start(binaries: &Path, durability: Durability, disk: Option<u32>) -> Result<Service, NotRun> {
    let home = match disk {
        None => Home::new("postgres")?,
        Some(megabytes) => Home::on_small_disk("postgres", megabytes)?,
    };
    let port = free_port()?;
    let data = home.path().join("data");
    let password = random_password()?;
    let password_file = home.path().join("password");
    fs::write(&password_file, &password).map_err(|error| NotRun::because("the password", error))?;
    let mut initdb = home.command(&binaries.join("initdb"));
    // The password goes over this machine's loopback as it is: SCRAM costs a debug build half a second a connection.
    initdb.args(["--username=gatekey", "--auth=password", "--encoding=UTF8", "--locale=C"]);
    if disk.is_some() {
        initdb.arg("--wal-segsize=1");
    }
    initdb.arg("--no-sync").arg("--pwfile").arg(&password_file).arg("--pgdata").arg(&data);
    home.run(&mut initdb)?;

    let mut settings = vec![
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        // Every host program of the suite has a pool of its own.
        "max_connections=500".to_owned(),
        "shared_buffers=64MB".to_owned(),
    ];
    if durability == Durability::Fast {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    if make_certificate(&home, &data) {
        settings.push("ssl=on".to_owned());
    }
    if has_statement_statistics(binaries) {
        settings.push("shared_preload_libraries=pg_stat_statements".to_owned());
    }
    let mut server = home.command(&binaries.join("postgres"));
    server.arg("-D").arg(&data);
    for setting in &settings {
        server.arg("-c").arg(setting);
    }
    let server = home.serve(server, |home, process| {
        // The first line is the process: a server that was killed leaves the file behind. The eighth is the server's
        // state, as pg_ctl reads it.
        let state = fs::read_to_string(home.path().join("data/postmaster.pid")).unwrap_or_default();
        let mut lines = state.lines().map(str::trim);
        lines.next() == Some(&process.to_string()) && lines.nth(6) == Some("ready")
    })?;
    let durable = if durability == Durability::Durable { "durable" } else { "not durable" };
    Ok(Service {
        url: format!("postgres://gatekey:{password}@127.0.0.1:{port}/postgres"),
        about: format!("a private PostgreSQL {}, {durable}", version(binaries)),
        servers: vec![server],
    })
}

/// Makes the server a certificate for 127.0.0.1, signed by itself, where `openssl` is installed. The files have the names
/// that PostgreSQL looks for.
fn make_certificate(home: &Home, data: &Path) -> bool {
    let Some(openssl) = program(&["openssl"], &[]) else { return false };
    let mut request = home.command(&openssl);
    request.args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt"]);
    request.args(["ec_paramgen_curve:prime256v1", "-subj", "/CN=private PostgreSQL"]);
    request.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    request.args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
    request.arg("-keyout").arg(data.join("server.key")).arg("-out").arg(data.join("server.crt"));
    home.run(&mut request).is_ok()
}

/// Only the tests that are given it may connect, not everybody on this machine.
fn random_password() -> Result<String, NotRun> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| NotRun::because("/dev/urandom", error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn first_line(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn version(binaries: &Path) -> String {
    let line = first_line(&binaries.join("postgres"), "--version");
    line.split(' ').nth(2).unwrap_or("of an unknown version").to_owned()
}

/// Whether `pg_stat_statements` is installed: tests count statements with it.
fn has_statement_statistics(binaries: &Path) -> bool {
    let beside = binaries.parent().map(|parent| parent.join("lib")).unwrap_or_default();
    // Only development packages bring pg_config; Debian keeps libraries beside the programs.
    let folders = [PathBuf::from(first_line(&binaries.join("pg_config"), "--pkglibdir")), beside];
    folders.iter().any(|folder| folder.join("pg_stat_statements.so").is_file())
}
