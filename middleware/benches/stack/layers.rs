//! The other layers.

use std::convert::Infallible;
use std::future::ready;

use divan::Bencher;
use tower::service_fn;
use ziggurat_middleware::access_log::AccessLog;
use ziggurat_middleware::body_limit::BodyLimit;
use ziggurat_middleware::buffer::Buffer;
use ziggurat_middleware::cache::Cache;
use ziggurat_middleware::compress::Compress;
use ziggurat_middleware::cors::Cors;
use ziggurat_middleware::csp_nonce::CspNonce;
use ziggurat_middleware::decompress::Decompress;
use ziggurat_middleware::early_hints::SendEarlyHints;
use ziggurat_middleware::errors::Errors;
use ziggurat_middleware::forwarded::Forwarded;
use ziggurat_middleware::headers::Headers;
use ziggurat_middleware::limit::Limit;
use ziggurat_middleware::maintenance::Maintenance;
use ziggurat_middleware::mirror::Mirror;
use ziggurat_middleware::rate_limit::RateLimit;
use ziggurat_middleware::request_id::AssignRequestId;
use ziggurat_middleware::rewrite::Rewrite;
use ziggurat_middleware::security_headers::SecurityHeaders;
use ziggurat_middleware::sendfile::Sendfile;
use ziggurat_middleware::slash::Slash;
use ziggurat_middleware::static_files::Static;
use ziggurat_middleware::timeout::Timeout;
use ziggurat_middleware::wsgi_lint::LintWsgi;
use ziggurat_middleware::{Body, Client, Lifecycle, Next, Request, Response};

use crate::measure::{App, measure, measure_layer, measure_layer_in, stack_over};

#[divan::bench]
fn request_id(bencher: Bencher) {
    measure_layer::<AssignRequestId>(bencher, "{}");
}

