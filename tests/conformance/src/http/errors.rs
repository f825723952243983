//! Refusals in general: their order, 404, 405, 413, 415, and the fields of every answer.

use serde_json::{Value, json};

use crate::{
    case::{Case, Kind, Need, Outcome, Row, case, run},
    client::{Request, Response},
    host::{Host, PASSWORD},
    verdict::equal,
};

/// The largest body that is taken.
const LIMIT: usize = 16 * 1024;

/// Every path of the contract below the prefix, and its methods.
const PATHS: [(&str, &[&str]); 12] = [
    ("/register", &["POST"]),
    ("/login", &["POST"]),
    ("/token", &["POST"]),
    ("/logout", &["POST"]),
    ("/revoke", &["POST"]),
    ("/me", &["GET", "HEAD"]),
    ("/sessions", &["GET", "HEAD", "DELETE"]),
    ("/sessions/some-id", &["DELETE"]),
    ("/password", &["POST"]),
    ("/jwks.json", &["GET", "HEAD"]),
    ("/openapi.json", &["GET", "HEAD"]),
    ("/gatekey.js", &["GET", "HEAD"]),
];

pub(crate) const CASES: &[Case] = &[
    // Paths and methods.
    case(
        "errors/an-unknown-path-is-not-found",
        "A path below the prefix that is none of ours is 404 `not_found`, whatever the method.",
    )
    .spec(&["docs/contract.md 1.25", "docs/contract.md 2.15", "docs/contract.md 1.3", "docs/contract.md 2.1"])
    .run(run!(async |host| {
        for path in [
            "/nothing",
            "/login2",
            "/logi",
            "/users",
            "/admin",
            "/authorize",
            "/introspect",
            "/userinfo",
            "/jwks",
            "/.well-known/oauth-authorization-server",
            "/sessions/a/b",
            "/me/me",
        ] {
            for method in ["GET", "POST", "DELETE", "PUT", "OPTIONS"] {
                let answer = host.request(method, path).send().await?;
                answer.refused(404, "not_found").row(format!("{method} {path}"))?;
            }
        }
        Ok(())
    })),
    // A proxy in front decides by the path it sees. If we folded another into it, its rules would not hold for ours.
    case(
        "errors/a-path-is-matched-byte-for-byte",
        "Percent-encoding, case, dots, empty and trailing segments make a path another one, which is 404.",
    )
    .spec(&["docs/contract.md 1.25", "ASVS 1.1.1"])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        for path in [
            "/",
            "/me/",
            "//me",
            "/./me",
            "/x/../me",
            "/ME",
            "/Me",
            "/%6De",
            "/m%65",
            "/me%20",
            "/me%00",
            "/me;x=1",
            "/me.json",
            "/jwks%2Ejson",
            "/sessions/",
            "/sessions//x",
            "/login/",
        ] {
            let answer = host.get(path).bearer(&access).send().await?;
            answer.refused(404, "not_found").row(path)?;
        }
        // Outside the prefix the host answers, and its 404 is its own.
        for path in ["/AUTH/me", "/%61uth/me", "/auth%2Fme", "//auth/me", "/me"] {
            host.route("GET", path).bearer(&access).send().await?.is(404).row(path)?;
        }
        host.me(&access).await?.answered(200).map(|_| ())
    })),
    case("errors/a-query-does-not-change-the-path", "A query that an endpoint does not know is ignored.")
        .spec(&["docs/contract.md 1.26"])
        .run(run!(async |host| {
            let user = host.user().await?;
            let body = json!({"username": user.name, "password": user.password});
            let tokens = host.post("/login?next=/home&password=x").json(body).send().await?.granted()?;
            for path in ["/me?", "/me?x", "/me?x=1&x=1", "/me?%zz", "/me?/../nothing", "/me??", "/sessions?x=1"] {
                host.get(path).bearer(&tokens.access).send().await?.answered(200).row(path)?;
            }
            host.get("/nothing?path=/me").send().await?.refused(404, "not_found")?;
            host.post("/me?x=1").send().await?.method_not_allowed(&["GET", "HEAD"])
        })),
    case(
        "errors/another-method-is-not-allowed",
        "A known path with a method that it does not have is 405, and `Allow` names exactly those that it has.",
    )
    .spec(&["docs/contract.md 1.27", "docs/contract.md 2.16", "RFC 9110 15.5.6", "ASVS 4.1.4"])
    .run(run!(async |host| {
        for (path, allowed) in PATHS {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"] {
                if !allowed.contains(&method) {
                    let answer = host.request(method, path).send().await?;
                    answer.method_not_allowed(allowed).row(format!("{method} {path}"))?;
                }
            }
        }
        let metadata = "/.well-known/oauth-authorization-server";
        for method in ["POST", "PUT", "DELETE"] {
            let answer = host.route(method, metadata).send().await?;
            answer.method_not_allowed(&["GET", "HEAD"]).row(format!("{method} {metadata}"))?;
        }
        Ok(())
    })),
    // Else an endpoint would answer preflights, and with them decide the host's cross-origin policy.
    case(
        "errors/options-is-not-allowed",
        "OPTIONS, a preflight or not, is 405 with `Allow` and without any CORS field.",
    )
    .spec(&["docs/contract.md 1.29", "docs/contract.md 2.30", "ASVS 3.4.2"])
    .run(run!(async |host| {
        for (path, allowed) in PATHS {
            let plain = host.request("OPTIONS", path);
            let preflight = plain
                .clone()
                .header("Origin", "https://evil.example")
                .header("Access-Control-Request-Method", "POST")
                .header("Access-Control-Request-Headers", "authorization, content-type");
            for (what, request) in [("plain", plain), ("preflight", preflight)] {
                request.send().await?.method_not_allowed(allowed).row(format!("{what} OPTIONS {path}"))?;
            }
        }
        Ok(())
    })),
    case("errors/an-unknown-method-is-not-allowed", "A method that HTTP does not know is 405 on every path.")
        .spec(&["docs/contract.md 1.27", "RFC 9110 15.5.6"])
        .run(run!(async |host| {
            for (path, allowed) in PATHS {
                for method in ["PROPFIND", "BREW", "get", "Post"] {
                    let answer = host.request(method, path).send().await?;
                    answer.method_not_allowed(allowed).row(format!("{method} {path}"))?;
                }
            }
            Ok(())
        })),
    case("errors/head-is-get-without-a-body", "HEAD is answered as GET is, without the body.")
        .spec(&["docs/contract.md 1.28", "RFC 9110 9.3.2"])
        .run(run!(async |host| {
            let access = host.user().await?.login().await?.access;
            for (path, token) in [
                ("/me", access.as_str()),
                ("/sessions", &access),
                ("/jwks.json", &access),
                ("/openapi.json", &access),
                ("/gatekey.js", &access),
                ("/me", "not-a-token"),
                ("/nothing", &access),
            ] {
                let get = host.get(path).bearer(token).send().await?;
                let head = host.request("HEAD", path).bearer(token).send().await?;
                equal("the status of HEAD", &head.status, &get.status).row(path)?;
                head.standard().row(path)?;
                equal("the bytes of a body", &head.body.len(), &0).row(path)?;
                for name in ["content-type", "www-authenticate", "cache-control", "allow"] {
                    equal(name, &head.headers(name), &get.headers(name)).row(path)?;
                }
                let length = head.header("content-length").map(str::to_owned);
                if length.is_some_and(|length| length != get.body.len().to_string()) {
                    return Err(head.not("the length of GET's body, or none")).row(path);
                }
            }
            Ok(())
        })),
    // Rocket turns a POST with a form field `_method` into another method before it routes.
    case(
        "errors/nothing-overrides-the-method",
        "No header field, query or form member turns a request into one of another method.",
    )
    .spec(&["docs/contract.md 1.30", "ASVS 4.1.4"])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Rewrite-Method"] {
            let get = host.post("/me").bearer(&access).header(name, "GET").send().await?;
            get.method_not_allowed(&["GET", "HEAD"]).row(name)?;
            let delete = host.post("/sessions").bearer(&access).header(name, "DELETE").send().await?;
            delete.method_not_allowed(&["GET", "HEAD", "DELETE"]).row(name)?;
            let ignored = host.get("/me").bearer(&access).header(name, "DELETE").send().await?;
            ignored.answered(200).row(name)?;
        }
        for request in [
            host.post("/sessions").form(&[("_method", "DELETE")]),
            host.post("/sessions").form(&[("_method", "delete"), ("x", "1")]),
            host.post("/sessions?_method=DELETE"),
            host.post("/sessions").json(json!({"_method": "DELETE"})),
        ] {
            let answer = request.bearer(&access).send().await?;
            answer.method_not_allowed(&["GET", "HEAD", "DELETE"])?;
        }
        host.me(&access).await?.answered(200).map(|_| ())
    })),
    // Fields.
    case(
        "errors/every-answer-has-the-standard-fields",
        "Answers of every status have the standard fields once, no redirect, and no CORS field whatever the Origin.",
    )
    .spec(&[
        "docs/contract.md 2.27",
        "docs/contract.md 2.30",
        "docs/contract.md 2.2",
        "RFC 6749 5.1",
        "ASVS 3.4.2",
        "ASVS 14.3.2",
    ])
    .config(|| json!({"limits": {"login_network_per_minute": 3, "register_network_per_hour": 0}}))
    .needs(&[Need::StillClock, Need::Addresses])
    .run(run!(async |host| { every_status(host).await })),
    case("errors/nothing-of-the-request-is-echoed", "No refusal holds any text of the request, in its fields or body.")
        .spec(&["docs/contract.md 2.3", "ASVS 16.5.1"])
        .run(run!(async |host| { nothing_is_echoed(host).await })),
    // Sizes.
    case("errors/sixteen-kib-is-the-limit", "A body of 16,384 bytes is taken, one of 16,385 is 413.")
        .spec(&["docs/contract.md 8.3", "docs/contract.md 2.19"])
        .run(run!(async |host| {
            let user = host.user().await?;
            let body = login_of(&user.name, LIMIT);
            host.post("/login").json_text(&body).send().await?.granted().row("16,384 bytes")?;
            for length in [LIMIT + 1, 2 * LIMIT, 10 * LIMIT] {
                let body = login_of(&user.name, length);
                let answer = host.post("/login").json_text(&body).send().await?;
                answer.refused(413, "payload_too_large").row(format!("{length} bytes"))?;
            }
            Ok(())
        })),
    case(
        "errors/the-limit-holds-without-a-length",
        "A chunked body of 16,384 bytes is taken, one of 16,385 is 413.",
    )
    .spec(&["docs/contract.md 8.3", "docs/contract.md 2.19", "RFC 9112 7.1"])
    .run(run!(async |host| {
        let user = host.user().await?;
        for (length, taken) in [(LIMIT, true), (LIMIT + 1, false), (4 * LIMIT, false)] {
            let body = login_of(&user.name, length).into_bytes();
            let chunks: Vec<&[u8]> = body.chunks(1000).collect();
            let request = host.post("/login").header("Content-Type", "application/json");
            let answer = request.chunked(&chunks).send().await?;
            if taken {
                answer.granted().row(format!("{length} bytes in chunks"))?;
            } else {
                answer.refused(413, "payload_too_large").row(format!("{length} bytes in chunks"))?;
            }
        }
        Ok(())
    })),
    case("errors/the-limit-holds-for-every-body", "A body of 16,385 bytes is 413 at every endpoint that takes one.")
        .spec(&["docs/contract.md 8.3"])
        .run(run!(async |host| {
            let blank = format!("{{}}{}", " ".repeat(LIMIT - 1));
            let form = format!("token=x&fill={}", "x".repeat(LIMIT - 12));
            for path in ["/register", "/login", "/token", "/logout", "/password"] {
                let answer = host.post(path).json_text(&blank).send().await?;
                answer.refused(413, "payload_too_large").row(format!("JSON at {path}"))?;
            }
            for path in ["/token", "/revoke"] {
                let answer = host.post(path).form_text(&form).send().await?;
                answer.refused(413, "payload_too_large").row(format!("a form at {path}"))?;
            }
            let fits = form.get(..LIMIT).unwrap_or_default();
            host.post("/revoke").form_text(fits).send().await?.status(200).row("16,384 bytes at /revoke")
        })),
    // Who waits for a body that is too long anyway can be made to hold connections open.
    case(
        "errors/an-announced-length-is-enough",
        "A body that is announced as too long is 413 before any of it has come.",
    )
    .spec(&["docs/contract.md 8.3", "RFC 9110 15.5.14"])
    .kind(Kind::Recommended)
    .run(run!(async |host| {
        let path = format!("{}/login", host.target().prefix);
        for length in ["16385", "1000000000"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n",
                host.target().authority
            );
            let answer = host.raw(head.as_bytes()).send().await?;
            answer.refused(413, "payload_too_large").row(format!("Content-Length: {length}"))?;
        }
        Ok(())
    })),
    // Types. A form or plain text can be sent by any page without asking; JSON cannot (ASVS 3.5.2).
    case(
        "errors/json-endpoints-take-json-alone",
        "A body of any type but `application/json` in UTF-8 is 415, and so is one without a type.",
    )
    .spec(&["docs/contract.md 8.1", "docs/contract.md 2.20", "ASVS 3.5.2"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let body = json!({"username": user.name, "password": user.password}).to_string();
        for good in [
            "application/json",
            "application/json; charset=utf-8",
            "application/json;charset=utf-8",
            "application/json; charset=UTF-8",
            "application/json;  Charset=Utf-8",
            "Application/JSON",
            "APPLICATION/JSON;CHARSET=UTF-8",
        ] {
            let request = host.post("/login").header("Content-Type", good).raw_body(body.as_bytes());
            request.send().await?.granted().row(good)?;
        }
        for bad in [
            "text/plain",
            "text/plain;application/json",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/octet-stream",
            "application/problem+json",
            "application/vnd.api+json",
            "application/json5",
            "application/jsonp",
            "application/xml",
            "application",
            "application/",
            "application /json",
            "*/*",
            "application/*",
            "application/json, text/plain",
            "application/json; charset=utf-16",
            "application/json; charset=iso-8859-1",
            "application/json; charset=us-ascii",
            "application/json; charset=",
            "\"application/json\"",
            "",
        ] {
            for path in ["/login", "/register", "/password", "/logout"] {
                let request = host.post(path).header("Content-Type", bad).raw_body(body.as_bytes());
                let answer = request.send().await?;
                answer.refused(415, "unsupported_media_type").row(format!("{bad:?} at {path}"))?;
            }
        }
        for path in ["/login", "/register", "/password", "/logout"] {
            let answer = host.post(path).raw_body(body.as_bytes()).send().await?;
            answer.refused(415, "unsupported_media_type").row(format!("no type at {path}"))?;
        }
        Ok(())
    })),
    case(
        "errors/form-endpoints-take-forms",
        "`/revoke` takes a form alone, `/token` a form or JSON; any other type is 415.",
    )
    .spec(&["docs/contract.md 8.2", "docs/contract.md 1.6", "docs/contract.md 1.8", "RFC 6749 3.2"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let form = "application/x-www-form-urlencoded";
        for kind in [form, "APPLICATION/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8"]
        {
            let refresh = user.login().await?.refresh;
            let body = format!("grant_type=refresh_token&refresh_token={refresh}");
            let request = host.post("/token").header("Content-Type", kind).raw_body(body.as_bytes());
            request.send().await?.granted().row(format!("{kind} at /token"))?;
            let body = b"token=unknown";
            let request = host.post("/revoke").header("Content-Type", kind).raw_body(body);
            request.send().await?.status(200).row(format!("{kind} at /revoke"))?;
        }
        let refresh = user.login().await?.refresh;
        let form_body = format!("grant_type=refresh_token&refresh_token={refresh}&token={refresh}");
        let json_body = json!({"grant_type": "refresh_token", "refresh_token": refresh});
        let token = json!({"token": refresh});
        for kind in [
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded-x",
            "application/x-www-form-urlencoded; charset=utf-16",
            "application/octet-stream",
        ] {
            for path in ["/token", "/revoke"] {
                let request = host.post(path).header("Content-Type", kind).raw_body(form_body.as_bytes());
                let answer = request.send().await?;
                answer.refused(415, "unsupported_media_type").row(format!("{kind} at {path}"))?;
            }
        }
        for (path, body) in [("/token", &form_body), ("/revoke", &form_body)] {
            let answer = host.post(path).raw_body(body.as_bytes()).send().await?;
            answer.refused(415, "unsupported_media_type").row(format!("no type at {path}"))?;
        }
        host.post("/revoke").json(token).send().await?.refused(415, "unsupported_media_type").row("JSON at /revoke")?;
        // Nothing above has used or ended it.
        host.post("/token").json(json_body).send().await?.granted().row("JSON at /token")?;
        Ok(())
    })),
    case(
        "errors/an-empty-body-needs-no-type",
        "`/logout` and `/token` take an empty body without a type, chunked or not.",
    )
    .spec(&["docs/contract.md 8.2", "docs/contract.md 1.6", "docs/contract.md 1.7"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = user.browser().await?;
        browser.post("/token").send().await?.cookies_granted()?;
        browser.post("/token").chunked(&[]).send().await?.cookies_granted().row("chunked at /token")?;
        browser.post("/logout").chunked(&[]).send().await?.status(204).row("chunked at /logout")?;
        let access = user.login().await?.access;
        host.post("/logout").bearer(&access).send().await?.status(204)
    })),
    // Order. Each request has every later fault as well, so that only the order tells what is said of it.
    case(
        "errors/not-found-comes-first",
        "404 is said before the method, type, size, credentials and origin are looked at.",
    )
    .spec(&["docs/contract.md 1.31"])
    .run(run!(async |host| {
        let answer = faulty(host.request("PUT", "/nothing")).send().await?;
        answer.refused(404, "not_found")
    })),
    case(
        "errors/the-method-comes-second",
        "405 is said before the type, size, credentials and origin are looked at.",
    )
    .spec(&["docs/contract.md 1.31"])
    .run(run!(async |host| {
        let answer = faulty(host.request("PUT", "/login")).send().await?;
        answer.method_not_allowed(&["POST"])
    })),
    case(
        "errors/type-and-size-come-third",
        "415, then 413, is said before credentials and origin are looked at.",
    )
    .spec(&["docs/contract.md 1.31"])
    .run(run!(async |host| {
        let answer = faulty(host.post("/password")).send().await?;
        answer.refused(415, "unsupported_media_type")?;
        let long = two_credentials(host.post("/password")).json_text(&" ".repeat(LIMIT + 1));
        long.send().await?.refused(413, "payload_too_large")
    })),
    case(
        "errors/two-credentials-come-before-csrf",
        "Two credentials are refused before the origin is looked at, and the origin before the body is parsed.",
    )
    .spec(&["docs/contract.md 1.31"])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let cross = browser.silent("POST", "/password").header("Sec-Fetch-Site", "cross-site");
        cross.clone().bearer("x").json_text("{").send().await?.refused(400, "invalid_request")?;
        cross.json_text("{").send().await?.refused(403, "csrf_failed")
    })),
    case(
        "errors/csrf-comes-before-throttles",
        "A refresh from another site is refused for that, not counted, and not answered 429.",
    )
    .spec(&["docs/contract.md 1.31", "docs/contract.md 5.12"])
    .config(|| json!({"limits": {"refresh_network_per_minute": 2}}))
    .needs(&[Need::Addresses])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let cross = browser.silent("POST", "/token").header("Sec-Fetch-Site", "cross-site");
        for _ in 0..3 {
            cross.clone().send().await?.refused(403, "csrf_failed")?;
        }
        browser.refresh().await?.cookies_granted()?;
        browser.refresh().await?.cookies_granted()?;
        browser.refresh().await?.refused(429, "rate_limited")?;
        cross.send().await?.refused(403, "csrf_failed")
    })),
    // A throttled network should cost as little as it can.
    case(
        "errors/the-networks-throttle-comes-before-parsing",
        "A network over its limit is answered 429 even if its body is malformed.",
    )
    .spec(&["docs/contract.md 1.31", "docs/contract.md 2.22"])
    .config(|| json!({"limits": {"login_network_per_minute": 2}}))
    .needs(&[Need::Addresses])
    .run(run!(async |host| {
        let user = host.user().await?;
        for _ in 0..2 {
            host.login(&user.name, user.password).await?.granted()?;
        }
        for text in ["{", "[]", "{}", "{\"username\":1}"] {
            let answer = host.post("/login").json_text(text).send().await?;
            answer.refused(429, "rate_limited").row(text)?;
        }
        let elsewhere = host.post("/login").json_text("{").from(host.fresh_address());
        elsewhere.send().await?.refused(400, "invalid_request")
    })),
    case(
        "errors/parsing-comes-before-authentication",
        "A malformed or ill-typed body is told before it is asked who sends it, and all else after.",
    )
    .spec(&["docs/contract.md 1.31", "docs/contract.md 1.32"])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        let words = json!({"current_password": PASSWORD, "new_password": "short"});
        for token in [None, Some("not-a-token"), Some(access.as_str())] {
            let send = |text: &str| {
                let request = host.post("/password").json_text(text);
                match token {
                    Some(token) => request.bearer(token).send(),
                    None => request.send(),
                }
            };
            let row = format!("token {:.10}", token.unwrap_or("none"));
            send("{").await?.refused(400, "invalid_request").row(&row)?;
            send("{}").await?.refused(400, "invalid_request").row(&row)?;
            let text = "{\"current_password\":1,\"new_password\":\"x\"}";
            send(text).await?.invalid_field("current_password", "wrong_type").row(&row)?;
            let said = send(&words.to_string()).await?;
            match token {
                None => said.refused(401, "unauthenticated").row(&row)?,
                Some("not-a-token") => said.invalid_token().row(&row)?,
                Some(_) => said.invalid_field("new_password", "too_short").row(&row)?,
            }
        }
        host.delete("/sessions/unknown").send().await?.refused(401, "unauthenticated")?;
        host.delete("/sessions/unknown").bearer(&access).send().await?.refused(404, "not_found")
    })),
    case(
        "errors/the-whole-body-comes-before-its-members",
        "A body that is malformed at its end is 400, whatever its members before say.",
    )
    .spec(&["docs/contract.md 1.32", "docs/contract.md 8.4"])
    .run(run!(async |host| {
        for text in [
            r#"{"username":1,"password":"x"#,
            r#"{"is_admin":true,"username":"a","password":"b"}}"#,
            r#"{"username":1,"password":"b","x":1,"x":2}"#,
            r#"{"username":"a","password":null} x"#,
        ] {
            let answer = host.post("/login").json_text(text).send().await?;
            answer.refused(400, "invalid_request").row(text)?;
        }
        Ok(())
    })),
];

