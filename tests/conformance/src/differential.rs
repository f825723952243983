//! The differential run: the same requests to several hosts, and any difference between their answers is a failure.
//!
//! Requests are drawn from a seed: valid ones of every endpoint and route, mutated in method, path, fields, credentials
//! and body. They come in episodes of one account each, so that all hosts are in the same state. What has to differ
//! (tokens, identifiers, times) is numbered in the order in which a host first shows it, and compared by number. A
//! difference is shrunk before it is told: what can be left out without losing it is left out.
//!
//! What a framework does on its own account is not compared: `date`, `server`, framing, and the fields of Rocket's
//! Shield.

#![allow(clippy::print_stdout, reason = "a command tells its progress")]

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, sync::Arc};

use serde_json::{Value, json};

use crate::{
    client::{Request, Response, Target, all},
    host::{Host, Instance, PASSWORD, default_config},
    process::{Launch, Scratch},
    token::{KeyKind, Keys, b64},
};

/// A host program and what its `--store` gets.
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) sqlite: bool,
}

/// Requests of one account.
const EPISODE: usize = 40;

/// Sends `count` requests drawn from `seed` to each host. `Ok(true)` if all answered alike.
pub(crate) async fn run(contestants: &[Contestant], count: usize, seed: u64) -> Result<bool, String> {
    let keys = Arc::new(Keys::generate(KeyKind::Ed25519).map_err(|failure| format!("{failure:?}"))?);
    let mut hosts = Vec::new();
    for contestant in contestants {
        hosts.push(start(contestant, &keys).await?);
    }
    let tokens = hostile_tokens(&keys)?;
    let mut differences = 0;
    let mut sent = 0;
    let mut episode = seed;
    while sent < count {
        let mut dice = Dice(episode);
        let mut scene = Scene::open(&hosts, &format!("d{episode}")).await?;
        for _ in 0..EPISODE.min(count - sent) {
            let shot = draw(&mut dice, &tokens);
            sent += 1;
            let Some(told) = scene.differ(&shot).await else { continue };
            differences += 1;
            println!("\nDIFF after {sent} requests, episode {episode}");
            let (shot, told) = shrink(&hosts, episode, shot, told).await?;
            println!("{}\n{told}", shot.show());
            println!("  Repeat: cargo xtask conformance --differential {EPISODE} --seed {episode}");
            // The states may have parted; go on with another account.
            break;
        }
        episode = episode.wrapping_add(1);
        if sent % 1000 < EPISODE {
            println!("differential: {sent} of {count} requests a host, {differences} differences");
        }
        if differences >= 10 {
            println!("differential: enough is enough");
            break;
        }
    }
    let names: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
    println!(
        "\ndifferential: {} × {sent} requests, seed {seed}, {differences} differences",
        names.join(", ")
    );
    Ok(differences == 0)
}

struct Runner {
    name: String,
    host: Host,
}

async fn start(contestant: &Contestant, keys: &Arc<Keys>) -> Result<Runner, String> {
    let tell = |failure| format!("{}: {failure:?}", contestant.name);
    let scratch = Scratch::new().map_err(tell)?;
    let store = if contestant.sqlite {
        format!("sqlite:{}", scratch.path().join("store.db").display())
    } else {
        "memory".to_owned()
    };
    let launch = Launch {
        program: contestant.program.clone(),
        store,
        config: default_config(),
        listen: "127.0.0.1:0".to_owned(),
        arguments: Vec::new(),
        access_key: None,
        refresh_secret: None,
        previous: [None, None],
        scratch,
    };
    let instance = Instance::start(launch.keys(keys), Arc::clone(keys)).await.map_err(tell)?;
    Ok(Runner { name: contestant.name.clone(), host: Host::new(instance) })
}

/// splitmix64: the same draws from the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// A request before a host's own tokens are filled in: `{access}`, `{refresh}`, `{sid}`, `{cookie-access}`,
/// `{cookie-refresh}`, `{name}`.
#[derive(Clone)]
struct Shot {
    method: String,
    path: String,
    version: &'static str,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunked: bool,
}

