//! Unsafe requests with cookies: Sec-Fetch-Site and Origin.
//!
//! The refresh endpoint is where most cases ask: it needs nothing but its cookie, and a refresh that happened is seen in
//! the answer.

use serde_json::{Value, json};

use crate::{
    case::{Case, Failure, Need, Outcome, Row, case, run},
    client::{Request, Response},
    cookies::{ACCESS, INSECURE, REFRESH},
    host::{Browser, PASSWORD},
};

/// Where the application is, and one other place that may call it.
fn origins() -> Value {
    json!({"origin": "https://app.test", "trusted_origins": ["https://partner.test", "http://localhost:5173"]})
}

/// Origins that are not ours, however much they look like it.
const STRANGERS: [&str; 20] = [
    "null",
    "http://app.test",
    "https://app.test:8443",
    "https://app.test.evil.example",
    "https://evil-app.test",
    "https://sub.app.test",
    "https://app.tes",
    "https://app.testx",
    "https://app.test@evil.example",
    "https://evil.example",
    "https://evil.example/https://app.test",
    "https://evil.example#https://app.test",
    "app.test",
    "//app.test",
    "https://",
    "*",
    "https://app.test https://evil.example",
    "https://app.test, https://evil.example",
    "http://localhost:51730",
    "file://",
];

