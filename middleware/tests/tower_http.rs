//! Layers of tower-http plug in as they are, whatever they make of body and error types.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use ziggurat_middleware::{Body, Request, Response, TestStack, request};

const STAMP: HeaderName = HeaderName::from_static("x-stamp");

async fn echo(request: Request) -> Response {
    match request.into_body().collect().await {
        Ok(body) => Response::new(Body::from(body.to_bytes())),
        Err(_) => http::Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE).body(Body::empty()).unwrap(),
    }
}

#[tokio::test]
async fn one_that_changes_the_response() {
    let stack = TestStack::stage(SetResponseHeaderLayer::overriding(STAMP, HeaderValue::from_static("hello"))).over(echo);
    assert_eq!(stack.get("/").await.header("x-stamp"), "hello");
}

#[tokio::test]
async fn one_that_wraps_the_response_body() {
    let stack = TestStack::stage(CompressionLayer::new()).over_text("the same words again and again, the same words again and again");
    let mut request = request(Method::GET, "/", Body::empty());
    request.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
    let response = stack.send(request).await;
    assert_eq!(response.header("content-encoding"), "gzip");
    assert_eq!(response.body()[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn one_that_wraps_the_request_body() {
    let stack = TestStack::stage(RequestBodyLimitLayer::new(4)).over(echo);
    assert_eq!(stack.send(request(Method::POST, "/", "four")).await.text(), "four");
    assert_eq!(stack.send(request(Method::POST, "/", Body::new(String::from("five!")))).await.status(), 413);
}

#[tokio::test(start_paused = true)]
async fn several_in_one_builder() {
    let layers = ServiceBuilder::new()
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(1)));
    let stack = TestStack::stage(layers).over(async |request: Request| {
        assert_ne!(request.uri().path(), "/panic");
        std::future::pending().await
    });
    assert_eq!(stack.get("/panic").await.status(), 500);
    assert_eq!(stack.get("/slow").await.status(), 504);
}
