//! Access tokens that a conforming issuer would not make.
//!
//! What can be said of a token once and for all is said by [vectors](crate::vectors). The cases written out here need a
//! clock, a session or a token of the host: they take one apart, change one thing, and sign it again with the host's own
//! key, so that nothing but the change can be the reason of a refusal.

use serde_json::json;
use tokio::{net::TcpListener, time::timeout};

use crate::{
    case::{Case, Failure, Need, Outcome, Row, Setup, case, failed, harness, run},
    host::{Host, User, overlay},
    token::{Jws, KeyKind, Keys, b64, random_bytes},
    vectors::written,
    verdict::equal,
};

/// A time that no clock here reaches: 2100-01-01.
const FAR: i64 = 4_102_444_800;

pub(crate) const CASES: &[Case] = &[
    case(
        "access/a-token-signed-by-hand-is-accepted",
        "A token is judged by what it says and by its signature, not by how its JSON is written.",
    )
    .spec(&["docs/contract.md 3.14", "docs/contract.md 3.9", "RFC 7515 5.2"])
    .vectors(),
    // Algorithms.
    case(
        "access/alg-none-is-refused-in-every-spelling",
        "A token with `alg` none is refused in every spelling, whatever stands in place of the signature.",
    )
    .spec(&["docs/contract.md 3.5", "docs/contract.md 3.6", "RFC 8725 3.2", "ASVS 9.1.2"])
    .vectors(),
    // The classic confusion: everyone knows the public key, so it must never do as a secret.
    case(
        "access/a-public-key-is-no-secret",
        "A token signed HS256 under any form of the public key is refused.",
    )
    .spec(&["docs/contract.md 3.6", "RFC 8725 2.1", "RFC 8725 3.1", "ASVS 9.1.2"])
    .vectors(),
    case("access/an-ec-public-key-is-no-secret", "A token signed HS256 under any form of the P-256 public key is refused.")
        .spec(&["docs/contract.md 3.6", "RFC 8725 2.1", "RFC 8725 3.1", "ASVS 9.1.2"])
        .key(KeyKind::P256)
        .vectors(),
    case(
        "access/an-rsa-public-key-is-no-secret",
        "A token signed HS256 under any form of the RSA public key is refused.",
    )
    .spec(&["docs/contract.md 3.6", "RFC 8725 2.1", "RFC 8725 3.1", "ASVS 9.1.2"])
    .key(KeyKind::Rsa)
    .vectors(),
    case(
        "access/guessable-secrets-are-refused",
        "A token signed HS256 under an empty, common or public secret is refused.",
    )
    .spec(&["docs/contract.md 3.6", "RFC 8725 2.2", "RFC 8725 3.5"])
    .vectors(),
    case(
        "access/a-guessed-secret-is-not-the-key",
        "Where tokens are signed HS256, one signed under an empty, common or public secret is refused.",
    )
    .spec(&["docs/contract.md 3.14", "RFC 8725 2.2", "RFC 8725 3.5"])
    .key(KeyKind::Hs256)
    .vectors(),
    case(
        "access/alg-is-the-keys-own-to-the-letter",
        "A rightly signed token whose `alg` is missing, spelt differently, another's or no string is refused.",
    )
    .spec(&["docs/contract.md 3.6", "docs/contract.md 3.5", "RFC 8725 3.1"])
    .vectors(),
    // Headers.
    case(
        "access/keys-in-the-header-are-refused",
        "`jwk`, `jku`, `x5c`, `x5u`, `crit`, `b64` and `zip` refuse a rightly signed token, whatever they hold.",
    )
    .spec(&["docs/contract.md 3.13", "RFC 7515 4.1.11", "RFC 8725 3.10", "ASVS 9.1.3"])
    .vectors(),
    case(
        "access/a-key-that-a-token-brings-is-not-used",
        "A token that brings or names the key that verifies it is refused.",
    )
    .spec(&["docs/contract.md 3.11", "docs/contract.md 3.13", "RFC 8725 3.10", "ASVS 9.1.3"])
    .vectors(),
    // A fetch would let anyone make the server call any address, before it has verified anything.
    case(
        "access/addresses-in-the-header-are-not-fetched",
        "`jku` and `x5u` cause no connection.",
    )
    .spec(&["docs/contract.md 3.13", "RFC 8725 3.10", "ASVS 9.1.3"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(harness)?;
        let address = listener.local_addr().map_err(harness)?;
        let stranger = Keys::generate(KeyKind::Ed25519)?;
        for member in ["jku", "x5u", "iss", "jwks_uri"] {
            let url = format!("http://{address}/{member}");
            let header = overlay(token.header.clone(), json!({member: url, "kid": "elsewhere"}));
            let claims = token.claims_with("iss", url.into());
            let forged =
                stranger.sign_access(header.to_string().as_bytes(), claims.to_string().as_bytes())?;
            refuses(host, &forged, member).await?;
        }
        // Whoever fetched did so before it answered, so a connection would be waiting by now.
        match timeout(std::time::Duration::from_millis(50), listener.accept()).await {
            Err(_) => Ok(()),
            Ok(_) => Err(failed("no connection to an address that a token names", "one came")),
        }
    })),
    // RFC 7515 s4: a member that is not understood is ignored, or no issuer could ever add one.
    case(
        "access/unknown-header-members-are-ignored",
        "A header member that says nothing to us does not refuse a token.",
    )
    .spec(&["docs/contract.md 3.13", "RFC 7515 4"])
    .vectors(),
    case(
        "access/a-header-member-twice-is-refused",
        "A rightly signed token whose header has a member twice, in any spelling and at any depth, is refused.",
    )
    .spec(&["docs/contract.md 3.10", "docs/contract.md 8.5", "RFC 7515 4"])
    .vectors(),
    case(
        "access/a-header-that-is-no-object-is-refused",
        "A header that is not one strict JSON object in UTF-8 refuses a rightly signed token.",
    )
    .spec(&["docs/contract.md 3.10", "RFC 7515 5.2", "RFC 8725 3.7"])
    .vectors(),
    case(
        "access/kid-is-an-exact-look-up",
        "A token whose `kid` is missing, no string, or not to the letter that of one of our keys is refused.",
    )
    .spec(&["docs/contract.md 3.11", "RFC 8725 3.10"])
    .vectors(),
    case(
        "access/typ-is-at-jwt-to-the-letter",
        "A rightly signed JWT of another type, or of none, is refused.",
    )
    .spec(&["docs/contract.md 3.12", "RFC 9068 4", "RFC 8725 3.11", "ASVS 9.2.2"])
    .vectors(),
    // RFC 7515 s4.1.9: a type without a slash is short for `application/` and itself.
    case("access/the-long-typ-is-accepted", "`application/at+jwt` is the same type as `at+jwt`.")
        .spec(&["docs/contract.md 3.12", "RFC 9068 4", "RFC 7515 4.1.9"])
        .vectors(),
    case(
        "access/a-refresh-token-is-no-access-token",
        "A refresh token is refused as an access token, and so is what mixes the two kinds.",
    )
    .spec(&["docs/contract.md 3.32", "docs/contract.md 4.3", "RFC 8725 3.11", "ASVS 9.2.2"])
    .vectors(),
    // Claims.
    case(
        "access/a-claim-twice-is-refused",
        "A rightly signed token that has a claim twice, in any spelling and at any depth, is refused.",
    )
    .spec(&["docs/contract.md 3.15", "docs/contract.md 8.5", "RFC 7519 4", "RFC 8725 2.4"])
    .vectors(),
    case(
        "access/claims-that-are-no-object-are-refused",
        "Claims that are not one strict JSON object in UTF-8 refuse a rightly signed token.",
    )
    .spec(&["docs/contract.md 3.15", "RFC 7519 7.2", "RFC 8725 3.7"])
    .vectors(),
    // A claim of a wrong type that counts as absent was CVE-2026-25537: `"exp":"…"` made a token eternal.
    case(
        "access/exp-is-an-integer",
        "A token whose `exp` is missing or anything but an integer in reach is refused.",
    )
    .spec(&["docs/contract.md 3.16", "docs/contract.md 3.17", "RFC 7519 4.1.4", "ASVS 9.2.1"])
    .vectors(),
    case(
        "access/a-huge-exp-does-no-harm",
        "An `exp` at or beyond the end of 64 bits is accepted or refused, and is no fault.",
    )
    .spec(&["docs/contract.md 3.16", "docs/contract.md 3.21", "ASVS 1.4.2"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        for huge in [
            "9223372036854775807",
            "9223372036854775777",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999999999999999999999",
            "-9223372036854775809",
        ] {
            let claims = written(&token.claims, "exp", huge);
            let response = host.me(&host.sign_access_text(&token.header.to_string(), &claims)?).await?;
            if response.status == 200 {
                response.answered(200).map(|_| ()).row(format!("exp {huge}"))?;
            } else {
                response.refused(401, "invalid_token").row(format!("exp {huge}"))?;
            }
        }
        accepts(host, &host.sign_access(&token.header, &token.claims)?, "an ordinary exp").await
    })),
    case(
        "access/nbf-is-an-integer-or-absent",
        "A token whose `nbf` is there and no integer is refused; without `nbf` it is good.",
    )
    .spec(&["docs/contract.md 3.16", "docs/contract.md 3.17", "RFC 7519 4.1.5", "ASVS 9.2.1"])
    .vectors(),
    case(
        "access/iat-and-auth-time-are-integers",
        "A token whose `iat` or `auth_time` is missing or no integer is refused.",
    )
    .spec(&["docs/contract.md 3.16", "docs/contract.md 3.17", "RFC 7519 4.1.6", "ASVS 9.2.1"])
    .vectors(),
    case(
        "access/texts-are-strings",
        "A token one of whose textual claims has another JSON type is refused.",
    )
    .spec(&["docs/contract.md 3.16", "ASVS 9.2.1"])
    .vectors(),
    case(
        "access/roles-are-strings-in-an-array",
        "A token whose `roles` is missing or anything but an array of strings is refused; an empty array is good.",
    )
    .spec(&["docs/contract.md 3.16", "docs/contract.md 3.17", "docs/contract.md 3.2"])
    .vectors(),
    case(
        "access/required-claims-are-there",
        "A token that lacks one of the claims that every access token has is refused.",
    )
    .spec(&["docs/contract.md 3.17", "RFC 9068 2.2", "RFC 8725 3.9"])
    .vectors(),
    case("access/identifiers-are-not-empty", "A token with an empty `sub`, `sid`, `jti` or `client_id` is refused.")
        .spec(&["docs/contract.md 3.18"])
        .vectors(),
    case(
        "access/unknown-claims-are-ignored",
        "A claim that we do not know does not refuse a token, whatever it holds.",
    )
    .spec(&["docs/contract.md 3.15", "RFC 7519 4"])
    .vectors(),
    case("access/iss-is-exactly-ours", "A token of another issuer is refused, however much its name looks like ours.")
        .spec(&["docs/contract.md 3.19", "RFC 9068 4", "RFC 8725 3.8"])
        .vectors(),
    case(
        "access/aud-is-or-contains-ours",
        "A token for another audience is refused; an array that contains ours is accepted.",
    )
    .spec(&["docs/contract.md 3.20", "RFC 9068 4", "RFC 8725 3.9", "ASVS 10.3.1"])
    .vectors(),
    // Times.
    case(
        "access/expiry-is-exact-to-the-second",
        "A token is good in the second before `exp` + leeway, and expired in that second.",
    )
    .spec(&["docs/contract.md 3.21", "docs/contract.md 3.24", "docs/contract.md 2.10", "RFC 7519 4.1.4"])
    .needs(&[Need::Keys])
    .run(run!(async |host| { expiry_is_exact(host, 30).await })),
    case("access/leeway-is-configurable", "With a leeway of 0 a token is expired in the second of its `exp`.")
        .spec(&["docs/contract.md 3.21", "docs/contract.md 3.24"])
        .needs(&[Need::Keys])
        .config(|| json!({"leeway": 0}))
        .run(run!(async |host| { expiry_is_exact(host, 0).await })),
    case("access/an-issued-token-expires", "A token of the host is good for its lifetime and the leeway, and no longer.")
        .spec(&["docs/contract.md 3.3", "docs/contract.md 3.21", "docs/contract.md 2.10"])
        .needs(&[Need::Clock, Need::Routes])
        .config(|| json!({"access_ttl": 120}))
        .run(run!(async |host| {
            let tokens = host.user().await?.login().await?;
            equal("expires_in", &tokens.expires_in, &120)?;
            host.advance(140).await?;
            host.me(&tokens.access).await?.answered(200)?;
            host.advance(10).await?;
            host.me(&tokens.access).await?.expired_token()?;
            host.route("GET", "/whoami").bearer(&tokens.access).send().await?.expired_token()
        })),
    case(
        "access/tokens-of-the-future-are-refused",
        "A token whose `nbf` or `iat` is later than now + leeway is refused, and is not called expired.",
    )
    .spec(&["docs/contract.md 3.22", "RFC 7519 4.1.5", "RFC 7519 4.1.6"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let user = host.user().await?;
        for claim in ["nbf", "iat"] {
            let (token, now) = second(&user).await?;
            let at = |time: i64| host.sign_access(&token.header, &token.claims_with(claim, time.into()));
            // The host's clock moves on while we ask, so it can only be later than `now`.
            accepts(host, &at(now + 30)?, format!("{claim} 30 s ahead")).await?;
            for ahead in [60, 3600, FAR - now] {
                refuses(host, &at(now + ahead)?, format!("{claim} {ahead} s ahead")).await?;
            }
            within_one_second(&user, |_, now| at(now + 31), |response| response.invalid_token())
                .await
                .row(format!("{claim} 31 s ahead"))?;
        }
        Ok(())
    })),
    case(
        "access/a-huge-nbf-or-iat-is-refused",
        "An `nbf` or `iat` at or beyond the end of 64 bits is refused, and is no fault.",
    )
    .spec(&["docs/contract.md 3.16", "docs/contract.md 3.22", "ASVS 1.4.2"])
    .vectors(),
    // "Expired" says that all else was right. Said of a forged token, it would tell the forger how far he got.
    case(
        "access/expired-is-said-of-good-tokens-alone",
        "A token that is expired and has another fault is called invalid.",
    )
    .spec(&["docs/contract.md 2.10", "RFC 6750 3.1"])
    .vectors(),
    // Form.
    case(
        "access/a-signature-is-over-these-bytes",
        "A missing, shortened, lengthened or changed signature, or that of another payload, is refused.",
    )
    .spec(&["docs/contract.md 3.14", "RFC 7515 5.2", "ASVS 9.1.1"])
    .vectors(),
    // Who takes a second form of a signature takes two tokens for one, or one that nobody made.
    case(
        "access/an-eddsa-signature-has-one-form",
        "An Ed25519 signature whose numbers are not canonical is refused.",
    )
    .spec(&["docs/contract.md 3.14", "RFC 8032 5.1.7"])
    .vectors(),
    case(
        "access/a-mac-is-whole-and-of-its-own-hash",
        "A part of an HS256 signature is refused, and so is a MAC of another hash under the same secret.",
    )
    .spec(&["docs/contract.md 3.14", "docs/contract.md 3.6", "RFC 7518 3.2"])
    .key(KeyKind::Hs256)
    .vectors(),
    case(
        "access/other-serialisations-are-refused",
        "A JWS in JSON, a detached one, and what is encrypted, are refused.",
    )
    .spec(&["docs/contract.md 3.9", "RFC 8725 3.3"])
    .vectors(),
    // A token has one spelling. Two would defeat whoever compares or lists tokens, and each is a parser's difference.
    case(
        "access/a-token-has-one-spelling",
        "Padding, unused bits, white space, the other alphabet and other numbers of parts are refused.",
    )
    .spec(&["docs/contract.md 3.9", "RFC 7515 2", "RFC 8725 3.3"])
    .vectors(),
    case("access/eight-kib-is-the-limit", "A token of 8192 bytes is accepted, one of 8193 refused.")
        .spec(&["docs/contract.md 3.8"])
        .vectors(),
    case(
        "access/a-revoked-session-takes-all-its-tokens",
        "After a logout every token of the session is refused, also one that the host did not issue itself.",
    )
    .spec(&["docs/contract.md 3.23", "ASVS 7.4.1"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let user = host.user().await?;
        let first = user.login().await?;
        let elsewhere = user.login().await?;
        let token = Jws::parse(&first.access)?;
        let another = overlay(token.claims.clone(), json!({"jti": b64(&random_bytes::<16>()?)}));
        let another = host.sign_access(&token.header, &another)?;
        accepts(host, &another, "a second token of the session").await.setup()?;
        host.post("/logout").bearer(&first.access).send().await?.status(204)?;
        refuses(host, &first.access, "the token that logged out").await?;
        refuses(host, &another, "the second token of the session").await?;
        accepts(host, &elsewhere.access, "the other session").await
    })),
];

