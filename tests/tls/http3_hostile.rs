//! What clients of HTTP/3 may not send.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::timeout;
use tower::service_fn;
use ziggurat_middleware::{Body, Next, Problem, Request, Response};

use super::http3::{ENTRY, authority, until};
use super::http3_client::{Raw, code, frame, headers};
use super::support::{PATIENCE, Site};

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "site.test")];
const POST: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "site.test")];

const EXCESSIVE_LOAD: u64 = 0x107;
const FRAME_UNEXPECTED: u64 = 0x105;
const MESSAGE_ERROR: u64 = 0x10e;
const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;

/// Responds when the body is there, with its length.
async fn length(request: Request) -> Result<Response, std::convert::Infallible> {
    match request.into_body().collect().await {
        Ok(body) => Ok(http::Response::builder().header("x-length", body.to_bytes().len()).body(Body::empty()).unwrap()),
        Err(error) => Ok(error.downcast::<Problem>().unwrap().into_response()),
    }
}

async fn open() -> (Site, Raw) {
    let site = Site::start_entry(authority(), ENTRY, r#"{ "header_timeout": "1s" }"#, Next::new("app.test", service_fn(length)));
    let raw = Raw::open(&site.client(), "site.test").await;
    (site, raw)
}

fn with(lines: &[(&str, &str)], more: &[(&str, &str)]) -> Vec<u8> {
    headers(&[lines, more].concat())
}

#[tokio::test]
async fn a_malformed_head_is_answered_with_400_and_the_connection_goes_on() {
    let (_site, raw) = open().await;
    for more in [
        &[(":path", "/other")][..],
        &[(":method", "GET")],
        &[(":authority", "other.test")],
        &[("x", "y"), (":scheme", "https")],
        &[(":status", "200")],
        &[(":protocol", "websocket"), (":protocol", "websocket")],
        &[(":unknown", "x")],
        &[("connection", "x")],
        &[("keep-alive", "1")],
        &[("proxy-connection", "x")],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "x")],
        &[("te", "gzip")],
        &[("content-length", "1"), ("content-length", "1")],
        &[("content-length", "+1")],
    ] {
        assert_eq!(raw.status(&with(&GET, more)).await, Ok(400), "{more:?}");
        assert_eq!(raw.status(&headers(&GET)).await, Ok(200), "after {more:?}");
    }
    assert_eq!(raw.status(&headers(&[GET[0], GET[1], (":path", "*"), GET[3]])).await, Ok(400));
}

#[tokio::test]
async fn what_h3_refuses_itself_ends_the_stream() {
    let (_site, raw) = open().await;
    let without = |at: usize| [&GET[..at], &GET[at + 1..]].concat();
    let heads = [
        headers(&without(0)),
        headers(&without(1)),
        headers(&without(2)),
        headers(&without(3)),
        with(&GET, &[("Upper", "x")]),
        with(&GET, &[("", "x")]),
        with(&GET, &[("x", "a\nb")]),
        with(&GET, &[("host", "other.test")]),
        headers(&[GET[0], GET[1], (":path", "other"), GET[3]]),
    ];
    for head in heads {
        assert_eq!(raw.status(&head).await, Err(MESSAGE_ERROR), "{head:?}");
    }
    assert_eq!(raw.status(&headers(&GET)).await, Ok(200));
    // A string in Huffman code that is none: the connection is over, as RFC 9204 wants it.
    let section = [&[0, 0, 0xd1, 0xd7, 0xc1, 0x50, 9][..], b"site.test", &[0x21, b'a', 0x81, 0]].concat();
    assert_eq!(raw.status(&frame(1, &section)).await, Err(QPACK_DECOMPRESSION_FAILED));
}

