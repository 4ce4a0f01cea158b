//! The log of slow requests: where their time has gone.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::{AppPart, RequestClock, SelfTime};
use crate::{RequestSummary, Summary};

/// Logs requests whose response takes long to begin.
#[derive(Clone, Debug)]
pub(super) struct SlowLog {
    after: Duration,
    /// By the place that has taken most of the time.
    lines: Summary<String>,
}

impl SlowLog {
    pub(super) fn new(after: Duration) -> Self {
        Self { after, lines: Summary::default() }
    }

    /// A request leaves the stack: with the head of its response, or because nobody waits for it any longer.
    pub(super) fn leave(&self, request: &RequestSummary, clock: &RequestClock, has_response: bool, elapsed: Duration) {
        if elapsed < self.after {
            return;
        }
        let times = Breakdown::of(clock);
        let Some(most) = times.places.first().map(|time| time.place.to_string()) else { return };
        let place = most.clone();
        let sum_up = move |count: u64, latest: String, seconds: u64| {
            tracing::warn!(place, count, "{count} more requests were slow within {seconds} s, the last one: {latest}");
        };
        let what = if has_response { "the response took" } else { "there was no response after" };
        let elapsed = Seconds(elapsed);
        if self.lines.begins(most.clone(), || format!("{request}: {elapsed}: {times}"), sum_up) {
            let (request_id, shown) = (request.id(), tracing::field::display(request));
            tracing::warn!(request_id, request = shown, place = most, "slow: {what} {elapsed}: {times}");
        }
    }
}

/// The places that have taken most of the time, and the parts of the app's.
struct Breakdown {
    places: Vec<SelfTime>,
    parts: Vec<(AppPart, Duration)>,
}

/// How many places a line tells.
const PLACES: usize = 5;

impl Breakdown {
    fn of(clock: &RequestClock) -> Self {
        let mut places = clock.self_times();
        places.sort_by_key(|time| std::cmp::Reverse(time.request));
        places.truncate(PLACES);
        Self { places, parts: AppPart::ALL.into_iter().filter_map(|part| Some((part, clock.part(part)?))).collect() }
    }
}

impl Display for Breakdown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for SelfTime { place, request, .. } in &self.places {
            write!(f, "{between}{place} {}", Seconds(*request))?;
            between = ", ";
        }
        let mut between = "; of the app's time ";
        for (part, time) in &self.parts {
            write!(f, "{between}{} {}", part.as_str(), Seconds(*time))?;
            between = ", ";
        }
        Ok(())
    }
}

struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.0.as_secs_f64())
    }
}
