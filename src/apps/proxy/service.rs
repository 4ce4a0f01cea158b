//! The service of `proxy`.

use std::sync::Arc;

use http::header::EXPECT;
use http::{StatusCode, Version};
use hyper::ext::ReasonPhrase;
use ziggurat_middleware::{Body, BoxError, Place, Problem, Request, RequestId, Response};

use super::head::{self, HeadPolicy};
use super::upgrade::{self, TunnelRules};
use crate::apps::upstream_problem::{self, problem};
use crate::reason;
use crate::upstream::http::Http;
use crate::upstream::{Upstream, UpstreamRequest, UpstreamResponse};

/// Passes requests on.
pub(super) struct ProxyService {
    upstream: Arc<Upstream<Http>>,
    policy: HeadPolicy,
    tunnels: TunnelRules,
    place: Place,
}

impl ProxyService {
    pub(super) fn new(upstream: Arc<Upstream<Http>>, policy: HeadPolicy, tunnels: TunnelRules, place: Place) -> Self {
        Self { upstream, policy, tunnels, place }
    }

    pub(super) async fn serve(self: Arc<Self>, mut request: Request) -> Result<Response, BoxError> {
        head::in_a_loop(request.headers())?;
        if let Some(answer) = head::last_hop(&mut request)? {
            return Ok(answer);
        }
        let upgrade = upgrade::wanted(&mut request);
        let (parts, body) = request.into_parts();
        let offered = upgrade.as_ref().map(|(offered, _)| offered);
        let expects_continue = parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let request = UpstreamRequest {
            parts: &parts,
            body,
            head: &|endpoint, has_body| self.policy.request(&parts, endpoint, has_body, offered),
            expects_continue,
        };
        let UpstreamResponse { response, sticky } = upstream_problem::send(&self.upstream, &self.place, request).await?;
        let (mut answer, body) = response.into_parts();
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some((_, client)) = upgrade else { return Err(Problem::internal("an upgrade that nobody asked for").into()) };
            return Ok(upgrade::switch(client, answer, body, self.tunnels.clone(), &self.place, &parts));
        }
        if upgrade.is_some() && parts.version == Version::HTTP_2 && answer.status.is_success() {
            // Over HTTP/2 the client would take it for the beginning of the WebSocket (RFC 8441 section 5).
            let request_id = parts.extensions.get::<RequestId>().map(RequestId::as_str);
            let status = answer.status.as_u16();
            tracing::warn!(request_id, app = self.place.as_str(), "the upstream answered a request for a WebSocket with status {status}");
            return Err(problem(StatusCode::BAD_GATEWAY, "the upstream server did not accept the WebSocket", &parts).into());
        }
        head::response(&mut answer.headers);
        if let Some(id) = sticky {
            self.upstream.write_sticky(id, &parts, &mut answer.headers);
        }
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        if let Some(reason) = answer.extensions.remove::<ReasonPhrase>() {
            reason::state(&mut response, reason);
        }
        Ok(response)
    }
}
