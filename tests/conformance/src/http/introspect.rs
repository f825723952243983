//! `POST /introspect` (RFC 7662): who may ask, and what is told.

use base64_simd::STANDARD;
use serde_json::{Value, json};

use crate::{
    case::{Case, Failure, Need, Outcome, Row, case, run},
    client::{Request, Response},
    host::{Host, overlay},
    token::{Jws, b64, random_bytes},
    verdict::{equal, identical},
};

const ORDERS: (&str, &str) = ("orders-api", "0f3c1e5a7b9d2f4e6a8c0b1d3f5e7a9c");
const BILLING: (&str, &str) = ("billing.2~x_y", "A-long_secret.of~the-other.service_42");

/// Two clients may ask.
fn clients() -> Value {
    json!({"introspection_clients": {ORDERS.0: ORDERS.1, BILLING.0: BILLING.1}})
}

pub(crate) const CASES: &[Case] = &[
    // Who asks is told who somebody is: so nobody may until it is said who.
    case(
        "introspect/is-off-unless-configured",
        "Where no client may ask there is no such path, whatever the method and the credentials, and no \
         document names one.",
    )
    .spec(&["docs/contract.md 1.34", "docs/contract.md 2.15"])
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        ask(host, ORDERS, &access).await?.refused(404, "not_found")?;
        host.get("/introspect").send().await?.refused(404, "not_found")?;
        for document in [host.route("GET", METADATA), host.get("/openapi.json")] {
            let answer = document.send().await?;
            answer.answered(200)?;
            equal("it speaks of introspection", &answer.text().contains("introspect"), &false)?;
        }
        Ok(())
    })),
    case(
        "introspect/is-named-where-it-is-configured",
        "Where a client may ask, the metadata and the OpenAPI description name the endpoint and how to \
         authenticate, and other methods are not allowed.",
    )
    .spec(&["docs/contract.md 1.34", "docs/contract.md 1.15", "RFC 8414 2"])
    .config(clients)
    .run(run!(async |host| {
        let answer = host.route("GET", METADATA).send().await?;
        let metadata = answer.answered(200)?;
        answer.member(&metadata, "introspection_endpoint", &"https://auth.test/auth/introspect".into())?;
        let methods = json!(["client_secret_basic"]);
        answer.member(&metadata, "introspection_endpoint_auth_methods_supported", &methods)?;
        let answer = host.get("/openapi.json").send().await?;
        let openapi = answer.answered(200)?;
        let described = openapi.pointer("/paths/~1introspect/post").is_some();
        equal("the operation is described", &described, &true)?;
        host.get("/introspect").send().await?.method_not_allowed(&["POST"])
    })),
    case(
        "introspect/a-live-token-says-its-claims",
        "Of a live access token every claim is told as it was signed, with `active`, `token_type` and `username`.",
    )
    .spec(&["docs/contract.md 1.36", "RFC 7662 2.2"])
    .needs(&[Need::Control])
    .config(clients)
    .run(run!(async |host| {
        let user = host.user().await?;
        user.set(json!({"roles": ["editor"], "scope": "read write"})).await?;
        let scoped = user.login().await?.access;
        let plain = host.user().await?.login().await?.access;
        for (what, token, client) in [("with a scope", scoped, ORDERS), ("without", plain, BILLING)] {
            let claims = Jws::parse(&token)?.claims;
            let name = claims.get("preferred_username").cloned();
            let told = json!({"active": true, "token_type": "Bearer", "username": name});
            let answer = ask(host, client, &token).await?;
            equal("what is told", &answer.answered(200)?, &overlay(claims, told)).row(what)?;
        }
        Ok(())
    })),
    // RFC 7662 s2.2: an answer that told causes apart would let the caller try tokens out.
    case(
        "introspect/everything-else-is-inactive",
        "A token that is not a live access token of ours is `{\"active\":false}` and nothing more, the same \
         bytes whatever is wrong with it.",
    )
    .spec(&["docs/contract.md 1.37", "RFC 7662 2.2", "RFC 7662 4"])
    .needs(&[Need::Keys, Need::Control])
    .config(clients)
    .run(run!(async |host| { everything_else(host).await })),
    case("introspect/asking-changes-nothing", "Asking about tokens leaves them and their session as they were.")
        .spec(&["docs/contract.md 1.38"])
        .config(clients)
        .run(run!(async |host| {
            let tokens = host.user().await?.login().await?;
            let list = async || host.get("/sessions").bearer(&tokens.access).send().await;
            let before = list().await?;
            for _ in 0..2 {
                ask(host, ORDERS, &tokens.refresh).await?.answered(200)?;
                ask(host, ORDERS, &tokens.access).await?.answered(200)?;
            }
            equal("the session", &list().await?.answered(200)?, &before.answered(200)?)?;
            host.me(&tokens.access).await?.answered(200)?;
            host.refresh(&tokens.refresh).await?.granted().map(|_| ())
        })),
    case(
        "introspect/a-client-authenticates-by-basic",
        "The client's id and secret are taken in HTTP Basic, percent-encoded or not, the scheme in any case.",
    )
    .spec(&["docs/contract.md 1.35", "RFC 6749 2.3.1", "RFC 7617 2"])
    .config(clients)
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        let encoded = ORDERS.0.replace('-', "%2D");
        for field in [
            basic(ORDERS.0, ORDERS.1),
            basic(BILLING.0, BILLING.1),
            basic(&encoded, ORDERS.1),
            basic(ORDERS.0, ORDERS.1).replace("Basic", "bASIC"),
            basic(ORDERS.0, ORDERS.1).replace("Basic ", "Basic    "),
        ] {
            let answer = request(host, &access).header("Authorization", &field).send().await?;
            is_active(&answer, true).row(field)?;
        }
        Ok(())
    })),
    case(
        "introspect/any-other-client-is-refused",
        "Without the credentials of a client that may ask nothing is told: `401 invalid_client` with a Basic \
         challenge.",
    )
    .spec(&["docs/contract.md 1.35", "docs/contract.md 2.32", "docs/contract.md 2.26", "RFC 6749 5.2", "RFC 7662 2.1"])
    .config(clients)
    .run(run!(async |host| {
        let user = host.user().await?;
        let access = user.login().await?.access;
        let refused = async |what: &str, request: Request| {
            request.send().await?.refused(401, "invalid_client").row(what)
        };
        refused("no credentials", request(host, &access)).await?;
        let wrong = ORDERS.1.replace('0', "1");
        for field in [
            basic(ORDERS.0, &wrong),
            basic(ORDERS.0, BILLING.1),
            basic(ORDERS.0, ""),
            basic(ORDERS.0, &ORDERS.1[1..]),
            basic(ORDERS.0, &ORDERS.1.to_uppercase()),
            basic("orders", ORDERS.1),
            basic("", ORDERS.1),
            basic(&user.name, user.password),
            "Basic".to_owned(),
            "Basic !!!".to_owned(),
            format!("Basic {}", STANDARD.encode_to_string(ORDERS.0)),
            format!("Bearer {}", ORDERS.1),
            format!("Bearer {access}"),
            basic(ORDERS.0, ORDERS.1).replace("Basic", "Digest"),
        ] {
            refused(&field, request(host, &access).header("Authorization", &field)).await?;
        }
        // RFC 6749 s2.3.1 advises against secrets in a body, and lets a server leave them out.
        let form = [("token", access.as_str()), ("client_id", ORDERS.0), ("client_secret", ORDERS.1)];
        refused("a secret in the form", host.post("/introspect").form(&form)).await?;
        is_active(&ask(host, ORDERS, &access).await?, true)
    })),
    case(
        "introspect/a-request-is-refused-in-the-contracts-order",
        "Credentials twice, another client's id, a malformed form, another type or a cookie from elsewhere is \
         refused as everywhere.",
    )
    .spec(&[
        "docs/contract.md 1.31",
        "docs/contract.md 1.34",
        "docs/contract.md 1.35",
        "docs/contract.md 8.2",
        "docs/contract.md 8.15",
        "RFC 6749 2.3",
    ])
    .config(clients)
    .run(run!(async |host| {
        let user = host.user().await?;
        let access = user.login().await?.access;
        let field = basic(ORDERS.0, ORDERS.1);
        let form = |members: &[(&str, &str)]| {
            let token = [("token", access.as_str())];
            let members: Vec<_> = token.iter().chain(members).copied().collect();
            host.post("/introspect").form(&members)
        };
        let with = |request: Request| request.header("Authorization", &field);
        let hint = form(&[("token_type_hint", "refresh_token"), ("client_id", ORDERS.0), ("unknown", "x")]);
        is_active(&with(hint).send().await?, true)?;
        for (what, request) in [
            ("two fields", with(with(form(&[])))),
            ("another client's id", with(form(&[("client_id", BILLING.0)]))),
            ("the application's own id", with(form(&[("client_id", "gatekey-tests")]))),
            ("two methods", with(form(&[("client_secret", ORDERS.1)]))),
            ("the token twice", with(form(&[("token", &access)]))),
            ("no token", with(host.post("/introspect").form(&[("client_id", ORDERS.0)]))),
            // Parsing comes before authentication.
            ("no token and no credentials", host.post("/introspect").form(&[("x", "y")])),
        ] {
            request.send().await?.refused(400, "invalid_request").row(what)?;
        }
        let typed = with(host.post("/introspect").json(json!({"token": access})));
        typed.send().await?.refused(415, "unsupported_media_type")?;
        let cross = user.browser().await?.silent("POST", "/introspect").header("Sec-Fetch-Site", "cross-site");
        let cross = with(cross.form(&[("token", &access)]));
        cross.send().await?.refused(403, "csrf_failed")
    })),
    case(
        "introspect/wrong-secrets-are-limited",
        "After too many wrong secrets from one network none from there is looked at, and others are; right ones \
         never count.",
    )
    .spec(&["docs/contract.md 7.33", "docs/contract.md 7.25"])
    .needs(&[Need::StillClock])
    .config(|| overlay(clients(), json!({"limits": {"client_failures_per_minute": 3}})))
    .run(run!(async |host| {
        let access = host.user().await?.login().await?.access;
        let elsewhere = host.fresh_address();
        for _ in 0..8 {
            is_active(&ask(host, ORDERS, &access).await?, true)?;
            // Who sends no secret has guessed nothing.
            request(host, &access).send().await?.refused(401, "invalid_client")?;
        }
        for _ in 0..3 {
            ask(host, (ORDERS.0, BILLING.1), &access).await?.refused(401, "invalid_client")?;
        }
        let other = request(host, &access).header("Authorization", &basic(ORDERS.0, ORDERS.1));
        for client in [(ORDERS.0, BILLING.1), ("unknown", ORDERS.1), ORDERS] {
            ask(host, client, &access).await?.refused(429, "rate_limited").row(client.0)?;
        }
        is_active(&other.from(elsewhere).send().await?, true)?;
        host.me(&access).await?.answered(200)?;
        host.advance(20).await?;
        is_active(&ask(host, ORDERS, &access).await?, true)
    })),
    case(
        "introspect/a-weak-secret-is-no-configuration",
        "A host does not start with a client whose secret is short, or whose id or secret needs encoding.",
    )
    .spec(&["docs/contract.md 1.34", "ASVS 13.2.3"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        for (id, secret) in [
            ("orders-api", ""),
            ("orders-api", "hunter2"),
            ("orders-api", &ORDERS.1[1..]),
            ("orders-api", "0f3c1e5a7b9d2f4e6a8c0b1d3f5e7a9:"),
            ("orders:api", ORDERS.1),
            ("", ORDERS.1),
        ] {
            let launch = host.launch()?.config(json!({"introspection_clients": {id: secret}}));
            let exit = launch.exit().await?;
            exit.refused_configuration("introspection_clients").row(format!("{id:?} {secret:?}"))?;
            let told = secret.len() > 6 && exit.stderr.join("\n").contains(secret);
            equal("the secret is told", &told, &false)?;
        }
        Ok(())
    })),
];

