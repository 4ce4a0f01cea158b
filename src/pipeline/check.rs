//! What is well-formed and still cannot be meant: apps that contain themselves, routes that are never reached, apps that nobody uses.

use super::diagnostic::Diagnostic;
use super::grammar::{App, Named, Route, Stack, Tree};
use crate::apps::matching::{Match, Path, covers_all};

/// More stages than any request should pass; each costs a little of the stack of the thread that runs it.
const MAX_STAGES: usize = 256;

/// Findings about the tree as a whole: mistakes and warnings.
pub(crate) fn check(tree: &Tree) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let mut walk = Walk { apps: &tree.apps, depths: vec![Depth::Unknown; tree.apps.len()], findings: &mut findings };
    walk.stack(&tree.stack);
    let used: Vec<bool> = walk.depths.iter().map(|depth| *depth != Depth::Unknown).collect();
    for index in 0..tree.apps.len() {
        walk.named(index, None);
    }
    for (app, _) in tree.apps.iter().zip(used).filter(|(_, used)| !used) {
        findings.push(
            Diagnostic::warning(format!("the app `{}` is not used", app.name), app.name_span.clone())
                .label("nothing leads to it")
                .hint(format!("name it in an `app`, as in `\"app\": \"{}\"`, or remove it", app.name)),
        );
    }
    findings
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Unknown,
    /// Being looked at: whoever leads here again leads in a circle.
    Open,
    Known(usize),
}

struct Walk<'a> {
    apps: &'a [Named],
    depths: Vec<Depth>,
    findings: &'a mut Vec<Diagnostic>,
}

impl Walk<'_> {
    /// How many stages a request passes at most.
    fn stack(&mut self, stack: &Stack) -> usize {
        let below = match &stack.app {
            App::Part(_) => 0,
            App::Named(index, span) => self.named(*index, Some(span.clone())),
            App::Routes { routes, .. } => {
                self.unreachable(routes);
                routes.iter().map(|route| self.stack(&route.stack)).max().unwrap_or(0)
            }
        };
        let depth = below + stack.layers.len() + 1;
        if depth > MAX_STAGES
            && below <= MAX_STAGES
            && let Some(layer) = stack.layers.first()
        {
            let message = format!("a request would pass {depth} layers and apps from here; the most is {MAX_STAGES}");
            self.findings.push(Diagnostic::error(message, layer.options.span.clone()).label("the outermost of them"));
        }
        depth
    }

    fn named(&mut self, index: usize, from: Option<super::tree::Span>) -> usize {
        let apps = self.apps;
        match self.depths[index] {
            Depth::Known(depth) => depth,
            Depth::Open => {
                let app = &apps[index];
                let message = format!("the app `{}` contains itself", app.name);
                let finding = Diagnostic::error(message, from.unwrap_or_else(|| app.name_span.clone())).label("leads back to it");
                self.findings.push(finding.related(app.name_span.clone(), "its entry").hint("let this place name another app"));
                0
            }
            Depth::Unknown => {
                self.depths[index] = Depth::Open;
                let depth = self.stack(&apps[index].stack);
                self.depths[index] = Depth::Known(depth);
                depth
            }
        }
    }

    fn unreachable(&mut self, routes: &[Route]) {
        for (i, route) in routes.iter().enumerate() {
            if let (Some(mount), Some(paths)) = (&route.mount, route.condition.as_ref().and_then(|(condition, _)| condition.paths()))
                && !paths.iter().any(|path| path.meets(&Path::Below(mount.clone())))
            {
                let message = format!("no request can match this route: its `path` is not below its `mount`, `{}`", mount.as_str());
                self.findings.push(
                    Diagnostic::error(message, route.span.clone())
                        .hint("in a route with a `mount`, `path` is the whole path, with the prefix"),
                );
            }
            let Some(broader) = routes[..i].iter().find(|earlier| covers(earlier, route)) else { continue };
            let is_default = broader.condition.is_none() && broader.mount.is_none();
            self.findings.push(
                Diagnostic::error("no request reaches this route", route.span.clone())
                    .label("matches nothing that is left")
                    .related(
                        broader.span.clone(),
                        if is_default {
                            "this route has no condition and takes every request"
                        } else {
                            "this earlier route takes all of its requests"
                        },
                    )
                    .hint("the first route that matches is taken: put the narrower one first"),
            );
        }
    }
}

/// Whether every request that `narrow` matches is taken by `broad`.
fn covers(broad: &Route, narrow: &Route) -> bool {
    let any = Match::default();
    let condition = |route: &Route| route.condition.as_ref().map(|(condition, _)| condition.clone());
    let (broad_match, narrow_match) = (condition(broad).unwrap_or_else(|| any.clone()), condition(narrow).unwrap_or(any));
    broad_match.covers_but_path(&narrow_match)
        && restrictions(broad, &broad_match)
            .iter()
            .all(|broad| restrictions(narrow, &narrow_match).iter().any(|narrow| covers_all(broad, narrow, Path::covers)))
}

/// What a route says about the path: `mount` and `path`; both must hold.
fn restrictions(route: &Route, condition: &Match) -> Vec<Vec<Path>> {
    let mount = route.mount.as_ref().map(|mount| vec![Path::Below(mount.clone())]);
    mount.into_iter().chain(condition.paths().map(<[Path]>::to_vec)).collect()
}
