//! A request that delivers something to a collector (OTLP/HTTP 1.x): bounded in time and in what is read of the response.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use ziggurat_middleware::{Body, Client, Request};

use super::collector::{Compression, headers};

/// The longest time for a request to the collector, with its response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most that is read of a response.
const MAX_RESPONSE: usize = 64 << 10;

/// Delivers messages to one URL of a collector.
pub(crate) struct Delivery {
    client: Client,
    url: Uri,
    headers: HeaderMap,
    compression: Compression,
}

/// A message as it is sent.
#[derive(Clone)]
pub(crate) struct Packed {
    octets: Bytes,
    is_gzip: bool,
}

/// Why a message was not taken.
pub(crate) struct Failure {
    pub(crate) cause: String,
    /// Whether it may be sent again, and what the collector says about when.
    pub(crate) retry: Option<Option<Duration>>,
}

impl Delivery {
    pub(crate) fn new(client: Client, url: Uri, options: &BTreeMap<String, String>, compression: Compression) -> Self {
        Self { client, url, headers: headers(options), compression }
    }

    pub(crate) const fn url(&self) -> &Uri {
        &self.url
    }

    /// Packs a message. It is compressed on another thread, because it may be long.
    pub(crate) async fn pack(&self, message: Vec<u8>) -> Packed {
        let message = Bytes::from(message);
        let octets = message.clone();
        let packed = match self.compression {
            Compression::None => None,
            Compression::Gzip => spawn_blocking(move || gzip(&octets)).await.ok().and_then(Result::ok),
        };
        let is_gzip = packed.is_some();
        Packed { octets: packed.map_or(message, Bytes::from), is_gzip }
    }

    /// Sends it once. Returns the body of the response, as far as it was read.
    pub(crate) async fn send(&self, message: Packed) -> Result<Option<Bytes>, Failure> {
        let late = |_| Failure { cause: "there is no response in time".to_owned(), retry: Some(None) };
        timeout(TIMEOUT, self.exchange(message)).await.map_err(late)?
    }

    async fn exchange(&self, message: Packed) -> Result<Option<Bytes>, Failure> {
        let mut request = Request::new(Body::from(message.octets));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if message.is_gzip {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let unreachable = |error| Failure { cause: format!("the collector cannot be reached: {error}"), retry: Some(None) };
        let (head, body) = self.client.send(request).await.map_err(unreachable)?.into_parts();
        let body = Limited::new(body, MAX_RESPONSE).collect().await;
        if head.status.is_success() {
            // The message was taken, whatever else the response says.
            return Ok(body.ok().map(http_body_util::Collected::to_bytes));
        }
        let is_retryable = matches!(
            head.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        let cause = format!("the collector has answered {}", head.status.as_u16());
        Err(Failure { cause, retry: is_retryable.then(|| retry_after(&head.headers)) })
    }
}

/// The fastest level: the names of attributes come again and again.
fn gzip(message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(message)?;
    encoder.finish()
}

/// The pause that a `Retry-After` asks for (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok(),
    }
}
