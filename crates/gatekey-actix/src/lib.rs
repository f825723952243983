//! gatekey for actix-web 4: translates, and decides nothing.
//!
//! - [`routes`] mounts the endpoints and makes the [`Gatekey`] known to the extractors.
//! - [`Authenticated`] in a handler's arguments asks for an access token, [`MaybeAuthenticated`] takes one if there is
//!   one, [`WithRole`], [`WithScope`] and [`FreshlyAuthenticated`] ask for more.
//! - [`pages`] refreshes navigations to pages without script; [`submit`] takes their forms.
//! - [`RequireAuth`] guards an application, a scope or a resource as middleware.
//!
//! A refusal is a whole answer, the same from every adapter:
//!
//! ```
//! # use actix_web::{App, http::StatusCode, test, web};
//! # use gatekey_actix::{Authenticated, RequireAuth, routes};
//! # use gatekey_core::{keys::{Algorithm, Keys}, store::memory::MemoryStore, secret::Secret, session::Client};
//! # use gatekey_http::Gatekey;
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gatekey = Gatekey::builder()
//!     .issuer("https://app.example.com")
//!     .keys(Keys::generate(Algorithm::EdDSA)?)
//!     .store(MemoryStore::new())
//!     .build()
//!     .await?;
//! let me = async |user: Authenticated| format!("hello {}", user.username());
//! let app = App::new()
//!     .configure(routes(&gatekey))
//!     .route("/me", web::get().to(me))
//!     .service(web::scope("/posts").wrap(RequireAuth::role(&gatekey, "editor")).route("", web::get().to(me)));
//!
//! let app = test::init_service(app).await;
//! let refused = test::call_service(&app, test::TestRequest::get().uri("/me").to_request()).await;
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(refused.headers().get("www-authenticate").unwrap(), "Bearer realm=\"gatekey\"");
//!
//! let nobody = Client::default();
//! gatekey.register("alice", Secret::new("a long enough pass phrase".into()), &nobody).await?;
//! let tokens = gatekey.login("alice", Secret::new("a long enough pass phrase".into()), &nobody, None).await?;
//! let bearer = format!("Bearer {}", tokens.access.expose());
//! let request = |path| test::TestRequest::get().uri(path).insert_header(("authorization", bearer.as_str())).to_request();
//! assert_eq!(test::call_service(&app, request("/me")).await.status(), StatusCode::OK);
//! assert_eq!(test::call_service(&app, request("/posts")).await.status(), StatusCode::FORBIDDEN);
//! # Ok(())
//! # }
//! ```
//!
//! **Deployment.** An extractor finds its [`Verifier`](gatekey_http::Verifier) where [`routes`] put it, or as
//! `web::Data<Verifier>` or `web::Data<Gatekey>`; actix-web cannot tell at the start that it is not there, so such a route
//! answers 500 and says in the log what to do. [`RequireAuth`] carries
//! its own and has no such failure. The client's address is the socket's peer; `realip_remote_addr` is not asked.

mod convert;
mod guard;
mod middleware;
mod pages;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data, Payload, ServiceConfig},
};
use convert::Fields;
use gatekey_http::{Body, Form, Gatekey, METADATA_PATH, Reply};
pub use guard::{Authenticated, FreshlyAuthenticated, MaybeAuthenticated, Rejection, WithRole, WithScope};
pub use middleware::{Guard, RequireAuth};
pub use pages::pages;

/// The endpoints: everything under the prefix, and the metadata at the root. For
/// [`App::configure`](actix_web::App::configure); paths under the prefix are gatekey's alone.
///
/// # Panics
///
/// At the start, if pages without script are set and [`pages`] does not stand before it.
pub fn routes(gatekey: &Gatekey) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let (gatekey, verifier) = (Data::new(gatekey.clone()), Data::new(gatekey.verifier().clone()));
    move |config| {
        gatekey.expect_pages("App::wrap(gatekey_actix::pages(&gatekey)) before App::configure");
        let prefix = gatekey.prefix();
        let paths = vec![prefix.to_owned(), format!("{prefix}/{{rest:.*}}"), METADATA_PATH.to_owned()];
        let endpoints = web::resource(paths).app_data(gatekey.clone()).to(endpoint);
        config.service(endpoints).app_data(verifier).app_data(gatekey);
    }
}

async fn endpoint(gatekey: Data<Gatekey>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let fields = Fields(request.headers());
    let head = convert::head(&request, &fields);
    let body = Body::read(&head, payload).await;
    convert::reply(&gatekey.handle(head, body).await)
}

/// What an endpoint answers to a form that a route of the application took ([`Gatekey::submit`]). A [`Rejection`]
/// that is made from the answer is a response.
pub async fn submit(gatekey: &Gatekey, request: &HttpRequest, form: Form) -> Reply {
    gatekey.submit(&convert::head(request, &Fields(request.headers())), form).await
}

#[cfg(test)]
mod tests;
