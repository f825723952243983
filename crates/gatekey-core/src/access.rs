//! Access tokens: what they say, how they are issued and verified ([RFC 9068]).
//!
//! A token is verified in this order; the first rule that fails refuses it:
//!
//! 1. its form, header and signature, by `jws.rs`;
//! 2. its claims: a strict JSON object, every required member of its JSON type (`"exp":"1"` is refused, never "absent");
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
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    error::{AuthError, TokenError},
    json::{self, JsonError, Reader},
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
    claims: String,
    subject: Text,
    session: Text,
    username: Text,
    roles: Roles,
    scope: Option<Text>,
    client_id: Text,
    token_id: Text,
    auth_time: Timestamp,
    issued_at: Timestamp,
    expires_at: Timestamp,
    // Made when they are first asked for, and then there for every request with the same token.
    subject_id: OnceLock<SubjectId>,
    session_id: OnceLock<SessionId>,
    role_list: OnceLock<Vec<String>>,
}

/// A text of the claims.
#[derive(Clone)]
enum Text {
    /// From here to there in them.
    At(u32, u32),
    /// By itself: it was written with escapes, or is none of them.
    Own(Box<str>),
}

impl Text {
    /// Where `text` stands in `claims`.
    fn of(text: &str, claims: &str) -> Option<Self> {
        let from = text.as_ptr().addr().checked_sub(claims.as_ptr().addr())?;
        let to = from + text.len();
        let here = claims.get(from..to).is_some_and(|found| std::ptr::eq(found, text));
        here.then_some(Self::At(u32::try_from(from).ok()?, u32::try_from(to).ok()?))
    }

    fn new(text: &str, claims: &str) -> Self {
        Self::of(text, claims).unwrap_or_else(|| Self::Own(text.into()))
    }

    fn none() -> Self {
        Self::Own(Box::default())
    }

    fn read<'a>(&'a self, claims: &'a str) -> &'a str {
        match self {
            Self::At(from, to) => claims.get(*from as usize..*to as usize).unwrap_or_default(),
            Self::Own(text) => text,
        }
    }
}

/// Roles, before anybody asks for them.
enum Roles {
    /// The array of texts that they are, to be read again.
    At(Text),
    /// From another place or in another form than ours.
    Own(Vec<String>),
}

impl Principal {
    /// The `sub` claim: who.
    #[must_use]
    pub fn subject(&self) -> &SubjectId {
        self.0.subject_id.get_or_init(|| SubjectId::new(self.text(&self.0.subject)))
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
        self.text(&self.0.username)
    }

