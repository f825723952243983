//! What a body says: one strict reader for JSON and one for forms.
//!
//! 1. Well-formed first: a body that is no JSON object (or no form), or has a member twice, is `invalid_request`.
//! 2. Then its members: one that the request does not have, or of another type, is `validation_failed`; a missing one is
//!    `invalid_request`. Forms ignore parameters they do not know (RFC 6749 section 3.2) and refuse repeated ones.
//! 3. Nothing is coerced, trimmed or defaulted by type.

use std::{borrow::Cow, future::poll_fn, pin::pin};

use bytes::Bytes;
use futures_core::Stream;
use gatekey_core::{
    json::{self, Value},
    secret::Secret,
    user::Rule,
};

use crate::{head::Head, reply::Refusal};

/// The longest body that is read, in bytes.
pub const MAX_BODY: usize = 16 * 1024;

/// A body, as far as an adapter could read it.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "it holds credentials")]
pub enum Body {
    /// All of it, at most [`MAX_BODY`].
    Complete(Bytes),
    /// There is more than [`MAX_BODY`].
    TooLarge,
    /// The client stopped in the middle, or broke the framing.
    Broken,
}

impl Body {
    /// Reads a body that comes in pieces, no further than [`MAX_BODY`]; and not at all where the head announces more:
    /// waiting for such a body would be to the sender's liking.
    pub async fn read<P: AsRef<[u8]>, E>(head: &Head<'_>, pieces: impl Stream<Item = Result<P, E>>) -> Self {
        if head.announces_too_much() {
            return Self::TooLarge;
        }
        let mut pieces = pin!(pieces);
        let mut body = Vec::new();
        while let Some(piece) = poll_fn(|cx| pieces.as_mut().poll_next(cx)).await {
            let Ok(piece) = piece else { return Self::Broken };
            let piece = piece.as_ref();
            if piece.len() > MAX_BODY - body.len() {
                return Self::TooLarge;
            }
            body.extend_from_slice(piece);
        }
        Self::Complete(body.into())
    }
}

/// What the `Content-Type` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    Absent,
    Json,
    Form,
    Other,
}

impl MediaType {
    pub(crate) fn of(head: &Head<'_>) -> Self {
        match head.only("content-type") {
            Ok(None) => Self::Absent,
            Ok(Some(field)) => Self::parse(field),
            Err(_) => Self::Other,
        }
    }

    fn parse(field: &[u8]) -> Self {
        let Ok(field) = std::str::from_utf8(field) else { return Self::Other };
        let mut parts = field.split(';').map(|part| part.trim_matches([' ', '\t']));
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        // JSON and forms are UTF-8 here; another charset would be read wrongly, so it is refused.
        let utf8 = parts.all(|part| {
            let part = part.to_ascii_lowercase();
            matches!(part.as_str(), "charset=utf-8" | "charset=\"utf-8\"")
        });
        match (essence.as_str(), utf8) {
            ("application/json", true) => Self::Json,
            ("application/x-www-form-urlencoded", true) => Self::Form,
            _ => Self::Other,
        }
    }
}

/// The members of a JSON object, taken one by one. What is left in the end was not expected.
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Object<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        match json::parse(body) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) | Err(_) => Err(Refusal::InvalidRequest),
        }
    }

    /// A text, if the member is there.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<Option<String>, Refusal> {
        let Some(at) = self.0.iter().position(|(name, _)| name == field) else { return Ok(None) };
        let Value::String(text) = self.0.swap_remove(at).1 else {
            return Err(Refusal::Validation { field, rule: Rule::WrongType });
        };
        Ok(Some(text.into_owned()))
    }

    pub(crate) fn end(self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Validation { field: "body", rule: Rule::UnknownMember })
        }
    }
}

/// The parameters of a form.
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (&pair[..at], pair.get(at + 1..).unwrap_or_default());
            let (Some(name), Some(value)) = (decode(name), decode(value)) else {
                return Err(Refusal::InvalidRequest);
            };
            parameters.push((name, value));
        }
        let mut names: Vec<_> = parameters.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Refusal::InvalidRequest);
        }
        Ok(Self(parameters))
    }

    /// A parameter. One without a value is treated as omitted (RFC 6749 section 3.2).
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.is_empty())
    }
}

