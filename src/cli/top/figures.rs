//! The figures of a server at one moment, and what has changed since another one.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How the steps are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// As in the file.
    #[default]
    Stack,
    Rate,
    Errors,
    /// By the share of the time.
    Time,
}

/// The status of a server.
pub(super) struct Figures {
    pub(super) status: Value,
    at: Instant,
}

/// What has come to a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StepRates {
    pub(super) depth: usize,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) place: Option<String>,
    /// Requests in a second; `None` if they are not counted.
    pub(super) rate: Option<f64>,
    /// Answers with 5xx in a second.
    pub(super) errors: f64,
    /// The mean self time of a request and of a body, in seconds.
    pub(super) request: Option<f64>,
    pub(super) body: Option<f64>,
    /// The part of all self times, from 0 to 1.
    pub(super) share: Option<f64>,
}

impl Figures {
    pub(super) const fn new(status: Value, at: Instant) -> Self {
        Self { status, at }
    }

    /// Whether both are of one process.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.status["pid"] == other.status["pid"]
    }

    /// Seconds since the earlier figures, or since the start of the server.
    pub(super) fn seconds(&self, before: Option<&Self>) -> f64 {
        let since = before.map(|before| self.at.saturating_duration_since(before.at));
        since.unwrap_or_else(|| Duration::from_secs(self.status["uptime_s"].as_u64().unwrap_or_default())).as_secs_f64().max(0.001)
    }

    /// The growth of a counter in the whole status.
    pub(super) fn growth(&self, before: Option<&Self>, counter: impl Fn(&Value) -> f64) -> f64 {
        (counter(&self.status) - before.map_or(0.0, |before| counter(&before.status))).max(0.0)
    }

    /// The steps, sorted.
    pub(super) fn steps(&self, before: Option<&Self>, order: Order) -> Vec<StepRates> {
        let seconds = self.seconds(before);
        let earlier =
            |step: &Value| before.and_then(|before| list(&before.status["steps"]).iter().find(|other| other["place"] == step["place"]));
        let mut steps: Vec<StepRates> = Vec::new();
        let mut times = Vec::new();
        for step in list(&self.status["steps"]) {
            let earlier = if step["place"].is_null() { None } else { earlier(step) };
            let growth = |value: &dyn Fn(&Value) -> f64| (value(step) - earlier.map_or(0.0, value)).max(0.0);
            let requests = growth(&|step| number(&step["times"]["requests"]));
            let (request, body) = (growth(&|step| number(&step["times"]["request_s"])), growth(&|step| number(&step["times"]["body_s"])));
            let is_timed = step["times"].is_object();
            let mean = |sum: f64| (is_timed && requests > 0.0).then(|| sum / requests);
            let text = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
            times.push(request + body);
            steps.push(StepRates {
                depth: usize::try_from(step["depth"].as_u64().unwrap_or_default()).unwrap_or_default(),
                kind: text("kind"),
                name: text("name"),
                place: step["place"].as_str().map(str::to_owned),
                rate: is_timed.then(|| requests / seconds),
                errors: growth(&|step| number(&step["answers"]["5xx"])) / seconds,
                request: mean(request),
                body: mean(body),
                share: None,
            });
        }
        let all: f64 = times.iter().sum();
        for (step, time) in steps.iter_mut().zip(times) {
            step.share = (step.rate.is_some() && all > 0.0).then(|| time / all);
        }
        if order != Order::Stack {
            steps.retain(|step| step.place.is_some());
            let key = |step: &StepRates| match order {
                Order::Rate => step.rate.unwrap_or_default(),
                Order::Errors => step.errors,
                Order::Time | Order::Stack => step.share.unwrap_or_default(),
            };
            // Finite numbers, to a thousandth of a thousandth.
            steps.sort_by_key(|step| Reverse((key(step) * 1e6) as u64));
        }
        steps
    }

    /// The first line: the process and its traffic.
    pub(super) fn title(&self, before: Option<&Self>) -> String {
        let seconds = self.seconds(before);
        let requests = self.growth(before, |status| number(&status["requests"])) / seconds;
        let errors = self.growth(before, |status| number(&status["responses"]["5xx"])) / seconds;
        let text = |key: &str| super::super::status::scalar(key, &self.status[key]);
        format!(
            "ziggurat {}, up {}: {} req/s, {} 5xx/s, {} under way, {} open",
            text("state"),
            text("uptime_s"),
            rate(requests),
            rate(errors),
            text("in_progress"),
            self.status["connections"]["open"],
        )
    }
}

/// A rate with as many decimals as it has meaning.
pub(super) fn rate(rate: f64) -> String {
    if rate >= 100.0 || rate == 0.0 { format!("{rate:.0}") } else { format!("{rate:.1}") }
}

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
