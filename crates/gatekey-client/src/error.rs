//! What a call may fail with.
//!
//! A refusal carries the server's code ([RFC 6749 section 5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2) and
//! Gatekey's own, `docs/errors.md`). [`Error::session_ended`] is true of one alone: `invalid_grant`. Whatever else went
//! wrong, the tokens are kept, and the same call may succeed later.

use std::{error, fmt, sync::Arc, time::Duration};

use reqwest::{Response, header::RETRY_AFTER};
use serde::Deserialize;

/// Waits longer than an hour are not believed.
const LONGEST_WAIT: u64 = 3600;

/// The most that is read of an answer.
const MAX_ANSWER: usize = 64 * 1024;

/// Why there is no answer to return.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The server refused.
    Refused(Refusal),
    /// The server could not be reached, or its answer was lost, or came too late.
    Transport(Arc<reqwest::Error>),
    /// An answer that no Gatekey gives, with this status: a proxy's page, say.
    Unreadable(u16),
    /// The store of tokens failed.
    Store(Arc<dyn error::Error + Send + Sync>),
    /// The runtime that a refresh ran on has ended. The next call refreshes.
    Interrupted,
    /// A setting of [`Client::builder`](crate::Client::builder) is wrong.
    Config(String),
}

impl Error {
    /// Whether the session is over: a refresh was refused as `400` `invalid_grant`. Ask for the password again.
    #[must_use]
    pub fn session_ended(&self) -> bool {
        matches!(self, Self::Refused(Refusal { status: 400, code: Code::InvalidGrant, .. }))
    }

    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&Code> {
        if let Self::Refused(refusal) = self { Some(&refusal.code) } else { None }
    }

    pub(crate) fn transport(error: reqwest::Error) -> Self {
        Self::Transport(Arc::new(error))
    }

    pub(crate) fn store(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::Store(Arc::from(error.into()))
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused(refusal) = self { refusal.retry_after } else { None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Transport(_) => f.write_str("no answer from the server"),
            Self::Unreadable(status) => {
                write!(f, "an answer that is not the server's own, with status {status}")
            }
            Self::Store(_) => f.write_str("the store of tokens failed"),
            Self::Interrupted => f.write_str("a refresh was interrupted"),
            Self::Config(problem) => f.write_str(problem),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Transport(error) => Some(error),
            Self::Store(error) => Some(&**error),
            Self::Refused(_) | Self::Unreadable(_) | Self::Interrupted | Self::Config(_) => None,
        }
    }
}

/// What the server said instead of what it was asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Decide by this.
    pub code: Code,
    /// One sentence, for a log. It may be reworded.
    pub description: String,
    /// Of `validation_failed`: the field that breaks a rule.
    pub field: Option<String>,
    /// Of `validation_failed`: the rule that it breaks, such as `too_short`.
    pub rule: Option<String>,
    /// How long to wait before another try, at most an hour.
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Body {
    error: String,
    #[serde(default)]
    error_description: String,
    field: Option<String>,
    rule: Option<String>,
}

impl Refusal {
    /// Reads a refusal, also one of an application's own routes or of a proxy, whose code is then empty.
    pub async fn read(response: Response) -> Self {
        let status = response.status().as_u16();
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(|seconds: u64| Duration::from_secs(seconds.min(LONGEST_WAIT)));
        let body = body(response).await.ok().and_then(|body| serde_json::from_slice::<Body>(&body).ok());
        let (code, description, field, rule) = match body {
            Some(body) => (body.error, body.error_description, body.field, body.rule),
            None => (String::new(), String::new(), None, None),
        };
        Self { status, code: Code::from(code), description, field, rule, retry_after }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.code.as_str())?;
        if self.description.is_empty() { Ok(()) } else { write!(f, ": {}", self.description) }
    }
}

/// The body of an answer, if there is not too much of it.
pub(crate) async fn body(mut response: Response) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Error::transport)? {
        if text.len() + chunk.len() > MAX_ANSWER {
            return Err(Error::Unreadable(response.status().as_u16()));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

macro_rules! codes {
    ($($name:ident = $text:literal;)*) => {
        /// The code of a refusal, as in `docs/errors.md`. It never changes its meaning.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("`", $text, "`")] $name,)*
            /// One of another server, or none.
            Other(String),
        }

        impl Code {
            /// As it is on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(code) => code,
                }
            }
        }

        impl From<String> for Code {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $($text => Self::$name,)*
                    _ => Self::Other(text),
                }
            }
        }
    };
}

codes! {
    InvalidRequest = "invalid_request";
    InvalidScope = "invalid_scope";
    UnsupportedGrantType = "unsupported_grant_type";
    InvalidGrant = "invalid_grant";
    Unauthenticated = "unauthenticated";
    InvalidToken = "invalid_token";
    InvalidClient = "invalid_client";
    InvalidCredentials = "invalid_credentials";
    InsufficientUserAuthentication = "insufficient_user_authentication";
    InsufficientScope = "insufficient_scope";
    CsrfFailed = "csrf_failed";
    NotFound = "not_found";
    MethodNotAllowed = "method_not_allowed";
    UsernameTaken = "username_taken";
    Superseded = "superseded";
    PayloadTooLarge = "payload_too_large";
    UnsupportedMediaType = "unsupported_media_type";
    ValidationFailed = "validation_failed";
    RateLimited = "rate_limited";
    ServerError = "server_error";
    TemporarilyUnavailable = "temporarily_unavailable";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_page_of_errors_is_known() {
        let page = include_str!("../../../docs/errors.md");
        let codes: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with("| 4") || line.starts_with("| 5"))
            .filter_map(|line| line.split('`').nth(1))
            .collect();
        assert_eq!(codes.len(), 21);
        for code in codes {
            let read = Code::from(code.to_owned());
            assert!(!matches!(read, Code::Other(_)), "{code}");
            assert_eq!(read.as_str(), code);
        }
        assert_eq!(Code::from("slow_down".to_owned()), Code::Other("slow_down".to_owned()));
    }
}
