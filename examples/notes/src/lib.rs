//! Notes of tenants: the application that the `resource` examples serve, without a framework.
//!
//! Accounts are `alice@kites`, who owns what she sees, `bob@kites`, who reads, and `carol@boats`, all with the password
//! `a long enough pass phrase`. Nobody else gets one. Everything is forgotten when the program ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatekey::{
    AuthError, ClaimsSource, Client, Gatekey, GatekeyBuilder, MemoryStore, Require, Requirement, Scope,
    Secret, Session, StoreError, User, UserChange, async_trait,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The application's own claim: whose notes a caller may see.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenant {
    /// Its name.
    pub tenant: String,
}

/// Tells the claim at each login and each refresh. An application would ask its own tables.
#[derive(Debug)]
struct Tenants;

#[async_trait]
impl ClaimsSource for Tenants {
    async fn claims(&self, user: &User, _: &Session) -> Result<Map<String, Value>, StoreError> {
        let (_, tenant) = user.username.split_once('@').unwrap_or_default();
        Ok(Map::from_iter([("tenant".to_owned(), tenant.into())]))
    }
}

/// What reading asks for.
#[derive(Debug)]
pub struct Read;

impl Scope for Read {
    const NAME: &'static str = "notes:read";
}

/// What writing asks for.
#[derive(Debug)]
pub struct Write;

impl Scope for Write {
    const NAME: &'static str = "notes:write";
}

/// What deleting everything asks for: an owner, and a password typed within five minutes. A client that is answered
/// `insufficient_user_authentication` has its user log in again.
#[derive(Debug)]
pub struct Owner;

impl Require for Owner {
    fn requirement() -> Requirement {
        Requirement::authenticated().role("owner").max_age(Duration::from_secs(300))
    }
}

/// The notes of every tenant.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<BTreeMap<Tenant, Vec<String>>>>);

impl Notes {
    /// A tenant's notes.
    #[must_use]
    pub fn list(&self, tenant: &Tenant) -> Vec<String> {
        self.with(|notes| notes.get(tenant).cloned().unwrap_or_default())
    }

    /// Adds one.
    pub fn add(&self, tenant: Tenant, note: String) {
        self.with(|notes| notes.entry(tenant).or_default().push(note));
    }

    /// Deletes all of a tenant's.
    pub fn clear(&self, tenant: &Tenant) {
        self.with(|notes| notes.remove(tenant));
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<Tenant, Vec<String>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The settings beyond issuer and keys.
#[must_use]
pub fn settings(builder: GatekeyBuilder) -> GatekeyBuilder {
    // A tenant is part of a name here, so nobody may choose one.
    builder.store(MemoryStore::new()).claims(Tenants).registration(false)
}

/// Makes the accounts.
///
/// # Errors
///
/// [`AuthError`] if one cannot be made.
pub async fn open_accounts(gatekey: &Gatekey) -> Result<(), AuthError> {
    for (name, roles, scope) in [
        ("alice@kites", &["owner"][..], "notes:read notes:write"),
        ("bob@kites", &[], "notes:read"),
        ("carol@boats", &[], "notes:read notes:write"),
    ] {
        let password = Secret::new("a long enough pass phrase".to_owned());
        let user = gatekey.register(name, password, &Client::default()).await?;
        let change = UserChange {
            roles: Some(roles.iter().map(|role| (*role).to_owned()).collect()),
            scope: Some(Some(scope.to_owned())),
            ..UserChange::default()
        };
        gatekey.update_user(&user.id, &change).await?;
    }
    Ok(())
}
