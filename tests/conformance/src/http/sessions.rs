//! `GET /sessions`, `DELETE /sessions/{id}` and `DELETE /sessions`: what a subject sees of its own, and can end.

use serde_json::{Value, json};

use crate::{
    case::{Case, Failure, Need, Outcome, Reach, case, failed, run},
    client::Response,
    cookies::{ACCESS, REFRESH},
    host::Host,
    token::{b64, random_bytes},
    verdict::{Tokens, equal, identical},
};

const DAY: u64 = 24 * 60 * 60;

pub(crate) const CASES: &[Case] = &[
    // The list.
    case(
        "sessions/list-has-the-contracts-members-newest-first",
        "The list holds every session of the subject, the newest first, each with exactly the seven members.",
    )
    .spec(&[
        "docs/contract.md 1.10",
        "docs/contract.md 1.20",
        "docs/contract.md 1.2",
        "ASVS 7.5.2",
        "ASVS 15.3.1",
    ])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let user = host.user().await?;
        let mut opened = Vec::new();
        for _ in 0..3 {
            opened.push(user.login().await?);
            host.advance(2).await?;
        }
        let current = opened.pop().ok_or_else(|| failed("a session", "none"))?;
        let answer = get(host, &current.access).await?;
        let sessions = list(&answer)?;
        let members = ["created_at", "current", "expires_at", "id", "ip", "last_used_at", "user_agent"];
        for session in &sessions {
            answer.members(session, &members)?;
            for time in ["created_at", "last_used_at", "expires_at"] {
                answer.time(session, time)?;
            }
        }
        let ids: Vec<_> = sessions.iter().map(|session| session.get("id").and_then(Value::as_str)).collect();
        let newest_first = [&current, &opened[1], &opened[0]].map(|tokens| Some(tokens.session_id.as_str()));
        equal("the ids", &ids, &newest_first.to_vec())
    })),
    case(
        "sessions/list-marks-the-current-one",
        "Of all sessions in the list exactly the one that asks is current.",
    )
    .spec(&["docs/contract.md 1.20"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let opened = [user.login().await?, user.login().await?, user.login().await?];
        for asking in &opened {
            let answer = get(host, &asking.access).await?;
            let current: Vec<Value> = list(&answer)?
                .into_iter()
                .filter(|session| session.get("current") == Some(&json!(true)))
                .filter_map(|session| session.get("id").cloned())
                .collect();
            equal("the current ones", &current, &vec![json!(asking.session_id)])?;
        }
        Ok(())
    })),
    case("sessions/list-is-the-subjects-own", "The list holds no session of anybody else.")
        .spec(&["docs/contract.md 1.10", "ASVS 8.2.2"])
        .run(run!(async |host| {
            let mine = host.user().await?.login().await?;
            let theirs = host.user().await?.login().await?;
            for tokens in [&mine, &theirs] {
                equal("the ids", &ids(host, &tokens.access).await?, &vec![tokens.session_id.clone()])?;
            }
            Ok(())
        })),
    case(
        "sessions/list-leaves-out-what-is-over",
        "A session that was logged out or has expired is not in the list.",
    )
    .spec(&["docs/contract.md 1.10"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let user = host.user().await?;
        let mut kept = user.login().await?;
        let (ended, _idle) = (user.login().await?, user.login().await?);
        equal("sessions", &ids(host, &kept.access).await?.len(), &3)?;
        host.post("/logout").bearer(&ended.access).send().await?.status(204)?;
        equal("sessions", &ids(host, &kept.access).await?.len(), &2)?;
        host.advance(6 * DAY).await?;
        kept = host.refresh(&kept.refresh).await?.granted()?;
        host.advance(2 * DAY).await?;
        kept = host.refresh(&kept.refresh).await?.granted()?;
        equal("sessions", &ids(host, &kept.access).await?, &vec![kept.session_id.clone()])
    })),
    case(
        "sessions/show-the-latest-use",
        "Address, user agent and time of last use are those of the latest refresh; the time of creation \
         stays.",
    )
    .spec(&["docs/contract.md 1.20"])
    .needs(&[Need::Clock, Need::Addresses])
    .run(run!(async |host| {
        let user = host.user().await?;
        let login = host.post("/login").header("User-Agent", "one/1.0");
        let login = login.json(json!({"username": user.name, "password": user.password}));
        let first = login.send().await?.granted()?;
        let (answer, before) = only(host, &first.access).await?;
        answer.member(&before, "ip", &host.address().to_string().into())?;
        answer.member(&before, "user_agent", &"one/1.0".into())?;
        host.advance(100).await?;
        let elsewhere = host.fresh_address();
        let refresh = host.post("/token").from(elsewhere).header("User-Agent", "two/2.0 (beta)");
        let form = [("grant_type", "refresh_token"), ("refresh_token", first.refresh.as_str())];
        let second = refresh.form(&form).send().await?.granted()?;
        let (answer, after) = only(host, &second.access).await?;
        answer.member(&after, "ip", &elsewhere.to_string().into())?;
        answer.member(&after, "user_agent", &"two/2.0 (beta)".into())?;
        equal("created_at", &after.get("created_at"), &before.get("created_at"))?;
        if answer.time(&after, "last_used_at")? < answer.time(&before, "last_used_at")? + 100 {
            return Err(answer.not("last_used_at 100 s later than before"));
        }
        Ok(())
    })),
    case("sessions/unknown-agent-is-null", "A session opened without a User-Agent field shows null.")
        .spec(&["docs/contract.md 1.20"])
        .run(run!(async |host| {
            let tokens = host.user().await?.login().await?;
            let (answer, session) = only(host, &tokens.access).await?;
            answer.member(&session, "user_agent", &Value::Null)
        })),
    case(
        "sessions/end-is-the-earlier-of-two",
        "expires_at is the idle end while that comes first, and the absolute end after that.",
    )
    .spec(&["docs/contract.md 1.20", "docs/contract.md 4.26"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let mut tokens = host.user().await?.login().await?;
        let lifetime = async |tokens: &Tokens| {
            let (answer, session) = only(host, &tokens.access).await?;
            Ok::<_, Failure>(answer.time(&session, "expires_at")? - answer.time(&session, "created_at")?)
        };
        equal("seconds after the login", &lifetime(&tokens).await?, &(7 * DAY as i64))?;
        for _ in 0..5 {
            host.advance(5 * DAY).await?;
            tokens = host.refresh(&tokens.refresh).await?.granted()?;
        }
        equal("seconds after the login", &lifetime(&tokens).await?, &(30 * DAY as i64))
    })),
    case(
        "sessions/need-an-access-token",
        "Without an access token nothing is listed or ended; a refresh cookie is not one.",
    )
    .spec(&["docs/contract.md 1.10", "docs/contract.md 1.12", "docs/contract.md 3.32"])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let tokens = (browser.access()?, browser.refresh_token()?);
        let id = ids(host, &tokens.0).await?.concat();
        let one = format!("/sessions/{id}");
        for (method, path) in [("GET", "/sessions"), ("DELETE", "/sessions"), ("DELETE", one.as_str())] {
            let bare = host.request(method, path).send().await?;
            bare.refused(401, "unauthenticated")?;
            let refresh = host.request(method, path).cookie(REFRESH, &tokens.1);
            let answer = refresh.same_origin().send().await?;
            answer.refused(401, "unauthenticated")?;
        }
        browser.refresh().await?.cookies_granted()?;
        Ok(())
    })),
    // Ending one.
    case(
        "sessions/delete-ends-another-device",
        "A session deleted by its subject from another one is over at once; the one that asked goes on.",
    )
    .spec(&[
        "docs/contract.md 1.11",
        "docs/contract.md 6.1",
        "docs/contract.md 6.5",
        "ASVS 7.5.2",
        "ASVS 10.4.9",
    ])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (here, there) = (user.login().await?, user.login().await?);
        let answer = delete(host, &here.access, &there.session_id).await?;
        answer.status(204)?;
        is_over(host, &there).await?;
        host.me(&here.access).await?.answered(200)?;
        host.refresh(&here.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "sessions/delete-of-ones-own-clears-the-cookies",
        "A browser that deletes its own session has both cookies cleared; deleting another one leaves them.",
    )
    .spec(&["docs/contract.md 1.11", "docs/contract.md 4.33"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let other = user.login().await?;
        let browser = user.browser().await?;
        let own = current(host, &browser.access()?).await?;
        let answer = browser.delete(&format!("/sessions/{}", other.session_id)).send().await?;
        answer.status(204)?;
        answer.sets_no_cookie()?;
        let before = browser.copy();
        let answer = browser.delete(&format!("/sessions/{own}")).send().await?;
        answer.status(204)?;
        answer.clears_cookies()?;
        before.get("/me").send().await?.invalid_token()
    })),
    // Another answer would tell which ids exist.
    case(
        "sessions/delete-of-a-foreign-one-is-not-found",
        "Deleting the session of somebody else is answered as an id that does not exist, to the byte, and \
         ends nothing.",
    )
    .spec(&["docs/contract.md 1.11", "docs/contract.md 2.15", "ASVS 8.2.2"])
    .run(run!(async |host| {
        let mine = host.user().await?.login().await?;
        let theirs = host.user().await?.login().await?;
        let unknown = delete(host, &mine.access, &b64(&random_bytes::<16>()?)).await?;
        unknown.refused(404, "not_found")?;
        let foreign = delete(host, &mine.access, &theirs.session_id).await?;
        identical(&unknown, &foreign)?;
        host.me(&theirs.access).await?.answered(200)?;
        host.refresh(&theirs.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "sessions/delete-again-is-not-found",
        "A session that has ended already cannot be deleted again: it is not found, as if it had never been.",
    )
    .spec(&["docs/contract.md 1.11"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (here, there) = (user.login().await?, user.login().await?);
        let unknown = delete(host, &here.access, &b64(&random_bytes::<16>()?)).await?;
        delete(host, &here.access, &there.session_id).await?.status(204)?;
        let again = delete(host, &here.access, &there.session_id).await?;
        again.refused(404, "not_found")?;
        identical(&unknown, &again)
    })),
    case(
        "sessions/hostile-ids-are-not-found",
        "Ids that look like SQL, patterns, paths or nothing at all are not found, and no session ends.",
    )
    .spec(&["docs/contract.md 1.11", "docs/contract.md 1.25", "ASVS 1.2.4"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let long = "a".repeat(3000);
        for id in ["", "'%20OR%20'1'='1", "*", "%25", "%00", "..", "%2e%2e", "null", "a/b", &long] {
            delete(host, &tokens.access, id).await?.refused(404, "not_found")?;
        }
        host.me(&tokens.access).await?.answered(200)?;
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    // Ending all.
    case(
        "sessions/delete-all-ends-every-one",
        "DELETE /sessions ends all sessions of the subject, the one that asks too, and nobody else's.",
    )
    .spec(&["docs/contract.md 1.12", "docs/contract.md 6.1", "ASVS 7.4.5"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (here, there) = (user.login().await?, user.login().await?);
        let stranger = host.user().await?.login().await?;
        let answer = host.delete("/sessions").bearer(&here.access).send().await?;
        answer.status(204)?;
        answer.sets_no_cookie()?;
        is_over(host, &here).await?;
        is_over(host, &there).await?;
        host.me(&stranger.access).await?.answered(200)?;
        let anew = user.login().await?;
        host.me(&anew.access).await?.answered(200)?;
        Ok(())
    })),
    case(
        "sessions/delete-all-clears-the-cookies",
        "A browser that ends all sessions has its cookies cleared; one that keeps the current has not.",
    )
    .spec(&["docs/contract.md 1.12", "docs/contract.md 4.33"])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let answer = browser.delete("/sessions?keep_current=true").send().await?;
        answer.status(204)?;
        answer.sets_no_cookie()?;
        browser.get("/me").send().await?.answered(200)?;
        let answer = browser.delete("/sessions").send().await?;
        answer.status(204)?;
        answer.clears_cookies()
    })),
    // A bearer token beside a refresh cookie is one credential; the cookie may be of somebody else who uses this browser.
    case(
        "sessions/delete-all-leaves-the-cookies-of-another-subject",
        "Ending all sessions of a bearer token's subject clears no cookie of a session that goes on.",
    )
    .spec(&["docs/contract.md 4.33", "docs/contract.md 3.32"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let browser = host.user().await?.browser().await?;
        browser.jar().remove(ACCESS);
        let answer = browser.delete("/sessions").bearer(&tokens.access).send().await?;
        answer.status(204)?;
        answer.sets_no_cookie()?;
        is_over(host, &tokens).await?;
        browser.refresh().await?.cookies_granted()?;
        Ok(())
    })),
    case(
        "sessions/keep-current-spares-the-one-that-asks",
        "With keep_current=true all sessions but the current one end; with false that ends too.",
    )
    .spec(&["docs/contract.md 1.12", "ASVS 7.4.3"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (here, there) = (user.login().await?, user.login().await?);
        let keep = host.delete("/sessions?keep_current=true").bearer(&here.access);
        keep.send().await?.status(204)?;
        is_over(host, &there).await?;
        host.me(&here.access).await?.answered(200)?;
        let here = host.refresh(&here.refresh).await?.granted()?;
        let all = host.delete("/sessions?keep_current=false").bearer(&here.access);
        all.send().await?.status(204)?;
        is_over(host, &here).await
    })),
    // Someone who meant to keep a session, or to end it, and mistyped must not be taken at the other word.
    case(
        "sessions/keep-current-takes-two-words",
        "Any other value of keep_current, none, or the parameter twice is invalid_request, and no session \
         ends.",
    )
    .spec(&["docs/contract.md 1.12", "docs/contract.md 2.4"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (here, there) = (user.login().await?, user.login().await?);
        for query in [
            "keep_current=1",
            "keep_current=TRUE",
            "keep_current=yes",
            "keep_current=",
            "keep_current",
            "keep_current=true&keep_current=true",
            "keep_current=true&keep_current=false",
        ] {
            let answer = host.delete(&format!("/sessions?{query}")).bearer(&here.access);
            answer.send().await?.refused(400, "invalid_request")?;
        }
        for tokens in [&here, &there] {
            host.me(&tokens.access).await?.answered(200)?;
        }
        Ok(())
    })),
    // How many.
    case(
        "sessions/hundred-and-first-ends-the-least-recently-used",
        "The login that would open a 101st session ends the one that was used least recently, and no other.",
    )
    .spec(&["docs/contract.md 6.2", "ASVS 7.1.2"])
    .needs(&[Need::Clock])
    .reach(Reach::Axes)
    .run(run!(async |host| {
        let user = host.user().await?;
        let first = user.login().await?;
        host.advance(2).await?;
        let second = user.login().await?;
        host.advance(2).await?;
        // The oldest is not the least recently used.
        let first = host.refresh(&first.refresh).await?.granted()?;
        for _ in 2..100 {
            user.login().await?;
        }
        equal("sessions", &ids(host, &first.access).await?.len(), &100)?;
        host.me(&second.access).await?.answered(200)?;
        let last = user.login().await?;
        is_over(host, &second).await?;
        let listed = ids(host, &last.access).await?;
        equal("sessions", &listed.len(), &100)?;
        host.me(&first.access).await?.answered(200)?;
        host.refresh(&first.refresh).await?.granted()?;
        Ok(())
    })),
];

