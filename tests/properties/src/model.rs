//! The contract's rules of tokens, by the book and slowly, without any code of the crates under test.

use std::sync::LazyLock;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::IgnoredAny;

use crate::site::{NOW, known};

/// A JSON value as RFC 8259 has it: members may stand twice, numbers keep their text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads one value and nothing else. What is nested more than a hundred deep is not read.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text: Vec<char> = std::str::from_utf8(text).ok()?.chars().collect();
        let (value, rest) = value(spaces(&text), 100)?;
        spaces(rest).is_empty().then_some(value)
    }

    /// How many containers are nested in each other.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Array(elements) => 1 + elements.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => 1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => 0,
        }
    }

    /// Whether a name stands twice in one object, at any depth.
    pub(crate) fn repeats(&self) -> bool {
        match self {
            Self::Array(elements) => elements.iter().any(Self::repeats),
            Self::Object(members) => members.iter().enumerate().any(|(i, (name, value))| {
                value.repeats() || members[..i].iter().any(|(other, _)| other == name)
            }),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
        }
    }

    /// Reads a strict object: nested 16 deep at most, no name twice.
    fn strict_object(text: &[u8]) -> Option<Self> {
        let value = Self::parse(text)?;
        let strict = matches!(value, Self::Object(_)) && value.depth() <= 16 && !value.repeats();
        strict.then_some(value)
    }

    fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// An integer of 64 bits, written without fraction or exponent.
    fn integer(&self) -> Option<i64> {
        if let Self::Number(number) = self { number.parse().ok() } else { None }
    }

    fn texts(&self) -> Option<Vec<&str>> {
        if let Self::Array(elements) = self { elements.iter().map(Self::text).collect() } else { None }
    }
}

fn spaces(mut text: &[char]) -> &[char] {
    while let [' ' | '\t' | '\n' | '\r', rest @ ..] = text {
        text = rest;
    }
    text
}

fn value(text: &[char], deeper: usize) -> Option<(Json, &[char])> {
    let within = deeper.checked_sub(1);
    for (word, value) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))] {
        if let Some(rest) = after(text, word) {
            return Some((value, rest));
        }
    }
    match text {
        ['"', ..] => string(text).map(|(text, rest)| (Json::Text(text), rest)),
        ['[', rest @ ..] => {
            let (elements, rest) = list(rest, ']', |text| value(text, within?))?;
            Some((Json::Array(elements), rest))
        }
        ['{', rest @ ..] => {
            let (members, rest) = list(rest, '}', |text| {
                let (name, rest) = string(text)?;
                let [':', rest @ ..] = spaces(rest) else { return None };
                let (value, rest) = value(spaces(rest), within?)?;
                Some(((name, value), rest))
            })?;
            Some((Json::Object(members), rest))
        }
        _ => number(text),
    }
}

fn after<'a>(text: &'a [char], word: &str) -> Option<&'a [char]> {
    let word: Vec<char> = word.chars().collect();
    text.strip_prefix(word.as_slice())
}

/// What stands between commas up to the closing character.
fn list<T>(
    text: &[char],
    close: char,
    one: impl Fn(&[char]) -> Option<(T, &[char])>,
) -> Option<(Vec<T>, &[char])> {
    let mut found = Vec::new();
    let mut text = spaces(text);
    if text.first() == Some(&close) {
        return Some((found, &text[1..]));
    }
    loop {
        let (value, rest) = one(text)?;
        found.push(value);
        match spaces(rest) {
            [',', rest @ ..] => text = spaces(rest),
            [end, rest @ ..] if *end == close => return Some((found, rest)),
            _ => return None,
        }
    }
}

fn string(text: &[char]) -> Option<(String, &[char])> {
    let mut rest = after(text, "\"")?;
    let mut found = String::new();
    let unit = |text: &[char]| -> Option<u32> {
        let digits: String = text.get(..4)?.iter().collect();
        digits.chars().all(|c| c.is_ascii_hexdigit()).then(|| u32::from_str_radix(&digits, 16).ok())?
    };
    loop {
        match rest {
            ['"', rest @ ..] => return Some((found, rest)),
            ['\\', 'u', more @ ..] => {
                let (mut code, mut more) = (unit(more)?, &more[4..]);
                if (0xd800..0xdc00).contains(&code) {
                    let low = unit(after(more, "\\u")?)?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return None;
                    }
                    (code, more) = (0x1_0000 + (code - 0xd800) * 0x400 + (low - 0xdc00), &more[6..]);
                }
                found.push(char::from_u32(code)?);
                rest = more;
            }
            ['\\', escape, more @ ..] => {
                let known =
                    ['"', '\\', '/', 'b', 'f', 'n', 'r', 't'].iter().position(|known| known == escape)?;
                found.push(['"', '\\', '/', '\u{8}', '\u{c}', '\n', '\r', '\t'][known]);
                rest = more;
            }
            [plain, more @ ..] if *plain >= ' ' && *plain != '\\' => {
                found.push(*plain);
                rest = more;
            }
            _ => return None,
        }
    }
}

