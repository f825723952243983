//! A token that was verified a moment ago is not verified again, and every reason to refuse it is still seen.

use super::*;
use crate::cache::TokenCache;

/// Whether the next request with it needs no signature.
fn remembered(host: &Host, tokens: &Tokens) -> bool {
    let Inner { verified, keys, .. } = &*host.authority.0;
    let place = verified.place(tokens.access.expose());
    place.is_some_and(|place| place.find(keys.generation(), host.authority.now()).is_some())
}

#[tokio::test]
async fn a_token_is_remembered_from_its_first_request_on_and_only_a_good_one() {
    let host = host().await;
    let tokens = host.login().await;
    assert!(!remembered(&host, &tokens));
    let first = host.authenticate(&tokens).unwrap();
    assert!(remembered(&host, &tokens));
    let again = host.authenticate(&tokens).unwrap();
    assert_eq!((first.subject(), first.token_id()), (again.subject(), again.token_id()));

    // One character more, less or other is another token.
    let token = tokens.access.expose();
    let mut forged = tokens.clone();
    for text in
        [format!("{token}A"), token[1..].to_owned(), token.replacen('.', "A.", 1), format!("A{token}")]
    {
        forged.access = secret(&text);
        for _ in 0..2 {
            assert!(host.authenticate(&forged).is_err());
            assert!(!remembered(&host, &forged), "{text}");
        }
    }
    assert!(remembered(&host, &tokens));
}

#[tokio::test]
async fn a_remembered_token_expires_in_the_same_millisecond_as_any_other() {
    let host = host().await;
    let tokens = host.login().await;
    for at in [NOW, NOW + secs(930) - MILLISECOND] {
        host.clock.set(at);
        assert!(host.authenticate(&tokens).is_ok() && remembered(&host, &tokens));
    }
    host.clock.set(NOW + secs(930));
    assert_eq!(told(&host.authenticate(&tokens)), "invalid_token: token_expired");
    // A clock that was set back by more than the leeway: it comes from the future.
    host.clock.set(NOW - secs(31));
    assert_eq!(told(&host.authenticate(&tokens)), "invalid_token: token_not_yet_valid");
}

#[tokio::test]
async fn a_remembered_token_dies_with_its_session_and_with_its_key() {
    let host = host().await;
    let (tokens, other) = (host.login().await, host.login().await);
    assert!(host.authenticate(&tokens).is_ok() && host.authenticate(&other).is_ok());
    assert!(host.authority.end_session(&tokens.session, None, EndReason::Logout, &client()).await.unwrap());
    assert_eq!(told(&host.authenticate(&tokens)), "invalid_token: token_revoked");
    assert!(host.authenticate(&other).is_ok());

    // Rotated, the former key still verifies; its tokens are verified anew, and remembered again.
    let kid = host.authority.keys().list(NOW)[0].kid.clone();
    host.authority.rotate_keys().unwrap();
    assert!(!remembered(&host, &other));
    assert!(host.authenticate(&other).is_ok() && remembered(&host, &other));
    host.authority.retire_key(&kid).unwrap();
    assert_eq!(told(&host.authenticate(&other)), "invalid_token: token_unknown_key");
}

#[tokio::test]
async fn a_remembered_token_dies_when_its_retiring_key_does_without_anyone_doing_anything() {
    // Another node whose own tokens live a minute: there a former key verifies for as long, and the leeway.
    let host = host().await;
    let tokens = host.login().await;
    let other = node(&host.backend, &host.clock, |config| config.access_ttl = secs(60)).await.unwrap();
    other.authority.rotate_keys().unwrap();
    assert!(other.authenticate(&tokens).is_ok() && remembered(&other, &tokens));
    host.clock.set(NOW + secs(90) - MILLISECOND);
    assert!(other.authenticate(&tokens).is_ok() && remembered(&other, &tokens));
    host.clock.set(NOW + secs(90));
    assert_eq!(told(&other.authenticate(&tokens)), "invalid_token: token_unknown_key");
    assert!(host.authenticate(&tokens).is_ok());
}

#[tokio::test]
async fn a_cache_is_as_large_as_it_was_made_and_no_size_changes_an_answer() {
    let off = host_with(|config| config.token_cache = 0).await;
    let tokens = off.login().await;
    assert!(off.authenticate(&tokens).is_ok() && off.authenticate(&tokens).is_ok());
    assert!(!remembered(&off, &tokens));

    // Four places: of more tokens than that by turns the first keep them, and all are good.
    let small = host_with(|config| (config.token_cache, config.max_sessions) = (1, 1000)).await;
    let mut tokens = Vec::new();
    for _ in 0..40 {
        tokens.push(small.login().await);
    }
    let here = || -> Vec<_> { (0..40).filter(|at| remembered(&small, &tokens[*at])).collect() };
    for _ in 0..3 {
        assert!(tokens.iter().all(|tokens| small.authenticate(tokens).is_ok()));
        assert_eq!(here(), [0, 1, 2, 3]);
    }

    // One that comes again before four others did has a place from then on, that of the one that is there longest.
    for at in [20, 21, 22, 23, 20] {
        assert!(small.authenticate(&tokens[at]).is_ok());
    }
    assert_eq!(here(), [1, 2, 3, 20]);
    for at in [30, 31, 32, 33, 34, 30] {
        assert!(small.authenticate(&tokens[at]).is_ok());
    }
    assert_eq!(here(), [1, 2, 3, 20]);
    for at in [34, 33, 32] {
        assert!(small.authenticate(&tokens[at]).is_ok());
    }
    assert_eq!(here(), [20, 32, 33, 34]);
}

#[test]
fn a_cache_prints_how_many_tokens_it_may_hold_and_none_of_them() {
    // A set has four places.
    for (size, places) in [(0, 0), (10, 12), (4096, 4096)] {
        assert_eq!(format!("{:?}", TokenCache::new(size)), format!("TokenCache {{ size: {places}, .. }}"));
    }
}
