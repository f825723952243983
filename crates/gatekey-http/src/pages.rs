//! Pages without script: a navigation that finds its access token expired is refreshed on the way.
//!
//! A page without script cannot call the token endpoint. Where [`Pages`] is set, [`Gatekey::page`] stands in front of the
//! application and does it for navigations: GET of a document at the top level, by the word of Fetch Metadata, whose
//! access cookie is absent or refused and whose refresh cookie is there.
//!
//! 1. Refreshed: the guards behind see the new access cookie, and the response sets what the token endpoint would set.
//! 2. The session is over: the guards see no cookie of ours, and the response clears both.
//! 3. It cannot be said now (409, 429, 503): a guard answers that; nothing is set or cleared.
//!
//! Whatever it came to is written when the application's answer is ready, unless that took longer than the grace: by then
//! another tab may have displaced the successor, or logged in anew, and cookies that come late would undo it.
//! [`Page::response`] is empty then, and the browser's next navigation displaces what it was not told.
//!
//! A GET of a frame, an image or a script (`fetch`), a POST, or a request that says nothing of Fetch Metadata is none of
//! these and goes on as it came.
//!
//! It does not matter why the access cookie is refused: of a session that was ended elsewhere both cookies have to go, and
//! of a key that was retired a new one has to come. Garbage does not reach the store: the refresh token has a signature of
//! its own. Only while it cannot be said whether the cookie is good (a key that is being asked for, revocations that are
//! not heard) nothing is refreshed.
//!
//! Another site may send a person here and so cause a rotation. It reads nothing of the answer, but it may see to it that
//! the browser does not either (`window.stop()`, a cancelled prerender): the successor is lost, and whoever presents its
//! parent after the grace looks like a thief. So the policy is [`Policy::PAGES`](gatekey_core::rotation::Policy::PAGES),
//! under which a successor that nobody used gives way (contract 5.25), unless the application chooses another.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use gatekey_core::{
    Gate,
    config::ConfigError,
    error::{AuthError, TokenError},
    event::EventKind,
    session::Client,
    time::Timestamp,
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, COOKIE, SET_COOKIE},
};

use crate::{
    Gatekey, Verifier,
    head::{Credentials, Head, pairs},
    reply::{self, Refusal, Reply},
    return_to::ReturnTo,
};

/// The setting for pages without script ([`GatekeyBuilder::pages`](crate::GatekeyBuilder::pages)). With it the refresh
/// cookie is `SameSite=Lax`: a link from another site has to bring it along.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    login: Option<String>,
}

impl Pages {
    /// Navigations are refreshed; a refused one is answered 401 like any other request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where a navigation goes that is refused with 401: a path of the application, which gets what was asked for as
    /// `return_to`. It is for [`ReturnTo`] to read.
    #[must_use]
    pub fn login(mut self, path: impl Into<String>) -> Self {
        self.login = Some(path.into());
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let plain = |path: &String| path.parse::<ReturnTo>().is_ok() && !path.contains('?');
        if self.login.as_ref().is_none_or(plain) {
            return Ok(());
        }
        Err(ConfigError::setting("pages", "the login page must be a path of the application such as /login"))
    }
}

/// What a navigation that was looked at means for the request and for its response; nothing, for most.
#[derive(Debug, Default)]
pub struct Page {
    request: Vec<(HeaderName, HeaderValue)>,
    response: Vec<(HeaderName, HeaderValue)>,
    until: Option<Until>,
}

/// Up to when a response may be written.
#[derive(Debug)]
struct Until {
    gatekey: Gatekey,
    since: Timestamp,
    lasts: Duration,
}

impl Until {
    fn is_over(&self) -> bool {
        self.gatekey.now().since(self.since) > self.lasts
    }
}

/// Fields to be written, each in place of those of its name but where [`is_added`](crate::is_added).
pub type PageFields = [(HeaderName, HeaderValue)];

impl Page {
    /// The fields that the application is to see in the request.
    #[must_use]
    pub fn request(&self) -> &PageFields {
        &self.request
    }

