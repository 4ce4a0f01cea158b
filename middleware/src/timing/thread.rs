//! The clock of a request in a thread of an app, and what it gives to the server's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ThreadSpan;
use super::clock::{Clock, RequestClock, SPANS};
use super::span::{VisitRecord, nanos};
use super::timings::{PlaceTimes, StackBegin};
use super::visit::ThreadVisit;
use crate::Place;
use crate::trace::{MeasuredSpans, Trace};

/// The thread of the app that serves the request: nothing before it begins, then the time since the start of the clock, or [`AppThread::ENDED`] and how long the
/// thread of another process has had the request. A number, because the app's thread writes it while others have the clock.
#[derive(Debug, Default)]
pub(super) struct AppThread(AtomicU64);

impl RequestClock {
    /// The clock of a request in a thread of an app that has layers above it there, which may go on beside the server's own: the request waits for the thread since
    /// `begin`. Its times are for the clock of the server, which may be one of another process, and for the trace that the request is in.
    #[must_use]
    pub fn of_thread(server: Option<&Self>, begin: Instant, trace: Option<&Trace>) -> Self {
        let traced = trace.and_then(MeasuredSpans::below).map(|spans| Box::new(Mutex::new(spans)));
        Self::new(false, server.cloned(), begin, traced)
    }

    /// The request waits for a thread of the app, whose clock this is ([`RequestClock::of_thread`]). What the thread takes is Python's; the rest until the guard is
    /// dropped is the queue's.
    #[must_use]
    pub fn wait(self) -> ThreadVisit {
        ThreadVisit::new(self, 0)
    }

    /// The request waits since then for a thread of an app that has no layers there; otherwise as [`RequestClock::wait`].
    #[must_use]
    pub fn wait_since(self, since: Instant) -> ThreadVisit {
        // It may have been in a thread of another app before.
        self.0.thread.reset();
        let since = self.0.at(since);
        ThreadVisit::new(self, since)
    }

    /// Gives what is new of the visits in a thread to the clock of the server, and to the trace, unless they are of another process.
    pub fn report_to_server(&self) {
        if !self.has_server() {
            return;
        }
        let spans = self.take();
        if !spans.is_empty() {
            let spans: Vec<_> = spans.iter().map(|span| span.named(span.name.as_str())).collect();
            self.report(self.elapsed(), &spans);
        }
    }

    /// A thread of the app begins with the request.
    pub fn begin_thread(&self, now: Instant) {
        self.0.thread.begin(self.0.at(now));
    }

    /// How long the app's thread has had the request; `None` before it begins.
    #[must_use]
    pub fn thread_time(&self, now: Instant) -> Option<Duration> {
        self.0.thread.time(self.0.at(now)).map(Duration::from_nanos)
    }

    /// The thread of another process has had the request for this long.
    pub fn end_thread(&self, time: Duration) {
        self.0.thread.end(nanos(time));
    }

    /// Takes what is new of the visits in this thread, for [`RequestClock::report`] in another process.
    #[must_use]
    pub fn take(&self) -> Vec<ThreadSpan<Place>> {
        let mut clock = self.lock();
        let Clock { spans, taken, errors, .. } = &mut *clock;
        let mut news = Vec::new();
        for (number, span) in (0..).zip(spans) {
            let bit = 1_u64.checked_shl(number.into()).unwrap_or_default();
            let duration = span.end.filter(|_| *taken & bit == 0).map(|end| Duration::from_nanos(end.saturating_sub(span.begin)));
            if duration.is_none() && span.request == 0 && span.body == 0 {
                continue;
            }
            if duration.is_some() {
                *taken |= bit;
            }
            news.push(ThreadSpan {
                number,
                above: span.above,
                name: span.place.clone(),
                begin: Duration::from_nanos(span.begin),
                duration,
                error: errors.iter().find(|(index, _)| duration.is_some() && *index == number).map(|(_, error)| error.clone()),
                request: Duration::from_nanos(std::mem::take(&mut span.request)),
                body: Duration::from_nanos(std::mem::take(&mut span.body)),
            });
        }
        news
    }

    /// Gives visits that were taken from this thread to the clock of the server, below the app that has the clock or has had it last, and to the trace. Names that the
    /// stack does not have are ignored. `elapsed` is the time since the start of the clock that has measured them.
    pub fn report(&self, elapsed: Duration, spans: &[ThreadSpan<&str>]) {
        let Some(server) = &self.0.server else { return };
        let mut clock = server.lock();
        let now = server.0.at(Instant::now());
        clock.advance(now);
        let Some(app) = clock.holder.or(clock.app) else { return };
        clock.app = Some(app);
        let Some(stack) = clock.stack().and_then(StackBegin::stack) else { return };
        let mut traced = self.0.traced.as_ref().map(|traced| traced.lock().unwrap_or_else(PoisonError::into_inner));
        for span in spans {
            let Some((place, times)) = stack.timings.get(span.name) else { continue };
            let is_app = clock.span(app).place == *place;
            if let (true, Some(error)) = (is_app, &span.error) {
                clock.fail(app, error);
            }
            if let Some(traced) = &mut traced {
                match span.duration {
                    _ if is_app => traced.identify(span.number.into()),
                    Some(duration) => {
                        let ago = elapsed.saturating_sub(span.begin);
                        let spans = (span.number.into(), span.above.map(usize::from));
                        traced.record(spans, span.name, ago, duration, span.error.as_deref());
                    }
                    None => {}
                }
            }
            if !is_app {
                clock.add_below(app, place, times, now, span);
            }
        }
    }
}

impl AppThread {
    const ENDED: u64 = 1 << 63;

    fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn begin(&self, at: u64) {
        self.0.store(at.max(1), Ordering::Relaxed);
    }

    fn end(&self, time: u64) {
        self.0.store(time | Self::ENDED, Ordering::Relaxed);
    }

    /// How long it has had the request; `None` before it begins.
    pub(super) fn time(&self, now: u64) -> Option<u64> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            ended @ Self::ENDED.. => Some(ended - Self::ENDED),
            begun => Some(now.saturating_sub(begun)),
        }
    }
}

impl Clock {
    /// Adds self times that were measured below an app. All of them were waited for there, in the same phase.
    fn add_below(&mut self, app: u8, place: &Place, times: &PlaceTimes, begin: u64, measured: &ThreadSpan<&str>) {
        let (request, body) = (nanos(measured.request), nanos(measured.body));
        let above = self.span(app);
        let both = request.saturating_add(body);
        match above.end {
            None => {
                above.request = above.request.saturating_sub(both);
                times.request.observe_nanos(request);
            }
            Some(_) => above.body = above.body.saturating_sub(body),
        }
        let span = match self.spans.iter().position(|span| span.place == *place && span.above == Some(app)) {
            Some(known) => &mut self.spans[known],
            None if self.spans.len() < SPANS => {
                self.spans.push(VisitRecord::new(place.clone(), Some(app), begin));
                let last = self.spans.len() - 1;
                &mut self.spans[last]
            }
            None => return,
        };
        span.request = span.request.saturating_add(request);
        span.body = span.body.saturating_add(body);
    }
}
