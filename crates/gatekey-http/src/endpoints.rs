//! The endpoints: a head and a body in, a whole reply out.
//!
//! A request is refused in this order, whatever the endpoint: unknown path (404), method (405), media type (415) and
//! size (413), two credentials (400), origin (403), attempts of its network (429), body (400, 422), authentication (401),
//! the rest. To keep that order where a body decides (a login that asks for cookies, a token in body and cookie), bodies
//! are read early and their errors are told late.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use gatekey_core::{
    Gate, Tokens,
    access::Principal,
    error::{AuthError, TokenError},
    event::EventKind,
    secret::Secret,
    session::{Client, EndReason, Session, SessionId},
    time::Timestamp,
    user::User,
};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    Gatekey,
    body::{
        self, Body, Introspection, Login, MediaType, PasswordChange, Registration, TokenRequest, Transport,
    },
    document,
    head::{self, Credentials, Head},
    js,
    reply::{self, Refusal, Reply},
};

/// Where the metadata stands (RFC 8414 section 3): at the root, not under the prefix.
pub const METADATA_PATH: &str = "/.well-known/oauth-authorization-server";

#[derive(Clone, Copy)]
pub(crate) enum Endpoint<'a> {
    Register,
    Login,
    Token,
    Logout,
    Revoke,
    Introspect,
    Me,
    Sessions,
    Session(&'a str),
    Password,
    Jwks,
    Metadata,
    OpenApi,
    Script,
}

impl<'a> Endpoint<'a> {
    /// Paths are matched as they came: a second decoding would give one resource two names.
    pub(crate) fn at(path: &'a str, prefix: &str) -> Option<Self> {
        if path == METADATA_PATH {
            return Some(Self::Metadata);
        }
        Some(match path.strip_prefix(prefix)? {
            "/register" => Self::Register,
            "/login" => Self::Login,
            "/token" => Self::Token,
            "/logout" => Self::Logout,
            "/revoke" => Self::Revoke,
            "/introspect" => Self::Introspect,
            "/me" => Self::Me,
            "/sessions" => Self::Sessions,
            "/password" => Self::Password,
            "/jwks.json" => Self::Jwks,
            "/openapi.json" => Self::OpenApi,
            "/gatekey.js" => Self::Script,
            rest => match rest.strip_prefix("/sessions/")? {
                "" => return None,
                id if id.contains('/') => return None,
                id => Self::Session(id),
            },
        })
    }

    pub(crate) fn allow(self) -> &'static str {
        match self {
            Self::Register
            | Self::Login
            | Self::Token
            | Self::Logout
            | Self::Revoke
            | Self::Introspect
            | Self::Password => "POST",
            Self::Me | Self::Jwks | Self::Metadata | Self::OpenApi | Self::Script => "GET, HEAD",
            Self::Sessions => "GET, HEAD, DELETE",
            Self::Session(_) => "DELETE",
        }
    }

    fn takes(self, media: MediaType, empty: bool) -> bool {
        match self {
            Self::Register | Self::Login | Self::Password => media == MediaType::Json,
            Self::Token => {
                matches!(media, MediaType::Json | MediaType::Form) || (empty && media == MediaType::Absent)
            }
            Self::Logout => media == MediaType::Json || empty,
            Self::Revoke | Self::Introspect => media == MediaType::Form,
            // These have no body to read.
            Self::Me
            | Self::Sessions
            | Self::Session(_)
            | Self::Jwks
            | Self::Metadata
            | Self::OpenApi
            | Self::Script => true,
        }
    }

    fn gate(self) -> Option<Gate> {
        match self {
            Self::Register => Some(Gate::Register),
            // A change hashes two passwords for whoever knows the present one, and a success is not counted as a guess.
            Self::Login | Self::Password => Some(Gate::Login),
            Self::Token => Some(Gate::Refresh),
            Self::Introspect => Some(Gate::Client),
            Self::Logout
            | Self::Revoke
            | Self::Me
            | Self::Sessions
            | Self::Session(_)
            | Self::Jwks
            | Self::Metadata
            | Self::OpenApi
            | Self::Script => None,
        }
    }
}

