//! Pages without script: which navigations are refreshed on the way, and where refused ones go.

use serde_json::{Value, json};

use crate::{
    case::{Case, Failure, Need, Outcome, Row, Setup, case, run},
    client::{Request, Response, all},
    cookies::{ACCESS, REFRESH},
    host::{Browser, Host, User, overlay},
    token::Jws,
    verdict::{differ, equal},
};

/// Access tokens that are soon over, and a login page.
fn config() -> Value {
    json!({"pages": {"login": "/login"}, "access_ttl": 60})
}

/// Past the end of an access token, leeway included.
const EXPIRED: u64 = 60 + 31;
/// Past the grace.
const LATER: u64 = 11;

/// What Chromium sends for a page at the top level.
fn navigation(request: Request) -> Request {
    request.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document")
}

/// A navigation with these cookies, from `site`.
fn from(host: &Host, site: &str, path: &str, cookies: &[(&str, &str)]) -> Request {
    let request = navigation(host.route("GET", path)).header("Sec-Fetch-Site", site);
    cookies.iter().fold(request, |request, (name, value)| request.cookie(name, value))
}

/// Someone who logged in on a site of pages.
async fn person<'h>(user: &User<'h>) -> Result<Browser<'h>, Failure> {
    let browser = user.host.browser();
    let login = browser.login(&user.name, user.password).await?;
    login.is(200).setup()?;
    granted(&login).setup()?;
    Ok(browser)
}

/// The refresh cookie is set, for a part of a week.
fn granted(answer: &Response) -> Result<String, Failure> {
    let cookie = answer.set_cookie(REFRESH)?.ok_or_else(|| answer.not("the refresh cookie"))?;
    let left = cookie.attribute("max-age").and_then(|age| age.parse().ok()).unwrap_or(0);
    equal("Max-Age of a week or less", &(1..=604_800).contains(&left), &true)?;
    answer.granted_cookie(REFRESH, "Lax", left).map(|cookie| cookie.value)
}

/// Both cookies are set on a page, which no cache keeps. Returns their values.
fn refreshed(answer: &Response) -> Result<[String; 2], Failure> {
    answer.is(200)?;
    let access = answer.granted_cookie(ACCESS, "Lax", 60)?.value;
    let refresh = granted(answer)?;
    equal("Set-Cookie fields", &answer.headers("set-cookie").len(), &2)?;
    for name in ["cache-control", "cdn-cache-control", "surrogate-control"] {
        equal(name, &answer.headers(name), &vec![&b"no-store"[..]])?;
    }
    equal("X-Accel-Expires", &answer.headers("x-accel-expires"), &vec![&b"0"[..]])?;
    Ok([access, refresh])
}

/// A redirect to this place, with the fields of every refusal and no body.
fn sent_to(answer: &Response, place: &str) -> Outcome {
    answer.is(303)?;
    equal("Location", &answer.headers("location"), &vec![place.as_bytes()])?;
    equal("the body", &answer.text(), &String::new())?;
    equal("WWW-Authenticate", &answer.headers("www-authenticate").len(), &0)?;
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        equal(name, &answer.headers(name), &vec![value.as_bytes()])?;
    }
    Ok(())
}

fn cleared(answer: &Response) -> Outcome {
    for name in [ACCESS, REFRESH] {
        let cookie = answer.granted_cookie(name, "Lax", 0)?;
        equal(name, &cookie.value, &String::new())?;
    }
    equal("Set-Cookie fields", &answer.headers("set-cookie").len(), &2)
}

