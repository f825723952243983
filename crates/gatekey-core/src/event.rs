//! What happened, for the people who run the application: one event for every decision worth knowing.
//!
//! Each event goes three ways: to `tracing` (target `gatekey`, one line with stable field names), to a counter
//! (`gatekey_events_total{event}` through the `metrics` facade), and to the host's [`EventSink`], which may send a mail.
//! No event holds a password, token, cookie or hash. A session is shown as a keyed hash, and so is a login name that
//! belongs to no account: people type passwords there.

use std::fmt;

use crate::{
    error::AuthError,
    limit,
    session::{Client, SessionId, SubjectId},
    time::Timestamp,
};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $name:literal, $grave:literal;)*) => {
        /// What happened. Names never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventKind { $($(#[$doc])* $kind,)* }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The event's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Whether somebody should look: logged as a warning.
            #[must_use]
            pub fn is_grave(self) -> bool {
                match self { $(Self::$kind => $grave,)* }
            }
        }
    };
}

kinds! {
    /// An account was created.
    Registered => "registered", false;
    /// A login succeeded.
    LoginSucceeded => "login_succeeded", false;
    /// A login was refused; `reason` says why.
    LoginFailed => "login_failed", false;
    /// An attempt was not looked at because of too many before; `reason` says which limit.
    Throttled => "throttled", true;
    /// A refresh token was swapped for its successor.
    RefreshRotated => "refresh_rotated", false;
    /// A swapped refresh token was repeated within the grace and answered identically; `previous` is who swapped it.
    RefreshReplayed => "refresh_replayed", false;
    /// A live refresh token was left in place because several requests are in flight.
    RefreshHeld => "refresh_held", false;
    /// A late request of a token swapped a moment ago.
    RefreshSuperseded => "refresh_superseded", false;
    /// An unused successor was replaced.
    RefreshDisplaced => "refresh_displaced", true;
    /// A used refresh token came back: the session is revoked. `client` and `previous` are the two who hold it.
    RefreshReuse => "refresh_reuse", true;
    /// A refresh was refused; `reason` says why.
    RefreshRefused => "refresh_refused", false;
    /// The store knows less than a token we signed: it was rolled back.
    StoreRolledBack => "store_rolled_back", true;
    /// A session was ended; `reason` says why.
    SessionEnded => "session_ended", false;
    /// All other sessions of a subject were ended; `reason` says why.
    SessionsEnded => "sessions_ended", false;
    /// A password was changed.
    PasswordChanged => "password_changed", false;
    /// A password change was refused; `reason` says why.
    PasswordChangeFailed => "password_change_failed", false;
    /// A password was hashed anew, since the settings rose or the hash was imported.
    PasswordRehashed => "password_rehashed", false;
    /// An account was changed by an administrator.
    UserChanged => "user_changed", false;
    /// An access token was refused; `reason` says why.
    TokenRefused => "token_refused", false;
    /// A client that asked about a token was refused; `reason` says why.
    ClientRefused => "client_refused", false;
    /// A principal lacks what a route asks for.
    AccessDenied => "access_denied", false;
    /// A request with a cookie of ours came from elsewhere.
    CsrfRefused => "csrf_refused", true;
    /// A request could not be served because something underneath is not available.
    Unavailable => "unavailable", true;
    /// A fault of ours, or of the set-up.
    Fault => "fault", true;
    /// A client's address is not known: network limits are off for such requests. Told once.
    AddressUnknown => "address_unknown", true;
    /// The revocations of other nodes have not been heard for too long.
    FeedLost => "revocation_feed_lost", true;
    /// They are heard again.
    FeedRestored => "revocation_feed_restored", false;
    /// The keys were changed: ours, where `reason` says how, or those of the issuer whose tokens are verified.
    KeysChanged => "keys_changed", false;
    /// The file of the keys cannot be read any more; those read before stay in use.
    KeysUnreadable => "keys_unreadable", true;
    /// The keys of the issuer whose tokens are verified cannot be had; those known before stay in use.
    IssuerKeysLost => "issuer_keys_lost", true;
    /// They can be had again.
    IssuerKeysRestored => "issuer_keys_restored", false;
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// To whom, where it is known.
    pub subject: Option<SubjectId>,
    /// A keyed hash of the session: the same for all events of one session.
    pub session: Option<String>,
    /// A keyed hash of the name tried, where no account is known.
    pub name: Option<String>,
    /// Who asked.
    pub client: Client,
    /// Who used the session before, where two are involved.
    pub previous: Option<Client>,
    /// Why: a stable word.
    pub reason: Option<&'static str>,
    /// What failed underneath, for operators.
    pub cause: Option<String>,
}

impl Event {
    /// An event that says no more than what, when and who asked; the rest is filled in.
    #[must_use]
    pub fn new(kind: EventKind, at: Timestamp, client: &Client) -> Self {
        Self {
            kind,
            at,
            subject: None,
            session: None,
            name: None,
            client: client.clone(),
            previous: None,
            reason: None,
            cause: None,
        }
    }

    /// The event for an error that is no answer to the client: something underneath failed.
    #[must_use]
    pub fn failure(error: &AuthError, at: Timestamp, client: &Client) -> Self {
        let unavailable = matches!(error, AuthError::Unavailable(_));
        let kind = if unavailable { EventKind::Unavailable } else { EventKind::Fault };
        let mut event = Self::new(kind, at, client);
        event.reason = Some(error.reason());
        event.cause = Some(error.to_string());
        event
    }
}

/// Takes the events in. Called on the request's own path: it must not block, and has nowhere to report an error.
pub trait EventSink: Send + Sync + fmt::Debug + 'static {
    /// Takes one event.
    fn event(&self, event: &Event);
}

/// Makes pseudonyms that only this application can make: for events and counters.
pub(crate) struct Pseudonyms {
    key: [u8; 32],
}

impl Pseudonyms {
    /// The key is derived from the refresh secret, so that all nodes make the same.
    pub(crate) fn new(secret_derived: [u8; 32]) -> Self {
        Self { key: secret_derived }
    }

    pub(crate) fn session(&self, id: &SessionId) -> String {
        self.hash("session", id.as_str())
    }

    pub(crate) fn name(&self, name: &str) -> String {
        self.hash("name", name)
    }

    pub(crate) fn counter(&self, what: &str, parts: &[&str]) -> limit::Key {
        limit::Key::derive(&self.key, what, parts)
    }

    fn hash(&self, what: &str, text: &str) -> String {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &self.key);
        let mut context = aws_lc_rs::hmac::Context::with_key(&key);
        for part in [what, "\0", text] {
            context.update(part.as_bytes());
        }
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(&context.sign().as_ref()[..12])
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms")
    }
}

/// Logs and counts an event. What a client sent is written with its control characters escaped.
pub(crate) fn log(event: &Event) {
    metrics::counter!("gatekey_events_total", "event" => event.kind.name()).increment(1);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "gatekey",
                event = event.kind.name(),
                at = %event.at,
                subject = event.subject.as_ref().map(SubjectId::as_str),
                session = event.session.as_deref(),
                name = event.name.as_deref(),
                ip = event.client.ip.map(tracing::field::display),
                user_agent = event.client.user_agent.as_ref().map(tracing::field::debug),
                previous_ip = event.previous.as_ref().and_then(|client| client.ip).map(tracing::field::display),
                previous_user_agent =
                    event.previous.as_ref().and_then(|client| client.user_agent.as_ref()).map(tracing::field::debug),
                reason = event.reason,
                cause = event.cause.as_deref(),
            )
        };
    }
    if event.kind.is_grave() {
        line!(warn);
    } else {
        line!(info);
    }
}
