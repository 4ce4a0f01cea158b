//! What a layer or an app is given while it is built.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The surroundings of a layer under construction: its place in the file, the folder that relative paths start from, and the
/// moments of the program it may take part in.
///
/// It never gives the configuration of others.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    place: Arc<str>,
    base: Arc<Path>,
    lifecycle: Lifecycle,
}

impl Context {
    /// A context for the layer or app at `place`; relative paths start from `base`.
    pub fn new(place: impl Into<Arc<str>>, base: impl Into<Arc<Path>>, lifecycle: Lifecycle) -> Self {
        Self { place: place.into(), base: base.into(), lifecycle }
    }

    /// Where the layer stands, for instance `layers[2].compress`; for logs and metrics.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// A path as the file means it: relative ones start at the file's folder.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }

    /// Runs `hook` when log files are to be opened again (SIGUSR1). It must not block for long.
    pub fn on_reopen(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.lifecycle.hooks().reopen.push(Arc::new(hook));
    }

    /// Runs `hook` after the drain, when no request is inside the stack any more; the newest hook runs first. It may block.
    pub fn on_shutdown(&self, hook: impl FnOnce() + Send + 'static) {
        self.lifecycle.hooks().shutdown.push(Box::new(hook));
    }
}

/// The hooks that a stack's layers left, held by whoever runs the stack.
#[derive(Clone, Default)]
pub struct Lifecycle(Arc<Mutex<Hooks>>);

#[derive(Default)]
struct Hooks {
    reopen: Vec<Arc<dyn Fn() + Send + Sync>>,
    shutdown: Vec<Box<dyn FnOnce() + Send>>,
}

impl Lifecycle {
    /// Has log files opened again.
    pub fn reopen(&self) {
        let hooks = self.hooks().reopen.clone();
        for hook in hooks {
            hook();
        }
    }

    /// Ends what the layers started, newest first. A second call does nothing.
    pub fn shutdown(&self) {
        let hooks = std::mem::take(&mut self.hooks().shutdown);
        for hook in hooks.into_iter().rev() {
            hook();
        }
    }

    fn hooks(&self) -> std::sync::MutexGuard<'_, Hooks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lifecycle")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shutdown_hooks_run_once_and_newest_first() {
        let lifecycle = Lifecycle::default();
        let context = Context::new("layers[0].x", PathBuf::from("/srv"), lifecycle.clone());
        let log = Arc::new(Mutex::new(Vec::new()));
        for n in [1, 2] {
            let log = Arc::clone(&log);
            context.on_shutdown(move || log.lock().unwrap().push(n));
        }
        lifecycle.shutdown();
        lifecycle.shutdown();
        assert_eq!(*log.lock().unwrap(), [2, 1]);
    }

    #[test]
    fn relative_paths_start_at_the_files_folder() {
        let context = Context::new("app", PathBuf::from("/srv/site"), Lifecycle::default());
        assert_eq!(context.resolve("static"), PathBuf::from("/srv/site/static"));
        assert_eq!(context.resolve("/static"), PathBuf::from("/static"));
    }
}
