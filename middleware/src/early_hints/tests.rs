//! Who gets hints, and which.

use std::task::Waker;

use http::header::{CONTENT_LENGTH, CONTENT_SECURITY_POLICY, SET_COOKIE};
use http::{HeaderMap, Method};

use super::*;
use crate::{Body, TestResponse, TestStack, request};

const STYLE: &str = "</style.css>; rel=preload; as=style";

/// A stack whose app sends a hint with these fields, if it may.
fn stack(options: &str, fields: &[(HeaderName, &str)]) -> TestStack {
    let fields: HeaderMap = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::try_from(*value).unwrap())).collect();
    TestStack::of::<SendEarlyHints>(options).over(move |request: Request| {
        if let Some(hints) = EarlyHints::of(request.extensions()) {
            hints.send(&fields);
        }
        async { Response::new(Body::from("the page")) }
    })
}

async fn navigate(stack: &TestStack, version: Version, mode: Option<&str>) -> TestResponse {
    let mut request = request(Method::GET, "/", "");
    *request.version_mut() = version;
    if let Some(mode) = mode {
        request.headers_mut().insert(SEC_FETCH_MODE, HeaderValue::try_from(mode).unwrap());
    }
    stack.send(request).await
}

#[tokio::test]
async fn links_are_sent_before_the_hints_of_the_app() {
    let stack = stack(r#"["</a.css>; rel=preload; as=style", "<https://fonts.example>; rel=preconnect"]"#, &[(LINK, STYLE)]);
    let response = navigate(&stack, Version::HTTP_2, Some("navigate")).await;
    let links: Vec<Vec<_>> = response.hints().iter().map(|hint| hint.get_all(LINK).iter().collect()).collect();
    assert_eq!(links, [vec!["</a.css>; rel=preload; as=style", "<https://fonts.example>; rel=preconnect"], vec![STYLE]]);
    assert_eq!(response.text(), "the page");
    assert!(stack.metrics().contains(r#"ziggurat_early_hints_total{place="early_hints"} 2"#));
}

#[tokio::test]
async fn only_navigations_over_http2_or_later_get_hints_unless_http1_is_set() {
    for (options, version, mode, count) in [
        ("{}", Version::HTTP_2, Some("navigate"), 1),
        ("{}", Version::HTTP_3, Some("navigate"), 1),
        ("{}", Version::HTTP_2, Some("no-cors"), 0),
        ("{}", Version::HTTP_2, None, 0),
        ("{}", Version::HTTP_11, Some("navigate"), 0),
        (r#"{"http1": true}"#, Version::HTTP_11, Some("navigate"), 1),
        (r#"{"http1": true}"#, Version::HTTP_11, None, 0),
        (r#"{"http1": true}"#, Version::HTTP_10, Some("navigate"), 0),
    ] {
        let response = navigate(&stack(options, &[(LINK, STYLE)]), version, mode).await;
        assert_eq!(response.hints().len(), count, "{options} {version:?} {mode:?}");
    }
}

#[tokio::test]
async fn fields_that_no_client_uses_in_a_hint_are_dropped() {
    let fields = [(LINK, STYLE), (SET_COOKIE, "a=1"), (CONTENT_LENGTH, "9"), (CONTENT_SECURITY_POLICY, "default-src 'self'")];
    let response = navigate(&stack("{}", &fields), Version::HTTP_2, Some("navigate")).await;
    let names: Vec<_> = response.hints()[0].keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["link", "content-security-policy"]);
    let response = navigate(&stack("{}", &[(SET_COOKIE, "a=1")]), Version::HTTP_2, Some("navigate")).await;
    assert!(response.hints().is_empty());
}

#[test]
fn hints_are_bounded_in_number_and_in_octets_and_end_with_the_response() {
    let mut cx = std::task::Context::from_waker(Waker::noop());
    let value = |length: usize| HeaderValue::try_from(format!("<{}>", "a".repeat(length))).unwrap();
    let hints = EarlyHints::default();
    for _ in 0..100 {
        hints.send([(&LINK, &value(10))]);
    }
    assert_eq!(hints.count(), EarlyHints::MOST);

    let hints = EarlyHints::default();
    hints.send([(&LINK, &value(EarlyHints::MOST_OCTETS))]);
    hints.send([(&LINK, &value(9 << 10))]);
    hints.send([(&LINK, &value(9 << 10))]);
    assert_eq!(hints.count(), 1);

    hints.close();
    hints.send([(&LINK, &value(10))]);
    assert!(hints.poll_next(&mut cx).is_ready() && hints.poll_next(&mut cx).is_pending());
}

#[test]
fn a_link_that_is_none_is_refused() {
    for options in [r#""style.css""#, r#"["<a", "</b>"]"#, r#""</a>\r\nset-cookie: x""#] {
        assert_eq!(TestStack::refusal::<SendEarlyHints>(options).len(), 1, "{options}");
    }
}

#[test]
fn explain_says_who_gets_hints() {
    for (options, version, mode, note) in [
        (
            r#"{"links": "</a.css>"}"#,
            Version::HTTP_2,
            "navigate",
            "sends a hint with 1 of `links`, and passes those of the layers below and the app",
        ),
        ("{}", Version::HTTP_3, "navigate", "passes the hints of the layers below and the app"),
        ("{}", Version::HTTP_11, "navigate", "sends no hints: the request came over HTTP/1.1, and `http1` is not set"),
        ("{}", Version::HTTP_2, "cors", "sends no hints: it is no navigation (`Sec-Fetch-Mode: navigate`)"),
    ] {
        let mut request = request(Method::GET, "/", "");
        *request.version_mut() = version;
        request.headers_mut().insert(SEC_FETCH_MODE, HeaderValue::from_static(mode));
        assert_eq!(TestStack::explain::<SendEarlyHints>(options, request).notes, [note]);
    }
}
