//! Whether a request that carries our cookies came from our own pages.
//!
//! Asked of every method but GET, HEAD and OPTIONS that carries one of our cookies, and of a login that asks for them:
//!
//! 1. `Sec-Fetch-Site` is there: `same-origin` and `none` (typed by the person) pass. Any other value, `same-site`
//!    among them, or the field twice, is refused unless `Origin` is one of the trusted origins.
//! 2. It is absent: `Origin` has to be our own or a trusted one. `null` is nobody's.
//! 3. Both are absent: refused. Whatever sends no such field is no browser and has the bearer transport.
//!
//! Deployment: behind a proxy the origin is what the browser's address bar shows, not what the server listens on.

use crate::head::Head;

/// A web origin: scheme, host and port, lower-case, as a browser writes it in `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(String);

impl Origin {
    /// Reads `scheme://host[:port]`; a default port is dropped, as browsers do.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://")?;
        let default_port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return None,
        };
        let authority = authority.strip_suffix(default_port).unwrap_or(authority);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port_is_number = port.is_none_or(|port| port.parse::<u16>().is_ok());
        let bare = host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']'))?;
        let bracketed = host.starts_with('[');
        let host_is_plain = !bare.is_empty()
            && bare.chars().all(|c| {
                c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (bracketed && c == ':')
            });
        (port_is_number && host_is_plain).then(|| Self(format!("{scheme}://{authority}")))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The origins a site knows.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    pub(crate) own: Origin,
    pub(crate) trusted: Vec<Origin>,
}

impl Origins {
    /// The rule.
    pub(crate) fn allow(&self, head: &Head<'_>) -> bool {
        let origin = match head.only("origin") {
            Ok(origin) => origin,
            Err(_) => return false,
        };
        let is = |known: &Origin| origin == Some(known.0.as_bytes());
        let trusted = self.trusted.iter().any(is);
        match head.only("sec-fetch-site") {
            Ok(Some(b"same-origin" | b"none")) => true,
            Ok(Some(_)) | Err(_) => trusted,
            Ok(None) => trusted || is(&self.own),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_rule_for_every_pair_of_fields() {
        let origins = Origins {
            own: Origin::parse("https://app.example").unwrap(),
            trusted: vec![Origin::parse("https://admin.example").unwrap()],
        };
        let own = Some("https://app.example");
        let trusted = Some("https://admin.example");
        for (site, origin, allowed) in [
            (&["same-origin"][..], None, true),
            (&["same-origin"], Some("https://evil.example"), true),
            (&["none"], None, true),
            (&["same-site"], None, false),
            (&["same-site"], own, false),
            (&["same-site"], trusted, true),
            (&["cross-site"], own, false),
            (&["cross-site"], trusted, true),
            (&["Same-Origin"], own, false),
            (&[""], own, false),
            (&["same-origin", "same-origin"], own, false),
            (&["same-origin", "same-origin"], trusted, true),
            (&[], own, true),
            (&[], trusted, true),
            (&[], Some("null"), false),
            (&[], Some("https://app.example:8443"), false),
            (&[], Some("http://app.example"), false),
            (&[], Some("https://app.example.evil"), false),
            (&[], Some("https://evil.example"), false),
            (&[], None, false),
        ] {
            let mut headers = HeaderMap::new();
            for value in site {
                headers.append(HeaderName::from_static("sec-fetch-site"), HeaderValue::from_static(value));
            }
            if let Some(origin) = origin {
                headers.append(http::header::ORIGIN, HeaderValue::from_static(origin));
            }
            let head = Head { method: "POST", path: "/", query: None, headers: &headers, peer: None };
            assert_eq!(origins.allow(&head), allowed, "{site:?} {origin:?}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port_alone() {
        for (text, origin) in [
            ("https://App.Example", Some("https://app.example")),
            ("https://app.example:443", Some("https://app.example")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("http://[::1]:3000", Some("http://[::1]:3000")),
            ("http://[::1]", Some("http://[::1]")),
            ("https://app.example/", None),
            ("https://app.example/path", None),
            ("https://user@app.example", None),
            ("https://", None),
            ("app.example", None),
            ("null", None),
            ("*", None),
            ("https://*.example", None),
            ("https://app.example:99999", None),
            ("https://app:example:80", None),
            ("http://::1", None),
            ("http://[app/path]", None),
        ] {
            assert_eq!(Origin::parse(text).as_ref().map(Origin::as_str), origin, "{text}");
        }
    }
}
