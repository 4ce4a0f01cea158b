//! The interface between the pool and a protocol: a protocol opens connections, and a connection carries exchanges of a request and a response.

use std::future::Future;

use bytes::Bytes;
use http::HeaderValue;
use http::request::Parts;
use http_body::Body;
use ziggurat_middleware::BoxError;
use ziggurat_middleware::trace::TRACEPARENT;

use super::failure::Failure;
use super::replay::Upload;
use super::target::Address;

/// A protocol to upstreams.
pub(crate) trait Protocol: Send + Sync + 'static {
    type Connection: Connection;

    /// Whether a connection may carry further exchanges. If not, each request opens its own.
    const KEEPS_CONNECTIONS: bool = true;

    /// Opens a connection that is ready for its first exchange. `tls` is the host of an encrypted connection. The caller bounds the time.
    fn open(&self, address: &Address, tls: Option<&str>) -> impl Future<Output = Result<Self::Connection, Failure>> + Send;

    /// Opens a connection for one exchange alone: one that a shared connection does not take ([`Connection::takes`]), or one with a preface of its own, which are the first octets on it.
    fn open_exclusive(
        &self,
        address: &Address,
        tls: Option<&str>,
        preface: Option<&[u8]>,
    ) -> impl Future<Output = Result<Self::Connection, Failure>> + Send {
        let _ = preface;
        self.open(address, tls)
    }

    /// What says on a connection whose request follows, if anything does. Such a connection carries no request of another client.
    fn preface(&self, _request: &Parts) -> Option<Vec<u8>> {
        None
    }

    /// Tells the upstream of the span that its work belongs to.
    fn set_traceparent(request: &mut http::Request<()>, value: HeaderValue) {
        request.headers_mut().insert(TRACEPARENT, value);
    }

    /// Whether a connection may carry several exchanges at once. Then the pool opens one at a time.
    fn may_share(&self, tls: Option<&str>) -> bool;
}

/// An open connection to an upstream.
pub(crate) trait Connection: Sized + Send + Sync + 'static {
    /// The body of a response.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;

    /// Sends a request and waits for the head of the response. `is_reused` tells whether the connection has carried an exchange before, or was idle. The caller bounds the time. Dropping the
    /// future aborts the exchange.
    fn exchange(
        &mut self,
        request: http::Request<Upload>,
        is_reused: bool,
    ) -> impl Future<Output = Result<http::Response<Self::Body>, Failure>> + Send;

    /// Whether the connection can carry this request at all. It waits until the other side has said so.
    fn takes(&self, _request: &http::Request<Upload>) -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }

    /// Another handle of a connection that carries several exchanges at once.
    fn share(&self) -> Option<Self>;

    /// The most exchanges at once.
    fn capacity(&self) -> usize;

    /// Whether it can carry further exchanges.
    fn is_open(&self) -> bool;

    /// Waits until the next exchange can begin. `false` if there can be none.
    fn ready(&mut self) -> impl Future<Output = bool> + Send;
}