    /// The fields of the application's response; to be asked for when it is ready. None, if it took so long that the
    /// browser may have newer cookies by now.
    #[must_use]
    pub fn response(&self) -> &PageFields {
        if self.until.as_ref().is_some_and(Until::is_over) { &[] } else { &self.response }
    }

    /// Writes fields where a framework has the `http` crate's types.
    pub fn write(fields: &PageFields, headers: &mut HeaderMap) {
        for (name, value) in fields {
            if reply::is_added(name) {
                headers.append(name, value.clone());
            } else {
                headers.insert(name, value.clone());
            }
        }
    }

    /// The host's response carries a token, or takes one away: no cache keeps it.
    fn answered(cookies: Vec<HeaderValue>) -> Vec<(HeaderName, HeaderValue)> {
        let uncached = UNCACHED.map(|(name, value)| (name, HeaderValue::from_static(value)));
        cookies.into_iter().map(|cookie| (SET_COOKIE, cookie)).chain(uncached).collect()
    }
}

/// The field that all caches go by, and those that some prefer to it (RFC 9213; Fastly and Varnish; nginx).
const UNCACHED: [(HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cdn-cache-control"), "no-store"),
    (HeaderName::from_static("surrogate-control"), "no-store"),
    (HeaderName::from_static("x-accel-expires"), "0"),
];

/// How long an answer may take that clears cookies, where the grace is shorter: a policy without one logs out too.
const CLEARED_WITHIN: Duration = Duration::from_secs(10);

/// How the guards behind are told what a refresh came to. A client that writes it refuses its own request.
const UNREFRESHED: HeaderName = HeaderName::from_static("gatekey-unrefreshed");

/// What a navigation asked for: routers that nest cut the path that the guards behind see.
const TARGET: HeaderName = HeaderName::from_static("gatekey-target");

impl Head<'_> {
    /// Whether a browser asks for a page to show: not a frame in one, and not a part of one.
    fn is_navigation(&self) -> bool {
        let says = |name, value: &[u8]| self.only(name).is_ok_and(|found| found == Some(value));
        // A HEAD is answered as its GET; some frameworks have made one of it by now.
        matches!(self.method, "GET" | "HEAD")
            && says("sec-fetch-mode", b"navigate")
            && says("sec-fetch-dest", b"document")
            && self.only("authorization") == Ok(None)
    }
}

impl Gatekey {
    /// Refreshes a navigation, if [`Pages`] is set and it needs it. To be called once in front of the application; its
    /// routes then see [`Page::request`], its response has [`Page::response`] beside its own fields.
    pub async fn page(&self, head: &Head<'_>) -> Page {
        let mut page = Page::default();
        let on = self.verifier().inner().pages.is_some();
        if !on || !head.is_navigation() || self.serves(head.path) {
            return page;
        }
        let target = ReturnTo::of(head).and_then(|target| HeaderValue::try_from(target.as_str()).ok());
        page.request.push((TARGET, target.unwrap_or(HeaderValue::from_static(""))));
        if head.method != "GET" {
            return page;
        }
        if head.only(UNREFRESHED.as_str()) != Ok(None) {
            page.request.push((UNREFRESHED, HeaderValue::from_static("")));
        }
        let Ok(credentials) = self.verifier().credentials(head) else { return page };
        let Some(token) = credentials.refresh_cookie.filter(|_| self.needs_refresh(&credentials)) else {
            return page;
        };
        let since = self.now();
        let policy = self.config().rotation;
        let until = |lasts| Some(Until { gatekey: self.clone(), since, lasts });
        match self.refresh_page(head, token).await {
            Ok((access, cookies)) => {
                // Where nothing displaces, a successor that is not set is a login that is lost: better late, then.
                page.until = policy.displace_within.and_then(|_| until(policy.grace));
                page.request.push((COOKIE, self.cookie_field(head, Some(&access))));
                page.response = Page::answered(cookies);
            }
            Err(AuthError::InvalidGrant(_)) => {
                page.until = until(policy.grace.max(CLEARED_WITHIN));
                page.request.push((COOKIE, self.cookie_field(head, None)));
                page.response = Page::answered(self.site().cookies.clear().unwrap_or_default());
            }
            Err(error) => {
                if matches!(error, AuthError::Unavailable(_) | AuthError::Internal(_)) {
                    self.tell(&self.failure(&error, &self.client(head)));
                }
                page.request.retain(|(name, _)| name != UNREFRESHED);
                page.request.push((UNREFRESHED, unrefreshed(&error)));
            }
        }
        page
    }

