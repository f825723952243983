//! The one statement of the happy path against core's decision.

use gatekey_core::{
    rotation::{self},
    session::{End, Parent, Window},
};

use super::*;

/// A session in the middle of its life: generation 5 is live since [`NOW`], and 4 is its parent.
fn midway() -> Session {
    let mut row = session("", "alice");
    row.chain.generation = 5;
    row.chain.live = digest(5);
    row.chain.parent = Some(Parent { digest: digest(4), generation: 4 });
    row.chain.this_window = Window { oldest: 3, opened_at: NOW - SECOND * 5 };
    row.chain.last_window = Window { oldest: 2, opened_at: NOW - SECOND * 15 };
    row.chain.sealed = b"sealed 5".to_vec();
    row
}

type Change<T> = fn(&mut T);

const ROWS: &[Change<Session>] = &[
    |_| {},
    |row| row.chain = Chain::start(digest(5), NOW),
    |row| row.chain.generation = u64::MAX,
    |row| row.chain.this_window.opened_at = Timestamp::from_millis(i64::MIN),
    |row| row.chain.this_window.opened_at = Timestamp::from_millis(i64::MAX),
    |row| row.chain.this_window.opened_at = NOW - SECOND * 10,
    |row| row.chain.this_window.oldest = u64::MAX,
    |row| row.chain.replayed_at = Some(NOW),
    |row| row.chain.replayed_at = Some(NOW - SECOND * 3600),
    |row| row.chain.live_used = true,
    |row| row.client = Client::default(),
    |row| row.idle_expires_at = NOW + SECOND,
    |row| row.expires_at = NOW + SECOND,
    |row| row.expires_at = Timestamp::from_millis(i64::MAX),
    |row| row.ended = Some(End { at: NOW, reason: EndReason::Logout }),
    |row| row.chain.live = digest(9),
];

const ATTEMPTS: &[Change<Attempt>] = &[
    |_| {},
    |attempt| attempt.now = NOW + SECOND,
    |attempt| attempt.now = NOW + Duration::from_millis(999),
    |attempt| attempt.now = NOW + SECOND * 5 + Duration::from_millis(1),
    |attempt| attempt.now = NOW - SECOND * 3600,
    |attempt| attempt.now = Timestamp::from_millis(i64::MIN),
    |attempt| attempt.now = Timestamp::from_millis(i64::MAX),
    |attempt| attempt.policy = Policy::STRICT,
    |attempt| attempt.policy = Policy::RESILIENT,
    |attempt| attempt.policy.grace = Duration::from_micros(1_000_500),
    |attempt| attempt.policy.grace = SECOND * 60,
    |attempt| attempt.successor.expires_at = Timestamp::from_millis(i64::MAX),
    |attempt| attempt.successor.expires_at = NOW + SECOND * 2,
    |attempt| attempt.successor.generation = u64::MAX,
    |attempt| attempt.successor.sealed = Vec::new(),
    |attempt| attempt.client = Client::default(),
    |attempt| attempt.client = Client::new("2001:db8::1".parse().ok(), Some("'é\u{202e}")),
    |attempt| attempt.presented.generation = 4,
    |attempt| attempt.presented.digest = digest(4),
    |attempt| attempt.presented.digest = digest(3),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_fast_path_writes_what_core_decides() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    let sql = &store.database.statements;
    let mut client = store.database.pool.get().await.unwrap();
    let (mut at_once, mut left) = (0, 0);
    for (number, row) in ROWS.iter().enumerate() {
        for (variant, change) in ATTEMPTS.iter().enumerate() {
            let mut twins = ["fast", "slow"].map(|twin| {
                let mut session = midway();
                session.id = SessionId::new(format!("{twin}-{number}-{variant}"));
                row(&mut session);
                session
            });
            let mut attempts = twins.each_ref().map(|twin| {
                let mut attempt = attempt(twin.id.as_str(), 5);
                change(&mut attempt);
                attempt
            });
            for twin in &twins {
                insert(&store, twin).await;
            }
            let [fast, slow] = &mut twins;
            let [fast_attempt, slow_attempt] = &mut attempts;
            let what = format!("row {number}, attempt {variant}");

            let decided = rotation::decide(fast, fast_attempt);
            let before = fast.client.clone();
            let rotated = sessions::swap(&client, sql, fast, fast_attempt).await.unwrap();
            match rotated {
                Some(rotation) => {
                    at_once += 1;
                    assert_eq!(decided, Outcome::Rotated, "{what}");
                    assert_eq!(rotation.outcome, Outcome::Rotated, "{what}");
                    rotation::advance(fast, fast_attempt);
                    assert_eq!(&rotation.session, fast, "{what}");
                    assert_eq!(rotation.before, before, "{what}");
                }
                None if decided == Outcome::Rotated => {
                    // Left to the slow path on purpose: a bound that moves.
                    left += 1;
                    assert!(fast_attempt.successor.expires_at.min(fast.expires_at) < fast.end(), "{what}");
                }
                None => {}
            }
            assert_eq!(store.find(&fast.id).await.unwrap().as_ref(), Some(&*fast), "{what}");

            let before = slow.client.clone();
            let rotation = sessions::rotate(&mut client, sql, slow_attempt).await.unwrap().unwrap();
            assert_eq!(rotation.outcome, decided, "{what}");
            rotation::advance(slow, slow_attempt);
            assert_eq!((&rotation.session, &rotation.before), (&*slow, &before), "{what}");
            assert_eq!(store.find(&slow.id).await.unwrap().as_ref(), Some(&*slow), "{what}");
        }
    }
    // Had one of the two never happened, nothing would have been compared.
    assert!(at_once > 100 && left > 10, "{at_once} {left}");
    drop(client);
    drop(store);
    place.leave().await;
}

