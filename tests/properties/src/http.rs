//! Requests: credentials, addresses, bodies.

use std::net::IpAddr;

use bytes::Bytes;
use gatekey_http::{Body, Head, Headers, Requirement};
use serde_json::Value;

use crate::{
    model,
    site::{RUNTIME, SITES},
};

/// Header fields of any bytes, as a framework may keep them.
struct Fields<'a>(Vec<(&'static str, &'a [u8])>);

impl Headers for Fields<'_> {
    fn each<'b>(&'b self, name: &str, value: &mut dyn FnMut(&'b [u8])) {
        self.0.iter().filter(|(own, _)| *own == name).for_each(|(_, own)| value(own));
    }
}

impl Fields<'_> {
    fn all(&self, name: &str) -> Vec<&[u8]> {
        self.0.iter().filter(|(own, _)| *own == name).map(|(_, value)| *value).collect()
    }
}

/// The fields that are looked at. Their first letters, one a line, begin a field of the input.
const NAMES: [&str; 7] =
    ["authorization", "cookie", "forwarded", "origin", "sec-fetch-site", "user-agent", "x-forwarded-for"];

/// Lines, each with the first letter of a field's name before its value.
fn fields(lines: &[u8]) -> Fields<'_> {
    let field = |line: &'_ [u8]| -> Option<(&'static str, usize)> {
        let first = char::from(*line.first()?);
        Some((*NAMES.iter().find(|name| name.starts_with(first))?, 1))
    };
    Fields(
        lines
            .split(|byte| *byte == b'\n')
            .filter_map(|line| field(line).map(|(name, skip)| (name, &line[skip..])))
            .collect(),
    )
}

/// The first byte chooses the method.
fn method(data: &[u8]) -> (&'static str, &[u8]) {
    let methods = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "get", ""];
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    (methods[usize::from(*first) % methods.len()], rest)
}

/// Who passes has sent exactly one credential, a good one, and if it is a cookie and the method unsafe, from a page that
/// is ours or trusted.
pub(crate) fn credentials(data: &[u8]) {
    let (method, lines) = method(data);
    let fields = fields(lines);
    let head = Head { method, path: "/notes", query: None, headers: &fields, peer: None };
    let site = &SITES["EdDSA"];
    let reply = match site.guard(&head, &Requirement::authenticated()) {
        Ok(caller) => {
            assert!(passes(method, &fields), "{:?} passes as {:?}", fields.0, caller.subject());
            return;
        }
        Err(reply) => reply,
    };
    assert!(!passes(method, &fields), "{:?} is refused: {:?}", fields.0, reply.body());
    refusal_is_of_the_contract(reply.status().as_u16(), reply.body(), &[400, 401, 403]);
}

/// By the book: the contract, 3.25 to 3.32 and section 5.
fn passes(method: &str, fields: &Fields<'_>) -> bool {
    let [access, refresh] = ["__Host-gatekey_access", "__Host-gatekey_refresh"];
    let cookies = |name: &str| -> Vec<Vec<u8>> {
        fields
            .all("cookie")
            .iter()
            .flat_map(|field| field.split(|byte| *byte == b';').enumerate())
            .filter_map(|(at, pair)| {
                let pair = if at > 0 { pair.strip_prefix(b" ").unwrap_or(pair) } else { pair };
                let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                Some(value.to_vec())
            })
            .collect()
    };
    let (access, refresh) = (cookies(access), cookies(refresh));
    let bearer = match fields.all("authorization")[..] {
        [] => None,
        [field] => {
            let scheme = field.split(|byte| *byte == b' ').next().unwrap_or_default();
            scheme.eq_ignore_ascii_case(b"bearer").then(|| {
                let token = &field[scheme.len()..];
                let blanks = token.iter().take_while(|byte| **byte == b' ').count();
                token[blanks..].to_vec()
            })
        }
        [_, _, ..] => return false,
    };
    let credentials: Vec<_> = bearer.iter().chain(&access).collect();
    let [token] = credentials[..] else { return false };
    if refresh.len() > 1 {
        return false;
    }
    let of_cookie = !access.is_empty() || !refresh.is_empty();
    let safe = ["GET", "HEAD", "OPTIONS"].contains(&method);
    let key = &model::ACCESS[0];
    (safe || !of_cookie || from_our_pages(fields))
        && std::str::from_utf8(token).is_ok_and(|token| model::accepts_access(key, token))
}

fn from_our_pages(fields: &Fields<'_>) -> bool {
    let (site, origin) = (fields.all("sec-fetch-site"), fields.all("origin"));
    let origin_is = |expected: &str| origin == [expected.as_bytes()];
    let trusted = origin_is("https://admin.test");
    match site[..] {
        _ if origin.len() > 1 => false,
        [b"same-origin" | b"none"] => true,
        [] => trusted || origin_is("https://auth.test"),
        [_, ..] => trusted,
    }
}