/// Undoes form encoding. `None` for a broken escape or text that is not UTF-8.
pub(crate) fn decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            _ => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A member that has to be there.
pub(crate) fn required<T>(member: Option<T>) -> Result<T, Refusal> {
    member.ok_or(Refusal::InvalidRequest)
}

/// What a registration asks for.
pub(crate) struct Registration {
    pub(crate) username: String,
    pub(crate) password: Secret<String>,
}

impl Registration {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let mut object = Object::parse(body)?;
        let (username, password) = (object.text("username")?, object.text("password")?);
        object.end()?;
        Ok(Self { username: required(username)?, password: Secret::new(required(password)?) })
    }
}

/// How tokens travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Body,
    Cookie,
}

/// What a login asks for.
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Secret<String>,
    pub(crate) transport: Transport,
}

impl Login {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let mut object = Object::parse(body)?;
        let (username, password) = (object.text("username")?, object.text("password")?);
        let transport = match object.text("transport")?.as_deref() {
            None | Some("body") => Transport::Body,
            Some("cookie") => Transport::Cookie,
            Some(_) => return Err(Refusal::Validation { field: "transport", rule: Rule::UnknownValue }),
        };
        object.end()?;
        Ok(Self { username: required(username)?, password: Secret::new(required(password)?), transport })
    }
}

/// What a password change asks for.
pub(crate) struct PasswordChange {
    pub(crate) current: Secret<String>,
    pub(crate) new: Secret<String>,
}

impl PasswordChange {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let mut object = Object::parse(body)?;
        let (current, new) = (object.text("current_password")?, object.text("new_password")?);
        object.end()?;
        Ok(Self { current: Secret::new(required(current)?), new: Secret::new(required(new)?) })
    }
}

/// What a token request with a body asks for.
pub(crate) struct TokenRequest {
    pub(crate) refresh_token: Secret<String>,
    pub(crate) scope: Option<String>,
}

impl TokenRequest {
    pub(crate) fn parse(body: &[u8], media: MediaType, client_id: &str) -> Result<Self, Refusal> {
        let (grant_type, token, scope, client) = if media == MediaType::Json {
            let mut object = Object::parse(body)?;
            let members = (
                object.text("grant_type")?,
                object.text("refresh_token")?,
                object.text("scope")?,
                object.text("client_id")?,
            );
            object.end()?;
            members
        } else {
            let mut form = Form::parse(body)?;
            (form.text("grant_type"), form.text("refresh_token"), form.text("scope"), form.text("client_id"))
        };
        if required(grant_type)? != "refresh_token" {
            return Err(Refusal::UnsupportedGrantType);
        }
        if client.is_some_and(|client| client != client_id) {
            return Err(Refusal::InvalidRequest);
        }
        Ok(Self { refresh_token: Secret::new(required(token)?), scope })
    }
}

/// The refresh token a logout may carry in its body.
pub(crate) fn parse_logout(body: &[u8]) -> Result<Option<Secret<String>>, Refusal> {
    if body.is_empty() {
        return Ok(None);
    }
    let mut object = Object::parse(body)?;
    let token = object.text("refresh_token")?;
    object.end()?;
    required(token).map(|token| Some(Secret::new(token)))
}

/// The token a revocation names (RFC 7009). The hint is only a hint, and is not needed.
pub(crate) fn parse_revocation(body: &[u8], client_id: &str) -> Result<Secret<String>, Refusal> {
    let mut form = Form::parse(body)?;
    if form.text("client_id").is_some_and(|client| client != client_id) {
        return Err(Refusal::InvalidRequest);
    }
    required(form.text("token")).map(Secret::new)
}

/// What an introspection asks (RFC 7662 section 2.1). The hint is only a hint, and is not needed.
pub(crate) struct Introspection {
    pub(crate) token: Secret<String>,
    /// Has to be the client's own.
    pub(crate) client_id: Option<String>,
    /// Whether a secret stands here, where none is taken.
    pub(crate) secret_in_body: bool,
}

impl Introspection {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let mut form = Form::parse(body)?;
        Ok(Self {
            token: Secret::new(required(form.text("token"))?),
            client_id: form.text("client_id"),
            secret_in_body: form.text("client_secret").is_some(),
        })
    }
}

