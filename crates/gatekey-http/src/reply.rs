//! What is answered: every status, code, header and sentence of an error, in one place.
//!
//! The set of codes is closed; a code never changes its meaning. No input is echoed. Every reply carries the same
//! protective headers, so that nothing an endpoint says is cached, framed, sniffed or embedded elsewhere.

use std::time::Duration;

use bytes::Bytes;
use gatekey_core::{
    error::{AuthError, TokenError},
    user::Rule,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LOCATION, REFERRER_POLICY,
        RETRY_AFTER, SET_COOKIE, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};
use serde_json::{Value, json};

use crate::cookie::whole_seconds;

/// A whole answer; an adapter only changes its type.
pub type Reply = Response<Bytes>;

/// Why a request is refused, as the client sees it.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    InvalidRequest,
    UnsupportedGrantType,
    Unauthenticated,
    CsrfFailed,
    NotFound,
    MethodNotAllowed(&'static str),
    PayloadTooLarge,
    UnsupportedMediaType,
    Validation { field: &'static str, rule: Rule },
    Auth(AuthError),
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self::Auth(error)
    }
}

/// What a challenge says beside the realm.
enum Challenge {
    None,
    Plain,
    /// For a client's secret (RFC 6749 section 5.2).
    Basic,
    Error {
        scope: Option<String>,
        max_age: Option<Duration>,
    },
}

