//! A real cluster of six: what a node that goes, a slot that moves and a master that changes do to calls under way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use gatekey_core::{
    limit::{Charge, Key, LimitRule, ThrottleStore, Verdict},
    rotation::Outcome,
    session::EndReason,
};
use redis::Value;

use super::{server::Cluster, *};
use crate::{ConnectError, RedisOptions};

/// Sessions that are refreshed all the time, and what became of it.
struct Traffic {
    stop: Arc<AtomicBool>,
    refreshed: Arc<AtomicU64>,
    unavailable: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    async fn start(store: &RedisStore, sessions: usize) -> Self {
        let mut traffic = Self {
            stop: Arc::default(),
            refreshed: Arc::default(),
            unavailable: Arc::default(),
            tasks: Vec::new(),
        };
        for number in 0..sessions {
            let row = tagged(&format!("traffic-{number}"));
            open(store, &row).await;
            traffic.tasks.push(tokio::spawn(refresh(
                store.clone(),
                row,
                Arc::clone(&traffic.stop),
                Arc::clone(&traffic.refreshed),
                Arc::clone(&traffic.unavailable),
            )));
        }
        traffic
    }

    /// Waits until every session is refreshed again.
    async fn flows(&self) {
        let goal = self.refreshed.load(Ordering::Relaxed) + 40 * self.tasks.len() as u64;
        let flowing = async {
            while self.refreshed.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), flowing).await.expect("no refresh succeeds");
    }

    fn unavailable(&self) -> u64 {
        self.unavailable.swap(0, Ordering::Relaxed)
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
async fn refresh(
    store: RedisStore,
    row: Session,
    stop: Arc<AtomicBool>,
    refreshed: Arc<AtomicU64>,
    unavailable: Arc<AtomicU64>,
) {
    let mut generation = 0;
    while !stop.load(Ordering::Relaxed) {
        match store.rotate(&attempt(&row, generation)).await {
            Ok(Some(rotation)) => match rotation.outcome {
                Outcome::Rotated | Outcome::Replayed => {
                    generation += 1;
                    refreshed.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Held => {}
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
                unavailable.fetch_add(1, Ordering::Relaxed);
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
    let Some(mut cluster) = Cluster::start(test).await else { return };
    let store = cluster.store().await;
    let traffic = Traffic::start(&store, 12).await;
    traffic.flows().await;
    assert_eq!(traffic.unavailable(), 0);

    // As an operator does it before an upgrade: nothing is lost.
    for replica in cluster.with_role("slave").await {
        let _: Value = cluster.servers[replica].ask(&["CLUSTER", "FAILOVER"]).await;
    }
    traffic.flows().await;
    cluster.settled().await;
    let unavailable = traffic.unavailable();
    assert!(unavailable <= 24, "{unavailable} calls");

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
    traffic.unavailable();

    // As a machine does that burns down: its replica takes its place.
    let lost = cluster.with_role("master").await[0];
    cluster.servers[lost].kill();
    traffic.flows().await;
    cluster.settled().await;
    traffic.flows().await;
    assert!(traffic.stop().await > 0);

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

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_hears_counts_and_waits() {
    let test = "a_cluster_hears_counts_and_waits";
    let Some(mut cluster) = Cluster::start(test).await else { return };
    let store = cluster.store().await;

    // Whoever listens at any node hears of sessions on every node.
    let mut subscriptions = Vec::new();
    for server in &cluster.servers {
        let store = RedisStore::connect_cluster([server.url()]).await.unwrap();
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
            let next = tokio::time::timeout(Duration::from_secs(5), subscription.next()).await.unwrap();
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
    let options = RedisOptions::default().wait_replicas(1, Duration::from_millis(500));
    let waiting = options.connect_cluster(cluster.urls()).await.unwrap();
    let row = tagged("waited for");
    open(&waiting, &row).await;
    for generation in 0..10 {
        assert_eq!(
            waiting.rotate(&attempt(&row, generation)).await.unwrap().unwrap().outcome,
            Outcome::Rotated
        );
    }
    let options = RedisOptions::default().wait_replicas(2, Duration::from_millis(50));
    let demanding = options.connect_cluster(cluster.urls()).await.unwrap();
    assert_unavailable(demanding.revoke(&row.id, None, EndReason::Logout, NOW).await);

    // One server that is a node of a cluster.
    let refused = RedisStore::connect(&cluster.servers[0].url()).await;
    assert!(matches!(refused, Err(ConnectError::Unfit { .. })), "{refused:?}");

    // A subscription ends with its node, and the next one finds another.
    cluster.servers[0].kill();
    // What was told before is heard before.
    let end = async { while subscriptions[0].next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(5), end).await.unwrap();
    assert!(store.subscribe().await.unwrap().is_some());
}