/// What the query of `DELETE /sessions` says.
pub(crate) fn parse_keep_current(query: Option<&str>) -> Result<bool, Refusal> {
    let mut form = Form::parse(query.unwrap_or_default().as_bytes())?;
    let at = form.0.iter().position(|(name, _)| name == "keep_current");
    match at.map(|at| form.0.swap_remove(at).1).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Refusal::InvalidRequest),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
        vec,
    };

    use http::{HeaderMap, header::CONTENT_LENGTH};

    use super::*;

    /// The lengths of a body's pieces, where the client hangs up, and what was read of them.
    struct Pieces<'a>(vec::IntoIter<Result<usize, ()>>, &'a mut usize);

    impl Stream for Pieces<'_> {
        type Item = Result<Vec<u8>, ()>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            *self.1 += 1;
            Poll::Ready(self.0.next().map(|length| length.map(|length| vec![b' '; length])))
        }
    }

    #[tokio::test]
    async fn a_body_is_read_to_the_limit_and_no_further() {
        let told = |read: &Body| match read {
            Body::Complete(bytes) => Ok(bytes.len()),
            Body::TooLarge => Err("too large"),
            Body::Broken => Err("broken"),
        };
        let (most, more) = (MAX_BODY.to_string(), (MAX_BODY + 1).to_string());
        for (announced, pieces, expected, asked) in [
            (None, vec![], Ok(0), 1),
            (None, vec![Ok(MAX_BODY)], Ok(MAX_BODY), 2),
            (None, vec![Ok(1), Ok(0), Ok(MAX_BODY - 1)], Ok(MAX_BODY), 4),
            (None, vec![Ok(MAX_BODY + 1), Ok(1)], Err("too large"), 1),
            (None, vec![Ok(MAX_BODY), Ok(1), Ok(1)], Err("too large"), 2),
            (None, vec![Ok(1), Err(()), Ok(1)], Err("broken"), 2),
            (Some(&most), vec![Ok(MAX_BODY)], Ok(MAX_BODY), 2),
            (Some(&more), vec![Ok(1)], Err("too large"), 0),
        ] {
            let length = announced.map(|length| (CONTENT_LENGTH, length.parse().unwrap()));
            let headers: HeaderMap = length.into_iter().collect();
            let head =
                Head { method: "POST", path: "/auth/login", query: None, headers: &headers, peer: None };
            let (label, mut count) = (format!("{announced:?} {pieces:?}"), 0);
            let read = Body::read(&head, Pieces(pieces.into_iter(), &mut count)).await;
            assert_eq!((told(&read), count), (expected, asked), "{label}");
        }
    }

    #[test]
    fn media_types_are_told_apart_with_their_charset() {
        for (field, expected) in [
            ("application/json", MediaType::Json),
            ("Application/JSON; charset=UTF-8", MediaType::Json),
            ("application/json;charset=\"utf-8\"", MediaType::Json),
            ("application/json; charset=utf-16", MediaType::Other),
            ("application/json; x=y", MediaType::Other),
            ("application/json;", MediaType::Other),
            ("application/jsonp", MediaType::Other),
            ("application/ld+json", MediaType::Other),
            ("text/json", MediaType::Other),
            ("text/plain", MediaType::Other),
            ("", MediaType::Other),
            ("application/x-www-form-urlencoded", MediaType::Form),
            ("multipart/form-data; boundary=x", MediaType::Other),
        ] {
            assert_eq!(MediaType::parse(field.as_bytes()), expected, "{field}");
        }
    }

    #[test]
    fn forms_are_decoded_once_and_strictly() {
        let form = |text: &str| Form::parse(text.as_bytes()).ok().map(|form| form.0);
        let pairs = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>())
        };
        assert_eq!(form("a=1&b=x+y%2B%25"), pairs(&[("a", "1"), ("b", "x y+%")]));
        assert_eq!(form("a&&b==c"), pairs(&[("a", ""), ("b", "=c")]));
        for text in ["a=1&a=1", "a=1&%61=2", "a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert_eq!(form(text), None, "{text}");
        }
    }
}
