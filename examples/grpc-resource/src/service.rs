//! What `tonic-prost-build` would write of `notes.proto`, shorter: this repository builds without protoc.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{
    Status,
    body::Body,
    server::{Grpc, NamedService},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// Nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Empty {}

/// One note.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Note {
    /// What it says.
    #[prost(string, tag = "1")]
    pub(crate) text: String,
}

/// Several.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NoteList {
    /// What each says.
    #[prost(string, repeated, tag = "1")]
    pub(crate) text: Vec<String>,
}

type Answer<T> = Result<tonic::Response<T>, Status>;

/// The methods of `notes.Notes`.
pub(crate) trait Methods: Clone + Send + Sync + 'static {
    /// `List`.
    fn list(&self, request: &tonic::Request<Empty>) -> Answer<NoteList>;
    /// `Add`.
    fn add(&self, request: &tonic::Request<Note>) -> Answer<Empty>;
    /// `Clear`.
    fn clear(&self, request: &tonic::Request<Empty>) -> Answer<Empty>;
}

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct NotesServer<M>(M);

impl<M> NotesServer<M> {
    /// Serves these methods.
    pub(crate) fn new(methods: M) -> Self {
        Self(methods)
    }
}

impl<M> NamedService for NotesServer<M> {
    const NAME: &'static str = "notes.Notes";
}

impl<M: Methods> Service<Request<Body>> for NotesServer<M> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let methods = self.0.clone();
        macro_rules! unary {
            ($method:ident) => {
                Box::pin(async move {
                    let method = service_fn(move |request| std::future::ready(methods.$method(&request)));
                    Ok(Grpc::new(ProstCodec::default()).unary(method, request).await)
                })
            };
        }
        match request.uri().path() {
            "/notes.Notes/List" => unary!(list),
            "/notes.Notes/Add" => unary!(add),
            "/notes.Notes/Clear" => unary!(clear),
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}
