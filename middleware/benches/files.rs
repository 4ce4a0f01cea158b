//! What one request costs in `static`, `compress` and `basic_auth`, without sockets: `cargo bench -p ziggurat-middleware`.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use bytes::Bytes;
use divan::Bencher;
use http::{HeaderName, HeaderValue, Method};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use ziggurat_middleware::basic_auth::BasicAuth;
use ziggurat_middleware::compress::Compress;
use ziggurat_middleware::static_files::Static;
use ziggurat_middleware::{Body, Request, Response, TestStack, request};

fn main() {
    divan::main();
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn ask(target: &str, headers: &[(HeaderName, &'static str)]) -> Request {
    let mut request = request(Method::GET, target, Body::empty());
    for (name, value) in headers {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

fn folder(name: &str, content: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), content).unwrap();
    folder
}

/// JSON of this size, as an API would answer.
fn json(size: usize) -> Bytes {
    let mut text = String::from("[");
    for n in 0u32.. {
        if text.len() >= size {
            break;
        }
        let hash = n.wrapping_mul(2_654_435_761);
        text += &format!(
            "{{\"id\":{n},\"name\":\"user {hash}\",\"email\":\"u{}@example.com\",\"active\":{}}},",
            hash % 977,
            n.is_multiple_of(2)
        );
    }
    text.truncate(size);
    text.into()
}

const BROWSER: &[(HeaderName, &str)] = &[(http::header::ACCEPT_ENCODING, "gzip, deflate, br, zstd")];

#[divan::bench_group]
mod static_files {
    use super::{BROWSER, Bencher, Static, TestStack, ask, black_box, folder, runtime};

    fn serve(bencher: Bencher, options: &str, size: usize, headers: &[(http::HeaderName, &'static str)]) {
        let folder = folder("a.css", &vec![b'x'; size]);
        let mut options: serde_json::Value = serde_json::from_str(options).unwrap();
        options["root"] = folder.path().to_str().unwrap().into();
        let stack = TestStack::of::<Static>(&options.to_string()).over_text("");
        let runtime = runtime();
        bencher.bench_local(|| black_box(runtime.block_on(stack.send(ask("/static/a.css", headers)))));
    }

    #[divan::bench]
    fn ten_kb(bencher: Bencher) {
        serve(bencher, "{}", 10_000, &[]);
    }

    #[divan::bench]
    fn ten_kb_to_a_browser(bencher: Bencher) {
        serve(bencher, "{}", 10_000, BROWSER);
    }

    #[divan::bench]
    fn not_modified(bencher: Bencher) {
        serve(bencher, "{}", 10_000, &[(http::header::IF_NONE_MATCH, "*")]);
    }

    #[divan::bench]
    fn one_mb(bencher: Bencher) {
        serve(bencher, "{}", 1_000_000, &[]);
    }

    #[divan::bench]
    fn passed_on(bencher: Bencher) {
        let folder = folder("a", b"");
        let options = serde_json::json!({ "root": folder.path() }).to_string();
        let stack = TestStack::of::<Static>(&options).over_text("");
        let runtime = runtime();
        bencher.bench_local(|| black_box(runtime.block_on(stack.send(ask("/page", &[])))));
    }
}

#[divan::bench(args = ["gzip", "br", "zstd"])]
fn compress_ten_kb_of_json(bencher: Bencher, encoding: &'static str) {
    compress(bencher, encoding, 10_000);
}

#[divan::bench(args = ["gzip", "br", "zstd"])]
fn compress_one_mb_of_json(bencher: Bencher, encoding: &'static str) {
    compress(bencher, encoding, 1_000_000);
}

fn compress(bencher: Bencher, encoding: &'static str, size: usize) {
    let content = json(size);
    let stack = TestStack::of::<Compress>("{}").over(move |_| {
        let mut response = Response::new(Body::from(content.clone()));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        async move { response }
    });
    let runtime = runtime();
    bencher.bench_local(|| black_box(runtime.block_on(stack.send(ask("/", &[(http::header::ACCEPT_ENCODING, encoding)])))));
}

#[divan::bench]
fn basic_auth_remembered(bencher: Bencher) {
    let folder = folder(".htpasswd", b"u:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.");
    let options = serde_json::json!(folder.path().join(".htpasswd")).to_string();
    let stack = TestStack::of::<BasicAuth>(&options).over_text("");
    let runtime = runtime();
    bencher
        .bench_local(|| black_box(runtime.block_on(stack.send(ask("/", &[(http::header::AUTHORIZATION, "Basic dTpvcGVuIHNlc2FtZQ==")])))));
}
