//! `gatekey migrate`: the tables of a store.

use crate::{
    Failure, Outcome,
    commands::Invocation,
    output::say,
    store::{self, Store, Unopened},
};

pub(crate) async fn migrate(invocation: Invocation) -> Outcome {
    let url = store::url(&invocation)?;
    match Store::open_url(&url, false).await {
        Ok(_) => {
            say!("the store is up to date")?;
            Ok(true)
        }
        Err(Unopened::Missing(why)) if invocation.has("check") => {
            say!("a migration is needed: {why}")?;
            Ok(false)
        }
        Err(Unopened::Missing(_)) => {
            Store::open_url(&url, true).await.map_err(|unopened| match unopened {
                Unopened::Missing(why) => Failure::Unavailable(why),
                Unopened::Otherwise(failure) => failure,
            })?;
            say!("the store was made or brought up to date")?;
            Ok(true)
        }
        Err(Unopened::Otherwise(failure)) => Err(failure),
    }
}
