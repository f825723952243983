//! Key rotation, kinds of key, `kid`.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::{Value, json};

use crate::{
    case::{Case, Failure, Need, Outcome, Row, case, failed, harness, run},
    client::all,
    host::{Host, overlay},
    token::{Jws, KeyKind, b64, hs256},
    verdict::{differ, equal},
};

pub(crate) const CASES: &[Case] = &[
    case("keys/eddsa-signs-and-verifies", "With an Ed25519 key tokens are signed EdDSA, as anyone can verify.")
        .spec(&["docs/contract.md 3.1", "docs/contract.md 3.4", "docs/contract.md 3.5", "RFC 8037 3.1"])
        .needs(&[Need::Keys])
        .run(run!(async |host| { issues_what_verifies(host).await })),
    case("keys/es256-signs-and-verifies", "With a P-256 key tokens are signed ES256, as anyone can verify.")
        .spec(&["docs/contract.md 3.1", "docs/contract.md 3.4", "docs/contract.md 3.5", "RFC 7518 3.4"])
        .needs(&[Need::Keys])
        .key(KeyKind::P256)
        .run(run!(async |host| { issues_what_verifies(host).await })),
    case("keys/ps256-signs-and-verifies", "With an RSA key tokens are signed PS256, as anyone can verify.")
        .spec(&["docs/contract.md 3.1", "docs/contract.md 3.4", "docs/contract.md 3.5", "RFC 7518 3.5"])
        .needs(&[Need::Keys])
        .key(KeyKind::Rsa)
        .run(run!(async |host| { issues_what_verifies(host).await })),
    case("keys/hs256-signs-and-verifies", "With a shared secret tokens are signed HS256 under it.")
        .spec(&["docs/contract.md 3.1", "docs/contract.md 3.5", "RFC 7518 3.2"])
        .needs(&[Need::Keys])
        .key(KeyKind::Hs256)
        .run(run!(async |host| { issues_what_verifies(host).await })),
    case(
        "keys/an-issued-token-says-exactly-this",
        "An issued token has exactly the claims of the contract, each what the session and the configuration say.",
    )
    .spec(&[
        "docs/contract.md 3.2",
        "docs/contract.md 3.3",
        "docs/contract.md 1.2",
        "docs/contract.md 1.17",
        "RFC 9068 2.2",
        "ASVS 9.2.4",
    ])
    .needs(&[Need::Control, Need::Keys])
    .run(run!(async |host| { says_exactly_this(host).await })),
    // Stays under what proxies take for a header, with room for a host's own claims.
    case("keys/an-issued-token-is-short", "An access token without claims of the host's own has less than 2 KiB.")
        .spec(&["docs/contract.md 3.8", "ASVS 4.2.5"])
        .needs(&[Need::Keys])
        .key(KeyKind::Rsa)
        .run(run!(async |host| {
            let tokens = host.user().await?.login().await?;
            equal("the access token is short", &(tokens.access.len() < 2048), &true)?;
            equal("the refresh token is short", &(tokens.refresh.len() < 2048), &true)
        })),
    // "One key, one algorithm" (RFC 8725 s3.1): RS256 is PKCS#1 v1.5, which an RSA key of ours does not sign.
    case("keys/an-rsa-key-is-bound-to-ps256", "A token signed RS256 with the host's own RSA key is refused.")
        .spec(&["docs/contract.md 3.6", "RFC 8725 3.1", "ASVS 11.6.1"])
        .key(KeyKind::Rsa)
        .vectors(),
    // RFC 7518 s3.4: the two numbers in 64 bytes. DER is what most libraries make, and has many spellings.
    case("keys/es256-takes-the-fixed-form-alone", "An ES256 signature in DER, or of another length, is refused.")
        .spec(&["docs/contract.md 3.14", "RFC 7518 3.4"])
        .key(KeyKind::P256)
        .vectors(),
    // The refresh secret is HS256 too; a host that looked at `alg` alone would take either for the other.
    case(
        "keys/access-and-refresh-secrets-are-apart",
        "Where access tokens are HS256 too, neither secret signs what the other is for.",
    )
    .spec(&["docs/contract.md 4.1", "docs/contract.md 3.6", "docs/contract.md 3.12", "RFC 8725 3.11"])
    .needs(&[Need::Keys])
    .key(KeyKind::Hs256)
    .run(run!(async |host| {
        let user = host.user().await?;
        let tokens = user.login().await?;
        let (access, refresh) = (Jws::parse(&tokens.access)?, Jws::parse(&tokens.refresh)?);
        host.me(&host.sign_access(&access.header, &access.claims)?).await?.answered(200)?;
        host.me(&host.sign_refresh(&access.header, &access.claims)?).await?.invalid_token()?;
        host.me(&tokens.refresh).await?.invalid_token()?;
        for header in [
            refresh.header.clone(),
            overlay(refresh.header.clone(), json!({"kid": access.header.get("kid")})),
        ] {
            let forged = host.sign_access(&header, &refresh.claims)?;
            host.refresh(&forged).await?.refused(400, "invalid_grant")?;
        }
        host.refresh(&tokens.refresh).await?.granted().map(|_| ())
    })),
    case(
        "keys/after-a-rotation-both-verify",
        "After a key rotation tokens are signed with the new key, the old ones stay good, and the key set has both.",
    )
    .spec(&["docs/contract.md 3.7", "docs/contract.md 1.14", "ASVS 13.3.4"])
    .needs(&[Need::RotatedKeys, Need::Keys, Need::Routes])
    .run(run!(async |host| {
        let user = host.user().await?;
        let before = user.login().await?;
        let old = Jws::parse(&before.access)?;
        host.rotate_keys().await?;
        let after = user.login().await?;
        let new = Jws::parse(&after.access)?;
        differ("kid", &new.header.get("kid"), &old.header.get("kid"))?;
        for token in [&before.access, &after.access] {
            host.me(token).await?.answered(200)?;
            host.route("GET", "/whoami").bearer(token).send().await?.is(200)?;
        }
        let kids = published_kids(host).await?;
        for (which, token) in [("old", &old), ("new", &new)] {
            let kid = token.header.get("kid").and_then(Value::as_str).unwrap_or_default();
            if !kids.iter().any(|other| other == kid) {
                return Err(failed(format!("the {which} kid {kid} in the key set"), format!("{kids:?}")));
            }
        }
        equal("keys in the key set", &kids.len(), &2)?;
        // A session goes on over the change: its refresh token is of another key.
        let refreshed = host.refresh(&before.refresh).await?.granted()?;
        let token = Jws::parse(&refreshed.access)?;
        equal("kid after a refresh", &token.header.get("kid"), &new.header.get("kid"))
    })),
    case("keys/a-kid-is-one-key", "After a rotation a token under the one kid and signed with the other key is refused.")
        .spec(&["docs/contract.md 3.11", "docs/contract.md 3.7"])
        .needs(&[Need::RotatedKeys, Need::Keys])
        .run(run!(async |host| {
            let user = host.user().await?;
            let old = Jws::parse(&user.login().await?.access)?;
            host.rotate_keys().await?;
            let new = Jws::parse(&user.login().await?.access)?;
            // The suite holds the old key alone.
            let forged = host.sign_access(&new.header, &new.claims)?;
            host.me(&forged).await?.invalid_token().row("the old key under the new kid")?;
            let mixed = format!("{}.{}", input(&old.header, &new.claims), b64(&new.signature));
            host.me(&mixed).await?.invalid_token().row("the new key under the old kid")?;
            host.me(&host.sign_access(&old.header, &old.claims)?).await?.answered(200).map(|_| ())
        })),
    case(
        "keys/a-retired-key-is-gone",
        "A key that was rotated away verifies and is published for access lifetime + leeway, and not after.",
    )
    .spec(&["docs/contract.md 3.7", "ASVS 13.3.4"])
    .needs(&[Need::RotatedKeys, Need::Keys, Need::Clock])
    .config(|| json!({"access_ttl": 120}))
    .run(run!(async |host| {
        let user = host.user().await?;
        let old = Jws::parse(&user.login().await?.access)?;
        // Nobody issued it, and it outlives its key: only the key can be why it is refused.
        let eternal = host.sign_access(&old.header, &old.claims_with("exp", 4_102_444_800_i64.into()))?;
        host.me(&eternal).await?.answered(200)?;
        host.rotate_keys().await?;
        host.advance(140).await?;
        host.me(&eternal).await?.answered(200).row("10 s before the end")?;
        equal("keys in the key set", &published_kids(host).await?.len(), &2)?;
        host.advance(11).await?;
        host.me(&eternal).await?.invalid_token().row("1 s after the end")?;
        let kids = published_kids(host).await?;
        let new = Jws::parse(&user.login().await?.access)?;
        let kid = new.header.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
        equal("the key set", &kids, &vec![kid])?;
        host.me(&user.login().await?.access).await?.answered(200).map(|_| ())
    })),
    case(
        "keys/rotation-under-load-refuses-nobody",
        "While keys are rotated again and again, and the first of them retire, no refresh and no guarded request of an \
         honest client is refused.",
    )
    .spec(&["docs/contract.md 3.7", "ASVS 13.3.4"])
    .needs(&[Need::RotatedKeys, Need::Clock, Need::Routes])
    .config(|| json!({"access_ttl": 300}))
    .run(run!(async |host| { rotates_under_load(host).await })),
    case("keys/a-secret-rotates-too", "A shared secret rotates as a key pair does, and neither secret is published.")
        .spec(&["docs/contract.md 3.7", "docs/contract.md 1.14"])
        .needs(&[Need::RotatedKeys, Need::Keys])
        .key(KeyKind::Hs256)
        .run(run!(async |host| {
            let user = host.user().await?;
            let before = user.login().await?.access;
            host.rotate_keys().await?;
            let after = user.login().await?.access;
            let (old, new) = (Jws::parse(&before)?, Jws::parse(&after)?);
            differ("kid", &new.header.get("kid"), &old.header.get("kid"))?;
            equal("alg", &new.header.get("alg"), &Some(&json!("HS256")))?;
            host.me(&before).await?.answered(200)?;
            host.me(&after).await?.answered(200)?;
            host.me(&host.sign_access(&new.header, &new.claims)?).await?.invalid_token()?;
            equal("published keys", &published_kids(host).await?.len(), &0)
        })),
];

