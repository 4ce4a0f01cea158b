//~ the service `CountService` is not `Clone`
//~ each request goes through a clone of the service: write `#[derive(Clone)]` above it
//~ a service that cannot be `Clone` needs `tower::buffer::BufferLayer` above it
use std::convert::Infallible;
use std::task::{Context, Poll};

use ziggurat_middleware::tower::{Layer, Service};
use ziggurat_middleware::{NextFuture, IntoStage, Next, Request, Response};

struct CountLayer;

impl Layer<Next> for CountLayer {
    type Service = CountService;

    fn layer(&self, inner: Next) -> CountService {
        CountService { inner, seen: 0 }
    }
}

struct CountService {
    inner: Next,
    seen: u64,
}

impl Service<Request> for CountService {
    type Response = Response;
    type Error = Infallible;
    type Future = NextFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> NextFuture {
        self.seen += 1;
        self.inner.send(request)
    }
}

pub fn stage() -> impl IntoStage {
    CountLayer
}
