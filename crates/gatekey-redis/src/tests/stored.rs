//! What is in Redis: how many commands it takes, under which keys it stands, and for how long.

use std::sync::Arc;

use gatekey_core::{
    password::PasswordHash,
    rotation::{Outcome, advance},
    session::{EndReason, Parent},
    store::UserStore,
    user::{NewUser, Username},
};
use tokio::sync::Barrier;

use super::{server::Server, *};

fn new_user(id: &str, name: &str) -> NewUser {
    NewUser {
        id: SubjectId::new(id),
        username: Username::new(name).unwrap(),
        password_hash: PasswordHash::new("hash"),
        created_at: NOW,
    }
}

#[tokio::test]
async fn every_call_about_a_session_is_one_script() {
    let Some(server) = Server::start("every_call_about_a_session_is_one_script", &[]).await else { return };
    let store = server.store().await;
    let (row, other) = (tagged("alice"), tagged("alice"));
    let scripts = ["evalsha", "eval", "publish"];
    open(&store, &row).await;
    open(&store, &other).await;
    server.counted(&scripts).await;
    for generation in 0..10 {
        let rotation = store.rotate(&attempt(&row, generation)).await.unwrap().unwrap();
        assert_eq!(rotation.outcome, Outcome::Rotated);
    }
    // The first of a kind is not known to the server, and is sent whole.
    assert_eq!(server.counted(&scripts).await, [10, 1, 0]);

    for _ in 0..2 {
        store.revoke(&row.id, None, EndReason::Logout, NOW).await.unwrap();
    }
    assert_eq!(server.counted(&scripts).await, [2, 1, 1]);

    open(&store, &tagged("alice")).await;
    assert_eq!(server.counted(&scripts).await, [1, 0, 0]);

    // Whose sessions are not known is asked for first.
    assert_eq!(store.list(&other.subject, NOW).await.unwrap().len(), 2);
    assert_eq!(server.counted(&scripts).await, [2, 1, 0]);
    let ended = store.revoke_all(&other.subject, None, EndReason::Revoked, NOW).await.unwrap();
    assert_eq!(ended.len(), 2);
    assert_eq!(server.counted(&scripts).await, [2, 1, 2]);

    store.find(&row.id).await.unwrap();
    assert_eq!(server.counted(&["evalsha", "get"]).await, [0, 1]);
    store.create(new_user("1", "bob")).await.unwrap();
    server.counted(&[]).await;
    store.find_by_id(&SubjectId::new("1")).await.unwrap().unwrap();
    assert_eq!(server.counted(&["evalsha", "get"]).await, [0, 1]);
}

/// Instants near each other, and all others.
fn instants() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        4 => (-20_000..20_000_i64).prop_map(|millis| Timestamp::from_millis(NOW.as_millis() + millis)),
        1 => any::<i64>().prop_map(Timestamp::from_millis),
        1 => prop_oneof![Just(i64::MIN), Just(-1), Just(0), Just(1 << 32), Just(i64::MAX)].prop_map(Timestamp::from_millis),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_swaps_what_core_swaps() {
    let Some(server) = Server::start("the_script_swaps_what_core_swaps", &[]).await else { return };
    let store = server.store().await;
    let times = prop::collection::vec(instants(), 9);
    let grace =
        prop_oneof![Just(0), 1..1000_u64, Just(10_000_000), any::<u64>()].prop_map(Duration::from_micros);
    let flags = any::<(bool, bool, bool)>();
    let numbers = prop::array::uniform4(prop_oneof![0..3_u64, any::<u64>(), Just(u64::MAX)]);
    super::property(400, (times, grace, flags, numbers), async |(times, grace, flags, numbers)| {
        let mut row = tagged("alice");
        let [expires, idle, rotated, replayed, this, last, now, successor, created] = times[..] else {
            panic!()
        };
        (row.expires_at, row.idle_expires_at, row.created_at) = (expires, idle, created);
        let chain = &mut row.chain;
        (chain.rotated_at, chain.this_window.opened_at, chain.last_window.opened_at) = (rotated, this, last);
        chain.replayed_at = flags.0.then_some(replayed);
        chain.live_used = flags.1;
        [chain.generation, chain.this_window.oldest, chain.last_window.oldest, _] = numbers;
        let parent = Parent { digest: digest(5), generation: numbers[3] };
        chain.parent = flags.2.then_some(parent);
        open(&store, &row).await;

        let mut attempt = attempt(&row, 0);
        attempt.policy.grace = grace;
        (attempt.now, attempt.successor.expires_at) = (now, successor);
        let mut expected = row.clone();
        let outcome = advance(&mut expected, &attempt);
        let rotation = store.rotate(&attempt).await.unwrap().unwrap();
        assert_eq!((rotation.outcome, &rotation.session), (outcome, &expected));
        assert_eq!(store.find(&row.id).await.unwrap(), Some(expected));
        assert!(store.revoke(&row.id, None, EndReason::Logout, NOW).await.unwrap());
    });
}

