//! A Python layer and everything below it, which run in one process.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ziggurat_middleware::Lifecycle;

use super::Site;
use super::in_process::{Imported, InProcess};
use super::timings::timings;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{App, Apps, Below, Part, Stack};
use crate::pipeline::registry::Registry;
use crate::pipeline::secrets::Secrets;
use crate::wsgi::{Callable, Runtime};

/// A stack on its way to the process that runs it: a part of the model that the server made of the file, so places are the same in both. It holds nothing
/// else of the file, and only its own secrets: that process may belong to another user. Findings from there carry spans, and the server shows them in
/// the text.
#[derive(Serialize, Deserialize)]
pub(crate) struct WorkerStack {
    base: PathBuf,
    secrets: Secrets,
    stack: Stack<String>,
    apps: Apps<String>,
    is_timed: bool,
    is_linted: bool,
}

impl WorkerStack {
    /// These layers over this app. `below` is what the app leads to.
    pub(super) fn new(layers: &[Part], app: &App, below: &Below<'_>, site: Site<'_>) -> Self {
        let base = std::path::absolute(site.base).unwrap_or_else(|_| site.base.to_owned());
        let stack = Stack { layers: layers.to_vec(), app: app.clone(), allow: Vec::new() }.packed();
        let apps = below.named.iter().map(|id| (*id, site.apps[*id].clone()));
        let apps = Apps(apps.collect()).packed();
        let values = serde_json::to_string(&(&stack, &apps)).unwrap_or_default();
        Self { base, secrets: site.secrets.within(&values), stack, apps, is_timed: site.timings.is_some(), is_linted: site.is_linted }
    }

    /// Builds what [`WorkerStack::new`] made, in this process.
    ///
    /// # Errors
    ///
    /// The findings about what cannot be built, for [`unpack`].
    pub(crate) fn build(sent: Value, registry: &Registry, lifecycle: &Lifecycle, runtime: &Arc<Runtime>) -> Result<Callable, Vec<Value>> {
        let refuse =
            |reason: String| pack(&[Diagnostic::without_place(Id::CannotBuild, format!("the stack was not understood: {reason}"))]);
        let Self { base, secrets, stack, apps, is_timed, is_linted } =
            serde_json::from_value(sent).map_err(|error| refuse(error.to_string()))?;
        let unknown = |kind: String| refuse(format!("this program has no {kind}"));
        let (stack, apps) = (stack.unpacked(registry).map_err(unknown)?, apps.unpacked(registry).map_err(unknown)?);
        let site = Site { apps: &apps, secrets: &secrets, base: &base, lifecycle, timings: None, is_linted };
        let timings = is_timed.then(|| timings(apps.0.values().map(|app| &app.stack).chain([&stack]), site));
        let site = Site { timings: timings.as_ref(), ..site };
        let built = InProcess::new(site, runtime, &mut Imported::new()).callable(&stack.layers, &stack.app);
        built.map_err(|findings| pack(&findings))
    }
}

/// Findings for the process that has the text of the file.
pub(super) fn pack(findings: &[Diagnostic]) -> Vec<Value> {
    // Structs of text and numbers are always JSON.
    findings.iter().map(|finding| serde_json::to_value(finding).unwrap_or_default()).collect()
}

/// Findings from another process.
pub(super) fn unpack(findings: Vec<Value>) -> Vec<Diagnostic> {
    let unread = |error| Diagnostic::without_place(Id::CannotBuild, format!("a finding of a worker was not understood: {error}"));
    findings.into_iter().map(|finding| serde_json::from_value(finding).unwrap_or_else(unread)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pipeline::Pipeline;
    use crate::pipeline::model::{Event, File};

    const FILE: &str = r#"{
        "apps": {
            "shop": { "layers": ["compress", "headers", "compress"], "app": { "wsgi": "shop:app" } },
            "other": { "respond": { "body": "${SECRET}" } }
        },
        "layers": ["compress", { "headers": {}, "as": "outer" }, { "wsgi": "sso:Layer" }, "compress", { "wsgi": "sso:Layer" }],
        "app": { "routes": [
            { "mount": "/blog", "layers": ["compress"], "app": { "wsgi": "blog:app" } },
            { "match": { "host": ["a.example", "*.b.example"], "path": "/x/*", "method": "GET", "header": { "x-a": true }, "query": { "q": "1" } },
              "as": "x", "layers": ["compress"], "app": { "static": { "root": "public", "at": "/${ROOT}" } } },
            { "app": "shop" }
        ] }
    }"#;

    fn pipeline() -> Pipeline {
        let variable = |name: &str| Some(if name == "ROOT" { "root\"s" } else { "hunter2" }.into());
        Pipeline::from_text("pipeline.json", FILE, Path::new("/srv"), &crate::builtin(), &variable).unwrap()
    }

    /// The places of a stack from its first Python layer down, with those of the apps that it names, and the conditions of its routes.
    fn described(stack: &Stack, apps: &Apps) -> Vec<String> {
        let mut described = Vec::new();
        let mut describe = |event: Event<'_>| match event {
            Event::Layer(_, part) | Event::App(part) => described.push(part.place.to_string()),
            Event::Named(id, _) => described.push(apps[id].name.clone()),
            Event::Routes(table) => described.push(table.place.to_string()),
            Event::Route(route) => {
                described.push(serde_json::to_string(&route.condition.as_ref().map(|condition| &condition.value)).unwrap())
            }
            Event::RouteEnd => {}
        };
        stack.walk_into_workers(apps, |event, position| {
            let is_first = matches!(event, Event::Layer(_, layer) if layer.kind.is_python());
            if position.python.is_some() || is_first {
                describe(event);
            }
        });
        described
    }

    fn sent(file: &File, pipeline: &Pipeline) -> Value {
        let lifecycle = Lifecycle::default();
        let site = pipeline.site(&lifecycle);
        let below = Below::of(&file.stack, &file.apps);
        let first = file.stack.first_python_layer().unwrap();
        serde_json::to_value(WorkerStack::new(&file.stack.layers[first..], &file.stack.app, &below, site)).unwrap()
    }

    #[test]
    fn a_worker_has_the_same_places_and_conditions_as_the_server() {
        let pipeline = pipeline();
        let WorkerStack { stack, apps, .. } = serde_json::from_value(sent(&pipeline.file, &pipeline)).unwrap();
        let (stack, apps) = (stack.unpacked(&crate::builtin()).unwrap(), apps.unpacked(&crate::builtin()).unwrap());
        let in_worker = described(&stack, &apps);
        assert_eq!(in_worker, described(&pipeline.file.stack, &pipeline.file.apps));
        let places =
            ["wsgi#2", "compress", "wsgi", "routes", "blog/compress", "blog/wsgi", "x/compress", "x/static", "shop/compress#2", "shop"];
        assert!(places.iter().all(|place| in_worker.iter().any(|described| described == place)), "{in_worker:?}");
    }

    #[test]
    fn a_worker_is_sent_its_own_part_of_the_file_and_of_the_secrets() {
        let pipeline = pipeline();
        let sent = sent(&pipeline.file, &pipeline).to_string();
        assert!(!sent.contains("hunter2") && !sent.contains("outer") && !sent.contains("other"), "{sent}");
        let WorkerStack { secrets, .. } = serde_json::from_str(&sent).unwrap();
        assert_eq!(secrets.redact("root\"s hunter2"), "${ROOT} hunter2");
    }
}
