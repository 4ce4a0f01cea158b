//! HTTP/2 by prior knowledge.

use std::convert::Infallible;
use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use ziggurat_middleware::{Body, Response};

use crate::support::{Noted, PATIENCE, Record, Server};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// GET / of `http://a`, in HPACK.
pub const HEAD: &[u8] = b"\x82\x84\x86\x41\x01a";

/// A whole request without a body on this stream.
pub fn headers(stream: u32) -> Vec<u8> {
    [&[0, 0, HEAD.len() as u8, 1, 5], &stream.to_be_bytes()[..], HEAD].concat()
}

pub type Sender = SendRequest<Body>;

/// A client, and the end of its connection.
pub async fn connect(server: &Server) -> (Sender, JoinHandle<hyper::Result<()>>) {
    connect_with(server, 1 << 20).await
}

async fn connect_with(server: &Server, window: u32) -> (Sender, JoinHandle<hyper::Result<()>>) {
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.initial_stream_window_size(window).handshake(stream).await.unwrap();
    (sender, tokio::spawn(connection))
}

pub fn get(uri: &str) -> http::Request<Body> {
    http::Request::get(uri).body(Body::empty()).unwrap()
}

pub async fn text(response: http::Response<hyper::body::Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

/// Sends octets of HTTP/2 and reads until the server closes, for up to [`PATIENCE`].
pub async fn exchange(server: &Server, octets: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = TcpStream::connect(server.address).await.unwrap().into_split();
    let octets = octets.to_vec();
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&octets).await;
        writer
    });
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, reader.read_to_end(&mut answer)).await.expect("the server does not close");
    writing.abort();
    answer
}

#[tokio::test]
async fn requests_share_a_connection_and_look_like_any_other() {
    let record = Record::default();
    let server = Server::start("{}", record.app());
    let (mut sender, _) = connect(&server).await;
    let post = http::Request::post("http://a.example:81/x?y").header("cookie", "a=1").header("cookie", "b=2").header("x_y", "z");
    let one = sender.send_request(post.body(Body::from("hello")).unwrap());
    let two = sender.send_request(get("http://b.example/"));
    let (one, two) = tokio::join!(one, two);
    assert_eq!((text(one.unwrap()).await, text(two.unwrap()).await), ("ok".to_owned(), "ok".to_owned()));
    let mut requests = record.requests();
    requests.sort();
    assert!(requests[0].starts_with("GET / HTTP/2.0\n") && requests[0].contains("host: b.example\n"), "{requests:?}");
    assert!(requests[1].starts_with("POST /x?y HTTP/2.0\n") && requests[1].contains("host: a.example:81\n"), "{requests:?}");
    assert!(requests[1].contains("cookie: a=1; b=2\n") && requests[1].ends_with("\n\nhello"), "{requests:?}");
    assert!(!requests[1].contains("x_y"), "{requests:?}");
}

#[tokio::test]
async fn a_body_that_panics_ends_its_stream_alone() {
    let server = Server::start("{}", async |request| match request.uri().path() {
        "/" => Response::new(Body::from("ok")),
        _ => Response::new(Body::new(StreamBody::new(stream::poll_fn(|_| -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("on purpose")
        })))),
    });
    let (mut sender, _) = connect(&server).await;
    let broken = sender.send_request(get("http://a/broken")).await;
    assert!(async { broken?.into_body().collect().await }.await.is_err());
    assert_eq!(text(sender.send_request(get("http://a/")).await.unwrap()).await, "ok");
}

#[tokio::test]
async fn a_malformed_or_second_host_is_refused() {
    let record = Record::default();
    let server = Server::start("{}", record.app());
    let (mut sender, _) = connect(&server).await;
    for request in [
        http::Request::get("http://user@a/"),
        http::Request::get("http://a/").header("host", "b"),
        http::Request::get("http://a/").header("host", "a").header("host", "a"),
    ] {
        let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 400);
    }
    assert_eq!(record.requests(), [""; 0]);
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_refused() {
    let server = Server::hello("{}");
    let (mut sender, _) = connect(&server).await;
    let mut many = get("http://a/");
    for n in 0..101 {
        many.headers_mut().insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), "1".parse().unwrap());
    }
    assert_eq!(sender.send_request(many).await.unwrap().status(), 431);
    let mut large = get("http://a/");
    large.headers_mut().insert("x", "x".repeat(40_000).parse().unwrap());
    assert!(sender.send_request(large).await.map_or(true, |response| response.status() == 431));
}