pub(crate) const CASES: &[Case] = &[
    // The browser itself says where the request comes from; Origin is then not needed, and may be `null` where the page
    // sends no referrer.
    case(
        "csrf/same-origin-and-none-pass",
        "`Sec-Fetch-Site` of `same-origin` or `none` passes, whatever the Origin.",
    )
    .spec(&["docs/contract.md 5.9", "ASVS 3.5.1"])
    .config(origins)
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        for site in ["same-origin", "none"] {
            passes(&browser, &[("Sec-Fetch-Site", site)]).await?;
            for origin in ["https://app.test", "null", "https://partner.test", "https://evil.example"] {
                passes(&browser, &[("Sec-Fetch-Site", site), ("Origin", origin)]).await?;
            }
        }
        Ok(())
    })),
    case(
        "csrf/other-sites-are-refused",
        "Any other `Sec-Fetch-Site` is refused, with or without an Origin that is not trusted.",
    )
    .spec(&["docs/contract.md 5.9", "docs/contract.md 5.12", "docs/contract.md 2.14", "ASVS 3.5.1"])
    .config(origins)
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        for site in [
            "cross-site",
            "same-site",
            "",
            "same-origin ;",
            "Same-Origin",
            "SAME-ORIGIN",
            "None",
            "same-origin, same-origin",
            "none, none",
            "same_origin",
            "\"same-origin\"",
            "true",
            "null",
        ] {
            refuses(&browser, &[("Sec-Fetch-Site", site)]).await?;
            for origin in STRANGERS {
                refuses(&browser, &[("Sec-Fetch-Site", site), ("Origin", origin)]).await?;
            }
        }
        // Nothing of it had any effect, and the same request from a page of the application has.
        passes(&browser, &[("Sec-Fetch-Site", "same-origin")]).await
    })),
    case(
        "csrf/a-field-that-is-sent-twice-is-refused",
        "Two `Sec-Fetch-Site` fields are refused, alike or not, and so are two Origins.",
    )
    .spec(&["docs/contract.md 5.9", "docs/contract.md 5.10", "ASVS 15.3.7"])
    .config(origins)
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        for (one, other) in [
            ("same-origin", "same-origin"),
            ("none", "none"),
            ("same-origin", "cross-site"),
            ("cross-site", "same-origin"),
            ("same-origin", ""),
        ] {
            refuses(&browser, &[("Sec-Fetch-Site", one), ("sec-fetch-site", other)]).await?;
            let twice = [("Sec-Fetch-Site", one), ("Sec-Fetch-Site", other), ("Origin", "https://evil.example")];
            refuses(&browser, &twice).await?;
        }
        for (one, other) in [
            ("https://app.test", "https://evil.example"),
            ("https://evil.example", "https://app.test"),
            ("https://app.test", "https://app.test"),
            ("null", "https://app.test"),
        ] {
            refuses(&browser, &[("Origin", one), ("Origin", other)]).await?;
        }
        refuses(
            &browser,
            &[
                ("Sec-Fetch-Site", "cross-site"),
                ("Origin", "https://evil.example"),
                ("Origin", "https://partner.test"),
            ],
        )
        .await?;
        passes(&browser, &[("Sec-Fetch-Site", "same-origin")]).await
    })),
    case("csrf/a-trusted-origin-passes", "A request of another site passes when its Origin is a configured trusted one.")
        .spec(&["docs/contract.md 5.9"])
        .config(origins)
        .run(run!(async |host| {
            let browser = host.user().await?.browser().await?;
            for site in ["cross-site", "same-site"] {
                for origin in ["https://partner.test", "http://localhost:5173"] {
                    passes(&browser, &[("Sec-Fetch-Site", site), ("Origin", origin)]).await?;
                }
                for origin in ["http://partner.test", "https://localhost:5173", "http://localhost", "https://partner.tes"]
                {
                    refuses(&browser, &[("Sec-Fetch-Site", site), ("Origin", origin)]).await?;
                }
            }
            Ok(())
        })),
    // Browsers before 2023 send no Sec-Fetch-Site; Origin they do send with every unsafe request.
    case(
        "csrf/without-sec-fetch-site-the-origin-decides",
        "Without `Sec-Fetch-Site` the application's own origin and the trusted ones pass, and no other.",
    )
    .spec(&["docs/contract.md 5.10", "docs/contract.md 5.12", "ASVS 3.5.1"])
    .config(origins)
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        for origin in STRANGERS {
            refuses(&browser, &[("Origin", origin)]).await?;
        }
        for origin in ["https://app.test", "https://partner.test", "http://localhost:5173"] {
            passes(&browser, &[("Origin", origin)]).await?;
        }
        Ok(())
    })),
    case("csrf/with-neither-field-it-is-refused", "An unsafe request with our cookie and neither field is refused.")
        .spec(&["docs/contract.md 5.11", "docs/contract.md 5.12"])
        .config(origins)
        .run(run!(async |host| {
            let browser = host.user().await?.browser().await?;
            refuses(&browser, &[]).await?;
            for other in [
                ("Referer", "https://app.test/page"),
                ("X-Requested-With", "XMLHttpRequest"),
                ("Sec-Fetch-Mode", "same-origin"),
                ("X-CSRF-Token", "1"),
                ("Host", "app.test"),
                ("X-Forwarded-Host", "app.test"),
            ] {
                refuses(&browser, &[other]).await?;
            }
            passes(&browser, &[("Sec-Fetch-Site", "same-origin")]).await
        })),
    case(
        "csrf/every-unsafe-endpoint-is-under-the-rule",
        "Each unsafe endpoint refuses a request of another site that carries our cookies, and has done nothing.",
    )
    .spec(&["docs/contract.md 5.8", "docs/contract.md 5.12", "docs/contract.md 5.14"])
    .config(origins)
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = user.browser().await?;
        let other = user.login().await?;
        let name = host.fresh_name();
        for (method, path, body) in unsafe_requests(&user.name, &name, &other.session_id, &other.refresh) {
            for fields in [&[("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")][..], &[]] {
                let request = browser.silent(method, &path);
                let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
                let answer = body.of(request).send().await?;
                let row = format!("{method} {path}, {} fields", fields.len());
                answer.refused(403, "csrf_failed").row(&row)?;
                answer.varies_by_origin().row(&row)?;
                answer.sets_no_cookie().row(&row)?;
            }
        }
        // Registered nobody, changed no password, ended and rotated nothing.
        host.login(&name, PASSWORD).await?.refused(401, "invalid_credentials")?;
        host.login(&user.name, PASSWORD).await?.granted()?;
        browser.get("/me").send().await?.answered(200)?;
        host.me(&other.access).await?.answered(200)?;
        host.refresh(&other.refresh).await?.granted()?;
        browser.refresh().await?.cookies_granted().map(|_| ())
    })),
    case(
        "csrf/every-unsafe-endpoint-takes-its-own-page",
        "Each unsafe endpoint takes the same requests from a page of the application, and says what they depended on.",
    )
    .spec(&["docs/contract.md 5.8", "docs/contract.md 5.9", "docs/contract.md 5.14"])
    .config(origins)
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = user.browser().await?;
        let other = user.login().await?;
        let name = host.fresh_name();
        for (method, path, body) in unsafe_requests(&user.name, &name, &other.session_id, &other.refresh) {
            let answer = body.of(browser.request(method, &path)).send().await?;
            let row = format!("{method} {path}");
            if !(200..300).contains(&answer.status) {
                return Err(answer.not("a success")).row(row);
            }
            answer.standard().row(&row)?;
            answer.varies_by_origin().row(&row)?;
        }
        browser.get("/me").send().await?.refused(401, "unauthenticated")
    })),
    // Else a page could log a visitor into the attacker's account, and read later what he does there.
    case(
        "csrf/a-cookie-login-is-under-the-rule",
        "A login in cookie transport is under the rule even without a cookie; one in body transport is not.",
    )
    .spec(&["docs/contract.md 5.8", "docs/contract.md 5.14", "RFC 9700 4.7"])
    .config(origins)
    .run(run!(async |host| {
        let user = host.user().await?;
        let body = |transport: &str| json!({"username": user.name, "password": PASSWORD, "transport": transport});
        let evil = |request: Request| {
            request.header("Sec-Fetch-Site", "cross-site").header("Origin", "https://evil.example")
        };
        for request in [
            evil(host.post("/login").json(body("cookie"))),
            host.post("/login").json(body("cookie")),
            host.post("/login").json(body("cookie")).header("Origin", "null"),
            host.post("/login").json(body("cookie")).header("Sec-Fetch-Site", "same-site"),
        ] {
            let answer = request.send().await?;
            answer.refused(403, "csrf_failed")?;
            answer.varies_by_origin()?;
            answer.sets_no_cookie()?;
        }
        let own = host.post("/login").json(body("cookie")).header("Origin", "https://app.test").send().await?;
        own.cookies_granted()?;
        own.varies_by_origin()?;
        evil(host.post("/login").json(body("body"))).send().await?.granted()?;
        // Four logins were refused, one set cookies, one gave tokens: two sessions, and this third one.
        let access = user.login().await?.access;
        let answer = host.get("/sessions").bearer(&access).send().await?;
        let sessions = answer.answered(200)?;
        let count = sessions.get("sessions").and_then(Value::as_array).map(Vec::len);
        if count == Some(3) { Ok(()) } else { Err(answer.not("three sessions")) }
    })),
    case("csrf/safe-methods-are-not-under-the-rule", "GET and HEAD with our cookies are answered, wherever they come from.")
        .spec(&["docs/contract.md 5.8"])
        .config(origins)
        .run(run!(async |host| {
            let browser = host.user().await?.browser().await?;
            for path in ["/me", "/sessions"] {
                for method in ["GET", "HEAD"] {
                    let request = browser.silent(method, path).header("Sec-Fetch-Site", "cross-site");
                    let answer = request.header("Origin", "https://evil.example").send().await?;
                    answer.is(200)?;
                    answer.standard()?;
                }
            }
            let options = browser.silent("OPTIONS", "/token").header("Sec-Fetch-Site", "cross-site");
            options.send().await?.method_not_allowed(&["POST"])
        })),
    // A token in a header is put there by the client's own code; no other site can make a browser do that.
    case(
        "csrf/a-client-without-our-cookies-is-not-asked",
        "A request that carries no cookie of ours is not under the rule, whatever its Origin.",
    )
    .spec(&["docs/contract.md 5.8"])
    .config(origins)
    .run(run!(async |host| {
        let user = host.user().await?;
        let evil = |request: Request| {
            let request = request.header("Sec-Fetch-Site", "cross-site").header("Origin", "https://evil.example");
            request.cookie("theme", "dark; session=abc; gatekey_access=x; xsrf=1")
        };
        let tokens = user.login().await?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
        let next = evil(host.post("/token").form(&form)).send().await?.granted()?;
        let body = json!({"current_password": PASSWORD, "new_password": "eleven calm rivers run"});
        evil(host.post("/password").bearer(&next.access).json(body)).send().await?.status(204)?;
        evil(host.delete("/sessions?keep_current=true").bearer(&next.access)).send().await?.status(204)?;
        evil(host.post("/logout").bearer(&next.access)).send().await?.status(204)?;
        evil(host.post("/logout")).send().await?.refused(401, "unauthenticated")
    })),
    case(
        "csrf/one-of-our-cookies-is-enough",
        "Either cookie, valid or not, puts an unsafe request under the rule, also beside a bearer token.",
    )
    .spec(&["docs/contract.md 5.8", "docs/contract.md 3.32"])
    .config(origins)
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let browser = user.browser().await?;
        let refresh = browser.refresh_token()?;
        for (name, value) in [(ACCESS, "not-a-token"), (REFRESH, "not-a-token"), (ACCESS, ""), (REFRESH, "")] {
            let answer = host.post("/logout").cookie(name, value).send().await?;
            answer.refused(403, "csrf_failed").row(format!("{name}={value}"))?;
        }
        let beside = |path: &str| host.delete(path).bearer(&tokens.access).cookie(REFRESH, &refresh);
        beside("/sessions?keep_current=true").send().await?.refused(403, "csrf_failed")?;
        browser.get("/me").send().await?.answered(200)?;
        beside("/sessions?keep_current=true").same_origin().send().await?.status(204)?;
        browser.get("/me").send().await?.invalid_token()
    })),
    case("csrf/the-hosts-own-routes-are-under-the-rule", "A route of the host that takes the access cookie is under the rule.")
        .spec(&["docs/contract.md 5.13", "docs/contract.md 5.14", "docs/contract.md 2.29"])
        .config(origins)
        .needs(&[Need::Routes])
        .run(run!(async |host| {
            let user = host.user().await?;
            let access = user.browser().await?.access()?;
            let note = || host.route("POST", "/note").cookie(ACCESS, &access);
            for request in [
                note(),
                note().header("Sec-Fetch-Site", "cross-site"),
                note().header("Sec-Fetch-Site", "same-site"),
                note().header("Origin", "null"),
                note().header("Origin", "https://evil.example"),
                note().same_origin().header("Sec-Fetch-Site", "same-origin"),
            ] {
                let answer = request.send().await?;
                answer.refused(403, "csrf_failed")?;
                answer.varies_by_origin()?;
            }
            for request in [
                note().same_origin(),
                note().header("Sec-Fetch-Site", "none"),
                note().header("Origin", "https://app.test"),
                note().header("Sec-Fetch-Site", "cross-site").header("Origin", "https://partner.test"),
            ] {
                let answer = request.send().await?;
                if !(200..300).contains(&answer.status) {
                    return Err(answer.not("a success"));
                }
            }
            let bearer = user.login().await?.access;
            let answer = host.route("POST", "/note").bearer(&bearer).header("Sec-Fetch-Site", "cross-site");
            let answer = answer.send().await?;
            if !(200..300).contains(&answer.status) {
                return Err(answer.not("a success"));
            }
            // Reading is not.
            let read = host.route("GET", "/whoami").cookie(ACCESS, &access).header("Sec-Fetch-Site", "cross-site");
            read.send().await?.is(200)
        })),
    case(
        "csrf/development-cookies-are-under-the-rule",
        "The rule holds under the development switch too, for the names it gives the cookies.",
    )
    .spec(&["docs/contract.md 5.7", "docs/contract.md 5.8"])
    .config(|| crate::host::overlay(origins(), json!({"insecure_loopback_cookies": true})))
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        refuses(&browser, &[]).await?;
        refuses(&browser, &[("Sec-Fetch-Site", "cross-site")]).await?;
        let [access, _] = INSECURE;
        host.post("/logout").cookie(access, "x").send().await?.refused(403, "csrf_failed")?;
        passes(&browser, &[("Sec-Fetch-Site", "same-origin")]).await
    })),
];

