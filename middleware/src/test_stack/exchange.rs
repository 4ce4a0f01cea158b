//! A request to a stack under test, and its response.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::TestStack;
use crate::{Body, ConnectionInfo, Request, Response, Scheme};

/// A request that is sent when it is awaited.
#[must_use = "a request is sent when it is awaited"]
pub struct TestRequest<'a> {
    pub(super) stack: &'a TestStack,
    pub(super) request: Request,
}

impl TestRequest<'_> {
    /// Adds a header.
    ///
    /// # Panics
    ///
    /// If it is not a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            panic!("`{name}: {value}` is no header")
        };
        self.request.headers_mut().append(name, value);
        self
    }

    /// Adds a fact that the server or a layer above determines, such as [`ConnectionInfo`] or [`RemoteUser`](crate::RemoteUser).
    pub fn fact<T: Clone + Send + Sync + 'static>(mut self, fact: T) -> Self {
        self.request.extensions_mut().insert(fact);
        self
    }
}

impl<'a> IntoFuture for TestRequest<'a> {
    type Output = TestResponse;
    type IntoFuture = Pin<Box<dyn Future<Output = TestResponse> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.stack.send(self.request))
    }
}

/// A response whose body has been read.
#[derive(Debug)]
pub struct TestResponse {
    pub(super) response: Response,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) hints: Vec<HeaderMap>,
}

impl TestResponse {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text; `""` if it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The fields of each [hint](crate::EarlyHints) that was sent before the response.
    #[must_use]
    pub fn hints(&self) -> &[HeaderMap] {
        &self.hints
    }

    /// The response without its body, for its extensions.
    #[must_use]
    pub const fn head(&self) -> &Response {
        &self.response
    }

    /// The body.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as text, with U+FFFD in place of invalid UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The trailers, if there are any.
    #[must_use]
    pub const fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

/// A request as the server passes it to a stack, with `Host: test` and a client at 192.0.2.1.
///
/// # Panics
///
/// If `target` is not a request target.
pub fn request(method: Method, target: &str, body: impl Into<Body>) -> Request {
    let mut request = match http::Request::builder().method(method).uri(target).header("host", "test").body(body.into()) {
        Ok(request) => request,
        Err(error) => panic!("`{target}`: {error}"),
    };
    request.extensions_mut().insert(ConnectionInfo {
        client: Some([192, 0, 2, 1].into()),
        client_port: Some(40_000),
        scheme: Scheme::Http,
        server_port: None,
        local: Some(([192, 0, 2, 80], 80).into()),
        is_vetted: false,
    });
    request
}
