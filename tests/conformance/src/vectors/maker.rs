//! What the functions of the groups are written in: one good token, and ways to change it.

use serde_json::{Value, json};

use super::{Signatures, Vector, Verdict};
use crate::{
    case::{Failure, harness},
    token::{Jws, KeyKind, Keys, b64, unb64},
};

/// Whose tokens these are.
pub(super) const ISSUER: &str = "https://auth.test";
/// For whom.
pub(super) const AUDIENCE: &str = "https://api.test";
/// When all were issued: 2023-11-14, which is past for every verifier.
pub(super) const PAST: i64 = 1_700_000_000;
/// When they expire: 2100-01-01, a time that no clock here reaches.
pub(super) const FAR: i64 = 4_102_444_800;

/// Makes the vectors of one group.
pub(super) struct Maker {
    pub(super) keys: Keys,
    /// The good token, taken apart.
    pub(super) token: Jws,
    /// What the vectors that follow are an example of.
    pub(super) flag: &'static str,
    pub(super) vectors: Vec<Vector>,
    before: Signatures,
}

impl Maker {
    /// Begins with the good token. `before` are the group's vectors as they were.
    pub(super) fn new(kind: KeyKind, before: &[Vector]) -> Result<Self, Failure> {
        let keys = Keys::known(kind)?;
        let mut signatures = Signatures::new();
        for vector in before {
            if let Some((input, signature)) = vector.token.rsplit_once('.') {
                signatures.entry(input.to_owned()).or_default().extend(unb64(signature));
            }
        }
        let header = json!({"alg": keys.access.alg(), "typ": "at+jwt", "kid": keys.access.thumbprint()});
        let claims = json!({
            "iss": ISSUER, "sub": "subject", "aud": AUDIENCE, "exp": FAR, "iat": PAST, "jti": "token",
            "client_id": "gatekey-tests", "sid": "session", "auth_time": PAST, "preferred_username": "alice",
            "roles": ["editor"], "scope": "read",
        });
        let empty = Jws { header, claims, signature: Vec::new(), segments: Default::default() };
        let mut maker =
            Self { keys, token: empty.clone(), flag: "Good", vectors: Vec::new(), before: signatures };
        let good = maker.sign(&empty.header, &empty.claims)?;
        maker.token = Jws::parse(&good)?;
        maker.accept("the good token", good);
        Ok(maker)
    }

    /// `kid` of the key.
    pub(super) fn kid(&self) -> String {
        self.keys.access.thumbprint()
    }

    /// Signs any header and claims with the key.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> Result<String, Failure> {
        self.sign_bytes(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// The same from text or bytes that may be no JSON.
    pub(super) fn sign_bytes(&self, header: &[u8], claims: &[u8]) -> Result<String, Failure> {
        self.sign_segments(&b64(header), &b64(claims))
    }

    /// The same from segments that may be no base64url.
    pub(super) fn sign_segments(&self, header: &str, claims: &str) -> Result<String, Failure> {
        let input = format!("{header}.{claims}");
        let signature = self.signature(&input)?;
        Ok(format!("{input}.{}", b64(&signature)))
    }

    /// The signature that the file has, while it verifies; else a new one.
    fn signature(&self, input: &str) -> Result<Vec<u8>, Failure> {
        let known = self.before.get(input).into_iter().flatten();
        match known.into_iter().find(|known| self.keys.access.verifies(input.as_bytes(), known)) {
            Some(known) => Ok(known.clone()),
            None => self.keys.access.sign(input.as_bytes()),
        }
    }

    /// The good token with members of its header set; `null` takes one away.
    pub(super) fn with_header(&self, members: Value) -> Result<String, Failure> {
        self.sign(&changed(&self.token.header, members), &self.token.claims)
    }

    /// The good token with claims set; `null` takes one away.
    pub(super) fn with_claims(&self, members: Value) -> Result<String, Failure> {
        self.sign(&self.token.header, &changed(&self.token.claims, members))
    }

    /// The good token with this text for claims.
    pub(super) fn with_claims_text(&self, claims: &str) -> Result<String, Failure> {
        self.sign_bytes(self.token.header.to_string().as_bytes(), claims.as_bytes())
    }

    /// A good token.
    pub(super) fn accept(&mut self, comment: impl Into<String>, token: String) {
        self.push(comment, "Good", Verdict::Accepted, token);
    }

    /// A token that is refused.
    pub(super) fn refuse(&mut self, comment: impl Into<String>, token: String) {
        self.push(comment, self.flag, Verdict::Refused, token);
    }

    /// A token that has expired and has no other fault.
    pub(super) fn expire(&mut self, comment: impl Into<String>, token: String) {
        self.push(comment, "Expired", Verdict::Expired, token);
    }

    fn push(&mut self, comment: impl Into<String>, flag: &'static str, result: Verdict, token: String) {
        self.vectors.push(Vector { comment: comment.into(), flag, result, token });
    }
}

/// An object with members set; `null` takes one away.
pub(super) fn changed(object: &Value, members: Value) -> Value {
    let mut object = object.clone();
    if let (Some(own), Value::Object(members)) = (object.as_object_mut(), members) {
        for (name, value) in members {
            if value.is_null() {
                own.remove(&name);
            } else {
                own.insert(name, value);
            }
        }
    }
    object
}

/// The object's text with one member replaced or added, name and value written exactly so.
pub(crate) fn written(object: &Value, name: &str, value: &str) -> String {
    let others: String = object
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(own, _)| *own != name)
        .map(|(name, value)| format!("{}:{value},", json!(name)))
        .collect();
    format!("{{{others}\"{name}\":{value}}}")
}

