//! Findings about a file: what is wrong, where, and how to fix it. As text for people and as JSON for editors.

mod id;

use std::fmt;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fix::Fix;
use super::tree::Span;
pub(crate) use id::{Id, LintId};

/// A bound on the findings of one report.
const MOST: usize = 100;

/// One finding about the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Diagnostic {
    pub(crate) id: Id,
    pub(crate) severity: Severity,
    /// Lower case, names in backticks, no full stop.
    pub(crate) message: String,
    /// Where; `None` if it is about the file as a whole.
    pub(crate) span: Option<Span>,
    /// A note at that place, shown beside the caret.
    pub(crate) label: Option<Box<str>>,
    /// Another place, with a note.
    pub(crate) related: Option<Box<(Span, String)>>,
    pub(crate) hint: Option<Box<str>>,
    /// Further text shown as it is, for instance a traceback.
    pub(crate) note: Option<Box<str>>,
    /// How `ziggurat check --fix` changes the file.
    #[serde(skip)]
    pub(crate) fix: Option<Box<Fix>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Severity {
    Error,
    Warning,
}

impl Diagnostic {
    pub(crate) fn error(id: Id, message: impl Into<String>, span: Span) -> Self {
        Self { span: Some(span), ..Self::without_place(id, message) }
    }

    pub(crate) fn warning(id: Id, message: impl Into<String>, span: Span) -> Self {
        Self { severity: Severity::Warning, ..Self::error(id, message, span) }
    }

    pub(crate) fn without_place(id: Id, message: impl Into<String>) -> Self {
        Self {
            id,
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: None,
            related: None,
            hint: None,
            note: None,
            fix: None,
        }
    }

    pub(crate) fn label(mut self, label: impl Into<Box<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related = Some(Box::new((span, label.into())));
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The ids that findings have in [`Report::to_json`], each with its meaning. Ids stay the same in later versions.
pub fn finding_ids() -> impl Iterator<Item = (&'static str, &'static str)> {
    Id::ALL.iter().map(|(id, meaning)| (id.as_str(), *meaning))
}

/// A file's name, as the user wrote it, and its text.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Source {
    /// The last place at or before `at` that a character begins at.
    fn boundary(&self, at: usize) -> usize {
        (0..=at.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }

    /// Line and column of an octet, both counted from 1; columns count characters.
    pub(super) fn position(&self, at: usize) -> (usize, usize) {
        let at = self.boundary(at);
        let before = &self.text[..at];
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
    }

    /// The whole lines that the spans begin on, and those between them.
    fn lines<'a>(&self, spans: impl Iterator<Item = &'a Span> + Clone) -> Span {
        let first = spans.clone().map(|span| self.boundary(span.start)).min().unwrap_or(0);
        let last = spans.map(|span| self.boundary(span.start)).max().unwrap_or(0);
        let start = self.text[..first].rfind('\n').map_or(0, |end| end + 1);
        start..self.text[last..].find('\n').map_or(self.text.len(), |end| last + end)
    }

    /// The part of a span on its first line, and at least one octet wide where the text allows.
    fn first_line(&self, span: &Span) -> Span {
        let start = self.boundary(span.start);
        let end = self.boundary(span.end).max(start);
        let part = &self.text[start..end];
        start..start + part.lines().next().unwrap_or_default().trim_end().len()
    }
}

/// All findings of one phase, in the order of the file.
#[derive(Clone, Debug)]
pub struct Report {
    source: Arc<Source>,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(crate) fn new(source: Arc<Source>, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.as_ref().map_or(0, |span| span.start));
        if let more @ 1.. = diagnostics.len().saturating_sub(MOST) {
            diagnostics.truncate(MOST);
            let severity = diagnostics[0].severity;
            diagnostics.push(Diagnostic {
                severity,
                ..Diagnostic::without_place(Id::MoreFindings, format!("{more} more findings are not shown"))
            });
        }
        Self { source, diagnostics }
    }

    /// These findings, and those of another phase of the same file.
    #[must_use]
    pub(crate) fn with(self, other: Self) -> Self {
        Self::new(self.source, [self.diagnostics, other.diagnostics].concat())
    }

