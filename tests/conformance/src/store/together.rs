//! Sessions and accounts in one store, read at once.

use gatekey_core::{
    store::Account,
    user::{User, UserChange},
};

use super::{
    Case, Sessions, Users, Verdict, failed,
    fixture::{id, opened, same_row},
    holds, same,
    users::{created, same_user},
};

pub(super) const CASES: &[Case<(Sessions, Users)>] = &[Case::new(
    "store/account-with-a-session-is-the-account",
    "A session that is found with its account is the session, and the account what is found by its id, enabled, \
     disabled or missing, where the store tells it at all.",
    |(sessions, users)| Box::pin(is_the_account(sessions, users)),
)];

async fn is_the_account(sessions: Sessions, users: Users) -> Verdict {
    let enabled = created(&users, "1", "alice").await?;
    let disabled = created(&users, "2", "bob").await?;
    let scope = Some(Some("read".to_owned()));
    let change = UserChange { disabled: Some(true), roles: Some(vec!["admin".to_owned()]), scope };
    holds("an account that exists is changed", users.update(&disabled.id, &change).await?)?;
    for (name, owner) in [("of-alice", &enabled.id), ("of-bob", &disabled.id)] {
        opened(&sessions, name, owner.as_str()).await?;
    }
    opened(&sessions, "of-nobody", "nobody").await?;

    for name in ["of-alice", "of-bob", "of-nobody"] {
        let found = sessions.find_with_account(&id(name)).await?;
        let (row, account) =
            found.ok_or_else(|| failed(format_args!("session {name}"), "no such session"))?;
        same_row("the row", &row, &super::fixture::found(&sessions, &id(name)).await?)?;
        let Account::Here(account) = account else { continue };
        let asked: Option<User> = users.find_by_id(&row.subject).await?;
        match (account, asked) {
            (Some(account), Some(asked)) => same_user("the account with the session", &account, &asked)?,
            (account, asked) => same("whether there is an account", &account.is_some(), &asked.is_some())?,
        }
    }
    let none = sessions.find_with_account(&id("unknown")).await?.is_none();
    holds("an unknown session is not found with an account", none)
}
