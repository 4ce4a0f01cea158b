//! The figures as rows of text.

use std::iter::repeat_n;

use serde_json::Value;
use textwrap::core::display_width;

use super::figures::{Figures, Order, StepRates, list, number, rate};
use crate::cli::status::{clean, scalar};

/// A line of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) text: String,
    pub(super) style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Title,
    /// The names of columns.
    Head,
    Dim,
    Bad,
}

/// What of the figures is shown.
#[derive(Default)]
pub(super) struct View {
    order: Order,
    /// Rows above the screen.
    above: usize,
}

const KEYS: &str = "q quit  o order of the stack  r rate  e errors  t time  arrows scroll";

impl View {
    pub(super) fn sort(&mut self, order: Order) {
        (self.order, self.above) = (order, 0);
    }

    /// Scrolls by so many rows.
    pub(super) fn scroll(&mut self, rows: isize) {
        self.above = self.above.saturating_add_signed(rows);
    }

    /// The rows of a screen of this size: the title, as many rows as there is room for, and the keys.
    pub(super) fn screen(
        &mut self,
        now: &Figures,
        before: Option<&Figures>,
        problem: Option<&str>,
        (_, lines): (usize, usize),
    ) -> Vec<Row> {
        let body = rows(now, before, self.order);
        let room = lines.saturating_sub(2);
        self.above = self.above.min(body.len().saturating_sub(room));
        let title = match problem {
            Some(problem) => Row { text: clean(problem), style: Style::Bad },
            None => Row { text: now.title(before), style: Style::Title },
        };
        let shown: Vec<Row> = body.into_iter().skip(self.above).take(room).collect();
        let keys = Row { text: KEYS.to_owned(), style: Style::Dim };
        std::iter::once(title).chain(shown).chain([keys]).take(lines).collect()
    }
}

/// The steps, the apps with threads, and the servers behind proxies.
pub(super) fn rows(now: &Figures, before: Option<&Figures>, order: Order) -> Vec<Row> {
    let mut rows = vec![head(format!("{:<37}{:>8}{:>8}{:>10}{:>10}{:>7}", "STACK", "req/s", "5xx/s", "self ms", "body ms", "time"))];
    let steps = now.steps(before, order);
    if !steps.iter().any(|step| step.rate.is_some()) {
        rows.push(Row { text: "the times of layers are not measured: set `\"timing\": true` in `server`".to_owned(), style: Style::Dim });
    }
    rows.extend(steps.iter().map(|step| self::step(step, order)));
    apps(&mut rows, now, before);
    endpoints(&mut rows, now, before);
    rows
}

fn head(text: String) -> Row {
    Row { text: format!("{text:<80}"), style: Style::Head }
}

fn step(step: &StepRates, order: Order) -> Row {
    let indent = if order == Order::Stack { "  ".repeat(step.depth) } else { String::new() };
    let label = match (step.kind.as_str(), &step.place) {
        ("route", _) => format!("{indent}> {}", step.name),
        ("named", _) => format!("{indent}apps.{}", step.name),
        ("entry", _) => format!("apps.{}:", step.name),
        (_, Some(place)) if *place == step.name => format!("{indent}{place}"),
        (_, Some(place)) => format!("{indent}{place} ({})", step.name),
        (_, None) => format!("{indent}{}", step.name),
    };
    let label = clean(&label);
    if step.place.is_none() {
        return Row { text: fit(&label, 36), style: Style::Dim };
    }
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let text = format!(
        "{} {:>8}{:>8}{:>10}{:>10}{:>7}",
        fit(&label, 36),
        or_dash(step.rate.map(rate)),
        rate(step.errors),
        or_dash(step.request.map(millis)),
        or_dash(step.body.filter(|body| *body > 0.0).map(millis)),
        or_dash(step.share.map(|share| format!("{:.0} %", share * 100.0))),
    );
    Row { text, style: if step.errors > 0.0 { Style::Bad } else { Style::Plain } }
}

