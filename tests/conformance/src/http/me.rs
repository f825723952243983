//! `GET /me`: what the token says.

use serde_json::json;

use crate::{
    case::{Case, Need, case, run},
    host::overlay,
    token::Jws,
    verdict::equal,
};

pub(crate) const CASES: &[Case] = &[
    case(
        "me/tells-what-the-token-says",
        "`/me` answers exactly the documented members, each as the access token has it.",
    )
    .spec(&["docs/contract.md 1.9", "docs/contract.md 1.2", "ASVS 15.3.1", "RFC 3339 5.6"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let token = Jws::parse(&tokens.access)?;
        let answer = host.me(&tokens.access).await?;
        let me = answer.answered(200)?;
        answer.members(&me, &["sub", "username", "roles", "session_id", "auth_time", "expires_at"])?;
        answer.member(&me, "sub", &user.id.as_str().into())?;
        answer.member(&me, "username", &user.name.as_str().into())?;
        answer.member(&me, "roles", &json!([]))?;
        answer.member(&me, "session_id", &tokens.session_id.as_str().into())?;
        equal("auth_time", &answer.time(&me, "auth_time")?, &token.number("auth_time")?)?;
        equal("expires_at", &answer.time(&me, "expires_at")?, &token.number("exp")?)
    })),
    case("me/the-cookie-tells-the-same", "`/me` answers a browser by its access cookie.")
        .spec(&["docs/contract.md 1.9", "docs/contract.md 3.25"])
        .run(run!(async |host| {
            let user = host.user().await?;
            let browser = user.browser().await?;
            let answer = browser.get("/me").send().await?;
            let me = answer.answered(200)?;
            answer.member(&me, "sub", &user.id.as_str().into())?;
            // The page may also come from elsewhere: reading is not under the CSRF rule.
            let answer = browser.silent("GET", "/me").send().await?;
            answer.answered(200)?;
            answer.sets_no_cookie()
        })),
    // The token is what was verified. An answer from the store could differ from what a guard decides by.
    case(
        "me/speaks-from-the-token-alone",
        "`/me` tells the roles and the name of the token, not those that the store has by now.",
    )
    .spec(&["docs/contract.md 1.9"])
    .needs(&[Need::Control, Need::Keys])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        user.set(json!({"roles": ["editor"]})).await?;
        let answer = host.me(&tokens.access).await?;
        answer.member(&answer.answered(200)?, "roles", &json!([]))?;

        let refreshed = host.refresh(&tokens.refresh).await?.granted()?;
        let answer = host.me(&refreshed.access).await?;
        answer.member(&answer.answered(200)?, "roles", &json!(["editor"]))?;

        let token = Jws::parse(&refreshed.access)?;
        let claims =
            overlay(token.claims.clone(), json!({"preferred_username": "Åsa \"x\"", "roles": ["a", "b"]}));
        let answer = host.me(&host.sign_access(&token.header, &claims)?).await?;
        let me = answer.answered(200)?;
        answer.member(&me, "username", &"Åsa \"x\"".into())?;
        answer.member(&me, "roles", &json!(["a", "b"]))
    })),
    case(
        "me/auth-time-stays-and-expiry-moves",
        "A refresh moves `expires_at` and leaves `auth_time`, which is when the password was given.",
    )
    .spec(&["docs/contract.md 1.9", "docs/contract.md 3.2", "RFC 9068 2.2.1"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let answer = host.me(&tokens.access).await?;
        let before = answer.answered(200)?;
        let (login, end) = (answer.time(&before, "auth_time")?, answer.time(&before, "expires_at")?);
        host.advance(600).await?;
        let refreshed = host.refresh(&tokens.refresh).await?.granted()?;
        let answer = host.me(&refreshed.access).await?;
        let after = answer.answered(200)?;
        equal("auth_time", &answer.time(&after, "auth_time")?, &login)?;
        // Real seconds go by too, but not many.
        let moved = answer.time(&after, "expires_at")? - end;
        equal("expires_at moved by 600 s or a little more", &(600..630).contains(&moved), &true)
    })),
];
