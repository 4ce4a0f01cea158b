//! Request bodies as the app reads them.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::{LengthLimitError, StreamBody};
use proptest::prelude::*;
use ziggurat_middleware::{Body, BoxError, Problem, Request, request};

use crate::support::{EXECUTORS, Executor, Site, python, wait_until};

/// A body in chunks that does not tell its length.
pub fn unsized_body(chunks: &[&str]) -> Body {
    let frames: Vec<_> = chunks.iter().map(|chunk| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(chunk.as_bytes())))).collect();
    Body::new(StreamBody::new(stream::iter(frames)))
}

/// So many octets, and then an error.
fn failing(octets: usize, error: impl Into<BoxError>) -> Body {
    let frames = [Ok(Frame::data(Bytes::from(vec![b'x'; octets]))), Err(error.into())];
    Body::new(StreamBody::new(stream::iter(frames)))
}

fn post(target: &str, body: impl Into<Body>) -> Request {
    request(Method::POST, target, body)
}

fn buffered(app: &str, executor: Executor, buffer: &str) -> Site {
    Site::with(app, executor, serde_json::json!({ "buffer": buffer }))
}

fn streaming(app: &str, executor: Executor, buffer: &str) -> Site {
    Site::with(app, executor, serde_json::json!({ "buffer": buffer, "streaming": true }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_taken_in_whole_has_its_length_however_it_came() {
    for executor in EXECUTORS {
        let site = Site::new("plain:length_read", executor);
        let mut chunked = post("/", unsized_body(&["abc", "", "defg"]));
        chunked.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
        assert_eq!(site.send(chunked).await.text(), "7 7");
        assert_eq!(site.post("/", "abc").await.text(), "3 3");
        assert_eq!(site.post("/", unsized_body(&[])).await.text(), "0 0");
        assert_eq!(site.get("/").await.text(), "0 none");
        let mut declared = post("/", Body::empty());
        declared.headers_mut().insert("content-length", HeaderValue::from_static("0"));
        assert_eq!(site.send(declared).await.text(), "0 0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_buffer_is_whole_and_has_its_length() {
    for executor in EXECUTORS {
        let site = buffered("plain:length_read", executor, "1KiB");
        let chunk = "x".repeat(1000);
        for count in [1, 2, 1000] {
            let told = format!("{0} {0}", count * 1000);
            assert_eq!(site.post("/", unsized_body(&vec![chunk.as_str(); count])).await.text(), told);
        }
        let mut expecting = post("/", unsized_body(&[&chunk, &chunk]));
        expecting.headers_mut().insert("expect", HeaderValue::from_static("100-continue"));
        assert_eq!(site.send(expecting).await.text(), "2000 2000");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_asks_for_it_reads_a_body_over_the_buffer_while_it_arrives() {
    for executor in EXECUTORS {
        let site = streaming("plain:length_read", executor, "1KiB");
        let chunk = "x".repeat(1000);
        let chunks = vec![chunk.as_str(); 1000];
        assert_eq!(site.post("/", unsized_body(&chunks)).await.text(), "1000000 none");
        let mut declared = post("/", unsized_body(&chunks));
        declared.headers_mut().insert("content-length", HeaderValue::from_static("1000000"));
        assert_eq!(site.send(declared).await.text(), "1000000 1000000");
        let one = "x".repeat(5000);
        assert_eq!(site.post("/", unsized_body(&[&one])).await.text(), "5000 none");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_fails_before_the_app_is_called_never_reaches_it() {
    for executor in EXECUTORS {
        let site = Site::new("plain:reads_or_fails", executor);
        let before: usize = site.python("plain", "called");
        for (error, status) in failures() {
            assert_eq!(site.post("/", failing(10, error)).await.status, status);
        }
        assert_eq!(site.python::<usize>("plain", "called"), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_fails_while_it_is_read_raises_and_is_answered() {
    for executor in EXECUTORS {
        let site = streaming("plain:reads_or_fails", executor, "1KiB");
        for (error, status) in failures() {
            let answer = site.post("/again", failing(5000, error)).await;
            assert_eq!(answer.status, status);
        }
        assert_eq!(site.post("/?500", failing(5000, "cut")).await.status, 400);
        assert_eq!(site.post("/?answer", failing(5000, "cut")).await.text(), "cut");
        site.post("/?again", failing(5000, "cut")).await;
        assert_eq!(site.python::<String>("plain", "failures[-1]"), "again");
        assert_eq!(site.post("/", "fine").await.text(), "4");
    }
}

fn failures() -> [(BoxError, StatusCode); 4] {
    let limited = http_body_util::Limited::new(http_body_util::Full::new(Bytes::from_static(b"abc")), 1);
    let too_large = futures_util::FutureExt::now_or_never(http_body_util::BodyExt::collect(limited)).unwrap().unwrap_err();
    assert!(too_large.is::<LengthLimitError>());
    [
        ("malformed".into(), StatusCode::BAD_REQUEST),
        (Box::new(io::Error::from(io::ErrorKind::TimedOut)), StatusCode::REQUEST_TIMEOUT),
        (Box::new(Problem::new(StatusCode::PAYLOAD_TOO_LARGE)), StatusCode::PAYLOAD_TOO_LARGE),
        (too_large, StatusCode::PAYLOAD_TOO_LARGE),
    ]
}

/// Counts how often it is polled.
struct Polled(Arc<AtomicUsize>);

impl http_body::Body for Polled {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"abc"))))),
            _ => Poll::Ready(None),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_100_continue_is_asked_only_when_an_app_that_streams_reads() {
    for executor in EXECUTORS {
        let expecting = |polls: &Arc<AtomicUsize>| {
            let mut request = post("/", Body::new(Polled(Arc::clone(polls))));
            request.headers_mut().insert("expect", HeaderValue::from_static("100-Continue"));
            request.headers_mut().insert("content-length", HeaderValue::from_static("3"));
            request
        };
        let polls = Arc::default();
        assert_eq!(streaming("plain:refuses_unread", executor, "1MiB").send(expecting(&polls)).await.status, 403);
        // The body is gone once its pump has learned that nobody reads.
        wait_until("the body is dropped", || Arc::strong_count(&polls) == 1);
        assert_eq!(polls.load(Ordering::SeqCst), 0);

        assert_eq!(streaming("plain:length_read", executor, "1MiB").send(expecting(&polls)).await.text(), "3 3");
        assert_eq!(polls.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_body_is_let_go() {
    for executor in EXECUTORS {
        let site = streaming("plain:refuses_unread", executor, "1B");
        let kept = Arc::new(());
        let held = Arc::clone(&kept);
        let frames = stream::repeat_with(move || {
            let _ = &held;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"abc")))
        });
        assert_eq!(site.post("/", Body::new(StreamBody::new(frames))).await.text(), "unread");
        wait_until("the body is dropped", || Arc::strong_count(&kept) == 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_that_are_no_numbers_are_type_errors() {
    for executor in EXECUTORS {
        assert_eq!(Site::new("plain:odd_reads", executor).post("/", "abc").await.text(), "TypeError TypeError TypeError TypeError");
    }
}

#[test]
fn reads_give_what_a_file_in_memory_gives() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let read = prop_oneof![Just("read"), Just("readline"), Just("readlines"), Just("next")];
    let size = prop_oneof![Just(None), (-2_i64..12).prop_map(Some)];
    let script = prop::collection::vec((read, size), 0..12);
    let body = prop::collection::vec("[ab\n]{0,9}", 0..6);
    for executor in EXECUTORS {
        let app = "plain:reads_script";
        let sites = [Site::new(app, executor), buffered(app, executor, "0B"), streaming(app, executor, "0B")];
        proptest!(ProptestConfig::with_cases(150), |(script in script.clone(), body in body.clone())| {
            let chunks: Vec<&str> = body.iter().map(String::as_str).collect();
            let program = serde_json::to_string(&script).unwrap();
            let oracle: String = python("bytes_io", &format!("run({:?}, {program:?})", body.concat()));
            for site in &sites {
                let mut request = post("/", unsized_body(&chunks));
                request.headers_mut().insert("x-script", program.parse().unwrap());
                prop_assert_eq!(runtime.block_on(site.send(request)).text(), &*oracle);
            }
        });
    }
}