impl Shot {
    fn bytes(&self, authority: &str, fill: &impl Fn(&str) -> String) -> Vec<u8> {
        let mut head = format!("{} {} {}\r\n", self.method, fill(&self.path), self.version);
        let _ = write!(head, "Host: {authority}\r\nConnection: close\r\n");
        for (name, value) in &self.fields {
            let _ = write!(head, "{name}: {}\r\n", fill(value));
        }
        let body = self.body.as_ref().map(|body| match std::str::from_utf8(body) {
            Ok(text) => fill(text).into_bytes(),
            Err(_) => body.clone(),
        });
        match body {
            None => [head.as_bytes(), b"\r\n"].concat(),
            Some(body) if self.chunked => {
                let mut bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
                for piece in body.chunks(1000) {
                    bytes.extend(format!("{:x}\r\n", piece.len()).bytes().chain(piece.iter().copied()));
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
                bytes
            }
            Some(body) => {
                [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
            }
        }
    }

    fn show(&self) -> String {
        let text = self.bytes("HOST", &str::to_owned);
        let text = String::from_utf8_lossy(&text).into_owned();
        let short: String = text.chars().take(2000).collect();
        short.lines().map(|line| format!("  > {line}\n")).collect()
    }
}

/// What one host has shown of itself in this episode.
#[derive(Default)]
struct Memory {
    vars: BTreeMap<&'static str, String>,
    /// Everything that differs between hosts by right, in the order of appearance.
    seen: Vec<String>,
}

impl Memory {
    fn fill(&self, text: &str) -> String {
        self.vars
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    fn note(&mut self, value: &str) {
        if !value.is_empty() && !self.seen.iter().any(|seen| seen == value) {
            self.seen.push(value.to_owned());
        }
    }

    fn learn(&mut self, answer: &Response) {
        for cookie in answer.set_cookies().unwrap_or_default() {
            let name = if cookie.name.ends_with("access") { "cookie-access" } else { "cookie-refresh" };
            if !cookie.value.is_empty() {
                self.note(&cookie.value);
                self.vars.insert(name, cookie.value.clone());
            }
        }
        if let Ok(body) = serde_json::from_slice::<Value>(&answer.body) {
            self.learn_json(&body);
        }
    }

    fn learn_json(&mut self, value: &Value) {
        if let Some(array) = value.as_array() {
            array.iter().for_each(|value| self.learn_json(value));
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            match (name.as_str(), value.as_str()) {
                ("access_token" | "refresh_token" | "session_id" | "id" | "sub", Some(text)) => {
                    self.note(text);
                    let var = match name.as_str() {
                        "access_token" => "access",
                        "refresh_token" => "refresh",
                        "session_id" => "sid",
                        _ => continue,
                    };
                    self.vars.insert(var, text.to_owned());
                }
                _ => self.learn_json(value),
            }
        }
    }

    /// An answer without what differs by right.
    fn normal(&self, answer: &Response) -> String {
        const THEIRS: [&str; 9] = [
            "date",
            "server",
            "connection",
            "keep-alive",
            "transfer-encoding",
            "content-length",
            "x-frame-options",
            "permissions-policy",
            "x-content-type-options",
        ];
        let mut fields: Vec<_> = answer
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8_lossy(value).into_owned()))
            .filter(|(name, _)| !THEIRS.contains(&name.as_str()))
            .map(
                |(name, value)| {
                    if name == "set-cookie" { (name, attributes_sorted(&value)) } else { (name, value) }
                },
            )
            .collect();
        fields.sort();
        let mut text = format!("{}\n", answer.status);
        for (name, value) in fields {
            let _ = writeln!(text, "{name}: {value}");
        }
        text.push_str(&answer.text());
        for (number, value) in self.seen.iter().enumerate() {
            text = text.replace(value.as_str(), &format!("<{number}>"));
        }
        without_times(&text)
    }
}

fn attributes_sorted(cookie: &str) -> String {
    let mut parts: Vec<_> = cookie.split("; ").collect();
    if let Some((_, attributes)) = parts.split_first_mut() {
        attributes.sort_unstable();
    }
    parts.join("; ")
}

/// Replaces RFC 3339 times, and the seconds that count down to one.
fn without_times(text: &str) -> String {
    let mut found = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits) = rest.split_at(at);
        found.push_str(before);
        let is_time = digits.len() >= 20 && digits.as_bytes()[4] == b'-' && digits.as_bytes()[19] == b'Z';
        let counts_down = ["expires_in\":", "Max-Age="].iter().any(|label| before.ends_with(label));
        let length =
            if is_time { 20 } else { digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()) };
        // Zero is what clears a cookie: that is compared.
        if is_time || (counts_down && &digits[..length] != "0") {
            found.push_str("<time>");
        } else {
            found.push_str(&digits[..length]);
        }
        rest = &digits[length..];
    }
    found + rest
}

