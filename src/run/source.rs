//! Where a pipeline comes from, so that it can be loaded again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use http::Extensions;

use crate::pipeline::{Pipeline, Registry, Report};
use crate::server::Listen;

/// The file, or the command line, that a pipeline is made of.
#[derive(Debug)]
pub(crate) struct PipelineSource {
    registry: Registry,
    source: Source,
    /// The working folder at the start. An app in this process can change it.
    folder: PathBuf,
    /// The environment at the start. An app in this process can change it too.
    environment: HashMap<OsString, OsString>,
}

#[derive(Debug)]
enum Source {
    /// A file, and an address that replaces its `listen`.
    File(PathBuf, Option<Listen>),
    App {
        app: String,
        listen: Listen,
    },
    Django {
        settings: String,
        listen: Listen,
    },
}

impl PipelineSource {
    /// A file, and the environment of this process as it is now.
    pub(crate) fn file(path: &Path, listen: Option<Listen>, registry: &Registry) -> Self {
        Self::new(Source::File(path.to_owned(), listen), registry)
    }

    /// `ziggurat pkg.mod:app`.
    pub(crate) fn app(app: String, listen: Listen, registry: &Registry) -> Self {
        Self::new(Source::App { app, listen }, registry)
    }

    /// `ziggurat --django mysite.settings`.
    pub(crate) fn django(settings: String, listen: Listen, registry: &Registry) -> Self {
        Self::new(Source::Django { settings, listen }, registry)
    }

    fn new(source: Source, registry: &Registry) -> Self {
        let folder = std::env::current_dir().unwrap_or_default();
        Self { registry: registry.clone(), source, folder, environment: std::env::vars_os().collect() }
    }

    /// Sets the values of the host program that entries are expanded with.
    pub(crate) fn hosted(mut self, host: Extensions) -> Self {
        self.registry = self.registry.hosted(host);
        self
    }

    /// Loads the pipeline.
    pub(crate) fn load(&self) -> Result<Pipeline, Report> {
        let made_up = Path::new("");
        match &self.source {
            Source::File(path, listen) => Ok(on(Pipeline::load(&self.path(path), &self.registry, &self.environment())?, listen.as_ref())),
            Source::App { app, listen } => Pipeline::for_wsgi(app, &listen.to_string(), made_up, &self.registry),
            Source::Django { settings, listen } => Pipeline::for_django(settings, &listen.to_string(), made_up, &self.registry),
        }
    }

    /// A pipeline that responds to every request with 500. It listens where the file says, as far as the file can be read.
    pub(super) fn placeholder(&self) -> Result<Pipeline, Report> {
        match &self.source {
            Source::File(path, listen) => {
                Ok(on(Pipeline::placeholder(&self.path(path), &self.registry, &self.environment())?, listen.as_ref()))
            }
            Source::App { listen, .. } | Source::Django { listen, .. } => {
                let nowhere = Pipeline::placeholder(Path::new(""), &self.registry, &|_| None)?;
                Ok(nowhere.listening_on(listen.clone()))
            }
        }
    }

    fn environment(&self) -> impl Fn(&str) -> Option<OsString> {
        |name| self.environment.get(OsStr::new(name)).cloned()
    }

    /// The absolute path of the file.
    pub(super) fn path_now(&self) -> Option<PathBuf> {
        self.path_written().map(|path| self.path(path).into_owned())
    }

    /// The path of the file as written; `None` for an app on the command line.
    pub(super) fn path_written(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path, _) => Some(path),
            Source::App { .. } | Source::Django { .. } => None,
        }
    }

    /// A path relative to the working folder at the start. It stays as written while the working folder is the same.
    fn path<'a>(&self, written: &'a Path) -> Cow<'a, Path> {
        match std::env::current_dir() {
            Ok(now) if now == self.folder => Cow::Borrowed(written),
            _ => Cow::Owned(self.folder.join(written)),
        }
    }
}

/// The pipeline, with another `listen` if there is one.
fn on(pipeline: Pipeline, listen: Option<&Listen>) -> Pipeline {
    match listen {
        Some(listen) => pipeline.listening_on(listen.clone()),
        None => pipeline,
    }
}
