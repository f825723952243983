//! A private Redis or Valkey.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    Durability, NotRun, REDIS_CLUSTER_URLS, REDIS_URL, Service, free_port,
    server::{Home, Server, install, program},
};

/// One server, and its URL.
pub fn redis(durability: Durability) -> Result<Service, NotRun> {
    match Service::given(REDIS_URL) {
        Some(given) => Ok(given),
        None => private(durability, None),
    }
}

/// A server of our own in any case, on a disk of its own of so many megabytes if asked for.
pub fn private(durability: Durability, disk: Option<u32>) -> Result<Service, NotRun> {
    let binary = binary()?;
    let mut last = NotRun(String::new());
    // The free port may be taken by somebody else before the server has it.
    for _ in 0..3 {
        let started = free_port().and_then(|port| Ok((port, start(&binary, port, durability, disk, &[])?)));
        match started {
            Ok((port, server)) => {
                let durable = if durability == Durability::Durable { "durable" } else { "not durable" };
                return Ok(Service {
                    url: format!("redis://127.0.0.1:{port}/"),
                    about: format!("a private {}, {durable}", name(&binary)),
                    servers: vec![server],
                });
            }
            Err(failed) => last = failed,
        }
    }
    Err(last)
}

/// Three masters with a replica each, and the URLs of all.
pub fn redis_cluster(durability: Durability) -> Result<Service, NotRun> {
    match Service::given(REDIS_CLUSTER_URLS) {
        Some(given) => Ok(given),
        None => private_cluster(durability),
    }
}

/// A cluster of our own in any case.
pub fn private_cluster(durability: Durability) -> Result<Service, NotRun> {
    let binary = binary()?;
    let mut servers = Vec::new();
    let mut ports = Vec::new();
    while servers.len() < NODES {
        let (port, server) = start_node(&binary, durability)?;
        servers.push(server);
        ports.push(port);
    }
    let client = client()?;
    let home = Home::new("redis-cli")?;
    let mut create = home.command(&client);
    create.args(["--cluster", "create"]).args(ports.iter().map(|port| format!("127.0.0.1:{port}")));
    home.run(create.args(["--cluster-replicas", "1", "--cluster-yes"]))?;
    wait_until_whole(&ports)?;
    let urls: Vec<_> = ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect();
    Ok(Service {
        url: urls.join(","),
        about: format!("a private cluster of {NODES} {}", name(&binary)),
        servers,
    })
}

/// The smallest cluster that can lose a master.
const NODES: usize = 6;

fn start_node(binary: &Path, durability: Durability) -> Result<(u16, Server), NotRun> {
    let mut last = NotRun(String::new());
    // A node needs a second port, ten thousand above: either may be taken before the server has it.
    for _ in 0..10 {
        let started = free_port().and_then(|port| {
            if port > u16::MAX - 10_000 {
                return Err(NotRun(format!("port {port} is too high for a node of a cluster")));
            }
            let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"];
            Ok((port, start(binary, port, durability, None, &arguments)?))
        });
        match started {
            Ok(started) => return Ok(started),
            Err(failed) => last = failed,
        }
    }
    Err(last)
}

/// Waits until each node sees all slots served. Those that have not heard of it yet would refuse the first questions.
fn wait_until_whole(ports: &[u16]) -> Result<(), NotRun> {
    let started = Instant::now();
    for port in ports {
        while !says(*port, b"CLUSTER INFO\r\n", b"cluster_state:ok") {
            if started.elapsed() > Duration::from_secs(30) {
                return Err(NotRun("the cluster's nodes do not find each other".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// The program that asks a server: it belongs to the server's own package, or is installed with it.
pub fn client() -> Result<PathBuf, NotRun> {
    let folder = binary()?.parent().map(Path::to_owned);
    program(&["redis-cli", "valkey-cli"], folder.as_slice())
        .ok_or_else(|| NotRun("redis-cli is nowhere".to_owned()))
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
fn start(
    binary: &Path,
    port: u16,
    durability: Durability,
    disk: Option<u32>,
    arguments: &[&str],
) -> Result<Server, NotRun> {
    let home = match disk {
        None => Home::new(name(binary))?,
        Some(megabytes) => Home::on_small_disk(name(binary), megabytes)?,
    };
    let mut server = home.command(binary);
    server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    server.arg("--dir").arg(home.path());
    server.args(match durability {
        Durability::Fast => ["--appendonly", "no"].as_slice(),
        Durability::Durable => &["--appendonly", "yes", "--appendfsync", "always"],
    });
    server.args(arguments);
    home.serve(server, move |_, _| answers(port))
}

/// Whether a server on that port says PONG.
fn answers(port: u16) -> bool {
    says(port, b"PING\r\n", b"+PONG")
}

/// Whether a server's answer to a question has these words in it.
fn says(port: u16, question: &[u8], words: &[u8]) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(question)?;
        let mut answer = vec![0; 4096];
        let size = stream.read(&mut answer)?;
        answer.truncate(size);
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.windows(words.len()).any(|window| window == words))
}
