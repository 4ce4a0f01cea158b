//! Routes that no request reaches.

use crate::apps::matching::{Match, Path, covers_all};
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
    let conditions: Vec<Condition<'_>> = routes.iter().map(Condition::of).collect();
    let mut findings = Vec::new();
    for (i, (route, condition)) in routes.iter().zip(&conditions).enumerate() {
        if let [mount, path] = condition.paths.as_slice()
            && !path.iter().any(|path| mount.iter().any(|mount| path.meets(mount)))
        {
            let message = "no request can match this route: its `path` is not below its `mount`";
            let hint = "in a route with a `mount`, `path` is the whole path, with the prefix";
            findings.push(Diagnostic::error(Id::UnreachableRoute, message, route.span.clone()).hint(hint));
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

/// What a route asks of a request.
struct Condition<'a> {
    matching: Option<&'a Match>,
    /// Its `mount` and its `path`, each as alternatives; both must hold.
    paths: Vec<Vec<Path>>,
}

impl<'a> Condition<'a> {
    fn of(route: &'a Route) -> Self {
        let matching = route.condition.as_ref().map(|condition| &condition.value);
        let mount = route.mount.as_ref().map(|mount| vec![Path::Below(mount.value.clone())]);
        let path = matching.and_then(Match::paths).map(<[Path]>::to_vec);
        Self { matching, paths: mount.into_iter().chain(path).collect() }
    }

    /// Whether every request that meets `narrow` meets this.
    fn covers(&self, narrow: &Self) -> bool {
        let matching = match (self.matching, narrow.matching) {
            (None, _) => true,
            (Some(broad), Some(narrow)) => broad.covers_but_path(narrow),
            (Some(broad), None) => broad.covers_but_path(&Match::default()),
        };
        matching && self.paths.iter().all(|broad| narrow.paths.iter().any(|narrow| covers_all(broad, narrow, Path::covers)))
    }
}
