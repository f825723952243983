//! `gatekey.js`, the client for browsers, as the routes serve it at `/auth/gatekey.js`.
//!
//! The source is `packages/gatekey-js/gatekey.js`; `cargo xtask js` minifies it into this crate and checks that what is
//! committed is what the source gives. A page imports it as a module:
//!
//! ```html
//! <script type="module">
//!   import { gatekey } from "/auth/gatekey.js";
//! </script>
//! ```

use crate::{Head, Reply, reply};

/// The module, minified.
pub const MODULE: &str = include_str!("js/gatekey.min.js");

/// Its hash, for the `integrity` of a page that is served by somebody else (Subresource Integrity).
pub const INTEGRITY: &str = include_str!("js/integrity.txt");

/// The hash in quotes: an entity tag.
const TAG: &str = concat!("\"", include_str!("js/integrity.txt"), "\"");

/// The module, or `304` for a client that has it (RFC 9110 section 13.1.2).
pub(crate) fn reply(head: &Head<'_>) -> Reply {
    let mut known = false;
    head.headers.each("if-none-match", &mut |field| {
        known |= field.split(|byte| *byte == b',').any(|tag| {
            let tag = tag.trim_ascii();
            tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == TAG.as_bytes()
        });
    });
    reply::script((!known).then_some(MODULE), TAG)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode, header};

    use super::*;

    fn asked(tags: &[&'static str]) -> Reply {
        let mut headers = HeaderMap::new();
        for tag in tags {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(tag));
        }
        reply(&Head { method: "GET", path: "/auth/gatekey.js", query: None, headers: &headers, peer: None })
    }

    #[test]
    fn the_hash_is_that_of_the_module() {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, MODULE.as_bytes());
        let hash = base64_simd::STANDARD.encode_to_string(digest.as_ref());
        assert_eq!(INTEGRITY, format!("sha384-{hash}"));
    }

    #[test]
    fn a_client_that_has_the_module_is_not_sent_it_again() {
        let weak: &'static str = format!("W/{TAG}").leak();
        let listed: &'static str = format!("\"other\" , {TAG}").leak();
        for tags in [&[TAG][..], &["*"], &[weak], &[listed], &["\"other\"", TAG]] {
            let reply = asked(tags);
            assert_eq!(reply.status(), StatusCode::NOT_MODIFIED, "{tags:?}");
            assert!(reply.body().is_empty());
            assert_eq!(reply.headers()[header::ETAG], TAG);
        }
        for tags in [&[][..], &["\"other\""], &[INTEGRITY], &[""]] {
            let reply = asked(tags);
            assert_eq!(reply.status(), StatusCode::OK, "{tags:?}");
            assert_eq!(reply.body(), MODULE);
        }
    }

    #[test]
    fn the_module_is_no_larger_than_promised() {
        assert!(MODULE.len() <= 4096, "{} bytes", MODULE.len());
    }
}