fn number(text: &[char]) -> Option<(Json, &[char])> {
    let digits = |text: &[char]| text.iter().take_while(|c| c.is_ascii_digit()).count();
    let mut at = usize::from(text.first() == Some(&'-'));
    let whole = digits(&text[at..]);
    if whole == 0 || (whole > 1 && text[at] == '0') {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&'.') {
        let fraction = digits(&text[at + 1..]);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(text.get(at), Some('e' | 'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some('+' | '-')));
        let exponent = digits(text.get(at..)?);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    Some((Json::Number(text[..at].iter().collect()), &text[at..]))
}

/// RFC 4648 section 5 without padding, unused bits zero.
pub(crate) fn base64url(text: &str) -> Option<Vec<u8>> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = Vec::new();
    for byte in text.bytes() {
        let value = alphabet.iter().position(|known| *known == byte)?;
        bits.extend((0..6).rev().map(|bit| value >> bit & 1 == 1));
    }
    let unused = bits.split_off(bits.len() / 8 * 8);
    let canonical = unused.len() < 6 && unused.iter().all(|bit| !bit);
    canonical.then(|| {
        bits.chunks(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit))).collect()
    })
}

/// What a token is verified with.
pub(crate) struct Key {
    pub(crate) alg: &'static str,
    kid: &'static str,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// The access keys.
pub(crate) static ACCESS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let of = |alg: &'static str, algorithm, members: &[&str]| {
        let member = |name: &&str| known(&format!("/access_keys/{alg}/jwk/{name}"));
        let decoding = match members.iter().map(member).collect::<Vec<_>>()[..] {
            [x] if alg == "EdDSA" => DecodingKey::from_ed_components(x),
            [k] => Ok(DecodingKey::from_secret(&base64url(k).unwrap())),
            [x, y] if alg == "ES256" => DecodingKey::from_ec_components(x, y),
            [n, e] => DecodingKey::from_rsa_components(n, e),
            _ => unreachable!("a key has one or two numbers"),
        };
        Key { alg, kid: known(&format!("/access_keys/{alg}/kid")), algorithm, decoding: decoding.unwrap() }
    };
    vec![
        of("EdDSA", Algorithm::EdDSA, &["x"]),
        of("ES256", Algorithm::ES256, &["x", "y"]),
        of("PS256", Algorithm::PS256, &["n", "e"]),
        of("HS256", Algorithm::HS256, &["k"]),
    ]
});

/// The refresh key.
pub(crate) static REFRESH: LazyLock<Key> = LazyLock::new(|| {
    let secret = base64_simd::STANDARD.decode_to_vec(known("/refresh_secret")).unwrap();
    Key {
        alg: "HS256",
        kid: known("/refresh_kid"),
        algorithm: Algorithm::HS256,
        decoding: DecodingKey::from_secret(&secret),
    }
});

/// What `jsonwebtoken::decode` says. It asks a clock of its own, so times are not its to judge here.
fn oracle(key: &Key, token: &str, audience: bool) -> bool {
    let mut validation = Validation::new(key.algorithm);
    validation.set_issuer(&[known("/issuer")]);
    validation.validate_exp = false;
    if audience {
        validation.set_audience(&[known("/audience")]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    } else {
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "iss"]);
    }
    jsonwebtoken::decode::<IgnoredAny>(token, &key.decoding, &validation).is_ok()
}

/// Whether the crate reads the whole header. Some members that we ignore, as RFC 7515 section 4 asks of what is not
/// understood, it reads and wants to be strings; and no number may be beyond its floats.
fn oracle_reads(header: &Json) -> bool {
    fn numbers_fit(value: &Json) -> bool {
        match value {
            Json::Number(number) => number.parse::<f64>().is_ok_and(f64::is_finite),
            Json::Array(elements) => elements.iter().all(numbers_fit),
            Json::Object(members) => members.iter().all(|(_, value)| numbers_fit(value)),
            Json::Null | Json::Bool(_) | Json::Text(_) => true,
        }
    }
    ["cty", "x5t", "x5t#S256", "url", "nonce"]
        .iter()
        .all(|name| matches!(header.member(name), None | Some(Json::Null | Json::Text(_))))
        && header.member("enc").is_none()
        && numbers_fit(header)
}

