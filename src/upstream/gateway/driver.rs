//! The task of one connection: exchanges one after the other, each in both directions at once.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode};
use http_body::Body;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use ziggurat_middleware::{BoxError, Place, RequestSummary};

use super::{Exchange, GatewayRequest};
use crate::body_channel::{self, BodySender, ChannelBody};
use crate::gateway::ResponseHead;
use crate::gateway::back::{Back, BackProtocol, Event, NoResponse};
use crate::upstream::dial::Stream;
use crate::upstream::failure::{Failure, FailureKind, FailurePhase};
use crate::upstream::replay::Upload;

/// What drives a connection.
pub(super) struct Driver {
    io: Box<dyn Stream>,
    protocol: BackProtocol,
    place: Place,
    upstream: String,
    received: BytesMut,
}

/// How much of a request waits to be sent before more of it is asked for, and how much is read at once.
const HIGH_WATER: usize = 64 << 10;
const READ: usize = 16 << 10;

/// How many octets of an app's standard error are logged for each request.
const STDERR: usize = 8 << 10;

impl Driver {
    pub(super) fn new(io: Box<dyn Stream>, protocol: BackProtocol, place: Place, upstream: String) -> Self {
        Self { io, protocol, place, upstream, received: BytesMut::new() }
    }

    /// Carries exchanges until the connection ends or nobody can send one any more.
    pub(super) async fn run(mut self, mut exchanges: mpsc::Receiver<Exchange>, is_idle: Arc<watch::Sender<bool>>) {
        loop {
            let exchange = tokio::select! {
                biased;
                exchange = exchanges.recv() => exchange,
                // Whatever comes between exchanges, the connection is of no use then.
                _ = self.io.read_u8() => None,
            };
            let Some(exchange) = exchange else { break };
            if !self.carry(exchange, &mut exchanges).await {
                break;
            }
            is_idle.send_replace(true);
        }
        drop(exchanges);
        is_idle.send_replace(true);
    }

    /// Carries one exchange. Returns whether the connection goes on.
    async fn carry(&mut self, exchange: Exchange, exchanges: &mut mpsc::Receiver<Exchange>) -> bool {
        let Exchange { request, reply, is_begun, is_reused } = exchange;
        is_begun.store(true, SeqCst);
        let (mut parts, upload) = request.into_parts();
        let Some(GatewayRequest { variables, length }) = parts.extensions.remove() else { return true };
        let back = Back::new(self.protocol);
        let mut out = BytesMut::new();
        if let Err(malformed) = back.begin(&variables, length, &mut out) {
            let _ = reply.send(Err(Failure::new(FailureKind::Malformed, FailurePhase::Connect, malformed)));
            return true;
        }
        drop(variables);
        let has_body = parts.method != Method::HEAD;
        let summary = parts.extensions.remove::<RequestSummary>();
        let log = Stderr { place: &self.place, upstream: &self.upstream, summary, left: STDERR };
        let keeps_connection = back.keeps_connection();
        let mut carried = Carried {
            io: &mut self.io,
            received: &mut self.received,
            back,
            out,
            upload: Some((upload, length)),
            response: State::Awaited(reply),
            has_body,
            has_octets: false,
            may_be_stray: is_reused,
            log,
        };
        let outcome = poll_fn(|cx| {
            let outcome = carried.poll(cx);
            // No further exchange comes before this one is over, so this is the end of the handle.
            if outcome.is_pending() && exchanges.poll_recv(cx).is_ready() {
                return Poll::Ready(Err(Ended::Abandoned));
            }
            outcome
        })
        .await;
        let is_whole = carried.upload.is_none() && carried.out.is_empty();
        match outcome {
            // What has come behind the end belongs to no request, least of all to the next one.
            Ok(()) => keeps_connection && is_whole && self.received.is_empty(),
            Err(error) => {
                if let State::Awaited(reply) = carried.response {
                    let _ = reply.send(Err(error.into_failure(carried.has_octets, is_reused)));
                }
                false
            }
        }
    }
}

/// An exchange under way.
struct Carried<'a> {
    io: &'a mut Box<dyn Stream>,
    received: &'a mut BytesMut,
    back: Back,
    /// What is to be sent.
    out: BytesMut,
    /// The body of the request, and how much of it is to come.
    upload: Option<(Upload, u64)>,
    response: State,
    /// Whether the response may have a body.
    has_body: bool,
    /// Whether the app has sent anything.
    has_octets: bool,
    /// What comes now belongs to an earlier request: the connection has carried one, and nothing of this one has been sent. (On a fresh connection an app may answer, and close it, before
    /// it reads.)
    may_be_stray: bool,
    log: Stderr<'a>,
}

enum State {
    Awaited(oneshot::Sender<Result<Response<ChannelBody>, Failure>>),
    /// So much of the body is to come, if that is known.
    Body(BodySender, Option<u64>),
    /// The response has no body, or all of it. What comes is dropped.
    Complete,
}

/// Why an exchange ended early.
enum Ended {
    /// The app has sent something behind its last response.
    Stray,
    NoResponse(NoResponse),
    Io(std::io::Error),
    /// The body of the request failed, or has another length than it should.
    Upload(BoxError),
    /// Nobody waits for the response any more.
    Abandoned,
}

