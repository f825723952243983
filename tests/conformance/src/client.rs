//! A raw HTTP/1.1 client over a socket.
//!
//! An ordinary client would refuse to send half of what the cases need: fields twice, bytes that are no text,
//! a body without a type, a wrong length. This one sends what it is told and parses answers strictly.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    case::{Failure, failed, harness},
    cookies::{Jar, SetCookie},
    host::SECRETS,
    strict,
};

/// How long an answer may take; argon2 under a full queue on a busy machine takes seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long to look for bytes after an answer that must have no body.
const TRAILING: Duration = Duration::from_millis(250);

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The Host field.
    pub(crate) authority: String,
    /// The prefix of the endpoints, `/auth` by default.
    pub(crate) prefix: String,
    /// The address to connect from.
    pub(crate) source: Option<Ipv4Addr>,
    /// Whether cookies lack `Secure` and the `__Host-` prefix.
    pub(crate) insecure_cookies: bool,
}

/// Which rules of the contract's section 2 hold for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// Below the prefix: every answer carries the standard headers.
    Endpoint,
    /// The key set and the metadata: cacheable when they succeed.
    Public,
    /// The client for browsers: kept, and asked for each time.
    Script,
    /// The host's own routes: refusals carry the standard headers, successes are the host's.
    Route,
}

#[derive(Clone, Debug)]
enum Body {
    /// No body; `Content-Length: 0` where the method usually has one.
    None,
    Sized(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
}

/// A request being written.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    target: Target,
    surface: Surface,
    method: String,
    path: String,
    version: &'static str,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Body,
    jar: Option<Arc<Mutex<Jar>>>,
    /// The whole request, already written.
    raw: Option<Vec<u8>>,
    patience: Duration,
}

impl Request {
    /// A request for an absolute path; the surface follows from the path.
    pub(crate) fn new(target: Target, method: &str, path: &str) -> Self {
        let bare = path.split('?').next().unwrap_or(path);
        let surface = if bare == format!("{}/jwks.json", target.prefix)
            || bare.starts_with("/.well-known/oauth-authorization-server")
        {
            Surface::Public
        } else if bare == format!("{}/gatekey.js", target.prefix) {
            Surface::Script
        } else if bare.starts_with(&format!("{}/", target.prefix)) {
            Surface::Endpoint
        } else {
            Surface::Route
        };
        Self {
            target,
            surface,
            method: method.to_owned(),
            path: path.to_owned(),
            version: "HTTP/1.1",
            headers: Vec::new(),
            body: Body::None,
            jar: None,
            raw: None,
            patience: PATIENCE,
        }
    }

    /// A request whose bytes are the case's own, from the request line to the last byte of the body.
    pub(crate) fn raw(target: Target, bytes: &[u8]) -> Self {
        let line = String::from_utf8_lossy(bytes);
        let mut words = line.split_ascii_whitespace();
        let method = words.next().unwrap_or("?").to_owned();
        let path = words.next().unwrap_or("?").to_owned();
        Self { raw: Some(bytes.to_vec()), ..Self::new(target, &method, &path) }
    }

