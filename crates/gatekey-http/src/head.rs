//! What a request says before its body: who sends it, and which credentials it carries.
//!
//! 1. The access credential is one `Authorization: Bearer` field (scheme case-insensitive) or the access cookie. Both at
//!    once, two `Authorization` fields, or two cookies of one of our names are refused: each parameter has one source.
//! 2. Another scheme is no credential. A query parameter is none either (RFC 6750 section 2.3 is not offered).
//! 3. Cookies are read from the raw fields, byte for byte. Frameworks decode cookie names, so that `%5F%5FHost-…`
//!    becomes a name the browser never protected; ours are compared as they came.

use std::net::IpAddr;

use base64_simd::STANDARD;
use gatekey_core::secret::Secret;

use crate::{
    body::{MAX_BODY, decode},
    cookie::CookieNames,
};

/// The header fields of a request, in whatever type the framework keeps them.
pub trait Headers: Sync {
    /// Calls `value` with each value of the field of that lower-case name, in order.
    fn each<'a>(&'a self, name: &str, value: &mut dyn FnMut(&'a [u8]));
}

impl Headers for http::HeaderMap {
    fn each<'a>(&'a self, name: &str, value: &mut dyn FnMut(&'a [u8])) {
        // Every guarded request is asked for these two: a name that is known need not be read.
        let found = match name {
            "authorization" => self.get_all(http::header::AUTHORIZATION),
            "cookie" => self.get_all(http::header::COOKIE),
            _ => self.get_all(name),
        };
        found.iter().for_each(|found| value(found.as_bytes()));
    }
}

/// A request as an adapter shows it: everything but the body.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "it holds credentials")]
pub struct Head<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path, as sent: not decoded, without the query.
    pub path: &'a str,
    /// The query, as sent.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a dyn Headers,
    /// The socket peer's address; `None` where the framework was not told it.
    pub peer: Option<IpAddr>,
}

impl<'a> Head<'a> {
    /// The only value of a field: `None` if there is none, an error if there are several.
    pub(crate) fn only(&self, name: &str) -> Result<Option<&'a [u8]>, Twice> {
        let mut found = None;
        let mut count = 0;
        self.headers.each(name, &mut |value| {
            found = Some(value);
            count += 1;
        });
        if count > 1 { Err(Twice) } else { Ok(found) }
    }

    /// Whether the length that the request announces is more than is read. Waiting for such a body would be to the
    /// sender's liking, so an adapter calls it [`crate::Body::TooLarge`] at once.
    #[must_use]
    pub fn announces_too_much(&self) -> bool {
        let announced = self.only("content-length").ok().flatten();
        let length = announced.and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok());
        length.is_some_and(|length| length > MAX_BODY as u64)
    }

    /// Whether the method is one that changes nothing (RFC 9110 section 9.2.1). TRACE and unknown ones are not.
    pub(crate) fn is_safe(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }
}

/// A field that may stand once stands twice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Twice;

/// The credentials of a request, none of them looked into yet.
#[derive(Clone, Copy, Default)]
pub(crate) struct Credentials<'a> {
    pub(crate) bearer: Option<&'a [u8]>,
    pub(crate) access_cookie: Option<&'a [u8]>,
    pub(crate) refresh_cookie: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// Reads them; no cookie is one where there are no names.
    pub(crate) fn read(head: &Head<'a>, names: Option<&CookieNames>) -> Result<Self, Twice> {
        let bearer = head.only("authorization")?.and_then(bearer);
        let mut found = Self { bearer, ..Self::default() };
        let Some(names) = names else { return Ok(found) };
        let mut twice = false;
        head.headers.each("cookie", &mut |field| {
            for (name, value) in pairs(field) {
                if name == names.access.as_bytes() {
                    twice |= found.access_cookie.replace(value).is_some();
                } else if name == names.refresh.as_bytes() {
                    twice |= found.refresh_cookie.replace(text(value)).is_some();
                }
            }
        });
        if twice || (found.bearer.is_some() && found.access_cookie.is_some()) {
            return Err(Twice);
        }
        Ok(found)
    }

    /// The one access token.
    pub(crate) fn access(&self) -> Option<&'a [u8]> {
        self.bearer.or(self.access_cookie)
    }

    /// Whether a cookie of ours came along: then a browser may have been made to send it.
    pub(crate) fn any_cookie(&self) -> bool {
        self.access_cookie.is_some() || self.refresh_cookie.is_some()
    }
}

/// What follows `Bearer` and at least one space. A Bearer field with nothing in it is a bad token, not an absent one.
fn bearer(field: &[u8]) -> Option<&[u8]> {
    credentials(field, b"bearer")
}

/// The id and the secret of a client, from a field `Basic` ([RFC 6749 section 2.3.1]): each form-encoded, with a colon
/// between, in base64. What is written otherwise is no credential.
///
/// [RFC 6749 section 2.3.1]: https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1
pub(crate) fn basic(field: &[u8]) -> Option<(String, Secret<String>)> {
    let pair = Secret::new(STANDARD.decode_to_vec(credentials(field, b"basic")?).ok()?);
    let at = pair.expose().iter().position(|byte| *byte == b':')?;
    let (id, secret) = (&pair.expose()[..at], &pair.expose()[at + 1..]);
    Some((decode(id)?, Secret::new(decode(secret)?)))
}

