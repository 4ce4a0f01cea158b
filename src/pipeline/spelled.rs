//! The pipeline as a file in which everything is spelled out: for programs that look at what a pipeline does.

use serde_json::{Map, Value as Json, json};

use super::Pipeline;
use super::grammar::{App, Named, Part, Stack};
use super::route::Route;
use super::show::defaults;
use super::tree::{Node, Value};

/// A pipeline that means the same, with defaults filled in, shorthands and entries that stand for others written out, and `${...}` left as
/// they are.
pub(crate) fn spelled(pipeline: &Pipeline) -> Json {
    let listen: Vec<String> = pipeline.listen.iter().map(ToString::to_string).collect();
    let mut server = serde_json::to_value(pipeline.server()).unwrap_or_default();
    if let Some(options) = server.as_object_mut() {
        options.retain(|_, value| !value.is_null());
    }
    let named = &pipeline.tree.apps;
    let mut file = json!({ "listen": listen, "server": server });
    if let Some(file) = file.as_object_mut() {
        file.extend(stack(&pipeline.tree.stack, named));
        if !named.is_empty() {
            let apps = named.iter().map(|app| (app.name.clone(), stack(&app.stack, named).into()));
            file.insert("apps".to_owned(), apps.collect::<Map<_, _>>().into());
        }
    }
    file
}

fn stack(stack: &Stack, named: &[Named]) -> Map<String, Json> {
    let layers = stack.layers.iter().map(part).collect();
    Map::from_iter([("layers".to_owned(), layers), ("app".to_owned(), app(&stack.app, named))])
}

fn app(app: &App, named: &[Named]) -> Json {
    match app {
        App::Part(app) => part(app),
        App::Named(index, _) => named[*index].name.as_str().into(),
        App::Routes { routes, .. } => json!({ "routes": routes.iter().map(|route| spelled_route(route, named)).collect::<Vec<_>>() }),
    }
}

fn spelled_route(route: &Route, named: &[Named]) -> Json {
    let mut spelled = Map::new();
    let written = [
        ("match", route.condition.as_ref().map(|(_, node)| written(node))),
        ("mount", route.mount.as_ref().map(|mount| mount.as_str().into())),
        ("deadline", route.deadline.as_ref().map(|(_, node)| written(node))),
        ("reserve", route.reserve.as_ref().map(|(_, node)| written(node))),
    ];
    spelled.extend(written.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    spelled.extend(stack(&route.stack, named));
    spelled.into()
}

fn part(part: &Part) -> Json {
    let mut options = match written(&part.options) {
        Json::Object(options) => options,
        _ => Map::new(),
    };
    options.extend(defaults(part));
    json!({ part.kind.name: options })
}

/// A value as a file has it.
fn written(node: &Node) -> Json {
    match (&node.expanded, &node.value) {
        (Some(expanded), _) => expanded.source.as_str().into(),
        (None, Value::Null) => Json::Null,
        (None, Value::Bool(value)) => (*value).into(),
        (None, Value::Number(number)) => number.clone().into(),
        // Read again it is to be the same.
        (None, Value::String(text)) => text.replace('$', "$$").into(),
        (None, Value::Array(items)) => items.iter().map(written).collect(),
        (None, Value::Object(entries)) => {
            entries.iter().map(|entry| (entry.key.clone(), written(&entry.value))).collect::<Map<_, _>>().into()
        }
    }
}