/// A body to be sent.
enum Body {
    Json(Value),
    Form(Vec<(&'static str, String)>),
    None,
}

impl Body {
    fn of(&self, request: Request) -> Request {
        match self {
            Self::Json(value) => request.json(value.clone()),
            Self::Form(members) => {
                let members: Vec<(&str, &str)> =
                    members.iter().map(|(name, value)| (*name, value.as_str())).collect();
                request.form(&members)
            }
            Self::None => request,
        }
    }
}

/// One request to each unsafe endpoint that a logged-in browser may send, in an order in which all of them succeed.
fn unsafe_requests(
    user: &str,
    new_user: &str,
    session: &str,
    refresh: &str,
) -> Vec<(&'static str, String, Body)> {
    let to = |path: &str| path.to_owned();
    vec![
        ("POST", to("/register"), Body::Json(json!({"username": new_user, "password": PASSWORD}))),
        ("POST", to("/login"), Body::Json(json!({"username": user, "password": PASSWORD}))),
        ("POST", to("/token"), Body::None),
        ("DELETE", format!("/sessions/{session}"), Body::None),
        ("POST", to("/revoke"), Body::Form(vec![("token", refresh.to_owned())])),
        ("DELETE", to("/sessions?keep_current=true"), Body::None),
        (
            "POST",
            to("/password"),
            Body::Json(json!({"current_password": PASSWORD, "new_password": "eleven calm rivers run"})),
        ),
        ("POST", to("/logout"), Body::None),
    ]
}

/// Refreshes by cookie with these fields and no others that matter here.
async fn refresh(browser: &Browser<'_>, fields: &[(&str, &str)]) -> Result<Response, Failure> {
    let request = browser.silent("POST", "/token");
    fields.iter().fold(request, |request, (name, value)| request.header(name, value)).send().await
}

async fn passes(browser: &Browser<'_>, fields: &[(&str, &str)]) -> Outcome {
    let answer = refresh(browser, fields).await?;
    answer.cookies_granted().row(format!("{fields:?}"))?;
    answer.varies_by_origin().row(format!("{fields:?}"))
}

async fn refuses(browser: &Browser<'_>, fields: &[(&str, &str)]) -> Outcome {
    let answer = refresh(browser, fields).await?;
    answer.refused(403, "csrf_failed").row(format!("{fields:?}"))?;
    answer.varies_by_origin().row(format!("{fields:?}"))?;
    answer.sets_no_cookie().row(format!("{fields:?}"))
}