/// A body whose errors wait for their turn.
enum Parsed {
    Register(Result<Registration, Refusal>),
    Login(Result<Login, Refusal>),
    /// `None` for an empty body: the token is in the cookie.
    Token(Result<Option<TokenRequest>, Refusal>),
    Logout(Result<Option<Secret<String>>, Refusal>),
    Revoke(Result<Secret<String>, Refusal>),
    Introspect(Result<Introspection, Refusal>),
    Password(Result<PasswordChange, Refusal>),
    Nothing,
}

impl Gatekey {
    /// Whether a path is one of ours to answer with [`Gatekey::handle`]: the prefix, everything under it, and the metadata.
    #[must_use]
    pub fn serves(&self, path: &str) -> bool {
        let under = |rest: &str| rest.is_empty() || rest.starts_with('/');
        path == METADATA_PATH || path.strip_prefix(self.prefix()).is_some_and(under)
    }

    /// Whether this application has the endpoint at all.
    pub(crate) fn offers(&self, endpoint: Endpoint<'_>) -> bool {
        match endpoint {
            Endpoint::Register => self.site().registration,
            Endpoint::Introspect => !self.config().introspection_clients.is_empty(),
            Endpoint::Login
            | Endpoint::Token
            | Endpoint::Logout
            | Endpoint::Revoke
            | Endpoint::Me
            | Endpoint::Sessions
            | Endpoint::Session(_)
            | Endpoint::Password
            | Endpoint::Jwks
            | Endpoint::Metadata
            | Endpoint::OpenApi
            | Endpoint::Script => true,
        }
    }

    /// Answers a request to one of the endpoints, or to anything else under the prefix.
    pub async fn handle(&self, head: Head<'_>, body: Body) -> Reply {
        let client = self.client(&head);
        let mut depends_on_origin = false;
        let mut reply = match self.answer(&head, body, &client, &mut depends_on_origin).await {
            Ok(reply) => reply,
            Err(refusal) => {
                if let Refusal::Auth(error @ (AuthError::Unavailable(_) | AuthError::Internal(_))) = &refusal
                {
                    self.tell(&self.failure(error, &client));
                }
                let mut reply = self.verifier().refuse(&refusal);
                self.clear_dead_cookies(&head, &refusal, &mut reply);
                reply
            }
        };
        if depends_on_origin {
            reply::vary(&mut reply);
        }
        reply
    }

    async fn answer(
        &self,
        head: &Head<'_>,
        body: Body,
        client: &Client,
        depends_on_origin: &mut bool,
    ) -> Result<Reply, Refusal> {
        let site = self.site();
        let endpoint = Endpoint::at(head.path, &site.prefix)
            .filter(|endpoint| self.offers(*endpoint))
            .ok_or(Refusal::NotFound)?;
        if !endpoint.allow().split(", ").any(|method| method == head.method) {
            return Err(Refusal::MethodNotAllowed(endpoint.allow()));
        }
        let empty = matches!(&body, Body::Complete(bytes) if bytes.is_empty());
        if !endpoint.takes(MediaType::of(head), empty) {
            return Err(Refusal::UnsupportedMediaType);
        }
        let body = match body {
            Body::Complete(bytes) if bytes.len() <= body::MAX_BODY => bytes,
            Body::Complete(_) | Body::TooLarge => return Err(Refusal::PayloadTooLarge),
            Body::Broken => return Err(Refusal::InvalidRequest),
        };
        match endpoint {
            // These speak to everyone alike; credentials are not looked at.
            Endpoint::Jwks => return Ok(reply::public(&self.keys().jwk_set(self.now()))),
            Endpoint::Metadata => return Ok(reply::public(&document::metadata(self))),
            Endpoint::OpenApi => return Ok(reply::json(StatusCode::OK, &document::openapi(self)?)),
            Endpoint::Script => return Ok(js::reply(head)),
            Endpoint::Register
            | Endpoint::Login
            | Endpoint::Token
            | Endpoint::Logout
            | Endpoint::Revoke
            | Endpoint::Introspect
            | Endpoint::Me
            | Endpoint::Sessions
            | Endpoint::Session(_)
            | Endpoint::Password => {}
        }

        let parsed = self.parse(endpoint, head, &body);
        let credentials = self.verifier().credentials(head)?;
        let token_in_body = matches!(&parsed, Parsed::Token(Ok(Some(_))) | Parsed::Logout(Ok(Some(_))));
        if token_in_body && credentials.refresh_cookie.is_some() {
            return Err(Refusal::InvalidRequest);
        }
        let asks_for_cookies =
            matches!(&parsed, Parsed::Login(Ok(login)) if login.transport == Transport::Cookie);
        let in_question = credentials.any_cookie() || asks_for_cookies;
        *depends_on_origin = in_question && !head.is_safe();
        self.verifier().check_csrf(head, in_question)?;
        if let Some(gate) = endpoint.gate() {
            // Said once: it is the set-up that lacks it, not this request.
            if client.ip.is_none() && !site.address_missed.swap(true, Ordering::Relaxed) {
                self.tell(&self.event(EventKind::AddressUnknown, client));
            }
            self.admit(gate, client).await?;
        }

        let request = Request { gatekey: self, head, credentials, client };
        match parsed {
            Parsed::Register(body) => request.register(body?).await,
            Parsed::Login(body) => request.login(body?).await,
            Parsed::Token(body) => request.token(body?).await,
            Parsed::Logout(body) => request.logout(body?).await,
            Parsed::Revoke(body) => request.revoke(&body?).await,
            Parsed::Introspect(body) => request.introspect(&body?),
            Parsed::Password(body) => request.password(body?).await,
            Parsed::Nothing => match (endpoint, head.method) {
                (Endpoint::Me, _) => request.me(),
                (Endpoint::Session(id), _) => request.end_session(id).await,
                (Endpoint::Sessions, "DELETE") => request.end_sessions().await,
                _ => request.sessions().await,
            },
        }
    }

