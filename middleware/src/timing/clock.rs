//! The clock of one request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::span::{VisitRecord, nanos};
use super::thread::AppThread;
use super::timings::{StackBegin, TimedStack};
use super::visit::{PartVisit, Visit};
use super::{AppPart, SelfTime, Span};
use crate::Place;
use crate::trace::MeasuredSpans;

/// The clock of one request. A stack that is timed starts it ([`Timings::over`](super::Timings::over)) and leaves it in the [`RequestSummary`](crate::RequestSummary). A clone is the same
/// clock.
#[derive(Clone, Debug)]
pub struct RequestClock(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    /// Whether the times are added to the figures of a stack, the one that begins at the first place. Otherwise it is the clock of a thread of an app.
    pub(super) is_of_stack: bool,
    /// The clock that gets the times of a thread, unless it is one of another process.
    pub(super) server: Option<RequestClock>,
    begin: Instant,
    clock: Mutex<Clock>,
    pub(super) thread: AppThread,
    /// The spans of the thread in the trace of the request.
    pub(super) traced: Option<Box<Mutex<MeasuredSpans>>>,
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
    pub(super) spans: SmallVec<[VisitRecord; 4]>,
    /// The app that another clock has measured the layers of.
    pub(super) app: Option<u8>,
    /// Which spans have been taken since they ended: a bit for each.
    pub(super) taken: u64,
    /// What visits in a thread have failed with, the last one last.
    pub(super) errors: Vec<(u8, Box<str>)>,
    parts: [Option<u64>; AppPart::ALL.len()],
}

/// How many visits the clock of a request tells apart. The time of further ones belongs to the layer above them.
pub(super) const SPANS: usize = 64;

/// The longest name of an error, in octets.
const LONGEST_ERROR: usize = 256;

impl RequestClock {
    /// Starts the clock of a request that comes to the beginning of a stack.
    pub(crate) fn start() -> Self {
        Self::new(true, None, Instant::now(), None)
    }

    pub(super) fn new(is_of_stack: bool, server: Option<Self>, begin: Instant, traced: Option<Box<Mutex<MeasuredSpans>>>) -> Self {
        let clock = Clock {
            last: 0,
            is_current: false,
            holder: None,
            spans: SmallVec::new(),
            app: None,
            taken: 0,
            errors: Vec::new(),
            parts: <_>::default(),
        };
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
            if let Some(status) = status.filter(StatusCode::is_server_error) {
                clock.fail(index, status.as_str());
            }
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

    /// The visit fails with this: the type of an exception, which is cut off after 256 octets.
    pub(super) fn fail(&self, index: u8, error: &str) {
        let end = (0..=error.len().min(LONGEST_ERROR)).rev().find(|at| error.is_char_boundary(*at)).unwrap_or_default();
        self.lock().fail(index, &error[..end]);
    }

    /// What the visit has failed with in another process, or in a thread.
    pub(super) fn error(&self, index: u8) -> Option<Box<str>> {
        self.lock().errors.iter().find(|(failed, _)| *failed == index).map(|(_, error)| error.clone())
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

impl Clock {
    /// The stack that the request has come to.
    pub(super) fn stack(&self) -> Option<&StackBegin> {
        self.spans.first()?.place.stack()
    }

    pub(super) fn span(&mut self, index: u8) -> &mut VisitRecord {
        &mut self.spans[usize::from(index)]
    }

    /// The first error of a visit counts.
    pub(super) fn fail(&mut self, index: u8, error: &str) {
        if self.errors.iter().all(|(failed, _)| *failed != index) {
            self.errors.push((index, error.into()));
        }
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