    fn needs_refresh(&self, credentials: &Credentials<'_>) -> bool {
        credentials.access_cookie.is_none_or(|token| match self.verifier().authenticate(token) {
            Err(AuthError::InvalidToken(error)) => error != TokenError::KeyPending,
            _ => false,
        })
    }

    /// The new access token and the cookies to be set.
    async fn refresh_page(
        &self,
        head: &Head<'_>,
        token: &str,
    ) -> Result<(String, Vec<HeaderValue>), AuthError> {
        let client: Client = self.client(head);
        if client.ip.is_none() && !self.site().address_missed.swap(true, Ordering::Relaxed) {
            self.tell(&self.event(EventKind::AddressUnknown, &client));
        }
        self.admit(Gate::Refresh, &client).await?;
        let tokens = self.authority().refresh(token, None, &client).await?;
        let cookies = self.site().cookies.grant(&tokens)?;
        Ok((tokens.access.expose().clone(), cookies))
    }

    /// The request's cookies with ours taken out and the new access token put in.
    fn cookie_field(&self, head: &Head<'_>, access: Option<&str>) -> HeaderValue {
        let names = &self.site().cookies;
        let mut kept: Vec<Vec<u8>> = Vec::new();
        head.headers.each("cookie", &mut |field| {
            let ours = |name: &[u8]| name == names.access.as_bytes() || name == names.refresh.as_bytes();
            kept.extend(
                pairs(field).filter(|(name, _)| !ours(name)).map(|(name, value)| [name, value].join(&b'=')),
            );
        });
        kept.extend(access.map(|token| format!("{}={token}", names.access).into_bytes()));
        let mut field =
            HeaderValue::from_bytes(&kept.join(&b"; "[..])).unwrap_or(HeaderValue::from_static(""));
        field.set_sensitive(true);
        field
    }

    /// Says that [`Gatekey::page`] stands in front of the application. For adapters.
    pub fn mount_pages(&self) {
        self.site().pages_mounted.store(true, Ordering::Relaxed);
    }

    /// Stops a start at which [`Pages`] is set and nothing calls [`Gatekey::page`]. For adapters, where they mount the
    /// endpoints.
    ///
    /// # Panics
    ///
    /// Then, with `remedy` in the message.
    pub fn expect_pages(&self, remedy: &str) {
        let mounted = self.site().pages_mounted.load(Ordering::Relaxed);
        assert!(
            mounted || self.verifier().inner().pages.is_none(),
            "GatekeyBuilder::pages is set, but no navigation would be refreshed: {remedy}"
        );
    }
}

fn unrefreshed(error: &AuthError) -> HeaderValue {
    if let AuthError::RateLimited { retry_after } = error {
        return crate::cookie::whole_seconds(*retry_after).into();
    }
    HeaderValue::from_static(if matches!(error, AuthError::Superseded) {
        "superseded"
    } else if matches!(error, AuthError::Internal(_)) {
        "internal"
    } else {
        "unavailable"
    })
}

impl Verifier {
    /// Why a navigation could not be refreshed, by the word of [`Gatekey::page`].
    pub(crate) fn unrefreshed(&self, head: &Head<'_>) -> Option<Refusal> {
        self.inner().pages.as_ref().filter(|_| head.is_navigation())?;
        let unknown = || Arc::from(Box::from("told before"));
        Some(Refusal::Auth(match std::str::from_utf8(head.only(UNREFRESHED.as_str()).ok()??).ok()? {
            "" => return None,
            "superseded" => AuthError::Superseded,
            "internal" => AuthError::Internal(unknown()),
            word => match word.parse() {
                Ok(seconds) => AuthError::RateLimited { retry_after: Duration::from_secs(seconds) },
                Err(_) => AuthError::Unavailable(unknown()),
            },
        }))
    }

