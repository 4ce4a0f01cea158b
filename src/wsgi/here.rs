//! A WSGI app as a service that runs on the thread that asks: the app at the bottom of a stack that Python itself called.
//!
//! The answer is taken from the app as its reader asks for it, one chunk at a time, on that same thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::oneshot;
use tower::Service;
use ziggurat_middleware::{Body, BoxError, Problem, Request, Response};

use super::application::{Application, Serving};
use super::input::Input;
use super::raised::Raised;
use super::way_back::Caller;
use crate::call::exit::Exit;
use crate::call::head::Head;
use crate::call::pipe::Reader;
use crate::call::terminal::head_of;
use crate::call::{Reply, ReplyBody};

/// Calls the app where it is called.
#[derive(Clone)]
pub(super) struct Here(Arc<Application>);

impl Here {
    pub(super) fn new(application: Application) -> Self {
        Self(Arc::new(application))
    }
}

impl Service<Request> for Here {
    type Response = Response;
    type Error = BoxError;
    type Future = Calling;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Calling {
        Calling { application: Arc::clone(&self.0), request: Some(request) }
    }
}

/// The call; the first poll makes it and has the answer.
pub(super) struct Calling {
    application: Arc<Application>,
    request: Option<Request>,
}

impl Future for Calling {
    type Output = Result<Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.request.take().map(|request| call(&self.application, request));
        Poll::Ready(answer.unwrap_or_else(|| Err("polled after completion".into())))
    }
}

fn call(application: &Application, request: Request) -> Result<Response, BoxError> {
    let (parts, body) = request.into_parts();
    let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let head = Head::new(&parts, body.size_hint().exact().filter(|length| *length > 0).or(declared));
    let (sender, mut reply) = oneshot::channel();
    let (serving, reply) = Python::attach(|py| {
        let caller = parts.extensions.get::<Caller>();
        // A request that a layer made up has no caller.
        let environ = caller.map_or_else(|| PyDict::new(py), |caller| caller.0.bind(py).clone());
        let within = caller.map(|_| &environ);
        let mut serving = application.begin(py, head.view(), Input::pulled(body), Exit::Within(sender), within);
        loop {
            let reply = reply.try_recv();
            let is_whole = !matches!(reply, Ok(Reply::Answer(_, ReplyBody::Stream(_))) | Err(oneshot::error::TryRecvError::Empty));
            let Some(asked) = &mut serving else { return (None, reply.ok()) };
            match reply {
                Ok(reply) if !is_whole => return (serving, Some(reply)),
                Ok(reply) => {
                    while asked.step(py) {}
                    return (None, Some(reply));
                }
                Err(_) => {
                    if !asked.step(py) {
                        serving = None;
                    }
                }
            }
        }
    });
    match reply {
        Some(Reply::Answer(head, ReplyBody::Stream(reader))) => {
            let left = head.length;
            Ok(head_of(head, Body::new(Chunks { reader, serving, left })))
        }
        Some(Reply::Answer(head, ReplyBody::Whole(octets))) => Ok(head_of(head, Body::from(octets))),
        Some(Reply::Answer(head, ReplyBody::File(file))) => Ok(head_of(head, Body::new(file))),
        Some(Reply::Failed(problem)) => failed(problem),
        None => Err(Problem::internal("the call was dropped without an answer").into()),
    }
}

/// The answer for an app that failed. What it raised goes with it, for the Python layer that called the stack.
fn failed(problem: Problem) -> Result<Response, BoxError> {
    let raised = std::error::Error::source(&problem).and_then(|cause| cause.downcast_ref::<Raised>()).cloned();
    let Some(raised) = raised else { return Err(problem.into()) };
    let mut response = problem.into_response();
    response.extensions_mut().insert(raised);
    Ok(response)
}

/// The chunks of an answer, made as they are read.
struct Chunks {
    reader: Reader<BoxError>,
    serving: Option<Serving>,
    left: Option<u64>,
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(next) = self.reader.try_recv() {
                if let Some(Ok(chunk)) = &next {
                    self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
                }
                return Poll::Ready(next.map(|chunk| chunk.map(Frame::data)));
            }
            let Some(serving) = &mut self.serving else { return Poll::Ready(None) };
            if !Python::attach(|py| serving.step(py)) {
                self.serving = None;
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
