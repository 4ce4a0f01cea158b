//! `buffer`: takes in whole request bodies before the layers below see them, and reads responses ahead of slow clients.

mod ahead;
mod body;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::TryFutureExt;
use futures_util::future::{Either, MapErr};
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::Handle;
use tower::{Layer, Service};

use self::ahead::ReadAhead;
use self::body::SpooledBody;
use crate::spool::{ConnectionRoom, Reserved, Spool, SpoolBudget, SpoolOptions, Spooled};
use crate::units::Size;
use crate::{
    Behavior, Body, BoxError, Context, Effect, Effects, Explain, FileBody, Finding, Findings, IntoStage, Middleware, Next, NextFuture,
    Request, Response, TunnelIdle,
};

/// Takes in whole request bodies before the layers below see them, and reads responses ahead of slow clients.
///
/// A slow client then holds neither a thread of the app nor a connection to an upstream server. The app never sees a body that is cut short, and it knows
/// the length of every body, also of one that arrived in chunks. Trailers are kept; the length of a body with trailers is not stated.
///
/// | a body | is kept |
/// | --- | --- |
/// | up to `memory` | in memory |
/// | up to `limit` | in a temporary file without a name |
/// | longer than `limit` | nowhere: the answer is `413 Content Too Large` |
/// | while others use all of `total_memory` | in a file, whatever its length |
/// | while others use all of `total_disk`, too | nowhere: the answer is `503 Service Unavailable` |
///
/// A client that sends nothing for `server.body_timeout`, or leaves, ends its request, and nothing of its body stays. A client that waits for `100 Continue`
/// gets it from this layer. CONNECT passes unbuffered. During a reload, the old and the new stack have `total_memory` and `total_disk` each.
///
/// With `response`, a response is read ahead of a client that takes it slowly, up to so many octets in memory. A response that fits ends for the app or the upstream server as soon as it is
/// written. Nothing waits: the client gets each part as it comes, also of a stream without end. A response that finds no room in `total_memory`, and an upgraded connection, pass as they are.
///
/// Place it below everything that refuses requests, such as authentication and limits, and above the app. A `timeout` above it counts the time of the
/// upload. Do not place it above services that answer while the request is still being sent, as gRPC streams do. An app of the kind `wsgi` buffers short
/// bodies itself.
///
/// ```json
/// { "layers": [{ "buffer": "100MiB" }], "app": { "wsgi": "hello:app" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Buffer {
    /// The longest body that is let through.
    limit: Size,
    /// How much of one body is kept in memory. A longer body goes to a file.
    memory: Size,
    /// How much of one response is read ahead of a slow client; 0 for nothing.
    response: Size,
    /// How much memory all bodies together may take. A response reserves `response`, or its length if that is known and less, when it begins.
    total_memory: Size,
    /// How much disk all bodies together may take.
    total_disk: Size,
    /// The folder of the temporary files; by default that of `server.spool`.
    folder: Option<PathBuf>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            limit: Size::mib(10),
            memory: Size::kib(64),
            response: Size::kib(0),
            total_memory: Size::mib(64),
            total_disk: Size::mib(1024),
            folder: None,
        }
    }
}

impl Middleware for Buffer {
    const NAME: &'static str = "buffer";
    const SHORTHAND: Option<&'static str> = Some("limit");
    const BEHAVIOR: &'static [Behavior] = &[Behavior::BuffersRequestBody, Behavior::LimitsRequestBody, Behavior::AnswersEarly];

    fn validate(&self, findings: &mut Findings) {
        let Self { limit, memory, response, total_memory, total_disk, .. } = *self;
        if limit.0 == 0 {
            findings.push(Finding::new("no body is let through").at("limit").hint("give it a size, as in `\"10MiB\"`"));
        }
        for (name, size) in [("memory", memory), ("response", response)] {
            if size > Size::mib(1024) {
                findings.push(Finding::new(format!("`{size}` is too much for one body")).at(name).hint("write `\"1GiB\"` at most"));
            }
            if size > total_memory {
                let finding = Finding::new(format!("one body may take `{size}` of memory, and all together `{total_memory}`"));
                findings.push(finding.at("total_memory").hint(format!("make it several times `{name}`")));
            }
        }
        if limit > memory && limit > total_disk {
            let finding = Finding::new(format!("one body may take `{limit}` of disk, and all together `{total_disk}`"));
            findings.push(finding.at("total_disk").hint("make it several times `limit`"));
        }
    }

    fn explain(self, explain: &mut Explain<'_>) -> Result<(), Finding> {
        let folder = self.folder.as_ref().map_or_else(|| explain.context().spool_folder(), |folder| explain.resolve(folder));
        let budget = Arc::new(SpoolBudget::new(self.limit, self.memory, self.total_memory, self.total_disk, folder, "total_disk"));
        let headers = explain.request().headers();
        let stated = stated_length(headers);
        if stated.is_none_or(|length| length == 0) && !headers.contains_key(TRANSFER_ENCODING) {
            explain.note("no body to take in");
        } else if let Err(problem) = Spool::new(budget, None, stated) {
            explain.refuse(problem);
        } else {
            explain.note(match stated {
                Some(length) if length <= self.memory.0 => format!("takes in the body of {} in memory", Size(length)),
                Some(length) => format!("takes in the body of {} in a file", Size(length)),
                None => format!("takes in the body, in memory up to {} and beyond that in a file", self.memory),
            });
            if stated.is_none() {
                explain.may_answer(StatusCode::PAYLOAD_TOO_LARGE, format!("if the body turns out to be over {}", self.limit));
            }
            explain.may_answer(StatusCode::SERVICE_UNAVAILABLE, "if other bodies take all of the room");
            explain.request_mut().headers_mut().remove(EXPECT);
        }
        if self.response.0 > 0 {
            let ahead = self.response;
            explain.on_response(move |response| response.note(format!("reads up to {ahead} ahead of a slow client")));
        }
        Ok(())
    }

