//! A private Redis or Valkey.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Durability, NotRun, REDIS_URL, Service, free_port,
    server::{Home, Server, install, program},
};

/// One server, and its URL.
pub(crate) fn redis(durability: Durability) -> Result<Service, NotRun> {
    if let Some(given) = Service::given(REDIS_URL) {
        return Ok(given);
    }
    let binary = binary()?;
    let mut last = NotRun(String::new());
    // The free port may be taken by somebody else before the server has it.
    for _ in 0..3 {
        let started = free_port().and_then(|port| Ok((port, start(&binary, port, durability, &[])?)));
        match started {
            Ok((port, server)) => {
                let durable = if durability == Durability::Durable { "durable" } else { "not durable" };
                return Ok(Service {
                    url: format!("redis://127.0.0.1:{port}/"),
                    about: format!("a private {}, {durable}", name(&binary)),
                    _servers: vec![server],
                });
            }
            Err(failed) => last = failed,
        }
    }
    Err(last)
}

/// The server program, installed if need be.
fn binary() -> Result<PathBuf, NotRun> {
    const NAMES: &[&str] = &["redis-server", "valkey-server"];
    if let Some(found) = program(NAMES, &[]) {
        return Ok(found);
    }
    install("redis-server")?;
    program(NAMES, &[]).ok_or_else(|| NotRun("redis-server is nowhere".to_owned()))
}

fn name(binary: &Path) -> &str {
    binary.file_stem().and_then(|name| name.to_str()).unwrap_or("redis-server")
}

/// Starts one server on that port, with further arguments (`--cluster-enabled yes`), and waits until it answers.
fn start(binary: &Path, port: u16, durability: Durability, arguments: &[&str]) -> Result<Server, NotRun> {
    let home = Home::new(name(binary))?;
    let mut server = home.command(binary);
    server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    server.arg("--dir").arg(home.path());
    server.args(match durability {
        Durability::Fast => ["--appendonly", "no"].as_slice(),
        Durability::Durable => &["--appendonly", "yes", "--appendfsync", "always"],
    });
    server.args(arguments);
    home.serve(&mut server, |_| answers(port))
}

/// Whether a server on that port says PONG.
fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"+PONG")
    };
    ask().unwrap_or(false)
}
