//! Access tokens: what they say, how they are issued and verified ([RFC 9068]).
//!
//! A token is verified in this order; the first rule that fails refuses it:
//!
//! 1. its form, header and signature, by `jws.rs`;
//! 2. its claims: a strict JSON object, every required member of its JSON type (`"exp":"1"` is refused, never "absent"). Those
//!    that stand byte for byte as we write them are read at their places, which is faster and says the same (guarded by
//!    `claims_as_we_write_them_are_read_as_in_any_form_and_no_others_so`);
//! 3. `iss` is exactly ours, `aud` is or contains exactly ours;
//! 4. `nbf` and `iat` are not after now + leeway;
//! 5. `sub`, `sid`, `jti` and `client_id` are not empty, and nothing else that a principal needs is missing;
//! 6. `now < exp + leeway`;
//! 7. the session is not on the revocation list.
//!
//! Expiry is asked late on purpose: "expired" is the one cause a client is told, and only of a token that was good.
//!
//! [RFC 9068]: https://www.rfc-editor.org/rfc/rfc9068

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    error::{AuthError, TokenError},
    json::{self, Behind, JsonError, Reader, Span},
    jws::{self, Header, Parts},
    keys::{KeyError, Snapshot},
    session::{Session, SessionId, SubjectId},
    time::Timestamp,
    user::User,
};

mod inspect;
mod shape;

pub use inspect::{Check, Expectation, Finding, Inspection, inspect};
pub use shape::TokenShape;

/// The claims that are ours to set; a host's own cannot take their names.
pub const RESERVED_CLAIMS: [&str; 14] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "sid",
    "auth_time",
    "preferred_username",
    "roles",
    "scope",
    "cnf",
];

/// Who a request speaks for: what a verified access token says. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Principal(Arc<Verified>);

/// The claims as they were signed, and where in them everything else stands: a request that asks for no more than who
/// may pass has nothing copied.
pub(crate) struct Verified {
    text: String,
    said: Said,
    // Made when they are first asked for, and then there for every request with the same token.
    subject_id: OnceLock<SubjectId>,
    session_id: OnceLock<SessionId>,
    role_list: OnceLock<Vec<String>>,
}

/// What a principal needs of the claims, and where in their text it stands.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    /// Up to here it is as it was signed.
    signed: usize,
    subject: Span,
    session: Span,
    username: Span,
    /// An array of texts; nothing, where there are none.
    roles: Span,
    scope: Option<Span>,
    client_id: Span,
    token_id: Span,
    auth_time: Timestamp,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl Principal {
    /// The `sub` claim: who.
    #[must_use]
    pub fn subject(&self) -> &SubjectId {
        self.0.subject_id.get_or_init(|| SubjectId::new(self.text(self.0.said.subject)))
    }

    /// The `sid` claim: in which session. Empty where another issuer's tokens do not say.
    #[must_use]
    pub fn session(&self) -> &SessionId {
        self.0.session_id.get_or_init(|| SessionId::new(self.session_text()))
    }

    /// The `preferred_username` claim: the name at the time of issue. For display; identity is [`Principal::subject`], which
    /// is also what is told where another issuer's tokens have no name.
    #[must_use]
    pub fn username(&self) -> &str {
        self.text(self.0.said.username)
    }

    /// The `roles` claim.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        // They were read before; this cannot fail but where there are none.
        self.0.role_list.get_or_init(|| json::texts(self.text(self.0.said.roles)).unwrap_or_default())
    }

    /// The `scope` claim, space-separated.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.said.scope.map(|scope| self.text(scope))
    }

    /// The `client_id` claim. Empty where another issuer's tokens do not say.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.text(self.0.said.client_id)
    }

    /// The `jti` claim: which token. Empty where another issuer's tokens do not say.
    #[must_use]
    pub fn token_id(&self) -> &str {
        self.text(self.0.said.token_id)
    }

    /// When the subject proved its password. Refreshing does not move it. The epoch where another issuer's tokens do not say,
    /// so that such a login is never fresh.
    #[must_use]
    pub fn auth_time(&self) -> Timestamp {
        self.0.said.auth_time
    }

    /// When the token was issued. The epoch where another issuer's tokens do not say.
    #[must_use]
    pub fn issued_at(&self) -> Timestamp {
        self.0.said.issued_at
    }

    /// When the token expires, leeway aside.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.0.said.expires_at
    }

    /// Whether it has the role, compared byte for byte.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().iter().any(|own| own == role)
    }

    /// Whether every one of the space-separated scopes was granted.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        scope_covers(self.scope(), scope)
    }

    /// Refuses unless the role is there.
    ///
    /// # Errors
    ///
    /// [`AuthError::InsufficientScope`]: 403 on the wire.
    pub fn require_role(&self, role: &str) -> Result<(), AuthError> {
        if self.has_role(role) { Ok(()) } else { Err(AuthError::InsufficientScope(None)) }
    }

    /// Refuses unless every one of the space-separated scopes was granted.
    ///
    /// # Errors
    ///
    /// [`AuthError::InsufficientScope`] with the scope that would do: 403 on the wire.
    pub fn require_scope(&self, scope: &str) -> Result<(), AuthError> {
        if self.has_scope(scope) { Ok(()) } else { Err(AuthError::InsufficientScope(Some(scope.to_owned()))) }
    }

    /// Refuses if the subject proved its password longer ago than `max_age`, with whole seconds as tokens carry them.
    ///
    /// # Errors
    ///
    /// [`AuthError::InsufficientAuthentication`] (RFC 9470): 401 on the wire.
    pub fn require_fresh(&self, max_age: Duration, now: Timestamp) -> Result<(), AuthError> {
        if now.whole_secs().since(self.auth_time()) <= max_age {
            Ok(())
        } else {
            Err(AuthError::InsufficientAuthentication { max_age })
        }
    }

    /// The host's own claims, as its [`ClaimsSource`](crate::user::ClaimsSource) set them. `T` names the members it
    /// wants and ignores the others.
    ///
    /// # Errors
    ///
    /// [`AuthError::Internal`] if the claims do not fit `T`: a token of ours that lacks what the host expects is a fault
    /// of the set-up, not of the client.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, AuthError> {
        serde_json::from_str(&self.0.text[..self.0.said.signed]).map_err(AuthError::internal)
    }

    /// As [`Self::session`], without making one.
    pub(crate) fn session_text(&self) -> &str {
        self.text(self.0.said.session)
    }

    fn text(&self, span: Span) -> &str {
        span.read(&self.0.text)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("subject", self.subject())
            .field("roles", &self.roles())
            .finish_non_exhaustive()
    }
}

