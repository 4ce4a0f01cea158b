//! What goes over a connection with TLS, and how it ends.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;
use tower::service_fn;
use ziggurat_middleware::{Body, Next, Request, Response};

use super::authority::Authority;
use super::support::{PATIENCE, Site, body, echo, exchange};

const PAIR: &str = r#"{ "cert": "site.pem", "key": "site.key" }"#;

fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    authority
}

/// Responds with the body of the request.
async fn mirror(request: Request) -> Result<Response, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(Response::new(Body::from(body)))
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn large_bodies_pass_both_ways_over_http1_and_http2() {
    let site = Site::start_with(authority(), PAIR, "{}", Next::new("app.test", service_fn(mirror)));
    let sent = pattern(3 << 20);
    let mut stream = site.client().connect("site.test").await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", sent.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&sent).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with(&sent), "{} octets", answer.len());

    let stream = site.client().offering(&["h2"]).connect("site.test").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("https://site.test/").body(Full::new(bytes::Bytes::from(sent.clone()))).unwrap();
    let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!(timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap().to_bytes(), sent);
}

#[tokio::test]
async fn a_client_that_reads_late_gets_all_of_a_response_that_fits_no_buffer() {
    let length = 12 << 20;
    let app = service_fn(move |_: Request| async move { Ok::<_, Infallible>(Response::new(Body::from(pattern(length)))) });
    let site = Site::start_with(authority(), PAIR, "{}", Next::new("app.test", app));
    let mut stream = site.client().connect("site.test").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    // Longer than the server keeps the buffers of a silent connection.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let mut got = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut got)).await.unwrap().unwrap();
    assert!(got == pattern(length));
    // The connection goes on.
    stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.ends_with(&pattern(length)));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_disconnected() {
    let app = service_fn(|_: Request| async { Ok::<_, Infallible>(Response::new(Body::from(pattern(16 << 20)))) });
    let site = Site::start_with(authority(), PAIR, r#"{ "body_timeout": "300ms" }"#, Next::new("app.test", app));
    for protocol in ["http/1.1", "h2"] {
        let mut stream = site.client().offering(&[protocol]).connect("site.test").await.unwrap();
        if protocol == "h2" {
            let (mut sender, connection) = h2::client::Builder::new()
                .initial_window_size(1 << 30)
                .initial_connection_window_size(1 << 30)
                .handshake::<_, bytes::Bytes>(stream)
                .await
                .unwrap();
            let mut connection = Box::pin(connection);
            let (response, _) = sender.send_request(http::Request::get("https://site.test/").body(()).unwrap(), true).unwrap();
            // It reads until the response has begun, and then nothing.
            tokio::select! {
                _ = &mut connection => panic!("the connection ended early"),
                response = response => drop(response.unwrap()),
            }
            until_empty(&site).await;
        } else {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
            until_empty(&site).await;
        }
    }
}

/// Waits until no connection is open.
async fn until_empty(site: &Site) {
    let traffic = site.server.as_ref().unwrap().traffic();
    let wait = async {
        while traffic.open() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_still_gets_its_response() {
    let site = Site::start(authority(), PAIR);
    let mut stream = site.client().connect("site.test").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
    // This sends close_notify.
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_ends_without_close_notify_gets_its_response_and_a_body_cut_short_that_way_is_none() {
    let site = Site::start_with(authority(), PAIR, "{}", Next::new("app.test", service_fn(mirror)));
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: site.test\r\n\r\n", Some("HTTP/1.1 200 ")),
        ("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\n\r\nhello", Some("HTTP/1.1 200 ")),
        ("POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 9\r\n\r\nhello", None),
        ("POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", None),
        ("GET / HTTP/1.1\r\nHost: si", None),
    ] {
        let mut stream = site.client().connect("site.test").await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream.get_mut().0.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        match expected {
            Some(expected) => assert!(answer.starts_with(expected), "{request}: {answer}"),
            None => assert!(!answer.contains(" 200 "), "{request}: {answer}"),
        }
    }
    until_empty(&site).await;
}

#[tokio::test]
async fn octets_pass_after_an_upgrade() {
    let app = service_fn(|mut request: Request| async move {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        Ok::<_, Infallible>(http::Response::builder().status(101).header("upgrade", "echo").body(Body::empty()).unwrap())
    });
    let site = Site::start_with(authority(), PAIR, "{}", Next::new("app.test", app));
    let mut stream = site.client().connect("site.test").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    let sent = pattern(2 << 20);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let copied = sent.clone();
    tokio::spawn(async move {
        writer.write_all(&copied).await.unwrap();
        writer.flush().await.unwrap();
        // The writing half stays open.
        std::future::pending::<()>().await;
    });
    let mut got = vec![0; sent.len()];
    timeout(PATIENCE, reader.read_exact(&mut got)).await.unwrap().unwrap();
    assert!(got == sent);
}

#[tokio::test]
async fn a_drain_closes_idle_connections_with_close_notify() {
    let mut site = Site::start(authority(), PAIR);
    let mut idle = site.client().connect("site.test").await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
    let mut octets = [0; 4096];
    assert!(timeout(PATIENCE, idle.read(&mut octets)).await.unwrap().unwrap() > 0);
    let drain = tokio::spawn(site.server.take().unwrap().drain());
    // An end without close_notify is an error of rustls.
    let mut rest = Vec::new();
    timeout(PATIENCE, idle.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(timeout(PATIENCE, drain).await.unwrap().unwrap().cut, 0);
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_drain_ends_its_connection() {
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, wait) = (Arc::clone(&entered), Arc::clone(&go_on));
    let app = service_fn(move |request: Request| {
        let (inside, wait) = (Arc::clone(&inside), Arc::clone(&wait));
        async move {
            inside.notify_one();
            wait.notified().await;
            echo(request).await
        }
    });
    let mut site = Site::start_with(authority(), PAIR, "{}", Next::new("app.test", app));
    let mut stream = site.client().connect("site.test").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    timeout(PATIENCE, entered.notified()).await.unwrap();
    let drain = tokio::spawn(site.server.take().unwrap().drain());
    tokio::task::yield_now().await;
    go_on.notify_one();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(timeout(PATIENCE, drain).await.unwrap().unwrap().cut, 0);
}

#[tokio::test]
async fn a_handshake_half_done_when_the_drain_begins_comes_to_an_end_and_its_request_is_served() {
    let mut site = Site::start(authority(), PAIR);
    let mut socket = site.socket().await;
    // The hello comes in two pieces.
    let mut client = rustls::ClientConnection::new(Arc::new(site.client().config), "site.test".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    socket.write_all(&hello[..10]).await.unwrap();
    let traffic = site.server.as_ref().unwrap().traffic();
    let begun = async {
        while traffic.handshakes() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    let drain = tokio::spawn(site.server.take().unwrap().drain());
    tokio::task::yield_now().await;
    socket.write_all(&hello[10..]).await.unwrap();
    let mut stream = Blocking { client, socket };
    let answer = stream.exchange(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(timeout(PATIENCE, drain).await.unwrap().unwrap().cut, 0);
}

/// A client whose hello was sent by hand.
struct Blocking {
    client: rustls::ClientConnection,
    socket: tokio::net::TcpStream,
}

impl Blocking {
    async fn exchange(&mut self, request: &[u8]) -> String {
        use std::io::{Read, Write};
        let mut answer = Vec::new();
        let mut is_sent = false;
        loop {
            if !is_sent && !self.client.is_handshaking() {
                self.client.writer().write_all(request).unwrap();
                is_sent = true;
            }
            while self.client.wants_write() {
                let mut octets = Vec::new();
                self.client.write_tls(&mut octets).unwrap();
                self.socket.write_all(&octets).await.unwrap();
            }
            let mut octets = vec![0; 16 << 10];
            let length = timeout(PATIENCE, self.socket.read(&mut octets)).await.unwrap().unwrap();
            let mut rest = &octets[..length];
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).unwrap();
                self.client.process_new_packets().unwrap();
            }
            if is_sent {
                match self.client.reader().read_to_end(&mut answer) {
                    Ok(_) => return String::from_utf8(answer).unwrap(),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && length > 0 => {}
                    Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
                }
            }
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let site = Site::start(authority(), PAIR);
    let mut stream = site.client().connect("site.test").await.unwrap();
    let one = "GET / HTTP/1.1\r\nHost: site.test\r\n\r\n";
    let answer = exchange(&mut stream, &format!("{one}{one}GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")).await.unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3);
    assert!(body(&answer).starts_with("https "));
}

#[tokio::test]
async fn a_drain_ends_an_idle_http2_connection_with_goaway() {
    let mut site = Site::start(authority(), PAIR);
    let stream = site.client().offering(&["h2"]).connect("site.test").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("https://site.test/").body(Full::<bytes::Bytes>::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    let drain = tokio::spawn(site.server.take().unwrap().drain());
    // An end without GOAWAY or without close_notify is an error here.
    timeout(PATIENCE, connection).await.unwrap().unwrap().unwrap();
    assert_eq!(timeout(PATIENCE, drain).await.unwrap().unwrap().cut, 0);
}

#[tokio::test]
async fn floods_of_http2_frames_are_cut_off_inside_tls_too() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let site = Site::start_with(
        authority(),
        PAIR,
        r#"{ "header_timeout": "1h", "keep_alive": "1h", "body_timeout": "1h" }"#,
        Next::new("app.test", service_fn(echo)),
    );
    for frame in [PING, SETTINGS] {
        let stream = site.client().offering(&["h2"]).connect("site.test").await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let octets = [PREFACE, SETTINGS, &frame.repeat(20_000)].concat();
        // The server stops reading.
        let write = tokio::spawn(async move {
            let _ = writer.write_all(&octets).await;
            let _ = writer.flush().await;
            writer
        });
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, reader.read_to_end(&mut answer)).await.unwrap();
        drop(timeout(PATIENCE, write).await.unwrap());
    }
    until_empty(&site).await;
}

#[tokio::test]
async fn a_request_that_was_sent_before_the_drain_is_answered() {
    for number in 0..500 {
        let mut site = Site::start(authority(), PAIR);
        let mut stream = site.client().connect("site.test").await.unwrap();
        // The first request of a connection, and a later one.
        if number % 2 == 1 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
            assert!(timeout(PATIENCE, stream.read(&mut [0; 4096])).await.unwrap().unwrap() > 0);
        }
        // The server's tasks have not read it when the drain begins: nothing here waits.
        stream.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        let drain = tokio::spawn(site.server.take().unwrap().drain());
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nconnection: close\r\n"), "{number}: {answer}");
        assert_eq!(timeout(PATIENCE, drain).await.unwrap().unwrap().cut, 0);
    }
}