/// The address is the peer's, unless the peer is a trusted proxy: then one that the field names, or none.
pub(crate) fn address(data: &[u8]) {
    let Some((peer, lines)) = data.split_first_chunk::<4>() else { return };
    let peer = IpAddr::from(*peer);
    let fields = fields(lines);
    let head = Head { method: "GET", path: "/", query: None, headers: &fields, peer: Some(peer) };
    let client = SITES["EdDSA"].client(&head);
    let proxy = |ip: IpAddr| matches!(ip.to_canonical(), IpAddr::V4(ip) if ip.octets()[0] == 10);
    if proxy(peer) {
        let Some(ip) = client.ip else { return };
        let text = fields.all("x-forwarded-for").join(&b","[..]);
        let text = String::from_utf8_lossy(&text);
        // An address has many spellings, so the field is asked for an element that is this one.
        let named = text.split(',').any(|hop| {
            let hop = hop.trim();
            let bare = hop.trim_start_matches('[').split(']').next().unwrap_or_default();
            let without_port = hop.rsplit_once(':').map_or(hop, |(host, _)| host);
            [hop, bare, without_port]
                .iter()
                .any(|text| text.parse::<IpAddr>().is_ok_and(|named| named.to_canonical() == ip))
        });
        assert!(named || ip == peer, "{ip} is not in {text:?}");
    } else {
        assert_eq!(client.ip, Some(peer));
    }
    // What is kept of a request is short and printable.
    if let Some(agent) = &client.user_agent {
        assert!(agent.chars().count() <= 256 && !agent.chars().any(char::is_control), "{agent:?}");
    }
}

/// Endpoints with a body, and how each is asked.
const ENDPOINTS: [(&str, &str, bool); 9] = [
    ("/auth/login", "application/json", false),
    ("/auth/token", "application/x-www-form-urlencoded", false),
    ("/auth/token", "application/json", false),
    ("/auth/revoke", "application/x-www-form-urlencoded", false),
    ("/auth/logout", "application/json", false),
    ("/auth/password", "application/json", true),
    ("/auth/login", "application/x-www-form-urlencoded", false),
    ("/auth/register", "application/json", false),
    ("/auth/nowhere", "text/plain", false),
];

/// Whatever a body holds, the answer is one of the contract's, it is no fault of ours, and it echoes nothing.
pub(crate) fn body(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let (path, media, signed_in) = ENDPOINTS[usize::from(*first) % ENDPOINTS.len()];
    let token = format!("Bearer {}", crate::seeds::good_token());
    let mut fields = vec![("content-type", media.as_bytes())];
    if signed_in {
        fields.push(("authorization", token.as_bytes()));
    }
    let fields = Fields(fields);
    let head = Head {
        method: "POST",
        path,
        query: None,
        headers: &fields,
        peer: Some(IpAddr::from([192, 0, 2, 7])),
    };
    let given = if body.len() > gatekey_http::MAX_BODY {
        Body::TooLarge
    } else {
        Body::Complete(Bytes::copy_from_slice(body))
    };
    let reply = RUNTIME.block_on(SITES["EdDSA"].handle(head, given));
    let status = reply.status().as_u16();
    if (200..300).contains(&status) {
        return;
    }
    refusal_is_of_the_contract(status, reply.body(), &[400, 401, 403, 404, 405, 413, 415, 422, 429]);
    // A body of some length that comes back would be in there whole.
    if let Some(text) = std::str::from_utf8(body).ok().filter(|text| text.len() > 40) {
        assert!(!String::from_utf8_lossy(reply.body()).contains(text), "{text} is echoed");
    }
}

/// Status and code go together as in the contract, section 2.
fn refusal_is_of_the_contract(status: u16, body: &[u8], expected: &[u16]) {
    let told: Value = serde_json::from_slice(body).unwrap();
    let code = told["error"].as_str().unwrap();
    let codes: &[&str] = match status {
        400 => &["invalid_request", "invalid_scope", "unsupported_grant_type", "invalid_grant"],
        401 => &["unauthenticated", "invalid_token", "invalid_credentials"],
        403 => &["insufficient_scope", "csrf_failed"],
        404 => &["not_found"],
        405 => &["method_not_allowed"],
        413 => &["payload_too_large"],
        415 => &["unsupported_media_type"],
        422 => &["validation_failed"],
        429 => &["rate_limited"],
        _ => &[],
    };
    assert!(expected.contains(&status) && codes.contains(&code), "{status} {code}");
    assert!(told["error_description"].as_str().is_some_and(|text| !text.is_empty()));
}
