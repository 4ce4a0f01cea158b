//! What goes on with a request: visits, which the clock ends when they are dropped.

use http::StatusCode;
use tokio::time::Instant;

use super::clock::{AppPart, RequestClock};
use crate::RequestSummary;

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
        self.clock.lock().add(self.part, self.begin.elapsed());
    }
}

/// A request at the threads of an app. Dropping it ends the visit: the head of the response is there, or is not waited for any longer.
pub struct ThreadVisit {
    thread: RequestClock,
}

impl ThreadVisit {
    pub(super) const fn new(thread: RequestClock) -> Self {
        Self { thread }
    }
}

impl Drop for ThreadVisit {
    fn drop(&mut self) {
        let Some(server) = self.thread.server() else { return };
        self.thread.report_to_server();
        let thread = self.thread.lock().thread;
        let mut clock = server.lock();
        let now = clock.advance();
        let total = now.saturating_duration_since(self.thread.0.begin);
        let python = thread.map(|thread| thread.time(now).min(total));
        clock.add(AppPart::Queue, total.saturating_sub(python.unwrap_or_default()));
        if let Some(python) = python {
            clock.add(AppPart::Python, python);
        }
    }
}

/// A visit to a place. Dropping it ends the visit: the head of the response has left the place, or there will be none.
pub struct Visit {
    clock: RequestClock,
    span: usize,
    above: Option<usize>,
    is_streamed: bool,
    /// The request, if this is the visit to the whole stack.
    request: Option<RequestSummary>,
    /// Of the response.
    status: Option<StatusCode>,
}

impl Visit {
    pub(super) const fn begin(clock: RequestClock, span: usize, above: Option<usize>) -> Self {
        Self { clock, span, above, is_streamed: false, request: None, status: None }
    }

    pub(super) const fn is_first(&self) -> bool {
        self.span == 0
    }

    /// The visit of this request to a whole stack.
    pub(super) fn of_stack(mut self, request: RequestSummary) -> Self {
        self.request = Some(request);
        self
    }

    /// A response of this status leaves the place.
    pub(crate) const fn respond(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The body of the response that leaves the place: its time is measured if the place has made or changed it.
    #[must_use]
    pub fn body(&mut self) -> BodyVisit {
        self.is_streamed = true;
        BodyVisit { clock: self.clock.clone(), span: self.span, above: None, is_asked: false }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut clock = self.clock.lock();
        let now = clock.advance();
        clock.holder = self.above;
        let span = &mut clock.spans[self.span];
        let elapsed = now.saturating_duration_since(self.clock.0.begin);
        span.end = Some(elapsed);
        let Some(stack) = &self.clock.0.stack else { return };
        if let Some(times) = span.place.times() {
            times.request.observe(span.request);
        }
        if !self.is_streamed {
            clock.end_reported(self.span);
        }
        drop(clock);
        if let Some(request) = &self.request {
            stack.leave(request, &self.clock, self.status, elapsed);
        }
    }
}

/// The body that a place gives. Dropping it ends the body.
pub struct BodyVisit {
    clock: RequestClock,
    span: usize,
    above: Option<usize>,
    /// Whether it was asked for a part and has not given it.
    is_asked: bool,
}

impl BodyVisit {
    /// The body is asked for its next part, possibly again.
    pub fn ask(&mut self) {
        let mut clock = self.clock.lock();
        clock.advance();
        if !std::mem::replace(&mut self.is_asked, true) {
            self.above = clock.holder;
        }
        clock.holder = Some(self.span);
    }

    /// It gives the part.
    pub fn answer(&mut self) {
        if std::mem::replace(&mut self.is_asked, false) {
            let mut clock = self.clock.lock();
            clock.advance();
            clock.holder = self.above;
        }
    }
}

impl Drop for BodyVisit {
    fn drop(&mut self) {
        self.answer();
        if self.clock.0.stack.is_some() {
            let clock = self.clock.lock();
            clock.spans[self.span].observe_body();
            clock.end_reported(self.span);
        }
    }
}