/// What is signed.
fn input(header: &Value, claims: &Value) -> String {
    format!("{}.{}", b64(header.to_string().as_bytes()), b64(claims.to_string().as_bytes()))
}

fn input_of(token: &Jws) -> String {
    let [header, claims, _] = &token.segments;
    format!("{header}.{claims}")
}

/// How many clients go on refreshing and calling, and how often the keys change meanwhile. A key retires 330 s after the next
/// one, and 100 s pass with each change: so of the keys of this case most have come and gone when it ends.
const CLIENTS: usize = 6;
const CHANGES: usize = 8;

async fn rotates_under_load(host: &Host) -> Outcome {
    let rounds: [AtomicUsize; CLIENTS] = Default::default();
    let over = AtomicBool::new(false);
    let seen = Mutex::new(BTreeSet::new());
    let client = async |rounds: &AtomicUsize| -> Outcome {
        let mut tokens = host.user().await?.login().await?;
        while !over.load(Ordering::SeqCst) {
            let next = host.refresh(&tokens.refresh).await?.granted()?;
            // The token before is younger than the two changes that this round may see.
            for access in [&tokens.access, &next.access] {
                host.me(access).await?.answered(200)?;
                host.route("GET", "/whoami").bearer(access).send().await?.is(200)?;
            }
            let header = Jws::parse(&next.access)?.header;
            let kid = header.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
            seen.lock().unwrap_or_else(PoisonError::into_inner).insert(kid);
            tokens = next;
            rounds.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    };
    let clients = all(rounds.iter().map(async |rounds| {
        let outcome = client(rounds).await;
        if outcome.is_err() {
            over.store(true, Ordering::SeqCst);
        }
        outcome
    }));
    let changes = async {
        for _ in 0..CHANGES {
            host.rotate_keys().await?;
            host.advance(100).await?;
            // Every client has come round twice: nothing that it holds is older than one change.
            let before: Vec<_> = rounds.iter().map(|rounds| rounds.load(Ordering::SeqCst)).collect();
            let pass = |(rounds, before): (&AtomicUsize, usize)| rounds.load(Ordering::SeqCst) >= before + 2;
            while !rounds.iter().zip(before.iter().copied()).all(pass) && !over.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(())
    };
    let (outcomes, changed) = tokio::join!(clients, async {
        let changed: Outcome = changes.await;
        over.store(true, Ordering::SeqCst);
        changed
    });
    changed?;
    outcomes.into_iter().collect::<Outcome>()?;
    let kids = seen.lock().unwrap_or_else(PoisonError::into_inner).len();
    equal("each key has signed", &(kids >= CHANGES), &true)?;
    // Four by the clock of the case: the last, and three that it or the changes before it retire later. A slow machine adds
    // to that clock, and so takes some away.
    let published = published_kids(host).await?.len();
    equal("keys in the key set: 2 to 4", &(2..=4).contains(&published), &true)
}

async fn published_kids(host: &Host) -> Result<Vec<String>, Failure> {
    let answer = host.get("/jwks.json").send().await?;
    let set = answer.answered(200)?;
    let keys = set.get("keys").and_then(Value::as_array).ok_or_else(|| answer.not("an array keys"))?;
    keys.iter()
        .map(|key| {
            let secret =
                ["d", "k", "p", "q", "dp", "dq", "qi", "oth"].iter().find(|name| key.get(name).is_some());
            match (key.get("kid").and_then(Value::as_str), secret) {
                (Some(kid), None) => Ok(kid.to_owned()),
                _ => Err(answer.not("keys with a kid and without a private member")),
            }
        })
        .collect()
}

/// The signature verifies with the public key that the suite made, by a library that is not the host's code.
fn verify(host: &Host, token: &Jws) -> Outcome {
    let key = &host.keys()?.access;
    let input = input_of(token);
    let algorithm: &dyn VerificationAlgorithm = match key.alg() {
        "EdDSA" => &signature::ED25519,
        "ES256" => &signature::ECDSA_P256_SHA256_FIXED,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "HS256" => {
            let expected = hs256(&key.public_der()?, input.as_bytes());
            return equal("the signature", &b64(&token.signature), &b64(&expected));
        }
        other => return Err(harness(format!("no verifier of {other}"))),
    };
    UnparsedPublicKey::new(algorithm, key.public_der()?)
        .verify(input.as_bytes(), &token.signature)
        .map_err(|_| failed(format!("a signature that verifies as {}", key.alg()), &token.segments[2]))
}

async fn issues_what_verifies(host: &Host) -> Outcome {
    let user = host.user().await?;
    let tokens = user.login().await?;
    let key = &host.keys()?.access;
    let refreshed = host.refresh(&tokens.refresh).await?.granted()?;
    for access in [&tokens.access, &refreshed.access] {
        let token = Jws::parse(access)?;
        let kid = match key.alg() {
            // A thumbprint of a secret would help to guess a weak one, so any opaque name will do.
            "HS256" => token.header.get("kid").cloned().unwrap_or(Value::Null),
            _ => key.thumbprint().into(),
        };
        if kid.as_str().is_none_or(str::is_empty) {
            return Err(failed("a kid", &token.header));
        }
        equal("the header", &token.header, &json!({"alg": key.alg(), "typ": "at+jwt", "kid": kid}))?;
        verify(host, &token)?;
        host.me(access).await?.answered(200)?;
        let again = host.sign_access(&token.header, &token.claims)?;
        host.me(&again).await?.answered(200)?;
    }
    Ok(())
}

async fn says_exactly_this(host: &Host) -> Outcome {
    let user = host.user().await?;
    user.set(json!({"roles": ["editor", "reader"], "scope": "read write"})).await?;
    let tokens = user.login().await?;
    let token = Jws::parse(&tokens.access)?;
    let (iat, exp) = (token.number("iat")?, token.number("exp")?);
    let auth_time = token.number("auth_time")?;
    equal("exp after iat", &(exp - iat), &900)?;
    equal("expires_in", &tokens.expires_in, &900)?;
    // The name and the password came first; then they were waiting to be hashed.
    equal("auth_time is the login", &(0..=20).contains(&(iat - auth_time)), &true)?;
    let jti = token.string("jti")?.to_owned();
    equal("jti of 128 bits or more", &(jti.len() >= 22), &true)?;
    let expected = json!({
        "iss": "https://auth.test",
        "sub": user.id,
        "aud": "https://api.test",
        "exp": exp,
        "iat": iat,
        "jti": jti,
        "client_id": "gatekey-tests",
        "sid": tokens.session_id,
        "auth_time": auth_time,
        "preferred_username": user.name,
        "roles": ["editor", "reader"],
        "scope": "read write",
    });
    equal("the claims", &token.claims, &expected)?;

    // Without a scope there is no claim of it; a second token has an id of its own.
    let plain = host.user().await?.login().await?;
    let plain = Jws::parse(&plain.access)?;
    equal("scope", &plain.claims.get("scope"), &None)?;
    equal("roles", &plain.claims.get("roles"), &Some(&json!([])))?;
    let next = Jws::parse(&host.refresh(&tokens.refresh).await?.granted()?.access)?;
    differ("jti", &next.string("jti")?, &token.string("jti")?)?;
    equal("sid", &next.string("sid")?, &token.string("sid")?)?;
    equal("auth_time after a refresh", &next.number("auth_time")?, &auth_time)
}
