//! What pages of other origins may and may not do.

use super::*;
use crate::{TestResponse, TestStack, request};

const APP: &str = "https://app.example.com";

fn stack(options: &str) -> TestStack {
    TestStack::of::<Cors>(options).over(async |request: Request| Response::new(Body::from(request.method().to_string())))
}

async fn send(stack: &TestStack, method: Method, headers: &[(&'static str, &'static str)]) -> TestResponse {
    let mut request = request(method, "/", "");
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    stack.send(request).await
}

async fn preflight(stack: &TestStack, origin: &'static str) -> TestResponse {
    let headers =
        [("origin", origin), ("access-control-request-method", "DELETE"), ("access-control-request-headers", "authorization, x-token")];
    send(stack, Method::OPTIONS, &headers).await
}

#[tokio::test]
async fn the_bare_name_lets_every_origin_call_without_credentials() {
    let stack = stack("null");
    let asked = preflight(&stack, APP).await;
    assert_eq!((asked.status(), asked.text().as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(asked.header("access-control-allow-origin"), "*");
    assert_eq!(asked.header("access-control-allow-methods"), "DELETE");
    assert_eq!(asked.header("access-control-allow-headers"), "authorization, x-token");
    assert_eq!(asked.header("access-control-max-age"), "600");
    let called = send(&stack, Method::GET, &[("origin", APP)]).await;
    assert_eq!((called.text().as_str(), called.header("access-control-allow-origin")), ("GET", "*"));
    for response in [asked, called] {
        assert!(!response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }
}

#[tokio::test]
async fn a_named_origin_may_call_and_no_other() {
    let stack = stack(&format!(r#""{APP}""#));
    assert_eq!(send(&stack, Method::GET, &[("origin", APP)]).await.header("access-control-allow-origin"), APP);
    for other in ["https://app.example.com.evil.test", "https://APP.example.com", "http://app.example.com", "null", ""] {
        let called = send(&stack, Method::GET, &[("origin", other)]).await;
        assert!(!called.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{other}");
        assert!(!preflight(&stack, other).await.headers().keys().any(|name| name.as_str().starts_with("access-control")), "{other}");
    }
}

#[tokio::test]
async fn caches_learn_that_the_answer_depends_on_the_origin() {
    let named = stack(&format!(r#"["{APP}", "https://b.test"]"#));
    assert_eq!(send(&named, Method::GET, &[]).await.header("vary"), "origin");
    assert_eq!(send(&stack("{}"), Method::GET, &[]).await.header("vary"), "");
    let varying = TestStack::of::<Cors>(&format!(r#""{APP}""#)).over(async |_| {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Cookie, Origin"));
        response
    });
    assert_eq!(varying.get("/").await.headers().get_all(header::VARY).iter().collect::<Vec<_>>(), ["Cookie, Origin"]);
}

#[tokio::test]
async fn credentials_are_allowed_to_named_origins_only() {
    let options = format!(r#"{{"origins": "{APP}", "credentials": true, "expose": ["x-total"]}}"#);
    let stack = stack(&options);
    let called = send(&stack, Method::GET, &[("origin", APP)]).await;
    assert_eq!(called.header("access-control-allow-credentials"), "true");
    assert_eq!(called.header("access-control-expose-headers"), "x-total");
    let other = send(&stack, Method::GET, &[("origin", "https://evil.test")]).await;
    assert!(!other.headers().keys().any(|name| name.as_str().starts_with("access-control")));
    assert!(TestStack::refusal::<Cors>(r#"{"credentials": true}"#)[0].contains("named origins"));
    assert!(TestStack::refusal::<Cors>(&options.replace("x-total", "*"))[0].contains("the name of a header"));
}

#[tokio::test]
async fn a_fixed_list_of_methods_and_headers_is_what_is_granted() {
    let stack = stack(r#"{"methods": ["GET", "PUT"], "headers": "X-Token", "max_age": "1h"}"#);
    let asked = preflight(&stack, APP).await;
    assert_eq!(asked.header("access-control-allow-methods"), "GET, PUT");
    assert_eq!(asked.header("access-control-allow-headers"), "x-token");
    assert_eq!(asked.header("access-control-max-age"), "3600");
}

#[tokio::test]
async fn an_options_request_that_is_no_preflight_reaches_the_app() {
    let stack = stack("{}");
    assert_eq!(send(&stack, Method::OPTIONS, &[]).await.text(), "OPTIONS");
    let webdav = send(&stack, Method::OPTIONS, &[("origin", APP)]).await;
    assert_eq!((webdav.text().as_str(), webdav.header("access-control-allow-origin")), ("OPTIONS", "*"));
    assert_eq!(send(&stack, Method::OPTIONS, &[("access-control-request-method", "GET")]).await.text(), "OPTIONS");
}

#[tokio::test]
async fn an_apps_own_permission_does_not_get_past_the_layer() {
    let stack = TestStack::of::<Cors>(&format!(r#""{APP}""#)).over(async |_| {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        response
    });
    let called = send(&stack, Method::GET, &[("origin", "https://evil.test")]).await;
    assert!(!called.headers().keys().any(|name| name.as_str().starts_with("access-control")));
    assert_eq!(send(&stack, Method::GET, &[("origin", APP)]).await.header("access-control-allow-origin"), APP);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (options, said) in [
        (r#"{"origins": []}"#, "no origin is allowed"),
        (r#"{"origins": ["*", "https://a.test"]}"#, "have no effect"),
        (r#""https://a.test/""#, "write `https://a.test`"),
        (r#"{"methods": ["get"]}"#, "capitals"),
        (r#"{"methods": ["G T"]}"#, "is not a method"),
        (r#"{"headers": ["a b"]}"#, "is not a header name"),
    ] {
        assert!(TestStack::refusal::<Cors>(options)[0].contains(said), "{options}: {:?}", TestStack::refusal::<Cors>(options));
    }
}
