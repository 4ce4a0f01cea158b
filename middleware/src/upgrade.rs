//! Upgrades of a client's connection to another protocol, such as WebSocket (RFC 9110 section 7.8, RFC 6455, RFC 8441).
//!
//! HTTP/1.1 and HTTP/2 ask for a WebSocket in different ways. A stack sees one: the request is a GET with the headers `Connection`, `Upgrade`,
//! `Sec-WebSocket-Version` and `Sec-WebSocket-Key`, it has an [`Upgrade`] among its extensions, and the response that accepts has status 101.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use http::header::{HeaderValue, UPGRADE};
use http::{Response, StatusCode};

use crate::metrics::Counter;

/// The upgrade that a request asks for. The server puts it into the extensions of a request whose connection can be upgraded, beside the connection
/// itself: hyper's `OnUpgrade`.
///
/// An app accepts the upgrade by a response with status 101 that names one of the protocols in `Upgrade`. It may add a [`TunnelIdle`] and a [`TunnelRecord`].
/// With any other response, the request was an ordinary one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade(Vec<HeaderValue>);

impl Upgrade {
    /// An upgrade to one of the protocols in these values of `Upgrade`, without versions of HTTP (`h2c`, which RFC 9113 section 3.1 has made obsolete) and TLS: the requests inside would pass
    /// every layer unseen.
    pub fn new(protocols: impl IntoIterator<Item = HeaderValue>) -> Self {
        Self(protocols.into_iter().filter_map(without_http).collect())
    }

    /// Whether there is no protocol to upgrade to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.protocols().next().is_none()
    }

    /// The values of `Upgrade`.
    #[must_use]
    pub fn values(&self) -> &[HeaderValue] {
        &self.0
    }

    /// The protocols that the client offers, in its order.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(list)
    }

    /// Whether the client offers this protocol. The case of letters does not count.
    #[must_use]
    pub fn offers(&self, protocol: &str) -> bool {
        self.protocols().any(|offered| offered.eq_ignore_ascii_case(protocol))
    }

    /// Whether a response accepts the upgrade: its status is 101, and `Upgrade` names offered protocols.
    #[must_use]
    pub fn is_accepted_by<B>(&self, response: &Response<B>) -> bool {
        let mut chosen = response.headers().get_all(UPGRADE).iter().flat_map(list).peekable();
        response.status() == StatusCode::SWITCHING_PROTOCOLS && chosen.peek().is_some() && chosen.all(|protocol| self.offers(protocol))
    }
}

fn without_http(value: HeaderValue) -> Option<HeaderValue> {
    // Others may read what is no text here.
    if value.to_str().is_ok() && !list(&value).any(is_http) {
        return Some(value);
    }
    let others: Vec<&str> = list(&value).filter(|protocol| !is_http(protocol)).collect();
    HeaderValue::try_from(others.join(", ")).ok().filter(|others| !others.is_empty())
}

/// Whether a protocol carries requests of HTTP.
fn is_http(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    ["h2c", "h2", "h3", "http", "https", "tls"].iter().any(|known| name.trim_end().eq_ignore_ascii_case(known))
}

fn list(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

/// How long an upgraded connection may be silent in both directions. An app that accepts an upgrade puts it into the extensions of its 101 response.
/// Without it the server closes the connection after its `keep_alive` time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelIdle(pub Duration);

/// What has passed through an upgraded connection. An app that accepts an upgrade puts it into the extensions of its 101 response and keeps it up to date while
/// the connection lasts.
#[derive(Clone, Debug, Default)]
pub struct TunnelRecord(Arc<Record>);

#[derive(Debug, Default)]
struct Record {
    received: Counter,
    sent: Counter,
    /// 0 for none.
    close_code: AtomicU16,
}

impl TunnelRecord {
    /// Octets from the client.
    #[must_use]
    pub fn received(&self) -> &Counter {
        &self.0.received
    }

    /// Octets to the client.
    #[must_use]
    pub fn sent(&self) -> &Counter {
        &self.0.sent
    }

    /// The status code of the first Close frame of a WebSocket, in either direction (RFC 6455 section 7.4); 1005 for a frame without one (section 7.1.5).
    /// `None` if there was no Close frame.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        Some(self.0.close_code.load(Relaxed)).filter(|code| *code != 0)
    }

    /// Notes the status code of a Close frame. The first one counts.
    pub fn note_close(&self, code: u16) {
        let _ = self.0.close_code.compare_exchange(0, code, Relaxed, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_accepted(offer: &[&'static str], status: u16, upgrade: &[&'static str]) -> bool {
        let mut response = Response::builder().status(status);
        for protocol in upgrade {
            response = response.header(UPGRADE, *protocol);
        }
        let offer = Upgrade::new(offer.iter().map(|protocols| HeaderValue::from_static(protocols)));
        offer.is_accepted_by(&response.body(()).unwrap())
    }

    #[test]
    fn http_is_nothing_to_upgrade_to() {
        let left = |value: &'static [u8]| Upgrade::new([HeaderValue::from_bytes(value).unwrap()]);
        for value in [&b"h2c"[..], b"H2C", b"HTTP/2.0, TLS/1.2", b"h2c , http / 2", b"h2c\xff", b"", b" ,"] {
            assert!(left(value).is_empty(), "{value:?}");
        }
        assert_eq!(left(b"websocket, h2c,a/1").values(), [HeaderValue::from_static("websocket, a/1")]);
        assert_eq!(left(b"WebSocket").values(), [HeaderValue::from_static("WebSocket")]);
        assert!(!is_accepted(&["h2c"], 101, &["h2c"]));
    }

    #[test]
    fn only_a_101_that_names_offered_protocols_accepts() {
        assert!(is_accepted(&["websocket"], 101, &["WebSocket"]));
        assert!(is_accepted(&["h2c, a/1", "b"], 101, &["a/1", "B"]));
        assert!(!is_accepted(&["websocket"], 200, &["websocket"]));
        assert!(!is_accepted(&["websocket"], 101, &[]));
        assert!(!is_accepted(&["websocket"], 101, &["h2c"]));
        assert!(!is_accepted(&["websocket"], 101, &["websocket, h2c"]));
        assert!(!is_accepted(&[], 101, &["websocket"]));
    }

    #[test]
    fn the_first_close_frame_counts() {
        let record = TunnelRecord::default();
        assert_eq!(record.close_code(), None);
        record.clone().note_close(1001);
        record.note_close(1000);
        assert_eq!(record.close_code(), Some(1001));
    }
}
