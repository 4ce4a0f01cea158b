//! The threads that routes keep of the apps below them.
//!
//! Every route with a `reserve` makes a class of requests. In nested routes, the innermost class counts. An app keeps threads for exactly the classes whose
//! requests can reach it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ziggurat_middleware::{Behavior, Place, Reserve, ReserveClass};

use super::order::Order;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{AppId, Event, File, Part, Position, Route};
use crate::pipeline::tree::Node;

/// The classes of a pipeline, and what each app keeps for them.
#[derive(Default)]
pub(in crate::pipeline) struct Reserves {
    /// By the address of the route, which does not move while its file is built.
    classes: HashMap<*const Route, ReserveClass>,
    apps: HashMap<Place, Vec<Reserve>>,
    findings: Vec<Diagnostic>,
}

/// What is below a route or an entry of `apps`.
#[derive(Clone, Debug, Default)]
struct Below<'a> {
    /// The apps with threads that requests reach without another `reserve` on their way.
    open: BTreeSet<&'a str>,
    /// Whether there is any app with threads.
    has_threads: bool,
}

impl Reserves {
    pub(in crate::pipeline) fn new(file: &File, order: &Order) -> Self {
        let mut entries: BTreeMap<AppId, Below<'_>> = BTreeMap::new();
        let mut routes: HashMap<*const Route, Below<'_>> = HashMap::new();
        let stacks = order.0.iter().map(|id| (Some(*id), &file.apps[*id].stack));
        for (entry, stack) in stacks.chain([(None, &file.stack)]) {
            let mut top = Below::default();
            stack.walk(|event, position| {
                let found = match event {
                    Event::App(app) if app.kind.has(Behavior::RunsPython) => {
                        Below { open: BTreeSet::from([app.place.as_str()]), has_threads: true }
                    }
                    Event::Named(id, _) => entries.get(&id).cloned().unwrap_or_default(),
                    _ => return,
                };
                let mut innermost = true;
                for route in reserving(position) {
                    let below = routes.entry(route).or_default();
                    below.has_threads |= found.has_threads;
                    if std::mem::take(&mut innermost) {
                        below.open.extend(&found.open);
                    }
                }
                top.has_threads |= found.has_threads;
                if innermost {
                    top.open.extend(&found.open);
                }
            });
            if let Some(entry) = entry {
                entries.insert(entry, top);
            }
        }
        Self::numbered(file, &routes)
    }

    /// Numbers the classes in file order.
    fn numbered(file: &File, below: &HashMap<*const Route, Below<'_>>) -> Self {
        let mut reserves = Self { classes: HashMap::new(), apps: HashMap::new(), findings: Vec::new() };
        let mut numbers = 1..;
        for stack in file.stacks() {
            stack.walk(|event, _| {
                let Event::Route(route) = event else { return };
                let Some(reserve) = &route.reserve else { return };
                let Some(class) = numbers.next().map(ReserveClass) else { return };
                reserves.classes.insert(route, class);
                let below = below.get(&std::ptr::from_ref(route));
                let open = below.map(|below| &below.open).into_iter().flatten();
                for place in open {
                    reserves.apps.entry(Place::from(*place)).or_default().push(Reserve { class, threads: reserve.value.get() });
                }
                if below.is_none_or(|below| below.open.is_empty()) {
                    let has_threads = below.is_some_and(|below| below.has_threads);
                    reserves.findings.push(useless(&reserve.node, has_threads));
                }
            });
        }
        reserves
    }

    /// The class of the requests that come by this route, if it is one.
    pub(in crate::pipeline) fn class(&self, route: &Route) -> Option<ReserveClass> {
        self.classes.get(&std::ptr::from_ref(route)).copied()
    }

    /// What this app keeps, in the order of the classes.
    pub(in crate::pipeline) fn of_app(&self, app: &Part) -> &[Reserve] {
        self.apps.get(&app.place).map_or(&[], Vec::as_slice)
    }

    /// The findings about reserves without effect.
    pub(super) fn into_findings(self) -> Vec<Diagnostic> {
        self.findings
    }
}

/// The routes with a `reserve` that lead here, innermost first.
fn reserving<'a>(position: &Position<'a>) -> impl Iterator<Item = &'a Route> {
    position.routes.iter().rev().map(|branch| branch.route).filter(|route| route.reserve.is_some())
}

fn useless(reserve: &Node, has_threads: bool) -> Diagnostic {
    let (message, hint) = if has_threads {
        ("no request uses this `reserve`: all routes to a `wsgi` app below have their own", "remove it: the innermost one counts")
    } else {
        (
            "`reserve` keeps threads of a `wsgi` app, and there is none below this route",
            "remove it, or move it to a route that leads to a `wsgi` app",
        )
    };
    Diagnostic::error(Id::UselessReserve, message, reserve.span.clone()).label("nothing to keep").hint(hint)
}
