//! The clock of one request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::span::{VisitRecord, nanos};
use super::timings::{PlaceTimes, StackBegin, TimedStack};
use super::visit::{PartVisit, ThreadVisit, Visit};
use super::{AppPart, SelfTime, Span, ThreadSpan};
use crate::Place;
use crate::trace::{MeasuredSpans, Trace};

/// The clock of one request. A stack that is timed starts it ([`Timings::over`](super::Timings::over)) and leaves it in the [`RequestSummary`](crate::RequestSummary). A clone is the same
/// clock.
#[derive(Clone, Debug)]
pub struct RequestClock(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    /// Whether the times are added to the figures of a stack, the one that begins at the first place. Otherwise it is the clock of a thread of an app.
    pub(super) is_of_stack: bool,
    /// The clock that gets the times of a thread, unless it is one of another process.
    server: Option<RequestClock>,
    begin: Instant,
    clock: Mutex<Clock>,
    pub(super) thread: AppThread,
    /// The spans of the thread in the trace of the request.
    traced: Option<Box<Mutex<MeasuredSpans>>>,
}

/// Times are in nanoseconds since the start of the clock.
#[derive(Debug)]
pub(super) struct Clock {
    /// Since when the holder has the clock.
    last: u64,
    /// Whether that is now, for the end of a visit.
    pub(super) is_current: bool,
    /// Who has been asked and has not answered, the innermost one; an index in `spans`. `None` while the client takes the response.
    pub(super) holder: Option<u8>,
    /// A usual request comes to few places.
    spans: SmallVec<[VisitRecord; 4]>,
    /// The app that another clock has measured the layers of.
    app: Option<u8>,
    /// Which spans have been taken since they ended: a bit for each.
    taken: u64,
    parts: [Option<u64>; AppPart::ALL.len()],
}

/// The thread of the app that serves the request: nothing before it begins, then the time since the start of the clock, or [`AppThread::ENDED`] and how long the
/// thread of another process has had the request. A number, because the app's thread writes it while others have the clock.
#[derive(Debug, Default)]
pub(super) struct AppThread(AtomicU64);

/// How many visits the clock of a request tells apart. The time of further ones belongs to the layer above them.
const SPANS: usize = 64;

impl RequestClock {
    /// Starts the clock of a request that comes to the beginning of a stack.
    pub(crate) fn start() -> Self {
        Self::new(true, None, Instant::now(), None)
    }

    /// The clock of a request in a thread of an app that has layers above it there, which may go on beside the server's own: the request waits for the thread since
    /// `begin`. Its times are for the clock of the server, which may be one of another process, and for the trace that the request is in.
    #[must_use]
    pub fn of_thread(server: Option<&Self>, begin: Instant, trace: Option<&Trace>) -> Self {
        let traced = trace.and_then(MeasuredSpans::below).map(|spans| Box::new(Mutex::new(spans)));
        Self::new(false, server.cloned(), begin, traced)
    }

    fn new(is_of_stack: bool, server: Option<Self>, begin: Instant, traced: Option<Box<Mutex<MeasuredSpans>>>) -> Self {
        let clock = Clock { last: 0, is_current: false, holder: None, spans: SmallVec::new(), app: None, taken: 0, parts: <_>::default() };
        Self(Arc::new(Shared { is_of_stack, server, begin, clock: Mutex::new(clock), thread: AppThread::default(), traced }))
    }

    /// Whether it is that of a thread, and gives its times to another one.
    pub(super) fn has_server(&self) -> bool {
        self.0.server.is_some()
    }

    /// The clock that the times are for.
    pub(super) fn of_server(&self) -> &Self {
        self.0.server.as_ref().unwrap_or(self)
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.begin.elapsed()
    }