    fn effects(&self, effects: &mut Effects) {
        effects.refuse_with([StatusCode::PAYLOAD_TOO_LARGE, StatusCode::SERVICE_UNAVAILABLE]);
        effects.by("limit", Effect::BoundsBody(self.limit.0));
    }

    fn layer(self, context: &Context) -> Result<impl IntoStage, Finding> {
        let folder = self.folder.map_or_else(|| context.spool_folder(), |folder| context.resolve(folder));
        SpoolOptions::check_folder(&folder)?;
        let spool = Arc::new(SpoolBudget::new(self.limit, self.memory, self.total_memory, self.total_disk, folder, "total_disk"));
        let (figures, place) = (Arc::clone(&spool), context.place().clone());
        let budget = Arc::new(Budget { spool, response: self.response.0 });
        context.on_scrape(move |metrics| {
            let labels = [("place", place.as_str())];
            metrics.gauge("ziggurat_buffer_memory_bytes", "Memory reserved for bodies.").sample(&labels, figures.memory().taken());
            metrics.gauge("ziggurat_buffer_disk_bytes", "Disk space that request bodies take.").sample(&labels, figures.disk().taken());
        });
        Ok(BufferLayer(budget))
    }
}

/// What bodies may take.
struct Budget {
    spool: Arc<SpoolBudget>,
    /// Of one response.
    response: u64,
}

impl Budget {
    /// Whether responses are read ahead.
    const fn reads_ahead(&self) -> bool {
        self.response > 0
    }

    /// Memory for what is read ahead of a response, where there is some left.
    fn ahead(&self, length: Option<u64>) -> Option<Reserved> {
        let mut reserved = self.spool.memory().share();
        (self.reads_ahead() && reserved.grow(length.unwrap_or(u64::MAX).min(self.response))).then_some(reserved)
    }
}

struct BufferLayer(Arc<Budget>);

impl Layer<Next> for BufferLayer {
    type Service = BufferService;

    fn layer(&self, inner: Next) -> BufferService {
        BufferService { budget: Arc::clone(&self.0), inner }
    }
}

#[derive(Clone)]
struct BufferService {
    budget: Arc<Budget>,
    inner: Next,
}

impl Service<Request> for BufferService {
    type Response = Response;
    type Error = BoxError;
    type Future = Either<MapErr<NextFuture, fn(Infallible) -> BoxError>, Pin<Box<dyn Future<Output = Result<Response, BoxError>> + Send>>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        // `Next` is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let body = request.body();
        if body.is_end_stream()
            || body.as_full().is_some_and(|octets| octets.len() as u64 <= self.budget.spool.limit())
            || request.method() == Method::CONNECT
        {
            if !self.budget.reads_ahead() {
                return Either::Left(self.inner.send(request).map_err(|never| match never {}));
            }
            let (budget, inner) = (Arc::clone(&self.budget), self.inner.clone());
            return Either::Right(Box::pin(async move { Ok(read_ahead(inner.run(request).await, &budget)) }));
        }
        let (budget, inner) = (Arc::clone(&self.budget), self.inner.clone());
        Either::Right(Box::pin(async move {
            let request = take_in(request, Arc::clone(&budget.spool)).await?;
            Ok(read_ahead(inner.run(request).await, &budget))
        }))
    }
}

/// The response, which a task reads ahead if it is not at hand.
fn read_ahead(response: Response, budget: &Budget) -> Response {
    let body = response.body();
    let is_tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS || response.extensions().get::<TunnelIdle>().is_some();
    if body.as_full().is_some() || body.is_end_stream() || is_tunnel {
        return response;
    }
    // A thread without a runtime reads as it needs.
    match (Handle::try_current(), budget.ahead(body.size_hint().exact())) {
        (Ok(runtime), Some(reserved)) => response.map(|body| Body::new(ReadAhead::new(body, reserved, &runtime))),
        _ => response,
    }
}

fn stated_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
}

/// The request with its body at hand.
async fn take_in(request: Request, budget: Arc<SpoolBudget>) -> Result<Request, BoxError> {
    let (mut parts, mut body) = request.into_parts();
    let stated = stated_length(&parts.headers);
    let mut spool = Spool::new(budget, parts.extensions.get::<ConnectionRoom>(), body.size_hint().exact().or(stated))?;
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => spool.push(data).await?,
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    parts.headers.remove(EXPECT);
    if trailers.is_none() {
        parts.headers.remove(TRANSFER_ENCODING);
        parts.headers.insert(CONTENT_LENGTH, spool.length().into());
    }
    let (content, reserved) = match spool.finish().await? {
        Spooled::Memory(octets) => (Body::from(octets), None),
        Spooled::File(file) => {
            let (file, length, reserved) = file.into_parts();
            (Body::new(FileBody::new(file, 0..length)), Some(reserved))
        }
    };
    let is_plain = trailers.is_none() && reserved.is_none();
    let body = if is_plain { content } else { Body::new(SpooledBody::new(content, trailers, reserved)) };
    Ok(Request::from_parts(parts, body))
}
