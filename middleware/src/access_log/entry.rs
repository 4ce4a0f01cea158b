//! What is known of one request until its line is written.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, Method, Uri, Version};

use super::{Log, json, text};
use crate::timing::{AppPart, RequestClock};
use crate::trace::TraceId;
use crate::{ConnectionInfo, EarlyAnswer, OriginalUri, RemoteUser, Request, RequestId, RequestSummary, Response, TunnelRecord};

/// A line in the making. It is written when it is dropped, however the request ended.
///
/// Parts of the request are shared with it, not copied.
pub(super) struct LogEntry {
    log: Arc<Log>,
    pub(super) time: SystemTime,
    started: Instant,
    method: Method,
    target: Uri,
    version: Version,
    pub(super) connection: Option<ConnectionInfo>,
    pub(super) id: Option<RequestId>,
    pub(super) user: Option<RemoteUser>,
    /// Values of the headers that the format asks for, in its order.
    pub(super) request_headers: Vec<Option<HeaderValue>>,
    pub(super) response_headers: Vec<Option<HeaderValue>>,
    content_length: Option<u64>,
    /// What a layer above answers if it does not wait for the response.
    early_answer: Option<EarlyAnswer>,
    /// What layers below find out without a response.
    summary: Option<RequestSummary>,
    has_response: bool,
    pub(super) status: u16,
    /// Octets of body, or to the client through an upgraded connection.
    pub(super) sent: u64,
    /// What passes through an upgraded connection.
    pub(super) tunnel: Option<TunnelRecord>,
    /// Whether the response was sent to its end.
    pub(super) complete: bool,
}

impl LogEntry {
    /// What nginx logs if the client closed the connection before there was a response.
    const CLIENT_CLOSED_REQUEST: u16 = 499;

    /// Boxed, because it moves through the futures of the layers above into the body.
    pub(super) fn new(log: Arc<Log>, request: &Request) -> Box<Self> {
        let facts = request.extensions();
        Box::new(Self {
            time: SystemTime::now(),
            started: Instant::now(),
            method: request.method().clone(),
            target: OriginalUri::of(request.uri(), facts).clone(),
            version: request.version(),
            connection: facts.get::<ConnectionInfo>().cloned(),
            id: facts.get::<RequestId>().cloned(),
            user: facts.get::<RemoteUser>().cloned(),
            request_headers: pick(&log.format.request_headers, request.headers()),
            response_headers: Vec::new(),
            content_length: None,
            early_answer: facts.get::<EarlyAnswer>().cloned(),
            summary: RequestSummary::of(facts).cloned(),
            has_response: false,
            status: Self::CLIENT_CLOSED_REQUEST,
            sent: 0,
            tunnel: None,
            complete: false,
            log,
        })
    }

    /// Takes what the line needs from the head of the response.
    pub(super) fn begin(&mut self, response: &Response) {
        let facts = response.extensions();
        self.has_response = true;
        self.status = response.status().as_u16();
        self.tunnel = facts.get::<TunnelRecord>().cloned();
        self.response_headers = pick(&self.log.format.response_headers, response.headers());
        self.content_length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        // What layers below have found out.
        fn learn<T: Clone + Send + Sync + 'static>(known: &mut Option<T>, facts: &Extensions) {
            *known = facts.get().cloned().or(known.take());
        }
        learn(&mut self.user, facts);
        learn(&mut self.id, facts);
        learn(&mut self.connection, facts);
    }

    /// Copies what is shared with the request, which would keep all of its head in memory as long as the line waits.
    pub(super) fn detach(&mut self) {
        let own = |value: &mut HeaderValue| {
            if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
                *value = copy;
            }
        };
        self.request_headers.iter_mut().chain(&mut self.response_headers).flatten().for_each(own);
        if let Ok(copy) = self.target.to_string().parse() {
            self.target = copy;
        }
        if let Some(copy) = self.id.as_ref().and_then(|id| RequestId::new(HeaderValue::from_bytes(id.as_header().as_bytes()).ok()?)) {
            self.id = Some(copy);
        }
    }

    /// Takes what is known although there is no response.
    fn give_up(&mut self) {
        if let Some(status) = self.early_answer.as_ref().and_then(EarlyAnswer::get) {
            self.status = status.as_u16();
        }
        if let Some(summary) = &self.summary {
            self.connection = summary.connection().cloned().or(self.connection.take());
            self.id = self.id.take().or_else(|| summary.request_id().cloned());
        }
    }

    pub(super) const fn method(&self) -> &Method {
        &self.method
    }

    /// As the response says.
    pub(super) const fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    pub(super) fn trace(&self) -> Option<TraceId> {
        self.summary.as_ref().and_then(RequestSummary::trace)
    }

    pub(super) fn client(&self) -> Option<IpAddr> {
        self.connection.as_ref().and_then(|connection| connection.client)
    }

    pub(super) fn path(&self) -> &str {
        self.target.path()
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.target.query()
    }

    pub(super) fn path_and_query(&self) -> &str {
        self.target.path_and_query().map_or("", |target| target.as_str())
    }

    pub(super) fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_11 => "HTTP/1.1",
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_3 => "HTTP/3.0",
            _ => "HTTP/0.9",
        }
    }

    /// The clock of a stack that is timed.
    pub(super) fn clock(&self) -> Option<&RequestClock> {
        self.summary.as_ref().and_then(RequestSummary::clock)
    }

    /// The self time of the layer or app that has answered, without the queue.
    pub(super) fn app_time(&self) -> Option<Duration> {
        let (clock, place) = (self.clock()?, self.summary.as_ref()?.answered_by()?);
        let times = clock.self_times();
        let time = times.iter().find(|time| time.place == *place)?;
        Some((time.request + time.body).saturating_sub(clock.part(AppPart::Queue).unwrap_or_default()))
    }

    /// Whether the line has the self times of all places.
    pub(super) fn shows_times(&self) -> bool {
        self.log.times
    }

    /// How long it has taken, in microseconds.
    pub(super) fn micros(&self) -> u64 {
        // Overflows after half a million years.
        self.started.elapsed().as_micros() as u64
    }
}

impl Drop for LogEntry {
    fn drop(&mut self) {
        if !self.has_response {
            self.give_up();
        }
        if let Some(tunnel) = &self.tunnel {
            self.sent = tunnel.sent().get();
        }
        let mut line = Vec::with_capacity(512);
        if self.log.format.is_json() {
            json::write(&mut line, self)
        } else {
            text::write(&mut line, &self.log.format.pieces, self)
        }
        line.push(b'\n');
        self.log.sink.push(&line);
    }
}

fn pick(names: &[HeaderName], headers: &HeaderMap) -> Vec<Option<HeaderValue>> {
    names.iter().map(|name| joined(headers, name)).collect()
}

/// The value of a header, of several lines as apps get it (RFC 9110 section 5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let Some(second) = lines.next() else { return Some(first.clone()) };
    let separator = if name == COOKIE { &b"; "[..] } else { b", " };
    let lines: Vec<&[u8]> = [first, second].into_iter().chain(lines).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(separator)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_several_lines_is_logged_as_apps_get_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("cookie", "c=4"), ("cookie", "d=5")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let names = ["x-a", "x-b", "cookie", "x-c"].map(HeaderName::from_static);
        let picked = pick(&names, &headers);
        let texts: Vec<_> = picked.iter().map(|value| value.as_ref().map(|value| value.to_str().unwrap())).collect();
        assert_eq!(texts, [Some("1, 2"), Some("3"), Some("c=4; d=5"), None]);
    }
}