#[divan::bench(args = ["combined", "json"])]
fn access_log(bencher: Bencher, format: &str) {
    measure_layer::<AccessLog>(bencher, &format!(r#"{{"format": "{format}", "to": "/dev/null"}}"#));
}

#[divan::bench(args = ["[]", "[\"192.0.2.0/24\"]"])]
fn forwarded(bencher: Bencher, trust: &str) {
    measure_layer::<Forwarded>(bencher, &format!(r#"{{"trust": {trust}}}"#));
}

#[divan::bench]
fn headers(bencher: Bencher) {
    measure_layer::<Headers>(bencher, r#"{"request": {"remove": "x-internal"}, "response": {"set": {"cache-control": "no-store"}}}"#);
}

#[divan::bench]
fn security_headers(bencher: Bencher) {
    measure_layer::<SecurityHeaders>(bencher, "{}");
}

#[divan::bench]
fn body_limit(bencher: Bencher) {
    measure_layer::<BodyLimit>(bencher, "{}");
}

/// Of a request without a body.
#[divan::bench]
fn decompress(bencher: Bencher) {
    measure_layer::<Decompress>(bencher, "{}");
}

#[divan::bench]
fn buffer(bencher: Bencher) {
    measure_layer::<Buffer>(bencher, "{}");
}

/// Whose rule does not match, and whose does.
#[divan::bench(args = [r#"{"from": "/old/*", "to": "/new/*"}"#, r#"{"from": "/shop/*", "to": "/store/*"}"#, r#"{"regex": "/shop/(?<item>[a-z]+)", "to": "/store?of={item}{query}"}"#])]
fn rewrite(bencher: Bencher, options: &str) {
    measure_layer::<Rewrite>(bencher, options);
}

/// Of a response that is no error.
#[divan::bench]
fn errors(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("oops.html");
    std::fs::write(&page, "<p>Sorry.</p>").expect("a page");
    measure_layer::<Errors>(bencher, &format!(r#"{{"pages": {{"5xx": "{}"}}}}"#, page.display()));
}

#[divan::bench]
fn timeout(bencher: Bencher) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    measure_layer::<Timeout>(bencher, "{}");
}

#[divan::bench(args = ["{}", "{\"origins\": \"https://app.example.com\"}"])]
fn cors(bencher: Bencher, options: &str) {
    measure_layer::<Cors>(bencher, options);
}

#[divan::bench]
fn csp_nonce(bencher: Bencher) {
    measure_layer::<CspNonce>(bencher, r#"{"policy": "script-src 'nonce-{nonce}' 'strict-dynamic'; object-src 'none'"}"#);
}

/// By the client, by a key, and refused.
#[divan::bench(args = [r#"{"allow": "1000000/s"}"#, r#"{"allow": "1000000/s", "per": ["cookie:sessionid", "path"]}"#, r#"{"allow": "1/d"}"#])]
fn rate_limit(bencher: Bencher, options: &str) {
    measure_layer::<RateLimit>(bencher, options);
}

/// Of all requests, and of each client. The responses of a sample are dropped together, so all its requests are under way at once.
#[divan::bench(args = [r#"{"at_most": 1000}"#, r#"{"at_most": 1000, "per": "client"}"#])]
fn limit(bencher: Bencher, options: &str) {
    measure_layer::<Limit>(bencher, options);
}

/// Of a page that is stored, and of one that is not. The app below sends the header by a layer.
#[divan::bench(args = ["max-age=3600", "no-store"])]
fn cache(bencher: Bencher, control: &str) {
    let lifecycle = Lifecycle::default();
    let headers = format!(r#"{{"response": {{"set": {{"cache-control": "{control}"}}}}}}"#);
    let app = stack_over::<Headers>(&headers, Next::new("app", App), &lifecycle);
    measure(bencher, stack_over::<Cache>("{}", app, &lifecycle));
    lifecycle.shutdown();
}

/// While the site is open, and while it is closed.
#[divan::bench(args = [r#"{"file": "/nowhere/maintenance.on"}"#, r#"{"on": true}"#])]
fn maintenance(bencher: Bencher, options: &str) {
    measure_layer::<Maintenance>(bencher, options);
}

/// Of a path that stays, and of one that is redirected.
#[divan::bench(args = ["remove", "append"])]
fn slash(bencher: Bencher, action: &str) {
    measure_layer::<Slash>(bencher, &format!(r#"{{"action": "{action}"}}"#));
}

/// Of a request that is not chosen, of which one in a hundred is.
#[divan::bench]
fn mirror(bencher: Bencher) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut host = http::Extensions::new();
    host.insert(Client::new(service_fn(|_: Request| ready(Ok::<_, Infallible>(Response::new(Body::empty()))))));
    measure_layer_in::<Mirror>(bencher, r#"{"to": "http://127.0.0.1:9", "share": "1%"}"#, &Lifecycle::hosted(host));
}

/// Of a body that is too short to be compressed.
#[divan::bench]
fn compress(bencher: Bencher) {
    measure_layer::<Compress>(bencher, "{}");
}

/// Of a client to which nothing can be sent before the response.
#[divan::bench]
fn early_hints(bencher: Bencher) {
    measure_layer::<SendEarlyHints>(bencher, r#"{"links": "</app.css>; rel=preload; as=style"}"#);
}

/// Of a response without the header.
#[divan::bench]
fn sendfile(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    measure_layer::<Sendfile>(bencher, &format!(r#"{{"root": "{}"}}"#, folder.path().display()));
}

/// Of a path that is none of a file. What a file costs is in the benchmark `files`.
#[divan::bench]
fn static_files(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    measure_layer::<Static>(bencher, &format!(r#"{{"root": "{}"}}"#, folder.path().display()));
}

/// The mark of the requests that are checked, and the look at those that are not. What the checks cost is in the benchmark `wsgi` of the program.
#[divan::bench(args = ["{}", r#"{"sample": 0.01}"#])]
fn wsgi_lint(bencher: Bencher, options: &str) {
    measure_layer::<LintWsgi>(bencher, options);
}
