//! A load generator. HTTP/1.1 on bare sockets, since whatever it costs is taken from the server on the same machine; a
//! refresh needs the answer to the one before; and a flood must not sleep.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{JoinSet, LocalSet, spawn_local},
};

use crate::{
    issue::{NAME, PASSWORD},
    measure::{Fault, quantile},
};

/// A connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer: its status, and the place of its body in the buffer.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let (mut body, mut end) = (0, usize::MAX);
        while self.buffer.len() < end {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if body == 0
                && let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n")
            {
                body = at + 4;
                end = body + content_length(&self.buffer[..at]).ok_or_else(bad)?;
            }
        }
        let status = self.buffer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        let status = status.and_then(|digits| digits.parse().ok()).ok_or_else(bad)?;
        Ok(Answer { status, body: &self.buffer[body..end] })
    }
}

/// None for an answer that tells no length: ours all do, but for those without a body.
fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let field = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    match field {
        Some(length) => length.parse().ok(),
        None => head.get(9..12).filter(|status| *status == "204").map(|_| 0),
    }
}

/// A request with a JSON body.
pub(crate) fn post(path: &str, fields: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: auth.test\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// With this before it a credential is the value of the header of cookies, else it is an access token.
pub(crate) const COOKIE: &str = "cookie: ";

/// A request with an access token or cookies.
pub(crate) fn get(path: &str, credential: &str) -> Vec<u8> {
    let bearer = if credential.starts_with(COOKIE) { "" } else { "authorization: Bearer " };
    format!("GET {path} HTTP/1.1\r\nhost: auth.test\r\n{bearer}{credential}\r\n\r\n").into_bytes()
}

/// The request of a login.
pub(crate) fn login(name: &str, password: &str) -> Vec<u8> {
    post("/auth/login", "", &format!("{{\"username\":\"{name}\",\"password\":\"{password}\"}}"))
}

/// One client: a connection and its session.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) access: String,
    refresh: String,
}

impl Client {
    /// Logs in.
    pub(crate) async fn log_in(to: SocketAddr) -> Result<Self, Fault> {
        let mut connection = Connection::open(to).await?;
        let answer = connection.ask(&login(NAME, PASSWORD)).await?;
        let (access, refresh) = tokens(&answer)?;
        Ok(Self { connection, access, refresh })
    }

    /// Several of them.
    pub(crate) async fn several(to: SocketAddr, count: usize) -> Result<Vec<Self>, Fault> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Self::log_in(to).await?);
        }
        Ok(clients)
    }

    /// Swaps the refresh token.
    pub(crate) async fn refresh(&mut self) -> Result<(), Fault> {
        let body = format!("{{\"grant_type\":\"refresh_token\",\"refresh_token\":\"{}\"}}", self.refresh);
        let answer = self.connection.ask(&post("/auth/token", "", &body)).await?;
        let refresh = member(answer.body, "refresh_token");
        match (answer.status, refresh) {
            (200, Some(refresh)) => {
                self.refresh.clear();
                self.refresh.push_str(refresh);
                Ok(())
            }
            (status, _) => Err(format!("a refresh was answered {status}").into()),
        }
    }

    /// Ends the session.
    pub(crate) async fn log_out(&mut self) -> Result<(), Fault> {
        let fields = format!("authorization: Bearer {}\r\n", self.access);
        let answer = self.connection.ask(&post("/auth/logout", &fields, "")).await?;
        if answer.status == 204 {
            Ok(())
        } else {
            Err(format!("a logout was answered {}", answer.status).into())
        }
    }
}

/// Logs in over and over, and returns the access tokens.
pub(crate) async fn log_ins(to: SocketAddr, count: usize) -> Result<Vec<String>, Fault> {
    let (mut connection, request) = (Connection::open(to).await?, login(NAME, PASSWORD));
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        all.push(tokens(&connection.ask(&request).await?)?.0);
    }
    Ok(all)
}

fn tokens(answer: &Answer<'_>) -> Result<(String, String), Fault> {
    if answer.status != 200 {
        return Err(format!("a login was answered {}", answer.status).into());
    }
    let body: Value = serde_json::from_slice(answer.body)?;
    let member = |name: &str| body[name].as_str().map(str::to_owned);
    Ok((member("access_token").ok_or("no access_token")?, member("refresh_token").ok_or("no refresh_token")?))
}

/// A string of a JSON object of ours, found without reading the rest: tokens have no escapes.
fn member<'a>(json: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(json).ok()?;
    let start = text.find(&format!("\"{name}\":\""))? + name.len() + 4;
    text[start..].split('"').next()
}

/// Refreshes a second, by all clients at once, each its own session over and over.
pub(crate) async fn refreshes(clients: &mut Vec<Client>, during: Duration) -> Result<f64, Fault> {
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for mut client in clients.drain(..) {
        tasks.spawn(async move {
            let mut count = 0_u32;
            while started.elapsed() < during {
                client.refresh().await?;
                count += 1;
            }
            Ok::<_, Fault>((client, count))
        });
    }
    let mut all = 0.0;
    while let Some(done) = tasks.join_next().await {
        let (client, count) = done??;
        all += f64::from(count);
        clients.push(client);
    }
    Ok(all / started.elapsed().as_secs_f64())
}

