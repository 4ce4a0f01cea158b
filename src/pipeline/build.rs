//! From a checked pipeline to one service: apps first, then layers, innermost first.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tower::service_fn;
use ziggurat_middleware::{Context, Deadline, IntoApp, Lifecycle, Next, Problem, Request};

use super::diagnostic::Diagnostic;
use super::expand::Mask;
use super::grammar::{App, Part, Stack, Tree};
use super::reserves::Reserves;
use crate::apps::routes::{Arm, Routes};

/// Builds everything the tree names, or finds everything that cannot be built and ends what was already started.
pub(crate) fn build(tree: &Tree, mask: &Mask, base: &Path, drain: Duration, lifecycle: &Lifecycle) -> Result<Next, Vec<Diagnostic>> {
    let reserves = Reserves::of(tree);
    let mut builder = Builder { tree, mask, base: base.into(), drain, lifecycle, reserves, apps: Vec::new(), findings: Vec::new() };
    builder.apps.resize_with(tree.apps.len(), OnceCell::new);
    let next = builder.stack(&tree.stack);
    // What nobody uses is built too: a warning tells about it, and a mistake in it is a mistake.
    for index in 0..tree.apps.len() {
        builder.named(index);
    }
    if builder.findings.is_empty() {
        return Ok(next);
    }
    lifecycle.shutdown();
    Err(builder.findings)
}

struct Builder<'a> {
    tree: &'a Tree,
    mask: &'a Mask,
    base: Arc<Path>,
    drain: Duration,
    lifecycle: &'a Lifecycle,
    reserves: Reserves<'a>,
    /// Each entry of `apps` once it is built; all who name it share it.
    apps: Vec<OnceCell<Next>>,
    findings: Vec<Diagnostic>,
}

impl Builder<'_> {
    fn stack(&mut self, stack: &Stack) -> Next {
        let app = self.app(&stack.app);
        stack.layers.iter().rev().fold(app, |inner, layer| self.part(layer, Some(inner)))
    }

    fn app(&mut self, app: &App) -> Next {
        match app {
            App::Part(part) => self.part(part, None),
            App::Named(index, _) => self.named(*index),
            App::Routes { place, routes, .. } => {
                let arms = routes.iter().map(|route| Arm {
                    condition: route.condition.as_ref().map(|(condition, _)| condition.clone()),
                    mount: route.mount.clone(),
                    deadline: route.deadline.as_ref().map(|(time, _)| Deadline(time.0)),
                    reserve: self.reserves.class(route),
                    next: self.stack(&route.stack),
                });
                Routes::new(arms.collect()).into_next(place)
            }
        }
    }

    fn named(&mut self, index: usize) -> Next {
        if let Some(built) = self.apps[index].get() {
            return built.clone();
        }
        let tree = self.tree;
        let built = self.stack(&tree.apps[index].stack);
        self.apps[index].get_or_init(|| built).clone()
    }

    /// A layer over `inner`, or an app. What cannot be built is noted and replaced, so that the search for mistakes goes on.
    fn part(&mut self, part: &Part, inner: Option<Next>) -> Next {
        let context = Context::new(part.place.as_str(), Arc::clone(&self.base), self.lifecycle.clone())
            .with_reserves(self.reserves.of_app(part))
            .with_drain(self.drain);
        match part.kind.make(&part.options, self.mask, &context, inner) {
            Ok(next) => next,
            Err(findings) => {
                self.findings.extend(findings);
                unbuilt().into_next(&part.place)
            }
        }
    }
}

fn unbuilt() -> impl IntoApp {
    service_fn(async |_: Request| Ok::<_, Infallible>(Problem::new(StatusCode::SERVICE_UNAVAILABLE).into_response()))
}
