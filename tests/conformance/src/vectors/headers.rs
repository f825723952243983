//! Headers: algorithms, keys, types, extensions.

use serde_json::{Value, json};

use super::{
    Group, group,
    maker::{AUDIENCE, FAR, ISSUER, Maker, PAST, before_others, broken_objects, changed, written},
};
use crate::{
    case::{Outcome, harness},
    token::{Jws, KeyKind, Keys, b64, join, secret_thumbprint, sign_hs256, unb64},
};

pub(super) const GROUPS: &[Group] = &[
    group("access/a-token-signed-by-hand-is-accepted", KeyKind::Ed25519, by_hand),
    group("access/alg-none-is-refused-in-every-spelling", KeyKind::Ed25519, alg_none),
    group("access/a-public-key-is-no-secret", KeyKind::Ed25519, public_key_is_no_secret),
    group("access/an-ec-public-key-is-no-secret", KeyKind::P256, public_key_is_no_secret),
    group("access/an-rsa-public-key-is-no-secret", KeyKind::Rsa, public_key_is_no_secret),
    group("access/guessable-secrets-are-refused", KeyKind::Ed25519, guessable_secrets),
    group("access/a-guessed-secret-is-not-the-key", KeyKind::Hs256, guessable_secrets),
    group("access/alg-is-the-keys-own-to-the-letter", KeyKind::Ed25519, alg_to_the_letter),
    group("keys/an-rsa-key-is-bound-to-ps256", KeyKind::Rsa, bound_to_ps256),
    group("access/keys-in-the-header-are-refused", KeyKind::Ed25519, keys_in_the_header),
    group("access/a-key-that-a-token-brings-is-not-used", KeyKind::Ed25519, brought_keys),
    group("access/unknown-header-members-are-ignored", KeyKind::Ed25519, unknown_members),
    group("access/a-header-member-twice-is-refused", KeyKind::Ed25519, member_twice),
    group("access/a-header-that-is-no-object-is-refused", KeyKind::Ed25519, no_object),
    group("access/kid-is-an-exact-look-up", KeyKind::Ed25519, kid),
    group("access/typ-is-at-jwt-to-the-letter", KeyKind::Ed25519, typ),
    group("access/the-long-typ-is-accepted", KeyKind::Ed25519, long_typ),
    group("access/a-refresh-token-is-no-access-token", KeyKind::Ed25519, kinds),
];

fn alg_none(make: &mut Maker) -> Outcome {
    make.flag = "AlgNone";
    let claims = make.token.claims.to_string();
    let good = make.token.signature.clone();
    for alg in ["none", "None", "NONE", "nOnE", "none ", "\u{a0}none", "no\u{301}ne", ""] {
        for (kid, header) in [
            ("our kid", changed(&make.token.header, json!({"alg": alg}))),
            ("no kid", json!({"alg": alg, "typ": "at+jwt"})),
            ("nothing else", json!({"alg": alg})),
        ] {
            let signed = Jws::parse(&make.sign(&header, &make.token.claims)?)?.signature;
            for (what, signature) in [("empty", &[][..]), ("right", &signed), ("another token's", &good)] {
                let forged = join(header.to_string().as_bytes(), claims.as_bytes(), signature);
                make.refuse(format!("alg {alg:?}, {kid}, signature: {what}"), forged);
            }
        }
    }
    // RFC 7515 appendix A.5, whole.
    let unsecured = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl\
                     LmNvbS9pc19yb290Ijp0cnVlfQ.";
    make.refuse("the example of RFC 7515 A.5", unsecured.to_owned());
    Ok(())
}

