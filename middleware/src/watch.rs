//! Development: the program hears which folders hold code, and has the stack built anew when it changes.

use std::path::Path;
use std::sync::Arc;

/// Who is told of folders with code. A program that watches them leaves one with the host of its [`Lifecycle`](crate::Lifecycle).
#[derive(Clone)]
pub struct Watcher(Arc<dyn Fn(&Path) + Send + Sync>);

impl Watcher {
    /// A watcher that is told of each folder at once, before the code in it is read.
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