/// How long answers to a guarded route take, in milliseconds, when so many are asked for a second and no more: as many
/// as come, whatever else the server does. An answer that is late delays the next request of its connection, and that
/// one's time counts from when it was due.
pub(crate) async fn latencies(
    to: SocketAddr,
    token: &str,
    a_second: u32,
    during: Duration,
) -> Result<Vec<f64>, Fault> {
    const CONNECTIONS: u32 = 8;
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for n in 0..CONNECTIONS {
        let request = get("/mine", token);
        let mut connection = Connection::open(to).await?;
        let every = Duration::from_secs(1) * CONNECTIONS / a_second;
        let mut due = started + every * n / CONNECTIONS;
        tasks.spawn(async move {
            let mut took = Vec::new();
            while due < started + during {
                tokio::time::sleep_until(due.into()).await;
                // The timer of this process is not the server's fault; an answer that was late is.
                let begun = if took.last().is_some_and(|last| *last > every.as_secs_f64() * 1e3) {
                    due
                } else {
                    Instant::now()
                };
                if connection.ask(&request).await?.status != 200 {
                    return Err(Fault::from("a guarded route was refused"));
                }
                took.push(begun.elapsed().as_secs_f64() * 1e3);
                due += every;
            }
            Ok(took)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

/// The time within which 99 of 100 are answered.
pub(crate) fn p99(latencies: &[f64]) -> Result<f64, Fault> {
    Ok(quantile(latencies, 0.99).ok_or("nothing was answered")?)
}

/// Keeps asking until it is dropped: each of the connections the next request as soon as the last is answered, whatever
/// the answer. `request` is given a number that grows.
pub(crate) fn keep_asking(
    to: SocketAddr,
    connections: u64,
    pause: Duration,
    request: impl Fn(u64) -> Vec<u8> + Clone + Send + 'static,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for n in 0..connections {
        let request = request.clone();
        tasks.spawn(async move {
            let Ok(mut connection) = Connection::open(to).await else { return };
            let mut number = n << 32;
            loop {
                number += 1;
                if connection.ask(&request(number)).await.is_err() {
                    match Connection::open(to).await {
                        Ok(again) => connection = again,
                        Err(_) => return,
                    }
                }
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        });
    }
    tasks
}

/// How many connections a flood has.
const FLOOD: usize = 32;

/// The command `bench flood ADDRESS PATH TOKENS MILLIS`: asks for a path as fast as it is answered, with the credentials of
/// a file by turns, and tells how many answers there were and how many of them were refusals.
///
/// It never sleeps. Whoever sends to a sleeping client over the loopback device wakes it up, and a processor with it: over a
/// microsecond of the *server's* time for each answer, which it owes to no network, and which is asked only of a server that
/// is slower than its client. A guarded route paid for it and the bare one beside it did not.
pub(crate) fn flood(mut arguments: impl Iterator<Item = String>) -> Result<(), Fault> {
    let mut next = || arguments.next().ok_or("flood ADDRESS PATH TOKENS MILLIS");
    let (to, path, tokens, millis) = (next()?.parse()?, next()?, next()?, next()?.parse()?);
    let tokens = std::fs::read_to_string(tokens)?;
    let requests: Vec<_> = tokens.lines().map(|token| get(&path, token)).collect();
    let (requests, turn) = (Rc::new(requests), Rc::new(Cell::new(0)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (answers, refused) = LocalSet::new().block_on(&runtime, async {
        // While one task is always ready, the runtime asks for events and never waits for them.
        let awake = spawn_local(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        let (started, during) = (Instant::now(), Duration::from_millis(millis));
        let asking: Vec<_> = (0..FLOOD)
            .map(|_| {
                let (requests, turn) = (Rc::clone(&requests), Rc::clone(&turn));
                spawn_local(async move {
                    let mut connection = Connection::open(to).await?;
                    let (mut answers, mut refused) = (0_u64, 0_u64);
                    while started.elapsed() < during {
                        let request = &requests[turn.replace(turn.get() + 1) % requests.len()];
                        answers += 1;
                        refused += u64::from(connection.ask(request).await?.status != 200);
                    }
                    Ok::<_, io::Error>((answers, refused))
                })
            })
            .collect();
        let mut all = (0, 0);
        for client in asking {
            let (answers, refused) = client.await??;
            all = (all.0 + answers, all.1 + refused);
        }
        awake.abort();
        Ok::<_, Fault>(all)
    })?;
    println!("{answers} {refused}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_read_whatever_its_case_and_no_other_field() {
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\nContent-Length: 12"), Some(12));
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\nx-content-length: 12"), None);
        assert_eq!(content_length(b"HTTP/1.1 204 No Content\r\ndate: now"), Some(0));
    }

    #[test]
    fn a_credential_is_a_token_unless_it_says_that_it_is_a_cookie() {
        let request =
            |field: &str| format!("GET /mine HTTP/1.1\r\nhost: auth.test\r\n{field}\r\n\r\n").into_bytes();
        assert_eq!(get("/mine", "a.b.c"), request("authorization: Bearer a.b.c"));
        assert_eq!(get("/mine", "cookie: id=1"), request("cookie: id=1"));
    }

    #[test]
    fn a_member_is_found_by_its_whole_name() {
        let json = br#"{"access_token":"a.b","refresh_token":"c.d","n":1}"#;
        assert_eq!(member(json, "refresh_token"), Some("c.d"));
        assert_eq!(member(json, "token"), None);
        assert_eq!(member(json, "n"), None);
    }
}
