//! The two cookies: attributes, parsing, clearing.

use serde_json::json;

use crate::{
    case::{Case, Need, Row, case, run},
    client::Response,
    cookies::{ACCESS, INSECURE, REFRESH},
    verdict::{differ, equal},
};

pub(crate) const CASES: &[Case] = &[
    case(
        "cookies/login-sets-both-with-exact-attributes",
        "A cookie login sets both cookies with exactly the contract's attributes and puts no token in the body.",
    )
    .spec(&[
        "docs/contract.md 5.1",
        "docs/contract.md 5.2",
        "docs/contract.md 5.3",
        "docs/contract.md 1.18",
        "RFC 6265bis 4.1.2",
        "ASVS 3.3.1",
    ])
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = host.browser();
        browser.login(&user.name, user.password).await?.cookies_granted()?;
        browser.get("/me").send().await?.answered(200)?;
        Ok(())
    })),
    case(
        "cookies/logout-clears-both",
        "The logout of a cookie session clears both cookies, and the session is over.",
    )
    .spec(&["docs/contract.md 5.4", "docs/contract.md 4.33", "docs/contract.md 1.7", "ASVS 14.3.1"])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let before = browser.copy();
        let answer = browser.post("/logout").send().await?;
        answer.status(204)?;
        answer.clears_cookies()?;
        before.get("/me").send().await?.invalid_token()?;
        browser.get("/me").send().await?.refused(401, "unauthenticated")
    })),
    case("cookies/max-age-is-the-lifetime", "`Max-Age` of each cookie is what is left of its token's configured lifetime.")
        .spec(&["docs/contract.md 5.1", "docs/contract.md 5.2", "docs/contract.md 3.3"])
        .config(|| json!({"access_ttl": 120, "refresh_ttl": 3600, "session_ttl": 7200}))
        .run(run!(async |host| {
            let user = host.user().await?;
            let browser = host.browser();
            let login = browser.login(&user.name, user.password).await?;
            let granted = login.cookies_granted()?;
            equal("expires_in", &granted.expires_in, &120)?;
            equal("refresh_expires_in", &granted.refresh_expires_in, &3600)?;
            let granted = browser.refresh().await?.cookies_granted()?;
            equal("expires_in after a refresh", &granted.expires_in, &120)?;
            equal("refresh_expires_in after a refresh", &granted.refresh_expires_in, &3600)
        })),
    // A cookie that outlives its session is noise at best, and a refused request at each use.
    case("cookies/none-outlives-the-session", "`Max-Age` of a cookie is never past the absolute end of the session.")
        .spec(&["docs/contract.md 5.2", "docs/contract.md 1.17", "RFC 6265bis 5.5"])
        .needs(&[Need::Clock])
        .config(|| json!({"access_ttl": 60, "refresh_ttl": 600, "session_ttl": 900}))
        .run(run!(async |host| {
            let browser = host.user().await?.browser().await?;
            host.advance(500).await?;
            let granted = browser.refresh().await?.cookies_granted()?;
            // 400 s are left of the session, less the real seconds that went by.
            let left = (370..=400).contains(&granted.refresh_expires_in);
            equal("refresh_expires_in of 400 or a little less", &left, &true)
        })),
    case("cookies/a-refresh-sets-both-anew", "A refresh by cookie sets both cookies with new values and no token in the body.")
        .spec(&["docs/contract.md 1.18", "docs/contract.md 1.6", "docs/contract.md 4.32"])
        .run(run!(async |host| {
            let browser = host.user().await?.browser().await?;
            let (access, refresh) = (browser.access()?, browser.refresh_token()?);
            let granted = browser.refresh().await?.cookies_granted()?;
            differ("the access cookie", &granted.access, &access)?;
            differ("the refresh cookie", &granted.refresh, &refresh)?;
            browser.get("/me").send().await?.answered(200).map(|_| ())
        })),
    // A script that runs in the page reads bodies and fields; it cannot read an HttpOnly cookie.
    case(
        "cookies/values-stand-nowhere-else",
        "The value of a cookie stands in no body and in no field but its own Set-Cookie.",
    )
    .spec(&["docs/contract.md 1.18", "ASVS 3.3.4", "ASVS 10.1.1"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = host.browser();
        let login = browser.login(&user.name, user.password).await?;
        let first = login.cookies_granted()?;
        let refresh = browser.refresh().await?;
        let second = refresh.cookies_granted()?;
        let me = browser.get("/me").send().await?;
        let sessions = browser.get("/sessions").send().await?;
        let wrong = browser.silent("POST", "/token").header("Sec-Fetch-Site", "cross-site").send().await?;
        let logout = browser.post("/logout").send().await?;
        for answer in [login, refresh, me, sessions, wrong, logout] {
            for secret in [&first.access, &first.refresh, &second.access, &second.refresh] {
                let found = places(&answer, secret);
                let own = answer.headers("set-cookie").len();
                if found.iter().any(|place| place != "set-cookie") || found.len() > own {
                    return Err(answer.not("no token outside of its Set-Cookie"));
                }
            }
        }
        Ok(())
    })),
    case("cookies/they-fit-into-a-browser", "Name and value of each cookie have at most 4096 bytes together.")
        .spec(&["docs/contract.md 5.3", "RFC 6265bis 5.6", "ASVS 3.3.5"])
        .needs(&[Need::Control])
        .run(run!(async |host| {
            // The longest name, and roles as an application might have them.
            let name = format!("{:x<128.128}", host.fresh_name());
            let body = json!({"username": name, "password": "eleven calm rivers run"});
            host.post("/register").json(body).send().await?.answered(201)?;
            let roles: Vec<String> = (0..20).map(|n| format!("organisation:department-{n}")).collect();
            host.set_user(&name, json!({"roles": roles, "scope": "read write admin"})).await?;
            let browser = host.browser();
            let login = browser.login(&name, "eleven calm rivers run").await?;
            login.cookies_granted()?;
            for cookie in login.set_cookies()? {
                let size = cookie.name.len() + cookie.value.len();
                equal(&format!("{} of {size} bytes fits", cookie.name), &(size <= 4096), &true)?;
            }
            Ok(())
        })),
    case("cookies/a-body-login-sets-none", "A login and a refresh in body transport set no cookie, also beside a foreign one.")
        .spec(&["docs/contract.md 1.17", "docs/contract.md 1.5", "docs/contract.md 4.32"])
        .run(run!(async |host| {
            let user = host.user().await?;
            for transport in [json!({}), json!({"transport": "body"})] {
                let body = json!({"username": user.name, "password": user.password});
                let body = crate::host::overlay(body, transport);
                let login = host.post("/login").cookie("theme", "dark").json(body).send().await?;
                let tokens = login.granted()?;
                host.refresh(&tokens.refresh).await?.granted()?;
            }
            Ok(())
        })),
    case("cookies/each-is-set-once", "A cookie login over a live cookie session sets each cookie once, with new values.")
        .spec(&["docs/contract.md 5.3", "docs/contract.md 4.35", "RFC 6265bis 4.1.1"])
        .run(run!(async |host| {
            let user = host.user().await?;
            let browser = user.browser().await?;
            let before = browser.copy();
            let granted = browser.login(&user.name, user.password).await?.cookies_granted()?;
            differ("the access cookie", &granted.access, &before.access()?)?;
            differ("the refresh cookie", &granted.refresh, &before.refresh_token()?)?;
            browser.get("/me").send().await?.answered(200)?;
            before.get("/me").send().await?.invalid_token()
        })),
    case(
        "cookies/invalid-grant-clears-both",
        "A refresh by a cookie that is no live token is `invalid_grant` and clears both cookies.",
    )
    .spec(&["docs/contract.md 5.4", "docs/contract.md 4.33", "docs/contract.md 2.7"])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let other = host.user().await?.browser().await?;
        browser.jar().set(REFRESH, "not-a-token");
        let answer = browser.refresh().await?;
        answer.refused(400, "invalid_grant")?;
        answer.clears_cookies()?;
        // A dead one is as final as a bad one.
        let before = other.copy();
        other.post("/logout").send().await?.status(204)?;
        let answer = before.refresh().await?;
        answer.refused(400, "invalid_grant")?;
        answer.clears_cookies()
    })),
    case("cookies/other-refusals-clear-none", "No refusal but `invalid_grant` in cookie transport sets or clears a cookie.")
        .spec(&["docs/contract.md 2.25", "docs/contract.md 4.33", "docs/contract.md 4.34"])
        .config(|| json!({"limits": {"refresh_network_per_minute": 1}}))
        .needs(&[Need::Addresses])
        .run(run!(async |host| {
            let browser = host.user().await?.browser().await?;
            browser.refresh().await?.cookies_granted()?;
            let access = browser.access()?;
            let cross = browser.silent("POST", "/token").header("Sec-Fetch-Site", "cross-site");
            let wrong = json!({"current_password": "a wrong pass phrase", "new_password": "eleven calm rivers"});
            let refresh = browser.refresh_token()?;
            let body = host.post("/token").form(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
            for (status, request) in [
                (429, browser.post("/token")),
                (403, cross),
                (400, browser.get("/me").bearer(&access)),
                (400, browser.post("/logout").json_text("{")),
                (401, browser.post("/password").json(wrong)),
                (404, browser.get("/nothing")),
                (404, browser.delete("/sessions/unknown")),
                (405, browser.post("/me")),
                (415, browser.post("/password").header("Content-Type", "text/plain").raw_body(b"x")),
                (401, host.get("/me").cookie(ACCESS, "not-a-token").cookie(REFRESH, &refresh)),
                // A bad token in a body says nothing about cookies, which this client has none of.
                (400, body.from(host.fresh_address())),
            ] {
                let answer = request.send().await?;
                answer.is(status)?;
                answer.sets_no_cookie().row(format!("a {status}"))?;
            }
            browser.get("/me").send().await?.answered(200).map(|_| ())
        })),
    case(
        "cookies/the-development-switch-drops-secure-and-prefix",
        "With `insecure_loopback_cookies` both cookies lose `Secure` and the prefix, and nothing else changes.",
    )
    .spec(&["docs/contract.md 5.7", "ASVS 3.3.1"])
    .config(|| json!({"insecure_loopback_cookies": true}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = host.browser();
        browser.login(&user.name, user.password).await?.cookies_granted()?;
        let access = browser.jar().get(INSECURE[0]).map(str::to_owned).unwrap_or_default();
        browser.get("/me").send().await?.answered(200)?;
        browser.refresh().await?.cookies_granted()?;
        // The names of the other mode are nobody's now.
        host.get("/me").cookie(ACCESS, &access).send().await?.refused(401, "unauthenticated")?;
        let answer = browser.post("/logout").send().await?;
        answer.status(204)?;
        answer.clears_cookies()
    })),
    case("cookies/plain-names-are-nothing-without-the-switch", "Without the switch cookies of the plain names are not ours.")
        .spec(&["docs/contract.md 5.7", "docs/contract.md 5.6"])
        .run(run!(async |host| {
            let browser = host.user().await?.browser().await?;
            let (access, refresh) = (browser.access()?, browser.refresh_token()?);
            let [plain_access, plain_refresh] = INSECURE;
            host.get("/me").cookie(plain_access, &access).send().await?.refused(401, "unauthenticated")?;
            let request = host.post("/logout").same_origin().cookie(plain_refresh, &refresh);
            request.send().await?.refused(401, "unauthenticated")?;
            // Nor do they conflict with a header.
            let request = host.get("/me").cookie(plain_access, "x").bearer(&access);
            request.send().await?.answered(200).map(|_| ())
        })),
];

/// Where in an answer a text stands: the names of fields in lower case, or `body`.
fn places(answer: &Response, text: &str) -> Vec<String> {
    let contains = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
    let fields = answer.headers.iter().filter(|(_, value)| contains(value));
    let mut places: Vec<String> = fields.map(|(name, _)| name.to_ascii_lowercase()).collect();
    if contains(&answer.body) {
        places.push("body".to_owned());
    }
    places
}
