//! Servers that forget scripts, hang, hang up, refuse, lie or come back.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use gatekey_core::{
    limit::{Charge, Key, LimitRule, ThrottleStore},
    rotation::{Attempt, Outcome},
    session::EndReason,
    store::UserStore,
};
use redis::Value;

use super::{
    server::{Server, patient},
    *,
};
use crate::{ConnectError, RedisOptions};

fn charge() -> Charge {
    Charge { key: Key::derive(&[1; 32], "test", &["x"]), rule: LimitRule::Rate { count: 5, per: SECOND } }
}

/// A session that is refreshed again and again, as a client would that repeats what was not answered.
#[derive(Clone, Default)]
struct Refreshing {
    stop: Arc<AtomicBool>,
    refreshed: Arc<AtomicU64>,
    silent: Arc<AtomicU64>,
}

impl Refreshing {
    fn start(store: &RedisStore, row: &Session) -> (Self, tokio::task::JoinHandle<()>) {
        let refreshing = Self::default();
        let task = tokio::spawn(refreshing.clone().until_stopped(store.clone(), row.clone()));
        (refreshing, task)
    }

    /// Waits for so many new tokens.
    async fn again(&self, times: u64) {
        let goal = self.refreshed.load(Ordering::Relaxed) + times;
        until("refreshes", async || self.refreshed.load(Ordering::Relaxed) >= goal).await;
    }

