//! Development: the program learns which folders contain code.

use std::path::Path;
use std::sync::Arc;

/// Receives the folders that contain code. A program that watches for changes passes one to [`Lifecycle::hosted`](crate::Lifecycle::hosted).
#[derive(Clone)]
pub struct Watcher(Arc<dyn Fn(&Path) + Send + Sync>);

impl Watcher {
    /// A watcher that calls `watch` with each folder, before the code in it is read.
    pub fn new(watch: impl Fn(&Path) + Send + Sync + 'static) -> Self {
        Self(Arc::new(watch))
    }

    pub(crate) fn watch(&self, folder: &Path) {
        (self.0)(folder);
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watcher")
    }
}