    /// The `roles` claim.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        match &self.0.roles {
            Roles::Own(roles) => roles,
            Roles::At(text) => self.0.role_list.get_or_init(|| {
                // It was read before; this cannot fail, and if it did there would be no roles.
                json::texts(self.text(text)).unwrap_or_default()
            }),
        }
    }

    /// The `scope` claim, space-separated.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_ref().map(|scope| self.text(scope))
    }

    /// The `client_id` claim. Empty where another issuer's tokens do not say.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.text(&self.0.client_id)
    }

    /// The `jti` claim: which token. Empty where another issuer's tokens do not say.
    #[must_use]
    pub fn token_id(&self) -> &str {
        self.text(&self.0.token_id)
    }

    /// When the subject proved its password. Refreshing does not move it. The epoch where another issuer's tokens do not say,
    /// so that such a login is never fresh.
    #[must_use]
    pub fn auth_time(&self) -> Timestamp {
        self.0.auth_time
    }

    /// When the token was issued. The epoch where another issuer's tokens do not say.
    #[must_use]
    pub fn issued_at(&self) -> Timestamp {
        self.0.issued_at
    }

    /// When the token expires, leeway aside.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.0.expires_at
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
        serde_json::from_str(&self.0.claims).map_err(AuthError::internal)
    }

    /// As [`Self::session`], without making one.
    pub(crate) fn session_text(&self) -> &str {
        self.text(&self.0.session)
    }

    fn text<'a>(&'a self, text: &'a Text) -> &'a str {
        text.read(&self.0.claims)
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
        let mut claims = Map::new();
        claims.insert("iss".into(), self.issuer.as_str().into());
        claims.insert("sub".into(), session.subject.as_str().into());
        claims.insert("aud".into(), self.audience.as_str().into());
        claims.insert("exp".into(), expires_at.as_secs().into());
        claims.insert("iat".into(), now.as_secs().into());
        claims.insert("jti".into(), id.into());
        claims.insert("client_id".into(), self.client_id.as_str().into());
        claims.insert("sid".into(), session.id.as_str().into());
        claims.insert("auth_time".into(), session.auth_time.as_secs().into());
        claims.insert("preferred_username".into(), user.username.as_str().into());
        claims.insert("roles".into(), user.roles.clone().into());
        if let Some(scope) = scope {
            claims.insert("scope".into(), scope.into());
        }
        for (name, value) in own {
            if RESERVED_CLAIMS.contains(&name.as_str()) {
                return Err(AuthError::internal(ReservedClaim(name)));
            }
            claims.insert(name, value);
        }
        let active = keys.active(now).map_err(AuthError::internal)?;
        let claims = serde_json::to_string(&claims).map_err(AuthError::internal)?;
        // What we would refuse is not issued: a host's empty id, or its claims nested too deep, shows here and not at
        // every request (guarded by `a_token_that_would_be_refused_is_not_issued`).
        Claims::parse(&claims)
            .map_err(TokenError::from)
            .and_then(|read| read.verified(Needs::Ours, &claims))
            .map_err(AuthError::internal)?;
        let token = jws::sign(&active.key, &active.header, claims.as_bytes()).map_err(AuthError::internal)?;
        if token.len() > jws::MAX_LENGTH {
            return Err(AuthError::internal(TokenError::TooLong));
        }
        Ok(token)
    }

    /// Verifies a token by rules 1 to 6.
    pub(crate) fn verify(
        &self,
        keys: &Snapshot,
        token: &str,
        now: Timestamp,
    ) -> Result<Principal, TokenError> {
        let parts = Parts::split(token)?;
        let known = keys.access.iter().find(|key| key.header == parts.header && key.verifies(now));
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
        let payload = parts.verify_claims(key.verifying())?;
        let claims = Claims::parse(&payload)?;
        let expected = Expected { issuer: &self.issuer, audience: &self.audience, leeway: self.leeway };
        let verified = expected.accept(&claims, Needs::Ours, &payload, now)?;
        Ok(verified.with(payload))
    }
}

/// Whose tokens, for whom, and how far clocks may be apart.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) leeway: Duration,
}

impl Expected<'_> {
    /// Rules 3 to 6, for the claims of a token whose signature is good.
    pub(crate) fn accept(
        &self,
        claims: &Claims<'_>,
        needs: Needs,
        payload: &str,
        now: Timestamp,
    ) -> Result<Verified, TokenError> {
        let issuer = claims.issuer.as_ref().ok_or(TokenError::Claims)?;
        if issuer != self.issuer {
            return Err(TokenError::WrongIssuer);
        }
        if !claims.audience.as_ref().is_some_and(|audience| audience.names(self.audience)) {
            return Err(TokenError::WrongAudience);
        }
        let after = |at: Option<i64>| at.is_some_and(|at| Timestamp::from_secs(at) > now + self.leeway);
        if after(claims.not_before) || after(claims.issued_at) {
            return Err(TokenError::NotYetValid);
        }
        let verified = claims.verified(needs, payload)?;
        if now >= verified.expires_at + self.leeway {
            return Err(TokenError::Expired);
        }
        Ok(verified)
    }
}

/// A host's [`ClaimsSource`](crate::user::ClaimsSource) returned a claim that is ours.
#[derive(Debug)]
struct ReservedClaim(String);

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

/// The claims as read, before they are judged: borrowed wherever they were written without escapes.
#[derive(Default)]
pub(crate) struct Claims<'a> {
    issuer: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
    audience: Option<Audience<'a>>,
    expires_at: Option<i64>,
    not_before: Option<i64>,
    issued_at: Option<i64>,
    token_id: Option<Cow<'a, str>>,
    client_id: Option<Cow<'a, str>>,
    session: Option<Cow<'a, str>>,
    auth_time: Option<i64>,
    username: Option<Cow<'a, str>>,
    roles: Option<RolesRead<'a>>,
    scope: Option<Cow<'a, str>>,
}

