//! What a stack costs: layers that do nothing, in each way a layer can be written, over an app that answers at once.
//!
//! The cost of one layer is the difference between rows over the difference of their counts.
#![allow(clippy::expect_used)]

use std::convert::Infallible;
use std::hint::black_box;

use divan::Bencher;
use futures_util::FutureExt;
use http::header::{HeaderName, HeaderValue};
use tower::layer::util::Identity;
use ziggurat_middleware::{Body, IntoApp, IntoStage, Next, Place, Request, Response, around, from_fn};

const COUNTS: [usize; 4] = [0, 1, 4, 8];

fn main() {
    divan::main();
}

/// A tower layer that leaves its inner service as it is: only the erasure is left.
#[divan::bench(args = COUNTS)]
fn erased(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, count, |next| Identity::new().stage(&Place::new("erased"), next));
}

/// Two closures.
#[divan::bench(args = COUNTS)]
fn around_closures(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, count, |next| around(|_: &mut Request| Ok(|response: Response| response)).stage(&Place::new("around"), next));
}

/// An async closure.
#[divan::bench(args = COUNTS)]
fn from_async_fn(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, count, |next| {
        from_fn((), async |(), request: Request, next: Next| next.run(request).await).stage(&Place::new("from_fn"), next)
    });
}

/// Sends a request with a browser's headers through `count` layers.
fn measure(bencher: Bencher<'_, '_>, count: usize, stage: impl Fn(Next) -> Next) {
    let app = tower::service_fn(|_: Request| async { Ok::<_, Infallible>(Response::new(Body::from("Hello, world!"))) });
    let stack = (0..count).fold(app.into_next(&Place::new("app")), |next, _| stage(next));
    let mut request = http::Request::new(());
    for name in ["host", "user-agent", "accept", "accept-language", "accept-encoding", "referer", "connection", "cookie"] {
        request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static("some value of usual length; q=0.9"));
    }
    bencher.with_inputs(|| (stack.clone(), request.clone().map(|()| Body::empty()))).bench_values(|(stack, request)| {
        // Nothing in these stacks waits, so the first poll is the last.
        black_box(stack.run(request).now_or_never().expect("no layer waits"))
    });
}
