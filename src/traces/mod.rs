//! Traces of requests: a span for each, exported by OTLP over HTTP, and W3C Trace Context in and out.
//!
//! [`Traces`] stands around a stack. It decides whether a request is recorded, sets the context that apps and upstream servers see, and passes spans that have ended
//! to the [`exporter`]. There is no global provider: each generation has its own.

mod exporter;
mod messages;
mod options;
mod request;

use std::sync::Arc;

use ziggurat_middleware::trace::{Recorder, TRACEPARENT, TRACESTATE, TakenRoute, Trace, TraceContext, TraceState};
use ziggurat_middleware::{Client, ConnectionInfo, Context, IntoStage, Next, Place, Request, RequestSummary, Response, around};

use exporter::Exporter;
pub use options::TracesOptions;
use request::RequestSpan;

/// The traces of a stack.
#[derive(Clone)]
pub(crate) struct Traces(Arc<Inner>);

struct Inner {
    options: TracesOptions,
    recorder: Recorder,
}

impl Traces {
    /// Starts to export. It ends with the stack, after what was recorded is sent, for some seconds at most. `None` in a program without an HTTP client, such as a test of a pipeline file.
    pub(crate) fn start(options: &TracesOptions, context: &Context) -> Option<Self> {
        let client = context.host::<Client>()?.clone();
        let exporter = Exporter::start(options, client, context);
        let recorder = Recorder::new(move |span| exporter.export(span)).with_layers(options.layers);
        Some(Self(Arc::new(Inner { options: options.clone(), recorder })))
    }

    /// The stack, with a span around each request that is recorded.
    pub(crate) fn around(self, stack: Next, place: &Place) -> Next {
        let layer = around(move |request: &mut Request| {
            let span = self.begin(request);
            Ok(move |response: Response| match span {
                Some(span) => span.respond(response),
                None => response,
            })
        });
        layer.stage(place, stack)
    }

    /// Sets the context of the request. Returns its span, if it is recorded.
    fn begin(&self, request: &mut Request) -> Option<Box<RequestSpan>> {
        let parent = self.parent(request);
        let state = parent.as_ref().and_then(|_| TraceState::read(request.headers()));
        let context = match &parent {
            Some(parent) => parent.child(),
            None => TraceContext::root(|id| self.0.options.sample.takes(id)),
        };
        let headers = request.headers_mut();
        headers.insert(TRACEPARENT, context.header());
        match &state {
            Some(state) => drop(headers.insert(TRACESTATE, state.header().clone())),
            None => drop(headers.remove(TRACESTATE)),
        }
        let recorder = context.is_sampled().then(|| self.0.recorder.clone());
        if let Some(summary) = RequestSummary::of(request.extensions()) {
            summary.set_trace(context.trace_id());
        }
        let route = recorder.is_some().then(TakenRoute::default);
        request.extensions_mut().insert(Trace::new(context, recorder.clone()).with_route(route));
        recorder.map(|recorder| RequestSpan::begin(request, context, parent, state, recorder))
    }

