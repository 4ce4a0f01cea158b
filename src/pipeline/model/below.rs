//! The Python below a Python layer: what runs in its workers.

use std::collections::BTreeSet;

use super::{AppId, Apps, Event, Part, Stack};

/// What requests can reach below the layers of a stack, through routes and named apps.
#[derive(Default)]
pub(crate) struct Below<'a> {
    /// The WSGI apps.
    pub(crate) wsgi: Vec<&'a Part>,
    /// The Python layers.
    pub(crate) layers: Vec<&'a Part>,
    pub(crate) named: BTreeSet<AppId>,
}

impl<'a> Below<'a> {
    /// Below the layers of this stack.
    pub(crate) fn of(stack: &'a Stack, apps: &'a Apps) -> Self {
        let mut below = Self::default();
        stack.walk_app(apps, |event, _| match event {
            Event::Layer(_, layer) if layer.kind.is_python() => below.layers.push(layer),
            Event::App(app) if app.kind.is_python() => below.wsgi.push(app),
            Event::Named(id, _) => _ = below.named.insert(id),
            _ => {}
        });
        below
    }

    pub(crate) const fn is_python(&self) -> bool {
        !self.wsgi.is_empty() || !self.layers.is_empty()
    }

    /// The WSGI app, where there is exactly one.
    pub(crate) fn only_app(&self) -> Option<&'a Part> {
        match self.wsgi.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The part whose processes, threads and place the workers have: the WSGI app, or this layer above if there is not exactly one.
    pub(crate) fn owner(&self, layer: &'a Part) -> &'a Part {
        self.only_app().unwrap_or(layer)
    }
}
