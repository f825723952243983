//! Limits by account, network and session.
//!
//! Each case connects from an address of its own, so a network's count begins at zero; `.from(host.fresh_address())`
//! is another network. Preparation counts too: a case that sets `register_network_per_hour` registers within it.
//!
//! Time stands still for them, but for those that count to a default: these allow for the time they took.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    case::{Case, Need, Outcome, Reach, case, failed, run},
    client::{Request, Response},
    host::{Host, PASSWORD},
    verdict::{differ, identical, identical_but_for},
};

/// A password that nobody has.
const WRONG: &str = "a wrong pass phrase";

/// Two failures of one account from one network are free; no other limit.
fn two_free() -> Value {
    json!({"limits": limits(json!({"free_failures": 2, "max_wait": 900}))})
}

/// These limits and no others: what an object leaves out has its default.
fn limits(members: Value) -> Value {
    let off = json!({
        "login_network_per_minute": 0,
        "register_network_per_hour": 0,
        "account_failures_per_hour": 0,
        "free_failures": 0,
        "max_wait": 0,
        "refresh_session_per_minute": 0,
        "refresh_network_per_minute": 0,
    });
    crate::host::overlay(off, members)
}

pub(crate) const CASES: &[Case] = &[
    // One account, one network.
    case(
        "throttle/failures-beyond-the-free-ones-wait",
        "After the free failures the next attempt is refused with Retry-After: 1, also with the right \
         password.",
    )
    .spec(&[
        "docs/contract.md 7.17",
        "docs/contract.md 7.25",
        "docs/contract.md 2.22",
        "ASVS 6.3.1",
        "RFC 6585 4",
    ])
    .needs(&[Need::StillClock])
    .config(two_free)
    .run(run!(async |host| {
        let user = host.user().await?;
        for _ in 0..2 {
            wrong(host, &user.name).await?;
        }
        blocked(&host.login(&user.name, user.password).await?, 1)?;
        host.advance(1).await?;
        host.login(&user.name, user.password).await?.granted()?;
        Ok(())
    })),
    case(
        "throttle/waits-double",
        "Each failure after the free ones is followed by a wait twice as long as the one before.",
    )
    .spec(&["docs/contract.md 7.17"])
    .needs(&[Need::StillClock])
    .config(two_free)
    .run(run!(async |host| {
        let user = host.user().await?;
        for _ in 0..2 {
            wrong(host, &user.name).await?;
        }
        for wait in [1, 2, 4, 8, 16, 32] {
            blocked(&host.login(&user.name, user.password).await?, wait)?;
            host.advance(wait).await?;
            wrong(host, &user.name).await?;
        }
        Ok(())
    })),
    // A wait without an end would be a way to lock others out.
    case(
        "throttle/waits-have-a-maximum",
        "However many failures there were, no wait is longer than the maximum.",
    )
    .spec(&["docs/contract.md 7.17", "docs/contract.md 7.24", "ASVS 6.1.1"])
    .needs(&[Need::StillClock])
    .config(|| json!({"limits": limits(json!({"free_failures": 1, "max_wait": 6}))}))
    .run(run!(async |host| {
        let user = host.user().await?;
        wrong(host, &user.name).await?;
        for wait in [1, 2, 4, 6, 6, 6] {
            host.advance(wait).await?;
            wrong(host, &user.name).await?;
        }
        blocked(&host.login(&user.name, user.password).await?, 6)?;
        host.advance(6).await?;
        host.login(&user.name, user.password).await?.granted()?;
        Ok(())
    })),
    case(
        "throttle/refused-attempts-are-not-counted",
        "Attempts made while blocked, right or wrong, neither prolong the wait nor lengthen the next.",
    )
    .spec(&["docs/contract.md 7.25"])
    .needs(&[Need::StillClock])
    .config(two_free)
    .run(run!(async |host| {
        let user = host.user().await?;
        fail_to_eight(host, &user.name).await?;
        for _ in 0..10 {
            for password in [WRONG, user.password] {
                blocked(&host.login(&user.name, password).await?, 8)?;
            }
        }
        host.advance(8).await?;
        wrong(host, &user.name).await?;
        blocked(&host.login(&user.name, user.password).await?, 16)?;
        host.advance(16).await?;
        host.login(&user.name, user.password).await?.granted()?;
        Ok(())
    })),
    case(
        "throttle/success-clears-the-failures",
        "A login that succeeds gives the account its free failures from that network back.",
    )
    .spec(&["docs/contract.md 7.26"])
    .needs(&[Need::StillClock])
    .config(two_free)
    .run(run!(async |host| {
        let user = host.user().await?;
        fail_to_eight(host, &user.name).await?;
        host.advance(8).await?;
        host.login(&user.name, user.password).await?.granted()?;
        // Not cleared, the first of these would be followed by a wait of 16 s.
        wrong(host, &user.name).await?;
        wrong(host, &user.name).await?;
        host.advance(2).await?;
        host.login(&user.name, user.password).await?.granted()?;
        Ok(())
    })),
    // Else whoever knows a name could keep its owner out.
    case(
        "throttle/another-network-is-not-blocked",
        "An account that is blocked from one network lets its owner in from another, which frees only that \
         other.",
    )
    .spec(&["docs/contract.md 7.17", "docs/contract.md 7.26", "ASVS 6.1.1"])
    .needs(&[Need::StillClock, Need::Addresses])
    .config(two_free)
    .run(run!(async |host| {
        let user = host.user().await?;
        fail_to_eight(host, &user.name).await?;
        let elsewhere = host.fresh_address();
        login(host, &user.name, user.password).from(elsewhere).send().await?.granted()?;
        blocked(&host.login(&user.name, user.password).await?, 8)
    })),
    case(
        "throttle/another-account-is-not-blocked",
        "Failures of one account leave other accounts of the same network alone.",
    )
    .spec(&["docs/contract.md 7.17"])
    .needs(&[Need::StillClock])
    .config(two_free)
    .run(run!(async |host| {
        let (user, other) = (host.user().await?, host.user().await?);
        fail_to_eight(host, &user.name).await?;
        host.login(&other.name, other.password).await?.granted()?;
        blocked(&host.login(&user.name, user.password).await?, 8)
    })),
    case(
        "throttle/spellings-of-a-name-share-their-failures",
        "Guesses under other spellings of a name count against the same account.",
    )
    .spec(&["docs/contract.md 7.16", "docs/contract.md 7.17"])
    .needs(&[Need::StillClock])
    .config(two_free)
    .run(run!(async |host| {
        let user = host.user().await?;
        let wide: String = user.name.replace('u', "\u{ff55}");
        let spellings = [user.name.to_uppercase(), wide, user.name.replace('s', "S")];
        wrong(host, &spellings[0]).await?;
        wrong(host, &spellings[1]).await?;
        for (spelling, wait) in spellings.iter().zip([1, 2, 4]) {
            host.advance(wait).await?;
            wrong(host, spelling).await?;
        }
        blocked(&host.login(&user.name, user.password).await?, 8)
    })),
    case(
        "throttle/unknown-names-are-blocked-alike",
        "A name that does not exist is blocked after as many failures, for as long, and with the same bytes.",
    )
    .spec(&["docs/contract.md 7.27", "ASVS 6.3.8"])
    .needs(&[Need::StillClock])
    .config(two_free)
    .run(run!(async |host| {
        let user = host.user().await?;
        let unknown = host.fresh_name();
        for _ in 0..2 {
            let known = host.login(&user.name, WRONG).await?;
            known.refused(401, "invalid_credentials")?;
            identical(&known, &host.login(&unknown, WRONG).await?)?;
        }
        for wait in [1, 2, 4] {
            host.advance(wait).await?;
            wrong(host, &user.name).await?;
            wrong(host, &unknown).await?;
        }
        let known = host.login(&user.name, WRONG).await?;
        blocked(&known, 8)?;
        let unknown = host.login(&unknown, WRONG).await?;
        blocked(&unknown, 8)?;
        // The two failed one after the other, so the seconds that are left may differ on a slow machine.
        identical_but_for(&["retry-after"], &known, &unknown)
    })),
    case(
        "throttle/wrong-current-passwords-are-failures",
        "Wrong current passwords at POST /password block the account's logins, and failed logins block \
         POST /password.",
    )
    .spec(&["docs/contract.md 7.29", "docs/contract.md 7.25"])
    .needs(&[Need::StillClock])
    .config(two_free)
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let change = |current: &'static str| {
            let body = json!({"current_password": current, "new_password": "nine paper boats in the rain"});
            host.post("/password").bearer(&tokens.access).json(body).send()
        };
        for wait in [0, 0, 1, 2, 4] {
            host.advance(wait).await?;
            change(WRONG).await?.refused(401, "invalid_credentials")?;
        }
        blocked(&host.login(&user.name, user.password).await?, 8)?;
        blocked(&change(PASSWORD).await?, 8)?;
        host.me(&tokens.access).await?.answered(200)?;
        host.advance(8).await?;
        change(PASSWORD).await?.status(204)
    })),
    case(
        "throttle/live-sessions-go-on",
        "While an account and its network are blocked, its sessions are used, listed, refreshed and logged \
         out as ever.",
    )
    .spec(&["docs/contract.md 7.28"])
    .needs(&[Need::StillClock])
    .config(|| {
        json!({"limits": limits(json!({
            "free_failures": 2, "max_wait": 900, "login_network_per_minute": 6,
        }))})
    })
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        fail_to_eight(host, &user.name).await?;
        host.login(&user.name, user.password).await?.refused(429, "rate_limited")?;
        host.me(&tokens.access).await?.answered(200)?;
        let list = host.get("/sessions").bearer(&tokens.access).send().await?;
        list.answered(200)?;
        let tokens = host.refresh(&tokens.refresh).await?.granted()?;
        let logout = host.post("/logout").bearer(&tokens.access).send().await?;
        logout.status(204)
    })),
    // One account, everywhere.
    case(
        "throttle/failures-of-an-account-are-limited-everywhere",
        "Failures of one account from many networks are counted together, and an hour later all is well.",
    )
    .spec(&["docs/contract.md 7.18", "docs/contract.md 7.23", "ASVS 6.3.1", "SP 800-63B-4 3.2.2"])
    .needs(&[Need::StillClock, Need::Addresses])
    .config(|| json!({"limits": limits(json!({"account_failures_per_hour": 4}))}))
    .run(run!(async |host| {
        let user = host.user().await?;
        // What succeeds is not a failure.
        for _ in 0..6 {
            host.login(&user.name, user.password).await?.granted()?;
        }
        for _ in 0..4 {
            login(host, &user.name, WRONG)
                .from(host.fresh_address())
                .send()
                .await?
                .refused(401, "invalid_credentials")?;
        }
        for _ in 0..2 {
            login(host, &user.name, user.password)
                .from(host.fresh_address())
                .send()
                .await?
                .refused(429, "rate_limited")?;
        }
        let other = host.user().await?;
        host.login(&other.name, other.password).await?.granted()?;
        // A quarter of the hour lets one more pass.
        host.advance(901).await?;
        host.login(&user.name, user.password).await?.granted()?;
        wrong(host, &user.name).await?;
        host.login(&user.name, user.password).await?.refused(429, "rate_limited")?;
        host.advance(3601).await?;
        for _ in 0..4 {
            wrong(host, &user.name).await?;
        }
        Ok(())
    })),
    // One network.
    case(
        "throttle/logins-of-one-network-are-limited",
        "More logins a minute from one network than the limit are refused, other networks go on, and a \
         minute later all is well.",
    )
    .spec(&["docs/contract.md 7.19", "docs/contract.md 7.24", "ASVS 6.3.1"])
    .needs(&[Need::StillClock, Need::Addresses])
    .config(|| json!({"limits": {"login_network_per_minute": 3}}))
    .run(run!(async |host| {
        let user = host.user().await?;
        for _ in 0..3 {
            host.login(&user.name, user.password).await?.granted()?;
        }
        host.login(&user.name, user.password).await?.refused(429, "rate_limited")?;
        let elsewhere = login(host, &user.name, user.password).from(host.fresh_address());
        elsewhere.send().await?.granted()?;
        host.advance(61).await?;
        host.login(&user.name, user.password).await?.granted()?;
        Ok(())
    })),
    // Whoever knows one password could else keep the pool from hashing anybody's.
    case(
        "throttle/password-changes-count-as-logins",
        "A change of a password counts against its network's logins, and is put off with them.",
    )
    .spec(&["docs/contract.md 7.19", "docs/contract.md 7.28", "ASVS 2.4.1"])
    .needs(&[Need::StillClock])
    .config(|| json!({"limits": limits(json!({"login_network_per_minute": 3}))}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let change = |current: &str, new: &str| {
            let body = json!({"current_password": current, "new_password": new});
            host.post("/password").bearer(&tokens.access).json(body)
        };
        change(PASSWORD, "short").send().await?.invalid_field("new_password", "too_short")?;
        change(PASSWORD, "nine paper boats in the rain").send().await?.status(204)?;
        change(PASSWORD, "short").send().await?.refused(429, "rate_limited")?;
        host.login(&user.name, "nine paper boats in the rain").await?.refused(429, "rate_limited")?;
        host.refresh(&tokens.refresh).await?.granted()?;
        Ok(())
    })),
    // Spraying: one password on many names never fails twice on the same one.
    case(
        "throttle/guesses-at-many-names-are-limited",
        "Logins of one network count together whatever the names, existing or not.",
    )
    .spec(&["docs/contract.md 7.19", "docs/contract.md 7.27", "ASVS 6.3.1"])
    .needs(&[Need::StillClock])
    .config(|| json!({"limits": limits(json!({"login_network_per_minute": 4}))}))
    .run(run!(async |host| {
        let (one, other) = (host.user().await?, host.user().await?);
        for name in [&one.name, &host.fresh_name(), &other.name, &host.fresh_name()] {
            wrong(host, name).await?;
        }
        for name in [&one.name, &host.fresh_name()] {
            host.login(name, PASSWORD).await?.refused(429, "rate_limited")?;
        }
        Ok(())
    })),
    case(
        "throttle/limits-refill-evenly",
        "A limit of three a minute lets a fourth pass after twenty seconds, and no fifth; refused ones are \
         not counted.",
    )
    .spec(&["docs/contract.md 7.23", "docs/contract.md 7.25"])
    .needs(&[Need::StillClock])
    .config(|| json!({"limits": limits(json!({"login_network_per_minute": 3}))}))
    .run(run!(async |host| {
        let user = host.user().await?;
        for _ in 0..3 {
            host.login(&user.name, user.password).await?.granted()?;
        }
        for _ in 0..5 {
            blocked(&host.login(&user.name, user.password).await?, 20)?;
        }
        host.advance(20).await?;
        host.login(&user.name, user.password).await?.granted()?;
        blocked(&host.login(&user.name, user.password).await?, 20)
    })),
    case(
        "throttle/registrations-of-one-network-are-limited",
        "More registrations an hour from one network than the limit are refused, make no account, and pass \
         from elsewhere.",
    )
    .spec(&["docs/contract.md 7.20", "docs/contract.md 7.24", "ASVS 2.4.1"])
    .needs(&[Need::StillClock, Need::Addresses])
    .config(|| json!({"limits": limits(json!({"register_network_per_hour": 2}))}))
    .run(run!(async |host| {
        let register =
            |name: &str| host.post("/register").json(json!({"username": name, "password": PASSWORD}));
        for _ in 0..2 {
            register(&host.fresh_name()).send().await?.answered(201)?;
        }
        let name = host.fresh_name();
        register(&name).send().await?.refused(429, "rate_limited")?;
        wrong(host, &name).await?;
        let elsewhere = register(&name).from(host.fresh_address()).send().await?;
        elsewhere.answered(201)?;
        host.advance(3601).await?;
        register(&host.fresh_name()).send().await?.answered(201)?;
        Ok(())
    })),
    case(
        "throttle/a-network-is-asked-before-the-body",
        "Once a network is throttled its request is refused as such, whatever the body is.",
    )
    .spec(&["docs/contract.md 1.31", "docs/contract.md 7.19"])
    .needs(&[Need::StillClock])
    .config(|| json!({"limits": limits(json!({"login_network_per_minute": 2}))}))
    .run(run!(async |host| {
        for _ in 0..2 {
            wrong(host, &host.fresh_name()).await?;
        }
        for body in ["{", "{}", "[]", r#"{"username":1,"password":2}"#] {
            let answer = host.post("/login").json_text(body).send().await?;
            answer.refused(429, "rate_limited")?;
        }
        Ok(())
    })),
    // Refreshes.
    case(
        "throttle/refreshes-of-one-session-are-limited",
        "More refreshes a minute of one session than the limit are refused, wherever from; other sessions \
         go on.",
    )
    .spec(&["docs/contract.md 7.21", "docs/contract.md 7.24"])
    .needs(&[Need::StillClock, Need::Addresses])
    .config(|| json!({"limits": limits(json!({"refresh_session_per_minute": 3}))}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let other = user.login().await?;
        let mut tokens = user.login().await?;
        for _ in 0..3 {
            tokens = host.refresh(&tokens.refresh).await?.granted()?;
        }
        blocked(&host.refresh(&tokens.refresh).await?, 20)?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
        let elsewhere = host.post("/token").from(host.fresh_address()).form(&form);
        blocked(&elsewhere.send().await?, 20)?;
        host.refresh(&other.refresh).await?.granted()?;
        host.me(&tokens.access).await?.answered(200)?;
        Ok(())
    })),
    case(
        "throttle/refused-refresh-keeps-its-token",
        "A refresh that was refused as too many changes nothing: the same token rotates a minute later.",
    )
    .spec(&["docs/contract.md 2.22", "docs/contract.md 2.25", "docs/contract.md 7.21"])
    .needs(&[Need::StillClock])
    .config(|| json!({"rotation": "strict", "limits": limits(json!({"refresh_session_per_minute": 2}))}))
    .run(run!(async |host| {
        let mut tokens = host.user().await?.login().await?;
        for _ in 0..2 {
            tokens = host.refresh(&tokens.refresh).await?.granted()?;
        }
        for _ in 0..3 {
            blocked(&host.refresh(&tokens.refresh).await?, 30)?;
        }
        host.advance(61).await?;
        let next = host.refresh(&tokens.refresh).await?.granted()?;
        differ("refresh_token", &next.refresh, &tokens.refresh)
    })),
    case(
        "throttle/refused-refresh-keeps-the-cookies",
        "In cookie transport a refresh that was refused as too many neither sets nor clears a cookie.",
    )
    .spec(&["docs/contract.md 4.34", "docs/contract.md 2.25"])
    .needs(&[Need::StillClock])
    .config(|| json!({"limits": limits(json!({"refresh_session_per_minute": 2}))}))
    .run(run!(async |host| {
        let browser = host.user().await?.browser().await?;
        for _ in 0..2 {
            browser.refresh().await?.cookies_granted()?;
        }
        let answer = browser.refresh().await?;
        blocked(&answer, 30)?;
        answer.sets_no_cookie()?;
        browser.get("/me").send().await?.answered(200)?;
        host.advance(61).await?;
        browser.refresh().await?.cookies_granted()?;
        Ok(())
    })),
    case(
        "throttle/refreshes-of-one-network-are-limited",
        "More refreshes a minute from one network than the limit are refused, whatever the session, and \
         pass from elsewhere.",
    )
    .spec(&["docs/contract.md 7.22", "docs/contract.md 7.24"])
    .needs(&[Need::StillClock, Need::Addresses])
    .config(|| json!({"limits": limits(json!({"refresh_network_per_minute": 3}))}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let mut sessions = Vec::new();
        for _ in 0..4 {
            sessions.push(user.login().await?);
        }
        let last = sessions.pop().ok_or_else(|| failed("a session", "none"))?;
        for session in &sessions {
            host.refresh(&session.refresh).await?.granted()?;
        }
        blocked(&host.refresh(&last.refresh).await?, 20)?;
        // Garbage costs an attempt too, and is not looked at now.
        blocked(&host.refresh("garbage").await?, 20)?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", last.refresh.as_str())];
        let elsewhere = host.post("/token").from(host.fresh_address()).form(&form);
        elsewhere.send().await?.granted()?;
        Ok(())
    })),
    // The defaults, counted from outside.
    case(
        "throttle/default-is-20-logins-a-minute",
        "Unless configured, one network has twenty logins a minute.",
    )
    .spec(&["docs/contract.md 7.19"])
    .config(|| json!({"limits": "default"}))
    .reach(Reach::Axes)
    .run(run!(async |host| { count(20, 60, || login(host, &host.fresh_name(), WRONG)).await })),
    case(
        "throttle/default-is-5-registrations-an-hour",
        "Unless configured, one network has five registrations an hour.",
    )
    .spec(&["docs/contract.md 7.20"])
    .config(|| json!({"limits": "default"}))
    .run(run!(async |host| {
        count(5, 3600, || {
            let body = json!({"username": host.fresh_name(), "password": PASSWORD});
            host.post("/register").json(body)
        })
        .await
    })),
    case(
        "throttle/default-is-5-free-failures",
        "Unless configured, one account has five failures from one network, and then a wait of a second.",
    )
    .spec(&["docs/contract.md 7.17"])
    .needs(&[Need::StillClock])
    .config(|| json!({"limits": "default"}))
    .run(run!(async |host| {
        let user = host.user().await?;
        for _ in 0..5 {
            wrong(host, &user.name).await?;
        }
        blocked(&host.login(&user.name, user.password).await?, 1)
    })),
    case(
        "throttle/default-is-100-failures-of-an-account-an-hour",
        "Unless configured, one account has a hundred failures an hour, from however many networks.",
    )
    .spec(&["docs/contract.md 7.18", "SP 800-63B-4 3.2.2"])
    .needs(&[Need::Addresses])
    .config(|| json!({"limits": "default"}))
    .reach(Reach::Axes)
    .run(run!(async |host| {
        let user = host.user().await?;
        // From a network of its own each time, so that no other limit is met.
        count(100, 3600, || login(host, &user.name, WRONG).from(host.fresh_address())).await
    })),
    case(
        "throttle/default-is-30-refreshes-of-a-session-a-minute",
        "Unless configured, one session has thirty refreshes a minute.",
    )
    .spec(&["docs/contract.md 7.21"])
    .config(|| json!({"limits": "default"}))
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        // A repeat is a refresh like any other.
        host.refresh(&tokens.refresh).await?.granted()?;
        count(29, 60, || refresh(host, &tokens.refresh)).await
    })),
    case(
        "throttle/default-is-120-refreshes-of-a-network-a-minute",
        "Unless configured, one network has a hundred and twenty refreshes a minute.",
    )
    .spec(&["docs/contract.md 7.22"])
    .config(|| json!({"limits": "default"}))
    .run(run!(async |host| {
        // A token that is no session's meets no other limit.
        count(120, 60, || refresh(host, "garbage")).await
    })),
    case("throttle/zero-turns-a-limit-off", "A limit set to 0 limits nothing.")
        .spec(&["docs/contract.md 7.24"])
        .config(|| json!({"limits": {"refresh_session_per_minute": 0, "refresh_network_per_minute": 0}}))
        .run(run!(async |host| {
            let mut tokens = host.user().await?.login().await?;
            for _ in 0..130 {
                tokens = host.refresh(&tokens.refresh).await?.granted()?;
            }
            Ok(())
        })),
];

