//! Forms: `/token` and `/revoke`.

use serde_json::json;

use crate::{
    case::{Case, Need, Row, case, run},
    token::Jws,
    verdict::{Tokens, equal},
};

pub(crate) const CASES: &[Case] = &[
    // RFC 6749 s3.2: unrecognised parameters are ignored, or no extension could ever be tried.
    case("forms/unknown-parameters-are-ignored", "A parameter that the endpoint does not know changes nothing.")
        .spec(&["docs/contract.md 8.11", "RFC 6749 3.2", "RFC 7009 2.1"])
        .run(run!(async |host| {
            let tokens = host.user().await?.login().await?;
            let form = [
                ("resource", "https://api.test"),
                ("grant_type", "refresh_token"),
                ("x", ""),
                ("refresh_token", &tokens.refresh),
                ("_method", "DELETE"),
            ];
            let next = host.post("/token").form(&form).send().await?.granted()?;
            let form = [("client_secret", "x"), ("token", next.refresh.as_str()), ("y", "é")];
            host.post("/revoke").form(&form).send().await?.status(200)?;
            host.me(&next.access).await?.invalid_token()
        })),
    case(
        "forms/a-repeated-parameter-is-refused",
        "A parameter that stands twice, alike or not, known or not, is 400 `invalid_request`, and nothing happens.",
    )
    .spec(&["docs/contract.md 8.12", "docs/contract.md 2.4", "RFC 6749 3.2", "ASVS 15.3.7"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let refresh = &tokens.refresh;
        let good = format!("grant_type=refresh_token&refresh_token={refresh}");
        for more in [
            format!("refresh_token={refresh}"),
            "refresh_token=x".to_owned(),
            "refresh_token=".to_owned(),
            "refresh_token".to_owned(),
            "grant_type=refresh_token".to_owned(),
            "grant_type=password".to_owned(),
            "grant%5Ftype=refresh_token".to_owned(),
            "refresh%5ftoken=x".to_owned(),
            "%72efresh_token=x".to_owned(),
            "scope=read&scope=read".to_owned(),
            "client_id=gatekey-tests&client_id=gatekey-tests".to_owned(),
            "x=1&x=1".to_owned(),
            "x=1&%78=2".to_owned(),
            "x+y=1&x%20y=1".to_owned(),
        ] {
            for text in [format!("{good}&{more}"), format!("{more}&{good}")] {
                let answer = host.post("/token").form_text(&text).send().await?;
                answer.refused(400, "invalid_request").row(format!("{more} beside the good ones"))?;
            }
        }
        for text in [
            format!("token={refresh}&token={refresh}"),
            format!("token={refresh}&token=x"),
            format!("token={refresh}&t%6fken=x"),
            format!("token={refresh}&token_type_hint=x&token_type_hint=x"),
            format!("token={refresh}&x=1&x=2"),
        ] {
            let answer = host.post("/revoke").form_text(&text).send().await?;
            answer.refused(400, "invalid_request").row(format!("{text:.30}… at /revoke"))?;
        }
        host.me(&tokens.access).await?.answered(200)?;
        host.post("/token").form_text(&good).send().await?.granted().map(|_| ())
    })),
    case(
        "forms/names-and-values-are-decoded-once",
        "Percent-encoding is read in names and values, `+` is a space, and nothing is decoded twice.",
    )
    .spec(&["docs/contract.md 8.13", "ASVS 1.1.1"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        for text in [
            |refresh: &str| format!("grant%5Ftype=refresh%5ftoken&refresh_token={refresh}"),
            |refresh: &str| format!("&grant_type=refresh_token&&refresh_token={refresh}&"),
            |refresh: &str| format!("refresh_token={refresh}&grant_type=refresh_token"),
        ] {
            let text = text(&user.login().await?.refresh);
            host.post("/token").form_text(&text).send().await?.granted().row(&text)?;
        }
        let refresh = user.login().await?.refresh;
        let dots = refresh.replace('.', "%2E");
        for wrong in [
            format!("grant%255Ftype=refresh_token&refresh_token={refresh}"),
            format!("grant_type=refresh%255Ftoken&refresh_token={refresh}"),
            format!("grant_type=refresh+token&refresh_token={refresh}"),
            format!("grant_type=Refresh_Token&refresh_token={refresh}"),
            format!("Grant_Type=refresh_token&refresh_token={refresh}"),
        ] {
            let answer = host.post("/token").form_text(&wrong).send().await?;
            answer.is(400).row(&wrong)?;
        }
        let twice = format!("grant_type=refresh_token&refresh_token={}", encode(&dots));
        host.post("/token").form_text(&twice).send().await?.refused(400, "invalid_grant")?;
        let once = format!("grant_type=refresh_token&refresh_token={}", encode(&refresh));
        host.post("/token").form_text(&once).send().await?.granted().map(|_| ())
    })),
    case("forms/a-plus-is-a-space", "`+` and `%20` are a space, `%2B` is a plus.")
        .spec(&["docs/contract.md 8.13", "docs/contract.md 8.16"])
        .needs(&[Need::Control])
        .run(run!(async |host| {
            let user = host.user().await?;
            user.set(json!({"scope": "read write"})).await?;
            for (scope, granted) in [("read+write", true), ("read%20write", true), ("read%2Bwrite", false)] {
                let refresh = user.login().await?.refresh;
                let text = format!("grant_type=refresh_token&refresh_token={refresh}&scope={scope}");
                let answer = host.post("/token").form_text(&text).send().await?;
                if granted {
                    let token = Jws::parse(&answer.granted().row(scope)?.access)?;
                    equal("scope", &sorted(token.string("scope")?), &vec!["read", "write"]).row(scope)?;
                } else {
                    answer.refused(400, "invalid_scope").row(scope)?;
                }
            }
            Ok(())
        })),
    case("forms/what-is-no-utf-8-or-no-encoding-is-malformed", "A form that cannot be decoded to UTF-8 is 400 `invalid_request`.")
        .spec(&["docs/contract.md 8.13", "docs/contract.md 2.4"])
        .run(run!(async |host| {
            let tokens = host.user().await?.login().await?;
            let good = format!("grant_type=refresh_token&refresh_token={}", tokens.refresh);
            for more in [
                "x=%ff", "x=%c3", "%80=x", "x=%ED%A0%80", "x=%C0%80", "x=%", "x=%4", "x=%zz", "x=%u0041", "%=x",
            ] {
                let answer = host.post("/token").form_text(&format!("{good}&{more}")).send().await?;
                answer.refused(400, "invalid_request").row(format!("{more} beside the good ones"))?;
                let form = format!("token={}&{more}", tokens.refresh);
                let answer = host.post("/revoke").form_text(&form).send().await?;
                answer.refused(400, "invalid_request").row(format!("{more} at /revoke"))?;
            }
            let raw = [good.as_bytes(), b"&x=\xff"].concat();
            let request = host.post("/token").header("Content-Type", "application/x-www-form-urlencoded");
            request.raw_body(&raw).send().await?.refused(400, "invalid_request").row("a raw byte ff")?;
            host.me(&tokens.access).await?.answered(200)?;
            host.post("/token").form_text(&good).send().await?.granted().map(|_| ())
        })),
    case("forms/an-empty-value-is-absence", "A parameter without a value counts as absent.")
        .spec(&["docs/contract.md 8.14", "docs/contract.md 8.10", "RFC 6749 3.2"])
        .run(run!(async |host| {
            let refresh = host.user().await?.login().await?.refresh;
            for text in [
                format!("grant_type=&refresh_token={refresh}"),
                format!("grant_type&refresh_token={refresh}"),
                "grant_type=refresh_token&refresh_token=".to_owned(),
                "grant_type=refresh_token".to_owned(),
                format!("refresh_token={refresh}"),
                format!("={refresh}&grant_type=refresh_token"),
            ] {
                let answer = host.post("/token").form_text(&text).send().await?;
                answer.refused(400, "invalid_request").row(&text)?;
            }
            for text in ["token=", "token", "token_type_hint=refresh_token", ""] {
                let answer = host.post("/revoke").form_text(text).send().await?;
                answer.refused(400, "invalid_request").row(format!("{text:?} at /revoke"))?;
            }
            let text = format!("grant_type=refresh_token&refresh_token={refresh}&scope=&client_id=&x=");
            host.post("/token").form_text(&text).send().await?.granted().map(|_| ())
        })),
    // A token that was issued to another client must not be taken over by this one (RFC 6749 s6).
    case(
        "forms/client-id-has-to-be-ours",
        "A `client_id` that is not ours is refused with 400 and has no effect; ours is accepted.",
    )
    .spec(&["docs/contract.md 8.15", "RFC 6749 3.2.1", "RFC 6749 6"])
    // No foreign server has this client_id.
    .config(|| json!({"client_id": "gatekey-tests"}))
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        for client in ["other", "gatekey-test", "gatekey-testsx", "Gatekey-Tests", "gatekey-tests "] {
            let form = refresh_with(&tokens, "client_id", client);
            let answer = host.post("/token").form(&form).send().await?;
            answer.is(400).row(client)?;
            answer.standard()?;
            let body = json!({"grant_type": "refresh_token", "refresh_token": tokens.refresh, "client_id": client});
            host.post("/token").json(body).send().await?.is(400).row(client)?;
        }
        let form = refresh_with(&tokens, "client_id", "gatekey-tests");
        host.post("/token").form(&form).send().await?.granted().map(|_| ())
    })),
    case("forms/a-form-in-the-query-is-ignored", "Parameters in the URL are not those of the form.")
        .spec(&["docs/contract.md 1.26", "RFC 6749 2.3.1", "ASVS 14.2.1"])
        .run(run!(async |host| {
            let tokens = host.user().await?.login().await?;
            let query = format!("grant_type=refresh_token&refresh_token={}", tokens.refresh);
            let answer = host.post(&format!("/token?{query}")).form_text("x=1").send().await?;
            answer.refused(400, "invalid_request")?;
            let answer = host.post(&format!("/revoke?token={}", tokens.refresh)).form_text("x=1").send().await?;
            answer.refused(400, "invalid_request")?;
            // A second one in the URL is no second source either.
            let beside = host.post("/token?refresh_token=x&grant_type=password").form_text(&query);
            beside.send().await?.granted().map(|_| ())
        })),
];

fn refresh_with<'a>(tokens: &'a Tokens, name: &'a str, value: &'a str) -> [(&'a str, &'a str); 3] {
    [("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh), (name, value)]
}

fn sorted(scope: &str) -> Vec<&str> {
    let mut scopes: Vec<&str> = scope.split(' ').collect();
    scopes.sort_unstable();
    scopes
}
