//! The pool: calls run side by side, the queue is bounded, and the end comes in time.

use futures_util::future::join_all;
use ziggurat_middleware::{Body, request};

use crate::support::{Executor, Site};

#[tokio::test(flavor = "multi_thread")]
async fn as_many_requests_as_threads_are_inside_the_app_at_once() {
    let site = Site::new("plain:meets", Executor::Pool(4));
    for _ in 0..3 {
        for answer in join_all((0..4).map(|_| site.get("/"))).await {
            assert_eq!(answer.text(), "met");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_call_holds_up_nobody_while_threads_are_left() {
    let slow = Site::new("plain:holds", Executor::Pool(2));
    let (answer, ()) = tokio::join!(slow.get("/?slow"), async {
        let fast = Site::new("plain:hello", Executor::Pool(2));
        for _ in 0..100 {
            assert_eq!(fast.get("/").await.text(), "hello");
        }
        slow.run("plain", "events['slow'].set()");
    });
    assert_eq!(answer.text(), "held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_answered_503_at_once() {
    let site = Site::new("plain:holds", Executor::Pool(1));
    let mut waiting = Vec::new();
    let refused = loop {
        let mut call = Box::pin(site.call(request(http::Method::GET, "/?full", Body::empty())));
        match futures_util::FutureExt::now_or_never(call.as_mut()) {
            Some(refused) => break refused,
            None => waiting.push(call),
        }
        assert!(waiting.len() <= 1025);
    };
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &http::HeaderValue::from_static("1")));
    assert!(waiting.len() >= 1024);
    site.run("plain", "events['full'].set()");
    for answer in join_all(waiting).await {
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_thread_last_from_request_to_request() {
    let site = Site::new("plain:remembers", Executor::Pool(1));
    let mut most = 0;
    for _ in 0..50 {
        most = most.max(site.get("/").await.text().parse().unwrap());
    }
    assert!(most > 2, "{most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_shutdown_nothing_is_taken_and_the_app_is_let_go() {
    let site = Site::new("plain:hello", Executor::Pool(3));
    assert_eq!(site.get("/").await.text(), "hello");
    site.shutdown();
    assert_eq!(site.get("/").await.status, 503);
}
