//! Clients that crowd a server, and clients that take their responses slowly.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Duration, interval, timeout};
use ziggurat_middleware::{Body, Request, Response};

use crate::support::{Client, PATIENCE, Server, bind};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// Answers requests without a body, and reads the others to their end.
async fn app(request: Request) -> Response {
    let read = request.into_body().collect().await;
    Response::new(Body::from(if read.is_ok() { "hello" } else { "cut short" }))
}

/// Sends the head of a request, and a part of its body.
async fn begin_upload(server: &Server) -> Client {
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nabc").await;
    client
}

#[tokio::test]
async fn the_slowest_upload_makes_room_for_a_client_that_waits() {
    let server = Server::start(r#"{"max_connections": 2}"#, app);
    let mut uploads = [begin_upload(&server).await, begin_upload(&server).await];
    // The second one is faster.
    let mut ticks = interval(Duration::from_millis(200));
    for _ in 0..30 {
        ticks.tick().await;
        uploads[1].send("12345678901234567890").await;
    }
    let mut client = server.connect().await;
    client.send(GET).await;
    client.read_until("hello").await;
    assert!(uploads[0].read_to_end().await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn a_client_for_which_there_is_no_room_is_told_so() {
    let server = Server::start(r#"{"max_connections": 1}"#, |_| std::future::pending());
    let traffic = server.traffic();
    let mut busy = server.connect().await;
    busy.send(GET).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert_eq!(traffic.refused(), 1);
}

#[tokio::test]
async fn a_crowd_on_one_listener_leaves_room_on_another() {
    let other = bind("127.0.0.1:0");
    let address = other[0].socket_addr().unwrap();
    let listeners = bind("127.0.0.1:0").into_iter().chain(other).collect();
    let server = Server::start_on(listeners, r#"{"max_connections": 3}"#, |request: Request| async move {
        if request.uri().path() == "/busy" {
            std::future::pending::<()>().await;
        }
        Response::new(Body::from("hello"))
    });
    let mut crowd = Vec::new();
    for _ in 0..5 {
        let mut client = server.connect().await;
        client.send("GET /busy HTTP/1.1\r\nHost: test\r\n\r\n").await;
        crowd.push(client);
    }
    let mut probe = Client(TcpStream::connect(address).await.unwrap());
    probe.send(GET).await;
    probe.read_until("hello").await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_and_steadily_is_not_cut_off() {
    const LENGTH: usize = 24 << 20;
    let server = Server::start(r#"{"body_timeout": "2s"}"#, |_| async {
        let frames =
            stream::iter((0..LENGTH >> 16).map(|_| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(&[b'x'; 1 << 16])))));
        Response::new(Body::new(StreamBody::new(frames)))
    });
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n").await;
    let mut ticks = interval(Duration::from_millis(100));
    let mut block = vec![0; 20_000];
    // Several times as long as a client may take nothing.
    for _ in 0..80 {
        ticks.tick().await;
        client.0.read_exact(&mut block).await.unwrap();
    }
    let mut rest = Vec::new();
    timeout(PATIENCE, client.0.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.len() + 80 * block.len() > LENGTH, "{}", rest.len());
}
