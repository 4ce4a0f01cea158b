//! `maintenance`: closes the site while a file exists, or an option says so.

mod switch;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::future::Either;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;
use tower::{Layer, Service};

use self::switch::Switch;
use crate::errors::Pages;
use crate::metrics::Counter;
use crate::options::OneOrMany;
use crate::path::{DecodedPath, PathPattern};
use crate::units::Duration;
use crate::{
    Behavior, ConnectionInfo, Context, Effect, Effects, Explain, Finding, Findings, IntoStage, Metrics, Middleware, Next, NextFuture, Peer,
    Problem, Request, Response, Result, cookies,
};

/// The header that carries the key.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-maintenance-key");

/// The cookie that carries the key.
const KEY_COOKIE: &str = "maintenance_key";

/// The shortest key that nobody guesses.
const SHORTEST_KEY: usize = 16;

/// Closes the site while a file exists: requests are answered with `503 Service Unavailable` and `Retry-After`, and do not reach the app.
///
/// ```text
/// touch maintenance.on     # closed within a second, without a reload
/// rm maintenance.on        # open again
/// ```
///
/// The file is looked for when a request comes, once a second at most. What is in it does not matter. If it cannot be looked for, the site stays as it was, and the log says so.
///
/// These pass while the site is closed:
///
/// | who | option |
/// | --- | --- |
/// | clients in these networks, such as the own office | `allow` |
/// | whoever sends the key, in the header `X-Maintenance-Key` or the cookie `maintenance_key` | `key` |
/// | everybody, to these paths: probes of the site's health, files of the page | `open` |
///
/// The client gets `page` if it takes its media type, problem details (RFC 9457) if it prefers JSON, and plain text otherwise, as from the layer [`errors`](errors.md).
/// Without `page`, an `errors` layer above with a page for `503` gives it. `Cache-Control: no-store` keeps the answer out of caches.
///
/// The log has a line when the site is closed or opened. `ziggurat_maintenance_closed` is 1 while it is closed, and `ziggurat_maintenance_refused_total` counts the refused requests.
///
/// Place it below `forwarded`, `access_log` and `errors`, and above everything that costs time. What stands above it stays open, for instance `static`.
///
/// ```json
/// {
///   "layers": [
///     { "maintenance": { "file": "maintenance.on", "allow": "192.0.2.0/24", "open": ["/healthz"] } }
///   ],
///   "app": { "wsgi": "hello:app" }
/// }
/// ```
///
/// Where no file can be put beside the program, as in a container, a variable closes the site at the next start:
///
/// ```json
/// { "layers": [{ "maintenance": { "on": "${MAINTENANCE:-false}" } }], "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Maintenance {
    /// The site is closed while this file exists.
    file: Option<PathBuf>,
    /// Whether the site is closed, whatever is with `file`. Fill it with a variable.
    on: Option<bool>,
    /// The page, a file of at most 1 MiB of UTF-8 whose name tells its media type. It is read when the stack is built, and may hold the gaps of the pages of `errors`.
    page: Option<PathBuf>,
    /// One sentence for the client: the plain text of the answer, and `{detail}` in a page.
    message: String,
    /// When clients may come again: `Retry-After`, in whole seconds.
    retry_after: Duration,
    /// Clients that pass: networks such as `10.0.0.0/8`, addresses, and `unix` for clients on a Unix socket.
    allow: OneOrMany<Peer>,
    /// A secret of at least 16 characters, with which a client passes. Fill it with a variable.
    key: Option<String>,
    /// Paths that stay open, without percent-encoding: `/healthz` for exactly that, `/static/*` for `/static` and everything below it.
    open: OneOrMany<PathPattern>,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            file: None,
            on: None,
            page: None,
            message: "the site is closed for maintenance".to_owned(),
            retry_after: Duration::secs(60),
            allow: OneOrMany::default(),
            key: None,
            open: OneOrMany::default(),
        }
    }
}

impl Middleware for Maintenance {
    const NAME: &'static str = "maintenance";
    const SHORTHAND: Option<&'static str> = Some("file");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::AnswersEarly];

