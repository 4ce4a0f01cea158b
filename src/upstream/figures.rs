//! The figures of endpoints, for `ziggurat status` and for metrics.

use serde_json::{Value, json};
use tokio::time::Instant;
use ziggurat_middleware::Metrics;
use ziggurat_middleware::metrics::{Counter, Histogram};

use super::Upstream;
use super::eject::BreakerState;
use super::failure::FailureKind;
use super::protocol::Protocol;
use super::queue::QueueMetrics;
use super::set::SetMember;

/// The counters of one endpoint.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Answers by the first digit of their status, from 1xx to 5xx.
    pub(super) answers: [Counter; 5],
    /// Failed attempts, in the order of [`FailureKind::ALL`].
    failures: [Counter; FailureKind::ALL.len()],
    /// From the start of an attempt to the head of the answer.
    pub(super) latency: Histogram,
    pub(super) checks_failed: Counter,
    pub(super) ejections: Counter,
    pub(super) sent: Counter,
    pub(super) received: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            answers: Default::default(),
            failures: Default::default(),
            latency: Histogram::new(Histogram::WAITS),
            checks_failed: Counter::default(),
            ejections: Counter::default(),
            sent: Counter::default(),
            received: Counter::default(),
        }
    }
}

impl Counters {
    pub(super) fn failed(&self, kind: FailureKind) {
        if let Some((_, counter)) = self.failures().find(|(other, _)| *other == kind) {
            counter.add(1);
        }
    }

    pub(super) fn answered(&self, status: http::StatusCode) {
        if let Some(counter) = self.answers.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            counter.add(1);
        }
    }

    fn failures(&self) -> impl Iterator<Item = (FailureKind, &Counter)> {
        FailureKind::ALL.into_iter().zip(&self.failures)
    }
}

impl<P: Protocol> Upstream<P> {
    /// For `ziggurat status`: the queue, and a row for each endpoint.
    pub(crate) fn status(&self) -> Value {
        let set = self.set.load();
        let now = Instant::now();
        let mut fields = self.state.queue.status(self.settings.queue.limit);
        fields.insert("endpoints".to_owned(), set.members.iter().map(|member| row(member, now)).collect());
        Value::Object(fields)
    }

    /// The same as metrics, labelled with the app's place and the endpoint.
    pub(crate) fn scrape(&self, metrics: &mut Metrics) {
        let app = self.place.as_str();
        self.state.queue.scrape(app, &QUEUE, metrics);
        for member in &self.set.load().members {
            scrape(member, app, metrics);
        }
    }
}

const QUEUE: QueueMetrics = QueueMetrics {
    length: ("ziggurat_upstream_queue_length", "Requests that wait for an endpoint."),
    waits: ("ziggurat_upstream_queue_wait_seconds", "Time that requests waited for an endpoint."),
    refused: ("ziggurat_upstream_refused_total", "Requests refused with 503."),
};

fn state_of<P: Protocol>(member: &SetMember<P>, now: Instant) -> String {
    let state = &member.endpoint.state;
    match state.breaker.state(now) {
        _ if !state.health.is_up() => "down".to_owned(),
        BreakerState::Out(until) if until > now => format!("ejected for {} s", until.duration_since(now).as_secs() + 1),
        BreakerState::Out(_) | BreakerState::Probe => "half open".to_owned(),
        BreakerState::In if member.weight == 0 => "draining".to_owned(),
        BreakerState::In => "up".to_owned(),
    }
}

fn row<P: Protocol>(member: &SetMember<P>, now: Instant) -> Value {
    let state = &member.endpoint.state;
    let (open, idle) = member.endpoint.pool.connections();
    let latency = state.counters.latency.get();
    let mean = if latency.count == 0 { Value::Null } else { (latency.sum / latency.count as f64).into() };
    json!({
        "endpoint": member.endpoint.label,
        "state": state_of(member, now),
        "weight": member.weight,
        "under way": state.under_way(),
        "tunnels": state.tunnels.load(std::sync::atomic::Ordering::SeqCst),
        "connections": open,
        "idle": idle,
        "answers": state.counters.answers.iter().map(Counter::get).sum::<u64>(),
        "errors": state.counters.answers[4].get(),
        "failures": state.counters.failures().map(|(_, counter)| counter.get()).sum::<u64>(),
        "latency_s": mean,
    })
}

fn scrape<P: Protocol>(member: &SetMember<P>, app: &str, metrics: &mut Metrics) {
    let (endpoint, state) = (&member.endpoint, &member.endpoint.state);
    let labels = [("app", app), ("endpoint", &*endpoint.label)];
    let (open, idle) = endpoint.pool.connections();
    let is_up = matches!(state.breaker.state(Instant::now()), BreakerState::In) && state.health.is_up();
    metrics.gauge("ziggurat_upstream_up", "Whether the endpoint takes requests.").sample(&labels, is_up);
    metrics.gauge("ziggurat_upstream_requests", "Requests and tunnels under way.").sample(&labels, state.under_way());
    let tunnels = state.tunnels.load(std::sync::atomic::Ordering::SeqCst);
    metrics.gauge("ziggurat_upstream_tunnels", "Upgraded connections under way.").sample(&labels, tunnels);
    metrics.gauge("ziggurat_upstream_connections", "Open connections.").sample(&labels, open);
    metrics.gauge("ziggurat_upstream_connections_idle", "Idle connections.").sample(&labels, idle);
    let answers = metrics.counter("ziggurat_upstream_answers_total", "Answers by the class of their status.");
    for (class, counter) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&state.counters.answers) {
        answers.sample(&[labels[0], labels[1], ("status", class)], counter);
    }
    let failures = metrics.counter("ziggurat_upstream_failures_total", "Failed attempts by what went wrong.");
    for (kind, counter) in state.counters.failures() {
        failures.sample(&[labels[0], labels[1], ("reason", kind.as_str())], counter);
    }
    let latency = metrics.histogram("ziggurat_upstream_latency_seconds", "Time from the start of an attempt to the head of its answer.");
    latency.sample(&labels, &state.counters.latency);
    metrics.counter("ziggurat_upstream_checks_failed_total", "Failed health checks.").sample(&labels, &state.counters.checks_failed);
    metrics.counter("ziggurat_upstream_ejections_total", "Ejections.").sample(&labels, &state.counters.ejections);
    metrics
        .counter("ziggurat_upstream_tunnel_sent_octets_total", "Octets through tunnels to the endpoint.")
        .sample(&labels, &state.counters.sent);
    let received = metrics.counter("ziggurat_upstream_tunnel_received_octets_total", "Octets through tunnels from the endpoint.");
    received.sample(&labels, &state.counters.received);
}
