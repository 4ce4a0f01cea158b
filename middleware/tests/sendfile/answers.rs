//! What is sent: the file's octets, whose headers, and to which requests.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body::Frame;
use ziggurat_middleware::sendfile::Sendfile;
use ziggurat_middleware::{Body, RemoteUser, Request, Response, TestStack};

use crate::support::{MODIFIED, Site, get, with};

fn site() -> Site {
    Site::new().file("private/report.pdf", "0123456789").file("media/a.css", "css").file("private/empty", "")
}

const REPORT: &[(&str, &str)] = &[("x-accel-redirect", "/protected/report.pdf")];

#[tokio::test]
async fn the_named_file_takes_the_place_of_the_apps_body() {
    let site = site();
    for named in ["/protected/report.pdf", "/protected/report.pdf?and=query", "/protected/%72eport.pdf"] {
        let response = site.by_uri(named.as_bytes()).await;
        assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "0123456789"), "{named}");
        assert_eq!(response.header("content-length"), "10");
        assert_eq!(response.header("last-modified"), MODIFIED);
        assert_eq!(response.header("x-accel-redirect"), "");
    }
    let response = site.by_path("private/report.pdf").await;
    assert_eq!(response.text(), "0123456789");
    assert_eq!(response.header("content-type"), "application/pdf");
    assert_eq!(response.header("x-sendfile"), "");
    assert_eq!(site.by_uri(b"/media/a.css").await.text(), "css");
    assert_eq!(site.by_uri(b"/protected/empty").await.header("content-length"), "0");
}

#[tokio::test]
async fn what_the_app_says_about_the_file_stands_and_what_it_says_about_its_body_goes() {
    let site = site();
    let stack = site.over(&[
        ("x-accel-redirect", "/protected/report.pdf"),
        ("content-type", "text/html; charset=utf-8"),
        ("content-disposition", "attachment; filename=\"r.pdf\""),
        ("cache-control", "private"),
        ("expires", MODIFIED),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("vary", "Cookie"),
        ("x-content-type-options", "nosniff"),
        ("content-length", "0"),
        ("content-encoding", "gzip"),
        ("content-range", "bytes 0-1/2"),
        ("etag", "\"of the app\""),
        ("last-modified", "Sun, 06 Nov 2094 08:49:37 GMT"),
        ("accept-ranges", "none"),
        ("trailer", "etag"),
    ]);
    let response = stack.get("/").await;
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("content-disposition", "attachment; filename=\"r.pdf\""),
        ("cache-control", "private"),
        ("expires", MODIFIED),
        ("vary", "Cookie"),
        ("x-content-type-options", "nosniff"),
        ("content-length", "10"),
        ("content-encoding", ""),
        ("content-range", ""),
        ("last-modified", MODIFIED),
        ("accept-ranges", "bytes"),
        ("trailer", ""),
    ] {
        assert_eq!(response.header(name), value, "{name}");
        assert!(response.headers().get_all(name).iter().count() < 2, "{name}");
    }
    // A digest, because the file's date was set.
    assert_eq!(response.header("etag").trim_matches('"').len(), 32, "{}", response.header("etag"));
    assert_eq!(response.headers().get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
}

#[tokio::test]
async fn an_empty_content_type_asks_for_the_one_of_the_name() {
    let site = site();
    let stack = site.over(&[("x-accel-redirect", "/protected/report.pdf"), ("content-type", "")]);
    assert_eq!(stack.get("/").await.header("content-type"), "application/pdf");
}

#[tokio::test]
async fn ranges_are_honoured_one_and_several() {
    let site = site();
    let stack = site.over(REPORT);
    let response = stack.send(get(&[("range", "bytes=2-4")])).await;
    assert_eq!((response.status(), response.text().as_str()), (StatusCode::PARTIAL_CONTENT, "234"));
    assert_eq!(response.header("content-range"), "bytes 2-4/10");
    let stack = site.over(&[("x-accel-redirect", "/protected/report.pdf"), ("content-type", "image/x")]);
    let response = stack.send(get(&[("range", "bytes=0-1,-2")])).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert!(response.header("content-type").starts_with("multipart/byteranges; boundary="));
    assert_eq!(response.text().matches("Content-Type: image/x\r\n").count(), 2, "{}", response.text());
    assert!(response.text().contains("Content-Range: bytes 8-9/10\r\n\r\n89\r\n"), "{}", response.text());
    let response = stack.send(get(&[("range", "bytes=10-")])).await;
    assert_eq!((response.status(), response.header("content-range")), (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */10"));
    let response = stack.send(get(&[("range", "bytes=0-1"), ("if-range", "\"other\"")])).await;
    assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "0123456789"));
}

