//! [`Form`]: what a page without script sends, put to the endpoints.
//!
//! A plain HTML form cannot write JSON, and a person should see a page and no JSON afterwards. So the application takes
//! the form on a route of its own, hands what was typed to [`Gatekey::submit`] and gets what the endpoint answers: the
//! cookies with a 2xx, which [`ReturnTo::redirect`](crate::ReturnTo::redirect) makes a redirect, or the refusal, to be said in
//! words. A form from a page of ours is accepted; one that another site made the browser send is refused (403).

use bytes::Bytes;
use gatekey_core::secret::Secret;
use serde_json::{Value, json};

use crate::{
    Gatekey,
    body::Body,
    head::{Head, Headers},
    reply::{self, Refusal, Reply},
};

/// What was typed into a form.
#[derive(Debug)]
pub struct Form {
    endpoint: &'static str,
    /// JSON, or nothing.
    body: Secret<String>,
}

impl Form {
    fn new(endpoint: &'static str, body: &Value) -> Self {
        Self { endpoint, body: Secret::new(body.to_string()) }
    }

    /// An account is to be created.
    #[must_use]
    pub fn register(username: &str, password: &str) -> Self {
        Self::new("/register", &json!({ "username": username, "password": password }))
    }

    /// Someone logs in, in cookie transport.
    #[must_use]
    pub fn login(username: &str, password: &str) -> Self {
        let body = json!({ "username": username, "password": password, "transport": "cookie" });
        Self::new("/login", &body)
    }

    /// The session of the request's cookies is to end.
    #[must_use]
    pub fn logout() -> Self {
        Self { endpoint: "/logout", body: Secret::new(String::new()) }
    }

    /// The password is to change.
    #[must_use]
    pub fn password(current: &str, new: &str) -> Self {
        Self::new("/password", &json!({ "current_password": current, "new_password": new }))
    }
}

/// The fields of a request whose body is JSON now.
struct AsJson<'a>(&'a dyn Headers);

impl Headers for AsJson<'_> {
    fn each<'a>(&'a self, name: &str, value: &mut dyn FnMut(&'a [u8])) {
        match name {
            "content-type" => value(b"application/json"),
            "content-length" => {}
            name => self.0.each(name, value),
        }
    }
}

impl Gatekey {
    /// Puts a form to the endpoint it is for, under the endpoint's rules and limits, and the CSRF rule whether a cookie
    /// came along or not. `head` is the request that brought the form, a POST.
    pub async fn submit(&self, head: &Head<'_>, form: Form) -> Reply {
        if head.method != "POST" {
            return self.verifier().refuse(&Refusal::MethodNotAllowed("POST"));
        }
        if let Err(refusal) = self.verifier().check_csrf(head, true) {
            let mut reply = self.verifier().refuse(&refusal);
            reply::vary(&mut reply);
            return reply;
        }
        let fields = AsJson(head.headers);
        let path = format!("{}{}", self.prefix(), form.endpoint);
        let body = Bytes::from(form.body.expose().clone());
        let head = Head { method: "POST", path: &path, query: None, headers: &fields, peer: head.peer };
        self.handle(head, Body::Complete(body)).await
    }
}

#[cfg(test)]
mod tests {
    use gatekey_core::{
        keys::{Algorithm, Keys},
        store::memory::MemoryStore,
    };
    use http::{HeaderMap, StatusCode, header::SET_COOKIE};

    use super::*;
    use crate::{Pages, ReturnTo};

    const PASSWORD: &str = "seven green lanterns by the quay";

    async fn gatekey() -> Gatekey {
        let gatekey = Gatekey::builder()
            .issuer("https://app.example")
            .keys(Keys::generate(Algorithm::EdDSA).unwrap())
            .store(MemoryStore::new())
            .pages(Pages::new().login("/login"));
        gatekey.build().await.unwrap()
    }

    fn fields(site: &'static str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        fields.insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        fields.insert("content-length", "99999".parse().unwrap());
        fields.insert("sec-fetch-site", site.parse().unwrap());
        fields
    }

    fn post(headers: &HeaderMap) -> Head<'_> {
        Head { method: "POST", path: "/enter", query: None, headers, peer: None }
    }

    #[tokio::test]
    async fn a_form_of_another_site_is_refused_before_anything_is_looked_at() {
        let gatekey = gatekey().await;
        for (site, register, login) in [
            ("same-origin", StatusCode::CREATED, StatusCode::OK),
            ("cross-site", StatusCode::FORBIDDEN, StatusCode::FORBIDDEN),
            ("same-site", StatusCode::FORBIDDEN, StatusCode::FORBIDDEN),
        ] {
            let fields = fields(site);
            let reply = gatekey.submit(&post(&fields), Form::register("alice", PASSWORD)).await;
            assert_eq!(reply.status(), register, "{site}");
            let reply = gatekey.submit(&post(&fields), Form::login("alice", PASSWORD)).await;
            assert_eq!(reply.status(), login, "{site}");
            assert_eq!(reply.headers().contains_key(SET_COOKIE), login == StatusCode::OK, "{site}");
        }
        let fields = fields("same-origin");
        let get = Head { method: "GET", ..post(&fields) };
        let reply = gatekey.submit(&get, Form::login("alice", PASSWORD)).await;
        assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn what_the_endpoint_sets_goes_with_the_redirect() {
        let gatekey = gatekey().await;
        let mut fields = fields("same-origin");
        gatekey.submit(&post(&fields), Form::register("alice", PASSWORD)).await;
        let reply = gatekey.submit(&post(&fields), Form::login("alice", "not the one at all")).await;
        assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
        let reply = gatekey.submit(&post(&fields), Form::login("alice", PASSWORD)).await;
        let redirect = ReturnTo::or_root(Some("/notes")).redirect(&reply);
        assert_eq!(
            (redirect.status(), &redirect.headers()["location"]),
            (StatusCode::SEE_OTHER, &"/notes".parse().unwrap())
        );
        let cookies: Vec<_> = redirect.headers().get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies.len(), 2);
        assert!(redirect.body().is_empty());
        let pairs: Vec<_> =
            cookies.iter().filter_map(|cookie| cookie.to_str().unwrap().split(';').next()).collect();
        fields.insert("cookie", pairs.join("; ").parse().unwrap());

        let new = "eight grey herons on the weir";
        let reply = gatekey.submit(&post(&fields), Form::password("not the one at all", new)).await;
        assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
        let reply = gatekey.submit(&post(&fields), Form::password(PASSWORD, new)).await;
        assert_eq!(reply.status(), StatusCode::NO_CONTENT);
        let reply = gatekey.submit(&post(&fields), Form::logout()).await;
        assert_eq!(reply.status(), StatusCode::NO_CONTENT);
        assert_eq!(reply.headers().get_all(SET_COOKIE).iter().count(), 2);
        fields.remove("cookie");
        let reply = gatekey.submit(&post(&fields), Form::logout()).await;
        assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
    }
}
