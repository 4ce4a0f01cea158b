//! Reference pages of layers and apps, generated from the doc comments of their options, those of lints, the list of finding ids and that of the cases of `conform`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

use serde_json::{Value, json};
use ziggurat_middleware::Behavior;

use crate::conform;
use crate::pipeline::{Kind, Registry, finding_ids, lints, suggestion};

/// `routes` is part of the grammar, and its page is written by hand.
const ROUTES: &str = "routes";
const ROUTES_PAGE: &str = include_str!("../docs/apps/routes.md");

fn routes_summary() -> &'static str {
    ROUTES_PAGE.lines().nth(2).unwrap_or_default()
}

/// `ziggurat layers`: one line each.
pub(crate) fn listing(registry: &Registry) -> String {
    let mut text = String::new();
    for (title, kinds) in [("Layers, for `layers`:", registry.layers()), ("Apps, for `app`:", registry.apps())] {
        let _ = writeln!(text, "{title}\n");
        for kind in kinds {
            let _ = writeln!(text, "  {:<18} {}", kind.name, kind.summary());
        }
        if title.starts_with("Apps") {
            let _ = writeln!(text, "  {ROUTES:<18} {}", routes_summary());
        }
        text.push('\n');
    }
    text.push_str("`ziggurat layers NAME` prints the options of one.\n");
    text
}

/// `ziggurat layers --json`, for programs.
pub(crate) fn json(registry: &Registry) -> Value {
    let kinds = [("layer", registry.layers()), ("app", registry.apps())];
    let record = |role: &str, kind: &Kind| {
        let behavior: Vec<&str> = kind.behavior.iter().map(|behavior| behavior.summary()).collect();
        json!({ "name": kind.name, "role": role, "summary": kind.summary(), "behavior": behavior, "replaces": kind.replaces })
    };
    kinds.iter().flat_map(|(role, kinds)| kinds.iter().map(|kind| record(role, kind)).collect::<Vec<_>>()).collect()
}

/// `ziggurat layers NAME`: its description and options. The error is a message with a suggestion.
pub(crate) fn terminal_page(registry: &Registry, name: &str) -> Result<String, String> {
    let of = |kinds: &[Kind], role| kinds.iter().filter(|kind| kind.name == name).map(|kind| page(kind, role)).collect::<Vec<_>>();
    let mut pages = [of(registry.layers(), "layer"), of(registry.apps(), "app")].concat();
    if name == ROUTES {
        pages.push(ROUTES_PAGE.to_owned());
    }
    if pages.is_empty() {
        // Some names are those of a layer and of an app.
        let known: BTreeSet<&str> = registry.layers().iter().chain(registry.apps()).map(|kind| kind.name).chain([ROUTES]).collect();
        return Err(format!("error: no layer or app is called `{name}`\nhint: {}", suggestion(name, "layers and apps", known)));
    }
    Ok(pages.join("\n"))
}

/// `ziggurat lints ID`. The error is a message with a suggestion.
pub(crate) fn lint_page(id: &str) -> Result<String, String> {
    let lint = lints::find(id)
        .ok_or_else(|| format!("error: no lint is called `{id}`\nhint: {}", suggestion(id, "lints", lints::ids().collect::<Vec<_>>())))?;
    Ok(lint.page())
}

/// Writes `layers/NAME.md` and `apps/NAME.md` below `folder`, with an index in each.
pub(crate) fn write_pages(registry: &Registry, folder: &Path) -> io::Result<()> {
    for (path, text) in pages(registry) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}

/// Every page with its path below `docs/`.
pub(crate) fn pages(registry: &Registry) -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for (folder, title, role, kinds) in [("layers", "Layers", "layer", registry.layers()), ("apps", "Apps", "app", registry.apps())] {
        let mut index = format!("# {title}\n\nGenerated from the options' own descriptions; `ziggurat layers NAME` prints the same.\n\n");
        for kind in kinds {
            let _ = writeln!(index, "- [`{0}`]({0}.md): {1}", kind.name, kind.summary());
            pages.push((format!("{folder}/{}.md", kind.name), page(kind, role)));
        }
        if role == "app" {
            let _ = writeln!(index, "- [`{ROUTES}`]({ROUTES}.md): {}", routes_summary());
        } else {
            let _ = write!(
                index,
                "\n## Order\n\nA stack is right for most sites if its layers are in this order, the outermost first:\n\n{}",
                order(kinds)
            );
        }
        pages.push((format!("{folder}/README.md"), index));
    }
    pages.push(("findings.md".to_owned(), findings_page()));
    pages.push(("conform-cases.md".to_owned(), conform_page()));
    pages.extend(lints::pages().into_iter().map(|(path, text)| (format!("lints/{path}"), text)));
    pages
}

/// Where layers stand in a stack, by what they say of themselves.
fn order(layers: &[Kind]) -> String {
    let mut text = "| what a layer does | layers | where it stands |\n| --- | --- | --- |\n".to_owned();
    for behavior in Behavior::ALL {
        let names: Vec<String> = layers.iter().filter(|kind| kind.has(*behavior)).map(|kind| format!("`{}`", kind.name)).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "| {} | {} | {} |", behavior.summary(), names.join(", "), behavior.advice());
        }
    }
    text
}

/// The ids of findings.
fn findings_page() -> String {
    let mut text = "# Findings\n\nGenerated. The `id` of each finding in `ziggurat check --json`, and what it means. Ids stay the same in later versions; messages may change. [The order lints](lints/README.md) have a page each.\n\n| id | meaning |\n| --- | --- |\n".to_owned();
    for (id, meaning) in finding_ids() {
        let _ = writeln!(text, "| `{id}` | {meaning} |");
    }
    text
}

