//! `match` of a step as `match` of a route.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json, json};
use ziggurat_middleware::{Findings, Network};

use super::Import;
use super::json::{Node, Value};
use crate::apps::matching::Match;
use crate::import::draft::one_or_many;
use crate::import::remarks::Treatment::{Approximated, Taken};
use crate::import::value::escaped;

/// Turns a pattern into one of ours.
type Pattern = fn(&str) -> Option<Json>;

impl Import<'_> {
    /// The conditions of a step, and those that have no counterpart: without them, a route takes more requests. A step that refuses requests may take no fewer.
    pub(super) fn condition(&mut self, conditions: &Node, refuses: bool) -> (Map<String, Json>, Vec<String>) {
        let (mut ours, mut not) = (Map::new(), Map::new());
        let (mut missing, mut notes) = (Vec::new(), Vec::new());
        if !matches!(conditions.value, Value::Object(_)) {
            // Unit refuses such a file.
            missing.push(format!("match = {}", conditions.written()));
        }
        for (name, value) in conditions.entries() {
            let part = || format!("{name} = {}", value.written());
            let (mut own, mut none) = (Map::new(), Map::new());
            let note = match name.as_str() {
                "uri" => patterns("path", value, path, &mut own, &mut none),
                "host" => patterns("host", value, host, &mut own, &mut none),
                "method" => patterns("method", value, method, &mut own, &mut none),
                "scheme" => patterns("scheme", value, scheme, &mut own, &mut none),
                "source" => patterns("client", value, network, &mut own, &mut none),
                "headers" => fields("header", value, texts, &mut own),
                "cookies" => fields("cookie", value, texts, &mut own),
                "arguments" => fields("query", value, parameters, &mut own),
                _ => None,
            };
            let Some(note) = note.filter(|_| are_taken(&own) && are_taken(&none)) else {
                missing.push(part());
                continue;
            };
            if refuses && name == "headers" && in_any_case(&mut own) {
                missing.push(format!("{} in any case of its letters", part()));
            } else {
                notes.push((name, value, note));
            }
            ours.extend(own);
            not.extend(none);
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
        for (name, value, note) in notes {
            let (treatment, note) = if note.is_empty() { (Taken, "`match` of a route") } else { (Approximated, note) };
            self.add(value, &format!("match/{name} = {}", value.written()), treatment, note);
        }
        (ours, missing)
    }
}

/// Whether a route takes these conditions.
fn are_taken(conditions: &Map<String, Json>) -> bool {
    fn plain(value: &Json) -> Json {
        match value {
            Json::String(text) => text.replace("$$", "$").into(),
            Json::Array(items) => items.iter().map(plain).collect(),
            Json::Object(entries) => entries.iter().map(|(name, value)| (name.clone(), plain(value))).collect::<Map<_, _>>().into(),
            other => other.clone(),
        }
    }
    serde_json::from_value::<Match>(plain(&conditions.clone().into())).is_ok_and(|condition| {
        let mut findings = Findings::default();
        condition.validate(&mut findings);
        findings.is_empty()
    })
}

/// What differs about a condition; nothing, if it is empty.
type Note = &'static str;

/// One pattern or a list: any of those without `!`, and none of those with it.
fn patterns(key: &str, value: &Node, pattern: Pattern, ours: &mut Map<String, Json>, not: &mut Map<String, Json>) -> Option<Note> {
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
    let is = |test: fn(&str) -> bool| any.iter().chain(&none).filter_map(Json::as_str).any(test);
    let note = match key {
        "path" if is(|text| text.ends_with("/*")) => "`match.path`: `/a/*` matches `/a`, too",
        "method" if is(|text| text == "GET") => "`match.method`: `GET` is `HEAD`, too",
        _ => "",
    };
    // A pattern that excludes and a list that names some are two conditions on one key.
    for (map, list) in [(ours, any), (not, none)] {
        if let Some(list) = one_or_many(list) {
            map.insert(key.to_owned(), list);
        }
    }
    Some(note)
}

