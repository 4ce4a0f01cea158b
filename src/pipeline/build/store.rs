//! The store that the layers of the server's process share with other processes.

use std::path::Path;
use std::sync::Arc;

use ziggurat_middleware::store::Store;
use ziggurat_middleware::{Context, Finding, Lifecycle};

use crate::server::Options;
use crate::store::SharedStore;
use crate::worker::{SingleRequest, Trial};

/// Opens the store that the file names, if it names one. It connects in the background. Tests of the file do not count there, and one request of CGI could not wait for it.
///
/// # Errors
///
/// If the files of its TLS cannot be used. What was started is shut down.
pub(in crate::pipeline) fn store(server: &Options, base: &Path, lifecycle: &Lifecycle) -> Result<Option<Arc<dyn Store>>, Finding> {
    let context = Context::new("server.store", base, lifecycle.clone());
    let is_brief = context.host::<Trial>().is_some() || context.host::<SingleRequest>().is_some();
    let Some(setting) = server.store.as_ref().filter(|_| !is_brief) else { return Ok(None) };
    match SharedStore::open(setting, base, &context) {
        Ok(store) => Ok(Some(store)),
        Err(finding) => {
            lifecycle.shutdown();
            Err(finding)
        }
    }
}
