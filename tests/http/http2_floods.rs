//! How much of HTTP/2 a client may send, and what is too much.

use std::future::poll_fn;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use ziggurat_middleware::{Body, Response};

use crate::http2::{HEAD, PREFACE, SETTINGS, exchange, headers};
use crate::support::{PATIENCE, Server};

/// With these options no time limit ends a connection during a test.
const UNLIMITED: &str = r#"{"header_timeout": "1h", "keep_alive": "1h", "body_timeout": "1h"}"#;

const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

#[tokio::test]
async fn floods_are_cut_off() {
    const PRIORITY: &[u8] = &[0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 16];
    const EMPTY_DATA: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 1];
    const UNKNOWN: &[u8] = &[0, 0, 0, 0xee, 0, 0, 0, 0, 0];
    // A request whose body goes on.
    let post: &[u8] = &[&[0, 0, HEAD.len() as u8, 1, 4, 0, 0, 0, 1], &[b"\x83", &HEAD[1..]].concat()[..]].concat();
    let server = Server::start(UNLIMITED, |request| async move {
        let _ = request.into_body().collect().await;
        Response::new(Body::from("hello"))
    });
    let start = [PREFACE, SETTINGS].concat();
    for (before, frame) in [(&[][..], PING), (&[], PRIORITY), (&[], SETTINGS), (&[], UNKNOWN), (post, EMPTY_DATA)] {
        exchange(&server, &[&start[..], before, &frame.repeat(20_000)].concat()).await;
    }
    // Rapid reset.
    let mut octets = start.clone();
    for stream in (1..40_000u32).step_by(2) {
        octets.extend(headers(stream));
        octets.extend([0, 0, 4, 3, 0]);
        octets.extend(stream.to_be_bytes());
        octets.extend([0, 0, 0, 8]);
    }
    exchange(&server, &octets).await;
    // A head that never ends.
    let mut octets = [&start[..], &[0, 0, HEAD.len() as u8, 1, 1, 0, 0, 0, 1], HEAD].concat();
    for _ in 0..20_000 {
        octets.extend([0, 0, 4, 9, 0, 0, 0, 0, 1, 0x40, 1, b'x', 0]);
    }
    exchange(&server, &octets).await;
}

#[tokio::test]
async fn frames_in_usual_numbers_are_no_flood() {
    let server = Server::hello(UNLIMITED);
    let mut client = server.connect().await;
    client.send([PREFACE, SETTINGS, &PING.repeat(500), &headers(1)].concat()).await;
    client.read_until("hello").await;
}

/// As HAProxy does, for the stream and for the connection.
#[tokio::test]
async fn a_client_may_acknowledge_each_of_many_small_responses() {
    const WINDOW_UPDATE: &[u8] = &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    let server = Server::hello(UNLIMITED);
    let mut client = server.connect().await;
    client.send([PREFACE, SETTINGS].concat()).await;
    for nth in 0..2_000 {
        // In one write: the second of two would wait for the acknowledgement of the first.
        client.send([&headers(2 * nth + 1)[..], &WINDOW_UPDATE.repeat(2)].concat()).await;
        client.read_until("hello").await;
    }
}

#[tokio::test]
async fn many_small_frames_are_a_body_like_any() {
    let server = Server::start(UNLIMITED, |request| async move {
        let length = request.into_body().collect().await.unwrap().to_bytes().len();
        Response::new(Body::from(length.to_string()))
    });
    const OCTET: &[u8] = &[0, 0, 1, 0, 0, 0, 0, 0, 1, 9];
    let post: &[u8] = &[&[0, 0, HEAD.len() as u8, 1, 4, 0, 0, 0, 1], &[b"\x83", &HEAD[1..]].concat()[..]].concat();
    let mut client = server.connect().await;
    client.send([PREFACE, SETTINGS, post, &OCTET.repeat(100_000), &[0, 0, 0, 0, 1, 0, 0, 0, 1]].concat()).await;
    client.read_until("100000").await;
}

#[tokio::test]
async fn uploads_that_nobody_reads_do_not_stop_the_others() {
    let (release, gate) = watch::channel(());
    let server = Server::start(UNLIMITED, move |request| {
        let mut gate = gate.clone();
        async move {
            if request.uri().path() == "/unread" {
                gate.changed().await.unwrap();
            }
            Response::new(Body::from(request.into_body().collect().await.unwrap().to_bytes()))
        }
    });
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut unread = Vec::new();
    for _ in 0..12 {
        let (response, mut body) = sender.send_request(http::Request::post("http://a/unread").body(()).unwrap(), false).unwrap();
        body.reserve_capacity(256 << 10);
        let mut left: usize = 256 << 10;
        while left > 0 {
            let room = match body.capacity().min(left) {
                0 => timeout(PATIENCE, poll_fn(|cx| body.poll_capacity(cx)))
                    .await
                    .expect("the connection is full")
                    .unwrap()
                    .unwrap()
                    .min(left),
                room => room,
            };
            body.send_data(vec![7; room].into(), false).unwrap();
            left -= room;
        }
        unread.push((response, body));
    }
    let (response, mut body) = sender.send_request(http::Request::post("http://a/").body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    assert_eq!(timeout(PATIENCE, response).await.unwrap().unwrap().status(), 200);
    release.send_replace(());
}
