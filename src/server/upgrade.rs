//! Upgrades of HTTP/1.1 connections (RFC 9110 section 7.8): which requests ask for one, which responses accept it.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use ziggurat_middleware::{Body, Response};

use super::generation::Generation;

/// The protocols that a request offers to switch to: its `Upgrade` header.
pub(super) struct Offer(Vec<HeaderValue>);

impl Offer {
    /// The offer of an HTTP/1.1 request with an `Upgrade` header. Without the connection option `upgrade` the header has to be ignored, and it is
    /// ignored if the request has a body. The offer is empty then, and the stack finds no [`OnUpgrade`].
    pub(super) fn of(parts: &mut Parts, has_body: bool) -> Option<Self> {
        if parts.version != Version::HTTP_11 || parts.extensions.get::<OnUpgrade>().is_none() {
            return None;
        }
        if !has_body && tokens(&parts.headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade")) {
            return Some(Self(parts.headers.get_all(UPGRADE).iter().cloned().collect()));
        }
        parts.extensions.remove::<OnUpgrade>();
        Some(Self(Vec::new()))
    }

    /// Whether a response switches to protocols that were offered.
    pub(super) fn is_accepted_by(&self, response: &Response) -> bool {
        let offered = |protocol: &str| self.0.iter().flat_map(list).any(|offered| offered.eq_ignore_ascii_case(protocol));
        let mut chosen = tokens(response.headers(), &UPGRADE).peekable();
        response.status() == StatusCode::SWITCHING_PROTOCOLS && chosen.peek().is_some() && chosen.all(offered)
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().flat_map(list)
}

fn list(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

/// What the stack decided about the offer under way. The response future writes it. The guard in front of hyper, which passes on nothing behind such
/// a request before, and the connection's task read it.
#[derive(Default)]
pub(super) struct Decision {
    state: AtomicU8,
    upgraded: Mutex<Option<Upgraded>>,
}

/// What an upgraded connection keeps until it ends.
pub(super) struct Upgraded {
    /// The response's body, which is not sent. A layer that waits for the end of the body (`access_log`) sees the end of the tunnel.
    pub(super) _body: Body,
    /// The stack that accepted the upgrade.
    pub(super) _generation: Arc<Generation>,
    /// The longest silence, if the stack limits it.
    pub(super) idle: Option<Duration>,
}

const UNDECIDED: u8 = 0;
const DECLINED: u8 = 1;
const ACCEPTED: u8 = 2;

impl Decision {
    pub(super) fn accept(&self, upgraded: Upgraded) {
        *self.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgraded);
        self.state.store(ACCEPTED, Relaxed);
    }

    pub(super) fn decline(&self) {
        self.state.store(DECLINED, Relaxed);
    }

    /// Whether the offer was accepted, once after each decision.
    pub(super) fn take(&self) -> Option<bool> {
        match self.state.swap(UNDECIDED, Relaxed) {
            UNDECIDED => None,
            state => Some(state == ACCEPTED),
        }
    }

    /// What the connection is to keep if it was upgraded.
    pub(super) fn take_upgraded(&self) -> Option<Upgraded> {
        self.upgraded.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_accepted(offer: &[&'static str], status: u16, upgrade: &[&'static str]) -> bool {
        let mut response = http::Response::builder().status(status);
        for protocol in upgrade {
            response = response.header(UPGRADE, *protocol);
        }
        let offer = Offer(offer.iter().map(|protocols| HeaderValue::from_static(protocols)).collect());
        offer.is_accepted_by(&response.body(Body::empty()).unwrap())
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
}
