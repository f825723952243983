//! What frameworks do with a connection before and after our code: framing, interim answers, old versions, clients that
//! hang up, handlers that panic.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    case::{Case, Failure, Kind, Need, Outcome, Row, case, failed, harness, run},
    client::{Connection, PATIENCE, Request, Response, all},
    cookies::ACCESS,
    host::{Host, User},
    verdict::equal,
};

pub(crate) const CASES: &[Case] = &[
    // A body that nobody read is not the beginning of the next request: who can place one there speaks for another.
    case(
        "wire/an-answer-belongs-to-its-request",
        "On a connection that goes on each request has its own answer, also after refusals that left a body unread.",
    )
    .spec(&["docs/contract.md 2.29", "RFC 9112 9.3", "ASVS 4.2.1"])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        let hidden = format!(
            "DELETE {}/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {access}\r\n\r\n",
            host.target().prefix
        );
        let body = hidden.as_bytes();
        let large = [body, &[b'x'; 20_000]].concat();
        let mut line = Line::open(host).await?;
        for (request, status, code) in [
            (host.post("/nothing").raw_body(body), 404, "not_found"),
            (host.get("/nothing").raw_body(body), 404, "not_found"),
            (host.post("/me").raw_body(body), 405, "method_not_allowed"),
            (host.request("OPTIONS", "/login").raw_body(body), 405, "method_not_allowed"),
            (host.post("/login").raw_body(body), 415, "unsupported_media_type"),
            (host.post("/login").json_text(&hidden), 400, "invalid_request"),
            (host.post("/login").header("Content-Type", "application/json").chunked(&[body]), 400, "invalid_request"),
            (host.get("/me").raw_body(body), 401, "unauthenticated"),
            (host.delete("/sessions").bearer("x").raw_body(body), 401, "invalid_token"),
            (host.post("/login").header("Content-Type", "application/json").raw_body(&large), 413, "payload_too_large"),
        ] {
            let what = format!("after {code}");
            line.ask(request).await?.refused(status, code)?;
            let me = line.ask(host.get("/me").bearer(&access)).await.row(&what)?;
            me.answered(200).row(&what)?;
        }
        // Nothing is left over.
        line.ask(host.get("/nothing")).await?.refused(404, "not_found")
    })),
    case(
        "wire/a-guarded-route-leaves-no-body-behind",
        "A refusal on a route of the host does not turn the body of its request into the next one.",
    )
    .spec(&["docs/contract.md 2.29", "RFC 9112 9.3"])
    .needs(&[Need::Routes])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        let hidden = format!(
            "DELETE {}/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {access}\r\n\r\n",
            host.target().prefix
        );
        let body = hidden.as_bytes();
        let mut line = Line::open(host).await?;
        for request in [
            host.route("POST", "/note").raw_body(body),
            host.route("POST", "/note").chunked(&[body]),
            host.route("GET", "/whoami").raw_body(body),
        ] {
            line.ask(request).await?.refused(401, "unauthenticated")?;
            line.ask(host.route("GET", "/whoami").bearer(&access)).await?.is(200)?;
        }
        line.ask(host.route("POST", "/note").bearer(&access).raw_body(body)).await?.is(204)?;
        line.ask(host.get("/me").bearer(&access)).await?.answered(200).map(|_| ())
    })),
    case("wire/http-1-0-is-answered", "A client of HTTP/1.0 is granted and refused what one of HTTP/1.1 is.")
        .spec(&["docs/contract.md 2.1", "RFC 9110 2.5"])
        .run(run!(async |host| {
            let user = host.user().await?;
            let body = json!({"username": user.name, "password": user.password});
            let answer = host.post("/login").json(body).http10().send().await?;
            not_chunked(&answer)?;
            let tokens = answer.granted()?;
            for (token, request) in [
                (tokens.access.as_str(), host.get("/me")),
                ("x", host.get("/me")),
                (&tokens.access, host.get("/jwks.json")),
                (&tokens.access, host.get("/nothing")),
            ] {
                let request = request.bearer(token);
                let (old, new) = (request.clone().http10().send().await?, request.send().await?);
                not_chunked(&old)?;
                equal("the status", &old.status, &new.status)?;
                equal("the body", &old.text(), &new.text())?;
            }
            Ok(())
        })),
    case("wire/names-of-fields-have-no-case", "A field means the same however its name is written.")
        .spec(&["docs/contract.md 3.25", "RFC 9110 5.1"])
        .run(run!(async |host| {
            let user = host.user().await?;
            let access = user.login().await?.access;
            let bearer = format!("Bearer {access}");
            for name in ["authorization", "AUTHORIZATION", "aUTHORIZATION"] {
                host.get("/me").header(name, &bearer).send().await?.answered(200).row(name)?;
                let twice = host.get("/me").header("Authorization", &bearer).header(name, &bearer);
                twice.send().await?.refused(400, "invalid_request").row(format!("{name} beside another"))?;
            }
            let cookie = format!("{ACCESS}={}", user.browser().await?.access()?);
            for (name, site) in [("cookie", "SEC-FETCH-SITE"), ("COOKIE", "sec-fetch-site")] {
                host.get("/me").header(name, &cookie).send().await?.answered(200).row(name)?;
                let delete = host.delete("/sessions?keep_current=true").header(name, &cookie);
                delete.clone().header(site, "cross-site").send().await?.refused(403, "csrf_failed").row(site)?;
                delete.header(site, "same-origin").send().await?.status(204).row(site)?;
            }
            let body = json!({"username": user.name, "password": user.password}).to_string();
            for name in ["content-type", "CONTENT-TYPE"] {
                let request = host.post("/login").header(name, "application/json").raw_body(body.as_bytes());
                request.send().await?.granted().row(name)?;
            }
            Ok(())
        })),
    case(
        "wire/a-missing-body-is-an-empty-one",
        "A request that announces no body is answered as one with a body of no bytes.",
    )
    .spec(&["docs/contract.md 8.2", "docs/contract.md 8.4", "RFC 9112 6.3"])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        let json_type = "Content-Type: application/json\r\n";
        for (path, fields) in [
            ("/login", json_type),
            ("/register", json_type),
            ("/token", json_type),
            ("/token", ""),
            ("/revoke", "Content-Type: application/x-www-form-urlencoded\r\n"),
            ("/password", json_type),
            ("/logout", ""),
        ] {
            let path = format!("{}{path}", host.target().prefix);
            let bearer = if path.ends_with("/password") { format!("Authorization: Bearer {access}\r\n") } else { String::new() };
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{bearer}{fields}",
                host.target().authority
            );
            let none = host.raw(format!("{head}\r\n").as_bytes()).send().await?;
            let empty = host.raw(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).send().await?;
            equal("the status", &none.status, &empty.status).row(&path)?;
            equal("the body", &none.text(), &empty.text()).row(&path)?;
            if none.status < 400 {
                return Err(none.not("a refusal")).row(&path);
            }
        }
        Ok(())
    })),
    case(
        "wire/trailers-are-no-fields",
        "What stands after the last chunk of a body is no field of the request: it brings no credential.",
    )
    .spec(&["docs/contract.md 3.25", "RFC 9110 6.5.1"])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        let target = host.target();
        let request = |trailers: &str| {
            format!(
                "POST {}/logout HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: authorization\r\n\r\n0\r\n{trailers}\r\n",
                target.prefix, target.authority
            )
        };
        host.raw(request("").as_bytes()).send().await?.refused(401, "unauthenticated")?;
        let late = request(&format!("Authorization: Bearer {access}\r\n"));
        // A server may also refuse trailers by closing the connection.
        if let Ok(answer) = host.raw(late.as_bytes()).send().await
            && answer.status != 400
        {
            answer.refused(401, "unauthenticated")?;
        }
        host.me(&access).await?.answered(200).map(|_| ())
    })),
    case(
        "wire/a-client-may-wait-for-100-continue",
        "A client that waits to be told to send its body is told, or has its answer.",
    )
    .spec(&["docs/contract.md 1.25", "RFC 9110 10.1.1"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let good = json!({"username": user.name, "password": user.password}).to_string();
        for (path, kind, status) in [
            ("/login", "application/json", 200),
            ("/login", "text/plain", 415),
            ("/nothing", "application/json", 404),
            ("/me", "application/json", 405),
        ] {
            let (_, answer) = with_expectation(host, path, kind, &good).await.row(path)?;
            if !answer.starts_with(&format!("HTTP/1.1 {status} ")) {
                return Err(failed(status, answer)).row(format!("{kind} at {path}"));
            }
        }
        Ok(())
    })),
    // Some frameworks ask for every body before they ask us.
    case(
        "wire/nobody-is-told-to-send-too-much",
        "A body that is announced as too long is refused and not asked for.",
    )
    .spec(&["docs/contract.md 8.3", "RFC 9110 10.1.1"])
    .kind(Kind::Observed)
    .run(run!(async |host| {
        let body = " ".repeat(16 * 1024 + 1);
        let (told, answer) = with_expectation(host, "/login", "application/json", &body).await?;
        if told || !answer.starts_with("HTTP/1.1 413 ") {
            return Err(failed("413 and no 100", answer));
        }
        Ok(())
    })),
    // Some frameworks drop a handler whose client has gone, wherever it stands.
    case(
        "wire/who-hangs-up-leaves-no-half-session",
        "A login whose client hangs up has opened a whole session or none, and none if its body never came.",
    )
    .spec(&["docs/contract.md 1.5", "docs/contract.md 1.20"])
    .run(run!(async |host| {
        let (cut, whole) = (host.user().await?, host.user().await?);
        let login = |user: &User<'_>| {
            host.post("/login").json(json!({"username": user.name, "password": user.password})).bytes()
        };
        let bytes = login(&cut);
        let body = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_default() + 4;
        for end in [body - 2, body, body + 1, bytes.len() - 1] {
            hang_up(host, &bytes[..end]).await?;
        }
        let bytes = login(&whole);
        for end in all((0..6).map(|_| hang_up(host, &bytes))).await {
            end?;
        }

        let tokens = whole.login().await?;
        let sessions = sessions(host, &tokens.access).await?;
        if sessions.is_empty() || sessions.len() > 7 {
            return Err(failed("1 to 7 sessions after 7 logins", sessions.len()));
        }
        for session in &sessions {
            let id = session.get("id").and_then(Value::as_str).unwrap_or_default();
            if id == tokens.session_id {
                continue;
            }
            host.delete(&format!("/sessions/{id}")).bearer(&tokens.access).send().await?.status(204)?;
        }
        host.refresh(&tokens.refresh).await?.granted()?;

        // By now the first logins have long been dealt with.
        let tokens = cut.login().await?;
        equal("the number of sessions", &self::sessions(host, &tokens.access).await?.len(), &1)
    })),
    case(
        "wire/who-hangs-up-is-not-accused",
        "A refresh whose client hangs up, over and over, has rotated or not; the same token is good for another try.",
    )
    .spec(&["docs/contract.md 4.12", "RFC 9700 4.14.2"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let mut tokens = user.login().await?;
        for _ in 0..3 {
            let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
            let bytes = host.post("/token").form(&form).bytes();
            for end in [bytes.len() - 1, bytes.len(), bytes.len()] {
                hang_up(host, &bytes[..end]).await?;
            }
            tokens = host.refresh(&tokens.refresh).await?.granted()?;
        }
        host.me(&tokens.access).await?.answered(200).map(|_| ())
    })),
    case(
        "wire/a-panic-of-the-host-is-its-own",
        "A handler of the host that panics behind a guard takes nothing with it: not the server, not the session.",
    )
    .spec(&["tests/README.md, the protocol of host programs", "ASVS 16.5.3"])
    .needs(&[Need::Routes])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        host.route("GET", "/panic").send().await?.refused(401, "unauthenticated")?;
        for _ in 0..4 {
            // Frameworks answer 500 or hang up.
            if let Ok(answer) = host.route("GET", "/panic").bearer(&tokens.access).send().await {
                answer.is(500)?;
            }
            host.route("GET", "/whoami").bearer(&tokens.access).send().await?.is(200)?;
        }
        let tokens = host.refresh(&tokens.refresh).await?.granted()?;
        host.route("GET", "/whoami").bearer("x").send().await?.invalid_token()?;
        host.post("/logout").bearer(&tokens.access).send().await?.status(204)?;
        user.login().await.map(|_| ())
    })),
];

