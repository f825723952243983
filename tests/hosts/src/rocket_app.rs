//! The routes of a host in Rocket, through the adapter's public API.

use std::{borrow::Cow, collections::HashSet, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use example_page::{FILES, File, HEADERS, PRIVATE};
use gatekey::{
    Form as Fields, Reply,
    rocket::{
        Authenticated, Fairing, FreshlyAuthenticated, MaybeAuthenticated, Rejection, WithRole, WithScope,
        submit,
    },
};
use rocket::{
    Config, Data, Orbit, Request, Rocket, State, catch, catchers,
    config::{self, LogLevel},
    data::{self, FromData},
    error::ErrorKind,
    fairing::AdHoc,
    form::{Errors, Form},
    get,
    http::Status,
    outcome::{Outcome, try_outcome},
    post,
    request::{self, FromRequest},
    response::{self, Responder, content::RawHtml},
    routes,
    serde::json::Json,
    tokio::time::{sleep, timeout},
};
use serde_json::Value;

use crate::{Admin, Host, LogIn, Read, Refused, form_page, left, maybe, open, panicking, terminated, whoami};

#[get("/open")]
fn everyone() -> Json<Value> {
    Json(open())
}

#[get("/whoami")]
fn who(user: Authenticated) -> Json<Value> {
    Json(whoami(user.principal()))
}

#[get("/maybe")]
fn perhaps(user: MaybeAuthenticated) -> Json<Value> {
    Json(maybe(user.caller()))
}

#[get("/admin")]
fn admin(user: WithRole<Admin>) -> Json<Value> {
    Json(whoami(user.principal()))
}

#[get("/scoped")]
fn scoped(user: WithScope<Read>) -> Json<Value> {
    Json(whoami(user.principal()))
}

#[get("/fresh")]
fn fresh(user: FreshlyAuthenticated) -> Json<Value> {
    Json(whoami(user.principal()))
}

/// A text with the headers that are named.
struct Text {
    fields: Vec<(&'static str, &'static str)>,
    text: Cow<'static, str>,
}

impl<'r> Responder<'r, 'static> for Text {
    fn respond_to(self, request: &'r Request<'_>) -> response::Result<'static> {
        let mut response = self.text.respond_to(request)?;
        for (name, value) in self.fields {
            response.set_raw_header(name, value);
        }
        Ok(response)
    }
}

fn file(file: &File) -> Text {
    let fields = HEADERS.into_iter().chain([("content-type", file.content_type)]).collect();
    Text { fields, text: file.text.into() }
}

#[get("/")]
fn index() -> Text {
    file(&FILES[0])
}

#[get("/app.css")]
fn style() -> Text {
    file(&FILES[1])
}

#[get("/app.js")]
fn script() -> Text {
    file(&FILES[2])
}

#[get("/security")]
fn security(user: Authenticated, host: &State<Host>) -> Text {
    Text { fields: PRIVATE.to_vec(), text: host.security.of(user.subject()).into() }
}

#[get("/panic")]
fn panics(user: Authenticated) -> String {
    panicking(&user)
}

#[post("/note")]
fn note(_user: Authenticated) -> Status {
    Status::NoContent
}

#[get("/form?<return_to>")]
fn form(return_to: Option<&str>) -> RawHtml<String> {
    RawHtml(form_page(return_to))
}

/// The answer to somebody who logs in: what a form is put to gatekey with is the request, which a handler does not see.
struct Entered(Reply);

#[rocket::async_trait]
impl<'r> FromData<'r> for Entered {
    type Error = Errors<'r>;

    async fn from_data(request: &'r Request<'_>, data: Data<'r>) -> data::Outcome<'r, Self> {
        let typed: Form<LogIn> = try_outcome!(Form::from_data(request, data).await);
        let Some(host) = request.rocket().state::<Host>() else {
            return Outcome::Error((Status::InternalServerError, Errors::new()));
        };
        Outcome::Success(Self(typed.answer(submit(&host.gatekey, request, typed.form()).await)))
    }
}

#[post("/form/login", data = "<entered>")]
fn log_in(entered: Entered) -> Rejection {
    answer(entered.0)
}

/// The answer to somebody who logs out.
struct Left(Reply);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Left {
    type Error = ();

    async fn from_request(request: &'r Request<'_>) -> request::Outcome<Self, ()> {
        let host = try_outcome!(request.guard::<&State<Host>>().await);
        Outcome::Success(Self(left(submit(&host.gatekey, request, Fields::logout()).await)))
    }
}

#[post("/form/logout")]
fn log_out(answered: Left) -> Rejection {
    answer(answered.0)
}

/// An answer of gatekey's as Rocket's: a refusal's way, for others too.
fn answer(reply: Reply) -> Rejection {
    Rejection::from(Box::new(reply))
}

#[post("/__test/<path..>", data = "<body>")]
async fn control(host: &State<Host>, path: PathBuf, body: Vec<u8>) -> Status {
    Status::new(host.control(&format!("/__test/{}", path.display()), &body).await)
}

/// The host's own errors, without Rocket's page: other frameworks have none.
#[catch(default)]
fn plain(status: Status, _: &Request<'_>) -> (Status, ()) {
    // A bare `Status` of an error would send Rocket back to the catchers.
    (status, ())
}

/// Serves until SIGTERM, and finishes what is under way.
///
/// # Errors
///
/// [`Refused`] if the address cannot be had.
pub async fn serve(host: &Host) -> Result<(), Refused> {
    // Rocket begins to listen for signals after it said that it serves.
    let shutdown = config::Shutdown { ctrlc: false, signals: HashSet::new(), ..Default::default() };
    let terminated = terminated();
    let config = Config {
        shutdown,
        address: host.listen.ip(),
        port: host.listen.port(),
        log_level: LogLevel::Off,
        ..Config::release_default()
    };
    let ready = host.clone();
    let rocket = rocket::custom(config)
        .mount(
            "/",
            routes![
                everyone, who, perhaps, admin, scoped, fresh, panics, note, form, log_in, log_out, control,
                index, style, script, security
            ],
        )
        .register("/", catchers![plain])
        .attach(Fairing::new(host.gatekey.clone()))
        .manage(host.clone())
        .attach(AdHoc::on_liftoff("ready", move |rocket| {
            Box::pin(async move {
                let config = rocket.config();
                ready.ready(SocketAddr::new(config.address, config.port));
            })
        }))
        .ignite()
        .await
        .map_err(|error| Refused::because("serve", error.kind()))?;
    let shutdown = rocket.shutdown();
    rocket::tokio::spawn(async move {
        terminated.await;
        shutdown.notify();
    });
    let Err(error) = rocket.launch().await else { return Ok(()) };
    if let ErrorKind::Shutdown(rocket, None) = error.kind()
        && finished(rocket).await
    {
        return Ok(());
    }
    Err(Refused::because("listen", error.kind()))
}

/// Where a connection comes at the moment of a shutdown, Rocket 0.5.2 takes its end for a failure, since others are open still,
/// and returns at once. What is under way goes on, with Rocket's own limits to it, as long as somebody waits.
async fn finished(rocket: &Arc<Rocket<Orbit>>) -> bool {
    let shutdown = &rocket.config().shutdown;
    let limit = Duration::from_secs(u64::from(shutdown.grace + shutdown.mercy + 1));
    let open = async {
        // Each connection has one.
        while Arc::strong_count(rocket) > 1 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(limit, open).await.is_ok()
}
