//! Pages without script: `cargo run -p axum-pages`, then open the address it prints. Plain HTML forms, and a policy under
//! which no script runs at all.
//!
//! A login outlives its access token: gatekey refreshes a navigation on the way (`Pages`). A page that asks for a login
//! sends people to `/login` and back. Forms go to routes of this program, which put them to gatekey's endpoints
//! (`submit`); a form that another site made the browser send is refused by what the browser says of itself.

use std::process::ExitCode;

use axum::{
    Router,
    body::Body,
    extract::{Form, Query, RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request::Parts},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use example_start::{Outcome, Start};
use gatekey::{
    Form as Fields, Gatekey, GatekeyBuilder, Pages, Reply, ReturnTo, SqliteStore,
    axum::{Authenticated, MaybeAuthenticated, Rejection, pages, submit},
};
use serde::Deserialize;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    example_start::exit(run().await)
}

async fn run() -> Outcome {
    let start = Start::from_env()?;
    let gatekey = settings(&start).await?.build().await?;
    serve(start, gatekey).await
}

/// What this program sets.
///
/// # Errors
///
/// Keys or a database that cannot be had.
pub async fn settings(start: &Start) -> Outcome<GatekeyBuilder> {
    let store = SqliteStore::open(start.file("gatekey.db")).await?;
    Ok(start.builder()?.store(store).pages(Pages::new().login("/login")))
}

/// Serves until it is stopped.
///
/// # Errors
///
/// What kept it from serving.
pub async fn serve(start: Start, gatekey: Gatekey) -> Outcome {
    let listener = TcpListener::from_std(start.listener)?;
    example_start::ready(&start.issuer);
    gatekey::axum::serve(listener, app(gatekey)).await?;
    Ok(())
}

fn app(gatekey: Gatekey) -> Router {
    let app = Router::new()
        .route("/", get(home))
        .route("/account", get(account))
        .route("/login", get(enter).post(log_in))
        .route("/register", post(register))
        .route("/password", post(change_password))
        .route("/logout", post(log_out));
    // The endpoints as well; and navigations to all of these are refreshed.
    pages(&gatekey, app).with_state(gatekey)
}

async fn home(user: MaybeAuthenticated) -> Response {
    let body = match user.caller() {
        Some(user) => format!("<p>Hello, {}. <a href=/account>Your account</a></p>", text(user.username())),
        None => "<p>Hello, stranger. <a href=/login>Log in</a></p>".to_owned(),
    };
    page(StatusCode::OK, "Home", &body)
}

async fn account(user: Authenticated, RawQuery(query): RawQuery) -> Response {
    let late = query.as_deref() == Some(LATE);
    let said = "The page was open for long, so nothing was changed. Please type it again.";
    account_page(StatusCode::OK, user.username(), if late { said } else { "" })
}

/// The account page for somebody whose form came too late.
const LATE: &str = "late";

fn account_page(status: StatusCode, name: &str, problem: &str) -> Response {
    let body = format!(
        "<p>You are {name}.</p>{}
        <form method=post action=/password>
        <p><label>Password <input name=current type=password autocomplete=current-password required></label>
        <p><label>New password <input name=new type=password autocomplete=new-password required></label>
        <p><button>Change it</button></form>
        <form method=post action=/logout><p><button>Log out</button></form>",
        said(problem),
        name = text(name),
    );
    page(status, "Your account", &body)
}

#[derive(Deserialize)]
struct Way {
    return_to: Option<String>,
}

async fn enter(Query(way): Query<Way>) -> Response {
    login_page(StatusCode::OK, &ReturnTo::or_root(way.return_to.as_deref()), "")
}

fn login_page(status: StatusCode, back: &ReturnTo, problem: &str) -> Response {
    let body = format!(
        "{}<form method=post action=/login>
        <input type=hidden name=return_to value=\"{}\">
        <p><label>Name <input name=username autocomplete=username required></label>
        <p><label>Password <input name=password type=password autocomplete=current-password required></label>
        <p><button>Log in</button> <button formaction=/register>Register</button></form>",
        said(problem),
        text(back.as_str()),
    );
    page(status, "Log in", &body)
}

