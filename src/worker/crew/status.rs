//! How a crew fares: for `ziggurat status` and for metrics.

use std::collections::HashMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use ziggurat_middleware::Metrics;

use super::Crew;
use super::process::memory;
use super::recycle::Reason;
use crate::worker::admission::{DeskFigures, DeskId, Figures};

impl Crew {
    /// The workers, the queue, and how often workers were replaced.
    pub(crate) fn status(&self) -> Value {
        let figures = self.shared.admission.figures();
        let desks = desks(&figures);
        let entries = self.shared.roster.entries();
        let missing = (1..=self.shared.plan.workers).filter(|nth| entries.iter().all(|worker| worker.nth != *nth));
        let missing = missing
            .map(|nth| json!({ "nth": nth, "pid": null, "state": "starting", "busy": 0, "begun": 0, "age_s": null, "memory": null }));
        let there = entries.iter().map(|worker| {
            let desk = worker.desk.and_then(|desk| desks.get(&desk).copied());
            json!({
                "nth": worker.nth,
                "pid": worker.pid,
                "state": worker.state.label(),
                "busy": desk.map_or(0, |desk| desk.in_progress.min(desk.threads)),
                "begun": worker.tally.begun(),
                "age_s": worker.since.elapsed().as_secs(),
                "memory": memory(worker.pid),
            })
        });
        let workers: Vec<Value> = there.chain(missing).collect();
        let restarts = self.shared.roster.restarts();
        let counts: Map<String, Value> =
            restarts.counts.iter().map(|(reason, count)| (reason.label().to_owned(), (*count).into())).collect();
        let last = restarts.last.map(|(at, reason)| {
            let ago = SystemTime::now().duration_since(at).unwrap_or_default();
            json!({ "reason": reason.label(), "ago_s": ago.as_secs() })
        });
        json!({
            "app": self.shared.plan.boot.app,
            "workers": workers,
            "threads": figures.threads,
            "busy": figures.busy,
            "queue": {
                "length": figures.waiting,
                "limit": figures.limit,
                "waited_s": { "sum": figures.waits.sum, "count": figures.waits.count },
            },
            "requests": {
                "begun": figures.total.begun,
                "refused: queue full": figures.total.refused_full,
                "refused: waited too long": figures.total.refused_waited,
                "over deadline": figures.total.expired,
            },
            "restarts": counts,
            "last_restart": last,
        })
    }

    /// The same as figures, labelled with the app's place.
    pub(crate) fn scrape(&self, metrics: &mut Metrics) {
        let figures = self.shared.admission.figures();
        let app = self.shared.plan.place();
        let labels = [("app", app)];
        let mut gauge = |name, help, value: usize| {
            metrics.gauge(name, help).sample(&labels, value);
        };
        gauge("ziggurat_wsgi_workers", "Worker processes that take requests.", figures.desks.iter().filter(|desk| desk.is_open).count());
        gauge("ziggurat_wsgi_threads", "Threads that call the app.", figures.threads);
        gauge("ziggurat_wsgi_threads_busy", "Threads that serve a request.", figures.busy);
        gauge("ziggurat_wsgi_queue_length", "Requests that wait for a thread.", figures.waiting);
        let waits = "Time that requests waited for a thread.";
        metrics.histogram("ziggurat_wsgi_queue_wait_seconds", waits).sample(&labels, figures.waits.clone());
        metrics.counter("ziggurat_wsgi_requests_total", "Requests handed to a worker.").sample(&labels, figures.total.begun);
        let refused = metrics.counter("ziggurat_wsgi_refused_total", "Requests refused with 503.");
        refused.sample(&[("app", app), ("reason", "queue full")], figures.total.refused_full);
        refused.sample(&[("app", app), ("reason", "waited too long")], figures.total.refused_waited);
        metrics.counter("ziggurat_wsgi_expired_total", "Requests over their deadline.").sample(&labels, figures.total.expired);
        let counts = self.shared.roster.restarts().counts;
        let restarts = metrics.counter("ziggurat_wsgi_restarts_total", "Workers that were replaced.");
        for reason in Reason::ALL {
            restarts.sample(&[("app", app), ("reason", reason.label())], counts.get(&reason).copied().unwrap_or_default());
        }
    }
}

fn desks(figures: &Figures) -> HashMap<DeskId, &DeskFigures> {
    figures.desks.iter().map(|desk| (desk.id, desk)).collect()
}