fn path(text: &str) -> Option<Json> {
    if let Some(regex) = text.strip_prefix('~') {
        // In a class, our syntax has operators that Unit's does not have.
        let has_operators = regex.contains('[') && ["&&", "--", "~~"].iter().any(|operator| regex.contains(operator));
        return (!has_operators).then(|| json!({ "regex": escaped(&found(regex)) }));
    }
    // A wildcard is none where it is encoded.
    let parts = text.split('*').map(|part| decoded(part, false)).collect::<Option<Vec<_>>>()?;
    let is_plain = |path: &str| path.starts_with('/') && !path.contains(['*', '{', '}', '%', '?', '#']) && !path.contains(char::is_control);
    match &parts[..] {
        [path] if is_plain(path) => return Some(escaped(path).into()),
        [folder, rest] if rest.is_empty() && folder.ends_with('/') && is_plain(folder) => {
            return Some(escaped(&format!("{folder}*")).into());
        }
        _ => {}
    }
    let regex: Vec<String> = parts.iter().map(|part| quoted(part)).collect();
    Some(json!({ "regex": escaped(&regex.join(".*")) }))
}

/// Unit searches for an expression, and we match the whole path. Where there are alternatives, each anchor belongs to one of them.
fn found(regex: &str) -> String {
    if regex.contains('|') || regex.contains("(?") || regex.ends_with("\\$") {
        return format!(".*(?:{regex}).*");
    }
    let (open, inner) = regex.strip_prefix('^').map_or((".*", regex), |rest| ("", rest));
    let (inner, close) = inner.strip_suffix('$').map_or((inner, ".*"), |rest| (rest, ""));
    if inner.starts_with(['*', '+', '?', '{']) { format!(".*(?:{regex}).*") } else { format!("{open}{inner}{close}") }
}

/// A text without its percent-encoding, as Unit reads it in patterns. A plus sign is a space in parameters.
fn decoded(text: &str, is_parameter: bool) -> Option<String> {
    let is_encoded = |part: &str| part.len() >= 2 && part.bytes().take(2).all(|octet| octet.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_encoded) {
        return None;
    }
    let text = if is_parameter { text.replace('+', " ") } else { text.to_owned() };
    percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// A text in which no character means anything to a regular expression.
fn quoted(text: &str) -> String {
    text.chars().flat_map(|c| if "\\.+*?()|[]{}^$#&-~".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}

fn host(text: &str) -> Option<Json> {
    let inside = text.strip_prefix("*.").unwrap_or(text);
    (!inside.is_empty() && !inside.contains(['*', '~', ':'])).then(|| escaped(text).into())
}

/// Unit compares methods in any case.
fn method(text: &str) -> Option<Json> {
    word(text).then(|| text.to_ascii_uppercase().into())
}

fn scheme(text: &str) -> Option<Json> {
    word(text).then(|| text.to_ascii_lowercase().into())
}

fn word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphabetic())
}

fn network(text: &str) -> Option<Json> {
    text.parse::<Network>().is_ok().then(|| text.into())
}

