//! What is told to the people who run the application, and what never is.

use std::{cell::RefCell, sync::Once};

use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

use super::*;

#[test]
fn names_of_events_never_change() {
    let names: Vec<_> = EventKind::ALL.iter().map(|kind| (kind.name(), kind.is_grave())).collect();
    assert_eq!(
        names,
        [
            ("registered", false),
            ("login_succeeded", false),
            ("login_failed", false),
            ("throttled", true),
            ("refresh_rotated", false),
            ("refresh_replayed", false),
            ("refresh_held", false),
            ("refresh_superseded", false),
            ("refresh_displaced", true),
            ("refresh_reuse", true),
            ("refresh_refused", false),
            ("store_rolled_back", true),
            ("session_ended", false),
            ("sessions_ended", false),
            ("password_changed", false),
            ("password_change_failed", false),
            ("password_rehashed", false),
            ("user_changed", false),
            ("token_refused", false),
            ("client_refused", false),
            ("access_denied", false),
            ("csrf_refused", true),
            ("unavailable", true),
            ("fault", true),
            ("address_unknown", true),
            ("revocation_feed_lost", true),
            ("revocation_feed_restored", false),
            ("keys_changed", false),
            ("keys_unreadable", true),
            ("issuer_keys_lost", true),
            ("issuer_keys_restored", false),
        ]
    );
}

#[test]
fn reasons_never_change() {
    let tokens = [
        (TokenError::TooLong, "token_too_long"),
        (TokenError::Malformed, "token_malformed"),
        (TokenError::Header, "token_header"),
        (TokenError::UnknownKey, "token_unknown_key"),
        (TokenError::WrongAlgorithm, "token_wrong_algorithm"),
        (TokenError::WrongType, "token_wrong_type"),
        (TokenError::BadSignature, "token_bad_signature"),
        (TokenError::Claims, "token_claims"),
        (TokenError::WrongIssuer, "token_wrong_issuer"),
        (TokenError::WrongAudience, "token_wrong_audience"),
        (TokenError::NotYetValid, "token_not_yet_valid"),
        (TokenError::Expired, "token_expired"),
        (TokenError::Revoked, "token_revoked"),
    ];
    for (error, reason) in tokens {
        assert_eq!((error.reason(), error.to_string().as_str()), (reason, reason));
        assert_eq!(AuthError::InvalidGrant(GrantRefusal::Token(error)).reason(), reason);
    }
    for (refusal, reason) in [
        (LoginRefusal::UnknownName, "unknown_name"),
        (LoginRefusal::WrongPassword, "wrong_password"),
        (LoginRefusal::Disabled, "disabled"),
        (LoginRefusal::Stale, "stale"),
    ] {
        assert_eq!(AuthError::InvalidCredentials(refusal).reason(), reason);
    }
    for (refusal, reason) in [
        (ClientRefusal::Missing, "client_missing"),
        (ClientRefusal::Unknown, "client_unknown"),
        (ClientRefusal::WrongSecret, "client_secret"),
    ] {
        assert_eq!(AuthError::InvalidClient(refusal).reason(), reason);
    }
    for (refusal, reason) in [
        (GrantRefusal::UnknownSession, "session_unknown"),
        (GrantRefusal::Subject, "subject_gone"),
        (GrantRefusal::Rotation(Outcome::Reused), "reuse"),
        (GrantRefusal::Rotation(Outcome::Ended), "session_ended"),
        (GrantRefusal::Rotation(Outcome::Expired), "session_expired"),
        (GrantRefusal::Rotation(Outcome::Future), "generation_unknown"),
        (GrantRefusal::Rotation(Outcome::Foreign), "generation_foreign"),
    ] {
        assert_eq!(AuthError::InvalidGrant(refusal).reason(), reason);
    }
}

