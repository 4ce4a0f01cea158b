//! Figures of a pool, for `ziggurat status` and metrics.

use std::collections::HashMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use ziggurat_middleware::Metrics;

use super::WorkerPool;
use super::recycle::Reason;
use crate::worker::admission::{BackendId, BackendStats, Stats};
use crate::worker::process_status::memory;

impl WorkerPool {
    /// The workers, the queue, and how often workers were replaced.
    pub(crate) fn status(&self) -> Value {
        let stats = self.shared.admission.stats();
        let backends = backends(&stats);
        let entries = self.shared.live.entries();
        let missing = (1..=self.shared.config.workers).filter(|nth| entries.iter().all(|worker| worker.nth != *nth));
        let missing = missing
            .map(|nth| json!({ "nth": nth, "pid": null, "state": "starting", "busy": 0, "begun": 0, "age_s": null, "memory": null }));
        let there = entries.iter().map(|worker| {
            let backend = worker.backend.and_then(|backend| backends.get(&backend).copied());
            json!({
                "nth": worker.nth,
                "pid": worker.pid,
                "state": worker.state.label(),
                "busy": backend.map_or(0, |backend| backend.in_progress.min(backend.threads)),
                "begun": worker.counted.begun(),
                "age_s": worker.since.elapsed().as_secs(),
                "memory": memory(worker.pid),
            })
        });
        let workers: Vec<Value> = there.chain(missing).collect();
        let restarts = self.shared.live.restarts();
        let counts: Map<String, Value> =
            restarts.counts.iter().map(|(reason, count)| (reason.label().to_owned(), (*count).into())).collect();
        let last = restarts.last.map(|(at, reason)| {
            let ago = SystemTime::now().duration_since(at).unwrap_or_default();
            json!({ "reason": reason.label(), "ago_s": ago.as_secs() })
        });
        let mut status = Map::new();
        status.insert("app".to_owned(), self.shared.config.boot.app.as_str().into());
        status.insert("workers".to_owned(), workers.into());
        status.extend(stats.status());
        status.insert("restarts".to_owned(), counts.into());
        status.insert("last_restart".to_owned(), last.into());
        status.into()
    }

    /// The same as metrics, labelled with the app's place.
    pub(crate) fn scrape(&self, metrics: &mut Metrics) {
        let stats = self.shared.admission.stats();
        let app = self.shared.config.place();
        let open = stats.backends.iter().filter(|backend| backend.is_open).count();
        metrics.gauge("ziggurat_wsgi_workers", "Worker processes that take requests.").sample(&[("app", app)], open);
        stats.scrape(app, metrics);
        let counts = self.shared.live.restarts().counts;
        let restarts = metrics.counter("ziggurat_wsgi_restarts_total", "Workers that were replaced.");
        for reason in Reason::ALL {
            restarts.sample(&[("app", app), ("reason", reason.label())], counts.get(&reason).copied().unwrap_or_default());
        }
    }
}

fn backends(stats: &Stats) -> HashMap<BackendId, &BackendStats> {
    stats.backends.iter().map(|backend| (backend.id, backend)).collect()
}