#[tokio::test]
async fn a_body_has_as_many_octets_as_its_length_says() {
    let (_site, raw) = open().await;
    for (stated, octets, status) in
        [(Some("5"), 5, 200), (Some("5"), 3, 400), (Some("5"), 9, 400), (Some("5"), 0, 400), (None, 9, 200), (Some("0"), 0, 200)]
    {
        let lines: Vec<_> = stated.map(|length| ("content-length", length)).into_iter().collect();
        let body = if octets == 0 { Vec::new() } else { frame(0, &vec![b'x'; octets]) };
        assert_eq!(raw.status(&[with(&POST, &lines), body].concat()).await, Ok(status), "{stated:?}, {octets}");
    }
}

#[tokio::test]
async fn a_body_ends_where_its_stream_ends_between_frames() {
    let (_site, raw) = open().await;
    // An empty frame and an unknown one are no end.
    let pieces = [with(&POST, &[("content-length", "4")]), frame(0, b"ab"), frame(0, b""), frame(0x21, b"grease"), frame(0, b"cd")];
    assert_eq!(raw.status(&pieces.concat()).await, Ok(200));
    let cut = [headers(&POST), vec![0, 9, b'a', b'b']].concat();
    assert_eq!(raw.status(&cut).await, Ok(400));
    let trailers = |name| [headers(&POST), frame(0, b"ab"), headers(&[(name, "x")])].concat();
    for (name, status) in [("x-sum", 200), (":path", 400), ("content-length", 400)] {
        assert_eq!(raw.status(&trailers(name)).await, Ok(status), "{name}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_before_it_comes() {
    let (site, raw) = open().await;
    // 1 GiB is announced, and nothing of it sent.
    let (mut sender, mut receiver) = raw.connection.open_bi().await.unwrap();
    sender.write_all(&[1, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).await.unwrap();
    let mut answer = [0; 2];
    timeout(PATIENCE, receiver.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer[0], 1);
    // Its status is 431, and so is that of a head that is too large once it is decoded.
    let long = "x".repeat(40_000);
    assert_eq!(raw.status(&with(&GET, &[("x", &long)])).await, Ok(431));
    let many: Vec<_> = (0..900).map(|_| ("a", "b")).collect();
    assert_eq!(raw.status(&with(&GET, &many)).await, Ok(431));
    let (name, value) = ("x", "y".repeat(31_000));
    assert_eq!(raw.status(&with(&GET, &[(name, &value)])).await, Ok(200));
    assert_eq!(site.server.as_ref().unwrap().traffic().responses(), [("2xx", 1), ("4xx", 3)]);
}

#[tokio::test]
async fn heads_that_wait_to_be_whole_take_a_bounded_memory() {
    let (_site, raw) = open().await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        let (mut sender, receiver) = raw.connection.open_bi().await.unwrap();
        // 32,000 octets are announced, and one comes.
        sender.write_all(&[1, 0x80, 0, 0x7d, 0, 0]).await.unwrap();
        streams.push((sender, receiver));
    }
    let (mut sender, mut receiver) = raw.connection.open_bi().await.unwrap();
    sender.write_all(&[1, 0x80, 0, 0x7d, 0, 0]).await.unwrap();
    let refused = timeout(PATIENCE, receiver.read_to_end(9)).await.unwrap();
    assert!(matches!(refused, Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_)))), "{refused:?}");
    // The others end after `header_timeout`, and there is room again.
    for (_sender, mut receiver) in streams {
        assert!(timeout(PATIENCE, receiver.read_to_end(9)).await.unwrap().is_err());
    }
    assert_eq!(raw.status(&with(&GET, &[("x", &"y".repeat(30_000))])).await, Ok(200));
}