    /// Adds a field; the same name again is a second field.
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        self.header_bytes(name.as_bytes(), value.as_bytes())
    }

    /// Adds a field of any bytes.
    pub(crate) fn header_bytes(mut self, name: &[u8], value: &[u8]) -> Self {
        self.headers.push((name.to_vec(), value.to_vec()));
        self
    }

    /// `Authorization: Bearer …`.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// A Cookie field with one cookie.
    pub(crate) fn cookie(self, name: &str, value: &str) -> Self {
        self.header("Cookie", &format!("{name}={value}"))
    }

    /// What a browser says of a page of the same origin.
    pub(crate) fn same_origin(self) -> Self {
        self.header("Sec-Fetch-Site", "same-origin")
    }

    /// A JSON body.
    pub(crate) fn json(self, value: Value) -> Self {
        self.json_text(&value.to_string())
    }

    /// A JSON body as the case wrote it, which may be malformed.
    pub(crate) fn json_text(self, text: &str) -> Self {
        self.header("Content-Type", "application/json").raw_body(text.as_bytes())
    }

    /// A form body; `&[(name, value)]`, percent-encoded here, and a name may stand twice.
    pub(crate) fn form(self, members: &[(&str, &str)]) -> Self {
        let pairs: Vec<String> =
            members.iter().map(|(name, value)| format!("{}={}", percent(name), percent(value))).collect();
        self.form_text(&pairs.join("&"))
    }

    /// A form body as the case wrote it.
    pub(crate) fn form_text(self, text: &str) -> Self {
        self.header("Content-Type", "application/x-www-form-urlencoded").raw_body(text.as_bytes())
    }

    /// A body of any bytes, with its length and no type.
    pub(crate) fn raw_body(mut self, bytes: &[u8]) -> Self {
        self.body = Body::Sized(bytes.to_vec());
        self
    }

    /// A body in chunks, so without a length.
    pub(crate) fn chunked(mut self, chunks: &[&[u8]]) -> Self {
        self.body = Body::Chunked(chunks.iter().map(|chunk| chunk.to_vec()).collect());
        self
    }

    /// Speaks HTTP/1.0.
    pub(crate) fn http10(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// Connects from another loopback address ([`crate::case::Need::Addresses`]).
    pub(crate) fn from(mut self, source: Ipv4Addr) -> Self {
        self.target.source = Some(source);
        self
    }

    /// Sends the jar's cookies, and takes what the answer sets.
    pub(crate) fn jar(mut self, jar: Arc<Mutex<Jar>>) -> Self {
        self.jar = Some(jar);
        self
    }

    /// How long the answer may take, where that is not the usual time.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends the request on a connection of its own and reads the answer.
    pub(crate) async fn send(self) -> Result<Response, Failure> {
        Connection::open(&self.target).await?.send(&self).await
    }

    /// What goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut head = format!("{} {} {}\r\n", self.method, self.path, self.version).into_bytes();
        let mut field = |name: &[u8], value: &[u8]| {
            head.extend_from_slice(name);
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        };
        if !self.names("host") {
            field(b"Host", self.target.authority.as_bytes());
        }
        if !self.names("connection") {
            field(b"Connection", b"close");
        }
        for (name, value) in &self.headers {
            field(name, value);
        }
        if let Some(jar) = &self.jar {
            let jar = jar.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(cookies) = jar.field() {
                field(b"Cookie", cookies.as_bytes());
            }
        }
        let mut body = Vec::new();
        match &self.body {
            Body::None => {
                let usual = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
                if usual && !self.names("content-length") {
                    field(b"Content-Length", b"0");
                }
            }
            Body::Sized(bytes) => {
                if !self.names("content-length") {
                    field(b"Content-Length", bytes.len().to_string().as_bytes());
                }
                body.extend_from_slice(bytes);
            }
            Body::Chunked(chunks) => {
                if !self.names("transfer-encoding") {
                    field(b"Transfer-Encoding", b"chunked");
                }
                for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                    body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    body.extend_from_slice(chunk);
                    body.extend_from_slice(b"\r\n");
                }
                body.extend_from_slice(b"0\r\n\r\n");
            }
        }
        head.extend_from_slice(b"\r\n");
        head.append(&mut body);
        head
    }

    fn names(&self, wanted: &str) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()))
    }
}

