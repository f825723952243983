//! The calls of `ThrottleStore`: counters that all nodes share. The arithmetic is core's.

use std::collections::BTreeMap;

use deadpool_postgres::{ClientWrapper, Transaction};
use gatekey_core::{
    limit::{Charge, Counter, Key, LimitRule, Verdict},
    time::Timestamp,
};
use tokio_postgres::Row;

use crate::{fault::Fault, sessions::STEP, statements::Statements};

const HOUR: i64 = 60 * 60 * 1000;

/// Counters that are locked, by their keys; `None` is one of which nothing was counted.
type Counters = BTreeMap<[u8; 16], Option<Counter>>;

pub(crate) async fn take(
    client: &mut ClientWrapper,
    sql: &Statements,
    charges: &[Charge],
    now: Timestamp,
) -> Result<Verdict, Fault> {
    let charges: Vec<_> = charges.iter().filter(|charge| !charge.rule.is_off()).collect();
    if charges.is_empty() {
        return Ok(Verdict::Passed);
    }
    let keys: Vec<_> = charges.iter().map(|charge| charge.key.as_bytes().as_slice()).collect();
    let transaction = client.transaction().await?;
    let lock = transaction.prepare_cached(&sql.lock_counters).await?;
    // One key charged twice is one counter.
    let keys = distinct(keys);
    let found = counters(&transaction.query(&lock, &[&keys, &now.as_millis()]).await?)?;

    let mut counted = found.clone();
    let mut rules = BTreeMap::new();
    let mut wait = None;
    for charge in charges {
        let key = *charge.key.as_bytes();
        let counter = counted.entry(key).or_default();
        *counter = counter.map(|counter| counter.seen(now));
        match charge.rule.take(*counter, now) {
            Ok(taken) => *counter = Some(taken),
            Err(refused) => wait = wait.max(Some(refused)),
        }
        rules.insert(key, charge.rule);
    }
    let (verdict, result) = match wait {
        None => (Verdict::Passed, counted),
        // Nothing is counted. A counter from the future is set back, else everyone would wait for the clock.
        Some(retry_after) => {
            let seen = found.iter().map(|(key, counter)| (*key, counter.map(|counter| counter.seen(now))));
            (Verdict::Throttled { retry_after }, seen.collect())
        }
    };
    if result != found {
        write(&transaction, sql, &result, &rules).await?;
        transaction.commit().await?;
    }
    Ok(verdict)
}

pub(crate) async fn give_back(
    client: &mut ClientWrapper,
    sql: &Statements,
    charges: &[Charge],
    taken_at: Timestamp,
) -> Result<(), Fault> {
    if charges.is_empty() {
        return Ok(());
    }
    let keys: Vec<_> = charges.iter().map(|charge| charge.key.as_bytes().as_slice()).collect();
    let transaction = client.transaction().await?;
    let lock = transaction.prepare_cached(&sql.lock_present_counters).await?;
    let mut counters = counters(&transaction.query(&lock, &[&distinct(keys)]).await?)?;
    let mut rules = BTreeMap::new();
    for charge in charges {
        let key = *charge.key.as_bytes();
        rules.insert(key, charge.rule);
        if let Some(counter) = counters.get_mut(&key) {
            *counter = counter.and_then(|counter| charge.rule.give_back(counter, taken_at));
        }
    }
    write(&transaction, sql, &counters, &rules).await?;
    transaction.commit().await?;
    Ok(())
}

pub(crate) async fn clear(client: &ClientWrapper, sql: &Statements, key: &Key) -> Result<(), Fault> {
    let clear = client.prepare_cached(&sql.clear_counter).await?;
    client.execute(&clear, &[&key.as_bytes().as_slice()]).await?;
    Ok(())
}

/// Removes some counters that meant nothing any more at that time. `false` once there are no more.
pub(crate) async fn purge(
    client: &ClientWrapper,
    sql: &Statements,
    before: Timestamp,
) -> Result<bool, Fault> {
    let purge = client.prepare_cached(&sql.purge_counters).await?;
    let removed = client.execute(&purge, &[&before.as_millis(), &STEP]).await?;
    Ok(i64::try_from(removed).is_ok_and(|removed| removed >= STEP))
}

fn distinct(mut keys: Vec<&[u8]>) -> Vec<&[u8]> {
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn counters(rows: &[Row]) -> Result<Counters, Fault> {
    let mut counters = Counters::new();
    for row in rows {
        let key = row.try_get::<_, &[u8]>(0).map_err(Fault::corrupt)?;
        let level = row.try_get::<_, i64>(1).map_err(Fault::corrupt)?.cast_unsigned();
        let at = Timestamp::from_millis(row.try_get(2).map_err(Fault::corrupt)?);
        let key = key.try_into().map_err(Fault::corrupt)?;
        counters.insert(key, (level > 0).then_some(Counter { level, at }));
    }
    Ok(counters)
}

async fn write(
    transaction: &Transaction<'_>,
    sql: &Statements,
    counters: &Counters,
    rules: &BTreeMap<[u8; 16], LimitRule>,
) -> Result<(), Fault> {
    let keys: Vec<_> = counters.keys().map(<[u8; 16]>::as_slice).collect();
    let nothing = Counter { level: 0, at: Timestamp::EPOCH };
    let new = || counters.values().map(|counter| counter.unwrap_or(nothing));
    let levels: Vec<_> = new().map(|counter| counter.level.cast_signed()).collect();
    let times: Vec<_> = new().map(|counter| counter.at.as_millis()).collect();
    let kept_until: Vec<_> = counters
        .iter()
        .map(|(key, counter)| match (counter, rules.get(key)) {
            (Some(counter), Some(rule)) => next_hour(rule.forgotten_at(*counter)),
            (None, _) | (_, None) => nothing.at.as_millis(),
        })
        .collect();
    let write = transaction.prepare_cached(&sql.write_counters).await?;
    transaction.execute(&write, &[&keys, &levels, &times, &kept_until]).await?;
    Ok(())
}

/// Rounds up, so that the index on it changes once an hour and not with each attempt.
fn next_hour(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(HOUR).saturating_add(1).saturating_mul(HOUR)
}
