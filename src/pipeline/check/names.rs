//! `{name}`s in options, which the paths of the routes above have to have.

use std::collections::{BTreeMap, BTreeSet};

use crate::pipeline::diagnostic::Diagnostic;
use crate::pipeline::model::{AppId, Event, File, Route, Stack};
use crate::pipeline::secrets::Secrets;

/// The names that requests bring along.
#[derive(Clone, Default, PartialEq, Eq)]
struct Names<'a> {
    known: BTreeSet<&'a str>,
    /// Those of routes above a Python layer: it passes on what an environ has.
    lost: BTreeSet<&'a str>,
}

/// A name is known where some route that leads there has it: a request that comes another way has nothing in its place.
pub(super) fn check(file: &File, secrets: &Secrets) -> Vec<Diagnostic> {
    let mut entries: BTreeMap<AppId, Names<'_>> = BTreeMap::new();
    loop {
        let mut next = entries.clone();
        for (stack, names) in stacks(file, &entries) {
            visit(stack, names, |event, names| {
                if let Event::Named(id, _) = event {
                    next.entry(id).or_default().extend(names);
                }
            });
        }
        if next == entries {
            break;
        }
        entries = next;
    }
    let mut findings = Vec::new();
    for (stack, names) in stacks(file, &entries) {
        visit(stack, names, |event, names| {
            if let Event::Layer(_, part) | Event::App(part) = event {
                findings.extend(part.kind.check_params(&part.options, secrets, &names.known, &names.lost));
            }
        });
    }
    findings
}

/// Every stack that the file begins, with the names at its top.
fn stacks<'a>(file: &'a File, entries: &BTreeMap<AppId, Names<'a>>) -> Vec<(&'a Stack, Names<'a>)> {
    let apps = file.apps.iter().map(|(id, app)| (&app.stack, entries.get(&id).cloned().unwrap_or_default()));
    apps.chain([(&file.stack, Names::default())]).collect()
}

/// Walks over a stack with the names that are known at each of its parts.
fn visit<'a>(stack: &'a Stack, names: Names<'a>, mut visit: impl FnMut(Event<'a>, &Names<'a>)) {
    let mut names = vec![names];
    stack.walk(|event, _| {
        if let Event::Route(route) = event {
            let mut inner = names.last().cloned().unwrap_or_default();
            inner.know(route);
            names.push(inner);
        }
        if let Some(innermost) = names.last_mut() {
            visit(event, innermost);
            if matches!(event, Event::Layer(_, layer) if layer.kind.is_python()) {
                innermost.lose();
            }
        }
        if matches!(event, Event::RouteEnd) {
            names.pop();
        }
    });
}

impl<'a> Names<'a> {
    fn know(&mut self, route: &'a Route) {
        self.known.extend(route.condition.iter().flat_map(|condition| condition.value.params()));
    }

    fn lose(&mut self) {
        self.lost.append(&mut self.known);
    }

    fn extend(&mut self, other: &Self) {
        self.known.extend(&other.known);
        self.lost.extend(&other.lost);
    }
}