/// All hosts with one account each, in the same state.
struct Scene<'h> {
    hosts: &'h [Runner],
    memories: Vec<Memory>,
}

impl<'h> Scene<'h> {
    async fn open(hosts: &'h [Runner], name: &str) -> Result<Self, String> {
        let mut scene = Self { hosts, memories: hosts.iter().map(|_| Memory::default()).collect() };
        for memory in &mut scene.memories {
            memory.vars.insert(
                "name",
                format!("{name}-{:x}", crate::token::random_bytes::<4>().map_or(0, u32::from_ne_bytes)),
            );
        }
        // One name for all, unless an episode is opened again.
        let name =
            scene.memories.first().and_then(|memory| memory.vars.get("name").cloned()).unwrap_or_default();
        for memory in &mut scene.memories {
            memory.vars.insert("name", name.clone());
        }
        let credentials = json!({"username": "{name}", "password": PASSWORD});
        let by_cookie = json!({"username": "{name}", "password": PASSWORD, "transport": "cookie"});
        for (path, body) in
            [("/auth/register", &credentials), ("/auth/login", &credentials), ("/auth/login", &by_cookie)]
        {
            let mut shot = valid(
                "POST",
                path,
                &[("Content-Type", "application/json"), ("Sec-Fetch-Site", "same-origin")],
            );
            shot.body = Some(body.to_string().into_bytes());
            if let Some(told) = scene.differ(&shot).await {
                return Err(format!("the hosts differ before anything was tried\n{}{told}", shot.show()));
            }
        }
        Ok(scene)
    }

    /// Sends one request to every host; what they answered, if it was not the same.
    async fn differ(&mut self, shot: &Shot) -> Option<String> {
        let sends = self.hosts.iter().zip(&self.memories).map(|(runner, memory)| {
            // One source for all: sessions show it.
            let target = Target { source: None, ..runner.host.target() };
            let bytes = shot.bytes(&target.authority, &|text| memory.fill(text));
            Request::raw(target, &bytes).send()
        });
        let answers = all(sends).await;
        let mut normal = Vec::new();
        for (memory, answer) in self.memories.iter_mut().zip(&answers) {
            normal.push(match answer {
                Ok(answer) => {
                    memory.learn(answer);
                    memory.normal(answer)
                }
                Err(failure) => format!("no answer: {failure:?}"),
            });
        }
        if normal.windows(2).all(|pair| pair[0] == pair[1]) {
            return None;
        }
        let mut told = String::new();
        for (runner, normal) in self.hosts.iter().zip(&normal) {
            let _ = writeln!(told, "  {}:", runner.name);
            for line in normal.lines() {
                let _ = writeln!(told, "    {line}");
            }
        }
        Some(told)
    }
}

/// Leaves out of a request what is not needed for the difference, each attempt with a fresh account.
async fn shrink(hosts: &[Runner], episode: u64, shot: Shot, told: String) -> Result<(Shot, String), String> {
    let (mut best, mut told) = (shot, told);
    loop {
        let mut smaller = Vec::new();
        for at in 0..best.fields.len() {
            let mut shot = best.clone();
            shot.fields.remove(at);
            smaller.push(shot);
        }
        if let Some(body) = &best.body {
            let half = body.len() / 2;
            let bodies = [None, Some(body[..half].to_vec()), Some(body[half..].to_vec())];
            smaller.extend(bodies.into_iter().map(|body| Shot { body, ..best.clone() }));
        }
        if best.chunked {
            smaller.push(Shot { chunked: false, ..best.clone() });
        }
        let mut found = None;
        for shot in smaller {
            let same_size = shot.body.as_ref().map(Vec::len) == best.body.as_ref().map(Vec::len);
            if same_size && shot.fields.len() == best.fields.len() && shot.chunked == best.chunked {
                continue;
            }
            let mut scene = Scene::open(hosts, &format!("s{episode}")).await?;
            if let Some(told) = scene.differ(&shot).await {
                found = Some((shot, told));
                break;
            }
        }
        match found {
            Some(smaller) => (best, told) = smaller,
            None => return Ok((best, told)),
        }
    }
}

