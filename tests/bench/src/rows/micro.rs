//! What one call costs: verifying in every algorithm, signing, counting an attempt.

use std::{cell::Cell, sync::Arc};

use aws_lc_rs::hmac;
use gatekey::{Algorithm, Authority, Client, Keys, SigningKey};
use gatekey_core::limit::{Charge, Key, LimitRule, MemoryThrottle, ThrottleStore as _};
use jsonwebtoken::{DecodingKey, Validation, jwk::Jwk};
use serde::{Deserialize, Serialize};

use crate::{
    Bench,
    issue::{Ahead, DISTINCT, FEW_PLACES, ISSUER, authority, clocked, tokens},
    measure::{Fault, alternate, nanos_each},
    row::{Goal, Outcome, Row},
};

const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::HS256, Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256, Algorithm::PS256];

/// What `decode` is asked for: what a `Principal` knows.
#[derive(Clone, Deserialize, Serialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    iat: u64,
    jti: String,
    client_id: String,
    sid: String,
    auth_time: u64,
    preferred_username: String,
    roles: Vec<String>,
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for algorithm in ALGORITHMS {
        let name = algorithm.name().to_lowercase();
        let decode = "jsonwebtoken::decode of the same, its key and Validation built once";
        let row = |case: &str, what: &str| {
            Row::new(format!("verify/{name}/{case}"), "ns", format!("{}: {what}", algorithm.name()), {
                let case = Case::named(case);
                move |bench| verify(bench, algorithm, case)
            })
        };
        let goal = if algorithm == Algorithm::HS256 { Goal::AtMost(1.0 / 3.0) } else { Goal::None };
        let cold = row("cold", "every check of the contract, the cache of verified tokens off");
        rows.push(cold.floor(decode).goal(goal));
        let first = row("first", "a token not seen before: the same, and not found in the cache");
        // Signing by RSA takes a millisecond, and there have to be many tokens.
        let rsa = matches!(algorithm, Algorithm::RS256 | Algorithm::PS256);
        let first = first.floor(decode);
        rows.push(if rsa { first.slow() } else { first });
        let raw = "one HMAC-SHA256 of that token by aws-lc";
        rows.push(row("hot", "a token seen before").floor(raw).goal(Goal::AtMost(1.0)));
        if matches!(algorithm, Algorithm::HS256 | Algorithm::EdDSA) {
            let refused = "jsonwebtoken::decode of a good one";
            rows.push(row("bad-header", "refused by its header (alg none)").floor(refused));
            rows.push(row("bad-signature", "refused by its signature").floor(refused));
            rows.push(row("expired", "refused as expired").floor(refused));
        }
    }
    for algorithm in [Algorithm::HS256, Algorithm::EdDSA] {
        let name = algorithm.name();
        rows.push(
            Row::new(
                format!("sign/{}", name.to_lowercase()),
                "ns",
                format!("{name}: a whole refresh on the memory store: verify, swap, seal, two tokens signed"),
                move |bench| sign(bench, algorithm),
            )
            .floor("jsonwebtoken::encode of one access token"),
        );
    }
    for (name, distinct) in [("same-key", false), ("distinct-keys", true)] {
        rows.push(Row::new(
            format!("throttle/{name}"),
            "ns",
            "An attempt counted in memory, its key derived",
            move |bench| throttle(bench, distinct),
        ));
    }
    rows
}

#[derive(Clone, Copy, PartialEq)]
enum Case {
    Cold,
    First,
    Hot,
    BadHeader,
    BadSignature,
    Expired,
}

impl Case {
    fn named(name: &str) -> Self {
        match name {
            "cold" => Self::Cold,
            "first" => Self::First,
            "hot" => Self::Hot,
            "bad-header" => Self::BadHeader,
            "bad-signature" => Self::BadSignature,
            _ => Self::Expired,
        }
    }
}

const SECRET: [u8; 32] = [0x5a; 32];

