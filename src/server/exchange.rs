//! One request and its response, as the metrics see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;
use tokio::time::Instant;
use ziggurat_middleware::RequestSummary;

use super::connection_table::ConnectionGuard;
use super::request_metrics::EndedRequest;

/// A request from its head to the last octet of its response. It is counted once, at its end.
pub(super) struct Exchange {
    begin: Instant,
    /// Of a request that has entered the stack. It knows who has answered.
    summary: Option<RequestSummary>,
    status: Option<StatusCode>,
    /// Of a request with a body, which is counted elsewhere.
    received: Option<Arc<AtomicU64>>,
    sent: u64,
}

impl Exchange {
    /// The head of a request is there.
    pub(super) fn begin() -> Self {
        Self { begin: Instant::now(), summary: None, status: None, received: None, sent: 0 }
    }

    /// The number of octets of the request's body, which the body is to count.
    pub(super) fn received(&mut self) -> Arc<AtomicU64> {
        Arc::clone(self.received.get_or_insert_default())
    }

    /// The request enters the stack.
    pub(super) fn enter(&mut self, summary: RequestSummary) {
        self.summary = Some(summary);
    }

    pub(super) const fn summary(&self) -> Option<&RequestSummary> {
        self.summary.as_ref()
    }

    /// The head of the response is there.
    pub(super) const fn respond(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Octets of the response's body are handed over.
    pub(super) const fn send(&mut self, octets: usize) {
        self.sent += octets as u64;
    }

    /// Counts it. An HTTP/1 request without a response gets one from the connection's task if the connection is cut off or evicted.
    pub(super) fn count(self, connection: &ConnectionGuard, is_stream: bool, now: Instant) {
        let status = self.status.or_else(|| match is_stream {
            true => None,
            false if connection.is_evicted() => Some(StatusCode::REQUEST_TIMEOUT),
            false => connection.is_cut().then_some(StatusCode::SERVICE_UNAVAILABLE),
        });
        let received = self.received.map_or(0, |received| received.load(Relaxed));
        let ended = EndedRequest { status, time: Some(now - self.begin), received, sent: self.sent };
        match &self.summary {
            Some(summary) => connection.count_end(summary.answered_by(), &ended),
            None => connection.count_refusal(&ended),
        }
    }
}