fn valid(method: &str, path: &str, fields: &[(&str, &str)]) -> Shot {
    Shot {
        method: method.to_owned(),
        path: path.to_owned(),
        version: "HTTP/1.1",
        fields: fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: None,
        chunked: false,
    }
}

/// Access tokens that every host has to judge alike, signed with the key they share.
fn hostile_tokens(keys: &Keys) -> Result<Vec<String>, String> {
    // Fixed, so that the same seed sends the same bytes: issued long ago, and good for a long time.
    let now = 1_700_000_000_i64;
    let header = |alg: &str, typ: &str| json!({"alg": alg, "typ": typ, "kid": keys.access.thumbprint()});
    let claims = |change: Value| {
        let claims = json!({
            "iss": "https://auth.test", "sub": "nobody", "aud": "https://api.test", "exp": 4_000_000_000_i64, "iat": now,
            "jti": "j", "client_id": "gatekey-tests", "sid": "a-session-of-no-host", "auth_time": now,
            "preferred_username": "nobody", "roles": ["admin"], "scope": "read",
        });
        crate::host::overlay(claims, change)
    };
    let good = header("EdDSA", "at+jwt");
    let mut tokens = Vec::new();
    for (header, claims) in [
        (good.clone(), claims(json!({}))),
        (good.clone(), claims(json!({"auth_time": 4_000_000_000_i64}))),
        (good.clone(), claims(json!({"roles": [], "scope": "write"}))),
        (good.clone(), claims(json!({"exp": now}))),
        (good.clone(), claims(json!({"exp": "soon"}))),
        (good.clone(), claims(json!({"aud": ["x", "https://api.test"]}))),
        (good.clone(), claims(json!({"aud": "https://api.test/"}))),
        (good.clone(), claims(json!({"preferred_username": "böb \"quoted\" \u{1f600}"}))),
        (header("EdDSA", "application/at+jwt"), claims(json!({}))),
        (header("EdDSA", "JWT"), claims(json!({}))),
        (header("none", "at+jwt"), claims(json!({}))),
        (json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "unknown"}), claims(json!({}))),
    ] {
        let token = keys.sign_access(header.to_string().as_bytes(), claims.to_string().as_bytes());
        tokens.push(token.map_err(|failure| format!("{failure:?}"))?);
    }
    let first = tokens[0].clone();
    tokens.extend([
        format!("{first}="),
        format!("{first}A"),
        format!("{first}.x.y"),
        first.replace('.', ".."),
        "a.b.c".to_owned(),
        String::new(),
        b64(&vec![b'x'; 7000]),
        "{refresh}".to_owned(),
    ]);
    Ok(tokens)
}

const METADATA: &str = "/.well-known/oauth-authorization-server";

const PATHS: &[&str] = &[
    "/auth/register",
    "/auth/login",
    "/auth/token",
    "/auth/logout",
    "/auth/revoke",
    "/auth/me",
    "/auth/sessions",
    "/auth/sessions/{sid}",
    "/auth/password",
    "/auth/jwks.json",
    "/auth/openapi.json",
    "/auth/gatekey.js",
    METADATA,
    "/whoami",
    "/maybe",
    "/admin",
    "/scoped",
    "/fresh",
    "/note",
    "/open",
];

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// One request: a valid one most of the time, then up to four things are done to it.
fn draw(dice: &mut Dice, tokens: &[String]) -> Shot {
    let mut shot = likely(dice);
    for _ in 0..dice.below(5) {
        mutate(dice, &mut shot, tokens);
    }
    // What a host does itself with a request it was not made for (405, 404) is the framework's to say.
    let own = ["/whoami", "/maybe", "/admin", "/scoped", "/fresh", "/note", "/open"];
    let bare = shot.path.split('?').next().unwrap_or_default();
    if !shot.path.starts_with("/auth/") && bare != METADATA {
        let method = if bare == "/note" { "POST" } else { dice.pick(&["GET", "HEAD"]) };
        shot.method = method.to_owned();
        if !own.contains(&bare) {
            shot.path = dice.pick(&own[..5]).to_owned();
            shot.method = "GET".to_owned();
        }
    }
    // Rocket gives a POST whose form begins with `_method=delete` that method before it asks anyone: a request that was a
    // DELETE already cannot be told from it, and a host's own route for POST does not get it.
    let renames = shot.body.as_ref().is_some_and(|body| body.starts_with(b"_method="));
    if renames && (shot.method == "DELETE" || shot.path.starts_with("/note")) {
        shot.body = None;
    }
    shot
}

