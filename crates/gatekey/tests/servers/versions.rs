//! Nodes of two versions of the tables on one PostgreSQL: the upgrade that only adds is done while they serve, and
//! sessions go on from node to node, over those that ran before and those that start after it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use gatekey::{Gatekey, PostgresOptions};

use super::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_serve_on_while_the_tables_become_those_of_the_next_version() {
    let Some(url) = postgres("nodes_serve_on_while_the_tables_become_those_of_the_next_version") else {
        return;
    };
    let (schema, keys, admin) = (fresh(), keys(), sql(&url).await);
    let node = async || builder(&keys).store(postgres_store(&url, &schema).await).build().await.unwrap();
    let [one, two] = [node().await, node().await];
    register(&one, "alice").await;
    let mut held = login(&one, "alice").await;
    let before = login(&two, "alice").await;

    // The same statements as in `gatekey-postgres`, where stores are asked alone.
    let upgrade = format!(
        "SET search_path TO {schema};
         ALTER TABLE gatekey_session ADD COLUMN device text, ADD COLUMN trusted boolean NOT NULL DEFAULT false;
         ALTER TABLE gatekey_user ADD COLUMN email text;
         CREATE INDEX ON gatekey_session (device) WHERE device IS NOT NULL;
         CREATE TABLE gatekey_device (id text PRIMARY KEY);
         UPDATE gatekey_version SET version = 2;
         UPDATE gatekey_session SET device = 'phone', trusted = true"
    );
    // Amid refreshes and logins on both: their clients never hear of it.
    let (served, upgraded) = (AtomicU32::new(0), AtomicBool::new(false));
    let serving = async |node: &Gatekey| {
        let (mut held, mut since) = (login(node, "alice").await, 0);
        while since < 3 {
            since += u8::from(upgraded.load(Ordering::SeqCst));
            held = refresh(node, &held).await;
            assert_eq!(me(node, &held).await, 200);
            login(node, "alice").await;
            served.fetch_add(1, Ordering::SeqCst);
        }
        held
    };
    let upgrading = async {
        until("both serve", async || served.load(Ordering::SeqCst) >= 4).await;
        // A connection of its own, which takes its search path along when it ends.
        sql(&url).await.batch_execute(&upgrade).await.unwrap();
        upgraded.store(true, Ordering::SeqCst);
    };
    let (first, second, ()) = tokio::join!(serving(&one), serving(&two), upgrading);
    println!("{} refreshes were answered around it", served.into_inner());

    // A process that starts now, and one that may not touch the tables.
    let three = node().await;
    let options = PostgresOptions::default().schema(&schema).pool_size(4).migrate(false);
    let options = options.timeout(PATIENCE).pool_timeout(PATIENCE);
    let four = builder(&keys).store(options.connect(&url).await.unwrap()).build().await.unwrap();
    let all = [&one, &three, &two, &four];
    for node in all {
        held = refresh(node, &held).await;
        for other in all {
            assert_eq!(me(other, &held).await, 200);
        }
        let since = login(node, "alice").await;
        assert_eq!(me(&one, &refresh(&two, &refresh(&three, &since).await).await).await, 200);
    }

    // Ended on one of before, heard by one of after, and the other way round.
    for (ends, hears, held) in [(&one, &three, &first), (&four, &two, &second), (&two, &four, &before)] {
        assert_eq!(me(hears, held).await, 200);
        logout(ends, held).await;
        try_refresh(hears, &held.refresh).await.is(400);
        until("the other node hears", async || me(hears, held).await == 401).await;
    }
    // Nobody was ended with them, and what the next version wrote is kept.
    held = refresh(&three, &held).await;
    assert_eq!(me(&one, &held).await, 200);
    let kept = format!(
        "SELECT count(*) FROM {schema}.gatekey_session, {schema}.gatekey_version
         WHERE device = 'phone' AND trusted AND id = $1 AND version = 2 AND suits = 1"
    );
    let kept: i64 = admin.query_one(&kept, &[&held.session]).await.unwrap().get(0);
    assert_eq!(kept, 1);
    admin.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
}
