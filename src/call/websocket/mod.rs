//! A WebSocket to an app (RFC 6455): the app gets one end of a socket pair, and the server copies between the other end and the client's connection.
//!
//! WSGI has no WebSockets. Libraries take the socket of the connection from the environ and speak the protocol, opening handshake included. So the
//! first octets that the app writes are the head of its response ([`handshake`]). If the app writes nothing and returns, its WSGI response counts.

mod close;
mod frames;
mod handshake;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::UPGRADE;
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use ziggurat_middleware::{Body, BoxError, Problem, RequestId, Response, TunnelOctets};

use self::close::ClosingStream;
use self::handshake::{Accepted, Handshake};
use super::head::Head;
use super::responder::Responder;
use super::service::{CancelOnDrop, RequestLimits, deadline_of, head_of, respond};
use super::{Call, Executor, Reply, RequestBody, late, overloaded};
use crate::upstream::{End, tunnel};

/// How long the app may take to write the head of its response, unless the request has a deadline.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the client's connection may take to switch after the response.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the client may take to close after the app has returned.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a tunnel may carry nothing. The server ends it before that, after `keep_alive`.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes the client's connection out of a request that asks for a WebSocket over HTTP/1.1 (RFC 6455 section 4.1). Other protocols are not offered to
/// apps, and their requests are ordinary ones (RFC 9110 section 7.8).
pub(super) fn requested(parts: &mut Parts) -> Option<OnUpgrade> {
    let mut protocols = parts.headers.get_all(UPGRADE).iter().flat_map(|line| line.as_bytes().split(|octet| *octet == b','));
    let is_requested = parts.method == Method::GET && protocols.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"websocket"));
    if is_requested { parts.extensions.remove::<OnUpgrade>() } else { None }
}

/// Gives the app its socket. The response is the one that the app writes to the socket, or else its WSGI response.
pub(super) async fn serve<E: Executor>(
    executor: Arc<E>,
    parts: Parts,
    client: OnUpgrade,
    limits: RequestLimits,
) -> Result<Response, BoxError> {
    if !limits.takes_websockets {
        let problem = Problem::new(StatusCode::NOT_IMPLEMENTED).detail("this app takes no WebSockets");
        return Err(problem.because("a client asks for a WebSocket, and the app's option `websockets` is 0").into());
    }
    let (app_end, server_end) = std::os::unix::net::UnixStream::pair().map_err(Problem::internal)?;
    server_end.set_nonblocking(true).map_err(Problem::internal)?;
    let mut socket = UnixStream::from_std(server_end).map_err(Problem::internal)?;
    let since = Instant::now();
    let deadline = deadline_of(&parts, limits).unwrap_or(HANDSHAKE_TIMEOUT);
    let request_id = parts.extensions.get::<RequestId>().cloned();
    let (sender, mut reply) = oneshot::channel();
    let call = Call {
        number: 0,
        head: Head::of_websocket(&parts),
        body: RequestBody::WebSocket(app_end.into()),
        responder: Responder::Task(sender),
        class: 0,
        since: since.into_std(),
    };
    drop(parts);
    let Ok(number) = executor.submit(call) else {
        let cause = "as many WebSockets are open as the app's option `websockets` allows";
        return Err(overloaded("too many WebSockets are open", cause).into());
    };
    let mut pending = CancelOnDrop::new(&*executor, number);
    let written = handshake::read(&mut socket, &mut reply);
    let outcome = match since.checked_add(deadline) {
        Some(until) => timeout_at(until, written).await,
        None => Ok(written.await),
    };
    match outcome {
        Ok(Ok(Handshake::Accepted(accepted))) => {
            pending.disarm();
            Ok(switch(accepted, client, socket, reply, request_id))
        }
        Ok(Ok(Handshake::Declined(Some(reply)))) => {
            pending.disarm();
            respond(reply)
        }
        Ok(Ok(Handshake::Declined(None))) => {
            pending.disarm();
            Err(Problem::internal("the app neither responded nor wrote to its WebSocket").into())
        }
        Ok(Err(cause)) => Err(Problem::internal(cause).into()),
        Err(_) => Err(late().because(format!("the app did not accept the WebSocket within {deadline:?}")).into()),
    }
}

/// Accepts the upgrade. A task copies between the two sockets afterwards.
fn switch(
    accepted: Accepted,
    client: OnUpgrade,
    socket: UnixStream,
    reply: oneshot::Receiver<Reply>,
    request_id: Option<RequestId>,
) -> Response {
    let octets = TunnelOctets::default();
    let mut response = head_of(accepted.head, Body::empty());
    response.extensions_mut().insert(octets.clone());
    tokio::spawn(async move {
        let request_id = request_id.as_ref().map(RequestId::as_str);
        match timeout(SWITCH_TIMEOUT, client).await {
            Ok(Ok(client)) => {
                let returned = async {
                    if !accepted.has_returned {
                        drop(reply.await);
                    }
                };
                let end = copy(TokioIo::new(client), socket, accepted.rest, returned, &octets).await;
                tracing::debug!(request_id, "a WebSocket has ended: {end:?}");
            }
            Ok(Err(error)) => tracing::warn!(request_id, "the connection of a WebSocket was not switched: {error}"),
            Err(_) => tracing::warn!(request_id, "the connection of a WebSocket was not switched within {SWITCH_TIMEOUT:?}"),
        }
    });
    response
}

/// Copies until both sides have closed, or until a while after the app has returned. Whatever the app responds now is dropped.
async fn copy(
    client: TokioIo<hyper::upgrade::Upgraded>,
    socket: UnixStream,
    rest: Bytes,
    returned: impl Future<Output = ()>,
    octets: &TunnelOctets,
) -> End {
    let mut client = ClosingStream::new(client);
    let returned = async {
        returned.await;
        sleep(CLOSE_TIMEOUT).await;
    };
    let end = match client.write_all(&rest).await {
        Ok(()) => {
            octets.sent().add(rest.len() as u64);
            tunnel(&mut client, socket, IDLE, returned, octets, None).await.end
        }
        Err(error) => End::Broken(error),
    };
    // A client that is gone or takes nothing gets no Close frame.
    let _ = timeout(CLOSE_TIMEOUT, client.shutdown()).await;
    end
}
