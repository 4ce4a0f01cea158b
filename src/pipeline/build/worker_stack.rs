//! A Python layer and all that is below it: what runs in one process, wherever that is.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ziggurat_middleware::Lifecycle;

use super::Site;
use super::in_process::{Imported, InProcess};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{App, Apps, Below, Part, Stack};
use crate::pipeline::registry::Registry;
use crate::pipeline::secrets::Secrets;
use crate::wsgi::{Callable, Runtime};

/// A stack on its way to the process that runs it. It is a part of the file as the server understood it, so places are the same there. Of the file it takes
/// along its own part alone, and of the secrets those within: that process may be another user's. Its findings say where in the file they
/// belong; who has the text shows them.
#[derive(Serialize, Deserialize)]
pub(crate) struct WorkerStack {
    base: PathBuf,
    secrets: Secrets,
    stack: Stack<String>,
    apps: Apps<String>,
}

impl WorkerStack {
    /// These layers over this app, below which is this.
    pub(super) fn new(layers: &[Part], app: &App, below: &Below<'_>, site: Site<'_>) -> Self {
        let base = std::path::absolute(site.base).unwrap_or_else(|_| site.base.to_owned());
        let stack = Stack { layers: layers.to_vec(), app: app.clone() }.packed();
        let apps = below.named.iter().map(|id| (*id, site.apps[*id].clone()));
        let apps = Apps(apps.collect()).packed();
        let values = serde_json::to_string(&(&stack, &apps)).unwrap_or_default();
        Self { base, secrets: site.secrets.within(&values), stack, apps }
    }

    /// Builds what [`WorkerStack::new`] made, in this process.
    ///
    /// # Errors
    ///
    /// What of it cannot be built, for [`unpack`].
    pub(crate) fn build(sent: Value, registry: &Registry, lifecycle: &Lifecycle, runtime: &Arc<Runtime>) -> Result<Callable, Vec<Value>> {
        let refuse =
            |reason: String| pack(&[Diagnostic::without_place(Id::CannotBuild, format!("the stack was not understood: {reason}"))]);
        let Self { base, secrets, stack, apps } = serde_json::from_value(sent).map_err(|error| refuse(error.to_string()))?;
        let unknown = |kind: String| refuse(format!("this program has no {kind}"));
        let (stack, apps) = (stack.unpacked(registry).map_err(unknown)?, apps.unpacked(registry).map_err(unknown)?);
        let site = Site { apps: &apps, secrets: &secrets, base: &base, lifecycle };
        let built = InProcess::new(site, runtime, &mut Imported::new()).callable(&stack.layers, &stack.app);
        built.map_err(|findings| pack(&findings))
    }
}

/// Findings for the process that has the file's text too.
pub(super) fn pack(findings: &[Diagnostic]) -> Vec<Value> {
    // Structs of text and numbers are always JSON.
    findings.iter().map(|finding| serde_json::to_value(finding).unwrap_or_default()).collect()
}

/// Findings from another process.
pub(super) fn unpack(findings: Vec<Value>) -> Vec<Diagnostic> {
    let unread = |error| Diagnostic::without_place(Id::CannotBuild, format!("a finding of a worker was not understood: {error}"));
    findings.into_iter().map(|finding| serde_json::from_value(finding).unwrap_or_else(unread)).collect()
}
