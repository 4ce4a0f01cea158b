//! What a stack of layers costs: erasing eight layers against writing their types out, and each layer by its bare name.
//!
//! A layer's cost is its row less `nothing`. The stack is called as the server calls it: one instance per connection, never cloned.
#![allow(clippy::expect_used)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::path::Path;
use std::task::{Context as TaskContext, Poll};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use divan::Bencher;
use futures_util::FutureExt;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use tower::layer::util::Identity;
use tower::{Layer, Service, service_fn};
use ziggurat_middleware::access::Access;
use ziggurat_middleware::access_log::AccessLog;
use ziggurat_middleware::api_key::ApiKey;
use ziggurat_middleware::body_limit::BodyLimit;
use ziggurat_middleware::buffer::Buffer;
use ziggurat_middleware::cache::Cache;
use ziggurat_middleware::cors::Cors;
use ziggurat_middleware::csp_nonce::CspNonce;
use ziggurat_middleware::csrf::Csrf;
use ziggurat_middleware::decompress::Decompress;
use ziggurat_middleware::errors::Errors;
use ziggurat_middleware::forward_auth::ForwardAuth;
use ziggurat_middleware::forwarded::Forwarded;
use ziggurat_middleware::headers::Headers;
use ziggurat_middleware::jwt::Jwt;
use ziggurat_middleware::limit::Limit;
use ziggurat_middleware::maintenance::Maintenance;
use ziggurat_middleware::mirror::Mirror;
use ziggurat_middleware::rate_limit::RateLimit;
use ziggurat_middleware::request_id::AssignRequestId;
use ziggurat_middleware::rewrite::Rewrite;
use ziggurat_middleware::security_headers::SecurityHeaders;
use ziggurat_middleware::slash::Slash;
use ziggurat_middleware::timeout::Timeout;
use ziggurat_middleware::{
    Body, Client, ConnectionInfo, Context, IntoStage, Lifecycle, Middleware, Next, Place, Request, Response, Scheme,
};

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

/// Of a safe method.
#[divan::bench]
fn csrf(bencher: Bencher) {
    measure_layer::<Csrf>(bencher, "{}");
}

/// Which lets the client in by its last rule, and which refuses it.
#[divan::bench(args = [r#"{"rules": [{"deny": "10.0.0.7"}, {"allow": ["10.0.0.0/8", "192.0.2.0/24"]}]}"#, r#"{"rules": [{"deny": "192.0.2.0/24"}, {"allow": "all"}]}"#])]
fn access(bencher: Bencher, options: &str) {
    measure_layer::<Access>(bencher, options);
}

/// Whose key is known: its SHA-256 and a look-up. It has the value of the cookie.
#[divan::bench]
fn api_key(bencher: Bencher) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "bench:3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9").expect("a key");
    measure_layer::<ApiKey>(bencher, &format!(r#"{{"keys": "{}", "from": "cookie:sessionid"}}"#, file.path().display()));
}

/// Of a server that answers at once, and by a cached decision.
#[divan::bench(args = ["0s", "1h"])]
fn forward_auth(bencher: Bencher, cache: &str) {
    let yes = Client::new(service_fn(|_: Request| ready(Ok::<_, Infallible>(Response::new(Body::empty())))));
    let mut host = http::Extensions::new();
    host.insert(yes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    let lifecycle = Lifecycle::hosted(host);
    measure_layer_in::<ForwardAuth>(
        bencher,
        &format!(r#"{{"to": "http://auth.test/", "request_headers": "cookie", "cache": "{cache}"}}"#),
        &lifecycle,
    );
}

/// A token that an elliptic curve has signed.
#[divan::bench]
fn jwt(bencher: Bencher) {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    let key = EncodingKey::from_ec_der(key.as_ref());
    let set = serde_json::json!({ "keys": [Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a public key")] });
    let claims = serde_json::json!({ "iss": "bench", "aud": "bench", "sub": "ann", "exp": 4_102_444_800_u64 });
    let token = encode(&Header::new(Algorithm::ES256), &claims, &key).expect("a token");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), set.to_string()).expect("keys");
    let options = serde_json::json!({ "keys": file.path(), "algorithms": "ES256", "issuer": "bench", "audience": "bench" }).to_string();
    let (lifecycle, token) = (Lifecycle::default(), HeaderValue::try_from(format!("Bearer {token}")).expect("a header"));
    let stack = stack_in::<Jwt>(&options, &lifecycle);
    measure_with(bencher, stack, &[(AUTHORIZATION, token)]);
    lifecycle.shutdown();
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

fn measure_layer<M: Middleware>(bencher: Bencher, options: &str) {
    measure_layer_in::<M>(bencher, options, &Lifecycle::default());
}

fn measure_layer_in<M: Middleware>(bencher: Bencher, options: &str, lifecycle: &Lifecycle) {
    measure(bencher, stack_in::<M>(options, lifecycle));
    lifecycle.shutdown();
}

fn stack_in<M: Middleware>(options: &str, lifecycle: &Lifecycle) -> Next {
    stack_over::<M>(options, Next::new("app", App), lifecycle)
}

/// A layer over a stack.
fn stack_over<M: Middleware>(options: &str, inner: Next, lifecycle: &Lifecycle) -> Next {
    let context = Context::new("bench", Path::new("/"), lifecycle.clone());
    let layer = M::read(&mut serde_json::Deserializer::from_str(options)).expect("options");
    layer.layer(&context).expect("a stage").stage(&Place::new("bench"), inner)
}

/// Sends a browser's request through, from a client behind one proxy.
fn measure(bencher: Bencher, stack: Next) {
    measure_with(bencher, stack, &[]);
}

fn measure_with(bencher: Bencher, mut stack: Next, more: &[(HeaderName, HeaderValue)]) {
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
    bencher.with_inputs(input).bench_local_values(|request: Request| {
        // Nothing in these stacks waits, so the first poll is the last.
        black_box(stack.call(request).now_or_never())
    });
}

/// Answers at once, as a small page.
#[derive(Clone)]
struct App;

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
