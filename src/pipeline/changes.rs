//! What differs between two pipelines, part by part: what a reload would change.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::Pipeline;
use super::model::{App, Apps, Event, File, Part, Route, Routes, Stack};
use super::print::defaults;
use super::tree::{Node, Value};

/// A layer, an app or a table of routes in one of two pipelines, or in both.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PartChange {
    pub(crate) place: String,
    pub(crate) kind: String,
    pub(crate) action: Action,
    /// Whether it stands in another order among the parts that both pipelines have.
    pub(crate) moved: bool,
    /// The options that differ. Their values may be secret.
    pub(crate) options: Vec<String>,
}

/// What becomes of something that a pipeline has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Same,
    Changed,
    Added,
    Removed,
}

impl Pipeline {
    /// The parts of this pipeline and of the next one, in the order of the next; those that it does not have come last.
    pub(crate) fn changes(&self, next: &Self) -> Vec<PartChange> {
        let (before, after) = (parts(&self.file), parts(&next.file));
        let numbers: BTreeMap<Key<'_>, usize> = before.iter().enumerate().map(|(nth, part)| (part.key(), nth)).collect();
        let common: Vec<Option<usize>> = after.iter().map(|part| numbers.get(&part.key()).copied()).collect();
        let unmoved = longest_increasing(&common);
        let mut changes: Vec<PartChange> = Vec::new();
        for ((nth, part), number) in after.iter().enumerate().zip(&common) {
            changes.push(match number {
                None => part.change(Action::Added, Vec::new()),
                Some(number) => {
                    let options = differing(&before[*number].options, &part.options);
                    let moved = !unmoved.contains(&nth);
                    let action = if options.is_empty() && !moved { Action::Same } else { Action::Changed };
                    PartChange { moved, ..part.change(action, options) }
                }
            });
        }
        let gone = before.iter().enumerate().filter(|(nth, _)| !common.contains(&Some(*nth)));
        changes.extend(gone.map(|(_, part)| part.change(Action::Removed, Vec::new())));
        changes
    }

    /// The options of each entry of [`Pipeline::listen`].
    pub(crate) fn listen_options(&self) -> Vec<Map<String, Json>> {
        let normalized = self.normalized();
        let entries = normalized["listen"].as_array().into_iter().flatten();
        entries.map(|entry| entry.as_object().cloned().unwrap_or_default()).collect()
    }

    /// The options of `server`, defaults filled in.
    pub(crate) fn server_options(&self) -> Map<String, Json> {
        match serde_json::to_value(self.server()) {
            Ok(Json::Object(options)) => options,
            _ => Map::new(),
        }
    }
}

/// The names of the options that differ.
pub(crate) fn differing(before: &Map<String, Json>, after: &Map<String, Json>) -> Vec<String> {
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(value)).map(|(key, _)| key);
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    changed.chain(gone).cloned().collect()
}

/// What identifies a part: the kind too, because a name that the file gives may pass to another one.
type Key<'a> = (&'a str, &'a str);

struct Described {
    place: String,
    kind: &'static str,
    options: Map<String, Json>,
}

impl Described {
    fn key(&self) -> Key<'_> {
        (&self.place, self.kind)
    }

    fn change(&self, action: Action, options: Vec<String>) -> PartChange {
        PartChange { place: self.place.clone(), kind: self.kind.to_owned(), action, moved: false, options }
    }
}

fn parts(file: &File) -> Vec<Described> {
    let mut parts = Vec::new();
    for (_, app) in file.apps.iter() {
        of_stack(&app.stack, &format!("apps.{}", app.name), &file.apps, &mut parts);
    }
    of_stack(&file.stack, "app", &file.apps, &mut parts);
    parts
}

fn of_stack(stack: &Stack, at: &str, apps: &Apps, parts: &mut Vec<Described>) {
    stack.walk(|event, position| match event {
        Event::Layer(_, part) | Event::App(part) => parts.push(described(part)),
        Event::Routes(table) => {
            parts.push(Described { place: table.place.to_string(), kind: "routes", options: routes(table, apps) });
        }
        // In a route, it is the route's.
        Event::Named(id, _) if position.routes.is_empty() => {
            let options = Map::from_iter([("app".to_owned(), apps[id].name.as_str().into())]);
            parts.push(Described { place: at.to_owned(), kind: "reference", options });
        }
        _ => {}
    });
}

fn described(part: &Part) -> Described {
    let mut options = match value(&part.options) {
        Json::Object(options) => options,
        _ => Map::new(),
    };
    options.extend(defaults(part));
    Described { place: part.place.to_string(), kind: part.kind.name, options }
}

fn routes(table: &Routes, apps: &Apps) -> Map<String, Json> {
    let routes = table.routes.iter().map(|route| self::route(route, apps));
    Map::from_iter([("routes".to_owned(), routes.collect())])
}

fn route(route: &Route, apps: &Apps) -> Json {
    let app = match &route.stack.app {
        App::Part(part) => part.place.as_str(),
        App::Named(id, _) => &apps[*id].name,
        App::Routes(table) => table.place.as_str(),
    };
    json!({
        "match": route.condition.as_ref().map(|condition| value(&condition.node)),
        "mount": route.mount.as_ref().map(|mount| value(&mount.node)),
        "enabled": route.is_enabled(),
        "deadline": route.deadline.as_ref().map(|deadline| value(&deadline.node)),
        "reserve": route.reserve.as_ref().map(|reserve| reserve.value),
        "app": app,
    })
}