#[tokio::test]
async fn whatever_is_over_leaves_nothing_behind() {
    let Some(server) = Server::start("whatever_is_over_leaves_nothing_behind", &[]).await else { return };
    let store = server.store().await;
    let rows = [tagged("alice"), tagged("alice"), session("an id of another form", "alice"), tagged("bob")];
    for row in &rows {
        open(&store, row).await;
    }
    store.rotate(&attempt(&rows[0], 0)).await.unwrap();
    store.revoke(&rows[1].id, None, EndReason::Logout, NOW).await.unwrap();
    store.revoke(&rows[2].id, None, EndReason::Logout, NOW).await.unwrap();
    let late = NOW + IDLE * 5;
    assert_eq!(store.purge_expired(late, 100).await.unwrap(), 4);
    assert_eq!(server.keys("").await, Vec::<String>::new());
    assert_eq!(store.revoked_since(NOW).await.unwrap(), []);

    // What outlives its sessions: one mark for a subject whose sessions were all revoked.
    open(&store, &tagged("alice")).await;
    store.revoke_all(&SubjectId::new("alice"), None, EndReason::Revoked, NOW).await.unwrap();
    assert_eq!(store.purge_expired(late, 100).await.unwrap(), 1);
    let keys = server.keys("").await;
    assert!(keys.len() == 1 && keys[0].contains("}m:"), "{keys:?}");
}

#[tokio::test]
async fn a_purge_that_finds_an_old_bound_takes_nothing_that_ends_at_its_time() {
    let test = "a_purge_that_finds_an_old_bound_takes_nothing_that_ends_at_its_time";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    let row = tagged("alice");
    open(&store, &row).await;
    let mut later = attempt(&row, 0);
    later.successor.expires_at = NOW + IDLE + SECOND;
    store.rotate(&later).await.unwrap();
    assert_eq!(store.purge_expired(NOW + IDLE + SECOND, 10).await.unwrap(), 0);
    assert!(store.find(&row.id).await.unwrap().is_some());
    let after = NOW + IDLE + SECOND + Duration::from_millis(1);
    assert_eq!(store.purge_expired(after, 10).await.unwrap(), 1);
}

#[tokio::test]
async fn redis_keeps_sessions_longer_than_any_clock_of_a_caller_needs_them() {
    let Some(server) = Server::start("redis_keeps_sessions_longer_than_any_clock_needs_them", &[]).await
    else {
        return;
    };
    let store = server.store().await;
    // Long before and long after Redis' own time: only the span counts.
    for (name, now) in [("past", Timestamp::from_secs(1)), ("future", Timestamp::from_secs(100_000_000_000))]
    {
        let mut row = session(name, name);
        (row.auth_time, row.created_at) = (now, now);
        (row.expires_at, row.idle_expires_at) = (now + SECOND * 3600, now + SECOND * 60);
        open(&store, &row).await;
        store.revoke(&row.id, None, EndReason::Logout, now).await.unwrap();
        let keys = server.keys("").await;
        let bounds = (24 * 3600 + 2 * 3600 - 10)..=(24 * 3600 + 2 * 3600);
        for key in keys.iter().filter(|key| ["}s:", "}i:", "}a:"].iter().any(|kind| key.contains(kind))) {
            let left: i64 = server.ask(&["TTL", key]).await;
            assert!(bounds.contains(&left), "{name} {key}: {left}");
        }
        assert_eq!(store.purge_expired(now + SECOND * 61, 10).await.unwrap(), 1);
    }

    // The index lives as long as the longest of its sessions, in whichever order they came; changes do not shorten it.
    for lifetimes in [[3600, 7200], [7200, 3600]] {
        let owner = format!("{lifetimes:?}");
        for lifetime in lifetimes {
            let mut row = tagged(&owner);
            row.expires_at = NOW + SECOND * lifetime;
            open(&store, &row).await;
            store.rotate(&attempt(&row, 0)).await.unwrap();
            let keys = server.keys("").await;
            let key = keys.iter().find(|key| key.ends_with(row.id.as_str())).unwrap();
            let left: i64 = server.ask(&["TTL", key]).await;
            assert!((left - i64::from(24 * 3600 + 2 * lifetime)).abs() < 10, "{left}");
        }
        let keys = server.keys("").await;
        let index = keys.iter().find(|key| key.contains("}i:")).unwrap();
        let left: i64 = server.ask(&["TTL", index]).await;
        assert!((left - (24 * 3600 + 2 * 7200)).abs() < 10, "{left}");
        store.purge_expired(NOW + IDLE * 5, 10).await.unwrap();
    }

    // For ever, once one is for ever.
    let mut row = tagged("for ever");
    row.expires_at = Timestamp::from_millis(i64::MAX);
    open(&store, &row).await;
    open(&store, &tagged("for ever")).await;
    for key in server.keys("").await {
        let left: i64 = server.ask(&["TTL", &key]).await;
        assert_eq!(left > 0, key.contains("}s:") && !key.ends_with(row.id.as_str()), "{key}: {left}");
    }
}

