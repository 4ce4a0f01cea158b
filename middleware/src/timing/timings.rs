//! The figures of all places of a stack.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::StatusCode;

use super::slow::SlowLog;
use super::span::nanos;
use super::{AppPart, RecentErrors, RequestClock};
use crate::metrics::{Distribution, Histogram};
use crate::{Context, Metrics, Next, Place, RequestSummary};

/// The self times of the layers and apps of a stack. A clone has the same figures.
#[derive(Clone, Debug, Default)]
pub struct Timings(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    /// From the top of the file to its bottom.
    places: Vec<(Place, Arc<PlaceTimes>)>,
    by_name: HashMap<Place, usize>,
}

/// A stack that is timed.
#[derive(Debug)]
pub(super) struct TimedStack {
    pub(super) timings: Timings,
    slow: Option<SlowLog>,
    errors: Arc<RecentErrors>,
}

/// What the first place of a stack that is timed knows of it. It does not keep the stack, which keeps its places.
#[derive(Debug)]
pub(crate) struct StackBegin {
    stack: Weak<TimedStack>,
    /// How long the response of a request that is not slow takes, in nanoseconds.
    slow: u64,
}

/// The figures of one place.
#[derive(Debug)]
pub(crate) struct PlaceTimes {
    pub(super) request: Histogram,
    pub(super) body: Histogram,
    pub(super) parts: [Histogram; AppPart::ALL.len()],
}

/// Upper bounds in seconds. Native layers take microseconds, apps up to seconds.
const BOUNDS: &[f64] = &[0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Default for PlaceTimes {
    fn default() -> Self {
        let histogram = || Histogram::new(BOUNDS);
        Self { request: histogram(), body: histogram(), parts: AppPart::ALL.map(|_| histogram()) }
    }
}

/// The figures of one place at one moment.
#[derive(Clone, Debug)]
pub struct PlaceFigures {
    /// The layer or app.
    pub place: Place,
    /// Self times until the head of the response.
    pub request: Distribution,
    /// Self times of response bodies.
    pub body: Distribution,
    /// The parts of an app's self time.
    pub parts: [Distribution; AppPart::ALL.len()],
}

impl Timings {
    /// The figures of these places, from the top of the file to its bottom. The layers and apps of the previous stack that have the same places go on with theirs.
    /// `context` gives the context of a place.
    pub fn new(places: impl IntoIterator<Item = Place>, context: impl Fn(&Place) -> Context) -> Self {
        let mut figures = Figures::default();
        for place in places {
            if !figures.by_name.contains_key(&place) {
                figures.by_name.insert(place.clone(), figures.places.len());
                let times = context(&place).keep(PlaceTimes::default);
                figures.places.push((place.timed(Arc::clone(&times)), times));
            }
        }
        Self(Arc::new(figures))
    }

    /// The same place, with its figures if it has any.
    #[must_use]
    pub fn place(&self, place: &Place) -> Place {
        self.get(place.as_str()).map_or_else(|| place.clone(), |(place, _)| place.clone())
    }

    /// The stack, which starts the clock of each request, and logs where the time has gone if the response takes longer than `slow` to begin. The hooks are those of
    /// `context`.
    #[must_use]
    pub fn over(self, stack: Next, slow: Option<Duration>, context: &Context) -> Next {
        let timed = Arc::new(TimedStack { timings: self, slow: slow.map(SlowLog::new), errors: Self::recent_errors(context) });
        stack.place().begin_stack(StackBegin { stack: Arc::downgrade(&timed), slow: slow.map_or(u64::MAX, nanos) });
        context.on_scrape(move |metrics| timed.timings.scrape(metrics));
        stack
    }

    /// The recent errors of a stack at the place of `context`. They survive a reload.
    #[must_use]
    pub fn recent_errors(context: &Context) -> Arc<RecentErrors> {
        context.keep(RecentErrors::default)
    }

    /// The figures of all places, from the top of the file to its bottom.
    #[must_use]
    pub fn figures(&self) -> Vec<PlaceFigures> {
        let figures = |(place, times): &(Place, Arc<PlaceTimes>)| PlaceFigures {
            place: place.clone(),
            request: times.request.get(),
            body: times.body.get(),
            parts: AppPart::ALL.map(|part| times.parts[part as usize].get()),
        };
        self.0.places.iter().map(figures).collect()
    }

    /// Adds the families.
    fn scrape(&self, metrics: &mut Metrics) {
        let figures = self.figures();
        let help = "Time that layers and apps take themselves, without what is below them, by phase: until the head of the response, and its body.";
        let family = metrics.histogram("ziggurat_self_seconds", help);
        for figures in &figures {
            let place = figures.place.as_str();
            family.sample(&[("place", place), ("phase", "request")], figures.request.clone());
            if figures.body.count > 0 {
                family.sample(&[("place", place), ("phase", "body")], figures.body.clone());
            }
        }
        let parts = || AppPart::ALL.into_iter().flat_map(|part| figures.iter().map(move |figures| (part, figures)));
        let known = parts().filter(|(part, figures)| figures.parts[*part as usize].count > 0);
        let help = "Parts of the self time of apps until the head of the response: the queue, Python, the upstream.";
        let family = metrics.histogram("ziggurat_app_part_seconds", help);
        for (part, figures) in known {
            family.sample(&[("place", figures.place.as_str()), ("part", part.as_str())], figures.parts[part as usize].clone());
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<(&Place, &PlaceTimes)> {
        self.0.by_name.get(name).and_then(|index| self.0.places.get(*index)).map(|(place, times)| (place, &**times))
    }
}

impl StackBegin {
    pub(super) fn stack(&self) -> Option<Arc<TimedStack>> {
        self.stack.upgrade()
    }

    /// Whether the stack notes a request that leaves it.
    pub(super) fn notes(&self, status: Option<StatusCode>, elapsed: u64) -> bool {
        elapsed >= self.slow || status.is_some_and(|status| status.is_server_error())
    }
}

impl TimedStack {
    /// A request leaves the stack: with the head of its response, or because nobody waits for it any longer.
    pub(super) fn leave(&self, request: &RequestSummary, clock: &RequestClock, status: Option<StatusCode>, elapsed: u64) {
        if let Some(status) = status {
            self.errors.note(status, request);
        }
        if let Some(slow) = &self.slow {
            slow.leave(request, clock, status.is_some(), Duration::from_nanos(elapsed));
        }
    }
}