/// A token that the host issued, taken apart; signed again unchanged it is accepted.
async fn issued(host: &Host) -> Result<Jws, Failure> {
    let token = Jws::parse(&host.user().await?.login().await?.access)?;
    let again = host.sign_access(&token.header, &token.claims)?;
    accepts(host, &again, "the token signed again").await.setup()?;
    Ok(token)
}

async fn accepts(host: &Host, token: &str, row: impl std::fmt::Display) -> Outcome {
    host.me(token).await?.answered(200).map(|_| ()).row(row)
}

async fn refuses(host: &Host, token: &str, row: impl std::fmt::Display) -> Outcome {
    host.me(token).await?.invalid_token().row(row)
}

/// A token issued just now, and the host's second in which it was.
async fn second(user: &User<'_>) -> Result<(Jws, i64), Failure> {
    let token = Jws::parse(&user.login().await?.access)?;
    let now = token.number("iat")?;
    Ok((token, now))
}

/// Asks `/me` with a token made for one second of the host's clock, and judges an answer of that second.
///
/// The clock runs on while we ask. An answer that the judge refuses counts only if the second was not over by then.
async fn within_one_second(
    user: &User<'_>,
    made: impl Fn(&Jws, i64) -> Result<String, Failure>,
    judge: impl Fn(&crate::client::Response) -> Outcome,
) -> Outcome {
    for _ in 0..8 {
        let (token, now) = second(user).await?;
        let verdict = judge(&user.host.me(&made(&token, now)?).await?);
        if verdict.is_ok() || second(user).await?.1 == now {
            return verdict;
        }
    }
    Err(harness("eight times in a row the second was over before the answer came"))
}

async fn expiry_is_exact(host: &Host, leeway: i64) -> Outcome {
    let user = host.user().await?;
    let ending = |token: &Jws, exp: i64| {
        let claims = overlay(token.claims.clone(), json!({"exp": exp, "iat": exp - 900}));
        host.sign_access(&token.header, &claims)
    };
    within_one_second(
        &user,
        |token, now| ending(token, now + 1 - leeway),
        |response| response.answered(200).map(|_| ()),
    )
    .await
    .row("one second left")?;
    let (token, now) = second(&user).await?;
    host.me(&ending(&token, now - leeway)?).await?.expired_token().row("no second left")
}
