//! Whoever reads the database, even together with the keys, can continue nobody's session.

use super::*;
use crate::{fixtures::refresh_key, jws};

/// A session with a past: every refresh token it was ever given, the live one last.
async fn used_session(host: &Host) -> (Session, Vec<Secret<String>>) {
    let first = host.login().await;
    let mut tokens = vec![first.refresh];
    for round in 0..5 {
        let next = host.refresh(tokens.last().unwrap()).await.unwrap().refresh;
        if round % 2 == 0 {
            // A lost answer, and the burst that follows.
            host.refresh(tokens.last().unwrap()).await.unwrap();
            assert!(host.refresh(&next).await.unwrap().held);
        }
        tokens.push(next);
        host.clock.advance(secs(60));
    }
    (host.row(&first.session).await, tokens)
}

/// Every byte of a row, written out.
fn dump(row: &Session) -> Vec<u8> {
    let chain = &row.chain;
    let mut bytes = format!("{row:?} {:?}", chain.sealed).into_bytes();
    bytes.extend(chain.live.0);
    bytes.extend(chain.parent.unwrap().digest.0);
    bytes.extend(&chain.sealed);
    bytes
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn a_database_dump_together_with_the_key_file_contains_no_refresh_token() {
    let host = host().await;
    let (row, tokens) = used_session(&host).await;
    let mut bytes = dump(&row);
    bytes.extend(crate::fixtures::pem::ED25519.bytes());
    bytes.extend(b"a refresh secret of the tests, long enough");
    for token in &tokens {
        let [header, payload, signature] = token.expose().split('.').collect::<Vec<_>>()[..] else {
            panic!()
        };
        let id = claims_of(token)["jti"].as_str().unwrap().to_owned();
        let raw = |text: &str| base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).unwrap();
        for (name, needle) in [
            ("the token", token.expose().clone().into_bytes()),
            ("its claims", payload.as_bytes().to_vec()),
            ("its claims in the clear", raw(payload)),
            ("its signature", signature.as_bytes().to_vec()),
            ("its signature in the clear", raw(signature)),
            ("its random bits", id.as_bytes().to_vec()),
            ("its random bits in the clear", raw(&id)),
            ("its header", header.as_bytes().to_vec()),
        ] {
            assert!(!contains(&bytes, &needle), "{name}");
        }
    }
}

#[tokio::test]
async fn a_database_dump_together_with_the_key_file_yields_no_refresh_token() {
    let host = host().await;
    let (row, tokens) = used_session(&host).await;
    let chain = &row.chain;
    let live = tokens.last().unwrap().expose();
    let (parent, older) = tokens[..tokens.len() - 1].split_last().unwrap();
    let open = |presented: &str| {
        refresh::unseal(presented, &row.id, chain.generation, chain.live, &chain.sealed)
            .map(|token| token.expose().clone())
    };
    // The one that does open it, so that the rest of this test means something.
    assert_eq!(open(parent.expose()).as_ref(), Some(live));

    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let parent_digest = chain.parent.unwrap().digest.0;
    let material = "a refresh secret of the tests, long enough";
    let derived = keys(Algorithm::EdDSA).derive(b"gatekey pseudonyms v1").unwrap();
    let mut known: Vec<String> = older.iter().map(|token| token.expose().clone()).collect();
    for bytes in
        [&parent_digest[..], &derived, &chain.live.0, material.as_bytes(), &chain.sealed, &chain.sealed[..12]]
    {
        known.push(text(bytes));
        known.push(base64_simd::STANDARD.encode_to_string(bytes));
        known.push(base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes));
        known.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    known.extend([
        String::new(),
        row.id.as_str().to_owned(),
        row.subject.as_str().to_owned(),
        crate::fixtures::pem::ED25519.to_owned(),
        host.login().await.refresh.expose().clone(),
        host.login().await.access.expose().clone(),
    ]);
    // Tokens that the keys can sign for this very session, generation and second, without knowing the random bits.
    let (live_claims, parent_claims) = (claims_of(tokens.last().unwrap()), claims_of(parent));
    for claims in [&live_claims, &parent_claims] {
        for id in ["", "guessed", &base64_simd::URL_SAFE_NO_PAD.encode_to_string([0; 32])] {
            let mut claims = claims.clone();
            claims["jti"] = json!(id);
            let header = jws::header_segment(refresh_key().verifying(), jws::REFRESH_TYPE);
            known.push(jws::sign(&refresh_key(), &header, claims.to_string().as_bytes()).unwrap());
        }
    }
    for presented in &known {
        assert_eq!(open(presented), None, "{presented}");
    }
    assert_eq!(open(live), None);

    // Nor does the server take any of it for the live token. A forged one of an older generation may end the session,
    // as a used one does; none continues it.
    for presented in &known {
        if let Ok(tokens) = host.refresh(&secret(presented)).await {
            assert_ne!(tokens.session, row.id, "{presented}");
        }
    }
}

#[tokio::test]
async fn a_digest_is_not_accepted_as_a_token() {
    let host = host().await;
    let tokens = host.login().await;
    let live = host.row(&tokens.session).await.chain.live.0;
    for presented in [
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(live),
        live.iter().map(|byte| format!("{byte:02x}")).collect(),
    ] {
        assert_eq!(told(&host.refresh(&secret(&presented)).await), "invalid_grant: token_malformed");
    }
}

#[tokio::test]
async fn nothing_that_is_held_in_memory_prints_a_secret() {
    let host = host().await;
    let (row, tokens) = used_session(&host).await;
    let granted = host.login().await;
    let text = format!(
        "{:?} {row:?} {granted:?} {:?} {:?}",
        host.authority,
        host.authority.keys(),
        host.backend.memory
    );
    for token in tokens.iter().chain([&granted.refresh, &granted.access]) {
        let signature = token.expose().rsplit('.').next().unwrap();
        assert!(!text.contains(signature) && !text.contains(token.expose()), "{text}");
    }
}