/// A login whose body has exactly this many bytes, white space being the rest.
fn login_of(name: &str, length: usize) -> String {
    let body = json!({"username": name, "password": PASSWORD}).to_string();
    let fill = " ".repeat(length.saturating_sub(body.len()));
    format!("{body}{fill}")
}

fn two_credentials(request: Request) -> Request {
    request.bearer("one").bearer("other")
}

/// A request with every fault but its path and method: type, size, credentials, origin, body.
fn faulty(request: Request) -> Request {
    two_credentials(request)
        .cookie("__Host-gatekey_access", "x")
        .header("Sec-Fetch-Site", "cross-site")
        .header("Content-Type", "text/plain")
        .raw_body("{".repeat(LIMIT + 1).as_bytes())
}

async fn every_status(host: &Host) -> Outcome {
    let user = host.user().await?;
    let evil = |request: Request| request.header("Origin", "https://evil.example");
    let access = user.login().await?.access;
    let browser = user.browser().await?;
    let registration = json!({"username": user.name, "password": PASSWORD});
    let fresh = json!({"username": host.fresh_name(), "password": PASSWORD});
    let short = json!({"username": host.fresh_name(), "password": "short"});
    let wrong = json!({"username": user.name, "password": "a wrong pass phrase"});
    // The last login of the minute, then one more.
    let refused_login = evil(host.post("/login").json(wrong.clone()));
    let cross = browser.silent("POST", "/token").header("Sec-Fetch-Site", "cross-site");
    for (status, request) in [
        (200, evil(host.get("/me").bearer(&access))),
        (200, evil(host.get("/openapi.json"))),
        (200, evil(host.get("/jwks.json"))),
        (200, evil(host.post("/revoke").form(&[("token", "unknown")]))),
        (201, evil(host.post("/register").json(fresh))),
        (400, evil(host.post("/login").json_text("{").from(host.fresh_address()))),
        (401, evil(host.get("/me"))),
        (401, refused_login.clone()),
        (403, evil(cross)),
        (404, evil(host.get("/nothing"))),
        (405, evil(host.get("/login"))),
        (409, evil(host.post("/register").json(registration))),
        (413, evil(host.post("/logout").json_text(&" ".repeat(LIMIT + 1)))),
        (415, evil(host.post("/logout").header("Content-Type", "text/plain").raw_body(b"x"))),
        (422, evil(host.post("/register").json(short))),
        (429, refused_login),
        (204, evil(host.post("/logout").bearer(&access))),
        (401, evil(host.get("/me").bearer(&access))),
    ] {
        let answer = request.send().await?;
        let row = format!("a {status}");
        answer.is(status).row(&row)?;
        answer.standard().row(&row)?;
        if status >= 400 {
            closed_code(&answer, status).row(&row)?;
        }
    }
    Ok(())
}

