//! How log lines name a request.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use http::{Extensions, Method, Uri};

use crate::timing::RequestClock;
use crate::trace::TraceId;
use crate::{ConnectionInfo, EarlyHints, OriginalUri, Place, RequestId};

/// What log lines say of a request: its method and its path as the client sent them, and its id. The server puts it into the extensions of every request, and finds in
/// it afterwards who has answered.
///
/// It is displayed as `GET /shop`, with the id of the trace behind it if there is one. The query is left out, because it may contain secrets.
///
/// ```
/// use ziggurat_middleware::{Request, RequestSummary};
///
/// fn refuse(request: &Request) {
///     let summary = RequestSummary::of(request.extensions());
///     tracing::warn!(request_id = summary.and_then(RequestSummary::id), request = summary.map(tracing::field::display), "refused");
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RequestSummary(Arc<Summary>);

#[derive(Debug)]
struct Summary {
    /// A copy: the target would keep the whole head of the request in memory, as long as a tunnel lasts.
    line: String,
    id: OnceLock<RequestId>,
    answered_by: OnceLock<Place>,
    trace: OnceLock<TraceId>,
    /// Of a stack that is timed.
    clock: OnceLock<RequestClock>,
    /// Boxed, because few requests have one.
    connection: OnceLock<Box<ConnectionInfo>>,
    takes_hints: AtomicBool,
    /// Of a request for which a layer has opened the way.
    hints: OnceLock<EarlyHints>,
}

impl RequestSummary {
    /// How many octets of a path are in a log line.
    pub const LONGEST_PATH: usize = 256;

    /// The summary of a request with this method, target and extensions.
    #[must_use]
    pub fn new(method: &Method, target: &Uri, extensions: &Extensions) -> Self {
        let id = extensions.get::<RequestId>().cloned().map_or_else(OnceLock::new, OnceLock::from);
        let path = OriginalUri::of(target, extensions).path();
        let end = (0..=path.len().min(Self::LONGEST_PATH)).rev().find(|at| path.is_char_boundary(*at)).unwrap_or_default();
        let (path, rest) = path.split_at(end);
        let method = method.as_str();
        let mut line = String::with_capacity(method.len() + path.len() + 4);
        line.push_str(method);
        line.push(' ');
        line.push_str(path);
        if !rest.is_empty() {
            line.push_str("...");
        }
        Self(Arc::new(Summary {
            line,
            id,
            answered_by: OnceLock::new(),
            trace: OnceLock::new(),
            clock: OnceLock::new(),
            connection: OnceLock::new(),
            takes_hints: AtomicBool::new(false),
            hints: OnceLock::new(),
        }))
    }

    /// The summary in the extensions of a request.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The id, if a layer has assigned one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.0.id.get().map(RequestId::as_str)
    }

    /// Adds the id. Every clone has it afterwards, so log lines of layers above the one that assigns the id have it too. The first id counts.
    pub fn identify(&self, id: RequestId) {
        // A second id is dropped.
        let _ = self.0.id.set(id);
    }

    pub(crate) fn request_id(&self) -> Option<&RequestId> {
        self.0.id.get()
    }

    /// The trace that the request belongs to, if the program traces.
    #[must_use]
    pub fn trace(&self) -> Option<TraceId> {
        self.0.trace.get().copied()
    }

    /// Notes the trace. Log lines have its id from then on. The first one counts.
    pub fn set_trace(&self, trace: TraceId) {
        let _ = self.0.trace.set(trace);
    }

    /// The client's address, as a `forwarded` layer believes it to be; `None` if the request has reached no such layer.
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.connection().and_then(|connection| connection.client)
    }

    /// The client, as a `forwarded` layer believes it to be; `None` if the request has reached no such layer.
    pub(crate) fn connection(&self) -> Option<&ConnectionInfo> {
        self.0.connection.get().map(|connection| &**connection)
    }

    /// Notes the client for layers above, which see no response if the client leaves. The first one counts.
    pub(crate) fn believe(&self, connection: &ConnectionInfo) {
        self.0.connection.get_or_init(|| Box::new(connection.clone()));
    }

    /// Lets layers open the way for hints: the server can send informational responses to this client.
    pub fn allow_early_hints(&self) {
        self.0.takes_hints.store(true, Relaxed);
    }

    /// The hints of the request, for the server, which sends them; `None` if no layer has opened the way.
    #[must_use]
    pub fn early_hints(&self) -> Option<&EarlyHints> {
        self.0.hints.get()
    }

    pub(crate) fn open_early_hints(&self) -> Option<EarlyHints> {
        self.0.takes_hints.load(Relaxed).then(|| self.0.hints.get_or_init(EarlyHints::default).clone())
    }

    /// The clock of the request, if the stack is timed (`server.timing`).
    #[must_use]
    pub fn clock(&self) -> Option<&RequestClock> {
        self.0.clock.get()
    }

    /// Leaves the clock of the request. The first one counts.
    pub fn start_clock(&self, clock: RequestClock) {
        // A second clock is dropped.
        let _ = self.0.clock.set(clock);
    }

    /// The place of the layer or app that has answered: the innermost one, whose answer the layers above may have changed. `None` before there is an answer.
    #[must_use]
    pub fn answered_by(&self) -> Option<&Place> {
        self.0.answered_by.get()
    }

    /// Notes who has answered. The first one counts, because the answer passes the layers above on its way up.
    pub(crate) fn answer(&self, place: &Place) {
        self.0.answered_by.get_or_init(|| place.clone());
    }
}

impl fmt::Display for RequestSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.line)?;
        match self.trace() {
            // As a field of its own.
            Some(trace) => write!(f, " trace_id={trace}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_summary_has_neither_the_query_nor_the_end_of_a_long_path() {
        let shown = |target: &str| RequestSummary::new(&Method::POST, &target.parse().unwrap(), &Extensions::new()).to_string();
        assert_eq!(shown("/shop?token=s3cr3t"), "POST /shop");
        assert_eq!(shown(&format!("/{}", "a".repeat(300))), format!("POST /{}...", "a".repeat(255)));
    }

    #[test]
    fn the_first_id_counts_for_every_clone() {
        let summary = RequestSummary::new(&Method::GET, &"/".parse().unwrap(), &Extensions::new());
        let clone = summary.clone();
        for id in ["a", "b"] {
            summary.identify(RequestId::new(HeaderValue::from_static(id)).unwrap());
        }
        assert_eq!(clone.id(), Some("a"));
    }
}
