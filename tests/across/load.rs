//! One thread and three Python layers between native ones: nothing waits for itself, however much comes at once.

use std::time::Duration;

use serde_json::json;

use crate::support::{Executor, Site, get};

/// One thread in all.
const ONE_THREAD: [Executor; 2] = [Executor::Workers(1), Executor::Pool(1)];

const TOWER: &str = r#"["request_id", { "wsgi": "across:Through" }, "headers", "compress", { "wsgi": "across:Generator" },
    { "body_limit": "20MiB" }, "security_headers", { "wsgi": "across:Note" }, { "access_log": { "to": "@FOLDER/access" } }]"#;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_are_all_answered_by_one_thread() {
    for executor in ONE_THREAD {
        let site = Site::with(TOWER, "across:app", executor, json!({ "queue": { "limit": 1000, "wait": "60s" } }));
        let requests = (0..200).map(async |nth| match nth % 5 {
            0 => site.get("/plain").await.seen() == (200, "plain".to_owned(), false),
            1 => site.get("/chunks").await.seen() == (200, "one two three".to_owned(), false),
            2 => site.get("/large_writes").await.body.len() == 40 * 65_536,
            3 => site.post("/length", vec![b'x'; 300_000]).await.text() == "300000 of 300000",
            _ => site.send(get("/late", &[("accept-encoding", "gzip")])).await.status == 202,
        });
        let answered = futures_util::future::join_all(requests).await;
        assert_eq!(answered.iter().filter(|as_expected| !**as_expected).count(), 0, "{executor:?}: {}", site.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_stack_over_its_deadline_is_ended_through_all_its_layers() {
    for executor in ONE_THREAD {
        let site = Site::with(TOWER, "across:app", executor, json!({ "deadline": "300ms" }));
        assert_eq!(site.send(get("/sleeps", &[])).await.status, 504, "{executor:?}");
        site.wait_for_log("in sleeps");
        site.wait_for_event("DeadlineExceeded", 1).await;
        assert_eq!(site.get("/plain").await.text(), "plain");
        assert!(!site.log().contains("raised an exception"), "{}", site.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_leave_behind_costs_the_next_ones_nothing() {
    for executor in ONE_THREAD {
        let site = Site::with(TOWER, "across:app", executor, json!({ "queue": { "limit": 1000, "wait": "60s" } }));
        for _ in 0..20 {
            let response = tokio::time::timeout(Duration::from_secs(20), site.call(get("/endless", &[]))).await.unwrap();
            assert_eq!(response.status(), 200);
        }
        site.wait_for_event("app closed", 20).await;
        assert_eq!(site.noted("app closed").await, 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_tower_that_is_allowed_stands_on_one_thread() {
    for executor in ONE_THREAD {
        let layers = [r#"{ "wsgi": "across:Through" }, "headers""#; 127].join(", ");
        let site = Site::new(&format!("[{layers}]"), "across:app", executor);
        for (path, text) in [("plain", "plain"), ("late", "late answer"), ("chunks", "one two three")] {
            assert_eq!(site.get(&format!("/{path}")).await.text(), text, "{executor:?}: {}", site.log());
        }
        assert_eq!(site.get("/raises").await.status, 500);
        assert_eq!(site.post("/length", vec![b'x'; 300_000]).await.text(), "300000 of 300000");
    }
}
