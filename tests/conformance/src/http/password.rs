//! Which passwords are taken, how exactly they are compared, and `POST /password`.

use serde_json::json;

use crate::{
    case::{Case, Failure, Need, Outcome, Reach, case, run},
    client::Response,
    host::{Host, PASSWORD},
};

const NEW: &str = "nine paper boats in the rain";
const WRONG: &str = "a wrong pass phrase";

/// Passwords that everybody tries and that are long enough.
const COMMON: &[&str] =
    &["123456789012345", "aaaaaaaaaaaaaaa", "passwordpassword", "qwertyuiopasdfgh", "thisismypassword"];

pub(crate) const CASES: &[Case] = &[
    // Length.
    case(
        "password/shorter-than-the-minimum-is-refused",
        "By default a password of 14 code points is too_short and one of 15 is taken.",
    )
    .spec(&["docs/contract.md 7.6", "docs/contract.md 2.21", "ASVS 6.2.1", "SP 800-63B-4 3.1.1.2"])
    .run(run!(async |host| {
        for short in ["", "x", "fourteen chars"] {
            refused(host, short, "too_short").await?;
        }
        taken(host, "fifteen chars !").await
    })),
    case(
        "password/minimum-is-configurable",
        "With a minimum of 8 a password of 7 code points is too_short and one of 8 is taken.",
    )
    .spec(&["docs/contract.md 7.6", "ASVS 6.2.1"])
    .config(|| json!({"password_min": 8}))
    .run(run!(async |host| {
        refused(host, "vK7;p q", "too_short").await?;
        taken(host, "vK7;p qz").await
    })),
    case(
        "password/minimum-below-8-is-refused-at-start",
        "A host with a minimum of 7 does not start, and says why; with 8 it does.",
    )
    .spec(&["docs/contract.md 7.6", "ASVS 6.2.1"])
    .needs(&[Need::Processes])
    .run(run!(async |host| {
        let launch = host.launch()?;
        let low = launch.clone().config(json!({"password_min": 7}));
        low.exit().await?.refused_configuration("password_min")?;
        launch.config(json!({"password_min": 8})).start().await?;
        Ok(())
    })),
    // Cut passwords are weaker than they look, and a refusal is honest.
    case(
        "password/longer-than-256-is-refused",
        "A password of 256 code points is taken, one of 257 is too_long and never cut.",
    )
    .spec(&["docs/contract.md 7.7", "docs/contract.md 2.21", "ASVS 6.2.9"])
    .run(run!(async |host| {
        let longest = "paper boats, ".repeat(20).chars().take(256).collect::<String>();
        taken(host, &longest).await?;
        taken(host, &longest.chars().take(64).collect::<String>()).await?;
        refused(host, &format!("{longest}!"), "too_long").await
    })),
    case(
        "password/length-counts-code-points",
        "Length counts code points, not bytes: fifteen emoji are enough, fourteen are not, and 256 are not \
         too many.",
    )
    .spec(&["docs/contract.md 7.6", "docs/contract.md 7.7", "ASVS 6.2.1"])
    .run(run!(async |host| {
        let emoji: String = (0..257).filter_map(|at| char::from_u32(0x1F400 + at % 60)).collect();
        let first = |count| emoji.chars().take(count).collect::<String>();
        refused(host, &first(14), "too_short").await?;
        taken(host, &first(15)).await?;
        taken(host, &first(256)).await?;
        refused(host, &first(257), "too_long").await
    })),
    // What it is made of.
    case(
        "password/no-composition-is-asked-for",
        "Passwords of one kind of character alone are taken: lower case, upper case, digits, blanks, \
         emoji, signs.",
    )
    .spec(&["docs/contract.md 7.8", "ASVS 6.2.5", "SP 800-63B-4 3.1.1.2"])
    .run(run!(async |host| {
        for password in [
            "gmdkfhsywbqxjvp",
            "GMDKFHSYWBQXJVP",
            "730194628519473",
            &" ".repeat(23),
            "?!%&()[]{}+-*/~",
            "水木火土金日月山川田竹雨雪風花",
            "tab\t and \u{7} bell \u{0} nul",
        ] {
            taken(host, password).await?;
        }
        Ok(())
    })),
    case(
        "password/common-ones-are-refused",
        "Passwords that everybody tries are refused with the rule common.",
    )
    .spec(&["docs/contract.md 7.10", "docs/contract.md 2.21", "ASVS 6.2.4"])
    .run(run!(async |host| {
        for common in COMMON {
            refused(host, common, "common").await?;
        }
        taken(host, "passwordpassword of mine, not yours").await
    })),
    case(
        "password/user-name-is-refused",
        "A password made of the user name is refused with the rule contains_username; one that mentions it \
         is not.",
    )
    .spec(&["docs/contract.md 7.11", "docs/contract.md 2.21", "ASVS 6.2.11"])
    .run(run!(async |host| {
        let name = host.fresh_name();
        for password in [name.clone(), name.to_uppercase(), format!("{name}!!"), name.repeat(2)] {
            let answer = register(host, &name, &password).await?;
            answer.invalid_field("password", "contains_username")?;
        }
        let password = format!("{name} is what they call me");
        register(host, &name, &password).await?.answered(201)?;
        Ok(())
    })),
    // Comparing.
    case(
        "password/every-byte-counts",
        "Case, blanks at the ends, Unicode form, the byte after a NUL and the 73rd byte each make another \
         password.",
    )
    .spec(&["docs/contract.md 7.9", "ASVS 6.2.8"])
    .reach(Reach::Axes)
    .run(run!(async |host| {
        let long = "seven green lanterns by the quay ".repeat(3);
        for (right, wrong) in [
            ("Seven green lanterns", "seven green lanterns"),
            (" seven green lanterns", "seven green lanterns"),
            ("seven green lanterns ", "seven green lanterns"),
            ("seven  green lanterns", "seven green lanterns"),
            ("seven gr\u{e9}en lanterns", "seven gre\u{301}en lanterns"),
            ("seven \u{fb01}ne lanterns", "seven fine lanterns"),
            ("seven green lan\u{0}terns", "seven green lan\u{0}tern"),
            ("seven green lan\u{0}terns", "seven green lan"),
            ("seven green lanterns\u{feff}", "seven green lanterns"),
            (&long[..73], &long[..72]),
            (&long[..73], &format!("{}!", &long[..72])),
        ] {
            let name = host.fresh_name();
            register(host, &name, right).await?.answered(201)?;
            host.login(&name, wrong).await?.refused(401, "invalid_credentials")?;
            host.login(&name, right).await?.granted()?;
        }
        Ok(())
    })),
    // Changing.
    case(
        "password/change-replaces-the-password",
        "After a change the new password logs in and the old one does not.",
    )
    .spec(&["docs/contract.md 1.13", "ASVS 6.2.2"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        change(host, &tokens.access, PASSWORD, NEW).await?.status(204)?;
        host.login(&user.name, PASSWORD).await?.refused(401, "invalid_credentials")?;
        host.login(&user.name, NEW).await?.granted()?;
        Ok(())
    })),
    case(
        "password/change-ends-the-other-sessions",
        "A change ends every other session of the subject, access tokens too; the one that asked goes on.",
    )
    .spec(&["docs/contract.md 1.13", "docs/contract.md 6.1", "docs/contract.md 6.5", "ASVS 7.4.3"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (here, there) = (user.login().await?, user.login().await?);
        let browser = user.browser().await?;
        let stranger = host.user().await?.login().await?;
        change(host, &here.access, PASSWORD, NEW).await?.status(204)?;
        host.me(&there.access).await?.invalid_token()?;
        host.refresh(&there.refresh).await?.refused(400, "invalid_grant")?;
        browser.get("/me").send().await?.invalid_token()?;
        host.me(&here.access).await?.answered(200)?;
        host.refresh(&here.refresh).await?.granted()?;
        host.me(&stranger.access).await?.answered(200)?;
        Ok(())
    })),
    case(
        "password/change-leaves-the-browsers-cookies",
        "A browser that changes its password keeps its session, and no cookie is set or cleared.",
    )
    .spec(&["docs/contract.md 1.13", "docs/contract.md 4.33"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let browser = user.browser().await?;
        let body = json!({"current_password": PASSWORD, "new_password": NEW});
        let answer = browser.post("/password").json(body).send().await?;
        answer.status(204)?;
        answer.sets_no_cookie()?;
        browser.get("/me").send().await?.answered(200)?;
        browser.refresh().await?.cookies_granted()?;
        Ok(())
    })),
    case(
        "password/change-needs-the-current-password",
        "A change with a wrong current password is invalid_credentials, and nothing changes: not the \
         password, no session.",
    )
    .spec(&["docs/contract.md 2.11", "docs/contract.md 7.14", "ASVS 6.2.3"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let (here, there) = (user.login().await?, user.login().await?);
        for wrong in [WRONG, "", NEW, " seven green lanterns by the quay"] {
            change(host, &here.access, wrong, NEW).await?.refused(401, "invalid_credentials")?;
        }
        host.login(&user.name, NEW).await?.refused(401, "invalid_credentials")?;
        host.login(&user.name, PASSWORD).await?.granted()?;
        for tokens in [&here, &there] {
            host.me(&tokens.access).await?.answered(200)?;
        }
        Ok(())
    })),
    case(
        "password/change-asks-the-rules-of-the-new-one",
        "A new password that breaks a rule is validation_failed with the field new_password, and the old \
         one stays.",
    )
    .spec(&["docs/contract.md 7.13", "docs/contract.md 2.21"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let long = "paper boats, ".repeat(20);
        for (new, rule) in [
            ("", "too_short"),
            ("fourteen chars", "too_short"),
            (long.as_str(), "too_long"),
            ("passwordpassword", "common"),
            (user.name.as_str(), "contains_username"),
        ] {
            change(host, &tokens.access, PASSWORD, new).await?.invalid_field("new_password", rule)?;
        }
        host.login(&user.name, PASSWORD).await?.granted()?;
        Ok(())
    })),
    // Else the rules, asked first, would be the same for everyone and the current password could be left out of it.
    case(
        "password/current-password-is-looked-at-first",
        "A wrong current password is invalid_credentials even if the new one breaks a rule.",
    )
    .spec(&["docs/contract.md 7.14"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        change(host, &tokens.access, WRONG, "short").await?.refused(401, "invalid_credentials")?;
        change(host, &tokens.access, PASSWORD, "short").await?.invalid_field("new_password", "too_short")
    })),
    case(
        "password/change-needs-a-session",
        "Without an access token the current password is not enough; a token of an ended session is not \
         either.",
    )
    .spec(&["docs/contract.md 1.13", "ASVS 6.2.3"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let body = json!({"current_password": PASSWORD, "new_password": NEW});
        let bare = host.post("/password").json(body).send().await?;
        bare.refused(401, "unauthenticated")?;
        let logout = host.post("/logout").bearer(&tokens.access);
        logout.send().await?.status(204)?;
        change(host, &tokens.access, PASSWORD, NEW).await?.invalid_token()?;
        host.login(&user.name, PASSWORD).await?.granted()?;
        Ok(())
    })),
    case(
        "password/change-needs-both-members",
        "A change that lacks the current or the new password is invalid_request, and nothing changes.",
    )
    .spec(&["docs/contract.md 1.13", "docs/contract.md 2.4", "ASVS 6.2.3"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        for body in [json!({}), json!({"current_password": PASSWORD}), json!({"new_password": NEW})] {
            let answer = host.post("/password").bearer(&tokens.access).json(body);
            answer.send().await?.refused(400, "invalid_request")?;
        }
        host.login(&user.name, PASSWORD).await?.granted()?;
        Ok(())
    })),
    case("password/never-expires-by-age", "A password works after five years as on the first day.")
        .spec(&["docs/contract.md 7.8", "ASVS 6.2.10"])
        .needs(&[Need::Clock])
        .run(run!(async |host| {
            let user = host.user().await?;
            host.advance(5 * 365 * 24 * 3600).await?;
            let tokens = host.login(&user.name, PASSWORD).await?.granted()?;
            host.me(&tokens.access).await?.answered(200)?;
            Ok(())
        })),
];

async fn register(host: &Host, name: &str, password: &str) -> Result<Response, Failure> {
    let body = json!({"username": name, "password": password});
    host.post("/register").json(body).send().await
}

async fn change(host: &Host, access: &str, current: &str, new: &str) -> Result<Response, Failure> {
    let body = json!({"current_password": current, "new_password": new});
    let request = host.post("/password").bearer(access).json(body);
    request.send().await
}

/// A password can be registered, and logs in.
async fn taken(host: &Host, password: &str) -> Outcome {
    let name = host.fresh_name();
    register(host, &name, password).await?.answered(201)?;
    host.login(&name, password).await?.granted()?;
    Ok(())
}

/// A password breaks a rule when an account is registered.
async fn refused(host: &Host, password: &str, rule: &str) -> Outcome {
    let answer = register(host, &host.fresh_name(), password).await?;
    answer.invalid_field("password", rule)
}
