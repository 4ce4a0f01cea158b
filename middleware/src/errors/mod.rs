//! `errors`: answers errors with pages of one's own.

mod accept;
mod page;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{
    ACCEPT, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::accept::{Accept, Wanted};
use self::page::{Page, Values};
use self::status::StatusPattern;
use crate::{
    Behavior, Body, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Middleware, ProblemDetail, Request, RequestId,
    Response, around,
};

/// Answers errors with pages of your own.
///
/// A page is a file, read when the stack is built, of at most 1 MiB of UTF-8. Its media type comes from its name. It may hold these gaps:
///
/// | gap | replaced by |
/// | --- | --- |
/// | `{status}` | the status, such as `404` |
/// | `{reason}` | its name, such as `Not Found` |
/// | `{detail}` | what the server says about the error, often nothing |
/// | `{request_id}` | the id of the request, where a `request_id` layer stands above |
///
/// Values are escaped as HTML or JSON, as the file's name says. Other braces stay as they are.
///
/// By default only responses that the server itself made get a page: refusals of layers, `404` of routes, `5xx` for an app that failed, is too slow or
/// is overloaded. An app's own error pages stay. The status stays, and so do headers such as `Retry-After`, `WWW-Authenticate` and `Allow`; headers
/// that describe the old body go.
///
/// The `Accept` header of the request decides what the client gets, so these responses carry `Vary: Accept`:
///
/// | the client | an error of the server | an error of the app, with `"of": "all"` |
/// | --- | --- | --- |
/// | takes the page's media type, or says nothing | the page | the page |
/// | prefers JSON | problem details (RFC 9457, `application/problem+json`) | the app's own response |
/// | takes neither | plain text | the app's own response |
///
/// A replaced response gets `Cache-Control: no-store` if its status is `5xx` or it shows the id of the request, unless it has a `Cache-Control`.
///
/// Place it below `request_id` and `access_log`, and above everything whose errors it replaces. It does not see requests that are refused before they
/// reach the stack, such as malformed ones, nor responses that have begun. Of several such layers, the one nearest to the error decides. Below a Python layer,
/// errors of native layers count as errors of the app.
///
/// ```json
/// {
///   "layers": ["request_id", { "errors": { "pages": { "404": "errors/404.html", "5xx": "errors/oops.html" } } }],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// Files by status, `"404"`, or class of statuses, `"4xx"` or `"5xx"`. A status of its own goes before its class.
    pages: BTreeMap<StatusPattern, PathBuf>,
    /// Whose errors get a page: those of the `server` alone, or `all`, the app's included.
    #[serde(default)]
    of: Source,
}

/// Who made a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ErrorSource")]
enum Source {
    #[default]
    Server,
    All,
}

impl Middleware for Errors {
    const NAME: &'static str = "errors";
    const BEHAVIOR: &'static [Behavior] = &[Behavior::ReplacesErrors];

