//! The pipeline as it was understood: a tower of layers, outermost on top, with defaults filled in and secrets left as `${...}`.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value as Json};

use super::Pipeline;
use super::crossings;
use super::grammar::{App, Part, Stack};
use super::route::Route;
use super::tree::{Node, Value};

/// Lines are broken before they get longer than this.
const WIDTH: usize = 110;

/// The column that options begin at, counted from their name's.
const NAMES: usize = 18;

pub(crate) fn show(pipeline: &Pipeline) -> String {
    let detours = crossings::check(&pipeline.tree).into_iter().filter_map(|finding| finding.span).map(|span| span.start).collect();
    let mut shown = Shown { pipeline, detours, is_inside: false, text: String::new() };
    let _ = writeln!(shown.text, "{}", pipeline.source.name);
    let listen: Vec<String> = pipeline.listen.iter().map(ToString::to_string).collect();
    shown.item("", "listen", &if pipeline.tree.listen.is_empty() { vec![format!("({})", listen.join(", "))] } else { listen });
    let server = serde_json::to_value(pipeline.server()).unwrap_or_default();
    let server = server.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    shown.item("", "server", &server.map(|(key, value)| format!("{key}: {}", plain(value))).collect::<Vec<_>>());
    shown.text.push('\n');
    shown.stack("  ", &pipeline.tree.stack);
    for app in &pipeline.tree.apps {
        let _ = writeln!(shown.text, "\napps.{}", app.name);
        shown.stack("  ", &app.stack);
    }
    shown.text
}

struct Shown<'a> {
    pipeline: &'a Pipeline,
    /// Where the options of native layers begin that stand between Python parts.
    detours: BTreeSet<usize>,
    /// Whether a Python layer stands above.
    is_inside: bool,
    text: String,
}

impl Shown<'_> {
    fn stack(&mut self, indent: &str, stack: &Stack) {
        let island = stack.island.as_ref().map(|written| written.first).filter(|_| !self.is_inside);
        let was_inside = self.is_inside;
        for (nth, layer) in stack.layers.iter().enumerate() {
            if island == Some(nth) {
                self.is_inside = true;
                let _ = writeln!(self.text, "{indent}--- from here on in Python's processes, each request on one thread");
            }
            self.part(indent, layer);
        }
        match &stack.app {
            App::Part(part) => self.part(indent, part),
            App::Named(index, _) => {
                let name = format!("apps.{}", self.pipeline.tree.apps[*index].name);
                self.item(indent, &name, &[]);
            }
            App::Routes { place, routes, entry } => {
                let name = place.rsplit('.').next().unwrap_or_default();
                let given = entry.iter().flat_map(|options| given(options));
                self.item(indent, name, &given.map(|(key, value)| format!("{key}: {}", source(value))).collect::<Vec<_>>());
                for (i, route) in routes.iter().enumerate() {
                    let last = i + 1 == routes.len();
                    let _ = writeln!(self.text, "{indent}{} {}", if last { "└─" } else { "├─" }, head(route));
                    self.stack(&format!("{indent}{}", if last { "     " } else { "│    " }), &route.stack);
                }
            }
        }
        self.is_inside = was_inside;
    }

    /// A layer or an app: what the file gives first, then what it leaves to the defaults.
    fn part(&mut self, indent: &str, part: &Part) {
        let mut options: Vec<String> = given(&part.options).map(|(key, value)| format!("{key}: {}", source(value))).collect();
        let defaults: Vec<String> = defaults(part).iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect();
        if let Some((last, first)) = defaults.split_last() {
            let mut shown: Vec<String> = first.to_vec();
            shown.push(format!("{last})"));
            shown[0].insert(0, '(');
            options.extend(shown);
        }
        if self.detours.contains(&part.options.span.start) {
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

/// The options that the file leaves to the defaults.
pub(super) fn defaults(part: &Part) -> Map<String, Json> {
    let schema = part.kind.options();
    let properties = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
    let unset = properties.filter(|(key, _)| given(&part.options).all(|(given, _)| given != *key));
    let defaults = unset.filter_map(|(key, property)| Some((key.clone(), property.get("default")?.clone())));
    defaults.filter(|(_, value)| !is_nothing(value)).collect()
}

/// The options that the file gives.
fn given(options: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match &options.value {
        Value::Object(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|entry| (entry.key.as_str(), &entry.value))
}

/// The condition of a route in words, and what it says beside.
fn head(route: &Route) -> String {
    let deadline = route.deadline.as_ref().map(|(_, node)| format!("deadline: {}", source(node)));
    let reserve = route.reserve.as_ref().map(|(_, node)| format!("reserve: {}", source(node)));
    let rest: Vec<String> = deadline.into_iter().chain(reserve).collect();
    format!("{}  {}", condition(route), rest.join(", ")).trim_end().to_owned()
}

/// The condition of a route in words.
fn condition(route: &Route) -> String {
    let mut parts = Vec::new();
    if let Some(mount) = &route.mount {
        parts.push(format!("mount {}", mount.as_str()));
    }
    if let Some((_, node)) = &route.condition {
        for (key, value) in node.children() {
            let key = super::tree::dotted(&[key]);
            match &value.value {
                Value::Object(entries) => parts.extend(entries.iter().map(|entry| match entry.value.value {
                    Value::Bool(_) => format!("{key} {}", entry.key),
                    _ => format!("{key} {} = {}", entry.key, alternatives(&entry.value)),
                })),
                _ => parts.push(format!("{key} {}", alternatives(value))),
            }
        }
    }
    if parts.is_empty() { "everything else".to_owned() } else { parts.join(", ") }
}

fn alternatives(node: &Node) -> String {
    match &node.value {
        Value::Array(items) => items.iter().map(source).collect::<Vec<_>>().join(" or "),
        _ => source(node),
    }
}

/// A value as the file has it: with `${...}` in place of what that stands for.
fn source(node: &Node) -> String {
    plain(&as_written(node))
}

fn as_written(node: &Node) -> Json {
    match (&node.expanded, &node.value) {
        (Some(expanded), _) => Json::String(expanded.source.clone()),
        (None, Value::Null) => Json::Null,
        (None, Value::Bool(value)) => Json::Bool(*value),
        (None, Value::Number(number)) => Json::Number(number.clone()),
        (None, Value::String(text)) => Json::String(text.clone()),
        (None, Value::Array(items)) => items.iter().map(as_written).collect(),
        (None, Value::Object(entries)) => entries.iter().map(|entry| (entry.key.clone(), as_written(&entry.value))).collect(),
    }
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

/// A default that says only that the option is not there.
fn is_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(entries) => entries.values().all(is_nothing),
        _ => false,
    }
}