/// The classic confusion: everyone knows the public key, so it must never do as a secret.
fn public_key_is_no_secret(make: &mut Maker) -> Outcome {
    make.flag = "KeyConfusion";
    let key = &make.keys.access;
    let (pem, der, jwk) = (key.public_pem()?, key.public_der()?, key.jwk());
    let number = |name: &str| jwk.get(name).and_then(Value::as_str).map(str::to_owned);
    let encoded = number("x").or_else(|| number("n")).ok_or_else(|| harness("a key without a number"))?;
    let published = changed(&jwk, json!({"alg": key.alg(), "kid": make.kid(), "use": "sig"}));
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut secrets = vec![
        ("DER", der.clone()),
        ("DER in hexadecimal", der.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes()),
        ("PEM", pem.clone().into_bytes()),
        ("PEM without its last line end", pem.trim_end().as_bytes().to_vec()),
        ("PEM with CR LF", pem.replace('\n', "\r\n").into_bytes()),
        ("PEM in one line", pem.replace('\n', "").into_bytes()),
        ("PEM with its line ends escaped", pem.replace('\n', "\\n").into_bytes()),
        ("PEM with a NUL after it", format!("{pem}\0").into_bytes()),
        ("PEM without its frame", body.into_bytes()),
        ("the bytes of x or n", unb64(&encoded)?),
        ("the text of x or n", encoded.into_bytes()),
        ("JWK", jwk.to_string().into_bytes()),
        ("JWK as published", published.to_string().into_bytes()),
        ("JWK Set", json!({"keys": [published]}).to_string().into_bytes()),
        ("thumbprint", key.thumbprint().into_bytes()),
    ];
    if let Some(y) = number("y") {
        let point = [vec![4], unb64(&number("x").unwrap_or_default())?, unb64(&y)?].concat();
        secrets.push(("the bytes of its point", point));
    }
    for (what, secret) in secrets {
        for (with, header) in [
            ("our kid", changed(&make.token.header, json!({"alg": "HS256"}))),
            ("no kid", json!({"alg": "HS256", "typ": "at+jwt"})),
        ] {
            let claims = make.token.claims.to_string();
            let forged = sign_hs256(&secret, header.to_string().as_bytes(), claims.as_bytes());
            make.refuse(format!("the public key as {what}, {with}"), forged);
        }
    }
    Ok(())
}

