//! The ends of connections: by the client, by a response, by the drain.

use std::convert::Infallible;
use std::future::pending;
use std::path::Path;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use ziggurat::server::Listener;
use ziggurat_middleware::{Body, ConnectionInfo, Request, Response};

use crate::support::{Noted, PATIENCE, Record, Server};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

#[tokio::test]
async fn close_in_a_list_closes_and_http10_keeps_alive_only_when_asked() {
    let server = Server::hello("{}");
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: Close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(request).await;
        assert!(client.read_to_end().await.ends_with("hello"), "{request}");
    }
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert!(client.read_until("hello").await.contains("\r\nconnection: keep-alive\r\n"));
    }
}

#[tokio::test]
async fn nothing_is_sent_after_connection_close() {
    let record = Record::default();
    let server = Server::start("{}", record.app());
    for after in [GET, "nonsense\r\n\r\n", "GET / HTTP/1.1\r\nHo"] {
        let mut client = server.connect().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n{after}")).await;
        let answer = client.read_to_end().await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(record.requests().len(), 3);
}

#[tokio::test]
async fn a_response_that_fails_never_looks_complete() {
    let server = Server::start("{}", |_| async {
        let frames = stream::iter([Ok(http_body::Frame::data(Bytes::from_static(b"half"))), Err("broken")]);
        Response::new(Body::new(StreamBody::new(frames)))
    });
    let mut client = server.connect().await;
    client.send(GET).await;
    assert!(!client.read_to_end().await.ends_with("0\r\n\r\n"));
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let mut answer = Vec::new();
    let end = timeout(PATIENCE, client.0.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn responses_without_a_body_have_none() {
    let server = Server::start("{}", |request: Request| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap();
        http::Response::builder().status(status).body(Body::from("body")).unwrap()
    });
    let mut client = server.connect().await;
    for (method, status, length) in [("HEAD", 200, true), ("GET", 204, false), ("GET", 304, false)] {
        client.send(format!("{method} /{status} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let answer = client.read_until("\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(answer.contains("content-length: 4"), length, "{answer}");
    }
    client.send("GET /200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(client.read_to_end().await.ends_with("\r\n\r\nbody"));
}

#[tokio::test]
async fn an_app_cannot_answer_with_an_interim_status() {
    let server = Server::start("{}", |_| async { http::Response::builder().status(101).body(Body::empty()).unwrap() });
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: x\r\n\r\n").await;
    assert!(client.read_to_end().await.starts_with("HTTP/1.1 500 "));
}

#[tokio::test]
async fn a_100_continue_is_sent_when_the_app_reads_the_body_and_not_before() {
    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let reading = Server::start("{}", Record::default().app());
    let mut client = reading.connect().await;
    client.send(POST).await;
    assert_eq!(client.read_until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello").await;
    assert!(client.read_until("ok").await.starts_with("HTTP/1.1 200 "));

    let ignoring = Server::hello("{}");
    let mut client = ignoring.connect().await;
    client.send(POST).await;
    assert!(client.read_until("hello").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_gets_its_responses() {
    let (release, gate) = watch::channel(());
    let server = Server::start("{}", move |_| {
        let mut gate = gate.clone();
        async move {
            gate.changed().await.unwrap();
            Response::new(Body::from("hello"))
        }
    });
    let mut client = server.connect().await;
    client.send([GET, GET].concat()).await;
    client.0.shutdown().await.unwrap();
    let answers = tokio::spawn(async move { client.read_to_end().await });
    while !answers.is_finished() {
        release.send_replace(());
        tokio::task::yield_now().await;
    }
    assert_eq!(answers.await.unwrap().matches("hello").count(), 2);
}

#[tokio::test]
async fn a_body_cut_short_never_looks_complete() {
    let record = Record::default();
    let server = Server::start("{}", record.app());
    for body in
        ["Content-Length: 5\r\n\r\nhell", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"]
    {
        let mut client = server.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}")).await;
        client.0.shutdown().await.unwrap();
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 400 "), "{body}");
    }
    assert_eq!(record.requests(), [""; 0]);
}

#[tokio::test]
async fn a_body_that_becomes_malformed_never_looks_complete() {
    let record = Record::default();
    let (seen, mut pieces) = mpsc::unbounded_channel();
    let app = record.app();
    let server = Server::start("{}", move |request: Request| {
        let (parts, body) = request.into_parts();
        let seen = seen.clone();
        let body = http_body_util::BodyExt::map_frame(body, move |frame| {
            seen.send(()).unwrap();
            frame
        });
        app(http::Request::from_parts(parts, Body::new(body)))
    });
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    timeout(PATIENCE, pieces.recv()).await.unwrap().unwrap();
    client.send("X\r\n").await;
    client.send(GET).await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"), "{answer}");
    assert_eq!((answer.matches("HTTP/1.1 ").count(), record.requests().len()), (1, 0));
}

#[tokio::test]
async fn a_client_that_resets_or_closes_ends_its_request() {
    let (entered, mut entries) = mpsc::unbounded_channel();
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let server = Server::start("{}", move |_| {
        let noted = Noted(dropped.clone());
        let entered = entered.clone();
        async move {
            entered.send(()).unwrap();
            pending::<()>().await;
            drop(noted);
            Response::new(Body::empty())
        }
    });
    for resets in [true, false] {
        let mut client = server.connect().await;
        client.send(GET).await;
        entries.recv().await.unwrap();
        if resets {
            client.0.set_zero_linger().unwrap();
        }
        drop(client);
        timeout(PATIENCE, drops.recv()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_client_that_disconnects_ends_its_response() {
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let server = Server::start("{}", move |_| {
        let noted = Noted(dropped.clone());
        async move {
            let frames = stream::repeat_with(move || {
                let _ = &noted;
                Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(b"more and more")))
            });
            Response::new(Body::new(StreamBody::new(frames)))
        }
    });
    let mut client = server.connect().await;
    client.send(GET).await;
    client.read_until("more and more").await;
    drop(client);
    timeout(PATIENCE, drops.recv()).await.unwrap().unwrap();
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
    let mut client = server.connect().await;
    let mut idle = server.connect().await;
    client.send(GET).await;
    entries.recv().await.unwrap();
    server.stop();
    assert_eq!(idle.read_to_end().await, "");
    release.send_replace(());
    let answer = client.read_to_end().await;
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("hello"), "{answer}");
    assert_eq!(server.drained().await.cut, 0);
}

#[tokio::test]
async fn the_drain_ends_in_time_and_counts_what_was_cut_off() {
    let (entered, mut entries) = mpsc::unbounded_channel();
    let server = Server::start(r#"{"drain": "100ms"}"#, move |_| {
        let entered = entered.clone();
        async move {
            entered.send(()).unwrap();
            pending::<Response>().await
        }
    });
    let mut clients = [server.connect().await, server.connect().await];
    for client in &mut clients {
        client.send(GET).await;
        entries.recv().await.unwrap();
    }
    assert_eq!(server.drained().await.cut, 2);
}

#[tokio::test]
async fn every_listener_is_served_and_the_app_knows_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let bind = |listen: &str| Listener::bind(&listen.parse().unwrap(), folder.path()).unwrap();
    let listeners: Vec<_> = ["127.0.0.1:0", "127.0.0.1:0", "unix:site.sock"].into_iter().flat_map(bind).collect();
    let second = listeners[1].socket_addr().unwrap();
    let server = Server::start_on(listeners, "{}", |request: Request| async move {
        let connection = request.extensions().get::<ConnectionInfo>().unwrap();
        Response::new(Body::from(format!("{:?} {:?} {:?}", connection.client, connection.local, connection.scheme)))
    });
    let close = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for address in [server.address, second] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(close.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(&format!("Some(127.0.0.1) Some({address}) Http")), "{answer}");
    }
    let path = folder.path().join("site.sock");
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(close.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("None None Http"), "{answer}");
    server.drained().await;
    assert!(!Path::new(&path).exists());
}
