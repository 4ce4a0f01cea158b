//! The boundary between native layers and Python, and what has no effect below it.
//!
//! From its outermost Python layer down, a stack runs in the workers of the app at its bottom. One part decides how many workers there are, and the server
//! cannot apply deadlines and reserves to the parts inside.

use ziggurat_middleware::Behavior;

use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::model::{Below, Event, File, Part, Position, Route};
use crate::pipeline::tree::{Entry, Node, Value};

/// The options of a `wsgi` app that are about the app itself, and not about the processes it runs in.
const OF_THE_APP: [&str; 4] = ["app", "args", "kwargs", "path"];

/// The options of a `wsgi` layer that are about the middleware itself.
const OF_THE_LAYER: [&str; 4] = ["middleware", "args", "kwargs", "path"];

/// Findings about all Python layers of a file without circles: errors, and warnings about what costs time.
pub(super) fn check(file: &File) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for stack in file.stacks() {
        stack.walk_into_workers(&file.apps, |event, position| {
            let Some(outermost) = position.python else {
                if let Event::Layer(_, layer) = event
                    && layer.kind.is_python()
                {
                    findings.extend(options(&Below::of(position.stack, &file.apps), layer));
                }
                return;
            };
            match event {
                Event::Layer(_, layer) if layer.kind.is_python() => findings.extend(not_outermost(layer, outermost)),
                Event::Layer(nth, layer) => {
                    if crosses_again(file, position, nth) {
                        findings.push(crossing(layer));
                    }
                    if layer.kind.has(Behavior::BoundsTime) && leads_to_python(file, position, nth) {
                        findings.push(powerless(layer));
                    }
                    if layer.kind.has(Behavior::SendsHints) {
                        findings.push(without_hints(layer, outermost));
                    }
                }
                Event::Route(route) => findings.extend(out_of_reach(route, outermost)),
                Event::App(app) if app.kind.has(Behavior::Upgrades) => findings.push(upgrade(app, outermost)),
                _ => {}
            }
        });
    }
    findings
}

/// The native layers with Python above and below, each the first of its row: a request crosses to Python once more for it.
pub(in crate::pipeline) fn crossings(file: &File) -> Vec<&Part> {
    let mut layers = Vec::new();
    for stack in file.stacks() {
        stack.walk_into_workers(&file.apps, |event, position| {
            if let Event::Layer(nth, layer) = event
                && position.python.is_some()
                && !layer.kind.is_python()
                && crosses_again(file, position, nth)
            {
                layers.push(layer);
            }
        });
    }
    layers
}

fn crosses_again(file: &File, position: &Position<'_>, nth: usize) -> bool {
    // Native layers next to each other are one crossing.
    let is_first = nth == 0 || position.stack.layers[nth - 1].kind.is_python();
    is_first && leads_to_python(file, position, nth)
}

fn leads_to_python(file: &File, position: &Position<'_>, nth: usize) -> bool {
    position.stack.layers[nth..].iter().any(|layer| layer.kind.is_python()) || Below::of(position.stack, &file.apps).is_python()
}

/// Options of the outermost Python layer and of the apps below it that belong elsewhere.
fn options(below: &Below<'_>, outermost: &Part) -> Vec<Diagnostic> {
    match below.only_app() {
        Some(app) => process_options(outermost, &OF_THE_LAYER).map(|entry| belongs_to_the_app(entry, app)).collect(),
        None => {
            let entries = below.wsgi.iter().flat_map(|app| process_options(app, &OF_THE_APP));
            entries.map(|entry| belongs_to_the_layer(entry, outermost)).collect()
        }
    }
}

fn belongs_to_the_app(entry: &Entry, app: &Part) -> Diagnostic {
    let message = format!("`{}` belongs to the app below, in whose workers this layer runs", entry.key);
    Diagnostic::error(Id::MisplacedWorkerOption, message, entry.key_span.clone())
        .related(app.options.span.clone(), "the app")
        .hint(format!("move it there: `{{ \"wsgi\": {{ \"app\": ..., \"{}\": ... }} }}`", entry.key))
}

fn belongs_to_the_layer(entry: &Entry, outermost: &Part) -> Diagnostic {
    let hint = match entry.key.as_str() {
        "workers" | "threads" => format!("give the layer `{}`", entry.key),
        _ => "remove it, or put the Python layer into each route".to_owned(),
    };
    let message = format!("`{}` has no effect here: this app runs in the workers of the Python layer above", entry.key);
    Diagnostic::error(Id::MisplacedWorkerOption, message, entry.key_span.clone())
        .related(outermost.options.span.clone(), "the outermost Python layer")
        .hint(hint)
}

fn not_outermost(layer: &Part, outermost: &Part) -> impl Iterator<Item = Diagnostic> {
    process_options(layer, &OF_THE_LAYER).map(|entry| {
        let message = format!("`{}` has no effect here: this layer runs in the workers of the Python layer above", entry.key);
        Diagnostic::error(Id::MisplacedWorkerOption, message, entry.key_span.clone())
            .related(outermost.options.span.clone(), "the outermost Python layer")
    })
}

fn out_of_reach(route: &Route, outermost: &Part) -> impl Iterator<Item = Diagnostic> {
    let deadline = route.deadline.as_ref().map(|deadline| ("deadline", &deadline.node));
    let reserve = route.reserve.as_ref().map(|reserve| ("reserve", &reserve.node));
    deadline.into_iter().chain(reserve).map(|(key, node): (_, &Node)| {
        let message = format!("`{key}` has no effect below a Python layer: the server sees one request to that layer");
        Diagnostic::error(Id::RouteKeyBelowPython, message, node.span.clone())
            .related(outermost.options.span.clone(), "the outermost Python layer")
            .hint("give it to a route above the Python layer, or move that layer into the route")
    })
}

fn upgrade(app: &Part, outermost: &Part) -> Diagnostic {
    let message = format!("app `{}` upgrades connections, and a Python layer above cannot pass them on", app.kind.name);
    Diagnostic::error(Id::UpgradeBelowPython, message, app.options.span.clone())
        .related(outermost.options.span.clone(), "the outermost Python layer")
        .hint("put the Python layer into the routes that need it, beside the one to this app")
}

fn powerless(layer: &Part) -> Diagnostic {
    let message =
        format!("layer `{}` has no effect between Python parts: it runs on the thread that it would have to interrupt", layer.kind.name);
    Diagnostic::warning(Id::TimeoutBelowPython, message, layer.options.span.clone())
        .hint("put it above the outermost Python layer, or give the app a `deadline`")
}

fn without_hints(layer: &Part, outermost: &Part) -> Diagnostic {
    let message = format!("layer `{}` has no effect below a Python layer: the server sends no hints for it", layer.kind.name);
    Diagnostic::warning(Id::HintsBelowPython, message, layer.options.span.clone())
        .related(outermost.options.span.clone(), "the outermost Python layer")
        .hint("put it above the outermost Python layer; `wsgi.early_hints` is in the environ of all Python parts then")
}

fn crossing(layer: &Part) -> Diagnostic {
    let message = format!("layer `{}` is between Python parts: each request crosses to Python once more", layer.kind.name);
    Diagnostic::warning(Id::NativeBetweenPython, message, layer.options.span.clone())
        .label("runs in each worker, with state of its own there")
        .hint("where the order allows it, put native layers above the outermost Python layer")
}

/// The options given that are none of these.
fn process_options<'a>(part: &'a Part, others: &'static [&'static str]) -> impl Iterator<Item = &'a Entry> {
    let entries = match &part.options.value {
        Value::Object(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().filter(|entry| !others.contains(&entry.key.as_str()))
}