/// A connection, for what one request and one answer cannot show.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What was read ahead of need.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects as the target says.
    pub(crate) async fn open(target: &Target) -> Result<Self, Failure> {
        let address = target.address;
        let attempt = async {
            match target.source {
                // Only loopback addresses can be chosen, and only where the machine answers on all of them.
                Some(source) if cfg!(target_os = "linux") && is_loopback_v4(address) => {
                    let socket = TcpSocket::new_v4()?;
                    socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
                    socket.connect(address).await
                }
                _ => TcpStream::connect(address).await,
            }
        };
        let stream = timeout(PATIENCE, attempt)
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(|error| harness(format!("cannot connect to {address}: {error}")))?;
        let _ = stream.set_nodelay(true);
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request and reads its answer; the connection goes on if both sides want it.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<Response, Failure> {
        let what = format!("{} {}", request.method, request.path);
        let patience = request.patience;
        match timeout(patience, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(failed(format!("an answer to {what} within {} s", patience.as_secs()), "none")),
        }
    }

    async fn exchange(&mut self, request: &Request) -> Result<Response, Failure> {
        let bytes = request.bytes();
        let (mut reading, mut writing) = self.stream.split();
        // Writing goes on beside reading: a host may refuse a large body before it has taken all of it.
        let write = async {
            let written = writing.write_all(&bytes).await;
            if written.is_ok() {
                let _ = writing.flush().await;
            }
            std::future::pending::<()>().await;
        };
        let mut wire = Wire { reading: &mut reading, buffer: std::mem::take(&mut self.buffer), ended: false };
        let answer = tokio::select! {
            () = write => Err("the connection ended".to_owned()),
            answer = Response::read(&mut wire, &request.method) => answer,
        };
        self.buffer = wire.buffer;
        let mut response = answer.map_err(|problem| {
            failed(format!("an HTTP answer to {} {}", request.method, request.path), problem)
        })?;
        response.request = format!("{} {}", request.method, request.path);
        response.head_only = request.method == "HEAD";
        response.surface = request.surface;
        response.insecure_cookies = request.target.insecure_cookies;
        // Of any refusal, whatever the case is about.
        if response.status >= 400 && SECRETS.iter().any(|secret| response.text().contains(secret)) {
            return Err(response.not("no secret in a refusal"));
        }
        if let Some(jar) = &request.jar {
            let cookies = response.set_cookies()?;
            let mut jar = jar.lock().unwrap_or_else(PoisonError::into_inner);
            for cookie in &cookies {
                jar.absorb(cookie);
            }
        }
        Ok(response)
    }
}

/// Runs futures side by side and returns their outputs in order: N requests that meet at the host.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

fn is_loopback_v4(address: SocketAddr) -> bool {
    address.is_ipv4() && address.ip().is_loopback()
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Header fields as they came.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// In the order sent, names as sent.
    pub(crate) headers: Fields,
    pub(crate) body: Vec<u8>,
    /// What it answers, for reports.
    pub(crate) request: String,
    pub(crate) head_only: bool,
    pub(crate) surface: Surface,
    pub(crate) insecure_cookies: bool,
}

impl Response {
    /// The values of a field (any case), in the order sent.
    pub(crate) fn headers(&self, name: &str) -> Vec<&[u8]> {
        self.headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
            .collect()
    }

    /// The value of a field that stands exactly once; bytes that are no text count as absent.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        match self.headers(name).as_slice() {
            [value] => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }

    /// The body as text, for searching and reports.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON that names no member twice. No other check: the verdicts are in [`crate::verdict`].
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        strict::json(&self.body)
            .map_err(|problem| failed("a JSON body", format!("{} ({problem})", self.describe())))
    }

    /// All Set-Cookie fields, parsed.
    pub(crate) fn set_cookies(&self) -> Result<Vec<SetCookie>, Failure> {
        self.headers("set-cookie").into_iter().map(SetCookie::parse).collect()
    }

    /// The Set-Cookie of one name.
    pub(crate) fn set_cookie(&self, name: &str) -> Result<Option<SetCookie>, Failure> {
        let mut named = self.set_cookies()?.into_iter().filter(|cookie| cookie.name == name);
        let first = named.next();
        match named.next() {
            None => Ok(first),
            Some(_) => Err(failed(format!("at most one Set-Cookie of {name}"), self.describe())),
        }
    }

    /// The answer in a report: enough to see what is wrong, not more than a screen.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("{} answered {}", self.request, self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("\n    {name}: {}", String::from_utf8_lossy(value)));
        }
        if !self.body.is_empty() {
            let body: String = self.text().chars().take(1000).collect();
            text.push_str(&format!("\n    {body}"));
        }
        text
    }

    async fn read<R: AsyncReadExt + Unpin>(wire: &mut Wire<'_, R>, method: &str) -> Result<Self, String> {
        let (status, headers) = loop {
            let head = wire.until(b"\r\n\r\n").await?;
            let (status, headers) = parse_head(&head)?;
            // Interim answers (100 Continue) announce the one that counts.
            if status >= 200 {
                break (status, headers);
            }
        };
        let mut response = Self {
            status,
            headers,
            body: Vec::new(),
            request: String::new(),
            head_only: false,
            surface: Surface::Endpoint,
            insecure_cookies: false,
        };
        let length = match response.headers("content-length").as_slice() {
            [] => None,
            [value] => Some(
                std::str::from_utf8(value)
                    .ok()
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|text| text.parse::<usize>().ok())
                    .ok_or("a Content-Length that is no number")?,
            ),
            _ => return Err("two Content-Length fields".to_owned()),
        };
        let coding = response.headers("transfer-encoding");
        let chunked = match coding.as_slice() {
            [] => false,
            [value] if value.eq_ignore_ascii_case(b"chunked") => true,
            _ => return Err(format!("an unknown Transfer-Encoding: {coding:?}")),
        };
        if chunked && length.is_some() {
            return Err("both Content-Length and Transfer-Encoding".to_owned());
        }
        response.body = if method == "HEAD" || status == 204 || status == 304 {
            // Whatever follows is kept, so that a verdict can say that there must be nothing.
            match timeout(TRAILING, wire.rest()).await {
                Ok(rest) => rest?,
                Err(_) => Vec::new(),
            }
        } else if chunked {
            wire.chunks().await?
        } else if let Some(length) = length {
            wire.exactly(length).await?
        } else {
            wire.rest().await?
        };
        Ok(response)
    }
}

