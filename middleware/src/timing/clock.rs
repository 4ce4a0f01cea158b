//! The clock of one request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::timings::TimedStack;
use super::visit::{PartVisit, ThreadVisit, Visit};
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
        Self::new(Some(stack), None, Instant::now())
    }

    /// The clock of a request in a thread of an app, which may go on beside the server's own: the request waits for the thread since `begin`. Its times are for the clock
    /// of the server, which may be one of another process.
    #[must_use]
    pub fn of_thread(server: Option<&Self>, begin: Instant) -> Self {
        Self::new(None, server.cloned(), begin)
    }

    fn new(stack: Option<Arc<TimedStack>>, server: Option<Self>, begin: Instant) -> Self {
        let clock = Clock { last: begin, holder: None, spans: SmallVec::new(), app: None, thread: None, parts: <_>::default() };
        Self(Arc::new(Shared { stack, server, begin, clock: Mutex::new(clock) }))
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

    /// Adds self times that another process has measured, below the app that has the clock or has had it last. Names that the stack does not have are ignored.
    pub fn report<'a>(&self, measured: impl IntoIterator<Item = (&'a str, Duration, Duration)>) {
        let mut clock = self.lock();
        let begin = clock.advance().saturating_duration_since(self.0.begin);
        let Some(app) = clock.holder.or(clock.app) else { return };
        clock.app = Some(app);
        for (name, request, body) in measured {
            let Some((place, times)) = self.0.stack.as_ref().and_then(|stack| stack.timings.get(name)) else { continue };
            let above = &mut clock.spans[app];
            if above.place == *place {
                continue;
            }
            // All of it was waited for here, in the same phase.
            match above.end {
                None => above.request = above.request.saturating_sub(request + body),
                Some(_) => above.body = above.body.saturating_sub(body),
            }
            if above.end.is_none() {
                times.request.observe(request);
            }
            if let Some(span) = clock.spans.iter_mut().find(|span| span.place == *place && span.above == Some(app)) {
                span.request += request;
                span.body += body;
            } else if clock.spans.len() < SPANS {
                clock.spans.push(Span { place: place.clone(), above: Some(app), begin, end: None, request, body });
            }
        }
    }

    /// Takes the self times that were not taken before, for [`RequestClock::report`] in another process.
    #[must_use]
    pub fn take(&self) -> Vec<SelfTime> {
        let mut times = self.self_times();
        times.retain(|time| !(time.request + time.body).is_zero());
        for span in &mut self.lock().spans {
            (span.request, span.body) = <_>::default();
        }
        times
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