/// Whether each scope of `wanted` is one of `granted`. Wanting nothing is always granted.
pub(crate) fn scope_covers(granted: Option<&str>, wanted: &str) -> bool {
    let granted = granted.unwrap_or_default();
    wanted
        .split(' ')
        .filter(|scope| !scope.is_empty())
        .all(|scope| granted.split(' ').any(|own| own == scope))
}

/// What one access token is to say.
pub(crate) struct Grant<'a> {
    pub(crate) user: &'a User,
    pub(crate) session: &'a Session,
    /// May be narrower than the session's.
    pub(crate) scope: Option<&'a str>,
    /// The host's own claims.
    pub(crate) own: Map<String, Value>,
    pub(crate) id: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// The claims in the order in which they are written, and read fastest.
#[derive(Serialize)]
struct Written<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    jti: &'a str,
    client_id: &'a str,
    sid: &'a str,
    auth_time: i64,
    preferred_username: &'a str,
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(flatten)]
    own: Map<String, Value>,
}

/// What all access tokens of this application share.
#[derive(Clone, Debug)]
pub(crate) struct AccessRules {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) client_id: String,
    pub(crate) lifetime: Duration,
    pub(crate) leeway: Duration,
}

impl AccessRules {
    /// Issues a token.
    pub(crate) fn issue(&self, keys: &Snapshot, grant: Grant<'_>) -> Result<String, AuthError> {
        let Grant { user, session, scope, own, id, now, expires_at } = grant;
        if let Some(name) = RESERVED_CLAIMS.into_iter().find(|name| own.contains_key(*name)) {
            return Err(AuthError::internal(ReservedClaim(name)));
        }
        let claims = Written {
            iss: &self.issuer,
            sub: session.subject.as_str(),
            aud: &self.audience,
            exp: expires_at.as_secs(),
            iat: now.as_secs(),
            jti: id,
            client_id: &self.client_id,
            sid: session.id.as_str(),
            auth_time: session.auth_time.as_secs(),
            preferred_username: user.username.as_str(),
            roles: &user.roles,
            scope,
            own,
        };
        let active = keys.active(now).map_err(AuthError::internal)?;
        let mut claims = serde_json::to_string(&claims).map_err(AuthError::internal)?;
        // What we would refuse is not issued: a host's empty id, or its claims nested too deep, shows here and not at
        // every request (guarded by `a_token_that_would_be_refused_is_not_issued`).
        let said = Claims::parse(&mut claims)
            .map_err(TokenError::from)
            .and_then(|read| read.said(Needs::Ours))
            .map_err(AuthError::internal)?;
        let claims = &claims.as_bytes()[..said.signed];
        let token = jws::sign(&active.key, &active.header, claims).map_err(AuthError::internal)?;
        if token.len() > jws::MAX_LENGTH {
            return Err(AuthError::internal(TokenError::TooLong));
        }
        Ok(token)
    }

