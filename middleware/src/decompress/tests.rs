//! What becomes of coded bodies, sound and hostile.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use futures_util::stream;
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;

use super::*;
use crate::body_limit::BodyLimit;
use crate::buffer::Buffer;
use crate::{BoxError, TestResponse, TestStack, request};

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

fn encoded(coding: &str, plain: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            encoder.write_all(plain).unwrap();
            encoder.into_inner()
        }
        _ => zstd::bulk::compress(plain, 3).unwrap(),
    }
}

/// A body that arrives in pieces of this size.
fn pieces(octets: Vec<u8>, size: usize) -> Body {
    let frames: Vec<_> = octets.chunks(size.max(1)).map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    Body::new(StreamBody::new(stream::iter(frames)))
}

fn coded(coding: &str, body: Body) -> Request {
    let mut request = request(Method::POST, "/", body);
    request.headers_mut().insert(CONTENT_ENCODING, coding.parse().unwrap());
    request
}

/// Answers with the body that it read, or with what the body failed with. The headers of the request go back with an `x-`.
fn stack(options: &str) -> TestStack {
    TestStack::of::<Decompress>(options).over(echo)
}

async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = match body.collect().await {
        Ok(body) => Response::new(Body::from(body.to_bytes())),
        Err(error) => error.downcast::<Problem>().unwrap().into_response(),
    };
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, DIGESTS[0].clone()] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(http::HeaderName::try_from(format!("x-{name}")).unwrap(), value.clone());
        }
    }
    response
}

async fn sent(options: &str, coding: &str, octets: Vec<u8>) -> TestResponse {
    stack(options).send(coded(coding, pieces(octets, 1000))).await
}

#[tokio::test]
async fn the_app_reads_the_plain_body_and_no_header_tells_of_the_coding() {
    let text = b"name=value&".repeat(20_000);
    for coding in CODINGS {
        let mut request = coded(coding, Body::from(encoded(coding, &text)));
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("99"));
        request.headers_mut().insert(&DIGESTS[0], HeaderValue::from_static("sha-256=:AA==:"));
        let response = stack("{}").send(request).await;
        assert_eq!((response.status().as_u16(), response.body() == text.as_slice()), (200, true), "{coding}");
        assert!(!response.headers().keys().any(|name| name.as_str().starts_with("x-content")), "{:?}", response.headers());
    }
}

#[tokio::test]
async fn names_are_read_in_any_case_and_identity_is_no_coding() {
    for coding in ["GZIP", "x-gzip", " gzip ,", "identity, gzip"] {
        assert_eq!(sent("{}", coding, encoded("gzip", b"plain")).await.text(), "plain", "{coding}");
    }
    for coding in ["identity", ""] {
        let response = sent("{}", coding, b"plain".to_vec()).await;
        assert_eq!((response.text().as_str(), response.header("x-content-encoding")), ("plain", coding));
    }
    assert_eq!(stack("{}").post("/", "plain").await.text(), "plain");
}

#[tokio::test]
async fn another_coding_is_refused_with_those_that_are_taken() {
    for coding in ["compress", "gzip, br", "gzip;q=1", "aws-chunked"] {
        let stack = TestStack::of::<Decompress>("{}").over(async |_| panic!("reached"));
        let refused = stack.send(coded(coding, Body::from("x"))).await;
        assert_eq!((refused.status().as_u16(), refused.header("accept-encoding")), (415, "gzip, deflate, br, zstd"), "{coding}");
    }
    // Without a body there is nothing to decode.
    assert_eq!(stack("{}").send(coded("compress", Body::empty())).await.status(), 200);
}