    fn parse(&self, endpoint: Endpoint<'_>, head: &Head<'_>, body: &Bytes) -> Parsed {
        let client_id = &self.config().client_id;
        match endpoint {
            Endpoint::Register => Parsed::Register(Registration::parse(body)),
            Endpoint::Login => Parsed::Login(Login::parse(body)),
            Endpoint::Token if body.is_empty() => Parsed::Token(Ok(None)),
            Endpoint::Token => {
                Parsed::Token(TokenRequest::parse(body, MediaType::of(head), client_id).map(Some))
            }
            Endpoint::Logout => Parsed::Logout(body::parse_logout(body)),
            Endpoint::Revoke => Parsed::Revoke(body::parse_revocation(body, client_id)),
            Endpoint::Introspect => Parsed::Introspect(Introspection::parse(body)),
            Endpoint::Password => Parsed::Password(PasswordChange::parse(body)),
            Endpoint::Me
            | Endpoint::Sessions
            | Endpoint::Session(_)
            | Endpoint::Jwks
            | Endpoint::Metadata
            | Endpoint::OpenApi
            | Endpoint::Script => Parsed::Nothing,
        }
    }

    /// `invalid_grant` in cookie transport is the end of that session: the cookies go. Nothing else clears them.
    fn clear_dead_cookies(&self, head: &Head<'_>, refusal: &Refusal, reply: &mut Reply) {
        let Refusal::Auth(AuthError::InvalidGrant(_)) = refusal else { return };
        let credentials = self.verifier().credentials(head);
        let by_cookie = credentials.is_ok_and(|credentials| credentials.refresh_cookie.is_some());
        if let (true, Ok(cookies)) = (by_cookie, self.site().cookies.clear()) {
            reply::set_cookies(reply, cookies);
        }
    }
}

/// A request that passed everything that is asked of all of them.
struct Request<'a> {
    gatekey: &'a Gatekey,
    head: &'a Head<'a>,
    credentials: Credentials<'a>,
    client: &'a Client,
}

