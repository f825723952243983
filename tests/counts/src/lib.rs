//! What a request costs, counted and not timed: a count is the same on a busy machine.
//!
//! A [`Case`] is one thing that a request does. `cargo xtask counts` counts its instructions and compares them with
//! `figures.json`; `tests/allocations.rs` states how often it allocates.

use std::{hint::black_box, sync::Arc, time::Duration};

use gatekey_core::{
    Authority, Tokens,
    config::Config,
    keys::{Algorithm, Keys},
    limit::Limits,
    secret::Secret,
    session::Client,
    store::{UserStore, memory::MemoryStore},
    user::UserChange,
};
use gatekey_http::{Gatekey, Head, Requirement};
use http::{HeaderMap, HeaderValue, header};
use tokio::runtime::Runtime;

/// One thing that a request does.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is called on the command line and in `figures.json`.
    pub name: &'static str,
    prepare: fn(usize) -> Prepared,
}

/// Ready to be done so often as was asked for.
type Prepared = Box<dyn FnMut()>;

impl Case {
    /// Makes everything ready for doing it `times` times and returns what does it once.
    ///
    /// # Panics
    ///
    /// If the application cannot be set up, or a request is answered otherwise than it should be.
    pub fn prepare(&self, times: usize) -> impl FnMut() {
        (self.prepare)(times)
    }
}

/// All of them. *Cold* is a token that is verified, *new* one that is also noted then, since all places are taken, *twice* one
/// that comes again and takes a place, *hot* one that has it.
pub const CASES: &[Case] = &[
    Case { name: "verify-cold-hs256", prepare: |_| verify(Algorithm::HS256, 0) },
    Case { name: "verify-cold-eddsa", prepare: |_| verify(Algorithm::EdDSA, 0) },
    Case { name: "verify-cold-es256", prepare: |_| verify(Algorithm::ES256, 0) },
    Case { name: "verify-new-hs256", prepare: |times| distinct(times, 1) },
    Case { name: "verify-twice-hs256", prepare: |times| distinct(times, 2) },
    Case { name: "verify-hot-hs256", prepare: |_| verify(Algorithm::HS256, 64) },
    Case { name: "verify-hot-eddsa", prepare: |_| verify(Algorithm::EdDSA, 64) },
    Case { name: "verify-forged-hs256", prepare: |_| forged() },
    Case { name: "guard-cold-hs256", prepare: |_| guard(0, Requirement::authenticated()) },
    Case { name: "guard-new-hs256", prepare: guard_distinct },
    Case { name: "guard-hot-hs256", prepare: |_| guard(64, Requirement::authenticated()) },
    Case {
        name: "guard-role-hot-hs256",
        prepare: |_| guard(64, Requirement::authenticated().role("editor")),
    },
    Case { name: "refresh-hs256", prepare: |_| refresh() },
];

/// An application with one account, which is logged in.
struct Application {
    authority: Authority,
    /// A node of the same application, as it guards requests.
    gatekey: Gatekey,
    tokens: Tokens,
    runtime: Runtime,
}

const PASSWORD: &str = "seven green lanterns by the quay";

impl Application {
    fn new(algorithm: Algorithm, token_cache: usize) -> Self {
        // What it does in the background waits until somebody waits for it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let keys = Keys::generate(algorithm).expect("keys");
        let settle = move |config: &mut Config| {
            config.issuer = "https://app.example.com".to_owned();
            config.token_cache = token_cache;
            config.limits = Limits::OFF;
            config.hashing.threads = 1;
            config.feed.poll = Duration::from_secs(1);
        };
        let (authority, gatekey, tokens) = runtime.block_on(async {
            let store = MemoryStore::new();
            let gatekey = Gatekey::builder().keys(keys.clone()).store(store.clone()).configure(settle);
            let gatekey = gatekey.build().await.expect("a Gatekey");
            let mut builder = Authority::builder();
            builder.keys(keys);
            builder.sessions(Arc::new(store.clone()));
            builder.users(Arc::new(store.clone()));
            settle(builder.config_mut());
            let authority = builder.build().await.expect("an Authority");
            let (client, password) = (Client::default(), || Secret::new(PASSWORD.to_owned()));
            let user = authority.register("alice", password(), &client).await.expect("an account");
            let roles = UserChange { roles: Some(vec!["editor".to_owned()]), ..UserChange::default() };
            assert!(store.update(&user.id, &roles).await.expect("the account's roles"));
            let tokens = authority.login("alice", password(), &client, None).await.expect("tokens");
            (authority, gatekey, tokens)
        });
        Self { authority, gatekey, tokens, runtime }
    }