fn guessable_secrets(make: &mut Maker) -> Outcome {
    make.flag = "WeakSecret";
    let header = changed(&make.token.header, json!({"alg": "HS256"})).to_string();
    let claims = make.token.claims.to_string();
    let kid = make.kid();
    for (what, secret) in [
        // To HMAC the same as zeros, up to 64 of them.
        ("empty", &b""[..]),
        ("secret", b"secret"),
        ("password", b"password"),
        ("changeme", b"changeme"),
        ("supersecret", b"supersecret"),
        ("your-256-bit-secret", b"your-256-bit-secret"),
        ("a-string-secret-at-least-256-bits-long", b"a-string-secret-at-least-256-bits-long"),
        ("the key of RFC 7515 A.1, as it is written", b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZ"),
        ("gatekey", b"gatekey"),
        ("null", b"null"),
        ("undefined", b"undefined"),
        ("[object Object]", b"[object Object]"),
        ("the kid", kid.as_bytes()),
        ("the issuer", ISSUER.as_bytes()),
    ] {
        make.refuse(format!("the secret: {what}"), sign_hs256(secret, header.as_bytes(), claims.as_bytes()));
    }
    Ok(())
}

fn alg_to_the_letter(make: &mut Maker) -> Outcome {
    make.flag = "AlgConfusion";
    make.refuse("no alg", make.with_header(json!({"alg": null}))?);
    for alg in [
        json!("eddsa"),
        json!("EDDSA"),
        json!("EdDSA "),
        json!("EdDSA\u{0}"),
        json!("Ed25519"),
        json!("Ed448"),
        json!("ES256"),
        json!("ES256K"),
        json!("RS256"),
        json!("PS256"),
        json!("HS256"),
        json!("HS512"),
        json!(null),
        json!(0),
        json!(["EdDSA"]),
        json!({"EdDSA": true}),
    ] {
        let header = written(&make.token.header, "alg", &alg.to_string());
        let claims = make.token.claims.to_string();
        make.refuse(format!("alg {alg}"), make.sign_bytes(header.as_bytes(), claims.as_bytes())?);
    }
    Ok(())
}

/// "One key, one algorithm" (RFC 8725 s3.1): RS256 is PKCS#1 v1.5, which an RSA key of ours does not sign.
fn bound_to_ps256(make: &mut Maker) -> Outcome {
    make.flag = "AlgConfusion";
    for (what, alg) in [("RS256 under RS256", "RS256"), ("RS256 under PS256", "PS256")] {
        let header = changed(&make.token.header, json!({"alg": alg})).to_string();
        let input = format!("{}.{}", b64(header.as_bytes()), make.token.segments[1]);
        let signature = make.keys.access.sign_rs256(input.as_bytes())?;
        make.refuse(what, format!("{input}.{}", b64(&signature)));
    }
    for alg in ["RS256", "RS384", "RS512", "PS384", "PS512", "HS256", "ES256", "none"] {
        make.refuse(format!("PS256 under {alg}"), make.with_header(json!({"alg": alg}))?);
    }
    Ok(())
}

fn keys_in_the_header(make: &mut Maker) -> Outcome {
    let own = make.keys.access.jwk();
    for (flag, member, value) in [
        ("KeyInHeader", "jwk", own),
        ("KeyInHeader", "jwk", json!({})),
        ("KeyInHeader", "jwk", Value::Null),
        ("KeyInHeader", "jku", json!("https://auth.test/auth/jwks.json")),
        ("KeyInHeader", "jku", json!("")),
        ("KeyInHeader", "x5u", json!("https://auth.test/chain.pem")),
        ("KeyInHeader", "x5c", json!([])),
        ("KeyInHeader", "x5c", json!(["MIIB"])),
        ("Extension", "crit", json!([])),
        ("Extension", "crit", json!(["exp"])),
        ("Extension", "crit", json!(["b64"])),
        ("Extension", "crit", Value::Null),
        ("Extension", "b64", json!(true)),
        ("Extension", "b64", json!(false)),
        ("Extension", "zip", json!("DEF")),
        ("Extension", "zip", json!("")),
    ] {
        make.flag = flag;
        let header = written(&make.token.header, member, &value.to_string());
        let claims = make.token.claims.to_string();
        make.refuse(format!("{member}: {value}"), make.sign_bytes(header.as_bytes(), claims.as_bytes())?);
    }
    let claims = make.token.claims.to_string();
    for name in ["\\u006awk", "cri\\u0074"] {
        let header = written(&make.token.header, name, "{}");
        make.refuse(format!("an escaped {name}"), make.sign_bytes(header.as_bytes(), claims.as_bytes())?);
    }
    // RFC 7797 section 4.2: with b64 false the payload is signed as it is.
    make.flag = "Extension";
    let header = changed(&make.token.header, json!({"b64": false, "crit": ["b64"]})).to_string();
    let input = format!("{}.unencoded", b64(header.as_bytes()));
    let signature = make.keys.access.sign(input.as_bytes())?;
    make.refuse("a payload that is not encoded", format!("{input}.{}", b64(&signature)));
    Ok(())
}

fn brought_keys(make: &mut Maker) -> Outcome {
    make.flag = "ForeignKey";
    // Whatever other key pair there is: a stranger's Ed25519 key, from a seed that everyone knows (RFC 8032 7.1, test 1).
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let stranger = Keys::of_ed25519_seed(seed)?;
    let (kid, theirs) = (make.kid(), stranger.access.thumbprint());
    let jwk = changed(&stranger.access.jwk(), json!({"kid": kid, "use": "sig", "alg": "EdDSA"}));
    let header = make.token.header.clone();
    for (what, header) in [
        ("under our kid", header.clone()),
        ("under its own kid", changed(&header, json!({"kid": theirs}))),
        ("with the key in jwk, our kid", changed(&header, json!({"jwk": jwk}))),
        ("with the key in jwk, its own kid", changed(&header, json!({"jwk": jwk, "kid": theirs}))),
        ("with the key in jwk and no kid", json!({"alg": "EdDSA", "typ": "at+jwt", "jwk": jwk})),
    ] {
        let claims = make.token.claims.to_string();
        let forged = stranger.sign_access(header.to_string().as_bytes(), claims.as_bytes())?;
        make.refuse(format!("a stranger's key {what}"), forged);
    }
    Ok(())
}

/// RFC 7515 s4: a member that is not understood is ignored, or no issuer could ever add one.
fn unknown_members(make: &mut Maker) -> Outcome {
    for more in [json!({"cty": "JWT"}), json!({"x5t": "AAAA"}), json!({"note": {"deep": [1, null]}})] {
        make.accept(format!("with {more}"), make.with_header(more)?);
    }
    make.flag = "Extension";
    make.refuse(
        "with the one that asks to be understood",
        make.with_header(json!({"crit": ["cty"], "cty": "JWT"}))?,
    );
    Ok(())
}

/// A token is judged by what it says and by its signature, not by how its JSON is written.
fn by_hand(make: &mut Maker) -> Outcome {
    let header = make.token.header.to_string();
    let claims = make.token.claims.to_string();
    let (alg, kid) = (make.keys.access.alg(), make.kid());
    for (what, header) in [
        ("members in another order", format!(r#"{{"typ":"at+jwt","kid":"{kid}","alg":"{alg}"}}"#)),
        (
            "white space in the header",
            format!(" {{ \"kid\" : \"{kid}\",\n\t\"typ\": \"at+jwt\", \"alg\":\"{alg}\" }}\r\n"),
        ),
        (
            "escapes in names and values",
            format!("{{\"\\u0061lg\":\"{alg}\",\"typ\":\"at\\u002bjwt\",\"kid\":\"{kid}\"}}"),
        ),
    ] {
        make.accept(what, make.sign_bytes(header.as_bytes(), claims.as_bytes())?);
    }
    let spaced = format!("\n{claims}\n");
    make.accept("white space in the claims", make.sign_bytes(header.as_bytes(), spaced.as_bytes())?);
    Ok(())
}

/// RFC 7515 s4.1.9: a type without a slash is short for `application/` and itself.
fn long_typ(make: &mut Maker) -> Outcome {
    make.accept("in full", make.with_header(json!({"typ": "application/at+jwt"}))?);
    Ok(())
}

fn member_twice(make: &mut Maker) -> Outcome {
    make.flag = "Duplicate";
    let (alg, kid) = (make.keys.access.alg(), make.kid());
    for more in [
        format!("\"alg\":\"{alg}\""),
        "\"alg\":\"none\"".to_owned(),
        "\"\\u0061lg\":\"none\"".to_owned(),
        "\"typ\":\"at+jwt\"".to_owned(),
        "\"t\\u0079p\":\"JWT\"".to_owned(),
        format!("\"kid\":\"{kid}\""),
        "\"ki\\u0064\":\"other\"".to_owned(),
        "\"x\":1,\"x\":1".to_owned(),
        "\"x\":{\"y\":1,\"y\":2}".to_owned(),
    ] {
        let header = before_others(&make.token.header, &more)?;
        let claims = make.token.claims.to_string();
        make.refuse(
            format!("{more} before the others"),
            make.sign_bytes(header.as_bytes(), claims.as_bytes())?,
        );
    }
    Ok(())
}

fn no_object(make: &mut Maker) -> Outcome {
    make.flag = "NotStrictJson";
    let claims = make.token.claims.to_string();
    for (what, bytes) in broken_objects(&make.token.header) {
        make.refuse(format!("a header that is {what}"), make.sign_bytes(&bytes, claims.as_bytes())?);
    }
    Ok(())
}

fn kid(make: &mut Maker) -> Outcome {
    make.flag = "KeyId";
    let kid = make.kid();
    make.refuse("no kid", make.with_header(json!({"kid": null}))?);
    let swapped: String = kid
        .chars()
        .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    let shorter = kid.get(..kid.len() - 1).unwrap_or_default();
    for (what, wrong) in [
        ("empty", json!("")),
        ("with a space after it", json!(format!("{kid} "))),
        ("with a space before it", json!(format!(" {kid}"))),
        ("with a NUL after it", json!(format!("{kid}\u{0}"))),
        ("with padding", json!(format!("{kid}="))),
        ("one character short", json!(shorter)),
        ("in the other case", json!(swapped)),
        ("another", json!("no-such-key")),
        ("a path", json!("../../../../dev/null")),
        ("an absolute path", json!("/dev/null")),
        ("SQL", json!("' OR '1'='1")),
        ("SQL that brings a key", json!("x' UNION SELECT 'AA")),
        ("a command", json!("| /usr/bin/id")),
        ("a number in a string", json!("0")),
        ("long", json!("x".repeat(2000))),
        ("a number", json!(0)),
        ("in an array", json!([kid])),
        ("in an object", json!({"kid": kid})),
    ] {
        make.refuse(format!("a kid that is {what}"), make.with_header(json!({"kid": wrong}))?);
    }
    let header = written(&make.token.header, "kid", "null");
    let claims = make.token.claims.to_string();
    make.refuse("a kid that is null", make.sign_bytes(header.as_bytes(), claims.as_bytes())?);
    Ok(())
}

fn typ(make: &mut Maker) -> Outcome {
    make.flag = "TokenType";
    make.refuse("no typ", make.with_header(json!({"typ": null}))?);
    for typ in [
        json!("JWT"),
        json!("jwt"),
        json!("rt+jwt"),
        json!("dpop+jwt"),
        json!("secevent+jwt"),
        json!("application/jwt"),
        json!("AT+JWT"),
        json!("at+JWT"),
        json!("Application/at+jwt"),
        json!("application/application/at+jwt"),
        json!("text/at+jwt"),
        json!("at+jwt "),
        json!(" at+jwt"),
        json!("at+jwtx"),
        json!("at+jwt;charset=utf-8"),
        json!(""),
        json!(1),
        json!(["at+jwt"]),
    ] {
        make.refuse(format!("typ {typ}"), make.with_header(json!({"typ": typ}))?);
    }
    let header = written(&make.token.header, "typ", "null");
    let claims = make.token.claims.to_string();
    make.refuse("typ null", make.sign_bytes(header.as_bytes(), claims.as_bytes())?);
    Ok(())
}

/// Access tokens, refresh tokens and what mixes the two.
fn kinds(make: &mut Maker) -> Outcome {
    make.flag = "TokenType";
    let refresh = Keys::known(KeyKind::Hs256)?.refresh;
    let refresh_kid = secret_thumbprint(&refresh);
    let refresh_header = json!({"alg": "HS256", "typ": "rt+jwt", "kid": refresh_kid});
    let refresh_claims = json!({
        "iss": ISSUER, "sid": "session", "gen": 0, "jti": b64(&[7; 32]),
        "iat": PAST, "exp": FAR,
    });
    let by_refresh_secret = |header: &Value, claims: &Value| {
        sign_hs256(&refresh, header.to_string().as_bytes(), claims.to_string().as_bytes())
    };
    let access = make.token.clone();
    make.refuse("a refresh token", by_refresh_secret(&refresh_header, &refresh_claims));
    make.refuse(
        "claims and type of a refresh token, signed with the access key",
        make.sign(&changed(&access.header, json!({"typ": "rt+jwt"})), &refresh_claims)?,
    );
    make.refuse(
        "claims of an access token and type of a refresh token, signed with the access key",
        make.with_header(json!({"typ": "rt+jwt"}))?,
    );
    make.refuse(
        "claims and type of an access token, signed with the refresh secret",
        by_refresh_secret(&changed(&refresh_header, json!({"typ": "at+jwt"})), &access.claims),
    );
    make.refuse(
        "an access token with the access key's kid, signed with the refresh secret",
        by_refresh_secret(&changed(&access.header, json!({"alg": "HS256"})), &access.claims),
    );
    make.flag = "ClaimMissing";
    make.refuse("claims of a refresh token in an access token", make.sign(&access.header, &refresh_claims)?);
    make.refuse(
        "an ID token (OpenID Connect)",
        make.sign(
            &access.header,
            &json!({
                "iss": ISSUER, "aud": AUDIENCE, "sub": "subject",
                "exp": FAR, "iat": PAST, "nonce": "n", "auth_time": PAST,
            }),
        )?,
    );
    Ok(())
}