    async fn until_stopped(self, store: RedisStore, row: Session) {
        let (mut generation, mut now) = (0, NOW);
        while !self.stop.load(Ordering::Relaxed) {
            match store.rotate(&Attempt { now, ..attempt(&row, generation) }).await {
                Ok(Some(rotation)) => {
                    // A lost answer makes the next presentation a repeat, and never anything worse.
                    assert!(matches!(rotation.outcome, Outcome::Rotated | Outcome::Replayed | Outcome::Held));
                    if rotation.outcome == Outcome::Held {
                        // Until the repeats are over.
                        now = now + SECOND;
                    } else {
                        generation += 1;
                        assert_eq!(rotation.session.chain.generation, generation);
                        self.refreshed.store(generation, Ordering::Relaxed);
                    }
                }
                Ok(None) => panic!("the session is gone"),
                Err(StoreError::Unavailable(_)) => {
                    self.silent.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgets_scripts_is_told_them_again() {
    let Some(server) = Server::start("a_server_that_forgets_scripts_is_told_them_again", &[]).await else {
        return;
    };
    let store = server.store().await;
    let mut sessions = Vec::new();
    for number in 0..8 {
        let row = tagged(&format!("subject-{number}"));
        open(&store, &row).await;
        sessions.push(Refreshing::start(&store, &row));
    }
    for _ in 0..20 {
        let _: Value = server.ask(&["SCRIPT", "FLUSH"]).await;
        for (refreshing, _) in &sessions {
            refreshing.again(2).await;
        }
    }
    for (refreshing, task) in sessions {
        refreshing.stop.store(true, Ordering::Relaxed);
        task.await.unwrap();
        assert_eq!(refreshing.silent.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_killed_costs_what_was_under_way_and_is_made_anew() {
    let test = "a_connection_that_is_killed_costs_what_was_under_way_and_is_made_anew";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    let row = tagged("alice");
    open(&store, &row).await;
    let (refreshing, task) = Refreshing::start(&store, &row);
    for _ in 0..10 {
        refreshing.again(5).await;
        let _: Value = server.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    }
    refreshing.again(5).await;
    refreshing.stop.store(true, Ordering::Relaxed);
    task.await.unwrap();

    // One that is killed while nobody uses it is made anew before anybody needs it.
    let before = server.clients().await;
    let _: Value = server.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    until("a new connection", async || !server.clients().await.is_subset(&before)).await;
    assert!(store.find(&row.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_and_one_that_comes_back_knows_all() {
    let test = "a_server_that_is_gone_is_unavailable_and_one_that_comes_back_knows_all";
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(mut server) = Server::start(test, &arguments).await else { return };
    let store = server.store().await;
    let (row, ended) = (tagged("alice"), tagged("bob"));
    open(&store, &row).await;
    open(&store, &ended).await;
    let rotated = store.rotate(&attempt(&row, 0)).await.unwrap().unwrap().session;
    store.revoke(&ended.id, None, EndReason::Logout, NOW).await.unwrap();
    let subscription = store.subscribe().await.unwrap().unwrap();

    server.kill();
    assert_unavailable(store.find(&row.id).await);
    assert_unavailable(store.rotate(&attempt(&row, 1)).await);
    assert_unavailable(store.insert(&tagged("alice"), 100).await);
    assert_unavailable(store.list(&row.subject, NOW).await);
    assert_unavailable(store.revoke(&row.id, None, EndReason::Logout, NOW).await);
    assert_unavailable(store.revoke_all(&row.subject, None, EndReason::Logout, NOW).await);
    assert_unavailable(store.revoked_since(NOW).await);
    assert_unavailable(store.subscribe().await);
    assert_unavailable(store.purge_expired(NOW, 10).await);
    assert_unavailable(store.find_by_id(&row.subject).await);
    assert_unavailable(store.take(&[charge()], NOW).await);
    assert_unavailable(store.give_back(&[charge()], NOW).await);
    let mut subscription = subscription;
    assert_eq!(subscription.next().await, None);

    server.restart().await;
    // The first call may be the one that finds the connection lost.
    until("the store", async || store.find(&row.id).await.is_ok()).await;
    assert_eq!(store.find(&row.id).await.unwrap(), Some(rotated));
    assert_eq!(store.revoked_since(NOW).await.unwrap().len(), 1);
    let rotation = store.rotate(&attempt(&row, 1)).await.unwrap().unwrap();
    assert_eq!(rotation.outcome, Outcome::Rotated);
    assert!(store.subscribe().await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_hangs_is_unavailable_in_time_and_goes_on_where_it_was() {
    let test = "a_server_that_hangs_is_unavailable_in_time_and_goes_on_where_it_was";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.hasty().await;
    let row = tagged("alice");
    open(&store, &row).await;
    // Now the server knows the script.
    store.rotate(&attempt(&row, 0)).await.unwrap();
    server.signal("-STOP");
    let refused = tokio::time::timeout(PATIENCE, store.rotate(&attempt(&row, 1))).await;
    assert_unavailable(refused.expect("no limit of time"));
    server.signal("-CONT");
    // It was done although nobody heard, and the repeat finds that out.
    until("the store", async || store.find(&row.id).await.is_ok()).await;
    let rotation = server.store().await.rotate(&attempt(&row, 1)).await.unwrap().unwrap();
    assert_eq!(rotation.outcome, Outcome::Replayed);

    server.signal("-STOP");
    let connected =
        RedisOptions::default().connect_timeout(Duration::from_millis(300)).connect(&server.url()).await;
    server.signal("-CONT");
    assert!(matches!(connected, Err(ConnectError::Unreachable { .. })), "{connected:?}");
}

#[tokio::test]
async fn a_server_without_memory_is_unavailable_and_nothing_is_half_written() {
    let test = "a_server_without_memory_is_unavailable_and_nothing_is_half_written";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    let row = tagged("alice");
    open(&store, &row).await;
    let other = session("of another form", "alice");
    open(&store, &other).await;
    let keys = server.keys("").await;
    let _: Value = server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for known in [false, true] {
        // Once as a script that the server does not know.
        if !known {
            let _: Value = server.ask(&["SCRIPT", "FLUSH"]).await;
        }
        assert_unavailable(store.rotate(&attempt(&row, 0)).await);
        assert_unavailable(store.insert(&tagged("alice"), 1).await);
        assert_unavailable(store.insert(&session("new", "alice"), 1).await);
        assert_unavailable(store.revoke(&row.id, None, EndReason::Logout, NOW).await);
        assert_unavailable(store.revoke_all(&row.subject, None, EndReason::Logout, NOW).await);
        assert_unavailable(store.take(&[charge()], NOW).await);
        // Reading, and making room, go on.
        assert_eq!(store.find(&row.id).await.unwrap().as_ref(), Some(&row));
        assert_eq!(store.list(&row.subject, NOW).await.unwrap().len(), 2);
        assert_eq!(store.revoked_since(NOW).await.unwrap(), []);
        assert_eq!(server.keys("").await, keys);
    }
    assert_eq!(store.purge_expired(NOW + IDLE * 5, 10).await.unwrap(), 2);
    let _: Value = server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    open(&store, &row).await;
}

#[tokio::test]
async fn a_master_that_became_a_replica_is_unavailable_and_left() {
    let test = "a_master_that_became_a_replica_is_unavailable_and_left";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    let row = tagged("alice");
    open(&store, &row).await;
    let before = server.clients().await;
    // Of nobody: port 1 answers nothing.
    let _: Value = server.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_unavailable(store.rotate(&attempt(&row, 0)).await);
    until("another connection", async || server.clients().await.is_disjoint(&before)).await;
    let refused = RedisStore::connect(&server.url()).await;
    assert!(matches!(refused, Err(ConnectError::Unfit { .. })), "{refused:?}");

    let _: Value = server.ask(&["REPLICAOF", "NO", "ONE"]).await;
    until("the store", async || store.find(&row.id).await.is_ok()).await;
    let rotation = store.rotate(&attempt(&row, 0)).await.unwrap().unwrap();
    assert_eq!(rotation.outcome, Outcome::Rotated);
}

#[tokio::test]
async fn what_nobody_wrote_is_corrupt_and_stays_as_it_is() {
    let test = "what_nobody_wrote_is_corrupt_and_stays_as_it_is";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    let (row, other) = (tagged("alice"), tagged("alice"));
    open(&store, &row).await;
    open(&store, &other).await;
    let keys = server.keys("").await;
    let key = keys.iter().find(|key| key.ends_with(row.id.as_str())).unwrap();
    let good: Vec<u8> = server.ask(&["GET", key]).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut newer = good.clone();
    newer[0] = 2;
    for bad in [b"".as_slice(), b"x", &good[..100], &good[..200], &newer] {
        let () = redis::cmd("SET").arg(key).arg(bad).query_async(&mut connection).await.unwrap();
        assert_corrupt(store.find(&row.id).await);
        assert_corrupt(store.rotate(&attempt(&row, 0)).await);
        assert_corrupt(store.list(&row.subject, NOW).await);
        // Of another version: nothing is changed, not even of the others.
        if bad == newer {
            assert_corrupt(store.revoke(&row.id, None, EndReason::Logout, NOW).await);
            assert_corrupt(store.revoke_all(&row.subject, None, EndReason::Logout, NOW).await);
            assert_corrupt(store.insert(&tagged("alice"), 2).await);
            assert_eq!(store.find(&other.id).await.unwrap().as_ref(), Some(&other));
            // That version will remove it.
            assert_eq!(store.purge_expired(NOW + IDLE * 5, 10).await.unwrap(), 1);
        }
        let now: Vec<u8> = server.ask(&["GET", key]).await;
        assert_eq!(now, bad);
    }
    let _: i64 = server.ask(&["DEL", key]).await;
    let _: i64 = server.ask(&["LPUSH", key, "x"]).await;
    assert_corrupt(store.find(&row.id).await);
    assert_corrupt(store.rotate(&attempt(&row, 0)).await);
    assert_corrupt(store.revoke(&row.id, None, EndReason::Logout, NOW).await);

    let counter = charge();
    store.take(&[counter], NOW).await.unwrap();
    let keys = server.keys("").await;
    let key = keys.iter().find(|key| key.contains("}t:")).unwrap();
    let _: Value = server.ask(&["SET", key, "many"]).await;
    assert_corrupt(store.take(&[counter], NOW).await);
    assert_corrupt(store.give_back(&[counter], NOW).await);
}

#[tokio::test]
async fn a_server_that_is_not_fit_is_refused_with_its_reason_and_without_its_password() {
    let test = "a_server_that_is_not_fit_is_refused_with_its_reason_and_without_its_password";
    let Some(server) = Server::start(test, &[]).await else { return };
    let _: Value =
        server.ask(&["CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"]).await;
    let refused = RedisStore::connect(&server.url()).await.unwrap_err();
    assert!(matches!(&refused, ConnectError::Evicts { policy, .. } if policy == "allkeys-lru"), "{refused}");
    assert!(RedisOptions::default().eviction_allowed(true).connect(&server.url()).await.is_ok());
    let _: Value = server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    drop(server.store().await);

    let port = server.url().rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    let nobody = format!("redis://user:hunter2@127.0.0.1:{port}/");
    for url in [
        nobody.as_str(),
        "redis://:hunter2@127.0.0.1:1/",
        "hunter2://x",
        "redis://:hunter2@127.0.0.1/x",
        "redis://h/#insecure",
    ] {
        for refused in [RedisStore::connect(url).await, RedisStore::connect_cluster([url]).await] {
            let text = refused.unwrap_err().to_string();
            assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
        }
    }
    let refused = RedisStore::connect_cluster([server.url()]).await;
    assert!(refused.is_err(), "one server is no cluster");
    let none: [&str; 0] = [];
    assert!(matches!(RedisStore::connect_cluster(none).await, Err(ConnectError::Invalid(_))));
    let refused = RedisOptions::default().prefix("a{b}").connect(&server.url()).await;
    assert!(matches!(refused, Err(ConnectError::Invalid(_))));
}

#[tokio::test]
async fn an_account_with_the_documented_rights_suffices_and_one_without_channels_still_revokes() {
    let test = "an_account_with_the_documented_rights_suffices";
    let Some(server) = Server::start(test, &[]).await else { return };
    let rules: Vec<_> = rules().into_iter().filter(|rule| !rule.contains("cluster")).collect();
    let set = |rules: Vec<&str>| {
        let mut command = vec!["ACL", "SETUSER", "app", "reset", "on", ">secret"];
        command.extend(rules);
        command.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let url = server.url().replace("redis://", "redis://app:secret@");
    for channels in [true, false] {
        let rules = rules.iter().copied().filter(|rule| channels || !rule.starts_with('&')).collect();
        let command = set(rules);
        let _: Value = server.ask(&command.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let store = patient().connect(&url).await.unwrap();
        let row = tagged("alice");
        open(&store, &row).await;
        assert_eq!(store.subscribe().await.is_ok(), channels);
        store.rotate(&attempt(&row, 0)).await.unwrap();
        store.take(&[charge()], NOW).await.unwrap();
        store.give_back(&[charge()], NOW).await.unwrap();
        store.clear(&charge().key).await.unwrap();
        assert!(store.revoke(&row.id, None, EndReason::Logout, NOW).await.unwrap());
        open(&store, &session("of another form", "alice")).await;
        store.revoke_all(&row.subject, None, EndReason::Logout, NOW).await.unwrap();
        assert_eq!(store.revoked_since(NOW).await.unwrap().len(), 2);
        assert_eq!(store.list(&row.subject, NOW).await.unwrap(), []);
        assert_eq!(store.purge_expired(NOW + IDLE * 5, 10).await.unwrap(), 2);
        let _: i64 = server.ask(&["DEL", &server.keys("").await[0]]).await;
    }
}

#[tokio::test]
async fn a_write_is_answered_when_replicas_have_it() {
    let test = "a_write_is_answered_when_replicas_have_it";
    let Some(server) = Server::start(test, &[]).await else { return };
    let options = patient().wait_replicas(1, Duration::from_millis(300));
    let store = options.connect(&server.url()).await.unwrap();
    let row = tagged("alice");
    let plain = server.store().await;
    open(&plain, &row).await;

    // Nobody follows: it is done, and not answered as done.
    assert_unavailable(store.rotate(&attempt(&row, 0)).await);
    assert_eq!(plain.find(&row.id).await.unwrap().unwrap().chain.generation, 1);
    assert_unavailable(store.revoke(&row.id, None, EndReason::Logout, NOW).await);
    assert!(plain.find(&row.id).await.unwrap().unwrap().ended.is_some());

    let port = server.url().rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    let Some(replica) = Server::start(test, &["--replicaof", "127.0.0.1", &port]).await else { return };
    let row = tagged("alice");
    until("the replica", async || {
        let state: String = server.ask(&["INFO", "replication"]).await;
        state.contains("state=online") && !state.contains("lag=-1")
    })
    .await;
    let options = patient().wait_replicas(1, PATIENCE);
    let waiting = options.connect(&server.url()).await.unwrap();
    open(&waiting, &row).await;
    for generation in 0..20 {
        let rotation = waiting.rotate(&attempt(&row, generation)).await.unwrap().unwrap();
        assert_eq!(rotation.outcome, Outcome::Rotated);
        // What was answered is there already.
        let keys = replica.keys("").await;
        let key = keys.iter().find(|key| key.ends_with(row.id.as_str())).unwrap();
        let copy: Vec<u8> = replica.ask(&["GET", key]).await;
        let copy = crate::row::Row::decode(&copy).unwrap();
        assert_eq!(copy.session, rotation.session);
    }
    let _: Value = server.ask(&["SCRIPT", "FLUSH"]).await;
    assert!(waiting.revoke(&row.id, None, EndReason::Logout, NOW).await.unwrap());
    let repeated = tagged("bob");
    open(&waiting, &repeated).await;
    replica.signal("-STOP");
    // A repeat would be answered with the token that the first attempt made and the replica does not have. Other nodes
    // have written nothing that the replica could lack, and the last one has nothing to change in the row either.
    for _ in 0..3 {
        let options = patient().wait_replicas(1, Duration::from_millis(300));
        let node = options.connect(&server.url()).await.unwrap();
        assert_unavailable(node.rotate(&attempt(&repeated, 0)).await);
    }
    let refused = store.revoke_all(&row.subject, None, EndReason::Logout, NOW).await;
    // Others are not held up by those who wait.
    assert!(store.find(&row.id).await.unwrap().is_some());
    replica.signal("-CONT");
    assert_unavailable(refused);
}

#[tokio::test]
async fn a_subscription_ends_with_its_connection() {
    let test = "a_subscription_ends_with_its_connection";
    let Some(server) = Server::start(test, &[]).await else { return };
    let store = server.store().await;
    let mut subscription = store.subscribe().await.unwrap().unwrap();
    let row = tagged("alice");
    open(&store, &row).await;
    store.revoke(&row.id, None, EndReason::Logout, NOW).await.unwrap();
    assert_eq!(subscription.next().await.map(|heard| heard.session), Some(row.id));
    let _: Value = server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap(), None);

    // One that nobody wants any more takes its connection along.
    drop(store.subscribe().await.unwrap());
    until("nobody to listen", async || {
        let listening: String = server.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
        listening.trim().is_empty()
    })
    .await;
}