    /// Whether there are no findings.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// The findings.
    pub(super) fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// These findings as errors.
    #[must_use]
    pub(crate) fn strict(mut self) -> Self {
        self.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.severity = Severity::Error);
        self
    }

    /// The number of findings.
    pub(crate) const fn len(&self) -> usize {
        self.diagnostics.len()
    }

    /// The first finding in one line: `pipeline.json:4:14: unknown layer`.
    pub(crate) fn first_line(&self) -> String {
        self.diagnostics.first().map(|first| self.line(first)).unwrap_or_default()
    }

    /// A finding in one line.
    pub(super) fn line(&self, finding: &Diagnostic) -> String {
        let place = finding.span.as_ref().map(|span| self.source.position(span.start));
        let place = place.map_or_else(String::new, |(line, column)| format!("{}:{line}:{column}: ", self.source.name));
        format!("{place}{}", finding.message.lines().next().unwrap_or_default())
    }

    /// The findings as a person reads them: message, place, caret, hint; each ends in a line end. With `color`, escape sequences of
    /// terminals are used.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let blocks: Vec<String> = self.diagnostics.iter().map(|diagnostic| self.render_one(diagnostic, color)).collect();
        blocks.join("\n")
    }

    fn render_one(&self, diagnostic: &Diagnostic, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()));
        if let Some(span) = &diagnostic.span {
            let related = diagnostic.related.as_deref();
            let lines = self.source.lines([Some(span), related.map(|(span, _)| span)].into_iter().flatten());
            let within = |span: &Span| {
                let span = self.source.first_line(span);
                span.start - lines.start..span.end - lines.start
            };
            let primary = AnnotationKind::Primary.span(within(span)).label(diagnostic.label.as_deref().map(normalize_untrusted_str));
            let (first, _) = self.source.position(lines.start);
            let excerpt = Snippet::source(&self.source.text[lines.clone()]).line_start(first).path(self.source.name.as_str());
            let mut snippet = excerpt.annotation(primary);
            if let Some((span, label)) = related {
                snippet = snippet.annotation(AnnotationKind::Context.span(within(span)).label(normalize_untrusted_str(label)));
            }
            group = group.element(snippet);
        }
        let mut groups = vec![group];
        let mut text = String::new();
        if diagnostic.span.is_none() {
            // Without an excerpt, the hint needs no empty line before it.
            text = renderer.render(&std::mem::take(&mut groups)) + "\n";
        }
        if let Some(hint) = &diagnostic.hint {
            groups.push(Group::with_title(Level::HELP.with_name("hint").secondary_title(normalize_untrusted_str(hint))));
        }
        if !groups.is_empty() {
            text.push_str(&renderer.render(&groups));
            text.push('\n');
        }
        if let Some(note) = &diagnostic.note {
            for line in note.lines() {
                text.push_str("  ");
                text.push_str(normalize_untrusted_str(line).trim_end());
                text.push('\n');
            }
        }
        text
    }

    /// The findings for editors: a list of records with `id`, `severity`, `message`, `file`, `line`, `column`, `end`, `label`, `related` (another place: `line`, `column`, `end` and
    /// `label`), `hint`, `note`, lines and columns counted from 1, columns in characters. What does not apply is `null`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.diagnostics.iter().map(|diagnostic| self.record(diagnostic)).collect()
    }

    fn record(&self, diagnostic: &Diagnostic) -> Value {
        let start = diagnostic.span.as_ref().map(|span| self.source.position(span.start));
        let end = diagnostic.span.as_ref().map(|span| self.source.position(span.end));
        let end_of = |(line, column)| json!({ "line": line, "column": column });
        let related = diagnostic.related.as_deref().map(|(span, label)| {
            let (line, column) = self.source.position(span.start);
            json!({ "line": line, "column": column, "end": end_of(self.source.position(span.end)), "label": label })
        });
        json!({
            "id": diagnostic.id.as_str(),
            "severity": match diagnostic.severity { Severity::Error => "error", Severity::Warning => "warning" },
            "message": diagnostic.message,
            "file": self.source.name,
            "line": start.map(|(line, _)| line),
            "column": start.map(|(_, column)| column),
            "end": end.map(end_of),
            "label": diagnostic.label,
            "related": related,
            "hint": diagnostic.hint,
            "note": diagnostic.note,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, diagnostic: Diagnostic) -> Report {
        Report::new(Arc::new(Source { name: "pipeline.json".into(), text: text.into() }), vec![diagnostic])
    }

    #[test]
    fn a_finding_is_drawn_with_a_caret_and_a_hint() {
        let text = "{\n  \"layers\": [\n    { \"compress\": { \"levle\": 6 } }\n  ]\n}\n";
        let start = text.find("\"levle\"").unwrap();
        let found = Diagnostic::error(Id::UnknownOption, "unknown option `levle` for layer `compress`", start..start + 7)
            .label("not an option of `compress`")
            .hint("did you mean `level`? Options are `above`, `level`, `with`");
        insta::assert_snapshot!(report(text, found).render(false));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let found = Diagnostic {
            note: Some("\x1b[2J".into()),
            ..Diagnostic::error(Id::Syntax, "a\x1b[31m", 0..1).hint("\x1b]0;x\x07").label("\x1b")
        };
        let text = report("\x1b", found).render(false);
        assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text:?}");
    }

    #[test]
    fn columns_count_characters() {
        let record = report("{\n \"ä\": x", Diagnostic::error(Id::Syntax, "x", 9..10)).to_json();
        assert_eq!((&record[0]["line"], &record[0]["column"]), (&json!(2), &json!(7)));
    }
}
