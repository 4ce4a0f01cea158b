//! What a call of a WSGI app costs from the stack's point of view: head, environ, the hand-over, the app, the answer. No sockets.
//!
//! A row is a thousand calls, one after another, each of which waits for another thread: the worst case for the hand-over. The cost of a header is
//! the difference between rows over the difference of their counts.
#![allow(clippy::expect_used)]

use std::path::Path;

use divan::Bencher;
use divan::counter::ItemsCount;
use http::header::{HeaderName, HeaderValue};
use tokio::runtime::{Builder, Runtime};
use ziggurat::pipeline::Pipeline;
use ziggurat_middleware::{Body, Lifecycle, Next};

/// Request headers.
const HEADERS: [usize; 3] = [0, 12, 48];
const CALLS: usize = 1000;

const PASS_ON: &str = concat!(r#"{ "wsgi": { "middleware": "passes:PassOn", "path": ""#, env!("CARGO_MANIFEST_DIR"), r#"/bench/apps" } }"#);

fn main() {
    divan::main();
}

#[divan::bench(args = HEADERS, sample_count = 20)]
fn pool(bencher: Bencher<'_, '_>, headers: usize) {
    measure(bencher, headers, "");
}

/// A Python middleware that only passes on, above the app.
#[divan::bench(args = [12], sample_count = 20)]
fn wsgi(bencher: Bencher<'_, '_>, headers: usize) {
    measure(bencher, headers, PASS_ON);
}

/// The app alone is checked, and the middleware and the app are.
#[divan::bench(args = ["", PASS_ON], sample_count = 20)]
fn wsgi_lint(bencher: Bencher<'_, '_>, below: &str) {
    measure(bencher, 12, format!(r#""wsgi_lint", {below}"#).trim_end_matches([',', ' ']));
}

fn measure(bencher: Bencher<'_, '_>, headers: usize, layers: &str) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads can be started");
    let (_lifecycle, stack) = runtime.block_on(async { stack(layers) });
    let mut request = http::Request::new(());
    for nth in 0..headers {
        let name = HeaderName::try_from(format!("x-header-{nth}")).expect("it is a name");
        request.headers_mut().insert(name, HeaderValue::from_static("some value of usual length; q=0.9"));
    }
    bencher.counter(ItemsCount::new(CALLS)).bench(|| calls(&runtime, &stack, &request));
}

fn stack(layers: &str) -> (Lifecycle, Next) {
    let apps = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/apps");
    let text = format!(
        r#"{{ "layers": [{layers}], "app": {{ "wsgi": {{ "app": "hello:app", "path": "{apps}", "workers": 0, "threads": 1 }} }} }}"#
    );
    let lifecycle = Lifecycle::default();
    let pipeline = Pipeline::from_text("pipeline.json", &text, Path::new("."), &ziggurat::builtin(), &|_| None).expect("it is sound");
    let stack = pipeline.build(&lifecycle).expect("the app can be imported");
    (lifecycle, stack)
}

/// On the runtime's own thread, where a server's connections are.
fn calls(runtime: &Runtime, stack: &Next, request: &http::Request<()>) {
    let (stack, request) = (stack.clone(), request.clone());
    let calls = runtime.spawn(async move {
        for _ in 0..CALLS {
            let response = stack.clone().run(request.clone().map(|()| Body::empty())).await;
            assert_eq!(response.status(), 200);
        }
    });
    runtime.block_on(calls).expect("no call panics");
}
