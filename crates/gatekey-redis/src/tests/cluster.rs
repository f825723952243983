//! A real cluster of six: what a node that goes, a slot that moves and a master that changes do to calls under way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use gatekey_core::{
    limit::{Charge, Key, LimitRule, ThrottleStore, Verdict},
    rotation::{Attempt, Outcome},
    session::EndReason,
};
use redis::Value;

use super::{
    server::{Cluster, patient},
    *,
};
use crate::{ConnectError, RedisOptions, link::Wire};

/// Sessions that are refreshed all the time, and what became of it.
struct Traffic {
    stop: Arc<AtomicBool>,
    refreshed: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    /// Opens them in one store, and refreshes them through another.
    async fn start(patient: &RedisStore, store: RedisStore, sessions: usize) -> Self {
        let mut traffic = Self { stop: Arc::default(), refreshed: Arc::default(), tasks: Vec::new() };
        for number in 0..sessions {
            let row = tagged(&format!("traffic-{number}"));
            open(patient, &row).await;
            traffic.tasks.push(tokio::spawn(refresh(
                store.clone(),
                row,
                Arc::clone(&traffic.stop),
                Arc::clone(&traffic.refreshed),
            )));
        }
        traffic
    }

    /// Waits until every session is refreshed again.
    async fn flows(&self) {
        let goal = self.refreshed.load(Ordering::Relaxed) + 40 * self.tasks.len() as u64;
        until("refreshes", async || self.refreshed.load(Ordering::Relaxed) >= goal).await;
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.refreshed.load(Ordering::Relaxed)
    }
}

/// What a client does: it keeps its token until it gets another.
async fn refresh(store: RedisStore, row: Session, stop: Arc<AtomicBool>, refreshed: Arc<AtomicU64>) {
    let (mut generation, mut now) = (0, NOW);
    while !stop.load(Ordering::Relaxed) {
        match store.rotate(&Attempt { now, ..attempt(&row, generation) }).await {
            Ok(Some(rotation)) => match rotation.outcome {
                Outcome::Rotated | Outcome::Replayed => {
                    generation += 1;
                    refreshed.fetch_add(1, Ordering::Relaxed);
                }
                // Until the repeats are over.
                Outcome::Held => now = now + SECOND,
                // What a master took along with it: the client logs in again, and is never accused.
                Outcome::Future | Outcome::Foreign => generation = rotation.session.chain.generation,
                other @ (Outcome::Superseded
                | Outcome::Displaced
                | Outcome::Renumber
                | Outcome::Reused
                | Outcome::Ended
                | Outcome::Expired) => panic!("{other:?} of generation {generation}"),
            },
            Ok(None) => panic!("a session is gone"),
            Err(StoreError::Unavailable(_)) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_may_lose_masters_and_move_slots_under_way() {
    let test = "a_cluster_may_lose_masters_and_move_slots_under_way";
    let Some(mut cluster) = Cluster::start(test, SECOND * 2).await else { return };
    // Patient, and not so much that a connection is made anew too late for this test.
    let store = patient().response_timeout(SECOND * 5).connect_cluster(cluster.urls()).await.unwrap();
    let traffic = Traffic::start(&store, cluster.store().await, 12).await;
    traffic.flows().await;

    // As an operator does it before an upgrade: nothing is lost.
    for replica in cluster.with_role("slave").await {
        let _: Value = cluster.servers[replica].ask(&["CLUSTER", "FAILOVER"]).await;
    }
    traffic.flows().await;
    cluster.settled().await;
    until("the store", async || store.revoked_since(NOW).await.is_ok()).await;

    // A slot that moves: first announced, then key by key, then for good.
    let row = tagged("moving");
    open(&store, &row).await;
    let mut nodes = Vec::new();
    for master in cluster.with_role("master").await {
        let id: String = cluster.servers[master].ask(&["CLUSTER", "MYID"]).await;
        nodes.push((master, id));
    }
    let key = {
        let shared = &store.shared;
        let crate::keys::Found::Here(place) = crate::keys::Found::by(&row.id) else { panic!("{:?}", row.id) };
        shared.keys.session(&place)
    };
    let slot: u16 = cluster.servers[0].ask(&["CLUSTER", "KEYSLOT", &key]).await;
    let slot = slot.to_string();
    let mut owner = None;
    for (number, (master, _)) in nodes.iter().enumerate() {
        let keys: usize = cluster.servers[*master].ask(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).await;
        if keys > 0 {
            owner = Some(number);
        }
    }
    let (from, from_id) = nodes.remove(owner.unwrap());
    let (to, to_id) = nodes.remove(0);
    let (from, to) = (&cluster.servers[from], &cluster.servers[to]);
    let _: Value = to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
    let _: Value = from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
    let rotate = async |generation| store.rotate(&attempt(&row, generation)).await.unwrap().unwrap().outcome;
    assert_eq!(rotate(0).await, Outcome::Rotated);
    let port = to.url().rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    let _: Value = from.ask(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]).await;
    // Its keys are on two nodes: what needs the one is done, what needs both is not now.
    assert_eq!(rotate(1).await, Outcome::Rotated);
    assert_unavailable(store.revoke(&row.id, None, EndReason::Logout, NOW).await);
    assert_eq!(store.find(&row.id).await.unwrap().unwrap().ended, None);
    let left: Vec<String> = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]).await;
    for key in left {
        let _: Value = from.ask(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]).await;
    }
    for node in [to, from] {
        let _: Value = node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
    }
    assert_eq!(rotate(2).await, Outcome::Rotated);
    assert!(store.revoke(&row.id, None, EndReason::Logout, NOW).await.unwrap());
    traffic.flows().await;

    // As a machine does that burns down: its replica takes its place.
    let lost = cluster.with_role("master").await[0];
    cluster.servers[lost].kill();
    traffic.flows().await;
    cluster.settled().await;
    traffic.flows().await;
    assert!(traffic.stop().await > 0);
    until("the store", async || store.revoked_since(NOW).await.is_ok()).await;

    // And all of the rest, on what is left.
    for number in 0..20 {
        let row = tagged(&format!("after-{number}"));
        open(&store, &row).await;
        assert_eq!(store.list(&row.subject, NOW).await.unwrap(), [row]);
    }
    store.purge_expired(NOW, 10).await.unwrap();
    let fresh = RedisStore::connect_cluster(cluster.urls()).await.unwrap();
    assert!(fresh.revoked_since(NOW).await.is_ok());
}

