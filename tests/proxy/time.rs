//! Upstreams that hang, in each phase.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::support::{Proxy, Upstream};

#[tokio::test]
async fn an_upstream_that_hangs_is_504_in_time() {
    for (name, octets) in
        [("before the head", ""), ("in the head", "HTTP/1.1 200 OK\r\nX-A: "), ("after 100", "HTTP/1.1 100 Continue\r\n\r\n")]
    {
        let upstream = Upstream::answering(octets).await;
        let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "timeout": "300ms" }}"#, upstream.url()));
        let started = Instant::now();
        let answer = proxy.get("/").await;
        assert_eq!((answer.status, answer.is_cut), (504, false), "{name}");
        assert!(answer.body.contains("did not answer in time"), "{name}: {}", answer.body);
        assert!((300..2_000).contains(&started.elapsed().as_millis()), "{name}: {:?}", started.elapsed());
        assert_eq!(proxy.logged("phase=head timeout").len(), 1, "{name}: {:?}", proxy.stack.log());
    }
}

#[tokio::test]
async fn an_upstream_that_hangs_in_the_body_is_cut_off() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "idle": "300ms" }}"#, upstream.url()));
    let answer = proxy.get("/").await;
    assert!(answer.is_cut && answer.body.len() <= 5, "{answer:?}");
    assert_eq!(proxy.logged("phase=body timeout").len(), 1);
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_is_504_in_time() {
    // A listener with a full backlog leaves further connections without an answer.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await {
        held.push(connection);
    }
    let proxy = Proxy::start(&format!(r#"{{ "to": "http://{address}", "connect": "300ms", "retry": false }}"#));
    let started = Instant::now();
    let answer = proxy.get("/").await;
    assert_eq!(answer.status, 504, "{:?}", proxy.stack.log());
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(proxy.logged("phase=connect timeout").len(), 1);
}

#[tokio::test]
async fn an_upstream_that_takes_no_body_is_504_in_time() {
    let upstream = Upstream::start(|mut connection| async move {
        connection.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "timeout": "500ms" }}"#, upstream.url()));
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\nConnection: close\r\n\r\n").await;
    let (read, mut write) = client.0.into_split();
    let sending = tokio::spawn(async move {
        let piece = vec![b'x'; 65_536];
        while tokio::io::AsyncWriteExt::write_all(&mut write, &piece).await.is_ok() {}
    });
    let mut read = tokio::io::BufReader::new(read);
    let mut line = String::new();
    tokio::time::timeout(super::support::PATIENCE, tokio::io::AsyncBufReadExt::read_line(&mut read, &mut line)).await.unwrap().unwrap();
    assert!(line.starts_with("HTTP/1.1 504"), "{line}");
    sending.abort();
}

#[tokio::test]
async fn a_slow_client_does_not_make_the_upstream_late() {
    let upstream = Upstream::saying("ok").await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "timeout": "300ms" }}"#, upstream.url()));
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n").await;
    for octet in ["b", "o", "d", "y"] {
        tokio::time::sleep(Duration::from_millis(250)).await;
        client.send(octet).await;
    }
    assert!(String::from_utf8(client.read_to_end().await).unwrap().ends_with("\r\n\r\nok"));
    assert_eq!(upstream.requests()[0].body, b"body");
}

#[tokio::test]
async fn the_deadline_of_a_route_bounds_all_attempts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream::start_on(listener, |mut connection| async move {
        connection.request().await;
        std::future::pending::<()>().await;
    });
    let proxy = Proxy::pipeline(&format!(
        r#"{{ "app": {{ "routes": [{{ "deadline": "300ms", "app": {{ "proxy": {{ "to": "{}", "retry": {{ "on": ["timeout"] }} }} }} }}] }} }}"#,
        upstream.url()
    ));
    let started = Instant::now();
    assert_eq!(proxy.get("/").await.status, 504);
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(proxy.logged("no response within the deadline of 300ms").len(), 1);
}