#[tokio::test]
async fn what_is_not_of_its_coding_is_malformed_wherever_that_shows() {
    let text = b"0123456789".repeat(1000);
    for coding in CODINGS {
        let sound = encoded(coding, &text);
        let truncated = sound[..sound.len() - 1].to_vec();
        let mut followed = sound.clone();
        followed.extend_from_slice(b"something else");
        for (what, octets) in [("truncated", truncated), ("followed", followed), ("plain", b"no coding at all".to_vec())] {
            assert_eq!(sent("{}", coding, octets).await.status(), 400, "{coding}, {what}");
        }
    }
    let cut = sent("{}", "gzip", encoded("gzip", b"text")[..12].to_vec()).await;
    assert_eq!(cut.text(), "400 Bad Request\nthe request body ends before its `gzip` does\n");
    let mut damaged = encoded("gzip", &text);
    let end = damaged.len() - 8;
    damaged[end] ^= 1;
    assert_eq!(sent("{}", "gzip", damaged).await.text(), "400 Bad Request\nthe request body is not valid `gzip`\n");
}

#[tokio::test]
async fn a_body_of_the_limit_passes_and_one_octet_more_does_not() {
    for coding in CODINGS {
        let of =
            async |octets: usize| sent(r#"{ "at_most": "100kB", "ratio": 100000 }"#, coding, encoded(coding, &vec![b'a'; octets])).await;
        assert_eq!(of(100_000).await.body().len(), 100_000, "{coding}");
        let refused = of(100_001).await;
        assert!(refused.status() == 413 && refused.text().ends_with("\nthe request body is over 100kB without its coding\n"), "{coding}");
    }
}

#[tokio::test]
async fn a_bomb_is_cut_off_before_it_takes_up_room() {
    for coding in CODINGS {
        let bomb = encoded(coding, &vec![0; 64 << 20]);
        let mut body =
            DecodedBody::new(Body::from(bomb), Coding::named(coding).unwrap(), Bounds { at_most: Size::mib(1024), ratio: 100 }).unwrap();
        let mut most = 0;
        let error = loop {
            match body.frame().await.unwrap() {
                Ok(frame) => most += frame.into_data().unwrap().len(),
                Err(error) => break error,
            }
        };
        assert!(most <= 8 << 20, "{coding}: {most}");
        assert!(error.to_string().contains("more than 100 times its size"), "{error}");
        assert!(body.frame().await.unwrap().is_err() && !body.is_end_stream(), "a body that was cut off never ends");
    }
}

#[tokio::test]
async fn a_short_text_may_expand_as_much_as_it_likes() {
    let text = vec![b'a'; 1 << 20];
    for coding in CODINGS {
        assert_eq!(sent(r#"{ "ratio": 1 }"#, coding, encoded(coding, &text)).await.body().len(), 1 << 20, "{coding}");
    }
}

#[tokio::test]
async fn members_and_frames_follow_each_other_up_to_a_bound() {
    for coding in ["gzip", "zstd"] {
        let both = [encoded(coding, b"one, "), encoded(coding, b"two")].concat();
        assert_eq!(sent("{}", coding, both).await.text(), "one, two", "{coding}");
        assert_eq!(sent("{}", coding, encoded(coding, b"").repeat(9_999)).await.text(), "", "{coding}");
        assert_eq!(sent("{}", coding, encoded(coding, b"").repeat(10_001)).await.status(), 400, "{coding}");
    }
}

#[tokio::test]
async fn a_window_that_http_does_not_allow_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.set_parameter(zstd::stream::raw::CParameter::WindowLog(24)).unwrap();
    encoder.write_all(&[7; 100_000]).unwrap();
    assert_eq!(sent("{}", "zstd", encoder.finish().unwrap()).await.status(), 400);
}

#[tokio::test]
async fn trailers_follow_the_plain_body() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("7"));
    let frames = [Frame::data(Bytes::from(encoded("gzip", b"plain"))), Frame::trailers(trailers.clone())];
    let body = Body::new(StreamBody::new(stream::iter(frames.map(Ok::<_, BoxError>))));
    let bounds = Bounds { at_most: Size::mib(1), ratio: 100 };
    let read = DecodedBody::new(body, Coding::Gzip, bounds).unwrap().collect().await.unwrap();
    assert_eq!(read.trailers(), Some(&trailers));
    assert_eq!(read.to_bytes(), "plain");
}

