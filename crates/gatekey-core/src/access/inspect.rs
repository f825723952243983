//! Why an access token would be refused: the rules of the contract one by one, for an operator who looks for a fault in a
//! set-up. A client is never told.
//!
//! 1. The rules are those by which tokens are verified, in their order, by the same code; the first that fails is the
//!    reason that the event `token_refused` has (guarded by
//!    `every_vector_is_judged_as_its_file_says_and_for_its_reason`).
//! 2. What nobody signed is not read: after a rule about form, header, key or signature has failed, nothing is said of the
//!    claims.
//! 3. The findings tell what the token says of itself, and nothing that would let anybody use it.

use std::{fmt, time::Duration};

use super::{Claims, Needs};
use crate::{
    error::TokenError,
    jws::{self, Header, Parts},
    keys::VerifyingKey,
    session::{SessionId, SubjectId},
    time::Timestamp,
};

/// What is expected of a token. A rule about what is not given is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// Whose it is to be.
    pub issuer: Option<String>,
    /// For whom it is to be.
    pub audience: Option<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
}

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It holds; what was found.
    Passed(String),
    /// It does not; the reason, and what was found.
    Failed(TokenError, String),
    /// It was not looked at; why.
    Skipped(&'static str),
}

/// One rule, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its number in the contract.
    pub rule: &'static str,
    /// What it is about, in a word or two.
    pub about: &'static str,
    /// What became of it.
    pub finding: Finding,
}

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Each rule, in the order of the contract.
    pub checks: Vec<Check>,
    /// The `sub` and `sid` of a token whose signature is good.
    pub signed: Option<(SubjectId, SessionId)>,
}

impl Inspection {
    /// Why the token would be refused, as far as was looked.
    #[must_use]
    pub fn refused(&self) -> Option<TokenError> {
        self.checks.iter().find_map(|check| match check.finding {
            Finding::Failed(reason, _) => Some(reason),
            Finding::Passed(_) | Finding::Skipped(_) => None,
        })
    }
}

/// The rules, in order: number and what each is about.
const RULES: [(&str, &str); 13] = [
    ("3.8", "length"),
    ("3.9", "form"),
    ("3.10", "header"),
    ("3.11", "key"),
    ("3.6", "algorithm"),
    ("3.12", "type"),
    ("3.14", "signature"),
    ("3.15", "claims"),
    ("3.19", "issuer"),
    ("3.20", "audience"),
    ("3.22", "not before"),
    ("3.17", "needed claims"),
    ("3.21", "expiry"),
];

/// Looks at a token by each rule, with these keys, as of `now`. Whether the session was ended is for its store to say.
///
/// ```
/// use gatekey_core::{access::{Expectation, inspect}, error::TokenError, time::Timestamp};
///
/// let found = inspect("not.a.token", &[], &Expectation::default(), Timestamp::from_secs(1_800_000_000));
/// assert_eq!(found.refused(), Some(TokenError::Malformed));
/// ```
#[must_use]
pub fn inspect(token: &str, keys: &[VerifyingKey], expected: &Expectation, now: Timestamp) -> Inspection {
    let mut sheet = Sheet { found: Vec::new() };
    let signed = match sheet.envelope(token, keys) {
        Ok(payload) => sheet.claims(payload, expected, now),
        Err(()) => None,
    };
    Inspection { checks: sheet.end(), signed }
}

/// The findings so far; those that are missing were not come to.
struct Sheet {
    found: Vec<Finding>,
}

impl Sheet {
    fn pass(&mut self, detail: impl fmt::Display) {
        self.found.push(Finding::Passed(detail.to_string()));
    }

    fn fail(&mut self, reason: TokenError, detail: impl fmt::Display) {
        self.found.push(Finding::Failed(reason, detail.to_string()));
    }

    /// Where a later step finds a fault of an earlier rule, it is that rule which failed.
    fn fail_at(&mut self, about: &str, reason: TokenError, detail: impl fmt::Display) {
        let at = RULES.iter().position(|(_, name)| *name == about).unwrap_or(self.found.len());
        self.found.truncate(at);
        self.fail(reason, detail);
    }

    fn end(self) -> Vec<Check> {
        let failed = self.found.iter().any(|finding| matches!(finding, Finding::Failed(..)));
        let rest = if failed { "a rule before it failed" } else { "nothing was found" };
        let found = self.found.into_iter().chain(std::iter::repeat(Finding::Skipped(rest)));
        RULES.iter().zip(found).map(|(&(rule, about), finding)| Check { rule, about, finding }).collect()
    }

