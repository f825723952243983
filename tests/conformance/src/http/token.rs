//! `POST /token`: the refresh endpoint's forms, members and grants, and what it reads anew of the subject.

use serde_json::{Value, json};

use crate::{
    case::{Case, Failure, Need, case, failed, run},
    client::Response,
    cookies::REFRESH,
    host::Host,
    token::{Jws, b64, hs256, join, sign_hs256, unb64},
    verdict::{Tokens, differ, equal},
};

pub(crate) const CASES: &[Case] = &[
    // What is asked.
    case("token/form-and-json-are-answered-alike", "The same members are taken as a form and as JSON.")
        .spec(&["docs/contract.md 1.6", "RFC 6749 6"])
        .run(run!(async |host| {
            let first = host.user().await?.login().await?;
            let second = host.refresh(&first.refresh).await?.granted()?;
            let third = refresh_json(host, &second.refresh).await?.granted()?;
            differ("refresh_token", &third.refresh, &second.refresh)?;
            equal("session_id", &third.session_id, &first.session_id)
        })),
    case("token/form-is-decoded-once", "A percent-encoded refresh token is decoded, and decoded once only.")
        .spec(&["docs/contract.md 8.13", "RFC 6749 B", "ASVS 1.1.1"])
        .run(run!(async |host| {
            let tokens = host.user().await?.login().await?;
            let encode = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
            let once = encode(&tokens.refresh);
            let send = |token: &str| {
                let form = format!("grant_type=refresh_token&refresh_token={token}");
                host.post("/token").form_text(&form).send()
            };
            send(&encode(&once)).await?.refused(400, "invalid_grant")?;
            send(&once).await?.granted()?;
            Ok(())
        })),
    case(
        "token/missing-members-are-refused",
        "A body without grant_type or without refresh_token, and no body without a cookie, are \
         invalid_request.",
    )
    .spec(&["docs/contract.md 1.6", "docs/contract.md 2.4", "RFC 6749 5.2"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let post = || host.post("/token");
        for request in [
            post(),
            post().form(&[("grant_type", "refresh_token")]),
            post().form(&[("refresh_token", &tokens.refresh)]),
            post().json(json!({})),
            post().json(json!({"grant_type": "refresh_token"})),
            post().json(json!({"refresh_token": tokens.refresh})),
        ] {
            request.send().await?.refused(400, "invalid_request")?;
        }
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "token/member-without-value-is-omitted",
        "A form parameter without a value counts as absent: an empty refresh_token is missing, an empty \
         scope asks for nothing.",
    )
    .spec(&["docs/contract.md 8.14", "RFC 6749 3.2"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let empty = [("grant_type", "refresh_token"), ("refresh_token", "")];
        let answer = host.post("/token").form(&empty).send().await?;
        answer.refused(400, "invalid_request")?;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &tokens.refresh),
            ("scope", ""),
            ("client_id", ""),
        ];
        host.post("/token").form(&form).send().await?.granted()?;
        Ok(())
    })),
    case(
        "token/unknown-form-parameters-are-ignored",
        "A form with a parameter that we do not know is answered as if it were not there.",
    )
    .spec(&["docs/contract.md 8.11", "RFC 6749 3.2"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh.as_str()),
            ("audience", "https://elsewhere.test"),
        ];
        let second = host.post("/token").form(&form).send().await?.granted()?;
        let claims = Jws::parse(&second.access)?.claims;
        equal("aud", &claims.get("aud").cloned(), &audience(&tokens)?)
    })),
    // Else the one that a proxy has checked need not be the one that we read.
    case(
        "token/repeated-form-parameters-are-refused",
        "A form that names a parameter twice is invalid_request, even with the same value, and nothing is \
         rotated.",
    )
    .spec(&["docs/contract.md 8.12", "docs/contract.md 2.4", "RFC 6749 3.2"])
    .config(|| json!({"rotation": "strict"}))
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        for (name, value) in [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh.as_str()),
            ("scope", "read"),
            ("client_id", "gatekey-tests"),
        ] {
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", tokens.refresh.as_str()),
                ("scope", "read"),
                ("client_id", "gatekey-tests"),
                (name, value),
            ];
            let answer = host.post("/token").form(&form).send().await?;
            answer.refused(400, "invalid_request")?;
        }
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "token/unknown-json-members-are-refused",
        "JSON is strict where forms are lenient: a member we do not know is refused, and nothing is rotated.",
    )
    .spec(&["docs/contract.md 8.8", "docs/contract.md 2.21"])
    .config(|| json!({"rotation": "strict"}))
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let body = json!({
            "grant_type": "refresh_token",
            "refresh_token": tokens.refresh,
            "audience": "https://elsewhere.test",
        });
        let answer = host.post("/token").json(body).send().await?;
        answer.invalid_field("body", "unknown_member")?;
        refresh_json(host, &tokens.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "token/other-grants-are-unsupported",
        "Any grant but refresh_token is unsupported_grant_type, the password grant among them.",
    )
    .spec(&["docs/contract.md 2.6", "RFC 6749 5.2", "ASVS 10.4.4"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        for grant in [
            "password",
            "authorization_code",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "Refresh_Token",
            "refresh_token ",
        ] {
            let form = [
                ("grant_type", grant),
                ("username", user.name.as_str()),
                ("password", user.password),
                ("refresh_token", tokens.refresh.as_str()),
            ];
            let answer = host.post("/token").form(&form).send().await?;
            answer.refused(400, "unsupported_grant_type")?;
        }
        Ok(())
    })),
    case(
        "token/own-client-id-is-accepted",
        "A client_id may be sent, and must be ours: another one is refused and nothing is rotated.",
    )
    .spec(&["docs/contract.md 8.15", "RFC 6749 5.2"])
    .config(|| json!({"rotation": "strict"}))
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let send = |client: &str| {
            let form =
                [("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh), ("client_id", client)];
            host.post("/token").form(&form).send()
        };
        for client in ["another", "gatekey-tests ", "GATEKEY-TESTS"] {
            send(client).await?.refused(400, "invalid_request")?;
        }
        send("gatekey-tests").await?.granted()?;
        Ok(())
    })),
    // How it is answered.
    case(
        "token/cookie-is-answered-by-cookies",
        "With an empty body and the refresh cookie the answer is two new cookies and no token in the body.",
    )
    .spec(&["docs/contract.md 1.6", "docs/contract.md 4.32", "ASVS 10.1.1"])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let (access, refresh) = (browser.access()?, browser.refresh_token()?);
        let second = browser.refresh().await?.cookies_granted()?;
        differ("the access cookie", &second.access, &access)?;
        differ("the refresh cookie", &second.refresh, &refresh)?;
        browser.get("/me").send().await?.answered(200)?;
        Ok(())
    })),
    // Whoever can read the body could have read the token, whatever transport the login chose.
    case(
        "token/transport-is-that-of-the-request",
        "A token of a cookie login that comes in a body is answered by a body, and one of a body login in \
         a cookie by cookies.",
    )
    .spec(&["docs/contract.md 4.32"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = user.browser().await?;
        host.refresh(&browser.refresh_token()?).await?.granted()?;
        let tokens = user.login().await?;
        let by_cookie = host.post("/token").cookie(REFRESH, &tokens.refresh);
        let answer = by_cookie.same_origin().send().await?;
        answer.cookies_granted()?;
        Ok(())
    })),
    case(
        "token/two-sources-are-refused",
        "A refresh token in the body together with a refresh cookie is invalid_request, be they the same, \
         and nothing is rotated.",
    )
    .spec(&["docs/contract.md 2.4", "ASVS 15.3.7"])
    .config(|| json!({"rotation": "strict"}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let other = user.login().await?;
        let browser = user.browser().await?;
        for token in [other.refresh.clone(), browser.refresh_token()?] {
            let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
            let answer = browser.post("/token").form(&form).send().await?;
            answer.refused(400, "invalid_request")?;
            answer.sets_no_cookie()?;
        }
        browser.refresh().await?.cookies_granted()?;
        host.refresh(&other.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "token/invalid-grant-clears-the-cookies",
        "A refresh cookie of a session that is over is refused and both cookies are cleared; a body sets \
         none.",
    )
    .spec(&["docs/contract.md 4.10", "docs/contract.md 4.33"])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let refresh = browser.refresh_token()?;
        let logout = host.post("/logout").json(json!({"refresh_token": refresh}));
        logout.send().await?.status(204)?;
        let answer = host.refresh(&refresh).await?;
        answer.refused(400, "invalid_grant")?;
        answer.sets_no_cookie()?;
        let answer = browser.refresh().await?;
        answer.refused(400, "invalid_grant")?;
        answer.clears_cookies()
    })),
    case(
        "token/garbage-in-the-cookie-is-cleared",
        "A refresh cookie that is no token of ours is invalid_grant and is cleared.",
    )
    .spec(&["docs/contract.md 4.4", "docs/contract.md 4.33"])
    .run(run!(async |host| {
        let browser = host.browser();
        browser.jar().set(REFRESH, "not-a-token");
        let answer = browser.refresh().await?;
        answer.refused(400, "invalid_grant")?;
        answer.clears_cookies()
    })),
    // What a refresh token is.
    case(
        "token/refresh-token-is-a-kind-of-its-own",
        "A refresh token is a JWT of type rt+jwt, signed HS256 under the refresh secret, with exactly six \
         claims.",
    )
    .spec(&["docs/contract.md 4.1", "docs/contract.md 4.2", "docs/contract.md 4.26", "ASVS 7.2.3"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        for (tokens, generation) in [(&first, 0), (&second, 1)] {
            let token = Jws::parse(&tokens.refresh)?;
            equal("typ", &token.header.get("typ"), &Some(&json!("rt+jwt")))?;
            equal("alg", &token.header.get("alg"), &Some(&json!("HS256")))?;
            let [header, claims, _] = &token.segments;
            let input = format!("{header}.{claims}");
            let signature = hs256(&host.keys()?.refresh, input.as_bytes());
            equal("the signature", &token.signature, &signature)?;
            let mut names: Vec<&String> =
                token.claims.as_object().into_iter().flatten().map(|(name, _)| name).collect();
            names.sort();
            equal(
                "the claims",
                &names.iter().map(|name| name.as_str()).collect(),
                &vec!["exp", "gen", "iat", "iss", "jti", "sid"],
            )?;
            equal("iss", &token.string("iss")?, &"https://auth.test")?;
            equal("sid", &token.string("sid")?, &tokens.session_id.as_str())?;
            equal("gen", &token.number("gen")?, &generation)?;
            equal("exp - iat", &(token.number("exp")? - token.number("iat")?), &604_800)?;
            let jti = unb64(token.string("jti")?)?;
            equal("the bytes of jti", &jti.len(), &32)?;
        }
        let jti = |tokens: &Tokens| Ok::<_, Failure>(Jws::parse(&tokens.refresh)?.string("jti")?.to_owned());
        differ("jti", &jti(&first)?, &jti(&second)?)
    })),
    case(
        "token/refresh-token-is-no-access-token",
        "A refresh token is refused wherever an access token is asked for, in the header and in the access \
         cookie.",
    )
    .spec(&["docs/contract.md 4.3", "ASVS 9.2.2", "RFC 8725 3.11"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        for (method, path) in
            [("GET", "/me"), ("GET", "/sessions"), ("DELETE", "/sessions"), ("POST", "/logout")]
        {
            let request = host.request(method, path).bearer(&tokens.refresh);
            request.send().await?.invalid_token()?;
        }
        let cookie = host.get("/me").cookie(crate::cookies::ACCESS, &tokens.refresh);
        cookie.send().await?.invalid_token()?;
        host.me(&tokens.access).await?.answered(200)?;
        Ok(())
    })),
    case(
        "token/access-token-is-no-refresh-token",
        "An access token presented for refreshing is invalid_grant, and its session goes on.",
    )
    .spec(&["docs/contract.md 4.1", "docs/contract.md 4.4", "RFC 8725 3.11"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        host.refresh(&tokens.access).await?.refused(400, "invalid_grant")?;
        host.me(&tokens.access).await?.answered(200)?;
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    // Who cannot sign must not be able to log anybody out by naming a session, nor reach the store.
    case(
        "token/forged-tokens-are-refused-and-revoke-nothing",
        "A token of a live session with any signature but the refresh secret's is invalid_grant, and the \
         session goes on.",
    )
    .spec(&["docs/contract.md 4.1", "docs/contract.md 4.4", "ASVS 9.1.2", "RFC 8725 3.2"])
    .config(|| json!({"rotation": "strict"}))
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let used = host.user().await?.login().await?;
        let live = host.refresh(&used.refresh).await?.granted()?;
        let keys = host.keys()?;
        let public = keys.access.public_der()?;
        for token in [&used.refresh, &live.refresh] {
            let token = Jws::parse(token)?;
            let header = token.header.to_string();
            let claims = token.claims.to_string();
            let unsigned = token.header_with("alg", "none".into()).to_string();
            let eddsa = token.header_with("alg", keys.access.alg().into()).to_string();
            let input = format!("{}.{}", b64(eddsa.as_bytes()), b64(claims.as_bytes()));
            let mut flipped = token.signature.clone();
            if let Some(byte) = flipped.first_mut() {
                *byte ^= 1;
            }
            let [head, body, _] = &token.segments;
            for forged in [
                format!("{head}.{body}.{}", b64(&flipped)),
                format!("{head}.{body}."),
                join(unsigned.as_bytes(), claims.as_bytes(), b""),
                sign_hs256(b"another secret of at least 32 bytes", header.as_bytes(), claims.as_bytes()),
                sign_hs256(b"", header.as_bytes(), claims.as_bytes()),
                sign_hs256(&public, header.as_bytes(), claims.as_bytes()),
                join(eddsa.as_bytes(), claims.as_bytes(), &keys.access.sign(input.as_bytes())?),
            ] {
                host.refresh(&forged).await?.refused(400, "invalid_grant")?;
            }
        }
        host.me(&live.access).await?.answered(200)?;
        host.refresh(&live.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "token/garbage-is-refused",
        "Text that is no token at all is invalid_grant, whatever its length and characters.",
    )
    .spec(&["docs/contract.md 2.7", "docs/contract.md 4.4"])
    .run(run!(async |host| {
        let long = "a".repeat(9000);
        for garbage in [
            "x",
            "a.b.c",
            "..",
            "a.b",
            "a.b.c.d",
            "a.b.c.d.e",
            "null",
            "' OR 1=1 --",
            "\u{0}",
            "\u{e9}\u{1f600}",
            &long,
        ] {
            host.refresh(garbage).await?.refused(400, "invalid_grant")?;
            refresh_json(host, garbage).await?.refused(400, "invalid_grant")?;
        }
        Ok(())
    })),
    case(
        "token/claims-of-a-wrong-form-are-refused",
        "A rightly signed token that lacks a claim, or has one of a wrong type or another issuer's, is \
         invalid_grant.",
    )
    .spec(&["docs/contract.md 4.2", "docs/contract.md 2.7", "ASVS 9.2.1"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let token = Jws::parse(&tokens.refresh)?;
        let mut wrong: Vec<(&str, Value)> = Vec::new();
        for claim in ["iss", "sid", "gen", "jti", "iat", "exp"] {
            wrong.extend([(claim, Value::Null), (claim, json!([])), (claim, json!(true))]);
        }
        wrong.extend([
            ("exp", json!("9999999999")),
            ("gen", json!("0")),
            ("gen", json!(-1)),
            ("gen", json!(0.5)),
            ("sid", json!("")),
            ("iss", json!("https://auth.test/")),
        ]);
        for (claim, value) in wrong {
            let changed = host.sign_refresh(&token.header, &token.claims_with(claim, value))?;
            host.refresh(&changed).await?.refused(400, "invalid_grant")?;
        }
        for (member, value) in [
            ("typ", json!("at+jwt")),
            ("typ", json!("JWT")),
            ("typ", Value::Null),
            ("crit", json!(["exp"])),
            ("alg", json!("HS512")),
        ] {
            let changed = host.sign_refresh(&token.header_with(member, value), &token.claims)?;
            host.refresh(&changed).await?.refused(400, "invalid_grant")?;
        }
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    // Scope.
    case(
        "token/scope-may-be-narrowed",
        "A refresh that asks for less is answered with an access token of less, and the next may ask for \
         all again.",
    )
    .spec(&["docs/contract.md 4.31", "docs/contract.md 8.16", "RFC 6749 6"])
    .needs(&[Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        user.set(json!({"scope": "read write"})).await?;
        let first = user.login().await?;
        equal("scope", &scope(&first)?, &words("read write"))?;
        let narrow = refresh_scope(host, &first.refresh, "read").await?.granted()?;
        equal("scope", &scope(&narrow)?, &words("read"))?;
        let whole = host.refresh(&narrow.refresh).await?.granted()?;
        equal("scope", &scope(&whole)?, &words("read write"))?;
        // The order of the words means nothing (RFC 6749 s3.3).
        let whole = refresh_scope(host, &whole.refresh, "write read").await?.granted()?;
        equal("scope", &scope(&whole)?, &words("read write"))
    })),
    case(
        "token/scope-is-never-widened",
        "A refresh that asks for more than was granted is invalid_scope and changes nothing.",
    )
    .spec(&["docs/contract.md 4.31", "docs/contract.md 2.5", "RFC 6749 5.2", "RFC 9700 4.14.2"])
    .needs(&[Need::Control])
    .config(|| json!({"rotation": "strict"}))
    .run(run!(async |host| {
        let user = host.user().await?;
        user.set(json!({"scope": "read write"})).await?;
        let first = user.login().await?;
        for more in ["admin", "read admin", "READ", "read write read2"] {
            refresh_scope(host, &first.refresh, more).await?.refused(400, "invalid_scope")?;
        }
        // Under the strict policy this would be reuse if one of them had rotated.
        let second = host.refresh(&first.refresh).await?.granted()?;
        equal("scope", &scope(&second)?, &words("read write"))
    })),
    // Told about its scope, a client would correct that and ask again for ever.
    case(
        "token/scope-of-a-dead-session-is-not-judged",
        "A refresh token of a session that is over, or of a disabled subject, is invalid_grant whatever it asks for.",
    )
    .spec(&["docs/contract.md 4.10", "docs/contract.md 2.7"])
    .needs(&[Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (ended, disabled) = (user.login().await?, user.login().await?);
        let logout = host.post("/logout").bearer(&ended.access);
        logout.send().await?.status(204)?;
        refresh_scope(host, &ended.refresh, "admin").await?.refused(400, "invalid_grant")?;
        refresh_scope(host, &disabled.refresh, "admin").await?.refused(400, "invalid_scope")?;
        user.set(json!({"disabled": true})).await?;
        refresh_scope(host, &disabled.refresh, "admin").await?.refused(400, "invalid_grant")
    })),
    case("token/scope-without-any-granted-is-refused", "A session without a scope cannot ask for one.")
        .spec(&["docs/contract.md 4.31", "docs/contract.md 2.5"])
        .run(run!(async |host| {
            let first = host.user().await?.login().await?;
            equal("scope", &scope(&first)?, &Vec::new())?;
            refresh_scope(host, &first.refresh, "read").await?.refused(400, "invalid_scope")?;
            host.refresh(&first.refresh).await?.granted()?;
            Ok(())
        })),
    case(
        "token/scope-follows-the-subject-downwards-only",
        "A scope that the subject loses is left out at the next refresh; one that it gains is not added.",
    )
    .spec(&["docs/contract.md 4.31"])
    .needs(&[Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        user.set(json!({"scope": "read write"})).await?;
        let first = user.login().await?;
        user.set(json!({"scope": "read admin"})).await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        equal("scope", &scope(&second)?, &words("read"))?;
        refresh_scope(host, &second.refresh, "admin").await?.refused(400, "invalid_scope")?;
        // A new login grants what the subject has now.
        let anew = user.login().await?;
        equal("scope", &scope(&anew)?, &words("admin read"))
    })),
    // The subject.
    case(
        "token/roles-are-fresh",
        "A refreshed access token has the roles that the subject has now, a role taken away is gone.",
    )
    .spec(&["docs/contract.md 4.29", "ASVS 8.3.2"])
    .needs(&[Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        let first = user.login().await?;
        equal("roles", &roles(&first)?, &json!([]))?;
        user.set(json!({"roles": ["admin", "editor"]})).await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        equal("roles", &roles(&second)?, &json!(["admin", "editor"]))?;
        user.set(json!({"roles": ["editor"]})).await?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        equal("roles", &roles(&third)?, &json!(["editor"]))
    })),
    case(
        "token/auth-time-is-that-of-the-login",
        "A refresh proves no password: auth_time stays that of the login while iat moves.",
    )
    .spec(&["docs/contract.md 4.11", "RFC 9068 2.2.1"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        host.advance(600).await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let (first, second) = (Jws::parse(&first.access)?, Jws::parse(&second.access)?);
        equal("auth_time", &second.number("auth_time")?, &first.number("auth_time")?)?;
        if second.number("iat")? < first.number("iat")? + 600 {
            return Err(failed("iat: 600 s later", &second.claims));
        }
        Ok(())
    })),
    case(
        "token/disabled-subject-loses-its-session",
        "The session of a disabled subject cannot be refreshed, and not after the subject is enabled again \
         either.",
    )
    .spec(&["docs/contract.md 4.10", "docs/contract.md 4.30", "docs/contract.md 6.3", "ASVS 7.4.2"])
    .needs(&[Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        user.set(json!({"disabled": true})).await?;
        host.refresh(&tokens.refresh).await?.refused(400, "invalid_grant")?;
        user.set(json!({"disabled": false})).await?;
        host.refresh(&tokens.refresh).await?.refused(400, "invalid_grant")?;
        let anew = user.login().await?;
        host.refresh(&anew.refresh).await?.granted()?;
        Ok(())
    })),
];

async fn refresh_json(host: &Host, token: &str) -> Result<Response, Failure> {
    let body = json!({"grant_type": "refresh_token", "refresh_token": token});
    host.post("/token").json(body).send().await
}

async fn refresh_scope(host: &Host, token: &str, scope: &str) -> Result<Response, Failure> {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)];
    host.post("/token").form(&form).send().await
}

fn audience(tokens: &Tokens) -> Result<Option<Value>, Failure> {
    Ok(Jws::parse(&tokens.access)?.claims.get("aud").cloned())
}

/// The scope of an access token as sorted words; none without the claim.
fn scope(tokens: &Tokens) -> Result<Vec<String>, Failure> {
    let claims = Jws::parse(&tokens.access)?.claims;
    match claims.get("scope") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(words(text)),
        Some(_) => Err(failed("a string scope", &claims)),
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    words.sort();
    words
}

fn roles(tokens: &Tokens) -> Result<Value, Failure> {
    let claims = Jws::parse(&tokens.access)?.claims;
    claims.get("roles").cloned().ok_or_else(|| failed("a claim roles", &claims))
}
