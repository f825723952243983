//! The page that every quickstart serves, for any framework: three files, the headers they need, and one answer.
//!
//! It is an example that people copy. It logs in with `gatekey.js` in cookie transport, so that no script ever holds a
//! token, and needs no inline script, so that the policy can forbid them. An application:
//!
//! - serves [`FILES`], each with [`HEADERS`] and its own content type;
//! - gives the builder a [`SecurityLog`] (`.events(log.clone())`) and answers [`SECURITY`], a guarded route, with
//!   [`SecurityLog::of`] the caller's subject and [`PRIVATE`].
//!
//! In axum that is a router, [`axum::routes`].

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use gatekey::{Client, Event, EventKind, EventSink, SubjectId};
use serde_json::{Value, json};

#[cfg(feature = "axum")]
pub mod axum;

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Where it is served.
    pub path: &'static str,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// All of it.
pub const FILES: [File; 3] = [
    File { path: "/", content_type: "text/html; charset=utf-8", text: include_str!("index.html") },
    File { path: "/app.css", content_type: "text/css; charset=utf-8", text: include_str!("app.css") },
    File { path: "/app.js", content_type: "text/javascript; charset=utf-8", text: include_str!("app.js") },
];

/// The headers of each file. The policy allows what the page needs and nothing else; it also keeps every script from
/// writing HTML from text, here and in what is added later.
pub const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("cache-control", "no-cache"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Where the page asks for what happened to the account.
pub const SECURITY: &str = "/security";

/// The headers of an answer that is for one person alone.
pub const PRIVATE: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
];

/// The accounts that are remembered, and the events of each: whoever makes many of them fills no memory.
const ACCOUNTS: usize = 1000;
const EVENTS: usize = 5;

/// What the owners of accounts should see: sessions that two parties held.
///
/// It forgets all of it when the program ends. An application would keep it with the account, and send a mail as well.
#[derive(Clone, Debug, Default)]
pub struct SecurityLog(Arc<Mutex<HashMap<String, VecDeque<Value>>>>);

impl SecurityLog {
    /// What happened to an account, the newest first: a JSON object.
    #[must_use]
    pub fn of(&self, subject: &SubjectId) -> String {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "events": log.get(subject.as_str()).cloned().unwrap_or_default() }).to_string()
    }
}

impl EventSink for SecurityLog {
    fn event(&self, event: &Event) {
        let (EventKind::RefreshReuse, Some(subject)) = (event.kind, &event.subject) else { return };
        let clients: Vec<_> = event.previous.iter().chain([&event.client]).map(client).collect();
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() >= ACCOUNTS && !log.contains_key(subject.as_str()) {
            log.clear();
        }
        let events = log.entry(subject.as_str().to_owned()).or_default();
        events.push_front(json!({
            "event": event.kind.name(),
            "at": event.at.to_string(),
            "clients": clients,
        }));
        events.truncate(EVENTS);
    }
}

fn client(client: &Client) -> Value {
    json!({ "ip": client.ip.map(|ip| ip.to_string()), "user_agent": client.user_agent })
}