fn key(algorithm: Algorithm) -> Result<SigningKey, Fault> {
    Ok(match algorithm {
        Algorithm::HS256 => SigningKey::hs256(&SECRET)?,
        Algorithm::EdDSA | Algorithm::ES256 | Algorithm::PS256 | Algorithm::RS256 => {
            SigningKey::generate(algorithm)?
        }
    })
}

fn decoding(key: &SigningKey) -> Result<DecodingKey, Fault> {
    Ok(match key.verifying().jwk() {
        Some(jwk) => DecodingKey::from_jwk(&serde_json::from_value::<Jwk>(jwk)?)?,
        None => DecodingKey::from_secret(&SECRET),
    })
}

fn theirs(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
    }
}

fn verify(bench: &Bench, algorithm: Algorithm, case: Case) -> Result<Outcome, Fault> {
    let signing = key(algorithm)?;
    let decoding = decoding(&signing)?;
    let mut validation = Validation::new(theirs(algorithm));
    validation.set_audience(&[ISSUER]);
    validation.set_issuer(&[ISSUER]);
    validation.leeway = 30;
    let keys = Keys::new(signing, SigningKey::generate(Algorithm::HS256)?)?;
    let count = match case {
        Case::First => DISTINCT,
        // Without a cache a few are as good as many.
        Case::Cold => 64,
        Case::Hot | Case::BadHeader | Case::BadSignature | Case::Expired => 1,
    };
    let made = bench.runtime.block_on(async {
        let cached = |config: &mut gatekey::Config| match case {
            Case::Cold => config.token_cache = 0,
            Case::First => config.token_cache = FEW_PLACES,
            Case::Hot | Case::BadHeader | Case::BadSignature | Case::Expired => {}
        };
        let issuer = authority(keys.clone(), cached).await?;
        let tokens = tokens(&issuer, count).await?;
        let judge = match case {
            Case::Expired => clocked(keys, Arc::new(Ahead(48 * 3600)), |_| ()).await?,
            Case::Cold | Case::First | Case::Hot | Case::BadHeader | Case::BadSignature => issuer,
        };
        Ok::<(Authority, Vec<String>), Fault>((judge, tokens))
    });
    let (judge, good) = made?;
    let shown: Vec<String> = good.iter().map(|token| spoil(token, case)).collect();
    let accepted = judge.authenticate(&shown[0]).is_ok();
    if accepted != matches!(case, Case::Cold | Case::First | Case::Hot) {
        return Err(format!("accepted: {accepted}").into());
    }
    let at = |turn: usize| turn % shown.len();
    let (mut ours, mut other) = (0, 0);
    let subject =
        || Ok(nanos_each(bench.moment(), &mut ours, |turn| judge.authenticate(&shown[at(turn)]).is_ok()));
    let measured = if case == Case::Hot {
        let raw = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
        let token = good[0].as_bytes();
        alternate(bench.rounds(), subject, || {
            Ok(nanos_each(bench.moment(), &mut other, |_| hmac::sign(&raw, token)))
        })
    } else {
        let decode = |turn: usize| jsonwebtoken::decode::<Claims>(&good[at(turn)], &decoding, &validation);
        decode(0)?;
        alternate(bench.rounds(), subject, || {
            Ok(nanos_each(bench.moment(), &mut other, |turn| decode(turn).is_ok()))
        })
    };
    Ok(measured?.into())
}

