//! The page that every quickstart serves: three files and the headers they need, for any framework.
//!
//! It is an example that people copy. It talks to gatekey in cookie transport, so that no script ever holds a token, and
//! it needs no inline script, so that the policy can forbid them.

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

/// The headers of each file. The policy allows what the page needs and nothing else.
pub const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("cache-control", "no-cache"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];
