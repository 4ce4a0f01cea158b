//! The PROXY protocol header to upstreams: what is said of whom, and that no connection serves two clients.

use super::support::{Proxy, Upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn each_request_has_a_connection_that_begins_with_its_client() {
    let upstream = Upstream::saying("ok").await;
    let proxy = Proxy::start(&format!(r#"{{ "to": "{}", "proxy_protocol": "v1" }}"#, upstream.url()));
    let mut clients = [proxy.connect().await, proxy.connect().await];
    for client in [0, 1, 0] {
        let client = &mut clients[client];
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.read_until("ok").await;
    }
    let received = upstream.requests();
    for (request, client) in received.iter().zip([0, 1, 0]) {
        let client = clients[client].0.local_addr().unwrap();
        let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}", client.port(), proxy.address.port());
        assert_eq!(request.line(), expected);
        assert_eq!(request.head.lines().nth(1), Some("GET / HTTP/1.1"));
    }
    let connections: Vec<usize> = received.iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1, 2]);
}

#[tokio::test]
async fn version_2_names_the_client_that_a_trusted_proxy_has_named() {
    let upstream = Upstream::start(|mut connection| async move {
        let header = connection.exactly(28).await;
        connection.request().await.unwrap();
        let text: Vec<String> = header.iter().map(|octet| format!("{octet:02x}")).collect();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", 2 * header.len(), text.concat())).await;
        // The proxy has to close it.
        assert!(connection.request().await.is_none());
    })
    .await;
    let pipeline = format!(
        r#"{{ "layers": [{{ "forwarded": "127.0.0.1" }}], "app": {{ "proxy": {{ "to": "{}", "proxy_protocol": "v2", "forward": "none" }} }} }}"#,
        upstream.url()
    );
    let proxy = Proxy::pipeline(&pipeline);
    let answer = proxy.exchange("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n").await;
    let port = proxy.address.port();
    assert_eq!(answer.body, format!("0d0a0d0a000d0a515549540a2111000ccb0071077f0000010000{port:04x}"));
}

#[tokio::test]
async fn a_health_check_names_no_client() {
    let upstream = Upstream::answering(OK).await;
    let options = r#""proxy_protocol": "v1", "health": { "path": "/healthz", "every": "50ms" }"#;
    let _proxy = Proxy::start(&format!(r#"{{ "to": "{}", {options} }}"#, upstream.url()));
    while upstream.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    let check = &upstream.requests()[0];
    assert!(check.head.starts_with("PROXY UNKNOWN\r\nGET /healthz HTTP/1.1\r\n"), "{}", check.head);
}
