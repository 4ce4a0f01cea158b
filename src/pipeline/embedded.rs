//! Stacks inside the process of another server: a whole file, or layers over an existing app.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ziggurat_middleware::{Behavior, Lifecycle, Next};

use super::build::{Imported, InProcess, Site, in_process};
use super::check::{MAX_STAGES, too_deep};
use super::diagnostic::{Diagnostic, Id, Source};
use super::model::{Apps, Part};
use super::read::expand::Environment;
use super::read::{self, text};
use super::secrets::Secrets;
use super::{Pipeline, Registry, Report};
use crate::wsgi::{Callable, Runtime};

impl Pipeline {
    /// This pipeline, with relative paths that mean the same when the working folder is another one.
    pub(crate) fn anchored(self) -> Result<Self, Report> {
        let base = absolute(&self.base).map_err(|error| self.report(&format!("there is no working folder: {error}")))?;
        Ok(Self { base, ..self })
    }

    /// Builds the stack so that everything in it runs on the thread of its caller. Options about processes, threads and addresses have no effect.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::build`].
    pub(crate) fn build_in_place(&self, imported: &mut Imported, lifecycle: &Lifecycle, runtime: &Arc<Runtime>) -> Result<Next, Report> {
        self.timed(lifecycle, |site| in_process(&self.file, site, runtime, imported))
    }
}

/// A list of layers that was found sound.
pub(crate) struct Layers {
    source: Arc<Source>,
    base: PathBuf,
    secrets: Secrets,
    layers: Vec<Part>,
}

impl Layers {
    /// Reads a JSON list; `name` is shown in messages, and relative paths start at `base`.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::load`].
    pub(crate) fn from_text(
        name: &str,
        text: &str,
        base: &Path,
        registry: &Registry,
        environment: Environment<'_>,
    ) -> Result<Self, Report> {
        let source = Arc::new(text::decode(name, text.as_bytes().to_vec())?);
        let refuse = |findings| Report::new(Arc::clone(&source), findings);
        let base = absolute(base)
            .map_err(|error| refuse(vec![Diagnostic::without_place(Id::CannotRun, format!("there is no working folder: {error}"))]))?;
        let (layers, secrets) = read::layers(&source, &base, registry, environment).map_err(refuse)?;
        match layers.first() {
            Some(first) if layers.len() >= MAX_STAGES => Err(refuse(vec![too_deep(first.options.span.clone())])),
            _ => Ok(Self { source, base, secrets, layers }),
        }
    }

    /// Builds them over an app, as a callable that runs on the thread of its caller.
    ///
    /// # Errors
    ///
    /// Everything that could not be acquired; what had been started is shut down again.
    pub(crate) fn build_in_place(&self, app: &Callable, lifecycle: &Lifecycle, runtime: &Arc<Runtime>) -> Result<Callable, Report> {
        let apps = Apps(BTreeMap::new());
        let is_linted = self.layers.iter().any(|layer| layer.kind.has(Behavior::ChecksPython));
        let site = Site { apps: &apps, secrets: &self.secrets, base: &self.base, lifecycle, timings: None, is_linted };
        let built = InProcess::new(site, runtime, &mut Imported::new()).over_callable(&self.layers, app.clone());
        built.map_err(|findings| Report::new(Arc::clone(&self.source), findings))
    }

    /// A report about no place in the text.
    pub(crate) fn report(&self, message: &str) -> Report {
        Report::new(Arc::clone(&self.source), vec![Diagnostic::without_place(Id::CannotRun, self.secrets.redact(message))])
    }

    /// The layers in one line: `request_id > compress`.
    pub(crate) fn summary(&self) -> String {
        self.layers.iter().map(|layer| layer.kind.name).collect::<Vec<_>>().join(" > ")
    }
}

fn absolute(base: &Path) -> std::io::Result<PathBuf> {
    std::path::absolute(if base.as_os_str().is_empty() { Path::new(".") } else { base })
}
