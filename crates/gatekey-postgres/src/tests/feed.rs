//! The feed of revocations when its connection is lost, and what it must not tell.

use super::*;

async fn next(subscription: &mut Subscription) -> Option<Revocation> {
    tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an end or a revocation")
}

fn revoked(id: &str) -> Revocation {
    Revocation { session: SessionId::new(id), at: NOW }
}

async fn revoke(store: &PostgresStore, id: &str) {
    assert!(store.revoke(&SessionId::new(id), None, EndReason::Logout, NOW).await.unwrap());
}

#[tokio::test]
async fn a_lost_connection_ends_the_subscription_and_nothing_is_missed() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    let name = format!("listener_{}", place.schema);
    let url = place.url_with(&format!("application_name={name}"));
    let listener = place.options().connect(&url).await.unwrap();
    for id in ["before", "meanwhile", "after"] {
        insert(&store, &session(id, id)).await;
    }
    let mut subscription = listener.subscribe().await.unwrap().unwrap();
    revoke(&store, "before").await;
    assert_eq!(next(&mut subscription).await, Some(revoked("before")));

    let listening = format!("pg_stat_activity WHERE application_name = '{name}' AND query LIKE 'LISTEN%'");
    assert_eq!(place.number(&format!("SELECT count(pg_terminate_backend(pid)) FROM {listening}")).await, 1);
    assert_eq!(next(&mut subscription).await, None);
    revoke(&store, "meanwhile").await;

    // What core does then: subscribe again, and read what it may have missed.
    let mut subscription = listener.subscribe().await.unwrap().unwrap();
    let missed = listener.revoked_since(NOW).await.unwrap();
    assert!(missed.contains(&revoked("meanwhile")), "{missed:?}");
    revoke(&store, "after").await;
    assert_eq!(next(&mut subscription).await, Some(revoked("after")));

    // A subscription that is dropped takes its connection with it.
    drop(subscription);
    place.until(&format!("SELECT count(*) FROM {listening}"), |left| left == 0).await;
    drop((store, listener));
    place.leave().await;
}

#[tokio::test]
async fn what_is_undone_is_not_told_and_nonsense_is_not_heard() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    for id in ["one", "two"] {
        insert(&store, &session(id, "alice")).await;
    }
    let mut subscription = store.subscribe().await.unwrap().unwrap();
    let channel = store.database.names.channel();
    for payload in ["", " ", "nonsense", "12", "x one", "99999999999999999999 one"] {
        place.run(&format!("NOTIFY \"{channel}\", '{payload}'")).await;
    }
    // The statement that ends them is undone at its end, with its notifications.
    place
        .run(
            "CREATE FUNCTION \"@schema\".undo() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN RAISE EXCEPTION 'undone'; END $$;
             CREATE CONSTRAINT TRIGGER undo AFTER UPDATE ON @session DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION \"@schema\".undo();",
        )
        .await;
    let reason = EndReason::Revoked;
    store.revoke(&SessionId::new("one"), None, reason, NOW).await.unwrap_err();
    store.revoke_all(&SubjectId::new("alice"), None, reason, NOW).await.unwrap_err();
    place.run("DROP TRIGGER undo ON @session").await;
    revoke(&store, "two").await;
    assert_eq!(next(&mut subscription).await, Some(revoked("two")));
    assert_eq!(store.revoked_since(NOW).await.unwrap(), [revoked("two")]);
    drop((store, subscription));
    place.leave().await;
}

#[tokio::test]
async fn a_store_that_does_not_notify_is_asked() {
    let Some(place) = Place::find().await else { return };
    let listener = place.store().await;
    let mut subscription = listener.subscribe().await.unwrap().unwrap();
    let store = place.options().notify(false).connect(&place.url).await.unwrap();
    assert!(store.subscribe().await.unwrap().is_none());
    for id in ["one", "two"] {
        insert(&store, &session(id, id)).await;
    }
    revoke(&store, "one").await;
    let ended = store.revoke_all(&SubjectId::new("two"), None, EndReason::Logout, NOW).await.unwrap();
    assert_eq!(ended.len(), 1);
    insert(&listener, &session("three", "three")).await;
    revoke(&listener, "three").await;
    assert_eq!(next(&mut subscription).await, Some(revoked("three")));
    assert_eq!(listener.revoked_since(NOW).await.unwrap().len(), 3);
    drop((store, listener, subscription));
    place.leave().await;
}
