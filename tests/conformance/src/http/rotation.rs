//! Refresh tokens over time: rotate, replay, hold, supersede, displace, reuse, and the ends of a session.
//!
//! Time moves by the host's clock while the real one goes on, so no case presents a token within seconds of a limit.

use serde_json::json;

use crate::{
    case::{Case, Failure, Need, case, failed, run},
    host::Host,
    token::{Jws, b64, random_bytes},
    verdict::{differ, equal},
};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

pub(crate) const CASES: &[Case] = &[
    // ROTATE.
    case(
        "rotation/unused-token-rotates",
        "A refresh token that was not used yet is answered with another one of the same session.",
    )
    .spec(&["docs/contract.md 4.11", "RFC 9700 4.14.2", "ASVS 10.4.5"])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        differ("refresh_token", &first.refresh, &second.refresh)?;
        differ("access_token", &first.access, &second.access)?;
        equal("session_id", &second.session_id, &first.session_id)?;
        host.me(&second.access).await?.answered(200)?;
        host.refresh(&second.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "rotation/old-access-tokens-go-on",
        "A refresh leaves the access tokens issued before valid until they expire.",
    )
    .spec(&["docs/contract.md 4.11"])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        host.refresh(&first.refresh).await?.granted()?;
        host.me(&first.access).await?.answered(200)?;
        Ok(())
    })),
    // REPLAY.
    case(
        "rotation/replay-within-grace-is-answered-identically",
        "By default a parent repeated five seconds later is answered with the same successor and a new \
         access token.",
    )
    .spec(&["docs/contract.md 4.12", "docs/contract.md 4.21"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.advance(5).await?;
        let again = host.refresh(&first.refresh).await?.granted()?;
        equal("refresh_token", &again.refresh, &second.refresh)?;
        equal("session_id", &again.session_id, &first.session_id)?;
        differ("access_token", &again.access, &second.access)?;
        host.me(&again.access).await?.answered(200)?;
        Ok(())
    })),
    case(
        "rotation/replays-never-fork",
        "However often a parent is repeated within the grace, there is one successor.",
    )
    .spec(&["docs/contract.md 4.12"])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        for _ in 0..5 {
            let again = host.refresh(&first.refresh).await?.granted()?;
            equal("refresh_token", &again.refresh, &second.refresh)?;
        }
        Ok(())
    })),
    // Else a thief with a used token could keep a session alive that its owner has left.
    case(
        "rotation/replay-extends-nothing",
        "A replay moves neither the end of the refresh token nor that of the session.",
    )
    .spec(&["docs/contract.md 4.12"])
    .needs(&[Need::Clock])
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let end = session_end(host, &second.access).await?;
        host.advance(40).await?;
        let again = host.refresh(&first.refresh).await?.granted()?;
        if again.refresh_expires_in > second.refresh_expires_in - 40 {
            return Err(failed(
                format!("refresh_expires_in: at most {}", second.refresh_expires_in - 40),
                again.refresh_expires_in,
            ));
        }
        equal("expires_at", &session_end(host, &again.access).await?, &end)
    })),
    case(
        "rotation/cookie-replay-sets-the-same-cookie",
        "A tab that repeats the parent by cookie is given the refresh cookie that its sibling was given.",
    )
    .spec(&["docs/contract.md 4.12", "docs/contract.md 4.34"])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let late = browser.copy();
        let second = browser.refresh().await?.cookies_granted()?;
        let again = late.refresh().await?.cookies_granted()?;
        equal("the refresh cookie", &again.refresh, &second.refresh)?;
        differ("the access cookie", &again.access, &second.access)
    })),
    // HOLD.
    case(
        "rotation/live-token-is-held-during-a-burst",
        "While its parent is being replayed the live token is answered with itself; after the grace it \
         rotates.",
    )
    .spec(&["docs/contract.md 4.13"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.refresh(&first.refresh).await?.granted()?;
        let held = host.refresh(&second.refresh).await?.granted()?;
        equal("refresh_token", &held.refresh, &second.refresh)?;
        differ("access_token", &held.access, &second.access)?;
        host.me(&held.access).await?.answered(200)?;
        host.advance(15).await?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        differ("refresh_token", &third.refresh, &second.refresh)
    })),
    // A refresh cookie in this answer could overtake a newer one and put the jar back.
    case(
        "rotation/cookie-hold-sets-no-refresh-cookie",
        "In cookie transport a held token is answered with an access cookie and no refresh cookie at all.",
    )
    .spec(&["docs/contract.md 4.13"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let late = browser.copy();
        let second = browser.refresh().await?.cookies_granted()?;
        late.refresh().await?.cookies_granted()?;
        let access = browser.refresh().await?.cookies_held()?;
        differ("the access cookie", &access, &second.access)?;
        host.me(&access).await?.answered(200)?;
        host.advance(15).await?;
        let third = browser.refresh().await?.cookies_granted()?;
        differ("the refresh cookie", &third.refresh, &second.refresh)
    })),
    case(
        "rotation/hold-counts-from-the-last-replay",
        "A live token is held for as long as the grace after the last replay, however long ago it was \
         rotated.",
    )
    .spec(&["docs/contract.md 4.13"])
    .needs(&[Need::Clock])
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.advance(45).await?;
        host.refresh(&first.refresh).await?.granted()?;
        // 90 s after the rotation, 45 s after the replay.
        host.advance(45).await?;
        let held = host.refresh(&second.refresh).await?.granted()?;
        equal("refresh_token", &held.refresh, &second.refresh)?;
        host.advance(30).await?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        differ("refresh_token", &third.refresh, &second.refresh)
    })),
    case(
        "rotation/live-token-without-replay-is-not-held",
        "A live token rotates at once when nobody has replayed its parent.",
    )
    .spec(&["docs/contract.md 4.11", "docs/contract.md 4.13"])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        differ("refresh_token", &third.refresh, &second.refresh)
    })),
    // SUPERSEDED.
    case(
        "rotation/late-token-is-superseded",
        "A token older than the parent that was live a moment ago is refused as superseded, and nothing \
         changes.",
    )
    .spec(&["docs/contract.md 4.14", "docs/contract.md 2.18"])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        host.refresh(&first.refresh).await?.refused(409, "superseded")?;
        host.me(&first.access).await?.answered(200)?;
        // The live token is still live, and not held: no replay took place.
        let fourth = host.refresh(&third.refresh).await?.granted()?;
        differ("refresh_token", &fourth.refresh, &third.refresh)
    })),
    case(
        "rotation/superseded-keeps-the-cookies",
        "In cookie transport a superseded request neither sets nor clears a cookie, and repeating it with \
         the newer one works.",
    )
    .spec(&["docs/contract.md 4.14", "docs/contract.md 4.34"])
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        let late = browser.copy();
        browser.refresh().await?.cookies_granted()?;
        browser.refresh().await?.cookies_granted()?;
        let answer = late.refresh().await?;
        answer.refused(409, "superseded")?;
        answer.sets_no_cookie()?;
        browser.refresh().await?.cookies_granted()?;
        Ok(())
    })),
    // With one window the rotation at 70 s would forget that the second token was live twenty seconds ago.
    case(
        "rotation/two-windows-are-remembered",
        "A token that was live within the grace is superseded, not reused, although a new window has \
         opened since.",
    )
    .spec(&["docs/contract.md 4.15"])
    .needs(&[Need::Clock])
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.advance(50).await?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        host.advance(20).await?;
        let fourth = host.refresh(&third.refresh).await?.granted()?;
        host.refresh(&second.refresh).await?.refused(409, "superseded")?;
        host.refresh(&fourth.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "rotation/older-token-after-twice-the-grace-is-reuse",
        "A token older than the parent is reuse once twice the grace has passed.",
    )
    .spec(&["docs/contract.md 4.15", "docs/contract.md 4.17"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        host.advance(25).await?;
        host.refresh(&first.refresh).await?.refused(400, "invalid_grant")?;
        host.refresh(&third.refresh).await?.refused(400, "invalid_grant")?;
        host.me(&third.access).await?.invalid_token()
    })),
    // Judged by the latest rotation alone, a thief who rotates all the time would keep the owner waiting for ever.
    case(
        "rotation/rotating-on-does-not-hide-a-reuse",
        "An old token is reuse after twice the grace even if the session is rotated every few seconds.",
    )
    .spec(&["docs/contract.md 4.15"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let owner = host.user().await?.login().await?;
        let mut thief = host.refresh(&owner.refresh).await?.granted()?;
        for _ in 0..6 {
            host.advance(5).await?;
            thief = host.refresh(&thief.refresh).await?.granted()?;
        }
        host.refresh(&owner.refresh).await?.refused(400, "invalid_grant")?;
        host.refresh(&thief.refresh).await?.refused(400, "invalid_grant")?;
        host.me(&thief.access).await?.invalid_token()
    })),
    // DISPLACE.
    case(
        "rotation/resilient-displaces-an-unused-successor",
        "Under the resilient policy a parent that comes back after an hour is given a new successor if \
         nobody used the first.",
    )
    .spec(&["docs/contract.md 4.16", "docs/contract.md 4.21"])
    .needs(&[Need::Clock])
    .config(|| json!({"rotation": "resilient"}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let lost = host.refresh(&first.refresh).await?.granted()?;
        host.advance(HOUR).await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        differ("refresh_token", &second.refresh, &lost.refresh)?;
        equal("session_id", &second.session_id, &first.session_id)?;
        host.me(&second.access).await?.answered(200)?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        differ("refresh_token", &third.refresh, &second.refresh)
    })),
    case(
        "rotation/displacing-keeps-the-parent",
        "A parent that displaced a successor is replayed with the new one, as any parent is.",
    )
    .spec(&["docs/contract.md 4.16", "docs/contract.md 4.9"])
    .needs(&[Need::Clock])
    .config(|| json!({"rotation": "resilient"}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        host.refresh(&first.refresh).await?.granted()?;
        host.advance(HOUR).await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let again = host.refresh(&first.refresh).await?.granted()?;
        equal("refresh_token", &again.refresh, &second.refresh)
    })),
    case(
        "rotation/displaced-successor-is-reuse",
        "A successor that was displaced is reuse when it turns up: its holder and the new one's are two.",
    )
    .spec(&["docs/contract.md 4.16", "docs/contract.md 4.17"])
    .needs(&[Need::Clock])
    .config(|| json!({"rotation": "resilient"}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let lost = host.refresh(&first.refresh).await?.granted()?;
        host.advance(HOUR).await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.refresh(&lost.refresh).await?.refused(400, "invalid_grant")?;
        host.refresh(&second.refresh).await?.refused(400, "invalid_grant")?;
        host.me(&second.access).await?.invalid_token()
    })),
    case(
        "rotation/rotated-successor-is-not-displaced",
        "Under the resilient policy a token whose successor has rotated is reuse.",
    )
    .spec(&["docs/contract.md 4.16", "docs/contract.md 4.17"])
    .needs(&[Need::Clock])
    .config(|| json!({"rotation": "resilient"}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        host.advance(HOUR).await?;
        host.refresh(&first.refresh).await?.refused(400, "invalid_grant")?;
        host.refresh(&third.refresh).await?.refused(400, "invalid_grant")
    })),
    case(
        "rotation/held-successor-is-not-displaced",
        "A successor that was presented and held counts as used: its parent is reuse after the grace.",
    )
    .spec(&["docs/contract.md 4.16"])
    .needs(&[Need::Clock])
    .config(|| json!({"rotation": "resilient"}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.refresh(&first.refresh).await?.granted()?;
        let held = host.refresh(&second.refresh).await?.granted()?;
        equal("refresh_token", &held.refresh, &second.refresh)?;
        host.advance(HOUR).await?;
        host.refresh(&first.refresh).await?.refused(400, "invalid_grant")?;
        host.refresh(&second.refresh).await?.refused(400, "invalid_grant")
    })),
    // The client may hold the successor by now, and would be accused of theft if it were displaced.
    case(
        "rotation/just-replayed-successor-is-not-displaced",
        "Under the resilient policy a parent that was replayed a moment ago is superseded; a grace later it displaces.",
    )
    .spec(&["docs/contract.md 4.16", "docs/contract.md 4.14"])
    .needs(&[Need::Clock])
    .config(|| json!({"rotation": "resilient", "reuse_grace": 60}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.advance(45).await?;
        host.refresh(&first.refresh).await?.granted()?;
        // 75 s after the rotation, 30 s after the replay.
        host.advance(30).await?;
        host.refresh(&first.refresh).await?.refused(409, "superseded")?;
        host.advance(40).await?;
        let third = host.refresh(&first.refresh).await?.granted()?;
        differ("refresh_token", &third.refresh, &second.refresh)
    })),
    case(
        "rotation/displacing-ends-after-a-day",
        "Under the resilient policy a parent that comes back after more than a day is reuse.",
    )
    .spec(&["docs/contract.md 4.16"])
    .needs(&[Need::Clock])
    .config(|| json!({"rotation": "resilient"}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.advance(DAY + MINUTE).await?;
        host.refresh(&first.refresh).await?.refused(400, "invalid_grant")?;
        host.refresh(&second.refresh).await?.refused(400, "invalid_grant")
    })),
    case(
        "rotation/resilient-replays-within-the-grace",
        "The resilient policy differs from the default only after the grace: before it, a parent is \
         replayed.",
    )
    .spec(&["docs/contract.md 4.12", "docs/contract.md 4.21"])
    .config(|| json!({"rotation": "resilient"}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let again = host.refresh(&first.refresh).await?.granted()?;
        equal("refresh_token", &again.refresh, &second.refresh)
    })),
    // REUSE.
    // Presenting a used refresh token means two parties hold it. We cannot tell which is honest, so both lose the
    // session.
    case(
        "rotation/reuse-revokes-session",
        "A reused refresh token is refused, its successor stops working, and so do the access tokens.",
    )
    .spec(&[
        "docs/contract.md 4.17",
        "docs/contract.md 4.21",
        "docs/contract.md 6.1",
        "RFC 9700 4.14.2",
        "ASVS 10.4.5",
    ])
    .config(|| json!({"rotation": "strict"}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.refresh(&first.refresh).await?.refused(400, "invalid_grant")?;
        host.refresh(&second.refresh).await?.refused(400, "invalid_grant")?;
        host.me(&first.access).await?.invalid_token()?;
        host.me(&second.access).await?.invalid_token()
    })),
    case("rotation/grace-of-zero-turns-replays-off", "With a grace of 0 the first repeat is reuse.")
        .spec(&["docs/contract.md 4.12", "docs/contract.md 4.17"])
        .config(|| json!({"reuse_grace": 0}))
        .run(run!(async |host| {
            let first = host.user().await?.login().await?;
            let second = host.refresh(&first.refresh).await?.granted()?;
            let third = host.refresh(&second.refresh).await?.granted()?;
            host.refresh(&second.refresh).await?.refused(400, "invalid_grant")?;
            host.refresh(&third.refresh).await?.refused(400, "invalid_grant")
        })),
    case(
        "rotation/parent-after-grace-is-reuse",
        "By default a parent presented later than ten seconds is reuse: the session ends.",
    )
    .spec(&["docs/contract.md 4.16", "docs/contract.md 4.17", "docs/contract.md 4.21"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.advance(11).await?;
        host.refresh(&first.refresh).await?.refused(400, "invalid_grant")?;
        host.refresh(&second.refresh).await?.refused(400, "invalid_grant")?;
        host.me(&second.access).await?.invalid_token()
    })),
    case(
        "rotation/reuse-spares-other-sessions",
        "Reuse in one session leaves the same subject's other sessions alone.",
    )
    .spec(&["docs/contract.md 4.17"])
    .config(|| json!({"rotation": "strict"}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let other = user.login().await?;
        let first = user.login().await?;
        host.refresh(&first.refresh).await?.granted()?;
        host.refresh(&first.refresh).await?.refused(400, "invalid_grant")?;
        host.me(&other.access).await?.answered(200)?;
        host.refresh(&other.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "rotation/reuse-clears-cookies",
        "Reuse in cookie transport clears both cookies, of who presents the old token and then of who \
         holds the new one.",
    )
    .spec(&["docs/contract.md 4.17", "docs/contract.md 4.33"])
    .config(|| json!({"rotation": "strict"}))
    .run(run!(async |host| {
        let owner = host.user().await?.browser().await?;
        let thief = owner.copy();
        owner.refresh().await?.cookies_granted()?;
        for browser in [&thief, &owner] {
            let answer = browser.refresh().await?;
            answer.refused(400, "invalid_grant")?;
            answer.clears_cookies()?;
        }
        Ok(())
    })),
    // The store was rolled back.
    case(
        "rotation/future-generation-revokes-nothing",
        "A rightly signed token of a generation that the row does not know is refused, and the session \
         goes on.",
    )
    .spec(&["docs/contract.md 4.19"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let newer = with_generation(host, &first.refresh, 7)?;
        host.refresh(&newer).await?.refused(400, "invalid_grant")?;
        host.me(&first.access).await?.answered(200)?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        // One ahead is newer, too.
        let newer = with_generation(host, &second.refresh, 2)?;
        host.refresh(&newer).await?.refused(400, "invalid_grant")?;
        host.refresh(&second.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "rotation/foreign-token-of-the-live-generation-revokes-nothing",
        "A rightly signed token of the live generation that is not the live token is refused, and the \
         session goes on.",
    )
    .spec(&["docs/contract.md 4.20", "docs/contract.md 4.9"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let foreign = with_generation(host, &first.refresh, 0)?;
        host.refresh(&foreign).await?.refused(400, "invalid_grant")?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let foreign = with_generation(host, &second.refresh, 1)?;
        host.refresh(&foreign).await?.refused(400, "invalid_grant")?;
        host.me(&second.access).await?.answered(200)?;
        // Nor when the session has gone on by one more.
        let third = host.refresh(&second.refresh).await?.granted()?;
        host.refresh(&foreign).await?.refused(400, "invalid_grant")?;
        host.refresh(&third.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "rotation/unknown-session-is-refused",
        "A rightly signed token of a session that does not exist is invalid_grant.",
    )
    .spec(&["docs/contract.md 4.10"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let token = Jws::parse(&first.refresh)?;
        let claims = token.claims_with("sid", b64(&random_bytes::<16>()?).into());
        let unknown = host.sign_refresh(&token.header, &claims)?;
        host.refresh(&unknown).await?.refused(400, "invalid_grant")?;
        host.refresh(&first.refresh).await?.granted()?;
        Ok(())
    })),
    // What is over.
    case(
        "rotation/expired-token-is-never-reuse",
        "A used token past its own end is refused as expired: the session and its live token go on.",
    )
    .spec(&["docs/contract.md 4.5"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        host.advance(6 * DAY).await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        // Seconds past its end: a leeway would still take it for a used one.
        host.advance(DAY + 5).await?;
        host.refresh(&first.refresh).await?.refused(400, "invalid_grant")?;
        host.refresh(&second.refresh).await?.granted()?;
        Ok(())
    })),
    // The access token's leeway of 30 s must not be given here: one clock issues the token and reads it.
    case(
        "rotation/idle-end-is-exact",
        "A refresh token works until seven days after it was issued, and seconds later it does not.",
    )
    .spec(&["docs/contract.md 4.5", "docs/contract.md 4.10", "docs/contract.md 4.26", "ASVS 7.3.1"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let user = host.user().await?;
        let used = user.login().await?;
        let idle = user.login().await?;
        host.advance(7 * DAY - MINUTE).await?;
        let used = host.refresh(&used.refresh).await?.granted()?;
        host.advance(MINUTE + 2).await?;
        host.refresh(&idle.refresh).await?.refused(400, "invalid_grant")?;
        host.refresh(&used.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "rotation/refreshing-never-extends-the-absolute-end",
        "A session that is refreshed all the time ends thirty days after its login, and no token of it \
         outlives that.",
    )
    .spec(&["docs/contract.md 4.26", "docs/contract.md 4.28", "ASVS 7.3.2", "ASVS 10.4.8"])
    .needs(&[Need::Clock])
    .run(run!(async |host| {
        let mut tokens = host.user().await?.login().await?;
        for _ in 0..5 {
            host.advance(5 * DAY).await?;
            tokens = host.refresh(&tokens.refresh).await?.granted()?;
        }
        host.advance(5 * DAY - MINUTE).await?;
        tokens = host.refresh(&tokens.refresh).await?.granted()?;
        let left = tokens.expires_in.max(tokens.refresh_expires_in);
        if left > MINUTE {
            return Err(failed("expires_in and refresh_expires_in: at most 60", left));
        }
        host.me(&tokens.access).await?.answered(200)?;
        // A minute past the end, so past the access token's leeway too.
        host.advance(2 * MINUTE).await?;
        host.refresh(&tokens.refresh).await?.refused(400, "invalid_grant")?;
        host.me(&tokens.access).await?.expired_token()
    })),
    case(
        "rotation/lifetimes-are-configurable",
        "The three lifetimes are those of the configuration, and the absolute end cuts the other two.",
    )
    .spec(&["docs/contract.md 4.26", "docs/contract.md 4.28"])
    .needs(&[Need::Clock])
    .config(|| json!({"access_ttl": 300, "refresh_ttl": 600, "session_ttl": 900}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        equal("expires_in", &first.expires_in, &300)?;
        equal("refresh_expires_in", &first.refresh_expires_in, &600)?;
        host.advance(500).await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        equal("expires_in", &second.expires_in, &300)?;
        if second.refresh_expires_in > 400 {
            return Err(failed("refresh_expires_in: at most 400", second.refresh_expires_in));
        }
        host.advance(300).await?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        if third.expires_in > 100 {
            return Err(failed("expires_in: at most 100", third.expires_in));
        }
        host.advance(105).await?;
        host.refresh(&third.refresh).await?.refused(400, "invalid_grant")
    })),
    case(
        "rotation/ended-session-is-not-replayed",
        "Neither the parent nor a held token of a session that was logged out is answered.",
    )
    .spec(&["docs/contract.md 4.10"])
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.refresh(&first.refresh).await?.granted()?;
        let logout = host.post("/logout").bearer(&second.access);
        logout.send().await?.status(204)?;
        for token in [&first.refresh, &second.refresh] {
            host.refresh(token).await?.refused(400, "invalid_grant")?;
        }
        Ok(())
    })),
    case(
        "rotation/disabled-subject-is-asked-first",
        "With a disabled subject a superseded, a replayed and a live token are all invalid_grant.",
    )
    .spec(&["docs/contract.md 4.10", "docs/contract.md 4.30"])
    .needs(&[Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        let first = user.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        user.set(json!({"disabled": true})).await?;
        for token in [&first.refresh, &second.refresh, &third.refresh] {
            host.refresh(token).await?.refused(400, "invalid_grant")?;
        }
        Ok(())
    })),
    // Settings that would undo the rules above.
    case(
        "rotation/grace-over-a-minute-is-refused-at-start",
        "A host with a grace of 61 seconds does not start, and says why; with 60 it does.",
    )
    .spec(&["docs/contract.md 4.22"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        let launch = host.launch()?;
        let long = launch.clone().config(json!({"reuse_grace": 61}));
        long.exit().await?.refused_configuration("reuse_grace")?;
        launch.config(json!({"reuse_grace": 60})).start().await?;
        Ok(())
    })),
    case(
        "rotation/lifetimes-out-of-order-are-refused-at-start",
        "A host whose sessions end before their refresh tokens, or those before access tokens, does not \
         start.",
    )
    .spec(&["docs/contract.md 4.27"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        let launch = host.launch()?;
        for (named, [access, refresh, session]) in
            [("refresh_ttl", [700, 600, 900]), ("session_ttl", [300, 900, 600])]
        {
            let lifetimes = json!({"access_ttl": access, "refresh_ttl": refresh, "session_ttl": session});
            let wrong = launch.clone().config(lifetimes);
            wrong.exit().await?.refused_configuration(named)?;
        }
        let equal = json!({"access_ttl": 600, "refresh_ttl": 600, "session_ttl": 600});
        launch.config(equal).start().await?;
        Ok(())
    })),
];

/// A refresh token with the claims of another one, but of this generation and with a `jti` of its own.
fn with_generation(host: &Host, token: &str, generation: u64) -> Result<String, Failure> {
    let token = Jws::parse(token)?;
    let mut claims = token.claims_with("gen", generation.into());
    if let Some(jti) = claims.get_mut("jti") {
        *jti = b64(&random_bytes::<32>()?).into();
    }
    host.sign_refresh(&token.header, &claims)
}

/// The `expires_at` of the session that an access token belongs to.
async fn session_end(host: &Host, access: &str) -> Result<i64, Failure> {
    let answer = host.get("/sessions").bearer(access).send().await?;
    let body = answer.answered(200)?;
    let session = body.pointer("/sessions/0").ok_or_else(|| answer.not("a session"))?;
    answer.time(session, "expires_at")
}
