//! What other issuers' access tokens look like: which claim says what, and which may be missing.
//!
//! Whatever the shape, `iss`, `sub`, `aud` and `exp` are required, every claim has its JSON type or the token is refused, and
//! a token that is bound to a key of its holder (`cnf`, RFC 7800) is refused, since that binding would not be checked.

use super::{Claims, Needs};
use crate::{
    error::TokenError,
    json::{self, Behind, Value},
    jws::{self, ACCESS_TYPE},
};

/// What the access tokens of an issuer look like.
///
/// It is chosen by whoever sets up the verifier, never by a token. [`TokenShape::gatekey`] is the default and the strictest.
///
/// ```
/// use gatekey_core::access::TokenShape;
///
/// // An issuer whose tokens say `"typ":"JWT"`, `"azp":"…"`, `"scp":["read"]` and `"https://example.com/roles":["admin"]`.
/// let shape = TokenShape::jwt()
///     .client_id_at(["azp"])
///     .scope_at(["scp"])
///     .roles_at(["https://example.com/roles"]);
/// ```
#[derive(Clone, Debug)]
pub struct TokenShape {
    needs: Needs,
    /// The values of `typ`; `None` for a header without one.
    types: Vec<Option<String>>,
    client_id: Path,
    session: Path,
    username: Path,
    roles: Path,
    scope: Path,
    fixed: Vec<(Path, String)>,
}

/// Member names from the outermost object inwards.
type Path = Vec<String>;

fn path(members: impl IntoIterator<Item = impl Into<String>>) -> Path {
    members.into_iter().map(Into::into).collect()
}

impl TokenShape {
    /// A Gatekey's tokens: `typ` is `at+jwt`, and no claim of theirs is missing.
    #[must_use]
    pub fn gatekey() -> Self {
        Self {
            needs: Needs::Ours,
            types: vec![Some(ACCESS_TYPE.to_owned())],
            client_id: path(["client_id"]),
            session: path(["sid"]),
            username: path(["preferred_username"]),
            roles: path(["roles"]),
            scope: path(["scope"]),
            fixed: Vec::new(),
        }
    }

    /// Tokens after [RFC 9068](https://www.rfc-editor.org/rfc/rfc9068): `typ` is `at+jwt`; `client_id`, `iat` and `jti` are
    /// there, and `sid`, `auth_time`, `preferred_username`, `roles` and `scope` may be.
    #[must_use]
    pub fn rfc9068() -> Self {
        Self { needs: Needs::Rfc9068, ..Self::gatekey() }
    }

    /// Any JWT: `typ` is `JWT`, and nothing is required but `iss`, `sub`, `aud` and `exp`.
    ///
    /// An ID token may look the same. What tells the two apart is the audience, which is the client's for one and the API's
    /// for the other; where an issuer uses one name for both, ask for the claim that differs by [`TokenShape::with`].
    #[must_use]
    pub fn jwt() -> Self {
        Self { needs: Needs::Jwt, types: vec![Some("JWT".to_owned())], ..Self::gatekey() }
    }

    /// Keycloak's: the client in `azp`, the roles of the realm in `realm_access.roles`, and `"typ":"Bearer"` among the
    /// claims, which its ID and refresh tokens do not say. The roles of a client are at `["resource_access", CLIENT, "roles"]`.
    #[must_use]
    pub fn keycloak() -> Self {
        Self::jwt().client_id_at(["azp"]).roles_at(["realm_access", "roles"]).with(["typ"], "Bearer")
    }

    /// Auth0's: the client in `azp`, permissions as roles. An Action that adds roles gives them a name of its own, for
    /// [`TokenShape::roles_at`]. Where the API has the RFC 9068 profile, [`TokenShape::rfc9068`] is for it.
    #[must_use]
    pub fn auth0() -> Self {
        Self::jwt().client_id_at(["azp"]).roles_at(["permissions"])
    }

    /// Supabase's, signed with a key pair: the session in `session_id`, the e-mail address as the name, `role` as the one
    /// role. Roles that an application keeps in `app_metadata` are found by [`TokenShape::roles_at`]; `user_metadata` is the
    /// user's to write.
    #[must_use]
    pub fn supabase() -> Self {
        Self::jwt().session_at(["session_id"]).username_at(["email"]).roles_at(["role"])
    }

    /// Also takes this `typ`, compared exactly; `application/` in front of it is left out of the comparison.
    #[must_use]
    pub fn typ(mut self, typ: impl Into<String>) -> Self {
        self.types.push(Some(typ.into()));
        self
    }

    /// Also takes tokens whose header says no `typ`.
    #[must_use]
    pub fn untyped(mut self) -> Self {
        self.types.push(None);
        self
    }

    /// Where the client's identifier is: a text.
    #[must_use]
    pub fn client_id_at(mut self, members: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.client_id = path(members);
        self
    }