#[tokio::test]
async fn conditions_are_judged_against_the_file() {
    let site = site();
    let stack = site.over(&[("x-accel-redirect", "/protected/report.pdf"), ("etag", "\"app\""), ("cache-control", "private")]);
    let etag = stack.get("/").await.header("etag").to_owned();
    for (name, value, status) in [
        ("if-none-match", etag.as_str(), 304),
        ("if-none-match", "\"app\"", 200),
        ("if-modified-since", MODIFIED, 304),
        ("if-match", etag.as_str(), 200),
        ("if-match", "\"app\"", 412),
        ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT", 412),
    ] {
        let response = stack.send(get(&[(name, value)])).await;
        assert_eq!(response.status(), status, "{name}: {value}");
        if status == 304 {
            assert_eq!(
                (response.text().as_str(), response.header("etag"), response.header("cache-control")),
                ("", etag.as_str(), "private")
            );
        }
    }
}

#[tokio::test]
async fn head_gets_the_headers_of_the_file() {
    let site = site();
    let response = site.over(REPORT).send(with(Method::HEAD, &[("range", "bytes=0-1")])).await;
    assert_eq!((response.status(), response.header("content-length"), response.text().as_str()), (StatusCode::OK, "10", ""));
}

#[tokio::test]
async fn another_method_gets_the_whole_file_whatever_it_asks_for() {
    let site = site();
    let stack = site.over(REPORT);
    let response = stack.send(with(Method::POST, &[("range", "bytes=0-1"), ("if-none-match", "*")])).await;
    assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "0123456789"));
}

#[tokio::test]
async fn the_file_has_its_own_status() {
    let site = site();
    let stack = TestStack::of::<Sendfile>(&site.options()).over(async |_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response.headers_mut().insert("x-accel-redirect", HeaderValue::from_static("/protected/report.pdf"));
        response
    });
    assert_eq!(stack.get("/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_answer_that_names_no_file_passes_untouched() {
    let site = site();
    let response = site.over(&[("etag", "\"app\""), ("content-length", "10")]).send(get(&[("range", "bytes=0-1")])).await;
    assert_eq!((response.status(), response.text().as_str()), (StatusCode::OK, "of the app"));
    assert_eq!((response.header("etag"), response.header("content-length")), ("\"app\"", "10"));
}

#[tokio::test]
async fn a_client_cannot_speak_for_the_app() {
    let site = site();
    let stack = TestStack::of::<Sendfile>(&site.options()).over(async |request: Request| {
        let mut response = Response::new(Body::from("echo"));
        *response.headers_mut() = request.headers().clone();
        response
    });
    let request = get(&[
        ("x-accel-redirect", "/protected/report.pdf"),
        ("x-sendfile", "/etc/passwd"),
        ("x-sendfile", "/etc/hosts"),
        ("x-other", "1"),
    ]);
    let response = stack.send(request).await;
    assert_eq!((response.text().as_str(), response.header("x-other")), ("echo", "1"));
    assert!(!response.headers().contains_key("x-sendfile") && !response.headers().contains_key("x-accel-redirect"));
}

#[tokio::test]
async fn the_apps_body_is_closed_unread_and_its_facts_are_kept() {
    struct Watched(Arc<AtomicBool>);

    impl http_body::Body for Watched {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            panic!("read")
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let site = site();
    let closed = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&closed);
    let stack = TestStack::of::<Sendfile>(&site.options()).over(move |_| {
        let mut response = Response::new(Body::new(Watched(Arc::clone(&told))));
        response.headers_mut().insert("x-accel-redirect", HeaderValue::from_static("/protected/report.pdf"));
        response.extensions_mut().insert(RemoteUser { user: "ada".into(), auth_type: "Basic".into() });
        std::future::ready(response)
    });
    let response = stack.call(get(&[])).await;
    assert!(closed.load(Ordering::SeqCst));
    assert_eq!(&*response.extensions().get::<RemoteUser>().unwrap().user, "ada");
}
