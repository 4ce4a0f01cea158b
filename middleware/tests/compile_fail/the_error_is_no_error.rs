//~ a stack has no answer for the error `Refused`
//~ `Problem`, or any other `std::error::Error + Send + Sync + 'static`, boxed or not
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use ziggurat_middleware::tower::{Layer, Service};
use ziggurat_middleware::{IntoStage, Next, Request, Response};

#[derive(Clone)]
struct Refuse;

struct Refused;

impl Layer<Next> for Refuse {
    type Service = Self;

    fn layer(&self, _: Next) -> Self {
        Self
    }
}

impl Service<Request> for Refuse {
    type Response = Response;
    type Error = Refused;
    type Future = Ready<Result<Response, Refused>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Err(Refused))
    }
}

pub fn stage() -> impl IntoStage {
    Refuse
}
