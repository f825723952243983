//! The feed of revocations when its connection is lost: what nodes do meanwhile, and that nothing is missed.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use gatekey::{
    Event, EventSink, FeedConfig, Gatekey, Keys, PostgresOptions, RedisOptions, SessionStore, UserStore,
    WhenLost,
};

use super::support::*;

/// The names of the events of a node.
#[derive(Clone, Debug, Default)]
struct Events(Arc<Mutex<Vec<&'static str>>>);

impl EventSink for Events {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.kind.name());
    }
}

impl Events {
    async fn tell(&self, name: &'static str) {
        until(name, async || self.0.lock().unwrap().contains(&name)).await;
    }
}

async fn node(keys: &Keys, store: impl SessionStore + UserStore, when_lost: WhenLost) -> (Gatekey, Events) {
    let events = Events::default();
    let feed = FeedConfig { poll: Duration::from_millis(50), lost_after: Duration::from_secs(2), when_lost };
    let builder = builder(keys).store(store).events(events.clone());
    (builder.configure(|config| config.feed = feed).build().await.unwrap(), events)
}

/// One node is at the server, and two reach it by a way that is cut.
async fn story<S: SessionStore + UserStore + Clone>(way: &Way, direct: S, by_the_way: S) {
    let keys = keys();
    let (here, _) = node(&keys, direct, WhenLost::StayOpen).await;
    register(&here, "alice").await;
    let (held, before) = (login(&here, "alice").await, login(&here, "alice").await);
    logout(&here, &before).await;

    let (open, open_events) = node(&keys, by_the_way.clone(), WhenLost::StayOpen).await;
    let (closed, closed_events) = node(&keys, by_the_way, WhenLost::Close).await;
    for node in [&open, &closed] {
        assert_eq!(me(node, &before).await, 401, "a node that starts knows what was ended before");
        let first = login(&here, "alice").await;
        until("a request", async || me(node, &first).await == 200).await;
        logout(&here, &first).await;
        until("it is heard", async || me(node, &first).await == 401).await;
    }

    way.cut();
    for events in [&open_events, &closed_events] {
        events.tell("revocation_feed_lost").await;
    }
    let meanwhile = login(&here, "alice").await;
    logout(&here, &meanwhile).await;
    assert_eq!(me(&here, &meanwhile).await, 401);
    // As configured: one goes on with what it knows, the other takes nobody's word.
    assert_eq!((me(&open, &held).await, me(&open, &meanwhile).await), (200, 200));
    assert_eq!((me(&closed, &held).await, me(&closed, &meanwhile).await), (503, 503));
    assert_eq!(me(&open, &before).await, 401);

    way.mend();
    for (node, events) in [(&open, &open_events), (&closed, &closed_events)] {
        events.tell("revocation_feed_restored").await;
        until("what was missed is heard", async || me(node, &meanwhile).await == 401).await;
        until("a request", async || me(node, &held).await == 200).await;
        // And told as it happens, again.
        let after = login(&here, "alice").await;
        logout(&here, &after).await;
        until("it is heard", async || me(node, &after).await == 401).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_of_postgresql_that_is_cut_is_told_and_caught_up_with() {
    let test = "a_feed_of_postgresql_that_is_cut_is_told_and_caught_up_with";
    let Some(url) = postgres(test) else { return };
    let config: tokio_postgres::Config = url.parse().unwrap();
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let place = format!("@127.0.0.1:{port}/");
    if !url.contains(&place) {
        not_run::<()>(test, "DATABASE_URL does not name 127.0.0.1 and a port");
        return;
    }
    let way = Way::to(SocketAddr::from(([127, 0, 0, 1], port))).await;
    let schema = fresh();
    let direct = postgres_store(&url, &schema).await;
    let around = url.replace(&place, &format!("@127.0.0.1:{}/", way.port));
    let by_the_way = PostgresOptions::default().schema(&schema).pool_size(4).connect(&around).await.unwrap();
    story(&way, direct, by_the_way).await;
    sql(&url).await.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_of_redis_that_is_cut_is_told_and_caught_up_with() {
    let test = "a_feed_of_redis_that_is_cut_is_told_and_caught_up_with";
    let Some(redis) = Redis::start(test).await else { return };
    let way = Way::to(SocketAddr::from(([127, 0, 0, 1], redis.port))).await;
    let around = format!("redis://127.0.0.1:{}/", way.port);
    let by_the_way = RedisOptions::default().connect(&around).await.unwrap();
    story(&way, redis.store().await, by_the_way).await;
}