const METADATA: &str = "/.well-known/oauth-authorization-server";

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode_to_string(format!("{id}:{secret}")))
}

fn request(host: &Host, token: &str) -> Request {
    host.post("/introspect").form(&[("token", token)])
}

async fn ask(host: &Host, (id, secret): (&str, &str), token: &str) -> Result<Response, Failure> {
    request(host, token).header("Authorization", &basic(id, secret)).send().await
}

fn is_active(answer: &Response, active: bool) -> Outcome {
    let body = answer.answered(200)?;
    answer.member(&body, "active", &active.into())
}

async fn everything_else(host: &Host) -> Outcome {
    let user = host.user().await?;
    let tokens = user.login().await?;
    let token = Jws::parse(&tokens.access)?;
    let issued = token.number("iat")?;
    let sign = |claims: Value| host.sign_access(&token.header, &claims);
    let (revoked, disabled) = (user.login().await?, host.user().await?);
    let of_disabled = disabled.login().await?;
    disabled.set(json!({"disabled": true})).await?;
    host.post("/revoke").form(&[("token", &revoked.refresh)]).send().await?.status(200)?;
    let refresh = Jws::parse(&tokens.refresh)?;

    let first = ask(host, ORDERS, "nonsense").await?;
    equal("the whole answer", &first.answered(200)?, &json!({"active": false}))?;
    for (what, other) in [
        ("a.b.c", "a.b.c".to_owned()),
        ("too long", "x".repeat(9000)),
        ("a live refresh token", tokens.refresh.clone()),
        ("a refresh token of no session", {
            let claims = refresh.claims_with("sid", b64(&random_bytes::<16>()?).into());
            host.sign_refresh(&refresh.header, &claims)?
        }),
        ("an expired token", sign(token.claims_with("exp", (issued - 60).into()))?),
        ("a token of the future", sign(token.claims_with("nbf", (issued + 600).into()))?),
        ("another issuer's", sign(token.claims_with("iss", "https://other.test".into()))?),
        ("for another audience", sign(token.claims_with("aud", "https://other.test".into()))?),
        ("of another type", host.sign_access(&token.header_with("typ", "JWT".into()), &token.claims)?),
        ("wrongly signed", {
            let [header, claims, _] = &token.segments;
            format!("{header}.{claims}.{}", b64(&[0; 64]))
        }),
        ("of a revoked session", revoked.access),
        ("a revoked refresh token", revoked.refresh),
        ("of a disabled subject", of_disabled.access),
    ] {
        let answer = ask(host, ORDERS, &other).await?;
        identical(&first, &answer).row(what)?;
    }
    is_active(&ask(host, ORDERS, &sign(token.claims.clone())?).await?, true)
}