    fn refresh(&mut self) {
        let presented = self.tokens.refresh.expose();
        let refreshed = self.runtime.block_on(self.authority.refresh(presented, None, &Client::default()));
        self.tokens = refreshed.expect("fresh tokens");
    }

    fn verify(&self, token: &str) {
        black_box(self.authority.authenticate(token)).expect("a good token");
    }

    fn pass(&self, headers: &HeaderMap, requirement: &Requirement) {
        let peer = Some(std::net::Ipv4Addr::LOCALHOST.into());
        let head = Head { method: "GET", path: "/notes", query: None, headers, peer };
        assert!(black_box(self.gatekey.guard(&head, requirement)).is_ok(), "a good request");
    }
}

/// The fields of a request with a token.
fn request(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("app.example.com"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("Mozilla/5.0"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    let field = format!("Bearer {token}");
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(field).expect("a header value"));
    headers
}

fn verify(algorithm: Algorithm, token_cache: usize) -> Prepared {
    let application = Application::new(algorithm, token_cache);
    let token = application.tokens.access.expose().clone();
    // What is made at the first request of a thread, and of a token.
    application.verify(&token);
    Box::new(move || application.verify(&token))
}

/// So many tokens, and an application in which others have taken all four places.
fn fresh(times: usize) -> (Application, Vec<String>) {
    let mut application = Application::new(Algorithm::HS256, 4);
    let mut next = || {
        application.refresh();
        application.tokens.access.expose().clone()
    };
    let mut tokens: Vec<_> = (0..times + 4).map(|_| next()).collect();
    for token in tokens.split_off(times) {
        application.verify(&token);
        application.pass(&request(&token), &Requirement::authenticated());
    }
    (application, tokens)
}

/// Another token each time, shown so often one after the other.
fn distinct(times: usize, shown: usize) -> Prepared {
    let (application, tokens) = fresh(times);
    let mut at = 0;
    Box::new(move || {
        (0..shown).for_each(|_| application.verify(&tokens[at]));
        at += 1;
    })
}

fn forged() -> Prepared {
    let application = Application::new(Algorithm::HS256, 64);
    let token = application.tokens.access.expose();
    application.verify(token);
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{signed}.{other}{}", &signature[1..]);
    Box::new(move || {
        drop(black_box(application.authority.authenticate(&forged)).expect_err("a forged token"))
    })
}

fn guard(token_cache: usize, requirement: Requirement) -> Prepared {
    let application = Application::new(Algorithm::HS256, token_cache);
    let headers = request(application.tokens.access.expose());
    application.pass(&headers, &requirement);
    Box::new(move || application.pass(&headers, &requirement))
}

/// Another token each time.
fn guard_distinct(times: usize) -> Prepared {
    let (application, tokens) = fresh(times);
    let requests: Vec<_> = tokens.iter().map(|token| request(token)).collect();
    let mut at = 0;
    Box::new(move || {
        application.pass(&requests[at], &Requirement::authenticated());
        at += 1;
    })
}

fn refresh() -> Prepared {
    let mut application = Application::new(Algorithm::HS256, 64);
    application.refresh();
    Box::new(move || application.refresh())
}