/// Apps with threads: their queue and workers.
fn apps(rows: &mut Vec<Row>, now: &Figures, before: Option<&Figures>) {
    let apps: Vec<&Value> = list(&now.status["apps"]).iter().filter(|app| app["threads"].is_number()).collect();
    if apps.is_empty() {
        return;
    }
    rows.push(Row { text: String::new(), style: Style::Plain });
    rows.push(head(format!("{:<25}{:>9}{:>10}{:>13}{:>10}{:>10}", "APP", "workers", "busy", "queue", "wait ms", "restarts")));
    for app in apps {
        let earlier = before.and_then(|before| list(&before.status["apps"]).iter().find(|other| other["place"] == app["place"]));
        let growth = |key: &str| number(&app["queue"]["waited_s"][key]) - earlier.map_or(0.0, |app| number(&app["queue"]["waited_s"][key]));
        let (waits, waited) = (growth("count"), growth("sum"));
        let restarts: f64 =
            app["restarts"].as_object().into_iter().flatten().map(|(_, count)| number(count)).fold(0.0, |sum, count| sum + count);
        let workers = match &app["workers"] {
            Value::Array(workers) => format!("{}/{}", workers.iter().filter(|worker| worker["state"] == "ready").count(), workers.len()),
            _ => "-".to_owned(),
        };
        let text = format!(
            "{} {workers:>9}{:>10}{:>13}{:>10}{restarts:>10}",
            fit(&scalar("", &app["place"]), 24),
            format!("{}/{}", app["busy"], app["threads"]),
            format!("{}/{}", app["queue"]["length"], app["queue"]["limit"]),
            if waits > 0.0 { millis(waited / waits) } else { "-".to_owned() },
        );
        let is_full = app["busy"] == app["threads"] && number(&app["queue"]["length"]) > 0.0;
        rows.push(Row { text, style: if is_full { Style::Bad } else { Style::Plain } });
    }
}

/// The servers behind proxies.
fn endpoints(rows: &mut Vec<Row>, now: &Figures, before: Option<&Figures>) {
    let all = |figures: &Figures| -> Vec<(String, Value)> {
        let apps = list(&figures.status["apps"]).iter();
        let endpoints = apps.flat_map(|app| list(&app["endpoints"]).iter().map(|endpoint| (scalar("", &app["place"]), endpoint.clone())));
        endpoints.collect()
    };
    let (endpoints, earlier) = (all(now), before.map(all).unwrap_or_default());
    if endpoints.is_empty() {
        return;
    }
    let seconds = now.seconds(before);
    rows.push(Row { text: String::new(), style: Style::Plain });
    rows.push(head(format!("{:<36}{:>14}{:>10}{:>10}{:>10}", "ENDPOINT", "state", "under way", "req/s", "5xx/s")));
    for (place, endpoint) in endpoints {
        let earlier =
            earlier.iter().find(|(app, other)| *app == place && other["endpoint"] == endpoint["endpoint"]).map(|(_, earlier)| earlier);
        let growth = |key: &str| ((number(&endpoint[key]) - earlier.map_or(0.0, |earlier| number(&earlier[key]))) / seconds).max(0.0);
        let text = format!(
            "{} {:>14}{:>10}{:>10}{:>10}",
            fit(&format!("{place} {}", scalar("", &endpoint["endpoint"])), 35),
            shortened(&scalar("", &endpoint["state"]), 13),
            scalar("", &endpoint["under way"]),
            rate(growth("answers")),
            rate(growth("errors")),
        );
        rows.push(Row { text, style: if endpoint["state"] == "up" { Style::Plain } else { Style::Bad } });
    }
}

/// Milliseconds with as many decimals as fit.
fn millis(seconds: f64) -> String {
    let millis = seconds * 1e3;
    if millis >= 100.0 { format!("{millis:.0}") } else { format!("{millis:.3}") }
}

/// The text in exactly so many columns. A character takes two in some scripts.
fn fit(text: &str, columns: usize) -> String {
    let mut shown = shortened(text, columns);
    shown.extend(repeat_n(' ', columns.saturating_sub(display_width(&shown))));
    shown
}

/// The text in at most so many columns.
fn shortened(text: &str, columns: usize) -> String {
    if display_width(text) <= columns { text.to_owned() } else { format!("{}…", cut(text, columns.saturating_sub(1))) }
}

