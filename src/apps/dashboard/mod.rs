//! `dashboard`: a page about the running server.

mod page;

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tower::service_fn;
use ziggurat_middleware::{App, Body, Context, Explain, Finding, IntoApp, Problem, Request, Response};

use page::Page;

/// Shows a page about the running server: the stack as the stepped tower that it is, each step with its rate, errors and time, the apps with their workers and queues,
/// the servers behind proxies, certificates, and recent errors. It is renewed every two seconds, and changes nothing. A request that is typed into it, such as
/// `POST /admin/`, is [explained](../explain.md) as `ziggurat explain --live` does it; the address of an explanation ends in `#explain=POST%20/admin/`.
///
/// ![The page on a desktop: the layers as a tower, each with its rate, errors and time](dashboard-desktop.png)
///
/// The page is one answer without other files. It works on a phone, by keyboard, in light and dark. Its
/// Content-Security-Policy lets it load nothing but the figures, from the address of the page with `?status`, and explanations, with `?explain=POST%20/admin/`, both as JSON.
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
            Method::GET | Method::HEAD => match Asked::by(explain.request().uri().query()) {
                Some(Asked::Status) => explain.note("shows the status of the process as JSON"),
                Some(Asked::Explanation(_)) => explain.note("explains a request as JSON"),
                None => {
                    explain.note("shows the dashboard");
                    explain.answer(Page::new().response());
                }
            },
            _ => explain.refuse(read_only()),
        }
        Ok(())
    }

    fn app(self, context: &Context) -> Result<impl IntoApp, Finding> {
        let page = Arc::new(Page::new());
        let source = context.host::<ProcessSource>().cloned().unwrap_or_default();
        Ok(service_fn(move |request: Request| {
            let (page, source) = (Arc::clone(&page), source.clone());
            async move {
                if !matches!(*request.method(), Method::GET | Method::HEAD) {
                    return Ok(read_only().into_response());
                }
                match Asked::by(request.uri().query()) {
                    Some(asked) => answer(&source, asked).await,
                    None => Ok(page.response()),
                }
            }
        }))
    }
}

fn read_only() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, HeaderValue::from_static("GET, HEAD"))
}

/// The answer of the process as JSON.
async fn answer(source: &ProcessSource, asked: Asked) -> Result<Response, Problem> {
    let Some((status, value)) = source.ask(asked).await else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("this process has no status, or is stopping"));
    };
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    Ok(response)
}

/// What the page asks the process.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The figures.
    Status,
    /// What becomes of a request: its method and URL, or the URL alone.
    Explanation(String),
}

impl Asked {
    /// What this query asks for; `None` for the page.
    fn by(query: Option<&str>) -> Option<Self> {
        match query?.split_once('=') {
            None if query == Some("status") => Some(Self::Status),
            Some(("explain", line)) => Some(Self::Explanation(percent_decode_str(line).decode_utf8_lossy().into_owned())),
            _ => None,
        }
    }
}

type Ask = Box<dyn Fn(Asked) -> BoxFuture<'static, Option<(StatusCode, Value)>> + Send + Sync>;

/// Where the answers of the process come from, among the facts about the program. The program fills it in when it serves.
#[derive(Clone)]
pub(crate) struct ProcessSource {
    ask: Arc<OnceLock<Ask>>,
    /// One question at a time: an explanation takes a thread that looks at files.
    turn: Arc<Semaphore>,
}

impl Default for ProcessSource {
    fn default() -> Self {
        Self { ask: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl ProcessSource {
    /// Fills it in. The first one counts.
    pub(crate) fn fill(&self, ask: impl Fn(Asked) -> BoxFuture<'static, Option<(StatusCode, Value)>> + Send + Sync + 'static) {
        let _ = self.ask.set(Box::new(ask));
    }

    /// The answer; `None` if the process does not serve.
    async fn ask(&self, asked: Asked) -> Option<(StatusCode, Value)> {
        let _turn = self.turn.acquire().await.ok()?;
        self.ask.get()?(asked).await
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ziggurat_middleware::Lifecycle;

    use super::*;

    async fn answer(method: Method, target: &str, source: Option<ProcessSource>) -> (StatusCode, http::HeaderMap, String) {
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
        let source = ProcessSource::default();
        assert_eq!(answer(Method::GET, "/?status", Some(source.clone())).await.0, 503);
        source
            .fill(|asked| Box::pin(async move { Some((StatusCode::OK, serde_json::json!({ "pid": 7, "asked": format!("{asked:?}") }))) }));
        let (status, headers, text) = answer(Method::GET, "/any?status", Some(source.clone())).await;
        assert_eq!((status, &*text), (StatusCode::OK, r#"{"pid":7,"asked":"Status"}"#));
        assert_eq!(
            (&headers[CONTENT_TYPE], &headers["x-content-type-options"]),
            (&"application/json".parse().unwrap(), &"nosniff".parse().unwrap())
        );
        let (_, _, text) = answer(Method::GET, "/?explain=POST%20/a?b=c%26d", Some(source)).await;
        assert_eq!(text, r#"{"pid":7,"asked":"Explanation(\"POST /a?b=c&d\")"}"#);
        assert_eq!(answer(Method::GET, "/?status", None).await.0, 503);
        assert_eq!(answer(Method::POST, "/", None).await.0, 405);
    }
}
