//! `dashboard`: a page about the running server.

mod page;

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tower::service_fn;
use ziggurat_middleware::{App, Body, BoxError, Context, Explain, Finding, IntoApp, Problem, Request, Response};

use page::Page;

/// Shows a page about the running server: the stack as the stepped tower that it is, each step with its rate, errors and time, the apps with their workers and queues,
/// the servers behind proxies, certificates, and recent errors. It is renewed every two seconds, and changes nothing.
///
/// ![The page on a desktop: the layers as a tower, each with its rate, errors and time](dashboard-desktop.png)
///
/// The page is one answer without other files. It works on a phone, by keyboard, in light and dark. Its
/// Content-Security-Policy lets it load nothing but the figures, from the address of the page with `?status`, as JSON.
///
/// The times of layers take `"timing": true` in `server` ([time per layer](../timing.md)); so do the recent errors, of which the last 50 are kept.
///
/// The page tells much about a site. `ziggurat check` refuses a file in which somebody can reach it whom no layer above has asked: put `basic_auth`, `access` or another layer that knows who comes above
/// it, or give its route a `client`.
///
/// ```json
/// {
///   "server": { "timing": true },
///   "app": { "routes": [
///     { "match": { "path": "/dashboard" }, "layers": [{ "access": [{ "allow": "10.0.0.0/8" }] }], "app": { "dashboard": {} } },
///     { "app": { "wsgi": "hello:app" } }
///   ] }
/// }
/// ```
///
/// | light | dark |
/// | --- | --- |
/// | ![light, on a phone](dashboard-phone.png) | ![dark, on a phone](dashboard-phone-dark.png) |
/// | | ![dark, on a desktop](dashboard-desktop-dark.png) |
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dashboard {
    /// Whether everybody may see it, without a layer above it that asks who comes. (`check` reads it.)
    #[allow(dead_code)]
    public: bool,
}

impl App for Dashboard {
    const NAME: &'static str = "dashboard";

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        match *explain.request().method() {
            Method::GET | Method::HEAD if explain.request().uri().query() == Some("status") => {
                explain.note("shows the status of the process as JSON")
            }
            Method::GET | Method::HEAD => {
                explain.note("shows the dashboard");
                explain.answer(Page::new().response());
            }
            _ => explain.refuse(read_only()),
        }
        Ok(())
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let page = Arc::new(Page::new());
        let source = context.host::<StatusSource>().cloned();
        Ok(service_fn(move |request: Request| {
            let (page, source) = (Arc::clone(&page), source.clone());
            async move {
                if !matches!(*request.method(), Method::GET | Method::HEAD) {
                    return Ok(read_only().into_response());
                }
                match request.uri().query() {
                    Some("status") => status(source).await,
                    _ => Ok(page.response()),
                }
            }
        }))
    }
}

fn read_only() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, HeaderValue::from_static("GET, HEAD"))
}

/// The figures as JSON.
async fn status(source: Option<StatusSource>) -> Result<Response, BoxError> {
    let status = match source {
        Some(source) => source.ask().await,
        None => None,
    };
    let Some(status) = status else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("this process has no status, or is stopping").into());
    };
    let mut response = Response::new(Body::from(status.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    Ok(response)
}

type Ask = Box<dyn Fn() -> BoxFuture<'static, Option<Value>> + Send + Sync>;

/// Where the status of the process comes from, among the facts about the program. The program fills it in when it serves.
#[derive(Clone, Default)]
pub(crate) struct StatusSource(Arc<OnceLock<Ask>>);

impl StatusSource {
    /// Fills it in. The first one counts.
    pub(crate) fn fill(&self, ask: impl Fn() -> BoxFuture<'static, Option<Value>> + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(ask));
    }

    /// The status; `None` if the process does not serve.
    async fn ask(&self) -> Option<Value> {
        self.0.get()?().await
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ziggurat_middleware::Lifecycle;

    use super::*;

    async fn answer(method: Method, target: &str, source: Option<StatusSource>) -> (StatusCode, http::HeaderMap, String) {
        let mut host = http::Extensions::new();
        if let Some(source) = source {
            host.insert(source);
        }
        let context = Context::new("dashboard", Path::new("/"), Lifecycle::hosted(host));
        let app = Dashboard::default().app(&context).unwrap().into_next(context.place());
        let response = app.run(ziggurat_middleware::request(method, target, Body::empty())).await;
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, String::from_utf8(body.as_full().unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_page_is_one_answer_that_may_load_the_figures_alone() {
        let (status, headers, page) = answer(Method::GET, "/dashboard", None).await;
        assert_eq!(status, 200);
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; ") && policy.contains("connect-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        for outside in ["http:", "https:", "src=", "url(", "@import", "innerHTML", "style="] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[tokio::test]
    async fn the_figures_are_those_of_the_program() {
        let source = StatusSource::default();
        assert_eq!(answer(Method::GET, "/?status", Some(source.clone())).await.0, 503);
        source.fill(|| Box::pin(async { Some(serde_json::json!({ "pid": 7 })) }));
        let (status, headers, text) = answer(Method::GET, "/any?status", Some(source)).await;
        assert_eq!((status, &*text), (StatusCode::OK, r#"{"pid":7}"#));
        assert_eq!(
            (&headers[CONTENT_TYPE], &headers["x-content-type-options"]),
            (&"application/json".parse().unwrap(), &"nosniff".parse().unwrap())
        );
        assert_eq!(answer(Method::GET, "/?status", None).await.0, 503);
        assert_eq!(answer(Method::POST, "/", None).await.0, 405);
    }
}
