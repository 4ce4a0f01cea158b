//! What a way to speak to upstreams is to the pool: a protocol opens connections, and a connection carries exchanges of a request and a response.

use std::future::Future;

use bytes::Bytes;
use http_body::Body;
use ziggurat_middleware::BoxError;

use super::failure::Failure;
use super::replay::Upload;
use super::target::Address;

/// A way to speak to upstreams.
pub(crate) trait Protocol: Send + Sync + 'static {
    type Connection: Connection;

    /// Opens a connection that is ready for its first exchange. `tls` is the host to ask for where the connection is encrypted. It does not keep the time.
    fn open(&self, address: &Address, tls: Option<&str>) -> impl Future<Output = Result<Self::Connection, Failure>> + Send;

    /// Whether a connection may turn out to carry several exchanges at once, so that a second one is opened only when the first is full.
    fn may_share(&self, tls: Option<&str>) -> bool;
}

/// An open connection to an upstream.
pub(crate) trait Connection: Sized + Send + Sync + 'static {
    /// The body of a response.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;

    /// Sends a request and waits for the head of the response. `is_reused` says that it is not the first on this connection. It does not keep the time; an exchange that is
    /// dropped ends on the wire too.
    fn exchange(
        &mut self,
        request: http::Request<Upload>,
        is_reused: bool,
    ) -> impl Future<Output = Result<http::Response<Self::Body>, Failure>> + Send;

    /// Another handle of a connection that carries several exchanges at once.
    fn share(&self) -> Option<Self>;

    /// How many exchanges it carries at once.
    fn capacity(&self) -> usize;

    /// Whether it may carry another exchange after those that run.
    fn is_open(&self) -> bool;

    /// Ready when the next exchange can begin, with `false` where there can be none.
    fn ready(&mut self) -> impl Future<Output = bool> + Send;
}
