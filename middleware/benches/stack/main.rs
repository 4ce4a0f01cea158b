//! What a stack of layers costs: erasing eight layers against writing their types out, and each layer by its bare name.
//!
//! A layer's cost is its row less `nothing`. The stack is called as the server calls it: one instance per connection, never cloned.
#![allow(clippy::expect_used)]

mod guards;
mod layers;
mod login;
mod measure;

use std::task::{Context as TaskContext, Poll};

use divan::Bencher;
use tower::layer::util::Identity;
use tower::{Layer, Service};
use ziggurat_middleware::{IntoStage, Next, Place, Request};

use self::measure::{App, measure};

fn main() {
    // Enough calls per reading that the clock does not matter, enough readings that a busy machine does not.
    divan::Divan::from_args().sample_size(100).sample_count(500).main();
}

/// Eight layers whose types the compiler sees through.
#[divan::bench]
fn eight_static(bencher: Bencher) {
    let two = (Nothing, Nothing);
    let four = (two, two);
    measure(bencher, Next::new("static", (four, four).layer(App)));
}

/// The same eight, each erased as layers of a pipeline file are.
#[divan::bench]
fn eight_erased(bencher: Bencher) {
    measure(bencher, (0..8).fold(Next::new("app", App), |next, _| Nothing.stage(&Place::new("erased"), next)));
}

/// One layer that does nothing.
#[divan::bench]
fn nothing(bencher: Bencher) {
    measure(bencher, Identity::new().stage(&Place::new("nothing"), Next::new("app", App)));
}

/// A layer with a service of its own that only passes on.
#[derive(Clone, Copy)]
struct Nothing;

impl<S> Layer<S> for Nothing {
    type Service = PassOn<S>;

    fn layer(&self, inner: S) -> PassOn<S> {
        PassOn(inner)
    }
}

#[derive(Clone)]
struct PassOn<S>(S);

impl<S: Service<Request>> Service<Request> for PassOn<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> S::Future {
        self.0.call(request)
    }
}
