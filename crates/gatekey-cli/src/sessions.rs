//! `gatekey sessions …`.

use gatekey::{Clock, EndReason, SessionId, SystemClock};
use serde_json::{Value, json};

use crate::{
    Failure, Outcome,
    commands::Invocation,
    output::{Table, say, tell},
    store::Store,
};

fn whose() -> Failure {
    Failure::Usage("whose? Give --user NAME or --subject ID".to_owned())
}

pub(crate) async fn list(invocation: Invocation) -> Outcome {
    let store = Store::open(&invocation).await?;
    let subject = store.subject(&invocation).await?.ok_or_else(whose)?;
    let mut table = Table::new(&["id", "created_at", "last_used_at", "expires_at", "ip", "user_agent"]);
    for session in store.sessions.list(&subject, SystemClock.now()).await? {
        table.row([
            json!(session.id.as_str()),
            json!(session.created_at.to_string()),
            json!(session.last_used_at.to_string()),
            json!(session.end().to_string()),
            session.client.ip.map_or(Value::Null, |ip| json!(ip.to_string())),
            json!(session.client.user_agent),
        ]);
    }
    table.write(invocation.has("json"))?;
    Ok(true)
}

pub(crate) async fn revoke(invocation: Invocation) -> Outcome {
    let (all, named) = (invocation.has("all"), !invocation.arguments.is_empty());
    if all == named {
        return Err(Failure::Usage("give ids of sessions, or --all with --user or --subject".to_owned()));
    }
    let store = Store::open(&invocation).await?;
    let subject = store.subject(&invocation).await?;
    let now = SystemClock.now();
    let (mut missed, mut told) = (0, Ok(()));
    if all {
        let subject = subject.ok_or_else(whose)?;
        let ended = store.sessions.revoke_all(&subject, None, EndReason::Revoked, now).await?;
        missed = usize::from(ended.is_empty());
        told = ended.iter().try_for_each(|id| say!("{id} is ended"));
    } else {
        for at in 0..invocation.arguments.len() {
            let id = SessionId::new(invocation.argument(at)?);
            // Told one by one: the store may fail before the next.
            if store.sessions.revoke(&id, subject.as_ref(), EndReason::Revoked, now).await? {
                // What nobody can read is done all the same.
                told = told.and(say!("{id} is ended"));
            } else {
                missed += 1;
            }
        }
    }
    told?;
    if missed > 0 {
        tell!(
            "gatekey: {}",
            if all {
                "there was no session to end".to_owned()
            } else {
                format!("{missed} of them are no live session")
            }
        );
    }
    Ok(missed == 0)
}