pub(crate) const CASES: &[Case] = &[
    case("pages/the-refresh-cookie-is-lax", "With pages the refresh cookie is `SameSite=Lax`, set and cleared; all else of it stays.")
        .spec(&["docs/contract.md 5.15"])
        .needs(&[Need::Routes])
        .config(config)
        .run(run!(async |host| {
            let browser = person(&host.user().await?).await?;
            let answer = browser.refresh().await?;
            answer.is(200)?;
            granted(&answer)?;
            let answer = browser.post("/logout").send().await?;
            answer.is(204)?;
            cleared(&answer)
        })),
    case(
        "pages/an-expired-login-goes-on",
        "A navigation whose access cookie is expired or absent is answered as if it were live, and sets both cookies.",
    )
    .spec(&["docs/contract.md 5.16", "docs/contract.md 5.17", "docs/contract.md 5.21"])
    .needs(&[Need::Routes, Need::Clock])
    .config(config)
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = person(&user).await?;
        let first = browser.access()?;
        let live = navigation(browser.route("GET", "/whoami")).send().await?;
        live.is(200)?;
        live.sets_no_cookie()?;
        for path in ["/whoami", "/maybe", "/fresh"] {
            host.advance(EXPIRED).await?;
            let answer = navigation(browser.route("GET", path)).send().await?;
            let [access, _] = refreshed(&answer).row(path)?;
            differ("the access cookie", &access, &first)?;
            answer.member(&answer.json()?, "sub", &user.id.as_str().into()).row(path)?;
            let next = navigation(browser.route("GET", path)).send().await?;
            next.is(200)?;
            next.sets_no_cookie().row(path)?;
        }
        host.advance(LATER).await?;
        browser.jar().remove(ACCESS);
        refreshed(&navigation(browser.route("GET", "/whoami")).send().await?)?;
        host.me(&browser.access()?).await?.answered(200).map(|_| ())
    })),
    case(
        "pages/an-open-page-refreshes-too",
        "A navigation to an open route is refreshed and answered as the route would.",
    )
    .spec(&["docs/contract.md 5.17"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        browser.jar().remove(ACCESS);
        refreshed(&navigation(browser.route("GET", "/open")).send().await?).map(|_| ())
    })),
    case(
        "pages/nothing-but-a-navigation-is-refreshed",
        "What is no GET of a document at the top level, or has other credentials, goes on as it came.",
    )
    .spec(&["docs/contract.md 5.18", "docs/contract.md 5.16"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        let refresh = browser.refresh_token()?;
        let get = |fields: &[(&str, &str)]| {
            let request = host.route("GET", "/whoami").cookie(REFRESH, &refresh);
            fields.iter().fold(request, |request, (name, value)| request.header(name, value))
        };
        let (mode, dest) = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"));
        let mut rows: Vec<(String, Request)> = vec![
            ("nothing".into(), get(&[])),
            ("the mode alone".into(), get(&[mode])),
            ("the destination alone".into(), get(&[dest])),
            ("the mode twice".into(), get(&[mode, mode, dest])),
            ("the destination twice".into(), get(&[mode, dest, dest])),
        ];
        for other in ["iframe", "frame", "object", "embed", "empty", "image", "Document", ""] {
            rows.push((format!("destination {other:?}"), get(&[mode, ("Sec-Fetch-Dest", other)])));
        }
        for other in ["cors", "no-cors", "same-origin", "nested-navigate", "Navigate", ""] {
            rows.push((format!("mode {other:?}"), get(&[("Sec-Fetch-Mode", other), dest])));
        }
        for (row, request) in rows {
            let answer = request.send().await?;
            answer.refused(401, "unauthenticated").row(&row)?;
            answer.sets_no_cookie().row(&row)?;
        }
        let answer = get(&[mode, dest]).header("Authorization", "Basic YTpi").send().await?;
        answer.refused(401, "unauthenticated").row("Authorization")?;
        answer.sets_no_cookie()?;
        // POST of a form is a navigation too.
        let post = navigation(host.route("POST", "/note")).cookie(REFRESH, &refresh).same_origin();
        let answer = post.send().await?;
        answer.refused(401, "unauthenticated").row("POST")?;
        answer.sets_no_cookie()?;
        let head = navigation(host.route("HEAD", "/whoami")).cookie(REFRESH, &refresh).send().await?;
        head.is(303).row("HEAD")?;
        head.sets_no_cookie()?;
        let twice = get(&[mode, dest]).cookie(REFRESH, &refresh).send().await?;
        twice.refused(400, "invalid_request").row("the refresh cookie twice")?;
        twice.sets_no_cookie()?;
        let access = browser.access()?;
        let twice = get(&[mode, dest]).cookie(ACCESS, &access).cookie(ACCESS, &access).send().await?;
        twice.refused(400, "invalid_request").row("the access cookie twice")?;
        twice.sets_no_cookie()?;
        let endpoint = navigation(host.get("/me")).cookie(REFRESH, &refresh).send().await?;
        endpoint.refused(401, "unauthenticated").row("an endpoint")?;
        endpoint.sets_no_cookie()?;
        // The token is as it was: a navigation by the same fields gets its first successor.
        refreshed(&get(&[mode, dest]).send().await?).map(|_| ())
    })),
    case(
        "pages/any-refused-access-cookie-is-refreshed",
        "A navigation is refreshed whatever its access cookie is refused for; with a session that was ended elsewhere both \
         cookies are cleared and it is nobody's.",
    )
    .spec(&["docs/contract.md 5.17", "docs/contract.md 5.19"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = person(&user).await?;
        let (access, refresh) = (browser.access()?, browser.refresh_token()?);
        let live = from(host, "none", "/whoami", &[(ACCESS, &access), (REFRESH, &refresh)]).send().await?;
        live.is(200)?;
        live.sets_no_cookie()?;
        let signed = access.rsplit_once('.').map_or("", |(signed, _)| signed);
        let forged = format!("{signed}.{}", "A".repeat(86));
        for bad in ["not-a-token", forged.as_str(), refresh.as_str()] {
            let answer = from(host, "none", "/whoami", &[(ACCESS, bad), (REFRESH, &refresh)]).send().await?;
            refreshed(&answer).row(bad)?;
            // The signature of the refresh token is asked all the same.
            let garbage = from(host, "none", "/open", &[(ACCESS, bad), (REFRESH, "not-a-token")]).send().await?;
            garbage.is(200)?;
            cleared(&garbage).row(bad)?;
        }
        for (path, status) in [("/maybe", 200), ("/open", 200), ("/whoami", 303)] {
            let browser = person(&user).await?;
            let (access, refresh) = (browser.access()?, browser.refresh_token()?);
            browser.post("/logout").send().await?.is(204).setup()?;
            let alone = from(host, "none", "/whoami", &[(ACCESS, &access)]).send().await?;
            alone.sets_no_cookie().row("no refresh cookie")?;
            let answer = from(host, "none", path, &[(ACCESS, &access), (REFRESH, &refresh)]).send().await?;
            answer.is(status).row(path)?;
            cleared(&answer).row(path)?;
        }
        Ok(())
    })),
    case(
        "pages/navigations-at-once-are-one-session",
        "Navigations at once with one expired login end with one live refresh token, and nobody is logged out.",
    )
    .spec(&["docs/contract.md 5.17", "docs/contract.md 4.24"])
    .needs(&[Need::Routes, Need::Clock])
    .config(config)
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        host.advance(EXPIRED).await?;
        let tabs: Vec<_> = (0..8).map(|_| browser.copy()).collect();
        let requests = tabs.iter().map(|tab| navigation(tab.route("GET", "/whoami")).send());
        let mut tokens = Vec::new();
        for answer in all(requests).await {
            tokens.push(refreshed(&answer?)?[1].clone());
        }
        tokens.dedup();
        equal("refresh tokens that were set", &tokens.len(), &1)?;
        host.advance(EXPIRED).await?;
        for tab in &tabs[..2] {
            navigation(tab.route("GET", "/whoami")).send().await?.is(200)?;
        }
        let sessions = tabs[0].get("/sessions").send().await?.answered(200)?;
        equal("sessions", &sessions["sessions"].as_array().map(Vec::len), &Some(1))
    })),
    case(
        "pages/a-burst-holds-the-refresh-cookie",
        "While a burst is under way a navigation sets the access cookie alone.",
    )
    .spec(&["docs/contract.md 5.17", "docs/contract.md 4.13"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        browser.jar().remove(ACCESS);
        let late = browser.copy();
        refreshed(&navigation(browser.route("GET", "/whoami")).send().await?)?;
        refreshed(&navigation(late.route("GET", "/whoami")).send().await?)?;
        browser.jar().remove(ACCESS);
        let answer = navigation(browser.route("GET", "/whoami")).send().await?;
        answer.is(200)?;
        answer.granted_cookie(ACCESS, "Lax", 60)?;
        equal("Set-Cookie fields", &answer.headers("set-cookie").len(), &1)
    })),
    case(
        "pages/a-session-that-is-over-is-cleared",
        "A navigation of a session that is over clears both cookies: it is nobody's on an open or optional route, and \
         a guarded one sends it to the login page.",
    )
    .spec(&["docs/contract.md 5.19", "docs/contract.md 5.22"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        let refresh = browser.refresh_token()?;
        let live = from(host, "none", "/maybe", &[(REFRESH, &refresh)]).send().await?;
        refreshed(&live)?;
        browser.post("/logout").send().await?.is(204).setup()?;
        for token in [refresh.as_str(), "not-a-token"] {
            let answer = from(host, "none", "/whoami", &[(REFRESH, token)]).send().await?;
            sent_to(&answer, "/login?return_to=/whoami")?;
            cleared(&answer)?;
            for open in ["/maybe", "/open"] {
                let answer = from(host, "none", open, &[(REFRESH, token)]).send().await?;
                answer.is(200).row(open)?;
                cleared(&answer).row(open)?;
            }
        }
        Ok(())
    })),
    case(
        "pages/a-stolen-token-is-noticed",
        "A thief who comes while the owner is away is noticed when the owner comes back; one who comes late at once.",
    )
    .spec(&["docs/contract.md 5.19", "docs/contract.md 5.25", "docs/contract.md 4.16", "docs/contract.md 4.17"])
    .needs(&[Need::Routes, Need::Clock])
    .config(config)
    .run(run!(async |host| {
        for owner_was_away in [true, false] {
            let browser = person(&host.user().await?).await?;
            let thief = browser.copy();
            host.advance(EXPIRED).await?;
            refreshed(&navigation(browser.route("GET", "/whoami")).send().await?)?;
            host.advance(EXPIRED).await?;
            let (later, other) = if owner_was_away {
                refreshed(&navigation(thief.route("GET", "/whoami")).send().await?)?;
                (&browser, &thief)
            } else {
                refreshed(&navigation(browser.route("GET", "/whoami")).send().await?)?;
                host.advance(LATER).await?;
                (&thief, &browser)
            };
            host.advance(LATER).await?;
            let answer = navigation(later.route("GET", "/whoami")).send().await?;
            sent_to(&answer, "/login?return_to=/whoami")?;
            cleared(&answer)?;
            other.jar().remove(REFRESH);
            other.get("/me").send().await?.invalid_token()?;
        }
        Ok(())
    })),
    case(
        "pages/a-lost-answer-logs-nobody-out",
        "A navigation that another site began, and whose answer is lost, leaves its owner logged in, whenever they come back.",
    )
    .spec(&["docs/contract.md 5.25", "docs/contract.md 4.16"])
    .needs(&[Need::Routes, Need::Clock])
    .config(config)
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        for (row, away) in [("11 s", LATER), ("an hour", 3600), ("three days", 3 * 86_400)] {
            host.advance(EXPIRED).await?;
            let refresh = browser.refresh_token()?;
            for began in 0..2 {
                let lost = from(host, "cross-site", "/open", &[(REFRESH, &refresh)]).send().await?;
                refreshed(&lost).row(format!("{row}, lost {began}"))?;
                host.advance(away).await?;
            }
            refreshed(&navigation(browser.route("GET", "/whoami")).send().await?).row(row)?;
            host.me(&browser.access()?).await?.is(200).row(row)?;
        }
        let sessions = browser.get("/sessions").send().await?.answered(200)?;
        equal("sessions", &sessions["sessions"].as_array().map(Vec::len), &Some(1))
    })),
    case(
        "pages/a-policy-of-the-application-stays",
        "Where the application chose a policy that does not displace, a lost answer is reuse once the grace is over.",
    )
    .spec(&["docs/contract.md 5.25", "docs/contract.md 4.17"])
    .needs(&[Need::Routes, Need::Clock])
    .config(|| overlay(config(), json!({"rotation": "balanced"})))
    .run(run!(async |host| {
        let user = host.user().await?;
        for (away, kept) in [(9, true), (LATER, false)] {
            let browser = person(&user).await?;
            let refresh = browser.refresh_token()?;
            refreshed(&from(host, "cross-site", "/open", &[(REFRESH, &refresh)]).send().await?)?;
            host.advance(away).await?;
            browser.jar().remove(ACCESS);
            let answer = navigation(browser.route("GET", "/whoami")).send().await?;
            if kept {
                refreshed(&answer)?;
            } else {
                sent_to(&answer, "/login?return_to=/whoami")?;
                cleared(&answer)?;
            }
        }
        Ok(())
    })),
    case(
        "pages/what-cannot-be-refreshed-now-stays-logged-in",
        "A navigation past the limit of refreshes, or one that came late, is refused so by guards alone; no cookie is \
         set or cleared.",
    )
    .spec(&["docs/contract.md 5.20", "docs/contract.md 2.25"])
    .needs(&[Need::Routes, Need::StillClock])
    .config(|| overlay(config(), json!({"limits": {"refresh_session_per_minute": 3}})))
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        let oldest = browser.refresh_token()?;
        for _ in 0..2 {
            browser.jar().remove(ACCESS);
            refreshed(&navigation(browser.route("GET", "/whoami")).send().await?)?;
        }
        let late = from(host, "none", "/whoami", &[(REFRESH, &oldest)]).send().await?;
        late.refused(409, "superseded")?;
        late.sets_no_cookie()?;
        browser.jar().remove(ACCESS);
        for path in ["/whoami", "/maybe"] {
            let answer = navigation(browser.route("GET", path)).send().await?;
            answer.refused(429, "rate_limited").row(path)?;
            answer.sets_no_cookie()?;
        }
        let open = navigation(browser.route("GET", "/open")).send().await?;
        open.is(200)?;
        open.sets_no_cookie()?;
        host.advance(120).await?;
        refreshed(&navigation(browser.route("GET", "/whoami")).send().await?).map(|_| ())
    })),
    case(
        "pages/a-refused-navigation-goes-to-the-login-page",
        "A navigation that is refused with 401 goes to the login page with the way back; any other request is refused.",
    )
    .spec(&["docs/contract.md 5.22", "docs/contract.md 2.30"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        for (path, place) in [
            ("/whoami", "/login?return_to=/whoami"),
            ("/admin?tab=a%2Fb&x=1", "/login?return_to=/admin%3Ftab%3Da%252Fb%26x%3D1"),
            ("/fresh?//evil.example", "/login?return_to=/fresh%3F//evil.example"),
        ] {
            for site in ["none", "same-origin", "cross-site"] {
                sent_to(&from(host, site, path, &[]).send().await?, place).row(path)?;
            }
            host.route("GET", path).send().await?.refused(401, "unauthenticated").row(path)?;
            let fetch = host.route("GET", path).header("Sec-Fetch-Mode", "cors").header("Sec-Fetch-Dest", "empty");
            fetch.send().await?.refused(401, "unauthenticated").row(path)?;
        }
        let browser = person(&host.user().await?).await?;
        let admin = navigation(browser.route("GET", "/admin")).send().await?;
        admin.refused(403, "insufficient_scope")?;
        navigation(host.route("GET", "/whoami")).bearer("not-a-token").send().await?.invalid_token()
    })),
    case(
        "pages/an-old-login-goes-to-the-login-page",
        "A navigation to a route that asks for a fresher login goes to the login page.",
    )
    .spec(&["docs/contract.md 5.22"])
    .needs(&[Need::Routes, Need::Clock])
    .config(config)
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        navigation(browser.route("GET", "/fresh")).send().await?.is(200)?;
        host.advance(400).await?;
        let answer = navigation(browser.route("GET", "/fresh")).send().await?;
        answer.is(303)?;
        equal("Location", &answer.header("location"), &Some("/login?return_to=/fresh"))?;
        equal("Set-Cookie fields", &answer.headers("set-cookie").len(), &2)?;
        browser.route("GET", "/fresh").send().await?.refused(401, "insufficient_user_authentication")
    })),
    case(
        "pages/the-way-back-stays-on-the-site",
        "The login page is told no way back that could be read as another site.",
    )
    .spec(&["docs/contract.md 5.23"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        // Hosts do not route these, so the guarded route is one and the rest stands in the query.
        for (query, place) in [
            ("?a=/b", "/login?return_to=/whoami%3Fa%3D/b"),
            ("?a=%5Cb", "/login?return_to=/whoami%3Fa%3D%255Cb"),
            ("?a=\\b", "/login"),
            ("?a=%zz", "/login"),
            ("?a=\"b", "/login"),
        ] {
            let answer = from(host, "none", &format!("/whoami{query}"), &[]).send().await?;
            // A server may refuse such a target itself.
            if answer.status == 400 && place == "/login" {
                continue;
            }
            sent_to(&answer, place).row(query)?;
        }
        let long = format!("/whoami?{}", "a".repeat(2048));
        sent_to(&from(host, "none", &long, &[]).send().await?, "/login").row("a long target")
    })),
    case(
        "pages/another-site-can-cause-a-rotation-and-no-more",
        "A cross-site navigation is refreshed and nobody is logged out; a cross-site POST with the same cookies is refused.",
    )
    .spec(&["docs/contract.md 5.17", "docs/contract.md 5.8", "docs/contract.md 5.12"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        let refresh = browser.refresh_token()?;
        let token = host.post("/token").cookie(REFRESH, &refresh).header("Sec-Fetch-Site", "cross-site");
        let refused = navigation(token).send().await?;
        refused.refused(403, "csrf_failed")?;
        refused.sets_no_cookie()?;
        let first = refreshed(&from(host, "cross-site", "/whoami", &[(REFRESH, &refresh)]).send().await?)?;
        let again = refreshed(&from(host, "cross-site", "/whoami", &[(REFRESH, &refresh)]).send().await?)?;
        equal("the refresh cookie of a repeat", &again[1], &first[1])?;
        let note = navigation(host.route("POST", "/note")).cookie(ACCESS, &first[0]);
        note.header("Sec-Fetch-Site", "cross-site").send().await?.refused(403, "csrf_failed")
    })),
    case(
        "pages/a-form-is-under-the-csrf-rule-with-or-without-a-cookie",
        "What a page without script sends to a route of the host logs in and out, and is refused from elsewhere, without \
         a cookie too.",
    )
    .spec(&["docs/contract.md 5.24", "docs/contract.md 5.9", "docs/contract.md 5.11", "docs/contract.md 5.12"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        let user = host.user().await?;
        let typed = |password, back| [("username", user.name.as_str()), ("password", password), ("return_to", back)];
        let login = |password, back| navigation(host.route("POST", "/form/login")).form(&typed(password, back));
        let out = || navigation(host.route("POST", "/form/logout")).form(&[]);

        let entered = login(user.password, "/whoami?a=b").same_origin().send().await?;
        sent_to(&entered, "/whoami?a=b")?;
        let (access, refresh) = (entered.granted_cookie(ACCESS, "Lax", 60)?.value, granted(&entered)?);
        host.me(&access).await?.answered(200)?;
        for back in ["//evil.example", "/\\evil.example", "https://evil.example", ""] {
            let answer = login(user.password, back).same_origin().send().await?;
            sent_to(&answer, "/").row(back)?;
            granted(&answer).row(back)?;
        }
        let wrong = login("not the one at all", "/").same_origin().send().await?;
        wrong.refused(401, "invalid_credentials")?;
        wrong.sets_no_cookie()?;
        out().same_origin().send().await?.refused(401, "unauthenticated")?;

        let with = |request: Request| request.cookie(ACCESS, &access).cookie(REFRESH, &refresh);
        for site in [Some("cross-site"), Some("same-site"), None] {
            let place = |request: Request| match site {
                Some(site) => request.header("Sec-Fetch-Site", site),
                None => request,
            };
            for request in [login(user.password, "/"), with(login(user.password, "/")), out(), with(out())] {
                let answer = place(request).send().await?;
                answer.refused(403, "csrf_failed").row(format!("{site:?}"))?;
                answer.varies_by_origin().row(format!("{site:?}"))?;
                answer.sets_no_cookie().row(format!("{site:?}"))?;
            }
        }
        // Nothing has changed by that.
        host.me(&access).await?.answered(200)?;
        let left = with(out()).same_origin().send().await?;
        sent_to(&left, "/form")?;
        cleared(&left)?;
        host.me(&access).await?.invalid_token()
    })),
    // Rocket takes it for a GET before anyone is asked.
    case(
        "pages/a-form-that-says-get-is-no-navigation",
        "A POST whose form, query or fields say that it is a GET is neither refreshed nor sent anywhere.",
    )
    .spec(&["docs/contract.md 5.16", "docs/contract.md 5.18", "docs/contract.md 5.22"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        let refresh = browser.refresh_token()?;
        let post = |path: &str| navigation(host.route("POST", path)).cookie(REFRESH, &refresh);
        for path in ["/whoami", "/open", "/maybe"] {
            let query = format!("{path}?_method=get");
            for (row, request) in [
                ("get", post(path).form(&[("_method", "get")])),
                ("GET", post(path).form(&[("_method", "GET"), ("x", "1")])),
                ("in the query", post(&query)),
                ("in a field", post(path).header("X-HTTP-Method-Override", "GET")),
            ] {
                let row = format!("{path} {row}");
                for site in ["same-origin", "cross-site"] {
                    let answer = request.clone().header("Sec-Fetch-Site", site).send().await?;
                    answer.sets_no_cookie().row(&row)?;
                    equal("a redirect", &(300..400).contains(&answer.status), &false).row(&row)?;
                }
            }
        }
        // The token is as it was: the nearest navigation gets its first successor.
        browser.jar().remove(ACCESS);
        let [_, second] = refreshed(&navigation(browser.route("GET", "/whoami")).send().await?)?;
        equal("the generation", &Jws::parse(&second)?.number("gen")?, &1)
    })),
    case(
        "pages/a-form-that-says-head-is-no-navigation",
        "A POST whose form says that it is a HEAD is answered, and neither refreshed nor sent anywhere.",
    )
    .spec(&["docs/contract.md 5.16", "docs/contract.md 5.22"])
    .needs(&[Need::Routes])
    .config(config)
    .run(run!(async |host| {
        let browser = person(&host.user().await?).await?;
        let refresh = browser.refresh_token()?;
        let form = host.route("POST", "/maybe").form(&[("_method", "head"), ("x", "1")]);
        let answer = navigation(form).cookie(REFRESH, &refresh).send().await?;
        answer.sets_no_cookie()?;
        equal("a redirect", &(300..400).contains(&answer.status), &false)
    })),
    case("pages/off-is-off", "Without the option no navigation is refreshed or sent anywhere, and the refresh cookie is `Strict`.")
        .spec(&["docs/contract.md 5.15", "docs/contract.md 5.2"])
        .needs(&[Need::Routes])
        .run(run!(async |host| {
            let browser = host.user().await?.browser().await?;
            browser.jar().remove(ACCESS);
            let answer = navigation(browser.route("GET", "/whoami")).send().await?;
            answer.refused(401, "unauthenticated")?;
            answer.sets_no_cookie()?;
            browser.refresh().await?.cookies_granted().map(|_| ())
        })),
    case("pages/without-a-login-page-a-refusal-is-a-refusal", "Where no login page is set, a refused navigation is answered 401.")
        .spec(&["docs/contract.md 5.22"])
        .needs(&[Need::Routes])
        .config(|| json!({"pages": {}, "access_ttl": 60}))
        .run(run!(async |host| {
            let browser = person(&host.user().await?).await?;
            browser.jar().remove(ACCESS);
            refreshed(&navigation(browser.route("GET", "/whoami")).send().await?)?;
            from(host, "none", "/whoami", &[]).send().await?.refused(401, "unauthenticated")
        })),
    case("pages/the-login-page-is-a-path", "A login page that is no path of the application is refused at the start.")
        .spec(&["docs/contract.md 5.22"])
        .needs(&[Need::Processes])
        .run(run!(async |host| {
            for login in ["login", "//evil.example", "https://evil.example/login", "/login?a=b", "/a/../b", ""] {
                let exit = host.launch()?.config(json!({"pages": {"login": login}})).exit().await?;
                exit.refused_configuration("pages").row(login)?;
            }
            let mut process = host.launch()?.config(json!({"pages": {"login": "/account/login"}})).start().await?;
            process.kill().await;
            Ok(())
        })),
];
