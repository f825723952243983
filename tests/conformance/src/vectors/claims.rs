//! Claims: types, presence, times, names.

use serde_json::{Value, json};

use super::{
    Group, group,
    maker::{AUDIENCE, FAR, ISSUER, Maker, PAST, before_others, broken_objects, changed, written},
};
use crate::{
    case::Outcome,
    token::{Jws, KeyKind, join},
};

pub(super) const GROUPS: &[Group] = &[
    group("access/a-claim-twice-is-refused", KeyKind::Ed25519, claim_twice),
    group("access/claims-that-are-no-object-are-refused", KeyKind::Ed25519, no_object),
    group("access/exp-is-an-integer", KeyKind::Ed25519, exp),
    group("access/nbf-is-an-integer-or-absent", KeyKind::Ed25519, nbf),
    group("access/iat-and-auth-time-are-integers", KeyKind::Ed25519, iat_and_auth_time),
    group("access/a-huge-nbf-or-iat-is-refused", KeyKind::Ed25519, huge),
    group("access/texts-are-strings", KeyKind::Ed25519, texts),
    group("access/roles-are-strings-in-an-array", KeyKind::Ed25519, roles),
    group("access/required-claims-are-there", KeyKind::Ed25519, required),
    group("access/identifiers-are-not-empty", KeyKind::Ed25519, identifiers),
    group("access/unknown-claims-are-ignored", KeyKind::Ed25519, unknown),
    group("access/iss-is-exactly-ours", KeyKind::Ed25519, iss),
    group("access/aud-is-or-contains-ours", KeyKind::Ed25519, aud),
    group("access/expired-is-said-of-good-tokens-alone", KeyKind::Ed25519, expired),
];

/// What every access token has.
const REQUIRED: [&str; 11] = [
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
];

fn claim_twice(make: &mut Maker) -> Outcome {
    make.flag = "Duplicate";
    for more in [
        format!("\"exp\":{FAR}"),
        format!("\"\\u0065xp\":{}", FAR + 1),
        "\"sub\":\"subject\"".to_owned(),
        "\"su\\u0062\":\"someone-else\"".to_owned(),
        "\"r\\u006fles\":[\"admin\"]".to_owned(),
        format!("\"aud\":\"{AUDIENCE}\""),
        "\"x\":1,\"x\":1".to_owned(),
        "\"x\":1,\"\\u0078\":2".to_owned(),
        "\"\\ud83d\\ude00\":1,\"\u{1f600}\":2".to_owned(),
        "\"x\":[{\"y\":1,\"y\":2}]".to_owned(),
    ] {
        let claims = before_others(&make.token.claims, &more)?;
        make.refuse(format!("{more} before the others"), make.with_claims_text(&claims)?);
    }
    let once = written(&changed(&make.token.claims, json!({"exp": null})), "\\u0065xp", &FAR.to_string());
    make.accept("an escaped name that stands once", make.with_claims_text(&once)?);
    Ok(())
}

fn no_object(make: &mut Maker) -> Outcome {
    make.flag = "NotStrictJson";
    let header = make.token.header.to_string();
    for (what, bytes) in broken_objects(&make.token.claims) {
        make.refuse(format!("claims that are {what}"), make.sign_bytes(header.as_bytes(), &bytes)?);
    }
    Ok(())
}

/// A claim that is a time takes no other JSON type, nor a number that is no integer.
fn times(make: &mut Maker, claim: &str) -> Outcome {
    let good = if claim == "exp" { FAR } else { PAST };
    make.flag = "ClaimType";
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
        "\"\"".to_owned(),
        "\"2100-01-01T00:00:00Z\"".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        format!("[{good}]"),
    ] {
        let claims = written(&make.token.claims, claim, &value);
        make.refuse(format!("{claim}: {value}"), make.with_claims_text(&claims)?);
    }
    make.flag = "NotStrictJson";
    for value in
        [format!("0{good}"), format!("+{good}"), "0x7fffffff".into(), "NaN".into(), "Infinity".into()]
    {
        let claims = written(&make.token.claims, claim, &value);
        make.refuse(format!("{claim}: {value}"), make.with_claims_text(&claims)?);
    }
    Ok(())
}

