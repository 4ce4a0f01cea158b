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
        let mut status = Map::new();
        status.insert("app".to_owned(), self.shared.plan.boot.app.as_str().into());
        status.insert("workers".to_owned(), workers.into());
        status.extend(figures.status());
        status.insert("restarts".to_owned(), counts.into());
        status.insert("last_restart".to_owned(), last.into());
        status.into()
    }

    /// The same as figures, labelled with the app's place.
    pub(crate) fn scrape(&self, metrics: &mut Metrics) {
        let figures = self.shared.admission.figures();
        let app = self.shared.plan.place();
        let open = figures.desks.iter().filter(|desk| desk.is_open).count();
        metrics.gauge("ziggurat_wsgi_workers", "Worker processes that take requests.").sample(&[("app", app)], open);
        figures.scrape(app, metrics);
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
