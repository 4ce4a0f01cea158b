//! The entrance of the stack: a request as hyper gives it becomes a request as layers know it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use http_body::Body as _;
use hyper::body::Incoming;
use tower::Service;
use ziggurat_middleware::{Body, Next, Origin, Request, Response};

/// One connection's way into the stack.
pub(super) struct Entrance {
    stack: Mutex<Next>,
    origin: Origin,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Entrance {
    pub(super) fn new(stack: Next, origin: Origin) -> Self {
        Self { stack: Mutex::new(stack), origin }
    }

    fn call_stack(&self, request: Request) -> Answer {
        let mut stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        // Most stacks are always ready: then no clone is needed. The others are waited for on a clone.
        match Service::<Request>::poll_ready(&mut *stack, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(_) => stack.call(request),
            Poll::Pending => {
                let stack = stack.clone();
                Box::pin(async move { Ok(stack.run(request).await) })
            }
        }
    }
}

impl hyper::service::Service<http::Request<Incoming>> for Entrance {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: http::Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = if body.is_end_stream() { Body::empty() } else { Body::new(body) };
        let mut request = http::Request::from_parts(parts, body);
        request.extensions_mut().insert(self.origin.clone());
        self.call_stack(request)
    }
}
