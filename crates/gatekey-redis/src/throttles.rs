//! Counters of attempts: the arithmetic of `gatekey_core::limit` in a script, for all charges of an attempt at once.
//!
//! Numbers of Lua are exact up to 53 bits. A rule whose full bucket holds more (a billion attempts in a month), a clock
//! 140,000 years away, or a counter that such have written is calculated in Rust, and written if nothing came between.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
    time::Duration,
};

use futures_util::future::join_all;
use gatekey_core::{
    limit::{Charge, Counter, Key, LimitRule, Verdict},
    time::Timestamp,
};
use redis::{Value, from_redis_value};

use crate::{Shared, fault::Fault, keys::Shard, link::Lua};

static TAKE: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(concat!(include_str!("lua/counter.lua"), include_str!("lua/take.lua"))));
static GIVE_BACK: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(concat!(include_str!("lua/counter.lua"), include_str!("lua/give_back.lua"))));
static REPLACE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("lua/replace.lua")));

/// How often counters are replaced anew because another attempt came between.
const ROUNDS: usize = 256;

/// The largest number that Lua counts up to without a gap; times have to leave room for a wait.
const EXACT: u64 = 1 << 53;
const EXACT_TIME: u64 = EXACT / 2;

fn counter_key(shared: &Shared, key: &Key) -> String {
    shared.keys.counter(shard(key), key.as_bytes())
}

/// A key is a keyed hash: its bytes are as good as random.
fn shard(key: &Key) -> Shard {
    Shard::of_bytes(key.as_bytes())
}

/// The charges that one script can see: all of them, or on a cluster those of each shard.
fn groups(shared: &Shared, charges: impl Iterator<Item = Charge>) -> Vec<Vec<Charge>> {
    if !shared.link.is_cluster() {
        return Some(charges.collect::<Vec<_>>()).filter(|all| !all.is_empty()).into_iter().collect();
    }
    let mut groups: BTreeMap<Shard, Vec<Charge>> = BTreeMap::new();
    for charge in charges {
        groups.entry(shard(&charge.key)).or_default().push(charge);
    }
    groups.into_values().collect()
}

pub(crate) async fn take(shared: &Shared, charges: &[Charge], now: Timestamp) -> Result<Verdict, Fault> {
    let groups = groups(shared, charges.iter().filter(|charge| !charge.rule.is_off()).copied());
    let mut waits = join_all(groups.iter().map(|group| take_group(shared, group, now))).await;
    if waits.iter().all(|wait| matches!(wait, Ok(0))) {
        return Ok(Verdict::Passed);
    }
    // Of several scripts, one has refused or failed: what the others took did not happen.
    let taken: Vec<Charge> = groups
        .into_iter()
        .zip(&waits)
        .filter(|(_, wait)| matches!(wait, Ok(0)))
        .flat_map(|(group, _)| group)
        .collect();
    let given_back = give_back(shared, &taken, now).await;
    let mut longest = 0;
    for wait in waits.drain(..) {
        longest = longest.max(wait?);
    }
    // What stays taken refuses someone too early and lets nobody in, and this attempt is refused as it is.
    drop(given_back);
    Ok(Verdict::Throttled { retry_after: Duration::from_millis(longest) })
}

/// How long the charges of one script have to wait, in milliseconds; 0 if they were counted.
async fn take_group(shared: &Shared, charges: &[Charge], now: Timestamp) -> Result<u64, Fault> {
    if let Some(Call { keys, arguments }) = Call::new(shared, charges, now) {
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let wait: i64 = from_redis_value(shared.link.run(&TAKE, &keys, &arguments).await?)?;
        if let Ok(wait) = u64::try_from(wait) {
            return Ok(wait);
        }
    }
    replace(shared, charges, |counters| {
        let mut counted = HashMap::new();
        let mut wait = Duration::ZERO;
        for charge in charges {
            let before = counters.get(&charge.key).copied().flatten().map(|counter| counter.seen(now));
            let before = counted.get(&charge.key).copied().or(before);
            match charge.rule.take(before, now) {
                Ok(counter) => drop(counted.insert(charge.key, counter)),
                Err(refused) => wait = wait.max(refused),
            }
        }
        for (key, counter) in counters {
            *counter = match counted.get(key) {
                Some(counted) if wait.is_zero() => Some(*counted),
                Some(_) | None => counter.map(|counter| counter.seen(now)),
            };
        }
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
    })
    .await
}

pub(crate) async fn give_back(shared: &Shared, charges: &[Charge], taken_at: Timestamp) -> Result<(), Fault> {
    let groups = groups(shared, charges.iter().copied());
    join_all(groups.iter().map(|group| give_back_group(shared, group, taken_at))).await.into_iter().collect()
}

