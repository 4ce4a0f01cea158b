//! Real frameworks.

use http::{HeaderValue, Method};
use ziggurat_middleware::{Body, request};

use crate::support::{EXECUTORS, Site, apps};

#[tokio::test(flavor = "multi_thread")]
async fn django_serves_pages_forms_streams_and_files() {
    for executor in EXECUTORS {
        let site = Site::new("django_site", executor);
        let answer = site.get("/?name=you").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "hello you at http://test/?name=you"));

        let mut form = request(Method::POST, "/echo", "a=1&b=%C3%A9");
        form.headers_mut().insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        assert_eq!(site.send(form).await.text(), r#"{"form": {"a": "1", "b": "\u00e9"}, "files": {}}"#);

        let streamed = site.get("/stream").await;
        assert_eq!(streamed.text().lines().count(), 1000);
        let source = site.get("/source").await;
        assert_eq!(source.body, std::fs::read(apps().join("django_site.py")).unwrap());
        assert_eq!(site.get("/missing").await.status, 404);
        site.shutdown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flask_serves_pages_forms_uploads_and_streams() {
    for executor in EXECUTORS {
        let site = Site::new("flask_site:app", executor);
        assert_eq!(site.get("/").await.text(), "hello from flask");
        let body = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\n\
                    Content-Disposition: form-data; name=\"upload\"; filename=\"x\"\r\n\r\noctets\r\n--b--\r\n";
        for body in [Body::from(body), crate::bodies::unsized_body(&[body])] {
            let mut form = request(Method::POST, "/form", body);
            form.headers_mut().insert("content-type", HeaderValue::from_static("multipart/form-data; boundary=b"));
            assert_eq!(site.send(form).await.text(), "{\"file\":\"octets\",\"form\":{\"a\":\"1\"}}\n");
        }
        assert_eq!(site.get("/stream").await.text().lines().count(), 100);
        assert_eq!(site.get("/trouble").await.status, 500);
        site.wait_for_log("flask on purpose");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn web_py_serves_pages_and_forms() {
    for executor in EXECUTORS {
        let site = Site::new("webpy_site:make()", executor);
        assert_eq!(site.get("/you").await.text(), "hello, you");
        let mut form = request(Method::POST, "/", "a=1");
        form.headers_mut().insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        assert_eq!(site.send(form).await.text(), "posted 1");
    }
}
