//! What clients see of a limit of requests under way.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep};

use super::*;
use crate::{Body, BoxError, ConnectionInfo, TestResponse, TestStack};

/// An app that answers when it is told to.
#[derive(Clone)]
struct Gate {
    opens: Arc<Semaphore>,
    inside: Arc<AtomicUsize>,
}

impl Gate {
    fn new() -> Self {
        Self { opens: Arc::new(Semaphore::new(0)), inside: Arc::default() }
    }

    fn under(&self, options: &str) -> TestStack {
        let gate = self.clone();
        TestStack::of::<Limit>(options).over(move |_| {
            let gate = gate.clone();
            async move {
                let inside = Inside::new(&gate.inside);
                gate.opens.acquire().await.unwrap().forget();
                drop(inside);
                Response::new(Body::from("done"))
            }
        })
    }

    fn inside(&self) -> usize {
        self.inside.load(SeqCst)
    }
}

struct Inside(Arc<AtomicUsize>);

impl Inside {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Sends a request, and lets it go as far as it gets.
async fn send(stack: &TestStack, client: [u8; 4]) -> JoinHandle<TestResponse> {
    let mut request = crate::request(Method::GET, "/", Body::empty());
    request.extensions_mut().get_mut::<ConnectionInfo>().unwrap().client = Some(client.into());
    let stack = stack.clone();
    let sent = tokio::spawn(async move { stack.send(request).await });
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
    sent
}

const ANN: [u8; 4] = [192, 0, 2, 1];
const BOB: [u8; 4] = [192, 0, 2, 2];

#[tokio::test(start_paused = true)]
async fn a_further_request_waits_until_another_one_has_ended() {
    let gate = Gate::new();
    let stack = gate.under(r#"{"at_most": 2}"#);
    let sent = [send(&stack, ANN).await, send(&stack, ANN).await, send(&stack, BOB).await];
    assert_eq!(gate.inside(), 2);
    let metrics = stack.metrics();
    assert!(
        metrics.contains("ziggurat_limit_requests{place=\"limit\"} 2")
            && metrics.contains("ziggurat_limit_queue_length{place=\"limit\"} 1"),
        "{metrics}"
    );
    gate.opens.add_permits(3);
    for sent in sent {
        assert_eq!(sent.await.unwrap().text(), "done");
    }
    assert!(stack.metrics().contains("ziggurat_limit_requests{place=\"limit\"} 0"));
}

#[tokio::test(start_paused = true)]
async fn a_full_site_is_503_and_a_client_with_too_many_requests_429() {
    for (options, status, detail) in [
        (r#"{"at_most": 1, "queue": {"limit": 0}}"#, 503, "too many requests are under way"),
        (r#"{"at_most": 1, "per": "client", "queue": {"limit": 0}}"#, 429, "too many of your requests are under way"),
    ] {
        let gate = Gate::new();
        let stack = gate.under(options);
        let first = send(&stack, ANN).await;
        let refused = send(&stack, ANN).await.await.unwrap();
        assert_eq!((refused.status().as_u16(), refused.header("retry-after")), (status, "1"));
        assert!(refused.text().contains(detail), "{}", refused.text());
        let other = send(&stack, BOB).await;
        assert_eq!(gate.inside(), if status == 429 { 2 } else { 1 });
        gate.opens.add_permits(2);
        assert_eq!(first.await.unwrap().text(), "done");
        other.await.unwrap();
        assert!(stack.log()[0].contains("1 requests are under way, and the queue is full"), "{:?}", stack.log());
        assert!(stack.metrics().contains("reason=\"queue full\"}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_ends_with_a_refusal() {
    let gate = Gate::new();
    let stack = gate.under(r#"{"at_most": 1, "queue": {"wait": "2s"}}"#);
    let first = send(&stack, ANN).await;
    let started = Instant::now();
    let refused = send(&stack, ANN).await.await.unwrap();
    assert_eq!((refused.status().as_u16(), started.elapsed()), (503, Duration::from_secs(2)));
    let metrics = stack.metrics();
    assert!(metrics.contains("ziggurat_limit_refused_total{place=\"limit\",reason=\"waited too long\"} 1"), "{metrics}");
    assert!(metrics.contains("ziggurat_limit_queue_wait_seconds_count{place=\"limit\"} 1"), "{metrics}");
    gate.opens.add_permits(2);
    assert_eq!(first.await.unwrap().text(), "done");
    assert_eq!(send(&stack, ANN).await.await.unwrap().text(), "done");
}

#[tokio::test(start_paused = true)]
async fn cancelled_requests_free_their_places_wherever_they_are() {
    let gate = Gate::new();
    let stack = gate.under(r#"{"at_most": 1, "queue": {"limit": 1}}"#);
    let under_way = send(&stack, ANN).await;
    let waiting = send(&stack, ANN).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    let next = send(&stack, ANN).await;
    under_way.abort();
    assert!(under_way.await.unwrap_err().is_cancelled());
    gate.opens.add_permits(1);
    assert_eq!(next.await.unwrap().text(), "done");
    assert_eq!(gate.inside(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_under_way_until_the_end_of_its_response() {
    let stack = TestStack::of::<Limit>(r#"{"at_most": 1, "queue": {"limit": 0}}"#).over(async |request: Request| {
        if request.uri().path() == "/empty" {
            return Response::new(Body::empty());
        }
        let ticks = stream::iter(["a", "b"]).then(|text| async move {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, BoxError>(Frame::data(bytes::Bytes::from(text)))
        });
        Response::new(Body::new(StreamBody::new(ticks)))
    });
    let get = async |target: &'static str| stack.call(crate::request(Method::GET, target, Body::empty())).await;
    let response = get("/").await;
    assert_eq!((response.status().as_u16(), get("/").await.status().as_u16()), (200, 503));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ab");
    // A client that leaves in the middle.
    let mut response = get("/").await;
    assert_eq!(response.status(), 200);
    assert!(response.body_mut().frame().await.is_some());
    assert_eq!(get("/").await.status(), 503);
    drop(response);
    assert_eq!(get("/").await.status(), 200);
    // Nothing follows the head of an empty response.
    let empty = get("/empty").await;
    assert_eq!((empty.status().as_u16(), get("/empty").await.status().as_u16()), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_under_way_until_the_last_part_of_a_long_page_in_memory() {
    let page = "x".repeat(1_000_000);
    let stack = TestStack::of::<Limit>(r#"{"at_most": 1, "queue": {"limit": 0}}"#).over(move |_| {
        let page = page.clone();
        async { Response::new(Body::from(page)) }
    });
    let get = async || stack.call(crate::request(Method::GET, "/", Body::empty())).await;
    let (mut response, mut parts) = (get().await, 0);
    // As a server does, it drops the body as soon as that has handed over its end.
    while response.body_mut().frame().await.is_some() && !http_body::Body::is_end_stream(response.body()) {
        assert_eq!(get().await.status(), 503);
        parts += 1;
    }
    assert!(parts > 1, "{parts}");
    drop(response);
    assert_eq!(get().await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_under_way_as_long_as_the_server_keeps_its_response() {
    let stack = TestStack::of::<Limit>(r#"{"at_most": 1, "queue": {"limit": 0}}"#).over(async |_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
    });
    let get = async || stack.call(crate::request(Method::GET, "/", Body::empty())).await;
    let tunnel = get().await;
    assert_eq!((tunnel.status().as_u16(), get().await.status().as_u16()), (101, 503));
    drop(tunnel);
    assert_eq!(get().await.status(), 101);
}

#[tokio::test(start_paused = true)]
async fn a_body_behind_the_layer_keeps_its_length() {
    let stack = TestStack::of::<Limit>("1").over_text("eight...");
    let response = stack.call(crate::request(Method::GET, "/", Body::empty())).await;
    assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(8));
    advance(Duration::from_secs(1)).await;
    assert!(stack.call(crate::request(Method::GET, "/", Body::empty())).now_or_never().is_none());
}

#[test]
fn limits_that_cannot_be_kept_are_refused() {
    for (options, why) in [
        ("0", "0 requests are no limit"),
        (r#"{"at_most": 1, "queue": {"limit": 2000000}}"#, "a queue for 2000000 requests is too long"),
        (r#"{"at_most": 1, "queue": {"wait": "0s"}}"#, "`wait` must be longer than 0"),
        (r#"{"at_most": 1, "per": "ip"}"#, "write `client`"),
        ("{}", "at_most"),
    ] {
        let findings = TestStack::refusal::<Limit>(options);
        assert!(findings[0].contains(why), "{options}: {findings:?}");
    }
}
