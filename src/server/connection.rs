//! A connection: a socket, through the transports of its listener, to the protocol.

use std::sync::Arc;

use super::connection_table::ConnectionGuard;
use super::generation::CurrentGeneration;
use super::http;
use super::io::{Connection, Io};
use super::limits::Limits;
use super::listen::{Listen, Protocol, Transport};
use super::socket::Socket;

/// Serves one client until its connection ends.
pub(super) async fn run(socket: Socket, listen: Arc<Listen>, current: Arc<CurrentGeneration>, limits: Arc<Limits>, guard: ConnectionGuard) {
    // This fails if the client has disconnected.
    let Ok(info) = socket.info(listen.transport.scheme()) else { return };
    match listen.transport {
        Transport::Plain => serve(Connection { stream: socket, info }, listen.protocol, current, limits, guard).await,
    }
}

/// Serves a client behind all transports.
async fn serve<S: Io>(
    connection: Connection<S>,
    protocol: Protocol,
    current: Arc<CurrentGeneration>,
    limits: Arc<Limits>,
    guard: ConnectionGuard,
) {
    match protocol {
        Protocol::Http => http::serve(connection, current, limits, guard).await,
    }
}
