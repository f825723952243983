//! Access tokens that a conforming issuer would not make.
//!
//! A case takes one of the host's tokens apart, changes one thing, and signs it again with the host's own key, so that
//! nothing but the change can be the reason of a refusal. The unchanged token, signed again, is the acceptance beside it.

use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use crate::{
    case::{Case, Failure, Need, Outcome, Row, Setup, case, failed, harness, run},
    host::{Host, User, overlay},
    token::{AccessKey, Jws, KeyKind, Keys, b64, join, random_bytes, sign_hs256, unb64},
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
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let [alg, typ, kid] = header_members(&token)?;
        accepts(host, &host.sign_access(&token.header, &token.claims)?, "members in another order").await?;
        let spaced = format!(" {{ \"kid\" : \"{kid}\",\n\t\"typ\": \"{typ}\", \"alg\":\"{alg}\" }}\r\n");
        let claims = format!("\n{}\n", token.claims);
        accepts(host, &host.sign_access_text(&spaced, &claims)?, "white space in JSON").await?;
        let escaped = format!("{{\"\\u0061lg\":\"{alg}\",\"typ\":\"at\\u002bjwt\",\"kid\":\"{kid}\"}}");
        let token = host.sign_access_text(&escaped, &token.claims.to_string())?;
        accepts(host, &token, "escapes in names and values").await
    })),
    // Algorithms.
    case(
        "access/alg-none-is-refused-in-every-spelling",
        "A token with `alg` none is refused in every spelling, whatever stands in place of the signature.",
    )
    .spec(&["docs/contract.md 3.5", "docs/contract.md 3.6", "RFC 8725 3.2", "ASVS 9.1.2"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        for alg in ["none", "None", "NONE", "nOnE", "none ", ""] {
            for (kid, header) in [
                ("our kid", token.header_with("alg", alg.into())),
                ("no kid", json!({"alg": alg, "typ": "at+jwt"})),
                ("nothing else", json!({"alg": alg})),
            ] {
                let signed = host.sign_access(&header, &token.claims)?;
                let signature = Jws::parse(&signed)?.signature;
                for (what, signature) in
                    [("empty", &[][..]), ("right", &signature), ("another token's", &token.signature)]
                {
                    let (header, claims) = (header.to_string(), token.claims.to_string());
                    let forged = join(header.as_bytes(), claims.as_bytes(), signature);
                    refuses(host, &forged, format!("alg {alg:?}, {kid}, signature: {what}")).await?;
                }
            }
        }
        Ok(())
    })),
    // The classic confusion: everyone knows the public key, so it must never do as a secret.
    case(
        "access/a-public-key-is-no-secret",
        "A token signed HS256 under any form of the public key is refused.",
    )
    .spec(&["docs/contract.md 3.6", "RFC 8725 2.1", "RFC 8725 3.1", "ASVS 9.1.2"])
    .needs(&[Need::Keys])
    .run(run!(async |host| { public_key_is_no_secret(host).await })),
    case(
        "access/an-rsa-public-key-is-no-secret",
        "A token signed HS256 under any form of the RSA public key is refused.",
    )
    .spec(&["docs/contract.md 3.6", "RFC 8725 2.1", "RFC 8725 3.1", "ASVS 9.1.2"])
    .needs(&[Need::Keys])
    .key(KeyKind::Rsa)
    .run(run!(async |host| { public_key_is_no_secret(host).await })),
    case(
        "access/guessable-secrets-are-refused",
        "A token signed HS256 under an empty, common or public secret is refused.",
    )
    .spec(&["docs/contract.md 3.6", "RFC 8725 2.2", "RFC 8725 3.5"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let [_, _, kid] = header_members(&token)?;
        let issuer = token.string("iss")?.to_owned();
        let header = token.header_with("alg", "HS256".into()).to_string();
        let claims = token.claims.to_string();
        let zeros = [0; 64];
        for (what, secret) in [
            ("empty", &b""[..]),
            ("one zero", zeros.get(..1).unwrap_or(&[])),
            ("32 zeros", zeros.get(..32).unwrap_or(&[])),
            ("64 zeros", &zeros),
            ("secret", b"secret"),
            ("changeme", b"changeme"),
            ("your-256-bit-secret", b"your-256-bit-secret"),
            ("gatekey", b"gatekey"),
            ("the kid", kid.as_bytes()),
            ("the issuer", issuer.as_bytes()),
        ] {
            let forged = sign_hs256(secret, header.as_bytes(), claims.as_bytes());
            refuses(host, &forged, format!("the secret: {what}")).await?;
        }
        Ok(())
    })),
    case(
        "access/alg-is-the-keys-own-to-the-letter",
        "A rightly signed token whose `alg` is missing, spelt differently, another's or no string is refused.",
    )
    .spec(&["docs/contract.md 3.6", "docs/contract.md 3.5", "RFC 8725 3.1"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let header = token.header_with("alg", Value::Null);
        refuses(host, &host.sign_access(&header, &token.claims)?, "no alg").await?;
        for alg in [
            json!("eddsa"),
            json!("EDDSA"),
            json!("EdDSA "),
            json!("Ed25519"),
            json!("Ed448"),
            json!("ES256"),
            json!("ES256K"),
            json!("RS256"),
            json!("PS256"),
            json!("HS256"),
            json!("HS512"),
            json!(""),
            json!(null),
            json!(0),
            json!(["EdDSA"]),
            json!({"EdDSA": true}),
        ] {
            let header = overlay(token.header.clone(), json!({"alg": alg}));
            refuses(host, &host.sign_access(&header, &token.claims)?, format!("alg {alg}")).await?;
        }
        accepts(host, &host.sign_access(&token.header, &token.claims)?, "the key's own").await
    })),
    // Headers.
    case(
        "access/keys-in-the-header-are-refused",
        "`jwk`, `jku`, `x5c`, `x5u`, `crit`, `b64` and `zip` refuse a rightly signed token, whatever they hold.",
    )
    .spec(&["docs/contract.md 3.13", "RFC 7515 4.1.11", "RFC 8725 3.10", "ASVS 9.1.3"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let own = host.keys()?.access.jwk();
        for (member, value) in [
            ("jwk", own),
            ("jwk", json!({})),
            ("jwk", json!(null)),
            ("jku", json!("https://auth.test/auth/jwks.json")),
            ("jku", json!("")),
            ("x5u", json!("https://auth.test/chain.pem")),
            ("x5c", json!([])),
            ("x5c", json!(["MIIB"])),
            ("crit", json!([])),
            ("crit", json!(["exp"])),
            ("crit", json!(["b64"])),
            ("crit", json!(null)),
            ("b64", json!(true)),
            ("b64", json!(false)),
            ("zip", json!("DEF")),
            ("zip", json!("")),
        ] {
            let row = format!("{member}: {value}");
            let header = overlay(token.header.clone(), json!({member: value}));
            refuses(host, &host.sign_access(&header, &token.claims)?, row).await?;
        }
        let escaped = written(&token.header, "\\u006awk", "{}");
        let token = host.sign_access_text(&escaped, &token.claims.to_string())?;
        refuses(host, &token, "an escaped jwk").await
    })),
    case(
        "access/a-key-that-a-token-brings-is-not-used",
        "A token that brings or names the key that verifies it is refused.",
    )
    .spec(&["docs/contract.md 3.11", "docs/contract.md 3.13", "RFC 8725 3.10", "ASVS 9.1.3"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let [_, _, kid] = header_members(&token)?;
        let stranger = Keys::generate(KeyKind::Ed25519)?;
        let theirs = stranger.access.thumbprint();
        let jwk = overlay(stranger.access.jwk(), json!({"kid": kid, "use": "sig", "alg": "EdDSA"}));
        for (what, header) in [
            ("under our kid", token.header.clone()),
            ("under its own kid", token.header_with("kid", theirs.as_str().into())),
            ("with the key in jwk, our kid", token.header_with("jwk", jwk.clone())),
            (
                "with the key in jwk, its own kid",
                overlay(token.header.clone(), json!({"jwk": jwk, "kid": theirs})),
            ),
            ("with the key in jwk and no kid", json!({"alg": "EdDSA", "typ": "at+jwt", "jwk": jwk})),
        ] {
            let forged =
                stranger.sign_access(header.to_string().as_bytes(), token.claims.to_string().as_bytes())?;
            refuses(host, &forged, format!("a stranger's key {what}")).await?;
        }
        Ok(())
    })),
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
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        for more in [json!({"cty": "JWT"}), json!({"x5t": "AAAA"}), json!({"note": {"deep": [1, null]}})] {
            let header = overlay(token.header.clone(), more.clone());
            accepts(host, &host.sign_access(&header, &token.claims)?, more).await?;
        }
        Ok(())
    })),
    case(
        "access/a-header-member-twice-is-refused",
        "A rightly signed token whose header has a member twice, in any spelling and at any depth, is refused.",
    )
    .spec(&["docs/contract.md 3.10", "docs/contract.md 8.5", "RFC 7515 4"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let whole = token.header.to_string();
        let rest = whole.strip_prefix('{').ok_or_else(|| harness("a header is an object"))?;
        let [alg, typ, kid] = header_members(&token)?;
        for more in [
            format!("\"alg\":\"{alg}\""),
            "\"alg\":\"none\"".to_owned(),
            "\"\\u0061lg\":\"none\"".to_owned(),
            format!("\"typ\":\"{typ}\""),
            "\"t\\u0079p\":\"JWT\"".to_owned(),
            format!("\"kid\":\"{kid}\""),
            "\"ki\\u0064\":\"other\"".to_owned(),
            "\"x\":1,\"x\":1".to_owned(),
            "\"x\":{\"y\":1,\"y\":2}".to_owned(),
        ] {
            let header = format!("{{{more},{rest}");
            let claims = token.claims.to_string();
            refuses(host, &host.sign_access_text(&header, &claims)?, format!("the header {header}")).await?;
        }
        Ok(())
    })),
    case(
        "access/a-header-that-is-no-object-is-refused",
        "A header that is not one strict JSON object in UTF-8 refuses a rightly signed token.",
    )
    .spec(&["docs/contract.md 3.10", "RFC 7515 5.2", "RFC 8725 3.7"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let claims = token.claims.to_string();
        for (what, bytes) in broken_objects(&token.header.to_string()) {
            let forged = host.keys()?.sign_access(&bytes, claims.as_bytes())?;
            refuses(host, &forged, format!("a header that is {what}")).await?;
        }
        Ok(())
    })),
    case(
        "access/kid-is-an-exact-look-up",
        "A token whose `kid` is missing, no string, or not to the letter that of one of our keys is refused.",
    )
    .spec(&["docs/contract.md 3.11", "RFC 8725 3.10"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let [_, _, kid] = header_members(&token)?;
        let header = token.header_with("kid", Value::Null);
        refuses(host, &host.sign_access(&header, &token.claims)?, "no kid").await?;
        let mut shorter = kid.clone();
        shorter.pop();
        for wrong in [
            json!(""),
            json!(format!("{kid} ")),
            json!(format!(" {kid}")),
            json!(format!("{kid}\u{0}")),
            json!(format!("{kid}=")),
            json!(shorter),
            json!(swap_case(&kid)),
            json!("no-such-key"),
            json!("../../../../dev/null"),
            json!("/dev/null"),
            json!("' OR '1'='1"),
            json!("x' UNION SELECT 'AA"),
            json!("0"),
            json!("x".repeat(4000)),
            json!(null),
            json!(0),
            json!([kid]),
            json!({"kid": kid}),
        ] {
            let header = overlay(token.header.clone(), json!({"kid": wrong}));
            refuses(host, &host.sign_access(&header, &token.claims)?, format!("kid {wrong}")).await?;
        }
        accepts(host, &host.sign_access(&token.header, &token.claims)?, "our kid").await
    })),
    case(
        "access/typ-is-at-jwt-to-the-letter",
        "A rightly signed JWT of another type, or of none, is refused.",
    )
    .spec(&["docs/contract.md 3.12", "RFC 9068 4", "RFC 8725 3.11", "ASVS 9.2.2"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let header = token.header_with("typ", Value::Null);
        refuses(host, &host.sign_access(&header, &token.claims)?, "no typ").await?;
        for typ in [
            json!("JWT"),
            json!("jwt"),
            json!("rt+jwt"),
            json!("dpop+jwt"),
            json!("application/jwt"),
            json!("AT+JWT"),
            json!("at+JWT"),
            json!("Application/at+jwt"),
            json!("application/application/at+jwt"),
            json!("text/at+jwt"),
            json!("at+jwt "),
            json!(" at+jwt"),
            json!("at+jwtx"),
            json!(""),
            json!(null),
            json!(1),
            json!(["at+jwt"]),
        ] {
            let header = overlay(token.header.clone(), json!({"typ": typ}));
            refuses(host, &host.sign_access(&header, &token.claims)?, format!("typ {typ}")).await?;
        }
        Ok(())
    })),
    // RFC 7515 s4.1.9: a type without a slash is short for `application/` and itself.
    case("access/the-long-typ-is-accepted", "`application/at+jwt` is the same type as `at+jwt`.")
        .spec(&["docs/contract.md 3.12", "RFC 9068 4", "RFC 7515 4.1.9"])
        .needs(&[Need::Keys])
        .run(run!(async |host| {
            let token = issued(host).await?;
            for typ in ["at+jwt", "application/at+jwt"] {
                let header = token.header_with("typ", typ.into());
                accepts(host, &host.sign_access(&header, &token.claims)?, typ).await?;
            }
            Ok(())
        })),
    case(
        "access/a-refresh-token-is-no-access-token",
        "A refresh token is refused as an access token, and so is what mixes the two kinds.",
    )
    .spec(&["docs/contract.md 3.32", "docs/contract.md 4.3", "RFC 8725 3.11", "ASVS 9.2.2"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let tokens = host.user().await?.login().await?;
        let access = Jws::parse(&tokens.access)?;
        let refresh = Jws::parse(&tokens.refresh)?;
        refuses(host, &tokens.refresh, "the refresh token").await?;
        let of_access_key = host.sign_access(&refresh.header_with("alg", "EdDSA".into()), &refresh.claims)?;
        refuses(host, &of_access_key, "its claims and type, signed with the access key").await?;
        let of_access_type = host.sign_refresh(&refresh.header_with("typ", "at+jwt".into()), &access.claims)?;
        refuses(host, &of_access_type, "access claims and type, signed with the refresh secret").await?;
        let of_access_kid = host.sign_refresh(&access.header_with("alg", "HS256".into()), &access.claims)?;
        refuses(host, &of_access_kid, "the access key's kid, signed with the refresh secret").await?;
        accepts(host, &tokens.access, "the access token").await
    })),
    // Claims.
    case(
        "access/a-claim-twice-is-refused",
        "A rightly signed token that has a claim twice, in any spelling and at any depth, is refused.",
    )
    .spec(&["docs/contract.md 3.15", "docs/contract.md 8.5", "RFC 7519 4", "RFC 8725 2.4"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let whole = token.claims.to_string();
        let rest = whole.strip_prefix('{').ok_or_else(|| harness("claims are an object"))?;
        let exp = token.number("exp")?;
        let sub = token.string("sub")?;
        for more in [
            format!("\"exp\":{exp}"),
            format!("\"\\u0065xp\":{FAR}"),
            format!("\"sub\":\"{sub}\""),
            "\"su\\u0062\":\"someone-else\"".to_owned(),
            "\"r\\u006fles\":[\"admin\"]".to_owned(),
            "\"aud\":\"https://api.test\"".to_owned(),
            "\"x\":1,\"x\":1".to_owned(),
            "\"x\":1,\"\\u0078\":2".to_owned(),
            "\"x\":[{\"y\":1,\"y\":2}]".to_owned(),
        ] {
            let claims = format!("{{{more},{rest}");
            let forged = host.sign_access_text(&token.header.to_string(), &claims)?;
            refuses(host, &forged, format!("{more} before the others")).await?;
        }
        let once = written(&token.claims_with("exp", Value::Null), "\\u0065xp", &exp.to_string());
        let once = host.sign_access_text(&token.header.to_string(), &once)?;
        accepts(host, &once, "an escaped name that stands once").await
    })),
    case(
        "access/claims-that-are-no-object-are-refused",
        "Claims that are not one strict JSON object in UTF-8 refuse a rightly signed token.",
    )
    .spec(&["docs/contract.md 3.15", "RFC 7519 7.2", "RFC 8725 3.7"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let header = token.header.to_string();
        for (what, bytes) in broken_objects(&token.claims.to_string()) {
            let forged = host.keys()?.sign_access(header.as_bytes(), &bytes)?;
            refuses(host, &forged, format!("claims that are {what}")).await?;
        }
        Ok(())
    })),
    // A claim of a wrong type that counts as absent was CVE-2026-25537: `"exp":"…"` made a token eternal.
    case(
        "access/exp-is-an-integer",
        "A token whose `exp` is missing or anything but an integer in reach is refused.",
    )
    .spec(&["docs/contract.md 3.16", "docs/contract.md 3.17", "RFC 7519 4.1.4", "ASVS 9.2.1"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        time_types(host, &token, "exp").await?;
        let missing = token.claims_with("exp", Value::Null);
        refuses(host, &host.sign_access(&token.header, &missing)?, "no exp").await?;
        // A time long past is refused either way; which word is said of it is not the question here.
        for past in ["-1", "0", "-9223372036854775808"] {
            let claims = written(&token.claims, "exp", past);
            let forged = host.sign_access_text(&token.header.to_string(), &claims)?;
            host.me(&forged).await?.refused(401, "invalid_token").row(format!("exp {past}"))?;
        }
        accepts(host, &host.sign_access(&token.header, &token.claims_with("exp", FAR.into()))?, "exp far off")
            .await
    })),
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
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        time_types(host, &token, "nbf").await?;
        let iat = token.number("iat")?;
        let claims = token.claims_with("nbf", iat.into());
        accepts(host, &host.sign_access(&token.header, &claims)?, "nbf now").await
    })),
    case(
        "access/iat-and-auth-time-are-integers",
        "A token whose `iat` or `auth_time` is missing or no integer is refused.",
    )
    .spec(&["docs/contract.md 3.16", "docs/contract.md 3.17", "RFC 7519 4.1.6", "ASVS 9.2.1"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        for claim in ["iat", "auth_time"] {
            time_types(host, &token, claim).await?;
            let missing = token.claims_with(claim, Value::Null);
            refuses(host, &host.sign_access(&token.header, &missing)?, format!("no {claim}")).await?;
        }
        Ok(())
    })),
    case(
        "access/texts-are-strings",
        "A token one of whose textual claims has another JSON type is refused.",
    )
    .spec(&["docs/contract.md 3.16", "ASVS 9.2.1"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let texts = ["iss", "sub", "aud", "jti", "client_id", "sid", "preferred_username", "scope"];
        for claim in texts {
            for value in [json!(null), json!(1), json!(1.5), json!(true), json!({}), json!([1]), json!([null])]
            {
                let claims = overlay(token.claims.clone(), json!({claim: value}));
                let row = format!("{claim}: {value}");
                refuses(host, &host.sign_access(&token.header, &claims)?, row).await?;
            }
            if claim != "aud" {
                let claims = overlay(token.claims.clone(), json!({claim: [token.claims.get(claim)]}));
                let row = format!("{claim} in an array");
                refuses(host, &host.sign_access(&token.header, &claims)?, row).await?;
            }
        }
        Ok(())
    })),
    case(
        "access/roles-are-strings-in-an-array",
        "A token whose `roles` is missing or anything but an array of strings is refused; an empty array is good.",
    )
    .spec(&["docs/contract.md 3.16", "docs/contract.md 3.17", "docs/contract.md 3.2"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        for roles in [
            json!(null),
            json!("admin"),
            json!(""),
            json!({"0": "admin"}),
            json!([1]),
            json!(["editor", null]),
            json!([["editor"]]),
            json!(true),
        ] {
            let claims = overlay(token.claims.clone(), json!({"roles": roles}));
            refuses(host, &host.sign_access(&token.header, &claims)?, format!("roles {roles}")).await?;
        }
        let missing = token.claims_with("roles", Value::Null);
        refuses(host, &host.sign_access(&token.header, &missing)?, "no roles").await?;
        for roles in [json!([]), json!(["editor", "admin"])] {
            let claims = overlay(token.claims.clone(), json!({"roles": roles}));
            accepts(host, &host.sign_access(&token.header, &claims)?, format!("roles {roles}")).await?;
        }
        Ok(())
    })),
    case(
        "access/required-claims-are-there",
        "A token that lacks one of the claims that every access token has is refused.",
    )
    .spec(&["docs/contract.md 3.17", "RFC 9068 2.2", "RFC 8725 3.9"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        for claim in [
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "jti",
            "client_id",
            "sid",
            "auth_time",
            "preferred_username",
            "roles",
        ] {
            let claims = token.claims_with(claim, Value::Null);
            refuses(host, &host.sign_access(&token.header, &claims)?, format!("no {claim}")).await?;
        }
        refuses(host, &host.sign_access(&token.header, &json!({}))?, "no claims at all").await?;
        accepts(host, &host.sign_access(&token.header, &token.claims_with("scope", Value::Null))?, "no scope")
            .await
    })),
    case("access/identifiers-are-not-empty", "A token with an empty `sub`, `sid`, `jti` or `client_id` is refused.")
        .spec(&["docs/contract.md 3.18"])
        .needs(&[Need::Keys])
        .run(run!(async |host| {
            let token = issued(host).await?;
            for claim in ["sub", "sid", "jti", "client_id"] {
                let claims = token.claims_with(claim, "".into());
                refuses(host, &host.sign_access(&token.header, &claims)?, format!("an empty {claim}")).await?;
            }
            Ok(())
        })),
    case(
        "access/unknown-claims-are-ignored",
        "A claim that we do not know does not refuse a token, whatever it holds.",
    )
    .spec(&["docs/contract.md 3.15", "RFC 7519 4"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        for more in [
            json!({"tenant": {"id": 7, "tags": [null, 1.5, "x"]}}),
            json!({"Exp": "not ours"}),
            json!({"": null}),
        ] {
            let claims = overlay(token.claims.clone(), more.clone());
            accepts(host, &host.sign_access(&token.header, &claims)?, more).await?;
        }
        Ok(())
    })),
    case("access/iss-is-exactly-ours", "A token of another issuer is refused, however much its name looks like ours.")
        .spec(&["docs/contract.md 3.19", "RFC 9068 4", "RFC 8725 3.8"])
        .needs(&[Need::Keys])
        .run(run!(async |host| {
            let token = issued(host).await?;
            for issuer in [
                "https://auth.test/",
                "https://auth.test:443",
                "http://auth.test",
                "https://AUTH.test",
                "https://auth.test.evil.example",
                "https://evil.example/https://auth.test",
                "https://auth.tes",
                "auth.test",
                " https://auth.test",
                "https://other.test",
                "",
            ] {
                let claims = token.claims_with("iss", issuer.into());
                refuses(host, &host.sign_access(&token.header, &claims)?, format!("iss {issuer:?}")).await?;
            }
            let claims = token.claims_with("iss", "https://auth.test".into());
            accepts(host, &host.sign_access(&token.header, &claims)?, "our own").await
        })),
    case(
        "access/aud-is-or-contains-ours",
        "A token for another audience is refused; an array that contains ours is accepted.",
    )
    .spec(&["docs/contract.md 3.20", "RFC 9068 4", "RFC 8725 3.9", "ASVS 10.3.1"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let ours = "https://api.test";
        for audience in [
            json!("https://api.test/"),
            json!("https://api.tes"),
            json!("https://api.test.evil.example"),
            json!("https://API.test"),
            json!("http://api.test"),
            json!("https://auth.test"),
            json!("https://other.test https://api.test"),
            json!("*"),
            json!(""),
            json!([]),
            json!(["https://other.test"]),
            json!(["https://api.test/", "https://api.tes"]),
            json!([[ours]]),
            json!([ours, 1]),
            json!([null, ours]),
            json!({"0": ours}),
        ] {
            let claims = overlay(token.claims.clone(), json!({"aud": audience}));
            refuses(host, &host.sign_access(&token.header, &claims)?, format!("aud {audience}")).await?;
        }
        for audience in [json!(ours), json!([ours]), json!(["https://other.test", ours])] {
            let claims = overlay(token.claims.clone(), json!({"aud": audience}));
            accepts(host, &host.sign_access(&token.header, &claims)?, format!("aud {audience}")).await?;
        }
        Ok(())
    })),
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
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        for claim in ["nbf", "iat"] {
            for huge in ["9223372036854775807", "18446744073709551615", "18446744073709551616", "1e400"] {
                let claims = written(&token.claims, claim, huge);
                let forged = host.sign_access_text(&token.header.to_string(), &claims)?;
                refuses(host, &forged, format!("{claim} {huge}")).await?;
            }
        }
        Ok(())
    })),
    // "Expired" says that all else was right. Said of a forged token, it would tell the forger how far he got.
    case(
        "access/expired-is-said-of-good-tokens-alone",
        "A token that is expired and has another fault is called invalid.",
    )
    .spec(&["docs/contract.md 2.10", "RFC 6750 3.1"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let past = token.number("iat")? - 3600;
        let stale = overlay(token.claims.clone(), json!({"exp": past, "iat": past - 900}));
        let sign = |header: &Value, claims: &Value| host.sign_access(header, claims);
        host.me(&sign(&token.header, &stale)?).await?.expired_token().row("expired alone")?;
        for (claim, value) in [
            ("iss", json!("https://other.test")),
            ("aud", json!("https://other.test")),
            ("nbf", json!(FAR)),
            ("iat", json!(FAR)),
            ("nbf", json!("1")),
            ("sub", json!("")),
            ("sub", json!(1)),
            ("scope", json!([])),
        ] {
            let claims = overlay(stale.clone(), json!({claim: value}));
            refuses(host, &sign(&token.header, &claims)?, format!("expired, and {claim}: {value}")).await?;
        }
        let required =
            ["iss", "sub", "aud", "iat", "jti", "client_id", "sid", "auth_time", "preferred_username", "roles"];
        for claim in required {
            let claims = with_out(&stale, claim);
            refuses(host, &sign(&token.header, &claims)?, format!("expired, and no {claim}")).await?;
        }
        refuses(host, &sign(&token.header_with("typ", "JWT".into()), &stale)?, "expired, typ JWT").await?;
        refuses(host, &sign(&token.header_with("kid", "other".into()), &stale)?, "expired, another kid").await?;
        let (header, claims) = (token.header.to_string(), stale.to_string());
        let unsigned = join(header.as_bytes(), claims.as_bytes(), &token.signature);
        refuses(host, &unsigned, "expired, another token's signature").await
    })),
    // Form.
    case(
        "access/a-signature-is-over-these-bytes",
        "A missing, shortened, lengthened or changed signature, or that of another payload, is refused.",
    )
    .spec(&["docs/contract.md 3.14", "RFC 7515 5.2", "ASVS 9.1.1"])
    .needs(&[Need::Keys])
    .run(run!(async |host| {
        let token = issued(host).await?;
        let other = issued(host).await?;
        let [header, claims, signature] = &token.segments;
        let raw = &token.signature;
        let shortened = raw.split_last().map_or(&raw[..], |(_, rest)| rest);
        let half = raw.get(..raw.len() / 2).unwrap_or(raw);
        let longer = [&raw[..], &[0]].concat();
        let zeros = vec![0; raw.len()];
        for (what, bytes) in [
            ("empty", &[][..]),
            ("one byte short", shortened),
            ("half", half),
            ("one byte long", &longer),
            ("all zero", &zeros),
            ("another token's", &other.signature),
        ] {
            refuses(host, &format!("{header}.{claims}.{}", b64(bytes)), what).await?;
        }
        for at in [0, raw.len() / 2, raw.len() - 1] {
            let mut flipped = raw.clone();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 1;
            }
            let forged = format!("{header}.{claims}.{}", b64(&flipped));
            refuses(host, &forged, format!("a bit of byte {at} changed")).await?;
        }
        let promoted = overlay(token.claims.clone(), json!({"roles": ["admin"]}));
        let promoted = b64(promoted.to_string().as_bytes());
        refuses(host, &format!("{header}.{promoted}.{signature}"), "other claims").await?;
        refuses(host, &format!("{header}.{}.{signature}", other.segments[1]), "another's claims").await?;
        let renamed = b64(token.header_with("cty", "x".into()).to_string().as_bytes());
        refuses(host, &format!("{renamed}.{claims}.{signature}"), "another header").await?;
        accepts(host, &format!("{header}.{claims}.{signature}"), "its own").await
    })),
    // A token has one spelling. Two would defeat whoever compares or lists tokens, and each is a parser's difference.
    case(
        "access/a-token-has-one-spelling",
        "Padding, unused bits, white space, the other alphabet and other numbers of parts are refused.",
    )
    .spec(&["docs/contract.md 3.9", "RFC 7515 2", "RFC 8725 3.3"])
    .needs(&[Need::Keys])
    .run(run!(async |host| { one_spelling(host).await })),
    case("access/eight-kib-is-the-limit", "A token of 8192 bytes is accepted, one of 8193 refused.")
        .spec(&["docs/contract.md 3.8"])
        .needs(&[Need::Keys])
        .run(run!(async |host| {
            let token = issued(host).await?;
            for length in [8190, 8191, 8192] {
                accepts(host, &of_length(host, &token, length)?, format!("{length} bytes")).await?;
            }
            for length in [8193, 8194, 12_000] {
                refuses(host, &of_length(host, &token, length)?, format!("{length} bytes")).await?;
            }
            Ok(())
        })),
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

