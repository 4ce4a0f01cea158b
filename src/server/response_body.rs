//! A response's body on its way to hyper.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use ziggurat_middleware::{Body, BoxError, FileFrame, RequestSummary};

use super::exchange::Exchange;
use super::generation::Generation;
use super::progress::Progress;

/// A body that counts as the end of its response when hyper drops it.
pub(super) struct ResponseBody {
    body: Body,
    /// What is left of a long chunk.
    rest: Bytes,
    /// Why the body breaks off, while what came before it is sent.
    broken: Option<BoxError>,
    /// Dropped after `body`, which stands before it.
    guard: Option<Box<ResponseGuard>>,
    /// Parts of files are lent to the connection.
    lends: bool,
}

/// The longest chunk of an HTTP/2 response, in octets. The client is given up if it does not take one in `body_timeout`.
const STEP: usize = 16 << 10;

/// Marks a request as under way: from its head to the last octet of its response, or until the client is given up. It is boxed, because hyper moves futures and
/// bodies from place to place.
pub(super) struct ResponseGuard {
    progress: Arc<Progress>,
    /// Of an HTTP/2 stream. The connection goes on while one of its streams waits.
    stream: Option<Arc<StreamProgress>>,
    /// The stack that the request is inside of.
    generation: Option<Arc<Generation>>,
    /// `None` once it is counted.
    exchange: Option<Exchange>,
    /// The request counts as under way for the rest of the connection.
    stays_open: bool,
    /// Whether informational responses can be sent before the response.
    takes_hints: bool,
}

/// The progress of one HTTP/2 response.
#[derive(Default)]
pub(super) struct StreamProgress {
    waits_for_client: AtomicBool,
    /// Changes with every frame.
    steps: AtomicU32,
    /// The one that the request entered.
    generation: OnceLock<Arc<Generation>>,
}

impl StreamProgress {
    /// While the response waits for the client to take more of it: the number of its steps so far.
    pub(super) fn waits_at(&self) -> Option<u32> {
        self.waits_for_client.load(Relaxed).then(|| self.steps.load(Relaxed))
    }

    /// The token that is cancelled when the request is to be cut off; none before the request has entered the stack.
    pub(super) fn cut(&self) -> Option<&CancellationToken> {
        self.generation.get().map(|generation| generation.cut())
    }

    fn step(&self, waits_for_client: bool) {
        self.steps.fetch_add(1, Relaxed);
        self.waits_for_client.store(waits_for_client, Relaxed);
    }
}

impl ResponseGuard {
    /// For the only request of a connection. With `takes_hints`, informational responses can be sent before the response.
    pub(super) fn new(progress: &Arc<Progress>, takes_hints: bool) -> Box<Self> {
        progress.has_response.store(false, Relaxed);
        Self::boxed(progress, None, takes_hints)
    }

    /// For a request of an HTTP/2 connection.
    pub(super) fn of_stream(progress: &Arc<Progress>, stream: Arc<StreamProgress>) -> Box<Self> {
        progress.begin_request();
        Self::boxed(progress, Some(stream), true)
    }

    fn boxed(progress: &Arc<Progress>, stream: Option<Arc<StreamProgress>>, takes_hints: bool) -> Box<Self> {
        let (progress, exchange) = (Arc::clone(progress), Some(Exchange::begin()));
        Box::new(Self { progress, stream, generation: None, exchange, stays_open: false, takes_hints })
    }

    pub(super) const fn takes_hints(&self) -> bool {
        self.takes_hints
    }

    /// The number of octets of the request's body.
    pub(super) fn received(&mut self) -> Arc<AtomicU64> {
        self.exchange.as_mut().map(Exchange::received).unwrap_or_default()
    }

    /// Counts the request in the stack that it enters.
    pub(super) fn enter(&mut self, generation: Arc<Generation>, summary: RequestSummary) {
        if let Some(exchange) = &mut self.exchange {
            exchange.enter(summary);
        }
        match &self.stream {
            Some(stream) => _ = stream.generation.set(Arc::clone(&generation)),
            None => self.progress.connection.enter(generation.number()),
        }
        self.generation = Some(generation);
    }

    pub(super) const fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// For the log; `None` for a request that is refused.
    pub(super) fn summary(&self) -> Option<&RequestSummary> {
        self.exchange.as_ref().and_then(Exchange::summary)
    }

    /// The token that is cancelled when an HTTP/2 request is to be cut off.
    pub(super) fn cut(&self) -> Option<&CancellationToken> {
        self.stream.as_ref()?.cut()
    }

    /// Notes the status of the response.
    pub(super) fn respond(&mut self, status: StatusCode) {
        if let Some(exchange) = &mut self.exchange {
            exchange.respond(status);
        }
    }

    /// Counts the request for the metrics: it is over, or a tunnel has begun.
    pub(super) fn count(&mut self) -> Instant {
        let now = Instant::now();
        if let Some(exchange) = self.exchange.take() {
            exchange.count(&self.progress.connection, self.stream.is_some(), now);
        }
        now
    }

    /// Leaves the request under way until its connection ends: the connection was upgraded.
    pub(super) fn into_generation(mut self) -> Option<Arc<Generation>> {
        self.stays_open = true;
        self.generation.take()
    }

    fn step(&self, waits_for_client: bool) {
        if let Some(stream) = &self.stream {
            stream.step(waits_for_client);
        }
    }
}

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        let now = self.count();
        if self.stays_open {
            return;
        }
        let was_last = self.progress.end_response(now);
        if was_last && self.stream.is_some() {
            // This is a stream's task. The connection's task keeps the time limits.
            self.progress.connection.wake();
        }
    }
}

impl ResponseBody {
    pub(super) fn new(body: Body, guard: Option<Box<ResponseGuard>>) -> Self {
        // hyper sends all of the body, because `normalize::finish` has checked its length.
        let can_lend = |guard: &ResponseGuard| guard.stream.is_none() && guard.progress.lent.is_possible();
        let lends = body.is_file() && guard.as_deref().is_some_and(can_lend);
        if let Some(guard) = &guard {
            guard.step(true);
        }
        Self { body, rest: Bytes::new(), broken: None, guard, lends }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &self.guard {
            Some(guard) if self.lends => self.body.poll_part(cx).map_ok(|frame| match frame {
                FileFrame::Frame(frame) => frame,
                FileFrame::Part(part) => Frame::data(guard.progress.lent.lend(part)),
            }),
            _ => Pin::new(&mut self.body).poll_frame(cx),
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let mut frame = match this.rest.is_empty() {
            true => this.poll_body(cx),
            false => Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.rest))))),
        };
        if let Poll::Ready(Some(Err(error))) = frame {
            // At an error hyper drops what it has not sent, the head for instance. While a body is pending, it sends.
            this.broken = Some(error);
            cx.waker().wake_by_ref();
            frame = Poll::Pending;
        }
        if let Some(guard) = &mut this.guard {
            if let (true, Poll::Ready(Some(Ok(frame)))) = (guard.stream.is_some(), &mut frame)
                && let Some(data) = frame.data_mut().filter(|data| data.len() > STEP)
            {
                this.rest = data.split_off(STEP);
            }
            if let (Some(exchange), Poll::Ready(Some(Ok(frame)))) = (&mut guard.exchange, &frame) {
                exchange.send(frame.data_ref().map_or(0, Bytes::len));
            }
            guard.step(frame.is_ready());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut left = SizeHint::new();
        left.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            left.set_upper(upper + rest);
        }
        left
    }
}
