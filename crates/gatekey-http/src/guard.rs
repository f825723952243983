//! Who may pass: the check in front of a host's own routes and of our own.
//!
//! 1. Two credentials: 400.
//! 2. Our cookies on an unsafe method from elsewhere: 403.
//! 3. No credential, or another scheme: 401 without an error code.
//! 4. A bad token: 401 `invalid_token`.
//! 5. A missing role or scope: 403.
//! 6. A login older than asked for: 401 with `max_age` (RFC 9470).
//!
//! Nothing of it does I/O. A navigation that is refused with 401 is sent to the login page where there is one
//! ([`Pages`](crate::Pages)).

use std::{borrow::Cow, ops::Deref, sync::Arc, time::Duration};

use gatekey_core::{
    access::Principal,
    error::{AuthError, TokenError},
    event::EventKind,
    session::Client,
    time::Timestamp,
};
use serde::de::DeserializeOwned;

use crate::{
    Gatekey, Verifier,
    head::{Credentials, Head},
    reply::{self, Refusal, Reply},
    verifier::GuardedCookies,
};

/// What a route asks for beyond a valid access token.
///
/// ```
/// use gatekey_http::Requirement;
/// use std::time::Duration;
///
/// let editor = Requirement::authenticated().role("editor").max_age(Duration::from_secs(300));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    pub(crate) role: Option<Cow<'static, str>>,
    pub(crate) scope: Option<Cow<'static, str>>,
    pub(crate) max_age: Option<Duration>,
}

impl Requirement {
    /// A valid access token, and no more.
    #[must_use]
    pub fn authenticated() -> Self {
        Self::default()
    }

    /// Also this role.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(Cow::Owned(role.into()));
        self
    }

    /// Also each of these space-separated scopes.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(Cow::Owned(scope.into()));
        self
    }

    /// Also that the subject proved its password at most so long ago.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    fn judge(&self, principal: &Principal, now: impl FnOnce() -> Timestamp) -> Result<(), AuthError> {
        if let Some(role) = &self.role {
            principal.require_role(role)?;
        }
        if let Some(scope) = &self.scope {
            principal.require_scope(scope)?;
        }
        if let Some(max_age) = self.max_age {
            principal.require_fresh(max_age, now())?;
        }
        Ok(())
    }
}

/// Who called one of the host's own routes: a [`Principal`], and the means to refuse it after all.
#[derive(Clone, Debug)]
pub struct Caller {
    verifier: Verifier,
    principal: Principal,
    /// Where the request goes if it is refused after all for want of a login: a navigation, to the login page.
    login: Option<Arc<str>>,
}

impl Caller {
    /// The verified identity.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Goes on only if the role is there.
    ///
    /// # Errors
    ///
    /// The 403 to be sent.
    pub fn require_role(&self, role: &str) -> Result<(), Box<Reply>> {
        self.or_refuse(self.principal.require_role(role))
    }

    /// Goes on only if each of these space-separated scopes was granted.
    ///
    /// # Errors
    ///
    /// The 403 to be sent.
    pub fn require_scope(&self, scope: &str) -> Result<(), Box<Reply>> {
        self.or_refuse(self.principal.require_scope(scope))
    }

    /// Goes on only if the subject proved its password at most `max_age` ago.
    ///
    /// # Errors
    ///
    /// The 401 to be sent (RFC 9470).
    pub fn require_fresh(&self, max_age: Duration) -> Result<(), Box<Reply>> {
        self.or_refuse(self.principal.require_fresh(max_age, self.verifier.now()))
    }

    /// Goes on only if all of this is met.
    ///
    /// # Errors
    ///
    /// The 403 or 401 to be sent.
    pub fn require(&self, requirement: &Requirement) -> Result<(), Box<Reply>> {
        self.or_refuse(requirement.judge(&self.principal, || self.verifier.now()))
    }