impl Ended {
    fn into_failure(self, has_octets: bool, is_reused: bool) -> Failure {
        let closed = if is_reused && !has_octets { FailureKind::Stale } else { FailureKind::Reset };
        match self {
            Self::NoResponse(NoResponse::Malformed(malformed)) => Failure::malformed(malformed),
            Self::NoResponse(NoResponse::Overloaded) => {
                Failure::new(FailureKind::Full, FailurePhase::Head, "the app is overloaded and refused the request")
            }
            Self::NoResponse(NoResponse::Cut) => {
                Failure::new(closed, FailurePhase::Head, "the app closed the connection before the response")
            }
            Self::Stray => Failure::new(FailureKind::Unsent, FailurePhase::Head, "the app has sent something behind its last response"),
            Self::Io(error) => Failure::new(closed, FailurePhase::Head, error),
            Self::Upload(error) => Failure::new(FailureKind::Reset, FailurePhase::Head, error),
            Self::Abandoned => Failure::new(FailureKind::Reset, FailurePhase::Head, "nobody waits for the response"),
        }
    }
}

impl Carried<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if let State::Awaited(reply) = &mut self.response
            && reply.poll_closed(cx).is_ready()
        {
            return Poll::Ready(Err(Ended::Abandoned));
        }
        loop {
            if let Poll::Ready(ended) = self.poll_response(cx) {
                return Poll::Ready(ended);
            }
            self.poll_upload(cx)?;
            if self.out.is_empty() {
                return Poll::Pending;
            }
            match Pin::new(&mut *self.io).poll_write(cx, &self.out) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.may_be_stray = false;
                    self.out.advance(written);
                }
                // The app may have answered before it closed.
                Poll::Ready(_) => {
                    self.out.clear();
                    self.upload = None;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        while let Some((upload, left)) = &mut self.upload
            && self.out.len() < HIGH_WATER
        {
            match Pin::new(upload).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let rest = left.checked_sub(data.len() as u64);
                    *left = rest.ok_or_else(|| Ended::Upload("the body of the request is longer than its length".into()))?;
                    self.back.write(&data, &mut self.out);
                }
                Poll::Ready(Some(Err(error))) => return Err(Ended::Upload(error)),
                Poll::Ready(None) if *left > 0 => return Err(Ended::Upload("the body of the request is shorter than its length".into())),
                Poll::Ready(None) => {
                    self.back.end(&mut self.out);
                    self.upload = None;
                }
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Ready at the end of the response.
    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        loop {
            if let State::Body(sender, _) = &mut self.response {
                std::task::ready!(sender.poll_room(cx));
                if sender.is_abandoned() {
                    return Poll::Ready(Err(Ended::Abandoned));
                }
            }
            let event = match self.back.take(self.received).map_err(Ended::NoResponse)? {
                Some(event) => event,
                None => {
                    self.received.reserve(READ);
                    let read = pin!(self.io.read_buf(self.received)).poll(cx);
                    match std::task::ready!(read).map_err(Ended::Io)? {
                        0 => self.back.closed().map_err(Ended::NoResponse)?,
                        _ if self.may_be_stray => return Poll::Ready(Err(Ended::Stray)),
                        _ => {
                            self.has_octets = true;
                            continue;
                        }
                    }
                }
            };
            match event {
                Event::Stderr(octets) => self.log.write(&octets),
                Event::Head(head) => self.answer(head),
                Event::Data(octets) => {
                    if let State::Body(sender, left) = &mut self.response {
                        *left = left.or_else(|| Some(self.back.rest(self.received)?.saturating_add(octets.len() as u64)));
                        let all = left.unwrap_or(u64::MAX);
                        // What is beyond the stated length belongs to nothing.
                        let octets = octets.slice(..octets.len().min(usize::try_from(all).unwrap_or(usize::MAX)));
                        *left = left.map(|left| left - octets.len() as u64);
                        if *left == Some(0) {
                            sender.send_last(octets);
                            self.response = State::Complete;
                        } else {
                            sender.send(octets);
                        }
                    }
                }
                Event::End => {
                    return Poll::Ready(match &mut self.response {
                        // Dropping the sender shows that the body is cut.
                        State::Body(_, Some(1..)) => Err(Ended::NoResponse(NoResponse::Cut)),
                        State::Body(sender, _) => {
                            sender.end();
                            Ok(())
                        }
                        State::Awaited(_) | State::Complete => Ok(()),
                    });
                }
            }
        }
    }

    fn answer(&mut self, head: ResponseHead) {
        let has_body = self.has_body && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let stated = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        // A short response has come whole with its head.
        let length = if has_body { stated.or_else(|| self.back.rest(self.received)) } else { Some(0) };
        let (sender, body) = body_channel::channel(length);
        let state = if length == Some(0) { State::Complete } else { State::Body(sender, length) };
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        if let State::Awaited(reply) = std::mem::replace(&mut self.response, state) {
            let _ = reply.send(Ok(response));
        }
    }
}

/// Writes what an app says on its standard error to the log.
struct Stderr<'a> {
    place: &'a Place,
    upstream: &'a str,
    summary: Option<RequestSummary>,
    /// How many octets of it may follow.
    left: usize,
}

impl Stderr<'_> {
    fn write(&mut self, octets: &[u8]) {
        let octets = &octets[..octets.len().min(self.left)];
        self.left -= octets.len();
        let text = String::from_utf8_lossy(octets);
        let summary = self.summary.as_ref();
        let (request_id, request) = (summary.and_then(RequestSummary::id), summary.map(tracing::field::display));
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            tracing::warn!(
                request_id,
                request,
                app = self.place.as_str(),
                upstream = self.upstream,
                "the app says: {}",
                line.escape_debug()
            );
        }
    }
}
