//! Prints a pipeline: as a tower, as one line, and as a file with everything written out.

mod normalized;
mod outline;
mod show;
mod summary;

use serde_json::{Map, Value as Json};

pub(super) use normalized::normalized;
pub(crate) use outline::StackStep;
pub(super) use outline::outline;
pub(super) use show::{condition, show};
pub(super) use summary::summary;

use super::model::Part;
use super::tree::{Node, Value};

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

/// A value as the file writes it, with `${...}` in place of its value. `text` writes a string without one.
fn source(node: &Node, text: fn(&str) -> String) -> Json {
    match (&node.expanded, &node.value) {
        (Some(expanded), _) => expanded.source.as_str().into(),
        (None, Value::Null) => Json::Null,
        (None, Value::Bool(value)) => (*value).into(),
        (None, Value::Number(number)) => number.clone().into(),
        (None, Value::String(string)) => text(string).into(),
        (None, Value::Array(items)) => items.iter().map(|item| source(item, text)).collect(),
        (None, Value::Object(entries)) => {
            entries.iter().map(|entry| (entry.key.clone(), source(&entry.value, text))).collect::<Map<_, _>>().into()
        }
    }
}

/// Whether a default only means that the option is not set.
fn is_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(entries) => entries.values().all(is_nothing),
        _ => false,
    }
}
