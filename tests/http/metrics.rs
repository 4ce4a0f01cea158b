//! What the server counts of requests, by the place that has answered.

use std::future::pending;

use http_body_util::BodyExt;
use tokio::time::timeout;
use tower::layer::layer_fn;
use tower::service_fn;
use ziggurat::server::Traffic;
use ziggurat_middleware::{Body, IntoStage, Metrics, Next, Place, Problem, Request, Response};

use crate::http2::{connect, get, text};
use crate::support::{PATIENCE, Server, next};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// The app `app.test` below the layer `limit`, which answers `/limited` itself and turns what the app says to `/changed` into 503.
fn stack() -> Next {
    let app = next(|request: Request| async move {
        match request.uri().path() {
            "/pending" => pending().await,
            "/upgrade" => http::Response::builder().status(101).header("upgrade", "echo").body(Body::empty()).unwrap(),
            _ => Response::new(Body::from(request.into_body().collect().await.unwrap().to_bytes().len().to_string())),
        }
    });
    let limit = layer_fn(|inner: Next| {
        service_fn(move |request: Request| {
            let (path, inner) = (request.uri().path().to_owned(), inner.clone());
            async move {
                if path == "/limited" {
                    return Err(Problem::new(http::StatusCode::TOO_MANY_REQUESTS));
                }
                let mut response = inner.run(request).await;
                if path == "/changed" {
                    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                }
                Ok(response)
            }
        })
    });
    limit.stage(&Place::new("limit"), app)
}

fn scrape(traffic: &Traffic) -> String {
    let mut metrics = Metrics::default();
    traffic.scrape(&mut metrics);
    metrics.to_string()
}

/// Waits until the metrics have these lines: a response is counted when its last octet is handed over, and its client may have it already.
async fn wait_for(server: &Server, lines: &[&str]) {
    let traffic = server.traffic();
    let has_all = || lines.iter().all(|line| scrape(&traffic).contains(&format!("{line}\n")));
    let counted = timeout(PATIENCE, async {
        while !has_all() {
            tokio::task::yield_now().await;
        }
    });
    assert!(counted.await.is_ok(), "{lines:?}\n{}", scrape(&traffic));
}

#[tokio::test]
async fn requests_are_counted_by_the_innermost_place_that_answers_and_by_the_status_that_the_client_gets() {
    let mut server = Server::start_stack("{}", stack());
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 12\r\n\r\nhello, world").await;
    client.read_until("12").await;
    for path in ["/limited", "/changed", "/limited"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        client.read_until("\r\n\r\n").await;
    }
    let counted = [
        r#"ziggurat_http_requests_total{place="app.test",status="2xx"} 1"#,
        r#"ziggurat_http_requests_total{place="app.test",status="5xx"} 1"#,
        r#"ziggurat_http_requests_total{place="limit",status="4xx"} 2"#,
        r#"ziggurat_http_request_duration_seconds_count{place="app.test"} 2"#,
        r#"ziggurat_http_request_duration_seconds_bucket{place="limit",le="60"} 2"#,
        r#"ziggurat_http_received_bytes_total{place="app.test"} 12"#,
        r#"ziggurat_http_sent_bytes_total{place="app.test"} 2"#,
        r#"ziggurat_http_sent_bytes_total{place="limit"} 0"#,
        "ziggurat_http_requests_in_progress 0",
    ];
    wait_for(&server, &counted).await;

    // The counters of a place outlive its stack.
    server.replace("{}", stack()).await.await;
    client.send(GET).await;
    client.read_until("0").await;
    wait_for(&server, &[r#"ziggurat_http_requests_total{place="app.test",status="2xx"} 2"#, counted[2]]).await;
}

#[tokio::test]
async fn what_the_server_refuses_itself_is_its_own() {
    let server = Server::start_stack(r#"{"max_header_size": "8KiB"}"#, stack());
    // A head that is refused before it is whole, and two that are refused as a whole.
    let long = format!("GET / HTTP/1.1\r\nHost: test\r\nx: {}\r\n\r\n", "x".repeat(9 << 10));
    for octets in ["nonsense\r\n\r\n", &long, "GET / HTTP/1.1\r\nHost: test\r\nExpect: nothing\r\n\r\n"] {
        let mut client = server.connect().await;
        client.send(octets).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let (mut sender, _) = connect(&server).await;
    let mut request = get("http://a/");
    request.headers_mut().insert("expect", "nothing".parse().unwrap());
    assert_eq!(sender.send_request(request).await.unwrap().status(), 417);
    wait_for(&server, &[r#"ziggurat_http_requests_total{place="server",status="4xx"} 4"#]).await;
}

#[tokio::test]
async fn requests_under_way_and_those_without_a_response_are_counted() {
    let server = Server::start_stack("{}", stack());
    let mut client = server.connect().await;
    client.send("GET /pending HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let (mut sender, _) = connect(&server).await;
    let waiting = tokio::spawn(sender.send_request(get("http://a/pending")));
    wait_for(&server, &["ziggurat_http_requests_in_progress 2"]).await;
    assert_eq!(text(sender.send_request(get("http://a/")).await.unwrap()).await, "0");
    wait_for(&server, &["ziggurat_http_requests_in_progress 2", r#"ziggurat_http_requests_total{place="app.test",status="2xx"} 1"#]).await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    waiting.abort();
    let none = r#"ziggurat_http_requests_total{place="server",status="none"} 2"#;
    wait_for(&server, &[none, "ziggurat_http_requests_in_progress 0"]).await;
    assert_eq!(server.traffic().responses(), [("none", 2), ("2xx", 1)]);
}

#[tokio::test]
async fn an_upgrade_is_counted_when_it_begins() {
    let server = Server::start_stack("{}", stack());
    let mut client = server.connect().await;
    client.send("GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    client.read_until("\r\n\r\n").await;
    let counted = r#"ziggurat_http_requests_total{place="app.test",status="1xx"} 1"#;
    wait_for(&server, &[counted, "ziggurat_http_requests_in_progress 0"]).await;
}

#[tokio::test]
async fn a_request_that_is_cut_off_is_counted_once() {
    let mut server = Server::start_stack("{}", stack());
    let mut client = server.connect().await;
    client.send("GET /pending HTTP/1.1\r\nHost: test\r\n\r\n").await;
    wait_for(&server, &["ziggurat_http_requests_in_progress 1"]).await;
    let retiring = server.replace("{}", stack()).await;
    retiring.cut();
    assert!(client.read_to_end().await.starts_with("HTTP/1.1 503 "));
    wait_for(&server, &[r#"ziggurat_http_requests_total{place="server",status="5xx"} 1"#]).await;
    assert_eq!(server.traffic().responses(), [("5xx", 1)]);
}
