//! A span: what was done, from when until when, and what is known of it.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;

use super::{Recorder, TraceContext, TraceState};

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What was done, in few different words: `GET /users/{id}`.
    pub name: Cow<'static, str>,
    /// Its role.
    pub kind: SpanKind,
    /// Its ids.
    pub context: TraceContext,
    /// What vendors say of the trace.
    pub state: Option<TraceState>,
    /// The span above; `None` for the first one of a trace.
    pub parent: Option<NonZeroU64>,
    /// Whether the span above is of another program.
    pub is_parent_remote: bool,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// What is known of it, by names of the semantic conventions of OpenTelemetry.
    pub attributes: Vec<(&'static str, AttributeValue)>,
    /// Whether it failed.
    pub is_error: bool,
}

/// The role of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Something inside of a program.
    Internal,
    /// A request that is served.
    Server,
    /// A request to another server.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

/// Why a span failed, as one word.
pub(super) const ERROR_TYPE: &str = "error.type";

/// The longest text of an attribute, in octets. The rest of a longer one is left out.
const LONGEST_TEXT: usize = 1024;

/// The most attributes of a span.
const MOST_ATTRIBUTES: usize = 32;

/// A span under way. It is recorded when it is dropped.
pub struct OpenSpan {
    span: Span,
    started: Instant,
    recorder: Recorder,
}

impl OpenSpan {
    /// Begins a span.
    #[must_use]
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        context: TraceContext,
        parent: Option<NonZeroU64>,
        recorder: Recorder,
    ) -> Self {
        let span = Span {
            name: name.into(),
            kind,
            context,
            state: None,
            parent,
            is_parent_remote: false,
            start: SystemTime::now(),
            duration: Duration::ZERO,
            attributes: Vec::new(),
            is_error: false,
        };
        Self { span, started: Instant::now(), recorder }
    }

    /// What is recorded, so far.
    pub const fn span(&mut self) -> &mut Span {
        &mut self.span
    }

    /// Adds a text, shortened to 1024 octets. A span has at most 32 attributes; further ones are left out.
    pub fn text(&mut self, name: &'static str, text: impl Into<Cow<'static, str>>) {
        let mut text = text.into();
        if text.len() > LONGEST_TEXT {
            let end = (0..=LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
            text = text[..end].to_owned().into();
        }
        self.attribute(name, AttributeValue::Text(text));
    }

    /// Adds a number.
    pub fn number(&mut self, name: &'static str, number: impl Into<i64>) {
        self.attribute(name, AttributeValue::Number(number.into()));
    }

    /// Adds the status of the response. The span of a server has failed if it is 5xx, that of a client also if it is 4xx.
    pub fn respond(&mut self, status: StatusCode) {
        self.number("http.response.status_code", status.as_u16());
        if status.is_server_error() || status.is_client_error() && self.span.kind == SpanKind::Client {
            self.fail(status.as_str().to_owned());
        }
    }

    /// Adds why it failed, as one word: a status, or the kind of an error (`error.type`). The last reason counts.
    pub fn fail(&mut self, error: impl Into<Cow<'static, str>>) {
        self.span.attributes.retain(|(name, _)| *name != ERROR_TYPE);
        self.text(ERROR_TYPE, error);
        self.span.is_error = true;
    }

    fn attribute(&mut self, name: &'static str, value: AttributeValue) {
        if self.span.attributes.len() < MOST_ATTRIBUTES {
            self.span.attributes.push((name, value));
        }
    }

    /// Its ids.
    #[must_use]
    pub const fn context(&self) -> &TraceContext {
        &self.span.context
    }
}

impl Span {
    /// What it failed with, unless that is the status of the response: the type of an exception, or the kind of an error.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.attributes.iter().find_map(|(name, value)| match value {
            AttributeValue::Text(text) if *name == ERROR_TYPE && text.parse::<u16>().is_err() => Some(&**text),
            _ => None,
        })
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let attributes = std::mem::take(&mut self.span.attributes);
        self.recorder.record(Span { duration: self.started.elapsed(), attributes, ..self.span.clone() });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::trace::Trace;

    #[test]
    fn a_child_is_recorded_when_it_is_dropped_and_its_texts_are_bounded() {
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let spans = Arc::clone(&recorded);
        let context = TraceContext::root(|_| true);
        let trace = Trace::new(context, Some(Recorder::new(move |span| spans.lock().unwrap().push(span))));
        let mut child = trace.child("lookup", SpanKind::Client).unwrap();
        child.text("text", "ä".repeat(LONGEST_TEXT));
        (0..100).for_each(|_| child.number("number", 1));
        child.fail("timeout");
        assert!(recorded.lock().unwrap().is_empty());
        drop(child);
        let spans = recorded.lock().unwrap();
        let [span] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((span.parent, span.context.trace_id(), span.is_error), (Some(context.span_id()), context.trace_id(), true));
        assert_eq!(span.attributes.len(), MOST_ATTRIBUTES);
        assert!(matches!(&span.attributes[0].1, AttributeValue::Text(text) if text.len() == LONGEST_TEXT));
        assert!(Trace::new(context, None).child("lookup", SpanKind::Client).is_none());
    }
}
