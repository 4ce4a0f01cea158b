//! A response on its way to a client and into the cache at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use super::flight::Lead;
use super::freshness::Freshness;
use super::key::Selection;
use super::store::Store;
use super::stored::StoredResponse;
use crate::{Body, BoxError};

/// How long a response is received for the cache alone, after its client has left.
const ALONE: Duration = Duration::from_secs(60);
/// The least that a frame counts for. Without it, a body of single octets would not be bounded.
const FRAME: u64 = 64;

/// A response that is received for the cache.
pub(super) struct Fill {
    lead: Option<Lead>,
    /// The headers of the request.
    request: Arc<HeaderMap>,
    status: StatusCode,
    headers: HeaderMap,
    selection: Selection,
    freshness: Freshness,
    /// What the response says of its length.
    stated: Option<u64>,
    /// The most octets of a body.
    limit: u64,
    parts: Vec<Bytes>,
    octets: u64,
    reserved: Reserved,
}

impl Fill {
    pub(super) fn new(lead: Lead, request: Arc<HeaderMap>, head: &Parts, selection: Selection, freshness: Freshness, limit: u64) -> Self {
        let reserved = Reserved { store: Arc::clone(&lead.store), octets: 0 };
        Self {
            lead: Some(lead),
            request,
            status: head.status,
            headers: head.headers.clone(),
            selection,
            freshness,
            stated: stated_length(&head.headers),
            limit,
            parts: Vec::new(),
            octets: 0,
            reserved,
        }
    }

    /// Adds octets of the body. Returns false if there are too many to be stored.
    #[must_use]
    pub(super) fn push(&mut self, data: Bytes) -> bool {
        self.octets += data.len() as u64;
        let fits = self.octets <= self.limit && self.reserved.grow((data.len() as u64).max(FRAME));
        if fits {
            self.parts.push(data);
        }
        fits
    }

    /// The response is not stored.
    pub(super) fn give_up(&mut self) {
        if let Some(lead) = self.lead.take() {
            lead.pass();
        }
    }

    /// Stores the response, whose body is complete: `None` if the body does not have its stated length. Also returns whether it got into the cache.
    pub(super) fn finish(mut self, trailers: Option<HeaderMap>) -> Option<(Arc<StoredResponse>, bool)> {
        if self.stated.is_some_and(|stated| stated != self.octets) {
            self.give_up();
            return None;
        }
        let lead = self.lead.take()?;
        let response = StoredResponse::new(self.status, &self.headers, &self.parts, trailers, self.selection, self.freshness);
        self.parts.clear();
        drop(self.reserved);
        let response = Arc::new(response);
        let is_stored = lead.store(&response, &self.request);
        Some((response, is_stored))
    }

    /// Receives a body on a task, as fast as the app sends it, for the cache and the client.
    pub(super) fn receive(self, body: Body) -> (ReceivedBody, impl Future<Output = ()> + Send + 'static) {
        let (sender, pieces) = unbounded_channel();
        let received = ReceivedBody { pieces, hint: body.size_hint(), rest: None, has_ended: false };
        (received, receive(self, body, sender))
    }
}

/// The length that a head states; `None` without one that is valid.
pub(super) fn stated_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Room in the cache for octets that are being received. Dropping it gives the room back.
struct Reserved {
    store: Arc<Store>,
    octets: u64,
}

impl Reserved {
    fn grow(&mut self, octets: u64) -> bool {
        let has_room = self.store.receive(octets);
        if has_room {
            self.octets += octets;
        }
        has_room
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.store.received(self.octets);
    }
}

/// A part of a body on its way from the task to the client.
enum Piece {
    Frame(Frame<Bytes>),
    /// The response is not stored: the client reads the rest of the body itself, at its own pace.
    Rest(Body),
    Failed(BoxError),
    End,
}

/// The channel has no bound of its own: while the body fits into the cache, there is no more of it than that, and afterwards nothing is sent.
async fn receive(mut fill: Fill, mut body: Body, sender: UnboundedSender<Piece>) {
    let (mut deadline, mut trailers) = (None, None);
    loop {
        let frame = tokio::select! {
            biased;
            () = sender.closed(), if deadline.is_none() => {
                deadline = Some(Instant::now() + ALONE);
                continue;
            }
            frame = body.frame() => frame,
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return fill.give_up(),
        };
        let piece = match frame {
            None => {
                fill.finish(trailers);
                let _ = sender.send(Piece::End);
                return;
            }
            Some(Err(error)) => {
                fill.give_up();
                let _ = sender.send(Piece::Failed(error));
                return;
            }
            Some(Ok(frame)) => frame,
        };
        let fits = piece.data_ref().is_none_or(|data| fill.push(data.clone()));
        if let Some(fields) = piece.trailers_ref() {
            trailers = Some(fields.clone());
        }
        let _ = sender.send(Piece::Frame(piece));
        if !fits {
            fill.give_up();
            let _ = sender.send(Piece::Rest(body));
            return;
        }
    }
}

/// What a task has received of a body.
pub(super) struct ReceivedBody {
    pieces: UnboundedReceiver<Piece>,
    /// Of what the client has not had.
    hint: SizeHint,
    rest: Option<Body>,
    has_ended: bool,
}

impl HttpBody for ReceivedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if self.rest.is_none() {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(Piece::Frame(frame)) => {
                    let octets = frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.hint = less(&self.hint, octets);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Piece::Rest(body)) => self.rest = Some(body),
                Some(Piece::End) => {
                    self.has_ended = true;
                    return Poll::Ready(None);
                }
                Some(Piece::Failed(error)) => {
                    self.has_ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.has_ended = true;
                    return Poll::Ready(Some(Err("the response was cut off in the cache".into())));
                }
            }
        }
        match &mut self.rest {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Some(body) => body.size_hint(),
            None if self.has_ended => SizeHint::with_exact(0),
            None => self.hint,
        }
    }
}

fn less(hint: &SizeHint, octets: u64) -> SizeHint {
    let mut less = SizeHint::new();
    less.set_lower(hint.lower().saturating_sub(octets));
    if let Some(upper) = hint.upper() {
        less.set_upper(upper.saturating_sub(octets));
    }
    less
}