impl Request<'_> {
    fn principal(&self) -> Result<Principal, Refusal> {
        let token = self.credentials.access().ok_or(Refusal::Unauthenticated)?;
        Ok(self.gatekey.verifier().access(token, self.head)?)
    }

    /// The session that the cookies of this request belong to.
    fn cookie_session(&self) -> Option<SessionId> {
        let authority = self.gatekey.authority();
        let refresh =
            self.credentials.refresh_cookie.and_then(|token| authority.identify_refresh(token).ok());
        refresh.or_else(|| {
            let principal = authority.identify(self.credentials.access_cookie?).ok()?;
            Some(principal.session().clone())
        })
    }

    /// Whether the cookies of this request belong to one of these sessions. They may be another's than the token in the
    /// header, and are cleared with their own session alone.
    fn cookies_of(&self, ended: &[SessionId]) -> bool {
        self.cookie_session().is_some_and(|session| ended.contains(&session))
    }

    fn ended(&self, clear: bool) -> Result<Reply, Refusal> {
        let mut reply = reply::empty(StatusCode::NO_CONTENT);
        if clear {
            reply::set_cookies(&mut reply, self.gatekey.site().cookies.clear()?);
        }
        Ok(reply)
    }

    async fn register(&self, body: Registration) -> Result<Reply, Refusal> {
        let user = self.gatekey.authority().register(&body.username, body.password, self.client).await?;
        Ok(reply::json(StatusCode::CREATED, &json!({ "user": user_json(&user) })))
    }

    async fn login(&self, body: Login) -> Result<Reply, Refusal> {
        let replaces = match body.transport {
            Transport::Cookie => self.cookie_session(),
            Transport::Body => None,
        };
        let authority = self.gatekey.authority();
        let tokens = authority.login(&body.username, body.password, self.client, replaces.as_ref()).await?;
        self.grant(&tokens, body.transport)
    }

    async fn token(&self, body: Option<TokenRequest>) -> Result<Reply, Refusal> {
        let authority = self.gatekey.authority();
        match body {
            Some(body) => {
                let token = body.refresh_token.expose();
                let tokens = authority.refresh(token, body.scope.as_deref(), self.client).await?;
                self.grant(&tokens, Transport::Body)
            }
            None => {
                let token = body::required(self.credentials.refresh_cookie)?;
                let tokens = authority.refresh(token, None, self.client).await?;
                self.grant(&tokens, Transport::Cookie)
            }
        }
    }

    fn grant(&self, tokens: &Tokens, transport: Transport) -> Result<Reply, Refusal> {
        let common = |token_type: &str| {
            json!({
                "token_type": token_type,
                "expires_in": tokens.access_expires_in,
                "refresh_expires_in": tokens.refresh_expires_in,
                "session_id": tokens.session.as_str(),
            })
        };
        match transport {
            Transport::Body => {
                let mut body = common("Bearer");
                body["access_token"] = tokens.access.expose().as_str().into();
                body["refresh_token"] = tokens.refresh.expose().as_str().into();
                Ok(reply::json(StatusCode::OK, &body))
            }
            Transport::Cookie => {
                let cookies = self.gatekey.site().cookies.grant(tokens)?;
                let mut reply = reply::json(StatusCode::OK, &common("Cookie"));
                reply::set_cookies(&mut reply, cookies);
                Ok(reply)
            }
        }
    }

    /// Any one credential is enough, and one that is dead already is as good: the session is over either way. Only an
    /// access token that came alone and is bad says nothing about any session.
    async fn logout(&self, body: Option<Secret<String>>) -> Result<Reply, Refusal> {
        let authority = self.gatekey.authority();
        let access = self.credentials.access().map(|token| authority.identify(token));
        let in_body = body.as_ref().map(|token| token.expose().as_str());
        let refresh =
            in_body.or(self.credentials.refresh_cookie).map(|token| authority.identify_refresh(token).ok());
        let session = match (access, refresh) {
            (None, None) => return Err(Refusal::Unauthenticated),
            (Some(Err(error)), None) => {
                self.gatekey.verifier().token_refused(error, self.client);
                return Err(AuthError::InvalidToken(error).into());
            }
            (Some(Ok(principal)), Some(Some(session))) if *principal.session() != session => {
                return Err(Refusal::InvalidRequest);
            }
            (Some(Ok(principal)), _) => Some(principal.session().clone()),
            (_, Some(session)) => session,
        };
        if let Some(session) = session {
            authority.end_session(&session, None, EndReason::Logout, self.client).await?;
        }
        self.ended(self.credentials.any_cookie())
    }

    async fn revoke(&self, token: &Secret<String>) -> Result<Reply, Refusal> {
        let authority = self.gatekey.authority();
        let of_access = |error: TokenError| match authority.identify(token.expose()) {
            Ok(principal) => Ok(principal.session().clone()),
            Err(_) => Err(error),
        };
        // An unknown or dead token is revoked already (RFC 7009 section 2.2).
        if let Ok(session) = authority.identify_refresh(token.expose()).or_else(of_access) {
            authority.end_session(&session, None, EndReason::Revoked, self.client).await?;
        }
        Ok(reply::empty(StatusCode::OK))
    }

    /// What a live access token says, and of everything else the one same answer: dead, foreign and malformed tokens
    /// are not told apart (RFC 7662 section 2.2). Neither is a refresh token. Whether one is live is for the store to
    /// say at the moment of its use, and no party but its client has any business with it.
    fn introspect(&self, body: &Introspection) -> Result<Reply, Refusal> {
        let basic =
            self.head.only("authorization").map_err(|_| Refusal::InvalidRequest)?.and_then(head::basic);
        // RFC 6749 s2.3: one method a request.
        if basic.is_some() && body.secret_in_body {
            return Err(Refusal::InvalidRequest);
        }
        let authority = self.gatekey.authority();
        let credentials = basic.as_ref().map(|(id, secret)| (id.as_str(), secret));
        authority.authenticate_client(credentials, self.client)?;
        let named =
            body.client_id.as_deref().is_none_or(|named| credentials.is_some_and(|(id, _)| id == named));
        if !named {
            return Err(Refusal::InvalidRequest);
        }
        let said = match authority.authenticate(body.token.expose()) {
            Ok(principal) => {
                let mut said: Map<String, Value> = principal.claims()?;
                said.insert("active".to_owned(), true.into());
                said.insert("token_type".to_owned(), "Bearer".into());
                said.insert("username".to_owned(), principal.username().into());
                said.into()
            }
            Err(AuthError::InvalidToken(_)) => json!({ "active": false }),
            Err(error) => return Err(error.into()),
        };
        Ok(reply::json(StatusCode::OK, &said))
    }

    fn me(&self) -> Result<Reply, Refusal> {
        let principal = self.principal()?;
        let body = json!({
            "sub": principal.subject().as_str(),
            "username": principal.username(),
            "roles": principal.roles(),
            "session_id": principal.session().as_str(),
            "auth_time": principal.auth_time().to_string(),
            "expires_at": principal.expires_at().to_string(),
        });
        Ok(reply::json(StatusCode::OK, &body))
    }

    async fn sessions(&self) -> Result<Reply, Refusal> {
        let principal = self.principal()?;
        let sessions = self.gatekey.authority().sessions(principal.subject()).await?;
        let rows: Vec<_> =
            sessions.iter().map(|session| session_json(session, principal.session())).collect();
        Ok(reply::json(StatusCode::OK, &json!({ "sessions": rows })))
    }

    async fn end_session(&self, id: &str) -> Result<Reply, Refusal> {
        let principal = self.principal()?;
        let id = SessionId::new(id);
        let authority = self.gatekey.authority();
        if !authority.end_session(&id, Some(principal.subject()), EndReason::Revoked, self.client).await? {
            return Err(Refusal::NotFound);
        }
        self.ended(self.cookies_of(&[id]))
    }

    async fn end_sessions(&self) -> Result<Reply, Refusal> {
        // The query is this request's body: judged before authentication, as every parse is.
        let keep_current = body::parse_keep_current(self.head.query)?;
        let principal = self.principal()?;
        let keep = keep_current.then(|| principal.session());
        let authority = self.gatekey.authority();
        let ended =
            authority.end_sessions(principal.subject(), keep, EndReason::Revoked, self.client).await?;
        self.ended(self.cookies_of(&ended))
    }

    async fn password(&self, body: PasswordChange) -> Result<Reply, Refusal> {
        let principal = self.principal()?;
        let authority = self.gatekey.authority();
        let ended = authority.change_password(&principal, body.current, body.new, self.client).await?;
        self.ended(self.cookies_of(&ended))
    }
}

fn user_json(user: &User) -> Value {
    json!({
        "id": user.id.as_str(),
        "username": user.username,
        "roles": user.roles,
        "created_at": user.created_at.to_string(),
    })
}

fn session_json(session: &Session, current: &SessionId) -> Value {
    json!({
        "id": session.id.as_str(),
        "current": session.id == *current,
        "created_at": session.created_at.to_string(),
        "last_used_at": session.last_used_at.to_string(),
        "expires_at": Timestamp::to_string(&session.end()),
        "ip": session.client.ip.map(|ip| ip.to_string()),
        "user_agent": session.client.user_agent,
    })
}
