//! Rocket's request in, Rocket's response out.

use std::io::Cursor;

use gatekey_http::{Body, Head, Headers, MAX_BODY, PageFields, Reply, is_added};
use rocket::{
    Data, Request, Response,
    data::ToByteUnit,
    form::Form,
    http::{Header, HeaderMap, Method, Status},
};

/// The header fields where Rocket keeps them.
pub(crate) struct Fields<'a>(pub(crate) &'a HeaderMap<'a>);

impl Headers for Fields<'_> {
    fn each<'a>(&'a self, name: &str, value: &mut dyn FnMut(&'a [u8])) {
        for found in self.0.get(name) {
            value(found.as_bytes());
        }
    }
}

pub(crate) fn head<'a>(request: &'a Request<'_>, fields: &'a Fields<'a>) -> Head<'a> {
    let uri = request.uri();
    Head {
        method: request.local_cache(|| Sent(request.method())).0.as_str(),
        path: uri.path().as_str(),
        query: uri.query().map(|query| query.as_str()),
        headers: fields,
        // Not `client_ip()`: it believes what anyone writes into X-Real-IP.
        peer: request.remote().map(|peer| peer.ip()),
    }
}

/// The method as it was sent, once the fairing has looked.
pub(crate) struct Sent(pub(crate) Method);

/// How much of a form Rocket looks at. One byte more, and `_method=deleted` would not be what it takes it for.
const BEGINNING: usize = "_method=delete".len();

/// The method as it was sent. Rocket takes a POST for another method where the form it carries begins with `_method`, and
/// nothing turns that off. So a request that Rocket would have given its method is the POST it may have been.
pub(crate) async fn sent_method(request: &Request<'_>, data: &mut Data<'_>) -> Method {
    let method = request.method();
    let to_this = |form: &str| {
        let field = Form::values(form).next().filter(|field| field.name == "_method");
        field.and_then(|field| field.value.parse().ok()) == Some(method)
    };
    // A POST was not rewritten, and waiting for the body of one would let its sender hold the connection.
    let is_form = request.content_type().is_some_and(|kind| kind.is_form());
    if method == Method::Post || !is_form {
        return method;
    }
    let beginning = data.peek(BEGINNING).await;
    if std::str::from_utf8(beginning).is_ok_and(to_this) { Method::Post } else { method }
}

pub(crate) async fn body(head: &Head<'_>, data: Data<'_>) -> Body {
    if head.announces_too_much() {
        return Body::TooLarge;
    }
    // One byte more than is taken tells a body that is too long from one that is not.
    let read = data.open((MAX_BODY + 1).bytes()).into_bytes().await;
    read.map_or(Body::Broken, |bytes| Body::Complete(bytes.into_inner().into()))
}

pub(crate) fn status(reply: &Reply) -> Status {
    Status::new(reply.status().as_u16())
}

/// Writes a reply into a response that Rocket or the host made, and leaves what else stands in its head.
pub(crate) fn write(reply: Reply, response: &mut Response<'_>) {
    response.set_status(status(&reply));
    let (head, body) = reply.into_parts();
    let fields: Vec<_> = head.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    write_fields(&fields, response);
    response.set_sized_body(body.len(), Cursor::new(body));
}

/// Writes fields in place of those of their name, or beside them.
pub(crate) fn write_fields(fields: &PageFields, response: &mut Response<'_>) {
    for (name, _) in fields.iter().filter(|(name, _)| !is_added(name)) {
        response.remove_header(name.as_str());
    }
    for field in headers(fields) {
        response.adjoin_header(field);
    }
}

/// Fields in Rocket's type.
pub(crate) fn headers(fields: &PageFields) -> impl Iterator<Item = Header<'static>> {
    fields.iter().map(|(name, value)| {
        Header::new(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    })
}
