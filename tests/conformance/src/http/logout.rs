//! `POST /logout`: every credential that may end a session.

use serde_json::json;

use crate::{
    case::{Case, Need, Outcome, case, run},
    cookies::{ACCESS, REFRESH},
    host::Host,
    token::{Jws, b64, random_bytes, sign_hs256},
    verdict::Tokens,
};

pub(crate) const CASES: &[Case] = &[
    case(
        "logout/access-token-ends-the-session",
        "A logout with the access token is answered 204, and neither token of the session works any more.",
    )
    .spec(&["docs/contract.md 1.7", "docs/contract.md 6.1", "docs/contract.md 6.5", "ASVS 7.4.1"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let answer = host.post("/logout").bearer(&tokens.access).send().await?;
        answer.status(204)?;
        answer.sets_no_cookie()?;
        is_over(host, &tokens).await
    })),
    case(
        "logout/refresh-token-ends-the-session",
        "A logout with the refresh token in the body is answered 204, and neither token works any more.",
    )
    .spec(&["docs/contract.md 1.7", "docs/contract.md 6.1"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let answer = host.post("/logout").json(json!({"refresh_token": tokens.refresh}));
        let answer = answer.send().await?;
        answer.status(204)?;
        answer.sets_no_cookie()?;
        is_over(host, &tokens).await
    })),
    case(
        "logout/either-cookie-is-enough",
        "A logout with the access cookie alone or the refresh cookie alone ends the session and clears \
         both cookies.",
    )
    .spec(&["docs/contract.md 1.7", "docs/contract.md 4.33", "ASVS 14.3.1"])
    .run(run!(async |host| {
        for missing in [ACCESS, REFRESH] {
            let browser = host.user().await?.browser().await?;
            let tokens = (browser.access()?, browser.refresh_token()?);
            browser.jar().remove(missing);
            let answer = browser.post("/logout").send().await?;
            answer.status(204)?;
            answer.clears_cookies()?;
            host.me(&tokens.0).await?.invalid_token()?;
            host.refresh(&tokens.1).await?.refused(400, "invalid_grant")?;
        }
        Ok(())
    })),
    case(
        "logout/both-tokens-of-one-session-end-it",
        "A logout with the access token in the header and the refresh token of the same session in the \
         body is answered 204.",
    )
    .spec(&["docs/contract.md 1.7", "docs/contract.md 1.24"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let request = host.post("/logout").bearer(&tokens.access);
        let request = request.json(json!({"refresh_token": tokens.refresh}));
        request.send().await?.status(204)?;
        is_over(host, &tokens).await
    })),
    case(
        "logout/again-is-the-same",
        "A logout repeated with any credential of the session, once it is over, is answered 204 again.",
    )
    .spec(&["docs/contract.md 1.7", "docs/contract.md 1.23"])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        for _ in 0..2 {
            let by_access = host.post("/logout").bearer(&second.access);
            by_access.send().await?.status(204)?;
            for token in [&first.refresh, &second.refresh] {
                let by_refresh = host.post("/logout").json(json!({"refresh_token": token}));
                by_refresh.send().await?.status(204)?;
            }
        }
        is_over(host, &second).await
    })),
    // An honest client logs out with the token it holds, and a refresh of its own may have overtaken it.
    case(
        "logout/used-refresh-token-ends-the-session",
        "A logout with the parent of the live token ends the session too, and is no reuse.",
    )
    .spec(&["docs/contract.md 1.7"])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let answer = host.post("/logout").json(json!({"refresh_token": first.refresh}));
        answer.send().await?.status(204)?;
        is_over(host, &second).await
    })),
    case("logout/no-credential-is-unauthenticated", "A logout without any credential is unauthenticated.")
        .spec(&["docs/contract.md 1.21", "docs/contract.md 2.8"])
        .run(run!(async |host| {
            let bare = host.post("/logout").send().await?;
            bare.refused(401, "unauthenticated")?;
            let basic = host.post("/logout").header("Authorization", "Basic YTpi");
            basic.send().await?.refused(401, "unauthenticated")
        })),
    case(
        "logout/body-names-the-token-or-is-empty",
        "A body without refresh_token is invalid_request, also beside an access token, and ends nothing.",
    )
    .spec(&["docs/contract.md 1.7", "docs/contract.md 8.10"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let bare = host.post("/logout").json(json!({})).send().await?;
        bare.refused(400, "invalid_request")?;
        let beside = host.post("/logout").bearer(&tokens.access).json(json!({}));
        beside.send().await?.refused(400, "invalid_request")?;
        host.me(&tokens.access).await?.answered(200)?;
        Ok(())
    })),
    case(
        "logout/bad-access-token-alone-is-refused",
        "A logout with an access token that is not ours, and nothing else, is invalid_token.",
    )
    .spec(&["docs/contract.md 1.22", "docs/contract.md 2.9"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let token = Jws::parse(&tokens.access)?;
        let [header, claims, _] = &token.segments;
        for bad in [format!("{header}.{claims}.{}", b64(&[0; 64])), "nonsense".to_owned()] {
            let answer = host.post("/logout").bearer(&bad).send().await?;
            answer.invalid_token()?;
        }
        host.me(&tokens.access).await?.answered(200)?;
        Ok(())
    })),
    case(
        "logout/expired-access-token-alone-is-refused",
        "A logout with an expired access token and nothing else is invalid_token, and the session goes on.",
    )
    .spec(&["docs/contract.md 1.22", "docs/contract.md 2.10"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        host.advance(1000).await?;
        let answer = host.post("/logout").bearer(&tokens.access).send().await?;
        answer.expired_token()?;
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    // A client that comes back after an hour must be able to log out with what it holds.
    case(
        "logout/expired-access-token-beside-a-live-refresh-token",
        "A logout whose access token has expired and whose refresh token has not is answered 204 and ends \
         the session.",
    )
    .spec(&["docs/contract.md 1.22", "docs/contract.md 1.7"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let browser = user.browser().await?;
        let by_cookie = browser.refresh_token()?;
        host.advance(1000).await?;
        let request = host.post("/logout").bearer(&tokens.access);
        let request = request.json(json!({"refresh_token": tokens.refresh}));
        request.send().await?.status(204)?;
        let answer = browser.post("/logout").send().await?;
        answer.status(204)?;
        answer.clears_cookies()?;
        for token in [&tokens.refresh, &by_cookie] {
            host.refresh(token).await?.refused(400, "invalid_grant")?;
        }
        Ok(())
    })),
    case(
        "logout/unknown-or-dead-refresh-token-is-as-good",
        "A logout with a refresh token that is garbage, of no session, or expired is answered 204.",
    )
    .spec(&["docs/contract.md 1.23"])
    .needs(&[Need::Clock, Need::Keys])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let token = Jws::parse(&tokens.refresh)?;
        let claims = token.claims_with("sid", b64(&random_bytes::<16>()?).into());
        let unknown = host.sign_refresh(&token.header, &claims)?;
        let logout = |token: &str| {
            let body = json!({"refresh_token": token});
            host.post("/logout").json(body).send()
        };
        for token in ["nonsense", "a.b.c", &unknown] {
            logout(token).await?.status(204)?;
        }
        host.me(&tokens.access).await?.answered(200)?;
        host.advance(8 * 24 * 3600).await?;
        logout(&tokens.refresh).await?.status(204)
    })),
    case(
        "logout/forged-refresh-token-ends-nothing",
        "A logout with a refresh token of a live session that we did not sign is answered 204 and ends \
         nothing.",
    )
    .spec(&["docs/contract.md 4.4", "docs/contract.md 1.23"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let token = Jws::parse(&tokens.refresh)?;
        let forged = sign_hs256(
            b"another secret of at least 32 bytes",
            token.header.to_string().as_bytes(),
            token.claims.to_string().as_bytes(),
        );
        let answer = host.post("/logout").json(json!({"refresh_token": forged}));
        answer.send().await?.status(204)?;
        host.me(&tokens.access).await?.answered(200)?;
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "logout/tokens-of-two-sessions-are-refused",
        "A logout with an access token of one session and a refresh token of another is invalid_request \
         and ends neither.",
    )
    .spec(&["docs/contract.md 1.24", "docs/contract.md 2.4"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (one, other) = (user.login().await?, user.login().await?);
        let request = host.post("/logout").bearer(&one.access);
        let request = request.json(json!({"refresh_token": other.refresh}));
        request.send().await?.refused(400, "invalid_request")?;
        let mixed = host.browser();
        mixed.jar().set(ACCESS, &one.access);
        mixed.jar().set(REFRESH, &other.refresh);
        let answer = mixed.post("/logout").send().await?;
        answer.refused(400, "invalid_request")?;
        answer.sets_no_cookie()?;
        for tokens in [&one, &other] {
            host.me(&tokens.access).await?.answered(200)?;
            host.refresh(&tokens.refresh).await?.granted()?;
        }
        Ok(())
    })),
    case(
        "logout/other-sessions-go-on",
        "A logout ends one session: the same subject's others and other subjects' go on.",
    )
    .spec(&["docs/contract.md 1.7"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (here, there) = (user.login().await?, user.login().await?);
        let stranger = host.user().await?.login().await?;
        let answer = host.post("/logout").bearer(&here.access).send().await?;
        answer.status(204)?;
        for tokens in [&there, &stranger] {
            host.me(&tokens.access).await?.answered(200)?;
            host.refresh(&tokens.refresh).await?.granted()?;
        }
        Ok(())
    })),
    case(
        "logout/all-access-tokens-of-the-session-die",
        "A logout ends every access token the session was ever given, not only the one it came with.",
    )
    .spec(&["docs/contract.md 6.1", "ASVS 7.4.1"])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        let answer = host.post("/logout").bearer(&second.access).send().await?;
        answer.status(204)?;
        for tokens in [&first, &second, &third] {
            host.me(&tokens.access).await?.invalid_token()?;
        }
        Ok(())
    })),
];

/// Neither token of the session works.
async fn is_over(host: &Host, tokens: &Tokens) -> Outcome {
    host.me(&tokens.access).await?.invalid_token()?;
    host.refresh(&tokens.refresh).await?.refused(400, "invalid_grant")
}
