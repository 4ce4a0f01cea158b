use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll};

use ziggurat_middleware::schemars::JsonSchema;
use ziggurat_middleware::serde::Deserialize;
use ziggurat_middleware::tower::{Layer, Service, service_fn};
use ziggurat_middleware::{NextFuture, App, Body, Context, IntoApp, IntoStage, Middleware, Next, Request, Response, Result};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "ziggurat_middleware::serde")]
#[schemars(crate = "ziggurat_middleware::schemars")]
struct Count {}

impl Middleware for Count {
    const NAME: &'static str = "count";

    fn layer(self, _: &Context) -> Result<impl IntoStage> {
        Ok(CountLayer)
    }
}

struct CountLayer;

impl Layer<Next> for CountLayer {
    type Service = CountService;

    fn layer(&self, inner: Next) -> CountService {
        CountService { inner, seen: Arc::default() }
    }
}

#[derive(Clone)]
struct CountService {
    inner: Next,
    seen: Arc<AtomicU64>,
}

impl Service<Request> for CountService {
    type Response = Response;
    type Error = Infallible;
    type Future = NextFuture;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> NextFuture {
        self.seen.fetch_add(1, Ordering::Relaxed);
        self.inner.send(request)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "ziggurat_middleware::serde")]
#[schemars(crate = "ziggurat_middleware::schemars")]
struct Page {}

impl App for Page {
    const NAME: &'static str = "page";

    fn app(self, _: &Context) -> Result<impl IntoApp> {
        Ok(service_fn(async |_: Request| Ok::<_, Infallible>(Response::new(Body::from("page")))))
    }
}
