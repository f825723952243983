//! The host's own guarded routes: roles, scopes, fresh logins, optional identity.

use serde_json::json;

use crate::{
    case::{Case, Need, Outcome, Row, Setup, case, run},
    client::Response,
    cookies::ACCESS,
    host::overlay,
    token::Jws,
    verdict::{differ, equal},
};

pub(crate) const CASES: &[Case] = &[
    case(
        "guard/a-route-knows-who-asks",
        "A guarded route answers by header and by cookie, and its handler knows subject, name, roles and session.",
    )
    .spec(&["docs/contract.md 3.25", "ASVS 8.2.1"])
    .needs(&[Need::Routes, Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        user.set(json!({"roles": ["editor", "reader"]})).await?;
        let tokens = user.login().await?;
        let answer = host.route("GET", "/whoami").bearer(&tokens.access).send().await?;
        answer.is(200)?;
        let whoami = answer.json()?;
        answer.members(&whoami, &["sub", "username", "roles", "session_id"])?;
        answer.member(&whoami, "sub", &user.id.as_str().into())?;
        answer.member(&whoami, "username", &user.name.as_str().into())?;
        answer.member(&whoami, "roles", &json!(["editor", "reader"]))?;
        answer.member(&whoami, "session_id", &tokens.session_id.as_str().into())?;
        let browser = user.browser().await?;
        let answer = browser.route("GET", "/whoami").send().await?;
        answer.is(200)?;
        answer.member(&answer.json()?, "sub", &user.id.as_str().into())
    })),
    case(
        "guard/refusals-are-the-contracts",
        "A guarded route refuses as the endpoints do: same codes, challenges, bodies and standard fields.",
    )
    .spec(&["docs/contract.md 2.29", "docs/contract.md 2.8", "docs/contract.md 2.9", "docs/contract.md 2.26"])
    .needs(&[Need::Routes])
    .run(run!(async |host| {
        let user = host.user().await?;
        let access = user.login().await?.access;
        let cookie = user.browser().await?.access()?;
        for route in ["/whoami", "/admin", "/scoped", "/fresh"] {
            let get = || host.route("GET", route);
            get().send().await?.refused(401, "unauthenticated").row(route)?;
            let basic = get().header("Authorization", "Basic YTpi");
            basic.send().await?.refused(401, "unauthenticated").row(route)?;
            get().bearer("not-a-token").send().await?.invalid_token().row(route)?;
            get().header("Authorization", "Bearer").send().await?.invalid_token().row(route)?;
            get().cookie(ACCESS, "not-a-token").send().await?.invalid_token().row(route)?;
            for two in [
                get().bearer(&access).bearer(&access),
                get().bearer(&access).cookie(ACCESS, &cookie),
                get().cookie(ACCESS, &cookie).cookie(ACCESS, &cookie),
            ] {
                two.send().await?.refused(400, "invalid_request").row(route)?;
            }
        }
        host.route("POST", "/note").send().await?.refused(401, "unauthenticated")?;
        host.route("POST", "/note").bearer("not-a-token").send().await?.invalid_token()
    })),
    case("guard/a-refusal-has-the-bytes-of-the-endpoints", "A refusal on a guarded route is that of `/me` to the byte.")
        .spec(&["docs/contract.md 2.29"])
        .needs(&[Need::Routes])
        .run(run!(async |host| {
            for token in ["", "not-a-token"] {
                let of = |request: crate::client::Request| match token {
                    "" => request,
                    _ => request.bearer(token),
                };
                let me = of(host.get("/me")).send().await?;
                let route = of(host.route("GET", "/whoami")).send().await?;
                equal("the status", &route.status, &me.status)?;
                equal("the body", &route.text(), &me.text())?;
                equal("the challenge", &route.headers("www-authenticate"), &me.headers("www-authenticate"))?;
            }
            Ok(())
        })),
    case("guard/an-open-route-is-open", "A route without a guard is answered, whatever credential comes with the request.")
        .spec(&["docs/contract.md 2.29", "ASVS 8.2.1"])
        .needs(&[Need::Routes])
        .run(run!(async |host| {
            for request in [
                host.route("GET", "/open"),
                host.route("GET", "/open").bearer("not-a-token"),
                host.route("GET", "/open").bearer("a").bearer("b"),
                host.route("GET", "/open").cookie(ACCESS, "x").header("Sec-Fetch-Site", "cross-site"),
            ] {
                reached(&request.send().await?)?;
            }
            Ok(())
        })),
    // `Option<User>` that swallows errors turns an expired session into an anonymous visitor, silently.
    case(
        "guard/optional-identity-is-absent-or-good",
        "A route with an optional identity takes no credential and a good one; a bad one is refused.",
    )
    .spec(&["docs/contract.md 3.33"])
    .needs(&[Need::Routes])
    .run(run!(async |host| {
        let user = host.user().await?;
        let access = user.login().await?.access;
        let maybe = || host.route("GET", "/maybe");
        let anonymous = maybe().send().await?;
        reached(&anonymous)?;
        for other in ["Basic YTpi", "Digest x", "DPoP x", "Token x"] {
            let answer = maybe().header("Authorization", other).send().await?;
            reached(&answer).row(other)?;
            equal("the body", &answer.text(), &anonymous.text()).row(other)?;
        }
        let known = maybe().bearer(&access).send().await?;
        reached(&known)?;
        differ("the body", &known.text(), &anonymous.text())?;
        let cookie = user.browser().await?.access()?;
        reached(&maybe().cookie(ACCESS, &cookie).send().await?)?;

        maybe().bearer("not-a-token").send().await?.invalid_token()?;
        maybe().header("Authorization", "Bearer").send().await?.invalid_token()?;
        maybe().cookie(ACCESS, "not-a-token").send().await?.invalid_token()?;
        maybe().bearer(&access).bearer(&access).send().await?.refused(400, "invalid_request")?;
        maybe().bearer(&access).cookie(ACCESS, &cookie).send().await?.refused(400, "invalid_request")?;
        host.post("/logout").bearer(&access).send().await?.status(204)?;
        maybe().bearer(&access).send().await?.invalid_token()
    })),
    case(
        "guard/a-role-is-needed-to-the-letter",
        "A route for a role is 403 `insufficient_scope` without it, and opens for a token that has it.",
    )
    .spec(&["docs/contract.md 2.13", "docs/contract.md 2.26", "RFC 6750 3.1"])
    .needs(&[Need::Routes, Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        let plain = user.login().await?;
        for roles in [
            json!([]),
            json!(["editor"]),
            json!(["Admin"]),
            json!(["administrator"]),
            json!(["adm"]),
            json!(["superadmin"]),
            json!(["admin "]),
            json!(["editor admin"]),
        ] {
            user.set(json!({"roles": roles})).await?;
            let access = user.login().await?.access;
            let answer = host.route("GET", "/admin").bearer(&access).send().await?;
            answer.refused(403, "insufficient_scope").row(&roles)?;
            let challenge = answer.challenge()?.unwrap_or_default();
            if challenge.iter().any(|(name, _)| name == "scope") {
                return Err(answer.not("no scope in the challenge, since a role is missing"));
            }
        }
        user.set(json!({"roles": ["editor", "admin"]})).await?;
        // The token that was there before says what it said; a refresh brings the new role.
        let old = host.route("GET", "/admin").bearer(&plain.access).send().await?;
        old.refused(403, "insufficient_scope")?;
        let access = host.refresh(&plain.refresh).await?.granted()?.access;
        reached(&host.route("GET", "/admin").bearer(&access).send().await?)?;
        let browser = user.browser().await?;
        reached(&browser.route("GET", "/admin").send().await?)
    })),
    case(
        "guard/a-scope-is-needed-to-the-letter",
        "A route for a scope is 403 `insufficient_scope` without it, and the challenge names the scope.",
    )
    .spec(&["docs/contract.md 2.13", "docs/contract.md 3.2", "RFC 6750 3.1"])
    .needs(&[Need::Routes, Need::Control, Need::Keys])
    .run(run!(async |host| {
        let user = host.user().await?;
        let without = user.login().await?.access;
        let scoped = |token: &str| host.route("GET", "/scoped").bearer(token).send();
        let judge = |answer: Response| {
            answer.refused(403, "insufficient_scope")?;
            let challenge = answer.challenge()?.unwrap_or_default();
            let named = challenge.into_iter().find(|(name, _)| name == "scope");
            match named {
                Some((_, scope)) if scope == "read" => Ok(()),
                _ => Err(answer.not("scope=\"read\" in the challenge")),
            }
        };
        judge(scoped(&without).await?).row("no scope")?;
        let token = Jws::parse(&without)?;
        for scope in ["", "write", "rea", "reader", "Read", "read-write", "write,read", "openid profile"] {
            let claims = overlay(token.claims.clone(), json!({"scope": scope}));
            judge(scoped(&host.sign_access(&token.header, &claims)?).await?).row(format!("scope {scope:?}"))?;
        }
        for scope in ["read", "read write", "write read", "a read b"] {
            user.set(json!({"scope": scope})).await?;
            reached(&scoped(&user.login().await?.access).await?).row(format!("scope {scope:?}"))?;
        }
        Ok(())
    })),
    case(
        "guard/a-fresh-login-is-needed",
        "A route for fresh logins is 401 `insufficient_user_authentication` later than its age, until the next login.",
    )
    .spec(&["docs/contract.md 2.12", "RFC 9470 3", "ASVS 7.5.3"])
    .needs(&[Need::Routes, Need::Clock])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let fresh = |token: &str| host.route("GET", "/fresh").bearer(token).send();
        reached(&fresh(&tokens.access).await?)?;
        host.advance(290).await?;
        reached(&fresh(&tokens.access).await?)?;
        host.advance(11).await?;
        let answer = fresh(&tokens.access).await?;
        answer.refused(401, "insufficient_user_authentication")?;
        let challenge = answer.challenge()?.unwrap_or_default();
        let age = challenge.into_iter().find(|(name, _)| name == "max_age").map(|(_, value)| value);
        equal("max_age", &age, &Some("300".to_owned()))?;
        // A refresh is no login: it proves that the client has a token, not that the subject is there.
        let refreshed = host.refresh(&tokens.refresh).await?.granted()?;
        fresh(&refreshed.access).await?.refused(401, "insufficient_user_authentication")?;
        // Elsewhere the token is as good as before.
        host.me(&refreshed.access).await?.answered(200)?;
        reached(&fresh(&user.login().await?.access).await?)
    })),
    case(
        "guard/who-is-asked-before-what-he-may",
        "Without a good credential a route for a role, a scope or a fresh login is 401, not 403.",
    )
    .spec(&["docs/contract.md 1.31", "docs/contract.md 2.13", "RFC 9110 15.5.4"])
    .needs(&[Need::Routes])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        host.post("/logout").bearer(&tokens.access).send().await?.status(204).setup()?;
        for route in ["/admin", "/scoped", "/fresh"] {
            host.route("GET", route).send().await?.refused(401, "unauthenticated").row(route)?;
            host.route("GET", route).bearer(&tokens.access).send().await?.invalid_token().row(route)?;
        }
        Ok(())
    })),
    case(
        "guard/a-revoked-session-is-out-at-once",
        "The next request after a logout is refused on every guarded route.",
    )
    .spec(&["docs/contract.md 3.23", "docs/contract.md 6.5", "ASVS 7.4.1"])
    .needs(&[Need::Routes, Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        user.set(json!({"roles": ["admin"], "scope": "read"})).await?;
        let access = user.login().await?.access;
        let routes = [("GET", "/whoami"), ("GET", "/admin"), ("GET", "/scoped"), ("GET", "/fresh"), ("POST", "/note")];
        for (method, route) in routes {
            reached(&host.route(method, route).bearer(&access).send().await?).row(route)?;
        }
        host.post("/logout").bearer(&access).send().await?.status(204)?;
        for (method, route) in routes {
            host.route(method, route).bearer(&access).send().await?.invalid_token().row(route)?;
        }
        Ok(())
    })),
    case(
        "guard/an-unsafe-route-by-header-and-cookie",
        "An unsafe route of the host takes a bearer token, and the cookie from a page of the application.",
    )
    .spec(&["docs/contract.md 5.13", "docs/contract.md 3.25"])
    .needs(&[Need::Routes])
    .run(run!(async |host| {
        let user = host.user().await?;
        let access = user.login().await?.access;
        reached(&host.route("POST", "/note").bearer(&access).send().await?)?;
        let browser = user.browser().await?;
        reached(&browser.route("POST", "/note").send().await?)?;
        let cookie = browser.access()?;
        let both = host.route("POST", "/note").same_origin().bearer(&access).cookie(ACCESS, &cookie);
        both.send().await?.refused(400, "invalid_request")?;
        // The rule on origins comes first: it does not depend on whether the token is good.
        let bad = host.route("POST", "/note").cookie(ACCESS, "not-a-token");
        bad.clone().send().await?.refused(403, "csrf_failed")?;
        bad.same_origin().send().await?.invalid_token()
    })),
];

/// The host's handler answered: what it says is its own.
fn reached(answer: &Response) -> Outcome {
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    Err(answer.not("a success of the host's own handler"))
}
