//! The plan of a reload as text.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::status::records;

/// The tables of a plan. Parts and certificates that stay as they are are counted.
pub(super) fn table(plan: &Value) -> String {
    let mut out = String::new();
    let headline = if plan["changes"] == true {
        "a reload would change:"
    } else {
        "the file says what the server runs: a reload changes nothing but what is restarted"
    };
    let _ = writeln!(out, "{headline}");
    let is_same = |row: &&Value| row["action"] == "same";
    for (key, title) in [
        ("listeners", "listeners"),
        ("control", "control socket"),
        ("certificates", "certificates"),
        ("server", "server"),
        ("parts", "stack"),
        ("workers", "workers"),
    ] {
        let rows = plan[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let same = rows.iter().filter(is_same).count();
        let shown: Vec<Value> = rows.iter().filter(|row| !is_same(row)).map(readable).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = match (shown.len(), same) {
            (_, 0) => writeln!(out, "\n{title}"),
            (0, same) => writeln!(out, "\n{title}: {same}, the same"),
            (_, same) => writeln!(out, "\n{title}: {same} others, the same"),
        };
        out.push_str(&records(&shown.into()));
    }
    let kept = plan["parts"].as_array().into_iter().flatten().filter(|part| part["state"] == "kept");
    let kept: Vec<&str> = kept.filter_map(|part| part["place"].as_str()).collect();
    if !kept.is_empty() {
        let _ = writeln!(out, "\nstate kept: {}", kept.join(", "));
    }
    let untried: Vec<&str> = plan["untried"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !untried.is_empty() {
        let _ = writeln!(out, "\nnot tried, and a reload is refused where it fails:");
        for sentence in untried {
            let _ = writeln!(out, "    {sentence}");
        }
    }
    out
}

/// A row for people: a move and the options are one column.
fn readable(row: &Value) -> Value {
    let mut fields = Map::new();
    for (key, value) in row.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("moved", Value::Bool(true)) => drop(fields.insert("action".to_owned(), "moved".into())),
            ("moved", _) => {}
            ("options", Value::Array(options)) if options.is_empty() => drop(fields.insert(key.clone(), Value::Null)),
            _ => drop(fields.insert(key.clone(), value.clone())),
        }
    }
    fields.into()
}
