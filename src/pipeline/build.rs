//! From a checked pipeline to one service: apps first, then layers, innermost first.
//!
//! A stack is built natively from the outside down to its outermost Python layer. What stands there and below is an [`Island`]: it is built in the
//! process that runs it, where a Python part is a callable as long as nothing native stands over it.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tower::service_fn;
use ziggurat_middleware::{Context, Deadline, IntoApp, Lifecycle, Next, Place, Problem, Request};

use super::diagnostic::Diagnostic;
use super::expand::Mask;
use super::grammar::{App, Named, Part, Stack, Tree, Written};
use super::hosted::Imported;
use super::island::{Island, Reach, pack, unpack};
use super::reserves::Reserves;
use crate::apps::routes::{Arm, Routes};
use crate::worker::boot::Refusal;
use crate::wsgi::{Callable, Called, Runtime, Wsgi, WsgiLayer};

/// Builds everything the tree names, or finds everything that cannot be built and ends what was already started.
pub(crate) fn build(tree: &Tree, mask: &Mask, base: &Path, drain: Duration, lifecycle: &Lifecycle) -> Result<Next, Vec<Diagnostic>> {
    let mut builder = Builder::new(&tree.apps, mask, base.into(), lifecycle);
    builder.tree = Some(tree);
    builder.drain = Some(drain);
    builder.reserves = Some(Reserves::of(tree));
    let next = builder.stack(&tree.stack);
    // What nobody uses is built too: a warning tells about it, and a mistake in it is a mistake.
    let elsewhere = islands(tree);
    for index in (0..tree.apps.len()).filter(|index| !elsewhere.contains(index)) {
        builder.named(index);
    }
    if builder.findings.is_empty() {
        return Ok(next);
    }
    lifecycle.shutdown();
    Err(builder.findings)
}

