//! `POST /login`: who gets in, and how little a refusal tells.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    case::{Case, Kind, Need, Reach, Row, case, failed, run},
    client::all,
    cookies::{ACCESS, REFRESH},
    host::PASSWORD,
    token::Jws,
    verdict::{differ, equal, identical},
};

/// A password that nobody has.
const WRONG: &str = "a wrong pass phrase";

pub(crate) const CASES: &[Case] = &[
    case(
        "login/right-password-grants-tokens",
        "The right name and password are answered with an access and a refresh token in the body.",
    )
    .spec(&["docs/contract.md 1.5", "docs/contract.md 1.17", "RFC 6749 5.1"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let first = host.login(&user.name, PASSWORD).await?.granted()?;
        host.me(&first.access).await?.answered(200)?;
        // Every login is a session of its own.
        let second = host.login(&user.name, PASSWORD).await?.granted()?;
        differ("session_id of two logins", &first.session_id, &second.session_id)
    })),
    // Software that comes with an account comes with a password that everyone knows.
    case("login/no-account-exists-by-itself", "A new store has no account that anybody could guess.")
        .spec(&["docs/contract.md 2.11", "ASVS 6.3.2"])
        .needs(&[Need::OwnHost])
        .run(run!(async |host| {
            for name in ["admin", "root", "gatekey"] {
                host.login(name, name).await?.refused(401, "invalid_credentials").row(name)?;
                let response = host.post("/register").json(json!({"username": name, "password": PASSWORD}));
                response.send().await?.answered(201).row(format!("{name} is free"))?;
            }
            Ok(())
        })),
    case(
        "login/lifetimes-are-the-defaults",
        "Unless configured, an access token lives 900 seconds and a refresh token 604800, as their claims \
         say too.",
    )
    .spec(&["docs/contract.md 1.17", "docs/contract.md 4.26"])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        equal("expires_in", &tokens.expires_in, &900)?;
        equal("refresh_expires_in", &tokens.refresh_expires_in, &604_800)?;
        let access = Jws::parse(&tokens.access)?;
        equal("exp - iat", &(access.number("exp")? - access.number("iat")?), &900)
    })),
    case(
        "login/transport-may-be-named",
        "The transport may be named as body or cookie, which are answered so; any other is refused.",
    )
    .spec(&["docs/contract.md 1.5", "docs/contract.md 2.21"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let login = |transport: &str| {
            let body = json!({"username": user.name, "password": PASSWORD, "transport": transport});
            host.post("/login").same_origin().json(body).send()
        };
        login("body").await?.granted()?;
        login("cookie").await?.cookies_granted()?;
        for transport in ["header", "Cookie", ""] {
            login(transport).await?.invalid_field("transport", "unknown_value")?;
        }
        Ok(())
    })),
    // Refusals.
    // Else the answer tells which names exist, and which accounts were closed.
    case(
        "login/refusals-do-not-tell-causes-apart",
        "An unknown name, a wrong password and a disabled account are refused with the same bytes.",
    )
    .spec(&["docs/contract.md 2.11", "ASVS 6.3.8", "RFC 9110 15.5.2"])
    .needs(&[Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        let wrong = host.login(&user.name, WRONG).await?;
        wrong.refused(401, "invalid_credentials")?;
        let unknown = host.login(&host.fresh_name(), PASSWORD).await?;
        identical(&wrong, &unknown)?;
        user.set(json!({"disabled": true})).await?;
        let disabled = host.login(&user.name, PASSWORD).await?;
        identical(&wrong, &disabled)
    })),
    case(
        "login/cookie-refusals-do-not-tell-causes-apart",
        "In cookie transport, too, an unknown name, a wrong password and a disabled account are refused \
         with the same bytes.",
    )
    .spec(&["docs/contract.md 2.11", "ASVS 6.3.4"])
    .needs(&[Need::Control])
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = host.browser();
        let wrong = browser.login(&user.name, WRONG).await?;
        wrong.refused(401, "invalid_credentials")?;
        wrong.sets_no_cookie()?;
        let unknown = browser.login(&host.fresh_name(), PASSWORD).await?;
        identical(&wrong, &unknown)?;
        user.set(json!({"disabled": true})).await?;
        let disabled = browser.login(&user.name, PASSWORD).await?;
        identical(&wrong, &disabled)
    })),
    // A rule that is asked here tells that no such account can exist, and locks out whoever registered under older rules.
    case(
        "login/rules-are-not-asked",
        "A name or password that could not be registered is refused like any wrong one, with the same bytes.",
    )
    .spec(&["docs/contract.md 7.13", "docs/contract.md 2.11"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let wrong = host.login(&user.name, WRONG).await?;
        wrong.refused(401, "invalid_credentials")?;
        for password in ["", "x", "passwordpassword", &user.name, &"x".repeat(1000), "\u{0}"] {
            identical(&wrong, &host.login(&user.name, password).await?)?;
        }
        for name in ["", " ", "a\u{0}b", "a\nb", &"x".repeat(129), &format!("{} ", user.name)] {
            identical(&wrong, &host.login(name, PASSWORD).await?)?;
        }
        Ok(())
    })),
    case(
        "login/missing-members-are-refused",
        "A login without a name or without a password is invalid_request.",
    )
    .spec(&["docs/contract.md 1.5", "docs/contract.md 2.4"])
    .run(run!(async |host| {
        let user = host.user().await?;
        for body in [
            json!({}),
            json!({"username": user.name}),
            json!({"password": PASSWORD}),
            json!({"transport": "body"}),
        ] {
            let answer = host.post("/login").json(body).send().await?;
            answer.refused(400, "invalid_request")?;
        }
        Ok(())
    })),
    case("login/enabled-again-gets-in", "An account that was disabled gets in again once it is enabled.")
        .spec(&["docs/contract.md 1.5", "docs/contract.md 6.3"])
        .needs(&[Need::Control])
        .run(run!(async |host| {
            let user = host.user().await?;
            user.set(json!({"disabled": true})).await?;
            host.login(&user.name, PASSWORD).await?.refused(401, "invalid_credentials")?;
            user.set(json!({"disabled": false})).await?;
            host.login(&user.name, PASSWORD).await?.granted()?;
            Ok(())
        })),
    case(
        "login/name-may-be-spelled-otherwise",
        "A name is found in any case and compatibility form, and by no other name.",
    )
    .spec(&["docs/contract.md 7.16"])
    .run(run!(async |host| {
        let base = host.fresh_name();
        let name = format!("{base}-\u{c5}sa");
        let body = json!({"username": name, "password": PASSWORD});
        host.post("/register").json(body).send().await?.answered(201)?;
        for spelling in [
            name.clone(),
            name.to_uppercase(),
            name.to_lowercase(),
            format!("{base}-A\u{30a}sa"),
            format!("{base}-\u{212b}\u{ff53}a"),
        ] {
            host.login(&spelling, PASSWORD).await?.granted()?;
        }
        host.login(&format!("{base}-Asa"), PASSWORD).await?.refused(401, "invalid_credentials")
    })),
    // Cookies at login.
    case(
        "login/cookie-login-ends-the-session-before",
        "A cookie login over a live cookie session opens another one and ends the first, its access tokens \
         too.",
    )
    .spec(&["docs/contract.md 4.35", "docs/contract.md 6.2", "ASVS 7.2.4"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = user.browser().await?;
        let before = browser.copy();
        let anew = browser.login(&user.name, PASSWORD).await?.cookies_granted()?;
        before.get("/me").send().await?.invalid_token()?;
        host.refresh(&before.refresh_token()?).await?.refused(400, "invalid_grant")?;
        host.me(&anew.access).await?.answered(200)?;
        browser.refresh().await?.cookies_granted()?;
        Ok(())
    })),
    case(
        "login/one-cookie-is-enough-to-end-the-session-before",
        "A cookie login with the refresh cookie alone, as after the access cookie's end, ends that session \
         too.",
    )
    .spec(&["docs/contract.md 4.35"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = user.browser().await?;
        let before = browser.copy();
        browser.jar().remove(ACCESS);
        browser.login(&user.name, PASSWORD).await?.cookies_granted()?;
        before.get("/me").send().await?.invalid_token()
    })),
    // Else a stranger at the keyboard, or a page that can make one wrong attempt, logs the owner out.
    case(
        "login/failed-cookie-login-leaves-the-session",
        "A cookie login that is refused neither ends the session it came over nor clears its cookies.",
    )
    .spec(&["docs/contract.md 4.33", "docs/contract.md 4.35"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = user.browser().await?;
        let answer = browser.login(&user.name, WRONG).await?;
        answer.refused(401, "invalid_credentials")?;
        answer.sets_no_cookie()?;
        browser.get("/me").send().await?.answered(200)?;
        browser.refresh().await?.cookies_granted()?;
        Ok(())
    })),
    case(
        "login/body-login-leaves-the-cookie-session",
        "A body login from a browser that holds cookies is answered in the body and leaves the cookie \
         session alone.",
    )
    .spec(&["docs/contract.md 4.35", "docs/contract.md 1.5"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = user.browser().await?;
        let body = json!({"username": user.name, "password": PASSWORD});
        let answer = browser.post("/login").json(body).send().await?;
        answer.granted()?;
        browser.get("/me").send().await?.answered(200)?;
        Ok(())
    })),
    // Session fixation: what was planted before the login is known to whoever planted it.
    case(
        "login/planted-cookies-are-never-continued",
        "Cookies that were in the browser before the login, live or made up, are not those after it.",
    )
    .spec(&["docs/contract.md 4.35", "ASVS 7.2.4"])
    .run(run!(async |host| {
        let attacker = host.user().await?.browser().await?;
        let (access, refresh) = (attacker.access()?, attacker.refresh_token()?);
        let victim = host.user().await?;
        for planted in [[access.as_str(), &refresh], ["made-up", "made-up"]] {
            let browser = host.browser();
            browser.jar().set(ACCESS, planted[0]);
            browser.jar().set(REFRESH, planted[1]);
            let granted = browser.login(&victim.name, PASSWORD).await?.cookies_granted()?;
            differ("the access cookie", &granted.access.as_str(), &planted[0])?;
            differ("the refresh cookie", &granted.refresh.as_str(), &planted[1])?;
            let me = browser.get("/me").send().await?.answered(200)?;
            equal("sub", &me.get("sub"), &Some(&json!(victim.id)))?;
            host.me(planted[0]).await?.invalid_token()?;
        }
        Ok(())
    })),
    // Load and time.
    case(
        "login/flood-is-answered-or-put-off",
        "Of a hundred logins at once, more than may wait, each is granted or told to come back, and guarded \
         requests go on meanwhile.",
    )
    .spec(&["docs/contract.md 7.4", "docs/contract.md 2.24", "ASVS 15.1.3"])
    .needs(&[Need::OwnHost])
    .config(|| json!({"hashing": {"threads": 2, "queue": 16}}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let flood = all((0..100).map(|_| host.login(&user.name, PASSWORD)));
        let others = async {
            for _ in 0..20 {
                host.me(&tokens.access).await?.answered(200)?;
            }
            Ok(())
        };
        let (answers, others) = tokio::join!(flood, others);
        others?;
        let mut granted = 0;
        for answer in answers {
            let answer = answer?;
            if answer.status == 503 {
                answer.refused(503, "temporarily_unavailable")?;
            } else {
                answer.granted()?;
                granted += 1;
            }
        }
        if granted == 0 {
            return Err(failed("some logins granted", "none"));
        }
        host.login(&user.name, PASSWORD).await?.granted()?;
        Ok(())
    })),
    // Observed, since a busy machine says more about itself than about the host.
    case(
        "login/times-do-not-tell-causes-apart",
        "The median times of refusing an unknown name, a wrong password and a disabled account are within \
         a quarter of each other.",
    )
    .spec(&["docs/contract.md 7.5", "ASVS 6.3.8"])
    .kind(Kind::Observed)
    .needs(&[Need::Control])
    .reach(Reach::One)
    .run(run!(async |host| {
        let user = host.user().await?;
        let closed = host.user().await?;
        closed.set(json!({"disabled": true})).await?;
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        let started = Instant::now();
        // On a machine that has better things to do, fewer.
        while times[0].len() < 200 && started.elapsed() < Duration::from_secs(60) {
            let unknown = host.fresh_name();
            let attempts = [(&user.name, WRONG), (&unknown, PASSWORD), (&closed.name, PASSWORD)];
            // In turns, so that a busy moment of the machine meets all three.
            for ((name, password), times) in attempts.into_iter().zip(&mut times) {
                let begun = Instant::now();
                let answer = host.login(name, password).await?;
                times.push(begun.elapsed());
                answer.refused(401, "invalid_credentials")?;
            }
        }
        let rounds = times[0].len();
        let medians = times.map(|mut times| {
            times.sort();
            times.get(times.len() / 2).copied().unwrap_or_default()
        });
        let [wrong, unknown, disabled] = medians;
        let said = format!("wrong {wrong:.1?}, unknown {unknown:.1?}, disabled {disabled:.1?}");
        host.note(format!("medians of {rounds} each: {said}"));
        let least = wrong.min(unknown).min(disabled);
        let most = wrong.max(unknown).max(disabled);
        if most > least.mul_f64(1.25) {
            return Err(failed("medians within a quarter of each other", said));
        }
        Ok(())
    })),
];