    /// The visits so far, in their order.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.lock().spans.iter().map(Span::from).collect()
    }

    /// The self times so far, one for each place that the request has come to.
    #[must_use]
    pub fn self_times(&self) -> Vec<SelfTime> {
        let mut times: Vec<SelfTime> = Vec::new();
        for span in &self.lock().spans {
            let (request, body) = (Duration::from_nanos(span.request), Duration::from_nanos(span.body));
            match times.iter_mut().find(|time| time.place == span.place) {
                Some(time) => {
                    time.request += request;
                    time.body += body;
                }
                None => times.push(SelfTime { place: span.place.clone(), request, body }),
            }
        }
        times
    }

    /// A part of the self times of apps; `None` if the request has come to no app with such a part.
    #[must_use]
    pub fn part(&self, part: AppPart) -> Option<Duration> {
        self.lock().parts[part as usize].map(Duration::from_nanos)
    }

    /// Adds to a part of the self time of the app that has the clock, until the guard is dropped.
    #[must_use]
    pub fn measure(&self, part: AppPart) -> PartVisit {
        PartVisit::begin(self.clone(), part)
    }

    /// The request waits for a thread of the app, whose clock this is ([`RequestClock::of_thread`]). What the thread takes is Python's; the rest until the guard is
    /// dropped is the queue's.
    #[must_use]
    pub fn wait(self) -> ThreadVisit {
        ThreadVisit::new(self, 0)
    }

    /// The request waits for a thread of an app that has no layers there, since then; otherwise as [`RequestClock::wait`].
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
        let Clock { spans, taken, .. } = &mut *clock;
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
            if let Some(traced) = &mut traced {
                match span.duration {
                    _ if is_app => traced.identify(span.number.into()),
                    Some(duration) => {
                        let ago = elapsed.saturating_sub(span.begin);
                        traced.record(span.number.into(), span.above.map(usize::from), span.name, ago, duration);
                    }
                    None => {}
                }
            }
            if !is_app {
                clock.add_below(app, place, times, now, span);
            }
        }
    }

    /// The request comes to a place. `None` if this is the place that has the clock already, or if there have been too many.
    #[must_use]
    pub fn enter(&self, place: &Place) -> Option<Visit> {
        Some(Visit::new(self.clone(), self.begin_span(place)?))
    }

    pub(super) fn begin_span(&self, place: &Place) -> Option<u8> {
        let mut clock = self.lock();
        let above = clock.holder;
        if clock.spans.len() >= SPANS || above.is_some_and(|above| clock.span(above).place == *place) {
            return None;
        }
        let span = u8::try_from(clock.spans.len()).ok()?;
        // A stack starts the clock at the moment when the request comes to its first place.
        let begin = if span == 0 && self.0.is_of_stack { 0 } else { self.0.at(Instant::now()) };
        clock.advance(begin);
        clock.spans.push(VisitRecord::new(place.clone(), above, begin));
        clock.holder = Some(span);
        Some(span)
    }

    /// The head of a response with this status has left a place, or there will be none. Returns the stack that ends with it, if that wants to know, and the time since the
    /// start.
    pub(super) fn end_span(&self, index: u8, status: Option<StatusCode>, is_streamed: bool) -> Option<(Arc<TimedStack>, u64)> {
        let mut clock = self.lock();
        if !clock.is_current {
            clock.advance(self.0.at(Instant::now()));
        }
        clock.is_current = false;
        let now = clock.last;
        let span = clock.span(index);
        span.end = Some(now);
        let above = span.above;
        clock.holder = above;
        if !self.0.is_of_stack {
            return None;
        }
        clock.span(index).observe_request();
        if !is_streamed {
            clock.end_reported(index);
        }
        // The visit to the first place is that to the whole stack.
        let stack = if index == 0 { clock.stack() } else { None };
        stack.filter(|stack| stack.notes(status, now)).and_then(StackBegin::stack).map(|stack| (stack, now))
    }

    /// The clock, after it has given the holder the time since the last change.
    pub(super) fn advance(&self) -> MutexGuard<'_, Clock> {
        let mut clock = self.lock();
        let now = self.0.at(Instant::now());
        clock.advance(now);
        clock
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Clock> {
        self.0.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// This moment in nanoseconds since the start.
    pub(super) fn at(&self, moment: Instant) -> u64 {
        nanos(moment.saturating_duration_since(self.begin))
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
    /// The stack that the request has come to.
    fn stack(&self) -> Option<&StackBegin> {
        self.spans.first()?.place.stack()
    }

    fn span(&mut self, index: u8) -> &mut VisitRecord {
        &mut self.spans[usize::from(index)]
    }

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

    /// Gives the holder the time since the last change.
    pub(super) fn advance(&mut self, now: u64) {
        let time = now.saturating_sub(std::mem::replace(&mut self.last, now));
        self.is_current = false;
        if let Some(holder) = self.holder {
            self.span(holder).add(time);
        }
    }

    /// The response's body that a place has made or changed has ended.
    pub(super) fn end_body(&mut self, index: u8) {
        self.span(index).observe_body();
        self.end_reported(index);
    }

    /// The response of an app has ended, and with it those of the places that another clock has measured below it.
    fn end_reported(&self, app: u8) {
        if self.app.is_some() {
            self.spans.iter().filter(|span| span.above == Some(app) && span.end.is_none()).for_each(VisitRecord::observe_body);
        }
    }

    pub(super) fn add(&mut self, part: AppPart, time: u64) {
        let total = self.parts[part as usize].get_or_insert_default();
        *total = total.saturating_add(time);
        if let Some(holder) = self.holder
            && let Some(times) = self.span(holder).place.times()
        {
            times.parts[part as usize].observe_nanos(time);
        }
    }
}
