//! The store keeps what `gatekey_core::store` promises.

use std::{
    io::Write,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use gatekey_postgres::PostgresOptions;
use tokio_postgres::NoTls;

/// The server to test with, or a line that says that nothing was tested. It is written past the test harness, which
/// shows nothing of a test that passes.
fn server(test: &str) -> Option<String> {
    let url = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        assert!(std::env::var_os("GATEKEY_REQUIRE_ALL").is_none(), "DATABASE_URL is not set");
        let line = format!("not run: {test}: DATABASE_URL is not set\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    url
}

/// The suite runs as a role that has the documented privileges and no more, on tables that another role made.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_contract_of_a_store() {
    let Some(url) = server("postgres_keeps_the_contract_of_a_store") else { return };
    let (owner, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let role = format!("suite_{}", std::process::id());
    let documented = include_str!("../sql/least_privilege.sql").replace("gatekey_app", &role);
    let (create_role, grants) = documented.split_once("GRANT").unwrap();
    owner.batch_execute(create_role).await.unwrap();
    let (_, place) = url.split_once('@').unwrap();
    let role_url = format!("postgres://{role}:a long random one@{place}");

    let schemas = AtomicU32::new(0);
    let schema = |number| format!("{role}_{number}");
    let store = async || {
        let schema = schema(schemas.fetch_add(1, Ordering::Relaxed));
        // As much patience as a loaded machine may need.
        let patience = Duration::from_secs(60);
        let options = PostgresOptions::default().schema(&schema).timeout(patience).pool_timeout(patience);
        options.clone().pool_size(1).connect(&url).await.unwrap();
        owner.batch_execute(&format!("GRANT{}", grants.replace("public", &schema))).await.unwrap();
        options.migrate(false).connect(&role_url).await.unwrap()
    };
    gatekey_conformance::store::run(store).await;
    let report = gatekey_conformance::store::throttles(store).await;
    assert!(report.is_clean(), "{report}");

    for number in 0..schemas.into_inner() {
        owner.batch_execute(&format!("DROP SCHEMA {} CASCADE", schema(number))).await.unwrap();
    }
    // Its connections end a moment after the stores that had them.
    for _ in 0..3000 {
        if owner.batch_execute(&format!("DROP ROLE {role}")).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the role has something left");
}
