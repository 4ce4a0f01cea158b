//! Whatever Python does at the border, its request has an honest end and the next one is served.

use crate::support::{EXECUTORS, Executor, Site};

const STACKS: [&str; 2] = [
    r#"[{ "wsgi": "across:Hostile" }, "headers"]"#,
    r#"["compress", { "wsgi": "across:Through" }, "headers", { "wsgi": "across:Hostile" }, "security_headers", { "wsgi": "across:Through" }]"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_middleware_does_its_request_ends_honestly_and_the_next_one_is_served() {
    for executor in EXECUTORS {
        for layers in STACKS {
            let site = Site::new(layers, "across:app", executor);
            for (case, status, said) in [
                ("returns_none", 500, "`NoneType`"),
                ("returns_str", 500, "the app returned `str`"),
                ("str_chunks", 500, "`str`"),
                ("never_starts", 500, "did not call start_response()"),
                ("starts_twice", 500, "called a second time without exc_info"),
                ("raises", 500, "Boom: of the middleware"),
                ("raises_after", 500, "Boom: of the middleware"),
                ("exits", 500, "SystemExit: 3"),
                ("bad_header", 500, "control characters"),
                ("int_header", 500, "environ[\"HTTP_X_NUMBER\"] must be a str, not `int`"),
                ("none_header", 500, "environ[\"HTTP_X_NONE\"] must be a str, not `NoneType`"),
                ("wide_header", 500, "environ[\"HTTP_X_WIDE\"] holds a character above U+00FF"),
                ("line_header", 500, "environ[\"HTTP_X_LINE\"] is not the value of a header"),
                ("no_header_name", 500, "environ[\"HTTP_X BAD\"] is not the name of a header"),
                ("surrogate_header", 500, "environ[\"HTTP_X_HALF\"] holds a character above U+00FF"),
                ("surrogate_key", 200, ""),
                ("wide_path", 500, "environ[\"PATH_INFO\"] holds a character above U+00FF"),
                ("int_path", 500, "environ[\"PATH_INFO\"] must be a str, not `int`"),
                ("bad_method", 500, "environ[\"REQUEST_METHOD\"] is not a method"),
                ("int_key", 200, ""),
                ("no_path", 200, ""),
                ("no_method", 200, ""),
                ("no_input", 200, ""),
                ("bad_input", 500, "has no attribute 'read'"),
                ("str_input", 500, "wsgi.input.read() must give bytes, not `str`"),
                ("not_a_dict", 500, "TypeError"),
                ("no_arguments", 500, "TypeError"),
                ("bad_start", 500, "TypeError"),
                ("start_raises", 500, "Boom: on purpose"),
                ("threads", 200, ""),
                ("mutates", 200, ""),
                ("drops", 200, ""),
                ("reads_after_close", 200, ""),
            ] {
                let answer = site.get(&format!("/?{case}")).await;
                assert_eq!(answer.status, status, "{case} under {layers} with {executor:?}: {} {}", answer.text(), site.log());
                assert!(!answer.headers.contains_key("x-evil") && !answer.broken, "{case}");
                if status == 500 {
                    assert!(!answer.text().contains("on purpose") && !answer.text().contains("environ"), "{case}: {}", answer.text());
                    site.wait_for_log(said);
                }
                assert_eq!(site.get("/plain").await.text(), "plain", "after {case}");
            }
            assert!(!site.log().contains("panic"), "{}", site.log());
        }
    }
}

/// The cases of the bridge's own tests: through the border each ends as it does without one.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_app_does_ends_the_same_through_the_border() {
    let native = Site::new("[]", "hostile:app", Executor::Pool(2));
    let cases = Site::new("[]", "across:app", Executor::Pool(1)).get("/_hostile").await;
    for executor in EXECUTORS {
        let crossed =
            Site::new(r#"[{ "wsgi": "across:Through" }, "headers", { "wsgi": "across:Through" }, "request_id"]"#, "hostile:app", executor);
        assert!(cases.text().lines().count() >= 100);
        for case in cases.text().lines() {
            let (native, answer) = (native.get(&format!("/{case}")).await, crossed.get(&format!("/{case}")).await);
            // It is known before the head is sent here.
            let expected = if case == "too_short_empty" { (500, "500 Internal Server Error\n".to_owned(), false) } else { native.seen() };
            assert_eq!(answer.seen(), expected, "{case} with {executor:?}: {}", crossed.log());
            assert!(!answer.headers.contains_key("x-evil"), "{case}");
            assert_eq!(crossed.get("/fine").await.text(), "fine", "after {case}");
        }
    }
}
