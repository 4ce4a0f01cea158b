//! Informational responses with status 103 before a response (RFC 8297).

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::LINK;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use ziggurat_middleware::{Body, EarlyHints, Request, Response};

use crate::support::{Client, PATIENCE, Server};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

fn hint(hints: &EarlyHints) {
    hints.send([(&LINK, &HeaderValue::from_static("</a.css>; rel=preload"))]);
}

/// Sends a hint where that is possible, waits for a permit, and responds.
fn server(permits: usize) -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(permits));
    let app = {
        let gate = Arc::clone(&gate);
        move |mut request: Request| {
            let gate = Arc::clone(&gate);
            async move {
                if let Some(hints) = EarlyHints::open(&mut request) {
                    hint(&hints);
                }
                gate.acquire().await.unwrap().forget();
                Response::new(Body::from("page"))
            }
        }
    };
    (Server::start("{}", app), gate)
}

/// The heads of all responses, up to the end of this many bodies that end with `page`.
async fn read_pages(client: &mut Client, pages: usize) -> String {
    let mut read = String::new();
    for _ in 0..pages {
        read += &client.read_until("\r\n\r\npage").await;
    }
    read
}

fn statuses(octets: &str) -> Vec<&str> {
    octets.lines().filter_map(|line| line.split("HTTP/1.1 ").nth(1)?.get(..3)).collect()
}

#[tokio::test]
async fn a_hint_arrives_while_the_app_still_works() {
    let (server, gate) = server(0);
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send(GET).await;
        assert_eq!(client.read_until("\r\n\r\n").await, HINT);
        gate.add_permits(1);
        assert!(read_pages(&mut client, 1).await.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n"));
    }
}

#[tokio::test]
async fn each_of_several_pipelined_requests_has_its_hint_in_its_turn() {
    let (server, _gate) = server(3);
    let mut client = server.connect().await;
    client.send(GET.repeat(3)).await;
    let read = read_pages(&mut client, 3).await;
    assert_eq!(statuses(&read), ["103", "200", "103", "200", "103", "200"], "{read}");
}

#[tokio::test]
async fn a_head_request_has_hints_and_clients_of_http_1_0_and_of_upgrades_have_none() {
    let (server, _gate) = server(3);
    let mut client = server.connect().await;
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(client.read_until("\r\n\r\n").await, HINT);
    assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert_eq!(statuses(&read_pages(&mut client, 1).await), ["200"]);
    client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n").await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_body_that_waits_for_100_is_asked_for_beside_the_hint() {
    let app = |mut request: Request| async move {
        hint(&EarlyHints::open(&mut request).unwrap());
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        Response::new(Body::from(body))
    };
    let server = Server::start("{}", app);
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let mut interim = [client.read_until("\r\n\r\n").await, client.read_until("\r\n\r\n").await];
    interim.sort();
    assert_eq!(interim, ["HTTP/1.1 100 Continue\r\n\r\n", HINT]);
    client.send("page").await;
    assert_eq!(statuses(&read_pages(&mut client, 1).await), ["200"]);
}

#[tokio::test]
async fn hints_behind_a_long_response_are_never_inside_it() {
    const LONG: usize = 3_000_001;
    let app = |mut request: Request| async move {
        if request.uri().path() == "/long" {
            return Response::new(Body::from("x".repeat(LONG)));
        }
        hint(&EarlyHints::open(&mut request).unwrap());
        Response::new(Body::from("page"))
    };
    let server = Server::start("{}", app);
    for _ in 0..8 {
        let mut client = server.connect().await;
        client.send(format!("{}{GET}", GET.replace(" / ", " /long "))).await;
        client.read_until("\r\n\r\n").await;
        let mut long = vec![0; LONG];
        for piece in long.chunks_mut(50_000) {
            timeout(PATIENCE, tokio::io::AsyncReadExt::read_exact(&mut client.0, piece)).await.unwrap().unwrap();
            tokio::task::yield_now().await;
        }
        assert!(long.iter().all(|octet| *octet == b'x'));
        let read = read_pages(&mut client, 1).await;
        assert!(read.starts_with(HINT) || read.starts_with("HTTP/1.1 200 OK"), "{read}");
    }
}