/// Everything that can happen to an account in one go; the tokens it came to hold.
async fn a_day_in_the_life(host: &Host) -> Vec<Tokens> {
    let authority = &host.authority;
    let mut held = Vec::new();
    authority.register("Bob", secret(NEW_PASSWORD), &client()).await.unwrap();
    assert!(host.try_login(ALICE, WRONG).await.is_err());
    assert!(host.try_login("my password by mistake", PASSWORD).await.is_err());
    let first = host.try_login(ALICE, PASSWORD).await.unwrap();
    let second = host.refresh(&first.refresh).await.unwrap();
    let replayed = authority.refresh(first.refresh.expose(), None, &elsewhere()).await.unwrap();
    held.push(host.refresh(&second.refresh).await.unwrap());
    host.clock.advance(secs(11));
    let third = host.refresh(&second.refresh).await.unwrap();
    let fourth = host.refresh(&third.refresh).await.unwrap();
    assert!(host.refresh(&second.refresh).await.is_err());
    assert!(host.refresh(&secret("garbage")).await.is_err());
    let principal = host.principal(&fourth);
    let other = host.login().await;
    assert!(host.change_password(&principal, WRONG, NEW_PASSWORD).await.is_err());
    host.change_password(&principal, PASSWORD, NEW_PASSWORD).await.unwrap();
    authority.rotate_keys().unwrap();
    let roles = UserChange { roles: Some(vec!["admin".to_owned()]), ..UserChange::default() };
    authority.update_user(&alice(), &roles).await.unwrap();
    host.clock.advance(secs(11));
    assert!(authority.refresh(third.refresh.expose(), None, &elsewhere()).await.is_err());
    let fifth = host.try_login(ALICE, NEW_PASSWORD).await.unwrap();
    authority.end_session(&fifth.session, Some(&alice()), EndReason::Logout, &client()).await.unwrap();
    held.extend([first, second, replayed, third, fourth, other, fifth]);
    held
}

#[tokio::test]
async fn each_decision_is_told_with_its_reason() {
    let host = host().await;
    a_day_in_the_life(&host).await;
    assert_eq!(
        host.sink.names(),
        [
            "registered",
            "login_failed: wrong_password",
            "login_failed: unknown_name",
            "login_succeeded",
            "refresh_rotated",
            "refresh_replayed",
            "refresh_held",
            "refresh_rotated",
            "refresh_rotated",
            "refresh_superseded",
            "refresh_refused: token_malformed",
            "login_succeeded",
            "password_change_failed: wrong_password",
            "sessions_ended: password_change",
            "password_changed",
            "keys_changed: published",
            "user_changed",
            "refresh_reuse: reuse",
            "login_succeeded",
            "session_ended: logout",
        ]
    );
}

#[tokio::test]
async fn an_event_says_who_in_pseudonyms_where_no_account_is_known() {
    let host = host().await;
    assert!(host.try_login("my password by mistake", PASSWORD).await.is_err());
    assert!(host.try_login("my password by mistake", WRONG).await.is_err());
    assert!(host.try_login(ALICE, WRONG).await.is_err());
    let tokens = host.try_login(ALICE, PASSWORD).await.unwrap();
    let refreshed = host.refresh(&tokens.refresh).await.unwrap();
    assert!(host.try_login(tokens.session.as_str(), PASSWORD).await.is_err());
    host.login().await;
    let events = host.sink.take();
    let [unknown, again, known, login, refresh, another, second] = &events[..] else {
        panic!("seven events")
    };
    // The same name is the same pseudonym, another is another, and nobody can compute it without the key.
    assert_eq!((unknown.name.is_some(), &unknown.name), (true, &again.name));
    assert_ne!(unknown.name, another.name);
    assert_ne!(login.session, second.session);
    // Nor is what a session is called what a name would be.
    assert_ne!(another.name, login.session);
    assert_eq!((&known.subject, &known.name), (&Some(alice()), &None));
    assert_eq!((&unknown.subject, &unknown.session), (&None, &None));
    assert_eq!(unknown.name.as_ref().unwrap().len(), 16);
    assert_eq!((&login.subject, &login.client), (&Some(alice()), &client()));
    assert!(login.session.is_some() && login.session == refresh.session);
    assert_ne!(login.session.as_deref(), Some(refreshed.session.as_str()));
    let text = format!("{events:?}");
    for hidden in ["mistake", tokens.session.as_str(), "Alice"] {
        assert!(!text.contains(hidden), "{text}");
    }
}

// ---- Logs -------------------------------------------------------------------------------------------------------

/// Writes each event as a line, the way subscribers do: text with its quotes and escapes.
///
/// One for the whole process, since `tracing` remembers for the whole process that nobody wanted an event; each thread,
/// and so each test, has its own lines.
struct Lines;

thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Writes down what this test logs from now on.
fn write_down() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Lines).unwrap();
        // Asks anew about each place that another thread came by while nobody listened.
        drop(tracing::Dispatch::new(Lines));
    });
    LINES.set(Some(Vec::new()));
}