/// A connection that is kept as long as the host keeps it.
struct Line<'h> {
    host: &'h Host,
    connection: Connection,
}

impl<'h> Line<'h> {
    async fn open(host: &'h Host) -> Result<Self, Failure> {
        Ok(Self { host, connection: Connection::open(&host.target()).await? })
    }

    /// Asks on the same connection; where the host has closed it, as it may, on a new one.
    async fn ask(&mut self, request: Request) -> Result<Response, Failure> {
        let request = request.header("Connection", "keep-alive");
        if let Ok(answer) = self.connection.send(&request).await {
            return Ok(answer);
        }
        self.connection = Connection::open(&self.host.target()).await?;
        self.connection.send(&request).await
    }
}

fn not_chunked(answer: &Response) -> Outcome {
    if answer.headers("transfer-encoding").is_empty() {
        return Ok(());
    }
    Err(answer.not("no Transfer-Encoding, which HTTP/1.0 does not know"))
}

/// Sends the head of a request, and its body if asked to. Whether that was so, and the answer.
async fn with_expectation(
    host: &Host,
    path: &str,
    kind: &str,
    body: &str,
) -> Result<(bool, String), Failure> {
    let target = host.target();
    let head = format!(
        "POST {}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        target.prefix,
        target.authority,
        body.len()
    );
    let mut stream = Connection::open(&target).await?.stream;
    let exchange = async {
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") && stream.read_buf(&mut answer).await? > 0 {}
        let told = answer.starts_with(b"HTTP/1.1 100");
        if told {
            answer.clear();
            stream.write_all(body.as_bytes()).await?;
        }
        // A host that has refused may close without having read the body: what came before counts.
        let _ = stream.read_to_end(&mut answer).await;
        Ok::<_, std::io::Error>((told, String::from_utf8_lossy(&answer).into_owned()))
    };
    match timeout(PATIENCE, exchange).await {
        Ok(done) => done.map_err(harness),
        Err(_) => Err(failed("100 or an answer", "neither")),
    }
}

/// Sends bytes and goes away without waiting for an answer.
async fn hang_up(host: &Host, bytes: &[u8]) -> Outcome {
    let mut stream = Connection::open(&host.target()).await?.stream;
    stream.write_all(bytes).await.map_err(harness)
}

async fn sessions(host: &Host, access: &str) -> Result<Vec<Value>, Failure> {
    let list = host.get("/sessions").bearer(access).send().await?.answered(200)?;
    Ok(list.get("sessions").and_then(Value::as_array).cloned().unwrap_or_default())
}
