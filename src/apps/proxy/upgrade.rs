//! Upgrades to another protocol, such as WebSocket (RFC 9110 section 7.8).

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{Response as HttpResponse, StatusCode, Version, response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};
use ziggurat_middleware::{Body, Context, Draining, Place, Request, RequestSummary, Response, Retired, TunnelIdle, TunnelRecord, Upgrade};

use super::head;
use crate::tunnel::{End, Tunnel, key};
use crate::upstream::http::Http;
use crate::upstream::{Download, Lease};

/// The rules of tunnels.
#[derive(Clone)]
pub(super) struct TunnelRules {
    /// The longest silence of both sides.
    idle: Duration,
    draining: Draining,
    retired: Retired,
}

impl TunnelRules {
    pub(super) fn new(idle: Duration, context: &Context) -> Self {
        Self { idle, draining: context.draining(), retired: context.retired() }
    }
}

/// The upgrade that a request asks for, and the client's connection.
pub(super) fn wanted(request: &mut Request) -> Option<(Upgrade, OnUpgrade)> {
    let upgrade = request.extensions().get::<Upgrade>()?.clone();
    let client = request.extensions_mut().remove::<OnUpgrade>()?;
    Some((upgrade, client))
}

/// The longest time for both connections to be upgraded after the response.
const SWITCH: Duration = Duration::from_secs(10);

/// Accepts the upgrade. A task copies between the two connections.
pub(super) fn switch(
    client: OnUpgrade,
    mut answer: response::Parts,
    body: Download<Http>,
    rules: TunnelRules,
    place: &Place,
    parts: &Parts,
) -> Response {
    let protocol = answer.headers.get(UPGRADE).cloned();
    head::response(&mut answer.headers);
    answer.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let is_websocket = protocol.as_ref().is_some_and(|protocol| protocol.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"));
    if let Some(protocol) = protocol {
        answer.headers.insert(UPGRADE, protocol);
    }
    // The upstream has not seen the client's key.
    if [parts.version, answer.version].contains(&Version::HTTP_2)
        && let Some(key) = parts.headers.get(SEC_WEBSOCKET_KEY)
    {
        answer.headers.insert(SEC_WEBSOCKET_ACCEPT, key::accept(key));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = std::mem::take(&mut answer.headers);
    // The tunnel keeps its own time. The limit of the server is for a tunnel that does not.
    let record = TunnelRecord::default();
    response.extensions_mut().insert(record.clone());
    response.extensions_mut().insert(TunnelIdle(rules.idle.saturating_add(SWITCH)));

    let upstream = hyper::upgrade::on(HttpResponse::from_parts(answer, ()));
    let (place, summary) = (place.clone(), RequestSummary::of(&parts.extensions).cloned());
    let (lease, permit) = body.into_tunnel();
    tokio::spawn(async move {
        let summary = summary.as_ref();
        let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
        let app = place.as_str();
        let Some(mut permit) = permit else { return };
        permit.open_tunnel();
        let started = Instant::now();
        let both = async { tokio::try_join!(client, upstream) };
        let (client, upstream) = match timeout(SWITCH, both).await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return tracing::warn!(request_id, request, app, "the connection could not be switched: {error}"),
            Err(_) => return tracing::warn!(request_id, request, app, "the connection was not switched within {SWITCH:?}"),
        };
        let lease = lease.map(Lease::into_tunnel);
        let TunnelRules { idle, draining, retired } = rules;
        let tunnel = Tunnel {
            is_websocket,
            idle,
            leave: draining.wait(),
            end: retired.wait(),
            first: Bytes::new(),
            record: &record,
            totals: Some(permit.octets()),
        };
        let end = match tunnel.run(TokioIo::new(client), TokioIo::new(upstream)).await {
            End::Closed => "both sides closed".to_owned(),
            End::Idle => format!("both sides were silent for {idle:?}"),
            End::Left => "the server drains, and both sides were told to go away".to_owned(),
            End::Ended => "the server ends or was reloaded".to_owned(),
            End::Broken(error) => error.to_string(),
        };
        let (sent, received, seconds) = (record.received().get(), record.sent().get(), started.elapsed().as_secs());
        tracing::info!(request_id, request, app, upstream = &*permit.endpoint().label, sent, received, seconds, "a tunnel ended: {end}");
        drop((lease, permit));
    });
    response
}