    /// Where the session's identifier is: a text.
    #[must_use]
    pub fn session_at(mut self, members: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.session = path(members);
        self
    }

    /// Where the name to be shown is: a text.
    #[must_use]
    pub fn username_at(mut self, members: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.username = path(members);
        self
    }

    /// Where the roles are: an array of texts, or one text that is one role. Each item is the name of a member, from the
    /// outermost object inwards, so a name with dots in it is one item.
    #[must_use]
    pub fn roles_at(mut self, members: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.roles = path(members);
        self
    }

    /// Where the scope is: a text with spaces between, or an array of texts.
    #[must_use]
    pub fn scope_at(mut self, members: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.scope = path(members);
        self
    }

    /// Refuses a token unless this claim is this text.
    #[must_use]
    pub fn with(
        mut self,
        members: impl IntoIterator<Item = impl Into<String>>,
        value: impl Into<String>,
    ) -> Self {
        self.fixed.push((path(members), value.into()));
        self
    }

    pub(crate) fn needs(&self) -> Needs {
        self.needs
    }

    pub(crate) fn takes_type(&self, typ: Option<&str>) -> bool {
        self.types.iter().any(|expected| match (typ, expected) {
            (Some(typ), Some(expected)) => jws::is_of_type(typ, expected),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        })
    }

    /// Reads the claims where this shape has them.
    pub(crate) fn read(&self, payload: &mut String) -> Result<Claims, TokenError> {
        let claims = json::parse(payload.as_bytes())?;
        let integer = |value: &Value<'_>| {
            let Value::Number(digits) = value else { return Err(TokenError::Claims) };
            digits.parse().map_err(|_| TokenError::Claims)
        };
        if !matches!(claims, Value::Object(_)) || claims.member("cnf").is_some() {
            return Err(TokenError::Claims);
        }
        for (path, value) in &self.fixed {
            if one(at(&claims, path))? != Some(value) {
                return Err(TokenError::Claims);
            }
        }
        // Ours have one form.
        let ours = self.needs == Needs::Ours;
        let member = |name: &str| claims.member(name);
        let integer = |name: &str| member(name).map(integer).transpose();
        let (audience, audiences) = match member("aud") {
            Some(several @ Value::Array(_)) => (None, Some(array(&texts(several)?))),
            audience => (one(audience)?, None),
        };
        let roles = match at(&claims, &self.roles) {
            Some(Value::String(role)) if !ours => Some(array(&[role])),
            roles => roles.map(texts).transpose()?.map(|roles| array(&roles)),
        };
        let scope = match at(&claims, &self.scope) {
            Some(several @ Value::Array(_)) if !ours => Some(scopes(several)?),
            scope => one(scope)?.map(str::to_owned),
        };
        let mut behind = Behind::new(payload);
        let mut put = |text: Option<&str>| text.map(|text| behind.put(text));
        let read = Claims {
            signed: payload.len(),
            issuer: put(one(member("iss"))?),
            subject: put(one(member("sub"))?),
            audience: put(audience),
            audiences: put(audiences.as_deref()),
            expires_at: integer("exp")?,
            not_before: integer("nbf")?,
            issued_at: integer("iat")?,
            token_id: put(one(member("jti"))?),
            auth_time: integer("auth_time")?,
            client_id: put(one(at(&claims, &self.client_id))?),
            session: put(one(at(&claims, &self.session))?),
            username: put(one(at(&claims, &self.username))?),
            roles: put(roles.as_deref()),
            scope: put(scope.as_deref()),
        };
        payload.push_str(&behind.texts);
        Ok(read)
    }
}

/// The value at a path; none where a member is missing on the way. An empty path leads nowhere.
fn at<'v, 'a>(claims: &'v Value<'a>, path: &[String]) -> Option<&'v Value<'a>> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(claims.member(first)?, |value, name| value.member(name))
}

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, TokenError> {
    let Value::String(text) = value else { return Err(TokenError::Claims) };
    Ok(text)
}

fn one<'v>(value: Option<&'v Value<'_>>) -> Result<Option<&'v str>, TokenError> {
    value.map(text).transpose()
}

fn texts<'v>(value: &'v Value<'_>) -> Result<Vec<&'v str>, TokenError> {
    let Value::Array(elements) = value else { return Err(TokenError::Claims) };
    elements.iter().map(text).collect()
}

/// An array of scopes as one text. A space within an element would make two of it.
fn scopes(value: &Value<'_>) -> Result<String, TokenError> {
    let scopes = texts(value)?;
    if scopes.iter().any(|scope| scope.is_empty() || scope.contains(' ')) {
        return Err(TokenError::Claims);
    }
    Ok(scopes.join(" "))
}

/// Texts, as they stand in claims.
fn array(texts: &[&str]) -> String {
    serde_json::Value::from(texts).to_string()
}

#[cfg(test)]
mod tests;