/// `alg`, `typ` and `kid`.
fn header_members(token: &Jws) -> Result<[String; 3], Failure> {
    let member = |name: &str| {
        let value = token.header.get(name).and_then(Value::as_str);
        value.map(str::to_owned).ok_or_else(|| failed(format!("a string {name}"), &token.header))
    };
    Ok([member("alg")?, member("typ")?, member("kid")?])
}

fn with_out(object: &Value, member: &str) -> Value {
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        members.remove(member);
    }
    object
}

/// The object with one member replaced or added, name and value written exactly so.
fn written(object: &Value, name: &str, value: &str) -> String {
    let others: String = with_out(object, name)
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{}:{value},", json!(name)))
        .collect();
    format!("{{{others}\"{name}\":{value}}}")
}

fn swap_case(text: &str) -> String {
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    text.chars().map(swap).collect()
}

async fn public_key_is_no_secret(host: &Host) -> Outcome {
    let token = issued(host).await?;
    let key = &host.keys()?.access;
    let pem = key.public_pem()?;
    let jwk = key.jwk();
    let number = |name: &str| jwk.get(name).and_then(Value::as_str).map(str::to_owned);
    let encoded = number("x").or_else(|| number("n")).ok_or_else(|| harness("a key without a number"))?;
    let [_, _, kid] = header_members(&token)?;
    let published =
        overlay(jwk.clone(), json!({"alg": key.alg(), "kid": kid, "use": "sig"})).to_string().into_bytes();
    for (what, secret) in [
        ("DER", key.public_der()?),
        ("PEM", pem.clone().into_bytes()),
        ("PEM without its last line end", pem.trim_end().as_bytes().to_vec()),
        ("PEM with CR LF", pem.replace('\n', "\r\n").into_bytes()),
        ("PEM in one line", pem.replace('\n', "").into_bytes()),
        ("the bytes of x or n", unb64(&encoded)?),
        ("the text of x or n", encoded.into_bytes()),
        ("JWK", jwk.to_string().into_bytes()),
        ("JWK as published", published),
        ("thumbprint", key.thumbprint().into_bytes()),
    ] {
        for (with, header) in [
            ("our kid", token.header_with("alg", "HS256".into())),
            ("no kid", json!({"alg": "HS256", "typ": "at+jwt"})),
        ] {
            let forged =
                sign_hs256(&secret, header.to_string().as_bytes(), token.claims.to_string().as_bytes());
            refuses(host, &forged, format!("the public key as {what}, {with}")).await?;
        }
    }
    Ok(())
}

