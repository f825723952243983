//! The store keeps what `gatekey_core::store` promises, on one server and on a cluster.

use std::{
    io::Write,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use gatekey_conformance::store::{sessions, throttles};
use gatekey_redis::{RedisOptions, RedisStore};

use crate::tagged::Tagged;

#[path = "conformance/tagged.rs"]
mod tagged;

/// What to test with, or a line that says that nothing was tested. It is written past the test harness, which shows
/// nothing of a test that passes.
fn given(variable: &str, test: &str) -> Option<String> {
    let given = std::env::var(variable).ok().filter(|given| !given.is_empty());
    if given.is_none() {
        assert!(std::env::var_os("GATEKEY_REQUIRE_ALL").is_none(), "{variable} is not set");
        let _ = writeln!(std::io::stderr(), "not run: {test}: {variable} is not set");
    }
    given
}

/// Options with a prefix that nobody else has, and as much patience as a loaded machine may need.
fn fresh() -> RedisOptions {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let patience = Duration::from_secs(60);
    let options = RedisOptions::default().connect_timeout(patience).response_timeout(patience);
    options.prefix(format!("suite-{}-{number}:", std::process::id()))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_keeps_the_contract_of_a_store() {
    let Some(url) = given("REDIS_URL", "one_server_keeps_the_contract_of_a_store") else { return };
    let store = async || fresh().connect(&url).await.unwrap();
    gatekey_conformance::store::run(store).await;
    for report in [sessions(async || Tagged::new(store().await)).await, throttles(store).await] {
        assert!(report.is_clean(), "{report}");
    }
}

async fn cluster(urls: &str) -> RedisStore {
    fresh().connect_cluster(urls.split(',')).await.expect("a cluster")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_the_contract_of_a_store() {
    let Some(urls) = given("REDIS_CLUSTER_URLS", "a_cluster_keeps_the_contract_of_a_store") else { return };
    let store = async || cluster(&urls).await;
    gatekey_conformance::store::run(store).await;
    for report in [sessions(async || Tagged::new(store().await)).await, throttles(store).await] {
        assert!(report.is_clean(), "{report}");
    }
}