/// The code of a refusal is one that the contract has for this status.
fn closed_code(answer: &Response, status: u16) -> Outcome {
    let codes: &[&str] = match status {
        400 => &["invalid_request", "invalid_scope", "unsupported_grant_type", "invalid_grant"],
        401 => &[
            "unauthenticated",
            "invalid_token",
            "invalid_client",
            "invalid_credentials",
            "insufficient_user_authentication",
        ],
        403 => &["insufficient_scope", "csrf_failed"],
        404 => &["not_found"],
        405 => &["method_not_allowed"],
        409 => &["username_taken", "superseded"],
        413 => &["payload_too_large"],
        415 => &["unsupported_media_type"],
        422 => &["validation_failed"],
        429 => &["rate_limited"],
        _ => &[],
    };
    let body = answer.json()?;
    let code = body.get("error").and_then(Value::as_str).unwrap_or_default();
    if codes.contains(&code) {
        // A 422 has two members more, which the verdict for fields looks at.
        return if status == 422 { Ok(()) } else { answer.refused(status, code) };
    }
    Err(answer.not(format!("{status} with one of {codes:?}")))
}

async fn nothing_is_echoed(host: &Host) -> Outcome {
    // Something that no description would hold by chance.
    let mark = "zq7kx9";
    let tag = format!("<b>{mark}</b>");
    let token = format!("{mark}.{mark}.{mark}");
    let unknown = json!({"username": mark, "password": "p", mark: 1});
    let wrong = json!({"username": tag, "password": mark});
    let typed = json!({"username": [mark], "password": "p"});
    let transport = json!({"username": mark, "password": "p", "transport": mark});
    let form = [("grant_type", "refresh_token"), ("refresh_token", mark)];
    let marked_form =
        [("grant_type", mark), ("refresh_token", mark), ("client_id", mark), ("scope", mark), (mark, mark)];
    let requests = [
        host.get(&format!("/{mark}")),
        host.get(&format!("/{mark}?{mark}=%3Cb%3E{mark}")),
        host.get(&format!("/sessions/{mark}")),
        host.delete(&format!("/sessions/{mark}")).bearer(mark),
        host.get("/me").bearer(mark),
        host.get("/me").bearer(&token),
        host.get("/me").header("Authorization", &format!("{mark} {mark}")),
        host.get("/me").cookie("__Host-gatekey_access", mark),
        host.get("/me").cookie("__Host-gatekey_access", mark).bearer(mark),
        host.post("/login").json(unknown),
        host.post("/login").json(wrong),
        host.post("/login").json(typed),
        host.post("/login").json(transport),
        host.post("/login").json_text(mark),
        host.post("/login").json_text(&format!("{{\"{mark}\":")),
        host.post("/login").header("Content-Type", &format!("text/{mark}")).raw_body(mark.as_bytes()),
        host.post("/register").json(json!({"username": tag, "password": mark})),
        host.post("/register").json(json!({"username": format!("{mark}\u{7}"), "password": PASSWORD})),
        host.post("/token").form(&form),
        host.post("/token").form(&marked_form),
        host.post("/token").form_text(&format!("{mark}={mark}&{mark}={mark}")),
        host.post("/token").form_text(&format!("{mark}=%zz")),
        host.post("/revoke").form(&[(mark, mark)]),
        host.delete(&format!("/sessions?keep_current={mark}")).bearer(mark),
        host.post("/logout").json(json!({"refresh_token": mark, mark: mark})),
        host.get("/me").header("X-Forwarded-For", mark).header("X-Request-Id", mark).bearer("x"),
        host.post("/token")
            .cookie("__Host-gatekey_refresh", mark)
            .header("Origin", &format!("https://{mark}")),
    ];
    for request in requests {
        let answer = request.send().await?;
        if answer.status < 400 {
            return Err(answer.not("a refusal"));
        }
        answer.standard()?;
        let described: Vec<u8> = answer
            .headers
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), value, b"\n"].concat())
            .chain(answer.body.iter().copied())
            .collect();
        let text = String::from_utf8_lossy(&described).to_ascii_lowercase();
        if text.contains(mark) {
            return Err(answer.not("nothing of the request in it"));
        }
        if let Some(word) = leaked(&text) {
            return Err(answer.not(format!("no inside word such as {word:?}")));
        }
    }
    Ok(())
}

/// A word that tells how the server is built.
fn leaked(text: &str) -> Option<&'static str> {
    let words = [
        "serde",
        "sqlite",
        "postgres",
        "redis",
        "select ",
        "panicked",
        "::",
        ".rs",
        "unwrap",
        "gatekey_core",
    ];
    words.into_iter().find(|word| text.contains(word))
}
