//! Stacks inside the process of another server: all of a file, or layers over an app that is there already.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ziggurat_middleware::{Lifecycle, Next};

use super::build::Builder;
use super::check::MAX_STAGES;
use super::diagnostic::{Diagnostic, Source};
use super::expand::{self, Environment, Mask};
use super::grammar::{Part, understand_layers};
use super::text::{self, Dialect};
use super::tree::{Node, Value};
use super::{Pipeline, Registry, Report};
use crate::wsgi::{Callable, Runtime};

/// WSGI apps that were imported, by their places: a stack that is built anew has them again.
pub(crate) type Imported = HashMap<String, Callable>;

impl Pipeline {
    /// This pipeline, with relative paths that mean the same when the working folder is another one.
    pub(crate) fn anchored(self) -> Result<Self, Report> {
        let base = absolute(&self.base).map_err(|error| self.report(&format!("there is no working folder: {error}")))?;
        Ok(Self { base, ..self })
    }

    /// Builds the stack so that everything in it runs on the thread of whoever calls it: what is said of processes, threads and addresses
    /// means nothing.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::build`].
    pub(crate) fn build_here(&self, imported: &mut Imported, lifecycle: &Lifecycle, runtime: &Arc<Runtime>) -> Result<Next, Report> {
        let builder = Builder::new(&self.tree.apps, &self.mask, self.base.as_path().into(), lifecycle);
        let built = builder.within(runtime).having(imported).service(&self.tree.stack);
        built.map_err(|findings| Report::new(Arc::clone(&self.source), findings))
    }
}

/// A list of layers that was found sound.
pub(crate) struct Layers {
    source: Arc<Source>,
    base: PathBuf,
    mask: Mask,
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
        let base =
            absolute(base).map_err(|error| refuse(vec![Diagnostic::without_place(format!("there is no working folder: {error}"))]))?;
        let mut root = text::parse(&source.text, Dialect::Json).map_err(refuse)?;
        let mask = expand::expand(&mut root, &source.text, &base, environment).map_err(refuse)?;
        if let Node { span, value: Value::Array(items), .. } = &root
            && items.len() >= MAX_STAGES
        {
            let finding = Diagnostic::error(format!("a request would pass more than {MAX_STAGES} layers and apps"), span.clone());
            return Err(refuse(vec![finding.hint("use fewer layers")]));
        }
        let layers = understand_layers(root, registry, &mask, &base).map_err(refuse)?;
        Ok(Self { source, base, mask, layers })
    }

    /// Builds them over an app, as a callable that runs on the thread of its caller.
    ///
    /// # Errors
    ///
    /// Everything that could not be acquired; what had been started is shut down again.
    pub(crate) fn build_here(&self, app: &Callable, lifecycle: &Lifecycle, runtime: &Arc<Runtime>) -> Result<Callable, Report> {
        let builder = Builder::new(&[], &self.mask, self.base.as_path().into(), lifecycle);
        let built = builder.within(runtime).over(&self.layers, app.clone());
        built.map_err(|findings| Report::new(Arc::clone(&self.source), findings))
    }

    /// A report about no place in the text.
    pub(crate) fn report(&self, message: &str) -> Report {
        Report::new(Arc::clone(&self.source), vec![Diagnostic::without_place(self.mask.hide(message))])
    }

    /// The layers in one line: `request_id > compress`.
    pub(crate) fn summary(&self) -> String {
        self.layers.iter().map(|layer| layer.kind.name).collect::<Vec<_>>().join(" > ")
    }
}

fn absolute(base: &Path) -> std::io::Result<PathBuf> {
    std::path::absolute(if base.as_os_str().is_empty() { Path::new(".") } else { base })
}
