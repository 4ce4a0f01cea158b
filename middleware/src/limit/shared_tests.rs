//! What clients of two processes see of a limit that they share.

use std::time::Duration;

use futures_util::future::join;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::*;
use crate::store::{LEASE, Store, TestStore};
use crate::{Body, Response, TestStack};

/// A process whose app answers when it is told to.
struct Process {
    stack: Arc<TestStack>,
    opens: Arc<Semaphore>,
}

impl Process {
    fn new(options: &str, store: &TestStore) -> Self {
        let store: Arc<dyn Store> = Arc::new(store.clone());
        let opens = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&opens);
        let stack = TestStack::of::<Limit>(options).host(store).over(move |_| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Response::new(Body::from("done"))
            }
        });
        Self { stack: Arc::new(stack), opens }
    }

    fn send(&self) -> tokio::task::JoinHandle<StatusCode> {
        let stack = Arc::clone(&self.stack);
        tokio::spawn(async move { stack.get("/").await.status() })
    }
}

async fn settled() {
    sleep(Duration::from_millis(300)).await;
}

#[tokio::test(start_paused = true)]
async fn two_processes_have_the_places_of_one_and_wait_in_one_queue() {
    let store = TestStore::answering();
    let options = r#"{ "at_most": 2, "queue": { "limit": 1, "wait": "1h" } }"#;
    let (one, other) = (Process::new(options, &store), Process::new(options, &store));
    let (first, second) = (one.send(), other.send());
    settled().await;
    let third = one.send();
    settled().await;
    assert_eq!(store.counts(), (2, 1));
    assert_eq!(other.send().await.unwrap(), 503);
    assert!(one.stack.metrics().contains("ziggurat_limit_queue_length{place=\"limit\"} 1"));
    other.opens.add_permits(1);
    assert_eq!(second.await.unwrap(), 200);
    settled().await;
    assert_eq!(store.counts(), (2, 0));
    one.opens.add_permits(2);
    let (first, third) = join(first, third).await;
    assert_eq!((first.unwrap(), third.unwrap(), store.counts()), (StatusCode::OK, StatusCode::OK, (0, 0)));
    let metrics = one.stack.metrics();
    assert!(metrics.contains("ziggurat_limit_requests{place=\"limit\"} 0"), "{metrics}");
    assert!(metrics.contains("ziggurat_limit_queue_length{place=\"limit\"} 0"), "{metrics}");
    assert!(metrics.contains("ziggurat_limit_queue_wait_seconds_count{place=\"limit\"} 1"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_or_goes_away_leaves_the_queue() {
    let store = TestStore::answering();
    let process = Process::new(r#"{ "at_most": 1, "queue": { "limit": 5, "wait": "1s" } }"#, &store);
    let held = process.send();
    settled().await;
    let leaves = process.send();
    settled().await;
    assert_eq!(store.counts(), (1, 1));
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    assert_eq!(store.counts(), (1, 0));
    assert_eq!(process.send().await.unwrap(), 503);
    assert_eq!(store.counts(), (1, 0));
    assert!(process.stack.metrics().contains("reason=\"waited too long\"} 1"));
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
    assert_eq!(store.counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_long_request_keeps_its_place() {
    let store = TestStore::answering();
    let process = Process::new("1", &store);
    let held = process.send();
    sleep(LEASE - Duration::from_secs(1)).await;
    assert_eq!(store.renewed(), 2);
    process.opens.add_permits(1);
    assert_eq!(held.await.unwrap(), 200);
    let renewed = store.renewed();
    sleep(LEASE).await;
    assert_eq!(store.renewed(), renewed);
}

#[tokio::test(start_paused = true)]
async fn without_the_store_the_options_decide() {
    for (mode, second) in
        [("local", StatusCode::SERVICE_UNAVAILABLE), ("allow", StatusCode::OK), ("refuse", StatusCode::SERVICE_UNAVAILABLE)]
    {
        let store = TestStore::away();
        let process = Process::new(&format!(r#"{{ "at_most": 1, "queue": {{ "limit": 0 }}, "on_store_failure": "{mode}" }}"#), &store);
        let first = process.send();
        settled().await;
        let is_refused = first.is_finished();
        assert_eq!(is_refused, mode == "refuse");
        let second_answer = process.send();
        settled().await;
        process.opens.add_permits(2);
        assert_eq!(second_answer.await.unwrap(), second, "{mode}");
        assert_eq!(first.await.unwrap() == StatusCode::OK, mode != "refuse");
        let metrics = process.stack.metrics();
        assert!(metrics.contains(&format!("ziggurat_store_missed_total{{place=\"limit\",decision=\"{mode}\"}} 2")), "{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_when_the_store_goes_away_goes_on_as_the_options_say() {
    let store = TestStore::answering();
    let process = Process::new(r#"{ "at_most": 1, "queue": { "limit": 1, "wait": "1h" } }"#, &store);
    let first = process.send();
    settled().await;
    let second = process.send();
    settled().await;
    store.go(true);
    process.opens.add_permits(1);
    settled().await;
    // The second has a place of this process: the store does not know that the first has ended.
    process.opens.add_permits(1);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (StatusCode::OK, StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_not_shared_does_not_ask_the_store() {
    let process = Process::new(r#"{ "at_most": 1, "shared": false, "queue": { "limit": 0 } }"#, &TestStore::away());
    let first = process.send();
    settled().await;
    assert_eq!(process.send().await.unwrap(), 503);
    process.opens.add_permits(1);
    assert_eq!(first.await.unwrap(), 200);
    assert!(!process.stack.metrics().contains("ziggurat_store_missed_total"));
}