#[tokio::test]
async fn the_index_of_a_subject_does_not_grow_with_logins() {
    let Some(server) = Server::start("the_index_of_a_subject_does_not_grow_with_logins", &[]).await else {
        return;
    };
    let store = server.store().await;
    for number in 0..100 {
        let mut row = tagged("alice");
        row.last_used_at = NOW + SECOND * number;
        store.insert(&row, 5).await.unwrap();
        if number % 2 == 0 {
            store.revoke(&row.id, None, EndReason::Logout, NOW).await.unwrap();
        }
    }
    let keys = server.keys("").await;
    let index = keys.iter().find(|key| key.contains("}i:")).unwrap();
    let held: usize = server.ask(&["HLEN", index]).await;
    assert!(held <= 5, "{held}");
    assert!(store.list(&SubjectId::new("alice"), NOW).await.unwrap().len() <= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_who_repeat_a_token_at_once_are_all_answered() {
    let test = "many_clients_who_repeat_a_token_at_once_are_all_answered";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    let row = tagged("alice");
    open(&store, &row).await;
    let start = Arc::new(Barrier::new(50));
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let (store, start) = (store.clone(), Arc::clone(&start));
            let mut attempt = attempt(&row, 0);
            // Each leaves another trace in the row.
            attempt.client.user_agent = Some(format!("client {number}"));
            attempt.successor.digest = digest(1000 + number);
            tokio::spawn(async move {
                start.wait().await;
                store.rotate(&attempt).await.unwrap().unwrap().outcome
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    let count = |outcome| outcomes.iter().filter(|one| **one == outcome).count();
    assert_eq!((count(Outcome::Rotated), count(Outcome::Replayed)), (1, 49));
}

#[tokio::test]
async fn a_store_that_was_rolled_back_is_recognised_and_accuses_nobody() {
    let test = "a_store_that_was_rolled_back_is_recognised_and_accuses_nobody";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    let row = tagged("alice");
    open(&store, &row).await;
    store.rotate(&attempt(&row, 0)).await.unwrap();
    let keys = server.keys("").await;
    let key = keys.iter().find(|key| key.contains("}s:")).unwrap();
    let old: Vec<u8> = server.ask(&["GET", key]).await;
    store.rotate(&attempt(&row, 1)).await.unwrap();
    store.rotate(&attempt(&row, 2)).await.unwrap();

    // As a replica that was promoted, or a backup: what came after is unknown.
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let () = redis::cmd("SET").arg(key).arg(old).arg("KEEPTTL").query_async(&mut connection).await.unwrap();
    let rotation = store.rotate(&attempt(&row, 3)).await.unwrap().unwrap();
    assert_eq!(rotation.outcome, Outcome::Future);
    assert_eq!(rotation.session.ended, None);
    // The token that is live again, wherever it is, goes on.
    let rotation = store.rotate(&attempt(&row, 1)).await.unwrap().unwrap();
    assert_eq!(rotation.outcome, Outcome::Rotated);
    // Another chain of the same number.
    let mut foreign = attempt(&row, 2);
    foreign.presented.digest = digest(99);
    let rotation = store.rotate(&foreign).await.unwrap().unwrap();
    assert_eq!((rotation.outcome, rotation.session.ended), (Outcome::Foreign, None));
    // Also when the new chain has gone on, however late; its own token of that number is still known for a used one.
    assert_eq!(store.rotate(&attempt(&row, 2)).await.unwrap().unwrap().outcome, Outcome::Rotated);
    foreign.now = NOW + SECOND * 3600;
    let rotation = store.rotate(&foreign).await.unwrap().unwrap();
    assert_eq!((rotation.outcome, rotation.session.ended), (Outcome::Foreign, None));
    let mut used = attempt(&row, 2);
    used.now = foreign.now;
    let rotation = store.rotate(&used).await.unwrap().unwrap();
    assert_eq!(rotation.outcome, Outcome::Reused);
    assert!(rotation.session.ended.is_some());
}

#[tokio::test]
async fn an_id_that_carries_another_subjects_tag_is_refused() {
    let Some(server) = Server::start("an_id_that_carries_another_subjects_tag_is_refused", &[]).await else {
        return;
    };
    let store = server.store().await;
    let row = Session { subject: SubjectId::new("bob"), ..tagged("alice") };
    assert_corrupt(store.insert(&row, 100).await);
    assert_eq!(server.keys("").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_registration_that_was_cut_short_reserves_no_name() {
    let Some(server) = Server::start("a_registration_that_was_cut_short_reserves_no_name", &[]).await else {
        return;
    };
    let store = server.store().await;
    let name = Username::new("alice").unwrap();
    store.create(new_user("1", "Alice")).await.unwrap().unwrap();
    // As a process leaves it that died between the account and its name.
    let keys = server.keys("").await;
    let key = keys.iter().find(|key| key.contains("}n:")).unwrap();
    let _: i64 = server.ask(&["DEL", key]).await;
    assert!(store.find_by_name(&name).await.unwrap().is_none());
    let user = store.create(new_user("2", "alice")).await.unwrap().unwrap();
    assert_eq!(user.id.as_str(), "2");
    assert_eq!(store.find_by_name(&name).await.unwrap().unwrap().id.as_str(), "2");
    // Whoever is late leaves nothing.
    let before = server.keys("").await;
    assert!(store.create(new_user("3", "ALICE")).await.unwrap().is_none());
    assert_eq!(server.keys("").await, before);
    assert_corrupt(store.create(new_user("2", "bob")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_account_was_lost_is_free_for_one_and_no_other_is() {
    let test = "a_name_whose_account_was_lost_is_free_for_one_and_no_other_is";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    let name = Username::new("alice").unwrap();
    store.create(new_user("lost", "alice")).await.unwrap().unwrap();
    // As a fail-over leaves it of the node that had the account, and not the name.
    let account = server.keys("").await.into_iter().find(|key| key.contains("}u:")).unwrap();
    let _: i64 = server.ask(&["DEL", &account]).await;
    store.create(new_user("kept", "bob")).await.unwrap().unwrap();
    let before = server.keys("").await.len();
    assert!(store.find_by_name(&name).await.unwrap().is_none());

    let start = Arc::new(Barrier::new(20));
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (store, start) = (store.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                store.create(new_user(&number.to_string(), "Alice")).await.unwrap()
            })
        })
        .collect();
    let mut created = Vec::new();
    for task in tasks {
        created.extend(task.await.unwrap());
    }
    assert_eq!(created.len(), 1);
    assert_eq!(store.find_by_name(&name).await.unwrap().unwrap().id, created[0].id);
    // Whoever was late left nothing: there is one account more.
    assert_eq!(server.keys("").await.len(), before + 1);

    // A name that leads to an account stays its own.
    assert!(store.create(new_user("late", "alice")).await.unwrap().is_none());
    assert!(store.create(new_user("late", "bob")).await.unwrap().is_none());
    let bob = store.find_by_name(&Username::new("bob").unwrap()).await.unwrap().unwrap();
    assert_eq!(bob.id.as_str(), "kept");
    assert_eq!(server.keys("").await.len(), before + 1);
}

#[tokio::test]
async fn prefixes_and_databases_are_stores_of_their_own() {
    let Some(server) = Server::start("prefixes_and_databases_are_stores_of_their_own", &[]).await else {
        return;
    };
    let options = |prefix: &str| crate::RedisOptions::default().prefix(prefix);
    let stores = [
        server.store().await,
        options("other:").connect(&server.url()).await.unwrap(),
        options("").connect(&server.url()).await.unwrap(),
        options("gatekey:").connect(&format!("{}3", server.url())).await.unwrap(),
    ];
    let row = tagged("alice");
    for (number, store) in stores.iter().enumerate() {
        let mut subscription = store.subscribe().await.unwrap().unwrap();
        open(store, &row).await;
        for other in &stores[number + 1..] {
            assert_eq!(other.find(&row.id).await.unwrap(), None);
        }
        for (at, other) in stores.iter().enumerate() {
            other
                .revoke(&row.id, None, EndReason::Logout, NOW + SECOND * u32::try_from(at).unwrap())
                .await
                .unwrap();
        }
        let heard = subscription.next().await.unwrap();
        assert_eq!(heard.at, NOW + SECOND * u32::try_from(number).unwrap());
    }
}
