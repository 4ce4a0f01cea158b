//! HTTP/3: what a client and the stack get of it.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::LINK;
use http::{HeaderMap, HeaderValue, Request as HttpRequest};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower::service_fn;
use ziggurat_middleware::{Body, EarlyHints, Next, Request, Response};

use super::authority::Authority;
use super::http3_client::{Http3, connect};
use super::support::{PATIENCE, Site, body, echo, with_certificate};

pub const ENTRY: &str = r#""tls": { "cert": "site.pem", "key": "site.key" }, "http": ["1.1", "2", "3"]"#;

pub fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("site", &["site.test"]);
    authority
}

pub fn site() -> Site {
    Site::start_entry(authority(), ENTRY, "{}", Next::new("app.test", service_fn(echo)))
}

/// Responds with the body of the request, and with its trailers.
pub async fn mirror(request: Request) -> Result<Response, Infallible> {
    let length = request.headers().get("content-length").cloned();
    let Ok(collected) = request.into_body().collect().await else {
        return Ok(http::Response::builder().status(400).body(Body::empty()).unwrap());
    };
    let trailers = collected.trailers().cloned();
    let body = http_body_util::Full::new(collected.to_bytes()).with_trailers(async move { trailers.map(Ok::<_, Infallible>) });
    let mut response = Response::new(Body::new(body));
    if let Some(length) = length {
        response.headers_mut().insert("x-length", length);
    }
    Ok(response)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn the_stack_knows_of_a_connection_what_it_knows_over_tcp() {
    let site = site();
    let client = site.client();
    let over_tcp = site.client().fresh().get("site.test").await.unwrap();
    for session in ["initial", "resumed"] {
        let seen = Http3::open(&client, "site.test").await.unwrap().get("site.test").await;
        assert_eq!(seen, body(&over_tcp).replace("initial", session));
    }
    assert_eq!(site.server.as_ref().unwrap().traffic().handshake_counts()[..2], [3, 1]);
}

#[tokio::test]
async fn clients_over_tcp_learn_of_http3_and_others_do_not() {
    let site = site();
    let port = site.address.port();
    let answer = site.client().get_host("site.test", &format!("site.test:{port}")).await.unwrap();
    assert!(answer.contains(&format!("\r\nalt-svc: h3=\":{port}\"; ma=86400\r\n")), "{answer}");
    let response = site.http2(HttpRequest::get("https://site.test/")).await;
    assert_eq!(response.headers()["alt-svc"], "h3=\":443\"; ma=86400");
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    let (response, _) = http3.send(HttpRequest::get("https://site.test/").body(()).unwrap(), &[]).await.unwrap();
    assert!(!response.headers().contains_key("alt-svc") && response.headers().contains_key("date"));
    let without = Site::start(authority(), r#"{ "cert": "site.pem", "key": "site.key" }"#);
    assert!(!without.client().get("site.test").await.unwrap().contains("alt-svc"));
}

#[tokio::test]
async fn bodies_pass_both_ways_with_and_without_a_length_and_with_trailers() {
    let site = Site::start_entry(authority(), ENTRY, "{}", Next::new("app.test", service_fn(mirror)));
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    let sent = pattern(3 << 20);
    for length in [None, Some(sent.len())] {
        let request = HttpRequest::post("https://site.test/");
        let request = length.into_iter().fold(request, |request, length| request.header("content-length", length));
        let pieces: Vec<&[u8]> = sent.chunks(70_000).collect();
        let (response, got) = http3.send(request.body(()).unwrap(), &pieces).await.unwrap();
        assert!(response.status() == 200 && got == sent, "{} octets", got.len());
    }
    let request = HttpRequest::post("https://site.test/").body(()).unwrap();
    let mut stream = http3.sender.send_request(request).await.unwrap();
    stream.send_data(Bytes::from_static(b"abc")).await.unwrap();
    stream.send_trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "6".parse().unwrap())])).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(stream.recv_response().await.unwrap().status(), 200);
    assert_eq!(stream.recv_data().await.unwrap().unwrap().chunk(), b"abc");
    assert!(stream.recv_data().await.unwrap().is_none());
    assert_eq!(stream.recv_trailers().await.unwrap().unwrap()["x-sum"], "6");
}

