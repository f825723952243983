//! SIGKILL, SIGTERM and restarts on a persistent store.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::{
    case::{Case, Failure, Need, Outcome, case, harness, run},
    client::all,
    host::{Host, PASSWORD},
    verdict::{Tokens, equal},
};

pub(crate) const CASES: &[Case] = &[
    case(
        "crash/restart-keeps-accounts-and-sessions",
        "After a kill and a restart accounts log in, access tokens are valid, and refresh tokens rotate.",
    )
    .spec(&["docs/contract.md 4.6", "docs/contract.md 4.11"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .run(run!(async |host| {
        let user = host.user().await?;
        let first = user.login().await?;
        let browser = user.browser().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        host.kill().await?;
        host.restart().await?;
        host.me(&first.access).await?.answered(200)?;
        host.me(&second.access).await?.answered(200)?;
        host.refresh(&second.refresh).await?.granted()?;
        browser.refresh().await?.cookies_granted()?;
        user.login().await?;
        Ok(())
    })),
    // The list of revoked sessions is kept in memory; what fills it is in the store.
    case(
        "crash/restart-keeps-revocations",
        "After a kill and a restart what was revoked before is refused from the first request on, access \
         tokens too.",
    )
    .spec(&["docs/contract.md 6.7", "docs/contract.md 6.3"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .config(|| json!({"rotation": "strict"}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let (kept, logged_out, reused) = (user.login().await?, user.login().await?, user.login().await?);
        let logout = host.post("/logout").bearer(&logged_out.access);
        logout.send().await?.status(204)?;
        let successor = host.refresh(&reused.refresh).await?.granted()?;
        host.refresh(&reused.refresh).await?.refused(400, "invalid_grant")?;
        let closed = host.user().await?;
        let disabled = closed.login().await?;
        closed.set(json!({"disabled": true})).await?;
        host.kill().await?;
        host.restart().await?;
        for tokens in [&logged_out, &successor, &disabled] {
            host.me(&tokens.access).await?.invalid_token()?;
            host.refresh(&tokens.refresh).await?.refused(400, "invalid_grant")?;
        }
        host.me(&kept.access).await?.answered(200)?;
        host.refresh(&kept.refresh).await?.granted()?;
        Ok(())
    })),
    case(
        "crash/restart-keeps-what-rotation-remembers",
        "After a kill and a restart a parent is replayed, a live token held and an older one superseded, \
         as before.",
    )
    .spec(&[
        "docs/contract.md 4.6",
        "docs/contract.md 4.12",
        "docs/contract.md 4.13",
        "docs/contract.md 4.14",
    ])
    .needs(&[Need::Processes, Need::PersistentStore])
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let first = host.user().await?.login().await?;
        let second = host.refresh(&first.refresh).await?.granted()?;
        let third = host.refresh(&second.refresh).await?.granted()?;
        host.kill().await?;
        host.restart().await?;
        host.refresh(&first.refresh).await?.refused(409, "superseded")?;
        let again = host.refresh(&second.refresh).await?.granted()?;
        equal("refresh_token", &again.refresh, &third.refresh)?;
        host.kill().await?;
        host.restart().await?;
        let held = host.refresh(&third.refresh).await?.granted()?;
        equal("refresh_token", &held.refresh, &third.refresh)
    })),
    // The answer that a crash swallows is the one that an honest client cannot do without.
    case(
        "crash/kill-amid-rotations-accuses-nobody",
        "Clients that a kill cut off in the middle of refreshes repeat their request after the restart, \
         and all go on.",
    )
    .spec(&["docs/contract.md 4.8", "docs/contract.md 4.12", "ASVS 2.3.3"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let user = host.user().await?;
        for round in 0..4 {
            let held = clients(host, &user.name).await?;
            let answered = AtomicUsize::new(0);
            let kill_at = 30 + 17 * round;
            let held = all(held.into_iter().map(async |mut held| {
                while let Ok(answer) = host.refresh(&held.refresh).await {
                    held = answer.granted()?;
                    if answered.fetch_add(1, Ordering::Relaxed) == kill_at {
                        host.kill().await?;
                    }
                }
                Ok::<_, Failure>(held)
            }));
            let held = held.await;
            host.restart().await?;
            for held in held {
                goes_on(host, &held?).await?;
            }
        }
        Ok(())
    })),
    case(
        "crash/clients-of-a-dead-node-go-on-with-another",
        "Clients that a kill cut off repeat their request at another node on the same store, and all go on.",
    )
    .spec(&["docs/contract.md 4.8", "docs/contract.md 4.12"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let sibling = host.sibling().await?;
        let held = clients(host, &user.name).await?;
        let answered = AtomicUsize::new(0);
        let held = all(held.into_iter().map(async |mut held| {
            while let Ok(answer) = host.refresh(&held.refresh).await {
                held = answer.granted()?;
                if answered.fetch_add(1, Ordering::Relaxed) == 50 {
                    host.kill().await?;
                }
            }
            Ok::<_, Failure>(held)
        }));
        for held in held.await {
            goes_on(&sibling, &held?).await?;
        }
        Ok(())
    })),
    case(
        "crash/kill-amid-registrations-leaves-none-half-made",
        "After a kill in the middle of registrations each account exists with its password, or does not \
         exist at all.",
    )
    .spec(&["docs/contract.md 1.4", "ASVS 2.3.3"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .run(run!(async |host| {
        let register = async |name: &str| {
            let body = json!({"username": name, "password": PASSWORD});
            host.post("/register").json(body).send().await
        };
        let answered = AtomicUsize::new(0);
        // What each client was answered, and the name it was cut off with.
        let clients = all((0..6).map(async |_| {
            let mut made = Vec::new();
            loop {
                let name = host.fresh_name();
                match register(&name).await {
                    Ok(answer) => answer.answered(201)?,
                    Err(_) => return Ok::<_, Failure>((made, name)),
                };
                made.push(name);
                if answered.fetch_add(1, Ordering::Relaxed) == 20 {
                    host.kill().await?;
                }
            }
        }));
        let clients = clients.await;
        host.restart().await?;
        for client in clients {
            let (made, cut_off) = client?;
            for name in made {
                host.login(&name, PASSWORD).await?.granted()?;
            }
            let again = register(&cut_off).await?;
            if again.status == 409 {
                again.refused(409, "username_taken")?;
            } else {
                again.answered(201)?;
            }
            host.login(&cut_off, PASSWORD).await?.granted()?;
        }
        Ok(())
    })),
    case(
        "crash/kill-amid-logouts-keeps-every-answered-one",
        "After a kill in the middle of logouts every logout that was answered is still one.",
    )
    .spec(&["docs/contract.md 1.7", "docs/contract.md 6.7"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .run(run!(async |host| {
        let user = host.user().await?;
        let mut sessions = Vec::new();
        for _ in 0..40 {
            sessions.push(host.login(&user.name, PASSWORD).await?.granted()?);
        }
        let answered = AtomicUsize::new(0);
        let answers = all(sessions.iter().map(async |held| {
            let Ok(answer) = host.post("/logout").bearer(&held.access).send().await else {
                return Ok::<_, Failure>(false);
            };
            answer.status(204)?;
            if answered.fetch_add(1, Ordering::Relaxed) == 10 {
                host.kill().await?;
            }
            Ok(true)
        }));
        let answers = answers.await;
        host.restart().await?;
        for (held, answer) in sessions.iter().zip(answers) {
            if answer? {
                host.me(&held.access).await?.invalid_token()?;
                host.refresh(&held.refresh).await?.refused(400, "invalid_grant")?;
            } else {
                // Over or not, but one of the two.
                host.refresh(&held.refresh).await?.json()?;
            }
        }
        Ok(())
    })),
    case(
        "crash/terminate-amid-rotations-accuses-nobody",
        "A host told to end in the middle of refreshes ends with code 0, and after a restart every client \
         goes on.",
    )
    .spec(&["docs/contract.md 4.8", "docs/contract.md 4.12"])
    .needs(&[Need::Processes, Need::PersistentStore])
    .config(|| json!({"reuse_grace": 60}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let held = clients(host, &user.name).await?;
        let answered = AtomicUsize::new(0);
        let held = all(held.into_iter().map(async |mut held| {
            while let Ok(answer) = host.refresh(&held.refresh).await {
                held = answer.granted()?;
                if answered.fetch_add(1, Ordering::Relaxed) == 50 {
                    host.stop().await?.gracefully()?;
                }
            }
            Ok::<_, Failure>(held)
        }));
        let held = held.await;
        host.restart().await?;
        for held in held {
            goes_on(host, &held?).await?;
        }
        Ok(())
    })),
];

/// Eight clients with a session each.
async fn clients(host: &Host, name: &str) -> Result<Vec<Tokens>, Failure> {
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(host.login(name, PASSWORD).await?.granted()?);
    }
    if clients.is_empty() {
        return Err(harness("no clients"));
    }
    Ok(clients)
}

/// A client repeats the request it was cut off in, and goes on with what it is given.
async fn goes_on(host: &Host, held: &Tokens) -> Outcome {
    let next = host.refresh(&held.refresh).await?.granted()?;
    host.me(&next.access).await?.answered(200)?;
    let after = host.refresh(&next.refresh).await?.granted()?;
    host.me(&after.access).await?.answered(200)?;
    equal("session_id", &after.session_id, &held.session_id)
}
