//! Where a credential may stand, and two that conflict.

use serde_json::json;

use crate::{
    case::{Case, Need, Outcome, Row, Setup, case, run},
    cookies::{ACCESS, REFRESH},
    host::Host,
};

pub(crate) const CASES: &[Case] = &[
    case(
        "credentials/none-is-unauthenticated",
        "Without a credential a guarded request is 401 `unauthenticated`, with a challenge that has no error code.",
    )
    .spec(&["docs/contract.md 2.8", "docs/contract.md 2.26", "RFC 6750 3.1", "RFC 9110 15.5.2"])
    .run(run!(async |host| {
        for (method, path) in
            [("GET", "/me"), ("GET", "/sessions"), ("DELETE", "/sessions"), ("DELETE", "/sessions/x")]
        {
            let answer = host.request(method, path).send().await?;
            answer.refused(401, "unauthenticated").row(format!("{method} {path}"))?;
            answer.sets_no_cookie()?;
        }
        Ok(())
    })),
    case("credentials/the-realm-is-ours", "The realm of a challenge is `gatekey`.")
        .spec(&["docs/contract.md 2.26"])
        .config(|| json!({"limits": "off"}))
        .run(run!(async |host| { realm(host, "gatekey").await })),
    case("credentials/the-realm-is-configurable", "The realm of a challenge is what the host configured.")
        .spec(&["docs/contract.md 2.26"])
        .config(|| json!({"realm": "Kite School"}))
        .run(run!(async |host| { realm(host, "Kite School").await })),
    case("credentials/other-schemes-are-no-credential", "A scheme other than Bearer is answered as if nothing were sent.")
        .spec(&["docs/contract.md 3.26", "docs/contract.md 2.8", "RFC 9110 11.1"])
        .run(run!(async |host| {
            let access = host.user().await?.login().await?.access;
            for value in [
                "Basic YWxpY2U6c2VjcmV0".to_owned(),
                format!("Basic {access}"),
                format!("DPoP {access}"),
                format!("Token {access}"),
                format!("JWT {access}"),
                format!("Bearerx {access}"),
                format!("Bear {access}"),
                format!("X-Bearer {access}"),
                "Digest username=\"a\"".to_owned(),
                "Basic".to_owned(),
            ] {
                let answer = host.get("/me").header("Authorization", &value).send().await?;
                answer.refused(401, "unauthenticated").row(&value)?;
            }
            host.me(&access).await?.answered(200).map(|_| ())
        })),
    case("credentials/the-scheme-is-case-insensitive", "`bearer` in any case, with one space or several, is Bearer.")
        .spec(&["docs/contract.md 3.25", "RFC 9110 11.1", "RFC 9110 11.4"])
        .run(run!(async |host| {
            let access = host.user().await?.login().await?.access;
            for scheme in ["Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer  ", "bearer     "] {
                let value = format!("{scheme}{access}");
                let answer = host.get("/me").header("Authorization", &value).send().await?;
                answer.answered(200).row(format!("the scheme {scheme:?}"))?;
            }
            // A bad token is as bad under each: no spelling falls through to "no credential".
            for scheme in ["bearer ", "BEARER  "] {
                let value = format!("{scheme}not-a-token");
                let answer = host.get("/me").header("Authorization", &value).send().await?;
                answer.invalid_token().row(format!("the scheme {scheme:?} with a bad token"))?;
            }
            Ok(())
        })),
    case("credentials/bearer-with-nothing-is-a-bad-token", "`Bearer` with nothing after it is `invalid_token`.")
        .spec(&["docs/contract.md 3.26", "docs/contract.md 2.9"])
        .run(run!(async |host| {
            for value in ["Bearer", "bearer", "Bearer "] {
                let answer = host.get("/me").header("Authorization", value).send().await?;
                answer.invalid_token().row(format!("{value:?}"))?;
            }
            Ok(())
        })),
    // Proxies and frameworks differ in which of two they take. Who refuses both cannot be played off against them.
    case(
        "credentials/two-authorization-fields-are-refused",
        "Two Authorization fields are 400 `invalid_request`, alike or not, in either order.",
    )
    .spec(&["docs/contract.md 3.28", "docs/contract.md 2.4", "RFC 6750 2", "ASVS 15.3.7"])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        let good = format!("Bearer {access}");
        for (one, other) in [
            (good.as_str(), good.as_str()),
            (&good, "Bearer not-a-token"),
            ("Bearer not-a-token", &good),
            (&good, "Basic YWxpY2U6c2VjcmV0"),
            ("Basic YWxpY2U6c2VjcmV0", &good),
            ("Basic YQ==", "Basic Yg=="),
        ] {
            let request = host.get("/me").header("Authorization", one);
            let answer = request.header("authorization", other).send().await?;
            answer.refused(400, "invalid_request").row(format!("{one:.10} and {other:.10}"))?;
        }
        host.me(&access).await?.answered(200).map(|_| ())
    })),
    case(
        "credentials/header-and-cookie-are-refused",
        "A bearer token and the access cookie at once are 400 `invalid_request`, good or bad.",
    )
    .spec(&["docs/contract.md 3.27", "RFC 6750 2", "ASVS 15.3.7"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let header = user.login().await?.access;
        let cookie = user.browser().await?.access()?;
        for (bearer, cookie) in [
            (header.as_str(), cookie.as_str()),
            (&header, &header),
            (&header, "not-a-token"),
            ("not-a-token", &cookie),
            ("not-a-token", "not-a-token"),
        ] {
            let answer = host.get("/me").bearer(bearer).cookie(ACCESS, cookie).send().await?;
            answer.refused(400, "invalid_request")?;
            answer.sets_no_cookie()?;
        }
        host.get("/me").cookie(ACCESS, &cookie).send().await?.answered(200)?;
        host.me(&header).await?.answered(200).map(|_| ())
    })),
    // Browsers send the refresh cookie everywhere (`Path=/`); it says nothing about who asks here.
    case(
        "credentials/a-refresh-cookie-is-no-access-credential",
        "A refresh cookie alone is no credential, and beside a bearer token it is not a second one.",
    )
    .spec(&["docs/contract.md 3.32", "docs/contract.md 4.3"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let access = user.login().await?.access;
        let refresh = user.browser().await?.refresh_token()?;
        let alone = host.get("/me").cookie(REFRESH, &refresh).send().await?;
        alone.refused(401, "unauthenticated")?;
        let beside = host.get("/me").bearer(&access).cookie(REFRESH, &refresh).send().await?;
        beside.answered(200).map(|_| ())
    })),
    // URLs are logged, kept in histories and sent on as Referer.
    case(
        "credentials/tokens-in-the-url-or-a-form-are-ignored",
        "`access_token` in the query or in a form is no credential.",
    )
    .spec(&["docs/contract.md 3.31", "docs/contract.md 1.26", "RFC 6750 5.3", "ASVS 14.2.1"])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        for path in [
            format!("/me?access_token={access}"),
            format!("/me?token={access}&bearer={access}"),
            format!("/sessions?access_token={access}"),
        ] {
            host.get(&path).send().await?.refused(401, "unauthenticated").row(path)?;
        }
        let form = host.post("/logout").form(&[("access_token", &access)]).send().await?;
        form.refused(415, "unsupported_media_type").row("a form at /logout")?;
        let beside = host.get("/me?access_token=not-a-token").bearer(&access).send().await?;
        beside.answered(200).map(|_| ())
    })),
    case("credentials/a-form-field-does-not-open-a-route", "`access_token` in a form does not open a route of the host.")
        .spec(&["docs/contract.md 3.31", "RFC 6750 2.2"])
        .needs(&[Need::Routes])
        .run(run!(async |host| {
            let access = host.user().await?.login().await?.access;
            let form = host.route("POST", "/note").form(&[("access_token", &access)]);
            form.send().await?.refused(401, "unauthenticated")?;
            let query = host.route("GET", &format!("/whoami?access_token={access}"));
            query.send().await?.refused(401, "unauthenticated")
        })),
    // RFC 6265bis s4.2.2: a server must not rely on the order. A planted twin is how sessions are fixed.
    case(
        "credentials/a-cookie-twice-is-refused",
        "Two cookies of one of our names are 400 `invalid_request`, alike or not, in one field or in two.",
    )
    .spec(&["docs/contract.md 3.29", "RFC 6265bis 4.2.2", "ASVS 15.3.7"])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let (access, refresh) = (browser.access()?, browser.refresh_token()?);
        for (name, good) in [(ACCESS, &access), (REFRESH, &refresh)] {
            for (one, other) in
                [(good.as_str(), good.as_str()), (good, "x"), ("x", good), (good, ""), ("x", "x")]
            {
                let pair = format!("{name}={one}; {name}={other}");
                let split = format!("{name}={one}; a=b; {name}={other}");
                for request in [
                    host.get("/me").header("Cookie", &pair),
                    host.get("/me").header("Cookie", &split),
                    host.get("/me").cookie(name, one).cookie(name, other),
                ] {
                    let answer = request.send().await?;
                    answer.refused(400, "invalid_request").row(format!("{name} twice"))?;
                }
            }
        }
        host.get("/me").cookie(ACCESS, &access).cookie(REFRESH, &refresh).send().await?.answered(200)?;
        Ok(())
    })),
    case(
        "credentials/several-cookie-fields-are-read-as-one",
        "Our cookie is found in any of several Cookie fields, and others may stand twice.",
    )
    .spec(&["docs/contract.md 3.30", "RFC 9113 8.2.3"])
    .run(run!(async |host| {
        let access = host.user().await?.browser().await?.access()?;
        let ours = format!("{ACCESS}={access}");
        for fields in [
            vec!["theme=dark", &ours],
            vec![&ours, "theme=dark"],
            vec!["a=1", "b=2", &ours, "c=3"],
            vec!["a=1; a=2", &ours, "a=3"],
            vec!["", &ours],
            vec!["nameless", "=x", &ours],
        ] {
            let request =
                fields.iter().fold(host.get("/me"), |request, field| request.header("Cookie", field));
            request.send().await?.answered(200).row(format!("{} fields", fields.len()))?;
        }
        let around = host.get("/me").header("Cookie", &format!("a=1; {ours}; b=\"x y\"; a=2"));
        around.send().await?.answered(200).map(|_| ())
    })),
    // A browser applies the rules of the `__Host-` prefix to the bytes of the name. A server that folds other names
    // into ours would take cookies for which nobody applied them (ASVS 1.1.1).
    case(
        "credentials/names-that-resemble-ours-are-not-ours",
        "A cookie whose name is ours only after decoding, trimming or folding is no credential, and no second one.",
    )
    .spec(&["docs/contract.md 5.6", "ASVS 1.1.1"])
    .run(run!(async |host| {
        let access = host.user().await?.browser().await?.access()?;
        let ours = format!("{ACCESS}={access}");
        for name in [
            "%5F%5FHost-gatekey_access",
            "__Host-gatekey%5Faccess",
            "__HOST-gatekey_access",
            "__host-gatekey_access",
            "__Host-Gatekey_Access",
            "\u{2000}__Host-gatekey_access",
            "__Host-gatekey_access\u{2000}",
            "\u{a0}__Host-gatekey_access",
            "\"__Host-gatekey_access\"",
            "__Secure-gatekey_access",
            "__Http-gatekey_access",
            "gatekey_access",
            "access_token",
            "$Version=1; $__Host-gatekey_access",
            "x__Host-gatekey_access",
        ] {
            let alone = host.get("/me").cookie(name, &access).send().await?;
            alone.refused(401, "unauthenticated").row(format!("{name:?} alone"))?;
            for field in [format!("{name}=x; {ours}"), format!("{ours}; {name}=x")] {
                let answer = host.get("/me").header("Cookie", &field).send().await?;
                answer.answered(200).row(format!("{name:?} beside ours"))?;
            }
        }
        Ok(())
    })),
    case("credentials/a-quoted-value-keeps-its-quotes", "Quotes around our cookie's value are part of it, so it is no token.")
        .spec(&["docs/contract.md 5.6", "RFC 6265bis 4.1.1"])
        .run(run!(async |host| {
            let access = host.user().await?.browser().await?.access()?;
            for value in [format!("\"{access}\""), format!("{access}%20"), access.replace('.', "%2E")] {
                let answer = host.get("/me").cookie(ACCESS, &value).send().await?;
                answer.invalid_token()?;
            }
            host.get("/me").cookie(ACCESS, &access).send().await?.answered(200).map(|_| ())
        })),
    case(
        "credentials/bytes-that-are-no-text-stay-theirs",
        "Another cookie whose value is not UTF-8 does not keep ours from being read.",
    )
    .spec(&["docs/contract.md 5.6", "docs/contract.md 3.30"])
    .run(run!(async |host| {
        let access = host.user().await?.browser().await?.access()?;
        let ours = format!("{ACCESS}={access}").into_bytes();
        let before = [b"theme=\xff\xfe; ", &ours[..]].concat();
        let after = [&ours[..], b"; theme=\xe9"].concat();
        for field in [before, after] {
            host.get("/me").header_bytes(b"Cookie", &field).send().await?.answered(200)?;
        }
        // Not ours either, though a lossy reading would make it so.
        let bent = [b"\xff", &ours[..]].concat();
        host.get("/me").header_bytes(b"Cookie", &bent).send().await?.refused(401, "unauthenticated")
    })),
    case("credentials/a-bad-cookie-is-a-bad-token", "An access cookie that holds no good token is `invalid_token`.")
        .spec(&["docs/contract.md 3.25", "docs/contract.md 2.9"])
        .run(run!(async |host| {
            let browser = host.user().await?.browser().await?;
            let refresh = browser.refresh_token()?;
            for value in ["not-a-token", "a.b.c", refresh.as_str()] {
                let answer = host.get("/me").cookie(ACCESS, value).send().await?;
                answer.invalid_token()?;
                // The refresh cookie may be good still, so nothing is cleared.
                answer.sets_no_cookie()?;
            }
            Ok(())
        })),
];

async fn realm(host: &Host, expected: &str) -> Outcome {
    let realm = Some(("realm".to_owned(), expected.to_owned()));
    let tokens = host.user().await?.login().await.setup()?;
    let bad = format!("{}x", tokens.access);
    for answer in [
        host.get("/me").send().await?,
        host.me(&bad).await?,
        host.login(&host.fresh_name(), "a wrong pass phrase").await?,
    ] {
        answer.is(401)?;
        let challenge = answer.challenge()?.unwrap_or_default();
        if challenge.into_iter().find(|(name, _)| name == "realm") != realm {
            return Err(answer.not(format!("realm=\"{expected}\"")));
        }
    }
    Ok(())
}
