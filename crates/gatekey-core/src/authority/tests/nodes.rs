//! Several processes of one application, and the feed between them.

use super::{events::Counters, *};

const POLL: Duration = Duration::from_millis(10);

/// Waits for what happens by itself, as briefly as it can be seen; for at most a minute.
pub(super) async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not in a minute: {what}");
}

fn quick(config: &mut Config) {
    config.feed.poll = POLL;
}

async fn two_nodes() -> (Host, Host) {
    let first = host_with(quick).await;
    let second = node(&first.backend, &first.clock, quick).await.unwrap();
    (first, second)
}

#[tokio::test]
async fn what_one_node_ends_another_refuses_within_a_poll() {
    let (here, there) = two_nodes().await;
    let (ended, all, reused, kept) =
        (here.login().await, here.login().await, here.login().await, here.login().await);
    let stolen = here.refresh(&reused.refresh).await.unwrap();
    for tokens in [&ended, &all, &reused, &stolen, &kept] {
        assert!(there.authenticate(tokens).is_ok());
    }
    here.authority.end_session(&ended.session, None, EndReason::Logout, &client()).await.unwrap();
    eventually("logged out", || there.authenticate(&ended).is_err()).await;
    assert_eq!(told(&there.authenticate(&ended)), "invalid_token: token_revoked");

    here.clock.advance(secs(11));
    assert_eq!(told(&here.refresh(&reused.refresh).await), "invalid_grant: reuse");
    eventually("reuse", || there.authenticate(&stolen).is_err()).await;

    here.authority.end_sessions(&alice(), Some(&kept.session), EndReason::Revoked, &client()).await.unwrap();
    eventually("all but one", || there.authenticate(&all).is_err()).await;
    assert!(there.authenticate(&kept).is_ok());
}

/// The tokens that it ends are good for as long as others' clocks say, and those may be ahead of its own by the leeway.
#[tokio::test]
async fn a_node_whose_clock_is_behind_revokes_for_long_enough() {
    let here = host_with(quick).await;
    let behind = Arc::new(ManualClock::new());
    behind.set(NOW - secs(30));
    let there = node(&here.backend, &behind, |_| {}).await.unwrap();
    let (tokens, other) = (here.login().await, here.login().await);
    there.authority.end_session(&tokens.session, None, EndReason::Logout, &client()).await.unwrap();
    eventually("logged out", || here.authenticate(&tokens).is_err()).await;
    here.clock.set(NOW + secs(930) - MILLISECOND);
    // Where this one is heard of, what is over was just forgotten.
    behind.set(NOW + secs(900));
    there.authority.end_session(&other.session, None, EndReason::Logout, &client()).await.unwrap();
    eventually("logged out too", || here.authenticate(&other).is_err()).await;
    assert_eq!(told(&here.authenticate(&tokens)), "invalid_token: token_revoked");
    // Until nothing of it could be good, and then no more.
    here.clock.set(NOW + secs(930));
    eventually("forgotten", || here.authority.revoked_sessions() == 1).await;
}

#[tokio::test]
async fn a_node_that_starts_knows_what_was_ended_before_it_serves() {
    let here = host().await;
    let (ended, kept) = (here.login().await, here.login().await);
    here.authority.end_session(&ended.session, None, EndReason::Logout, &client()).await.unwrap();
    // As late as its tokens can still verify.
    here.clock.set(NOW + secs(929));
    let there = node(&here.backend, &here.clock, |_| {}).await.unwrap();
    assert_eq!(told(&there.authenticate(&ended)), "invalid_token: token_revoked");
    assert!(there.authenticate(&kept).is_ok());
}

#[tokio::test]
async fn a_node_whose_store_is_down_does_not_start() {
    let here = host().await;
    for (error, expected) in [
        (down as fn() -> StoreError, "store: the store is unavailable: down"),
        (corrupt, "store: the store holds something unreadable: corrupt"),
    ] {
        here.backend.recover();
        here.backend.trouble(At::Every("revoked_since"), Trouble::FailsBefore(error));
        let started = node(&here.backend, &here.clock, |_| {}).await;
        assert_eq!(started.err().unwrap().to_string(), expected);
    }
}