    /// Everything but the claims; the payload, once it is known to be signed.
    fn envelope(&mut self, token: &str, keys: &[VerifyingKey]) -> Result<Vec<u8>, ()> {
        let malformed = "not three parts of base64url without padding";
        let length = format!("{} bytes", token.len());
        let parts = match Parts::split(token) {
            Ok(parts) => parts,
            Err(reason @ TokenError::TooLong) => {
                self.fail(reason, format!("{length}, more than {}", jws::MAX_LENGTH));
                return Err(());
            }
            Err(reason) => {
                self.pass(length);
                self.fail(reason, malformed);
                return Err(());
            }
        };
        self.pass(length);
        self.pass("three parts");
        let header = match Header::parse(parts.header) {
            Ok(header) => header,
            Err(reason @ TokenError::Malformed) => {
                self.fail_at("form", reason, malformed);
                return Err(());
            }
            Err(reason) => {
                let detail =
                    "not an object with alg, typ and kid, or one with a member that must not be there";
                self.fail(reason, detail);
                return Err(());
            }
        };
        self.pass("alg, typ, kid");
        let Some(key) = keys.iter().find(|key| key.kid() == header.kid) else {
            let known: Vec<_> = keys.iter().map(VerifyingKey::kid).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            self.fail(TokenError::UnknownKey, format!("kid {:?}; known are {known}", header.kid));
            return Err(());
        };
        self.pass(format!("kid {}", key.kid()));
        if header.alg != key.algorithm().name() {
            let detail = format!("{:?}, while the key is for {}", header.alg, key.algorithm().name());
            self.fail(TokenError::WrongAlgorithm, detail);
            return Err(());
        }
        self.pass(&header.alg);
        if !header.is_of_type(jws::ACCESS_TYPE) {
            let what = if header.is_of_type(jws::REFRESH_TYPE) { ": a refresh token" } else { "" };
            self.fail(TokenError::WrongType, format!("{:?}{what}", header.typ));
            return Err(());
        }
        self.pass(&header.typ);
        match parts.verify(key) {
            Ok(payload) => {
                self.pass("it is this key's");
                Ok(payload)
            }
            Err(reason @ TokenError::Malformed) => {
                self.fail_at("form", reason, malformed);
                Err(())
            }
            Err(reason) => {
                self.fail(reason, "it is not this key's over these bytes");
                Err(())
            }
        }
    }

    fn claims(
        &mut self,
        payload: Vec<u8>,
        expected: &Expectation,
        now: Timestamp,
    ) -> Option<(SubjectId, SessionId)> {
        let text = String::from_utf8(payload).ok();
        let read = text.and_then(|mut text| Some((Claims::parse(&mut text).ok()?, text)));
        let Some((claims, text)) = read else {
            self.fail(TokenError::Claims, "not a strict JSON object, or a claim of another type");
            return None;
        };
        let missing: Vec<_> = [
            ("iss", claims.issuer.is_none()),
            ("sub", claims.subject.is_none()),
            ("exp", claims.expires_at.is_none()),
            ("iat", claims.issued_at.is_none()),
            ("jti", claims.token_id.is_none()),
            ("client_id", claims.client_id.is_none()),
            ("sid", claims.session.is_none()),
            ("auth_time", claims.auth_time.is_none()),
            ("preferred_username", claims.username.is_none()),
            ("roles", claims.roles.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, missing)| missing.then_some(name))
        .collect();
        let issuer = claims.issuer.map(|issuer| issuer.read(&text));
        let said = claims.said(Needs::Ours);
        self.pass("an object, every claim of its type");
        match (&expected.issuer, issuer) {
            (None, _) => self.found.push(Finding::Skipped("no issuer is given")),
            (Some(wanted), Some(found)) if *wanted == found => self.pass(format!("{found:?}")),
            (Some(wanted), Some(found)) => {
                self.fail(TokenError::WrongIssuer, format!("{found:?}, expected {wanted:?}"));
            }
            (Some(_), None) => self.fail(TokenError::Claims, "missing"),
        }
        match &expected.audience {
            None => self.found.push(Finding::Skipped("no audience is given")),
            Some(wanted) if claims.names(wanted, &text) => self.pass(format!("{wanted:?}")),
            Some(wanted) => {
                let one = claims.audience.map(|one| one.read(&text).to_owned());
                let found: Vec<_> = one.into_iter().chain(claims.all_audiences(&text)).collect();
                self.fail(TokenError::WrongAudience, format!("{found:?}, expected {wanted:?}"));
            }
        }
        let leeway = expected.leeway;
        let early = [("nbf", claims.not_before), ("iat", claims.issued_at)]
            .into_iter()
            .filter_map(|(name, at)| Some((name, Timestamp::from_secs(at?))))
            .find(|(_, at)| *at > now + leeway);
        match early {
            Some((name, at)) => {
                let by = at.since(now).as_secs();
                self.fail(TokenError::NotYetValid, format!("{name} is {at}, {by} s from now ({now})"));
            }
            None => self.pass(format!("not after {now}")),
        }
        match said {
            Ok(_) if issuer.is_some() => self.pass("all there"),
            _ if missing.is_empty() => self.fail(TokenError::Claims, "sub, sid, jti or client_id is empty"),
            _ => self.fail(TokenError::Claims, format!("missing: {}", missing.join(", "))),
        }
        let Ok(said) = said else { return None };
        let end = said.expires_at;
        if now >= end + leeway {
            let ago = now.since(end).as_secs();
            self.fail(TokenError::Expired, format!("{end}, {ago} s before {now}"));
        } else {
            let left = if end > now {
                format!("{} s left", end.since(now).as_secs())
            } else {
                "within the leeway".into()
            };
            self.pass(format!("{end}, {left}"));
        }
        Some((SubjectId::new(said.subject.read(&text)), SessionId::new(said.session.read(&text))))
    }
}
