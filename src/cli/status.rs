//! The status of a server as a table. All fields that an app reports are shown, those of known units in their unit.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The process first, then each app.
pub(super) fn table(status: &Value) -> String {
    let text = |key: &str| scalar(key, &status[key]);
    let mut out = format!("ziggurat {}, process {}, {}, up {}\n", text("version"), text("pid"), text("state"), text("uptime_s"));
    let file = status["file"].as_str().unwrap_or("(command line)");
    let lines = [
        ("file", format!("{file}, generation {}, loaded {}", text("generation"), text("loaded_at"))),
        ("listening", inline(&status["listening"])),
        ("stack", text("stack")),
        ("connections", inline(&status["connections"])),
        ("requests", format!("{}, in progress {}", text("requests"), text("in_progress"))),
        ("responses", inline(&status["responses"])),
    ];
    let refused = &status["refused_reload"];
    let refused = refused.is_object().then(|| {
        let others = match refused["findings"].as_u64() {
            Some(findings @ 2..) => format!(" ({} more findings)", findings - 1),
            _ => String::new(),
        };
        ("reload", format!("refused {}: {}{others}", scalar("at", &refused["at"]), scalar("first", &refused["first"])))
    });
    let (file, rest) = lines.split_at(1);
    for (key, value) in file.iter().chain(&refused).chain(rest) {
        let _ = writeln!(out, "  {key:<13}{value}");
    }
    for app in status["apps"].as_array().into_iter().flatten().filter_map(Value::as_object) {
        self::app(&mut out, app);
    }
    out
}

fn app(out: &mut String, app: &Map<String, Value>) {
    let place = app.get("place").and_then(Value::as_str).unwrap_or_default();
    let _ = writeln!(out, "\n{}", clean(place));
    let fields = || app.iter().filter(|(key, value)| key.as_str() != "place" && !value.is_null());
    let width = fields().map(|(key, _)| label(key).chars().count()).max().unwrap_or(0).max(11) + 2;
    for (key, value) in fields().filter(|(_, value)| rows(value).is_none()) {
        let _ = writeln!(out, "  {:<width$}{}", clean(label(key)), if value.is_object() { inline(value) } else { scalar(key, value) });
    }
    for (key, rows) in fields().filter_map(|(key, value)| Some((key, rows(value)?))) {
        let _ = writeln!(out, "  {}", clean(label(key)));
        grid(out, &rows);
    }
}

/// A list of objects as a table.
pub(super) fn records(list: &Value) -> String {
    let mut out = String::new();
    if let Some(rows) = self::rows(list) {
        grid(&mut out, &rows);
    }
    out
}

/// The rows of a list of objects.
fn rows(value: &Value) -> Option<Vec<&Map<String, Value>>> {
    let rows: Option<Vec<_>> = value.as_array()?.iter().map(Value::as_object).collect();
    rows.filter(|rows| !rows.is_empty())
}

/// Columns, each as wide as its widest cell.
fn grid(out: &mut String, rows: &[&Map<String, Value>]) {
    let Some(keys) = rows.first().map(|row| row.keys().map(String::as_str).collect::<Vec<_>>()) else { return };
    let head = keys.iter().map(|key| clean(label(key))).collect();
    let body = rows.iter().map(|row| keys.iter().map(|key| scalar(key, row.get(*key).unwrap_or(&Value::Null))).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
    let widths: Vec<usize> =
        (0..keys.len()).map(|at| lines.iter().map(|line: &Vec<String>| line[at].chars().count()).max().unwrap_or(0)).collect();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "    {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// `length 0, limit 1024`; the items of a list.
fn inline(value: &Value) -> String {
    let parts: Vec<String> = match value {
        Value::Object(fields) if fields.is_empty() => vec!["none".to_owned()],
        Value::Object(fields) => fields.iter().map(|(key, value)| format!("{} {}", clean(label(key)), scalar(key, value))).collect(),
        Value::Array(items) => items.iter().map(|item| scalar("", item)).collect(),
        value => vec![scalar("", value)],
    };
    parts.join(", ")
}

pub(super) fn scalar(key: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => clean(text),
        Value::Number(number) => match number.as_f64() {
            Some(seconds) if key.ends_with("_s") => time(seconds),
            Some(octets) if key == "memory" => format!("{:.1} MiB", octets / f64::from(1 << 20)),
            _ => number.to_string(),
        },
        Value::Object(_) => format!("({})", inline(value)),
        Value::Array(_) => inline(value),
        Value::Bool(holds) => if *holds { "yes" } else { "no" }.to_owned(),
    }
}

/// The unit goes with the value.
fn label(key: &str) -> &str {
    key.strip_suffix("_s").unwrap_or(key)
}

fn time(seconds: f64) -> String {
    // Never negative, and far below the bounds of the type.
    let whole = seconds as u64;
    match whole {
        0..60 if seconds.fract() == 0.0 => format!("{whole} s"),
        0..60 => format!("{seconds:.3} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// Control characters never reach the terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_app_reports_is_shown_whatever_it_is() {
        let status = json!({
            "version": "1.2.3", "pid": 7, "state": "serving", "uptime_s": 11_520, "generation": 3, "file": "pipeline.json", "loaded_at": "2026-11-22T10:00:00Z",
            "refused_reload": { "at": "2026-11-22T11:00:00Z", "findings": 3, "first": "pipeline.json:4:14: unknown layer `request_di`" },
            "listening": ["http://127.0.0.1:8000", "unix:run/site.sock"], "stack": "request_id > wsgi",
            "connections": { "open": 12, "accepted": 4_321 }, "requests": 98_765, "in_progress": 2, "responses": { "2xx": 98_000, "4xx": 763 },
            "apps": [
                {
                    "place": "wsgi", "app": "site:app", "threads": 8, "busy": 2,
                    "queue": { "length": 0, "limit": 1024, "waited_s": { "sum": 0.25, "count": 5 } }, "restarts": {}, "last_restart": null,
                    "workers": [
                        { "nth": 1, "pid": 100, "state": "ready", "busy": 2, "age_s": 90, "memory": 47_395_635 },
                        { "nth": 2, "pid": 22_222, "state": "starting", "busy": 0, "age_s": 3, "memory": null },
                    ],
                },
                { "place": "\u{1b}[2Japps.x", "fine": true },
            ],
        });
        insta::assert_snapshot!(table(&status));
    }
}
