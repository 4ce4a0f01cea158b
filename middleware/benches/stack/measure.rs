//! The stack under a layer, and the request that it gets.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::path::Path;
use std::task::{Context as TaskContext, Poll};

use divan::Bencher;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use tower::Service;
use ziggurat_middleware::{Body, ConnectionInfo, Context, IntoStage, Lifecycle, Middleware, Next, Place, Request, Response, Scheme};

pub(crate) fn measure_layer<M: Middleware>(bencher: Bencher, options: &str) {
    measure_layer_in::<M>(bencher, options, &Lifecycle::default());
}

pub(crate) fn measure_layer_in<M: Middleware>(bencher: Bencher, options: &str, lifecycle: &Lifecycle) {
    measure(bencher, stack_in::<M>(options, lifecycle));
    lifecycle.shutdown();
}

pub(crate) fn stack_in<M: Middleware>(options: &str, lifecycle: &Lifecycle) -> Next {
    stack_over::<M>(options, Next::new("app", App), lifecycle)
}

/// A layer over a stack.
pub(crate) fn stack_over<M: Middleware>(options: &str, inner: Next, lifecycle: &Lifecycle) -> Next {
    let context = Context::new("bench", Path::new("/"), lifecycle.clone());
    let layer = M::read(&mut serde_json::Deserializer::from_str(options)).expect("options");
    layer.layer(&context).expect("a stage").stage(&Place::new("bench"), inner)
}

/// Sends a browser's request through, from a client behind one proxy.
pub(crate) fn measure(bencher: Bencher, stack: Next) {
    measure_with(bencher, stack, &[]);
}

pub(crate) fn measure_with(bencher: Bencher, mut stack: Next, more: &[(HeaderName, HeaderValue)]) {
    let mut request = http::Request::new(());
    for (name, value) in [
        ("host", "example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://example.com/shop/cart"),
        ("origin", "https://app.example.com"),
        ("cookie", "sessionid=0123456789abcdef0123456789abcdef"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
    ] {
        request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    request.headers_mut().extend(more.iter().cloned());
    *request.uri_mut() = http::Uri::from_static("/shop/item?id=4711");
    request.extensions_mut().insert(ConnectionInfo {
        client: Some([192, 0, 2, 1].into()),
        client_port: Some(40_000),
        scheme: Scheme::Http,
        server_port: None,
        is_vetted: false,
        local: None,
    });
    let input = || {
        let mut request = request.clone().map(|()| Body::empty());
        // As the server leaves it; a mere clone has no room for one more.
        request.headers_mut().reserve(8);
        request
    };
    assert!(stack.call(input()).now_or_never().is_some(), "the stack waits");
    bencher.with_inputs(input).bench_local_values(|request: Request| {
        // Nothing in these stacks waits, so the first poll is the last.
        black_box(stack.call(request).now_or_never())
    });
}

/// Answers at once, as a small page.
#[derive(Clone)]
pub(crate) struct App;

impl Service<Request> for App {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        let mut response = Response::new(Body::from("Hello, world!"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("13"));
        ready(Ok(response))
    }
}
