//! `wsgi.file_wrapper`.

use http::Method;
use http_body::Body as _;
use ziggurat_middleware::{Body, request};

use crate::support::{EXECUTORS, Site, apps};

fn source() -> Vec<u8> {
    std::fs::read(apps().join("plain.py")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_file_goes_from_where_the_app_left_it_and_is_closed_at_once() {
    for executor in EXECUTORS {
        let site = Site::new("plain:source_file", executor);
        let response = site.call(request(Method::GET, "/", Body::empty())).await;
        assert_eq!(response.headers()["content-length"], (source().len() - 10).to_string());
        assert_eq!(response.body().size_hint().exact(), Some(source().len() as u64 - 10));
        let answer = site.get("/").await;
        assert!(answer.body == source()[10..]);
        crate::support::wait_until("the file is closed", || site.python("plain", "closed[-1].closed"));

        let temporary = Site::new("plain:temporary_file", executor).get("/").await;
        assert!(temporary.body == "temporary".repeat(999).as_bytes());
        assert_eq!(temporary.header("content-length"), "8991");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_to_the_content_length() {
    for executor in EXECUTORS {
        let site = Site::new("plain:source_file_of_length", executor);
        let answer = site.get("/?100").await;
        assert!(answer.body == source()[..100] && !answer.broken);
        assert!(site.get("/?10000000").await.broken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_ordinary_file_is_read_block_by_block() {
    for executor in EXECUTORS {
        for (app, body) in [
            ("plain:memory_file", "memory".repeat(10_000)),
            ("plain:gzip_file", "unpacked".to_owned()),
            ("plain:pipe_file", "piped".to_owned()),
            ("plain:wrapped_file", "ABC".to_owned()),
            ("plain:file_without_close", String::new()),
            // Its length is 0.
            ("plain:unsized_file", "Linux\n".to_owned()),
        ] {
            assert_eq!(Site::new(app, executor).get("/").await.text(), body, "{app}");
        }
        for (app, said) in [("plain:text_file", "holds `str`"), ("plain:closed_file", "closed file")] {
            let site = Site::new(app, executor);
            assert_eq!(site.get("/").await.status, 500);
            site.wait_for_log(said);
        }
    }
}
