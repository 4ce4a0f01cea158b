//! Upgrades to another protocol, such as WebSocket (RFC 9110 section 7.8).

use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Response as HttpResponse, StatusCode, Version, response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};
use ziggurat_middleware::{Body, Place, Request, RequestId, Response, Retired, TunnelIdle, TunnelOctets};

use super::head;
use crate::upstream::http::Http;
use crate::upstream::{Download, End, tunnel};

/// A client's request for an upgrade.
pub(super) struct Upgrade {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Upgrade {
    /// The upgrade that a request asks for, if its connection can be upgraded.
    pub(super) fn wanted(request: &mut Request) -> Option<Self> {
        let protocol = request.headers().get(UPGRADE)?.clone();
        let mut names = request.headers().get_all(CONNECTION).iter().flat_map(|line| line.as_bytes().split(|octet| *octet == b','));
        let is_wanted = names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
        let is_possible = request.version() == Version::HTTP_11 && request.extensions().get::<OnUpgrade>().is_some();
        (is_wanted && is_possible).then(|| Self { protocol, client: hyper::upgrade::on(request) })
    }

    pub(super) const fn protocol(&self) -> &HeaderValue {
        &self.protocol
    }
}

/// The longest time for both connections to be upgraded after the response.
const SWITCH: Duration = Duration::from_secs(10);

/// Accepts the upgrade. A task copies between the two connections.
pub(super) fn switch(
    upgrade: Upgrade,
    mut answer: response::Parts,
    body: Download<Http>,
    idle: Duration,
    place: &Place,
    retired: Retired,
    parts: &Parts,
) -> Response {
    let protocol = answer.headers.get(UPGRADE).cloned().unwrap_or(upgrade.protocol);
    head::response(&mut answer.headers);
    answer.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers.insert(UPGRADE, protocol);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = std::mem::take(&mut answer.headers);
    // The tunnel keeps its own time. The limit of the server is for a tunnel that does not.
    let octets = TunnelOctets::default();
    response.extensions_mut().insert(octets.clone());
    response.extensions_mut().insert(TunnelIdle(idle.saturating_add(SWITCH)));

    let upstream = hyper::upgrade::on(HttpResponse::from_parts(answer, ()));
    let client = upgrade.client;
    let (place, id) = (place.clone(), parts.extensions.get::<RequestId>().cloned());
    let (lease, permit) = body.into_tunnel();
    tokio::spawn(async move {
        let request_id = id.as_ref().map(RequestId::as_str);
        let app = place.as_str();
        let Some(mut permit) = permit else { return };
        permit.open_tunnel();
        let started = Instant::now();
        let both = async { tokio::try_join!(client, upstream) };
        let (client, upstream) = match timeout(SWITCH, both).await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return tracing::warn!(request_id, app, "the connection could not be switched: {error}"),
            Err(_) => return tracing::warn!(request_id, app, "the connection was not switched within {SWITCH:?}"),
        };
        let totals = Some(permit.octets());
        let tunneled = tunnel(TokioIo::new(client), TokioIo::new(upstream), idle, retired.wait(), &octets, totals).await;
        let end = match &tunneled.end {
            End::Closed => "both sides closed".to_owned(),
            End::Idle => format!("both sides were silent for {idle:?}"),
            End::Retired => "the server ends or was reloaded".to_owned(),
            End::Broken(error) => error.to_string(),
        };
        let (sent, received, seconds) = (tunneled.sent, tunneled.received, started.elapsed().as_secs());
        tracing::info!(request_id, app, upstream = &*permit.endpoint().label, sent, received, seconds, "a tunnel ended: {end}");
        drop((lease, permit));
    });
    response
}
