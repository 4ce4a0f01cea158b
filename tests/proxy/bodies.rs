//! Bodies stream both ways, with back-pressure, and an early answer reaches the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Proxy, Upstream};

#[tokio::test]
async fn a_body_passes_octet_by_octet_both_ways() {
    // The upstream echoes each octet as a chunk before the next one is sent.
    let upstream = Upstream::start(|mut connection| async move {
        connection.head().await;
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..5 {
            let chunk = connection.exactly(6).await;
            connection.send(chunk).await;
        }
        connection.send("0\r\n\r\n").await;
    })
    .await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for octet in ["h", "e", "l", "l", "o"] {
        client.send(format!("1\r\n{octet}\r\n")).await;
        client.read_until(&format!("1\r\n{octet}\r\n")).await;
    }
    client.send("0\r\n\r\n").await;
    client.read_until("0\r\n\r\n").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_upstream() {
    const LARGE: usize = 256 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let upstream = Upstream::start(move |mut connection| {
        let count = Arc::clone(&count);
        async move {
            connection.request().await;
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;
            let piece = vec![b'x'; 65_536];
            while count.load(SeqCst) < LARGE && connection.socket.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len(), SeqCst);
            }
        }
    })
    .await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    // Until nothing moves any more.
    let mut before = usize::MAX;
    while before != sent.load(SeqCst) || before == 0 {
        before = sent.load(SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // What is in the kernel's buffers of four sockets, and in ours.
    assert!(before < 64 << 20, "{before} octets without a reader");
    let mut left = LARGE;
    let mut piece = vec![0; 65_536];
    let mut is_head = true;
    loop {
        let read = client.0.read(&mut piece).await.unwrap();
        if read == 0 {
            break;
        }
        let head = if is_head { piece.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4 } else { 0 };
        is_head = false;
        left -= read - head;
    }
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_upstream_that_does_not_read_stops_the_client() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n").await;
    let piece = vec![b'x'; 65_536];
    let mut sent = 0_usize;
    while tokio::time::timeout(Duration::from_millis(500), client.0.write_all(&piece)).await.is_ok() {
        sent += piece.len();
        assert!(sent < 64 << 20, "{sent} octets without a reader");
    }
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.head().await;
        connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge").await;
        // It reads on for a while, as servers do that close softly.
        let mut piece = vec![0; 65_536];
        while matches!(connection.socket.read(&mut piece).await, Ok(1..)) {}
    })
    .await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let client = proxy.connect().await;
    let (mut read, mut write) = client.0.into_split();
    let sending = tokio::spawn(async move {
        let _ = write.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n").await;
        let piece = vec![b'x'; 65_536];
        while write.write_all(&piece).await.is_ok() {}
    });
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nlarge") {
        let read = tokio::time::timeout(super::support::PATIENCE, read.read_buf(&mut answer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 413"));
    sending.abort();
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_when_the_upstream_says_so() {
    let upstream = Upstream::start(|mut connection| async move {
        let head = connection.head().await.unwrap();
        assert!(head.to_lowercase().contains("expect: 100-continue"), "{head}");
        if head.contains("/refused") {
            connection.send("HTTP/1.1 401 Who\r\nContent-Length: 3\r\nConnection: close\r\n\r\nwho").await;
            let mut rest = Vec::new();
            // None of the body has come before the answer.
            let _ = connection.socket.read_to_end(&mut rest).await;
            assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
            return;
        }
        connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = connection.exactly(4).await;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await;
        connection.send(body).await;
    })
    .await;
    let proxy = Proxy::start(&format!("\"{}\"", upstream.url()));
    let head =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
    let mut client = proxy.connect().await;
    client.send(head("/")).await;
    client.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("body").await;
    assert!(String::from_utf8(client.read_to_end().await).unwrap().ends_with("\r\n\r\nbody"));
    // A refusal comes instead of 100.
    let mut client = proxy.connect().await;
    client.send(head("/refused")).await;
    let answer = client.read_until("who").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn a_body_that_the_client_cuts_is_cut_for_the_upstream_and_speaks_against_nobody() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.request().await;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "eject": {{ "after": 1, "at_most": "100%" }} }}"#, upstream.url()));
    for _ in 0..3 {
        let mut client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
        client.0.shutdown().await.unwrap();
        client.read_to_end().await;
    }
    assert!(upstream.requests().is_empty());
    assert_eq!(proxy.get("/").await.status, 200);
}
