//! The steps of the stack with their figures, for `ziggurat top` and the `dashboard` app.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};
use ziggurat_middleware::Metrics;
use ziggurat_middleware::metrics::{Sample, SampleValue};

use crate::pipeline::StackStep;

/// A step, and what has come to it since the start.
#[derive(Serialize)]
pub(super) struct StepFigures {
    #[serde(flatten)]
    step: StackStep,
    /// Of a stack that is timed.
    times: Option<Times>,
    /// What it has answered itself, by the class of the status.
    answers: Map<String, Value>,
}

#[derive(Clone, Default, Serialize)]
struct Times {
    requests: u64,
    /// Self times until the head of the response, and of bodies.
    request_s: f64,
    body_s: f64,
    /// The parts of an app's self time.
    parts_s: Map<String, Value>,
}

/// The steps with the figures that the metrics of the stack have.
pub(super) fn figures(steps: Vec<StackStep>, metrics: &Metrics) -> Vec<StepFigures> {
    let samples =
        |name: &'static str| metrics.families().iter().filter(move |family| family.name == name).flat_map(|family| &family.samples);
    let mut times: HashMap<&str, Times> = HashMap::new();
    for (place, phase, sample) in samples("ziggurat_self_seconds").filter_map(labels) {
        let SampleValue::Distribution(figures) = &sample.value else { continue };
        let times = times.entry(place).or_default();
        match phase {
            "request" => (times.requests, times.request_s) = (figures.count, figures.sum),
            _ => times.body_s = figures.sum,
        }
    }
    for (place, part, sample) in samples("ziggurat_app_part_seconds").filter_map(labels) {
        if let (Some(times), SampleValue::Distribution(figures)) = (times.get_mut(place), &sample.value) {
            times.parts_s.insert(part.to_owned(), figures.sum.into());
        }
    }
    let mut answers: HashMap<&str, Map<String, Value>> = HashMap::new();
    for (place, status, sample) in samples("ziggurat_http_requests_total").filter_map(labels) {
        if let SampleValue::Number(count) = sample.value {
            answers.entry(place).or_default().insert(status.to_owned(), (count as u64).into());
        }
    }
    let figures = steps.into_iter().map(|step| {
        let place = step.place.as_ref().map_or("", |place| place.as_str());
        StepFigures { times: times.get(place).cloned(), answers: answers.get(place).cloned().unwrap_or_default(), step }
    });
    figures.collect()
}

/// The place, and the value of the other label.
fn labels(sample: &Sample) -> Option<(&str, &str, &Sample)> {
    match sample.labels.as_slice() {
        [("place", place), (_, other)] => Some((place, other, sample)),
        _ => None,
    }
}