#[tokio::test]
async fn what_an_authority_needs_is_asked_for_by_name() {
    let backend = Arc::new(Backend::default());
    let build = async |parts: usize| {
        let mut builder = Authority::builder();
        builder.config_mut().issuer = ISSUER.to_owned();
        if parts > 0 {
            builder.keys(keys(Algorithm::EdDSA));
        }
        if parts > 1 {
            builder.sessions(backend.clone());
        }
        if parts > 2 {
            builder.users(backend.clone());
        }
        builder.build().await.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(build(0).await, Err("keys: is not set".to_owned()));
    assert_eq!(build(1).await, Err("store: is not set".to_owned()));
    assert_eq!(build(2).await, Err("users: is not set".to_owned()));
    assert_eq!(build(3).await, Ok(()));
    let error = Authority::builder().build().await.unwrap_err().to_string();
    assert!(error.starts_with("issuer: is not set"), "{error}");
}

#[tokio::test]
async fn nodes_share_sessions_limits_and_pseudonyms() {
    let here = host().await;
    let there = node(&here.backend, &here.clock, |_| {}).await.unwrap();
    let first = here.login().await;
    let second = there.refresh(&first.refresh).await.unwrap();
    // What one sealed the other opens.
    assert_eq!(here.refresh(&first.refresh).await.unwrap().refresh.expose(), second.refresh.expose());
    assert!(here.authenticate(&second).is_ok());
    let session = |host: &Host| host.sink.take().pop().unwrap().session.unwrap();
    assert_eq!(session(&here), session(&there));

    for host in [&here, &there, &here, &there, &here] {
        assert_eq!(told(&host.try_login(ALICE, WRONG).await), "invalid_credentials: wrong_password");
    }
    assert_eq!(told(&there.try_login(ALICE, WRONG).await), "rate_limited");
}

// ---- The feed ---------------------------------------------------------------------------------------------------

const LOST_AFTER: Duration = Duration::from_millis(60);

#[tokio::test]
async fn a_lost_feed_is_told_once_and_closes_or_stays_open() {
    for trouble in [Trouble::FailsBefore(down), Trouble::Hangs] {
        for when_lost in [WhenLost::StayOpen, WhenLost::Close] {
            let host = host_with(|config| {
                config.feed = FeedConfig { poll: POLL, lost_after: LOST_AFTER, when_lost };
            })
            .await;
            let tokens = host.login().await;
            host.sink.take();
            host.backend.trouble(At::Every("revoked_since"), trouble);
            let mut events = Vec::new();
            eventually("the feed is lost", || {
                events.extend(host.sink.names());
                events.contains(&"revocation_feed_lost".to_owned())
            })
            .await;
            let outcome = told(&host.authenticate(&tokens));
            match when_lost {
                WhenLost::StayOpen => assert_eq!(outcome, "ok", "{trouble:?}"),
                WhenLost::Close => assert_eq!(outcome, "unavailable", "{trouble:?}"),
            }
            // What this node ends is refused here all the same, and a bad token is bad first.
            assert_eq!(told(&host.authority.authenticate("garbage")), "invalid_token: token_malformed");

            host.backend.recover();
            eventually("the feed is back", || {
                events.extend(host.sink.names());
                events.contains(&"revocation_feed_restored".to_owned())
            })
            .await;
            eventually("requests pass", || host.authenticate(&tokens).is_ok()).await;
            // Not at every poll.
            assert_eq!(
                events,
                ["unavailable: unavailable", "revocation_feed_lost", "revocation_feed_restored"]
            );
        }
    }
}

/// One thread, so that what the tasks of both nodes measure is this test's.
#[tokio::test]
async fn how_late_a_node_hears_and_how_long_it_hears_nothing_is_measured() {
    let measured = Counters::default();
    let _recording = metrics::set_default_local_recorder(&measured);
    let lags = || measured.values("gatekey_revocation_lag_seconds");
    let silence = || measured.values("gatekey_revocation_feed_silence_seconds");
    let here = host_with(quick).await;
    let before = here.login().await;
    here.authority.end_session(&before.session, None, EndReason::Logout, &client()).await.unwrap();
    here.clock.advance(secs(100));
    let there = node(&here.backend, &here.clock, quick).await.unwrap();
    let tokens = [here.login().await, here.login().await];
    // By the clock of the node that ended it, that was a moment ago; then by one that is a little slow.
    for (tokens, late) in tokens.iter().zip([0, 3]) {
        let at = here.authority.now() - secs(late);
        assert!(here.backend.memory.revoke(&tokens.session, None, EndReason::Logout, at).await.unwrap());
        eventually("both nodes know", || {
            here.authenticate(tokens).is_err() && there.authenticate(tokens).is_err()
        })
        .await;
    }
    // Once each and on each node, however often the store says so; not what a node knew when it started.
    eventually("some more looks", {
        let looks = silence().len();
        move || silence().len() > looks + 10
    })
    .await;
    assert_eq!(lags(), [0.0, 0.0, 3.0, 3.0]);

    here.backend.trouble(At::Every("revoked_since"), Trouble::FailsBefore(down));
    eventually("it grows", || silence().last().is_some_and(|last| *last > 0.1)).await;
    here.backend.recover();
    eventually("it is heard again", || silence().last().is_some_and(|last| *last < 0.1)).await;
}

#[tokio::test]
async fn a_feed_that_stumbles_for_a_moment_is_not_lost() {
    let (here, there) = two_nodes().await;
    let tokens = here.login().await;
    there.sink.take();
    here.backend.trouble(At::Every("revoked_since"), Trouble::FailsBefore(down));
    let mut events = Vec::new();
    eventually("it fails", || {
        events.extend(there.sink.names());
        !events.is_empty()
    })
    .await;
    here.authority.end_session(&tokens.session, None, EndReason::Logout, &client()).await.unwrap();
    assert!(there.authenticate(&tokens).is_ok());
    // However long it took, what happened meanwhile is heard.
    here.clock.advance(secs(800));
    here.backend.recover();
    eventually("it is heard", || there.authenticate(&tokens).is_err()).await;
    events.extend(there.sink.names());
    assert_eq!(events, ["unavailable: unavailable"]);
}

#[tokio::test]
async fn what_was_written_late_or_by_a_slower_clock_is_heard() {
    let here = host_with(quick).await;
    let tokens = here.login().await;
    here.clock.advance(secs(100));
    let mut polls = 0;
    eventually("a few polls", || {
        polls += 1;
        polls > 20
    })
    .await;
    // Another node wrote it just now, and says that it was most of a minute ago.
    let then = here.authority.now() - secs(59);
    assert!(here.backend.memory.revoke(&tokens.session, None, EndReason::Logout, then).await.unwrap());
    eventually("it is heard", || here.authenticate(&tokens).is_err()).await;
}

/// A node whose store tells of revocations, and what the store tells by. Asks as rarely as it may.
async fn told_node() -> (Host, Announcer) {
    let backend = Arc::new(Backend::default());
    backend.add("subject-of-alice", ALICE, HASH).await;
    *lock(&backend.told) = Some(Vec::new());
    let host = node(&backend, &Arc::new(ManualClock::new()), |_| {}).await.unwrap();
    let announcer = subscription(&host, 0).await;
    (host, announcer)
}

/// The subscription of that number, once it is there.
async fn subscription(host: &Host, number: usize) -> Announcer {
    let find = || lock(&host.backend.told).as_ref().and_then(|told| told.get(number).cloned());
    eventually("it subscribes", || find().is_some()).await;
    find().unwrap()
}

#[tokio::test]
async fn what_the_store_tells_is_heard_without_asking() {
    let (host, announcer) = told_node().await;
    let (ended, kept) = (host.login().await, host.login().await);
    // The store would not say so if it were asked.
    let revocation = Revocation { session: ended.session.clone(), at: NOW };
    assert!(announcer.announce(revocation).await);
    eventually("it is heard", || host.authenticate(&ended).is_err()).await;
    assert_eq!(told(&host.authenticate(&ended)), "invalid_token: token_revoked");
    assert!(host.authenticate(&kept).is_ok());
}

#[tokio::test]
async fn what_the_store_forgets_to_tell_is_heard_by_asking() {
    let (host, announcer) = told_node().await;
    let (first, second) = (host.login().await, host.login().await);
    let memory = &host.backend.memory;
    assert!(memory.revoke(&first.session, None, EndReason::Logout, NOW).await.unwrap());
    // However much else it tells.
    let other = Revocation { session: SessionId::new("another"), at: NOW };
    let flood = tokio::spawn({
        let announcer = announcer.clone();
        async move { while announcer.announce(other.clone()).await {} }
    });
    eventually("it is heard in a flood", || host.authenticate(&first).is_err()).await;
    flood.abort();
    // Nor does a subscriber who was hung up on miss anything: it asks, and subscribes again.
    assert!(flood.await.unwrap_err().is_cancelled());
    lock(&host.backend.told).as_mut().unwrap()[0] = subscription_of_nobody();
    drop(announcer);
    assert!(memory.revoke(&second.session, None, EndReason::Logout, NOW).await.unwrap());
    eventually("it is heard after a loss", || host.authenticate(&second).is_err()).await;
    let third = host.login().await;
    let again = subscription(&host, 1).await;
    assert!(again.announce(Revocation { session: third.session.clone(), at: NOW }).await);
    eventually("it is told again", || host.authenticate(&third).is_err()).await;
}

fn subscription_of_nobody() -> Announcer {
    crate::store::Subscription::channel(1).0
}

#[tokio::test]
async fn a_store_that_cannot_be_subscribed_to_is_asked() {
    for trouble in [Trouble::FailsBefore(down), Trouble::Hangs] {
        let here = host_with(quick).await;
        here.backend.trouble(At::Every("subscribe"), trouble);
        let there = node(&here.backend, &here.clock, quick).await.unwrap();
        let tokens = here.login().await;
        here.authority.end_session(&tokens.session, None, EndReason::Logout, &client()).await.unwrap();
        eventually("logged out", || there.authenticate(&tokens).is_err()).await;
    }
}

#[tokio::test]
async fn revocations_are_heard_while_a_purge_takes_its_time() {
    let here = host_with(quick).await;
    here.backend.trouble(At::Every("purge_expired"), Trouble::Hangs);
    let there = node(&here.backend, &here.clock, quick).await.unwrap();
    let tokens = here.login().await;
    // Longer than a poll, so that the purge is under way.
    let mut polls = 0;
    eventually("a few polls", || {
        polls += 1;
        polls > 20
    })
    .await;
    here.authority.end_session(&tokens.session, None, EndReason::Logout, &client()).await.unwrap();
    eventually("logged out", || there.authenticate(&tokens).is_err()).await;
}

#[tokio::test]
async fn what_is_over_is_purged_by_itself_and_in_batches() {
    let host = host().await;
    let template = host.row(&host.login().await.session).await;
    for number in 0..2500 {
        let session = Session {
            id: SessionId::new(format!("session-{number}")),
            subject: SubjectId::new(format!("subject-{number}")),
            ..template.clone()
        };
        host.backend.memory.insert(&session, 1).await.unwrap();
    }
    assert_eq!(host.authority.purge().await.unwrap(), 0);
    // As long as a token of theirs might verify somewhere, and a minute for clocks that differ.
    host.clock.set(template.end() + secs(960 + 60));
    assert_eq!(host.authority.purge().await.unwrap(), 0);
    host.clock.advance(MILLISECOND);
    assert_eq!(host.authority.purge().await.unwrap(), 2501);
    // A thousand at a time, so that nobody waits behind a call that takes all of them.
    assert!(lock(&host.backend.purged).ends_with(&[1000, 1000, 501]));

    host.backend.trouble(At::Every("purge_expired"), Trouble::FailsBefore(down));
    assert_eq!(told(&host.authority.purge().await), "unavailable");

    let host = host_with(quick).await;
    let tokens = host.login().await;
    host.clock.set(NOW + 8 * DAY);
    let memory = host.backend.memory.clone();
    let mut left = true;
    for _ in 0..12_000 {
        left = memory.find(&tokens.session).await.unwrap().is_some();
        if !left {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!left, "not purged in a minute");
}

#[tokio::test]
async fn an_authority_that_is_dropped_lets_go_of_its_store() {
    let host = host_with(quick).await;
    let backend = host.backend.clone();
    let clone = host.authority.clone();
    drop(host);
    assert!(Arc::strong_count(&backend) > 1);
    drop(clone);
    eventually("its tasks have ended", || Arc::strong_count(&backend) == 1).await;
}
