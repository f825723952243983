//! One application on two nodes: `cargo run -p cluster`, then open the addresses it prints.
//!
//! Users and sessions are in PostgreSQL, counters of attempts in Redis. Both are those of `DATABASE_URL` and `REDIS_URL`,
//! or else private ones, started from installed programs and gone with what they held when this ends.
//!
//! `cluster` starts the nodes as processes of their own and takes connections for them, in turn. `cluster node` is a node:
//! the quickstart with other stores. What to try:
//!
//! - Log in on the page, and open the other node's page in the same browser: logged in as well.
//! - Log in from a second browser. End its session in the first one's list on one node: the other refuses it at once.
//! - `kill` a node. The page goes on; whoever was logged in still is.

#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

mod front;
mod node;

use std::{
    net::SocketAddr,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use example_start::Outcome;
use gatekey::Keys;
use gatekey_services::{Durability, NotRun, Service, server::send};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

/// How long a node may take to serve, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    example_start::exit(run())
}

fn run() -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    if std::env::args().nth(1).is_some_and(|argument| argument == "node") {
        return runtime.block_on(node::run());
    }
    // By the thread that lives longest: the kernel ends private servers with the thread that started them.
    let (postgres, redis) = servers()?;
    println!("PostgreSQL: {}\nRedis: {}", postgres.about(), redis.about());
    // The nodes end before the servers that they use; those end as they are dropped.
    let served = runtime.block_on(cluster(&postgres, &redis));
    drop((postgres, redis));
    served
}

async fn cluster(postgres: &Service, redis: &Service) -> Outcome {
    let listen = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&listen).await.map_err(|error| format!("LISTEN={listen}: {error}"))?;
    let address = listener.local_addr()?;
    let issuer = format!("http://{address}");
    // Made here, in the folder that both nodes run in: they find them.
    drop(Keys::load_or_create("gatekey.keys")?);

    let mut nodes = Vec::new();
    for number in 1..=2 {
        let address = SocketAddr::new(address.ip(), node_port(address.port(), number).await?);
        nodes.push(Node::start(address, &issuer, postgres, redis)?);
    }
    for (number, node) in (1..).zip(&mut nodes) {
        node.serves().await?;
        let process = node.child.id().unwrap_or_default();
        println!("node {number}: http://{} (process {process})", node.address);
    }
    example_start::ready(&issuer);
    let addresses = nodes.iter().map(|node| node.address).collect();
    tokio::select! {
        () = front::serve(listener, addresses) => {}
        caught = tokio::signal::ctrl_c() => caught?,
    }
    for node in nodes {
        node.end().await?;
    }
    Ok(())
}

/// PostgreSQL and Redis.
fn servers() -> Result<(Service, Service), String> {
    let why = |NotRun(why)| why;
    let postgres = gatekey_services::postgres::postgres(Durability::Fast).map_err(why)?;
    let redis = gatekey_services::redis::redis(Durability::Fast).map_err(why)?;
    Ok((postgres, redis))
}

/// The ports after that of the front, unless it was left to the system to choose.
async fn node_port(front: u16, number: u16) -> Outcome<u16> {
    let next = front.saturating_add(number);
    for port in [next, 0] {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return Ok(listener.local_addr()?.port());
        }
    }
    Err("no port for a node".into())
}

/// A node: this program once more.
struct Node {
    child: Child,
    address: SocketAddr,
}

impl Node {
    fn start(address: SocketAddr, issuer: &str, postgres: &Service, redis: &Service) -> Outcome<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg("node")
            .env("LISTEN", address.to_string())
            .env("ISSUER", issuer)
            .env("DATABASE_URL", postgres.url())
            .env("REDIS_URL", redis.url())
            // It ends when this pipe does, so that none is left behind however this process ends.
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self { child, address })
    }

    /// Waits until it takes connections.
    async fn serves(&mut self) -> Outcome {
        let started = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the node of {} ended: {status}", self.address).into());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("the node of {} does not serve", self.address).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Lets it answer what it was asked, and end.
    async fn end(mut self) -> Outcome {
        if let Some(process) = self.child.id() {
            // It may have ended meanwhile: a terminal's Ctrl-C goes to the nodes too.
            let _ = send("INT", process);
            if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
                self.child.kill().await?;
            }
        }
        Ok(())
    }
}
