//! Which address a request came from.
//!
//! The socket peer, unless it is a trusted proxy: then the right-most hop of the forwarding field that is not one.
//! Everything left of it was written by the client and says nothing. Without configured proxies the fields are not read.

use std::net::IpAddr;

use gatekey_core::config::ConfigError;
use ipnet::IpNet;

use crate::head::Head;

/// Which field the trusted proxies write. A field that they do not write themselves is the client's to forge, so
/// exactly one is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedField {
    /// `X-Forwarded-For: client, proxy`: what most proxies write.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy` (RFC 7239).
    Forwarded,
}

/// The proxies whose word is taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    pub(crate) trusted: Vec<IpNet>,
    pub(crate) field: ForwardedField,
}

impl Proxies {
    pub(crate) fn parse(trusted: &[String], field: ForwardedField) -> Result<Self, ConfigError> {
        let network = |text: &String| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let problem = || format!("{text:?} is neither an address nor a network");
            network.map_err(|_| ConfigError::setting("trusted_proxies", problem()))
        };
        Ok(Self { trusted: trusted.iter().map(network).collect::<Result<_, _>>()?, field })
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted.iter().any(|network| network.contains(&ip))
    }

    /// The client's address; `None` where the peer is not known or a trusted proxy wrote what is no address.
    pub(crate) fn client(&self, head: &Head<'_>) -> Option<IpAddr> {
        let peer = head.peer?.to_canonical();
        if !self.trusts(peer) {
            return Some(peer);
        }
        let name = match self.field {
            ForwardedField::XForwardedFor => "x-forwarded-for",
            ForwardedField::Forwarded => "forwarded",
        };
        let mut hops = Vec::new();
        head.headers.each(name, &mut |field| hops.extend(field.split(|byte| *byte == b',')));
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            let hop = std::str::from_utf8(hop).ok()?;
            client = match self.field {
                ForwardedField::XForwardedFor => address(hop.trim())?,
                ForwardedField::Forwarded => address(forwarded_for(hop)?)?,
            };
            if !self.trusts(client) {
                break;
            }
        }
        Some(client)
    }
}

/// The `for` parameter of one element of a Forwarded field.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address, perhaps in brackets, perhaps with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.split(']').next()?.parse().ok();
    let with_port = || text.rsplit_once(':')?.0.parse().ok();
    let ip: IpAddr = text.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn client(
        trusted: &[&str],
        field: ForwardedField,
        peer: &str,
        fields: &[(&'static str, &str)],
    ) -> Option<String> {
        let proxies = Proxies { trusted: trusted.iter().map(|net| net.parse().unwrap()).collect(), field };
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        let peer = Some(peer.parse().unwrap());
        let head = Head { method: "GET", path: "/", query: None, headers: &headers, peer };
        proxies.client(&head).map(|ip| ip.to_string())
    }

    #[test]
    fn without_trusted_proxies_no_field_changes_the_address() {
        let forged =
            [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1"), ("x-real-ip", "192.0.2.1")];
        let of = |trusted: &[&str]| {
            client(trusted, ForwardedField::XForwardedFor, "203.0.113.9", &forged).unwrap()
        };
        assert_eq!(of(&[]), "203.0.113.9");
        assert_eq!(of(&["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(of(&["203.0.113.9/32"]), "192.0.2.1");
    }

    #[test]
    fn the_right_most_untrusted_hop_counts() {
        let xff = ForwardedField::XForwardedFor;
        let trusted = ["10.0.0.0/8", "::1/128"];
        for (fields, expected) in [
            (&["6.6.6.6, 192.0.2.1"][..], Some("192.0.2.1")),
            (&["6.6.6.6, 192.0.2.1, 10.0.0.2"], Some("192.0.2.1")),
            (&["6.6.6.6", "192.0.2.1 , 10.0.0.2"], Some("192.0.2.1")),
            (&["192.0.2.1:4711"], Some("192.0.2.1")),
            (&["[2001:db8::1]:4711"], Some("2001:db8::1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["10.0.0.3, 10.0.0.2"], Some("10.0.0.3")),
            (&[], Some("10.0.0.1")),
            (&["192.0.2.1, unknown"], None),
            (&[""], None),
        ] {
            let fields: Vec<_> = fields.iter().map(|value| ("x-forwarded-for", *value)).collect();
            assert_eq!(client(&trusted, xff, "10.0.0.1", &fields).as_deref(), expected, "{fields:?}");
        }
        let forwarded = [("forwarded", "for=6.6.6.6, proto=https;For=\"[2001:db8::1]:99\", for=10.0.0.2")];
        let found = client(&trusted, ForwardedField::Forwarded, "::1", &forwarded);
        assert_eq!(found.as_deref(), Some("2001:db8::1"));
    }
}
