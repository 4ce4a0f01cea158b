//! Whatever an app returns or raises, its request has an honest end and the next one is served.

use http::{HeaderMap, StatusCode};

use crate::support::{EXECUTORS, Site};

/// Cases that get an answer of their own: status, body, and whether the body breaks off.
const ANSWERED: &[(&str, u16, &str, bool)] = &[
    ("fine", 200, "fine", false),
    ("length_lies", 200, "abc", false),
    ("length_raises", 200, "abc", false),
    ("close_raises", 200, "whole", false),
    ("close_exits", 200, "whole", false),
    ("close_is_no_callable", 200, "whole", false),
    ("too_long_list", 200, "abc", false),
    ("too_long_chunks", 200, "abc", false),
    ("too_long_across", 200, "abc", false),
    ("too_short_list", 200, "abc", true),
    ("too_short_chunks", 200, "abc", true),
    ("too_short_empty", 200, "", true),
    ("writes_too_much", 200, "abc", false),
    ("exc_info_is_nonsense_after_start", 200, "begun", true),
    ("spoils_environ", 200, "spoilt", false),
    ("status_bare", 200, "body", false),
    ("hop_by_hop", 200, "body", false),
    ("deletes_errors", 200, "deleted", false),
    ("closes_stdout", 200, "printed", false),
];

/// Every other case of the app gets 500, except that what raises midway breaks off after its first chunk.
fn expected(case: &str) -> (u16, &str, bool) {
    if let Some((_, status, body, broken)) = ANSWERED.iter().find(|(name, ..)| *name == case) {
        (*status, body, *broken)
    } else if case.starts_with("raises_midway_") {
        (200, "some", true)
    } else {
        (500, "500 Internal Server Error\n", false)
    }
}

fn cases(site: &Site) -> Vec<String> {
    site.python("hostile", "list(CASES)")
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_app_does_its_request_ends_honestly_and_the_next_one_is_served() {
    for executor in EXECUTORS {
        let site = Site::new("hostile:app", executor);
        let cases = cases(&site);
        assert!(cases.len() >= 100, "{}", cases.len());
        for case in &cases {
            let answer = site.get(&format!("/{case}")).await;
            assert_eq!((answer.status.as_u16(), answer.text().as_str(), answer.broken), expected(case), "{case} with {executor:?}");
            assert!(!answer.headers.contains_key("x-evil"), "{case}");
            let next = site.get("/fine").await;
            assert_eq!((next.status, next.text().as_str()), (StatusCode::OK, "fine"), "after {case}");
        }
        site.shutdown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_speak_of_the_connection_are_left_out() {
    for executor in EXECUTORS {
        let answer = Site::new("hostile:app", executor).get("/hop_by_hop").await;
        let expected: HeaderMap = [("x-a", "1"), ("content-length", "4")]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>();
        assert_eq!(answer.headers, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_to_the_log_and_not_to_the_client() {
    for executor in EXECUTORS {
        let site = Site::new("hostile:app", executor);
        for (case, said) in [
            ("raises_exception", "ValueError: on purpose"),
            ("raises_midway_exception", "ValueError: on purpose"),
            ("raises_unprintable", "Unprintable"),
            ("returns_str", "the app returned `str`"),
            ("returns_none", "the app returned `NoneType`"),
            ("never_starts", "did not call start_response()"),
            ("headers_value_line", "control characters"),
            ("status_number", "must be a str, not `int`"),
            ("too_short_list", "7 octets short"),
            ("too_long_list", "longer than its Content-Length"),
            ("close_raises", "close on purpose"),
        ] {
            let answer = site.get(&format!("/{case}")).await;
            assert!(!answer.text().contains("on purpose"), "{case}");
            site.wait_for_log(said);
        }
    }
}