fn login(host: &Host, name: &str, password: &str) -> Request {
    let body = json!({"username": name, "password": password});
    host.post("/login").json(body)
}

fn refresh(host: &Host, token: &str) -> Request {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    host.post("/token").form(&form)
}

/// A wrong password that is looked at.
async fn wrong(host: &Host, name: &str) -> Outcome {
    let answer = host.login(name, WRONG).await?;
    answer.refused(401, "invalid_credentials")
}

/// Fails under [`two_free`] until the next attempt has to wait eight seconds.
async fn fail_to_eight(host: &Host, name: &str) -> Outcome {
    for wait in [0, 0, 1, 2, 4] {
        host.advance(wait).await?;
        wrong(host, name).await?;
    }
    Ok(())
}

/// Refused as too many, to come back after so many seconds.
fn blocked(answer: &Response, seconds: u64) -> Outcome {
    answer.refused(429, "rate_limited")?;
    if answer.header("retry-after") == Some(seconds.to_string().as_str()) {
        return Ok(());
    }
    Err(answer.not(format!("Retry-After: {seconds}")))
}

/// Asks until it is refused as too many: so many passed, and as many more as the time it took let pass.
async fn count(limit: u64, seconds: u64, ask: impl Fn() -> Request) -> Outcome {
    let begun = Instant::now();
    let mut passed = 0;
    loop {
        let answer = ask().send().await?;
        if answer.status == 429 {
            answer.refused(429, "rate_limited")?;
            break;
        }
        passed += 1;
        let most = limit + begun.elapsed().as_secs() * limit / seconds + 1;
        if passed > most {
            return Err(answer.not(format!("429 after {limit} in {seconds} s, not {passed}")));
        }
    }
    if passed < limit {
        return Err(failed(format!("{limit} in {seconds} s"), format!("429 after {passed}")));
    }
    Ok(())
}
