//! An explanation as people read it: a line for each step of the way, with the name of the part on the left.

use anstyle::{AnsiColor, Effects, Style};
use textwrap::{Options, WordSplitter};

use crate::pipeline::{Explanation, Hop, Role};

/// The width from which names and sentences stand beside each other.
const BESIDE: usize = 60;

/// The longest name that sentences stand beside.
const NAME: usize = 22;

const PLAIN: Style = Style::new();
const NAMES: Style = Style::new().effects(Effects::BOLD);
const PASSED: Style = Style::new().effects(Effects::DIMMED);
const MAYBE: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default().effects(Effects::BOLD);
const BAD: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);

/// The text, in lines of at most `width` columns.
pub(super) fn render(explanation: &Explanation, width: usize, color: bool) -> String {
    let names = explanation.hops.iter().map(|hop| name(hop).chars().count()).filter(|length| *length <= NAME).max().unwrap_or(0);
    let mut page = Page { width: width.max(20), names, color, text: String::new() };
    page.paragraph(NAMES, &format!("{} from {}", explanation.request, explanation.from));
    page.text.push('\n');
    for hop in &explanation.hops {
        page.hop(hop);
    }
    let back: Vec<&Hop> = explanation.hops.iter().rev().filter(|hop| !hop.back.is_empty()).collect();
    if !back.is_empty() {
        page.text.push('\n');
        page.paragraph(PLAIN, "On the way back:");
        page.text.push('\n');
        for hop in back {
            page.rows(&name(hop), hop.back.iter().map(|note| (PLAIN, note.clone())));
        }
    }
    page.text.push('\n');
    page.outcome(explanation);
    page.text
}

struct Page {
    width: usize,
    /// The width of the column of names.
    names: usize,
    color: bool,
    text: String,
}

impl Page {
    fn hop(&mut self, hop: &Hop) {
        let mut rows: Vec<(Style, String)> = hop.notes.iter().map(|note| (PLAIN, note.clone())).collect();
        for route in &hop.routes {
            let name = route.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            let head = format!("{} {}{name}", route.number, route.condition);
            rows.push(match &route.passed {
                Some(why) => (PASSED, format!("{head}: no, {why}")),
                None => (PLAIN, format!("{head}: takes it")),
            });
        }
        if !hop.routes.is_empty() {
            // What the route does comes after the tries that led to it.
            rows.rotate_left(hop.notes.len());
        }
        rows.extend(hop.may_answer.iter().map(|possible| (MAYBE, format!("answers {} {}", possible.status, possible.when))));
        rows.extend(hop.live.iter().map(|note| (PLAIN, format!("now: {note}"))));
        if let Some(status) = hop.status {
            rows.push((style_of(status), format!("answers {status}")));
        }
        if rows.is_empty() && matches!(hop.role, Role::Listener | Role::Server | Role::Named) {
            return;
        }
        self.rows(&name(hop), rows.into_iter());
    }

    fn outcome(&mut self, explanation: &Explanation) {
        let by = explanation.answered_by().map(|hop| hop.place.clone()).unwrap_or_default();
        match explanation.status {
            Some(status) => self.paragraph(style_of(status), &format!("{status} from `{by}`")),
            None => self.paragraph(PLAIN, &format!("`{by}` answers; only the running stack knows the status")),
        }
        // What the app itself may answer stands beside it.
        let possible = explanation
            .hops
            .iter()
            .filter(|hop| hop.role != Role::App)
            .flat_map(|hop| hop.may_answer.iter().map(move |possible| (hop, possible)));
        for (hop, possible) in possible {
            self.paragraph(MAYBE, &format!("or {} from `{}` {}", possible.status, hop.place, possible.when));
        }
    }

    /// A name, and sentences beside it, or below it where there is no room.
    fn rows(&mut self, name: &str, rows: impl Iterator<Item = (Style, String)>) {
        let is_beside = self.width >= BESIDE && name.chars().count() <= self.names;
        let margin = if self.width >= BESIDE { self.names + 2 } else { 4 };
        let indent = " ".repeat(margin);
        let mut lead = Some(name);
        if !is_beside {
            self.line(NAMES, name);
            lead = None;
        }
        let mut rows = rows.peekable();
        if rows.peek().is_none() && is_beside {
            self.line(NAMES, name);
        }
        for (style, text) in rows {
            for (nth, line) in textwrap::wrap(&clean(&text), lines_of(self.width.saturating_sub(margin))).iter().enumerate() {
                let head = if nth == 0 { lead.take() } else { None };
                match head {
                    Some(name) => {
                        let name = format!("{name:<margin$}");
                        self.styled(NAMES, &name);
                    }
                    None => self.text.push_str(&indent),
                }
                self.line(style, line);
            }
        }
    }

    fn paragraph(&mut self, style: Style, text: &str) {
        for line in textwrap::wrap(&clean(text), lines_of(self.width)) {
            self.line(style, &line);
        }
    }

    fn line(&mut self, style: Style, text: &str) {
        self.styled(style, text);
        self.text.push('\n');
    }

    fn styled(&mut self, style: Style, text: &str) {
        if self.color && style != PLAIN {
            self.text.push_str(&format!("{style}{text}{style:#}"));
        } else {
            self.text.push_str(text);
        }
    }
}

/// Lines of this width; names with hyphens stay whole.
fn lines_of(width: usize) -> Options<'static> {
    Options::new(width).subsequent_indent("  ").word_splitter(WordSplitter::NoHyphenation)
}

/// The place, and the kind where that is another word.
fn name(hop: &Hop) -> String {
    match &hop.kind {
        Some(kind) if !hop.place.contains(kind.as_str()) => format!("{} ({kind})", hop.place),
        _ => hop.place.clone(),
    }
}

fn style_of(status: u16) -> Style {
    if status < 400 { GOOD } else { BAD }
}

/// Control characters never reach the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pipeline::{Pipeline, Question};

    fn explanation(url: &str) -> Explanation {
        let file = r#"{
            "layers": [
                { "cors": { "origins": ["https://app.example.com"] }, "as": "a-name-longer-than-the-column" },
                { "access": [{ "allow": "127.0.0.1" }] },
                { "rate_limit": { "allow": "10/min" } }
            ],
            "app": { "routes": [
                { "match": { "path": "/a/{id}", "header": { "x-a": true } }, "as": "first", "app": { "respond": 204 } },
                { "match": { "path": "/b/*" }, "app": { "redirect": "/a{path}" } }
            ] }
        }"#;
        let pipeline = Pipeline::from_text("pipeline.json", file, Path::new(""), &crate::builtin(), &|_| None).unwrap();
        pipeline.explain(&Question { method: "GET".to_owned(), url: url.to_owned(), ..Question::default() }).unwrap()
    }

    #[test]
    fn sentences_stand_beside_names_or_below_them() {
        let explanation = explanation("/b/x");
        let pages = [100, 80, 40].map(|width| {
            let page = render(&explanation, width, false);
            assert!(page.lines().all(|line| line.chars().count() <= width), "{page}");
            page
        });
        insta::assert_snapshot!(pages.join("\n========\n\n"));
    }

    #[test]
    fn a_terminal_with_colors_gets_them_and_no_other_text() {
        let explanation = explanation("/c");
        let colored = render(&explanation, 80, true);
        assert!(colored.contains("\u{1b}[1m") && colored.contains("404"), "{colored:?}");
        let mut plain = String::new();
        for (nth, part) in colored.split('\u{1b}').enumerate() {
            plain.push_str(if nth == 0 { part } else { part.split_once('m').unwrap().1 });
        }
        assert_eq!(plain, render(&explanation, 80, false));
    }
}