/// The header and claims of a token that has the right form, and the header of this algorithm, key and type.
fn taken_apart(key: &Key, alg: &str, token: &str, typ: &str) -> Option<(Json, Json)> {
    if token.len() > 8192 {
        return None;
    }
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { return None };
    let header = Json::strict_object(&base64url(header)?)?;
    let claims = Json::strict_object(&base64url(claims)?)?;
    base64url(signature)?;
    let is = |name: &str, expected: &str| header.member(name).and_then(Json::text) == Some(expected);
    let own =
        is("alg", alg) && is("kid", key.kid) && (is("typ", typ) || is("typ", &format!("application/{typ}")));
    let refused = ["crit", "b64", "jwk", "jku", "x5c", "x5u", "zip"];
    (own && refused.iter().all(|name| header.member(name).is_none())).then_some((header, claims))
}

/// Whether the key's own signature is over these bytes, whatever they say.
fn signed(key: &Key, token: &str) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap_or_default();
    jsonwebtoken::crypto::verify(signature, input.as_bytes(), &key.decoding, key.algorithm).unwrap_or(false)
}

/// Whether an access token is good: the contract, section 3.
pub(crate) fn accepts_access(key: &Key, token: &str) -> bool {
    let Some((header, claims)) = taken_apart(key, key.alg, token, "at+jwt") else { return false };
    let good = signed(key, token) && access_claims_are_good(&claims).is_some();
    // Where it reads the token at all, it has to agree.
    assert!(!good || !oracle_reads(&header) || oracle(key, token, true), "jsonwebtoken refuses {token}");
    good
}

/// Whether a service that only verifies takes it: also where another issuer calls Ed25519 by its name of RFC 9864, which
/// `jsonwebtoken` does not know.
pub(crate) fn accepts_access_of_others(key: &Key, token: &str) -> bool {
    let by_curve = || {
        let (_, claims) = taken_apart(key, "Ed25519", token, "at+jwt")?;
        (key.alg == "EdDSA" && signed(key, token)).then(|| access_claims_are_good(&claims))?
    };
    accepts_access(key, token) || by_curve().is_some()
}

/// `Some` if they are.
fn access_claims_are_good(claims: &Json) -> Option<()> {
    let text = |name: &str| claims.member(name)?.text();
    let integer = |name: &str| claims.member(name)?.integer().map(i128::from);
    let now = i128::from(NOW);
    let leeway = 30;
    for name in ["sub", "sid", "jti", "client_id"] {
        text(name).filter(|text| !text.is_empty())?;
    }
    text("preferred_username")?;
    claims.member("roles")?.texts()?;
    if let Some(scope) = claims.member("scope") {
        scope.text()?;
    }
    let audience = claims.member("aud")?;
    let audiences = audience.texts().or_else(|| Some(vec![audience.text()?]))?;
    let times = now < integer("exp")? + leeway
        && integer("iat")? <= now + leeway
        && claims
            .member("nbf")
            .is_none_or(|nbf| nbf.integer().is_some_and(|nbf| i128::from(nbf) <= now + leeway));
    integer("auth_time")?;
    (text("iss")? == known("/issuer") && audiences.contains(&known("/audience")) && times).then_some(())
}

/// Whether a refresh token is one of ours and has not expired: the contract, 4.1 and 4.2.
pub(crate) fn accepts_refresh(token: &str) -> bool {
    let key = &*REFRESH;
    let Some((header, claims)) = taken_apart(key, key.alg, token, "rt+jwt") else { return false };
    let good = signed(key, token) && refresh_claims_are_good(&claims).is_some();
    assert!(!good || !oracle_reads(&header) || oracle(key, token, false), "jsonwebtoken refuses {token}");
    good
}

fn refresh_claims_are_good(claims: &Json) -> Option<()> {
    let text = |name: &str| claims.member(name)?.text();
    let integer = |name: &str| claims.member(name)?.integer();
    let session = text("sid")?;
    integer("iat")?;
    let good = text("iss")? == known("/issuer")
        && (1..=64).contains(&session.len())
        && !text("jti")?.is_empty()
        && integer("gen")? >= 0
        && NOW < integer("exp")?;
    good.then_some(())
}
