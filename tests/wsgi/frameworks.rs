//! Real frameworks.

use http::{HeaderValue, Method};
use ziggurat_middleware::request;

use crate::support::{Site, THREADS, apps};

#[tokio::test(flavor = "multi_thread")]
async fn django_serves_pages_forms_streams_and_files() {
    for threads in THREADS {
        let site = Site::new("django_site", threads);
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