/// Texts that look like this object and are no strict JSON object in UTF-8.
fn broken_objects(object: &str) -> Vec<(&'static str, Vec<u8>)> {
    let wide = |unit: fn(u16) -> [u8; 2]| object.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let inside = object.strip_prefix('{').unwrap_or(object);
    vec![
        ("empty", Vec::new()),
        ("a JSON string", json!(object).to_string().into_bytes()),
        ("in an array", format!("[{object}]").into_bytes()),
        ("null", b"null".to_vec()),
        ("a number", b"1".to_vec()),
        ("cut off", object.strip_suffix('}').unwrap_or(object).as_bytes().to_vec()),
        ("followed by more", format!("{object}{{}}").into_bytes()),
        ("followed by a NUL", format!("{object}\0").into_bytes()),
        ("written with a comma at the end", format!("{},}}", object.trim_end_matches('}')).into_bytes()),
        ("written with a comment", format!("{{/**/{inside}").into_bytes()),
        ("written with single quotes", object.replace('"', "'").into_bytes()),
        ("written with a raw control character", format!("{{\"x\":\"\u{1}\",{inside}").into_bytes()),
        ("written with a lone surrogate", format!("{{\"x\":\"\\ud800\",{inside}").into_bytes()),
        ("after a byte order mark", [b"\xef\xbb\xbf", object.as_bytes()].concat()),
        ("not UTF-8", [b"{\"x\":\"\xff\",", inside.as_bytes()].concat()),
        ("UTF-16, big end first", wide(u16::to_be_bytes)),
        ("UTF-16, little end first", wide(u16::to_le_bytes)),
        ("UTF-16 with its mark", [&b"\xff\xfe"[..], &wide(u16::to_le_bytes)].concat()),
        ("nested too deep", format!("{{\"x\":{}{},{inside}", "[".repeat(16), "]".repeat(16)).into_bytes()),
    ]
}

