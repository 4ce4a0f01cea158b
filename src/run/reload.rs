//! Reloads: the next generation is built beside the one that serves, and replaces it or leaves no trace.

use std::future::pending;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout_at;
use ziggurat_middleware::Lifecycle;

use super::main_loop::{MainLoop, end};
use super::plan;
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
    /// The file; `None` for an app on the command line.
    pub(super) file: Option<PathBuf>,
}

/// Where the result of a reload goes.
pub(super) type Waiting = oneshot::Sender<ReloadResult>;

/// Runs one reload at a time. A later request supersedes the reload under way: the file or the code may have changed since it was read, and its import
/// may never end.
pub(super) struct Reloads {
    pub(super) source: Arc<PipelineSource>,
    in_progress: Option<InProgress>,
    next: Option<Vec<Waiting>>,
}

struct InProgress {
    begin: Instant,
    lifecycle: Lifecycle,
    build: JoinHandle<Result<PreparedPipeline, Report>>,
    waiting: Vec<Waiting>,
    /// Since when it is superseded.
    superseded: Option<Instant>,
}

/// A build that has ended, or is superseded and takes too long to notice.
pub(super) struct Built {
    reload: InProgress,
    result: Result<Result<PreparedPipeline, Report>, NoResult>,
}

/// Why a build has no result.
enum NoResult {
    Panicked,
    /// It goes on, for instance with an import into this process.
    Unending,
}

/// How long the next reload waits for the end of one that it supersedes.
const SUPERSEDED_TIMEOUT: Duration = Duration::from_secs(2);

impl Reloads {
    pub(super) fn new(source: PipelineSource) -> Self {
        Self { source: Arc::new(source), in_progress: None, next: None }
    }

    /// Ready when the build under way has ended; never without one.
    pub(super) async fn built(&mut self) -> Built {
        let Some(in_progress) = &mut self.in_progress else { return pending().await };
        let ended = match in_progress.superseded {
            Some(since) => timeout_at((since + SUPERSEDED_TIMEOUT).into(), &mut in_progress.build).await,
            None => Ok((&mut in_progress.build).await),
        };
        let result = match ended {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(NoResult::Panicked),
            Err(_) => Err(NoResult::Unending),
        };
        match self.in_progress.take() {
            Some(reload) => Built { reload, result },
            None => pending().await,
        }
    }

    /// Whether a build is under way.
    pub(super) const fn is_under_way(&self) -> bool {
        self.in_progress.is_some()
    }

    /// Whether the server runs this file. Without a file, there is no other.
    fn runs(&self, file: &Path) -> bool {
        let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.file().is_none_or(|running| canonical(&running) == canonical(file))
    }

    /// The absolute path of the file that the server runs.
    fn file(&self) -> Option<PathBuf> {
        let path = self.source.path_now()?;
        Some(absolute(&path).unwrap_or(path))
    }

    /// Has the build under way end without effect. Its clients wait for the next one.
    fn supersede(&mut self) {
        let Some(reload) = self.in_progress.as_mut().filter(|reload| reload.superseded.is_none()) else { return };
        reload.superseded = Some(Instant::now());
        self.next.get_or_insert_default().append(&mut reload.waiting);
        let lifecycle = reload.lifecycle.clone();
        // Its workers hear of it, whatever they import.
        tokio::spawn(async move { lifecycle.retire().await });
        print_message("the reload under way is given up for a later one");
    }