/// A claim of a wrong type that counts as absent was CVE-2026-25537: `"exp":"…"` made a token eternal.
fn exp(make: &mut Maker) -> Outcome {
    times(make, "exp")?;
    make.flag = "ClaimMissing";
    make.refuse("no exp", make.with_claims(json!({"exp": null}))?);
    for value in ["-1", "0", "1", "-9223372036854775808"] {
        let claims = written(&make.token.claims, "exp", value);
        make.expire(format!("exp: {value}"), make.with_claims_text(&claims)?);
    }
    Ok(())
}

fn nbf(make: &mut Maker) -> Outcome {
    times(make, "nbf")?;
    for value in [PAST, 0, -1] {
        make.accept(format!("nbf: {value}"), make.with_claims(json!({"nbf": value}))?);
    }
    make.flag = "NotYetValid";
    make.refuse("nbf far off", make.with_claims(json!({"nbf": FAR}))?);
    Ok(())
}

fn iat_and_auth_time(make: &mut Maker) -> Outcome {
    for claim in ["iat", "auth_time"] {
        times(make, claim)?;
        make.flag = "ClaimMissing";
        make.refuse(format!("no {claim}"), make.with_claims(json!({claim: null}))?);
    }
    make.flag = "NotYetValid";
    make.refuse("iat far off", make.with_claims(json!({"iat": FAR}))?);
    Ok(())
}

fn huge(make: &mut Maker) -> Outcome {
    for claim in ["nbf", "iat"] {
        for (flag, huge) in [
            ("NotYetValid", "9223372036854775807"),
            ("ClaimType", "18446744073709551615"),
            ("ClaimType", "18446744073709551616"),
        ] {
            make.flag = flag;
            let claims = written(&make.token.claims, claim, huge);
            make.refuse(format!("{claim}: {huge}"), make.with_claims_text(&claims)?);
        }
    }
    Ok(())
}

fn texts(make: &mut Maker) -> Outcome {
    make.flag = "ClaimType";
    for claim in ["iss", "sub", "aud", "jti", "client_id", "sid", "preferred_username", "scope"] {
        for value in ["null", "1", "1.5", "true", "{}", "[1]", "[null]"] {
            let claims = written(&make.token.claims, claim, value);
            make.refuse(format!("{claim}: {value}"), make.with_claims_text(&claims)?);
        }
        if claim != "aud" {
            let alone = json!([make.token.claims.get(claim)]);
            make.refuse(format!("{claim} in an array"), make.with_claims(json!({claim: alone}))?);
        }
    }
    Ok(())
}

fn roles(make: &mut Maker) -> Outcome {
    make.flag = "ClaimType";
    for roles in [
        "null",
        "\"admin\"",
        "\"\"",
        "{\"0\":\"admin\"}",
        "[1]",
        "[\"editor\",null]",
        "[[\"editor\"]]",
        "true",
    ] {
        let claims = written(&make.token.claims, "roles", roles);
        make.refuse(format!("roles: {roles}"), make.with_claims_text(&claims)?);
    }
    for roles in [json!([]), json!(["editor", "admin"])] {
        make.accept(format!("roles: {roles}"), make.with_claims(json!({"roles": roles}))?);
    }
    Ok(())
}

fn required(make: &mut Maker) -> Outcome {
    make.flag = "ClaimMissing";
    for claim in REQUIRED {
        make.refuse(format!("no {claim}"), make.with_claims(json!({claim: null}))?);
    }
    make.refuse("no claims at all", make.with_claims_text("{}")?);
    make.accept("no scope", make.with_claims(json!({"scope": null}))?);
    Ok(())
}

fn identifiers(make: &mut Maker) -> Outcome {
    make.flag = "ClaimMissing";
    for claim in ["sub", "sid", "jti", "client_id"] {
        make.refuse(format!("an empty {claim}"), make.with_claims(json!({claim: ""}))?);
    }
    make.accept("an empty preferred_username", make.with_claims(json!({"preferred_username": ""}))?);
    Ok(())
}

fn unknown(make: &mut Maker) -> Outcome {
    for more in [
        json!({"tenant": {"id": 7, "tags": [null, 1.5, "x"]}}),
        json!({"Exp": "not ours"}),
        json!({"": null}),
        json!({"constructor": {}, "__proto__": {"roles": ["admin"]}}),
    ] {
        make.accept(format!("with {more}"), make.with_claims_text(&merged(&make.token.claims, &more))?);
    }
    let deep = |levels: usize| format!("\"x\":{}{}", "[".repeat(levels), "]".repeat(levels));
    let fits = before_others(&make.token.claims, &deep(15))?;
    make.accept("sixteen levels", make.with_claims_text(&fits)?);
    make.flag = "NotStrictJson";
    let too_deep = before_others(&make.token.claims, &deep(16))?;
    make.refuse("seventeen levels", make.with_claims_text(&too_deep)?);
    Ok(())
}

