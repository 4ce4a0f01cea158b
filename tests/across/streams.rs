//! Chunks pass the border one by one, and an answer ends once, however it ends.

use http_body_util::BodyExt;

use crate::support::{Answer, EXECUTORS, Site, get, next_frame};

/// Stacks that pass an answer on as it is.
const STACKS: [&str; 4] = [
    r#"[{ "wsgi": "across:Through" }, "headers"]"#,
    r#"[{ "wsgi": "across:Through" }, "security_headers", "request_id", { "wsgi": "across:Generator" }]"#,
    r#"["headers", { "wsgi": "across:Generator" }, "headers", { "wsgi": "across:Through" }, "headers", { "wsgi": "across:Generator" }]"#,
    r#"[{ "wsgi": "across:Through" }, { "access_log": { "to": "@FOLDER/access" } }, { "timeout": "30s" }, { "body_limit": "1MiB" }, "cors", "forwarded"]"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn each_chunk_comes_out_before_the_next_one_is_made() {
    for executor in EXECUTORS {
        for layers in STACKS {
            let site = Site::new(layers, "across:app", executor);
            let made = site.noted("made second").await;
            let mut response = site.call(get("/gated", &[])).await;
            assert_eq!(next_frame(&mut response).await.as_deref(), Some("first"), "{layers} with {executor:?}");
            assert_eq!(site.noted("made second").await, made);
            site.get("/_open").await;
            assert_eq!(response.body_mut().collect().await.unwrap().to_bytes(), "second");
            assert_eq!(site.noted("made second").await, made + 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressor_between_passes_on_what_it_has_while_the_app_thinks() {
    for executor in EXECUTORS {
        // So long are an encoder's own head and hardly anything more.
        for (layers, coding, head) in [
            (r#"[{ "wsgi": "across:Generator" }, "compress", { "wsgi": "across:Through" }]"#, "gzip", 10),
            (r#"[{ "wsgi": "across:Generator" }, "compress"]"#, "br", 4),
            (r#"["compress", { "wsgi": "across:Generator" }, "compress"]"#, "zstd", 8),
        ] {
            let site = Site::new(layers, "across:app", executor);
            let mut response = site.call(get("/gated", &[("accept-encoding", coding)])).await;
            assert_eq!(response.headers()["content-encoding"], coding);
            let mut octets = 0;
            while octets <= head {
                let frame = tokio::time::timeout(std::time::Duration::from_secs(10), response.body_mut().frame()).await;
                octets += frame.expect("the first chunk is held back").unwrap().unwrap().into_data().unwrap().len();
            }
            site.get("/_open").await;
            assert!(!Answer::of(response).await.broken);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_does_with_start_response_and_write_passes_the_border() {
    for executor in EXECUTORS {
        for layers in STACKS {
            let site = Site::new(layers, "across:app", executor);
            for (path, expected, broken) in [
                ("plain", (200, "plain"), false),
                ("chunks", (200, "one two three"), false),
                ("late", (202, "late answer"), false),
                ("later", (200, "later"), false),
                ("writes", (200, "written twice and returned"), false),
                ("exc_info_before", (503, "sorry"), false),
                ("exc_info_after", (200, "begun"), true),
                ("no_content", (204, ""), false),
                ("not_modified", (304, ""), false),
            ] {
                let answer = site.get(&format!("/{path}")).await;
                assert_eq!(
                    answer.seen(),
                    (expected.0, expected.1.to_owned(), broken),
                    "{path} under {layers} with {executor:?}: {}",
                    site.log()
                );
                if path == "late" {
                    assert_eq!(answer.header("x-late"), "yes");
                }
                assert!(!answer.headers.contains_key("x-first"), "{path}");
            }
            assert_eq!(site.get("/large_writes").await.body.len(), 40 * 65536);
            let file = site.get("/file").await;
            assert!(file.text().contains("class Tag") && file.header("content-length") == file.body.len().to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_is_answered_with_the_head_of_a_get() {
    for executor in EXECUTORS {
        for layers in STACKS {
            let site = Site::new(layers, "across:app", executor);
            for (path, length) in [("plain", ""), ("chunks", ""), ("head_without_body", "5"), ("head_without_chunks", "5"), ("late", "")] {
                let head = ziggurat_middleware::request(http::Method::HEAD, &format!("/{path}"), ziggurat_middleware::Body::empty());
                let answer = site.send(head).await;
                assert!(
                    answer.status.is_success() && !answer.broken && answer.body.is_empty(),
                    "{path} under {layers} with {executor:?}: {}",
                    site.log()
                );
                assert_eq!(answer.header("content-length"), length, "{path} under {layers} with {executor:?}");
            }
            assert!(!site.log().contains("short"), "{}", site.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn close_is_called_once() {
    for executor in EXECUTORS {
        for layers in STACKS {
            let site = Site::new(layers, "across:app", executor);
            let before = site.noted("app closed").await;
            site.get("/chunks").await;
            site.wait_for_event("app closed", before + 1).await;
            let head = ziggurat_middleware::request(http::Method::HEAD, "/chunks", ziggurat_middleware::Body::empty());
            assert_eq!(site.send(head).await.text(), "");
            site.wait_for_event("app closed", before + 2).await;
            assert_eq!(site.noted("app closed").await, before + 2, "{layers} with {executor:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_client_leaves_is_closed_once_and_its_generator_ends() {
    for executor in EXECUTORS {
        for layers in STACKS {
            let site = Site::new(layers, "across:app", executor);
            let (closed, ended) = (site.noted("app closed").await, site.noted("finally").await);
            let mut response = site.call(get("/endless", &[])).await;
            assert!(next_frame(&mut response).await.is_some());
            drop(response);
            site.wait_for_event("app closed", closed + 1).await;
            site.wait_for_event("finally", ended + 1).await;
            site.get("/plain").await;
            assert_eq!(site.noted("app closed").await, closed + 1, "{layers} with {executor:?}");
            assert!(!site.log().contains("ERROR"), "{}", site.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_an_endless_answer_back() {
    for executor in EXECUTORS {
        let site = Site::new(STACKS[2], "across:app", executor);
        let mut response = site.call(get("/endless", &[])).await;
        let mut read = 0;
        while read < 1_000_000 {
            read += next_frame(&mut response).await.unwrap().len();
        }
        for _ in 0..20 {
            assert_eq!(site.get("/plain").await.text(), "plain");
        }
    }
}
