//! What answers are made of: start_response, write(), lengths, and the answers that have no body.

use http::Method;
use http_body::Body as _;
use ziggurat_middleware::{Body, request};

use crate::support::{EXECUTORS, Site};

#[tokio::test(flavor = "multi_thread")]
async fn a_known_answer_is_one_whole_body_with_its_length() {
    for executor in EXECUTORS {
        let site = Site::new("plain:hello", executor);
        for _ in 0..3 {
            let response = site.call(request(Method::GET, "/", Body::empty())).await;
            assert_eq!(response.body().as_full(), Some(&b"hello"[..]));
            assert_eq!(response.headers()["content-length"], "5");
        }
        let counted = Site::new("plain:counted", executor).call(request(Method::GET, "/", Body::empty())).await;
        assert_eq!(counted.body().as_full(), Some(&b"hello"[..]), "a first chunk that fills Content-Length is all");
        assert_eq!(Site::new("plain:empty", executor).get("/").await.header("content-length"), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_chunks_has_the_length_of_their_sum() {
    for executor in EXECUTORS {
        let answer = Site::new("plain:chunks", executor).get("/").await;
        let expected = [&b"a"[..], &[b'b'; 40_000], &[b'c'; 10], &[b'd'; 32_768]].concat();
        assert_eq!(answer.header("content-length"), expected.len().to_string());
        assert!(answer.body == expected);
        assert_eq!(Site::new("plain:backed", executor).get("/").await.body.len(), 5_000_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn start_response_may_come_with_the_first_chunk() {
    for executor in EXECUTORS {
        let answer = Site::new("plain:late_start", executor).get("/").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-late"), answer.text().as_str()), (201, "yes", "onetwo"));
        let answer = Site::new("plain:late_start_after_empty", executor).get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (201, "one"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn written_octets_go_before_returned_ones() {
    for executor in EXECUTORS {
        assert_eq!(Site::new("plain:writes", executor).get("/").await.text(), "abcd");
        assert_eq!(Site::new("plain:writes_then_file", executor).get("/").await.text(), "<file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exc_info_replaces_what_is_not_sent_and_breaks_off_what_is() {
    for executor in EXECUTORS {
        let answer = Site::new("plain:replaces", executor).get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, "replaced"));
        assert!(answer.headers.contains_key("x-new") && !answer.headers.contains_key("x-old"));
        let site = Site::new("plain:replaces_too_late", executor);
        let answer = site.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str(), answer.broken), (200, "begun", true));
        site.wait_for_log("ValueError: too late");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn some_answers_have_no_body() {
    for executor in EXECUTORS {
        let answer = Site::new("plain:no_content", executor).get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str(), answer.header("x-a")), (204, "", "1"));
        assert!(!answer.headers.contains_key("content-length"));
        let answer = Site::new("plain:not_modified", executor).get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str(), answer.header("etag")), (304, "", "\"x\""));
        for (app, length) in [("plain:head_with_length", "1000"), ("plain:hello", ""), ("plain:endless", ""), ("plain:late_start", "")] {
            let response = Site::new(app, executor).call(request(Method::HEAD, "/", Body::empty())).await;
            assert!(response.body().is_end_stream(), "{app}");
            assert_eq!(response.headers().get("content-length").map_or("", |value| value.to_str().unwrap()), length, "{app}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusual_phrase_after_the_status_is_kept() {
    for executor in EXECUTORS {
        let response = Site::new("plain:reason", executor).call(request(Method::GET, "/", Body::empty())).await;
        assert_eq!(response.extensions().get::<hyper::ext::ReasonPhrase>().unwrap().as_bytes(), b"Rather Fine");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_validator_of_the_standard_library_finds_nothing() {
    for executor in EXECUTORS {
        let site = Site::new("plain:validated", executor);
        for method in [Method::GET, Method::HEAD] {
            for target in ["/text", "/empty", "/stream", "/write"] {
                let answer = site.send(request(method.clone(), target, Body::empty())).await;
                assert!(answer.status.is_success(), "{method} {target}: {}", site.log());
            }
        }
        let body = "ab\ncd\nef";
        let mut with_length = request(Method::POST, "/read", body);
        with_length.headers_mut().insert("content-length", body.len().into());
        assert_eq!(site.send(with_length).await.text(), body);
        assert_eq!(site.post("/read", crate::bodies::unsized_body(&["ab", "\ncd", "\nef"])).await.text(), body);
        assert_eq!(site.log(), "");
    }
}
