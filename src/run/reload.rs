//! Reloads: the next generation is built beside the one that serves, and replaces it or leaves no trace.

use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use ziggurat_middleware::Lifecycle;

use super::main_loop::{MainLoop, end};
use super::prepared::{Bound, PreparedPipeline};
use super::print_message;
use super::source::PipelineSource;
use super::systemd;
use super::watch::{self, Watch};
use crate::pipeline::Report;

/// How a reload ended.
pub(super) type ReloadResult = Result<Reloaded, Report>;

/// A reload that took effect.
#[derive(Clone, Debug)]
pub(super) struct Reloaded {
    pub(super) milliseconds: u64,
    pub(super) generation: u64,
    pub(super) summary: String,
}

/// Runs one reload at a time. A request for one meanwhile waits for the next, because the file may have changed since it was read.
pub(super) struct Reloads {
    pub(super) source: Arc<PipelineSource>,
    in_progress: Option<InProgress>,
    next: Option<Vec<oneshot::Sender<ReloadResult>>>,
}

struct InProgress {
    begin: Instant,
    lifecycle: Lifecycle,
    build: JoinHandle<Result<PreparedPipeline, Report>>,
    waiting: Vec<oneshot::Sender<ReloadResult>>,
}

/// A build that has ended.
pub(super) struct Built {
    reload: InProgress,
    result: Option<Result<PreparedPipeline, Report>>,
}

impl Reloads {
    pub(super) fn new(source: PipelineSource) -> Self {
        Self { source: Arc::new(source), in_progress: None, next: None }
    }

    /// Ready when the build under way has ended; never without one.
    pub(super) async fn built(&mut self) -> Built {
        let Some(in_progress) = &mut self.in_progress else { return pending().await };
        let result = (&mut in_progress.build).await.ok();
        match self.in_progress.take() {
            Some(reload) => Built { reload, result },
            None => pending().await,
        }
    }

    /// Whether a build is under way.
    pub(super) const fn is_under_way(&self) -> bool {
        self.in_progress.is_some()
    }

    fn start(&mut self, watch: Option<Watch>, lifecycle: Lifecycle, bound: Bound, waiting: Vec<oneshot::Sender<ReloadResult>>) {
        let (source, hooks) = (Arc::clone(&self.source), lifecycle.clone());
        let build = spawn_blocking(move || match watch {
            Some(watch) => watch.prepare(&source, &hooks, &bound),
            None => PreparedPipeline::prepare(source.load().map(Arc::new)?, &hooks, &bound),
        });
        self.in_progress = Some(InProgress { begin: Instant::now(), lifecycle, build, waiting });
    }

    /// Shuts down what a build under way has started so far, and drops its result.
    pub(super) async fn abandon(&mut self) {
        self.next = None;
        if let Some(reload) = self.in_progress.take() {
            print_message("not reloaded: the server is stopping");
            end(reload.lifecycle).await;
        }
    }
}

impl MainLoop {
    /// Requests a reload. `waiting` receives the outcome.
    pub(super) fn reload(&mut self, waiting: Option<oneshot::Sender<ReloadResult>>) {
        if self.reloads.source.path_written().is_none() && self.watch.is_none() {
            let report = self.active.pipeline.report("there is no file to reload: the app was named on the command line");
            print_message(&format!("not reloaded: {report}"));
            let _ = waiting.map(|waiting| waiting.send(Err(report)));
            return;
        }
        self.reloads.next.get_or_insert_default().extend(waiting);
        self.begin_reload();
    }

    /// Starts the next reload, unless one is under way.
    fn begin_reload(&mut self) {
        if self.reloads.in_progress.is_none()
            && let Some(waiting) = self.reloads.next.take()
        {
            if self.watch.is_none() {
                print_message("reloading");
            }
            systemd::reloading();
            self.reloads.start(self.watch.clone(), self.active.lifecycle.successor(), self.bound(), waiting);
        }
    }

    /// Puts a finished build into use or reports why it failed, then starts the next reload if one waits.
    pub(super) async fn finish_reload(&mut self, built: Built) {
        let Built { reload, result } = built;
        let mut is_shown = false;
        let outcome = match result {
            Some(Ok(mut prepared)) => {
                let mistake = prepared.mistake.take();
                is_shown = mistake.is_some();
                let outcome = self.take_effect(prepared, reload.lifecycle, reload.begin).await;
                mistake.map_or(outcome, Err)
            }
            Some(Err(report)) => Err(report),
            None => {
                self.discard(reload.lifecycle);
                Err(self.active.pipeline.report("the build of the new stack panicked"))
            }
        };
        let summary = self.active.pipeline.summary();
        match &outcome {
            Ok(reloaded) => {
                self.status.reloads.add(1);
                print_message(&format!("reloaded after {} ms: {summary}", reloaded.milliseconds));
                systemd::ready(&summary);
            }
            Err(report) => {
                self.status.refused_reloads.add(1);
                if is_shown {
                    watch::report_error(report);
                } else {
                    print_message(&format!("not reloaded: the stack before goes on\n{report}"));
                }
                systemd::ready(&format!("the last reload was refused, see the log; serving {summary}"));
            }
        }
        if let Some(watch) = &self.watch {
            watch.describe();
        }
        for waiting in reload.waiting {
            // The client may have disconnected.
            let _ = waiting.send(outcome.clone());
        }
        self.begin_reload();
    }

    async fn take_effect(&mut self, prepared: PreparedPipeline, lifecycle: Lifecycle, begin: Instant) -> ReloadResult {
        let warnings = prepared.pipeline.warnings().render(false);
        if !warnings.is_empty() {
            print_message(&warnings);
        }
        if prepared.pipeline.server().threads != self.active.pipeline.server().threads {
            tracing::warn!("`server.threads` cannot change while the server runs; it will at the next start");
        }
        self.replace_generation(prepared, lifecycle).await?;
        let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Reloaded { milliseconds, generation: self.active.number, summary: self.active.pipeline.summary() })
    }
}
