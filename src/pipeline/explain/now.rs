//! What the running stack says of a request now.

use serde_json::{Map, Value};
use ziggurat_middleware::{Lifecycle, Place, Request};

/// The most items of a list that are shown.
const MOST: usize = 16;

/// A stack that serves.
pub(super) struct Running<'a> {
    lifecycle: &'a Lifecycle,
    status: Vec<(Place, Value)>,
}

impl<'a> Running<'a> {
    pub(super) fn new(lifecycle: &'a Lifecycle) -> Self {
        Self { lifecycle, status: lifecycle.status() }
    }

    /// What the layer or app at this place says of the request, and the lists of its status: endpoints, workers.
    pub(super) fn of(&self, place: &Place, request: &Request) -> Vec<String> {
        let mut notes = self.lifecycle.explain(place, request);
        for (_, status) in self.status.iter().filter(|(at, _)| at == place) {
            let fields = status.as_object().into_iter().flatten();
            for (key, value) in fields {
                match value {
                    Value::Object(fields) if key == "queue" => notes.push(format!("queue: {}", words(fields))),
                    Value::Array(items) => notes.extend(items.iter().filter_map(Value::as_object).take(MOST).map(words)),
                    _ => {}
                }
            }
        }
        notes
    }
}

/// The fields that are a word or a number: `state up, in progress 2`.
fn words(fields: &Map<String, Value>) -> String {
    let words = fields.iter().filter_map(|(key, value)| match value {
        Value::String(text) => Some(format!("{key} {text}")),
        Value::Number(number) => Some(format!("{key} {number}")),
        _ => None,
    });
    words.collect::<Vec<_>>().join(", ")
}
