//~ `Page` cannot stand at the bottom of a stack
//~ is `Clone + Send + Sync + 'static`
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use ziggurat_middleware::tower::Service;
use ziggurat_middleware::{Body, IntoApp, Request, Response};

struct Page;

impl Service<Request> for Page {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Ok(Response::new(Body::from("page"))))
    }
}

pub fn app() -> impl IntoApp {
    Page
}