    /// The host's own claims, typed. `T` names the members it wants and ignores the others.
    ///
    /// # Errors
    ///
    /// The 500 to be sent: a token of ours without the claims that the host expects is a fault of the set-up.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, Box<Reply>> {
        self.or_refuse(self.principal.claims())
    }

    fn or_refuse<T>(&self, checked: Result<T, AuthError>) -> Result<T, Box<Reply>> {
        checked.map_err(|error| {
            let client = Client::default();
            let mut event = self.verifier.failure(&error, &client);
            if !matches!(error, AuthError::Internal(_)) {
                event = self.verifier.event(EventKind::AccessDenied, &client);
                event.reason = Some(error.reason());
            }
            event.subject = Some(self.principal.subject().clone());
            self.verifier.tell(&event);
            Box::new(self.verifier.refuse_or_send(&Refusal::Auth(error), self.login.as_deref()))
        })
    }
}

impl Deref for Caller {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

/// The 500 of a guard that does not find the [`Verifier`] its adapter should have been given, and a line in the log with
/// what to do about it. Only for frameworks where neither the compiler nor the start can see that.
#[must_use]
pub fn not_installed(remedy: &str) -> Box<Reply> {
    tracing::error!(target: "gatekey", remedy, "a route is guarded by a verifier that is not installed");
    Box::new(reply::refuse(&Refusal::Auth(AuthError::Internal(Arc::from(Box::from(remedy)))), ""))
}

impl Gatekey {
    /// [`Verifier::guard`], by this application's own tokens and cookies.
    ///
    /// # Errors
    ///
    /// The whole refusal, ready to be sent.
    pub fn guard(&self, head: &Head<'_>, requirement: &Requirement) -> Result<Caller, Box<Reply>> {
        self.verifier().guard(head, requirement)
    }

    /// [`Verifier::guard_optional`], by this application's own tokens and cookies.
    ///
    /// # Errors
    ///
    /// The whole refusal, ready to be sent.
    pub fn guard_optional(&self, head: &Head<'_>) -> Result<Option<Caller>, Box<Reply>> {
        self.verifier().guard_optional(head)
    }
}

impl Verifier {
    /// Whom a request to one of the application's own routes speaks for.
    ///
    /// # Errors
    ///
    /// The whole refusal, ready to be sent.
    pub fn guard(&self, head: &Head<'_>, requirement: &Requirement) -> Result<Caller, Box<Reply>> {
        self.guard_optional(head)?
            .ok_or(Refusal::Unauthenticated)
            .and_then(|caller| {
                requirement.judge(&caller, || self.now()).inspect_err(|error| self.denied(head, error))?;
                Ok(caller)
            })
            .map_err(|refusal| Box::new(self.refuse_or_send(&refusal, self.login_page(head).as_deref())))
    }

    /// Whom a request speaks for, if it carries a credential at all: absent is anonymous, bad is refused.
    ///
    /// # Errors
    ///
    /// The whole refusal, ready to be sent.
    pub fn guard_optional(&self, head: &Head<'_>) -> Result<Option<Caller>, Box<Reply>> {
        if let Some(refusal) = self.unrefreshed(head) {
            return Err(Box::new(self.refuse(&refusal)));
        }
        let depends_on_origin = std::cell::Cell::new(false);
        let judge = || {
            let credentials = self.credentials(head)?;
            depends_on_origin.set(credentials.any_cookie() && !head.is_safe());
            self.check_csrf(head, credentials.any_cookie())?;
            let principal = credentials.access().map(|token| self.access(token, head)).transpose()?;
            let login = || self.login_page(head);
            Ok(principal.map(|principal| Caller { verifier: self.clone(), principal, login: login() }))
        };
        judge().map_err(|refusal: Refusal| {
            if let Refusal::Auth(error @ (AuthError::Unavailable(_) | AuthError::Internal(_))) = &refusal {
                self.tell(&self.failure(error, &self.client(head)));
            }
            let mut reply = self.refuse_or_send(&refusal, self.login_page(head).as_deref());
            if depends_on_origin.get() {
                reply::vary(&mut reply);
            }
            Box::new(reply)
        })
    }

