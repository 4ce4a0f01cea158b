//! What goes on with a request: visits, which the clock ends when they are dropped.

use http::StatusCode;
use tokio::time::Instant;

use super::clock::{RequestClock, SPANS};
use super::span::{AppPart, nanos};
use crate::{Place, RequestSummary};

/// A part of the self time of an app that goes on. Dropping it ends it.
pub struct PartVisit {
    clock: RequestClock,
    part: AppPart,
    begin: Instant,
}

impl PartVisit {
    pub(super) fn begin(clock: RequestClock, part: AppPart) -> Self {
        Self { clock, part, begin: Instant::now() }
    }
}

impl Drop for PartVisit {
    fn drop(&mut self) {
        self.clock.lock().add(self.part, nanos(self.begin.elapsed()));
    }
}

/// A request at the threads of an app. Dropping it ends the visit: the head of the response is there, or is not waited for any longer.
pub struct ThreadVisit {
    /// That of the thread, if there are layers; otherwise the server's.
    clock: RequestClock,
    /// Since the start of that clock.
    since: u64,
    is_last: bool,
}

impl ThreadVisit {
    pub(super) const fn new(clock: RequestClock, since: u64) -> Self {
        Self { clock, since, is_last: false }
    }

    /// Ends the visit with the head of a response that leaves the app at once, so that its visit to the app needs no other reading of the clock.
    pub fn respond(mut self) {
        self.is_last = true;
    }
}

impl Drop for ThreadVisit {
    fn drop(&mut self) {
        self.clock.report_to_server();
        let (thread, server) = (&self.clock.0, self.clock.of_server());
        let mut clock = server.lock();
        let moment = Instant::now();
        let now = thread.at(moment);
        clock.advance(if self.clock.has_server() { server.0.at(moment) } else { now });
        // The visit that ends now is that to the app, unless that was one too many.
        clock.is_current = self.is_last && clock.spans.len() < SPANS;
        let total = now.saturating_sub(self.since);
        let python = thread.thread.time(now).map(|time| time.min(total));
        clock.add(AppPart::Queue, total - python.unwrap_or_default());
        if let Some(python) = python {
            clock.add(AppPart::Python, python);
        }
    }
}

/// A visit to a place in a thread of an app. Dropping it ends the visit: the head of the response has left the place, or there will be none.
pub struct Visit {
    clock: RequestClock,
    span: u8,
    is_streamed: bool,
}

impl Visit {
    pub(super) const fn new(clock: RequestClock, span: u8) -> Self {
        Self { clock, span, is_streamed: false }
    }

    /// The place raises an exception of this type.
    pub fn fail(&self, exception: &str) {
        self.clock.fail(self.span, exception);
    }

    /// The body of the response that leaves the place: its time is measured if the place has made or changed it.
    #[must_use]
    pub fn body(&mut self) -> BodyVisit {
        self.is_streamed = true;
        BodyVisit::new(self.clock.clone(), self.span)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.clock.end_span(self.span, None, self.is_streamed);
    }
}

/// A visit to a place of a stack, likewise. It has the request, which has the clock.
pub(crate) struct StackVisit {
    request: RequestSummary,
    span: u8,
    is_streamed: bool,
    /// Of the response.
    status: Option<StatusCode>,
}

impl StackVisit {
    /// The request comes to a place. It is returned if the place, or the request, is not timed, and as in [`RequestClock::enter`].
    pub(crate) fn begin(request: RequestSummary, place: &Place) -> Result<Self, RequestSummary> {
        if request.clock().is_none() && place.stack().is_some() {
            request.start_clock(RequestClock::start());
        }
        let clock = if place.is_timed() { request.clock() } else { None };
        match clock.and_then(|clock| clock.begin_span(place)) {
            Some(span) => Ok(Self { request, span, is_streamed: false, status: None }),
            None => Err(request),
        }
    }

    pub(crate) const fn request(&self) -> &RequestSummary {
        &self.request
    }

    /// A response of this status leaves the place.
    pub(crate) const fn respond(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// What the place has failed with in another process, or in a thread.
    pub(crate) fn error(&self) -> Option<Box<str>> {
        self.request.clock()?.error(self.span)
    }

    /// As [`Visit::body`].
    pub(crate) fn body(&mut self) -> Option<BodyVisit> {
        self.is_streamed = true;
        self.request.clock().map(|clock| BodyVisit::new(clock.clone(), self.span))
    }
}

impl Drop for StackVisit {
    fn drop(&mut self) {
        let Some(clock) = self.request.clock() else { return };
        if let Some((stack, elapsed)) = clock.end_span(self.span, self.status, self.is_streamed) {
            stack.leave(&self.request, clock, self.status, elapsed);
        }
    }
}

/// The body that a place gives. Dropping it ends the body.
pub struct BodyVisit {
    clock: RequestClock,
    span: u8,
    above: Option<u8>,
    /// Whether it was asked for a part and has not given it.
    is_asked: bool,
}

impl BodyVisit {
    const fn new(clock: RequestClock, span: u8) -> Self {
        Self { clock, span, above: None, is_asked: false }
    }

    /// The place raises an exception of this type.
    pub fn fail(&self, exception: &str) {
        self.clock.fail(self.span, exception);
    }

    /// The body is asked for its next part, possibly again.
    pub fn ask(&mut self) {
        let mut clock = self.clock.advance();
        if !std::mem::replace(&mut self.is_asked, true) {
            self.above = clock.holder;
        }
        clock.holder = Some(self.span);
    }

    /// It gives the part.
    pub fn answer(&mut self) {
        if std::mem::replace(&mut self.is_asked, false) {
            self.clock.advance().holder = self.above;
        }
    }
}

impl Drop for BodyVisit {
    fn drop(&mut self) {
        self.answer();
        if self.clock.0.is_of_stack {
            self.clock.lock().end_body(self.span);
        }
    }
}
