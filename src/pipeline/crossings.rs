//! Where a pipeline crosses between native layers and Python, and what cannot be meant there.
//!
//! From its outermost Python layer down, a stack runs in the workers of the app at its bottom. So there is one place that says how many of
//! them there are, and what the server does for an app from outside (deadlines, reserved threads) it cannot do for a part inside.

use super::diagnostic::Diagnostic;
use super::grammar::{App, Named, Part, Stack, Tree};
use super::island::Reach;
use super::tree::{Entry, Node, Value};

/// The options of a `wsgi` app that are about the app itself, and not about the processes it runs in.
const OF_THE_APP: [&str; 2] = ["app", "path"];

/// The options of a `wsgi` layer that are about the middleware itself.
const OF_THE_LAYER: [&str; 4] = ["middleware", "args", "kwargs", "path"];

/// Findings about all Python layers of a tree without circles: mistakes, and warnings about detours.
pub(crate) fn check(tree: &Tree) -> Vec<Diagnostic> {
    let mut walk = Walk { named: &tree.apps, findings: Vec::new() };
    walk.outside(&tree.stack);
    tree.apps.iter().for_each(|app| walk.outside(&app.stack));
    walk.findings
}

struct Walk<'a> {
    named: &'a [Named],
    findings: Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    /// A stack whose outermost Python layer is looked for.
    fn outside(&mut self, stack: &'a Stack) {
        match (&stack.island, &stack.app) {
            (Some(written), _) => self.island(&stack.layers[written.first..], &stack.app),
            (None, App::Routes { routes, .. }) => routes.iter().for_each(|route| self.outside(&route.stack)),
            _ => {}
        }
    }

    fn island(&mut self, layers: &'a [Part], app: &'a App) {
        let Some(outermost) = layers.first() else { return };
        let reach = Reach::of(app, self.named);
        match reach.only_app() {
            Some(app) => self.told_twice(outermost, app),
            None => reach.wsgi.iter().for_each(|app| self.told_elsewhere(app, outermost)),
        }
        let mut seen = Vec::new();
        self.inside(layers, app, outermost, &mut seen);
    }

    /// A stack inside an island.
    fn inside(&mut self, layers: &'a [Part], app: &'a App, outermost: &'a Part, seen: &mut Vec<usize>) {
        for layer in layers.iter().filter(|layer| layer.kind.is_python() && layer.options.span != outermost.options.span) {
            self.not_outermost(layer, outermost);
        }
        let python: Vec<bool> = layers.iter().map(|layer| layer.kind.is_python()).collect();
        let leads_to_python = Reach::of(app, self.named).is_python();
        for (nth, layer) in layers.iter().enumerate().filter(|(nth, _)| !python[*nth]) {
            if !leads_to_python && !python[nth..].contains(&true) {
                continue;
            }
            // Native layers next to each other are one crossing.
            if nth == 0 || python[nth - 1] {
                self.detour(layer);
            }
            if layer.kind.name == "timeout" {
                self.powerless(layer);
            }
        }
        match app {
            App::Part(_) => {}
            App::Named(index, _) => {
                if !seen.contains(index) {
                    seen.push(*index);
                    let stack = &self.named[*index].stack;
                    self.inside(&stack.layers, &stack.app, outermost, seen);
                }
            }
            App::Routes { routes, .. } => {
                for route in routes {
                    for (key, node) in
                        [("deadline", route.deadline.as_ref().map(|it| &it.1)), ("reserve", route.reserve.as_ref().map(|it| &it.1))]
                    {
                        if let Some(node) = node {
                            self.out_of_reach(key, node, outermost);
                        }
                    }
                    self.inside(&route.stack.layers, &route.stack.app, outermost, seen);
                }
            }
        }
    }

    fn told_twice(&mut self, outermost: &Part, app: &Part) {
        for entry in process_options(outermost, &OF_THE_LAYER) {
            let message = format!("`{}` belongs to the app below, in whose workers this layer runs", entry.key);
            self.findings.push(
                Diagnostic::error(message, entry.key_span.clone())
                    .related(app.options.span.clone(), "the app")
                    .hint(format!("move it there: `{{ \"wsgi\": {{ \"app\": ..., \"{}\": ... }} }}`", entry.key)),
            );
        }
    }

    fn told_elsewhere(&mut self, app: &Part, outermost: &Part) {
        for entry in process_options(app, &OF_THE_APP) {
            let message = format!("`{}` cannot be said here: this app runs in the workers of a layer above, with others", entry.key);
            let hint = match entry.key.as_str() {
                "workers" | "threads" => format!("give the layer `{}`", entry.key),
                _ => "remove it, or put the Python layer into each route".to_owned(),
            };
            self.findings.push(
                Diagnostic::error(message, entry.key_span.clone())
                    .related(outermost.options.span.clone(), "the outermost Python layer")
                    .hint(hint),
            );
        }
    }

    fn not_outermost(&mut self, layer: &Part, outermost: &Part) {
        for entry in process_options(layer, &OF_THE_LAYER) {
            let message = format!("`{}` cannot be said here: this layer runs in the workers of a layer above", entry.key);
            self.findings.push(
                Diagnostic::error(message, entry.key_span.clone()).related(outermost.options.span.clone(), "the outermost Python layer"),
            );
        }
    }

    fn out_of_reach(&mut self, key: &str, node: &Node, outermost: &Part) {
        let message = format!("`{key}` has no effect below a Python layer: the server sees one request to that layer");
        self.findings.push(
            Diagnostic::error(message, node.span.clone())
                .related(outermost.options.span.clone(), "the outermost Python layer")
                .hint("give it to a route above the Python layer, or move that layer into the route"),
        );
    }

    fn powerless(&mut self, layer: &Part) {
        let message = format!(
            "layer `{}` has no effect between Python parts: it runs on the thread that it would have to interrupt",
            layer.kind.name
        );
        self.findings.push(
            Diagnostic::warning(message, layer.options.span.clone())
                .hint("put it above the outermost Python layer, or give the app a `deadline`"),
        );
    }

    fn detour(&mut self, layer: &Part) {
        let message = format!("layer `{}` stands between Python parts: each request crosses to Python once more", layer.kind.name);
        self.findings.push(
            Diagnostic::warning(message, layer.options.span.clone())
                .label("runs in each worker, with state of its own there")
                .hint("where the order allows it, put native layers above the outermost Python layer"),
        );
    }
}

/// The options given that are none of these.
fn process_options<'a>(part: &'a Part, others: &'static [&'static str]) -> impl Iterator<Item = &'a Entry> {
    let entries = match &part.options.value {
        Value::Object(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().filter(|entry| !others.contains(&entry.key.as_str()))
}