    pub(crate) fn credentials<'a>(&self, head: &Head<'a>) -> Result<Credentials<'a>, Refusal> {
        let names = self.inner().cookies.as_ref().map(|cookies| &cookies.names);
        Credentials::read(head, names).map_err(|_| Refusal::InvalidRequest)
    }

    /// Refuses a request from elsewhere, if the rule applies to it: an unsafe method and a cookie of ours.
    pub(crate) fn check_csrf(&self, head: &Head<'_>, cookies: bool) -> Result<(), Refusal> {
        let allowed = |guarded: &GuardedCookies| guarded.origins.allow(head);
        if !cookies || head.is_safe() || self.inner().cookies.as_ref().is_some_and(allowed) {
            return Ok(());
        }
        self.tell(&self.event(EventKind::CsrfRefused, &self.client(head)));
        Err(Refusal::CsrfFailed)
    }

    /// Whom an access token speaks for. That it could not be judged is told by who answers.
    pub(crate) fn access(&self, token: &[u8], head: &Head<'_>) -> Result<Principal, AuthError> {
        self.authenticate(token).inspect_err(|error| {
            if let AuthError::InvalidToken(reason) = error {
                self.token_refused(*reason, &self.client(head));
            }
        })
    }

    pub(crate) fn token_refused(&self, reason: TokenError, client: &Client) {
        let mut event = self.event(EventKind::TokenRefused, client);
        event.reason = Some(reason.reason());
        self.tell(&event);
    }

    fn denied(&self, head: &Head<'_>, error: &AuthError) {
        let mut event = self.event(EventKind::AccessDenied, &self.client(head));
        event.reason = Some(error.reason());
        self.tell(&event);
    }

    pub(crate) fn refuse(&self, refusal: &Refusal) -> Reply {
        reply::refuse(refusal, &self.inner().realm)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use gatekey_core::{
        event::{Event, EventSink},
        keys::{Algorithm, Keys},
        revocation::WhenLost,
        store::memory::MemoryStore,
    };
    use http::{HeaderMap, HeaderValue, StatusCode, header};

    use super::*;
    use crate::Body;

    #[derive(Clone, Debug, Default)]
    struct Told(Arc<Mutex<Vec<EventKind>>>);

    impl EventSink for Told {
        fn event(&self, event: &Event) {
            self.0.lock().unwrap().push(event.kind);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_judged_is_told_once_on_either_way() {
        let told = Told::default();
        let gatekey = Gatekey::builder()
            .issuer("https://app.example")
            .keys(Keys::generate(Algorithm::EdDSA).unwrap())
            .store(MemoryStore::new())
            .events(told.clone())
            .configure(|config| {
                config.feed.poll = Duration::from_millis(10);
                config.feed.lost_after = Duration::from_millis(11);
                config.feed.when_lost = WhenLost::Close;
            })
            .build()
            .await
            .unwrap();
        let alice = r#"{"username":"alice","password":"seven green lanterns by the quay"}"#;
        let json =
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let mut answer = Bytes::new();
        for path in ["/auth/register", "/auth/login"] {
            let head = Head { method: "POST", path, query: None, headers: &json, peer: None };
            answer = gatekey.handle(head, Body::Complete(alice.into())).await.into_body();
        }
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
        let bearer = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::try_from(bearer).unwrap())]);
        let head = Head { method: "GET", path: "/auth/me", query: None, headers: &bearer, peer: None };

        // On this one thread nobody hears of revocations meanwhile.
        std::thread::sleep(Duration::from_millis(50));
        told.0.lock().unwrap().clear();
        assert_eq!(gatekey.guard_optional(&head).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(*told.0.lock().unwrap(), [EventKind::Unavailable]);
        let reply = gatekey.handle(head, Body::Complete(Bytes::new())).await;
        assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(*told.0.lock().unwrap(), [EventKind::Unavailable; 2]);
    }
}
