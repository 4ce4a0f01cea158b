//! A WSGI app as a service that runs on the polling thread: the app below a stack that Python has called.
//!
//! The body is taken from the app chunk by chunk as it is read, on that thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use pyo3::prelude::*;
use tower::Service;
use ziggurat_middleware::{Body, BoxError, EarlyHints, Problem, Request, RequestSummary, Response};

use super::application::{Application, CallOrigin, Invocation};
use super::input::Input;
use super::raised::Raised;
use super::service_as_wsgi::Caller;
use crate::call::chunks::{ChunkSource, Chunks};
use crate::call::head::Head;
use crate::call::hints::HintSender;
use crate::call::mailbox::{Mailbox, Start};
use crate::call::responder::Responder;
use crate::call::service::head_of;

/// Calls the app on the polling thread.
#[derive(Clone)]
pub(super) struct InPlace(Arc<Application>);

impl InPlace {
    pub(super) fn new(application: Application) -> Self {
        Self(Arc::new(application))
    }
}

impl Service<Request> for InPlace {
    type Response = Response;
    type Error = BoxError;
    type Future = InPlaceFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> InPlaceFuture {
        InPlaceFuture { application: Arc::clone(&self.0), request: Some(request), answer: None }
    }
}

/// A larger whole response is not returned by the poll that made it.
const LARGE: usize = 16 * 1024;

/// The call. The first poll makes it.
pub(super) struct InPlaceFuture {
    application: Arc<Application>,
    request: Option<Request>,
    /// The response for the second poll.
    answer: Option<Result<Response, BoxError>>,
}

impl Future for InPlaceFuture {
    type Output = Result<Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(answer) = self.answer.take() {
            return Poll::Ready(answer);
        }
        let Some(request) = self.request.take() else { return Poll::Ready(Err("polled after completion".into())) };
        let answer = call(&self.application, request);
        let octets = answer.as_ref().ok().and_then(|response| response.body().as_full());
        if octets.is_some_and(|octets| octets.len() > LARGE) {
            // A caller that polls with the interpreter detaches now: what layers do with so much data (compression) takes longer than attaching
            // again.
            self.answer = Some(answer);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(answer)
    }
}

fn call(application: &Application, request: Request) -> Result<Response, BoxError> {
    let (parts, body) = request.into_parts();
    let head = Head::with_body(&parts, &body);
    let clock = RequestSummary::of(&parts.extensions).and_then(RequestSummary::clock).cloned();
    // A Python caller's own is in its environ.
    let hints = EarlyHints::of(&parts.extensions).cloned().map(HintSender::Here);
    let mailbox = Mailbox::new(head.clone());
    let (invocation, begun) = Python::attach(|py| {
        // A request that a layer made up has no caller.
        let caller = parts.extensions.get::<Caller>();
        let responder = Responder::InPlace(mailbox.clone());
        let mut invocation =
            application.begin(py, &head, Input::pulled(body), responder, CallOrigin { socket: None, clock, hints, outer: caller });
        let mut begun = mailbox.take_start();
        while begun.is_none()
            && let Some(asked) = &mut invocation
        {
            if !asked.step(py) {
                invocation = None;
            }
            begun = mailbox.take_start();
        }
        if !matches!(begun, Some(Start::Stream(_)))
            && let Some(mut asked) = invocation.take()
        {
            // Only the end is missing.
            while asked.step(py) {}
        }
        (invocation, begun)
    });
    match begun {
        Some(Start::Stream(head)) => {
            let length = head.length;
            Ok(head_of(head, Body::new(Chunks::new(Steps { mailbox, invocation, has_paused: false }, length))))
        }
        Some(Start::Whole(head, octets)) => Ok(head_of(head, Body::from(octets))),
        Some(Start::File(head, file)) => Ok(head_of(head, Body::new(file))),
        Some(Start::Failed(problem)) => failed(problem),
        None => Err(Problem::internal("the call was dropped without an answer").into()),
    }
}

/// The response for an app that failed. Its exception is among the extensions, for the Python layer that called the stack.
fn failed(problem: Problem) -> Result<Response, BoxError> {
    let raised = std::error::Error::source(&problem).and_then(|cause| cause.downcast_ref::<Raised>()).cloned();
    let Some(raised) = raised else { return Err(problem.into()) };
    let mut response = problem.into_response();
    response.extensions_mut().insert(raised);
    Ok(response)
}

/// The steps of an app that make the chunks of its response as they are read.
struct Steps {
    mailbox: Mailbox,
    invocation: Option<Invocation>,
    /// The layers above have seen `Pending` once since the last chunk, and flushed what they held.
    has_paused: bool,
}

impl ChunkSource for Steps {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            if let Some(next) = self.mailbox.next() {
                self.has_paused = false;
                return Poll::Ready(next);
            }
            if self.invocation.is_some() && !std::mem::replace(&mut self.has_paused, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(invocation) = &mut self.invocation else { return Poll::Ready(None) };
            if !Python::attach(|py| invocation.step(py)) {
                self.invocation = None;
            }
        }
    }
}
