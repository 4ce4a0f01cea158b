//! `compress` over apps that answer this and that.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod validators;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;
use tokio::sync::mpsc;
use ziggurat_middleware::compress::Compress;
use ziggurat_middleware::{Body, Request, Response, TestStack, request};

fn text() -> String {
    "all work and no play makes jack a dull boy\n".repeat(100)
}

/// An app that answers `body` as HTML with these headers; a status among them as `:status`.
fn app(options: &str, headers: &[(&'static str, &'static str)], body: impl Fn() -> Body + Clone + Send + Sync + 'static) -> TestStack {
    let headers = headers.to_vec();
    TestStack::of::<Compress>(options).over(move |_| {
        let mut response = Response::new(body());
        response.headers_mut().insert("content-type", "text/html; charset=utf-8".parse().unwrap());
        for (name, value) in &headers {
            match *name {
                ":status" => *response.status_mut() = value.parse().unwrap(),
                name => drop(response.headers_mut().insert(name, value.parse().unwrap())),
            }
        }
        async move { response }
    })
}

fn ask(method: Method, accept: &str) -> Request {
    let mut request = request(method, "/", Body::empty());
    request.headers_mut().insert("accept-encoding", accept.parse().unwrap());
    request
}

fn decode(encoding: &str, octets: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    match encoding {
        "gzip" => flate2::read::GzDecoder::new(octets).read_to_end(&mut decoded).map(drop).unwrap(),
        "br" => brotli::Decompressor::new(octets, 4096).read_to_end(&mut decoded).map(drop).unwrap(),
        "zstd" => decoded = zstd::decode_all(octets).unwrap(),
        _ => decoded = octets.to_vec(),
    }
    decoded
}

