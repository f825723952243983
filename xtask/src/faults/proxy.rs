//! A proxy that delays: a server behind it is slow, or silent.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{sleep, spawn},
    time::Duration,
};

/// What it does at the moment.
#[derive(Default)]
struct State {
    /// Milliseconds that whatever comes is kept back.
    delay: AtomicU64,
    /// Nothing is passed on. What comes meanwhile is passed on afterwards, too late.
    silent: AtomicBool,
    over: AtomicBool,
}

/// Listens on a port of its own until it is dropped.
pub(super) struct Proxy {
    pub(super) port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Stands before a port.
    pub(super) fn before(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let proxy = Self { port: listener.local_addr()?.port(), state: Arc::default() };
        let state = Arc::clone(&proxy.state);
        spawn(move || {
            for stream in listener.incoming().flatten() {
                if state.over.load(Ordering::Relaxed) {
                    return;
                }
                // A server that is away is one that hangs up.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    join(stream, server, &state);
                }
            }
        });
        Ok(proxy)
    }

    pub(super) fn delay(&self, by: Duration) {
        self.state.delay.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn silence(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Passes on both ways.
fn join(client: TcpStream, server: TcpStream, state: &Arc<State>) {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
    for (from, to) in [(client, server_too), (server, client_too)] {
        let state = Arc::clone(state);
        spawn(move || pass_on(from, to, &state));
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        sleep(Duration::from_millis(state.delay.load(Ordering::Relaxed)));
        while state.silent.load(Ordering::Relaxed) && !state.over.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(5));
        }
        let Some(chunk) = buffer.get(..size) else { break };
        if state.over.load(Ordering::Relaxed) || to.write_all(chunk).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
