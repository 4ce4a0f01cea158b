//! Stacks that run on the thread of their caller: in a worker, or in the process of another server.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ziggurat_middleware::{Next, Place};

use super::{Parts, Site, table, unbuilt};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{App, AppId, File, Part, Stack};
use crate::wsgi::{Callable, Runtime, Wsgi, WsgiLayer};

/// The imported WSGI apps, which a rebuilt stack uses again.
pub(crate) type Imported = HashMap<Place, Callable>;

/// Builds all of a file, as a service.
pub(in crate::pipeline) fn in_process(
    file: &File,
    site: Site<'_>,
    runtime: &Arc<Runtime>,
    imported: &mut Imported,
) -> Result<Next, Vec<Diagnostic>> {
    let mut build = InProcess::new(site, runtime, imported);
    let built = build.stack(&file.stack);
    let next = build.as_service(built);
    file.apps.iter().for_each(|(id, _)| _ = build.named(id));
    build.parts.finish(Some(next))
}

pub(in crate::pipeline) struct InProcess<'a> {
    parts: Parts<'a>,
    /// Runs the timers, files and tasks of the layers.
    runtime: &'a Arc<Runtime>,
    /// The apps imported so far.
    imported: &'a mut Imported,
    /// The entries of `apps` that are built. All references share them.
    built: BTreeMap<AppId, Built>,
}

/// A part of a stack, from some layer or the app downwards.
#[derive(Clone)]
enum Built {
    Native(Next),
    /// Python parts only; the place is that of the lowest one.
    Python(Callable, Place),
}

impl<'a> InProcess<'a> {
    pub(in crate::pipeline) fn new(site: Site<'a>, runtime: &'a Arc<Runtime>, imported: &'a mut Imported) -> Self {
        Self { parts: Parts::new(site), runtime, imported, built: BTreeMap::new() }
    }

    /// Layers of which the first is Python's, over an app.
    pub(super) fn callable(mut self, layers: &[Part], app: &App) -> Result<Callable, Vec<Diagnostic>> {
        let app = self.app(app);
        self.over(layers, app)
    }

    /// Layers over an existing app.
    pub(in crate::pipeline) fn over_callable(self, layers: &[Part], app: Callable) -> Result<Callable, Vec<Diagnostic>> {
        self.over(layers, Built::Python(app, "app".into()))
    }

    fn over(mut self, layers: &[Part], app: Built) -> Result<Callable, Vec<Diagnostic>> {
        let built = self.layers(layers, app);
        let callable = self.as_callable(built);
        self.parts.finish(callable)
    }

    fn stack(&mut self, stack: &Stack) -> Built {
        let app = self.app(&stack.app);
        self.layers(&stack.layers, app)
    }

    fn layers(&mut self, layers: &[Part], app: Built) -> Built {
        layers.iter().rev().fold(app, |inner, layer| {
            let context = self.parts.context(&layer.place);
            if !layer.kind.is_python() {
                let inner = self.as_service(inner);
                return Built::Native(self.parts.native(layer, &context, Some(inner)));
            }
            let place = match &inner {
                Built::Python(_, place) => place.clone(),
                Built::Native(_) => layer.place.clone(),
            };
            let Some(inner) = self.as_callable(inner) else { return Built::Native(unbuilt(&layer.place)) };
            let is_linted = self.parts.site.is_linted;
            let callable = self.parts.with(layer, |python: WsgiLayer| {
                // The border to what is below.
                let inner = if is_linted { inner.linted(python.target(), context.place())? } else { inner };
                python.over(&context, &inner)?.timed(context.place())
            });
            callable.map_or_else(|| Built::Native(unbuilt(&layer.place)), |callable| Built::Python(callable, place))
        })
    }

    fn app(&mut self, app: &App) -> Built {
        match app {
            App::Part(part) if part.kind.is_python() => {
                let callable = self.import(part).and_then(|callable| self.timed(callable, part));
                callable.map_or_else(|| Built::Native(unbuilt(&part.place)), |callable| Built::Python(callable, part.place.clone()))
            }
            App::Part(part) => {
                let context = self.parts.context(&part.place);
                Built::Native(self.parts.native(part, &context, None))
            }
            App::Named(id, _) => self.named(*id),
            App::Routes(routes) => Built::Native(table(self.parts.site, routes, |route| {
                let built = self.stack(&route.stack);
                // Without a queue, no thread can be reserved.
                (self.as_service(built), None)
            })),
        }
    }

    /// The callable of an app at its place.
    fn timed(&mut self, callable: Callable, part: &Part) -> Option<Callable> {
        let place = self.parts.site.place(&part.place);
        self.parts.note(callable.timed(&place).map_err(|finding| vec![Diagnostic::without_place(Id::CannotBuild, finding.to_string())]))
    }

    /// A WSGI app, imported once.
    fn import(&mut self, part: &Part) -> Option<Callable> {
        if let Some(callable) = self.imported.get(&part.place) {
            return Some(callable.clone());
        }
        let context = self.parts.context(&part.place);
        let callable = self.parts.with(part, |app: Wsgi| app.import(&context))?;
        self.imported.insert(part.place.clone(), callable.clone());
        Some(callable)
    }

    fn named(&mut self, id: AppId) -> Built {
        if let Some(built) = self.built.get(&id) {
            return built.clone();
        }
        let apps = self.parts.site.apps;
        let built = self.stack(&apps[id].stack);
        self.built.insert(id, built.clone());
        built
    }

    fn as_service(&mut self, built: Built) -> Next {
        match built {
            Built::Native(next) => next,
            Built::Python(callable, place) => callable.service(&self.parts.context(&place)).unwrap_or_else(|finding| {
                self.parts.findings.push(Diagnostic::without_place(Id::CannotBuild, finding.to_string()));
                unbuilt(&place)
            }),
        }
    }

    fn as_callable(&mut self, built: Built) -> Option<Callable> {
        match built {
            Built::Python(callable, _) => Some(callable),
            Built::Native(next) => {
                let made = Callable::of_stack(next, self.runtime);
                made.map_err(|finding| self.parts.findings.push(Diagnostic::without_place(Id::CannotBuild, finding.to_string()))).ok()
            }
        }
    }
}