    /// The span of another program that the request belongs to, if that program is believed.
    fn parent(&self, request: &Request) -> Option<TraceContext> {
        let connection = request.extensions().get::<ConnectionInfo>()?;
        let is_trusted = self.0.options.trust.0.iter().any(|peer| peer.sent(connection));
        if is_trusted { TraceContext::read(request.headers()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::header::HeaderValue;
    use http::{Method, StatusCode};
    use proptest::prelude::*;
    use tower::service_fn;
    use ziggurat_middleware::trace::Span;
    use ziggurat_middleware::{Body, BoxError, IntoApp, Problem};

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// What the app below has seen of the headers, and the spans.
    struct Seen {
        traceparent: String,
        tracestate: Option<String>,
        spans: Vec<Span>,
    }

    async fn serve(options: &str, headers: &[(&'static str, &str)], app: fn(&Request) -> Result<Response, Problem>) -> Seen {
        let options: TracesOptions = serde_json::from_str(options).unwrap();
        let (spans, heads) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (recorded, seen) = (Arc::clone(&spans), Arc::clone(&heads));
        let recorder = Recorder::new(move |span| recorded.lock().unwrap().push(span)).with_layers(options.layers);
        let app = service_fn(move |request: Request| {
            seen.lock().unwrap().push(request.headers().clone());
            let answer = app(&request);
            async move { answer }
        });
        let place = Place::new("traces");
        let stack = Traces(Arc::new(Inner { options, recorder })).around(app.into_next(&Place::new("main")), &place);
        let mut request = ziggurat_middleware::request(Method::GET, "/shop?token=s3cr3t", Body::empty());
        let summary = RequestSummary::new(request.method(), request.uri(), request.extensions());
        request.extensions_mut().insert(summary);
        if headers.iter().any(|(name, _)| *name == "host") {
            request.headers_mut().remove("host");
        }
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
        }
        drop(stack.run(request).await);
        let heads = std::mem::take(&mut *heads.lock().unwrap());
        let text = |name: &str| heads[0].get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(heads[0].get_all("traceparent").iter().count(), 1);
        Seen {
            traceparent: text("traceparent").unwrap(),
            tracestate: text("tracestate"),
            spans: std::mem::take(&mut *spans.lock().unwrap()),
        }
    }

    fn ok(_: &Request) -> Result<Response, Problem> {
        Ok(Response::new(Body::from("hello")))
    }

    const TRUSTING: &str = r#"{ "to": "http://collector:4318", "sample": "0%", "trust": "192.0.2.0/24" }"#;
    const ALL: &str = r#"{ "to": "http://collector:4318", "sample": "100%" }"#;

    #[tokio::test]
    async fn a_trace_of_a_trusted_program_goes_on_as_it_has_decided() {
        let seen = serve(TRUSTING, &[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")], ok).await;
        let [span] = seen.spans.as_slice() else { panic!("{:?}", seen.spans) };
        assert_eq!(span.context.to_string(), seen.traceparent);
        assert_eq!((span.parent.unwrap().get(), span.is_parent_remote), (0x00f0_67aa_0ba9_02b7, true));
        assert!(seen.traceparent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && seen.traceparent != PARENT);
        assert_eq!((seen.tracestate.as_deref(), span.state.as_ref().map(TraceState::as_str)), (Some("a=1,b=2"), Some("a=1,b=2")));

        let unsampled = PARENT.replace("-01", "-00");
        let seen = serve(&TRUSTING.replace("0%", "100%"), &[("traceparent", &unsampled)], ok).await;
        assert!(
            seen.spans.is_empty() && seen.traceparent.ends_with("-00") && seen.traceparent.starts_with("00-4bf9"),
            "{}",
            seen.traceparent
        );
    }

    #[tokio::test]
    async fn a_stranger_can_neither_begin_an_export_nor_choose_an_id() {
        let headers = [("traceparent", PARENT), ("tracestate", "a=1")];
        let seen = serve(&TRUSTING.replace("192.0.2.0/24", "10.0.0.0/8"), &headers, ok).await;
        assert!(seen.spans.is_empty() && !seen.traceparent.contains("4bf92f35") && seen.traceparent.ends_with("-00"));
        assert_eq!(seen.tracestate, None);
        let seen = serve(ALL, &headers, ok).await;
        assert!(seen.spans[0].parent.is_none() && seen.traceparent.ends_with("-01") && !seen.traceparent.contains("4bf92f35"));
    }

    #[tokio::test]
    async fn what_is_malformed_begins_a_new_trace_and_leaves_no_state() {
        let upper = PARENT.to_uppercase();
        for traceparents in [vec![], vec![PARENT, PARENT], vec!["x"], vec![&*upper]] {
            let headers: Vec<_> = traceparents.into_iter().map(|value| ("traceparent", value)).chain([("tracestate", "a=1")]).collect();
            let seen = serve(TRUSTING, &headers, ok).await;
            assert!(TraceContext::parse(seen.traceparent.as_bytes()).is_some() && !seen.traceparent.contains("4bf92f35"));
            assert_eq!(seen.tracestate, None);
        }
        // A malformed state costs the state alone (W3C Trace Context section 3.3).
        let seen = serve(TRUSTING, &[("traceparent", PARENT), ("tracestate", "A=1")], ok).await;
        assert!(seen.traceparent.contains("4bf92f35") && seen.tracestate.is_none());
    }

    fn text<'a>(span: &'a Span, name: &str) -> Option<std::borrow::Cow<'a, str>> {
        use ziggurat_middleware::trace::AttributeValue::{Number, Text};
        span.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| match value {
            Text(text) => text.as_ref().into(),
            Number(number) => number.to_string().into(),
        })
    }

    #[tokio::test]
    async fn a_span_says_what_the_conventions_name_and_no_query() {
        let seen =
            serve(ALL, &[("host", "shop.example:8443"), ("user-agent", "curl/8")], |_| Err(Problem::new(StatusCode::BAD_GATEWAY))).await;
        let span = &seen.spans[0];
        let expected = [
            ("http.request.method", "GET"),
            ("url.scheme", "http"),
            ("url.path", "/shop"),
            ("server.address", "shop.example"),
            ("server.port", "8443"),
            ("client.address", "192.0.2.1"),
            ("network.protocol.version", "1.1"),
            ("user_agent.original", "curl/8"),
            ("http.response.status_code", "502"),
            ("error.type", "502"),
            ("ziggurat.place", "main"),
        ];
        for (name, value) in expected {
            assert_eq!(text(span, name).as_deref(), Some(value), "{name}: {span:?}");
        }
        assert!(span.is_error && span.name == "GET" && !format!("{span:?}").contains("s3cr3t"));
        let seen = serve(ALL, &[], |_| Err(Problem::new(StatusCode::NOT_FOUND))).await;
        assert!(!seen.spans[0].is_error && text(&seen.spans[0], "error.type").is_none());
    }

    #[tokio::test]
    async fn each_layer_has_a_span_on_request_and_the_app_is_told_of_its_own() {
        let options = ALL.replace("}", r#", "layers": true }"#);
        let seen = serve(&options, &[("traceparent", PARENT)], |_| Err(Problem::new(StatusCode::BAD_GATEWAY))).await;
        let [app, request] = seen.spans.as_slice() else { panic!("{:?}", seen.spans) };
        assert_eq!((app.name.as_ref(), app.parent, app.is_error), ("main", Some(request.context.span_id()), true));
        assert_eq!(app.context.to_string(), seen.traceparent);
    }

    #[tokio::test]
    async fn a_span_ends_with_the_body_and_says_if_it_was_cut_short() {
        fn endless(_: &Request) -> Result<Response, Problem> {
            let frames = futures_util::stream::pending::<Result<http_body::Frame<bytes::Bytes>, BoxError>>();
            Ok(Response::new(Body::new(http_body_util::StreamBody::new(frames))))
        }
        let seen = serve(ALL, &[], endless).await;
        assert_eq!(text(&seen.spans[0], "error.type").as_deref(), Some("client_closed"));
        // A client that is slow may leave in the middle of many octets in memory.
        let seen = serve(ALL, &[], |_| Ok(Response::new(Body::from("x".repeat(1_000_000))))).await;
        assert_eq!(text(&seen.spans[0], "error.type").as_deref(), Some("client_closed"));
        let seen = serve(ALL, &[], |_| Ok(Response::new(Body::from("few octets")))).await;
        assert!(!seen.spans[0].is_error, "{:?}", seen.spans);
        // Of a response without a body, and of an upgrade, nobody reads the body to its end.
        for status in [StatusCode::SWITCHING_PROTOCOLS, StatusCode::NOT_MODIFIED] {
            let bodiless: fn(&Request) -> Result<Response, Problem> = match status {
                StatusCode::NOT_MODIFIED => |request| endless(request).map(|response| with_status(response, StatusCode::NOT_MODIFIED)),
                _ => |request| endless(request).map(|response| with_status(response, StatusCode::SWITCHING_PROTOCOLS)),
            };
            let seen = serve(ALL, &[], bodiless).await;
            assert!(!seen.spans[0].is_error, "{:?}", seen.spans);
        }
    }

    fn with_status(mut response: Response, status: StatusCode) -> Response {
        *response.status_mut() = status;
        response
    }

    proptest! {
        #[test]
        fn any_headers_give_the_app_one_sound_context(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..3)) {
            let mut headers = http::HeaderMap::new();
            for value in values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
                headers.append("traceparent", value.clone());
                headers.append("tracestate", value);
            }
            let mut request = ziggurat_middleware::request(Method::GET, "/", Body::empty());
            *request.headers_mut() = headers;
            let options = serde_json::from_str(TRUSTING).unwrap();
            drop(Traces(Arc::new(Inner { options, recorder: Recorder::new(|_| {}) })).begin(&mut request));
            prop_assert_eq!(TraceContext::read(request.headers()), Trace::of(request.extensions()).map(|trace| *trace.context()));
        }
    }
}