fn written() -> Vec<String> {
    LINES.take().unwrap()
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl Subscriber for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        LINES.with_borrow(Option::is_some)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}:", metadata.level(), metadata.target()));
        event.record(&mut line);
        LINES.with_borrow_mut(|lines| lines.get_or_insert_default().push(line.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Ways in which a value could have been written.
fn forms(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}");
    vec![
        base64_simd::STANDARD.encode_to_string(bytes).trim_end_matches('=').to_owned(),
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes),
        hex.to_uppercase(),
        hex,
        list[1..list.len() - 1].to_owned(),
    ]
}

#[tokio::test]
async fn neither_events_nor_logs_hold_a_password_a_token_or_a_hash() {
    let host = host().await;
    write_down();
    let tokens = a_day_in_the_life(&host).await;
    // Faults too, with all they say.
    host.backend.trouble(At::Every("take"), Trouble::FailsBefore(corrupt));
    for outcome in [host.try_login(ALICE, PASSWORD).await, host.refresh(&tokens[0].refresh).await] {
        host.authority.tell(&host.authority.failure(&outcome.unwrap_err(), &client()));
    }
    let hash = host.backend.hash_of(&alice()).await;
    let events = host.sink.take();
    let lines = written();
    assert_eq!(lines.iter().filter(|line| line.contains(" gatekey: ")).count(), events.len());
    let text = format!("{events:?}\n{}", lines.join("\n"));

    let mut hidden = vec![
        PASSWORD.to_owned(),
        WRONG.to_owned(),
        NEW_PASSWORD.to_owned(),
        "my password by mistake".to_owned(),
        "Alice".to_owned(),
        HASH.to_owned(),
        hash.clone(),
    ];
    hidden.extend([HASH, &hash].iter().flat_map(|hash| hash.rsplit('$').take(2)).map(str::to_owned));
    for tokens in &tokens {
        for token in [&tokens.access, &tokens.refresh] {
            // Header segments are no secret, and the only part that is not.
            hidden.extend(token.expose().split('.').skip(1).map(str::to_owned));
            hidden.extend(forms(&refresh::digest(token.expose()).0));
            hidden.push(claims_of(token)["jti"].as_str().unwrap().to_owned());
        }
        hidden.push(tokens.session.as_str().to_owned());
    }
    for hidden in hidden {
        assert!(!text.contains(&hidden), "{hidden:?} in {text}");
    }
}

#[tokio::test]
async fn a_line_has_stable_names_and_a_level() {
    let host = host().await;
    write_down();
    let tokens = host.try_login(ALICE, PASSWORD).await.unwrap();
    host.refresh(&tokens.refresh).await.unwrap();
    host.clock.advance(secs(11));
    assert!(host.authority.refresh(tokens.refresh.expose(), None, &elsewhere()).await.is_err());
    let session = host.sink.take().pop().unwrap().session.unwrap();
    let lines = written();
    assert_eq!(
        lines[0],
        format!(
            "INFO gatekey: event=\"login_succeeded\" at=2027-01-15T08:00:00Z subject=\"subject-of-alice\" \
             session=\"{session}\" ip=192.0.2.1 user_agent=\"Firefox\""
        )
    );
    assert_eq!(
        lines[2],
        format!(
            "WARN gatekey: event=\"refresh_reuse\" at=2027-01-15T08:00:11Z subject=\"subject-of-alice\" \
             session=\"{session}\" ip=2001:db8::7 user_agent=\"curl\" previous_ip=192.0.2.1 \
             previous_user_agent=\"Firefox\" reason=\"reuse\""
        )
    );
}

#[tokio::test]
async fn control_characters_cannot_forge_a_line() {
    let host = host().await;
    write_down();
    // As a host might build it: without the care of `Client::new`.
    let hostile = "x\r\nINFO gatekey: event=\"login_succeeded\"\u{1b}[2J\0\u{85}\u{2028}";
    let client = Client { ip: None, user_agent: Some(hostile.to_owned()) };
    let mut event = host.authority.event(EventKind::LoginFailed, &client);
    event.subject = Some(SubjectId::new(hostile));
    event.cause = Some(hostile.to_owned());
    event.previous = Some(client);
    host.authority.tell(&event);
    let store = AuthError::from(StoreError::unavailable(hostile));
    host.authority.tell(&host.authority.failure(&store, &Client::default()));
    let lines = written();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert!(line.contains(r"x\r\nINFO"), "{line}");
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{2028}'), "{line:?}");
    }
}

