//! The calls of `UserStore`. Each is one statement.

use deadpool_postgres::ClientWrapper;
use gatekey_core::{
    password::PasswordHash,
    session::SubjectId,
    time::Timestamp,
    user::{NewUser, User, UserChange, Username},
};
use tokio_postgres::{Row, types::FromSql};

use crate::{
    database::row,
    fault::Fault,
    hidden::Hidden,
    sessions::{fits, fitting},
    statements::Statements,
};

pub(crate) async fn find_by_name(
    client: &ClientWrapper,
    sql: &Statements,
    name: &Username,
) -> Result<Option<User>, Fault> {
    // A password that was typed into the wrong field comes here as a name.
    row(client, &sql.find_user_by_name, &[&Hidden(name.canonical())]).await?.as_ref().map(user).transpose()
}

pub(crate) async fn find_by_id(
    client: &ClientWrapper,
    sql: &Statements,
    id: &SubjectId,
) -> Result<Option<User>, Fault> {
    row(client, &sql.find_user_by_id, &[&id.as_str()]).await?.as_ref().map(user).transpose()
}

pub(crate) async fn set_password_hash(
    client: &ClientWrapper,
    sql: &Statements,
    id: &SubjectId,
    old: &str,
    new: &str,
) -> Result<bool, Fault> {
    if !fits(id.as_str()) || !fits(old) {
        return Ok(false);
    }
    fitting([new])?;
    let set = client.prepare_cached(&sql.set_password_hash).await?;
    Ok(client.execute(&set, &[&id.as_str(), &Hidden(old), &Hidden(new)]).await? > 0)
}

pub(crate) async fn create(
    client: &ClientWrapper,
    sql: &Statements,
    user: &NewUser,
) -> Result<Option<User>, Fault> {
    fitting([user.id.as_str(), user.password_hash.expose()])?;
    let created = row(
        client,
        &sql.create_user,
        &[
            &user.id.as_str(),
            &Hidden(user.username.canonical()),
            &Hidden(user.username.as_str()),
            &Hidden(user.password_hash.expose()),
            &user.created_at.as_millis(),
        ],
    )
    .await?;
    created.as_ref().map(self::user).transpose()
}

pub(crate) async fn update(
    client: &ClientWrapper,
    sql: &Statements,
    id: &SubjectId,
    change: &UserChange,
) -> Result<bool, Fault> {
    let scope = change.scope.as_ref().and_then(Option::as_deref);
    fitting(change.roles.iter().flatten().map(String::as_str).chain(scope))?;
    let update = client.prepare_cached(&sql.update_user).await?;
    let changed = client
        .execute(&update, &[&id.as_str(), &change.disabled, &change.roles, &change.scope.is_some(), &scope])
        .await?;
    Ok(changed > 0)
}

fn user(row: &Row) -> Result<User, Fault> {
    user_at(row, 0)
}

/// The user in a row's columns from this one on, unless they are NULL: a join that found none.
pub(crate) fn user_if_any(row: &Row, first: usize) -> Result<Option<User>, Fault> {
    let id: Option<&str> = column(row, first)?;
    id.map(|_| user_at(row, first)).transpose()
}

fn user_at(row: &Row, first: usize) -> Result<User, Fault> {
    Ok(User {
        id: SubjectId::new(column::<&str>(row, first)?),
        username: column(row, first + 1)?,
        password_hash: column::<Option<&str>>(row, first + 2)?.map(PasswordHash::new),
        roles: column(row, first + 3)?,
        scope: column(row, first + 4)?,
        disabled: column(row, first + 5)?,
        created_at: Timestamp::from_millis(column(row, first + 6)?),
    })
}

fn column<'r, T: FromSql<'r>>(row: &'r Row, index: usize) -> Result<T, Fault> {
    row.try_get(index).map_err(Fault::corrupt)
}