    /// The login page that a navigation is sent to if it is refused, with the way back.
    pub(crate) fn login_page(&self, head: &Head<'_>) -> Option<Arc<str>> {
        let login = self.inner().pages.as_ref()?.login.as_deref()?;
        if !head.is_navigation() {
            return None;
        }
        let told =
            head.only(TARGET.as_str()).ok().flatten().and_then(|target| std::str::from_utf8(target).ok());
        let back = told.map_or_else(|| ReturnTo::of(head), |target| target.parse().ok());
        // The login page itself would be sent to itself for ever.
        if back.as_ref().is_some_and(|back| back.as_str().split('?').next() == Some(login)) {
            return None;
        }
        Some(match back {
            Some(back) => format!("{login}?return_to={}", back.encoded()).into(),
            None => login.into(),
        })
    }

    /// A refusal: for a navigation that could do with a login, the way to the login page.
    pub(crate) fn refuse_or_send(&self, refusal: &Refusal, login: Option<&str>) -> Reply {
        let reply = self.refuse(refusal);
        match login.filter(|_| reply.status() == http::StatusCode::UNAUTHORIZED) {
            Some(login) => reply::see_other(login),
            None => reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, atomic::AtomicI64};

    use gatekey_core::{
        event::{Event, EventSink},
        keys::{Algorithm, Keys},
        rotation::Policy,
        secret::Secret,
        store::memory::MemoryStore,
        time::Clock,
    };
    use http::StatusCode;

    use super::*;
    use crate::{GatekeyBuilder, Requirement};

    #[derive(Clone, Debug)]
    struct Seconds(Arc<AtomicI64>);

    impl Seconds {
        fn advance(&self, secs: i64) {
            self.0.fetch_add(secs, Ordering::Relaxed);
        }
    }

    impl Clock for Seconds {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    #[derive(Clone, Debug, Default)]
    struct Told(Arc<Mutex<Vec<&'static str>>>);

    impl EventSink for Told {
        fn event(&self, event: &Event) {
            self.0.lock().unwrap().push(event.kind.name());
        }
    }

    /// A site of pages where somebody is logged in, and their refresh token.
    struct Visited {
        gatekey: Gatekey,
        clock: Seconds,
        told: Told,
        token: String,
    }

    async fn visited(set: impl FnOnce(GatekeyBuilder) -> GatekeyBuilder) -> Visited {
        let (clock, told) = (Seconds(Arc::new(AtomicI64::new(1_700_000_000))), Told::default());
        let builder = Gatekey::builder()
            .issuer("https://app.example")
            .keys(Keys::generate(Algorithm::EdDSA).unwrap())
            .store(MemoryStore::new())
            .clock(Arc::new(clock.clone()))
            .events(told.clone())
            .pages(Pages::new());
        let gatekey = set(builder).build().await.unwrap();
        let (nobody, password) =
            (Client::default(), || Secret::new("seven green lanterns by the quay".into()));
        gatekey.register("alice", password(), &nobody).await.unwrap();
        let tokens = gatekey.login("alice", password(), &nobody, None).await.unwrap();
        let token = tokens.refresh.expose().clone();
        Visited { gatekey, clock, told, token }
    }

    impl Visited {
        /// A navigation that brings this refresh cookie alone.
        async fn navigate(&self, token: &str) -> Page {
            let cookie = format!("__Host-gatekey_refresh={token}").parse().unwrap();
            let mut headers = HeaderMap::from_iter([(COOKIE, cookie)]);
            self.gatekey.page(&navigation("/notes", &mut headers)).await
        }
    }

    /// The refresh token that a response sets; empty where it is cleared.
    fn refresh_token(page: &Page) -> Option<String> {
        page.response().iter().find_map(|(_, value)| {
            let pair = value.to_str().ok()?.split(';').next()?;
            pair.strip_prefix("__Host-gatekey_refresh=").map(str::to_owned)
        })
    }

    #[tokio::test]
    async fn a_lost_answer_is_reuse_only_where_the_application_chose_so() {
        type Set = fn(GatekeyBuilder) -> GatekeyBuilder;
        let same: Set = |builder| builder;
        let balanced: Set = |builder| builder.rotation(Policy::BALANCED);
        let resilient: Set = |builder| builder.rotation(Policy::RESILIENT);
        let strict: Set = |builder| builder.configure(|config| config.rotation = Policy::STRICT);
        for (set, away, accused) in [
            (same, 11, false),
            (same, 3600, false),
            (same, 3 * 86_400, false),
            (balanced, 10, false),
            (balanced, 11, true),
            (resilient, 3600, false),
            (resilient, 86_401, true),
            (strict, 1, true),
        ] {
            let site = visited(set).await;
            drop(site.navigate(&site.token).await);
            site.clock.advance(away);
            let page = site.navigate(&site.token).await;
            assert_eq!(refresh_token(&page).as_deref() == Some(""), accused, "after {away} s");
            assert_eq!(site.told.0.lock().unwrap().contains(&"refresh_reuse"), accused, "after {away} s");
        }
    }

    async fn gatekey(pages: bool) -> Gatekey {
        let builder = Gatekey::builder()
            .issuer("https://app.example")
            .keys(Keys::generate(Algorithm::EdDSA).unwrap())
            .store(MemoryStore::new());
        let builder = if pages { builder.pages(Pages::new().login("/login")) } else { builder };
        builder.build().await.unwrap()
    }

    fn navigation<'a>(path: &'static str, headers: &'a mut HeaderMap) -> Head<'a> {
        headers.insert("sec-fetch-mode", HeaderValue::from_static("navigate"));
        headers.insert("sec-fetch-dest", HeaderValue::from_static("document"));
        Head { method: "GET", path, query: None, headers, peer: None }
    }

    #[tokio::test]
    async fn guards_say_what_kept_a_navigation_from_being_refreshed() {
        let gatekey = gatekey(true).await;
        let unknown = || Arc::from(Box::from("a store"));
        for (error, status) in [
            (AuthError::Superseded, StatusCode::CONFLICT),
            (AuthError::RateLimited { retry_after: Duration::from_secs(17) }, StatusCode::TOO_MANY_REQUESTS),
            (AuthError::Unavailable(unknown()), StatusCode::SERVICE_UNAVAILABLE),
            (AuthError::Internal(unknown()), StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            let mut headers = HeaderMap::from_iter([(UNREFRESHED, unrefreshed(&error))]);
            let head = navigation("/notes", &mut headers);
            let required = gatekey.guard(&head, &Requirement::authenticated()).unwrap_err();
            let optional = gatekey.guard_optional(&head).unwrap_err();
            assert_eq!((required.status(), optional.status()), (status, status));
            if status == StatusCode::TOO_MANY_REQUESTS {
                assert_eq!(required.headers()["retry-after"], "17");
            }
        }
        // What a client wrote itself is taken out.
        let mut headers = HeaderMap::from_iter([(UNREFRESHED, HeaderValue::from_static("superseded"))]);
        let page = gatekey.page(&navigation("/notes", &mut headers)).await;
        Page::write(page.request(), &mut headers);
        let reply = gatekey.guard(&navigation("/notes", &mut headers), &Requirement::authenticated());
        assert_eq!(reply.unwrap_err().status(), StatusCode::SEE_OTHER);
    }

    #[tokio::test]
    async fn no_cache_is_told_by_the_application_to_keep_what_sets_cookies() {
        let site = visited(|builder| builder).await;
        let names = ["cache-control", "cdn-cache-control", "surrogate-control", "x-accel-expires"];
        let host_s = || {
            let field = |name| (HeaderName::from_static(name), HeaderValue::from_static("max-age=600"));
            HeaderMap::from_iter(names.map(field))
        };
        let mut headers = host_s();
        Page::write(site.navigate(&site.token).await.response(), &mut headers);
        let said = names.map(|name| headers.get_all(name).iter().collect::<Vec<_>>());
        assert_eq!(said, [["no-store"], ["no-store"], ["no-store"], ["0"]]);
        let mut headers = host_s();
        Page::write(Page::default().response(), &mut headers);
        assert_eq!(headers, host_s());
    }

    #[tokio::test]
    async fn cookies_that_come_late_are_not_set() {
        let site = visited(|builder| builder).await;
        let slow = site.navigate(&site.token).await;
        site.clock.advance(10);
        let in_time = refresh_token(&slow).unwrap();
        site.clock.advance(1);
        // Another tab has what the browser holds from now on.
        let newest = refresh_token(&site.navigate(&site.token).await).unwrap();
        assert_ne!(newest, in_time);
        assert!(slow.response().is_empty());
        assert!(!slow.request().is_empty());
        // A login that is over is not taken from the browser later than that either.
        let over = site.navigate("not-a-token").await;
        site.clock.advance(10);
        assert_eq!(refresh_token(&over).as_deref(), Some(""));
        site.clock.advance(1);
        assert!(over.response().is_empty());
        assert_ne!(refresh_token(&site.navigate(&newest).await).as_deref(), Some(""));
        assert!(!site.told.0.lock().unwrap().contains(&"refresh_reuse"));
    }

    #[tokio::test]
    async fn cookies_are_set_late_where_nothing_displaces_what_was_lost() {
        for policy in [Policy::BALANCED, Policy::STRICT] {
            let site = visited(|builder| builder.rotation(policy)).await;
            let slow = site.navigate(&site.token).await;
            site.clock.advance(60);
            let token = refresh_token(&slow).unwrap();
            assert_ne!(refresh_token(&site.navigate(&token).await).as_deref(), Some(""));
        }
    }

    #[tokio::test]
    async fn the_login_page_is_not_sent_to_itself() {
        for (pages, path, status) in [
            (true, "/notes", StatusCode::SEE_OTHER),
            (true, "/login", StatusCode::UNAUTHORIZED),
            (false, "/notes", StatusCode::UNAUTHORIZED),
        ] {
            let reply = gatekey(pages)
                .await
                .guard(&navigation(path, &mut HeaderMap::new()), &Requirement::authenticated())
                .unwrap_err();
            assert_eq!(reply.status(), status, "{path}");
        }
    }

    #[tokio::test]
    async fn the_way_back_is_the_whole_path_where_a_router_cut_it() {
        let gatekey = gatekey(true).await;
        let mut headers = HeaderMap::new();
        let page = gatekey.page(&navigation("/team/notes", &mut headers)).await;
        Page::write(page.request(), &mut headers);
        let reply = gatekey.guard(&navigation("/notes", &mut headers), &Requirement::authenticated());
        assert_eq!(reply.unwrap_err().headers()["location"], "/login?return_to=/team/notes");
    }

    #[tokio::test]
    #[should_panic(expected = "no navigation would be refreshed")]
    async fn pages_that_nothing_refreshes_do_not_start() {
        gatekey(false).await.expect_pages("mount them");
        let gatekey = gatekey(true).await;
        gatekey.expect_pages("mount them");
    }

    #[tokio::test]
    async fn the_host_s_own_cookies_stay_and_ours_are_replaced() {
        let gatekey = gatekey(true).await;
        let fields = "theme=dark; __Host-gatekey_access=a; x=\"y\"; __Host-gatekey_refresh=b";
        let mut headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(fields))]);
        headers.append(COOKIE, HeaderValue::from_static("lang=en"));
        let head = navigation("/notes", &mut headers);
        assert_eq!(gatekey.cookie_field(&head, None), "theme=dark; x=\"y\"; lang=en");
        let with_ours = "theme=dark; x=\"y\"; lang=en; __Host-gatekey_access=c";
        assert_eq!(gatekey.cookie_field(&head, Some("c")), with_ours);
    }
}