/// The object's text with this put in front of its first member.
pub(super) fn before_others(object: &Value, members: &str) -> Result<String, Failure> {
    let text = object.to_string();
    let rest = text.strip_prefix('{').ok_or_else(|| harness("an object"))?;
    Ok(format!("{{{members},{rest}"))
}

/// Texts that look like this object and are no strict JSON object in UTF-8.
pub(super) fn broken_objects(object: &Value) -> Vec<(&'static str, Vec<u8>)> {
    let object = object.to_string();
    let wide = |unit: fn(u16) -> [u8; 2]| object.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let inside = object.strip_prefix('{').unwrap_or(&object);
    vec![
        ("empty", Vec::new()),
        ("a JSON string", json!(object).to_string().into_bytes()),
        ("in an array", format!("[{object}]").into_bytes()),
        ("null", b"null".to_vec()),
        ("a number", b"1".to_vec()),
        ("cut off", object.strip_suffix('}').unwrap_or(&object).as_bytes().to_vec()),
        ("followed by more", format!("{object}{{}}").into_bytes()),
        ("followed by a NUL", format!("{object}\0").into_bytes()),
        ("written with a comma at the end", format!("{},}}", object.trim_end_matches('}')).into_bytes()),
        ("written with a comment", format!("{{/**/{inside}").into_bytes()),
        ("written with single quotes", object.replace('"', "'").into_bytes()),
        ("written with a raw control character", format!("{{\"x\":\"\u{1}\",{inside}").into_bytes()),
        ("written with a lone surrogate", format!("{{\"x\":\"\\ud800\",{inside}").into_bytes()),
        ("written with white space of Unicode", format!("{{\u{a0}{inside}").into_bytes()),
        ("written with a value without a name", format!("{{1,{inside}").into_bytes()),
        ("written with names without quotes", format!("{{x:1,{inside}").into_bytes()),
        ("after a byte order mark", [b"\xef\xbb\xbf", object.as_bytes()].concat()),
        ("not UTF-8", [b"{\"x\":\"\xff\",", inside.as_bytes()].concat()),
        ("overlong UTF-8", [b"{\"x\":\"\xc0\xa2\",", inside.as_bytes()].concat()),
        ("UTF-16, big end first", wide(u16::to_be_bytes)),
        ("UTF-16, little end first", wide(u16::to_le_bytes)),
        ("UTF-16 with its mark", [&b"\xff\xfe"[..], &wide(u16::to_le_bytes)].concat()),
        ("nested too deep", format!("{{\"x\":{}{},{inside}", "[".repeat(16), "]".repeat(16)).into_bytes()),
        ("nested a thousand deep", format!("{{\"x\":{},{inside}", "[".repeat(1000)).into_bytes()),
    ]
}