    /// Verifies a token by rules 1 to 6.
    pub(crate) fn verify(
        &self,
        keys: &Snapshot,
        token: &(impl AsRef<[u8]> + ?Sized),
        now: Timestamp,
    ) -> Result<Principal, TokenError> {
        let parts = Parts::split(token)?;
        let known = keys.access.iter().find(|key| key.header.as_bytes() == parts.header && key.verifies(now));
        let key = match known {
            Some(key) => key,
            None => {
                let header = Header::parse(parts.header)?;
                let key = keys
                    .access
                    .iter()
                    .find(|key| key.verifying().kid() == header.kid && key.verifies(now))
                    .ok_or(TokenError::UnknownKey)?;
                if header.alg != key.verifying().algorithm().name() {
                    return Err(TokenError::WrongAlgorithm);
                }
                if !header.is_of_type(jws::ACCESS_TYPE) {
                    return Err(TokenError::WrongType);
                }
                key
            }
        };
        let mut payload = parts.verify_claims(key.verifying())?;
        let claims = Claims::parse(&mut payload)?;
        let expected = Expected { issuer: &self.issuer, audience: &self.audience, leeway: self.leeway };
        expected.accept(&claims, Needs::Ours, payload, now)
    }
}

/// Whose tokens, for whom, and how far clocks may be apart.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) leeway: Duration,
}

impl Expected<'_> {
    /// Rules 3 to 6, for the claims of a token whose signature is good, and the text in which they stand.
    pub(crate) fn accept(
        &self,
        claims: &Claims,
        needs: Needs,
        text: String,
        now: Timestamp,
    ) -> Result<Principal, TokenError> {
        if claims.issuer.ok_or(TokenError::Claims)?.read(&text) != self.issuer {
            return Err(TokenError::WrongIssuer);
        }
        if !claims.names(self.audience, &text) {
            return Err(TokenError::WrongAudience);
        }
        let after = |at: Option<i64>| at.is_some_and(|at| Timestamp::from_secs(at) > now + self.leeway);
        if after(claims.not_before) || after(claims.issued_at) {
            return Err(TokenError::NotYetValid);
        }
        let said = claims.said(needs)?;
        if now >= said.expires_at + self.leeway {
            return Err(TokenError::Expired);
        }
        Ok(Principal(Arc::new(Verified {
            text,
            said,
            subject_id: OnceLock::new(),
            session_id: OnceLock::new(),
            role_list: OnceLock::new(),
        })))
    }
}

/// A host's [`ClaimsSource`](crate::user::ClaimsSource) returned a claim that is ours.
#[derive(Debug)]
struct ReservedClaim(&'static str);

impl fmt::Display for ReservedClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the claims source set the reserved claim {:?}", self.0)
    }
}

impl std::error::Error for ReservedClaim {}

/// Which claims a principal is not made without. `iss`, `sub`, `aud` and `exp` are never missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// All that our own tokens have.
    Ours,
    /// What RFC 9068 section 2.2 requires: also `client_id`, `iat`, `jti`.
    Rfc9068,
    /// No others.
    Jwt,
}

/// The claims as read, before they are judged: of texts, where they stand.
///
/// What is written with escapes, or not as we write it, is put behind the text of the claims as it is meant, and stands
/// there.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Claims {
    /// How long the text was before.
    signed: usize,
    issuer: Option<Span>,
    subject: Option<Span>,
    audience: Option<Span>,
    /// An array of texts.
    audiences: Option<Span>,
    expires_at: Option<i64>,
    not_before: Option<i64>,
    issued_at: Option<i64>,
    token_id: Option<Span>,
    client_id: Option<Span>,
    session: Option<Span>,
    auth_time: Option<i64>,
    username: Option<Span>,
    /// An array of texts.
    roles: Option<Span>,
    scope: Option<Span>,
}