/// Columns that no `Session` shows: both paths leave the same row, byte for byte.
#[tokio::test]
async fn the_fast_path_leaves_the_same_columns_as_the_slow_one() {
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    let sql = &store.database.statements;
    let mut client = store.database.pool.get().await.unwrap();
    for id in ["fast", "slow"] {
        insert(&store, &Session { id: SessionId::new(id), ..midway() }).await;
    }
    let now = NOW + SECOND * 20;
    let later = |id| Attempt { now, ..attempt(id, 5) };
    let seen = store.find(&SessionId::new("fast")).await.unwrap().unwrap();
    assert!(sessions::swap(&client, sql, &seen, &later("fast")).await.unwrap().is_some());
    assert!(sessions::rotate(&mut client, sql, &later("slow")).await.unwrap().is_some());
    let distinct = "SELECT count(DISTINCT to_jsonb(row) - 'id') FROM @session AS row";
    assert_eq!(place.number(distinct).await, 1);
    drop(client);
    drop(store);
    place.leave().await;
}

/// Everything that decides may change between the look at the row and the swap.
#[tokio::test]
async fn the_fast_path_gives_way_to_what_came_between() {
    let replayed = format!("replayed_at = {}", NOW.as_millis());
    let between = [
        ("ended_at = 1, end_reason = 'logout'", Outcome::Ended),
        ("live = sha256('other'), generation = 6, parent = live, parent_generation = 5", Outcome::Replayed),
        (&*replayed, Outcome::Held),
        ("last_used_at = last_used_at + 1, live_used = true", Outcome::Rotated),
        ("purge_after = 9223372036854775807", Outcome::Rotated),
    ];
    let Some(place) = Place::find().await else { return };
    let store = place.store().await;
    let sql = &store.database.statements;
    let client = store.database.pool.get().await.unwrap();
    for (number, (change, outcome)) in between.into_iter().enumerate() {
        let seen = Session { id: SessionId::new(format!("between-{number}")), ..midway() };
        insert(&store, &seen).await;
        place.run(&format!("UPDATE @session SET {change} WHERE id = '{}'", seen.id.as_str())).await;
        let changed = store.find(&seen.id).await.unwrap();
        let attempt = Attempt { seen: Some(seen.clone()), ..attempt(seen.id.as_str(), 5) };
        let swapped = sessions::swap(&client, sql, &seen, &attempt).await.unwrap();
        assert_eq!(swapped, None, "{change}");
        assert_eq!(store.find(&seen.id).await.unwrap(), changed, "{change}");
        assert_eq!(store.rotate(&attempt).await.unwrap().unwrap().outcome, outcome, "{change}");
    }
    drop(client);
    drop(store);
    place.leave().await;
}