async fn get(host: &Host, access: &str) -> Result<Response, Failure> {
    host.get("/sessions").bearer(access).send().await
}

async fn delete(host: &Host, access: &str, id: &str) -> Result<Response, Failure> {
    let request = host.delete(&format!("/sessions/{id}"));
    request.bearer(access).send().await
}

/// The sessions of an answer, which holds nothing beside them.
fn list(answer: &Response) -> Result<Vec<Value>, Failure> {
    let body = answer.answered(200)?;
    answer.members(&body, &["sessions"])?;
    body.get("sessions").and_then(Value::as_array).cloned().ok_or_else(|| answer.not("sessions: an array"))
}

/// The ids of the subject's sessions, in order.
async fn ids(host: &Host, access: &str) -> Result<Vec<String>, Failure> {
    let answer = get(host, access).await?;
    list(&answer)?.iter().map(|session| answer.string(session, "id")).collect()
}

/// The subject's one session.
async fn only(host: &Host, access: &str) -> Result<(Response, Value), Failure> {
    let answer = get(host, access).await?;
    match list(&answer)?.as_slice() {
        [session] => Ok((answer.clone(), session.clone())),
        _ => Err(answer.not("one session")),
    }
}

/// The id of the session that an access token belongs to.
async fn current(host: &Host, access: &str) -> Result<String, Failure> {
    let answer = host.me(access).await?;
    let me = answer.answered(200)?;
    answer.string(&me, "session_id")
}

/// Neither token of the session works.
async fn is_over(host: &Host, tokens: &Tokens) -> Outcome {
    host.me(&tokens.access).await?.invalid_token()?;
    host.refresh(&tokens.refresh).await?.refused(400, "invalid_grant")
}