#[tokio::test]
async fn head_has_a_length_and_no_body() {
    let server = Server::hello("{}");
    let (mut sender, _) = connect(&server).await;
    let response = sender.send_request(http::Request::head("http://a/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn a_preface_in_pieces_is_understood() {
    let server = Server::hello("{}");
    let mut client = server.connect().await;
    client.0.set_nodelay(true).unwrap();
    for octet in [PREFACE, SETTINGS].concat() {
        client.send([octet]).await;
        tokio::task::yield_now().await;
    }
    let mut frame = [0; 9];
    timeout(PATIENCE, client.0.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], SETTINGS[3]);
}

#[tokio::test]
async fn a_body_that_never_comes_fails_in_time() {
    let record = Record::default();
    let server = Server::start(r#"{"body_timeout": "100ms"}"#, record.app());
    let (mut sender, _) = connect(&server).await;
    let never = StreamBody::new(stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>());
    let response = sender.send_request(http::Request::post("http://a/").body(Body::new(never)).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), record.requests().len()), (400, 0));
    let response = sender.send_request(get("http://a/")).await.unwrap();
    assert_eq!(text(response).await, "ok");
}

#[tokio::test]
async fn a_response_that_is_not_read_ends_in_time_and_the_others_go_on() {
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let server = Server::start(r#"{"body_timeout": "200ms"}"#, move |request| {
        let noted = Noted(dropped.clone());
        async move {
            if request.uri().path() == "/short" {
                std::mem::forget(noted);
                return Response::new(Body::from("hello"));
            }
            let frames = stream::repeat_with(move || {
                let _ = &noted;
                Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(&[b'x'; 16_384])))
            });
            Response::new(Body::new(StreamBody::new(frames)))
        }
    });
    let (mut sender, _) = connect_with(&server, 65_535).await;
    let endless = sender.send_request(get("http://a/endless")).await.unwrap();
    timeout(PATIENCE, drops.recv()).await.unwrap().unwrap();
    let short = sender.send_request(get("http://a/short")).await.unwrap();
    assert_eq!(text(short).await, "hello");
    assert!(endless.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_request_ends_when_its_client_resets_it_or_disconnects() {
    let (entered, mut entries) = mpsc::unbounded_channel();
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let server = Server::start("{}", move |_| {
        let noted = Noted(dropped.clone());
        entered.send(()).unwrap();
        async move {
            std::future::pending::<()>().await;
            drop(noted);
            Response::new(Body::empty())
        }
    });
    let (mut sender, _) = connect(&server).await;
    let request = tokio::spawn(sender.send_request(get("http://a/")));
    entries.recv().await.unwrap();
    request.abort();
    timeout(PATIENCE, drops.recv()).await.unwrap().unwrap();

    let mut client = server.connect().await;
    client.send([PREFACE, SETTINGS, &headers(1)].concat()).await;
    entries.recv().await.unwrap();
    drop(client);
    timeout(PATIENCE, drops.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn idle_connections_end_in_time() {
    let server = Server::hello(r#"{"keep_alive": "400ms", "header_timeout": "100ms"}"#);
    let (mut sender, connection) = connect(&server).await;
    sender.send_request(get("http://a/")).await.unwrap();
    let start = tokio::time::Instant::now();
    timeout(PATIENCE, connection).await.unwrap().unwrap().unwrap();
    assert!(start.elapsed().as_millis() >= 300);
    let (_silent, connection) = connect(&server).await;
    timeout(PATIENCE, connection).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn requests_under_way_get_their_responses_while_the_server_drains() {
    let (entered, mut entries) = mpsc::unbounded_channel();
    let (release, gate) = watch::channel(());
    let mut server = Server::start("{}", move |_| {
        let (entered, mut gate) = (entered.clone(), gate.clone());
        async move {
            entered.send(()).unwrap();
            gate.changed().await.unwrap();
            Response::new(Body::from("hello"))
        }
    });
    let (mut sender, connection) = connect(&server).await;
    let request = tokio::spawn(sender.send_request(get("http://a/")));
    entries.recv().await.unwrap();
    server.stop();
    release.send_replace(());
    assert_eq!(text(request.await.unwrap().unwrap()).await, "hello");
    timeout(PATIENCE, connection).await.unwrap().unwrap().unwrap();
    assert_eq!(server.drained().await.cut, 0);
}

#[tokio::test]
async fn octets_that_are_no_frames_end_the_connection() {
    let server = Server::hello("{}");
    let answer = exchange(&server, &[PREFACE, &[0xff; 100]].concat()).await;
    assert!(!answer.starts_with(b"HTTP/1.1"));
}

#[tokio::test]
async fn trailers_that_belong_into_the_head_are_refused_as_in_http1() {
    let record = Record::default();
    let server = Server::start("{}", record.app());
    let (mut sender, _) = connect(&server).await;
    for (name, status) in [("x-sum", 200), ("content-length", 400), ("host", 400)] {
        let trailers = http::HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static("1"))]);
        let frames = [http_body::Frame::data(Bytes::from_static(b"abc")), http_body::Frame::trailers(trailers)];
        let body = Body::new(StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>))));
        let request = http::Request::post("http://a/").body(body).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), status, "{name}");
    }
}