/// A value without its spans, `${...}` expanded.
fn value(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => number.clone().into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(value).collect(),
        Value::Object(entries) => entries.iter().map(|entry| (entry.key.clone(), value(&entry.value))).collect::<Map<_, _>>().into(),
    }
}

/// The positions of a longest increasing subsequence of the numbers that are there.
fn longest_increasing(numbers: &[Option<usize>]) -> Vec<usize> {
    // For each length, the position with the least number that a subsequence of this length ends with.
    let mut ends: Vec<(usize, usize)> = Vec::new();
    let mut previous = vec![None; numbers.len()];
    for (at, number) in numbers.iter().enumerate().filter_map(|(at, number)| Some((at, (*number)?))) {
        let length = ends.partition_point(|(end, _)| *end < number);
        previous[at] = length.checked_sub(1).map(|shorter| ends[shorter].1);
        match ends.get_mut(length) {
            Some(end) => *end = (number, at),
            None => ends.push((number, at)),
        }
    }
    let mut found = Vec::new();
    let mut next = ends.last().map(|(_, at)| *at);
    while let Some(at) = next {
        found.push(at);
        next = previous[at];
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn pipeline(text: &str, secret: &str) -> Pipeline {
        let value = secret.to_owned();
        let read = Pipeline::from_text("pipeline.json", text, Path::new("/srv"), &crate::builtin(), &move |_| Some(value.clone().into()));
        read.unwrap_or_else(|report| panic!("{report}"))
    }

    fn changed(before: &str, after: &str) -> Vec<String> {
        let changes = pipeline(before, "a").changes(&pipeline(after, "b"));
        let changed = changes.into_iter().filter(|change| change.action != Action::Same);
        changed
            .map(|change| {
                let moved = if change.moved { " moved" } else { "" };
                format!("{:?} {} {}{moved} {}", change.action, change.place, change.kind, change.options.join(",")).trim_end().to_owned()
            })
            .collect()
    }

    const FILE: &str = r#"{ "layers": ["request_id", { "compress": { "level": 6 } }, { "body_limit": "1MiB" }],
        "app": { "routes": [{ "match": { "path": "/a" }, "app": { "respond": 204 } }, { "app": { "respond": 200 } }] } }"#;

    #[test]
    fn the_same_file_in_other_words_is_the_same() {
        let other = r#"{
            "app": { "routes": [{ "match": { "path": "/a" }, "app": { "respond": { "status": 204 } } },
                                { "app": { "respond": 200 } }] },
            "layers": [{ "request_id": {} }, { "compress": { "level": 6 } }, { "body_limit": { "at_most": "1MiB" } }]
        }"#;
        assert_eq!(changed(FILE, other), [""; 0]);
    }

    #[test]
    fn options_are_named_and_their_values_are_not() {
        let file = r#"{ "layers": [{ "headers": { "response": { "set": { "x-key": "${KEY}" } } } }], "app": { "respond": 204 } }"#;
        assert_eq!(changed(file, file), ["Changed headers headers response"]);
        assert_eq!(changed(FILE, &FILE.replace("6 }", "7 }")), ["Changed compress compress level"]);
    }

    #[test]
    fn an_option_at_its_default_may_be_written_or_not() {
        let written = r#"{ "layers": [{ "request_id": { "header": "x-request-id" } }], "app": { "respond": 204 } }"#;
        assert_eq!(changed(written, r#"{ "layers": ["request_id"], "app": { "respond": 204 } }"#), [""; 0]);
    }

    #[test]
    fn parts_that_come_go_and_move_are_told_apart() {
        let after = FILE.replace(
            r#""request_id", { "compress": { "level": 6 } }, "#,
            r#""security_headers", { "compress": { "level": 6 } }, "request_id", "#,
        );
        assert_eq!(changed(FILE, &after), ["Added security_headers security_headers", "Changed compress compress moved"]);
        assert_eq!(changed(FILE, &FILE.replace(r#""request_id", "#, "")), ["Removed request_id request_id"]);
    }

    #[test]
    fn a_route_belongs_to_its_table() {
        assert_eq!(changed(FILE, &FILE.replace("\"/a\" }", "\"/a\", \"method\": \"GET\" }")), ["Changed routes routes routes"]);
    }

    #[test]
    fn a_name_that_passes_to_another_kind_is_another_part() {
        let file = |layer: &str| format!(r#"{{ "layers": [{{ "{layer}": {{}}, "as": "x" }}], "app": {{ "respond": 204 }} }}"#);
        assert_eq!(changed(&file("request_id"), &file("compress")), ["Added x compress", "Removed x request_id"]);
    }

    proptest! {
        #[test]
        fn what_has_not_moved_is_in_order_and_nothing_longer_is(numbers in Just((0..6).collect::<Vec<usize>>()).prop_shuffle()) {
            let all: Vec<_> = numbers.iter().copied().map(Some).collect();
            let found = longest_increasing(&all);
            prop_assert!(found.windows(2).all(|pair| pair[1] < pair[0] && numbers[pair[1]] < numbers[pair[0]]));
            let longest = (0_u32..64).filter(|mask| {
                let kept: Vec<usize> = (0..6).filter(|at| mask & (1 << at) != 0).map(|at| numbers[at]).collect();
                kept.is_sorted()
            });
            prop_assert_eq!(found.len() as u32, longest.map(u32::count_ones).max().unwrap());
        }
    }
}
