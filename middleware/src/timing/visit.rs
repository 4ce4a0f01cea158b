//! What goes on with a request: visits, which the clock ends when they are dropped.

use tokio::time::Instant;

use super::clock::{AppPart, RequestClock};

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
    begin: Instant,
}

impl ThreadVisit {
    pub(super) fn begin(thread: RequestClock) -> Self {
        Self { thread, begin: Instant::now() }
    }
}

impl Drop for ThreadVisit {
    fn drop(&mut self) {
        let total = self.begin.elapsed();
        let python = self.thread.thread_time().map(|time| time.min(total));
        self.thread.report_to_server();
        let Some(server) = self.thread.server() else { return };
        let mut clock = server.lock();
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
}

impl Visit {
    pub(super) const fn begin(clock: RequestClock, span: usize, above: Option<usize>) -> Self {
        Self { clock, span, above, is_streamed: false }
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
        span.end = Some(now.saturating_duration_since(self.clock.0.begin));
        if self.clock.0.timings.is_some() {
            if let Some(times) = span.place.times() {
                times.request.observe(span.request);
            }
            if !self.is_streamed {
                clock.end_reported(self.span);
            }
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
        if self.clock.0.timings.is_some() {
            let clock = self.clock.lock();
            clock.spans[self.span].observe_body();
            clock.end_reported(self.span);
        }
    }
}
