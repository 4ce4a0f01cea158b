//! Development: rebuilds the stack when its code or its file changes, and shows errors instead of the site until they are fixed.

mod changes;
mod folders;
mod page;
mod watched;

use std::collections::BTreeSet;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::block_in_place;
use ziggurat_middleware::{Lifecycle, Watcher};

use super::prepared::{Bound, PreparedPipeline};
use super::print_message;
use super::source::PipelineSource;
use crate::pipeline::Report;
use changes::Changes;
use watched::WatchedFolders;

/// The drain of a replaced stack is at most this, so that an endless response of the old code ends soon.
const DRAIN: Duration = Duration::from_secs(2);

/// Watches the files and folders of a site.
#[derive(Clone)]
pub(super) struct Watch(Arc<Shared>);

struct Shared {
    changes: Arc<Changes>,
    state: Mutex<State>,
}

struct State {
    watched: WatchedFolders,
    /// Python source that has changed since the last build.
    stale: BTreeSet<PathBuf>,
    /// The last line printed about the folders.
    said: String,
}

impl Watch {
    /// Watches the file that the pipeline comes from.
    pub(super) fn start(source: &PipelineSource) -> Self {
        let changes = Arc::new(Changes::default());
        let watched = WatchedFolders::new(Arc::clone(&changes));
        let state = Mutex::new(State { watched, stale: BTreeSet::new(), said: String::new() });
        let watch = Self(Arc::new(Shared { changes, state }));
        watch.files(source.path_now());
        watch
    }

    /// The watcher that layers and apps register their code folders with.
    pub(super) fn watcher(&self) -> Watcher {
        let watch = self.clone();
        Watcher::new(move |folder| {
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            watch.state().watched.watch_code(&folder);
        })
    }

    /// Builds the stack, or a stack that shows why it cannot be built.
    ///
    /// # Errors
    ///
    /// If there is no address to listen on.
    pub(super) fn prepare(&self, source: &PipelineSource, lifecycle: &Lifecycle, bound: &Bound) -> Result<PreparedPipeline, Report> {
        for source in std::mem::take(&mut self.state().stale) {
            folders::remove_compiled(&source);
        }
        let (pipeline, mistake) = match source.load() {
            Ok(pipeline) => {
                let pipeline = Arc::new(pipeline.with_drain_up_to(DRAIN));
                self.files(pipeline.files());
                match PreparedPipeline::prepare(Arc::clone(&pipeline), lifecycle, bound) {
                    Ok(prepared) => return Ok(prepared),
                    Err(report) => (Some(pipeline), report),
                }
            }
            Err(report) => (None, report),
        };
        let shown = |pipeline| PreparedPipeline::error_page(pipeline, page::stack(&mistake), mistake.clone(), lifecycle, bound);
        match (pipeline, &bound.pipeline) {
            // Its author opens the addresses in the file.
            (Some(pipeline), None) => shown(pipeline),
            (Some(pipeline), Some(before)) => shown(pipeline).or_else(|_| shown(Arc::clone(before))),
            (None, Some(before)) => shown(Arc::clone(before)),
            (None, None) => shown(Arc::new(source.placeholder()?.with_drain_up_to(DRAIN))),
        }
    }

    /// Ready when something has changed. Returns a description of it.
    async fn changed(&self) -> String {
        loop {
            let gathered = self.0.changes.gather().await;
            let changed = block_in_place(|| {
                let mut state = self.state();
                let changed = state.watched.sort_out(&gathered);
                state.stale.extend(changed.iter().cloned());
                changed
            });
            let others = changed.len().saturating_sub(1);
            match changed.first() {
                Some(first) if others == 0 && !gathered.more => return short(first),
                Some(first) if !gathered.more => return format!("{} and {others} more", short(first)),
                _ if gathered.more => return "many files".to_owned(),
                _ => {}
            }
        }
    }

    /// Prints how many folders are watched, if that has changed.
    pub(super) fn describe(&self) {
        let mut state = self.state();
        let now = state.watched.describe();
        if now != state.said {
            print_message(&now);
            state.said = now;
        }
    }

    /// Watches single files, also those that do not exist yet. The watch is on their folders, because editors replace files.
    fn files(&self, files: impl IntoIterator<Item = PathBuf>) {
        for file in files {
            // A link, and its target.
            for file in [file.canonicalize().ok(), beside(&file)].into_iter().flatten() {
                if let Some(folder) = file.parent() {
                    self.state().watched.watch_files(folder);
                }
                self.0.changes.count([file]);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints an error that is shown instead of the site.
pub(super) fn report_error(report: &Report) {
    print_message(&format!("{report}every response shows this until it is fixed"));
}

/// Ready when something has changed; never without a watch.
pub(super) async fn changed(watch: Option<&Watch>) -> String {
    match watch {
        Some(watch) => watch.changed().await,
        None => pending().await,
    }
}

/// The file's name in the canonical path of its folder, as in file system events.
fn beside(file: &Path) -> Option<PathBuf> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(file.file_name()?))
}

/// A path relative to the working folder.
fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
