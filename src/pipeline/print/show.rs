//! The pipeline as a tower of layers, outermost on top, with defaults filled in and secrets left as `${...}`.

use std::collections::HashSet;
use std::fmt::Write;

use serde_json::Value as Json;
use ziggurat_middleware::Place;

use super::normalized::server;
use super::{defaults, given, source};
use crate::pipeline::Pipeline;
use crate::pipeline::check::boundary;
use crate::pipeline::model::{Branch, Event, Part, Route, Stack};
use crate::pipeline::read::ROUTES;
use crate::pipeline::tree::{Node, Value, dotted};

/// Lines are broken before they get longer than this.
const WIDTH: usize = 110;

/// The column that options begin at, counted from their name's.
const NAMES: usize = 18;

pub(in crate::pipeline) fn show(pipeline: &Pipeline) -> String {
    let crossings = boundary::crossings(&pipeline.file).into_iter().map(|layer| layer.place.clone()).collect();
    let mut printer = Printer { pipeline, crossings, text: String::new() };
    let _ = writeln!(printer.text, "{}", pipeline.source.name);
    let with_tls = pipeline.file.listen.iter().map(|entry| entry.tls.is_some()).chain(std::iter::repeat(false));
    let listen = pipeline.listen.iter().zip(with_tls);
    let listen: Vec<String> = listen.map(|(listen, tls)| if tls { format!("{listen} (TLS)") } else { listen.to_string() }).collect();
    printer.item("", "listen", &if pipeline.file.listen.is_empty() { vec![format!("({})", listen.join(", "))] } else { listen });
    let server = server(pipeline);
    let server = server.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    printer.item("", "server", &server.map(|(key, value)| format!("{key}: {}", plain(value))).collect::<Vec<_>>());
    printer.text.push('\n');
    printer.stack(&pipeline.file.stack);
    for (_, app) in pipeline.file.apps.iter() {
        let _ = writeln!(printer.text, "\napps.{}", app.name);
        printer.stack(&app.stack);
    }
    printer.text
}

struct Printer<'a> {
    pipeline: &'a Pipeline,
    /// Native layers between Python parts.
    crossings: HashSet<Place>,
    text: String,
}

impl Printer<'_> {
    fn stack(&mut self, stack: &Stack) {
        stack.walk(|event, position| {
            let inside = &indent(&position.routes);
            match event {
                Event::Layer(_, layer) => {
                    if position.python.is_none() && layer.kind.is_python() {
                        let _ = writeln!(self.text, "{inside}--- from here on in worker processes, each request on one thread");
                    }
                    self.part(inside, layer);
                }
                Event::App(app) => self.part(inside, app),
                Event::Named(id, _) => self.item(inside, &format!("apps.{}", self.pipeline.file.apps[id].name), &[]),
                Event::Routes(table) => {
                    let (name, options) = match &table.composite {
                        Some(composite) => (composite.name, given(&composite.options).collect()),
                        None => (ROUTES, Vec::new()),
                    };
                    let options: Vec<String> = options.into_iter().map(|(key, value)| format!("{key}: {}", text(value))).collect();
                    self.item(inside, name, &options);
                }
                Event::Route(route) => {
                    if let Some((own, outer)) = position.routes.split_last() {
                        let branch = if own.is_last { "└─" } else { "├─" };
                        let _ = writeln!(self.text, "{}{branch} {}", indent(outer), head(route));
                    }
                }
                Event::RouteEnd => {}
            }
        });
    }

    /// A layer or an app: its kind, its place where that is another word, what the file gives, and what it leaves to the defaults.
    fn part(&mut self, indent: &str, part: &Part) {
        let place = (part.place.as_str() != part.kind.name).then(|| format!("as {}", part.place));
        let given = given(&part.options).map(|(key, value)| format!("{key}: {}", text(value)));
        let mut options: Vec<String> = place.into_iter().chain(given).collect();
        let defaults: Vec<String> = defaults(part).iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect();
        if let Some((last, first)) = defaults.split_last() {
            let mut shown: Vec<String> = first.to_vec();
            shown.push(format!("{last})"));
            shown[0].insert(0, '(');
            options.extend(shown);
        }
        if self.crossings.contains(&part.place) {
            options.push("[crosses to Python once more]".to_owned());
        }
        self.item(indent, part.kind.name, &options);
    }

    /// A name and what belongs to it, on as many lines as it takes.
    fn item(&mut self, indent: &str, name: &str, details: &[String]) {
        let mut line = format!("{indent}{name:NAMES$}");
        let margin = line.chars().count();
        for piece in details.join(", ").split_inclusive(", ") {
            let width = line.chars().count();
            if width > margin && width + piece.trim_end().chars().count() > WIDTH {
                let _ = writeln!(self.text, "{}", line.trim_end());
                line = format!("{indent}{:NAMES$}", "");
            }
            line.push_str(piece);
        }
        let _ = writeln!(self.text, "{}", line.trim_end());
    }
}

