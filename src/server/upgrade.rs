//! Upgrades of connections (RFC 9110 section 7.8): which requests ask for one, which responses accept it.
//!
//! A WebSocket over HTTP/2 (RFC 8441) has another form on the wire. [`http2::upgrade`](super::http2) gives it this one.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Version;
use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use ziggurat_middleware::{Body, Response, Upgrade};

use super::generation::Generation;
use super::http2::{self, ConnectStream};
use super::refusal::Refusal;

/// What a request offers with regard to an upgrade.
pub(super) struct Offer {
    /// `None` if the stack is not told: nothing is accepted then.
    upgrade: Option<Upgrade>,
    /// Of an extended CONNECT.
    pub(super) stream: Option<ConnectStream>,
}

impl Offer {
    /// The offer of an extended CONNECT, or of an HTTP/1.1 request with an `Upgrade` header. Without the connection option `upgrade` the header has to be
    /// ignored, and it is ignored if the request has a body or names nothing to upgrade to. The stack finds neither an [`Upgrade`] nor an [`OnUpgrade`] then.
    ///
    /// # Errors
    ///
    /// If a request over HTTP/2 or HTTP/3 is a CONNECT that is not supported.
    pub(super) fn of(parts: &mut Parts, has_body: bool) -> Result<Option<Self>, Refusal> {
        let stream = match parts.version {
            Version::HTTP_2 | Version::HTTP_3 => match http2::accept(parts)? {
                Some(stream) => Some(stream),
                None => return Ok(None),
            },
            Version::HTTP_11 if parts.extensions.get::<OnUpgrade>().is_some() => None,
            _ => return Ok(None),
        };
        let upgrade = offered(&parts.headers, has_body);
        match &upgrade {
            Some(upgrade) => _ = parts.extensions.insert(upgrade.clone()),
            None => _ = parts.extensions.remove::<OnUpgrade>(),
        }
        Ok(Some(Self { upgrade, stream }))
    }

    /// Whether a response switches to protocols that were offered.
    pub(super) fn is_accepted_by(&self, response: &Response) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_accepted_by(response))
            && self.stream.as_ref().is_none_or(|stream| stream.is_answered_by(response))
    }
}

/// The upgrade that the headers of a request ask for.
pub(super) fn offered(headers: &HeaderMap, has_body: bool) -> Option<Upgrade> {
    let names_upgrade = |line: &HeaderValue| line.as_bytes().split(|octet| *octet == b',').any(is_upgrade);
    let is_offered = !has_body && headers.get_all(CONNECTION).iter().any(names_upgrade);
    is_offered.then(|| Upgrade::new(headers.get_all(UPGRADE).iter().cloned())).filter(|upgrade| !upgrade.is_empty())
}

fn is_upgrade(option: &[u8]) -> bool {
    option.trim_ascii().eq_ignore_ascii_case(b"upgrade")
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
    /// The longest silence.
    pub(super) idle: Duration,
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
