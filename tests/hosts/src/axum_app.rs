//! The routes of a host in axum, through the adapter's public API. Shared with the host that is wrong on purpose.

use axum::{
    Json, Router,
    body::Body,
    extract::{Form, Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request::Parts},
    response::{Html, Response},
    routing::{get, post},
};
use bytes::Bytes;
use example_page::{FILES, HEADERS, PRIVATE, SECURITY};
use gatekey::{
    Form as Fields, Gatekey,
    axum::{
        Authenticated, FreshlyAuthenticated, MaybeAuthenticated, WithScope, pages, require_role,
        serve as with_address, submit,
    },
};
use tokio::net::TcpListener;

use crate::{Host, LogIn, Read, Refused, Way, form_page, left, maybe, open, panicking, terminated, whoami};

/// Everything a host serves.
pub fn app(host: &Host) -> Router {
    let control = async |State(host): State<Host>, Path(path): Path<String>, body: Bytes| {
        StatusCode::from_u16(host.control(&format!("/__test/{path}"), &body).await)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    };
    let page = FILES.iter().fold(Router::new(), |app, file| {
        let fields = headers(HEADERS.into_iter().chain([("content-type", file.content_type)]));
        app.route(file.path, get(async move || (fields, file.text)))
    });
    let log = host.security.clone();
    let own = page
        .route(SECURITY, get(async move |user: Authenticated| (headers(PRIVATE), log.of(user.subject()))))
        .route("/open", get(async || Json(open())))
        .route("/whoami", get(async |user: Authenticated| Json(whoami(user.principal()))))
        .route("/maybe", get(async |user: MaybeAuthenticated| Json(maybe(user.caller()))))
        .route(
            "/admin",
            get(async |user: Authenticated| Json(whoami(user.principal())))
                .route_layer(require_role(&host.gatekey, "admin")),
        )
        .route("/scoped", get(async |user: WithScope<Read>| Json(whoami(user.principal()))))
        .route("/fresh", get(async |user: FreshlyAuthenticated| Json(whoami(user.principal()))))
        .route("/panic", get(async |user: Authenticated| panicking(&user)))
        .route("/note", post(async |_: Authenticated| StatusCode::NO_CONTENT))
        .route("/form", get(async |Query(way): Query<Way>| Html(form_page(way.return_to.as_deref()))))
        .route("/form/login", post(log_in))
        .route("/form/logout", post(log_out));
    let own: Router = pages(&host.gatekey, own).with_state(host.gatekey.clone());
    let control: Router = Router::new().route("/__test/{*path}", post(control)).with_state(host.clone());
    own.merge(control)
}

async fn log_in(State(gatekey): State<Gatekey>, parts: Parts, Form(typed): Form<LogIn>) -> Response {
    typed.answer(submit(&gatekey, &parts, typed.form()).await).map(Body::from)
}

async fn log_out(State(gatekey): State<Gatekey>, parts: Parts) -> Response {
    left(submit(&gatekey, &parts, Fields::logout()).await).map(Body::from)
}

fn headers(fields: impl IntoIterator<Item = (&'static str, &'static str)>) -> HeaderMap {
    fields
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

/// Serves until SIGTERM, and finishes what is under way.
///
/// # Errors
///
/// [`Refused`] if the address cannot be had.
pub async fn serve(host: &Host, app: Router) -> Result<(), Refused> {
    let listener = TcpListener::bind(host.listen).await.map_err(|error| Refused::because("listen", error))?;
    let address = listener.local_addr().map_err(|error| Refused::because("listen", error))?;
    let terminated = terminated();
    host.ready(address);
    with_address(listener, app)
        .with_graceful_shutdown(terminated)
        .await
        .map_err(|error| Refused::because("serve", error))
}
