//! FastCGI, SCGI and uwsgi to upstreams. A task drives each connection; what the octets mean is in [`crate::gateway`].

mod driver;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use tokio::sync::{mpsc, oneshot, watch};
use ziggurat_middleware::Place;

use self::driver::Driver;
use super::dial::dial;
use super::failure::{Failure, FailureKind, FailurePhase};
use super::protocol::{Connection, Protocol};
use super::replay::Upload;
use super::target::Address;
use crate::body_channel::ChannelBody;
use crate::gateway::Variables;
use crate::gateway::back::BackProtocol;

/// A protocol to gateway apps.
pub(crate) struct Gateway {
    pub(crate) protocol: BackProtocol,
    /// For the lines that an app writes to its standard error.
    pub(crate) place: Place,
}

/// What an app is told of a request: an extension of the request.
#[derive(Clone, Debug)]
pub(crate) struct GatewayRequest {
    pub(crate) variables: Arc<Variables>,
    /// The length of the body.
    pub(crate) length: u64,
}

/// An open connection.
pub(crate) struct GatewayConnection {
    exchanges: mpsc::Sender<Exchange>,
    is_idle: Arc<watch::Sender<bool>>,
}

/// A request on its way to the task of a connection.
struct Exchange {
    request: Request<Upload>,
    reply: oneshot::Sender<Result<Response<ChannelBody>, Failure>>,
    /// Whether the task has begun to send it.
    is_begun: Arc<AtomicBool>,
    /// Whether the connection may have been closed before it saw the request.
    is_reused: bool,
}

impl Protocol for Gateway {
    type Connection = GatewayConnection;

    async fn open(&self, address: &Address, _: Option<&str>) -> Result<GatewayConnection, Failure> {
        let io = dial(address, &[], None).await?.io.into_inner();
        let (exchanges, received) = mpsc::channel(1);
        let is_idle = Arc::new(watch::Sender::new(true));
        let driver = Driver::new(io, self.protocol, self.place.clone(), address.to_string());
        tokio::spawn(driver.run(received, Arc::clone(&is_idle)));
        Ok(GatewayConnection { exchanges, is_idle })
    }

    fn set_traceparent(request: &mut Request<()>, value: HeaderValue) {
        if let Some(GatewayRequest { variables, .. }) = request.extensions_mut().get_mut() {
            Arc::make_mut(variables).replace("HTTP_TRACEPARENT", Bytes::copy_from_slice(value.as_bytes()));
        }
    }

    fn may_share(&self, _: Option<&str>) -> bool {
        false
    }
}

impl Connection for GatewayConnection {
    type Body = ChannelBody;

    async fn exchange(&mut self, request: Request<Upload>, is_reused: bool) -> Result<Response<ChannelBody>, Failure> {
        let closed = || Failure::new(FailureKind::Unsent, FailurePhase::Head, "the connection was closed before the request");
        let (reply, answered) = oneshot::channel();
        let is_begun = Arc::new(AtomicBool::new(false));
        self.is_idle.send_replace(false);
        let exchange = Exchange { request, reply, is_begun: Arc::clone(&is_begun), is_reused };
        if self.exchanges.send(exchange).await.is_err() {
            return Err(closed());
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) if !is_begun.load(SeqCst) => Err(closed()),
            Err(_) => Err(Failure::new(FailureKind::Reset, FailurePhase::Head, "the exchange was given up")),
        }
    }

    fn share(&self) -> Option<Self> {
        None
    }

    fn capacity(&self) -> usize {
        1
    }

    fn is_open(&self) -> bool {
        !self.exchanges.is_closed()
    }

    async fn ready(&mut self) -> bool {
        self.is_idle.subscribe().wait_for(|is_idle| *is_idle).await.is_ok() && self.is_open()
    }
}