#[tokio::test]
async fn limits_above_count_coded_octets_and_limits_below_plain_ones() {
    let text = b"0123456789".repeat(1000);
    let above = TestStack::of::<BodyLimit>(r#""1kB""#).then::<Decompress>("{}").over(echo);
    assert_eq!(above.send(coded("gzip", pieces(encoded("gzip", &text), 1000))).await.body().len(), 10_000);
    let below = TestStack::of::<Decompress>("{}").then::<BodyLimit>(r#""1kB""#).over(echo);
    assert_eq!(below.send(coded("gzip", pieces(encoded("gzip", &text), 1000))).await.status(), 413);
}

#[tokio::test]
async fn a_buffer_below_states_the_length_of_the_plain_body_and_refuses_before_the_app() {
    let stack = TestStack::of::<Decompress>("{}").then::<Buffer>("{}").over(echo);
    let response = stack.send(coded("gzip", pieces(encoded("gzip", b"twelve chars"), 3))).await;
    assert_eq!((response.text().as_str(), response.header("x-content-length")), ("twelve chars", "12"));
    let stack = TestStack::of::<Decompress>("{}").then::<Buffer>("{}").over(async |_| panic!("reached"));
    assert_eq!(stack.send(coded("gzip", Body::from("no gzip"))).await.status(), 400);
}

#[test]
fn limits_that_let_nothing_through_are_refused() {
    assert!(TestStack::refusal::<Decompress>(r#""0B""#)[0].contains("no body is let through"));
    assert!(TestStack::refusal::<Decompress>(r#"{ "ratio": 0 }"#)[0].contains("every body becomes longer"));
}

/// All octets of a body, or its status.
fn read(coding: &str, octets: Vec<u8>, size: usize) -> Result<Bytes, u16> {
    let bounds = Bounds { at_most: Size::mib(1), ratio: 100 };
    let body = DecodedBody::new(pieces(octets, size), Coding::named(coding).unwrap(), bounds).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let read = runtime.block_on(body.collect());
    read.map(http_body_util::Collected::to_bytes).map_err(|error| error.downcast::<Problem>().unwrap().status().as_u16())
}

proptest! {
    #[test]
    fn a_body_is_read_as_it_was_written_in_pieces_of_any_size(
        coding in prop::sample::select(&CODINGS[..]), text in prop::collection::vec(any::<u8>(), 0..2000), times in 1_usize..40, size in 1_usize..500,
    ) {
        let plain = text.repeat(times);
        prop_assert_eq!(read(coding, encoded(coding, &plain), size), Ok(Bytes::from(plain)));
    }

    #[test]
    fn any_octets_are_read_or_refused(
        coding in prop::sample::select(&CODINGS[..]), octets in prop::collection::vec(any::<u8>(), 1..300), size in 1_usize..50,
    ) {
        if let Err(status) = read(coding, octets, size) {
            prop_assert!(matches!(status, 400 | 413), "{}", status);
        }
    }

    #[test]
    fn a_sound_body_with_one_octet_changed_is_read_or_refused(
        coding in prop::sample::select(&CODINGS[..]), at in any::<prop::sample::Index>(), to: u8,
    ) {
        let mut octets = encoded(coding, &b"some text, some more text, and the same text again".repeat(50));
        let at = at.index(octets.len());
        octets[at] = to;
        if let Err(status) = read(coding, octets, 7) {
            prop_assert!(matches!(status, 400 | 413), "{}", status);
        }
    }
}

#[test]
fn a_request_without_a_body_is_explained_as_it_is_served() {
    let explained = |headers: &[(&'static str, &'static str)]| {
        let mut request = request(Method::PUT, "/", "");
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        TestStack::explain::<Decompress>(r#""1KiB""#, request)
    };
    for headers in [&[("content-encoding", "foo")][..], &[("content-encoding", "gzip"), ("content-length", "0")]] {
        let explained = explained(headers);
        assert_eq!(explained.notes, ["the request has no body"]);
        assert!(explained.answer.is_none() && explained.request.headers().contains_key("content-encoding"));
    }
    let refused = explained(&[("content-encoding", "foo"), ("content-length", "5")]);
    assert_eq!(refused.answer.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
