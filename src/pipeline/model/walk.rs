//! One walk over a stack, for everything that looks at each of its parts.

use std::collections::BTreeSet;

use super::{App, AppId, Apps, Part, Route, Routes, Stack};
use crate::pipeline::tree::Span;

/// What a walk comes to, in file order.
#[derive(Clone, Copy)]
pub(crate) enum Event<'a> {
    /// A layer, and its index in its stack.
    Layer(usize, &'a Part),
    App(&'a Part),
    /// The name of an entry of `apps`.
    Named(AppId, &'a Span),
    /// A table of routes. Each of them follows: an [`Event::Route`], its stack, an [`Event::RouteEnd`].
    Routes(&'a Routes),
    Route(&'a Route),
    RouteEnd,
}

/// Where in the tree an event is.
pub(crate) struct Position<'a> {
    /// The stack that it belongs to.
    pub(crate) stack: &'a Stack,
    /// The routes that lead here, outermost first. For [`Event::Route`] and [`Event::RouteEnd`], the last one is the route itself.
    pub(crate) routes: Vec<Branch<'a>>,
    /// How many layers and apps a request passes before it comes here.
    pub(crate) stages: usize,
    /// The outermost Python layer above.
    pub(crate) python: Option<&'a Part>,
}

/// A route in its table.
#[derive(Clone, Copy)]
pub(crate) struct Branch<'a> {
    pub(crate) route: &'a Route,
    pub(crate) is_first: bool,
    pub(crate) is_last: bool,
}

/// Which named apps are entered.
enum Enter<'a> {
    None,
    /// Those below a Python layer, which run in its workers. Each is entered once for a Python layer.
    BelowPython(&'a Apps),
    /// All, each once.
    All(&'a Apps),
}

impl Stack {
    /// Visits this stack and the routes in it. Named apps are not entered.
    pub(crate) fn walk<'a>(&'a self, mut visit: impl FnMut(Event<'a>, &Position<'a>)) {
        Walk::new(self, Enter::None, &mut visit).stack(self);
    }

    /// As [`Stack::walk`]; and enters the named apps below a Python layer: they run in the same workers as the layer.
    pub(crate) fn walk_into_workers<'a>(&'a self, apps: &'a Apps, mut visit: impl FnMut(Event<'a>, &Position<'a>)) {
        Walk::new(self, Enter::BelowPython(apps), &mut visit).stack(self);
    }

    /// Visits the app of this stack, and enters all named apps.
    pub(super) fn walk_app<'a>(&'a self, apps: &'a Apps, mut visit: impl FnMut(Event<'a>, &Position<'a>)) {
        Walk::new(self, Enter::All(apps), &mut visit).app(&self.app);
    }
}

struct Walk<'a, 'v> {
    enter: Enter<'a>,
    entered: BTreeSet<AppId>,
    position: Position<'a>,
    visit: &'v mut dyn FnMut(Event<'a>, &Position<'a>),
}

impl<'a, 'v> Walk<'a, 'v> {
    fn new(stack: &'a Stack, enter: Enter<'a>, visit: &'v mut dyn FnMut(Event<'a>, &Position<'a>)) -> Self {
        let position = Position { stack, routes: Vec::new(), stages: 0, python: None };
        Self { enter, entered: BTreeSet::new(), position, visit }
    }

    fn stack(&mut self, stack: &'a Stack) {
        let above = (self.position.stack, self.position.stages, self.position.python);
        self.position.stack = stack;
        for (nth, layer) in stack.layers.iter().enumerate() {
            self.visit(Event::Layer(nth, layer));
            self.position.stages += 1;
            if self.position.python.is_none() && layer.kind.is_python() {
                self.position.python = Some(layer);
                if matches!(self.enter, Enter::BelowPython(_)) {
                    self.entered.clear();
                }
            }
        }
        self.app(&stack.app);
        (self.position.stack, self.position.stages, self.position.python) = above;
    }

    fn app(&mut self, app: &'a App) {
        match app {
            App::Part(app) => self.visit(Event::App(app)),
            App::Named(id, span) => {
                self.visit(Event::Named(*id, span));
                let apps = match self.enter {
                    Enter::All(apps) => apps,
                    Enter::BelowPython(apps) if self.position.python.is_some() => apps,
                    _ => return,
                };
                if self.entered.insert(*id) {
                    self.position.stages += 1;
                    self.stack(&apps[*id].stack);
                    self.position.stages -= 1;
                }
            }
            App::Routes(table) => self.routes(table),
        }
    }

    fn routes(&mut self, table: &'a Routes) {
        self.visit(Event::Routes(table));
        self.position.stages += 1;
        for (nth, route) in table.routes.iter().enumerate() {
            self.position.routes.push(Branch { route, is_first: nth == 0, is_last: nth + 1 == table.routes.len() });
            self.visit(Event::Route(route));
            self.stack(&route.stack);
            self.visit(Event::RouteEnd);
            self.position.routes.pop();
        }
        self.position.stages -= 1;
    }

    fn visit(&mut self, event: Event<'a>) {
        (self.visit)(event, &self.position);
    }
}
