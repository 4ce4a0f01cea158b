//! Spans that a clock has measured: those of layers in another process, which are told when they have ended.

use std::time::{Duration, SystemTime};

use super::span::ERROR_TYPE;
use super::{AttributeValue, Span, SpanKind, Trace, TraceContext};

/// The spans of a thread of an app, below the span of the app. Each has a number.
#[derive(Debug)]
pub(crate) struct MeasuredSpans {
    app: Trace,
    contexts: Vec<Option<TraceContext>>,
}

/// How many spans are told apart. Further ones are not recorded.
const SPANS: usize = 64;

impl MeasuredSpans {
    /// Below the span of an app; `None` if layers have no spans.
    pub(crate) fn below(app: &Trace) -> Option<Self> {
        app.recorder.as_ref().filter(|recorder| recorder.has_layers)?;
        Some(Self { app: app.clone(), contexts: Vec::new() })
    }

    /// The span of this number is that of the app.
    pub(crate) fn identify(&mut self, number: usize) {
        let app = self.app.context;
        if let Some(context) = self.slot(number) {
            *context = Some(app);
        }
    }

    /// Records a span of this number, below the other one, that began so long ago.
    pub(crate) fn record(
        &mut self,
        (number, above): (usize, Option<usize>),
        name: &str,
        ago: Duration,
        duration: Duration,
        error: Option<&str>,
    ) {
        let parent = above.map_or(Some(self.app.context), |above| self.context(above));
        let (Some(context), Some(parent), Some(recorder)) = (self.context(number), parent, self.app.recorder.clone()) else { return };
        let now = SystemTime::now();
        recorder.record(Span {
            name: name.to_owned().into(),
            kind: SpanKind::Internal,
            context,
            state: None,
            parent: Some(parent.span_id()),
            is_parent_remote: false,
            start: now.checked_sub(ago).unwrap_or(now),
            duration,
            attributes: error.map(|error| (ERROR_TYPE, AttributeValue::Text(error.to_owned().into()))).into_iter().collect(),
            is_error: error.is_some(),
        });
    }

    /// The ids of a span. A span ends before the one above it, which has its ids by then.
    fn context(&mut self, number: usize) -> Option<TraceContext> {
        let new = self.app.context.child();
        self.slot(number).map(|context| *context.get_or_insert(new))
    }

    fn slot(&mut self, number: usize) -> Option<&mut Option<TraceContext>> {
        if number >= SPANS {
            return None;
        }
        if self.contexts.len() <= number {
            self.contexts.resize(number + 1, None);
        }
        self.contexts.get_mut(number)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::Recorder;
    use super::*;

    #[test]
    fn spans_hang_below_each_other_whichever_is_told_first() {
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let spans = Arc::clone(&recorded);
        let recorder = Recorder::new(move |span: Span| spans.lock().unwrap().push(span)).with_layers(true);
        let context = TraceContext::root(|_| true);
        let mut measured = MeasuredSpans::below(&Trace::new(context, Some(recorder))).unwrap();
        let second = Duration::from_secs(1);
        measured.identify(3);
        measured.record((2, Some(1)), "inner", 2 * second, second, Some("KeyError"));
        measured.record((1, None), "outer", 3 * second, 2 * second, None);
        measured.record((4, Some(3)), "below the app", second, second, None);
        measured.record((SPANS, None), "one too many", second, second, None);
        let spans = recorded.lock().unwrap();
        let [inner, outer, below] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((inner.parent, outer.parent), (Some(outer.context.span_id()), Some(context.span_id())));
        assert_eq!((below.parent, inner.duration), (Some(context.span_id()), second));
        assert_eq!((inner.is_error, inner.failure()), (true, Some("KeyError")));
        assert!(!outer.is_error && outer.failure().is_none());
        assert!(outer.start < inner.start && [inner, outer, below].iter().all(|span| span.context.trace_id() == context.trace_id()));
    }

    #[test]
    fn nothing_is_measured_where_layers_have_no_spans() {
        let context = TraceContext::root(|_| true);
        assert!(MeasuredSpans::below(&Trace::new(context, Some(Recorder::new(|_| {})))).is_none());
        assert!(MeasuredSpans::below(&Trace::new(context, None)).is_none());
    }
}
