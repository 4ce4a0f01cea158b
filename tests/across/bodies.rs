//! Request bodies through the border, read by whoever reads first.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;
use http_body::Frame;
use http_body_util::StreamBody;
use ziggurat_middleware::{Body, BoxError, request};

use crate::support::{EXECUTORS, Site, next_frame};

const STACKS: [&str; 4] = [
    r#"[{ "wsgi": "across:Through" }]"#,
    r#"[{ "wsgi": "across:Through" }, "headers"]"#,
    r#"[{ "wsgi": "across:Through" }, { "body_limit": "20MiB" }, { "wsgi": "across:Through" }, "compress"]"#,
    r#"[{ "body_limit": "20MiB" }, { "wsgi": "across:Generator" }, "headers", { "wsgi": "across:Through" }, "headers", { "wsgi": "across:Through" }, "headers"]"#,
];

/// A body of chunks, whose length nobody knows.
fn chunked(chunks: impl IntoIterator<Item = Result<&'static [u8], BoxError>> + Send + 'static) -> Body {
    let chunks: Vec<_> = chunks.into_iter().collect();
    Body::new(StreamBody::new(stream::iter(chunks.into_iter().map(|chunk| chunk.map(|octets| Frame::data(Bytes::from_static(octets)))))))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_arrives_whole_whatever_its_length() {
    for executor in EXECUTORS {
        for layers in STACKS {
            let site = Site::new(layers, "across:app", executor);
            assert_eq!(site.post("/length", "").await.text(), "0 of 0");
            assert_eq!(site.post("/length", "a small one").await.text(), "11 of 11");
            assert_eq!(site.post("/length", vec![b'x'; 10 << 20]).await.text(), "10485760 of 10485760", "{layers} with {executor:?}");
            static BLOCK: [u8; 65_536] = [7; 65_536];
            let long = chunked((0..32).map(|_| Ok(&BLOCK[..])));
            let answer = site.post("/length", long).await.text();
            assert!(answer.starts_with("2097152 of "), "{answer}: {layers} with {executor:?}");
            let short = site.post("/length", chunked([Ok(&b"ab"[..]), Ok(b"c")])).await.text();
            assert_eq!(short, "3 of 3");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_read_works_through_the_border() {
    for executor in EXECUTORS {
        for layers in STACKS {
            let site = Site::new(layers, "across:app", executor);
            let answer = site.post("/reads", "abcdef\nghi\njkl\nmno\npqr\nstu").await;
            assert_eq!(answer.text(), r"[b'abc', b'def\n', b'gh', [b'i\n', b'jkl\n', b'mno\n'], b'pqr\n', b'stu', b'', b'']", "{layers}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_of_a_body_can_be_read_before_the_rest_comes() {
    for executor in EXECUTORS {
        for layers in STACKS {
            let site = Site::with(layers, "across:app", executor, serde_json::json!({ "buffer": "4B", "streaming": true }));
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
            let lines = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|line| (line, receiver)));
            let body = Body::new(StreamBody::new(lines.map(|line| Ok::<_, BoxError>(Frame::data(Bytes::from(line))))));
            sender.send("first\n").unwrap();
            let mut response = site.call(request(Method::POST, "/lazy_echo", body)).await;
            assert_eq!(next_frame(&mut response).await.as_deref(), Some("first\n"), "{layers} with {executor:?}");
            sender.send("second\n").unwrap();
            assert_eq!(next_frame(&mut response).await.as_deref(), Some("second\n"));
            drop(sender);
            assert_eq!(next_frame(&mut response).await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_layer_may_read_the_body_and_put_another_in_its_place() {
    for executor in EXECUTORS {
        for layers in [
            r#"[{ "wsgi": "across:ReadFirst" }, "headers"]"#,
            r#"["headers", { "wsgi": "across:Through" }, "headers", { "wsgi": "across:ReadFirst" }, "compress", { "wsgi": "across:Through" }]"#,
        ] {
            let site = Site::new(layers, "across:app", executor);
            assert_eq!(site.post("/length", "0123456789").await.text(), "10 of 10", "{layers} with {executor:?}");
            assert_eq!(site.post("/lazy_echo", "fe\ncba").await.text(), "abc\nef", "{layers} with {executor:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_limit_between_refuses_before_the_app_or_as_it_reads() {
    for executor in EXECUTORS {
        for layers in [
            r#"[{ "wsgi": "across:Through" }, { "body_limit": "10B" }]"#,
            r#"[{ "wsgi": "across:Generator" }, { "body_limit": "10B" }, { "wsgi": "across:Through" }, "headers"]"#,
        ] {
            let site = Site::with(layers, "across:app", executor, serde_json::json!({ "buffer": "4B" }));
            assert_eq!(site.post("/length", "0123456789").await.text(), "10 of 10");
            assert_eq!(site.post("/length", "0123456789a").await.status, 413, "{layers} with {executor:?}");
            let long = chunked([Ok(&b"01234567"[..]), Ok(b"89abcdef")]);
            assert_eq!(site.post("/length", long).await.status, 413, "{layers} with {executor:?}: {}", site.log());
            assert!(!site.log().contains("Traceback"), "{}", site.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_cut_short_never_looks_whole() {
    for executor in EXECUTORS {
        for layers in STACKS {
            let site = Site::with(layers, "across:app", executor, serde_json::json!({ "buffer": "2B" }));
            let cut = || chunked([Ok(&b"abc"[..]), Err("cut".into())]);
            assert_eq!(site.post("/length", cut()).await.status, 400, "{layers} with {executor:?}: {}", site.log());
            // However often it is read.
            let answer = site.post("/catches_read", cut()).await;
            assert!(answer.status == 400 || answer.text() == "OSError|OSError", "{layers} with {executor:?}: {}", answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_app_leaves_of_a_body_the_layer_above_can_read() {
    for executor in EXECUTORS {
        let site = Site::new(r#"[{ "wsgi": "across:ReadAfter" }, "headers"]"#, "across:app", executor);
        assert_eq!(site.post("/plain", "the body").await.text(), "plain left the body");
        assert_eq!(site.post("/length", "the body").await.text(), "8 of 8 left ");
    }
}