    fn validate(&self, findings: &mut Findings) {
        if self.file.is_none() && self.on.is_none() {
            let finding = Finding::new("nothing ever closes the site");
            findings.push(finding.hint("name a file, as in `{ \"file\": \"maintenance.on\" }`, or fill `on` with a variable"));
        }
        if self.key.as_ref().is_some_and(|key| key.len() < SHORTEST_KEY) {
            let finding = Finding::new(format!("the key has fewer than {SHORTEST_KEY} characters")).at("key");
            findings.push(finding.hint("take one that nobody guesses, for instance of `openssl rand -hex 16`"));
        }
        if self.key.as_ref().is_some_and(|key| key.bytes().any(|octet| !octet.is_ascii_graphic() || matches!(octet, b';' | b',' | b'"'))) {
            let finding = Finding::new("a cookie cannot carry the key").at("key");
            findings.push(finding.hint("write letters, digits and signs of ASCII, without spaces, `;`, `,` and `\"`"));
        }
        if self.retry_after.0.as_secs() == 0 {
            let finding = Finding::new(format!("`Retry-After` counts whole seconds, and `{}` is less than one", self.retry_after));
            findings.push(finding.at("retry_after").hint("write `\"60s\"`"));
        }
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([StatusCode::SERVICE_UNAVAILABLE]);
        if self.page.is_some() {
            effects.add(Effect::GivesPages(503..=503));
        }
        if !self.allow.0.is_empty() {
            effects.by("allow", Effect::NeedsClient);
        }
        if self.open.0.is_empty() {
            effects.add(Effect::ClosesSite);
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<()> {
        let gate = Gate::new(self, explain.context())?;
        let reason = gate.switch.reason();
        if !gate.switch.is_closed() {
            explain.note(format!("open: {reason}"));
        } else if let Some(why) = gate.guest(explain.request()) {
            explain.note(format!("closed, because {reason}, but the request passes: {why}"));
        } else {
            explain.note(format!("closed: {reason}"));
            let answer = gate.answer(explain.request());
            explain.answer(answer);
        }
        Ok(())
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage> {
        let gate = Arc::new(Gate::new(self, context)?);
        if gate.switch.is_closed() {
            tracing::info!("closed for maintenance: {}", gate.switch.reason());
        }
        let refused = context.keep(Counter::default);
        let (figure, place, closed) = (Arc::clone(&refused), context.place().clone(), Arc::clone(&gate));
        context.on_scrape(move |metrics: &mut Metrics| {
            let labels = [("place", place.as_str())];
            let family = metrics.gauge("ziggurat_maintenance_closed", "Whether a `maintenance` layer has closed the site.");
            family.sample(&labels, u64::from(closed.switch.is_closed()));
            let family = metrics.counter("ziggurat_maintenance_refused_total", "Requests that a closed `maintenance` layer refused.");
            family.sample(&labels, &*figure);
        });
        let closed = Arc::clone(&gate);
        context.on_status(move || json!({ "closed": closed.switch.is_closed() }));
        Ok(GateLayer { gate, refused })
    }
}

/// The layer, built.
struct Gate {
    switch: Switch,
    pages: Option<Arc<Pages>>,
    message: String,
    retry_after: HeaderValue,
    allow: Vec<Peer>,
    key: Option<String>,
    open: Vec<PathPattern>,
}

impl Gate {
    fn new(options: Maintenance, context: &Context) -> Result<Self> {
        let pages = options.page.map(|path| Pages::of_status(StatusCode::SERVICE_UNAVAILABLE, &context.resolve(path)));
        let pages = pages.transpose().map_err(|finding| finding.at("page"))?;
        Ok(Self {
            switch: Switch::new(options.on == Some(true), options.file.map(|path| context.resolve(path)))?,
            pages: pages.map(Arc::new),
            message: options.message,
            retry_after: options.retry_after.0.as_secs().into(),
            allow: options.allow.0,
            key: options.key,
            open: options.open.0,
        })
    }

    /// The answer, if the site is closed to this request.
    fn refuse(&self, request: &Request) -> Option<Response> {
        (self.switch.is_closed() && self.guest(request).is_none()).then(|| self.answer(request))
    }

    /// Why a request passes while the site is closed.
    fn guest(&self, request: &Request) -> Option<String> {
        let path = DecodedPath::new(request.uri().path());
        if let Some(open) = self.open.iter().find(|open| open.holds(&path)) {
            return Some(format!("`{open}` is open"));
        }
        let connection = request.extensions().get::<ConnectionInfo>();
        if let Some(peer) = connection.and_then(|connection| self.allow.iter().find(|peer| peer.sent(connection))) {
            return Some(format!("the client is in `{peer}`"));
        }
        self.key.as_ref().filter(|key| has_key(request.headers(), key)).map(|_| "it has the key".to_owned())
    }

    fn answer(&self, request: &Request) -> Response {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(self.message.clone());
        let problem = problem.header(RETRY_AFTER, self.retry_after.clone());
        let response = problem.header(CACHE_CONTROL, const { HeaderValue::from_static("no-store") }).into_response();
        match &self.pages {
            Some(pages) => pages.of_request(request)(response),
            None => response,
        }
    }
}

/// Whether a request has this key. The time that it takes tells nothing of the key but its length.
fn has_key(headers: &HeaderMap, key: &str) -> bool {
    let sent = headers.get(&KEY_HEADER).map(HeaderValue::as_bytes);
    let cookie = cookies::first(headers, KEY_COOKIE);
    [sent, cookie].into_iter().flatten().any(|sent| sent.ct_eq(key.as_bytes()).into())
}

struct GateLayer {
    gate: Arc<Gate>,
    refused: Arc<Counter>,
}

impl Layer<Next> for GateLayer {
    type Service = GateService;

    fn layer(&self, inner: Next) -> GateService {
        GateService { gate: Arc::clone(&self.gate), refused: Arc::clone(&self.refused), inner }
    }
}

#[derive(Clone)]
struct GateService {
    gate: Arc<Gate>,
    refused: Arc<Counter>,
    inner: Next,
}

impl Service<Request> for GateService {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, NextFuture>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        // `Next` is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.gate.refuse(&request) {
            Some(response) => {
                self.refused.add(1);
                Either::Left(ready(Ok(response)))
            }
            None => Either::Right(self.inner.send(request)),
        }
    }
}
