//! Which threads routes keep of the apps below them.
//!
//! Every route with a `reserve` is a class of requests. Where such routes are nested, a request is of the innermost one's class; so an app
//! is told of exactly the classes whose requests can reach it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use ziggurat_middleware::{Reserve, ReserveClass};

use super::diagnostic::Diagnostic;
use super::grammar::{App, Named, Part, Stack, Tree};
use super::route::Route;
use super::tree::Node;

/// The kind of app that has threads to keep.
const WITH_THREADS: &str = "wsgi";

/// The classes of a pipeline, and what each app keeps for them.
pub(crate) struct Reserves<'a> {
    /// By where the `reserve` stands in the file.
    classes: BTreeMap<usize, ReserveClass>,
    /// By the app's place.
    apps: HashMap<&'a str, Vec<Reserve>>,
    findings: Vec<Diagnostic>,
}

impl<'a> Reserves<'a> {
    /// For a tree without circles.
    pub(crate) fn of(tree: &'a Tree) -> Self {
        let mut collect = Collect { named: &tree.apps, below: vec![None; tree.apps.len()], routes: Vec::new() };
        collect.stack(&tree.stack);
        (0..tree.apps.len()).for_each(|index| _ = collect.named(index));
        let mut routes = collect.routes;
        routes.sort_by_key(|(_, node, _)| node.span.start);

        let mut reserves = Self { classes: BTreeMap::new(), apps: HashMap::new(), findings: Vec::new() };
        for ((threads, node, below), number) in routes.into_iter().zip(1..) {
            let class = ReserveClass(number);
            reserves.classes.insert(node.span.start, class);
            for place in &below.open {
                reserves.apps.entry(*place).or_default().push(Reserve { class, threads });
            }
            reserves.findings.extend(below.open.is_empty().then(|| useless(node, &below)));
        }
        reserves
    }

    /// The class of the requests that come by this route, if it is one.
    pub(crate) fn class(&self, route: &Route) -> Option<ReserveClass> {
        let (_, node) = route.reserve.as_ref()?;
        self.classes.get(&node.span.start).copied()
    }

    /// What this app keeps, in the order of the classes.
    pub(crate) fn of_app(&self, app: &Part) -> &[Reserve] {
        self.apps.get(app.place.as_str()).map_or(&[], Vec::as_slice)
    }

    /// Reserves that nothing could be kept for.
    pub(crate) fn into_findings(self) -> Vec<Diagnostic> {
        self.findings
    }
}

fn useless(reserve: &Node, below: &Below<'_>) -> Diagnostic {
    let (message, hint) = if below.has_threads {
        ("no request uses this `reserve`: all routes to a `wsgi` app below have their own", "remove it: the innermost one counts")
    } else {
        (
            "`reserve` keeps threads of a `wsgi` app, and there is none below this route",
            "remove it, or move it to a route that leads to a `wsgi` app",
        )
    };
    Diagnostic::error(message, reserve.span.clone()).label("nothing to keep").hint(hint)
}

/// What stands below a place in the tree.
#[derive(Clone, Debug, Default)]
struct Below<'a> {
    /// The apps with threads that requests reach without another `reserve` on their way, by their places.
    open: BTreeSet<&'a str>,
    /// Whether there is any app with threads.
    has_threads: bool,
}

struct Collect<'a> {
    named: &'a [Named],
    /// What is below each of them, once it is known.
    below: Vec<Option<Rc<Below<'a>>>>,
    /// The threads, the value and the surroundings of each `reserve`.
    routes: Vec<(usize, &'a Node, Rc<Below<'a>>)>,
}

impl<'a> Collect<'a> {
    fn stack(&mut self, stack: &'a Stack) -> Rc<Below<'a>> {
        match &stack.app {
            App::Part(part) if part.kind.name == WITH_THREADS => {
                Rc::new(Below { open: BTreeSet::from([part.place.as_str()]), has_threads: true })
            }
            App::Part(_) => Rc::default(),
            App::Named(index, _) => self.named(*index),
            App::Routes { routes, .. } => {
                let mut all = Below::default();
                for route in routes {
                    let below = self.stack(&route.stack);
                    all.has_threads |= below.has_threads;
                    match &route.reserve {
                        Some((threads, node)) => self.routes.push((threads.get(), node, below)),
                        None => all.open.extend(&below.open),
                    }
                }
                Rc::new(all)
            }
        }
    }

    fn named(&mut self, index: usize) -> Rc<Below<'a>> {
        if let Some(below) = &self.below[index] {
            return Rc::clone(below);
        }
        let below = self.stack(&self.named[index].stack);
        self.below[index].insert(below).clone()
    }
}
