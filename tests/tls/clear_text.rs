//! Clients that have mixed up the ports.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::authority::Authority;
use super::support::{PATIENCE, Site};

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
