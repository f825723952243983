//! Which address a client is taken to have: the socket's, or what a trusted proxy says of it.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::{
    case::{Case, Failure, Need, Outcome, case, failed, run},
    client::Request,
    host::{Host, PASSWORD},
    verdict::equal,
};

/// Everything that a client could forge.
const FIELDS: &[&str] =
    &["X-Forwarded-For", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"];

/// Every client of the suite is a trusted proxy, and a network has three logins a minute.
fn behind_proxies() -> Value {
    json!({
        "trusted_proxies": ["127.0.0.0/8"],
        "limits": {"login_network_per_minute": 3, "register_network_per_hour": 0, "free_failures": 0},
    })
}

pub(crate) const CASES: &[Case] = &[
    case("address/is-the-socket-peer", "A session shows the address that the connection came from.")
        .spec(&["docs/contract.md 7.31", "docs/contract.md 1.20"])
        .needs(&[Need::Addresses])
        .run(run!(async |host| {
            let user = host.user().await?;
            for from in [host.address(), host.fresh_address()] {
                let seen = seen(host, &user.name, |login| login.from(from)).await?;
                equal("ip", &seen, &json!(from.to_string()))?;
            }
            Ok(())
        })),
    case(
        "address/forged-fields-change-nothing",
        "Without trusted proxies no field of a request changes the address that a session shows.",
    )
    .spec(&["docs/contract.md 7.31", "ASVS 4.1.3", "ASVS 15.3.4"])
    .needs(&[Need::Addresses])
    .run(run!(async |host| {
        let user = host.user().await?;
        let seen = seen(host, &user.name, |login| forge(login, "203.0.113.5")).await?;
        equal("ip", &seen, &json!(host.address().to_string()))
    })),
    case(
        "address/forged-fields-escape-no-limit",
        "A client that claims another address with each login is throttled as the one it is.",
    )
    .spec(&["docs/contract.md 7.31", "docs/contract.md 7.19", "ASVS 4.1.3"])
    .config(|| json!({"limits": {"login_network_per_minute": 5}}))
    .run(run!(async |host| {
        let mut granted = 0;
        for attempt in 1..=50 {
            let login = login(host, &host.fresh_name());
            let answer = forge(login, &format!("203.0.113.{attempt}")).send().await?;
            if answer.status == 429 {
                return answer.refused(429, "rate_limited");
            }
            answer.refused(401, "invalid_credentials")?;
            granted += 1;
        }
        Err(failed("429 after five logins or few more", format!("{granted} looked at")))
    })),
    case(
        "address/other-proxies-are-not-trusted",
        "With trusted proxies configured, the fields of a client that is none of them change nothing.",
    )
    .spec(&["docs/contract.md 7.32", "ASVS 4.1.3"])
    .needs(&[Need::Addresses])
    .config(|| json!({"trusted_proxies": ["127.0.0.9", "192.0.2.0/24"]}))
    .run(run!(async |host| {
        let user = host.user().await?;
        for (from, expected) in [
            (Ipv4Addr::new(127, 0, 0, 9), "203.0.113.6"),
            (Ipv4Addr::new(127, 0, 0, 8), "127.0.0.8"),
            (Ipv4Addr::new(127, 0, 0, 90), "127.0.0.90"),
        ] {
            let forwarded = |login: Request| login.from(from).header("X-Forwarded-For", "203.0.113.6");
            equal("ip", &seen(host, &user.name, forwarded).await?, &json!(expected))?;
        }
        Ok(())
    })),
    // Whatever stands left of it was written by the client.
    case(
        "address/right-most-untrusted-hop-counts",
        "Behind a trusted proxy the address is the right-most hop that is no trusted proxy, whatever \
         stands left of it.",
    )
    .spec(&["docs/contract.md 7.32", "ASVS 4.1.3"])
    .config(|| json!({"trusted_proxies": ["127.0.0.0/8", "2001:db8:ffff::/48"]}))
    .run(run!(async |host| {
        let user = host.user().await?;
        for (hops, expected) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
            (&["6.6.6.6, 203.0.113.7, 127.1.2.3"], "203.0.113.7"),
            (&["6.6.6.6,203.0.113.7,2001:db8:ffff::1,127.1.2.3"], "203.0.113.7"),
            (&["127.1.2.3, 203.0.113.7"], "203.0.113.7"),
            (&["2001:db8::7"], "2001:db8::7"),
            // Several fields are one list.
            (&["6.6.6.6", "203.0.113.7"], "203.0.113.7"),
            (&["203.0.113.7", "127.1.2.3"], "203.0.113.7"),
        ] {
            let forwarded =
                |login: Request| hops.iter().fold(login, |login, hops| login.header("X-Forwarded-For", hops));
            equal(
                &format!("ip behind {hops:?}"),
                &seen(host, &user.name, forwarded).await?,
                &json!(expected),
            )?;
        }
        Ok(())
    })),
    case(
        "address/proxy-that-says-nothing-is-the-client",
        "A request from a trusted proxy without a forwarding field has the proxy's own address.",
    )
    .spec(&["docs/contract.md 7.31", "docs/contract.md 7.32"])
    .needs(&[Need::Addresses])
    .config(|| json!({"trusted_proxies": ["127.0.0.0/8"]}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let seen = seen(host, &user.name, |login| login).await?;
        equal("ip", &seen, &json!(host.address().to_string()))
    })),
    case(
        "address/unreadable-hop-is-not-passed-over",
        "A right-most hop that is no address is not skipped in favour of what stands left of it.",
    )
    .spec(&["docs/contract.md 7.32"])
    .config(|| json!({"trusted_proxies": ["127.0.0.0/8"]}))
    .run(run!(async |host| {
        let user = host.user().await?;
        for hops in
            ["203.0.113.8, unknown", "203.0.113.8, _hidden", "203.0.113.8, ", "203.0.113.8, 300.1.1.1"]
        {
            let seen = seen(host, &user.name, |login| login.header("X-Forwarded-For", hops)).await?;
            if seen == json!("203.0.113.8") {
                return Err(failed(format!("any ip but the left one of {hops:?}"), seen));
            }
        }
        Ok(())
    })),
    // What a network is.
    case(
        "address/ipv6-networks-are-64-bits-long",
        "Addresses of one IPv6 /64 share their limit; those of the next /64 do not.",
    )
    .spec(&["docs/contract.md 7.30", "docs/contract.md 7.19"])
    .needs(&[Need::StillClock])
    .config(behind_proxies)
    .run(run!(async |host| {
        for address in ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2:8000::"] {
            attempt(host, address, 401).await?;
        }
        attempt(host, "2001:db8:1:2::2", 429).await?;
        attempt(host, "2001:db8:1:3::1", 401).await?;
        attempt(host, "2001:db8:1:1:ffff:ffff:ffff:ffff", 401).await
    })),
    case(
        "address/ipv4-networks-are-single-addresses",
        "Two IPv4 addresses have a limit each, and one written as IPv6 is the same as in IPv4.",
    )
    .spec(&["docs/contract.md 7.30", "docs/contract.md 7.19"])
    .needs(&[Need::StillClock])
    .config(behind_proxies)
    .run(run!(async |host| {
        for address in ["198.51.100.20", "::ffff:198.51.100.20", "::ffff:c633:6414"] {
            attempt(host, address, 401).await?;
        }
        attempt(host, "198.51.100.20", 429).await?;
        attempt(host, "198.51.100.21", 401).await
    })),
];

fn login(host: &Host, name: &str) -> Request {
    let body = json!({"username": name, "password": PASSWORD});
    host.post("/login").json(body)
}

/// Claims an address in every field there is.
fn forge(request: Request, address: &str) -> Request {
    let request = request.header("Forwarded", &format!("for={address}"));
    FIELDS.iter().fold(request, |request, field| request.header(field, address))
}

/// The address that a session shows after a login that is sent so.
async fn seen(host: &Host, name: &str, send: impl FnOnce(Request) -> Request) -> Result<Value, Failure> {
    let tokens = send(login(host, name)).send().await?.granted()?;
    let list = host.get("/sessions").bearer(&tokens.access).send().await?;
    let body = list.answered(200)?;
    body.pointer("/sessions/0/ip").cloned().ok_or_else(|| list.not("an ip"))
}

/// A login of nobody that comes through a proxy for an address.
async fn attempt(host: &Host, address: &str, status: u16) -> Outcome {
    let request = login(host, &host.fresh_name()).header("X-Forwarded-For", address);
    let answer = request.send().await?;
    match status {
        429 => answer.refused(429, "rate_limited"),
        _ => answer.refused(401, "invalid_credentials"),
    }
}
