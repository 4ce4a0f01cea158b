//! The queue of requests while all endpoints are at their limit: one for all endpoints, bounded, first in, first out.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use ziggurat_middleware::metrics::{Counter, Histogram};
use ziggurat_middleware::{Finding, Findings, Metrics, units};

/// The queue of requests while all servers are at their `limit`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueueOptions {
    /// The most requests that wait. A further one gets `503`. With 0, none waits.
    #[schemars(range(max = 1_000_000))]
    pub(crate) limit: usize,
    /// The longest wait. After it the request gets `503`.
    pub(super) wait: units::Duration,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { limit: 1024, wait: units::Duration::secs(5) }
    }
}

/// The longest queue.
const LONGEST: usize = 1_000_000;

impl QueueOptions {
    pub(crate) fn validate(&self, findings: &mut Findings) {
        if self.limit > LONGEST {
            let finding = Finding::new(format!("a queue for {} requests is too long", self.limit)).at("queue").at("limit");
            findings.push(finding.hint(format!("between 0 and {LONGEST}")));
        }
        if self.wait.0.is_zero() {
            let finding = Finding::new("`wait` must be longer than 0").at("queue").at("wait");
            findings.push(finding.hint("to let no request wait, set `limit` to 0"));
        }
    }

    pub(crate) const fn wait(&self) -> Duration {
        self.wait.0
    }
}

/// A bounded queue of requests: that of an upstream, for instance.
#[derive(Debug)]
pub(crate) struct Queue {
    length: AtomicUsize,
    /// Wakes waiters one by one, in their order.
    turns: Notify,
    pub(crate) waits: Histogram,
    pub(crate) refused_full: Counter,
    pub(crate) refused_waited: Counter,
}

/// The metrics of a queue: the name of each, and what it counts.
pub(crate) struct QueueMetrics {
    pub(crate) length: (&'static str, &'static str),
    pub(crate) waits: (&'static str, &'static str),
    pub(crate) refused: (&'static str, &'static str),
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            length: AtomicUsize::new(0),
            turns: Notify::new(),
            waits: Histogram::new(Histogram::WAITS),
            refused_full: Counter::default(),
            refused_waited: Counter::default(),
        }
    }
}

/// A request's place in the queue.
pub(crate) struct Place<'a>(&'a Queue);

impl Queue {
    /// For `ziggurat status`: how many requests of `limit` wait, and how many were refused.
    pub(crate) fn status(&self, limit: usize) -> Map<String, Value> {
        let refused = json!({ "queue full": self.refused_full.get(), "waited too long": self.refused_waited.get() });
        let queue = json!({ "length": self.length(), "limit": limit });
        Map::from_iter([("queue".to_owned(), queue), ("refused".to_owned(), refused)])
    }

    /// The same as metrics, labelled with the app's place.
    pub(crate) fn scrape(&self, app: &str, names: &QueueMetrics, metrics: &mut Metrics) {
        metrics.gauge(names.length.0, names.length.1).sample(&[("app", app)], self.length());
        metrics.histogram(names.waits.0, names.waits.1).sample(&[("app", app)], &self.waits);
        let refused = metrics.counter(names.refused.0, names.refused.1);
        refused.sample(&[("app", app), ("reason", "queue full")], &self.refused_full);
        refused.sample(&[("app", app), ("reason", "waited too long")], &self.refused_waited);
    }

    /// The number of waiting requests.
    pub(crate) fn length(&self) -> usize {
        self.length.load(SeqCst)
    }

    /// An endpoint has room for one more request: wakes the first waiter.
    pub(crate) fn next(&self) {
        if self.length() > 0 {
            self.turns.notify_one();
        }
    }

    /// More endpoints take requests: wakes all waiters.
    pub(crate) fn all(&self) {
        self.turns.notify_waiters();
    }

    /// A place in the queue, unless it is full.
    pub(crate) fn enter(&self, limit: usize) -> Option<Place<'_>> {
        let entered = self.length.fetch_update(SeqCst, SeqCst, |length| (length < limit).then_some(length + 1));
        entered.is_ok().then(|| Place(self))
    }

    /// Waits to be woken.
    pub(super) fn turn(&self) -> tokio::sync::futures::Notified<'_> {
        self.turns.notified()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.length.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_refused_takes_none_away() {
        let queue = Queue::default();
        let first = queue.enter(1);
        assert!(first.is_some() && queue.enter(1).is_none() && queue.enter(0).is_none());
        assert_eq!(queue.length(), 1);
        drop(first);
        assert_eq!(queue.length(), 0);
    }

    #[tokio::test]
    async fn one_that_leaves_when_it_is_called_lets_the_next_one_go() {
        let queue = Queue::default();
        let (_one, _other) = (queue.enter(2), queue.enter(2));
        let mut first = Box::pin(queue.turn());
        let mut second = Box::pin(queue.turn());
        first.as_mut().enable();
        second.as_mut().enable();
        queue.next();
        drop(first);
        second.await;
    }
}