/// What lines inside these routes begin with.
fn indent(routes: &[Branch<'_>]) -> String {
    let branches = routes.iter().map(|branch| if branch.is_last { "     " } else { "│    " });
    std::iter::once("  ").chain(branches).collect()
}

/// The condition of a route in words, and its other keys.
fn head(route: &Route) -> String {
    let enabled = (!route.is_enabled()).then(|| "off".to_owned());
    let name = route.name.as_ref().map(|name| format!("as {name}"));
    let deadline = route.deadline.as_ref().map(|deadline| format!("deadline: {}", text(&deadline.node)));
    let reserve = route.reserve.as_ref().map(|reserve| format!("reserve: {}", text(&reserve.node)));
    let rest: Vec<String> = [enabled, deadline, reserve, name].into_iter().flatten().collect();
    format!("{}  {}", condition(route), rest.join(", ")).trim_end().to_owned()
}

/// The condition of a route in words.
pub(in crate::pipeline) fn condition(route: &Route) -> String {
    let mut parts = Vec::new();
    if let Some(mount) = &route.mount {
        parts.push(format!("mount {}", text(&mount.node)));
    }
    if let Some(condition) = &route.condition {
        parts.extend(keys(&condition.node));
    }
    if parts.is_empty() { "everything else".to_owned() } else { parts.join(", ") }
}

/// The keys of a condition in words.
fn keys(condition: &Node) -> Vec<String> {
    let mut parts = Vec::new();
    for (key, value) in condition.children() {
        let key = dotted(&[key]);
        match &value.value {
            Value::Object(_) if key == "not" => parts.push(format!("not ({})", keys(value).join(", "))),
            Value::Object(entries) if key != "path" => parts.extend(entries.iter().map(|entry| match entry.value.value {
                Value::Bool(false) => format!("no {key} {}", entry.key),
                Value::Bool(true) => format!("{key} {}", entry.key),
                _ => format!("{key} {} = {}", entry.key, alternatives(&entry.value)),
            })),
            _ => parts.push(format!("{key} {}", alternatives(value))),
        }
    }
    parts
}

fn alternatives(node: &Node) -> String {
    match &node.value {
        Value::Array(items) => items.iter().map(alternatives).collect::<Vec<_>>().join(" or "),
        Value::Object(_) => {
            node.children().map(|(key, value)| format!("{} {}", dotted(&[key]), text(value))).collect::<Vec<_>>().join(", ")
        }
        _ => text(node),
    }
}

/// A value as the file has it.
fn text(node: &Node) -> String {
    plain(&source(node, str::to_owned))
}

/// A value without the quotes that a short word does not need.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text)
            if !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '(' | ')' | '"')) =>
        {
            text.clone()
        }
        Json::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Json::Object(entries) => {
            format!("{{{}}}", entries.iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
