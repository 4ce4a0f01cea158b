//! A request through native layers: whatever its method, target and headers are, no layer fails.
#![no_main]

use std::path::Path;

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use ziggurat::pipeline::Pipeline;
use ziggurat_middleware::{Body, ConnectionInfo, Lifecycle, Next, Scheme};

const FILE: &str = r#"{
  "layers": [
    "request_id", { "forwarded": { "trust": "0.0.0.0/0" } }, "security_headers", { "cors": { "origins": ["https://a.example"] } }, { "csrf": "https://a.example" },
    { "compress": { "above": "1B" } }, { "static": { "at": "/static", "root": "fuzz_targets", "precompressed": true } },
    { "access": [{ "deny": "10.0.0.7" }, { "allow": "all" }] },
    { "rate_limit": { "allow": "1000000/s", "per": ["header:x-key", "cookie:a", "path", "user"] } }, { "limit": { "at_most": 1, "per": "cookie:a" } },
    { "slash": "remove" }, { "rewrite": { "from": "/old/*", "to": "/new/*" } }, { "body_limit": "1KiB" }
  ],
  "app": { "routes": [
    { "match": { "path": "/users/{id}", "query": { "q": true } }, "app": { "redirect": "https://a.example/{id}{path}{query}" } },
    { "match": { "client": "10.0.0.0/8", "cookie": { "a": "b" } }, "app": { "respond": 204 } },
    { "mount": "/blog", "app": { "static": { "root": "fuzz_targets", "index": false } } },
    { "match": { "path": "/kept/*" }, "layers": ["cache", { "headers": { "response": { "set": { "cache-control": "max-age=60", "vary": "accept-encoding, x-key", "etag": "\"a\"" } } } }], "app": { "respond": { "body": "kept" } } },
    { "app": { "respond": { "body": "some text that is worth compressing, because it is longer than a few octets" } } }
  ] }
}"#;

struct Site(tokio::runtime::Runtime, Next);

thread_local! {
    static SITE: Site = site();
}

fn site() -> Site {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pipeline = Pipeline::from_text("pipeline.json", FILE, Path::new(env!("CARGO_MANIFEST_DIR")), &ziggurat::builtin(), &|_| None).unwrap_or_else(|report| panic!("{report}"));
    let next = runtime.block_on(async { pipeline.build(&Lifecycle::default()) }).unwrap_or_else(|report| panic!("{report}"));
    Site(runtime, next)
}

/// Lines: method, target, then headers.
fn request(octets: &[u8]) -> Option<Request<Body>> {
    let mut lines = octets.split(|octet| *octet == b'\n');
    let method = Method::from_bytes(lines.next()?).ok()?;
    let uri = Uri::try_from(lines.next()?).ok().filter(|uri| uri.path().starts_with('/') && uri.authority().is_none())?;
    let mut request = Request::new(Body::empty());
    for line in lines.take(50) {
        let colon = line.iter().position(|octet| *octet == b':')?;
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..])) else { return None };
        request.headers_mut().append(name, value);
    }
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    let client = Some([127, 0, 0, 1].into());
    let info = ConnectionInfo { client, client_port: Some(1), scheme: Scheme::Http, server_port: None, local: None, is_vetted: false };
    request.extensions_mut().insert(info);
    Some(request)
}

fuzz_target!(|octets: &[u8]| {
    let Some(request) = request(octets) else { return };
    SITE.with(|Site(runtime, next)| {
        runtime.block_on(async {
            let response = next.clone().run(request).await;
            assert_ne!(response.status(), 500);
            response.into_body().collect().await.unwrap();
        });
    });
});
