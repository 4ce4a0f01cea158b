//! The WSGI app as the service at the bottom of a stack: it makes a call of the request, and a response of the reply.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{StatusCode, request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::ext::ReasonPhrase;
use tokio::sync::oneshot;
use tower::Service;
use ziggurat_middleware::{Body, BoxError, Problem, Request, Response};

use super::body::take_in;
use super::exit::Exit;
use super::head::Head;
use super::pipe::Reader;
use super::{BodyFailure, Call, Executor, Reply, ReplyBody, ResponseHead};

/// A WSGI app over whatever executes its calls.
pub(crate) struct Terminal<E> {
    executor: Arc<E>,
    buffer: u64,
}

impl<E> Terminal<E> {
    /// Takes in up to `buffer` octets of a request's body before the app is called.
    pub(crate) const fn new(executor: Arc<E>, buffer: u64) -> Self {
        Self { executor, buffer }
    }
}

impl<E> Clone for Terminal<E> {
    fn clone(&self) -> Self {
        Self { executor: Arc::clone(&self.executor), buffer: self.buffer }
    }
}

impl<E: Executor> Service<Request> for Terminal<E> {
    type Response = Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A full queue is answered, not waited for.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (parts, body) = request.into_parts();
        Box::pin(serve(Arc::clone(&self.executor), parts, body, self.buffer))
    }
}

async fn serve<E: Executor>(executor: Arc<E>, parts: request::Parts, body: Body, buffer: u64) -> Result<Response, BoxError> {
    let taken = match take_in(&parts.headers, body, buffer).await {
        Ok(taken) => taken,
        Err(error) => return Err(refusal(error).into()),
    };
    let (sender, reply) = oneshot::channel();
    let call = Call {
        number: 0,
        head: Head::new(&parts, taken.length),
        body: taken.body,
        exit: Exit::Here(sender),
        class: 0,
        seat: None,
        since: Instant::now(),
    };
    if executor.submit(call).is_err() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("too many requests wait for the app");
        return Err(problem.header(RETRY_AFTER, HeaderValue::from_static("1")).into());
    }
    match reply.await {
        Ok(Reply::Answer(head, body)) => Ok(response(head, body)),
        Ok(Reply::Failed(problem)) => Err(problem.into()),
        Err(_) => Err(Problem::internal("the call was dropped without an answer").into()),
    }
}

/// The answer to a request whose body failed before the app was called.
fn refusal(error: BoxError) -> Problem {
    match error.downcast::<Problem>() {
        Ok(problem) => *problem,
        Err(error) => BodyFailure::of(&*error).problem(),
    }
}

fn response(head: ResponseHead, body: ReplyBody) -> Response {
    let body = match body {
        ReplyBody::Whole(octets) => Body::from(octets),
        ReplyBody::Stream(reader) => Body::new(Chunks { reader, left: head.length, ended: false }),
        ReplyBody::File(file) => Body::new(file),
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if let Some(reason) = head.reason.and_then(|reason| ReasonPhrase::try_from(reason.into_vec()).ok()) {
        response.extensions_mut().insert(reason);
    }
    response
}

/// The chunks of an app as a response body.
struct Chunks {
    reader: Reader<BoxError>,
    left: Option<u64>,
    ended: bool,
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = self.reader.poll_recv(cx);
        match &next {
            Poll::Ready(Some(Ok(chunk))) => self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64)),
            Poll::Ready(_) => self.ended = true,
            Poll::Pending => {}
        }
        next.map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