    fn start(&mut self, watch: Option<Watch>, lifecycle: Lifecycle, bound: Bound, waiting: Vec<Waiting>) {
        let (source, hooks) = (Arc::clone(&self.source), lifecycle.clone());
        let build = spawn_blocking(move || match watch {
            Some(watch) => watch.prepare(&source, &hooks, &bound),
            None => PreparedPipeline::prepare(source.load().map(Arc::new)?, &hooks, &bound),
        });
        self.in_progress = Some(InProgress { begin: Instant::now(), lifecycle, build, waiting, superseded: None });
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
    /// Requests a reload of `file`, if that is the file that the server runs. `waiting` receives the outcome.
    pub(super) fn reload_file(&mut self, file: Option<&Path>, waiting: Waiting) {
        match self.check_file(file) {
            Ok(()) => self.reload(Some(waiting)),
            // The client may have disconnected.
            Err(report) => drop(waiting.send(Err(report))),
        }
    }

    /// Whether `file`, if there is one, is the file that the server runs.
    pub(super) fn check_file(&self, file: Option<&Path>) -> Result<(), Report> {
        let Some(other) = file.filter(|file| !self.reloads.runs(file)) else { return Ok(()) };
        let running = self.reloads.file().unwrap_or_default();
        let message = format!("the server runs `{}` and not `{}`", running.display(), other.display());
        Err(self.active.pipeline.report(&message))
    }

    /// Whether there is something to reload.
    pub(super) fn check_source(&self) -> Result<(), Report> {
        if self.reloads.source.path_written().is_none() && self.watch.is_none() {
            return Err(self.active.pipeline.report("there is no file to reload: the app was named on the command line"));
        }
        Ok(())
    }

    /// Requests a reload. `waiting` receives the outcome.
    pub(super) fn reload(&mut self, waiting: Option<Waiting>) {
        if let Err(report) = self.check_source() {
            print_message(&format!("not reloaded: {report}"));
            let _ = waiting.map(|waiting| waiting.send(Err(report)));
            return;
        }
        self.reloads.next.get_or_insert_default().extend(waiting);
        self.reloads.supersede();
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
        if reload.superseded.is_some() {
            self.drop_superseded(reload, result);
            return self.begin_reload();
        }
        let mut is_shown = false;
        let outcome = match result {
            Ok(Ok(mut prepared)) => {
                let mistake = prepared.mistake.take();
                is_shown = mistake.is_some();
                let outcome = self.take_effect(prepared, reload.lifecycle, reload.begin).await;
                mistake.map_or(outcome, Err)
            }
            Ok(Err(report)) => Err(report),
            Err(NoResult::Panicked | NoResult::Unending) => {
                self.discard(reload.lifecycle);
                Err(self.active.pipeline.report("the build of the new stack panicked"))
            }
        };
        let summary = self.active.pipeline.summary();
        self.status.reloaded(&outcome);
        match &outcome {
            Ok(reloaded) => {
                print_message(&format!("reloaded after {} ms: {summary}", reloaded.milliseconds));
                systemd::ready(&summary);
            }
            Err(report) => {
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

    /// Ends what a superseded build has started.
    fn drop_superseded(&mut self, reload: InProgress, result: Result<Result<PreparedPipeline, Report>, NoResult>) {
        let InProgress { lifecycle, build, .. } = reload;
        match result {
            // The end of the server does not wait for it.
            Err(NoResult::Unending) => drop(tokio::spawn(async move {
                drop(build.await);
                end(lifecycle).await;
            })),
            ended => {
                drop(ended);
                self.discard(lifecycle);
            }
        }
    }

    async fn take_effect(&mut self, prepared: PreparedPipeline, lifecycle: Lifecycle, begin: Instant) -> ReloadResult {
        let warnings = prepared.pipeline.warnings().render(false);
        if !warnings.is_empty() {
            print_message(&warnings);
        }
        for option in plan::server_changes(&self.active.pipeline, &prepared.pipeline).into_iter().filter(|option| option.takes_restart) {
            tracing::warn!("`server.{}` cannot change while the server runs; it will at the next start", option.name);
        }
        self.replace_generation(prepared, lifecycle).await?;
        let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (file, summary) = (self.reloads.file(), self.active.pipeline.summary());
        Ok(Reloaded { milliseconds, generation: self.active.number, summary, file })
    }
}
