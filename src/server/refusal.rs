//! Requests that the server refuses before they reach the stack.

use std::fmt;

use http::StatusCode;

/// The status of the response and the sentence in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// 400 Bad Request.
    pub(super) const fn bad(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// The response as it is sent over HTTP/1. The connection ends with it.
    pub(super) fn to_http1(self) -> String {
        let Self { status, reason } = self;
        let text = format!("{status}\n{reason}\n");
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let retry = if status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 1\r\n" } else { "" };
        format!(
            "HTTP/1.1 {status}\r\n{retry}content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\ndate: {date}\r\n\r\n{text}",
            text.len()
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status.as_u16(), self.reason)
    }
}

impl std::error::Error for Refusal {}
