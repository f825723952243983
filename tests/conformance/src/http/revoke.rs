//! `POST /revoke` (RFC 7009), and how a revocation of any kind reaches access tokens here and on other nodes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    case::{Case, Need, Outcome, case, failed, run},
    client::Response,
    host::{Host, PASSWORD},
    token::{Jws, b64, random_bytes, sign_hs256},
    verdict::Tokens,
};

/// Within which other nodes know of a revocation, on a machine that has much else to do. That it takes no longer than a
/// second is timed by `nodes/a-revocation-is-heard-within-a-second`.
const ELSEWHERE: Duration = Duration::from_secs(20);

pub(crate) const CASES: &[Case] = &[
    case(
        "revoke/refresh-token-ends-the-session",
        "A revoked refresh token is answered 200 with an empty body, and neither token of its session \
         works any more.",
    )
    .spec(&["docs/contract.md 1.8", "docs/contract.md 6.1", "RFC 7009 2.1", "RFC 7009 2.2"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let answer = revoke(host, &tokens.refresh).await?;
        answer.status(200)?;
        answer.sets_no_cookie()?;
        is_over(host, &tokens).await
    })),
    case(
        "revoke/access-token-ends-the-session",
        "A revoked access token ends its session as the refresh token does.",
    )
    .spec(&["docs/contract.md 1.8", "RFC 7009 2.1"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        revoke(host, &tokens.access).await?.status(200)?;
        is_over(host, &tokens).await
    })),
    case("revoke/other-sessions-go-on", "Revoking ends one session: the same subject's others go on.")
        .spec(&["docs/contract.md 1.8"])
        .run(run!(async |host| {
            let user = host.user().await?;
            let (here, there) = (user.login().await?, user.login().await?);
            revoke(host, &here.refresh).await?.status(200)?;
            host.me(&there.access).await?.answered(200)?;
            host.refresh(&there.refresh).await?.granted()?;
            Ok(())
        })),
    case(
        "revoke/unknown-token-succeeds",
        "A token that is garbage, of no session, or revoked already is answered 200 like any other.",
    )
    .spec(&["docs/contract.md 1.8", "RFC 7009 2.2"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let token = Jws::parse(&tokens.refresh)?;
        let claims = token.claims_with("sid", b64(&random_bytes::<16>()?).into());
        let unknown = host.sign_refresh(&token.header, &claims)?;
        for token in ["nonsense", "a.b.c", &unknown, &"x".repeat(9000)] {
            revoke(host, token).await?.status(200)?;
        }
        host.me(&tokens.access).await?.answered(200)?;
        for _ in 0..2 {
            revoke(host, &tokens.refresh).await?.status(200)?;
        }
        is_over(host, &tokens).await
    })),
    case(
        "revoke/forged-token-ends-nothing",
        "A token of a live session that we did not sign is answered 200 and ends nothing.",
    )
    .spec(&["docs/contract.md 4.4", "docs/contract.md 1.8"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let refresh = Jws::parse(&tokens.refresh)?;
        let [header, claims, _] = Jws::parse(&tokens.access)?.segments;
        let header_text = refresh.header.to_string();
        let claims_text = refresh.claims.to_string();
        for forged in [
            sign_hs256(
                b"another secret of at least 32 bytes",
                header_text.as_bytes(),
                claims_text.as_bytes(),
            ),
            format!("{header}.{claims}.{}", b64(&[0; 64])),
            format!("{header}.{claims}."),
        ] {
            revoke(host, &forged).await?.status(200)?;
        }
        host.me(&tokens.access).await?.answered(200)?;
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "revoke/hint-does-not-matter",
        "A token_type_hint that is wrong or unknown changes nothing: the token is found all the same.",
    )
    .spec(&["docs/contract.md 1.8", "RFC 7009 2.1"])
    .run(run!(async |host| {
        let user = host.user().await?;
        for hint in ["access_token", "refresh_token", "unheard_of", ""] {
            let tokens = user.login().await?;
            let form = [("token", tokens.refresh.as_str()), ("token_type_hint", hint)];
            let answer = host.post("/revoke").form(&form).send().await?;
            answer.status(200)?;
            is_over(host, &tokens).await?;
            let tokens = user.login().await?;
            let form = [("token_type_hint", hint), ("token", tokens.access.as_str())];
            let answer = host.post("/revoke").form(&form).send().await?;
            answer.status(200)?;
            is_over(host, &tokens).await?;
        }
        Ok(())
    })),
    case(
        "revoke/token-must-be-there-once",
        "A form without a token, with an empty one, or with a parameter twice is invalid_request and ends \
         nothing.",
    )
    .spec(&[
        "docs/contract.md 1.8",
        "docs/contract.md 2.4",
        "docs/contract.md 8.12",
        "docs/contract.md 8.14",
        "RFC 7009 2.1",
    ])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let token = ("token", tokens.refresh.as_str());
        let hint = ("token_type_hint", "refresh_token");
        for form in [vec![hint], vec![("token", "")], vec![token, token], vec![token, hint, hint]] {
            let answer = host.post("/revoke").form(&form).send().await?;
            answer.refused(400, "invalid_request")?;
        }
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "revoke/only-forms-are-taken",
        "The members as JSON are an unsupported media type: RFC 7009 knows the form alone.",
    )
    .spec(&["docs/contract.md 1.8", "docs/contract.md 8.2", "docs/contract.md 2.20"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let answer = host.post("/revoke").json(json!({"token": tokens.refresh}));
        answer.send().await?.refused(415, "unsupported_media_type")?;
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "revoke/unknown-parameters-are-ignored",
        "A form parameter that we do not know does not keep a token from being revoked.",
    )
    .spec(&["docs/contract.md 8.11"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let form = [("token", tokens.refresh.as_str()), ("because", "of a theft")];
        let answer = host.post("/revoke").form(&form).send().await?;
        answer.status(200)?;
        is_over(host, &tokens).await
    })),
    case(
        "revoke/own-client-id-is-accepted",
        "A client_id that is not ours is refused and ends nothing; our own is accepted.",
    )
    .spec(&["docs/contract.md 8.15", "RFC 7009 2.1"])
    .config(|| json!({"client_id": "the-app"}))
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let send = |client: &str| {
            let form = [("token", tokens.refresh.as_str()), ("client_id", client)];
            host.post("/revoke").form(&form).send()
        };
        send("another").await?.refused(400, "invalid_request")?;
        host.me(&tokens.access).await?.answered(200)?;
        send("the-app").await?.status(200)?;
        is_over(host, &tokens).await
    })),
    // Ends that are nobody's request to end something.
    case(
        "revoke/disabling-ends-access-tokens",
        "Disabling a subject ends its access tokens at once, of all its sessions.",
    )
    .spec(&["docs/contract.md 6.1", "ASVS 7.4.2", "ASVS 8.3.2"])
    .needs(&[Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (one, other) = (user.login().await?, user.login().await?);
        let stranger = host.user().await?.login().await?;
        user.set(json!({"disabled": true})).await?;
        host.me(&one.access).await?.invalid_token()?;
        host.me(&other.access).await?.invalid_token()?;
        host.me(&stranger.access).await?.answered(200)?;
        Ok(())
    })),
    case("revoke/is-final", "A revoked session stays over: a subject enabled again has to log in again.")
        .spec(&["docs/contract.md 6.3"])
        .needs(&[Need::Control])
        .run(run!(async |host| {
            let user = host.user().await?;
            let before = user.login().await?;
            user.set(json!({"disabled": true})).await?;
            user.set(json!({"disabled": false})).await?;
            is_over(host, &before).await?;
            let after = user.login().await?;
            host.me(&after.access).await?.answered(200)?;
            Ok(())
        })),
    // The list of revoked sessions forgets; it must not forget while a token of the session could still verify.
    case(
        "revoke/lasts-as-long-as-the-last-token",
        "An access token of a revoked session is refused until it expires, through the leeway too.",
    )
    .spec(&["docs/contract.md 6.4", "docs/contract.md 6.1", "docs/contract.md 3.24"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        host.advance(600).await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        revoke(host, &second.refresh).await?.status(200)?;
        // The last of these is 910 s after the second token was issued, which says 900, with a leeway of 30.
        for seconds in [1, 299, 590, 20] {
            host.advance(seconds).await?;
            host.me(&second.access).await?.invalid_token()?;
        }
        host.advance(60).await?;
        host.me(&second.access).await?.expired_token()
    })),
    // Other nodes. One store, several processes, nothing else between them.
    case(
        "revoke/other-nodes-hear-of-a-logout",
        "A session logged out on one node is refused by another within a second, and not before its time.",
    )
    .spec(&["docs/contract.md 6.6", "ASVS 7.4.1"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .run(run!(async |host| {
        let sibling = host.sibling().await?;
        let user = host.user().await?;
        let (tokens, other) = (user.login().await?, user.login().await?);
        sibling.me(&tokens.access).await?.answered(200)?;
        let logout = host.post("/logout").bearer(&tokens.access);
        logout.send().await?.status(204)?;
        refused_soon(&sibling, &tokens.access).await?;
        sibling.me(&other.access).await?.answered(200)?;
        Ok(())
    })),
    case(
        "revoke/other-nodes-hear-of-a-password-change",
        "The sessions that a password change ends on one node are refused by another within a second.",
    )
    .spec(&["docs/contract.md 6.6", "docs/contract.md 1.13"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .run(run!(async |host| {
        let sibling = host.sibling().await?;
        let user = host.user().await?;
        let (here, there) = (user.login().await?, user.login().await?);
        sibling.me(&there.access).await?.answered(200)?;
        let body = json!({"current_password": PASSWORD, "new_password": "nine paper boats in the rain"});
        let change = host.post("/password").bearer(&here.access).json(body);
        change.send().await?.status(204)?;
        refused_soon(&sibling, &there.access).await?;
        sibling.me(&here.access).await?.answered(200)?;
        Ok(())
    })),
    case(
        "revoke/other-nodes-hear-of-a-reuse",
        "A session that reuse ends on one node is refused by another within a second.",
    )
    .spec(&["docs/contract.md 6.6", "docs/contract.md 4.17"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .config(|| json!({"rotation": "strict"}))
    .run(run!(async |host| {
        let sibling = host.sibling().await?;
        let first = host.user().await?.login().await?;
        // The token rotates on one node and comes back on the other: they share the row.
        let second = sibling.refresh(&first.refresh).await?.granted()?;
        sibling.me(&second.access).await?.answered(200)?;
        host.refresh(&first.refresh).await?.refused(400, "invalid_grant")?;
        refused_soon(&sibling, &second.access).await
    })),
    case(
        "revoke/other-nodes-hear-of-a-disabled-subject",
        "The sessions of a subject that is disabled on one node are refused by another within a second.",
    )
    .spec(&["docs/contract.md 6.6", "ASVS 7.4.2"])
    .needs(&[Need::Processes, Need::PersistentStore, Need::Control])
    .run(run!(async |host| {
        let sibling = host.sibling().await?;
        let user = host.user().await?;
        let tokens = user.login().await?;
        sibling.me(&tokens.access).await?.answered(200)?;
        user.set(json!({"disabled": true})).await?;
        refused_soon(&sibling, &tokens.access).await
    })),
    // A refresh asks the store, so it needs no feed and no second.
    case(
        "revoke/other-nodes-refuse-to-refresh-at-once",
        "A refresh token revoked on one node is refused by another at once.",
    )
    .spec(&["docs/contract.md 4.8", "docs/contract.md 4.10"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .run(run!(async |host| {
        let sibling = host.sibling().await?;
        let tokens = host.user().await?.login().await?;
        revoke(host, &tokens.refresh).await?.status(200)?;
        sibling.refresh(&tokens.refresh).await?.refused(400, "invalid_grant")
    })),
    case(
        "revoke/starting-node-knows-already",
        "A node that starts after a revocation refuses the session's access tokens from its first request \
         on.",
    )
    .spec(&["docs/contract.md 6.7"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (ended, live) = (user.login().await?, user.login().await?);
        revoke(host, &ended.access).await?.status(200)?;
        let sibling = host.sibling().await?;
        sibling.me(&ended.access).await?.invalid_token()?;
        sibling.me(&live.access).await?.answered(200)?;
        Ok(())
    })),
];

async fn revoke(host: &Host, token: &str) -> Result<Response, crate::case::Failure> {
    host.post("/revoke").form(&[("token", token)]).send().await
}

/// Neither token of the session works.
async fn is_over(host: &Host, tokens: &Tokens) -> Outcome {
    host.me(&tokens.access).await?.invalid_token()?;
    host.refresh(&tokens.refresh).await?.refused(400, "invalid_grant")
}

/// A node refuses an access token that another one has revoked just now. Called right after the other's answer; a
/// question asked within the time may be answered either way, the first one after it may not.
pub(super) async fn refused_soon(node: &Host, access: &str) -> Outcome {
    let revoked = Instant::now();
    loop {
        let asked = revoked.elapsed();
        let answer = node.me(access).await?;
        if answer.status != 200 {
            return answer.invalid_token();
        }
        if asked > ELSEWHERE {
            return Err(failed(
                format!("401 invalid_token within {ELSEWHERE:?} of the revocation"),
                format!("200 after {asked:?}"),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