/// Hints a hundred times, and again when the response has begun.
async fn talkative(mut request: Request) -> Response {
    let hints = EarlyHints::open(&mut request).unwrap();
    (0..100).for_each(|_| hint(&hints));
    let body = stream::once(async move {
        hint(&hints);
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"page")))
    });
    let mut response = Response::new(Body::new(StreamBody::new(Box::pin(body))));
    response.headers_mut().insert("content-length", HeaderValue::from_static("4"));
    response
}

#[tokio::test]
async fn a_hundred_hints_are_sixteen_and_those_after_the_head_none() {
    let server = Server::start("{}", talkative);
    let mut client = server.connect().await;
    client.send(GET).await;
    let read = read_pages(&mut client, 1).await;
    assert!(read.starts_with(&HINT.repeat(EarlyHints::MOST)), "{read}");
    assert_eq!(statuses(&read).len(), EarlyHints::MOST + 1);
}

/// A client of HTTP/2 that sees informational responses.
async fn http2(server: &Server) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str) -> http::Request<()> {
    http::Request::builder().method(method).uri("http://test/").body(()).unwrap()
}

/// The informational responses before the final one, and the final one.
async fn responses(mut response: h2::client::ResponseFuture) -> (Vec<http::Response<()>>, http::Response<h2::RecvStream>) {
    let mut interim = Vec::new();
    let last = poll_fn(|cx| {
        while let std::task::Poll::Ready(Some(Ok(response))) = response.poll_informational(cx) {
            interim.push(response);
        }
        std::future::Future::poll(std::pin::Pin::new(&mut response), cx)
    });
    let last = timeout(PATIENCE, last).await.unwrap().unwrap();
    (interim, last)
}

#[tokio::test]
async fn over_http2_a_hint_arrives_while_the_app_still_works() {
    let (server, gate) = server(0);
    for method in ["GET", "HEAD"] {
        let (mut response, _) = http2(&server).await.send_request(request(method), true).unwrap();
        let interim = timeout(PATIENCE, poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap().unwrap();
        assert_eq!((interim.status().as_u16(), &interim.headers()["link"]), (103, &HeaderValue::from_static("</a.css>; rel=preload")));
        assert_eq!(interim.headers().len(), 1);
        gate.add_permits(1);
        let (further, last) = responses(response).await;
        assert_eq!((further.len(), last.status().as_u16()), (0, 200));
    }
}

#[tokio::test]
async fn over_http2_a_hundred_hints_are_sixteen_and_those_after_the_head_none() {
    let server = Server::start("{}", talkative);
    let (response, _) = http2(&server).await.send_request(request("GET"), true).unwrap();
    let (interim, last) = responses(response).await;
    assert_eq!((interim.len(), last.status().as_u16()), (EarlyHints::MOST, 200));
    let (mut body, mut read) = (last.into_body(), Vec::new());
    while let Some(data) = timeout(PATIENCE, body.data()).await.unwrap() {
        read.extend_from_slice(&data.unwrap());
    }
    assert_eq!(read, b"page");
    assert!(timeout(PATIENCE, body.trailers()).await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn hints_for_a_client_that_has_reset_its_stream_are_dropped_and_the_connection_goes_on() {
    let (opened, mut handles) = mpsc::unbounded_channel();
    let app = move |mut request: Request| {
        let opened = opened.clone();
        async move {
            opened.send(EarlyHints::open(&mut request).unwrap()).unwrap();
            if request.uri().path() == "/left" { std::future::pending().await } else { Response::new(Body::from("page")) }
        }
    };
    let server = Server::start("{}", app);
    let mut sender = http2(&server).await;
    let left = http::Request::get("http://test/left").body(()).unwrap();
    let (response, mut stream) = sender.send_request(left, true).unwrap();
    let hints = timeout(PATIENCE, handles.recv()).await.unwrap().unwrap();
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    for _ in 0..3 {
        hint(&hints);
        let (response, _) = sender.send_request(request("GET"), true).unwrap();
        assert_eq!(responses(response).await.1.status(), 200);
    }
}
