//! What a lint has found.

use super::site::Stage;
use crate::pipeline::diagnostic::{Diagnostic, Id};
use crate::pipeline::fix::Fix;
use crate::pipeline::tree::Span;

/// What a lint has found, where, and how to mend it.
pub(super) struct Hit {
    pub(super) span: Span,
    message: String,
    label: String,
    related: Option<(Span, String)>,
    hint: String,
    fix: Option<Fix>,
}

impl Hit {
    /// A hit at a layer or an app. There is none in what the file does not write itself.
    pub(super) fn at(stage: &Stage<'_>, message: impl Into<String>) -> Option<Self> {
        stage.is_written.then(|| Self::at_span(stage.span(), message))
    }

    pub(super) fn at_span(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), label: String::new(), related: None, hint: String::new(), fix: None }
    }

    /// What is shown beside the place.
    pub(super) fn label(self, label: impl Into<String>) -> Self {
        Self { label: label.into(), ..self }
    }

    /// The other place.
    pub(super) fn with(self, other: &Stage<'_>, label: impl Into<String>) -> Self {
        if other.is_written { self.with_span(other.span(), label) } else { self }
    }

    pub(super) fn with_span(self, span: Span, label: impl Into<String>) -> Self {
        Self { related: Some((span, label.into())), ..self }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    pub(super) fn fix(self, fix: Option<Fix>) -> Self {
        Self { fix, ..self }
    }

    pub(super) fn into_diagnostic(self, id: Id) -> Diagnostic {
        let finding = Diagnostic::warning(id, self.message, self.span).hint(self.hint);
        let finding = if self.label.is_empty() { finding } else { finding.label(self.label) };
        let finding = match self.related {
            Some((span, label)) => finding.related(span, label),
            None => finding,
        };
        Diagnostic { fix: self.fix.map(Box::new), ..finding }
    }
}
