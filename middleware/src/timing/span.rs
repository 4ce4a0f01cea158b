//! What a clock has measured: visits to places, and the parts of the times of apps.

use std::time::Duration;

use crate::Place;

/// The visit of a request to one place.
#[derive(Clone, Debug)]
pub struct Span {
    /// The layer or app.
    pub place: Place,
    /// The span of the layer above, as an index in [`RequestClock::spans`](super::RequestClock::spans).
    pub above: Option<usize>,
    /// When the request came, since the start of the clock.
    pub begin: Duration,
    /// When the head of the response left, since the start of the clock; `None` before, and in another process.
    pub end: Option<Duration>,
    /// The self time until the head of the response.
    pub request: Duration,
    /// The self time of the response's body. A body in memory, and one that passes unchanged, takes none.
    pub body: Duration,
}

/// The self time of a layer or app in one request.
#[derive(Clone, Debug)]
pub struct SelfTime {
    /// The layer or app.
    pub place: Place,
    /// Until the head of the response.
    pub request: Duration,
    /// Of the response's body.
    pub body: Duration,
}

/// What is new of a visit in a thread of an app, for the clock of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSpan<N> {
    /// Its number in the thread.
    pub number: u8,
    /// The number of the visit to the layer above, if there is one in the thread.
    pub above: Option<u8>,
    /// The name of the place.
    pub name: N,
    /// When the request came, since the start of the clock.
    pub begin: Duration,
    /// How long the visit took until the head of the response; `None` if it goes on, or has been told before.
    pub duration: Option<Duration>,
    /// What the visit has failed with, if that is told with its duration: the type of an exception, or a status.
    pub error: Option<Box<str>>,
    /// The self time until the head of the response, as far as it has not been told.
    pub request: Duration,
    /// The self time of the response's body, likewise.
    pub body: Duration,
}

/// A part of the self time of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppPart {
    /// Until a thread of the app has begun with the request, and the response's way back from there.
    Queue,
    /// In the thread of the app, until the head of the response.
    Python,
    /// Until the head of an upstream's response: connections and retries included.
    Upstream,
}

/// A visit as the clock keeps it. Each layer has one per request, so its times are plain numbers: nanoseconds, those of begin and end since the start of the clock.
#[derive(Debug)]
pub(super) struct VisitRecord {
    pub(super) place: Place,
    pub(super) above: Option<u8>,
    pub(super) begin: u64,
    pub(super) end: Option<u64>,
    pub(super) request: u64,
    pub(super) body: u64,
}

/// A time in nanoseconds. Five hundred years are the longest.
pub(super) fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
}

impl<N> ThreadSpan<N> {
    /// The same with another form of its name.
    pub fn named<M>(&self, name: M) -> ThreadSpan<M> {
        let Self { number, above, begin, duration, request, body, .. } = *self;
        ThreadSpan { number, above, name, begin, duration, error: self.error.clone(), request, body }
    }
}

impl AppPart {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Queue, Self::Python, Self::Upstream];

    /// The name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Python => "python",
            Self::Upstream => "upstream",
        }
    }
}

impl VisitRecord {
    pub(super) const fn new(place: Place, above: Option<u8>, begin: u64) -> Self {
        Self { place, above, begin, end: None, request: 0, body: 0 }
    }

    /// Adds self time: of the request, or of the body after the head of the response.
    pub(super) const fn add(&mut self, time: u64) {
        match self.end {
            None => self.request = self.request.saturating_add(time),
            Some(_) => self.body = self.body.saturating_add(time),
        }
    }

    pub(super) fn observe_request(&self) {
        if let Some(times) = self.place.times() {
            times.request.observe_nanos(self.request);
        }
    }

    pub(super) fn observe_body(&self) {
        if let (Some(times), 1..) = (self.place.times(), self.body) {
            times.body.observe_nanos(self.body);
        }
    }
}

impl From<&VisitRecord> for Span {
    fn from(span: &VisitRecord) -> Self {
        let VisitRecord { place, above, begin, end, request, body } = span;
        Self {
            place: place.clone(),
            above: above.map(usize::from),
            begin: Duration::from_nanos(*begin),
            end: end.map(Duration::from_nanos),
            request: Duration::from_nanos(*request),
            body: Duration::from_nanos(*body),
        }
    }
}
