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
async fn request_lines_of_pipelined_requests_are_rewritten_each_in_its_place() {
    const LINES: &str = "GET /\"1\" HTTP/1.2\r\nHost: a\r\n\r\nPOST /<2> HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\"`\"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n\
                         GET /`4 HTTP/1.0\r\nHost: a\r\n\r\n";
    for piece in [1, 7, 40, 1000] {
        let record = Record::default();
        let server = Server::start("{}", record.app());
        let mut client = server.connect().await;
        for octets in LINES.as_bytes().chunks(piece) {
            client.send(octets).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.read_to_end().await.matches("200 OK").count(), 4, "{piece}");
        let requests = record.requests();
        let lines: Vec<_> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
        assert_eq!(lines, ["GET /%221%22 HTTP/1.1", "POST /%3C2%3E HTTP/1.1", "GET /3 HTTP/1.1", "GET /%604 HTTP/1.0"], "{piece}");
        assert!(requests[1].ends_with("\n\n\"`\""), "{piece}");
    }
}

#[tokio::test]
async fn header_names_have_their_usual_capitals_if_the_option_says_so() {
    for (options, name) in [("{}", "content-length: 5"), (r#"{"title_case_headers": true}"#, "Content-Length: 5")] {
        let server = Server::hello(options);
        let mut client = server.connect().await;
        client.send(GET).await;
        let response = client.read_until("hello").await;
        assert!(response.contains(&format!("\r\n{name}\r\n")), "{response}");
    }
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
