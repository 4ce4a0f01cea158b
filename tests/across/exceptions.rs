//! What an app raises reaches the Python layers above it through native ones, as itself.

use http::Method;
use ziggurat_middleware::{Body, request};

use crate::support::{EXECUTORS, Site, get};

/// Native layers that an exception has to pass.
const BETWEEN: &str = r#""compress", { "access_log": { "to": "@FOLDER/access" } }, "request_id", { "timeout": "30s" }, { "body_limit": "1MiB" }, "security_headers", "headers", "cors", "forwarded""#;

fn stacks(outermost: &str) -> [String; 3] {
    [
        format!("[{outermost}]"),
        format!("[{outermost}, {BETWEEN}]"),
        format!(r#"["headers", {outermost}, {BETWEEN}, {{ "wsgi": "across:Through" }}, {BETWEEN}, {{ "wsgi": "across:Generator" }}]"#),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_layer_makes_its_page_of_the_very_exception() {
    for executor in EXECUTORS {
        for layers in stacks(r#"{ "wsgi": "across:Catch" }"#) {
            let site = Site::new(&layers, "across:app", executor);
            for (path, page) in [
                ("raises", "Boom on purpose same=True boom=True /raises"),
                ("raises_after_start", "Boom on purpose same=True boom=True /raises_after_start"),
                ("raises_at_once", "Boom on purpose same=True boom=True /raises_at_once"),
                ("exits", "SystemExit 7 same=False boom=False /exits"),
                ("interrupts", "KeyboardInterrupt  same=False boom=False /interrupts"),
            ] {
                let answer = site.get(&format!("/{path}")).await;
                assert_eq!(answer.seen(), (599, page.to_owned(), false), "{layers} with {executor:?}");
                assert!(!site.log().contains("Traceback"), "{layers}: {}", site.log());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_layer_ends_an_answer_that_breaks_midway() {
    for executor in EXECUTORS {
        for layers in stacks(r#"{ "wsgi": "across:CatchMidway" }"#) {
            let site = Site::new(&layers, "across:app", executor);
            for (path, text) in [("raises_midway", "some and Boom same=True"), ("exc_info_after", "begun and Boom same=True")] {
                assert_eq!(site.get(&format!("/{path}")).await.seen(), (200, text.to_owned(), false), "{layers} with {executor:?}");
            }
            assert!(!site.log().contains("Traceback"), "{}", site.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_catches_is_a_500_and_logged_once_with_the_request_id() {
    for executor in EXECUTORS {
        for layers in stacks(r#""request_id", { "wsgi": "across:Through" }"#) {
            let site = Site::new(&layers, "across:app", executor);
            for (nth, (path, status, broken, said)) in [
                ("raises", 500, false, "Boom: on purpose"),
                ("raises_at_once", 500, false, "Boom: on purpose"),
                ("raises_midway", 200, true, "Boom: on purpose"),
                ("exits", 500, false, "SystemExit: 7"),
                ("interrupts", 500, false, "KeyboardInterrupt"),
            ]
            .into_iter()
            .enumerate()
            {
                let id = format!("id-{nth}-of-this");
                let answer = site.send(get(&format!("/{path}"), &[("x-request-id", &id)])).await;
                let id = answer.header("x-request-id").to_owned();
                assert_eq!((answer.status.as_u16(), answer.broken), (status, broken), "{path} under {layers} with {executor:?}");
                assert!(!answer.text().contains("on purpose"), "{}", answer.text());
                crate::support::wait_until("it is logged", || site.log().matches("Traceback").count() > nth);
                let log = site.log();
                assert_eq!(log.matches("Traceback").count(), nth + 1, "{path} under {layers} with {executor:?}: {log}");
                assert!(log.contains(said), "{log}");
                assert!(!id.is_empty() && log.contains(&id), "{id}: {log}");
            }
            assert_eq!(site.get("/plain").await.text(), "plain");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generators_end_with_finally_whatever_ends_them() {
    for executor in EXECUTORS {
        for layers in stacks(r#"{ "wsgi": "across:Generator" }"#) {
            let site = Site::new(&layers, "across:app", executor);
            let (ended, closed) = (site.noted("finally").await, site.noted("generator closed").await);
            site.get("/raises_midway").await;
            assert_eq!(site.noted("finally").await, ended + 1);
            assert!(site.noted("generator closed").await > closed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_has_its_exceptions_too() {
    for executor in EXECUTORS {
        for layers in stacks(r#"{ "wsgi": "across:Catch" }"#) {
            let site = Site::new(&layers, "across:app", executor);
            let answer = site.send(request(Method::HEAD, "/raises", Body::empty())).await;
            assert_eq!((answer.status.as_u16(), answer.header("x-caught")), (599, "Boom"));
        }
    }
}
