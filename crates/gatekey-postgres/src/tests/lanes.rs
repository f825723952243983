//! Connections that several calls share: none is answered what another asked, and none waits for ever.

use tokio::task::JoinSet;

use super::{
    faults::{holding, rotation, until_waiting},
    *,
};

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_few_connections_and_each_gets_its_own_answer() {
    let Some(place) = Place::find().await else { return };
    let url = place.url_with(&format!("application_name={}", place.schema));
    let store = place.options().pool_size(4).connect(&url).await.unwrap();
    let ids: Vec<_> = (0..100).map(|number| format!("session-{number}")).collect();
    for id in &ids {
        insert(&store, &session(id, id)).await;
    }
    let mut calls = JoinSet::new();
    for id in ids {
        let store = store.clone();
        calls.spawn(async move {
            for generation in 0..10 {
                assert_eq!(outcome(&store, &attempt(&id, generation)).await, Outcome::Rotated, "{id}");
                let row = store.find(&SessionId::new(&*id)).await.unwrap().unwrap();
                assert_eq!((row.id.as_str(), row.chain.generation), (&*id, u64::from(generation) + 1));
            }
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    let connections =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'", place.schema);
    assert_eq!(place.number(&connections).await, 4);
    drop(store);
    place.leave().await;
}

#[tokio::test]
async fn who_waits_for_a_lock_keeps_nobody_waiting_while_there_are_lanes() {
    let Some(place) = Place::find().await else { return };
    let store = place.options().pool_size(4).connect(&place.url).await.unwrap();
    insert(&store, &session("one", "alice")).await;
    let holder = holding(&place, "one").await;
    let refresh = rotation(&store);
    until_waiting(&place, 1).await;
    let found = tokio::time::timeout(PATIENCE / 2, store.find(&SessionId::new("one"))).await;
    assert_eq!(found.expect("an end").unwrap().unwrap().chain.generation, 0);
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(refresh.await.unwrap().unwrap().unwrap().outcome, Outcome::Rotated);
    drop((store, holder));
    place.leave().await;
}

#[tokio::test]
async fn a_lane_whose_statement_takes_too_long_gives_way_to_a_new_one() {
    let Some(place) = Place::find().await else { return };
    drop(place.store().await);
    // The only lane there is. The server would end the statement as soon as we do, and so set the connection free.
    let url = place.url_with("options=-c%20statement_timeout%3D0");
    let store = place.options().pool_size(2).timeout(SECOND / 2).connect(&url).await.unwrap();
    insert(&store, &session("one", "alice")).await;
    let holder = holding(&place, "one").await;
    let refresh = rotation(&store);
    until_waiting(&place, 1).await;
    assert_unavailable(refresh.await.unwrap());
    let finding = async {
        loop {
            // Half a second may be too short for a busy machine.
            if let Ok(found) = store.find(&SessionId::new("one")).await {
                return found;
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE / 2, finding).await.expect("a new lane").is_some());
    holder.batch_execute("ROLLBACK").await.unwrap();
    drop((store, holder));
    place.leave().await;
}

/// As where the client hangs up in the middle of its request.
#[tokio::test]
async fn a_call_that_is_given_up_takes_no_answer_of_those_behind_it() {
    let Some(place) = Place::find().await else { return };
    let store = place.options().pool_size(2).connect(&place.url).await.unwrap();
    insert(&store, &session("one", "alice")).await;
    insert(&store, &session("two", "bob")).await;
    let holder = holding(&place, "one").await;
    let given_up = rotation(&store);
    until_waiting(&place, 1).await;
    let behind = tokio::spawn({
        let store = store.clone();
        async move { store.find(&SessionId::new("two")).await }
    });
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(behind.await.unwrap().unwrap().unwrap().id.as_str(), "two");
    // It was sent, so it was done: the client comes back with the parent.
    assert_eq!(outcome(&store, &attempt("one", 0)).await, Outcome::Replayed);
    drop((store, holder));
    place.leave().await;
}