/// An error reply. One match decides status, code, sentence and challenge; a new error has to choose.
pub(crate) fn refuse(refusal: &Refusal, realm: &str) -> Reply {
    use StatusCode as S;
    let challenged = Challenge::Error { scope: None, max_age: None };
    let (status, code, sentence, challenge) = match refusal {
        Refusal::InvalidRequest => (
            S::BAD_REQUEST,
            "invalid_request",
            "The request is malformed, repeats something, or lacks something required.",
            Challenge::None,
        ),
        Refusal::UnsupportedGrantType => (
            S::BAD_REQUEST,
            "unsupported_grant_type",
            "The only grant type here is refresh_token.",
            Challenge::None,
        ),
        Refusal::Unauthenticated => {
            (S::UNAUTHORIZED, "unauthenticated", "An access token is required.", Challenge::Plain)
        }
        Refusal::CsrfFailed => {
            (S::FORBIDDEN, "csrf_failed", "The request did not come from a trusted page.", Challenge::None)
        }
        Refusal::NotFound | Refusal::Auth(AuthError::NotFound) => {
            (S::NOT_FOUND, "not_found", "There is nothing here.", Challenge::None)
        }
        Refusal::MethodNotAllowed(_) => {
            (S::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed here.", Challenge::None)
        }
        Refusal::PayloadTooLarge => {
            (S::PAYLOAD_TOO_LARGE, "payload_too_large", "The body is longer than 16 KiB.", Challenge::None)
        }
        Refusal::UnsupportedMediaType => (
            S::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "The body is of a type that is not taken here.",
            Challenge::None,
        ),
        Refusal::Validation { .. } | Refusal::Auth(AuthError::Validation { .. }) => {
            (S::UNPROCESSABLE_ENTITY, "validation_failed", "A field breaks a rule.", Challenge::None)
        }
        Refusal::Auth(error) => match error {
            AuthError::InvalidToken(TokenError::Expired) => {
                (S::UNAUTHORIZED, "invalid_token", "The access token expired", challenged)
            }
            // Not known yet, which says nothing of the token: to be tried again in a moment.
            AuthError::InvalidToken(TokenError::KeyPending) | AuthError::Unavailable(_) => (
                S::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "The service cannot answer now; try again.",
                Challenge::None,
            ),
            AuthError::InvalidToken(_) => {
                (S::UNAUTHORIZED, "invalid_token", "The access token is invalid", challenged)
            }
            AuthError::InvalidCredentials(_) => (
                S::UNAUTHORIZED,
                "invalid_credentials",
                "The name or the password is wrong.",
                Challenge::Plain,
            ),
            AuthError::InvalidGrant(_) => (
                S::BAD_REQUEST,
                "invalid_grant",
                "The refresh token is not valid; log in again.",
                Challenge::None,
            ),
            AuthError::InvalidClient(_) => (
                S::UNAUTHORIZED,
                "invalid_client",
                "The client could not be authenticated.",
                Challenge::Basic,
            ),
            AuthError::InvalidScope => (
                S::BAD_REQUEST,
                "invalid_scope",
                "More scope was asked for than was granted.",
                Challenge::None,
            ),
            AuthError::Superseded => (
                S::CONFLICT,
                "superseded",
                "A newer refresh token was issued; use that one.",
                Challenge::None,
            ),
            AuthError::InsufficientScope(scope) => (
                S::FORBIDDEN,
                "insufficient_scope",
                "The access token does not allow this",
                Challenge::Error { scope: scope.clone(), max_age: None },
            ),
            AuthError::InsufficientAuthentication { max_age } => (
                S::UNAUTHORIZED,
                "insufficient_user_authentication",
                "A more recent login is required",
                Challenge::Error { scope: None, max_age: Some(*max_age) },
            ),
            AuthError::UsernameTaken => {
                (S::CONFLICT, "username_taken", "The user name is taken.", Challenge::None)
            }
            AuthError::RateLimited { .. } => {
                (S::TOO_MANY_REQUESTS, "rate_limited", "Too many attempts; try again later.", Challenge::None)
            }
            AuthError::Internal(_) => (
                S::INTERNAL_SERVER_ERROR,
                "server_error",
                "Something went wrong on our side.",
                Challenge::None,
            ),
            // Both have a row of their own above.
            AuthError::NotFound | AuthError::Validation { .. } => {
                (S::NOT_FOUND, "not_found", "There is nothing here.", Challenge::None)
            }
        },
    };

    let mut body = json!({ "error": code, "error_description": sentence });
    if let Refusal::Validation { field, rule } | Refusal::Auth(AuthError::Validation { field, rule }) =
        refusal
    {
        body["field"] = (*field).into();
        body["rule"] = rule.name().into();
    }
    let mut reply = json(status, &body);
    let headers = reply.headers_mut();
    if let Refusal::MethodNotAllowed(allow) = refusal {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Refusal::Auth(AuthError::RateLimited { retry_after }) = refusal {
        headers.insert(RETRY_AFTER, whole_seconds(*retry_after).max(1).into());
    }
    if status == S::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    let mut field = format!("Bearer realm=\"{realm}\"");
    match challenge {
        Challenge::None => return reply,
        Challenge::Plain => {}
        Challenge::Basic => field = format!("Basic realm=\"{realm}\""),
        Challenge::Error { scope, max_age } => {
            field.push_str(&format!(", error=\"{code}\", error_description=\"{sentence}\""));
            // A scope that could not stand in a quoted string is left out rather than mangled.
            if let Some(scope) = scope.filter(|scope| scope.chars().all(is_challenge_text)) {
                field.push_str(&format!(", scope=\"{scope}\""));
            }
            if let Some(max_age) = max_age {
                field.push_str(&format!(", max_age=\"{}\"", max_age.as_secs()));
            }
        }
    }
    if let Ok(field) = HeaderValue::try_from(field) {
        headers.insert(WWW_AUTHENTICATE, field);
    }
    reply
}

/// The characters RFC 6750 section 3 allows in a challenge's values: printable ASCII without quote and backslash.
pub(crate) fn is_challenge_text(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '"' | '\\')
}

/// A reply with a JSON body.
pub(crate) fn json(status: StatusCode, body: &Value) -> Reply {
    let mut reply = bare(status, Bytes::from(body.to_string()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// The client for browsers, or word that the one which the asker has is still the same. It may be kept, but is asked for
/// each time: a page that names the hash of the new one never gets the old one.
pub(crate) fn script(text: Option<&'static str>, tag: &'static str) -> Reply {
    let mut reply = match text {
        Some(text) => {
            let mut reply = bare(StatusCode::OK, Bytes::from_static(text.as_bytes()));
            let media = HeaderValue::from_static("text/javascript; charset=utf-8");
            reply.headers_mut().insert(CONTENT_TYPE, media);
            reply
        }
        None => empty(StatusCode::NOT_MODIFIED),
    };
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply.headers_mut().insert(ETAG, HeaderValue::from_static(tag));
    reply
}

/// A reply without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    bare(status, Bytes::new())
}

/// A reply that sends a browser elsewhere by GET. A path that is no field's value is none that we make.
pub(crate) fn see_other(path: &str) -> Reply {
    let mut reply = empty(StatusCode::SEE_OTHER);
    let location = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    reply.headers_mut().insert(LOCATION, location);
    reply
}

/// A document that other services read and may keep for five minutes.
pub(crate) fn public(body: &Value) -> Reply {
    let mut reply = json(StatusCode::OK, body);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    reply.headers_mut().remove("cross-origin-resource-policy");
    reply
}

fn bare(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    protect(reply.headers_mut());
    reply
}

fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Adds cookies to a reply.
pub(crate) fn set_cookies(reply: &mut Reply, cookies: Vec<HeaderValue>) {
    for cookie in cookies {
        reply.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Whether a field of a [`Reply`] is added to those of its name that a framework has put there, as cookies are, or takes their
/// place. For frameworks that write a reply into a response of their own.
#[must_use]
pub fn is_added(name: &HeaderName) -> bool {
    name == SET_COOKIE || name == VARY
}

/// Says that the reply depended on where the request came from.
pub(crate) fn vary(reply: &mut Reply) {
    reply.headers_mut().insert(VARY, HeaderValue::from_static("Sec-Fetch-Site, Origin"));
}
