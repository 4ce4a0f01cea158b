//! `early_hints`: tells browsers what a page needs before the page is there.

mod sender;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::header::{HeaderName, LINK};
use http::{HeaderValue, Version};
use schemars::JsonSchema;
use serde::Deserialize;

pub use self::sender::EarlyHints;
use crate::metrics::Counter;
use crate::options::OneOrMany;
use crate::{Behavior, Context, Effect, Effects, Explain, IntoStage, Metrics, Middleware, Request, Response, Result, around};

/// Tells browsers what a page needs before the page is there, in informational responses with status 103 (Early Hints, RFC 8297). While the app works, the browser loads style sheets and
/// connects to other servers.
///
/// Hints come from three sources:
///
/// | source | when it is sent |
/// | --- | --- |
/// | `links` | at once |
/// | a WSGI app, with `wsgi.early_hints` | when the app calls it |
/// | a 103 of the upstream of a `proxy` that is below no Python layer, over HTTP/1.1 | when it arrives |
///
/// An app calls `wsgi.early_hints` before it responds, with headers as `start_response` takes them. It is in the environ only where this layer lets hints pass:
///
/// ```python
/// def app(environ, start_response):
///     if early_hints := environ.get("wsgi.early_hints"):
///         early_hints([("Link", "</style.css>; rel=preload; as=style")])
///     page = render(environ)
///     start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(page)))])
///     return [page]
/// ```
///
/// ```json
/// {
///   "layers": [{ "early_hints": { "links": "</style.css>; rel=preload; as=style" } }],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
///
/// Only navigations get hints, the requests with which a browser loads a page: those with `Sec-Fetch-Mode: navigate`. Scripts, images and most programs cannot use hints, and a client that does not
/// send the header says nothing that would show that it can. With curl, add the header: `curl --http2 --header 'Sec-Fetch-Mode: navigate'`. Browsers send it over https, and to this machine.
///
/// A hint has `Link` and `Content-Security-Policy`, the fields that browsers use. Others are dropped: a hint passes no layer, so those above could not change them. Per request 16 hints with 16 KiB in
/// all are sent, and none after the response. A client of HTTP/1.0, of a FastCGI, SCGI or uwsgi listener, or that asks for a WebSocket gets none.
///
/// Place it below the layers that decide who may see a page, because hints are sent before the layers below decide. Below a Python layer it has no effect, and
/// `check` warns of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SendEarlyHints {
    /// Values of `Link` (RFC 8288) that are sent at once, in one hint, such as `</style.css>; rel=preload; as=style`.
    links: OneOrMany<Link>,
    /// Whether hints are sent over HTTP/1.1, too. Some old programs take a 103 for the response, so browsers, and nginx in its guide, ask for HTTP/2 or HTTP/3. Turn it on if a server in front speaks
    /// HTTP/1.1 and passes hints on.
    http1: bool,
}

/// A value of `Link`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Link(HeaderValue);

impl TryFrom<String> for Link {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_link = text.strip_prefix('<').is_some_and(|rest| rest.contains('>'));
        match HeaderValue::try_from(&text) {
            Ok(value) if is_link => Ok(Self(value)),
            _ => Err(format!("`{}` is no value of `Link`: write `<`, the target, `>` and parameters", text.escape_debug())),
        }
    }
}

impl JsonSchema for Link {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Link".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A value of `Link`: `</style.css>; rel=preload; as=style`." })
    }
}

impl Middleware for SendEarlyHints {
    const NAME: &'static str = "early_hints";
    const SHORTHAND: Option<&'static str> = Some("links");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::SendsHints];

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        explain.note(match (self.refusal(explain.request()), self.links.0.len()) {
            (Some(why), _) => format!("sends no hints: {why}"),
            (None, 0) => "passes the hints of the layers below and the app".to_owned(),
            (None, count) => format!("sends a hint with {count} of `links`, and passes those of the layers below and the app"),
        });
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        if !self.links.0.is_empty() {
            effects.by("links", Effect::SendsLinks);
        }
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let sent = context.keep(Counter::default);
        let (figure, place) = (Arc::clone(&sent), context.place().clone());
        context.on_scrape(move |metrics: &mut Metrics| {
            let family = metrics.counter("ziggurat_early_hints_total", "Hints (103) that an `early_hints` layer has let pass.");
            family.sample(&[("place", place.as_str())], &*figure);
        });
        let layer = Arc::new(self);
        Ok(around(move |request: &mut Request| {
            let hints = if layer.refusal(request).is_none() { EarlyHints::open(request) } else { None };
            // A layer of the kind above counts what it has sent.
            let before = hints.as_ref().map_or(0, EarlyHints::count);
            if let Some(hints) = &hints {
                hints.send(layer.links.0.iter().map(|link| (&LINK, &link.0)));
            }
            let sent = Arc::clone(&sent);
            Ok(move |response: Response| {
                if let Some(hints) = hints {
                    sent.add((hints.count() - before) as u64);
                }
                response
            })
        }))
    }
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

impl SendEarlyHints {
    /// Why a request gets no hints.
    fn refusal(&self, request: &Request) -> Option<&'static str> {
        if request.version() < Version::HTTP_11 {
            return Some("HTTP/1.0 has no informational responses");
        }
        if request.version() < Version::HTTP_2 && !self.http1 {
            return Some("the request came over HTTP/1.1, and `http1` is not set");
        }
        let is_navigation = request.headers().get(SEC_FETCH_MODE).is_some_and(|mode| mode == "navigate");
        (!is_navigation).then_some("it is no navigation (`Sec-Fetch-Mode: navigate`)")
    }
}