#[tokio::test]
async fn a_body_in_many_small_frames_waits_as_any_other() {
    // Reads a few octets, and then nothing more.
    let app = service_fn(|request: Request| async move {
        let mut body = request.into_body();
        for _ in 0..500 {
            body.frame().await.unwrap().unwrap();
        }
        std::future::pending::<()>().await;
        Ok::<_, std::convert::Infallible>(Response::default())
    });
    let site = Site::start_entry(authority(), ENTRY, "{}", Next::new("app.test", app));
    let raw = Raw::open(&site.client(), "site.test").await;
    let (mut sender, _receiver) = raw.connection.open_bi().await.unwrap();
    sender.write_all(&headers(&POST)).await.unwrap();
    let frames = [0, 1, b'x'].repeat(400);
    let mut sent = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), sender.write(&frames)).await {
        sent += written.unwrap();
        assert!(sent < 2 << 20, "{sent} octets were taken");
    }
    // The client's own buffer holds some of them, and the window of the stream the rest.
    let taken = raw.connection.stats().udp_tx.bytes;
    assert!(taken < 400 << 10, "{taken} octets were sent");
}

#[tokio::test]
async fn frames_where_they_may_not_be_end_the_connection() {
    for octets in [frame(0, b"x"), frame(4, b""), frame(7, &[0]), [headers(&GET), frame(5, b"x")].concat(), frame(2, b"")] {
        let (_site, raw) = open().await;
        // The response may come first.
        let _ = raw.status(&octets).await;
        assert_eq!(code(&timeout(PATIENCE, raw.connection.closed()).await.unwrap()), FRAME_UNEXPECTED, "{octets:?}");
    }
}

#[tokio::test]
async fn floods_of_what_does_nothing_end_the_connection() {
    let site = Site::start_entry(
        authority(),
        ENTRY,
        r#"{ "header_timeout": "1h", "keep_alive": "1h", "body_timeout": "1h" }"#,
        Next::new("app.test", service_fn(length)),
    );
    let open = async || Raw::open(&site.client(), "site.test").await;
    for useless in [frame(0, b""), frame(0x21, b"xy")] {
        let raw = open().await;
        let _ = raw.status(&[headers(&POST), useless.repeat(3_000)].concat()).await;
        assert_eq!(code(&timeout(PATIENCE, raw.connection.closed()).await.unwrap()), EXCESSIVE_LOAD);
    }
    // An unknown one, and MAX_PUSH_ID.
    for useless in [frame(0x21, b""), frame(0xd, &[1])] {
        let mut raw = open().await;
        let _ = raw.control.write_all(&useless.repeat(3_000)).await;
        assert_eq!(code(&timeout(PATIENCE, raw.connection.closed()).await.unwrap()), EXCESSIVE_LOAD);
    }
    // Requests that are cancelled as soon as they are sent.
    let raw = open().await;
    let cancel = async {
        while let Ok((mut sender, mut receiver)) = raw.connection.open_bi().await {
            let _ = sender.write_all(&headers(&POST)).await;
            let _ = sender.reset(0x10c_u32.into());
            let _ = receiver.stop(0x10c_u32.into());
        }
    };
    timeout(PATIENCE, cancel).await.unwrap();
    assert_eq!(code(&timeout(PATIENCE, raw.connection.closed()).await.unwrap()), EXCESSIVE_LOAD);
    // Streams in one direction.
    let raw = open().await;
    let flood = async {
        while let Ok(mut stream) = raw.connection.open_uni().await {
            let _ = stream.write_all(&[0x21]).await;
            let _ = stream.finish();
        }
    };
    timeout(PATIENCE, flood).await.unwrap();
    assert_eq!(code(&timeout(PATIENCE, raw.connection.closed()).await.unwrap()), EXCESSIVE_LOAD);
    let traffic = site.server.as_ref().unwrap().traffic();
    until(async || traffic.open() == 0).await;
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_its_stream() {
    let (_site, raw) = open().await;
    let (mut sender, mut receiver) = raw.connection.open_bi().await.unwrap();
    sender.write_all(&[1]).await.unwrap();
    let begin = std::time::Instant::now();
    let ended = timeout(PATIENCE, receiver.read_to_end(9)).await.unwrap();
    assert!(matches!(ended, Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_)))), "{ended:?}");
    assert!(begin.elapsed() >= Duration::from_millis(900));
}
