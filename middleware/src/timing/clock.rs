//! The clock of one request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::timings::{PlaceTimes, TimedStack};
use super::visit::{PartVisit, ThreadVisit, Visit};
use crate::trace::{MeasuredSpans, Trace};
use crate::{Place, RequestSummary};

/// The clock of one request. A stack that is timed starts it ([`Timings::over`](super::Timings::over)) and leaves it in the [`RequestSummary`](crate::RequestSummary). A clone is the same
/// clock.
#[derive(Clone, Debug)]
pub struct RequestClock(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    /// The stack whose figures the times are added to; `None` for the clock of a thread of an app.
    pub(super) stack: Option<Arc<TimedStack>>,
    /// The clock that gets the times of a thread, unless it is one of another process.
    server: Option<RequestClock>,
    pub(super) begin: Instant,
    clock: Mutex<Clock>,
    /// The spans of the thread in the trace of the request.
    traced: Option<Mutex<MeasuredSpans>>,
}

#[derive(Debug)]
pub(super) struct Clock {
    /// Since when the holder has the clock.
    last: Instant,
    /// Who has been asked and has not answered, the innermost one; an index in `spans`. `None` while the client takes the response.
    pub(super) holder: Option<usize>,
    /// A usual request comes to few places.
    pub(super) spans: SmallVec<[Span; 4]>,
    /// The app that another process has measured the layers of.
    app: Option<usize>,
    pub(super) thread: Option<AppThread>,
    /// Which spans have been taken since they ended: a bit for each.
    taken: u64,
    parts: [Option<Duration>; AppPart::ALL.len()],
}

/// The thread of the app that serves the request.
#[derive(Clone, Copy, Debug)]
pub(super) enum AppThread {
    Begun(Instant),
    /// It is one of another process.
    Ended(Duration),
}

/// The visit of a request to one place.
#[derive(Clone, Debug)]
pub struct Span {
    /// The layer or app.
    pub place: Place,
    /// The span of the layer above, as an index in [`RequestClock::spans`].
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

/// How many visits the clock of a request tells apart. The time of further ones belongs to the layer above them.
const SPANS: usize = 64;

impl RequestClock {
    /// Starts the clock of a request that comes to `stack`.
    pub(super) fn start(stack: Arc<TimedStack>) -> Self {
        let begin = Instant::now();
        Self(Arc::new(Shared { stack: Some(stack), server: None, begin, clock: Mutex::new(Clock::new(begin)), traced: None }))
    }

    /// The clock of a request in a thread of an app, which may go on beside the server's own: the request waits for the thread since `begin`. Its times are for the clock
    /// of the server, which may be one of another process, and for the trace that the request is in.
    #[must_use]
    pub fn of_thread(server: Option<&Self>, begin: Instant, trace: Option<&Trace>) -> Self {
        let traced = trace.and_then(MeasuredSpans::below).map(Mutex::new);
        Self(Arc::new(Shared { stack: None, server: server.cloned(), begin, clock: Mutex::new(Clock::new(begin)), traced }))
    }

    /// The clock that gets the times of this one.
    #[must_use]
    pub fn server(&self) -> Option<&Self> {
        self.0.server.as_ref()
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.begin.elapsed()
    }

    /// The visits so far, in their order.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.lock().spans.to_vec()
    }

    /// The self times so far, one for each place that the request has come to.
    #[must_use]
    pub fn self_times(&self) -> Vec<SelfTime> {
        let mut times: Vec<SelfTime> = Vec::new();
        for span in &self.lock().spans {
            match times.iter_mut().find(|time| time.place == span.place) {
                Some(time) => {
                    time.request += span.request;
                    time.body += span.body;
                }
                None => times.push(SelfTime { place: span.place.clone(), request: span.request, body: span.body }),
            }
        }
        times
    }

    /// A part of the self times of apps; `None` if the request has come to no app with such a part.
    #[must_use]
    pub fn part(&self, part: AppPart) -> Option<Duration> {
        self.lock().parts[part as usize]
    }

    /// Adds to a part of the self time of the app that has the clock, until the guard is dropped.
    #[must_use]
    pub fn measure(&self, part: AppPart) -> PartVisit {
        PartVisit::begin(self.clone(), part)
    }

    /// The request waits for a thread of the app, whose clock this is. What the thread takes is Python's; the rest until the guard is dropped is the queue's.
    #[must_use]
    pub const fn wait(self) -> ThreadVisit {
        ThreadVisit::new(self)
    }

    /// Gives what is new of the visits in a thread to the clock of the server, and to the trace, unless they are of another process.
    pub fn report_to_server(&self) {
        if self.0.server.is_none() {
            return;
        }
        let spans = self.take();
        if !spans.is_empty() {
            let spans: Vec<_> = spans.iter().map(|span| span.named(span.name.as_str())).collect();
            self.report(self.elapsed(), &spans);
        }
    }

    /// A thread of the app begins with the request.
    pub fn begin_thread(&self) {
        self.lock().thread = Some(AppThread::Begun(Instant::now()));
    }

    /// How long the app's thread has had the request; `None` before it begins.
    #[must_use]
    pub fn thread_time(&self) -> Option<Duration> {
        self.lock().thread.map(|thread| thread.time(Instant::now()))
    }

    /// The thread of another process has had the request for this long.
    pub fn end_thread(&self, time: Duration) {
        self.lock().thread = Some(AppThread::Ended(time));
    }

