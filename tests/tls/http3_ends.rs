//! HTTP/3 while a server is reloaded, and how its connections end.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::Request as HttpRequest;
use http_body_util::StreamBody;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tower::service_fn;
use ziggurat_middleware::{Body, Next, Request, Response};

use super::http3::{ENTRY, authority, site, until};
use super::http3_client::Http3;
use super::support::{PATIENCE, Site, echo};

const TCP: &str = r#""tls": { "cert": "site.pem", "key": "site.key" }"#;

/// A site whose app responds with what is sent to it, piece by piece.
fn slow(server: &str) -> (Site, mpsc::Sender<&'static str>) {
    let (sender, pieces) = mpsc::channel::<&str>(1);
    let pieces = Arc::new(tokio::sync::Mutex::new(pieces));
    let app = service_fn(move |_: Request| {
        let pieces = Arc::clone(&pieces);
        async move {
            let frames = futures_util::stream::unfold(pieces, |pieces| async move {
                let piece = pieces.lock().await.recv().await?;
                Some((Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(piece.as_bytes()))), pieces))
            });
            Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(Box::pin(frames)))))
        }
    });
    (Site::start_entry(authority(), ENTRY, server, Next::new("app.test", app)), sender)
}

/// A response that has begun.
struct Begun(h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>);

impl Begun {
    async fn get(http3: &mut Http3) -> Self {
        let mut stream = http3.sender.send_request(HttpRequest::get("https://site.test/").body(()).unwrap()).await.unwrap();
        stream.finish().await.unwrap();
        assert_eq!(timeout(PATIENCE, stream.recv_response()).await.unwrap().unwrap().status(), 200);
        Self(stream)
    }

    /// What comes next; `None` at the end.
    async fn next(&mut self) -> Result<Option<String>, h3::error::StreamError> {
        let piece = timeout(PATIENCE, self.0.recv_data()).await.unwrap()?;
        Ok(piece.map(|mut piece| String::from_utf8(piece.copy_to_bytes(piece.remaining()).to_vec()).unwrap()))
    }
}

#[tokio::test]
async fn a_reload_keeps_connections_and_leaves_responses_whole() {
    let (mut site, pieces) = slow("{}");
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    let mut response = Begun::get(&mut http3).await;
    pieces.send("before, ").await.unwrap();
    assert_eq!(response.next().await.unwrap().unwrap(), "before, ");
    site.reload_entry(ENTRY).await;
    // The next request is for the next stack.
    assert!(http3.get("site.test").await.starts_with("https TLSv1.3"));
    pieces.send("after").await.unwrap();
    assert_eq!(response.next().await.unwrap().unwrap(), "after");
    drop(pieces);
    assert_eq!(response.next().await.unwrap(), None);
    // New connections go on as before.
    assert!(Http3::open(&site.client(), "site.test").await.unwrap().get("site.test").await.starts_with("https"));
}

#[tokio::test]
async fn a_drain_sends_goaway_and_finishes_responses() {
    let (mut site, pieces) = slow("{}");
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    let mut response = Begun::get(&mut http3).await;
    let drain = tokio::spawn(site.server.take().unwrap().drain());
    // GOAWAY: h3's client begins no more requests.
    let refused = async {
        while let Ok(stream) = http3.sender.send_request(HttpRequest::get("https://site.test/").body(()).unwrap()).await {
            drop(stream);
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    pieces.send("the last").await.unwrap();
    drop(pieces);
    assert_eq!(response.next().await.unwrap().unwrap(), "the last");
    assert_eq!(response.next().await.unwrap(), None);
    assert_eq!(timeout(PATIENCE, drain).await.unwrap().unwrap().cut, 0);
    assert!(timeout(PATIENCE, http3.driver).await.unwrap().unwrap().is_h3_no_error());
}

#[tokio::test]
async fn a_response_that_is_cut_off_does_not_look_complete() {
    let (mut site, pieces) = slow(r#"{ "drain": "100ms" }"#);
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    let mut response = Begun::get(&mut http3).await;
    pieces.send("the first").await.unwrap();
    assert_eq!(response.next().await.unwrap().unwrap(), "the first");
    let drained = timeout(PATIENCE, site.server.take().unwrap().drain()).await.unwrap();
    assert_eq!(drained.cut, 1);
    assert!(response.next().await.is_err());
}

#[tokio::test]
async fn a_response_of_an_ended_generation_is_reset() {
    let never = Arc::new(Notify::new());
    let app = service_fn(move |_: Request| {
        let never = Arc::clone(&never);
        async move {
            never.notified().await;
            Ok::<_, Infallible>(Response::default())
        }
    });
    let mut site = Site::start_entry(authority(), ENTRY, "{}", Next::new("app.test", app));
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    let mut stream = http3.sender.send_request(HttpRequest::get("https://site.test/").body(()).unwrap()).await.unwrap();
    stream.finish().await.unwrap();
    let traffic = site.server.as_ref().unwrap().traffic();
    until(async || traffic.in_progress() == 1).await;
    let server = site.server.as_mut().unwrap();
    let listen = server.listening().to_vec();
    let next = Next::new("app.test", service_fn(echo));
    let retiring = server.replace(next, &ziggurat::server::Options::default(), &listen, Vec::new()).await.unwrap();
    retiring.cut();
    timeout(PATIENCE, retiring).await.unwrap();
    assert!(timeout(PATIENCE, stream.recv_response()).await.unwrap().is_err());
    assert!(http3.get("site.test").await.starts_with("https"));
}

#[tokio::test]
async fn http3_comes_and_goes_with_a_reload() {
    let mut site = site();
    let mut http3 = Http3::open(&site.client(), "site.test").await.unwrap();
    http3.get("site.test").await;
    site.reload_entry(TCP).await;
    // The connection ends, because it keeps the port.
    assert!(timeout(PATIENCE, http3.driver).await.unwrap().unwrap().is_h3_no_error());
    assert!(!site.client().get("site.test").await.unwrap().contains("alt-svc"));
    let free = async || std::net::UdpSocket::bind(site.address).is_ok();
    until(free).await;
    site.reload_entry(ENTRY).await;
    assert!(site.client().get("site.test").await.unwrap().contains("alt-svc"));
    assert!(Http3::open(&site.client(), "site.test").await.unwrap().get("site.test").await.starts_with("https"));
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let next = Next::new("app.test", service_fn(echo));
    let site = Site::start_entry(authority(), ENTRY, r#"{ "keep_alive": "200ms", "header_timeout": "200ms" }"#, next);
    let mut used = Http3::open(&site.client(), "site.test").await.unwrap();
    used.get("site.test").await;
    let unused = Http3::open(&site.client(), "site.test").await.unwrap();
    for driver in [used.driver, unused.driver] {
        assert!(timeout(PATIENCE, driver).await.unwrap().unwrap().is_h3_no_error());
    }
}

#[tokio::test]
async fn a_full_server_ends_an_idle_connection_for_a_new_one() {
    let next = Next::new("app.test", service_fn(echo));
    let site = Site::start_entry(authority(), ENTRY, r#"{ "max_connections": 1 }"#, next);
    let mut first = Http3::open(&site.client(), "site.test").await.unwrap();
    first.get("site.test").await;
    let mut second = Http3::open(&site.client(), "site.test").await.unwrap();
    assert!(second.get("site.test").await.starts_with("https"));
    assert!(timeout(PATIENCE, first.driver).await.unwrap().unwrap().is_h3_no_error());
}
