//! Requests on one connection.

use crate::support::{Record, Server};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let server = Server::hello("{}");
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send(GET).await;
        assert!(client.read_until("hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let record = Record::default();
    let server = Server::start("{}", record.app());
    let mut client = server.connect().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(client.read_to_end().await.matches("200 OK").count(), 3);
    let requests = record.requests();
    assert!(requests[0].starts_with("GET /1 ") && requests[1].ends_with("\n\nabc") && requests[2].starts_with("GET /3 "));
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_once_when_the_server_stops() {
    let server = Server::hello("{}");
    let mut client = server.connect().await;
    client.send(GET).await;
    client.read_until("hello").await;
    assert_eq!(server.drained().await.cut, 0);
    assert_eq!(client.read_to_end().await, "");
}