impl Claims {
    /// Of claims that stand as [`Written`] has them, and `None` of others.
    fn as_written(text: &str) -> Option<Self> {
        let mut reader = Reader::of(text);
        let claims = Self {
            signed: text.len(),
            issuer: Some(reader.after(r#"{"iss":"#)?.plain_text()?),
            subject: Some(reader.after(r#","sub":"#)?.plain_text()?),
            audience: Some(reader.after(r#","aud":"#)?.plain_text()?),
            audiences: None,
            expires_at: Some(reader.after(r#","exp":"#)?.plain_integer()?),
            not_before: None,
            issued_at: Some(reader.after(r#","iat":"#)?.plain_integer()?),
            token_id: Some(reader.after(r#","jti":"#)?.plain_text()?),
            client_id: Some(reader.after(r#","client_id":"#)?.plain_text()?),
            session: Some(reader.after(r#","sid":"#)?.plain_text()?),
            auth_time: Some(reader.after(r#","auth_time":"#)?.plain_integer()?),
            username: Some(reader.after(r#","preferred_username":"#)?.plain_text()?),
            roles: Some(reader.after(r#","roles":"#)?.strings().ok()?),
            scope: match reader.after(r#","scope":"#) {
                Some(reader) => Some(reader.plain_text()?),
                None => None,
            },
        };
        reader.rest(&RESERVED_CLAIMS)?;
        Some(claims)
    }

    pub(crate) fn parse(text: &mut String) -> Result<Self, JsonError> {
        match Self::as_written(text) {
            Some(claims) => Ok(claims),
            None => Self::in_any_form(text),
        }
    }

    fn in_any_form(text: &mut String) -> Result<Self, JsonError> {
        let mut claims = Self { signed: text.len(), ..Self::default() };
        let mut behind = Behind::new(text);
        json::members_of(text, |name, value| {
            let claim = match name {
                "iss" => &mut claims.issuer,
                "sub" => &mut claims.subject,
                "aud" if !value.is_array() => &mut claims.audience,
                "jti" => &mut claims.token_id,
                "client_id" => &mut claims.client_id,
                "sid" => &mut claims.session,
                "preferred_username" => &mut claims.username,
                "scope" => &mut claims.scope,
                _ => {
                    match name {
                        "aud" => claims.audiences = Some(value.strings()?),
                        "roles" => claims.roles = Some(value.strings()?),
                        "exp" => claims.expires_at = Some(value.integer()?),
                        "nbf" => claims.not_before = Some(value.integer()?),
                        "iat" => claims.issued_at = Some(value.integer()?),
                        "auth_time" => claims.auth_time = Some(value.integer()?),
                        _ => value.skip()?,
                    }
                    return Ok(());
                }
            };
            *claim = Some(value.span(&mut behind)?);
            Ok(())
        })?;
        text.push_str(&behind.texts);
        Ok(claims)
    }

    /// Whether the audience is, or is one of, those that are named.
    fn names(&self, audience: &str, text: &str) -> bool {
        self.audience.is_some_and(|own| own.read(text) == audience)
            || self.all_audiences(text).iter().any(|own| own == audience)
    }

    /// Where several audiences are named: which.
    fn all_audiences(&self, text: &str) -> Vec<String> {
        self.audiences.and_then(|several| json::texts(several.read(text)).ok()).unwrap_or_default()
    }

    /// What a principal needs, none of it empty, and missing only where that is allowed.
    fn said(&self, needs: Needs) -> Result<Said, TokenError> {
        fn or<T>(claim: Option<T>, needed: bool, missing: T) -> Result<T, TokenError> {
            claim.or((!needed).then_some(missing)).ok_or(TokenError::Claims)
        }
        let (ours, standard) = (needs == Needs::Ours, needs != Needs::Jwt);
        // "Longer ago than anything we remember": a login of unknown age is never a fresh one.
        let long_ago = Timestamp::EPOCH.as_secs();
        let texts = [self.subject, self.session, self.client_id, self.token_id];
        if texts.into_iter().flatten().any(Span::is_empty) {
            return Err(TokenError::Claims);
        }
        let nothing = Span::default();
        let subject = or(self.subject, true, nothing)?;
        Ok(Said {
            signed: self.signed,
            subject,
            session: or(self.session, ours, nothing)?,
            username: or(self.username, ours, subject)?,
            roles: or(self.roles, ours, nothing)?,
            scope: self.scope,
            client_id: or(self.client_id, standard, nothing)?,
            token_id: or(self.token_id, standard, nothing)?,
            auth_time: Timestamp::from_secs(or(self.auth_time, ours, long_ago)?),
            issued_at: Timestamp::from_secs(or(self.issued_at, standard, long_ago)?),
            expires_at: Timestamp::from_secs(or(self.expires_at, true, long_ago)?),
        })
    }
}

impl From<KeyError> for AuthError {
    fn from(error: KeyError) -> Self {
        Self::internal(error)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