/// The cases of `ziggurat conform`.
fn conform_page() -> String {
    let cases = conform::cases().unwrap_or_default();
    let mut text = format!(
        "# Cases of `ziggurat conform`\n\nGenerated. The {} cases with the rules that they test. [How to run them](conform.md).\n",
        cases.len()
    );
    let mut topic = "";
    for case in &cases {
        if case.topic != topic {
            topic = case.topic;
            let _ = write!(text, "\n## `{topic}`\n\n| id | what holds | level | rule |\n| --- | --- | --- | --- |\n");
        }
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", case.id, case.title, case.level, case.rule);
    }
    text
}

fn page(kind: &Kind, role: &str) -> String {
    let schema = kind.options();
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let mut text = format!("# `{}` ({role})\n\n{}\n", kind.name, description.trim());
    if let Some(option) = kind.shorthand {
        let _ = write!(text, "\n`{{\"{0}\": VALUE}}` is short for `{{\"{0}\": {{\"{option}\": VALUE}}}}`.\n", kind.name);
    }
    let mut seen = Vec::new();
    options(&mut text, &schema, &schema, "Options", &mut seen);
    text
}

/// Lists the properties of an object schema, then those of the objects inside it, each under its own heading.
fn options<'a>(text: &mut String, root: &'a Value, object: &'a Value, heading: &str, seen: &mut Vec<&'a str>) {
    let Some(properties) = object.get("properties").and_then(Value::as_object).filter(|properties| !properties.is_empty()) else {
        return;
    };
    let required: Vec<&str> = object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let _ = write!(text, "\n## {heading}\n");
    let mut inner = Vec::new();
    for (name, property) in properties {
        let _ = write!(text, "\n### `{name}`\n\n{}", shape(root, property));
        if required.contains(&name.as_str()) {
            text.push_str(", required");
        } else if let Some(default) = property.get("default").filter(|default| !default.is_null()) {
            let _ = write!(text, ", default `{default}`");
        }
        text.push('\n');
        let description = property.get("description").or_else(|| resolve(root, property).get("description"));
        if let Some(description) = description.and_then(Value::as_str) {
            let _ = write!(text, "\n{}\n", description.trim());
        }
        inner.extend(references(root, property));
    }
    for name in inner {
        if !seen.contains(&name) {
            seen.push(name);
            if let Some(definition) = root.pointer(&format!("/$defs/{name}")) {
                options(text, root, definition, &format!("{name} options"), seen);
            }
        }
    }
}

/// The shape of a value in words: `string`, `list of string`, `"a" or "b"`.
fn shape(root: &Value, schema: &Value) -> String {
    if let Some(options) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        let mut shapes: Vec<String> = options.iter().map(|option| shape(root, option)).filter(|shape| shape != "null").collect();
        shapes.dedup();
        return shapes.join(" or ");
    }
    if let Some(constant) = schema.get("const") {
        return format!("`{constant}`");
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ");
    }
    if let Some(name) = reference(schema) {
        let definition = resolve(root, schema);
        return if definition.get("properties").is_some() { format!("{name} options") } else { shape(root, definition) };
    }
    let one = |kind: &str| match kind {
        "array" => format!("list of {}", schema.get("items").map_or_else(|| "values".to_owned(), |items| shape(root, items))),
        "object" => match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("object of {}", shape(root, values)),
            _ => "object".to_owned(),
        },
        other => other.to_owned(),
    };
    match schema.get("type") {
        Some(Value::String(kind)) => one(kind),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").map(one).collect::<Vec<_>>().join(" or ")
        }
        _ => "value".to_owned(),
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    reference(schema).and_then(|name| root.pointer(&format!("/$defs/{name}"))).unwrap_or(schema)
}

/// The definitions with properties of their own that a value may hold.
fn references<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a str> {
    let mut found = Vec::new();
    match schema {
        // An inline object has no section, and so its values have none.
        Value::Object(map) if map.contains_key("properties") => {}
        Value::Object(map) => {
            if let Some(name) = reference(schema) {
                match resolve(root, schema) {
                    definition if definition.get("properties").is_some() => found.push(name),
                    definition => found.extend(references(root, definition)),
                }
            }
            for value in map.values() {
                found.extend(references(root, value));
            }
        }
        Value::Array(list) => found.extend(list.iter().flat_map(|value| references(root, value))),
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_pages_are_fresh() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let registry = crate::builtin();
        if std::env::var_os("ZIGGURAT_BLESS").is_some() {
            write_pages(&registry, &docs).unwrap();
        }
        for (path, text) in pages(&registry) {
            let written = fs::read_to_string(docs.join(&path)).unwrap_or_default();
            assert!(written == text, "docs/{path} is stale; `make bless` writes it anew");
        }
    }

    /// The guide has the table in its text, between its head and the next empty line.
    #[test]
    fn the_table_of_the_guide_is_what_layers_say_of_themselves() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/order.md");
        let (text, table) = (fs::read_to_string(&page).unwrap(), order(crate::builtin().layers()));
        let begin = text.find(table.lines().next().unwrap()).expect("the head of the table");
        let end = text[begin..].find("\n\n").map_or(text.len(), |end| begin + end + 1);
        if std::env::var_os("ZIGGURAT_BLESS").is_some() {
            fs::write(&page, format!("{}{table}{}", &text[..begin], &text[end..])).unwrap();
        } else {
            assert!(text[begin..end] == table, "the table of docs/guide/order.md is stale; `make bless` writes it anew");
        }
    }

    #[test]
    fn an_unknown_layer_is_answered_with_a_suggestion() {
        let message = terminal_page(&crate::builtin(), "compres").unwrap_err();
        assert!(message.contains("`compress`"), "{message}");
    }
}