/// As much of a text as so many columns have room for.
pub(super) fn cut(text: &str, columns: usize) -> &str {
    let mut width = 0;
    let end = text.char_indices().find(|(_, c)| {
        width += display_width(c.encode_utf8(&mut [0; 4]));
        width > columns
    });
    end.map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn status(of: u64) -> Value {
        let step = |depth: u64, kind: &str, name: &str, place: Value| json!({ "depth": depth, "kind": kind, "name": name, "place": place, "in_worker": false, "times": null, "answers": {} });
        let timed = |mut step: Value, requests: u64, request_s: f64, body_s: f64, errors: u64| {
            step["times"] =
                json!({ "requests": requests * of, "request_s": request_s * of as f64, "body_s": body_s * of as f64, "parts_s": {} });
            step["answers"] = json!({ "2xx": 7, "5xx": errors * of });
            step
        };
        json!({
            "version": "1.2.3", "pid": 7, "state": "serving", "uptime_s": 100 * of, "requests": 1000 * of, "in_progress": 2,
            "connections": { "open": 12 }, "responses": { "2xx": 990 * of, "5xx": 10 * of },
            "steps": [
                timed(step(0, "layer", "request_id", "request_id".into()), 1000, 0.001, 0.0, 0),
                timed(step(0, "layer", "compress", "outer\u{1b}[2J".into()), 1000, 0.5, 1.5, 0),
                timed(step(0, "app", "routes", "routes".into()), 1000, 0.002, 0.0, 0),
                step(0, "route", "path /a/very/long/path/that/does/not/fit/into/its/column/*", Value::Null),
                timed(step(1, "app", "wsgi", "main".into()), 900, 45.0, 0.0, 10),
                step(0, "route", "everything else", Value::Null),
                step(1, "named", "api", Value::Null),
                step(0, "entry", "api", Value::Null),
                timed(step(0, "app", "proxy", "api".into()), 100, 3.0, 0.4, 0),
            ],
            "apps": [
                { "place": "main", "threads": 8, "busy": 8, "queue": { "length": 3, "limit": 1024, "waited_s": { "sum": 0.9 * of as f64, "count": 900 * of } },
                  "restarts": { "requests": 2, "memory": 1 }, "workers": [{ "state": "ready" }, { "state": "starting" }] },
                { "place": "api", "endpoints": [
                    { "endpoint": "http://10.0.0.5:9000", "state": "up", "under way": 1, "answers": 60 * of, "errors": 0 },
                    { "endpoint": "http://10.0.0.6:9000", "state": "ejected for 12 s", "under way": 0, "answers": 40 * of, "errors": 5 * of },
                ] },
            ],
        })
    }

    fn text(rows: &[Row]) -> String {
        assert!(rows.iter().all(|row| row.text.chars().count() <= 80 && !row.text.contains(char::is_control)), "{rows:#?}");
        rows.iter().map(|row| format!("{}\n", row.text.trim_end())).collect()
    }

    #[test]
    fn everything_fits_into_80_columns_and_24_lines() {
        let begin = Instant::now();
        let (before, now) = (Figures::new(status(1), begin), Figures::new(status(2), begin + Duration::from_secs(10)));
        let rows = View::default().screen(&now, Some(&before), None, (80, 24));
        assert!(rows.len() <= 24);
        insta::assert_snapshot!(text(&rows));
    }

    #[test]
    fn what_is_wide_takes_its_columns() {
        assert_eq!((fit("日本", 6), fit("日本語の", 6), fit("abc", 2)), ("日本  ".to_owned(), "日本… ".to_owned(), "a…".to_owned()));
        assert_eq!((cut("日本", 3), cut("日本", 4), cut("ab", 0)), ("日", "日本", ""));
    }

    #[test]
    fn steps_are_sorted_by_what_they_cost() {
        let now = Figures::new(status(1), Instant::now());
        let places = |order| -> Vec<String> { now.steps(None, order).into_iter().filter_map(|step| step.place).take(3).collect() };
        assert_eq!(places(Order::Time), ["main", "api", "outer\u{1b}[2J"]);
        assert_eq!(places(Order::Errors)[0], "main");
        assert_eq!(places(Order::Rate), ["request_id", "outer\u{1b}[2J", "routes"]);
        assert_eq!(places(Order::Stack)[0], "request_id");
    }

    #[test]
    fn what_does_not_fit_is_scrolled() {
        let now = Figures::new(status(1), Instant::now());
        let all = rows(&now, None, Order::Stack);
        let mut view = View::default();
        view.scroll(3);
        let screen = view.screen(&now, None, None, (80, 10));
        assert_eq!((screen.len(), &screen[1..9], &*screen[9].text), (10, &all[3..11], KEYS));
        view.scroll(1000);
        assert_eq!(view.screen(&now, None, None, (80, 10))[8], *all.last().unwrap());
        view.scroll(isize::MIN);
        assert_eq!(
            view.screen(&now, None, Some("the server is gone"), (80, 10))[..2],
            [Row { text: "the server is gone".to_owned(), style: Style::Bad }, all[0].clone()]
        );
        assert_eq!(view.screen(&now, None, None, (80, 1)).len(), 1);
    }
}
