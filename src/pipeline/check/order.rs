//! The order in which the entries of `apps` can be looked at, each after those that it names.

use std::collections::BTreeMap;

use super::MAX_STAGES;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{AppId, Event, File, Stack};
use crate::pipeline::tree::Span;

/// The entries of `apps`, each after those that it names.
pub(in crate::pipeline) struct Order(pub(super) Vec<AppId>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Being looked at: a name that leads here closes a circle.
    Open,
    Done,
}

impl Order {
    /// The order, or the names that close a circle.
    pub(in crate::pipeline) fn of(file: &File) -> Result<Self, Vec<Diagnostic>> {
        let mut states = BTreeMap::new();
        let (mut order, mut findings) = (Vec::new(), Vec::new());
        let roots = std::iter::once(&file.stack).map(names);
        let entries = file.apps.iter().map(|(id, app)| vec![(id, &app.name_span)]);
        for names_of_root in roots.chain(entries) {
            // Chains of names may be long: the path is kept here, not on the thread's stack.
            let mut path = vec![(None, names_of_root.into_iter())];
            while let Some((app, rest)) = path.last_mut() {
                let Some((id, span)) = rest.next() else {
                    if let Some(id) = *app {
                        states.insert(id, State::Done);
                        order.push(id);
                    }
                    path.pop();
                    continue;
                };
                match states.get(&id) {
                    Some(State::Done) => {}
                    Some(State::Open) => findings.push(circle(file, id, span)),
                    None => {
                        states.insert(id, State::Open);
                        path.push((Some(id), names(&file.apps[id].stack).into_iter()));
                    }
                }
            }
        }
        if findings.is_empty() { Ok(Self(order)) } else { Err(findings) }
    }

    /// The first place where a request would pass more than [`MAX_STAGES`] layers and apps from there on.
    pub(super) fn too_deep(&self, file: &File) -> Option<Diagnostic> {
        let mut heights = BTreeMap::new();
        let stacks = self.0.iter().map(|id| (Some(*id), &file.apps[*id].stack));
        for (id, stack) in stacks.chain([(None, &file.stack)]) {
            let mut height = 0;
            let mut place = None;
            stack.walk(|event, position| {
                let (below, span) = match event {
                    Event::App(app) => (1, &app.options.span),
                    Event::Named(id, span) => (1 + heights.get(&id).copied().unwrap_or(0), span),
                    _ => return,
                };
                let total = position.stages + below;
                if total > MAX_STAGES && place.is_none() {
                    place = Some(position.stack.layers.first().map_or(span, |layer| &layer.options.span).clone());
                }
                height = height.max(total);
            });
            if let Some(span) = place {
                return Some(too_deep(span));
            }
            if let Some(id) = id {
                heights.insert(id, height);
            }
        }
        None
    }
}

/// The names in a stack, in file order.
fn names(stack: &Stack) -> Vec<(AppId, &Span)> {
    let mut names = Vec::new();
    stack.walk(|event, _| {
        if let Event::Named(id, span) = event {
            names.push((id, span));
        }
    });
    names
}

fn circle(file: &File, id: AppId, span: &Span) -> Diagnostic {
    let app = &file.apps[id];
    Diagnostic::error(Id::CircularApp, format!("the app `{}` contains itself", app.name), span.clone())
        .label("leads back to it")
        .related(app.name_span.clone(), "its entry")
        .hint("name another app here")
}

pub(in crate::pipeline) fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error(Id::TooManyStages, format!("a request would pass more than {MAX_STAGES} layers and apps"), span)
        .label("too many from here on")
        .hint("use fewer layers")
}
