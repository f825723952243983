//! The routes of a host in poem, through the adapter of `examples/poem`.

use example_poem::{
    Authenticated, FreshlyAuthenticated, Guard, MaybeAuthenticated, Rejection, WithScope, install, submit,
};
use gatekey::{Form as Fields, Reply, Requirement};
use poem::{
    EndpointExt, Error, Request, Response, Route, Server, get, handler,
    http::StatusCode,
    listener::TcpAcceptor,
    post,
    web::{Data, Form, Html, Path, Query},
};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{Host, LogIn, Read, Refused, Way, form_page, left, maybe, open, panicking, terminated, whoami};

/// poem's own `Json` names a charset, which other frameworks' does not.
fn json(value: &Value) -> Response {
    Response::builder().content_type("application/json").body(value.to_string())
}

#[handler]
async fn everyone() -> Response {
    json(&open())
}

#[handler]
async fn who(user: Authenticated) -> Response {
    json(&whoami(user.principal()))
}

#[handler]
async fn perhaps(user: MaybeAuthenticated) -> Response {
    json(&maybe(user.caller()))
}

#[handler]
async fn scoped(user: WithScope<Read>) -> Response {
    json(&whoami(user.principal()))
}

#[handler]
async fn fresh(user: FreshlyAuthenticated) -> Response {
    json(&whoami(user.principal()))
}

#[handler]
async fn panics(user: Authenticated) -> String {
    panicking(&user)
}

#[handler]
async fn note(_user: Authenticated) -> StatusCode {
    StatusCode::NO_CONTENT
}

#[handler]
async fn form_to_fill_in(Query(way): Query<Way>) -> Html<String> {
    Html(form_page(way.return_to.as_deref()))
}

#[handler]
async fn log_in(host: Data<&Host>, request: &Request, Form(typed): Form<LogIn>) -> Response {
    response(typed.answer(submit(&host.gatekey, request, typed.form()).await))
}

#[handler]
async fn log_out(host: Data<&Host>, request: &Request) -> Response {
    response(left(submit(&host.gatekey, request, Fields::logout()).await))
}

/// An answer of gatekey's in poem's types: a refusal's way, for others too.
fn response(reply: Reply) -> Response {
    Error::from(Rejection::from(Box::new(reply))).into_response()
}

#[handler]
async fn control(host: Data<&Host>, Path(path): Path<String>, body: Vec<u8>) -> StatusCode {
    let code = host.control(&format!("/__test/{path}"), &body).await;
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Serves until SIGTERM, and finishes what is under way.
///
/// # Errors
///
/// [`Refused`] if the address cannot be had.
pub async fn serve(host: &Host) -> Result<(), Refused> {
    let admin = Guard::new(&host.gatekey, Requirement::authenticated().role("admin"));
    let app = Route::new()
        .at("/open", get(everyone))
        .at("/whoami", get(who))
        .at("/maybe", get(perhaps))
        .at("/admin", get(who).with(admin))
        .at("/scoped", get(scoped))
        .at("/fresh", get(fresh))
        .at("/panic", get(panics))
        .at("/note", post(note))
        .at("/form", get(form_to_fill_in))
        .at("/form/login", post(log_in.data(host.clone())))
        .at("/form/logout", post(log_out.data(host.clone())))
        .at("/__test/*path", post(control.data(host.clone())));
    let listener = TcpListener::bind(host.listen).await.map_err(|error| Refused::because("listen", error))?;
    let address = listener.local_addr().map_err(|error| Refused::because("listen", error))?;
    let acceptor = TcpAcceptor::from_tokio(listener).map_err(|error| Refused::because("listen", error))?;
    host.ready(address);
    Server::new_with_acceptor(acceptor)
        .run_with_graceful_shutdown(install(app, &host.gatekey), terminated(), None)
        .await
        .map_err(|error| Refused::because("serve", error))
}