#[tokio::test]
async fn heads_of_responses_are_complete_and_have_no_headers_of_http1() {
    let app = service_fn(|request: Request| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap();
        let response = http::Response::builder().status(status).header("connection", "x").header("keep-alive", "1");
        Ok::<_, Infallible>(response.body(Body::from("octets")).unwrap())
    });
    let site = Site::start_entry(authority(), ENTRY, "{}", Next::new("app.test", app));
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    for (method, status, length, body) in
        [("GET", 200, Some("6"), "octets"), ("HEAD", 200, Some("6"), ""), ("GET", 204, None, ""), ("GET", 304, None, "")]
    {
        let request = HttpRequest::builder().method(method).uri(format!("https://site.test/{status}")).body(()).unwrap();
        let (response, got) = http3.send(request, &[]).await.unwrap();
        assert_eq!((response.status().as_u16(), got), (status, body.as_bytes().to_vec()));
        assert_eq!(response.headers().get("content-length").map(|length| length.to_str().unwrap()), length);
        assert!(!response.headers().contains_key("connection") && !response.headers().contains_key("keep-alive"));
    }
}

#[tokio::test]
async fn hints_come_before_the_response_as_over_tls_and_tcp() {
    let app = service_fn(|mut request: Request| async move {
        let hints = EarlyHints::open(&mut request).unwrap();
        hints.send([(&LINK, &HeaderValue::from_static("</a.css>"))]);
        tokio::task::yield_now().await;
        hints.send([(&LINK, &HeaderValue::from_static("</b.css>"))]);
        Ok::<_, Infallible>(Response::new(Body::from("page")))
    });
    let site = Site::start_entry(authority(), ENTRY, "{}", Next::new("app.test", app));
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    let request = HttpRequest::get("https://site.test/").body(()).unwrap();
    let mut stream = http3.sender.send_request(request).await.unwrap();
    stream.finish().await.unwrap();
    for link in ["</a.css>", "</b.css>"] {
        let hint = timeout(PATIENCE, stream.recv_response()).await.unwrap().unwrap();
        assert_eq!((hint.status().as_u16(), &hint.headers()[LINK]), (103, &HeaderValue::from_static(link)));
    }
    assert_eq!(timeout(PATIENCE, stream.recv_response()).await.unwrap().unwrap().status(), 200);
    assert_eq!(stream.recv_data().await.unwrap().unwrap().chunk(), b"page");
    let over_tcp = site.client().get("site.test").await.unwrap();
    let [first, second] = ["a", "b"].map(|name| format!("HTTP/1.1 103 Early Hints\r\nlink: </{name}.css>\r\n\r\n"));
    assert!(over_tcp.starts_with(&format!("{first}{second}HTTP/1.1 200 OK\r\n")), "{over_tcp}");
}

#[tokio::test]
async fn certificates_of_clients_count_as_over_tcp() {
    let authority = authority();
    authority.issue_with("ann", &[], |params| params.distinguished_name.push(rcgen::DnType::CommonName, "ann"));
    let entry = r#""tls": { "cert": "site.pem", "key": "site.key", "client": { "ca": "ca.pem", "user": "cn" } }, "http": ["1.1", "3"]"#;
    let site = Site::start_entry(authority, entry, "{}", Next::new("app.test", service_fn(echo)));
    let ann = with_certificate(&site, &[&rustls::version::TLS13], "ann");
    for session in ["initial", "resumed"] {
        let seen = Http3::open(&ann, "site.test").await.unwrap().get("site.test").await;
        assert!(seen.contains(session) && seen.ends_with(" as ann"), "{seen}");
    }
    // In TLS 1.3 the client is through before the server has seen that there is no certificate.
    if let Ok((_endpoint, connection)) = connect(&site.client(), "site.test").await {
        assert!(matches!(timeout(PATIENCE, connection.closed()).await.unwrap(), quinn::ConnectionError::ConnectionClosed(_)));
    }
}

#[tokio::test]
async fn the_certificate_is_that_of_the_name_and_a_changed_one_is_used_at_once() {
    let authority = authority();
    authority.issue("other", &["other.test"]);
    authority.issue("staff", &["staff.test"]);
    let entry = r#""tls": { "cert": "site.pem", "key": "site.key", "certificates": [
        { "cert": "other.pem", "key": "other.key" },
        { "cert": "staff.pem", "key": "staff.key", "client": { "ca": "ca.pem" } }
    ] }, "http": ["2", "3"]"#;
    let site = Site::start_entry(authority, entry, "{}", Next::new("app.test", service_fn(echo)));
    let certificate = async |name: &str| {
        let (_endpoint, connection) = connect(&site.client().fresh(), name).await?;
        let chain = connection.peer_identity().unwrap().downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
        Ok::<_, quinn::ConnectionError>(chain[0].to_vec())
    };
    let (one, other) = (certificate("site.test").await.unwrap(), certificate("other.test").await.unwrap());
    assert_ne!(one, other);
    // It has another policy about clients than the listener.
    assert!(certificate("staff.test").await.is_err());
    site.authority.issue("site", &["site.test"]);
    site.refresh();
    assert!(![one, other].contains(&certificate("site.test").await.unwrap()));

    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    for host in ["other.test", "staff.test"] {
        let request = HttpRequest::get(format!("https://{host}/")).body(()).unwrap();
        assert_eq!(http3.send(request, &[]).await.unwrap().0.status(), 421, "{host}");
    }
}

