//! Many requests at once.
//!
//! A race that goes wrong once in a hundred times still goes wrong, so the cases repeat what is cheap to repeat.

use std::collections::BTreeSet;

use serde_json::json;

use super::revoke::refused_soon;
use crate::{
    case::{Case, Failure, Need, Outcome, case, failed, run},
    client::{Response, all},
    host::{Host, PASSWORD},
    token::Jws,
    verdict::{Tokens, equal},
};

pub(crate) const CASES: &[Case] = &[
    case(
        "races/identical-refreshes-are-answered-identically",
        "Two hundred identical refreshes at once are all answered with the same refresh token.",
    )
    .spec(&["docs/contract.md 4.24", "docs/contract.md 4.8", "docs/contract.md 4.12", "ASVS 15.4.2"])
    .needs(&[Need::OwnHost])
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let answers = all((0..200).map(|_| host.refresh(&first.refresh))).await;
        let granted = granted(answers)?;
        let refresh: BTreeSet<_> = granted.iter().map(|tokens| &tokens.refresh).collect();
        equal("different refresh tokens", &refresh.len(), &1)?;
        let access: BTreeSet<_> = granted.iter().map(|tokens| &tokens.access).collect();
        equal("different access tokens", &access.len(), &200)?;
        let Some(any) = granted.first() else {
            return Err(failed("an answer", "none"));
        };
        equal("rotations", &Jws::parse(&any.refresh)?.number("gen")?, &1)?;
        host.me(&any.access).await?.answered(200)?;
        host.refresh(&any.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "races/identical-refreshes-without-grace-end-the-session",
        "With grace 0, of two hundred identical refreshes at once exactly one is granted, and the session \
         is revoked.",
    )
    .spec(&["docs/contract.md 4.25", "docs/contract.md 4.8", "ASVS 10.4.5"])
    .needs(&[Need::OwnHost])
    .config(|| json!({"reuse_grace": 0}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let answers = all((0..200).map(|_| host.refresh(&first.refresh))).await;
        let mut winners = Vec::new();
        for answer in answers {
            let answer = answer?;
            if answer.status == 200 {
                winners.push(answer.granted()?);
            } else {
                answer.refused(400, "invalid_grant")?;
            }
        }
        equal("granted", &winners.len(), &1)?;
        for winner in &winners {
            is_over(host, winner).await?;
        }
        Ok(())
    })),
    case(
        "races/two-processes-agree",
        "Identical refreshes at once through two processes on one store are all answered with the same \
         refresh token.",
    )
    .spec(&["docs/contract.md 4.8", "docs/contract.md 4.24"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let sibling = host.sibling().await?;
        let user = host.user().await?;
        for _ in 0..5 {
            let first = user.login().await?;
            let nodes = [host, &sibling];
            let answers = all((0..40).map(|at| nodes[at % 2].refresh(&first.refresh))).await;
            let granted = granted(answers)?;
            let refresh: BTreeSet<_> = granted.iter().map(|tokens| &tokens.refresh).collect();
            equal("different refresh tokens", &refresh.len(), &1)?;
        }
        Ok(())
    })),
    case(
        "races/two-processes-without-grace-grant-one",
        "With grace 0, of identical refreshes at once through two processes exactly one is granted.",
    )
    .spec(&["docs/contract.md 4.8", "docs/contract.md 4.25"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .config(|| json!({"reuse_grace": 0}))
    .run(run!(async |host| {
        let sibling = host.sibling().await?;
        let user = host.user().await?;
        for _ in 0..5 {
            let first = user.login().await?;
            let nodes = [host, &sibling];
            let answers = all((0..40).map(|at| nodes[at % 2].refresh(&first.refresh))).await;
            let mut winners = 0;
            for answer in answers {
                let answer = answer?;
                if answer.status == 200 {
                    winners += 1;
                } else {
                    answer.refused(400, "invalid_grant")?;
                }
            }
            equal("granted", &winners, &1)?;
        }
        Ok(())
    })),
    // The honest client whom rotation must not accuse: tabs that share a jar, refresh when they like, and hear answers
    // in any order.
    case(
        "races/tabs-of-one-browser-are-never-accused",
        "Tabs of one browser that refresh all the time, by the cookies of the moment, are each answered or \
         superseded.",
    )
    .spec(&["docs/contract.md 4.12", "docs/contract.md 4.13", "docs/contract.md 4.14"])
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let user = host.user().await?;
        for _ in 0..3 {
            let browser = user.browser().await?;
            let tabs = all((0..8).map(async |_| {
                for _ in 0..8 {
                    let answer = browser.refresh().await?;
                    if answer.status == 409 {
                        answer.refused(409, "superseded")?;
                        answer.sets_no_cookie()?;
                    } else {
                        answer.answered(200)?;
                    }
                    browser.get("/me").send().await?.answered(200)?;
                }
                Ok::<_, Failure>(())
            }));
            for tab in tabs.await {
                tab?;
            }
            browser.refresh().await?.answered(200)?;
        }
        Ok(())
    })),
    case(
        "races/sessions-do-not-disturb-each-other",
        "Forty sessions refreshed at once, several times over, each keep their own chain.",
    )
    .spec(&["docs/contract.md 4.11"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let mut sessions = Vec::new();
        for _ in 0..40 {
            sessions.push(user.login().await?);
        }
        for _ in 0..4 {
            let next = granted(all(sessions.iter().map(|held| host.refresh(&held.refresh))).await)?;
            for (before, after) in sessions.iter().zip(&next) {
                equal("session_id", &after.session_id, &before.session_id)?;
            }
            let tokens: BTreeSet<_> = next.iter().map(|tokens| &tokens.refresh).collect();
            equal("different refresh tokens", &tokens.len(), &40)?;
            sessions = next;
        }
        Ok(())
    })),
    // A logout.
    case(
        "races/logout-beats-refreshes",
        "After a logout was answered no token of its session works, whatever refreshes were under way.",
    )
    .spec(&["docs/contract.md 1.7", "docs/contract.md 4.10", "docs/contract.md 6.5"])
    .run(run!(async |host| {
        let user = host.user().await?;
        for round in 0..20 {
            let first = user.login().await?;
            let logout = if round % 2 == 0 {
                host.post("/logout").bearer(&first.access)
            } else {
                host.post("/logout").json(json!({"refresh_token": first.refresh}))
            };
            let refreshes = all((0..4).map(|_| host.refresh(&first.refresh)));
            let (logout, refreshes) = tokio::join!(logout.send(), refreshes);
            logout?.status(204)?;
            end_of_race(host, &first, refreshes).await?;
        }
        Ok(())
    })),
    case(
        "races/logout-at-another-process-beats-refreshes",
        "After one process answered a logout no refresh of its session succeeds at another, whatever was under way \
         there, and its access tokens are refused there within a second.",
    )
    .spec(&["docs/contract.md 4.8", "docs/contract.md 4.10", "docs/contract.md 6.6"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .run(run!(async |host| {
        let sibling = host.sibling().await?;
        let user = host.user().await?;
        for round in 0..6 {
            let first = user.login().await?;
            let (here, there) = if round % 2 == 0 { (host, &sibling) } else { (&sibling, host) };
            let logout = here.post("/logout").json(json!({"refresh_token": first.refresh}));
            let refreshes = all((0..4).map(|_| there.refresh(&first.refresh)));
            let (logout, refreshes) = tokio::join!(logout.send(), refreshes);
            logout?.status(204)?;
            for node in [here, there] {
                node.refresh(&first.refresh).await?.refused(400, "invalid_grant")?;
            }
            end_of_race(here, &first, refreshes).await?;
            refused_soon(there, &first.access).await?;
        }
        Ok(())
    })),
    case(
        "races/ending-all-sessions-beats-refreshes",
        "After all sessions of a subject were ended no token of theirs works, whatever refreshes were \
         under way.",
    )
    .spec(&["docs/contract.md 1.12", "docs/contract.md 6.5"])
    .run(run!(async |host| {
        let user = host.user().await?;
        for _ in 0..5 {
            let mut sessions = Vec::new();
            for _ in 0..4 {
                sessions.push(user.login().await?);
            }
            let [first, ..] = sessions.as_slice() else {
                return Err(failed("four sessions", "none"));
            };
            let end = host.delete("/sessions").bearer(&first.access);
            let refreshes = all(sessions.iter().map(|held| host.refresh(&held.refresh)));
            let (end, refreshes) = tokio::join!(end.send(), refreshes);
            end?.status(204)?;
            for (held, answer) in sessions.iter().zip(refreshes) {
                end_of_race(host, held, vec![answer]).await?;
            }
        }
        Ok(())
    })),
    case(
        "races/disabling-beats-refreshes-and-logins",
        "After a subject was disabled neither a refresh nor a login that was under way leaves a session \
         that works.",
    )
    .spec(&["docs/contract.md 4.30", "docs/contract.md 6.1", "ASVS 7.4.2"])
    .needs(&[Need::Control])
    .run(run!(async |host| {
        for _ in 0..5 {
            let user = host.user().await?;
            let first = user.login().await?;
            let logins = all((0..4).map(|_| host.login(&user.name, PASSWORD)));
            let refreshes = all((0..4).map(|_| host.refresh(&first.refresh)));
            let disable = user.set(json!({"disabled": true}));
            let (disabled, refreshes, logins) = tokio::join!(disable, refreshes, logins);
            disabled?;
            end_of_race(host, &first, refreshes).await?;
            for answer in logins {
                let answer = answer?;
                if answer.status == 200 {
                    is_over(host, &answer.granted()?).await?;
                } else {
                    answer.refused(401, "invalid_credentials")?;
                }
            }
        }
        Ok(())
    })),
    // Else whoever stole the old password only has to be logging in at the right moment.
    case(
        "races/password-change-beats-logins",
        "After a password was changed no session works that was opened with the old one, however late.",
    )
    .spec(&["docs/contract.md 1.13", "docs/contract.md 6.1", "ASVS 7.4.3"])
    .run(run!(async |host| {
        for _ in 0..4 {
            let user = host.user().await?;
            let owner = user.login().await?;
            let body = json!({"current_password": PASSWORD, "new_password": "nine paper boats in the rain"});
            let change = host.post("/password").bearer(&owner.access).json(body);
            let logins = all((0..6).map(|_| host.login(&user.name, PASSWORD)));
            let (change, logins) = tokio::join!(change.send(), logins);
            change?.status(204)?;
            for answer in logins {
                let answer = answer?;
                if answer.status == 200 {
                    is_over(host, &answer.granted()?).await?;
                } else {
                    answer.refused(401, "invalid_credentials")?;
                }
            }
            host.me(&owner.access).await?.answered(200)?;
        }
        Ok(())
    })),
    case(
        "races/one-of-two-password-changes-wins",
        "Of password changes at once with the same current password, the last word is one of theirs and \
         only one.",
    )
    .spec(&["docs/contract.md 1.13", "ASVS 15.4.2"])
    .run(run!(async |host| {
        let user = host.user().await?;
        let owner = user.login().await?;
        let words: Vec<String> = (0..6).map(|at| format!("paper boat number {at} in the rain")).collect();
        let changes = all(words.iter().map(|new| {
            let body = json!({"current_password": PASSWORD, "new_password": new});
            host.post("/password").bearer(&owner.access).json(body).send()
        }));
        let mut changed = Vec::new();
        for (word, answer) in words.iter().zip(changes.await) {
            let answer = answer?;
            if answer.status == 204 {
                changed.push(word);
            } else {
                answer.refused(401, "invalid_credentials")?;
            }
        }
        equal("changes made", &changed.len(), &1)?;
        for word in &words {
            let answer = host.login(&user.name, word).await?;
            if changed.contains(&word) {
                answer.granted()?;
            } else {
                answer.refused(401, "invalid_credentials")?;
            }
        }
        Ok(())
    })),
    case(
        "races/one-registration-of-a-name-wins",
        "Of registrations of one name at once exactly one makes an account, with its own password.",
    )
    .spec(&["docs/contract.md 2.17", "ASVS 2.3.3", "ASVS 15.4.2"])
    .run(run!(async |host| {
        let sent: Vec<String> = (0..10).map(|at| format!("paper boat number {at} in the rain")).collect();
        for _ in 0..3 {
            let name = host.fresh_name();
            let spellings = [name.clone(), name.to_uppercase()];
            let answers = all(sent.iter().zip(spellings.iter().cycle()).map(|(password, name)| {
                let body = json!({"username": name, "password": password});
                host.post("/register").json(body).send()
            }));
            let mut winners = Vec::new();
            for (password, answer) in sent.iter().zip(answers.await) {
                let answer = answer?;
                if answer.status == 201 {
                    winners.push(password);
                } else {
                    answer.refused(409, "username_taken")?;
                }
            }
            equal("accounts made", &winners.len(), &1)?;
            for password in winners {
                host.login(&name, password).await?.granted()?;
            }
        }
        Ok(())
    })),
    // Guesses sent side by side must all be counted before any is looked at.
    case(
        "races/guesses-at-once-are-all-counted",
        "Of fifty wrong guesses at once no more are looked at than of fifty in a row.",
    )
    .spec(&["docs/contract.md 7.17", "docs/contract.md 7.18", "ASVS 6.3.1"])
    .config(|| json!({"limits": {"login_network_per_minute": 0, "free_failures": 3}}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let begun = std::time::Instant::now();
        let answers = all((0..50).map(|_| host.login(&user.name, "a wrong pass phrase"))).await;
        let mut looked_at: u64 = 0;
        for answer in answers {
            let answer = answer?;
            if answer.status == 429 {
                answer.refused(429, "rate_limited")?;
            } else {
                answer.refused(401, "invalid_credentials")?;
                looked_at += 1;
            }
        }
        // After three, one more for each wait that went by meanwhile: 1 s, 2 s, 4 s.
        let seconds = begun.elapsed().as_secs();
        let most = 3 + u64::from((seconds + 1).ilog2());
        if looked_at < 3 || looked_at > most {
            return Err(failed(format!("3 to {most} looked at"), looked_at));
        }
        Ok(())
    })),
];

/// All answers granted.
fn granted(answers: Vec<Result<Response, Failure>>) -> Result<Vec<Tokens>, Failure> {
    answers.into_iter().map(|answer| answer?.granted()).collect()
}

/// Neither token of the session works.
async fn is_over(host: &Host, tokens: &Tokens) -> Outcome {
    host.me(&tokens.access).await?.invalid_token()?;
    host.refresh(&tokens.refresh).await?.refused(400, "invalid_grant")
}

/// The session is over, and so is whatever its refreshes were granted before they heard of it.
async fn end_of_race(host: &Host, held: &Tokens, refreshes: Vec<Result<Response, Failure>>) -> Outcome {
    is_over(host, held).await?;
    for answer in refreshes {
        let answer = answer?;
        if answer.status == 200 {
            is_over(host, &answer.granted()?).await?;
        } else {
            answer.refused(400, "invalid_grant")?;
        }
    }
    Ok(())
}
