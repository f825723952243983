//! The store keeps what `gatekey_core::store` promises.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use gatekey_sqlite::SqliteStore;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract_of_a_store() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("suite-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let files = AtomicU32::new(0);
    gatekey_conformance::store::run(async || {
        let file = format!("{}.db", files.fetch_add(1, Ordering::Relaxed));
        SqliteStore::open(folder.join(file)).await.unwrap()
    })
    .await;
    std::fs::remove_dir_all(folder).unwrap();
}
