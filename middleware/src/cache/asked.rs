//! What a request means to the cache.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, Method};
use http_body::Body as _;

use super::control::RequestControl;
use super::key::{IgnoredParameters, url};
use super::status::Why;
use crate::{Authenticated, RemoteUser, Request, TlsInfo, Upgrade};

/// A request, as the cache sorts it.
#[derive(Debug)]
pub(super) enum Kind {
    /// It may be answered from the cache.
    Lookup(Asked),
    /// It changes what its URL stands for (RFC 9111 section 4.4).
    Unsafe(String),
    /// It passes.
    Pass(Why),
    /// It may become a tunnel, which is no business of caches.
    Tunnel,
}

/// A request that may be answered from the cache.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) url: Arc<str>,
    pub(super) method: Method,
    pub(super) control: RequestControl,
    /// The response may be for this user alone.
    pub(super) is_personal: bool,
    pub(super) is_range: bool,
}

impl Asked {
    /// Whether the response to this request may be stored, and may be that to others.
    pub(super) fn may_fill(&self) -> bool {
        self.method == Method::GET && !self.is_range && !self.control.no_store
    }

    /// Whether one response will do for this request and others.
    pub(super) fn is_shared(&self) -> bool {
        self.may_fill() && self.control.is_plain() && !self.is_personal
    }
}

impl Kind {
    pub(super) fn of(request: &Request, ignored: &IgnoredParameters, obeys: bool) -> Self {
        let (method, headers) = (request.method(), request.headers());
        if *method == Method::CONNECT || request.extensions().get::<Upgrade>().is_some() {
            return Self::Tunnel;
        }
        if *method != Method::GET && *method != Method::HEAD {
            return if method.is_safe() { Self::Pass(Why::Method) } else { Self::Unsafe(url(request, ignored)) };
        }
        // Such a host could make the URL of one site look like that of another.
        let is_odd = headers.get(HOST).is_some_and(|host| host.as_bytes().iter().any(|octet| b"/?#@\\ ".contains(octet)));
        if is_odd || !request.body().is_end_stream() || headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE) {
            return Self::Pass(Why::Bypass);
        }
        Self::Lookup(Asked {
            url: url(request, ignored).into(),
            method: method.clone(),
            control: if obeys { RequestControl::of(headers) } else { RequestControl::default() },
            is_personal: is_personal(request),
            is_range: headers.contains_key(RANGE),
        })
    }
}

/// Whether the request says who its client is, in a way that `Vary` does not list.
fn is_personal(request: &Request) -> bool {
    let facts = request.extensions();
    let has_certificate = || facts.get::<TlsInfo>().is_some_and(|tls| tls.client.is_some());
    let is_authenticated = || facts.get::<RemoteUser>().is_some() || facts.get::<Authenticated>().is_some();
    request.headers().contains_key(AUTHORIZATION) || is_authenticated() || has_certificate()
}

/// Removes the headers that a stored response answers, so that the app sends all of it.
pub(super) fn without_conditions(headers: &mut HeaderMap) {
    for name in super::respond::CONDITIONS {
        headers.remove(name);
    }
}
