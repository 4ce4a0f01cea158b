//! The stack of the server's process: native down to the outermost Python layer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use ziggurat_middleware::spool::SpoolOptions;
use ziggurat_middleware::store::Store;
use ziggurat_middleware::{Context, Next};

use super::in_process::{Imported, InProcess};
use super::variables::Variables;
use super::worker_stack::{WorkerStack, pack, unpack};
use super::{Parts, Site, table, unbuilt};
use crate::pipeline::check::Order;
use crate::pipeline::check::reserves::Reserves;
use crate::pipeline::diagnostic::Diagnostic;
use crate::pipeline::model::{App, AppId, Below, File, Part, Stack};
use crate::pipeline::workers::in_workers;
use crate::worker::SingleRequest;
use crate::worker::boot::Refusal;
use crate::wsgi::{Callee, Runtime, Wsgi, WsgiLayer};

/// Builds a whole file, or reports everything that cannot be built and shuts down what was started.
pub(in crate::pipeline) fn front(file: &File, site: Site<'_>, store: Option<Arc<dyn Store>>) -> Result<Next, Vec<Diagnostic>> {
    let order = Order::of(file)?;
    let parts = Parts::new(site);
    let is_single = parts.context(&"".into()).host::<SingleRequest>().is_some();
    let mut front = Front {
        parts,
        drain: file.server.value.drain.0,
        spool: Arc::new(file.server.value.spool.clone()),
        store,
        // One request needs no thread that others leave free.
        reserves: if is_single { Reserves::default() } else { Reserves::new(file, &order) },
        variables: Variables::of(file),
        built: BTreeMap::new(),
    };
    let next = front.stack(&file.stack);
    // Unused apps are built too: they have a warning, and a mistake in them is reported.
    let elsewhere = in_workers(file);
    for (id, _) in file.apps.iter().filter(|(id, _)| !elsewhere.contains(id)) {
        front.named(id);
    }
    front.parts.finish(Some(next))
}

struct Front<'a> {
    parts: Parts<'a>,
    /// The time that requests have to finish when their worker or stack is replaced.
    drain: Duration,
    spool: Arc<SpoolOptions>,
    store: Option<Arc<dyn Store>>,
    reserves: Reserves,
    variables: Variables,
    /// The entries of `apps` that are built. All references share them.
    built: BTreeMap<AppId, Next>,
}

impl Front<'_> {
    fn stack(&mut self, stack: &Stack) -> Next {
        let (layers, below) = match stack.first_python_layer() {
            Some(first) => (&stack.layers[..first], self.worker_stack(stack, first)),
            None => (&stack.layers[..], self.app(&stack.app)),
        };
        layers.iter().rev().fold(below, |inner, layer| {
            let context = self.context(layer);
            self.parts.native(layer, &context, Some(inner))
        })
    }

    fn app(&mut self, app: &App) -> Next {
        match app {
            App::Part(part) => {
                let context = self.context(part).with_withheld(self.variables.of_others([part]));
                self.parts.native(part, &context, None)
            }
            App::Named(id, _) => self.named(*id),
            App::Routes(routes) => table(self.parts.site, routes, |route| (self.stack(&route.stack), self.reserves.class(route))),
        }
    }

    fn named(&mut self, id: AppId) -> Next {
        if let Some(built) = self.built.get(&id) {
            return built.clone();
        }
        let apps = self.parts.site.apps;
        let next = self.stack(&apps[id].stack);
        self.built.insert(id, next.clone());
        next
    }

    fn context(&self, part: &Part) -> Context {
        let context = self.parts.context(&part.place).with_drain(self.drain).with_spool(Arc::clone(&self.spool));
        context.with_store(self.store.clone()).with_reserves(self.reserves.of_app(part))
    }

    /// The lower part of a stack, from its outermost Python layer. Its processes, threads and place are those of the WSGI app below; if there is not
    /// exactly one, those of the layer.
    fn worker_stack(&mut self, stack: &Stack, first: usize) -> Next {
        let site = self.parts.site;
        let (Some(layer), layers) = (stack.layers.get(first), &stack.layers[first..]) else { return unbuilt(&"".into()) };
        let below = Below::of(stack, site.apps);
        let owner = below.owner(layer);
        let options = match below.only_app() {
            Some(app) => self.parts.with(app, |app: Wsgi| Ok((Some(app.name().to_owned()), app))),
            None => self.parts.with(layer, |layer: WsgiLayer| Ok((None, layer.as_app()))),
        };
        let target = self.parts.with(layer, |layer: WsgiLayer| Ok(layer.target().to_owned()));
        let (Some((app, options)), Some(target)) = (options, target) else { return unbuilt(&owner.place) };
        if !self.watch(layers, &below) {
            return unbuilt(&owner.place);
        }
        let name = app.map_or_else(|| target.clone(), |app| format!("{app} under {target}"));
        let packed = serde_json::to_value(WorkerStack::new(layers, &stack.app, &below, site)).ok();
        let local = || {
            let runtime = Runtime::start().map_err(|error| Refusal::from(ziggurat_middleware::Finding::from(error)))?;
            let built = InProcess::new(site, &runtime.into(), &mut Imported::new()).callable(layers, &stack.app);
            built.map_err(|findings| Refusal::inside("the stack cannot be built", pack(&findings)))
        };
        let own = layers.iter().chain(below.layers.iter().copied()).chain(below.wsgi.iter().copied());
        let context = self.context(owner).with_withheld(self.variables.of_others(own));
        let served = options.serve(&context, &Callee { name: &name, stack: packed, callable: &local });
        match served.map_err(Refusal::into_inside) {
            Ok(next) => return next,
            Err(Ok(findings)) => self.parts.findings.extend(unpack(findings)),
            Err(Err(finding)) => _ = self.parts.with(owner, |_: IgnoredAny| Err::<(), _>(finding)),
        }
        unbuilt(&owner.place)
    }

    /// Watches the code of a worker stack for changes: it is imported in another process. Returns whether its folders exist.
    fn watch(&mut self, layers: &[Part], below: &Below<'_>) -> bool {
        let before = self.parts.findings.len();
        for part in layers.iter().filter(|layer| layer.kind.is_python()).chain(below.layers.iter().copied()) {
            let context = self.context(part);
            self.parts.with(part, |layer: WsgiLayer| layer.folders(&context));
        }
        for part in &below.wsgi {
            let context = self.context(part);
            self.parts.with(part, |app: Wsgi| app.folders(&context));
        }
        self.parts.findings.len() == before
    }
}
