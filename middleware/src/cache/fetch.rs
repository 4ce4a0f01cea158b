//! A call of the app, and what is stored of its response.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::asked::{Asked, without_conditions};
use super::fill::{Fill, stated_length};
use super::flight::Lead;
use super::freshness::{Freshness, unstorable};
use super::key::Selection;
use super::respond::{is_not_modified, not_modified, respond};
use super::service::Cache;
use super::status::{CacheStatus, Forward, Why};
use super::stored::{Asking, Freshened, StoredResponse};
use crate::{Body, Next, Request, Response};

/// A call of the app whose response may be stored.
pub(super) struct Call {
    pub(super) asked: Asked,
    /// Those of the client's request.
    pub(super) headers: Arc<HeaderMap>,
    pub(super) why: Why,
    pub(super) stale: Option<Arc<StoredResponse>>,
    /// No client waits for it.
    pub(super) is_refresh: bool,
}

impl Cache {
    /// Calls the app, validates a stale response, and stores what may be stored.
    pub(super) async fn fetch(&self, lead: Lead, call: Call, mut request: Request, next: &Next) -> Response {
        let mut asked_at = Instant::now();
        let validated = call.stale.as_ref().filter(|stale| stale.has_validator());
        let is_stripped = validated.is_some() || lead.flight.is_shared();
        if is_stripped {
            without_conditions(request.headers_mut());
        }
        let again = validated.map(|stale| {
            let again = without_body(&request);
            validate(request.headers_mut(), &stale.headers);
            again
        });
        let mut response = next.send(request).await.unwrap_or_else(|never| match never {});
        if let (StatusCode::NOT_MODIFIED, Some(again), Some(stale)) = (response.status(), again, validated) {
            let asking = Asking { headers: &call.headers, is_personal: call.asked.is_personal, at: asked_at, heuristic: self.heuristic };
            if let Some(freshened) = stale.freshened(response.headers(), &asking) {
                return self.freshen(lead, &call, freshened);
            }
            // The app knows another version than the one that is stored.
            asked_at = Instant::now();
            response = next.send(again).await.unwrap_or_else(|never| match never {});
        }
        if let Some(stale) = &call.stale
            && matches!(response.status().as_u16(), 500 | 502..=504)
        {
            self.store.pause(&call.asked.url);
            let now = Instant::now();
            if stale.freshness.covers_errors(now) {
                self.figures.stale.add(1);
                lead.give(stale);
                let status = CacheStatus::StaleIfError(stale.freshness.ttl(now), response.status());
                return answer(stale, &call.asked.method, &call.headers, status);
            }
        }
        self.take_in(lead, call, response, asked_at, is_stripped)
    }

    /// The stored response is still right for this client. With what the app now says of it, it may be for this client alone.
    fn freshen(&self, lead: Lead, call: &Call, freshened: Freshened) -> Response {
        let fresh = Arc::new(freshened.response);
        let is_stored = if freshened.may_store {
            lead.store(&fresh, &call.headers)
        } else {
            self.store.remove(&call.asked.url, &call.headers);
            lead.pass();
            false
        };
        if !call.is_refresh {
            self.figures.revalidated.add(1);
        }
        let stored = is_stored.then(|| fresh.freshness.ttl(Instant::now()));
        let forward = Forward { status: Some(StatusCode::NOT_MODIFIED), stored, ..call.why.forward() };
        answer(&fresh, &call.asked.method, &call.headers, CacheStatus::Forward(forward))
    }

    /// Stores the response of the app if it may be stored.
    fn take_in(&self, lead: Lead, call: Call, response: Response, asked_at: Instant, is_stripped: bool) -> Response {
        if !call.is_refresh {
            self.figures.misses.add(1);
        }
        let (parts, body) = response.into_parts();
        let stated = stated_length(&parts.headers).or_else(|| body.size_hint().exact());
        let may_store = unstorable(parts.status, &parts.headers, call.asked.is_personal, self.heuristic).is_none()
            && stated.unwrap_or(body.size_hint().lower()) <= self.limit
            && (body.as_full().is_some() || Handle::try_current().is_ok());
        let selection = may_store.then(|| Selection::of(&parts.headers, &call.headers)).flatten();
        let Some(selection) = selection else {
            if call.stale.is_some() && !parts.status.is_server_error() && parts.status != StatusCode::NOT_MODIFIED {
                self.store.remove(&call.asked.url, &call.headers);
            }
            lead.pass();
            return self.alone(Response::from_parts(parts, body), &call, is_stripped);
        };
        let freshness = Freshness::new(parts.status, &parts.headers, asked_at, self.heuristic);
        let mut fill = Fill::new(lead, Arc::clone(&call.headers), &parts, selection, freshness, self.limit);
        let forward = Forward { stored: Some(freshness.ttl(Instant::now())), ..call.why.forward() };
        match Bytes::try_from(body) {
            Ok(octets) => {
                let fits = octets.is_empty() || fill.push(octets.clone());
                if !fits {
                    fill.give_up();
                }
                match fits.then(|| fill.finish(None)).flatten() {
                    Some((stored, is_stored)) => {
                        let forward = Forward { stored: forward.stored.filter(|_| is_stored), ..forward };
                        let mut response = answer(&stored, &call.asked.method, &call.headers, CacheStatus::Forward(forward));
                        *response.extensions_mut() = parts.extensions;
                        response
                    }
                    None => self.alone(Response::from_parts(parts, octets.into()), &call, is_stripped),
                }
            }
            Err(body) => {
                let (body, receive) = fill.receive(body);
                self.context.spawn(receive);
                let mut response = Response::from_parts(parts, Body::new(body));
                if is_stripped && response.status() == StatusCode::OK && is_not_modified(response.headers(), &call.headers) {
                    response = not_modified(std::mem::take(response.headers_mut()));
                }
                CacheStatus::Forward(forward).tell(&mut response);
                response
            }
        }
    }

    /// A response of the app that is not stored. If the app was not told what the client has, it is compared here.
    fn alone(&self, mut response: Response, call: &Call, is_stripped: bool) -> Response {
        let status = response.status();
        let mut forward = call.why.forward();
        if is_stripped && status == StatusCode::OK && is_not_modified(response.headers(), &call.headers) {
            forward.status = Some(status);
            let extensions = std::mem::take(response.extensions_mut());
            response = not_modified(std::mem::take(response.headers_mut()));
            *response.extensions_mut() = extensions;
        }
        CacheStatus::Forward(forward).tell(&mut response);
        response
    }
}

pub(super) fn answer(stored: &StoredResponse, method: &Method, request: &HeaderMap, status: CacheStatus) -> Response {
    let mut response = respond(stored, method, request, Instant::now());
    status.tell(&mut response);
    response
}

/// Asks the app whether the stored response is still right (RFC 9111 section 4.3.1).
fn validate(request: &mut HeaderMap, stored: &HeaderMap) {
    for (name, validator) in [(IF_NONE_MATCH, ETAG), (IF_MODIFIED_SINCE, LAST_MODIFIED)] {
        if let Some(value) = stored.get(validator) {
            request.insert(name, value.clone());
        }
    }
}

pub(super) fn without_body(request: &Request) -> Request {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}