#[derive(Deserialize)]
struct Account {
    username: String,
    password: String,
    return_to: Option<String>,
}

async fn log_in(State(gatekey): State<Gatekey>, parts: Parts, Form(typed): Form<Account>) -> Response {
    let back = ReturnTo::or_root(typed.return_to.as_deref());
    let reply = submit(&gatekey, &parts, Fields::login(&typed.username, &typed.password)).await;
    if reply.status().is_success() {
        return back.redirect(&reply).map(Body::from);
    }
    login_page(reply.status(), &back, words(&reply))
}

async fn register(State(gatekey): State<Gatekey>, parts: Parts, Form(typed): Form<Account>) -> Response {
    let reply = submit(&gatekey, &parts, Fields::register(&typed.username, &typed.password)).await;
    if reply.status().is_success() {
        return log_in(State(gatekey), parts, Form(typed)).await;
    }
    login_page(reply.status(), &ReturnTo::or_root(typed.return_to.as_deref()), words(&reply))
}

#[derive(Deserialize)]
struct Passwords {
    current: String,
    new: String,
}

/// A form may come when the access token is over, and only a GET is refreshed. So whoever is not known here is not refused:
/// they go back to the form, are refreshed on the way, or log in, and try again.
async fn change_password(
    State(gatekey): State<Gatekey>,
    user: Result<MaybeAuthenticated, Rejection>,
    parts: Parts,
    Form(typed): Form<Passwords>,
) -> Response {
    let reply = submit(&gatekey, &parts, Fields::password(&typed.current, &typed.new)).await;
    match user.as_ref().ok().and_then(MaybeAuthenticated::caller) {
        Some(user) if reply.status().is_success() => {
            account_page(StatusCode::OK, user.username(), "The password is changed.")
        }
        Some(user) => account_page(reply.status(), user.username(), words(&reply)),
        None if reply.status() == StatusCode::UNAUTHORIZED => {
            Redirect::to(&format!("/account?{LATE}")).into_response()
        }
        None => page(reply.status(), "Not changed", &said(words(&reply))),
    }
}

async fn log_out(State(gatekey): State<Gatekey>, parts: Parts) -> Response {
    let reply = submit(&gatekey, &parts, Fields::logout()).await;
    // Whoever is logged out already has what they wanted.
    if reply.status().is_success() || reply.status() == StatusCode::UNAUTHORIZED {
        return ReturnTo::or_root(None).redirect(&reply).map(Body::from);
    }
    page(reply.status(), "Not logged out", &said(words(&reply)))
}

/// A refusal for people.
fn words(reply: &Reply) -> &'static str {
    match reply.status() {
        StatusCode::UNAUTHORIZED => "The name or the password is wrong.",
        StatusCode::FORBIDDEN => "This form came from another site.",
        StatusCode::CONFLICT => "The name is taken.",
        StatusCode::UNPROCESSABLE_ENTITY => {
            "A password needs 15 characters or more, and must be neither common nor made of the name."
        }
        StatusCode::TOO_MANY_REQUESTS => "Too many attempts. Try again later.",
        _ => "That did not work. Try again in a moment.",
    }
}

fn said(problem: &str) -> String {
    if problem.is_empty() { String::new() } else { format!("<p role=alert>{}</p>", text(problem)) }
}

/// Text in HTML, also in a quoted attribute.
fn text(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Nothing but forms of its own, in no frame; and kept by no cache, so that nothing private is there after a logout.
const HEADERS: [(&str, &str); 4] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
];

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let headers: HeaderMap = HEADERS
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><main><h1>{title}</h1>{body}</main></html>\n"
    );
    (status, headers, Html(html)).into_response()
}