/// A request that means something.
fn likely(dice: &mut Dice) -> Shot {
    let json_type = ("Content-Type", "application/json");
    let form_type = ("Content-Type", "application/x-www-form-urlencoded");
    let bearer = ("Authorization", "Bearer {access}");
    let cookies =
        ("Cookie", "__Host-gatekey_access={cookie-access}; __Host-gatekey_refresh={cookie-refresh}");
    let access_cookie = ("Cookie", "__Host-gatekey_access={cookie-access}");
    let refresh_cookie = ("Cookie", "__Host-gatekey_refresh={cookie-refresh}");
    let own = ("Sec-Fetch-Site", "same-origin");
    let with = |mut shot: Shot, body: &str| {
        shot.body = Some(body.as_bytes().to_vec());
        shot
    };
    let login = format!(r#"{{"username":"{{name}}","password":"{PASSWORD}"}}"#);
    let by_cookie = format!(r#"{{"username":"{{name}}","password":"{PASSWORD}","transport":"cookie"}}"#);
    match dice.below(24) {
        0 => with(valid("POST", "/auth/register", &[json_type]), &login),
        1 => with(valid("POST", "/auth/register", &[json_type]), r#"{"username":"x","password":"short"}"#),
        2 => with(valid("POST", "/auth/login", &[json_type]), &login),
        3 => with(valid("POST", "/auth/login", &[json_type, own]), &by_cookie),
        4 => with(valid("POST", "/auth/login", &[json_type]), r#"{"username":"{name}","password":"wrong"}"#),
        5 | 6 => with(
            valid("POST", "/auth/token", &[form_type]),
            "grant_type=refresh_token&refresh_token={refresh}",
        ),
        7 => with(
            valid("POST", "/auth/token", &[json_type]),
            r#"{"grant_type":"refresh_token","refresh_token":"{refresh}"}"#,
        ),
        8 | 9 => valid("POST", "/auth/token", &[refresh_cookie, own]),
        10 => valid("POST", "/auth/logout", &[bearer]),
        11 => valid("POST", "/auth/logout", &[cookies, own]),
        12 => with(valid("POST", "/auth/revoke", &[form_type]), "token={refresh}"),
        13 | 14 => valid("GET", "/auth/me", &[bearer]),
        15 => valid("GET", "/auth/me", &[access_cookie]),
        16 => valid("GET", "/auth/sessions", &[bearer]),
        17 => valid("DELETE", "/auth/sessions/{sid}", &[bearer]),
        18 => valid("DELETE", "/auth/sessions?keep_current=true", &[bearer]),
        19 => with(
            valid("POST", "/auth/password", &[json_type, bearer]),
            r#"{"current_password":"wrong","new_password":"a different phrase altogether"}"#,
        ),
        20 => valid("POST", "/note", &[cookies, own]),
        _ => {
            let path = dice.pick(PATHS);
            valid("GET", path, &[bearer])
        }
    }
}

fn mutate(dice: &mut Dice, shot: &mut Shot, tokens: &[String]) {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    match dice.below(16) {
        0 => shot.method = dice.pick(METHODS).to_owned(),
        1 => shot.path = dice.pick(PATHS).to_owned(),
        2 => {
            let path = shot.path.clone();
            shot.path = match dice.below(7) {
                0 => format!("{path}/"),
                1 => format!("{path}?x=1"),
                2 => format!("{path}?access_token={{access}}"),
                3 => path.replacen("auth", "%61uth", 1),
                4 => path.replacen("/auth/", "/auth//", 1),
                5 => path.replace("me", "ME"),
                _ => format!(
                    "{path}?keep_current={}",
                    dice.pick(&["true", "false", "1", "", "true&keep_current=true"])
                ),
            };
        }
        3 => {
            if !shot.fields.is_empty() {
                let at = dice.below(shot.fields.len());
                shot.fields.remove(at);
            }
        }
        4 => {
            if !shot.fields.is_empty() {
                let at = dice.below(shot.fields.len());
                let again = shot.fields[at].clone();
                shot.fields.push(again);
            }
        }
        5 | 6 => {
            let token = tokens[dice.below(tokens.len())].clone();
            let scheme =
                dice.pick(&["Bearer ", "Bearer ", "Bearer ", "bearer ", "Bearer  ", "Basic ", "Bearer", ""]);
            shot.fields.retain(|(name, _)| name != "Authorization" || dice.one_in(4));
            shot.fields.push(("Authorization".to_owned(), format!("{scheme}{token}")));
        }
        7 => {
            let token = &tokens[dice.below(tokens.len())];
            let name = dice.pick(&[
                "__Host-gatekey_access",
                "__Host-gatekey_refresh",
                "%5F%5FHost-gatekey_access",
                "__HOST-gatekey_access",
                "gatekey_access",
                " __Host-gatekey_access",
                "theme=dark; __Host-gatekey_access",
            ]);
            shot.fields.push(("Cookie".to_owned(), format!("{name}={token}")));
        }
        8 | 9 => {
            let site = dice.pick(&["same-origin", "none", "same-site", "cross-site", "Same-Origin", ""]);
            shot.fields.push(field("Sec-Fetch-Site", site));
        }
        10 => {
            let origin = dice.pick(&[
                "https://auth.test",
                "https://evil.test",
                "null",
                "http://auth.test",
                "https://auth.test:443",
            ]);
            shot.fields.push(field("Origin", origin));
        }
        11 => {
            let kind = dice.pick(&[
                "application/json",
                "application/json; charset=utf-8",
                "application/json; charset=latin1",
                "APPLICATION/JSON",
                "application/x-www-form-urlencoded",
                "text/plain",
                "multipart/form-data; boundary=x",
                "",
            ]);
            shot.fields.retain(|(name, _)| name != "Content-Type" || dice.one_in(4));
            shot.fields.push(field("Content-Type", kind));
        }
        12 => shot.chunked = true,
        13 => {
            let name = dice.pick(&[
                "X-HTTP-Method-Override",
                "X-Forwarded-For",
                "X-Real-IP",
                "Forwarded",
                "Accept",
                "Range",
            ]);
            shot.fields
                .push(field(name, dice.pick(&["DELETE", "192.0.2.1", "for=192.0.2.1", "*/*", "bytes=0-1"])));
        }
        _ => mutate_body(dice, shot),
    }
}

fn mutate_body(dice: &mut Dice, shot: &mut Shot) {
    let mut body = shot.body.take().unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    match dice.below(12) {
        0 => body.truncate(dice.below(body.len() + 1)),
        1 if !body.is_empty() => {
            let at = dice.below(body.len());
            body[at] = (dice.next() & 0x7f) as u8;
        }
        2 => body = text.replacen('{', r#"{"username":"twice","#, 1).into_bytes(),
        3 => body = text.replacen('{', r#"{"is_admin":true,"#, 1).into_bytes(),
        4 => body = text.replace("\"password\":\"", "\"password\":[\"").into_bytes(),
        5 => body = format!("[{text}]").into_bytes(),
        6 => body = format!("{text} ").into_bytes(),
        7 => body = format!("{text}{{}}").into_bytes(),
        8 => body = format!("\u{feff}{text}").into_bytes(),
        9 => body.extend(std::iter::repeat_n(b' ', dice.below(3) * 8192 + 16_384)),
        10 => body = format!("{text}&grant_type=password&x=%zz").into_bytes(),
        _ => body = format!("_method=delete&{text}").into_bytes(),
    }
    shot.body = Some(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_not_compared_and_zero_ages_are() {
        let text = r#"{"expires_in":900,"at":"2026-11-23T20:53:01Z","n":17} Max-Age=0 Max-Age=604800"#;
        let normal = r#"{"expires_in":<time>,"at":"<time>","n":17} Max-Age=0 Max-Age=<time>"#;
        assert_eq!(without_times(text), normal);
    }

    #[test]
    fn a_seed_draws_the_same_requests_again() {
        let draws = |seed| {
            let mut dice = Dice(seed);
            (0..50).map(|_| draw(&mut dice, &["t".to_owned()]).show()).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }
}
