//! The body of an answer on its way from an upstream.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use ziggurat_middleware::{BoxError, Place, RequestId};

use super::admit::Ticket;
use super::failure::{Failure, Kind, Phase};
use super::pool::Lease;
use super::protocol::{Connection, Protocol};
use super::trailers;

/// A body that holds its connection and its place at the endpoint until its end, and fails where the upstream is silent for too long or closes too early.
pub(crate) struct Download<P: Protocol> {
    body: <P::Connection as Connection>::Body,
    /// Given back at the end of the body.
    lease: Option<Lease<P>>,
    ticket: Option<Ticket<P>>,
    idle: Duration,
    /// Made when the upstream first lets us wait.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    place: Place,
    id: Option<RequestId>,
}

impl<P: Protocol> Download<P> {
    pub(super) fn new(
        body: <P::Connection as Connection>::Body,
        lease: Lease<P>,
        idle: Duration,
        place: &Place,
        id: Option<RequestId>,
    ) -> Self {
        Self { body, lease: Some(lease), ticket: None, idle, timer: None, is_waiting: false, place: place.clone(), id }
    }

    /// Holds the place at the endpoint too, where the body goes to the client. What becomes a tunnel is held until it is taken.
    pub(super) fn hold(&mut self, ticket: Option<Ticket<P>>, is_tunnel: bool) {
        self.ticket = ticket;
        if !is_tunnel {
            self.end_early();
        }
    }

    /// The connection and the place, for the tunnel that the connection becomes.
    pub(crate) fn into_tunnel(mut self) -> (Option<Lease<P>>, Option<Ticket<P>>) {
        (self.lease.take(), self.ticket.take())
    }

    /// Where nothing more comes, the connection is free at once.
    fn end_early(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
        self.ticket = None;
    }

    fn fail(&mut self, failure: Failure) -> BoxError {
        self.lease = None;
        if let Some(mut ticket) = self.ticket.take() {
            ticket.failed(&failure);
            let request_id = self.id.as_ref().map(RequestId::as_str);
            let (upstream, phase) = (&*ticket.endpoint().label, failure.phase.as_str());
            tracing::warn!(request_id, app = self.place.as_str(), upstream, phase, "{}: {failure}", failure.kind.as_str());
        }
        failure.into()
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.idle)));
        if !self.is_waiting {
            self.is_waiting = true;
            timer.as_mut().reset(Instant::now() + self.idle);
        }
        timer.as_mut().poll(cx)
    }
}

/// Nothing of it is pinned in place.
impl<P: Protocol> Unpin for Download<P> {}

impl<P: Protocol> Body for Download<P> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                self.is_waiting = false;
                match frame.trailers_mut() {
                    Some(trailers) => {
                        trailers::clean(trailers);
                        // Nothing follows them, and who writes them asks for nothing more.
                        self.end();
                    }
                    None => self.end_early(),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let failure = Failure::new(Kind::Cut, Phase::Body, error);
                Poll::Ready(Some(Err(self.fail(failure))))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending if self.lease.is_some() && self.poll_idle(cx).is_ready() => {
                let failure = Failure::new(Kind::Timeout, Phase::Body, format!("nothing of the body within {:?}", self.idle));
                Poll::Ready(Some(Err(self.fail(failure))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
