//! The routes of a host in actix-web, through the adapter's public API.

use actix_web::{
    App, FromRequest, Handler, HttpRequest, HttpResponse, HttpResponseBuilder, HttpServer, Resource,
    Responder, ResponseError,
    http::StatusCode,
    post,
    web::{self, Bytes, Data, Form, Html, Json, Query, ServiceConfig},
};
use example_page::{FILES, HEADERS, PRIVATE, SECURITY};
use gatekey::{
    Form as Fields, Reply,
    actix::{
        Authenticated, FreshlyAuthenticated, MaybeAuthenticated, Rejection, RequireAuth, WithScope, pages,
        routes, submit,
    },
};

use crate::{Host, LogIn, Read, Refused, Way, form_page, left, maybe, open, panicking, terminated, whoami};

async fn who(user: Authenticated) -> impl Responder {
    Json(whoami(user.principal()))
}

async fn perhaps(user: MaybeAuthenticated) -> impl Responder {
    Json(maybe(user.caller()))
}

async fn scoped(user: WithScope<Read>) -> impl Responder {
    Json(whoami(user.principal()))
}

async fn fresh(user: FreshlyAuthenticated) -> impl Responder {
    Json(whoami(user.principal()))
}

async fn security(host: Data<Host>, user: Authenticated) -> impl Responder {
    with_headers(&PRIVATE).body(host.security.of(user.subject()))
}

fn with_headers(fields: &[(&'static str, &'static str)]) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    for field in fields {
        response.insert_header(*field);
    }
    response
}

#[post("/note")]
async fn note(_: Authenticated) -> impl Responder {
    HttpResponse::NoContent()
}

#[post("/form/login")]
async fn log_in(host: Data<Host>, request: HttpRequest, typed: Form<LogIn>) -> HttpResponse {
    response(typed.answer(submit(&host.gatekey, &request, typed.form()).await))
}

#[post("/form/logout")]
async fn log_out(host: Data<Host>, request: HttpRequest) -> HttpResponse {
    response(left(submit(&host.gatekey, &request, Fields::logout()).await))
}

/// An answer of gatekey's in actix-web's types: a refusal's way, for others too.
fn response(reply: Reply) -> HttpResponse {
    Rejection::from(Box::new(reply)).error_response()
}

#[post("/__test/{control:.*}")]
async fn control(host: Data<Host>, path: web::Path<String>, body: Bytes) -> impl Responder {
    let code = host.control(&format!("/__test/{path}"), &body).await;
    HttpResponse::build(StatusCode::from_u16(code).unwrap_or_default())
}

/// A route for reading: actix-web does not take HEAD for GET by itself.
fn read<A: FromRequest + 'static>(
    path: &str,
    handler: impl Handler<A, Output: Responder + 'static>,
) -> Resource {
    web::resource(path).route(web::get().to(handler.clone())).route(web::head().to(handler))
}

/// Everything a host serves.
fn app(host: &Host, config: &mut ServiceConfig) {
    let admin = read("/admin", who).wrap(RequireAuth::role(&host.gatekey, "admin"));
    for file in &FILES {
        let serve = async || with_headers(&HEADERS).content_type(file.content_type).body(file.text);
        config.service(read(file.path, serve));
    }
    config
        .configure(routes(&host.gatekey))
        .app_data(Data::new(host.clone()))
        .service((note, log_in, log_out, control, admin))
        .service(read("/form", async |way: Query<Way>| Html::new(form_page(way.return_to.as_deref()))))
        .service(read("/open", async || Json(open())))
        .service(read("/whoami", who))
        .service(read(SECURITY, security))
        .service(read("/maybe", perhaps))
        .service(read("/scoped", scoped))
        .service(read("/fresh", fresh))
        .service(read("/panic", async |user: Authenticated| panicking(&user)));
}

/// Serves until SIGTERM, and finishes what is under way.
///
/// # Errors
///
/// [`Refused`] if the address cannot be had.
pub async fn serve(host: &Host) -> Result<(), Refused> {
    let shared = host.clone();
    let whole = move || App::new().wrap(pages(&shared.gatekey)).configure(|config| app(&shared, config));
    let server = HttpServer::new(whole)
        .workers(2)
        .shutdown_timeout(5)
        // It would begin to listen for signals after it said that it serves.
        .disable_signals()
        .bind(host.listen)
        .map_err(|error| Refused::because("listen", error))?;
    let terminated = terminated();
    for address in server.addrs() {
        host.ready(address);
    }
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        terminated.await;
        handle.stop(true).await;
    });
    server.await.map_err(|error| Refused::because("serve", error))
}