    fn validate(&self, findings: &mut Findings) {
        if self.pages.is_empty() {
            findings.push(Finding::new("no page is given").at("pages").hint("write one, as in `{ \"404\": \"errors/404.html\" }`"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let statuses: Vec<String> = self.pages.keys().map(|status| format!("`{status}`")).collect();
        let whose = if self.of == Source::All { "with any error" } else { "with an error of the server, not of the app" };
        let pages = Arc::new(Pages::read(self, explain.context())?);
        explain.around(|request| Ok(pages.of_request(request)));
        explain.on_response(move |response| match response.known().map(|response| response.extensions().get::<HasPage>().is_some()) {
            Some(true) => response.note("the error has a page"),
            Some(false) => response.note(format!("no page: there is one for {}, {whose}", statuses.join(", "))),
            None => response.note(format!("a page, if the response is {}, {whose}", statuses.join(", "))),
        });
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        for pattern in self.pages.keys() {
            effects.add(Effect::GivesPages(pattern.statuses()));
        }
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage, Finding> {
        let pages = Arc::new(Pages::read(self, context)?);
        Ok(around(move |request: &mut Request| Ok(pages.of_request(request))))
    }
}

/// The pages, read.
pub(crate) struct Pages {
    pages: BTreeMap<StatusPattern, Page>,
    of: Source,
}

/// In the extensions of a response that has a page already: the layer nearest to the error decides.
#[derive(Clone, Copy)]
struct HasPage;

impl Pages {
    fn read(options: Errors, context: &Context) -> Result<Self, Finding> {
        let read = |(status, path): (StatusPattern, PathBuf)| {
            let page = read_page(&context.resolve(path)).map_err(|finding| finding.at("pages").at(status.to_string()));
            page.map(|page| (status, page))
        };
        let pages = options.pages.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { pages, of: options.of })
    }

    /// One page, for this status of a layer.
    pub(crate) fn of_status(status: StatusCode, path: &Path) -> Result<Self, Finding> {
        let pages = BTreeMap::from([(StatusPattern::Status(status.as_u16()), read_page(path)?)]);
        Ok(Self { pages, of: Source::Server })
    }

    /// What gives the response to a request its page.
    pub(crate) fn of_request(self: &Arc<Self>, request: &Request) -> impl FnOnce(Response) -> Response + use<> {
        let pages = Arc::clone(self);
        let accept: Vec<HeaderValue> = request.headers().get_all(ACCEPT).iter().cloned().collect();
        let id = request.extensions().get::<RequestId>().cloned();
        move |response: Response| pages.answer(response, &accept, id.as_ref())
    }

    fn answer(&self, mut response: Response, accept: &[HeaderValue], id: Option<&RequestId>) -> Response {
        let status = response.status();
        let Some(page) = StatusPattern::of(status).iter().find_map(|pattern| self.pages.get(pattern)) else { return response };
        let detail = response.extensions_mut().remove::<ProblemDetail>();
        let is_left = detail.is_none() && self.of == Source::Server;
        if is_left || response.extensions().get::<HasPage>().is_some() {
            return response;
        }
        response.extensions_mut().insert(HasPage);
        vary_by_accept(response.headers_mut());
        let values = Values { status, detail: detail.as_ref().map_or("", |detail| &detail.0), id: id.map_or("", RequestId::as_str) };
        match Accept::of(accept).wants(page.essence()) {
            Wanted::Page => replace(&mut response, page.media_type().clone(), page.fill(&values), page.names_the_request()),
            Wanted::Json if detail.is_some() => {
                replace(
                    &mut response,
                    const { HeaderValue::from_static("application/problem+json") },
                    problem_details(&values),
                    id.is_some(),
                );
            }
            Wanted::Json | Wanted::Neither => {}
        }
        response
    }
}

fn read_page(path: &Path) -> Result<Page, Finding> {
    Page::read(path).map_err(|reason| Finding::new(format!("cannot use `{}` as a page: {reason}", path.display())))
}

fn problem_details(values: &Values<'_>) -> Body {
    let mut details = json!({ "title": values.reason(), "status": values.status.as_u16() });
    for (name, value) in [("detail", values.detail), ("request_id", values.id)] {
        if !value.is_empty() {
            details[name] = value.into();
        }
    }
    Body::from(details.to_string())
}

fn replace(response: &mut Response, media_type: HeaderValue, body: Body, names_the_request: bool) {
    /// Headers that describe a body (RFC 9110 section 8, RFC 9530).
    const OF_THE_BODY: [HeaderName; 9] = [
        CONTENT_ENCODING,
        CONTENT_LANGUAGE,
        CONTENT_LOCATION,
        CONTENT_DISPOSITION,
        ETAG,
        LAST_MODIFIED,
        ACCEPT_RANGES,
        HeaderName::from_static("content-digest"),
        HeaderName::from_static("repr-digest"),
    ];
    let status = response.status();
    let headers = response.headers_mut();
    for name in &OF_THE_BODY {
        headers.remove(name);
    }
    // Of 416 it says how long the whole is.
    if status != StatusCode::RANGE_NOT_SATISFIABLE {
        headers.remove(CONTENT_RANGE);
    }
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(CONTENT_LENGTH, body.as_full().map_or(0, <[u8]>::len).into());
    if (status.is_server_error() || names_the_request) && !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, const { HeaderValue::from_static("no-store") });
    }
    *response.body_mut() = body;
}

fn vary_by_accept(headers: &mut HeaderMap) {
    let varies = |line: &HeaderValue| {
        let mut names = line.as_bytes().split(|octet| *octet == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept"))
    };
    if !headers.get_all(VARY).iter().any(varies) {
        headers.append(VARY, const { HeaderValue::from_static("accept") });
    }
}