#[tokio::test]
async fn failures_name_what_is_underneath_for_operators_alone() {
    let host = host().await;
    for (error, kind, reason, cause) in [
        (
            AuthError::from(down()),
            EventKind::Unavailable,
            "unavailable",
            "unavailable: the store is unavailable: down",
        ),
        (
            AuthError::from(corrupt()),
            EventKind::Fault,
            "fault",
            "fault: the store holds something unreadable: corrupt",
        ),
        (
            AuthError::from(crate::random::RandomFailed),
            EventKind::Fault,
            "fault",
            "fault: the random generator failed",
        ),
    ] {
        let event = host.authority.failure(&error, &client());
        assert_eq!((event.kind, event.reason, event.cause.as_deref()), (kind, Some(reason), Some(cause)));
        assert_eq!((event.at, event.client), (NOW, client()));
    }
}

// ---- Counters ---------------------------------------------------------------------------------------------------

/// What was counted, set and recorded, in order.
#[derive(Clone, Default)]
pub(super) struct Counters(pub(super) Arc<Mutex<Vec<String>>>);

/// One gauge or histogram.
struct Measure {
    name: String,
    taken: Arc<Mutex<Vec<String>>>,
}

impl metrics::GaugeFn for Measure {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        lock(&self.taken).push(format!("{} {value}", self.name));
    }
}

impl metrics::HistogramFn for Measure {
    fn record(&self, value: f64) {
        lock(&self.taken).push(format!("{} {value}", self.name));
    }
}

impl Counters {
    fn measure(&self, key: &metrics::Key) -> Arc<Measure> {
        Arc::new(Measure { name: key.name().to_owned(), taken: Arc::clone(&self.0) })
    }

    /// The values of a gauge or histogram so far.
    pub(super) fn values(&self, name: &str) -> Vec<f64> {
        let taken = lock(&self.0);
        taken.iter().filter_map(|line| line.strip_prefix(name)?.trim().parse().ok()).collect()
    }
}

impl metrics::Recorder for Counters {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        lock(&self.0).push(format!("{}{{{}}}", key.name(), labels.join(",")));
        metrics::Counter::noop()
    }

    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.measure(key))
    }

    fn register_histogram(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.measure(key))
    }
}

#[tokio::test]
async fn every_event_is_counted_by_its_name_and_nothing_else() {
    let host = host().await;
    let counters = Counters::default();
    let mut event = host.authority.event(EventKind::RefreshReuse, &client());
    event.subject = Some(alice());
    metrics::with_local_recorder(&counters, || host.authority.tell(&event));
    assert_eq!(*lock(&counters.0), ["gatekey_events_total{event=refresh_reuse}"]);
}

#[tokio::test]
async fn wrong_client_secrets_are_told_and_limited_without_the_store() {
    const CLIENT: &str = "0123456789abcdef0123456789abcdef";
    let host = host_with(|config| {
        config.limits.client_failures_per_minute = 2;
        config.introspection_clients = vec![IntrospectionClient::new("orders-api", CLIENT).unwrap()];
    })
    .await;
    let (right, wrong) = (secret(CLIENT), secret(&CLIENT.to_uppercase()));
    let authority = &host.authority;
    let ask = |credentials| authority.authenticate_client(credentials, &client());
    for credentials in [None, Some(("orders-api", &right)), None] {
        assert_eq!(ask(credentials).is_ok(), credentials.is_some());
    }
    authority.admit(Gate::Client, &client()).await.unwrap();
    assert!(ask(Some(("orders-api", &wrong))).is_err());
    assert!(ask(Some(("orders", &right))).is_err());
    let refused = authority.admit(Gate::Client, &client()).await;
    assert!(matches!(refused, Err(AuthError::RateLimited { retry_after }) if retry_after == secs(30)));
    // Another network, and a client whose address is not known, are not held back by it.
    authority.admit(Gate::Client, &elsewhere()).await.unwrap();
    authority.admit(Gate::Client, &Client::default()).await.unwrap();
    assert!(authority.authenticate_client(Some(("orders-api", &wrong)), &Client::default()).is_err());
    host.clock.advance(secs(30));
    authority.admit(Gate::Client, &client()).await.unwrap();
    assert_eq!(
        host.sink.names(),
        [
            "client_refused: client_missing",
            "client_refused: client_missing",
            "client_refused: client_secret",
            "client_refused: client_unknown",
            "throttled: client_failures",
            "client_refused: client_secret",
        ]
    );
    assert_eq!(host.backend.calls(), [""; 0]);
}
