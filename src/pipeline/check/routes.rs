//! Routes that no request reaches.

use std::collections::BTreeMap;

use crate::apps::matching::{Condition, Index, Match, Prefix};
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{Event, File, Route};
use crate::pipeline::tree::Span;

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
    let conditions: Vec<Condition<'_>> = routes.iter().map(|route| Condition::new(keys(route), mount(route))).collect();
    let index = Index::new(routes.iter().map(|route| (keys(route), mount(route))));
    let mut findings = Vec::new();
    // Routes that a switched one hides, by the index of that one.
    let mut hidden = BTreeMap::<usize, Vec<Span>>::new();
    for (i, (route, condition)) in routes.iter().zip(&conditions).enumerate().filter(|(_, (route, _))| route.is_enabled()) {
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
        let covers = |earlier: &usize| routes[*earlier].is_enabled() && conditions[*earlier].covers(condition);
        let Some(earlier) = index.covering(keys(route), mount(route)).take_while(|earlier| *earlier < i).find(covers) else { continue };
        let broader = &routes[earlier];
        if broader.enabled.is_some() {
            hidden.entry(earlier).or_default().push(route.span.clone());
            continue;
        }
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
    for (at, spans) in hidden {
        let message = match spans.len() {
            1 => "no request reaches a later route while this one is enabled".to_owned(),
            count => format!("no request reaches {count} later routes while this one is enabled"),
        };
        let warning = Diagnostic::warning(Id::UnreachableRoute, message, routes[at].span.clone()).label("takes their requests");
        findings.push(spans.into_iter().take(1).fold(warning, |warning, span| warning.related(span, "hidden")));
    }
    findings
}

fn keys(route: &Route) -> Option<&Match> {
    route.condition.as_ref().map(|condition| &condition.value)
}

fn mount(route: &Route) -> Option<&Prefix> {
    route.mount.as_ref().map(|mount| &mount.value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::pipeline::Pipeline;

    #[test]
    fn a_route_that_can_be_switched_may_hide_others() {
        let warnings = |switch: &'static str| {
            let text = r#"{ "app": { "routes": [{ "enabled": "${SWITCH}", "app": { "respond": 503 } }, { "app": { "respond": 204 } }] } }"#;
            let pipeline = Pipeline::from_text("pipeline.json", text, Path::new(""), &crate::builtin(), &|_| Some(switch.into())).unwrap();
            pipeline.warnings().render(false)
        };
        assert_eq!(warnings("false"), "");
        let warning = warnings("true");
        assert!(warning.contains("no request reaches a later route while this one is enabled"), "{warning}");
    }
}
