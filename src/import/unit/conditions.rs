//! `match` of a step as `match` of a route.

use serde_json::{Map, Value as Json};
use ziggurat_middleware::Network;

use super::Import;
use super::json::{Node, Value};
use crate::import::draft::one_or_many;
use crate::import::remarks::Treatment::{Approximated, Taken};
use crate::import::value::escaped;

/// Turns a pattern into one of ours.
type Pattern = fn(&str) -> Option<Json>;

impl Import<'_> {
    /// The conditions of a step, and those that have no counterpart: without them, a route takes more requests.
    pub(super) fn condition(&mut self, conditions: &Node) -> (Map<String, Json>, Vec<String>) {
        let (mut ours, mut not) = (Map::new(), Map::new());
        let (mut missing, mut notes) = (Vec::new(), Vec::new());
        if !matches!(conditions.value, Value::Object(_)) {
            // Unit refuses such a file.
            missing.push(format!("match = {}", conditions.written()));
        }
        for (name, value) in conditions.entries() {
            let part = || format!("{name} = {}", value.written());
            let known = match name.as_str() {
                "uri" => patterns("path", value, path, &mut ours, &mut not),
                "host" => patterns("host", value, host, &mut ours, &mut not),
                "method" => patterns("method", value, word, &mut ours, &mut not),
                "scheme" => patterns("scheme", value, word, &mut ours, &mut not),
                "source" => patterns("client", value, network, &mut ours, &mut not),
                "headers" => named("header", value, &mut ours),
                "cookies" => named("cookie", value, &mut ours),
                "arguments" => named("query", value, &mut ours),
                _ => None,
            };
            if known.is_none() {
                missing.push(part());
                continue;
            }
            let ends_in_wildcard = name == "uri" && value.items().iter().filter_map(Node::text).any(|text| text.ends_with("/*"));
            let (treatment, note) =
                if ends_in_wildcard { (Approximated, "`match.path`: `/a/*` matches `/a`, too") } else { (Taken, "`match` of a route") };
            notes.push((name, value, treatment, note));
        }
        // All of `not` together are one condition, so that several would have to hold at once.
        match not.len() {
            0 => {}
            1 => drop(ours.insert("not".into(), not.into())),
            _ => {
                missing.push("several conditions with `!`".to_owned());
                notes.retain(|(_, value, ..)| !value.items().iter().filter_map(Node::text).any(|text| text.starts_with('!')));
            }
        }
        for (name, value, treatment, note) in notes {
            self.add(value, &format!("match/{name} = {}", value.written()), treatment, note);
        }
        (ours, missing)
    }
}

/// One pattern or a list: any of those without `!`, and none of those with it.
fn patterns(key: &str, value: &Node, pattern: Pattern, ours: &mut Map<String, Json>, not: &mut Map<String, Json>) -> Option<()> {
    let (mut any, mut none) = (Vec::new(), Vec::new());
    let mut takes_all = false;
    for item in value.items() {
        let text = item.text()?;
        match text.strip_prefix('!') {
            Some(text) => none.push(pattern(text)?),
            None if text == "*" => takes_all = true,
            None => any.push(pattern(text)?),
        }
    }
    if takes_all {
        any.clear();
    }
    // A pattern that excludes and a list that names some are two conditions on one key.
    for (map, list) in [(ours, any), (not, none)] {
        if let Some(list) = one_or_many(list) {
            map.insert(key.to_owned(), list);
        }
    }
    Some(())
}

fn path(text: &str) -> Option<Json> {
    if text.contains(['{', '}']) {
        return None;
    }
    if let Some(regex) = text.strip_prefix('~') {
        // Unit searches, and we match the whole path.
        let (open, regex) = regex.strip_prefix('^').map_or((".*", regex), |rest| ("", rest));
        let (regex, close) = regex.strip_suffix('$').map_or((regex, ".*"), |rest| (rest, ""));
        return Some(serde_json::json!({ "regex": escaped(&format!("{open}(?:{regex}){close}")) }));
    }
    let head = text.strip_suffix("/*").unwrap_or(text);
    if !head.contains('*') && text.starts_with('/') {
        return Some(escaped(text).into());
    }
    let regex: Vec<String> = text.split('*').map(quoted).collect();
    Some(serde_json::json!({ "regex": escaped(&regex.join(".*")) }))
}

/// A text in which no character means anything to a regular expression.
fn quoted(text: &str) -> String {
    text.chars().flat_map(|c| if "\\.+*?()|[]{}^$#&-~".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}

fn host(text: &str) -> Option<Json> {
    let inside = text.strip_prefix("*.").unwrap_or(text);
    (!inside.is_empty() && !inside.contains(['*', '~', ':'])).then(|| escaped(text).into())
}

fn word(text: &str) -> Option<Json> {
    (!text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphabetic())).then(|| text.into())
}

fn network(text: &str) -> Option<Json> {
    text.parse::<Network>().is_ok().then(|| text.into())
}

/// Headers, cookies or arguments, each with its values.
fn named(key: &str, value: &Node, ours: &mut Map<String, Json>) -> Option<()> {
    let [fields] = value.items() else { return None };
    let Value::Object(entries) = &fields.value else { return None };
    let mut map = Map::new();
    for (name, values) in entries {
        let texts: Vec<&str> = values.items().iter().map(Node::text).collect::<Option<_>>()?;
        let values = if texts == ["*"] {
            true.into()
        } else if texts.iter().any(|text| text.is_empty() || text.contains('*') || text.starts_with(['!', '~'])) {
            return None;
        } else {
            one_or_many(texts.into_iter().map(|text| escaped(text).into()).collect())?
        };
        map.insert(name.clone(), values);
    }
    ours.insert(key.to_owned(), map.into());
    Some(())
}