async fn give_back_group(shared: &Shared, charges: &[Charge], taken_at: Timestamp) -> Result<(), Fault> {
    if let Some(Call { keys, arguments }) = Call::new(shared, charges, taken_at) {
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let done: i64 = from_redis_value(shared.link.run(&GIVE_BACK, &keys, &arguments).await?)?;
        if done >= 0 {
            return Ok(());
        }
    }
    replace(shared, charges, |counters| {
        for charge in charges {
            if let Some(counter) = counters.get_mut(&charge.key) {
                *counter = counter.and_then(|counter| charge.rule.give_back(counter, taken_at));
            }
        }
    })
    .await
}

pub(crate) async fn clear(shared: &Shared, key: &Key) -> Result<(), Fault> {
    let key = counter_key(shared, key);
    let mut delete = redis::cmd("DEL");
    delete.arg(&key);
    shared.link.ask(&key, delete).await?;
    Ok(())
}

/// What a script is called with.
struct Call {
    keys: Vec<String>,
    arguments: Vec<String>,
}

impl Call {
    /// `None` if a number is too large for a script.
    fn new(shared: &Shared, charges: &[Charge], at: Timestamp) -> Option<Self> {
        if at.as_millis().unsigned_abs() > EXACT_TIME {
            return None;
        }
        let mut call = Self {
            keys: Vec::with_capacity(charges.len()),
            arguments: Vec::with_capacity(1 + 5 * charges.len()),
        };
        call.arguments.push(at.as_millis().to_string());
        for charge in charges {
            call.keys.push(counter_key(shared, &charge.key));
            let (kind, numbers) = numbers(charge.rule)?;
            call.arguments.push(kind.to_owned());
            call.arguments.extend(numbers.map(|number| number.to_string()));
        }
        Some(call)
    }
}

/// A rule in the numbers of the script; `None` if they are too large for it, or the rule limits nothing. The same as
/// core makes of it, guarded by `a_script_counts_as_core_does`.
fn numbers(rule: LimitRule) -> Option<(&'static str, [u64; 4])> {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    let at_least_one =
        |duration: Duration| if duration.is_zero() { 0 } else { u64::from(millis(duration).max(1)) };
    match rule {
        _ if rule.is_off() => None,
        LimitRule::Rate { count, per } => {
            let (count, per) = (u64::from(count), u64::from(millis(per).max(1)));
            let full = count * per;
            (full < EXACT).then_some(("R", [count, per, full, 0]))
        }
        LimitRule::Backoff { free, first, max } => {
            // From when on any counter means nothing is how long it means something.
            let counter = Counter { level: 1, at: Timestamp::EPOCH };
            let quiet = u64::try_from(rule.forgotten_at(counter).as_millis()).ok()?;
            Some(("B", [u64::from(free), at_least_one(first), at_least_one(max), quiet]))
        }
    }
}

/// Reads the counters of some charges, changes them, and writes them if each is still as it was read.
async fn replace<T>(
    shared: &Shared,
    charges: &[Charge],
    change: impl Fn(&mut HashMap<Key, Option<Counter>>) -> T,
) -> Result<T, Fault> {
    let keys: Vec<Key> = charges.iter().map(|charge| charge.key).collect();
    let names: Vec<String> = keys.iter().map(|key| counter_key(shared, key)).collect();
    for _ in 0..ROUNDS {
        let mut get = redis::cmd("MGET");
        get.arg(&names);
        let name = names.first().map_or("", String::as_str);
        let old: Vec<Option<String>> = from_redis_value(shared.link.ask(name, get).await?)?;
        let mut counters = HashMap::new();
        for (key, value) in keys.iter().zip(&old) {
            counters.insert(*key, value.as_deref().map(decode).transpose()?);
        }
        let changed = change(&mut counters);
        let mut arguments = Vec::with_capacity(2 * keys.len());
        for (key, value) in keys.iter().zip(old) {
            arguments.push(value.unwrap_or_default());
            let counter = counters.get(key).copied().flatten();
            arguments.push(counter.map(encode).unwrap_or_default());
        }
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        if shared.link.run(&REPLACE, &names, &arguments).await? == Value::Int(1) {
            return Ok(changed);
        }
    }
    Err(Fault::unavailable("other attempts on the same counters came between, again and again"))
}

fn encode(counter: Counter) -> String {
    format!("{} {}", counter.level, counter.at.as_millis())
}

fn decode(value: &str) -> Result<Counter, Fault> {
    let counter = value.split_once(' ').and_then(|(level, at)| {
        Some(Counter { level: level.parse().ok()?, at: Timestamp::from_millis(at.parse().ok()?) })
    });
    counter.ok_or_else(|| Fault::corrupt("a counter cannot be read"))
}
