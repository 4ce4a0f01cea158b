//! `metrics`: the metrics of the whole program, for Prometheus.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use schemars::JsonSchema;
use serde::Deserialize;
use tower::service_fn;
use ziggurat_middleware::{App, Body, Context, Effect, Effects, Explain, Finding, IntoApp, Metrics, Problem, Request, Response};

/// Shows the metrics of the whole program in the text format of Prometheus: connections, HTTP requests, reloads, and those of each layer and app, such as
/// workers, threads and the queue.
///
/// | metrics of HTTP | |
/// | --- | --- |
/// | `ziggurat_http_requests_total` | requests that have ended, by `place` and `status` (`1xx` to `5xx`) |
/// | `ziggurat_http_request_duration_seconds` | histogram by `place`: from the head of the request to the last octet of the response |
/// | `ziggurat_http_received_bytes_total`, `ziggurat_http_sent_bytes_total` | octets of the bodies of requests and responses, by `place` |
/// | `ziggurat_http_requests_in_progress` | requests under way |
///
/// `place` is the layer or app that has answered, as `ziggurat show` names it: `main`, `static`, `basic_auth`. Layers above may have changed the answer; `status` is that of
/// the changed one. What a worker contains has one place. The place `server` stands for answers of the server itself, such as 400, 408 and 503, and with the status `none`
/// for requests whose client has gone before there was an answer. A WebSocket is counted when it begins, as `1xx`, and its octets are not counted. The counters go on
/// after a reload.
///
/// With `"server": { "timing": true }`, the time that each layer and app takes itself is among the metrics ([time per layer](../timing.md)).
///
/// The metrics show how busy the site is. Use a route that only the scraper can reach.
///
/// ```json
/// {
///   "app": { "routes": [
///     { "match": { "path": "/metrics", "host": "metrics.internal" }, "app": { "metrics": {} } },
///     { "app": { "wsgi": "hello:app" } }
///   ] }
/// }
/// ```
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowMetrics {}

impl App for ShowMetrics {
    const NAME: &'static str = "metrics";

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        explain.note("shows the metrics of the whole program");
        let mut response = answer(explain.request().method(), Metrics::default);
        if response.status().is_success() {
            // How much the running program has to tell is not known.
            *response.body_mut() = Body::new(StreamBody::new(stream::empty::<Result<Frame<Bytes>, Infallible>>()));
        }
        explain.answer(response);
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.add(Effect::ShowsFigures);
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let scraper = context.scraper();
        Ok(service_fn(move |request: Request| {
            let response = answer(request.method(), || scraper.scrape());
            async move { Ok::<_, Infallible>(response) }
        }))
    }
}

fn answer(method: &Method, scrape: impl FnOnce() -> Metrics) -> Response {
    match *method {
        Method::GET | Method::HEAD => text(&scrape()),
        _ => Problem::new(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, HeaderValue::from_static("GET, HEAD")).into_response(),
    }
}

fn text(metrics: &Metrics) -> Response {
    let mut response = Response::new(Body::from(metrics.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Metrics::CONTENT_TYPE));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use ziggurat_middleware::Lifecycle;

    use super::*;

    #[tokio::test]
    async fn what_every_part_of_the_stack_says_is_shown_whichever_was_built_first() {
        let lifecycle = Lifecycle::default();
        let context = |place: &str| Context::new(place, std::path::Path::new("/"), lifecycle.clone());
        let app = ShowMetrics {}.app(&context("app")).unwrap().into_next(&"app".into());
        context("later").on_scrape(|metrics| {
            metrics.counter("later_total", "Later.").sample(&[], 3_u64);
        });
        let ask = |method: Method| {
            let mut request = Request::new(Body::empty());
            *request.method_mut() = method;
            app.clone().run(request)
        };
        let response = ask(Method::GET).await;
        assert_eq!(response.headers()[CONTENT_TYPE], Metrics::CONTENT_TYPE);
        let octets = response.into_body().as_full().unwrap().to_vec();
        assert_eq!(String::from_utf8(octets).unwrap(), "# HELP later_total Later.\n# TYPE later_total counter\nlater_total 3\n");
        let refused = ask(Method::POST).await;
        assert_eq!((refused.status(), &refused.headers()[ALLOW]), (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("GET, HEAD")));
    }
}
