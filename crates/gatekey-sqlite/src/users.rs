//! The statements behind `UserStore`. Each is one statement.

use gatekey_core::{
    password::PasswordHash,
    session::SubjectId,
    time::Timestamp,
    user::{NewUser, User, UserChange, Username},
};
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use crate::fault::Fault;

macro_rules! columns {
    () => {
        "id, username, password_hash, roles, scope, disabled, created_at"
    };
}

pub(crate) fn find_by_name(db: &Connection, name: &Username) -> Result<Option<User>, Fault> {
    db.prepare_cached(concat!("SELECT ", columns!(), " FROM gatekey_user WHERE name = ?1"))?
        .query_row([name.canonical()], user)
        .optional()
        .map_err(Fault::from)
}

pub(crate) fn find_by_id(db: &Connection, id: &SubjectId) -> Result<Option<User>, Fault> {
    db.prepare_cached(concat!("SELECT ", columns!(), " FROM gatekey_user WHERE id = ?1"))?
        .query_row([id.as_str()], user)
        .optional()
        .map_err(Fault::from)
}

pub(crate) fn set_password_hash(
    db: &Connection,
    id: &SubjectId,
    old: &PasswordHash,
    new: &PasswordHash,
) -> Result<bool, Fault> {
    let changed = db
        .prepare_cached("UPDATE gatekey_user SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2")?
        .execute([id.as_str(), old.expose(), new.expose()])?;
    Ok(changed > 0)
}

pub(crate) fn create(db: &Connection, user: &NewUser) -> Result<Option<User>, Fault> {
    // Roles, scope and `disabled` begin as the table says.
    db.prepare_cached(concat!(
        "INSERT INTO gatekey_user (id, name, username, password_hash, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (name) DO NOTHING RETURNING ",
        columns!(),
    ))?
    .query_row(
        params![
            user.id.as_str(),
            user.username.canonical(),
            user.username.as_str(),
            user.password_hash.expose(),
            user.created_at.as_millis(),
        ],
        self::user,
    )
    .optional()
    .map_err(Fault::from)
}

pub(crate) fn update(db: &Connection, id: &SubjectId, change: &UserChange) -> Result<bool, Fault> {
    let roles = change.roles.as_ref().map(serde_json::to_string).transpose().map_err(Fault::corrupt)?;
    let changed = db
        .prepare_cached(
            "UPDATE gatekey_user SET
                 disabled = coalesce(?2, disabled),
                 roles = coalesce(?3, roles),
                 scope = iif(?4, ?5, scope)
             WHERE id = ?1",
        )?
        .execute(params![
            id.as_str(),
            change.disabled,
            roles,
            change.scope.is_some(),
            change.scope.as_ref().and_then(Option::as_deref),
        ])?;
    Ok(changed > 0)
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let roles = row.get_ref(3)?.as_str()?;
    Ok(User {
        id: SubjectId::new(row.get::<_, String>(0)?),
        username: row.get(1)?,
        password_hash: row.get::<_, Option<String>>(2)?.map(PasswordHash::new),
        roles: serde_json::from_str(roles)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(3, Type::Text, Box::new(error)))?,
        scope: row.get(4)?,
        disabled: row.get(5)?,
        created_at: Timestamp::from_millis(row.get(6)?),
    })
}
