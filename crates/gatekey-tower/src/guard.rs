//! The layer, its service and its future.

use std::{
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use gatekey_http::{Reply, Requirement, Verifier, grpc};
use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::convert;

/// Finds the socket peer where the server put it.
pub type Peer = fn(&Extensions) -> Option<IpAddr>;

/// Guards a service: what passes has its [`gatekey_http::Caller`] in its extensions; what does not is answered here.
///
/// `B` is the body of the guarded service's responses.
pub struct GuardLayer<B> {
    verifier: Verifier,
    /// `None`: absent credentials pass as well.
    requirement: Option<Arc<Requirement>>,
    peer: Peer,
    respond: fn(Reply) -> Response<B>,
}

impl<B> GuardLayer<B> {
    /// Lets pass what meets a requirement. A refusal is the [`Reply`] as it is.
    #[must_use]
    pub fn new(verifier: impl Into<Verifier>, requirement: Requirement, peer: Peer) -> Self
    where
        B: From<Bytes>,
    {
        Self {
            verifier: verifier.into(),
            requirement: Some(Arc::new(requirement)),
            peer,
            respond: |reply| reply.map(B::from),
        }
    }

    /// Lets pass what carries no credential, without a caller in its extensions; a bad one is refused still.
    #[must_use]
    pub fn optional(verifier: impl Into<Verifier>, peer: Peer) -> Self
    where
        B: From<Bytes>,
    {
        Self { requirement: None, ..Self::new(verifier, Requirement::authenticated(), peer) }
    }

    /// Guards a gRPC service: a refusal is a status and metadata (see [`gatekey_http::grpc`]).
    #[must_use]
    pub fn grpc(verifier: impl Into<Verifier>, requirement: Requirement, peer: Peer) -> Self
    where
        B: Default,
    {
        Self {
            verifier: verifier.into(),
            requirement: Some(Arc::new(requirement)),
            peer,
            respond: |reply| grpc(reply).map(|_| B::default()),
        }
    }

    /// Says a refusal in another way, for another protocol or another body.
    #[must_use]
    pub fn respond_with<C>(self, respond: fn(Reply) -> Response<C>) -> GuardLayer<C> {
        let Self { verifier, requirement, peer, .. } = self;
        GuardLayer { verifier, requirement, peer, respond }
    }
}

// Derived, it would ask `B: Clone`.
impl<B> Clone for GuardLayer<B> {
    fn clone(&self) -> Self {
        Self { verifier: self.verifier.clone(), requirement: self.requirement.clone(), ..*self }
    }
}

impl<B> fmt::Debug for GuardLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer").field("requirement", &self.requirement).finish_non_exhaustive()
    }
}

impl<I, B> Layer<I> for GuardLayer<B> {
    type Service = Guard<I, B>;

    fn layer(&self, inner: I) -> Guard<I, B> {
        Guard { inner, layer: self.clone() }
    }
}

/// The service of a [`GuardLayer`].
pub struct Guard<I, B> {
    inner: I,
    layer: GuardLayer<B>,
}

impl<I: Clone, B> Clone for Guard<I, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<I: fmt::Debug, B> fmt::Debug for Guard<I, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<I, A, B> Service<Request<A>> for Guard<I, B>
where
    I: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = I::Error;
    type Future = GuardFuture<I::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let GuardLayer { verifier, requirement, peer, respond } = &self.layer;
        let (mut parts, body) = request.into_parts();
        let head = convert::head(&parts, peer(&parts.extensions));
        let judged = match requirement {
            Some(requirement) => verifier.guard(&head, requirement).map(Some),
            None => verifier.guard_optional(&head),
        };
        let state = match judged {
            Ok(caller) => {
                caller.map(|caller| parts.extensions.insert(caller));
                State::Passed { inner: self.inner.call(Request::from_parts(parts, body)) }
            }
            Err(reply) => State::Refused { response: Some(respond(*reply)) },
        };
        GuardFuture { state }
    }
}

pin_project! {
    /// The future of a [`Guard`].
    pub struct GuardFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

impl<F, B> fmt::Debug for GuardFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardFuture").finish_non_exhaustive()
    }
}

pin_project! {
    #[project = Projected]
    enum State<F, B> {
        Passed { #[pin] inner: F },
        Refused { response: Option<Response<B>> },
    }
}

impl<F, E, B> Future for GuardFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().state.project() {
            Projected::Passed { inner } => inner.poll(cx),
            // A future is not polled again after it was ready.
            Projected::Refused { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
        }
    }
}