    /// Takes what is new of the visits in this thread, for [`RequestClock::report`] in another process.
    #[must_use]
    pub fn take(&self) -> Vec<ThreadSpan<Place>> {
        let mut clock = self.lock();
        let Clock { spans, taken, .. } = &mut *clock;
        let mut news = Vec::new();
        for (number, span) in (0..).zip(spans) {
            let bit = 1_u64.checked_shl(number.into()).unwrap_or_default();
            let duration = span.end.filter(|_| *taken & bit == 0).map(|end| end.saturating_sub(span.begin));
            if duration.is_none() && (span.request + span.body).is_zero() {
                continue;
            }
            if duration.is_some() {
                *taken |= bit;
            }
            news.push(ThreadSpan {
                number,
                above: span.above.and_then(|above| u8::try_from(above).ok()),
                name: span.place.clone(),
                begin: span.begin,
                duration,
                request: std::mem::take(&mut span.request),
                body: std::mem::take(&mut span.body),
            });
        }
        news
    }

    /// Gives visits that were taken from this thread to the clock of the server, below the app that has the clock or has had it last, and to the trace. Names that the
    /// stack does not have are ignored. `elapsed` is the time since the start of the clock that has measured them.
    pub fn report(&self, elapsed: Duration, spans: &[ThreadSpan<&str>]) {
        let Some(server) = &self.0.server else { return };
        let mut clock = server.lock();
        let now = clock.advance().saturating_duration_since(server.0.begin);
        let Some(app) = clock.holder.or(clock.app) else { return };
        clock.app = Some(app);
        let mut traced = self.0.traced.as_ref().map(|traced| traced.lock().unwrap_or_else(PoisonError::into_inner));
        for span in spans {
            let Some((place, times)) = server.0.stack.as_ref().and_then(|stack| stack.timings.get(span.name)) else { continue };
            let is_app = clock.spans[app].place == *place;
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
    pub fn enter(&self, place: &Place) -> Option<Visit> {
        let mut clock = self.lock();
        let above = clock.holder;
        if clock.spans.len() >= SPANS || above.is_some_and(|above| clock.spans[above].place == *place) {
            return None;
        }
        let span = clock.spans.len();
        // A stack starts the clock at the moment when the request comes to its first place.
        let begin = if span == 0 && self.0.stack.is_some() { self.0.begin } else { clock.advance() };
        let begin = begin.saturating_duration_since(self.0.begin);
        clock.spans.push(Span { place: place.clone(), above, begin, end: None, request: Duration::ZERO, body: Duration::ZERO });
        clock.holder = Some(span);
        Some(Visit::begin(self.clone(), span, above))
    }

    /// The request of this clock comes to a place of a stack. The visit to the first place is that to the whole stack.
    pub(crate) fn enter_stack(&self, place: &Place, request: &RequestSummary) -> Option<Visit> {
        let visit = self.enter(place)?;
        Some(if visit.is_first() { visit.of_stack(request.clone()) } else { visit })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Clock> {
        self.0.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N> ThreadSpan<N> {
    /// The same with another form of its name.
    pub fn named<M>(&self, name: M) -> ThreadSpan<M> {
        let Self { number, above, begin, duration, request, body, .. } = *self;
        ThreadSpan { number, above, name, begin, duration, request, body }
    }
}

impl Span {
    pub(super) fn observe_body(&self) {
        if let (Some(times), false) = (self.place.times(), self.body.is_zero()) {
            times.body.observe(self.body);
        }
    }
}

impl AppThread {
    pub(super) fn time(self, now: Instant) -> Duration {
        match self {
            Self::Begun(at) => now.saturating_duration_since(at),
            Self::Ended(time) => time,
        }
    }
}

impl Clock {
    fn new(begin: Instant) -> Self {
        Self { last: begin, holder: None, spans: SmallVec::new(), app: None, thread: None, taken: 0, parts: <_>::default() }
    }

    /// Adds self times that were measured below an app. All of them were waited for there, in the same phase.
    fn add_below(&mut self, app: usize, place: &Place, times: &PlaceTimes, begin: Duration, measured: &ThreadSpan<&str>) {
        let (request, body) = (measured.request, measured.body);
        let above = &mut self.spans[app];
        match above.end {
            None => {
                above.request = above.request.saturating_sub(request + body);
                times.request.observe(request);
            }
            Some(_) => above.body = above.body.saturating_sub(body),
        }
        if let Some(span) = self.spans.iter_mut().find(|span| span.place == *place && span.above == Some(app)) {
            span.request += request;
            span.body += body;
        } else if self.spans.len() < SPANS {
            self.spans.push(Span { place: place.clone(), above: Some(app), begin, end: None, request, body });
        }
    }

    /// Gives the holder the time since the last change.
    pub(super) fn advance(&mut self) -> Instant {
        let now = Instant::now();
        let time = now.saturating_duration_since(std::mem::replace(&mut self.last, now));
        if let Some(holder) = self.holder {
            let span = &mut self.spans[holder];
            match span.end {
                None => span.request += time,
                Some(_) => span.body += time,
            }
        }
        now
    }

    /// The response of an app has ended, and with it those of the places that another clock has measured below it.
    pub(super) fn end_reported(&self, app: usize) {
        self.spans.iter().filter(|span| span.above == Some(app) && span.end.is_none()).for_each(Span::observe_body);
    }

    pub(super) fn add(&mut self, part: AppPart, time: Duration) {
        *self.parts[part as usize].get_or_insert_default() += time;
        if let Some(times) = self.holder.and_then(|holder| self.spans[holder].place.times()) {
            times.parts[part as usize].observe(time);
        }
    }
}
