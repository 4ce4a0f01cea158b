//! Traces: the span that a request is in, and how the spans of its children are recorded.
//!
//! A layer or an app that asks another server, or that wants a span of its own, finds the current span as a fact:
//!
//! ```
//! use ziggurat_middleware::trace::{SpanKind, Trace};
//! use ziggurat_middleware::{IntoStage, Next, Request, TestStack, from_fn};
//!
//! fn lookup() -> impl IntoStage {
//!     from_fn((), async |(), request: Request, next: Next| {
//!         let span = Trace::of(request.extensions()).and_then(|trace| trace.child("lookup", SpanKind::Internal));
//!         // Look something up; the span ends when it is dropped.
//!         drop(span);
//!         next.run(request).await
//!     })
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! # assert_eq!(TestStack::stage(lookup()).over_text("the app").get("/").await.text(), "the app");
//! # }
//! ```

mod context;
mod measured;
mod route;
mod span;

use std::borrow::Cow;
use std::sync::Arc;

use http::{Extensions, Method};

use crate::{Place, Request};
pub use context::{TRACEPARENT, TRACESTATE, TraceContext, TraceId, TraceState};
pub(crate) use measured::MeasuredSpans;
pub use route::TakenRoute;
pub use span::{AttributeValue, OpenSpan, Span, SpanKind};

/// The span that a request is in. The program sets it in the request's extensions if it traces; what a layer records as a child hangs below it.
#[derive(Clone)]
pub struct Trace {
    context: TraceContext,
    recorder: Option<Recorder>,
    route: Option<TakenRoute>,
}

/// Takes the spans that have ended. It never waits.
#[derive(Clone)]
pub struct Recorder {
    record: Arc<dyn Fn(Span) + Send + Sync>,
    has_layers: bool,
}

impl Recorder {
    /// Passes spans to this function, which must not block.
    pub fn new(record: impl Fn(Span) + Send + Sync + 'static) -> Self {
        Self { record: Arc::new(record), has_layers: false }
    }

    /// Whether each layer and app has a span of its own.
    #[must_use]
    pub fn with_layers(self, has_layers: bool) -> Self {
        Self { has_layers, ..self }
    }

    fn record(&self, span: Span) {
        (self.record)(span);
    }
}

impl Trace {
    /// A request inside the span of this context. Without a recorder, no span is recorded and the context is passed on.
    #[must_use]
    pub const fn new(context: TraceContext, recorder: Option<Recorder>) -> Self {
        Self { context, recorder, route: None }
    }

    /// With this record of the route that the request takes.
    #[must_use]
    pub fn with_route(self, route: Option<TakenRoute>) -> Self {
        Self { route, ..self }
    }

    /// Where tables of routes note the route that the request takes, if that is recorded.
    #[must_use]
    pub const fn route(&self) -> Option<&TakenRoute> {
        self.route.as_ref()
    }

    /// The trace in the extensions of a request.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The ids of the span.
    #[must_use]
    pub const fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Begins a span below this one; `None` if the trace is not recorded.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Option<OpenSpan> {
        let recorder = self.recorder.clone()?;
        Some(OpenSpan::new(name.into(), kind, self.context.child(), Some(self.context.span_id()), recorder))
    }
}

impl Trace {
    /// Begins the span of the layer or app at a place, if these have spans. The request is in it from then on.
    pub(crate) fn enter(request: &mut Request, place: &Place) -> Option<OpenSpan> {
        let trace = request.extensions().get::<Self>()?;
        let recorder = trace.recorder.clone().filter(|recorder| recorder.has_layers)?;
        let span = trace.child(place.as_str().to_owned(), SpanKind::Internal)?;
        let (context, route) = (*span.context(), trace.route.clone());
        request.headers_mut().insert(TRACEPARENT, context.header());
        request.extensions_mut().insert(Self::new(context, Some(recorder)).with_route(route));
        Some(span)
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Trace").field(&self.context).finish()
    }
}

/// The methods that spans are named by (RFC 9110, RFC 5789, and QUERY). Clients can make up any number of others.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

/// The method as the semantic conventions name it: `_OTHER` for one that is not known.
#[must_use]
pub fn known_method(method: &Method) -> &'static str {
    METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}
