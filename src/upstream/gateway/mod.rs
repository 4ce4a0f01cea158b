//! FastCGI, SCGI and uwsgi to upstreams. A task drives each connection; what the octets mean is in [`crate::gateway`].
//!
//! Each request has a connection of its own, also by FastCGI, whose connections could be kept. A child of PHP-FPM serves nobody else while its connection is open: requests on further connections
//! would wait until it ends, and those on this one wait for a script that goes on after its response, or fail if the child ends.

mod driver;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use tokio::sync::oneshot;
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

/// A connection.
pub(crate) struct GatewayConnection {
    /// `None` after the exchange has begun.
    driver: Option<Driver>,
    /// Closed by the task at the end of the exchange. Dropping it ends the exchange.
    exchange: Option<oneshot::Sender<Infallible>>,
}

impl Protocol for Gateway {
    type Connection = GatewayConnection;
    const KEEPS_CONNECTIONS: bool = false;

    async fn open(&self, address: &Address, _: Option<&str>) -> Result<GatewayConnection, Failure> {
        let io = dial(address, &[], None).await?.io.into_inner();
        let driver = Driver::new(io, self.protocol, self.place.clone(), address.to_string());
        Ok(GatewayConnection { driver: Some(driver), exchange: None })
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

    async fn exchange(&mut self, request: Request<Upload>, _: bool) -> Result<Response<ChannelBody>, Failure> {
        let failed = |kind, text| Failure::new(kind, FailurePhase::Head, text);
        let Some(driver) = self.driver.take() else {
            return Err(failed(FailureKind::Unsent, "the connection has carried its request"));
        };
        let (reply, answered) = oneshot::channel();
        let (exchange, is_abandoned) = oneshot::channel();
        self.exchange = Some(exchange);
        tokio::spawn(driver.run(request, reply, is_abandoned));
        answered.await.unwrap_or_else(|_| Err(failed(FailureKind::Reset, "the exchange was given up")))
    }

    fn share(&self) -> Option<Self> {
        None
    }

    fn capacity(&self) -> usize {
        1
    }

    fn is_open(&self) -> bool {
        self.exchange.as_ref().is_none_or(|exchange| !exchange.is_closed())
    }

    /// The app has not ended its response yet when the client has all of it.
    async fn ready(&mut self) -> bool {
        if let Some(exchange) = &mut self.exchange {
            exchange.closed().await;
        }
        false
    }
}
