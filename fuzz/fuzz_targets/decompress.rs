//! A request body through `decompress`. The first octet says which coding it has, the second one how long its pieces are: what becomes of it must not depend on them, and no bound is broken.
#![no_main]

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_ENCODING;
use http::{HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use libfuzzer_sys::fuzz_target;
use ziggurat_middleware::decompress::Decompress;
use ziggurat_middleware::{Body, BoxError, Response, TestStack};

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

/// How large a body may become.
const MOST: usize = 1 << 20;

struct Layer(tokio::runtime::Runtime, TestStack);

thread_local! {
    static LAYER: Layer = layer();
}

/// Over an app that sends the body back.
fn layer() -> Layer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Whether a ratio is kept is judged while the body comes, so it would depend on the pieces.
    let stack = TestStack::of::<Decompress>(r#"{ "at_most": "1MiB", "ratio": 1000000 }"#).over(async |request: Request<Body>| {
        match request.into_body().collect().await {
            Ok(body) => Response::new(Body::from(body.to_bytes())),
            Err(_) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response
            }
        }
    });
    Layer(runtime, stack)
}

/// What becomes of octets in pieces of this length; `None` if they are refused.
async fn decoded(stack: &TestStack, coding: &'static str, octets: &[u8], piece: usize) -> Option<Vec<u8>> {
    let pieces: Vec<_> = octets.chunks(piece).map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let mut request = Request::post("/").body(Body::new(StreamBody::new(stream::iter(pieces)))).unwrap();
    request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    let response = stack.call(request).await;
    match response.status() {
        StatusCode::OK => Some(response.into_body().collect().await.unwrap().to_bytes().to_vec()),
        status => {
            assert!(status.is_client_error(), "{status}");
            None
        }
    }
}

fuzz_target!(|octets: &[u8]| {
    let [coding, piece, octets @ ..] = octets else { return };
    let coding = CODINGS[usize::from(*coding) % CODINGS.len()];
    LAYER.with(|Layer(runtime, stack)| {
        runtime.block_on(async {
            let whole = decoded(stack, coding, octets, octets.len().max(1)).await;
            assert!(whole.as_ref().is_none_or(|whole| whole.len() <= MOST));
            assert_eq!(whole, decoded(stack, coding, octets, usize::from(*piece) + 1).await);
        });
    });
});
