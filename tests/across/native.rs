//! Native layers over what Python answers and reads.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::json;
use ziggurat_middleware::{Body, BoxError};

use crate::support::{EXECUTORS, Executor, Site};

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_app_is_answered_with_a_page_and_its_own_errors_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("oops.html"), "<p>Sorry: {status}.</p>").unwrap();
    for executor in EXECUTORS {
        for python in ["", r#", { "wsgi": "across:Through" }, "headers""#] {
            let layers = |of: &str| {
                let errors = json!({ "errors": { "pages": { "5xx": folder.path().join("oops.html") }, "of": of } });
                format!("[{errors}{python}]")
            };
            let site = Site::new(&layers("server"), "across:app", executor);
            let raised = site.get("/raises").await;
            assert_eq!((raised.status.as_u16(), raised.text().as_str()), (500, "<p>Sorry: 500.</p>"), "{python} with {executor:?}");
            let own = site.get("/exc_info_before").await;
            assert!(own.status == 503 && !own.text().contains("<p>"), "{}: {python} with {executor:?}", own.text());
            let all = Site::new(&layers("all"), "across:app", executor).get("/exc_info_before").await;
            assert_eq!((all.status.as_u16(), all.text().as_str()), (503, "<p>Sorry: 503.</p>"), "{python} with {executor:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffered_body_has_a_length_wherever_it_is_kept() {
    let blocks = |count: usize| {
        let frame = || Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[7; 65_536])));
        Body::new(StreamBody::new(stream::iter((0..count).map(move |_| frame()))))
    };
    for executor in EXECUTORS {
        for layers in [r#"[{ "buffer": "4MiB" }]"#, r#"[{ "wsgi": "across:Through" }, { "buffer": "4MiB" }, { "wsgi": "across:Through" }]"#]
        {
            let site = Site::new(layers, "across:app", executor);
            for count in [1, 32] {
                let octets = count * 65_536;
                assert_eq!(site.post("/length", blocks(count)).await.text(), format!("{octets} of {octets}"), "{layers} with {executor:?}");
            }
            assert_eq!(site.post("/length", blocks(65)).await.status, 413, "{layers} with {executor:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_holds_no_thread() {
    let site = Site::with(r#"["buffer"]"#, "across:app", Executor::Pool(1), json!({ "buffer": "4B" }));
    let begun = stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"longer than four octets")))]);
    let slow = site.post("/length", Body::new(StreamBody::new(begun.chain(stream::pending()))));
    tokio::select! {
        biased;
        _ = slow => panic!("the body has not ended"),
        answer = site.get("/plain") => assert_eq!(answer.status, 200),
    }
}
