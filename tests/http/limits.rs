//! Limits of connections: time, size, number.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use tokio::time::{Duration, interval, timeout};
use ziggurat_middleware::{Body, Response};

use crate::support::{Noted, PATIENCE, Record, Server};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

#[tokio::test]
async fn a_silent_socket_is_closed_in_time() {
    let server = Server::hello(r#"{"header_timeout": "100ms"}"#);
    assert_eq!(server.connect().await.read_to_end().await, "");
}

#[tokio::test]
async fn half_a_preface_is_closed_in_time() {
    let server = Server::hello(r#"{"header_timeout": "100ms"}"#);
    for half in ["P", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let mut client = server.connect().await;
        client.send(half).await;
        assert!(!client.read_to_end().await.contains("200"));
    }
}

#[tokio::test]
async fn half_a_head_is_answered_408_in_time() {
    let server = Server::hello(r#"{"header_timeout": "100ms"}"#);
    for earlier in ["", GET] {
        let mut client = server.connect().await;
        client.send(format!("{earlier}GET / HTTP/1.1\r\nHost: te")).await;
        let answer = client.read_to_end().await;
        assert!(answer.contains("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert_eq!(answer.contains("hello"), !earlier.is_empty());
    }
}

#[tokio::test]
async fn a_head_that_comes_octet_by_octet_has_no_more_time() {
    let server = Server::hello(r#"{"header_timeout": "200ms"}"#);
    let (mut reader, writer) = server.connect().await.0.into_split();
    let mut ticks = interval(Duration::from_millis(10));
    let trickle = async {
        for octet in GET.bytes().cycle().filter(|octet| *octet != b'\n') {
            ticks.tick().await;
            if writer.writable().await.is_err() || writer.try_write(&[octet]).is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = String::new();
    let read = tokio::io::AsyncReadExt::read_to_string(&mut reader, &mut answer);
    tokio::select! {
        _ = timeout(PATIENCE, read) => {}
        () = trickle => {}
    }
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let server = Server::hello(r#"{"keep_alive": "100ms"}"#);
    let mut client = server.connect().await;
    client.send(GET).await;
    assert!(client.read_to_end().await.ends_with("hello"));
}

#[tokio::test]
async fn a_connection_goes_on_after_a_silence_that_frees_its_parser() {
    let server = Server::hello("{}");
    let mut client = server.connect().await;
    let mut ticks = interval(Duration::from_millis(1_200));
    for _ in 0..3 {
        ticks.tick().await;
        client.send(GET).await;
        client.read_until("hello").await;
    }
}

#[tokio::test]
async fn a_body_that_pauses_too_long_fails_and_never_looks_complete() {
    let record = Record::default();
    let server = Server::start(r#"{"body_timeout": "100ms"}"#, record.app());
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(request).await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 400 "), "{request}");
    }
    assert_eq!(record.requests(), [""; 0]);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_response_is_cut_off() {
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let server = Server::start(r#"{"body_timeout": "200ms"}"#, move |_| {
        let noted = Noted(dropped.clone());
        async move {
            let frames = stream::repeat_with(move || {
                let _ = &noted;
                Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(&[b'x'; 65_536])))
            });
            Response::new(Body::new(StreamBody::new(frames)))
        }
    });
    let mut client = server.connect().await;
    client.send(GET).await;
    timeout(PATIENCE, drops.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn long_request_lines_and_large_heads_are_served_up_to_the_limit() {
    let server = Server::hello("{}");
    for (request, status) in [
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "x".repeat(9_000)), 200),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "x".repeat(32_000)), 200),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: {}\r\n\r\n", "x".repeat(32_000)), 200),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n", "X: 1\r\n".repeat(98)), 200),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(33_000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "x".repeat(33_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(100)), 431),
        (format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}\r\n", "X: 1\r\n".repeat(101)), 400),
        (format!("GET {}", "x".repeat(200_000)), 414),
    ] {
        let mut client = server.connect().await;
        client.send(&request).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {answer}", &request[..80]);
    }
}

#[tokio::test]
async fn limits_above_the_defaults_hold() {
    let server = Server::hello(r#"{"max_headers": 500, "max_header_size": "128KiB"}"#);
    let mut client = server.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", format!("X: {}\r\n", "x".repeat(200)).repeat(450))).await;
    client.read_until("hello").await;
}

#[tokio::test]
async fn a_client_beyond_the_limit_waits_until_another_connection_ends() {
    let (entered, mut entries) = mpsc::unbounded_channel();
    let (release, gate) = tokio::sync::watch::channel(());
    let server = Server::start(r#"{"max_connections": 2}"#, move |_| {
        let (entered, mut gate) = (entered.clone(), gate.clone());
        async move {
            entered.send(()).unwrap();
            gate.changed().await.unwrap();
            Response::new(Body::from("hello"))
        }
    });
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.send(GET).await;
        clients.push(client);
    }
    entries.recv().await.unwrap();
    entries.recv().await.unwrap();
    assert!(timeout(Duration::from_millis(100), entries.recv()).await.is_err(), "a third request was let in");
    release.send_replace(());
    timeout(PATIENCE, entries.recv()).await.unwrap().unwrap();
    release.send_replace(());
    for client in &mut clients {
        client.read_until("hello").await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_for_another_client() {
    let server = Server::hello(r#"{"max_connections": 1}"#);
    let mut first = server.connect().await;
    first.send(GET).await;
    first.read_until("hello").await;
    let mut second = server.connect().await;
    second.send(GET).await;
    second.read_until("hello").await;
    assert_eq!(first.read_to_end().await, "");
}