/// What follows a scheme and at least one space.
fn credentials<'a>(field: &'a [u8], expected: &[u8]) -> Option<&'a [u8]> {
    let end = field.iter().position(|byte| *byte == b' ').unwrap_or(field.len());
    let (scheme, rest) = field.split_at(end);
    let start = rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
    scheme.eq_ignore_ascii_case(expected).then(|| &rest[start..])
}

/// A value that is not text is no token; the empty text is refused as one.
fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

/// The pairs of a Cookie field: `a=1; b=2`. One space after a semicolon belongs to the separator; nothing else is
/// trimmed, decoded or unquoted.
pub(crate) fn pairs(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    field.split(|byte| *byte == b';').enumerate().filter_map(|(i, pair)| {
        let pair = if i > 0 { pair.strip_prefix(b" ").unwrap_or(pair) } else { pair };
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn read<'a>(headers: &'a HeaderMap) -> Result<Credentials<'a>, Twice> {
        let head = Head { method: "GET", path: "/", query: None, headers, peer: None };
        Credentials::read(&head, Some(&CookieNames::secure()))
    }

    fn headers(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    #[test]
    fn one_bearer_field_is_the_credential_whatever_the_case_of_its_scheme() {
        for field in ["Bearer a.b.c", "bEaReR a.b.c", "BEARER   a.b.c"] {
            let map = headers(&[("authorization", field.as_bytes())]);
            assert_eq!(read(&map).unwrap().access(), Some(&b"a.b.c"[..]), "{field}");
        }
        for field in ["Basic a.b.c", "Bearera.b.c", "", " Bearer a", "DPoP a.b.c"] {
            let map = headers(&[("authorization", field.as_bytes())]);
            assert_eq!(read(&map).unwrap().access(), None, "{field}");
        }
        for field in ["Bearer", "Bearer ", "Bearer \u{fc}"] {
            let map = headers(&[("authorization", field.as_bytes())]);
            assert!(read(&map).unwrap().access().is_some(), "{field} is a bad token, not none");
        }
    }

    #[test]
    fn a_client_authenticates_by_basic_alone() {
        let pair = |field: &str| basic(field.as_bytes()).map(|(id, secret)| (id, secret.expose().clone()));
        let found = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        // orders-api:s3cret, and the same percent-encoded.
        for field in [
            "Basic b3JkZXJzLWFwaTpzM2NyZXQ=",
            "bAsIc   b3JkZXJzLWFwaTpzM2NyZXQ=",
            "Basic b3JkZXJzJTJEYXBpOnMzY3JlJTc0",
        ] {
            assert_eq!(pair(field), found("orders-api", "s3cret"), "{field}");
        }
        // a:b:c, a:, :
        assert_eq!(pair("Basic YTpiOmM="), found("a", "b:c"));
        assert_eq!(pair("Basic YTo="), found("a", ""));
        assert_eq!(pair("Basic Og=="), found("", ""));
        for field in [
            "Basic",
            "Basic ",
            "Basic YTpi=",
            "Basic YTo",
            "Basic YTp=",
            "Basic YWI=",
            "Basic !!!!",
            "Basic YTo= x",
            // a:%, and a: with a byte that is no UTF-8.
            "Basic YTol",
            "Basic YTr/",
            "Bearer b3JkZXJzLWFwaTpzM2NyZXQ=",
            "b3JkZXJzLWFwaTpzM2NyZXQ=",
        ] {
            assert_eq!(pair(field), None, "{field}");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_seen_before_the_body() {
        for (length, expected) in [
            ("0", false),
            ("16384", false),
            ("16385", true),
            ("18446744073709551615", true),
            ("-1", false),
            ("x", false),
        ] {
            let headers = headers(&[("content-length", length.as_bytes())]);
            let head = Head { method: "POST", path: "/", query: None, headers: &headers, peer: None };
            assert_eq!(head.announces_too_much(), expected, "{length}");
        }
    }

    #[test]
    fn two_credentials_are_refused() {
        let cookie: &[u8] = b"__Host-gatekey_access=t";
        assert!(read(&headers(&[("cookie", cookie)])).is_ok());
        for fields in [
            vec![("authorization", &b"Bearer a"[..]), ("authorization", b"Bearer a")],
            vec![("authorization", b"Basic a"), ("authorization", b"Bearer a")],
            vec![("authorization", b"Bearer a"), ("cookie", cookie)],
            vec![("cookie", cookie), ("cookie", cookie)],
            vec![("cookie", b"__Host-gatekey_refresh=a; x=y; __Host-gatekey_refresh=a")],
        ] {
            assert_eq!(read(&headers(&fields)).err(), Some(Twice), "{fields:?}");
        }
    }

    #[test]
    fn cookie_names_are_compared_as_they_came() {
        for field in [
            "%5F%5FHost-gatekey_access=t",
            "__host-gatekey_access=t",
            " __Host-gatekey_access=t",
            "a=b;  __Host-gatekey_access=t",
            "\u{2000}__Host-gatekey_access=t",
            "__Host-gatekey_access =t",
            "__Host-gatekey_access",
            "\"__Host-gatekey_access\"=t",
            "gatekey_access=t",
        ] {
            assert_eq!(read(&headers(&[("cookie", field.as_bytes())])).unwrap().access(), None, "{field}");
        }
        let map = headers(&[("cookie", b"a=b;__Host-gatekey_access=t=\"x\" "), ("cookie", b"c; d=e")]);
        assert_eq!(read(&map).unwrap().access_cookie, Some(&b"t=\"x\" "[..]));
    }
}