/// The entries of `apps` that islands reach.
fn islands(tree: &Tree) -> Vec<usize> {
    fn collect(stack: &Stack, named: &[Named], found: &mut Vec<usize>) {
        match &stack.app {
            app if stack.island.is_some() => found.extend(Reach::of(app, named).named),
            App::Routes { routes, .. } => routes.iter().for_each(|route| collect(&route.stack, named, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&tree.stack, &tree.apps, &mut found);
    tree.apps.iter().for_each(|app| collect(&app.stack, &tree.apps, &mut found));
    found
}

pub(super) struct Builder<'a> {
    /// What an island takes along. Nothing inside of one.
    tree: Option<&'a Tree>,
    /// The entries of `apps`.
    named: &'a [Named],
    mask: &'a Mask,
    base: Arc<Path>,
    drain: Option<Duration>,
    lifecycle: &'a Lifecycle,
    reserves: Option<Reserves<'a>>,
    /// Set where everything runs on the thread of its caller: inside an island, or another server. For the timers, files and tasks of the layers.
    within: Option<Arc<Runtime>>,
    /// The WSGI apps that are there already, and those that were imported since.
    imported: Option<&'a mut Imported>,
    /// Each entry of `apps` once it is built; all who name it share it.
    apps: Vec<OnceCell<Built>>,
    pub(super) findings: Vec<Diagnostic>,
}

/// A part of a stack, from some layer or the app downwards.
#[derive(Clone)]
enum Built {
    Native(Next),
    /// Nothing native stands over it; its place is that of the app.
    Python(Callable, String),
}

impl<'a> Builder<'a> {
    pub(super) fn new(named: &'a [Named], mask: &'a Mask, base: Arc<Path>, lifecycle: &'a Lifecycle) -> Self {
        let apps = named.iter().map(|_| OnceCell::new()).collect();
        Self {
            tree: None,
            named,
            mask,
            base,
            drain: None,
            lifecycle,
            reserves: None,
            within: None,
            imported: None,
            apps,
            findings: Vec::new(),
        }
    }

    /// To build what runs on the thread of its caller.
    pub(super) fn within(self, runtime: &Arc<Runtime>) -> Self {
        Self { within: Some(Arc::clone(runtime)), ..self }
    }

    /// With WSGI apps that are there already; those that are not join them.
    pub(super) fn having(self, imported: &'a mut Imported) -> Self {
        Self { imported: Some(imported), ..self }
    }

    /// An island, as a callable: layers of which the first is Python's, over an app.
    pub(super) fn callable(mut self, layers: &[Part], app: &App) -> Result<Callable, Vec<Diagnostic>> {
        let built = self.layers(layers, app);
        self.finished(built)
    }

    /// Layers over an app that is there already, as a callable.
    pub(super) fn over(mut self, layers: &[Part], app: Callable) -> Result<Callable, Vec<Diagnostic>> {
        let built = self.layers_over(layers, Built::Python(app, "app".to_owned()));
        self.finished(built)
    }

    fn finished(mut self, built: Built) -> Result<Callable, Vec<Diagnostic>> {
        match self.as_callable(built) {
            Some(callable) if self.findings.is_empty() => Ok(callable),
            _ => {
                self.lifecycle.shutdown();
                Err(self.findings)
            }
        }
    }

    /// A whole pipeline in another server, as a service.
    pub(super) fn service(mut self, stack: &Stack) -> Result<Next, Vec<Diagnostic>> {
        let next = self.stack(stack);
        (0..self.named.len()).for_each(|index| _ = self.named(index));
        if self.findings.is_empty() {
            return Ok(next);
        }
        self.lifecycle.shutdown();
        Err(self.findings)
    }

    fn stack(&mut self, stack: &Stack) -> Next {
        match &stack.island {
            Some(written) if self.within.is_none() => {
                let below = self.island(stack, written);
                stack.layers[..written.first].iter().rev().fold(below, |inner, layer| self.part(layer, Some(inner)))
            }
            _ => {
                let built = self.layers(&stack.layers, &stack.app);
                self.as_service(built)
            }
        }
    }

    /// Layers over an app, in this process.
    fn layers(&mut self, layers: &[Part], app: &App) -> Built {
        let app = self.app(app);
        self.layers_over(layers, app)
    }

    fn layers_over(&mut self, layers: &[Part], app: Built) -> Built {
        layers.iter().rev().fold(app, |inner, layer| {
            if !layer.kind.is_python() {
                let inner = self.as_service(inner);
                return Built::Native(self.part(layer, Some(inner)));
            }
            let place = match &inner {
                Built::Python(_, place) => place.clone(),
                Built::Native(_) => layer.place.clone(),
            };
            let Some(inner) = self.as_callable(inner) else { return Built::Native(unbuilt(&layer.place)) };
            let context = self.context(layer);
            let made = layer.kind.with(&layer.options, self.mask, |python: WsgiLayer| python.over(&context, &inner));
            self.noted(made).map_or_else(|| Built::Native(unbuilt(&layer.place)), |callable| Built::Python(callable, place))
        })
    }

    fn app(&mut self, app: &App) -> Built {
        match app {
            App::Part(part) if part.kind.is_python() && self.within.is_some() => {
                let callable = self.import(part);
                callable.map_or_else(|| Built::Native(unbuilt(&part.place)), |callable| Built::Python(callable, part.place.clone()))
            }
            App::Part(part) => Built::Native(self.part(part, None)),
            App::Named(index, _) => self.named(*index),
            App::Routes { place, routes, .. } => {
                let arms = routes.iter().map(|route| Arm {
                    condition: route.condition.as_ref().map(|(condition, _)| condition.clone()),
                    mount: route.mount.clone(),
                    deadline: route.deadline.as_ref().map(|(time, _)| Deadline(time.0)),
                    reserve: self.reserves.as_ref().and_then(|reserves| reserves.class(route)),
                    next: self.stack(&route.stack),
                });
                Built::Native(Routes::new(arms.collect()).into_next(&Place::new(place.as_str())))
            }
        }
    }

    /// A WSGI app, imported unless it is there already.
    fn import(&mut self, part: &Part) -> Option<Callable> {
        if let Some(callable) = self.imported.as_ref().and_then(|imported| imported.get(&part.place)) {
            return Some(callable.clone());
        }
        let context = self.context(part);
        let made = part.kind.with(&part.options, self.mask, |app: Wsgi| app.import(&context));
        let callable = self.noted(made)?;
        if let Some(imported) = &mut self.imported {
            imported.insert(part.place.clone(), callable.clone());
        }
        Some(callable)
    }

    fn named(&mut self, index: usize) -> Built {
        if let Some(built) = self.apps[index].get() {
            return built.clone();
        }
        let stack = &self.named[index].stack;
        let built = if self.within.is_some() { self.layers(&stack.layers, &stack.app) } else { Built::Native(self.stack(stack)) };
        self.apps[index].get_or_init(|| built).clone()
    }

    /// A native layer over `inner`, or an app. What cannot be built is noted and replaced, so that the search for mistakes goes on.
    fn part(&mut self, part: &Part, inner: Option<Next>) -> Next {
        let made = part.kind.make(&part.options, self.mask, &self.context(part), inner);
        self.noted(made).unwrap_or_else(|| unbuilt(&part.place))
    }

    /// The lower part of a stack from its outermost Python layer, wherever it runs. How many processes and threads it has, the one WSGI app
    /// below says, or where there is not exactly one, the layer.
    fn island(&mut self, stack: &Stack, written: &Written) -> Next {
        let (layers, named, mask) = (&stack.layers[written.first..], self.named, self.mask);
        let [layer, ..] = layers else { return unbuilt("") };
        let reach = Reach::of(&stack.app, named);
        let says = reach.only_app().unwrap_or(layer);
        let read = match reach.only_app() {
            Some(app) => app.kind.with(&app.options, mask, |app: Wsgi| Ok((app.name().to_owned(), app))),
            None => layer.kind.with(&layer.options, mask, |layer: WsgiLayer| Ok((String::new(), layer.as_app()))),
        };
        let target = layer.kind.with(&layer.options, mask, |layer: WsgiLayer| Ok(layer.target().to_owned()));
        let (Some((below, wsgi)), Some(target)) = (self.noted(read), self.noted(target)) else { return unbuilt(&layer.place) };
        if !self.watch(layers, &reach) {
            return unbuilt(&layer.place);
        }
        let packed = self.tree.map(|tree| {
            let apps = tree.written.iter().enumerate().filter(|(index, _)| reach.named.contains(index)).map(|(_, entry)| entry.clone());
            Island::new(&self.base, mask, written, apps.collect(), &tree.expansions)
        });
        let local = || {
            let runtime = Arc::new(Runtime::start().map_err(|error| Refusal::from(ziggurat_middleware::Finding::from(error)))?);
            let builder = Builder::new(named, mask, Arc::clone(&self.base), self.lifecycle);
            let built = builder.within(&runtime).callable(layers, &stack.app);
            built.map_err(|findings| Refusal::inside("the stack cannot be built", pack(&findings)))
        };
        let name = if below.is_empty() { target } else { format!("{below} under {target}") };
        let context = self.context(layer).with_reserves(self.reserves.as_ref().map_or(&[][..], |reserves| reserves.of_app(says)));
        let served = wsgi
            .serve(&context, &Called { name: &name, stack: packed.and_then(|island| serde_json::to_value(island).ok()), callable: &local });
        match served.map_err(Refusal::into_inside) {
            Ok(next) => return next,
            Err(Ok(findings)) => self.findings.extend(unpack(findings)),
            Err(Err(finding)) => self
                .findings
                .extend(says.kind.with(&says.options, mask, |_: serde::de::IgnoredAny| Err::<(), _>(finding)).err().into_iter().flatten()),
        }
        unbuilt(&layer.place)
    }

    /// Watches the code of an island, which is read where it runs. Says whether its folders are there.
    fn watch(&mut self, layers: &[Part], reach: &Reach<'_>) -> bool {
        let before = self.findings.len();
        for part in layers.iter().filter(|layer| layer.kind.is_python()).chain(reach.layers.iter().copied()) {
            let context = self.context(part);
            let watched = part.kind.with(&part.options, self.mask, |layer: WsgiLayer| layer.folders(&context));
            self.noted(watched);
        }
        for part in &reach.wsgi {
            let context = self.context(part);
            let watched = part.kind.with(&part.options, self.mask, |app: Wsgi| app.folders(&context));
            self.noted(watched);
        }
        self.findings.len() == before
    }

    fn as_service(&mut self, built: Built) -> Next {
        match built {
            Built::Native(next) => next,
            Built::Python(callable, place) => {
                let context = Context::new(place.as_str(), Arc::clone(&self.base), self.lifecycle.clone());
                callable.service(&context).unwrap_or_else(|finding| {
                    self.findings.push(Diagnostic::without_place(finding.to_string()));
                    unbuilt(&place)
                })
            }
        }
    }

    fn as_callable(&mut self, built: Built) -> Option<Callable> {
        match built {
            Built::Python(callable, _) => Some(callable),
            Built::Native(next) => {
                let runtime = self.within.as_ref()?;
                let made = Callable::of_stack(next, runtime);
                made.map_err(|finding| self.findings.push(Diagnostic::without_place(finding.to_string()))).ok()
            }
        }
    }

    fn context(&self, part: &Part) -> Context {
        let context = Context::new(part.place.as_str(), Arc::clone(&self.base), self.lifecycle.clone());
        let context = self.drain.map_or_else(|| context.clone(), |drain| context.clone().with_drain(drain));
        match &self.reserves {
            Some(reserves) => context.with_reserves(reserves.of_app(part)),
            None => context,
        }
    }

    fn noted<T>(&mut self, made: Result<T, Vec<Diagnostic>>) -> Option<T> {
        made.map_err(|findings| self.findings.extend(findings)).ok()
    }
}

/// What stands in for a part that could not be built.
fn unbuilt(place: &str) -> Next {
    service_fn(async |_: Request| Ok::<_, Infallible>(Problem::new(StatusCode::SERVICE_UNAVAILABLE).into_response()))
        .into_next(&Place::new(place))
}