/// A driver's connection that nothing drives, as one whose tasks wait for each other.
fn stuck(urls: Vec<String>) -> (redis::cluster_async::ClusterConnection, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = redis::cluster::ClusterClient::new(urls).unwrap();
    (runtime.block_on(client.get_async_connection()).unwrap(), runtime)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_hears_counts_and_waits() {
    let test = "a_cluster_hears_counts_and_waits";
    let Some(mut cluster) = Cluster::start(test, PATIENCE).await else { return };
    let store = cluster.patient().await;

    // Whoever listens at any node hears of sessions on every node.
    let mut subscriptions = Vec::new();
    for server in &cluster.servers {
        let store = patient().connect_cluster([server.url()]).await.unwrap();
        subscriptions.push(store.subscribe().await.unwrap().unwrap());
    }
    let mut ended = Vec::new();
    for number in 0..30 {
        let row = tagged(&format!("subject-{number}"));
        open(&store, &row).await;
        assert!(store.revoke(&row.id, None, EndReason::Logout, NOW).await.unwrap());
        ended.push(row.id);
    }
    ended.sort();
    for subscription in &mut subscriptions {
        let mut heard = Vec::new();
        while heard.len() < ended.len() {
            let next = tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap();
            heard.push(next.unwrap().session);
        }
        heard.sort();
        assert_eq!(heard, ended);
    }
    let mut listed: Vec<_> =
        store.revoked_since(NOW).await.unwrap().into_iter().map(|one| one.session).collect();
    listed.sort();
    assert_eq!(listed, ended);

    // Sessions are spread over all masters.
    for master in cluster.with_role("master").await {
        let keys: usize = cluster.servers[master].ask(&["DBSIZE"]).await;
        assert!(keys > 0);
    }

    // Charges in different slots: one that refuses takes nothing of the others.
    let charge = |number: u8, count| Charge {
        key: Key::derive(&[number; 32], "test", &[]),
        rule: LimitRule::Rate { count, per: SECOND * 10 },
    };
    let full = charge(0, 1);
    let others: Vec<Charge> = (1..10).map(|number| charge(number, 3)).collect();
    assert_eq!(store.take(&[full], NOW).await.unwrap(), Verdict::Passed);
    let all = [&others[..], &[full]].concat();
    for _ in 0..5 {
        let refused = store.take(&all, NOW).await.unwrap();
        assert_eq!(refused, Verdict::Throttled { retry_after: SECOND * 10 });
    }
    for _ in 0..3 {
        assert_eq!(store.take(&others, NOW).await.unwrap(), Verdict::Passed);
    }
    let wait = Verdict::Throttled { retry_after: Duration::from_millis(3334) };
    assert_eq!(store.take(&others, NOW).await.unwrap(), wait);

    // Replicas that are asked for.
    let options = patient().wait_replicas(1, PATIENCE);
    let waiting = options.connect_cluster(cluster.urls()).await.unwrap();
    let row = tagged("waited for");
    open(&waiting, &row).await;
    for generation in 0..10 {
        assert_eq!(
            waiting.rotate(&attempt(&row, generation)).await.unwrap().unwrap().outcome,
            Outcome::Rotated
        );
    }
    let options = patient().wait_replicas(2, Duration::from_millis(50));
    let demanding = options.connect_cluster(cluster.urls()).await.unwrap();
    assert_unavailable(demanding.revoke(&row.id, None, EndReason::Logout, NOW).await);

    // An account with the documented rights.
    let mut command = vec!["ACL", "SETUSER", "app", "reset", "on", ">secret"];
    command.extend(rules());
    for server in &cluster.servers {
        let _: Value = server.ask(&command).await;
    }
    let urls = cluster.urls().into_iter().map(|url| url.replace("redis://", "redis://app:secret@"));
    let limited = patient().connect_cluster(urls).await.unwrap();
    let row = tagged("limited");
    open(&limited, &row).await;
    let mut subscription = limited.subscribe().await.unwrap().unwrap();
    assert_eq!(limited.rotate(&attempt(&row, 0)).await.unwrap().unwrap().outcome, Outcome::Rotated);
    assert!(limited.revoke(&row.id, None, EndReason::Logout, NOW).await.unwrap());
    assert_eq!(subscription.next().await.unwrap().session, row.id);

    // One of its masters evicts.
    let master = cluster.with_role("master").await[2];
    let evict = ["CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "volatile-lru"];
    let _: Value = cluster.servers[master].ask(&evict).await;
    let refused = RedisStore::connect_cluster(cluster.urls()).await;
    assert!(matches!(refused, Err(ConnectError::Evicts { .. })), "{refused:?}");
    let _: Value = cluster.servers[master].ask(&["CONFIG", "SET", "maxmemory", "0"]).await;

    // One server that is a node of a cluster.
    let refused = RedisStore::connect(&cluster.servers[0].url()).await;
    assert!(matches!(refused, Err(ConnectError::Unfit { .. })), "{refused:?}");

    // A connection that answers nobody is made anew, for calls that wait for replicas too.
    let options = RedisOptions::default().response_timeout(SECOND / 2).wait_replicas(1, SECOND / 2);
    let renewing = options.connect_cluster(cluster.urls()).await.unwrap();
    let urls = cluster.urls();
    let made = tokio::task::spawn_blocking(move || [stuck(urls.clone()), stuck(urls)]).await.unwrap();
    let mut undriven = Vec::new();
    for (wire, (connection, runtime)) in renewing.shared.link.wires().zip(made) {
        let Wire::Cluster(cluster) = wire else { panic!("not a cluster") };
        cluster.replace(connection);
        undriven.push(runtime);
    }
    let row = tagged("renewed");
    assert_unavailable(renewing.insert(&row, 100).await);
    assert_unavailable(renewing.find(&row.id).await);
    until("another connection", async || renewing.find(&row.id).await.is_ok()).await;
    until("another connection", async || renewing.insert(&row, 100).await.is_ok()).await;
    undriven.into_iter().for_each(tokio::runtime::Runtime::shutdown_background);

    // A subscription ends with its node, and the next one finds another.
    cluster.servers[0].kill();
    // What was told before is heard before.
    let end = async { while subscriptions[0].next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, end).await.unwrap();
    assert!(store.subscribe().await.unwrap().is_some());
}
