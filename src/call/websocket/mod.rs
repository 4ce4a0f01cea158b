//! A WebSocket to an app (RFC 6455): the app gets one end of a socket pair, and the server copies between the other end and the client's connection.
//!
//! WSGI has no WebSockets. Libraries take the socket of the connection from the environ and speak the protocol, opening handshake included. So the
//! first octets that the app writes are the head of its response ([`handshake`]). If the app writes nothing and returns, its WSGI response counts.

mod handshake;

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use ziggurat_middleware::{Body, BoxError, Draining, Problem, RequestSummary, Response, TunnelIdle, TunnelRecord, Upgrade};

use self::handshake::{Accepted, Handshake};
use super::head::Head;
use super::responder::Responder;
use super::service::{CancelOnDrop, RequestLimits, deadline_of, head_of, respond};
use super::{Call, Executor, Reply, RequestBody, late, overloaded};
use crate::tunnel::Tunnel;

/// What holds for the WebSockets of an app.
#[derive(Clone, Debug)]
pub(crate) struct WebSocketRules {
    /// How long one may carry nothing. By default the server ends it after its `keep_alive`.
    pub(crate) idle: Option<Duration>,
    pub(crate) draining: Draining,
}

/// How long the app may take to write the head of its response, unless the request has a deadline.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the client's connection may take to switch after the response.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the client may take to close after the app has returned.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes the client's connection out of a request that asks for a WebSocket. Other protocols are not offered to apps, and their requests are ordinary ones
/// (RFC 9110 section 7.8).
pub(super) fn requested(parts: &mut Parts) -> Option<OnUpgrade> {
    let is_offered = parts.extensions.get::<Upgrade>().is_some_and(|upgrade| upgrade.offers("websocket"));
    if is_offered && parts.method == Method::GET { parts.extensions.remove::<OnUpgrade>() } else { None }
}

/// Gives the app its socket. The response is the one that the app writes to the socket, or else its WSGI response.
pub(super) async fn serve<E: Executor>(
    executor: Arc<E>,
    parts: Parts,
    client: OnUpgrade,
    limits: Arc<RequestLimits>,
) -> Result<Response, BoxError> {
    let Some(rules) = limits.websockets.clone() else {
        let problem = Problem::new(StatusCode::NOT_IMPLEMENTED).detail("this app takes no WebSockets");
        return Err(problem.because("a client asks for a WebSocket, and the app's option `websockets` is 0").into());
    };
    let (app_end, server_end) = std::os::unix::net::UnixStream::pair().map_err(Problem::internal)?;
    server_end.set_nonblocking(true).map_err(Problem::internal)?;
    let mut socket = UnixStream::from_std(server_end).map_err(Problem::internal)?;
    let since = Instant::now();
    let deadline = deadline_of(&parts, &limits).unwrap_or(HANDSHAKE_TIMEOUT);
    let summary = RequestSummary::of(&parts.extensions).cloned();
    let (sender, mut reply) = oneshot::channel();
    let call = Call {
        number: 0,
        head: Head::of_websocket(&parts),
        body: RequestBody::WebSocket(app_end.into()),
        responder: Responder::Task(sender),
        hints: None,
        class: 0,
        since: since.into_std(),
        clock: None,
    };
    drop(parts);
    let Ok(number) = executor.submit(call) else {
        let cause = "as many WebSockets are open as the app's option `websockets` allows";
        return Err(overloaded("too many WebSockets are open", cause).into());
    };
    let mut pending = CancelOnDrop::new(executor, number);
    let written = handshake::read(&mut socket, &mut reply);
    let outcome = match since.checked_add(deadline) {
        Some(until) => timeout_at(until, written).await,
        None => Ok(written.await),
    };
    match outcome {
        Ok(Ok(Handshake::Accepted(accepted))) => {
            pending.disarm();
            Ok(switch(accepted, client, socket, reply, summary, rules))
        }
        Ok(Ok(Handshake::Declined(Some(reply)))) => {
            pending.disarm();
            respond(reply, &limits.bodies).await
        }
        Ok(Ok(Handshake::Declined(None))) => {
            pending.disarm();
            Err(Problem::internal("the app neither responded nor wrote to its WebSocket").into())
        }
        Ok(Err(cause)) => Err(Problem::internal(cause).into()),
        Err(_) => Err(late().because(format!("the app did not accept the WebSocket within {deadline:?}")).into()),
    }
}

/// Accepts the upgrade. A task copies between the two sockets afterwards: until both sides have closed, or until a while after the app has returned.
/// Whatever the app responds then is dropped.
fn switch(
    accepted: Accepted,
    client: OnUpgrade,
    socket: UnixStream,
    reply: oneshot::Receiver<Reply>,
    summary: Option<RequestSummary>,
    rules: WebSocketRules,
) -> Response {
    let record = TunnelRecord::default();
    let mut response = head_of(accepted.head, Body::empty());
    response.extensions_mut().insert(record.clone());
    // The tunnel keeps its own time. The limit of the server is for a tunnel that does not.
    if let Some(idle) = rules.idle {
        response.extensions_mut().insert(TunnelIdle(idle.saturating_add(SWITCH_TIMEOUT)));
    }
    tokio::spawn(async move {
        let summary = summary.as_ref();
        let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
        let client = match timeout(SWITCH_TIMEOUT, client).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return tracing::warn!(request_id, request, "the connection of a WebSocket was not switched: {error}"),
            Err(_) => {
                return tracing::warn!(request_id, request, "the connection of a WebSocket was not switched within {SWITCH_TIMEOUT:?}");
            }
        };
        let returned = async {
            if !accepted.has_returned {
                drop(reply.await);
            }
            sleep(CLOSE_TIMEOUT).await;
        };
        let tunnel = Tunnel {
            is_websocket: true,
            idle: rules.idle.unwrap_or(Duration::MAX),
            leave: rules.draining.wait(),
            end: returned,
            first: accepted.rest,
            record: &record,
            totals: None,
        };
        let end = tunnel.run(TokioIo::new(client), socket).await;
        tracing::debug!(request_id, request, "a WebSocket has ended: {end:?}");
    });
    response
}
