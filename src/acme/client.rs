//! HTTP to a directory, on the client of the program: bounded in time and length, with a memory of what the ACME library forgets.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER, USER_AGENT};
use http_body_util::{BodyExt, Limited};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::time::timeout;
use ziggurat_middleware::{Body, BoxError, Client};

/// The HTTP client that the ACME library calls.
#[derive(Clone)]
pub(super) struct DirectoryClient {
    client: Client,
    last: Arc<Mutex<LastResponse>>,
}

/// What the last response said beside its body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastResponse {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
}

/// The longest time for one request and its response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A bound on the length of a response.
const LONGEST_RESPONSE: usize = 1 << 20;

const PRODUCT: &str = concat!("ziggurat/", env!("CARGO_PKG_VERSION"));

impl DirectoryClient {
    pub(super) fn new(client: Client) -> Self {
        Self { client, last: Arc::default() }
    }

    pub(super) fn last(&self) -> LastResponse {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(self, request: http::Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        self.note(LastResponse::default());
        let shown = request.uri().clone();
        let mut request = request.map(Body::new);
        if let Ok(agent) = HeaderValue::from_str(&match request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
            Some(library) => format!("{PRODUCT} {library}"),
            None => PRODUCT.to_owned(),
        }) {
            request.headers_mut().insert(USER_AGENT, agent);
        }
        let exchange = async {
            let (parts, body) = self.client.send(request).await?.into_parts();
            self.note(LastResponse { status: parts.status.as_u16(), retry_after: parts.headers.get(RETRY_AFTER).and_then(retry_after) });
            let body = Limited::new(body, LONGEST_RESPONSE).collect().await?.to_bytes();
            Ok::<_, BoxError>(BytesResponse { parts, body: Box::new(body) })
        };
        match timeout(REQUEST_TIMEOUT, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Error::Other(NoResponse(format!("cannot ask `{shown}`: {}", chain(&*error))).into())),
            Err(_) => Err(Error::Other(NoResponse(format!("`{shown}` did not answer within {} s", REQUEST_TIMEOUT.as_secs())).into())),
        }
    }

    fn note(&self, response: LastResponse) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = response;
    }
}

impl HttpClient for DirectoryClient {
    fn request(&self, request: http::Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

/// No response came, or not a whole one.
#[derive(Debug)]
struct NoResponse(String);

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoResponse {}

/// Whether no response came.
pub(super) fn is_no_response(error: &Error) -> bool {
    matches!(error, Error::Other(error) if error.is::<NoResponse>())
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// Seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parsed = |text: &str| retry_after(&HeaderValue::from_str(text).unwrap());
        assert_eq!(parsed("3600"), Some(Duration::from_secs(3600)));
        assert_eq!(parsed("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parsed("soon"), None);
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(parsed(&later).is_some_and(|time| (95..=100).contains(&time.as_secs())));
    }
}
