//! What is well-formed and still cannot be meant: apps that contain themselves, routes that are never reached, apps that nobody uses.

use super::crossings;
use super::diagnostic::{Diagnostic, Severity};
use super::grammar::{App, Named, Stack, Tree};
use super::reserves::Reserves;
use super::route::Route;
use super::tree::Span;
use crate::apps::matching::{Match, Path, covers_all};

/// More stages than any request should pass; each costs a little of the stack of the thread that runs it.
pub(super) const MAX_STAGES: usize = 256;

/// Findings about the tree as a whole: mistakes and warnings.
pub(crate) fn check(tree: &Tree) -> Vec<Diagnostic> {
    let mut walk = Walk {
        apps: &tree.apps,
        states: vec![State::Unseen; tree.apps.len()],
        is_circular: false,
        is_too_tall: false,
        findings: Vec::new(),
    };
    walk.stack(&tree.stack, 0);
    let unused: Vec<&Named> =
        tree.apps.iter().zip(&walk.states).filter(|(_, state)| **state == State::Unseen).map(|(app, _)| app).collect();
    for (index, app) in tree.apps.iter().enumerate() {
        walk.named(index, &app.name_span, 0);
    }
    if !walk.is_circular && !walk.is_too_tall {
        walk.findings.extend(Reserves::of(tree).into_findings());
    }
    let mut detours = Vec::new();
    if !walk.is_circular {
        let (warnings, mistakes): (Vec<_>, Vec<_>) =
            crossings::check(tree).into_iter().partition(|finding| finding.severity == Severity::Warning);
        walk.findings.extend(mistakes);
        detours = warnings;
    }
    // What leads nowhere because of a mistake is not worth a warning.
    if !walk.findings.is_empty() {
        return walk.findings;
    }
    let warning = |app: &Named| {
        Diagnostic::warning(format!("the app `{}` is not used", app.name), app.name_span.clone())
            .label("nothing leads to it")
            .hint(format!("name it in an `app`, as in `\"app\": \"{}\"`, or remove it", app.name))
    };
    unused.into_iter().map(warning).chain(detours).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unseen,
    /// Being looked at: whoever leads here again leads in a circle.
    Open,
    /// So many stages tall.
    Seen(usize),
}

struct Walk<'a> {
    apps: &'a [Named],
    states: Vec<State>,
    is_circular: bool,
    is_too_tall: bool,
    findings: Vec<Diagnostic>,
}

impl Walk<'_> {
    /// The most stages a request passes in this stack, which stands below `above` others.
    fn stack(&mut self, stack: &Stack, above: usize) -> usize {
        let own = stack.layers.len() + 1;
        if above + own > MAX_STAGES {
            let span = match (&stack.app, stack.layers.first()) {
                (_, Some(layer)) => &layer.options.span,
                (App::Named(_, span), None) => span,
                (App::Part(part), None) => &part.options.span,
                (App::Routes { routes, .. }, None) => &routes[0].span,
            };
            self.too_tall(span);
            return own;
        }
        own + match &stack.app {
            App::Part(_) => 0,
            App::Named(index, span) => self.named(*index, span, above + own),
            App::Routes { routes, .. } => {
                self.unreachable(routes);
                routes.iter().map(|route| self.stack(&route.stack, above + own)).max().unwrap_or(0)
            }
        }
    }

    fn named(&mut self, index: usize, from: &Span, above: usize) -> usize {
        let app = &self.apps[index];
        match self.states[index] {
            State::Seen(height) => {
                if above + height > MAX_STAGES {
                    self.too_tall(from);
                }
                height
            }
            State::Open => {
                self.is_circular = true;
                self.findings.push(
                    Diagnostic::error(format!("the app `{}` contains itself", app.name), from.clone())
                        .label("leads back to it")
                        .related(app.name_span.clone(), "its entry")
                        .hint("let this place name another app"),
                );
                0
            }
            State::Unseen => {
                self.states[index] = State::Open;
                let height = self.stack(&app.stack, above);
                self.states[index] = State::Seen(height);
                height
            }
        }
    }

    fn too_tall(&mut self, span: &Span) {
        if !std::mem::replace(&mut self.is_too_tall, true) {
            let message = format!("a request would pass more than {MAX_STAGES} layers and apps");
            self.findings.push(Diagnostic::error(message, span.clone()).label("too far down the tower").hint("use fewer layers"));
        }
    }

    fn unreachable(&mut self, routes: &[Route]) {
        let demands: Vec<Demand<'_>> = routes.iter().map(Demand::of).collect();
        for (i, (route, demand)) in routes.iter().zip(&demands).enumerate() {
            if let [mount, path] = demand.paths.as_slice()
                && !path.iter().any(|path| mount.iter().any(|mount| path.meets(mount)))
            {
                let message = "no request can match this route: its `path` is not below its `mount`";
                let hint = "in a route with a `mount`, `path` is the whole path, with the prefix";
                self.findings.push(Diagnostic::error(message, route.span.clone()).hint(hint));
            }
            let Some(earlier) = demands[..i].iter().position(|earlier| earlier.covers(demand)) else { continue };
            let broader = &routes[earlier];
            let why = if broader.condition.is_none() && broader.mount.is_none() {
                "this route has no condition and takes every request"
            } else {
                "this earlier route takes all of its requests"
            };
            self.findings.push(
                Diagnostic::error("no request reaches this route", route.span.clone())
                    .label("matches nothing that is left")
                    .related(broader.span.clone(), why)
                    .hint("the first route that matches is taken: put the narrower one first"),
            );
        }
    }
}

/// What a route demands of a request.
struct Demand<'a> {
    condition: Option<&'a Match>,
    /// Its `mount` and its `path`, each as alternatives; both must hold.
    paths: Vec<Vec<Path>>,
}

impl<'a> Demand<'a> {
    fn of(route: &'a Route) -> Self {
        let condition = route.condition.as_ref().map(|(condition, _)| condition);
        let mount = route.mount.as_ref().map(|mount| vec![Path::Below(mount.clone())]);
        let path = condition.and_then(Match::paths).map(<[Path]>::to_vec);
        Self { condition, paths: mount.into_iter().chain(path).collect() }
    }

    /// Whether every request that fulfils `narrow` fulfils this.
    fn covers(&self, narrow: &Self) -> bool {
        let conditions = match (self.condition, narrow.condition) {
            (None, _) => true,
            (Some(broad), Some(narrow)) => broad.covers_but_path(narrow),
            (Some(broad), None) => broad.covers_but_path(&Match::default()),
        };
        conditions && self.paths.iter().all(|broad| narrow.paths.iter().any(|narrow| covers_all(broad, narrow, Path::covers)))
    }
}