#[tokio::test]
async fn a_client_that_cancels_a_request_ends_it_in_the_stack() {
    struct Ended(mpsc::UnboundedSender<()>);
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (sender, mut ended) = mpsc::unbounded_channel();
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let app = service_fn(move |_: Request| {
        let (ended, begun) = (Ended(sender.clone()), begun.clone());
        async move {
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(ended);
            Ok::<_, Infallible>(Response::default())
        }
    });
    let site = Site::start_entry(authority(), ENTRY, "{}", Next::new("app.test", app));
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    let mut stream = http3.sender.send_request(HttpRequest::get("https://site.test/").body(()).unwrap()).await.unwrap();
    timeout(PATIENCE, has_begun.recv()).await.unwrap().unwrap();
    stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    timeout(PATIENCE, ended.recv()).await.unwrap().unwrap();
    assert!(!http3.driver.is_finished());
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_stream_and_not_its_connection() {
    let app = service_fn(|request: Request| async move {
        let length = if request.uri().path() == "/" { 2 } else { 16 << 20 };
        Ok::<_, Infallible>(Response::new(Body::from(pattern(length))))
    });
    let site = Site::start_entry(authority(), ENTRY, r#"{ "body_timeout": "300ms" }"#, Next::new("app.test", app));
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    let mut stream = http3.sender.send_request(HttpRequest::get("https://site.test/long").body(()).unwrap()).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(stream.recv_response().await.unwrap().status(), 200);
    until(async || site.server.as_ref().unwrap().traffic().in_progress() == 0).await;
    let rest = timeout(PATIENCE, async {
        while stream.recv_data().await?.is_some() {}
        Ok::<_, h3::error::StreamError>(())
    });
    assert!(rest.await.unwrap().is_err(), "it looks complete");
    assert_eq!(http3.get("site.test").await.len(), 2);
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_with_408_and_one_that_waits_is_asked_for() {
    let site = Site::start_entry(
        authority(),
        ENTRY,
        r#"{ "body_timeout": "300ms" }"#,
        Next::new(
            "app.test",
            service_fn(|request: Request| async {
                let Err(error) = request.into_body().collect().await else { return Ok::<_, Infallible>(Response::default()) };
                Ok(error.downcast::<ziggurat_middleware::Problem>().unwrap().into_response())
            }),
        ),
    );
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    let request =
        || HttpRequest::post("https://site.test/").header("content-length", "3").header("expect", "100-continue").body(()).unwrap();
    let mut stream = http3.sender.send_request(request()).await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.recv_response()).await.unwrap().unwrap().status(), 100);
    stream.send_data(Bytes::from_static(b"abc")).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.recv_response()).await.unwrap().unwrap().status(), 200);
    let mut stream = http3.sender.send_request(request()).await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.recv_response()).await.unwrap().unwrap().status(), 100);
    assert_eq!(timeout(PATIENCE, stream.recv_response()).await.unwrap().unwrap().status(), 408);
}

#[tokio::test]
async fn a_busy_server_lets_clients_show_first_that_their_address_is_theirs() {
    // A quarter of the handshakes, rounded down, is none at all: it is always busy.
    let site = Site::start_entry(authority(), ENTRY, r#"{ "max_handshakes": 3 }"#, Next::new("app.test", service_fn(echo)));
    for _ in 0..3 {
        assert!(Http3::open(&site.client(), "site.test").await.unwrap().get("site.test").await.starts_with("https"));
    }
    assert_eq!(site.server.as_ref().unwrap().traffic().connections(), 3);
}

/// Waits until something is so.
pub async fn until(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn a_connection_counts_among_all_of_them() {
    let site = site();
    let traffic = site.server.as_ref().unwrap().traffic();
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    for _ in 0..3 {
        http3.get("site.test").await;
    }
    assert_eq!((traffic.open(), traffic.connections(), traffic.requests()), (1, 1, 3));
    assert_eq!(traffic.responses(), [("2xx", 3)]);
    drop(http3);
    until(async || traffic.open() == 0).await;
}
