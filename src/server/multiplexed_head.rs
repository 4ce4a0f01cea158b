//! The head of a response as HTTP/2 and HTTP/3 have it.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use ziggurat_middleware::hop_by_hop;

use super::response_body::ResponseBody;

/// Removes the fields that are about a connection of HTTP/1 (RFC 9113 section 8.2.2, RFC 9114 section 4.2), and adds `Date` and the length of the body, if it is known.
pub(super) fn complete(parts: &mut Parts, body: &ResponseBody) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    hop_by_hop::remove_named_by_connection(&mut parts.headers);
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        parts.headers.remove(name);
    }
    parts.headers.entry(DATE).or_insert_with(now);
    let has_body = !body.is_end_stream() && parts.status != StatusCode::NO_CONTENT && parts.status != StatusCode::NOT_MODIFIED;
    if let Some(length) = body.size_hint().exact().filter(|_| has_body) {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

/// The head of a hint (103, RFC 8297).
pub(super) fn hint(fields: HeaderMap) -> Response<()> {
    let mut hint = Response::new(());
    *hint.status_mut() = StatusCode::EARLY_HINTS;
    *hint.headers_mut() = fields;
    hint
}

/// The head that asks the client for the body it waits with (100, RFC 9110 section 10.1.1).
pub(super) fn go_on() -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::CONTINUE;
    head
}

/// The `Date` of this second. Each thread writes it once.
fn now() -> HeaderValue {
    thread_local! {
        static LATEST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
    }
    let second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    LATEST.with_borrow_mut(|latest| match latest {
        Some((written, date)) if *written == second => date.clone(),
        latest => {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            let date = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
            latest.insert((second, date)).1.clone()
        }
    })
}
