//! The task of one connection: an exchange, in both directions at once.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::oneshot;
use ziggurat_middleware::{BoxError, Place, RequestSummary};

use super::GatewayRequest;
use crate::body_channel::{self, BodySender, ChannelBody};
use crate::gateway::ResponseHead;
use crate::gateway::back::{Back, BackProtocol, Event, NoResponse};
use crate::log::said;
use crate::upstream::dial::Stream;
use crate::upstream::failure::{Failure, FailureKind, FailurePhase};
use crate::upstream::replay::Upload;

/// What drives a connection.
pub(super) struct Driver {
    io: Box<dyn Stream>,
    protocol: BackProtocol,
    place: Place,
    upstream: String,
}

/// Where the response is awaited.
pub(super) type Reply = oneshot::Sender<Result<Response<ChannelBody>, Failure>>;

/// How much of a request waits to be sent before more of it is asked for, and how much is read at once.
const HIGH_WATER: usize = 64 << 10;
const READ: usize = 16 << 10;

/// How many octets of an app's standard error are logged for each request.
const STDERR: usize = 8 << 10;

impl Driver {
    pub(super) fn new(io: Box<dyn Stream>, protocol: BackProtocol, place: Place, upstream: String) -> Self {
        Self { io, protocol, place, upstream }
    }

    /// Carries an exchange to its end, or until the other end of `is_abandoned` is dropped. Then the connection ends.
    pub(super) async fn run(mut self, request: Request<Upload>, reply: Reply, mut is_abandoned: oneshot::Receiver<Infallible>) {
        let (mut parts, upload) = request.into_parts();
        let Some(GatewayRequest { variables, length }) = parts.extensions.remove() else { return };
        let back = Back::new(self.protocol);
        let mut out = BytesMut::new();
        if let Err(malformed) = back.begin(&variables, length, &mut out) {
            let _ = reply.send(Err(Failure::new(FailureKind::Malformed, FailurePhase::Connect, malformed)));
            return;
        }
        drop(variables);
        let has_body = parts.method != Method::HEAD;
        let summary = parts.extensions.remove::<RequestSummary>();
        let log = Stderr { place: &self.place, upstream: &self.upstream, summary, left: STDERR };
        let mut carried = Carried {
            io: &mut self.io,
            received: BytesMut::new(),
            back,
            out,
            upload: Some((upload, length)),
            response: State::Awaited(reply),
            has_body,
            log,
        };
        let outcome = poll_fn(|cx| {
            let outcome = carried.poll(cx);
            if outcome.is_pending() && Pin::new(&mut is_abandoned).poll(cx).is_ready() {
                return Poll::Ready(Err(Ended::Abandoned));
            }
            outcome
        })
        .await;
        if let (Err(error), State::Awaited(reply)) = (outcome, carried.response) {
            let _ = reply.send(Err(error.into_failure()));
        }
    }
}

/// An exchange under way.
struct Carried<'a> {
    io: &'a mut Box<dyn Stream>,
    received: BytesMut,
    back: Back,
    /// What is to be sent.
    out: BytesMut,
    /// The body of the request, and how much of it is to come.
    upload: Option<(Upload, u64)>,
    response: State,
    /// Whether the response may have a body.
    has_body: bool,
    log: Stderr<'a>,
}

enum State {
    Awaited(Reply),
    /// So much of the body is to come, if that is known.
    Body(BodySender, Option<u64>),
    /// The response has no body, or all of it. What comes is dropped.
    Complete,
}

/// Why an exchange ended early.
enum Ended {
    NoResponse(NoResponse),
    Io(std::io::Error),
    /// The body of the request failed, or has another length than it should.
    Upload(BoxError),
    /// Nobody waits for the response any more.
    Abandoned,
}

impl Ended {
    fn into_failure(self) -> Failure {
        match self {
            Self::NoResponse(NoResponse::Malformed(malformed)) => Failure::malformed(malformed),
            Self::NoResponse(NoResponse::Overloaded) => {
                Failure::new(FailureKind::Full, FailurePhase::Head, "the app is overloaded and refused the request")
            }
            Self::NoResponse(NoResponse::Cut) => {
                Failure::new(FailureKind::Reset, FailurePhase::Head, "the app closed the connection before the response")
            }
            Self::Io(error) => Failure::new(FailureKind::Reset, FailurePhase::Head, error),
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
                Poll::Ready(Ok(written)) if written > 0 => self.out.advance(written),
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
            let event = match self.back.take(&mut self.received).map_err(Ended::NoResponse)? {
                Some(event) => event,
                None => {
                    self.received.reserve(READ);
                    let read = pin!(self.io.read_buf(&mut self.received)).poll(cx);
                    match std::task::ready!(read).map_err(Ended::Io)? {
                        0 => self.back.closed().map_err(Ended::NoResponse)?,
                        _ => continue,
                    }
                }
            };
            match event {
                Event::Stderr(octets) => self.log.write(&octets),
                Event::Head(head) => self.answer(head),
                Event::Data(octets) => {
                    if let State::Body(sender, left) = &mut self.response {
                        *left = left.or_else(|| Some(self.back.rest(&self.received)?.saturating_add(octets.len() as u64)));
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
        let length = if has_body { stated.or_else(|| self.back.rest(&self.received)) } else { Some(0) };
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
            tracing::warn!(request_id, request, app = self.place.as_str(), upstream = self.upstream, "the app says: {}", said(line));
        }
    }
}