#[tokio::test]
async fn the_encoding_is_the_one_the_client_wants_most() {
    for (options, accept, expected) in [
        ("{}", "gzip, deflate, br, zstd", "zstd"),
        ("{}", "gzip, deflate, br", "br"),
        ("{}", "gzip;q=1, br;q=0.2", "gzip"),
        (r#"{"with": ["gzip", "br"]}"#, "br, gzip, zstd", "gzip"),
        (r#"{"with": ["gzip"]}"#, "br, zstd", ""),
        ("{}", "*", "zstd"),
        ("{}", "zstd;q=0, *;q=0.1", "br"),
        ("{}", "deflate", ""),
        ("{}", "identity", ""),
        ("{}", "", ""),
        // Nothing acceptable: the app has run, so the answer goes out all the same.
        ("{}", "identity;q=0", ""),
        ("{}", "*;q=0", ""),
        ("{}", "gzip;q=0, identity;q=0", ""),
    ] {
        let response = app(options, &[], || text().into()).send(ask(Method::GET, accept)).await;
        assert_eq!((response.status().as_u16(), response.header("content-encoding")), (200, expected), "{options} {accept}");
        assert_eq!(decode(expected, response.body()), text().as_bytes(), "{options} {accept}");
        assert_eq!(response.header("vary"), "Accept-Encoding", "{options} {accept}");
    }
}

#[tokio::test]
async fn a_body_at_hand_keeps_a_length_and_loses_what_is_no_longer_true() {
    let headers =
        [("content-length", "4300"), ("accept-ranges", "bytes"), ("etag", "\"x\""), ("content-digest", "sha-256=:x:"), ("x-other", "1")];
    let response = app("{}", &headers, || text().into()).send(ask(Method::GET, "gzip")).await;
    assert_eq!(response.header("content-length"), response.body().len().to_string());
    assert!(response.body().len() < 200);
    assert_eq!(response.header("etag"), "\"x;gzip\"");
    for gone in ["accept-ranges", "content-digest"] {
        assert_eq!(response.header(gone), "", "{gone}");
    }
    assert_eq!(response.header("x-other"), "1");
}

#[tokio::test]
async fn what_must_not_be_compressed_is_not() {
    for (headers, vary) in [
        (&[("content-encoding", "br")] as &[_], ""),
        (&[(":status", "206"), ("content-range", "bytes 0-4299/9999")], ""),
        (&[("cache-control", "private, No-Transform")], ""),
        (&[("content-type", "image/png")], ""),
        (&[("content-type", "application/zip")], ""),
        (&[("content-type", "application/octet-stream")], ""),
        (&[("content-type", "text/event-stream")], ""),
        (&[("content-type", "")], ""),
    ] {
        let response = app("{}", headers, || text().into()).send(ask(Method::GET, "gzip")).await;
        assert_eq!((response.text(), response.header("vary")), (text(), vary), "{headers:?}");
        assert_eq!(response.header("content-encoding"), headers[0].1.strip_prefix("br").map_or("", |_| "br"), "{headers:?}");
    }
    for (options, body) in [("{}", "short"), (r#"{"above": "5000B"}"#, "not so short but short enough"), (r#"{"above": "0B"}"#, "")] {
        assert_eq!(app(options, &[], || body.into()).send(ask(Method::GET, "gzip")).await.header("content-encoding"), "", "{body}");
    }
    // Random octets become longer, whatever their type says.
    let noise = app(r#"{"above": "0B"}"#, &[("etag", "\"x\"")], || "q7".into()).send(ask(Method::GET, "gzip")).await;
    assert_eq!((noise.text().as_str(), noise.header("etag"), noise.header("vary")), ("q7", "\"x\"", "Accept-Encoding"));
}

#[tokio::test]
async fn media_types_match_as_they_are_written() {
    for (types, content_type, expected) in [
        (r#"["text/*"]"#, "text/html", true),
        (r#"["text/*"]"#, "TEXT/HTML;charset=x", true),
        (r#"["*+json"]"#, "application/ld+json", true),
        (r#"["application/json"]"#, "application/json5", false),
        (r#"["*"]"#, "image/png", true),
        (r#"["*"]"#, "text/event-stream", false),
        (r#"["text/event-stream"]"#, "text/event-stream", true),
        (r"[]", "text/html", false),
    ] {
        let stack = app(&format!(r#"{{"types": {types}}}"#), &[("content-type", content_type)], || text().into());
        let encoded = stack.send(ask(Method::GET, "gzip")).await.header("content-encoding") == "gzip";
        assert_eq!(encoded, expected, "{types} {content_type}");
    }
}

#[tokio::test]
async fn bodiless_statuses_pass_unchanged() {
    for status in ["204", "205", "304"] {
        let response = app("{}", &[(":status", status), ("etag", "\"x\"")], Body::empty).send(ask(Method::GET, "gzip")).await;
        assert_eq!((response.header("content-encoding"), response.header("etag")), ("", "\"x\""), "{status}");
    }
}

#[tokio::test]
async fn head_has_the_headers_that_get_has_but_for_the_length() {
    let headers = [("content-length", "4300"), ("etag", "\"x\"")];
    let head = app("{}", &headers, Body::empty).send(ask(Method::HEAD, "br")).await;
    let get = app("{}", &headers, || text().into()).send(ask(Method::GET, "br")).await;
    assert_eq!(head.header("content-length"), "");
    for name in ["content-encoding", "vary", "etag", "content-type"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    // An app that answers HEAD as GET leaves the body to the server, which must not take the length from it.
    let same = app("{}", &[], || text().into()).send(ask(Method::HEAD, "br")).await;
    assert_eq!((same.header("content-encoding"), same.header("content-length"), same.text().as_str()), ("br", "", ""));
    let short = app("{}", &[("content-length", "43")], Body::empty).send(ask(Method::HEAD, "br")).await;
    assert_eq!((short.header("content-length"), short.header("content-encoding")), ("43", ""));
}

#[tokio::test]
async fn vary_is_not_said_twice() {
    for (stated, expected) in
        [("Cookie", vec!["Cookie", "Accept-Encoding"]), ("cookie, Accept-Encoding", vec!["cookie, Accept-Encoding"]), ("*", vec!["*"])]
    {
        let response = app("{}", &[("vary", stated)], || text().into()).send(ask(Method::GET, "gzip")).await;
        assert_eq!(response.headers().get_all("vary").iter().collect::<Vec<_>>(), expected);
    }
}

/// A body fed by hand.
fn stream() -> (mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>, Body) {
    let (sender, mut receiver) = mpsc::channel(8);
    (sender, Body::new(StreamBody::new(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx)))))
}

async fn stack_over(body: Body) -> Response {
    let slot = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let stack = app("{}", &[], move || slot.lock().unwrap().take().unwrap());
    stack.call(ask(Method::GET, "zstd;q=0, br;q=0, gzip")).await
}

#[tokio::test]
async fn each_chunk_of_a_stream_can_be_decoded_before_the_next_comes() {
    for encoding in ["gzip", "br", "zstd"] {
        let (sender, body) = stream();
        let slot = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
        let stack = app("{}", &[], move || slot.lock().unwrap().take().unwrap());
        let response = stack.call(ask(Method::GET, encoding)).await;
        assert_eq!(response.headers()["content-encoding"], encoding);
        let mut body = response.into_body();
        let (mut received, mut expected) = (Vec::new(), Vec::new());
        for n in 0..5 {
            let chunk = format!("chunk {n}\n");
            expected.extend_from_slice(chunk.as_bytes());
            sender.send(Ok(Frame::data(chunk.into()))).await.unwrap();
            // All frames there are, until the body waits for the app.
            while let Some(Some(frame)) = body.frame().now_or_never() {
                received.extend_from_slice(&frame.unwrap().into_data().unwrap());
            }
            assert_eq!(decode_part(encoding, &received), expected, "{encoding}");
        }
        drop(sender);
        received.extend_from_slice(&body.collect().await.unwrap().to_bytes());
        assert_eq!(decode(encoding, &received), expected, "{encoding}");
    }
}

/// Decodes what is there of a stream that has not ended.
fn decode_part(encoding: &str, octets: &[u8]) -> Vec<u8> {
    let mut decoder: Box<dyn Read> = match encoding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(octets)),
        "br" => Box::new(brotli::Decompressor::new(octets, 4096)),
        _ => Box::new(zstd::Decoder::new(octets).unwrap()),
    };
    let (mut decoded, mut octet) = (Vec::new(), [0]);
    while let Ok(1) = decoder.read(&mut octet) {
        decoded.push(octet[0]);
    }
    decoded
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_ends_well() {
    let (sender, body) = stream();
    let response = stack_over(body).await;
    sender.send(Ok(Frame::data(text().into()))).await.unwrap();
    sender.send(Err(std::io::Error::other("the app failed"))).await.unwrap();
    drop(sender);
    assert_eq!(response.into_body().collect().await.unwrap_err().to_string(), "the app failed");
}

#[tokio::test]
async fn trailers_come_after_the_end_of_the_encoded_stream() {
    let (sender, body) = stream();
    let response = stack_over(body).await;
    sender.send(Ok(Frame::data(text().into()))).await.unwrap();
    sender.send(Ok(Frame::trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())])))).await.unwrap();
    drop(sender);
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
    assert_eq!(decode("gzip", &collected.to_bytes()), text().as_bytes());
}

/// Reads a body as a server does, frame after frame until it is pending. Gives its octets, and what `seen` counted each time that the task ran.
async fn read_in_turns(mut body: Body, seen: impl Fn() -> usize) -> (Vec<u8>, Vec<usize>) {
    let (mut received, mut turns) = (Vec::new(), Vec::new());
    poll_fn(|cx| {
        let before = seen();
        loop {
            match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(Some(frame)) => received.extend_from_slice(&frame.unwrap().into_data().unwrap()),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {
                    turns.push(seen() - before);
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
    (received, turns)
}

#[tokio::test]
async fn a_large_body_gives_other_tasks_their_turn_after_64_kib() {
    for encoding in ["gzip", "br", "zstd"] {
        let body = app("{}", &[], || vec![b'x'; 4 << 20].into()).call(ask(Method::GET, encoding)).await.into_body();
        let (received, turns) = read_in_turns(body, || 0).await;
        assert!(turns.len() >= 30, "{encoding}: {}", turns.len());
        assert_eq!(decode(encoding, &received).len(), 4 << 20, "{encoding}");
    }
}

#[tokio::test]
async fn a_body_of_many_small_pieces_gives_other_tasks_their_turn_after_64_kib() {
    for (piece, pauses) in [(100, false), (4 << 10, false), (60 << 10, false), (4 << 10, true)] {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let stack = app("{}", &[], move || {
            let (count, mut left, mut pause) = (Arc::clone(&count), 1 << 20, false);
            Body::new(StreamBody::new(futures_util::stream::poll_fn(move |cx| {
                pause = pauses && !pause;
                if pause {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let len = piece.min(left);
                left -= len;
                count.fetch_add(len, Relaxed);
                Poll::Ready((len > 0).then(|| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; len])))))
            })))
        });
        let body = stack.call(ask(Method::GET, "gzip")).await.into_body();
        let (received, turns) = read_in_turns(body, || taken.load(Relaxed)).await;
        assert!(turns.len() >= 16 && turns.iter().all(|octets| *octets <= (64 << 10) + piece), "{piece}: {turns:?}");
        assert_eq!(decode("gzip", &received).len(), 1 << 20, "{piece}");
    }
}

#[test]
fn wrong_options_are_refused_with_a_hint() {
    for (options, expected) in [
        (r#"{"with": []}"#, "encodings are `zstd`, `br`, `gzip`"),
        (r#"{"with": ["gzip", "gzip"]}"#, "`gzip` is listed twice"),
        (r#"{"with": ["deflate"]}"#, "unknown variant `deflate`"),
        (r#"{"level": 10}"#, "a number from 1 to 9"),
        (r#"{"level": 0}"#, "a number from 1 to 9"),
        (r#"{"level": "fast"}"#, "`\"fastest\"`"),
        (r#"{"above": 1024}"#, "1024B"),
        (r#"{"types": ["text/*; charset=utf-8"]}"#, "`text/*` or `*+json`"),
        (r#"{"types": ["te*xt/html"]}"#, "`text/*` or `*+json`"),
        (r#"{"types": [""]}"#, "`text/*` or `*+json`"),
    ] {
        let said = TestStack::refusal::<Compress>(options).join("");
        assert!(said.contains(expected), "{options}: {said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_app_yields_in_whatever_pieces_arrives(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..6),
        encoding in prop::sample::select(vec!["gzip", "br", "zstd"]),
        level in 1..=9u8,
        at_once: bool,
    ) {
        let whole = pieces.concat();
        let body = move || {
            let frames = pieces.clone().into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
            if at_once { Body::from(pieces.concat()) } else { Body::new(StreamBody::new(futures_util::stream::iter(frames))) }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let response = runtime.block_on(app(&format!(r#"{{"above": "0B", "level": {level}}}"#), &[], body).send(ask(Method::GET, encoding)));
        prop_assert_eq!(decode(response.header("content-encoding"), response.body()), whole);
    }
}