enum Audience<'a> {
    One(Cow<'a, str>),
    Several(Vec<Cow<'a, str>>),
}

impl Audience<'_> {
    fn names(&self, audience: &str) -> bool {
        match self {
            Self::One(own) => own == audience,
            Self::Several(several) => several.iter().any(|own| own == audience),
        }
    }

    fn all(&self) -> Vec<&str> {
        match self {
            Self::One(own) => vec![own],
            Self::Several(several) => several.iter().map(AsRef::as_ref).collect(),
        }
    }
}

enum RolesRead<'a> {
    /// The text of an array of texts.
    Array(&'a str),
    Texts(Vec<String>),
}

impl<'a> Claims<'a> {
    pub(crate) fn parse(payload: &'a str) -> Result<Self, JsonError> {
        let mut claims = Self::default();
        let text = |value: &mut Reader<'a>| value.string().map(Some);
        json::members_of(payload, |name, value| {
            match name {
                "iss" => claims.issuer = text(value)?,
                "sub" => claims.subject = text(value)?,
                "aud" if value.is_array() => claims.audience = Some(Audience::Several(value.strings()?)),
                "aud" => claims.audience = text(value)?.map(Audience::One),
                "exp" => claims.expires_at = Some(value.integer()?),
                "nbf" => claims.not_before = Some(value.integer()?),
                "iat" => claims.issued_at = Some(value.integer()?),
                "jti" => claims.token_id = text(value)?,
                "client_id" => claims.client_id = text(value)?,
                "sid" => claims.session = text(value)?,
                "auth_time" => claims.auth_time = Some(value.integer()?),
                "preferred_username" => claims.username = text(value)?,
                "roles" => claims.roles = Some(RolesRead::Array(value.raw_strings()?)),
                "scope" => claims.scope = text(value)?,
                _ => {
                    value.raw()?;
                }
            }
            Ok(())
        })?;
        Ok(claims)
    }

    /// What a principal needs, none of it empty, and missing only where that is allowed. `payload` is where it was read.
    fn verified(&self, needs: Needs, payload: &str) -> Result<Verified, TokenError> {
        fn or<T>(claim: Option<T>, needed: bool, missing: impl FnOnce() -> T) -> Result<T, TokenError> {
            claim.or_else(|| (!needed).then(missing)).ok_or(TokenError::Claims)
        }
        let (ours, standard) = (needs == Needs::Ours, needs != Needs::Jwt);
        // "Longer ago than anything we remember": a login of unknown age is never a fresh one.
        let long_ago = || Timestamp::EPOCH.as_secs();
        let texts = [&self.subject, &self.session, &self.client_id, &self.token_id];
        if texts.into_iter().flatten().any(|text| text.is_empty()) {
            return Err(TokenError::Claims);
        }
        let at = |text: &Option<Cow<'_, str>>| text.as_ref().map(|text| Text::new(text, payload));
        let subject = or(at(&self.subject), true, Text::none)?;
        let roles = self.roles.as_ref().map(|roles| match roles {
            RolesRead::Array(text) => Roles::At(Text::new(text, payload)),
            RolesRead::Texts(roles) => Roles::Own(roles.clone()),
        });
        Ok(Verified {
            username: or(at(&self.username), ours, || subject.clone())?,
            subject,
            session: or(at(&self.session), ours, Text::none)?,
            roles: or(roles, ours, || Roles::Own(Vec::new()))?,
            scope: at(&self.scope),
            client_id: or(at(&self.client_id), standard, Text::none)?,
            auth_time: Timestamp::from_secs(or(self.auth_time, ours, long_ago)?),
            issued_at: Timestamp::from_secs(or(self.issued_at, standard, long_ago)?),
            expires_at: Timestamp::from_secs(or(self.expires_at, true, long_ago)?),
            token_id: or(at(&self.token_id), standard, Text::none)?,
            claims: String::new(),
            subject_id: OnceLock::new(),
            session_id: OnceLock::new(),
            role_list: OnceLock::new(),
        })
    }
}

impl Verified {
    /// With the claims that it was read from.
    pub(crate) fn with(self, claims: String) -> Principal {
        Principal(Arc::new(Self { claims, ..self }))
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