/// A name or a value as it is written.
fn texts(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn parameters(text: &str) -> Option<String> {
    decoded(text, true)
}

/// Headers, cookies or parameters, each with its values.
fn fields(key: &str, value: &Node, read: fn(&str) -> Option<String>, ours: &mut Map<String, Json>) -> Option<Note> {
    let entries = match value.items() {
        // It holds for every request.
        [] => return Some(""),
        [fields] => {
            if let Value::Object(entries) = &fields.value {
                entries
            } else {
                return None;
            }
        }
        _ => return None,
    };
    let mut map = Map::new();
    for (name, values) in entries {
        let texts: Vec<&str> = values.items().iter().map(Node::text).collect::<Option<_>>()?;
        let values = if texts == ["*"] {
            true.into()
        } else if texts.iter().any(|text| text.is_empty() || text.contains('*') || text.starts_with(['!', '~'])) {
            return None;
        } else {
            one_or_many(texts.into_iter().map(|text| read(text).map(|text| escaped(&text).into())).collect::<Option<_>>()?)?
        };
        if map.insert(read(name)?, values).is_some() {
            return None;
        }
    }
    let are_any = map.values().all(Json::is_boolean);
    let is_claim = key == "header" && map.keys().any(|name| is_claim(name));
    let has_letters = key == "header" && in_any_case(&mut Map::from_iter([(key.to_owned(), map.clone().into())]));
    if !map.is_empty() {
        ours.insert(key.to_owned(), map.into());
    }
    Some(match (is_claim, are_any, has_letters) {
        (true, ..) => {
            "`match.header`: what a proxy says of the client is there only below a layer `forwarded` that trusts it, and its value is compared as it is written, in Unit in any case"
        }
        (_, true, _) => "",
        (_, _, true) => {
            "`match.header`: the value is compared as it is written, in Unit in any case; of several headers of a name, one has to match, in Unit all"
        }
        _ => "`match`: of several values of one name, one has to match, in Unit all",
    })
}

/// Whether a proxy describes the client in this header.
fn is_claim(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("x-forwarded-") || matches!(name.as_str(), "forwarded" | "x-real-ip")
}

/// Makes headers whose values have letters match any value, because Unit compares them in any case. Whether there are such.
fn in_any_case(conditions: &mut Map<String, Json>) -> bool {
    let has_letters = |value: &Json| value.to_string().bytes().any(|octet| octet.is_ascii_alphabetic());
    let headers = conditions.get_mut("header").and_then(Json::as_object_mut);
    let mut are_some = false;
    for (_, value) in headers.into_iter().flatten().filter(|(_, value)| !value.is_boolean() && has_letters(value)) {
        *value = true.into();
        are_some = true;
    }
    are_some
}

#[cfg(test)]
mod tests {
    use ziggurat_middleware::path::PathRegex;

    use super::*;

    fn matches(pattern: &str, requested: &str) -> bool {
        match path(pattern).unwrap() {
            Json::String(text) => text.strip_suffix("/*").map_or(requested == text, |folder| requested.starts_with(folder)),
            regex => {
                let regex = regex["regex"].as_str().unwrap().replace("$$", "$");
                PathRegex::try_from(regex).unwrap().is_match(requested.as_bytes())
            }
        }
    }

    #[test]
    fn a_pattern_takes_the_paths_that_it_takes_in_unit() {
        for (pattern, taken, others) in [
            (r"~^/admin|\.bak$", &["/admin", "/admin/x", "/x.bak"][..], &["/x/admin", "/x.bak/y"][..]),
            ("~^/[0-9]+$", &["/1", "/22"], &["/1/", "/x/1"]),
            ("~ball", &["/football/x", "/ball"], &["/bal"]),
            (r"~\$", &["/a$b", "/$"], &["/a"]),
            (r"~^/a\$$", &["/a$"], &["/a", "/a$b"]),
            ("~(^/a$)", &["/a"], &["/ab"]),
            ("~(?i)/SECRET$", &["/x/secret"], &["/secret/x"]),
            ("~(?x) ^/a$ | ^/b$", &["/a", "/b"], &["/ab"]),
            ("/sp%20ace", &["/sp ace"], &["/sp%20ace"]),
            ("/data/%2Ahidden/*", &["/data/*hidden/x"], &["/data/xhidden/x"]),
            ("%7E*", &["~a"], &["/a"]),
            ("/{c}", &["/{c}"], &["/x"]),
            ("/a.b", &["/a.b"], &["/axb"]),
            ("*.b", &["/x/a.b"], &["/axb"]),
        ] {
            taken.iter().for_each(|path| assert!(matches(pattern, path), "{pattern} {path}"));
            others.iter().for_each(|path| assert!(!matches(pattern, path), "{pattern} {path}"));
        }
        for unknown in ["~[a-z&&b]", "/%", "/%2", "/%zz", "/%ff"] {
            assert_eq!(path(unknown), None, "{unknown}");
        }
        let closed = |regex: &str| !are_taken(&Map::from_iter([("path".to_owned(), path(regex).unwrap())]));
        assert!(["~a(?!b)", r"~(a)\1", "~(?<host>a)", "~("].into_iter().all(closed));
    }

    #[test]
    fn parameters_are_decoded_as_those_of_forms() {
        for (written, meant) in [("a%20b+c", Some("a b c")), ("%2B", Some("+")), ("%", None), ("%2x", None), ("%c3%a9", Some("é"))] {
            assert_eq!(parameters(written).as_deref(), meant, "{written}");
        }
    }
}
