//! The status of the process: as JSON on the control socket, and as metrics.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value, json};
use ziggurat_middleware::access_log::rfc3339;
use ziggurat_middleware::metrics::Counter;
use ziggurat_middleware::timing::Timings;
use ziggurat_middleware::{Context, Lifecycle, Metrics};

use super::main_loop::ActivePipeline;
use super::reload::ReloadResult;
use super::source::PipelineSource;
use super::steps;
use crate::pipeline::Pipeline;
use crate::server::Traffic;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The figures of the whole process, across generations.
#[derive(Clone)]
pub(super) struct ProcessStatus {
    begin: Instant,
    since: SystemTime,
    traffic: Traffic,
    reloads: Arc<Counter>,
    refused_reloads: Arc<Counter>,
    /// The last reload, if it was refused.
    refused: Arc<ArcSwapOption<RefusedReload>>,
}

/// A reload that was refused. The file, or its code, is not what the server runs.
struct RefusedReload {
    at: SystemTime,
    findings: usize,
    first: String,
}

impl ProcessStatus {
    pub(super) fn new(traffic: Traffic) -> Self {
        let (begin, since) = (Instant::now(), SystemTime::now());
        Self { begin, since, traffic, reloads: Arc::default(), refused_reloads: Arc::default(), refused: Arc::default() }
    }

    /// Notes the end of a reload.
    pub(super) fn reloaded(&self, outcome: &ReloadResult) {
        let refused = match outcome {
            Ok(_) => {
                self.reloads.add(1);
                None
            }
            Err(report) => {
                self.refused_reloads.add(1);
                Some(Arc::new(RefusedReload { at: SystemTime::now(), findings: report.len(), first: report.first_line() }))
            }
        };
        self.refused.store(refused);
    }

    /// The status as JSON. `state` is what the process does now.
    pub(super) fn status(&self, source: &PipelineSource, active: &ActivePipeline, state: &str) -> Value {
        let listening: Vec<&str> = active.addresses.iter().map(|at| at.name.as_str()).collect();
        let apps = active.lifecycle.status().into_iter().map(|(place, status)| {
            let mut entry = Map::from_iter([("place".to_owned(), Value::from(place.as_str()))]);
            match status {
                Value::Object(fields) => entry.extend(fields),
                value => drop(entry.insert("status".to_owned(), value)),
            }
            Value::from(entry)
        });
        let responses: Map<String, Value> =
            self.traffic.responses().into_iter().map(|(status, count)| (status.to_owned(), count.into())).collect();
        let refused = self
            .refused
            .load()
            .as_ref()
            .map(|refused| json!({ "at": rfc3339(refused.at), "findings": refused.findings, "first": refused.first }));
        json!({
            "version": VERSION,
            "pid": std::process::id(),
            "state": state,
            "uptime_s": self.begin.elapsed().as_secs(),
            "generation": active.number,
            "file": source.path_written().map(|path| path.display().to_string()),
            "loaded_at": rfc3339(active.since),
            "refused_reload": refused,
            "listening": listening,
            "stack": active.pipeline.summary(),
            "connections": { "open": self.traffic.open(), "accepted": self.traffic.connections(), "tunnels": self.traffic.tunnels(), "refused": self.traffic.refused() },
            "requests": self.traffic.requests(),
            "in_progress": self.traffic.in_progress(),
            "responses": responses,
            "apps": apps.collect::<Vec<_>>(),
            "recent_errors": Timings::recent_errors(&Context::new("server.timing", active.pipeline.base(), active.lifecycle.clone())).to_json(),
            "steps": steps::figures(active.pipeline.outline(), &active.lifecycle.scrape()),
        })
    }

    /// Adds the metrics of the process to those of this generation's stack.
    pub(super) fn describe(&self, pipeline: &Pipeline, lifecycle: &Lifecycle) {
        let status = self.clone();
        Context::new("server", pipeline.base(), lifecycle.clone()).on_scrape(move |metrics| status.scrape(metrics));
    }

    fn scrape(&self, metrics: &mut Metrics) {
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics.gauge("ziggurat_build_info", "Always 1. The label is the version.").sample(&[("version", VERSION)], 1.0);
        metrics.gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.").sample(&[], since.as_secs_f64());
        metrics.gauge("ziggurat_connections", "Open connections.").sample(&[], self.traffic.open());
        metrics
            .gauge("ziggurat_tunnels", "Open connections that were upgraded, to WebSockets for instance.")
            .sample(&[], self.traffic.tunnels());
        metrics.counter("ziggurat_connections_total", "Accepted connections.").sample(&[], self.traffic.connections());
        metrics.counter("ziggurat_connections_refused_total", "Clients for which there was no room.").sample(&[], self.traffic.refused());
        metrics.gauge("ziggurat_tls_handshakes_under_way", "TLS handshakes under way.").sample(&[], self.traffic.handshakes());
        let [completed, resumed, failed] = self.traffic.handshake_counts();
        let handshakes = metrics.counter("ziggurat_tls_handshakes_total", "TLS handshakes, by how they ended.");
        handshakes
            .sample(&[("outcome", "full")], completed - resumed)
            .sample(&[("outcome", "resumed")], resumed)
            .sample(&[("outcome", "failed")], failed);
        metrics.counter("ziggurat_requests_total", "Requests that entered the stack.").sample(&[], self.traffic.requests());
        self.traffic.scrape(metrics);
        let reloads = metrics.counter("ziggurat_reloads_total", "Reloads, by whether they took effect.");
        reloads.sample(&[("outcome", "done")], &*self.reloads).sample(&[("outcome", "refused")], &*self.refused_reloads);
        let help = "Whether the last reload took effect; 1 before the first.";
        metrics.gauge("ziggurat_last_reload_successful", help).sample(&[], self.refused.load().is_none());
    }
}
