//! [`ReturnTo`]: where a person goes back to after a login, and nowhere outside of the site.
//!
//! A path that comes back from a form has been in other hands: a link to the login page may carry any. It is taken only if
//! it cannot be read as anything but a path of this site, by a browser, by a proxy or by a framework that decodes it:
//! `/notes/7?tab=a%2Fb` is; `//evil.example`, `/\evil.example`, `/%2Fevil.example` and `https:evil.example` are not.

use std::{fmt, str::FromStr};

use http::HeaderValue;

use crate::{
    head::Head,
    reply::{self, Reply},
};

/// A path of this site, with its query: at most 2048 bytes of what RFC 3986 writes a path and a query with.
///
/// ```
/// use gatekey_http::ReturnTo;
///
/// assert_eq!(ReturnTo::or_root(Some("/notes/7?tab=all")).as_str(), "/notes/7?tab=all");
/// assert_eq!(ReturnTo::or_root(Some("//evil.example")).as_str(), "/");
/// assert!("/\\evil.example".parse::<ReturnTo>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

/// A text that is no [`ReturnTo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeavesTheSite;

impl fmt::Display for LeavesTheSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a path of this site")
    }
}

impl std::error::Error for LeavesTheSite {}

const MAX_LENGTH: usize = 2048;

impl FromStr for ReturnTo {
    type Err = LeavesTheSite;

    fn from_str(text: &str) -> Result<Self, LeavesTheSite> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let stays = text.len() <= MAX_LENGTH && is_plain_path(path) && is_written(query);
        if stays { Ok(Self(text.to_owned())) } else { Err(LeavesTheSite) }
    }
}

impl ReturnTo {
    /// What a form said, or `/` where it said nothing or something that leaves the site.
    #[must_use]
    pub fn or_root(text: Option<&str>) -> Self {
        text.and_then(|text| text.parse().ok()).unwrap_or_else(|| Self("/".to_owned()))
    }

    /// The path and the query.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The answer that sends a browser there by GET (303), with the cookies that `reply` sets or clears.
    #[must_use]
    pub fn redirect(&self, reply: &Reply) -> Reply {
        let mut redirect = reply::see_other(&self.0);
        let cookies = reply.headers().get_all(http::header::SET_COOKIE);
        reply::set_cookies(&mut redirect, cookies.into_iter().cloned().collect::<Vec<HeaderValue>>());
        redirect
    }

    /// What a request asked for.
    pub(crate) fn of(head: &Head<'_>) -> Option<Self> {
        let query = head.query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{query}", head.path).parse().ok()
    }

    /// The text as a value in a query.
    pub(crate) fn encoded(&self) -> String {
        let kept =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
        self.0.bytes().fold(String::new(), |mut text, byte| {
            if kept(byte) {
                text.push(byte.into())
            } else {
                text.push_str(&format!("%{byte:02X}"))
            }
            text
        })
    }
}

impl fmt::Display for ReturnTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Segments that are neither empty (but the last) nor dots, also after one decoding.
fn is_plain_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let last = rest.split('/').count() - 1;
    is_written(path)
        && rest.split('/').enumerate().all(|(i, segment)| {
            let lower = segment.to_ascii_lowercase();
            // An encoded byte that separates segments, or that no path has, for whoever decodes it.
            let hidden = ["%2f", "%5c", "%7f", "%0", "%1"].iter().any(|code| lower.contains(code));
            let name = lower.replace("%2e", ".");
            !hidden && !matches!(name.as_str(), "." | "..") && (!name.is_empty() || i == last)
        })
}

/// The characters of RFC 3986 section 3.3 and 3.4, a percent sign with two hexadecimal digits.
fn is_written(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(i, byte)| match byte {
        b'%' => bytes.get(i + 1..i + 3).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit)),
        byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(byte),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_leave_the_site_is_refused_and_its_nearest_path_is_not() {
        let long = format!("/{}", "a".repeat(MAX_LENGTH - 1));
        for (refused, accepted) in [
            ("//evil.example", "/evil.example"),
            ("///evil.example", "/evil.example/"),
            ("/\\evil.example", "/evil"),
            ("\\\\evil.example", "/"),
            ("\\/evil.example", "/?a"),
            ("/a\\b", "/a/b"),
            ("/%5Cevil.example", "/%5Bevil"),
            ("/%5cevil.example", "/%5bevil"),
            ("/%2Fevil.example", "/%2Cevil.example"),
            ("/%2f/evil.example", "/%2c/evil.example"),
            ("/%09/evil.example", "/%20/evil.example"),
            ("/%0d%0aSet-Cookie:a=b", "/Set-Cookie:a=b"),
            ("/%00", "/%30"),
            ("/%7F", "/%7E"),
            ("/.//evil.example", "/.evil.example"),
            ("/./evil.example", "/.e/vil"),
            ("/..//evil.example", "/..evil"),
            ("/a/../..//evil.example", "/a/b"),
            ("/%2e%2E/evil.example", "/%2e%2Ee/evil"),
            ("/.%2e", "/.%2ea"),
            ("/a//b", "/a/b/"),
            ("/\tevil", "/evil"),
            ("/\t/evil.example", "/t/evil.example"),
            ("/\n/evil.example", "/n/evil.example"),
            ("/\r\nLocation: //evil.example", "/Location"),
            (" /evil", "/evil"),
            ("/evil ", "/evil"),
            ("https://evil.example", "/https:/evil.example"),
            ("https:evil.example", "/https:evil.example"),
            ("http:/evil.example", "/http:"),
            ("javascript:alert(1)", "/javascript:alert(1)"),
            ("data:,x", "/data:,x"),
            ("evil.example", "/evil.example"),
            ("@evil.example", "/@evil.example"),
            ("user@evil.example/", "/user@evil.example/"),
            (":80", "/:80"),
            ("?a=b", "/?a=b"),
            ("#a", "/"),
            ("/a#//evil.example", "/a?//evil.example"),
            ("", "/"),
            ("/\u{2044}evil.example", "/%E2%81%84evil"),
            ("/\u{ff0f}evil.example", "/%EF%BC%8Fevil"),
            ("\u{ff0f}\u{ff0f}evil.example", "/%EF"),
            ("/\u{0}", "/0"),
            ("/%", "/%25"),
            ("/%4", "/%41"),
            ("/%zz", "/%aa"),
            ("/a?b=%", "/a?b=%0a"),
            ("/a?b=\\", "/a?b=%5C"),
            ("/a?b= c", "/a?b=+c"),
            ("/a?<script>", "/a?script"),
            (&format!("{long}a"), &long),
        ] {
            assert_eq!(refused.parse::<ReturnTo>(), Err(LeavesTheSite), "{refused:?}");
            assert_eq!(ReturnTo::or_root(Some(refused)).as_str(), "/", "{refused:?}");
            let back = accepted.parse::<ReturnTo>().unwrap_or_else(|_| panic!("{accepted:?}"));
            assert_eq!(back.as_str(), accepted);
        }
    }

    #[test]
    fn a_value_in_a_query_ends_where_it_should() {
        let back: ReturnTo = "/a b".replace(' ', "%20").parse().unwrap();
        assert_eq!(back.encoded(), "/a%2520b");
        let back: ReturnTo = "/a?b=c&return_to=//d+e".parse().unwrap();
        assert_eq!(back.encoded(), "/a%3Fb%3Dc%26return_to%3D//d%2Be");
    }
}
