//! What a run measured.

use std::time::Duration;

use serde::Serialize;

use crate::plan::Plan;

/// What the client saw.
pub(crate) struct Outcome {
    /// From the first request to the end of `seconds`, or to the last answer where `requests` ended the run.
    pub(crate) window: Duration,
    /// Share of the time in which there was nothing to do.
    pub(crate) idle: f64,
    /// One per group, in the plan's order.
    pub(crate) tallies: Vec<Tally>,
}

/// What one group saw.
#[derive(Default)]
pub(crate) struct Tally {
    /// Time of each visit, first octet sent to last octet received.
    pub(crate) latencies: Vec<Duration>,
    /// Of these, how many came after the window: they count as work of the server, not as its rate.
    pub(crate) late: usize,
    /// Connections opened anew because the server closed them (or the plan said so).
    pub(crate) reconnects: u64,
}

#[derive(Serialize)]
pub(crate) struct Report {
    /// Length of the window.
    seconds: f64,
    /// Share of the time in which the load generator had work: near 1 means that it, not the server, was the limit.
    own_load: f64,
    groups: Vec<GroupReport>,
}

#[derive(Serialize)]
struct GroupReport {
    name: String,
    /// All visits, for CPU time per request.
    requests: usize,
    /// Visits per second of the window.
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    reconnects: u64,
}

impl Report {
    pub(crate) fn new(plan: &Plan, outcome: Outcome) -> Self {
        let seconds = outcome.window.as_secs_f64();
        let groups = plan.groups.iter().zip(outcome.tallies).map(|(group, tally)| GroupReport::new(&group.name, tally, seconds)).collect();
        Self { seconds, own_load: 1.0 - outcome.idle, groups }
    }
}

impl GroupReport {
    fn new(name: &str, mut tally: Tally, seconds: f64) -> Self {
        tally.latencies.sort_unstable();
        let count = tally.latencies.len();
        let at = |share: f64| {
            let rank = (share * count as f64).ceil() as usize;
            tally.latencies.get(rank.saturating_sub(1)).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        Self {
            name: name.to_owned(),
            requests: count,
            rate: (count - tally.late) as f64 / seconds,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
            reconnects: tally.reconnects,
        }
    }
}
