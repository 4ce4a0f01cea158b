//! Clients that have mixed up the ports.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use ziggurat::server::{Listener, Options, Server};
use ziggurat_middleware::Next;

use super::authority::Authority;
use super::log::Log;
use super::support::{PATIENCE, Site, echo};

#[tokio::test]
async fn clear_text_on_a_tls_port_gets_a_response_that_names_https() {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    let site = Site::start(authority, r#"{ "cert": "site.pem", "key": "site.key" }"#);
    for request in
        ["GET / HTTP/1.0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut socket = site.socket().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // The connection is closed without a reset.
        timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("https://"), "{answer}");
        assert!(answer.contains("connection: close\r\n"));
    }
}

/// Sends octets on a connection of its own, and waits for its end.
async fn send(address: std::net::SocketAddr, octets: &[u8]) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(octets).await.unwrap();
    socket.shutdown().await.unwrap();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await.unwrap();
}

#[tokio::test]
async fn a_thousand_clients_of_the_wrong_port_are_one_line_in_the_log() {
    let log = Log::start();
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    let site = Site::start(authority, r#"{ "cert": "site.pem", "key": "site.key" }"#);
    for _ in 0..1_000 {
        send(site.address, b"GET / HTTP/1.0\r\n\r\n").await;
    }
    let lines: Vec<String> = log.lines().into_iter().filter(|line| line.contains("https://")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("HTTP without TLS came to a port that speaks TLS"), "{lines:?}");
}

#[tokio::test]
async fn a_thousand_tls_clients_of_a_port_without_tls_are_one_line_in_the_log() {
    let log = Log::start();
    let listeners = Listener::bind(&"127.0.0.1:0".parse().unwrap(), Path::new("/")).unwrap();
    let address = listeners[0].socket_addr().unwrap();
    let _server = Server::start(listeners, Next::new("app.test", tower::service_fn(echo)), &Options::default()).unwrap();
    for _ in 0..1_000 {
        send(address, b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03").await;
    }
    let lines: Vec<String> = log.lines().into_iter().filter(|line| line.contains("speaks TLS")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("the client speaks TLS (https://), and this address is for clear text (http://)"), "{lines:?}");
}