fn parse_head(head: &[u8]) -> Result<(u16, Fields), String> {
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").ok_or("a line that ends without CR".to_owned()));
    let line = lines.next().ok_or("no status line")??;
    let line = std::str::from_utf8(line).map_err(|_| "a status line that is no text")?;
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse::<u16>().ok())
        .ok_or_else(|| format!("a malformed status line: {line}"))?;
    let mut headers = Vec::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or("a header line without a colon")?;
        let (name, value) = line.split_at(colon);
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| {
                !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
            })
            .ok_or("a header name that is no token")?;
        let value = value.strip_prefix(b":").unwrap_or(value);
        headers.push((name.to_owned(), value.trim_ascii().to_vec()));
    }
    Ok((status, headers))
}

/// The reading half of a connection and what was read ahead of need.
struct Wire<'s, R> {
    reading: &'s mut R,
    buffer: Vec<u8>,
    ended: bool,
}

impl<R: AsyncReadExt + Unpin> Wire<'_, R> {
    async fn more(&mut self) -> Result<(), String> {
        let mut chunk = [0; 8192];
        match self.reading.read(&mut chunk).await {
            Ok(0) => self.ended = true,
            Ok(read) => self.buffer.extend_from_slice(chunk.get(..read).unwrap_or(&[])),
            Err(error) => return Err(format!("the connection broke: {error}")),
        }
        Ok(())
    }

    /// Everything up to and with the mark.
    async fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, String> {
        loop {
            let at = self.buffer.windows(mark.len()).position(|window| window == mark);
            if let Some(at) = at {
                return Ok(self.buffer.drain(..at + mark.len()).collect());
            }
            if self.ended {
                return Err(match self.buffer.len() {
                    0 => "the connection was closed without an answer".to_owned(),
                    read => format!("the connection was closed after {read} bytes of an answer"),
                });
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.buffer.len() < length {
            if self.ended {
                return Err(format!("a body of {length} bytes was promised, {} came", self.buffer.len()));
            }
            self.more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn rest(&mut self) -> Result<Vec<u8>, String> {
        while !self.ended {
            self.more().await?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n").await?;
            let size = std::str::from_utf8(&line)
                .ok()
                .and_then(|line| line.trim_end().split(';').next())
                .and_then(|size| usize::from_str_radix(size, 16).ok())
                .ok_or("a malformed chunk")?;
            if size == 0 {
                // Trailer fields, if any, end with an empty line.
                while self.until(b"\r\n").await? != b"\r\n" {}
                return Ok(body);
            }
            body.append(&mut self.exactly(size).await?);
            if self.exactly(2).await? != b"\r\n" {
                return Err("a chunk longer than it says".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests;