#[tokio::test]
async fn an_expectation_that_nobody_knows_is_refused_as_in_http1() {
    let server = Server::hello("{}");
    let (mut sender, _) = connect(&server).await;
    for (value, status) in [("100-continue", 200), ("200-ok", 417)] {
        let mut request = get("http://a/");
        request.headers_mut().insert("expect", value.parse().unwrap());
        assert_eq!(sender.send_request(request).await.unwrap().status(), status, "{value}");
    }
}

/// Says whether a body was read to its end, when the request that it belongs to is over.
struct Reading(mpsc::UnboundedSender<bool>, bool);

impl Drop for Reading {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

#[tokio::test]
async fn a_body_that_is_reset_without_an_error_does_not_look_whole() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let (ended, mut ends) = mpsc::unbounded_channel();
    let server = Server::start("{}", move |request| {
        let (begun, reading) = (begun.clone(), Reading(ended.clone(), false));
        async move {
            // All of it is moved here, and not the flag alone.
            let (mut reading, mut body) = (reading, request.into_body());
            assert!(body.frame().await.unwrap().is_ok());
            begun.send(()).unwrap();
            reading.1 = body.collect().await.is_ok();
            Response::new(Body::empty())
        }
    });
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL] {
        let (_response, mut body) = sender.send_request(http::Request::post("http://a/").body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"hel"), false).unwrap();
        timeout(PATIENCE, begins.recv()).await.unwrap().unwrap();
        body.send_reset(reason);
        assert_eq!(timeout(PATIENCE, ends.recv()).await.unwrap(), Some(false), "{reason:?}");
    }
}

#[tokio::test]
async fn what_came_of_a_body_before_it_broke_off_arrives() {
    let server = Server::start("{}", async |_| {
        let frames = [Ok(Frame::data(Bytes::from_static(b"hel"))), Err(std::io::Error::other("on purpose"))];
        Response::new(Body::new(StreamBody::new(stream::iter(frames))))
    });
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..50 {
        let (response, _) = sender.send_request(get("http://a/").map(drop), true).unwrap();
        let mut response = timeout(PATIENCE, response).await.unwrap().expect("the head was lost");
        assert_eq!(timeout(PATIENCE, response.body_mut().data()).await.unwrap().unwrap().expect("the octets were lost"), "hel");
        let reset = timeout(PATIENCE, response.body_mut().data()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(reset.reason(), Some(h2::Reason::INTERNAL_ERROR));
    }
}

#[tokio::test]
async fn a_client_that_waits_with_its_body_is_asked_for_it_when_the_stack_reads() {
    let server = Server::start("{}", async |request| {
        let is_read = request.uri().path() != "/unread";
        let body = if is_read { request.into_body().collect().await.unwrap().to_bytes() } else { Bytes::new() };
        Response::new(Body::from(body))
    });
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (path, is_asked, is_early) in [("/", true, false), ("/", false, true), ("/unread", false, false)] {
        let request = http::Request::post(format!("http://a{path}")).header("expect", "100-continue").header("content-length", "5");
        let (mut response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        if is_early {
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        }
        if is_asked {
            let interim = timeout(PATIENCE, poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap().unwrap();
            assert_eq!(interim.status(), 100);
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        }
        let mut response = timeout(PATIENCE, response).await.unwrap().unwrap();
        let mut received = Vec::new();
        while let Some(data) = response.body_mut().data().await {
            received.extend(data.unwrap());
        }
        assert_eq!((response.status().as_u16(), &received[..]), (200, if path == "/" { &b"hello"[..] } else { b"" }));
    }
}

#[tokio::test]
async fn a_connect_that_announces_content_ends_its_stream_alone() {
    let server = Server::hello("{}");
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let connect = http::Request::connect("a:80").header("content-length", "5").body(()).unwrap();
    let (refused, _stream) = sender.send_request(connect, false).unwrap();
    assert_eq!(refused.await.unwrap_err().reason(), Some(h2::Reason::PROTOCOL_ERROR));
    let (served, _) = sender.send_request(http::Request::get("http://a/").body(()).unwrap(), true).unwrap();
    assert_eq!(served.await.unwrap().status(), 200);
}