/// Both objects' members; those of the second may be `null`.
fn merged(object: &Value, more: &Value) -> String {
    let mut object = object.clone();
    if let (Some(own), Some(more)) = (object.as_object_mut(), more.as_object()) {
        own.extend(more.clone());
    }
    object.to_string()
}

fn iss(make: &mut Maker) -> Outcome {
    make.flag = "Issuer";
    for issuer in [
        "https://auth.test/",
        "https://auth.test:443",
        "http://auth.test",
        "https://AUTH.test",
        "https://auth.test.evil.example",
        "https://evil.example/https://auth.test",
        "https://auth.tes",
        "https://auth.test\u{0}",
        "https://\u{430}uth.test",
        "auth.test",
        " https://auth.test",
        "https://other.test",
        "",
    ] {
        make.refuse(format!("iss {issuer:?}"), make.with_claims(json!({"iss": issuer}))?);
    }
    Ok(())
}

fn aud(make: &mut Maker) -> Outcome {
    make.flag = "Audience";
    for audience in [
        json!("https://api.test/"),
        json!("https://api.tes"),
        json!("https://api.test.evil.example"),
        json!("https://API.test"),
        json!("http://api.test"),
        json!(ISSUER),
        json!("https://other.test https://api.test"),
        json!("*"),
        json!(""),
        json!([]),
        json!(["https://other.test"]),
        json!(["https://api.test/", "https://api.tes"]),
    ] {
        make.refuse(format!("aud {audience}"), make.with_claims(json!({"aud": audience}))?);
    }
    make.flag = "ClaimType";
    for audience in
        [json!([[AUDIENCE]]), json!([AUDIENCE, 1]), json!([null, AUDIENCE]), json!({"0": AUDIENCE})]
    {
        make.refuse(format!("aud {audience}"), make.with_claims(json!({"aud": audience}))?);
    }
    for audience in [json!([AUDIENCE]), json!(["https://other.test", AUDIENCE]), json!([AUDIENCE, AUDIENCE])]
    {
        make.accept(format!("aud {audience}"), make.with_claims(json!({"aud": audience}))?);
    }
    Ok(())
}

/// "Expired" says that all else was right. Said of a forged token, it would tell the forger how far he got.
fn expired(make: &mut Maker) -> Outcome {
    let stale = changed(&make.token.claims, json!({"exp": PAST + 900}));
    let header = make.token.header.clone();
    make.expire("expired alone", make.sign(&header, &stale)?);
    for (flag, claim, value) in [
        ("Issuer", "iss", json!("https://other.test")),
        ("Audience", "aud", json!("https://other.test")),
        ("NotYetValid", "nbf", json!(FAR)),
        ("NotYetValid", "iat", json!(FAR)),
        ("ClaimType", "nbf", json!("1")),
        ("ClaimMissing", "sub", json!("")),
        ("ClaimType", "sub", json!(1)),
        ("ClaimType", "scope", json!([])),
    ] {
        make.flag = flag;
        let claims = changed(&stale, json!({claim: value}));
        make.refuse(format!("expired, and {claim}: {value}"), make.sign(&header, &claims)?);
    }
    make.flag = "ClaimMissing";
    for claim in REQUIRED.into_iter().filter(|claim| *claim != "exp") {
        let claims = changed(&stale, json!({claim: null}));
        make.refuse(format!("expired, and no {claim}"), make.sign(&header, &claims)?);
    }
    make.flag = "TokenType";
    make.refuse("expired, typ JWT", make.sign(&changed(&header, json!({"typ": "JWT"})), &stale)?);
    make.flag = "KeyId";
    make.refuse("expired, another kid", make.sign(&changed(&header, json!({"kid": "other"})), &stale)?);
    make.flag = "Signature";
    let (header, claims) = (header.to_string(), stale.to_string());
    let unsigned = join(header.as_bytes(), claims.as_bytes(), &make.token.signature);
    make.refuse("expired, another token's signature", unsigned);
    let cut = Jws::parse(&make.sign(&make.token.header, &stale)?)?;
    make.refuse("expired, no signature", join(header.as_bytes(), cut.claims.to_string().as_bytes(), &[]));
    Ok(())
}