/// A claim that is a time takes no other JSON type, nor a number that is no integer.
async fn time_types(host: &Host, token: &Jws, claim: &str) -> Outcome {
    let now = token.number("iat")?;
    let good = if claim == "exp" { FAR } else { now };
    for value in [
        format!("\"{good}\""),
        format!("{good}.0"),
        format!("{good}.5"),
        format!("{good}e0"),
        "4.1e9".to_owned(),
        "1e400".to_owned(),
        "-0.0".to_owned(),
        "null".to_owned(),
        "true".to_owned(),
        "false".to_owned(),
        "\"\"".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        format!("[{good}]"),
        format!("0{good}"),
        format!("+{good}"),
        "0x7fffffff".to_owned(),
        "NaN".to_owned(),
        "Infinity".to_owned(),
    ] {
        let claims = written(&token.claims, claim, &value);
        let forged = host.sign_access_text(&token.header.to_string(), &claims)?;
        refuses(host, &forged, format!("{claim}: {value}")).await?;
    }
    let claims = written(&token.claims, claim, &good.to_string());
    accepts(host, &host.sign_access_text(&token.header.to_string(), &claims)?, format!("{claim}: {good}"))
        .await
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

/// Signs exactly these two segments.
fn sign_segments(key: &AccessKey, header: &str, claims: &str) -> Result<String, Failure> {
    let signature = key.sign(format!("{header}.{claims}").as_bytes())?;
    Ok(format!("{header}.{claims}.{}", b64(&signature)))
}

/// A segment whose last character has unused bits, and the same with one of them set.
fn with_unused_bits(object: &Value) -> Result<(String, String), Failure> {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for fill in ["", "f", "ff"] {
        let segment = b64(overlay(object.clone(), json!({"fill": fill})).to_string().as_bytes());
        let last = segment.chars().last().and_then(|last| alphabet.find(last));
        if let (2 | 3, Some(last)) = (segment.len() % 4, last) {
            let next =
                alphabet.chars().nth(last + 1).ok_or_else(|| harness("the last letter has no next"))?;
            let bent = format!("{}{next}", &segment[..segment.len() - 1]);
            return Ok((segment, bent));
        }
    }
    Err(harness("no filling leaves unused bits"))
}

/// Claims whose segment has both characters in which the two base64 alphabets differ.
fn with_both_alphabets(object: &Value) -> Result<String, Failure> {
    for fill in ["", "f", "ff"] {
        let own = format!("{fill}???>>>~~~");
        let segment = b64(overlay(object.clone(), json!({"fill": own})).to_string().as_bytes());
        if segment.contains('-') && segment.contains('_') {
            return Ok(segment);
        }
    }
    Err(harness("no filling gives both characters"))
}

async fn one_spelling(host: &Host) -> Outcome {
    let token = issued(host).await?;
    let key = &host.keys()?.access;
    let (header, bent_header) = with_unused_bits(&token.header)?;
    let (claims, bent_claims) = with_unused_bits(&token.claims)?;
    let good = sign_segments(key, &header, &claims)?;
    accepts(host, &good, "the plain spelling").await?;

    // Signed as they stand, so that only a lenient decoder would take them.
    let pad = |segment: &str| format!("{segment}{}", "=".repeat((4 - segment.len() % 4) % 4));
    refuses(host, &sign_segments(key, &bent_header, &claims)?, "an unused bit of the header").await?;
    refuses(host, &sign_segments(key, &header, &bent_claims)?, "an unused bit of the claims").await?;
    refuses(host, &sign_segments(key, &pad(&header), &claims)?, "a padded header").await?;
    refuses(host, &sign_segments(key, &header, &pad(&claims))?, "padded claims").await?;
    refuses(host, &format!("{good}=="), "a padded signature").await?;
    refuses(host, &format!("{good}="), "a wrongly padded signature").await?;
    // 64 bytes leave four bits of their last character unused.
    let (rest, last) = good.split_at(good.len() - 1);
    let bent = char::from(last.bytes().next().unwrap_or(b'A') + 1);
    refuses(host, &format!("{rest}{bent}"), "an unused bit of the signature").await?;

    let both = with_both_alphabets(&token.claims)?;
    accepts(host, &sign_segments(key, &header, &both)?, "characters - and _").await?;
    let other = both.replace('-', "+").replace('_', "/");
    refuses(host, &sign_segments(key, &header, &other)?, "characters + and /").await?;

    let signature = good.rsplit('.').next().unwrap_or_default().to_owned();
    for wrong in [
        format!("{header}.{claims}.{signature}."),
        format!(".{header}.{claims}.{signature}"),
        format!("{header}..{claims}.{signature}"),
        format!("{header}.{claims}..{signature}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{claims}.{signature}.{claims}.{signature}"),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{header}{claims}{signature}"),
        ".".to_owned(),
        "..".to_owned(),
        "....".to_owned(),
        "null".to_owned(),
        "0".to_owned(),
        format!("{header} .{claims}.{signature}"),
        format!("{header}. {claims}.{signature}"),
        format!("{header}.{claims}.{signature} x"),
        format!("{good}, {good}"),
        format!("\"{good}\""),
        format!("{header}%2E{claims}%2E{signature}"),
        format!("{header}.{claims}.{signature}\u{e9}"),
    ] {
        refuses(host, &wrong, format!("the token {wrong:?}")).await?;
    }
    Ok(())
}

/// A good token of exactly this many bytes.
fn of_length(host: &Host, token: &Jws, length: usize) -> Result<String, Failure> {
    let encoded = |bytes: usize| (bytes * 4).div_ceil(3);
    let filled = |object: &Value, fill: usize| overlay(object.clone(), json!({"fill": "f".repeat(fill)}));
    let plain = |object: &Value| filled(object, 0).to_string().len();
    let (header, claims) = (plain(&token.header), plain(&token.claims));
    let signature = token.segments[2].len();
    // Base64url has no text of one character more than a multiple of four, so both segments have to give.
    for more in 0..3 {
        for fill in 0..length {
            if encoded(header + more) + encoded(claims + fill) + signature + 2 == length {
                let made = host.sign_access(&filled(&token.header, more), &filled(&token.claims, fill))?;
                return if made.len() == length { Ok(made) } else { Err(harness("miscounted")) };
            }
        }
    }
    Err(harness(format!("no token of {length} bytes can be made")))
}