/// The token as the case shows it.
fn spoil(token: &str, case: Case) -> String {
    match case {
        Case::Cold | Case::First | Case::Hot | Case::Expired => token.to_owned(),
        Case::BadHeader => {
            let header = base64_simd::URL_SAFE_NO_PAD.encode_to_string(br#"{"alg":"none","typ":"at+jwt"}"#);
            token.split_once('.').map_or_else(String::new, |(_, rest)| format!("{header}.{rest}"))
        }
        Case::BadSignature => {
            // Not the last character, some of whose bits mean nothing.
            let at = token.len() - 20;
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            format!("{}{other}{}", &token[..at], &token[at + 1..])
        }
    }
}

fn sign(bench: &Bench, algorithm: Algorithm) -> Result<Outcome, Fault> {
    let (signing, encoding) = match algorithm {
        Algorithm::HS256 => (key(algorithm)?, jsonwebtoken::EncodingKey::from_secret(&SECRET)),
        Algorithm::EdDSA | Algorithm::ES256 | Algorithm::PS256 | Algorithm::RS256 => {
            let rng = aws_lc_rs::rand::SystemRandom::new();
            let pair = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&rng).map_err(|_| "no key")?;
            let key = SigningKey::from_pkcs8(Algorithm::EdDSA, pair.as_ref())?;
            (key, jsonwebtoken::EncodingKey::from_ed_der(pair.as_ref()))
        }
    };
    let decoding = decoding(&signing)?;
    let keys = Keys::new(signing, SigningKey::generate(Algorithm::HS256)?)?;
    let authority = bench.runtime.block_on(authority(keys, |_| ()))?;
    let token = bench.runtime.block_on(tokens(&authority, 1))?.remove(0);
    let mut validation = Validation::new(theirs(algorithm));
    validation.set_audience(&[ISSUER]);
    let claims = jsonwebtoken::decode::<Claims>(&token, &decoding, &validation)?.claims;
    let header = jsonwebtoken::Header::new(theirs(algorithm));
    let client = Client::default();
    let granted = bench.runtime.block_on(authority.login(
        crate::issue::NAME,
        crate::issue::password(),
        &client,
        None,
    ))?;
    let refresh = Cell::new(granted.refresh.expose().clone());
    let (mut ours, mut other) = (0, 0);
    let measured = alternate(
        bench.rounds(),
        || {
            let one = |_| {
                let token = refresh.take();
                let granted = bench.runtime.block_on(authority.refresh(&token, None, &client));
                refresh.set(granted.map(|granted| granted.refresh.expose().clone()).unwrap_or_default());
            };
            Ok(nanos_each(bench.moment(), &mut ours, one))
        },
        || {
            let one = |_| jsonwebtoken::encode(&header, &claims, &encoding);
            Ok(nanos_each(bench.moment(), &mut other, one))
        },
    )?;
    if refresh.take().is_empty() {
        return Err("a refresh was refused".into());
    }
    Ok(measured.into())
}

fn throttle(bench: &Bench, distinct: bool) -> Result<Outcome, Fault> {
    let throttle = MemoryThrottle::default();
    let rule = LimitRule::Rate { count: u32::MAX, per: std::time::Duration::from_secs(60) };
    let now = gatekey::Clock::now(&gatekey::SystemClock);
    let mut calls = 0;
    let measured = crate::measure::repeat(bench.rounds().count, || {
        Ok(nanos_each(bench.moment(), &mut calls, |turn| {
            let name = if distinct { turn.to_string() } else { "alice".to_owned() };
            let charge = [Charge { key: Key::derive(&SECRET, "bench", &[&name]), rule }];
            bench.runtime.block_on(throttle.take(&charge, now)).is_ok()
        }))
    })?;
    Ok(measured.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_refused_for_its_case_alone() {
        let bench = Bench::new(true, true).unwrap();
        let keys = Keys::generate(Algorithm::HS256).unwrap();
        let judge = bench.runtime.block_on(authority(keys, |_| ())).unwrap();
        let token = bench.runtime.block_on(tokens(&judge, 1)).unwrap().remove(0);
        let reason = |case| judge.authenticate(&spoil(&token, case)).err().map(|error| error.reason());
        assert_eq!(reason(Case::Cold), None);
        assert_ne!(reason(Case::BadHeader), reason(Case::BadSignature));
        assert_ne!(reason(Case::BadSignature), None);
    }
}
