//! Routes that no request reaches.

use crate::apps::matching::Condition;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{Event, File, Route};

pub(super) fn check(file: &File) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for stack in file.stacks() {
        stack.walk(|event, _| {
            if let Event::Routes(table) = event {
                findings.extend(unreachable(&table.routes));
            }
        });
    }
    findings
}

fn unreachable(routes: &[Route]) -> Vec<Diagnostic> {
    let conditions: Vec<Condition<'_>> = routes.iter().map(condition).collect();
    let mut findings = Vec::new();
    for (i, (route, condition)) in routes.iter().zip(&conditions).enumerate() {
        if condition.misses_its_mount() {
            let message = "no request can match this route: its `path` is not below its `mount`";
            let hint = "in a route with a `mount`, `path` is the whole path, with the prefix";
            findings.push(Diagnostic::error(Id::UnreachableRoute, message, route.span.clone()).hint(hint));
        }
        if condition.contradicts_itself() {
            let message = "no request can match this route: its `not` holds wherever its other keys do";
            let hint = "`not` takes requests away from those that the other keys match: write a narrower condition into it";
            findings.push(Diagnostic::error(Id::UnreachableRoute, message, route.span.clone()).hint(hint));
            continue;
        }
        let Some(earlier) = conditions[..i].iter().position(|earlier| earlier.covers(condition)) else { continue };
        let broader = &routes[earlier];
        let why = if broader.condition.is_none() && broader.mount.is_none() {
            "this route has no condition and takes every request"
        } else {
            "this earlier route takes all of its requests"
        };
        findings.push(
            Diagnostic::error(Id::UnreachableRoute, "no request reaches this route", route.span.clone())
                .label("matches nothing that is left")
                .related(broader.span.clone(), why)
                .hint("the first route that matches is taken: put the narrower one first"),
        );
    }
    findings
}

fn condition(route: &Route) -> Condition<'_> {
    Condition::new(route.condition.as_ref().map(|condition| &condition.value), route.mount.as_ref().map(|mount| &mount.value))
}
