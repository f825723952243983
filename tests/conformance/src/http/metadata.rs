//! The key set, the RFC 8414 metadata and the OpenAPI description.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    case::{Case, Failure, Need, Outcome, Row, case, run},
    client::Response,
    host::{Host, overlay},
    token::KeyKind,
    verdict::equal,
};

const METADATA: &str = "/.well-known/oauth-authorization-server";

/// Everything in the contract's table, as OpenAPI names it, without the prefix.
const TABLE: [(&str, &str); 14] = [
    ("post", "/register"),
    ("post", "/login"),
    ("post", "/token"),
    ("post", "/logout"),
    ("post", "/revoke"),
    ("get", "/me"),
    ("get", "/sessions"),
    ("delete", "/sessions/{}"),
    ("delete", "/sessions"),
    ("post", "/password"),
    ("get", "/jwks.json"),
    ("get", METADATA),
    ("get", "/openapi.json"),
    ("get", "/gatekey.js"),
];

pub(crate) const CASES: &[Case] = &[
    // A private member here would hand everybody the power to issue tokens.
    case(
        "metadata/jwks-has-public-members-only",
        "The key set holds the one Ed25519 key by its public members, `use`, `alg` and `kid`, and nothing else.",
    )
    .spec(&["docs/contract.md 1.14", "docs/contract.md 3.4", "RFC 7517 4", "RFC 8037 2"])
    .needs(&[Need::Keys])
    .run(run!(async |host| { one_public_key(host).await })),
    case(
        "metadata/jwks-of-p256-has-public-members-only",
        "The key set holds the one P-256 key by its public members, `use`, `alg` and `kid`, and nothing else.",
    )
    .spec(&["docs/contract.md 1.14", "docs/contract.md 3.4", "RFC 7518 6.2.1"])
    .needs(&[Need::Keys])
    .key(KeyKind::P256)
    .run(run!(async |host| { one_public_key(host).await })),
    case(
        "metadata/jwks-of-rsa-has-public-members-only",
        "The key set holds the one RSA key by its public members, `use`, `alg` and `kid`, and nothing else.",
    )
    .spec(&["docs/contract.md 1.14", "docs/contract.md 3.4", "RFC 7518 6.3.1"])
    .needs(&[Need::Keys])
    .key(KeyKind::Rsa)
    .run(run!(async |host| { one_public_key(host).await })),
    case("metadata/a-shared-secret-is-never-published", "Where tokens are signed HS256 the key set is empty.")
        .spec(&["docs/contract.md 1.14", "RFC 8725 3.5"])
        .needs(&[Need::Keys])
        .key(KeyKind::Hs256)
        .run(run!(async |host| {
            let answer = host.get("/jwks.json").send().await?;
            equal("the key set", &answer.answered(200)?, &json!({"keys": []}))
        })),
    case(
        "metadata/keys-and-metadata-may-be-cached",
        "The key set and the metadata are public for five minutes and readable by other origins; their refusals are not stored.",
    )
    .spec(&["docs/contract.md 2.28", "RFC 9111 5.2.2"])
    .run(run!(async |host| {
        for (what, request) in
            [("jwks.json", host.get("/jwks.json")), ("the metadata", host.route("GET", METADATA))]
        {
            let answer = request.send().await?;
            answer.answered(200).row(what)?;
        }
        for request in [host.post("/jwks.json"), host.route("POST", METADATA)] {
            request.send().await?.method_not_allowed(&["GET", "HEAD"])?;
        }
        Ok(())
    })),
    case(
        "metadata/names-the-endpoints",
        "The metadata has the issuer of the tokens and the absolute URLs of the endpoints, and offers nothing that is not there.",
    )
    .spec(&["docs/contract.md 1.15", "RFC 8414 2", "RFC 8414 3.3"])
    // No foreign server has this issuer.
    .config(|| json!({"issuer": "https://auth.test"}))
    .run(run!(async |host| {
        let answer = host.route("GET", METADATA).send().await?;
        let metadata = answer.answered(200)?;
        answer.member(&metadata, "issuer", &"https://auth.test".into())?;
        for (member, path) in [
            ("token_endpoint", "token"),
            ("revocation_endpoint", "revoke"),
            ("jwks_uri", "jwks.json"),
        ] {
            answer.member(&metadata, member, &format!("https://auth.test/auth/{path}").into())?;
        }
        answer.member(&metadata, "grant_types_supported", &json!(["refresh_token"]))?;
        answer.member(&metadata, "response_types_supported", &json!([]))?;
        nothing_else_is_offered(&answer, &metadata)
    })),
    case(
        "metadata/follows-the-prefix",
        "Under another prefix the endpoints move, the metadata stays at the root and names where they are.",
    )
    .spec(&["docs/contract.md 1.1", "docs/contract.md 1.15"])
    .config(|| json!({"prefix": "/api/v1/auth"}))
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        host.me(&tokens.access).await?.answered(200)?;
        let answer = host.route("GET", METADATA).send().await?;
        let metadata = answer.answered(200)?;
        answer.member(&metadata, "token_endpoint", &"https://auth.test/api/v1/auth/token".into())?;
        answer.member(&metadata, "jwks_uri", &"https://auth.test/api/v1/auth/jwks.json".into())?;
        host.get("/jwks.json").send().await?.answered(200)?;
        host.get("/no-such-thing").send().await?.refused(404, "not_found")?;
        host.route("GET", "/auth/me").bearer(&tokens.access).send().await?.is(404)
    })),
    case("metadata/asks-for-no-credential", "What is public is answered to anyone, a bad token or not.")
        .spec(&["docs/contract.md 1.14", "docs/contract.md 1.15", "docs/contract.md 1.16"])
        .run(run!(async |host| {
            for request in [host.get("/jwks.json"), host.route("GET", METADATA), host.get("/openapi.json")] {
                let plain = request.clone().send().await?;
                plain.answered(200)?;
                let with = request.bearer("not-a-token").send().await?;
                with.answered(200)?;
                equal("the body", &with.body, &plain.body)?;
            }
            Ok(())
        })),
    case("metadata/openapi-describes-exactly-the-table", "The OpenAPI description has every endpoint, and no other.")
        .spec(&["docs/contract.md 1.16", "docs/contract.md 1.3"])
        .run(run!(async |host| {
            let answer = host.get("/openapi.json").send().await?;
            let openapi = answer.answered(200)?;
            let version = answer.string(&openapi, "openapi")?;
            equal("an OpenAPI 3.1 version", &version.starts_with("3.1."), &true)?;
            let prefix = host.target().prefix;
            let operations: BTreeSet<(String, String)> = openapi
                .get("paths")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .flat_map(|(path, item)| {
                    let path = nameless(path.strip_prefix(&prefix).unwrap_or(path));
                    let methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
                    let there = methods.into_iter().filter(|method| item.get(method).is_some());
                    there.map(|method| (method.to_owned(), path.clone())).collect::<Vec<_>>()
                })
                .collect();
            let table =
                TABLE.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
            equal("the operations", &operations, &table)
        })),
];

/// A path whose parameters have no names.
fn nameless(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            let kept = !inside || *c == '}';
            inside = if *c == '{' { true } else { inside && *c != '}' };
            kept
        })
        .collect()
}

async fn one_public_key(host: &Host) -> Outcome {
    let key = &host.keys()?.access;
    let members = json!({"use": "sig", "alg": key.alg(), "kid": key.thumbprint()});
    let expected = json!({"keys": [overlay(key.jwk(), members)]});
    let answer = host.get("/jwks.json").send().await?;
    equal("the key set", &answer.answered(200)?, &expected)
}

/// No endpoint of a grant that we do not have, and no URL that is relative.
fn nothing_else_is_offered(answer: &Response, metadata: &Value) -> Result<(), Failure> {
    for (name, value) in metadata.as_object().into_iter().flatten() {
        let known = ["token_endpoint", "revocation_endpoint", "jwks_uri"].contains(&name.as_str());
        if name.ends_with("_endpoint") && !known {
            return Err(answer.not(format!("no {name}")));
        }
        let url = value.as_str().filter(|text| text.contains('/') && !text.starts_with("https://"));
        if let Some(url) = url {
            return Err(answer.not(format!("{name}: an absolute URL, not {url}")));
        }
    }
    Ok(())
}
