//! [`Verifier`]: what stands in front of an application's own routes, and whose word it takes.

use std::{fmt, sync::Arc};

use gatekey_core::{
    Authority,
    access::Principal,
    config::ConfigError,
    error::AuthError,
    event::{Event, EventKind},
    session::Client,
    time::Timestamp,
};

use crate::{
    Gatekey, address::Proxies, cookie::CookieNames, csrf::Origins, head::Head, reply::is_challenge_text,
};

/// Says whom a request to one of the application's own routes speaks for. Every guard of every adapter asks one. Cheap to
/// clone; all clones are one.
///
/// A [`Gatekey`] is one too: wherever a guard takes a verifier it takes `&gatekey`, and sees its keys, its cookies and its
/// revocations.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) judge: Judge,
    /// The realm of challenges.
    pub(crate) realm: String,
    pub(crate) proxies: Proxies,
    /// The cookies that are a credential, with the rule that guards them. None where only the header is read.
    pub(crate) cookies: Option<GuardedCookies>,
}

/// What judges access tokens.
pub(crate) enum Judge {
    Authority(Authority),
}

/// Our cookies, and whose pages may use them.
pub(crate) struct GuardedCookies {
    pub(crate) names: CookieNames,
    pub(crate) origins: Origins,
}

pub(crate) fn check_realm(realm: &str) -> Result<(), ConfigError> {
    if realm.is_empty() || !realm.chars().all(is_challenge_text) {
        return Err(ConfigError::setting("realm", "must be printable ASCII without quote and backslash"));
    }
    Ok(())
}

impl Verifier {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn authenticate(&self, token: &str) -> Result<Principal, AuthError> {
        match &self.0.judge {
            Judge::Authority(authority) => authority.authenticate(token),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        match &self.0.judge {
            Judge::Authority(authority) => authority.now(),
        }
    }

    pub(crate) fn tell(&self, event: &Event) {
        match &self.0.judge {
            Judge::Authority(authority) => authority.tell(event),
        }
    }

    pub(crate) fn event(&self, kind: EventKind, client: &Client) -> Event {
        Event::new(kind, self.now(), client)
    }

    pub(crate) fn failure(&self, error: &AuthError, client: &Client) -> Event {
        Event::failure(error, self.now(), client)
    }

    /// Who sent a request: the socket peer or what a trusted proxy says, and the user agent.
    #[must_use]
    pub fn client(&self, head: &Head<'_>) -> Client {
        let mut user_agent = None;
        head.headers.each("user-agent", &mut |value| {
            user_agent.get_or_insert_with(|| String::from_utf8_lossy(value).into_owned());
        });
        Client::new(self.0.proxies.client(head), user_agent.as_deref())
    }
}

impl From<&Gatekey> for Verifier {
    fn from(gatekey: &Gatekey) -> Self {
        gatekey.verifier().clone()
    }
}

impl From<&Self> for Verifier {
    fn from(verifier: &Self) -> Self {
        verifier.clone()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer = match &self.0.judge {
            Judge::Authority(authority) => &authority.config().issuer,
        };
        f.debug_struct("Verifier").field("issuer", issuer).finish_non_exhaustive()
    }
}
