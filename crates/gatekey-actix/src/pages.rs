//! Pages without script, as middleware.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    error::InternalError,
    http::header::{HeaderMap, TryIntoHeaderPair},
    middleware::{Next, from_fn},
};
use gatekey_http::{Gatekey, PageFields, is_added};

use crate::convert::{self, Fields};

/// Refreshes navigations to pages without script ([`gatekey_http::Pages`]): `App::new().wrap(pages(&gatekey))`, before
/// the endpoints are configured.
pub fn pages<S, B>(
    gatekey: &Gatekey,
) -> impl Transform<S, ServiceRequest, Response = ServiceResponse<B>, Error = Error, InitError = ()> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    gatekey.mount_pages();
    let gatekey = gatekey.clone();
    from_fn(move |request: ServiceRequest, next: Next<B>| refreshed(gatekey.clone(), request, next))
}

async fn refreshed<B: MessageBody + 'static>(
    gatekey: Gatekey,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let page = gatekey.page(&convert::head(request.request(), &Fields(request.headers()))).await;
    write(page.request(), request.headers_mut());
    match next.call(request).await {
        Ok(mut response) => {
            write(page.response(), response.headers_mut());
            Ok(response)
        }
        // Nothing to write: the application's error is its own, as a type too.
        Err(error) if page.response().is_empty() => Err(error),
        // An answer that is lost is a refresh token that is lost.
        Err(error) => {
            let mut response = error.error_response();
            write(page.response(), response.headers_mut());
            Err(InternalError::from_response(error, response).into())
        }
    }
}

fn write(fields: &PageFields, headers: &mut HeaderMap) {
    for (name, value) in fields {
        match (name.as_str(), value.as_bytes()).try_into_pair() {
            Ok((theirs, value)) if is_added(name) => headers.append(theirs, value),
            Ok((theirs, value)) => drop(headers.insert(theirs, value)),
            Err(_) => {}
        }
    }
}
